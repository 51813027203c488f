/* A local file or a pipe into a store. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "storectl/transfer_private.h"

/* Up to SMALL_BYTES go from memory: libstore can then repeat the put by itself, and keeps a
 * checksum with it. */
enum { SMALL_BYTES = 1024 * 1024, MAX_TRIES = 4, PAUSE_MS = 500 };

static void up_send(struct transfer *t);

static void up_again(void *user)
{
    struct transfer *t = user;
    t->bytes = 0;
    source_rewind(&t->source);
    up_send(t);
}

/* libstore tries a stream once, as it cannot have the bytes again; we can. Not when it was on
 * condition: the lost answer may have been a success. */
static bool can_repeat(const struct transfer *t, const struct store_err *err)
{
    const struct store_put_opts *o = t->opts.put;
    return err->code == STORE_BUSY && t->err.code == STORE_OK && t->tries < MAX_TRIES &&
           t->source.size != STORE_SIZE_UNKNOWN && !o->if_absent && !o->if_match;
}

/* What stopped the reading, rather than that it was stopped. */
static void explain(const struct transfer *t, struct store_err *err)
{
    const struct source *s = &t->source;
    if (s->sys_errno)
        store_err_errno(err, s->sys_errno, "read %.150s", t->from);
    else if (err->code != STORE_OK && s->short_read)
        store_err_set(err, STORE_FAILED, "%.150s: became shorter while it was read", t->from);
}

static void up_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct transfer *t = user;
    struct store_err why = *err;
    if (can_repeat(t, err) && loop_timer_set(t->c->loop, &t->again, PAUSE_MS << t->tries) == 0) {
        t->put = NULL;
        return;
    }
    explain(t, &why);
    transfer_put_done(t, &why, info);
}

static void up_ready(void *user, uint32_t events)
{
    struct transfer *t = user;
    (void)events;
    loop_watch_clear(t->c->loop, &t->source.watch);
    if (t->put)
        store_op_resume(t->put);
}

static ssize_t up_read(void *user, void *buf, size_t cap)
{
    struct transfer *t = user;
    ssize_t n = source_read(&t->source, buf, cap);
    if (n > 0)
        transfer_moved(t, (uint64_t)n);
    return n;
}

static void send_stream(struct transfer *t)
{
    static const struct store_put_cb cb = {up_read, up_done};
    struct store_put_opts opts = *t->opts.put;
    struct store_err err = {0};
    opts.timeout_ms = BODY_TIMEOUT_MS;
    t->put = store_put(t->to_store, t->c->loop, t->to, t->source.size, &opts, &cb, t, &err);
    if (!t->put)
        transfer_refuse(t, &err);
}

static void send_small(struct transfer *t)
{
    size_t size = (size_t)t->source.size, got = 0;
    struct store_err err = {0};
    char *bytes = xmalloc(size + 1);
    for (ssize_t n = 1; got < size && n > 0; got += n > 0 ? (size_t)n : 0)
        n = up_read(t, bytes + got, size - got);
    if (got < size)
        store_err_set(&err, STORE_FAILED, "read %.150s", t->from);
    else
        t->put = store_put_bytes(t->to_store, t->c->loop, t->to, bytes, size, t->opts.put, up_done,
                                 t, &err);
    free(bytes);
    if (t->put)
        return;
    explain(t, &err);
    transfer_refuse(t, &err);
}

static void up_send(struct transfer *t)
{
    t->tries++;
    if (t->source.size <= SMALL_BYTES)
        send_small(t);
    else
        send_stream(t);
}

void up_begin(struct transfer *t)
{
    bool is_stdin = strcmp(t->from, "-") == 0 && t->from_fd < 0;
    struct store_err err = {0};
    int fd = is_stdin ? STDIN_FILENO : t->from_fd;
    if (fd < 0)
        fd = open(t->from, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    t->from_fd = -1;
    t->again = (struct loop_timer){.fn = up_again, .user = t};
    if (fd < 0)
        store_err_errno(&err, errno, "%.150s", t->from);
    else if (source_open_fd(&t->source, t->c->loop, fd, !is_stdin, t->from, up_ready, t, &err) ==
             0) {
        if (t->source.size != STORE_SIZE_UNKNOWN)
            transfer_sized(t, t->source.size);
        up_send(t);
        return;
    }
    transfer_refuse(t, &err);
}
