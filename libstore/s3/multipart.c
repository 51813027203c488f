/* PUT in parts: CreateMultipartUpload, UploadPart, CompleteMultipartUpload of the Amazon S3 API
 * reference. Also a put of unknown size, which becomes a single one when it ends within a part.
 *
 * The body is taken part by part into slots, which are sent side by side; each part is hashed, so
 * that the store verifies it, and can be sent again. Only the completion makes the object appear:
 * conditions and expiry belong to it. Whatever goes wrong, the parts are removed again; that has a
 * few seconds of its own, also when the put was canceled. */
#include "libstore/s3/upload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"

enum {
    PART_STALL_MS = 30000,
    ROUND_BYTES = 1024 * 1024,
    MAX_PART_BYTES_SHIFT = 32, /* 4 GiB: below Amazon's 5 */
};

static void step(void *user);

/* ---- Failing ---- */

static void abort_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct s3_upload *u = r->conf.user;
    (void)err; /* what is left is found by deleting with `uploads` */
    (void)doc;
    s3_finish_at(&u->o, &u->err, r->answer->date_s);
}

static int fill_abort(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct s3_upload *u = r->conf.user;
    (void)err;
    s3_parts_fill_abort(&u->parts, &u->o, d);
    return 0;
}

void s3_multipart_fail(struct s3_upload *u, const struct store_err *err)
{
    if (u->ending)
        return; /* on the way already */
    u->ending = true;
    u->err = *err;
    loop_defer_clear(u->o.op->loop, &u->step);
    loop_timer_clear(u->o.op->loop, &u->grace);
    for (unsigned i = 0; i < u->n_slots; i++)
        s3_request_cleanup(&u->slots[i].r);
    int64_t server_time_s = u->r.here ? u->r.answer->date_s : 0;
    s3_request_cleanup(&u->r);
    if (!u->parts.id[0]) {
        s3_finish_at(&u->o, err, server_time_s);
        return;
    }
    struct s3_request_conf conf = s3_parts_abort(&u->o);
    conf.fill = fill_abort;
    conf.done = abort_done;
    s3_op_request(&u->o, &u->r, &conf);
}

static void no_memory(struct s3_upload *u)
{
    struct store_err err;
    store_err_set(&err, STORE_NO_MEMORY, "put %.150s: out of memory", u->o.op->key);
    s3_multipart_fail(u, &err);
}

/* ---- The completion ---- */

static int fill_complete(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct s3_upload *u = r->conf.user;
    (void)err;
    s3_parts_fill_complete(&u->parts, &u->o, d);
    s3_draft_conditions(d, &u->o);
    return 0;
}

/* What the ETag should be where ETags are MD5s. */
static bool check_joined(struct s3_upload *u, const char *etag, struct store_err *err)
{
    char bare[2 * S3_MD5 + 1] = "";
    unsigned char sum[EVP_MAX_MD_SIZE];
    if (strncmp(u->sum, "md5", 3) != 0)
        return true;
    if (EVP_DigestFinal_ex(u->md5_of_parts, sum, NULL) != 1) {
        store_err_set(err, STORE_FAILED, "put %.150s: OpenSSL failed", u->o.op->key);
        return false;
    }
    if (strcspn(etag, "-") == 2 * S3_MD5)
        memcpy(bare, etag, 2 * S3_MD5);
    return s3_put_check_etag(u, bare, sum, err);
}

static void complete_done(struct s3_request *r, const struct store_err *err,
                          const struct xml_doc *doc)
{
    struct s3_upload *u = r->conf.user;
    struct store_err problem = *err;
    if (s3_put_expired(u->o.op, r->answer))
        store_err_set(&problem, STORE_EXPIRED, "put %.150s: came after its expiry", u->o.op->key);
    /* "No such upload" is what a repeated completion hears when the first one was done. */
    if (problem.code == STORE_PRECONDITION || problem.code == STORE_NOT_FOUND) {
        if (problem.code == STORE_NOT_FOUND)
            store_err_set(&problem, STORE_FAILED, "put %.150s: its parts are gone", u->o.op->key);
        s3_put_look(u, &problem);
        return;
    }
    if (problem.code != STORE_OK)
        s3_multipart_fail(u, &problem);
    else if (*doc->etag)
        s3_multipart_joined(u, doc->etag);
    else
        s3_put_look(u, &problem);
}

