/* One thread asks for credentials and sleeps in between, on a loop of its own, so that
 * credentials_close() can wake it at any time. Whoever waits is woken by a bell: one task for each
 * loop with waiters, which lives as long as the loop; a waiter's own task is only ever queued on
 * its loop's thread, where credentials_unwait() can take it back. */
#include "libstore/s3/credentials.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/s3/chain.h"
#include "libstore/s3/credentials_private.h"
#include "libstore/s3/provider.h"

#define NEVER UINT64_MAX

enum { MAX_SLEEP_MS = 60000 };

struct bell {
    struct credentials *c; /* NULL: closed */
    struct loop *loop;
    struct loop_task task;
    /* Under c->lock. */
    bool rung;                          /* the task is on its way */
    struct credentials_waiter *waiters; /* for the attempt that is due or under way */
    struct credentials_waiter *woken;   /* their tasks are to be run */
    struct bell *next;
};

struct credentials {
    struct chain chain; /* not changed after the thread has started */
    struct credentials_timing timing;
    struct health *health;
    char *ca_file;

    /* The thread's. */
    pthread_t thread;
    bool has_thread;
    struct loop *loop;
    char *sts_url; /* NULL: not known yet; kept, since fetch.h knows a host by it */
    atomic_bool stop;

    pthread_mutex_t lock; /* guards what follows; taken before a loop's own */
    struct loop_task wake;
    bool waking; /* wake is posted */
    struct keys keys;
    char region[PROVIDER_REGION_SIZE];
    uint64_t serial;  /* of keys; 0: none yet */
    uint64_t refused; /* this serial, or an older one, was refused by the store; 0: none */
    uint64_t got_ms, expires_ms;
    uint64_t due_ms; /* the next attempt */
    bool trying;
    unsigned failures; /* in a row */
    struct store_err trouble;
    struct bell *bells;
};

/* ---- Waiters ---- */

static void list_add(struct credentials_waiter **list, struct credentials_waiter *w)
{
    w->prev = NULL;
    w->next = *list;
    if (*list)
        (*list)->prev = w;
    *list = w;
}

/* From whichever list of the bell's it is in. */
static void list_remove(struct bell *b, struct credentials_waiter *w)
{
    if (w->next)
        w->next->prev = w->prev;
    if (w->prev)
        w->prev->next = w->next;
    else if (b->waiters == w)
        b->waiters = w->next;
    else
        b->woken = w->next;
    w->next = w->prev = NULL;
    w->waiting = false;
}

/* On the loop's thread. */
static void bell_run(void *user)
{
    struct bell *b = user;
    struct credentials *c = b->c;
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    b->rung = false;
    while (b->woken) {
        struct credentials_waiter *w = b->woken;
        list_remove(b, w);
        loop_defer(b->loop, &w->task);
    }
    pthread_mutex_unlock(&c->lock);
}

/* Under the lock. The order of waking is that of coming. */
static void wake_waiters(struct credentials *c)
{
    for (struct bell *b = c->bells; b; b = b->next) {
        while (b->waiters) {
            struct credentials_waiter *w = b->waiters;
            list_remove(b, w);
            list_add(&b->woken, w);
            w->waiting = true; /* still in a list */
        }
        if (b->woken && !b->rung) {
            b->rung = true;
            loop_post(b->loop, &b->task);
        }
    }
}

static void bell_unlink(struct bell *b)
{
    struct bell **at = &b->c->bells;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
}

/* The loop ends. */
static void bell_free(void *value)
{
    struct bell *b = value;
    if (b->c) {
        struct credentials *c = b->c;
        pthread_mutex_lock(&c->lock);
        bell_unlink(b);
        pthread_mutex_unlock(&c->lock);
    }
    free(b);
}

/* The loop's bell, made when it is the first time. NULL: no memory. Under the lock, on the loop's
 * thread. */
static struct bell *bell_get(struct credentials *c, struct loop *l)
{
    struct bell *b = loop_attached(l, c);
    if (!b) {
        b = calloc(1, sizeof(*b));
        if (!b || loop_attach(l, c, b, bell_free) != 0) {
            free(b);
            return NULL;
        }
        b->loop = l;
        b->task = (struct loop_task){.fn = bell_run, .user = b};
    }
    if (!b->c) { /* new, or left by credentials that had the same address */
        b->c = c;
        b->next = c->bells;
        c->bells = b;
    }
    return b;
}

