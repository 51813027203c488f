#include "tests/tools/folder_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/codec.h"
#include "base/xalloc.h"
#include "tests/tools/torture.h"

enum { MAX_SIZE = 200001, PAGE = 2, FIRST_PAGE = 4 };
enum { O1 = 0, O2, E3, SRC, NEW, ABS, X4 };

static const char *const keys[MODEL_KEYS] = {"o/1", "o/2", "d/e/3", "src", "n/e/w", "abs", "o/x/4"};
static const size_t sizes[] = {150000, 10, 0, 70000, MAX_SIZE, 5};

const struct model_state model_before = {{0, 1, 2, 3, MODEL_ABSENT, MODEL_ABSENT, 1}};

/* Learned when a content is put first. */
static struct known {
    char etag[STORE_ETAG_SIZE];
    char checksum[64];
} * known;

static char *bytes_of(int content)
{
    static char *bytes[LEN(sizes)];
    if (!bytes[content]) {
        char *made = malloc(MAX_SIZE);
        if (!made)
            torture_fail("out of memory");
        for (size_t i = 0; i < sizes[content]; i++)
            made[i] = (char)(i * 31 + i / 997 + (size_t)content * 7);
        bytes[content] = made;
    }
    return bytes[content];
}

void model_init(void)
{
    known = mmap(NULL, LEN(sizes) * sizeof(*known), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (known == MAP_FAILED)
        torture_fail("mmap");
    for (int i = 0; i < (int)LEN(sizes); i++)
        bytes_of(i);
}

static bool is_part(int content, size_t at, const char *bytes, size_t n)
{
    return at + n <= sizes[content] && memcmp(bytes_of(content) + at, bytes, n) == 0;
}

store *model_open(const char *folder)
{
    char url[1024];
    store *s;
    struct store_err err;
    const struct store_conf conf = {.io_threads = 1, .op_timeout_ms = MODEL_TIMEOUT_MS};
    snprintf(url, sizeof(url), "file://%s", folder);
    if (store_open(url, &conf, &s, &err) != 0)
        torture_fail("%s", err.msg);
    return s;
}

/* ---- Puts ---- */

/* Each content has a type and metadata of its own, to be found with it. */
static struct store_put_opts opts_of(int content, struct store_meta *meta, char number[8])
{
    snprintf(number, 8, "%d", content);
    *meta = (struct store_meta){"content", number};
    return (struct store_put_opts){.content_type = "text/model", .meta = meta, .n_meta = 1};
}

static void put(store *s, const char *key, int content)
{
    struct store_meta meta;
    char number[8], etag[STORE_ETAG_SIZE];
    struct store_err err;
    const struct store_put_opts opts = opts_of(content, &meta, number);
    if (store_sync_put(s, NULL, key, bytes_of(content), sizes[content], &opts, etag, NULL, &err) !=
        0)
        torture_fail("put %s: %s", key, err.msg);
    if (!known[content].etag[0]) /* learn() */
        memcpy(known[content].etag, etag, sizeof(etag));
    if (strcmp(known[content].etag, etag) != 0)
        torture_fail("put %s: ETag %s, before %s", key, etag, known[content].etag);
}

/* ---- Gets ---- */

struct found {
    bool done;
    struct store_err err;
    uint64_t size;
    char etag[STORE_ETAG_SIZE], checksum[64], type[64];
    int content; /* as its metadata says */
    size_t at;
    bool differs;
};

static void found_head(void *user, const struct store_info *info)
{
    struct found *f = user;
    f->size = info->size;
    snprintf(f->etag, sizeof(f->etag), "%s", info->etag);
    snprintf(f->checksum, sizeof(f->checksum), "%s", info->checksum);
    snprintf(f->type, sizeof(f->type), "%s", info->content_type);
    uint64_t content = LEN(sizes);
    const char *number = info->n_meta == 1 ? info->meta[0].value : "";
    if (parse_u64(number, strlen(number), &content) && content < LEN(sizes))
        f->content = (int)content;
    else
        f->differs = true;
}

static bool found_data(void *user, const void *bytes, size_t n)
{
    struct found *f = user;
    f->differs = f->differs || !is_part(f->content, f->at, bytes, n);
    f->at += n;
    return true;
}

static void found_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct found *f = user;
    (void)info;
    f->done = true;
    f->err = *err;
}

