/* What the heads of requests and answers tell of an object, and the check of its bytes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/codec.h"
#include "libstore/checksum.h"
#include "libstore/s3/s3.h"

/* ---- Answers ---- */

static void take_meta(const struct http_answer *a, struct store_info *info)
{
    const char *at = buf_str(&a->meta);
    for (size_t i = 0; i < a->n_meta; i++) {
        info->meta[i].name = at;
        at += strlen(at) + 1;
        info->meta[i].value = at;
        at += strlen(at) + 1;
    }
    info->n_meta = a->n_meta;
}

const char *s3_own_meta(const struct http_answer *a, const char *name)
{
    const char *at = buf_str(&a->meta);
    for (size_t i = 0; i < a->n_meta; i++) {
        const char *value = at + strlen(at) + 1;
        if (strcmp(at, name) == 0)
            return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

void s3_describe(const struct http_answer *a, struct store_info *info)
{
    *info = (struct store_info){
        .size = a->content_length > 0 ? (uint64_t)a->content_length : 0,
        .etag = a->etag,
        .version = a->version,
        .content_type = a->content_type,
        .checksum = "",
        .modified_s = a->last_modified_s,
        .server_time_s = a->date_s,
    };
    info->length = info->size;
    if (a->has_range)
        info->size = a->range_total;
    info->stored_size = info->size;
    take_meta(a, info);
}

/* Ceph refuses from the very second of the expiry on, and its Date may be of the second before: it
 * comes from a clock of the kernel's (time(2)) that stays some milliseconds behind the exact one.
 */
bool s3_put_expired(const struct store_op *op, const struct http_answer *a)
{
    const struct store_put_opts *p = &op->opts.put;
    return p->expires_in_s && a->status == 403 &&
           a->date_s + 1 >= p->signed_at_s + (int64_t)p->expires_in_s;
}

/* ---- Requests ---- */

int s3_fill_head(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    const struct s3_op *o = r->conf.user;
    (void)err;
    d->method = "HEAD";
    d->key = o->op->key;
    return 0;
}

int s3_make_put_id(char id[S3_PUT_ID_SIZE], const struct store_op *op, struct store_err *err)
{
    unsigned char bytes[(S3_PUT_ID_SIZE - 1) / 2];
    ssize_t n;
    /* All of so few bytes, or none (getrandom(2)). */
    do {
        n = getrandom(bytes, sizeof(bytes), 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(bytes)) {
        store_err_errno(err, errno, "put %.150s: no random bytes", op->key);
        return -1;
    }
    hex_encode(bytes, sizeof(bytes), id);
    return 0;
}

static void add_meta(struct s3_draft *d, const char *name, const char *value)
{
    s3_draft_header(d, s3_draft_text(d, S3_META "%s", name), value);
}

void s3_draft_conditions(struct s3_draft *d, const struct s3_op *o)
{
    const struct store_put_opts *p = &o->op->opts.put;
    bool bare = atomic_load(&o->s3->bare_match);
    if (p->if_absent)
        s3_draft_header(d, "If-None-Match", "*");
    if (p->if_match)
        s3_draft_header(d, "If-Match", s3_draft_text(d, bare ? "%s" : "\"%s\"", p->if_match));
}

void s3_draft_object(struct s3_draft *d, const struct store_op *op, const char *sum, const char *id)
{
    const struct store_put_opts *p = &op->opts.put;
    s3_draft_header(d, "Content-Type",
                    p->content_type ? p->content_type : "application/octet-stream");
    for (size_t i = 0; i < p->n_meta; i++)
        add_meta(d, p->meta[i].name, p->meta[i].value);
    if (sum)
        add_meta(d, S3_META_SUM, sum);
    if (id)
        add_meta(d, S3_META_ID, id);
}

/* ---- Checking a whole get ---- */

static bool take_sum(struct s3_check *c, const char *sum)
{
    unsigned char crc[4];
    size_t n = strlen(sum);
    if (n == 15 && strncmp(sum, "crc32c:", 7) == 0 && hex_decode(sum + 7, 8, crc, 4)) {
        c->kind = S3_CHECK_CRC32C;
        c->crc_wanted =
            (uint32_t)crc[0] << 24 | (uint32_t)crc[1] << 16 | (uint32_t)crc[2] << 8 | crc[3];
        return true;
    }
    if (strcmp(sum, "md5") == 0)
        c->kind = S3_CHECK_MD5;
    else if (strncmp(sum, "md5:", 4) == 0 && parse_u64(sum + 4, n - 4, &c->part_bytes) &&
             c->part_bytes > 0)
        c->kind = S3_CHECK_PARTS;
    return c->kind != S3_CHECK_NONE;
}

static EVP_MD_CTX *md5_new(void)
{
    EVP_MD_CTX *md5 = EVP_MD_CTX_new();
    if (md5 && EVP_DigestInit_ex(md5, EVP_md5(), NULL) == 1)
        return md5;
    EVP_MD_CTX_free(md5);
    return NULL;
}

/* Whether the ETag can be what the sum says. It cannot when the object was encrypted with a key of
 * its own, or copied by another program, which takes the sum along but may cut other parts. */
static bool has_md5_etag(const struct s3_check *c, const struct http_answer *a)
{
    unsigned char md5[S3_MD5];
    size_t len = strcspn(a->etag, "-");
    return !a->encrypted_keys && hex_decode(a->etag, len, md5, sizeof(md5)) &&
           (a->etag[len] == '-') == (c->kind == S3_CHECK_PARTS);
}

void s3_check_init(struct s3_check *c, const struct http_answer *a)
{
    const char *sum = s3_own_meta(a, S3_META_SUM);
    s3_check_cleanup(c);
    *c = (struct s3_check){.kind = S3_CHECK_NONE};
    if (!sum || strlen(sum) >= sizeof(c->text) || !take_sum(c, sum))
        return;
    if (c->kind != S3_CHECK_CRC32C && !has_md5_etag(c, a)) {
        c->kind = S3_CHECK_NONE;
        return;
    }
    text_copy(c->text, sizeof(c->text), sum);
}

static bool end_part(struct s3_check *c)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    c->in_part = 0;
    c->n_parts++;
    return EVP_DigestFinal_ex(c->md5, sum, &n) == 1 &&
           EVP_DigestUpdate(c->md5_of_parts, sum, n) == 1 &&
           EVP_DigestInit_ex(c->md5, EVP_md5(), NULL) == 1;
}

static bool add_to_parts(struct s3_check *c, const char *bytes, size_t n)
{
    while (n > 0) {
        uint64_t left = c->part_bytes - c->in_part;
        size_t piece = n < left ? n : (size_t)left;
        if (EVP_DigestUpdate(c->md5, bytes, piece) != 1)
            return false;
        c->in_part += piece;
        bytes += piece;
        n -= piece;
        if (c->in_part == c->part_bytes && !end_part(c))
            return false;
    }
    return true;
}

static bool has_digests(struct s3_check *c)
{
    if (!c->md5)
        c->md5 = md5_new();
    if (c->kind == S3_CHECK_PARTS && !c->md5_of_parts)
        c->md5_of_parts = md5_new();
    return c->md5 && (c->kind == S3_CHECK_MD5 || c->md5_of_parts);
}

bool s3_check_add(struct s3_check *c, const void *bytes, size_t n)
{
    switch (c->kind) {
    case S3_CHECK_NONE: return true;
    case S3_CHECK_CRC32C: c->crc = checksum_crc32c(c->crc, bytes, n); return true;
    case S3_CHECK_MD5: return has_digests(c) && EVP_DigestUpdate(c->md5, bytes, n) == 1;
    case S3_CHECK_PARTS: return has_digests(c) && add_to_parts(c, bytes, n);
    }
    return false;
}

bool s3_check_ok(struct s3_check *c, const char *etag)
{
    unsigned char sum[EVP_MAX_MD_SIZE], wanted[S3_MD5];
    uint64_t parts = 0;
    size_t len = strcspn(etag, "-");
    if (c->kind == S3_CHECK_NONE)
        return true;
    if (c->kind == S3_CHECK_CRC32C)
        return c->crc == c->crc_wanted;
    if (!hex_decode(etag, len, wanted, sizeof(wanted)) || !has_digests(c))
        return false;
    if (c->kind == S3_CHECK_MD5)
        return !etag[len] && EVP_DigestFinal_ex(c->md5, sum, NULL) == 1 &&
               memcmp(sum, wanted, sizeof(wanted)) == 0;
    return (c->in_part == 0 || end_part(c)) && etag[len] == '-' &&
           parse_u64(etag + len + 1, strlen(etag + len + 1), &parts) && parts == c->n_parts &&
           EVP_DigestFinal_ex(c->md5_of_parts, sum, NULL) == 1 &&
           memcmp(sum, wanted, sizeof(wanted)) == 0;
}

void s3_check_cleanup(struct s3_check *c)
{
    EVP_MD_CTX_free(c->md5);
    EVP_MD_CTX_free(c->md5_of_parts);
    c->md5 = c->md5_of_parts = NULL;
}
