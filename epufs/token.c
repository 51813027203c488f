#include "epufs/token.h"

#include <string.h>

#include <jansson.h>

#include "base/codec.h"
#include "base/xalloc.h"

#define ADMIN_SCOPE "epufs:admin"

/* A payload as text and as tree. jansson's integers are signed, ours go to 2^64-1: so it reads all
 * numbers as reals, and where each digit counts we look into the text. */
struct payload {
    const char *text; /* valid JSON, an object, no name twice */
    size_t n;
    json_t *root;
};

/* ---- Numbers ------------------------------------------------------------------------------ */

/* p is behind the opening quote; returns what is behind the closing one. */
static const char *skip_string(const char *p, const char *end)
{
    while (p < end && *p != '"')
        p += *p == '\\' && end - p > 1 ? 2 : 1;
    return p < end ? p + 1 : end;
}

static const char *skip_of(const char *p, const char *end, const char *set)
{
    while (p < end && *p != '\0' && strchr(set, *p))
        p++;
    return p;
}

/* The number that is the value of a top-level member, as it stands in the text: p->text has been
 * parsed already, so this need not check, only find. A name that is written with escapes is not
 * found: its number is refused then. Returns its length, or 0. */
static size_t number_text(const struct payload *p, const char *name, const char **number)
{
    const char *end = p->text + p->n;
    size_t name_len = strlen(name);
    bool at_name = false; /* the next string is a member's name, not a value */
    int depth = 0;
    for (const char *c = p->text; c < end;) {
        const char *start = c++;
        if (*start == '"') {
            c = skip_string(c, end);
            if (at_name && depth == 1 && (size_t)(c - start) == name_len + 2 &&
                memcmp(start + 1, name, name_len) == 0) {
                *number = skip_of(c, end, " \t\r\n:");
                return (size_t)(skip_of(*number, end, "+-.0123456789eE") - *number);
            }
            at_name = false;
        } else if (*start == '{' || *start == '[') {
            depth++;
            at_name = *start == '{';
        } else if (*start == '}' || *start == ']') {
            depth--;
        } else if (*start == ',') {
            at_name = true;
        }
    }
    return 0;
}

/* A claim, or NULL when it is missing or null. */
static const json_t *claim(const struct payload *p, const char *name)
{
    const json_t *v = json_object_get(p->root, name);
    return json_is_null(v) ? NULL : v;
}

static int malformed(const char *name, struct store_err *err)
{
    return store_err_set(err, STORE_INVALID, "the token's claim '%s' is malformed", name);
}

/* A NumericDate. *present tells whether there is one; *out is 0 when there is none. */
static int read_time(const struct payload *p, const char *name, bool *present, uint64_t *out,
                     struct store_err *err)
{
    const json_t *v = claim(p, name);
    const char *text;
    *present = v != NULL;
    *out = 0;
    if (!v)
        return 0;
    size_t n = number_text(p, name, &text);
    if (!json_is_real(v) || n == 0)
        return malformed(name, err);
    if (parse_u64(text, n, out))
        return 0;
    double seconds = json_real_value(v);
    if (!(seconds < 0x1p64)) /* also what has digits only and is too large */
        return malformed(name, err);
    *out = seconds > 0 ? (uint64_t)seconds : 0;
    return 0;
}

static int read_gen(const struct payload *p, struct token_claims *c, struct store_err *err)
{
    const json_t *v = claim(p, "gen");
    const char *text = NULL;
    size_t n = 0;
    if (!v)
        return 0;
    if (json_is_string(v)) {
        text = json_string_value(v);
        n = json_string_length(v);
    } else if (json_is_real(v)) {
        n = number_text(p, "gen", &text);
    }
    if (n == 0 || !parse_u64(text, n, &c->gen))
        return malformed("gen", err);
    c->has_gen = true;
    return 0;
}

/* ---- Times -------------------------------------------------------------------------------- */

static int read_times(const struct payload *p, struct token_claims *c, struct store_err *err)
{
    bool has_exp, ignored;
    if (read_time(p, "exp", &has_exp, &c->exp_s, err) ||
        read_time(p, "nbf", &ignored, &c->nbf_s, err) ||
        read_time(p, "iat", &ignored, &c->iat_s, err))
        return -1;
    if (!has_exp)
        return store_err_set(err, STORE_INVALID, "the token does not say when it expires (exp)");
    return 0;
}

int token_check_times(const struct token_claims *claims, const struct token_rules *rules,
                      int64_t now_s, struct store_err *err)
{
    uint64_t now = now_s > 0 ? (uint64_t)now_s : 0;
    uint64_t latest = now + rules->leeway_s; /* cannot wrap: now is below 2^63 */
    uint64_t earliest = now > rules->leeway_s ? now - rules->leeway_s : 0;
    if (claims->exp_s <= earliest)
        return store_err_set(err, STORE_DENIED, "the token has expired");
    if (claims->nbf_s > latest)
        return store_err_set(err, STORE_DENIED, "the token is not valid yet (nbf)");
    if (claims->iat_s > latest)
        return store_err_set(err, STORE_DENIED, "the token was issued in the future (iat)");
    return 0;
}