static store_loop *new_loop(void)
{
    store_loop *l;
    struct store_err err;
    if (store_loop_new(&l, &err) != 0)
        torture_fail("%s", err.msg);
    return l;
}

static void get(store *s, const char *key, struct found *f)
{
    static const struct store_get_cb cb = {found_head, found_data, found_done};
    store_loop *l = new_loop();
    *f = (struct found){.done = false};
    if (!store_get(s, l, key, NULL, &cb, f, &f->err))
        torture_fail("get %s: %s", key, f->err.msg);
    while (!f->done)
        store_loop_run(l, 1000, NULL);
    store_loop_free(l);
}

/* The content that the key holds, all of it, or MODEL_ABSENT. */
static int content_of(store *s, const char *key)
{
    struct found f;
    get(s, key, &f);
    if (f.err.code == STORE_NOT_FOUND)
        return MODEL_ABSENT;
    if (f.err.code != STORE_OK)
        torture_fail("get %s: %s", key, f.err.msg);
    if (f.differs || f.at != sizes[f.content] || f.size != f.at)
        torture_fail("%s is torn: %zu bytes", key, f.at);
    if (strcmp(f.type, "text/model") != 0)
        torture_fail("%s has the type %s", key, f.type);
    struct known *k = &known[f.content];
    if (!k->checksum[0]) /* learn() */
        snprintf(k->checksum, sizeof(k->checksum), "%s", f.checksum);
    if (strcmp(k->etag, f.etag) != 0 || strcmp(k->checksum, f.checksum) != 0)
        torture_fail("%s has ETag %s and checksum %s, expected %s and %s", key, f.etag, f.checksum,
                     k->etag, k->checksum);
    return f.content;
}

/* Puts each content once, to learn its ETag and checksum. */
static void learn(store *s)
{
    struct store_err err;
    for (int content = 0; content < (int)LEN(sizes); content++) {
        put(s, "learn", content);
        if (content_of(s, "learn") != content)
            torture_fail("put and get differ");
    }
    if (store_sync_delete(s, NULL, "learn", &err) != 0)
        torture_fail("delete: %s", err.msg);
}

void model_reset(store *s)
{
    struct store_err err;
    if (!known[0].etag[0])
        learn(s);
    for (size_t k = 0; k < MODEL_KEYS; k++) {
        int content = model_before.holds[k];
        if (content_of(s, keys[k]) == content)
            continue;
        if (content != MODEL_ABSENT)
            put(s, keys[k], content);
        else if (store_sync_delete(s, NULL, keys[k], &err) != 0)
            torture_fail("delete %s: %s", keys[k], err.msg);
    }
}

/* ---- Listings ---- */

struct names {
    struct buf text; /* each with a NUL */
    char token[STORE_MAX_KEY + 2];
    const struct model_state *state;
};

static void add_page(void *user, const struct store_page *page)
{
    struct names *n = user;
    for (size_t i = 0; i < page->n; i++) {
        const struct store_entry *e = &page->entries[i];
        buf_add(&n->text, e->key, strlen(e->key) + 1);
        for (size_t k = 0; k < MODEL_KEYS && !e->is_prefix; k++) {
            int content = n->state->holds[k];
            if (strcmp(keys[k], e->key) == 0 && content != MODEL_ABSENT &&
                (e->size != sizes[content] || strcmp(e->etag, known[content].etag) != 0))
                torture_fail("%s is listed with %ju bytes and ETag %s", e->key, (uintmax_t)e->size,
                             e->etag);
        }
    }
    snprintf(n->token, sizeof(n->token), "%s", page->next_token ? page->next_token : "");
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys of a state, sorted; with a delimiter, what stands for them. */
static void expect(const struct model_state *state, char delimiter, struct buf *out)
{
    char names[MODEL_KEYS][32];
    const char *sorted[MODEL_KEYS];
    size_t n = 0;
    for (size_t k = 0; k < MODEL_KEYS; k++) {
        if (state->holds[k] == MODEL_ABSENT)
            continue;
        const char *slash = delimiter ? strchr(keys[k], delimiter) : NULL;
        int len = slash ? (int)(slash - keys[k]) + 1 : (int)strlen(keys[k]);
        snprintf(names[n], sizeof(names[n]), "%.*s", len, keys[k]);
        sorted[n] = names[n];
        n++;
    }
    qsort(sorted, n, sizeof(sorted[0]), compare);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(sorted[i], sorted[i - 1]) != 0)
            buf_add(out, sorted[i], strlen(sorted[i]) + 1);
}

