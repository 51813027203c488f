/* The gate of bulk requests, against simulated buckets: a clock of numbers, clients that wait, a
 * token bucket that counts keys. Nothing here depends on how fast the test runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "libstore/gate.h"
#include "libstore/retry.h"

/* ---- A simulated bucket and its clients ---- */

enum { MAX_CLIENTS = 32, PIECE = 250, BEGAN_MS = 1000 * 1000 };

struct client {
    enum { ASKING, ON_THE_WAY, ANSWERED } doing;
    uint64_t due_ms; /* when the next of it happens */
    uint64_t answer_ms;
    uint32_t keys;  /* of the try */
    uint32_t later; /* keys of a throttled batch that are still to be sent in pieces */
    unsigned attempt;
    bool throttled, idle;
};

struct sim {
    /* Given. */
    unsigned clients;
    uint32_t batch, min_latency_ms, max_latency_ms;
    double limit, burst; /* keys per second, keys; limit 0: never throttles */
    uint64_t seed, total;
    bool adapts;      /* clients ask how large a request should be */
    uint64_t step_ms; /* then the limit becomes step_limit; 0: never */
    double step_limit;
    /* State. */
    struct gate *gate;
    struct client client[MAX_CLIENTS];
    uint64_t now_ms, handed_out, random;
    double tokens;
    /* Found. */
    uint64_t done, throttled, most_on_the_way, on_the_way;
    uint64_t done_by_s[120];
};

static uint32_t sim_random(struct sim *s)
{
    s->random = s->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(s->random >> 32);
}

static uint64_t sim_latency(struct sim *s)
{
    return s->min_latency_ms + sim_random(s) % (s->max_latency_ms - s->min_latency_ms + 1);
}

/* What the client has to send next; false: there is nothing left. */
static bool next_try(struct sim *s, struct client *c)
{
    if (c->later) {
        c->keys = c->later < PIECE ? c->later : PIECE;
        c->later -= c->keys;
    } else if (s->handed_out < s->total) {
        uint64_t left = s->total - s->handed_out;
        c->keys = left < s->batch ? (uint32_t)left : s->batch;
        s->handed_out += c->keys;
        c->attempt = 0;
    } else {
        return false;
    }
    return true;
}

static void ask(struct sim *s, struct client *c)
{
    uint32_t most = s->adapts ? gate_batch(s->gate) : s->batch;
    if (c->keys > most) {
        c->later += c->keys - most;
        c->keys = most;
    }
    uint32_t wait_ms = gate_ask(s->gate, c->keys, s->now_ms);
    assert_in_range(wait_ms, 0, 10000);
    c->due_ms = s->now_ms + wait_ms;
    if (wait_ms)
        return;
    uint64_t latency = sim_latency(s);
    c->doing = ON_THE_WAY;
    c->due_ms = s->now_ms + latency / 4; /* the way there; the rest is work and the way back */
    c->answer_ms = s->now_ms + latency;
    s->most_on_the_way = ++s->on_the_way > s->most_on_the_way ? s->on_the_way : s->most_on_the_way;
}

static void arrive(struct sim *s, struct client *c)
{
    c->throttled = s->limit > 0 && s->tokens < c->keys;
    if (!c->throttled)
        s->tokens -= c->keys;
    c->doing = ANSWERED;
    c->due_ms = c->answer_ms;
}

static void answered(struct sim *s, struct client *c)
{
    s->on_the_way--;
    c->doing = ASKING;
    gate_report(s->gate, c->keys, s->now_ms, c->throttled ? GATE_THROTTLED : GATE_DONE);
    if (c->throttled) {
        s->throttled++;
        c->later += c->keys;
        c->due_ms = s->now_ms + retry_delay_ms(++c->attempt, 0, sim_random(s));
    } else {
        s->done += c->keys;
        uint64_t second = (s->now_ms - BEGAN_MS) / 1000;
        if (second < LEN(s->done_by_s))
            s->done_by_s[second] += c->keys;
    }
    c->idle = !next_try(s, c);
}

