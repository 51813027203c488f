/* The queue against librdkafka's MOCK cluster, in this process: real sockets and the real protocol
 * on the client's side, but no Kafka. Its groups rebalance by a clock of their own, so this takes
 * some seconds. tests/integration has what needs a real broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/queue.h"

enum { PARTITIONS = 4, MAX_SEEN = 1000, WAIT_MS = 20000, API_PRODUCE = 0, API_OFFSET_COMMIT = 8 };

static rd_kafka_t *host; /* the mock cluster lives in it */
static rd_kafka_mock_cluster_t *cluster;
static int group_number;

/* ---- A cluster with fresh topics for each test ---- */

static char group[32], deletions[32];

static int start_cluster(void **state)
{
    (void)state;
    char why[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, NULL); /* it complains of having no servers of its own */
    host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    cluster = host ? rd_kafka_mock_cluster_new(host, 1) : NULL;
    if (!cluster)
        return -1;
    rd_kafka_mock_topic_create(cluster, "completions", 1, 1);
    rd_kafka_mock_topic_create(cluster, "deadletter", 1, 1);
    return 0;
}

static int stop_cluster(void **state)
{
    (void)state;
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(host);
    return 0;
}

static int fresh_topic(void **state)
{
    (void)state;
    group_number++;
    snprintf(group, sizeof(group), "group-%d", group_number);
    snprintf(deletions, sizeof(deletions), "deletions-%d", group_number);
    rd_kafka_mock_topic_create(cluster, deletions, PARTITIONS, 1);
    rd_kafka_mock_clear_request_errors(cluster, API_PRODUCE);
    rd_kafka_mock_clear_request_errors(cluster, API_OFFSET_COMMIT);
    rd_kafka_mock_broker_set_up(cluster, -1);
    return 0;
}

/* ---- A receiver that keeps what it gets ---- */

struct receiver {
    pthread_mutex_t lock;
    struct queue_msg *out[MAX_SEEN]; /* handed out and kept; NULL: given back */
    int n_out, most_out, seen[MAX_SEEN], n_seen;
};

#define RECEIVER_INIT                     \
    {                                     \
        .lock = PTHREAD_MUTEX_INITIALIZER \
    }

/* The value is the message's number. */
static void receive(void *user, struct queue_msg *m)
{
    struct receiver *r = user;
    char text[16] = "";
    memcpy(text, m->value, m->value_len < 15 ? m->value_len : 15);
    pthread_mutex_lock(&r->lock);
    assert_true(r->n_seen < MAX_SEEN);
    r->seen[r->n_seen] = atoi(text);
    r->out[r->n_seen++] = m;
    if (++r->n_out > r->most_out)
        r->most_out = r->n_out;
    pthread_mutex_unlock(&r->lock);
}

static int seen(struct receiver *r)
{
    pthread_mutex_lock(&r->lock);
    int n = r->n_seen;
    pthread_mutex_unlock(&r->lock);
    return n;
}

/* Gives back what is out, except message `keep` (-1: everything). */
static void give_back(struct receiver *r, int keep)
{
    struct queue_msg *done[MAX_SEEN];
    int n = 0;
    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < r->n_seen; i++) {
        if (!r->out[i] || r->seen[i] == keep)
            continue;
        done[n++] = r->out[i];
        r->out[i] = NULL;
    }
    r->n_out -= n;
    pthread_mutex_unlock(&r->lock);
    while (n > 0)
        queue_done(done[--n]); /* the latest first: the watermark must cope */
}

static void await_seen(struct receiver *r, int n)
{
    uint64_t until_ms = clock_mono_ms() + WAIT_MS;
    while (seen(r) < n && clock_mono_ms() < until_ms)
        usleep(5000);
    assert_true(seen(r) >= n);
}

/* ---- Helpers ---- */

static struct queue_conf conf_for(struct receiver *r, uint32_t max_outstanding)
{
    return (struct queue_conf){
        .brokers = rd_kafka_mock_cluster_bootstraps(cluster),
        .group = group,
        .deletions_topic = deletions,
        .completions_topic = "completions",
        .deadletter_topic = "deadletter",
        .max_outstanding = max_outstanding,
        .session_timeout_ms = 6000,
        .consume = r != NULL,
        .message = receive,
        .user = r,
    };
}

