/* Versions: of a bucket that keeps them, and what a version listing tells where none are kept. */
#include "tests/conformance/conformance.h"

static const struct store_list_opts versions = {.kind = STORE_LIST_VERSIONS};

static void needs_versions(struct test *t)
{
    if (!t->keeps_versions)
        t_skip(t, "this store keeps no versions");
}

/* Three versions and a marker of "k". ids: the versions', oldest first. */
static void make_history(struct test *t, const char **ids)
{
    static const char *const texts[] = {"1", "22", "333"};
    for (size_t i = 0; i < 3; i++)
        ids[i] = t_put_text(t, "k", texts[i])->info.version;
    t_ok(t_delete(t, "k"));
}

static void each_put_makes_a_version(struct test *t)
{
    const char *ids[3];
    needs_versions(t);
    make_history(t, ids);
    for (size_t i = 0; i < 3; i++)
        EXPECT(t, ids[i][0] && strcmp(ids[i], ids[(i + 1) % 3]) != 0,
               "expected three version ids, came '%s', '%s' and '%s'", ids[0], ids[1], ids[2]);
    const char *id = t_put_text(t, "k", "x")->info.version;
    EXPECT(t, strcmp(t_ok(t_head(t, "k"))->info.version, id) == 0,
           "head: expected version '%s', came '%s'", id, t_head(t, "k")->info.version);
    EXPECT(t, strcmp(t_ok(t_get(t, "k", NULL))->head.version, id) == 0,
           "get: expected version '%s'", id);
}

static void check_history(struct result *r, const char *const *ids)
{
    struct test *t = r->t;
    EXPECT(t, r->n == 4, "%s: expected 4 entries, came %zu", r->what, r->n);
    EXPECT(t, r->entries[0].is_marker && r->entries[0].is_latest && r->entries[0].version[0],
           "%s: expected the delete marker first and latest", r->what);
    for (size_t i = 1; i < 4; i++) {
        const struct store_entry *e = &r->entries[i];
        EXPECT(t,
               strcmp(e->version, ids[3 - i]) == 0 && e->size == 4 - i && !e->is_latest &&
                   !e->is_marker && strcmp(e->key, "k") == 0,
               "%s: entry %zu: expected version '%s' of %zu bytes, came '%s' of %llu", r->what, i,
               ids[3 - i], 4 - i, e->version, (unsigned long long)e->size);
    }
}

static void versions_are_listed_newest_first(struct test *t)
{
    const char *ids[3];
    needs_versions(t);
    make_history(t, ids);
    check_history(t_list_all(t, "", &versions), ids);
    t_empty(t, "");
    t_absent(t, "k");
}

static void versions_of_a_key_may_span_pages(struct test *t)
{
    const char *ids[3];
    needs_versions(t);
    make_history(t, ids);
    for (uint32_t max = 1; max <= 4; max++)
        check_history(
            t_list_all(t, "", &(struct store_list_opts){.kind = STORE_LIST_VERSIONS, .max = max}),
            ids);
}

static void versions_of_many_keys_are_paged(struct test *t)
{
    enum { KEYS = 30 };
    const char *const *keys = t_numbered(t, "k", KEYS, 0);
    needs_versions(t);
    for (int round = 0; round < 3; round++)
        t_put_keys(t, keys, KEYS);
    t_ok(t_delete_many(t, keys, KEYS));
    for (uint32_t max = 1; max < 130; max += 16) {
        struct result *r =
            t_list_all(t, "", &(struct store_list_opts){.kind = STORE_LIST_VERSIONS, .max = max});
        EXPECT(t, r->n == 4 * KEYS, "%s: expected %d entries with pages of %u, came %zu", r->what,
               4 * KEYS, max, r->n);
        for (size_t i = 0; i < r->n; i++)
            EXPECT(t,
                   strcmp(r->entries[i].key, keys[i / 4]) == 0 &&
                       r->entries[i].is_marker == (i % 4 == 0),
                   "%s: entry %zu with pages of %u is out of place", r->what, i, max);
    }
}

static void versions_start_behind_a_key(struct test *t)
{
    static const char *const keys[] = {"a", "b", "c"};
    needs_versions(t);
    t_put_keys(t, keys, LEN(keys));
    t_put_keys(t, keys, LEN(keys));
    const struct store_list_opts behind = {.kind = STORE_LIST_VERSIONS, .start_after = "b"};
    struct result *r = t_list_all(t, "", &behind);
    EXPECT(t, r->n == 2 && strcmp(r->entries[0].key, "c") == 0,
           "%s: expected the 2 versions of 'c' behind 'b', came %zu entries", r->what, r->n);
}

static void a_listed_version_is_removed_alone(struct test *t)
{
    const char *ids[3];
    needs_versions(t);
    make_history(t, ids);
    struct result *r = t_list_all(t, "", &versions);
    check_history(r, ids);
    t_ok(t_delete_listed(t, STORE_LIST_VERSIONS, &r->entries[0], 1));
    t_holds_text(t, "k", "333");
    t_ok(t_delete_listed(t, STORE_LIST_VERSIONS, &r->entries[1], 1));
    t_holds_text(t, "k", "22");
    t_ok(t_delete_listed(t, STORE_LIST_VERSIONS, &r->entries[3], 1));
    t_holds_text(t, "k", "22");
    t_ok(t_delete_listed(t, STORE_LIST_VERSIONS, &r->entries[2], 1));
    t_absent(t, "k");
    EXPECT(t, t_list_all(t, "", &versions)->n == 0, "expected no version to be left");
}

