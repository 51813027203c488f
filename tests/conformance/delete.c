/* Deletes of one object, of a batch, of what a listing told. */
#include "tests/conformance/conformance.h"

static void a_deleted_object_is_gone(struct test *t)
{
    t_put_text(t, "a/k", "x");
    t_ok(t_delete(t, "a/k"));
    t_absent(t, "a/k");
    t_code(t_get(t, "a/k", NULL), STORE_NOT_FOUND);
    t_empty(t, "");
}

static void deleting_what_is_not_there_succeeds(struct test *t)
{
    t_put_text(t, "a/b", "x");
    t_ok(t_delete(t, "k"));
    t_ok(t_delete(t, "a/c"));
    t_ok(t_delete(t, "no/such/folder/k"));
    t_ok(t_delete(t, "a/b/c"));
    t_holds_text(t, "a/b", "x");
    t_ok(t_delete(t, "a/b"));
    t_ok(t_delete(t, "a/b"));
}

static void a_delete_spares_what_lies_below_and_beside(struct test *t)
{
    static const char *const keys[] = {"a/b", "a-b", "ab"};
    t_put_keys(t, keys, LEN(keys));
    t_ok(t_delete(t, "a"));
    t_has_keys(t, "", keys, LEN(keys));
}

static void a_key_can_be_put_again(struct test *t)
{
    for (int i = 0; i < 5; i++) {
        const char *text = t_printf(t, "%d", i);
        t_put_text(t, "a/b/k", text);
        t_holds_text(t, "a/b/k", text);
        t_ok(t_delete(t, "a/b/k"));
        t_absent(t, "a/b/k");
    }
}

/* A folder's parents go with their last file, and come back for the next. */
static void deletes_and_puts_of_neighbours_may_cross(struct test *t)
{
    enum { ROUNDS = 40 };
    struct result *puts[ROUNDS];
    for (size_t i = 0; i < ROUNDS; i++) {
        const char *key = t_printf(t, "a/b/c/%zu", i);
        puts[i] = t_put_start(t, key, key, strlen(key), NULL);
        t_ok(t_delete(t, t_printf(t, "a/b/c/x%zu", i)));
        if (i >= 4) {
            t_ok(t_wait(puts[i - 4]));
            t_ok(t_delete(t, t_printf(t, "a/b/c/%zu", i - 4)));
        }
    }
    for (size_t i = ROUNDS - 4; i < ROUNDS; i++) {
        const char *key = t_printf(t, "a/b/c/%zu", i);
        t_ok(t_wait(puts[i]));
        t_holds_text(t, key, key);
    }
}

static void a_batch_removes_its_keys_and_no_others(struct test *t)
{
    static const char *const keys[] = {"a", "b/1", "b/2", "c/d/e", "f"};
    static const char *const batch[] = {"a", "b/2", "missing", "c/d/e", "b/missing"};
    static const char *const rest[] = {"b/1", "f"};
    t_put_keys(t, keys, LEN(keys));
    t_ok(t_delete_many(t, batch, LEN(batch)));
    t_has_keys(t, "", rest, LEN(rest));
}

static void a_batch_of_one_and_of_missing_keys_succeeds(struct test *t)
{
    static const char *const one[] = {"a"}, *const missing[] = {"x", "y/z", "no/folder/k"};
    t_put_text(t, "a", "x");
    t_ok(t_delete_many(t, one, 1));
    t_empty(t, "");
    t_ok(t_delete_many(t, one, 1));
    t_ok(t_delete_many(t, missing, LEN(missing)));
}

static void a_batch_may_name_a_key_twice(struct test *t)
{
    static const char *const batch[] = {"a", "b", "a"};
    t_put_keys(t, batch, 2);
    t_ok(t_delete_many(t, batch, LEN(batch)));
    t_empty(t, "");
}

static void a_batch_of_1000_is_removed(struct test *t)
{
    enum { STORED = 800 };
    static const char *const rest[] = {"kept/1", "kept/2"};
    const char *const *keys = t_numbered(t, "k &<+%\xc3\xa9/", STORE_MAX_BATCH, 4);
    t_put_keys(t, keys, STORED);
    t_put_keys(t, rest, LEN(rest));
    t_ok(t_delete_many(t, keys, STORE_MAX_BATCH));
    t_has_keys(t, "", rest, LEN(rest));
}

static void what_a_listing_told_is_removed(struct test *t)
{
    static const char *const keys[] = {"a/1", "a/2", "a/3", "b/1"};
    t_put_keys(t, keys, LEN(keys));
    struct result *r = t_ok(t_list(t, "a/", NULL));
    t_ok(t_delete_listed(t, STORE_LIST_OBJECTS, r->entries, r->n));
    t_has_keys(t, "", keys + 3, 1);
    t_ok(t_delete_listed(t, STORE_LIST_OBJECTS, r->entries, r->n));
}

/* Keys that break the rules are taken here. There are none to remove, and no harm is done. */
static void a_listed_key_against_the_rules_is_taken(struct test *t)
{
    const struct store_entry odd[] = {
        {.key = "a/", .etag = "", .version = ""},
        {.key = "a//b", .etag = "", .version = ""},
    };
    t_put_text(t, "a/b", "x");
    t_ok(t_delete_listed(t, STORE_LIST_OBJECTS, odd, LEN(odd)));
    t_holds_text(t, "a/b", "x");
}

static const struct test_case cases[] = {
    CASE(a_deleted_object_is_gone),
    CASE(deleting_what_is_not_there_succeeds),
    CASE(a_delete_spares_what_lies_below_and_beside),
    CASE(a_key_can_be_put_again),
    CASE(deletes_and_puts_of_neighbours_may_cross),
    CASE(a_batch_removes_its_keys_and_no_others),
    CASE(a_batch_of_one_and_of_missing_keys_succeeds),
    CASE(a_batch_may_name_a_key_twice),
    CASE(a_batch_of_1000_is_removed),
    CASE(what_a_listing_told_is_removed),
    CASE(a_listed_key_against_the_rules_is_taken),
};
const struct test_group delete_group = {"delete", cases, LEN(cases)};
