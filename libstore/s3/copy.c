/* COPY on the store's side. First a look at the source: its ETag, which every following request is
 * tied to, and its size, for more than 5 GiB are copied part by part. */
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "libstore/s3/parts.h"

enum { COPY_STALL_MS = 120000 };
static const uint64_t single_max_bytes = 5ULL << 30, part_bytes = 1ULL << 30;

struct copy {
    struct s3_op o;
    struct s3_request r;
    char etag[STORE_ETAG_SIZE];
    uint64_t size;
    char content_type[256];
    struct buf meta; /* of the source, as http_answer has it, without a sum that will not fit */
    size_t n_meta;
    char sum[STORE_CHECKSUM_SIZE];
    bool new_meta; /* it has to be given anew */
    struct s3_parts parts;
    struct store_err err;
};

size_t s3_copy_size(void)
{
    return sizeof(struct copy);
}

/* ---- Ends ---- */

static int fill_abort(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct copy *c = r->conf.user;
    (void)err;
    s3_parts_fill_abort(&c->parts, &c->o, d);
    return 0;
}

static void abort_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct copy *c = r->conf.user;
    (void)err;
    (void)doc;
    s3_finish_at(&c->o, &c->err, r->answer->date_s);
}

static void fail(struct copy *c, const struct store_err *err)
{
    if (!c->parts.id[0]) {
        s3_finish_at(&c->o, err, c->r.here ? c->r.answer->date_s : 0);
        return;
    }
    struct s3_request_conf conf = s3_parts_abort(&c->o);
    c->err = *err;
    conf.fill = fill_abort;
    conf.done = abort_done;
    s3_op_request(&c->o, &c->r, &conf);
}

static void no_memory(struct copy *c)
{
    struct store_err err;
    store_err_set(&err, STORE_NO_MEMORY, "copy %.150s: out of memory", c->o.op->source);
    fail(c, &err);
}

/* ---- What is sent ---- */

/* x-amz-copy-source is percent-encoded like a path. */
static bool add_source(struct copy *c, struct s3_draft *d)
{
    struct buf path = BUF_INIT(8192);
    buf_addf(&path, "/%s/", c->o.s3->bucket);
    percent_encode(&path, c->o.s3->prefix, strlen(c->o.s3->prefix), true);
    percent_encode(&path, c->o.op->source, strlen(c->o.op->source), true);
    s3_draft_header(d, "x-amz-copy-source", s3_draft_text(d, "%s", buf_str(&path)));
    s3_draft_header(d, "x-amz-copy-source-if-match", s3_draft_text(d, "\"%s\"", c->etag));
    bool whole = !buf_failed(&path);
    buf_cleanup(&path);
    return whole;
}

static void add_meta(struct copy *c, struct s3_draft *d)
{
    const char *at = buf_str(&c->meta);
    if (c->content_type[0])
        s3_draft_header(d, "Content-Type", c->content_type);
    for (size_t i = 0; i < c->n_meta; i++) {
        const char *value = at + strlen(at) + 1;
        s3_draft_header(d, s3_draft_text(d, S3_META "%s", at), value);
        at = value + strlen(value) + 1;
    }
}

/* ---- In one request ---- */

static int fill_copy(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct copy *c = r->conf.user;
    d->method = "PUT";
    d->key = c->o.op->key;
    if (c->new_meta) {
        s3_draft_header(d, "x-amz-metadata-directive", "REPLACE");
        add_meta(c, d);
    }
    return add_source(c, d) ? 0 : store_err_set(err, STORE_NO_MEMORY, "copy: out of memory");
}

static void copy_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct copy *c = r->conf.user;
    char etag[STORE_ETAG_SIZE];
    if (err->code != STORE_OK) {
        fail(c, err);
        return;
    }
    text_copy(etag, sizeof(etag), doc->etag);
    s3_finish_stored(&c->o, r->answer, c->size, etag, c->sum);
}

static void copy_whole(struct copy *c)
{
    struct s3_request_conf conf = s3_request_defaults(&c->o, "copy");
    conf.expects = XML_COPIED;
    conf.stall_timeout_ms = COPY_STALL_MS;
    conf.gate_keys = 1;
    conf.fill = fill_copy;
    conf.done = copy_done;
    s3_op_request(&c->o, &c->r, &conf);
}

/* ---- Part by part ---- */

static int fill_complete(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct copy *c = r->conf.user;
    (void)err;
    s3_parts_fill_complete(&c->parts, &c->o, d);
    return 0;
}

static void complete(struct copy *c)
{
    struct s3_request_conf conf;
    if (!s3_parts_complete(&c->parts, &c->o, "copy", &conf)) {
        no_memory(c);
        return;
    }
    conf.fill = fill_complete;
    conf.done = copy_done;
    s3_op_request(&c->o, &c->r, &conf);
}

static uint64_t parts_of(const struct copy *c)
{
    return (c->size + part_bytes - 1) / part_bytes;
}

