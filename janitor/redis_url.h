/* redis_url.h - what a Redis URL says; pure.
 *
 *     redis://[user:password@]host[:port][/db]                           one server
 *     redis+sentinel://[user:password@]host[:port][,host[:port]…]/master-name[/db]
 *
 * rediss:// and rediss+sentinel:// are the same over TLS; the sentinels are then asked over TLS
 * too. A host may be a name, an IPv4 address or an IPv6 address in brackets. User and password may
 * be percent-encoded, and are the server's, not the sentinels'. The port is 6379, a sentinel's
 * 26379, unless given. */
#ifndef JANITOR_REDIS_URL_H
#define JANITOR_REDIS_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REDIS_MAX_NODES = 16, REDIS_HOST_SIZE = 256 };

struct redis_node {
    char host[REDIS_HOST_SIZE];
    uint16_t port;
};

struct redis_url {
    bool tls;
    char *master; /* the name that the sentinels know; NULL: nodes[0] is the server itself */
    struct redis_node nodes[REDIS_MAX_NODES]; /* the server, or the sentinels */
    size_t n_nodes;
    char *user, *password; /* NULL when not given */
    uint32_t db;
};

/* The forms above, for error messages: a URL may hold a password and is never shown itself. */
extern const char redis_url_forms[];

/* false: malformed, or more than REDIS_MAX_NODES sentinels; *out is then empty. */
bool redis_url_parse(const char *text, struct redis_url *out);
/* Reads "host", "host:port", "[v6]", "[v6]:port". */
bool redis_node_parse(const char *s, size_t n, uint16_t default_port, struct redis_node *out);
void redis_url_cleanup(struct redis_url *u); /* wipes the password */

#endif
