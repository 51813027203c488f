/* Objects that are kept compressed and read as they were put. */
#include "tests/conformance/conformance.h"

#include <stdio.h>

static const struct store_put_opts compressed = {.compress = true};

/* A text of n bytes that becomes much smaller. */
static char *text_of(struct test *t, size_t n)
{
    char *text = t_alloc(t, n + 64);
    for (size_t at = 0; at < n;)
        at += (size_t)sprintf(text + at, "Line %zu of a text that repeats itself.\n", at / 40);
    memset(text + n, 0, 64);
    return text;
}

static void check_sizes(struct test *t, const char *key, size_t size)
{
    struct store_info head = t_ok(t_head(t, key))->info, get = t_ok(t_get(t, key, NULL))->head;
    EXPECT(t, head.size == size && get.size == size && get.length == size,
           "%s: expected to be told %zu bytes, came %llu, %llu and %llu", key, size,
           (unsigned long long)head.size, (unsigned long long)get.size,
           (unsigned long long)get.length);
    EXPECT(t, head.stored_size == get.stored_size, "%s: expected one stored size", key);
    EXPECT(t, size < 1000 || head.stored_size < size / 2,
           "%s: expected fewer than %zu bytes to be stored, came %llu", key, size / 2,
           (unsigned long long)head.stored_size);
    struct result *r = t_ok(t_list(t, key, NULL));
    EXPECT(t, r->n == 1 && r->entries[0].size == head.stored_size,
           "%s: expected the listing to tell the stored size, %llu", key,
           (unsigned long long)head.stored_size);
}

static const size_t sizes[] = {0, 1, 100, 4096, 65536, 300001, 3 * MIB};

static void compressed_objects_come_back(struct test *t)
{
    for (size_t i = 0; i < LEN(sizes); i++) {
        char *text = text_of(t, sizes[i]);
        struct result *put = t_ok(t_put(t, "k", text, sizes[i], &compressed));
        EXPECT(t, put->info.size == sizes[i], "%s: expected to be told %zu bytes, came %llu",
               put->what, sizes[i], (unsigned long long)put->info.size);
        t_holds(t, "k", text, sizes[i]);
        check_sizes(t, "k", sizes[i]);
    }
}

static void compressed_streams_come_back(struct test *t)
{
    for (size_t i = 0; i < LEN(sizes); i++)
        for (int untold = 0; untold < 2; untold++) {
            struct source source = {
                .bytes = text_of(t, sizes[i]), .size = sizes[i], .chunk = 40000};
            t_ok(t_stream(t, "k", untold ? STORE_SIZE_UNKNOWN : sizes[i], &source, &compressed));
            t_holds(t, "k", source.bytes, sizes[i]);
            check_sizes(t, "k", sizes[i]);
        }
}

static void what_does_not_shrink_comes_back(struct test *t)
{
    t_ok(t_put(t, "k", t_pattern(t, MIB), MIB, &compressed));
    t_is_pattern(t_ok(t_get(t, "k", NULL)), 0, MIB);
    EXPECT(t, t_ok(t_head(t, "k"))->info.size == MIB, "expected to be told 1 MiB");
}

static void ranges_are_those_of_the_original(struct test *t)
{
    enum { SIZE = 300001 };
    static const struct {
        uint64_t offset, length;
    } rows[] = {{0, 1},        {0, SIZE},      {1, 0},         {1000, 100},
                {SIZE - 1, 0}, {SIZE - 1, 10}, {250000, 50001}};
    char *text = text_of(t, SIZE);
    t_ok(t_put(t, "k", text, SIZE, &compressed));
    for (size_t i = 0; i < LEN(rows); i++) {
        uint64_t rest = SIZE - rows[i].offset, length = rows[i].length;
        size_t n = (size_t)(length && length < rest ? length : rest);
        struct result *r = t_ok(
            t_get(t, "k", &(struct store_get_opts){.offset = rows[i].offset, .length = length}));
        EXPECT(t, r->size == n && memcmp(r->data, text + rows[i].offset, n) == 0,
               "%s: range %llu+%llu: expected %zu bytes, came %zu or others", r->what,
               (unsigned long long)rows[i].offset, (unsigned long long)length, n, r->size);
        EXPECT(t, r->head.size == SIZE && r->head.offset == rows[i].offset && r->head.length == n,
               "%s: expected to be told %zu bytes from %llu of %d", r->what, n,
               (unsigned long long)rows[i].offset, SIZE);
    }
    t_code(t_get(t, "k", &(struct store_get_opts){.offset = SIZE}), STORE_BAD_RANGE);
    t_code(t_get(t, "k", &(struct store_get_opts){.offset = SIZE + 1, .length = 1}),
           STORE_BAD_RANGE);
    t_ok(t_put(t, "empty", "", 0, &compressed));
    t_code(t_get(t, "empty", &(struct store_get_opts){.length = 1}), STORE_BAD_RANGE);
}

