/* `janitor status` and `janitor list`: what is open, by the intents in the store, which are the
 * truth; with progress as far as Redis knows it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "epufs/intent.h"
#include "epufs/window.h"
#include "janitor/jobs.h"
#include "janitor/redis_notice.h"

enum { MAX_ROWS = 20, MAX_RECENT = 20, MAX_JANITORS = 20 };

/* ---- Status ---- */

/* What is counted by itself; all else is open. */
static const char *const counted[] = {"open",    "delayed",   "held",      "failed",
                                      "closing", "cancelled", "unreadable"};

struct status {
    struct call *call;
    struct sources sources;
    int64_t now_s;
    uint64_t totals[LEN(counted)];
    struct view rows[MAX_ROWS];
    size_t n_rows;
    uint64_t n_all;
    bool has_oldest;
    struct view oldest;
    bool window_known;
    uint32_t window_s, needed_s;
    struct ledger_job recent[MAX_RECENT];
    size_t n_recent;
    struct notice *janitors; /* the heartbeats of those that live, as Redis has them */
    size_t n_janitors;
};

static size_t class_of(const struct status *st, const struct view *v)
{
    for (size_t i = 1; i < LEN(counted); i++)
        if (view_matches(v, counted[i], st->now_s))
            return i;
    return 0;
}

static bool count(void *user, struct view *v)
{
    struct status *st = user;
    size_t class = class_of(st, v);
    int64_t at_s = view_accepted_at_s(v);
    st->totals[class]++;
    st->n_all++;
    if (st->n_rows < MAX_ROWS)
        st->rows[st->n_rows++] = *v;
    if (class == 0 && at_s && (!st->has_oldest || at_s < view_accepted_at_s(&st->oldest))) {
        st->oldest = *v;
        st->has_oldest = true;
    }
    return true;
}

static void read_window(struct status *st)
{
    struct window_largest largest;
    struct store_err err;
    st->window_s = window_round_s(st->call->conf->upload_window_ms);
    if (st->sources.store_up &&
        window_read(st->call->janitor.store, st->call->loop, &largest, &err) == 0) {
        st->window_known = true;
        st->needed_s = largest.needed_s;
    }
}

/* Who has none, since notice_interval is 0 or Redis is away, works all the same. */
static void read_janitors(struct status *st)
{
    const struct redis_conf conf = conf_redis(st->call->conf);
    struct redis_notice *redis;
    struct store_err err;
    if (!st->sources.redis_up || redis_notice_open(&conf, &redis, &err) != 0)
        return;
    st->n_janitors = MAX_JANITORS;
    redis_notice_janitors(redis, st->janitors, &st->n_janitors, &err);
    redis_notice_close(redis);
}

static int collect(struct status *st, struct store_err *err)
{
    struct call *call = st->call;
    if (jobs_each(call, "", count, st, &st->sources, err) != 0)
        return -1;
    for (size_t i = 0; i < st->n_rows; i++)
        jobs_add_record(call, &st->rows[i]);
    if (st->has_oldest)
        jobs_add_record(call, &st->oldest);
    read_window(st);
    read_janitors(st);
    st->n_recent = MAX_RECENT;
    if (!st->sources.redis_up ||
        ledger_recent(call->janitor.ledger, st->recent, &st->n_recent) != LEDGER_OK)
        st->n_recent = 0;
    return 0;
}

static struct view done_view(const struct ledger_job *r)
{
    struct view v = {.intent = INTENT_NONE, .has_record = true, .r = *r};
    memcpy(v.job_id, r->job_id, sizeof(v.job_id));
    return v;
}

static bool window_short(const struct status *st)
{
    return st->window_known && st->needed_s > st->window_s;
}

/* ---- Status as JSON ---- */

static json_t *oldest_json(const struct status *st)
{
    if (!st->has_oldest)
        return json_null();
    json_t *o = view_json(&st->oldest, st->now_s);
    intent_put(o, "age_s", json_integer(st->now_s - view_accepted_at_s(&st->oldest)));
    return o;
}

static json_t *window_json(const struct status *st)
{
    json_t *o = json_object();
    intent_put(o, "window_s", json_integer(st->window_s));
    intent_put(o, "needed_s", st->window_known ? json_integer(st->needed_s) : json_null());
    intent_put(o, "short", json_boolean(window_short(st)));
    return o;
}

