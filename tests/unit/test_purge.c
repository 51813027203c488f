/* Removal of a prefix: on a folder store, and on a fake that fails and misbehaves when it is told
 * to. How ranges are split: test_purge_shards.c. */
#include "tests/unit/file_fixture.h"

#include "base/xalloc.h"
#include "libstore/purge.h"
#include "tests/unit/fake_store.h"

/* ---- In a folder ---- */

static void only_the_prefix_goes(void **state)
{
    struct fixture *f = *state;
    static const char *const keys[] = {"ep/ep-1/a", "ep/ep-1/b/c", "ep/ep-1/b/d", "ep/ep-10/a",
                                       "ep/ep-1",   "ep/ep-1.x",   "ep/ep-0/z",   "other"};
    struct removal r = {0};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(put_text(f, keys[i], "12345"), STORE_OK);
    assert_int_equal(put_text(f, "ep/ep-0/z", "1"), STORE_OK);
    assert_int_equal(put_text(f, "other", "1"), STORE_OK);
    assert_int_equal(removal_run(f->s, f->loop, "ep/ep-1/", NULL, &r), STORE_OK);
    assert_int_equal(r.final.objects, 3);
    assert_int_equal(r.final.bytes, 15);
    assert_string_equal(r.cursor, "ep/ep-1/b/d");
    assert_true(r.final.server_time_s > 0);
    assert_int_equal(count_keys(f, "ep/ep-1/"), 0);
    assert_int_equal(count_keys(f, ""), 3);
    assert_int_equal(removal_run(f->s, f->loop, "ep/ep-1/", NULL, &r),
                     STORE_OK); /* again is free */
    assert_int_equal(r.final.objects, 0);
    assert_string_equal(r.cursor, "");
    assert_true(r.final.server_time_s > 0);
}

static void a_dry_run_removes_nothing(void **state)
{
    struct fixture *f = *state;
    const struct store_delete_prefix_opts dry = {.dry_run = true};
    struct removal r = {0};
    assert_int_equal(put_text(f, "p/1", "123"), STORE_OK);
    assert_int_equal(put_text(f, "p/2", "1234"), STORE_OK);
    assert_int_equal(removal_run(f->s, f->loop, "p/", &dry, &r), STORE_OK);
    assert_int_equal(r.final.objects, 2);
    assert_int_equal(r.final.bytes, 7);
    assert_int_equal(count_keys(f, "p/"), 2);
}

static void the_blocking_face_does_the_same(void **state)
{
    struct fixture *f = *state;
    struct store_progress final;
    assert_int_equal(put_text(f, "p/1", "123"), STORE_OK);
    assert_int_equal(store_sync_delete_prefix(f->s, NULL, "p/", NULL, NULL, NULL, &final, NULL), 0);
    assert_int_equal(final.objects, 1);
    assert_string_equal(final.cursor, "");
    assert_int_equal(count_keys(f, ""), 0);
}

/* ---- On the fake ---- */

enum { KEYS = 100, PAGE = 10 };

/* p/00 to p/99, in ten pages. */
static int in_memory(void **state)
{
    char key[8];
    fake_setup(state);
    struct fake *f = *state;
    for (unsigned k = 0; k < KEYS; k++) {
        snprintf(key, sizeof(key), "p/%02u", k);
        fake_put(&f->objects, key, "");
    }
    fake_sort(&f->objects);
    f->page = PAGE;
    return 0;
}

static bool gone(const struct fake *f, size_t k)
{
    return f->objects.objects[k].removed > 0;
}

static size_t left(const struct fake *f)
{
    return fake_left(&f->objects);
}

static void restore(struct fake *f)
{
    for (size_t k = 0; k < f->objects.n; k++)
        f->objects.objects[k].removed = 0;
}

static void turn(struct fake *f, unsigned rounds)
{
    while (rounds--)
        assert_int_equal(store_loop_run(f->loop, 0, NULL), 0);
}

static void give_up(struct fake *f, struct removal *r)
{
    store_op_cancel(r->op);
    while (!r->done)
        turn(f, 1);
    assert_int_equal(r->err.code, STORE_CANCELED);
    assert_int_equal(f->running, 0);
}

