/* http_answer.h - what a store needs of an answer's head; pure. RFC 9110; the names that begin with
 * x-amz- are of the Amazon S3 API reference. */
#ifndef LIBSTORE_S3_HTTP_ANSWER_H
#define LIBSTORE_S3_HTTP_ANSWER_H

#include "http/head.h"
#include "libstore/s3/http.h"

/* Forgets all, but keeps the memory. */
void http_answer_reset(struct http_answer *a);
/* From a head that is whole. A value that is malformed or not known is passed over. False: no
 * memory for metadata. */
bool http_answer_take(struct http_answer *a, const struct http_head *head, const char *bytes);

#endif
