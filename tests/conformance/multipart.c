/* Large puts. S3 takes them in parts, here the smallest that it allows; for a folder they are just
 * large, and every case but those about unfinished uploads holds all the same. */
#include "tests/conformance/conformance.h"

static void open_with_small_parts(struct test *t)
{
    t->s = t_open(
        t, &(struct store_conf){.multipart_bytes = PART, .part_bytes = PART, .parts_in_flight = 3});
}

static struct result *uploads(struct test *t, const char *prefix)
{
    return t_list_all(t, prefix, &(struct store_list_opts){.kind = STORE_LIST_UPLOADS});
}

static void no_upload_is_left(struct test *t)
{
    struct result *r = uploads(t, "");
    EXPECT(t, r->n == 0, "expected no unfinished upload, came %zu, the first of %s", r->n,
           t_shown(t, r->entries[0].key));
}

/* loop.h: info->etag is "" where the backend gave none, as old RGWs do at the end of an upload. */
static void round_trip(struct test *t, uint64_t told, const struct source *source)
{
    uint64_t size = source->size;
    struct result *put = t_ok(t_stream(t, "k", told, source, NULL));
    EXPECT(t, put->info.size == size, "%s: expected to be told %llu bytes, came %llu", put->what,
           (unsigned long long)size, (unsigned long long)put->info.size);
    t_is_pattern(t_ok(t_get(t, "k", NULL)), 0, size);
    struct result *head = t_ok(t_head(t, "k"));
    EXPECT(t, head->info.size == size && head->info.etag[0],
           "head: expected %llu bytes and an ETag, came %llu", (unsigned long long)size,
           (unsigned long long)head->info.size);
    EXPECT(t, !put->info.etag[0] || strcmp(head->info.etag, put->info.etag) == 0,
           "head: expected ETag '%s', came '%s'", put->info.etag, head->info.etag);
    t_ok(t_delete(t, "k"));
}

static void large_puts_of_told_size_come_back(struct test *t)
{
    static const uint64_t sizes[] = {PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 12345};
    open_with_small_parts(t);
    for (size_t i = 0; i < LEN(sizes); i++)
        round_trip(t, sizes[i], &(struct source){.size = sizes[i]});
    no_upload_is_left(t);
}

static void large_puts_of_untold_size_come_back(struct test *t)
{
    static const uint64_t sizes[] = {0, 5, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 777};
    open_with_small_parts(t);
    for (size_t i = 0; i < LEN(sizes); i++)
        round_trip(t, STORE_SIZE_UNKNOWN, &(struct source){.size = sizes[i]});
    no_upload_is_left(t);
}

static void a_large_put_from_memory_comes_back(struct test *t)
{
    enum { SIZE = 2 * PART + 4711 };
    open_with_small_parts(t);
    void *bytes = t_pattern(t, SIZE);
    t_ok(t_put(t, "k", bytes, SIZE, NULL));
    t_holds(t, "k", bytes, SIZE);
}

static void a_range_may_span_parts(struct test *t)
{
    static const uint64_t offsets[] = {PART - 1, PART, PART + 1, PART - 70000};
    open_with_small_parts(t);
    t_ok(t_stream(t, "k", 2 * PART, &(struct source){.size = 2 * PART}, NULL));
    for (size_t i = 0; i < LEN(offsets); i++) {
        const struct store_get_opts opts = {.offset = offsets[i], .length = 140000};
        t_is_pattern(t_ok(t_get(t, "k", &opts)), offsets[i], 140000);
    }
    t_is_pattern(t_ok(t_get(t, "k", &(struct store_get_opts){.offset = 2 * PART - 1})),
                 2 * PART - 1, 1);
}

static void a_large_put_may_pause_again_and_again(struct test *t)
{
    open_with_small_parts(t);
    round_trip(t, STORE_SIZE_UNKNOWN,
               &(struct source){.size = 2 * PART + 1, .chunk = 300000, .pause_each = 2});
    round_trip(t, 2 * PART + 1,
               &(struct source){.size = 2 * PART + 1, .chunk = 300000, .pause_each = 2});
}

