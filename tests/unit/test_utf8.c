#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "base/xalloc.h"

/* The first and last of each length, what lies just beside, and RFC 3629's forbidden forms. */
static void test_one_character(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n, taken;
        uint32_t code;
    } cases[] = {
        {"", 0, 0, 0},
        {"\0", 1, 1, 0},
        {"A", 1, 1, 'A'},
        {"\x7f", 1, 1, 0x7f},
        {"\x80", 1, 0, 0},     /* a continuation alone */
        {"\xc1\xbf", 2, 0, 0}, /* overlong */
        {"\xc2\x80", 2, 2, 0x80},
        {"\xc2\x80xx", 4, 2, 0x80},
        {"\xdf\xbf", 2, 2, 0x7ff},
        {"\xc3", 1, 0, 0},         /* cut off */
        {"\xc3\x28", 2, 0, 0},     /* no continuation */
        {"\xe0\x9f\xbf", 3, 0, 0}, /* overlong */
        {"\xe0\xa0\x80", 3, 3, 0x800},
        {"\xed\x9f\xbf", 3, 3, 0xd7ff},
        {"\xed\xa0\x80", 3, 0, 0}, /* a surrogate */
        {"\xed\xbf\xbf", 3, 0, 0},
        {"\xee\x80\x80", 3, 3, 0xe000},
        {"\xef\xbf\xbf", 3, 3, 0xffff},
        {"\xe2\x82", 2, 0, 0},
        {"\xf0\x8f\xbf\xbf", 4, 0, 0}, /* overlong */
        {"\xf0\x90\x80\x80", 4, 4, 0x10000},
        {"\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff},
        {"\xf4\x90\x80\x80", 4, 0, 0}, /* beyond Unicode */
        {"\xf5\x80\x80\x80", 4, 0, 0},
        {"\xff", 1, 0, 0},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        uint32_t code = 0;
        size_t taken = utf8_decode(cases[i].bytes, cases[i].n, &code);
        if (taken != cases[i].taken || (taken && code != cases[i].code))
            fail_msg("case %zu: %zu bytes, U+%04x", i, taken, code);
    }
}

static void test_a_whole_text(void **state)
{
    (void)state;
    assert_true(utf8_valid("", 0));
    assert_true(utf8_valid("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z", 11));
    assert_false(utf8_valid("a\xc3", 2));
    assert_false(utf8_valid("ab\xff"
                            "c",
                            4));
}

static void test_what_steers_a_terminal(void **state)
{
    (void)state;
    static const uint32_t control[] = {0, '\n', 0x1b, 0x1f, 0x7f, 0x80, 0x9b, 0x9f, 0x2028, 0x2029};
    static const uint32_t plain[] = {' ', '~', 0xa0, 0x2027, 0x202a, 0x10ffff};
    for (size_t i = 0; i < LEN(control); i++)
        assert_true(utf8_is_control(control[i]));
    for (size_t i = 0; i < LEN(plain); i++)
        assert_false(utf8_is_control(plain[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_character),
        cmocka_unit_test(test_a_whole_text),
        cmocka_unit_test(test_what_steers_a_terminal),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
