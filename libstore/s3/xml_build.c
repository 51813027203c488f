/* The elements of S3's and STS' documents, and where their texts go. */
#include "libstore/s3/xml_build.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"

enum { CHUNK_BYTES = 32 * 1024 };

/* ---- The elements we know ---- */

enum element {
    EL_DOCUMENT, /* above the root */
    EL_LIST,
    EL_VERSIONS,
    EL_UPLOADS,
    EL_IS_TRUNCATED,
    EL_NEXT_TOKEN,
    EL_NEXT_KEY,
    EL_NEXT_VERSION,
    EL_ENCODING,
    EL_CONTENTS,
    EL_VERSION,
    EL_MARKER,
    EL_UPLOAD,
    EL_KEY,
    EL_VERSION_ID,
    EL_IS_LATEST,
    EL_SIZE,
    EL_ETAG,
    EL_MODIFIED,
    EL_COMMON_PREFIXES,
    EL_PREFIX,
    EL_DELETE_RESULT,
    EL_DELETED,
    EL_KEY_ERROR,
    EL_FAILED_KEY,
    EL_FAILED_VERSION,
    EL_FAILED_CODE,
    EL_FAILED_MESSAGE,
    EL_BEGUN,
    EL_UPLOAD_ID,
    EL_DONE,
    EL_COPIED,
    EL_NEW_ETAG,
    EL_ROLE,
    EL_WEB_ROLE,
    EL_ROLE_RESULT,
    EL_CREDENTIALS,
    EL_ACCESS_KEY,
    EL_SECRET_KEY,
    EL_SESSION_TOKEN,
    EL_EXPIRATION,
    EL_ERROR_RESPONSE,
    EL_ERROR,
    EL_CODE,
    EL_MESSAGE,
    EL_REGION,
    EL_ENDPOINT,
    EL_COUNT,
};
_Static_assert(EL_COUNT <= 64, "the builder keeps a bit of each in a uint64_t");

struct xml_element {
    enum element parent;
    const char *name;
    enum element self;
    bool is_text; /* holds text and no elements */
};

static const struct xml_element document = {EL_DOCUMENT, "", EL_DOCUMENT, false};