static void stores_nothing(struct test *t, uint64_t told, const struct source *source,
                           const struct store_put_opts *opts)
{
    struct result *put = t_stream(t, "k", told, source, opts);
    EXPECT(t, put->err.code != STORE_OK, "%s: expected a failure, came success", put->what);
    t_absent(t, "k");
    no_upload_is_left(t);
}

static void a_large_put_that_gives_up_leaves_nothing(struct test *t)
{
    const uint64_t told[] = {3 * PART, STORE_SIZE_UNKNOWN};
    open_with_small_parts(t);
    for (size_t i = 0; i < LEN(told); i++) {
        stores_nothing(t, told[i], &(struct source){.size = 3 * PART, .abort_at = PART + 5}, NULL);
        stores_nothing(t, told[i], &(struct source){.size = 3 * PART, .abort_at = 3 * PART - 1},
                       NULL);
    }
}

static void a_large_put_that_ends_early_leaves_nothing(struct test *t)
{
    open_with_small_parts(t);
    stores_nothing(t, 2 * PART, &(struct source){.size = 2 * PART - 1}, NULL);
}

static void a_canceled_large_put_leaves_nothing(struct test *t)
{
    static const uint64_t holds[] = {1, PART + 1, 2 * PART - 1};
    open_with_small_parts(t);
    for (size_t i = 0; i < LEN(holds); i++) {
        const struct source source = {.size = 2 * PART, .hold_at = holds[i]};
        struct result *put = t_stream_start(t, "k", STORE_SIZE_UNKNOWN, &source, NULL);
        t_wait_held(put);
        store_op_cancel(put->op);
        t_code(t_wait(put), STORE_CANCELED);
        t_absent(t, "k");
        no_upload_is_left(t);
    }
}

static void a_large_put_past_its_deadline_leaves_nothing(struct test *t)
{
    open_with_small_parts(t);
    const struct source source = {.size = 2 * PART, .hold_at = PART + 1};
    struct result *put =
        t_stream_start(t, "k", 2 * PART, &source, &(struct store_put_opts){.timeout_ms = 1500});
    t_code(t_wait(put), STORE_TIMEOUT);
    t_absent(t, "k");
    no_upload_is_left(t);
}

static void a_large_put_takes_type_and_metadata(struct test *t)
{
    const struct store_meta meta = {"a", "b"};
    const struct store_put_opts opts = {.content_type = "text/x", .meta = &meta, .n_meta = 1};
    open_with_small_parts(t);
    t_ok(t_stream(t, "k", PART + 1, &(struct source){.size = PART + 1}, &opts));
    struct result *r = t_ok(t_head(t, "k"));
    EXPECT(t,
           strcmp(r->info.content_type, "text/x") == 0 && r->info.n_meta == 1 &&
               strcmp(r->info.meta[0].value, "b") == 0,
           "%s: expected the type and the metadata of the put", r->what);
}

static void a_large_put_creates_only_where_nothing_is(struct test *t)
{
    const struct store_put_opts create = {.if_absent = true};
    const struct source source = {.size = PART + 1};
    open_with_small_parts(t);
    t_ok(t_stream(t, "new", PART + 1, &source, &create));
    t_put_text(t, "old", "old");
    t_code(t_stream(t, "old", PART + 1, &source, &create), STORE_PRECONDITION);
    t_code(t_stream(t, "old", STORE_SIZE_UNKNOWN, &source, &create), STORE_PRECONDITION);
    t_holds_text(t, "old", "old");
    no_upload_is_left(t);
}

static void a_large_put_replaces_only_what_it_names(struct test *t)
{
    const struct source source = {.size = PART + 1};
    open_with_small_parts(t);
    const char *etag = t_put_text(t, "k", "old")->info.etag;
    t_code(t_stream(t, "k", PART + 1, &source,
                    &(struct store_put_opts){.if_match = "0123456789abcdef0123456789abcdef"}),
           STORE_PRECONDITION);
    t_holds_text(t, "k", "old");
    no_upload_is_left(t);
    t_ok(t_stream(t, "k", PART + 1, &source, &(struct store_put_opts){.if_match = etag}));
    t_is_pattern(t_get(t, "k", NULL), 0, PART + 1);
}

