/* scope.h - whose data: a tenant, one of its timelines, or one endpoint of a timeline; and the
 * rules for their names. Pure. */
#ifndef EPUFS_SCOPE_H
#define EPUFS_SCOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

enum { ID_SIZE = 33, ENDPOINT_SIZE = 64, SCOPE_PATH_SIZE = 192, PATH_MAX_BYTES = 512 };

enum scope_kind { SCOPE_TENANT, SCOPE_TIMELINE, SCOPE_ENDPOINT };

struct scope {
    enum scope_kind kind;
    char tenant[ID_SIZE];         /* 32 lower-case hex digits */
    char timeline[ID_SIZE];       /* "" in a tenant's scope */
    char endpoint[ENDPOINT_SIZE]; /* "" unless an endpoint's scope */
};

/* 32 hex digits of either case, lower case in out. n is s's length. */
bool scope_parse_id(const char *s, size_t n, char out[ID_SIZE]);
/* [A-Za-z0-9][A-Za-z0-9_-]{0,62} */
bool scope_parse_endpoint(const char *s, size_t n, char out[ENDPOINT_SIZE]);
const char *scope_kind_name(enum scope_kind kind); /* "tenant", "timeline", "endpoint" */
bool scope_kind_from_name(const char *s, enum scope_kind *out);
bool scope_equal(const struct scope *a, const struct scope *b);
/* Whether inner is outer or lies within it. */
bool scope_contains(const struct scope *outer, const struct scope *inner);
/* "tenants/<t>/timelines/<tl>/endpoints/<ep>", as far as the scope goes; the S3 prefix and the
 * HTTP path are the same. */
void scope_path(const struct scope *s, char out[SCOPE_PATH_SIZE]);

/* A file's path below PGDATA: valid UTF-8, 1 to 512 bytes, segments neither empty nor "." nor
 * "..", no control characters. Returns NULL, or what is wrong with it (a constant). */
const char *scope_path_problem(const char *path, size_t n);

#endif
