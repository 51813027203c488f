/* sigv4.h - AWS Signature Version 4: header form and query ("presigned") form. Pure: the caller
 * gives the time. Sources: "Signature Version 4 signing process" and "Authenticating Requests
 * (AWS Signature Version 4)" of the Amazon S3 API reference. */
#ifndef LIBSTORE_SIGV4_H
#define LIBSTORE_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

#include "base/buf.h"

#define SIGV4_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

/* Credentials and what is derived from them for a day. Copied strings. One thread. */
struct sigv4_signer;
int sigv4_signer_new(const char *access_key, const char *secret_key, const char *session_token,
                     const char *region, const char *service, struct sigv4_signer **out,
                     struct store_err *err);
void sigv4_signer_free(struct sigv4_signer *s); /* wipes the secret; NULL is fine */

struct sigv4_pair {
    const char *name, *value;
};

struct sigv4_request {
    const char *method;
    /* As it is sent: percent-encoded once, begins with '/' (the S3 rule: it is not encoded again
     * and not normalised). */
    const char *path;
    /* Decoded query parameters in any order; value "" for none ("?delete" is "delete", ""). */
    const struct sigv4_pair *query;
    size_t n_query;
    /* Headers to be signed, any case and order, host included, x-amz-date and
     * x-amz-security-token not: those are added here. */
    const struct sigv4_pair *headers;
    size_t n_headers;
    const char *payload_hash; /* hex sha256 of the body, or SIGV4_UNSIGNED_PAYLOAD */
    bool add_content_sha256;  /* header form: also sign and output it as a header (S3 wants it) */
    int64_t time_s;
};

/* Both forms fail with STORE_INVALID (more than 64 headers or parameters, a control character in a
 * header, a path that cannot be sent), STORE_NO_MEMORY or STORE_FAILED (OpenSSL); what the out
 * buffers got is then of no use.
 *
 * Header form. Appends header lines "Name: value\n" to out_headers: X-Amz-Date, Authorization,
 * X-Amz-Security-Token and x-amz-content-sha256 as needed; and the canonical, encoded query
 * (without '?', may be empty) to out_query. canonical and to_sign (may be NULL) get the
 * intermediate texts, for tests and for explaining a refusal. */
int sigv4_sign(struct sigv4_signer *s, const struct sigv4_request *r, struct buf *out_headers,
               struct buf *out_query, struct buf *canonical, struct buf *to_sign,
               struct store_err *err);

/* Query form: out_query gets the whole encoded query with X-Amz-Algorithm … X-Amz-Signature. The
 * request is valid for expires_s (1 to 604800) from time_s, by the server's clock. S3 wants
 * SIGV4_UNSIGNED_PAYLOAD as payload_hash here, unless x-amz-content-sha256 is among the headers. */
int sigv4_presign(struct sigv4_signer *s, const struct sigv4_request *r, uint32_t expires_s,
                  struct buf *out_query, struct buf *canonical, struct buf *to_sign,
                  struct store_err *err);

/* Hex sha256, 64 characters and a NUL. Returns -1 when OpenSSL fails. */
int sigv4_sha256_hex(const void *bytes, size_t n, char out[65]);

#endif
