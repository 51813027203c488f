/* `janitor watch`: follows the notices of all janitors. On a terminal a picture that is painted
 * anew, elsewhere a line for each change; with --json a line for each notice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/xalloc.h"
#include "janitor/commands.h"
#include "janitor/redis_notice.h"
#include "janitor/view.h"

enum {
    MAX_JANITORS = 32,
    WAIT_MS = 500,
    PAINT_EVERY_MS = 200,
    DEFAULT_ROWS = 40,
    FRAME_ROWS = 6, /* what a picture has besides janitors and jobs */
};

struct seen {
    struct notice now;
    uint64_t heard_ms;
};

struct watch {
    struct call *call;
    char tenant[ID_SIZE]; /* "": all */
    bool paints;
    struct seen *janitors;
    size_t n;
    uint64_t heard, painted_ms;
    bool lost;
};

/* ---- What is known ---- */

static bool is_wanted(const struct watch *w, const struct notice_job *j)
{
    char path[SCOPE_PATH_SIZE];
    snprintf(path, sizeof(path), "tenants/%s", w->tenant);
    return !*w->tenant || strncmp(j->scope, path, strlen(path)) == 0;
}

static void keep_wanted(const struct watch *w, struct notice *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n->n_jobs; i++)
        if (is_wanted(w, &n->jobs[i]))
            n->jobs[kept++] = n->jobs[i];
    n->n_jobs = kept;
}

static struct seen *find(struct watch *w, const char *janitor)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->janitors[i].now.janitor, janitor) == 0)
            return &w->janitors[i];
    return NULL;
}

static const struct notice_job *find_job(const struct notice *n, const char *job_id)
{
    for (size_t i = 0; n && i < n->n_jobs; i++)
        if (strcmp(n->jobs[i].job_id, job_id) == 0)
            return &n->jobs[i];
    return NULL;
}

static struct view view_of(const struct notice_job *j)
{
    struct view v = {.intent = INTENT_NONE, .has_record = true};
    text_copy(v.job_id, sizeof(v.job_id), j->job_id);
    text_copy(v.r.scope, sizeof(v.r.scope), j->scope);
    text_copy(v.r.upto_gen, sizeof(v.r.upto_gen), j->upto_gen);
    text_copy(v.r.state, sizeof(v.r.state), j->state);
    text_copy(v.r.error, sizeof(v.r.error), j->error);
    v.r.files = j->files;
    v.r.bytes = j->bytes;
    v.r.accepted_at_s = j->accepted_at_s;
    v.r.dry_run = j->dry_run;
    return v;
}

/* ---- Lines ---- */

static void say(const struct notice *n, const char *what, const char *more)
{
    char janitor[LEDGER_OWNER_SIZE], text[256];
    printf("janitor %s %s%s%s\n", view_clean(n->janitor, janitor, sizeof(janitor)), what,
           *more ? ": " : "", view_clean(more, text, sizeof(text)));
}

static bool has_trouble(const struct notice *n, const char *text)
{
    for (size_t i = 0; n && i < n->n_troubles; i++)
        if (strcmp(n->troubles[i], text) == 0)
            return true;
    return false;
}

/* What n tells that old (NULL: the first) did not. */
static void print_changes(const struct notice *old, const struct notice *n)
{
    if (!old || n->stopping)
        say(n, n->stopping ? "has stopped" : "is there", "");
    for (size_t i = 0; i < n->n_troubles; i++)
        if (!has_trouble(old, n->troubles[i]))
            say(n, "has trouble", n->troubles[i]);
    for (size_t i = 0; i < n->n_jobs; i++) {
        const struct notice_job *was = find_job(old, n->jobs[i].job_id);
        struct view v = view_of(&n->jobs[i]);
        if (!was || strcmp(was->state, v.r.state) != 0)
            view_print_row(&v, n->at_s, stdout);
    }
}

static void print_json(const struct notice *n)
{
    json_t *o = notice_json(n, true);
    if (!o)
        return;
    json_dumpf(o, stdout, JSON_COMPACT);
    json_decref(o);
    putchar('\n');
}

/* ---- A picture ---- */

static size_t terminal_rows(void)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0;
    return known ? size.ws_row : DEFAULT_ROWS;
}

/* The end of each line goes, too: what was there before is not erased first, and so does not
 * flicker. */
