/* The notes of what waits: a table against a plain list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "janitor/backlog.h"

static void make_id(unsigned n, char id[JOB_ID_SIZE])
{
    /* The first bytes decide the place in the table: let many share one. */
    snprintf(id, JOB_ID_SIZE, "%02x%062x", n % 3, n);
}

static void a_note_lasts_until_its_time_or_a_change(void **state)
{
    (void)state;
    struct backlog *b = backlog_new(10);
    char id[JOB_ID_SIZE];
    make_id(1, id);
    assert_false(backlog_waits(b, id, "e1", 0));
    backlog_note(b, id, "e1", BACKLOG_DELAYED, 100);
    assert_true(backlog_waits(b, id, "e1", 99));
    assert_false(backlog_waits(b, id, "e1", 100));
    assert_false(backlog_waits(b, id, "e1", 0)); /* and is gone then */
    backlog_note(b, id, "e1", BACKLOG_HELD, UINT64_MAX);
    assert_true(backlog_waits(b, id, "e1", UINT64_MAX - 1));
    assert_false(backlog_waits(b, id, "e2", 0));
    backlog_note(b, id, "", BACKLOG_BUSY, 50); /* whatever the intent says */
    assert_true(backlog_waits(b, id, "e3", 0));
    backlog_drop(b, id);
    assert_false(backlog_waits(b, id, "e3", 0));
    backlog_note(b, "no id", "", BACKLOG_BUSY, 50);
    assert_false(backlog_waits(b, "no id", "", 0));
    backlog_free(b);
}

static void what_is_due_comes_out_once(void **state)
{
    (void)state;
    struct backlog *b = backlog_new(10);
    char id[JOB_ID_SIZE], due[10][JOB_ID_SIZE];
    assert_true(backlog_next_due_ms(b) == UINT64_MAX);
    for (unsigned i = 0; i < 6; i++) {
        make_id(i, id);
        backlog_note(b, id, "e", BACKLOG_DELAYED, 100 + i);
    }
    assert_int_equal(backlog_next_due_ms(b), 100);
    assert_int_equal(backlog_due(b, 99, due, 10), 0);
    assert_int_equal(backlog_due(b, 103, due, 3), 3); /* no more than there is room for */
    assert_int_equal(backlog_due(b, 103, due, 10), 1);
    assert_int_equal(backlog_due(b, 103, due, 10), 0);
    assert_int_equal(backlog_next_due_ms(b), 104);
    backlog_free(b);
}

static void what_a_scan_does_not_see_is_forgotten(void **state)
{
    (void)state;
    struct backlog *b = backlog_new(10);
    size_t counts[BACKLOG_REASONS];
    char id[JOB_ID_SIZE];
    for (unsigned round = 0; round < 600; round++) { /* the mark of a scan comes round again */
        for (unsigned i = 0; i < 5; i++) {
            make_id(i, id);
            backlog_note(b, id, "e", i < 2 ? BACKLOG_HELD : BACKLOG_FAILED, UINT64_MAX);
        }
        backlog_scan_begin(b);
        make_id(1, id);
        assert_true(backlog_waits(b, id, "e", 0));
        make_id(9, id);
        backlog_note(b, id, "e", BACKLOG_DELAYED, UINT64_MAX); /* noted while it goes on */
        backlog_scan_end(b);
        backlog_counts(b, counts);
        assert_int_equal(counts[BACKLOG_HELD], 1);
        assert_int_equal(counts[BACKLOG_FAILED], 0);
        assert_int_equal(counts[BACKLOG_DELAYED], 1);
    }
    backlog_free(b);
}

static void a_full_backlog_takes_no_more(void **state)
{
    (void)state;
    struct backlog *b = backlog_new(4);
    char id[JOB_ID_SIZE];
    for (unsigned i = 0; i < 6; i++) {
        make_id(i, id);
        backlog_note(b, id, "e", BACKLOG_HELD, UINT64_MAX);
    }
    make_id(3, id);
    assert_true(backlog_waits(b, id, "e", 0));
    backlog_note(b, id, "e2", BACKLOG_HELD, UINT64_MAX); /* one that it has may change */
    assert_true(backlog_waits(b, id, "e2", 0));
    make_id(4, id);
    assert_false(backlog_waits(b, id, "e", 0));
    backlog_free(b);
}

enum { IDS = 60, TURNS = 20000 };

static void it_keeps_what_a_plain_list_would(void **state)
{
    (void)state;
    struct backlog *b = backlog_new(IDS);
    uint64_t due[IDS] = {0}; /* 0: no note */
    char id[JOB_ID_SIZE], out[IDS][JOB_ID_SIZE];
    unsigned r = 7;
    for (unsigned turn = 0; turn < TURNS; turn++) {
        r = r * 1103515245 + 12345;
        unsigned n = (r >> 8) % IDS, what = (r >> 16) % 8;
        make_id(n, id);
        if (what < 4) {
            due[n] = 1 + (r >> 20) % 1000;
            backlog_note(b, id, "e", BACKLOG_DELAYED, due[n]);
        } else if (what < 6) {
            backlog_drop(b, id);
            due[n] = 0;
        } else if (what == 6) {
            assert_int_equal(backlog_waits(b, id, "e", 0), due[n] != 0);
        } else {
            uint64_t now = (r >> 20) % 200;
            size_t expected = 0;
            for (unsigned i = 0; i < IDS; i++)
                if (due[i] && due[i] <= now) {
                    expected++;
                    due[i] = 0;
                }
            assert_int_equal(backlog_due(b, now, out, IDS), expected);
        }
    }
    backlog_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_note_lasts_until_its_time_or_a_change),
        cmocka_unit_test(what_is_due_comes_out_once),
        cmocka_unit_test(what_a_scan_does_not_see_is_forgotten),
        cmocka_unit_test(a_full_backlog_takes_no_more),
        cmocka_unit_test(it_keeps_what_a_plain_list_would),
    };
    return cmocka_run_group_tests_name("backlog", tests, NULL, NULL);
}
