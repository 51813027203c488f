#include "epufs/fence.h"

#include <stdlib.h>

#include "base/loop.h"
#include "base/xalloc.h"

enum { ASK_ENDPOINT, ASK_TIMELINE, ASK_TENANT, ASKS };

struct fence_check;

struct ask {
    struct fence_check *check;
    store_op *op; /* NULL: over */
};

struct fence_check {
    struct ask asks[ASKS];
    unsigned open; /* asks under way */
    bool canceled;
    uint64_t gen;
    struct fence_verdict verdict;
    struct store_err err; /* the first failure */
    void (*done)(void *user, const struct store_err *err, const struct fence_verdict *v);
    void *user;
};

static void found(struct fence_check *f, enum scope_kind by)
{
    /* The widest is the one to tell: a tenant's tombstone explains its timelines' too. */
    if (!f->verdict.deleted || by < f->verdict.by)
        f->verdict.by = by;
    f->verdict.deleted = true;
}

static void fail(struct fence_check *f, const struct store_err *err)
{
    if (f->err.code == STORE_OK)
        f->err = *err;
}

/* One answer is in: its time counts, and after the last one the verdict is told. */
static void answered(struct ask *a, int64_t server_time_s)
{
    struct fence_check *f = a->check;
    a->op = NULL;
    if (server_time_s && (!f->verdict.server_time_s || server_time_s < f->verdict.server_time_s))
        f->verdict.server_time_s = server_time_s;
    else if (!server_time_s && f->err.code == STORE_OK)
        store_err_set(&f->err, STORE_FAILED, "tombstone check: the store tells no time");
    if (--f->open)
        return;
    if (!f->canceled)
        f->done(f->user, &f->err, &f->verdict);
    free(f);
}

static void head_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct ask *a = user;
    if (err->code == STORE_OK)
        found(a->check, a == &a->check->asks[ASK_TENANT] ? SCOPE_TENANT : SCOPE_TIMELINE);
    else if (err->code != STORE_NOT_FOUND)
        fail(a->check, err);
    answered(a, info->server_time_s);
}

/* The first key is the highest generation with a tombstone. */
static void list_page(void *user, const struct store_page *page)
{
    struct ask *a = user;
    uint64_t gen;
    if (page->n == 0) {
        /* An empty page that is not the last would hide a tombstone. */
        if (page->next_token && a->check->err.code == STORE_OK)
            store_err_set(&a->check->err, STORE_CORRUPT,
                          "tombstone check: empty page of a longer "
                          "listing");
        return;
    }
    if (!layout_tombstone_gen(page->entries[0].key, &gen))
        store_err_set(&a->check->err, STORE_CORRUPT, "tombstone check: '%.150s' is no tombstone",
                      page->entries[0].key);
    else if (gen >= a->check->gen)
        found(a->check, SCOPE_ENDPOINT);
}

static void list_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct ask *a = user;
    if (err->code != STORE_OK)
        fail(a->check, err);
    answered(a, info->server_time_s);
}

static store_op *ask_for(struct fence_check *f, int which, store *s, store_loop *loop,
                         const struct scope *endpoint, uint32_t timeout_ms, struct store_err *err)
{
    static const struct store_list_cb list_cb = {list_page, list_done};
    const struct store_list_opts first = {.max = 1, .timeout_ms = timeout_ms};
    char key[LAYOUT_KEY_SIZE];
    struct scope scope = *endpoint;
    if (which == ASK_ENDPOINT) {
        layout_tombstones(endpoint, key);
        return store_list(s, loop, key, &first, &list_cb, &f->asks[which], err);
    }
    scope.kind = which == ASK_TENANT ? SCOPE_TENANT : SCOPE_TIMELINE;
    layout_tombstone(&scope, 0, key);
    return store_head(s, loop, key, timeout_ms, head_done, &f->asks[which], err);
}

struct fence_check *fence_start(store *s, store_loop *loop, const struct scope *endpoint,
                                uint64_t gen, uint32_t timeout_ms,
                                void (*done)(void *user, const struct store_err *err,
                                             const struct fence_verdict *v),
                                void *user, struct store_err *err)
{
    struct fence_check *f = xcalloc(1, sizeof(*f));
    f->gen = gen;
    f->done = done;
    f->user = user;
    for (int i = 0; i < ASKS; i++) {
        f->asks[i].check = f;
        f->asks[i].op = ask_for(f, i, s, loop, endpoint, timeout_ms, err);
        if (f->asks[i].op) {
            f->open++;
            continue;
        }
        if (f->open == 0)
            free(f);
        else
            fence_cancel(f);
        return NULL;
    }
    return f;
}

void fence_cancel(struct fence_check *f)
{
    f->canceled = true;
    for (int i = 0; i < ASKS; i++)
        if (f->asks[i].op)
            store_op_cancel(f->asks[i].op);
}
