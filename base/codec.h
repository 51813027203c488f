/* codec.h - hex, base64, base64url, percent-encoding, numbers; pure. */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"

/* Lower case; out gets 2 * n characters and a NUL. */
void hex_encode(const void *bytes, size_t n, char *out);
/* Exactly 2 * n digits of either case; false otherwise. */
bool hex_decode(const char *hex, size_t hex_len, void *out, size_t n);
/* Padded base64, RFC 4648 section 4; out gets 4 * ceil(n / 3) characters and a NUL. */
void base64_encode(const void *bytes, size_t n, char *out);
/* Unpadded base64url, RFC 4648 section 5 and RFC 7515 section 2; out gets up to 4 * ceil(n / 3)
 * characters and a NUL. */
void base64url_encode(const void *bytes, size_t n, char *out);
/* Strict: no padding, no white space, no foreign character, unused bits zero. Returns the number
 * of bytes written (at most 3 * len / 4), or -1 when malformed or larger than cap. */
ssize_t base64url_decode(const char *s, size_t len, void *out, size_t cap);
/* RFC 3986 unreserved characters stay, and '/' when keep_slash; the rest becomes %XX, upper case:
 * what SigV4 calls URI encoding. */
void percent_encode(struct buf *out, const char *s, size_t n, bool keep_slash);
/* Decodes %XX only ('+' stays). Returns false on a malformed escape, on %00 or on a NUL. out gets
 * at most n bytes and a NUL, and may be s itself. */
bool percent_decode(const char *s, size_t n, char *out, size_t *out_len);
/* Plain decimal digits, nothing else, no overflow. */
bool parse_u64(const char *s, size_t n, uint64_t *out);
/* 16 lower-case hex digits and a NUL. */
void u64_hex16(uint64_t v, char out[17]);
bool u64_from_hex16(const char *s, uint64_t *out); /* exactly 16 digits, lower case */
/* Text from outside made fit for an error message: bytes that are not printable ASCII become '?',
 * and what is too long for out ends in "...". cap is at least 4, with the NUL. Returns out. */
const char *text_excerpt(const char *s, size_t n, char *out, size_t cap);

/* Copies s, cut to cap - 1 bytes and a NUL. s may be NULL (an empty text), and may be out. */
void text_copy(char *out, size_t cap, const char *s);

#endif
