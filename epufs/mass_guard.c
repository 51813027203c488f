/* create ours → list all → remove what has lapsed, and ours when there are too many → tell */
#include "epufs/mass_guard.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

enum {
    MAX_TRIES = 3, /* ours had lapsed, and is made anew */
    TIMEOUT_MS = 10000,
};

/* Waits for exactly one operation. */
struct mass_guard_check {
    store *store;
    store_loop *loop;
    struct mass_guard_conf conf;
    char key[LAYOUT_KEY_SIZE]; /* ours */
    unsigned tries;
    store_op *op;
    bool canceled;
    bool created;    /* ours, just now */
    bool has_lapsed; /* ours was an old one */
    bool hold;
    uint64_t others;             /* let through within the window */
    char *token;                 /* of the next page; NULL: there is none */
    char *gone[STORE_MAX_BATCH]; /* keys to be removed */
    size_t n_gone;
    struct store_err err; /* of a page */
    void (*done)(void *user, const struct store_err *err, bool hold);
    void *user;
};

static void forget_gone(struct mass_guard_check *g)
{
    for (size_t i = 0; i < g->n_gone; i++)
        free(g->gone[i]);
    g->n_gone = 0;
}

static void guard_free(struct mass_guard_check *g)
{
    forget_gone(g);
    free(g->token);
    free(g);
}

static void end(struct mass_guard_check *g, const struct store_err *err)
{
    g->done(g->user, err, g->hold);
    guard_free(g);
}

/* What each operation ends with. True: the guard was canceled, and is gone now. */
static bool op_over(struct mass_guard_check *g)
{
    bool canceled = g->canceled;
    g->op = NULL;
    if (canceled)
        guard_free(g);
    return canceled;
}

static int start_create(struct mass_guard_check *g, struct store_err *err);
static void start_list(struct mass_guard_check *g);

/* ---- Remove ---- */

static void create_again(struct mass_guard_check *g)
{
    struct store_err err;
    if (++g->tries == MAX_TRIES)
        store_err_set(&err, STORE_BUSY, "%.150s: is old each time that it is made", g->key);
    else if (start_create(g, &err) == 0)
        return;
    end(g, &err);
}

static void remove_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct mass_guard_check *g = user;
    (void)info;
    if (op_over(g))
        return;
    forget_gone(g);
    if (err->code == STORE_OK && g->has_lapsed && !g->hold)
        create_again(g);
    else
        end(g, err);
}

static void start_remove(struct mass_guard_check *g)
{
    static const struct store_err none = {0};
    struct store_err err;
    if (g->n_gone == 0) {
        end(g, &none);
        return;
    }
    g->op = store_delete_many(g->store, g->loop, (const char *const *)g->gone, g->n_gone,
                              TIMEOUT_MS, remove_done, g, &err);
    if (!g->op)
        end(g, &err);
}

/* ---- List ---- */

static void remove_key(struct mass_guard_check *g, const char *key)
{
    if (g->n_gone < LEN(g->gone))
        g->gone[g->n_gone++] = xstrdup(key);
}

static void on_page(void *user, const struct store_page *page)
{
    struct mass_guard_check *g = user;
    free(g->token);
    g->token = xstrdup(page->next_token);
    if (!page->server_time_s)
        store_err_set(&g->err, STORE_FAILED, "list " LAYOUT_GUARD ": the store tells no time");
    for (size_t i = 0; i < page->n; i++) {
        const struct store_entry *e = &page->entries[i];
        bool ours = strcmp(e->key, g->key) == 0;
        bool lapsed = e->modified_s + (int64_t)g->conf.window_s < page->server_time_s;
        g->has_lapsed |= ours && lapsed;
        g->others += !ours && !lapsed;
        if (lapsed)
            remove_key(g, e->key);
    }
}

