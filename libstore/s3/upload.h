/* upload.h - what put.c (a put in one request) and multipart.c (in parts) share: a put begins in
 * put.c, and goes to multipart.c when it is large or turns out so. */
#ifndef LIBSTORE_S3_UPLOAD_H
#define LIBSTORE_S3_UPLOAD_H

#include "libstore/s3/parts.h"

enum { S3_MAX_PARTS = 10000 };

struct s3_upload;

struct s3_part { /* a slot for one part at a time */
    struct s3_upload *u;
    struct s3_request r;
    enum { S3_PART_FREE, S3_PART_FILLING, S3_PART_SENDING } state;
    unsigned number; /* from 1 */
    char *buf;       /* part_bytes; NULL: not yet, or the body is in memory anyway */
    const char *bytes;
    size_t len;
    unsigned char md5[S3_MD5];
    char md5_base64[32], sha256[65];
};

struct s3_upload {
    struct s3_op o;
    struct s3_request r; /* the put, or the beginning, completion or abort of parts, or a look */
    char put_id[S3_PUT_ID_SIZE];   /* "": it needs none */
    char sum[STORE_CHECKSUM_SIZE]; /* "": none is known beforehand */
    EVP_MD_CTX *md5;               /* of a streamed body; NULL: not wanted */
    unsigned char md5_sum[S3_MD5];
    bool has_md5;
    char sha256[65];         /* of a body in memory */
    const char *body;        /* in memory; NULL: streamed */
    uint64_t size;           /* STORE_SIZE_UNKNOWN: not yet known */
    struct loop_timer grace; /* canceled while the store may be about to answer */
    struct store_err err;    /* what ended it */

    /* Parts. */
    struct loop_task step; /* fills the next one */
    uint64_t part_bytes, taken;
    struct s3_parts parts; /* its n: those begun */
    unsigned n_sent;       /* those that the store has */
    struct s3_part *slots;
    unsigned n_slots;
    EVP_MD_CTX *md5_of_parts;
    bool at_end;
    bool single; /* it ended within the first part */
    bool ending; /* failed; the parts are being removed */
};

/* put.c: a put whose body is in memory, or is streamed with a known size. */
void s3_put_single(struct s3_upload *u, const char *body, uint64_t size);
/* put.c: looks at what the object is now, and finishes: the answer to a condition (err) may be the
 * echo of our own put, and some stores do not tell the ETag of joined parts (err OK). */
void s3_put_look(struct s3_upload *u, const struct store_err *err);
/* put.c: success. */
void s3_put_finish(struct s3_upload *u, const char *etag);
/* put.c: learns whether ETags are MD5s, if that is not known yet. */
void s3_put_learn(struct s3 *s3, const char *etag, const unsigned char md5[S3_MD5]);
/* put.c: the same for a whole put; false with *err set when it had been promised to readers that
 * they are, and this one is not. */
bool s3_put_check_etag(struct s3_upload *u, const char *etag, const unsigned char md5[S3_MD5],
                       struct store_err *err);

/* multipart.c: begins to take the body part by part. */
void s3_multipart_begin(struct s3_upload *u);
void s3_multipart_resume(struct s3_upload *u);
/* The parts are an object with this ETag: checks it, and finishes. */
void s3_multipart_joined(struct s3_upload *u, const char *etag);
/* Stops, removes what was sent, and finishes with err. */
void s3_multipart_fail(struct s3_upload *u, const struct store_err *err);
void s3_multipart_cleanup(struct s3_upload *u);

#endif