static void pages_follow_each_other(void **state)
{
    struct fake *f = *state;
    struct removal r = {0};
    const struct store_delete_prefix_opts opts = {.listings_in_flight = 1};
    assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_OK);
    assert_int_equal(left(f), 0);
    assert_int_equal(r.final.objects, KEYS);
    assert_int_equal(r.final.bytes, FAKE_SIZE * KEYS);
    assert_int_equal(r.final.pages, f->lists);
    assert_int_equal(r.final.server_time_s, 1001); /* of the first listing */
    assert_int_equal(r.progressed, KEYS / PAGE);
    assert_string_equal(r.cursor, "p/99");
    assert_int_equal(f->lists, KEYS / PAGE);
    assert_int_equal(f->batches, KEYS / PAGE);
    assert_int_equal(f->most_listing, 1);
}

static void one_page_costs_one_listing(void **state)
{
    struct fake *f = *state;
    struct removal r = {0};
    f->page = KEYS;
    assert_int_equal(removal_run(&f->store, f->loop, "p/", NULL, &r), STORE_OK);
    assert_int_equal(left(f), 0);
    assert_int_equal(f->lists, 1);
    assert_int_equal(f->batches, 1);
    assert_int_equal(removal_run(&f->store, f->loop, "p/", NULL, &r), STORE_OK);
    assert_int_equal(f->lists, 2);
    assert_int_equal(f->batches, 1);
}

static void each_request_has_the_time_that_was_given(void **state)
{
    struct fake *f = *state;
    struct removal r = {0};
    assert_int_equal(removal_run(&f->store, f->loop, "p/", NULL, &r), STORE_OK);
    assert_int_equal(f->timeout_ms, 120000);
    restore(f);
    const struct store_delete_prefix_opts opts = {.timeout_ms = 7000};
    assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_OK);
    assert_int_equal(f->timeout_ms, 7000);
    assert_true(f->all_bulk);
}

static void the_window_bounds_what_is_under_way(void **state)
{
    struct fake *f = *state;
    static const uint32_t windows[] = {1, 2, 3};
    for (size_t i = 0; i < LEN(windows); i++) {
        struct removal r = {0};
        restore(f);
        f->most_running = f->most_listing = 0;
        const struct store_delete_prefix_opts opts = {.batches_in_flight = windows[i]};
        assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_OK);
        assert_int_equal(left(f), 0);
        assert_in_range(f->most_running, 1, windows[i]);
        assert_in_range(f->most_listing, 1, 4);
    }
    struct removal r = {0};
    restore(f);
    f->hold_batches = true;
    f->lists = 0;
    removal_begin(&f->store, f->loop, "p/",
                  &(struct store_delete_prefix_opts){.batches_in_flight = 4}, &r);
    turn(f, 50);
    assert_int_equal(f->running, 4);
    assert_int_equal(f->n_held, 4);
    assert_in_range(f->lists, 4, 4 + 3 + 9); /* three pages ahead; cuts may have cost some */
    give_up(f, &r);
}

/* The store answers at once, so more at a time would bring more. */
static void a_yielding_one_begins_with_one_and_goes_on_to_all(void **state)
{
    struct fake *f = *state;
    struct removal r = {0};
    const struct store_delete_prefix_opts opts = {.batches_in_flight = 4, .yielding = true};
    f->hold_batches = true;
    removal_begin(&f->store, f->loop, "p/", &opts, &r);
    turn(f, 50);
    assert_int_equal(f->n_held, 1);
    while (f->n_held < 4 && !r.done) {
        fake_release(f, 0);
        turn(f, 20);
    }
    assert_false(r.done);
    f->hold_batches = false;
    while (f->n_held)
        fake_release(f, 0);
    while (!r.done)
        turn(f, 1);
    assert_int_equal(r.err.code, STORE_OK);
    assert_int_equal(left(f), 0);
}

static void with_one_batch_one_thing_follows_the_other(void **state)
{
    struct fake *f = *state;
    struct removal r = {0};
    f->hold_batches = f->hold_lists = true;
    removal_begin(&f->store, f->loop, "p/",
                  &(struct store_delete_prefix_opts){.batches_in_flight = 1}, &r);
    while (!r.done) {
        turn(f, 3);
        assert_in_range(f->n_held, 0, 1);
        if (f->n_held)
            fake_release(f, 0);
    }
    assert_int_equal(left(f), 0);
}

