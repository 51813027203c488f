/* Stores narrowed to a part of themselves: by no argument can they name what is outside. */
#include "tests/conformance/conformance.h"

static const char *const inside[] = {"b/1", "b/2", "c", "d/e/f"};
static const char *const outside[] = {"a-", "a-x/1", "a0", "b/1", "secret", "z/secret"};

/* t->s becomes the part "a/"; returns what it was narrowed from. */
static store *make(struct test *t)
{
    store *whole = t->s;
    t_put_keys(t, outside, LEN(outside));
    t->s = t_narrow(t, whole, "a/");
    t_put_keys(t, inside, LEN(inside));
    return whole;
}

static void outside_is_as_it_was(struct test *t, store *whole)
{
    const char *all[LEN(inside) + LEN(outside)];
    store *part = t->s;
    size_t n = 0;
    for (size_t i = 0; i < LEN(outside); i++)
        all[n++] = outside[i];
    for (size_t i = 0; i < LEN(inside); i++)
        all[n++] = t_printf(t, "a/%s", inside[i]);
    t->s = whole;
    for (size_t i = 0; i < n; i++)
        if (i < LEN(outside) || t_head(t, all[i])->err.code == STORE_OK)
            t_holds_text(t, all[i], i < LEN(outside) ? all[i] : all[i] + 2);
    t->s = part;
}

static void keys_of_a_narrowed_store_are_relative(struct test *t)
{
    static const char *const groups[] = {"b/", "c", "d/"}, *const behind[] = {"c", "d/e/f"};
    store *whole = make(t);
    for (size_t i = 0; i < LEN(inside); i++)
        t_holds_text(t, inside[i], inside[i]);
    t_has_keys(t, "", inside, LEN(inside));
    t_has_keys(t, "b/", inside, 2);
    t_keys(t_list_all(t, "", &(struct store_list_opts){.delimiter = '/'}), groups, LEN(groups));
    t_keys(t_list_all(t, "", &(struct store_list_opts){.start_after = "b/2"}), behind, 2);
    t_keys(t_list_all(t, "", &(struct store_list_opts){.start_after = ""}), inside, LEN(inside));
    for (uint32_t max = 1; max <= 4; max++)
        t_keys(t_list_all(t, "", &(struct store_list_opts){.max = max}), inside, LEN(inside));
    t->s = whole;
    t_holds_text(t, "a/d/e/f", "d/e/f");
}

static void all_operations_stay_inside(struct test *t)
{
    static const char *const rest[] = {"d/e/f"};
    store *whole = make(t);
    t_ok(t_copy(t, "b/1", "copy", NULL));
    t_holds_text(t, "copy", "b/1");
    t_ok(t_stream(t, "stream", 10, &(struct source){.size = 10}, NULL));
    t_ok(t_delete_many(t, inside, 2));
    t_ok(t_delete(t, "c"));
    t_ok(t_delete(t, "copy"));
    struct result *r = t_ok(t_list(t, "stream", NULL));
    t_ok(t_delete_listed(t, STORE_LIST_OBJECTS, r->entries, r->n));
    t_has_keys(t, "", rest, 1);
    outside_is_as_it_was(t, whole);
}

static void a_store_narrowed_twice_is_below_both(struct test *t)
{
    static const char *const own[] = {"1", "2"};
    store *whole = make(t), *part = t->s;
    t->s = t_narrow(t, part, "b/");
    t_has_keys(t, "", own, LEN(own));
    t_holds_text(t, "2", "b/2");
    t_put_text(t, "3", "three");
    EXPECT(t, store_max_key(t->s) == store_max_key(whole) - strlen("a/b/"),
           "expected room for %zu bytes, came %zu", store_max_key(whole) - strlen("a/b/"),
           store_max_key(t->s));
    t->s = part;
    t_holds_text(t, "b/3", "three");
    t->s = whole;
    t_holds_text(t, "a/b/3", "three");
    outside_is_as_it_was(t, whole);
}