static void print_json(const struct status *st)
{
    json_t *o = json_object(), *totals = json_object(), *open = json_array(), *done = json_array(),
           *janitors = json_array();
    for (size_t i = 0; i < LEN(counted); i++)
        intent_put(totals, counted[i], json_integer((json_int_t)st->totals[i]));
    for (size_t i = 0; i < st->n_rows; i++)
        json_array_append_new(open, view_json(&st->rows[i], st->now_s));
    for (size_t i = 0; i < st->n_recent; i++) {
        struct view v = done_view(&st->recent[i]);
        json_array_append_new(done, view_json(&v, st->now_s));
    }
    for (size_t i = 0; i < st->n_janitors; i++)
        json_array_append_new(janitors, notice_json(&st->janitors[i], false));
    intent_put(o, "degraded", json_boolean(!sources_complete(&st->sources)));
    intent_put(o, "store", sources_json(st->call, &st->sources, "store"));
    intent_put(o, "redis", sources_json(st->call, &st->sources, "redis"));
    intent_put(o, "upload_window", window_json(st));
    intent_put(o, "janitors", janitors);
    intent_put(o, "totals", totals);
    intent_put(o, "oldest_open", oldest_json(st));
    intent_put(o, "open", open);
    intent_put(o, "completed", done);
    command_print(o);
}

/* ---- Status as text ---- */

static void print_sources(const struct status *st)
{
    const struct sources *s = &st->sources;
    char error[300];
    printf("Store   %s  %s\n", s->store_up ? "answers" : "DOWN   ", st->call->conf->service.store);
    if (!s->store_up)
        printf("        what follows is what Redis knows; no deletion goes on, none is lost\n"
               "        %s\n",
               view_clean(s->store_err.msg, error, sizeof(error)));
    if (!s->has_redis)
        printf("Redis   none is configured: no progress, no list of what was completed\n");
    else if (s->redis_up)
        printf("Redis   answers\n");
    else
        printf("Redis   DOWN     deletions go on; progress and what was completed are not known\n"
               "        %s\n",
               view_clean(s->redis_err, error, sizeof(error)));
    if (window_short(st))
        printf(
            "Window  SHORT    upload_window is %us, a writer's uploads may take %us: no deletion "
            "completes\n",
            st->window_s, st->needed_s);
}

static void print_totals(const struct status *st)
{
    char age[32];
    printf("Open    %llu", (unsigned long long)st->totals[0]);
    for (size_t i = 1; i < LEN(counted); i++)
        if (st->totals[i] || i <= 3) /* delayed, held and failed are worth a zero */
            printf(", %llu %s", (unsigned long long)st->totals[i], counted[i]);
    putchar('\n');
    if (st->has_oldest)
        printf("Oldest  %s  %.10s %s\n", view_age(st->now_s - view_accepted_at_s(&st->oldest), age),
               st->oldest.job_id, view_state(&st->oldest, st->now_s));
}

static const char *lane_text(const struct notice_lane *l, char out[48])
{
    int n = snprintf(out, 48, "%llu/%llu", (unsigned long long)l->running,
                     (unsigned long long)l->workers);
    if (l->due)
        snprintf(out + n, 48 - (size_t)n, "+%llu", (unsigned long long)l->due);
    return out;
}

static const char *limit_text(const struct notice *n, char out[64])
{
    if (!n->delete_rate && !n->tenant_delete_rate)
        return "none";
    int at = n->delete_rate ? snprintf(out, 64, "%llu/s ", (unsigned long long)n->delete_rate) : 0;
    if (n->tenant_delete_rate)
        snprintf(out + at, 64 - (size_t)at, "%llu/s a tenant",
                 (unsigned long long)n->tenant_delete_rate);
    return out;
}

void command_print_janitor_head(void)
{
    printf("%-36s  %6s  %7s  %-8s  %-8s  %-8s  %8s  %s\n", "JANITOR", "HEARD", "OPEN", "ACCEPT",
           "SMALL", "BIG", "FILES/S", "LIMIT");
}

