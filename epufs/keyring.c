#include "epufs/keyring.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "epufs/jwk.h"

enum { RSA_MIN_BITS = 2048, RSA_MAX_BITS = 8192, RSA_MAX_EXPONENT_BITS = 64 };

/* ---- The ring ----------------------------------------------------------------------------- */

struct keyring *keyring_new(void)
{
    struct keyring *kr = xcalloc(1, sizeof(*kr));
    atomic_init(&kr->refs, 1);
    return kr;
}

struct keyring *keyring_ref(struct keyring *kr)
{
    atomic_fetch_add_explicit(&kr->refs, 1, memory_order_relaxed);
    return kr;
}

static void key_cleanup(struct key *k)
{
    EVP_PKEY_free(k->pkey);
    free(k->kid);
}

void keyring_unref(struct keyring *kr)
{
    if (!kr || atomic_fetch_sub_explicit(&kr->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < kr->n; i++)
        key_cleanup(&kr->keys[i]);
    free(kr->keys);
    free(kr);
}

bool key_alg_from_name(const char *name, enum key_alg *out)
{
    static const struct {
        const char *name;
        enum key_alg alg;
    } names[] = {
        {"EdDSA", KEY_EDDSA},
        {"Ed25519", KEY_EDDSA},
        {"ES256", KEY_ES256},
        {"RS256", KEY_RS256},
    };
    for (size_t i = 0; i < LEN(names); i++) {
        if (strcmp(name, names[i].name) == 0) {
            *out = names[i].alg;
            return true;
        }
    }
    return false;
}

/* ---- What a key must be ------------------------------------------------------------------- */

static const char *rsa_problem(const EVP_PKEY *pkey)
{
    BIGNUM *e = NULL;
    const char *problem = NULL;
    int bits = EVP_PKEY_get_bits(pkey);
    if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS)
        return "an RSA key must have 2048 to 8192 bits";
    if (!EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e))
        problem = "the RSA key has no public exponent";
    else if (!BN_is_odd(e) || BN_is_one(e) || BN_num_bits(e) > RSA_MAX_EXPONENT_BITS)
        problem = "the RSA key's public exponent must be odd, 3 or more, and of 64 bits at most";
    BN_free(e);
    return problem;
}

/* A curve must come by its name: written out as parameters it could be a look-alike with another
 * base point. */
static const char *p256_problem(const EVP_PKEY *pkey)
{
    char text[64];
    if (!EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_ENCODING, text, sizeof(text),
                                        NULL) ||
        strcmp(text, OSSL_PKEY_EC_ENCODING_GROUP) != 0)
        return "an EC key must name its curve";
    if (!EVP_PKEY_get_group_name(pkey, text, sizeof(text), NULL) ||
        strcmp(text, SN_X9_62_prime256v1) != 0)
        return "an EC key must be on P-256";
    return NULL;
}

static const char *mathematics_problem(EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    bool good = ctx && EVP_PKEY_public_check(ctx) > 0;
    EVP_PKEY_CTX_free(ctx);
    return good ? NULL : "the key's numbers are not those of a public key";
}

static const char *key_problem(const struct key *k)
{
    const char *problem = NULL;
    if (k->alg == KEY_RS256)
        problem = rsa_problem(k->pkey);
    else if (k->alg == KEY_ES256)
        problem = p256_problem(k->pkey);
    if (!problem)
        problem = mathematics_problem(k->pkey);
    ERR_clear_error();
    return problem;
}

static const char *room_problem(const struct keyring *kr, const struct key *k)
{
    size_t unnamed = 0;
    if (kr->n >= KEYRING_MAX_KEYS)
        return "more than 256 keys in all";
    for (size_t i = 0; i < kr->n; i++) {
        const struct key *other = &kr->keys[i];
        if (k->kid && other->kid && strcmp(k->kid, other->kid) == 0)
            return "its kid stands twice";
        unnamed += !other->kid && other->alg == k->alg;
    }
    if (!k->kid && unnamed >= KEYRING_MAX_UNNAMED)
        return "more than 16 keys of one algorithm without a kid";
    return NULL;
}

