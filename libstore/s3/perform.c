/* One operation: tries its request until it succeeds, fails for good, or runs out of time. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "libstore/retry.h"
#include "libstore/s3/s3.h"

static void try_now(void *user);

/* ---- Ends ---- */

static void free_op(struct s3_op *o)
{
    loop_timer_clear(o->op->loop, &o->backoff);
    http_call_cancel(&o->call);
    http_call_cleanup(&o->call);
    xml_parser_free(o->xml);
    buf_cleanup(&o->target);
    buf_cleanup(&o->headers);
    buf_cleanup(&o->body);
    free(o->pending);
    free(o);
}

/* Success. A get has described itself already; the others have only the store's clock to tell. */
static void finish(struct s3_op *o)
{
    struct store_op *op = o->op;
    const struct store_info info = {.server_time_s = o->call.answer.date_s};
    free_op(o);
    op->driver_op = NULL;
    op_finish(op, NULL, op->kind == OP_GET ? NULL : &info);
}

static void finish_failed(struct s3_op *o, const struct store_err *err)
{
    struct store_op *op = o->op;
    struct store_info info = {.etag = "", .content_type = ""};
    info.server_time_s = o->call.answer.date_s;
    free_op(o);
    op->driver_op = NULL;
    op_finish(op, err, &info);
}

static const char *kind_name(enum op_kind kind)
{
    static const char *const names[] = {"get", "head", "put", "list", "delete", "delete", "delete"};
    return names[kind];
}

/* ---- Describing an object ---- */

static void take_meta(const struct http_head *a, struct store_info *info)
{
    const char *at = buf_str(&a->meta);
    for (size_t i = 0; i < a->n_meta; i++) {
        info->meta[i].name = at;
        at += strlen(at) + 1;
        info->meta[i].value = at;
        at += strlen(at) + 1;
    }
    info->n_meta = a->n_meta;
}

static void describe(const struct http_head *a, struct store_info *info)
{
    *info = (struct store_info){
        .size = a->content_length > 0 ? (uint64_t)a->content_length : 0,
        .etag = a->etag,
        .content_type = a->content_type,
        .modified_s = a->last_modified_s,
        .server_time_s = a->date_s,
    };
    info->length = info->size;
    if (a->has_range)
        info->size = a->range_total;
    take_meta(a, info);
}

/* ---- Reading the answer ---- */

static bool is_success(const struct http_call *c)
{
    return c->answer.status >= 200 && c->answer.status < 300;
}

/* Whether this answer's body is XML for us, rather than an object's data. */
static bool wants_xml(const struct s3_op *o)
{
    return !is_success(&o->call) || o->op->kind == OP_LIST ||
           (o->op->kind == OP_DELETE_MANY && !o->single);
}

static bool on_xml(struct s3_op *o, const void *bytes, size_t n)
{
    if (!o->xml && !(o->xml = xml_parser_new()))
        store_err_set(&o->xml_err, STORE_NO_MEMORY, "S3: out of memory");
    o->xml_bytes += n;
    if (!is_success(&o->call) && o->xml_bytes > S3_MAX_ERROR_BODY)
        return true; /* an error page, not an error document */
    if (o->xml_err.code == STORE_OK)
        xml_parser_feed(o->xml, bytes, n, &o->xml_err);
    return true;
}

/* Whether the answer to a get is the part that was asked for: a store, or a proxy before it, that
 * ignores the range or the condition sends bytes which must not pass for that part. */
static bool fits(const struct s3_op *o)
{
    const struct http_head *a = &o->call.answer;
    const struct store_get_opts *g = &o->op->opts.get;
    uint64_t length = (uint64_t)a->content_length;
    if (!o->described && !g->offset && !g->length)
        return !a->has_range;
    if (!a->has_range || a->range_first != g->offset + o->delivered)
        return false;
    if (o->described)
        return length == o->expected - o->delivered && strcmp(a->etag, o->etag) == 0;
    return !g->length || length <= g->length;
}

