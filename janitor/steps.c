/* The steps of a deletion that is accepted. What fails is tried again with growing pauses, for
 * ever: an outage of the store or the broker is no reason to give a deletion up, and its intent
 * survives us. Only what is refused again and again (access denied) fails, and waits for a person.
 */
#include "janitor/steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "epufs/reap.h"
#include "janitor/notices.h"

enum {
    FIRST_PAUSE_MS = 200,
    MAX_PAUSE_MS = 60000,
    SAVE_EVERY_MS = 1000,
    PUBLISH_TIMEOUT_MS = 10000,
    NO_BROKER_PAUSE_MS = 1000,
    PULSE_PAUSE_MS = 500,  /* until the store is known to answer */
    WIDER_PAUSE_MS = 1000, /* until the wider job has ended */
    SHORT_PAUSE_MS = 5000, /* until the window may have become long enough */
    CLOCK_SLACK_MS = 2000, /* more than a window is waited only when clocks are off: ask then */
    SMALL_PAGES = 1,       /* of files; that of the unfinished uploads comes on top */
    FIRST_TRIES = 5,       /* of an acceptor's sweep; then it is one of the open jobs: bounded */
    FIRST_SWEEP_S = 2,     /* what another acceptor has for its own */
    SLICE_MS = 2000,       /* of a large job, when others wait */
    STOP_GRACE_MS = 3000,  /* what batches under way have at a stop */
    UNREADABLE_PAUSE_MS = 60000,
};

/* ---- Jobs ---- */

struct job *job_from_message(struct queue_msg *m)
{
    struct job *job = xcalloc(1, sizeof(*job));
    job->step = &step_accept;
    job->lane = LANE_ACCEPT;
    job->msg = m;
    return job;
}

struct job *job_from_intent(const char *job_id)
{
    struct job *job = xcalloc(1, sizeof(*job));
    job->step = &step_open;
    job->lane = LANE_SMALL;
    text_copy(job->d.job_id, sizeof(job->d.job_id), job_id);
    return job;
}

void job_free(struct job *job)
{
    if (job->msg)
        queue_abandon(job->msg);
    free(job);
}

/* ---- Moving on ---- */

static enum next go_at(struct job *job, const struct step *to, uint64_t due_ms)
{
    if (to != job->step)
        log_debug("step", LOG_S("job", job->d.job_id), LOG_S("from", job->step->name),
                  LOG_S("to", to->name));
    job->step = to;
    job->due_ms = due_ms;
    return NEXT_STEP;
}

enum next steps_go(struct job *job, const struct step *to)
{
    job->failures = job->denials = 0;
    job->record.error[0] = '\0';
    return go_at(job, to, clock_mono_ms());
}

enum next steps_wait(struct job *job, uint32_t ms)
{
    return go_at(job, job->step, clock_mono_ms() + ms);
}

static uint64_t pause_ms(unsigned failures)
{
    uint64_t ms = FIRST_PAUSE_MS;
    uint32_t random = 0;
    for (; failures > 1 && ms < MAX_PAUSE_MS; failures--)
        ms *= 2;
    ms = ms > MAX_PAUSE_MS ? MAX_PAUSE_MS : ms;
    ssize_t n = getrandom(&random, sizeof(random), GRND_NONBLOCK);
    (void)n;
    return ms / 2 + random % (ms / 2 + 1);
}

void steps_let_go(struct janitor *j, struct job *job)
{
    if (job->leased)
        ledger_release(j->ledger, &job->record);
    job->leased = false;
}

