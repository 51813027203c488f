/* steps.h - what the files of the steps share. */
#ifndef JANITOR_STEPS_H
#define JANITOR_STEPS_H

#include "janitor/janitor.h"

/* ---- Moving on: each returns what the step is to return ---- */

/* On to a step, which has had no failure yet, now. */
enum next steps_go(struct job *job, const struct step *to);
/* The same step again, after a pause that grows with the failures in a row; *err is logged and kept
 * in the job's record. */
enum next steps_again(struct janitor *j, struct job *job, const struct store_err *err);
/* The same step again in a moment, without a failure: somebody else has to come to an end first. */
enum next steps_wait(struct job *job, uint32_t ms);
/* The job waits as an intent; nothing of it is kept here but a note. */
enum next steps_park(struct janitor *j, struct job *job, enum backlog_why why, uint64_t due_ms);

/* Gives the job's lease back, if it has one: another janitor may take it up at once. */
void steps_let_go(struct janitor *j, struct job *job);

/* Until when (clock_mono_ms()) a job that another janitor has is left alone: as long as its lease,
 * but for no longer than between two scans, since the other one may end or let go of it before. */
uint64_t steps_busy_until_ms(const struct janitor *j, const struct ledger_job *r);

/* Behind accept and what is the acceptor's own: the job is one of ours, to be opened; or it is
 * another's, or must wait. */
enum next steps_enter(struct janitor *j, struct job *job);

/* ---- Sweeping ---- */

struct sweeping {
    struct janitor *janitor;
    struct job *job;
    uint64_t until_ms; /* clock_mono_ms(): then others of the lane are let in, if there are any */
    uint64_t small_pages; /* more of them, and it is not a small job */
    uint64_t counted;     /* objects that the rates know of */
    uint32_t wait_ms;     /* SWEEP_THROTTLED: for how long */
    uint64_t give_up_ms;  /* when a stop waits no longer for the store; 0: there was none yet */
    enum {
        SWEEP_GOES_ON,
        SWEEP_OUTGROWN,
        SWEEP_YIELDS,
        SWEEP_THROTTLED,
        SWEEP_POKED,
        SWEEP_FENCED
    } why;
    struct store_progress end;
};
/* One run over the scope; counts and times are in the job, whatever the end. 0, or -1 with *err. */
int steps_sweep(struct janitor *j, struct job *job, store_loop *loop, const struct sweep_how *how,
                struct sweeping *w, struct store_err *err);
/* After a run that did not come to its end. */
enum next steps_broken_off(struct janitor *j, struct job *job, const struct sweeping *w,
                           const struct store_err *err);

/* Tells the world what became of the job: "completed", "failed", "cancelled" or "held". Returns as
 * queue_publish() does. */
int steps_publish(struct janitor *j, struct job *job, const char *outcome, struct store_err *err);
/* One line for those who must be able to tell who had what removed. */
void steps_audit(const char *what, const struct job *job);

/* The bodies of the steps. */
enum next run_accept(struct janitor *j, struct job *job, store_loop *loop);
enum next run_first(struct janitor *j, struct job *job, store_loop *loop);
enum next run_fail(struct janitor *j, struct job *job, store_loop *loop);

#endif
