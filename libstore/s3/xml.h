/* xml.h - the XML bodies of S3 and STS. Pure: bytes in, result out; fed in pieces. Built on expat.
 * Hostile input is bounded: size, depth, text length, number of entries; a DOCTYPE is refused, and
 * with it all entities but XML's own five; a tag or comment that comes in pieces has a bound of its
 * own, 16 KiB. Unknown elements are ignored.
 *
 * Sources: the pages of ListObjectsV2, ListObjectVersions, ListMultipartUploads, DeleteObjects,
 * CreateMultipartUpload, CompleteMultipartUpload, CopyObject, UploadPartCopy and "Error responses"
 * in the Amazon S3 API reference; AssumeRole, AssumeRoleWithWebIdentity and "Common errors" in the
 * AWS STS API reference. */
#ifndef LIBSTORE_S3_XML_H
#define LIBSTORE_S3_XML_H

#include <store/store.h>

#include "base/buf.h"

enum xml_kind {
    XML_NONE,
    XML_LIST,          /* ListBucketResult of ListObjectsV2 */
    XML_VERSIONS,      /* ListVersionsResult */
    XML_UPLOADS,       /* ListMultipartUploadsResult */
    XML_DELETE_RESULT, /* DeleteResult */
    XML_UPLOAD_BEGUN,  /* InitiateMultipartUploadResult */
    XML_UPLOAD_DONE,   /* CompleteMultipartUploadResult */
    XML_COPIED,        /* CopyObjectResult, CopyPartResult */
    XML_CREDENTIALS,   /* AssumeRoleResponse, AssumeRoleWithWebIdentityResponse */
    XML_ERROR,         /* Error, and the Error inside an ErrorResponse */
};

struct xml_key_error { /* one <Error> of a DeleteResult; "" where it says nothing, but key */
    const char *key, *version, *code, *message;
};

/* One document. Strings lie in the parser's memory and live until xml_parser_free(). */
struct xml_doc {
    enum xml_kind kind;
    /* XML_LIST: entries (objects and common prefixes merged, bytewise by key; keys url-decoded when
     * <EncodingType>url says so; version ""), and: */
    struct store_entry *entries;
    size_t n_entries;
    bool truncated;
    const char *next_token; /* NULL: none */
    /* XML_VERSIONS (Version and DeleteMarker, each with version, is_latest, is_marker) and
     * XML_UPLOADS (key, version: the upload's id, modified_s: begun), both with common prefixes:
     * entries and n_entries as above. Of one key, the latest version is first and the others are in
     * their order of coming. The version of an object from before versioning is "null", an id like
     * others. When truncated, where to go on: */
    const char *next_key;     /* NextKeyMarker, url-decoded like keys; "" when not truncated */
    const char *next_version; /* NextVersionIdMarker or NextUploadIdMarker; "" when not truncated,
                               * or when a common prefix was the last */
    /* XML_DELETE_RESULT */
    struct xml_key_error *key_errors;
    size_t n_key_errors;
    size_t n_deleted;      /* <Deleted> elements (none with Quiet) */
    const char *upload_id; /* XML_UPLOAD_BEGUN */
    const char *etag;      /* XML_UPLOAD_DONE, XML_COPIED: without quotes; "" */
    /* XML_CREDENTIALS: all of them, and none empty. xml_parser_free() wipes these copies. */
    const char *access_key, *secret_key, *session_token;
    int64_t expires_s;
    /* XML_ERROR */
    const char *code, *message; /* "" when missing */
    const char *region;         /* <Region>, or taken out of an amazonaws.com <Endpoint>; or "" */
};

struct xml_parser;
struct xml_parser *xml_parser_new(void); /* NULL: no memory */
void xml_parser_free(struct xml_parser *p);
/* White space before the document is skipped, also before an XML declaration, where XML allows
 * none: Amazon sends it while a CompleteMultipartUpload or CopyObject lasts. Returns -1 with
 * STORE_CORRUPT (malformed, or past a bound) or STORE_NO_MEMORY. */
int xml_parser_feed(struct xml_parser *p, const void *bytes, size_t n, struct store_err *err);
/* The end of the body. -1 with STORE_CORRUPT when the document is not complete, is none of the
 * known kinds, is a list that does not say whether it is truncated, is truncated without a next
 * token or key, or lacks what its kind is useless without: an entry its key, size, or id of version
 * or upload; a begun upload its id; credentials any of their four parts. A CompleteMultipartUpload
 * or CopyObject that failed late answers 200 with an XML_ERROR: look at the kind, not the status.
 * *out lives until xml_parser_free(). Nothing may be fed after. */
int xml_parser_finish(struct xml_parser *p, const struct xml_doc **out, struct store_err *err);

/* Whether XML 1.0 can carry the key at all (no control bytes but tab, LF, CR; valid UTF-8). Keys
 * that it cannot carry must be deleted one by one. */
bool xml_can_carry(const char *key);
/* <Delete>…</Delete>, quiet; each key is prefix followed by keys[i]. CR, LF and tab as character
 * references. versions: an id for each key, or NULL. */
void xml_delete_request(struct buf *out, const char *prefix, const char *const *keys,
                        const char *const *versions, size_t n);
/* <CompleteMultipartUpload>…: part numbers 1 to n and their ETags (without quotes). */
void xml_complete_request(struct buf *out, const char *const *etags, size_t n);

#endif
