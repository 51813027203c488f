/* janitor.h - what the janitor's files share. */
#ifndef JANITOR_JANITOR_H
#define JANITOR_JANITOR_H

#include <stdatomic.h>

#include "janitor/schedule.h"
#include "service/service.h"

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
    uint64_t workers, max_open_jobs;
    /* Of the commands. */
    bool json, dry_run, wait;
    char *tenant, *timeline, *endpoint, *upto_gen, *reason, *not_before;
};
extern const struct option janitor_options[];

/* conf.c: what the options say to others; strings are borrowed. */
struct redis_conf conf_redis(const struct janitor_conf *c);
/* Checks that span options or that others make; for struct options_spec. */
int conf_check(const void *conf, struct store_err *err);

struct janitor {
    const struct janitor_conf *conf;
    store *store;
    struct queue *queue;
    struct ledger *ledger;
    struct schedule *schedule;
    char owner[LEDGER_OWNER_SIZE]; /* host, pid and a random part: this process in leases */
    char source[128];              /* CloudEvents source */
    pthread_t *workers;
    size_t n_workers;
    pthread_t scanner;
    bool scanning;
    struct {
        struct metric accepted, completed, dead_letters, files, bytes, step_failures;
    } metrics;
};

/* engine.c: threads and what they share. */
int engine_start(struct service *s, struct store_err *err);
void engine_stop(struct service *s);
const char *engine_not_ready(struct service *s);
/* Opens what the commands need: store, queue (to publish), ledger. */
int engine_open(struct janitor *j, struct service *s, bool consume, struct store_err *err);
void engine_close(struct janitor *j);

/* steps.c */
extern const struct step step_accept, step_sweep, step_drain, step_verify, step_publish,
    step_forget;

/* publish.c: publishes a CloudEvent in structured mode, with the tenant's id as its key, so that a
 * tenant's events stay in order. Returns as queue_publish() does. */
int publish_event(struct janitor *j, enum queue_topic topic, const char *tenant,
                  const struct buf *event, uint32_t timeout_ms, struct store_err *err);

/* dead_letter.c: publishes the raw message with why. 0 when it is delivered. */
int dead_letter(struct janitor *j, const struct queue_msg *m, enum event_class class,
                const char *error, unsigned attempts, struct store_err *err);

/* Operator's commands; each returns an exit code. */
int command_status(struct service *s);
int command_delete(struct service *s);

#endif
