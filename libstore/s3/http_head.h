/* http_head.h - the head of an answer, line by line; pure. RFC 9110, RFC 9112 section 4; the names
 * that begin with x-amz- are of the Amazon S3 API reference. */
#ifndef LIBSTORE_S3_HTTP_HEAD_H
#define LIBSTORE_S3_HTTP_HEAD_H

#include "libstore/s3/http.h"

/* Forgets all, but keeps the memory. */
void http_head_reset(struct http_head *a);
/* Takes a status line, which forgets what came before, or a field; CR and LF may be at its end.
 * What is malformed or not known is passed over. False: no memory for metadata. */
bool http_head_take(struct http_head *a, const char *line, size_t len);

#endif
