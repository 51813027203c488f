/* Gets and heads: ranges, pauses, what is told of an object. */
#include "tests/conformance/conformance.h"

#include <stdio.h>

static void ranges_are_cut_out(struct test *t)
{
    static const char text[] = "0123456789";
    static const struct {
        uint64_t offset, length;
        const char *data;
    } rows[] = {
        {0, 0, "0123456789"},  {0, 1, "0"},           {0, 9, "012345678"},
        {0, 10, "0123456789"}, {0, 11, "0123456789"}, {1, 0, "123456789"},
        {5, 2, "56"},          {9, 0, "9"},           {9, 1, "9"},
        {9, 2, "9"},           {9, 1000000, "9"},     {5, INT64_MAX, "56789"},
        {9, UINT64_MAX, "9"},  {0, UINT64_MAX, text}, {1, UINT64_MAX, "123456789"},
    };
    t_put_text(t, "k", text);
    for (size_t i = 0; i < LEN(rows); i++) {
        const struct store_get_opts opts = {.offset = rows[i].offset, .length = rows[i].length};
        struct result *r = t_ok(t_get(t, "k", &opts));
        const char *range = t_printf(t, "%llu+%llu", (unsigned long long)rows[i].offset,
                                     (unsigned long long)rows[i].length);
        EXPECT(t, strcmp(r->data, rows[i].data) == 0, "range %s: expected '%s', came '%s'", range,
               rows[i].data, r->data);
        EXPECT(
            t,
            r->head.size == 10 && r->head.offset == rows[i].offset &&
                r->head.length == strlen(rows[i].data),
            "range %s: expected to be told %zu bytes from %llu of 10, came %llu from %llu of %llu",
            range, strlen(rows[i].data), (unsigned long long)rows[i].offset,
            (unsigned long long)r->head.length, (unsigned long long)r->head.offset,
            (unsigned long long)r->head.size);
    }
}

static void a_range_behind_the_end_is_told_so(struct test *t)
{
    static const uint64_t offsets[] = {10, 11, 1000000, INT64_MAX};
    static const uint64_t lengths[] = {0, 1, 10, INT64_MAX};
    t_put_text(t, "k", "0123456789");
    for (size_t i = 0; i < LEN(offsets); i++)
        for (size_t k = 0; k < LEN(lengths); k++) {
            const struct store_get_opts opts = {.offset = offsets[i], .length = lengths[k]};
            struct result *r = t_code(t_get(t, "k", &opts), STORE_BAD_RANGE);
            EXPECT(t, r->n_head == 0 && r->size == 0, "%s: expected neither `head` nor data",
                   r->what);
        }
}

static void a_range_at_the_edge_of_numbers_is_told_so(struct test *t)
{
    t_put_text(t, "k", "0123456789");
    t_code(t_get(t, "k", &(struct store_get_opts){.offset = UINT64_MAX}), STORE_BAD_RANGE);
    t_code(t_get(t, "k", &(struct store_get_opts){.offset = UINT64_MAX, .length = UINT64_MAX}),
           STORE_BAD_RANGE);
    t_code(t_get(t, "k", &(struct store_get_opts){.offset = UINT64_MAX - 5, .length = 10}),
           STORE_BAD_RANGE);
}

/* As in HTTP (RFC 9110, 14.1.2): an empty object has no byte that a range could begin with. */
static void an_empty_object_has_no_ranges(struct test *t)
{
    t_put_text(t, "k", "");
    t_holds_text(t, "k", "");
    t_code(t_get(t, "k", &(struct store_get_opts){.offset = 1}), STORE_BAD_RANGE);
    t_code(t_get(t, "k", &(struct store_get_opts){.length = 1}), STORE_BAD_RANGE);
    t_code(t_get(t, "k", &(struct store_get_opts){.offset = 1, .length = 1}), STORE_BAD_RANGE);
}

static void ranges_together_are_the_object(struct test *t)
{
    enum { SIZE = 300000, PIECE = 70001 };
    t_ok(t_put(t, "k", t_pattern(t, SIZE), SIZE, NULL));
    for (uint64_t at = 0; at < SIZE; at += PIECE) {
        struct result *r =
            t_ok(t_get(t, "k", &(struct store_get_opts){.offset = at, .length = PIECE}));
        t_is_pattern(r, at, SIZE - at < PIECE ? SIZE - at : PIECE);
    }
}

static void a_missing_object_is_not_found(struct test *t)
{
    t_put_text(t, "a/b/c", "x");
    static const char *const missing[] = {"k", "a", "a/b", "a/b/d", "a/b/c/d", "b/c", "a/b/c-"};
    for (size_t i = 0; i < LEN(missing); i++) {
        struct result *r = t_code(t_get(t, missing[i], NULL), STORE_NOT_FOUND);
        EXPECT(t, r->n_head == 0 && r->size == 0, "%s: expected neither `head` nor data", r->what);
        EXPECT(t, r->err.msg[0], "%s: expected a message", r->what);
        t_code(t_head(t, missing[i]), STORE_NOT_FOUND);
        t_code(t_get(t, missing[i], &(struct store_get_opts){.offset = 1, .if_match = "x"}),
               STORE_NOT_FOUND);
    }
}

static void a_missing_object_is_no_failure_of_the_store(struct test *t)
{
    struct store_stats before, after;
    store_stats(t->root, &before);
    t_code(t_get(t, "k", NULL), STORE_NOT_FOUND);
    store_stats(t->root, &after);
    EXPECT(t, after.requests > before.requests, "expected the request to be counted");
    EXPECT(t, after.failures == before.failures && after.retries == before.retries,
           "expected neither a failure nor a retry, came %llu and %llu",
           (unsigned long long)(after.failures - before.failures),
           (unsigned long long)(after.retries - before.retries));
}

