/* fake_small.h - the small objects of the MOCK store, which it really keeps: in memory, in the
 * order of their keys. Thousands, not millions of them. Not thread-safe. */
#ifndef BENCH_FAKE_SMALL_H
#define BENCH_FAKE_SMALL_H

#include "bench/fake_keys.h"

enum { FAKE_SMALL_MAX_KEY = 1024, FAKE_SMALL_MAX_BYTES = 65536, FAKE_ETAG_SIZE = 40 };

struct fake_object {
    const char *key;
    const char *data;
    size_t len;
    int64_t modified_s;
    char etag[FAKE_ETAG_SIZE]; /* of the form of those of uploads in parts */
};

struct fake_small { /* zeroed is valid and empty */
    struct fake_object **objects;
    size_t n, cap;
    uint64_t written;
};

/* NULL: it is not there. */
const struct fake_object *fake_small_get(const struct fake_small *small, const char *key);
/* Adds or replaces it; the key holds what those of fake_keys.h do. NULL: it does not, or there is
 * too much of the key or of the data. */
const struct fake_object *fake_small_put(struct fake_small *small, const char *key,
                                         const char *data, size_t len);
bool fake_small_remove(struct fake_small *small, const char *key); /* false: it was not there */
/* The place in objects of the first that how and text ask for; n: there is none. */
size_t fake_small_seek(const struct fake_small *small, enum fake_seek how, const char *text);
void fake_small_cleanup(struct fake_small *small);

#endif
