/* Content type and user metadata. */
#include "tests/conformance/conformance.h"

static const char *value_of(const struct store_info *info, const char *name)
{
    for (size_t i = 0; i < info->n_meta; i++)
        if (strcmp(info->meta[i].name, name) == 0)
            return info->meta[i].value;
    return NULL;
}

static void check_meta(struct result *r, const struct store_info *info,
                       const struct store_meta *meta, size_t n)
{
    EXPECT(r->t, info->n_meta == n, "%s: expected %zu pairs of metadata, came %zu", r->what, n,
           info->n_meta);
    for (size_t i = 0; i < n; i++) {
        const char *came = value_of(info, meta[i].name);
        EXPECT(r->t, came && strcmp(came, meta[i].value) == 0,
               "%s: metadata '%s': expected %s, came %s", r->what, meta[i].name,
               t_shown(r->t, meta[i].value), came ? t_shown(r->t, came) : "none");
    }
}

static void round_trip(struct test *t, const struct store_meta *meta, size_t n)
{
    t_ok(t_put(t, "k", "x", 1, &(struct store_put_opts){.meta = meta, .n_meta = n}));
    struct result *head = t_ok(t_head(t, "k")), *get = t_ok(t_get(t, "k", NULL));
    check_meta(head, &head->info, meta, n);
    check_meta(get, &get->head, meta, n);
}

static void metadata_comes_back(struct test *t)
{
    static const struct store_meta meta[] = {
        {"a", "1"}, {"a-b", "2"}, {"a1", "3"}, {"0", "4"}, {"long-name-with-9-digits", "a  b"}};
    round_trip(t, meta, LEN(meta));
    round_trip(t, meta, 1);
    round_trip(t, NULL, 0);
}

/* In the middle: HTTP does not keep white space at the ends of a value (RFC 9110, 5.5). */
static void all_printable_characters_come_back(struct test *t)
{
    char value[0x7f - 0x20 + 2];
    size_t n = 0;
    value[n++] = '<';
    for (int c = 0x20; c < 0x7f; c++)
        value[n++] = (char)c;
    value[n] = '\0';
    const struct store_meta meta[] = {{"all", value}, {"quoted", "\"a, b\"; c=d"}};
    round_trip(t, meta, LEN(meta));
}

static void a_value_may_be_empty(struct test *t)
{
    static const struct store_meta meta[] = {{"a", ""}, {"b", "x"}};
    round_trip(t, meta, LEN(meta));
}

static void sixteen_pairs_come_back(struct test *t)
{
    struct store_meta meta[STORE_MAX_META];
    for (size_t i = 0; i < LEN(meta); i++)
        meta[i] = (struct store_meta){t_printf(t, "name-%zu", i), t_printf(t, "value %zu", i)};
    round_trip(t, meta, LEN(meta));
}

static void as_much_metadata_as_allowed_comes_back(struct test *t)
{
    char *value = t_alloc(t, STORE_MAX_META_BYTES);
    memset(value, 'v', STORE_MAX_META_BYTES - 1);
    round_trip(t, &(struct store_meta){"n", value}, 1);
}

static void a_put_replaces_metadata_and_type(struct test *t)
{
    static const struct store_meta first[] = {{"a", "1"}, {"b", "2"}}, second[] = {{"c", "3"}};
    t_ok(t_put(t, "k", "x", 1,
               &(struct store_put_opts){.meta = first, .n_meta = 2, .content_type = "text/x"}));
    round_trip(t, second, LEN(second));
    struct result *r = t_ok(t_head(t, "k"));
    EXPECT(t, strcmp(r->info.content_type, "application/octet-stream") == 0,
           "%s: expected the default type, came '%s'", r->what, r->info.content_type);
}

static void the_content_type_comes_back(struct test *t)
{
    static const char *const types[] = {"text/plain", "text/plain; charset=utf-8",
                                        "application/vnd.x+json; a=\"b c\"", "image/svg+xml"};
    for (size_t i = 0; i < LEN(types); i++) {
        t_ok(t_put(t, "k", "x", 1, &(struct store_put_opts){.content_type = types[i]}));
        struct result *head = t_ok(t_head(t, "k")), *get = t_ok(t_get(t, "k", NULL));
        EXPECT(t,
               strcmp(head->info.content_type, types[i]) == 0 &&
                   strcmp(get->head.content_type, types[i]) == 0,
               "expected the type '%s', came '%s' and '%s'", types[i], head->info.content_type,
               get->head.content_type);
    }
}

static void without_a_type_it_is_octet_stream(struct test *t)
{
    t_put_text(t, "k.html", "x");
    struct result *r = t_ok(t_head(t, "k.html"));
    EXPECT(t, strcmp(r->info.content_type, "application/octet-stream") == 0,
           "%s: expected application/octet-stream, came '%s'", r->what, r->info.content_type);
}

static const struct test_case cases[] = {
    CASE(metadata_comes_back),
    CASE(all_printable_characters_come_back),
    CASE(a_value_may_be_empty),
    CASE(sixteen_pairs_come_back),
    CASE(as_much_metadata_as_allowed_comes_back),
    CASE(a_put_replaces_metadata_and_type),
    CASE(the_content_type_comes_back),
    CASE(without_a_type_it_is_octet_stream),
};
const struct test_group meta_group = {"meta", cases, LEN(cases)};
