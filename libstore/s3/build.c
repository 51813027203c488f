/* An operation's next request: method, URL, headers, body, signed. */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/s3/s3.h"

enum { MAX_QUERY = 8, MAX_HEADERS = 8 + STORE_MAX_META };
static const uint32_t LIST_STALL_MS = 30000, BATCH_STALL_MS = 60000, PUT_STALL_MS = 30000;

/* Texts that must be made. Apart from the draft, for nobody has to zero these kilobytes. */
struct texts {
    char range[64], max[16], md5[32], since[CLOCK_TEXT], hash[65];
    char etag[STORE_ETAG_SIZE + 2], none[STORE_ETAG_SIZE + 2];
    char list_prefix[STORE_MAX_KEY + 260], after[STORE_MAX_KEY + 260];
    char meta_names[STORE_MAX_META][STORE_MAX_META_BYTES / 8];
};

/* A request being put together. */
struct draft {
    struct s3_op *o;
    const char *method;
    const char *key; /* NULL: the bucket itself */
    struct sigv4_pair query[MAX_QUERY];
    size_t n_query;
    struct sigv4_pair headers[MAX_HEADERS];
    size_t n_headers;
    const char *payload_hash;
    struct texts *text;
};

static void add_query(struct draft *d, const char *name, const char *value)
{
    d->query[d->n_query++] = (struct sigv4_pair){name, value};
}

static void add_header(struct draft *d, const char *name, const char *value)
{
    d->headers[d->n_headers++] = (struct sigv4_pair){name, value};
}

static void quote(const char *etag, char *out, size_t cap)
{
    snprintf(out, cap, "\"%.*s\"", STORE_ETAG_SIZE - 1, etag);
}

static void draft_get(struct draft *d)
{
    struct s3_op *o = d->o;
    const struct store_get_opts *g = &o->op->opts.get;
    d->method = "GET";
    uint64_t first = g->offset + o->delivered;
    d->text->range[0] = '\0';
    if (o->delivered) /* a second try goes on where the first broke off */
        snprintf(d->text->range, sizeof(d->text->range), "bytes=%llu-%llu",
                 (unsigned long long)first, (unsigned long long)(g->offset + o->expected - 1));
    else if (g->length)
        snprintf(d->text->range, sizeof(d->text->range), "bytes=%llu-%llu",
                 (unsigned long long)first, (unsigned long long)(first + g->length - 1));
    else if (first)
        snprintf(d->text->range, sizeof(d->text->range), "bytes=%llu-", (unsigned long long)first);
    if (d->text->range[0])
        add_header(d, "Range", d->text->range);
    if (o->delivered || g->if_match) {
        quote(o->delivered ? o->etag : g->if_match, d->text->etag, sizeof(d->text->etag));
        add_header(d, "If-Match", d->text->etag);
    }
    if (g->if_none_match && !o->delivered) {
        quote(g->if_none_match, d->text->none, sizeof(d->text->none));
        add_header(d, "If-None-Match", d->text->none);
    }
    if (g->if_modified_since_s && !o->delivered) {
        clock_http_date(g->if_modified_since_s, d->text->since);
        add_header(d, "If-Modified-Since", d->text->since);
    }
}

static int draft_put(struct draft *d, struct store_err *err)
{
    struct s3_op *o = d->o;
    const struct store_put_opts *p = &o->op->opts.put;
    d->method = "PUT";
    add_header(d, "Content-Type", p->content_type ? p->content_type : "application/octet-stream");
    if (p->if_absent)
        add_header(d, "If-None-Match", "*");
    if (p->if_match) {
        quote(p->if_match, d->text->etag, sizeof(d->text->etag));
        add_header(d, "If-Match", d->text->etag);
    }
    for (size_t i = 0; i < p->n_meta; i++) {
        int n = snprintf(d->text->meta_names[i], sizeof(d->text->meta_names[i]), "x-amz-meta-%s",
                         p->meta[i].name);
        if ((size_t)n >= sizeof(d->text->meta_names[i]))
            return store_err_set(err, STORE_INVALID, "put %.100s: metadata name is too long",
                                 o->op->key);
        add_header(d, d->text->meta_names[i], p->meta[i].value);
    }
    o->call.body_size = o->op->size;
    if (!o->op->bytes)
        d->payload_hash = SIGV4_UNSIGNED_PAYLOAD; /* it cannot be read twice */
    else if (sigv4_sha256_hex(o->op->bytes, o->op->size, d->text->hash) == 0)
        d->payload_hash = d->text->hash;
    else
        return store_err_set(err, STORE_FAILED, "put %.150s: OpenSSL failed", o->op->key);
    return 0;
}

static void draft_list(struct draft *d)
{
    const struct store_op *op = d->o->op;
    const struct store_list_opts *l = &op->opts.list;
    d->method = "GET";
    d->key = NULL;
    snprintf(d->text->list_prefix, sizeof(d->text->list_prefix), "%s%s", d->o->s3->prefix, op->key);
    snprintf(d->text->max, sizeof(d->text->max), "%u", l->max);
    add_query(d, "list-type", "2");
    add_query(d, "encoding-type", "url");
    add_query(d, "max-keys", d->text->max);
    add_query(d, "prefix", d->text->list_prefix);
    if (l->delimiter)
        add_query(d, "delimiter", "/");
    if (l->token) {
        add_query(d, "continuation-token", l->token);
    } else if (l->start_after) {
        snprintf(d->text->after, sizeof(d->text->after), "%s%.*s", d->o->s3->prefix, STORE_MAX_KEY,
                 l->start_after);
        add_query(d, "start-after", d->text->after);
    }
}

