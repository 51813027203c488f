#include "service/range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"

#define BIG    "18446744073709551615"
#define BIGGER "99999999999999999999999999"

static void test_range_parse(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint64_t size;
        enum range_result result;
        uint64_t offset, length;
    } cases[] = {
        {NULL, 10, RANGE_NONE, 0, 10},
        {"bytes=0-4", 10, RANGE_OK, 0, 5},
        {"bytes=5-", 10, RANGE_OK, 5, 5},
        {"bytes=9-9", 10, RANGE_OK, 9, 1},
        {"bytes=0-9", 10, RANGE_OK, 0, 10},
        {"bytes=0-100", 10, RANGE_OK, 0, 10},
        {"bytes=-3", 10, RANGE_OK, 7, 3},
        {"bytes=-100", 10, RANGE_OK, 0, 10},
        {"BYTES=1-2", 10, RANGE_OK, 1, 2},
        {"bytes= 1-2 ", 10, RANGE_OK, 1, 2},
        {"bytes=,, 1-2,\t,", 10, RANGE_OK, 1, 2},
        {"bytes=0-" BIG, 10, RANGE_OK, 0, 10},
        {"bytes=3-" BIGGER, 10, RANGE_OK, 3, 7},
        {"bytes=-" BIGGER, 10, RANGE_OK, 0, 10},
        {"bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=10-20", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=" BIGGER "-", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=18446744073709551617-", 10, RANGE_UNSATISFIABLE, 0, 0}, /* 2^64 + 1 */
        {"bytes=2-18446744073709551620", 10, RANGE_OK, 2, 8},
        {"bytes=-18446744073709551619", 10, RANGE_OK, 0, 10},
        {"bytes=" BIG "-" BIG, UINT64_MAX, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=18446744073709551614-" BIG, UINT64_MAX, RANGE_OK, UINT64_MAX - 1, 1},
        {"bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-", 0, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", 0, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-5", 0, RANGE_NONE, 0, 0},
        /* to be ignored */
        {"bytes=0-1,3-4", 10, RANGE_NONE, 0, 10},
        {"bytes=0-1, -2", 10, RANGE_NONE, 0, 10},
        {"bytes=5-4", 10, RANGE_NONE, 0, 10},
        {"items=0-4", 10, RANGE_NONE, 0, 10},
        {"bytes", 10, RANGE_NONE, 0, 10},
        {"bytes=", 10, RANGE_NONE, 0, 10},
        {"bytes=,", 10, RANGE_NONE, 0, 10},
        {"bytes=-", 10, RANGE_NONE, 0, 10},
        {"bytes=a-b", 10, RANGE_NONE, 0, 10},
        {"bytes=1", 10, RANGE_NONE, 0, 10},
        {"bytes=1-2x", 10, RANGE_NONE, 0, 10},
        {"bytes=1 -2", 10, RANGE_NONE, 0, 10},
        {"bytes=1- 2", 10, RANGE_NONE, 0, 10},
        {"bytes=+1-2", 10, RANGE_NONE, 0, 10},
        {"bytes=--2", 10, RANGE_NONE, 0, 10},
        {"bytes =1-2", 10, RANGE_NONE, 0, 10},
        {"bytes=1-2;q=1", 10, RANGE_NONE, 0, 10},
        {"", 10, RANGE_NONE, 0, 10},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        uint64_t offset = 99, length = 99;
        const char *name = cases[i].value ? cases[i].value : "(none)";
        if (range_parse(cases[i].value, cases[i].size, &offset, &length) != cases[i].result)
            fail_msg("range '%s'", name);
        if (cases[i].result == RANGE_UNSATISFIABLE)
            continue;
        if (offset != cases[i].offset || length != cases[i].length)
            fail_msg("range '%s': %ju, %ju", name, (uintmax_t)offset, (uintmax_t)length);
    }
}

