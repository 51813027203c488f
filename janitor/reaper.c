#include "janitor/reaper.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "epufs/reap.h"

enum { EACH_MS = 20, TICK_MS = 100 };

struct reaper {
    struct janitor *janitor;
    pthread_t thread;
    store_loop *loop;
    char **keys; /* of one page: those that may have ended */
    size_t n;
    char *token;
};

static bool stopping(const struct reaper *r)
{
    return schedule_stopping(r->janitor->schedule);
}

/* False: we are to stop. */
static bool pause_ms(const struct reaper *r, uint64_t ms)
{
    uint64_t until_ms = clock_mono_ms() + ms;
    while (!stopping(r) && clock_mono_ms() < until_ms) {
        uint64_t left_ms = until_ms - clock_mono_ms();
        const struct timespec slice = {0, (long)(left_ms < TICK_MS ? left_ms : TICK_MS) * 1000000};
        nanosleep(&slice, NULL);
    }
    return !stopping(r);
}

/* One that is younger than the grace cannot have ended longer ago. */
static void take_page(void *user, const struct store_page *page)
{
    struct reaper *r = user;
    int64_t grace_s = (int64_t)(r->janitor->conf->tombstone_grace_ms / 1000);
    for (size_t i = 0; i < page->n; i++)
        if (page->entries[i].modified_s + grace_s <= page->server_time_s)
            r->keys[r->n++] = xstrdup(page->entries[i].key);
    free(r->token);
    r->token = xstrdup(page->next_token);
}

static void reap_page(struct reaper *r)
{
    struct janitor *j = r->janitor;
    uint32_t grace_s = (uint32_t)(j->conf->tombstone_grace_ms / 1000);
    for (size_t i = 0; i < r->n; i++) {
        struct store_err err;
        bool removed = false;
        if (pause_ms(r, EACH_MS) &&
            reap_tombstone(j->store, r->loop, r->keys[i], grace_s, &removed, &err) != 0)
            log_warn("tombstone cannot be looked at", LOG_S("key", r->keys[i]), LOG_ERR(&err));
        if (removed) {
            log_info("audit: tombstone removed, its tokens have expired", LOG_S("key", r->keys[i]));
            metric_add(&j->metrics.tombstones_removed, 1);
        }
        free(r->keys[i]);
    }
    r->n = 0;
}

static void reap_all(struct reaper *r)
{
    struct store_err err;
    int rc;
    do {
        const struct store_list_opts opts = {.token = r->token, .bulk = true};
        rc = store_sync_list(r->janitor->store, r->loop, LAYOUT_TOMBSTONES, &opts, take_page, r,
                             &err);
        if (rc != 0)
            log_warn("tombstones cannot be listed", LOG_ERR(&err));
        reap_page(r);
    } while (rc == 0 && r->token && !stopping(r));
    free(r->token);
    r->token = NULL;
}

static void *thread_main(void *user)
{
    struct reaper *r = user;
    while (pause_ms(r, r->janitor->conf->tombstone_scan_interval_ms))
        reap_all(r);
    return NULL;
}

static void reaper_free(struct reaper *r)
{
    store_loop_free(r->loop);
    free(r->keys);
    free(r);
}

int reaper_start(struct janitor *j, struct reaper **out, struct store_err *err)
{
    *out = NULL;
    if (!j->conf->tombstone_scan_interval_ms)
        return 0;
    struct reaper *r = xcalloc(1, sizeof(*r));
    r->janitor = j;
    r->keys = xcalloc(STORE_MAX_BATCH, sizeof(*r->keys));
    int rc = store_loop_new(&r->loop, err);
    int e = rc == 0 ? pthread_create(&r->thread, NULL, thread_main, r) : 0;
    if (e)
        rc = store_err_errno(err, e, "cannot start the thread that removes tombstones");
    if (rc != 0)
        reaper_free(r);
    else
        *out = r;
    return rc;
}

void reaper_stop(struct reaper *r)
{
    if (!r)
        return;
    pthread_join(r->thread, NULL);
    reaper_free(r);
}