static void refill(struct sim *s, uint64_t ms)
{
    double limit = s->step_ms && s->now_ms >= s->step_ms ? s->step_limit : s->limit;
    s->tokens += limit * (double)ms / 1000;
    if (s->tokens > s->burst)
        s->tokens = s->burst;
}

/* Whose turn it is; any of those whose turn it is at the same time. */
static struct client *next_client(struct sim *s)
{
    struct client *next = NULL;
    unsigned first = sim_random(s) % s->clients;
    for (unsigned i = 0; i < s->clients; i++) {
        struct client *c = &s->client[(first + i) % s->clients];
        if (!c->idle && (!next || c->due_ms < next->due_ms))
            next = c;
    }
    assert_non_null(next);
    return next;
}

/* From one event to the next, until all keys are gone. */
static void simulate(struct sim *s)
{
    s->gate = gate_new();
    assert_non_null(s->gate);
    s->now_ms = BEGAN_MS;
    s->step_ms += s->step_ms ? BEGAN_MS : 0;
    s->random = s->seed * 7919 + 1;
    s->tokens = s->burst;
    for (unsigned i = 0; i < s->clients; i++) {
        s->client[i].due_ms = s->now_ms;
        s->client[i].idle = !next_try(s, &s->client[i]);
    }
    while (s->done < s->total) {
        struct client *c = next_client(s);
        refill(s, c->due_ms - s->now_ms);
        s->now_ms = c->due_ms;
        switch (c->doing) {
        case ASKING: ask(s, c); break;
        case ON_THE_WAY: arrive(s, c); break;
        default: answered(s, c);
        }
    }
    gate_free(s->gate);
    s->now_ms -= BEGAN_MS;
}

/* ---- The goals ---- */

static const unsigned client_counts[] = {8, 16, 32};
static const uint32_t latencies[][2] = {{20, 20}, {20, 300}, {100, 150}, {300, 300}};

enum { SEEDS = 6 };

/* Runs proto with each count of clients, latency and seed. */
static void simulate_all(const struct sim *proto, void (*check)(const struct sim *s))
{
    for (size_t c = 0; c < LEN(client_counts); c++)
        for (size_t l = 0; l < LEN(latencies); l++)
            for (uint64_t seed = 0; seed < SEEDS; seed++) {
                struct sim s = *proto;
                s.clients = client_counts[c];
                s.min_latency_ms = latencies[l][0];
                s.max_latency_ms = latencies[l][1];
                s.seed = seed;
                simulate(&s);
                check(&s);
            }
}

static double rate_of(const struct sim *s)
{
    return (double)s->total * 1000 / (double)s->now_ms;
}

#define MISSED(s, what)                                                                            \
    fail_msg("%s: %.0f keys/s, %lu SlowDowns, limit %.0f and %.0f at once, %u clients, %u-%u ms, " \
             "%u keys, seed %lu",                                                                  \
             what, rate_of(s), (unsigned long)(s)->throttled, (s)->limit, (s)->burst,              \
             (s)->clients, (s)->min_latency_ms, (s)->max_latency_ms, (s)->batch,                   \
             (unsigned long)(s)->seed)

static void is_kept_busy(const struct sim *s)
{
    if (rate_of(s) < 3400)
        MISSED(s, "too slow");
    if (s->throttled * 60000 >= s->total * 50)
        MISSED(s, "too pushing");
}

static void a_bucket_of_3500_is_kept_busy_at_the_price_of_few_slow_downs(void **state)
{
    (void)state;
    static const struct sim protos[] = {
        /* one batch at once and no more: what is refused, and then all, goes in pieces */
        {.batch = 1000, .adapts = true, .burst = 1000},
        {.batch = 250, .burst = 1000},
        {.batch = 1000, .burst = 3500},
        {.batch = 250, .burst = 3500},
    };
    for (size_t i = 0; i < LEN(protos); i++) {
        struct sim proto = protos[i];
        proto.limit = 3500;
        proto.total = 120000;
        simulate_all(&proto, is_kept_busy);
    }
}

enum { STEP_S = 10, FOUND_S = 12 };

