/* An upload: head → (small body: collect) → fence → put, with the body flowing → answer.
 *
 * A small body is collected first, so that the time between the fence and the end of the put is
 * short, and a try that failed can be repeated from memory. A large one streams: its bytes wait in
 * the client's socket until the fence is passed and then whenever the store is slower. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "epufs/fence.h"
#include "service/range.h"
#include "writer/terms.h"

enum { COLLECT_MAX_BYTES = 65536, STREAM_BUFFER_BYTES = 131072 };

struct upload {
    struct request *rq; /* NULL: the request is over */
    uint64_t gen, size;
    bool collects;              /* the whole body goes through `body` before the fence */
    struct loop_timer patience; /* for a body that is collected; a streamed one has the put's */
    char key[LAYOUT_KEY_SIZE];
    struct buf body; /* what has come and is not in the store's hands */
    struct fence_check *fence;
    store_op *put;
    bool starved; /* the store waits for bytes of the client */
    bool full;    /* the client waits for room in `body` */
    char *if_match;
    bool if_absent;
};

/* Frees when neither the request nor an operation needs it. */
static void release(struct upload *u)
{
    if (u->rq || u->put)
        return;
    if (u->fence)
        fence_cancel(u->fence);
    buf_cleanup(&u->body);
    free(u->if_match);
    free(u);
}

/* ---- Answer ---- */

static void answer_stored(struct upload *u, const struct store_info *info)
{
    char text[STORE_ETAG_SIZE + 64], etag[STORE_ETAG_SIZE + 2];
    int n = snprintf(text, sizeof(text), "{\"version\":\"%s\",\"size\":%llu}\n", info->etag,
                     (unsigned long long)u->size);
    snprintf(etag, sizeof(etag), "\"%s\"", info->etag);
    struct http_field fields[3] = {{"Content-Type", "application/json"}, {"ETag", etag}};
    request_reply(u->rq, 200, fields, 2, text, (size_t)n);
}

static void put_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct upload *u = user;
    u->put = NULL;
    if (u->rq && err->code == STORE_OK)
        answer_stored(u, info);
    else if (u->rq)
        request_fail_store(u->rq, err);
    release(u);
}

/* ---- Put ---- */

static ssize_t put_read(void *user, void *out, size_t cap)
{
    struct upload *u = user;
    if (u->body.len == 0) {
        u->starved = true;
        return STORE_READ_PAUSE;
    }
    size_t n = cap < u->body.len ? cap : u->body.len;
    memcpy(out, u->body.data, n);
    buf_drop_front(&u->body, n);
    if (u->full && u->rq) {
        u->full = false;
        http_resume_body(u->rq->http);
    }
    return (ssize_t)n;
}

static void start_put(struct upload *u, int64_t signed_at_s)
{
    static const struct store_put_cb cb = {put_read, put_done};
    const struct writer_conf *c = writer_conf(u->rq);
    struct store_err err;
    const struct store_put_opts opts = {
        .if_absent = u->if_absent,
        .if_match = u->if_match,
        .timeout_ms = (uint32_t)c->upload_timeout_ms,
        .signed_at_s = signed_at_s,
        .expires_in_s = (uint32_t)(c->upload_expiry_ms / 1000),
    };
    if (u->collects)
        u->put = store_put_bytes(u->rq->files, u->rq->worker->loop, u->key, buf_str(&u->body),
                                 u->body.len, &opts, put_done, u, &err);
    else
        u->put = store_put(u->rq->files, u->rq->worker->loop, u->key, u->size, &opts, &cb, u, &err);
    if (!u->put)
        request_fail_store(u->rq, &err);
}

/* ---- Fence ---- */

/* A janitor might not wait for it. Fails closed, also when only the store's clock finds the terms
 * too old. */
static void refuse_without_terms(struct request *rq)
{
    const char *why = terms_missing(writer_of(request_service(rq))->terms);
    request_fail(rq, 503, why ? why : "this writer's upload times in the store are too old");
}

static void fence_done(void *user, const struct store_err *err, const struct fence_verdict *v)
{
    struct upload *u = user;
    u->fence = NULL;
    if (err->code != STORE_OK) {
        request_fail_store(u->rq, err);
    } else if (v->deleted) {
        char detail[96];
        snprintf(detail, sizeof(detail), "the %s of this token's generation was deleted",
                 scope_kind_name(v->by));
        request_fail(u->rq, 410, detail);
    } else if (!terms_take_upload(writer_of(request_service(u->rq))->terms, v->server_time_s)) {
        refuse_without_terms(u->rq);
    } else {
        start_put(u, v->server_time_s);
    }
}