void s3_multipart_joined(struct s3_upload *u, const char *etag)
{
    struct store_err err = {0};
    if (check_joined(u, etag, &err))
        s3_put_finish(u, etag);
    else
        s3_multipart_fail(u, &err);
}

static void join(struct s3_upload *u)
{
    struct s3_request_conf conf;
    if (!s3_parts_complete(&u->parts, &u->o, "put", &conf)) {
        no_memory(u);
        return;
    }
    conf.signed_at_s = u->o.op->opts.put.signed_at_s;
    conf.expires_in_s = u->o.op->opts.put.expires_in_s;
    conf.fill = fill_complete;
    conf.done = complete_done;
    s3_op_request(&u->o, &u->r, &conf);
}

/* ---- A condition, before the completion ---- */

static void ask_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct s3_upload *u = r->conf.user;
    const struct store_put_opts *p = &u->o.op->opts.put;
    struct store_err problem = *err;
    bool missing = err->code == STORE_NOT_FOUND;
    (void)doc;
    if (err->code == STORE_OK || missing) {
        bool holds = p->if_absent ? missing : !missing && strcmp(r->answer->etag, p->if_match) == 0;
        if (holds) {
            join(u);
            return;
        }
        store_err_set(&problem, STORE_PRECONDITION, "put %.150s: the condition does not hold",
                      u->o.op->key);
    }
    s3_multipart_fail(u, &problem);
}

/* The completion carries the condition, but not every store heeds it there (Ceph 16 does not): a
 * look beforehand leaves a moment for a race on those, instead of none of the condition. */
static void complete(struct s3_upload *u)
{
    struct s3_request_conf conf = s3_request_defaults(&u->o, "put");
    u->size = u->taken;
    if (!u->o.op->opts.put.if_absent && !u->o.op->opts.put.if_match) {
        join(u);
        return;
    }
    conf.fill = s3_fill_head;
    conf.done = ask_done;
    s3_op_request(&u->o, &u->r, &conf);
}

/* ---- Parts ---- */

static int fill_part(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct s3_part *p = r->conf.user;
    (void)err;
    d->method = "PUT";
    d->key = p->u->o.op->key;
    d->payload_hash = p->sha256[0] ? p->sha256 : SIGV4_UNSIGNED_PAYLOAD;
    s3_draft_query(d, "partNumber", s3_draft_text(d, "%u", p->number));
    s3_draft_query(d, "uploadId", p->u->parts.id);
    s3_draft_header(d, "Content-MD5", p->md5_base64);
    return 0;
}

static void part_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct s3_part *p = r->conf.user;
    struct s3_upload *u = p->u;
    (void)doc;
    char *etag = err->code == STORE_OK ? strdup(r->answer->etag) : NULL;
    if (err->code != STORE_OK) {
        s3_multipart_fail(u, err);
        return;
    }
    s3_put_learn(u->o.s3, r->answer->etag, p->md5);
    u->parts.etags[p->number - 1] = etag;
    s3_request_cleanup(&p->r);
    p->state = S3_PART_FREE;
    u->n_sent++;
    if (!etag)
        no_memory(u);
    else
        loop_defer(u->o.op->loop, &u->step);
}

/* Content-MD5 in any case, for any store verifies it; the signature covers the body too where the
 * way is not encrypted. */
