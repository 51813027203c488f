/* Removes a prefix: one lister, which stays ahead of several batches under way.
 *
 * Batches are numbered in listing order and live in a window of slots; the cursor moves over a
 * batch only when it and all before it are gone, so that everything up to the cursor is. A page is
 * asked for only when its batch has a slot, so memory is window times page, whatever the prefix
 * holds. The first failure stops the lister, lets what is under way end, and is reported. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "libstore/op.h"

enum { DEFAULT_WINDOW = 8, MAX_WINDOW = 64, MAX_EMPTY_PAGES = 1000 };

struct purge;

struct batch {
    struct purge *purge;
    store_op *op; /* the delete under way; NULL: none */
    bool removed;
    uint64_t objects, bytes;
    char last_key[STORE_MAX_KEY + 1];
};

struct purge {
    struct store_op op; /* first: what the caller holds */
    struct store_delete_prefix_cb cb;
    void *user;
    char *prefix, *end_before; /* end_before NULL: no bound */
    bool dry_run;
    struct loop_task step; /* moves on, away from call-backs */

    store_op *lister;
    char *token; /* of the next page; NULL: the first */
    unsigned empty_pages;
    bool listed; /* there is no further page */

    uint32_t window;
    uint64_t first, next; /* batches [first, next) are in the window */
    struct batch *batches;

    struct store_progress progress;
    char cursor[STORE_MAX_KEY + 1];
    struct store_err err; /* the first failure */
    bool stopping;
};

static void purge_step(void *user);

static void purge_fail(struct purge *p, const struct store_err *err)
{
    if (p->err.code == STORE_OK)
        p->err = *err;
    p->stopping = true;
}

static struct batch *batch_at(struct purge *p, uint64_t number)
{
    return &p->batches[number % p->window];
}

static void purge_free(struct purge *p)
{
    loop_defer_clear(p->op.loop, &p->step);
    op_delist(&p->op);
    free(p->prefix);
    free(p->end_before);
    free(p->token);
    free(p->batches);
    free(p);
}

/* Moves the cursor over the batches that are gone. */
static void settle(struct purge *p)
{
    bool moved = false;
    while (p->first < p->next && batch_at(p, p->first)->removed) {
        struct batch *b = batch_at(p, p->first++);
        p->progress.objects += b->objects;
        p->progress.bytes += b->bytes;
        memcpy(p->cursor, b->last_key, sizeof(p->cursor));
        moved = true;
    }
    if (moved && p->cb.progress && !p->stopping && !p->cb.progress(p->user, &p->progress)) {
        struct store_err err;
        store_err_set(&err, STORE_CANCELED, "delete of %.150s: stopped by its caller", p->prefix);
        purge_fail(p, &err);
    }
}

static void batch_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct batch *b = user;
    struct purge *p = b->purge;
    (void)info;
    b->op = NULL;
    if (err->code == STORE_OK)
        b->removed = true;
    else
        purge_fail(p, err);
    loop_defer(p->op.loop, &p->step);
}

static void batch_start(struct purge *p, const struct store_entry *entries, size_t n)
{
    const char *keys[STORE_MAX_BATCH];
    struct batch *b = batch_at(p, p->next);
    assert(p->next - p->first < p->window && n <= STORE_MAX_BATCH);
    *b = (struct batch){.purge = p, .objects = n};
    for (size_t i = 0; i < n; i++) {
        keys[i] = entries[i].key;
        b->bytes += entries[i].size;
    }
    strncpy(b->last_key, keys[n - 1], sizeof(b->last_key) - 1);
    p->next++;
    if (p->dry_run) {
        b->removed = true;
        return;
    }
    struct store_err err = {0};
    b->op = op_delete_listed(p->op.store, p->op.loop, keys, n, batch_done, b, &err);
    if (!b->op)
        purge_fail(p, &err);
}

/* Remembers where the next page begins. A store that repeats itself would list for ever. */
static void take_token(struct purge *p, const struct store_page *page)
{
    struct store_err err;
    if (!page->next_token) {
        p->listed = true;
        return;
    }
    bool repeats = p->token && strcmp(p->token, page->next_token) == 0;
    p->empty_pages = page->n ? 0 : p->empty_pages + 1;
    if (repeats || p->empty_pages > MAX_EMPTY_PAGES) {
        store_err_set(&err, STORE_CORRUPT, "listing of %.150s: the store %s", p->prefix,
                      repeats ? "repeats a page" : "sends empty pages without end");
        purge_fail(p, &err);
        return;
    }
    free(p->token);
    p->token = strdup(page->next_token);
    if (!p->token) {
        store_err_set(&err, STORE_NO_MEMORY, "listing of %.150s: out of memory", p->prefix);
        purge_fail(p, &err);
    }
}

