/* fence.h - asks the store whether a generation of an endpoint was deleted. Asynchronous: three
 * requests at once (endpoint, timeline, tenant). Fails closed: an error is not an answer. */
#ifndef EPUFS_FENCE_H
#define EPUFS_FENCE_H

#include <store/store.h>

#include "epufs/layout.h"

/* How long reader and writer wait for a verdict. */
enum { FENCE_TIMEOUT_MS = 10000 };

struct fence_verdict {
    bool deleted;
    enum scope_kind by;    /* deleted: whose tombstone */
    int64_t server_time_s; /* the store's clock at the EARLIEST of the answers: the moment from
                              which an upload's expiry counts */
};

struct fence_check;
/* done is called once, from the loop, unless fence_cancel() came first. scope is an endpoint's and
 * is copied. Returns NULL with *err set when it could not be started. */
struct fence_check *fence_start(store *s, store_loop *loop, const struct scope *endpoint,
                                uint64_t gen, uint32_t timeout_ms,
                                void (*done)(void *user, const struct store_err *err,
                                             const struct fence_verdict *v),
                                void *user, struct store_err *err);
/* No call-back any more; frees in time. */
void fence_cancel(struct fence_check *f);

#endif