static void get_and_head_tell_the_same(struct test *t)
{
    const struct store_meta meta = {"a", "b"};
    const struct store_put_opts opts = {.content_type = "text/x", .meta = &meta, .n_meta = 1};
    t_ok(t_put(t, "k", "12345", 5, &opts));
    struct store_info head = t_ok(t_head(t, "k"))->info, get = t_ok(t_get(t, "k", NULL))->head;
    EXPECT(t, head.size == 5 && get.size == 5, "expected 5 bytes, came %llu and %llu",
           (unsigned long long)head.size, (unsigned long long)get.size);
    EXPECT(t, head.stored_size == 5 && get.stored_size == 5,
           "expected 5 bytes to be stored, came %llu and %llu",
           (unsigned long long)head.stored_size, (unsigned long long)get.stored_size);
    EXPECT(t, get.offset == 0 && get.length == 5, "get: expected to be told 5 bytes from 0");
    EXPECT(t,
           strcmp(head.etag, get.etag) == 0 && strcmp(head.version, get.version) == 0 &&
               strcmp(head.content_type, get.content_type) == 0 &&
               strcmp(head.checksum, get.checksum) == 0,
           "expected the same ETag, version, type and checksum");
    EXPECT(t, head.n_meta == 1 && get.n_meta == 1 && strcmp(get.meta[0].value, "b") == 0,
           "expected the same metadata");
    EXPECT(t, t->keeps_versions == (head.version[0] != '\0'), "expected %s version, came '%s'",
           t->keeps_versions ? "a" : "no", head.version);
}

static void a_slow_reader_gets_every_byte(struct test *t)
{
    enum { SIZE = 2 * MIB };
    t_ok(t_put(t, "k", t_pattern(t, SIZE), SIZE, NULL));
    struct result *r = t_get_start(t, "k", NULL);
    r->slow = true;
    t_is_pattern(t_ok(t_wait(r)), 0, SIZE);
}

static void nothing_comes_during_a_pause(struct test *t)
{
    enum { SIZE = 2 * MIB };
    t_ok(t_put(t, "k", t_pattern(t, SIZE), SIZE, NULL));
    struct result *r = t_get_start(t, "k", NULL);
    t_hold(r);
    size_t before = r->size;
    t_run(t, t->loop, 200);
    EXPECT(t, r->paused && before > 0 && r->size == before && !r->n_done,
           "%s: expected %zu bytes to stay all there is, came %zu", r->what, before, r->size);
    r->slow = r->hold = false;
    t_is_pattern(t_ok(t_wait(r)), 0, SIZE);
}

static void resuming_what_is_not_paused_is_harmless(struct test *t)
{
    t_ok(t_put(t, "k", t_pattern(t, MIB), MIB, NULL));
    struct result *r = t_get_start(t, "k", NULL);
    for (int i = 0; i < 20 && !r->n_done; i++) {
        store_op_resume(r->op);
        t_run(t, t->loop, 1);
    }
    t_is_pattern(t_ok(t_wait(r)), 0, MIB);
    struct result *head = t_head_start(t, "k", 0);
    store_op_resume(head->op);
    t_ok(t_wait(head));
}

struct headless {
    size_t size;
    enum store_code code;
    bool done;
};

static bool headless_data(void *user, const void *bytes, size_t n)
{
    struct headless *h = user;
    (void)bytes;
    h->size += n;
    return true;
}

static void headless_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct headless *h = user;
    (void)info;
    h->code = err->code;
    h->done = true;
}

static void a_get_needs_no_head_call_back(struct test *t)
{
    static const struct store_get_cb cb = {NULL, headless_data, headless_done};
    struct headless *h = t_alloc(t, sizeof(*h));
    struct store_err err = {0};
    t_put_text(t, "k", "0123456789");
    store_op *op = store_get(t->s, t->loop, "k", NULL, &cb, h, &err);
    EXPECT(t, op, "get: expected to start, came %s", err.msg);
    for (uint64_t end_ms = t_now_ms() + WAIT_MS; !h->done && t_now_ms() < end_ms;)
        t_run(t, t->loop, 5);
    EXPECT(t, h->done && h->code == STORE_OK && h->size == 10, "expected 10 bytes, came %zu",
           h->size);
}

static void bulk_connections_serve_too(struct test *t)
{
    t_ok(t_put(t, "k", "x", 1, &(struct store_put_opts){.bulk = true}));
    t_ok(t_get(t, "k", &(struct store_get_opts){.bulk = true}));
    struct result *r = t_ok(t_list(t, "", &(struct store_list_opts){.bulk = true}));
    EXPECT(t, r->n == 1, "%s: expected one key, came %zu", r->what, r->n);
}

static const struct test_case cases[] = {
    CASE(ranges_are_cut_out),
    CASE(a_range_behind_the_end_is_told_so),
    CASE(a_range_at_the_edge_of_numbers_is_told_so),
    CASE(an_empty_object_has_no_ranges),
    CASE(ranges_together_are_the_object),
    CASE(a_missing_object_is_not_found),
    CASE(a_missing_object_is_no_failure_of_the_store),
    CASE(get_and_head_tell_the_same),
    CASE(a_slow_reader_gets_every_byte),
    CASE(nothing_comes_during_a_pause),
    CASE(resuming_what_is_not_paused_is_harmless),
    CASE(a_get_needs_no_head_call_back),
    CASE(bulk_connections_serve_too),
};
const struct test_group get_group = {"get", cases, LEN(cases)};
