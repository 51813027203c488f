/* When a small read is asked for a second time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/xalloc.h"
#include "libstore/hedge.h"

enum { LEARN_FROM = 100, MIN_MS = 10, MAX_MS = 2000 };

static void see(struct hedge *h, uint32_t ms, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        hedge_saw(h, ms);
}

static void nothing_is_hedged_before_enough_was_seen(void **state)
{
    (void)state;
    struct hedge h = {0};
    assert_int_equal(hedge_after_ms(&h), 0);
    for (unsigned i = 1; i < LEARN_FROM; i++) {
        hedge_saw(&h, 50);
        assert_int_equal(hedge_after_ms(&h), 0);
    }
    hedge_saw(&h, 50);
    assert_int_not_equal(hedge_after_ms(&h), 0);
}

static void the_wait_has_bounds(void **state)
{
    (void)state;
    static const struct {
        uint32_t seen_ms, after_ms;
    } cases[] = {
        {0, MIN_MS},    {1, MIN_MS},     {5, MIN_MS},
        {3000, MAX_MS}, {60000, MAX_MS}, {UINT32_MAX, MAX_MS},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct hedge h = {0};
        see(&h, cases[i].seen_ms, 1000);
        assert_int_equal(hedge_after_ms(&h), cases[i].after_ms);
    }
}

/* Answers that all take the same time: what takes a little longer is hedged. */
static void steady_answers_are_met_closely(void **state)
{
    (void)state;
    static const uint32_t times_ms[] = {12, 20, 100, 500, 1500};
    for (size_t i = 0; i < LEN(times_ms); i++) {
        struct hedge h = {0};
        see(&h, times_ms[i], 5000);
        for (unsigned j = 0; j < 200; j++) {
            hedge_saw(&h, times_ms[i]);
            uint32_t after_ms = hedge_after_ms(&h);
            if (after_ms < times_ms[i] - times_ms[i] / 500 ||
                after_ms > times_ms[i] + times_ms[i] / 15 + 2)
                fail_msg("%u ms for answers after %u", after_ms, times_ms[i]);
        }
    }
}

/* Up quickly, lest too much is hedged; down slowly, since most answers are faster anyway. */
static void the_estimate_follows_the_store(void **state)
{
    (void)state;
    struct hedge h = {0};
    see(&h, 20, 1000);
    see(&h, 400, 80);
    assert_in_range(hedge_after_ms(&h), 380, 440);
    see(&h, 20, 4000);
    assert_in_range(hedge_after_ms(&h), 20, 23);
}

static void one_slow_answer_changes_little(void **state)
{
    (void)state;
    struct hedge h = {0};
    see(&h, 200, 1000);
    uint32_t before_ms = hedge_after_ms(&h);
    hedge_saw(&h, UINT32_MAX);
    assert_in_range(hedge_after_ms(&h), before_ms, before_ms + before_ms / 20 + 1);
}

/* The first one on a new connection is slow. */
static void a_slow_beginning_is_forgotten(void **state)
{
    (void)state;
    struct hedge h = {0};
    hedge_saw(&h, 1000);
    see(&h, 20, 4500);
    assert_in_range(hedge_after_ms(&h), 20, 23);
}

/* ---- Shares ---- */

/* xorshift32; 1 to 2^32 - 1. */
static uint32_t next(uint32_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 17;
    *random ^= *random << 5;
    return *random;
}

static uint32_t even(uint32_t r) /* 20 to 1019 ms */
{
    return 20 + r % 1000;
}

static uint32_t heavy_tail(uint32_t r) /* 20 ms and a Pareto tail with exponent 1 */
{
    return 20 + (uint32_t)(5 * (double)UINT32_MAX / r);
}

static uint32_t two_humps(uint32_t r) /* of a hundred 97 take 20 to 39 ms, three 500 to 899 */
{
    return r % 100 < 97 ? 20 + r / 100 % 20 : 500 + r / 100 % 400;
}

static uint32_t swift(uint32_t r) /* far below the least wait */
{
    return r % 4;
}

/* Of a thousand answers, how many come later than the wait that they were given. */
static double per_mille(uint32_t (*time_ms)(uint32_t random))
{
    enum { WARM = 20000, ROUNDS = 200000 };
    struct hedge h = {0};
    uint32_t random = 2463534242u;
    unsigned late = 0;
    for (unsigned i = 0; i < WARM + ROUNDS; i++) {
        uint32_t after_ms = hedge_after_ms(&h), ms = time_ms(next(&random));
        if (i >= WARM && ms > after_ms)
            late++;
        hedge_saw(&h, ms);
    }
    return late * 1000.0 / ROUNDS;
}

static void about_two_percent_are_hedged(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t (*time_ms)(uint32_t);
    } cases[] = {{"even", even}, {"heavy tail", heavy_tail}, {"two humps", two_humps}};
    for (size_t i = 0; i < LEN(cases); i++) {
        double share = per_mille(cases[i].time_ms);
        if (share < 15 || share > 25)
            fail_msg("%s: %.1f of 1000", cases[i].name, share);
    }
}

static void a_swift_store_is_not_hedged(void **state)
{
    (void)state;
    assert_true(per_mille(swift) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_hedged_before_enough_was_seen),
        cmocka_unit_test(the_wait_has_bounds),
        cmocka_unit_test(steady_answers_are_met_closely),
        cmocka_unit_test(the_estimate_follows_the_store),
        cmocka_unit_test(one_slow_answer_changes_little),
        cmocka_unit_test(a_slow_beginning_is_forgotten),
        cmocka_unit_test(about_two_percent_are_hedged),
        cmocka_unit_test(a_swift_store_is_not_hedged),
    };
    return cmocka_run_group_tests_name("hedge", tests, NULL, NULL);
}
