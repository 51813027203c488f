#include "storectl/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "storectl/place.h"

enum { MAX_REST = 64 * 1024 * 1024, NAME_TRIES = 8 };

static void sink_init(struct sink *s, struct loop *loop, sink_ready_fn *ready, void *user)
{
    *s = (struct sink){.fd = -1, .folder_fd = -1, .loop = loop, .rest = BUF_INIT(MAX_REST)};
    s->watch = (struct loop_watch){.fn = ready, .user = user, .fd = -1};
}

int sink_open_stdout(struct sink *s, struct loop *loop, sink_ready_fn *ready, void *user,
                     struct store_err *err)
{
    struct stat st;
    sink_init(s, loop, ready, user);
    if (fstat(STDOUT_FILENO, &st) != 0)
        return store_err_errno(err, errno, "standard output");
    s->fd = STDOUT_FILENO;
    if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
        return 0;
    /* O_NONBLOCK belongs to the open file, which others may share; so this one is our own. Where
     * that is not to be had, writing blocks: slower, and no harm. */
    int fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return 0;
    s->fd = fd;
    s->own = s->nonblocking = true;
    return 0;
}

/* ---- Files ---- */

static int open_temp(struct sink *s, const char *path, struct store_err *err)
{
    for (int i = 0; i < NAME_TRIES; i++) {
        unsigned char random[8];
        char hex[2 * sizeof(random) + 1];
        if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
            return store_err_errno(err, errno, "%.150s: random name", path);
        hex_encode(random, sizeof(random), hex);
        snprintf(s->temp, sizeof(s->temp), ".storectl-%s", hex);
        s->fd = openat(s->folder_fd, s->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                       0666);
        if (s->fd >= 0) {
            s->own = true;
            return 0;
        }
        if (errno != EEXIST)
            break;
    }
    s->temp[0] = '\0';
    return store_err_errno(err, errno, "%.150s", path);
}

/* In folder_fd, which becomes the sink's. */
static int open_in(struct sink *s, int folder_fd, const char *name, int follow, const char *path,
                   struct store_err *err)
{
    struct stat st;
    s->folder_fd = folder_fd;
    s->name = xstrdup(name);
    if (fstatat(folder_fd, name, &st, follow) != 0) {
        if (errno == ENOENT)
            return open_temp(s, path, err);
        return store_err_errno(err, errno, "%.150s", path);
    }
    if (S_ISDIR(st.st_mode))
        return store_err_set(err, STORE_FAILED, "%.150s: is a folder", path);
    if (S_ISREG(st.st_mode))
        return open_temp(s, path, err);
    if (follow == AT_SYMLINK_NOFOLLOW)
        return store_err_set(err, STORE_FAILED, "%.150s: is there, and no regular file", path);
    s->fd = openat(folder_fd, name, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    s->own = true;
    return s->fd >= 0 ? 0 : store_err_errno(err, errno, "%.150s", path);
}

int sink_open_path(struct sink *s, struct loop *loop, const char *path, sink_ready_fn *ready,
                   void *user, struct store_err *err)
{
    sink_init(s, loop, ready, user);
    const char *name = name_base(path);
    char *folder = name == path ? xstrdup(".") : xstrndup(path, (size_t)(name - path));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc =
        fd < 0 ? store_err_errno(err, errno, "%.150s", folder) : open_in(s, fd, name, 0, path, err);
    free(folder);
    if (rc != 0)
        sink_close(s);
    return rc;
}

/* One step down, made where it is missing. Takes fd; returns the next, or -1. */
static int step_down(int fd, const char *part)
{
    enum { FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
    int next = openat(fd, part, FLAGS);
    if (next < 0 && errno == ENOENT && (mkdirat(fd, part, 0777) == 0 || errno == EEXIST))
        next = openat(fd, part, FLAGS);
    int saved = errno;
    close(fd);
    errno = saved;
    return next;
}

int sink_open_below(struct sink *s, struct loop *loop, int root_fd, const char *path,
                    sink_ready_fn *ready, void *user, struct store_err *err)
{
    const char *problem = store_key_problem(path);
    sink_init(s, loop, ready, user);
    if (problem)
        return store_err_set(err, STORE_INVALID, "'%.150s' as a file: it %s", path, problem);
    char *parts = xstrdup(path), *part = parts;
    int fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);
    for (char *slash; fd >= 0 && (slash = strchr(part, '/')); part = slash + 1) {
        *slash = '\0';
        fd = step_down(fd, part);
    }
    int rc = fd < 0 ? store_err_errno(err, errno, "%.150s", path)
                    : open_in(s, fd, part, AT_SYMLINK_NOFOLLOW, path, err);
    free(parts);
    if (rc != 0)
        sink_close(s);
    return rc;
}

/* ---- Writing ---- */

/* How many bytes it took: all of them, but for what does not block. */
static ssize_t write_some(const struct sink *s, const char *bytes, size_t n)
{
    size_t at = 0;
    while (at < n) {
        ssize_t took = write(s->fd, bytes + at, n - at);
        if (took >= 0)
            at += (size_t)took;
        else if (errno == EAGAIN && s->nonblocking)
            break;
        else if (errno != EINTR)
            return -1;
    }
    return (ssize_t)at;
}

static int write_failed(const struct sink *s, struct store_err *err)
{
    return store_err_errno(err, errno, "write %.150s", s->name ? s->name : "standard output");
}

static int wait_for_room(struct sink *s, bool *full, struct store_err *err)
{
    *full = s->rest.len > 0;
    if (*full)
        return loop_watch_set(s->loop, &s->watch, s->fd, EPOLLOUT, err);
    loop_watch_clear(s->loop, &s->watch);
    return 0;
}

int sink_write(struct sink *s, const void *bytes, size_t n, bool *full, struct store_err *err)
{
    ssize_t took = s->rest.len ? 0 : write_some(s, bytes, n);
    if (took < 0)
        return write_failed(s, err);
    buf_add(&s->rest, (const char *)bytes + took, n - (size_t)took);
    if (buf_failed(&s->rest))
        return store_err_set(err, STORE_NO_MEMORY, "standard output: too much is waiting");
    return wait_for_room(s, full, err);
}

int sink_flush(struct sink *s, bool *full, struct store_err *err)
{
    ssize_t took = write_some(s, s->rest.data, s->rest.len);
    if (took < 0)
        return write_failed(s, err);
    buf_drop_front(&s->rest, (size_t)took);
    return wait_for_room(s, full, err);
}

int sink_commit(struct sink *s, struct store_err *err)
{
    if (!s->temp[0])
        return 0;
    if (fsync(s->fd) != 0 || renameat(s->folder_fd, s->temp, s->folder_fd, s->name) != 0)
        return write_failed(s, err);
    s->temp[0] = '\0';
    return fsync(s->folder_fd) == 0 ? 0 : write_failed(s, err);
}

void sink_close(struct sink *s)
{
    if (!s->loop)
        return;
    loop_watch_clear(s->loop, &s->watch);
    if (s->temp[0])
        unlinkat(s->folder_fd, s->temp, 0);
    if (s->own && s->fd >= 0)
        close(s->fd);
    if (s->folder_fd >= 0)
        close(s->folder_fd);
    free(s->name);
    buf_cleanup(&s->rest);
    *s = (struct sink){0};
}
