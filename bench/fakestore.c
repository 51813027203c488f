/* fakestore - a MOCK of an S3 server for benchmarks: hardly any data, no signatures checked, no
 * durability.
 *
 *     fakestore --port N [--list-ms N] [--batch-ms N] [--delete-ms N] [--get-ms N] [--put-ms N]
 *               [--keys-per-second N [--burst N]]
 *
 * Any bucket is there, and all are the same one. Path style only.
 *   - Numbered keys, millions of them in little memory (fake_keys.h), which are listed (V2, V1,
 *     versions), deleted (single and multi) and read (16 bytes each).
 *   - Small objects (fake_small.h), such as tombstones and intents, are kept, and put on condition
 *     if so asked (If-None-Match, If-Match).
 *   - bytes/N/ANYTHING is an object of N bytes; it is not listed. What is put there is thrown away,
 *     and so is any other that is not small.
 *   - The options in ms hold each kind of answer back, as a distance would.
 *   - --keys-per-second: deletions come out of a token bucket, each key of a batch counts, and what
 *     finds too few tokens is answered 503 SlowDown.
 *
 * Besides S3:
 *   PUT /__keys?prefix=P&count=N&split=D   defines a set of keys anew, all of them there
 *   GET /__counters                        JSON: requests by kind, 503s, keys deleted and left */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/xalloc.h"
#include "bench/fake_http.h"
#include "bench/fake_keys.h"
#include "bench/fake_small.h"

enum { OBJECT_BYTES = 16, MAX_KEYS = 1000, MAX_PARAM = 2048, DEFAULT_BURST = 2000 };

#define XML_HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define XMLNS    " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
/* Not the form of an MD5, so that nobody compares it with one. */
#define ETAG       "0123456789abcdef0123456789abcdef-1"
#define MODIFIED_S INT64_C(1767225600) /* 2026-01-01 */
#define UPLOAD_ID  "fake-upload"

struct delays {
    uint64_t list_ms, batch_ms, delete_ms, get_ms, put_ms;
};

/* Deletions that are allowed; see --keys-per-second. */
struct throttle {
    uint64_t per_second; /* 0: any number */
    uint64_t burst;
    double tokens;
    uint64_t filled_ms;
};

struct counters {
    uint64_t list, uploads, batch, delete, get, head, put, other, slow_down, keys_deleted;
};

struct fakestore {
    struct fake_keys keys;
    struct fake_small small;
    struct delays delays;
    struct throttle throttle;
    struct counters counters;
};

/* ---- The target ---- */

/* The value of a parameter; false when it is not there. */
static bool param(const char *query, const char *name, char out[MAX_PARAM])
{
    size_t name_len = strlen(name), out_len;
    while (*query) {
        size_t len = strcspn(query, "&");
        size_t n = strcspn(query, "=&");
        const char *value = query[n] == '=' ? query + n + 1 : query + n;
        size_t value_len = (size_t)(query + len - value);
        if (n == name_len && strncmp(query, name, n) == 0 && value_len < MAX_PARAM) {
            out[0] = '\0';
            return percent_decode(value, value_len, out, &out_len);
        }
        query += len + (query[len] == '&');
    }
    return false;
}

static bool has_param(const char *query, const char *name)
{
    char value[MAX_PARAM];
    return param(query, name, value);
}

static uint64_t number_param(const char *query, const char *name, uint64_t dflt)
{
    char text[MAX_PARAM];
    uint64_t value;
    return param(query, name, text) && parse_u64(text, strlen(text), &value) ? value : dflt;
}

/* ---- XML ---- */

static void xml_text(struct buf *out, const char *s)
{
    for (; *s; s++)
        switch (*s) {
        case '&': buf_adds(out, "&amp;"); break;
        case '<': buf_adds(out, "&lt;"); break;
        case '>': buf_adds(out, "&gt;"); break;
        case '"': buf_adds(out, "&quot;"); break;
        default: buf_addc(out, *s);
        }
}

static void xml_element(struct buf *out, const char *name, const char *text)
{
    buf_addf(out, "<%s>", name);
    xml_text(out, text);
    buf_addf(out, "</%s>", name);
}

static void answer_xml(struct fake_answer *a, const char *text)
{
    a->type = "application/xml";
    buf_adds(&a->body, XML_HEAD);
    buf_adds(&a->body, text);
}

