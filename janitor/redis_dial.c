#include "janitor/redis_dial.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* ---- TCP ---- */

static struct addrinfo *resolve(const struct redis_node *node, struct store_err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char port[8];
    snprintf(port, sizeof(port), "%u", node->port);
    int rc = getaddrinfo(node->host, port, &hints, &list);
    if (rc == 0)
        return list;
    store_err_set(err, STORE_BUSY, "cannot resolve '%s': %s", node->host, gai_strerror(rc));
    return NULL;
}

/* Waits for a connection that is under way. */
static int await_connection(int fd, uint64_t deadline_ms, int *sys_errno)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t len = sizeof(*sys_errno);
    for (;;) {
        uint64_t now_ms = clock_mono_ms();
        int n = now_ms < deadline_ms ? poll(&p, 1, (int)(deadline_ms - now_ms)) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n > 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, sys_errno, &len) == 0)
            return *sys_errno == 0 ? 0 : -1;
        *sys_errno = n == 0 ? ETIMEDOUT : errno;
        return -1;
    }
}

/* A non-blocking socket, or -1 with *sys_errno set. */
static int connect_to(const struct addrinfo *a, uint64_t deadline_ms, int *sys_errno)
{
    const int on = 1;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *sys_errno = errno;
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
        return fd;
    *sys_errno = errno;
    if (errno == EINPROGRESS && await_connection(fd, deadline_ms, sys_errno) == 0)
        return fd;
    close(fd);
    return -1;
}

/* The first of the host's addresses that takes the connection. One that is silent gets half of the
 * time that is left, unless it is the last. */
static int connect_tcp(const struct redis_node *node, uint64_t deadline_ms, struct store_err *err)
{
    int fd = -1, sys_errno = 0;
    struct addrinfo *list = resolve(node, err);
    if (!list)
        return -1;
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        uint64_t now_ms = clock_mono_ms();
        uint64_t left_ms = now_ms < deadline_ms ? deadline_ms - now_ms : 0;
        fd = connect_to(a, now_ms + (a->ai_next ? left_ms / 2 : left_ms), &sys_errno);
    }
    freeaddrinfo(list);
    if (fd < 0)
        store_err_set(err, sys_errno == ETIMEDOUT ? STORE_TIMEOUT : STORE_BUSY,
                      "cannot connect to %s port %u: %s", node->host, node->port,
                      sys_errno == ETIMEDOUT ? "no answer in time" : strerror(sys_errno));
    return fd;
}

/* ---- Connections ---- */

static int make_blocking(int fd, struct store_err *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0)
        return 0;
    return store_err_errno(err, errno, "cannot set up a socket for Redis");
}

/* hiredis knows of a socket what its flags say; redisConnectFd() takes it for a blocking one. */
static int hand_over(int fd, struct redis_conn *c, struct store_err *err)
{
    c->redis = redisConnectFd(fd);
    if (c->redis)
        return 0;
    close(fd);
    return store_err_set(err, STORE_NO_MEMORY, "no memory for a connection to Redis");
}

int redis_dial(const struct redis_node *node, const struct redis_tls_conf *tls,
               uint64_t deadline_ms, struct redis_conn *out, struct store_err *err)
{
    *out = (struct redis_conn){.deadline_ms = deadline_ms};
    int fd = connect_tcp(node, deadline_ms, err);
    if (fd < 0)
        return -1;
    if (tls) {
        int plain_fd;
        if (!(out->tls = redis_tls_start(fd, node->host, tls, deadline_ms, &plain_fd, err)))
            return -1;
        fd = plain_fd;
    } else if (make_blocking(fd, err) != 0) {
        close(fd);
        return -1;
    }
    if (hand_over(fd, out, err) == 0)
        return 0;
    redis_conn_close(out);
    return -1;
}

