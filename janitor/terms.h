/* terms.h - whether our upload_window covers what the writers tell of themselves (epufs/window.h).
 * The listing is kept for some seconds and serves all jobs whose tombstone is older. Thread-safe.
 */
#ifndef JANITOR_TERMS_H
#define JANITOR_TERMS_H

#include "epufs/window.h"

struct terms;

struct terms *terms_new(uint32_t window_s);
void terms_free(struct terms *t); /* NULL is fine */

enum terms_verdict {
    TERMS_COVERED,
    TERMS_SHORT,  /* the window is shorter than a writer's uploads may take; *err says which */
    TERMS_FAILED, /* the store did not tell; *err says why */
};
/* For a deletion that was accepted at accepted_at_s, by the store's clock: every writer whose
 * uploads may have passed its fence is looked at. Reads the store on the caller's own loop when
 * what is known is older than that, or older than some seconds. */
enum terms_verdict terms_check(struct terms *t, store *s, store_loop *loop, int64_t accepted_at_s,
                               struct store_err *err);
/* What the latest reading told, in seconds; 0: no writer tells, or nothing was read. */
uint32_t terms_needed_s(struct terms *t);
bool terms_short(struct terms *t);

#endif
