#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bench/fake_small.h"

static void put(struct fake_small *small, const char *key, const char *data)
{
    const struct fake_object *o = fake_small_put(small, key, data, strlen(data));
    assert_non_null(o);
    assert_string_equal(o->key, key);
    assert_true(o->modified_s > 0);
}

static const char *key_at(const struct fake_small *small, size_t i)
{
    return i < small->n ? small->objects[i]->key : "";
}

static void what_is_put_is_there_until_it_is_removed(void **state)
{
    struct fake_small small = {0};
    (void)state;
    assert_null(fake_small_get(&small, "a"));
    put(&small, "b", "two");
    put(&small, "a", "one");
    const struct fake_object *o = fake_small_get(&small, "b");
    assert_non_null(o);
    assert_int_equal(o->len, 3);
    assert_memory_equal(o->data, "two", 3);
    assert_true(fake_small_remove(&small, "b"));
    assert_false(fake_small_remove(&small, "b"));
    assert_null(fake_small_get(&small, "b"));
    assert_non_null(fake_small_get(&small, "a"));
    fake_small_cleanup(&small);
    assert_int_equal(small.n, 0);
}

static void each_put_has_an_etag_of_its_own(void **state)
{
    struct fake_small small = {0};
    char first[FAKE_ETAG_SIZE];
    (void)state;
    put(&small, "a", "same");
    strcpy(first, fake_small_get(&small, "a")->etag);
    put(&small, "a", "same");
    assert_string_not_equal(fake_small_get(&small, "a")->etag, first);
    assert_int_equal(small.n, 1);
    fake_small_cleanup(&small);
}

static void keys_are_found_in_their_order(void **state)
{
    struct fake_small small = {0};
    (void)state;
    put(&small, "b/2", "");
    put(&small, "c", "");
    put(&small, "b/1", "");
    assert_string_equal(key_at(&small, fake_small_seek(&small, FAKE_FROM, "")), "b/1");
    assert_string_equal(key_at(&small, fake_small_seek(&small, FAKE_FROM, "b/2")), "b/2");
    assert_string_equal(key_at(&small, fake_small_seek(&small, FAKE_BEHIND, "b/1")), "b/2");
    assert_string_equal(key_at(&small, fake_small_seek(&small, FAKE_PAST, "b/")), "c");
    assert_int_equal(fake_small_seek(&small, FAKE_BEHIND, "c"), small.n);
    fake_small_cleanup(&small);
}

static void what_is_too_large_or_would_be_escaped_is_not_taken(void **state)
{
    static const char data[FAKE_SMALL_MAX_BYTES + 1];
    struct fake_small small = {0};
    (void)state;
    assert_null(fake_small_put(&small, "a", data, sizeof(data)));
    assert_non_null(fake_small_put(&small, "a", data, sizeof(data) - 1));
    assert_null(fake_small_put(&small, "a b", data, 1));
    assert_null(fake_small_put(&small, "a&b", data, 1));
    fake_small_cleanup(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_there_until_it_is_removed),
        cmocka_unit_test(each_put_has_an_etag_of_its_own),
        cmocka_unit_test(keys_are_found_in_their_order),
        cmocka_unit_test(what_is_too_large_or_would_be_escaped_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
