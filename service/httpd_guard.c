#include "service/httpd_guard.h"

#include <string.h>
#include <strings.h>

enum { CRLF = 2, MAX_METHOD = 32 };

static void fault(struct guard *g, const char *what)
{
    if (!g->fault)
        g->fault = what;
}

static bool is_alnum(unsigned char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* RFC 9110 section 5.6.2 */
static bool is_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_alnum((unsigned char)s[i]) && (s[i] == '\0' || !strchr("!#$%&'*+-.^_`|~", s[i])))
            return false;
    return len > 0;
}

/* No controls but the tab; bytes above 0x7f are allowed (obs-text). Without a way out of the loop,
 * so that the compiler can look at many bytes at once. */
static bool is_field_value(const char *s, size_t len)
{
    unsigned bad = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        bad |= ((c < 0x20) & (c != '\t')) | (c == 0x7f);
    }
    return !bad;
}

/* Origin form only: we are no proxy. A fragment never belongs into a request. */
static bool is_target(const char *s)
{
    if (s[0] != '/')
        return false;
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c <= ' ' || c >= 0x7f || c == '#')
            return false;
    }
    return true;
}

/* host[:port] without user, path or a second host; what it names is not ours to judge. */
static bool is_host(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_alnum((unsigned char)s[i]) && (s[i] == '\0' || !strchr("-._~:[]%!$&'()*+;=", s[i])))
            return false;
    return len > 0;
}

/* -1: not a length. */
static int64_t parse_length(const char *s, size_t len)
{
    int64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9' || n > (INT64_MAX - 9) / 10)
            return -1;
        n = n * 10 + (s[i] - '0');
    }
    return len > 0 ? n : -1;
}

void guard_start(struct guard *g, const char *method, const char *url, const char *target,
                 const char *version)
{
    size_t method_len = strlen(method);
    *g = (struct guard){.start = method, .next = version + strlen(version) + CRLF};
    if (method_len > MAX_METHOD || !is_token(method, method_len))
        fault(g, "The method is not a token.");
    if (url != method + method_len + 1 || version != url + strlen(target) + 1)
        fault(g, "The request line is malformed.");
    if (!is_target(target))
        fault(g, "The target must be an absolute path.");
    g->http_1_0 = strcmp(version, "HTTP/1.0") == 0;
}

static bool name_is(const char *name, size_t len, const char *wanted)
{
    return len == strlen(wanted) && strncasecmp(name, wanted, len) == 0;
}

static void check_host(struct guard *g, const char *value, size_t len)
{
    if (g->n_hosts++)
        fault(g, "There is more than one Host.");
    if (!is_host(value, len))
        fault(g, "The Host is malformed.");
}

static void check_length(struct guard *g, const char *value, size_t len)
{
    if (g->n_lengths++)
        fault(g, "There is more than one Content-Length.");
    g->content_length = parse_length(value, len);
    if (g->content_length < 0)
        fault(g, "The Content-Length is malformed.");
}

/* Only what the library itself takes for chunked: it has read the field before us, with the white
 * space at its end. */
static void check_coding(struct guard *g, const char *value, size_t len)
{
    if (g->n_codings++)
        fault(g, "There is more than one Transfer-Encoding.");
    g->chunked = name_is(value, len, "chunked");
    if (!g->chunked)
        fault(g, "The Transfer-Encoding is unknown.");
    if (g->http_1_0)
        fault(g, "HTTP/1.0 has no Transfer-Encoding.");
}

static size_t trim_end(char *value, size_t len)
{
    size_t n = len;
    while (n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'))
        n--;
    if (n < len)
        value[n] = '\0';
    return n;
}

void guard_field(struct guard *g, const char *name, size_t name_len, char *value, size_t value_len)
{
    if (++g->n_fields > GUARD_MAX_FIELDS)
        fault(g, "There are too many header fields.");
    if (name != g->next || value <= name + name_len)
        fault(g, "A line of the head does not end in CR LF, is folded, or holds a NUL.");
    g->next = value + value_len + CRLF;
    if (!is_token(name, name_len))
        fault(g, "A field name is not a token.");
    if (!is_field_value(value, value_len))
        fault(g, "A field value holds a control character.");
    if (name_is(name, name_len, "Transfer-Encoding"))
        check_coding(g, value, value_len);
    size_t len = trim_end(value, value_len);
    if (name_is(name, name_len, "Host"))
        check_host(g, value, len);
    else if (name_is(name, name_len, "Content-Length"))
        check_length(g, value, len);
    else if (name_is(name, name_len, "Expect"))
        g->expect_continue = name_is(value, len, "100-continue");
}

const char *guard_end(struct guard *g, size_t head_bytes)
{
    if (g->next + CRLF != g->start + head_bytes)
        fault(g, "A line of the head does not end in CR LF, or holds a NUL.");
    if (g->n_hosts == 0 && !g->http_1_0)
        fault(g, "There is no Host.");
    if (g->n_lengths && g->n_codings)
        fault(g, "There are both Content-Length and Transfer-Encoding.");
    if (g->chunked)
        g->content_length = -1;
    return g->fault;
}