void command_print_janitor(const struct notice *n, int64_t now_s)
{
    char name[LEDGER_OWNER_SIZE], age[32], lanes[LANES][48], limit[64], text[256];
    printf("%-36s  %6s  %7llu  %-8s  %-8s  %-8s  %8llu  %s\n",
           view_clean(n->janitor, name, sizeof(name)), view_age(now_s - n->at_s, age),
           (unsigned long long)notice_n_open(n), lane_text(&n->lanes[LANE_ACCEPT], lanes[0]),
           lane_text(&n->lanes[LANE_SMALL], lanes[1]), lane_text(&n->lanes[LANE_BIG], lanes[2]),
           (unsigned long long)n->files_per_s, limit_text(n, limit));
    for (size_t i = 0; i < n->n_troubles; i++)
        printf("        %s\n", view_clean(n->troubles[i], text, sizeof(text)));
}

static void print_janitors(const struct status *st)
{
    if (!st->sources.redis_up)
        return;
    printf("\nJanitors%s\n", st->n_janitors ? "" : ": none tells of itself");
    if (st->n_janitors)
        command_print_janitor_head();
    for (size_t i = 0; i < st->n_janitors; i++)
        command_print_janitor(&st->janitors[i], st->now_s);
}

static void print_text(const struct status *st)
{
    print_sources(st);
    print_totals(st);
    print_janitors(st);
    printf("\nOpen\n");
    view_print_head(stdout);
    for (size_t i = 0; i < st->n_rows; i++)
        view_print_row(&st->rows[i], st->now_s, stdout);
    if (st->n_all > st->n_rows)
        printf("... and %llu more: epufs-janitor list\n",
               (unsigned long long)(st->n_all - st->n_rows));
    printf("\nCompleted lately%s\n", st->sources.redis_up ? "" : ": not known without Redis");
    if (st->sources.redis_up)
        view_print_head(stdout);
    for (size_t i = 0; i < st->n_recent; i++) {
        struct view v = done_view(&st->recent[i]);
        view_print_row(&v, st->now_s, stdout);
    }
}

int command_status(struct call *call)
{
    struct store_err err;
    struct status *st = xcalloc(1, sizeof(*st));
    st->call = call;
    st->now_s = clock_real_s();
    st->janitors = xcalloc(MAX_JANITORS, sizeof(*st->janitors));
    int rc = COMMAND_DONE;
    if (collect(st, &err) != 0) {
        rc = command_failed(call, &err);
    } else {
        (call->own->json ? print_json : print_text)(st);
        rc = sources_complete(&st->sources) ? COMMAND_DONE : COMMAND_DEGRADED;
    }
    free(st->janitors);
    free(st);
    return rc;
}

/* ---- List ---- */

struct list {
    struct call *call;
    int64_t now_s;
    char tenant[ID_SIZE]; /* "": of all */
    size_t n;
};

static bool is_tenants(const struct view *v, const char *tenant)
{
    char path[SCOPE_PATH_SIZE];
    if (!*tenant)
        return true;
    if (v->intent == INTENT_READ)
        return strcmp(v->d.scope.tenant, tenant) == 0;
    snprintf(path, sizeof(path), "tenants/%s", tenant);
    return v->has_record && strncmp(v->r.scope, path, strlen(path)) == 0;
}

static bool is_wanted(const struct list *l, const struct view *v)
{
    const struct command_conf *own = l->call->own;
    int64_t at_s = view_accepted_at_s(v);
    if (!is_tenants(v, l->tenant) || !view_matches(v, view_states[own->state], l->now_s))
        return false;
    return !own->older_than_ms || (at_s && l->now_s - at_s > (int64_t)(own->older_than_ms / 1000));
}

static bool list_one(void *user, struct view *v)
{
    struct list *l = user;
    if (is_tenants(v, l->tenant))
        jobs_add_record(l->call, v);
    if (!is_wanted(l, v))
        return true;
    if (l->call->own->json)
        command_print_element(view_json(v, l->now_s), &l->n);
    else
        view_print_row(v, l->now_s, stdout);
    return !ferror(stdout); /* such as a pager that was left */
}

int command_list(struct call *call)
{
    const struct command_conf *own = call->own;
    struct list l = {.call = call, .now_s = clock_real_s()};
    struct sources src;
    struct store_err err;
    if (command_tenant(call, l.tenant, &err) != 0)
        return command_misused(call, &err);
    if (!own->json)
        view_print_head(stdout);
    int rc = jobs_each(call, "", list_one, &l, &src, &err);
    if (own->json)
        command_print_end(l.n, rc != 0);
    if (rc != 0)
        return command_failed(call, &err);
    sources_warn(call, &src);
    return sources_complete(&src) ? COMMAND_DONE : COMMAND_DEGRADED;
}
