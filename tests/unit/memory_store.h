/* memory_store.h - a store that holds a few objects in memory, for tests of what is above the
 * drivers: delivers in pieces of any size, and does at each turn what the test tells it to. All
 * functions are static, so each program has its own. */
#ifndef TESTS_UNIT_MEMORY_STORE_H
#define TESTS_UNIT_MEMORY_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <store/store.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "libstore/op.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

enum { MAX_OBJECTS = 4, MAX_PAIRS = STORE_MAX_META + STORE_OWN_META };

struct object {
    char key[32], etag[16], type[64];
    struct buf bytes;
    char names[MAX_PAIRS][64], values[MAX_PAIRS][64];
    size_t n_meta;
};

struct memory {
    struct store store; /* first */
    store_loop *loop;
    struct object objects[MAX_OBJECTS];
    size_t n_objects;
    unsigned etags;
    size_t piece;    /* of a get's data and of a put's reads */
    bool early_meta; /* a put's metadata are taken before its body, as by a multipart upload */
    unsigned starts, cancels, resumes;
    size_t sent;                            /* bytes of gets */
    void (*before_start)(struct memory *m); /* of the second run */
    bool fail_late;                         /* gets fail after their last byte */
    bool end_while_paused;
};

struct run { /* one operation under way */
    struct memory *m;
    struct store_op *op;
    struct loop_task task;
    struct object *object;
    struct object put; /* what becomes one */
    size_t at, end;
    bool waiting; /* for a resume */
};

static inline struct object *find(struct memory *m, const char *key)
{
    for (size_t i = 0; i < m->n_objects; i++)
        if (strcmp(m->objects[i].key, key) == 0)
            return &m->objects[i];
    return NULL;
}

static inline void end_run(struct run *r, const struct store_err *err,
                           const struct store_info *info)
{
    struct store_op *op = r->op;
    loop_defer_clear(op->loop, &r->task);
    buf_cleanup(&r->put.bytes);
    op->driver_op = NULL;
    free(r);
    op_finish(op, err, info);
}

static inline void fail_run(struct run *r, enum store_code code, const char *why)
{
    struct store_err err = {0};
    const struct store_info info = {.server_time_s = 1700000000};
    store_err_set(&err, code, "memory: %s", why);
    end_run(r, &err, &info);
}

static inline void describe_object(const struct object *o, struct store_info *info)
{
    *info = (struct store_info){.size = o->bytes.len,
                                .etag = o->etag,
                                .content_type = o->type,
                                .server_time_s = 1700000000,
                                .n_meta = o->n_meta};
    for (size_t i = 0; i < o->n_meta; i++)
        info->meta[i] = (struct store_meta){o->names[i], o->values[i]};
}

static inline void take_meta(struct run *r)
{
    const struct store_put_opts *p = &r->op->opts.put;
    assert_true(p->n_meta <= STORE_MAX_META + 2);
    for (size_t i = 0; i < p->n_meta; i++) {
        snprintf(r->put.names[i], sizeof(r->put.names[i]), "%s", p->meta[i].name);
        snprintf(r->put.values[i], sizeof(r->put.values[i]), "%s", p->meta[i].value);
    }
    r->put.n_meta = p->n_meta;
}

static inline void store_object(struct run *r)
{
    struct memory *m = r->m;
    struct object *o = find(m, r->op->key);
    struct store_info info;
    if (!m->early_meta)
        take_meta(r);
    if (!o) {
        assert_true(m->n_objects < MAX_OBJECTS);
        o = &m->objects[m->n_objects++];
    }
    buf_cleanup(&o->bytes);
    *o = r->put;
    r->put.bytes = (struct buf)BUF_INIT(64 * MIB);
    snprintf(o->key, sizeof(o->key), "%s", r->op->key);
    snprintf(o->etag, sizeof(o->etag), "e%u", ++m->etags);
    snprintf(o->type, sizeof(o->type), "%s",
             r->op->opts.put.content_type ? r->op->opts.put.content_type : "");
    info = (struct store_info){.size = o->bytes.len, .etag = o->etag};
    end_run(r, NULL, &info);
}

static inline void step_put(struct run *r)
{
    char piece[64 * KIB];
    ssize_t n = op_read(r->op, piece, r->m->piece < sizeof(piece) ? r->m->piece : sizeof(piece));
    if (n == STORE_READ_PAUSE) {
        r->waiting = true;
    } else if (n < 0) {
        fail_run(r, STORE_CANCELED, "put given up");
    } else if (n == 0) {
        store_object(r);
    } else {
        buf_add(&r->put.bytes, piece, (size_t)n);
        loop_defer(r->op->loop, &r->task);
    }
}