enum next steps_again(struct janitor *j, struct job *job, const struct store_err *err)
{
    job->failures++;
    metric_add(&j->metrics.step_failures, 1);
    uint64_t wait_ms = pause_ms(job->failures);
    text_copy(job->record.error, sizeof(job->record.error), err->msg);
    log_event(job->failures > 3 ? LOG_ERROR : LOG_WARN, "step failed, it is tried again",
              (const struct log_field[]){
                  LOG_S("job", job->d.job_id), LOG_S("step", job->step->name),
                  LOG_U("failures", job->failures), LOG_U("pause_ms", wait_ms), LOG_ERR(err)},
              6);
    if (job->leased)
        ledger_save(j->ledger, (uint32_t)(wait_ms + j->conf->lease_ms), &job->record);
    return go_at(job, job->step, clock_mono_ms() + wait_ms);
}

enum next steps_park(struct janitor *j, struct job *job, enum backlog_why why, uint64_t due_ms)
{
    text_copy(job->record.state, sizeof(job->record.state), backlog_why_name(why));
    steps_let_go(j, job);
    backlog_note(j->backlog, job->d.job_id, job->etag, why, due_ms);
    log_debug("parked", LOG_S("job", job->d.job_id), LOG_S("why", backlog_why_name(why)));
    return NEXT_ENDED;
}

void steps_audit(const char *what, const struct job *job)
{
    char path[SCOPE_PATH_SIZE];
    scope_path(&job->d.scope, path);
    log_info(what, LOG_S("scope", path), LOG_S("job", job->d.job_id),
             LOG_B("has_upto_gen", job->d.has_upto_gen), LOG_U("upto_gen", job->d.upto_gen),
             LOG_B("dry_run", job->d.dry_run), LOG_S("reason", job->d.reason),
             LOG_S("event", job->d.event_id), LOG_U("files", job->record.files),
             LOG_U("bytes", job->record.bytes));
}

/* ---- The ledger's part ---- */

static void fill_record(struct job *job)
{
    struct ledger_job *r = &job->record;
    memcpy(r->job_id, job->d.job_id, sizeof(r->job_id));
    r->accepted_at_s = job->d.accepted_at_s;
    if (!job->d.accepted_at_s) /* not read yet */
        return;
    scope_path(&job->d.scope, r->scope);
    r->dry_run = job->d.dry_run;
    if (job->d.has_upto_gen)
        snprintf(r->upto_gen, sizeof(r->upto_gen), "%llu", (unsigned long long)job->d.upto_gen);
}

/* Also renews the lease. Returns false when another janitor has taken the job over: it is left to
 * that one then. */
static bool save(struct janitor *j, struct job *job, const char *state, uint64_t lease_ms)
{
    job->saved_ms = clock_mono_ms();
    text_copy(job->record.state, sizeof(job->record.state), state);
    notices_job(j->notices, &job->record);
    if (!job->leased || ledger_save(j->ledger, (uint32_t)lease_ms, &job->record) != LEDGER_FENCED)
        return true;
    job->leased = false;
    log_info("another janitor has taken the deletion over", LOG_S("job", job->d.job_id));
    return false;
}

/* The same for a job that comes back in wait_ms; as long as its lease lasts nothing is sent. */
static bool hold(struct janitor *j, struct job *job, const char *state, uint64_t wait_ms)
{
    uint64_t lease_ms = j->conf->lease_ms;
    bool lasts = strcmp(job->record.state, state) == 0 &&
                 clock_mono_ms() - job->saved_ms + wait_ms < lease_ms / 2;
    return lasts || save(j, job, state, wait_ms + lease_ms);
}

uint64_t steps_busy_until_ms(const struct janitor *j, const struct ledger_job *r)
{
    uint64_t left_ms = (uint64_t)r->lease_ms_left + 1, most_ms = j->conf->intent_scan_interval_ms;
    return clock_mono_ms() + (left_ms < most_ms ? left_ms : most_ms);
}

/* ---- Open ---- */

static enum ledger_verdict claim(struct janitor *j, struct job *job, bool again)
{
    fill_record(job);
    text_copy(job->record.state, sizeof(job->record.state), "open");
    enum ledger_verdict verdict =
        ledger_claim(j->ledger, j->owner, (uint32_t)j->conf->lease_ms, again, &job->record);
    job->leased = verdict == LEDGER_OK;
    return verdict;
}

