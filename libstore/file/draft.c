/* draft.c - a new object on its way, of a PUT or a COPY: the body goes into a temporary file, which
 * is described, synced, and then renamed into place.
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
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/checksum.h"
#include "libstore/file/file.h"

enum {
    PLACE_TRIES = 100, /* each needs a delete that removes our folder in between; half a second */
    NAME_TRIES = 10,
};

/* For messages. */
static const char *verb(const struct file_job *j)
{
    return j->kind == OP_COPY ? "copy to" : "put";
}

/* ---- The temporary file ---- */

static int make_tmp(struct file_job *j)
{
    struct file_draft *d = &j->draft;
    for (int i = 0; i < NAME_TRIES; i++) {
        char name[sizeof(d->tmp)];
        snprintf(name, sizeof(name), "%ld-%" PRIx64 "-%" PRIx64, (long)getpid(), clock_real_ms(),
                 (uint64_t)atomic_fetch_add(&j->fs->tmp_serial, 1));
        j->fd = openat(j->fs->tmp_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                       FILE_OBJECT_MODE);
        if (j->fd >= 0) {
            memcpy(d->tmp, name, sizeof(name));
            return 0;
        }
        if (errno != EEXIST && errno != EINTR)
            break;
    }
    return store_err_errno(&j->err, errno, "%s '%.150s': cannot create a temporary file", verb(j),
                           j->op->key);
}

int file_draft_begin(struct file_job *j)
{
    if (j->fs->tmp_fd < 0)
        return store_err_set(&j->err, STORE_DENIED, "%s '%.100s': %.100s is read-only", verb(j),
                             j->op->key, j->fs->root);
    return make_tmp(j);
}

