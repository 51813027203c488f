/* How fast objects are removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "janitor/rate.h"

static void without_a_bound_nobody_waits(void **state)
{
    (void)state;
    struct rate *r = rate_new(0, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(rate_take(r, "a", 1000000, 5000), 0);
    assert_int_equal(rate_batches(r), 0);
    rate_free(r);
}

/* Whoever takes as it is told gets the rate, whatever the size of what it takes. */
static uint64_t taken_in(struct rate *r, const char *tenant, uint64_t n, uint64_t ms)
{
    uint64_t now_ms = 100000, end_ms = now_ms + ms, taken = 0;
    while (now_ms < end_ms) {
        taken += n;
        now_ms += rate_take(r, tenant, n, now_ms) + 1;
    }
    return taken;
}

static void over_some_seconds_the_rate_holds(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 10, 1000, 8000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct rate *r = rate_new(2000, 0);
        uint64_t taken = taken_in(r, "a", sizes[i], 60000);
        print_message("%d at once: %d in a minute\n", (int)sizes[i], (int)taken);
        /* One at a time is bound by the test's own steps of a millisecond. */
        assert_in_range(taken, sizes[i] == 1 ? 50000 : 110000, 120000 + 2000 + sizes[i]);
        rate_free(r);
    }
}

static void tenants_do_not_wait_for_each_other(void **state)
{
    (void)state;
    struct rate *r = rate_new(0, 100);
    char name[16];
    assert_in_range(rate_take(r, "large", 10000, 100000), 50000, 60000);
    for (int i = 0; i < 2000; i++) { /* more than there are buckets */
        snprintf(name, sizeof(name), "small-%d", i);
        assert_int_equal(rate_take(r, name, 100, 100001 + (uint64_t)i), 0);
    }
    rate_free(r);
}

static void both_bounds_hold(void **state)
{
    (void)state;
    struct rate *r = rate_new(1000, 100);
    uint32_t own_ms = rate_take(r, "a", 500, 100000); /* all have credit for more, its own not */
    assert_in_range(own_ms, 3900, 4100);
    for (int i = 0; i < 10; i++) {
        char name[8];
        snprintf(name, sizeof(name), "t%d", i);
        rate_take(r, name, 100, 100000);
    }
    assert_in_range(rate_take(r, "z", 1, 100000), 450, 550); /* by all */
    rate_free(r);
}

static void batches_follow_the_smaller_rate(void **state)
{
    (void)state;
    static const struct {
        uint64_t all, tenant;
        uint32_t batches;
    } cases[] = {{0, 500, 1}, {500, 0, 1}, {3000, 0, 3}, {9000, 2000, 2}, {100000, 0, 8}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rate *r = rate_new(cases[i].all, cases[i].tenant);
        assert_int_equal(rate_batches(r), cases[i].batches);
        rate_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_bound_nobody_waits),
        cmocka_unit_test(over_some_seconds_the_rate_holds),
        cmocka_unit_test(tenants_do_not_wait_for_each_other),
        cmocka_unit_test(both_bounds_hold),
        cmocka_unit_test(batches_follow_the_smaller_rate),
    };
    return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
