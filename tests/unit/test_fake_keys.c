#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "bench/fake_keys.h"

enum { MAX_NAMES = 1000 };

/* The keys that are there, found by walking, so that seeks can be compared with a plain search. */
struct names {
    struct fake_keys keys;
    char name[MAX_NAMES][FAKE_MAX_KEY];
    size_t n;
};

static void walk(struct names *a)
{
    struct fake_place at = fake_keys_seek(&a->keys, FAKE_FROM, "");
    for (a->n = 0; at.set < a->keys.n; at = fake_keys_next(&a->keys, at)) {
        assert_true(a->n < MAX_NAMES);
        size_t len = fake_keys_name(&a->keys, at, a->name[a->n]);
        assert_int_equal(len, strlen(a->name[a->n]));
        a->n++;
    }
}

static void define(struct names *a, const char *prefix, uint64_t count, uint64_t split)
{
    struct store_err err = {0};
    if (fake_keys_define(&a->keys, prefix, count, split, &err) != 0)
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    struct names *a = xcalloc(1, sizeof(*a));
    define(a, "b/", 150, 7);
    define(a, "a", 3, 0);
    define(a, "b0/c.", 220, 6);
    walk(a);
    *state = a;
    return 0;
}

static int teardown(void **state)
{
    struct names *a = *state;
    fake_keys_cleanup(&a->keys);
    free(a);
    return 0;
}

static void remove_some(struct names *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (i % 3 == 0 || (i > 20 && i < 160))
            assert_true(fake_keys_remove(&a->keys, a->name[i]));
    walk(a);
}

static void test_walks_all_keys_in_the_order_of_their_bytes(void **state)
{
    struct names *a = *state;
    assert_int_equal(a->n, 3 + 150 + 220);
    assert_int_equal(fake_keys_left(&a->keys), a->n);
    assert_string_equal(a->name[0], "a00000000");
    assert_string_equal(a->name[3 + 149], "b/0000014/9");
    assert_string_equal(a->name[a->n - 1], "b0/c.000002/19");
    for (size_t i = 1; i < a->n; i++)
        assert_true(strcmp(a->name[i - 1], a->name[i]) < 0);
}

static void test_a_removed_key_is_gone_once_and_others_stay(void **state)
{
    struct names *a = *state;
    assert_true(fake_keys_remove(&a->keys, "b/0000001/7"));
    assert_false(fake_keys_remove(&a->keys, "b/0000001/7"));
    assert_false(fake_keys_has(&a->keys, "b/0000001/7"));
    assert_true(fake_keys_has(&a->keys, "b/0000001/6"));
    assert_int_equal(fake_keys_left(&a->keys), 3 + 150 + 220 - 1);
}

static void test_what_is_no_key_is_not_there(void **state)
{
    struct names *a = *state;
    static const char *const texts[] = {
        "",           "a",           "a0000000",    "a000000000", "a00000003", "b/00000000",
        "b/000000/0", "b/0000015/0", "b/0000000/x", "b/0000000/", "c00000000", "b0/c.000000/000",
    };
    for (size_t i = 0; i < LEN(texts); i++)
        if (fake_keys_has(&a->keys, texts[i]) || fake_keys_remove(&a->keys, texts[i]))
            fail_msg("'%s'", texts[i]);
}

/* Where a plain search over the names ends up. */
static const char *search(const struct names *a, enum fake_seek how, const char *text)
{
    for (size_t i = 0; i < a->n; i++) {
        int order = strcmp(a->name[i], text);
        bool inside = strncmp(a->name[i], text, strlen(text)) == 0;
        if (order > 0 ? how != FAKE_PAST || !inside : order == 0 && how == FAKE_FROM)
            return a->name[i];
    }
    return "";
}

static void check_seeks(const struct names *a, const char *text)
{
    for (enum fake_seek how = FAKE_FROM; how <= FAKE_PAST; how++) {
        char key[FAKE_MAX_KEY] = "";
        struct fake_place at = fake_keys_seek(&a->keys, how, text);
        if (at.set < a->keys.n)
            fake_keys_name(&a->keys, at, key);
        if (strcmp(key, search(a, how, text)) != 0)
            fail_msg("seek %d '%s': '%s', expected '%s'", (int)how, text, key,
                     search(a, how, text));
    }
}

static void test_seeks_find_what_a_plain_search_finds(void **state)
{
    struct names *a = *state;
    for (int pass = 0; pass < 2; pass++, remove_some(a))
        for (size_t i = 0; i < a->n; i++)
            for (size_t len = 0; len <= strlen(a->name[i]); len++) {
                char text[FAKE_MAX_KEY + 1];
                snprintf(text, sizeof(text), "%.*s", (int)len, a->name[i]);
                check_seeks(a, text);
                snprintf(text, sizeof(text), "%.*s~", (int)len, a->name[i]);
                check_seeks(a, text);
                snprintf(text, sizeof(text), "%.*s!", (int)len, a->name[i]);
                check_seeks(a, text);
            }
}

static void test_a_set_defined_again_is_whole_again(void **state)
{
    struct names *a = *state;
    remove_some(a);
    define(a, "b/", 40, 0);
    walk(a);
    assert_int_equal(a->keys.n, 3);
    assert_true(fake_keys_has(&a->keys, "b/00000039"));
    assert_false(fake_keys_has(&a->keys, "b/0000000/1"));
}

static void test_refuses_what_has_no_order_or_is_too_much(void **state)
{
    struct names *a = *state;
    static const struct {
        const char *prefix;
        uint64_t count, split;
    } cases[] = {
        {"b/c", 1, 0}, {"", 1, 0},  {"x<", 1, 0},
        {"x", 0, 0},   {"x", 1, 8}, {"x", FAKE_MAX_COUNT + 1, 0},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct store_err err = {0};
        if (fake_keys_define(&a->keys, cases[i].prefix, cases[i].count, cases[i].split, &err) == 0)
            fail_msg("case %zu", i);
        assert_int_equal(err.code, STORE_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_walks_all_keys_in_the_order_of_their_bytes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_removed_key_is_gone_once_and_others_stay, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_key_is_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_seeks_find_what_a_plain_search_finds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_set_defined_again_is_whole_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refuses_what_has_no_order_or_is_too_much, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
