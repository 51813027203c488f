/* sockets.h - the TCP sockets of an HTTP client, by file descriptor: how they are set up, watched
 * and closed. One thread; `ready` comes from the loop. */
#ifndef LIBSTORE_S3_SOCKETS_H
#define LIBSTORE_S3_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"

struct socket_watch;

struct sockets { /* zeroed, with the first three set */
    struct loop *loop;
    void (*ready)(void *user, int fd, uint32_t epoll_events);
    void *user;
    struct socket_watch **by_fd;
    size_t n;
};

/* A new socket, before it connects. False: it cannot be watched. */
bool sockets_open(struct sockets *s, int fd);
/* events: EPOLLIN, EPOLLOUT. Returns false for want of memory or watches. */
bool sockets_watch(struct sockets *s, int fd, uint32_t events);
/* Not watched any more; it may be closed elsewhere. Harmless when it is not watched. */
void sockets_forget(struct sockets *s, int fd);
/* at_rest: nothing that was sent is to be dropped. Returns what close() does. */
int sockets_close(struct sockets *s, int fd, bool at_rest);
/* Watches nothing any more. The sockets stay open. */
void sockets_cleanup(struct sockets *s);

#endif
