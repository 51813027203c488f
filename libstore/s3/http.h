/* http.h - HTTP requests on a loop: the messages are ours (http/), the connections libcurl's
 * (dial.h).
 *
 * A client holds the connections of one loop for one purpose. A call is one request; its memory is
 * the caller's and must stay until `done` (or http_call_cancel()). Call-backs come from the loop
 * only, never from http_call_start(). When max_connections calls are under way, further ones wait
 * in their order: whoever starts them bounds their number and their time. One thread. */
#ifndef LIBSTORE_S3_HTTP_H
#define LIBSTORE_S3_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <store/store.h>

#include "base/buf.h"
#include "base/loop.h"

struct http_client;
struct http_transfer;

struct http_client_conf {
    const char *base_url;         /* scheme://host[:port], of calls that name none */
    const char *ca_file;          /* NULL: the system's bundle */
    const char *client_cert_file; /* PEM; NULL: none */
    const char *client_key_file;  /* NULL: in client_cert_file */
    uint32_t max_connections;
    uint32_t connect_timeout_ms; /* 0: 3 s */
};

/* The part of an answer's head that a store needs. */
struct http_answer {
    int status;
    int64_t content_length;            /* -1: not told */
    int64_t date_s, last_modified_s;   /* 0: not told */
    uint64_t range_first, range_total; /* of Content-Range */
    bool has_range;
    uint32_t retry_after_ms;
    char etag[STORE_ETAG_SIZE]; /* without quotes */
    char content_type[256];
    char region[64];     /* x-amz-bucket-region */
    char version[1025];  /* x-amz-version-id */
    bool encrypted_keys; /* x-amz-server-side-encryption other than AES256: no MD5 in the ETag */
    struct buf meta;     /* "name\0value\0" of each x-amz-meta-* */
    size_t n_meta;
};

enum http_failure {
    HTTP_ANSWERED,  /* there is a whole answer, of any status */
    HTTP_NOT_SENT,  /* no connection, name or TLS: the server saw nothing */
    HTTP_UNTRUSTED, /* a certificate was refused, the server's or ours: it saw nothing */
    HTTP_BROKEN,    /* connection lost, short body, stalled: the server may have acted */
    HTTP_LATE,      /* its deadline has passed: the server may have acted on what it has */
    HTTP_BAD_LOCAL, /* our own side gave up: read call-back, a bad URL or certificate */
    HTTP_NO_MEMORY, /* our own side lacks memory, for the answer's head too */
};

struct http_call {
    /* Set by the caller before http_call_start(). */
    const char *base_url;      /* NULL: the client's; else it must outlive the client */
    const char *method;        /* GET HEAD PUT POST DELETE */
    const char *target;        /* path and query, as it is sent */
    const char *headers;       /* "Name: value\n" lines */
    uint64_t body_size;        /* PUT, POST */
    bool expect_continue;      /* ask before the body goes: RFC 9110 section 10.1.1 */
    uint32_t stall_timeout_ms; /* without a byte either way; 0: none */
    /* CLOCK_MONOTONIC; 0: none. After it nothing more of the request is given to the kernel, and
     * what waits there unacknowledged is dropped with the connection. Looked at, by the clock
     * itself, before the call begins and before each piece that is sent; besides several times a
     * second. Whoever wants to hear of it in time has a timer. */
    uint64_t deadline_ms;
    /* Gives up to cap bytes of the body: >0, STORE_READ_PAUSE, STORE_READ_ABORT. NULL: no body. */
    ssize_t (*read)(struct http_call *c, void *buf, size_t cap);
    /* Starts the body anew; NULL: that cannot be done. */
    bool (*rewind)(struct http_call *c);
    /* Once, before the first data or done; NULL is fine. */
    void (*head)(struct http_call *c);
    /* Takes all; false: pause until http_call_resume(). NULL: the body is dropped. */
    bool (*data)(struct http_call *c, const void *bytes, size_t n);
    void (*done)(struct http_call *c, enum http_failure failure, const char *detail);
    void *user;

    /* http.c's own; `answer` is for the caller to read from head() on. */
    struct http_answer answer;
    struct http_client *client;     /* NULL: not under way */
    struct http_transfer *transfer; /* NULL: waiting for a connection */
    struct http_call *next, *prev;  /* among those that wait */
    bool head_told, paused;
};

/* The client of this loop and owner (a store); made at the first call, freed with the loop. NULL
 * with *err set: no memory. */
struct http_client *http_client_get(struct loop *l, const void *owner,
                                    const struct http_client_conf *conf, struct store_err *err);
/* Returns -1 with *err set: then no call-back comes (STORE_TIMEOUT: its deadline has passed). The
 * call's strings are borrowed until done. */
int http_call_start(struct http_client *h, struct http_call *c, struct store_err *err);
void http_call_resume(struct http_call *c);
/* No call-back any more. Harmless when not under way. Not from a call-back of the same call.
 * Without a whole answer the connection is closed, and what waits to be sent is dropped. */
void http_call_cancel(struct http_call *c);
/* Frees what the answer holds; call when done with it. */
void http_call_cleanup(struct http_call *c);

#endif
