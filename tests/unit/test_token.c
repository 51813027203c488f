#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "epufs/token.h"
#include "tests/unit/jws_fixture.h"

#define HEADER   "{\"typ\":\"JWT\",\"alg\":\"EdDSA\"}"
#define TENANT   "0123456789abcdef0123456789abcdef"
#define TIMELINE "fedcba9876543210fedcba9876543210"
#define T        "\"tenant_id\":\"" TENANT "\""
#define TL       "\"timeline_id\":\"" TIMELINE "\""
#define EP       "\"endpoint_id\":\"ep-1\""
#define EXP      "\"exp\":2000"

enum { NOW = 1000 };

static struct keyring *ring;
static const struct token_rules plain = {.leeway_s = 0};

static int make_ring(void **state)
{
    (void)state;
    ed = fixture_key(KEY_EDDSA);
    char *pem = fixture_pem(ed);
    ring = keyring_new();
    int rc = keyring_add(ring, "test", pem, strlen(pem), NULL);
    free(pem);
    return rc;
}

static int free_ring(void **state)
{
    (void)state;
    keyring_unref(ring);
    EVP_PKEY_free(ed);
    return 0;
}

static int verify(const char *payload, const struct token_rules *rules, int64_t now,
                  struct token_claims *out, struct store_err *err)
{
    char *jwt = fixture_jws(ed, HEADER, payload);
    int rc = token_verify(ring, rules, now, jwt, strlen(jwt), out, err);
    free(jwt);
    return rc;
}

static void expect_refused(const char *payload, const struct token_rules *rules, int64_t now,
                           enum store_code code, const char *because)
{
    struct token_claims claims;
    struct store_err err = {.code = STORE_OK};
    if (verify(payload, rules, now, &claims, &err) == 0)
        fail_msg("taken: %s", payload);
    if (err.code != code || !strstr(err.msg, because))
        fail_msg("%s: '%s' (%d) does not say '%s'", payload, err.msg, (int)err.code, because);
}

static struct token_claims expect_taken(const char *payload, const struct token_rules *rules,
                                        int64_t now)
{
    struct token_claims claims;
    struct store_err err = {.code = STORE_OK};
    memset(&claims, 0x5a, sizeof(claims));
    if (verify(payload, rules, now, &claims, &err))
        fail_msg("%s: %s", payload, err.msg);
    return claims;
}

/* ---- What a token is for ------------------------------------------------------------------ */

static void test_kinds(void **state)
{
    static const struct {
        const char *payload, *path; /* path NULL: no scope */
        bool admin;
    } cases[] = {
        {"{" T "," EXP "}", "tenants/" TENANT, false},
        {"{" T "," TL "," EXP "}", "tenants/" TENANT "/timelines/" TIMELINE, false},
        {"{" EP "," EXP "," TL "," T "}",
         "tenants/" TENANT "/timelines/" TIMELINE "/endpoints/ep-1", false},
        {"{" T ",\"timeline_id\":null,\"endpoint_id\":null," EXP "}", "tenants/" TENANT, false},
        {"{" T "," TL ",\"endpoint_id\":null," EXP "}", "tenants/" TENANT "/timelines/" TIMELINE,
         false},
        {"{\"tenant_id\":\"0123456789ABCDEF0123456789ABCDEF\"," EXP "}", "tenants/" TENANT, false},
        {"{" T "," EXP ",\"sub\":[{}],\"scope\":\"tenant\",\"nested\":{\"exp\":1,\"gen\":9}}",
         "tenants/" TENANT, false},
        {"{\"scope\":\"epufs:admin\"," EXP "}", NULL, true},
        {"{\"scope\":\"a epufs:admin b\"," EXP "}", NULL, true},
        {"{\"scope\":\"  epufs:admin \"," EXP ",\"tenant_id\":null}", NULL, true},
        {"{\"scope\":\"epufs:admin\"," T "," EXP "}", "tenants/" TENANT, true},
        {"{\"scope\":\"epufs:admins xepufs:admin epufs epufs:admin\\t\"," T "," EXP "}",
         "tenants/" TENANT, false},
        {"{\"scope\":\"EPUFS:ADMIN\"," T "," EXP "}", "tenants/" TENANT, false},
        {"{\"scope\":\"\"," T "," EXP "}", "tenants/" TENANT, false},
        {"{\"scope\":null," T "," EXP "}", "tenants/" TENANT, false},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        char path[SCOPE_PATH_SIZE] = "";
        struct token_claims c = expect_taken(cases[i].payload, &plain, NOW);
        assert_int_equal(c.admin, cases[i].admin);
        assert_int_equal(c.has_scope, cases[i].path != NULL);
        if (c.has_scope)
            scope_path(&c.scope, path);
        assert_string_equal(path, cases[i].path ? cases[i].path : "");
        assert_false(c.has_gen);
        assert_int_equal(c.gen, 0);
        assert_int_equal(c.exp_s, 2000);
    }
}

