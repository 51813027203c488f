/* op.h - what the files above the drivers share about operations. */
#ifndef LIBSTORE_OP_H
#define LIBSTORE_OP_H

#include <stdatomic.h>

#include "libstore/driver.h"

struct store {
    /* Of the root; the same in all that are narrowed from it. */
    const struct driver *driver;
    void *state; /* the driver's */
    char *url;
    uint32_t op_timeout_ms;
    struct health *health;
    struct store *root; /* itself, or what it was narrowed from */
    /* 1 while it is open; root: those narrowed from it; narrowed: its operations, since whoever has
     * it for one request may close it before they are done. */
    atomic_uint refs;
    /* Its own. */
    const char *within; /* "" or "some/prefix/", before every key */
    size_t within_len, max_key;
};

void store_ref(store *s);
void store_unref(store *s); /* frees with the last */

/* Puts op (zeroed, of any kind) onto its loop's ring, where store_loop_free() finds it. */
int op_enlist(struct store_op *op, store *s, struct loop *l, enum op_kind kind,
              struct store_err *err);
void op_delist(struct store_op *op);

/* What a caller gave, before it is copied. */
struct op_args {
    enum op_kind kind;
    bool bulk;
    const char *key, *source;
    const char *const *keys; /* of a batch, or: */
    const struct store_entry *entries;
    enum store_list_kind listed; /* what the entries are */
    size_t n_keys;
    const struct store_get_opts *get;
    const struct store_put_opts *put;
    const struct store_copy_opts *copy;
    const struct store_list_opts *list;
    const char *bytes;
    uint64_t size;
    uint32_t timeout_ms;
};

/* Makes an operation; all that a points to is copied. The call-backs of its kind are still to be
 * set. NULL with *err set: no memory. op_free() is for one that was not started; op_start() returns
 * op. */
struct store_op *op_new(store *s, struct loop *l, const struct op_args *a, store_done_fn *done,
                        void *user, struct store_err *err);
store_op *op_start(struct store_op *op);
void op_free(struct store_op *op);

/* Ends the driver's run soon; what it still brings is dropped. With op->err OK the operation is a
 * success then; with op->again set the driver is started anew. Returns false. */
bool op_stop(struct store_op *op);
/* To the caller, unless it has canceled. Deliver and ask note that it pauses. */
void op_tell_head(struct store_op *op);
bool op_deliver(struct store_op *op, const void *bytes, size_t n);
ssize_t op_ask(struct store_op *op, void *buf, size_t cap);

/* purge.c: cancels an OP_DELETE_PREFIX. */
void purge_cancel(struct store_op *op);

#endif
