/* transfer.h - one object on its way: up, down, across, or copied within its store.
 *
 * Back-pressure all the way: what cannot be written is not read, so that memory stays the same
 * whatever the object's size. */
#ifndef STORECTL_TRANSFER_H
#define STORECTL_TRANSFER_H

#include <store/store.h>

#include "storectl/sink.h"
#include "storectl/source.h"

struct ctl;
struct transfer;

/* One end: an object, or a local file. What it points to must outlive transfer_start() only. */
struct end {
    store *store;     /* NULL: local */
    const char *name; /* key or path; "-": standard input or output */
    int fd;           /* local, from: the open file, which becomes the transfer's; -1: open name.
                       * local, to: the folder that name is below; -1: name is a plain path */
};

struct transfer_result {
    struct store_err err;
    uint64_t bytes;
    const char *etag; /* of the new object; "" for a file */
};

struct transfer_opts {
    const struct store_put_opts *put; /* must outlive the transfer */
    uint64_t offset, length;          /* of what is read from a store; length 0: to the end */
    void (*sized)(void *user, uint64_t bytes); /* how many it will be, once known; may be NULL */
    void (*moved)(void *user, uint64_t bytes); /* as it goes; may be NULL */
    void (*done)(void *user, const struct transfer_result *r);
    void *user;
};

/* Never fails: what goes wrong comes to `done`, from the loop. */
struct transfer *transfer_start(struct ctl *c, const struct end *from, const struct end *to,
                                const struct transfer_opts *opts);
/* `done` follows, with STORE_CANCELED. */
void transfer_cancel(struct transfer *t);

#endif
