/* Dead letters. Whatever cannot be one as it came (too large for the broker, without a key where
 * the topic is compacted, refused by it for any other reason) goes into the bucket, and a small
 * message names it: nothing may hold a partition up for ever. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "epufs/intent.h"
#include "janitor/janitor.h"

enum {
    OWN_HEADERS = 7,
    MAX_HEADERS = 64,
    PUBLISH_TIMEOUT_MS = 10000,
    MAX_PUBLISH_TRIES = 5, /* with brokers at hand; then it goes into the bucket */
    MAX_POINTER_TRIES = 10,
    PER_S = 100, /* an outage must not pour everything into the topic */
    BURST = 1000,
    WAIT_MS = 200,
};

uint32_t dead_letter_wait_ms(struct janitor *j)
{
    pthread_mutex_lock(&j->letters.lock);
    uint64_t now_ms = clock_mono_ms(), passed_ms = now_ms - j->letters.at_ms;
    double tokens = j->letters.tokens + (double)passed_ms * PER_S / 1000;
    if (!j->letters.at_ms || tokens > BURST)
        tokens = BURST;
    bool free_now = tokens >= 1;
    j->letters.tokens = free_now ? tokens - 1 : tokens;
    j->letters.at_ms = now_ms;
    pthread_mutex_unlock(&j->letters.lock);
    return free_now ? 0 : WAIT_MS;
}

/* ---- As it came ---- */

static struct event_header text_header(const char *name, const char *value)
{
    return (struct event_header){name, value, strlen(value)};
}

/* What became of the message, as headers in front of its own. */
struct reason {
    const struct queue_msg *m;
    const char *class, *error;
    char partition[16], offset[24], tries[16];
    char place[JOB_ID_SIZE + 32];     /* what its key in the bucket would end in */
    char stored_key[LAYOUT_KEY_SIZE]; /* "": not in the bucket */
};

static size_t put_headers(const struct reason *r, struct event_header headers[OWN_HEADERS])
{
    size_t n = 0;
    headers[n++] = text_header("dlq-topic", r->m->topic);
    headers[n++] = text_header("dlq-partition", r->partition);
    headers[n++] = text_header("dlq-offset", r->offset);
    headers[n++] = text_header("dlq-class", r->class);
    headers[n++] = text_header("dlq-error", r->error);
    headers[n++] = text_header("dlq-attempts", r->tries);
    if (*r->stored_key)
        headers[n++] = text_header("dlq-stored", r->stored_key);
    return n;
}

static int publish_raw(struct janitor *j, const struct reason *r, struct store_err *err)
{
    const struct queue_msg *m = r->m;
    struct event_header headers[OWN_HEADERS + MAX_HEADERS];
    size_t n = put_headers(r, headers);
    if (m->n_headers > MAX_HEADERS)
        return store_err_set(err, STORE_INVALID, "dead letter: %zu headers; expected at most %d",
                             m->n_headers, MAX_HEADERS);
    for (size_t i = 0; i < m->n_headers; i++)
        headers[n++] = m->headers[i];
    return queue_publish(j->queue, QUEUE_DEADLETTER, m->key, m->key_len, m->value, m->value_len,
                         headers, n, PUBLISH_TIMEOUT_MS, err);
}

/* ---- In the bucket ---- */

/* null for bytes that are not there. */
static json_t *base64_json(const char *bytes, size_t n)
{
    if (!bytes)
        return json_null();
    char *text = xmalloc(n / 3 * 4 + 5);
    base64_encode(bytes, n, text);
    json_t *v = json_string(text);
    free(text);
    return v;
}

