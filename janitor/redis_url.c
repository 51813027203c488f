#include "janitor/redis_url.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/codec.h"
#include "base/xalloc.h"

enum { REDIS_PORT = 6379, SENTINEL_PORT = 26379, MAX_DB = 1000000 };

const char redis_url_forms[] =
    "redis://[[user]:password@]host[:port][/db] or redis+sentinel://"
    "[[user]:password@]host[:port][,…]/master-name[/db], with rediss for "
    "TLS";

/* NULL: malformed, or nothing. */
static char *decode(const char *s, size_t n)
{
    char *out = xmalloc(n + 1);
    size_t len;
    if (n > 0 && percent_decode(s, n, out, &len))
        return out;
    free(out);
    return NULL;
}

/* "[user]:password" or "user". */
static bool parse_credentials(struct redis_url *u, const char *s, size_t n)
{
    const char *colon = memchr(s, ':', n);
    size_t user_len = colon ? (size_t)(colon - s) : n;
    if (user_len > 0 && !(u->user = decode(s, user_len)))
        return false;
    if (!colon)
        return u->user != NULL;
    size_t len = n - user_len - 1;
    /* An empty password is one, to Redis. */
    u->password = len ? decode(colon + 1, len) : xstrdup("");
    return u->password != NULL;
}

bool redis_node_parse(const char *s, size_t n, uint16_t default_port, struct redis_node *out)
{
    const char *end = s + n, *host = s, *host_end, *port;
    uint64_t value = default_port;
    if (n > 0 && *s == '[') {
        host = s + 1;
        host_end = memchr(s, ']', n);
        port = host_end ? host_end + 1 : NULL;
    } else {
        const char *colon = memchr(s, ':', n);
        port = host_end = colon ? colon : end;
    }
    if (!host_end || host_end == host || (size_t)(host_end - host) >= sizeof(out->host) ||
        memchr(host, ',', (size_t)(host_end - host)))
        return false;
    if (port < end && (*port != ':' || !parse_u64(port + 1, (size_t)(end - port - 1), &value) ||
                       value == 0 || value > UINT16_MAX))
        return false;
    memcpy(out->host, host, (size_t)(host_end - host));
    out->host[host_end - host] = '\0';
    out->port = (uint16_t)value;
    return true;
}

/* One node, or with sentinels several, divided by commas. */
static bool parse_nodes(struct redis_url *u, const char *s, size_t n, bool sentinel)
{
    const char *end = s + n;
    for (;; s++) {
        const char *comma = sentinel ? memchr(s, ',', (size_t)(end - s)) : NULL;
        const char *stop = comma ? comma : end;
        if (u->n_nodes == REDIS_MAX_NODES)
            return false;
        if (!redis_node_parse(s, (size_t)(stop - s), sentinel ? SENTINEL_PORT : REDIS_PORT,
                              &u->nodes[u->n_nodes]))
            return false;
        u->n_nodes++;
        if (!comma)
            return true;
        s = comma;
    }
}

static bool parse_db(struct redis_url *u, const char *s)
{
    uint64_t db;
    if (!*s)
        return true;
    if (!parse_u64(s, strlen(s), &db) || db > MAX_DB)
        return false;
    u->db = (uint32_t)db;
    return true;
}

/* "", "/", "/db"; with sentinels "/master-name", "/master-name/", "/master-name/db". */
static bool parse_path(struct redis_url *u, const char *s, bool sentinel)
{
    if (!*s)
        return !sentinel;
    if (*s++ != '/')
        return false;
    if (!sentinel)
        return parse_db(u, s);
    size_t n = strcspn(s, "/?#");
    if (!(u->master = decode(s, n)))
        return false;
    s += n;
    return !*s || (*s == '/' && parse_db(u, s + 1));
}

/* Returns what stands behind the scheme; NULL: no scheme of ours. */
static const char *parse_scheme(struct redis_url *u, const char *s, bool *sentinel)
{
    static const struct {
        const char *text;
        bool tls, sentinel;
    } schemes[] = {
        {"redis://", false, false},
        {"rediss://", true, false},
        {"redis+sentinel://", false, true},
        {"rediss+sentinel://", true, true},
    };
    for (size_t i = 0; i < LEN(schemes); i++) {
        if (strncasecmp(s, schemes[i].text, strlen(schemes[i].text)) != 0)
            continue;
        u->tls = schemes[i].tls;
        *sentinel = schemes[i].sentinel;
        return s + strlen(schemes[i].text);
    }
    return NULL;
}

static bool parse(const char *text, struct redis_url *u)
{
    bool sentinel;
    const char *s = parse_scheme(u, text, &sentinel);
    if (!s)
        return false;
    size_t n = strcspn(s, "/?#");
    const char *path = s + n, *at = memrchr(s, '@', n);
    if (at) {
        if (!parse_credentials(u, s, (size_t)(at - s)))
            return false;
        n -= (size_t)(at + 1 - s);
        s = at + 1;
    }
    return parse_nodes(u, s, n, sentinel) && parse_path(u, path, sentinel);
}

bool redis_url_parse(const char *text, struct redis_url *out)
{
    memset(out, 0, sizeof(*out));
    if (parse(text, out))
        return true;
    redis_url_cleanup(out);
    return false;
}

void redis_url_cleanup(struct redis_url *u)
{
    if (u->password)
        OPENSSL_cleanse(u->password, strlen(u->password));
    free(u->user);
    free(u->password);
    free(u->master);
    memset(u, 0, sizeof(*u));
}
