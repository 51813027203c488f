#include "service/route.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/xalloc.h"

enum {
    MAX_ESCAPED = 3 * PATH_MAX_BYTES, /* a path of which every byte is escaped */
    SHOWN_PART = 72,                  /* of what was given, in messages */
};

/* A piece of the target, undecoded. */
struct part {
    const char *s;
    size_t n;
};

static bool part_is(struct part p, const char *word)
{
    return strlen(word) == p.n && memcmp(p.s, word, p.n) == 0;
}

static int refuse(struct part p, const char *what, const char *expected, struct store_err *err)
{
    char shown[SHOWN_PART];
    return store_err_set(err, STORE_INVALID, "%s '%s': expected %s", what,
                         text_excerpt(p.s, p.n, shown, sizeof(shown)), expected);
}

/* ---- Methods ---- */

static const struct {
    const char *name;
    enum route_method method;
} methods_by_name[] = {
    {"GET", METHOD_GET},   {"HEAD", METHOD_HEAD},     {"PUT", METHOD_PUT},
    {"POST", METHOD_POST}, {"DELETE", METHOD_DELETE},
};

static enum route_method method_from_name(const char *name)
{
    for (size_t i = 0; i < LEN(methods_by_name); i++)
        if (strcmp(methods_by_name[i].name, name) == 0)
            return methods_by_name[i].method;
    return METHOD_OTHER;
}

void route_allow(unsigned methods, char out[ROUTE_ALLOW_SIZE])
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < LEN(methods_by_name); i++)
        if (methods & methods_by_name[i].method)
            n += (size_t)snprintf(out + n, ROUTE_ALLOW_SIZE - n, "%s%s", n ? ", " : "",
                                  methods_by_name[i].name);
}

/* ---- The target as a whole ---- */

/* Every byte may stand in a target and every escape is well-formed, so that nothing is left to go
 * wrong when a piece of it is decoded. Bytes that are not ASCII ought to be escaped, but many
 * clients send them as they are, and the path's rules look at them anyway. */
static int check_target(const char *target, struct store_err *err)
{
    struct part escape;
    size_t decoded;
    char byte[4];
    for (const char *p = target; *p; p++) {
        if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == '#')
            return refuse((struct part){target, strlen(target)}, "the target",
                          "blanks, control characters and '#' only as %XX", err);
        if (*p != '%')
            continue;
        escape = (struct part){p, strnlen(p, 3)};
        if (!percent_decode(escape.s, escape.n, byte, &decoded))
            return refuse(escape, "the escape", "% and two hex digits other than 00", err);
    }
    return 0;
}

/* The path's begin: behind the scheme and host, if the target has them. */
static const char *path_of(const char *target)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < LEN(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (strncasecmp(target, schemes[i], n) == 0)
            return target + n + strcspn(target + n, "/?");
    }
    return target;
}

/* Takes the next segment, and the slash in front of it, off *rest. */
static bool next_part(struct part *rest, struct part *out)
{
    if (rest->n == 0 || *rest->s != '/')
        return false;
    out->s = rest->s + 1;
    const char *slash = memchr(out->s, '/', rest->n - 1);
    out->n = slash ? (size_t)(slash - out->s) : rest->n - 1;
    rest->s += out->n + 1;
    rest->n -= out->n + 1;
    return true;
}

/* ---- Ids and paths ---- */

/* An id that is too long for the decoded text is too long for an id. */
static bool decode_id(struct part p, char text[ENDPOINT_SIZE * 3], size_t *n)
{
    return p.n < (size_t)ENDPOINT_SIZE * 3 && percent_decode(p.s, p.n, text, n);
}

static int parse_id(struct part p, const char *what, char out[ID_SIZE], struct store_err *err)
{
    char text[ENDPOINT_SIZE * 3];
    size_t n;
    if (!decode_id(p, text, &n) || !scope_parse_id(text, n, out))
        return refuse(p, what, "32 hex digits", err);
    return 0;
}

static int parse_endpoint(struct part p, char out[ENDPOINT_SIZE], struct store_err *err)
{
    char text[ENDPOINT_SIZE * 3];
    size_t n;
    if (!decode_id(p, text, &n) || !scope_parse_endpoint(text, n, out))
        return refuse(p, "endpoint_id",
                      "1 to 63 letters, digits, '-' and '_', beginning with a letter or digit",
                      err);
    return 0;
}

static int parse_path(struct part p, char out[PATH_MAX_BYTES + 1], struct store_err *err)
{
    char text[MAX_ESCAPED + 1], shown[SHOWN_PART];
    const char *problem = "the path is too long";
    size_t n;
    if (p.n <= MAX_ESCAPED && percent_decode(p.s, p.n, text, &n))
        problem = scope_path_problem(text, n);
    if (problem)
        return store_err_set(err, STORE_INVALID, "path '%s': %s",
                             text_excerpt(p.s, p.n, shown, sizeof(shown)), problem);
    memcpy(out, text, n + 1);
    return 0;
}

/* ---- Routes ---- */

/* The three ids, as far as there are any, and the rest behind "/pgdata/". */
struct shape {
    struct part ids[3];
    size_t n_ids;
    struct part path; /* n 0: none */
};

