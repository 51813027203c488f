/* The counters, the alarm, and the budgets of retries and of second requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/xalloc.h"
#include "libstore/health.h"

enum { START_MS = 1000000, MINUTE_MS = 60000 };

struct bell { /* what the call-back was told */
    unsigned raised, ended;
    struct store_alarm last;
};

static void ring(void *user, const struct store_alarm *alarm)
{
    struct bell *b = user;
    if (alarm->raised)
        b->raised++;
    else
        b->ended++;
    b->last = *alarm;
}

static struct health *make(struct bell *b, uint32_t percent)
{
    const struct store_conf conf = {.on_alarm = ring, .alarm_user = b, .alarm_percent = percent};
    struct health *h = NULL;
    assert_int_equal(health_new(&conf, "s3://bucket", &h, NULL), 0);
    return h;
}

static void tries(struct health *h, uint64_t now_ms, unsigned good, unsigned bad)
{
    for (unsigned i = 0; i < good; i++)
        health_tried(h, now_ms, false);
    for (unsigned i = 0; i < bad; i++)
        health_tried(h, now_ms, true);
}

/* ---- The alarm ---- */

static void an_alarm_is_raised_and_ended_once(void **state)
{
    struct bell b = {0};
    struct health *h = make(&b, 0);
    (void)state;
    tries(h, START_MS, 75, 24); /* 24 of 99 */
    assert_int_equal(b.raised, 0);
    tries(h, START_MS, 0, 1); /* 25 of 100 */
    assert_int_equal(b.raised, 1);
    assert_int_equal(b.last.error_percent, 25);
    assert_int_equal(b.last.requests, 100);
    assert_string_equal(b.last.url, "s3://bucket");
    tries(h, START_MS + 1, 0, 50);
    assert_int_equal(b.raised, 1);
    assert_int_equal(b.ended, 0);
    tries(h, START_MS + 2, 1000, 0);
    assert_int_equal(b.raised, 1);
    assert_int_equal(b.ended, 1);
    assert_false(b.last.raised);
    assert_true(b.last.error_percent * 2 < 25);
    tries(h, START_MS + 3, 1000, 0);
    assert_int_equal(b.ended, 1);
    health_free(h);
}

static void an_alarm_stays_until_half_is_left(void **state)
{
    struct bell b = {0};
    struct health *h = make(&b, 40);
    (void)state;
    tries(h, START_MS, 60, 40);
    assert_int_equal(b.raised, 1);
    tries(h, START_MS, 100, 0); /* 40 of 200 are exactly half */
    assert_int_equal(b.ended, 0);
    tries(h, START_MS, 20, 0);
    assert_int_equal(b.ended, 1);
    health_free(h);
}

static void a_few_requests_raise_nothing(void **state)
{
    struct bell b = {0};
    struct health *h = make(&b, 1);
    (void)state;
    tries(h, START_MS, 0, 19);
    assert_int_equal(b.raised, 0);
    tries(h, START_MS, 0, 1);
    assert_int_equal(b.raised, 1);
    health_free(h);
}

/* At each step's time, 20 requests fail. The minute is counted in slices of 5 s. */
static void the_minute_slides(void **state)
{
    static const struct {
        uint64_t later_ms;
        uint32_t percent;
    } steps[] = {{0, 100},
                 {MINUTE_MS - 5001, 100},
                 {MINUTE_MS, 0},
                 {MINUTE_MS + 5000, 0},
                 {10 * MINUTE_MS, 0}};
    struct store_stats stats;
    struct bell b = {0};
    struct health *h = make(&b, 0);
    (void)state;
    tries(h, START_MS, 0, 20);
    for (size_t i = 0; i < LEN(steps); i++) {
        health_stats(h, START_MS + steps[i].later_ms, &stats);
        assert_int_equal(stats.error_percent, steps[i].percent);
    }
    assert_true(stats.alarm); /* nothing has succeeded since */
    tries(h, START_MS + 2 * MINUTE_MS, 1, 0);
    assert_int_equal(b.ended, 1);
    assert_int_equal(b.last.requests, 1);
    /* A slice is used again, not added to. */
    tries(h, START_MS + 10 * MINUTE_MS, 3, 1);
    health_stats(h, START_MS + 10 * MINUTE_MS, &stats);
    assert_int_equal(stats.error_percent, 25);
    assert_int_equal(stats.requests, 25);
    assert_int_equal(stats.failures, 21);
    health_free(h);
}

static void a_thread_that_comes_late_clears_nothing(void **state)
{
    struct store_stats stats;
    struct bell b = {0};
    struct health *h = make(&b, 0);
    (void)state;
    tries(h, START_MS + MINUTE_MS, 10, 0);
    tries(h, START_MS, 0, 10);
    health_stats(h, START_MS + MINUTE_MS, &stats);
    assert_int_equal(stats.error_percent, 50);
    health_free(h);
}

