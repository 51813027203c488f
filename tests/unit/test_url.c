#include "libstore/s3/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "tests/unit/oom.h"

#define X10(s) s s s s s s s s s s
#define L63    X10("abcdef") "abc"
#define AUTO   STORE_ADDRESSING_AUTO
#define PATH   STORE_ADDRESSING_PATH
#define HOST   STORE_ADDRESSING_HOST

static const struct good {
    const char *location, *endpoint, *region;
    enum store_addressing addressing;
    const char *bucket, *prefix, *base_url, *path_prefix;
    bool has_region;
} good[] = {
    /* Amazon's own endpoint */
    {"bucket", NULL, "eu-west-1", AUTO, "bucket", "", "https://bucket.s3.eu-west-1.amazonaws.com",
     "", true},
    {"bucket", "", "us-east-1", AUTO, "bucket", "", "https://bucket.s3.us-east-1.amazonaws.com", "",
     true},
    {"my.bucket", NULL, "us-east-1", AUTO, "my.bucket", "", "https://s3.us-east-1.amazonaws.com",
     "/my.bucket", true},
    {"Bucket", NULL, "us-east-1", AUTO, "Bucket", "", "https://s3.us-east-1.amazonaws.com",
     "/Bucket", true},
    {"a_b", NULL, "us-east-1", AUTO, "a_b", "", "https://s3.us-east-1.amazonaws.com", "/a_b", true},
    {"-ab", NULL, "us-east-1", AUTO, "-ab", "", "https://s3.us-east-1.amazonaws.com", "/-ab", true},
    {"ab-", NULL, "us-east-1", AUTO, "ab-", "", "https://s3.us-east-1.amazonaws.com", "/ab-", true},
    {"bucket", NULL, "us-east-1", PATH, "bucket", "", "https://s3.us-east-1.amazonaws.com",
     "/bucket", true},
    {"my.bucket", NULL, "us-east-1", HOST, "my.bucket", "",
     "https://my.bucket.s3.us-east-1.amazonaws.com", "", true},
    {"bucket", NULL, "cn-north-1", AUTO, "bucket", "",
     "https://bucket.s3.cn-north-1.amazonaws.com.cn", "", true},
    /* Amazon's, given */
    {"bucket", "https://s3.eu-west-1.amazonaws.com", "x", AUTO, "bucket", "",
     "https://bucket.s3.eu-west-1.amazonaws.com", "", false},
    {"bucket", "https://S3.CN-north-1.AmazonAWS.com.cn/", "x", AUTO, "bucket", "",
     "https://bucket.s3.cn-north-1.amazonaws.com.cn", "", false},
    {"bucket", "https://amazonaws.com", "x", AUTO, "bucket", "", "https://amazonaws.com", "/bucket",
     false},
    {"bucket", "https://s3.notamazonaws.com", "x", AUTO, "bucket", "",
     "https://s3.notamazonaws.com", "/bucket", false},
    /* others */
    {"bucket", "http://127.0.0.1:9000", "x", AUTO, "bucket", "", "http://127.0.0.1:9000", "/bucket",
     false},
    {"bucket", "http://store.example", NULL, AUTO, "bucket", "", "http://store.example", "/bucket",
     false},
    {"bucket", "http://store.example:8080///", "x", HOST, "bucket", "",
     "http://bucket.store.example:8080", "", false},
    {"b.c.d", "http://store.example", "x", HOST, "b.c.d", "", "http://b.c.d.store.example", "",
     false},
    {"bucket", "http://my_store:80", "x", PATH, "bucket", "", "http://my_store", "/bucket", false},
    {"bucket", "HTTPS://Store:443/", "x", AUTO, "bucket", "", "https://store", "/bucket", false},
    {"bucket", "https://store:80", "x", AUTO, "bucket", "", "https://store:80", "/bucket", false},
    {"bucket", "http://store:443", "x", AUTO, "bucket", "", "http://store:443", "/bucket", false},
    {"bucket", "http://store:00080", "x", AUTO, "bucket", "", "http://store", "/bucket", false},
    {"bucket", "http://store:65535", "x", AUTO, "bucket", "", "http://store:65535", "/bucket",
     false},
    {"bucket", "http://[::1]:9000", "x", AUTO, "bucket", "", "http://[::1]:9000", "/bucket", false},
    {"bucket", "https://[FE80::A:0]", "x", AUTO, "bucket", "", "https://[fe80::a:0]", "/bucket",
     false},
    {"bucket", "http://[::ffff:127.0.0.1]/", "x", PATH, "bucket", "", "http://[::ffff:127.0.0.1]",
     "/bucket", false},
    /* prefixes */
    {"bucket/", "http://h", "x", AUTO, "bucket", "", "http://h", "/bucket", false},
    {"bucket//", "http://h", "x", AUTO, "bucket", "", "http://h", "/bucket", false},
    {"bucket/a", "http://h", "x", AUTO, "bucket", "a/", "http://h", "/bucket", false},
    {"bucket/a/b//", "http://h", "x", AUTO, "bucket", "a/b/", "http://h", "/bucket", false},
    {"bucket/a%2F ?#@\xc3\xa9/...", "http://h", "x", AUTO, "bucket", "a%2F ?#@\xc3\xa9/.../",
     "http://h", "/bucket", false},
    {L63, "http://h", "x", AUTO, L63, "", "http://h", "/" L63, false},
    {"a.b-c_D9", "http://h", "x", AUTO, "a.b-c_D9", "", "http://h", "/a.b-c_D9", false},
};