static void start_fence(struct upload *u)
{
    struct store_err err;
    u->fence = fence_start(request_service(u->rq)->store, u->rq->worker->loop, &u->rq->route.scope,
                           u->gen, FENCE_TIMEOUT_MS, fence_done, u, &err);
    if (!u->fence)
        request_fail_store(u->rq, &err);
}

/* ---- The request's events ---- */

static size_t on_body(struct request *rq, const void *bytes, size_t n)
{
    struct upload *u = rq->state;
    size_t room = u->body.max - u->body.len;
    size_t take = n < room ? n : room;
    buf_add(&u->body, bytes, take);
    if (buf_failed(&u->body)) {
        request_fail(rq, 503, "out of memory");
        return n;
    }
    u->full = take < n;
    if (u->put && u->starved && take) {
        u->starved = false;
        store_op_resume(u->put);
    }
    return take;
}

static void on_body_end(struct request *rq)
{
    struct upload *u = rq->state;
    loop_timer_clear(rq->worker->loop, &u->patience);
    if (u->collects)
        start_fence(u);
}

static void on_patience_end(void *user)
{
    struct upload *u = user;
    request_fail(u->rq, 408, "the body took longer than upload_timeout");
}

static void on_gone(struct request *rq)
{
    struct upload *u = rq->state;
    loop_timer_clear(rq->worker->loop, &u->patience);
    if (u->fence)
        fence_cancel(u->fence);
    u->fence = NULL;
    if (u->put)
        store_op_cancel(u->put);
}

static void on_end(struct request *rq)
{
    struct upload *u = rq->state;
    on_gone(rq);
    u->rq = NULL;
    release(u);
}

static const struct request_ops upload_ops = {
    .body = on_body,
    .body_end = on_body_end,
    .gone = on_gone,
    .end = on_end,
};

/* ---- Begin ---- */

/* Only what the store can check: one strong etag, or "none yet". Returns false after a 400. */
static bool take_conditions(struct request *rq, char **if_match, bool *if_absent)
{
    const char *match = http_header(rq->http, "If-Match");
    const char *none = http_header(rq->http, "If-None-Match");
    char etag[STORE_ETAG_SIZE];
    *if_absent = none != NULL;
    if (none && strcmp(none, "*") != 0) {
        request_fail(rq, 400, "If-None-Match: expected * for an upload");
        return false;
    }
    if (!match)
        return true;
    if (none || etag_form(match, etag, sizeof(etag)) != ETAG_ONE || !*etag) {
        request_fail(rq, 400, "If-Match: expected one strong entity tag in quotes, alone");
        return false;
    }
    *if_match = xstrdup(etag);
    return true;
}

/* Returns false after an answer. */
static bool check_size(struct request *rq, const struct known_files *known, uint64_t *size)
{
    uint64_t max_bytes;
    char detail[128];
    int64_t length = http_content_length(rq->http);
    if (!known_files_match(known, rq->route.path, &max_bytes)) {
        request_fail(rq, 422, "not a known file: the option known_files lists what is stored");
        return false;
    }
    if (length < 0) {
        request_fail(rq, 411, "expected a Content-Length");
        return false;
    }
    if ((uint64_t)length > max_bytes) {
        snprintf(detail, sizeof(detail), "%lld bytes: this file may have up to %llu",
                 (long long)length, (unsigned long long)max_bytes);
        request_fail(rq, 413, detail);
        return false;
    }
    *size = (uint64_t)length;
    return true;
}

void upload_begin(struct request *rq)
{
    uint64_t gen, size;
    char *if_match = NULL;
    bool if_absent;
    if (!request_may_use_files(rq, &gen) ||
        !check_size(rq, writer_of(request_service(rq))->known, &size) ||
        !take_conditions(rq, &if_match, &if_absent))
        return;
    struct upload *u = xcalloc(1, sizeof(*u));
    u->rq = rq;
    u->gen = gen;
    u->size = size;
    u->collects = size <= COLLECT_MAX_BYTES;
    u->if_match = if_match;
    u->if_absent = if_absent;
    buf_init(&u->body, u->collects ? COLLECT_MAX_BYTES : STREAM_BUFFER_BYTES);
    layout_file(&rq->route.scope, gen, rq->route.path, u->key);
    rq->state = u;
    rq->ops = &upload_ops;
    u->patience = (struct loop_timer){.fn = on_patience_end, .user = u};
    if (!u->collects)
        start_fence(u);
    else if (loop_timer_set(rq->worker->loop, &u->patience, writer_conf(rq)->upload_timeout_ms) !=
             0)
        request_fail(rq, 503, "out of memory");
}
