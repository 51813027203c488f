/* utf8.h - reading UTF-8 (RFC 3629) of doubtful origin; pure. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character that s begins with: how many of its n bytes it takes, its number in *code. 0: none
 * that RFC 3629 allows (cut off, overlong, a surrogate, beyond U+10FFFF), or n is 0. */
size_t utf8_decode(const char *s, size_t n, uint32_t *code);

/* Whether all n bytes are UTF-8. */
bool utf8_valid(const char *s, size_t n);

/* What could end a line or steer a terminal: C0, DEL, C1, and Unicode's line separators. */
bool utf8_is_control(uint32_t code);

#endif
