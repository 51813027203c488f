/* Connections: their birth and end, deadlines, and what a closed one leaves behind. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "service/httpd_internal.h"

enum { HANG_UP_ROUNDS = 2 };

/* ---- Lingering: reading on after the close, so that an early answer is not lost to a reset ----
 */

static void leftover_free(struct leftover *g)
{
    struct httpd *h = g->h;
    int fd = g->watch.fd;
    loop_watch_clear(h->loop, &g->watch);
    close(fd);
    if (g->prev)
        g->prev->next = g->next;
    else
        h->leftovers = g->next;
    if (g->next)
        g->next->prev = g->prev;
    h->n_leftovers--;
    free(g);
}

/* Drops what comes, up to a limit. After that nothing is read, so that the client stops sending
 * and looks at the answer. */
static void leftover_read(void *user, uint32_t events)
{
    struct leftover *g = user;
    char junk[16384];
    ssize_t n = 1;
    while (g->bytes_left > 0 && n > 0) {
        n = recv(g->watch.fd, junk, sizeof(junk), MSG_DONTWAIT);
        if (n > 0)
            g->bytes_left -= (size_t)n < g->bytes_left ? (size_t)n : g->bytes_left;
    }
    bool over = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) ||
                (events & (EPOLLHUP | EPOLLERR)) || (g->bytes_left == 0 && (events & EPOLLRDHUP));
    if (over || (g->bytes_left == 0 &&
                 loop_watch_set(g->h->loop, &g->watch, g->watch.fd, EPOLLRDHUP, NULL) != 0))
        leftover_free(g);
}

/* MHD is about to close c->fd; a duplicate keeps the connection. */
static void leftover_start(struct conn *c)
{
    struct httpd *h = c->h;
    if (h->n_leftovers >= h->conf.max_connections)
        return;
    int fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return;
    shutdown(fd, SHUT_WR);
    struct leftover *g = xcalloc(1, sizeof(*g));
    g->h = h;
    g->watch = (struct loop_watch){.fn = leftover_read, .user = g, .fd = -1};
    g->bytes_left = LINGER_MAX_BYTES;
    g->until_ms = loop_now_ms(h->loop) + LINGER_MAX_MS;
    if (loop_watch_set(h->loop, &g->watch, fd, EPOLLIN | EPOLLRDHUP, NULL) != 0) {
        close(fd);
        free(g);
        return;
    }
    g->next = h->leftovers;
    if (g->next)
        g->next->prev = g;
    h->leftovers = g;
    h->n_leftovers++;
}

void leftovers_check(struct httpd *h, uint64_t now)
{
    for (struct leftover *g = h->leftovers, *next; g; g = next) {
        next = g->next;
        if (now >= g->until_ms)
            leftover_free(g);
    }
}

void leftovers_free(struct httpd *h)
{
    while (h->leftovers)
        leftover_free(h->leftovers);
}

/* ---- Closing ---- */

/* Closes a connection that MHD runs (it is not suspended), the harder the longer it takes. An idle
 * one is first only told that nothing more comes, so that a request that is already here is still
 * served. Where MHD does not even look at the socket, its own time-out is left. */
static void conn_close(struct conn *c, enum closing how)
{
    if (how <= c->closing)
        how = c->closing < CLOSING_FORCED ? c->closing + 1 : CLOSING_FORCED;
    c->closing = how;
    if (how == CLOSING_SHUT_RD)
        shutdown(c->fd, SHUT_RD);
    else
        shutdown(c->fd, SHUT_RDWR);
    if (how == CLOSING_FORCED)
        MHD_set_connection_option(c->mhd, MHD_CONNECTION_OPTION_TIMEOUT, 1U);
    loop_defer(c->h->loop, &c->h->run);
}

/* ---- Birth and end ---- */

/* MHD cannot see it while a connection is suspended, nor when the end comes with the last bytes. */
static void on_hang_up(void *user, uint32_t events)
{
    struct conn *c = user;
    if (c->closing != CLOSING_NOT && !(events & (EPOLLHUP | EPOLLERR)))
        return; /* our own shutdown() */
    c->half_closed = true;
    if (c->req.begun)
        req_gone(&c->req);
    else
        conn_hung_up(c);
}

void conn_hung_up(struct conn *c)
{
    c->hang_up_rounds = HANG_UP_ROUNDS;
    loop_defer(c->h->loop, &c->hung_up);
}

