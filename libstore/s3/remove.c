/* DELETE and DELETE_MANY: DeleteObjects while the store takes it, in smaller batches when it does
 * not digest them, key by key where it has no such call, where XML cannot carry a key, and for
 * uploads. What a batch's answer names as failed is tried again only if that may help. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/s3/s3.h"

enum {
    BATCH_STALL_MS = 60000, /* a loaded store needs most of that for a thousand keys */
    SHRINK = 4,
    WHOLE_TRIES = 3, /* that get no answer, before it is sent in smaller pieces */
    BODY_MAX = 8 << 20,
};

struct target {
    const char *key, *version; /* version NULL: none */
};

struct removal {
    struct s3_op o;
    struct s3_request r;
    struct target *pending; /* what is left; first those that XML can carry */
    size_t n_pending, n_carried;
    size_t batch;       /* keys of one request, at most */
    size_t n_now;       /* keys of this one */
    bool single;        /* this one is for pending[0] alone, without XML */
    unsigned fruitless; /* answers in a row that name all as failed */
    struct buf body;
    char sha256[65];
};

size_t s3_remove_size(void)
{
    return sizeof(struct removal);
}

/* Decides what the next request is for. */
static void plan(struct removal *m)
{
    bool uploads = m->o.op->listed == STORE_LIST_UPLOADS;
    size_t most = gate_batch(m->o.s3->gate);
    size_t n = m->batch < most ? m->batch : most;
    n = m->n_carried < n ? m->n_carried : n;
    m->single = m->o.op->kind == OP_DELETE || uploads || n == 0 || m->batch == 1 ||
                atomic_load(&m->o.s3->no_batches);
    m->n_now = m->single ? 1 : n;
    m->r.conf.gate_keys = m->o.op->bulk ? (uint32_t)m->n_now : 0;
    m->r.conf.expects = m->single ? XML_NONE : XML_DELETE_RESULT;
    m->r.conf.name = m->pending[0].key;
}

static void go_on(struct removal *m, uint32_t delay_ms)
{
    plan(m);
    s3_request_start(&m->r, delay_ms);
}

/* ---- The request ---- */

static int fill_single(struct removal *m, struct s3_draft *d)
{
    const struct target *t = &m->pending[0];
    m->r.conf.body = NULL;
    m->r.conf.body_size = 0;
    d->method = "DELETE";
    d->key = t->key;
    if (t->version && *t->version)
        s3_draft_query(d, m->o.op->listed == STORE_LIST_UPLOADS ? "uploadId" : "versionId",
                       t->version);
    return 0;
}

static void write_body(struct removal *m)
{
    const char *keys[STORE_MAX_BATCH], *versions[STORE_MAX_BATCH];
    for (size_t i = 0; i < m->n_now; i++) {
        keys[i] = m->pending[i].key;
        versions[i] = m->pending[i].version;
    }
    buf_reset(&m->body);
    xml_delete_request(&m->body, m->o.s3->prefix, keys, m->o.op->versions ? versions : NULL,
                       m->n_now);
}

/* With its MD5, which S3 wants here in any case (RFC 1864). */
static int fill_batch(struct removal *m, struct s3_draft *d, struct store_err *err)
{
    unsigned char md5[EVP_MAX_MD_SIZE];
    char md5_base64[2 * EVP_MAX_MD_SIZE];
    unsigned n = 0;
    write_body(m);
    if (buf_failed(&m->body))
        return store_err_set(err, STORE_NO_MEMORY, "delete: out of memory");
    if (EVP_Digest(m->body.data, m->body.len, md5, &n, EVP_md5(), NULL) != 1 ||
        sigv4_sha256_hex(m->body.data, m->body.len, m->sha256) != 0)
        return store_err_set(err, STORE_FAILED, "delete: OpenSSL failed");
    base64_encode(md5, n, md5_base64);
    m->r.conf.body = m->body.data;
    m->r.conf.body_size = m->body.len;
    d->method = "POST";
    d->payload_hash = m->sha256;
    s3_draft_query(d, "delete", "");
    s3_draft_header(d, "Content-MD5", s3_draft_text(d, "%s", md5_base64));
    s3_draft_header(d, "Content-Type", "application/xml");
    return 0;
}

static int fill_remove(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct removal *m = r->conf.user;
    return m->single ? fill_single(m, d) : fill_batch(m, d, err);
}

/* ---- Smaller batches ---- */

static void shrink(struct removal *m)
{
    m->batch = m->n_now / SHRINK > 1 ? m->n_now / SHRINK : 1;
}

static void on_again(struct s3_request *r, const struct verdict *v)
{
    struct removal *m = r->conf.user;
    if (!v->throttled && !m->single && r->tries >= WHOLE_TRIES)
        shrink(m);
    plan(m);
}

/* Whether the refusal is of the batch, not of its keys. */
static bool batch_refused(struct removal *m, const struct store_err *err)
{
    if (m->single)
        return false;
    if (err->http_status == 501 || err->http_status == 405) {
        atomic_store(&m->o.s3->no_batches, true);
        return true;
    }
    if (err->http_status != 400 && err->http_status != 413)
        return false;
    shrink(m);
    return true;
}

/* ---- The answer ---- */

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