static void keys_that_climb_are_refused(struct test *t)
{
    static const char *const climbing[] = {
        "../secret", "b/../../secret", "..",       "../", "./../secret", "/secret", "../z/secret",
        "../a-x/1",  "b/..",           "//secret", ""};
    store *whole = make(t);
    for (size_t i = 0; i < LEN(climbing); i++) {
        t_refused(t_get_start(t, climbing[i], NULL));
        t_refused(t_put_start(t, climbing[i], "x", 1, NULL));
        t_refused(t_copy(t, climbing[i], "stolen", NULL));
        t_refused(t_copy(t, "c", climbing[i], NULL));
        t_refused(t_delete(t, climbing[i]));
        t_refused(t_delete_many(t, &climbing[i], 1));
    }
    outside_is_as_it_was(t, whole);
}

/* A refusal or an empty listing are both right; a key from outside is not. */
static void only_inside(struct test *t, struct result *r)
{
    for (size_t i = 0; i < r->n; i++) {
        bool known = false;
        for (size_t k = 0; k < LEN(inside); k++)
            known |= strcmp(r->entries[i].key, inside[k]) == 0;
        EXPECT(t, known, "%s: expected keys from inside only, came %s", r->what,
               t_shown(t, r->entries[i].key));
    }
}

static void no_prefix_start_or_token_lists_what_is_outside(struct test *t)
{
    static const char *const climbing[] = {"../", "..",       "../z/",    "/",
                                           "./",  "b/../../", "../secret"};
    store *whole = make(t), *part = t->s;
    for (size_t i = 0; i < LEN(climbing); i++) {
        only_inside(t, t_list(t, climbing[i], NULL));
        only_inside(t, t_list(t, climbing[i], &(struct store_list_opts){.delimiter = '/'}));
        only_inside(t, t_list(t, "", &(struct store_list_opts){.start_after = climbing[i]}));
        only_inside(t, t_list(t, "", &(struct store_list_opts){.token = climbing[i]}));
    }
    t->s = whole;
    struct result *r = t_ok(t_list(t, "", &(struct store_list_opts){.max = 1}));
    EXPECT(t, r->next_token, "%s: expected a token", r->what);
    t->s = part;
    only_inside(t, t_list(t, "", &(struct store_list_opts){.token = r->next_token}));
}

static void what_a_listing_did_not_tell_is_not_removed(struct test *t)
{
    const struct store_entry forged[] = {
        {.key = "../secret", .etag = "", .version = ""},
        {.key = "b/../../secret", .etag = "", .version = ""},
        {.key = "../z/secret", .etag = "", .version = ""},
    };
    store *whole = make(t);
    for (size_t i = 0; i < LEN(forged); i++)
        t_delete_listed(t, STORE_LIST_OBJECTS, &forged[i], 1);
    t_delete_listed(t, STORE_LIST_OBJECTS, forged, LEN(forged));
    outside_is_as_it_was(t, whole);
}

static void no_prefix_or_cursor_deletes_what_is_outside(struct test *t)
{
    static const char *const climbing[] = {"../", "../z/", "./", "b/../../", "/", "../a-x/"};
    store *whole = make(t);
    for (size_t i = 0; i < LEN(climbing); i++) {
        t_purge(t, climbing[i], NULL);
        const struct store_delete_prefix_opts from = {.cursor = climbing[i]},
                                              to = {.end_before = climbing[i]};
        t_purge(t, "b/", &from);
        t_purge(t, "d/", &to);
    }
    outside_is_as_it_was(t, whole);
}

static void deleting_all_of_a_narrowed_store_spares_the_rest(struct test *t)
{
    const struct store_delete_prefix_opts dry = {.dry_run = true};
    store *whole = make(t);
    struct result *r = t_ok(t_purge(t, "", &dry));
    EXPECT(t, r->progress.objects == LEN(inside), "%s: expected to find %zu, came %llu", r->what,
           LEN(inside), (unsigned long long)r->progress.objects);
    r = t_ok(t_purge(t, "", NULL));
    EXPECT(t, r->progress.objects == LEN(inside), "%s: expected to remove %zu, came %llu", r->what,
           LEN(inside), (unsigned long long)r->progress.objects);
    t_empty(t, "");
    t->s = whole;
    t_has_keys(t, "", outside, LEN(outside));
}