/* Returns false when the path is not one below /tenants. Looks at the fixed words only. */
static bool find_shape(struct part rest, struct shape *sh)
{
    static const char *const words[] = {"tenants", "timelines", "endpoints"};
    struct part word;
    *sh = (struct shape){.n_ids = 0};
    while (sh->n_ids < LEN(words) && next_part(&rest, &word)) {
        if (!part_is(word, words[sh->n_ids]) || !next_part(&rest, &sh->ids[sh->n_ids]))
            return false;
        sh->n_ids++;
    }
    if (rest.n == 0)
        return sh->n_ids > 0 && sh->ids[sh->n_ids - 1].n > 0;
    if (sh->n_ids < LEN(words) || !next_part(&rest, &word) || !part_is(word, "pgdata"))
        return false;
    if (rest.n < 2 || rest.s[rest.n - 1] == '/')
        return false;
    sh->path = (struct part){rest.s + 1, rest.n - 1};
    return true;
}

static int parse_shape(const struct shape *sh, struct route_req *r, struct store_err *err)
{
    struct scope *scope = &r->scope;
    if (parse_id(sh->ids[0], "tenant_id", scope->tenant, err) != 0)
        return -1;
    if (sh->n_ids > 1 && parse_id(sh->ids[1], "timeline_id", scope->timeline, err) != 0)
        return -1;
    if (sh->n_ids > 2 && parse_endpoint(sh->ids[2], scope->endpoint, err) != 0)
        return -1;
    if (sh->path.n && parse_path(sh->path, r->path, err) != 0)
        return -1;
    scope->kind = sh->n_ids == 1 ? SCOPE_TENANT : sh->n_ids == 2 ? SCOPE_TIMELINE : SCOPE_ENDPOINT;
    r->route = sh->path.n ? ROUTE_FILE : ROUTE_SCOPE;
    return 0;
}

static const struct {
    const char *path;
    enum route route;
} plain_routes[] = {
    {"/livez", ROUTE_LIVEZ},
    {"/readyz", ROUTE_READYZ},
    {"/metrics", ROUTE_METRICS},
    {"/version", ROUTE_VERSION},
};

int route_parse(const char *method, const char *target, struct route_req *r, struct store_err *err)
{
    *r = (struct route_req){.method = method_from_name(method), .query = ""};
    if (check_target(target, err) != 0)
        return -1;
    struct part path = {path_of(target), 0};
    path.n = strcspn(path.s, "?");
    if (path.s[path.n] == '?')
        r->query = path.s + path.n + 1;
    for (size_t i = 0; i < LEN(plain_routes); i++)
        if (part_is(path, plain_routes[i].path))
            r->route = plain_routes[i].route;
    struct shape sh;
    if (r->route == ROUTE_NONE && find_shape(path, &sh))
        return parse_shape(&sh, r, err);
    return 0;
}

const char *route_name(const struct route_req *r)
{
    if (r->route == ROUTE_FILE)
        return "file";
    if (r->route == ROUTE_SCOPE)
        return scope_kind_name(r->scope.kind);
    for (size_t i = 0; i < LEN(plain_routes); i++)
        if (plain_routes[i].route == r->route)
            return plain_routes[i].path + 1;
    return "none";
}

/* ---- The query ---- */

/* Whether p means name once it is decoded. */
static bool decodes_to(struct part p, const char *name)
{
    char text[64];
    size_t n;
    return p.n < sizeof(text) && percent_decode(p.s, p.n, text, &n) && n == strlen(name) &&
           memcmp(text, name, n) == 0;
}

/* Takes the next "name=value" off *rest. */
static bool next_parameter(const char **rest, struct part *name, struct part *value)
{
    if (!**rest)
        return false;
    size_t n = strcspn(*rest, "&");
    const char *equals = memchr(*rest, '=', n), *end = *rest + n;
    *name = (struct part){*rest, equals ? (size_t)(equals - *rest) : n};
    *value = (struct part){equals ? equals + 1 : end, 0};
    value->n = (size_t)(end - value->s);
    *rest = *end ? end + 1 : end;
    return true;
}

/* Decodes through a buffer that holds the value however much of it is escaped. */
static int decode_value(struct part p, const char *name, char *out, size_t cap,
                        struct store_err *err)
{
    char text[MAX_ESCAPED + 1], expected[64];
    size_t n;
    if (p.n > MAX_ESCAPED || !percent_decode(p.s, p.n, text, &n) || n >= cap) {
        snprintf(expected, sizeof(expected), "at most %zu bytes", cap - 1);
        return refuse(p, name, expected, err);
    }
    memcpy(out, text, n + 1);
    return 1;
}

int route_query(const struct route_req *r, const char *name, char *out, size_t cap,
                struct store_err *err)
{
    const char *rest = r->query;
    struct part key, value, found = {NULL, 0};
    assert(cap > 0);
    while (next_parameter(&rest, &key, &value)) {
        if (!decodes_to(key, name))
            continue;
        if (found.s)
            return refuse(value, name, "the parameter only once", err);
        found = value;
    }
    return found.s ? decode_value(found, name, out, cap, err) : 0;
}