/* The body and its MD5, which S3 wants here in any case (RFC 1864). */
static int draft_batch(struct draft *d, struct store_err *err)
{
    struct s3_op *o = d->o;
    unsigned char md5[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    d->method = "POST";
    d->key = NULL;
    add_query(d, "delete", "");
    buf_reset(&o->body);
    xml_delete_request(&o->body, o->s3->prefix, o->pending, o->n_pending);
    if (buf_failed(&o->body))
        return store_err_set(err, STORE_NO_MEMORY, "delete: out of memory");
    if (!EVP_Digest(o->body.data, o->body.len, md5, &n, EVP_md5(), NULL) ||
        sigv4_sha256_hex(o->body.data, o->body.len, d->text->hash) != 0)
        return store_err_set(err, STORE_FAILED, "delete: OpenSSL failed");
    base64_encode(md5, n, d->text->md5);
    add_header(d, "Content-MD5", d->text->md5);
    add_header(d, "Content-Type", "application/xml");
    o->call.body_size = o->body.len;
    d->payload_hash = d->text->hash;
    return 0;
}

static int draft_fill(struct draft *d, struct store_err *err)
{
    struct s3_op *o = d->o;
    o->call.body_size = 0;
    o->call.stall_timeout_ms = o->s3->stall_timeout_ms;
    switch (o->op->kind) {
    case OP_GET: draft_get(d); return 0;
    case OP_HEAD: d->method = "HEAD"; return 0;
    case OP_PUT: o->call.stall_timeout_ms = PUT_STALL_MS; return draft_put(d, err);
    case OP_LIST:
        o->call.stall_timeout_ms = LIST_STALL_MS;
        draft_list(d);
        return 0;
    case OP_DELETE: d->method = "DELETE"; return 0;
    case OP_DELETE_MANY:
        o->call.stall_timeout_ms = BATCH_STALL_MS;
        if (!o->single)
            return draft_batch(d, err);
        d->method = "DELETE";
        d->key = o->pending[0];
        return 0;
    case OP_DELETE_PREFIX: break;
    }
    return store_err_set(err, STORE_FAILED, "S3: operation %d is not a driver's", o->op->kind);
}

static void write_headers(const struct draft *d, struct buf *out)
{
    for (size_t i = 0; i < d->n_headers; i++)
        if (strcmp(d->headers[i].name, "Host") != 0)
            buf_addf(out, "%s: %s\n", d->headers[i].name, d->headers[i].value);
}

static int sign(struct draft *d, const char *path, struct buf *query, struct store_err *err)
{
    struct s3_op *o = d->o;
    const struct store_put_opts *put = o->op->kind == OP_PUT ? &o->op->opts.put : NULL;
    struct sigv4_request r = {
        .method = d->method,
        .path = path,
        .query = d->query,
        .n_query = d->n_query,
        .headers = d->headers,
        .n_headers = d->n_headers,
        .payload_hash = d->payload_hash,
        .add_content_sha256 = true,
        .time_s = clock_real_s() + atomic_load(&o->s3->clock_offset_s),
    };
    if (!put || !put->expires_in_s)
        return sigv4_sign(o->here->signer, &r, &o->headers, query, NULL, NULL, err);
    r.time_s = put->signed_at_s;
    r.payload_hash = SIGV4_UNSIGNED_PAYLOAD;
    return sigv4_presign(o->here->signer, &r, put->expires_in_s, query, NULL, NULL, err);
}

int s3_build(struct s3_op *o, struct store_err *err)
{
    static const char empty_hash[] =
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    struct texts text;
    struct draft d = {.o = o, .key = o->op->key, .payload_hash = empty_hash, .text = &text};
    struct buf query = BUF_INIT(65536);
    if (draft_fill(&d, err) != 0)
        return -1;
    add_header(&d, "Host", o->s3->host);
    buf_reset(&o->headers);
    write_headers(&d, &o->headers);
    buf_reset(&o->target);
    buf_adds(&o->target, o->s3->path_prefix);
    buf_addc(&o->target, '/');
    if (d.key) {
        percent_encode(&o->target, o->s3->prefix, strlen(o->s3->prefix), true);
        percent_encode(&o->target, d.key, strlen(d.key), true);
    }
    int rc = buf_failed(&o->target) ? store_err_set(err, STORE_NO_MEMORY, "S3: out of memory")
                                    : sign(&d, o->target.data, &query, err);
    if (rc == 0 && query.len) {
        buf_addc(&o->target, '?');
        buf_add(&o->target, query.data, query.len);
    }
    if (rc == 0 && (buf_failed(&o->target) || buf_failed(&o->headers) || buf_failed(&query)))
        rc = store_err_set(err, STORE_NO_MEMORY, "S3: out of memory");
    buf_cleanup(&query);
    o->call.method = d.method;
    o->call.target = buf_str(&o->target);
    o->call.headers = buf_str(&o->headers);
    return rc;
}
