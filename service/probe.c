#include "service/probe.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/xalloc.h"

enum {
    INTERVAL_MS = 5000,
    FAILED_INTERVAL_MS = 1000,
    TIMEOUT_MS = 3000, /* with all tries */
    FAILURES_TO_TELL = 3,
};

/* All but ready belongs to the probe's thread once that runs. */
struct probe {
    store *store;
    atomic_bool *ready;
    store_loop *loop;
    struct loop_timer next;
    struct loop_task wake; /* posted by probe_stop() */
    pthread_t thread;
    bool started, stopping;
    int failures;
};

static void ask(void *user);

static void head_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct probe *p = user;
    (void)info;
    if (p->stopping)
        return;
    /* "No such object" is an answer. */
    bool answered = err->code == STORE_OK || err->code == STORE_NOT_FOUND;
    p->failures = answered ? 0 : p->failures + 1;
    if (answered && !atomic_exchange(p->ready, true))
        log_info("store answers");
    if (p->failures >= FAILURES_TO_TELL && atomic_exchange(p->ready, false))
        log_error("store does not answer", LOG_ERR(err));
    else if (p->failures == 1)
        log_warn("store probe failed", LOG_ERR(err));
    loop_timer_set(p->loop, &p->next, answered ? INTERVAL_MS : FAILED_INTERVAL_MS);
}

static void ask(void *user)
{
    struct probe *p = user;
    struct store_err err;
    const struct store_info none = {0};
    if (!store_head(p->store, p->loop, "readiness-probe", TIMEOUT_MS, head_done, p, &err))
        head_done(p, &err, &none);
}

static void on_wake(void *user)
{
    ((struct probe *)user)->stopping = true;
}

static void *probe_main(void *user)
{
    struct probe *p = user;
    ask(p);
    while (!p->stopping && loop_run_once(p->loop, -1, NULL) == 0)
        ;
    p->stopping = true;
    loop_timer_clear(p->loop, &p->next);
    return NULL;
}

struct probe *probe_start(store *s, atomic_bool *ready)
{
    struct probe *p = xcalloc(1, sizeof(*p));
    struct store_err err;
    p->store = s;
    p->ready = ready;
    p->next = (struct loop_timer){.fn = ask, .user = p};
    p->wake = (struct loop_task){.fn = on_wake, .user = p};
    if (store_loop_new(&p->loop, &err) != 0)
        log_error("store probe cannot start", LOG_ERR(&err));
    else
        p->started = pthread_create(&p->thread, NULL, probe_main, p) == 0;
    return p;
}

void probe_stop(struct probe *p)
{
    if (p->started) {
        loop_post(p->loop, &p->wake);
        pthread_join(p->thread, NULL);
    }
    store_loop_free(p->loop); /* cancels what is under way */
    free(p);
}
