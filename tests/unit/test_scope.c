#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "epufs/scope.h"

#define HEX32 "0123456789abcdef0123456789abcdef"

static void test_ids(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {HEX32, HEX32},
        {"0123456789ABCDEF0123456789abcDEF", HEX32},
        {"", NULL},
        {"0123456789abcdef0123456789abcde", NULL},
        {HEX32 "0", NULL},
        {"0123456789abcdef0123456789abcdeg", NULL},
        {"0123456789abcdef-123456789abcdef", NULL},
        {" 123456789abcdef0123456789abcdef", NULL},
        {"0123456789abcdef0123456789abcd\xc3\xa9", NULL},
        {"../../../../../../../../../../..", NULL},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        char out[ID_SIZE] = "";
        bool good = scope_parse_id(cases[i].in, strlen(cases[i].in), out);
        assert_int_equal(good, cases[i].out != NULL);
        if (cases[i].out)
            assert_string_equal(out, cases[i].out);
    }
    char out[ID_SIZE];
    assert_false(scope_parse_id("0123456789abcdef\0"
                                "0123456789abcde",
                                32, out));
    assert_true(scope_parse_id(HEX32 "/next", 32, out));
}

static void test_endpoints(void **state)
{
    static const struct {
        const char *in;
        bool good;
    } cases[] = {
        {"ep-winter-frost-a662z3vg", true},
        {"3", true},
        {"A_", true},
        {"a23456789012345678901234567890123456789012345678901234567890123", true},
        {"a234567890123456789012345678901234567890123456789012345678901234", false},
        {"", false},
        {"-ep", false},
        {"_ep", false},
        {".", false},
        {"..", false},
        {"ep.1", false},
        {"ep/1", false},
        {"ep%2f1", false},
        {"ep 1", false},
        {"ep\n", false},
        {"\xc3\xa9p", false},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        char out[ENDPOINT_SIZE] = "";
        assert_int_equal(scope_parse_endpoint(cases[i].in, strlen(cases[i].in), out),
                         cases[i].good);
        assert_string_equal(out, cases[i].good ? cases[i].in : "");
    }
    char out[ENDPOINT_SIZE];
    assert_false(scope_parse_endpoint("ep\0x", 4, out));
    assert_true(scope_parse_endpoint("ep-1/pgdata", 4, out));
    assert_string_equal(out, "ep-1");
}

static void test_kinds(void **state)
{
    enum scope_kind kind;
    (void)state;
    for (int i = SCOPE_TENANT; i <= SCOPE_ENDPOINT; i++) {
        assert_true(scope_kind_from_name(scope_kind_name((enum scope_kind)i), &kind));
        assert_int_equal(kind, i);
    }
    assert_string_equal(scope_kind_name(SCOPE_TIMELINE), "timeline");
    assert_false(scope_kind_from_name("Tenant", &kind));
    assert_false(scope_kind_from_name("", &kind));
    assert_false(scope_kind_from_name("unknown", &kind));
}

/* Names that a scope of this kind does not have hold rubbish: they must not count. */
static struct scope make(enum scope_kind kind, const char *tenant, const char *timeline,
                         const char *endpoint)
{
    struct scope s = {.kind = kind};
    strcpy(s.tenant, tenant);
    strcpy(s.timeline, timeline);
    strcpy(s.endpoint, endpoint);
    return s;
}

static void test_contains(void **state)
{
    const struct scope tenant = make(SCOPE_TENANT, "t", "?", "?");
    const struct scope line = make(SCOPE_TIMELINE, "t", "l", "!");
    const struct scope end = make(SCOPE_ENDPOINT, "t", "l", "ep-1");
    const struct scope sibling = make(SCOPE_ENDPOINT, "t", "l", "ep-10");
    /* The rubbish may be what the other scope has. */
    const struct scope used_tenant = make(SCOPE_TENANT, "t", "l", "ep-1");
    const struct scope used_line = make(SCOPE_TIMELINE, "t", "l", "ep-1");
    const struct scope other_line = make(SCOPE_ENDPOINT, "t", "m", "ep-1");
    const struct scope other_tenant = make(SCOPE_ENDPOINT, "u", "l", "ep-1");
    const struct {
        const struct scope *outer, *inner;
        bool contains, equal;
    } cases[] = {
        {&tenant, &tenant, true, true},
        {&tenant, &line, true, false},
        {&tenant, &end, true, false},
        {&line, &line, true, true},
        {&line, &end, true, false},
        {&line, &sibling, true, false},
        {&end, &end, true, true},
        {&line, &tenant, false, false},
        {&end, &tenant, false, false},
        {&end, &line, false, false},
        {&end, &used_line, false, false},
        {&end, &used_tenant, false, false},
        {&line, &used_tenant, false, false},
        {&line, &used_line, true, true},
        {&tenant, &used_tenant, true, true},
        {&end, &sibling, false, false},
        {&sibling, &end, false, false},
        {&line, &other_line, false, false},
        {&tenant, &other_tenant, false, false},
        {&end, &other_tenant, false, false},
        {&end, &other_line, false, false},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        assert_int_equal(scope_contains(cases[i].outer, cases[i].inner), cases[i].contains);
        assert_int_equal(scope_equal(cases[i].outer, cases[i].inner), cases[i].equal);
    }
}

