/* deletion.h - the deletion protocol on a store: tombstone, intent, sweep. Knows no HTTP, Kafka or
 * Redis. docs/deletion.md says why it is like this.
 *
 * The order is the promise. A deletion is ACCEPTED when its tombstone and then its intent are
 * durable; from then on whatever dies, the intent starts it again. Every step may be repeated, and
 * no two that write the same object lose each other's change (amend.h).
 *
 * What begins is asynchronous, on the loop's thread; the blocking forms run a loop of the caller's
 * own. */
#ifndef EPUFS_DELETION_H
#define EPUFS_DELETION_H

#include <store/store.h>

#include "base/buf.h"
#include "epufs/amend.h"
#include "epufs/layout.h"

/* What is to become of an accepted deletion; kept in its intent. */
enum deletion_state {
    DELETION_OPEN,
    DELETION_HELD,      /* an operator, or the guard, wants it to wait; the tombstone stands */
    DELETION_FAILED,    /* it cannot succeed: a person must look, and retry */
    DELETION_CANCELLED, /* an operator wants no more removal; the tombstone stays */
    DELETION_CLOSING,   /* without a fence only: it is over but for its completion, and nothing can
                           be merged into it any more */
    DELETION_WITHDRAWN, /* cancelled, and otherwise as closing, with or without a fence */
    DELETION_REAPING, /* no deletion at all: its tombstone is being removed, and nobody must accept
                         it anew meanwhile; see reap.h */
};
/* "open", "held", "failed", "cancelled", "closing", "withdrawn", "reaping" */
const char *deletion_state_name(enum deletion_state s);

struct deletion_counts {
    uint64_t files, bytes;
};

struct deletion {
    char job_id[JOB_ID_SIZE]; /* deletion_set_job_id() */
    struct scope scope;
    bool has_upto_gen; /* only for endpoints; without it: generation 0, and no tombstone */
    uint64_t upto_gen;
    bool dry_run; /* only count: no tombstone, nothing removed */
    char reason[128];
    int64_t requested_at_s;     /* 0: not given */
    int64_t not_before_s;       /* 0: at once. Only the sweep waits; the tombstone never does */
    int64_t tokens_expire_by_s; /* 0: unknown, the tombstone stays */
    char event_id[256];         /* of the event that asked for it; "" for HTTP */
    char event_source[256];
    char traceparent[64];
    /* The store's clock: with a fence a moment at which the tombstone stood (rounded up), without
     * one a moment before the acceptance (cut off). */
    int64_t accepted_at_s;
    enum deletion_state state;
    char note[200];               /* why it is held or has failed, or "" */
    char closed_by[64];           /* closing or withdrawn: the janitor that ends it */
    struct deletion_counts swept; /* what the acceptor's own first sweep removed */
};

/* job_id = hex sha256 of the scope's path, a line feed, and upto_gen in decimal ("-" when there is
 * none), with a further "\ndry-run" for a dry run: the same deletion under other event ids is one
 * job. */
void deletion_set_job_id(struct deletion *d);

/* Whether a tombstone keeps new files away: not of an endpoint without upto_gen, nor of a dry run.
 */
bool deletion_is_fenced(const struct deletion *d);
/* Closing or withdrawn: who wants the same waits until the intent is gone. */
bool deletion_is_closing(const struct deletion *d);

/* When a tombstone's text says that the last token it fences ends; 0: never. False: it says nothing
 * that can be understood, and stays. Pure. */
bool deletion_tombstone_expiry(const char *text, size_t n, int64_t *by_s);

/* ---- The intent ---- */

/* An intent's body (JSON, schema 1), and back. Parsing returns -1 with STORE_INVALID. */
int deletion_to_json(const struct deletion *d, struct buf *out);
int deletion_from_json(const char *json, size_t n, struct deletion *out, struct store_err *err);

/* How an intent was met in the store. */
enum intent_state {
    INTENT_READ,
    INTENT_NONE,
    INTENT_UNREADABLE, /* it is there, but says nothing that can be understood, or belongs to a job
                          of another name */
    INTENT_FAILED,     /* the store did not tell */
};
/* Reads the intent of a job. *d is what it says after INTENT_READ, *err why not after
 * INTENT_UNREADABLE and INTENT_FAILED. etag: STORE_ETAG_SIZE bytes or NULL. */
enum intent_state deletion_read_intent(store *s, store_loop *loop, const char *job_id,
                                       struct deletion *d, char *etag, struct store_err *err);
