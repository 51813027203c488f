/* route.h - what a request asks for: its method and its target (path and query, as it came in the
 * request line) taken apart. Pure; needs no memory of its own.
 *
 *     /tenants/{t}                                                        ROUTE_SCOPE
 *     /tenants/{t}/timelines/{tl}                                         ROUTE_SCOPE
 *     /tenants/{t}/timelines/{tl}/endpoints/{ep}                          ROUTE_SCOPE
 *     /tenants/{t}/timelines/{tl}/endpoints/{ep}/pgdata/{path…}           ROUTE_FILE
 *     /livez  /readyz  /metrics  /version
 *
 * Any other shape, also one of these with a further slash at its end, is ROUTE_NONE. Which methods
 * a route takes is the program's to say: it compares `method` with a set of its own, and answers
 * 405 with route_allow() of that set.
 *
 * Decoding is strict, and happens once, after the target was cut at its slashes: the fixed words
 * above stand undecoded, an id's %2F is part of the id (which makes it a bad one), and in the
 * file's path a decoded slash is like any other, so that "..%2f" meets the same rules as "../". A
 * malformed escape, %00, or a raw blank, control character or '#' is an error wherever it stands.
 * The absolute form of a target (http://host/path) means the path in it. */
#ifndef SERVICE_ROUTE_H
#define SERVICE_ROUTE_H

#include <stddef.h>

#include <store/error.h>

#include "epufs/scope.h"

enum route {
    ROUTE_NONE, /* 404 */
    ROUTE_FILE,
    ROUTE_SCOPE,
    ROUTE_LIVEZ,
    ROUTE_READYZ,
    ROUTE_METRICS,
    ROUTE_VERSION,
};

/* Bits, so that a set of methods is their sum. */
enum route_method {
    METHOD_OTHER = 0,
    METHOD_GET = 1,
    METHOD_HEAD = 2,
    METHOD_PUT = 4,
    METHOD_POST = 8,
    METHOD_DELETE = 16,
};

struct route_req {
    enum route_method method; /* in upper case only, as HTTP demands; else METHOD_OTHER */
    enum route route;
    struct scope scope;            /* FILE: an endpoint's; SCOPE: its kind says how deep */
    char path[PATH_MAX_BYTES + 1]; /* FILE: decoded and valid; else "" */
    const char *query;             /* behind the '?', undecoded, within the target; "" for none */
};

/* Returns 0 (also for ROUTE_NONE), or -1 with STORE_INVALID: then the message is fit for the client
 * and names the part, what it was, and what is expected; r->method is set. target must live as
 * long as r->query is used. */
int route_parse(const char *method, const char *target, struct route_req *r, struct store_err *err);

/* A short constant for logs and metric labels: "file", "tenant", "timeline", "endpoint", "livez",
 * …, "none". */
const char *route_name(const struct route_req *r);

enum { ROUTE_ALLOW_SIZE = 40 };
/* The Allow header's value for a set of methods: "GET, HEAD". */
void route_allow(unsigned methods, char out[ROUTE_ALLOW_SIZE]);

/* The decoded value of a query parameter; one without '=' has the value "". '+' stays a plus.
 * Returns 1, 0 when there is none of that name, or -1 with STORE_INVALID: it stands twice, or is
 * longer than cap - 1 bytes. */
int route_query(const struct route_req *r, const char *name, char *out, size_t cap,
                struct store_err *err);

#endif
