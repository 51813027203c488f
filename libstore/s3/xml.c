#include "libstore/s3/xml.h"

#include <expat.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"

enum {
    MAX_DOCUMENT = 8 * 1024 * 1024,
    MAX_DEPTH = 16,
    MAX_TEXT = 8 * 1024,
    MAX_ENTRIES = 10000, /* also of errors in a DeleteResult */
    CHUNK_BYTES = 32 * 1024,
    MAX_REGION = 63,
};

/* ---- The elements we know ---- */

enum element {
    EL_DOCUMENT, /* above the root */
    EL_UNKNOWN,  /* ignored, with all below it */
    EL_LIST,
    EL_IS_TRUNCATED,
    EL_NEXT_TOKEN,
    EL_ENCODING,
    EL_CONTENTS,
    EL_KEY,
    EL_SIZE,
    EL_ETAG,
    EL_MODIFIED,
    EL_COMMON_PREFIXES,
    EL_PREFIX,
    EL_DELETE_RESULT,
    EL_DELETED,
    EL_KEY_ERROR,
    EL_FAILED_KEY,
    EL_FAILED_CODE,
    EL_FAILED_MESSAGE,
    EL_ERROR,
    EL_CODE,
    EL_MESSAGE,
    EL_REGION,
    EL_ENDPOINT,
    EL_COUNT,
};
_Static_assert(EL_COUNT <= 32, "the parser keeps a bit of each in a uint32_t");

static const struct known {
    enum element parent;
    const char *name;
    enum element self;
    bool is_text; /* holds text and no elements */
} known_elements[] = {
    {EL_DOCUMENT, "ListBucketResult", EL_LIST, false},
    {EL_DOCUMENT, "DeleteResult", EL_DELETE_RESULT, false},
    {EL_DOCUMENT, "Error", EL_ERROR, false},
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
    {EL_DELETE_RESULT, "Deleted", EL_DELETED, false},
    {EL_DELETE_RESULT, "Error", EL_KEY_ERROR, false},
    {EL_KEY_ERROR, "Key", EL_FAILED_KEY, true},
    {EL_KEY_ERROR, "Code", EL_FAILED_CODE, true},
    {EL_KEY_ERROR, "Message", EL_FAILED_MESSAGE, true},
    {EL_ERROR, "Code", EL_CODE, true},
    {EL_ERROR, "Message", EL_MESSAGE, true},
    {EL_ERROR, "Region", EL_REGION, true},
    {EL_ERROR, "Endpoint", EL_ENDPOINT, true},
};
enum { N_KNOWN = sizeof(known_elements) / sizeof(known_elements[0]) };

/* ---- The parser ---- */

struct chunk { /* strings of the document; never moved, so that pointers into it stay good */
    struct chunk *next;
    size_t used, cap;
    char bytes[];
};

struct xml_parser {
    XML_Parser expat;
    size_t fed;
    struct store_err err; /* the first failure; every later call reports it again */
    bool ended;           /* the end of the root element was seen */

    struct {
        enum element self;
        bool is_text;
    } open[MAX_DEPTH + 1]; /* [0] is EL_DOCUMENT */
    size_t depth;          /* index of the innermost open element */
    uint32_t seen;         /* bit of each element found in its parent so far */
    struct buf text;       /* of the innermost element */
    struct chunk *chunks;

    bool url_encoded;
    size_t entries_cap, key_errors_cap;
    const char *endpoint;
    struct xml_doc doc;
};

static bool failed(const struct xml_parser *p)
{
    return p->err.code != STORE_OK;
}

/* Keeps the first failure and ends the parsing. Returns -1. */
static int fail(struct xml_parser *p, enum store_code code, const char *what)
{
    if (!failed(p)) {
        store_err_set(&p->err, code, "XML answer: %s", what);
        XML_StopParser(p->expat, XML_FALSE);
    }
    return -1;
}

static int corrupt(struct xml_parser *p, const char *what)
{
    return fail(p, STORE_CORRUPT, what);
}

static int no_memory(struct xml_parser *p)
{
    return fail(p, STORE_NO_MEMORY, "out of memory");
}

static bool has(const struct xml_parser *p, enum element e)
{
    return p->seen & 1u << e;
}