/* When the removal may begin; the tombstone does not wait for it. 0: at once. */
static uint64_t begins_ms(const struct deletion *d)
{
    int64_t wait_s = d->not_before_s - clock_real_s();
    return d->not_before_s && wait_s > 0 ? clock_mono_ms() + (uint64_t)wait_s * 1000 : 0;
}

/* No deletion, but the lock of somebody who removes a tombstone; or one that was left behind. */
static enum next reaping(struct janitor *j, struct job *job)
{
    int64_t left_s = job->d.accepted_at_s + REAP_LOCK_S - pulse_store_now_s(j->pulse);
    if (left_s <= 0)
        return steps_go(job, &step_forget);
    ledger_drop(j->ledger, &job->record);
    job->leased = false;
    return steps_park(j, job, BACKLOG_BUSY, clock_mono_ms() + (uint64_t)left_s * 1000);
}

/* What the intent wants to become of the job. */
static enum next decide(struct janitor *j, struct job *job)
{
    uint64_t at_ms = begins_ms(&job->d);
    switch (job->d.state) {
    case DELETION_HELD: return steps_park(j, job, BACKLOG_HELD, UINT64_MAX);
    case DELETION_FAILED: return steps_park(j, job, BACKLOG_FAILED, UINT64_MAX);
    case DELETION_CANCELLED:
    case DELETION_CLOSING: /* whoever closed it has died */
    case DELETION_WITHDRAWN: return steps_go(job, &step_close);
    case DELETION_REAPING: return reaping(j, job);
    case DELETION_OPEN: break;
    }
    return at_ms ? steps_park(j, job, BACKLOG_DELAYED, at_ms) : steps_go(job, &step_sweep);
}

/* The intent is gone: whoever had the job has ended it, and our claim came too late. */
static enum next gone(struct janitor *j, struct job *job)
{
    if (job->leased)
        ledger_drop(j->ledger, &job->record);
    job->leased = false;
    return NEXT_ENDED;
}

static enum next unreadable(struct janitor *j, struct job *job, const struct store_err *err)
{
    log_error("intent cannot be read", LOG_S("job", job->d.job_id), LOG_ERR(err));
    /* Its ETag is not known, so that only another look shows when it was written anew. */
    return steps_park(j, job, BACKLOG_UNREADABLE, clock_mono_ms() + UNREADABLE_PAUSE_MS);
}

static enum intent_state read_intent(struct janitor *j, struct job *job, store_loop *loop,
                                     struct store_err *err)
{
    struct deletion d;
    char etag[STORE_ETAG_SIZE];
    enum intent_state found = deletion_read_intent(j->store, loop, job->d.job_id, &d, etag, err);
    if (found == INTENT_READ) {
        schedule_update(j->schedule, job, &d, etag);
        fill_record(job);
    }
    return found;
}

static enum next run_open(struct janitor *j, struct job *job, store_loop *loop)
{
    struct store_err err;
    bool is_new = job->is_ours;
    enum ledger_verdict verdict = job->leased ? LEDGER_OK : claim(j, job, false);
    if (verdict == LEDGER_BUSY)
        return steps_park(j, job, BACKLOG_BUSY, steps_busy_until_ms(j, &job->record));
    job->is_ours = false;
    /* It is worth reading unless it was written here just now, and nobody else has ever had it. */
    if (!is_new || verdict != LEDGER_OK || job->record.attempts != 1) {
        switch (read_intent(j, job, loop, &err)) {
        case INTENT_NONE: return gone(j, job);
        case INTENT_UNREADABLE: return unreadable(j, job, &err);
        case INTENT_FAILED: return steps_again(j, job, &err);
        case INTENT_READ: break;
        }
    }
    /* The ledger says that this acceptance is done, and the intent that it is not: it counts. */
    if (verdict == LEDGER_DONE && claim(j, job, true) == LEDGER_BUSY)
        return steps_park(j, job, BACKLOG_BUSY, steps_busy_until_ms(j, &job->record));
    return decide(j, job);
}

