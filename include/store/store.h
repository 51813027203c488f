/* store.h - object storage: Amazon S3 (and what speaks its protocol) and folders of a file system
 * behind one interface.
 *
 * The parts
 *   store       a bucket and prefix, or a folder. Opened by URL, shared by any number of threads.
 *   store_loop  an event loop with the connections, timers and operations of ONE thread.
 *   store_op    an operation under way. Belongs to its loop, and so to that loop's thread.
 *
 * Asynchronous use: create a loop, start operations on it, and run it: either store_loop_run() in
 * a thread of your own, or poll store_loop_fd() in an event loop that you have already and call
 * store_loop_run(loop, 0) when it is readable or store_loop_timeout_ms() is over. Call-backs come
 * only from inside store_loop_run(), on its thread, and never from the call that starts an
 * operation. Each operation ends with exactly one `done`, also after store_op_cancel(); the
 * store_op is gone when `done` returns.
 *
 * Blocking use: the store_sync_*() functions run a loop until one operation is done.
 *
 * Keys are byte strings of 1 to 1024 bytes without NUL, relative to the store's own prefix. Empty
 * segments, "." and ".." are refused by both drivers, so that a key means the same object
 * everywhere. All times are seconds since 1970 in UTC, all durations milliseconds.
 *
 * Thread-safety: a store may be used from any thread; a loop, its operations and their call-backs
 * only from the thread that runs the loop. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <store/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct store store;
typedef struct loop store_loop;
typedef struct store_op store_op;

enum {
    STORE_MAX_KEY = 1024,        /* bytes, without the store's prefix */
    STORE_MAX_BATCH = 1000,      /* keys in one delete_many, entries in one list page */
    STORE_MAX_META = 16,         /* user metadata pairs of one object */
    STORE_MAX_META_BYTES = 2048, /* names and values together (the S3 limit) */
};

/* ---- Opening ------------------------------------------------------------------------------ */

struct store_conf {            /* all zero is a valid default */
    const char *region;        /* S3: NULL: AWS_REGION, AWS_DEFAULT_REGION, us-east-1 */
    const char *endpoint;      /* S3: NULL: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, Amazon's */
    const char *access_key;    /* S3: NULL: AWS_ACCESS_KEY_ID */
    const char *secret_key;    /* S3: NULL: AWS_SECRET_ACCESS_KEY */
    const char *session_token; /* S3: NULL: AWS_SESSION_TOKEN */
    const char *ca_file;       /* S3: PEM bundle; NULL: the system's */
    uint32_t op_timeout_ms;    /* one operation with all its tries; 0: 30 s */
    uint32_t stall_timeout_ms; /* no byte moved for so long: the try failed; 0: 5 s */
    uint32_t max_connections;  /* S3: kept for each loop; 0: 128 */
    uint32_t io_threads;       /* folder: threads doing file I/O; 0: 4 */
};

/* Opens a store by URL:
 *     s3://bucket[/prefix]      file:///absolute/folder[/]
 * Nothing is contacted, but file:// creates its folder when it is missing (its parent must exist)
 * and removes temporary files that a crash left more than a day ago.
 * conf may be NULL; strings are copied. *out is the caller's: end it with store_close().
 * Returns 0, or -1 with STORE_INVALID (URL, a missing credential), STORE_DENIED, STORE_FAILED. */
STORE_API int store_open(const char *url, const struct store_conf *conf, store **out,
                         struct store_err *err);

/* Frees the store. Every loop that was used with it must have been freed before. NULL is fine. */
STORE_API void store_close(store *s);

/* The URL without secrets; lives as long as the store. */
STORE_API const char *store_url(const store *s);

/* NULL if the key is acceptable, or what is wrong with it (a constant). */
STORE_API const char *store_key_problem(const char *key);

/* ---- Loops -------------------------------------------------------------------------------- */

/* Returns 0, or -1 with STORE_FAILED or STORE_NO_MEMORY. */
STORE_API int store_loop_new(store_loop **out, struct store_err *err);

/* Cancels what is still under way (its `done` is called from here) and frees. NULL is fine. */
STORE_API void store_loop_free(store_loop *loop);

/* Readable when store_loop_run() has something to do. Owned by the loop. */
STORE_API int store_loop_fd(const store_loop *loop);

/* Milliseconds until store_loop_run() has something to do without the fd; -1: nothing planned. */
STORE_API int store_loop_timeout_ms(const store_loop *loop);

/* Waits at most wait_ms (-1: until something happens), then handles everything that is ready.
 * Returns 0, or -1 with *err set when the wait itself failed. */
STORE_API int store_loop_run(store_loop *loop, int wait_ms, struct store_err *err);

/* ---- What the operations tell ------------------------------------------------------------- */

struct store_meta {
    const char *name; /* lower case letters, digits and '-' */
    const char *value;
};