static void on_head(struct http_call *c)
{
    struct s3_op *o = c->user;
    struct store_info info;
    if (o->op->kind != OP_GET || !is_success(c) || c->answer.content_length < 0)
        return;
    o->misfit = !fits(o);
    if (o->misfit || o->described)
        return;
    describe(&c->answer, &info);
    info.offset = o->op->opts.get.offset;
    o->described = true;
    o->expected = info.length;
    memcpy(o->etag, c->answer.etag, sizeof(o->etag));
    op_head(o->op, &info);
}

static bool on_data(struct http_call *c, const void *bytes, size_t n)
{
    struct s3_op *o = c->user;
    if (wants_xml(o))
        return on_xml(o, bytes, n);
    if (o->op->kind != OP_GET || !o->described || o->misfit || n > o->expected - o->delivered)
        return true; /* on_done() finds the length wrong */
    o->delivered += n;
    o->progress_ms = loop_now_ms(o->op->loop);
    return op_data(o->op, bytes, n);
}

static ssize_t on_read(struct http_call *c, void *buf, size_t cap)
{
    struct s3_op *o = c->user;
    if (o->op->kind == OP_DELETE_MANY) {
        size_t left = o->body.len - o->body_sent;
        size_t n = cap < left ? cap : left;
        memcpy(buf, o->body.data + o->body_sent, n);
        o->body_sent += n;
        return (ssize_t)n;
    }
    ssize_t n = op_read(o->op, buf, cap);
    o->body_asked = o->body_asked || n > 0;
    return n;
}

static bool can_rewind(const struct s3_op *o)
{
    return o->op->kind != OP_PUT || o->op->bytes || !o->body_asked;
}

static bool on_rewind(struct http_call *c)
{
    struct s3_op *o = c->user;
    if (!can_rewind(o))
        return false;
    o->body_sent = 0;
    o->op->asked = 0;
    return true;
}

/* ---- Judging it ---- */

static enum answer_kind kind_of(enum http_failure failure)
{
    switch (failure) {
    case HTTP_ANSWERED: return ANSWER_WHOLE;
    case HTTP_NOT_SENT: return ANSWER_NOT_SENT;
    case HTTP_BAD_LOCAL: return ANSWER_LOCAL;
    case HTTP_BROKEN: break;
    }
    return ANSWER_BROKEN;
}

/* The parsed body; NULL when there is none or it is not one of S3's. */
static const struct xml_doc *read_doc(struct s3_op *o)
{
    const struct xml_doc *doc = NULL;
    if (!o->xml || o->xml_err.code != STORE_OK || xml_parser_finish(o->xml, &doc, &o->xml_err) != 0)
        return NULL;
    return doc;
}

/* Whether a put came too late: the store says only that it is denied. Ceph refuses from the very
 * second of the expiry on. */
static bool put_expired(const struct s3_op *o)
{
    const struct store_put_opts *p = &o->op->opts.put;
    return o->op->kind == OP_PUT && p->expires_in_s && o->call.answer.status == 403 &&
           o->call.answer.date_s >= p->signed_at_s + (int64_t)p->expires_in_s;
}

static void set_error(struct s3_op *o, const struct verdict *v, const struct xml_doc *doc,
                      const char *detail, struct store_err *err)
{
    const struct http_head *a = &o->call.answer;
    const char *what = o->op->key ? o->op->key : o->pending ? o->pending[0] : "";
    if (doc && doc->kind == XML_ERROR)
        store_err_set(err, v->code, "%s %.120s: %d %.40s %.60s", kind_name(o->op->kind), what,
                      a->status, doc->code, doc->message);
    else if (a->status)
        store_err_set(err, v->code, "%s %.120s: status %d", kind_name(o->op->kind), what,
                      a->status);
    else
        store_err_set(err, v->code, "%s %.120s: %.100s", kind_name(o->op->kind), what, detail);
    err->http_status = a->status;
    err->retry_after_ms = a->retry_after_ms;
}