/* ---- Sweep ---- */

static bool throttled(struct sweeping *w, const struct store_progress *p, uint64_t now_ms)
{
    struct job *job = w->job;
    uint64_t n = job->d.dry_run ? 0 : p->objects - w->counted;
    w->counted = p->objects;
    w->wait_ms = n ? rate_take(w->janitor->rate, job->d.scope.tenant, n, now_ms) : 0;
    return w->wait_ms > 0;
}

static bool on_progress(void *user, const struct store_progress *p)
{
    struct sweeping *w = user;
    struct job *job = w->job;
    struct schedule *s = w->janitor->schedule;
    uint64_t now_ms = clock_mono_ms();
    job->record.files = job->base_files + p->objects;
    job->record.bytes = job->base_bytes + p->bytes;
    text_copy(job->record.cursor, sizeof(job->record.cursor), p->cursor);
    if (now_ms - job->saved_ms >= SAVE_EVERY_MS &&
        !save(w->janitor, job, job->record.state, w->janitor->conf->lease_ms))
        w->why = SWEEP_FENCED;
    else if (throttled(w, p, now_ms))
        w->why = SWEEP_THROTTLED;
    else if (job->lane == LANE_SMALL && p->pages > w->small_pages)
        w->why = SWEEP_OUTGROWN;
    else if (job->listed && schedule_poked(s, job, false))
        w->why = SWEEP_POKED;
    else if (now_ms >= w->until_ms && schedule_crowded(s, job->lane))
        w->why = SWEEP_YIELDS;
    return w->why == SWEEP_GOES_ON && !schedule_stopping(s);
}

/* At a stop what is under way may end, unless the store is silent. */
static bool give_up(void *user)
{
    struct sweeping *w = user;
    if (!schedule_stopping(w->janitor->schedule))
        return false;
    if (!w->give_up_ms)
        w->give_up_ms = clock_mono_ms() + STOP_GRACE_MS;
    return clock_mono_ms() >= w->give_up_ms;
}

int steps_sweep(struct janitor *j, struct job *job, store_loop *loop, const struct sweep_how *how,
                struct sweeping *w, struct store_err *err)
{
    struct sweep_how ours = *how;
    ours.give_up = give_up;
    *w = (struct sweeping){
        .janitor = j,
        .job = job,
        .until_ms = clock_mono_ms() + SLICE_MS,
        .small_pages = how->uploads ? SMALL_PAGES + 1 : SMALL_PAGES,
        .why = SWEEP_GOES_ON,
    };
    job->base_files = job->record.files;
    job->base_bytes = job->record.bytes;
    int rc = deletion_sweep(j->store, loop, &job->d, &ours, on_progress, w, &w->end, err);
    job->record.files = job->base_files + w->end.objects;
    job->record.bytes = job->base_bytes + w->end.bytes;
    if (!job->started_at_s)
        job->started_at_s = job->record.started_at_s = w->end.server_time_s;
    if (!job->d.dry_run) {
        metric_add(&j->metrics.files, w->end.objects);
        metric_add(&j->metrics.bytes, w->end.bytes);
    }
    return rc;
}

/* What a repetition will hardly ever change: a person must look. */
static bool is_hopeless(const struct store_err *err)
{
    return err->code == STORE_DENIED || err->code == STORE_INVALID;
}

