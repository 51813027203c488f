/* source.h - local bytes on their way into a store: a file, or what comes through a pipe. */
#ifndef STORECTL_SOURCE_H
#define STORECTL_SOURCE_H

#include <sys/types.h>

#include "base/loop.h"

struct source {
    int fd;
    uint64_t size;   /* STORE_SIZE_UNKNOWN: a pipe, a terminal, a socket */
    uint64_t at;     /* read so far */
    int sys_errno;   /* of a read that failed */
    bool short_read; /* it ended before its size */
    bool own;        /* close fd at the end */
    struct loop *loop;
    struct loop_watch watch;
};

/* Takes an open file; own: its fd is closed by source_close(). ready(user) is called from the loop
 * when a read that told STORE_READ_PAUSE should be tried again. Returns 0, or -1 with *err set,
 * and then the fd is closed likewise. */
int source_open_fd(struct source *s, struct loop *loop, int fd, bool own, const char *name,
                   void (*ready)(void *user, uint32_t events), void *user, struct store_err *err);
/* As struct store_put_cb's read: never waits for a pipe. */
ssize_t source_read(struct source *s, void *buf, size_t cap);
/* From the start again; only with a known size. */
void source_rewind(struct source *s);
void source_close(struct source *s);

#endif
