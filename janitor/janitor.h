/* janitor.h - what the janitor's files share. */
#ifndef JANITOR_JANITOR_H
#define JANITOR_JANITOR_H

#include <stdatomic.h>

#include "epufs/mass_guard.h"
#include "janitor/backlog.h"
#include "janitor/pulse.h"
#include "janitor/rate.h"
#include "janitor/schedule.h"
#include "janitor/terms.h"
#include "service/service.h"

/* The options of the operator's commands: each has some of them, see commands.h. */
struct command_conf {
    bool json, dry_run, wait, all;
    char *tenant, *timeline, *endpoint, *upto_gen, *reason, *not_before;
    int state; /* index into view_states */
    int class; /* index into the choices of --class */
    uint64_t older_than_ms, timeout_ms, follow_ms;
};

struct janitor_conf {
    struct service_conf service; /* first: see service.h */
    char *kafka_brokers, *kafka_group, *kafka_options;
    struct option_entry *kafka_settings;
    char *deletions_topic, *completions_topic, *deadletter_topic;
    uint64_t kafka_session_timeout_ms, max_outstanding;
    char *redis_url, *redis_password_file, *redis_sentinel_password_file;
    char *redis_ca_file, *redis_client_cert_file, *redis_client_key_file;
    uint64_t redis_timeout_ms, ledger_keep_ms, lease_ms;
    uint64_t upload_window_ms;
    uint64_t intent_scan_interval_ms;
    uint64_t workers, big_workers, max_open_jobs;
    bool delete_versions;
    uint64_t denied_tries;
    uint64_t delete_rate, tenant_delete_rate;
    uint64_t guard_tenants, guard_window_ms;
    uint64_t tombstone_scan_interval_ms, tombstone_grace_ms;
    uint64_t notice_interval_ms;
    struct command_conf command; /* of the operator's command that runs, if any */
};
extern const struct option janitor_options[];

/* conf.c: what the options say to others; strings are borrowed. */
struct mass_guard_conf conf_guard(const struct janitor_conf *c);
uint64_t conf_workers(const struct janitor_conf *c, enum lane lane);
struct redis_conf conf_redis(const struct janitor_conf *c);
/* Checks that span options or that others make; for struct options_spec. */
int conf_check(const void *conf, struct store_err *err);

struct janitor {
    const struct janitor_conf *conf;
    store *store;
    struct queue *queue;
    struct ledger *ledger;
    struct schedule *schedule;
    struct backlog *backlog;
    struct terms *terms;
    struct rate *rate;
    struct pulse *pulse;
    struct scan *scan;
    struct reaper *reaper;
    struct notices *notices;       /* NULL: none are sent */
    char owner[LEDGER_OWNER_SIZE]; /* host, pid and a random part: this process in leases */
    char source[128];              /* CloudEvents source */
    pthread_t *workers;
    size_t n_workers;
    atomic_uint running[LANES]; /* of the workers, those that have a job */
    struct {                    /* a token bucket */
        pthread_mutex_t lock;
        double tokens;
        uint64_t at_ms; /* when they were counted; 0: never */
    } letters;
    struct {
        struct metric accepted, completed, failed, cancelled, dead_letters, files, bytes,
            step_failures, tombstones_removed;
    } metrics;
};

/* engine.c: threads and what they share. */
int engine_start(struct service *s, struct store_err *err);
void engine_stop(struct service *s);
const char *engine_not_ready(struct service *s);
/* Opens what the commands need: store, queue (to publish), ledger. */
int engine_open(struct janitor *j, struct service *s, bool consume, struct store_err *err);
void engine_close(struct janitor *j);

/* accept.c, steps.c */
extern const struct step step_accept, step_first, step_open, step_sweep, step_drain, step_verify,
    step_close, step_publish, step_forget, step_fail;
/* Runs the job's step; or open instead, when its intent may have changed. */
enum next job_run(struct janitor *j, struct job *job, store_loop *loop);

/* metrics.c */
void metrics_start(struct janitor *j);

/* publish.c: publishes a CloudEvent in structured mode, with the tenant's id as its key, so that a
 * tenant's events stay in order. Returns as queue_publish() does. */
int publish_event(struct janitor *j, enum queue_topic topic, const char *tenant,
                  const struct buf *event, uint32_t timeout_ms, struct store_err *err);

/* dead_letter.c: what cannot be done for a person to see. */
/* How long to wait before the next one may go, in ms; 0: it may go now, and is counted. */
uint32_t dead_letter_wait_ms(struct janitor *j);
/* Publishes the raw message with why; one that cannot be published goes into the bucket. attempts:
 * how often this was tried, this time included. 0: the message is done with. -1 with *err: try
 * again later. */
int dead_letter(struct janitor *j, store_loop *loop, const struct queue_msg *m,
                enum event_class class, const char *error, unsigned attempts,
                struct store_err *err);
/* The same for a job that cannot succeed: an event that asks for it again. */
int dead_letter_job(struct janitor *j, store_loop *loop, const struct job *job, const char *error,
                    struct store_err *err);

#endif
