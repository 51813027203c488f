#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/queue_kafka.h"

enum {
    PAUSED_POLL_MS = 10, /* how soon a pause ends after enough messages came back */
    ROOM_WAIT_MS = 100,  /* for one message to come back, before a pause */
    COMMIT_EVERY_MS = 1000,
};

struct message {
    struct queue_msg pub; /* pub.handle is this struct */
    struct watermark_item item;
    rd_kafka_message_t *rk;
    struct event_header headers[];
};

/* ---- Commits ---- */

static struct part *find_part(struct queue *q, int32_t id)
{
    for (uint32_t i = 0; i < q->status.partitions; i++) {
        if (q->parts[i].id == id)
            return &q->parts[i];
    }
    return NULL;
}

/* The partitions that went on since their latest commit; NULL: none. */
static rd_kafka_topic_partition_list_t *positions_to_commit(struct queue *q)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    pthread_mutex_lock(&q->lock);
    for (uint32_t i = 0; i < q->status.partitions; i++) {
        struct part *p = &q->parts[i];
        int64_t position = watermark_position(&p->mark);
        if (position < 0 || position == p->asked)
            continue;
        if (!list)
            list = rd_kafka_topic_partition_list_new((int)q->status.partitions);
        rd_kafka_topic_partition_list_add(list, q->topics[QUEUE_DELETIONS], p->id)->offset =
            position;
        p->asked = position;
    }
    pthread_mutex_unlock(&q->lock);
    return list;
}

/* A commit that was refused is asked for again; should the partition be gone by then, its next
 * owner only repeats work. */
void kafka_on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
                     void *user)
{
    (void)rk;
    struct queue *q = user;
    rd_kafka_resp_err_t worst = err;
    pthread_mutex_lock(&q->lock);
    for (int i = 0; list && i < list->cnt; i++) {
        struct part *p = find_part(q, list->elems[i].partition);
        rd_kafka_resp_err_t one = err ? err : list->elems[i].err;
        if (!one)
            continue;
        worst = one;
        if (p)
            p->asked = -1;
    }
    pthread_mutex_unlock(&q->lock);
    if (worst)
        kafka_note(q, worst, "an offset commit was refused");
    else
        kafka_heard(q);
}

static void on_awaited_commit(rd_kafka_t *rk, rd_kafka_resp_err_t err,
                              rd_kafka_topic_partition_list_t *list, void *user)
{
    struct queue *q = user;
    kafka_on_commit(rk, err, list, user);
    q->commit_answered = true;
}

static void commit(struct queue *q)
{
    rd_kafka_topic_partition_list_t *list = positions_to_commit(q);
    if (!list)
        return;
    rd_kafka_resp_err_t code = rd_kafka_commit(q->consumer, list, 1);
    if (code)
        kafka_on_commit(q->consumer, code, list, q);
    rd_kafka_topic_partition_list_destroy(list);
}

/* rd_kafka_commit() itself can wait for as long as a broker is down; a queue of its own cannot.
 * Without brokers it is left out: redelivery costs nothing, and librdkafka would not let go of the
 * partitions before it is answered. */
static void commit_and_wait(struct queue *q, uint32_t wait_ms)
{
    rd_kafka_topic_partition_list_t *list = queue_has_brokers(q) ? positions_to_commit(q) : NULL;
    if (!list)
        return;
    uint64_t until_ms = clock_mono_ms() + wait_ms;
    rd_kafka_queue_t *answers = rd_kafka_queue_new(q->consumer);
    q->commit_answered = false;
    rd_kafka_resp_err_t code =
        rd_kafka_commit_queue(q->consumer, list, answers, on_awaited_commit, q);
    if (code)
        kafka_on_commit(q->consumer, code, list, q);
    while (!code && !q->commit_answered && clock_mono_ms() < until_ms)
        rd_kafka_queue_poll_callback(answers, 10);
    if (!code && !q->commit_answered)
        kafka_note(q, RD_KAFKA_RESP_ERR__TIMED_OUT, "an offset commit was not answered");
    rd_kafka_queue_destroy(answers);
    rd_kafka_topic_partition_list_destroy(list);
}

/* ---- Partitions come and go ---- */

static rd_kafka_topic_partition_list_t *all_parts(struct queue *q)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)q->status.partitions);
    for (uint32_t i = 0; i < q->status.partitions; i++)
        rd_kafka_topic_partition_list_add(list, q->topics[QUEUE_DELETIONS], q->parts[i].id);
    return list;
}