static void check_good(const struct good *g)
{
    struct s3_place p;
    struct store_err err = {0};
    int rc = s3_url_parse(g->location, g->endpoint, g->region, g->addressing, &p, &err);
    if (rc != 0)
        fail_msg("%s", err.msg);
    assert_string_equal(p.bucket, g->bucket);
    assert_string_equal(p.prefix, g->prefix);
    assert_string_equal(p.base_url, g->base_url);
    assert_string_equal(p.host, strstr(g->base_url, "://") + 3);
    assert_string_equal(p.path_prefix, g->path_prefix);
    assert_int_equal(p.has_region, g->has_region);
    s3_place_cleanup(&p);
    s3_place_cleanup(&p);
}

static void places_are_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(good); i++) {
        print_message("%s %s\n", good[i].location, good[i].endpoint ? good[i].endpoint : "-");
        check_good(&good[i]);
    }
}

static const struct bad {
    const char *name, *location, *endpoint, *region;
    enum store_addressing addressing;
} bad[] = {
    {"no bucket", "", "http://h", "x", AUTO},
    {"a prefix only", "/prefix", "http://h", "x", AUTO},
    {"bucket of two", "ab", "http://h", "x", AUTO},
    {"bucket of 64", L63 "x", "http://h", "x", AUTO},
    {"bucket with a blank", "my bucket", "http://h", "x", AUTO},
    {"bucket with a query", "bucket?x", "http://h", "x", AUTO},
    {"bucket with a port", "bucket:80", "http://h", "x", AUTO},
    {"bucket with an escape", "bucket%2e", "http://h", "x", AUTO},
    {"bucket with a line feed", "bucket\n", "http://h", "x", AUTO},
    {"prefix with an empty segment", "bucket/a//b", "http://h", "x", AUTO},
    {"prefix that begins with a slash", "bucket//a", "http://h", "x", AUTO},
    {"prefix that climbs", "bucket/a/../b", "http://h", "x", AUTO},
    {"prefix that is a dot", "bucket/.", "http://h", "x", AUTO},
    {"prefix with a line feed", "bucket/a\nb", "http://h", "x", AUTO},
    {"prefix with DEL", "bucket/a\x7f", "http://h", "x", AUTO},
    {"no scheme", "bucket", "127.0.0.1:9000", "x", AUTO},
    {"another scheme", "bucket", "ftp://host", "x", AUTO},
    {"scheme only", "bucket", "http://", "x", AUTO},
    {"scheme and slashes", "bucket", "https:///", "x", AUTO},
    {"half a scheme", "bucket", "http:/host", "x", AUTO},
    {"path", "bucket", "http://host/path", "x", AUTO},
    {"query", "bucket", "http://host?x", "x", AUTO},
    {"fragment", "bucket", "http://host#x", "x", AUTO},
    {"user", "bucket", "http://user@host", "x", AUTO},
    {"user and password", "bucket", "http://user:secret@host", "x", AUTO},
    {"blank", "bucket", "http://ho st", "x", AUTO},
    {"line feed", "bucket", "http://host\n", "x", AUTO},
    {"escape in the host", "bucket", "http://h%6fst", "x", AUTO},
    {"backslash", "bucket", "http://host\\x", "x", AUTO},
    {"bytes that are not ASCII", "bucket", "http://h\xc3\xb6st", "x", AUTO},
    {"port without a host", "bucket", "http://:80", "x", AUTO},
    {"no port behind the colon", "bucket", "http://host:", "x", AUTO},
    {"port 0", "bucket", "http://host:0", "x", AUTO},
    {"port 65536", "bucket", "http://host:65536", "x", AUTO},
    {"port of six digits", "bucket", "http://host:000080", "x", AUTO},
    {"signed port", "bucket", "http://host:+80", "x", AUTO},
    {"named port", "bucket", "http://host:http", "x", AUTO},
    {"two ports", "bucket", "http://host:80:81", "x", AUTO},
    {"empty label", "bucket", "http://a..b", "x", AUTO},
    {"leading dot", "bucket", "http://.a", "x", AUTO},
    {"trailing dot", "bucket", "http://a.", "x", AUTO},
    {"label of 64", "bucket", "http://" L63 "x", "x", AUTO},
    {"host of 255", "bucket", "http://" L63 "." L63 "." L63 "." L63, "x", AUTO},
    {"IPv6 without brackets", "bucket", "http://::1", "x", AUTO},
    {"IPv6 without its end", "bucket", "http://[::1", "x", AUTO},
    {"IPv6 without its begin", "bucket", "http://::1]", "x", AUTO},
    {"nothing in brackets", "bucket", "http://[]", "x", AUTO},
    {"one colon in brackets", "bucket", "http://[:]", "x", AUTO},
    {"a name in brackets", "bucket", "http://[host]", "x", AUTO},
    {"a long name in brackets", "bucket", "http://[" L63 "]", "x", AUTO},
    {"a zone", "bucket", "http://[fe80::1%25eth0]", "x", AUTO},
    {"text behind IPv6", "bucket", "http://[::1]x", "x", AUTO},
    {"text before IPv6", "bucket", "http://x[::1]", "x", AUTO},
    {"no region", "bucket", NULL, "", AUTO},
    {"region with a dot", "bucket", NULL, "evil.example/", AUTO},
    {"region in capitals", "bucket", NULL, "RegionOne", AUTO},
    {"region of 64", "bucket", NULL, L63 "x", AUTO},
    {"host style on IPv4", "bucket", "http://127.0.0.1:9000", "x", HOST},
    {"host style on a number", "bucket", "http://2130706433", "x", HOST},
    {"host style on IPv6", "bucket", "http://[::1]", "x", HOST},
    {"host style with capitals", "Bucket", "http://host", "x", HOST},
    {"host style with an underscore", "a_b", "http://host", "x", HOST},
    {"host style with a hyphen before", "-ab", "http://host", "x", HOST},
    {"host style with a hyphen behind", "ab-", "http://host", "x", HOST},
    {"host style with an empty label", "a..b", "http://host", "x", HOST},
    {"host style with a dot before", ".ab", "http://host", "x", HOST},
    {"host style past the longest name", L63, "http://" L63 "." L63 "." L63, "x", HOST},
    {"addressing of another kind", "bucket", "http://host", "x", (enum store_addressing)7},
};