static void an_alarm_may_go_to_nobody(void **state)
{
    const struct store_conf none = {0}, wrong = {.alarm_percent = 101};
    struct health *h = NULL;
    struct store_stats stats;
    struct store_err err;
    (void)state;
    assert_int_equal(health_new(&wrong, "x", &h, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    assert_int_equal(health_new(&none, "x", &h, &err), 0);
    tries(h, START_MS, 0, 100);
    health_stats(h, START_MS, &stats);
    assert_true(stats.alarm);
    health_free(h);
    health_free(NULL);
}

/* ---- The budgets ---- */

static unsigned retries_left(struct health *h)
{
    unsigned n = 0;
    while (health_may_retry(h))
        n++;
    return n;
}

static void retries_are_paid_for(void **state)
{
    struct bell b = {0};
    struct store_stats stats;
    struct health *h = make(&b, 0);
    (void)state;
    assert_int_equal(retries_left(h), HEALTH_BUDGET / HEALTH_RETRY_COST);
    tries(h, START_MS, HEALTH_RETRY_COST - 1, 500); /* failures give nothing back */
    assert_int_equal(retries_left(h), 0);
    tries(h, START_MS, 1, 0);
    assert_int_equal(retries_left(h), 1);
    tries(h, START_MS, 10 * HEALTH_BUDGET, 0); /* no more than a full purse */
    assert_int_equal(retries_left(h), HEALTH_BUDGET / HEALTH_RETRY_COST);
    health_stats(h, START_MS, &stats);
    assert_int_equal(stats.retries, 2 * (HEALTH_BUDGET / HEALTH_RETRY_COST) + 1);
    assert_int_equal(stats.retries_forgone, 4);
    health_free(h);
}

static unsigned hedges_left(struct health *h)
{
    unsigned n = 0;
    while (health_may_hedge(h))
        n++;
    return n;
}

static void second_requests_are_a_fiftieth(void **state)
{
    struct bell b = {0};
    struct health *h = make(&b, 0);
    (void)state;
    assert_in_range(hedges_left(h), 1, 10); /* a young store may send a few */
    tries(h, START_MS, 49, 0);
    assert_int_equal(hedges_left(h), 0);
    tries(h, START_MS, 1, 0);
    assert_int_equal(hedges_left(h), 1);
    tries(h, START_MS, 4000, 1000);
    assert_int_equal(hedges_left(h), 100);
    health_free(h);
}

static void each_counter_is_told(void **state)
{
    struct bell b = {0};
    struct store_stats s;
    struct health *h = make(&b, 0);
    (void)state;
    for (int c = 0; c < HEALTH_COUNTERS; c++)
        for (int i = 0; i <= c; i++)
            health_count(h, (enum health_counter)c);
    health_stats(h, START_MS, &s);
    assert_int_equal(s.retries, HEALTH_RETRY + 1);
    assert_int_equal(s.throttled, HEALTH_THROTTLED + 1);
    assert_int_equal(s.hedges, HEALTH_HEDGE + 1);
    assert_int_equal(s.hedges_won, HEALTH_HEDGE_WON + 1);
    assert_int_equal(s.credential_errors, HEALTH_CREDENTIAL_ERROR + 1);
    health_free(h);
}

/* ---- Threads ---- */

enum { THREADS = 4, EACH = 5000 };

static struct {
    struct health *h;
    atomic_uint raised, retries, hedges;
} shared;

static void ring_shared(void *user, const struct store_alarm *alarm)
{
    struct store_stats stats;
    (void)user;
    health_stats(shared.h, START_MS, &stats); /* no lock is held */
    atomic_fetch_add(&shared.raised, alarm->raised);
}

static void *work(void *user)
{
    struct store_stats stats;
    (void)user;
    for (unsigned i = 0; i < EACH; i++) {
        health_tried(shared.h, START_MS + i, i % 2);
        atomic_fetch_add(&shared.retries, health_may_retry(shared.h));
        atomic_fetch_add(&shared.hedges, health_may_hedge(shared.h));
        if (i % 100 == 0)
            health_stats(shared.h, START_MS + i, &stats);
    }
    return NULL;
}

static void threads_lose_no_count(void **state)
{
    const struct store_conf conf = {.on_alarm = ring_shared};
    pthread_t threads[THREADS];
    struct store_stats s;
    (void)state;
    assert_int_equal(health_new(&conf, "x", &shared.h, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    health_stats(shared.h, START_MS, &s);
    assert_int_equal(s.requests, THREADS * EACH);
    assert_int_equal(s.failures, THREADS * EACH / 2);
    assert_int_equal(shared.raised, 1);
    assert_int_equal(s.retries, shared.retries);
    assert_int_equal(s.retries + s.retries_forgone, THREADS * EACH);
    assert_int_equal(s.hedges, shared.hedges);
    assert_true(s.retries <= (HEALTH_BUDGET + s.requests - s.failures) / HEALTH_RETRY_COST);
    health_free(shared.h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_alarm_is_raised_and_ended_once),
        cmocka_unit_test(an_alarm_stays_until_half_is_left),
        cmocka_unit_test(a_few_requests_raise_nothing),
        cmocka_unit_test(the_minute_slides),
        cmocka_unit_test(a_thread_that_comes_late_clears_nothing),
        cmocka_unit_test(an_alarm_may_go_to_nobody),
        cmocka_unit_test(retries_are_paid_for),
        cmocka_unit_test(second_requests_are_a_fiftieth),
        cmocka_unit_test(each_counter_is_told),
        cmocka_unit_test(threads_lose_no_count),
    };
    return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
