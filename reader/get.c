/* GET and HEAD of one file.
 *
 * The usual GET is one request to the store, and the conditions are judged when its head is there.
 * HEAD, If-Range and "the last n bytes" have to know the object first: they ask for its head, and
 * tie a partial GET to its ETag. So do If-None-Match and If-Modified-Since: a store's own "not
 * modified" would not tell what a 304 has to say. A file that is missing may have been deleted:
 * only then the tombstones are asked, to tell 410 from 404. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "epufs/fence.h"
#include "reader/reader.h"
#include "reader/sibling.h"
#include "service/range.h"

struct get {
    struct request *rq; /* NULL: the request is over */
    uint64_t gen;
    char key[LAYOUT_KEY_SIZE];
    store_op *op;
    struct sibling_search *search; /* which generation it is to be */
    struct fence_check *fence;
    struct byte_range range;
    bool has_range;
    bool partial;  /* the answer is a 206 */
    bool answered; /* the answer's head was given */
};

static void release(struct get *g)
{
    if (!g->rq && !g->op)
        free(g);
}

/* ---- Answers ---- */

static void answer_head(struct get *g, const struct store_info *info, int status)
{
    char etag[STORE_ETAG_SIZE + 2], modified[CLOCK_TEXT], range[CONTENT_RANGE_SIZE];
    snprintf(etag, sizeof(etag), "\"%s\"", info->etag);
    clock_http_date(info->modified_s, modified);
    bool whole = status != 206;
    if (!whole)
        range_content_range(info->offset, info->length, info->size, range);
    struct http_field fields[6] = {
        {"Content-Type", status == 304         ? NULL
                         : *info->content_type ? info->content_type
                                               : "application/octet-stream"},
        {"ETag", *info->etag ? etag : NULL},
        {"Last-Modified", info->modified_s ? modified : NULL},
        {"Accept-Ranges", "bytes"},
        {"Content-Range", whole ? NULL : range},
    };
    g->answered = true;
    if (status == 304)
        request_reply(g->rq, 304, fields, 5, NULL, info->size);
    else
        request_stream(g->rq, status, fields, 5, whole ? info->size : info->length);
}

static void answer_unsatisfiable(struct get *g, uint64_t size)
{
    char range[CONTENT_RANGE_SIZE];
    range_content_range_unsatisfied(size, range);
    g->answered = true;
    request_fail_with(g->rq, 416, "the range lies outside of the file", "Content-Range", range);
}

/* Answers 304 or 412 and returns false when the conditions do not hold. */
static bool conditions_hold(struct get *g, const struct store_info *info)
{
    struct http_req *http = g->rq->http;
    const struct conditions c = {
        .if_match = http_header(http, "If-Match"),
        .if_none_match = http_header(http, "If-None-Match"),
        .if_modified_since = http_header(http, "If-Modified-Since"),
        .if_unmodified_since = http_header(http, "If-Unmodified-Since"),
    };
    switch (conditions_check(&c, info->etag, info->modified_s)) {
    case CONDITIONS_HOLD: return true;
    case CONDITIONS_NOT_MODIFIED: answer_head(g, info, 304); return false;
    case CONDITIONS_FAILED: break;
    }
    g->answered = true;
    request_fail(g->rq, 412, "If-Match or If-Unmodified-Since does not hold");
    return false;
}

static void fence_done(void *user, const struct store_err *err, const struct fence_verdict *v)
{
    struct get *g = user;
    g->fence = NULL;
    if (err->code != STORE_OK)
        request_fail_store(g->rq, err);
    else if (v->deleted)
        request_fail(g->rq, 410, "this generation of the endpoint was deleted");
    else
        request_fail(g->rq, 404, "no such file");
}

static void answer_missing(struct get *g)
{
    struct store_err err;
    g->fence = fence_start(request_service(g->rq)->store, g->rq->worker->loop, &g->rq->route.scope,
                           g->gen, FENCE_TIMEOUT_MS, fence_done, g, &err);
    if (!g->fence)
        request_fail_store(g->rq, &err);
}

/* The store failed, or said what HTTP has a status for. */
static void answer_error(struct get *g, const struct store_err *err)
{
    if (!g->answered && err->code == STORE_NOT_FOUND) {
        answer_missing(g);
    } else if (!http_committed(g->rq->http)) {
        request_fail_store(g->rq, err);
    } else {
        /* Never let a broken source look like a whole file. */
        log_warn("read broke off", LOG_S("request_id", g->rq->id), LOG_ERR(err));
        g->rq->note = "store failed in mid-body";
        http_abort(g->rq->http);
    }
}

/* ---- Get ---- */

