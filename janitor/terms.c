#include "janitor/terms.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"

enum { KEEP_MS = 5000, SAY_EVERY_MS = 60000 };

struct terms {
    uint32_t window_s;
    atomic_uint_fast32_t needed_s; /* as in largest, for who must not wait */
    pthread_mutex_t lock; /* guards what follows; held while the store is asked: once for all */
    struct window_largest largest;
    uint64_t read_ms; /* clock_mono_ms() of the latest reading; 0: none */
    uint64_t say_ms;  /* not to be said again before */
};

struct terms *terms_new(uint32_t window_s)
{
    struct terms *t = xcalloc(1, sizeof(*t));
    t->window_s = window_s;
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void terms_free(struct terms *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static bool is_current(const struct terms *t, int64_t accepted_at_s)
{
    return t->read_ms && clock_mono_ms() - t->read_ms < KEEP_MS &&
           t->largest.server_time_s >= accepted_at_s;
}

static enum terms_verdict judge(struct terms *t, struct store_err *err)
{
    uint64_t now_ms = clock_mono_ms();
    if (t->largest.needed_s <= t->window_s) {
        t->say_ms = 0;
        return TERMS_COVERED;
    }
    store_err_set(err, STORE_INVALID,
                  "upload_window is %us, but uploads of writer %s may take %us: no deletion can be "
                  "completed until the window is at least that, or the writer's times are shorter",
                  t->window_s, t->largest.id, t->largest.needed_s);
    if (now_ms >= t->say_ms) {
        log_error("completions are held back", LOG_S("error", err->msg));
        t->say_ms = now_ms + SAY_EVERY_MS;
    }
    return TERMS_SHORT;
}

enum terms_verdict terms_check(struct terms *t, store *s, store_loop *loop, int64_t accepted_at_s,
                               struct store_err *err)
{
    enum terms_verdict verdict = TERMS_FAILED;
    struct window_largest read;
    pthread_mutex_lock(&t->lock);
    bool current = is_current(t, accepted_at_s);
    if (!current && window_read(s, loop, &read, err) == 0) {
        t->largest = read;
        atomic_store(&t->needed_s, read.needed_s);
        t->read_ms = clock_mono_ms();
        current = read.server_time_s >= accepted_at_s;
        if (!current)
            store_err_set(err, STORE_FAILED,
                          "writers' times: the store's clock stands before the deletion's");
    }
    if (current)
        verdict = judge(t, err);
    pthread_mutex_unlock(&t->lock);
    return verdict;
}

uint32_t terms_needed_s(struct terms *t)
{
    return (uint32_t)atomic_load(&t->needed_s);
}

bool terms_short(struct terms *t)
{
    return terms_needed_s(t) > t->window_s;
}