static void paint_jobs(const struct watch *w, size_t rows)
{
    size_t left_off = 0;
    for (size_t i = 0; i < w->n; i++)
        for (size_t k = 0; k < w->janitors[i].now.n_jobs; k++) {
            struct view v = view_of(&w->janitors[i].now.jobs[k]);
            if (rows == 0) {
                left_off++;
                continue;
            }
            fputs("\033[K", stdout);
            view_print_row(&v, w->janitors[i].now.at_s, stdout);
            rows--;
        }
    if (left_off)
        printf("\033[K... and %zu more that are told of: epufs-janitor list has all\n", left_off);
}

static void paint(struct watch *w, uint64_t now_ms)
{
    size_t rows = terminal_rows(), used = FRAME_ROWS + w->n;
    w->painted_ms = now_ms;
    fputs("\033[H\033[K", stdout);
    command_print_janitor_head();
    for (size_t i = 0; i < w->n; i++) {
        fputs("\033[K", stdout);
        command_print_janitor(&w->janitors[i].now, clock_real_s());
        used += w->janitors[i].now.n_troubles;
    }
    fputs("\033[K\n\033[K", stdout);
    view_print_head(stdout);
    paint_jobs(w, rows > used ? rows - used : 1);
    fputs("\033[J", stdout);
}

/* ---- Following ---- */

static void drop(struct watch *w, struct seen *s)
{
    *s = w->janitors[--w->n];
}

static void take(struct watch *w, const struct notice *n, uint64_t now_ms)
{
    struct seen *s = find(w, n->janitor);
    w->heard++;
    if (w->call->own->json)
        print_json(n);
    else if (!w->paints)
        print_changes(s ? &s->now : NULL, n);
    if (!s && w->n < MAX_JANITORS)
        s = &w->janitors[w->n++];
    if (!s)
        return;
    s->now = *n;
    s->heard_ms = now_ms;
    if (n->stopping)
        drop(w, s);
}

static void drop_silent(struct watch *w, uint64_t now_ms)
{
    for (size_t i = w->n; i-- > 0;) {
        struct seen *s = &w->janitors[i];
        if (now_ms - s->heard_ms < s->now.every_ms * NOTICE_MISSED)
            continue;
        if (!w->call->own->json && !w->paints)
            say(&s->now, "is silent", "");
        drop(w, s);
    }
}

/* Whether Redis is there, for people; what comes meanwhile is lost. */
static void note_redis(struct watch *w, const struct store_err *err)
{
    bool lost = err->code != STORE_OK;
    if (lost && !w->lost)
        fprintf(stderr, "epufs-janitor watch: %s; trying again\n", err->msg);
    else if (!lost && w->lost)
        fprintf(stderr, "epufs-janitor watch: Redis is back\n");
    w->lost = lost;
}

static void follow(struct watch *w, struct redis_notice *redis)
{
    struct notice *n = xcalloc(1, sizeof(*n));
    uint64_t began_ms = clock_mono_ms(), now_ms = began_ms, most_ms = w->call->own->follow_ms;
    while ((!most_ms || now_ms - began_ms < most_ms) && !ferror(stdout)) {
        struct store_err err, unreadable;
        char *text = redis_notice_next(redis, WAIT_MS, &err);
        now_ms = clock_mono_ms();
        note_redis(w, &err);
        if (text && notice_parse(text, strlen(text), n, &unreadable) == 0) {
            keep_wanted(w, n);
            take(w, n, now_ms);
        }
        free(text);
        drop_silent(w, now_ms);
        if (w->paints && now_ms - w->painted_ms >= PAINT_EVERY_MS)
            paint(w, now_ms);
        fflush(stdout);
    }
    free(n);
}

int command_watch(struct call *call)
{
    struct watch w = {.call = call};
    struct redis_notice *redis;
    struct store_err err;
    const struct redis_conf conf = conf_redis(call->conf);
    if (command_tenant(call, w.tenant, &err) != 0)
        return command_misused(call, &err);
    if (!conf.url || !*conf.url) {
        store_err_set(
            &err, STORE_INVALID,
            "what it follows goes through Redis: expected redis_url; epufs-janitor status "
            "needs none");
        return command_failed(call, &err);
    }
    if (redis_notice_open(&conf, &redis, &err) != 0)
        return command_failed(call, &err);
    w.paints = !call->own->json && isatty(STDOUT_FILENO);
    w.janitors = xcalloc(MAX_JANITORS, sizeof(*w.janitors));
    if (w.paints)
        fputs("\033[2J", stdout);
    follow(&w, redis);
    redis_notice_close(redis);
    free(w.janitors);
    if (w.heard)
        return COMMAND_DONE;
    store_err_set(&err, STORE_TIMEOUT,
                  "no notice came: no janitor runs with this Redis, or its notice_interval is 0");
    return command_failed(call, &err);
}
