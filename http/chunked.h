/* chunked.h - the chunked transfer coding (RFC 9112 7.1), read strictly and written.
 *
 * Data is not copied: it is told where it lies. Extensions and trailers are checked, counted
 * against a bound, and dropped. Pure; not thread-safe. */
#ifndef HTTP_CHUNKED_H
#define HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include "http/grammar.h"

enum { HTTP_CHUNK_EXTRA_MAX = 8192 /* of extensions and trailers in one body */ };

enum http_chunk_event {
    HTTP_CHUNK_MORE,    /* all bytes were framing; more have to come */
    HTTP_CHUNK_DATA,    /* data lies behind the framing */
    HTTP_CHUNK_END,     /* the body is whole; what is behind belongs to the next message */
    HTTP_CHUNK_REFUSED, /* see fault; final */
};

/* All zero: the beginning of a body. */
struct http_chunked {
    enum http_chunk_state {
        HTTP_CHUNK_SIZE,
        HTTP_CHUNK_SIZE_LF,
        HTTP_CHUNK_EXT_SEMICOLON,
        HTTP_CHUNK_EXT_BEFORE_NAME,
        HTTP_CHUNK_EXT_NAME,
        HTTP_CHUNK_EXT_EQUALS,
        HTTP_CHUNK_EXT_BEFORE_VALUE,
        HTTP_CHUNK_EXT_TOKEN,
        HTTP_CHUNK_EXT_QUOTED,
        HTTP_CHUNK_EXT_ESCAPED,
        HTTP_CHUNK_EXT_END,
        HTTP_CHUNK_BYTES,
        HTTP_CHUNK_CR,
        HTTP_CHUNK_LF,
        HTTP_CHUNK_TRAILER,
        HTTP_CHUNK_TRAILER_NAME,
        HTTP_CHUNK_TRAILER_VALUE,
        HTTP_CHUNK_TRAILER_LF,
        HTTP_CHUNK_LAST_LF,
        HTTP_CHUNK_ENDED,
    } state;
    uint64_t left; /* of the chunk; its size while that is being read */
    uint32_t digits, extra;
    enum http_fault fault;
};

/* *used: bytes of framing at the front that are done with. HTTP_CHUNK_DATA: *len > 0 bytes of data
 * lie behind them; tell with http_chunked_take() how many of them were taken, and go on there. */
enum http_chunk_event http_chunked_read(struct http_chunked *c, const char *bytes, size_t n,
                                        size_t *used, size_t *len);
void http_chunked_take(struct http_chunked *c, size_t n);

/* What stands in front of n > 0 bytes of data; behind them comes HTTP_CHUNK_TAIL, and behind the
 * last chunk HTTP_CHUNK_LAST. Returns its length; out is terminated. */
enum { HTTP_CHUNK_HEAD_SIZE = 20 };
#define HTTP_CHUNK_TAIL "\r\n"
#define HTTP_CHUNK_LAST "0\r\n\r\n"
size_t http_chunk_head(size_t n, char out[HTTP_CHUNK_HEAD_SIZE]);

#endif
