#include "libstore/checksum.h"

#include <isa-l/crc.h>
#include <limits.h>

uint32_t checksum_crc32c(uint32_t crc, const void *bytes, size_t n)
{
    unsigned char *at = (unsigned char *)bytes; /* which it only reads */
    crc = ~crc;
    while (n > 0) {
        int piece = n < INT_MAX ? (int)n : INT_MAX;
        crc = crc32_iscsi(at, piece, crc);
        at += piece;
        n -= (size_t)piece;
    }
    return ~crc;
}
