/* head.h - the head of an HTTP/1.1 message, read strictly (RFC 9112).
 *
 * The bytes are read where they lie, each of them once, however they come: http_head_feed() is
 * given all that has come of a message so far and goes on where it stopped. Nothing is copied or
 * allocated: lines become spans, offsets into the caller's bytes, which may move between two calls.
 *
 * A head that could be understood in two ways is refused, with the rule that it breaks; then the
 * connection has to end, for nobody knows where the next message begins. Some that RFC 9112 lets a
 * recipient mend are refused as well: a bare LF, folded fields, and lengths that are repeated.
 *
 * Pure: no I/O, no clock. Not thread-safe. */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/grammar.h"

enum {
    HTTP_HEAD_MAX = UINT16_MAX, /* bytes; what a span can tell */
    HTTP_FIELDS_MAX = 100,
};

struct http_span {
    uint16_t at, len;
};

struct http_field_span {
    struct http_span name, value; /* the value without white space around it */
};

enum http_kind {
    HTTP_REQUEST,
    HTTP_RESPONSE,
    HTTP_RESPONSE_TO_HEAD, /* has no body, whatever its fields say (RFC 9112 6.3) */
};

enum http_framing {
    HTTP_NO_BODY,
    HTTP_LENGTH, /* content_length bytes */
    HTTP_CHUNKED,
    HTTP_TO_CLOSE, /* all up to the end of the connection; responses only */
};

enum http_progress { HTTP_MORE, HTTP_DONE, HTTP_REFUSED };

struct http_head {
    /* How far it has come; nobody else looks here. */
    enum http_kind kind;
    uint32_t max_bytes;
    uint32_t line, seen; /* the line that is being read, and its bytes that are known to be text */
    bool has_first, has_length, has_coding, close, keep;
    uint16_t n_hosts;

    /* What it says, once it is whole. */
    struct http_span method, target; /* of a request */
    int status;                      /* of a response */
    struct http_span reason;
    unsigned minor;  /* HTTP/1.minor; 1 for a later one */
    uint32_t length; /* of the head, the empty line included */
    uint16_t n_fields;
    enum http_framing framing;
    uint64_t content_length; /* told in Content-Length, also where there is no body; else 0 */
    bool keep_alive;         /* the connection may be used again (RFC 9112 9.3) */
    bool expect_continue;    /* RFC 9110 10.1.1 */

    enum http_fault fault; /* why it is refused */
    struct http_field_span fields[HTTP_FIELDS_MAX];
};

/* max_bytes: at most HTTP_HEAD_MAX. */
void http_head_init(struct http_head *h, enum http_kind kind, uint32_t max_bytes);
/* bytes: the whole message up to now, its first byte always the same one; n may not shrink. A body
 * behind the head is not looked at. HTTP_MORE: call again with more bytes. */
enum http_progress http_head_feed(struct http_head *h, const char *bytes, size_t n);

/* The value of the first field of that name, in whatever case; at 0 when there is none. */
struct http_span http_head_find(const struct http_head *h, const char *bytes, const char *name);
bool http_span_is(struct http_span s, const char *bytes, const char *word); /* in any case */

#endif
