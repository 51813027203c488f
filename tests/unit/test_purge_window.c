/* How the window of a removal finds its size, on stores that are reckoned: some do more at once,
 * some do not, and all of them are now quick, now slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "libstore/purge_window.h"

enum { KEYS = 1000, MOST = 64 };

/* ---- A store ---- */

struct model {
    double batch_ms;  /* for one by itself */
    uint32_t at_once; /* so many go side by side; beyond, all of them take longer */
    double jitter;    /* 0.5: between half as long again and half of it */
    uint32_t random;
    double now_ms;
    struct running {
        double began_ms, left; /* of 1 */
        uint32_t trial, most;
    } running[MOST];
    uint32_t n;
};

static double any(struct model *m) /* 0 to 1 */
{
    m->random = m->random * 1664525u + 1013904223u;
    return (double)(m->random >> 8) / (1 << 24);
}

static void begin(struct model *m, const struct purge_window *w)
{
    while (m->n < w->size)
        m->running[m->n++] = (struct running){
            .began_ms = m->now_ms,
            .left = 1 + m->jitter * (2 * any(m) - 1),
            .trial = w->trial,
        };
    for (uint32_t i = 0; i < m->n; i++)
        if (m->running[i].most < m->n)
            m->running[i].most = m->n;
}

/* Goes on to the end of the batch that ends next. */
static void end_one(struct model *m, struct purge_window *w)
{
    uint32_t next = 0;
    double share = m->n > m->at_once ? (double)m->at_once / m->n : 1;
    for (uint32_t i = 1; i < m->n; i++)
        if (m->running[i].left < m->running[next].left)
            next = i;
    struct running r = m->running[next];
    m->now_ms += r.left * m->batch_ms / share;
    for (uint32_t i = 0; i < m->n; i++)
        m->running[i].left -= r.left;
    m->running[next] = m->running[--m->n];
    purge_window_ended(w, r.trial, r.most, KEYS, (uint64_t)(m->now_ms - r.began_ms));
}

/* Removes so many batches; returns how long it took. *size: the window's mean, over the time. */
static double remove_batches(struct model *m, struct purge_window *w, unsigned n, double *size)
{
    double began_ms = m->now_ms, sum = 0;
    for (unsigned i = 0; i < n; i++) {
        double before_ms = m->now_ms;
        begin(m, w);
        end_one(m, w);
        sum += w->size * (m->now_ms - before_ms);
        assert_in_range(w->size, 1, w->most);
    }
    *size = sum / (m->now_ms - began_ms);
    return m->now_ms - began_ms;
}

/* ---- What it comes to ---- */

static void it_is_as_wide_as_is_of_use(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double batch_ms;
        uint32_t at_once, most;
        double jitter;
        unsigned batches;
        double least_size, most_size, slower; /* than the best there is */
    } cases[] = {
        {"distant", 80, 64, 8, 0, 1000, 7.8, 8, 1.03},
        {"distant, now quick, now slow", 80, 64, 8, 0.6, 1000, 6, 8, 1.3},
        {"distant, and many", 80, 64, 64, 0.3, 2000, 50, 64, 1.3},
        {"three of them", 80, 64, 3, 0.3, 200, 2.5, 3, 1.15},
        {"busy with one", 1400, 1, 8, 0, 100, 1, 1.5, 1.01},
        {"busy with one, now quick, now slow", 1400, 1, 8, 0.3, 100, 1, 5, 1.05},
        {"busy with one, after long", 1400, 1, 8, 0.3, 1000, 1, 2.2, 1.05},
        {"busy with four", 200, 4, 8, 0.2, 400, 3.8, 5.2, 1.08},
        {"one is all", 80, 64, 1, 0.3, 50, 1, 1, 1.1},
    };
    for (size_t i = 0; i < LEN(cases); i++)
        for (uint32_t seed = 1; seed <= 100; seed++) {
            struct model m = {.batch_ms = cases[i].batch_ms,
                              .at_once = cases[i].at_once,
                              .jitter = cases[i].jitter,
                              .random = seed};
            struct purge_window w;
            double size;
            uint32_t best = cases[i].at_once < cases[i].most ? cases[i].at_once : cases[i].most;
            purge_window_init(&w, cases[i].most, true);
            double took_ms = remove_batches(&m, &w, cases[i].batches, &size);
            double slower = took_ms * best / (cases[i].batch_ms * cases[i].batches);
            if (size < cases[i].least_size || size > cases[i].most_size || slower > cases[i].slower)
                fail_msg("%s, seed %u: mean size %.2f, took %.2f times as long", cases[i].name,
                         (unsigned)seed, size, slower);
        }
}

static void as_a_rule_it_is_close_to_the_best(void **state)
{
    (void)state;
    double sizes = 0, slower = 0;
    for (uint32_t seed = 1; seed <= 100; seed++) {
        struct model busy = {.batch_ms = 1400, .at_once = 1, .jitter = 0.3, .random = seed};
        struct model distant = {.batch_ms = 80, .at_once = 64, .jitter = 0.6, .random = seed};
        struct purge_window w;
        double size;
        purge_window_init(&w, 8, true);
        remove_batches(&busy, &w, 100, &size);
        sizes += size / 100;
        purge_window_init(&w, 8, true);
        slower += remove_batches(&distant, &w, 1000, &size) * 8 / (80 * 1000) / 100;
    }
    if (sizes > 1.9 || slower > 1.05)
        fail_msg("on the busy store a mean of %.2f at once, on the distant one %.2f times as long",
                 sizes, slower);
}

/* What is busy may become idle, and the contrary. */
static void it_finds_another_size_when_the_store_changes(void **state)
{
    (void)state;
    struct model m = {.batch_ms = 80, .at_once = 64, .jitter = 0.3, .random = 1};
    struct purge_window w;
    double size;
    purge_window_init(&w, 8, true);
    remove_batches(&m, &w, 300, &size);
    assert_int_equal(w.home, 8);
    m.at_once = 1;
    remove_batches(&m, &w, 300, &size);
    remove_batches(&m, &w, 100, &size);
    assert_true(size < 2);
    m.at_once = 64;
    remove_batches(&m, &w, 1000, &size);
    remove_batches(&m, &w, 100, &size);
    assert_true(size > 6);
}

/* Where pages come slowly, more batches at once are of no use, however little each takes. */
static void it_does_not_grow_while_it_is_not_filled(void **state)
{
    (void)state;
    struct purge_window w;
    purge_window_init(&w, 8, true);
    for (unsigned i = 0; i < 1000; i++)
        purge_window_ended(&w, w.trial, 1, KEYS, 80);
    assert_in_range(w.size, 1, 2);
}

static void one_that_does_not_adapt_stays(void **state)
{
    (void)state;
    struct model m = {.batch_ms = 1400, .at_once = 1, .random = 1};
    struct purge_window w;
    double size;
    purge_window_init(&w, 8, false);
    remove_batches(&m, &w, 100, &size);
    assert_true(size > 7.99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_as_wide_as_is_of_use),
        cmocka_unit_test(as_a_rule_it_is_close_to_the_best),
        cmocka_unit_test(it_finds_another_size_when_the_store_changes),
        cmocka_unit_test(it_does_not_grow_while_it_is_not_filled),
        cmocka_unit_test(one_that_does_not_adapt_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
