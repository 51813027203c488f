/* s3.h - the S3 driver from inside.
 *
 *     driver.c   opening a bucket; which operation goes where
 *     url.c      where the bucket is; pure
 *     request.c  one request with its tries: signing, retries, remedies, gate, hedge
 *     get.c put.c multipart.c copy.c list.c remove.c    the operations, made of requests
 *     parts.c    what uploads in parts have in common
 *     object.c   what the head of an answer tells of an object
 *     http.c     HTTP; dial.c: its connections, by libcurl; http_answer.c, sigv4.c, xml.c: pure
 *     credentials.c and what belongs to it: who signs
 *
 * Metadata of libstore's own (op.c hides names that begin with "store-"):
 *     store-sum       what a whole get is checked with: "crc32c:" and 8 hex digits; "md5": the
 *                     ETag is the body's MD5; "md5:" and the bytes of a part: the ETag is the MD5
 *                     of the parts' MD5s, as uploads in parts have it
 *     store-put-id    tells our own put from another's when an answer was lost */
#ifndef LIBSTORE_S3_S3_H
#define LIBSTORE_S3_S3_H

#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>

#include "libstore/driver.h"
#include "libstore/gate.h"
#include "libstore/hedge.h"
#include "libstore/s3/credentials.h"
#include "libstore/s3/http.h"
#include "libstore/s3/request.h"
#include "libstore/s3/sigv4.h"
#include "libstore/s3/url.h"
#include "libstore/s3/xml.h"

#define S3_META     "x-amz-meta-"
#define S3_META_SUM "store-sum"
#define S3_META_ID  "store-put-id"

enum {
    S3_MAX_TRIES = 12,
    S3_MAX_ERROR_BODY = 65536,
    S3_MAX_REGIONS = 8, /* that a bucket may send us to, one after the other */
    S3_PUT_ID_SIZE = 33,
    S3_MD5 = 16, /* bytes */
};

/* Whether the store's ETag of a single put is the MD5 of its body: seen, not believed. */
enum s3_etags { S3_ETAGS_UNKNOWN, S3_ETAGS_MD5, S3_ETAGS_OTHER };

struct s3_region { /* constant */
    char *name;
    struct s3_place place;
    struct s3_region *older; /* they live as long as the store: connections have their URL */
};

struct s3 { /* shared by threads */
    /* Constant after open. */
    struct health *health;
    struct gate *gate;
    struct credentials *credentials;
    char *bucket, *endpoint; /* endpoint NULL: Amazon's */
    enum store_addressing addressing;
    char *prefix; /* "" or "some/prefix/" */
    bool tls, amazon;
    bool region_told; /* by options, environment or profile */
    char *ca_file, *client_cert_file, *client_key_file;
    uint32_t op_timeout_ms, stall_timeout_ms, connect_timeout_ms;
    uint32_t max_connections, max_bulk_connections;
    uint64_t multipart_bytes, part_bytes;
    uint32_t parts_in_flight;
    bool no_hedging;

    /* Learned, once for all. */
    _Atomic(struct s3_region *) region; /* replaced under lock */
    atomic_int_fast64_t clock_offset_s; /* the server's clock less ours */
    atomic_int etags;                   /* enum s3_etags */
    atomic_bool no_batches;             /* DeleteObjects is not implemented */
    atomic_bool bare_match;             /* If-Match on puts is compared with its quotes */
    pthread_mutex_t lock;
    unsigned n_regions;
};

/* What each loop has of a store. */
struct s3_loop {
    struct loop *loop;
    struct http_client *interactive, *bulk;
    struct sigv4_signer *signer;    /* NULL: none yet */
    uint64_t serial;                /* of the credentials in it */
    const struct s3_region *region; /* in it */
    struct hedge hedge;
    uint32_t random;
};