/* A copy of the current text that lives as long as the parser; NULL after a failure. */
static char *keep_text(struct xml_parser *p)
{
    size_t n = p->text.len + 1;
    struct chunk *c = p->chunks;
    if (!c || c->cap - c->used < n) {
        c = malloc(sizeof(*c) + CHUNK_BYTES);
        if (!c) {
            no_memory(p);
            return NULL;
        }
        *c = (struct chunk){.next = p->chunks, .cap = CHUNK_BYTES};
        p->chunks = c;
    }
    char *s = c->bytes + c->used;
    memcpy(s, buf_str(&p->text), n);
    c->used += n;
    return s;
}
_Static_assert(MAX_TEXT < CHUNK_BYTES, "every text fits an empty chunk");

/* The array with room for one more element of `size` bytes; NULL after a failure. */
static void *grow(struct xml_parser *p, void *array, size_t n, size_t *cap, size_t size)
{
    if (n == MAX_ENTRIES) {
        corrupt(p, "too many entries");
        return NULL;
    }
    if (n < *cap)
        return array;
    size_t want = *cap ? *cap * 2 : 64;
    void *bigger = realloc(array, want * size);
    if (!bigger) {
        no_memory(p);
        return NULL;
    }
    *cap = want;
    return bigger;
}

/* ---- Elements begin ---- */

static void begin_entry(struct xml_parser *p, bool is_prefix)
{
    struct xml_doc *d = &p->doc;
    struct store_entry *all = grow(p, d->entries, d->n_entries, &p->entries_cap, sizeof(*all));
    if (!all)
        return;
    d->entries = all;
    all[d->n_entries++] = (struct store_entry){.is_prefix = is_prefix, .etag = ""};
}

static void begin_key_error(struct xml_parser *p)
{
    struct xml_doc *d = &p->doc;
    struct xml_key_error *all =
        grow(p, d->key_errors, d->n_key_errors, &p->key_errors_cap, sizeof(*all));
    if (!all)
        return;
    d->key_errors = all;
    all[d->n_key_errors++] = (struct xml_key_error){.code = "", .message = ""};
}

static void begin_element(struct xml_parser *p, enum element e)
{
    switch (e) {
    case EL_LIST: p->doc.kind = XML_LIST; break;
    case EL_DELETE_RESULT: p->doc.kind = XML_DELETE_RESULT; break;
    case EL_ERROR: p->doc.kind = XML_ERROR; break;
    case EL_CONTENTS: begin_entry(p, false); break;
    case EL_COMMON_PREFIXES: begin_entry(p, true); break;
    case EL_DELETED: p->doc.n_deleted++; break;
    case EL_KEY_ERROR: begin_key_error(p); break;
    default: break;
    }
}

static const struct known *find_known(enum element parent, const char *name)
{
    for (size_t i = 0; i < N_KNOWN; i++)
        if (known_elements[i].parent == parent && strcmp(known_elements[i].name, name) == 0)
            return &known_elements[i];
    return NULL;
}

/* Forgets which children an earlier element of the same name had. */
static void clear_children_seen(struct xml_parser *p, enum element parent)
{
    for (size_t i = 0; i < N_KNOWN; i++)
        if (known_elements[i].parent == parent)
            p->seen &= ~(1u << known_elements[i].self);
}

static void XMLCALL on_start(void *user, const XML_Char *name, const XML_Char **attributes)
{
    struct xml_parser *p = user;
    (void)attributes;
    if (failed(p))
        return;
    if (p->depth == MAX_DEPTH) {
        corrupt(p, "nested too deeply");
        return;
    }
    if (p->open[p->depth].is_text) {
        corrupt(p, "an element where only text may be");
        return;
    }
    const struct known *k = find_known(p->open[p->depth].self, name);
    if (!k && p->depth == 0) {
        corrupt(p, "not a list, delete result or error");
        return;
    }
    p->depth++;
    p->open[p->depth].self = k ? k->self : EL_UNKNOWN;
    p->open[p->depth].is_text = k && k->is_text;
    if (!k)
        return;
    if (k->is_text && has(p, k->self)) {
        corrupt(p, "an element twice that may be there once");
        return;
    }
    p->seen |= 1u << k->self;
    buf_reset(&p->text);
    if (!k->is_text)
        clear_children_seen(p, k->self);
    begin_element(p, k->self);
}

