/* Requests: MHD's call-backs turned into the handler's. */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "service/httpd_guard.h"
#include "service/httpd_internal.h"

static const struct http_handler *handler_of(const struct http_req *r)
{
    return r->conn->h->conf.handler;
}

static void *user_of(const struct http_req *r)
{
    return r->conn->h->conf.user;
}

/* ---- Suspending and ending ---- */

void req_suspend(struct http_req *r)
{
    struct conn *c = r->conn;
    r->suspended = true;
    MHD_suspend_connection(c->mhd);
    /* The hang-up came earlier than the request's begin, and does not come again. */
    if (c->half_closed)
        conn_hung_up(c);
}

void req_wake(struct http_req *r)
{
    struct conn *c = r->conn;
    if (!r->suspended)
        return;
    r->suspended = false;
    c->progress_ms = 0;
    MHD_resume_connection(c->mhd);
    if (!c->h->ending)
        loop_defer(c->h->loop, &c->h->run);
}

void req_doom(struct http_req *r)
{
    r->doomed = true;
    if (r->suspended)
        req_wake(r);
    else
        shutdown(r->conn->fd, SHUT_RDWR);
}

static void tell_gone(struct http_req *r)
{
    if (r->told_gone || r->aborted || r->answered_raw)
        return;
    r->told_gone = true;
    handler_of(r)->gone(user_of(r), r);
}

void req_gone(struct http_req *r)
{
    if (!r->begun || r->told_gone)
        return;
    tell_gone(r);
    req_doom(r);
}

static void on_writable(void *user)
{
    struct http_req *r = user;
    if (r->begun && !r->told_gone && !r->doomed)
        handler_of(r)->writable(user_of(r), r);
}

static void req_reset(struct http_req *r)
{
    struct conn *c = r->conn;
    struct buf target = r->target;
    loop_defer_clear(c->h->loop, &r->writable);
    answer_drop(r);
    *r = (struct http_req){.conn = c, .target = target, .writable = {.fn = on_writable, .user = r}};
}

void req_init(struct http_req *r, struct conn *c)
{
    *r = (struct http_req){.conn = c, .writable = {.fn = on_writable, .user = r}};
    buf_init(&r->target, c->h->conf.pool_bytes);
}

void req_finish(struct http_req *r, bool sent)
{
    struct conn *c = r->conn;
    if (r->begun) {
        if (!sent)
            tell_gone(r);
        else if (!r->answer.bodyless)
            r->sent = r->answer.length;
        r->doomed = true;
        c->h->n_requests--;
        handler_of(r)->end(user_of(r), r);
    }
    req_reset(r);
}

void req_completed(void *cls, struct MHD_Connection *mhd, void **context,
                   enum MHD_RequestTerminationCode code)
{
    struct http_req *r = *context;
    (void)mhd;
    ((struct httpd *)cls)->events++;
    if (!r)
        return;
    struct conn *c = r->conn;
    req_finish(r, r->phase == REQ_SENDING && code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    c->idle_since_ms = loop_now_ms(c->h->loop);
    c->deadline_ms = c->idle_since_ms + c->h->conf.idle_timeout_ms;
    *context = NULL;
}

/* ---- The head ---- */

/* MHD's URI log: the only place that sees the whole target. MHD then cuts it at its question mark
 * and parses the query into its pool; thousands of arguments would fill that and leave the
 * connection spinning. So the query is emptied here: we parse our copy. */
void *req_line_seen(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct conn *c =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    struct http_req *r = &c->req;
    ((struct httpd *)cls)->events++;
    req_reset(r);
    buf_reset(&r->target);
    buf_adds(&r->target, uri);
    char *query = strchr((char *)(uintptr_t)uri, '?');
    if (query && query[1])
        query[1] = '\0';
    return r;
}

static enum MHD_Result check_field(void *cls, enum MHD_ValueKind kind, const char *name,
                                   size_t name_len, const char *value, size_t value_len)
{
    (void)kind;
    guard_field(cls, name, name_len, (char *)(uintptr_t)value, value_len);
    return MHD_YES;
}

static const char *check_head(struct http_req *r, struct guard *g, const char *url,
                              const char *version)
{
    struct MHD_Connection *mhd = r->conn->mhd;
    guard_start(g, r->method, url, buf_str(&r->target), version);
    MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, check_field, g);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return guard_end(g, info ? info->header_size : 0);
}

/* The answer was given before any of the body was read. */
static enum MHD_Result answered_early(struct http_req *r, bool expect_continue)
{
    struct conn *c = r->conn;
    bool small = r->content_length >= 0 && r->content_length <= SWALLOW_MAX_BYTES;
    if (small && !expect_continue) {
        r->phase = REQ_SWALLOW;
        r->swallow_until_ms = loop_now_ms(c->h->loop) + SWALLOW_MAX_MS;
        return MHD_YES;
    }
    c->linger = true;
    if (r->answer.ready)
        return answer_queue(r);
    r->phase = REQ_HOLD;
    req_suspend(r);
    return MHD_YES;
}

