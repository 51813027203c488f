/* The guard against mass deletion. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "janitor/guard.h"

static void without_a_bound_it_holds_nothing(void **state)
{
    (void)state;
    struct guard *g = guard_new(0, 1000);
    for (uint64_t i = 0; i < 100; i++) {
        assert_false(guard_holds(g, i));
        guard_count(g, i);
    }
    guard_free(g);
}

static void no_window_lets_more_through(void **state)
{
    (void)state;
    struct guard *g = guard_new(3, 1000);
    static const struct {
        uint64_t at_ms;
        bool holds;
    } cases[] = {{5000, false}, {5100, false}, {5200, false}, {5300, true},  {5999, true},
                 {6000, false}, {6001, true},  {6099, true},  {6100, false}, {6199, true},
                 {6200, false}, {9000, false}, {9000, false}, {9000, false}, {9000, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(guard_holds(g, cases[i].at_ms), cases[i].holds);
        if (!cases[i].holds)
            guard_count(g, cases[i].at_ms);
    }
    guard_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_bound_it_holds_nothing),
        cmocka_unit_test(no_window_lets_more_through),
    };
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