static bool hash_part(struct s3_part *p)
{
    unsigned char md5[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    p->sha256[0] = '\0';
    if (EVP_Digest(p->bytes, p->len, md5, &n, EVP_md5(), NULL) != 1 ||
        EVP_DigestUpdate(p->u->md5_of_parts, md5, n) != 1)
        return false;
    memcpy(p->md5, md5, sizeof(p->md5));
    base64_encode(md5, n, p->md5_base64);
    return p->u->o.s3->tls || sigv4_sha256_hex(p->bytes, p->len, p->sha256) == 0;
}

static void send_part(struct s3_upload *u, struct s3_part *p)
{
    struct s3_request_conf conf = s3_request_defaults(&u->o, "put");
    if (u->parts.n == S3_MAX_PARTS) {
        struct store_err err;
        store_err_set(&err, STORE_INVALID,
                      "put %.100s: more than %d parts of %llu bytes; give the size or a larger "
                      "part_bytes",
                      u->o.op->key, S3_MAX_PARTS, (unsigned long long)u->part_bytes);
        s3_multipart_fail(u, &err);
        return;
    }
    if (!s3_parts_grow(&u->parts) || !hash_part(p)) {
        no_memory(u);
        return;
    }
    p->number = ++u->parts.n;
    p->state = S3_PART_SENDING;
    conf.bulk = true;
    conf.body = p->bytes;
    conf.body_size = p->len;
    conf.stall_timeout_ms = PART_STALL_MS;
    conf.gate_keys = 1;
    conf.fill = fill_part;
    conf.done = part_done;
    conf.user = p;
    s3_op_request(&u->o, &p->r, &conf);
}

/* ---- The beginning ---- */

static int fill_begin(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct s3_upload *u = r->conf.user;
    (void)err;
    d->method = "POST";
    d->key = u->o.op->key;
    s3_draft_query(d, "uploads", "");
    s3_draft_object(d, u->o.op, u->sum[0] ? u->sum : NULL, u->put_id);
    return 0;
}

static void begin_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct s3_upload *u = r->conf.user;
    struct store_err problem;
    if (err->code != STORE_OK) {
        s3_multipart_fail(u, err);
        return;
    }
    if (s3_parts_begun(&u->parts, doc, &u->o, &problem) == 0)
        loop_defer(u->o.op->loop, &u->step);
    else
        s3_multipart_fail(u, &problem);
}

/* The first part is full: it is a large one. */
static void begin(struct s3_upload *u)
{
    struct store_err err;
    struct s3_request_conf conf = s3_request_defaults(&u->o, "put");
    if (atomic_load(&u->o.s3->etags) == S3_ETAGS_MD5)
        snprintf(u->sum, sizeof(u->sum), "md5:%llu", (unsigned long long)u->part_bytes);
    if (s3_make_put_id(u->put_id, u->o.op, &err) != 0) {
        s3_multipart_fail(u, &err);
        return;
    }
    conf.expects = XML_UPLOAD_BEGUN;
    conf.fill = fill_begin;
    conf.done = begin_done;
    s3_op_request(&u->o, &u->r, &conf);
}

/* ---- Taking the body ---- */

static struct s3_part *part_in(struct s3_upload *u, int state)
{
    for (unsigned i = 0; i < u->n_slots; i++)
        if ((int)u->slots[i].state == state)
            return &u->slots[i];
    return NULL;
}

/* Of a body in memory: no copy. */
static void take_memory(struct s3_upload *u, struct s3_part *p)
{
    uint64_t left = u->size - u->taken;
    p->bytes = u->body + u->taken;
    p->len = left < u->part_bytes ? (size_t)left : (size_t)u->part_bytes;
    u->taken += p->len;
    u->at_end = u->taken == u->size;
}

enum taken { TAKEN_FULL, TAKEN_PAUSED, TAKEN_FAILED };

static enum taken take_stream(struct s3_upload *u, struct s3_part *p)
{
    p->buf = p->buf ? p->buf : malloc((size_t)u->part_bytes);
    p->bytes = p->buf;
    if (!p->buf) {
        no_memory(u);
        return TAKEN_FAILED;
    }
    while (p->len < u->part_bytes && !u->at_end) {
        ssize_t n = op_read(u->o.op, p->buf + p->len, (size_t)u->part_bytes - p->len);
        if (n == STORE_READ_PAUSE)
            return TAKEN_PAUSED;
        if (n < 0) {
            struct store_err err;
            store_err_set(&err, STORE_CANCELED, "put %.150s: given up by the caller", u->o.op->key);
            s3_multipart_fail(u, &err);
            return TAKEN_FAILED;
        }
        p->len += (size_t)n;
        u->taken += (uint64_t)n;
        u->at_end = n == 0 || u->taken == u->size;
    }
    return TAKEN_FULL;
}

