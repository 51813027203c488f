#include "epufs/jwk.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#include "base/codec.h"
#include "base/xalloc.h"

enum {
    RSA_MAX_BYTES = 1024, /* of a modulus: 8192 bits */
    P256_BYTES = 32,
    ED25519_BYTES = 32,
    KID_MAX_BYTES = 256,
};

/* A member in strict base64url. Returns the number of bytes, at least 1, or -1. */
static ssize_t read_bytes(const json_t *jwk, const char *name, unsigned char *out, size_t cap,
                          struct store_err *err)
{
    const json_t *v = json_object_get(jwk, name);
    ssize_t n = -1;
    if (json_is_string(v))
        n = base64url_decode(json_string_value(v), json_string_length(v), out, cap);
    if (n <= 0)
        return store_err_set(err, STORE_INVALID, "'%s' is missing, too long or not base64url",
                             name);
    return n;
}

static EVP_PKEY *pkey_from_params(const char *type, OSSL_PARAM *params)
{
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (ctx && EVP_PKEY_fromdata_init(ctx) > 0)
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params);
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return pkey;
}

static EVP_PKEY *read_ed25519(const json_t *jwk, struct store_err *err)
{
    unsigned char x[ED25519_BYTES];
    ssize_t n = read_bytes(jwk, "x", x, sizeof(x), err);
    if (n < 0)
        return NULL;
    EVP_PKEY *pkey = NULL;
    if (n == ED25519_BYTES)
        pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof(x));
    if (!pkey)
        store_err_set(err, STORE_INVALID, "'x' is not an Ed25519 key");
    return pkey;
}

static EVP_PKEY *read_p256(const json_t *jwk, struct store_err *err)
{
    unsigned char point[1 + 2 * P256_BYTES] = {POINT_CONVERSION_UNCOMPRESSED};
    unsigned char *x = point + 1, *y = x + P256_BYTES;
    char group[] = "prime256v1";
    ssize_t nx = read_bytes(jwk, "x", x, P256_BYTES, err);
    ssize_t ny = nx < 0 ? -1 : read_bytes(jwk, "y", y, P256_BYTES, err);
    if (ny < 0)
        return NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY *pkey = NULL;
    if (nx == P256_BYTES && ny == P256_BYTES)
        pkey = pkey_from_params("EC", params);
    if (!pkey)
        store_err_set(err, STORE_INVALID, "'x' and 'y' are not a point of P-256");
    return pkey;
}

static EVP_PKEY *rsa_from_numbers(const BIGNUM *n, const BIGNUM *e)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params = NULL;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    if (bld && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e))
        params = OSSL_PARAM_BLD_to_param(bld);
    if (params)
        pkey = pkey_from_params("RSA", params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    return pkey;
}

/* A number as RFC 7518 writes it: big-endian, without leading zeros. */
static BIGNUM *read_number(const json_t *jwk, const char *name, struct store_err *err)
{
    unsigned char bytes[RSA_MAX_BYTES];
    ssize_t n = read_bytes(jwk, name, bytes, sizeof(bytes), err);
    if (n < 0)
        return NULL;
    if (bytes[0] == 0) {
        store_err_set(err, STORE_INVALID, "'%s' begins with a zero byte", name);
        return NULL;
    }
    BIGNUM *number = BN_bin2bn(bytes, (int)n, NULL);
    if (!number)
        store_err_set(err, STORE_NO_MEMORY, "'%s': out of memory", name);
    return number;
}

static EVP_PKEY *read_rsa(const json_t *jwk, struct store_err *err)
{
    EVP_PKEY *pkey = NULL;
    BIGNUM *n = read_number(jwk, "n", err);
    BIGNUM *e = n ? read_number(jwk, "e", err) : NULL;
    if (e) {
        pkey = rsa_from_numbers(n, e);
        if (!pkey)
            store_err_set(err, STORE_INVALID, "'n' and 'e' are not an RSA key");
    }
    BN_free(n);
    BN_free(e);
    return pkey;
}

static const struct kind {
    const char *kty, *crv;
    enum key_alg alg;
    EVP_PKEY *(*read)(const json_t *jwk, struct store_err *err);
} kinds[] = {
    {"OKP", "Ed25519", KEY_EDDSA, read_ed25519},
    {"EC", "P-256", KEY_ES256, read_p256},
    {"RSA", NULL, KEY_RS256, read_rsa},
};

static bool string_is(const json_t *v, const char *s)
{
    return json_is_string(v) && strcmp(json_string_value(v), s) == 0;
}

static const struct kind *find_kind(const json_t *jwk)
{
    for (size_t i = 0; i < LEN(kinds); i++) {
        if (!string_is(json_object_get(jwk, "kty"), kinds[i].kty))
            continue;
        if (!kinds[i].crv || string_is(json_object_get(jwk, "crv"), kinds[i].crv))
            return &kinds[i];
    }
    return NULL;
}

/* Whether use, key_ops and alg, as far as they are there, allow to check signatures with it. */
static bool is_for_verifying(const json_t *jwk, enum key_alg alg)
{
    const json_t *use = json_object_get(jwk, "use");
    const json_t *ops = json_object_get(jwk, "key_ops");
    const json_t *name = json_object_get(jwk, "alg");
    enum key_alg named;
    if (use && !string_is(use, "sig"))
        return false;
    if (name && !(json_is_string(name) && key_alg_from_name(json_string_value(name), &named) &&
                  named == alg))
        return false;
    if (!ops)
        return true;
    for (size_t i = 0; i < json_array_size(ops); i++)
        if (string_is(json_array_get(ops, i), "verify"))
            return true;
    return false;
}

/* Somebody published the wrong half of a key: that must be noticed, not tolerated. So this looks
 * at every entry, also at those that would be skipped. */
static int refuse_secrets(const json_t *jwk, struct store_err *err)
{
    static const char *const secret[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"};
    for (size_t i = 0; i < LEN(secret); i++)
        if (json_object_get(jwk, secret[i]))
            return store_err_set(err, STORE_INVALID, "private or symmetric key material ('%s')",
                                 secret[i]);
    if (string_is(json_object_get(jwk, "kty"), "oct"))
        return store_err_set(err, STORE_INVALID, "a symmetric key");
    return 0;
}

static int read_kid(const json_t *jwk, char **out, struct store_err *err)
{
    const json_t *kid = json_object_get(jwk, "kid");
    *out = NULL;
    if (!kid)
        return 0;
    if (!json_is_string(kid) || json_string_length(kid) > KID_MAX_BYTES)
        return store_err_set(err, STORE_INVALID, "'kid' is not a string of up to %d bytes",
                             KID_MAX_BYTES);
    *out = xstrdup(json_string_value(kid));
    return 0;
}

enum jwk_verdict jwk_read(const json_t *jwk, struct key *out, struct store_err *err)
{
    if (!json_is_object(jwk) || !json_is_string(json_object_get(jwk, "kty"))) {
        store_err_set(err, STORE_INVALID, "not an object with a 'kty'");
        return JWK_BAD;
    }
    if (refuse_secrets(jwk, err))
        return JWK_BAD;
    const struct kind *kind = find_kind(jwk);
    if (!kind || !is_for_verifying(jwk, kind->alg))
        return JWK_SKIP;
    *out = (struct key){.alg = kind->alg};
    if (read_kid(jwk, &out->kid, err))
        return JWK_BAD;
    out->pkey = kind->read(jwk, err);
    if (!out->pkey) {
        free(out->kid);
        return JWK_BAD;
    }
    return JWK_KEY;
}