static void answer_error(struct fake_answer *a, int status, const char *code)
{
    a->status = status;
    answer_xml(a, "<Error>");
    xml_element(&a->body, "Code", code);
    xml_element(&a->body, "Message", code);
    buf_adds(&a->body, "<RequestId>fake</RequestId></Error>");
}

/* ---- Listing ---- */

enum list_form { LIST_V1, LIST_V2, LIST_VERSIONS };

struct listing {
    enum list_form form;
    char prefix[MAX_PARAM], delimiter[MAX_PARAM], after[MAX_PARAM];
    enum fake_seek how; /* from where; see fake_keys_seek() */
    uint64_t max, n;
    char last[FAKE_SMALL_MAX_KEY + 1]; /* key or group that was listed last */
    bool last_is_group, more;
};

/* A token is 'k' and a key, or 'g' and a group, behind which the listing goes on. */
static void read_start(struct listing *l, const char *query)
{
    static const char *const names[] = {"marker", "start-after", "key-marker"};
    char token[MAX_PARAM];
    size_t prefix_len = strlen(l->prefix);
    l->how = FAKE_BEHIND;
    if (l->form == LIST_V2 && param(query, "continuation-token", token)) {
        text_copy(l->after, sizeof(l->after), token[0] ? token + 1 : token);
        if (token[0] == 'g')
            l->how = FAKE_PAST;
    } else if (!param(query, names[l->form], l->after)) {
        l->after[0] = '\0';
    } else if (l->form != LIST_V2 && l->delimiter[0] &&
               strncmp(l->after, l->prefix, prefix_len) == 0 &&
               strstr(l->after + prefix_len, l->delimiter)) {
        l->how = FAKE_PAST; /* NextMarker was a group */
    }
    if (strcmp(l->after, l->prefix) < 0 || !l->after[0]) {
        text_copy(l->after, sizeof(l->after), l->prefix);
        l->how = FAKE_FROM;
    }
}

static void read_listing(struct listing *l, enum list_form form, const char *query)
{
    *l = (struct listing){.form = form};
    if (!param(query, "prefix", l->prefix))
        l->prefix[0] = '\0';
    if (!param(query, "delimiter", l->delimiter))
        l->delimiter[0] = '\0';
    l->max = number_param(query, "max-keys", MAX_KEYS);
    if (l->max > MAX_KEYS)
        l->max = MAX_KEYS;
    read_start(l, query);
}

/* Where a listing is: at the lesser of a numbered key and a small object. */
struct cursor {
    struct fake_place at;
    size_t small;
    const struct fake_object *object; /* NULL: the key is a numbered one */
    char key[FAKE_SMALL_MAX_KEY + 1];
};

/* false: there is no further key. */
static bool cursor_read(const struct fakestore *f, struct cursor *c)
{
    bool numbered = c->at.set < f->keys.n;
    c->object = c->small < f->small.n ? f->small.objects[c->small] : NULL;
    if (numbered)
        fake_keys_name(&f->keys, c->at, c->key);
    if (numbered && c->object && strcmp(c->key, c->object->key) < 0)
        c->object = NULL;
    if (c->object)
        text_copy(c->key, sizeof(c->key), c->object->key);
    return numbered || c->object;
}

static void cursor_seek(const struct fakestore *f, struct cursor *c, enum fake_seek how,
                        const char *text)
{
    c->at = fake_keys_seek(&f->keys, how, text);
    c->small = fake_small_seek(&f->small, how, text);
}

static void cursor_next(const struct fakestore *f, struct cursor *c)
{
    if (c->object)
        c->small++;
    else
        c->at = fake_keys_next(&f->keys, c->at);
}

static void write_entry(const struct listing *l, struct buf *out, const struct cursor *c)
{
    const struct fake_object *o = c->object;
    bool versions = l->form == LIST_VERSIONS;
    char modified[CLOCK_TEXT];
    clock_rfc3339(o ? o->modified_s : MODIFIED_S, modified);
    buf_addf(out,
             "<%s><Key>%s</Key><LastModified>%s</LastModified><ETag>&quot;%s&quot;</ETag>"
             "<Size>%zu</Size><StorageClass>STANDARD</StorageClass>%s",
             versions ? "Version" : "Contents", c->key, modified, o ? o->etag : ETAG,
             o ? o->len : (size_t)OBJECT_BYTES,
             versions ? "<VersionId>null</VersionId><IsLatest>true</IsLatest></Version>"
                      : "</Contents>");
}

