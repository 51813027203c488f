/* schedule.h - which job runs next: for each lane a heap by due time, and a table of the open jobs
 * by id, so that a deletion under way is one job however often it is asked for. Thread-safe. */
#ifndef JANITOR_SCHEDULE_H
#define JANITOR_SCHEDULE_H

#include "janitor/job.h"

struct schedule;

/* max_open bounds the jobs behind accept; more of them wait as intents in the store. */
struct schedule *schedule_new(size_t max_open);
void schedule_free(struct schedule *s); /* frees the jobs that wait; no worker may be left */

/* ---- The lanes ---- */

/* Puts a job (back) into its lane. Wakes a worker. */
void schedule_add(struct schedule *s, struct job *job);
/* The next due job of the lane; waits for one. NULL: schedule_stop() was called. */
struct job *schedule_take(struct schedule *s, enum lane lane);
/* Whether another job of the lane is due now: a long one makes room for it, page by page. */
bool schedule_crowded(struct schedule *s, enum lane lane);
void schedule_stop(struct schedule *s);
/* A job that waits, whenever it is due; NULL: there is none. When no worker is left. */
struct job *schedule_take_any(struct schedule *s);
bool schedule_stopping(struct schedule *s);

/* ---- The table ---- */

enum schedule_entry {
    SCHEDULE_ENTERED,
    SCHEDULE_KNOWN, /* a job of this id is open here; it was poked */
    SCHEDULE_FULL,
};
/* Enters the job under its id. Unless ENTERED the caller keeps the job. */
enum schedule_entry schedule_enter(struct schedule *s, struct job *job);
/* Takes the job out of the table. */
void schedule_leave(struct schedule *s, struct job *job);
size_t schedule_n_open(struct schedule *s);
/* The job's intent may have changed: it reads it again before it does anything else, and at once if
 * it waits. etag NULL, or what the intent's is now: that of the job's own reading is no change.
 * False: no such job is open here. */
bool schedule_poke(struct schedule *s, const char *job_id, const char *etag);
/* Whether the job was poked since the last time that this was asked with `take`. */
bool schedule_poked(struct schedule *s, struct job *job, bool take);
/* What the job's intent says, for schedule_covers(). */
void schedule_update(struct schedule *s, struct job *job, const struct deletion *d,
                     const char *etag);
/* The job is about to end: who asks for the same from now on asks for another one. Or it is not
 * after all, since its end failed. */
void schedule_close(struct schedule *s, struct job *job, bool closing);

enum schedule_cover {
    COVER_NONE,    /* no such job is open here, or it wants less than d does */
    COVER_ALL,     /* it does all that d asks for */
    COVER_CLOSING, /* it is about to end: ask again in a moment */
};
/* Whether an open job makes it needless to accept d. Never COVER_ALL without a fence. */
enum schedule_cover schedule_covers(struct schedule *s, const struct deletion *d);
/* The id of an open job of a wider scope that removes all that job would: the sweep of one serves
 * both. False: there is none. */
bool schedule_wider(struct schedule *s, const struct job *job, char job_id[JOB_ID_SIZE]);

struct schedule_status {
    size_t open[3];               /* by enum scope_kind, behind accept */
    size_t due[LANES];            /* jobs that could run now and have no worker */
    int64_t oldest_accepted_at_s; /* of the open ones; 0: none */
};
/* Walks all jobs; who only asks whether there are any asks schedule_n_open(). */
void schedule_status(struct schedule *s, struct schedule_status *out);

#endif
