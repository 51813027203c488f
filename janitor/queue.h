/* queue.h - what the janitor needs of a message queue. The queue_kafka*.c files are the only ones
 * that know librdkafka.
 *
 * A queue has two threads of its own, which never block: one polls the consumer, the other the
 * producer, so that a delivery report does not wait for a fetch. Messages of the deletions topic
 * are handed out one by one, many may be outstanding, and each is given back with queue_done() by
 * whatever thread took care of it. A partition's offset is stored, and so committed, only up to the
 * first message that has not been given back: what was handed out but not done is delivered again
 * after a crash. At most max_outstanding messages are out at a time; past that the partitions are
 * paused. Lost or late partitions: queue_done() for a message of an assignment that has been
 * revoked is only a free(). */
#ifndef JANITOR_QUEUE_H
#define JANITOR_QUEUE_H

#include "base/options.h"
#include "janitor/event.h"

struct queue;

struct queue_msg {
    struct queue *queue;
    const char *topic;
    int32_t partition;
    int64_t offset;
    const char *key, *value; /* NULL: none; not NUL-terminated */
    size_t key_len, value_len;
    struct event_header *headers;
    size_t n_headers;
    void *handle; /* the implementation's own */
};

struct queue_conf {
    const char *brokers; /* bootstrap servers, host:port[,host:port…] */
    const char *group;
    const char *deletions_topic, *completions_topic, *deadletter_topic;
    uint32_t max_outstanding;
    uint32_t session_timeout_ms;
    const char *const *extra; /* NULL-terminated "name=value" for librdkafka, or "consumer.name=…",
                                 "producer.name=…" for one side; names that the janitor relies on
                                 are refused, as is what librdkafka does not know */
    const struct option_entry *settings; /* the same, as the options "kafka.NAME" give it; NULL or
                                            ended by one without a name. For a setting that is a
                                            secret also NAME_file: the file that it stands in */
    bool consume;                        /* false: only publish */
    /* A message to take care of. On the queue's thread: must not block. The message is the
     * receiver's until queue_done(). */
    void (*message)(void *user, struct queue_msg *m);
    void *user;
};

enum queue_topic { QUEUE_DELETIONS, QUEUE_COMPLETIONS, QUEUE_DEADLETTER };

struct queue_status {
    bool brokers_up;      /* the last thing heard from the brokers was not an outage */
    uint32_t partitions;  /* assigned */
    uint32_t outstanding; /* handed out and not done */
    uint64_t consumed, published, publish_failures, rebalances;
    char last_error[200];
};

/* Whether each setting is known, allowed and, if it is to come from a file, there: -1 with
 * STORE_INVALID otherwise. That they go together is seen by queue_open() only. */
int queue_check_settings(const struct queue_conf *conf, struct store_err *err);
/* Does not need a broker to be up. Returns -1 with STORE_INVALID for a refused setting. The first
 * message may come before this returns; it knows its queue. */
int queue_open(const struct queue_conf *conf, struct queue **out, struct store_err *err);
/* Any thread. The message and what it points to are gone after this. */
void queue_done(struct queue_msg *m);
/* Gives it back without its being taken care of, at a shutdown: neither it nor what follows it in
 * its partition is committed any more, so it is delivered again. */
void queue_abandon(struct queue_msg *m);
/* librdkafka gives a message up after this time; whoever waits less than that for its report may
 * see it delivered later all the same, which deterministic ids make harmless. */
enum { QUEUE_MESSAGE_TIMEOUT_MS = 5000 };

/* Publishes and waits for the delivery report, at most timeout_ms. Any thread but the queue's.
 * Returns -1 with STORE_BUSY (not confirmed: publish it again under the same id) or
 * STORE_INVALID (refused for good, such as too large). */
int queue_publish(struct queue *q, enum queue_topic topic, const char *key, size_t key_len,
                  const char *value, size_t value_len, const struct event_header *headers,
                  size_t n_headers, uint32_t timeout_ms, struct store_err *err);
/* Reads a topic from its beginning to its end as of now, partition by partition in the order of
 * their offsets, as a member of no group: nothing is committed, nobody else notices. Each message
 * is fn's for the call (without a handle: never to be given back); fn returns false to stop. Only
 * for a queue that was opened without consume, on any thread but the queue's. timeout_ms bounds all
 * of it, fn too. Returns 0, or -1 with STORE_BUSY (no broker answers), STORE_NOT_FOUND (there is no
 * such topic), STORE_DENIED, STORE_TIMEOUT (the end was not reached) or STORE_FAILED. */
int queue_read_all(struct queue *q, enum queue_topic topic,
                   bool (*fn)(void *user, const struct queue_msg *m), void *user,
                   uint32_t timeout_ms, struct store_err *err);
void queue_status(struct queue *q, struct queue_status *out); /* any thread */
static inline bool queue_has_brokers(struct queue *q)         /* any thread */
{
    struct queue_status s;
    queue_status(q, &s);
    return s.brokers_up;
}
/* No message is handed out after this returns; queue_done() and queue_publish() still work. */
void queue_stop_consuming(struct queue *q);
/* Commits what is done, leaves the group, ends the threads, frees. All messages must have been
 * given back, and nobody be publishing. Bounded by timeout_ms; librdkafka's part of a consumer that
 * could not leave in time is left to the end of the process. */
void queue_close(struct queue *q, uint32_t timeout_ms);

#endif
