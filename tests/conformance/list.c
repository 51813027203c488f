/* Listings, held against a model: all prefixes, delimiters, starts and page sizes of a small tree
 * of nasty order. */
#include "tests/conformance/conformance.h"

#include <stdlib.h>

/* No key is the folder of another, so that stores of plain files can have all of them. */
static const char *const tree[] = {
    "a!",    "a-b/c",   "a/b",        "a/b-",      "a/bc", "a/c/d", "a/c/e", "a/c-d",
    "a0/x",  "aa",      "b/x/y/z",    "b/x/y0",    "b/x-", "b0",    "c d/e", "c+d/e",
    "c%d/e", "c&d/<e>", "\xc3\xa9/x", "\xc3\xa9-", "A/b",  "Ab",    "z",
};

static bool begins_with(const char *key, const char *prefix)
{
    return strncmp(key, prefix, strlen(prefix)) == 0;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static size_t put_tree(struct test *t, const char **keys)
{
    memcpy(keys, tree, sizeof(tree));
    qsort(keys, LEN(tree), sizeof(*keys), by_bytes);
    t_put_keys(t, keys, LEN(tree));
    return LEN(tree);
}

/* What a listing should have. Returns how many; they are in order. */
static size_t model(struct test *t, const char *const *keys, size_t n, const char *prefix,
                    char delimiter, const char *start_after, const char **out)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        const char *key = keys[i], *cut;
        if (!begins_with(key, prefix) || (start_after && strcmp(key, start_after) <= 0))
            continue;
        cut = delimiter ? strchr(key + strlen(prefix), delimiter) : NULL;
        if (!cut)
            out[found++] = key;
        else if (found == 0 || !begins_with(key, out[found - 1]) ||
                 out[found - 1][strlen(out[found - 1]) - 1] != delimiter)
            out[found++] = t_printf(t, "%.*s", (int)(cut - key + 1), key);
    }
    return found;
}

static void check(struct test *t, const char *const *keys, size_t n, const char *prefix,
                  struct store_list_opts opts)
{
    const char *expected[LEN(tree)];
    size_t n_expected = model(t, keys, n, prefix, opts.delimiter, opts.start_after, expected);
    struct result *r = t_list_all(t, prefix, &opts);
    r->what = t_printf(t, "%s, delimiter %s, start after %s, max %u", r->what,
                       opts.delimiter ? "/" : "none", t_shown(t, opts.start_after), opts.max);
    t_keys(r, expected, n_expected);
    for (size_t i = 0; i < r->n; i++) {
        const struct store_entry *e = &r->entries[i];
        bool group = opts.delimiter && strchr(e->key + strlen(prefix), '/');
        EXPECT(t, e->is_prefix == group, "%s: entry %s: expected %s", r->what, t_shown(t, e->key),
               group ? "a group" : "an object");
        EXPECT(t, e->size == (group ? 0 : strlen(e->key)), "%s: entry %s: size %llu", r->what,
               t_shown(t, e->key), (unsigned long long)e->size);
    }
}

static const char *const prefixes[] = {
    "",     "a",   "a/",    "a/b",      "a/c", "a/c/", "a-",  "b/x", "b/x/", "c ",
    "c+d/", "c%d", "c&d/<", "\xc3\xa9", "z",   "zz",   "a//", "/",   "a/b/", "A",
};

static void every_prefix_lists_what_begins_with_it(struct test *t)
{
    const char *keys[LEN(tree)];
    size_t n = put_tree(t, keys);
    for (size_t i = 0; i < LEN(prefixes); i++) {
        check(t, keys, n, prefixes[i], (struct store_list_opts){.delimiter = 0});
        check(t, keys, n, prefixes[i], (struct store_list_opts){.delimiter = '/'});
    }
}

static void every_page_size_gives_the_same(struct test *t)
{
    const char *keys[LEN(tree)];
    size_t n = put_tree(t, keys);
    for (uint32_t max = 1; max <= n + 1; max++) {
        check(t, keys, n, "", (struct store_list_opts){.max = max});
        check(t, keys, n, "", (struct store_list_opts){.max = max, .delimiter = '/'});
        if (max > 6)
            continue;
        for (size_t i = 1; i < LEN(prefixes); i++) {
            check(t, keys, n, prefixes[i], (struct store_list_opts){.max = max});
            check(t, keys, n, prefixes[i], (struct store_list_opts){.max = max, .delimiter = '/'});
        }
    }
}

