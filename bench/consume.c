/* consume - a bare consumer of Kafka: the floor for whoever does something with the messages.
 *
 *     consume BROKERS TOPIC GROUP COUNT
 *
 * Takes COUNT messages as a new member of the group, from the beginning, stores the offset of each,
 * commits once a second, and at the end waits for the last commit. The clock runs from the first
 * message to then. Prints one line of JSON (program.h). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <librdkafka/rdkafka.h>

#include "bench/program.h"

enum { MAX_COUNT = 100 * 1000 * 1000, POLL_MS = 100, PATIENCE_POLLS = 600 };
enum { COMMIT_EVERY_US = 1000 * 1000 };

static void die(const char *what, const char *why)
{
    fprintf(stderr, "consume: %s: %s\n", what, why);
    exit(1);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[200];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) != RD_KAFKA_CONF_OK)
        die(name, why);
}

static rd_kafka_t *join(const char *brokers, const char *topic, const char *group)
{
    char why[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", brokers);
    set(conf, "group.id", group);
    set(conf, "auto.offset.reset", "earliest");
    set(conf, "enable.auto.commit", "false");
    set(conf, "enable.auto.offset.store", "false");
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (!rk)
        die("no consumer", why);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (code)
        die("subscribe", rd_kafka_err2str(code));
    return rk;
}

static void commit(rd_kafka_t *rk, int async)
{
    rd_kafka_resp_err_t code = rd_kafka_commit(rk, NULL, async);
    if (code && code != RD_KAFKA_RESP_ERR__NO_OFFSET)
        die("commit", rd_kafka_err2str(code));
}

/* The next message; while the group forms there is none for a while. */
static rd_kafka_message_t *next_message(rd_kafka_t *rk)
{
    for (int i = 0; i < PATIENCE_POLLS; i++) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, POLL_MS);
        if (m && !m->err)
            return m;
        if (m)
            rd_kafka_message_destroy(m);
    }
    die("no message", "none came for a minute");
    return NULL;
}

static void take(rd_kafka_t *rk)
{
    rd_kafka_message_t *m = next_message(rk);
    rd_kafka_resp_err_t code = rd_kafka_offset_store(m->rkt, m->partition, m->offset);
    if (code)
        die("offset", rd_kafka_err2str(code));
    rd_kafka_message_destroy(m);
}

static void consume(rd_kafka_t *rk, uint64_t count)
{
    take(rk);
    struct usage began = usage_now();
    uint64_t committed_us = began.wall_us;
    for (uint64_t i = 1; i < count; i++) {
        take(rk);
        if (i % 256 == 0 && usage_now().wall_us - committed_us >= COMMIT_EVERY_US) {
            commit(rk, 1);
            committed_us = usage_now().wall_us;
        }
    }
    commit(rk, 0);
    usage_print(began, count);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "Usage: consume BROKERS TOPIC GROUP COUNT\n");
        return 2;
    }
    uint64_t count = program_number("consume", argv[4], MAX_COUNT);
    rd_kafka_t *rk = join(argv[1], argv[2], argv[3]);
    consume(rk, count);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return 0;
}
