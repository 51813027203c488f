/* xml_build.h - from the elements and texts of an XML document to a struct xml_doc: the half of
 * xml.h that knows S3 and no XML parser. Each call may fail; the first failure stays in b->err and
 * makes the later calls do nothing. */
#ifndef LIBSTORE_S3_XML_BUILD_H
#define LIBSTORE_S3_XML_BUILD_H

#include "libstore/s3/xml.h"

enum {
    XML_MAX_DEPTH = 16,
    XML_MAX_TEXT = 8 * 1024,
    XML_MAX_ENTRIES = 10000, /* also of errors in a DeleteResult */
};

struct xml_element; /* one that we know */
struct xml_chunk;   /* memory for strings */

struct xml_builder {
    struct store_err err;
    bool ended; /* the end of the root element was seen */

    const struct xml_element *open[XML_MAX_DEPTH + 1]; /* [0] is above the root; NULL: unknown */
    size_t depth;                                      /* index of the innermost open element */
    uint64_t seen;   /* bit of each element found in its parent so far */
    struct buf text; /* of the innermost element */
    struct xml_chunk *chunks;

    bool url_encoded;
    size_t entries_cap, key_errors_cap;
    const char *endpoint; /* of an Error */
    struct xml_doc doc;
};

void xml_builder_init(struct xml_builder *b);
void xml_builder_cleanup(struct xml_builder *b); /* the strings of credentials are wiped */

void xml_builder_open(struct xml_builder *b, const char *name);
void xml_builder_text(struct xml_builder *b, const char *s, size_t n);
void xml_builder_close(struct xml_builder *b); /* the innermost element */

/* The document is at its end: what can only be checked, decoded or sorted as a whole. */
void xml_builder_finish(struct xml_builder *b);

/* Keeps the first failure. Returns -1. */
int xml_builder_fail(struct xml_builder *b, enum store_code code, const char *what);
static inline int xml_builder_corrupt(struct xml_builder *b, const char *what)
{
    return xml_builder_fail(b, STORE_CORRUPT, what);
}
static inline int xml_builder_no_memory(struct xml_builder *b)
{
    return xml_builder_fail(b, STORE_NO_MEMORY, "out of memory");
}
static inline bool xml_builder_failed(const struct xml_builder *b)
{
    return b->err.code != STORE_OK;
}

/* A copy of b->text that lives as long as b; NULL after a failure. */
char *xml_builder_keep_text(struct xml_builder *b);

#endif