/* Moves what the store names to the front part, which is kept. */
static bool keep_pending(struct removal *m, const struct xml_key_error *e, size_t *kept)
{
    size_t cut = strlen(m->o.s3->prefix);
    if (strncmp(e->key, m->o.s3->prefix, cut) != 0)
        return false;
    for (size_t k = *kept; k < m->n_now; k++)
        if (strcmp(m->pending[k].key, e->key + cut) == 0 &&
            (!m->o.op->versions || same_text(m->pending[k].version, e->version))) {
            struct target t = m->pending[*kept];
            m->pending[(*kept)++] = m->pending[k];
            m->pending[k] = t;
            return true;
        }
    return false;
}

/* Sorts out what the answer names as failed. *kept: how many of the first n_now are to be tried
 * again. Returns -1 with *err set when some cannot be removed at all. */
static int read_result(struct removal *m, const struct xml_doc *doc, size_t *kept,
                       struct store_err *err)
{
    for (size_t i = 0; i < doc->n_key_errors; i++) {
        const struct xml_key_error *e = &doc->key_errors[i];
        struct verdict v = retry_judge(ANSWER_WHOLE, 400, e->code);
        if (v.code == STORE_NOT_FOUND)
            continue;
        if (!v.retry)
            return store_err_set(err, v.code, "delete of %.120s (and %zu more): %.40s %.50s",
                                 e->key, doc->n_key_errors - 1, e->code, e->message);
        if (!keep_pending(m, e, kept))
            return store_err_set(err, STORE_CORRUPT,
                                 "delete: the store refuses %.150s, which nobody named", e->key);
        if (*kept == 1)
            store_err_set(err, v.code, "delete of %.120s (and %zu more): %.40s", e->key,
                          doc->n_key_errors - 1, e->code);
    }
    return 0;
}

/* The first n of the pending are gone but for the first `kept`. */
static void drop_done(struct removal *m, size_t n, size_t kept)
{
    size_t gone = n - kept;
    memmove(m->pending + kept, m->pending + n, (m->n_pending - n) * sizeof(*m->pending));
    m->n_pending -= gone;
    m->n_carried -= gone < m->n_carried ? gone : m->n_carried;
    m->fruitless = gone ? 0 : m->fruitless + 1;
}

static void finish(struct removal *m, const struct store_err *err)
{
    s3_finish_at(&m->o, err, m->r.answer->date_s);
}

/* Asks again for those that the answer named, after a while; err says what is wrong with them. */
static void retry_kept(struct removal *m, const struct store_err *err)
{
    uint32_t delay_ms = s3_request_delay_ms(&m->r, m->fruitless + 1);
    if (m->fruitless >= S3_MAX_TRIES || clock_mono_ms() + delay_ms >= m->o.op->deadline_ms ||
        !health_may_retry(m->o.s3->health))
        finish(m, err);
    else
        go_on(m, delay_ms);
}

static void batch_done(struct removal *m, const struct xml_doc *doc)
{
    struct store_err err = {0};
    size_t kept = 0;
    if (read_result(m, doc, &kept, &err) != 0) {
        finish(m, &err);
        return;
    }
    drop_done(m, m->n_now, kept);
    if (m->n_pending == 0)
        finish(m, NULL);
    else if (kept)
        retry_kept(m, &err);
    else
        go_on(m, 0);
}

static void on_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct removal *m = r->conf.user;
    bool gone = err->code == STORE_OK || (m->single && err->code == STORE_NOT_FOUND);
    if (gone && !m->single) {
        batch_done(m, doc);
    } else if (gone) {
        drop_done(m, 1, 0);
        if (m->n_pending)
            go_on(m, 0);
        else
            finish(m, NULL);
    } else if (batch_refused(m, err)) {
        go_on(m, 0);
    } else {
        finish(m, err);
    }
}

/* ---- What the driver calls ---- */

static void remove_cleanup(struct s3_op *o)
{
    struct removal *m = (struct removal *)o;
    s3_request_cleanup(&m->r);
    free(m->pending);
    buf_cleanup(&m->body);
}

static bool take_targets(struct removal *m)
{
    const struct store_op *op = m->o.op;
    size_t n = op->kind == OP_DELETE ? 1 : op->n_keys;
    m->pending = calloc(n, sizeof(*m->pending));
    if (!m->pending)
        return false;
    for (int pass = 0; pass < 2; pass++) { /* first what XML can carry */
        for (size_t i = 0; i < n; i++) {
            const char *key = op->kind == OP_DELETE ? op->key : op->keys[i];
            if (xml_can_carry(key) == (pass == 0))
                m->pending[m->n_pending++] =
                    (struct target){key, op->versions ? op->versions[i] : NULL};
        }
        if (pass == 0)
            m->n_carried = m->n_pending;
    }
    return true;
}

void s3_remove_start(struct s3_op *o)
{
    struct removal *m = (struct removal *)o;
    struct s3_request_conf conf = s3_request_defaults(o, "delete");
    o->cleanup = remove_cleanup;
    buf_init(&m->body, BODY_MAX);
    m->batch = STORE_MAX_BATCH;
    if (o->op->kind == OP_DELETE_MANY)
        conf.stall_timeout_ms = BATCH_STALL_MS;
    conf.fill = fill_remove;
    conf.again = on_again;
    conf.done = on_done;
    s3_request_init(&m->r, o->s3, o->here, &conf);
    if (take_targets(m)) {
        go_on(m, 0);
        return;
    }
    struct store_err err;
    store_err_set(&err, STORE_NO_MEMORY, "delete: out of memory");
    finish(m, &err);
}
