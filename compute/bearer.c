#include "compute/bearer.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/read_file.h"
#include "base/xalloc.h"

struct bearer {
    char *file; /* NULL: the environment's */
    char *token;
    unsigned serial;
    struct scope scope;
    uint64_t gen;
};

static void forget(char *token)
{
    if (token)
        explicit_bzero(token, strlen(token));
    free(token);
}

/* ---- Its text ---- */

/* Without the white space around it, as files have it at their end. NULL: not a token's text. */
static char *trimmed(const char *text, size_t n, const char *where, struct store_err *err)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    while (n > 0 && strchr(" \t\r\n", text[n - 1]))
        n--;
    while (n > 0 && strchr(" \t\r\n", *text))
        text++, n--;
    if (n == 0 || n > BEARER_MAX_BYTES) {
        store_err_set(err, STORE_DENIED, "the token (%s) %s", where,
                      n == 0 ? "is empty" : "is too long");
        return NULL;
    }
    char *token = xstrndup(text, n);
    if (strspn(token, letters) == n)
        return token;
    store_err_set(err, STORE_DENIED, "the token (%s) is no JSON Web Token", where);
    forget(token);
    return NULL;
}

static char *read_token(const char *file, struct store_err *err)
{
    if (!file) {
        const char *value = getenv(BEARER_ENV);
        if (value)
            return trimmed(value, strlen(value), "in " BEARER_ENV, err);
        store_err_set(err, STORE_DENIED,
                      "there is no token: neither token_file nor the environment "
                      "variable " BEARER_ENV);
        return NULL;
    }
    char *text = xmalloc(BEARER_MAX_BYTES + 64), *token = NULL;
    ssize_t n = read_file_head(file, text, BEARER_MAX_BYTES + 64);
    if (n < 0)
        store_err_errno(err, errno, "cannot read the token's file '%s'", file);
    else
        token = trimmed(text, (size_t)n, "in token_file", err);
    explicit_bzero(text, BEARER_MAX_BYTES + 64);
    free(text);
    return token;
}

/* ---- Its claims ---- */

static json_t *claims_of(const char *token)
{
    json_t *claims = NULL;
    const char *first = strchr(token, '.'), *second = first ? strchr(first + 1, '.') : NULL;
    if (!second)
        return NULL;
    size_t n = (size_t)(second - first - 1);
    char *text = xmalloc(n + 1);
    ssize_t len = base64url_decode(first + 1, n, text, n);
    if (len > 0)
        claims = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    return claims;
}

static bool take_id(const json_t *claims, const char *name, char out[ID_SIZE])
{
    const char *s = json_string_value(json_object_get(claims, name));
    return s && scope_parse_id(s, strlen(s), out);
}

static bool take_gen(const json_t *claims, uint64_t *gen)
{
    const json_t *v = json_object_get(claims, "gen");
    const char *text = json_string_value(v);
    *gen = 0;
    if (!v || json_is_null(v))
        return true;
    if (text)
        return parse_u64(text, strlen(text), gen);
    *gen = (uint64_t)json_integer_value(v);
    return json_is_integer(v) && json_integer_value(v) >= 0;
}

static int take_claims(const char *token, struct scope *scope, uint64_t *gen, struct store_err *err)
{
    json_t *claims = claims_of(token);
    const char *endpoint = json_string_value(json_object_get(claims, "endpoint_id"));
    *scope = (struct scope){.kind = SCOPE_ENDPOINT};
    bool good = endpoint && scope_parse_endpoint(endpoint, strlen(endpoint), scope->endpoint) &&
                take_id(claims, "tenant_id", scope->tenant) &&
                take_id(claims, "timeline_id", scope->timeline) && take_gen(claims, gen);
    json_decref(claims);
    return good ? 0
                : store_err_set(err, STORE_DENIED,
                                "the token is not an endpoint's: expected the claims tenant_id, "
                                "timeline_id, endpoint_id and, if there is one, gen");
}

/* ---- The rest ---- */

int bearer_open(const char *file, struct bearer **out, struct store_err *err)
{
    struct bearer *b = xcalloc(1, sizeof(*b));
    b->file = file && *file ? xstrdup(file) : NULL;
    b->token = read_token(b->file, err);
    if (b->token && take_claims(b->token, &b->scope, &b->gen, err) == 0) {
        *out = b;
        return 0;
    }
    bearer_close(b);
    return -1;
}

void bearer_close(struct bearer *b)
{
    if (!b)
        return;
    forget(b->token);
    free(b->file);
    free(b);
}

const char *bearer_token(const struct bearer *b)
{
    return b->token;
}

unsigned bearer_serial(const struct bearer *b)
{
    return b->serial;
}

const struct scope *bearer_scope(const struct bearer *b)
{
    return &b->scope;
}

uint64_t bearer_gen(const struct bearer *b)
{
    return b->gen;
}

bool bearer_refresh(struct bearer *b, unsigned refused)
{
    struct scope scope;
    uint64_t gen;
    struct store_err ignored;
    if (b->serial != refused)
        return true;
    char *token = b->file ? read_token(b->file, &ignored) : NULL;
    bool another = token && strcmp(token, b->token) != 0 &&
                   take_claims(token, &scope, &gen, &ignored) == 0 &&
                   scope_equal(&scope, &b->scope) && gen == b->gen;
    if (another) {
        char *before = b->token;
        b->token = token;
        b->serial++;
        token = before;
    }
    forget(token);
    return another;
}
