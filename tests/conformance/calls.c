/* Operations as results: each call-back checks what the headers promise of it and keeps a copy. */
#include "tests/conformance/conformance.h"

#include <stdio.h>
#include <time.h>

uint64_t t_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- The life of a result ---- */

static struct result *result_new(struct test *t, const char *verb, const char *key)
{
    struct result *r = t_alloc(t, sizeof(*r));
    r->t = t;
    r->loop = t->loop;
    r->what = t_printf(t, "%s %s", verb, t_shown(t, key));
    r->next = t->results;
    t->results = r;
    return r;
}

/* Takes what the call that starts an operation returned. */
static struct result *started(struct result *r, store_op *op)
{
    unsigned called = r->n_done + r->n_head + r->n_page + r->n_progress + (r->size > 0) +
                      (r->source && r->source->calls > 0);
    r->op = op;
    r->refused = !op;
    if (called)
        t_broken(r->t, "%s: a call-back came from inside the call that starts it", r->what);
    if (!op && r->err.code == STORE_OK)
        t_broken(r->t, "%s: refused without an error", r->what);
    return r;
}

static struct store_info keep_info(struct test *t, const struct store_info *info)
{
    struct store_info kept = *info;
    kept.etag = t_strdup(t, info->etag);
    kept.version = t_strdup(t, info->version);
    kept.content_type = t_strdup(t, info->content_type);
    kept.checksum = t_strdup(t, info->checksum);
    for (size_t i = 0; i < info->n_meta; i++) {
        kept.meta[i].name = t_strdup(t, info->meta[i].name);
        kept.meta[i].value = t_strdup(t, info->meta[i].value);
    }
    return kept;
}

static void on_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct result *r = user;
    if (++r->n_done > 1)
        return; /* counted: it is reported when the case ends */
    r->err = *err;
    if (!info) {
        t_broken(r->t, "%s: `done` came with info NULL", r->what);
        return;
    }
    r->info = keep_info(r->t, info);
}

static bool is_late(struct result *r, const char *what)
{
    if (r->n_done > 0)
        t_broken(r->t, "%s: %s came after `done`", r->what, what);
    return r->n_done > 0;
}

/* ---- Waiting ---- */

static void go_on(struct result *r)
{
    struct source *source = r->source;
    if (r->hold || r->n_done || (source && source->held))
        return;
    if (r->paused) {
        r->paused = false;
        store_op_resume(r->op);
    }
}

static void run_once(struct test *t, store_loop *loop, int wait_ms)
{
    struct store_err err = {0};
    if (store_loop_run(loop, wait_ms, &err) != 0)
        t_fail(t, "running the loop: expected success, came %s: %s", store_code_name(err.code),
               err.msg);
}

struct result *t_wait(struct result *r)
{
    uint64_t end_ms = t_now_ms() + WAIT_MS;
    if (r->refused)
        return r;
    while (!r->n_done) {
        if (t_now_ms() > end_ms)
            t_fail(r->t, "%s: expected an end, came none within %d s", r->what, WAIT_MS / 1000);
        go_on(r);
        run_once(r->t, r->loop, 100);
    }
    return r;
}

void t_wait_held(struct result *r)
{
    uint64_t end_ms = t_now_ms() + WAIT_MS;
    while (!r->source->held) {
        if (r->refused || r->n_done || t_now_ms() > end_ms)
            t_fail(r->t, "%s: expected to be asked for %llu bytes, came %s after %llu", r->what,
                   (unsigned long long)r->source->hold_at,
                   r->refused || r->n_done ? store_code_name(r->err.code) : "nothing",
                   (unsigned long long)r->source->given);
        go_on(r);
        run_once(r->t, r->loop, 20);
    }
}

void t_hold(struct result *r)
{
    r->slow = r->hold = true;
    for (uint64_t end_ms = t_now_ms() + WAIT_MS; !r->paused && t_now_ms() < end_ms;)
        t_run(r->t, r->loop, 5);
}

void t_run(struct test *t, store_loop *loop, int ms)
{
    uint64_t now_ms = t_now_ms(), end_ms = now_ms + (uint64_t)ms;
    while (now_ms < end_ms) {
        run_once(t, loop, (int)(end_ms - now_ms));
        now_ms = t_now_ms();
    }
}

/* ---- Expecting ---- */

struct result *t_code(struct result *r, enum store_code code)
{
    if (r->refused)
        t_fail(r->t, "%s: expected %s, but it was not started: %s: %s", r->what,
               store_code_name(code), store_code_name(r->err.code), r->err.msg);
    if (r->err.code != code)
        t_fail(r->t, "%s: expected %s, came %s: %s", r->what, store_code_name(code),
               store_code_name(r->err.code), r->err.msg);
    return r;
}

struct result *t_ok(struct result *r)
{
    return t_code(r, STORE_OK);
}

