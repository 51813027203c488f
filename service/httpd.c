#include "service/httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "service/httpd_internal.h"

enum {
    MIN_TICK_MS = 10,
    MAX_TICK_MS = 1000,
    ACCEPTS_A_TURN = 16, /* so that several threads share what comes at once */
    MAX_LAST_ACCEPTS = 1024,
    ACCEPT_PAUSE_MS = 100, /* when there is no descriptor left */
    BODY_ROOM = 4096,      /* at least, behind the largest head */
};

/* ---- Accepting ---- */

/* One of the threads that share the socket is woken, not all. Servers may share a loop, too, where
 * each needs a descriptor of its own. */
static int watch_listener(struct httpd *h, struct store_err *err)
{
    int fd = fcntl(h->conf.listen_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return store_err_errno(err, errno, "http server: cannot duplicate the listening socket");
    int failed = loop_watch_set(h->loop, &h->watch, fd, EPOLLIN | EPOLLEXCLUSIVE, err);
    if (failed)
        close(fd);
    return failed;
}

static void unwatch_listener(struct httpd *h)
{
    int fd = h->watch.fd;
    loop_watch_clear(h->loop, &h->watch);
    if (fd >= 0)
        close(fd);
}

static void accept_on(void *user);

/* Whether one was there. */
static bool accept_one(struct httpd *h)
{
    struct sockaddr_in6 peer = {0};
    socklen_t len = sizeof(peer);
    int fd = accept4(h->watch.fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        if (atomic_load(h->conf.open_connections) < h->conf.max_connections)
            conn_new(h, fd, &peer);
        else
            conn_refuse(h, fd, &peer);
        return true;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log_warn("no connection can be accepted", LOG_S("error", strerror(errno)));
        unwatch_listener(h); /* it would be ready all the time */
        if (loop_timer_set(h->loop, &h->accept_later, ACCEPT_PAUSE_MS) != 0)
            accept_on(h);
        return false;
    }
    return errno == EINTR || errno == ECONNABORTED;
}

static void on_connections(void *user, uint32_t events)
{
    struct httpd *h = user;
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN && h->watch.fd >= 0 && accept_one(h); i++)
        ;
}

static void accept_on(void *user)
{
    struct httpd *h = user;
    struct store_err err;
    if (watch_listener(h, &err) != 0)
        log_error("http server: nothing is accepted any more", LOG_ERR(&err));
}

/* ---- Life ---- */

static void on_tick(void *user)
{
    struct httpd *h = user;
    conns_check(h, loop_now_ms(h->loop));
    /* Its slot was just given back, so there is room for it. */
    loop_timer_set(h->loop, &h->tick, h->tick_ms);
}

static void at_most(uint32_t *ms, uint32_t limit_ms)
{
    if (limit_ms / 4 < *ms)
        *ms = limit_ms / 4 > MIN_TICK_MS ? limit_ms / 4 : MIN_TICK_MS;
}

int httpd_new(struct loop *l, const struct httpd_conf *conf, struct httpd **out,
              struct store_err *err)
{
    struct httpd *h = xcalloc(1, sizeof(*h));
    h->loop = l;
    h->conf = *conf;
    if (!conf->open_connections)
        h->conf.open_connections = &h->own_open;
    h->req_bytes = conf->pool_bytes + BODY_ROOM;
    h->watch = (struct loop_watch){.fn = on_connections, .user = h, .fd = -1};
    h->accept_later = (struct loop_timer){.fn = accept_on, .user = h};
    h->tick = (struct loop_timer){.fn = on_tick, .user = h};
    h->tick_ms = MAX_TICK_MS;
    at_most(&h->tick_ms, conf->header_timeout_ms);
    at_most(&h->tick_ms, conf->idle_timeout_ms);
    at_most(&h->tick_ms, conf->send_timeout_ms);
    int failed = watch_listener(h, err);
    if (!failed && loop_timer_set(l, &h->tick, h->tick_ms) != 0)
        failed = store_err_set(err, STORE_NO_MEMORY, "http server: out of memory");
    if (failed) {
        httpd_free(h);
        return -1;
    }
    *out = h;
    return 0;
}

void httpd_drain(struct httpd *h, uint32_t grace_ms)
{
    h->draining = true;
    h->grace_ms = grace_ms;
    at_most(&h->tick_ms, grace_ms);
    if (loop_timer_set(h->loop, &h->tick, h->tick_ms) != 0)
        log_error("http server: no memory for a timer");
}

void httpd_stop_accepting(struct httpd *h)
{
    for (int i = 0; i < MAX_LAST_ACCEPTS && h->watch.fd >= 0 && accept_one(h); i++)
        ;
    loop_timer_clear(h->loop, &h->accept_later);
    unwatch_listener(h);
}

size_t httpd_requests(const struct httpd *h)
{
    return h->n_requests;
}

size_t httpd_connections(const struct httpd *h)
{
    return h->n_conns - h->n_lingering;
}

void httpd_free(struct httpd *h)
{
    if (!h)
        return;
    unwatch_listener(h);
    loop_timer_clear(h->loop, &h->accept_later);
    loop_timer_clear(h->loop, &h->tick);
    conns_free(h);
    free(h);
}
