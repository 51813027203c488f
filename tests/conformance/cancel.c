/* Operations that are canceled, or whose deadline passes. */
#include "tests/conformance/conformance.h"

enum { ROUNDS = 12 }; /* so many turns of the loop an operation gets before it is canceled */

/* Lets r run for so many turns, cancels it, and sees it end as it should. */
static void cancel_after(struct result *r, int turns)
{
    for (int i = 0; i < turns && !r->n_done; i++)
        t_run(r->t, r->loop, 1);
    if (!r->n_done) {
        store_op_cancel(r->op);
        store_op_cancel(r->op);
    }
    t_wait(r);
    EXPECT(r->t, r->err.code == STORE_OK || r->err.code == STORE_CANCELED,
           "%s, canceled after %d turns: expected canceled or ok, came %s: %s", r->what, turns,
           store_code_name(r->err.code), r->err.msg);
}

static void a_get_may_be_canceled_at_any_time(struct test *t)
{
    t_ok(t_put(t, "k", t_pattern(t, MIB), MIB, NULL));
    for (int i = 0; i < ROUNDS; i++)
        cancel_after(t_get_start(t, "k", NULL), i);
    t_is_pattern(t_ok(t_get(t, "k", NULL)), 0, MIB);
}

/* A server may still store what it had received in whole. It must never show a part of it. */
static void whole_or_absent(struct test *t, const char *key, uint64_t size)
{
    struct result *r = t_get(t, key, NULL);
    if (r->err.code != STORE_NOT_FOUND)
        t_is_pattern(t_ok(r), 0, size);
}

static void a_put_may_be_canceled_at_any_time(struct test *t)
{
    for (int i = 0; i < ROUNDS; i++) {
        const char *key = t_printf(t, "k%d", i);
        struct result *put = t_put_start(t, key, t_pattern(t, MIB), MIB, NULL);
        cancel_after(put, i);
        EXPECT(t, put->err.code != STORE_OK || t_head(t, key)->err.code == STORE_OK,
               "%s: expected to be there after success", put->what);
        whole_or_absent(t, key, MIB);
    }
}

static void a_stream_may_be_canceled_at_any_time(struct test *t)
{
    const uint64_t told[] = {300000, STORE_SIZE_UNKNOWN};
    for (int i = 0; i < ROUNDS; i++) {
        const char *key = t_printf(t, "k%d", i);
        const struct source source = {.size = 300000, .chunk = 20000, .pause_each = 3};
        cancel_after(t_stream_start(t, key, told[i % 2], &source, NULL), i);
        whole_or_absent(t, key, 300000);
    }
}

static void heads_and_listings_may_be_canceled(struct test *t)
{
    const char *const *keys = t_numbered(t, "k", 100, 0);
    t_put_keys(t, keys, 100);
    for (int i = 0; i < 4; i++) {
        cancel_after(t_head_start(t, keys[0], 0), i);
        cancel_after(t_list_start(t, "", NULL), i);
    }
    t_has_keys(t, "", keys, 100);
}

static void a_get_may_be_canceled_by_its_reader(struct test *t)
{
    enum { SIZE = 4 * MIB };
    t_ok(t_put(t, "k", t_pattern(t, SIZE), SIZE, NULL));
    struct result *r = t_get_start(t, "k", NULL);
    r->cancel_from = 1;
    t_code(t_wait(r), STORE_CANCELED);
    EXPECT(t, r->size < SIZE, "%s: expected no more data after the cancel", r->what);
}

static void a_paused_get_may_be_canceled(struct test *t)
{
    enum { SIZE = 4 * MIB };
    t_ok(t_put(t, "k", t_pattern(t, SIZE), SIZE, NULL));
    struct result *r = t_get_start(t, "k", NULL);
    t_hold(r);
    size_t before = r->size;
    store_op_cancel(r->op);
    t_code(t_wait(r), STORE_CANCELED);
    EXPECT(t, r->size == before, "%s: expected no more data after the cancel", r->what);
}

static void a_paused_put_may_be_canceled(struct test *t)
{
    const uint64_t told[] = {100000, STORE_SIZE_UNKNOWN};
    for (size_t i = 0; i < LEN(told); i++) {
        const struct source source = {.size = 100000, .hold_at = 50000};
        struct result *put = t_stream_start(t, "k", told[i], &source, NULL);
        t_wait_held(put);
        store_op_cancel(put->op);
        t_code(t_wait(put), STORE_CANCELED);
        t_absent(t, "k");
    }
    t_empty(t, "");
}

