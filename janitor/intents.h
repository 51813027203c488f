/* intents.h - every intent of the store, for people who look. Blocking, in bounded memory: a page
 * of ids, and a few intents that are read at the same time. */
#ifndef JANITOR_INTENTS_H
#define JANITOR_INTENTS_H

#include "epufs/deletion.h"

struct intent_found {
    const char *job_id;
    bool unreadable; /* it is there, and cannot be understood: why says it */
    const char *why;
    const struct deletion *d; /* NULL when unreadable */
};

/* Calls each() for every intent whose job id begins with prefix ("" for all), in the order of the
 * ids, until it returns false; in between each() may use the loop, and change intents. What comes
 * or goes meanwhile may be missed. timeout_ms: of one request. Returns 0, or -1 with *err when the
 * store did not answer. */
int intents_each(store *s, store_loop *loop, const char *prefix, uint32_t timeout_ms,
                 bool (*each)(void *user, const struct intent_found *f), void *user,
                 struct store_err *err);

#endif