static void cursors_of_a_narrowed_store_are_relative(struct test *t)
{
    make(t);
    const struct store_delete_prefix_opts tail = {.cursor = "b/2"}, head = {.end_before = "b/2"};
    struct result *r = t_ok(t_purge(t, "", &tail));
    EXPECT(t, r->progress.objects == 2, "%s: expected to remove 2 behind b/2, came %llu", r->what,
           (unsigned long long)r->progress.objects);
    t_has_keys(t, "", inside, 2);
    r = t_wait(t_purge_start(t, "", &head, 1));
    const char *cursor = r->progress.cursor;
    EXPECT(t, strcmp(cursor, "") == 0 || strcmp(cursor, "b/1") >= 0,
           "%s: expected a cursor from inside, came %s", r->what, t_shown(t, cursor));
    EXPECT(t, strncmp(cursor, t->prefix, 5) != 0 && strncmp(cursor, "a/", 2) != 0,
           "%s: expected a relative cursor, came %s", r->what, t_shown(t, cursor));
    t_has_keys(t, "", inside + 1, 1);
}

static void the_longest_key_of_a_narrowed_store(struct test *t)
{
    store *whole = make(t);
    size_t max = store_max_key(t->s);
    char *key = t_alloc(t, max + 2);
    memset(key, 'k', max);
    for (size_t at = 100; at < max - 1; at += 100)
        key[at] = '/';
    t_put_text(t, key, "x");
    t_holds_text(t, key, "x");
    key[max] = 'k';
    t_refused(t_put_start(t, key, "x", 1, NULL));
    t_refused(t_get_start(t, key, NULL));
    EXPECT(t, max == store_max_key(whole) - 2, "expected room for %zu bytes, came %zu",
           store_max_key(whole) - 2, max);
}

static void a_narrowed_store_may_outlive_its_origin(struct test *t)
{
    struct store_err err = {0};
    store *whole, *part;
    const char *prefix = t_printf(t, "%sa/", t->prefix);
    EXPECT(t, store_open(t->url, NULL, &whole, &err) == 0, "opening the store: %s", err.msg);
    int rc = store_narrow(whole, prefix, &part, &err);
    store_close(whole);
    EXPECT(t, rc == 0, "narrowing to '%s': %s", prefix, err.msg);
    t->s = part;
    t->opened[t->n_opened++] = part;
    t_put_text(t, "k", "x");
    t_holds_text(t, "k", "x");
    store *again = t_narrow(t, part, "b/");
    t->s = again;
    t_put_text(t, "k", "y");
    t->s = t->opened[0];
    t_holds_text(t, "a/b/k", "y");
}

static void a_narrowed_store_tells_the_numbers_of_the_whole(struct test *t)
{
    struct store_stats whole, part;
    make(t);
    store_stats(t->root, &whole);
    store_stats(t->s, &part);
    EXPECT(t, whole.requests > 0 && whole.requests == part.requests,
           "expected the same number of requests, came %llu and %llu",
           (unsigned long long)whole.requests, (unsigned long long)part.requests);
}

static const struct test_case cases[] = {
    CASE(keys_of_a_narrowed_store_are_relative),
    CASE(all_operations_stay_inside),
    CASE(a_store_narrowed_twice_is_below_both),
    CASE(keys_that_climb_are_refused),
    CASE(no_prefix_start_or_token_lists_what_is_outside),
    CASE(what_a_listing_did_not_tell_is_not_removed),
    CASE(no_prefix_or_cursor_deletes_what_is_outside),
    CASE(deleting_all_of_a_narrowed_store_spares_the_rest),
    CASE(cursors_of_a_narrowed_store_are_relative),
    CASE(the_longest_key_of_a_narrowed_store),
    CASE(a_narrowed_store_may_outlive_its_origin),
    CASE(a_narrowed_store_tells_the_numbers_of_the_whole),
};
const struct test_group narrow_group = {"narrow", cases, LEN(cases)};
