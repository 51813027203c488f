/* put.c - PUT: takes the body from the caller, piece by piece, or from memory. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/file/file.h"

static const char default_type[] = "application/octet-stream";

/* ---- On the I/O threads ---- */

static int start_hash(struct file_job *j)
{
    EVP_MD_CTX *hash = j->draft.hash = EVP_MD_CTX_new();
    if (hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1)
        return 0;
    return store_err_set(&j->err, STORE_NO_MEMORY, "put '%.150s': cannot start the hash",
                         j->op->key);
}

/* What the body gave. */
static int end_sums(struct file_job *j)
{
    struct file_draft *d = &j->draft;
    unsigned char sum[EVP_MAX_MD_SIZE];
    if (EVP_DigestFinal_ex(d->hash, sum, NULL) != 1)
        return store_err_set(&j->err, STORE_FAILED, "put '%.150s': the hash failed", j->op->key);
    hex_encode(sum, 16, d->etag);
    file_checksum_text(d->crc, d->checksum);
    return 0;
}

static void commit(struct file_job *j)
{
    const struct store_put_opts *o = &j->op->opts.put;
    struct file_draft *d = &j->draft;
    struct file_record *r = &j->u.put.record;
    if (end_sums(j) < 0)
        return;
    r->size = d->size;
    r->etag = d->etag;
    r->checksum = d->checksum;
    r->content_type = o->content_type ? o->content_type : default_type;
    r->n_meta = o->n_meta;
    for (size_t i = 0; i < o->n_meta; i++)
        r->meta[i] = o->meta[i];
    r->stored = true;
    file_draft_commit(j, r);
}

static int take_bytes(struct file_job *j, const char *bytes, size_t n)
{
    struct file_put *p = &j->u.put;
    if (p->left != STORE_SIZE_UNKNOWN)
        p->left -= n;
    return file_draft_write(j, bytes, n);
}

/* A body in memory, in pieces so that a cancel is seen. */
static int take_memory(struct file_job *j)
{
    struct file_put *p = &j->u.put;
    for (const char *at = j->op->bytes; p->left > 0;) {
        size_t n = p->left < FILE_CHUNK ? (size_t)p->left : FILE_CHUNK;
        if (take_bytes(j, at, n) < 0)
            return -1;
        at += n;
    }
    return 0;
}

/* Spares the body of a put that cannot succeed. The commit decides. */
static int check_early(struct file_job *j)
{
    char path[FILE_PATH_MAX];
    size_t dir_len;
    const struct store_put_opts *o = &j->op->opts.put;
    if (!o->if_absent || file_path_of_key(j->op->key, path, &dir_len) < 0)
        return 0;
    int fd = file_open(j->fs, path, O_PATH);
    if (fd < 0)
        return 0;
    close(fd);
    return store_err_set(&j->err, STORE_PRECONDITION, "put '%.150s': the object exists",
                         j->op->key);
}

/* The same for metadata that could not be kept. */
static int check_meta(struct file_job *j)
{
    if (!j->op->opts.put.n_meta || fsetxattr(j->fd, FILE_XATTR_NAME, "", 0, 0) == 0 ||
        errno != ENOTSUP)
        return 0;
    return store_err_set(&j->err, STORE_INVALID,
                         "put '%.100s': metadata needs a file system with extended attributes",
                         j->op->key);
}

/* Ends a step: with the body complete the object is committed. */
static void after_bytes(struct file_job *j, int rc)
{
    if (rc == 0 && j->u.put.left == 0)
        commit(j);
    if (rc < 0 || j->u.put.left == 0)
        file_release(j);
    if (!j->info.server_time_s)
        j->info.server_time_s = clock_real_s();
}

static void run_begin(struct file_job *j)
{
    struct file_put *p = &j->u.put;
    int rc = file_canceled(j) ? -1 : check_early(j);
    if (rc == 0)
        rc = start_hash(j);
    if (rc == 0)
        rc = file_draft_begin(j);
    if (rc == 0)
        rc = check_meta(j);
    if (rc == 0 && j->op->bytes) {
        rc = take_memory(j);
    } else if (rc == 0 && p->left > 0) {
        p->chunk = malloc(p->left < FILE_CHUNK ? (size_t)p->left : FILE_CHUNK);
        if (!p->chunk)
            rc = store_err_set(&j->err, STORE_NO_MEMORY, "out of memory");
    }
    after_bytes(j, rc);
}

