#include "tests/tools/s3_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "tests/tools/fake_s3.h"
#include "tests/tools/torture.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define PREFIX "pre/"
#define MANY   "many/"

enum {
    OP_TIMEOUT_MS = 5000,
    STALL_TIMEOUT_MS = 1000,
    HANGS_MS = 12000, /* an aborted upload has seconds of its own */
    PART = 5 << 20,
    PIECE = 512 * 1024, /* of a stream */
    PAGE = 3,
};
enum { O1, O2, EMPTY, ZIP, NEW, BIG, NEWZIP };
enum { PLAIN, SMALL, NOTHING, LARGE, TEXT, N_CONTENTS };

static const char *const keys[S3_MODEL_KEYS] = {"o/1", "o/2", "d/e", "zip", "new", "big", "newzip"};
static const size_t sizes[N_CONTENTS] = {
    [PLAIN] = 150000, [SMALL] = 10, [LARGE] = PART + 4096, [TEXT] = 200000};
static const struct s3_model_state before = {.holds = {PLAIN, SMALL, NOTHING, TEXT, -1, -1, -1}};

static char *contents[N_CONTENTS];
static char small_etag[STORE_ETAG_SIZE];
static char url_endpoint[64];
static store *plain; /* never disturbed */

/* ---- Contents ---- */

static void make_contents(void)
{
    for (int c = 0; c < N_CONTENTS; c++) {
        contents[c] = malloc(sizes[c] + 1);
        if (!contents[c])
            torture_fail("out of memory");
        uint32_t x = (uint32_t)c + 1;
        for (size_t i = 0; i < sizes[c]; i++) {
            x = x * 1664525 + 1013904223;
            contents[c][i] = c == TEXT ? (char)('a' + i / 100 % 26) : (char)(x >> 24);
        }
    }
}

static bool is_part(int content, size_t at, const void *bytes, size_t n)
{
    return at <= sizes[content] && n <= sizes[content] - at &&
           memcmp(contents[content] + at, bytes, n) == 0;
}

/* Each content has a type and metadata of its own, to be found with it. */
static struct store_put_opts opts_of(int content, struct store_meta *meta, char number[8])
{
    snprintf(number, 8, "%d", content);
    *meta = (struct store_meta){"content", number};
    return (struct store_put_opts){
        .content_type = "text/model", .meta = meta, .n_meta = 1, .compress = content == TEXT};
}

/* Which content a piece of metadata names; N_CONTENTS: none. */
static int number_in(const char *text)
{
    uint64_t n;
    return parse_u64(text, strspn(text, "0123456789"), &n) && n < N_CONTENTS ? (int)n : N_CONTENTS;
}

static bool is_told(int content, const struct store_info *info)
{
    return info->size == sizes[content] && strcmp(info->content_type, "text/model") == 0 &&
           info->n_meta == 1 && strcmp(info->meta[0].name, "content") == 0 &&
           number_in(info->meta[0].value) == content;
}

/* ---- What the fake has ---- */

/* Of an object that is kept compressed: through a store that nothing disturbs. */
static bool unpacks_to(const char *key, int content)
{
    struct store_err err;
    struct store_info info;
    void *bytes;
    size_t n;
    if (store_sync_get(plain, NULL, key, sizes[content] + 1, &bytes, &n, &info, &err) != 0)
        torture_fail("get %s: %s", key, err.msg);
    bool same = n == sizes[content] && is_part(content, 0, bytes, n);
    free(bytes);
    return same;
}

static int content_of(const char *key)
{
    char path[FAKE_S3_KEY];
    struct fake_s3_object o;
    snprintf(path, sizeof(path), PREFIX "%s", key);
    if (!fake_s3_find(path, &o))
        return S3_MODEL_ABSENT;
    const char *meta = strcasestr(o.head, "x-amz-meta-content: ");
    int content = meta ? number_in(meta + strlen("x-amz-meta-content: ")) : N_CONTENTS;
    if (content == N_CONTENTS || !strcasestr(o.head, "Content-Type: text/model\r\n"))
        torture_fail("%s has the head %s", key, o.head);
    bool packed = strstr(o.head, "zstd");
    if (packed != (content == TEXT))
        torture_fail("%s with the content %d has the head %s", key, content, o.head);
    bool same = packed ? unpacks_to(key, content)
                       : o.size == sizes[content] && is_part(content, 0, o.bytes, o.size);
    if (!same)
        torture_fail("%s is torn: %zu bytes", key, o.size);
    return content;
}