static void test_malformed_claims(void **state)
{
    static const struct {
        const char *payload, *because;
    } cases[] = {
        {"", "no valid JSON object"},
        {"null", "no valid JSON object"},
        {"[" T "]", "no valid JSON object"},
        {"{" T "," EXP "}{}", "no valid JSON object"},
        {"{" T "," EXP ",}", "no valid JSON object"},
        {"{" T "," T "," EXP "}", "no valid JSON object"},
        {"{" T "," EXP ",\"exp\":3000}", "no valid JSON object"},
        {"{" T "," EXP ",\"\\u0065xp\":3000}", "no valid JSON object"},
        {"{" T "," EXP ",\"a\":{\"b\":1,\"b\":2}}", "no valid JSON object"},
        {"{" T "," EXP ",\"a\":\"\xc0\xaf\"}", "no valid JSON object"},
        {"{" T "," EXP ",\"a\":\"\\u0000\"}", "no valid JSON object"},
        {"{" T "," EXP ",\"a\":\"\\ud800\"}", "no valid JSON object"},
        {"{" T "," EXP ",\"a\":1e999}", "no valid JSON object"},
        {"{" T "," EXP ",\"a\":NaN}", "no valid JSON object"},
        {"{" T "," EXP ",\"a\":01}", "no valid JSON object"},
        {"{" EXP "}", "names no tenant"},
        {"{\"tenant_id\":null," EXP "}", "names no tenant"},
        {"{\"scope\":\"tenant\"," EXP "}", "names no tenant"},
        {"{" TL "," EXP "}", "timeline without a tenant"},
        {"{" T "," EP "," EXP "}", "endpoint without a timeline"},
        {"{" T ",\"timeline_id\":null," EP "," EXP "}", "endpoint without a timeline"},
        {"{\"scope\":\"epufs:admin\"," EP "," EXP "}", "endpoint without a timeline"},
        {"{\"scope\":\"epufs:admin\"," TL "," EXP "}", "timeline without a tenant"},
        {"{\"tenant_id\":\"\"," EXP "}", "tenant_id"},
        {"{\"tenant_id\":7," EXP "}", "tenant_id"},
        {"{\"tenant_id\":[\"" TENANT "\"]," EXP "}", "tenant_id"},
        {"{\"tenant_id\":false," EXP "}", "tenant_id"},
        {"{\"tenant_id\":12345678901234567890123456789012," EXP "}", "tenant_id"},
        {"{\"tenant_id\":\"" TENANT "0\"," EXP "}", "tenant_id"},
        {"{\"tenant_id\":\"../3456789abcdef0123456789abcdef\"," EXP "}", "tenant_id"},
        {"{" T ",\"timeline_id\":\"x\"," EXP "}", "timeline_id"},
        {"{" T "," TL ",\"endpoint_id\":\"\"," EXP "}", "endpoint_id"},
        {"{" T "," TL ",\"endpoint_id\":\"..\"," EXP "}", "endpoint_id"},
        {"{" T "," TL ",\"endpoint_id\":\"ep/1\"," EXP "}", "endpoint_id"},
        {"{" T "," TL ",\"endpoint_id\":1," EXP "}", "endpoint_id"},
        {"{\"scope\":[\"epufs:admin\"]," EXP "}", "scope"},
        {"{\"scope\":true," T "," EXP "}", "scope"},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++)
        expect_refused(cases[i].payload, &plain, NOW, STORE_INVALID, cases[i].because);
}

