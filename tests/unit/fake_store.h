/* fake_store.h - a backend in memory for the tests of prefix deletion: it lists in small pages,
 * fails and misbehaves when it is told to, and can hold answers back until the test wants them. A
 * fake: it knows listings and batches only. All functions are static, so each program has its own.
 */
#ifndef TESTS_UNIT_FAKE_STORE_H
#define TESTS_UNIT_FAKE_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <store/store.h>

#include "libstore/op.h"

enum { FAKE_ANSWERS = 128, FAKE_PAGE = 1000, FAKE_SIZE = 2 /* bytes of each object */ };

struct fake_object {
    char *key;
    char version[8]; /* ""; or its id, in a store that keeps them; or that of an upload */
    int64_t modified_s;
    unsigned removed; /* how often */
};

struct fake_set { /* in the order of their keys */
    struct fake_object *objects;
    size_t n, cap;
};

struct fake_answer {
    struct fake *f; /* NULL: not in use */
    struct store_op *op;
    struct loop_task task;
    unsigned number;
};

/* It allocates nothing once it runs, so that a test may let allocations fail. */
struct fake {
    struct store store; /* first */
    store_loop *loop;
    struct fake_set objects, uploads;
    size_t page; /* entries */
    unsigned lists, batches, running, most_running, listing, most_listing;
    unsigned upload_batches_after_objects;
    uint64_t listed; /* entries told */
    struct fake_answer answers[FAKE_ANSWERS];
    struct fake_answer *held[FAKE_ANSWERS];
    unsigned n_held;
    bool hold_lists, hold_batches;
    unsigned fail_batch, fail_list; /* by number, from 1; 0: none */
    enum {
        HONEST,
        REPEATS,           /* the same token again */
        ALTERNATES,        /* two tokens by turns, with empty pages */
        EMPTY_FOR_EVER,    /* always another token */
        EMPTY_BEFORE,      /* a few empty pages, then the truth */
        STRAYS,            /* a foreign key among the others */
        GOES_BACK,         /* the second page is the first again */
        SHUFFLES,          /* two keys in the wrong order */
        GROUPS,            /* a common prefix that nobody asked for */
        SAME_FOR_EVER,     /* the first page, each time with another token */
        FOREIGN_AND_LARGER /* a key behind the prefix */
    } mode;
    uint32_t timeout_ms; /* of the last operation, from its deadline */
    bool all_bulk;
    struct store_entry entries[FAKE_PAGE];
};

/* ---- What it holds ---- */

static inline struct fake_object *fake_put(struct fake_set *s, const char *key, const char *version)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        s->objects = realloc(s->objects, s->cap * sizeof(*s->objects));
        assert_non_null(s->objects);
    }
    struct fake_object *o = &s->objects[s->n++];
    *o = (struct fake_object){.key = strdup(key), .modified_s = 100};
    assert_non_null(o->key);
    snprintf(o->version, sizeof(o->version), "%s", version);
    return o;
}

static inline int fake_compare(const void *a, const void *b)
{
    const struct fake_object *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    return order ? order : strcmp(x->version, y->version);
}

/* After the last fake_put(); of the same twice one stays. */
static inline void fake_sort(struct fake_set *s)
{
    size_t kept = 0;
    if (s->n)
        qsort(s->objects, s->n, sizeof(*s->objects), fake_compare);
    for (size_t i = 0; i < s->n; i++)
        if (kept && fake_compare(&s->objects[kept - 1], &s->objects[i]) == 0)
            free(s->objects[i].key);
        else
            s->objects[kept++] = s->objects[i];
    s->n = kept;
}

static inline void fake_empty(struct fake_set *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->objects[i].key);
    free(s->objects);
    *s = (struct fake_set){0};
}

static inline size_t fake_left(const struct fake_set *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += s->objects[i].removed == 0;
    return n;
}

/* ---- Answers ---- */

static inline struct fake_set *fake_set_of(struct fake *f, enum store_list_kind kind)
{
    return kind == STORE_LIST_UPLOADS ? &f->uploads : &f->objects;
}

static inline void fake_end(struct fake_answer *a, const struct store_err *err)
{
    struct store_op *op = a->op;
    if (op->kind == OP_LIST)
        a->f->listing--;
    else
        a->f->running--;
    loop_defer_clear(op->loop, &a->task);
    a->f = NULL;
    op_finish(op, err && err->code ? err : NULL, NULL);
}

