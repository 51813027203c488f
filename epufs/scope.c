#include "epufs/scope.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "base/xalloc.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool scope_parse_id(const char *s, size_t n, char out[ID_SIZE])
{
    if (n != ID_SIZE - 1)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c >= 'A' && c <= 'F')
            c = (char)(c - 'A' + 'a');
        if (!is_digit(c) && !(c >= 'a' && c <= 'f'))
            return false;
        out[i] = c;
    }
    out[n] = '\0';
    return true;
}

bool scope_parse_endpoint(const char *s, size_t n, char out[ENDPOINT_SIZE])
{
    if (n == 0 || n > ENDPOINT_SIZE - 1)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool inner = i > 0 && (s[i] == '_' || s[i] == '-');
        if (!is_digit(s[i]) && !is_letter(s[i]) && !inner)
            return false;
    }
    memcpy(out, s, n);
    out[n] = '\0';
    return true;
}

static const char *const kind_names[] = {
    [SCOPE_TENANT] = "tenant",
    [SCOPE_TIMELINE] = "timeline",
    [SCOPE_ENDPOINT] = "endpoint",
};

const char *scope_kind_name(enum scope_kind kind)
{
    return (size_t)kind < LEN(kind_names) ? kind_names[kind] : "unknown";
}

bool scope_kind_from_name(const char *s, enum scope_kind *out)
{
    for (size_t i = 0; i < LEN(kind_names); i++) {
        if (strcmp(s, kind_names[i]) == 0) {
            *out = (enum scope_kind)i;
            return true;
        }
    }
    return false;
}

bool scope_equal(const struct scope *a, const struct scope *b)
{
    return a->kind == b->kind && scope_contains(a, b);
}

bool scope_contains(const struct scope *outer, const struct scope *inner)
{
    if (outer->kind > inner->kind || strcmp(outer->tenant, inner->tenant) != 0)
        return false;
    if (outer->kind >= SCOPE_TIMELINE && strcmp(outer->timeline, inner->timeline) != 0)
        return false;
    return outer->kind < SCOPE_ENDPOINT || strcmp(outer->endpoint, inner->endpoint) == 0;
}

void scope_path(const struct scope *s, char out[SCOPE_PATH_SIZE])
{
    int n = snprintf(out, SCOPE_PATH_SIZE, "tenants/%s", s->tenant);
    if (s->kind >= SCOPE_TIMELINE)
        n += snprintf(out + n, SCOPE_PATH_SIZE - (size_t)n, "/timelines/%s", s->timeline);
    if (s->kind >= SCOPE_ENDPOINT)
        snprintf(out + n, SCOPE_PATH_SIZE - (size_t)n, "/endpoints/%s", s->endpoint);
}

/* ---- Paths -------------------------------------------------------------------------------- */

/* C0, DEL and C1, as Unicode's category Cc. Line separators may stand in a path. */
static bool is_cc(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code <= 0x9f);
}

static const char *characters_problem(const char *s, size_t n)
{
    while (n > 0) {
        uint32_t code;
        size_t len = utf8_decode(s, n, &code);
        if (len == 0)
            return "the path is not valid UTF-8";
        if (is_cc(code))
            return "the path has a control character";
        s += len;
        n -= len;
    }
    return NULL;
}

static const char *segment_problem(const char *s, size_t n)
{
    if (n == 0)
        return "the path has an empty segment";
    if ((n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
        return "the path has a '.' or '..' segment";
    return NULL;
}

const char *scope_path_problem(const char *path, size_t n)
{
    if (n == 0)
        return "the path is empty";
    if (n > PATH_MAX_BYTES)
        return "the path is longer than 512 bytes";
    const char *problem = characters_problem(path, n);
    for (size_t start = 0; !problem && start <= n;) {
        const char *slash = start < n ? memchr(path + start, '/', n - start) : NULL;
        size_t end = slash ? (size_t)(slash - path) : n;
        problem = segment_problem(path + start, end - start);
        start = end + 1;
    }
    return problem;
}