static void found_the_new_limit(const struct sim *s)
{
    for (size_t second = STEP_S; second < STEP_S + FOUND_S; second++)
        if (s->done_by_s[second] + s->done_by_s[second + 1] >= 2 * 6500)
            return;
    MISSED(s, "has not found out");
}

static void a_limit_that_rises_is_found_within_seconds(void **state)
{
    (void)state;
    const struct sim proto = {.batch = 1000,
                              .adapts = true,
                              .limit = 3500,
                              .burst = 1000,
                              .step_ms = STEP_S * 1000,
                              .step_limit = 7000,
                              .total = 240000};
    simulate_all(&proto, found_the_new_limit);
}

static void came_down_and_stayed(const struct sim *s)
{
    double last = 0;
    for (size_t second = STEP_S + 10; second < STEP_S + 30; second++)
        last += (double)s->done_by_s[second] / 20;
    if (last < 0.95 * s->step_limit)
        MISSED(s, "fell too far");
    if (s->throttled > 250)
        MISSED(s, "too pushing");
}

static void a_limit_that_falls_is_followed_and_not_undercut(void **state)
{
    (void)state;
    const struct sim proto = {.batch = 1000,
                              .adapts = true,
                              .limit = 7000,
                              .burst = 1000,
                              .step_ms = STEP_S * 1000,
                              .step_limit = 1500,
                              .total = 120000};
    simulate_all(&proto, came_down_and_stayed);
}

static void is_most_of_the_limit(const struct sim *s)
{
    if (rate_of(s) < 0.95 * s->limit)
        MISSED(s, "too slow");
    if (s->throttled > 200)
        MISSED(s, "too pushing");
}

static void slower_buckets_are_kept_busy_too(void **state)
{
    (void)state;
    const struct sim proto = {
        .batch = 1000, .adapts = true, .limit = 1000, .burst = 1500, .total = 60000};
    simulate_all(&proto, is_most_of_the_limit);
}

static void a_store_that_never_throttles_loses_nothing(void **state)
{
    (void)state;
    enum { LATENCY_MS = 100, ROUNDS = 50, BATCH = 1000 };
    for (size_t c = 0; c < LEN(client_counts); c++) {
        struct sim s = {.batch = BATCH,
                        .adapts = true,
                        .clients = client_counts[c],
                        .min_latency_ms = LATENCY_MS,
                        .max_latency_ms = LATENCY_MS,
                        .total = (uint64_t)client_counts[c] * BATCH * ROUNDS};
        simulate(&s);
        assert_int_equal(s.most_on_the_way, s.clients);
        /* Two rounds at most are spent on finding that out, none with the default of 8. */
        assert_in_range(s.now_ms, ROUNDS * LATENCY_MS,
                        (ROUNDS + (s.clients > 8 ? 2 : 0)) * LATENCY_MS);
    }
}

/* ---- Single rules ---- */

static struct gate *new_gate(void)
{
    struct gate *g = gate_new();
    assert_non_null(g);
    return g;
}

static void nobody_waits_longer_than_ten_seconds(void **state)
{
    (void)state;
    struct gate *g = new_gate();
    uint64_t now = 5000;
    /* Driven down as far as it goes, and then asked for much. */
    for (unsigned i = 0; i < 1000; i++) {
        uint32_t wait_ms;
        while ((wait_ms = gate_ask(g, 1, now)) > 0) {
            assert_in_range(wait_ms, 1, 10000);
            now += wait_ms;
        }
        gate_report(g, 1, now, GATE_THROTTLED);
    }
    while (gate_ask(g, 1000, now) > 0)
        now++;
    assert_int_equal(gate_ask(g, 1, now), 10000);
    gate_free(g);
}

static void slow_downs_of_one_burst_count_once(void **state)
{
    (void)state;
    struct gate *one = new_gate(), *burst = new_gate();
    uint64_t now = 5000;
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(gate_ask(one, 1000, now), 0);
        assert_int_equal(gate_ask(burst, 1000, now), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        gate_report(one, 1000, now + 10, i == 0 ? GATE_THROTTLED : GATE_LOST);
        gate_report(burst, 1000, now + 10, GATE_THROTTLED);
    }
    assert_int_equal(gate_ask(one, 1000, now + 10), 0);
    assert_int_equal(gate_ask(burst, 1000, now + 10), 0);
    assert_int_equal(gate_ask(burst, 1000, now + 10), gate_ask(one, 1000, now + 10));
    gate_free(one);
    gate_free(burst);
}

