/* Puts from memory. */
#include "tests/conformance/conformance.h"

#include <stdlib.h>
#include <time.h>

enum { CLOCKS_APART_S = 900 }; /* S3 itself allows no more between client and server */

static void objects_of_all_sizes_come_back(struct test *t)
{
    static const size_t sizes[] = {0,     1,     2,     4095,    4096, 4097,
                                   65535, 65536, 65537, MIB - 1, MIB,  MIB + 1};
    for (size_t i = 0; i < LEN(sizes); i++) {
        void *bytes = t_pattern(t, sizes[i]);
        struct result *put = t_ok(t_put(t, "k", bytes, sizes[i], NULL));
        EXPECT(t, put->info.size == sizes[i], "%s: expected info of %zu bytes, came %llu",
               put->what, sizes[i], (unsigned long long)put->info.size);
        t_holds(t, "k", bytes, sizes[i]);
        EXPECT(t, t_head(t, "k")->info.size == sizes[i], "head: expected %zu bytes", sizes[i]);
    }
}

static void all_byte_values_come_back(struct test *t)
{
    unsigned char bytes[256];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)i;
    t_ok(t_put(t, "k", bytes, sizeof(bytes), NULL));
    t_holds(t, "k", bytes, sizeof(bytes));
}

static void no_bytes_may_be_a_null_pointer(struct test *t)
{
    t_ok(t_put(t, "k", NULL, 0, NULL));
    t_holds_text(t, "k", "");
}

static void a_put_replaces_the_whole_object(struct test *t)
{
    t_put_text(t, "k", "a long first object");
    t_put_text(t, "k", "short");
    t_holds_text(t, "k", "short");
    t_put_text(t, "k", "");
    t_holds_text(t, "k", "");
}

static void the_bytes_are_copied_before_the_call_returns(struct test *t)
{
    enum { SIZE = 300000 };
    char *bytes = t_pattern(t, SIZE), key[] = "first", type[] = "text/first";
    struct result *put =
        t_put_start(t, key, bytes, SIZE, &(struct store_put_opts){.content_type = type});
    memset(bytes, 0, SIZE);
    memcpy(key, "other", sizeof(key));
    memcpy(type, "text/other", sizeof(type));
    t_ok(t_wait(put));
    t_holds(t, "first", t_pattern(t, SIZE), SIZE);
    EXPECT(t, strcmp(t_head(t, "first")->info.content_type, "text/first") == 0,
           "expected the content type of the call");
    t_absent(t, "other");
}

static void put_head_and_listing_tell_the_same_etag(struct test *t)
{
    struct result *put = t_put_text(t, "k", "x");
    const char *etag = put->info.etag;
    EXPECT(t, etag[0] && strlen(etag) < STORE_ETAG_SIZE && !strchr(etag, '"'),
           "expected an ETag without quotes, came '%s'", etag);
    struct result *head = t_ok(t_head(t, "k")), *get = t_ok(t_get(t, "k", NULL));
    EXPECT(t, strcmp(head->info.etag, etag) == 0, "head: expected ETag '%s', came '%s'", etag,
           head->info.etag);
    EXPECT(t, strcmp(get->head.etag, etag) == 0, "get: expected ETag '%s', came '%s'", etag,
           get->head.etag);
    struct result *list = t_ok(t_list(t, "", NULL));
    EXPECT(t, list->n == 1, "expected one entry, came %zu", list->n);
    const char *listed = list->entries[0].etag;
    EXPECT(t, !listed[0] || strcmp(listed, etag) == 0, "list: expected ETag '%s', came '%s'", etag,
           listed);
}

static void another_object_has_another_etag(struct test *t)
{
    char *first = t_strdup(t, t_put_text(t, "k", "x")->info.etag);
    const char *second = t_put_text(t, "k", "y")->info.etag;
    EXPECT(t, strcmp(first, second) != 0, "expected two ETags, came '%s' twice", first);
}

