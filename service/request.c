#include "service/request.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "epufs/layout.h"

enum { RETRY_AFTER_S = 1, METRICS_MAX_BYTES = 1 << 20 };

/* ---- Metrics ---- */

/* What is counted apart: each route, and each kind of scope. */
enum { CLASSES = 5, KINDS = ROUTE_VERSION + 1 + SCOPE_ENDPOINT };
static const char *const class_names[CLASSES] = {"1xx", "2xx", "3xx", "4xx", "5xx"};

static int kind_of(const struct route_req *r)
{
    return r->route == ROUTE_SCOPE
               ? (r->scope.kind == SCOPE_TENANT ? (int)ROUTE_SCOPE
                                                : ROUTE_VERSION + (int)r->scope.kind)
               : (int)r->route;
}

/* The reverse, for the labels. */
static struct route_req example_of(int kind)
{
    if (kind > ROUTE_VERSION)
        return (struct route_req){.route = ROUTE_SCOPE,
                                  .scope.kind = (enum scope_kind)(kind - ROUTE_VERSION)};
    return (struct route_req){.route = (enum route)kind};
}

static struct {
    struct metric count[KINDS][CLASSES], seconds[KINDS][CLASSES];
    char labels[KINDS][CLASSES][64];
    struct metric in_flight, received, sent;
} metrics;

void request_metrics_register(void)
{
    for (int r = 0; r < KINDS; r++) {
        const struct route_req example = example_of(r);
        for (int c = 0; c < CLASSES; c++) {
            char *labels = metrics.labels[r][c];
            snprintf(labels, sizeof(metrics.labels[r][c]), "route=\"%s\",class=\"%s\"",
                     route_name(&example), class_names[c]);
            metrics.count[r][c] = (struct metric){
                .name = "epufs_http_requests_total",
                .labels = labels,
                .help = "Requests answered, by route and class of status.",
                .type = METRIC_COUNTER,
            };
            metrics.seconds[r][c] = (struct metric){
                .name = "epufs_http_request_duration_seconds",
                .labels = labels,
                .help = "From a request's head to the end of its answer.",
                .type = METRIC_HISTOGRAM,
                .buckets = metric_latency_buckets,
                .n_buckets = metric_n_latency_buckets,
            };
            metric_register(&metrics.count[r][c]);
            metric_register(&metrics.seconds[r][c]);
        }
    }
    metrics.in_flight = (struct metric){.name = "epufs_http_requests_in_flight",
                                        .help = "Requests under way.",
                                        .type = METRIC_GAUGE};
    metrics.received = (struct metric){.name = "epufs_http_request_body_bytes_total",
                                       .help = "Bytes of request bodies received.",
                                       .type = METRIC_COUNTER};
    metrics.sent = (struct metric){.name = "epufs_http_response_body_bytes_total",
                                   .help = "Bytes of answers' bodies sent.",
                                   .type = METRIC_COUNTER};
    metric_register(&metrics.in_flight);
    metric_register(&metrics.received);
    metric_register(&metrics.sent);
}

static void count(const struct request *rq, uint64_t elapsed_ms)
{
    int status = http_status(rq->http);
    int class = status >= 100 && status < 600 ? status / 100 - 1 : 4;
    metric_add(&metrics.count[kind_of(&rq->route)][class], 1);
    metric_observe(&metrics.seconds[kind_of(&rq->route)][class], (double)elapsed_ms / 1000);
    metric_add(&metrics.received, http_bytes_received(rq->http));
    metric_add(&metrics.sent, http_bytes_sent(rq->http));
}

/* ---- Request id ---- */