static void answers_that_are_lost_say_nothing_of_the_rate(void **state)
{
    (void)state;
    struct gate *g = new_gate();
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(gate_ask(g, 1000, 5000 + i), 0);
        gate_report(g, 1000, 5000 + i, GATE_LOST);
    }
    assert_int_equal(gate_batch(g), 1000);
    gate_free(g);
}

/* One question a second. */
static void answers_for(struct gate *g, unsigned seconds, uint64_t *now_ms)
{
    for (unsigned i = 0; i < seconds; i++) {
        *now_ms += 1000;
        assert_int_equal(gate_ask(g, 250, *now_ms), 0);
        gate_report(g, 250, *now_ms, GATE_DONE);
    }
}

static void requests_are_small_while_it_throttles(void **state)
{
    (void)state;
    struct gate *g = new_gate();
    uint64_t now_ms = 5000;
    assert_int_equal(gate_batch(g), 1000);
    assert_int_equal(gate_ask(g, 1000, now_ms), 0);
    gate_report(g, 1000, now_ms, GATE_THROTTLED);
    assert_int_equal(gate_batch(g), 250);
    answers_for(g, 59, &now_ms);
    assert_int_equal(gate_batch(g), 250);
    answers_for(g, 2, &now_ms);
    assert_int_equal(gate_batch(g), 1000);
    gate_free(g);
    gate_free(NULL);
}

static void an_idle_hour_is_no_sign_that_more_is_allowed(void **state)
{
    (void)state;
    struct gate *g = new_gate();
    uint64_t now_ms = 5000;
    assert_int_equal(gate_ask(g, 1000, now_ms), 0);
    gate_report(g, 1000, now_ms, GATE_THROTTLED);
    answers_for(g, 5, &now_ms);
    now_ms += 3600 * 1000;
    answers_for(g, 1, &now_ms);
    assert_int_equal(gate_batch(g), 250);
    assert_int_equal(gate_ask(g, 1000, now_ms + 1000), 0);
    assert_in_range(gate_ask(g, 1000, now_ms + 1000), 200, 300); /* 3500 keys/s, less 50 ms */
    gate_free(g);
}

/* ---- Many threads ---- */

enum { THREADS = 4, ASKS = 2000 };

static void *asks_and_reports(void *user)
{
    struct gate *g = user;
    uint64_t now = 5000;
    for (unsigned i = 0; i < ASKS; i++) {
        uint32_t wait_ms = gate_ask(g, 250, now);
        now += wait_ms;
        if (wait_ms == 0)
            gate_report(g, 250, now + 5, i % 50 == 49 ? GATE_THROTTLED : GATE_DONE);
    }
    return NULL;
}

static void threads_share_one(void **state)
{
    (void)state;
    struct gate *g = new_gate();
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, asks_and_reports, g), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(gate_batch(g), 250);
    gate_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_of_3500_is_kept_busy_at_the_price_of_few_slow_downs),
        cmocka_unit_test(a_limit_that_rises_is_found_within_seconds),
        cmocka_unit_test(a_limit_that_falls_is_followed_and_not_undercut),
        cmocka_unit_test(slower_buckets_are_kept_busy_too),
        cmocka_unit_test(a_store_that_never_throttles_loses_nothing),
        cmocka_unit_test(nobody_waits_longer_than_ten_seconds),
        cmocka_unit_test(slow_downs_of_one_burst_count_once),
        cmocka_unit_test(answers_that_are_lost_say_nothing_of_the_rate),
        cmocka_unit_test(requests_are_small_while_it_throttles),
        cmocka_unit_test(an_idle_hour_is_no_sign_that_more_is_allowed),
        cmocka_unit_test(threads_share_one),
    };
    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
