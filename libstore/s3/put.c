/* PUT in one request, and what all puts share: sums, conditions whose answer was lost, the end. */
#include "libstore/s3/upload.h"

#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "libstore/checksum.h"

enum {
    PUT_STALL_MS = 30000,
    GRACE_MS = 1000,
};

static struct s3_upload *upload_of(struct s3_request *r)
{
    return r->conf.user;
}

size_t s3_put_size(void)
{
    return sizeof(struct s3_upload);
}

/* ---- Ends ---- */

static void finish_failed(struct s3_upload *u, const struct store_err *err)
{
    if (u->parts.id[0])
        s3_multipart_fail(u, err);
    else
        s3_finish_at(&u->o, err, u->r.answer->date_s);
}

void s3_put_finish(struct s3_upload *u, const char *etag)
{
    s3_finish_stored(&u->o, u->r.answer, u->size, etag, u->sum);
}

/* ---- A look after a lost answer ---- */

/* Ceph 16 takes the quotes around the ETag of an If-Match for a part of it, so that no put with a
 * condition succeeds. It is found out here, once, and then asked without quotes. */
static bool misjudged(struct s3_upload *u, const struct store_err *look, const char *etag)
{
    const char *match = u->o.op->opts.put.if_match;
    return look->code == STORE_OK && match && strcmp(etag, match) == 0 &&
           !atomic_exchange(&u->o.s3->bare_match, true);
}

static void put_again(struct s3_upload *u)
{
    if (u->body && !u->parts.id[0]) {
        s3_put_single(u, u->body, u->size);
        return;
    }
    store_err_set(&u->err, STORE_BUSY, "put %.150s: the store took the condition amiss; once more",
                  u->o.op->key);
    finish_failed(u, &u->err); /* a stream is gone */
}

static void look_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct s3_upload *u = upload_of(r);
    const char *id = err->code == STORE_OK ? s3_own_meta(r->answer, S3_META_ID) : NULL;
    (void)doc;
    bool ours = id && strcmp(id, u->put_id) == 0;
    if (ours && u->parts.id[0])
        s3_multipart_joined(u, r->answer->etag);
    else if (ours || u->err.code == STORE_OK) /* in the latter case replaced meanwhile */
        s3_put_finish(u, ours ? r->answer->etag : "");
    else if (misjudged(u, err, r->answer->etag))
        put_again(u);
    else
        finish_failed(u, &u->err); /* as the store said; what the look met is beside the point */
}

void s3_put_look(struct s3_upload *u, const struct store_err *err)
{
    struct s3_request_conf conf = s3_request_defaults(&u->o, "put");
    conf.fill = s3_fill_head;
    conf.done = look_done;
    u->err = *err;
    s3_op_request(&u->o, &u->r, &conf);
}

/* ---- ETags that are MD5s ---- */

static bool is_md5(const char *etag, const unsigned char md5[S3_MD5])
{
    unsigned char told[S3_MD5];
    return hex_decode(etag, strlen(etag), told, sizeof(told)) &&
           memcmp(told, md5, sizeof(told)) == 0;
}

void s3_put_learn(struct s3 *s3, const char *etag, const unsigned char md5[S3_MD5])
{
    int unknown = S3_ETAGS_UNKNOWN;
    atomic_compare_exchange_strong(&s3->etags, &unknown,
                                   is_md5(etag, md5) ? S3_ETAGS_MD5 : S3_ETAGS_OTHER);
}

bool s3_put_check_etag(struct s3_upload *u, const char *etag, const unsigned char md5[S3_MD5],
                       struct store_err *err)
{
    struct s3 *s3 = u->o.s3;
    if (u->r.answer->encrypted_keys) { /* readers are told too, and leave such an ETag alone */
        atomic_store(&s3->etags, S3_ETAGS_OTHER);
        u->sum[0] = '\0';
        return true;
    }
    s3_put_learn(s3, etag, md5);
    if (is_md5(etag, md5) || strncmp(u->sum, "md5", 3) != 0)
        return true;
    atomic_store(&s3->etags, S3_ETAGS_UNKNOWN); /* to be learned anew */
    store_err_set(err, STORE_CORRUPT,
                  "put %.150s: the store has other bytes than were sent (ETag %.40s)", u->o.op->key,
                  etag);
    return false;
}

/* ---- The put ---- */

static int fill_put(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct s3_upload *u = upload_of(r);
    (void)err;
    d->method = "PUT";
    d->key = u->o.op->key;
    d->payload_hash = u->body ? u->sha256 : SIGV4_UNSIGNED_PAYLOAD; /* it cannot be read twice */
    s3_draft_object(d, u->o.op, u->sum[0] ? u->sum : NULL, u->put_id[0] ? u->put_id : NULL);
    s3_draft_conditions(d, &u->o);
    return 0;
}

static ssize_t on_read(struct s3_request *r, void *buf, size_t cap)
{
    struct s3_upload *u = upload_of(r);
    ssize_t n = op_read(u->o.op, buf, cap);
    if (n > 0 && u->md5 && EVP_DigestUpdate(u->md5, buf, (size_t)n) != 1)
        return STORE_READ_ABORT;
    return n;
}