/* The second batch ends before the first: what is behind the cursor must be gone. */
static void the_cursor_waits_for_the_slowest(void **state)
{
    struct fake *f = *state;
    struct removal r = {0};
    f->hold_batches = true;
    removal_begin(
        &f->store, f->loop, "p/",
        &(struct store_delete_prefix_opts){.batches_in_flight = 3, .listings_in_flight = 1}, &r);
    while (f->n_held < 3)
        turn(f, 1);
    fake_release(f, 2);
    fake_release(f, 1);
    turn(f, 20);
    assert_int_equal(r.progressed, 2);
    assert_int_equal(r.final.objects, 2 * PAGE);
    assert_string_equal(r.cursor, "");
    fake_release(f, 0);
    while (r.progressed < 3)
        turn(f, 1);
    assert_string_equal(r.cursor, "p/29");
    assert_int_equal(r.final.objects, 3 * PAGE);
    give_up(f, &r);
}

static void a_bound_cuts_within_a_page(void **state)
{
    struct fake *f = *state;
    static const struct {
        const char *end_before;
        size_t removed;
    } cases[] = {{"p/00", 0},  {"p/", 0},     {"", 0},      {"p/01", 1},    {"p/10", 10},
                 {"p/25", 25}, {"p/250", 26}, {"p/99", 99}, {"p/999", 100}, {"q", 100}};
    for (size_t i = 0; i < LEN(cases); i++) {
        struct removal r = {0};
        restore(f);
        const struct store_delete_prefix_opts opts = {.end_before = cases[i].end_before};
        assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_OK);
        assert_int_equal(r.final.objects, cases[i].removed);
        assert_int_equal(left(f), KEYS - cases[i].removed);
    }
}

static void a_cursor_goes_on_behind_it(void **state)
{
    struct fake *f = *state;
    struct removal r = {0};
    const struct store_delete_prefix_opts opts = {.cursor = "p/49", .end_before = "p/70"};
    assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_OK);
    assert_int_equal(r.final.objects, 20);
    assert_false(gone(f, 49));
    assert_true(gone(f, 50));
    assert_true(gone(f, 69));
    assert_false(gone(f, 70));
    assert_string_equal(r.cursor, "p/69");
    const struct store_delete_prefix_opts behind = {.cursor = "p/99"};
    assert_int_equal(removal_run(&f->store, f->loop, "p/", &behind, &r), STORE_OK);
    assert_int_equal(r.final.objects, 0);
    assert_string_equal(r.cursor, "p/99"); /* it never goes back */
}

static void all_up_to_the_cursor_is_gone(struct removal *r)
{
    struct fake *f = r->user;
    for (size_t k = 0; k < KEYS; k++)
        assert_true(gone(f, k) || strcmp(f->objects.objects[k].key, r->cursor) > 0);
}

/* Stopped again and again, and resumed from its cursor, it removes everything once. */
static void stopped_and_resumed_it_ends(void **state)
{
    struct fake *f = *state;
    struct removal r = {.stop_at_first = true, .watch = all_up_to_the_cursor_is_gone, .user = f};
    char cursor[STORE_MAX_KEY + 1] = "";
    uint64_t total = 0;
    unsigned runs = 0;
    do {
        const struct store_delete_prefix_opts opts = {.cursor = cursor, .batches_in_flight = 2};
        enum store_code code = removal_run(&f->store, f->loop, "p/", &opts, &r);
        assert_true(code == STORE_CANCELED || left(f) == 0);
        assert_true(strcmp(r.cursor, cursor) >= 0);
        all_up_to_the_cursor_is_gone(&r);
        strcpy(cursor, r.cursor);
        total += r.final.objects;
        runs++;
    } while (left(f));
    assert_true(runs > 2);
    assert_int_equal(total, KEYS);
}

/* Whatever fails, the cursor is right, and going on from it removes the rest. */
static void it_can_be_resumed_after_a_failure_at_any_step(void **state)
{
    struct fake *f = *state;
    for (unsigned step = 1; step < 80; step++) {
        struct removal r = {.watch = all_up_to_the_cursor_is_gone, .user = f};
        char cursor[STORE_MAX_KEY + 1];
        restore(f);
        f->lists = f->batches = 0;
        f->fail_list = step % 2 ? step / 2 + 1 : 0;
        f->fail_batch = step % 2 ? 0 : step / 2;
        enum store_code code = removal_run(&f->store, f->loop, "p/", NULL, &r);
        bool happened = f->lists >= f->fail_list && f->batches >= f->fail_batch;
        assert_int_equal(code, happened ? STORE_DENIED : STORE_OK);
        assert_int_equal(r.final.objects, KEYS - left(f));
        all_up_to_the_cursor_is_gone(&r);
        strcpy(cursor, r.cursor);
        f->fail_list = f->fail_batch = 0;
        const struct store_delete_prefix_opts opts = {.cursor = cursor};
        assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_OK);
        for (size_t k = 0; k < KEYS; k++)
            assert_int_equal(f->objects.objects[k].removed, 1);
    }
}