struct store_info {           /* strings live as long as the call-back that got them */
    uint64_t size;            /* bytes of the whole object */
    uint64_t offset;          /* get: first byte that is delivered */
    uint64_t length;          /* get: bytes that are delivered */
    const char *etag;         /* opaque, without quotes; "" when the backend gave none */
    const char *content_type; /* "" when unknown */
    int64_t modified_s;
    int64_t server_time_s; /* the backend's own clock when it answered; 0: unknown */
    struct store_meta meta[STORE_MAX_META];
    size_t n_meta;
};

/* Ends an operation. err->code is STORE_OK on success. info is never NULL; on failure only
 * server_time_s may be set. */
typedef void store_done_fn(void *user, const struct store_err *err, const struct store_info *info);

/* Cancels: `done` follows from the loop with STORE_CANCELED. */
STORE_API void store_op_cancel(store_op *op);

/* Goes on after a call-back asked for a pause. Harmless when nothing is paused. */
STORE_API void store_op_resume(store_op *op);

/* ---- Get and head ------------------------------------------------------------------------- */

struct store_get_opts {          /* all zero is a valid default */
    uint64_t offset;             /* first byte wanted */
    uint64_t length;             /* bytes wanted; 0: to the end */
    const char *if_match;        /* etag; else STORE_PRECONDITION */
    const char *if_none_match;   /* etag; equal: STORE_NOT_MODIFIED */
    int64_t if_modified_since_s; /* 0: not asked; not later: STORE_NOT_MODIFIED */
    uint32_t timeout_ms;         /* 0: the store's; pauses count, so give slow readers time */
};

struct store_get_cb {
    /* Once, before any data; may be NULL. */
    void (*head)(void *user, const struct store_info *info);
    /* Takes ALL n bytes. Returns false to pause: nothing more comes before store_op_resume(). */
    bool (*data)(void *user, const void *bytes, size_t n);
    store_done_fn *done;
};

/* Reads an object. `done` reports STORE_OK only when exactly info->length bytes were delivered.
 * key, opts and cb are copied. Returns NULL with *err set when the arguments are bad or memory is
 * short: then no call-back comes. */
STORE_API store_op *store_get(store *s, store_loop *loop, const char *key,
                              const struct store_get_opts *opts, const struct store_get_cb *cb,
                              void *user, struct store_err *err);

/* The object's description without its data. timeout_ms 0: the store's. */
STORE_API store_op *store_head(store *s, store_loop *loop, const char *key, uint32_t timeout_ms,
                               store_done_fn *done, void *user, struct store_err *err);

/* ---- Put ---------------------------------------------------------------------------------- */

struct store_put_opts {       /* all zero is a valid default */
    const char *content_type; /* NULL: application/octet-stream */
    const struct store_meta *meta;
    size_t n_meta;
    bool if_absent;       /* only create: else STORE_PRECONDITION */
    const char *if_match; /* only replace the object with this etag: else STORE_PRECONDITION */
    uint32_t timeout_ms;  /* 0: the store's */
    /* An upload that expires: with expires_in_s set, the backend itself refuses the put
     * (STORE_EXPIRED) when it arrives later than signed_at_s + expires_in_s by the BACKEND's
     * clock, however long it was under way (S3: a presigned request). signed_at_s is a
     * server_time_s that this backend told. A body that began in time may end later, by at most
     * timeout_ms: libstore sends no byte of it after that. */
    int64_t signed_at_s;
    uint32_t expires_in_s;
};

enum { STORE_READ_PAUSE = -1, STORE_READ_ABORT = -2 };

struct store_put_cb {
    /* Fills buf with 1 to cap bytes and returns how many; STORE_READ_PAUSE when there are none
     * now (store_op_resume() asks again); STORE_READ_ABORT to give up (nothing is stored). Not
     * called any more once `size` bytes were given. */
    ssize_t (*read)(void *user, void *buf, size_t cap);
    store_done_fn *done; /* info: size, etag, server_time_s */
};

/* Stores an object of exactly `size` bytes that `read` delivers piece by piece. All or nothing:
 * readers see the old object or the whole new one. Tried once only, since the data cannot be had
 * again: STORE_BUSY says that the caller may. */
STORE_API store_op *store_put(store *s, store_loop *loop, const char *key, uint64_t size,
                              const struct store_put_opts *opts, const struct store_put_cb *cb,
                              void *user, struct store_err *err);

/* The same from memory, which is copied; retried within the deadline. */
STORE_API store_op *store_put_bytes(store *s, store_loop *loop, const char *key, const void *bytes,
                                    size_t size, const struct store_put_opts *opts,
                                    store_done_fn *done, void *user, struct store_err *err);

/* ---- List --------------------------------------------------------------------------------- */

struct store_entry {
    const char *key; /* relative to the store, also when a prefix was asked for */
    bool is_prefix;  /* a group of keys that share this up to the delimiter; nothing else is set */
    uint64_t size;
    const char *etag;
    int64_t modified_s;
};

struct store_page { /* lives as long as the call-back */
    const struct store_entry *entries;
    size_t n;
    const char *next_token; /* NULL: this was the last page */
    int64_t server_time_s;
};

