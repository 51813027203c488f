#include "janitor/guard.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/xalloc.h"

struct guard {
    size_t max;
    uint64_t window_ms;
    pthread_mutex_t lock; /* guards what follows */
    size_t next, n;
    uint64_t times_ms[]; /* a ring of the latest max: times_ms[next] is the oldest of them */
};

struct guard *guard_new(size_t max_tenants, uint64_t window_ms)
{
    struct guard *g = xcalloc(1, sizeof(*g) + max_tenants * sizeof(g->times_ms[0]));
    g->max = max_tenants;
    g->window_ms = window_ms;
    pthread_mutex_init(&g->lock, NULL);
    return g;
}

void guard_free(struct guard *g)
{
    if (!g)
        return;
    pthread_mutex_destroy(&g->lock);
    free(g);
}

bool guard_holds(struct guard *g, uint64_t now_ms)
{
    pthread_mutex_lock(&g->lock);
    bool holds = g->max && g->n == g->max && now_ms - g->times_ms[g->next] < g->window_ms;
    pthread_mutex_unlock(&g->lock);
    return holds;
}

void guard_count(struct guard *g, uint64_t now_ms)
{
    pthread_mutex_lock(&g->lock);
    if (g->max) {
        g->times_ms[g->next] = now_ms;
        g->next = (g->next + 1) % g->max;
        g->n += g->n < g->max;
    }
    pthread_mutex_unlock(&g->lock);
}
