#include "epufs/scope.h"

#include <stdio.h>
#include <string.h>

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

/* Reads one character of UTF-8: its length in bytes, or 0 when it is not one. The bounds of the
 * second byte are what keeps overlong forms, surrogates and numbers above U+10FFFF out. */
static size_t utf8_char(const unsigned char *s, size_t n, uint32_t *code)
{
    static const struct {
        unsigned char first_lo, first_hi, second_lo, second_hi, len;
    } forms[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    if (s[0] < 0x80) {
        *code = s[0];
        return 1;
    }
    for (size_t i = 0; i < LEN(forms); i++) {
        size_t len = forms[i].len;
        if (s[0] < forms[i].first_lo || s[0] > forms[i].first_hi)
            continue;
        if (n < len || s[1] < forms[i].second_lo || s[1] > forms[i].second_hi)
            return 0;
        *code = s[0] & (0xffu >> (len + 1));
        for (size_t k = 1; k < len; k++) {
            if ((s[k] & 0xc0) != 0x80)
                return 0;
            *code = *code << 6 | (s[k] & 0x3f);
        }
        return len;
    }
    return 0;
}

/* C0, DEL and C1, as Unicode's category Cc. */
static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code <= 0x9f);
}

static const char *characters_problem(const unsigned char *s, size_t n)
{
    while (n > 0) {
        uint32_t code;
        size_t len = utf8_char(s, n, &code);
        if (len == 0)
            return "the path is not valid UTF-8";
        if (is_control(code))
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
    const char *problem = characters_problem((const unsigned char *)path, n);
    for (size_t start = 0; !problem && start <= n;) {
        const char *slash = start < n ? memchr(path + start, '/', n - start) : NULL;
        size_t end = slash ? (size_t)(slash - path) : n;
        problem = segment_problem(path + start, end - start);
        start = end + 1;
    }
    return problem;
}