static void check_listing(store *s, const struct model_state *state, char delimiter)
{
    struct names n = {.text = BUF_INIT(1 << 20), .state = state};
    struct buf want = BUF_INIT(1 << 20);
    struct store_err err;
    do {
        char token[sizeof(n.token)];
        memcpy(token, n.token, sizeof(token));
        const struct store_list_opts opts = {
            .max = PAGE, .delimiter = delimiter, .token = token[0] ? token : NULL};
        if (store_sync_list(s, NULL, "", &opts, add_page, &n, &err) != 0)
            torture_fail("list: %s", err.msg);
    } while (n.token[0]);
    expect(state, delimiter, &want);
    if (n.text.len != want.len || (want.len && memcmp(n.text.data, want.data, want.len) != 0))
        torture_fail("the listing has not what the gets saw: %zu bytes of names, expected %zu",
                     n.text.len, want.len);
    buf_cleanup(&n.text);
    buf_cleanup(&want);
}

void model_check(store *s, const struct model_scenario *m, bool succeeded)
{
    struct model_state now;
    for (size_t k = 0; k < MODEL_KEYS; k++) {
        now.holds[k] = content_of(s, keys[k]);
        bool new = now.holds[k] == m->after.holds[k], old = now.holds[k] == model_before.holds[k];
        if (!new && (succeeded || !old))
            torture_fail("%s holds %d after %s", keys[k], now.holds[k],
                         succeeded ? "success" : "a failure");
    }
    check_listing(s, &now, 0);
    check_listing(s, &now, '/');
}

/* ---- The scenarios ---- */

static void run_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct model_run *r = user;
    (void)info;
    r->done = true;
    r->err = *err;
}

static ssize_t run_read(void *user, void *buf, size_t cap)
{
    struct model_run *r = user;
    size_t left = sizes[4] - r->given;
    size_t n = cap < left ? cap : left;
    memcpy(buf, bytes_of(4) + r->given, n);
    r->given += n;
    return (ssize_t)n;
}

static store_op *put_stream(struct model_run *r, const char *key, uint64_t size)
{
    static const struct store_put_cb cb = {run_read, run_done};
    struct store_meta meta;
    char number[8];
    const struct store_put_opts opts = opts_of(4, &meta, number);
    return store_put(r->s, r->loop, key, size, &opts, &cb, r, &r->err);
}

static store_op *start_put_unsized(struct model_run *r)
{
    return put_stream(r, keys[O1], STORE_SIZE_UNKNOWN);
}

static store_op *start_put_new(struct model_run *r)
{
    return put_stream(r, keys[NEW], sizes[4]);
}

static store_op *start_put_absent(struct model_run *r)
{
    struct store_meta meta;
    char number[8];
    struct store_put_opts opts = opts_of(5, &meta, number);
    opts.if_absent = true;
    return store_put_bytes(r->s, r->loop, keys[ABS], bytes_of(5), sizes[5], &opts, run_done, r,
                           &r->err);
}

static store_op *start_put_match(struct model_run *r)
{
    struct store_meta meta;
    char number[8];
    struct store_put_opts opts = opts_of(5, &meta, number);
    opts.if_match = known[1].etag;
    return store_put_bytes(r->s, r->loop, keys[O2], bytes_of(5), sizes[5], &opts, run_done, r,
                           &r->err);
}

