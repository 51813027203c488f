#include "storectl/transfer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "storectl/transfer_private.h"

enum { DEFAULT_WATCHDOG_MS = 60000, PIPE_CEILING = 64 * 1024 * 1024 };

/* ---- Ends ---- */

static void cancel_ops(struct transfer *t)
{
    if (t->get)
        store_op_cancel(t->get);
    if (t->put)
        store_op_cancel(t->put);
}

void transfer_fail(struct transfer *t, const struct store_err *err)
{
    if (t->err.code == STORE_OK)
        t->err = *err;
    cancel_ops(t);
}

void transfer_cancel(struct transfer *t)
{
    struct store_err err = {0};
    t->canceled = true;
    store_err_set(&err, STORE_CANCELED, "%.150s: canceled", t->from);
    transfer_fail(t, &err);
    transfer_settle(t);
}

static void transfer_free(struct transfer *t)
{
    loop_timer_clear(t->c->loop, &t->watchdog);
    loop_timer_clear(t->c->loop, &t->again);
    loop_defer_clear(t->c->loop, &t->begin);
    if (t->source.loop)
        source_close(&t->source);
    else if (t->from_fd >= 0)
        close(t->from_fd);
    sink_close(&t->sink);
    buf_cleanup(&t->pipe);
    free(t->from);
    free(t->to);
    free(t);
}

static void finish(void *user)
{
    struct transfer *t = user;
    const struct transfer_result r = {.err = t->err, .bytes = t->bytes, .etag = t->etag};
    struct transfer_opts opts = t->opts;
    opts.done(opts.user, &r);
    transfer_free(t);
}

void transfer_settle(struct transfer *t)
{
    if (t->err.code != STORE_OK) /* then nothing is waited for but the ends of what is under way */
        loop_timer_clear(t->c->loop, &t->again);
    else if (t->waits || loop_timer_is_set(&t->again))
        return;
    if (t->get || t->put)
        return;
    loop_defer(t->c->loop, &t->finish);
}

void transfer_refuse(struct transfer *t, const struct store_err *err)
{
    transfer_fail(t, err);
    transfer_settle(t);
}

/* ---- On the way ---- */

void transfer_sized(struct transfer *t, uint64_t bytes)
{
    if (t->opts.sized)
        t->opts.sized(t->opts.user, bytes);
}

void transfer_moved(struct transfer *t, uint64_t n)
{
    t->moved = true;
    t->bytes += n;
    if (t->opts.moved)
        t->opts.moved(t->opts.user, n);
}

static void on_watchdog(void *user)
{
    struct transfer *t = user;
    struct store_err err = {0};
    if (t->moved || t->waits) {
        transfer_watch(t);
        return;
    }
    store_err_set(&err, STORE_TIMEOUT, "%.150s: not a byte came in time", t->from);
    transfer_fail(t, &err);
}

void transfer_watch(struct transfer *t)
{
    uint64_t ms = t->c->args.timeout_ms ? t->c->args.timeout_ms : DEFAULT_WATCHDOG_MS;
    struct store_err err = {0};
    t->moved = false;
    if (loop_timer_set(t->c->loop, &t->watchdog, ms) != 0) {
        store_err_set(&err, STORE_NO_MEMORY, "%.150s: out of memory", t->from);
        transfer_fail(t, &err);
    }
}

void transfer_put_done(struct transfer *t, const struct store_err *err,
                       const struct store_info *info)
{
    t->put = NULL;
    if (err->code == STORE_OK)
        text_copy(t->etag, sizeof(t->etag), info->etag);
    else
        transfer_fail(t, err);
    transfer_settle(t);
}

/* ---- Copies within a store ---- */

static void copy_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct transfer *t = user;
    if (err->code == STORE_OK)
        transfer_moved(t, info->size);
    transfer_put_done(t, err, info);
}

static void copy_begin(struct transfer *t)
{
    const struct store_copy_opts opts = {.timeout_ms = COPY_TIMEOUT_MS};
    struct store_err err = {0};
    t->put = store_copy(t->to_store, t->c->loop, t->from, t->to, &opts, copy_done, t, &err);
    if (!t->put)
        transfer_refuse(t, &err);
}

/* What the backend's own copy cannot do. */
static bool is_plain(const struct store_put_opts *o)
{
    return !o->if_absent && !o->if_match && !o->compress && !o->content_type && o->n_meta == 0;
}

/* ---- Start ---- */

static void begin(void *user)
{
    struct transfer *t = user;
    if (t->canceled)
        return;
    if (!t->from_store)
        up_begin(t);
    else if (!t->to_store)
        down_begin(t);
    else if (t->from_store == t->to_store && is_plain(t->opts.put))
        copy_begin(t);
    else
        across_begin(t);
}

struct transfer *transfer_start(struct ctl *c, const struct end *from, const struct end *to,
                                const struct transfer_opts *opts)
{
    struct transfer *t = xcalloc(1, sizeof(*t));
    t->c = c;
    t->from_store = from->store;
    t->to_store = to->store;
    t->from = xstrdup(from->name);
    t->to = xstrdup(to->name);
    t->from_fd = from->fd;
    t->to_fd = to->fd;
    t->opts = *opts;
    buf_init(&t->pipe, PIPE_CEILING);
    t->watchdog = (struct loop_timer){.fn = on_watchdog, .user = t};
    t->begin = (struct loop_task){.fn = begin, .user = t};
    t->finish = (struct loop_task){.fn = finish, .user = t};
    loop_defer(c->loop, &t->begin);
    return t;
}
