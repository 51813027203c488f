#include "epufs/jws.h"

#include <string.h>

#include <jansson.h>
#include <openssl/err.h>

#include "base/codec.h"
#include "base/xalloc.h"

enum {
    /* Keys that one token may be tried with: all that have no kid, and the one it names. That many
     * checks are a millisecond or two. */
    MAX_TRIALS = KEYRING_MAX_UNNAMED + 1,
    P256_BYTES = 32,
    ECDSA_DER_MAX = 2 + 2 * (2 + 1 + P256_BYTES),
};

/* ---- One signature ------------------------------------------------------------------------ */

/* 1 to n - 1, where n is the order of P-256's group (SEC 2, section 2.4.2). */
static bool is_p256_scalar(const unsigned char v[P256_BYTES])
{
    static const unsigned char zero[P256_BYTES];
    static const unsigned char order[P256_BYTES] = {
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
        0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    };
    return memcmp(v, zero, P256_BYTES) != 0 && memcmp(v, order, P256_BYTES) < 0;
}

/* A scalar as DER INTEGER: as short as can be, with a zero in front of a high bit. */
static size_t put_der_integer(unsigned char *out, const unsigned char v[P256_BYTES])
{
    size_t skip = 0, o = 2;
    while (skip < P256_BYTES - 1 && v[skip] == 0)
        skip++;
    if (v[skip] & 0x80)
        out[o++] = 0;
    memcpy(out + o, v + skip, P256_BYTES - skip);
    o += P256_BYTES - skip;
    out[0] = 0x02;
    out[1] = (unsigned char)(o - 2);
    return o;
}

/* JOSE has r and s side by side, OpenSSL wants SEQUENCE { r, s }. Returns its length, or 0. */
static size_t der_from_es256(const unsigned char *sig, size_t n, unsigned char out[ECDSA_DER_MAX])
{
    if (n != 2 * P256_BYTES || !is_p256_scalar(sig) || !is_p256_scalar(sig + P256_BYTES))
        return 0;
    size_t len = 2;
    len += put_der_integer(out + len, sig);
    len += put_der_integer(out + len, sig + P256_BYTES);
    out[0] = 0x30;
    out[1] = (unsigned char)(len - 2);
    return len;
}

static bool evp_verify(const struct key *k, const void *msg, size_t n, const unsigned char *sig,
                       size_t sig_len)
{
    const EVP_MD *md = k->alg == KEY_EDDSA ? NULL : EVP_sha256();
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool holds = ctx && EVP_DigestVerifyInit(ctx, NULL, md, NULL, k->pkey) > 0 &&
                 EVP_DigestVerify(ctx, sig, sig_len, msg, n) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return holds;
}

bool jws_signature_holds(const struct key *k, const void *msg, size_t n, const unsigned char *sig,
                         size_t sig_len)
{
    unsigned char der[ECDSA_DER_MAX];
    switch (k->alg) {
    case KEY_EDDSA: return sig_len == 64 && evp_verify(k, msg, n, sig, sig_len);
    case KEY_ES256:
        sig_len = der_from_es256(sig, sig_len, der);
        return sig_len > 0 && evp_verify(k, msg, n, der, sig_len);
    case KEY_RS256:
        return sig_len == (size_t)EVP_PKEY_get_size(k->pkey) && evp_verify(k, msg, n, sig, sig_len);
    }
    return false;
}

/* ---- The header --------------------------------------------------------------------------- */

struct header {
    json_t *json; /* owns kid */
    enum key_alg alg;
    const char *kid; /* NULL: none */
};

static int header_fields(struct header *h, struct store_err *err)
{
    const json_t *alg = json_object_get(h->json, "alg");
    const json_t *kid = json_object_get(h->json, "kid");
    if (!json_is_string(alg))
        return store_err_set(err, STORE_INVALID, "not a token: the header has no 'alg'");
    if (kid && !json_is_string(kid))
        return store_err_set(err, STORE_INVALID, "not a token: the header's 'kid' is no string");
    if (json_object_get(h->json, "crit"))
        return store_err_set(err, STORE_DENIED, "the token has critical extensions ('crit')");
    if (!key_alg_from_name(json_string_value(alg), &h->alg))
        return store_err_set(err, STORE_DENIED, "the token's algorithm is not accepted");
    h->kid = json_string_value(kid);
    return 0;
}

/* The caller frees h->json, also on failure. Numbers mean nothing here: as reals, none is too
 * large for jansson. */
