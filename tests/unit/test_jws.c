#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/hmac.h>

#include "epufs/jws.h"
#include "tests/unit/jws_fixture.h"

#define PAYLOAD "{\"any\":\"thing\"}"

/* From a copy of the exact size, so that a sanitizer sees every step too far. */
static int check_n(const struct keyring *kr, const char *jws, size_t n, struct store_err *err)
{
    char payload[JWS_MAX_PAYLOAD];
    size_t len = 77;
    char *copy = xmalloc(n ? n : 1);
    memcpy(copy, jws, n);
    int rc = jws_check(kr, copy, n, payload, &len, err);
    free(copy);
    if (rc)
        assert_true(err->code == STORE_DENIED || err->code == STORE_INVALID);
    return rc;
}

static int check(const struct keyring *kr, const char *jws, struct store_err *err)
{
    return check_n(kr, jws, strlen(jws), err);
}

static void expect_refused(const struct keyring *kr, const char *jws, enum store_code code,
                           const char *because)
{
    struct store_err err = {.code = STORE_OK};
    if (check(kr, jws, &err) == 0)
        fail_msg("taken: %s", jws);
    if (err.code != code || !strstr(err.msg, because))
        fail_msg("'%s' (%d) does not say '%s'", err.msg, (int)err.code, because);
}

static void expect_taken(const struct keyring *kr, const char *jws)
{
    struct store_err err = {.code = STORE_OK};
    if (check(kr, jws, &err))
        fail_msg("%s: %s", err.msg, jws);
}

static struct keyring *ring_of_text(const char *text)
{
    struct keyring *kr = keyring_new();
    assert_int_equal(keyring_add(kr, "test", text, strlen(text), NULL), 0);
    return kr;
}

static struct keyring *ring_of_key(EVP_PKEY *pkey)
{
    char *pem = fixture_pem(pkey);
    struct keyring *kr = ring_of_text(pem);
    free(pem);
    return kr;
}

/* ---- Vectors ------------------------------------------------------------------------------ */

/* A ring with one JWK; perhaps empty, when it is not for us or refused. */
static struct keyring *ring_of_jwk(const json_t *jwk)
{
    struct keyring *kr = keyring_new();
    char *text = json_dumps(jwk, 0);
    char *set = xasprintf("{\"keys\":[%s]}", text);
    keyring_add(kr, "test", set, strlen(set), NULL);
    free(text);
    free(set);
    return kr;
}

/* Groups with one of our algorithms must come out as written there; of the others (HMAC, RSA-PSS,
 * larger hashes, P-521) nothing may be taken, whatever is written there. */
static size_t check_wycheproof_group(const json_t *group, size_t *n_taken)
{
    const json_t *key = json_object_get(group, "public"), *test;
    bool ours = strcmp(fixture_string(group, "applies"), "verify") == 0;
    size_t i;
    if (!json_is_object(key))
        key = json_object_get(group, "oct");
    struct keyring *kr = ring_of_jwk(key);
    json_array_foreach(json_object_get(group, "tests"), i, test)
    {
        struct store_err err = {.code = STORE_OK};
        bool expected = ours && strcmp(fixture_string(test, "result"), "valid") == 0;
        bool taken = check(kr, fixture_string(test, "jws"), &err) == 0;
        if (taken != expected)
            fail_msg("%lld %s: %s", json_integer_value(json_object_get(test, "tcId")),
                     fixture_string(test, "comment"), taken ? "taken" : err.msg);
        *n_taken += taken;
    }
    keyring_unref(kr);
    return i;
}

static void test_wycheproof(void **state)
{
    json_t *file = fixture_vectors("wycheproof-jws.json"), *group;
    size_t i, n = 0, n_taken = 0;
    (void)state;
    json_array_foreach(json_object_get(file, "groups"), i, group) n +=
        check_wycheproof_group(group, &n_taken);
    assert_int_equal(n, 401);
    assert_int_equal(n_taken, 10);
    json_decref(file);
}

