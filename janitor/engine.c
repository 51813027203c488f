/* The running janitor: the queue's thread hands messages in, workers run steps lane by lane, and a
 * scanner finds the intents that nobody here knows: of HTTP deletions, of janitors that died, of
 * our own life before a restart. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/janitor.h"

enum { MAX_KAFKA_OPTIONS = 32, QUEUE_CLOSE_MS = 10000 };

/* ---- Workers ---- */

struct worker_start {
    struct janitor *janitor;
    enum lane lane;
};

static void run_job(struct janitor *j, struct job *job, store_loop *loop)
{
    if (job->step->run(j, job, loop) == NEXT_STEP) {
        schedule_add(j->schedule, job);
        return;
    }
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
    while ((job = schedule_take(start.janitor->schedule, start.lane)))
        run_job(start.janitor, job, loop);
    store_loop_free(loop);
    return NULL;
}

static int start_workers(struct janitor *j, struct store_err *err)
{
    size_t each = j->conf->workers;
    j->workers = xcalloc(LANES * each, sizeof(*j->workers));
    for (size_t i = 0; i < LANES * each; i++) {
        struct worker_start *start = xmalloc(sizeof(*start));
        *start = (struct worker_start){j, (enum lane)(i % LANES)};
        int rc = pthread_create(&j->workers[i], NULL, worker_main, start);
        if (rc != 0) {
            free(start);
            return store_err_errno(err, rc, "cannot start a worker");
        }
        j->n_workers++;
    }
    return 0;
}

static void on_message(void *user, struct queue_msg *m)
{
    struct janitor *j = user;
    schedule_add(j->schedule, job_from_message(m));
}

/* ---- Scanner ---- */

struct scan {
    struct janitor *janitor;
    char (*unknown)[JOB_ID_SIZE]; /* of one page */
    size_t n;
    char *token;
};

static void scan_page(void *user, const struct store_page *page)
{
    struct scan *s = user;
    size_t cut = strlen(LAYOUT_INTENTS);
    s->n = 0;
    for (size_t i = 0; i < page->n; i++) {
        const char *id = page->entries[i].key + cut;
        if (strlen(id) == JOB_ID_SIZE - 1 && !schedule_knows(s->janitor->schedule, id))
            memcpy(s->unknown[s->n++], id, JOB_ID_SIZE);
    }
    free(s->token);
    s->token = page->next_token ? xstrdup(page->next_token) : NULL;
}

/* Returns false when there is no room for more jobs. */
static bool take_up(struct janitor *j, const char *job_id, store_loop *loop)
{
    struct deletion d;
    struct store_err err;
    bool full = false;
    enum intent_state found = deletion_read_intent(j->store, loop, job_id, &d, &err);
    if (found != INTENT_READ) {
        if (found != INTENT_NONE)
            log_error("intent cannot be read", LOG_S("job", job_id), LOG_ERR(&err));
        return true;
    }
    struct job *job = job_from_intent(&d);
    if (schedule_enter(j->schedule, job, &full)) {
        log_info("took up an open deletion", LOG_S("job", job_id));
        schedule_add(j->schedule, job);
    } else {
        free(job);
    }
    return !full;
}

static int scan_once(struct janitor *j, store_loop *loop, struct store_err *err)
{
    struct scan s = {.janitor = j};
    bool room = true;
    int rc;
    s.unknown = xcalloc(STORE_MAX_BATCH, JOB_ID_SIZE);
    do {
        const struct store_list_opts opts = {.token = s.token};
        rc = store_sync_list(j->store, loop, LAYOUT_INTENTS, &opts, scan_page, &s, err);
        for (size_t i = 0; rc == 0 && room && i < s.n && !schedule_stopping(j->schedule); i++)
            room = take_up(j, s.unknown[i], loop);
    } while (rc == 0 && room && s.token && !schedule_stopping(j->schedule));
    free(s.unknown);
    free(s.token);
    return rc;
}

static void wait_ms(struct janitor *j, uint64_t ms)
{
    static const struct timespec slice = {0, 100 * 1000000};
    uint64_t until_ms = clock_mono_ms() + ms;
    while (clock_mono_ms() < until_ms && !schedule_stopping(j->schedule))
        nanosleep(&slice, NULL);
}