void s3_model_check(const struct s3_model_scenario *m, bool succeeded)
{
    for (size_t k = 0; k < S3_MODEL_KEYS; k++) {
        int now = content_of(keys[k]);
        bool new = now == m->after.holds[k], old = now == before.holds[k];
        if (!new && (succeeded || !old))
            torture_fail("%s holds %d after %s", keys[k], now, succeeded ? "success" : "a failure");
    }
    size_t many = fake_s3_count(PREFIX MANY);
    if (m->after.many_gone ? succeeded && many : many != S3_MODEL_MANY)
        torture_fail("%zu objects of many are there after %s", many,
                     succeeded ? "success" : "a failure");
}

/* ---- Beginning ---- */

int s3_model_open(store **s, struct store_err *err)
{
    const struct store_conf conf = {
        .endpoint = url_endpoint,
        .region = "us-east-1",
        .addressing = STORE_ADDRESSING_PATH,
        .access_key = "AKIDEXAMPLE",
        .secret_key = "wJalrXUtnFEMI",
        .op_timeout_ms = OP_TIMEOUT_MS,
        .connect_timeout_ms = STALL_TIMEOUT_MS,
        .stall_timeout_ms = STALL_TIMEOUT_MS,
        .multipart_bytes = PART,
        .part_bytes = PART,
        .parts_in_flight = 2,
        .no_hedging = true, /* when a second request goes out must not depend on the time */
    };
    return store_open("s3://bucket/pre", &conf, s, err);
}

static void put(store_loop *loop, const char *key, int content)
{
    struct store_meta meta;
    char number[8], etag[STORE_ETAG_SIZE];
    struct store_err err;
    const struct store_put_opts opts = opts_of(content, &meta, number);
    if (store_sync_put(plain, loop, key, contents[content], sizes[content], &opts, etag, NULL,
                       &err) != 0)
        torture_fail("put %s: %s", key, err.msg);
    if (content == SMALL)
        memcpy(small_etag, etag, sizeof(small_etag));
}

void s3_model_begin(void)
{
    struct store_err err;
    store_loop *loop;
    make_contents();
    snprintf(url_endpoint, sizeof(url_endpoint), "http://127.0.0.1:%u", fake_s3_start());
    if (s3_model_open(&plain, &err) != 0 || store_loop_new(&loop, &err) != 0)
        torture_fail("%s", err.msg);
    for (size_t k = 0; k < S3_MODEL_KEYS; k++)
        if (before.holds[k] != S3_MODEL_ABSENT)
            put(loop, keys[k], before.holds[k]);
    for (int i = 0; i < S3_MODEL_MANY; i++) {
        char key[32];
        snprintf(key, sizeof(key), MANY "%03d", i);
        put(loop, key, SMALL);
    }
    store_loop_free(loop);
    fake_s3_wait_idle();
    fake_s3_save();
}

void s3_model_end(void)
{
    store_close(plain);
    fake_s3_stop();
    for (int c = 0; c < N_CONTENTS; c++)
        free(contents[c]);
}

void s3_model_reset(void)
{
    fake_s3_reset();
}

void s3_model_finish(struct s3_model_run *r)
{
    uint64_t until_ms = clock_mono_ms() + HANGS_MS;
    while (!r->ends) {
        store_loop_run(r->loop, 1000, NULL);
        if (clock_mono_ms() > until_ms)
            torture_fail("it has no end");
    }
}

/* ---- The scenarios: reading ---- */

static void run_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct s3_model_run *r = user;
    (void)info;
    r->ends++;
    r->err = *err;
}

static void plain_head(void *user, const struct store_info *info)
{
    struct s3_model_run *r = user;
    r->differs = r->differs || !is_told(PLAIN, info);
}

static void plain_done(void *user, const struct store_err *err, const struct store_info *info)
{
    if (err->code == STORE_OK)
        plain_head(user, info);
    run_done(user, err, info);
}

