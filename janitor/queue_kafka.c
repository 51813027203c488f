#include "janitor/queue_kafka.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"

enum {
    COMMIT_WAIT_MS = 5000, /* for the commit of partitions that are taken away */
    DEFAULT_OUTSTANDING = 1000,
};

/* ---- Status ---- */

void kafka_heard(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool was_up = q->status.brokers_up;
    q->status.brokers_up = true;
    q->outage_logged = false;
    pthread_mutex_unlock(&q->lock);
    if (!was_up)
        log_info("kafka brokers answer");
}

/* One of several connections: normal life, unless it is all of them. */
static bool only_a_connection(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__RESOLVE;
}

/* During an outage librdkafka repeats itself, so an outage is logged once. */
void kafka_note(struct queue *q, rd_kafka_resp_err_t code, const char *reason)
{
    char text[sizeof(q->status.last_error)];
    bool all_down = code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
    snprintf(text, sizeof(text), "%s: %s", rd_kafka_err2name(code), reason);
    pthread_mutex_lock(&q->lock);
    bool news = all_down ? !q->outage_logged : !only_a_connection(code);
    snprintf(q->status.last_error, sizeof(q->status.last_error), "%s", text);
    if (all_down) {
        q->status.brokers_up = false;
        q->outage_logged = true;
    }
    pthread_mutex_unlock(&q->lock);
    LOG_AT(news ? LOG_WARN : LOG_DEBUG, "kafka error", LOG_S("error", text));
}

void queue_status(struct queue *q, struct queue_status *out)
{
    pthread_mutex_lock(&q->lock);
    *out = q->status;
    pthread_mutex_unlock(&q->lock);
}

/* ---- Open and close ---- */

void queue_stop_consuming(struct queue *q)
{
    bool own_thread = q->consumer && pthread_equal(pthread_self(), q->consume_thread);
    pthread_mutex_lock(&q->lock);
    q->consuming = false;
    while (q->handing && !own_thread)
        pthread_cond_wait(&q->handed, &q->lock);
    pthread_mutex_unlock(&q->lock);
}

static int check_conf(const struct queue_conf *c, struct store_err *err)
{
    if (!c->brokers || !*c->brokers)
        return store_err_set(err, STORE_INVALID, "no kafka brokers were given");
    if (!c->deletions_topic || !c->completions_topic || !c->deadletter_topic)
        return store_err_set(err, STORE_INVALID, "a kafka topic has no name");
    if (!c->consume)
        return 0;
    if (!c->group || !*c->group)
        return store_err_set(err, STORE_INVALID, "no kafka consumer group was given");
    if (c->deletions_topic[0] == '^')
        return store_err_set(err, STORE_INVALID,
                             "the deletions topic '%s' is a pattern; expected one topic",
                             c->deletions_topic);
    return 0;
}

static int new_consumer(struct queue *q, const struct queue_conf *c, struct store_err *err)
{
    char why[200];
    rd_kafka_conf_t *conf = kafka_consumer_conf(q, c, err);
    if (!conf)
        return -1;
    q->consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (!q->consumer) {
        rd_kafka_conf_destroy(conf);
        return store_err_set(err, STORE_INVALID, "the kafka settings make no consumer: %s", why);
    }
    rd_kafka_poll_set_consumer(q->consumer);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, c->deletions_topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(q->consumer, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (code)
        return store_err_set(err, STORE_INVALID, "kafka topic '%s': %s", c->deletions_topic,
                             rd_kafka_err2str(code));
    return 0;
}

static struct queue *queue_new(const struct queue_conf *c)
{
    struct queue *q = xcalloc(1, sizeof(*q));
    q->on_message = c->message;
    q->user = c->user;
    q->max_outstanding = c->max_outstanding ? c->max_outstanding : DEFAULT_OUTSTANDING;
    q->topics[QUEUE_DELETIONS] = xstrdup(c->deletions_topic);
    q->topics[QUEUE_COMPLETIONS] = xstrdup(c->completions_topic);
    q->topics[QUEUE_DEADLETTER] = xstrdup(c->deadletter_topic);
    q->consuming = c->consume;
    q->commit_wait_ms = COMMIT_WAIT_MS;
    pthread_rwlock_init(&q->producer_lock, NULL);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->handed, NULL);
    return q;
}

static void queue_free(struct queue *q)
{
    /* A consumer that could not leave its group waits, even when it is destroyed, for the answer to
     * its latest commit: up to a session's time-out. It is left to the end of the process. */
    if (q->consumer && (!q->started || rd_kafka_consumer_closed(q->consumer)))
        rd_kafka_destroy_flags(q->consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    if (q->producer_conf)
        rd_kafka_conf_destroy(q->producer_conf);
    if (q->reader_conf)
        rd_kafka_conf_destroy(q->reader_conf);
    for (size_t i = 0; i < LEN(q->topics); i++)
        free(q->topics[i]);
    free(q->parts);
    pthread_rwlock_destroy(&q->producer_lock);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->handed);
    free(q);
}

static int start_threads(struct queue *q, struct store_err *err)
{
    int rc = pthread_create(&q->publish_thread, NULL, kafka_publish_loop, q);
    if (rc) {
        kafka_end_producer(q->producer);
        return store_err_errno(err, rc, "starting the publishing thread");
    }
    if (!q->consumer)
        return 0;
    rc = pthread_create(&q->consume_thread, NULL, kafka_consume_loop, q);
    if (rc) {
        atomic_store(&q->end_publishing, true);
        pthread_join(q->publish_thread, NULL);
        return store_err_errno(err, rc, "starting the consuming thread");
    }
    q->started = true;
    return 0;
}

int queue_open(const struct queue_conf *conf, struct queue **out, struct store_err *err)
{
    if (check_conf(conf, err))
        return -1;
    struct queue *q = queue_new(conf);
    if (!(q->producer_conf = kafka_producer_conf(q, conf, err)) ||
        (conf->consume ? new_consumer(q, conf, err) != 0
                       : !(q->reader_conf = kafka_reader_conf(q, conf, err))) ||
        !(q->producer = kafka_new_producer(q, err)) || start_threads(q, err)) {
        queue_free(q);
        return -1;
    }
    *out = q;
    return 0;
}

void queue_close(struct queue *q, uint32_t timeout_ms)
{
    queue_stop_consuming(q);
    pthread_mutex_lock(&q->lock);
    assert(q->status.outstanding == 0);
    q->close_at_ms = clock_mono_ms() + timeout_ms + 1; /* never 0 */
    pthread_mutex_unlock(&q->lock);
    if (q->consumer)
        pthread_join(q->consume_thread, NULL);
    atomic_store(&q->end_publishing, true);
    pthread_join(q->publish_thread, NULL);
    queue_free(q);
}
