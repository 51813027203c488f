#include "service/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"

#define HEX32 "0123456789abcdef0123456789abcdef"
#define OTHER "ffffffffffffffffffffffffffffffff"
#define T     "/tenants/" HEX32
#define TL    T "/timelines/" OTHER
#define EP    TL "/endpoints/ep-1"
#define PG    EP "/pgdata/"

static void test_plain_routes(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        enum route route;
        const char *name;
    } cases[] = {
        {"/livez", ROUTE_LIVEZ, "livez"},
        {"/readyz", ROUTE_READYZ, "readyz"},
        {"/metrics", ROUTE_METRICS, "metrics"},
        {"/version", ROUTE_VERSION, "version"},
        {"/readyz?verbose", ROUTE_READYZ, "readyz"},
        {"http://reader.internal:8080/livez", ROUTE_LIVEZ, "livez"},
        {"HTTPS://reader.internal/livez?x", ROUTE_LIVEZ, "livez"},
        {"http://reader.internal", ROUTE_NONE, "none"},
        {"http://reader.internal?/livez", ROUTE_NONE, "none"},
        {"/", ROUTE_NONE, "none"},
        {"", ROUTE_NONE, "none"},
        {"*", ROUTE_NONE, "none"},
        {"livez", ROUTE_NONE, "none"},
        {"/livez/", ROUTE_NONE, "none"},
        {"//livez", ROUTE_NONE, "none"},
        {"/Livez", ROUTE_NONE, "none"},
        {"/%6civez", ROUTE_NONE, "none"},
        {"/./livez", ROUTE_NONE, "none"},
        {"/favicon.ico", ROUTE_NONE, "none"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct route_req r;
        struct store_err err;
        assert_int_equal(route_parse("GET", cases[i].target, &r, &err), 0);
        if (r.route != cases[i].route)
            fail_msg("target '%s'", cases[i].target);
        assert_string_equal(route_name(&r), cases[i].name);
        assert_string_equal(r.path, "");
    }
}

static void test_scopes(void **state)
{
    (void)state;
    static const struct {
        const char *target, *name, *timeline, *endpoint;
    } cases[] = {
        {T, "tenant", "", ""},
        {T "?gen=1", "tenant", "", ""},
        {"http://h" T, "tenant", "", ""},
        {"/tenants/0123456789ABCDEF0123456789ABCDEF", "tenant", "", ""},
        {"/tenants/%30123456789abcdef0123456789abcdef", "tenant", "", ""},
        {TL, "timeline", OTHER, ""},
        {EP, "endpoint", OTHER, "ep-1"},
        {TL "/endpoints/e%70%2D1", "endpoint", OTHER, "ep-1"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct route_req r;
        struct store_err err;
        assert_int_equal(route_parse("DELETE", cases[i].target, &r, &err), 0);
        if (r.route != ROUTE_SCOPE)
            fail_msg("target '%s'", cases[i].target);
        assert_string_equal(route_name(&r), cases[i].name);
        assert_string_equal(r.scope.tenant, HEX32);
        assert_string_equal(r.scope.timeline, cases[i].timeline);
        assert_string_equal(r.scope.endpoint, cases[i].endpoint);
    }
}

static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *target, *path;
    } cases[] = {
        {PG "lfc_state", "lfc_state"},
        {PG "pg_stat/a.stat?x=/../..", "pg_stat/a.stat"},
        {PG "a%2Fb%2fc", "a/b/c"},
        {PG "a%20b", "a b"},
        {PG "a+b", "a+b"},
        {PG "%c3%a4", "\xc3\xa4"},
        {PG "\xc3\xa4", "\xc3\xa4"},
        {PG "...", "..."},
        {PG "..a/b..", "..a/b.."},
        {PG "%252e%252e", "%2e%2e"}, /* decoded once */
        {PG "pgdata/x", "pgdata/x"},
        {PG "a%3Fb%23", "a?b#"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct route_req r;
        struct store_err err;
        if (route_parse("PUT", cases[i].target, &r, &err) != 0 || r.route != ROUTE_FILE)
            fail_msg("target '%s'", cases[i].target);
        assert_string_equal(r.path, cases[i].path);
        assert_string_equal(route_name(&r), "file");
        assert_int_equal(r.scope.kind, SCOPE_ENDPOINT);
        assert_string_equal(r.scope.endpoint, "ep-1");
    }
}