static void test_nesting(void **state)
{
    struct buf b = BUF_INIT(JWS_MAX_PAYLOAD);
    (void)state;
    buf_adds(&b, "{" T "," EXP ",\"a\":");
    for (int i = 0; i < 5000; i++)
        buf_addc(&b, '[');
    expect_refused(buf_str(&b), &plain, NOW, STORE_INVALID, "no valid JSON object");
    buf_reset(&b);
    buf_adds(&b, "{\"a\":");
    for (int i = 0; i < 500; i++)
        buf_adds(&b, "{\"exp\":");
    buf_addc(&b, '1');
    for (int i = 0; i < 500; i++)
        buf_addc(&b, '}');
    buf_adds(&b, "," T "," EXP "}");
    assert_int_equal(expect_taken(buf_str(&b), &plain, NOW).exp_s, 2000);
    buf_cleanup(&b);
}

/* ---- Numbers ------------------------------------------------------------------------------ */

static void test_gen(void **state)
{
    static const struct {
        const char *text; /* NULL: no claim */
        bool good, has;
        uint64_t gen;
    } cases[] = {
        {NULL, true, false, 0},
        {"null", true, false, 0},
        {"0", true, true, 0},
        {" \n\t7 ", true, true, 7},
        {"9007199254740993", true, true, 9007199254740993}, /* 2^53 + 1: no double */
        {"9223372036854775808", true, true, 1ull << 63},
        {"18446744073709551614", true, true, UINT64_MAX - 1},
        {"18446744073709551615", true, true, UINT64_MAX},
        {"\"0\"", true, true, 0},
        {"\"9007199254740993\"", true, true, 9007199254740993},
        {"\"18446744073709551615\"", true, true, UINT64_MAX},
        {"18446744073709551616", false, false, 0},
        {"99999999999999999999999999999999999999", false, false, 0},
        {"-1", false, false, 0},
        {"-0", false, false, 0},
        {"7.0", false, false, 0},
        {"7.5", false, false, 0},
        {"1e3", false, false, 0},
        {"\"18446744073709551616\"", false, false, 0},
        {"\"\"", false, false, 0},
        {"\"-1\"", false, false, 0},
        {"\"+1\"", false, false, 0},
        {"\" 1\"", false, false, 0},
        {"\"1 \"", false, false, 0},
        {"\"0x1\"", false, false, 0},
        {"\"1.0\"", false, false, 0},
        {"true", false, false, 0},
        {"[7]", false, false, 0},
        {"{}", false, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        char *payload = cases[i].text ? xasprintf("{" T "," EXP ",\"gen\" : %s}", cases[i].text)
                                      : xstrdup("{" T "," EXP "}");
        if (!cases[i].good) {
            expect_refused(payload, &plain, NOW, STORE_INVALID, "'gen' is malformed");
        } else {
            struct token_claims c = expect_taken(payload, &plain, NOW);
            assert_int_equal(c.has_gen, cases[i].has);
            assert_true(c.gen == cases[i].gen);
        }
        free(payload);
    }
}

/* The number's digits are looked up in the text: what stands around must not mislead that. */
static void test_gen_among_decoys(void **state)
{
    static const struct {
        const char *payload;
        uint64_t gen;
    } cases[] = {
        {"{\"a\":\"gen\"," T "," EXP ",\"gen\":7}", 7},
        {"{\"a\":\"\\\"gen\\\":1,\",\"b\":\"\\\\\"," T "," EXP ",\"gen\":7}", 7},
        {"{\"a\":{\"gen\":1},\"b\":[{\"gen\":2},\"gen\",3]," T "," EXP ",\"gen\":7}", 7},
        {"{\"gen\":7,\"a\":{\"gen\":1}," T "," EXP "}", 7},
        {"{\"gen \":1,\"Gen\":2,\"gen2\":3,\"ge\":4," T "," EXP ",\"gen\":7}", 7},
        {"{\"a\":[[[]],{}],\"gen\":18446744073709551615," T "," EXP "}", UINT64_MAX},
        {"\n{\r\"gen\"\t:\n7\r,\"a\":\"}\"," T "," EXP "}\n", 7},
        {"{\"a\":[1,\"gen\",2],\"gen\":7," T "," EXP "}", 7},
        {"{\"a\":\"x\",\"\":0,\"gen\":7," T "," EXP "}", 7},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++)
        assert_true(expect_taken(cases[i].payload, &plain, NOW).gen == cases[i].gen);
    expect_refused("{\"g\\u0065n\":7," T "," EXP "}", &plain, NOW, STORE_INVALID, "'gen'");
}

static void test_exp_forms(void **state)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t exp;
    } cases[] = {
        {"1001", true, 1001},
        {"1001.0", true, 1001},
        {"1001.999", true, 1001},
        {"1.5e3", true, 1500},
        {"2E3", true, 2000},
        {"9007199254740993", true, 9007199254740993},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", true, 1ull << 63},
        {"18446744073709551615", true, UINT64_MAX},
        {"1e19", true, 10000000000000000000u},
        {"18446744073709551616", false, 0},
        {"1e20", false, 0},
        {"1e300", false, 0},
        {"\"2000\"", false, 0},
        {"true", false, 0},
        {"[2000]", false, 0},
        {"{\"exp\":2000}", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        char *payload = xasprintf("{" T ",\"exp\":%s}", cases[i].text);
        if (cases[i].good)
            assert_true(expect_taken(payload, &plain, NOW).exp_s == cases[i].exp);
        else
            expect_refused(payload, &plain, NOW, STORE_INVALID, "'exp' is malformed");
        free(payload);
    }
    expect_refused("{" T "}", &plain, NOW, STORE_INVALID, "exp");
    expect_refused("{" T ",\"exp\":null}", &plain, NOW, STORE_INVALID, "exp");
    expect_refused("{" T ",\"exp\":-1}", &plain, NOW, STORE_DENIED, "expired");
    expect_refused("{" T ",\"exp\":-1e300}", &plain, NOW, STORE_DENIED, "expired");
    expect_refused("{" T ",\"exp\":0}", &plain, 0, STORE_DENIED, "expired");
    expect_refused("{" T "," EXP ",\"nbf\":\"1\"}", &plain, NOW, STORE_INVALID, "'nbf'");
    expect_refused("{" T "," EXP ",\"iat\":[]}", &plain, NOW, STORE_INVALID, "'iat'");
}

