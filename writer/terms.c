#include "writer/terms.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"

enum {
    RETRY_MS = 2000,
    REMOVE_TIMEOUT_MS = 3000,
    HOST_MAX = 40, /* of the id's bytes */
    S_MS = 1000,
};

/* ---- Options ---- */

int terms_of_options(const struct writer_conf *c, struct window_terms *t, struct store_err *err)
{
    *t = (struct window_terms){
        .expiry_s = window_round_s(c->upload_expiry_ms),
        .timeout_s = window_round_s(c->upload_timeout_ms),
        .idle_s = window_round_s(c->store_idle_timeout_ms),
    };
    if (c->upload_expiry_ms % S_MS != 0)
        return store_err_set(err, STORE_INVALID,
                             "option upload_expiry: %llums; expected whole seconds, since the "
                             "store counts in them",
                             (unsigned long long)c->upload_expiry_ms);
    if (c->upload_window_ms && (uint64_t)window_needed_s(t) * S_MS > c->upload_window_ms)
        return store_err_set(err, STORE_INVALID,
                             "option upload_window: %llums; expected at least upload_expiry %us + "
                             "upload_timeout %us + store_idle_timeout %us = %us",
                             (unsigned long long)c->upload_window_ms, t->expiry_s, t->timeout_s,
                             t->idle_s, window_needed_s(t));
    return 0;
}

/* ---- Telling ---- */

/* Times are of clock_boot_ms(): a machine that slept has not told anything meanwhile. */
struct terms {
    store *store;
    struct window_terms t;
    pthread_t thread;
    struct loop_task wake; /* posted by terms_stop() */
    /* The thread's, until it has ended. */
    store_loop *loop;
    char id[WINDOW_ID_SIZE];
    struct loop_timer next;
    uint64_t began_ms; /* the telling under way */
    unsigned failures; /* in a row */
    bool busy, stopping;
    /* Anybody's. */
    _Atomic int64_t told_at_s;      /* the store's clock; 0: never yet */
    atomic_uint_fast64_t told_ms;   /* ours */
    atomic_uint_fast64_t upload_ms; /* when the last upload was taken; 0: none was */
    atomic_uint_fast64_t all_failures;
};

static void take_new_id(struct terms *t)
{
    char host[HOST_MAX + 1] = "";
    uint32_t chance = 0;
    gethostname(host, HOST_MAX);
    host[HOST_MAX] = '\0';
    for (char *c = host; *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", *c))
            *c = '-';
    if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance))
        chance = (uint32_t)clock_real_ms();
    snprintf(t->id, sizeof(t->id), "%s-%d-%08x", *host ? host : "host", (int)getpid(), chance);
}

static bool has_lapsed(const struct terms *t)
{
    uint64_t told_ms = atomic_load(&t->told_ms);
    return clock_boot_ms() - told_ms >= (uint64_t)WINDOW_VALID_S * S_MS;
}

static void told(struct terms *t, int64_t server_time_s)
{
    /* The store may have taken it at any moment since we began, and its answer tells the last. */
    int64_t took_s = (int64_t)((clock_boot_ms() - t->began_ms) / S_MS) + 1;
    atomic_store(&t->told_ms, t->began_ms);
    if (atomic_exchange(&t->told_at_s, server_time_s - took_s) == 0 || t->failures)
        log_info("upload times told", LOG_S("writer", t->id),
                 LOG_U("upload_expiry_s", t->t.expiry_s), LOG_U("upload_timeout_s", t->t.timeout_s),
                 LOG_U("store_idle_timeout_s", t->t.idle_s),
                 LOG_U("needed_s", window_needed_s(&t->t)));
    t->failures = 0;
}

static void tell_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct terms *t = user;
    struct store_err why = *err;
    t->busy = false;
    if (t->stopping)
        return;
    if (why.code == STORE_OK && info->server_time_s == 0)
        store_err_set(&why, STORE_FAILED, "the store tells no time");
    if (why.code == STORE_OK) {
        told(t, info->server_time_s);
    } else {
        atomic_fetch_add(&t->all_failures, 1);
        if (t->failures++ == 0)
            log_error("upload times cannot be told; without them no upload is taken",
                      LOG_S("writer", t->id), LOG_ERR(&why));
    }
    loop_timer_set(t->loop, &t->next, t->failures ? RETRY_MS : WINDOW_REFRESH_S * S_MS);
}