static void the_first_failure_ends_it_at_its_cursor(void **state)
{
    struct fake *f = *state;
    struct removal r = {0};
    f->fail_batch = 4;
    const struct store_delete_prefix_opts opts = {.batches_in_flight = 3, .listings_in_flight = 1};
    assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_DENIED);
    assert_non_null(strstr(r.err.msg, "told to fail"));
    assert_string_equal(r.cursor, "p/29");
    assert_int_equal(r.final.objects, KEYS - left(f)); /* what was under way is counted too */
    assert_false(gone(f, 30));
    assert_int_equal(f->running, 0);

    restore(f);
    f->fail_batch = 0;
    f->fail_list = f->lists + 3;
    assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_DENIED);
    assert_int_equal(left(f), KEYS - 20);
    assert_string_equal(r.cursor, "p/19");
}

static void a_cancel_lets_nothing_run_on(void **state)
{
    struct fake *f = *state;
    struct removal r = {0};
    removal_begin(&f->store, f->loop, "p/", NULL, &r);
    give_up(f, &r);
    assert_int_equal(left(f), KEYS);

    r = (struct removal){0};
    f->hold_batches = true;
    removal_begin(&f->store, f->loop, "p/", NULL, &r);
    while (f->n_held < 3)
        turn(f, 1);
    store_op_cancel(r.op); /* twice is once */
    give_up(f, &r);
    assert_int_equal(left(f), KEYS);
}

static void cancel(struct removal *r)
{
    store_op_cancel(r->op);
}

static void a_cancel_may_come_from_the_call_back(void **state)
{
    struct fake *f = *state;
    struct removal r = {.watch = cancel};
    f->hold_batches = true;
    removal_begin(&f->store, f->loop, "p/", NULL, &r);
    while (f->n_held < 3)
        turn(f, 1);
    fake_release(f, 1);
    while (!r.done)
        turn(f, 1);
    assert_int_equal(r.progressed, 1);
    assert_int_equal(r.err.code, STORE_CANCELED);
    assert_int_equal(r.final.objects, PAGE);
}

static void a_loop_that_goes_ends_it(void **state)
{
    struct fake *f = *state;
    struct removal r = {0};
    f->hold_batches = true;
    removal_begin(&f->store, f->loop, "p/", NULL, &r);
    while (f->n_held < 3)
        turn(f, 1);
    store_loop_free(f->loop);
    f->loop = NULL;
    assert_true(r.done);
    assert_int_equal(r.err.code, STORE_CANCELED);
}

static void empty_pages_are_passed_over(void **state)
{
    struct fake *f = *state;
    struct removal r = {0};
    f->mode = EMPTY_BEFORE;
    assert_int_equal(removal_run(&f->store, f->loop, "p/", NULL, &r), STORE_OK);
    assert_int_equal(left(f), 0);
}