/* ---- Times -------------------------------------------------------------------------------- */

static void test_times(void **state)
{
    static const struct {
        const char *claims;
        uint32_t leeway_s;
        int64_t now;
        const char *because; /* NULL: taken */
    } cases[] = {
        {"\"exp\":1000", 0, 999, NULL},
        {"\"exp\":1000", 0, 1000, "expired"},
        {"\"exp\":1000", 0, 1001, "expired"},
        {"\"exp\":1000", 60, 1059, NULL},
        {"\"exp\":1000", 60, 1060, "expired"},
        {"\"exp\":1000.9", 0, 1000, "expired"},
        {"\"exp\":1000", 0, INT64_MAX, "expired"},
        {"\"exp\":18446744073709551615", 0, INT64_MAX, NULL},
        {"\"exp\":18446744073709551615", UINT32_MAX, INT64_MAX, NULL},
        {"\"exp\":5", UINT32_MAX, 1000, NULL},
        {"\"exp\":5", 0, -7, NULL},
        {EXP ",\"nbf\":1000", 0, 1000, NULL},
        {EXP ",\"nbf\":1001", 0, 1000, "not valid yet"},
        {EXP ",\"nbf\":1060", 60, 1000, NULL},
        {EXP ",\"nbf\":1061", 60, 1000, "not valid yet"},
        {EXP ",\"nbf\":1000.5", 0, 1000, NULL},
        {EXP ",\"nbf\":-5", 0, 1000, NULL},
        {EXP ",\"nbf\":null", 0, 1000, NULL},
        {EXP ",\"nbf\":18446744073709551615", UINT32_MAX, 1000, "not valid yet"},
        {EXP ",\"iat\":1000", 0, 1000, NULL},
        {EXP ",\"iat\":1001", 0, 1000, "in the future"},
        {EXP ",\"iat\":1060", 60, 1000, NULL},
        {EXP ",\"iat\":1061", 60, 1000, "in the future"},
        {EXP ",\"iat\":null", 0, 1000, NULL},
        {EXP ",\"iat\":18446744073709551615", 60, 1000, "in the future"},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        struct token_rules rules = {.leeway_s = cases[i].leeway_s};
        char *payload = xasprintf("{" T ",%s}", cases[i].claims);
        if (cases[i].because)
            expect_refused(payload, &rules, cases[i].now, STORE_DENIED, cases[i].because);
        else
            expect_taken(payload, &rules, cases[i].now);
        free(payload);
    }
}

