/* token.h - JSON Web Tokens (RFC 7519, 7515) as EPUFS uses them: compact JWS, EdDSA (also as
 * "Ed25519", RFC 9864), ES256 or RS256, three kinds of claims:
 *
 *   endpoint   tenant_id, timeline_id, endpoint_id, exp, [gen]
 *   prefix     tenant_id, [timeline_id], exp
 *   service    scope "epufs:admin" (the only word, or one of several divided by spaces), exp
 *
 * A claim that is null counts as missing. Times are NumericDates: a fraction is cut off, a negative
 * one means 1970. gen is a number or a string of decimal digits, since many JSON writers cannot
 * express 2^53 and more as a number. Unknown claims are ignored; a claim that stands twice is not.
 *
 * The algorithm is the KEY's: the header's alg must agree with it, so "none", HMAC with a public
 * key and the like have no way in. `crit` is refused; jku, x5u, x5c and jwk are ignored.
 * Thread-safe; a token never shows in an error message. */
#ifndef EPUFS_TOKEN_H
#define EPUFS_TOKEN_H

#include "epufs/jws.h"
#include "epufs/keyring.h"
#include "epufs/scope.h"

enum { TOKEN_MAX_BYTES = JWS_MAX_BYTES };

struct token_claims {
    bool admin;         /* service token; scope then counts only when has_scope */
    bool has_scope;     /* the token names a tenant */
    struct scope scope; /* what it names: kind by the deepest claim */
    bool has_gen;
    uint64_t gen;   /* 0 without the claim */
    uint64_t exp_s; /* up to 2^64-1 */
    uint64_t nbf_s; /* 0 without the claim */
    uint64_t iat_s; /* 0 without the claim */
};

struct token_rules {
    const char *audience; /* NULL: aud is not looked at; else aud (string or array) must hold it */
    const char *issuer;   /* NULL: iss is not looked at */
    uint32_t leeway_s;    /* for exp, nbf, iat */
};

/* Checks signature, times and form. Returns 0, or -1 with STORE_DENIED (signature, key, algorithm,
 * expired, audience …) or STORE_INVALID (not a token, a malformed claim); the message is fit for
 * the client. Reads nothing outside jwt[0..n). */
int token_verify(const struct keyring *kr, const struct token_rules *rules, int64_t now_s,
                 const char *jwt, size_t n, struct token_claims *out, struct store_err *err);

/* Whether claims that were verified once hold now: exp, nbf, iat. Returns 0, or -1 with
 * STORE_DENIED. */
int token_check_times(const struct token_claims *claims, const struct token_rules *rules,
                      int64_t now_s, struct store_err *err);

/* A bounded cache of tokens that were verified, by their SHA-256, since an Ed25519 check costs more
 * than the rest of a small GET. One thread. Only successes are kept. Times are checked at each
 * lookup, other audiences and issuers are other entries, and a change of keyring empties it (the
 * cache holds a reference to the ring that it saw last). max_entries 0: nothing is kept. NULL when
 * OpenSSL has no SHA-256 to give. */
struct token_cache;
struct token_cache *token_cache_new(size_t max_entries);
void token_cache_free(struct token_cache *c);
int token_cache_verify(struct token_cache *c, struct keyring *kr, const struct token_rules *rules,
                       int64_t now_s, const char *jwt, size_t n, struct token_claims *out,
                       struct store_err *err);

#endif
