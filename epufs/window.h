/* window.h - how long after a tombstone an upload that passed the fence before it may still end:
 * one truth for writers, who keep to it, and janitors, who wait for it. Each writer tells its times
 * in the store, beside the intents, under a key whose name says their sum:
 *
 *     writers/<sum in seconds, 8 digits>-<the writer's id>
 *
 * and tells them again every WINDOW_REFRESH_S. What was told holds for WINDOW_VALID_S by the
 * store's clock; a writer takes no upload whose fence was answered later than that. So a janitor
 * that reads them after a tombstone was written knows every writer whose upload may have passed
 * that fence.
 *
 * A writer that could not tell them for WINDOW_VALID_S goes on under a new id: a key that does not
 * hold any more is never told again, and may be removed whenever it is found. */
#ifndef EPUFS_WINDOW_H
#define EPUFS_WINDOW_H

#include <store/store.h>

#include "epufs/layout.h"

enum {
    WINDOW_VALID_S = 600,
    WINDOW_REFRESH_S = 60,
    WINDOW_TELL_TIMEOUT_MS = 20000, /* of one telling */
    WINDOW_KEPT_S = 3600,           /* how long a key stays that does not count any more */
    WINDOW_ID_SIZE = 64,            /* letters, digits, '-' and '_', with the NUL */
};

/* What an option says, as both sides count it: in whole seconds, rounded up. */
static inline uint32_t window_round_s(uint64_t ms)
{
    return (uint32_t)((ms + 999) / 1000);
}

/* In seconds, each by window_round_s() from what the options say. */
struct window_terms {
    uint32_t expiry_s;  /* after the fence's answer, how long the store takes a put's beginning */
    uint32_t timeout_s; /* how long the writer then sends its body */
    uint32_t idle_s;    /* how long the store, or the network, still takes what is on its way */
};

/* The sum. */
uint32_t window_needed_s(const struct window_terms *t);

/* The key of a writer's terms. The sum is from 1 to 99,999,999. */
void window_key(const struct window_terms *t, const char *id, char key[LAYOUT_KEY_SIZE]);
/* Tells the terms. done as of store_put(): info->server_time_s is when they were told. NULL with
 * *err set: not started. */
store_op *window_tell(store *s, store_loop *loop, const struct window_terms *t, const char *id,
                      store_done_fn *done, void *user, struct store_err *err);
/* The sum and the writer's id of such a key. False: it is none. */
bool window_parse(const char *key, uint32_t *needed_s, char id[WINDOW_ID_SIZE]);

struct window_largest {
    uint32_t needed_s;       /* 0: no writer tells */
    char id[WINDOW_ID_SIZE]; /* whose */
    int64_t server_time_s; /* the store's clock at the first listing: what was told before then has
                              been seen */
};
/* The largest sum that holds, or held when an upload of its writer may have begun that has not
 * ended yet. What is much older is removed. Blocking, on a loop of the caller's own. Returns -1
 * with *err. */
int window_read(store *s, store_loop *loop, struct window_largest *out, struct store_err *err);

#endif
