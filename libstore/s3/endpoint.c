#include "libstore/s3/endpoint.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/codec.h"

enum { MAX_URL_BYTES = 2048, MAX_NAME_BYTES = 253 };

static bool is_sendable(const char *url)
{
    size_t n = 0;
    for (; url[n]; n++)
        if (n == MAX_URL_BYTES || (unsigned char)url[n] <= 0x20 || (unsigned char)url[n] >= 0x7f ||
            strchr("@#\\\"<>", url[n]))
            return false;
    return true;
}

static bool is_name(const char *s, size_t n, const char *others)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr(others, s[i]))
            return false;
    return n > 0 && n <= MAX_NAME_BYTES;
}

/* name, and behind it a port or nothing. */
static bool split_host(struct endpoint *e)
{
    const char *end = e->host + e->host_len, *after;
    uint64_t port = 0;
    if (e->host_len && e->host[0] == '[') {
        const char *close = memchr(e->host, ']', e->host_len);
        if (!close)
            return false;
        e->name = e->host + 1;
        e->name_len = (size_t)(close - e->name);
        after = close + 1;
        if (!is_name(e->name, e->name_len, ":."))
            return false;
    } else {
        const char *colon = memchr(e->host, ':', e->host_len);
        after = colon ? colon : end;
        e->name = e->host;
        e->name_len = (size_t)(after - e->host);
        if (!is_name(e->name, e->name_len, ".-_"))
            return false;
    }
    if (after == end)
        return true;
    return *after == ':' && parse_u64(after + 1, (size_t)(end - after - 1), &port) && port > 0 &&
           port <= UINT16_MAX;
}

bool endpoint_parse(const char *url, struct endpoint *e)
{
    size_t scheme;
    if (!is_sendable(url))
        return false;
    if (strncasecmp(url, "https://", 8) == 0)
        scheme = 8;
    else if (strncasecmp(url, "http://", 7) == 0)
        scheme = 7;
    else
        return false;
    *e = (struct endpoint){.is_tls = scheme == 8, .host = url + scheme};
    e->host_len = strcspn(e->host, "/?");
    e->base_len = scheme + e->host_len;
    e->target = url + e->base_len;
    return split_host(e) && *e->target != '?';
}

static bool is_local_v4(const struct in_addr *in)
{
    uint32_t a = ntohl(in->s_addr);
    return a >> 24 == 127 || a >> 16 == (169 << 8 | 254);
}

static bool is_local_v6(const struct in6_addr *a)
{
    static const unsigned char eks[16] = {0xfd, 0x00, 0x0e, 0xc2, [15] = 0x23};
    return IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_LINKLOCAL(a) ||
           memcmp(a->s6_addr, eks, sizeof(eks)) == 0;
}

bool endpoint_is_local(const struct endpoint *e)
{
    char name[MAX_NAME_BYTES + 1];
    struct in_addr v4;
    struct in6_addr v6;
    memcpy(name, e->name, e->name_len);
    name[e->name_len] = '\0';
    if (e->host[0] == '[')
        return inet_pton(AF_INET6, name, &v6) == 1 && is_local_v6(&v6);
    if (inet_pton(AF_INET, name, &v4) == 1)
        return is_local_v4(&v4);
    return strcasecmp(name, "localhost") == 0; /* RFC 6761 section 6.3: always loopback */
}