static void XMLCALL on_text(void *user, const XML_Char *s, int n)
{
    struct xml_parser *p = user;
    if (failed(p) || !p->open[p->depth].is_text)
        return;
    if ((size_t)n > MAX_TEXT - p->text.len) {
        corrupt(p, "a text too long");
        return;
    }
    buf_add(&p->text, s, (size_t)n);
    if (buf_failed(&p->text))
        no_memory(p);
}

/* ---- Elements end ---- */

static struct store_entry *last_entry(struct xml_parser *p)
{
    return &p->doc.entries[p->doc.n_entries - 1];
}

static struct xml_key_error *last_key_error(struct xml_parser *p)
{
    return &p->doc.key_errors[p->doc.n_key_errors - 1];
}

static void end_key(struct xml_parser *p)
{
    if (p->text.len == 0)
        corrupt(p, "an entry with an empty key");
    else
        last_entry(p)->key = keep_text(p);
}

static void end_size(struct xml_parser *p)
{
    if (!parse_u64(buf_str(&p->text), p->text.len, &last_entry(p)->size))
        corrupt(p, "a malformed size");
}

/* Some stores leave the time out, or empty: then it stays 0. */
static void end_modified(struct xml_parser *p)
{
    if (p->text.len && !clock_parse_rfc3339(buf_str(&p->text), &last_entry(p)->modified_s))
        corrupt(p, "a malformed time");
}

static void end_etag(struct xml_parser *p)
{
    char *etag = keep_text(p);
    if (!etag)
        return;
    size_t n = p->text.len;
    if (n >= 2 && etag[0] == '"' && etag[n - 1] == '"') {
        etag[n - 1] = '\0';
        etag++;
    }
    last_entry(p)->etag = etag;
}

static void end_is_truncated(struct xml_parser *p)
{
    const char *s = buf_str(&p->text);
    p->doc.truncated = strcmp(s, "true") == 0;
    if (!p->doc.truncated && strcmp(s, "false") != 0)
        corrupt(p, "IsTruncated is neither true nor false");
}

static void end_encoding(struct xml_parser *p)
{
    const char *s = buf_str(&p->text);
    p->url_encoded = strcmp(s, "url") == 0;
    if (!p->url_encoded && *s)
        corrupt(p, "an unknown EncodingType");
}

static void end_contents(struct xml_parser *p)
{
    if (!has(p, EL_KEY))
        corrupt(p, "an entry without a key");
    else if (!has(p, EL_SIZE))
        corrupt(p, "an entry without a size");
}

static void end_element(struct xml_parser *p, enum element e)
{
    switch (e) {
    case EL_IS_TRUNCATED: end_is_truncated(p); break;
    case EL_NEXT_TOKEN: p->doc.next_token = keep_text(p); break;
    case EL_ENCODING: end_encoding(p); break;
    case EL_KEY:
    case EL_PREFIX: end_key(p); break;
    case EL_SIZE: end_size(p); break;
    case EL_ETAG: end_etag(p); break;
    case EL_MODIFIED: end_modified(p); break;
    case EL_CONTENTS: end_contents(p); break;
    case EL_COMMON_PREFIXES:
        if (!has(p, EL_PREFIX))
            corrupt(p, "common prefixes without a prefix");
        break;
    case EL_FAILED_KEY: last_key_error(p)->key = keep_text(p); break;
    case EL_FAILED_CODE: last_key_error(p)->code = keep_text(p); break;
    case EL_FAILED_MESSAGE: last_key_error(p)->message = keep_text(p); break;
    case EL_KEY_ERROR:
        if (!has(p, EL_FAILED_KEY))
            corrupt(p, "a failed deletion without a key");
        break;
    case EL_CODE: p->doc.code = keep_text(p); break;
    case EL_MESSAGE: p->doc.message = keep_text(p); break;
    case EL_REGION: p->doc.region = keep_text(p); break;
    case EL_ENDPOINT: p->endpoint = keep_text(p); break;
    default: break;
    }
}

static void XMLCALL on_end(void *user, const XML_Char *name)
{
    struct xml_parser *p = user;
    (void)name; /* expat has checked that it matches */
    if (failed(p))
        return;
    end_element(p, p->open[p->depth].self);
    p->depth--;
    p->ended = p->depth == 0;
}

