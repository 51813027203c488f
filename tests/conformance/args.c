/* What is refused at once: bad keys, bad options, bad URLs. */
#include "tests/conformance/conformance.h"

static const char *const bad_keys[] = {
    "",     "/",   "/a",    "a/",   "a//b",   "a/b//",     ".",      "..",
    "./a",  "../", "../a",  "a/.",  "a/..",   "a/./b",     "a/../b", "../../etc/passwd",
    "a/b/", "//",  "a/b/.", "./..", "a/b/..", "a/../../b",
};

static char *long_key(struct test *t, size_t n)
{
    char *key = t_alloc(t, n + 1);
    memset(key, 'k', n);
    return key;
}

static struct result *get_refused(struct test *t, const char *key)
{
    return t_refused(t_get_start(t, key, NULL));
}

static void refuse_key(struct test *t, const char *key)
{
    const char *batch[] = {"good", key};
    struct source source = {.size = 1};
    get_refused(t, key);
    t_refused(t_head_start(t, key, 0));
    t_refused(t_put_start(t, key, "x", 1, NULL));
    t_refused(t_stream_start(t, key, 1, &source, NULL));
    t_refused(t_stream_start(t, key, STORE_SIZE_UNKNOWN, &source, NULL));
    t_refused(t_copy(t, key, "good", NULL));
    t_refused(t_copy(t, "good", key, NULL));
    t_refused(t_delete(t, key));
    t_refused(t_delete_many(t, batch, LEN(batch)));
}

static void a_key_against_the_rules_is_refused_without_a_request(struct test *t)
{
    struct store_stats before, after;
    store_stats(t->root, &before);
    for (size_t i = 0; i < LEN(bad_keys); i++)
        refuse_key(t, bad_keys[i]);
    refuse_key(t, long_key(t, store_max_key(t->s) + 1));
    refuse_key(t, long_key(t, STORE_MAX_KEY + 1));
    refuse_key(t, long_key(t, 100000));
    store_stats(t->root, &after);
    EXPECT(t, before.requests == after.requests, "expected no request, came %llu",
           (unsigned long long)(after.requests - before.requests));
}

static void a_refused_batch_removes_nothing(struct test *t)
{
    const char *batch[] = {"good", "a//b"};
    t_put_text(t, "good", "x");
    t_refused(t_delete_many(t, batch, LEN(batch)));
    t_holds_text(t, "good", "x");
}

static void key_problems_are_told(struct test *t)
{
    static const char *const good[] = {"a",   "a/b", ".a",    "..a", "a.",   "a..",  "...", "a/...",
                                       "a b", " ",   "a/ /b", "%2e", "\x01", "\xff", "\\",  "a/.b"};
    for (size_t i = 0; i < LEN(bad_keys); i++)
        EXPECT(t, store_key_problem(bad_keys[i]), "key %s: expected a problem, came none",
               t_shown(t, bad_keys[i]));
    for (size_t i = 0; i < LEN(good); i++)
        EXPECT(t, !store_key_problem(good[i]), "key %s: expected no problem, came '%s'",
               t_shown(t, good[i]), store_key_problem(good[i]));
    EXPECT(t, !store_key_problem(long_key(t, STORE_MAX_KEY)), "expected 1024 bytes to be a key");
    EXPECT(t, store_key_problem(long_key(t, STORE_MAX_KEY + 1)), "expected 1025 bytes to be none");
}

static void refuse_meta(struct test *t, const struct store_meta *meta, size_t n)
{
    t_refused(t_put_start(t, "k", "x", 1, &(struct store_put_opts){.meta = meta, .n_meta = n}));
}

static void metadata_against_the_rules_is_refused(struct test *t)
{
    static const struct store_meta bad[] = {
        {"", "v"},     {"Upper", "v"},   {"under_score", "v"}, {"space d", "v"},
        {"dot.", "v"}, {"store-x", "v"}, {"caf\xc3\xa9", "v"}, {"a", "line\nbreak"},
        {"a", "\r"},   {"a", "\x7f"},    {"a", "\x01"},        {"a", "caf\xc3\xa9"},
    };
    struct store_meta many[STORE_MAX_META + 1];
    for (size_t i = 0; i < LEN(bad); i++)
        refuse_meta(t, &bad[i], 1);
    for (size_t i = 0; i < LEN(many); i++)
        many[i] = (struct store_meta){t_printf(t, "n%zu", i), "v"};
    refuse_meta(t, many, LEN(many));
    const struct store_meta large = {"n", long_key(t, STORE_MAX_META_BYTES)};
    refuse_meta(t, &large, 1);
    t_absent(t, "k");
}

static void a_content_type_that_is_no_header_is_refused(struct test *t)
{
    t_refused(t_put_start(t, "k", "x", 1,
                          &(struct store_put_opts){.content_type = "text/plain\r\nx-a: b"}));
    t_absent(t, "k");
}

static void create_and_replace_exclude_each_other(struct test *t)
{
    t_refused(t_put_start(t, "k", "x", 1,
                          &(struct store_put_opts){.if_absent = true, .if_match = "abc"}));
    t_absent(t, "k");
}