static void test_rfc_examples(void **state)
{
    json_t *file = fixture_vectors("rfc-examples.json"), *test;
    size_t i;
    (void)state;
    json_array_foreach(json_object_get(file, "tests"), i, test)
    {
        struct store_err err = {.code = STORE_OK};
        struct keyring *kr = ring_of_jwk(json_object_get(test, "jwk"));
        bool expected = strcmp(fixture_string(test, "result"), "valid") == 0;
        assert_int_equal(kr->n, 1);
        if ((check(kr, fixture_string(test, "jws"), &err) == 0) != expected)
            fail_msg("%s: %s", fixture_string(test, "name"), err.msg);
        keyring_unref(kr);
    }
    assert_int_equal(i, 6);
    json_decref(file);
}

static unsigned char *from_hex(const char *hex, size_t *n)
{
    *n = strlen(hex) / 2;
    unsigned char *bytes = xmalloc(*n ? *n : 1);
    assert_true(hex_decode(hex, strlen(hex), bytes, *n));
    return bytes;
}

static void check_ed25519(const json_t *test)
{
    size_t pk_len, msg_len, sig_len;
    unsigned char *pk = from_hex(fixture_string(test, "pk"), &pk_len);
    unsigned char *msg = from_hex(fixture_string(test, "msg"), &msg_len);
    unsigned char *sig = from_hex(fixture_string(test, "sig"), &sig_len);
    char *x = fixture_base64url(pk, pk_len);
    char *set = xasprintf("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"}]}", x);
    struct keyring *kr = ring_of_text(set);
    if (jws_signature_holds(&kr->keys[0], msg, msg_len, sig, sig_len) !=
        (strcmp(fixture_string(test, "result"), "valid") == 0))
        fail_msg("%lld", json_integer_value(json_object_get(test, "tcId")));
    keyring_unref(kr);
    free(pk);
    free(msg);
    free(sig);
    free(x);
    free(set);
}

static void test_wycheproof_ed25519(void **state)
{
    json_t *file = fixture_vectors("wycheproof-ed25519.json"), *test;
    size_t i;
    (void)state;
    json_array_foreach(json_object_get(file, "tests"), i, test) check_ed25519(test);
    assert_int_equal(i, 151);
    json_decref(file);
}

/* ---- Own attacks -------------------------------------------------------------------------- */

static void test_round_trip(void **state)
{
    const struct {
        EVP_PKEY *pkey;
        const char *header;
    } cases[] = {
        {ed, "{\"alg\":\"EdDSA\"}"},
        {ed, "{\"alg\":\"Ed25519\",\"typ\":\"JWT\"}"},
        {ec, "{\"alg\":\"ES256\"}"},
        {rsa, " {\"alg\" : \"RS256\", \"x\":[1e3,18446744073709551616]} "},
        /* where a forger would put a key of his own: not looked at */
        {ed, "{\"alg\":\"EdDSA\",\"jku\":\"http://127.0.0.1/\",\"jwk\":{\"kty\":\"oct\"},"
             "\"x5u\":7,\"x5c\":[]}"},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        struct store_err err;
        char payload[JWS_MAX_PAYLOAD];
        size_t n = 0;
        struct keyring *kr = ring_of_key(cases[i].pkey);
        char *jws = fixture_jws(cases[i].pkey, cases[i].header, PAYLOAD);
        assert_int_equal(jws_check(kr, jws, strlen(jws), payload, &n, &err), 0);
        assert_int_equal(n, strlen(PAYLOAD));
        assert_memory_equal(payload, PAYLOAD, n);
        free(jws);
        keyring_unref(kr);
    }
}

/* Random r and s, so that leading zeros and high bits come up in the DER form. */
static void test_many_es256(void **state)
{
    struct keyring *kr = ring_of_key(ec);
    (void)state;
    for (int i = 0; i < 600; i++) {
        char *jws = fixture_jws(ec, "{\"alg\":\"ES256\"}", PAYLOAD);
        expect_taken(kr, jws);
        free(jws);
    }
    keyring_unref(kr);
}

