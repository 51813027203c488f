/* loop.h - event loops, and what holds for every operation on them. */
#ifndef STORE_LOOP_H
#define STORE_LOOP_H

#include <store/open.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct loop store_loop;
typedef struct store_op store_op;

/* Returns 0, or -1 with STORE_FAILED or STORE_NO_MEMORY. */
STORE_API int store_loop_new(store_loop **out, struct store_err *err);

/* Cancels what is still under way (its `done` is called from here) and frees. NULL is fine. */
STORE_API void store_loop_free(store_loop *loop);

/* Readable when store_loop_run() has something to do. Owned by the loop. */
STORE_API int store_loop_fd(const store_loop *loop);

/* Milliseconds until store_loop_run() has something to do without the fd; -1: nothing planned. */
STORE_API int store_loop_timeout_ms(const store_loop *loop);

/* Waits at most wait_ms (-1: until something happens), then handles everything that is ready.
 * Returns 0, or -1 with *err set when the wait itself failed. */
STORE_API int store_loop_run(store_loop *loop, int wait_ms, struct store_err *err);

struct store_meta {
    const char *name; /* lower case letters, digits and '-'; not beginning with "store-" */
    const char *value;
};

/* What is known of an object. Strings live as long as the call-back that got them. */
struct store_info {
    uint64_t size;            /* bytes of the whole object, as it was put (compression: object.h) */
    uint64_t stored_size;     /* bytes that the backend holds: fewer when it is compressed */
    uint64_t offset;          /* get: first byte that is delivered */
    uint64_t length;          /* get: bytes that are delivered */
    const char *etag;         /* opaque, without quotes; "" when the backend gave none */
    const char *version;      /* of a bucket that keeps versions; else "" */
    const char *content_type; /* "" when unknown */
    const char *checksum; /* what a whole read is verified with, such as "crc32c:e3069283"; or "" */
    int64_t modified_s;
    int64_t server_time_s; /* the backend's own clock when it answered; 0: unknown */
    struct store_meta meta[STORE_MAX_META + 4]; /* other programs' objects may have more of them */
    size_t n_meta;
};

/* Ends an operation. err->code is STORE_OK on success. info is never NULL; on failure only
 * server_time_s may be set. */
typedef void store_done_fn(void *user, const struct store_err *err, const struct store_info *info);

/* Cancels: `done` follows from the loop with STORE_CANCELED, or with success when that was already
 * certain. To S3: a put whose bytes have all gone in one request waits up to a second for the
 * answer, and one in parts up to 5 seconds for the removal of its parts. */
STORE_API void store_op_cancel(store_op *op);

/* Goes on after a call-back asked for a pause. Harmless when nothing is paused. */
STORE_API void store_op_resume(store_op *op);

#ifdef __cplusplus
}
#endif
#endif