enum next steps_broken_off(struct janitor *j, struct job *job, const struct sweeping *w,
                           const struct store_err *err)
{
    switch (w->why) {
    case SWEEP_FENCED: return NEXT_ENDED;
    case SWEEP_OUTGROWN: job->lane = LANE_BIG; return steps_go(job, job->step);
    case SWEEP_POKED:
    case SWEEP_YIELDS: return steps_go(job, job->step);
    case SWEEP_THROTTLED:
        return hold(j, job, job->record.state, w->wait_ms) ? steps_wait(job, w->wait_ms)
                                                           : NEXT_ENDED;
    case SWEEP_GOES_ON: break;
    }
    if (schedule_stopping(j->schedule)) {
        steps_let_go(j, job);
        return NEXT_ENDED; /* the intent stays */
    }
    job->denials += is_hopeless(err);
    if (!job->listed && job->failures >= FIRST_TRIES)
        return steps_enter(j, job);
    if (job->listed && job->denials >= j->conf->denied_tries) {
        text_copy(job->record.error, sizeof(job->record.error), err->msg);
        return go_at(job, &step_fail, clock_mono_ms());
    }
    return steps_again(j, job, err);
}

static enum next run_sweep(struct janitor *j, struct job *job, store_loop *loop)
{
    const struct sweep_how how = {
        .sweep = SWEEP_LATER,
        .versions = j->conf->delete_versions,
        .uploads = true,
        .cursor = job->record.cursor,
        .batches = rate_batches(j->rate),
    };
    struct sweeping w;
    struct store_err err;
    if (!job->d.dry_run && schedule_wider(j->schedule, job, job->subsumed_by))
        return steps_go(job, &step_drain); /* verify looks whether it has done all */
    job->subsumed_by[0] = '\0';
    text_copy(job->record.state, sizeof(job->record.state), "sweeping");
    if (job->d.dry_run) { /* counts anew each time, since nothing goes */
        job->record.cursor[0] = '\0';
        job->record.files = job->record.bytes = 0;
    }
    if (steps_sweep(j, job, loop, &how, &w, &err) != 0)
        return steps_broken_off(j, job, &w, &err);
    job->record.cursor[0] = '\0';
    job->ended_at_s = w.end.server_time_s;
    job->lane = LANE_SMALL;
    return steps_go(job, job->d.dry_run ? &step_publish : &step_drain);
}

/* ---- Drain and verify ---- */

/* The moment, by the store's clock, after which no upload that passed the fence before the
 * tombstone can still end: a whole window after the tombstone, in which the store was seen to
 * answer promptly all the time. 0: not known now. Without a fence there are no uploads to wait for;
 * only the acceptor, who may be another, has a moment for its own sweep. */
static int64_t drained_at_s(struct janitor *j, const struct job *job)
{
    if (!deletion_is_fenced(&job->d))
        return job->d.accepted_at_s + FIRST_SWEEP_S;
    int64_t since_s = pulse_since_s(j->pulse);
    if (!since_s)
        return 0;
    return (since_s > job->d.accepted_at_s ? since_s : job->d.accepted_at_s) +
           window_round_s(j->conf->upload_window_ms);
}

/* How long until then, as far as we can guess the store's clock; verify looks at it itself. */
static uint64_t drain_ms(struct janitor *j, int64_t at_s)
{
    int64_t wait_s = at_s - pulse_store_now_s(j->pulse);
    uint64_t most_ms = j->conf->upload_window_ms + CLOCK_SLACK_MS;
    uint64_t wait_ms = wait_s > 0 ? (uint64_t)wait_s * 1000 : 0;
    return wait_ms < most_ms ? wait_ms : most_ms;
}

static enum next run_drain(struct janitor *j, struct job *job, store_loop *loop)
{
    char wider[JOB_ID_SIZE];
    (void)loop;
    int64_t at_s = drained_at_s(j, job);
    uint64_t wait_ms = at_s ? drain_ms(j, at_s) : PULSE_PAUSE_MS;
    bool waits_for_wider = *job->subsumed_by && schedule_wider(j->schedule, job, wider);
    if (waits_for_wider && wait_ms < WIDER_PAUSE_MS)
        wait_ms = WIDER_PAUSE_MS;
    if (!hold(j, job, "draining", wait_ms))
        return NEXT_ENDED;
    bool again = !at_s || waits_for_wider;
    return go_at(job, again ? &step_drain : &step_verify, clock_mono_ms() + wait_ms);
}

