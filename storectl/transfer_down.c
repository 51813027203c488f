/* An object into a local file or to standard output. */
#include <string.h>

#include "storectl/transfer_private.h"

/* The end of the bytes, once they are all with the sink. */
static void down_commit(struct transfer *t)
{
    struct store_err err = {0};
    if (t->err.code == STORE_OK && sink_commit(&t->sink, &err) != 0)
        transfer_fail(t, &err);
    transfer_settle(t);
}

static void down_ready(void *user, uint32_t events)
{
    struct transfer *t = user;
    struct store_err err = {0};
    (void)events;
    if (sink_flush(&t->sink, &t->waits, &err) != 0) {
        t->waits = false;
        loop_watch_clear(t->c->loop, &t->sink.watch);
        transfer_fail(t, &err);
    }
    if (t->waits)
        return;
    if (t->get)
        store_op_resume(t->get);
    else
        down_commit(t);
}

static void down_head(void *user, const struct store_info *info)
{
    transfer_sized(user, info->length);
}

static bool down_data(void *user, const void *bytes, size_t n)
{
    struct transfer *t = user;
    struct store_err err = {0};
    if (t->err.code != STORE_OK)
        return true;
    if (sink_write(&t->sink, bytes, n, &t->waits, &err) != 0) {
        t->waits = false;
        transfer_fail(t, &err);
        return true;
    }
    transfer_moved(t, n);
    return !t->waits;
}

static void down_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct transfer *t = user;
    (void)info;
    t->get = NULL;
    if (err->code != STORE_OK)
        transfer_fail(t, err);
    if (t->waits && t->err.code == STORE_OK)
        return; /* down_ready() goes on */
    down_commit(t);
}

static int open_sink(struct transfer *t, struct store_err *err)
{
    if (t->to_fd >= 0)
        return sink_open_below(&t->sink, t->c->loop, t->to_fd, t->to, down_ready, t, err);
    if (strcmp(t->to, "-") == 0)
        return sink_open_stdout(&t->sink, t->c->loop, down_ready, t, err);
    return sink_open_path(&t->sink, t->c->loop, t->to, down_ready, t, err);
}

void down_begin(struct transfer *t)
{
    static const struct store_get_cb cb = {down_head, down_data, down_done};
    const struct store_get_opts opts = {
        .offset = t->opts.offset,
        .length = t->opts.length,
        .timeout_ms = BODY_TIMEOUT_MS,
    };
    struct store_err err = {0};
    if (open_sink(t, &err) == 0)
        t->get = store_get(t->from_store, t->c->loop, t->from, &opts, &cb, t, &err);
    if (t->get)
        transfer_watch(t);
    else
        transfer_refuse(t, &err);
}