static void lister_page(void *user, const struct store_page *page)
{
    struct purge *p = user;
    size_t n = 0;
    size_t prefix_len = strlen(p->prefix);
    p->progress.pages++;
    if (!p->progress.server_time_s)
        p->progress.server_time_s = page->server_time_s;
    /* A listing that strays must never become a deletion. */
    for (size_t i = 0; i < page->n; i++)
        if (strncmp(page->entries[i].key, p->prefix, prefix_len) != 0) {
            struct store_err err;
            store_err_set(&err, STORE_CORRUPT, "listing of %.100s: the store named %.100s",
                          p->prefix, page->entries[i].key);
            purge_fail(p, &err);
            return;
        }
    while (n < page->n && (!p->end_before || strcmp(page->entries[n].key, p->end_before) < 0))
        n++;
    take_token(p, page);
    if (n < page->n)
        p->listed = true;
    if (n > 0 && !p->stopping)
        batch_start(p, page->entries, n);
}

static void lister_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct purge *p = user;
    (void)info;
    p->lister = NULL;
    if (err->code != STORE_OK)
        purge_fail(p, err);
    loop_defer(p->op.loop, &p->step);
}

static void list_more(struct purge *p)
{
    static const struct store_list_cb cb = {lister_page, lister_done};
    const struct store_list_opts opts = {
        .token = p->token,
        .start_after = p->cursor[0] ? p->cursor : NULL,
    };
    struct store_err err = {0};
    p->lister = store_list(p->op.store, p->op.loop, p->prefix, &opts, &cb, p, &err);
    if (!p->lister)
        purge_fail(p, &err);
}

static bool batches_running(struct purge *p)
{
    for (uint64_t i = p->first; i < p->next; i++)
        if (batch_at(p, i)->op)
            return true;
    return false;
}

static void purge_step(void *user)
{
    struct purge *p = user;
    settle(p);
    if (!p->stopping && !p->listed && !p->lister && p->next - p->first < p->window)
        list_more(p);
    if (p->lister || batches_running(p))
        return;
    if (!p->stopping && (!p->listed || p->first < p->next)) {
        loop_defer(p->op.loop, &p->step);
        return;
    }
    p->cb.done(p->user, &p->err, &p->progress);
    purge_free(p);
}

void purge_cancel(struct store_op *op)
{
    struct purge *p = (struct purge *)op;
    struct store_err err;
    store_err_set(&err, STORE_CANCELED, "delete of %.150s: canceled", p->prefix);
    purge_fail(p, &err);
    if (p->lister)
        store_op_cancel(p->lister);
    for (uint64_t i = p->first; i < p->next; i++)
        if (batch_at(p, i)->op)
            store_op_cancel(batch_at(p, i)->op);
    loop_defer(p->op.loop, &p->step);
}

static int check_args(const char *prefix, const struct store_delete_prefix_opts *o,
                      struct store_err *err)
{
    size_t n = prefix ? strlen(prefix) : 0;
    if (n < 2 || n > STORE_MAX_KEY || prefix[n - 1] != '/')
        return store_err_set(err, STORE_INVALID,
                             "delete of prefix '%.100s': expected 2 to %d bytes that end in '/'",
                             prefix ? prefix : "", STORE_MAX_KEY);
    if (o->cursor && strlen(o->cursor) > STORE_MAX_KEY)
        return store_err_set(err, STORE_INVALID, "delete of prefix '%.100s': cursor is too long",
                             prefix);
    return 0;
}

store_op *store_delete_prefix(store *s, store_loop *l, const char *prefix,
                              const struct store_delete_prefix_opts *opts,
                              const struct store_delete_prefix_cb *cb, void *user,
                              struct store_err *err)
{
    static const struct store_delete_prefix_opts none;
    opts = opts ? opts : &none;
    if (check_args(prefix, opts, err) != 0)
        return NULL;
    uint32_t window = opts->batches_in_flight ? opts->batches_in_flight : DEFAULT_WINDOW;
    window = window > MAX_WINDOW ? MAX_WINDOW : window;
    struct purge *p = calloc(1, sizeof(*p));
    if (p) {
        p->prefix = strdup(prefix);
        p->end_before = opts->end_before ? strdup(opts->end_before) : NULL;
        p->batches = calloc(window, sizeof(*p->batches));
    }
    if (!p || !p->prefix || !p->batches || (opts->end_before && !p->end_before) ||
        op_enlist(&p->op, s, l, OP_DELETE_PREFIX, err) != 0) {
        store_err_set(err, STORE_NO_MEMORY, "delete of prefix '%.100s': out of memory", prefix);
        if (p) {
            free(p->prefix);
            free(p->end_before);
            free(p->batches);
        }
        free(p);
        return NULL;
    }
    p->cb = *cb;
    p->user = user;
    p->window = window;
    p->dry_run = opts->dry_run;
    p->progress.cursor = p->cursor;
    if (opts->cursor)
        strcpy(p->cursor, opts->cursor);
    p->step = (struct loop_task){.fn = purge_step, .user = p};
    loop_defer(l, &p->step);
    return &p->op;
}