static inline void step_get(struct run *r)
{
    size_t n = r->end - r->at;
    if (n == 0) {
        if (r->m->fail_late)
            fail_run(r, STORE_CORRUPT, "checksum");
        else
            end_run(r, NULL, NULL);
        return;
    }
    /* A copy of exactly that many bytes, so that a sanitizer sees who reads behind them or later.
     */
    n = n < r->m->piece ? n : r->m->piece;
    char *piece = malloc(n);
    if (!piece) {
        fail_run(r, STORE_NO_MEMORY, "out of memory");
        return;
    }
    memcpy(piece, r->object->bytes.data + r->at, n);
    r->at += n;
    r->m->sent += n;
    r->waiting = !op_data(r->op, piece, n);
    free(piece);
    if (!r->waiting)
        loop_defer(r->op->loop, &r->task);
    else if (r->m->end_while_paused && r->at == r->end)
        end_run(r, NULL, NULL);
}

static inline void begin_get(struct run *r)
{
    const struct store_get_opts *o = &r->op->opts.get;
    struct store_info info;
    size_t size = r->object->bytes.len;
    if (r->op->kind == OP_GET && o->if_match && strcmp(o->if_match, r->object->etag) != 0) {
        fail_run(r, STORE_PRECONDITION, "another etag");
        return;
    }
    if (r->op->kind == OP_GET && o->if_none_match &&
        strcmp(o->if_none_match, r->object->etag) == 0) {
        fail_run(r, STORE_NOT_MODIFIED, "not modified");
        return;
    }
    describe_object(r->object, &info);
    if (r->op->kind == OP_HEAD) {
        end_run(r, NULL, &info);
        return;
    }
    if ((o->offset || o->length) && o->offset >= size) {
        fail_run(r, STORE_BAD_RANGE, "behind the end");
        return;
    }
    info.offset = r->at = (size_t)o->offset;
    info.length = o->length && o->length < size - o->offset ? o->length : size - o->offset;
    r->end = r->at + (size_t)info.length;
    op_head(r->op, &info);
    r->task.fn = (void (*)(void *))step_get;
    loop_defer(r->op->loop, &r->task);
}

static inline void begin_run(void *user)
{
    struct run *r = user;
    if (r->op->kind == OP_PUT) {
        if (r->m->early_meta)
            take_meta(r);
        r->task.fn = (void (*)(void *))step_put;
        step_put(r);
        return;
    }
    r->object = find(r->m, r->op->key);
    if (r->object)
        begin_get(r);
    else
        fail_run(r, STORE_NOT_FOUND, "no such object");
}

static inline void memory_start(void *state, struct store_op *op)
{
    struct memory *m = state;
    if (++m->starts == 2 && m->before_start)
        m->before_start(m);
    struct run *r = calloc(1, sizeof(*r));
    if (!r) {
        op_finish(op, &(struct store_err){.code = STORE_NO_MEMORY}, NULL);
        return;
    }
    op->driver_op = r;
    r->m = m;
    r->op = op;
    r->put.bytes = (struct buf)BUF_INIT(64 * MIB);
    r->task = (struct loop_task){.fn = begin_run, .user = r};
    loop_defer(op->loop, &r->task);
}

static inline void memory_resume(void *state, struct store_op *op)
{
    struct run *r = op->driver_op;
    ((struct memory *)state)->resumes++;
    assert_true(r->waiting);
    assert_false(op->paused);
    r->waiting = false;
    loop_defer(op->loop, &r->task);
}

static inline void memory_cancel(void *state, struct store_op *op)
{
    ((struct memory *)state)->cancels++;
    fail_run(op->driver_op, STORE_CANCELED, "canceled");
}

static const struct driver memory_driver = {
    .scheme = "memory",
    .start = memory_start,
    .resume = memory_resume,
    .cancel = memory_cancel,
};

static inline int setup(void **state)
{
    struct memory *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    assert_int_equal(store_loop_new(&m->loop, NULL), 0);
    m->store = (struct store){.driver = &memory_driver,
                              .state = m,
                              .op_timeout_ms = 30000,
                              .root = &m->store,
                              .within = "",
                              .max_key = STORE_MAX_KEY};
    m->piece = 16 * KIB;
    *state = m;
    return 0;
}

static inline int teardown(void **state)
{
    struct memory *m = *state;
    store_loop_free(m->loop);
    for (size_t i = 0; i < m->n_objects; i++)
        buf_cleanup(&m->objects[i].bytes);
    free(m);
    return 0;
}

/* ---- One operation ---- */

struct outcome {
    struct memory *m;
    store_op *op;
    bool done, told_head;
    struct store_err err;
    struct store_info info, head; /* without their strings */
    char etag[STORE_ETAG_SIZE], meta[256];
    struct buf data;
    bool pause_always;
    size_t cancel_after; /* bytes; 0: never */
    /* Puts. */
    const char *from;
    size_t left, at_once;
    bool pause_first;
};

