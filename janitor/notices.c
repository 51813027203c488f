#include "janitor/notices.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/redis_notice.h"

enum { MAX_PAUSE_MS = 10000 };

struct notices {
    struct janitor *janitor;
    struct redis_notice *redis;
    pthread_t thread;
    struct notice *next;   /* what the thread makes; of its own */
    uint64_t files, at_ms; /* when the rate was last looked at */
    bool failing;          /* and that was told */
    pthread_mutex_t lock;  /* guards what follows */
    pthread_cond_t stops;
    bool stop;
    struct notice_job jobs[NOTICE_MAX_JOBS];
    size_t n_jobs;
};

/* ---- The table; all under the lock ---- */

static struct notice_job *find(struct notices *n, const char *job_id)
{
    for (size_t i = 0; i < n->n_jobs; i++)
        if (strcmp(n->jobs[i].job_id, job_id) == 0)
            return &n->jobs[i];
    return NULL;
}

static bool only_waits(const char *state)
{
    return strcmp(state, "draining") == 0 || strcmp(state, "waiting") == 0;
}

/* Room for one more; NULL: all that are there have more to tell. */
static struct notice_job *room_for(struct notices *n, const char *state)
{
    if (n->n_jobs < NOTICE_MAX_JOBS)
        return &n->jobs[n->n_jobs++];
    for (size_t i = 0; i < n->n_jobs && !only_waits(state); i++)
        if (only_waits(n->jobs[i].state))
            return &n->jobs[i];
    return NULL;
}

static void fill(struct notice_job *to, const struct ledger_job *r, bool left)
{
    *to = (struct notice_job){
        .files = r->files,
        .bytes = r->bytes,
        .attempts = r->attempts,
        .accepted_at_s = r->accepted_at_s,
        .dry_run = r->dry_run,
        .left = left,
    };
    text_copy(to->job_id, sizeof(to->job_id), r->job_id);
    text_copy(to->scope, sizeof(to->scope), r->scope);
    text_copy(to->upto_gen, sizeof(to->upto_gen), r->upto_gen);
    text_copy(to->state, sizeof(to->state), r->state);
    text_copy(to->error, sizeof(to->error), r->error);
}

static void tell_of(struct notices *n, const struct ledger_job *r, bool left)
{
    if (!n)
        return;
    pthread_mutex_lock(&n->lock);
    struct notice_job *job = find(n, r->job_id);
    if (!job)
        job = room_for(n, r->state);
    if (job)
        fill(job, r, left);
    pthread_mutex_unlock(&n->lock);
}

void notices_job(struct notices *n, const struct ledger_job *job)
{
    tell_of(n, job, false);
}

void notices_job_left(struct notices *n, const struct ledger_job *job)
{
    tell_of(n, job, true);
}

/* Takes a copy of all, and forgets those that left. */
static void take_jobs(struct notices *n, struct notice *out)
{
    size_t kept = 0;
    pthread_mutex_lock(&n->lock);
    memcpy(out->jobs, n->jobs, n->n_jobs * sizeof(n->jobs[0]));
    out->n_jobs = n->n_jobs;
    for (size_t i = 0; i < n->n_jobs; i++)
        if (!n->jobs[i].left)
            n->jobs[kept++] = n->jobs[i];
    n->n_jobs = kept;
    pthread_mutex_unlock(&n->lock);
}

/* ---- One notice ---- */

static void add_troubles(struct janitor *j, struct notice *out, size_t n_open)
{
    struct store_err err;
    if (!queue_has_brokers(j->queue))
        notice_add_trouble(out, "no Kafka broker answers");
    if (n_open && !pulse_since_s(j->pulse))
        notice_add_trouble(out,
                           "the store does not answer promptly: no time counts for the drains");
    if (terms_short(j->terms)) {
        store_err_set(&err, STORE_INVALID,
                      "upload_window is too short: a writer's uploads may take %us, and nothing is "
                      "completed",
                      terms_needed_s(j->terms));
        notice_add_trouble(out, err.msg);
    }
}

static uint64_t files_per_s(struct notices *n)
{
    uint64_t now_ms = clock_mono_ms(), files = atomic_load(&n->janitor->metrics.files.value);
    uint64_t ms = now_ms - n->at_ms, more = files - n->files;
    n->at_ms = now_ms;
    n->files = files;
    return ms ? more * 1000 / ms : 0;
}