static void test_parties(void **state)
{
    const struct token_rules aud = {.audience = "epufs"}, iss = {.issuer = "cplane"};
    static const char *const good[] = {"\"epufs\"", "[\"epufs\"]", "[\"x\",\"epufs\"]",
                                       "[\"epufs\",\"x\"]"};
    static const char *const other[] = {"\"x\"", "\"\"", "[]", "[\"x\"]", "null", "\"epufs \""};
    static const char *const malformed[] = {"7", "{}", "[\"epufs\",7]", "[[\"epufs\"]]"};
    (void)state;
    for (size_t i = 0; i < LEN(good); i++) {
        char *payload = xasprintf("{" T "," EXP ",\"aud\":%s}", good[i]);
        expect_taken(payload, &aud, NOW);
        free(payload);
    }
    for (size_t i = 0; i < LEN(other); i++) {
        char *payload = xasprintf("{" T "," EXP ",\"aud\":%s}", other[i]);
        expect_refused(payload, &aud, NOW, STORE_DENIED, "another audience");
        expect_taken(payload, &plain, NOW);
        free(payload);
    }
    for (size_t i = 0; i < LEN(malformed); i++) {
        char *payload = xasprintf("{" T "," EXP ",\"aud\":%s}", malformed[i]);
        expect_refused(payload, &aud, NOW, STORE_INVALID, "'aud'");
        free(payload);
    }
    expect_refused("{" T "," EXP "}", &aud, NOW, STORE_DENIED, "another audience");
    expect_taken("{" T "," EXP ",\"iss\":\"cplane\"}", &iss, NOW);
    expect_taken("{" T "," EXP ",\"iss\":\"x\"}", &plain, NOW);
    expect_refused("{" T "," EXP "}", &iss, NOW, STORE_DENIED, "another issuer");
    expect_refused("{" T "," EXP ",\"iss\":\"cplane2\"}", &iss, NOW, STORE_DENIED, "issuer");
    expect_refused("{" T "," EXP ",\"iss\":[\"cplane\"]}", &iss, NOW, STORE_INVALID, "'iss'");
}

/* ---- Whole tokens ------------------------------------------------------------------------- */

/* Only a genuine token's claims are looked at, a message shows nothing of it, and a failure leaves
 * the result alone. */
