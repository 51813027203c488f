/* The steps of a deletion. What fails is tried again with growing pauses, for ever: an outage of
 * the store or the broker is no reason to give a deletion up, and its intent survives us. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/janitor.h"

enum {
    FIRST_PAUSE_MS = 200,
    SETTLED_PAUSE_MS = 200,
    MAX_PAUSE_MS = 60000,
    SAVE_EVERY_MS = 1000,
    MAX_BUSY_PAUSE_MS = 5000, /* another janitor has the lease; it may end early */
    PUBLISH_TIMEOUT_MS = 10000,
    SMALL_PAGES = 1,
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

/* When the removal may begin; the tombstone does not wait for it. */
static uint64_t begin_ms(const struct deletion *d)
{
    int64_t wait_s = d->not_before_s - clock_real_s();
    return clock_mono_ms() + (d->not_before_s && wait_s > 0 ? (uint64_t)wait_s * 1000 : 0);
}

struct job *job_from_intent(const struct deletion *d)
{
    struct job *job = xcalloc(1, sizeof(*job));
    job->step = &step_sweep;
    job->lane = LANE_SMALL;
    job->due_ms = begin_ms(d);
    job->d = *d;
    return job;
}

void job_free(struct job *job)
{
    if (job->msg)
        queue_abandon(job->msg);
    free(job);
}

static enum next go_at(struct job *job, const struct step *to, uint64_t due_ms)
{
    if (to != job->step)
        log_debug("step", LOG_S("job", job->d.job_id), LOG_S("from", job->step->name),
                  LOG_S("to", to->name));
    job->step = to;
    job->due_ms = due_ms;
    return NEXT_STEP;
}

