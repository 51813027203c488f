/* reaper.h - a thread that now and then goes through all tombstones, slowly, and removes those
 * whose tokens have all expired (epufs/reap.h). Each janitor has one; that two of them look at the
 * same tombstone does no harm. */
#ifndef JANITOR_REAPER_H
#define JANITOR_REAPER_H

#include "janitor/janitor.h"

struct reaper;

/* *out NULL with success: tombstone_scan_interval is 0. */
int reaper_start(struct janitor *j, struct reaper **out, struct store_err *err);
/* Waits for the thread; schedule_stop() must have been called. NULL is fine. */
void reaper_stop(struct reaper *r);

#endif
