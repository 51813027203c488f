#include "janitor/scan.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/steps.h"

enum { DUE_AT_ONCE = 100, TICK_MS = 100 };

struct scan {
    struct janitor *janitor;
    pthread_t thread;
    store_loop *loop;
    /* Of the scan that is under way. */
    char (*unknown)[JOB_ID_SIZE]; /* of one page */
    size_t n_unknown;
    char *token;
    bool room; /* for more jobs */
    struct scan_status seen;
    /* Where taking up ended for want of room: the next scan begins there, so that none waits for
     * ever behind the others. */
    char resume[JOB_ID_SIZE];

    pthread_mutex_t lock; /* guards the rest */
    struct scan_status status;
};

/* ---- Taking up ---- */

/* Whether another janitor is at it: then it is left alone until its lease would end. */
static bool is_busy(struct janitor *j, const char *job_id)
{
    struct ledger_job r;
    if (ledger_get(j->ledger, job_id, &r) != LEDGER_OK || r.lease_ms_left <= 0 ||
        strcmp(r.owner, j->owner) == 0)
        return false;
    backlog_note(j->backlog, job_id, "", BACKLOG_BUSY, steps_busy_until_ms(j, &r));
    return true;
}

static void take_up(struct scan *s, const char *job_id)
{
    struct janitor *j = s->janitor;
    if (is_busy(j, job_id))
        return;
    struct job *job = job_from_intent(job_id);
    switch (schedule_enter(j->schedule, job)) {
    case SCHEDULE_ENTERED: schedule_add(j->schedule, job); return;
    case SCHEDULE_FULL:
        s->room = false;
        text_copy(s->resume, sizeof(s->resume), job_id);
        break;
    case SCHEDULE_KNOWN: break;
    }
    job_free(job);
}

static void take_due(struct scan *s)
{
    struct janitor *j = s->janitor;
    char due[DUE_AT_ONCE][JOB_ID_SIZE];
    size_t n;
    s->room = true;
    while (s->room && !schedule_stopping(j->schedule) &&
           (n = backlog_due(j->backlog, clock_mono_ms(), due, DUE_AT_ONCE)) > 0)
        for (size_t i = 0; i < n; i++)
            take_up(s, due[i]);
}

/* ---- Scanning ---- */

/* The id in an intent's key; NULL: it is none of ours. */
static const char *id_of(const char *key)
{
    const char *id = key + strlen(LAYOUT_INTENTS);
    bool is_hash =
        strlen(id) == JOB_ID_SIZE - 1 && strspn(id, "0123456789abcdef") == JOB_ID_SIZE - 1;
    return is_hash ? id : NULL;
}

static void see(struct scan *s, const struct store_entry *e, uint64_t now_ms)
{
    struct janitor *j = s->janitor;
    const char *id = id_of(e->key);
    if (!id)
        return;
    s->seen.intents++;
    if (!s->seen.oldest_modified_s || e->modified_s < s->seen.oldest_modified_s)
        s->seen.oldest_modified_s = e->modified_s;
    if (!schedule_poke(j->schedule, id, e->etag) && !backlog_waits(j->backlog, id, e->etag, now_ms))
        memcpy(s->unknown[s->n_unknown++], id, JOB_ID_SIZE);
}

static void scan_page(void *user, const struct store_page *page)
{
    struct scan *s = user;
    uint64_t now_ms = clock_mono_ms();
    s->n_unknown = 0;
    if (!s->seen.scanned_at_s)
        s->seen.scanned_at_s = page->server_time_s;
    for (size_t i = 0; i < page->n; i++)
        see(s, &page->entries[i], now_ms);
    free(s->token);
    s->token = page->next_token ? xstrdup(page->next_token) : NULL;
}

/* Behind where the scan before had no room, then all the others. */
static bool is_turn(const struct scan *s, const char *job_id, bool second)
{
    return (strcmp(job_id, s->resume) >= 0) != second;
}

static int scan_from(struct scan *s, bool second, struct store_err *err)
{
    struct janitor *j = s->janitor;
    int rc;
    do {
        const struct store_list_opts opts = {.token = s->token};
        rc = store_sync_list(j->store, s->loop, LAYOUT_INTENTS, &opts, scan_page, s, err);
        for (size_t i = 0; rc == 0 && s->room && i < s->n_unknown; i++)
            if (is_turn(s, s->unknown[i], second) && !schedule_stopping(j->schedule))
                take_up(s, s->unknown[i]);
    } while (rc == 0 && s->token && !schedule_stopping(j->schedule));
    free(s->token);
    s->token = NULL;
    return rc;
}

static int scan_once(struct scan *s, struct store_err *err)
{
    s->room = true;
    s->seen = (struct scan_status){0};
    backlog_scan_begin(s->janitor->backlog);
    int rc = scan_from(s, false, err);
    if (rc != 0 || schedule_stopping(s->janitor->schedule))
        return rc;
    backlog_scan_end(s->janitor->backlog);
    pthread_mutex_lock(&s->lock);
    s->status = s->seen;
    pthread_mutex_unlock(&s->lock);
    if (s->room && *s->resume) {
        rc = scan_from(s, true, err);
        if (s->room)
            s->resume[0] = '\0';
    }
    return rc;
}

static void wait_for_work(struct scan *s)
{
    static const struct timespec tick = {0, TICK_MS * 1000000};
    struct janitor *j = s->janitor;
    uint64_t until_ms = clock_mono_ms() + j->conf->intent_scan_interval_ms, next_ms = 0;
    while (clock_mono_ms() < until_ms && !schedule_stopping(j->schedule)) {
        if (clock_mono_ms() >= next_ms) {
            take_due(s);
            next_ms = clock_mono_ms() + 10 * TICK_MS;
        }
        nanosleep(&tick, NULL);
    }
}

static void *thread_main(void *user)
{
    struct scan *s = user;
    struct store_err err;
    while (!schedule_stopping(s->janitor->schedule)) {
        if (scan_once(s, &err) != 0)
            log_warn("intents cannot be listed", LOG_ERR(&err));
        wait_for_work(s);
    }
    return NULL;
}

/* ---- Life ---- */

static void scan_free(struct scan *s)
{
    store_loop_free(s->loop);
    pthread_mutex_destroy(&s->lock);
    free(s->unknown);
    free(s);
}

int scan_start(struct janitor *j, struct scan **out, struct store_err *err)
{
    struct scan *s = xcalloc(1, sizeof(*s));
    s->janitor = j;
    s->unknown = xcalloc(STORE_MAX_BATCH, JOB_ID_SIZE);
    pthread_mutex_init(&s->lock, NULL);
    int rc = store_loop_new(&s->loop, err);
    int e = rc == 0 ? pthread_create(&s->thread, NULL, thread_main, s) : 0;
    if (e)
        rc = store_err_errno(err, e, "cannot start the scanner");
    if (rc != 0)
        scan_free(s);
    else
        *out = s;
    return rc;
}

void scan_stop(struct scan *s)
{
    if (!s)
        return;
    pthread_join(s->thread, NULL);
    scan_free(s);
}

void scan_status(struct scan *s, struct scan_status *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->status;
    pthread_mutex_unlock(&s->lock);
}