/* Completions are held while a writer's uploads may take longer than we wait for them. */
static enum next window_too_short(struct janitor *j, struct job *job, const struct store_err *why)
{
    text_copy(job->record.error, sizeof(job->record.error), why->msg);
    if (!hold(j, job, "waiting", SHORT_PAUSE_MS))
        return NEXT_ENDED;
    return steps_wait(job, SHORT_PAUSE_MS);
}

static enum next run_verify(struct janitor *j, struct job *job, store_loop *loop)
{
    const struct sweep_how how = {.sweep = SWEEP_LATER, .versions = j->conf->delete_versions};
    struct sweeping w;
    struct store_err err;
    if (deletion_is_fenced(&job->d)) {
        switch (terms_check(j->terms, j->store, loop, job->d.accepted_at_s, &err)) {
        case TERMS_SHORT: return window_too_short(j, job, &err);
        case TERMS_FAILED: return steps_again(j, job, &err);
        case TERMS_COVERED: break;
        }
    }
    job->record.cursor[0] = '\0'; /* from the start: nothing may be left anywhere */
    text_copy(job->record.state, sizeof(job->record.state), "verifying");
    if (steps_sweep(j, job, loop, &how, &w, &err) != 0)
        return steps_broken_off(j, job, &w, &err);
    job->lane = LANE_SMALL;
    job->ended_at_s = w.end.server_time_s;
    if (!w.end.server_time_s) {
        store_err_set(&err, STORE_FAILED, "listing: the store tells no time");
        return steps_again(j, job, &err);
    }
    if (w.end.objects || w.end.uploads) {
        job->subsumed_by[0] = '\0'; /* it was not all done there */
        return steps_go(job, &step_verify);
    }
    int64_t at_s = drained_at_s(j, job);
    if (!at_s || w.end.server_time_s < at_s) {
        /* It stalled meanwhile, or what we guess of its clock was off, and may still be: of several
         * servers some are ahead. */
        steps_go(job, &step_drain);
        return steps_wait(job, PULSE_PAUSE_MS);
    }
    return steps_go(job,
                    deletion_is_fenced(&job->d) || job->d.dry_run ? &step_publish : &step_close);
}

/* ---- Close ---- */

struct closing {
    const struct job *job;
    const char *owner;
    struct deletion says;
};

/* The owner's name makes it another intent, with another ETag: of two who close it, or take up one
 * that is closing, the first loses it to the second. */
static bool close_if_same(void *user, struct deletion *d)
{
    struct closing *c = user;
    bool cancelled = d->state == DELETION_CANCELLED || d->state == DELETION_WITHDRAWN;
    bool same = d->accepted_at_s == c->job->d.accepted_at_s &&
                ((d->state == DELETION_OPEN && c->job->d.state == DELETION_OPEN) ||
                 d->state == DELETION_CLOSING);
    if (cancelled || same) {
        d->state = cancelled ? DELETION_WITHDRAWN : DELETION_CLOSING;
        text_copy(d->closed_by, sizeof(d->closed_by), c->owner);
    }
    c->says = *d;
    return cancelled || same;
}

/* Nothing keeps new files away, or what is there was not removed: so who asks for the same deletion
 * from now on must get one of his own. The intent takes no more from here to its end. */
static enum next run_close(struct janitor *j, struct job *job, store_loop *loop)
{
    struct closing c = {.job = job, .owner = j->owner};
    char etag[STORE_ETAG_SIZE];
    struct store_err err;
    bool found;
    if (deletion_change_intent(j->store, loop, job->d.job_id, close_if_same, &c, &found, etag,
                               &err) != 0)
        return steps_again(j, job, &err);
    if (!found)
        return gone(j, job);
    bool closed = deletion_is_closing(&c.says) && strcmp(c.says.closed_by, j->owner) == 0;
    schedule_update(j->schedule, job, &c.says, etag);
    return steps_go(job, closed ? &step_publish : &step_open);
}

