/* (expect_none: create) → read → change → write on condition → read again when it was refused. */
#include "epufs/amend.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/xalloc.h"

enum {
    MAX_TRIES = 10, /* writes that others were faster than */
    FIRST_PAUSE_MS = 10,
    MAX_PAUSE_MS = 400,
};

/* Waits for exactly one of op, pause and begin. */
struct amend {
    store *store;
    store_loop *loop;
    struct amend_conf conf;
    char *key;
    uint64_t deadline_ms; /* on clock_mono_ms() */
    unsigned tries;
    store_op *op;            /* the read or the write under way */
    struct loop_timer pause; /* before the next read */
    struct loop_task begin;  /* the first step, which may end it: done comes from the loop only */
    bool canceled;
    bool guessed;   /* the write was a creation without a look first */
    bool too_large; /* what is read */
    uint64_t size;  /* of what is read */
    int64_t server_time_s;
    char etag[STORE_ETAG_SIZE]; /* of what was read or written; "": there is none */
    struct buf text, fresh;
};

static void amend_free(struct amend *a)
{
    buf_cleanup(&a->text);
    buf_cleanup(&a->fresh);
    free(a->key);
    free(a);
}

static void end(struct amend *a, const struct store_err *err, bool written)
{
    struct amend_result r = {.written = written, .server_time_s = a->server_time_s};
    memcpy(r.etag, a->etag, sizeof(r.etag));
    a->conf.done(a->conf.user, err, &r);
    amend_free(a);
}

static void fail(struct amend *a, const struct store_err *err)
{
    end(a, err, false);
}

/* Of the whole; at least 1. */
static uint32_t time_left_ms(const struct amend *a)
{
    uint64_t now_ms = clock_mono_ms();
    return a->deadline_ms > now_ms ? (uint32_t)(a->deadline_ms - now_ms) : 1;
}

/* For one request: what the caller gave for all of them, or 0: what the store gives each. */
static uint32_t request_ms(const struct amend *a)
{
    return a->conf.timeout_ms ? time_left_ms(a) : 0;
}

/* What both operations end with. Returns false when the amend was canceled, and is gone now. */
static bool op_over(struct amend *a, const struct store_info *info)
{
    a->op = NULL;
    if (a->canceled) {
        amend_free(a);
        return false;
    }
    if (info->server_time_s)
        a->server_time_s = info->server_time_s;
    return true;
}

static void start_read(struct amend *a);

/* ---- Write ---- */

static uint32_t random_below(uint32_t bound)
{
    uint32_t r;
    if (getrandom(&r, sizeof(r), GRND_NONBLOCK) != sizeof(r))
        r = (uint32_t)clock_real_ms(); /* is there to part rivals, no more */
    return r % bound;
}

static void on_pause_end(void *user)
{
    start_read(user);
}

/* Others were faster. The pauses are random, so that those who lost together part. */
static void lost_race(struct amend *a)
{
    struct store_err err;
    uint32_t most_ms = MAX_PAUSE_MS;
    if (a->tries < 6 && FIRST_PAUSE_MS << a->tries < MAX_PAUSE_MS)
        most_ms = FIRST_PAUSE_MS << a->tries;
    uint32_t pause_ms = 1 + random_below(most_ms);
    if (++a->tries >= MAX_TRIES || pause_ms >= time_left_ms(a)) {
        store_err_set(&err, STORE_BUSY, "%.150s: others changed it during each of %u tries", a->key,
                      a->tries);
        fail(a, &err);
    } else if (loop_timer_set(a->loop, &a->pause, pause_ms) != 0) {
        store_err_set(&err, STORE_NO_MEMORY, "%.150s: out of memory", a->key);
        fail(a, &err);
    }
}

static void write_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct amend *a = user;
    if (!op_over(a, info))
        return;
    /* An object that should have an ETag and is gone: refused by some stores, not found by others.
     */
    bool refused = err->code == STORE_PRECONDITION || (err->code == STORE_NOT_FOUND && a->etag[0]);
    if (refused && a->guessed) {
        start_read(a);
    } else if (refused) {
        lost_race(a);
    } else if (err->code != STORE_OK) {
        fail(a, err);
    } else {
        strcpy(a->etag, info->etag);
        end(a, err, true);
    }
}

static void start_write(struct amend *a, bool guessed)
{
    const struct store_put_opts opts = {
        .content_type = "application/json",
        .if_absent = !a->etag[0],
        .if_match = a->etag[0] ? a->etag : NULL,
        .timeout_ms = request_ms(a),
    };
    struct store_err err;
    a->guessed = guessed;
    a->op = store_put_bytes(a->store, a->loop, a->key, buf_str(&a->fresh), a->fresh.len, &opts,
                            write_done, a, &err);
    if (!a->op)
        fail(a, &err);
}

/* ---- Change ---- */

static void change(struct amend *a, const struct amend_seen *seen, bool guessed)
{
    struct store_err err = {0};
    buf_reset(&a->fresh);
    switch (a->conf.change(a->conf.user, seen, &a->fresh, &err)) {
    case AMEND_KEEP: end(a, &err, false); return;
    case AMEND_FAIL: fail(a, &err); return;
    case AMEND_WRITE: break;
    }
    if (!buf_failed(&a->fresh)) {
        start_write(a, guessed);
        return;
    }
    store_err_set(&err, STORE_INVALID, "%.150s: what is to be written has more than %zu bytes",
                  a->key, a->conf.max_bytes);
    fail(a, &err);
}

