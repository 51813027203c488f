/* key.h - rules for keys; pure. */
#ifndef LIBSTORE_KEY_H
#define LIBSTORE_KEY_H

#include <stdbool.h>

/* Whether key has a segment ".", ".." or an empty one (also a leading or trailing '/'). */
bool key_has_odd_segment(const char *key);

#endif