/* Under the lock, on the loop's thread. */
static void forget_waiter(struct credentials *c, struct credentials_waiter *w)
{
    if (w->waiting)
        list_remove(loop_attached(w->loop, c), w);
    loop_defer_clear(w->loop, &w->task);
}

void credentials_unwait(struct credentials *c, struct credentials_waiter *w)
{
    if (!w->loop)
        return;
    pthread_mutex_lock(&c->lock);
    forget_waiter(c, w);
    pthread_mutex_unlock(&c->lock);
}

/* ---- State, under the lock ---- */

static void woken_up(void *user)
{
    struct credentials *c = user;
    pthread_mutex_lock(&c->lock);
    c->waking = false;
    pthread_mutex_unlock(&c->lock);
}

static void wake_thread(struct credentials *c)
{
    if (c->waking)
        return;
    c->waking = true;
    loop_post(c->loop, &c->wake);
}

static bool is_usable(const struct credentials *c, uint64_t now_ms)
{
    return c->serial > c->refused && now_ms < c->expires_ms;
}

/* When to renew what is valid for so long: early, but never at once, whatever was handed out. */
static uint64_t renew_after_ms(const struct credentials *c, uint64_t valid_ms)
{
    uint64_t early = c->timing.early_ms;
    uint64_t after = valid_ms > 2 * early ? valid_ms - early : valid_ms / 2;
    return after > c->timing.pause_ms ? after : c->timing.pause_ms;
}

static void accept_keys(struct credentials *c, struct keys *k, const char *region)
{
    uint64_t now = c->timing.now_ms();
    c->got_ms = now;
    c->expires_ms = k->valid_ms ? now + k->valid_ms : NEVER;
    c->due_ms = k->valid_ms ? now + renew_after_ms(c, k->valid_ms) : NEVER;
    keys_move(&c->keys, k);
    if (*region)
        text_copy(c->region, sizeof(c->region), region);
    c->serial++;
    c->failures = 0;
}

/* Half of the pause is left to chance, so that many programs do not come back together. */
static uint64_t backoff_ms(const struct credentials *c)
{
    uint64_t ms = c->timing.first_backoff_ms;
    uint32_t chance = 0;
    for (unsigned i = 1; i < c->failures && ms < c->timing.max_backoff_ms; i++)
        ms *= 2;
    if (ms > c->timing.max_backoff_ms)
        ms = c->timing.max_backoff_ms;
    ssize_t n = getrandom(&chance, sizeof(chance), GRND_NONBLOCK);
    (void)n;
    return ms / 2 + chance % (ms / 2 + 1);
}

static void note_failure(struct credentials *c, const struct store_err *err)
{
    c->failures++;
    c->due_ms = c->timing.now_ms() + backoff_ms(c);
    c->trouble = *err;
    if (c->serial == 0 && err->code == STORE_BUSY && c->chain.source == CHAIN_INSTANCE)
        store_err_set(&c->trouble, STORE_DENIED,
                      "credentials: none found: not given, not in the environment or a profile, "
                      "and no instance metadata at %.60s",
                      c->chain.base_url);
}

/* ---- The thread ---- */

/* The first keys of the chain; roles come after. */
static int get_source(struct credentials *c, struct fetcher *f, struct keys *k, char *region,
                      struct store_err *err)
{
    const struct chain *ch = &c->chain;
    switch (ch->source) {
    case CHAIN_KEYS:
        return keys_set(k, ch->keys.access_key, ch->keys.secret_key, ch->keys.session_token, err);
    case CHAIN_WEB_IDENTITY: return provider_web_identity(f, ch, c->sts_url, k, err);
    case CHAIN_CONTAINER: return provider_container(f, ch, k, err);
    case CHAIN_INSTANCE: return provider_instance(f, ch, k, ch->region ? NULL : region, err);
    }
    return store_err_set(err, STORE_FAILED, "credentials: unknown source");
}

