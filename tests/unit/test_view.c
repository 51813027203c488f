#include "janitor/view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/xalloc.h"

enum { NOW_S = 1800000000 };

static struct view view_of(enum deletion_state state, int64_t not_before_s, const char *record)
{
    struct view v = {.intent = INTENT_READ, .has_record = record != NULL};
    v.d.state = state;
    v.d.not_before_s = not_before_s;
    if (record)
        strcpy(v.r.state, record);
    return v;
}

static void the_intent_says_what_is_wanted_and_the_record_how_far_it_is(void **state)
{
    (void)state;
    const struct {
        struct view v;
        const char *state;
    } cases[] = {
        {view_of(DELETION_OPEN, 0, NULL), "open"},
        {view_of(DELETION_OPEN, 0, "sweeping"), "sweeping"},
        {view_of(DELETION_OPEN, 0, "waiting"), "waiting"},
        {view_of(DELETION_OPEN, NOW_S, "draining"), "draining"},
        {view_of(DELETION_OPEN, NOW_S + 1, "open"), "delayed"},
        /* The record is older than the intent. */
        {view_of(DELETION_OPEN, 0, "held"), "open"},
        {view_of(DELETION_OPEN, 0, "failed"), "open"},
        {view_of(DELETION_OPEN, 0, "delayed"), "open"},
        {view_of(DELETION_OPEN, 0, "done"), "open"},
        {view_of(DELETION_HELD, 0, "sweeping"), "held"},
        {view_of(DELETION_HELD, NOW_S + 1, NULL), "held"},
        {view_of(DELETION_FAILED, 0, "done"), "failed"},
        {view_of(DELETION_CANCELLED, 0, NULL), "cancelled"},
        {view_of(DELETION_CLOSING, 0, "publishing"), "closing"},
        {{.intent = INTENT_UNREADABLE, .has_record = true, .r.state = "open"}, "unreadable"},
        {{.intent = INTENT_FAILED, .has_record = true, .r.state = "held"}, "held"},
        {{.intent = INTENT_NONE, .has_record = true, .r.state = "done"}, "done"},
        {{.intent = INTENT_NONE}, "unknown"},
    };
    for (size_t i = 0; i < LEN(cases); i++)
        assert_string_equal(view_state(&cases[i].v, NOW_S), cases[i].state);
}

static void open_is_whatever_is_worked_on(void **state)
{
    (void)state;
    static const struct {
        enum deletion_state state;
        int64_t not_before_s;
        const char *record, *wanted;
        bool matches;
    } cases[] = {
        {DELETION_OPEN, 0, NULL, "all", true},
        {DELETION_OPEN, 0, NULL, "open", true},
        {DELETION_OPEN, 0, "sweeping", "open", true},
        {DELETION_OPEN, 0, "sweeping", "sweeping", true},
        {DELETION_OPEN, 0, "sweeping", "draining", false},
        {DELETION_OPEN, NOW_S + 1, "delayed", "open", false},
        {DELETION_OPEN, NOW_S + 1, NULL, "delayed", true},
        {DELETION_HELD, 0, "sweeping", "open", false},
        {DELETION_HELD, 0, "sweeping", "sweeping", false},
        {DELETION_CLOSING, 0, "publishing", "open", false},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct view v = view_of(cases[i].state, cases[i].not_before_s, cases[i].record);
        assert_int_equal(view_matches(&v, cases[i].wanted, NOW_S), cases[i].matches);
    }
}

static void ages(void **state)
{
    (void)state;
    static const struct {
        int64_t s;
        const char *text;
    } cases[] = {
        {-5, "0s"},      {0, "0s"},         {59, "59s"},      {60, "1m00s"},     {3599, "59m59s"},
        {3600, "1h00m"}, {86399, "23h59m"}, {86400, "1d00h"}, {400000, "4d15h"},
    };
    char text[32];
    for (size_t i = 0; i < LEN(cases); i++)
        assert_string_equal(view_age(cases[i].s, text), cases[i].text);
}

static void text_from_outside_cannot_steer_a_terminal(void **state)
{
    (void)state;
    char out[16];
    assert_string_equal(view_clean("plain", out, sizeof(out)), "plain");
    assert_string_equal(view_clean("a\x1b[1m\n\r\x7f", out, sizeof(out)), "a?[1m???");
    assert_string_equal(view_clean("\xc2\x9b"
                                   "2J",
                                   out, sizeof(out)),
                        "?2J"); /* C1 */
    assert_string_equal(view_clean("\xff\xc3", out, sizeof(out)), "??");
    assert_string_equal(view_clean("\xc3\xa9\xe2\x82\xac", out, sizeof(out)),
                        "\xc3\xa9\xe2\x82\xac");
    /* Cut before a character, never within one. */
    assert_string_equal(view_clean("0123456789abcd\xc3\xa9", out, sizeof(out)), "0123456789abcd");
    assert_string_equal(view_clean("0123456789abcdefgh", out, sizeof(out)), "0123456789abcde");
}

static void the_counts_are_those_of_acceptor_and_janitor(void **state)
{
    (void)state;
    struct view v = view_of(DELETION_OPEN, 0, "sweeping");
    v.d.swept = (struct deletion_counts){2, 20};
    v.r.files = 3;
    v.r.bytes = 30;
    json_t *o = view_json(&v, NOW_S);
    assert_int_equal(json_integer_value(json_object_get(o, "files")), 5);
    assert_int_equal(json_integer_value(json_object_get(o, "bytes")), 50);
    json_decref(o);
    v = view_of(DELETION_OPEN, 0, NULL);
    o = view_json(&v, NOW_S);
    assert_true(json_is_null(json_object_get(o, "files"))); /* not known is not none */
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_intent_says_what_is_wanted_and_the_record_how_far_it_is),
        cmocka_unit_test(open_is_whatever_is_worked_on),
        cmocka_unit_test(ages),
        cmocka_unit_test(text_from_outside_cannot_steer_a_terminal),
        cmocka_unit_test(the_counts_are_those_of_acceptor_and_janitor),
    };
    return cmocka_run_group_tests_name("view", tests, NULL, NULL);
}