static void a_store_that_misbehaves_is_stopped(void **state)
{
    struct fake *f = *state;
    static const struct {
        int mode;
        const char *says;
    } cases[] = {
        {REPEATS, "repeats"},     {ALTERNATES, "repeats"},
        {STRAYS, "o/foreign"},    {EMPTY_FOR_EVER, "empty pages"},
        {GOES_BACK, "order"},     {FOREIGN_AND_LARGER, "q/foreign"},
        {SHUFFLES, "order"},      {GROUPS, "named p/05"},
        {SAME_FOR_EVER, "order"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        for (uint32_t listings = 1; listings <= 4; listings += 3) {
            struct removal r = {0};
            f->mode = cases[i].mode;
            f->lists = f->batches = 0;
            restore(f);
            const struct store_delete_prefix_opts opts = {.dry_run = true,
                                                          .listings_in_flight = listings};
            enum store_code code = removal_run(&f->store, f->loop, "p/", &opts, &r);
            if (code != STORE_CORRUPT || !strstr(r.err.msg, cases[i].says))
                fail_msg("case %zu, %u at once: %s: '%s'", i, listings, store_code_name(code),
                         r.err.msg);
            assert_true(f->lists <= 1004);
            if (f->mode == GOES_BACK || f->mode == SAME_FOR_EVER)
                continue; /* what is removed is not there to come again */
            const struct store_delete_prefix_opts real = {.listings_in_flight = listings};
            f->lists = 0;
            assert_int_equal(removal_run(&f->store, f->loop, "p/", &real, &r), STORE_CORRUPT);
            assert_true(f->batches <= listings); /* only what was listed before it was noticed */
        }
    }
}

/* ---- What else goes, and what stays ---- */

static void what_is_newer_than_the_cut_off_stays(void **state)
{
    struct fake *f = *state;
    struct removal r = {0};
    for (size_t k = 0; k < KEYS; k++) /* 0: it is not known how old they are */
        f->objects.objects[k].modified_s = k % 4 == 3 ? 0 : 100 + (int64_t)(k % 4);
    const struct store_delete_prefix_opts opts = {.modified_before_s = 102};
    assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_OK);
    for (size_t k = 0; k < KEYS; k++)
        assert_int_equal(gone(f, k), k % 4 < 2);
    assert_int_equal(r.final.objects, KEYS / 2);
    assert_int_equal(r.final.kept, KEYS / 2);
    assert_string_equal(r.cursor, "p/99");

    const struct store_delete_prefix_opts older = {.modified_before_s = 50};
    assert_int_equal(removal_run(&f->store, f->loop, "p/", &older, &r), STORE_OK);
    assert_int_equal(r.final.objects, 0);
    assert_int_equal(r.final.kept, KEYS / 2);
    assert_true(r.progressed > 0); /* so that it can be stopped */
}

static void keep_versions(struct fake *f, unsigned keys, unsigned versions)
{
    char key[16], version[8];
    fake_empty(&f->objects);
    for (unsigned k = 0; k < keys; k++)
        for (unsigned v = 0; v < versions; v++) {
            snprintf(key, sizeof(key), "p/%03u", k);
            snprintf(version, sizeof(version), "v%03u", v);
            fake_put(&f->objects, key, version)->modified_s = 1000 - (int64_t)v;
        }
    fake_sort(&f->objects);
}

static void keys_up_to_the_cursor_have_no_version_left(struct removal *r)
{
    struct fake *f = r->user;
    for (size_t i = 0; i < f->objects.n; i++)
        if (strcmp(f->objects.objects[i].key, r->cursor) <= 0)
            assert_int_equal(f->objects.objects[i].removed, 1);
}

static void all_versions_go_though_a_key_spans_pages(void **state)
{
    struct fake *f = *state;
    static const unsigned shapes[][2] = {{40, 1}, {40, 3}, {7, 25}, {1, 95}, {3, 10}};
    for (size_t i = 0; i < LEN(shapes); i++) {
        struct removal r = {.watch = keys_up_to_the_cursor_have_no_version_left, .user = f};
        keep_versions(f, shapes[i][0], shapes[i][1]);
        const struct store_delete_prefix_opts opts = {.versions = true};
        assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_OK);
        assert_int_equal(r.final.objects, f->objects.n);
        for (size_t k = 0; k < f->objects.n; k++)
            assert_int_equal(f->objects.objects[k].removed, 1);
        assert_string_equal(r.cursor, f->objects.objects[f->objects.n - 1].key);
    }
}

static void versions_that_repeat_are_noticed(void **state)
{
    struct fake *f = *state;
    static const int modes[] = {SAME_FOR_EVER, GOES_BACK, ALTERNATES, REPEATS};
    keep_versions(f, 1, 95); /* the order of keys tells nothing */
    for (size_t i = 0; i < LEN(modes); i++) {
        struct removal r = {0};
        f->mode = modes[i];
        f->lists = 0;
        const struct store_delete_prefix_opts opts = {.versions = true, .dry_run = true};
        assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_CORRUPT);
        assert_in_range(f->lists, 2, 10);
    }
}

static void uploads_are_aborted_before_the_objects_go(void **state)
{
    struct fake *f = *state;
    char id[8];
    for (unsigned i = 0; i < 35; i++) {
        snprintf(id, sizeof(id), "u%u", i);
        fake_put(&f->uploads, i < 20 ? "p/same" : "p/other", id)->modified_s = i % 5 ? 10 : 200;
    }
    fake_put(&f->uploads, "o/foreign", "u1");
    fake_sort(&f->uploads);
    struct removal r = {0};
    const struct store_delete_prefix_opts dry = {
        .uploads = true, .dry_run = true, .cursor = "p/99"};
    assert_int_equal(removal_run(&f->store, f->loop, "p/", &dry, &r), STORE_OK);
    assert_int_equal(r.final.uploads, 35); /* of them the cursor does not tell */
    assert_int_equal(r.final.objects, 0);
    assert_int_equal(fake_left(&f->uploads), 36);

    const struct store_delete_prefix_opts opts = {.uploads = true, .modified_before_s = 150};
    r = (struct removal){.watch = all_up_to_the_cursor_is_gone, .user = f};
    assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_OK);
    assert_int_equal(r.final.uploads, 28);
    assert_int_equal(r.final.objects, KEYS);
    assert_int_equal(r.final.kept, 0);
    assert_int_equal(fake_left(&f->uploads), 8);
    assert_int_equal(f->upload_batches_after_objects, 0);
}