static void an_object_is_in_a_listing_at_once(struct test *t)
{
    static const char *const one[] = {"a/k"};
    t_empty(t, "");
    t_put_text(t, "a/k", "x");
    t_has_keys(t, "", one, 1);
    t_ok(t_delete(t, "a/k"));
    t_empty(t, "");
    t_absent(t, "a/k");
}

static void an_object_may_lie_beside_and_below_others(struct test *t)
{
    t_put_text(t, "a/b/c", "1");
    t_put_text(t, "a/b-c", "2");
    t_put_text(t, "a/bc", "3");
    t_put_text(t, "a/d/c", "4");
    t_holds_text(t, "a/b/c", "1");
    t_holds_text(t, "a/b-c", "2");
    t_holds_text(t, "a/bc", "3");
    t_holds_text(t, "a/d/c", "4");
}

static void a_key_may_begin_another_key(struct test *t)
{
    static const char *const all[] = {"a", "a/b", "a/b/c", "a-"};
    t_put_keys(t, all, LEN(all));
    t_has_keys(t, "", all, LEN(all));
    for (size_t i = 0; i < LEN(all); i++)
        t_holds_text(t, all[i], all[i]);
    t_ok(t_delete(t, "a"));
    t_holds_text(t, "a/b/c", "a/b/c");
    t_ok(t_delete(t, "a/b"));
    t_holds_text(t, "a/b/c", "a/b/c");
    t_absent(t, "a");
}

static void clocks_are_told_and_sane(struct test *t)
{
    struct result *put = t_put_text(t, "k", "x"), *head = t_ok(t_head(t, "k"));
    struct result *get = t_ok(t_get(t, "k", NULL)), *list = t_ok(t_list(t, "", NULL));
    int64_t now_s = time(NULL), begin_s = put->info.server_time_s;
    EXPECT(t, llabs(begin_s - now_s) <= CLOCKS_APART_S,
           "put: expected a clock near %lld, came %lld", (long long)now_s, (long long)begin_s);
    EXPECT(t, head->info.server_time_s >= begin_s && head->info.server_time_s <= begin_s + WAIT_MS,
           "head: expected a clock from %lld on, came %lld", (long long)begin_s,
           (long long)head->info.server_time_s);
    EXPECT(t, get->head.server_time_s >= begin_s, "get: the clock went back");
    EXPECT(t, list->server_time_s >= begin_s, "list: the clock went back");
    int64_t modified_s = head->info.modified_s;
    EXPECT(t, llabs(modified_s - begin_s) <= 2, "expected to be modified at about %lld, came %lld",
           (long long)begin_s, (long long)modified_s);
    EXPECT(t, get->head.modified_s == modified_s && list->entries[0].modified_s == modified_s,
           "expected one time of modification, came %lld, %lld and %lld", (long long)modified_s,
           (long long)get->head.modified_s, (long long)list->entries[0].modified_s);
}

/* "123456789" is the check value of every catalogue of CRCs; that of CRC32C is e3069283. */
static void an_object_from_memory_tells_its_checksum(struct test *t)
{
    t_ok(t_put(t, "k", "123456789", 9, NULL));
    const char *head = t_ok(t_head(t, "k"))->info.checksum;
    const char *get = t_ok(t_get(t, "k", NULL))->head.checksum;
    EXPECT(t, strcmp(head, "crc32c:e3069283") == 0, "head: expected crc32c:e3069283, came '%s'",
           head);
    EXPECT(t, strcmp(get, head) == 0, "get: expected '%s', came '%s'", head, get);
    t_put_text(t, "empty", "");
    head = t_ok(t_head(t, "empty"))->info.checksum;
    EXPECT(t, strcmp(head, "crc32c:00000000") == 0, "expected crc32c:00000000, came '%s'", head);
}

