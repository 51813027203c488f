#include "service/httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "service/httpd_internal.h"

enum {
    LISTEN_BACKLOG = 1024,
    MIN_TICK_MS = 10,
    MAX_TICK_MS = 1000,
    MAX_SPINS = 64, /* rounds in which MHD wants to run on, yet does nothing for us */
    SPIN_PAUSE_MS = 10,
    MAX_ACCEPT_ROUNDS = 1024,
};

/* ---- The listening socket ---- */

/* Splits "host:port" or "[v6]:port". */
static int split_address(const char *address, char host[256], char port[16], struct store_err *err)
{
    const char *colon = strrchr(address, ':');
    const char *start = address, *end = colon;
    if (colon && address[0] == '[') {
        start++;
        end--;
        if (end < start || *end != ']')
            colon = NULL;
    }
    if (!colon || end - start > 255 || strlen(colon + 1) > 15 || !colon[1] ||
        (address[0] != '[' && memchr(start, ':', (size_t)(end - start))))
        return store_err_set(err, STORE_INVALID, "'%s' is not host:port or [v6]:port", address);
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    strcpy(port, colon + 1);
    return 0;
}

static int tell_bound(int fd, char bound[64], struct store_err *err)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);
    char host[64 - 9], port[8];
    if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
        return store_err_errno(err, errno, "getsockname");
    if (getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return store_err_set(err, STORE_FAILED, "cannot tell the address that is listened on");
    snprintf(bound, 64, sa.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    return 0;
}

static int listen_on(const struct addrinfo *ai, const char *address, struct store_err *err)
{
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0)
        return store_err_errno(err, errno, "cannot create a socket for '%s'", address);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
        return fd;
    store_err_errno(err, errno, "cannot listen on '%s'", address);
    close(fd);
    return -1;
}

int httpd_listen(const char *address, char bound[64], struct store_err *err)
{
    char host[256], port[16];
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (split_address(address, host, port, err) != 0)
        return -1;
    int rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (rc != 0)
        return store_err_set(err, STORE_INVALID, "cannot resolve '%s': %s", address,
                             gai_strerror(rc));
    int fd = listen_on(found, address, err);
    freeaddrinfo(found);
    if (fd >= 0 && bound && tell_bound(fd, bound, err) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* ---- Running MHD ---- */

/* MHD may say that it has more to do. Normally it then makes progress; but some malformed input
 * (a chunk extension longer than its buffer) leaves it waiting in that state. It must not take
 * the processor until the deadline ends it. */
static void run_on(struct httpd *h)
{
    h->spins = h->events == h->events_seen ? h->spins + 1 : 0;
    h->events_seen = h->events;
    if (h->spins < MAX_SPINS || loop_timer_set(h->loop, &h->run_later, SPIN_PAUSE_MS) != 0)
        loop_defer(h->loop, &h->run);
}

static void run(void *user)
{
    struct httpd *h = user;
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    MHD_run(h->daemon);
    if (MHD_get_timeout(h->daemon, &wait_ms) == MHD_YES && wait_ms == 0)
        run_on(h);
    else
        h->spins = 0;
}

static void on_mhd_ready(void *user, uint32_t events)
{
    struct httpd *h = user;
    (void)events;
    loop_defer(h->loop, &h->run);
}

static void on_tick(void *user)
{
    struct httpd *h = user;
    uint64_t now = loop_now_ms(h->loop);
    conns_check(h, now);
    leftovers_check(h, now);
    /* Its slot was just given back, so there is room for it. */
    loop_timer_set(h->loop, &h->tick, h->tick_ms);
}

static void at_most(uint32_t *ms, uint32_t limit_ms)
{
    if (limit_ms / 4 < *ms)
        *ms = limit_ms / 4 > MIN_TICK_MS ? limit_ms / 4 : MIN_TICK_MS;
}

/* ---- Life ---- */

/* The target is kept raw: %00 would truncate it. */
static size_t leave_escaped(void *cls, struct MHD_Connection *mhd, char *s)
{
    (void)cls;
    (void)mhd;
    return strlen(s);
}

STORE_PRINTF_LIKE(2, 0) static void log_mhd(void *cls, const char *fmt, va_list args)
{
    char line[256];
    (void)cls;
    if (!log_on(LOG_DEBUG))
        return;
    vsnprintf(line, sizeof(line), fmt, args);
    line[strcspn(line, "\n")] = '\0';
    log_debug("http server", LOG_S("detail", line));
}

/* MHD closes the listening socket at its end, so each daemon gets a descriptor of its own. */
static int start_mhd(struct httpd *h, struct store_err *err)
{
    const struct httpd_conf *conf = &h->conf;
    int fd = fcntl(conf->listen_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return store_err_errno(err, errno, "http server: cannot duplicate the listening socket");
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, req_handle, h,
        MHD_OPTION_EXTERNAL_LOGGER, log_mhd, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)conf->max_connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)conf->pool_bytes,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)conf->pool_bytes / 4,
        MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL, MHD_OPTION_URI_LOG_CALLBACK,
        req_line_seen, h, MHD_OPTION_NOTIFY_COMPLETED, req_completed, h,
        MHD_OPTION_NOTIFY_CONNECTION, conn_notify, h, MHD_OPTION_END);
    /* Whether a failed start has closed fd, MHD does not tell: better lost than closed twice. */
    if (!h->daemon)
        return store_err_set(err, STORE_FAILED, "http server: cannot start");
    h->accepting = true;
    return 0;
}

