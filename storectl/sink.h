/* sink.h - bytes from a store on their way to a local file or standard output.
 *
 * A file appears under its name when it is whole and on disk, and not before: it is written under
 * a temporary name (.storectl-…) in the same folder, which only a kill -9 leaves behind. What is no
 * regular file (a pipe, /dev/null) is written to directly. */
#ifndef STORECTL_SINK_H
#define STORECTL_SINK_H

#include "base/buf.h"
#include "base/loop.h"

enum { SINK_TEMP = 32 };

struct sink {
    int fd;
    int folder_fd; /* of the file; -1: no temporary name */
    char temp[SINK_TEMP];
    char *name;       /* in the folder */
    bool own;         /* close fd at the end */
    bool nonblocking; /* fd does not block: what it does not take waits in `rest` */
    struct buf rest;
    struct loop *loop;
    struct loop_watch watch;
};

/* ready(user): from the loop, when a sink that was full may take more: call sink_flush(). */
typedef void sink_ready_fn(void *user, uint32_t events);

int sink_open_stdout(struct sink *s, struct loop *loop, sink_ready_fn *ready, void *user,
                     struct store_err *err);
/* A path as the user names it: symbolic links in it are followed. */
int sink_open_path(struct sink *s, struct loop *loop, const char *path, sink_ready_fn *ready,
                   void *user, struct store_err *err);
/* A path below the folder root_fd, as a key names it. Its folders are made. Not one step leaves
 * root_fd: "..", empty parts and symbolic links are errors. */
int sink_open_below(struct sink *s, struct loop *loop, int root_fd, const char *path,
                    sink_ready_fn *ready, void *user, struct store_err *err);

/* Takes all n bytes. *full: wait for ready() before the next. */
int sink_write(struct sink *s, const void *bytes, size_t n, bool *full, struct store_err *err);
int sink_flush(struct sink *s, bool *full, struct store_err *err);
/* Makes the file be there. Nothing may be left to flush. */
int sink_commit(struct sink *s, struct store_err *err);
/* Without sink_commit(): nothing is there. Does nothing to one that was never opened ({0}). */
void sink_close(struct sink *s);

#endif