static void tell(void *user)
{
    struct terms *t = user;
    struct store_err err;
    const struct store_info none = {0};
    if (atomic_load(&t->told_at_s) && has_lapsed(t))
        take_new_id(t); /* see window.h */
    t->began_ms = clock_boot_ms();
    t->busy = true;
    if (!window_tell(t->store, t->loop, &t->t, t->id, tell_done, t, &err))
        tell_done(t, &err, &none);
}

static void on_wake(void *user)
{
    ((struct terms *)user)->stopping = true;
}

static void *terms_main(void *user)
{
    struct terms *t = user;
    tell(t);
    while (!t->stopping && loop_run_once(t->loop, -1, NULL) == 0)
        ;
    t->stopping = true;
    loop_timer_clear(t->loop, &t->next);
    return NULL;
}

/* ---- Life ---- */

static double needed_s(void *user)
{
    return window_needed_s(&((struct terms *)user)->t);
}

static double age_s(void *user)
{
    struct terms *t = user;
    return atomic_load(&t->told_at_s) ? (double)(clock_boot_ms() - atomic_load(&t->told_ms)) / S_MS
                                      : -1;
}

static double failures(void *user)
{
    return (double)atomic_load(&((struct terms *)user)->all_failures);
}

int terms_start(store *s, const struct window_terms *terms, struct terms **out,
                struct store_err *err)
{
    struct terms *t = xcalloc(1, sizeof(*t));
    t->store = s;
    t->t = *terms;
    t->next = (struct loop_timer){.fn = tell, .user = t};
    t->wake = (struct loop_task){.fn = on_wake, .user = t};
    take_new_id(t);
    int rc = store_loop_new(&t->loop, err);
    int e = rc == 0 ? pthread_create(&t->thread, NULL, terms_main, t) : 0;
    if (e != 0)
        rc = store_err_errno(err, e, "cannot start a thread");
    if (rc != 0) {
        store_loop_free(t->loop);
        free(t);
        return -1;
    }
    metric_register_fn("epufs_upload_window_needed_seconds",
                       "What uploads need of a janitor's upload_window.", needed_s, t);
    metric_register_fn("epufs_upload_times_age_seconds",
                       "Since the upload times were last told in the store; -1: never yet.", age_s,
                       t);
    metric_register_counter_fn("epufs_upload_times_failures_total",
                               "Attempts to tell them that failed.", failures, t);
    *out = t;
    return 0;
}

const char *terms_missing(struct terms *t)
{
    if (atomic_load(&t->told_at_s) == 0)
        return "this writer could not tell its upload times in the store yet";
    return has_lapsed(t) ? "this writer could not tell its upload times in the store lately" : NULL;
}

bool terms_take_upload(struct terms *t, int64_t fenced_at_s)
{
    /* Also false when they were never told: that is 1970. */
    if (fenced_at_s >= atomic_load(&t->told_at_s) + WINDOW_VALID_S)
        return false;
    atomic_store(&t->upload_ms, clock_boot_ms());
    return true;
}

/* Whether what an upload sent may still become a file. */
static bool may_have_uploads(const struct terms *t)
{
    uint64_t upload_ms = atomic_load(&t->upload_ms);
    return upload_ms && clock_boot_ms() - upload_ms <= (uint64_t)window_needed_s(&t->t) * S_MS;
}

static void remove_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct terms *t = user;
    (void)info;
    t->busy = false;
    if (err->code != STORE_OK)
        log_warn("upload times stay told until they lapse", LOG_S("writer", t->id), LOG_ERR(err));
}

/* Best effort: what stays lapses. */
static void remove_told(struct terms *t)
{
    char key[LAYOUT_KEY_SIZE];
    struct store_err err;
    const struct store_info none = {0};
    window_key(&t->t, t->id, key);
    t->busy = true;
    if (!store_delete(t->store, t->loop, key, REMOVE_TIMEOUT_MS, remove_done, t, &err))
        remove_done(t, &err, &none);
    while (t->busy && store_loop_run(t->loop, -1, NULL) == 0)
        ;
}

void terms_stop(struct terms *t)
{
    if (!t)
        return;
    loop_post(t->loop, &t->wake);
    pthread_join(t->thread, NULL);
    if (!t->busy && !may_have_uploads(t) && atomic_load(&t->told_at_s))
        remove_told(t);
    store_loop_free(t->loop); /* cancels a telling that is under way */
    free(t);
}