/* The length of the group that the key belongs to; 0: none. */
static size_t group_of(const struct listing *l, const char *key)
{
    const char *end = l->delimiter[0] ? strstr(key + strlen(l->prefix), l->delimiter) : NULL;
    return end ? (size_t)(end - key) + strlen(l->delimiter) : 0;
}

static void write_entries(const struct fakestore *f, struct listing *l, struct buf *out,
                          struct buf *groups)
{
    struct cursor at;
    cursor_seek(f, &at, l->how, l->after);
    while (cursor_read(f, &at)) {
        if (strncmp(at.key, l->prefix, strlen(l->prefix)) != 0)
            return;
        if (l->n == l->max) {
            l->more = true;
            return;
        }
        l->n++;
        size_t group = group_of(l, at.key);
        l->last_is_group = group > 0;
        if (group) {
            at.key[group] = '\0';
            buf_addf(groups, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", at.key);
            cursor_seek(f, &at, FAKE_PAST, at.key);
        } else {
            write_entry(l, out, &at);
            cursor_next(f, &at);
        }
        memcpy(l->last, at.key, sizeof(l->last));
    }
}

static void write_next(const struct listing *l, struct buf *out)
{
    if (l->form == LIST_V2) {
        buf_addf(out, "<KeyCount>%" PRIu64 "</KeyCount>", l->n);
        if (l->more)
            buf_addf(out, "<NextContinuationToken>%c%s</NextContinuationToken>",
                     l->last_is_group ? 'g' : 'k', l->last);
    } else if (l->more && l->form == LIST_V1) {
        buf_addf(out, "<NextMarker>%s</NextMarker>", l->last);
    } else if (l->more) {
        buf_addf(out, "<NextKeyMarker>%s</NextKeyMarker>%s", l->last,
                 "<NextVersionIdMarker>null</NextVersionIdMarker>");
    }
}

static void list(struct fakestore *f, const char *bucket, const char *query, struct fake_answer *a)
{
    enum list_form form = has_param(query, "versions")               ? LIST_VERSIONS
                          : number_param(query, "list-type", 1) == 2 ? LIST_V2
                                                                     : LIST_V1;
    static const char *const roots[] = {"ListBucketResult", "ListBucketResult",
                                        "ListVersionsResult"};
    struct buf groups = BUF_INIT(1 << 20), *out = &a->body;
    struct listing l;
    f->counters.list++;
    read_listing(&l, form, query);
    answer_xml(a, "");
    buf_addf(out, "<%s" XMLNS ">", roots[form]);
    xml_element(out, "Name", bucket);
    xml_element(out, "Prefix", l.prefix);
    buf_addf(out, "<MaxKeys>%" PRIu64 "</MaxKeys>", l.max);
    if (l.delimiter[0])
        xml_element(out, "Delimiter", l.delimiter);
    if (has_param(query, "encoding-type"))
        buf_adds(out, "<EncodingType>url</EncodingType>"); /* changes none of our keys */
    write_entries(f, &l, out, &groups);
    buf_adds(out, buf_str(&groups));
    buf_addf(out, "<IsTruncated>%s</IsTruncated>", l.more ? "true" : "false");
    write_next(&l, out);
    buf_addf(out, "</%s>", roots[form]);
    buf_cleanup(&groups);
    a->delay_ms = (uint32_t)f->delays.list_ms;
}

/* ---- Deleting ---- */

static bool allowed(struct throttle *t, uint64_t keys)
{
    if (!t->per_second)
        return true;
    uint64_t now_ms = clock_mono_ms();
    t->tokens += (double)(now_ms - t->filled_ms) * (double)t->per_second / 1000;
    t->filled_ms = now_ms;
    if (t->tokens > (double)t->burst)
        t->tokens = (double)t->burst;
    if (t->tokens < (double)keys)
        return false;
    t->tokens -= (double)keys;
    return true;
}

static bool slowed_down(struct fakestore *f, uint64_t keys, struct fake_answer *a)
{
    if (allowed(&f->throttle, keys))
        return false;
    f->counters.slow_down++;
    answer_error(a, 503, "SlowDown");
    return true;
}

static bool remove_key(struct fakestore *f, const char *key)
{
    return fake_small_remove(&f->small, key) || fake_keys_remove(&f->keys, key);
}

static void delete_one(struct fakestore *f, const char *key, struct fake_answer *a)
{
    f->counters.delete ++;
    if (slowed_down(f, 1, a))
        return;
    f->counters.keys_deleted += remove_key(f, key);
    a->status = 204;
    a->delay_ms = (uint32_t)f->delays.delete_ms;
}

/* The text of the next <Key>; NULL: there is none. Our keys have no character that is escaped, and
 * what has is no key of ours. */
static const char *next_key(const char *body, char key[MAX_PARAM])
{
    const char *begin = strstr(body, "<Key>");
    const char *end = begin ? strstr(begin, "</Key>") : NULL;
    if (!end)
        return NULL;
    begin += strlen("<Key>");
    size_t len = (size_t)(end - begin) < MAX_PARAM ? (size_t)(end - begin) : MAX_PARAM - 1;
    memcpy(key, begin, len);
    key[len] = '\0';
    return end;
}

static void delete_batch(struct fakestore *f, const char *body, struct fake_answer *a)
{
    char key[MAX_PARAM];
    uint64_t n = 0;
    f->counters.batch++;
    for (const char *at = body; (at = next_key(at, key));)
        n++;
    if (n == 0 || n > MAX_KEYS) {
        answer_error(a, 400, "MalformedXML");
        return;
    }
    if (slowed_down(f, n, a))
        return;
    bool quiet = strstr(body, "<Quiet>true</Quiet>");
    answer_xml(a, "<DeleteResult" XMLNS ">");
    for (const char *at = body; (at = next_key(at, key));) {
        f->counters.keys_deleted += remove_key(f, key);
        if (!quiet)
            buf_addf(&a->body, "<Deleted><Key>%s</Key></Deleted>", key);
    }
    buf_adds(&a->body, "</DeleteResult>");
    a->delay_ms = (uint32_t)f->delays.batch_ms;
}

/* ---- Objects ---- */

static bool size_of(const struct fakestore *f, const char *key, uint64_t *size)
{
    if (strncmp(key, "bytes/", 6) == 0)
        return parse_u64(key + 6, strcspn(key + 6, "/"), size);
    *size = OBJECT_BYTES;
    return fake_keys_has(&f->keys, key);
}

static void tell_object(struct fake_answer *a, const struct fake_object *o)
{
    a->etag = o ? o->etag : ETAG;
    a->modified_s = o ? o->modified_s : MODIFIED_S;
}

static void get(struct fakestore *f, const char *key, struct fake_answer *a)
{
    const struct fake_object *o = fake_small_get(&f->small, key);
    uint64_t size = 0;
    f->counters.get++;
    a->delay_ms = (uint32_t)f->delays.get_ms;
    if (!o && !size_of(f, key, &size)) {
        answer_error(a, 404, "NoSuchKey");
        return;
    }
    tell_object(a, o);
    if (o)
        buf_add(&a->body, o->data, o->len);
    a->filler = size;
}

/* Not what is made of filler or comes in parts. */
static bool is_small(void *user, const struct fake_request *r, uint64_t len)
{
    (void)user;
    return len <= FAKE_SMALL_MAX_BYTES && !strstr(r->target, "/bytes/") &&
           !strstr(r->target, "uploadId=");
}

/* Whether what is there allows it; otherwise the answer is made. */
static bool condition_holds(const struct fakestore *f, const struct fake_request *r,
                            const char *key, struct fake_answer *a)
{
    const struct fake_object *o = fake_small_get(&f->small, key);
    if (r->if_match[0] && !o)
        answer_error(a, 404, "NoSuchKey");
    else if ((r->if_absent && o) || (r->if_match[0] && strcmp(r->if_match, o->etag) != 0))
        answer_error(a, 412, "PreconditionFailed");
    return a->status == 200;
}

static void put(struct fakestore *f, const struct fake_request *r, const char *key,
                struct fake_answer *a)
{
    const struct fake_object *o = NULL;
    f->counters.put++;
    a->delay_ms = (uint32_t)f->delays.put_ms;
    if (!condition_holds(f, r, key, a))
        return;
    if (r->kept)
        o = fake_small_put(&f->small, key, r->body, r->body_len);
    else
        fake_small_remove(&f->small, key);
    tell_object(a, o);
}

static void post_object(struct fakestore *f, const char *bucket, const char *key, const char *query,
                        struct fake_answer *a)
{
    bool create = has_param(query, "uploads");
    f->counters.other++;
    if (!create && !has_param(query, "uploadId")) {
        answer_error(a, 501, "NotImplemented");
        return;
    }
    const char *root = create ? "InitiateMultipartUploadResult" : "CompleteMultipartUploadResult";
    answer_xml(a, "");
    buf_addf(&a->body, "<%s" XMLNS ">", root);
    xml_element(&a->body, "Bucket", bucket);
    xml_element(&a->body, "Key", key);
    if (create)
        xml_element(&a->body, "UploadId", UPLOAD_ID);
    else
        xml_element(&a->body, "ETag", "\"" ETAG "\"");
    buf_addf(&a->body, "</%s>", root);
}

/* ---- Buckets ---- */

static void get_bucket(struct fakestore *f, const char *bucket, const char *query,
                       struct fake_answer *a)
{
    static const char *const missing[] = {"acl",         "cors",   "encryption", "lifecycle",
                                          "object-lock", "policy", "tagging",    "website"};
    for (size_t i = 0; i < LEN(missing); i++)
        if (has_param(query, missing[i])) {
            f->counters.other++;
            answer_error(a, 404, "NoSuchConfiguration");
            return;
        }
    if (has_param(query, "location")) {
        answer_xml(a, "<LocationConstraint" XMLNS "></LocationConstraint>");
        f->counters.other++;
    } else if (has_param(query, "versioning")) {
        answer_xml(a, "<VersioningConfiguration" XMLNS "></VersioningConfiguration>");
        f->counters.other++;
    } else if (has_param(query, "uploads")) {
        answer_xml(a, "<ListMultipartUploadsResult" XMLNS "><IsTruncated>false</IsTruncated>"
                      "</ListMultipartUploadsResult>");
        a->delay_ms = (uint32_t)f->delays.list_ms;
        f->counters.uploads++;
    } else {
        list(f, bucket, query, a);
    }
}

/* ---- Besides S3 ---- */

static void define_keys(struct fakestore *f, const char *query, struct fake_answer *a)
{
    char prefix[MAX_PARAM];
    struct store_err err = {0};
    if (!param(query, "prefix", prefix))
        prefix[0] = '\0';
    if (fake_keys_define(&f->keys, prefix, number_param(query, "count", 0),
                         number_param(query, "split", 0), &err) == 0)
        return;
    a->status = 400;
    a->type = "text/plain";
    buf_addf(&a->body, "%s\n", err.msg);
}

static void tell_counters(const struct fakestore *f, struct fake_answer *a)
{
    const struct counters *c = &f->counters;
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"list", c->list},
        {"uploads", c->uploads},
        {"batch", c->batch},
        {"delete", c->delete},
        {"get", c->get},
        {"head", c->head},
        {"put", c->put},
        {"other", c->other},
        {"slow_down", c->slow_down},
        {"keys_deleted", c->keys_deleted},
        {"keys_left", fake_keys_left(&f->keys)},
    };
    a->type = "application/json";
    for (size_t i = 0; i < LEN(rows); i++)
        buf_addf(&a->body, "%s\"%s\":%" PRIu64, i ? "," : "{", rows[i].name, rows[i].value);
    buf_adds(&a->body, "}\n");
}