static const struct xml_element known[] = {
    {EL_DOCUMENT, "ListBucketResult", EL_LIST, false},
    {EL_LIST, "Contents", EL_CONTENTS, false},
    {EL_LIST, "CommonPrefixes", EL_COMMON_PREFIXES, false},
    {EL_LIST, "IsTruncated", EL_IS_TRUNCATED, true},
    {EL_LIST, "NextContinuationToken", EL_NEXT_TOKEN, true},
    {EL_LIST, "EncodingType", EL_ENCODING, true},
    {EL_CONTENTS, "Key", EL_KEY, true},
    {EL_CONTENTS, "Size", EL_SIZE, true},
    {EL_CONTENTS, "ETag", EL_ETAG, true},
    {EL_CONTENTS, "LastModified", EL_MODIFIED, true},
    {EL_COMMON_PREFIXES, "Prefix", EL_PREFIX, true},

    {EL_DOCUMENT, "ListVersionsResult", EL_VERSIONS, false},
    {EL_VERSIONS, "Version", EL_VERSION, false},
    {EL_VERSIONS, "DeleteMarker", EL_MARKER, false},
    {EL_VERSIONS, "CommonPrefixes", EL_COMMON_PREFIXES, false},
    {EL_VERSIONS, "IsTruncated", EL_IS_TRUNCATED, true},
    {EL_VERSIONS, "NextKeyMarker", EL_NEXT_KEY, true},
    {EL_VERSIONS, "NextVersionIdMarker", EL_NEXT_VERSION, true},
    {EL_VERSIONS, "EncodingType", EL_ENCODING, true},
    {EL_VERSION, "Key", EL_KEY, true},
    {EL_VERSION, "VersionId", EL_VERSION_ID, true},
    {EL_VERSION, "IsLatest", EL_IS_LATEST, true},
    {EL_VERSION, "Size", EL_SIZE, true},
    {EL_VERSION, "ETag", EL_ETAG, true},
    {EL_VERSION, "LastModified", EL_MODIFIED, true},
    {EL_MARKER, "Key", EL_KEY, true},
    {EL_MARKER, "VersionId", EL_VERSION_ID, true},
    {EL_MARKER, "IsLatest", EL_IS_LATEST, true},
    {EL_MARKER, "LastModified", EL_MODIFIED, true},

    {EL_DOCUMENT, "ListMultipartUploadsResult", EL_UPLOADS, false},
    {EL_UPLOADS, "Upload", EL_UPLOAD, false},
    {EL_UPLOADS, "CommonPrefixes", EL_COMMON_PREFIXES, false},
    {EL_UPLOADS, "IsTruncated", EL_IS_TRUNCATED, true},
    {EL_UPLOADS, "NextKeyMarker", EL_NEXT_KEY, true},
    {EL_UPLOADS, "NextUploadIdMarker", EL_NEXT_VERSION, true},
    {EL_UPLOADS, "EncodingType", EL_ENCODING, true},
    {EL_UPLOAD, "Key", EL_KEY, true},
    {EL_UPLOAD, "UploadId", EL_VERSION_ID, true},
    {EL_UPLOAD, "Initiated", EL_MODIFIED, true},

    {EL_DOCUMENT, "DeleteResult", EL_DELETE_RESULT, false},
    {EL_DELETE_RESULT, "Deleted", EL_DELETED, false},
    {EL_DELETE_RESULT, "Error", EL_KEY_ERROR, false},
    {EL_KEY_ERROR, "Key", EL_FAILED_KEY, true},
    {EL_KEY_ERROR, "VersionId", EL_FAILED_VERSION, true},
    {EL_KEY_ERROR, "Code", EL_FAILED_CODE, true},
    {EL_KEY_ERROR, "Message", EL_FAILED_MESSAGE, true},

    {EL_DOCUMENT, "InitiateMultipartUploadResult", EL_BEGUN, false},
    {EL_BEGUN, "UploadId", EL_UPLOAD_ID, true},
    {EL_DOCUMENT, "CompleteMultipartUploadResult", EL_DONE, false},
    {EL_DONE, "ETag", EL_NEW_ETAG, true},
    {EL_DOCUMENT, "CopyObjectResult", EL_COPIED, false},
    {EL_DOCUMENT, "CopyPartResult", EL_COPIED, false},
    {EL_COPIED, "ETag", EL_NEW_ETAG, true},

    {EL_DOCUMENT, "AssumeRoleResponse", EL_ROLE, false},
    {EL_ROLE, "AssumeRoleResult", EL_ROLE_RESULT, false},
    {EL_DOCUMENT, "AssumeRoleWithWebIdentityResponse", EL_WEB_ROLE, false},
    {EL_WEB_ROLE, "AssumeRoleWithWebIdentityResult", EL_ROLE_RESULT, false},
    {EL_ROLE_RESULT, "Credentials", EL_CREDENTIALS, false},
    {EL_CREDENTIALS, "AccessKeyId", EL_ACCESS_KEY, true},
    {EL_CREDENTIALS, "SecretAccessKey", EL_SECRET_KEY, true},
    {EL_CREDENTIALS, "SessionToken", EL_SESSION_TOKEN, true},
    {EL_CREDENTIALS, "Expiration", EL_EXPIRATION, true},

    {EL_DOCUMENT, "ErrorResponse", EL_ERROR_RESPONSE, false},
    {EL_ERROR_RESPONSE, "Error", EL_ERROR, false},
    {EL_DOCUMENT, "Error", EL_ERROR, false},
    {EL_ERROR, "Code", EL_CODE, true},
    {EL_ERROR, "Message", EL_MESSAGE, true},
    {EL_ERROR, "Region", EL_REGION, true},
    {EL_ERROR, "Endpoint", EL_ENDPOINT, true},
};