static void *scanner_main(void *user)
{
    struct janitor *j = user;
    store_loop *loop = NULL;
    struct store_err err;
    if (store_loop_new(&loop, &err) != 0) {
        log_error("scanner", LOG_ERR(&err));
        abort();
    }
    while (!schedule_stopping(j->schedule)) {
        if (scan_once(j, loop, &err) != 0)
            log_warn("intents cannot be listed", LOG_ERR(&err));
        wait_ms(j, j->conf->intent_scan_interval_ms);
    }
    store_loop_free(loop);
    return NULL;
}

/* ---- Metrics ---- */

static double open_tenants(void *user)
{
    struct schedule_status s;
    schedule_status(((struct janitor *)user)->schedule, &s);
    return (double)s.open[SCOPE_TENANT];
}

static double open_timelines(void *user)
{
    struct schedule_status s;
    schedule_status(((struct janitor *)user)->schedule, &s);
    return (double)s.open[SCOPE_TIMELINE];
}

static double open_endpoints(void *user)
{
    struct schedule_status s;
    schedule_status(((struct janitor *)user)->schedule, &s);
    return (double)s.open[SCOPE_ENDPOINT];
}

static double oldest_open(void *user)
{
    struct schedule_status s;
    schedule_status(((struct janitor *)user)->schedule, &s);
    return s.oldest_accepted_at_s ? (double)(clock_real_s() - s.oldest_accepted_at_s) : 0;
}

static double outstanding(void *user)
{
    struct queue_status s;
    queue_status(((struct janitor *)user)->queue, &s);
    return s.outstanding;
}

static double ledger_is_up(void *user)
{
    return ledger_up(((struct janitor *)user)->ledger);
}

static void counter(struct metric *m, const char *name, const char *help)
{
    *m = (struct metric){.name = name, .help = help, .type = METRIC_COUNTER};
    metric_register(m);
}

static void register_metrics(struct janitor *j)
{
    counter(&j->metrics.accepted, "epufs_deletions_accepted_total",
            "Deletion events whose tombstone and intent are durable.");
    counter(&j->metrics.completed, "epufs_deletions_completed_total",
            "Deletions verified and published as completed.");
    counter(&j->metrics.dead_letters, "epufs_dead_letters_total", "Events refused.");
    counter(&j->metrics.files, "epufs_deleted_files_total", "Files removed.");
    counter(&j->metrics.bytes, "epufs_deleted_bytes_total", "Bytes of the files removed.");
    counter(&j->metrics.step_failures, "epufs_deletion_step_failures_total",
            "Steps that failed and are tried again.");
    metric_register_fn("epufs_open_tenant_deletions", "Tenant deletions under way.", open_tenants,
                       j);
    metric_register_fn("epufs_open_timeline_deletions", "Timeline deletions under way.",
                       open_timelines, j);
    metric_register_fn("epufs_open_endpoint_deletions", "Endpoint deletions under way.",
                       open_endpoints, j);
    metric_register_fn("epufs_oldest_open_deletion_seconds",
                       "Age of the oldest deletion under way; 0: none.", oldest_open, j);
    metric_register_fn("epufs_messages_outstanding", "Events handed out and not yet accepted.",
                       outstanding, j);
    metric_register_fn("epufs_ledger_up", "Whether Redis answers.", ledger_is_up, j);
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
    free(j->workers);
}

int engine_start(struct service *s, struct store_err *err)
{
    static struct janitor janitor; /* its metrics stay registered */
    struct janitor *j = &janitor;
    s->state = j;
    if (engine_open(j, s, true, err) != 0)
        return -1;
    register_metrics(j);
    if (start_workers(j, err) != 0)
        return -1;
    int rc = pthread_create(&j->scanner, NULL, scanner_main, j);
    if (rc != 0)
        return store_err_errno(err, rc, "cannot start the scanner");
    j->scanning = true;
    return 0;
}

/* The jobs between two steps: whoever starts next goes on at once, from where they are. */
static void let_go_of_jobs(struct janitor *j)
{
    struct job *job;
    while ((job = schedule_take_any(j->schedule))) {
        if (job->leased)
            ledger_release(j->ledger, &job->record);
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
    if (j->scanning)
        pthread_join(j->scanner, NULL);
    let_go_of_jobs(j);
    engine_close(j);
}

const char *engine_not_ready(struct service *s)
{
    struct janitor *j = s->state;
    struct queue_status status;
    queue_status(j->queue, &status);
    return status.brokers_up ? NULL : "no Kafka broker answers";
}
