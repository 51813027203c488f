#include "janitor/schedule.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/xalloc.h"

enum { BUCKETS = 4096 };

struct heap {
    struct job **jobs;
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

/* ---- Heaps: jobs[1 .. n], the earliest first; a job's slot is its index ---- */

static void heap_place(struct heap *h, size_t slot, struct job *job)
{
    h->jobs[slot] = job;
    job->slot = slot;
}

static void heap_up(struct heap *h, size_t slot, struct job *job)
{
    for (; slot > 1 && h->jobs[slot / 2]->due_ms > job->due_ms; slot /= 2)
        heap_place(h, slot, h->jobs[slot / 2]);
    heap_place(h, slot, job);
}

static void heap_down(struct heap *h, size_t slot, struct job *job)
{
    for (;;) {
        size_t child = 2 * slot;
        if (child > h->n)
            break;
        if (child < h->n && h->jobs[child + 1]->due_ms < h->jobs[child]->due_ms)
            child++;
        if (h->jobs[child]->due_ms >= job->due_ms)
            break;
        heap_place(h, slot, h->jobs[child]);
        slot = child;
    }
    heap_place(h, slot, job);
}

static void heap_push(struct heap *h, struct job *job)
{
    if (h->n + 1 >= h->cap) {
        h->cap = h->cap ? h->cap * 2 : 64;
        h->jobs = xrealloc(h->jobs, h->cap * sizeof(struct job *));
    }
    heap_up(h, ++h->n, job);
}

static struct job *heap_pop(struct heap *h)
{
    struct job *first = h->jobs[1], *last = h->jobs[h->n--];
    first->slot = 0;
    if (h->n)
        heap_down(h, 1, last);
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
        } else if (h->jobs[1]->due_ms > now_ms) {
            uint64_t due_ms = h->jobs[1]->due_ms;
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

bool schedule_crowded(struct schedule *s, enum lane lane)
{
    const struct heap *h = &s->lanes[lane];
    pthread_mutex_lock(&s->lock);
    bool crowded = h->n > 0 && h->jobs[1]->due_ms <= clock_mono_ms();
    pthread_mutex_unlock(&s->lock);
    return crowded;
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

/* Moves a job that waits to the front of its lane. */
static void hurry(struct schedule *s, struct job *job)
{
    struct heap *h = &s->lanes[job->lane];
    if (!job->slot)
        return;
    job->due_ms = 0;
    heap_up(h, job->slot, job);
    pthread_cond_signal(&s->changed[job->lane]);
}

static void poke(struct schedule *s, struct job *job)
{
    job->poked = true;
    hurry(s, job);
}

bool schedule_poke(struct schedule *s, const char *job_id, const char *etag)
{
    pthread_mutex_lock(&s->lock);
    struct job *job = find(s, job_id);
    bool changed = job && (!etag || (*job->etag && strcmp(job->etag, etag) != 0));
    if (changed)
        poke(s, job);
    pthread_mutex_unlock(&s->lock);
    return job != NULL;
}

bool schedule_poked(struct schedule *s, struct job *job, bool take)
{
    pthread_mutex_lock(&s->lock);
    bool poked = job->poked;
    if (take)
        job->poked = false;
    pthread_mutex_unlock(&s->lock);
    return poked;
}

void schedule_update(struct schedule *s, struct job *job, const struct deletion *d,
                     const char *etag)
{
    pthread_mutex_lock(&s->lock);
    job->d = *d;
    text_copy(job->etag, sizeof(job->etag), etag);
    pthread_mutex_unlock(&s->lock);
}

void schedule_close(struct schedule *s, struct job *job, bool closing)
{
    pthread_mutex_lock(&s->lock);
    job->closing = closing;
    pthread_mutex_unlock(&s->lock);
}

enum schedule_cover schedule_covers(struct schedule *s, const struct deletion *d)
{
    enum schedule_cover cover = COVER_NONE;
    pthread_mutex_lock(&s->lock);
    const struct job *job = find(s, d->job_id);
    if (job && (job->closing || deletion_is_closing(&job->d))) {
        cover = COVER_CLOSING;
    } else if (job && job->d.accepted_at_s && deletion_is_fenced(d)) {
        struct deletion open = job->d;
        if (!deletion_merge(&open, d, 0))
            cover = COVER_ALL;
    }
    pthread_mutex_unlock(&s->lock);
    return cover;
}

/* The id of the job that would remove all of the scope. */
static void wider_id(const struct scope *scope, enum scope_kind kind, char job_id[JOB_ID_SIZE])
{
    struct deletion d = {.scope = *scope};
    d.scope.kind = kind;
    d.scope.endpoint[0] = '\0';
    if (kind == SCOPE_TENANT)
        d.scope.timeline[0] = '\0';
    deletion_set_job_id(&d);
    memcpy(job_id, d.job_id, JOB_ID_SIZE);
}

bool schedule_wider(struct schedule *s, const struct job *job, char job_id[JOB_ID_SIZE])
{
    bool found = false;
    for (int kind = SCOPE_TENANT; kind < (int)job->d.scope.kind && !found; kind++) {
        wider_id(&job->d.scope, (enum scope_kind)kind, job_id);
        pthread_mutex_lock(&s->lock);
        const struct job *wide = find(s, job_id);
        found = wide && wide->d.state == DELETION_OPEN && wide->d.accepted_at_s;
        pthread_mutex_unlock(&s->lock);
    }
    return found;
}

enum schedule_entry schedule_enter(struct schedule *s, struct job *job)
{
    pthread_mutex_lock(&s->lock);
    struct job *known = find(s, job->d.job_id);
    enum schedule_entry entry = known                      ? SCHEDULE_KNOWN
                                : s->n_open >= s->max_open ? SCHEDULE_FULL
                                                           : SCHEDULE_ENTERED;
    if (known)
        poke(s, known);
    if (entry == SCHEDULE_ENTERED) {
        struct job **b = bucket(s, job->d.job_id);
        job->next_same = *b;
        job->listed = true;
        *b = job;
        s->n_open++;
    }
    pthread_mutex_unlock(&s->lock);
    return entry;
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

size_t schedule_n_open(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->n_open;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void schedule_status(struct schedule *s, struct schedule_status *out)
{
    uint64_t now_ms = clock_mono_ms();
    *out = (struct schedule_status){0};
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < LANES; i++)
        for (size_t k = 1; k <= s->lanes[i].n; k++)
            out->due[i] += s->lanes[i].jobs[k]->due_ms <= now_ms;
    for (size_t i = 0; i < BUCKETS; i++)
        for (const struct job *j = s->table[i]; j; j = j->next_same) {
            out->open[j->d.scope.kind]++;
            int64_t at_s = j->d.accepted_at_s;
            if (at_s == 0) /* not read yet */
                continue;
            if (!out->oldest_accepted_at_s || at_s < out->oldest_accepted_at_s)
                out->oldest_accepted_at_s = at_s;
        }
    pthread_mutex_unlock(&s->lock);
}