static void what_cannot_be_a_place_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(bad); i++) {
        const struct bad *b = &bad[i];
        const struct s3_place zero = {0};
        struct s3_place p;
        struct store_err err = {0};
        print_message("%s\n", b->name);
        memset(&p, 0xff, sizeof(p));
        assert_int_equal(s3_url_parse(b->location, b->endpoint, b->region, b->addressing, &p, &err),
                         -1);
        assert_int_equal(err.code, STORE_INVALID);
        assert_null(strchr(err.msg, '\n'));
        assert_null(strstr(err.msg, "secret"));
        assert_null(p.bucket);
        assert_null(p.base_url);
        assert_int_equal(p.has_region, zero.has_region);
    }
}

static void amazon_is_known_by_the_end_of_the_host(void **state)
{
    (void)state;
    static const struct {
        const char *endpoint;
        bool is_amazon;
    } cases[] = {
        {NULL, true},
        {"https://s3.dualstack.eu-west-1.amazonaws.com", true},
        {"https://bucket.vpce-1a2b-5e6f.s3.us-east-1.vpce.amazonaws.com:443", true},
        {"https://s3.cn-north-1.amazonaws.com.cn", true},
        {"https://s3.amazonaws.com.example", false},
        {"https://amazonaws.com", false},
        {"http://127.0.0.1:9000", false},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct s3_place p;
        assert_int_equal(s3_url_parse("bucket", cases[i].endpoint, "r", PATH, &p, NULL), 0);
        assert_int_equal(p.is_amazon, cases[i].is_amazon);
        s3_place_cleanup(&p);
    }
}