/* What an element must hold; the API pages promise all of it. */
static const struct {
    enum element parent, child;
    const char *otherwise;
} required[] = {
    {EL_LIST, EL_IS_TRUNCATED, "a list without IsTruncated"},
    {EL_VERSIONS, EL_IS_TRUNCATED, "a list without IsTruncated"},
    {EL_UPLOADS, EL_IS_TRUNCATED, "a list without IsTruncated"},
    {EL_CONTENTS, EL_KEY, "an entry without a key"},
    {EL_CONTENTS, EL_SIZE, "an entry without a size"},
    {EL_VERSION, EL_KEY, "a version without a key"},
    {EL_VERSION, EL_VERSION_ID, "a version without an id"},
    {EL_VERSION, EL_SIZE, "a version without a size"},
    {EL_MARKER, EL_KEY, "a delete marker without a key"},
    {EL_MARKER, EL_VERSION_ID, "a delete marker without an id"},
    {EL_UPLOAD, EL_KEY, "an upload without a key"},
    {EL_UPLOAD, EL_VERSION_ID, "an upload without an id"},
    {EL_COMMON_PREFIXES, EL_PREFIX, "common prefixes without a prefix"},
    {EL_KEY_ERROR, EL_FAILED_KEY, "a failed deletion without a key"},
    {EL_BEGUN, EL_UPLOAD_ID, "a begun upload without an id"},
    {EL_ROLE, EL_ROLE_RESULT, "an assumed role without a result"},
    {EL_WEB_ROLE, EL_ROLE_RESULT, "an assumed role without a result"},
    {EL_ROLE_RESULT, EL_CREDENTIALS, "an assumed role without credentials"},
    {EL_CREDENTIALS, EL_ACCESS_KEY, "credentials without an access key"},
    {EL_CREDENTIALS, EL_SECRET_KEY, "credentials without a secret key"},
    {EL_CREDENTIALS, EL_SESSION_TOKEN, "credentials without a session token"},
    {EL_CREDENTIALS, EL_EXPIRATION, "credentials without an expiration"},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static uint64_t bit(enum element e)
{
    return UINT64_C(1) << e;
}

/* ---- Memory ---- */

struct xml_chunk { /* strings of the document; never moved, so that pointers into it stay good */
    struct xml_chunk *next;
    size_t used;
    char bytes[CHUNK_BYTES];
};
_Static_assert(sizeof(((struct xml_chunk *)0)->bytes) > XML_MAX_TEXT,
               "every text fits an empty chunk");

void xml_builder_init(struct xml_builder *b)
{
    *b = (struct xml_builder){.open = {&document}};
    buf_init(&b->text, XML_MAX_TEXT);
    struct xml_doc *d = &b->doc;
    d->next_key = d->next_version = d->etag = "";
    d->code = d->message = d->region = b->endpoint = "";
}

static void wipe(struct xml_builder *b)
{
    for (struct xml_chunk *c = b->chunks; c; c = c->next)
        explicit_bzero(c->bytes, c->used);
    if (b->text.data)
        explicit_bzero(b->text.data, b->text.cap);
}

void xml_builder_cleanup(struct xml_builder *b)
{
    if (b->doc.kind == XML_CREDENTIALS)
        wipe(b);
    for (struct xml_chunk *c = b->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    buf_cleanup(&b->text);
    free(b->doc.entries);
    free(b->doc.key_errors);
}

int xml_builder_fail(struct xml_builder *b, enum store_code code, const char *what)
{
    if (!xml_builder_failed(b))
        store_err_set(&b->err, code, "XML answer: %s", what);
    return -1;
}

char *xml_builder_keep_text(struct xml_builder *b)
{
    size_t n = b->text.len + 1;
    struct xml_chunk *c = b->chunks;
    if (!c || sizeof(c->bytes) - c->used < n) {
        c = malloc(sizeof(*c));
        if (!c) {
            xml_builder_no_memory(b);
            return NULL;
        }
        c->next = b->chunks;
        c->used = 0;
        b->chunks = c;
    }
    char *s = c->bytes + c->used;
    memcpy(s, buf_str(&b->text), n);
    c->used += n;
    return s;
}

/* The array with room for one more element of `size` bytes; NULL after a failure. */
static void *grow(struct xml_builder *b, void *array, size_t n, size_t *cap, size_t size)
{
    if (n == XML_MAX_ENTRIES) {
        xml_builder_corrupt(b, "too many entries");
        return NULL;
    }
    if (n < *cap)
        return array;
    size_t want = *cap ? *cap * 2 : 64;
    void *bigger = realloc(array, want * size);
    if (!bigger) {
        xml_builder_no_memory(b);
        return NULL;
    }
    *cap = want;
    return bigger;
}

/* ---- Elements begin ---- */

static void begin_entry(struct xml_builder *b, enum element e)
{
    struct xml_doc *d = &b->doc;
    struct store_entry *all = grow(b, d->entries, d->n_entries, &b->entries_cap, sizeof(*all));
    if (!all)
        return;
    d->entries = all;
    all[d->n_entries++] = (struct store_entry){
        .is_prefix = e == EL_COMMON_PREFIXES,
        .is_marker = e == EL_MARKER,
        .etag = "",
        .version = "",
    };
}

static void begin_key_error(struct xml_builder *b)
{
    struct xml_doc *d = &b->doc;
    struct xml_key_error *all =
        grow(b, d->key_errors, d->n_key_errors, &b->key_errors_cap, sizeof(*all));
    if (!all)
        return;
    d->key_errors = all;
    all[d->n_key_errors++] = (struct xml_key_error){.version = "", .code = "", .message = ""};
}

static void begin_element(struct xml_builder *b, enum element e)
{
    switch (e) {
    case EL_LIST: b->doc.kind = XML_LIST; break;
    case EL_VERSIONS: b->doc.kind = XML_VERSIONS; break;
    case EL_UPLOADS: b->doc.kind = XML_UPLOADS; break;
    case EL_DELETE_RESULT: b->doc.kind = XML_DELETE_RESULT; break;
    case EL_BEGUN: b->doc.kind = XML_UPLOAD_BEGUN; break;
    case EL_DONE: b->doc.kind = XML_UPLOAD_DONE; break;
    case EL_COPIED: b->doc.kind = XML_COPIED; break;
    case EL_ROLE:
    case EL_WEB_ROLE: b->doc.kind = XML_CREDENTIALS; break;
    case EL_ERROR_RESPONSE:
    case EL_ERROR: b->doc.kind = XML_ERROR; break;
    case EL_CONTENTS:
    case EL_VERSION:
    case EL_MARKER:
    case EL_UPLOAD:
    case EL_COMMON_PREFIXES: begin_entry(b, e); break;
    case EL_DELETED: b->doc.n_deleted++; break;
    case EL_KEY_ERROR: begin_key_error(b); break;
    default: break;
    }
}

/* NULL: unknown, to be ignored with all below it. */
static const struct xml_element *find_known(const struct xml_element *parent, const char *name)
{
    for (size_t i = 0; parent && i < COUNT(known); i++)
        if (known[i].parent == parent->self && strcmp(known[i].name, name) == 0)
            return &known[i];
    return NULL;
}

/* Forgets which children an earlier element of the same name had. */
static void clear_children_seen(struct xml_builder *b, enum element parent)
{
    for (size_t i = 0; i < COUNT(known); i++)
        if (known[i].parent == parent)
            b->seen &= ~bit(known[i].self);
}

static void begin_known(struct xml_builder *b, const struct xml_element *k)
{
    if (k->is_text && b->seen & bit(k->self)) {
        xml_builder_corrupt(b, "an element twice that may be there once");
        return;
    }
    b->seen |= bit(k->self);
    buf_reset(&b->text);
    if (!k->is_text)
        clear_children_seen(b, k->self);
    begin_element(b, k->self);
}

void xml_builder_open(struct xml_builder *b, const char *name)
{
    const struct xml_element *parent = b->open[b->depth];
    if (xml_builder_failed(b))
        return;
    if (b->depth == XML_MAX_DEPTH) {
        xml_builder_corrupt(b, "nested too deeply");
        return;
    }
    if (parent && parent->is_text) {
        xml_builder_corrupt(b, "an element where only text may be");
        return;
    }
    const struct xml_element *k = find_known(parent, name);
    if (!k && b->depth == 0) {
        xml_builder_corrupt(b, "not a document of S3's");
        return;
    }
    b->open[++b->depth] = k;
    if (k)
        begin_known(b, k);
}

void xml_builder_text(struct xml_builder *b, const char *s, size_t n)
{
    const struct xml_element *in = b->open[b->depth];
    if (xml_builder_failed(b) || !in || !in->is_text)
        return;
    if (n > XML_MAX_TEXT - b->text.len) {
        xml_builder_corrupt(b, "a text too long");
        return;
    }
    buf_add(&b->text, s, n);
    if (buf_failed(&b->text))
        xml_builder_no_memory(b);
}

/* ---- Elements end ---- */

static struct store_entry *last_entry(struct xml_builder *b)
{
    return &b->doc.entries[b->doc.n_entries - 1];
}

static struct xml_key_error *last_key_error(struct xml_builder *b)
{
    return &b->doc.key_errors[b->doc.n_key_errors - 1];
}

/* Where the text of an element is kept as it is. */
static const char **text_field(struct xml_builder *b, enum element e)
{
    switch (e) {
    case EL_KEY:
    case EL_PREFIX: return &last_entry(b)->key;
    case EL_VERSION_ID: return &last_entry(b)->version;
    case EL_NEXT_TOKEN: return &b->doc.next_token;
    case EL_NEXT_KEY: return &b->doc.next_key;
    case EL_NEXT_VERSION: return &b->doc.next_version;
    case EL_FAILED_KEY: return &last_key_error(b)->key;
    case EL_FAILED_VERSION: return &last_key_error(b)->version;
    case EL_FAILED_CODE: return &last_key_error(b)->code;
    case EL_FAILED_MESSAGE: return &last_key_error(b)->message;
    case EL_UPLOAD_ID: return &b->doc.upload_id;
    case EL_ACCESS_KEY: return &b->doc.access_key;
    case EL_SECRET_KEY: return &b->doc.secret_key;
    case EL_SESSION_TOKEN: return &b->doc.session_token;
    case EL_CODE: return &b->doc.code;
    case EL_MESSAGE: return &b->doc.message;
    case EL_REGION: return &b->doc.region;
    default: return &b->endpoint; /* EL_ENDPOINT is the one that is left */
    }
}

/* Texts that say nothing when they are empty. */
static bool must_have_text(enum element e)
{
    return e == EL_KEY || e == EL_PREFIX || e == EL_VERSION_ID || e == EL_UPLOAD_ID ||
           e == EL_ACCESS_KEY || e == EL_SECRET_KEY || e == EL_SESSION_TOKEN;
}

static void end_size(struct xml_builder *b)
{
    if (!parse_u64(buf_str(&b->text), b->text.len, &last_entry(b)->size))
        xml_builder_corrupt(b, "a malformed size");
}

/* Some stores leave the time of an entry out, or empty: then it stays 0. */
static void end_modified(struct xml_builder *b)
{
    if (b->text.len && !clock_parse_rfc3339(buf_str(&b->text), &last_entry(b)->modified_s))
        xml_builder_corrupt(b, "a malformed time");
}

static void end_expiration(struct xml_builder *b)
{
    if (!clock_parse_rfc3339(buf_str(&b->text), &b->doc.expires_s))
        xml_builder_corrupt(b, "a malformed expiration");
}

static void end_etag(struct xml_builder *b, const char **field)
{
    char *etag = xml_builder_keep_text(b);
    if (!etag)
        return;
    size_t n = b->text.len;
    if (n >= 2 && etag[0] == '"' && etag[n - 1] == '"') {
        etag[n - 1] = '\0';
        etag++;
    }
    *field = etag;
}

static void end_bool(struct xml_builder *b, bool *field)
{
    const char *s = buf_str(&b->text);
    *field = strcmp(s, "true") == 0;
    if (!*field && strcmp(s, "false") != 0)
        xml_builder_corrupt(b, "neither true nor false");
}

static void end_encoding(struct xml_builder *b)
{
    const char *s = buf_str(&b->text);
    b->url_encoded = strcmp(s, "url") == 0;
    if (!b->url_encoded && *s)
        xml_builder_corrupt(b, "an unknown EncodingType");
}

static void end_text(struct xml_builder *b, enum element e)
{
    if (must_have_text(e) && b->text.len == 0) {
        xml_builder_corrupt(b, "an empty key or id");
        return;
    }
    switch (e) {
    case EL_IS_TRUNCATED: end_bool(b, &b->doc.truncated); return;
    case EL_IS_LATEST: end_bool(b, &last_entry(b)->is_latest); return;
    case EL_ENCODING: end_encoding(b); return;
    case EL_SIZE: end_size(b); return;
    case EL_MODIFIED: end_modified(b); return;
    case EL_EXPIRATION: end_expiration(b); return;
    case EL_ETAG: end_etag(b, &last_entry(b)->etag); return;
    case EL_NEW_ETAG: end_etag(b, &b->doc.etag); return;
    default: *text_field(b, e) = xml_builder_keep_text(b); return;
    }
}

static void check_complete(struct xml_builder *b, enum element e)
{
    for (size_t i = 0; i < COUNT(required); i++)
        if (required[i].parent == e && !(b->seen & bit(required[i].child)))
            xml_builder_corrupt(b, required[i].otherwise);
}

void xml_builder_close(struct xml_builder *b)
{
    const struct xml_element *k = b->open[b->depth];
    if (xml_builder_failed(b))
        return;
    if (k && k->is_text)
        end_text(b, k->self);
    else if (k)
        check_complete(b, k->self);
    b->depth--;
    b->ended = b->depth == 0;
}