/* ---- Publish and forget ---- */

int steps_publish(struct janitor *j, struct job *job, const char *outcome, struct store_err *err)
{
    struct buf text = BUF_INIT(65536);
    int64_t ended_at_s =
        job->ended_at_s > job->d.accepted_at_s ? job->ended_at_s : job->d.accepted_at_s;
    const struct completion c = {
        .deletion = &job->d,
        .outcome = outcome,
        .error = *job->record.error ? job->record.error
                 : *job->d.note     ? job->d.note
                                    : NULL,
        .files = job->record.files + job->d.swept.files,
        .bytes = job->record.bytes + job->d.swept.bytes,
        .attempts = job->record.attempts ? job->record.attempts : 1,
        .started_at_s = job->started_at_s ? job->started_at_s : job->d.accepted_at_s,
        .completed_at_s = ended_at_s,
        .subsumed_by = *job->subsumed_by ? job->subsumed_by : NULL,
        .source = j->source,
    };
    int rc = event_completion(&c, &text);
    if (rc != 0)
        rc = store_err_set(err, STORE_NO_MEMORY, "completion: out of memory");
    else
        rc = publish_event(j, QUEUE_COMPLETIONS, job->d.scope.tenant, &text, PUBLISH_TIMEOUT_MS,
                           err);
    buf_cleanup(&text);
    return rc;
}

/* Whether the job is still ours to end: without a lease another may have ended it; and of an HTTP
 * deletion the intent tells what its own sweep has removed. */
static enum intent_state look_again(struct janitor *j, struct job *job, store_loop *loop,
                                    struct store_err *err)
{
    if (job->leased && *job->d.event_id)
        return INTENT_READ;
    return read_intent(j, job, loop, err);
}

static enum next run_publish(struct janitor *j, struct job *job, store_loop *loop)
{
    struct store_err err;
    if (!queue_has_brokers(j->queue)) /* a worker that waits in vain is missing elsewhere */
        return hold(j, job, "publishing", NO_BROKER_PAUSE_MS) ? steps_wait(job, NO_BROKER_PAUSE_MS)
                                                              : NEXT_ENDED;
    schedule_close(j->schedule, job, true);
    if (!save(j, job, "publishing", PUBLISH_TIMEOUT_MS + j->conf->lease_ms))
        return NEXT_ENDED;
    switch (look_again(j, job, loop, &err)) {
    case INTENT_NONE: return gone(j, job);
    case INTENT_UNREADABLE: return unreadable(j, job, &err);
    case INTENT_FAILED: return steps_again(j, job, &err);
    case INTENT_READ: break;
    }
    bool cancelled = job->d.state == DELETION_WITHDRAWN;
    if (steps_publish(j, job, cancelled ? "cancelled" : "completed", &err) != 0) {
        schedule_close(j->schedule, job, false);
        return steps_again(j, job, &err);
    }
    return steps_go(job, &step_forget);
}

/* Whether the intent still is what was closed here: after a stop of this process another janitor
 * may have ended it, and a later deletion without a fence lie under its name. 1, 0, or -1 with
 * *err. */
static int is_still_ours(struct janitor *j, const struct job *job, store_loop *loop,
                         struct store_err *err)
{
    struct deletion d;
    if (!deletion_is_closing(&job->d))
        return 1;
    switch (deletion_read_intent(j->store, loop, job->d.job_id, &d, NULL, err)) {
    case INTENT_READ: return deletion_is_closing(&d) && strcmp(d.closed_by, j->owner) == 0;
    case INTENT_FAILED: return -1;
    case INTENT_NONE:
    case INTENT_UNREADABLE: break;
    }
    return 0;
}