static void get_head(void *user, const struct store_info *info)
{
    struct get *g = user;
    if (!g->rq || g->answered)
        return;
    if (conditions_hold(g, info))
        answer_head(g, info, g->partial ? 206 : 200);
    else
        store_op_cancel(g->op);
}

static bool get_data(void *user, const void *bytes, size_t n)
{
    struct get *g = user;
    return g->rq ? http_write(g->rq->http, bytes, n) : true;
}

static void get_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct get *g = user;
    bool refused = g->answered && err->code == STORE_CANCELED;
    (void)info;
    g->op = NULL;
    if (g->rq && err->code != STORE_OK && !refused)
        answer_error(g, err);
    release(g);
}

static void start_get(struct get *g, struct store_get_opts *opts)
{
    static const struct store_get_cb cb = {get_head, get_data, get_done};
    struct store_err err;
    opts->timeout_ms = (uint32_t)reader_conf(g->rq)->read_timeout_ms;
    g->op = store_get(g->rq->files, g->rq->worker->loop, g->key, opts, &cb, g, &err);
    if (!g->op)
        request_fail_store(g->rq, &err);
}

/* ---- Head first ---- */

static void get_part(struct get *g, const struct store_info *info)
{
    struct store_get_opts opts = {0};
    const char *if_range = http_header(g->rq->http, "If-Range");
    if (g->has_range && if_range_holds(if_range, info->etag, info->modified_s, clock_real_s())) {
        switch (range_apply(&g->range, info->size, &opts.offset, &opts.length)) {
        case RANGE_UNSATISFIABLE: answer_unsatisfiable(g, info->size); return;
        case RANGE_OK:
            g->partial = true;
            opts.if_match = *info->etag ? info->etag : NULL;
            break;
        case RANGE_NONE: break;
        }
    }
    start_get(g, &opts);
}

static void head_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct get *g = user;
    g->op = NULL;
    if (!g->rq)
        release(g);
    else if (err->code != STORE_OK)
        answer_error(g, err);
    else if (!conditions_hold(g, info))
        return;
    else if (g->rq->route.method == METHOD_HEAD)
        answer_head(g, info, 200);
    else
        get_part(g, info);
}

/* ---- The request's events ---- */

static void on_writable(struct request *rq)
{
    struct get *g = rq->state;
    if (g->op)
        store_op_resume(g->op);
}

static void on_gone(struct request *rq)
{
    struct get *g = rq->state;
    if (g->op)
        store_op_cancel(g->op);
    if (g->fence)
        fence_cancel(g->fence);
    g->fence = NULL;
    if (g->search)
        sibling_cancel(g->search);
    g->search = NULL;
}

static void on_end(struct request *rq)
{
    struct get *g = rq->state;
    on_gone(rq);
    g->rq = NULL;
    release(g);
}

static const struct request_ops get_ops = {
    .writable = on_writable,
    .gone = on_gone,
    .end = on_end,
};

static void begin_generation(struct get *g, uint64_t gen)
{
    struct request *rq = g->rq;
    struct store_get_opts opts = {0};
    struct store_err err;
    g->gen = gen;
    layout_file(&rq->route.scope, gen, rq->route.path, g->key);
    g->has_range = range_read(http_header(rq->http, "Range"), &g->range);
    bool head_first = rq->route.method == METHOD_HEAD || http_header(rq->http, "If-None-Match") ||
                      http_header(rq->http, "If-Modified-Since") ||
                      (g->has_range && (g->range.suffix || http_header(rq->http, "If-Range")));
    if (head_first) {
        g->op = store_head(rq->files, rq->worker->loop, g->key, 0, head_done, g, &err);
        if (!g->op)
            request_fail_store(rq, &err);
        return;
    }
    g->partial = g->has_range;
    opts.offset = g->has_range ? g->range.offset : 0;
    opts.length = g->has_range ? g->range.length : 0;
    start_get(g, &opts);
}

static void sibling_found(void *user, const struct store_err *err, bool deleted, uint64_t gen)
{
    struct get *g = user;
    g->search = NULL;
    if (err->code != STORE_OK)
        request_fail_store(g->rq, err);
    else if (deleted)
        request_fail(g->rq, 410, "this generation of the endpoint was deleted");
    else
        begin_generation(g, gen);
}

void get_begin(struct request *rq)
{
    uint64_t gen;
    bool is_sibling;
    struct store_err err;
    if (!request_may_read_files(rq, reader_conf(rq)->sibling_reads, &gen, &is_sibling))
        return;
    struct get *g = xcalloc(1, sizeof(*g));
    g->rq = rq;
    rq->state = g;
    rq->ops = &get_ops;
    if (!is_sibling) {
        begin_generation(g, gen);
        return;
    }
    g->search = sibling_start(rq, sibling_found, g, &err);
    if (!g->search)
        request_fail_store(rq, &err);
}