static int write_all(struct file_job *j, const char *bytes, size_t n)
{
    struct file_draft *d = &j->draft;
    while (n > 0) {
        ssize_t done = pwrite(j->fd, bytes, n, (off_t)d->size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return store_err_errno(&j->err, errno, "%s '%.150s': cannot write", verb(j),
                                   j->op->key);
        bytes += done;
        n -= (size_t)done;
        d->size += (uint64_t)done;
    }
    return 0;
}

int file_draft_write(struct file_job *j, const char *bytes, size_t n)
{
    struct file_draft *d = &j->draft;
    if (file_canceled(j))
        return -1;
    if (d->hash && EVP_DigestUpdate(d->hash, bytes, n) != 1)
        return store_err_set(&j->err, STORE_FAILED, "%s '%.150s': the hash failed", verb(j),
                             j->op->key);
    d->crc = checksum_crc32c(d->crc, bytes, n);
    return write_all(j, bytes, n);
}

/* What is told and kept of the object, besides its bytes. */
static int describe(struct file_job *j, struct file_record *r)
{
    struct stat st;
    if (fstat(j->fd, &st) < 0)
        return store_err_errno(&j->err, errno, "%s '%.150s': fstat", verb(j), j->op->key);
    if ((uint64_t)st.st_size != r->size)
        return store_err_set(&j->err, STORE_CORRUPT,
                             "%s '%.150s': %jd bytes in the file, expected %" PRIu64, verb(j),
                             j->op->key, (intmax_t)st.st_size, r->size);
    if (!j->fs->has_xattrs || !r->stored)
        file_record_derive(r, &st);
    else if (file_record_write(j->fd, r, &j->err) < 0)
        return -1;
    file_record_tell(r, &st, &j->info);
    return 0;
}

/* Everything is on the disk, only the name is missing. */
static int seal(struct file_job *j, struct file_record *r)
{
    if (describe(j, r) < 0)
        return -1;
    int rc = fsync(j->fd);
    int e = errno;
    if (close(j->fd) < 0 && rc == 0) { /* network file systems report lost writes here */
        rc = -1;
        e = errno;
    }
    j->fd = -1;
    return rc == 0 ? 0
                   : store_err_errno(&j->err, e, "%s '%.150s': cannot sync", verb(j), j->op->key);
}

/* ---- The name ---- */

static int check_etag(struct file_job *j)
{
    struct file_record r;
    struct stat st;
    int fd = file_object_open(j->fs, j->op->key, &r, &st, &j->err);
    if (fd < 0 && j->err.code == STORE_NOT_FOUND)
        return store_err_set(&j->err, STORE_PRECONDITION, "put '%.150s': there is no object",
                             j->op->key);
    if (fd < 0)
        return -1;
    close(fd);
    if (strcmp(r.etag, j->draft.if_match) == 0)
        return 0;
    return store_err_set(&j->err, STORE_PRECONDITION, "put '%.150s': the ETag is another",
                         j->op->key);
}

/* With the lock held: the last moment to say no. */
static int check_all(struct file_job *j)
{
    const struct file_draft *d = &j->draft;
    if (file_canceled(j) || (d->if_match && check_etag(j) < 0))
        return -1;
    if (d->latest_ms && (int64_t)clock_real_ms() > d->latest_ms)
        return store_err_set(&j->err, STORE_EXPIRED, "put '%.150s': came after its expiry",
                             j->op->key);
    return 0;
}

/* Returns 0, or -1 with errno set. */
static int give_name(struct file_job *j, int dir, const char *name)
{
    struct file_draft *d = &j->draft;
    if (d->if_absent) /* the temporary name goes with file_release() */
        return linkat(j->fs->tmp_fd, d->tmp, dir, name, 0);
    if (renameat(j->fs->tmp_fd, d->tmp, dir, name) < 0)
        return -1;
    d->tmp[0] = '\0';
    return 0;
}

enum placed { PLACED, NOT_PLACED, PLACE_AGAIN };

static enum placed place_in(struct file_job *j, int dir, const char *name)
{
    const struct file_draft *d = &j->draft;
    int lock = file_lock(j, d->if_match ? LOCK_EX : LOCK_SH);
    if (lock < 0)
        return NOT_PLACED;
    int rc = check_all(j);
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
    if (e == EEXIST && d->if_absent)
        store_err_set(&j->err, STORE_PRECONDITION, "put '%.150s': the object exists", j->op->key);
    else
        store_err_errno(&j->err, e, "%s '%.150s': cannot rename", verb(j), j->op->key);
    return NOT_PLACED;
}

/* One try: the folder is opened or made, and the object named in it. */
static enum placed place_once(struct file_job *j, const char *path, size_t dir_len)
{
    int dir = file_make_dir(j->fs, path, dir_len);
    if (dir < 0 && errno == ENOENT)
        return PLACE_AGAIN;
    if (dir < 0) {
        store_err_errno(&j->err, errno, "%s '%.150s': cannot make its folder", verb(j), j->op->key);
        return NOT_PLACED;
    }
    enum placed placed = place_in(j, dir, dir_len ? path + dir_len + 1 : path);
    if (placed == PLACED && file_sync_dir(dir) < 0) {
        store_err_errno(&j->err, errno, "%s '%.150s': cannot sync its folder", verb(j), j->op->key);
        placed = NOT_PLACED;
    }
    close(dir);
    return placed;
}

static int try_to_place(struct file_job *j, const char *path, size_t dir_len)
{
    long wait_us = 0;
    for (int i = 0; i < PLACE_TRIES; i++) {
        enum placed placed = place_once(j, path, dir_len);
        if (placed != PLACE_AGAIN)
            return placed == PLACED ? 0 : -1;
        /* A folder that is being removed can still be opened for a moment, though nothing can be
         * made in it any more. Without a pause all tries may fall into that moment. */
        if (file_wait(j, &wait_us) < 0)
            return -1;
    }
    return store_err_set(&j->err, STORE_BUSY, "%s '%.150s': its folder keeps being removed",
                         verb(j), j->op->key);
}

static int place(struct file_job *j)
{
    char path[FILE_PATH_MAX];
    size_t dir_len;
    if (file_path_of_key(j->op->key, path, &dir_len) < 0)
        return store_err_set(&j->err, STORE_INVALID, "%s '%.150s': not a key", verb(j), j->op->key);
    int rc = try_to_place(j, path, dir_len);
    if (rc < 0)
        file_prune_dirs(j->fs, path, dir_len); /* what was made for it, and is empty */
    return rc;
}

int file_draft_commit(struct file_job *j, struct file_record *r)
{
    int rc = seal(j, r);
    if (rc == 0)
        rc = place(j);
    /* Later than the rename: who waits for something to pass counted from this time waits long
     * enough. */
    j->info.server_time_s = clock_real_s();
    return rc;
}
