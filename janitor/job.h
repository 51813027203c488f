/* job.h - one deletion on its way through the protocol, as named steps.
 *
 *     accept → (first) → open → sweep → drain → verify → (close) → publish → forget
 *
 * accept belongs to a message: it ends when tombstone and intent are durable, and only then is the
 * message given back. first and close are for deletions without a fence only, and close for what
 * was cancelled. All steps from open on can be repeated by any janitor, from the intent alone; open
 * is where a job begins that was found in the store, and where it comes back to when its intent may
 * have changed. A step blocks on the store, and says when the next one is due; in between a job
 * waits in the schedule and holds no thread. A job has one owner at a time: the schedule or the
 * worker that runs it. */
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
    NEXT_ENDED, /* nothing is left to do here: free the job */
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
    uint64_t due_ms;            /* clock_mono_ms() */
    struct queue_msg *msg;      /* accept: what is to be given back */
    struct deletion d;          /* from open on: what the intent said when it was last read */
    struct ledger_job record;   /* cursor, counts, owner, as the ledger has them or would have */
    char etag[STORE_ETAG_SIZE]; /* the intent's, when it was read or written */
    bool is_ours;               /* the intent is what we have just written: no need to read it */
    bool leased;
    unsigned failures;                /* in a row */
    unsigned denials;                 /* of them, those that no repetition may ever change */
    int64_t started_at_s, ended_at_s; /* the store's clock: the first listing, and the last */
    uint64_t saved_ms;                /* when the record was last saved */
    uint64_t base_files, base_bytes;  /* counts before the run that is under way */
    char subsumed_by[JOB_ID_SIZE];    /* the wider job that sweeps for this one, or "" */
    /* The schedule's own, under its lock. */
    size_t slot;           /* the place in a heap, from 1; 0: it does not wait */
    struct job *next_same; /* in the table */
    bool listed;           /* in the table */
    bool poked;            /* see schedule_poke() */
    bool closing;          /* see schedule_close() */
};

/* The first step of a message, and of an intent that was found. */
struct job *job_from_message(struct queue_msg *m);
struct job *job_from_intent(const char *job_id);
void job_free(struct job *job); /* a message that is still held is abandoned: it comes again */

#endif
