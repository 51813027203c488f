#include "libstore/s3/url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/codec.h"
#include "libstore/key.h"

enum {
    MIN_BUCKET = 3,
    MAX_BUCKET = 63,
    MAX_PREFIX = 256,
    MAX_HOST = 253, /* RFC 1035 section 3.1, as text */
    MAX_LABEL = 63,
    MAX_PORT_DIGITS = 5,
    MAX_EXCERPT = 128,
};

#define DIGITS      "0123456789"
#define SMALL       "abcdefghijklmnopqrstuvwxyz"
#define LARGE       "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define BUCKET_SET  SMALL LARGE DIGITS ".-_"
#define HOST_SET    SMALL LARGE DIGITS ".-_" /* '_': not DNS, but names of containers have it */
#define IN_HOST_SET SMALL DIGITS ".-"        /* of a bucket in host style */
#define REGION_SET  SMALL DIGITS "-"

struct endpoint {
    const char *scheme; /* "http" or "https" */
    char host[MAX_HOST + 1];
    char port[MAX_PORT_DIGITS + 2]; /* ":9000"; "": the scheme's own */
    bool is_address;                /* no name: nothing can be put before it */
};

void s3_place_init(struct s3_place *p)
{
    *p = (struct s3_place){0};
}

void s3_place_cleanup(struct s3_place *p)
{
    free(p->bucket);
    free(p->prefix);
    free(p->base_url);
    free(p->host);
    free(p->path_prefix);
    s3_place_init(p);
}

static int no_memory(struct store_err *err)
{
    return store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
}

static bool consists_of(const char *s, size_t n, const char *set)
{
    return strspn(s, set) >= n;
}

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}

/* What of the caller's text a message may repeat. */
static const char *shown(const char *s, char out[MAX_EXCERPT])
{
    if (strchr(s, '@'))
        return "(not shown)";
    return text_excerpt(s, strlen(s), out, MAX_EXCERPT);
}

/* ---- "bucket[/prefix]" ---- */

static int take_bucket(struct s3_place *p, const char *location, struct store_err *err)
{
    char text[MAX_EXCERPT];
    size_t n = strcspn(location, "/");
    if (n < MIN_BUCKET || n > MAX_BUCKET || !consists_of(location, n, BUCKET_SET))
        return store_err_set(err, STORE_INVALID,
                             "store URL s3://%s: expected a bucket of 3 to 63 letters, digits, "
                             "'.', '-' or '_', then an optional /prefix",
                             shown(location, text));
    p->bucket = strndup(location, n);
    return p->bucket ? 0 : no_memory(err);
}

static int take_prefix(struct s3_place *p, const char *location, struct store_err *err)
{
    char text[MAX_EXCERPT];
    const char *slash = strchr(location, '/');
    const char *prefix = slash ? slash + 1 : "";
    size_t n = strlen(prefix);
    while (n && prefix[n - 1] == '/')
        n--;
    p->prefix = malloc(n + 2);
    if (!p->prefix)
        return no_memory(err);
    memcpy(p->prefix, prefix, n);
    p->prefix[n] = '\0';
    if (n == 0)
        return 0;
    if (n > MAX_PREFIX || key_has_odd_segment(p->prefix) || has_control(p->prefix))
        return store_err_set(err, STORE_INVALID,
                             "store URL s3://%s: expected a prefix of up to 256 bytes without "
                             "control characters, empty segments, '.' or '..'",
                             shown(location, text));
    memcpy(p->prefix + n, "/", 2);
    return 0;
}

/* ---- The endpoint ---- */

/* "[::1]"; a zone is refused, since it means nothing to a store's clients elsewhere. */
static bool is_ipv6_literal(const char *host, size_t n)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr ignored;
    if (n < 4 || n - 2 >= sizeof(address) || host[0] != '[' || host[n - 1] != ']')
        return false;
    memcpy(address, host + 1, n - 2);
    address[n - 2] = '\0';
    return inet_pton(AF_INET6, address, &ignored) == 1;
}

/* Labels of 1 to 63 characters between dots. */
static bool is_host_name(const char *host, size_t n)
{
    if (n > MAX_HOST || !consists_of(host, n, HOST_SET))
        return false;
    for (const char *label = host, *end = host + n; label <= end; label++) {
        const char *dot = memchr(label, '.', (size_t)(end - label));
        size_t len = (size_t)((dot ? dot : end) - label);
        if (len == 0 || len > MAX_LABEL)
            return false;
        label += len;
    }
    return true;
}

/* No name ends in a label that begins with a digit; all of IPv4's spellings do. */
static bool is_ipv4(const char *host)
{
    const char *dot = strrchr(host, '.');
    const char *last = dot ? dot + 1 : host;
    return *last >= '0' && *last <= '9';
}

static bool take_host(struct endpoint *e, const char *host, size_t n)
{
    bool is_ipv6 = is_ipv6_literal(host, n);
    if (!is_ipv6 && !is_host_name(host, n))
        return false;
    for (size_t i = 0; i < n; i++)
        e->host[i] = host[i] >= 'A' && host[i] <= 'Z' ? (char)(host[i] - 'A' + 'a') : host[i];
    e->host[n] = '\0';
    e->is_address = is_ipv6 || is_ipv4(e->host);
    return true;
}

