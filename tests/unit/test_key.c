#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include <store/store.h>

#include "base/xalloc.h"
#include "libstore/key.h"

static void ordinary_keys_are_taken(void **state)
{
    (void)state;
    static const char *const good[] = {"a",      "a/b",     "...",     "a/.../b",  ".a",    "a.",
                                       "a/.b",   "..a/b..", "a b",     "\xff\xfe", "a\nb",  "\\",
                                       "%2e%2e", "a/%2F/b", ".../..a", "~",        "?x=1#y"};
    for (size_t i = 0; i < LEN(good); i++)
        if (store_key_problem(good[i]))
            fail_msg("'%s': %s", good[i], store_key_problem(good[i]));
}

static void keys_that_mean_two_things_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",       "/",   "/a",   "a/",  "a//b",  ".",
                                      "..",     "./a", "../a", "a/.", "a/..",  "a/./b",
                                      "a/../b", "//",  "a/b/", "/..", "../..", "./."};
    assert_non_null(store_key_problem(NULL));
    for (size_t i = 0; i < LEN(bad); i++)
        if (!store_key_problem(bad[i]))
            fail_msg("'%s' was taken", bad[i]);
}

static void the_length_has_a_bound(void **state)
{
    (void)state;
    char key[STORE_MAX_KEY + 2];
    memset(key, 'k', sizeof(key));
    key[STORE_MAX_KEY] = '\0';
    assert_null(store_key_problem(key));
    key[STORE_MAX_KEY] = 'k';
    key[STORE_MAX_KEY + 1] = '\0';
    assert_non_null(store_key_problem(key));
}

static void odd_segments_are_seen_anywhere(void **state)
{
    (void)state;
    assert_true(key_has_odd_segment(""));
    assert_true(key_has_odd_segment("a/b/c/.."));
    assert_true(key_has_odd_segment("a//"));
    assert_false(key_has_odd_segment("a/b/c/..."));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_keys_are_taken),
        cmocka_unit_test(keys_that_mean_two_things_are_refused),
        cmocka_unit_test(the_length_has_a_bound),
        cmocka_unit_test(odd_segments_are_seen_anywhere),
    };
    return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
