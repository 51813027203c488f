/* digest.h - SHA-256, of which the manifest and the state are made: whether a file is the one that
 * was meant, and whether it has changed. One thread for each digest. */
#ifndef COMPUTE_DIGEST_H
#define COMPUTE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

enum { DIGEST_SIZE = 65 }; /* 64 lower-case hex digits and a NUL */

struct digest;
/* Ends the process when OpenSSL has no SHA-256 to give, as for want of memory. */
struct digest *digest_new(void);
void digest_add(struct digest *d, const void *bytes, size_t n);
void digest_end(struct digest *d, char out[DIGEST_SIZE]); /* frees d; out may be NULL */

/* The first `size` bytes of a file, wherever its position is. Returns 0, or -1 with *err set:
 * STORE_CORRUPT when it has fewer. */
int digest_file(int fd, uint64_t size, char out[DIGEST_SIZE], struct store_err *err);

#endif
