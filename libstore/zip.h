/* zip.h - zstd (RFC 8878) of bytes in memory and of streams; pure. One frame each, with the
 * content's size where it is known beforehand and with the content's checksum (XXH64). Sources: the
 * RFC; the manual in zstd.h. */
#ifndef LIBSTORE_ZIP_H
#define LIBSTORE_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <store/error.h>

/* A decoder refuses frames that want to look back further, so that nobody's object can make it
 * allocate more; an encoder stays well below. */
enum { ZIP_WINDOW_LOG_MAX = 23 };

/* Compresses n bytes. *out is the caller's: free(). Returns 0, or -1 with STORE_NO_MEMORY or
 * STORE_FAILED. */
int zip_pack(const void *bytes, size_t n, void **out, size_t *out_len, struct store_err *err);

/* Bytes on their way into a stream; what was taken is cut off the front. */
struct zip_input {
    const void *bytes;
    size_t n;
};

/* size: of the content, or STORE_SIZE_UNKNOWN. NULL: no memory. Some 4 MiB, from the first byte. */
struct zip_encoder;
struct zip_encoder *zip_encoder_new(uint64_t size);
void zip_encoder_free(struct zip_encoder *e); /* NULL is fine */
/* Takes from `in` and gives up to cap bytes of the frame; 0: it wants more. last: nothing follows
 * what is in `in`; *ended is set once the frame is whole. Returns -1 with STORE_NO_MEMORY or
 * STORE_FAILED. */
ssize_t zip_encode(struct zip_encoder *e, struct zip_input *in, bool last, void *out, size_t cap,
                   bool *ended, struct store_err *err);

/* NULL: no memory. The window, up to 8 MiB, is allocated when the frame tells it. */
struct zip_decoder;
struct zip_decoder *zip_decoder_new(void);
void zip_decoder_free(struct zip_decoder *d); /* NULL is fine */
/* Takes from `in` and gives up to cap bytes of the content. *ended is set once the frame was whole
 * and its checksum right; what is left in `in` then is not the frame's. Fewer than cap bytes come
 * only when `in` is empty or the frame has ended. Returns -1 with STORE_CORRUPT or
 * STORE_NO_MEMORY. */
ssize_t zip_decode(struct zip_decoder *d, struct zip_input *in, void *out, size_t cap, bool *ended,
                   struct store_err *err);

#endif
