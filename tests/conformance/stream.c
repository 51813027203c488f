/* Puts whose bytes a call-back brings, in one request. */
#include "tests/conformance/conformance.h"

static void round_trip(struct test *t, uint64_t told, const struct source *source)
{
    uint64_t size = source->size;
    struct result *put = t_ok(t_stream(t, "k", told, source, NULL));
    EXPECT(t, put->info.size == size && put->source->given == size,
           "%s: expected %llu bytes, came %llu stored of %llu given", put->what,
           (unsigned long long)size, (unsigned long long)put->info.size,
           (unsigned long long)put->source->given);
    EXPECT(t, put->info.etag[0], "%s: expected an ETag", put->what);
    t_is_pattern(t_ok(t_get(t, "k", NULL)), 0, size);
}

static const uint64_t sizes[] = {0, 1, 5, 4096, 65537, MIB, 2 * MIB + 1};

static void streams_of_told_size_come_back(struct test *t)
{
    for (size_t i = 0; i < LEN(sizes); i++)
        round_trip(t, sizes[i], &(struct source){.size = sizes[i]});
}

static void streams_of_untold_size_come_back(struct test *t)
{
    for (size_t i = 0; i < LEN(sizes); i++)
        round_trip(t, STORE_SIZE_UNKNOWN, &(struct source){.size = sizes[i]});
}

static void bytes_may_come_one_by_one(struct test *t)
{
    round_trip(t, 500, &(struct source){.size = 500, .chunk = 1});
    round_trip(t, STORE_SIZE_UNKNOWN, &(struct source){.size = 500, .chunk = 1});
}

static void a_stream_may_pause_again_and_again(struct test *t)
{
    round_trip(t, 100000, &(struct source){.size = 100000, .chunk = 999, .pause_each = 2});
    round_trip(t, STORE_SIZE_UNKNOWN,
               &(struct source){.size = 100000, .chunk = 999, .pause_each = 2});
    round_trip(t, 10, &(struct source){.size = 10, .chunk = 3, .pause_each = 2});
}

/* As many bytes as were told: the object is whole, whatever else there may be. */
static void read_is_not_called_once_all_bytes_were_given(struct test *t)
{
    struct result *put = t_ok(t_stream(t, "k", 1000, &(struct source){.size = 2000}, NULL));
    EXPECT(t, put->source->given == 1000, "expected 1000 bytes to be asked for, came %llu",
           (unsigned long long)put->source->given);
    t_is_pattern(t_get(t, "k", NULL), 0, 1000);
    put = t_ok(t_stream(t, "empty", 0, &(struct source){.size = 10}, NULL));
    EXPECT(t, put->source->calls == 0, "expected no `read` for 0 bytes, came %u",
           put->source->calls);
}

static void stores_nothing(struct test *t, uint64_t told, const struct source *source,
                           const char *key)
{
    struct result *put = t_stream(t, key, told, source, NULL);
    EXPECT(t, put->err.code != STORE_OK, "%s: expected a failure, came success", put->what);
}

static void a_stream_that_gives_up_stores_nothing(struct test *t)
{
    const uint64_t told[] = {100000, STORE_SIZE_UNKNOWN};
    t_put_text(t, "old", "old");
    for (size_t i = 0; i < LEN(told); i++) {
        stores_nothing(t, told[i], &(struct source){.size = 100000, .abort_at_once = true}, "new");
        stores_nothing(t, told[i], &(struct source){.size = 100000, .abort_at = 50000}, "new");
        stores_nothing(t, told[i], &(struct source){.size = 100000, .abort_at = 50000}, "old");
    }
    t_absent(t, "new");
    t_holds_text(t, "old", "old");
}

static void a_stream_that_ends_early_stores_nothing(struct test *t)
{
    t_put_text(t, "old", "old");
    stores_nothing(t, 1000, &(struct source){.size = 999}, "new");
    stores_nothing(t, 1000, &(struct source){.size = 0}, "new");
    stores_nothing(t, 1000, &(struct source){.size = 999}, "old");
    t_absent(t, "new");
    t_holds_text(t, "old", "old");
}

static void an_object_is_not_seen_before_its_stream_ends(struct test *t)
{
    const struct source source = {.size = 100000, .hold_at = 99999};
    t_put_text(t, "old", "old");
    struct result *put = t_stream_start(t, "old", source.size, &source, NULL);
    t_wait_held(put);
    t_holds_text(t, "old", "old");
    put->source->held = false;
    t_ok(t_wait(put));
    t_is_pattern(t_get(t, "old", NULL), 0, 100000);
}

static void a_stream_takes_type_metadata_and_conditions(struct test *t)
{
    const struct store_meta meta = {"a", "b"};
    struct store_put_opts opts = {
        .content_type = "text/x", .meta = &meta, .n_meta = 1, .if_absent = true};
    const uint64_t told[] = {10, STORE_SIZE_UNKNOWN};
    for (size_t i = 0; i < LEN(told); i++) {
        const char *key = i ? "unsized" : "sized";
        t_ok(t_stream(t, key, told[i], &(struct source){.size = 10}, &opts));
        struct result *r = t_ok(t_head(t, key));
        EXPECT(t,
               strcmp(r->info.content_type, "text/x") == 0 && r->info.n_meta == 1 &&
                   strcmp(r->info.meta[0].value, "b") == 0,
               "%s: expected the type and the metadata of the put", r->what);
        struct source other = {.size = 7};
        t_code(t_stream(t, key, i ? STORE_SIZE_UNKNOWN : 7, &other, &opts), STORE_PRECONDITION);
        t_is_pattern(t_get(t, key, NULL), 0, 10);
    }
}

static void many_streams_go_side_by_side(struct test *t)
{
    enum { STREAMS = 24, SIZE = 30000 };
    struct result *puts[STREAMS];
    for (size_t i = 0; i < STREAMS; i++) {
        const struct source source = {
            .size = SIZE + i, .chunk = 100 + i, .pause_each = 2 + (unsigned)i % 5};
        puts[i] = t_stream_start(t, t_printf(t, "k%zu", i), i % 2 ? SIZE + i : STORE_SIZE_UNKNOWN,
                                 &source, NULL);
    }
    for (size_t i = 0; i < STREAMS; i++)
        t_ok(t_wait(puts[i]));
    for (size_t i = 0; i < STREAMS; i++)
        t_is_pattern(t_get(t, t_printf(t, "k%zu", i), NULL), 0, SIZE + i);
}

static const struct test_case cases[] = {
    CASE(streams_of_told_size_come_back),
    CASE(streams_of_untold_size_come_back),
    CASE(bytes_may_come_one_by_one),
    CASE(a_stream_may_pause_again_and_again),
    CASE(read_is_not_called_once_all_bytes_were_given),
    CASE(a_stream_that_gives_up_stores_nothing),
    CASE(a_stream_that_ends_early_stores_nothing),
    CASE(an_object_is_not_seen_before_its_stream_ends),
    CASE(a_stream_takes_type_metadata_and_conditions),
    CASE(many_streams_go_side_by_side),
};
const struct test_group stream_group = {"stream", cases, LEN(cases)};
