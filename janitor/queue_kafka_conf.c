#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/queue_kafka.h"

enum { DEFAULT_SESSION_MS = 45000 }; /* librdkafka's own */

/* ---- What librdkafka tells ---- */

/* On the thread that polls the instance. */
static void on_error(rd_kafka_t *rk, int code, const char *reason, void *user)
{
    struct queue *q = user;
    kafka_note(q, code, reason);
    if (code == RD_KAFKA_RESP_ERR__FATAL && rd_kafka_type(rk) == RD_KAFKA_PRODUCER)
        atomic_store(&q->producer_fatal, true);
}

static void on_log(const rd_kafka_t *rk, int syslog_level, const char *facility, const char *text)
{
    (void)rk;
    /* A setting that was given for both sides, seen by the side that has no use for it. */
    if (!strcmp(facility, "CONFWARN") && strstr(text, "will be ignored by this"))
        return;
    enum log_level level = syslog_level <= 3   ? LOG_ERROR
                           : syslog_level == 4 ? LOG_WARN
                           : syslog_level <= 6 ? LOG_INFO
                                               : LOG_DEBUG;
    if (!strcmp(facility, "FAIL")) /* a connection; kafka_note() tells of outages */
        level = LOG_DEBUG;
    LOG_AT(level, "librdkafka", LOG_S("facility", facility), LOG_S("text", text));
}

/* ---- Settings ---- */

/* What the promises of queue.h rest on, and what has an option of its own. */
static const char *const refused_settings[] = {
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "group.instance.id", /* close() would not leave the group, and a twin is a fatal error */
    "session.timeout.ms",
    "enable.auto.commit",
    "auto.commit.enable",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "partition.assignment.strategy",
    "transactional.id",
    "acks",
    "request.required.acks",
    "delivery.report.only.error",
    "message.timeout.ms",
    "delivery.timeout.ms",
    NULL,
};

struct setting {
    const char *name, *value;
};

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, struct store_err *err)
{
    char why[200];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) == RD_KAFKA_CONF_OK)
        return 0;
    return store_err_set(err, STORE_INVALID, "kafka setting: %s", why);
}

static int set_all(rd_kafka_conf_t *conf, const struct setting *settings, struct store_err *err)
{
    for (; settings->name; settings++) {
        if (set(conf, settings->name, settings->value, err))
            return -1;
    }
    return 0;
}

/* "consumer.name=value" and "producer.name=value" are for one side, "name=value" for both. Values
 * may be secrets and stay out of messages. */
static int set_extra(rd_kafka_conf_t *conf, const char *side, const char *text,
                     struct store_err *err)
{
    static const char *const sides[] = {"consumer.", "producer."};
    char name[128];
    for (size_t i = 0; i < LEN(sides); i++) {
        size_t n = strlen(sides[i]);
        if (strncmp(text, sides[i], n) != 0)
            continue;
        if (strcmp(sides[i], side) != 0)
            return 0;
        text += n;
        break;
    }
    const char *value = strchr(text, '=');
    size_t n = value ? (size_t)(value - text) : 0;
    if (n == 0 || n >= sizeof(name))
        return store_err_set(err, STORE_INVALID, "a kafka setting is not of the form name=value");
    memcpy(name, text, n);
    name[n] = '\0';
    for (size_t i = 0; refused_settings[i]; i++) {
        if (!strcmp(name, refused_settings[i]))
            return store_err_set(err, STORE_INVALID,
                                 "kafka setting '%s' is the janitor's own and cannot be changed",
                                 name);
    }
    return set(conf, name, value + 1, err);
}

static int set_extras(rd_kafka_conf_t *conf, const char *side, const char *const *extra,
                      struct store_err *err)
{
    for (; extra && *extra; extra++) {
        if (set_extra(conf, side, *extra, err))
            return -1;
    }
    return 0;
}

/* Ends the making of a conf: it, or NULL when something was refused. */
static rd_kafka_conf_t *conf_unless(rd_kafka_conf_t *conf, bool refused)
{
    if (!refused)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static rd_kafka_conf_t *base_conf(struct queue *q)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_opaque(conf, q);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, on_log);
    return conf;
}

/* librdkafka's own 10 s would delay everything behind a short outage. */
#define RECONNECT_MAX_MS "1000"

rd_kafka_conf_t *kafka_producer_conf(struct queue *q, const struct queue_conf *c,
                                     struct store_err *err)
{
    char timeout[16];
    snprintf(timeout, sizeof(timeout), "%d", QUEUE_MESSAGE_TIMEOUT_MS);
    const struct setting defaults[] = {
        {"client.id", "epufs-janitor"},
        {"log.connection.close", "false"},
        {"reconnect.backoff.max.ms", RECONNECT_MAX_MS},
        {"enable.idempotence", "true"},
        {"request.timeout.ms", timeout},
        {"queue.buffering.max.messages", "10000"},
        {NULL, NULL},
    };
    const struct setting fixed[] = {
        {"bootstrap.servers", c->brokers},
        {"acks", "all"},
        {"message.timeout.ms", timeout},
        {NULL, NULL},
    };
    rd_kafka_conf_t *conf = base_conf(q);
    rd_kafka_conf_set_dr_msg_cb(conf, kafka_on_delivery);
    return conf_unless(conf, set_all(conf, defaults, err) ||
                                 set_extras(conf, "producer.", c->extra, err) ||
                                 set_all(conf, fixed, err));
}

/* The strategy is an eager one: cooperative-sticky loses assignments at librdkafka 2.0. */
rd_kafka_conf_t *kafka_consumer_conf(struct queue *q, const struct queue_conf *c,
                                     struct store_err *err)
{
    char session[16], heartbeat[16], max_poll[16];
    uint32_t session_ms = c->session_timeout_ms ? c->session_timeout_ms : DEFAULT_SESSION_MS;
    snprintf(session, sizeof(session), "%u", session_ms);
    snprintf(heartbeat, sizeof(heartbeat), "%u", session_ms < 9000 ? session_ms / 3 : 3000);
    snprintf(max_poll, sizeof(max_poll), "%u", session_ms < 300000 ? 300000 : session_ms);
    const struct setting defaults[] = {
        {"client.id", "epufs-janitor"},
        {"log.connection.close", "false"},
        {"reconnect.backoff.max.ms", RECONNECT_MAX_MS},
        {"heartbeat.interval.ms", heartbeat},
        {"max.poll.interval.ms", max_poll},
        {"topic.metadata.refresh.interval.ms", "60000"},
        /* What was fetched ahead is thrown away by a pause. */
        {"queued.min.messages", "1000"},
        {"queued.max.messages.kbytes", "8192"},
        /* A fetch that is under way delays what follows a pause. */
        {"fetch.wait.max.ms", "100"},
        {NULL, NULL},
    };
    const struct setting fixed[] = {
        {"bootstrap.servers", c->brokers},
        {"group.id", c->group},
        {"session.timeout.ms", session},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "earliest"},
        {"partition.assignment.strategy", "range"},
        {NULL, NULL},
    };
    rd_kafka_conf_t *conf = base_conf(q);
    rd_kafka_conf_set_rebalance_cb(conf, kafka_on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, kafka_on_commit);
    return conf_unless(conf, set_all(conf, defaults, err) ||
                                 set_extras(conf, "consumer.", c->extra, err) ||
                                 set_all(conf, fixed, err));
}
