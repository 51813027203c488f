#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "janitor/queue_kafka.h"

enum { READ_POLL_MS = 100 };

struct reading {
    const char *name; /* the topic's */
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    uint32_t timeout_ms;
    uint64_t until_ms;
    bool (*fn)(void *user, const struct queue_msg *m);
    void *user;
    bool stopped; /* fn wants no more */
};

struct part_range {
    int64_t begin, end; /* offsets: the first, and behind the last */
};

static int left_ms(const struct reading *r)
{
    uint64_t now_ms = clock_mono_ms();
    return now_ms < r->until_ms ? (int)(r->until_ms - now_ms) : 1;
}

static enum store_code code_of(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART: return STORE_NOT_FOUND;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION: return STORE_DENIED;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE: return STORE_BUSY;
    default: return STORE_FAILED;
    }
}

static int fail(const struct reading *r, rd_kafka_resp_err_t code, struct store_err *err)
{
    enum store_code kind = code_of(code);
    return store_err_set(err, kind, "reading topic '%s': %s%s", r->name,
                         kind == STORE_BUSY ? "no broker answers: " : "", rd_kafka_err2str(code));
}

static void hand_over(struct reading *r, const rd_kafka_message_t *rk)
{
    struct queue_msg m;
    struct event_header *headers = xcalloc(kafka_header_count(rk) + 1, sizeof(*headers));
    kafka_fill_message(rk, headers, &m);
    r->stopped = !r->fn(r->user, &m);
    free(headers);
}

/* One message of the partition, or its end. Offsets may have gaps, so what ends it is either a
 * message behind which nothing was, or the broker's word that there is none. */
static int take(struct reading *r, rd_kafka_message_t *rk, int64_t end, bool *over,
                struct store_err *err)
{
    int rc = 0;
    if (rk->err == RD_KAFKA_RESP_ERR__PARTITION_EOF || (!rk->err && rk->offset >= end)) {
        *over = true;
    } else if (rk->err) {
        rc = fail(r, rk->err, err);
    } else {
        hand_over(r, rk);
        *over = r->stopped || rk->offset + 1 >= end;
    }
    rd_kafka_message_destroy(rk);
    return rc;
}

static int timed_out(const struct reading *r, int32_t partition, const struct part_range *p,
                     struct store_err *err)
{
    return store_err_set(err, STORE_TIMEOUT,
                         "reading topic '%s': partition %d was not read up to offset %lld within "
                         "%u ms",
                         r->name, partition, (long long)p->end, r->timeout_ms);
}

static int read_partition(struct reading *r, int32_t partition, const struct part_range *p,
                          struct store_err *err)
{
    if (p->begin >= p->end)
        return 0;
    if (rd_kafka_consume_start(r->topic, partition, p->begin) != 0)
        return fail(r, rd_kafka_last_error(), err);
    bool over = false;
    int rc = 0;
    while (rc == 0 && !over) {
        rd_kafka_poll(r->rk, 0);
        rd_kafka_message_t *rk = rd_kafka_consume(r->topic, partition, READ_POLL_MS);
        if (rk)
            rc = take(r, rk, p->end, &over, err);
        if (rc == 0 && !over && clock_mono_ms() >= r->until_ms)
            rc = timed_out(r, partition, p, err);
    }
    rd_kafka_consume_stop(r->topic, partition);
    return rc;
}

/* All ends are asked for before the first message: what fn itself brings about is not read. */
static int read_partitions(struct reading *r, int32_t n, struct store_err *err)
{
    struct part_range *parts = xcalloc((size_t)n, sizeof(*parts));
    int rc = 0;
    for (int32_t i = 0; rc == 0 && i < n; i++) { /* they are numbered from 0 on, without gaps */
        rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
            r->rk, r->name, i, &parts[i].begin, &parts[i].end, left_ms(r));
        if (code)
            rc = fail(r, code, err);
    }
    for (int32_t i = 0; rc == 0 && !r->stopped && i < n; i++)
        rc = read_partition(r, i, &parts[i], err);
    free(parts);
    return rc;
}

static int read_topic(struct reading *r, struct store_err *err)
{
    const struct rd_kafka_metadata *md;
    rd_kafka_resp_err_t code = rd_kafka_metadata(r->rk, 0, r->topic, &md, left_ms(r));
    if (code)
        return fail(r, code, err);
    const struct rd_kafka_metadata_topic *t = md->topic_cnt == 1 ? &md->topics[0] : NULL;
    int32_t n = t && !t->err ? t->partition_cnt : 0;
    code = t && t->err ? t->err : RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    rd_kafka_metadata_destroy(md);
    return n > 0 ? read_partitions(r, n, err) : fail(r, code, err);
}

int queue_read_all(struct queue *q, enum queue_topic topic,
                   bool (*fn)(void *user, const struct queue_msg *m), void *user,
                   uint32_t timeout_ms, struct store_err *err)
{
    char why[200];
    assert(q->reader_conf);
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(q->reader_conf);
    struct reading r = {.name = q->topics[topic],
                        .timeout_ms = timeout_ms,
                        .until_ms = clock_mono_ms() + timeout_ms,
                        .fn = fn,
                        .user = user};
    r.rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (!r.rk) {
        rd_kafka_conf_destroy(conf);
        return store_err_set(err, STORE_FAILED, "kafka reader: %s", why);
    }
    int rc = -1;
    r.topic = rd_kafka_topic_new(r.rk, r.name, NULL);
    if (r.topic)
        rc = read_topic(&r, err);
    else
        fail(&r, rd_kafka_last_error(), err);
    if (r.topic)
        rd_kafka_topic_destroy(r.topic);
    rd_kafka_destroy(r.rk);
    return rc;
}
