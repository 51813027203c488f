/* request.h - one request to the bucket, tried until it succeeds, fails for good, or its time is
 * up.
 *
 * What each try needs is done here, once for all operations: credentials, the gate of the bulk
 * requests, a signature, the pool of connections, the verdict on the answer, the remedies (clock,
 * region, credentials), back-off within the budget, a second request when a small read is slow, and
 * the counting. An operation says what to send (fill), takes what comes (head, data) and hears of
 * the end (done), which may start the request anew or free it. Belongs to a loop; one thread. */
#ifndef LIBSTORE_S3_REQUEST_H
#define LIBSTORE_S3_REQUEST_H

#include <store/store.h>

#include "base/buf.h"
#include "base/loop.h"
#include "libstore/driver.h"
#include "libstore/retry.h"
#include "libstore/s3/credentials.h"
#include "libstore/s3/http.h"
#include "libstore/s3/sigv4.h"
#include "libstore/s3/xml.h"

struct s3;
struct s3_loop;

/* ---- A request being put together ---- */

enum {
    S3_MAX_QUERY = 8,
    S3_MAX_HEADERS = 16 + STORE_MAX_META + STORE_OWN_META,
    S3_DRAFT_TEXT = 12 * 1024, /* two keys, three times as long when encoded, and the rest */
};

struct s3_draft { /* large: what is behind `used` is not initialized */
    const char *method;
    const char *key;          /* NULL: the bucket itself */
    const char *payload_hash; /* hex SHA-256, or SIGV4_UNSIGNED_PAYLOAD; at first that of "" */
    struct sigv4_pair query[S3_MAX_QUERY];
    struct sigv4_pair headers[S3_MAX_HEADERS];
    size_t n_query, n_headers;
    bool failed; /* too many, too long */
    size_t used;
    char text[S3_DRAFT_TEXT];
};

/* Borrow name and value until the draft is sent. */
void s3_draft_query(struct s3_draft *d, const char *name, const char *value);
void s3_draft_header(struct s3_draft *d, const char *name, const char *value);
/* A text that lives as long as the draft. Never NULL. */
const char *s3_draft_text(struct s3_draft *d, const char *fmt, ...) STORE_PRINTF_LIKE(2, 3);

/* ---- The request ---- */

struct s3_request;

struct s3_request_conf {
    const char *what; /* "put": for messages */
    const char *name; /* the key or prefix, for messages; lives as long as the request */
    bool bulk;        /* the pool */
    bool hedged;      /* may be sent twice when it is slow */
    /* What a success's body is: XML_NONE for data or nothing, otherwise a document of this kind. */
    enum xml_kind expects;
    uint32_t gate_keys; /* keys that it touches; 0: not through the gate */
    uint32_t stall_timeout_ms;
    uint64_t deadline_ms; /* CLOCK_MONOTONIC: no further try after it, nor a byte of one */
    /* The body: from memory, or NULL with `read`, which has to give body_size bytes. */
    const char *body;
    uint64_t body_size;
    /* A presigned request; 0: signed in its headers, with the time of each try. */
    int64_t signed_at_s;
    uint32_t expires_in_s;

    /* Before each try. d is empty but for payload_hash. */
    int (*fill)(struct s3_request *r, struct s3_draft *d, struct store_err *err);
    /* Of a streamed body; see store_put_cb. It makes the request one that cannot be repeated from
     * the moment that it has given something. */
    ssize_t (*read)(struct s3_request *r, void *buf, size_t cap);
    /* A success has begun; r->answer. */
    void (*head)(struct s3_request *r);
    /* A success's data; false: pause. */
    bool (*data)(struct s3_request *r, const void *bytes, size_t n);
    /* A try has failed, and there will be another: change what it should ask for. NULL is fine. */
    void (*again)(struct s3_request *r, const struct verdict *v);
    /* The end. err->code STORE_OK: doc is the document (NULL with XML_NONE). r->answer holds the
     * latest answer's head. May start r again, or clean it up. */
    void (*done)(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc);
    void *user;
};

struct s3_request {
    struct s3_request_conf conf;
    struct s3 *s3;
    struct s3_loop *here;
    struct http_call calls[2];  /* the second one is the hedge */
    struct http_answer *answer; /* of the call that counts */
    struct buf target, headers;
    uint64_t body_at;
    bool once; /* no further try: a streamed body has begun to flow, or the operation says so */
    struct xml_parser *xml;
    size_t xml_bytes;
    struct store_err xml_err;
    struct loop_task kick;
    struct loop_timer timer; /* back-off, gate */
    struct loop_timer hedge;
    struct credentials_waiter waiter;
    const struct s3_region *region; /* that this try went to; the loop's may have changed since */
    uint64_t serial;                /* of the credentials that signed this try */
    unsigned tries;                 /* since s3_request_start() */
    unsigned remedies;              /* bit of each that was tried */
    uint64_t sent_ms, progress_ms;
    bool at_gate;
};

/* Zeroed memory becomes a request; conf is copied. */
void s3_request_init(struct s3_request *r, struct s3 *s3, struct s3_loop *here,
                     const struct s3_request_conf *conf);
/* Begins (again): `done` follows from the loop. delay_ms: not before. */
void s3_request_start(struct s3_request *r, uint32_t delay_ms);
void s3_request_resume(struct s3_request *r);
/* Ends without `done` and frees what it holds. In any state, also from its own call-backs except
 * head, data and read. Harmless when it was never initialized. */
void s3_request_cleanup(struct s3_request *r);
/* Whether all of the body has gone and the answer is awaited; then there is no further try. */
bool s3_request_body_gone(struct s3_request *r);
/* How long to wait before trying the same for the nth time. */
uint32_t s3_request_delay_ms(struct s3_request *r, unsigned attempt);

#endif