static inline void on_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct outcome *o = user;
    struct buf meta = BUF_INIT(200);
    assert_false(o->done);
    o->done = true;
    o->op = NULL;
    o->err = *err;
    o->info = *info;
    snprintf(o->etag, sizeof(o->etag), "%s", info->etag);
    for (size_t i = 0; i < info->n_meta; i++)
        buf_addf(&meta, "%s=%s;", info->meta[i].name, info->meta[i].value);
    snprintf(o->meta, sizeof(o->meta), "%s", buf_str(&meta));
    buf_cleanup(&meta);
}

static inline void on_head(void *user, const struct store_info *info)
{
    struct outcome *o = user;
    assert_false(o->told_head);
    o->told_head = true;
    o->head = *info;
}

static inline bool on_data(void *user, const void *bytes, size_t n)
{
    struct outcome *o = user;
    assert_true(o->told_head && n > 0 && !o->done);
    buf_add(&o->data, bytes, n);
    if (o->cancel_after && o->data.len >= o->cancel_after)
        store_op_cancel(o->op);
    return !o->pause_always;
}

static inline ssize_t on_read(void *user, void *buf, size_t cap)
{
    struct outcome *o = user;
    size_t n = o->left < cap ? o->left : cap;
    n = o->at_once && n > o->at_once ? o->at_once : n;
    if (o->pause_always && !o->pause_first)
        return o->pause_first = true, STORE_READ_PAUSE;
    o->pause_first = false;
    if (n)
        memcpy(buf, o->from, n);
    o->from += n;
    o->left -= n;
    return (ssize_t)n;
}

static const struct store_get_cb get_cb = {on_head, on_data, on_done};
static const struct store_put_cb put_cb = {on_read, on_done};

static inline enum store_code wait_for(struct outcome *o)
{
    while (!o->done) {
        if (o->op && o->pause_always)
            store_op_resume(o->op);
        store_loop_run(o->m->loop, 0, NULL);
    }
    return o->err.code;
}

static inline void outcome_cleanup(struct outcome *o)
{
    buf_cleanup(&o->data);
}

static inline struct outcome outcome_of(struct memory *m)
{
    return (struct outcome){.m = m, .data = BUF_INIT(64 * MIB)};
}

static inline enum store_code get(struct memory *m, const struct store_get_opts *opts,
                                  struct outcome *o)
{
    o->op = store_get(&m->store, m->loop, "k", opts, &get_cb, o, &o->err);
    if (!o->op) {
        o->done = true;
        return o->err.code;
    }
    return wait_for(o);
}

static inline enum store_code head(struct memory *m, struct outcome *o)
{
    o->op = store_head(&m->store, m->loop, "k", 0, on_done, o, &o->err);
    assert_non_null(o->op);
    return wait_for(o);
}

static inline enum store_code put_bytes(struct memory *m, const char *bytes, size_t n,
                                        const struct store_put_opts *opts, struct outcome *o)
{
    o->op = store_put_bytes(&m->store, m->loop, "k", bytes, n, opts, on_done, o, &o->err);
    if (!o->op) {
        o->done = true;
        return o->err.code;
    }
    return wait_for(o);
}

static inline enum store_code put_stream(struct memory *m, const char *bytes, size_t n,
                                         uint64_t size, struct outcome *o)
{
    const struct store_put_opts opts = {.compress = true};
    o->from = bytes;
    o->left = n;
    o->op = store_put(&m->store, m->loop, "k", size, &opts, &put_cb, o, &o->err);
    if (!o->op) {
        o->done = true;
        return o->err.code;
    }
    return wait_for(o);
}

static inline void put_packed(struct memory *m, const char *bytes, size_t n)
{
    const struct store_put_opts opts = {.compress = true};
    struct outcome o = outcome_of(m);
    assert_int_equal(put_bytes(m, bytes, n, &opts, &o), STORE_OK);
    outcome_cleanup(&o);
}

static inline void assert_kept(struct memory *m, const char *bytes, size_t n, bool pause)
{
    struct outcome o = outcome_of(m);
    o.pause_always = pause;
    if (get(m, NULL, &o) != STORE_OK)
        fail_msg("%s", o.err.msg);
    assert_true(o.told_head);
    assert_int_equal(o.data.len, n);
    assert_memory_equal(buf_str(&o.data), bytes, n);
    assert_int_equal(o.info.size, n);
    assert_int_equal(o.info.length, n);
    assert_int_equal(o.info.stored_size, find(m, "k")->bytes.len);
    outcome_cleanup(&o);
}

#endif