static int fill_part(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct copy *c = r->conf.user;
    uint64_t first = c->parts.n * part_bytes;
    uint64_t last = first + part_bytes < c->size ? first + part_bytes - 1 : c->size - 1;
    d->method = "PUT";
    d->key = c->o.op->key;
    s3_draft_query(d, "partNumber", s3_draft_text(d, "%u", c->parts.n + 1));
    s3_draft_query(d, "uploadId", c->parts.id);
    s3_draft_header(
        d, "x-amz-copy-source-range",
        s3_draft_text(d, "bytes=%llu-%llu", (unsigned long long)first, (unsigned long long)last));
    return add_source(c, d) ? 0 : store_err_set(err, STORE_NO_MEMORY, "copy: out of memory");
}

static void next_part(struct copy *c);

static void part_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct copy *c = r->conf.user;
    char *etag = err->code == STORE_OK ? strdup(doc->etag) : NULL;
    if (err->code != STORE_OK) {
        fail(c, err);
    } else if (!etag) {
        no_memory(c);
    } else {
        c->parts.etags[c->parts.n++] = etag;
        next_part(c);
    }
}

static void next_part(struct copy *c)
{
    struct s3_request_conf conf = s3_request_defaults(&c->o, "copy");
    if (c->parts.n == parts_of(c)) {
        complete(c);
        return;
    }
    if (!s3_parts_grow(&c->parts)) {
        no_memory(c);
        return;
    }
    conf.expects = XML_COPIED;
    conf.stall_timeout_ms = COPY_STALL_MS;
    conf.gate_keys = 1;
    conf.fill = fill_part;
    conf.done = part_done;
    s3_op_request(&c->o, &c->r, &conf);
}

static int fill_begin(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct copy *c = r->conf.user;
    (void)err;
    d->method = "POST";
    d->key = c->o.op->key;
    s3_draft_query(d, "uploads", "");
    add_meta(c, d);
    return 0;
}

static void begin_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct copy *c = r->conf.user;
    struct store_err problem;
    if (err->code != STORE_OK) {
        fail(c, err);
        return;
    }
    if (s3_parts_begun(&c->parts, doc, &c->o, &problem) != 0)
        fail(c, &problem);
    else
        next_part(c);
}

static void copy_parts(struct copy *c)
{
    struct s3_request_conf conf = s3_request_defaults(&c->o, "copy");
    conf.expects = XML_UPLOAD_BEGUN;
    conf.fill = fill_begin;
    conf.done = begin_done;
    s3_op_request(&c->o, &c->r, &conf);
}

/* ---- The source ---- */

/* An ETag that is the MD5 of a body, or of parts, need not be that of the copy: such a sum is not
 * taken over. */
static bool take_meta(struct copy *c, const struct http_answer *a)
{
    const char *at = buf_str(&a->meta), *sum = s3_own_meta(a, S3_META_SUM);
    bool keep_sum = sum && strncmp(sum, "crc32c:", 7) == 0;
    c->new_meta = sum && !keep_sum;
    text_copy(c->sum, sizeof(c->sum), keep_sum ? sum : "");
    text_copy(c->content_type, sizeof(c->content_type), a->content_type);
    for (size_t i = 0; i < a->n_meta; i++) {
        const char *value = at + strlen(at) + 1;
        if (keep_sum || strcmp(at, S3_META_SUM) != 0) {
            buf_add(&c->meta, at, strlen(at) + 1);
            buf_add(&c->meta, value, strlen(value) + 1);
            c->n_meta++;
        }
        at = value + strlen(value) + 1;
    }
    return !buf_failed(&c->meta);
}

static int fill_head(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct copy *c = r->conf.user;
    const char *match = c->o.op->opts.copy.if_match;
    (void)err;
    d->method = "HEAD";
    d->key = c->o.op->source;
    if (match)
        s3_draft_header(d, "If-Match", s3_draft_text(d, "\"%s\"", match));
    return 0;
}

static void head_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct copy *c = r->conf.user;
    const struct http_answer *a = r->answer;
    (void)doc;
    if (err->code != STORE_OK) {
        fail(c, err);
        return;
    }
    c->size = a->content_length > 0 ? (uint64_t)a->content_length : 0;
    memcpy(c->etag, a->etag, sizeof(c->etag));
    if (!take_meta(c, a))
        no_memory(c);
    else if (c->size > single_max_bytes)
        copy_parts(c);
    else
        copy_whole(c);
}

/* ---- What the driver calls ---- */

static void copy_cancel(struct s3_op *o)
{
    struct store_err err;
    store_err_set(&err, STORE_CANCELED, "copy");
    fail((struct copy *)o, &err);
}

static void copy_cleanup(struct s3_op *o)
{
    struct copy *c = (struct copy *)o;
    s3_request_cleanup(&c->r);
    s3_parts_cleanup(&c->parts);
    buf_cleanup(&c->meta);
}

void s3_copy_start(struct s3_op *o)
{
    struct copy *c = (struct copy *)o;
    struct s3_request_conf conf = s3_request_defaults(o, "copy");
    o->cancel = copy_cancel;
    o->cleanup = copy_cleanup;
    buf_init(&c->meta, 16 * 1024);
    conf.name = o->op->source;
    conf.fill = fill_head;
    conf.done = head_done;
    s3_op_request(&c->o, &c->r, &conf);
}
