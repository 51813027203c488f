/* purge_range.h - a range of keys that is being listed, and where to cut it so that its parts can
 * be listed side by side; pure.
 *
 * How the keys are spread is not known beforehand. What is known are the last key listed and a key
 * from where the listing began: from the byte where they differ on keys vary, up to there they have
 * been the same so far. So cuts are proposed
 *   - where keys vary: between the letters or digits that can follow the last key's own, and
 *   - where they have not varied yet: behind all that has the same beginning, once for each
 *     segment ("a/b/" for a key "a/b/7": all behind "a/b0") and for each letter of the last one
 *     ("x/02" and "x/1" for a key "x/0123").
 * A cut of the second kind may have nothing behind it. Then the range has become smaller by that,
 * and the cut is not proposed again. */
#ifndef LIBSTORE_PURGE_RANGE_H
#define LIBSTORE_PURGE_RANGE_H

#include <stddef.h>

#include <store/open.h>

struct key_range {
    char from[STORE_MAX_KEY + 1]; /* some key or cut at or before the first one listed */
    char at[STORE_MAX_KEY + 1];   /* the last key listed, and behind the prefix */
    char upto[STORE_MAX_KEY + 1]; /* the last key that belongs to it; "": all of the prefix */
};

enum { MAX_CUTS = 15 };

/* Writes up to n (at most MAX_CUTS) cuts in ascending order, greater than `at` and less than
 * `upto`; returns how many. A cut is a beginning of `at` and one printable ASCII character, so it
 * never splits a UTF-8 sequence that `at` does not. All keys have the first prefix_len bytes in
 * common. */
size_t key_range_cut(const struct key_range *r, size_t prefix_len, size_t n,
                     char cuts[][STORE_MAX_KEY + 1]);

/* How many bytes all keys that are still to come have in common, at least: the fewer, the wider the
 * range. */
size_t key_range_common(const struct key_range *r, size_t prefix_len);

#endif
