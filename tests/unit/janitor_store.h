/* janitor_store.h - a store in memory with a clock of its own, for tests of the deletion protocol:
 * conditional puts, listings in pages, times of objects; and it fails, or does what a test wants
 * done in between, at the request that the test names. Each request leaves a word in a trace. All
 * functions are static, so each program has its own. */
#ifndef TESTS_UNIT_JANITOR_STORE_H
#define TESTS_UNIT_JANITOR_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <store/store.h>

#include "base/xalloc.h"
#include "epufs/layout.h"
#include "libstore/op.h"

enum { MAX_KEPT = 64, MAX_TRAPS = 4, TRACE_SIZE = 65536, FILE_SIZE = 100 };

/* ---- What happened, in its order ---- */

static char trace[TRACE_SIZE];

static inline void note(const char *what)
{
    size_t n = strlen(trace);
    snprintf(trace + n, sizeof(trace) - n, "%s%s", n ? "; " : "", what);
}

static inline void assert_trace_at(const char *expected, int line)
{
    if (strcmp(trace, expected) != 0)
        fail_msg("line %d: happened\n  %s\nexpected\n  %s", line, trace, expected);
    trace[0] = '\0';
}
/* All that happened since the last look. */
#define assert_trace(expected) assert_trace_at(expected, __LINE__)

static inline unsigned times_in_trace(const char *what)
{
    unsigned n = 0;
    for (const char *p = trace; (p = strstr(p, what)); p++)
        n++;
    return n;
}

/* ---- The store ---- */

struct kept {
    char key[256], etag[16];
    bool is_upload;
    char *text;
    size_t size;
    int64_t modified_s;
};

/* A request that is waited for. */
struct trap {
    enum op_kind kind;
    const char *under;     /* its key begins so */
    unsigned nth;          /* which of those that still come, from 1; 0: none, the trap is free */
    unsigned times;        /* so many of them in a row; 0: one */
    void (*before)(void);  /* NULL, or what is done before it is answered */
    enum store_code error; /* OK, or how it fails */
    bool silent;           /* no answer comes */
};

static struct {
    struct store store;
    uint64_t now_ms;         /* our clock_mono_ms() */
    int64_t our_real_ms;     /* our time of day is this much ahead of it */
    int64_t ahead_of_us_ms;  /* and the store's of ours */
    const char *no_clock_of; /* answers about keys that begin so tell no time; NULL: all do */
    uint64_t request_ms;     /* how long each one takes */
    size_t page;
    struct kept kept[MAX_KEPT]; /* by key */
    size_t n_kept;
    unsigned etags, requests, answered;
    /* The process dies at this request, from 1; 0: never. Nothing that it does then comes out. */
    unsigned dies_at;
    bool after_it; /* the request itself is still done, only its answer is lost */
    bool dead;
    struct trap traps[MAX_TRAPS];
} mem;

static inline int64_t store_now_s(void)
{
    return ((int64_t)mem.now_ms + mem.our_real_ms + mem.ahead_of_us_ms) / 1000;
}

static inline struct kept *kept_at(const char *key)
{
    for (size_t i = 0; i < mem.n_kept; i++)
        if (strcmp(mem.kept[i].key, key) == 0)
            return &mem.kept[i];
    return NULL;
}

static inline void unkeep(const char *key)
{
    struct kept *k = kept_at(key);
    if (!k)
        return;
    free(k->text);
    memmove(k, k + 1, (size_t)(mem.kept + --mem.n_kept - k) * sizeof(*k));
}

static inline struct kept *keep(const char *key, const char *text, size_t n)
{
    size_t at = 0;
    unkeep(key);
    assert_true(mem.n_kept < MAX_KEPT);
    while (at < mem.n_kept && strcmp(mem.kept[at].key, key) < 0)
        at++;
    struct kept *k = &mem.kept[at];
    memmove(k + 1, k, (mem.n_kept++ - at) * sizeof(*k));
    *k = (struct kept){.size = n, .modified_s = store_now_s(), .text = xmalloc(n + 1)};
    snprintf(k->key, sizeof(k->key), "%s", key);
    snprintf(k->etag, sizeof(k->etag), "e%u", ++mem.etags);
    memcpy(k->text, text, n);
    k->text[n] = '\0';
    return k;
}