static uint32_t next_random(struct s3_loop *here)
{
    here->random ^= here->random << 13;
    here->random ^= here->random >> 17;
    here->random ^= here->random << 5;
    return here->random;
}

/* Tries again after a while, if there is time and the request can be repeated. */
static void retry_or_fail(struct s3_op *o, const struct store_err *err)
{
    /* A get's own deadline has room for a slow reader; a silent store has no claim to that. */
    uint64_t patience_ms = o->progress_ms + o->s3->op_timeout_ms;
    uint64_t until_ms = patience_ms < o->op->deadline_ms ? patience_ms : o->op->deadline_ms;
    uint32_t delay_ms =
        retry_delay_ms(o->tries, o->call.answer.retry_after_ms, next_random(o->here));
    uint64_t now_ms = clock_mono_ms();
    bool resumable = !o->delivered || o->etag[0];
    if (o->tries < S3_MAX_TRIES && can_rewind(o) && resumable && now_ms + delay_ms < until_ms &&
        loop_timer_set(o->op->loop, &o->backoff, delay_ms) == 0)
        return;
    finish_failed(o, err);
}

/* Learns the server's clock from its refusal, once an operation. */
static bool learn_time(struct s3_op *o)
{
    if (o->time_learned || !o->call.answer.date_s)
        return false;
    o->time_learned = true;
    atomic_store(&o->s3->clock_offset_s, o->call.answer.date_s - clock_real_s());
    return true;
}

/* ---- Success of each kind ---- */

static void finish_list(struct s3_op *o, const struct xml_doc *doc)
{
    size_t cut = strlen(o->s3->prefix);
    assert(doc); /* garbled() has seen to it */
    if (doc->n_entries > o->op->opts.list.max) {
        struct store_err err;
        store_err_set(&err, STORE_CORRUPT, "list %.100s: %zu entries came, more than %u",
                      o->op->key, doc->n_entries, o->op->opts.list.max);
        finish_failed(o, &err);
        return;
    }
    for (size_t i = 0; i < doc->n_entries; i++) {
        const char *key = doc->entries[i].key;
        if (strncmp(key, o->s3->prefix, cut) != 0) {
            struct store_err err;
            store_err_set(&err, STORE_CORRUPT, "list %.100s: the store named %.100s", o->op->key,
                          key);
            finish_failed(o, &err);
            return;
        }
        doc->entries[i].key = key + cut;
    }
    const struct store_page page = {
        .entries = doc->entries,
        .n = doc->n_entries,
        .next_token = doc->next_token,
        .server_time_s = o->call.answer.date_s,
    };
    op_page(o->op, &page);
    finish(o);
}

static bool same_key(const struct s3_op *o, const char *pending, const char *named)
{
    size_t cut = strlen(o->s3->prefix);
    return strncmp(named, o->s3->prefix, cut) == 0 && strcmp(named + cut, pending) == 0;
}

/* Moves the key to the front part, which is kept. */
static bool keep_pending(struct s3_op *o, const char *named, size_t *kept)
{
    for (size_t k = *kept; k < o->n_pending; k++)
        if (same_key(o, o->pending[k], named)) {
            const char *other = o->pending[*kept];
            o->pending[(*kept)++] = o->pending[k];
            o->pending[k] = other;
            return true;
        }
    return false;
}

/* Keeps in o->pending only what the store could not remove now. Returns false with *err set when
 * it cannot remove some at all. */