static void decide(struct mass_guard_check *g)
{
    g->hold = (g->created || g->has_lapsed) && g->others >= g->conf.max_tenants;
    if (g->hold && g->created) {
        g->n_gone -= g->n_gone == LEN(g->gone); /* this one must go */
        remove_key(g, g->key);
    }
    start_remove(g);
}

static void list_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct mass_guard_check *g = user;
    (void)info;
    if (op_over(g))
        return;
    if (err->code != STORE_OK || g->err.code != STORE_OK)
        end(g, err->code != STORE_OK ? err : &g->err);
    else if (g->token)
        start_list(g);
    else
        decide(g);
}

static void start_list(struct mass_guard_check *g)
{
    static const struct store_list_cb cb = {on_page, list_done};
    const struct store_list_opts opts = {.token = g->token, .timeout_ms = TIMEOUT_MS};
    struct store_err err;
    g->op = store_list(g->store, g->loop, LAYOUT_GUARD, &opts, &cb, g, &err);
    if (!g->op)
        end(g, &err);
}

/* ---- Create ---- */

static void create_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct mass_guard_check *g = user;
    (void)info;
    if (op_over(g))
        return;
    g->created = err->code == STORE_OK;
    g->has_lapsed = false;
    g->others = 0;
    if (g->created || err->code == STORE_PRECONDITION)
        start_list(g);
    else
        end(g, err);
}

static int start_create(struct mass_guard_check *g, struct store_err *err)
{
    static const struct store_put_opts opts = {
        .content_type = "application/json", .if_absent = true, .timeout_ms = TIMEOUT_MS};
    static const char text[] = "{\"schema\":1}";
    g->op =
        store_put_bytes(g->store, g->loop, g->key, text, strlen(text), &opts, create_done, g, err);
    return g->op ? 0 : -1;
}

/* ---- The interface ---- */

bool mass_guard_minds(const struct mass_guard_conf *conf, const struct deletion *d)
{
    return conf->max_tenants && d->scope.kind == SCOPE_TENANT && !d->dry_run;
}

void mass_guard_hold(const struct mass_guard_conf *conf, struct deletion *d)
{
    d->state = DELETION_HELD;
    snprintf(d->note, sizeof(d->note),
             "held by the guard: %" PRIu64 " other tenants were to be deleted within %" PRIu32 "s",
             conf->max_tenants, conf->window_s);
}

struct mass_guard_check *mass_guard_start(store *s, store_loop *loop,
                                          const struct mass_guard_conf *conf, const char *tenant,
                                          void (*done)(void *user, const struct store_err *err,
                                                       bool hold),
                                          void *user, struct store_err *err)
{
    struct mass_guard_check *g = xcalloc(1, sizeof(*g));
    g->store = s;
    g->loop = loop;
    g->conf = *conf;
    g->done = done;
    g->user = user;
    layout_guard(tenant, g->key);
    if (start_create(g, err) == 0)
        return g;
    guard_free(g);
    return NULL;
}

void mass_guard_cancel(struct mass_guard_check *g)
{
    g->canceled = true;
    store_op_cancel(g->op); /* its end frees */
}

/* ---- Blocking ---- */

struct mass_guard_wait {
    bool over, hold;
    struct store_err err;
};

static void wait_done(void *user, const struct store_err *err, bool hold)
{
    struct mass_guard_wait *w = user;
    *w = (struct mass_guard_wait){true, hold, *err};
}

int mass_guard_now(store *s, store_loop *loop, const struct mass_guard_conf *conf,
                   const char *tenant, bool *hold, struct store_err *err)
{
    struct mass_guard_wait w = {0};
    if (!mass_guard_start(s, loop, conf, tenant, wait_done, &w, err))
        return -1;
    while (!w.over) {
        int rc = store_loop_run(loop, -1, NULL);
        assert(rc == 0);
        (void)rc;
    }
    *hold = w.hold;
    *err = w.err;
    return err->code == STORE_OK ? 0 : -1;
}
