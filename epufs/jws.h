/* jws.h - signatures of JSON Web Signatures (RFC 7515) in compact form; nothing about claims. Pure.
 * What the header may say is in token.h. */
#ifndef EPUFS_JWS_H
#define EPUFS_JWS_H

#include "epufs/keyring.h"

enum {
    JWS_MAX_BYTES = 8192,                    /* of the whole text */
    JWS_MAX_PAYLOAD = JWS_MAX_BYTES / 4 * 3, /* what fits into that */
};

/* Checks the form, the header and the signature, and leaves the payload, which may be anything and
 * is not NUL-terminated, in payload[0..*payload_len).
 * Returns 0, or -1 with STORE_INVALID (not a compact JWS) or STORE_DENIED (algorithm, key,
 * signature); then payload holds nothing to be used. Reads nothing outside jws[0..n). */
int jws_check(const struct keyring *kr, const char *jws, size_t n, char payload[JWS_MAX_PAYLOAD],
              size_t *payload_len, struct store_err *err);

/* Whether sig, in JOSE's form for the key's algorithm, is one of the key's for the message. */
bool jws_signature_holds(const struct key *k, const void *msg, size_t n, const unsigned char *sig,
                         size_t sig_len);

#endif