static void test_es256_ranges(void **state)
{
    static const char order[] = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    unsigned char n[32], sig[2 * 1024], good[1024];
    struct keyring *kr = ring_of_key(ec);
    const struct key *k = &kr->keys[0];
    (void)state;
    assert_true(hex_decode(order, 64, n, 32));
    size_t len = fixture_signature(ec, "m", 1, good);
    assert_int_equal(len, 64);
    assert_true(jws_signature_holds(k, "m", 1, good, 64));
    for (size_t at = 0; at <= 32; at += 32) {
        memcpy(sig, good, 64);
        memset(sig + at, 0, 32);
        assert_false(jws_signature_holds(k, "m", 1, sig, 64));
        memcpy(sig + at, n, 32);
        assert_false(jws_signature_holds(k, "m", 1, sig, 64));
        memset(sig + at, 0xff, 32);
        assert_false(jws_signature_holds(k, "m", 1, sig, 64));
    }
    memset(sig, 0, 64);
    assert_false(jws_signature_holds(k, "m", 1, sig, 64));
    memcpy(sig, good, 64);
    sig[64] = 0;
    assert_false(jws_signature_holds(k, "m", 1, sig, 65));
    assert_false(jws_signature_holds(k, "m", 1, sig, 63));
    assert_false(jws_signature_holds(k, "m", 1, sig, 0));
    assert_false(jws_signature_holds(k, "n", 1, good, 64));
    keyring_unref(kr);
}

static char *hmac_jws(const char *header, const char *secret)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len;
    char *input = fixture_jws_input(header, PAYLOAD, strlen(PAYLOAD));
    assert_non_null(HMAC(EVP_sha256(), secret, (int)strlen(secret), (unsigned char *)input,
                         strlen(input), mac, &mac_len));
    return fixture_jws_signed(input, mac, mac_len);
}

static void test_algorithms(void **state)
{
    static const char *const unknown[] = {
        "none",  "None",  "NONE",  "nOnE",    "",       "HS256", "HS384",  "HS512",
        "RS1",   "RS384", "RS512", "PS256",   "PS512",  "ES384", "ES512",  "ES256K",
        "Ed448", "eddsa", "EDDSA", "ed25519", "EdDSA ", "RSA",   "A128KW",
    };
    struct keyring *kr = ring_of_key(ed);
    char *pem = fixture_pem(ed);
    (void)state;
    for (size_t i = 0; i < LEN(unknown); i++) {
        char *header = xasprintf("{\"alg\":\"%s\"}", unknown[i]);
        char *jws = fixture_jws(ed, header, PAYLOAD);
        expect_refused(kr, jws, STORE_DENIED, "algorithm is not accepted");
        strrchr(jws, '.')[1] = '\0';
        expect_refused(kr, jws, STORE_DENIED, "algorithm is not accepted");
        free(jws);
        jws = hmac_jws(header, pem);
        expect_refused(kr, jws, STORE_DENIED, "algorithm is not accepted");
        free(jws);
        free(header);
    }
    free(pem);
    keyring_unref(kr);
}

/* The right signature under the name of another of our algorithms. */
static void test_algorithm_confusion(void **state)
{
    EVP_PKEY *const keys[] = {ed, ec, rsa};
    static const char *const names[] = {"EdDSA", "ES256", "RS256"};
    struct keyring *all = keyring_new();
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        char *pem = fixture_pem(keys[k]);
        assert_int_equal(keyring_add(all, "test", pem, strlen(pem), NULL), 0);
        free(pem);
    }
    for (size_t k = 0; k < 3; k++) {
        struct keyring *one = ring_of_key(keys[k]);
        for (size_t a = 0; a < 3; a++) {
            char *header = xasprintf("{\"alg\":\"%s\"}", names[a]);
            char *jws = fixture_jws(keys[k], header, PAYLOAD);
            if (a == k) {
                expect_taken(one, jws);
                expect_taken(all, jws);
            } else {
                expect_refused(one, jws, STORE_DENIED, "no key for the token's algorithm");
                expect_refused(all, jws, STORE_DENIED, "does not match");
            }
            free(header);
            free(jws);
        }
        keyring_unref(one);
    }
    keyring_unref(all);
}

