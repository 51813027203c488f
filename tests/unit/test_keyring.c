#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "epufs/jws.h"
#include "tests/unit/jws_fixture.h"

/* The number of keys that the text adds to an empty ring, or -1. */
static int count_added(const char *text, struct store_err *err)
{
    struct keyring *kr = keyring_new();
    int n = keyring_add(kr, "test", text, strlen(text), err) ? -1 : (int)kr->n;
    keyring_unref(kr);
    return n;
}

static void expect_refused(const char *text, const char *because)
{
    struct store_err err = {.code = STORE_OK};
    assert_int_equal(count_added(text, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    if (!strstr(err.msg, because))
        fail_msg("'%s' does not say '%s'", err.msg, because);
    assert_non_null(strstr(err.msg, "key file 'test'"));
}

/* ---- PEM ---------------------------------------------------------------------------------- */

static void test_pem(void **state)
{
    char *a = fixture_pem(ed), *b = fixture_pem(ec), *c = fixture_pem(rsa);
    char *text = xasprintf("# three of them\n%s\nand\n%s%s# end\n", a, b, c);
    struct keyring *kr = keyring_new();
    (void)state;
    assert_int_equal(keyring_add(kr, "test", text, strlen(text), NULL), 0);
    assert_int_equal(kr->n, 3);
    assert_int_equal(kr->keys[0].alg, KEY_EDDSA);
    assert_int_equal(kr->keys[1].alg, KEY_ES256);
    assert_int_equal(kr->keys[2].alg, KEY_RS256);
    for (size_t i = 0; i < kr->n; i++)
        assert_null(kr->keys[i].kid);
    assert_int_equal(EVP_PKEY_eq(kr->keys[0].pkey, ed), 1);
    assert_int_equal(EVP_PKEY_eq(kr->keys[1].pkey, ec), 1);
    assert_int_equal(EVP_PKEY_eq(kr->keys[2].pkey, rsa), 1);
    keyring_unref(kr);
    free(a);
    free(b);
    free(c);
    free(text);
}

static char *private_pem(EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    return fixture_bio_text(bio);
}

static char *pem_of_new(const char *type, const char *group, size_t bits)
{
    EVP_PKEY *pkey = bits    ? EVP_PKEY_Q_keygen(NULL, NULL, type, bits)
                     : group ? EVP_PKEY_Q_keygen(NULL, NULL, type, group)
                             : EVP_PKEY_Q_keygen(NULL, NULL, type);
    assert_non_null(pkey);
    char *text = fixture_pem(pkey);
    EVP_PKEY_free(pkey);
    return text;
}

static char *explicit_curve_pem(void)
{
    EVP_PKEY *pkey = EVP_PKEY_dup(ec);
    assert_non_null(pkey);
    assert_int_equal(EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_ENCODING, "explicit"),
                     1);
    char *text = fixture_pem(pkey);
    EVP_PKEY_free(pkey);
    return text;
}

static void test_pem_refused(void **state)
{
    char *good = fixture_pem(ed);
    struct {
        char *text;
        const char *because;
    } cases[] = {
        {xstrdup(""), "neither PEM nor a JWKS"},
        {xstrdup("hello"), "neither PEM nor a JWKS"},
        {xstrdup("[]"), "neither PEM nor a JWKS"},
        {private_pem(ed), "private keys"},
        {private_pem(rsa), "private keys"},
        {xstrdup("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "certificates"},
        {xasprintf("%s-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", good),
         "PEM block 2: not a SubjectPublicKeyInfo"},
        {xasprintf("%s-----BEGIN PUBLIC KEY-----\nAA!A\n-----END PUBLIC KEY-----\n", good),
         "well-formed"},
        {xstrndup(good, strlen(good) - 20), "well-formed"},
        {pem_of_new("X25519", NULL, 0), "neither an Ed25519"},
        {pem_of_new("ED448", NULL, 0), "neither an Ed25519"},
        {pem_of_new("EC", "P-384", 0), "P-256"},
        {pem_of_new("EC", "secp256k1", 0), "P-256"},
        {pem_of_new("RSA", NULL, 1024), "2048 to 8192"},
        {explicit_curve_pem(), "name its curve"},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        expect_refused(cases[i].text, cases[i].because);
        free(cases[i].text);
    }
    free(good);
}

/* Bytes behind the key inside the block, which d2i alone would not mind. */
static void test_pem_trailing_bytes(void **state)
{
    unsigned char *der = NULL, longer[256];
    int n = i2d_PUBKEY(ed, &der);
    BIO *bio = BIO_new(BIO_s_mem());
    (void)state;
    assert_in_range(n, 1, 200);
    memcpy(longer, der, (size_t)n);
    longer[n] = 0;
    assert_true(PEM_write_bio(bio, PEM_STRING_PUBLIC, "", longer, n + 1) > 0);
    char *text = fixture_bio_text(bio);
    expect_refused(text, "not a SubjectPublicKeyInfo");
    free(text);
    OPENSSL_free(der);
}

static void test_unnamed_bound(void **state)
{
    char *text = fixture_pem(ed);
    char *other = fixture_pem(ec);
    struct keyring *kr = keyring_new();
    struct store_err err;
    (void)state;
    for (int i = 0; i < KEYRING_MAX_UNNAMED; i++)
        assert_int_equal(keyring_add(kr, "test", text, strlen(text), &err), 0);
    assert_int_equal(keyring_add(kr, "test", text, strlen(text), &err), -1);
    assert_non_null(strstr(err.msg, "without a kid"));
    assert_int_equal(keyring_add(kr, "test", other, strlen(other), &err), 0);
    keyring_unref(kr);
    free(text);
    free(other);
}

/* ---- JWKS --------------------------------------------------------------------------------- */

#define ED_X "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\""
#define ED   "\"kty\":\"OKP\",\"crv\":\"Ed25519\"," ED_X
#define EC_X "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\""
#define EC_Y "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\""
#define EC   "\"kty\":\"EC\",\"crv\":\"P-256\"," EC_X "," EC_Y
/* A point whose x ends in a zero byte, and what is left of that without it. */
#define EC_ZERO_X  "\"x\":\"2GpJrt-yn1GIlYXlqD2vkWfjrvv1rU3LG6OTv_F0RwA\""
#define EC_SHORT_X "\"x\":\"2GpJrt-yn1GIlYXlqD2vkWfjrvv1rU3LG6OTv_F0Rw\""
#define EC_ZERO_Y  "\"y\":\"rIhuppW5VPOKRx613SAkfNyWQ8TulDloCMa4rjj9iFU\""
#define RSA_N                                                                                      \
    "\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEz" \
    "P1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSX" \
    "ndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJ" \
    "H7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\""
#define RSA "\"kty\":\"RSA\"," RSA_N ",\"e\":\"AQAB\""

static void test_jwks_taken(void **state)
{
    static const struct {
        const char *entries;
        int n;
    } cases[] = {
        {"", 0},
        {"{" ED "}", 1},
        {"{" EC "}", 1},
        {"{" RSA "}", 1},
        {"{" ED ",\"kid\":\"a\"},{" ED ",\"kid\":\"b\"},{" EC ",\"kid\":\"\"},{" RSA "}", 4},
        {"{" ED ",\"use\":\"sig\",\"key_ops\":[\"sign\",\"verify\"],\"alg\":\"EdDSA\",\"ext\":1}",
         1},
        {"{" ED ",\"alg\":\"Ed25519\",\"x5t\":\"-\",\"x5c\":[]}", 1},
        {"{" EC ",\"alg\":\"ES256\"}", 1},
        {"{" RSA ",\"alg\":\"RS256\"}", 1},
        {"{\"kty\":\"RSA\"," RSA_N ",\"e\":\"Aw\"}", 1},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\"," EC_ZERO_X "," EC_ZERO_Y "}", 1},
        /* not for us: skipped */
        {"{" ED ",\"use\":\"enc\"}", 0},
        {"{" ED ",\"use\":7}", 0},
        {"{" ED ",\"key_ops\":[\"sign\"]}", 0},
        {"{" ED ",\"key_ops\":[]}", 0},
        {"{" ED ",\"key_ops\":\"verify\"}", 0},
        {"{" ED ",\"alg\":\"ES256\"}", 0},
        {"{" EC ",\"alg\":\"EdDSA\"}", 0},
        {"{" RSA ",\"alg\":\"PS256\"}", 0},
        {"{" RSA ",\"alg\":\"RSA-OAEP\"}", 0},
        {"{" RSA ",\"alg\":null}", 0},
        {"{\"kty\":\"AKP\",\"alg\":\"ML-DSA-44\",\"pub\":\"AA\"}", 0},
        {"{\"kty\":\"OKP\",\"crv\":\"X25519\"," ED_X "}", 0},
        {"{\"kty\":\"EC\",\"crv\":\"P-384\"," EC_X "," EC_Y "}", 0},
        {"{\"kty\":\"EC\"}", 0},
        {"{" ED ",\"kid\":\"a\"},{" RSA ",\"use\":\"enc\",\"kid\":\"a\"}", 1},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        struct store_err err = {.code = STORE_OK};
        char *text = xasprintf(" \r\n\t{\"keys\":[%s]}\n", cases[i].entries);
        int n = count_added(text, &err);
        if (n != cases[i].n)
            fail_msg("case %zu: %d keys, %s", i, n, err.msg);
        free(text);
    }
}

static void test_jwks_refused(void **state)
{
    static const struct {
        const char *text, *because;
    } cases[] = {
        {"{", "not JSON"},
        {"{\"keys\":[]} x", "not JSON"},
        {"{\"keys\":[],\"keys\":[]}", "not JSON"},
        {"{\"keys\":[{" ED ",\"kid\":\"\xff\"}]}", "not JSON"},
        {"{\"keys\":[{" ED ",\"kid\":\"a\\u0000b\"}]}", "not JSON"},
        {"{\"keys\":[{" ED ",\"kty\":\"OKP\"}]}", "not JSON"},
        {"{}", "no array 'keys'"},
        {"{" ED "}", "no array 'keys'"},
        {"{\"keys\":{}}", "no array 'keys'"},
        {"{\"keys\":[7]}", "not an object"},
        {"{\"keys\":[{}]}", "kty"},
        {"{\"keys\":[{\"kty\":null}]}", "kty"},
        /* secrets, also where the rest would be skipped */
        {"{\"keys\":[{\"kty\":\"oct\"}]}", "symmetric"},
        {"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "'k'"},
        {"{\"keys\":[{" ED "},{" ED ",\"d\":\"AAAA\"}]}", "entry 2: private"},
        {"{\"keys\":[{" ED ",\"use\":\"enc\",\"d\":\"AAAA\"}]}", "'d'"},
        {"{\"keys\":[{" EC ",\"d\":null}]}", "'d'"},
        {"{\"keys\":[{" RSA ",\"p\":\"AAAA\"}]}", "'p'"},
        {"{\"keys\":[{" RSA ",\"q\":\"AAAA\"}]}", "'q'"},
        {"{\"keys\":[{" RSA ",\"dp\":\"AAAA\"}]}", "'dp'"},
        {"{\"keys\":[{" RSA ",\"dq\":\"AAAA\"}]}", "'dq'"},
        {"{\"keys\":[{" RSA ",\"qi\":\"AAAA\"}]}", "'qi'"},
        {"{\"keys\":[{" RSA ",\"oth\":[]}]}", "'oth'"},
        {"{\"keys\":[{\"kty\":\"AKP\",\"priv\":\"AA\"}]}", "'priv'"},
        /* names */
        {"{\"keys\":[{" ED ",\"kid\":7}]}", "'kid'"},
        {"{\"keys\":[{" ED ",\"kid\":null}]}", "'kid'"},
        {"{\"keys\":[{" ED ",\"kid\":\"a\"},{" EC ",\"kid\":\"a\"}]}", "stands twice"},
        /* numbers */
        {"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}]}", "'x'"},
        {"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"\"}]}", "'x'"},
        {"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}", "'x'"},
        {"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
         "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"}]}",
         "'x'"},
        {"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
         "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp\"}]}",
         "'x'"},
        {"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
         "\"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}",
         "'x'"},
        {"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
         "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURoA\"}]}",
         "'x'"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\"," EC_X "}]}", "'y'"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\"," EC_Y "}]}", "'x'"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\"," EC_X ",\"y\":\"AAAA\"}]}", "P-256"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\"," EC_X
         ",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4\"}]}",
         "P-256"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\"," EC_SHORT_X "," EC_ZERO_Y "}]}", "P-256"},
        {"{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\"}]}", "'n'"},
        {"{\"keys\":[{\"kty\":\"RSA\"," RSA_N "}]}", "'e'"},
        {"{\"keys\":[{\"kty\":\"RSA\"," RSA_N ",\"e\":\"AAEAAQ\"}]}", "zero byte"},
        {"{\"keys\":[{\"kty\":\"RSA\"," RSA_N ",\"e\":\"AA\"}]}", "zero byte"},
        {"{\"keys\":[{\"kty\":\"RSA\"," RSA_N ",\"e\":\"AQ\"}]}", "exponent"},
        {"{\"keys\":[{\"kty\":\"RSA\"," RSA_N ",\"e\":\"AQAA\"}]}", "exponent"},
        {"{\"keys\":[{\"kty\":\"RSA\"," RSA_N ",\"e\":\"AQAAAAAAAAAB\"}]}", "exponent"},
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", "2048"},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++)
        expect_refused(cases[i].text, cases[i].because);
}

static void test_kid_length(void **state)
{
    struct store_err err;
    (void)state;
    for (int n = 256; n <= 257; n++) {
        char *text = xasprintf("{\"keys\":[{" ED ",\"kid\":\"%0*d\"}]}", n, 0);
        assert_int_equal(count_added(text, &err), n <= 256 ? 1 : -1);
        free(text);
    }
    assert_non_null(strstr(err.msg, "'kid' is not a string of up to 256 bytes"));
}

static char *many_keys(int n)
{
    struct buf b = BUF_INIT(KEYRING_MAX_FILE);
    buf_adds(&b, "{\"keys\":[");
    for (int i = 0; i < n; i++)
        buf_addf(&b, "%s{" ED ",\"kid\":\"k%d\"}", i ? "," : "", i);
    buf_adds(&b, "]}");
    return buf_detach(&b, NULL);
}

static void test_bounds(void **state)
{
    struct store_err err;
    char *fits = many_keys(KEYRING_MAX_KEYS), *too_many = many_keys(KEYRING_MAX_KEYS + 1);
    struct keyring *kr = keyring_new();
    (void)state;
    assert_int_equal(keyring_add(kr, "test", fits, strlen(fits), &err), 0);
    assert_int_equal(kr->n, KEYRING_MAX_KEYS);
    char *one_more = fixture_pem(ed);
    assert_int_equal(keyring_add(kr, "test", one_more, strlen(one_more), &err), -1);
    assert_non_null(strstr(err.msg, "256 keys in all"));
    expect_refused(too_many, "more than 256");
    keyring_unref(kr);
    free(fits);
    free(too_many);
    free(one_more);

    char *large = xmalloc(KEYRING_MAX_FILE + 2);
    memset(large, ' ', KEYRING_MAX_FILE + 1);
    large[KEYRING_MAX_FILE + 1] = '\0';
    expect_refused(large, "larger than 1 MiB");
    large[KEYRING_MAX_FILE] = '\0';
    expect_refused(large, "neither PEM nor a JWKS");
    memset(large, '[', KEYRING_MAX_FILE);
    memcpy(large, "{\"keys\":", 8);
    expect_refused(large, "not JSON");
    free(large);
}

/* ---- Wycheproof's key sets ---------------------------------------------------------------- */

/* How many keys each set leaves, -1 when it is refused as a whole. Sets with symmetric or private
 * keys are refused, so 2, 13, 14 and 15 (HMAC, valid there) are no tokens for us; 6 and 19 to 24
 * are skipped for their use, algorithm or curve, except 22, whose point is off the curve. 7 wants a
 * modulus to be recognised as one of a broken generator's (ROCA); we have no such check. */
static const struct {
    int id, keys;
    bool token_good;
} wycheproof[] = {
    {1, -1, false},  {2, -1, false},  {3, -1, false},  {4, -1, false},  {5, 1, true},
    {6, 0, false},   {7, 1, true},    {8, -1, false},  {9, -1, false},  {10, -1, false},
    {11, -1, false}, {12, -1, false}, {13, -1, false}, {14, -1, false}, {15, -1, false},
    {16, -1, false}, {17, -1, false}, {18, -1, false}, {19, 0, false},  {20, 0, false},
    {21, 0, false},  {22, -1, false}, {23, 0, false},  {24, 0, false},  {25, -1, false},
    {26, -1, false},
};

static void check_wycheproof(const char *set, const json_t *test, int keys, bool token_good)
{
    char payload[JWS_MAX_PAYLOAD];
    size_t n;
    struct store_err err = {.code = STORE_OK};
    const char *jws = fixture_string(test, "jws");
    struct keyring *kr = keyring_new();
    int rc = keyring_add(kr, "test", set, strlen(set), &err);
    if ((rc ? -1 : (int)kr->n) != keys)
        fail_msg("jwk %lld %s: %zu keys, %s", json_integer_value(json_object_get(test, "tcId")),
                 fixture_string(test, "comment"), kr->n, err.msg);
    assert_int_equal(jws_check(kr, jws, strlen(jws), payload, &n, NULL) == 0, !rc && token_good);
    keyring_unref(kr);
}

static void test_wycheproof(void **state)
{
    json_t *file = fixture_vectors("wycheproof-jwk.json"), *group, *test;
    size_t i, k, seen = 0;
    (void)state;
    json_array_foreach(json_object_get(file, "groups"), i, group)
    {
        const json_t *public = json_object_get(group, "public");
        const json_t *private = json_object_get(group, "private");
        char *set = json_dumps(json_is_object(public) ? public : private, 0);
        char *secret = json_dumps(private, 0);
        expect_refused(secret, "private or symmetric");
        json_array_foreach(json_object_get(group, "tests"), k, test)
        {
            assert_true(seen < LEN(wycheproof));
            assert_int_equal(json_integer_value(json_object_get(test, "tcId")),
                             wycheproof[seen].id);
            check_wycheproof(set, test, wycheproof[seen].keys, wycheproof[seen].token_good);
            seen++;
        }
        free(set);
        free(secret);
    }
    assert_int_equal(seen, 26);
    json_decref(file);
}

/* ---- Files and folders -------------------------------------------------------------------- */

static char *folder;

static void write_file(const char *name, const char *text)
{
    char *path = xasprintf("%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    free(path);
}

static int make_folder(void **state)
{
    const char *parent = getenv("TMPDIR");
    (void)state;
    folder = xasprintf("%s/keyring.XXXXXX", parent ? parent : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char *command = xasprintf("rm -r '%s'", folder);
    int rc = system(command);
    free(command);
    free(folder);
    return rc;
}

static void expect_load_error(const char *name, enum store_code code, const char *because)
{
    char *path = xasprintf("%s%s%s", folder, *name ? "/" : "", name);
    const char *const paths[] = {path, NULL};
    struct keyring *kr = NULL;
    struct store_err err = {.code = STORE_OK};
    assert_int_equal(keyring_load(paths, &kr, &err), -1);
    assert_null(kr);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, because))
        fail_msg("'%s' does not say '%s'", err.msg, because);
    free(path);
}

static void test_load(void **state)
{
    char *named_b = fixture_jwks(ed, ",\"kid\":\"b\""),
         *named_c = fixture_jwks(ed, ",\"kid\":\"c\"");
    char *pem = fixture_pem(ec), *odd_path = xasprintf("%s/unusual.txt", folder);
    const char *const paths[] = {folder, odd_path, NULL};
    struct keyring *kr = NULL;
    struct store_err err = {.code = STORE_OK};
    (void)state;
    expect_load_error("", STORE_INVALID, "no usable key");
    expect_load_error("missing.pem", STORE_NOT_FOUND, "missing.pem");
    write_file("c.jwks", named_c);
    write_file("b.json", named_b);
    write_file("a.pem", pem);
    write_file(".d.pem", "an editor's leftovers");
    write_file("README", "not a key");
    write_file("unusual.txt", pem);
    assert_int_equal(keyring_load(paths, &kr, &err), 0);
    assert_int_equal(kr->n, 4);
    assert_null(kr->keys[0].kid);
    assert_string_equal(kr->keys[1].kid, "b");
    assert_string_equal(kr->keys[2].kid, "c");
    assert_int_equal(kr->keys[3].alg, KEY_ES256);
    assert_ptr_equal(keyring_ref(kr), kr);
    keyring_unref(kr);
    assert_int_equal(kr->n, 4);
    keyring_unref(kr);
    keyring_unref(NULL);
    free(named_b);
    free(named_c);
    free(pem);
    free(odd_path);
}

/* Runs behind test_load, in its folder. */
static void test_load_all_or_nothing(void **state)
{
    char *secret = private_pem(ed), *twice = fixture_jwks(ed, ",\"kid\":\"b\"");
    char *large = xmalloc(KEYRING_MAX_FILE + 2);
    char *fifo = xasprintf("%s/fifo.pem", folder);
    (void)state;
    write_file("e.pem", secret);
    expect_load_error("", STORE_INVALID, "e.pem");
    write_file("e.pem", twice);
    expect_load_error("", STORE_INVALID, "stands twice");
    memset(large, 'x', KEYRING_MAX_FILE + 1);
    large[KEYRING_MAX_FILE + 1] = '\0';
    write_file("e.pem", large);
    expect_load_error("", STORE_INVALID, "larger than 1 MiB");
    /* What the first file of a folder lacks, the last one does not make good. */
    write_file("0.pem", secret);
    write_file("e.pem", "{\"keys\":[]}");
    expect_load_error("", STORE_INVALID, "0.pem");
    write_file("0.pem", "{\"keys\":[]}");
    expect_load_error("e.pem", STORE_INVALID, "no usable key");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_load_error("", STORE_INVALID, "not a regular file");
    free(secret);
    free(twice);
    free(large);
    free(fifo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pem),
        cmocka_unit_test(test_pem_refused),
        cmocka_unit_test(test_pem_trailing_bytes),
        cmocka_unit_test(test_unnamed_bound),
        cmocka_unit_test(test_jwks_taken),
        cmocka_unit_test(test_jwks_refused),
        cmocka_unit_test(test_kid_length),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_wycheproof),
        cmocka_unit_test_setup(test_load, make_folder),
        cmocka_unit_test_teardown(test_load_all_or_nothing, remove_folder),
    };
    return cmocka_run_group_tests_name("keyring", tests, fixture_make_keys, fixture_free_keys);
}