static void a_failure_among_the_uploads_leaves_the_objects(void **state)
{
    struct fake *f = *state;
    fake_put(&f->uploads, "p/x", "u1");
    struct removal r = {0};
    const struct store_delete_prefix_opts opts = {.uploads = true, .cursor = "p/30"};
    f->fail_batch = 1;
    assert_int_equal(removal_run(&f->store, f->loop, "p/", &opts, &r), STORE_DENIED);
    assert_int_equal(left(f), KEYS);
    assert_string_equal(r.cursor, "p/30");
}

static void a_narrowed_store_empties_itself_and_nothing_else(void **state)
{
    struct fake *f = *state;
    struct store_err err = {0};
    struct removal r = {0};
    store *part = NULL;
    atomic_init(&f->store.refs, 1);
    f->store.root = &f->store;
    fake_put(&f->objects, "o/1", "");
    fake_put(&f->objects, "p", "");
    fake_put(&f->objects, "p0", "");
    fake_sort(&f->objects);
    assert_int_equal(store_narrow(&f->store, "p/", &part, &err), 0);
    assert_int_equal(removal_run(part, f->loop, "", NULL, &r), STORE_OK);
    assert_int_equal(r.final.objects, KEYS);
    assert_string_equal(r.cursor, "99");
    assert_int_equal(left(f), 3);
    restore(f);
    const struct store_delete_prefix_opts opts = {.cursor = "49", .end_before = "70"};
    assert_int_equal(removal_run(part, f->loop, "", &opts, &r), STORE_OK);
    assert_int_equal(r.final.objects, 20);
    assert_null(store_delete_prefix(&f->store, f->loop, "", NULL, NULL, NULL, &err));
    assert_int_equal(err.code, STORE_INVALID);
    store_close(part);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define IN_MEMORY(test) cmocka_unit_test_setup_teardown(test, in_memory, fake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(only_the_prefix_goes),
        IN_FOLDER(a_dry_run_removes_nothing),
        IN_FOLDER(the_blocking_face_does_the_same),
        IN_MEMORY(pages_follow_each_other),
        IN_MEMORY(one_page_costs_one_listing),
        IN_MEMORY(each_request_has_the_time_that_was_given),
        IN_MEMORY(the_window_bounds_what_is_under_way),
        IN_MEMORY(a_yielding_one_begins_with_one_and_goes_on_to_all),
        IN_MEMORY(with_one_batch_one_thing_follows_the_other),
        IN_MEMORY(the_cursor_waits_for_the_slowest),
        IN_MEMORY(a_bound_cuts_within_a_page),
        IN_MEMORY(a_cursor_goes_on_behind_it),
        IN_MEMORY(stopped_and_resumed_it_ends),
        IN_MEMORY(it_can_be_resumed_after_a_failure_at_any_step),
        IN_MEMORY(the_first_failure_ends_it_at_its_cursor),
        IN_MEMORY(a_cancel_lets_nothing_run_on),
        IN_MEMORY(a_cancel_may_come_from_the_call_back),
        IN_MEMORY(a_loop_that_goes_ends_it),
        IN_MEMORY(empty_pages_are_passed_over),
        IN_MEMORY(a_store_that_misbehaves_is_stopped),
        IN_MEMORY(what_is_newer_than_the_cut_off_stays),
        IN_MEMORY(all_versions_go_though_a_key_spans_pages),
        IN_MEMORY(versions_that_repeat_are_noticed),
        IN_MEMORY(uploads_are_aborted_before_the_objects_go),
        IN_MEMORY(a_failure_among_the_uploads_leaves_the_objects),
        IN_MEMORY(a_narrowed_store_empties_itself_and_nothing_else),
    };
    return cmocka_run_group_tests_name("purge", tests, NULL, NULL);
}