static inline void fake_delete(struct fake_answer *a)
{
    const struct store_op *op = a->op;
    struct fake_set *s = fake_set_of(a->f, op->listed);
    for (size_t i = 0; i < op->n_keys; i++) {
        struct fake_object wanted = {.key = op->keys[i]};
        if (op->versions)
            snprintf(wanted.version, sizeof(wanted.version), "%s", op->versions[i]);
        struct fake_object *o = bsearch(&wanted, s->objects, s->n, sizeof(wanted), fake_compare);
        if (!o)
            fail_msg("told to remove '%s' version '%s', which never was", wanted.key,
                     wanted.version);
        o->removed++;
    }
    fake_end(a, NULL);
}

/* A token is the index to go on from, or what a mode makes of it. */
static inline size_t fake_first(struct fake *f, const struct store_op *op, const struct fake_set *s)
{
    const struct store_list_opts *o = &op->opts.list;
    size_t i = 0;
    if (o->token)
        return f->mode == SAME_FOR_EVER || f->mode == GOES_BACK ? 0 : strtoul(o->token, NULL, 10);
    while (o->start_after && i < s->n && strcmp(s->objects[i].key, o->start_after) <= 0)
        i++;
    return i;
}

static inline const char *fake_misbehave(struct fake *f, struct store_entry *entries, size_t *n,
                                         const char *token)
{
    static char made[32];
    switch (f->mode) {
    case REPEATS: return "999999";
    case SAME_FOR_EVER: snprintf(made, sizeof(made), "again %u", f->lists); return made;
    case ALTERNATES: *n = 0; return f->lists % 2 ? "999998" : "999999";
    case EMPTY_BEFORE:
        if (f->lists > 3)
            return token;
        *n = 0;
        return f->lists == 3 ? "0" : f->lists == 2 ? "00" : "000";
    case EMPTY_FOR_EVER:
        *n = 0;
        snprintf(made, sizeof(made), "%u", 1000000 + f->lists);
        return made;
    case STRAYS: entries[*n / 2].key = "o/foreign"; return token;
    case FOREIGN_AND_LARGER: entries[*n - 1].key = "q/foreign"; return token;
    case GROUPS: entries[*n / 2].is_prefix = true; return token;
    case SHUFFLES: {
        struct store_entry e = entries[0];
        entries[0] = entries[1];
        entries[1] = e;
        return token;
    }
    default: return token;
    }
}

static inline void fake_list(struct fake_answer *a)
{
    struct fake *f = a->f;
    const struct store_op *op = a->op;
    const struct fake_set *s = fake_set_of(f, op->opts.list.kind);
    struct store_entry *entries = f->entries;
    char token[32] = "";
    size_t n = 0, i = fake_first(f, op, s);
    assert_in_range(f->page, 1, FAKE_PAGE);
    for (; i < s->n; i++) {
        struct fake_object *o = &s->objects[i];
        if (o->removed || strncmp(o->key, op->key, strlen(op->key)) != 0)
            continue;
        if (n == f->page) {
            snprintf(token, sizeof(token), "%zu", i);
            break;
        }
        entries[n++] = (struct store_entry){.key = o->key,
                                            .size = FAKE_SIZE,
                                            .etag = "",
                                            .version = o->version,
                                            .modified_s = o->modified_s};
    }
    const char *next = fake_misbehave(f, entries, &n, *token ? token : NULL);
    f->listed += n;
    op_page(a->op, entries, n, next, 1000 + f->lists);
    fake_end(a, NULL);
}

static inline void fake_answer(struct fake_answer *a)
{
    if (a->op->kind == OP_LIST)
        fake_list(a);
    else
        fake_delete(a);
}

static inline void fake_release(struct fake *f, unsigned i)
{
    struct fake_answer *a = f->held[i];
    assert_true(i < f->n_held);
    f->held[i] = f->held[--f->n_held];
    fake_answer(a);
}

/* ---- The driver ---- */

static inline void fake_step(void *user)
{
    struct fake_answer *a = user;
    struct fake *f = a->f;
    bool list = a->op->kind == OP_LIST;
    if (a->number == (list ? f->fail_list : f->fail_batch)) {
        struct store_err err;
        store_err_set(&err, STORE_DENIED, "told to fail");
        fake_end(a, &err);
    } else if (list ? f->hold_lists : f->hold_batches) {
        f->held[f->n_held++] = a;
    } else {
        fake_answer(a);
    }
}