struct store_list_opts {     /* all zero is a valid default */
    char delimiter;          /* '/' or 0 */
    uint32_t max;            /* entries in the page; 0: STORE_MAX_BATCH */
    const char *start_after; /* only keys greater than this, bytewise */
    const char *token;       /* of the page before; start_after is ignored then */
    uint32_t timeout_ms;
};

struct store_list_cb {
    /* Exactly once on success, before `done`; the page may be empty. */
    void (*page)(void *user, const struct store_page *page);
    store_done_fn *done;
};

/* One page of the keys that start with prefix ("" for all), in bytewise order. A page may hold
 * fewer entries than max although more follow: only next_token tells. */
STORE_API store_op *store_list(store *s, store_loop *loop, const char *prefix,
                               const struct store_list_opts *opts, const struct store_list_cb *cb,
                               void *user, struct store_err *err);

/* ---- Delete ------------------------------------------------------------------------------- */

/* Removes one object. Success also when there was none. */
STORE_API store_op *store_delete(store *s, store_loop *loop, const char *key, uint32_t timeout_ms,
                                 store_done_fn *done, void *user, struct store_err *err);

/* Removes up to STORE_MAX_BATCH objects. Success means that none of them is left; when some could
 * not be removed after the retries, the error names the first and how many. */
STORE_API store_op *store_delete_many(store *s, store_loop *loop, const char *const *keys, size_t n,
                                      uint32_t timeout_ms, store_done_fn *done, void *user,
                                      struct store_err *err);

struct store_progress {
    uint64_t objects;      /* removed so far (a dry run: found) */
    uint64_t bytes;        /* the sum of their sizes */
    uint64_t pages;        /* listed so far */
    const char *cursor;    /* everything up to this key, inclusive, is gone; "" at the start */
    int64_t server_time_s; /* the backend's clock at this run's first listing; 0: none yet */
};

struct store_delete_prefix_opts { /* all zero is a valid default */
    const char *end_before;       /* only keys less than this, bytewise; NULL: all */
    const char *cursor;         /* go on behind this key of an earlier run; NULL: from the start */
    uint32_t batches_in_flight; /* 0: 8 */
    bool dry_run;               /* only count */
};

struct store_delete_prefix_cb {
    /* After each batch, may be NULL. Returns false to stop: `done` follows with STORE_CANCELED. */
    bool (*progress)(void *user, const struct store_progress *p);
    void (*done)(void *user, const struct store_err *err, const struct store_progress *p);
};

/* Removes every object whose key starts with prefix, which must end in '/' so that "a/ep-1/" never
 * reaches "a/ep-10/". Has no deadline of its own: each listing and each batch has the store's, is
 * retried within it, and the first that fails ends the whole with its error and a cursor to resume
 * from. Objects that are put meanwhile may or may not be removed: list again to know. Memory does
 * not depend on how many objects there are. */
STORE_API store_op *store_delete_prefix(store *s, store_loop *loop, const char *prefix,
                                        const struct store_delete_prefix_opts *opts,
                                        const struct store_delete_prefix_cb *cb, void *user,
                                        struct store_err *err);

/* ---- Blocking ----------------------------------------------------------------------------- */
/* Each runs `loop` until its operation is done. A loop that is kept keeps its connections; with
 * NULL a private one is made for the call. Not to be called from a call-back of the same loop.
 * The info's strings (etag, content_type, metadata) are not kept: etag is copied out where
 * it is asked for. All return 0, or -1 with *err set. */

enum { STORE_ETAG_SIZE = 128 }; /* with the NUL */

/* Reads a whole object of at most max_bytes into memory of its own, which the caller frees with
 * free(). A NUL that does not count is put behind it. Larger: STORE_INVALID. info may be NULL. */
STORE_API int store_sync_get(store *s, store_loop *loop, const char *key, size_t max_bytes,
                             void **bytes, size_t *size, struct store_info *info,
                             struct store_err *err);
STORE_API int store_sync_head(store *s, store_loop *loop, const char *key, struct store_info *info,
                              struct store_err *err);
/* etag: STORE_ETAG_SIZE bytes or NULL. */
STORE_API int store_sync_put(store *s, store_loop *loop, const char *key, const void *bytes,
                             size_t size, const struct store_put_opts *opts, char *etag,
                             struct store_info *info, struct store_err *err);
STORE_API int store_sync_delete(store *s, store_loop *loop, const char *key, struct store_err *err);
STORE_API int store_sync_delete_many(store *s, store_loop *loop, const char *const *keys, size_t n,
                                     struct store_err *err);
/* One page; `page` is called with it. */
STORE_API int store_sync_list(store *s, store_loop *loop, const char *prefix,
                              const struct store_list_opts *opts,
                              void (*page)(void *user, const struct store_page *page), void *user,
                              struct store_err *err);
/* final may be NULL; its cursor is not kept (the progress call-back tells it). */
STORE_API int store_sync_delete_prefix(store *s, store_loop *loop, const char *prefix,
                                       const struct store_delete_prefix_opts *opts,
                                       bool (*progress)(void *user, const struct store_progress *p),
                                       void *user, struct store_progress *final,
                                       struct store_err *err);

#ifdef __cplusplus
}
#endif
#endif