static void test_scope_path(void **state)
{
    char out[SCOPE_PATH_SIZE];
    char endpoint[ENDPOINT_SIZE];
    (void)state;
    memset(endpoint, 'e', ENDPOINT_SIZE - 1);
    endpoint[ENDPOINT_SIZE - 1] = '\0';
    struct scope s = make(SCOPE_TENANT, HEX32, HEX32, endpoint);
    scope_path(&s, out);
    assert_string_equal(out, "tenants/" HEX32);
    s.kind = SCOPE_TIMELINE;
    scope_path(&s, out);
    assert_string_equal(out, "tenants/" HEX32 "/timelines/" HEX32);
    s.kind = SCOPE_ENDPOINT;
    scope_path(&s, out);
    assert_memory_equal(out, "tenants/" HEX32 "/timelines/" HEX32 "/endpoints/", 94);
    assert_string_equal(out + 94, endpoint);
}

#define BYTES(s) s, sizeof(s) - 1

static void test_paths(void **state)
{
    static const struct {
        const char *path;
        size_t n;
        bool good;
    } cases[] = {
        {BYTES("lfc_state"), true},
        {BYTES("pg_stat_tmp/pg_stat_statements.stat"), true},
        {BYTES("..."), true},
        {BYTES("..a/b"), true},
        {BYTES(".hidden/a..b/c."), true},
        {BYTES("a b/%2e%2e/c?d=e&f+g"), true},
        {BYTES("d\xc3\xa9j\xc3\xa0/\xe2\x82\xac/\xf0\x9f\x90\x98"), true},
        {BYTES("\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbd\xf4\x8f\xbf\xbf"), true},
        {BYTES("\xc2\xa0"), true},
        {BYTES(""), false},
        {BYTES("/"), false},
        {BYTES("/a"), false},
        {BYTES("a/"), false},
        {BYTES("a//b"), false},
        {BYTES("."), false},
        {BYTES(".."), false},
        {BYTES("./a"), false},
        {BYTES("a/."), false},
        {BYTES("a/./b"), false},
        {BYTES("../a"), false},
        {BYTES("a/.."), false},
        {BYTES("a/../b"), false},
        /* control characters: C0, DEL, C1 */
        {BYTES("a\0b"), false},
        {BYTES("a\nb"), false},
        {BYTES("\x1f"), false},
        {BYTES("a\x7f"), false},
        {BYTES("\xc2\x80"), false},
        {BYTES("\xc2\x9f"), false},
        /* not UTF-8: lone and missing continuation, overlong, surrogate, too high, never used */
        {BYTES("\x80"), false},
        {BYTES("a\xbf"), false},
        {BYTES("\xc3"), false},
        {BYTES("\xc3/"), false},
        {BYTES("\xe2\x82"), false},
        {BYTES("\xe2\x82/"), false},
        {BYTES("\xf0\x9f\x90"), false},
        {BYTES("\xf0\x9f\x90/"), false},
        {BYTES("\xc0\xaf"), false},
        {BYTES("\xc0\x80"), false},
        {BYTES("\xc1\xbf"), false},
        {BYTES("\xe0\x80\xaf"), false},
        {BYTES("\xe0\x9f\xbf"), false},
        {BYTES("\xf0\x80\x80\xaf"), false},
        {BYTES("\xf0\x8f\xbf\xbf"), false},
        {BYTES("\xed\xa0\x80"), false},
        {BYTES("\xed\xbf\xbf"), false},
        {BYTES("\xf4\x90\x80\x80"), false},
        {BYTES("\xf5\x80\x80\x80"), false},
        {BYTES("\xf8\x88\x80\x80\x80"), false},
        {BYTES("\xfe"), false},
        {BYTES("\xff"), false},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        /* A copy of the exact size, so that a sanitizer sees every step too far. */
        char *path = xmalloc(cases[i].n ? cases[i].n : 1);
        memcpy(path, cases[i].path, cases[i].n);
        const char *problem = scope_path_problem(path, cases[i].n);
        if ((problem == NULL) != cases[i].good)
            fail_msg("path %zu: %s", i, problem ? problem : "taken");
        free(path);
    }
}

static void test_path_length(void **state)
{
    char path[PATH_MAX_BYTES + 1];
    (void)state;
    memset(path, 'x', sizeof(path));
    assert_null(scope_path_problem(path, PATH_MAX_BYTES));
    assert_non_null(scope_path_problem(path, PATH_MAX_BYTES + 1));
    path[PATH_MAX_BYTES - 1] = (char)0xc3;
    assert_non_null(scope_path_problem(path, PATH_MAX_BYTES));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),         cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_kinds),       cmocka_unit_test(test_contains),
        cmocka_unit_test(test_scope_path),  cmocka_unit_test(test_paths),
        cmocka_unit_test(test_path_length),
    };
    return cmocka_run_group_tests_name("scope", tests, NULL, NULL);
}
