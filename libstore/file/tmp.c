/* tmp.c - the folder of temporary files, and what their names are for.
 *
 * A name is four numbers, of 16 hex digits each:
 *     <latest_ms>-<key>-<tag>-<serial>
 * latest_ms is the moment after which the put may not appear any more (0: it does not expire), key
 * the hash of its key if it has if_match (else 0); tag and serial make the name unique. A name is
 * never used twice, so that who lost his file cannot take somebody else's for it.
 *
 * Uploads that expire are the folder's answer to presigned requests, and deletions rely on them:
 * after a moment that can be told from signed_at_s alone, no such put may appear any more. A put
 * that looked at the clock and was then stopped (by a signal, the scheduler, a slow disk) before
 * its rename would break that. A lock over both steps would mend it, but be held by whoever is
 * stopped, and everybody would wait for him. So nothing is held, and two rules take its place:
 *
 *     A put creates its file, and later looks at the clock; if that is past latest_ms it gives up,
 *     else it renames (or links) the file.
 *     A listing looks at the clock, removes every file whose latest_ms is before that, and then
 *     begins to read.
 *
 * When the file was there before the listing read this folder, it was removed, and the rename finds
 * nothing and fails; or the rename came first, and the listing sees the object. When the file came
 * later, so did the put's look at the clock, which then is past latest_ms. In each case nothing of
 * the put appears behind the listing's back. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/file/file.h"

enum { LEFTOVER_AGE_S = 24 * 60 * 60, NAME_TRIES = 10, HEX = 16, NO_TIME_MS = 1 };

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* ---- Names ---- */

struct tmp_name {
    uint64_t latest_ms;
    uint64_t key_hash;
};

/* False: not ours, or of an earlier version. */
static bool decode(const char *text, struct tmp_name *out)
{
    char part[2][HEX + 1];
    if (strlen(text) != FILE_TMP_NAME_SIZE - 1)
        return false;
    for (size_t i = 0; i < 2; i++, text += HEX + 1) {
        memcpy(part[i], text, HEX);
        part[i][HEX] = '\0';
        if (text[HEX] != '-')
            return false;
    }
    return u64_from_hex16(part[0], &out->latest_ms) && u64_from_hex16(part[1], &out->key_hash);
}

static void encode(struct file_job *j, char out[FILE_TMP_NAME_SIZE])
{
    const struct file_draft *d = &j->draft;
    snprintf(out, FILE_TMP_NAME_SIZE, "%016" PRIx64 "-%016" PRIx64 "-%016" PRIx64 "-%016" PRIx64,
             (uint64_t)d->latest_ms, d->if_match ? d->key_hash : 0, j->fs->tmp_tag,
             (uint64_t)atomic_fetch_add(&j->fs->tmp_serial, 1));
}

/* ---- Going through the folder ---- */

/* Opened by its name, so that it is the folder that is there now. NULL with errno set. */
static DIR *open_to_read(const struct file_store *fs)
{
    int fd = openat(fs->root_fd, FILE_TMP_NAME, DIR_FLAGS);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d && fd >= 0) {
        int e = errno;
        close(fd);
        errno = e;
    }
    return d;
}

static int fail_to_read(struct file_job *j, int e)
{
    return store_err_errno(&j->err, e, "%.150s: cannot read %s", j->fs->root, FILE_TMP_NAME);
}

/* The next file whose name is ours. 1, 0 at the end, or -1 with j->err set. */
static int next_file(struct file_job *j, DIR *d, const char **text, struct tmp_name *name)
{
    struct dirent *e;
    while (errno = 0, (e = readdir(d))) {
        if (file_canceled(j))
            return -1;
        *text = e->d_name;
        if (decode(e->d_name, name))
            return 1;
    }
    return errno ? fail_to_read(j, errno) : 0;
}

/* True also when somebody else was quicker. */
static bool remove_file(DIR *d, const char *text)
{
    return unlinkat(dirfd(d), text, 0) == 0 || errno == ENOENT;
}

int64_t file_tmp_expire(struct file_job *j)
{
    struct tmp_name name;
    const char *text;
    int more;
    int64_t settled_ms = (int64_t)clock_real_ms(); /* before the folder is opened: see above */
    const uint64_t now_ms = (uint64_t)settled_ms;
    DIR *d = open_to_read(j->fs);
    if (!d && errno == ENOENT)
        return settled_ms; /* who will make it looks at the clock later */
    if (!d && file_is_read_only(errno))
        return NO_TIME_MS;
    if (!d)
        return fail_to_read(j, errno);
    while ((more = next_file(j, d, &text, &name)) > 0)
        if (name.latest_ms && name.latest_ms < now_ms && !remove_file(d, text) &&
            (int64_t)name.latest_ms < settled_ms)
            settled_ms = (int64_t)name.latest_ms;
    closedir(d);
    return more < 0 ? -1 : settled_ms;
}

