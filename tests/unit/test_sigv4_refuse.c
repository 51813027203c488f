/* What the signer refuses, and that it survives the failures of what it calls. */
#include <dlfcn.h>

#include <openssl/evp.h>

#include "tests/unit/sigv4_fixture.h"

static void requests_that_cannot_be_sent_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *method, *path;
        struct sigv4_pair header;
    } cases[] = {
        {"line feed in a value", "GET", "/", {"x", "a\nb"}},
        {"carriage return in a value", "GET", "/", {"x", "a\r"}},
        {"line feed in a name", "GET", "/", {"x\nhost", "a"}},
        {"colon in a name", "GET", "/", {"x:", "a"}},
        {"slash in a name", "GET", "/", {"x/y", "a"}},
        {"bracket in a name", "GET", "/", {"x[", "a"}},
        {"brace in a name", "GET", "/", {"x{", "a"}},
        {"DEL in a value", "GET", "/", {"x", "a\x7f"}},
        {"no name", "GET", "/", {"", "a"}},
        {"no method", "", "/", {"x", "a"}},
        {"space in the method", "GET /", "/", {"x", "a"}},
        {"relative path", "GET", "a", {"x", "a"}},
        {"empty path", "GET", "", {"x", "a"}},
        {"query in the path", "GET", "/a?b", {"x", "a"}},
        {"unencoded space", "GET", "/a b", {"x", "a"}},
        {"unencoded bytes", "GET", "/\xc3\xa9", {"x", "a"}},
    };
    struct sigv4_signer *s = new_signer(SECRET, NULL);
    for (size_t i = 0; i < LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct sigv4_request r = plain_request();
        r.method = cases[i].method;
        r.path = cases[i].path;
        r.headers = &cases[i].header;
        struct outcome o = sign(s, &r);
        assert_int_equal(o.rc, -1);
        assert_int_equal(o.err.code, STORE_INVALID);
        assert_int_equal(o.headers.len, 0);
        outcome_cleanup(&o);
        o = presign(s, &r, 60);
        assert_int_equal(o.rc, -1);
        assert_int_equal(o.query.len, 0);
        outcome_cleanup(&o);
    }
    sigv4_signer_free(s);
}

static void pairs_and_expiry_have_a_bound(void **state)
{
    (void)state;
    struct sigv4_signer *s = new_signer(SECRET, NULL);
    struct sigv4_pair many[65];
    for (size_t i = 0; i < LEN(many); i++)
        many[i] = (struct sigv4_pair){"h", "v"};

    struct sigv4_request r = plain_request();
    r.headers = many;
    r.n_headers = 63; /* and x-amz-date */
    struct outcome o = sign(s, &r);
    assert_int_equal(o.rc, 0);
    outcome_cleanup(&o);
    r.n_headers = 64;
    o = sign(s, &r);
    assert_int_equal(o.rc, -1);
    assert_int_equal(o.err.code, STORE_INVALID);
    outcome_cleanup(&o);

    r = plain_request();
    r.query = many;
    r.n_query = 65;
    o = sign(s, &r);
    assert_int_equal(o.err.code, STORE_INVALID);
    outcome_cleanup(&o);

    const uint32_t bad_expiries[] = {0, 604801, UINT32_MAX};
    r = plain_request();
    for (size_t i = 0; i < LEN(bad_expiries); i++) {
        o = presign(s, &r, bad_expiries[i]);
        assert_int_equal(o.err.code, STORE_INVALID);
        outcome_cleanup(&o);
    }
    sigv4_signer_free(s);
}

static void a_full_output_buffer_is_told(void **state)
{
    (void)state;
    struct sigv4_signer *s = new_signer(SECRET, NULL);
    struct buf small = BUF_INIT(100), query = BUF_INIT(100);
    struct sigv4_request r = plain_request();
    struct store_err err = {0};
    assert_int_equal(sigv4_sign(s, &r, &small, &query, NULL, NULL, &err), -1);
    assert_int_equal(err.code, STORE_NO_MEMORY);
    buf_reset(&query);
    assert_int_equal(sigv4_presign(s, &r, 9, &query, NULL, NULL, &err), -1);
    assert_int_equal(err.code, STORE_NO_MEMORY);
    buf_cleanup(&small);
    buf_cleanup(&query);
    sigv4_signer_free(s);
}