static bool plain_data(void *user, const void *bytes, size_t n)
{
    struct s3_model_run *r = user;
    r->differs = r->differs || !is_part(PLAIN, r->taken, bytes, n);
    r->taken += n;
    return true;
}

static store_op *start_get(struct s3_model_run *r)
{
    static const struct store_get_cb cb = {plain_head, plain_data, plain_done};
    return store_get(r->s, r->loop, keys[O1], NULL, &cb, r, &r->err);
}

static bool got_plain(const struct s3_model_run *r)
{
    return !r->differs && r->taken == sizes[PLAIN];
}

enum { RANGE_AT = 1000, RANGE_BYTES = 70000 };

static bool range_data(void *user, const void *bytes, size_t n)
{
    struct s3_model_run *r = user;
    r->differs = r->differs || !is_part(PLAIN, RANGE_AT + r->taken, bytes, n);
    r->taken += n;
    return true;
}

static store_op *start_get_range(struct s3_model_run *r)
{
    static const struct store_get_cb cb = {plain_head, range_data, plain_done};
    static const struct store_get_opts opts = {.offset = RANGE_AT, .length = RANGE_BYTES};
    return store_get(r->s, r->loop, keys[O1], &opts, &cb, r, &r->err);
}

static bool got_range(const struct s3_model_run *r)
{
    return !r->differs && r->taken == RANGE_BYTES;
}

static void text_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct s3_model_run *r = user;
    if (err->code == STORE_OK && !is_told(TEXT, info))
        r->differs = true;
    run_done(user, err, info);
}

static bool text_data(void *user, const void *bytes, size_t n)
{
    struct s3_model_run *r = user;
    r->differs = r->differs || !is_part(TEXT, r->taken, bytes, n);
    r->taken += n;
    return true;
}

static store_op *start_get_packed(struct s3_model_run *r)
{
    static const struct store_get_cb cb = {NULL, text_data, text_done};
    return store_get(r->s, r->loop, keys[ZIP], NULL, &cb, r, &r->err);
}

static bool got_text(const struct s3_model_run *r)
{
    return !r->differs && r->taken == sizes[TEXT];
}

static bool packed_range_data(void *user, const void *bytes, size_t n)
{
    struct s3_model_run *r = user;
    r->differs = r->differs || !is_part(TEXT, RANGE_AT + r->taken, bytes, n);
    r->taken += n;
    return true;
}

static store_op *start_get_packed_range(struct s3_model_run *r)
{
    static const struct store_get_cb cb = {NULL, packed_range_data, text_done};
    static const struct store_get_opts opts = {.offset = RANGE_AT, .length = RANGE_BYTES};
    return store_get(r->s, r->loop, keys[ZIP], &opts, &cb, r, &r->err);
}

static store_op *start_head(struct s3_model_run *r)
{
    return store_head(r->s, r->loop, keys[O1], 0, plain_done, r, &r->err);
}

static bool told_plain(const struct s3_model_run *r)
{
    return !r->differs;
}

/* The part may be closed while its operation is under way. */
static store_op *start_narrowed(struct s3_model_run *r)
{
    static const struct store_get_cb cb = {plain_head, plain_data, plain_done};
    store *part;
    if (store_narrow(r->s, "o/", &part, &r->err) != 0)
        return NULL;
    store_op *op = store_get(part, r->loop, "1", NULL, &cb, r, &r->err);
    store_close(part);
    return op;
}

/* ---- Listing: page after page ---- */

static void list_page(void *user, const struct store_page *page)
{
    struct s3_model_run *r = user;
    static const char *const sorted[] = {"d/e", MANY "000", MANY "001", MANY "002", MANY "003"};
    for (size_t i = 0; i < page->n; i++, r->listed++)
        if (r->listed < LEN(sorted) && strcmp(page->entries[i].key, sorted[r->listed]) != 0)
            r->differs = true;
    r->pages++;
    snprintf(r->token, sizeof(r->token), "%s", page->next_token ? page->next_token : "");
}

static store_op *list_next(struct s3_model_run *r);

static void list_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct s3_model_run *r = user;
    if (err->code != STORE_OK || !r->token[0] || r->pages == 2)
        run_done(user, err, info);
    else if (!list_next(r))
        run_done(user, &(const struct store_err){r->err.code, .msg = "no second page"}, info);
}

