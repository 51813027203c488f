/* notices.h - sends notice.h's notices while the janitor runs: a thread of its own, a table of the
 * jobs that are told of, bounded by NOTICE_MAX_JOBS. What waits in a drain makes room for what is
 * at work. Without Redis, or while it is away, nothing is sent, and nothing kept for later. */
#ifndef JANITOR_NOTICES_H
#define JANITOR_NOTICES_H

#include "janitor/janitor.h"

/* *out NULL: none are wanted (notice_interval=0, or there is no Redis). j must be open, and its
 * pulse, terms and queue outlive this. */
int notices_start(struct janitor *j, struct notices **out, struct store_err *err);
void notices_stop(struct notices *n); /* NULL is fine; says farewell */

/* How far a job is, that this janitor has open. Any thread; n NULL is fine. */
void notices_job(struct notices *n, const struct ledger_job *job);
/* It is open here no more; its state says why. */
void notices_job_left(struct notices *n, const struct ledger_job *job);

#endif
