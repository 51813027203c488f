/* driver.h - what a storage backend fills in, and the operation that it works on.
 *
 * libstore/op.c checks the arguments, keeps the deadline, and promises the caller the rules of
 * store.h: call-backs only from the loop, `done` exactly once, cancel and pause at any time. A
 * driver gets operations whose arguments are valid, one page or one batch each, and moves them
 * forward on the loop's thread. What spans several (delete_prefix) is built above the drivers. */
#ifndef LIBSTORE_DRIVER_H
#define LIBSTORE_DRIVER_H

#include <store/store.h>

#include "base/buf.h"
#include "base/loop.h"

enum op_kind { OP_GET, OP_HEAD, OP_PUT, OP_LIST, OP_DELETE, OP_DELETE_MANY, OP_DELETE_PREFIX };

struct store_op {
    /* Set by op.c before start(); read-only for the driver. */
    store *store;
    struct loop *loop;
    enum op_kind kind;
    char *key;   /* GET HEAD PUT DELETE: the key; LIST: the prefix. Without the store's prefix */
    char **keys; /* DELETE_MANY */
    size_t n_keys;
    union {
        struct store_get_opts get;
        struct store_put_opts put;
        struct store_list_opts list;
    } opts;               /* pointers in it are copies that live as long as the op */
    uint64_t size;        /* PUT: bytes of the object */
    const char *bytes;    /* PUT from memory: all of it; NULL: streamed through op_read() */
    uint64_t deadline_ms; /* on loop_now_ms()'s clock; op.c cancels the driver then */

    /* The driver's own. */
    void *driver_op;

    /* op.c's own. */
    struct store_get_cb get_cb;
    struct store_put_cb put_cb;
    struct store_list_cb list_cb;
    store_done_fn *done_cb;
    void *user;
    struct loop_timer deadline;
    struct loop_task kick;   /* resume or cancel, away from the caller's stack */
    struct loop_task finish; /* calls `done` and frees */
    uint64_t asked;          /* PUT: bytes that the caller has given */
    bool paused;             /* the caller asked for a pause and has not resumed */
    bool resume_wanted, cancel_wanted;
    bool canceled; /* driver->cancel() was called */
    bool finished; /* op_finish() was called */
    enum store_code why_canceled;
    struct store_err err;
    struct store_info info;
    char etag[STORE_ETAG_SIZE];
    char content_type[256];
    char *meta_copy;              /* what info.meta points into */
    char *copies;                 /* one block that key, keys and opts' pointers point into */
    struct store_op *next, *prev; /* ring of all operations of a loop */
};

/* ---- What drivers call, on the loop's thread ---- */

/* GET: describes the object. Copies info's strings. Call once, before op_data(). */
void op_head(struct store_op *op, const struct store_info *info);
/* GET: hands over data. Returns false when the caller wants a pause: all n bytes were taken, but
 * nothing more may come before driver->resume(). */
bool op_data(struct store_op *op, const void *bytes, size_t n);
/* PUT: asks for up to cap bytes. >0, STORE_READ_PAUSE, STORE_READ_ABORT, as store_put_cb says.
 * Never asks the caller for more than `size` bytes in all. */
ssize_t op_read(struct store_op *op, void *buf, size_t cap);
/* LIST: the one page. */
void op_page(struct store_op *op, const struct store_page *page);
/* Ends the operation, once: err NULL or STORE_OK for success. info (may be NULL) is copied. The
 * driver must have let go of the op: it may be freed any time after this. Callable from any of the
 * driver's entry points and call-backs; `done` runs later, from the loop. */
void op_finish(struct store_op *op, const struct store_err *err, const struct store_info *info);

/* ---- What a driver fills in ---- */

struct driver {
    const char *scheme; /* "s3", "file" */
    /* rest is what follows "scheme://". Returns the driver's own state in *out. */
    int (*open)(const char *rest, const struct store_conf *conf, void **out, struct store_err *err);
    void (*close)(void *state);
    /* Begins op. May call op_finish() at once. */
    void (*start)(void *state, struct store_op *op);
    /* The caller goes on after a pause (op->paused is false again). Only GET and PUT. */
    void (*resume)(void *state, struct store_op *op);
    /* Stop soon: lead op to op_finish() with any error, from here or later from the loop (op.c
     * reports STORE_CANCELED or STORE_TIMEOUT in its place). For PUT: after op_finish() the object
     * is whole or absent, and stays so. */
    void (*cancel)(void *state, struct store_op *op);
};

extern const struct driver s3_driver;
extern const struct driver file_driver;

/* The state that open() gave. */
void *store_driver_state(const store *s);

#endif