static void a_large_put_after_its_expiry_leaves_nothing(struct test *t)
{
    open_with_small_parts(t);
    int64_t now_s = t_put_text(t, "clock", "x")->info.server_time_s;
    const struct store_put_opts late = {.signed_at_s = now_s - 120, .expires_in_s = 60};
    struct result *put = t_stream(t, "k", PART + 1, &(struct source){.size = PART + 1}, &late);
    t_code(put, STORE_EXPIRED);
    t_absent(t, "k");
    no_upload_is_left(t);
}

static void large_puts_go_side_by_side(struct test *t)
{
    struct result *puts[3];
    open_with_small_parts(t);
    for (size_t i = 0; i < LEN(puts); i++) {
        const struct source source = {.size = PART + 1 + i, .chunk = 100000 + i};
        puts[i] = t_stream_start(t, t_printf(t, "k%zu", i),
                                 i % 2 ? source.size : STORE_SIZE_UNKNOWN, &source, NULL);
    }
    for (size_t i = 0; i < LEN(puts); i++) {
        t_ok(t_wait(puts[i]));
        t_is_pattern(t_get(t, t_printf(t, "k%zu", i), NULL), 0, PART + 1 + i);
    }
}

/* ---- Unfinished uploads: S3 only, a folder has none (list.h) ---- */

static struct result *begin_upload(struct test *t, const char *key)
{
    const struct source source = {.size = 2 * PART, .hold_at = PART + 1};
    struct result *put = t_stream_start(t, key, STORE_SIZE_UNKNOWN, &source,
                                        &(struct store_put_opts){.timeout_ms = WAIT_MS});
    t_wait_held(put);
    t_run(t, t->loop, 100);
    return put;
}

static void needs_uploads(struct test *t)
{
    if (!t->is_s3)
        t_skip(t, "a folder has no unfinished uploads");
    open_with_small_parts(t);
}

static void an_upload_under_way_is_listed(struct test *t)
{
    needs_uploads(t);
    int64_t now_s = t_put_text(t, "clock", "x")->info.server_time_s;
    struct result *put = begin_upload(t, "a/k"), *r = uploads(t, "");
    EXPECT(t, r->n == 1 && strcmp(r->entries[0].key, "a/k") == 0 && r->entries[0].version[0],
           "%s: expected the upload of 'a/k' with its id, came %zu entries", r->what, r->n);
    int64_t begun_s = r->entries[0].modified_s;
    EXPECT(t, begun_s >= now_s - 2 && begun_s <= now_s + WAIT_MS / 1000,
           "%s: expected to have begun at about %lld, came %lld", r->what, (long long)now_s,
           (long long)begun_s);
    EXPECT(t, uploads(t, "a/")->n == 1, "expected one upload below a/");
    EXPECT(t, uploads(t, "b/")->n == 0, "expected no upload below b/");
    EXPECT(t, t_list_all(t, "a/", NULL)->n == 0, "expected no object before the upload ends");
    put->source->held = false;
    t_ok(t_wait(put));
    no_upload_is_left(t);
}

static void a_listed_upload_can_be_aborted(struct test *t)
{
    needs_uploads(t);
    struct result *put = begin_upload(t, "k"), *r = uploads(t, "");
    EXPECT(t, r->n == 1, "%s: expected one upload, came %zu", r->what, r->n);
    t_ok(t_delete_listed(t, STORE_LIST_UPLOADS, r->entries, r->n));
    no_upload_is_left(t);
    put->source->held = false;
    t_wait(put);
    EXPECT(t, put->err.code != STORE_OK,
           "%s: expected a failure, its upload was aborted, came success, and head tells %s",
           put->what, store_code_name(t_head(t, "k")->err.code));
    t_absent(t, "k");
}

