#include "reader/sibling.h"

#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "epufs/fence.h"
#include "epufs/layout.h"

enum { GEN_DIGITS = 16, MAX_PAGES = 100 };

struct sibling_search {
    struct request *rq; /* NULL: canceled */
    void (*done)(void *user, const struct store_err *err, bool deleted, uint64_t gen);
    void *user;
    char prefix[LAYOUT_KEY_SIZE]; /* what all generations begin with */
    store_op *lister;
    struct fence_check *fence;
    char *token; /* of the next page */
    unsigned pages;
    uint64_t gen; /* the highest so far */
};

static void release(struct sibling_search *s)
{
    free(s->token);
    free(s);
}

static void end(struct sibling_search *s, const struct store_err *err, bool deleted)
{
    s->done(s->user, err, deleted, s->gen);
    release(s);
}

static void fence_done(void *user, const struct store_err *err, const struct fence_verdict *v)
{
    struct sibling_search *s = user;
    s->fence = NULL;
    end(s, err, v->deleted);
}

static void check_fence(struct sibling_search *s)
{
    struct store_err err;
    s->fence = fence_start(request_service(s->rq)->store, s->rq->worker->loop, &s->rq->route.scope,
                           s->gen, FENCE_TIMEOUT_MS, fence_done, s, &err);
    if (!s->fence)
        end(s, &err, false);
}

static void list_page(void *user, const struct store_page *page)
{
    struct sibling_search *s = user;
    size_t n = strlen(s->prefix);
    for (size_t i = 0; i < page->n; i++) {
        const char *key = page->entries[i].key + n;
        char hex[GEN_DIGITS + 1];
        uint64_t gen;
        text_copy(hex, sizeof(hex), key);
        if (page->entries[i].is_prefix && strlen(key) == GEN_DIGITS + 1 &&
            u64_from_hex16(hex, &gen) && gen > s->gen)
            s->gen = gen;
    }
    free(s->token);
    s->token = page->next_token ? xstrdup(page->next_token) : NULL;
}

static int start_list(struct sibling_search *s, struct store_err *err);

static void list_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct sibling_search *s = user;
    struct store_err failed;
    (void)info;
    s->lister = NULL;
    if (!s->rq) {
        release(s);
    } else if (err->code != STORE_OK) {
        end(s, err, false);
    } else if (s->token && ++s->pages == MAX_PAGES) {
        store_err_set(&failed, STORE_NO_SPACE, "%s has too many generations", s->prefix);
        end(s, &failed, false);
    } else if (s->token) {
        if (start_list(s, &failed) != 0)
            end(s, &failed, false);
    } else {
        check_fence(s);
    }
}

/* The first page, or the next. */
static int start_list(struct sibling_search *s, struct store_err *err)
{
    static const struct store_list_cb cb = {list_page, list_done};
    const struct store_list_opts opts = {.delimiter = '/', .token = s->token};
    s->lister = store_list(s->rq->files, s->rq->worker->loop, s->prefix, &opts, &cb, s, err);
    return s->lister ? 0 : -1;
}

struct sibling_search *sibling_start(struct request *rq,
                                     void (*done)(void *user, const struct store_err *err,
                                                  bool deleted, uint64_t gen),
                                     void *user, struct store_err *err)
{
    struct sibling_search *s = xcalloc(1, sizeof(*s));
    s->rq = rq;
    s->done = done;
    s->user = user;
    layout_generations(&rq->route.scope, s->prefix);
    if (start_list(s, err) == 0)
        return s;
    release(s);
    return NULL;
}

void sibling_cancel(struct sibling_search *s)
{
    s->rq = NULL;
    if (s->fence) {
        fence_cancel(s->fence);
        release(s);
    } else {
        store_op_cancel(s->lister);
    }
}