static store_op *start_copy_new(struct model_run *r)
{
    return store_copy(r->s, r->loop, keys[SRC], keys[NEW], NULL, run_done, r, &r->err);
}

static store_op *start_copy_over(struct model_run *r)
{
    return store_copy(r->s, r->loop, keys[SRC], keys[O1], NULL, run_done, r, &r->err);
}

static store_op *start_delete(struct model_run *r)
{
    return store_delete(r->s, r->loop, keys[E3], 0, run_done, r, &r->err);
}

static store_op *start_delete_many(struct model_run *r)
{
    const char *some[] = {keys[O1], keys[X4], keys[E3], keys[NEW]};
    return store_delete_many(r->s, r->loop, some, LEN(some), 0, run_done, r, &r->err);
}

static void prefix_done(void *user, const struct store_err *err, const struct store_progress *p)
{
    struct model_run *r = user;
    (void)p;
    r->done = true;
    r->err = *err;
}

static store_op *start_delete_prefix(struct model_run *r)
{
    static const struct store_delete_prefix_cb cb = {.done = prefix_done};
    return store_delete_prefix(r->s, r->loop, "o/", NULL, &cb, r, &r->err);
}

static bool run_data(void *user, const void *bytes, size_t n)
{
    struct model_run *r = user;
    r->differs = r->differs || !is_part(0, r->taken, bytes, n);
    r->taken += n;
    return true;
}

static store_op *start_get(struct model_run *r)
{
    static const struct store_get_cb cb = {.data = run_data, .done = run_done};
    return store_get(r->s, r->loop, keys[O1], NULL, &cb, r, &r->err);
}

static bool got_all(const struct model_run *r)
{
    return !r->differs && r->taken == sizes[0];
}

static void run_page(void *user, const struct store_page *page)
{
    struct model_run *r = user;
    r->listed = page->n;
    r->more = page->next_token != NULL;
}

static store_op *start_list(struct model_run *r)
{
    static const struct store_list_cb cb = {run_page, run_done};
    static const struct store_list_opts opts = {.max = FIRST_PAGE};
    return store_list(r->s, r->loop, "", &opts, &cb, r, &r->err);
}

static bool listed_page(const struct model_run *r)
{
    return r->listed == FIRST_PAGE && r->more;
}

const struct model_scenario model_scenarios[] = {
    {"put of a stream over an object", {{4, 1, 2, 3, -1, -1, 1}}, start_put_unsized, NULL},
    {"put of a stream into new folders", {{0, 1, 2, 3, 4, -1, 1}}, start_put_new, NULL},
    {"put if absent", {{0, 1, 2, 3, -1, 5, 1}}, start_put_absent, NULL},
    {"put if match", {{0, 5, 2, 3, -1, -1, 1}}, start_put_match, NULL},
    {"copy into new folders", {{0, 1, 2, 3, 3, -1, 1}}, start_copy_new, NULL},
    {"copy over an object", {{3, 1, 2, 3, -1, -1, 1}}, start_copy_over, NULL},
    {"delete", {{0, 1, -1, 3, -1, -1, 1}}, start_delete, NULL},
    {"delete of many", {{-1, 1, -1, 3, -1, -1, -1}}, start_delete_many, NULL},
    {"delete of a prefix", {{-1, -1, 2, 3, -1, -1, -1}}, start_delete_prefix, NULL},
    {"get", {{0, 1, 2, 3, -1, -1, 1}}, start_get, got_all},
    {"list", {{0, 1, 2, 3, -1, -1, 1}}, start_list, listed_page},
};
const size_t model_n_scenarios = LEN(model_scenarios);

void model_run(const struct model_scenario *m, store *s, struct model_run *r)
{
    *r = (struct model_run){.s = s};
    if (store_loop_new(&r->loop, &r->err) != 0)
        return;
    if (m->start(r))
        while (!r->done)
            store_loop_run(r->loop, 1000, NULL);
    store_loop_free(r->loop);
}