/* ---- Audience and issuer ------------------------------------------------------------------ */

static bool string_is(const json_t *v, const char *s)
{
    return json_is_string(v) && strcmp(json_string_value(v), s) == 0;
}

static int check_audience(const struct payload *p, const char *audience, struct store_err *err)
{
    const json_t *aud = claim(p, "aud");
    bool found = string_is(aud, audience);
    if (aud && !json_is_string(aud) && !json_is_array(aud))
        return malformed("aud", err);
    for (size_t i = 0; i < json_array_size(aud); i++) {
        if (!json_is_string(json_array_get(aud, i)))
            return malformed("aud", err);
        found = found || string_is(json_array_get(aud, i), audience);
    }
    return found ? 0 : store_err_set(err, STORE_DENIED, "the token is for another audience (aud)");
}

static int check_issuer(const struct payload *p, const char *issuer, struct store_err *err)
{
    const json_t *iss = claim(p, "iss");
    if (iss && !json_is_string(iss))
        return malformed("iss", err);
    return string_is(iss, issuer)
               ? 0
               : store_err_set(err, STORE_DENIED, "the token is from another issuer (iss)");
}

static int check_parties(const struct payload *p, const struct token_rules *rules,
                         struct store_err *err)
{
    if (rules->audience && check_audience(p, rules->audience, err))
        return -1;
    return rules->issuer ? check_issuer(p, rules->issuer, err) : 0;
}

/* ---- What the token is for ---------------------------------------------------------------- */

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *w = words; *w;) {
        size_t len = strcspn(w, " ");
        if (len == n && memcmp(w, word, n) == 0)
            return true;
        w += len + (w[len] == ' ');
    }
    return false;
}

static int read_admin(const struct payload *p, struct token_claims *c, struct store_err *err)
{
    const json_t *v = claim(p, "scope");
    if (v && !json_is_string(v))
        return malformed("scope", err);
    c->admin = v && has_word(json_string_value(v), ADMIN_SCOPE);
    return 0;
}

/* One of the three ids. Returns whether it is there, or -1. out has room for it. */
static int read_name(const struct payload *p, const char *name,
                     bool (*parse)(const char *s, size_t n, char *out), char *out,
                     struct store_err *err)
{
    const json_t *v = claim(p, name);
    if (!v)
        return 0;
    if (!json_is_string(v) || !parse(json_string_value(v), json_string_length(v), out))
        return malformed(name, err);
    return 1;
}

static int read_scope(const struct payload *p, struct token_claims *c, struct store_err *err)
{
    struct scope *s = &c->scope;
    int tenant = read_name(p, "tenant_id", scope_parse_id, s->tenant, err);
    int timeline = tenant < 0 ? -1 : read_name(p, "timeline_id", scope_parse_id, s->timeline, err);
    int endpoint =
        timeline < 0 ? -1 : read_name(p, "endpoint_id", scope_parse_endpoint, s->endpoint, err);
    if (endpoint < 0)
        return -1;
    if (timeline > tenant)
        return store_err_set(err, STORE_INVALID, "the token names a timeline without a tenant");
    if (endpoint > timeline)
        return store_err_set(err, STORE_INVALID, "the token names an endpoint without a timeline");
    c->has_scope = tenant;
    s->kind = endpoint ? SCOPE_ENDPOINT : timeline ? SCOPE_TIMELINE : SCOPE_TENANT;
    if (!c->has_scope && !c->admin)
        return store_err_set(err, STORE_INVALID,
                             "the token names no tenant and has no scope '" ADMIN_SCOPE "'");
    return 0;
}

/* ---- The whole ---------------------------------------------------------------------------- */

static int read_claims(const struct payload *p, struct token_claims *c, struct store_err *err)
{
    if (read_times(p, c, err) || read_gen(p, c, err) || read_admin(p, c, err))
        return -1;
    return read_scope(p, c, err);
}

int token_verify(const struct keyring *kr, const struct token_rules *rules, int64_t now_s,
                 const char *jwt, size_t n, struct token_claims *out, struct store_err *err)
{
    char text[JWS_MAX_PAYLOAD];
    struct payload p = {.text = text};
    struct token_claims claims;
    memset(&claims, 0, sizeof(claims));
    if (jws_check(kr, jwt, n, text, &p.n, err))
        return -1;
    p.root = json_loadb(text, p.n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
    int rc = 0;
    if (!json_is_object(p.root))
        rc = store_err_set(err, STORE_INVALID, "not a token: the claims are no valid JSON object");
    if (rc == 0)
        rc = read_claims(&p, &claims, err);
    if (rc == 0)
        rc = check_parties(&p, rules, err);
    if (rc == 0)
        rc = token_check_times(&claims, rules, now_s, err);
    json_decref(p.root);
    if (rc == 0)
        *out = claims;
    return rc;
}