static json_t *headers_json(const struct queue_msg *m)
{
    json_t *all = json_array();
    for (size_t i = 0; i < m->n_headers; i++) {
        json_t *one = json_object();
        bool ok =
            intent_put_text(one, "name", m->headers[i].name) &&
            intent_put(one, "value_base64", base64_json(m->headers[i].value, m->headers[i].len)) &&
            json_array_append(all, one) == 0;
        json_decref(one);
        if (!ok) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static int letter_json(const struct reason *r, struct buf *out)
{
    const struct queue_msg *m = r->m;
    json_t *o = json_object();
    bool ok = intent_put(o, "schema", json_integer(1)) && intent_put_text(o, "topic", m->topic) &&
              intent_put(o, "partition", json_integer(m->partition)) &&
              intent_put(o, "offset", json_integer(m->offset)) &&
              intent_put_text(o, "class", r->class) && intent_put_text(o, "error", r->error) &&
              intent_put(o, "key_base64", base64_json(m->key, m->key_len)) &&
              intent_put(o, "value_base64", base64_json(m->value, m->value_len)) &&
              intent_put(o, "headers", headers_json(m));
    return intent_dump(o, ok, out);
}

/* The key follows from where the message was: stored again it is the same object. */
static int store_letter(struct janitor *j, store_loop *loop, struct reason *r,
                        struct store_err *err)
{
    static const struct store_put_opts opts = {.content_type = "application/json"};
    struct buf text = BUF_INIT(SIZE_MAX);
    char key[LAYOUT_KEY_SIZE];
    snprintf(key, sizeof(key), LAYOUT_DEAD_LETTERS "%.250s/%s", r->m->topic, r->place);
    int rc = letter_json(r, &text);
    if (rc != 0)
        rc = store_err_set(err, STORE_NO_MEMORY, "dead letter %.150s: out of memory", key);
    else
        rc = store_sync_put(j->store, loop, key, text.data, text.len, &opts, NULL, NULL, err);
    buf_cleanup(&text);
    if (rc == 0)
        text_copy(r->stored_key, sizeof(r->stored_key), key);
    return rc;
}

/* With a key always, for compacted topics. */
static int publish_pointer(struct janitor *j, const struct reason *r, struct store_err *err)
{
    struct event_header headers[OWN_HEADERS];
    struct buf text = BUF_INIT(4096);
    size_t n = put_headers(r, headers);
    json_t *o = json_object();
    bool ok =
        intent_put(o, "schema", json_integer(1)) && intent_put_text(o, "stored", r->stored_key);
    int rc = intent_dump(o, ok, &text);
    if (rc != 0)
        rc = store_err_set(err, STORE_NO_MEMORY, "dead letter: out of memory");
    else
        rc = queue_publish(j->queue, QUEUE_DEADLETTER, r->stored_key, strlen(r->stored_key),
                           text.data, text.len, headers, n, PUBLISH_TIMEOUT_MS, err);
    buf_cleanup(&text);
    return rc;
}

/* Again when it is refused: a broker refuses the whole batch for one message in it, such as one
 * without a key. */
static int tell_of_stored(struct janitor *j, const struct reason *r, struct store_err *err)
{
    int rc = publish_pointer(j, r, err);
    for (int tries = 1; rc != 0 && err->code == STORE_INVALID && tries < MAX_POINTER_TRIES; tries++)
        rc = publish_pointer(j, r, err);
    return rc;
}

/* ---- The whole ---- */

static int bury(struct janitor *j, store_loop *loop, struct reason *r, unsigned attempts,
                struct store_err *err)
{
    struct store_err why;
    snprintf(r->partition, sizeof(r->partition), "%d", r->m->partition);
    snprintf(r->offset, sizeof(r->offset), "%lld", (long long)r->m->offset);
    snprintf(r->tries, sizeof(r->tries), "%u", attempts);
    int rc = publish_raw(j, r, err);
    bool hopeless = rc != 0 && (err->code == STORE_INVALID ||
                                (attempts >= MAX_PUBLISH_TRIES && queue_has_brokers(j->queue)));
    if (hopeless)
        rc = store_letter(j, loop, r, err);
    if (rc != 0)
        return -1;
    if (hopeless && tell_of_stored(j, r, &why) != 0)
        log_error("a dead letter is in the bucket, and cannot be published",
                  LOG_S("key", r->stored_key), LOG_ERR(&why));
    metric_add(&j->metrics.dead_letters, 1);
    return 0;
}

int dead_letter(struct janitor *j, store_loop *loop, const struct queue_msg *m,
                enum event_class class, const char *error, unsigned attempts, struct store_err *err)
{
    struct reason r = {.m = m, .class = event_class_name(class), .error = error};
    snprintf(r.place, sizeof(r.place), "%d-%020lld", m->partition, (long long)m->offset);
    return bury(j, loop, &r, attempts, err);
}

int dead_letter_job(struct janitor *j, store_loop *loop, const struct job *job, const char *error,
                    struct store_err *err)
{
    static const char type[] = "application/cloudevents+json";
    struct event_header header = {"content-type", type, sizeof(type) - 1};
    struct buf text = BUF_INIT(65536);
    char id[JOB_ID_SIZE + 16];
    snprintf(id, sizeof(id), "exhausted:%s", job->d.job_id);
    int rc = event_request(&job->d, id, j->source, &text);
    const struct queue_msg m = {
        .topic = j->conf->deletions_topic,
        .partition = -1, /* the message itself is long done with */
        .offset = -1,
        .key = job->d.scope.tenant,
        .key_len = strlen(job->d.scope.tenant),
        .value = text.data,
        .value_len = text.len,
        .headers = &header,
        .n_headers = 1,
    };
    struct reason r = {.m = &m, .class = event_class_name(EVENT_EXHAUSTED), .error = error};
    snprintf(r.place, sizeof(r.place), "job-%s", job->d.job_id);
    if (rc != 0)
        store_err_set(err, STORE_NO_MEMORY, "dead letter: out of memory");
    else
        rc = bury(j, loop, &r, job->failures + 1, err);
    buf_cleanup(&text);
    return rc;
}
