/* job.h - one deletion on its way through the protocol, as named steps.
 *
 *     accept → sweep → drain → verify → publish → forget
 *
 * accept belongs to a message: it ends when tombstone and intent are durable, and only then is the
 * message given back. All later steps can be repeated by any janitor, from the intent alone. A step
 * blocks on the store, and says when the next one is due; in between a job waits in the schedule
 * and holds no thread. A job has one owner at a time: the schedule or the worker that runs it. */
#ifndef JANITOR_JOB_H
#define JANITOR_JOB_H

#include "epufs/deletion.h"
#include "janitor/ledger.h"
#include "janitor/queue.h"

struct janitor;
struct job;

/* What a step asks for. */
enum next {
    NEXT_STEP,  /* job->step again, at job->due_ms */
    NEXT_ENDED, /* nothing is left to do: free the job */
};

struct step {
    const char *name;
    enum next (*run)(struct janitor *j, struct job *job, store_loop *loop);
};

/* Small jobs (one page of a listing) have workers of their own, so that a tenant of a hundred
 * million objects never delays an endpoint of three. */
enum lane { LANE_ACCEPT, LANE_SMALL, LANE_BIG, LANES };

struct job {
    const struct step *step;
    enum lane lane;
    uint64_t due_ms;          /* clock_mono_ms() */
    struct queue_msg *msg;    /* LANE_ACCEPT: what is to be given back */
    struct deletion d;        /* valid after accept */
    struct ledger_job record; /* cursor, counts, owner, as the ledger has them or would have */
    bool leased;
    unsigned failures; /* in a row */
    int64_t started_at_s;
    uint64_t saved_ms;               /* when the record was last saved */
    uint64_t base_files, base_bytes; /* counts before the run that is under way */
    struct job *next_same;           /* the schedule's table */
    bool listed;                     /* in that table */
    bool settled;                    /* the schedule's: see schedule_settle() */
};

/* The first step of a message, and of an intent that was found. */
struct job *job_from_message(struct queue_msg *m);
struct job *job_from_intent(const struct deletion *d);
void job_free(struct job *job); /* a message that is still held is abandoned: it comes again */

#endif