static int need_sts_url(struct credentials *c, const char *region, struct store_err *err)
{
    if (!c->sts_url)
        c->sts_url = c->chain.sts_url ? strdup(c->chain.sts_url) : provider_sts_url(region, err);
    if (!c->sts_url && c->chain.sts_url)
        return store_err_set(err, STORE_NO_MEMORY, "credentials: out of memory");
    return c->sts_url ? 0 : -1;
}

static int run_chain(struct credentials *c, struct fetcher *f, struct keys *k, char *told,
                     struct store_err *err)
{
    const struct chain *ch = &c->chain;
    if (get_source(c, f, k, told, err) < 0)
        return -1;
    const char *region = ch->region ? ch->region : told;
    for (size_t i = ch->n_roles; i-- > 0;) {
        struct keys next = {0};
        if (need_sts_url(c, region, err) < 0 ||
            provider_assume_role(f, &ch->roles[i], c->sts_url, region, k, &next, err) < 0)
            return -1;
        keys_move(k, &next);
    }
    return 0;
}

static void attempt(struct credentials *c)
{
    struct fetcher f = {.loop = c->loop,
                        .ca_file = c->ca_file,
                        .stop = &c->stop,
                        .deadline_ms = clock_mono_ms() + c->timing.attempt_ms,
                        .request_ms = c->timing.request_ms};
    struct keys k = {0};
    char region[PROVIDER_REGION_SIZE] = "";
    struct store_err err = {.code = STORE_OK};
    int rc = run_chain(c, &f, &k, region, &err);
    if (rc < 0 && err.code != STORE_CANCELED && c->health)
        health_count(c->health, HEALTH_CREDENTIAL_ERROR);
    pthread_mutex_lock(&c->lock);
    c->trying = false;
    if (rc == 0)
        accept_keys(c, &k, region);
    else
        note_failure(c, &err);
    wake_waiters(c);
    pthread_mutex_unlock(&c->lock);
    keys_wipe(&k);
}

/* How long to sleep; 0: an attempt is due, and begins. */
static int next_sleep_ms(struct credentials *c)
{
    pthread_mutex_lock(&c->lock);
    uint64_t now = c->timing.now_ms();
    uint64_t left = c->due_ms > now ? c->due_ms - now : 0;
    c->trying = left == 0;
    pthread_mutex_unlock(&c->lock);
    return left > MAX_SLEEP_MS ? MAX_SLEEP_MS : (int)left;
}

static void *run_thread(void *user)
{
    struct credentials *c = user;
    while (!atomic_load(&c->stop)) {
        int sleep_ms = next_sleep_ms(c);
        if (sleep_ms == 0)
            attempt(c);
        else
            loop_run_once(c->loop, sleep_ms, NULL);
    }
    return NULL;
}

/* ---- Asking ---- */

static void tell(const struct credentials *c,
                 void (*take)(void *user, const struct credentials_view *v), void *user)
{
    const struct credentials_view view = {.access_key = c->keys.access_key,
                                          .secret_key = c->keys.secret_key,
                                          .session_token = c->keys.session_token,
                                          .region = c->region,
                                          .serial = c->serial};
    take(user, &view);
}

/* Without credentials, between two attempts or during one. */
static enum credentials_state wait_or_fail(struct credentials *c, struct credentials_waiter *w,
                                           uint64_t now_ms, struct store_err *err)
{
    /* A failure holds until the next attempt is due; without one, that is near. */
    if (c->failures && !c->trying && now_ms < c->due_ms) {
        *err = c->trouble;
        return CREDENTIALS_FAILED;
    }
    struct bell *b = w ? bell_get(c, w->loop) : NULL;
    if (w && !b) {
        store_err_set(err, STORE_NO_MEMORY, "credentials: out of memory");
        return CREDENTIALS_FAILED;
    }
    if (w) {
        list_add(&b->waiters, w);
        w->waiting = true;
    }
    return CREDENTIALS_WAIT;
}

enum credentials_state credentials_ask(struct credentials *c, uint64_t known_serial,
                                       void (*take)(void *user, const struct credentials_view *v),
                                       void *user, struct credentials_waiter *w,
                                       struct store_err *err)
{
    enum credentials_state state = CREDENTIALS_READY;
    pthread_mutex_lock(&c->lock);
    uint64_t now = c->timing.now_ms();
    if (w)
        forget_waiter(c, w);
    /* Its timer does not count while the machine sleeps. */
    if (c->has_thread && !c->trying && now >= c->due_ms)
        wake_thread(c);
    if (!is_usable(c, now))
        state = wait_or_fail(c, w, now, err);
    else if (known_serial != c->serial)
        tell(c, take, user);
    pthread_mutex_unlock(&c->lock);
    return state;
}

