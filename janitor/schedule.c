#include "janitor/schedule.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/xalloc.h"

enum { BUCKETS = 4096 };

struct heap {
    struct job **jobs; /* jobs[0 .. n): the earliest first */
    size_t n, cap;
};

struct schedule {
    size_t max_open;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t changed[LANES];
    struct heap lanes[LANES];
    struct job *table[BUCKETS];
    size_t n_open;
    bool stop;
};

/* ---- Heaps ---- */

static void heap_push(struct heap *h, struct job *job)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 64;
        h->jobs = xrealloc(h->jobs, h->cap * sizeof(struct job *));
    }
    size_t at = h->n++;
    for (; at > 0 && h->jobs[(at - 1) / 2]->due_ms > job->due_ms; at = (at - 1) / 2)
        h->jobs[at] = h->jobs[(at - 1) / 2];
    h->jobs[at] = job;
}

static struct job *heap_pop(struct heap *h)
{
    struct job *first = h->jobs[0], *last = h->jobs[--h->n];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->jobs[child + 1]->due_ms < h->jobs[child]->due_ms)
            child++;
        if (h->jobs[child]->due_ms >= last->due_ms)
            break;
        h->jobs[at] = h->jobs[child];
        at = child;
    }
    if (h->n)
        h->jobs[at] = last;
    return first;
}

/* ---- Life ---- */

struct schedule *schedule_new(size_t max_open)
{
    struct schedule *s = xcalloc(1, sizeof(*s));
    pthread_condattr_t attr;
    s->max_open = max_open;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    for (int i = 0; i < LANES; i++)
        pthread_cond_init(&s->changed[i], &attr);
    pthread_condattr_destroy(&attr);
    return s;
}

void schedule_free(struct schedule *s)
{
    for (int i = 0; i < LANES; i++) {
        while (s->lanes[i].n)
            job_free(heap_pop(&s->lanes[i]));
        free(s->lanes[i].jobs);
        pthread_cond_destroy(&s->changed[i]);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void schedule_add(struct schedule *s, struct job *job)
{
    pthread_mutex_lock(&s->lock);
    enum lane lane = job->lane; /* another worker may have it once the lock is gone */
    heap_push(&s->lanes[lane], job);
    pthread_cond_signal(&s->changed[lane]);
    pthread_mutex_unlock(&s->lock);
}

struct job *schedule_take(struct schedule *s, enum lane lane)
{
    struct heap *h = &s->lanes[lane];
    struct job *job = NULL;
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        uint64_t now_ms = clock_mono_ms();
        if (h->n == 0) {
            pthread_cond_wait(&s->changed[lane], &s->lock);
        } else if (h->jobs[0]->due_ms > now_ms) {
            uint64_t due_ms = h->jobs[0]->due_ms;
            const struct timespec until = {(time_t)(due_ms / 1000),
                                           (long)(due_ms % 1000) * 1000000};
            pthread_cond_timedwait(&s->changed[lane], &s->lock, &until);
        } else {
            job = heap_pop(h);
            if (h->n)
                pthread_cond_signal(&s->changed[lane]); /* for the one that is due next */
            break;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return job;
}

struct job *schedule_take_any(struct schedule *s)
{
    struct job *job = NULL;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < LANES && !job; i++)
        job = s->lanes[i].n ? heap_pop(&s->lanes[i]) : NULL;
    pthread_mutex_unlock(&s->lock);
    return job;
}

void schedule_stop(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    for (int i = 0; i < LANES; i++)
        pthread_cond_broadcast(&s->changed[i]);
    pthread_mutex_unlock(&s->lock);
}

bool schedule_stopping(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    bool stop = s->stop;
    pthread_mutex_unlock(&s->lock);
    return stop;
}

/* ---- The table ---- */

static struct job **bucket(struct schedule *s, const char *job_id)
{
    unsigned h = 5381;
    for (; *job_id; job_id++)
        h = h * 33 + (unsigned char)*job_id;
    return &s->table[h % BUCKETS];
}

static struct job *find(struct schedule *s, const char *job_id)
{
    struct job *j = *bucket(s, job_id);
    while (j && strcmp(j->d.job_id, job_id) != 0)
        j = j->next_same;
    return j;
}

bool schedule_knows(struct schedule *s, const char *job_id)
{
    pthread_mutex_lock(&s->lock);
    bool known = find(s, job_id) != NULL;
    pthread_mutex_unlock(&s->lock);
    return known;
}

void schedule_settle(struct schedule *s, struct job *job)
{
    pthread_mutex_lock(&s->lock);
    job->settled = true;
    pthread_mutex_unlock(&s->lock);
}

bool schedule_settled(struct schedule *s, const char *job_id)
{
    pthread_mutex_lock(&s->lock);
    const struct job *job = find(s, job_id);
    bool settled = job && job->settled;
    pthread_mutex_unlock(&s->lock);
    return settled;
}

bool schedule_enter(struct schedule *s, struct job *job, bool *full)
{
    pthread_mutex_lock(&s->lock);
    *full = s->n_open >= s->max_open;
    bool enter = !*full && !find(s, job->d.job_id);
    if (enter) {
        struct job **b = bucket(s, job->d.job_id);
        job->next_same = *b;
        job->listed = true;
        *b = job;
        s->n_open++;
    }
    pthread_mutex_unlock(&s->lock);
    return enter;
}

void schedule_leave(struct schedule *s, struct job *job)
{
    pthread_mutex_lock(&s->lock);
    for (struct job **at = bucket(s, job->d.job_id); job->listed && *at; at = &(*at)->next_same)
        if (*at == job) {
            *at = job->next_same;
            job->listed = false;
            s->n_open--;
            break;
        }
    pthread_mutex_unlock(&s->lock);
}

void schedule_status(struct schedule *s, struct schedule_status *out)
{
    *out = (struct schedule_status){0};
    pthread_mutex_lock(&s->lock);
    out->accepting = s->lanes[LANE_ACCEPT].n;
    for (size_t i = 0; i < BUCKETS; i++)
        for (const struct job *j = s->table[i]; j; j = j->next_same) {
            out->open[j->d.scope.kind]++;
            int64_t at_s = j->d.accepted_at_s;
            if (!out->oldest_accepted_at_s || at_s < out->oldest_accepted_at_s)
                out->oldest_accepted_at_s = at_s;
        }
    pthread_mutex_unlock(&s->lock);
}