static struct queue *open_queue(struct receiver *r, uint32_t max_outstanding)
{
    struct queue_conf conf = conf_for(r, max_outstanding);
    struct queue *q = NULL;
    struct store_err err = {0};
    if (queue_open(&conf, &q, &err))
        fail_msg("%s", err.msg);
    return q;
}

/* Straight into the log, number by number, spread over the partitions. */
static void write_numbers(int from, int n)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[200], value[16];
    rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(cluster), why,
                      sizeof(why));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    for (int i = from; i < from + n; i++) {
        int len = snprintf(value, sizeof(value), "%d", i);
        assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(deletions),
                                           RD_KAFKA_V_PARTITION(i % PARTITIONS),
                                           RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                           RD_KAFKA_V_VALUE(value, (size_t)len), RD_KAFKA_V_END),
                         0);
    }
    rd_kafka_flush(rk, WAIT_MS);
    assert_int_equal(rd_kafka_outq_len(rk), 0);
    rd_kafka_destroy(rk);
}

/* The sum of the group's committed offsets, over all partitions. */
static int64_t committed(void)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[200];
    rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(cluster), why,
                      sizeof(why));
    rd_kafka_conf_set(conf, "group.id", group, why, sizeof(why));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS);
    for (int i = 0; i < PARTITIONS; i++)
        rd_kafka_topic_partition_list_add(list, deletions, i);
    assert_int_equal(rd_kafka_committed(rk, list, WAIT_MS), 0);
    int64_t sum = 0;
    for (int i = 0; i < PARTITIONS; i++)
        sum += list->elems[i].offset > 0 ? list->elems[i].offset : 0;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return sum;
}

static void await_committed(int64_t sum)
{
    uint64_t until_ms = clock_mono_ms() + WAIT_MS;
    int64_t have;
    while ((have = committed()) != sum && clock_mono_ms() < until_ms)
        usleep(100000);
    assert_int_equal(have, sum);
}

static void assert_all_seen_once(const struct receiver *r, int n)
{
    int times[MAX_SEEN] = {0};
    for (int i = 0; i < r->n_seen; i++)
        times[r->seen[i]]++;
    for (int i = 0; i < n; i++)
        assert_int_equal(times[i], 1);
    assert_int_equal(r->n_seen, n);
}

/* ---- Publishing ---- */

static int publish_text(struct queue *q, enum queue_topic topic, const char *value,
                        uint32_t timeout_ms, struct store_err *err)
{
    return queue_publish(q, topic, "k", 1, value, strlen(value), NULL, 0, timeout_ms, err);
}

static struct queue_msg *the_only_message;

static void keep_one(void *user, struct queue_msg *m)
{
    (void)user;
    __atomic_store_n(&the_only_message, m, __ATOMIC_RELEASE);
}

static void a_message_arrives_as_it_was_sent(void **state)
{
    (void)state;
    static const struct event_header headers[] = {
        {"ce_id", "\0\xff", 2}, {"empty", "", 0}, {"none", NULL, 0}};
    struct queue *q;
    struct store_err err = {0};
    struct receiver unused = RECEIVER_INIT;
    struct queue_conf conf = conf_for(&unused, 10);
    conf.message = keep_one;
    the_only_message = NULL;
    assert_int_equal(queue_open(&conf, &q, &err), 0);
    assert_int_equal(
        queue_publish(q, QUEUE_DELETIONS, "a\0b", 3, NULL, 0, headers, LEN(headers), 10000, &err),
        0);
    struct queue_msg *m = NULL;
    uint64_t until_ms = clock_mono_ms() + WAIT_MS;
    while (!(m = __atomic_load_n(&the_only_message, __ATOMIC_ACQUIRE)) &&
           clock_mono_ms() < until_ms)
        usleep(5000);
    assert_non_null(m);
    assert_string_equal(m->topic, deletions);
    assert_int_equal(m->offset, 0);
    assert_int_equal(m->key_len, 3);
    assert_memory_equal(m->key, "a\0b", 3);
    assert_null(m->value);
    assert_int_equal(m->n_headers, 3);
    assert_string_equal(m->headers[0].name, "ce_id");
    assert_int_equal(m->headers[0].len, 2);
    assert_memory_equal(m->headers[0].value, "\0\xff", 2);
    assert_int_equal(m->headers[1].len, 0);
    assert_null(m->headers[2].value);
    struct queue_status st;
    queue_status(q, &st);
    assert_true(st.brokers_up);
    assert_int_equal(st.partitions, PARTITIONS);
    assert_int_equal(st.outstanding, 1);
    assert_int_equal(st.published, 1);
    assert_int_equal(st.consumed, 1);
    queue_done(m);
    queue_close(q, 5000);
    assert_int_equal(committed(), 1);
}

