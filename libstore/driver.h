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
#include "libstore/health.h"

enum {
    STORE_VERSION_SIZE = 1025,
    STORE_CHECKSUM_SIZE = 64,
};

/* Metadata pairs that libstore adds to an object besides the caller's; their names begin with
 * STORE_OWN_PREFIX. op.c adds up to two to opts.put.meta, a driver may add two more when it sends
 * them. Whoever reads them back needs room for STORE_MAX_META + STORE_OWN_META, as store_info has;
 * op.c keeps them from the caller. */
enum { STORE_OWN_META = 4 };
#define STORE_OWN_PREFIX "store-"

enum op_kind {
    OP_GET,
    OP_HEAD,
    OP_PUT,
    OP_COPY,
    OP_LIST,
    OP_DELETE,
    OP_DELETE_MANY,
    OP_DELETE_PREFIX, /* purge.c's; no driver sees it */
};

struct store_op {
    /* Set by op.c before start(); read-only for the driver. */
    store *store;
    struct loop *loop;
    enum op_kind kind;
    char *key;    /* GET HEAD PUT DELETE: the key; COPY: the new one; LIST: the prefix. Relative to
                   * the driver's own prefix; that of a narrowed store is in it */
    char *source; /* COPY */
    char **keys;  /* DELETE_MANY */
    char **versions; /* DELETE_MANY: ids of versions or uploads; NULL: objects */
    size_t n_keys;
    enum store_list_kind listed; /* DELETE_MANY: what the keys and versions are */
    union {
        struct store_get_opts get;
        struct store_put_opts put;
        struct store_copy_opts copy;
        struct store_list_opts list;
    } opts;               /* pointers in it are copies that live as long as the op */
    bool bulk;            /* on the bulk connections */
    uint64_t size;        /* PUT: bytes of the object, or STORE_SIZE_UNKNOWN */
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
    bool at_end;             /* PUT: the caller said so */
    bool paused;             /* the caller asked for a pause and has not resumed */
    bool resume_wanted, cancel_wanted;
    bool canceled; /* driver->cancel() was called */
    bool stopped;  /* we end this run of the driver; err says why, or OK */
    bool again;    /* then another one follows */
    bool idle;     /* the driver's run has ended, the operation has not */
    bool finished; /* op_finish() was called */
    enum store_code why_canceled;
    struct store_err err;
    struct store_info info;
    enum { KEPT_PLAIN, KEPT_ZSTD, KEPT_STRANGELY } kept; /* GET HEAD: as the marks say */
    uint64_t kept_size;    /* the object's, when it is not plain; or STORE_SIZE_UNKNOWN */
    struct pack *pack;     /* PUT, compressed; else NULL */
    struct unpack *unpack; /* GET, compressed or maybe so; else NULL */
    char etag[STORE_ETAG_SIZE];
    char content_type[256];
    char version[STORE_VERSION_SIZE];
    char checksum[STORE_CHECKSUM_SIZE];
    char *meta_copy; /* what info.meta points into */
    char *copies;    /* one block that key, source, keys, versions and opts' pointers point into */
    struct store_op *next, *prev; /* ring of all operations of a loop */
};

/* ---- What drivers call, on the loop's thread ---- */

/* GET: describes the object. Copies info's strings. Call once, before op_data(). Of a compressed
 * object a driver tells what it holds: size is that of what is stored. stored_size is op.c's. */
void op_head(struct store_op *op, const struct store_info *info);
/* GET: hands over data. Returns false when the caller wants a pause: all n bytes were taken, but
 * nothing more may come before driver->resume(). */
bool op_data(struct store_op *op, const void *bytes, size_t n);
/* PUT: asks for up to cap bytes. >0, STORE_READ_PAUSE, STORE_READ_ABORT, as store_put_cb says; 0 at
 * the end. Never asks the caller for more than `size` bytes in all. */
ssize_t op_read(struct store_op *op, void *buf, size_t cap);
/* LIST: the one page; call op_finish() next. A key that does not begin with the prefix makes the
 * operation fail. The entries are changed for the time of the call only. */
void op_page(struct store_op *op, struct store_entry *entries, size_t n, const char *next_token,
             int64_t server_time_s);
/* Ends the operation, once: err NULL or STORE_OK for success. info (may be NULL) is copied. The
 * driver must have let go of the op: it may be freed any time after this. Callable from any of the
 * driver's entry points and call-backs; `done` runs later, from the loop. */
void op_finish(struct store_op *op, const struct store_err *err, const struct store_info *info);

/* ---- What a driver fills in ---- */

struct driver {
    const char *scheme; /* "s3", "file" */
    /* rest is what follows "scheme://". health outlives the state; the driver tells it of each
     * try. Returns the driver's own state in *out. */
    int (*open)(const char *rest, const struct store_conf *conf, struct health *health, void **out,
                struct store_err *err);
    void (*close)(void *state);
    /* How many bytes of a key its own prefix leaves. */
    size_t (*max_key)(const void *state);
    /* Begins op. May call op_finish() at once. */
    void (*start)(void *state, struct store_op *op);
    /* The caller goes on after a pause (op->paused is false again). Only GET and PUT. */
    void (*resume)(void *state, struct store_op *op);
    /* Stop soon: lead op to op_finish() with any error, from here or later from the loop (op.c
     * reports STORE_CANCELED or STORE_TIMEOUT in its place). For PUT: after op_finish() the object
     * is whole or absent; of a folder it stays so, while an S3 server that had all of the bytes and
     * did not answer in time may still store them. */
    void (*cancel)(void *state, struct store_op *op);
};

extern const struct driver s3_driver;
extern const struct driver file_driver;

#endif
