#include "libstore/gate.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

enum {
    FIRST_BOUND = 8,    /* requests under way at once, at the start */
    MAX_BOUND = 100000, /* where it stops to grow */
    FULL_WAIT_MS = 5,   /* until somebody's answer may have come */
    MAX_WAIT_MS = 10000,
    /* What Amazon allows each prefix ("Best practices design patterns"): the first guess when a
     * store throttles before it was seen to do anything. */
    USUAL_RATE = 3500,
    MIN_RATE = 20,
    LATE_MS = 50,         /* whoever comes late may make up for so much */
    MAX_GAP_MS = 1000,    /* between answers; what is longer is no demand */
    LONG_CALM_MS = 60000, /* after so long without a SlowDown batches may be large again */
    LARGE_BATCH = 1000,
    SMALL_BATCH = 250,
    SLICE_MS = 500, /* what was done is counted in slices */
    SLICES = 8,
    GROWTH_DOUBLING_MS = 1500, /* after so long without a SlowDown the rate grows twice as fast */
};

static const double cut = 0.04;            /* of the rate, for a SlowDown */
static const double growth_per_s = 0.007;  /* of the rate, right after a SlowDown */
static const double max_growth_per_s = 1;  /* of the rate */
static const double growth_headroom = 2.0; /* a rate that is not made use of does not grow */

struct slice {
    uint64_t number; /* now_ms / SLICE_MS */
    uint64_t keys;
};

struct gate {
    pthread_mutex_t lock;
    /* Under lock. */
    uint32_t under_way, bound; /* requests; the bound is for slow start */
    uint64_t first_ms;         /* the first question; 0: none yet */
    struct slice done[SLICES];
    bool paced;              /* the store has asked to slow down */
    double rate;             /* keys per second */
    double next_ms;          /* when the next request may go */
    uint64_t calm_ms;        /* with answers, since the last SlowDown that counted */
    uint64_t answered_ms;    /* the last answer */
    uint32_t sent_before_it; /* requests under way then: their SlowDowns tell nothing new */
};

struct gate *gate_new(void)
{
    struct gate *g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    pthread_mutex_init(&g->lock, NULL);
    g->bound = FIRST_BOUND;
    return g;
}

void gate_free(struct gate *g)
{
    if (!g)
        return;
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* ---- What the store was seen to do ---- */

static void count_done(struct gate *g, uint32_t keys, uint64_t now_ms)
{
    uint64_t number = now_ms / SLICE_MS;
    struct slice *s = &g->done[number % SLICES];
    if (s->number != number)
        *s = (struct slice){.number = number};
    s->keys += keys;
}

/* Keys per second over the last whole slices; 0: it is too early to tell. */
static double rate_done(const struct gate *g, uint64_t now_ms)
{
    uint64_t now = now_ms / SLICE_MS, oldest = now - (SLICES - 1), keys = 0;
    if (g->first_ms / SLICE_MS >= oldest)
        return 0;
    for (size_t i = 0; i < SLICES; i++)
        if (g->done[i].number >= oldest && g->done[i].number < now)
            keys += g->done[i].keys;
    return (double)keys * 1000 / (SLICE_MS * (SLICES - 1));
}

/* ---- Asking ---- */

static uint32_t ask_paced(struct gate *g, uint32_t keys, uint64_t now_ms)
{
    double now = (double)now_ms;
    if (g->next_ms > now) {
        double wait = g->next_ms - now + 1;
        return wait > MAX_WAIT_MS ? MAX_WAIT_MS : (uint32_t)wait;
    }
    if (g->next_ms < now - LATE_MS)
        g->next_ms = now - LATE_MS;
    g->next_ms += keys * 1000 / g->rate;
    return 0;
}

uint32_t gate_ask(struct gate *g, uint32_t keys, uint64_t now_ms)
{
    pthread_mutex_lock(&g->lock);
    if (!g->first_ms)
        g->first_ms = now_ms;
    uint32_t wait_ms;
    if (g->paced)
        wait_ms = ask_paced(g, keys, now_ms);
    else
        wait_ms = g->under_way < g->bound ? 0 : FULL_WAIT_MS;
    if (wait_ms == 0)
        g->under_way++;
    pthread_mutex_unlock(&g->lock);
    return wait_ms;
}

uint32_t gate_batch(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    bool small = g->paced && g->calm_ms < LONG_CALM_MS;
    pthread_mutex_unlock(&g->lock);
    return small ? SMALL_BATCH : LARGE_BATCH;
}

/* ---- Reports ---- */

static void grow(struct gate *g, uint32_t keys, uint64_t now_ms)
{
    if (!g->paced) {
        if (g->bound < MAX_BOUND)
            g->bound++;
        return;
    }
    double seen = rate_done(g, now_ms);
    if (seen > 0 && g->rate > growth_headroom * seen)
        return;
    double calm = (double)g->calm_ms / GROWTH_DOUBLING_MS;
    double growth = growth_per_s * (1 + calm * calm);
    if (growth > max_growth_per_s)
        growth = max_growth_per_s;
    g->rate += growth * keys; /* keys / rate is the time that they stand for */
}

static void brake(struct gate *g, uint64_t now_ms)
{
    double rate = g->rate * (1 - cut);
    if (!g->paced) {
        double seen = rate_done(g, now_ms);
        rate = seen > USUAL_RATE ? seen : USUAL_RATE;
        g->paced = true;
        g->next_ms = (double)now_ms;
    }
    g->rate = rate < MIN_RATE ? MIN_RATE : rate;
    g->calm_ms = 0;
    g->sent_before_it = g->under_way;
}

/* Time without requests is no sign of content. Threads may come with times in another order. */
static void count_calm(struct gate *g, uint64_t now_ms)
{
    if (now_ms <= g->answered_ms)
        return;
    uint64_t passed_ms = now_ms - g->answered_ms;
    g->calm_ms += passed_ms < MAX_GAP_MS ? passed_ms : MAX_GAP_MS;
    g->answered_ms = now_ms;
}

void gate_report(struct gate *g, uint32_t keys, uint64_t now_ms, enum gate_outcome how)
{
    pthread_mutex_lock(&g->lock);
    g->under_way--;
    count_calm(g, now_ms);
    bool stale = g->sent_before_it > 0;
    if (stale)
        g->sent_before_it--;
    if (how == GATE_DONE) {
        count_done(g, keys, now_ms);
        grow(g, keys, now_ms);
    } else if (how == GATE_THROTTLED && !stale) {
        brake(g, now_ms);
    }
    pthread_mutex_unlock(&g->lock);
}