static void test_forged(void **state)
{
    EVP_PKEY *other = fixture_key(KEY_EDDSA);
    char *jwt = fixture_jws(other, HEADER, "{" T "," EXP "}");
    struct token_claims claims = {.gen = 99};
    struct store_err err = {.code = STORE_OK};
    (void)state;
    assert_int_equal(token_verify(ring, &plain, NOW, jwt, strlen(jwt), &claims, &err), -1);
    assert_int_equal(err.code, STORE_DENIED);
    assert_string_equal(err.msg, "the token's signature does not match");
    assert_int_equal(claims.gen, 99);
    assert_int_equal(token_verify(ring, &plain, NOW, jwt, strlen(jwt), &claims, NULL), -1);
    assert_int_equal(token_verify(ring, &plain, NOW, "", 0, &claims, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    free(jwt);
    EVP_PKEY_free(other);
}

static void check_neon_step(const json_t *step, const struct keyring *kr, size_t *good)
{
    const struct token_rules rules = {.leeway_s = 60};
    const char *jwt = fixture_string(step, "token");
    bool is_real = *jwt && strcmp(jwt, "123") != 0;
    struct token_claims claims;
    struct store_err err = {.code = STORE_OK};
    int rc = token_verify(kr, &rules, 1700000000, jwt, strlen(jwt), &claims, &err);
    if ((rc == 0) != is_real)
        fail_msg("%s: %s", fixture_string(step, "group"), err.msg);
    if (rc == 0) {
        assert_true(claims.has_scope && !claims.admin && !claims.has_gen);
        assert_true(claims.exp_s == 4102444800 || claims.exp_s == UINT64_MAX);
        *good += 1;
    }
}

static void test_neon(void **state)
{
    json_t *file = fixture_vectors("neon-endpoint-storage.json"), *step;
    struct keyring *from_pem = keyring_new(), *from_jwks = keyring_new();
    const char *pem = fixture_string(file, "pem");
    json_t *jwks = json_object_get(file, "jwks");
    char *set = json_is_string(jwks) ? xstrdup(json_string_value(jwks)) : json_dumps(jwks, 0);
    size_t i, good = 0;
    (void)state;
    assert_int_equal(keyring_add(from_pem, "pem", pem, strlen(pem), NULL), 0);
    assert_int_equal(keyring_add(from_jwks, "jwks", set, strlen(set), NULL), 0);
    json_array_foreach(json_object_get(file, "steps"), i, step)
    {
        check_neon_step(step, from_pem, &good);
        check_neon_step(step, from_jwks, &good);
    }
    assert_int_equal(i, 92);
    assert_int_equal(good, 2 * 68);
    keyring_unref(from_pem);
    keyring_unref(from_jwks);
    free(set);
    json_decref(file);
}

/* ---- Cache -------------------------------------------------------------------------------- */

static int cached(struct token_cache *c, struct keyring *kr, const struct token_rules *rules,
                  int64_t now, const char *jwt, struct token_claims *claims)
{
    struct store_err err = {.code = STORE_OK};
    return token_cache_verify(c, kr, rules, now, jwt, strlen(jwt), claims, &err);
}

/* A ring without keys verifies nothing, so a success with it can only come out of the cache. */
static void test_cache_hits(void **state)
{
    char *jwt = fixture_jws(ed, HEADER, "{" T "," EXP ",\"nbf\":500,\"gen\":7}");
    struct token_cache *c = token_cache_new(100);
    struct token_claims first, second;
    size_t n_keys = ring->n;
    (void)state;
    assert_int_equal(cached(c, ring, &plain, NOW, jwt, &first), 0);
    ring->n = 0;
    memset(&second, 0, sizeof(second));
    assert_int_equal(cached(c, ring, &plain, NOW, jwt, &second), 0);
    assert_true(scope_equal(&first.scope, &second.scope) && second.has_scope && second.has_gen);
    assert_int_equal(second.gen, 7);
    assert_int_equal(second.exp_s, 2000);
    assert_int_equal(second.nbf_s, 500);
    assert_int_equal(cached(c, ring, &plain, 2000, jwt, &second), -1);
    assert_int_equal(cached(c, ring, &plain, 499, jwt, &second), -1);
    assert_int_equal(cached(c, ring, &plain, 500, jwt, &second), 0);
    /* rules that are asked for are not passed over */
    assert_int_equal(cached(c, ring, &(struct token_rules){.audience = "x"}, NOW, jwt, &second),
                     -1);
    assert_int_equal(cached(c, ring, &(struct token_rules){.issuer = "x"}, NOW, jwt, &second), -1);
    assert_int_equal(cached(c, ring, &(struct token_rules){.leeway_s = 60}, 2059, jwt, &second), 0);
    /* another token is another entry, up to its last byte */
    jwt[strlen(jwt) - 3] ^= 1;
    assert_int_equal(cached(c, ring, &plain, NOW, jwt, &second), -1);
    ring->n = n_keys;
    assert_int_equal(cached(c, ring, &plain, NOW, jwt, &second), -1);
    token_cache_free(c);
    free(jwt);
}

static void test_cache_keeps_no_failure(void **state)
{
    struct keyring *empty = keyring_new();
    struct token_cache *c = token_cache_new(100);
    struct token_claims claims;
    char *early = fixture_jws(ed, HEADER, "{" T "," EXP ",\"nbf\":1500}");
    (void)state;
    assert_int_equal(cached(c, ring, &plain, NOW, early, &claims), -1);
    assert_int_equal(cached(c, ring, &plain, 1500, early, &claims), 0);
    /* another ring: what the old one vouched for is gone, and it comes back with it */
    assert_int_equal(cached(c, empty, &plain, 1500, early, &claims), -1);
    assert_int_equal(cached(c, ring, &plain, 1500, early, &claims), 0);
    assert_int_equal(cached(c, ring, &plain, 1500, "", &claims), -1);
    token_cache_free(c);
    assert_int_equal(atomic_load(&empty->refs), 1);
    assert_int_equal(atomic_load(&ring->refs), 1);
    keyring_unref(empty);
    free(early);
}

/* The ring may be let go by its owner while the cache still knows it. */
static void test_cache_holds_ring(void **state)
{
    char *pem = fixture_pem(ed), *jwt = fixture_jws(ed, HEADER, "{" T "," EXP "}");
    struct token_cache *c = token_cache_new(8);
    struct token_claims claims;
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct keyring *kr = keyring_new();
        assert_int_equal(keyring_add(kr, "test", pem, strlen(pem), NULL), 0);
        assert_int_equal(cached(c, kr, &plain, NOW, jwt, &claims), 0);
        keyring_unref(kr);
    }
    token_cache_free(c);
    token_cache_free(NULL);
    free(pem);
    free(jwt);
}

static size_t count_hits(struct token_cache *c, char *const *jwts, size_t n)
{
    struct token_claims claims;
    size_t n_keys = ring->n, hits = 0;
    ring->n = 0;
    for (size_t i = 0; i < n; i++)
        hits += cached(c, ring, &plain, NOW, jwts[i], &claims) == 0;
    ring->n = n_keys;
    return hits;
}

static void test_cache_bound(void **state)
{
    static const size_t sizes[] = {0, 1, 3, 8, 20, 64};
    char *jwts[100];
    (void)state;
    for (size_t i = 0; i < LEN(jwts); i++) {
        char *payload = xasprintf("{" T "," EXP ",\"gen\":%zu}", i);
        jwts[i] = fixture_jws(ed, HEADER, payload);
        free(payload);
    }
    for (size_t s = 0; s < LEN(sizes); s++) {
        struct token_cache *c = token_cache_new(sizes[s]);
        struct token_claims claims;
        for (size_t i = 0; i < LEN(jwts); i++) {
            assert_int_equal(cached(c, ring, &plain, NOW, jwts[i], &claims), 0);
            assert_int_equal(claims.gen, i);
        }
        size_t hits = count_hits(c, jwts, LEN(jwts));
        assert_true(hits <= sizes[s]);
        if (sizes[s] <= 8) /* one set: exactly the latest */
            assert_int_equal(count_hits(c, jwts + LEN(jwts) - sizes[s], sizes[s]), sizes[s]);
        else
            assert_true(hits >= sizes[s] / 2);
        token_cache_free(c);
    }
    for (size_t i = 0; i < LEN(jwts); i++)
        free(jwts[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_malformed_claims),
        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_gen),
        cmocka_unit_test(test_gen_among_decoys),
        cmocka_unit_test(test_exp_forms),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_parties),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_neon),
        cmocka_unit_test(test_cache_hits),
        cmocka_unit_test(test_cache_keeps_no_failure),
        cmocka_unit_test(test_cache_holds_ring),
        cmocka_unit_test(test_cache_bound),
    };
    return cmocka_run_group_tests_name("token", tests, make_ring, free_ring);
}
