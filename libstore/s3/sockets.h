/* sockets.h - the TCP sockets of an HTTP client, by file descriptor: how they are set up, watched
 * and closed. One thread; `ready` comes from the loop.
 *
 * What leaves late. The kernel goes on sending what a socket has taken, to a slow peer for long,
 * whatever becomes of the process. So it is given little in advance (64 KiB that it has not sent,
 * and one write beyond), and a socket that ends drops what the peer has not acknowledged, by a
 * reset: a request that was given up does not become whole later. That goes for a process that dies
 * as well. Only a socket at rest, whose requests have all been answered, is closed in peace. */
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
/* Its request has been answered, nothing is wanted of it now. It stays watched between requests:
 * taking it off and on for each costs more than an event that nobody wants now and then. */
void sockets_rest(struct sockets *s, int fd);
/* Not watched any more; it may be closed elsewhere. Harmless when it is not watched. */
void sockets_forget(struct sockets *s, int fd);
/* Returns what close() does. */
int sockets_close(struct sockets *s, int fd);
/* Watches nothing any more. The sockets stay open. */
void sockets_cleanup(struct sockets *s);

#endif