struct publisher {
    struct queue *q;
    pthread_t thread;
    int failures;
};

static void *publish_many(void *arg)
{
    struct publisher *p = arg;
    struct store_err err;
    for (int i = 0; i < 40; i++)
        p->failures += publish_text(p->q, QUEUE_COMPLETIONS, "x", 10000, &err) != 0;
    return NULL;
}

static void many_threads_publish_at_once(void **state)
{
    (void)state;
    struct queue *q = open_queue(NULL, 0);
    struct publisher publishers[8];
    for (size_t i = 0; i < LEN(publishers); i++) {
        publishers[i] = (struct publisher){.q = q};
        assert_int_equal(pthread_create(&publishers[i].thread, NULL, publish_many, &publishers[i]),
                         0);
    }
    for (size_t i = 0; i < LEN(publishers); i++) {
        pthread_join(publishers[i].thread, NULL);
        assert_int_equal(publishers[i].failures, 0);
    }
    struct queue_status st;
    queue_status(q, &st);
    assert_int_equal(st.published, 320);
    queue_close(q, 1000);
}

static void failures_say_whether_to_try_again(void **state)
{
    (void)state;
    enum { LARGE = 2000000 };
    struct queue *q = open_queue(NULL, 0);
    struct store_err err = {0};
    char *large = xcalloc(1, LARGE);
    assert_int_equal(queue_publish(q, QUEUE_DEADLETTER, NULL, 0, large, LARGE, NULL, 0, 5000, &err),
                     -1);
    print_message("%s\n", err.msg);
    assert_int_equal(err.code, STORE_INVALID);
    free(large);
    /* librdkafka itself tries again after this one. */
    rd_kafka_mock_push_request_errors(cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    assert_int_equal(publish_text(q, QUEUE_COMPLETIONS, "x", 10000, &err), 0);
    rd_kafka_mock_push_request_errors(cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(publish_text(q, QUEUE_COMPLETIONS, "x", 10000, &err), -1);
    print_message("%s\n", err.msg);
    assert_int_equal(err.code, STORE_BUSY);
    struct queue_status st;
    queue_status(q, &st);
    assert_int_equal(st.publish_failures, 2);
    queue_close(q, 1000);
}

static void a_fatal_producer_is_replaced(void **state)
{
    (void)state;
    struct queue *q = open_queue(NULL, 0);
    struct store_err err = {0};
    assert_int_equal(publish_text(q, QUEUE_COMPLETIONS, "x", 10000, &err), 0);
    rd_kafka_mock_push_request_errors(cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_int_equal(publish_text(q, QUEUE_COMPLETIONS, "x", 10000, &err), -1);
    print_message("%s\n", err.msg);
    assert_int_equal(err.code, STORE_BUSY);
    int tries = 0;
    while (publish_text(q, QUEUE_COMPLETIONS, "x", 10000, &err) && ++tries < 50)
        usleep(20000);
    print_message("published again after %d tries\n", tries);
    assert_true(tries < 50);
    queue_close(q, 1000);
}

static void an_outage_ends_by_itself(void **state)
{
    (void)state;
    struct queue *q = open_queue(NULL, 0);
    struct store_err err = {0};
    struct queue_status st = {0};
    assert_int_equal(publish_text(q, QUEUE_COMPLETIONS, "x", 10000, &err), 0);
    rd_kafka_mock_broker_set_down(cluster, -1);
    uint64_t began_ms = clock_mono_ms();
    assert_int_equal(publish_text(q, QUEUE_COMPLETIONS, "x", 500, &err), -1);
    assert_int_equal(err.code, STORE_BUSY);
    assert_true(clock_mono_ms() - began_ms < 2000);
    uint64_t until_ms = clock_mono_ms() + WAIT_MS;
    do
        queue_status(q, &st);
    while (st.brokers_up && clock_mono_ms() < until_ms && usleep(20000) == 0);
    print_message("%s\n", st.last_error);
    assert_false(st.brokers_up);
    assert_true(st.last_error[0] != '\0');
    rd_kafka_mock_broker_set_up(cluster, -1);
    do
        queue_status(q, &st); /* nothing is published meanwhile */
    while (!st.brokers_up && clock_mono_ms() < until_ms && usleep(20000) == 0);
    assert_true(st.brokers_up);
    assert_int_equal(publish_text(q, QUEUE_COMPLETIONS, "x", 10000, &err), 0);
    queue_close(q, 1000);
}

/* ---- Consuming ---- */

static void offsets_wait_for_the_oldest_message(void **state)
{
    (void)state;
    struct receiver r = RECEIVER_INIT;
    write_numbers(0, 40);
    struct queue *q = open_queue(&r, 100);
    await_seen(&r, 40);
    give_back(&r, 8); /* the third of partition 0: 0, 4, [8], 12, … */
    /* The first commit is refused, and must be asked for again. */
    rd_kafka_mock_push_request_errors(cluster, API_OFFSET_COMMIT, 1,
                                      RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    await_committed(30 + 2);
    give_back(&r, -1);
    await_committed(40);
    assert_all_seen_once(&r, 40);
    queue_close(q, 5000);
    assert_int_equal(committed(), 40);
}

/* The broker does not know the member any more: its partitions are lost, and no commit of theirs
 * may follow. What was out is delivered again. */
static void an_evicted_member_starts_over(void **state)
{
    (void)state;
    struct receiver r = RECEIVER_INIT;
    struct queue_status st;
    write_numbers(0, 8);
    struct queue *q = open_queue(&r, 100);
    await_seen(&r, 8);
    rd_kafka_mock_push_request_errors(cluster, API_OFFSET_COMMIT, 1,
                                      RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
    give_back(&r, 0);
    await_seen(&r, 16);
    assert_int_equal(committed(), 0);
    give_back(&r, -1); /* with the one of the lost assignment */
    await_committed(8);
    queue_status(q, &st);
    assert_int_equal(st.outstanding, 0);
    assert_int_equal(st.rebalances, 2);
    queue_close(q, 5000);
}

static void the_number_of_messages_out_is_bounded(void **state)
{
    (void)state;
    struct receiver r = RECEIVER_INIT;
    write_numbers(0, 200);
    struct queue *q = open_queue(&r, 10);
    await_seen(&r, 10);
    usleep(300000);
    assert_int_equal(seen(&r), 10);
    uint64_t until_ms = clock_mono_ms() + 2 * WAIT_MS;
    while (seen(&r) < 200 && clock_mono_ms() < until_ms) {
        give_back(&r, -1);
        usleep(2000);
    }
    give_back(&r, -1);
    assert_int_equal(r.most_out, 10);
    assert_all_seen_once(&r, 200); /* pauses neither lose nor repeat */
    queue_close(q, 5000);
    assert_int_equal(committed(), 200);
}

static void stopping_and_starting_again_loses_nothing(void **state)
{
    (void)state;
    struct receiver first = RECEIVER_INIT, second = RECEIVER_INIT;
    struct store_err err = {0};
    write_numbers(0, 20);
    struct queue *q = open_queue(&first, 10);
    await_seen(&first, 10);
    queue_stop_consuming(q);
    int at_stop = seen(&first);
    give_back(&first, -1);
    assert_int_equal(publish_text(q, QUEUE_COMPLETIONS, "x", 10000, &err), 0);
    usleep(500000);
    assert_int_equal(seen(&first), at_stop);
    queue_close(q, 5000);
    assert_int_equal(committed(), at_stop);
    q = open_queue(&second, 100);
    await_seen(&second, 20 - at_stop);
    give_back(&second, -1);
    queue_close(q, 5000);
    assert_int_equal(seen(&first) + seen(&second), 20);
    assert_int_equal(committed(), 20);
}

/* Partitions move while messages are out and the first member is paused: what it still holds is
 * delivered again to whoever has the partition, and giving the old ones back changes nothing. */
static void a_second_member_joins_and_leaves(void **state)
{
    (void)state;
    struct receiver a = RECEIVER_INIT, b = RECEIVER_INIT;
    struct queue_status st = {0};
    write_numbers(0, 40);
    struct queue *qa = open_queue(&a, 20);
    await_seen(&a, 20); /* paused from here on */
    struct queue *qb = open_queue(&b, 100);
    uint64_t until_ms = clock_mono_ms() + 2 * WAIT_MS;
    do
        queue_status(qb, &st);
    while (st.partitions != PARTITIONS / 2 && clock_mono_ms() < until_ms && usleep(50000) == 0);
    assert_int_equal(st.partitions, PARTITIONS / 2);
    await_seen(&b, 20); /* half of the partitions, from their beginning */
    give_back(&b, -1);
    give_back(&a, -1);
    await_seen(&a, 40); /* the other half, with what was out when it was taken away */
    give_back(&a, -1);
    await_committed(40);
    queue_close(qb, 5000);
    write_numbers(40, 20);
    do {
        give_back(&a, -1);
        queue_status(qa, &st);
    } while ((st.partitions != PARTITIONS || committed() != 60) && clock_mono_ms() < until_ms &&
             usleep(100000) == 0);
    queue_status(qa, &st);
    assert_int_equal(st.partitions, PARTITIONS);
    give_back(&a, -1);
    queue_close(qa, 5000);
    assert_int_equal(committed(), 60);
    bool got[60] = {false};
    for (int i = 0; i < a.n_seen; i++)
        got[a.seen[i]] = true;
    for (int i = 0; i < b.n_seen; i++)
        got[b.seen[i]] = true;
    for (size_t i = 0; i < LEN(got); i++)
        assert_true(got[i]);
}

static void closing_without_a_broker_is_bounded(void **state)
{
    (void)state;
    struct receiver r = RECEIVER_INIT;
    write_numbers(0, 4);
    struct queue *q = open_queue(&r, 100);
    await_seen(&r, 4);
    rd_kafka_mock_broker_set_down(cluster, -1);
    give_back(&r, -1);
    uint64_t began_ms = clock_mono_ms();
    queue_close(q, 1500);
    uint64_t took_ms = clock_mono_ms() - began_ms;
    print_message("closed in %u ms\n", (unsigned)took_ms);
    assert_true(took_ms < 3000);
    rd_kafka_mock_broker_set_up(cluster, -1);
}

/* The commit is under way, and its answer takes longer than there is time. */
static void closing_before_an_answer_is_bounded(void **state)
{
    (void)state;
    struct receiver r = RECEIVER_INIT;
    write_numbers(0, 4);
    struct queue *q = open_queue(&r, 100);
    await_seen(&r, 4);
    rd_kafka_mock_broker_set_rtt(cluster, 1, 10000);
    give_back(&r, -1);
    uint64_t began_ms = clock_mono_ms();
    queue_close(q, 1500);
    uint64_t took_ms = clock_mono_ms() - began_ms;
    print_message("closed in %u ms\n", (unsigned)took_ms);
    assert_in_range(took_ms, 500, 3000);
}

static void a_queue_opens_without_any_broker(void **state)
{
    (void)state;
    struct receiver r = RECEIVER_INIT;
    struct queue_conf conf = conf_for(&r, 1);
    struct queue *q;
    struct store_err err = {0};
    struct queue_status st;
    conf.brokers = "127.0.0.1:1";
    assert_int_equal(queue_open(&conf, &q, &err), 0);
    usleep(300000);
    queue_status(q, &st);
    assert_false(st.brokers_up);
    assert_true(st.last_error[0] != '\0');
    assert_int_equal(publish_text(q, QUEUE_COMPLETIONS, "x", 200, &err), -1);
    assert_int_equal(err.code, STORE_BUSY);
    uint64_t began_ms = clock_mono_ms();
    queue_close(q, 1000);
    assert_true(clock_mono_ms() - began_ms < 5000);
}

/* ---- Reading a whole topic ---- */

struct reader {
    int n, stop_at, write_at;
    int64_t next[PARTITIONS]; /* offset */
    int partition;            /* the latest */
};

static bool read_one(void *user, const struct queue_msg *m)
{
    struct reader *r = user;
    assert_string_equal(m->topic, deletions);
    assert_true(m->partition >= r->partition); /* one after the other */
    assert_int_equal(m->offset, r->next[m->partition]++);
    assert_int_equal(m->n_headers, 0);
    r->partition = m->partition;
    if (++r->n == r->write_at)
        write_numbers(0, 8); /* two into each partition */
    return r->n != r->stop_at;
}

static void a_whole_topic_is_read_outside_the_group(void **state)
{
    (void)state;
    struct store_err err = {0};
    struct queue *q = open_queue(NULL, 0);
    struct reader none = {.n = 0};
    assert_int_equal(queue_read_all(q, QUEUE_DELETIONS, read_one, &none, WAIT_MS, &err), 0);
    assert_int_equal(none.n, 0);
    write_numbers(0, 41);
    for (int i = 0; i < 2; i++) { /* from the beginning each time */
        struct reader all = {.n = 0};
        assert_int_equal(queue_read_all(q, QUEUE_DELETIONS, read_one, &all, WAIT_MS, &err), 0);
        assert_int_equal(all.n, 41);
    }
    struct reader some = {.stop_at = 13};
    assert_int_equal(queue_read_all(q, QUEUE_DELETIONS, read_one, &some, WAIT_MS, &err), 0);
    assert_int_equal(some.n, 13);
    /* What comes meanwhile is not read. */
    struct reader early = {.write_at = 1};
    assert_int_equal(queue_read_all(q, QUEUE_DELETIONS, read_one, &early, WAIT_MS, &err), 0);
    assert_int_equal(early.n, 41);
    assert_int_equal(committed(), 0);
    queue_close(q, 5000);
}

static void reading_without_a_broker_ends_in_time(void **state)
{
    (void)state;
    struct store_err err = {0};
    struct queue *q = open_queue(NULL, 0);
    struct reader r = {.n = 0};
    rd_kafka_mock_broker_set_down(cluster, -1);
    uint64_t began_ms = clock_mono_ms();
    assert_int_equal(queue_read_all(q, QUEUE_DELETIONS, read_one, &r, 1500, &err), -1);
    assert_int_equal(err.code, STORE_BUSY);
    assert_non_null(strstr(err.msg, "no broker answers"));
    assert_in_range(clock_mono_ms() - began_ms, 1000, 10000);
    queue_close(q, 5000);
}

#define TEST(f) cmocka_unit_test_setup(f, fresh_topic)

static const struct CMUnitTest tests[] = {
    TEST(a_message_arrives_as_it_was_sent),
    TEST(many_threads_publish_at_once),
    TEST(failures_say_whether_to_try_again),
    TEST(a_fatal_producer_is_replaced),
    TEST(an_outage_ends_by_itself),
    TEST(offsets_wait_for_the_oldest_message),
    TEST(an_evicted_member_starts_over),
    TEST(the_number_of_messages_out_is_bounded),
    TEST(stopping_and_starting_again_loses_nothing),
    TEST(a_second_member_joins_and_leaves),
    TEST(closing_without_a_broker_is_bounded),
    TEST(closing_before_an_answer_is_bounded),
    TEST(a_queue_opens_without_any_broker),
    TEST(a_whole_topic_is_read_outside_the_group),
    TEST(reading_without_a_broker_ends_in_time),
};

static int run_one(size_t i)
{
    const struct CMUnitTest one[] = {tests[i]};
    return cmocka_run_group_tests_name("queue", one, start_cluster, stop_cluster);
}

/* Most of the time is spent waiting for the mock's rebalances, so each test has a process and a
 * cluster of its own, and all wait together. With an argument: only that test, right here. */
int main(int argc, char **argv)
{
    pid_t children[LEN(tests)];
    int failed = 0;
    log_setup(getenv("QUEUE_TEST_LOG") ? LOG_DEBUG : LOG_ERROR + 1, LOG_TEXT, "test_queue");
    for (size_t i = 0; i < LEN(tests); i++) {
        if (argc > 1 && !strcmp(argv[1], tests[i].name))
            return run_one(i);
    }
    for (size_t i = 0; i < LEN(tests); i++) {
        children[i] = fork();
        if (children[i] < 0)
            return 1;
        if (children[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            exit(run_one(i));
        }
    }
    for (size_t i = 0; i < LEN(tests); i++) {
        int status = 0;
        waitpid(children[i], &status, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fprintf(stderr, "queue: %s failed\n", tests[i].name);
            failed = 1;
        }
    }
    return failed;
}
