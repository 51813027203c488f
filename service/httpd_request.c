/* Requests: what a client sends, turned into the handler's call-backs. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "http/message.h"
#include "service/httpd_internal.h"

enum {
    SPARE_MAX = 64,                /* requests' memory that is kept, of each thread */
    SPARE_ANSWER_MAX = 128 * 1024, /* and of an answer with it */
};

static const struct http_handler *handler_of(const struct http_req *r)
{
    return r->conn->h->conf.handler;
}

static void *user_of(const struct http_req *r)
{
    return r->conn->h->conf.user;
}

/* ---- Memory: a connection has none of this while it is idle ---- */

struct http_req *req_take(struct conn *c)
{
    struct httpd *h = c->h;
    struct http_req *r = h->spare;
    struct buf out = {0};
    if (r) {
        h->spare = r->next;
        h->n_spare--;
        out = r->out;
    } else {
        r = xmalloc(sizeof(*r) + h->req_bytes);
    }
    memset(r, 0, offsetof(struct http_req, head));
    r->conn = c;
    r->out = out;
    r->pos = r->len = r->seen = 0;
    http_head_init(&r->head, HTTP_REQUEST, h->conf.pool_bytes);
    return r;
}

void req_release(struct conn *c)
{
    struct httpd *h = c->h;
    struct http_req *r = c->req;
    c->req = NULL;
    if (h->n_spare >= SPARE_MAX) {
        buf_cleanup(&r->out);
        free(r);
        return;
    }
    if (r->out.cap > SPARE_ANSWER_MAX)
        buf_cleanup(&r->out);
    r->next = h->spare;
    h->spare = r;
    h->n_spare++;
}

/* ---- Ending ---- */

void req_gone(struct http_req *r)
{
    if (!r->begun || r->told_gone || r->aborted)
        return;
    r->told_gone = true;
    handler_of(r)->gone(user_of(r), r);
}

void req_end(struct http_req *r)
{
    if (!r->begun)
        return;
    r->doomed = true; /* nothing that is called from now on has any effect */
    r->conn->h->n_requests--;
    handler_of(r)->end(user_of(r), r);
    r->begun = false;
}

/* Whatever the handler has made of it so far: this is the answer, and the connection's end. */
void req_refuse(struct http_req *r, enum http_fault fault)
{
    const struct http_rule *rule = &http_rules[fault];
    static const struct http_field type = {"Content-Type", "application/problem+json"};
    char body[256];
    int n = snprintf(body, sizeof(body),
                     "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\"}",
                     http_reason(rule->status), rule->status, rule->text);
    log_debug("request refused", LOG_S("client", http_client(r)), LOG_S("detail", rule->text),
              LOG_S("rule", rule->section));
    r->refused = true;
    r->doomed = false;
    r->phase = REQ_WHOLE;
    answer_put(r, rule->status, &type, 1, body, (size_t)n);
}

/* ---- Reading ---- */

bool conn_fill(struct conn *c)
{
    struct http_req *r = c->req;
    size_t room = c->h->req_bytes - r->len;
    if (!c->readable || room == 0)
        return false;
    ssize_t n = recv(c->watch.fd, r->bytes + r->len, room, 0);
    if (n > 0) {
        r->len += (size_t)n;
        /* Less than there was room for: that was all, but for an end that was told of already. */
        c->readable = (size_t)n == room || c->hung_up;
        return true;
    }
    if (n < 0 && errno == EINTR)
        return true;
    c->readable = false;
    c->eof = n == 0;
    c->broken |= n < 0 && errno != EAGAIN;
    return false;
}

/* ---- The head ---- */

static void terminate(struct http_req *r, struct http_span s)
{
    r->bytes[s.at + s.len] = '\0'; /* a blank or a CR: nobody looks at it again */
}

static void terminate_all(struct http_req *r)
{
    const struct http_head *head = &r->head;
    terminate(r, head->method);
    terminate(r, head->target);
    for (size_t i = 0; i < head->n_fields; i++) {
        terminate(r, head->fields[i].name);
        terminate(r, head->fields[i].value);
    }
}

/* A client that waits for it has sent nothing yet, and has nothing else to read. */
static void send_continue(struct http_req *r)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    ssize_t n = send(r->conn->watch.fd, text, sizeof(text) - 1, MSG_NOSIGNAL);
    if (n > 0 && (size_t)n < sizeof(text) - 1)
        r->conn->broken = true;
}

static void begin(struct http_req *r)
{
    struct conn *c = r->conn;
    const struct http_head *head = &r->head;
    terminate_all(r);
    r->pos = head->length;
    r->content_length = head->framing == HTTP_CHUNKED ? -1 : (int64_t)head->content_length;
    r->body_left = head->content_length;
    r->phase = head->framing == HTTP_NO_BODY ? REQ_WHOLE : REQ_BODY;
    r->started_ms = loop_now_ms(c->h->loop);
    r->begun = true;
    c->progress_ms = 0;
    c->h->n_requests++;
    handler_of(r)->begin(user_of(r), r);
    if (r->answer.status || r->doomed)
        return;
    if (r->phase == REQ_WHOLE)
        handler_of(r)->body_end(user_of(r), r);
    else if (head->expect_continue && r->pos == r->len)
        send_continue(r);
}