static void a_cancel_leaves_others_alone(struct test *t)
{
    enum { PUTS = 30 };
    struct result *puts[PUTS];
    for (size_t i = 0; i < PUTS; i++)
        puts[i] = t_put_start(t, t_printf(t, "k%zu", i), "x", 1, NULL);
    for (size_t i = 0; i < PUTS; i += 3)
        store_op_cancel(puts[i]->op);
    for (size_t i = 0; i < PUTS; i++) {
        t_wait(puts[i]);
        if (i % 3 != 0)
            t_ok(puts[i]);
    }
    for (size_t i = 1; i < PUTS; i += 3)
        t_holds_text(t, t_printf(t, "k%zu", i), "x");
}

/* ---- Deadlines ---- */

static void a_paused_get_ends_at_its_deadline(struct test *t)
{
    enum { SIZE = 4 * MIB, TIMEOUT_MS = 400 };
    t_ok(t_put(t, "k", t_pattern(t, SIZE), SIZE, NULL));
    uint64_t begin_ms = t_now_ms();
    struct result *r = t_get_start(t, "k", &(struct store_get_opts){.timeout_ms = TIMEOUT_MS});
    r->slow = r->hold = true;
    t_code(t_wait(r), STORE_TIMEOUT);
    EXPECT(t, t_now_ms() - begin_ms >= TIMEOUT_MS - 10, "%s: ended before its deadline", r->what);
}

static void a_held_put_ends_at_its_deadline_and_stores_nothing(struct test *t)
{
    const uint64_t told[] = {100000, STORE_SIZE_UNKNOWN};
    for (size_t i = 0; i < LEN(told); i++) {
        const struct source source = {.size = 100000, .hold_at = 50000};
        struct result *put =
            t_stream_start(t, "k", told[i], &source, &(struct store_put_opts){.timeout_ms = 300});
        t_code(t_wait(put), STORE_TIMEOUT);
        t_absent(t, "k");
    }
}

static void the_store_has_a_deadline_for_all(struct test *t)
{
    const struct source source = {.size = 100, .hold_at = 50};
    t->s = t_open(t, &(struct store_conf){.op_timeout_ms = 300});
    t_code(t_stream(t, "k", 100, &source, NULL), STORE_TIMEOUT);
    struct result *put =
        t_stream_start(t, "k", 100, &source, &(struct store_put_opts){.timeout_ms = 30000});
    t_wait_held(put);
    t_run(t, t->loop, 500);
    EXPECT(t, !put->n_done, "%s: expected its own deadline to count, came %s", put->what,
           store_code_name(put->err.code));
    put->source->held = false;
    t_ok(t_wait(put));
}

/* Of the shortest deadlines only this much is sure: they end, and as they should. */
static void the_shortest_deadlines_end(struct test *t)
{
    t_put_text(t, "k", "x");
    for (uint32_t ms = 1; ms <= 4; ms++) {
        struct result *all[] = {
            t_get_start(t, "k", &(struct store_get_opts){.timeout_ms = ms}),
            t_head_start(t, "k", ms),
            t_list_start(t, "", &(struct store_list_opts){.timeout_ms = ms}),
            t_put_start(t, "k", "x", 1, &(struct store_put_opts){.timeout_ms = ms}),
        };
        for (size_t i = 0; i < LEN(all); i++) {
            t_wait(all[i]);
            EXPECT(t, all[i]->err.code == STORE_OK || all[i]->err.code == STORE_TIMEOUT,
                   "%s with %u ms: expected ok or timeout, came %s: %s", all[i]->what, ms,
                   store_code_name(all[i]->err.code), all[i]->err.msg);
        }
    }
    t_holds_text(t, "k", "x");
}

static const struct test_case cases[] = {
    CASE(a_get_may_be_canceled_at_any_time),
    CASE(a_put_may_be_canceled_at_any_time),
    CASE(a_stream_may_be_canceled_at_any_time),
    CASE(heads_and_listings_may_be_canceled),
    CASE(a_get_may_be_canceled_by_its_reader),
    CASE(a_paused_get_may_be_canceled),
    CASE(a_paused_put_may_be_canceled),
    CASE(a_cancel_leaves_others_alone),
    CASE(a_paused_get_ends_at_its_deadline),
    CASE(a_held_put_ends_at_its_deadline_and_stores_nothing),
    CASE(the_store_has_a_deadline_for_all),
    CASE(the_shortest_deadlines_end),
};
const struct test_group cancel_group = {"cancel", cases, LEN(cases)};