/* By now MHD has read what the client said before it left. */
static void on_hung_up(void *user)
{
    struct conn *c = user;
    if (c->hang_up_rounds-- > 0)
        loop_defer(c->h->loop, &c->hung_up);
    else if (c->req.phase == REQ_NONE)
        conn_close(c, CLOSING_SHUT);
    else if (c->req.phase != REQ_SENDING || c->req.suspended)
        req_gone(&c->req);
}

static void conn_start(struct httpd *h, struct MHD_Connection *mhd, void **socket_context)
{
    struct conn *c = xcalloc(1, sizeof(*c));
    c->h = h;
    c->mhd = mhd;
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c->watch = (struct loop_watch){.fn = on_hang_up, .user = c, .fd = -1};
    c->hung_up = (struct loop_task){.fn = on_hung_up, .user = c};
    c->idle_since_ms = loop_now_ms(h->loop);
    c->deadline_ms = c->idle_since_ms + h->conf.header_timeout_ms;
    req_init(&c->req, c);
    c->next = h->conns;
    if (c->next)
        c->next->prev = c;
    h->conns = c;
    h->n_conns++;
    *socket_context = c;
    if (loop_watch_set(h->loop, &c->watch, c->fd, EPOLLRDHUP | EPOLLET, NULL) != 0)
        shutdown(c->fd, SHUT_RDWR); /* without it we would never notice that the client left */
}

static void conn_end(struct conn *c)
{
    struct httpd *h = c->h;
    req_finish(&c->req,
               false); /* where MHD has not told of the request's end: it does not always */
    loop_watch_clear(h->loop, &c->watch);
    loop_defer_clear(h->loop, &c->hung_up);
    if (c->linger && !h->ending)
        leftover_start(c);
    if (c->prev)
        c->prev->next = c->next;
    else
        h->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    h->n_conns--;
    if (!h->ending)
        loop_defer(h->loop, &h->run); /* MHD at its limit listens again only in its next run */
    buf_cleanup(&c->req.target);
    free(c);
}

void conn_notify(void *cls, struct MHD_Connection *mhd, void **socket_context,
                 enum MHD_ConnectionNotificationCode code)
{
    struct httpd *h = cls;
    h->events++;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        conn_start(h, mhd, socket_context);
    else if (*socket_context)
        conn_end(*socket_context);
}

/* ---- Deadlines ---- */

bool accept_queue_empty(const struct httpd *h)
{
    struct pollfd p = {.fd = h->conf.listen_fd, .events = POLLIN};
    return !h->accepting || poll(&p, 1, 0) == 0;
}

static bool has_input(const struct conn *c)
{
    char byte;
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void check_idle(struct conn *c, uint64_t now, bool draining)
{
    struct httpd *h = c->h;
    if (now >= c->deadline_ms || c->half_closed)
        conn_close(c, CLOSING_SHUT);
    else if (c->closing != CLOSING_NOT)
        conn_close(c, CLOSING_NOT);
    else if (draining && now - c->idle_since_ms >= h->grace_ms && !has_input(c))
        conn_close(c, CLOSING_SHUT_RD);
}

/* Bytes that the client has acknowledged, or that its body has brought. */
static uint64_t transferred(const struct conn *c)
{
    const struct http_req *r = &c->req;
    if (r->phase != REQ_SENDING && r->phase != REQ_REFUSED)
        return r->received + r->swallowed;
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len);
    return info.tcpi_bytes_acked;
}

/* Unsent bytes of a client that takes none would keep the socket in the kernel for minutes. */
static void reset_on_close(int fd)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void check_transfer(struct conn *c, uint64_t now)
{
    uint64_t progress = c->req.suspended ? c->progress : transferred(c);
    if (c->req.suspended || progress != c->progress || c->progress_ms == 0) {
        c->progress = progress;
        c->progress_ms = now;
    } else if (now - c->progress_ms >= c->h->conf.send_timeout_ms) {
        reset_on_close(c->fd);
        c->linger = false;
        conn_close(c, CLOSING_SHUT);
    }
}

void conns_check(struct httpd *h, uint64_t now)
{
    bool draining = h->draining && (h->n_conns >= h->conf.max_connections || accept_queue_empty(h));
    for (struct conn *c = h->conns; c; c = c->next) {
        struct http_req *r = &c->req;
        if (r->phase == REQ_NONE)
            check_idle(c, now, draining);
        else if (r->phase == REQ_SWALLOW && r->answer.ready && !r->doomed &&
                 now >= r->swallow_until_ms)
            req_swallow_over(r);
        else
            check_transfer(c, now);
    }
}
