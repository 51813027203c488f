/* Since when a store answers promptly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "janitor/pulse.h"

enum { GAP_MS = PULSE_EVERY_MS + PULSE_PROMPT_MS };

/* The store's clock runs apart from ours. */
static const int64_t store_s = 5000000;

static void prompt_answers_are_one_time(void **state)
{
    (void)state;
    struct pulse_count c = {0};
    uint64_t now_ms = 1000;
    assert_int_equal(pulse_count_since_s(&c, now_ms), 0);
    for (int i = 0; i < 100; i++) {
        pulse_saw(&c, now_ms, 77000 + now_ms, store_s + (int64_t)(now_ms / 1000));
        assert_int_equal(pulse_count_since_s(&c, now_ms), store_s + 2); /* rounded up */
        now_ms += i % 10 ? PULSE_EVERY_MS : GAP_MS;
    }
}

static void a_gap_begins_it_anew(void **state)
{
    (void)state;
    struct pulse_count c = {0};
    pulse_saw(&c, 1000, 1000, store_s);
    assert_int_equal(pulse_count_since_s(&c, 1000 + GAP_MS), store_s + 1);
    /* Nothing is known while no answer comes, and the old time does not come back. */
    assert_int_equal(pulse_count_since_s(&c, 1001 + GAP_MS), 0);
    pulse_saw(&c, 1001 + GAP_MS, 1001 + GAP_MS, store_s + 7);
    assert_int_equal(pulse_count_since_s(&c, 1001 + GAP_MS), store_s + 8);
}

/* A machine that was suspended does not see it by its own clock. */
static void the_stores_clock_shows_a_gap_too(void **state)
{
    (void)state;
    struct pulse_count c = {0};
    pulse_saw(&c, 1000, 1000, store_s);
    pulse_saw(&c, 3000, 3000, store_s + 8);
    assert_int_equal(pulse_count_since_s(&c, 3000), store_s + 1);
    pulse_saw(&c, 5000, 5000, store_s + 17);
    assert_int_equal(pulse_count_since_s(&c, 5000), store_s + 18);
    pulse_saw(&c, 7000, 7000, store_s + 3); /* it was set back: nothing is known of before */
    assert_int_equal(pulse_count_since_s(&c, 7000), store_s + 4);
}

static void the_stores_clock_is_told_from_ours(void **state)
{
    (void)state;
    struct pulse_count c = {0};
    pulse_saw(&c, 1000, 900000, 5000);
    assert_int_equal(c.ahead_of_us_ms, 5000 * 1000 - 900000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompt_answers_are_one_time),
        cmocka_unit_test(a_gap_begins_it_anew),
        cmocka_unit_test(the_stores_clock_shows_a_gap_too),
        cmocka_unit_test(the_stores_clock_is_told_from_ours),
    };
    return cmocka_run_group_tests_name("pulse", tests, NULL, NULL);
}