/* Only this thread changes q->parts, so it may read the ids without the lock. */
static void set_paused(struct queue *q, bool paused)
{
    rd_kafka_topic_partition_list_t *list = all_parts(q);
    rd_kafka_resp_err_t code = paused ? rd_kafka_pause_partitions(q->consumer, list)
                                      : rd_kafka_resume_partitions(q->consumer, list);
    if (code)
        kafka_note(q, code, paused ? "pausing failed" : "resuming failed");
    else
        q->paused = paused;
    rd_kafka_topic_partition_list_destroy(list);
}

/* With hysteresis, as each pause throws away what was fetched ahead. */
static bool is_full(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    uint32_t out = q->status.outstanding;
    bool full =
        !q->consuming || (q->paused ? out > q->max_outstanding / 2 : out >= q->max_outstanding);
    pthread_mutex_unlock(&q->lock);
    return full;
}

/* What follows a pause is late by a fetch. As long as messages come back a moment without polling
 * does instead, which is too short for the group to notice. */
static void wait_for_room(struct queue *q)
{
    static const struct timespec moment = {0, 1000000};
    uint64_t until_ms = clock_mono_ms() + ROOM_WAIT_MS;
    while (is_full(q) && clock_mono_ms() < until_ms)
        nanosleep(&moment, NULL);
}

static void pause_or_resume(struct queue *q)
{
    if (!q->paused)
        wait_for_room(q);
    bool full = is_full(q);
    if (full != q->paused)
        set_paused(q, full);
}

static void take_partitions(struct queue *q, const rd_kafka_topic_partition_list_t *list)
{
    assert(!q->parts); /* an eager strategy takes everything away before it gives anew */
    rd_kafka_assign(q->consumer, list);
    struct part *parts = xcalloc((size_t)list->cnt + 1, sizeof(*parts));
    for (int i = 0; i < list->cnt; i++) {
        parts[i].id = list->elems[i].partition;
        parts[i].asked = -1;
        watermark_init(&parts[i].mark);
    }
    pthread_mutex_lock(&q->lock);
    q->parts = parts;
    q->status.partitions = (uint32_t)list->cnt;
    q->status.rebalances++;
    pthread_mutex_unlock(&q->lock);
    /* librdkafka keeps a partition paused when it goes and comes back, so say what holds now. */
    set_paused(q, q->paused);
    kafka_heard(q);
    log_info("kafka partitions assigned", LOG_I("partitions", list->cnt));
}

static void drop_partitions(struct queue *q, bool lost)
{
    if (!lost)
        commit_and_wait(q, q->commit_wait_ms);
    pthread_mutex_lock(&q->lock);
    for (uint32_t i = 0; i < q->status.partitions; i++)
        watermark_abandon(&q->parts[i].mark);
    free(q->parts);
    q->parts = NULL;
    q->status.partitions = 0;
    pthread_mutex_unlock(&q->lock);
    rd_kafka_assign(q->consumer, NULL);
    log_info("kafka partitions revoked", LOG_B("lost", lost));
}

void kafka_on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err,
                        rd_kafka_topic_partition_list_t *list, void *user)
{
    struct queue *q = user;
    if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        take_partitions(q, list);
        return;
    }
    drop_partitions(q, rd_kafka_assignment_lost(rk));
    if (err != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
        kafka_note(q, err, "rebalance");
}

/* ---- Consuming ---- */

size_t kafka_header_count(const rd_kafka_message_t *rk)
{
    rd_kafka_headers_t *list;
    return rd_kafka_message_headers(rk, &list) ? 0 : rd_kafka_header_cnt(list);
}

void kafka_fill_message(const rd_kafka_message_t *rk, struct event_header *headers,
                        struct queue_msg *m)
{
    rd_kafka_headers_t *list = NULL;
    size_t n = rd_kafka_message_headers(rk, &list) ? 0 : rd_kafka_header_cnt(list);
    *m = (struct queue_msg){
        .topic = rd_kafka_topic_name(rk->rkt),
        .partition = rk->partition,
        .offset = rk->offset,
        .key = rk->key,
        .key_len = rk->key_len,
        .value = rk->payload,
        .value_len = rk->len,
        .headers = headers,
        .n_headers = n,
    };
    for (size_t i = 0; i < n; i++) {
        const void *value = NULL;
        rd_kafka_header_get_all(list, i, &headers[i].name, &value, &headers[i].len);
        headers[i].value = value;
    }
}