static bool keep_failed(struct s3_op *o, const struct xml_doc *doc, struct store_err *err)
{
    size_t kept = 0;
    const struct xml_key_error *first = NULL;
    assert(doc);
    enum store_code code_of_first = STORE_OK;
    for (size_t i = 0; i < doc->n_key_errors; i++) {
        const struct xml_key_error *e = &doc->key_errors[i];
        struct verdict v = retry_judge(ANSWER_WHOLE, 400, e->code);
        if (v.code == STORE_NOT_FOUND)
            continue;
        if (!v.retry) {
            enum store_code code = strcmp(e->code, "AccessDenied") == 0 ? STORE_DENIED : v.code;
            store_err_set(err, code, "delete of %.120s (and %zu more): %.40s %.50s", e->key,
                          doc->n_key_errors - 1, e->code, e->message);
            return false;
        }
        if (!keep_pending(o, e->key, &kept)) {
            store_err_set(err, STORE_CORRUPT,
                          "delete: the store refuses %.150s, which nobody named", e->key);
            return false;
        }
        code_of_first = first ? code_of_first : v.code;
        first = first ? first : e;
    }
    if (first)
        store_err_set(err, code_of_first, "delete of %.120s (and %zu more): %.40s", first->key,
                      kept - 1, first->code);
    o->n_pending = kept;
    return true;
}

/* What XML cannot carry goes one by one, after the rest. */
static void next_batch_part(struct s3_op *o)
{
    size_t carried = 0;
    struct store_op *op = o->op;
    for (size_t i = 0; i < op->n_keys; i++)
        if (!xml_can_carry(op->keys[i]))
            o->pending[carried++] = op->keys[i];
    o->n_pending = carried;
    o->single = true;
}

static void finish_batch(struct s3_op *o, const struct xml_doc *doc)
{
    struct store_err err = {0};
    if (o->single) {
        memmove(o->pending, o->pending + 1, --o->n_pending * sizeof(*o->pending));
    } else {
        if (!keep_failed(o, doc, &err)) {
            finish_failed(o, &err);
            return;
        }
        if (o->n_pending) {
            retry_or_fail(o, &err);
            return;
        }
        next_batch_part(o);
    }
    if (o->n_pending == 0) {
        finish(o);
        return;
    }
    o->tries = 0;
    try_now(o);
}

static void finish_get(struct s3_op *o)
{
    struct store_err err;
    if (o->described && o->delivered == o->expected) {
        finish(o);
        return;
    }
    if (o->misfit)
        store_err_set(&err, STORE_CORRUPT, "get %.150s: another part came than was asked for",
                      o->op->key);
    else
        store_err_set(&err, STORE_CORRUPT, "get %.150s: %llu bytes came of %llu", o->op->key,
                      (unsigned long long)o->delivered, (unsigned long long)o->expected);
    finish_failed(o, &err);
}

static void finish_put(struct s3_op *o)
{
    struct store_op *op = o->op;
    char etag[STORE_ETAG_SIZE];
    memcpy(etag, o->call.answer.etag, sizeof(etag));
    const struct store_info info = {
        .size = op->size,
        .length = op->size,
        .etag = etag,
        .server_time_s = o->call.answer.date_s,
    };
    free_op(o);
    op->driver_op = NULL;
    op_finish(op, NULL, &info);
}

static void finish_head(struct s3_op *o)
{
    struct store_op *op = o->op;
    struct store_info info;
    struct http_head answer = o->call.answer; /* outlives o, for info's strings */
    o->call.answer.meta = (struct buf){0};
    describe(&answer, &info);
    free_op(o);
    op->driver_op = NULL;
    op_finish(op, NULL, &info);
    buf_cleanup(&answer.meta);
}

static void succeed(struct s3_op *o, const struct xml_doc *doc)
{
    switch (o->op->kind) {
    case OP_GET: finish_get(o); return;
    case OP_HEAD: finish_head(o); return;
    case OP_PUT: finish_put(o); return;
    case OP_LIST: finish_list(o, doc); return;
    case OP_DELETE_MANY: finish_batch(o, doc); return;
    case OP_DELETE:
    case OP_DELETE_PREFIX: finish(o); return;
    }
}

/* ---- The end of a try ---- */

/* Whether a success's body is not what was asked for: cut short, or no S3 answer at all. */
static bool garbled(const struct s3_op *o, const struct xml_doc *doc)
{
    if (!wants_xml(o) || !is_success(&o->call) || (doc && doc->kind == XML_ERROR))
        return false;
    return !doc || doc->kind != (o->op->kind == OP_LIST ? XML_LIST : XML_DELETE_RESULT);
}