static void test_unknown_shapes(void **state)
{
    (void)state;
    static const char *const targets[] = {
        "/tenants",
        "/tenants/",
        T "/",
        T "//",
        T "/timelines",
        T "/timelines/",
        TL "/",
        TL "/endpoints",
        TL "/endpoints/",
        EP "/",
        EP "/pgdata",
        PG,
        PG "a/",
        PG "/",
        EP "/files/a",
        EP "//pgdata/a",
        EP "/pgdata%2Fa",
        T "/timeline/" OTHER,
        T "/endpoints/ep-1",
        "/Tenants/" HEX32,
        "/tenant%73/" HEX32,
        "/tenants/not-an-id/what/is/this",
        "/v1" T,
        "x" T,
        "?" T,
    };
    for (size_t i = 0; i < LEN(targets); i++) {
        struct route_req r;
        struct store_err err;
        if (route_parse("GET", targets[i], &r, &err) != 0 || r.route != ROUTE_NONE)
            fail_msg("target '%s'", targets[i]);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *target, *message; /* as far as it is given */
    } cases[] = {
        {"/tenants/abc", "tenant_id 'abc': expected 32 hex digits"},
        {"/tenants//timelines/" OTHER, "tenant_id '': expected 32 hex digits"},
        {"/tenants/..", "tenant_id '..': "},
        {"/tenants/" HEX32 "0", "tenant_id '"},
        {"/tenants/" HEX32 "%2F", "tenant_id '"},
        {"/tenants/%2e%2e%2f%2e%2e%2fetc", "tenant_id '%2e%2e%2f%2e%2e%2fetc': "},
        {T "/timelines/xyz", "timeline_id 'xyz': expected 32 hex digits"},
        {TL "/endpoints/-x", "endpoint_id '-x': expected 1 to 63 letters, digits, '-' and '_', "
                             "beginning with a letter or digit"},
        {TL "/endpoints/..%2Fep", "endpoint_id '..%2Fep': "},
        {TL "/endpoints/ep%2F1", "endpoint_id 'ep%2F1': "},
        {TL "/endpoints/\xc3\xa9", "endpoint_id '?\?': "},
        {PG "..", "path '..': "},
        {PG "../x", "path '../x': "},
        {PG "..%2fx", "path '..%2fx': "},
        {PG "%2e%2e/x", "path '%2e%2e/x': "},
        {PG "a/%2e%2E%2fb", "path '"},
        {PG "a//b", "path 'a//b': "},
        {PG "a%2F", "path 'a%2F': "},
        {PG "%2Fetc/passwd", "path '%2Fetc/passwd': "},
        {PG "a/./b", "path 'a/./b': "},
        {PG "a%0ab", "path 'a%0ab': "},
        {PG "%c0%af", "path '%c0%af': "},
        {PG "%c0%ae%c0%ae/x", "path '"},
        {PG "%ed%a0%80", "path '"},
        {PG "\xff", "path '?': "},
        {PG "a%00b", "the escape '%00': expected % and two hex digits other than 00"},
        {PG "a%", "the escape '%': "},
        {PG "a%4", "the escape '%4': "},
        {PG "a%zz", "the escape '%zz': "},
        {PG "a%/b", "the escape '%/b': "},
        {PG "a#b", "the target '"},
        {PG "a b", "the target '"},
        {PG "a\nb", "the target '"},
        {"/livez?x=%0", "the escape '%0': "},
        {"/nothing\x7f", "the target '/nothing?': "},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct route_req r;
        struct store_err err = {.code = STORE_OK};
        if (route_parse("GET", cases[i].target, &r, &err) != -1)
            fail_msg("target '%s'", cases[i].target);
        assert_int_equal(err.code, STORE_INVALID);
        if (strncmp(err.msg, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("target '%s': %s", cases[i].target, err.msg);
        assert_int_equal(r.method, METHOD_GET);
        assert_int_equal(r.route, ROUTE_NONE);
    }
}

/* A target of `head` and then n times `piece`; to be freed. */
static char *long_target(const char *head, const char *piece, size_t n)
{
    size_t len = strlen(head), piece_len = strlen(piece);
    char *text = xmalloc(len + n * piece_len + 1);
    memcpy(text, head, len);
    for (size_t i = 0; i < n; i++)
        memcpy(text + len + i * piece_len, piece, piece_len);
    text[len + n * piece_len] = '\0';
    return text;
}

static void test_lengths(void **state)
{
    (void)state;
    static const struct {
        const char *head, *piece;
        size_t n;
        bool ok;
    } cases[] = {
        {PG, "a", 512, true},
        {PG, "a", 513, false},
        {PG, "%61", 512, true},
        {PG, "%61", 513, false},
        {PG, "a", 1537, false},
        {PG, "%c3%a4", 256, true},
        {PG, "%c3%a4", 257, false},
        {PG, "a", 100000, false},
        {"/tenants/", "a", 100000, false},
        {"/tenants/", "%61", 32, true},
        {"/tenants/", "%61", 33, false},
        {TL "/endpoints/", "a", 63, true},
        {TL "/endpoints/", "a", 64, false},
        {TL "/endpoints/", "%61", 63, true},
        {TL "/endpoints/", "%61", 64, false},
        {TL "/endpoints/", "a", 100000, false},
        {"/livez?", "a", 100000, true},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct route_req r;
        struct store_err err;
        char *target = long_target(cases[i].head, cases[i].piece, cases[i].n);
        if (route_parse("GET", target, &r, &err) != (cases[i].ok ? 0 : -1))
            fail_msg("'%s' and %zu times '%s'", cases[i].head, cases[i].n, cases[i].piece);
        assert_true(cases[i].ok || strlen(err.msg) < 200);
        free(target);
    }
}

static void test_methods(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum route_method method;
    } cases[] = {
        {"GET", METHOD_GET},       {"HEAD", METHOD_HEAD},     {"PUT", METHOD_PUT},
        {"POST", METHOD_POST},     {"DELETE", METHOD_DELETE}, {"get", METHOD_OTHER},
        {"OPTIONS", METHOD_OTHER}, {"", METHOD_OTHER},        {"GETX", METHOD_OTHER},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct route_req r;
        assert_int_equal(route_parse(cases[i].name, "/livez", &r, NULL), 0);
        assert_int_equal(r.method, cases[i].method);
    }
    char out[ROUTE_ALLOW_SIZE];
    route_allow(METHOD_GET | METHOD_HEAD, out);
    assert_string_equal(out, "GET, HEAD");
    route_allow(METHOD_DELETE, out);
    assert_string_equal(out, "DELETE");
    route_allow(0, out);
    assert_string_equal(out, "");
    route_allow(~0u, out);
    assert_string_equal(out, "GET, HEAD, PUT, POST, DELETE");
}

static void test_query(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        int result;
        const char *value; /* or the message */
    } cases[] = {
        {"", 0, ""},
        {"?", 0, ""},
        {"?gen=7", 1, "7"},
        {"?gen", 1, ""},
        {"?gen=", 1, ""},
        {"?a=1&gen=7&b=2", 1, "7"},
        {"?&&gen=7&", 1, "7"},
        {"?g%65n=%37", 1, "7"},
        {"?gen=a%26b%3Dc+d", 1, "a&b=c+d"},
        {"?gen=a=b", 1, "a=b"},
        {"?gen=12345678?/", -1, "gen '12345678?/': expected at most 9 bytes"},
        {"?gen=123456789", 1, "123456789"},
        {"?gen=%31%32%33%34%35%36%37%38%39", 1, "123456789"},
        {"?generation=7", 0, ""},
        {"?Gen=7", 0, ""},
        {"?xgen=7", 0, ""},
        {"?x=gen=7", 0, ""},
        {"?gen=1&gen=1", -1, "gen '1': expected the parameter only once"},
        {"?gen=1&g%65n=2", -1, "gen '2': expected the parameter only once"},
        {"?gen=1234567890", -1, "gen '1234567890': expected at most 9 bytes"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct route_req r;
        struct store_err err = {.msg = ""};
        char target[256], out[10] = "";
        snprintf(target, sizeof(target), "%s%s", PG "a", cases[i].query);
        assert_int_equal(route_parse("GET", target, &r, &err), 0);
        int result = route_query(&r, "gen", out, sizeof(out), &err);
        if (result != cases[i].result)
            fail_msg("query '%s': %d", cases[i].query, result);
        assert_string_equal(result < 0 ? err.msg : out, cases[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_routes), cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_files),        cmocka_unit_test(test_unknown_shapes),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_methods),      cmocka_unit_test(test_query),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
