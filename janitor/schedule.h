/* schedule.h - which job runs next: for each lane a heap by due time, and a table of all open jobs
 * by id, so that a deletion under way is one job however often it is asked for. Thread-safe. */
#ifndef JANITOR_SCHEDULE_H
#define JANITOR_SCHEDULE_H

#include "janitor/job.h"

struct schedule;

/* max_open bounds the jobs behind accept; more of them wait as intents in the store. */
struct schedule *schedule_new(size_t max_open);
void schedule_free(struct schedule *s); /* frees the jobs that wait; no worker may be left */

/* Puts a job (back) into its lane. Wakes a worker. */
void schedule_add(struct schedule *s, struct job *job);
/* The next due job of the lane; waits for one. NULL: schedule_stop() was called. */
struct job *schedule_take(struct schedule *s, enum lane lane);
void schedule_stop(struct schedule *s);
/* A job that waits, whenever it is due; NULL: there is none. When no worker is left. */
struct job *schedule_take_any(struct schedule *s);
bool schedule_stopping(struct schedule *s);

/* Enters the job under its id. Returns false when the id is known (or, with *full set, when there
 * are too many): then the caller frees the job. */
bool schedule_enter(struct schedule *s, struct job *job, bool *full);
bool schedule_knows(struct schedule *s, const char *job_id);
/* The job begins its last look at the store: what is stored from now on it may miss. */
void schedule_settle(struct schedule *s, struct job *job);
bool schedule_settled(struct schedule *s, const char *job_id); /* known, and that far */
/* Takes the job out of the table. */
void schedule_leave(struct schedule *s, struct job *job);

struct schedule_status {
    size_t open[3];               /* by enum scope_kind, behind accept */
    size_t accepting;             /* messages in the accept lane, waiting */
    int64_t oldest_accepted_at_s; /* of the open ones; 0: none */
};
void schedule_status(struct schedule *s, struct schedule_status *out);

#endif