static bool head_input(struct conn *c)
{
    struct http_req *r = c->req;
    if (r->len > r->seen) {
        r->seen = r->len;
        switch (http_head_feed(&r->head, r->bytes, r->len)) {
        case HTTP_DONE: begin(r); return true;
        case HTTP_REFUSED: req_refuse(r, r->head.fault); return true;
        case HTTP_MORE: break;
        }
    }
    if (conn_fill(c))
        return true;
    if (c->eof || c->broken) /* in mid-head, or between two requests */
        c->over = true;
    else if (r->len == 0)
        req_release(c);
    return false;
}

/* ---- The body ---- */

/* The bytes of it that are here, from r->pos on. Returns 0 with *n set, perhaps to 0; 1: that was
 * all; -1: it is malformed. */
static int find_body(struct http_req *r, size_t *n)
{
    size_t here = r->len - r->pos, framing;
    if (r->head.framing == HTTP_LENGTH) {
        *n = r->body_left < here ? (size_t)r->body_left : here;
        return r->body_left == 0;
    }
    enum http_chunk_event event =
        http_chunked_read(&r->chunked, r->bytes + r->pos, here, &framing, n);
    r->pos += framing;
    return event == HTTP_CHUNK_REFUSED ? -1 : event == HTTP_CHUNK_END;
}

static void took(struct http_req *r, size_t n)
{
    r->pos += n;
    if (r->head.framing == HTTP_LENGTH)
        r->body_left -= n;
    else if (n)
        http_chunked_take(&r->chunked, n);
}

static void give_body(struct http_req *r, size_t n)
{
    r->in_body = true;
    r->resume_body = false;
    size_t taken = handler_of(r)->body(user_of(r), r, r->bytes + r->pos, n);
    r->in_body = false;
    assert(taken <= n);
    r->received += taken;
    took(r, taken);
    r->paused = taken < n && !r->resume_body && !r->answer.status;
}

/* What the handler has been told of it so far was in vain. */
static bool body_is_malformed(struct http_req *r)
{
    req_gone(r);
    req_end(r);
    if (r->answer.sent) {
        r->conn->broken = true;
        r->refused = true; /* it is cut */
        r->answer.keep = false;
    } else {
        req_refuse(r, r->chunked.fault);
    }
    return true;
}

static bool body_input(struct conn *c)
{
    struct http_req *r = c->req;
    size_t n;
    int end = find_body(r, &n);
    if (end < 0)
        return body_is_malformed(r);
    if (n > 0) {
        if (r->phase == REQ_BODY)
            give_body(r, n);
        else
            took(r, n);
        return true;
    }
    if (end > 0) {
        bool wanted = r->phase == REQ_BODY;
        r->phase = REQ_WHOLE;
        if (wanted)
            handler_of(r)->body_end(user_of(r), r);
        return true;
    }
    if (r->pos == r->len)
        r->pos = r->len = r->head.length; /* the head stays, for the handler to look at */
    return conn_fill(c);
}

bool req_reads(const struct http_req *r)
{
    return (r->phase == REQ_BODY && !r->paused) || (r->phase == REQ_SWALLOW && r->answer.keep);
}

bool req_input(struct conn *c)
{
    if (!c->req) {
        if (!c->readable)
            return false;
        c->req = req_take(c);
    }
    return c->req->phase == REQ_HEAD ? head_input(c) : body_input(c);
}

void http_resume_body(struct http_req *r)
{
    if (r->in_body)
        r->resume_body = true;
    r->paused = false;
    conn_wake(r->conn);
}

/* ---- What the handler may ask ---- */

const char *http_method(const struct http_req *r)
{
    return r->bytes + r->head.method.at;
}

const char *http_target(const struct http_req *r)
{
    return r->bytes + r->head.target.at;
}

const char *http_header(const struct http_req *r, const char *name)
{
    struct http_span value = http_head_find(&r->head, r->bytes, name);
    return value.at ? r->bytes + value.at : NULL;
}

int64_t http_content_length(const struct http_req *r)
{
    return r->content_length;
}

static void format_client(const struct sockaddr_in6 *peer, char out[64])
{
    char host[INET6_ADDRSTRLEN] = "";
    if (peer->sin6_family == AF_INET6) {
        inet_ntop(AF_INET6, &peer->sin6_addr, host, sizeof(host));
        snprintf(out, 64, "[%s]:%u", host, ntohs(peer->sin6_port));
    } else if (peer->sin6_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)peer;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(out, 64, "%s:%u", host, ntohs(in->sin_port));
    } else {
        snprintf(out, 64, "unix");
    }
}

const char *http_client(const struct http_req *r)
{
    char *client = ((struct http_req *)(uintptr_t)r)->client; /* a cache */
    if (!client[0])
        format_client(&r->conn->peer, client);
    return client;
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

uint64_t http_bytes_received(const struct http_req *r)
{
    return r->received;
}
