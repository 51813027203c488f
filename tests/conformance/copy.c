/* Copies on the backend's side. */
#include "tests/conformance/conformance.h"

static void a_copy_has_the_bytes_type_and_metadata(struct test *t)
{
    static const struct store_meta meta[] = {{"a", "1"}, {"b-c", "2 3"}};
    static const struct store_put_opts opts = {
        .content_type = "text/x", .meta = meta, .n_meta = LEN(meta)};
    t_ok(t_put(t, "from", t_pattern(t, 100000), 100000, &opts));
    struct result *copy = t_ok(t_copy(t, "from", "to/there", NULL));
    struct result *r = t_ok(t_get(t, "to/there", NULL));
    t_is_pattern(r, 0, 100000);
    EXPECT(t, copy->info.etag[0] && strcmp(copy->info.etag, r->head.etag) == 0,
           "%s: expected the ETag '%s', came '%s'", copy->what, r->head.etag, copy->info.etag);
    EXPECT(t, copy->info.size == 100000, "%s: expected to be told 100000 bytes, came %llu",
           copy->what, (unsigned long long)copy->info.size);
    EXPECT(t, copy->info.server_time_s > 0, "%s: expected the backend's clock", copy->what);
    EXPECT(t, strcmp(r->head.content_type, "text/x") == 0, "%s: expected text/x, came '%s'",
           r->what, r->head.content_type);
    EXPECT(t, r->head.n_meta == 2, "%s: expected 2 pairs of metadata, came %zu", r->what,
           r->head.n_meta);
    for (size_t i = 0; i < r->head.n_meta; i++)
        EXPECT(t, strcmp(r->head.meta[i].value, r->head.meta[i].name[0] == 'a' ? "1" : "2 3") == 0,
               "%s: metadata '%s' has the value '%s'", r->what, r->head.meta[i].name,
               r->head.meta[i].value);
    t_is_pattern(t_ok(t_get(t, "from", NULL)), 0, 100000);
}

static void a_copy_keeps_the_checksum(struct test *t)
{
    t_ok(t_put(t, "from", "123456789", 9, NULL));
    t_ok(t_copy(t, "from", "to", NULL));
    const char *checksum = t_ok(t_head(t, "to"))->info.checksum;
    EXPECT(t, strcmp(checksum, "crc32c:e3069283") == 0, "expected crc32c:e3069283, came '%s'",
           checksum);
    t_holds_text(t, "to", "123456789");
}

static void a_copy_replaces_its_target(struct test *t)
{
    t_put_text(t, "from", "new");
    t_ok(t_put(t, "to", "a long old object", 17,
               &(struct store_put_opts){.content_type = "text/x"}));
    t_ok(t_copy(t, "from", "to", NULL));
    t_holds_text(t, "to", "new");
    EXPECT(t, strcmp(t_head(t, "to")->info.content_type, "application/octet-stream") == 0,
           "expected the type of the source");
}

static void a_copy_lives_on_without_its_source(struct test *t)
{
    t_put_text(t, "from", "x");
    t_ok(t_copy(t, "from", "to", NULL));
    t_put_text(t, "from", "changed");
    t_holds_text(t, "to", "x");
    t_ok(t_delete(t, "from"));
    t_holds_text(t, "to", "x");
}

static void an_empty_object_is_copied(struct test *t)
{
    t_put_text(t, "from", "");
    t_ok(t_copy(t, "from", "to", NULL));
    t_holds_text(t, "to", "");
}

static void odd_keys_are_copied(struct test *t)
{
    static const char *const keys[] = {
        "a b", "a+b", "a%b", "a%2Fb", "\xc3\xa9", "a?b", "a&b", "a\\b", "\xf0\x9f\x98\x80",
        "~",   "a#b"};
    for (size_t i = 0; i < LEN(keys); i++) {
        const char *to = t_printf(t, "to/%s", keys[i]), *back = t_printf(t, "back/%s", keys[i]);
        t_put_text(t, keys[i], keys[i]);
        t_ok(t_copy(t, keys[i], to, NULL));
        t_ok(t_copy(t, to, back, NULL));
        t_holds_text(t, back, keys[i]);
    }
}

static void a_missing_source_is_not_found(struct test *t)
{
    t_code(t_copy(t, "from", "to", NULL), STORE_NOT_FOUND);
    t_absent(t, "to");
    t_put_text(t, "to", "old");
    t_code(t_copy(t, "from", "to", NULL), STORE_NOT_FOUND);
    t_holds_text(t, "to", "old");
}

static void a_copy_keeps_its_condition(struct test *t)
{
    const char *etag = t_put_text(t, "from", "x")->info.etag;
    const struct store_copy_opts right = {.if_match = etag},
                                 wrong = {.if_match = "0123456789abcdef0123456789abcdef"};
    t_code(t_copy(t, "from", "to", &wrong), STORE_PRECONDITION);
    t_absent(t, "to");
    t_ok(t_copy(t, "from", "to", &right));
    t_holds_text(t, "to", "x");
}

static void a_large_object_is_copied(struct test *t)
{
    enum { SIZE = 2 * PART + 321 };
    static const struct store_meta meta = {"a", "b"};
    t->s = t_open(t, &(struct store_conf){.multipart_bytes = PART, .part_bytes = PART});
    t_ok(t_stream(t, "from", SIZE, &(struct source){.size = SIZE},
                  &(struct store_put_opts){.meta = &meta, .n_meta = 1}));
    t_ok(t_copy(t, "from", "to", NULL));
    struct result *r = t_ok(t_get(t, "to", NULL));
    t_is_pattern(r, 0, SIZE);
    EXPECT(t, r->head.n_meta == 1, "%s: expected the metadata of the source", r->what);
}

static const struct test_case cases[] = {
    CASE(a_copy_has_the_bytes_type_and_metadata),
    CASE(a_copy_keeps_the_checksum),
    CASE(a_copy_replaces_its_target),
    CASE(a_copy_lives_on_without_its_source),
    CASE(an_empty_object_is_copied),
    CASE(odd_keys_are_copied),
    CASE(a_missing_source_is_not_found),
    CASE(a_copy_keeps_its_condition),
    CASE(a_large_object_is_copied),
};
const struct test_group copy_group = {"copy", cases, LEN(cases)};
