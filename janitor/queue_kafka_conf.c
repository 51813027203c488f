#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/queue_kafka.h"
#include "janitor/secret_file.h"

enum {
    DEFAULT_SESSION_MS = 45000, /* librdkafka's own */
    MAX_SETTING_NAME = 128,
};

#define FILE_SUFFIX "_file"

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
    /* Options of the janitor. */
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "session.timeout.ms",
    /* Offsets are stored and committed by hand, at the broker, and nothing is skipped. */
    "enable.auto.commit",
    "auto.commit.enable",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "isolation.level", /* else events of aborted transactions are taken */
    "topic.blacklist", /* would hide a topic without a word */
    /* Membership of the group. */
    "group.instance.id", /* close() would not leave the group, and a twin is a fatal error */
    "group.protocol.type",
    "partition.assignment.strategy",
    /* What a delivery report means, and that there is one. */
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "enable.gapless.guarantee", /* one message that is given up would end the producer */
    "transactional.id",
    "delivery.report.only.error",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "partitioner", /* a tenant's messages stay in order by their key */
    "queuing.strategy",
    /* How librdkafka and the program are tied together. */
    "enabled_events",
    "log.queue",
    "internal.termination.signal",
    "test.mock.num.brokers", /* takes the place of the brokers */
    NULL,
};

/* Settings whose value may stand in a file. PEM could not be given otherwise: it has several
 * lines. */
static const char *const secret_settings[] = {
    "sasl.username",           "sasl.password",
    "sasl.oauthbearer.config", "sasl.oauthbearer.client.secret",
    "ssl.key.password",        "ssl.key.pem",
    "ssl.certificate.pem",     "ssl.ca.pem",
    "ssl.keystore.password",   NULL,
};

struct setting {
    const char *name, *value;
};

static bool is_among(const char *const *names, const char *name)
{
    while (*names && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

/* librdkafka takes any, and looks at it only when the protocol is one with SASL. */
static int check_mechanism(const char *name, const char *value, struct store_err *err)
{
    static const char *const known[] = {"PLAIN",       "SCRAM-SHA-256", "SCRAM-SHA-512",
                                        "OAUTHBEARER", "GSSAPI",        NULL};
    char shown[64];
    if ((strcmp(name, "sasl.mechanism") != 0 && strcmp(name, "sasl.mechanisms") != 0) ||
        is_among(known, value))
        return 0;
    return store_err_set(err, STORE_INVALID,
                         "kafka setting '%s' is '%s'; expected PLAIN, SCRAM-SHA-256, "
                         "SCRAM-SHA-512, OAUTHBEARER or GSSAPI",
                         name, text_excerpt(value, strlen(value), shown, sizeof(shown)));
}

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, struct store_err *err)
{
    char why[200];
    if (check_mechanism(name, value, err))
        return -1;
    if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) == RD_KAFKA_CONF_OK)
        return 0;
    if (is_among(secret_settings, name))
        return store_err_set(err, STORE_INVALID,
                             "kafka setting '%s': librdkafka refuses the value (not shown)", name);
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

/* "NAME_file": the value is what stands in the file. */
static int set_from_file(rd_kafka_conf_t *conf, const char *name, const char *path,
                         struct store_err *err)
{
    char real[MAX_SETTING_NAME];
    struct store_err cause;
    snprintf(real, sizeof(real), "%.*s", (int)(strlen(name) - strlen(FILE_SUFFIX)), name);
    if (!is_among(secret_settings, real))
        return store_err_set(err, STORE_INVALID, "kafka setting '%s': '%s' cannot come from a file",
                             name, real);
    char *value = secret_file_read(path, &cause);
    if (!value)
        return store_err_set(err, STORE_INVALID, "kafka setting '%s': %s", name, cause.msg);
    int rc = set(conf, real, value, err);
    secret_file_forget(value);
    return rc;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && !strcmp(text + n - m, end);
}

/* Takes the side off a name: false when it is for the other one. */
static bool is_for(const char *side, const char **name)
{
    static const char *const sides[] = {"consumer.", "producer."};
    for (size_t i = 0; i < LEN(sides); i++) {
        size_t n = strlen(sides[i]);
        if (strncmp(*name, sides[i], n) != 0)
            continue;
        *name += n;
        return !strcmp(sides[i], side);
    }
    return true;
}