/* Whether another one may be taken. If not, u may be gone: what fails before there is an upload
 * ends at once. */
static bool part_is_full(struct s3_upload *u, struct s3_part *p)
{
    if (p->len == 0 && u->parts.n > 0) {
        p->state = S3_PART_FREE; /* the one before was the last */
    } else if (u->parts.id[0]) {
        send_part(u, p);
    } else if (u->at_end && u->size == STORE_SIZE_UNKNOWN) {
        u->single = true;
        s3_put_single(u, p->bytes, p->len);
        return false;
    } else {
        if (!u->r.here)
            begin(u);
        return false;
    }
    return u->parts.id[0] && !u->ending;
}

/* Fills one slot, if one is free, and ends when all is sent. One part a round, so that the loop's
 * other work goes on between them. */
static void step(void *user)
{
    struct s3_upload *u = user;
    struct s3_part *p = part_in(u, S3_PART_FILLING);
    if (u->ending || u->single)
        return;
    if (!p && u->at_end) {
        if (u->n_sent == u->parts.n)
            complete(u);
        return;
    }
    p = p ? p : part_in(u, S3_PART_FREE);
    if (!p)
        return;
    if (p->state == S3_PART_FREE)
        p->len = 0;
    p->state = S3_PART_FILLING;
    if (u->body && p->len == 0)
        take_memory(u, p);
    else if (!u->body && p->len < u->part_bytes && !u->at_end && take_stream(u, p) != TAKEN_FULL)
        return;
    if (part_is_full(u, p))
        loop_defer(u->o.op->loop, &u->step);
}

static uint64_t part_size(const struct s3_upload *u)
{
    uint64_t bytes = u->o.s3->part_bytes;
    if (u->size == STORE_SIZE_UNKNOWN || u->size / S3_MAX_PARTS < bytes)
        return bytes;
    return (u->size / S3_MAX_PARTS / ROUND_BYTES + 1) * ROUND_BYTES;
}

void s3_multipart_begin(struct s3_upload *u)
{
    struct store_err err;
    u->part_bytes = part_size(u);
    u->step = (struct loop_task){.fn = step, .user = u};
    if (u->part_bytes >> MAX_PART_BYTES_SHIFT) {
        store_err_set(&err, STORE_INVALID, "put %.150s: too large for %d parts", u->o.op->key,
                      S3_MAX_PARTS);
        s3_multipart_fail(u, &err);
        return;
    }
    u->n_slots = u->o.s3->parts_in_flight + 1;
    u->slots = calloc(u->n_slots, sizeof(*u->slots));
    u->md5_of_parts = EVP_MD_CTX_new();
    if (!u->slots || !u->md5_of_parts || EVP_DigestInit_ex(u->md5_of_parts, EVP_md5(), NULL) != 1) {
        u->n_slots = u->slots ? u->n_slots : 0;
        no_memory(u);
        return;
    }
    for (unsigned i = 0; i < u->n_slots; i++)
        u->slots[i].u = u;
    loop_defer(u->o.op->loop, &u->step);
}

void s3_multipart_resume(struct s3_upload *u)
{
    loop_defer(u->o.op->loop, &u->step);
}

void s3_multipart_cleanup(struct s3_upload *u)
{
    loop_defer_clear(u->o.op->loop, &u->step);
    for (unsigned i = 0; i < u->n_slots; i++) {
        s3_request_cleanup(&u->slots[i].r);
        free(u->slots[i].buf);
    }
    free(u->slots);
    s3_parts_cleanup(&u->parts);
    EVP_MD_CTX_free(u->md5_of_parts);
}
