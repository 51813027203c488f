/* delete.h - one object, a batch, everything below a prefix.
 *
 * In a bucket that keeps versions a delete by key adds a delete marker, and the data stay; delete
 * what STORE_LIST_VERSIONS lists, or a prefix with `versions`, to be rid of them. */
#ifndef STORE_DELETE_H
#define STORE_DELETE_H

#include <store/list.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Removes one object. Success also when there was none. */
STORE_API store_op *store_delete(store *s, store_loop *loop, const char *key, uint32_t timeout_ms,
                                 store_done_fn *done, void *user, struct store_err *err);

/* Removes up to STORE_MAX_BATCH objects. Success means that none of them is left; when some could
 * not be removed after the retries, the error names the first and how many. Where the backend
 * refuses or cannot digest a whole batch, it is sent in smaller ones and at last key by key. */
STORE_API store_op *store_delete_many(store *s, store_loop *loop, const char *const *keys, size_t n,
                                      uint32_t timeout_ms, store_done_fn *done, void *user,
                                      struct store_err *err);

/* The same for what a listing of this kind told: objects, versions (each with its id), or uploads
 * (which are aborted). Of an entry only key and version are read; groups are refused. Unlike
 * above, keys that break the rules for keys are taken: what others stored must be removable. */
STORE_API store_op *store_delete_listed(store *s, store_loop *loop, enum store_list_kind kind,
                                        const struct store_entry *entries, size_t n,
                                        uint32_t timeout_ms, store_done_fn *done, void *user,
                                        struct store_err *err);

struct store_progress {
    /* Removed by this run, old versions and markers included (dry run: found); what is gone behind
     * the cursor already counts, too. */
    uint64_t objects;
    uint64_t bytes;   /* the sum of their sizes, as listed */
    uint64_t uploads; /* aborted by this run (dry run: found) */
    uint64_t kept;    /* objects that stay because of modified_before_s */
    uint64_t pages;   /* listed so far */
    /* Every object up to this key, inclusive, is gone or was kept; it need not be an object's key.
     * "" at the start. Lives as long as the call-back. */
    const char *cursor;
    int64_t server_time_s; /* the backend's clock at this run's first listing; 0: none yet */
};

struct store_delete_prefix_opts { /* all zero is a valid default */
    const char *end_before;       /* only keys less than this, bytewise; NULL: all */
    const char *cursor; /* go on behind this cursor of an earlier run; NULL: from the start */
    /* Only what was last modified before this moment of the BACKEND's clock; 0: all. What is of
     * unknown age stays. An object that replaces a listed one before its removal goes with it: that
     * is a moment as a rule, and at most 10 s. A listing that is older, say since the process was
     * stopped, is not used: the run fails with STORE_TIMEOUT, and goes on by its cursor. */
    int64_t modified_before_s;
    bool versions; /* also old versions and delete markers */
    /* Also unfinished multipart uploads: looked for from the start, also with a cursor, and aborted
     * before any object goes. */
    bool uploads;
    bool dry_run;               /* only count; one listing at a time */
    uint32_t batches_in_flight; /* 0: 8; at most 64 */
    /* Begins with one batch, and has no more of them under way than make it faster: on a store
     * that is busy with one of them, other requests would have to wait behind all. */
    bool yielding;
    uint32_t listings_in_flight; /* 0: half as many, at least 4; at most 16 */
    uint32_t timeout_ms;         /* of each listing and each batch; 0: 120 s */
};

struct store_delete_prefix_cb {
    /* After each batch, and each page of which nothing goes; may be NULL. Returns false to stop:
     * `done` follows with STORE_CANCELED. */
    bool (*progress)(void *user, const struct store_progress *p);
    void (*done)(void *user, const struct store_err *err, const struct store_progress *p);
};

/* Removes every object whose key starts with prefix, which must end in '/' so that "a/ep-1/" never
 * reaches "a/ep-10/"; "" is taken by a narrowed store only, and means all of it. Has no deadline of
 * its own: each listing and each batch has one, is retried within it, and the first that fails ends
 * the whole with its error and a cursor to resume from. Objects that are put meanwhile may or may
 * not be removed: list again to know. Ranges of keys are listed side by side, more of them while
 * there is room, and batches go out in any order; the cursor follows the order of the keys. Memory
 * does not depend on how many objects there are. */
STORE_API store_op *store_delete_prefix(store *s, store_loop *loop, const char *prefix,
                                        const struct store_delete_prefix_opts *opts,
                                        const struct store_delete_prefix_cb *cb, void *user,
                                        struct store_err *err);

#ifdef __cplusplus
}
#endif
#endif
