/* What writers tell of their uploads' times, and what a janitor makes of it, on a folder store. */
#include "tests/unit/file_fixture.h"

#include <sys/time.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "epufs/window.h"

static const struct window_terms defaults = {.expiry_s = 10, .timeout_s = 60, .idle_s = 20};

/* ---- Keys ---- */

static void a_key_says_the_sum_and_whose_it_is(void **state)
{
    char key[LAYOUT_KEY_SIZE], id[WINDOW_ID_SIZE];
    uint32_t needed_s = 0;
    (void)state;
    assert_int_equal(window_needed_s(&defaults), 90);
    window_key(&defaults, "host-1_A", key);
    assert_string_equal(key, "writers/00000090-host-1_A");
    assert_true(window_parse(key, &needed_s, id));
    assert_int_equal(needed_s, 90);
    assert_string_equal(id, "host-1_A");

    char longest[WINDOW_ID_SIZE];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    const struct window_terms most = {.idle_s = 99999999};
    window_key(&most, longest, key);
    assert_true(window_parse(key, &needed_s, id));
    assert_int_equal(needed_s, 99999999);
    assert_string_equal(id, longest);
}

static void other_keys_are_none(void **state)
{
    static const char *const others[] = {
        "",
        "writers/",
        "writers/0000009",
        "writers/00000090",
        "writers/00000090-",
        "writers/0000090-host",
        "writers/000000090-host",
        "writers/00000000-host", /* no upload takes no time */
        "writers/0000009x-host",
        "writers/-0000090-host",
        "writers/00000090_host",
        "writers/00000090-ho st",
        "writers/00000090-host/x",
        "writers/00000090-\xc3\xa4",
        "Writers/00000090-host",
        "intents/00000090-host",
        "writers/00000090-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    char id[WINDOW_ID_SIZE];
    uint32_t needed_s;
    (void)state;
    for (size_t i = 0; i < LEN(others); i++) {
        print_message("%s\n", others[i]);
        assert_false(window_parse(others[i], &needed_s, id));
    }
}

/* ---- Tell and read ---- */

static void tell(struct fixture *f, const struct window_terms *t, const char *id)
{
    struct outcome o;
    outcome_init(&o);
    assert_int_equal(finish(f, window_tell(f->s, f->loop, t, id, outcome_done, &o, NULL), &o),
                     STORE_OK);
    assert_true(o.info.server_time_s > 0);
    outcome_cleanup(&o);
}

static struct window_largest read_largest(struct fixture *f)
{
    struct window_largest w;
    struct store_err err;
    if (window_read(f->s, f->loop, &w, &err) != 0)
        fail_msg("%s", err.msg);
    assert_true(w.server_time_s >= clock_real_s() - 5 && w.server_time_s <= clock_real_s());
    return w;
}

static const char *path_of(struct fixture *f, const struct window_terms *t, const char *id)
{
    char key[LAYOUT_KEY_SIZE], name[160];
    window_key(t, id, key);
    snprintf(name, sizeof(name), "%.150s%%o", key); /* libstore/file/path.c */
    return disk_path(f, name);
}

/* As if it had been told so many seconds ago. */
static void make_old(struct fixture *f, const struct window_terms *t, const char *id, int64_t age_s)
{
    struct timeval times[2] = {{.tv_sec = clock_real_s() - age_s}};
    times[1] = times[0];
    assert_int_equal(utimes(path_of(f, t, id), times), 0);
}

static void the_largest_counts(void **state)
{
    struct fixture *f = *state;
    const struct window_terms longer = {.expiry_s = 10, .timeout_s = 3600, .idle_s = 20};
    assert_int_equal(read_largest(f).needed_s, 0);
    tell(f, &defaults, "a");
    assert_int_equal(read_largest(f).needed_s, 90);
    assert_string_equal(read_largest(f).id, "a");
    tell(f, &longer, "b");
    tell(f, &longer, "bb");
    tell(f, &defaults, "c");
    assert_int_equal(read_largest(f).needed_s, 3630);
    assert_string_equal(read_largest(f).id, "b");
    tell(f, &longer, "b"); /* again is one */
    assert_int_equal(count_keys(f, LAYOUT_WRITERS), 4);
}

/* Held when an upload may have begun that may not have ended: the terms' validity and the upload's
 * own time, one after the other. */
static void what_was_told_counts_as_long_as_its_uploads_last(void **state)
{
    struct fixture *f = *state;
    const int64_t until_s = WINDOW_VALID_S + 90 + 2;
    tell(f, &defaults, "a");
    make_old(f, &defaults, "a", until_s - 5);
    assert_int_equal(read_largest(f).needed_s, 90);
    make_old(f, &defaults, "a", until_s + 1);
    assert_int_equal(read_largest(f).needed_s, 0);
    assert_int_equal(count_keys(f, LAYOUT_WRITERS), 1);
    tell(f, &defaults, "a");
    assert_int_equal(read_largest(f).needed_s, 90);
}

static void what_is_much_older_is_removed(void **state)
{
    struct fixture *f = *state;
    const int64_t until_s = WINDOW_VALID_S + 90 + 2 + WINDOW_KEPT_S;
    const char *const strange = LAYOUT_WRITERS "note-for-people";
    tell(f, &defaults, "old");
    tell(f, &defaults, "nearly");
    tell(f, &defaults, "new");
    assert_int_equal(put_text(f, strange, "x"), STORE_OK);
    make_old(f, &defaults, "old", until_s + 1);
    make_old(f, &defaults, "nearly", until_s - 5);
    struct timeval ancient[2] = {{0}};
    assert_int_equal(utimes(disk_path(f, LAYOUT_WRITERS "note-for-people%o"), ancient), 0);
    assert_string_equal(read_largest(f).id, "new");
    assert_int_equal(count_keys(f, LAYOUT_WRITERS "00000090-old"), 0);
    assert_int_equal(count_keys(f, LAYOUT_WRITERS "00000090-nearly"), 1);
    assert_int_equal(count_keys(f, strange), 1);
}

/* More than one page, all but the last of them old; the largest is the last. */
static void all_pages_are_read(void **state)
{
    struct fixture *f = *state;
    const struct window_terms longer = {.timeout_s = 5000};
    char id[WINDOW_ID_SIZE];
    tell(f, &defaults, "first"); /* makes the folder */
    for (int i = 0; i < STORE_MAX_BATCH + 10; i++) {
        snprintf(id, sizeof(id), "n-%04d", i);
        make_file(path_of(f, &defaults, id), "");
        make_old(f, &defaults, id, 1000000);
    }
    tell(f, &longer, "last");
    assert_int_equal(count_keys(f, LAYOUT_WRITERS), STORE_MAX_BATCH + 12);
    assert_int_equal(read_largest(f).needed_s, 5000);
    assert_int_equal(count_keys(f, LAYOUT_WRITERS), 2);
}

/* ---- A store without a clock ---- */

static void start_without_clock(void *state, struct store_op *op)
{
    struct store_entry entry = {
        .key = LAYOUT_WRITERS "00000090-a", .etag = "", .version = "", .modified_s = 1};
    (void)state;
    op_page(op, &entry, 1, NULL, 0);
    op_finish(op, NULL, NULL);
}

static void without_a_clock_nothing_is_known(void **state)
{
    struct fixture *f = *state;
    struct driver no_clock = file_driver;
    struct window_largest w;
    struct store_err err;
    no_clock.start = start_without_clock;
    f->s->driver = &no_clock;
    assert_int_equal(window_read(f->s, f->loop, &w, &err), -1);
    assert_int_equal(err.code, STORE_FAILED);
    assert_non_null(strstr(err.msg, "no time"));
    f->s->driver = &file_driver;
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_says_the_sum_and_whose_it_is),
        cmocka_unit_test(other_keys_are_none),
        IN_FOLDER(the_largest_counts),
        IN_FOLDER(what_was_told_counts_as_long_as_its_uploads_last),
        IN_FOLDER(what_is_much_older_is_removed),
        IN_FOLDER(all_pages_are_read),
        IN_FOLDER(without_a_clock_nothing_is_known),
    };
    return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
