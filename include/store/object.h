/* object.h - one object: get, head, put, copy.
 *
 * Integrity. A put from memory (unless it expires), and each part of a large one, is sent with a
 * hash that the backend verifies. Where the checksum is known before the body goes (one request
 * from memory), it is kept with the object as CRC32C; folders keep it for every object; for streams
 * and parts to S3 the ETag serves, from when a put of this store has shown that ETags are MD5s. A
 * get of a whole object is checked against what was kept BEFORE its last bytes are delivered: a
 * reader that has all bytes has the right ones, otherwise `done` reports STORE_CORRUPT. A part of
 * an object cannot be checked so, but its length is. info->checksum tells what an object is checked
 * with; "" for objects of other programs.
 *
 * Compression. An object put with `compress` is kept as zstd (RFC 8878, level 3, with its content's
 * checksum), marked in its metadata, and is itself again on get. A range costs one or two requests
 * more, and reading from the object's start. size is that of the object as it was put, stored_size
 * that of what is kept; listings and copies know only the latter, and checksum is of the latter. A
 * damaged frame, or one that is not as long as was put, ends a get with STORE_CORRUPT.
 *     A put of STORE_SIZE_UNKNOWN can note the size only where the description goes last: in
 * folders, and in S3 when all fits in one part. Otherwise size and length of a head, and of a get
 * until its `done`, are STORE_SIZE_UNKNOWN.
 *     Costs: a put from memory is compressed within the call that begins it; a streamed one holds
 * some 4 MiB; a get holds the frame's window, 2 MiB for what libstore wrote and never over 8. */
#ifndef STORE_OBJECT_H
#define STORE_OBJECT_H

#include <sys/types.h>

#include <store/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Get and head ------------------------------------------------------------------------- */

struct store_get_opts {          /* all zero is a valid default */
    uint64_t offset;             /* first byte wanted */
    uint64_t length;             /* bytes wanted; 0: to the end */
    const char *if_match;        /* etag; else STORE_PRECONDITION */
    const char *if_none_match;   /* etag; equal: STORE_NOT_MODIFIED */
    int64_t if_modified_since_s; /* 0: not asked; not later: STORE_NOT_MODIFIED */
    uint32_t timeout_ms;         /* 0: the store's; pauses count, so give slow readers time */
    bool bulk;                   /* on the bulk connections */
};

struct store_get_cb {
    /* Once, before any data; may be NULL. */
    void (*head)(void *user, const struct store_info *info);
    /* Takes ALL n bytes. Returns false to pause: nothing more comes before store_op_resume(). */
    bool (*data)(void *user, const void *bytes, size_t n);
    store_done_fn *done;
};

/* Reads an object. `done` reports STORE_OK only when exactly info->length bytes were delivered.
 * key, opts and cb are copied. Returns NULL with *err set when the arguments are bad or memory is
 * short: then no call-back comes. */
STORE_API store_op *store_get(store *s, store_loop *loop, const char *key,
                              const struct store_get_opts *opts, const struct store_get_cb *cb,
                              void *user, struct store_err *err);

/* The object's description without its data. timeout_ms 0: the store's. */
STORE_API store_op *store_head(store *s, store_loop *loop, const char *key, uint32_t timeout_ms,
                               store_done_fn *done, void *user, struct store_err *err);

/* ---- Put ---------------------------------------------------------------------------------- */

#define STORE_SIZE_UNKNOWN UINT64_MAX

