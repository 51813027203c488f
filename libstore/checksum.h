/* checksum.h - CRC32C (RFC 3720 section 12.1; Castagnoli) of data that comes in pieces; pure. */
#ifndef LIBSTORE_CHECKSUM_H
#define LIBSTORE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Begin with crc 0. */
uint32_t checksum_crc32c(uint32_t crc, const void *bytes, size_t n);

#endif
