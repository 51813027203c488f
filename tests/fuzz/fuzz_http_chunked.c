/* Chunked bodies: one byte for the size of the pieces, then a stream. Whole and in pieces the same
 * data comes out and the same byte is the last; a second reader, by lines, agrees. */
#include "http/chunked.h"

#include "tests/fuzz/fuzz.h"

struct read {
    enum http_chunk_event end;
    enum http_fault fault;
    size_t used, n;
    char *data; /* n bytes; the caller frees it */
};

static struct read read_all(const char *bytes, size_t size, size_t piece)
{
    struct http_chunked c = {.left = 0};
    struct read r = {.end = HTTP_CHUNK_MORE, .data = malloc(size + 1)};
    MUST(r.data);
    while (r.used < size && r.end != HTTP_CHUNK_END && r.end != HTTP_CHUNK_REFUSED) {
        size_t part = size - r.used < piece ? size - r.used : piece, framing, len;
        r.end = http_chunked_read(&c, bytes + r.used, part, &framing, &len);
        MUST(framing + len <= part && (len > 0) == (r.end == HTTP_CHUNK_DATA));
        MUST(framing + len > 0 || r.end == HTTP_CHUNK_REFUSED);
        memcpy(r.data + r.n, bytes + r.used + framing, len);
        if (len)
            http_chunked_take(&c, len);
        r.n += len;
        r.used += framing + len;
    }
    r.fault = c.fault;
    if (r.end == HTTP_CHUNK_DATA)
        r.end = HTTP_CHUNK_MORE;
    return r;
}

/* Of a body that was taken as whole: by sizes as strtoull() reads them. */
static void read_again(const struct read *r, const char *bytes)
{
    size_t at = 0, n = 0;
    for (;;) {
        char *stop;
        const char *lf = memchr(bytes + at, '\n', r->used - at);
        MUST(lf && lf[-1] == '\r');
        unsigned long long size = strtoull(bytes + at, &stop, 16);
        MUST(*stop == '\r' || *stop == ';' || *stop == ' ' || *stop == '\t');
        at = (size_t)(lf + 1 - bytes);
        if (size == 0)
            break;
        MUST(size + 2 <= r->used - at && n + size <= r->n);
        MUST(memcmp(r->data + n, bytes + at, (size_t)size) == 0);
        n += (size_t)size;
        at += (size_t)size;
        MUST(memcmp(bytes + at, "\r\n", 2) == 0);
        at += 2;
    }
    MUST(n == r->n && r->used >= at + 2 && memcmp(bytes + r->used - 2, "\r\n", 2) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    size_t piece = 1 + (size_t)fuzz_byte(&in);
    char *bytes = malloc(in.n + 1); /* ends with a NUL, for strtoull() */
    MUST(bytes);
    if (in.n)
        memcpy(bytes, in.bytes, in.n);
    bytes[in.n] = '\0';
    struct read whole = read_all(bytes, in.n, in.n + 1), pieces = read_all(bytes, in.n, piece);
    MUST(whole.end == pieces.end && whole.fault == pieces.fault && whole.used == pieces.used);
    MUST(whole.n == pieces.n && memcmp(whole.data, pieces.data, whole.n) == 0);
    if (whole.end == HTTP_CHUNK_END)
        read_again(&whole, bytes);
    free(whole.data);
    free(pieces.data);
    free(bytes);
    return 0;
}