/* Takes over what *k holds, also on failure. */
static int add_key(struct keyring *kr, struct key *k, struct store_err *err)
{
    const char *problem = room_problem(kr, k);
    if (!problem)
        problem = key_problem(k);
    if (problem) {
        key_cleanup(k);
        return store_err_set(err, STORE_INVALID, "%s", problem);
    }
    kr->keys = xrealloc(kr->keys, (kr->n + 1) * sizeof(*kr->keys));
    kr->keys[kr->n++] = *k;
    return 0;
}

/* ---- JWKS --------------------------------------------------------------------------------- */

static int add_jwks_entries(struct keyring *kr, const json_t *entries, struct store_err *err)
{
    for (size_t i = 0; i < json_array_size(entries); i++) {
        struct key k;
        struct store_err cause = {.code = STORE_OK};
        enum jwk_verdict verdict = jwk_read(json_array_get(entries, i), &k, &cause);
        if (verdict == JWK_BAD || (verdict == JWK_KEY && add_key(kr, &k, &cause)))
            return store_err_set(err, cause.code, "entry %zu: %s", i + 1, cause.msg);
    }
    return 0;
}

static int add_jwks(struct keyring *kr, const char *text, size_t n, struct store_err *err)
{
    json_error_t where;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &where);
    const json_t *entries = json_object_get(root, "keys");
    int rc;
    if (!root)
        rc = store_err_set(err, STORE_INVALID, "not JSON at line %d: %s", where.line, where.text);
    else if (!json_is_array(entries))
        rc = store_err_set(err, STORE_INVALID, "not a key set: no array 'keys'");
    else if (json_array_size(entries) > KEYRING_MAX_KEYS)
        rc = store_err_set(err, STORE_INVALID, "more than %d keys", KEYRING_MAX_KEYS);
    else
        rc = add_jwks_entries(kr, entries, err);
    json_decref(root);
    return rc;
}

/* ---- PEM ---------------------------------------------------------------------------------- */

static bool alg_of_pkey(const EVP_PKEY *pkey, enum key_alg *out)
{
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_ED25519: *out = KEY_EDDSA; return true;
    case EVP_PKEY_EC: *out = KEY_ES256; return true;
    case EVP_PKEY_RSA: *out = KEY_RS256; return true;
    default: return false;
    }
}

static int add_spki(struct keyring *kr, const unsigned char *der, long der_len,
                    struct store_err *err)
{
    const unsigned char *end = der;
    struct key k = {.pkey = d2i_PUBKEY(NULL, &end, der_len)};
    if (!k.pkey || end != der + der_len) {
        key_cleanup(&k);
        ERR_clear_error();
        return store_err_set(err, STORE_INVALID, "not a SubjectPublicKeyInfo that OpenSSL knows");
    }
    if (!alg_of_pkey(k.pkey, &k.alg)) {
        key_cleanup(&k);
        return store_err_set(err, STORE_INVALID, "neither an Ed25519 nor an EC nor an RSA key");
    }
    return add_key(kr, &k, err);
}

/* Adds the next block. Returns 1, 0 behind the last one, or -1. */
static int add_next_pem(struct keyring *kr, BIO *bio, struct store_err *err)
{
    char *label = NULL, *header = NULL;
    unsigned char *der = NULL;
    long der_len = 0;
    int rc;
    if (!PEM_read_bio(bio, &label, &header, &der, &der_len)) {
        bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
        ERR_clear_error();
        return at_end ? 0 : store_err_set(err, STORE_INVALID, "not well-formed PEM");
    }
    if (strcmp(label, PEM_STRING_PUBLIC) != 0 || header[0] != '\0')
        rc = store_err_set(err, STORE_INVALID,
                           "not a 'PUBLIC KEY': private keys and certificates have no place here");
    else
        rc = add_spki(kr, der, der_len, err) ? -1 : 1;
    OPENSSL_free(label);
    OPENSSL_free(header);
    OPENSSL_clear_free(der, (size_t)der_len);
    return rc;
}

static int add_pem(struct keyring *kr, const char *text, size_t n, struct store_err *err)
{
    struct store_err cause = {.code = STORE_OK};
    size_t blocks = 0;
    int rc;
    BIO *bio = BIO_new_mem_buf(text, (int)n);
    if (!bio)
        return store_err_set(err, STORE_NO_MEMORY, "out of memory");
    while ((rc = add_next_pem(kr, bio, &cause)) > 0)
        blocks++;
    BIO_free(bio);
    if (rc < 0)
        return store_err_set(err, cause.code, "PEM block %zu: %s", blocks + 1, cause.msg);
    if (blocks == 0)
        return store_err_set(err, STORE_INVALID, "neither PEM nor a JWKS");
    return 0;
}

