/* Removes a prefix: see purge.h. Here are its passes, its progress and its end. */
#include <stdlib.h>
#include <string.h>

#include "libstore/purge.h"

enum { DEFAULT_BATCHES = 8, MIN_DEFAULT_LISTINGS = 4, DEFAULT_TIMEOUT_MS = 120000 };

void purge_fail(struct purge *p, const struct store_err *err)
{
    if (p->err.code == STORE_OK)
        p->err = *err;
    p->stopping = true;
}

void purge_no_memory(struct purge *p)
{
    struct store_err err;
    store_err_set(&err, STORE_NO_MEMORY, "delete of prefix '%.100s': out of memory", p->prefix);
    purge_fail(p, &err);
}

/* ---- Progress ---- */

/* Moves the cursor up to where everything is gone. */
static void move_cursor(struct purge *p)
{
    const char *least = NULL;
    if (p->pass == STORE_LIST_UPLOADS)
        return;
    for (size_t i = 0; i < p->n_batches; i++)
        if (!least || strcmp(p->batches[i]->before, least) < 0)
            least = p->batches[i]->before;
    for (size_t i = 0; i < p->n_listers; i++)
        if (!p->listers[i]->ended && (!least || strcmp(p->listers[i]->settled, least) < 0))
            least = p->listers[i]->settled;
    if (!least)
        least = p->last_key;
    if (strcmp(least, p->cursor) > 0)
        strcpy(p->cursor, least);
}

void purge_tell(struct purge *p)
{
    move_cursor(p);
    if (p->stopping || !p->cb.progress || p->cb.progress(p->user, &p->progress))
        return;
    struct store_err err;
    store_err_set(&err, STORE_CANCELED, "delete of %.150s: stopped by its caller", p->prefix);
    purge_fail(p, &err);
}

/* ---- Moving on ---- */

static void purge_free(struct purge *p)
{
    listers_free(p);
    batches_free(p);
    free(p->prefix);
    free((char *)p->opts.end_before);
    free(p);
}

static void purge_end(struct purge *p)
{
    move_cursor(p);
    p->cb.done(p->user, &p->err, &p->progress);
    loop_defer_clear(p->op.loop, &p->step);
    op_delist(&p->op);
    purge_free(p);
}

static void purge_step(void *user)
{
    struct purge *p = user;
    if (!p->stopping) {
        batches_start(p);
        listers_start(p);
    }
    if (p->stopping)
        listers_cancel(p);
    if (listers_running(p) > 0 || batches_running(p) > 0)
        return;
    if (p->stopping || p->pass != STORE_LIST_UPLOADS) {
        purge_end(p);
        return;
    }
    p->pass = p->opts.versions ? STORE_LIST_VERSIONS : STORE_LIST_OBJECTS;
    lister_begin(p);
    loop_defer(p->op.loop, &p->step);
}

void purge_cancel(struct store_op *op)
{
    struct purge *p = (struct purge *)op;
    struct store_err err;
    store_err_set(&err, STORE_CANCELED, "delete of %.150s: canceled", p->prefix);
    purge_fail(p, &err);
    batches_cancel(p);
    loop_defer(p->op.loop, &p->step);
}

/* ---- Beginning ---- */

static int check_args(const store *s, const char *prefix, const struct store_delete_prefix_opts *o,
                      struct store_err *err)
{
    size_t n = prefix ? strlen(prefix) : 0;
    bool is_all = prefix && n == 0 && s->within_len > 0;
    if (!is_all && (n < 2 || n > s->max_key || prefix[n - 1] != '/'))
        return store_err_set(err, STORE_INVALID,
                             "delete of prefix '%.100s': expected 2 to %zu bytes that end in '/'",
                             prefix ? prefix : "", s->max_key);
    if (o->cursor && strlen(o->cursor) > s->max_key)
        return store_err_set(err, STORE_INVALID, "delete of prefix '%.100s': cursor is too long",
                             prefix);
    return 0;
}

/* given, or the default for 0, and no more than max. */
static uint32_t bounded(uint32_t given, uint32_t by_default, uint32_t max)
{
    uint32_t n = given ? given : by_default;
    return n < max ? n : max;
}

/* A page takes about a third of the time of a batch at a distant store; a half leaves room for
 * pages that a cut wastes. */
static uint32_t default_listings(const struct store_delete_prefix_opts *o)
{
    uint32_t half = o->batches_in_flight / 2;
    return half > MIN_DEFAULT_LISTINGS ? half : MIN_DEFAULT_LISTINGS;
}

static struct purge *purge_new(const char *prefix, const struct store_delete_prefix_opts *o)
{
    struct purge *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->opts = *o;
    p->opts.cursor = NULL;
    p->opts.end_before = o->end_before ? strdup(o->end_before) : NULL;
    p->prefix = strdup(prefix);
    p->prefix_len = strlen(prefix);
    if (!p->prefix || (o->end_before && !p->opts.end_before)) {
        purge_free(p);
        return NULL;
    }
    p->opts.batches_in_flight = bounded(o->batches_in_flight, DEFAULT_BATCHES, PURGE_MAX_BATCHES);
    purge_window_init(&p->window, p->opts.batches_in_flight, o->yielding);
    p->opts.listings_in_flight =
        bounded(o->listings_in_flight, default_listings(&p->opts), PURGE_MAX_LISTERS);
    p->opts.timeout_ms = bounded(o->timeout_ms, DEFAULT_TIMEOUT_MS, UINT32_MAX);
    p->progress.cursor = p->cursor;
    if (o->cursor)
        strcpy(p->cursor, o->cursor);
    p->step = (struct loop_task){.fn = purge_step, .user = p};
    return p;
}

store_op *store_delete_prefix(store *s, store_loop *l, const char *prefix,
                              const struct store_delete_prefix_opts *opts,
                              const struct store_delete_prefix_cb *cb, void *user,
                              struct store_err *err)
{
    static const struct store_delete_prefix_opts none;
    opts = opts ? opts : &none;
    if (check_args(s, prefix, opts, err) != 0)
        return NULL;
    struct purge *p = purge_new(prefix, opts);
    if (!p || op_enlist(&p->op, s, l, OP_DELETE_PREFIX, err) != 0) {
        store_err_set(err, STORE_NO_MEMORY, "delete of prefix '%.100s': out of memory", prefix);
        if (p)
            purge_free(p);
        return NULL;
    }
    p->cb = *cb;
    p->user = user;
    /* As if a pass had ended: the first step begins one. */
    p->pass = STORE_LIST_UPLOADS;
    if (opts->uploads)
        lister_begin(p);
    loop_defer(l, &p->step);
    return &p->op;
}
