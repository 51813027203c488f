/* s3.h - the S3 driver's own state. */
#ifndef LIBSTORE_S3_S3_H
#define LIBSTORE_S3_S3_H

#include <stdatomic.h>

#include "libstore/driver.h"
#include "libstore/s3/http.h"
#include "libstore/s3/sigv4.h"
#include "libstore/s3/xml.h"

enum { S3_MAX_TRIES = 12, S3_MAX_ERROR_BODY = 65536 };

struct s3 {            /* shared by threads; constant but for the clock */
    char *base_url;    /* "https://host[:port]" */
    char *host;        /* the Host header */
    char *path_prefix; /* "/bucket" in path style, else "" */
    char *bucket;
    char *prefix; /* "" or "some/prefix/" */
    char *region;
    char *access_key, *secret_key, *session_token;
    char *ca_file;
    uint32_t op_timeout_ms, stall_timeout_ms, max_connections;
    atomic_int_fast64_t clock_offset_s; /* the server's clock less ours */
};

/* What each loop has of a store. */
struct s3_loop {
    struct http_client *http;
    struct sigv4_signer *signer;
    uint32_t random;
};

/* An operation under way. */
struct s3_op {
    struct store_op *op;
    struct s3 *s3;
    struct s3_loop *here;
    struct http_call call;
    struct buf target, headers, body;
    size_t body_sent;
    struct xml_parser *xml; /* of this try's answer, when it is XML that we read */
    size_t xml_bytes;
    struct store_err xml_err;
    struct loop_timer backoff;
    unsigned tries;
    uint64_t progress_ms; /* when it began, or when the latest data came */
    bool time_learned;
    /* GET */
    bool described;     /* op_head() was called */
    uint64_t delivered; /* bytes that op_data() got */
    uint64_t expected;  /* bytes that it must get in all */
    bool misfit;        /* this try's answer is not the part that was asked for */
    char etag[STORE_ETAG_SIZE];
    /* PUT */
    bool body_asked; /* the caller's data has begun to flow: there is no second try */
    /* DELETE_MANY: what is left to remove */
    const char **pending;
    size_t n_pending;
    bool single; /* this try is for pending[0] alone, which XML cannot carry */
};

struct s3_loop *s3_loop_get(struct s3 *s3, struct loop *l, struct store_err *err);

/* Fills o's target, headers and body for its next try, signed. */
int s3_build(struct s3_op *o, struct store_err *err);

/* The driver's entry points, in perform.c. */
void s3_start(void *state, struct store_op *op);
void s3_resume(void *state, struct store_op *op);
void s3_cancel(void *state, struct store_op *op);

#endif