int httpd_new(struct loop *l, const struct httpd_conf *conf, struct httpd **out,
              struct store_err *err)
{
    struct httpd *h = xcalloc(1, sizeof(*h));
    h->loop = l;
    h->conf = *conf;
    h->watch = (struct loop_watch){.fn = on_mhd_ready, .user = h, .fd = -1};
    h->run = (struct loop_task){.fn = run, .user = h};
    h->run_later = (struct loop_timer){.fn = run, .user = h};
    h->tick = (struct loop_timer){.fn = on_tick, .user = h};
    h->tick_ms = MAX_TICK_MS;
    at_most(&h->tick_ms, conf->header_timeout_ms);
    at_most(&h->tick_ms, conf->idle_timeout_ms);
    at_most(&h->tick_ms, conf->send_timeout_ms);
    if (start_mhd(h, err) != 0) {
        free(h);
        return -1;
    }
    int epoll_fd = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    if (loop_watch_set(l, &h->watch, epoll_fd, EPOLLIN, err) != 0) {
        httpd_free(h);
        return -1;
    }
    if (loop_timer_set(l, &h->tick, h->tick_ms) != 0) {
        httpd_free(h);
        return store_err_set(err, STORE_NO_MEMORY, "http server: out of memory");
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

static void stop_listening(struct httpd *h)
{
    if (!h->accepting)
        return;
    h->accepting = false;
    int fd = MHD_quiesce_daemon(h->daemon);
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
}

void httpd_stop_accepting(struct httpd *h)
{
    for (int i = 0; h->accepting && i < MAX_ACCEPT_ROUNDS && !accept_queue_empty(h) &&
                    h->n_conns < h->conf.max_connections;
         i++)
        MHD_run(h->daemon);
    stop_listening(h);
    loop_defer(h->loop, &h->run);
}

size_t httpd_requests(const struct httpd *h)
{
    return h->n_requests;
}

size_t httpd_connections(const struct httpd *h)
{
    return h->n_conns;
}

void httpd_free(struct httpd *h)
{
    if (!h)
        return;
    h->ending = true;
    loop_watch_clear(h->loop, &h->watch);
    stop_listening(h);
    /* MHD must not be stopped with suspended connections. */
    for (struct conn *c = h->conns; c; c = c->next)
        req_wake(&c->req);
    MHD_stop_daemon(h->daemon);
    leftovers_free(h);
    loop_defer_clear(h->loop, &h->run);
    loop_timer_clear(h->loop, &h->run_later);
    loop_timer_clear(h->loop, &h->tick);
    free(h);
}
