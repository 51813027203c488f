#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/queue_kafka.h"

enum {
    PROBE_EVERY_MS = 1000, /* whether brokers are back */
    PROBE_WAIT_MS = 500,
    PURGE_WAIT_MS = 1000,
};

/* A message on its way out. The publisher may stop waiting before librdkafka is done with it, so
 * the last of the two frees it. */
struct delivery {
    pthread_mutex_t lock;
    pthread_cond_t reported;
    unsigned refs;
    bool done;
    rd_kafka_resp_err_t result;
};

static struct delivery *delivery_new(void)
{
    struct delivery *d = xcalloc(1, sizeof(*d));
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->reported, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&d->lock, NULL);
    d->refs = 1;
    return d;
}

static void delivery_unref(struct delivery *d)
{
    pthread_mutex_lock(&d->lock);
    bool last = --d->refs == 0;
    pthread_mutex_unlock(&d->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->reported);
    free(d);
}

/* Returns whether the report came in time. */
static bool delivery_wait(struct delivery *d, uint32_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&d->lock);
    while (!d->done && pthread_cond_timedwait(&d->reported, &d->lock, &until) != ETIMEDOUT)
        ;
    bool done = d->done;
    pthread_mutex_unlock(&d->lock);
    return done;
}

/* The publishing thread: librdkafka is done with a message, either way. */
void kafka_on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *user)
{
    (void)rk;
    struct queue *q = user;
    struct delivery *d = m->_private;
    if (!m->err)
        kafka_heard(q);
    pthread_mutex_lock(&d->lock);
    d->done = true;
    d->result = m->err;
    pthread_cond_signal(&d->reported);
    pthread_mutex_unlock(&d->lock);
    delivery_unref(d);
}

/* What no repetition would change; everything else may work later. */
static bool refused_for_good(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR__INVALID_ARG: return true;
    default: return false;
    }
}

static int publish_result(struct queue *q, const char *topic, rd_kafka_resp_err_t code,
                          struct store_err *err)
{
    pthread_mutex_lock(&q->lock);
    if (code)
        q->status.publish_failures++;
    else
        q->status.published++;
    pthread_mutex_unlock(&q->lock);
    if (!code)
        return 0;
    return store_err_set(err, refused_for_good(code) ? STORE_INVALID : STORE_BUSY,
                         "publishing to %s: %s", topic, rd_kafka_err2str(code));
}

static rd_kafka_headers_t *make_headers(const struct event_header *headers, size_t n)
{
    rd_kafka_headers_t *list = rd_kafka_headers_new(n);
    for (size_t i = 0; i < n; i++)
        rd_kafka_header_add(list, headers[i].name, -1, headers[i].value, (ssize_t)headers[i].len);
    return list;
}

int queue_publish(struct queue *q, enum queue_topic topic, const char *key, size_t key_len,
                  const char *value, size_t value_len, const struct event_header *headers,
                  size_t n_headers, uint32_t timeout_ms, struct store_err *err)
{
    const char *name = q->topics[topic];
    struct delivery *d = delivery_new();
    rd_kafka_headers_t *list = make_headers(headers, n_headers);
    d->refs++; /* librdkafka's */
    pthread_rwlock_rdlock(&q->producer_lock);
    /* The value and key are copied; the pointers are only const-less. */
    rd_kafka_resp_err_t code = rd_kafka_producev(
        q->producer, RD_KAFKA_V_TOPIC(name), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY((void *)key, key_len), RD_KAFKA_V_VALUE((void *)value, value_len),
        RD_KAFKA_V_HEADERS(list), RD_KAFKA_V_OPAQUE(d), RD_KAFKA_V_END);
    pthread_rwlock_unlock(&q->producer_lock);
    if (code) {
        rd_kafka_headers_destroy(list);
        delivery_unref(d);
    } else if (delivery_wait(d, timeout_ms)) {
        code = d->result;
    } else {
        code = RD_KAFKA_RESP_ERR__TIMED_OUT;
    }
    delivery_unref(d);
    return publish_result(q, name, code, err);
}

rd_kafka_t *kafka_new_producer(struct queue *q, struct store_err *err)
{
    char why[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(q->producer_conf);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    if (rk)
        return rk;
    rd_kafka_conf_destroy(conf);
    store_err_set(err, STORE_INVALID, "the kafka settings make no producer: %s", why);
    return NULL;
}

/* Fails what is still under way, so that nobody waits in vain. */
void kafka_end_producer(rd_kafka_t *rk)
{
    uint64_t until_ms = clock_mono_ms() + PURGE_WAIT_MS;
    rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (rd_kafka_outq_len(rk) > 0 && clock_mono_ms() < until_ms)
        rd_kafka_poll(rk, 10);
    rd_kafka_destroy(rk);
}

/* After a fatal error, such as a lost sequence, an idempotent producer never sends again. Its
 * messages fail, and are published again under the same ids. */
static void replace_producer(struct queue *q)
{
    struct store_err err = {0};
    rd_kafka_t *fresh = kafka_new_producer(q, &err);
    if (!fresh) {
        log_error("kafka producer not replaced", LOG_ERR(&err));
        return;
    }
    pthread_rwlock_wrlock(&q->producer_lock);
    rd_kafka_t *old = q->producer;
    q->producer = fresh;
    pthread_rwlock_unlock(&q->producer_lock);
    kafka_end_producer(old);
    atomic_store(&q->producer_fatal, false);
    log_warn("kafka producer replaced after a fatal error");
}

/* Recovery makes no noise of its own while nothing is read or written, so ask for it. */
static void probe(struct queue *q)
{
    const struct rd_kafka_metadata *md;
    if (queue_has_brokers(q) || rd_kafka_metadata(q->producer, 0, NULL, &md, PROBE_WAIT_MS))
        return;
    rd_kafka_metadata_destroy(md);
    kafka_heard(q);
}

void *kafka_publish_loop(void *arg)
{
    struct queue *q = arg;
    uint64_t next_probe_ms = 0;
    while (!atomic_load(&q->end_publishing)) {
        rd_kafka_poll(q->producer, QUEUE_POLL_MS);
        if (atomic_load(&q->producer_fatal))
            replace_producer(q);
        if (clock_mono_ms() >= next_probe_ms) {
            probe(q);
            next_probe_ms = clock_mono_ms() + PROBE_EVERY_MS;
        }
    }
    kafka_end_producer(q->producer);
    return NULL;
}