static const struct notice *make(struct notices *n, bool stopping)
{
    struct janitor *j = n->janitor;
    struct notice *out = n->next;
    struct schedule_status s;
    *out = (struct notice){
        .at_s = clock_real_s(),
        .every_ms = j->conf->notice_interval_ms,
        .stopping = stopping,
        .files_per_s = files_per_s(n),
        .delete_rate = j->conf->delete_rate,
        .tenant_delete_rate = j->conf->tenant_delete_rate,
    };
    schedule_status(j->schedule, &s);
    text_copy(out->janitor, sizeof(out->janitor), j->owner);
    for (int i = 0; i < LANES; i++)
        out->lanes[i] = (struct notice_lane){conf_workers(j->conf, (enum lane)i),
                                             atomic_load(&j->running[i]), s.due[i]};
    for (int i = 0; i < 3; i++)
        out->open[i] = s.open[i];
    add_troubles(j, out, notice_n_open(out));
    take_jobs(n, out);
    return out;
}

/* ---- The thread ---- */

/* An outage of Redis is the ledger's to tell of. */
static bool send(struct notices *n, bool stopping)
{
    struct store_err err;
    bool sent = redis_notice_send(n->redis, make(n, stopping), &err) == 0;
    bool failing = !sent && ledger_up(n->janitor->ledger);
    if (failing && !n->failing)
        log_warn("notices are not sent; nothing else depends on them", LOG_ERR(&err));
    else if (sent && n->failing)
        log_info("notices are sent again");
    n->failing = failing || (n->failing && !sent);
    return sent;
}

/* False: it is to stop. */
static bool wait_for_next(struct notices *n, uint64_t ms)
{
    uint64_t until_ms = clock_mono_ms() + ms;
    const struct timespec until = {(time_t)(until_ms / 1000), (long)(until_ms % 1000) * 1000000};
    int rc = 0;
    pthread_mutex_lock(&n->lock);
    while (!n->stop && rc == 0)
        rc = pthread_cond_timedwait(&n->stops, &n->lock, &until);
    bool stop = n->stop;
    pthread_mutex_unlock(&n->lock);
    return !stop;
}

static void *thread_main(void *user)
{
    struct notices *n = user;
    uint64_t every_ms = n->janitor->conf->notice_interval_ms, pause_ms = every_ms;
    bool sent;
    do {
        sent = send(n, false);
        pause_ms = sent ? every_ms : pause_ms * 2;
        if (!sent && pause_ms > MAX_PAUSE_MS)
            pause_ms = every_ms > MAX_PAUSE_MS ? every_ms : MAX_PAUSE_MS;
    } while (wait_for_next(n, pause_ms));
    if (sent)
        send(n, true);
    return NULL;
}

static void notices_free(struct notices *n)
{
    redis_notice_close(n->redis);
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->stops);
    free(n->next);
    free(n);
}

int notices_start(struct janitor *j, struct notices **out, struct store_err *err)
{
    const struct redis_conf redis = conf_redis(j->conf);
    *out = NULL;
    if (!j->conf->notice_interval_ms || !redis.url || !*redis.url)
        return 0;
    struct notices *n = xcalloc(1, sizeof(*n));
    pthread_condattr_t attr;
    n->janitor = j;
    n->next = xcalloc(1, sizeof(*n->next));
    n->at_ms = clock_mono_ms();
    pthread_mutex_init(&n->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&n->stops, &attr);
    pthread_condattr_destroy(&attr);
    int rc = redis_notice_open(&redis, &n->redis, err);
    int e = rc == 0 ? pthread_create(&n->thread, NULL, thread_main, n) : 0;
    if (e)
        rc = store_err_errno(err, e, "cannot start the thread of the notices");
    if (rc != 0)
        notices_free(n);
    else
        *out = n;
    return rc;
}

void notices_stop(struct notices *n)
{
    if (!n)
        return;
    pthread_mutex_lock(&n->lock);
    n->stop = true;
    pthread_cond_signal(&n->stops);
    pthread_mutex_unlock(&n->lock);
    pthread_join(n->thread, NULL);
    notices_free(n);
}