static void a_secret_in_the_url_is_not_repeated(void **state)
{
    (void)state;
    struct s3_place p;
    struct store_err err = {0};
    assert_int_equal(s3_url_parse("AKID:secret@bucket", "http://h", "x", AUTO, &p, &err), -1);
    assert_null(strstr(err.msg, "secret"));
    assert_int_equal(s3_url_parse("bucket", "secret@h", "x", AUTO, &p, &err), -1);
    assert_null(strstr(err.msg, "secret"));
}

static void a_prefix_has_a_bound(void **state)
{
    (void)state;
    char location[7 + 257 + 1] = "bucket/";
    struct s3_place p;
    struct store_err err = {0};
    memset(location + 7, 'p', 257);
    assert_int_equal(s3_url_parse(location, "http://h", "x", AUTO, &p, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    location[7 + 256] = '/';
    assert_int_equal(s3_url_parse(location, "http://h", "x", AUTO, &p, &err), 0);
    assert_int_equal(strlen(p.prefix), 257);
    s3_place_cleanup(&p);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    if (!OOM_AVAILABLE)
        skip();
    const char *const endpoints[] = {NULL, "http://h:1"};
    for (size_t i = 0; i < LEN(endpoints); i++) {
        bool failing = true;
        for (long n = 1; failing; n++) {
            struct s3_place p;
            struct store_err err = {0};
            oom_fail_nth(n);
            int rc = s3_url_parse("bucket/a", endpoints[i], "r", AUTO, &p, &err);
            failing = oom_stop();
            /* asprintf() survives some failures. */
            assert_true(rc == 0 ? p.path_prefix != NULL : err.code == STORE_NO_MEMORY && !p.bucket);
            assert_true(failing || rc == 0);
            s3_place_cleanup(&p);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_found),
        cmocka_unit_test(what_cannot_be_a_place_is_refused),
        cmocka_unit_test(amazon_is_known_by_the_end_of_the_host),
        cmocka_unit_test(a_secret_in_the_url_is_not_repeated),
        cmocka_unit_test(a_prefix_has_a_bound),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
