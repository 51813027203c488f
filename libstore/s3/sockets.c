#include "libstore/s3/sockets.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    UNACKED_TIMEOUT_MS = 20000, /* bytes that the peer does not acknowledge: the path is dead */
    UNSENT_BYTES = 65536,       /* that the kernel takes beyond what the peer and the path do */
};

struct socket_watch {
    struct sockets *sockets;
    struct loop_watch watch;
    uint32_t wanted; /* EPOLLIN, EPOLLOUT: what was asked for last */
};

static struct socket_watch *find(const struct sockets *s, int fd)
{
    return (size_t)fd < s->n ? s->by_fd[fd] : NULL;
}

static void on_event(void *user, uint32_t events)
{
    struct socket_watch *w = user;
    struct sockets *s = w->sockets;
    int fd = w->watch.fd;
    if (events & (w->wanted | EPOLLERR | EPOLLHUP))
        s->ready(s->user, fd, events);
    else /* nobody waits for this any more */
        loop_watch_set(s->loop, &w->watch, fd, w->wanted, NULL);
}

static struct socket_watch *find_or_make(struct sockets *s, int fd)
{
    if ((size_t)fd >= s->n) {
        size_t n = (size_t)fd + 64;
        struct socket_watch **by_fd = realloc(s->by_fd, n * sizeof(struct socket_watch *));
        if (!by_fd)
            return NULL;
        memset(by_fd + s->n, 0, (n - s->n) * sizeof(struct socket_watch *));
        s->by_fd = by_fd;
        s->n = n;
    }
    if (!s->by_fd[fd]) {
        struct socket_watch *w = calloc(1, sizeof(*w));
        if (!w)
            return NULL;
        w->sockets = s;
        w->watch = (struct loop_watch){.fn = on_event, .user = w, .fd = -1};
        s->by_fd[fd] = w;
    }
    return s->by_fd[fd];
}

bool sockets_watch(struct sockets *s, int fd, uint32_t events)
{
    struct socket_watch *w = find_or_make(s, fd);
    if (!w)
        return false;
    w->wanted = events;
    if (w->watch.fd >= 0 && (w->watch.events & events) == events)
        return true;
    return loop_watch_set(s->loop, &w->watch, fd, events, NULL) == 0;
}

void sockets_forget(struct sockets *s, int fd)
{
    struct socket_watch *w = find(s, fd);
    if (!w)
        return;
    loop_watch_clear(s->loop, &w->watch);
    free(w);
    s->by_fd[fd] = NULL;
}

/* Whether closing it, by whatever end, drops what was not sent instead of leaving it to the kernel.
 */
static void set_reset(int fd, bool on)
{
    const struct linger l = {.l_onoff = on, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

bool sockets_open(struct sockets *s, int fd)
{
    /* A watch of this number is a leftover of one that was closed unseen a moment ago, when an
     * address did not answer; curl takes the new one for the same and need not ask again. */
    struct socket_watch *w = find(s, fd);
    if (w) {
        loop_watch_clear(s->loop, &w->watch);
        if (loop_watch_set(s->loop, &w->watch, fd, w->wanted | EPOLLOUT, NULL) != 0)
            return false;
    }
    const unsigned unacked_ms = UNACKED_TIMEOUT_MS, unsent_bytes = UNSENT_BYTES;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked_ms, sizeof(unacked_ms));
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes, sizeof(unsent_bytes));
    set_reset(fd, true);
    return true;
}

int sockets_close(struct sockets *s, int fd, bool at_rest)
{
    if (at_rest)
        set_reset(fd, false);
    sockets_forget(s, fd);
    return close(fd);
}

void sockets_cleanup(struct sockets *s)
{
    for (size_t fd = 0; fd < s->n; fd++)
        sockets_forget(s, (int)fd);
    free(s->by_fd);
    s->by_fd = NULL;
    s->n = 0;
}
