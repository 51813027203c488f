/* tree.c - the file system below the root. No path is ever followed through a symbolic link or out
 * of the root, whatever somebody may have planted in the tree. */
#include "libstore/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/file.h>
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

/* The same for kernels without openat2(): one component after the other. */
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
    return fs->has_openat2 ? open_directly(fs->root_fd, path, flags)
                           : open_stepwise(fs->root_fd, path, flags);
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

int file_lock(struct file_job *j, int how)
{
    /* O_NONBLOCK: a FIFO that was planted there must not hold the thread. */
    int fd = openat(j->fs->root_fd, FILE_LOCK_NAME,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return store_err_errno(&j->err, errno, "%.150s: cannot open %s", j->fs->root,
                               FILE_LOCK_NAME);
    /* Tries instead of a blocking flock(), which only a signal could end. */
    for (long wait_us = 0; flock(fd, how | LOCK_NB) < 0;) {
        int rc = errno == EWOULDBLOCK || errno == EINTR
                     ? file_wait(j, &wait_us)
                     : store_err_errno(&j->err, errno, "%.150s: cannot lock", j->fs->root);
        if (rc < 0) {
            close(fd);
            return -1;
        }
    }
    return fd;
}

void file_unlock(int lock_fd)
{
    close(lock_fd); /* the only descriptor of this open file, so the lock goes with it */
}
