/* Feeds token_verify(). The first byte says how: 'j' a token as it is; 'h' a header, and 'c'
 * claims, which are signed here, since no fuzzer finds a signature and so would never get past it;
 * 'k' a key file. */
#include <openssl/evp.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "epufs/token.h"
#include "tests/fuzz/fuzz.h"

#define HEADER "{\"alg\":\"EdDSA\"}"

static EVP_PKEY *signer;
static struct keyring *ring;

static void set_up(void)
{
    /* Always the same key, so that a finding can be replayed. */
    static const unsigned char seed[32] = {1};
    unsigned char x[32];
    size_t n = sizeof(x);
    char text[64], jwks[256];
    if (ring)
        return;
    signer = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof(seed));
    int got = EVP_PKEY_get_raw_public_key(signer, x, &n);
    base64url_encode(x, n, text);
    int len = snprintf(jwks, sizeof(jwks),
                       "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"}]}", text);
    ring = keyring_new();
    int rc = keyring_add(ring, "fuzz", jwks, (size_t)len, NULL);
    MUST(got == 1 && rc == 0);
}

static char *sign(const void *header, size_t header_len, const void *payload, size_t payload_len)
{
    char head[2 * JWS_MAX_BYTES], body[2 * JWS_MAX_BYTES], tail[128];
    unsigned char sig[64];
    size_t sig_len = sizeof(sig);
    base64url_encode(header, header_len, head);
    base64url_encode(payload, payload_len, body);
    char *input = xasprintf("%s.%s", head, body);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int good = EVP_DigestSignInit(ctx, NULL, NULL, NULL, signer) == 1 &&
               EVP_DigestSign(ctx, sig, &sig_len, (unsigned char *)input, strlen(input)) == 1;
    MUST(good);
    EVP_MD_CTX_free(ctx);
    base64url_encode(sig, sig_len, tail);
    char *jwt = xasprintf("%s.%s", input, tail);
    free(input);
    return jwt;
}

static void verify(const char *jwt, size_t n)
{
    const struct token_rules rules = {.audience = "epufs", .issuer = "c", .leeway_s = 60};
    const struct token_rules plain = {.leeway_s = 0};
    struct token_claims claims;
    struct store_err err = {.code = STORE_OK};
    token_verify(ring, &rules, 1000, jwt, n, &claims, &err);
    if (token_verify(ring, &plain, 1000, jwt, n, &claims, &err)) {
        MUST(err.code == STORE_DENIED || err.code == STORE_INVALID);
        return;
    }
    MUST(claims.admin || claims.has_scope);
    MUST(claims.exp_s > 1000 && claims.nbf_s <= 1000 && claims.iat_s <= 1000);
}

static void add_keys(const char *text, size_t n)
{
    struct keyring *kr = keyring_new();
    keyring_add(kr, "fuzz", text, n, NULL);
    keyring_unref(kr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    set_up();
    if (size == 0)
        return 0;
    const char *rest = (const char *)data + 1;
    size_t n = size - 1;
    char *jwt = NULL;
    if (data[0] == 'j')
        verify(rest, n);
    else if (data[0] == 'k')
        add_keys(rest, n);
    else if (data[0] == 'h' && n <= JWS_MAX_BYTES)
        jwt = sign(rest, n, "{}", 2);
    else if (data[0] == 'c' && n <= JWS_MAX_BYTES)
        jwt = sign(HEADER, strlen(HEADER), rest, n);
    if (jwt)
        verify(jwt, strlen(jwt));
    free(jwt);
    return 0;
}