static store_op *list_next(struct s3_model_run *r)
{
    static const struct store_list_cb cb = {list_page, list_done};
    const struct store_list_opts opts = {.max = PAGE, .token = r->token[0] ? r->token : NULL};
    return store_list(r->s, r->loop, "", &opts, &cb, r, &r->err);
}

static bool listed_two(const struct s3_model_run *r)
{
    return !r->differs && r->pages == 2 && r->listed == 2 * (size_t)PAGE;
}

/* ---- Writing ---- */

static store_op *put_bytes(struct s3_model_run *r, const char *key, int content, bool if_absent,
                           const char *if_match)
{
    struct store_meta meta;
    char number[8];
    struct store_put_opts opts = opts_of(content, &meta, number);
    opts.if_absent = if_absent;
    opts.if_match = if_match;
    return store_put_bytes(r->s, r->loop, key, contents[content], sizes[content], &opts, run_done,
                           r, &r->err);
}

static store_op *start_put(struct s3_model_run *r)
{
    return put_bytes(r, keys[O2], PLAIN, false, NULL);
}

static store_op *start_put_absent(struct s3_model_run *r)
{
    return put_bytes(r, keys[NEW], PLAIN, true, NULL);
}

static store_op *start_put_match(struct s3_model_run *r)
{
    return put_bytes(r, keys[O2], PLAIN, false, small_etag);
}

static store_op *start_put_packed(struct s3_model_run *r)
{
    return put_bytes(r, keys[NEWZIP], TEXT, false, NULL);
}

static ssize_t give(struct s3_model_run *r, int content, void *buf, size_t cap)
{
    size_t left = sizes[content] - r->given, n = cap < left ? cap : left;
    n = n < PIECE ? n : PIECE;
    memcpy(buf, contents[content] + r->given, n);
    r->given += n;
    return (ssize_t)n;
}

static ssize_t read_plain(void *user, void *buf, size_t cap)
{
    return give(user, PLAIN, buf, cap);
}

static ssize_t read_large(void *user, void *buf, size_t cap)
{
    return give(user, LARGE, buf, cap);
}

static ssize_t read_text(void *user, void *buf, size_t cap)
{
    return give(user, TEXT, buf, cap);
}

/* Breaks off where the second part has begun. */
static ssize_t read_and_give_up(void *user, void *buf, size_t cap)
{
    struct s3_model_run *r = user;
    return r->given >= PART ? STORE_READ_ABORT : give(r, LARGE, buf, cap);
}

static store_op *put_stream(struct s3_model_run *r, const char *key, int content, uint64_t size,
                            ssize_t (*read)(void *user, void *buf, size_t cap))
{
    const struct store_put_cb cb = {read, run_done};
    struct store_meta meta;
    char number[8];
    const struct store_put_opts opts = opts_of(content, &meta, number);
    return store_put(r->s, r->loop, key, size, &opts, &cb, r, &r->err);
}

static store_op *start_put_stream(struct s3_model_run *r)
{
    return put_stream(r, keys[NEW], PLAIN, sizes[PLAIN], read_plain);
}

static store_op *start_put_packed_stream(struct s3_model_run *r)
{
    return put_stream(r, keys[NEWZIP], TEXT, STORE_SIZE_UNKNOWN, read_text);
}

static store_op *start_put_parts(struct s3_model_run *r)
{
    return put_stream(r, keys[BIG], LARGE, STORE_SIZE_UNKNOWN, read_large);
}

static store_op *start_put_parts_absent(struct s3_model_run *r)
{
    return put_bytes(r, keys[BIG], LARGE, true, NULL);
}

static store_op *start_put_given_up(struct s3_model_run *r)
{
    return put_stream(r, keys[BIG], LARGE, STORE_SIZE_UNKNOWN, read_and_give_up);
}

static store_op *start_copy(struct s3_model_run *r)
{
    return store_copy(r->s, r->loop, keys[O1], keys[NEW], NULL, run_done, r, &r->err);
}

/* ---- Deleting ---- */

