/* tar.h - TAR members: POSIX.1-2001 ustar, with a pax extended header where ustar cannot say it (a
 * long or non-ASCII name, 8 GiB and more). Regular files only. Pure. Source: IEEE Std 1003.1, pax,
 * "ustar Interchange Format" and "pax Extended Header". */
#ifndef READER_TAR_H
#define READER_TAR_H

#include <stdint.h>

#include "base/buf.h"

enum { TAR_BLOCK = 512, TAR_END_BYTES = 2 * TAR_BLOCK };

/* Bytes of a member with header(s), data and padding. */
uint64_t tar_member_bytes(const char *path, uint64_t size);
/* Appends everything that comes before the data. */
void tar_header(struct buf *out, const char *path, uint64_t size, int64_t modified_s);
/* Zeros behind the data. */
size_t tar_padding(uint64_t size);

#endif