static void uploads_are_listed_page_by_page(struct test *t)
{
    struct result *puts[3];
    needs_uploads(t);
    for (size_t i = 0; i < LEN(puts); i++)
        puts[i] = begin_upload(t, i == 2 ? "k1" : t_printf(t, "k%zu", i));
    for (uint32_t max = 1; max <= 4; max++) {
        struct result *r =
            t_list_all(t, "", &(struct store_list_opts){.kind = STORE_LIST_UPLOADS, .max = max});
        EXPECT(t,
               r->n == 3 && strcmp(r->entries[0].key, "k0") == 0 &&
                   strcmp(r->entries[2].key, "k1") == 0 &&
                   strcmp(r->entries[1].version, r->entries[2].version) != 0,
               "%s: expected k0 and twice k1 with pages of %u, came %zu", r->what, max, r->n);
    }
    for (size_t i = 0; i < LEN(puts); i++) {
        store_op_cancel(puts[i]->op);
        t_code(t_wait(puts[i]), STORE_CANCELED);
    }
    no_upload_is_left(t);
}

static void deleting_a_prefix_aborts_uploads_where_asked(struct test *t)
{
    const struct store_delete_prefix_opts with = {.uploads = true}, none = {.uploads = false},
                                          dry = {.uploads = true, .dry_run = true};
    needs_uploads(t);
    struct result *inside = begin_upload(t, "p/k"), *beside = begin_upload(t, "p-x/k");
    t_put_text(t, "p/object", "x");
    struct result *r = t_ok(t_purge(t, "p/", &dry));
    EXPECT(t, r->progress.uploads == 1 && r->progress.objects == 1,
           "%s: expected to count 1 object and 1 upload, came %llu and %llu", r->what,
           (unsigned long long)r->progress.objects, (unsigned long long)r->progress.uploads);
    t_ok(t_purge(t, "p/", &none));
    EXPECT(t, uploads(t, "p/")->n == 1, "expected the upload to stay where it is not asked for");
    r = t_ok(t_purge(t, "p/", &with));
    EXPECT(t, r->progress.uploads == 1, "%s: expected 1 upload, came %llu", r->what,
           (unsigned long long)r->progress.uploads);
    EXPECT(t, uploads(t, "p/")->n == 0, "expected no upload below p/");
    EXPECT(t, uploads(t, "p-x/")->n == 1, "expected the upload below p-x/ to stay");
    store_op_cancel(inside->op);
    t_wait(inside);
    store_op_cancel(beside->op);
    t_wait(beside);
}

static void a_folder_has_no_unfinished_uploads(struct test *t)
{
    if (t->is_s3)
        t_skip(t, "S3 has them");
    open_with_small_parts(t);
    struct result *put = begin_upload(t, "k");
    no_upload_is_left(t);
    t_empty(t, "");
    store_op_cancel(put->op);
    t_wait(put);
}

static const struct test_case cases[] = {
    CASE(large_puts_of_told_size_come_back),
    CASE(large_puts_of_untold_size_come_back),
    CASE(a_large_put_from_memory_comes_back),
    CASE(a_range_may_span_parts),
    CASE(a_large_put_may_pause_again_and_again),
    CASE(a_large_put_that_gives_up_leaves_nothing),
    CASE(a_large_put_that_ends_early_leaves_nothing),
    CASE(a_canceled_large_put_leaves_nothing),
    CASE(a_large_put_past_its_deadline_leaves_nothing),
    CASE(a_large_put_takes_type_and_metadata),
    CASE(a_large_put_creates_only_where_nothing_is),
    CASE(a_large_put_replaces_only_what_it_names),
    CASE(a_large_put_after_its_expiry_leaves_nothing),
    CASE(large_puts_go_side_by_side),
    CASE(an_upload_under_way_is_listed),
    CASE(a_listed_upload_can_be_aborted),
    CASE(uploads_are_listed_page_by_page),
    CASE(deleting_a_prefix_aborts_uploads_where_asked),
    CASE(a_folder_has_no_unfinished_uploads),
};
const struct test_group multipart_group = {"multipart", cases, LEN(cases)};