struct s3_loop *s3_loop_get(struct s3 *s3, struct loop *l, struct store_err *err);
uint32_t s3_random(struct s3_loop *here);
/* Goes to another region from now on. False: that is where we are, or we were sent too often. */
bool s3_learn_region(struct s3 *s3, const struct s3_region *from, const char *name);

/* ---- Operations ---- */

struct s3_op { /* the first member of each operation's own */
    struct store_op *op;
    struct s3 *s3;
    struct s3_loop *here;
    void (*resume)(struct s3_op *o);  /* NULL: it never pauses */
    void (*cancel)(struct s3_op *o);  /* leads to s3_finish(), at once or soon */
    void (*cleanup)(struct s3_op *o); /* what it holds, but for itself */
};

/* Begin: o's first member is made by driver.c. */
size_t s3_get_size(void);
void s3_get_start(struct s3_op *o); /* HEAD too */
size_t s3_put_size(void);
void s3_put_start(struct s3_op *o);
size_t s3_copy_size(void);
void s3_copy_start(struct s3_op *o);
size_t s3_list_size(void);
void s3_list_start(struct s3_op *o);
size_t s3_remove_size(void);
void s3_remove_start(struct s3_op *o); /* DELETE, DELETE_MANY */

/* Ends the operation: frees o. info may be NULL, and its strings may lie in o. */
void s3_finish(struct s3_op *o, const struct store_err *err, const struct store_info *info);
/* The same with only the store's clock to tell. */
void s3_finish_at(struct s3_op *o, const struct store_err *err, int64_t server_time_s);

/* The same after an object was stored, put or copied: its size, ETag and sum ("": none). */
void s3_finish_stored(struct s3_op *o, const struct http_answer *a, uint64_t size, const char *etag,
                      const char *sum);

/* What most requests of an operation share. */
struct s3_request_conf s3_request_defaults(const struct s3_op *o, const char *what);

/* Ends the request that *r was, if any, and starts this one. */
void s3_op_request(struct s3_op *o, struct s3_request *r, const struct s3_request_conf *conf);

/* ---- object.c ---- */

/* A request's `fill`: a HEAD of the operation's key. */
int s3_fill_head(struct s3_request *r, struct s3_draft *d, struct store_err *err);

/* info's strings lie in *a. */
void s3_describe(const struct http_answer *a, struct store_info *info);
/* The value of one of our metadata; NULL: none. */
const char *s3_own_meta(const struct http_answer *a, const char *name);
/* Type, metadata and own metadata of a put. sum and id may be NULL. */
void s3_draft_object(struct s3_draft *d, const struct store_op *op, const char *sum,
                     const char *id);
void s3_draft_conditions(struct s3_draft *d, const struct s3_op *o);
/* -1 with *err set: the kernel gives no random bytes, and a put cannot be told from others. */
int s3_make_put_id(char id[S3_PUT_ID_SIZE], const struct store_op *op, struct store_err *err);
/* Whether an answer of 403 to a presigned put means that it came too late: the store says only that
 * it is denied. */
bool s3_put_expired(const struct store_op *op, const struct http_answer *a);

/* Checks a whole get as it comes. */
struct s3_check {
    enum { S3_CHECK_NONE, S3_CHECK_CRC32C, S3_CHECK_MD5, S3_CHECK_PARTS } kind;
    uint32_t crc, crc_wanted;
    EVP_MD_CTX *md5, *md5_of_parts;
    uint64_t part_bytes, in_part, n_parts;
    char text[STORE_CHECKSUM_SIZE]; /* for store_info.checksum */
};
/* From the object's metadata; S3_CHECK_NONE: there is no sum, an unknown or malformed one, or one
 * of an ETag that is no MD5. */
void s3_check_init(struct s3_check *c, const struct http_answer *a);
bool s3_check_add(struct s3_check *c, const void *bytes, size_t n); /* false: OpenSSL failed */
/* Whether all that was added fits the object's sum and ETag. */
bool s3_check_ok(struct s3_check *c, const char *etag);
void s3_check_cleanup(struct s3_check *c);

#endif