static void malformed_credentials_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *access_key, *secret, *token, *region, *service;
    } cases[] = {
        {"no access key", "", "s", NULL, "r", "s3"},
        {"line feed in the access key", "a\nb", "s", NULL, "r", "s3"},
        {"no secret", "a", "", NULL, "r", "s3"},
        {"line feed in the token", "a", "s", "t\r\nx: y", "r", "s3"},
        {"no region", "a", "s", NULL, "", "s3"},
        {"space in the region", "a", "s", NULL, "r 1", "s3"},
        {"no service", "a", "s", NULL, "r", ""},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct sigv4_signer *s;
        struct store_err err = {0};
        assert_int_equal(sigv4_signer_new(cases[i].access_key, cases[i].secret, cases[i].token,
                                          cases[i].region, cases[i].service, &s, &err),
                         -1);
        assert_int_equal(err.code, STORE_INVALID);
        assert_null(s);
    }
    sigv4_signer_free(NULL);
}

/* What is not signed is refused by S3: names with '_' reach it too. */
static void names_are_signed_in_small_letters(void **state)
{
    (void)state;
    const struct sigv4_pair header = {"X_09-AZaz", "v"};
    struct sigv4_signer *s = new_signer(SECRET, NULL);
    struct sigv4_request r = plain_request();
    r.headers = &header;
    struct outcome o = sign(s, &r);
    assert_int_equal(o.rc, 0);
    assert_non_null(strstr(buf_str(&o.canonical), "\nx_09-azaz:v\n"));
    outcome_cleanup(&o);
    sigv4_signer_free(s);
}

/* What is added here needs room too, whichever of it comes last. */
static void what_is_added_counts_for_the_bound(void **state)
{
    (void)state;
    struct sigv4_signer *s = new_signer(SECRET, "token");
    struct sigv4_pair many[64];
    for (size_t i = 0; i < LEN(many); i++)
        many[i] = (struct sigv4_pair){"h", "v"};
    for (size_t n = 58; n <= 64; n++) {
        struct sigv4_request r = plain_request();
        r.query = many;
        r.n_query = n;
        struct outcome o = presign(s, &r, 60);
        assert_int_equal(o.rc, n == 58 ? 0 : -1);
        assert_int_equal(o.err.code, n == 58 ? STORE_OK : STORE_INVALID);
        outcome_cleanup(&o);
    }
    for (size_t n = 61; n <= 64; n++) {
        struct sigv4_request r = plain_request();
        r.headers = many;
        r.n_headers = n;
        r.add_content_sha256 = true;
        struct outcome o = sign(s, &r);
        assert_int_equal(o.rc, n == 61 ? 0 : -1);
        assert_int_equal(o.err.code, n == 61 ? STORE_OK : STORE_INVALID);
        outcome_cleanup(&o);
    }
    sigv4_signer_free(s);
}

/* ---- Texts past the bound of the scratch buffers ---- */

static char *long_text(void)
{
    enum { TOO_LONG = 300 * 1024 };
    char *s = xmalloc(TOO_LONG + 1);
    memset(s, 'x', TOO_LONG);
    s[TOO_LONG] = '\0';
    return s;
}

static void texts_have_a_bound(void **state)
{
    (void)state;
    char *text = long_text();
    text[0] = '/';
    const struct sigv4_pair fields[] = {{"x", text}, {text + 1, "x"}};
    const struct sigv4_pair parameters[] = {{"x", text}, {text, "x"}};
    struct sigv4_signer *s = new_signer(SECRET, NULL);
    for (size_t i = 0; i < 5; i++) {
        struct sigv4_request r = plain_request();
        r.headers = i < 2 ? &fields[i] : r.headers;
        r.query = i >= 2 ? &parameters[i % 2] : NULL;
        r.n_query = i == 2 || i == 3;
        r.path = i == 4 ? text : "/";
        struct outcome o = sign(s, &r);
        assert_int_equal(o.rc, -1);
        assert_int_equal(o.err.code, STORE_NO_MEMORY);
        outcome_cleanup(&o);
        o = presign(s, &r, 60);
        assert_int_equal(o.rc, -1);
        assert_int_equal(o.err.code, STORE_NO_MEMORY);
        outcome_cleanup(&o);
    }
    sigv4_signer_free(s);
    free(text);
}

/* The credential and what is signed may be too long together, though each is not. */
static void long_credentials_have_a_bound(void **state)
{
    (void)state;
    char *access = long_text();
    struct sigv4_signer *s;
    struct store_err err = {0};
    struct sigv4_request r = plain_request();
    assert_int_equal(sigv4_signer_new(access, SECRET, NULL, "us-east-1", "s3", &s, &err), 0);
    struct outcome o = sign(s, &r);
    assert_int_equal(o.rc, -1);
    assert_int_equal(o.err.code, STORE_NO_MEMORY);
    outcome_cleanup(&o);
    sigv4_signer_free(s);
    free(access);
}

