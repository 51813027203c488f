#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "janitor/watermark.h"

static void nothing_is_committed_before_anything_is_read(void **state)
{
    (void)state;
    struct watermark w;
    watermark_init(&w);
    assert_int_equal(watermark_position(&w), -1);
}

static void the_position_waits_for_the_oldest(void **state)
{
    (void)state;
    struct watermark w;
    struct watermark_item a, b, c;
    watermark_init(&w);
    watermark_out(&w, &a, 5);
    assert_int_equal(watermark_position(&w), 5);
    watermark_out(&w, &b, 6);
    watermark_out(&w, &c, 9); /* a gap: the log was compacted */
    watermark_back(&b);
    assert_int_equal(watermark_position(&w), 5);
    watermark_back(&a);
    assert_int_equal(watermark_position(&w), 9);
    watermark_back(&c);
    assert_int_equal(watermark_position(&w), 10);
}

static void coming_back_twice_is_harmless(void **state)
{
    (void)state;
    struct watermark w;
    struct watermark_item a, b;
    watermark_init(&w);
    watermark_out(&w, &a, 1);
    watermark_out(&w, &b, 2);
    watermark_back(&b);
    watermark_back(&b);
    assert_int_equal(watermark_position(&w), 1);
    watermark_back(&a);
    watermark_back(&a);
    assert_int_equal(watermark_position(&w), 3);
}

static void an_abandoned_partition_forgets_its_messages(void **state)
{
    (void)state;
    struct watermark w;
    struct watermark_item old[3], again;
    watermark_init(&w);
    for (int i = 0; i < 3; i++)
        watermark_out(&w, &old[i], i);
    watermark_abandon(&w);
    assert_int_equal(watermark_position(&w), -1);
    watermark_out(&w, &again, 0); /* the same partition given back */
    for (int i = 0; i < 3; i++)
        watermark_back(&old[i]);
    assert_int_equal(watermark_position(&w), 0);
    watermark_back(&again);
    assert_int_equal(watermark_position(&w), 1);
}

/* The log was truncated and reading began at a lower offset: the position follows it down, however
 * the older messages end. */
static void a_log_that_went_back(void **state)
{
    (void)state;
    struct watermark w;
    struct watermark_item high, low, next;
    watermark_init(&w);
    watermark_out(&w, &high, 100);
    watermark_out(&w, &low, 20);
    assert_int_equal(watermark_position(&w), 20);
    watermark_back(&low);
    assert_int_equal(watermark_position(&w), 21);
    watermark_back(&high);
    assert_int_equal(watermark_position(&w), 21);
    watermark_out(&w, &next, 21);
    assert_int_equal(watermark_position(&w), 21);
    watermark_back(&next);
    assert_int_equal(watermark_position(&w), 22);
}

/* Nothing behind a message that was given up is ever committed, whatever comes back later, and of
 * several the first counts, in whatever order they are given up. */
static void the_position_never_passes_what_was_given_up(void **state)
{
    (void)state;
    static const int orders[][2] = {{1, 3}, {3, 1}};
    for (size_t i = 0; i < LEN(orders); i++) {
        struct watermark w;
        struct watermark_item items[5], later;
        watermark_init(&w);
        for (int k = 0; k < 5; k++)
            watermark_out(&w, &items[k], 10 + k);
        watermark_give_up(&items[orders[i][0]]);
        watermark_give_up(&items[orders[i][1]]);
        assert_int_equal(watermark_position(&w), 10); /* still out, and before them */
        watermark_back(&items[0]);
        assert_int_equal(watermark_position(&w), 11);
        watermark_back(&items[4]);
        watermark_back(&items[2]);
        assert_int_equal(watermark_position(&w), 11);
        watermark_out(&w, &later, 15);
        watermark_back(&later);
        assert_int_equal(watermark_position(&w), 11);
        watermark_abandon(&w); /* given back, the partition begins anew, with that message */
        assert_int_equal(watermark_position(&w), -1);
        watermark_out(&w, &later, 11);
        watermark_back(&later);
        assert_int_equal(watermark_position(&w), 12);
    }
}

/* Its memory belongs to the caller again, and it no longer counts as out. */
static void what_was_given_up_is_no_longer_out(void **state)
{
    (void)state;
    struct watermark w;
    struct watermark_item item, next;
    watermark_init(&w);
    watermark_out(&w, &item, 7);
    watermark_give_up(&item);
    assert_null(item.owner);
    assert_null(w.first);
    assert_null(w.last);
    watermark_give_up(&item);
    watermark_back(&item);
    watermark_out(&w, &next, 8);
    assert_ptr_equal(w.first, &next);
    assert_int_equal(watermark_position(&w), 7);
    watermark_back(&next);
}

static void giving_up_behind_an_abandoned_partition_is_harmless(void **state)
{
    (void)state;
    struct watermark w;
    struct watermark_item old, again;
    watermark_init(&w);
    watermark_out(&w, &old, 3);
    watermark_abandon(&w);
    watermark_out(&w, &again, 3);
    watermark_back(&again);
    watermark_give_up(&old);
    assert_int_equal(watermark_position(&w), 4);
}

/* Against the plain definition: the smallest offset still out, else the one behind the last. */
static void any_order_agrees_with_the_definition(void **state)
{
    (void)state;
    enum { N = 400, OUT = 60 };
    static struct watermark_item items[N];
    struct watermark w;
    int out[OUT], n_out = 0, given = 0;
    int64_t offset = 1000, behind = -1;
    watermark_init(&w);
    srandom(7);
    while (given < N || n_out > 0) {
        if (given < N && n_out < OUT && random() % 2) {
            offset += 1 + random() % 3;
            behind = offset + 1;
            watermark_out(&w, &items[given], offset);
            out[n_out++] = given++;
        } else if (n_out > 0) {
            int k = (int)(random() % n_out);
            watermark_back(&items[out[k]]);
            out[k] = out[--n_out];
        }
        int64_t expected = behind;
        for (int i = 0; i < n_out; i++) {
            if (items[out[i]].offset < expected)
                expected = items[out[i]].offset;
        }
        assert_int_equal(watermark_position(&w), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_committed_before_anything_is_read),
        cmocka_unit_test(the_position_waits_for_the_oldest),
        cmocka_unit_test(coming_back_twice_is_harmless),
        cmocka_unit_test(an_abandoned_partition_forgets_its_messages),
        cmocka_unit_test(a_log_that_went_back),
        cmocka_unit_test(the_position_never_passes_what_was_given_up),
        cmocka_unit_test(what_was_given_up_is_no_longer_out),
        cmocka_unit_test(giving_up_behind_an_abandoned_partition_is_harmless),
        cmocka_unit_test(any_order_agrees_with_the_definition),
    };
    return cmocka_run_group_tests_name("watermark", tests, NULL, NULL);
}
