/* fake_keys.h - the keys of the MOCK store: millions of numbered names that take one bit each.
 *
 * A set is a prefix and a count; its keys are the prefix and the eight digits of a number, in which
 * a '/' may stand: with split 4 the set "a/" is "a/0000/0000", "a/0000/0001", … Their order is that
 * of their numbers and of their bytes. A removed key is a bit. No set's prefix begins with
 * another's, so sets follow each other in the order of their prefixes. Not thread-safe. */
#ifndef BENCH_FAKE_KEYS_H
#define BENCH_FAKE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

enum { FAKE_DIGITS = 8, FAKE_MAX_PREFIX = 512, FAKE_MAX_KEY = FAKE_MAX_PREFIX + FAKE_DIGITS + 2 };
enum { FAKE_MAX_SETS = 64, FAKE_MAX_COUNT = 10 * 1000 * 1000 };

struct fake_set {
    char prefix[FAKE_MAX_PREFIX + 1];
    size_t prefix_len;
    uint32_t count, left; /* numbers 0 to count - 1; how many are still there */
    uint32_t split;       /* digits before the '/'; 0: none */
    uint64_t *removed;    /* a bit for each */
};

struct fake_keys { /* zeroed is valid and empty */
    struct fake_set sets[FAKE_MAX_SETS];
    size_t n;
};

/* One key that is there: sets[set], number. set == keys->n: behind the last. */
struct fake_place {
    size_t set;
    uint32_t number;
};

/* Whether a key or prefix holds letters, digits and "/_.-" only: it is the same escaped. */
bool fake_keys_plain(const char *text);
/* Adds a set with all its keys; the one with the same prefix is replaced. Returns 0, or -1 with
 * STORE_INVALID. */
int fake_keys_define(struct fake_keys *keys, const char *prefix, uint64_t count, uint64_t split,
                     struct store_err *err);
void fake_keys_cleanup(struct fake_keys *keys);
uint64_t fake_keys_left(const struct fake_keys *keys);
bool fake_keys_has(const struct fake_keys *keys, const char *key);
bool fake_keys_remove(struct fake_keys *keys, const char *key); /* false: it was not there */

enum fake_seek {
    FAKE_FROM,   /* the first key that is not less than text */
    FAKE_BEHIND, /* the first that is greater */
    FAKE_PAST,   /* the first that is greater and does not begin with text */
};
struct fake_place fake_keys_seek(const struct fake_keys *keys, enum fake_seek how,
                                 const char *text);
struct fake_place fake_keys_next(const struct fake_keys *keys, struct fake_place place);
/* Writes the key at a place and its NUL; returns its length. */
size_t fake_keys_name(const struct fake_keys *keys, struct fake_place place,
                      char out[FAKE_MAX_KEY]);

#endif
