/* range.h - the request headers that make an answer partial or conditional: Range (RFC 9110 section
 * 14) and If-* (section 13). Pure. A header's value is NULL when the request has none. ETags are
 * passed as libstore tells them: opaque, without quotes, strong. */
#ifndef SERVICE_RANGE_H
#define SERVICE_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Range ---- */

enum range_result {
    RANGE_NONE,          /* no range that counts: the answer is whole, 200 */
    RANGE_OK,            /* 206 */
    RANGE_UNSATISFIABLE, /* 416 */
};

/* A Range header as far as it can be understood before the object's size is known. */
struct byte_range {
    bool suffix;     /* the last `length` bytes: needs the size. offset is 0 */
    uint64_t offset; /* the first byte */
    uint64_t length; /* bytes; 0: to the end (suffix: none at all, which is unsatisfiable) */
};

/* Returns whether there is a range that counts. Other units, several ranges, and what is malformed
 * are to be ignored, as the RFC allows or demands. A number above 2^64-1 counts as 2^64-1. */
bool range_read(const char *value, struct byte_range *out);
/* Applies it to an object of `size` bytes. With RANGE_OK offset and length are set, and length is
 * not 0. A suffix of an empty object is RANGE_NONE, since no Content-Range could tell it. */
enum range_result range_apply(const struct byte_range *range, uint64_t size, uint64_t *offset,
                              uint64_t *length);
/* Both in one; without a range that counts *offset is 0 and *length the size. */
enum range_result range_parse(const char *value, uint64_t size, uint64_t *offset, uint64_t *length);

enum { CONTENT_RANGE_SIZE = 80 };
/* "bytes 0-99/1000". length must not be 0. */
void range_content_range(uint64_t offset, uint64_t length, uint64_t size,
                         char out[CONTENT_RANGE_SIZE]);
/* "bytes * / 1000" without the blanks, for 416. */
void range_content_range_unsatisfied(uint64_t size, char out[CONTENT_RANGE_SIZE]);

/* ---- ETag lists ---- */

enum etag_form {
    ETAG_ABSENT,    /* there is no such header */
    ETAG_ANY,       /* "*" */
    ETAG_ONE,       /* one strong ETag: may be handed on to the store */
    ETAG_LIST,      /* well-formed, but several or weak */
    ETAG_MALFORMED, /* not a list of ETags, or one longer than etag can hold */
};
/* What an If-Match or If-None-Match holds; with ETAG_ONE its text without quotes is in etag. */
enum etag_form etag_form(const char *value, char *etag, size_t cap);

enum etag_comparison { ETAG_STRONG, ETAG_WEAK };
/* Whether the list holds etag; "*" holds every one. A weak entry never matches strongly. What is
 * malformed, and all behind it, matches nothing. */
bool etag_list_has(const char *value, const char *etag, enum etag_comparison comparison);

/* ---- Conditions ---- */

struct conditions {
    const char *if_match, *if_none_match, *if_modified_since, *if_unmodified_since;
};
enum condition_result {
    CONDITIONS_HOLD,
    CONDITIONS_NOT_MODIFIED, /* 304 */
    CONDITIONS_FAILED,       /* 412 */
};
/* The conditions of a GET or HEAD of an object that exists, in the RFC's order (section 13.2.2).
 * What is not a date is ignored. */
enum condition_result conditions_check(const struct conditions *c, const char *etag,
                                       int64_t modified_s);

/* If-Range: whether Range counts. Without the header it does; with it only for the very object: the
 * same strong ETag, or the same time when that is older than a second at now_s, so that a second
 * change within it cannot hide. */
bool if_range_holds(const char *value, const char *etag, int64_t modified_s, int64_t now_s);

#endif