static void all_listed_versions_are_removed_at_once(struct test *t)
{
    const char *const *keys = t_numbered(t, "k &+%/", 100, 0);
    needs_versions(t);
    t_put_keys(t, keys, 100);
    t_put_keys(t, keys, 100);
    t_ok(t_delete_many(t, keys, 50));
    struct result *r = t_list_all(t, "", &versions);
    EXPECT(t, r->n == 250, "%s: expected 250 entries, came %zu", r->what, r->n);
    t_ok(t_delete_listed(t, STORE_LIST_VERSIONS, r->entries, r->n));
    EXPECT(t, t_list_all(t, "", &versions)->n == 0, "expected no version to be left");
}

static void deleting_a_prefix_leaves_versions_unless_asked(struct test *t)
{
    static const char *const keys[] = {"p/1", "p/2", "p/x/3"};
    needs_versions(t);
    t_put_keys(t, keys, LEN(keys));
    t_put_keys(t, keys, LEN(keys));
    t_put_text(t, "p-x/k", "x");
    struct result *r = t_ok(t_purge(t, "p/", NULL));
    EXPECT(t, r->progress.objects == 3, "%s: expected 3 objects, came %llu", r->what,
           (unsigned long long)r->progress.objects);
    t_empty(t, "p/");
    EXPECT(t, t_list_all(t, "p/", &versions)->n == 9, "expected 6 versions and 3 markers to stay");
    const struct store_delete_prefix_opts dry = {.versions = true, .dry_run = true},
                                          all = {.versions = true};
    r = t_ok(t_purge(t, "p/", &dry));
    EXPECT(t, r->progress.objects == 9, "%s: expected to find 9, came %llu", r->what,
           (unsigned long long)r->progress.objects);
    r = t_ok(t_purge(t, "p/", &all));
    EXPECT(t, r->progress.objects == 9, "%s: expected to remove 9, came %llu", r->what,
           (unsigned long long)r->progress.objects);
    EXPECT(t, t_list_all(t, "p/", &versions)->n == 0, "expected no version to be left");
    t_holds_text(t, "p-x/k", "x");
}

static void more_versions_than_a_batch_are_removed(struct test *t)
{
    enum { KEYS = 450 };
    const char *const *keys = t_numbered(t, "p/", KEYS, 3);
    const struct store_delete_prefix_opts all = {.versions = true};
    needs_versions(t);
    for (int round = 0; round < 3; round++)
        t_put_keys(t, keys, KEYS);
    struct result *r = t_ok(t_purge(t, "p/", &all));
    EXPECT(t, r->progress.objects == 3 * KEYS, "%s: expected to remove %d, came %llu", r->what,
           3 * KEYS, (unsigned long long)r->progress.objects);
    EXPECT(t, t_list_all(t, "p/", &versions)->n == 0, "expected no version to be left");
}

/* ---- Where none are kept ---- */

static void without_versions_their_listing_tells_the_objects(struct test *t)
{
    static const char *const keys[] = {"a", "b/c", "b/d"};
    if (t->keeps_versions)
        t_skip(t, "this store keeps versions");
    EXPECT(t, !t_put_text(t, "a", "first")->info.version[0], "expected no version id");
    t_put_keys(t, keys, LEN(keys));
    struct result *r = t_list_all(t, "", &versions);
    t_keys(r, keys, LEN(keys));
    for (size_t i = 0; i < LEN(keys); i++)
        EXPECT(t,
               r->entries[i].is_latest && !r->entries[i].is_marker &&
                   r->entries[i].size == strlen(keys[i]),
               "%s: entry %zu: expected the latest and its size", r->what, i);
    t_keys(t_list_all(t, "b/", &(struct store_list_opts){.kind = STORE_LIST_VERSIONS, .max = 1}),
           keys + 1, 2);
    t_ok(t_delete_listed(t, STORE_LIST_VERSIONS, r->entries, 2));
    t_has_keys(t, "", keys + 2, 1);
}

static void without_versions_asking_for_them_removes_objects(struct test *t)
{
    static const char *const keys[] = {"p/a", "p/b/c", "q"};
    const struct store_delete_prefix_opts all = {.versions = true};
    if (t->keeps_versions)
        t_skip(t, "this store keeps versions");
    t_put_keys(t, keys, LEN(keys));
    struct result *r = t_ok(t_purge(t, "p/", &all));
    EXPECT(t, r->progress.objects == 2, "%s: expected 2 objects, came %llu", r->what,
           (unsigned long long)r->progress.objects);
    t_has_keys(t, "", keys + 2, 1);
}

static const struct test_case cases[] = {
    CASE(each_put_makes_a_version),
    CASE(versions_are_listed_newest_first),
    CASE(versions_of_a_key_may_span_pages),
    CASE(versions_of_many_keys_are_paged),
    CASE(versions_start_behind_a_key),
    CASE(a_listed_version_is_removed_alone),
    CASE(all_listed_versions_are_removed_at_once),
    CASE(deleting_a_prefix_leaves_versions_unless_asked),
    CASE(more_versions_than_a_batch_are_removed),
    CASE(without_versions_their_listing_tells_the_objects),
    CASE(without_versions_asking_for_them_removes_objects),
};
const struct test_group version_group = {"versions", cases, LEN(cases)};