static void a_listing_starts_behind_any_key(struct test *t)
{
    static const char *const between[] = {"",       "A",   "a", "a/", "a/b/",
                                          "a/c/dd", "a0/", "c", "zz", "~"};
    const char *keys[LEN(tree)];
    size_t n = put_tree(t, keys);
    for (size_t i = 0; i < n; i++)
        check(t, keys, n, "", (struct store_list_opts){.start_after = keys[i]});
    for (size_t i = 0; i < LEN(between); i++) {
        check(t, keys, n, "", (struct store_list_opts){.start_after = between[i]});
        check(t, keys, n, "", (struct store_list_opts){.start_after = between[i], .max = 2});
        check(t, keys, n, "a/", (struct store_list_opts){.start_after = between[i]});
    }
}

/* Keys are bytes; so are their beginnings. */
static void a_prefix_may_end_within_a_letter(struct test *t)
{
    const char *keys[LEN(tree)];
    t->s = t_open(t, &(struct store_conf){.op_timeout_ms = 3000});
    size_t n = put_tree(t, keys);
    check(t, keys, n, "\xc3", (struct store_list_opts){.max = 0});
    check(t, keys, n, "", (struct store_list_opts){.start_after = "\xc3"});
    check(t, keys, n, "", (struct store_list_opts){.start_after = "\xf4"});
}

/* Not inside of a group or at its name: there the protocol leaves open whether it is listed. */
static void a_grouped_listing_starts_behind_any_key(struct test *t)
{
    static const char *const starts[] = {"a!", "a.", "aa", "b", "b0", "z", "zz", "A", "Ab"};
    const char *keys[LEN(tree)];
    size_t n = put_tree(t, keys);
    for (size_t i = 0; i < LEN(starts); i++)
        for (uint32_t max = 0; max <= 3; max++)
            check(t, keys, n, "",
                  (struct store_list_opts){.start_after = starts[i], .delimiter = '/', .max = max});
}

static void a_token_counts_for_more_than_a_start(struct test *t)
{
    static const char *const keys[] = {"a", "b", "c", "d"};
    t_put_keys(t, keys, LEN(keys));
    struct result *r = t_ok(t_list(t, "", &(struct store_list_opts){.max = 2}));
    EXPECT(t, r->next_token, "%s: expected a token after 2 of 4", r->what);
    r = t_list_all(t, "", &(struct store_list_opts){.token = r->next_token, .start_after = "c"});
    t_keys(r, keys + 2, 2);
}

static void a_token_serves_more_than_once(struct test *t)
{
    static const char *const keys[] = {"a", "b", "c", "d"};
    t_put_keys(t, keys, LEN(keys));
    struct result *r = t_ok(t_list(t, "", &(struct store_list_opts){.max = 1}));
    EXPECT(t, r->next_token, "%s: expected a token after 1 of 4", r->what);
    for (int i = 0; i < 3; i++)
        t_keys(t_list_all(t, "", &(struct store_list_opts){.token = r->next_token}), keys + 1, 3);
}

/* Paging by key: what was deleted or put meanwhile moves nothing else. */
static void a_token_outlives_its_key(struct test *t)
{
    static const char *const keys[] = {"a", "b", "c", "d"}, *const rest[] = {"c", "d"};
    t_put_keys(t, keys, LEN(keys));
    struct result *r = t_ok(t_list(t, "", &(struct store_list_opts){.max = 2}));
    t_ok(t_delete_many(t, keys, 2));
    t_put_text(t, "0", "x");
    t_keys(t_list_all(t, "", &(struct store_list_opts){.token = r->next_token}), rest, LEN(rest));
}

static void an_empty_listing_is_one_empty_page(struct test *t)
{
    static const char *const missing[] = {"", "a", "a/", "a/b/c"};
    for (size_t i = 0; i < LEN(missing); i++) {
        struct result *r = t_ok(t_list(t, missing[i], NULL));
        EXPECT(t, r->n == 0 && !r->next_token && r->n_page == 1,
               "%s: expected one empty page and no token", r->what);
        EXPECT(t, r->server_time_s > 0, "%s: expected the backend's clock", r->what);
    }
}