static void run_write(struct file_job *j)
{
    struct file_put *p = &j->u.put;
    int rc = take_bytes(j, p->chunk, p->have);
    p->have = 0;
    after_bytes(j, rc);
}

/* ---- On the loop ---- */

/* Fills the chunk, further where a pause left it half full, so that slow callers do not cause tiny
 * writes. Returns what op_read() returned last: more than 0 when it is full. */
static ssize_t read_chunk(struct file_job *j)
{
    struct file_put *p = &j->u.put;
    size_t want = p->left < FILE_CHUNK ? (size_t)p->left : FILE_CHUNK;
    ssize_t n = 1;
    while (n > 0 && p->have < want) {
        n = op_read(j->op, p->chunk + p->have, want - p->have);
        if (n > 0 && (size_t)n > want - p->have)
            return STORE_READ_ABORT; /* more than it was asked for */
        if (n > 0)
            p->have += (size_t)n;
    }
    return n;
}

/* Fills the chunk and gives it to an I/O thread. */
static void fill(struct file_job *j)
{
    struct file_put *p = &j->u.put;
    if (j->err.code != STORE_OK || p->left == 0) {
        file_end(j);
        return;
    }
    ssize_t n = read_chunk(j);
    if (n == STORE_READ_PAUSE) {
        j->turn = FILE_TURN_CALLER;
        return;
    }
    if (n < 0) {
        if (!file_canceled(j)) /* which is what op_read() may have seen */
            store_err_set(&j->err, STORE_CANCELED, "put '%.150s': given up by the caller",
                          j->op->key);
        file_end(j);
        return;
    }
    if (n == 0) /* the end of a body of unknown size; of others op_read() says "given up" */
        p->left = p->have;
    file_submit(j, run_write, fill);
}

/* Computes the last moment at which the object may appear. False: it came too late. */
static bool set_expiry(struct file_job *j)
{
    const struct store_put_opts *o = &j->op->opts.put;
    uint64_t now_ms = clock_mono_ms();
    uint64_t timeout_ms = o->timeout_ms;
    int64_t end_ms;
    if (!o->expires_in_s)
        return true;
    if (!timeout_ms && j->op->deadline_ms > now_ms)
        timeout_ms = j->op->deadline_ms - now_ms;
    if (__builtin_add_overflow(o->signed_at_s, (int64_t)o->expires_in_s, &end_ms) ||
        __builtin_mul_overflow(end_ms, (int64_t)1000, &end_ms) ||
        __builtin_add_overflow(end_ms, (int64_t)timeout_ms, &j->draft.latest_ms))
        return false;
    return (int64_t)clock_real_ms() <= end_ms;
}

static size_t meta_bytes(const struct store_put_opts *o)
{
    size_t sum = 0;
    for (size_t i = 0; i < o->n_meta; i++)
        sum += strlen(o->meta[i].name) + strlen(o->meta[i].value);
    return sum;
}

void file_put_start(struct file_job *j)
{
    const struct store_put_opts *o = &j->op->opts.put;
    j->u.put.left = j->op->size;
    j->draft.if_absent = o->if_absent;
    j->draft.if_match = o->if_match;
    if (o->n_meta > FILE_MAX_META || meta_bytes(o) > FILE_MAX_META_BYTES) {
        store_err_set(&j->err, STORE_INVALID, "put '%.150s': too much metadata", j->op->key);
    } else if (o->content_type && strlen(o->content_type) > FILE_MAX_TYPE) {
        store_err_set(&j->err, STORE_INVALID, "put '%.150s': the content type is too long",
                      j->op->key);
    } else if (!set_expiry(j)) {
        j->info.server_time_s = clock_real_s();
        store_err_set(&j->err, STORE_EXPIRED, "put '%.150s': came after its expiry", j->op->key);
    } else {
        file_submit(j, run_begin, fill);
        return;
    }
    file_end(j);
}

void file_put_resume(struct file_job *j)
{
    fill(j);
}

void file_put_cleanup(struct file_job *j)
{
    free(j->u.put.chunk);
}