static int header_read(struct header *h, const char *text, size_t n, struct store_err *err)
{
    char json[JWS_MAX_PAYLOAD];
    *h = (struct header){.json = NULL};
    ssize_t len = base64url_decode(text, n, json, sizeof(json));
    if (len < 0)
        return store_err_set(err, STORE_INVALID, "not a token: the header is not base64url");
    h->json = json_loadb(json, (size_t)len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
    if (!json_is_object(h->json))
        return store_err_set(err, STORE_INVALID, "not a token: the header is no valid JSON object");
    return header_fields(h, err);
}

/* ---- The key ------------------------------------------------------------------------------ */

/* The order of trials. A token that names its key is tried with that one first and then with those
 * that have no name; one that does not, with the nameless first. */
static bool is_candidate(const struct key *k, const struct header *h, int round)
{
    if (k->alg != h->alg)
        return false;
    if (!k->kid)
        return round == (h->kid ? 1 : 0);
    if (!h->kid)
        return round == 1;
    return round == 0 && strcmp(k->kid, h->kid) == 0;
}

static bool has_kid(const struct keyring *kr, const char *kid)
{
    for (size_t i = 0; i < kr->n; i++)
        if (kid && kr->keys[i].kid && strcmp(kr->keys[i].kid, kid) == 0)
            return true;
    return false;
}

static int no_key_error(const struct keyring *kr, const struct header *h, struct store_err *err)
{
    if (has_kid(kr, h->kid))
        return store_err_set(err, STORE_DENIED, "the token's algorithm is not that of its key");
    return store_err_set(err, STORE_DENIED,
                         h->kid ? "no key with the token's kid is known"
                                : "no key for the token's algorithm is known");
}

static int find_signer(const struct keyring *kr, const struct header *h, const char *msg, size_t n,
                       const unsigned char *sig, size_t sig_len, struct store_err *err)
{
    int trials = 0;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < kr->n; i++) {
            if (!is_candidate(&kr->keys[i], h, round))
                continue;
            if (trials++ == MAX_TRIALS)
                return store_err_set(err, STORE_DENIED,
                                     "the token's signature does not match any of the first %d "
                                     "keys: it should name its key (kid)",
                                     MAX_TRIALS);
            if (jws_signature_holds(&kr->keys[i], msg, n, sig, sig_len))
                return 0;
        }
    }
    if (trials == 0)
        return no_key_error(kr, h, err);
    return store_err_set(err, STORE_DENIED, "the token's signature does not match");
}

/* ---- The whole ---------------------------------------------------------------------------- */

struct parts {
    size_t header_len, payload_at, signed_len, signature_at;
};

/* Three parts. A third dot shows later: it is no base64url. */
static bool split(const char *jws, size_t n, struct parts *p)
{
    const char *dot = n > 0 ? memchr(jws, '.', n) : NULL;
    if (!dot)
        return false;
    p->header_len = (size_t)(dot - jws);
    p->payload_at = p->header_len + 1;
    dot = memchr(jws + p->payload_at, '.', n - p->payload_at);
    if (!dot)
        return false;
    p->signed_len = (size_t)(dot - jws);
    p->signature_at = p->signed_len + 1;
    return true;
}

int jws_check(const struct keyring *kr, const char *jws, size_t n, char payload[JWS_MAX_PAYLOAD],
              size_t *payload_len, struct store_err *err)
{
    unsigned char sig[JWS_MAX_PAYLOAD];
    struct parts p;
    struct header h;
    if (n > JWS_MAX_BYTES)
        return store_err_set(err, STORE_INVALID, "not a token: longer than %d bytes",
                             JWS_MAX_BYTES);
    if (!split(jws, n, &p))
        return store_err_set(err, STORE_INVALID, "not a token: it has not three parts");
    ssize_t sig_len = base64url_decode(jws + p.signature_at, n - p.signature_at, sig, sizeof(sig));
    ssize_t len =
        base64url_decode(jws + p.payload_at, p.signed_len - p.payload_at, payload, JWS_MAX_PAYLOAD);
    if (sig_len < 0 || len < 0)
        return store_err_set(err, STORE_INVALID, "not a token: a part is not base64url");
    int rc = header_read(&h, jws, p.header_len, err);
    if (rc == 0)
        rc = find_signer(kr, &h, jws, p.signed_len, sig, (size_t)sig_len, err);
    json_decref(h.json);
    *payload_len = rc ? 0 : (size_t)len;
    return rc;
}