static void a_prefix_may_be_a_key(struct test *t)
{
    static const char *const keys[] = {"p", "p-", "p/x", "pq"}, *const groups[] = {"p", "p-", "p/",
                                                                                   "pq"};
    t_put_keys(t, keys, LEN(keys));
    t_has_keys(t, "p", keys, LEN(keys));
    t_has_keys(t, "p/", keys + 2, 1);
    t_has_keys(t, "p/x", keys + 2, 1);
    t_keys(t_list_all(t, "p", &(struct store_list_opts){.delimiter = '/'}), groups, LEN(groups));
}

static void groups_disappear_with_their_last_key(struct test *t)
{
    static const char *const keys[] = {"g/a", "g/b"}, *const group[] = {"g/"};
    const struct store_list_opts grouped = {.delimiter = '/'};
    t_put_keys(t, keys, LEN(keys));
    t_keys(t_list_all(t, "", &grouped), group, 1);
    t_ok(t_delete(t, "g/a"));
    t_keys(t_list_all(t, "", &grouped), group, 1);
    t_ok(t_delete(t, "g/b"));
    t_keys(t_list_all(t, "", &grouped), NULL, 0);
}

static void many_groups_are_paged(struct test *t)
{
    enum { GROUPS = 40, EACH = 3 };
    const char *keys[GROUPS * EACH], *groups[GROUPS];
    for (size_t i = 0; i < GROUPS; i++) {
        groups[i] = t_printf(t, "g%02zu/", i);
        for (size_t k = 0; k < EACH; k++)
            keys[i * EACH + k] = t_printf(t, "%s%zu", groups[i], k);
    }
    t_put_keys(t, keys, LEN(keys));
    for (uint32_t max = 1; max < 50; max += 7)
        t_keys(t_list_all(t, "", &(struct store_list_opts){.delimiter = '/', .max = max}), groups,
               GROUPS);
}

static void more_than_a_thousand_keys_are_paged(struct test *t)
{
    enum { KEYS = 1100 };
    const char *const *keys = t_numbered(t, "n/", KEYS, 0);
    t_put_keys(t, keys, KEYS);
    struct result *first = t_ok(t_list(t, "n/", NULL));
    EXPECT(t, first->n <= STORE_MAX_BATCH && first->next_token,
           "%s: expected at most 1000 entries and a token, came %zu", first->what, first->n);
    t_has_keys(t, "n/", keys, KEYS);
    t_keys(t_list_all(t, "n/", &(struct store_list_opts){.max = 333}), keys, KEYS);
}

static void entries_tell_size_time_and_no_version(struct test *t)
{
    int64_t now_s = t_put_text(t, "k", "12345")->info.server_time_s;
    struct result *r = t_ok(t_list(t, "", NULL));
    EXPECT(t, r->n == 1, "%s: expected one entry, came %zu", r->what, r->n);
    const struct store_entry *e = &r->entries[0];
    EXPECT(t, e->size == 5, "%s: expected 5 bytes, came %llu", r->what,
           (unsigned long long)e->size);
    EXPECT(t, llabs(e->modified_s - now_s) <= 2, "%s: expected a time near %lld, came %lld",
           r->what, (long long)now_s, (long long)e->modified_s);
    EXPECT(t, !e->version[0] && !e->is_prefix && !e->is_marker,
           "%s: expected neither version nor group nor marker", r->what);
}

static const struct test_case cases[] = {
    CASE(every_prefix_lists_what_begins_with_it),  CASE(every_page_size_gives_the_same),
    CASE(a_listing_starts_behind_any_key),         CASE(a_prefix_may_end_within_a_letter),
    CASE(a_grouped_listing_starts_behind_any_key), CASE(a_token_counts_for_more_than_a_start),
    CASE(a_token_serves_more_than_once),           CASE(a_token_outlives_its_key),
    CASE(an_empty_listing_is_one_empty_page),      CASE(a_prefix_may_be_a_key),
    CASE(groups_disappear_with_their_last_key),    CASE(many_groups_are_paged),
    CASE(more_than_a_thousand_keys_are_paged),     CASE(entries_tell_size_time_and_no_version),
};
const struct test_group list_group = {"list", cases, LEN(cases)};