static void test_range_before_the_size_is_known(void **state)
{
    (void)state;
    struct byte_range r;
    assert_true(range_read("bytes=5-9", &r));
    assert_true(!r.suffix && r.offset == 5 && r.length == 5);
    assert_true(range_read("bytes=5-", &r));
    assert_true(!r.suffix && r.offset == 5 && r.length == 0);
    assert_true(range_read("bytes=0-" BIG, &r));
    assert_true(!r.suffix && r.offset == 0 && r.length == 0);
    assert_true(range_read("bytes=-7", &r));
    assert_true(r.suffix && r.offset == 0 && r.length == 7);
    assert_false(range_read("bytes=1-2,3-4", &r));
    assert_false(range_read(NULL, &r));
}

static void test_content_range(void **state)
{
    (void)state;
    char out[CONTENT_RANGE_SIZE];
    range_content_range(0, 100, 1000, out);
    assert_string_equal(out, "bytes 0-99/1000");
    range_content_range(UINT64_MAX - 1, 1, UINT64_MAX, out);
    assert_string_equal(out, "bytes 18446744073709551614-18446744073709551614/" BIG);
    range_content_range_unsatisfied(1000, out);
    assert_string_equal(out, "bytes */1000");
}

static void test_etag_form(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum etag_form form;
        const char *etag;
    } cases[] = {
        {NULL, ETAG_ABSENT, ""},
        {"*", ETAG_ANY, ""},
        {" * ", ETAG_ANY, ""},
        {"\"abc\"", ETAG_ONE, "abc"},
        {" ,\t\"abc\" , ", ETAG_ONE, "abc"},
        {"\"a,b -2\"", ETAG_MALFORMED, ""}, /* a blank is no part of an ETag */
        {"\"a,b-2\"", ETAG_ONE, "a,b-2"},
        {"\"\"", ETAG_ONE, ""},
        {"\"1234567\"", ETAG_ONE, "1234567"},
        {"\"12345678\"", ETAG_MALFORMED, ""},
        {"W/\"abc\"", ETAG_LIST, ""},
        {"\"a\",\"b\"", ETAG_LIST, ""},
        {"\"a\" \"b\"", ETAG_MALFORMED, ""},
        {"w/\"abc\"", ETAG_MALFORMED, ""},
        {"abc", ETAG_MALFORMED, ""},
        {"\"abc", ETAG_MALFORMED, ""},
        {"\"a\",*", ETAG_MALFORMED, ""},
        {"*,\"a\"", ETAG_MALFORMED, ""},
        {"**", ETAG_MALFORMED, ""},
        {"", ETAG_MALFORMED, ""},
        {",", ETAG_MALFORMED, ""},
        {"\"a\x01\"", ETAG_MALFORMED, ""},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        char etag[8] = "";
        if (etag_form(cases[i].value, etag, sizeof(etag)) != cases[i].form)
            fail_msg("value '%s'", cases[i].value ? cases[i].value : "(none)");
        assert_string_equal(etag, cases[i].etag);
    }
}

static void test_etag_lists(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool strong, weak; /* whether it has "abc" */
    } cases[] = {
        {NULL, false, false},
        {"*", true, true},
        {"\"abc\"", true, true},
        {"W/\"abc\"", false, true},
        {"\"x\", \"abc\"", true, true},
        {"\"x\",W/\"abc\",\"y\"", false, true},
        {"\"x\",,\"abc\"", true, true},
        {"\"ab\",\"abcd\",\"ABC\"", false, false},
        {"\"x,abc\"", false, false},
        {"abc", false, false},
        {"\"x\", abc", false, false},
        {"x,\"abc\"", false, false},
        {"", false, false},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        bool strong = etag_list_has(cases[i].value, "abc", ETAG_STRONG);
        bool weak = etag_list_has(cases[i].value, "abc", ETAG_WEAK);
        if (strong != cases[i].strong || weak != cases[i].weak)
            fail_msg("value '%s'", cases[i].value ? cases[i].value : "(none)");
    }
    assert_false(etag_list_has("\"\"", "", ETAG_WEAK)); /* an object without an ETag */
}

