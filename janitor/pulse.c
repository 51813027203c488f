#include "janitor/pulse.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "epufs/layout.h"

enum { TICK_MS = 100, GAP_MS = PULSE_EVERY_MS + PULSE_PROMPT_MS };

/* ---- The count ---- */

void pulse_saw(struct pulse_count *c, uint64_t now_ms, uint64_t real_ms, int64_t server_time_s)
{
    /* Its own clock too: ours stands still while a whole machine is suspended. */
    bool gap = !c->since_s || now_ms - c->last_ms > GAP_MS ||
               server_time_s - c->last_s > GAP_MS / 1000 + 1 || server_time_s < c->last_s;
    if (gap)
        c->since_s = server_time_s + 1;
    c->last_ms = now_ms;
    c->last_s = server_time_s;
    c->ahead_of_us_ms = server_time_s * 1000 - (int64_t)real_ms;
}

int64_t pulse_count_since_s(const struct pulse_count *c, uint64_t now_ms)
{
    return c->since_s && now_ms - c->last_ms <= GAP_MS ? c->since_s : 0;
}

/* ---- The thread ---- */

struct pulse {
    store *store;
    store_loop *loop;
    bool (*wanted)(void *user);
    void *user;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    struct pulse_count count;
    bool stop;
};

static bool stopping(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
    bool stop = p->stop;
    pthread_mutex_unlock(&p->lock);
    return stop;
}

struct look {
    bool over;
    int64_t server_time_s; /* 0: no prompt answer */
};

/* That there is no such key is an answer as good as any. */
static void look_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct look *look = user;
    look->over = true;
    if (err->code == STORE_OK || err->code == STORE_NOT_FOUND)
        look->server_time_s = info->server_time_s;
}

static void look(struct pulse *p)
{
    struct look look = {.over = false};
    struct store_err err;
    if (!store_head(p->store, p->loop, LAYOUT_INTENTS "pulse", PULSE_PROMPT_MS, look_done, &look,
                    &err))
        return;
    while (!look.over && store_loop_run(p->loop, -1, &err) == 0)
        ;
    if (!look.server_time_s)
        return;
    pthread_mutex_lock(&p->lock);
    int64_t before_s = p->count.since_s;
    pulse_saw(&p->count, clock_mono_ms(), clock_real_ms(), look.server_time_s);
    int64_t since_s = p->count.since_s;
    pthread_mutex_unlock(&p->lock);
    if (since_s != before_s)
        log_debug("the store answers promptly", LOG_I("since", since_s));
}

static void *thread_main(void *user)
{
    static const struct timespec tick = {0, TICK_MS * 1000000};
    struct pulse *p = user;
    uint64_t next_ms = 0;
    while (!stopping(p)) {
        if (clock_mono_ms() >= next_ms && p->wanted(p->user)) {
            next_ms = clock_mono_ms() + PULSE_EVERY_MS;
            look(p);
        }
        nanosleep(&tick, NULL);
    }
    return NULL;
}

static void pulse_free(struct pulse *p)
{
    store_loop_free(p->loop);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int pulse_start(store *s, bool (*wanted)(void *user), void *user, struct pulse **out,
                struct store_err *err)
{
    struct pulse *p = xcalloc(1, sizeof(*p));
    *p = (struct pulse){.store = s, .wanted = wanted, .user = user};
    pthread_mutex_init(&p->lock, NULL);
    int rc = store_loop_new(&p->loop, err);
    int e = rc == 0 ? pthread_create(&p->thread, NULL, thread_main, p) : 0;
    if (e)
        rc = store_err_errno(err, e, "cannot start the thread that looks at the store");
    if (rc != 0)
        pulse_free(p);
    else
        *out = p;
    return rc;
}

void pulse_stop(struct pulse *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pulse_free(p);
}

int64_t pulse_since_s(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
    int64_t since_s = pulse_count_since_s(&p->count, clock_mono_ms());
    pthread_mutex_unlock(&p->lock);
    return since_s;
}

int64_t pulse_store_now_s(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
    int64_t ahead_ms = p->count.ahead_of_us_ms;
    pthread_mutex_unlock(&p->lock);
    return ((int64_t)clock_real_ms() + ahead_ms) / 1000;
}