/* ---- Requests ---- */

static void serve_bucket(struct fakestore *f, const struct fake_request *r, const char *bucket,
                         const char *query, struct fake_answer *a)
{
    if (strcmp(r->method, "GET") == 0)
        get_bucket(f, bucket, query, a);
    else if (strcmp(r->method, "POST") == 0 && has_param(query, "delete"))
        delete_batch(f, r->body, a);
    else
        f->counters.other++; /* HEAD, and whoever makes or removes one */
}

static void serve_object(struct fakestore *f, const struct fake_request *r, const char *bucket,
                         const char *key, const char *query, struct fake_answer *a)
{
    if (strcmp(r->method, "GET") == 0) {
        get(f, key, a);
    } else if (strcmp(r->method, "HEAD") == 0) {
        get(f, key, a);
        f->counters.get--;
        f->counters.head++;
    } else if (strcmp(r->method, "PUT") == 0) {
        put(f, r, key, a);
    } else if (strcmp(r->method, "POST") == 0) {
        post_object(f, bucket, key, query, a);
    } else if (strcmp(r->method, "DELETE") == 0 && has_param(query, "uploadId")) {
        a->status = 204;
    } else if (strcmp(r->method, "DELETE") == 0) {
        delete_one(f, key, a);
    } else {
        answer_error(a, 501, "NotImplemented");
    }
}