/* ---- Failures of OpenSSL ---- */

static long calls_until_failure; /* 0: none fails */

static bool openssl_fails(void)
{
    return calls_until_failure > 0 && --calls_until_failure == 0;
}

/* What sigv4.c calls comes here; OpenSSL's own calls of itself do not. */
#define STANDS_IN(result, name, parameters, arguments, failure)   \
    __attribute__((visibility("default"))) result name parameters \
    {                                                             \
        static result(*real) parameters;                          \
        if (!real)                                                \
            *(void **)&real = dlsym(RTLD_NEXT, #name);            \
        return openssl_fails() ? (failure) : real arguments;      \
    }
STANDS_IN(EVP_MD_CTX *, EVP_MD_CTX_new, (void), (), NULL)
STANDS_IN(EVP_MD *, EVP_MD_fetch, (OSSL_LIB_CTX * c, const char *a, const char *p), (c, a, p), NULL)
STANDS_IN(int, EVP_DigestInit_ex2, (EVP_MD_CTX * c, const EVP_MD *md, const OSSL_PARAM *p),
          (c, md, p), 0)
STANDS_IN(int, EVP_DigestUpdate, (EVP_MD_CTX * c, const void *d, size_t n), (c, d, n), 0)
STANDS_IN(int, EVP_DigestFinal_ex, (EVP_MD_CTX * c, unsigned char *md, unsigned *n), (c, md, n), 0)
STANDS_IN(int, EVP_MD_CTX_copy_ex, (EVP_MD_CTX * out, const EVP_MD_CTX *in), (out, in), 0)
STANDS_IN(int, EVP_Digest,
          (const void *d, size_t n, unsigned char *md, unsigned *size, const EVP_MD *type,
           ENGINE *impl),
          (d, n, md, size, type, impl), 0)

/* A call of the signer with its nth call of OpenSSL failing. Returns whether one did. */
static bool sign_with_failure(long nth, const char *secret, bool in_query, struct outcome *o)
{
    struct sigv4_signer *s = NULL;
    struct sigv4_request r = plain_request();
    outcome_init(o);
    calls_until_failure = nth;
    o->rc = sigv4_signer_new("AKID", secret, NULL, "us-east-1", "s3", &s, &o->err);
    if (o->rc == 0) {
        outcome_cleanup(o);
        *o = in_query ? presign(s, &r, 60) : sign(s, &r);
    }
    bool happened = calls_until_failure == 0;
    calls_until_failure = 0;
    sigv4_signer_free(s);
    return happened;
}

/* secret: shorter and longer than a block, which HMAC treats differently. */
static void check_failures(const char *secret, bool in_query)
{
    bool failing = true;
    for (long nth = 1; failing; nth++) {
        struct outcome o;
        failing = sign_with_failure(nth, secret, in_query, &o);
        assert_int_equal(o.rc, failing ? -1 : 0);
        assert_true(!failing || o.err.code == STORE_FAILED || o.err.code == STORE_NO_MEMORY);
        assert_true(!failing || (o.headers.len == 0 && o.query.len == 0));
        assert_true(failing || nth > 30);
        outcome_cleanup(&o);
    }
}

static void any_call_of_openssl_may_fail(void **state)
{
    (void)state;
    char secret[101] = "";
    memset(secret, 's', 100);
    check_failures(SECRET, false);
    check_failures(SECRET, true);
    check_failures(secret, false);
    char hex[65];
    calls_until_failure = 1;
    assert_int_equal(sigv4_sha256_hex("", 0, hex), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_that_cannot_be_sent_are_refused),
        cmocka_unit_test(names_are_signed_in_small_letters),
        cmocka_unit_test(pairs_and_expiry_have_a_bound),
        cmocka_unit_test(what_is_added_counts_for_the_bound),
        cmocka_unit_test(texts_have_a_bound),
        cmocka_unit_test(long_credentials_have_a_bound),
        cmocka_unit_test(a_full_output_buffer_is_told),
        cmocka_unit_test(malformed_credentials_are_refused),
        cmocka_unit_test(any_call_of_openssl_may_fail),
    };
    return cmocka_run_group_tests_name("sigv4_refuse", tests, NULL, NULL);
}
