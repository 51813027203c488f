#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/xalloc.h"

static void test_now(void **state)
{
    (void)state;
    uint64_t mono = clock_mono_ms(), boot = clock_boot_ms();
    assert_true(mono > 0 && clock_mono_ms() >= mono);
    assert_true(boot >= mono);
    int64_t s = clock_real_s();
    assert_true(s >= (int64_t)time(NULL) - 1 && s <= (int64_t)time(NULL) + 1);
    assert_true((int64_t)(clock_real_ms() / 1000) - s <= 1);
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        int64_t t_s;
        const char *http, *rfc3339, *amz;
    } cases[] = {
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z", "19941106T084937Z"},
        {0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00Z", "19700101T000000Z"},
        {-1, "Wed, 31 Dec 1969 23:59:59 GMT", "1969-12-31T23:59:59Z", "19691231T235959Z"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00Z", "20000229T000000Z"},
        {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00Z", "21000301T000000Z"},
        {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59Z", "99991231T235959Z"},
        /* what no text can hold */
        {INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59Z", "99991231T235959Z"},
        {INT64_MIN, "Sat, 01 Jan 0000 00:00:00 GMT", "0000-01-01T00:00:00Z", "00000101T000000Z"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        char text[CLOCK_TEXT];
        int64_t back = 1;
        clock_http_date(cases[i].t_s, text);
        assert_string_equal(text, cases[i].http);
        assert_true(clock_parse_http_date(text, &back));
        clock_rfc3339(back, text);
        assert_string_equal(text, cases[i].rfc3339);
        assert_true(clock_parse_rfc3339(text, &back));
        clock_amz_date(back, text);
        assert_string_equal(text, cases[i].amz);
    }
}

static void test_milliseconds(void **state)
{
    (void)state;
    char text[CLOCK_TEXT];
    clock_rfc3339_ms(784111777123, text);
    assert_string_equal(text, "1994-11-06T08:49:37.123Z");
    clock_rfc3339_ms(784111777007, text);
    assert_string_equal(text, "1994-11-06T08:49:37.007Z");
    clock_rfc3339_ms(UINT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.615Z");
}

static void test_http_dates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t t_s; /* -1: not a date */
    } cases[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"Wed Nov 16 08:49:37 1994", 784975777},
        {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800}, /* a leap second */
        {"", -1},
        {"Sun", -1},
        {"Sun, 06 Nov 1994 08:49:37", -1},
        {"Sun, 06 Nov 1994 08:49:37 UTC", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMT ", -1},
        {" Sun, 06 Nov 1994 08:49:37 GMT", -1},
        {"sun, 06 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 6 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 Nov 94 08:49:37 GMT", -1},
        {"Sun, 06 Nov 1994 24:49:37 GMT", -1},
        {"Sun, 06 Nov 1994 08:60:37 GMT", -1},
        {"Sun, 06 Nov 1994 08:49:61 GMT", -1},
        {"Sun, 31 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 29 Feb 1900 08:49:37 GMT", -1},
        {"Sun, 00 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 Nox 1994 08:49:37 GMT", -1},
        {"Sun, -6 Nov 1994 08:49:37 GMT", -1},
        {"Sunday, 06-Nov-1994 08:49:37 GMT", -1},
        {"Sun Nov 6 08:49:37 1994", -1},
        {"Sun Nov  6 08:49:37 1994 GMT", -1},
        {"784111777", -1},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        int64_t t_s = -1;
        if (clock_parse_http_date(cases[i].text, &t_s) != (cases[i].t_s != -1))
            fail_msg("case '%s'", cases[i].text);
        assert_true(t_s == cases[i].t_s);
    }
}

/* A year of two digits lies at most 50 years ahead, whenever this test runs. */
static void test_two_digit_years(void **state)
{
    (void)state;
    char now[CLOCK_TEXT], text[64], full[CLOCK_TEXT];
    int this_year, year;
    clock_rfc3339(clock_real_s(), now);
    assert_int_equal(sscanf(now, "%4d", &this_year), 1);
    for (int ahead = -49; ahead <= 50; ahead++) {
        int64_t t_s;
        snprintf(text, sizeof(text), "Monday, 01-Jul-%02d 00:00:00 GMT", (this_year + ahead) % 100);
        assert_true(clock_parse_http_date(text, &t_s));
        clock_rfc3339(t_s, full);
        assert_int_equal(sscanf(full, "%4d", &year), 1);
        assert_int_equal(year, this_year + ahead);
    }
}

static void test_rfc3339(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t t_s; /* -1: not a date */
    } cases[] = {
        {"1994-11-06T08:49:37Z", 784111777},
        {"1994-11-06t08:49:37z", 784111777},
        {"1994-11-06T08:49:37.9Z", 784111777},
        {"1994-11-06T08:49:37.123456789012345678901234567890Z", 784111777},
        {"1994-11-06T09:49:37+01:00", 784111777},
        {"1994-11-06T03:19:37.5-05:30", 784111777},
        {"1994-11-06T08:49:37-00:00", 784111777},
        {"2016-12-31T23:59:60Z", 1483228800},
        {"2000-02-29T00:00:00Z", 951782400},
        {"", -1},
        {"1994-11-06", -1},
        {"1994-11-06T08:49:37", -1},
        {"1994-11-06 08:49:37Z", -1},
        {"1994-11-06T08:49Z", -1},
        {"1994-11-06T08:49:37.Z", -1},
        {"1994-11-06T08:49:37,5Z", -1},
        {"1994-11-06T08:49:37Z ", -1},
        {"1994-11-06T08:49:37+0100", -1},
        {"1994-11-06T08:49:37+24:00", -1},
        {"1994-11-06T08:49:37+01:60", -1},
        {"1994-11-06T08:49:37+01", -1},
        {"1994-13-06T08:49:37Z", -1},
        {"1994-00-06T08:49:37Z", -1},
        {"1994-02-29T08:49:37Z", -1},
        {"2100-02-29T08:49:37Z", -1},
        {"1994-11-06T24:00:00Z", -1},
        {"94-11-06T08:49:37Z", -1},
        {"+1994-11-06T08:49:37Z", -1},
        {"19941106T084937Z", -1},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        int64_t t_s = -1;
        if (clock_parse_rfc3339(cases[i].text, &t_s) != (cases[i].t_s != -1))
            fail_msg("case '%s'", cases[i].text);
        assert_true(t_s == cases[i].t_s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_now),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_milliseconds),
        cmocka_unit_test(test_http_dates),
        cmocka_unit_test(test_two_digit_years),
        cmocka_unit_test(test_rfc3339),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
