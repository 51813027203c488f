/* ledger.h - progress, leases and status of deletions, for people and to save work. Nothing rests
 * on it: every function may answer LEDGER_DOWN, and the caller goes on without. ledger_redis.c and
 * the redis_*.c files are the only ones that know hiredis.
 *
 * Keys: epufs:job:{<job_id>} a hash; epufs:open and epufs:done sorted sets of job ids, by time,
 * epufs:done bounded in length. Scripts use the server's clock. Thread-safe: one connection behind
 * a lock, a time-out of its own for each command, and after a failure no attempt for a second, so
 * that a dead Redis costs nothing. The program must ignore SIGPIPE: hiredis writes to lost
 * connections. */
#ifndef JANITOR_LEDGER_H
#define JANITOR_LEDGER_H

#include "epufs/deletion.h"
#include "janitor/redis_conf.h"

struct ledger;

enum ledger_verdict {
    LEDGER_OK,
    LEDGER_BUSY,   /* another owner's lease is running */
    LEDGER_FENCED, /* our lease was taken over: leave the job to the new owner */
    LEDGER_DOWN,   /* no answer: go on without */
    LEDGER_NONE,   /* no such record */
    LEDGER_DONE,   /* claim: this acceptance of the job is done */
};

enum { LEDGER_STATE_SIZE = 16, LEDGER_CURSOR_SIZE = 1025, LEDGER_OWNER_SIZE = 64 };

struct ledger_job {
    char job_id[JOB_ID_SIZE];
    char scope[SCOPE_PATH_SIZE];   /* scope_path() */
    char upto_gen[24];             /* decimal or "" */
    char state[LEDGER_STATE_SIZE]; /* open, sweeping, draining, verifying, waiting (for the upload
                                      window), publishing, failing, done; or a backlog_why_name() */
    char owner[LEDGER_OWNER_SIZE];
    char cursor[LEDGER_CURSOR_SIZE];
    uint64_t files, bytes;
    uint32_t attempts;
    uint64_t fence; /* fencing token: raised by each claim */
    int64_t accepted_at_s, started_at_s, updated_at_s, done_at_s;
    int64_t lease_ms_left; /* 0: none */
    bool dry_run;
    char error[200]; /* the last failure, or "" */
};

/* url: see redis_url.h; NULL or "": no ledger at all (always DOWN). Does not need the server to be
 * up. -1 with STORE_INVALID for a malformed URL. */
int ledger_open(const char *url, uint32_t timeout_ms, struct ledger **out, struct store_err *err);
/* The same with all that can be said of a Redis; conf is copied. Fails as redis_link_open() does.
 */
int ledger_open_conf(const struct redis_conf *conf, struct ledger **out, struct store_err *err);
void ledger_close(struct ledger *l);
bool ledger_up(struct ledger *l); /* whether the last command was answered; a PING when in doubt */
/* For people: why the latest attempt had no answer; "" when it had one. Returns buf. */
const char *ledger_why_down(struct ledger *l, char *buf, size_t n);

/* Takes or renews the lease of job->job_id for owner, and creates the record from job when there
 * is none. On OK *job is the record (cursor, files, bytes of earlier runs included), attempts and
 * fence raised. BUSY: *job is the record too. DONE: the record says that the job is done, and was
 * accepted at job->accepted_at_s, or that is 0; nothing is changed. A record of an earlier
 * acceptance that is done, or with `again` any that is done, is claimed all the same: its counts
 * stay, since all completions of a job have one id, and its state tells that it was done. */
enum ledger_verdict ledger_claim(struct ledger *l, const char *owner, uint32_t lease_ms, bool again,
                                 struct ledger_job *job);
/* Stores state, cursor, files, bytes, error and renews the lease of job->owner. OK, FENCED, DOWN. A
 * job without a fence (its claim was answered DOWN) has no lease to renew: DOWN, as if the ledger
 * still were; claim it again. A record that Redis lost is written anew. */
enum ledger_verdict ledger_save(struct ledger *l, uint32_t lease_ms, const struct ledger_job *job);
/* Lets the lease go (the job waits or moves to another janitor), and saves. */
enum ledger_verdict ledger_release(struct ledger *l, const struct ledger_job *job);
/* State done: leaves epufs:open, joins epufs:done; the record expires after keep_s. Without a fence
 * it is noted all the same, since the job is done whoever holds it. */
enum ledger_verdict ledger_finish(struct ledger *l, const struct ledger_job *job, uint32_t keep_s);
/* Takes back a claim of a job that turned out to be none: the record goes, if it still is ours. */
enum ledger_verdict ledger_drop(struct ledger *l, const struct ledger_job *job);
enum ledger_verdict ledger_get(struct ledger *l, const char *job_id, struct ledger_job *out);
/* The latest done jobs, newest first; *n in: room, out: filled. */
enum ledger_verdict ledger_recent(struct ledger *l, struct ledger_job *jobs, size_t *n);
/* A page of the open jobs, oldest first, from the one at *from (0: the first). *n in: room, at
 * least 1, out: filled, perhaps none of them. *from becomes where the next page begins; SIZE_MAX:
 * this was the last. */
enum ledger_verdict ledger_open_page(struct ledger *l, size_t *from, struct ledger_job *jobs,
                                     size_t *n);

#endif
