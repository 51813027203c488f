#include "libstore/health.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLICE_MS = 5000, /* the minute is counted in slices */
    SLICES = 12,
    ALARM_MIN_REQUESTS = 20,
    DEFAULT_ALARM_PERCENT = 25,
    HEDGE_SHARE = 50, /* one request in so many */
    HEDGE_START = 4,  /* extra requests that a young store may send */
};

struct slice {
    uint64_t number; /* now_ms / SLICE_MS */
    uint64_t requests, failures;
};

struct health {
    char *url;
    void (*on_alarm)(void *user, const struct store_alarm *alarm);
    void *alarm_user;
    uint32_t alarm_percent;

    atomic_uint_fast64_t counts[HEALTH_COUNTERS];

    /* Under lock. */
    pthread_mutex_t lock;
    struct slice slices[SLICES];
    uint64_t requests, failures, forgone;
    uint32_t budget;
    bool alarm;
};

int health_new(const struct store_conf *conf, const char *url, struct health **out,
               struct store_err *err)
{
    if (conf->alarm_percent > 100)
        return store_err_set(err, STORE_INVALID, "alarm_percent %u: expected up to 100",
                             (unsigned)conf->alarm_percent);
    struct health *h = calloc(1, sizeof(*h));
    if (h)
        h->url = strdup(url);
    if (!h || !h->url) {
        free(h);
        return store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
    }
    h->on_alarm = conf->on_alarm;
    h->alarm_user = conf->alarm_user;
    h->alarm_percent = conf->alarm_percent ? conf->alarm_percent : DEFAULT_ALARM_PERCENT;
    h->budget = HEALTH_BUDGET;
    pthread_mutex_init(&h->lock, NULL);
    *out = h;
    return 0;
}

void health_free(struct health *h)
{
    if (!h)
        return;
    pthread_mutex_destroy(&h->lock);
    free(h->url);
    free(h);
}

/* Sums up the slices of the last minute. */
static struct slice last_minute(const struct health *h, uint64_t now_ms)
{
    struct slice sum = {.number = now_ms / SLICE_MS};
    for (size_t i = 0; i < SLICES; i++)
        if (h->slices[i].number + SLICES > sum.number && h->slices[i].number <= sum.number) {
            sum.requests += h->slices[i].requests;
            sum.failures += h->slices[i].failures;
        }
    return sum;
}

static uint32_t percent(const struct slice *s)
{
    return s->requests ? (uint32_t)(100 * s->failures / s->requests) : 0;
}

static void count_try(struct health *h, uint64_t now_ms, bool failed)
{
    uint64_t number = now_ms / SLICE_MS;
    struct slice *s = &h->slices[number % SLICES];
    if (s->number < number) /* a thread that looked at the clock long ago counts for now */
        *s = (struct slice){.number = number};
    s->requests++;
    h->requests++;
    if (failed) {
        s->failures++;
        h->failures++;
    } else if (h->budget < HEALTH_BUDGET) {
        h->budget++;
    }
}

void health_tried(struct health *h, uint64_t now_ms, bool failed)
{
    pthread_mutex_lock(&h->lock);
    count_try(h, now_ms, failed);
    bool changed = false;
    struct store_alarm told = {.url = h->url};
    if (failed || h->alarm) {
        struct slice minute = last_minute(h, now_ms);
        told.error_percent = percent(&minute);
        told.requests = minute.requests;
        if (!h->alarm)
            changed =
                minute.requests >= ALARM_MIN_REQUESTS && told.error_percent >= h->alarm_percent;
        else
            changed = told.error_percent * 2 < h->alarm_percent;
        h->alarm = h->alarm != changed;
        told.raised = h->alarm;
    }
    pthread_mutex_unlock(&h->lock);
    if (changed && h->on_alarm)
        h->on_alarm(h->alarm_user, &told);
}

bool health_may_retry(struct health *h)
{
    pthread_mutex_lock(&h->lock);
    bool may = h->budget >= HEALTH_RETRY_COST;
    if (may)
        h->budget -= HEALTH_RETRY_COST;
    else
        h->forgone++;
    pthread_mutex_unlock(&h->lock);
    if (may)
        health_count(h, HEALTH_RETRY);
    return may;
}

void health_count(struct health *h, enum health_counter c)
{
    atomic_fetch_add_explicit(&h->counts[c], 1, memory_order_relaxed);
}

static uint64_t counted(struct health *h, enum health_counter c)
{
    return atomic_load_explicit(&h->counts[c], memory_order_relaxed);
}

bool health_may_hedge(struct health *h)
{
    pthread_mutex_lock(&h->lock);
    bool may = counted(h, HEALTH_HEDGE) < HEDGE_START + h->requests / HEDGE_SHARE;
    if (may)
        health_count(h, HEALTH_HEDGE);
    pthread_mutex_unlock(&h->lock);
    return may;
}

void health_stats(struct health *h, uint64_t now_ms, struct store_stats *out)
{
    pthread_mutex_lock(&h->lock);
    struct slice minute = last_minute(h, now_ms);
    *out = (struct store_stats){
        .requests = h->requests,
        .failures = h->failures,
        .retries_forgone = h->forgone,
        .error_percent = percent(&minute),
        .alarm = h->alarm,
    };
    pthread_mutex_unlock(&h->lock);
    out->retries = counted(h, HEALTH_RETRY);
    out->throttled = counted(h, HEALTH_THROTTLED);
    out->hedges = counted(h, HEALTH_HEDGE);
    out->hedges_won = counted(h, HEALTH_HEDGE_WON);
    out->credential_errors = counted(h, HEALTH_CREDENTIAL_ERROR);
}