/* On, now: the next step has had no failure yet. */
static enum next go(struct job *job, const struct step *to)
{
    job->failures = 0;
    job->record.error[0] = '\0';
    return go_at(job, to, clock_mono_ms());
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

/* The same step again, after a pause. */
static enum next again(struct janitor *j, struct job *job, const struct store_err *err)
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

/* ---- Accept ---- */

static void give_back(struct job *job)
{
    queue_done(job->msg);
    job->msg = NULL;
}

static enum next refuse(struct janitor *j, struct job *job, enum event_class class,
                        const struct store_err *why)
{
    struct store_err err;
    if (dead_letter(j, job->msg, class, why->msg, job->failures + 1, &err) != 0)
        return again(j, job, &err);
    log_warn("event refused", LOG_S("class", event_class_name(class)),
             LOG_S("topic", job->msg->topic), LOG_I("partition", job->msg->partition),
             LOG_I("offset", job->msg->offset), LOG_S("error", why->msg));
    metric_add(&j->metrics.dead_letters, 1);
    give_back(job);
    return NEXT_ENDED;
}

static void audit(const char *what, const struct job *job)
{
    char path[SCOPE_PATH_SIZE];
    scope_path(&job->d.scope, path);
    log_info(what, LOG_S("scope", path), LOG_S("job", job->d.job_id),
             LOG_B("has_upto_gen", job->d.has_upto_gen), LOG_U("upto_gen", job->d.upto_gen),
             LOG_B("dry_run", job->d.dry_run), LOG_S("reason", job->d.reason),
             LOG_S("event", job->d.event_id), LOG_U("files", job->record.files),
             LOG_U("bytes", job->record.bytes));
}

/* Without a generation nothing keeps new files away: an event that comes when the open job has
 * looked for the last time is another deletion, and waits until that job has ended. */
static bool is_fenced(const struct deletion *d)
{
    return d->scope.kind != SCOPE_ENDPOINT || d->has_upto_gen;
}

static enum next run_accept(struct janitor *j, struct job *job, store_loop *loop)
{
    struct queue_msg *m = job->msg;
    enum event_class class;
    struct store_err err;
    bool full;
    if (event_parse(m->headers, m->n_headers, m->key, m->key_len, m->value, m->value_len, &job->d,
                    &class, &err) != 0)
        return refuse(j, job, class, &err);
    if (!is_fenced(&job->d) && schedule_settled(j->schedule, job->d.job_id))
        return go_at(job, &step_accept, clock_mono_ms() + SETTLED_PAUSE_MS);
    if (!schedule_knows(j->schedule, job->d.job_id)) {
        if (deletion_accept(j->store, loop, &job->d, &err) != 0)
            return again(j, job, &err);
        audit("audit: deletion accepted", job);
        metric_add(&j->metrics.accepted, 1);
    }
    give_back(job);
    /* Known: the open job does it. Too many: the intent waits in the store until there is room. */
    if (!schedule_enter(j->schedule, job, &full))
        return NEXT_ENDED;
    job->lane = LANE_SMALL;
    return go_at(job, &step_sweep, begin_ms(&job->d));
}

/* ---- The ledger's part ---- */

static void fill_record(struct job *job)
{
    struct ledger_job *r = &job->record;
    memcpy(r->job_id, job->d.job_id, sizeof(r->job_id));
    scope_path(&job->d.scope, r->scope);
    r->dry_run = job->d.dry_run;
    r->accepted_at_s = job->d.accepted_at_s;
    r->started_at_s = job->started_at_s;
    if (job->d.has_upto_gen)
        snprintf(r->upto_gen, sizeof(r->upto_gen), "%llu", (unsigned long long)job->d.upto_gen);
}

static void save(struct janitor *j, struct job *job, const char *state, uint64_t lease_ms)
{
    job->saved_ms = clock_mono_ms();
    text_copy(job->record.state, sizeof(job->record.state), state);
    if (job->leased && ledger_save(j->ledger, (uint32_t)lease_ms, &job->record) == LEDGER_FENCED)
        job->leased = false; /* another has taken over: double work, not wrong work */
}

/* Takes the lease and what an earlier run has left. Returns false when another janitor is at it. */
static bool claim(struct janitor *j, struct job *job)
{
    fill_record(job);
    switch (ledger_claim(j->ledger, j->owner, (uint32_t)j->conf->lease_ms, &job->record)) {
    case LEDGER_BUSY: return false;
    case LEDGER_OK: job->leased = true; break;
    default: job->leased = false; break;
    }
    if (strcmp(job->record.state, "done") == 0) {
        job->record.cursor[0] = '\0'; /* asked for again: look at everything again */
        /* Without a generation the same job can be another deletion: of what came since. */
        if (!is_fenced(&job->d))
            job->record.files = job->record.bytes = 0;
    }
    job->base_files = job->record.files;
    job->base_bytes = job->record.bytes;
    return true;
}

/* Until the other's lease ends, or a while: it may be done before. */
static uint64_t busy_pause_ms(const struct ledger_job *r)
{
    bool soon = r->lease_ms_left >= 0 && r->lease_ms_left < MAX_BUSY_PAUSE_MS;
    return soon ? (uint64_t)r->lease_ms_left + 1 : MAX_BUSY_PAUSE_MS;
}

/* ---- Sweep ---- */

struct sweeping {
    struct janitor *janitor;
    struct job *job;
    bool outgrown; /* more than one page: for the other lane */
};

static bool on_progress(void *user, const struct store_progress *p)
{
    struct sweeping *w = user;
    struct job *job = w->job;
    job->record.files = job->base_files + p->objects;
    job->record.bytes = job->base_bytes + p->bytes;
    text_copy(job->record.cursor, sizeof(job->record.cursor), p->cursor);
    if (clock_mono_ms() - job->saved_ms >= SAVE_EVERY_MS)
        save(w->janitor, job, job->record.state, w->janitor->conf->lease_ms);
    w->outgrown = job->lane == LANE_SMALL && p->pages > SMALL_PAGES;
    return !w->outgrown && !schedule_stopping(w->janitor->schedule);
}

/* One run over the scope; counts are in the record, whatever the end. */
static int sweep(struct janitor *j, struct job *job, store_loop *loop, const char *state,
                 struct sweeping *w, struct deletion_counts *counts, int64_t *server_time_s,
                 struct store_err *err)
{
    *w = (struct sweeping){.janitor = j, .job = job};
    save(j, job, state, j->conf->lease_ms);
    job->base_files = job->record.files;
    job->base_bytes = job->record.bytes;
    int rc = deletion_sweep(j->store, loop, &job->d, job->record.cursor, on_progress, w, counts,
                            server_time_s, err);
    job->record.files = job->base_files + counts->files;
    job->record.bytes = job->base_bytes + counts->bytes;
    if (!job->d.dry_run) {
        metric_add(&j->metrics.files, counts->files);
        metric_add(&j->metrics.bytes, counts->bytes);
    }
    return rc;
}

/* After a sweep that did not come to its end. */
static enum next broken_off(struct janitor *j, struct job *job, const struct sweeping *w,
                            const struct store_err *err)
{
    if (w->outgrown) {
        job->lane = LANE_BIG;
        return go(job, job->step);
    }
    if (schedule_stopping(j->schedule)) {
        if (job->leased)
            ledger_release(j->ledger, &job->record);
        return NEXT_ENDED; /* the intent stays */
    }
    return again(j, job, err);
}

static enum next run_sweep(struct janitor *j, struct job *job, store_loop *loop)
{
    struct sweeping w;
    struct deletion_counts counts;
    struct store_err err;
    int64_t server_time_s = 0;
    if (!job->leased && !claim(j, job)) {
        if (!deletion_is_open(j->store, loop, job->d.job_id))
            return NEXT_ENDED;
        return go_at(job, &step_sweep, clock_mono_ms() + busy_pause_ms(&job->record));
    }
    if (!job->started_at_s)
        job->started_at_s = job->record.started_at_s = clock_real_s();
    if (job->d.dry_run) { /* counts anew each time, since nothing goes */
        job->record.cursor[0] = '\0';
        job->record.files = job->record.bytes = 0;
    }
    if (sweep(j, job, loop, "sweeping", &w, &counts, &server_time_s, &err) != 0)
        return broken_off(j, job, &w, &err);
    return go(job, job->d.dry_run ? &step_publish : &step_drain);
}

/* ---- Drain and verify ---- */

/* Until the moment after which no upload that passed the fence can still end, on the store's
 * clock as far as we can guess it; verify looks at that clock itself. */
static enum next run_drain(struct janitor *j, struct job *job, store_loop *loop)
{
    (void)loop;
    uint32_t window_s = (uint32_t)(j->conf->upload_window_ms + 999) / 1000;
    int64_t wait_s = deletion_drained_at_s(&job->d, window_s) - clock_real_s();
    uint64_t wait_ms = wait_s > 0 ? (uint64_t)wait_s * 1000 : 0;
    if (wait_ms > j->conf->upload_window_ms + 2000)
        wait_ms = j->conf->upload_window_ms + 2000; /* our clock is off: ask the store's then */
    save(j, job, "draining", wait_ms + j->conf->lease_ms);
    return go_at(job, &step_verify, clock_mono_ms() + wait_ms);
}

static enum next run_verify(struct janitor *j, struct job *job, store_loop *loop)
{
    struct sweeping w;
    struct deletion_counts counts;
    struct store_err err;
    int64_t server_time_s = 0;
    uint32_t window_s = (uint32_t)(j->conf->upload_window_ms + 999) / 1000;
    int64_t drained_at_s = deletion_drained_at_s(&job->d, window_s);
    job->record.cursor[0] = '\0'; /* from the start: nothing may be left anywhere */
    schedule_settle(j->schedule, job);
    if (sweep(j, job, loop, "verifying", &w, &counts, &server_time_s, &err) != 0)
        return broken_off(j, job, &w, &err);
    if (counts.files)
        return go(job, &step_verify);
    if (server_time_s < drained_at_s)
        return go_at(job, &step_verify,
                     clock_mono_ms() + 1000 * (uint64_t)(drained_at_s - server_time_s));
    return go(job, &step_publish);
}

/* ---- Publish and forget ---- */

static enum next run_publish(struct janitor *j, struct job *job, store_loop *loop)
{
    (void)loop;
    struct store_err err;
    struct buf text = BUF_INIT(65536);
    const struct completion c = {
        .deletion = &job->d,
        .outcome = "completed",
        .files = job->record.files,
        .bytes = job->record.bytes,
        .attempts = job->record.attempts ? job->record.attempts : 1,
        .started_at_s = job->started_at_s,
        .completed_at_s = clock_real_s(),
        .source = j->source,
    };
    save(j, job, "publishing", PUBLISH_TIMEOUT_MS + j->conf->lease_ms);
    int rc = event_completion(&c, &text);
    if (rc != 0)
        rc = store_err_set(&err, STORE_NO_MEMORY, "completion: out of memory");
    else
        rc = publish_event(j, QUEUE_COMPLETIONS, job->d.scope.tenant, &text, PUBLISH_TIMEOUT_MS,
                           &err);
    buf_cleanup(&text);
    return rc == 0 ? go(job, &step_forget) : again(j, job, &err);
}

static enum next run_forget(struct janitor *j, struct job *job, store_loop *loop)
{
    struct store_err err;
    if (deletion_forget_intent(j->store, loop, &job->d, &err) != 0)
        return again(j, job, &err);
    job->record.done_at_s = clock_real_s();
    strcpy(job->record.state, "done");
    ledger_finish(j->ledger, &job->record, (uint32_t)(j->conf->ledger_keep_ms / 1000));
    metric_add(&j->metrics.completed, 1);
    audit("audit: deletion completed", job);
    return NEXT_ENDED;
}

const struct step step_accept = {"accept", run_accept};
const struct step step_sweep = {"sweep", run_sweep};
const struct step step_drain = {"drain", run_drain};
const struct step step_verify = {"verify", run_verify};
const struct step step_publish = {"publish", run_publish};
const struct step step_forget = {"forget", run_forget};
