/* queue_kafka.h - what the queue_kafka*.c files share, which are the only ones that know
 * librdkafka:
 *
 *   queue_kafka.c          opening, closing, status
 *   queue_kafka_conf.c     the settings of both sides
 *   queue_kafka_publish.c  the producer and its thread
 *   queue_kafka_consume.c  the consumer and its thread: hand out, pause, commit, rebalance
 *   queue_kafka_read.c     reading a whole topic, outside the group */
#ifndef JANITOR_QUEUE_KAFKA_H
#define JANITOR_QUEUE_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "janitor/queue.h"
#include "janitor/watermark.h"

enum { QUEUE_POLL_MS = 100 }; /* how long a thread waits for events before it looks around */

/* One partition that this member has. Guarded by queue.lock. */
struct part {
    int32_t id;
    int64_t asked; /* position of the latest commit that was not refused; -1: none */
    struct watermark mark;
};

struct queue {
    /* Constant after queue_open(). */
    void (*on_message)(void *user, struct queue_msg *m);
    void *user;
    uint32_t max_outstanding;
    char *topics[3];                /* by enum queue_topic */
    rd_kafka_t *consumer;           /* NULL: only publishing */
    rd_kafka_conf_t *producer_conf; /* for further producers */
    rd_kafka_conf_t *reader_conf;   /* for queue_read_all(); NULL: consuming */
    pthread_t consume_thread, publish_thread;
    bool started; /* the consuming thread */

    /* The consuming thread's. */
    bool paused;
    uint64_t next_commit_ms;
    uint32_t commit_wait_ms;
    bool commit_answered;

    /* The publishing thread replaces the producer; publishers hold the lock for reading. */
    pthread_rwlock_t producer_lock;
    rd_kafka_t *producer;
    atomic_bool producer_fatal, end_publishing;

    /* Anybody's, under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t handed;
    struct part *parts;
    bool consuming;       /* messages may be handed out */
    bool handing;         /* one is being handed out */
    uint64_t close_at_ms; /* 0: not closing */
    bool outage_logged;
    struct queue_status status;
};

/* queue_kafka.c */
void kafka_heard(struct queue *q); /* a broker answered */
void kafka_note(struct queue *q, rd_kafka_resp_err_t code, const char *reason);

/* queue_kafka_conf.c: each returns NULL with *err set (STORE_INVALID) for a refused setting. */
rd_kafka_conf_t *kafka_producer_conf(struct queue *q, const struct queue_conf *c,
                                     struct store_err *err);
rd_kafka_conf_t *kafka_consumer_conf(struct queue *q, const struct queue_conf *c,
                                     struct store_err *err);
rd_kafka_conf_t *kafka_reader_conf(struct queue *q, const struct queue_conf *c,
                                   struct store_err *err);

/* queue_kafka_publish.c */
void kafka_on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *user);
rd_kafka_t *kafka_new_producer(struct queue *q, struct store_err *err);
void kafka_end_producer(rd_kafka_t *rk); /* fails what is still under way, and destroys it */
void *kafka_publish_loop(void *queue);   /* a thread; ends the producer */

/* queue_kafka_consume.c */
void kafka_on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err,
                        rd_kafka_topic_partition_list_t *list, void *user);
void kafka_on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
                     void *user);
void *kafka_consume_loop(void *queue); /* a thread; leaves the group at its end */
size_t kafka_header_count(const rd_kafka_message_t *rk);
/* What librdkafka's message says, its headers in an array of as many; all of it points into rk. */
void kafka_fill_message(const rd_kafka_message_t *rk, struct event_header *headers,
                        struct queue_msg *m);

#endif
