/* untar.h - reads a TAR as the reader sends it, and refuses whatever else a TAR can be.
 *
 * Bytes go in as they come (untar_feed), members come out by call-back: first path and size, then
 * the data in pieces, then the end. POSIX.1-2001 ustar, with a pax extended header for "path",
 * "size" and times. Regular files only: links, devices, folders, global headers and other people's
 * extensions are errors, as are paths that scope_path_problem() refuses (absolute, "..", control
 * characters), a path that comes twice, a size that does not fit into what is left of max_bytes,
 * padding that is not zero, and anything but zeros behind the end.
 *
 * A TAR that was cut, at whatever byte, is never taken for whole: untar_end() succeeds only behind
 * both of the end's blocks. So nothing that came out may be used before untar_end().
 *
 * Pure: no I/O, no clock. One thread. The first error is final: every later call fails with it. */
#ifndef COMPUTE_UNTAR_H
#define COMPUTE_UNTAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

#include "epufs/scope.h"

enum { UNTAR_BLOCK = 512, UNTAR_PAX_MAX = 8 * UNTAR_BLOCK };

struct untar_ops {
    /* A member begins. Returns 1: its data is wanted, 0: it is not, or -1 with *err set: the whole
     * TAR is refused. */
    int (*member)(void *user, const char *path, uint64_t size, struct store_err *err);
    /* n > 0 bytes of it. Returns 0, or -1 with *err set. */
    int (*data)(void *user, const void *bytes, size_t n, struct store_err *err);
    /* It is whole. Only for members that were wanted. Returns 0, or -1 with *err set. */
    int (*end)(void *user, struct store_err *err);
};

struct untar_limits {
    uint64_t max_bytes; /* of all members' data */
    size_t max_members;
};

/* The parser's own; nobody else looks inside. */
struct untar {
    const struct untar_ops *ops;
    void *user;
    uint64_t bytes_left; /* of the limit */
    size_t members_left;
    enum untar_state {
        UNTAR_HEADER, /* a header's block, or the first of the end */
        UNTAR_PAX,    /* the records of an extended header */
        UNTAR_DATA,   /* of a member */
        UNTAR_PADDING,
        UNTAR_LAST, /* the second block of the end */
        UNTAR_ENDED,
        UNTAR_FAILED,
    } state;
    unsigned char block[UNTAR_PAX_MAX]; /* a block, or pax records, as far as it has come */
    size_t have;
    uint64_t left;  /* bytes of data that are still to come */
    size_t padding; /* bytes behind the data or the records */
    size_t pax_bytes;
    bool wanted;
    bool has_pax, pax_has_path, pax_has_size;
    char pax_path[PATH_MAX_BYTES + 1];
    uint64_t pax_size;
    char **paths; /* seen so far */
    size_t n_paths;
    struct store_err err;
};

void untar_init(struct untar *u, const struct untar_ops *ops, void *user,
                const struct untar_limits *limits);
void untar_cleanup(struct untar *u);
/* Returns 0, or -1 with *err set: STORE_CORRUPT for what is no such TAR, else what a call-back set.
 */
int untar_feed(struct untar *u, const void *bytes, size_t n, struct store_err *err);
/* Nothing comes any more. Returns 0 when the TAR is whole, else -1 with *err set. */
int untar_end(struct untar *u, struct store_err *err);

#endif
