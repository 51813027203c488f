/* draft.c - a new object on its way, of a PUT or a COPY: the body goes into a temporary file, which
 * is described, synced, and then renamed into place.
 *
 * Of the steps that give the object its name two must not be torn apart: of an upload that expires,
 * the look at the clock and the rename (tmp.c says how that goes without a lock); of a put with
 * if_match, the comparison and the rename (for which there are the keys' locks). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/checksum.h"
#include "libstore/file/file.h"

enum {
    PLACE_TRIES = 100, /* each needs a delete that removes our folder in between; half a second */
};

/* For messages. */
static const char *verb(const struct file_job *j)
{
    return j->kind == OP_COPY ? "copy to" : "put";
}

/* ---- The temporary file ---- */

int file_draft_begin(struct file_job *j)
{
    if (file_key_hash(j->op->key, &j->draft.key_hash, &j->err) < 0)
        return -1;
    return file_tmp_create(j);
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
    if (r->stored && file_record_write(j->fd, r, &j->err) < 0) {
        if (j->err.sys_errno != ENOTSUP || r->n_meta)
            return -1;
        j->err = (struct store_err){.code = STORE_OK};
        r->stored = false;
    }
    if (!r->stored)
        file_record_derive(r, &st);
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

static int fail_expired(struct file_job *j)
{
    return store_err_set(&j->err, STORE_EXPIRED, "put '%.150s': came after its expiry", j->op->key);
}

static bool is_late(const struct file_draft *d)
{
    return d->latest_ms && (int64_t)clock_real_ms() > d->latest_ms;
}

/* With the key's lock held: the last moment to say no. */
static int check_all(struct file_job *j)
{
    const struct file_draft *d = &j->draft;
    if (file_canceled(j) || (d->if_match && check_etag(j) < 0))
        return -1;
    return is_late(d) ? fail_expired(j) : 0;
}

/* Somebody removed the temporary file. */
static int fail_gone(struct file_job *j)
{
    struct file_draft *d = &j->draft;
    d->tmp[0] = '\0';
    if (is_late(d) || (d->latest_ms && !d->if_match)) /* the latter when the clock was set back */
        return fail_expired(j);
    if (d->if_match)
        return store_err_set(&j->err, STORE_BUSY, "put '%.150s': a delete ended it", j->op->key);
    return store_err_set(&j->err, STORE_BUSY, "%s '%.150s': its temporary file was removed from %s",
                         verb(j), j->op->key, FILE_TMP_NAME);
}

/* Returns 0, or -1 with errno set. */
static int give_name(struct file_job *j, int dir, const char *name)
{
    struct file_draft *d = &j->draft;
    int tmp = atomic_load(&j->fs->tmp_fd);
    if (d->if_absent) /* the temporary name goes with file_release() */
        return linkat(tmp, d->tmp, dir, name, 0);
    if (renameat(tmp, d->tmp, dir, name) < 0)
        return -1;
    d->tmp[0] = '\0';
    return 0;
}

enum placed { PLACED, NOT_PLACED, PLACE_AGAIN };

static enum placed tell_placed(struct file_job *j, int e)
{
    if (e == 0)
        return PLACED;
    if (e == ENOENT && !file_tmp_is_gone(j)) /* a delete took the empty folder away */
        return PLACE_AGAIN;
    if (e == ENOENT)
        fail_gone(j);
    else if (e == EEXIST && j->draft.if_absent)
        store_err_set(&j->err, STORE_PRECONDITION, "put '%.150s': the object exists", j->op->key);
    else
        store_err_errno(&j->err, e, "%s '%.150s': cannot rename", verb(j), j->op->key);
    return NOT_PLACED;
}

static enum placed place_in(struct file_job *j, int dir, const char *name)
{
    const struct file_draft *d = &j->draft;
    const short how = d->if_match ? F_WRLCK : F_RDLCK;
    enum placed placed = NOT_PLACED;
    int lock = file_lock_open(j, how);
    if (lock < 0)
        return NOT_PLACED;
    if (file_lock(j, lock, d->key_hash, how, UINT64_MAX) > 0 && check_all(j) == 0)
        placed = tell_placed(j, give_name(j, dir, name) < 0 ? errno : 0);
    close(lock);
    return placed;
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