#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define SAME   "Sun, 06 Nov 1994 08:49:37 GMT"
#define AFTER  "Sun, 06 Nov 1994 08:49:38 GMT"
enum { MODIFIED_S = 784111777 };

static void test_conditions(void **state)
{
    (void)state;
    static const struct {
        const char *if_match, *if_none_match, *if_modified_since, *if_unmodified_since;
        enum condition_result result;
    } cases[] = {
        {NULL, NULL, NULL, NULL, CONDITIONS_HOLD},
        {"\"abc\"", NULL, NULL, NULL, CONDITIONS_HOLD},
        {"*", NULL, NULL, NULL, CONDITIONS_HOLD},
        {"W/\"abc\"", NULL, NULL, NULL, CONDITIONS_FAILED},
        {"\"x\"", NULL, NULL, NULL, CONDITIONS_FAILED},
        {"x", NULL, NULL, NULL, CONDITIONS_FAILED},
        {NULL, "\"abc\"", NULL, NULL, CONDITIONS_NOT_MODIFIED},
        {NULL, "W/\"abc\"", NULL, NULL, CONDITIONS_NOT_MODIFIED},
        {NULL, "*", NULL, NULL, CONDITIONS_NOT_MODIFIED},
        {NULL, "\"x\"", NULL, NULL, CONDITIONS_HOLD},
        {NULL, NULL, BEFORE, NULL, CONDITIONS_HOLD},
        {NULL, NULL, SAME, NULL, CONDITIONS_NOT_MODIFIED},
        {NULL, NULL, AFTER, NULL, CONDITIONS_NOT_MODIFIED},
        {NULL, NULL, "yesterday", NULL, CONDITIONS_HOLD},
        {NULL, NULL, NULL, BEFORE, CONDITIONS_FAILED},
        {NULL, NULL, NULL, SAME, CONDITIONS_HOLD},
        {NULL, NULL, NULL, "yesterday", CONDITIONS_HOLD},
        /* ETags win over dates, and 412 over 304 */
        {NULL, "\"x\"", AFTER, NULL, CONDITIONS_HOLD},
        {"\"abc\"", NULL, NULL, BEFORE, CONDITIONS_HOLD},
        {"\"abc\"", "\"abc\"", NULL, NULL, CONDITIONS_NOT_MODIFIED},
        {"\"x\"", "\"abc\"", NULL, NULL, CONDITIONS_FAILED},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        const struct conditions c = {cases[i].if_match, cases[i].if_none_match,
                                     cases[i].if_modified_since, cases[i].if_unmodified_since};
        if (conditions_check(&c, "abc", MODIFIED_S) != cases[i].result)
            fail_msg("case %zu", i);
    }
}

static void test_if_range(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        int64_t now_s;
        bool holds;
    } cases[] = {
        {NULL, MODIFIED_S, true},
        {"\"abc\"", MODIFIED_S, true},
        {"W/\"abc\"", MODIFIED_S, false},
        {"\"x\"", MODIFIED_S, false},
        {"\"abc\",\"x\"", MODIFIED_S, false},
        {"*", MODIFIED_S, false},
        {"abc", MODIFIED_S, false},
        {"", MODIFIED_S, false},
        {SAME, MODIFIED_S + 2, true},
        {SAME, MODIFIED_S + 1, false},
        {SAME, MODIFIED_S, false},
        {BEFORE, MODIFIED_S + 100, false},
        {AFTER, MODIFIED_S + 100, false},
    };
    for (size_t i = 0; i < LEN(cases); i++)
        if (if_range_holds(cases[i].value, "abc", MODIFIED_S, cases[i].now_s) != cases[i].holds)
            fail_msg("value '%s'", cases[i].value ? cases[i].value : "(none)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range_parse),   cmocka_unit_test(test_range_before_the_size_is_known),
        cmocka_unit_test(test_content_range), cmocka_unit_test(test_etag_form),
        cmocka_unit_test(test_etag_lists),    cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_if_range),
    };
    return cmocka_run_group_tests_name("range", tests, NULL, NULL);
}
