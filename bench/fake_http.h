/* fake_http.h - the HTTP/1.1 server below the MOCK store: one thread, kept connections, answers
 * that may be held back for a while, bodies of any size that are made of filler or thrown away. It
 * knows Content-Length and Expect, no chunks. For clients on the same machine that mean well: there
 * is no deadline for a slow one. */
#ifndef BENCH_FAKE_HTTP_H
#define BENCH_FAKE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/loop.h"

enum { FAKE_MAX_TARGET = 8192, FAKE_MAX_METHOD = 8, FAKE_MAX_MATCH = 128 };

struct fake_request { /* lives as long as the call-back */
    char method[FAKE_MAX_METHOD];
    char target[FAKE_MAX_TARGET];  /* as it came */
    char if_match[FAKE_MAX_MATCH]; /* an ETag without its quotes; "": it is not there */
    bool if_absent;                /* If-None-Match */
    bool kept;                     /* the body is there: of a POST, and if keeps() wants it */
    const char *body;
    size_t body_len;
};

struct fake_answer {
    int status;         /* 200 */
    const char *etag;   /* NULL: none */
    int64_t modified_s; /* of what has an ETag */
    const char *type;   /* NULL: application/octet-stream */
    struct buf body;
    uint64_t filler;   /* that many bytes follow the body */
    uint32_t delay_ms; /* before the first byte goes out */
};

struct fake_handler {
    /* Whether the body of so many bytes that a PUT brings is to be in memory when it is served. */
    bool (*keeps)(void *user, const struct fake_request *request, uint64_t len);
    void (*serve)(void *user, const struct fake_request *request, struct fake_answer *answer);
    void *user;
};

struct fake_server;

/* Listens on 127.0.0.1. Returns 0, or -1. End it with fake_http_free(), before its loop. */
int fake_http_new(struct loop *loop, uint16_t port, const struct fake_handler *handler,
                  struct fake_server **out, struct store_err *err);
void fake_http_free(struct fake_server *server);

#endif
