/* jwk.h - reads one public key in JSON (RFC 7517, 7518, 8037). Only for keyring.c: what comes out
 * has the right form, but its strength has not been looked at. */
#ifndef EPUFS_JWK_H
#define EPUFS_JWK_H

#include <jansson.h>

#include "epufs/keyring.h"

enum jwk_verdict {
    JWK_BAD = -1, /* malformed, private or symmetric: *err is set */
    JWK_SKIP = 0, /* not for us: another type, curve, algorithm or use */
    JWK_KEY = 1,  /* *out was filled; its pkey and kid are the caller's */
};

enum jwk_verdict jwk_read(const json_t *jwk, struct key *out, struct store_err *err);

#endif
