/* put.c - PUT: the body goes into a temporary file, which is synced and then renamed into place.
 *
 * Uploads that expire are the folder's answer to presigned requests, and deletions rely on them:
 * after a moment that can be told from signed_at_s alone, no such put may appear any more. A put
 * that looked at the clock and was then stopped (by the scheduler, by a slow disk) before its
 * rename would break that. So the look and the rename happen under the commit lock, shared; and
 * each listing takes that lock exclusively once, before it begins. When it has got it, every put
 * that had passed its look has also renamed, and the listing sees the result; every later put
 * looks at a clock that is not earlier than the listing's server_time_s. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/file/file.h"

enum {
    PLACE_TRIES = 100, /* each needs a delete that removes our folder in between; half a second */
    NAME_TRIES = 10,
    MAX_CONTENT_TYPE = 255,
};

/* ---- On the I/O threads: the temporary file ---- */

static int make_tmp(struct file_job *j)
{
    struct file_put *p = &j->u.put;
    for (int i = 0; i < NAME_TRIES; i++) {
        char name[sizeof(p->tmp)];
        snprintf(name, sizeof(name), "%ld-%" PRIx64 "-%" PRIx64, (long)getpid(), clock_real_ms(),
                 (uint64_t)atomic_fetch_add(&j->fs->tmp_serial, 1));
        j->fd = openat(j->fs->tmp_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                       FILE_OBJECT_MODE);
        if (j->fd >= 0) {
            memcpy(p->tmp, name, sizeof(name));
            return 0;
        }
        if (errno != EEXIST)
            break;
    }
    return store_err_errno(&j->err, errno, "put '%.150s': cannot create a temporary file",
                           j->op->key);
}

static int start_hash(struct file_job *j)
{
    EVP_MD_CTX *hash = j->u.put.hash = EVP_MD_CTX_new();
    if (hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1)
        return 0;
    return store_err_set(&j->err, STORE_NO_MEMORY, "put '%.150s': cannot start the hash",
                         j->op->key);
}

static int write_all(struct file_job *j, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(j->fd, bytes, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return store_err_errno(&j->err, errno, "put '%.150s': cannot write", j->op->key);
        bytes += done;
        n -= (size_t)done;
    }
    return 0;
}

