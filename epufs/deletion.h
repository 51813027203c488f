/* deletion.h - the deletion protocol on a store: tombstone, intent, sweep, verify. Blocking, for
 * worker threads; knows no HTTP, Kafka or Redis. docs/deletion.md says why it is like this.
 *
 * The order is the promise. A deletion is ACCEPTED when its tombstone and then its intent are
 * durable; from then on whatever dies, the intent starts it again. Every step may be repeated. */
#ifndef EPUFS_DELETION_H
#define EPUFS_DELETION_H

#include <store/store.h>

#include "base/buf.h"
#include "epufs/layout.h"

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
    int64_t accepted_at_s; /* the store's clock when the tombstone was durable; rounded up */
};

/* job_id = hex sha256 of the scope's path, a line feed, and upto_gen in decimal ("-" when there is
 * none), with a further "\ndry-run" for a dry run: the same deletion under other event ids is one
 * job. */
void deletion_set_job_id(struct deletion *d);

/* An intent's body (JSON, schema 1), and back. Parsing returns -1 with STORE_INVALID. */
int deletion_to_json(const struct deletion *d, struct buf *out);
int deletion_from_json(const char *json, size_t n, struct deletion *out, struct store_err *err);

/* How an intent was met in the store. */
enum intent_state {
    INTENT_READ,
    INTENT_NONE,
    INTENT_UNREADABLE, /* it is there, but says nothing that can be understood */
    INTENT_FAILED,     /* the store did not tell */
};
/* Reads the intent of a job. *d is what it says after INTENT_READ, *err why not after
 * INTENT_UNREADABLE and INTENT_FAILED. d->job_id follows from what it says: another one than was
 * asked for means that it lies in a wrong place. */
enum intent_state deletion_read_intent(store *s, store_loop *loop, const char *job_id,
                                       struct deletion *d, struct store_err *err);
/* Whether the job's intent stands; true also when the store does not answer. */
bool deletion_is_open(store *s, store_loop *loop, const char *job_id);

/* Accepts: writes the tombstone (unless dry_run or an endpoint without upto_gen), then the intent.
 * Sets d->accepted_at_s. When an intent of that job is already open, its tombstone stands: then
 * nothing is written and *d becomes what that intent says. */
int deletion_accept(store *s, store_loop *loop, struct deletion *d, struct store_err *err);

struct deletion_counts {
    uint64_t files, bytes;
};

/* Removes everything of the scope up to the generation. cursor (may be NULL or "") resumes an
 * earlier run. progress is called now and then, and stops the sweep by returning false
 * (STORE_CANCELED). *server_time_s (may be NULL) is the store's clock at the first listing: all
 * that was stored before then and belongs to the scope has been seen. */
int deletion_sweep(store *s, store_loop *loop, const struct deletion *d, const char *cursor,
                   bool (*progress)(void *user, const struct store_progress *p), void *user,
                   struct deletion_counts *counts, int64_t *server_time_s, struct store_err *err);

/* The moment, on the store's clock, after which no upload that passed the fence before the
 * tombstone can still end: accepted_at_s + upload_window. An endpoint without upto_gen and a dry
 * run have no fence: then it is accepted_at_s itself. */
int64_t deletion_drained_at_s(const struct deletion *d, uint32_t upload_window_s);

/* The last step. */
int deletion_forget_intent(store *s, store_loop *loop, const struct deletion *d,
                           struct store_err *err);

#endif
