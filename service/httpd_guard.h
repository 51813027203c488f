/* httpd_guard.h - private to httpd: the strictness that libmicrohttpd 0.9.75 lacks. Pure.
 *
 * The library splits a head in its own buffer: it ends each line by turning CR LF into two NULs (a
 * bare LF into one), and each name at its colon. So a head is well-formed only if every piece lies
 * exactly where the one before it ends. Whatever was hidden, folded or cut shows as a gap: a bare
 * LF, a NUL, a folded line, a space too many. What remains is checked field by field.
 *
 *     guard_start(); guard_field() for each field in order; guard_end() */
#ifndef SERVICE_HTTPD_GUARD_H
#define SERVICE_HTTPD_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GUARD_MAX_FIELDS = 100 };

struct guard {
    /* Results, valid when guard_end() found no fault. */
    int64_t content_length; /* -1: chunked; 0: no body */
    bool expect_continue;

    const char *fault; /* the first one found; a static sentence */
    const char *start; /* of the head */
    const char *next;  /* where the next line must start */
    bool http_1_0;
    bool chunked;
    unsigned n_fields, n_hosts, n_lengths, n_codings;
};

/* method, url and version are where they stand in the head; target is a copy of the whole target,
 * since the library cuts the original at its question mark. */
void guard_start(struct guard *g, const char *method, const char *url, const char *target,
                 const char *version);
/* Also cuts white space off the value's end. */
void guard_field(struct guard *g, const char *name, size_t name_len, char *value, size_t value_len);
/* head_bytes: of the whole head, with the empty line. Returns NULL, or what is wrong. */
const char *guard_end(struct guard *g, size_t head_bytes);

#endif