static int take_bytes(struct file_job *j, const char *bytes, size_t n)
{
    struct file_put *p = &j->u.put;
    if (file_canceled(j))
        return -1;
    if (EVP_DigestUpdate(p->hash, bytes, n) != 1)
        return store_err_set(&j->err, STORE_FAILED, "put '%.150s': the hash failed", j->op->key);
    p->left -= n;
    return write_all(j, bytes, n);
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

static int describe(struct file_job *j)
{
    struct file_put *p = &j->u.put;
    struct file_record derived;
    struct stat st;
    unsigned char sum[EVP_MAX_MD_SIZE];
    if (EVP_DigestFinal_ex(p->hash, sum, NULL) != 1)
        return store_err_set(&j->err, STORE_FAILED, "put '%.150s': the hash failed", j->op->key);
    hex_encode(sum, 16, p->etag);
    if (fstat(j->fd, &st) < 0)
        return store_err_errno(&j->err, errno, "put '%.150s': fstat", j->op->key);
    if (j->fs->has_xattrs && file_record_write(j->fd, j->op, p->etag, &j->err) < 0)
        return -1;
    if (!j->fs->has_xattrs) {
        if (file_record_read(j->fd, &st, &derived, &j->err) < 0)
            return -1;
        snprintf(p->etag, sizeof(p->etag), "%s", derived.etag);
    }
    j->info.size = (uint64_t)st.st_size;
    j->info.modified_s = st.st_mtim.tv_sec;
    j->info.etag = p->etag;
    return 0;
}

/* Everything is on the disk, only the name is missing. */
static int seal(struct file_job *j)
{
    if (describe(j) < 0)
        return -1;
    int rc = fsync(j->fd);
    int e = errno;
    if (close(j->fd) < 0 && rc == 0) { /* network file systems report lost writes here */
        rc = -1;
        e = errno;
    }
    j->fd = -1;
    return rc == 0 ? 0 : store_err_errno(&j->err, e, "put '%.150s': cannot sync", j->op->key);
}

/* ---- On the I/O threads: the name ---- */

static int check_etag(struct file_job *j, const char *path)
{
    struct file_record r;
    struct stat st;
    int rc = 0;
    int fd = file_open(j->fs, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return store_err_set(&j->err, STORE_PRECONDITION, "put '%.150s': there is no object",
                             j->op->key);
    if (fd < 0 || fstat(fd, &st) < 0)
        rc = store_err_errno(&j->err, errno, "put '%.150s': cannot compare", j->op->key);
    else if (file_record_read(fd, &st, &r, &j->err) < 0)
        rc = -1;
    else if (strcmp(r.etag, j->op->opts.put.if_match) != 0)
        rc = store_err_set(&j->err, STORE_PRECONDITION, "put '%.150s': the ETag is another",
                           j->op->key);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int fail_expired(struct file_job *j)
{
    return store_err_set(&j->err, STORE_EXPIRED, "put '%.150s': came after its expiry", j->op->key);
}

/* With the lock held: the last moment to say no. */
static int check_all(struct file_job *j, const char *path)
{
    if (file_canceled(j))
        return -1;
    if (j->op->opts.put.if_match && check_etag(j, path) < 0)
        return -1;
    if (j->u.put.latest_ms && (int64_t)clock_real_ms() > j->u.put.latest_ms)
        return fail_expired(j);
    return 0;
}

/* Returns 0, or -1 with errno set. */
static int give_name(struct file_job *j, int dir, const char *name)
{
    struct file_put *p = &j->u.put;
    if (j->op->opts.put.if_absent) /* the temporary name goes with file_release() */
        return linkat(j->fs->tmp_fd, p->tmp, dir, name, 0);
    if (renameat(j->fs->tmp_fd, p->tmp, dir, name) < 0)
        return -1;
    p->tmp[0] = '\0';
    return 0;
}

enum placed { PLACED, NOT_PLACED, PLACE_AGAIN };

static enum placed place_in(struct file_job *j, int dir, const char *path, const char *name)
{
    const struct store_put_opts *o = &j->op->opts.put;
    int lock = file_lock(j, o->if_match ? LOCK_EX : LOCK_SH);
    if (lock < 0)
        return NOT_PLACED;
    int rc = check_all(j, path);
    int e = 0;
    if (rc == 0 && give_name(j, dir, name) < 0)
        e = errno;
    file_unlock(lock);
    if (rc < 0)
        return NOT_PLACED;
    if (e == 0)
        return PLACED;
    if (e == ENOENT) /* a delete took the empty folder away */
        return PLACE_AGAIN;
    if (e == EEXIST && o->if_absent)
        store_err_set(&j->err, STORE_PRECONDITION, "put '%.150s': the object exists", j->op->key);
    else
        store_err_errno(&j->err, e, "put '%.150s': cannot rename", j->op->key);
    return NOT_PLACED;
}

/* One try: the folder is opened or made, and the object named in it. */
static enum placed place_once(struct file_job *j, const char *path, size_t dir_len)
{
    int dir = file_make_dir(j->fs, path, dir_len);
    if (dir < 0 && errno == ENOENT)
        return PLACE_AGAIN;
    if (dir < 0) {
        store_err_errno(&j->err, errno, "put '%.150s': cannot make its folder", j->op->key);
        return NOT_PLACED;
    }
    enum placed placed = place_in(j, dir, path, dir_len ? path + dir_len + 1 : path);
    if (placed == PLACED && file_sync_dir(dir) < 0) {
        store_err_errno(&j->err, errno, "put '%.150s': cannot sync its folder", j->op->key);
        placed = NOT_PLACED;
    }
    close(dir);
    return placed;
}

static int place(struct file_job *j)
{
    char path[FILE_PATH_MAX];
    size_t dir_len;
    long wait_us = 0;
    if (file_path_of_key(j->op->key, path, &dir_len) < 0)
        return store_err_set(&j->err, STORE_INVALID, "put '%.150s': not a key", j->op->key);
    for (int i = 0; i < PLACE_TRIES; i++) {
        enum placed placed = place_once(j, path, dir_len);
        if (placed != PLACE_AGAIN)
            return placed == PLACED ? 0 : -1;
        /* A folder that is being removed can still be opened for a moment, though nothing can be
         * made in it any more. Without a pause all tries may fall into that moment. */
        if (file_wait(j, &wait_us) < 0)
            return -1;
    }
    return store_err_set(&j->err, STORE_BUSY, "put '%.150s': its folder keeps being removed",
                         j->op->key);
}

static void commit(struct file_job *j)
{
    if (seal(j) == 0)
        place(j);
    /* Later than the rename: who waits for something to pass counted from this time waits long
     * enough. */
    j->info.server_time_s = clock_real_s();
}

/* ---- On the I/O threads: the steps ---- */

/* Spares the body of a put that cannot succeed. The commit decides. */
static int check_early(struct file_job *j)
{
    char path[FILE_PATH_MAX];
    size_t dir_len;
    const struct store_put_opts *o = &j->op->opts.put;
    if (j->fs->tmp_fd < 0)
        return store_err_set(&j->err, STORE_DENIED, "put '%.100s': %.100s is read-only", j->op->key,
                             j->fs->root);
    if (o->n_meta && !j->fs->has_xattrs)
        return store_err_set(&j->err, STORE_INVALID,
                             "put '%.100s': metadata needs a file system with extended attributes",
                             j->op->key);
    if (!o->if_absent || file_path_of_key(j->op->key, path, &dir_len) < 0)
        return 0;
    int fd = file_open(j->fs, path, O_PATH);
    if (fd < 0)
        return 0;
    close(fd);
    return store_err_set(&j->err, STORE_PRECONDITION, "put '%.150s': the object exists",
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
        rc = make_tmp(j);
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

/* Fills the chunk and gives it to an I/O thread. A chunk that a pause left half full is filled
 * further, so that slow callers do not cause tiny writes. */
static void fill(struct file_job *j)
{
    struct file_put *p = &j->u.put;
    if (j->err.code != STORE_OK || p->left == 0) {
        file_end(j);
        return;
    }
    size_t want = p->left < FILE_CHUNK ? (size_t)p->left : FILE_CHUNK;
    while (p->have < want) {
        ssize_t n = file_canceled(j) ? STORE_READ_ABORT
                                     : op_read(j->op, p->chunk + p->have, want - p->have);
        if (n == STORE_READ_PAUSE) {
            j->turn = FILE_TURN_CALLER;
            return;
        }
        if (n <= 0 || (size_t)n > want - p->have) {
            store_err_set(&j->err, STORE_CANCELED, "put '%.150s': given up by the caller",
                          j->op->key);
            file_end(j);
            return;
        }
        p->have += (size_t)n;
    }
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
        __builtin_add_overflow(end_ms, (int64_t)timeout_ms, &j->u.put.latest_ms))
        return false;
    return (int64_t)clock_real_ms() <= end_ms;
}

void file_put_start(struct file_job *j)
{
    const struct store_put_opts *o = &j->op->opts.put;
    j->u.put.left = j->op->size;
    if (o->content_type && strlen(o->content_type) > MAX_CONTENT_TYPE) {
        store_err_set(&j->err, STORE_INVALID, "put '%.150s': the content type is too long",
                      j->op->key);
    } else if (!set_expiry(j)) {
        j->info.server_time_s = clock_real_s();
        fail_expired(j);
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
    EVP_MD_CTX_free(j->u.put.hash);
}
