/* client.h - requests to reader and writer over HTTP/1.1, on connections that are kept for as long
 * as the client lives. The only file with libcurl is client.c.
 *
 * Several requests go at once (client_perform); each has a time for one try, all together a
 * deadline. What may change is tried again, after a pause that grows and is never quite the same,
 * or that the answer's Retry-After asks for: 408, 429, 5xx, a connection that failed or broke. All
 * requests of a client share one budget of such repetitions. A 401 is tried again when the token's
 * file holds another token by then. Redirections are not followed, since they would take the token
 * elsewhere, and no proxy is asked.
 *
 * An error's message names method, path and what the server said of it (problem details, RFC
 * 9457), and never the token. One thread. */
#ifndef COMPUTE_CLIENT_H
#define COMPUTE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

#include "base/buf.h"
#include "compute/bearer.h"
#include "compute/conf.h"

struct client;

enum { CLIENT_ETAG_SIZE = 200, CLIENT_PATH_SIZE = 3 * 1024, CLIENT_TEXT_MAX = 2 << 20 };

struct client_sink {
    /* An answer of 200 begins, also that of a repetition: what came before is void. */
    int (*begin)(void *user, struct store_err *err);
    int (*data)(void *user, const void *bytes, size_t n, struct store_err *err);
};

struct client_request { /* all zero but method and path is a GET */
    const char *method; /* "GET"; "PUT", which goes to the writer */
    char path[CLIENT_PATH_SIZE];
    const char *accept;   /* NULL: anything */
    const char *if_match; /* PUT: the version that is to be replaced; "": none may be there */
    int body_fd;          /* PUT: read from its beginning, unless body_text is set */
    const char *body_text;
    uint64_t body_size;
    const struct client_sink *sink; /* for the body of a 200. NULL: it goes to `text` */
    void *user;

    /* Filled in: */
    int status;                  /* 0: there was no answer */
    char etag[CLIENT_ETAG_SIZE]; /* without its quotes; "": none */
    struct buf text;             /* up to CLIENT_TEXT_MAX; client_request_cleanup() */
    struct store_err err;        /* STORE_OK: the answer was 200. Else http_status tells which */
    bool is_unclear;             /* some try may have been done although no answer told so */
};

/* The request's path: "/tenants/…/endpoints/<ep>", and "/pgdata/<path>" unless path is NULL. */
void client_request_init(struct client_request *rq, const char *method,
                         const struct scope *endpoint, const char *path);
void client_request_cleanup(struct client_request *rq);

/* conf and b outlast the client. Returns 0, or -1 with STORE_INVALID: a URL or CA file. */
int client_new(const struct compute_conf *conf, struct bearer *b, struct client **out,
               struct store_err *err);
void client_free(struct client *c); /* NULL is fine */

/* Runs all to their end, at most until deadline_ms (clock_mono_ms). Each says how it went. */
void client_perform(struct client *c, struct client_request *const *rqs, size_t n,
                    uint64_t deadline_ms);

#endif
