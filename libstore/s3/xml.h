/* xml.h - the XML bodies of S3: ListObjectsV2, DeleteObjects (request and result), Error. Pure:
 * bytes in, result out; fed in pieces. Built on expat. Hostile input is bounded: depth, text
 * length, number of entries; entity declarations are refused. */
#ifndef LIBSTORE_S3_XML_H
#define LIBSTORE_S3_XML_H

#include <store/store.h>

#include "base/buf.h"

enum xml_kind { XML_NONE, XML_LIST, XML_DELETE_RESULT, XML_ERROR };

struct xml_key_error { /* one <Error> of a DeleteResult */
    const char *key, *code, *message;
};

/* One document. Strings lie in the parser's memory and live until xml_parser_free(). */
struct xml_doc {
    enum xml_kind kind;
    /* XML_LIST: entries (objects and common prefixes merged, bytewise by key; keys url-decoded when
     * <EncodingType>url says so), and: */
    struct store_entry *entries;
    size_t n_entries;
    bool truncated;
    const char *next_token; /* NULL: none */
    /* XML_DELETE_RESULT */
    struct xml_key_error *key_errors;
    size_t n_key_errors;
    size_t n_deleted; /* <Deleted> elements (none with Quiet) */
    /* XML_ERROR */
    const char *code, *message; /* "" when missing */
    const char *region;         /* <Region>, or taken out of an amazonaws.com <Endpoint>; or "" */
};

struct xml_parser;
struct xml_parser *xml_parser_new(void); /* NULL: no memory */
void xml_parser_free(struct xml_parser *p);
/* Returns -1 with STORE_CORRUPT (malformed, or past a bound) or STORE_NO_MEMORY. */
int xml_parser_feed(struct xml_parser *p, const void *bytes, size_t n, struct store_err *err);
/* The end of the body. -1 with STORE_CORRUPT when the document is not complete, is none of the
 * known kinds, does not say whether it is truncated, is truncated without a next token, or holds
 * an entry without a key or size. *out lives until xml_parser_free(). Nothing may be fed after. */
int xml_parser_finish(struct xml_parser *p, const struct xml_doc **out, struct store_err *err);

/* Whether XML 1.0 can carry the key at all (no control bytes but tab, LF, CR; valid UTF-8). Keys
 * that it cannot carry must be deleted one by one. */
bool xml_can_carry(const char *key);
/* <Delete>…</Delete>, quiet; each key is prefix followed by keys[i]. CR, LF and tab as character
 * references. */
void xml_delete_request(struct buf *out, const char *prefix, const char *const *keys, size_t n);

#endif
