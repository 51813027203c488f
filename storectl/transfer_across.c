/* An object from one store into another, or into the same with something changed. */
#include <string.h>

#include "storectl/transfer_private.h"

/* What is read ahead of the writing. */
enum { PIPE_FULL = 256 * 1024 };

static size_t pipe_left(const struct transfer *t)
{
    return t->pipe.len - t->pipe_at;
}

static ssize_t across_read(void *user, void *buf, size_t cap)
{
    struct transfer *t = user;
    size_t n = pipe_left(t) < cap ? pipe_left(t) : cap;
    if (n == 0)
        return t->get && t->err.code == STORE_OK ? STORE_READ_PAUSE : STORE_READ_ABORT;
    memcpy(buf, t->pipe.data + t->pipe_at, n);
    t->pipe_at += n;
    if (pipe_left(t) == 0) {
        buf_reset(&t->pipe);
        t->pipe_at = 0;
    }
    if (t->waits && pipe_left(t) < PIPE_FULL / 2) {
        t->waits = false;
        if (t->get)
            store_op_resume(t->get);
    }
    transfer_moved(t, n);
    return (ssize_t)n;
}

static void across_put_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct transfer *t = user;
    t->waits = false;
    transfer_put_done(t, err, info);
}

static void across_head(void *user, const struct store_info *info)
{
    static const struct store_put_cb cb = {across_read, across_put_done};
    struct transfer *t = user;
    struct store_put_opts opts = *t->opts.put;
    struct store_err err = {0};
    transfer_sized(t, info->length);
    if (!opts.content_type && *info->content_type)
        opts.content_type = info->content_type;
    if (opts.n_meta == 0) {
        opts.meta = info->meta;
        opts.n_meta = info->n_meta;
    }
    opts.timeout_ms = BODY_TIMEOUT_MS;
    t->put = store_put(t->to_store, t->c->loop, t->to, info->length, &opts, &cb, t, &err);
    if (!t->put)
        transfer_fail(t, &err);
}

static bool across_data(void *user, const void *bytes, size_t n)
{
    struct transfer *t = user;
    struct store_err err = {0};
    if (!t->put || t->err.code != STORE_OK)
        return true;
    if (t->pipe_at > t->pipe.len / 2) {
        buf_drop_front(&t->pipe, t->pipe_at);
        t->pipe_at = 0;
    }
    buf_add(&t->pipe, bytes, n);
    if (buf_failed(&t->pipe)) {
        store_err_set(&err, STORE_NO_MEMORY, "%.150s: out of memory", t->from);
        transfer_fail(t, &err);
        return true;
    }
    t->moved = true;
    t->waits = pipe_left(t) >= PIPE_FULL;
    store_op_resume(t->put);
    return !t->waits;
}

static void across_get_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct transfer *t = user;
    (void)info;
    t->get = NULL;
    t->waits = false;
    loop_timer_clear(t->c->loop, &t->watchdog);
    if (err->code != STORE_OK)
        transfer_fail(t, err);
    else if (t->put)
        store_op_resume(t->put);
    transfer_settle(t);
}

void across_begin(struct transfer *t)
{
    static const struct store_get_cb cb = {across_head, across_data, across_get_done};
    const struct store_get_opts opts = {.timeout_ms = BODY_TIMEOUT_MS};
    struct store_err err = {0};
    t->get = store_get(t->from_store, t->c->loop, t->from, &opts, &cb, t, &err);
    if (t->get)
        transfer_watch(t);
    else
        transfer_refuse(t, &err);
}