static void on_done(struct http_call *c, enum http_failure failure, const char *detail)
{
    struct s3_op *o = c->user;
    const struct xml_doc *doc = failure == HTTP_ANSWERED ? read_doc(o) : NULL;
    const char *code = doc && doc->kind == XML_ERROR ? doc->code : "";
    enum answer_kind kind = kind_of(failure);
    if (kind == ANSWER_WHOLE && garbled(o, doc)) {
        kind = ANSWER_BROKEN;
        detail = o->xml_err.code ? o->xml_err.msg : "not an S3 answer";
    }
    struct verdict v = retry_judge(kind, c->answer.status, code);
    if (put_expired(o))
        v = (struct verdict){.code = STORE_EXPIRED};
    bool gone = v.code == STORE_NOT_FOUND &&
                (o->op->kind == OP_DELETE || (o->op->kind == OP_DELETE_MANY && o->single));
    if (v.code == STORE_OK || gone) {
        succeed(o, doc);
        return;
    }
    struct store_err err;
    if (kind == ANSWER_BROKEN && is_success(c))
        c->answer.status = 0; /* the failure is the transport's, whatever the head said */
    set_error(o, &v, doc, detail, &err);
    if (v.skewed ? learn_time(o) : v.retry)
        retry_or_fail(o, &err);
    else
        finish_failed(o, &err);
}

static void try_now(void *user)
{
    struct s3_op *o = user;
    struct store_err err = {0};
    o->tries++;
    xml_parser_free(o->xml);
    o->xml = NULL;
    o->xml_bytes = 0;
    o->xml_err = (struct store_err){0};
    o->misfit = false;
    o->body_sent = 0;
    o->op->asked = 0;
    if (s3_build(o, &err) != 0 || http_call_start(o->here->http, &o->call, &err) != 0)
        finish_failed(o, &err);
}

/* ---- What op.c calls ---- */

static bool split_batch(struct s3_op *o)
{
    struct store_op *op = o->op;
    o->pending = malloc(op->n_keys * sizeof(*o->pending));
    if (!o->pending)
        return false;
    for (size_t i = 0; i < op->n_keys; i++)
        if (xml_can_carry(op->keys[i]))
            o->pending[o->n_pending++] = op->keys[i];
    if (o->n_pending == 0)
        next_batch_part(o);
    return true;
}

void s3_start(void *state, struct store_op *op)
{
    struct store_err err = {0};
    struct s3_loop *here = s3_loop_get(state, op->loop, &err);
    struct s3_op *o = here ? calloc(1, sizeof(*o)) : NULL;
    if (!o) {
        store_err_set(&err, STORE_NO_MEMORY, "S3: out of memory");
        op_finish(op, &err, NULL);
        return;
    }
    op->driver_op = o;
    o->op = op;
    o->s3 = state;
    o->here = here;
    o->progress_ms = clock_mono_ms();
    buf_init(&o->target, 65536);
    buf_init(&o->headers, 32768);
    buf_init(&o->body, 8 << 20);
    o->backoff = (struct loop_timer){.fn = try_now, .user = o};
    o->call = (struct http_call){.read = on_read,
                                 .rewind = on_rewind,
                                 .head = on_head,
                                 .data = on_data,
                                 .done = on_done,
                                 .user = o};
    if (op->kind == OP_DELETE_MANY && !split_batch(o)) {
        store_err_set(&err, STORE_NO_MEMORY, "S3: out of memory");
        finish_failed(o, &err);
        return;
    }
    try_now(o);
}

void s3_resume(void *state, struct store_op *op)
{
    struct s3_op *o = op->driver_op;
    (void)state;
    if (o)
        http_call_resume(&o->call);
}

void s3_cancel(void *state, struct store_op *op)
{
    struct s3_op *o = op->driver_op;
    struct store_err err;
    (void)state;
    store_err_set(&err, STORE_CANCELED, "%s", kind_name(op->kind));
    finish_failed(o, &err);
}