static void type_metadata_and_conditions_are_as_ever(struct test *t)
{
    static const struct store_meta meta[] = {{"a", "1"}, {"b", "2"}};
    struct store_put_opts opts = {.compress = true,
                                  .content_type = "text/x",
                                  .meta = meta,
                                  .n_meta = LEN(meta),
                                  .if_absent = true};
    char *text = text_of(t, 5000);
    const char *etag = t_ok(t_put(t, "k", text, 5000, &opts))->info.etag;
    t_code(t_put(t, "k", "x", 1, &opts), STORE_PRECONDITION);
    struct result *r = t_ok(t_get(t, "k", &(struct store_get_opts){.if_match = etag}));
    EXPECT(t, r->head.n_meta == 2 && strcmp(r->head.content_type, "text/x") == 0,
           "%s: expected text/x and 2 pairs of metadata, came '%s' and %zu", r->what,
           r->head.content_type, r->head.n_meta);
    t_code(t_get(t, "k", &(struct store_get_opts){.if_none_match = etag}), STORE_NOT_MODIFIED);
    t_code(t_get(t, "k", &(struct store_get_opts){.if_match = "0123456789abcdef"}),
           STORE_PRECONDITION);
}

static void a_compressed_put_replaces_what_it_names(struct test *t)
{
    const char *etag = t_ok(t_put(t, "k", text_of(t, 5000), 5000, &compressed))->info.etag;
    const struct store_put_opts opts = {.compress = true, .if_match = etag};
    t_ok(t_put(t, "k", "new", 3, &opts));
    t_holds_text(t, "k", "new");
    t_code(t_put(t, "k", "newer", 5, &opts), STORE_PRECONDITION);
    t_holds_text(t, "k", "new");
}

static void as_much_metadata_fits_beside(struct test *t)
{
    char *value = t_alloc(t, STORE_MAX_META_BYTES);
    memset(value, 'v', STORE_MAX_META_BYTES - 1);
    const struct store_meta meta = {"n", value};
    t_ok(t_put(t, "k", "text", 4,
               &(struct store_put_opts){.compress = true, .meta = &meta, .n_meta = 1}));
    struct result *r = t_ok(t_head(t, "k"));
    EXPECT(t, r->info.n_meta == 1 && strcmp(r->info.meta[0].value, value) == 0,
           "%s: expected all of the metadata", r->what);
}

static void a_compressed_object_is_copied(struct test *t)
{
    char *text = text_of(t, 100000);
    t_ok(t_put(t, "from", text, 100000, &compressed));
    t_ok(t_copy(t, "from", "to", NULL));
    t_holds(t, "to", text, 100000);
    check_sizes(t, "to", 100000);
}

static void a_plain_object_may_take_its_place(struct test *t)
{
    t_ok(t_put(t, "k", text_of(t, 5000), 5000, &compressed));
    t_put_text(t, "k", "plain");
    t_holds_text(t, "k", "plain");
    EXPECT(t, t_ok(t_head(t, "k"))->info.stored_size == 5, "expected 5 bytes to be stored");
}

static void a_slow_reader_gets_every_byte_of_it(struct test *t)
{
    char *text = text_of(t, 3 * MIB);
    t_ok(t_put(t, "k", text, 3 * MIB, &compressed));
    struct result *r = t_get_start(t, "k", NULL);
    r->slow = true;
    t_ok(t_wait(r));
    EXPECT(t, r->size == 3 * MIB && memcmp(r->data, text, 3 * MIB) == 0, "%s: the bytes differ",
           r->what);
}

static void a_compressed_stream_that_gives_up_stores_nothing(struct test *t)
{
    const struct source source = {
        .bytes = text_of(t, 100000), .size = 100000, .abort_at = 60000, .chunk = 1000};
    struct result *put = t_stream(t, "k", STORE_SIZE_UNKNOWN, &source, &compressed);
    EXPECT(t, put->err.code != STORE_OK, "%s: expected a failure, came success", put->what);
    put = t_stream(t, "k", 100000, &source, &compressed);
    EXPECT(t, put->err.code != STORE_OK, "%s: expected a failure, came success", put->what);
    t_absent(t, "k");
}

static void a_large_compressed_put_comes_back(struct test *t)
{
    enum { SIZE = 2 * PART + 1 }; /* of what does not shrink: S3 takes it in parts */
    t->s = t_open(t, &(struct store_conf){.multipart_bytes = PART, .part_bytes = PART});
    t_ok(t_stream(t, "k", SIZE, &(struct source){.size = SIZE}, &compressed));
    t_is_pattern(t_ok(t_get(t, "k", NULL)), 0, SIZE);
    t_is_pattern(t_ok(t_get(t, "k", &(struct store_get_opts){.offset = PART, .length = 99})), PART,
                 99);
}

static const struct test_case cases[] = {
    CASE(compressed_objects_come_back),
    CASE(compressed_streams_come_back),
    CASE(what_does_not_shrink_comes_back),
    CASE(ranges_are_those_of_the_original),
    CASE(type_metadata_and_conditions_are_as_ever),
    CASE(a_compressed_put_replaces_what_it_names),
    CASE(as_much_metadata_fits_beside),
    CASE(a_compressed_object_is_copied),
    CASE(a_plain_object_may_take_its_place),
    CASE(a_slow_reader_gets_every_byte_of_it),
    CASE(a_compressed_stream_that_gives_up_stores_nothing),
    CASE(a_large_compressed_put_comes_back),
};
const struct test_group compress_group = {"compress", cases, LEN(cases)};
