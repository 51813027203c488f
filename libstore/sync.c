/* The blocking face: each call runs a loop until its one operation is done. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "libstore/op.h"

struct waiting {
    struct loop *loop;
    struct loop *own; /* made for this call */
    bool done;
    struct store_err *err;
    struct store_info *info;
    char *etag;
};

static int wait_begin(struct waiting *w, struct loop *loop, struct store_info *info,
                      struct store_err *err)
{
    *w = (struct waiting){.loop = loop, .err = err, .info = info};
    if (loop)
        return 0;
    if (loop_new(&w->own, err) != 0)
        return -1;
    w->loop = w->own;
    return 0;
}

static void wait_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct waiting *w = user;
    w->done = true;
    *w->err = *err;
    if (w->etag)
        memcpy(w->etag, info->etag, strlen(info->etag) + 1);
    if (w->info) {
        *w->info = *info;
        w->info->etag = w->info->content_type = w->info->version = w->info->checksum = "";
        w->info->n_meta = 0;
    }
}

/* op NULL: it could not be started, and *w->err says why. */
static int wait_end(struct waiting *w, store_op *op)
{
    if (op) {
        while (!w->done) {
            /* Only an invalid epoll descriptor makes a round fail: a bug of ours. */
            int rc = loop_run_once(w->loop, -1, NULL);
            assert(rc == 0);
            (void)rc;
        }
    }
    store_loop_free(w->own);
    return op && w->err->code == STORE_OK ? 0 : -1;
}

/* Every public function takes err NULL. */
#define LOCAL_ERR(err)                 \
    struct store_err local_err_ = {0}; \
    (err) = (err) ? (err) : &local_err_

struct collect {
    struct waiting w;
    struct buf data;
};

static void collect_head(void *user, const struct store_info *info)
{
    struct collect *c = user;
    if (info->length <= c->data.max)
        buf_reserve(&c->data, (size_t)info->length);
}

static bool collect_data(void *user, const void *bytes, size_t n)
{
    struct collect *c = user;
    buf_add(&c->data, bytes, n);
    return true;
}

int store_sync_get(store *s, store_loop *loop, const char *key, size_t max_bytes, void **bytes,
                   size_t *size, struct store_info *info, struct store_err *err)
{
    static const struct store_get_cb cb = {collect_head, collect_data, wait_done};
    LOCAL_ERR(err);
    struct collect c = {.data = BUF_INIT(max_bytes)};
    if (wait_begin(&c.w, loop, info, err) != 0)
        return -1;
    int rc = wait_end(&c.w, store_get(s, c.w.loop, key, NULL, &cb, &c, err));
    bool whole = !buf_failed(&c.data);
    char *data = buf_detach(&c.data, size);
    if (rc == 0 && data) {
        *bytes = data;
        return 0;
    }
    free(data);
    if (rc == 0)
        store_err_set(err, whole ? STORE_NO_MEMORY : STORE_INVALID,
                      "get %.150s: larger than %zu bytes", key, max_bytes);
    return -1;
}

int store_sync_head(store *s, store_loop *loop, const char *key, struct store_info *info,
                    struct store_err *err)
{
    LOCAL_ERR(err);
    struct waiting w;
    if (wait_begin(&w, loop, info, err) != 0)
        return -1;
    return wait_end(&w, store_head(s, w.loop, key, 0, wait_done, &w, err));
}

int store_sync_put(store *s, store_loop *loop, const char *key, const void *bytes, size_t size,
                   const struct store_put_opts *opts, char *etag, struct store_info *info,
                   struct store_err *err)
{
    LOCAL_ERR(err);
    struct waiting w;
    if (wait_begin(&w, loop, info, err) != 0)
        return -1;
    w.etag = etag;
    return wait_end(&w, store_put_bytes(s, w.loop, key, bytes, size, opts, wait_done, &w, err));
}

int store_sync_copy(store *s, store_loop *loop, const char *from, const char *to,
                    const struct store_copy_opts *opts, char *etag, struct store_info *info,
                    struct store_err *err)
{
    LOCAL_ERR(err);
    struct waiting w;
    if (wait_begin(&w, loop, info, err) != 0)
        return -1;
    w.etag = etag;
    return wait_end(&w, store_copy(s, w.loop, from, to, opts, wait_done, &w, err));
}

int store_sync_delete(store *s, store_loop *loop, const char *key, struct store_err *err)
{
    LOCAL_ERR(err);
    struct waiting w;
    if (wait_begin(&w, loop, NULL, err) != 0)
        return -1;
    return wait_end(&w, store_delete(s, w.loop, key, 0, wait_done, &w, err));
}

int store_sync_delete_many(store *s, store_loop *loop, const char *const *keys, size_t n,
                           struct store_err *err)
{
    LOCAL_ERR(err);
    struct waiting w;
    if (wait_begin(&w, loop, NULL, err) != 0)
        return -1;
    return wait_end(&w, store_delete_many(s, w.loop, keys, n, 0, wait_done, &w, err));
}

struct listing {
    struct waiting w;
    void (*page)(void *user, const struct store_page *page);
    void *user;
};

static void listing_page(void *user, const struct store_page *page)
{
    struct listing *l = user;
    l->page(l->user, page);
}

int store_sync_list(store *s, store_loop *loop, const char *prefix,
                    const struct store_list_opts *opts,
                    void (*page)(void *user, const struct store_page *page), void *user,
                    struct store_err *err)
{
    static const struct store_list_cb cb = {listing_page, wait_done};
    LOCAL_ERR(err);
    struct listing l = {.page = page, .user = user};
    if (wait_begin(&l.w, loop, NULL, err) != 0)
        return -1;
    return wait_end(&l.w, store_list(s, l.w.loop, prefix, opts, &cb, &l, err));
}

struct purging {
    struct waiting w;
    bool (*progress)(void *user, const struct store_progress *p);
    void *user;
    struct store_progress *final;
};

static bool purging_progress(void *user, const struct store_progress *p)
{
    struct purging *g = user;
    return g->progress ? g->progress(g->user, p) : true;
}

static void purging_done(void *user, const struct store_err *err, const struct store_progress *p)
{
    struct purging *g = user;
    g->w.done = true;
    *g->w.err = *err;
    if (g->final) {
        *g->final = *p;
        g->final->cursor = "";
    }
}

int store_sync_delete_prefix(store *s, store_loop *loop, const char *prefix,
                             const struct store_delete_prefix_opts *opts,
                             bool (*progress)(void *user, const struct store_progress *p),
                             void *user, struct store_progress *final, struct store_err *err)
{
    static const struct store_delete_prefix_cb cb = {purging_progress, purging_done};
    LOCAL_ERR(err);
    struct purging g = {.progress = progress, .user = user, .final = final};
    if (wait_begin(&g.w, loop, NULL, err) != 0)
        return -1;
    return wait_end(&g.w, store_delete_prefix(s, g.w.loop, prefix, opts, &cb, &g, err));
}