/* port: what follows the host, with its colon; may be empty. */
static bool take_port(struct endpoint *e, const char *port, size_t n)
{
    uint64_t number;
    if (n == 0)
        return true;
    if (port[0] != ':' || n > MAX_PORT_DIGITS + 1 || !parse_u64(port + 1, n - 1, &number) ||
        number == 0 || number > 65535)
        return false;
    bool is_default = number == (strcmp(e->scheme, "https") == 0 ? 443 : 80);
    snprintf(e->port, sizeof(e->port), is_default ? "" : ":%u", (unsigned)number);
    return true;
}

/* Returns what follows "scheme://", NULL: another scheme, or none. */
static const char *take_scheme(struct endpoint *e, const char *text)
{
    bool is_https = strncasecmp(text, "https://", 8) == 0;
    e->scheme = is_https ? "https" : "http";
    if (is_https)
        return text + 8;
    return strncasecmp(text, "http://", 7) == 0 ? text + 7 : NULL;
}

static bool read_endpoint(struct endpoint *e, const char *text)
{
    const char *authority = take_scheme(e, text);
    if (!authority)
        return false;
    size_t n = strlen(authority);
    while (n && authority[n - 1] == '/')
        n--;
    const char *bracket = memchr(authority, ']', n);
    const char *from = bracket ? bracket : authority;
    const char *colon = memchr(from, ':', n - (size_t)(from - authority));
    size_t host_len = colon ? (size_t)(colon - authority) : n;
    return take_host(e, authority, host_len) && take_port(e, authority + host_len, n - host_len);
}

/* Amazon's own of a region. China is a partition with a domain of its own. */
static int amazon_endpoint(struct endpoint *e, const char *region, struct store_err *err)
{
    char text[MAX_EXCERPT];
    size_t n = strlen(region);
    if (n == 0 || n > MAX_LABEL || !consists_of(region, n, REGION_SET))
        return store_err_set(err, STORE_INVALID,
                             "S3 region '%s': expected a name such as us-east-1",
                             shown(region, text));
    e->scheme = "https";
    snprintf(e->host, sizeof(e->host), "s3.%s.amazonaws.com%s", region,
             strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
    return 0;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), n_end = strlen(end);
    return n >= n_end && strcmp(s + n - n_end, end) == 0;
}

static bool is_amazon(const struct endpoint *e)
{
    return ends_with(e->host, ".amazonaws.com") || ends_with(e->host, ".amazonaws.com.cn");
}

/* ---- Path style or host style ---- */

/* Whether the bucket can stand in a host's name, as one label or, with dots, as several. */
static bool can_be_in_host(const char *bucket, const struct endpoint *e)
{
    size_t n = strlen(bucket);
    return !e->is_address && consists_of(bucket, n, IN_HOST_SET) && bucket[0] != '-' &&
           bucket[n - 1] != '-' && is_host_name(bucket, n) && n + 1 + strlen(e->host) <= MAX_HOST;
}

static int choose_style(const struct s3_place *p, const struct endpoint *e,
                        enum store_addressing addressing, bool *in_host, struct store_err *err)
{
    bool can = can_be_in_host(p->bucket, e);
    switch (addressing) {
    case STORE_ADDRESSING_AUTO: *in_host = can && p->is_amazon && !strchr(p->bucket, '.'); return 0;
    case STORE_ADDRESSING_PATH: *in_host = false; return 0;
    case STORE_ADDRESSING_HOST:
        *in_host = true;
        if (can)
            return 0;
        return store_err_set(err, STORE_INVALID,
                             "S3 bucket %s: cannot be put before the host %s; expected path style",
                             p->bucket, e->host);
    }
    return store_err_set(err, STORE_INVALID, "S3 addressing: expected auto, path or host");
}

static char *join(const char *a, const char *b, const char *c, const char *d)
{
    char *s = NULL;
    return asprintf(&s, "%s%s%s%s", a, b, c, d) < 0 ? NULL : s;
}

static int write_place(struct s3_place *p, const struct endpoint *e, bool in_host,
                       struct store_err *err)
{
    p->host = join(in_host ? p->bucket : "", in_host ? "." : "", e->host, e->port);
    p->base_url = p->host ? join(e->scheme, "://", p->host, "") : NULL;
    p->path_prefix = in_host ? strdup("") : join("/", p->bucket, "", "");
    return p->base_url && p->path_prefix ? 0 : no_memory(err);
}

static int take_endpoint(struct s3_place *p, const char *text, const char *region,
                         enum store_addressing addressing, struct store_err *err)
{
    char excerpt[MAX_EXCERPT];
    struct endpoint e = {0};
    bool in_host = false;
    p->has_region = !text || !*text;
    if (p->has_region) {
        if (amazon_endpoint(&e, region, err) != 0)
            return -1;
    } else if (!read_endpoint(&e, text)) {
        return store_err_set(err, STORE_INVALID,
                             "S3 endpoint '%s': expected http://host[:port] or https://host[:port]",
                             shown(text, excerpt));
    }
    p->is_amazon = is_amazon(&e);
    if (choose_style(p, &e, addressing, &in_host, err) != 0)
        return -1;
    return write_place(p, &e, in_host, err);
}

int s3_url_parse(const char *location, const char *endpoint, const char *region,
                 enum store_addressing addressing, struct s3_place *out, struct store_err *err)
{
    s3_place_init(out);
    if (take_bucket(out, location, err) == 0 && take_prefix(out, location, err) == 0 &&
        take_endpoint(out, endpoint, region, addressing, err) == 0)
        return 0;
    s3_place_cleanup(out);
    return -1;
}