static void serve(void *user, const struct fake_request *r, struct fake_answer *a)
{
    struct fakestore *f = user;
    char path[FAKE_MAX_TARGET];
    size_t path_len = strcspn(r->target, "?");
    const char *query = r->target[path_len] ? r->target + path_len + 1 : "";
    if (r->target[0] != '/' || !percent_decode(r->target + 1, path_len - 1, path, &path_len)) {
        answer_error(a, 400, "InvalidURI");
        return;
    }
    char *slash = strchr(path, '/');
    const char *key = slash ? slash + 1 : "";
    if (slash)
        *slash = '\0';
    if (strcmp(path, "__keys") == 0)
        define_keys(f, query, a);
    else if (strcmp(path, "__counters") == 0)
        tell_counters(f, a);
    else if (!*path)
        answer_xml(a, "<ListAllMyBucketsResult" XMLNS "><Buckets></Buckets>"
                      "</ListAllMyBucketsResult>");
    else if (*key)
        serve_object(f, r, path, key, query, a);
    else
        serve_bucket(f, r, path, query, a);
}

/* ---- The program ---- */

static const char usage[] =
    "Usage: fakestore --port N [--list-ms N] [--batch-ms N] [--delete-ms N] [--get-ms N]\n"
    "                 [--put-ms N] [--keys-per-second N [--burst N]]\n";

