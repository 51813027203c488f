/* keyring.h - the public keys that tokens are checked with: PEM files (SubjectPublicKeyInfo, one
 * or more in a file) and JWKS files (RFC 7517). Ed25519, P-256 and RSA of 2048 to 8192 bits; other
 * key types in a JWKS are skipped, private or symmetric material in it is an error, as is a kid
 * that stands twice. Immutable once loaded; threads share it. */
#ifndef EPUFS_KEYRING_H
#define EPUFS_KEYRING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <openssl/evp.h>

#include <store/error.h>

enum key_alg { KEY_EDDSA, KEY_ES256, KEY_RS256 };

struct key {
    EVP_PKEY *pkey;
    enum key_alg alg;
    char *kid; /* NULL: none (PEM) */
};

struct keyring {
    struct key *keys;
    size_t n;
    atomic_uint refs;
};

enum {
    KEYRING_MAX_KEYS = 256,
    KEYRING_MAX_UNNAMED = 16, /* keys of one algorithm without a kid: each costs a trial */
    KEYRING_MAX_FILE = 1024 * 1024,
};

/* A name from JOSE: "EdDSA" or "Ed25519" (RFC 9864), "ES256", "RS256". false: none of ours. */
bool key_alg_from_name(const char *name, enum key_alg *out);

/* Loads every path (NULL ends the list): a file, or a folder whose *.pem, *.json and *.jwks files
 * are loaded in the order of their names, without those that begin with a dot. All or nothing; a
 * keyring without any usable key is an error. The error names the file. */
int keyring_load(const char *const *paths, struct keyring **out, struct store_err *err);
/* From memory, by content: text beginning with '{' (after white space) is a JWKS, everything else
 * PEM. name is for messages. Adds to *kr, or on failure perhaps a part of it: then drop the ring.
 * A JWKS in which nothing is for us adds nothing and succeeds. Used by keyring_load and tests. */
int keyring_add(struct keyring *kr, const char *name, const char *text, size_t n,
                struct store_err *err);
struct keyring *keyring_new(void);
struct keyring *keyring_ref(struct keyring *kr);
void keyring_unref(struct keyring *kr); /* frees at zero; NULL is fine */

#endif
