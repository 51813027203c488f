/* scan.h - finds the deletions that are open in the store and unknown here: of HTTP requests, of
 * janitors that died, of our own life before a restart; notices intents that were changed; and
 * takes up those whose time has come. A thread of its own. */
#ifndef JANITOR_SCAN_H
#define JANITOR_SCAN_H

#include "janitor/janitor.h"

struct scan;

int scan_start(struct janitor *j, struct scan **out, struct store_err *err);
/* Waits for the thread; schedule_stop() must have been called. NULL is fine. */
void scan_stop(struct scan *s);

struct scan_status {
    uint64_t intents;          /* in the store, at the end of the latest whole scan */
    int64_t oldest_modified_s; /* the oldest of them; 0: none */
    int64_t scanned_at_s;      /* the store's clock at that scan; 0: none yet */
};
void scan_status(struct scan *s, struct scan_status *out); /* any thread */

#endif