static enum MHD_Result begin(struct http_req *r, const char *url, const char *method,
                             const char *version)
{
    struct conn *c = r->conn;
    struct guard g;
    c->deadline_ms = 0;
    c->progress_ms = 0;
    r->method = method;
    const char *fault = check_head(r, &g, url, version);
    if (fault)
        return answer_refuse(r, fault);
    r->content_length = g.content_length;
    r->started_ms = clock_mono_ms();
    r->phase = REQ_BEGIN;
    r->begun = true;
    c->h->n_requests++;
    handler_of(r)->begin(user_of(r), r);
    if (r->doomed)
        return MHD_NO;
    if (r->content_length != 0 && r->answer.status != 0)
        return answered_early(r, g.expect_continue);
    r->phase = REQ_BODY;
    if (c->half_closed)
        conn_hung_up(c);
    return MHD_YES;
}

/* ---- The body ---- */

/* Called again when MHD is resumed, with what was not taken. */
static void give_body(struct http_req *r, const char *data, size_t *size)
{
    r->in_body = true;
    r->resume_body = false;
    size_t taken = handler_of(r)->body(user_of(r), r, data, *size);
    r->in_body = false;
    assert(taken <= *size);
    r->received += taken;
    *size -= taken;
    if (*size == 0 || r->doomed || r->answer.status != 0)
        return;
    req_suspend(r);
    if (r->resume_body)
        req_wake(r);
}

static uint64_t swallow_limit(const struct http_req *r)
{
    if (r->content_length < 0)
        return SWALLOW_MAX_BYTES;
    uint64_t left = (uint64_t)r->content_length - r->received;
    return left <= SWALLOW_MAX_BYTES ? left : 0;
}

/* 0.9.75 takes no answer in mid-body. A short rest is dropped, so that the connection can go on;
 * before a long one the answer goes out past MHD, which then closes. */
static enum MHD_Result swallow(struct http_req *r, size_t *size)
{
    if (r->swallowed + *size <= swallow_limit(r)) {
        r->swallowed += *size;
        *size = 0;
        return MHD_YES;
    }
    if (r->answer.ready) {
        answer_send_raw(r);
        return MHD_NO;
    }
    req_suspend(r);
    return MHD_YES;
}

void req_swallow_over(struct http_req *r)
{
    if (r->suspended) {
        req_wake(r);
        return;
    }
    answer_send_raw(r);
    req_doom(r);
}

static enum MHD_Result body_came(struct http_req *r, const char *data, size_t *size)
{
    if (r->phase == REQ_BODY && r->answer.status == 0) {
        give_body(r, data, size);
        if (r->doomed)
            return MHD_NO;
        if (*size == 0 || r->suspended || r->answer.status == 0)
            return MHD_YES;
    }
    return swallow(r, size);
}

/* The whole request is here; also called again after each resume. */
static enum MHD_Result request_whole(struct http_req *r)
{
    if (r->phase != REQ_WAIT) {
        r->phase = REQ_WAIT;
        if (r->answer.status == 0)
            handler_of(r)->body_end(user_of(r), r);
    }
    if (r->doomed)
        return MHD_NO;
    if (r->answer.ready)
        return answer_queue(r);
    req_suspend(r);
    return MHD_YES;
}

enum MHD_Result req_handle(void *cls, struct MHD_Connection *mhd, const char *url,
                           const char *method, const char *version, const char *data, size_t *size,
                           void **context)
{
    struct http_req *r = *context;
    (void)mhd;
    ((struct httpd *)cls)->events++;
    if (!r || r->doomed)
        return MHD_NO;
    if (r->phase == REQ_NONE)
        return begin(r, url, method, version);
    if (r->phase == REQ_HOLD) {
        if (r->answer.ready)
            return answer_queue(r);
        req_suspend(r);
        return MHD_YES;
    }
    return *size > 0 ? body_came(r, data, size) : request_whole(r);
}

void req_answer_given(struct http_req *r)
{
    if (r->phase == REQ_BODY) {
        r->phase = REQ_SWALLOW;
        r->swallow_until_ms = loop_now_ms(r->conn->h->loop) + SWALLOW_MAX_MS;
    }
    if (r->answer.ready)
        req_wake(r);
}

void http_resume_body(struct http_req *r)
{
    if (r->in_body)
        r->resume_body = true;
    else if (r->phase == REQ_BODY)
        req_wake(r);
}

/* ---- What the handler may ask ---- */

const char *http_method(const struct http_req *r)
{
    return r->method;
}

const char *http_target(const struct http_req *r)
{
    return buf_str(&r->target);
}

const char *http_header(const struct http_req *r, const char *name)
{
    return MHD_lookup_connection_value(r->conn->mhd, MHD_HEADER_KIND, name);
}

int64_t http_content_length(const struct http_req *r)
{
    return r->content_length;
}

static void format_client(const struct sockaddr *sa, char out[64])
{
    char host[INET6_ADDRSTRLEN] = "";
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(out, 64, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(out, 64, "%s:%u", host, ntohs(in->sin_port));
    } else {
        snprintf(out, 64, "unknown");
    }
}

const char *http_client(const struct http_req *r)
{
    struct conn *c = r->conn;
    if (!c->client[0])
        format_client(
            MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr,
            c->client);
    return c->client;
}

void http_set_state(struct http_req *r, void *state)
{
    r->state = state;
}

void *http_state(const struct http_req *r)
{
    return r->state;
}

struct loop *http_loop(const struct http_req *r)
{
    return r->conn->h->loop;
}

int http_status(const struct http_req *r)
{
    return r->answer.status;
}

uint64_t http_started_ms(const struct http_req *r)
{
    return r->started_ms;
}

uint64_t http_bytes_sent(const struct http_req *r)
{
    return r->sent;
}

uint64_t http_bytes_received(const struct http_req *r)
{
    return r->received;
}
