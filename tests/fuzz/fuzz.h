/* fuzz.h - for the fuzz targets: each is a function of bytes, which aborts when it finds something.
 * `make fuzz` runs them under clang's libFuzzer; the unit tests replay what it found before, in
 * tests/fuzz/corpus/NAME. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Input is cut into strings at its NULs. */
struct fuzz_input {
    const uint8_t *bytes;
    size_t n;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Unlike assert() it is there in every build. */
#define MUST(condition)                                                                    \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                       \
        }                                                                                  \
    } while (0)

/* The next byte; 0 at the end. */
static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
    if (in->n == 0)
        return 0;
    in->n--;
    return *in->bytes++;
}

/* The text up to the next NUL or the end: memory of its own, for the address sanitizer to watch;
 * the caller frees it. */
static inline char *fuzz_text(struct fuzz_input *in)
{
    size_t len = in->n ? strnlen((const char *)in->bytes, in->n) : 0;
    char *s = malloc(len + 1);
    MUST(s);
    if (len)
        memcpy(s, in->bytes, len);
    s[len] = '\0';
    size_t used = len < in->n ? len + 1 : len;
    in->bytes += used;
    in->n -= used;
    return s;
}

#endif