static inline void fake_start(void *state, struct store_op *op)
{
    struct fake *f = state;
    struct fake_answer *a = f->answers;
    while (a->f)
        assert_true(++a < f->answers + FAKE_ANSWERS);
    *a = (struct fake_answer){.f = f, .op = op, .task = {.fn = fake_step, .user = a}};
    if (op->kind == OP_LIST) {
        a->number = ++f->lists;
        if (++f->listing > f->most_listing)
            f->most_listing = f->listing;
    } else {
        a->number = ++f->batches;
        if (++f->running > f->most_running)
            f->most_running = f->running;
        if (op->listed == STORE_LIST_UPLOADS && fake_left(&f->objects) < f->objects.n)
            f->upload_batches_after_objects++;
    }
    f->all_bulk = f->all_bulk && op->bulk;
    f->timeout_ms = (uint32_t)(op->deadline_ms - loop_now_ms(op->loop) + 500) / 1000 * 1000;
    op->driver_op = a;
    loop_defer(op->loop, &a->task);
}

static inline void fake_cancel(void *state, struct store_op *op)
{
    struct fake *f = state;
    struct fake_answer *a = op->driver_op;
    for (unsigned i = 0; i < f->n_held; i++)
        if (f->held[i] == a)
            f->held[i--] = f->held[--f->n_held];
    struct store_err err;
    store_err_set(&err, STORE_CANCELED, "canceled");
    fake_end(a, &err);
}

static const struct driver fake_driver = {
    .scheme = "fake", .start = fake_start, .cancel = fake_cancel};

static inline int fake_setup(void **state)
{
    struct fake *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->store = (struct store){.driver = &fake_driver,
                              .within = "",
                              .max_key = STORE_MAX_KEY,
                              .state = f,
                              .op_timeout_ms = 10000};
    f->page = 10;
    f->all_bulk = true;
    assert_int_equal(store_loop_new(&f->loop, NULL), 0);
    *state = f;
    return 0;
}

static inline int fake_teardown(void **state)
{
    struct fake *f = *state;
    store_loop_free(f->loop);
    assert_int_equal(f->running, 0);
    assert_int_equal(f->listing, 0);
    fake_empty(&f->objects);
    fake_empty(&f->uploads);
    free(f);
    return 0;
}

/* ---- A removal and what it told ---- */

struct removal {
    bool done, stop_at_first, went_back;
    struct store_err err;
    struct store_progress final;
    char cursor[STORE_MAX_KEY + 1];
    unsigned progressed;
    void (*watch)(struct removal *r); /* at each progress; may be NULL */
    void *user;                       /* watch's */
    store_op *op;
};

static inline void removal_keep(struct removal *r, const struct store_progress *p)
{
    r->final = *p;
    snprintf(r->cursor, sizeof(r->cursor), "%s", p->cursor);
    r->final.cursor = r->cursor;
}

static inline bool removal_progress(void *user, const struct store_progress *p)
{
    struct removal *r = user;
    uint64_t before = r->final.objects + r->final.uploads + r->final.kept;
    r->went_back = r->went_back || strcmp(p->cursor, r->cursor) < 0 ||
                   p->objects + p->uploads + p->kept <= before;
    r->progressed++;
    removal_keep(r, p);
    if (r->watch)
        r->watch(r);
    return !r->stop_at_first;
}

static inline void removal_done(void *user, const struct store_err *err,
                                const struct store_progress *p)
{
    struct removal *r = user;
    assert_false(r->done);
    r->done = true;
    r->err = *err;
    removal_keep(r, p);
    r->op = NULL;
}

static inline void removal_begin(store *s, store_loop *loop, const char *prefix,
                                 const struct store_delete_prefix_opts *opts, struct removal *r)
{
    static const struct store_delete_prefix_cb cb = {removal_progress, removal_done};
    struct store_err err = {0};
    r->op = store_delete_prefix(s, loop, prefix, opts, &cb, r, &err);
    if (!r->op)
        fail_msg("%s", err.msg);
    assert_false(r->done);
}

static inline enum store_code removal_run(store *s, store_loop *loop, const char *prefix,
                                          const struct store_delete_prefix_opts *opts,
                                          struct removal *r)
{
    *r = (struct removal){.stop_at_first = r->stop_at_first, .watch = r->watch, .user = r->user};
    removal_begin(s, loop, prefix, opts, r);
    while (!r->done)
        assert_int_equal(store_loop_run(loop, -1, NULL), 0);
    assert_false(r->went_back);
    return r->err.code;
}

#endif
