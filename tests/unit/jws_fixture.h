/* jws_fixture.h - keys made at run time, and tokens signed with them. What it returns as char * or
 * EVP_PKEY * is the caller's to free. */
#ifndef TESTS_UNIT_JWS_FIXTURE_H
#define TESTS_UNIT_JWS_FIXTURE_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "epufs/keyring.h"

/* The file tests/vectors/<name>, or one in the folder that TEST_VECTORS names. */
static inline json_t *fixture_vectors(const char *name)
{
    const char *folder = getenv("TEST_VECTORS");
    char *path = xasprintf("%s/%s", folder ? folder : "tests/vectors", name);
    json_t *root = json_load_file(path, 0, NULL);
    free(path);
    assert(root);
    return root;
}

static inline const char *fixture_string(const json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "";
}

static inline EVP_PKEY *fixture_key(enum key_alg alg)
{
    EVP_PKEY *pkey = NULL;
    switch (alg) {
    case KEY_EDDSA: pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"); break;
    case KEY_ES256: pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"); break;
    case KEY_RS256: pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048); break;
    }
    assert(pkey);
    return pkey;
}

/* One of each, which a group of tests makes once: RSA's takes its time. */
static EVP_PKEY *ed, *ec, *rsa;

static inline int fixture_make_keys(void **state)
{
    (void)state;
    ed = fixture_key(KEY_EDDSA);
    ec = fixture_key(KEY_ES256);
    rsa = fixture_key(KEY_RS256);
    return 0;
}

static inline int fixture_free_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(ed);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(rsa);
    return 0;
}

static inline char *fixture_bio_text(BIO *bio)
{
    char *data;
    long n = BIO_get_mem_data(bio, &data);
    char *text = xstrndup(data, (size_t)n);
    BIO_free(bio);
    return text;
}

static inline char *fixture_pem(EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int written = PEM_write_bio_PUBKEY(bio, pkey);
    assert(written == 1);
    return fixture_bio_text(bio);
}

static inline char *fixture_base64url(const void *bytes, size_t n)
{
    char *text = xmalloc(4 * ((n + 2) / 3) + 1);
    base64url_encode(bytes, n, text);
    return text;
}

/* {"keys":[…]} with one Ed25519 key; more are further members, such as ",\"kid\":\"a\"". */
static inline char *fixture_jwks(EVP_PKEY *ed25519, const char *more)
{
    unsigned char x[32];
    size_t n = sizeof(x);
    int got = EVP_PKEY_get_raw_public_key(ed25519, x, &n);
    assert(got == 1);
    char *text = fixture_base64url(x, n);
    char *jwks =
        xasprintf("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"%s}]}", text, more);
    free(text);
    return jwks;
}

/* r and s of 32 bytes each, out of OpenSSL's DER. */
static inline size_t fixture_raw_ecdsa(unsigned char *sig, size_t n)
{
    const unsigned char *der = sig;
    ECDSA_SIG *rs = d2i_ECDSA_SIG(NULL, &der, (long)n);
    assert(rs);
    int nr = BN_bn2binpad(ECDSA_SIG_get0_r(rs), sig, 32);
    int ns = BN_bn2binpad(ECDSA_SIG_get0_s(rs), sig + 32, 32);
    assert(nr == 32 && ns == 32);
    ECDSA_SIG_free(rs);
    return 64;
}

/* Signs in JOSE's form; sig has room for 1024 bytes. */
static inline size_t fixture_signature(EVP_PKEY *pkey, const void *msg, size_t n,
                                       unsigned char *sig)
{
    bool is_ed = EVP_PKEY_get_base_id(pkey) == EVP_PKEY_ED25519;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len = 1024;
    int good = EVP_DigestSignInit(ctx, NULL, is_ed ? NULL : EVP_sha256(), NULL, pkey) == 1 &&
               EVP_DigestSign(ctx, sig, &len, msg, n) == 1;
    assert(good);
    EVP_MD_CTX_free(ctx);
    return EVP_PKEY_get_base_id(pkey) == EVP_PKEY_EC ? fixture_raw_ecdsa(sig, len) : len;
}

/* "header.payload" as it is signed. */
static inline char *fixture_jws_input(const char *header, const void *payload, size_t payload_len)
{
    char *head = fixture_base64url(header, strlen(header));
    char *body = fixture_base64url(payload, payload_len);
    char *input = xasprintf("%s.%s", head, body);
    free(head);
    free(body);
    return input;
}

/* A compact JWS: the input, which is freed, with its signature. */
static inline char *fixture_jws_signed(char *input, const void *sig, size_t sig_len)
{
    char *tail = fixture_base64url(sig, sig_len);
    char *jws = xasprintf("%s.%s", input, tail);
    free(input);
    free(tail);
    return jws;
}

/* A compact JWS over exactly these bytes. */
static inline char *fixture_jws_bytes(EVP_PKEY *pkey, const char *header, const void *payload,
                                      size_t payload_len)
{
    unsigned char sig[1024];
    char *input = fixture_jws_input(header, payload, payload_len);
    size_t sig_len = fixture_signature(pkey, input, strlen(input), sig);
    return fixture_jws_signed(input, sig, sig_len);
}

static inline char *fixture_jws(EVP_PKEY *pkey, const char *header, const char *payload)
{
    return fixture_jws_bytes(pkey, header, payload, strlen(payload));
}

#endif