/* Without a DOCTYPE there are no entities but the five of XML itself. */
static void XMLCALL on_doctype(void *user, const XML_Char *name, const XML_Char *system_id,
                               const XML_Char *public_id, int has_subset)
{
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)has_subset;
    corrupt(user, "a DOCTYPE");
}

/* ---- Feeding ---- */

struct xml_parser *xml_parser_new(void)
{
    struct xml_parser *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    buf_init(&p->text, MAX_TEXT);
    p->doc.code = p->doc.message = p->doc.region = p->endpoint = "";
    p->expat = XML_ParserCreate("UTF-8"); /* whatever the document says */
    if (!p->expat) {
        free(p);
        return NULL;
    }
    XML_SetUserData(p->expat, p);
    XML_SetElementHandler(p->expat, on_start, on_end);
    XML_SetCharacterDataHandler(p->expat, on_text);
    XML_SetStartDoctypeDeclHandler(p->expat, on_doctype);
    return p;
}

void xml_parser_free(struct xml_parser *p)
{
    if (!p)
        return;
    XML_ParserFree(p->expat);
    for (struct chunk *c = p->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    buf_cleanup(&p->text);
    free(p->doc.entries);
    free(p->doc.key_errors);
    free(p);
}

static int report(const struct xml_parser *p, struct store_err *err)
{
    if (err)
        *err = p->err;
    return -1;
}

/* Gives expat some bytes, or the end; leaves what went wrong in p->err. */
static void run_expat(struct xml_parser *p, const void *bytes, size_t n, bool is_end)
{
    if (XML_Parse(p->expat, bytes, (int)n, is_end) != XML_STATUS_ERROR)
        return;
    enum XML_Error e = XML_GetErrorCode(p->expat);
    if (e == XML_ERROR_NO_MEMORY)
        no_memory(p);
    else
        corrupt(p, XML_ErrorString(e)); /* no-op when a handler stopped it and said why */
}

int xml_parser_feed(struct xml_parser *p, const void *bytes, size_t n, struct store_err *err)
{
    if (!failed(p) && n > MAX_DOCUMENT - p->fed)
        corrupt(p, "too large");
    if (failed(p))
        return report(p, err);
    if (n == 0)
        return 0;
    p->fed += n;
    run_expat(p, bytes, n, false);
    return failed(p) ? report(p, err) : 0;
}

/* ---- The whole document ---- */

/* Undoes encoding-type=url in place. Amazon and MinIO write a space as '+', Ceph as "%20"; all
 * write a plus sign as "%2B". */
static bool decode_key(char *key)
{
    for (char *s = key; (s = strchr(s, '+')); s++)
        *s = ' ';
    size_t n;
    return percent_decode(key, strlen(key), key, &n);
}

static int compare_entries(const void *a, const void *b)
{
    const struct store_entry *x = a, *y = b;
    return strcmp(x->key, y->key);
}

/* Objects and common prefixes come one after the other, each in order. */
static void sort_entries(struct xml_doc *d)
{
    size_t i = 1;
    while (i < d->n_entries && compare_entries(&d->entries[i - 1], &d->entries[i]) <= 0)
        i++;
    if (i < d->n_entries)
        qsort(d->entries, d->n_entries, sizeof(d->entries[0]), compare_entries);
}

/* Keys are decoded only now, since <EncodingType> may come behind the entries. */
static int finish_list(struct xml_parser *p)
{
    struct xml_doc *d = &p->doc;
    if (!has(p, EL_IS_TRUNCATED))
        return corrupt(p, "a list without IsTruncated");
    bool has_token = d->next_token && *d->next_token;
    if (d->truncated && !has_token)
        return corrupt(p, "a truncated list without a continuation token");
    if (!d->truncated)
        d->next_token = NULL;
    for (size_t i = 0; p->url_encoded && i < d->n_entries; i++)
        if (!decode_key((char *)d->entries[i].key)) /* our own memory, see keep_text() */
            return corrupt(p, "a key with a malformed escape");
    sort_entries(d);
    return 0;
}

static bool is_region(const char *s, size_t n)
{
    if (n == 0 || n > MAX_REGION)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-", s[i]))
            return false;
    return true;
}

/* The region in "bucket.s3.eu-west-1.amazonaws.com" or "bucket.s3-eu-west-1.amazonaws.com": the
 * last label before the domain. Returns its length, 0: none. */
static size_t region_in_endpoint(const char *endpoint, const char **at)
{
    const char *end = strstr(endpoint, ".amazonaws.com");
    if (!end)
        return 0;
    const char *begin = memrchr(endpoint, '.', (size_t)(end - endpoint));
    begin = begin ? begin + 1 : endpoint;
    if (end - begin > 3 && strncmp(begin, "s3-", 3) == 0)
        begin += 3;
    *at = begin;
    size_t n = (size_t)(end - begin);
    return n == 2 && strncmp(begin, "s3", 2) == 0 ? 0 : n;
}

/* The region goes into our next signature, so it must look like one. */
static int finish_error(struct xml_parser *p)
{
    struct xml_doc *d = &p->doc;
    const char *at = d->region;
    size_t n = strlen(at);
    if (n == 0)
        n = region_in_endpoint(p->endpoint, &at);
    d->region = "";
    if (!is_region(at, n))
        return 0;
    buf_reset(&p->text);
    buf_add(&p->text, at, n);
    const char *region = buf_failed(&p->text) ? NULL : keep_text(p);
    if (!region)
        return no_memory(p);
    d->region = region;
    return 0;
}

int xml_parser_finish(struct xml_parser *p, const struct xml_doc **out, struct store_err *err)
{
    if (!failed(p))
        run_expat(p, "", 0, true);
    if (!failed(p) && !p->ended)
        corrupt(p, "incomplete");
    if (!failed(p) && p->doc.kind == XML_LIST)
        finish_list(p);
    if (!failed(p) && p->doc.kind == XML_ERROR)
        finish_error(p);
    if (failed(p))
        return report(p, err);
    *out = &p->doc;
    return 0;
}

/* ---- The delete request ---- */

/* The length of the UTF-8 character at s (1 to 4) and its value; 0: malformed. */
static size_t utf8_char(const unsigned char *s, uint32_t *value)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* by length: no longer forms */
    size_t n = s[0] < 0x80             ? 1
               : (s[0] & 0xe0) == 0xc0 ? 2
               : (s[0] & 0xf0) == 0xe0 ? 3
               : (s[0] & 0xf8) == 0xf0 ? 4
                                       : 0;
    if (n == 0)
        return 0;
    uint32_t v = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) /* also the NUL at the end */
            return 0;
        v = v << 6 | (s[i] & 0x3f);
    }
    *value = v;
    return v < least[n] ? 0 : n;
}