struct result *t_refused(struct result *r)
{
    if (!r->refused)
        t_fail(r->t, "%s: expected a refusal by the call itself, but it was started and ended: %s",
               r->what, store_code_name(r->err.code));
    if (r->err.code != STORE_INVALID)
        t_fail(r->t, "%s: expected to be refused as invalid, came %s: %s", r->what,
               store_code_name(r->err.code), r->err.msg);
    return r;
}

/* ---- Put ---- */

struct result *t_put_start(struct test *t, const char *key, const void *bytes, size_t size,
                           const struct store_put_opts *opts)
{
    struct result *r = result_new(t, "put", key);
    return started(r, store_put_bytes(t->s, t->loop, key, bytes, size, opts, on_done, r, &r->err));
}

struct result *t_put(struct test *t, const char *key, const void *bytes, size_t size,
                     const struct store_put_opts *opts)
{
    return t_wait(t_put_start(t, key, bytes, size, opts));
}

static ssize_t on_read(void *user, void *buf, size_t cap)
{
    struct result *r = user;
    if (is_late(r, "`read`"))
        return STORE_READ_ABORT;
    if (cap == 0)
        t_broken(r->t, "%s: `read` was called with a buffer of 0 bytes", r->what);
    ssize_t n = source_read(r, buf, cap);
    r->paused = n == STORE_READ_PAUSE;
    return n;
}

struct result *t_stream_start(struct test *t, const char *key, uint64_t size,
                              const struct source *source, const struct store_put_opts *opts)
{
    static const struct store_put_cb cb = {on_read, on_done};
    struct result *r = result_new(t, "put (stream)", key);
    r->source = t_alloc(t, sizeof(*source));
    *r->source = *source;
    return started(r, store_put(t->s, t->loop, key, size, opts, &cb, r, &r->err));
}

struct result *t_stream(struct test *t, const char *key, uint64_t size, const struct source *source,
                        const struct store_put_opts *opts)
{
    return t_wait(t_stream_start(t, key, size, source, opts));
}

/* ---- Get and head ---- */

static void on_head(void *user, const struct store_info *info)
{
    struct result *r = user;
    if (is_late(r, "`head`"))
        return;
    if (++r->n_head > 1 || r->size > 0)
        t_broken(r->t, "%s: expected `head` once and before the data", r->what);
    r->head = keep_info(r->t, info);
    r->cap = info->length < 64 * MIB ? (size_t)info->length : 0;
    r->data = t_alloc(r->t, r->cap + 1);
}

static bool on_data(void *user, const void *bytes, size_t n)
{
    struct result *r = user;
    if (is_late(r, "`data`"))
        return true;
    if (r->n_head != 1)
        t_broken(r->t, "%s: data came before `head`", r->what);
    if (r->paused)
        t_broken(r->t, "%s: data came during a pause", r->what);
    if (n == 0 || n > r->cap - r->size) {
        t_broken(r->t, "%s: expected %zu bytes in pieces of 1 or more, came %zu and a piece of %zu",
                 r->what, r->cap, r->size, n);
        return true;
    }
    memcpy(r->data + r->size, bytes, n);
    r->size += n;
    if (r->cancel_from && r->size >= r->cancel_from)
        store_op_cancel(r->op);
    r->paused = r->slow;
    return !r->slow;
}

static void on_get_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct result *r = user;
    on_done(user, err, info);
    if (err->code == STORE_OK && (r->n_head != 1 || r->size != r->head.length))
        t_broken(r->t, "%s: expected `head` and %llu bytes before success, came %u and %zu",
                 r->what, (unsigned long long)r->head.length, r->n_head, r->size);
}

struct result *t_get_start(struct test *t, const char *key, const struct store_get_opts *opts)
{
    static const struct store_get_cb cb = {on_head, on_data, on_get_done};
    struct result *r = result_new(t, "get", key);
    return started(r, store_get(t->s, t->loop, key, opts, &cb, r, &r->err));
}

struct result *t_get(struct test *t, const char *key, const struct store_get_opts *opts)
{
    return t_wait(t_get_start(t, key, opts));
}

struct result *t_head_start(struct test *t, const char *key, uint32_t timeout_ms)
{
    struct result *r = result_new(t, "head", key);
    return started(r, store_head(t->s, t->loop, key, timeout_ms, on_done, r, &r->err));
}

struct result *t_head(struct test *t, const char *key)
{
    return t_wait(t_head_start(t, key, 0));
}

/* ---- Copy ---- */

struct result *t_copy(struct test *t, const char *from, const char *to,
                      const struct store_copy_opts *opts)
{
    struct result *r = result_new(t, "copy", from);
    return t_wait(started(r, store_copy(t->s, t->loop, from, to, opts, on_done, r, &r->err)));
}

/* ---- List ---- */