static void put_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct s3_upload *u = upload_of(r);
    struct store_err problem = *err;
    (void)doc;
    if (s3_put_expired(u->o.op, r->answer))
        store_err_set(&problem, STORE_EXPIRED, "put %.150s: came after its expiry", u->o.op->key);
    if (problem.code == STORE_NOT_FOUND && u->o.op->opts.put.if_match)
        problem.code = STORE_PRECONDITION; /* there is no object that could have this ETag */
    if (problem.code == STORE_PRECONDITION && u->put_id[0]) {
        s3_put_look(u, &problem);
        return;
    }
    if (problem.code == STORE_OK && u->md5)
        u->has_md5 = EVP_DigestFinal_ex(u->md5, u->md5_sum, NULL) == 1;
    if (problem.code == STORE_OK && u->has_md5)
        s3_put_check_etag(u, r->answer->etag, u->md5_sum, &problem);
    if (problem.code == STORE_OK)
        s3_put_finish(u, r->answer->etag);
    else
        finish_failed(u, &problem);
}

/* Sums of a body in memory. The MD5 only to learn what the store's ETags are. */
static bool sum_memory(struct s3_upload *u)
{
    size_t n = (size_t)u->size;
    unsigned char md5[EVP_MAX_MD_SIZE];
    snprintf(u->sum, sizeof(u->sum), "crc32c:%08x", (unsigned)checksum_crc32c(0, u->body, n));
    if (atomic_load(&u->o.s3->etags) == S3_ETAGS_UNKNOWN) {
        if (EVP_Digest(u->body, n, md5, NULL, EVP_md5(), NULL) != 1)
            return false;
        memcpy(u->md5_sum, md5, sizeof(u->md5_sum));
        u->has_md5 = true;
    }
    return sigv4_sha256_hex(u->body, n, u->sha256) == 0;
}

static bool sum_stream(struct s3_upload *u)
{
    int etags = atomic_load(&u->o.s3->etags);
    if (etags == S3_ETAGS_OTHER)
        return true;
    if (etags == S3_ETAGS_MD5)
        strcpy(u->sum, "md5");
    u->md5 = EVP_MD_CTX_new();
    return u->md5 && EVP_DigestInit_ex(u->md5, EVP_md5(), NULL) == 1;
}

/* Sums, and the id that a condition needs. */
static int prepare(struct s3_upload *u, struct store_err *err)
{
    const struct store_op *op = u->o.op;
    const struct store_put_opts *p = &op->opts.put;
    if ((p->if_absent || p->if_match) && s3_make_put_id(u->put_id, op, err) != 0)
        return -1;
    if (u->body ? sum_memory(u) : sum_stream(u))
        return 0;
    return store_err_set(err, STORE_FAILED, "put %.150s: OpenSSL failed", op->key);
}

void s3_put_single(struct s3_upload *u, const char *body, uint64_t size)
{
    struct store_err err;
    const struct store_op *op = u->o.op;
    struct s3_request_conf conf = s3_request_defaults(&u->o, "put");
    u->body = body;
    u->size = size;
    conf.body = body;
    conf.body_size = size;
    conf.stall_timeout_ms = PUT_STALL_MS;
    conf.signed_at_s = op->opts.put.signed_at_s;
    conf.expires_in_s = op->opts.put.expires_in_s;
    conf.fill = fill_put;
    conf.read = on_read;
    conf.done = put_done;
    s3_request_cleanup(&u->r);
    s3_request_init(&u->r, u->o.s3, u->o.here, &conf);
    if (prepare(u, &err) == 0)
        s3_request_start(&u->r, 0);
    else
        finish_failed(u, &err);
}

/* ---- What the driver calls ---- */

static void put_resume(struct s3_op *o)
{
    struct s3_upload *u = (struct s3_upload *)o;
    if (u->slots)
        s3_multipart_resume(u);
    else
        s3_request_resume(&u->r);
}

static void cancel_now(void *user)
{
    struct store_err err;
    store_err_set(&err, STORE_CANCELED, "put");
    s3_multipart_fail(user, &err);
}

/* Once all of the body has gone, the store may be storing it: its answer is waited for, a moment
 * long, so that what is reported as canceled is not found stored later. */
static void put_cancel(struct s3_op *o)
{
    struct s3_upload *u = (struct s3_upload *)o;
    struct loop *l = o->op->loop;
    u->grace = (struct loop_timer){.fn = cancel_now, .user = u};
    if (o->op->why_canceled == STORE_TIMEOUT || u->parts.id[0] || !s3_request_body_gone(&u->r) ||
        loop_timer_set(l, &u->grace, GRACE_MS) != 0)
        cancel_now(u);
}

static void put_cleanup(struct s3_op *o)
{
    struct s3_upload *u = (struct s3_upload *)o;
    loop_timer_clear(o->op->loop, &u->grace);
    s3_request_cleanup(&u->r);
    s3_multipart_cleanup(u);
    EVP_MD_CTX_free(u->md5);
}

void s3_put_start(struct s3_op *o)
{
    struct s3_upload *u = (struct s3_upload *)o;
    const struct store_op *op = o->op;
    o->resume = put_resume;
    o->cancel = put_cancel;
    o->cleanup = put_cleanup;
    u->size = op->size;
    u->body = op->bytes;
    if (op->size < o->s3->multipart_bytes)
        s3_put_single(u, op->bytes, op->size);
    else
        s3_multipart_begin(u);
}
