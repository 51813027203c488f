/* transfer_private.h - a transfer from inside: transfer.c has its life, transfer_up.c, _down.c and
 * _across.c the three ways. Each way begins operations, tells transfer_fail() of the first thing
 * that goes wrong, and calls transfer_settle() whenever something of it has ended. */
#ifndef STORECTL_TRANSFER_PRIVATE_H
#define STORECTL_TRANSFER_PRIVATE_H

#include "storectl/storectl.h"
#include "storectl/transfer.h"

/* A body that moves may take as long as it likes; what does not is the watchdog's, and of an upload
 * libstore's: it has a bound for each try. */
enum { BODY_TIMEOUT_MS = 7 * 86400 * 1000, COPY_TIMEOUT_MS = 3600 * 1000 };

struct transfer {
    struct ctl *c;
    store *from_store, *to_store; /* NULL: local */
    char *from, *to;
    int from_fd, to_fd;
    struct transfer_opts opts;

    store_op *get, *put;     /* under way; put: a copy, too */
    struct source source;    /* up */
    struct sink sink;        /* down */
    struct loop_timer again; /* up: the next try */
    unsigned tries;
    struct buf pipe; /* across: read and not yet written */
    size_t pipe_at;  /* its first bytes that were */
    bool waits;      /* for the receiving end */
    bool committed, canceled;

    struct loop_timer watchdog;
    bool moved; /* since the watchdog looked */
    struct loop_task begin, finish;
    struct store_err err;
    uint64_t bytes;
    char etag[STORE_ETAG_SIZE];
};

void up_begin(struct transfer *t);
void down_begin(struct transfer *t);
void across_begin(struct transfer *t);

/* Keeps the first error, and cancels what is under way. */
void transfer_fail(struct transfer *t, const struct store_err *err);
/* The same, for what could not even be begun. */
void transfer_refuse(struct transfer *t, const struct store_err *err);
void transfer_sized(struct transfer *t, uint64_t bytes);
void transfer_moved(struct transfer *t, uint64_t n);
/* Ends the transfer when nothing of it is under way or waited for. */
void transfer_settle(struct transfer *t);
/* The common end of a put or copy: keeps its ETag, or its error. */
void transfer_put_done(struct transfer *t, const struct store_err *err,
                       const struct store_info *info);
void transfer_watch(struct transfer *t);

#endif