static enum next run_forget(struct janitor *j, struct job *job, store_loop *loop)
{
    struct store_err err;
    int ours = is_still_ours(j, job, loop, &err);
    if (ours < 0 || (ours && deletion_forget_intent(j->store, loop, &job->d, &err) != 0))
        return steps_again(j, job, &err);
    if (!ours) {
        steps_let_go(j, job);
        return NEXT_ENDED;
    }
    if (job->d.state == DELETION_REAPING)
        return gone(j, job);
    bool cancelled = job->d.state == DELETION_WITHDRAWN;
    text_copy(job->record.state, sizeof(job->record.state), "done");
    if (cancelled)
        snprintf(job->record.error, sizeof(job->record.error), "cancelled%s%.180s",
                 *job->d.note ? ": " : "", job->d.note);
    ledger_finish(j->ledger, &job->record, (uint32_t)(j->conf->ledger_keep_ms / 1000));
    metric_add(cancelled ? &j->metrics.cancelled : &j->metrics.completed, 1);
    steps_audit(cancelled ? "audit: deletion cancelled" : "audit: deletion completed", job);
    return NEXT_ENDED;
}

/* ---- What cannot succeed ---- */

static bool mark_failed(void *user, struct deletion *d)
{
    const struct job *job = user;
    if (d->state != DELETION_OPEN)
        return false;
    d->state = DELETION_FAILED;
    text_copy(d->note, sizeof(d->note), job->record.error);
    return true;
}

/* It is told, put among the dead letters, and waits as an intent that has failed, until somebody
 * retries it, or asks for it again. Its tombstone stands. */
enum next run_fail(struct janitor *j, struct job *job, store_loop *loop)
{
    struct store_err err;
    bool found;
    char etag[STORE_ETAG_SIZE], why[sizeof(job->record.error)];
    uint32_t wait_ms = dead_letter_wait_ms(j);
    if (wait_ms)
        return steps_wait(job, wait_ms);
    if (!save(j, job, "failing", PUBLISH_TIMEOUT_MS + j->conf->lease_ms))
        return NEXT_ENDED;
    text_copy(why, sizeof(why), job->record.error);
    if (dead_letter_job(j, loop, job, why, &err) != 0 ||
        steps_publish(j, job, "failed", &err) != 0 ||
        deletion_change_intent(j->store, loop, job->d.job_id, mark_failed, job, &found, etag,
                               &err) != 0) {
        enum next next = steps_again(j, job, &err);
        text_copy(job->record.error, sizeof(job->record.error), why);
        return next;
    }
    if (!found)
        return gone(j, job);
    log_error("deletion failed: it waits for a person", LOG_S("job", job->d.job_id),
              LOG_S("error", why));
    metric_add(&j->metrics.failed, 1);
    steps_audit("audit: deletion failed", job);
    schedule_update(j->schedule, job, &job->d, etag);
    return steps_park(j, job, BACKLOG_FAILED, UINT64_MAX);
}

const struct step step_accept = {"accept", run_accept};
const struct step step_first = {"first", run_first};
const struct step step_open = {"open", run_open};
const struct step step_sweep = {"sweep", run_sweep};
const struct step step_drain = {"drain", run_drain};
const struct step step_verify = {"verify", run_verify};
const struct step step_close = {"close", run_close};
const struct step step_publish = {"publish", run_publish};
const struct step step_forget = {"forget", run_forget};
const struct step step_fail = {"fail", run_fail};

/* ---- Running ---- */

/* Steps that read the intent again, should somebody have changed it. From publish on it is too
 * late. */
static bool may_reopen(const struct step *step)
{
    return step == &step_sweep || step == &step_drain || step == &step_verify;
}

enum next job_run(struct janitor *j, struct job *job, store_loop *loop)
{
    if (job->listed && may_reopen(job->step) && schedule_poked(j->schedule, job, true))
        job->step = &step_open;
    return job->step->run(j, job, loop);
}
