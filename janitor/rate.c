#include "janitor/rate.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <store/store.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "epufs/scope.h"

enum { TENANTS = 512, MAX_WAIT_MS = 60000, WAYS = 4 };

struct bucket {
    char tenant[ID_SIZE]; /* "" in the one for all, and where there is none */
    double debt;          /* objects; what is below 0 is credit, at most a second's */
    uint64_t at_ms;       /* when debt was right */
};

struct rate {
    uint64_t all_per_s, tenant_per_s;
    pthread_mutex_t lock; /* guards the buckets */
    struct bucket all;
    struct bucket tenants[TENANTS]; /* in sets of WAYS: the one that was idle longest makes room */
};

struct rate *rate_new(uint64_t all_per_s, uint64_t tenant_per_s)
{
    struct rate *r = xcalloc(1, sizeof(*r));
    r->all_per_s = all_per_s;
    r->tenant_per_s = tenant_per_s;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void rate_free(struct rate *r)
{
    if (!r)
        return;
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static struct bucket *bucket_of(struct rate *r, const char *tenant, uint64_t now_ms)
{
    size_t h = 5381;
    for (const char *c = tenant; *c; c++)
        h = h * 33 + (unsigned char)*c;
    struct bucket *set = &r->tenants[h % (TENANTS / WAYS) * WAYS], *oldest = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (strcmp(set[i].tenant, tenant) == 0)
            return &set[i];
        if (set[i].at_ms < oldest->at_ms)
            oldest = &set[i];
    }
    *oldest = (struct bucket){.debt = -(double)r->tenant_per_s, .at_ms = now_ms};
    text_copy(oldest->tenant, sizeof(oldest->tenant), tenant);
    return oldest;
}

static uint64_t take(struct bucket *b, uint64_t per_s, uint64_t n, uint64_t now_ms)
{
    if (!per_s)
        return 0;
    b->debt -= (double)(now_ms - b->at_ms) * (double)per_s / 1000;
    if (b->debt < -(double)per_s)
        b->debt = -(double)per_s;
    b->debt += (double)n;
    b->at_ms = now_ms;
    return b->debt > 0 ? (uint64_t)(b->debt * 1000 / (double)per_s) + 1 : 0;
}

uint32_t rate_take(struct rate *r, const char *tenant, uint64_t n, uint64_t now_ms)
{
    pthread_mutex_lock(&r->lock);
    uint64_t all_ms = take(&r->all, r->all_per_s, n, now_ms);
    uint64_t own_ms = take(bucket_of(r, tenant, now_ms), r->tenant_per_s, n, now_ms);
    pthread_mutex_unlock(&r->lock);
    uint64_t wait_ms = all_ms > own_ms ? all_ms : own_ms;
    return (uint32_t)(wait_ms < MAX_WAIT_MS ? wait_ms : MAX_WAIT_MS);
}

uint32_t rate_batches(const struct rate *r)
{
    uint64_t least = r->all_per_s;
    if (r->tenant_per_s && (!least || r->tenant_per_s < least))
        least = r->tenant_per_s;
    if (!least)
        return 0;
    uint64_t batches = least / STORE_MAX_BATCH;
    return batches > 8 ? 8 : batches ? (uint32_t)batches : 1;
}