static void test_headers(void **state)
{
    static const struct {
        const char *header;
        enum store_code code;
        const char *because;
    } cases[] = {
        {"", STORE_INVALID, "header is no valid JSON"},
        {"null", STORE_INVALID, "header is no valid JSON"},
        {"[\"alg\",\"EdDSA\"]", STORE_INVALID, "header is no valid JSON"},
        {"\"EdDSA\"", STORE_INVALID, "header is no valid JSON"},
        {"{\"alg\":\"EdDSA\"}x", STORE_INVALID, "header is no valid JSON"},
        {"{\"alg\":\"EdDSA\",}", STORE_INVALID, "header is no valid JSON"},
        {"{\"alg\":\"none\",\"alg\":\"EdDSA\"}", STORE_INVALID, "header is no valid JSON"},
        {"{\"alg\":\"EdDSA\",\"\\u0061lg\":\"EdDSA\"}", STORE_INVALID, "header is no valid JSON"},
        {"{\"alg\":\"EdDSA\\u0000\"}", STORE_INVALID, "header is no valid JSON"},
        {"{\"alg\":\"EdDSA\",\"x\":\"\xff\"}", STORE_INVALID, "header is no valid JSON"},
        {"{\"alg\":\"EdDSA\",\"x\":\"\xed\xa0\x80\"}", STORE_INVALID, "header is no valid JSON"},
        {"{\"alg\":\"EdDSA\",\"x\":\"\xc0\x80\"}", STORE_INVALID, "header is no valid JSON"},
        {"\xef\xbb\xbf{\"alg\":\"EdDSA\"}", STORE_INVALID, "header is no valid JSON"},
        {"{}", STORE_INVALID, "no 'alg'"},
        {"{\"alg\":null}", STORE_INVALID, "no 'alg'"},
        {"{\"alg\":[\"EdDSA\"]}", STORE_INVALID, "no 'alg'"},
        {"{\"ALG\":\"EdDSA\"}", STORE_INVALID, "no 'alg'"},
        {"{\"alg\":\"EdDSA\",\"kid\":7}", STORE_INVALID, "'kid'"},
        {"{\"alg\":\"EdDSA\",\"kid\":null}", STORE_INVALID, "'kid'"},
        {"{\"alg\":\"EdDSA\",\"crit\":[\"exp\"],\"exp\":1}", STORE_DENIED, "crit"},
        {"{\"alg\":\"EdDSA\",\"crit\":[\"b64\"],\"b64\":false}", STORE_DENIED, "crit"},
        {"{\"alg\":\"EdDSA\",\"crit\":[]}", STORE_DENIED, "crit"},
        {"{\"alg\":\"EdDSA\",\"crit\":null}", STORE_DENIED, "crit"},
    };
    struct keyring *kr = ring_of_key(ed);
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        char *jws = fixture_jws(ed, cases[i].header, PAYLOAD);
        expect_refused(kr, jws, cases[i].code, cases[i].because);
        free(jws);
    }
    keyring_unref(kr);
}

/* Two named keys and one without a name. */
static void test_kids(void **state)
{
    EVP_PKEY *other = fixture_key(KEY_EDDSA), *unnamed = fixture_key(KEY_EDDSA);
    const struct {
        EVP_PKEY *signer;
        const char *header, *because;
    } cases[] = {
        {ed, "{\"alg\":\"EdDSA\",\"kid\":\"a\"}", NULL},
        {other, "{\"alg\":\"EdDSA\",\"kid\":\"b\"}", NULL},
        {ed, "{\"alg\":\"EdDSA\"}", NULL},
        {other, "{\"alg\":\"EdDSA\"}", NULL},
        {unnamed, "{\"alg\":\"EdDSA\"}", NULL},
        {unnamed, "{\"alg\":\"EdDSA\",\"kid\":\"a\"}", NULL},
        {unnamed, "{\"alg\":\"EdDSA\",\"kid\":\"zzz\"}", NULL},
        {ed, "{\"alg\":\"EdDSA\",\"kid\":\"b\"}", "does not match"},
        {other, "{\"alg\":\"EdDSA\",\"kid\":\"a\"}", "does not match"},
        {ed, "{\"alg\":\"EdDSA\",\"kid\":\"A\"}", "does not match"},
        {ed, "{\"alg\":\"EdDSA\",\"kid\":\"\"}", "does not match"},
        {ec, "{\"alg\":\"ES256\",\"kid\":\"a\"}", "algorithm is not that of its key"},
        {ec, "{\"alg\":\"ES256\",\"kid\":\"c\"}", "no key with the token's kid"},
        {ec, "{\"alg\":\"ES256\"}", "no key for the token's algorithm"},
    };
    char *a = fixture_jwks(ed, ",\"kid\":\"a\""), *b = fixture_jwks(other, ",\"kid\":\"b\"");
    struct keyring *kr = ring_of_key(unnamed);
    (void)state;
    assert_int_equal(keyring_add(kr, "test", a, strlen(a), NULL), 0);
    assert_int_equal(keyring_add(kr, "test", b, strlen(b), NULL), 0);
    for (size_t i = 0; i < LEN(cases); i++) {
        char *jws = fixture_jws(cases[i].signer, cases[i].header, PAYLOAD);
        if (cases[i].because)
            expect_refused(kr, jws, STORE_DENIED, cases[i].because);
        else
            expect_taken(kr, jws);
        free(jws);
    }
    keyring_unref(kr);
    free(a);
    free(b);
    EVP_PKEY_free(other);
    EVP_PKEY_free(unnamed);
}