static uint64_t next_random(struct worker *w)
{
    /* splitmix64 (Steele, Lea, Flood 2014): ids need to differ, not to be secret. */
    uint64_t z = (w->request_seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void set_id(struct request *rq)
{
    const char *given = http_header(rq->http, "X-Request-Id");
    size_t n = given ? strlen(given) : 0;
    if (n > 0 && n < sizeof(rq->id) &&
        strspn(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n)
        memcpy(rq->id, given, n + 1);
    else
        u64_hex16(next_random(rq->worker), rq->id);
}

/* ---- Answers ---- */

static const struct {
    int status;
    const char *title;
} titles[] = {
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {416, "Range Not Satisfiable"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {500, "Internal Server Error"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {507, "Insufficient Storage"},
};

static const char *title_of(int status)
{
    for (size_t i = 0; i < LEN(titles); i++)
        if (titles[i].status == status)
            return titles[i].title;
    return "Error";
}

void request_reply(struct request *rq, int status, struct http_field *fields, size_t n,
                   const void *body, size_t len)
{
    fields[n] = (struct http_field){"X-Request-Id", rq->id};
    http_reply(rq->http, status, fields, n + 1, body, len);
}

void request_stream(struct request *rq, int status, struct http_field *fields, size_t n,
                    uint64_t length)
{
    fields[n] = (struct http_field){"X-Request-Id", rq->id};
    http_reply_stream(rq->http, status, fields, n + 1, length);
}

void request_json(struct request *rq, int status, const char *json, size_t n)
{
    struct http_field fields[2] = {{"Content-Type", "application/json"}};
    request_reply(rq, status, fields, 1, json, n);
}

void request_fail_with(struct request *rq, int status, const char *detail, const char *name,
                       const char *value)
{
    struct http_field fields[4] = {
        {"Content-Type", "application/problem+json"},
        {name, value},
        {"Cache-Control", "no-store"},
    };
    json_t *o =
        json_pack("{s:s,s:s,s:i,s:s%,s:s}", "type", "about:blank", "title", title_of(status),
                  "status", status, "detail", detail, strlen(detail), "request_id", rq->id);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    /* A detail that is no UTF-8 is left out: it quotes the client's own bytes. */
    const char *body = text ? text : "{\"type\":\"about:blank\"}";
    request_reply(rq, status, fields, 3, body, strlen(body));
    free(text);
    json_decref(o);
}

void request_fail(struct request *rq, int status, const char *detail)
{
    char after[16];
    snprintf(after, sizeof(after), "%d", RETRY_AFTER_S);
    if (status == 429 || status == 503)
        request_fail_with(rq, status, detail, "Retry-After", after);
    else if (status == 401)
        request_fail_with(rq, status, detail, "WWW-Authenticate", "Bearer realm=\"epufs\"");
    else
        request_fail_with(rq, status, detail, "Vary", NULL);
}

void request_method_not_allowed(struct request *rq, unsigned allowed)
{
    char allow[ROUTE_ALLOW_SIZE];
    route_allow(allowed, allow);
    request_fail_with(rq, 405, "this resource does not know the method", "Allow", allow);
}

/* The one table from a store's error to a status. */
static const struct {
    enum store_code code;
    int status;
    const char *detail;
} store_answers[] = {
    {STORE_NOT_FOUND, 404, "no such file"},
    {STORE_PRECONDITION, 412, "the file is not in the state that the request demands"},
    {STORE_BAD_RANGE, 416, "the range begins behind the end of the file"},
    {STORE_INVALID, 400, "the store cannot hold that"},
    {STORE_DENIED, 502, "the store refuses this service"},
    {STORE_BUSY, 503, "the store is busy or out of reach"},
    {STORE_TIMEOUT, 504, "the store did not answer in time"},
    {STORE_EXPIRED, 408, "the upload took too long to begin"},
    {STORE_NO_SPACE, 507, "the store is full"},
    {STORE_CORRUPT, 502, "the store's answer is damaged"},
};

void request_fail_store(struct request *rq, const struct store_err *err)
{
    int status = 500;
    const char *detail = "internal error";
    for (size_t i = 0; i < LEN(store_answers); i++)
        if (store_answers[i].code == err->code) {
            status = store_answers[i].status;
            detail = store_answers[i].detail;
        }
    if (status >= 500)
        log_warn("store failed", LOG_S("request_id", rq->id), LOG_ERR(err));
    request_fail(rq, status, detail);
}

/* ---- Token and rights ---- */

static bool authenticate(struct request *rq)
{
    struct store_err err;
    const char *value = http_header(rq->http, "Authorization");
    if (!value || strncasecmp(value, "Bearer ", 7) != 0) {
        request_fail(rq, 401, "expected the header Authorization: Bearer <token>");
        return false;
    }
    const char *token = value + 7;
    token += strspn(token, " ");
    if (token_cache_verify(rq->worker->tokens, worker_keys(rq->worker), &request_service(rq)->rules,
                           clock_real_s(), token, strlen(token), &rq->claims, &err) == 0)
        return true;
    request_fail(rq, 401, err.msg);
    return false;
}

static bool query_gen(struct request *rq, const char *name, bool *has, uint64_t *gen)
{
    char text[32];
    struct store_err err;
    int found = route_query(&rq->route, name, text, sizeof(text), &err);
    *has = found > 0;
    if (found == 0 || (found > 0 && parse_u64(text, strlen(text), gen)))
        return true;
    request_fail(rq, 400,
                 found < 0 ? err.msg : "query: expected a generation, an unsigned 64-bit number");
    return false;
}

static bool token_covers_files(struct request *rq, uint64_t *gen)
{
    bool has;
    *gen = rq->claims.gen;
    if (rq->claims.admin)
        return query_gen(rq, "gen", &has, gen);
    if (rq->claims.has_scope && scope_equal(&rq->claims.scope, &rq->route.scope))
        return true;
    request_fail(rq, 403, "the token is not for this tenant, timeline and endpoint");
    return false;
}

/* The right and the handle are one: without the first there is nothing to name a file with. */
static bool open_files(struct request *rq)
{
    struct store_err err;
    if (layout_open_timeline(request_service(rq)->store, &rq->route.scope, &rq->files, &err) == 0)
        return true;
    request_fail_store(rq, &err);
    return false;
}

bool request_may_use_files(struct request *rq, uint64_t *gen)
{
    return token_covers_files(rq, gen) && open_files(rq);
}

/* Whether the token is for an endpoint of the route's timeline, but another one. */
static bool is_sibling_of(const struct token_claims *claims, const struct scope *endpoint)
{
    struct scope timeline = *endpoint;
    timeline.kind = SCOPE_TIMELINE;
    timeline.endpoint[0] = '\0';
    return claims->has_scope && claims->scope.kind == SCOPE_ENDPOINT &&
           scope_contains(&timeline, &claims->scope) && !scope_equal(&claims->scope, endpoint);
}

bool request_may_read_files(struct request *rq, bool siblings, uint64_t *gen, bool *is_sibling)
{
    *is_sibling = siblings && !rq->claims.admin && is_sibling_of(&rq->claims, &rq->route.scope);
    if (!*is_sibling)
        return request_may_use_files(rq, gen);
    *gen = 0;
    return open_files(rq);
}

bool request_may_delete(struct request *rq, bool *has_gen, uint64_t *gen)
{
    *has_gen = rq->claims.has_gen && rq->route.scope.kind == SCOPE_ENDPOINT;
    *gen = rq->claims.gen;
    if (rq->claims.admin) {
        *gen = 0;
        if (!query_gen(rq, "upto_gen", has_gen, gen))
            return false;
        if (!*has_gen && *rq->route.query) {
            /* A misspelt bound must not become another deletion. */
            request_fail(rq, 400, "query: expected upto_gen or nothing");
            return false;
        }
        if (*has_gen && rq->route.scope.kind != SCOPE_ENDPOINT) {
            request_fail(rq, 400,
                         "query: upto_gen is for endpoints only; tenants and timelines "
                         "go with all their generations");
            return false;
        }
        return true;
    }
    if (rq->claims.has_scope && scope_equal(&rq->claims.scope, &rq->route.scope))
        return true;
    request_fail(rq, 403, "the token is not for exactly this tenant, timeline or endpoint");
    return false;
}

/* ---- What every service serves by itself ---- */

static void serve_ready(struct request *rq)
{
    struct service *s = request_service(rq);
    const char *why = s->app->not_ready ? s->app->not_ready(s) : NULL;
    if (atomic_load(&s->phase) != PHASE_RUNNING)
        request_fail(rq, 503, "draining");
    else if (!atomic_load(&s->store_ready))
        request_fail(rq, 503, "the store does not answer");
    else if (why)
        request_fail(rq, 503, why);
    else
        request_json(rq, 200, "{\"status\":\"ready\"}\n", 19);
}

static void serve_metrics(struct request *rq)
{
    struct http_field fields[2] = {{"Content-Type", "text/plain; version=0.0.4"}};
    struct buf text = BUF_INIT(METRICS_MAX_BYTES);
    metrics_render(&text);
    if (buf_failed(&text))
        request_fail(rq, 500, "metrics are larger than 1 MiB");
    else
        request_reply(rq, 200, fields, 1, text.data, text.len);
    buf_cleanup(&text);
}

static void serve_version(struct request *rq)
{
    char text[128];
    int n = snprintf(text, sizeof(text), "{\"program\":\"%s\",\"version\":\"%s\"}\n",
                     request_service(rq)->app->program, EPUFS_VERSION);
    request_json(rq, 200, text, (size_t)n);
}

static void serve_own(struct request *rq)
{
    if (rq->route.method != METHOD_GET && rq->route.method != METHOD_HEAD) {
        request_method_not_allowed(rq, METHOD_GET | METHOD_HEAD);
        return;
    }
    switch (rq->route.route) {
    case ROUTE_LIVEZ: request_json(rq, 200, "{\"status\":\"alive\"}\n", 19); return;
    case ROUTE_READYZ: serve_ready(rq); return;
    case ROUTE_METRICS: serve_metrics(rq); return;
    default: serve_version(rq); return;
    }
}

/* ---- The server's events ---- */

static const struct request_ops no_ops;

static void on_begin(void *user, struct http_req *http)
{
    struct request *rq = xcalloc(1, sizeof(*rq));
    struct store_err err;
    rq->http = http;
    rq->worker = user;
    rq->ops = &no_ops;
    http_set_state(http, rq);
    metric_inc(&metrics.in_flight, 1);
    set_id(rq);
    if (route_parse(http_method(http), http_target(http), &rq->route, &err) != 0) {
        request_fail(rq, 400, err.msg);
        return;
    }
    switch (rq->route.route) {
    case ROUTE_NONE: request_fail(rq, 404, "no such resource"); return;
    case ROUTE_FILE:
    case ROUTE_SCOPE:
        if (!request_service(rq)->app->begin)
            request_fail(rq, 404, "no such resource");
        else if (authenticate(rq))
            request_service(rq)->app->begin(rq);
        return;
    default: serve_own(rq); return;
    }
}

static size_t on_body(void *user, struct http_req *http, const void *bytes, size_t n)
{
    struct request *rq = http_state(http);
    (void)user;
    return rq->ops->body ? rq->ops->body(rq, bytes, n) : n;
}

static void on_body_end(void *user, struct http_req *http)
{
    struct request *rq = http_state(http);
    (void)user;
    if (rq->ops->body_end)
        rq->ops->body_end(rq);
}

static void on_writable(void *user, struct http_req *http)
{
    struct request *rq = http_state(http);
    (void)user;
    if (rq->ops->writable)
        rq->ops->writable(rq);
}

static void on_gone(void *user, struct http_req *http)
{
    struct request *rq = http_state(http);
    (void)user;
    rq->note = "client went away";
    if (rq->ops->gone)
        rq->ops->gone(rq);
}

/* The path without its query: nobody may put a token there, but somebody will. */
static void log_request(const struct request *rq, uint64_t elapsed_ms)
{
    const char *target = http_target(rq->http);
    size_t n = strcspn(target, "?");
    char path[1024];
    n = n < sizeof(path) ? n : sizeof(path) - 1;
    memcpy(path, target, n);
    path[n] = '\0';
    log_info("request", LOG_S("method", http_method(rq->http)), LOG_S("path", path),
             LOG_I("status", http_status(rq->http)), LOG_U("sent", http_bytes_sent(rq->http)),
             LOG_U("received", http_bytes_received(rq->http)), LOG_U("ms", elapsed_ms),
             LOG_S("request_id", rq->id), LOG_S("client", http_client(rq->http)),
             LOG_S("traceparent", http_header(rq->http, "traceparent")), LOG_S("note", rq->note));
}

static void on_end(void *user, struct http_req *http)
{
    struct request *rq = http_state(http);
    (void)user;
    uint64_t elapsed_ms = clock_mono_ms() - http_started_ms(http);
    metric_inc(&metrics.in_flight, -1);
    count(rq, elapsed_ms);
    if (log_on(LOG_INFO) && (rq->route.route == ROUTE_FILE || rq->route.route == ROUTE_SCOPE ||
                             http_status(http) >= 400))
        log_request(rq, elapsed_ms);
    if (rq->ops->end)
        rq->ops->end(rq);
    store_close(rq->files);
    free(rq);
}

const struct http_handler request_handler = {
    .begin = on_begin,
    .body = on_body,
    .body_end = on_body_end,
    .writable = on_writable,
    .gone = on_gone,
    .end = on_end,
};
