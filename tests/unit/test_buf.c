#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/buf.h"
#include "tests/unit/oom.h"

static void an_empty_buffer_is_an_empty_text(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(10);
    assert_string_equal(buf_str(&b), "");
    buf_add(&b, NULL, 0);
    buf_adds(&b, "");
    assert_int_equal(b.len, 0);
    assert_false(buf_failed(&b));
    buf_cleanup(&b);
    assert_int_equal(b.max, 10);
}

static void everything_appended_stands_in_order(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(1000);
    buf_adds(&b, "one");
    buf_addc(&b, ' ');
    buf_add(&b, "two\0three", 9);
    buf_addf(&b, " %d %s", 4, "five");
    assert_int_equal(b.len, 20);
    assert_memory_equal(b.data, "one two\0three 4 five", 21);
    buf_cleanup(&b);
}

/* The ceiling is for the bytes, not for the NUL behind them. */
static void the_ceiling_holds_to_the_byte(void **state)
{
    (void)state;
    static const size_t ceilings[] = {0, 1, 2, 63, 64, 65, 127, 128, 129, 1000};
    char text[1001];
    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < sizeof(ceilings) / sizeof(ceilings[0]); i++) {
        size_t max = ceilings[i];
        struct buf b = BUF_INIT(max);
        buf_add(&b, text, max);
        assert_false(buf_failed(&b));
        assert_int_equal(b.len, max);
        buf_addc(&b, 'y');
        assert_true(buf_failed(&b));
        assert_int_equal(b.len, max);
        assert_int_equal(strlen(buf_str(&b)), max);
        assert_null(strchr(buf_str(&b), 'y'));
        buf_cleanup(&b);
    }
}

static void formatted_text_meets_the_same_ceiling(void **state)
{
    (void)state;
    for (size_t max = 0; max < 200; max++) {
        struct buf b = BUF_INIT(max);
        buf_addf(&b, "%0*d", 150, 7);
        assert_int_equal(buf_failed(&b), max < 150);
        assert_int_equal(b.len, max < 150 ? 0 : 150);
        assert_int_equal(strlen(buf_str(&b)), b.len);
        buf_cleanup(&b);
    }
}

static void a_failure_stays_until_it_is_forgotten(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(4);
    buf_adds(&b, "abc");
    buf_adds(&b, "de");
    assert_true(buf_failed(&b));
    buf_addc(&b, 'd'); /* would fit, but the text would have a hole */
    buf_addf(&b, "%d", 4);
    assert_false(buf_reserve(&b, 0));
    assert_string_equal(buf_str(&b), "abc");
    buf_reset(&b);
    assert_false(buf_failed(&b));
    buf_adds(&b, "de");
    assert_string_equal(buf_str(&b), "de");
    buf_cleanup(&b);
}

static void absurd_sizes_are_refused(void **state)
{
    (void)state;
    static const size_t ceilings[] = {100, SIZE_MAX - 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof(ceilings) / sizeof(ceilings[0]); i++) {
        struct buf b = BUF_INIT(ceilings[i]);
        buf_adds(&b, "abc");
        assert_string_equal(buf_str(&b), "abc");
        assert_false(buf_reserve(&b, SIZE_MAX));
        assert_true(buf_failed(&b));
        buf_reset(&b);
        buf_adds(&b, "abc");
        assert_false(buf_reserve(&b, SIZE_MAX - 3));
        assert_string_equal(buf_str(&b), "abc");
        buf_cleanup(&b);
    }
}

static void the_front_is_dropped(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        const char *left;
    } cases[] = {{0, "abcdef"}, {1, "bcdef"}, {5, "f"}, {6, ""}, {7, ""}, {SIZE_MAX, ""}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = BUF_INIT(100);
        buf_adds(&b, "abcdef");
        buf_drop_front(&b, cases[i].n);
        assert_string_equal(buf_str(&b), cases[i].left);
        assert_int_equal(b.len, strlen(cases[i].left));
        buf_adds(&b, "+");
        assert_int_equal(b.len, strlen(cases[i].left) + 1);
        buf_cleanup(&b);
    }
    struct buf none = BUF_INIT(1);
    buf_drop_front(&none, 3);
    assert_string_equal(buf_str(&none), "");
}

static void the_memory_can_be_taken(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(3);
    size_t n = 99;
    char *p = buf_detach(&b, &n);
    assert_string_equal(p, "");
    assert_int_equal(n, 0);
    free(p);
    buf_adds(&b, "abc");
    p = buf_detach(&b, NULL);
    assert_string_equal(p, "abc");
    free(p);
    buf_adds(&b, "xyz"); /* usable again, with its ceiling */
    buf_addc(&b, '!');
    assert_null(buf_detach(&b, &n));
    assert_false(buf_failed(&b));
    assert_string_equal(buf_str(&b), "");
    buf_cleanup(&b);
}

static void want_of_memory_changes_nothing(void **state)
{
    (void)state;
    if (!OOM_AVAILABLE)
        skip();
    static const char bytes[2048]; /* more than any buffer begins with */
    struct buf b = BUF_INIT(4096);
    buf_adds(&b, "kept");
    oom_fail_nth(1);
    buf_add(&b, bytes, sizeof(bytes));
    assert_true(oom_stop());
    assert_true(buf_failed(&b));
    assert_string_equal(buf_str(&b), "kept");
    assert_null(buf_detach(&b, NULL));
    buf_cleanup(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_is_an_empty_text),
        cmocka_unit_test(everything_appended_stands_in_order),
        cmocka_unit_test(the_ceiling_holds_to_the_byte),
        cmocka_unit_test(formatted_text_meets_the_same_ceiling),
        cmocka_unit_test(a_failure_stays_until_it_is_forgotten),
        cmocka_unit_test(absurd_sizes_are_refused),
        cmocka_unit_test(the_front_is_dropped),
        cmocka_unit_test(the_memory_can_be_taken),
        cmocka_unit_test(want_of_memory_changes_nothing),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