int keyring_add(struct keyring *kr, const char *name, const char *text, size_t n,
                struct store_err *err)
{
    struct store_err cause = {.code = STORE_OK};
    size_t blank = 0;
    if (n > KEYRING_MAX_FILE)
        return store_err_set(err, STORE_INVALID, "key file '%s': larger than 1 MiB", name);
    while (blank < n && strchr(" \t\r\n", text[blank]) && text[blank] != '\0')
        blank++;
    bool is_json = blank < n && text[blank] == '{';
    if (is_json ? add_jwks(kr, text, n, &cause) : add_pem(kr, text, n, &cause))
        return store_err_set(err, cause.code, "key file '%s': %s", name, cause.msg);
    return 0;
}

/* ---- Files -------------------------------------------------------------------------------- */

static int read_all(int fd, const char *path, struct buf *out, struct store_err *err)
{
    for (;;) {
        if (!buf_reserve(out, 4096))
            return store_err_set(err, STORE_INVALID, "key file '%s': larger than 1 MiB", path);
        ssize_t n = read(fd, out->data + out->len, out->cap - out->len - 1);
        if (n < 0 && errno != EINTR)
            return store_err_errno(err, errno, "key file '%s'", path);
        if (n == 0)
            return 0;
        if (n > 0)
            out->len += (size_t)n;
    }
}

/* O_NONBLOCK, since opening a FIFO must not hang the start. */
static int load_file(struct keyring *kr, const char *path, struct store_err *err)
{
    struct buf text = BUF_INIT(KEYRING_MAX_FILE + 4096);
    struct stat st;
    int rc = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st))
        store_err_errno(err, errno, "key file '%s'", path);
    else if (!S_ISREG(st.st_mode))
        store_err_set(err, STORE_INVALID, "key file '%s': not a regular file", path);
    else if (!read_all(fd, path, &text, err))
        rc = keyring_add(kr, path, buf_str(&text), text.len, err);
    if (fd >= 0)
        close(fd);
    buf_cleanup(&text);
    return rc;
}

/* Names with a dot in front are editors' leftovers, or the inner folders of a mounted Kubernetes
 * secret. */
static int is_key_file(const struct dirent *entry)
{
    static const char *const endings[] = {".pem", ".json", ".jwks"};
    const char *dot = strrchr(entry->d_name, '.');
    if (!dot || entry->d_name[0] == '.')
        return 0;
    for (size_t i = 0; i < LEN(endings); i++)
        if (strcmp(dot, endings[i]) == 0)
            return 1;
    return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int load_folder(struct keyring *kr, const char *path, struct store_err *err)
{
    struct dirent **entries = NULL;
    int rc = 0;
    int n = scandir(path, &entries, is_key_file, by_name);
    if (n < 0)
        return store_err_errno(err, errno, "key folder '%s'", path);
    for (int i = 0; i < n; i++) {
        if (rc == 0) {
            char *file = xasprintf("%s/%s", path, entries[i]->d_name);
            rc = load_file(kr, file, err);
            free(file);
        }
        free(entries[i]);
    }
    free(entries);
    return rc;
}

static int load_path(struct keyring *kr, const char *path, struct store_err *err)
{
    struct stat st;
    if (stat(path, &st))
        return store_err_errno(err, errno, "key file '%s'", path);
    return S_ISDIR(st.st_mode) ? load_folder(kr, path, err) : load_file(kr, path, err);
}

int keyring_load(const char *const *paths, struct keyring **out, struct store_err *err)
{
    struct keyring *kr = keyring_new();
    int rc = 0;
    for (size_t i = 0; rc == 0 && paths[i]; i++)
        rc = load_path(kr, paths[i], err);
    if (rc == 0 && kr->n == 0)
        rc = store_err_set(err, STORE_INVALID, "no usable key in '%s'%s",
                           paths[0] ? paths[0] : "(no path)",
                           paths[0] && paths[1] ? " and the other key files" : "");
    if (rc) {
        keyring_unref(kr);
        return rc;
    }
    *out = kr;
    return 0;
}