/* How many objects are under a prefix. */
static inline size_t count_under(const char *prefix)
{
    size_t n = 0;
    for (size_t i = 0; i < mem.n_kept; i++)
        n += strncmp(mem.kept[i].key, prefix, strlen(prefix)) == 0;
    return n;
}

static inline void set_trap(struct trap t)
{
    for (size_t i = 0; i < MAX_TRAPS; i++)
        if (mem.traps[i].nth == 0) {
            t.times += t.times == 0;
            mem.traps[i] = t;
            return;
        }
    fail_msg("too many traps");
}

static inline void clear_traps(void)
{
    memset(mem.traps, 0, sizeof(mem.traps));
}

/* ---- Answers ---- */

struct asked {
    struct store_op *op;
    struct loop_task task;
};

static inline const char *key_of(const struct store_op *op)
{
    return op->kind == OP_DELETE_MANY ? op->keys[0] : op->key;
}

static inline void note_request(const struct store_op *op)
{
    static const char *const kinds[] = {
        [OP_GET] = "get",   [OP_HEAD] = "head",     [OP_PUT] = "put",
        [OP_LIST] = "list", [OP_DELETE] = "delete", [OP_DELETE_MANY] = "delete"};
    const char *key = key_of(op);
    char text[64];
    bool uploads = (op->kind == OP_LIST && op->opts.list.kind == STORE_LIST_UPLOADS) ||
                   (op->kind == OP_DELETE_MANY && op->listed == STORE_LIST_UPLOADS);
    const char *what = uploads                  ? "uploads"
                       : strstr(key, "tombst")  ? "tombstone"
                       : strstr(key, "intents") ? "intent"
                       : strstr(key, "writers") ? "writers"
                       : strstr(key, "deadle")  ? "letter"
                                                : "files";
    snprintf(text, sizeof(text), "%s %s", kinds[op->kind], what);
    note(text);
}

static inline void finish(struct store_op *op, enum store_code code, struct store_info *info)
{
    struct store_err err = {0};
    const char *key = key_of(op);
    const char *mute = mem.no_clock_of;
    info->server_time_s = mute && strncmp(key, mute, strlen(mute)) == 0 ? 0 : store_now_s();
    if (code != STORE_OK)
        store_err_set(&err, code, "told to fail with %d", (int)code);
    op_finish(op, &err, info);
}

static inline void answer_get(struct store_op *op, struct store_info *info)
{
    const struct kept *k = kept_at(op->key);
    if (!k) {
        finish(op, STORE_NOT_FOUND, info);
        return;
    }
    info->etag = k->etag;
    info->size = info->length = k->size;
    info->modified_s = k->modified_s;
    if (op->kind == OP_GET) {
        op_head(op, info);
        op_data(op, k->text, k->size);
    }
    finish(op, STORE_OK, info);
}

static inline void answer_put(struct store_op *op, struct store_info *info)
{
    const struct store_put_opts *o = &op->opts.put;
    struct kept *k = kept_at(op->key);
    assert_true(op->bytes && (o->if_absent || o->if_match || strstr(op->key, "deadletters")));
    if ((o->if_absent && k) || (o->if_match && (!k || strcmp(k->etag, o->if_match) != 0))) {
        finish(op, STORE_PRECONDITION, info);
        return;
    }
    k = keep(op->key, op->bytes, op->size);
    info->etag = k->etag;
    finish(op, STORE_OK, info);
}

