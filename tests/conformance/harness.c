/* The life of a case: its part of the store, its memory, its end. */
#include "tests/conformance/conformance.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct block {
    struct block *next;
    _Alignas(max_align_t) char bytes[];
};

enum { END_FAILED = 1, END_SKIPPED = 2 };

/* ---- Ends ---- */

void t_fail(struct test *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->message, sizeof(t->message), fmt, ap);
    va_end(ap);
    longjmp(t->end, END_FAILED);
}

void t_skip(struct test *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->message, sizeof(t->message), fmt, ap);
    va_end(ap);
    longjmp(t->end, END_SKIPPED);
}

void t_broken(struct test *t, const char *fmt, ...)
{
    va_list ap;
    if (t->broken[0])
        return;
    va_start(ap, fmt);
    vsnprintf(t->broken, sizeof(t->broken), fmt, ap);
    va_end(ap);
}

/* ---- Memory ---- */

void *t_alloc(struct test *t, size_t n)
{
    struct block *b = calloc(1, sizeof(*b) + n);
    if (!b) {
        fprintf(stderr, "store-conformance: out of memory for %zu bytes\n", n);
        exit(2);
    }
    b->next = t->blocks;
    t->blocks = b;
    return b->bytes;
}

static void free_blocks(struct test *t)
{
    while (t->blocks) {
        struct block *next = t->blocks->next;
        free(t->blocks);
        t->blocks = next;
    }
}

char *t_strdup(struct test *t, const char *s)
{
    size_t size = strlen(s ? s : "") + 1;
    return memcpy(t_alloc(t, size), s ? s : "", size);
}

char *t_printf(struct test *t, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *text = t_alloc(t, (size_t)n + 1);
    vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    return text;
}

/* Long keys are shown by their beginning and their length. */
const char *t_shown(struct test *t, const char *key)
{
    enum { SHOWN = 60 };
    size_t n = key ? strlen(key) : 0, at = 0;
    char *text = t_alloc(t, SHOWN * 4 + 64);
    text[at++] = '\'';
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        unsigned char c = (unsigned char)key[i];
        at += (size_t)sprintf(text + at, isprint(c) && c != '\\' ? "%c" : "\\x%02x", c);
    }
    text[at++] = '\'';
    if (n > SHOWN)
        sprintf(text + at, " (%zu bytes)", n);
    return text;
}

/* ---- Stores ---- */

static store *keep_open(struct test *t, store *s)
{
    if (t->n_opened == MAX_STORES)
        t_fail(t, "the case opens more than %d stores", MAX_STORES);
    return t->opened[t->n_opened++] = s;
}

store *t_narrow(struct test *t, store *s, const char *prefix)
{
    struct store_err err = {0};
    store *part = NULL;
    if (store_narrow(s, prefix, &part, &err) != 0)
        t_fail(t, "narrowing to %s: expected success, came %s: %s", t_shown(t, prefix),
               store_code_name(err.code), err.msg);
    return keep_open(t, part);
}

store *t_open(struct test *t, const struct store_conf *conf)
{
    struct store_err err = {0};
    store *whole = NULL;
    if (store_open(t->url, conf, &whole, &err) != 0)
        t_fail(t, "opening the store: expected success, came %s: %s", store_code_name(err.code),
               err.msg);
    keep_open(t, whole);
    return t_narrow(t, whole, t->prefix);
}

/* ---- Running one case ---- */

static void check_all_done(struct test *t)
{
    for (const struct result *r = t->results; r; r = r->next) {
        unsigned expected = r->refused ? 0 : 1;
        if (r->n_done != expected)
            t_broken(t, "%s: expected `done` %u times, came %u", r->what, expected, r->n_done);
    }
}

/* Everything that the case stored, unfinished uploads and old versions too. */
static void remove_leftovers(struct test *t, const char *prefix)
{
    const struct store_delete_prefix_opts all = {.versions = t->keeps_versions,
                                                 .uploads = t->is_s3};
    struct store_err err = {0};
    if (store_sync_delete_prefix(t->root, NULL, prefix, &all, NULL, NULL, NULL, &err) != 0)
        t_broken(t, "cleaning up: expected success, came %s: %s", store_code_name(err.code),
                 err.msg);
}

static void set_up(struct test *t)
{
    struct store_err err = {0};
    t->broken[0] = t->message[0] = '\0';
    t->results = NULL;
    t->n_opened = 0;
    t->loop = NULL;
    if (store_loop_new(&t->loop, &err) != 0)
        t_fail(t, "making a loop: %s", err.msg);
    t->s = t_narrow(t, t->root, t->prefix);
}

static void tear_down(struct test *t)
{
    store_loop_free(t->loop);
    check_all_done(t);
    while (t->n_opened)
        store_close(t->opened[--t->n_opened]);
    remove_leftovers(t, t->prefix);
    free_blocks(t);
}

enum verdict test_run(struct test *t, const struct test_case *c)
{
    int end = setjmp(t->end);
    if (end == 0) {
        set_up(t);
        c->run(t);
    }
    tear_down(t);
    if (end == END_FAILED)
        return FAILED;
    if (t->broken[0]) {
        memcpy(t->message, t->broken, sizeof(t->message));
        return FAILED;
    }
    return end == END_SKIPPED ? SKIPPED : PASSED;
}