/* When a put can last take effect. After timeout_ms libstore begins no request of it and gives no
 * byte of one to the kernel (only the removal of a large one's parts may follow), and what the
 * kernel has not got acknowledged by then is dropped with the connection (a reset). The clock is
 * looked at before each send, so that this also holds for a process that was stopped (SIGSTOP, a
 * frozen cgroup) beyond the deadline and goes on. When a process dies, its kernel drops the same.
 * Who must know that nothing comes any more adds:
 *   - What the backend has in its sockets: its idle time-out, for which it keeps a request that is
 *     half sent (S3 servers: 20 to 65 s), and the time in which it stores a whole one.
 *   - The network: what is on its way, and proxies, which have buffers and time-outs of their own.
 *   - While the process is stopped, the kernel goes on with what it has: 64 KiB that are not sent,
 *     up to 64 KiB of one write beyond, and what is on its way. A smaller body, or the end of a
 *     larger one, may become whole so: within a moment at a store that is prompt; the kernel gives
 *     up after 20 s in which nothing is taken, and a store that takes a little now and then is
 *     bounded by its own patience only.
 *   - A process that is stopped just between the look at the clock and the send sends that one
 *     piece, up to 64 KiB, when it goes on. Where the rest of the body fits into it, the object
 *     may be stored that late; no program can exclude this, and expires_in_s does not either once
 *     the request's head has arrived.
 *   - A machine that is suspended, or a virtual one that is paused: CLOCK_MONOTONIC, by which all
 *     this goes, may stand still meanwhile. */

struct store_put_opts {       /* all zero is a valid default */
    const char *content_type; /* NULL: application/octet-stream */
    const struct store_meta *meta;
    size_t n_meta;
    bool if_absent;       /* only create: else STORE_PRECONDITION */
    const char *if_match; /* only replace the object with this etag: else STORE_PRECONDITION */
    bool compress;        /* keep it as zstd, see above; a stream then has no known size on S3 */
    bool bulk;            /* on the bulk connections */
    uint32_t timeout_ms;  /* 0: the store's */
    /* An upload that expires: with expires_in_s set, the backend itself refuses the put
     * (STORE_EXPIRED) when it arrives later than signed_at_s + expires_in_s by the BACKEND's
     * clock, however long it was under way (S3: a presigned request). signed_at_s is a
     * server_time_s that this backend told. A body that began in time may end later, see above. */
    int64_t signed_at_s;
    uint32_t expires_in_s;
};

enum { STORE_READ_PAUSE = -1, STORE_READ_ABORT = -2 };

struct store_put_cb {
    /* Fills buf with 1 to cap bytes and returns how many; STORE_READ_PAUSE when there are none
     * now (store_op_resume() asks again); STORE_READ_ABORT to give up (nothing is stored); 0 at the
     * end of a put of STORE_SIZE_UNKNOWN. Not called any more once `size` bytes were given. */
    ssize_t (*read)(void *user, void *buf, size_t cap);
    store_done_fn *done; /* info: size, etag, version, checksum, server_time_s */
};

/* Stores an object of exactly `size` bytes, or of as many as come (STORE_SIZE_UNKNOWN), that `read`
 * delivers piece by piece. All or nothing: readers see the old object or the whole new one. One
 * request is not repeated once it has taken bytes, since they cannot be had again: STORE_BUSY says
 * that the caller may; the parts of a large put are. A put that fails removes the parts it sent. */
STORE_API store_op *store_put(store *s, store_loop *loop, const char *key, uint64_t size,
                              const struct store_put_opts *opts, const struct store_put_cb *cb,
                              void *user, struct store_err *err);

/* The same from memory, which is copied; retried within the deadline. if_absent and if_match are
 * exact also when an answer was lost and the put repeated: success means that this put won. */
STORE_API store_op *store_put_bytes(store *s, store_loop *loop, const char *key, const void *bytes,
                                    size_t size, const struct store_put_opts *opts,
                                    store_done_fn *done, void *user, struct store_err *err);

/* ---- Copy --------------------------------------------------------------------------------- */

struct store_copy_opts {  /* all zero is a valid default */
    const char *if_match; /* only this etag of the source: else STORE_PRECONDITION */
    uint32_t timeout_ms;  /* 0: the store's */
};

/* Copies an object within the store, on the backend's side, with its type and metadata; not onto
 * itself. All or nothing, like a put. More than 5 GiB go in pieces of 1 GiB, one after the other,
 * and need a longer timeout_ms. STORE_NOT_FOUND: there is no source. info as of a put. */
STORE_API store_op *store_copy(store *s, store_loop *loop, const char *from, const char *to,
                               const struct store_copy_opts *opts, store_done_fn *done, void *user,
                               struct store_err *err);

#ifdef __cplusplus
}
#endif
#endif