static struct message *message_new(struct queue *q, rd_kafka_message_t *rk)
{
    size_t n = kafka_header_count(rk);
    struct message *m = xcalloc(1, sizeof(*m) + n * sizeof(m->headers[0]));
    m->rk = rk;
    kafka_fill_message(rk, m->headers, &m->pub);
    m->pub.queue = q;
    m->pub.handle = m;
    return m;
}

/* Returns whether it may go out. It is dropped only when its partition is gone, or nothing is
 * handed out any more: never when a later one could still move the watermark past it. */
static bool register_message(struct queue *q, struct message *m)
{
    pthread_mutex_lock(&q->lock);
    struct part *p = find_part(q, m->pub.partition);
    bool ok = p && q->consuming;
    if (ok) {
        watermark_out(&p->mark, &m->item, m->pub.offset);
        q->status.outstanding++;
        q->status.consumed++;
        q->handing = true;
    }
    pthread_mutex_unlock(&q->lock);
    return ok;
}

static void take_message(struct queue *q, rd_kafka_message_t *rk)
{
    if (rk->err) {
        kafka_note(q, rk->err, rd_kafka_message_errstr(rk));
        rd_kafka_message_destroy(rk);
        return;
    }
    struct message *m = message_new(q, rk);
    if (!register_message(q, m)) {
        rd_kafka_message_destroy(rk);
        free(m);
        return;
    }
    kafka_heard(q);
    q->on_message(q->user, &m->pub);
    pthread_mutex_lock(&q->lock);
    q->handing = false;
    pthread_cond_broadcast(&q->handed);
    pthread_mutex_unlock(&q->lock);
}

static void take_back(struct queue_msg *msg, void (*mark)(struct watermark_item *item))
{
    struct message *m = msg->handle;
    struct queue *q = msg->queue;
    pthread_mutex_lock(&q->lock);
    mark(&m->item);
    q->status.outstanding--;
    pthread_mutex_unlock(&q->lock);
    rd_kafka_message_destroy(m->rk);
    free(m);
}

void queue_done(struct queue_msg *msg)
{
    take_back(msg, watermark_back);
}

void queue_abandon(struct queue_msg *msg)
{
    take_back(msg, watermark_give_up);
}

static uint64_t close_deadline_ms(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    uint64_t at_ms = q->close_at_ms;
    pthread_mutex_unlock(&q->lock);
    return at_ms;
}

/* Closing revokes the partitions, and that commits. */
static void leave_group(struct queue *q, uint64_t until_ms)
{
    uint64_t now_ms = clock_mono_ms();
    uint64_t left_ms = until_ms > now_ms ? until_ms - now_ms : 0;
    if (left_ms < 2 * (uint64_t)q->commit_wait_ms)
        q->commit_wait_ms = (uint32_t)(left_ms / 2);
    rd_kafka_queue_t *events = rd_kafka_queue_get_consumer(q->consumer);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(q->consumer, events);
    while (!error && !rd_kafka_consumer_closed(q->consumer) && clock_mono_ms() < until_ms) {
        rd_kafka_message_t *rk = rd_kafka_consumer_poll(q->consumer, 10);
        if (rk)
            rd_kafka_message_destroy(rk);
    }
    if (error)
        log_warn("kafka consumer not closed", LOG_S("error", rd_kafka_error_string(error)));
    rd_kafka_error_destroy(error);
    rd_kafka_queue_destroy(events);
}

void *kafka_consume_loop(void *arg)
{
    struct queue *q = arg;
    uint64_t until_ms;
    while (!(until_ms = close_deadline_ms(q))) {
        pause_or_resume(q);
        rd_kafka_message_t *rk =
            rd_kafka_consumer_poll(q->consumer, q->paused ? PAUSED_POLL_MS : QUEUE_POLL_MS);
        if (rk)
            take_message(q, rk);
        if (clock_mono_ms() >= q->next_commit_ms) {
            commit(q);
            q->next_commit_ms = clock_mono_ms() + COMMIT_EVERY_MS;
        }
    }
    leave_group(q, until_ms);
    return NULL;
}