int file_tmp_revoke(struct file_job *j, uint64_t key_hash)
{
    struct tmp_name name;
    const char *text;
    int more;
    DIR *d = open_to_read(j->fs);
    if (!d)
        return errno == ENOENT ? 0 : fail_to_read(j, errno);
    while ((more = next_file(j, d, &text, &name)) > 0)
        if (name.key_hash == key_hash && !remove_file(d, text)) {
            more = store_err_errno(&j->err, errno, "%.150s: cannot remove a file of %s",
                                   j->fs->root, FILE_TMP_NAME);
            break;
        }
    closedir(d);
    return more;
}

/* Best effort: what stays costs space only, and the next to open the folder tries again. */
static void sweep_leftovers(const struct file_store *fs)
{
    struct stat st;
    DIR *d = open_to_read(fs);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode) &&
            st.st_mtim.tv_sec < clock_real_s() - LEFTOVER_AGE_S)
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
}

/* ---- Opening ---- */

/* Returns an fd, or -1 with errno set. */
static int open_dir(const struct file_store *fs)
{
    int fd = openat(fs->root_fd, FILE_TMP_NAME, DIR_FLAGS);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    if (mkdirat(fs->root_fd, FILE_TMP_NAME, FILE_DIR_MODE) < 0 && errno != EEXIST)
        return -1;
    return openat(fs->root_fd, FILE_TMP_NAME, DIR_FLAGS);
}

/* With tmp_lock held: opens it anew behind the number that it has. Returns -1 with errno set. */
static int renew(struct file_store *fs)
{
    int fd = open_dir(fs), known = atomic_load(&fs->tmp_fd);
    if (fd < 0)
        return -1;
    if (known < 0) {
        atomic_store(&fs->tmp_fd, fd);
        return 0;
    }
    int rc = dup3(fd, known, O_CLOEXEC) < 0 ? -1 : 0; /* at once for all threads */
    int e = errno;
    close(fd);
    errno = e;
    return rc;
}

static int fail_to_open(const struct file_store *fs, int e, struct store_err *err)
{
    return store_err_errno(err, e, "%.150s%s: cannot open %s", fs->root,
                           file_is_read_only(e) ? " is read-only" : "", FILE_TMP_NAME);
}

int file_tmp_open(struct file_store *fs, struct store_err *err)
{
    if (atomic_load(&fs->tmp_fd) >= 0)
        return 0;
    pthread_mutex_lock(&fs->tmp_lock);
    bool first = atomic_load(&fs->tmp_fd) < 0;
    int rc = first ? renew(fs) : 0;
    int e = errno;
    pthread_mutex_unlock(&fs->tmp_lock);
    if (rc < 0)
        return fail_to_open(fs, e, err);
    if (first)
        sweep_leftovers(fs);
    return 0;
}

/* Somebody removed the folder. */
static int open_again(struct file_store *fs, struct store_err *err)
{
    pthread_mutex_lock(&fs->tmp_lock);
    int rc = renew(fs);
    int e = errno;
    pthread_mutex_unlock(&fs->tmp_lock);
    return rc < 0 ? fail_to_open(fs, e, err) : 0;
}

/* ---- One file ---- */

int file_tmp_create(struct file_job *j)
{
    char name[FILE_TMP_NAME_SIZE];
    if (file_tmp_open(j->fs, &j->err) < 0)
        return -1;
    for (int i = 0; i < NAME_TRIES; i++) {
        encode(j, name);
        j->fd = openat(atomic_load(&j->fs->tmp_fd), name,
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_OBJECT_MODE);
        if (j->fd >= 0) {
            memcpy(j->draft.tmp, name, sizeof(name));
            return 0;
        }
        if (errno == ENOENT && open_again(j->fs, &j->err) < 0)
            return -1;
        if (errno != ENOENT && errno != EEXIST && errno != EINTR)
            break;
    }
    return store_err_errno(&j->err, errno, "%.100s: cannot create a file for '%.100s' in %s",
                           j->fs->root, j->op->key, FILE_TMP_NAME);
}

bool file_tmp_is_gone(const struct file_job *j)
{
    struct stat st;
    return fstatat(atomic_load(&j->fs->tmp_fd), j->draft.tmp, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
           errno == ENOENT;
}