/* "consumer.name" and "producer.name" are for one side, "name" for both. Values may be secrets and
 * stay out of messages. */
static int set_given(rd_kafka_conf_t *conf, const char *side, const char *name, const char *value,
                     struct store_err *err)
{
    static const char topic[] = "topic."; /* librdkafka takes "topic.acks" for "acks" */
    if (!is_for(side, &name))
        return 0;
    const char *bare = strncmp(name, topic, sizeof(topic) - 1) ? name : name + sizeof(topic) - 1;
    if (is_among(refused_settings, name) || is_among(refused_settings, bare))
        return store_err_set(err, STORE_INVALID,
                             "kafka setting '%s' is the janitor's own and cannot be changed", name);
    if (ends_with(name, FILE_SUFFIX))
        return set_from_file(conf, name, value, err);
    return set(conf, name, value, err);
}

/* "name=value" */
static int set_extra(rd_kafka_conf_t *conf, const char *side, const char *text,
                     struct store_err *err)
{
    char name[MAX_SETTING_NAME];
    const char *value = strchr(text, '=');
    size_t n = value ? (size_t)(value - text) : 0;
    if (n == 0 || n >= sizeof(name))
        return store_err_set(err, STORE_INVALID, "a kafka setting is not of the form name=value");
    memcpy(name, text, n);
    name[n] = '\0';
    return set_given(conf, side, name, value + 1, err);
}

/* Refuses a secret that is given both by its name and by a file. */
static int check_pair(const struct option_entry *all, const struct option_entry *file,
                      struct store_err *err)
{
    size_t n = strlen(file->name) - strlen(FILE_SUFFIX);
    for (const struct option_entry *e = all; e->name; e++) {
        if (*e->value && strlen(e->name) == n && !strncmp(e->name, file->name, n))
            return store_err_set(err, STORE_INVALID,
                                 "kafka setting '%s': '%s' is given too; expected one of them",
                                 file->name, e->name);
    }
    return 0;
}

/* What the operator wants; the map of options has the last word. */
static int set_extras(rd_kafka_conf_t *conf, const char *side, const struct queue_conf *c,
                      struct store_err *err)
{
    for (const char *const *extra = c->extra; extra && *extra; extra++) {
        if (set_extra(conf, side, *extra, err))
            return -1;
    }
    for (const struct option_entry *e = c->settings; e && e->name; e++) {
        if (!*e->value)
            continue;
        if (ends_with(e->name, FILE_SUFFIX) && check_pair(c->settings, e, err))
            return -1;
        if (set_given(conf, side, e->name, e->value, err))
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
                                 set_extras(conf, "producer.", c, err) ||
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
                                 set_extras(conf, "consumer.", c, err) ||
                                 set_all(conf, fixed, err));
}

int queue_check_settings(const struct queue_conf *c, struct store_err *err)
{
    rd_kafka_conf_t *producer = kafka_producer_conf(NULL, c, err);
    rd_kafka_conf_t *consumer = producer ? kafka_consumer_conf(NULL, c, err) : NULL;
    if (producer)
        rd_kafka_conf_destroy(producer);
    if (consumer)
        rd_kafka_conf_destroy(consumer);
    return consumer ? 0 : -1;
}

/* Without a group: for whoever only looks. */
rd_kafka_conf_t *kafka_reader_conf(struct queue *q, const struct queue_conf *c,
                                   struct store_err *err)
{
    static const struct setting defaults[] = {
        {"client.id", "epufs-janitor"},
        {"log.connection.close", "false"},
        {"reconnect.backoff.max.ms", RECONNECT_MAX_MS},
        {"queued.max.messages.kbytes", "8192"},
        {"fetch.wait.max.ms", "100"},
        {NULL, NULL},
    };
    const struct setting fixed[] = {
        {"bootstrap.servers", c->brokers},     {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"}, {"auto.offset.reset", "earliest"},
        {"enable.partition.eof", "true"},      {NULL, NULL},
    };
    rd_kafka_conf_t *conf = base_conf(q);
    return conf_unless(conf, set_all(conf, defaults, err) ||
                                 set_extras(conf, "consumer.", c, err) ||
                                 set_all(conf, fixed, err));
}
