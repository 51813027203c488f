/* op.h - what the files above the drivers share about operations. */
#ifndef LIBSTORE_OP_H
#define LIBSTORE_OP_H

#include "libstore/driver.h"

struct store {
    const struct driver *driver;
    void *state; /* the driver's */
    char *url;
    uint32_t op_timeout_ms;
};

/* Like store_delete_many(), for keys that a listing gave: they need not follow the rules for keys,
 * since what someone else stored must be removable too. */
store_op *op_delete_listed(store *s, struct loop *l, const char *const *keys, size_t n,
                           store_done_fn *done, void *user, struct store_err *err);

/* Puts op (zeroed, of any kind) onto its loop's ring, where store_loop_free() finds it. */
int op_enlist(struct store_op *op, store *s, struct loop *l, enum op_kind kind,
              struct store_err *err);
void op_delist(struct store_op *op);

/* purge.c: cancels an OP_DELETE_PREFIX. */
void purge_cancel(struct store_op *op);

#endif