static int set_timeout(redisContext *redis, uint64_t timeout_ms, struct store_err *err)
{
    if (timeout_ms == 0)
        timeout_ms = 1; /* 0 would be for ever */
    const struct timeval t = {.tv_sec = (time_t)(timeout_ms / 1000),
                              .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
    if (redisSetTimeout(redis, t) == REDIS_OK)
        return 0;
    return store_err_set(err, STORE_FAILED, "cannot set a time-out for Redis: %s", redis->errstr);
}

int redis_conn_set_timeout(struct redis_conn *c, uint64_t timeout_ms, struct store_err *err)
{
    c->deadline_ms = 0;
    return set_timeout(c->redis, timeout_ms, err);
}

/* What ended a connection: the pump knows it best, and of a time-out only hiredis does. */
static void close_with_cause(struct redis_conn *c, int sys_errno, struct store_err *err)
{
    char why[200] = "", said[sizeof(c->redis->errstr)];
    snprintf(said, sizeof(said), "%s", c->redis->errstr);
    redisFree(c->redis);
    if (c->tls)
        redis_tls_end(c->tls, why, sizeof(why));
    *c = (struct redis_conn){0};
    if (sys_errno == EAGAIN)
        store_err_set(err, STORE_TIMEOUT, "no answer in time");
    else
        store_err_set(err, STORE_BUSY, "%s", *why ? why : said);
}

redisReply *redis_conn_command(struct redis_conn *c, int n, const char **args, const size_t *lens,
                               struct store_err *err)
{
    uint64_t now_ms = c->deadline_ms ? clock_mono_ms() : 0;
    uint64_t left_ms = now_ms < c->deadline_ms ? c->deadline_ms - now_ms : 0;
    if (c->deadline_ms && set_timeout(c->redis, left_ms, err) != 0) {
        redis_conn_close(c);
        return NULL;
    }
    errno = 0;
    redisReply *r = redisCommandArgv(c->redis, n, args, lens);
    if (!r)
        close_with_cause(c, errno, err);
    return r;
}

static bool is_readable(int fd, uint64_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        uint64_t now_ms = clock_mono_ms();
        int n = poll(&p, 1, now_ms < until_ms ? (int)(until_ms - now_ms) : 0);
        if (n >= 0 || errno != EINTR)
            return n > 0;
    }
}

redisReply *redis_conn_next(struct redis_conn *c, uint64_t wait_ms, struct store_err *err)
{
    uint64_t until_ms = clock_mono_ms() + wait_ms;
    void *r = NULL;
    *err = (struct store_err){0};
    for (;;) {
        errno = 0;
        if (redisGetReplyFromReader(c->redis, &r) != REDIS_OK)
            break;
        if (r || !is_readable(c->redis->fd, until_ms))
            return r;
        if (redisBufferRead(c->redis) != REDIS_OK)
            break;
    }
    close_with_cause(c, errno, err);
    return NULL;
}

int redis_conn_expect_status(struct redis_conn *c, int n, const char **args, struct store_err *err)
{
    redisReply *r = redis_conn_command(c, n, args, NULL, err);
    if (!r)
        return -1;
    int rc = 0;
    if (r->type != REDIS_REPLY_STATUS)
        rc = store_err_set(err, STORE_BUSY, "%s",
                           r->type == REDIS_REPLY_ERROR ? r->str : "an odd answer");
    freeReplyObject(r);
    return rc;
}

int redis_conn_login(struct redis_conn *c, const char *user, const char *password,
                     struct store_err *err)
{
    const char *with_user[] = {"AUTH", user, password};
    const char *without[] = {"AUTH", password};
    return user ? redis_conn_expect_status(c, 3, with_user, err)
                : redis_conn_expect_status(c, 2, without, err);
}

void redis_conn_close(struct redis_conn *c)
{
    char why[2];
    if (c->redis)
        redisFree(c->redis);
    if (c->tls)
        redis_tls_end(c->tls, why, sizeof(why));
    *c = (struct redis_conn){0};
}