/* Whether the job's intent stands; true also when the store does not answer. */
bool deletion_is_open(store *s, store_loop *loop, const char *job_id);

/* Changes the intent of a job, if there is one: change() gets what it says and says what it is to
 * say, or returns false to leave it as it is. *found: whether there was one. Returns 0, or -1 with
 * *err: STORE_BUSY: try again; STORE_INVALID: it cannot be understood. etag (STORE_ETAG_SIZE bytes
 * or NULL) gets the intent's as it is now. */
int deletion_change_intent(store *s, store_loop *loop, const char *job_id,
                           bool (*change)(void *user, struct deletion *d), void *user, bool *found,
                           char *etag, struct store_err *err);

/* The last step. */
int deletion_forget_intent(store *s, store_loop *loop, const struct deletion *d,
                           struct store_err *err);

/* ---- Accepting ---- */

enum acceptance {
    ACCEPTED_NEW,    /* there was no open deletion of this job */
    ACCEPTED_MERGED, /* there was one, and it changed: sooner, reopened, or accepted anew */
    ACCEPTED_KNOWN,  /* there was one that wants the same already */
};

/* Brings what d asks for into the deletion that is open; now_s is the store's clock, for those
 * without a fence. Returns whether that changed it. Pure. */
bool deletion_merge(struct deletion *open, const struct deletion *d, int64_t now_s);

struct accepting;
typedef void accepted_fn(void *user, const struct store_err *err, enum acceptance how,
                         const struct deletion *d, const char *etag);

/* Accepts: writes the tombstone (unless dry_run or an endpoint without upto_gen) or merges into the
 * one that stands (the later tokens_expire_by wins), then the intent, or merges into the one that
 * is open: the sooner not_before wins; one that failed or was cancelled is opened again, one that
 * is held stays so; without a fence it is accepted anew, at the moment of this event. d->state HELD
 * begins a new one as held, with d->note; any other value is of no account. d is copied;
 * `done` gets what the intent says then, and its etag. STORE_BUSY: the open one is closing; try
 * again, from here. done is called once, from the loop, unless deletion_accept_cancel() came first.
 */
struct accepting *deletion_accept_start(store *s, store_loop *loop, const struct deletion *d,
                                        accepted_fn *done, void *user, struct store_err *err);
void deletion_accept_cancel(struct accepting *a);
/* The same, blocking: *d becomes what the intent says. etag: STORE_ETAG_SIZE bytes or NULL. */
int deletion_accept(store *s, store_loop *loop, struct deletion *d, enum acceptance *how,
                    char *etag, struct store_err *err);

/* ---- Sweeping ---- */

/* Matters without a fence only. What was stored after the acceptance is never removed: the first
 * sweep, which is the acceptor's own, takes what was there, the second of the acceptance included;
 * every later one, of whoever goes on with it, only what is older, and keeps that second and the
 * one before it (clocks that tell times of files may lag behind the one that tells the time). */
enum sweep { SWEEP_FIRST, SWEEP_LATER };

struct sweep_how {
    enum sweep sweep;
    bool versions;      /* old versions and delete markers too, where the store keeps them */
    bool uploads;       /* unfinished multipart uploads too */
    const char *cursor; /* of an earlier run that broke off, or NULL or "" */
    uint32_t batches;   /* under way at once; 0: store_delete_prefix()'s own */
    /* Of the blocking one, or NULL: asked several times a second, however silent the store is; true
     * gives up what is under way, too (STORE_CANCELED). */
    bool (*give_up)(void *user);
};

/* Removes everything of the scope up to the generation (dry run: counts it). As
 * store_delete_prefix(), whose call-backs these are: progress stops it by returning false
 * (STORE_CANCELED); server_time_s is the store's clock at the first listing: all that was stored
 * before then and belongs to the scope has been seen. */
store_op *deletion_sweep_start(store *s, store_loop *loop, const struct deletion *d,
                               const struct sweep_how *how, const struct store_delete_prefix_cb *cb,
                               void *user, struct store_err *err);
/* The same, blocking. *end is valid however it ends, but for its cursor, which progress tells. */
int deletion_sweep(store *s, store_loop *loop, const struct deletion *d,
                   const struct sweep_how *how,
                   bool (*progress)(void *user, const struct store_progress *p), void *user,
                   struct store_progress *end, struct store_err *err);

#endif
