/* The running janitor: the queue's thread hands messages in, workers run steps lane by lane, a
 * scanner finds the intents that nobody here knows, a pulse tells whether the store answers, and
 * notices tell who follows them. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/janitor.h"
#include "janitor/notices.h"
#include "janitor/reaper.h"
#include "janitor/scan.h"
#include "janitor/steps.h"

enum { MAX_KAFKA_OPTIONS = 32, QUEUE_CLOSE_MS = 10000, BACKLOG_NOTES = 32768 };

/* ---- Workers ---- */

struct worker_start {
    struct janitor *janitor;
    enum lane lane;
};

static void run_job(struct janitor *j, struct job *job, store_loop *loop)
{
    if (job_run(j, job, loop) == NEXT_STEP) {
        schedule_add(j->schedule, job);
        return;
    }
    if (job->listed)
        notices_job_left(j->notices, &job->record);
    schedule_leave(j->schedule, job);
    job_free(job);
}

static void *worker_main(void *user)
{
    struct worker_start start = *(struct worker_start *)user;
    store_loop *loop = NULL;
    struct store_err err;
    struct job *job;
    free(user);
    if (store_loop_new(&loop, &err) != 0) {
        log_error("worker", LOG_ERR(&err));
        abort();
    }
    while ((job = schedule_take(start.janitor->schedule, start.lane))) {
        atomic_fetch_add(&start.janitor->running[start.lane], 1);
        run_job(start.janitor, job, loop);
        atomic_fetch_sub(&start.janitor->running[start.lane], 1);
    }
    store_loop_free(loop);
    return NULL;
}

static int start_worker(struct janitor *j, enum lane lane, struct store_err *err)
{
    struct worker_start *start = xmalloc(sizeof(*start));
    *start = (struct worker_start){j, lane};
    int rc = pthread_create(&j->workers[j->n_workers], NULL, worker_main, start);
    if (rc != 0) {
        free(start);
        return store_err_errno(err, rc, "cannot start a worker");
    }
    j->n_workers++;
    return 0;
}

static int start_workers(struct janitor *j, struct store_err *err)
{
    uint64_t all = 0;
    for (int lane = 0; lane < LANES; lane++)
        all += conf_workers(j->conf, (enum lane)lane);
    j->workers = xcalloc(all, sizeof(*j->workers));
    for (int lane = 0; lane < LANES; lane++)
        for (uint64_t i = conf_workers(j->conf, (enum lane)lane); i > 0; i--)
            if (start_worker(j, (enum lane)lane, err) != 0)
                return -1;
    return 0;
}

static void on_message(void *user, struct queue_msg *m)
{
    struct janitor *j = user;
    schedule_add(j->schedule, job_from_message(m));
}

/* ---- Opening and closing ---- */

static void name_ourselves(struct janitor *j)
{
    char host[32] = "";
    uint32_t random = 0;
    gethostname(host, sizeof(host) - 1);
    if (getrandom(&random, sizeof(random), 0) < 0)
        random = (uint32_t)clock_mono_ms();
    snprintf(j->owner, sizeof(j->owner), "%s/%d/%08x", host, (int)getpid(), random);
    snprintf(j->source, sizeof(j->source), "/epufs/janitor/%s", j->conf->kafka_group);
}

static int open_queue(struct janitor *j, bool consume, struct store_err *err)
{
    const struct janitor_conf *c = j->conf;
    const char *extra[MAX_KAFKA_OPTIONS + 1];
    size_t n = 0;
    char *list = xstrdup(c->kafka_options ? c->kafka_options : ""), *save = NULL;
    for (char *p = strtok_r(list, ",", &save); p && n < MAX_KAFKA_OPTIONS;
         p = strtok_r(NULL, ",", &save))
        extra[n++] = p + strspn(p, " ");
    extra[n] = NULL;
    const struct queue_conf qc = {
        .brokers = c->kafka_brokers,
        .group = c->kafka_group,
        .deletions_topic = c->deletions_topic,
        .completions_topic = c->completions_topic,
        .deadletter_topic = c->deadletter_topic,
        .max_outstanding = (uint32_t)c->max_outstanding,
        .session_timeout_ms = (uint32_t)c->kafka_session_timeout_ms,
        .extra = extra,
        .settings = c->kafka_settings,
        .consume = consume,
        .message = on_message,
        .user = j,
    };
    int rc = queue_open(&qc, &j->queue, err);
    free(list);
    return rc;
}

int engine_open(struct janitor *j, struct service *s, bool consume, struct store_err *err)
{
    j->conf = s->conf;
    if (!s->store && service_open_store(s, err) != 0)
        return -1;
    j->store = s->store;
    name_ourselves(j);
    j->schedule = schedule_new(j->conf->max_open_jobs);
    j->backlog = backlog_new(BACKLOG_NOTES);
    j->terms = terms_new(window_round_s(j->conf->upload_window_ms));
    j->rate = rate_new(j->conf->delete_rate, j->conf->tenant_delete_rate);
    pthread_mutex_init(&j->letters.lock, NULL);
    const struct redis_conf redis = conf_redis(j->conf);
    if (ledger_open_conf(&redis, &j->ledger, err) != 0)
        return -1;
    return open_queue(j, consume, err);
}

void engine_close(struct janitor *j)
{
    if (j->schedule)
        schedule_free(j->schedule);
    if (j->queue)
        queue_close(j->queue, QUEUE_CLOSE_MS);
    if (j->ledger)
        ledger_close(j->ledger);
    backlog_free(j->backlog);
    terms_free(j->terms);
    rate_free(j->rate);
    free(j->workers);
}

static bool has_open_jobs(void *user)
{
    return schedule_n_open(((struct janitor *)user)->schedule) > 0;
}

int engine_start(struct service *s, struct store_err *err)
{
    static struct janitor janitor; /* its metrics stay registered */
    struct janitor *j = &janitor;
    s->state = j;
    if (engine_open(j, s, true, err) != 0)
        return -1;
    metrics_start(j);
    if (pulse_start(j->store, has_open_jobs, j, &j->pulse, err) != 0 ||
        scan_start(j, &j->scan, err) != 0 || reaper_start(j, &j->reaper, err) != 0 ||
        notices_start(j, &j->notices, err) != 0)
        return -1;
    return start_workers(j, err);
}

/* The jobs between two steps: whoever starts next goes on at once, from where they are. */
static void let_go_of_jobs(struct janitor *j)
{
    struct job *job;
    while ((job = schedule_take_any(j->schedule))) {
        steps_let_go(j, job);
        job_free(job);
    }
}

/* What is accepted is an intent, what is not is still in its partition: nothing needs to be waited
 * for but the batches under way. */
void engine_stop(struct service *s)
{
    struct janitor *j = s->state;
    queue_stop_consuming(j->queue);
    schedule_stop(j->schedule);
    for (size_t i = 0; i < j->n_workers; i++)
        pthread_join(j->workers[i], NULL);
    scan_stop(j->scan);
    reaper_stop(j->reaper);
    notices_stop(j->notices);
    pulse_stop(j->pulse);
    let_go_of_jobs(j);
    engine_close(j);
}

const char *engine_not_ready(struct service *s)
{
    struct janitor *j = s->state;
    return queue_has_brokers(j->queue) ? NULL : "no Kafka broker answers";
}
