/* tree.c - the file system below the root. No path is ever followed through a symbolic link or out
 * of the root, whatever somebody may have planted in the tree. */
#include "libstore/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* Between two tries. */
enum { WAIT_MIN_US = 50, WAIT_MAX_US = 5000 };

static int open_directly(int root_fd, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)flags,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    long fd;
    do /* EAGAIN: something in the tree was renamed meanwhile, and ".." might have been fooled */
        fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    return (int)fd;
}

static void close_keeping_errno(int fd)
{
    int e = errno;
    close(fd);
    errno = e;
}

/* The same without openat2(): one component after the other. */
static int open_stepwise(int root_fd, const char *path, int flags)
{
    char name[NAME_MAX + 1];
    int dir = root_fd;
    for (;;) {
        size_t n = strcspn(path, "/");
        bool last = path[n] == '\0';
        int fd = -1;
        if (n > NAME_MAX) {
            errno = ENAMETOOLONG;
        } else {
            memcpy(name, path, n);
            name[n] = '\0';
            fd = openat(dir, name, last ? flags : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
        if (dir != root_fd)
            close_keeping_errno(dir);
        if (fd < 0 || last)
            return fd;
        dir = fd;
        path += n + 1;
    }
}

int file_open(const struct file_store *fs, const char *path, int flags)
{
    flags |= O_CLOEXEC | O_NOFOLLOW;
    if (*path == '\0')
        path = ".";
    int fd = open_directly(fs->root_fd, path, flags);
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) /* an old kernel; a sandbox forbids it */
        return fd;
    return open_stepwise(fs->root_fd, path, flags);
}

bool file_is_read_only(int e)
{
    return e == EACCES || e == EPERM || e == EROFS;
}

int file_sync_dir(int fd)
{
    if (fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP)
        return 0;
    return -1;
}

static int make_child(int parent, const char *name)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(parent, name, flags);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    if (mkdirat(parent, name, FILE_DIR_MODE) < 0 && errno != EEXIST)
        return -1;
    /* Also when somebody else was quicker: he may not have got to his fsync() yet. */
    if (file_sync_dir(parent) < 0)
        return -1;
    return openat(parent, name, flags);
}

int file_make_dir(const struct file_store *fs, const char *path, size_t dir_len)
{
    char dir[FILE_PATH_MAX];
    memcpy(dir, path, dir_len);
    dir[dir_len] = '\0';
    int fd = file_open(fs, dir, O_RDONLY | O_DIRECTORY);
    if (fd >= 0 || errno != ENOENT || dir_len == 0)
        return fd;
    fd = file_open(fs, "", O_RDONLY | O_DIRECTORY);
    for (char *name = dir; fd >= 0 && name;) {
        char *slash = strchr(name, '/');
        if (slash)
            *slash = '\0';
        int child = make_child(fd, name);
        close_keeping_errno(fd);
        fd = child;
        name = slash ? slash + 1 : NULL;
    }
    return fd;
}

/* Whether the parent of `dir` may be looked at next. */
static bool prune_one(const struct file_store *fs, char *dir, size_t parent_len)
{
    const char *name = parent_len ? dir + parent_len + 1 : dir;
    char *cut = parent_len ? dir + parent_len : NULL;
    if (cut)
        *cut = '\0';
    int parent = file_open(fs, cut ? dir : "", O_RDONLY | O_DIRECTORY);
    if (parent < 0)
        return errno == ENOENT;
    bool gone = unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
    close(parent);
    return gone;
}

void file_prune_dirs(const struct file_store *fs, const char *path, size_t dir_len)
{
    char dir[FILE_PATH_MAX];
    memcpy(dir, path, dir_len);
    while (dir_len > 0) {
        dir[dir_len] = '\0';
        const char *slash = strrchr(dir, '/');
        dir_len = slash ? (size_t)(slash - dir) : 0;
        if (!prune_one(fs, dir, dir_len))
            return;
    }
}

int file_wait(struct file_job *j, long *wait_us)
{
    if (clock_mono_ms() >= j->op->deadline_ms)
        return store_err_set(&j->err, STORE_BUSY, "%.150s: others were in the way for too long",
                             j->fs->root);
    if (file_canceled(j))
        return -1;
    if (*wait_us < WAIT_MIN_US)
        *wait_us = WAIT_MIN_US;
    const struct timespec t = {.tv_nsec = *wait_us * 1000};
    nanosleep(&t, NULL);
    *wait_us = *wait_us * 2 < WAIT_MAX_US ? *wait_us * 2 : WAIT_MAX_US;
    return 0;
}

/* ---- The keys' locks ---- */

int file_key_hash(const char *key, uint64_t *hash, struct store_err *err)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    if (!EVP_Digest(key, strlen(key), sum, NULL, EVP_sha256(), NULL))
        return store_err_set(err, STORE_NO_MEMORY, "'%.150s': the hash failed", key);
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof(h); i++)
        h = h << 8 | sum[i];
    *hash = h | 1;
    return 0;
}

int file_lock_open(struct file_job *j, short how)
{
    /* O_NONBLOCK: a FIFO that was planted there must not hold the thread. */
    const int flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int root = j->fs->root_fd;
    int fd = openat(root, FILE_LOCK_NAME, O_RDWR | O_CREAT | flags, FILE_OBJECT_MODE);
    int e = errno;
    if (fd < 0 && file_is_read_only(e) && how == F_RDLCK) /* for a share that is enough */
        fd = openat(root, FILE_LOCK_NAME, O_RDONLY | flags);
    if (fd >= 0)
        return fd;
    return store_err_errno(&j->err, e, "%.150s: cannot open %s to lock a key", j->fs->root,
                           FILE_LOCK_NAME);
}

static int set_lock(int fd, uint64_t key_hash, short how)
{
    struct flock range = {
        .l_type = how,
        .l_whence = SEEK_SET,
        .l_start = (off_t)(key_hash >> 2), /* the end of the range has to fit as well */
        .l_len = 1,
    };
    return fcntl(fd, F_OFD_SETLK, &range);
}

int file_lock(struct file_job *j, int lock_fd, uint64_t key_hash, short how, uint64_t until_ms)
{
    /* Tries instead of a lock that waits, which only a signal could end. */
    for (long wait_us = 0; set_lock(lock_fd, key_hash, how) < 0;) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return store_err_errno(&j->err, errno, "%.150s: cannot lock in %s", j->fs->root,
                                   FILE_LOCK_NAME);
        if (errno != EINTR && clock_mono_ms() >= until_ms)
            return 0;
        if (file_wait(j, &wait_us) < 0)
            return -1;
    }
    return 1;
}

void file_unlock(int lock_fd, uint64_t key_hash)
{
    set_lock(lock_fd, key_hash, F_UNLCK);
}