/* ---- Read ---- */

static void read_head(void *user, const struct store_info *info)
{
    struct amend *a = user;
    if (a->canceled)
        return;
    a->size = info->length;
    a->too_large = info->length > a->conf.max_bytes;
    if (a->too_large)
        store_op_cancel(a->op);
}

static bool read_data(void *user, const void *bytes, size_t n)
{
    struct amend *a = user;
    buf_add(&a->text, bytes, n);
    return true;
}

/* Whether what was read can be worked with. */
static int check_read(struct amend *a, const struct store_err *got, struct store_err *err)
{
    if (a->too_large)
        return store_err_set(err, STORE_INVALID, "%.150s has %llu bytes; expected at most %zu",
                             a->key, (unsigned long long)a->size, a->conf.max_bytes);
    if (got->code != STORE_OK) {
        *err = *got;
        return -1;
    }
    if (buf_failed(&a->text))
        return store_err_set(err, STORE_NO_MEMORY, "%.150s: out of memory", a->key);
    if (!a->etag[0])
        return store_err_set(err, STORE_FAILED,
                             "%.150s: the store tells no ETag, so it cannot be changed safely",
                             a->key);
    return 0;
}

static void read_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct amend *a = user;
    struct store_err why;
    if (!op_over(a, info))
        return;
    struct amend_seen seen = {.server_time_s = info->server_time_s};
    a->etag[0] = '\0';
    if (err->code == STORE_NOT_FOUND) {
        change(a, &seen, false);
        return;
    }
    if (err->code == STORE_OK)
        strcpy(a->etag, info->etag);
    if (check_read(a, err, &why) != 0) {
        fail(a, &why);
        return;
    }
    seen.text = buf_str(&a->text);
    seen.len = a->text.len;
    change(a, &seen, false);
}

static store_op *read_op(struct amend *a, struct store_err *err)
{
    static const struct store_get_cb cb = {read_head, read_data, read_done};
    const struct store_get_opts opts = {.timeout_ms = request_ms(a)};
    buf_reset(&a->text);
    a->too_large = false;
    a->op = store_get(a->store, a->loop, a->key, &opts, &cb, a, err);
    return a->op;
}

static void start_read(struct amend *a)
{
    struct store_err err;
    if (!read_op(a, &err))
        fail(a, &err);
}

/* ---- Begin ---- */

static void begin_with_none(void *user)
{
    const struct amend_seen none = {0};
    change(user, &none, true);
}

struct amend *amend_start(store *s, store_loop *loop, const struct amend_conf *conf,
                          struct store_err *err)
{
    struct amend *a = xcalloc(1, sizeof(*a));
    a->store = s;
    a->loop = loop;
    a->conf = *conf;
    a->key = xstrdup(conf->key);
    a->deadline_ms =
        clock_mono_ms() + (conf->timeout_ms ? conf->timeout_ms : (uint64_t)AMEND_TIMEOUT_MS);
    a->pause = (struct loop_timer){.fn = on_pause_end, .user = a};
    a->begin = (struct loop_task){.fn = begin_with_none, .user = a};
    buf_init(&a->text, conf->max_bytes);
    buf_init(&a->fresh, conf->max_bytes);
    if (conf->expect_none) {
        loop_defer(loop, &a->begin);
    } else if (!read_op(a, err)) {
        amend_free(a);
        return NULL;
    }
    return a;
}

void amend_cancel(struct amend *a)
{
    a->canceled = true;
    if (a->op) {
        store_op_cancel(a->op); /* its end frees */
        return;
    }
    loop_timer_clear(a->loop, &a->pause);
    loop_defer_clear(a->loop, &a->begin);
    amend_free(a);
}

/* ---- Blocking ---- */

struct amend_wait {
    const struct amend_conf *conf;
    struct amend_result *r;
    struct store_err *err;
    bool over;
};

static enum amend_verdict wait_change(void *user, const struct amend_seen *seen, struct buf *fresh,
                                      struct store_err *err)
{
    struct amend_wait *w = user;
    return w->conf->change(w->conf->user, seen, fresh, err);
}

static void wait_done(void *user, const struct store_err *err, const struct amend_result *r)
{
    struct amend_wait *w = user;
    w->over = true;
    *w->err = *err;
    *w->r = *r;
}

int amend_now(store *s, store_loop *loop, const struct amend_conf *conf, struct amend_result *r,
              struct store_err *err)
{
    struct amend_wait w = {.conf = conf, .r = r, .err = err};
    struct amend_conf own = *conf;
    own.change = wait_change;
    own.done = wait_done;
    own.user = &w;
    if (!amend_start(s, loop, &own, err))
        return -1;
    while (!w.over) {
        /* Only an invalid epoll descriptor makes a round fail: a bug of ours. */
        int rc = store_loop_run(loop, -1, NULL);
        assert(rc == 0);
        (void)rc;
    }
    return err->code == STORE_OK ? 0 : -1;
}
