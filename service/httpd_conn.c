/* Connections: their birth and end, what drives them, and their deadlines. */
#include <errno.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "service/httpd_internal.h"

enum {
    STEPS_A_TURN = 64, /* then others are served first */
    JUNK_BYTES = 16384,
    UNSENT_BYTES = 256 * 1024,
};

/* ---- The end ---- */

static void uncount(struct conn *c)
{
    if (c->counted)
        atomic_fetch_sub(c->h->conf.open_connections, 1);
    c->counted = false;
}

static void conn_free(struct conn *c)
{
    struct httpd *h = c->h;
    int fd = c->watch.fd;
    if (c->req)
        req_release(c);
    loop_defer_clear(h->loop, &c->task);
    loop_watch_clear(h->loop, &c->watch);
    close(fd);
    if (c->prev)
        c->prev->next = c->next;
    else
        h->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    h->n_conns--;
    h->n_lingering -= c->lingering;
    uncount(c);
    free(c);
}

/* Nothing more is said. Where bytes may come that nobody has read, closing at once would make the
 * kernel send a reset, which can overtake the answer: they are dropped for a while first. */
static void conn_linger(struct conn *c)
{
    struct httpd *h = c->h;
    if (c->broken || c->eof || h->n_lingering >= h->conf.max_connections) {
        c->over = true;
        return;
    }
    shutdown(c->watch.fd, SHUT_WR);
    c->lingering = true;
    uncount(c);
    h->n_lingering++;
    c->linger_left = LINGER_MAX_BYTES;
    c->deadline_ms = loop_now_ms(h->loop) + LINGER_MAX_MS;
}

/* Up to a limit; then nothing is read, so that the client stops sending and looks at the answer. */
static bool drop_some(struct conn *c)
{
    char junk[JUNK_BYTES];
    if (c->linger_left == 0 || !c->readable) {
        c->over = c->broken || (c->hung_up && c->linger_left == 0);
        return false;
    }
    ssize_t n = recv(c->watch.fd, junk, sizeof(junk), 0);
    if (n > 0) {
        c->linger_left -= (size_t)n < c->linger_left ? (size_t)n : c->linger_left;
        return true;
    }
    c->over = n == 0 || errno != EAGAIN;
    c->readable = false;
    return false;
}

/* ---- One step after the other ---- */

/* The request has been answered, and nothing of it is to come. */
static bool next_request(struct conn *c)
{
    struct httpd *h = c->h;
    struct http_req *r = c->req;
    bool keep = r->answer.keep, rest = r->len > r->pos;
    req_end(r);
    if (!keep) {
        if (rest || c->readable || r->refused)
            conn_linger(c);
        else
            c->over = true;
        req_release(c);
        return !c->over;
    }
    c->idle_since_ms = loop_now_ms(h->loop);
    c->deadline_ms = c->idle_since_ms + h->conf.idle_timeout_ms;
    if (!rest) {
        req_release(c);
        return c->readable;
    }
    struct http_req *next = req_take(c); /* with what the client has sent already */
    next->len = r->len - r->pos;
    memcpy(next->bytes, r->bytes + r->pos, next->len);
    req_release(c);
    c->req = next;
    return true;
}

/* The answer is out, and the client goes on sending what nobody wants. */
static bool cut_body_short(struct conn *c)
{
    req_end(c->req);
    req_release(c);
    conn_linger(c);
    return !c->over;
}

static bool conn_cut(struct conn *c)
{
    req_gone(c->req);
    req_end(c->req);
    c->over = true;
    return false;
}

/* Whether there may be another one. */
static bool step(struct conn *c)
{
    struct http_req *r = c->req;
    if (c->lingering)
        return drop_some(c);
    if (!r && c->broken) {
        c->over = true;
        return false;
    }
    if (!r || r->phase == REQ_HEAD)
        return req_input(c);
    if (r->doomed)
        return conn_cut(c);
    if (answer_push(r))
        return true;
    if (answer_is_out(r) && r->phase == REQ_WHOLE)
        return next_request(c);
    if (c->broken)
        return conn_cut(c);
    if (answer_is_out(r) && !r->answer.keep)
        return cut_body_short(c);
    bool reads = req_reads(r);
    if (reads && req_input(c))
        return true;
    /* A client that sends no more counts as gone, unless its answer is under way as a whole. */
    if ((c->eof || (c->hung_up && !reads)) && !answer_is_whole(r))
        return conn_cut(c);
    return false;
}

static void conn_run(struct conn *c)
{
    int steps = 0;
    if (c->running)
        return;
    c->running = true;
    while (!c->over && steps < STEPS_A_TURN && step(c))
        steps++;
    c->running = false;
    if (c->over)
        conn_free(c);
    else if (steps == STEPS_A_TURN)
        conn_wake(c);
}

void conn_wake(struct conn *c)
{
    if (!c->running)
        loop_defer(c->h->loop, &c->task);
}

static void on_task(void *user)
{
    conn_run(user);
}