bool credentials_refused(struct credentials *c, uint64_t serial)
{
    if (!c->has_thread)
        return false;
    pthread_mutex_lock(&c->lock);
    if (serial == c->serial && serial > c->refused) {
        c->refused = serial;
        /* New ones that are refused as well are not fetched in a loop. */
        uint64_t soon = c->got_ms + c->timing.pause_ms;
        if (c->failures == 0 && soon < c->due_ms)
            c->due_ms = soon;
        wake_thread(c);
    }
    pthread_mutex_unlock(&c->lock);
    return true;
}

const char *credentials_profile_region(const struct credentials *c)
{
    return c->chain.profile_region ? c->chain.profile_region : "";
}

const char *credentials_profile_endpoint(const struct credentials *c)
{
    return c->chain.profile_endpoint ? c->chain.profile_endpoint : "";
}

/* ---- Life ---- */

/* Where STS is, unless only the instance can tell. */
static int find_sts(struct credentials *c, struct store_err *err)
{
    const struct chain *ch = &c->chain;
    if (ch->source != CHAIN_WEB_IDENTITY && ch->n_roles == 0)
        return 0;
    if (!ch->region && ch->source == CHAIN_INSTANCE)
        return 0;
    return need_sts_url(c, ch->region ? ch->region : "", err);
}

static int start_thread(struct credentials *c, struct store_err *err)
{
    sigset_t all, before;
    if (loop_new(&c->loop, err) < 0)
        return -1;
    sigfillset(&all); /* signals are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    c->trying = true; /* whoever asks before the first attempt waits for it */
    int rc = pthread_create(&c->thread, NULL, run_thread, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return store_err_errno(err, rc, "credentials: cannot start a thread");
    c->has_thread = true;
    return 0;
}

int credentials_open_timed(const struct credentials_conf *conf,
                           const struct credentials_timing *timing, struct credentials **out,
                           struct store_err *err)
{
    struct credentials *c = calloc(1, sizeof(*c));
    if (!c)
        return store_err_set(err, STORE_NO_MEMORY, "credentials: out of memory");
    pthread_mutex_init(&c->lock, NULL);
    c->timing = *timing;
    c->health = conf->health;
    c->wake = (struct loop_task){.fn = woken_up, .user = c};
    int rc = chain_open(conf, &c->chain, err);
    if (rc == 0 && conf->ca_file) {
        c->ca_file = strdup(conf->ca_file);
        if (!c->ca_file)
            rc = store_err_set(err, STORE_NO_MEMORY, "credentials: out of memory");
    }
    if (rc == 0 && chain_is_static(&c->chain))
        accept_keys(c, &c->chain.keys, "");
    else if (rc == 0 && (rc = find_sts(c, err)) == 0)
        rc = start_thread(c, err);
    if (rc < 0) {
        credentials_close(c);
        return -1;
    }
    *out = c;
    return 0;
}

int credentials_open(const struct credentials_conf *conf, struct credentials **out,
                     struct store_err *err)
{
    static const struct credentials_timing usual = {.now_ms = clock_boot_ms,
                                                    .early_ms = 300000,
                                                    .pause_ms = 1000,
                                                    .first_backoff_ms = 1000,
                                                    .max_backoff_ms = 30000,
                                                    .attempt_ms = 30000};
    return credentials_open_timed(conf, &usual, out, err);
}

static void stop_thread(struct credentials *c)
{
    atomic_store(&c->stop, true);
    pthread_mutex_lock(&c->lock);
    wake_thread(c);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
}

void credentials_close(struct credentials *c)
{
    if (!c)
        return;
    if (c->has_thread)
        stop_thread(c);
    loop_free(c->loop);
    for (struct bell *b = c->bells; b; b = b->next)
        b->c = NULL; /* the loop outlives us, and frees it */
    keys_wipe(&c->keys);
    chain_cleanup(&c->chain);
    free(c->ca_file);
    free(c->sts_url);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