/* Strictly ascending; the versions of one key share it. */
static void check_order(struct result *r, const struct store_page *page)
{
    for (size_t i = 1; i < page->n; i++) {
        int order = strcmp(page->entries[i - 1].key, page->entries[i].key);
        if (order > 0 || (order == 0 && r->kind == STORE_LIST_OBJECTS))
            t_broken(r->t, "%s: expected keys in bytewise order, came %s before %s", r->what,
                     t_shown(r->t, page->entries[i - 1].key), t_shown(r->t, page->entries[i].key));
    }
}

static void on_page(void *user, const struct store_page *page)
{
    struct result *r = user;
    struct test *t = r->t;
    if (is_late(r, "a page") || ++r->n_page > 1) {
        t_broken(t, "%s: expected one page, came more", r->what);
        return;
    }
    if (page->n > r->max)
        t_broken(t, "%s: expected up to %u entries, came %zu", r->what, r->max, page->n);
    check_order(r, page);
    r->entries = t_alloc(t, page->n * sizeof(*r->entries) + 1);
    r->n = page->n;
    r->next_token = page->next_token ? t_strdup(t, page->next_token) : NULL;
    r->server_time_s = page->server_time_s;
    for (size_t i = 0; i < page->n; i++) {
        r->entries[i] = page->entries[i];
        r->entries[i].key = t_strdup(t, page->entries[i].key);
        r->entries[i].etag = t_strdup(t, page->entries[i].etag);
        r->entries[i].version = t_strdup(t, page->entries[i].version);
    }
}

static void on_list_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct result *r = user;
    on_done(user, err, info);
    if (err->code == STORE_OK && r->n_page != 1)
        t_broken(r->t, "%s: expected a page before success, came none", r->what);
}

struct result *t_list_start(struct test *t, const char *prefix, const struct store_list_opts *opts)
{
    static const struct store_list_cb cb = {on_page, on_list_done};
    struct result *r = result_new(t, "list", prefix);
    r->kind = opts ? opts->kind : STORE_LIST_OBJECTS;
    r->max = opts && opts->max && opts->max < STORE_MAX_BATCH ? opts->max : STORE_MAX_BATCH;
    return started(r, store_list(t->s, t->loop, prefix, opts, &cb, r, &r->err));
}

struct result *t_list(struct test *t, const char *prefix, const struct store_list_opts *opts)
{
    return t_wait(t_list_start(t, prefix, opts));
}

/* ---- Delete ---- */

struct result *t_delete(struct test *t, const char *key)
{
    struct result *r = result_new(t, "delete", key);
    return t_wait(started(r, store_delete(t->s, t->loop, key, 0, on_done, r, &r->err)));
}

struct result *t_delete_many(struct test *t, const char *const *keys, size_t n)
{
    struct result *r = result_new(t, "delete many from", n ? keys[0] : "");
    return t_wait(started(r, store_delete_many(t->s, t->loop, keys, n, 0, on_done, r, &r->err)));
}

struct result *t_delete_listed(struct test *t, enum store_list_kind kind,
                               const struct store_entry *entries, size_t n)
{
    struct result *r = result_new(t, "delete listed from", n ? entries[0].key : "");
    return t_wait(
        started(r, store_delete_listed(t->s, t->loop, kind, entries, n, 0, on_done, r, &r->err)));
}

/* ---- Delete prefix ---- */

static bool on_progress(void *user, const struct store_progress *p)
{
    struct result *r = user;
    if (is_late(r, "progress"))
        return false;
    if (p->objects < r->progress.objects || p->pages < r->progress.pages)
        t_broken(r->t, "%s: the progress went back", r->what);
    if (r->progress.cursor && strcmp(p->cursor, r->progress.cursor) < 0)
        t_broken(r->t, "%s: the cursor went back", r->what);
    r->progress = *p;
    r->progress.cursor = t_strdup(r->t, p->cursor);
    r->n_progress++;
    return r->stop_after == 0 || r->n_progress < r->stop_after;
}

static void on_purge_done(void *user, const struct store_err *err, const struct store_progress *p)
{
    struct result *r = user;
    if (++r->n_done > 1)
        return;
    r->err = *err;
    r->progress = *p;
    r->progress.cursor = t_strdup(r->t, p->cursor);
}

struct result *t_purge_start(struct test *t, const char *prefix,
                             const struct store_delete_prefix_opts *opts, unsigned stop_after)
{
    static const struct store_delete_prefix_cb cb = {on_progress, on_purge_done};
    struct result *r = result_new(t, "delete prefix", prefix);
    r->stop_after = stop_after;
    return started(r, store_delete_prefix(t->s, t->loop, prefix, opts, &cb, r, &r->err));
}

struct result *t_purge(struct test *t, const char *prefix,
                       const struct store_delete_prefix_opts *opts)
{
    return t_wait(t_purge_start(t, prefix, opts, 0));
}