static void a_listing_with_another_delimiter_is_refused(struct test *t)
{
    t_refused(t_list_start(t, "", &(struct store_list_opts){.delimiter = '-'}));
    t_refused(t_list_start(t, "", &(struct store_list_opts){.delimiter = 'a'}));
}

static void a_batch_of_more_than_1000_is_refused(struct test *t)
{
    const char *const *keys = t_numbered(t, "k", STORE_MAX_BATCH + 1, 0);
    t_put_text(t, keys[0], "x");
    t_refused(t_delete_many(t, keys, STORE_MAX_BATCH + 1));
    t_holds_text(t, keys[0], "x");
}

static void a_listed_group_is_not_deleted(struct test *t)
{
    const struct store_entry group = {.key = "a/", .is_prefix = true, .etag = "", .version = ""};
    t_put_text(t, "a/b", "x");
    t_refused(t_delete_listed(t, STORE_LIST_OBJECTS, &group, 1));
    t_holds_text(t, "a/b", "x");
}

/* All are dry runs: a store that takes "" must not lose everything by it. */
static void a_prefix_to_delete_ends_in_a_slash(struct test *t)
{
    const struct store_delete_prefix_opts dry = {.dry_run = true};
    t_refused(t_purge_start(t, "a", &dry, 0));
    t_refused(t_purge_start(t, "a/b", &dry, 0));
    t->s = t->root;
    t_refused(t_purge_start(t, "", &dry, 0));
}

static void a_narrow_prefix_follows_the_rules_for_keys(struct test *t)
{
    static const char *const bad[] = {"",    "a",  "a/b", "/",     "/a/",
                                      "a//", "./", "../", "a/../", "//"};
    for (size_t i = 0; i < LEN(bad); i++) {
        struct store_err err = {0};
        store *part = NULL;
        int rc = store_narrow(t->s, bad[i], &part, &err);
        if (rc == 0)
            store_close(part);
        EXPECT(t, rc == -1 && err.code == STORE_INVALID,
               "narrowing to %s: expected to be refused as invalid, came %s", t_shown(t, bad[i]),
               store_code_name(err.code));
    }
}

static void a_url_that_names_no_store_is_refused(struct test *t)
{
    static const char *const bad[] = {"",       "s3",         "s3://",        "file://",
                                      "/tmp/x", "gopher://a", "file://tmp/x", "s3:bucket"};
    for (size_t i = 0; i < LEN(bad); i++) {
        struct store_err err = {0};
        store *s = NULL;
        int rc = store_open(bad[i], NULL, &s, &err);
        if (rc == 0)
            store_close(s);
        EXPECT(t, rc == -1 && err.code == STORE_INVALID && err.msg[0],
               "opening '%s': expected to be refused as invalid, came %s", bad[i],
               store_code_name(err.code));
    }
}

static void a_store_tells_its_url_and_its_longest_key(struct test *t)
{
    size_t whole = store_max_key(t->root), part = store_max_key(t->s);
    EXPECT(t, strcmp(store_url(t->root), t->url) == 0, "expected the URL '%s', came '%s'", t->url,
           store_url(t->root));
    EXPECT(t, whole <= STORE_MAX_KEY && whole > 0, "expected room for 1 to 1024 bytes, came %zu",
           whole);
    EXPECT(t, part == whole - strlen(t->prefix), "expected room for %zu bytes, came %zu",
           whole - strlen(t->prefix), part);
}

static void part_sizes_below_5_mib_are_refused(struct test *t)
{
    struct store_err err = {0};
    store *s = NULL;
    if (!t->is_s3)
        t_skip(t, "parts are S3's");
    int rc = store_open(t->url, &(struct store_conf){.part_bytes = PART - 1}, &s, &err);
    if (rc == 0)
        store_close(s);
    EXPECT(t, rc == -1 && err.code == STORE_INVALID,
           "opening with parts of 5 MiB - 1: expected to be refused as invalid, came %s",
           store_code_name(err.code));
}

static const struct test_case cases[] = {
    CASE(a_key_against_the_rules_is_refused_without_a_request),
    CASE(a_refused_batch_removes_nothing),
    CASE(key_problems_are_told),
    CASE(metadata_against_the_rules_is_refused),
    CASE(a_content_type_that_is_no_header_is_refused),
    CASE(create_and_replace_exclude_each_other),
    CASE(a_listing_with_another_delimiter_is_refused),
    CASE(a_batch_of_more_than_1000_is_refused),
    CASE(a_listed_group_is_not_deleted),
    CASE(a_prefix_to_delete_ends_in_a_slash),
    CASE(a_narrow_prefix_follows_the_rules_for_keys),
    CASE(a_url_that_names_no_store_is_refused),
    CASE(a_store_tells_its_url_and_its_longest_key),
    CASE(part_sizes_below_5_mib_are_refused),
};
const struct test_group args_group = {"args", cases, LEN(cases)};