static void add_named_keys(struct keyring *kr, int n)
{
    for (int i = 0; i < n; i++) {
        EVP_PKEY *other = fixture_key(KEY_EDDSA);
        char *kid = xasprintf(",\"kid\":\"k%d\"", i);
        char *set = fixture_jwks(other, kid);
        assert_int_equal(keyring_add(kr, "test", set, strlen(set), NULL), 0);
        EVP_PKEY_free(other);
        free(kid);
        free(set);
    }
}

/* A token without a kid costs a bounded number of checks; one with a kid always finds its key. */
static void test_trials(void **state)
{
    struct keyring *kr = keyring_new();
    char *named = fixture_jws(ed, "{\"alg\":\"EdDSA\",\"kid\":\"mine\"}", PAYLOAD);
    char *unnamed = fixture_jws(ed, "{\"alg\":\"EdDSA\"}", PAYLOAD);
    (void)state;
    add_named_keys(kr, 40);
    char *mine = fixture_jwks(ed, ",\"kid\":\"mine\"");
    assert_int_equal(keyring_add(kr, "test", mine, strlen(mine), NULL), 0);
    expect_taken(kr, named);
    expect_refused(kr, unnamed, STORE_DENIED, "should name its key");
    char *pem = fixture_pem(ed);
    assert_int_equal(keyring_add(kr, "test", pem, strlen(pem), NULL), 0);
    expect_taken(kr, unnamed);
    keyring_unref(kr);
    free(named);
    free(unnamed);
    free(mine);
    free(pem);
}

/* The last key that is tried, and the first that is not. */
static void test_last_trial(void **state)
{
    char *mine = fixture_jwks(ed, ",\"kid\":\"mine\"");
    char *unnamed = fixture_jws(ed, "{\"alg\":\"EdDSA\"}", PAYLOAD);
    (void)state;
    for (int others = KEYRING_MAX_UNNAMED; others <= KEYRING_MAX_UNNAMED + 1; others++) {
        struct keyring *kr = keyring_new();
        add_named_keys(kr, others);
        assert_int_equal(keyring_add(kr, "test", mine, strlen(mine), NULL), 0);
        if (others == KEYRING_MAX_UNNAMED)
            expect_taken(kr, unnamed);
        else
            expect_refused(kr, unnamed, STORE_DENIED, "first 17 keys");
        keyring_unref(kr);
    }
    free(mine);
    free(unnamed);
}

static void test_form(void **state)
{
    static const struct {
        const char *jws, *because;
    } cases[] = {
        {"", "three parts"},
        {"123", "three parts"},
        {"a.b", "three parts"},
        {".", "three parts"},
        {"..", "header"},
        {"e30..", "no 'alg'"},
        {"e30.e30.e30.e30", "base64url"},
        {"e30.e30.", "no 'alg'"},
        {"{\"payload\":\"e30\",\"signatures\":[]}", "three parts"},
        {"e30=.e30.", "base64url"},
        {"e 30.e30.", "base64url"},
        {"e30.e3+.", "base64url"},
        {"e30.e.", "base64url"},
        {"e30.e30.a", "base64url"},
    };
    struct keyring *kr = ring_of_key(ed);
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++)
        expect_refused(kr, cases[i].jws, STORE_INVALID, cases[i].because);
    keyring_unref(kr);
}