static void readers_see_the_old_object_or_the_new_one(struct test *t)
{
    enum { SIZE = 200000, READERS = 16 };
    char *old = t_alloc(t, SIZE), *new = t_alloc(t, SIZE);
    struct result *gets[READERS], *puts[READERS];
    memset(old, 'o', SIZE);
    memset(new, 'n', SIZE);
    t_ok(t_put(t, "k", old, SIZE, NULL));
    for (size_t i = 0; i < READERS; i++) {
        gets[i] = t_get_start(t, "k", NULL);
        puts[i] = t_put_start(t, "k", i % 2 ? old : new, SIZE, NULL);
    }
    for (size_t i = 0; i < READERS; i++) {
        struct result *r = t_ok(t_wait(gets[i]));
        EXPECT(t,
               r->size == SIZE &&
                   (memcmp(r->data, old, SIZE) == 0 || memcmp(r->data, new, SIZE) == 0),
               "%s: expected one object or the other, came a mixture", r->what);
        t_ok(t_wait(puts[i]));
    }
}

/* ---- Expiry ---- */

static int64_t server_time_s(struct test *t)
{
    return t_put_text(t, "clock", "x")->info.server_time_s;
}

static void a_put_after_its_expiry_stores_nothing(struct test *t)
{
    const struct store_put_opts late = {.signed_at_s = server_time_s(t) - 120, .expires_in_s = 60};
    struct source source = {.size = 5};
    t_code(t_put(t, "new", "late", 4, &late), STORE_EXPIRED);
    t_absent(t, "new");
    t_put_text(t, "old", "old");
    t_code(t_put(t, "old", "late", 4, &late), STORE_EXPIRED);
    t_holds_text(t, "old", "old");
    t_code(t_stream(t, "stream", 5, &source, &late), STORE_EXPIRED);
    t_absent(t, "stream");
}

static void a_put_before_its_expiry_is_stored(struct test *t)
{
    const struct store_put_opts early = {.signed_at_s = server_time_s(t), .expires_in_s = 300};
    struct source source = {.size = 5};
    t_ok(t_put(t, "k", "early", 5, &early));
    t_holds_text(t, "k", "early");
    t_ok(t_stream(t, "stream", 5, &source, &early));
    t_is_pattern(t_get(t, "stream", NULL), 0, 5);
}

static void an_expiring_put_keeps_its_type_and_metadata(struct test *t)
{
    const struct store_meta meta = {"a", "b c"};
    const struct store_put_opts opts = {
        .signed_at_s = server_time_s(t),
        .expires_in_s = 300,
        .content_type = "text/plain",
        .meta = &meta,
        .n_meta = 1,
        .if_absent = true,
    };
    t_ok(t_put(t, "k", "x", 1, &opts));
    struct result *r = t_ok(t_head(t, "k"));
    EXPECT(t,
           strcmp(r->info.content_type, "text/plain") == 0 && r->info.n_meta == 1 &&
               strcmp(r->info.meta[0].value, "b c") == 0,
           "%s: expected the type and the metadata of the put", r->what);
    t_code(t_put(t, "k", "y", 1, &opts), STORE_PRECONDITION);
    t_holds_text(t, "k", "x");
}

static const struct test_case cases[] = {
    CASE(objects_of_all_sizes_come_back),
    CASE(all_byte_values_come_back),
    CASE(no_bytes_may_be_a_null_pointer),
    CASE(a_put_replaces_the_whole_object),
    CASE(the_bytes_are_copied_before_the_call_returns),
    CASE(put_head_and_listing_tell_the_same_etag),
    CASE(another_object_has_another_etag),
    CASE(an_object_is_in_a_listing_at_once),
    CASE(an_object_may_lie_beside_and_below_others),
    CASE(a_key_may_begin_another_key),
    CASE(clocks_are_told_and_sane),
    CASE(an_object_from_memory_tells_its_checksum),
    CASE(readers_see_the_old_object_or_the_new_one),
    CASE(a_put_after_its_expiry_stores_nothing),
    CASE(a_put_before_its_expiry_is_stored),
    CASE(an_expiring_put_keeps_its_type_and_metadata),
};
const struct test_group put_group = {"put", cases, LEN(cases)};
