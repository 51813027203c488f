/* message.h - writes the heads of HTTP/1.1 messages. Appends to a buffer, whose own rules hold:
 * look at buf_failed() once, at the end. */
#ifndef HTTP_MESSAGE_H
#define HTTP_MESSAGE_H

#include <stdint.h>

#include "base/buf.h"

/* "POST" and an absolute path; both as they are. */
void http_put_request(struct buf *b, const char *method, const char *target);
void http_put_status(struct buf *b, int status); /* 100 to 999 */
/* A value that holds CR or LF can only be an attack: the field is left out. */
void http_put_field(struct buf *b, const char *name, const char *value);
void http_put_length(struct buf *b, uint64_t length); /* Content-Length */
void http_put_end(struct buf *b);                     /* the empty line */

/* The words of RFC 9110 15 and RFC 6585; "Unknown" for a status that has none. */
const char *http_reason(int status);

#endif