/* Each byte of a good token changed, removed, or followed by another: nothing of it may pass. The
 * last digit of a 64-byte signature has four unused bits, so this meets those too. */
static void test_every_byte(void **state)
{
    struct keyring *kr = ring_of_key(ed);
    char *jws = fixture_jws(ed, "{\"alg\":\"EdDSA\"}", PAYLOAD);
    size_t n = strlen(jws);
    char *bad = xmalloc(n + 2);
    struct store_err err;
    (void)state;
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, jws, n);
        static const char others[] = "AQgwB.=+/ \n\0\xff";
        for (size_t k = 0; k < sizeof(others) - 1; k++) {
            bad[i] = others[k];
            if (bad[i] != jws[i])
                assert_int_equal(check_n(kr, bad, n, &err), -1);
        }
        assert_int_equal(check_n(kr, jws, i, &err), -1);
        memcpy(bad, jws, i);
        memcpy(bad + i, jws + i + 1, n - i - 1);
        assert_int_equal(check_n(kr, bad, n - 1, &err), -1);
    }
    for (int c = 0; c < 256; c++) {
        memcpy(bad, jws, n);
        bad[n] = (char)c;
        assert_int_equal(check_n(kr, bad, n + 1, &err), -1);
        bad[n - 1] = (char)c;
        assert_int_equal(check_n(kr, bad, n, &err), (char)c == jws[n - 1] ? 0 : -1);
    }
    free(jws);
    free(bad);
    keyring_unref(kr);
}

static void test_size(void **state)
{
    struct keyring *kr = ring_of_key(ed);
    char payload[JWS_MAX_PAYLOAD + 1];
    (void)state;
    /* 20 of header, 86 of signature, 2 dots. */
    size_t fits = (JWS_MAX_BYTES - 108) / 4 * 3;
    memset(payload, '[', sizeof(payload));
    char *largest = fixture_jws_bytes(ed, "{\"alg\":\"EdDSA\"}", payload, fits);
    char *larger = fixture_jws_bytes(ed, "{\"alg\":\"EdDSA\"}", payload, fits + 1);
    assert_int_equal(strlen(largest), JWS_MAX_BYTES);
    expect_taken(kr, largest);
    expect_refused(kr, larger, STORE_INVALID, "longer than 8192 bytes");
    /* With a blank more in the header, a token can have one byte too many. */
    char *one_more = fixture_jws_bytes(ed, "{\"alg\":\"EdDSA\" }", payload, fits - 1);
    assert_int_equal(strlen(one_more), JWS_MAX_BYTES + 1);
    expect_refused(kr, one_more, STORE_INVALID, "longer than 8192 bytes");
    free(largest);
    free(larger);
    free(one_more);
    /* Deep nesting in the header, which is read before anything is known to be genuine. */
    memset(payload, '[', 5000);
    payload[5000] = '\0';
    char *deep = fixture_jws(ed, payload, PAYLOAD);
    expect_refused(kr, deep, STORE_INVALID, "header is no valid JSON");
    free(deep);
    keyring_unref(kr);
}

static void test_empty_ring(void **state)
{
    struct keyring *kr = keyring_new();
    char *jws = fixture_jws(ed, "{\"alg\":\"EdDSA\"}", PAYLOAD);
    (void)state;
    expect_refused(kr, jws, STORE_DENIED, "no key");
    free(jws);
    keyring_unref(kr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wycheproof),
        cmocka_unit_test(test_rfc_examples),
        cmocka_unit_test(test_wycheproof_ed25519),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_many_es256),
        cmocka_unit_test(test_es256_ranges),
        cmocka_unit_test(test_algorithms),
        cmocka_unit_test(test_algorithm_confusion),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_kids),
        cmocka_unit_test(test_trials),
        cmocka_unit_test(test_last_trial),
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_empty_ring),
    };
    return cmocka_run_group_tests_name("jws", tests, fixture_make_keys, fixture_free_keys);
}