/* The production Char of XML 1.0. */
static bool is_xml_char(uint32_t v)
{
    if (v < 0x20)
        return v == '\t' || v == '\n' || v == '\r';
    return v <= 0xd7ff || (v >= 0xe000 && v <= 0xfffd) || (v >= 0x10000 && v <= 0x10ffff);
}

bool xml_can_carry(const char *key)
{
    const unsigned char *s = (const unsigned char *)key;
    while (*s) {
        uint32_t v = 0;
        size_t n = utf8_char(s, &v);
        if (n == 0 || !is_xml_char(v))
            return false;
        s += n;
    }
    return true;
}

/* What a parser would change or misread goes as a reference; the rest in runs as it is. */
static void add_escaped(struct buf *out, const char *s)
{
    for (;;) {
        size_t run = strcspn(s, "&<>\r\n\t");
        buf_add(out, s, run);
        s += run;
        switch (*s++) {
        case '\0': return;
        case '&': buf_adds(out, "&amp;"); break;
        case '<': buf_adds(out, "&lt;"); break;
        case '>': buf_adds(out, "&gt;"); break;
        case '\r': buf_adds(out, "&#13;"); break;
        case '\n': buf_adds(out, "&#10;"); break;
        case '\t': buf_adds(out, "&#9;"); break;
        }
    }
}

void xml_delete_request(struct buf *out, const char *prefix, const char *const *keys, size_t n)
{
    buf_adds(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
                  "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>");
    for (size_t i = 0; i < n; i++) {
        buf_adds(out, "<Object><Key>");
        add_escaped(out, prefix);
        add_escaped(out, keys[i]);
        buf_adds(out, "</Key></Object>");
    }
    buf_adds(out, "</Delete>");
}