static store_op *start_delete(struct s3_model_run *r)
{
    return store_delete(r->s, r->loop, keys[O2], 0, run_done, r, &r->err);
}

static store_op *start_delete_many(struct s3_model_run *r)
{
    const char *some[] = {keys[O1], keys[EMPTY], keys[NEW]};
    return store_delete_many(r->s, r->loop, some, LEN(some), 0, run_done, r, &r->err);
}

static void prefix_done(void *user, const struct store_err *err, const struct store_progress *p)
{
    struct s3_model_run *r = user;
    r->listed = p->objects;
    r->ends++;
    r->err = *err;
}

static store_op *start_delete_prefix(struct s3_model_run *r)
{
    static const struct store_delete_prefix_cb cb = {.done = prefix_done};
    static const struct store_delete_prefix_opts opts = {.timeout_ms = OP_TIMEOUT_MS};
    return store_delete_prefix(r->s, r->loop, MANY, &opts, &cb, r, &r->err);
}

static bool removed_many(const struct s3_model_run *r)
{
    return r->listed == S3_MODEL_MANY;
}

#define SAME PLAIN, SMALL, NOTHING, TEXT

const struct s3_model_scenario s3_model_scenarios[] = {
    {.name = "get",
     .after = {{SAME, -1, -1, -1}, false},
     .start = start_get,
     .is_right = got_plain,
     .libraries = true},
    {.name = "get of a range",
     .after = {{SAME, -1, -1, -1}, false},
     .start = start_get_range,
     .is_right = got_range},
    {.name = "get of what is compressed",
     .after = {{SAME, -1, -1, -1}, false},
     .start = start_get_packed,
     .is_right = got_text},
    {.name = "get of a range of that",
     .after = {{SAME, -1, -1, -1}, false},
     .start = start_get_packed_range,
     .is_right = got_range},
    {.name = "get of a narrowed store",
     .after = {{SAME, -1, -1, -1}, false},
     .start = start_narrowed,
     .is_right = got_plain},
    {.name = "head",
     .after = {{SAME, -1, -1, -1}, false},
     .start = start_head,
     .is_right = told_plain,
     .libraries = true},
    {.name = "list of two pages",
     .after = {{SAME, -1, -1, -1}, false},
     .start = list_next,
     .is_right = listed_two},
    {.name = "put",
     .after = {{PLAIN, PLAIN, NOTHING, TEXT, -1, -1, -1}, false},
     .start = start_put,
     .libraries = true},
    {.name = "put if absent", .after = {{SAME, PLAIN, -1, -1}, false}, .start = start_put_absent},
    {.name = "put if match",
     .after = {{PLAIN, PLAIN, NOTHING, TEXT, -1, -1, -1}, false},
     .start = start_put_match},
    {.name = "put of a stream", .after = {{SAME, PLAIN, -1, -1}, false}, .start = start_put_stream},
    {.name = "put, compressed", .after = {{SAME, -1, -1, TEXT}, false}, .start = start_put_packed},
    {.name = "put of a stream, compressed",
     .after = {{SAME, -1, -1, TEXT}, false},
     .start = start_put_packed_stream},
    {.name = "put in parts",
     .after = {{SAME, -1, LARGE, -1}, false},
     .start = start_put_parts,
     .large = true},
    {.name = "put in parts if absent",
     .after = {{SAME, -1, LARGE, -1}, false},
     .start = start_put_parts_absent,
     .large = true},
    {.name = "put in parts, given up",
     .after = {{SAME, -1, -1, -1}, false},
     .start = start_put_given_up,
     .large = true,
     .gives_up = true},
    {.name = "copy", .after = {{SAME, PLAIN, -1, -1}, false}, .start = start_copy},
    {.name = "delete",
     .after = {{PLAIN, -1, NOTHING, TEXT, -1, -1, -1}, false},
     .start = start_delete,
     .libraries = true},
    {.name = "delete of many",
     .after = {{-1, SMALL, -1, TEXT, -1, -1, -1}, false},
     .start = start_delete_many},
    {.name = "delete of a prefix",
     .after = {{SAME, -1, -1, -1}, true},
     .start = start_delete_prefix,
     .is_right = removed_many},
};
const size_t s3_model_n_scenarios = LEN(s3_model_scenarios);
