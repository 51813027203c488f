/* buf.h - a growing byte buffer that is born with a ceiling.
 *
 * An append that would pass the ceiling, or that finds no memory, changes nothing and marks the
 * buffer as failed; every later append is then a no-op. So a caller may write a whole message and
 * look at buf_failed() once, at the end. Not thread-safe. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include <store/error.h>

struct buf {
    char *data; /* NULL until the first append; otherwise always followed by a NUL */
    size_t len; /* without that NUL */
    size_t cap;
    size_t max; /* ceiling for len */
    bool failed;
};

#define BUF_INIT(max_bytes) \
    {                       \
        .max = (max_bytes)  \
    }

void buf_init(struct buf *b, size_t max_bytes);
void buf_cleanup(struct buf *b); /* frees; the buffer may be used again, with the same ceiling */
void buf_reset(struct buf *b);   /* empties and forgets a failure, keeps the memory */
bool buf_reserve(struct buf *b, size_t extra); /* room for extra more bytes at data + len */
void buf_add(struct buf *b, const void *bytes, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) STORE_PRINTF_LIKE(2, 3);
void buf_drop_front(struct buf *b, size_t n); /* forgets the first n bytes */
const char *buf_str(const struct buf *b);     /* never NULL */
char *buf_detach(struct buf *b,
                 size_t *len); /* the memory, to be freed by the caller; len may be
                                  NULL. NULL when failed; "" becomes an empty string */
static inline bool buf_failed(const struct buf *b)
{
    return b->failed;
}

#endif
