/* The cache of verified tokens: a table of small sets. A token's hash selects the set; within it,
 * the entry that was used longest ago makes room. So memory is fixed and each step short, without
 * lists; and only who holds valid tokens can push others out. */
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "epufs/token.h"

enum { WAYS = 8, HASH_SIZE = SHA256_DIGEST_LENGTH };

struct entry {
    unsigned char hash[HASH_SIZE];
    uint64_t used; /* the cache's tick; 0: empty */
    struct token_claims claims;
};

struct token_cache {
    struct keyring *kr; /* a reference; NULL before the first lookup */
    EVP_MD *sha256;     /* fetched once: a fetch for each lookup costs more than the hash */
    EVP_MD_CTX *md;
    uint64_t tick;
    size_t sets, ways;
    struct entry entries[];
};

struct token_cache *token_cache_new(size_t max_entries)
{
    size_t ways = max_entries < WAYS ? max_entries : WAYS;
    size_t sets = ways ? max_entries / ways : 0;
    if (sets > (SIZE_MAX - sizeof(struct token_cache)) / sizeof(struct entry) / WAYS)
        return NULL;
    struct token_cache *c = xcalloc(1, sizeof(*c) + sets * ways * sizeof(c->entries[0]));
    c->sets = sets;
    c->ways = ways;
    c->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    c->md = EVP_MD_CTX_new();
    if (!c->sha256 || !c->md) {
        token_cache_free(c);
        return NULL;
    }
    return c;
}

void token_cache_free(struct token_cache *c)
{
    if (!c)
        return;
    keyring_unref(c->kr);
    EVP_MD_CTX_free(c->md);
    EVP_MD_free(c->sha256);
    free(c);
}

static void use_keyring(struct token_cache *c, struct keyring *kr)
{
    if (c->kr == kr)
        return;
    keyring_unref(c->kr);
    c->kr = keyring_ref(kr);
    memset(c->entries, 0, c->sets * c->ways * sizeof(c->entries[0]));
}

/* With its NUL, so that the parts of what is hashed cannot run into each other. */
static bool hash_text(EVP_MD_CTX *md, const char *s)
{
    return s ? EVP_DigestUpdate(md, "=", 1) && EVP_DigestUpdate(md, s, strlen(s) + 1)
             : EVP_DigestUpdate(md, "-", 1) > 0;
}

/* Of all that decides whether a token is good, except the keys and the time. */
static bool hash_token(struct token_cache *c, const struct token_rules *rules, const char *jwt,
                       size_t n, unsigned char hash[HASH_SIZE])
{
    return EVP_DigestInit_ex2(c->md, c->sha256, NULL) && hash_text(c->md, rules->audience) &&
           hash_text(c->md, rules->issuer) && EVP_DigestUpdate(c->md, jwt, n) &&
           EVP_DigestFinal_ex(c->md, hash, NULL);
}

static struct entry *find_set(struct token_cache *c, const unsigned char hash[HASH_SIZE])
{
    uint64_t number;
    memcpy(&number, hash, sizeof(number));
    return &c->entries[number % c->sets * c->ways];
}

static struct entry *find_entry(struct token_cache *c, struct entry *set, const unsigned char *hash)
{
    for (size_t i = 0; i < c->ways; i++)
        if (set[i].used && memcmp(set[i].hash, hash, HASH_SIZE) == 0)
            return &set[i];
    return NULL;
}

static void remember(struct token_cache *c, struct entry *set, const unsigned char *hash,
                     const struct token_claims *claims)
{
    struct entry *oldest = set;
    for (size_t i = 1; i < c->ways; i++)
        if (set[i].used < oldest->used)
            oldest = &set[i];
    memcpy(oldest->hash, hash, HASH_SIZE);
    oldest->used = ++c->tick;
    oldest->claims = *claims;
}

int token_cache_verify(struct token_cache *c, struct keyring *kr, const struct token_rules *rules,
                       int64_t now_s, const char *jwt, size_t n, struct token_claims *out,
                       struct store_err *err)
{
    unsigned char hash[HASH_SIZE];
    use_keyring(c, kr);
    if (c->sets == 0 || n > TOKEN_MAX_BYTES || !hash_token(c, rules, jwt, n, hash))
        return token_verify(kr, rules, now_s, jwt, n, out, err);
    struct entry *set = find_set(c, hash);
    struct entry *e = find_entry(c, set, hash);
    if (!e) {
        if (token_verify(kr, rules, now_s, jwt, n, out, err))
            return -1;
        remember(c, set, hash, out);
        return 0;
    }
    if (token_check_times(&e->claims, rules, now_s, err))
        return -1;
    e->used = ++c->tick;
    *out = e->claims;
    return 0;
}