static inline void answer_list(struct store_op *op, struct store_info *info)
{
    static struct store_entry entries[MAX_KEPT];
    const struct store_list_opts *o = &op->opts.list;
    const char *after = o->token ? o->token : o->start_after ? o->start_after : "";
    const char *mute = mem.no_clock_of, *next = NULL;
    bool quiet = mute && strncmp(op->key, mute, strlen(mute)) == 0;
    size_t n = 0;
    for (size_t i = 0; i < mem.n_kept; i++) {
        const struct kept *k = &mem.kept[i];
        if (strncmp(k->key, op->key, strlen(op->key)) != 0 || strcmp(k->key, after) <= 0 ||
            k->is_upload != (o->kind == STORE_LIST_UPLOADS))
            continue;
        if (n == mem.page) {
            next = entries[n - 1].key;
            break;
        }
        entries[n++] = (struct store_entry){
            .key = k->key,
            .size = k->size,
            .etag = k->etag,
            .version = k->is_upload ? "u" : "",
            .modified_s = k->modified_s,
        };
    }
    op_page(op, entries, n, next, quiet ? 0 : store_now_s());
    finish(op, STORE_OK, info);
}

static inline void answer_delete(struct store_op *op, struct store_info *info)
{
    if (op->kind == OP_DELETE)
        unkeep(op->key);
    for (size_t i = 0; op->kind == OP_DELETE_MANY && i < op->n_keys; i++)
        unkeep(op->keys[i]);
    finish(op, STORE_OK, info);
}

/* How the request is to fail; *silent: not at all, it is never answered. */
static inline enum store_code spring_traps(const struct store_op *op, bool *silent)
{
    enum store_code code = STORE_OK;
    *silent = false;
    for (size_t i = 0; i < MAX_TRAPS; i++) {
        struct trap *t = &mem.traps[i];
        if (!t->nth || op->kind != t->kind || strncmp(key_of(op), t->under, strlen(t->under)) != 0)
            continue;
        if (t->nth > 1) {
            t->nth--;
            continue;
        }
        const struct trap sprung = *t;
        if (--t->times == 0)
            t->nth = 0;
        if (sprung.before)
            sprung.before();
        code = sprung.error;
        *silent = sprung.silent;
    }
    return code;
}

static inline void answer(void *user)
{
    struct asked *a = user;
    struct store_op *op = a->op;
    struct store_info info = {.etag = "", .content_type = "", .version = "", .checksum = ""};
    bool silent = false;
    mem.now_ms += mem.request_ms;
    if (!mem.dead)
        note_request(op);
    bool dies = mem.dies_at && ++mem.answered == mem.dies_at;
    enum store_code code =
        mem.dead || (dies && !mem.after_it) ? STORE_BUSY : spring_traps(op, &silent);
    mem.dead = mem.dead || dies;
    if (silent)
        return; /* until it is canceled */
    op->driver_op = NULL;
    free(a);
    if (code != STORE_OK) {
        finish(op, code, &info);
        return;
    }
    switch (op->kind) {
    case OP_GET:
    case OP_HEAD: answer_get(op, &info); break;
    case OP_PUT: answer_put(op, &info); break;
    case OP_LIST: answer_list(op, &info); break;
    default: answer_delete(op, &info); break;
    }
}

static inline void mem_start(void *state, struct store_op *op)
{
    struct asked *a = xcalloc(1, sizeof(*a));
    (void)state;
    mem.requests++;
    *a = (struct asked){.op = op, .task = {.fn = answer, .user = a}};
    op->driver_op = a;
    loop_defer(op->loop, &a->task);
}

static inline void mem_cancel(void *state, struct store_op *op)
{
    struct asked *a = op->driver_op;
    struct store_err err;
    (void)state;
    loop_defer_clear(op->loop, &a->task);
    free(a);
    store_err_set(&err, STORE_CANCELED, "canceled");
    op_finish(op, &err, NULL);
}

static const struct driver mem_driver = {.scheme = "mem", .start = mem_start, .cancel = mem_cancel};

static inline void mem_open(void)
{
    memset(&mem, 0, sizeof(mem));
    trace[0] = '\0';
    mem.page = MAX_KEPT;
    mem.now_ms = 1000000;
    mem.our_real_ms = 1700000000000;
    mem.store = (struct store){.driver = &mem_driver,
                               .op_timeout_ms = 30000,
                               .root = &mem.store,
                               .within = "",
                               .max_key = STORE_MAX_KEY};
}

static inline void mem_close(void)
{
    while (mem.n_kept)
        unkeep(mem.kept[0].key);
}

#endif