static void on_events(void *user, uint32_t events)
{
    struct conn *c = user;
    c->hung_up |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    c->broken |= (events & (EPOLLHUP | EPOLLERR)) != 0;
    c->readable |= (events & (EPOLLIN | EPOLLRDHUP)) != 0;
    c->writable |= (events & EPOLLOUT) != 0;
    conn_run(c);
}

/* ---- Birth ---- */

/* NULL: it could not be watched, and is closed. */
static struct conn *conn_add(struct httpd *h, int fd, const struct sockaddr_in6 *peer)
{
    struct conn *c = xcalloc(1, sizeof(*c));
    const int on = 1, unsent_bytes = UNSENT_BYTES;
    c->h = h;
    c->watch = (struct loop_watch){.fn = on_events, .user = c, .fd = -1};
    c->task = (struct loop_task){.fn = on_task, .user = c};
    c->peer = *peer;
    c->idle_since_ms = loop_now_ms(h->loop);
    c->deadline_ms = c->idle_since_ms + h->conf.header_timeout_ms;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* an answer is sent as one */
    /* What the kernel takes beyond what the client and the path do: no answer runs far ahead. */
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes, sizeof(unsent_bytes));
    if (loop_watch_set(h->loop, &c->watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, NULL)) {
        close(fd);
        free(c);
        return NULL;
    }
    c->next = h->conns;
    if (c->next)
        c->next->prev = c;
    h->conns = c;
    h->n_conns++;
    return c;
}

void conn_new(struct httpd *h, int fd, const struct sockaddr_in6 *peer)
{
    struct conn *c = conn_add(h, fd, peer);
    if (!c)
        return;
    c->counted = true;
    atomic_fetch_add(h->conf.open_connections, 1);
}

/* Its socket is new: what is this short it takes at once. */
void conn_refuse(struct httpd *h, int fd, const struct sockaddr_in6 *peer)
{
    static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\n"
                                 "Retry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    ssize_t n = send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
    struct conn *c = n > 0 ? conn_add(h, fd, peer) : NULL;
    if (n <= 0)
        close(fd);
    if (!c)
        return;
    conn_linger(c);
    if (c->over)
        conn_free(c);
}

void conns_free(struct httpd *h)
{
    for (struct conn *c; (c = h->conns);) {
        if (c->req && c->req->begun) {
            req_gone(c->req);
            req_end(c->req);
        }
        conn_free(c);
    }
    for (struct http_req *r; (r = h->spare);) {
        h->spare = r->next;
        buf_cleanup(&r->out);
        free(r);
    }
}

/* ---- Deadlines ---- */

static bool accept_queue_empty(const struct httpd *h)
{
    struct pollfd p = {.fd = h->watch.fd, .events = POLLIN};
    return h->watch.fd < 0 || poll(&p, 1, 0) == 0;
}

static bool has_input(const struct conn *c)
{
    char byte;
    return recv(c->watch.fd, &byte, 1, MSG_PEEK) > 0;
}

/* A request that is already here is still served. */
static void check_idle(struct conn *c, uint64_t now, bool draining)
{
    struct httpd *h = c->h;
    if (now >= c->deadline_ms ||
        (draining && now - c->idle_since_ms >= h->grace_ms && !has_input(c)))
        conn_free(c);
}

/* Bytes that the client has acknowledged, or that its body has brought. */
static uint64_t transferred(const struct conn *c)
{
    const struct http_req *r = c->req;
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    if (!r->answer.ready)
        return r->received;
    getsockopt(c->watch.fd, IPPROTO_TCP, TCP_INFO, &info, &len);
    return info.tcpi_bytes_acked;
}

/* Unsent bytes of a client that takes none would keep the socket in the kernel for minutes. */
static void reset_on_close(int fd)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

/* Whether it is the client who keeps us waiting. */
static bool is_clients_turn(const struct conn *c)
{
    const struct http_req *r = c->req;
    return r->answer.ready ? !c->writable : r->phase == REQ_BODY && !r->paused;
}

static void check_transfer(struct conn *c, uint64_t now)
{
    bool waits = is_clients_turn(c);
    uint64_t progress = waits ? transferred(c) : c->progress;
    if (!waits || progress != c->progress || c->progress_ms == 0) {
        c->progress = progress;
        c->progress_ms = now;
    } else if (now - c->progress_ms >= c->h->conf.send_timeout_ms) {
        reset_on_close(c->watch.fd);
        c->req->doomed = true;
        conn_run(c);
    }
}

static void check_swallow(struct conn *c, uint64_t now)
{
    struct http_req *r = c->req;
    if (now < r->swallow_until_ms)
        return;
    r->answer.keep = false;
    conn_run(c);
}

void conns_check(struct httpd *h, uint64_t now)
{
    bool draining = h->draining && accept_queue_empty(h);
    for (struct conn *c = h->conns, *next; c; c = next) {
        const struct http_req *r = c->req;
        next = c->next;
        if (c->lingering) {
            if (now >= c->deadline_ms)
                conn_free(c);
        } else if (!r || r->phase == REQ_HEAD) {
            check_idle(c, now, draining);
        } else if (r->phase == REQ_SWALLOW && answer_is_out(r)) {
            check_swallow(c, now);
        } else {
            check_transfer(c, now);
        }
    }
}