static uint64_t number_option(const char *text, uint64_t max)
{
    uint64_t value;
    if (!parse_u64(text, strlen(text), &value) || value > max) {
        fprintf(stderr, "fakestore: '%s': expected 0 to %" PRIu64 "\n", text, max);
        exit(2);
    }
    return value;
}

static void read_options(struct fakestore *f, uint64_t *port, int argc, char **argv)
{
    enum { MAX_MS = 60000, MAX_RATE = 1000000000 };
    const struct {
        const char *name;
        uint64_t *value, max;
    } table[] = {
        {"port", port, UINT16_MAX},
        {"list-ms", &f->delays.list_ms, MAX_MS},
        {"batch-ms", &f->delays.batch_ms, MAX_MS},
        {"delete-ms", &f->delays.delete_ms, MAX_MS},
        {"get-ms", &f->delays.get_ms, MAX_MS},
        {"put-ms", &f->delays.put_ms, MAX_MS},
        {"keys-per-second", &f->throttle.per_second, MAX_RATE},
        {"burst", &f->throttle.burst, MAX_RATE},
    };
    struct option options[LEN(table) + 1] = {{0}};
    for (size_t i = 0; i < LEN(table); i++)
        options[i] = (struct option){table[i].name, required_argument, NULL, (int)i};
    for (int i; (i = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (i < 0 || (size_t)i >= LEN(table))
            goto bad;
        *table[i].value = number_option(optarg, table[i].max);
    }
    if (*port && optind == argc)
        return;
bad:
    fputs(usage, stderr);
    exit(2);
}

static volatile sig_atomic_t stopping;

static void stop(int number)
{
    (void)number;
    stopping = 1;
}

int main(int argc, char **argv)
{
    static struct fakestore f = {.throttle.burst = DEFAULT_BURST};
    static const struct fake_handler handler = {is_small, serve, &f};
    uint64_t port = 0;
    struct loop *loop = NULL;
    struct fake_server *server = NULL;
    struct store_err err = {0};
    read_options(&f, &port, argc, argv);
    f.throttle.tokens = (double)f.throttle.burst;
    f.throttle.filled_ms = clock_mono_ms();
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    int rc = loop_new(&loop, &err);
    if (rc == 0)
        rc = fake_http_new(loop, (uint16_t)port, &handler, &server, &err);
    while (rc == 0 && !stopping)
        rc = loop_run_once(loop, 1000, &err);
    if (rc != 0)
        fprintf(stderr, "fakestore: %s\n", err.msg);
    fake_http_free(server);
    loop_free(loop);
    fake_keys_cleanup(&f.keys);
    fake_small_cleanup(&f.small);
    return rc == 0 ? 0 : 1;
}
