#include "compute/staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/xalloc.h"
#include "epufs/scope.h"

enum { LOCK_POLL_US = 20000, MAX_FOLDERS = 16 };

#define NEW_PREFIX "new-" /* what is not in place yet; all of it goes when a run begins or ends */
static const int FOLDER_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

struct staging {
    char *pgdata_path; /* for messages */
    int pgdata, folder;
    uid_t uid;
    gid_t gid;
    bool is_root;
    int file;                 /* begun and not finished; -1: none */
    int to_sync[MAX_FOLDERS]; /* folders that got a file */
    size_t n_to_sync;
};

/* ---- Opening ---- */

static int own(const struct staging *s, int fd)
{
    return s->is_root ? fchown(fd, s->uid, s->gid) : 0;
}

static int open_pgdata(struct staging *s, struct store_err *err)
{
    struct stat st;
    s->pgdata = open(s->pgdata_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->pgdata < 0 || fstat(s->pgdata, &st) != 0)
        return store_err_errno(err, errno, "pgdata: cannot open the folder '%s'", s->pgdata_path);
    s->uid = st.st_uid;
    s->gid = st.st_gid;
    s->is_root = geteuid() == 0;
    return 0;
}

static int open_folder(struct staging *s, struct store_err *err)
{
    if (mkdirat(s->pgdata, STAGING_FOLDER, 0700) != 0 && errno != EEXIST)
        return store_err_errno(err, errno, "pgdata: cannot make '%s/%s'", s->pgdata_path,
                               STAGING_FOLDER);
    s->folder = openat(s->pgdata, STAGING_FOLDER, FOLDER_FLAGS);
    if (s->folder < 0 || own(s, s->folder) != 0)
        return store_err_errno(err, errno, "pgdata: cannot use '%s/%s'", s->pgdata_path,
                               STAGING_FOLDER);
    return 0;
}

static int lock(struct staging *s, uint64_t deadline_ms, struct store_err *err)
{
    while (flock(s->folder, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return store_err_errno(err, errno, "pgdata: cannot lock '%s/%s'", s->pgdata_path,
                                   STAGING_FOLDER);
        if (clock_mono_ms() >= deadline_ms)
            return store_err_set(err, STORE_BUSY,
                                 "pgdata: another epufs-compute is at work in '%s'",
                                 s->pgdata_path);
        usleep(LOCK_POLL_US);
    }
    return 0;
}

/* What a killed run has left behind. */
static int clean(const struct staging *s, struct store_err *err)
{
    int fd = openat(s->folder, ".", FOLDER_FLAGS);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        store_err_errno(err, errno, "pgdata: cannot list '%s/%s'", s->pgdata_path, STAGING_FOLDER);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    int failed = 0;
    for (struct dirent *e; !failed && (e = readdir(d));)
        if (strncmp(e->d_name, NEW_PREFIX, strlen(NEW_PREFIX)) == 0 &&
            unlinkat(s->folder, e->d_name, 0) != 0 && errno != ENOENT)
            failed = store_err_errno(err, errno, "pgdata: cannot remove '%s/%s/%.40s'",
                                     s->pgdata_path, STAGING_FOLDER, e->d_name);
    closedir(d);
    return failed;
}

int staging_open(const char *pgdata, uint64_t deadline_ms, struct staging **out,
                 struct store_err *err)
{
    struct staging *s = xcalloc(1, sizeof(*s));
    s->pgdata_path = xstrdup(pgdata);
    s->pgdata = s->folder = s->file = -1;
    if (open_pgdata(s, err) == 0 && open_folder(s, err) == 0 && lock(s, deadline_ms, err) == 0 &&
        clean(s, err) == 0) {
        *out = s;
        return 0;
    }
    if (s->folder >= 0)
        close(s->folder);
    s->folder = -1;
    staging_close(s);
    return -1;
}

static void close_file(struct staging *s)
{
    if (s->file >= 0)
        close(s->file);
    s->file = -1;
}

void staging_close(struct staging *s)
{
    struct store_err ignored;
    if (!s)
        return;
    close_file(s);
    for (size_t i = 0; i < s->n_to_sync; i++)
        close(s->to_sync[i]);
    if (s->folder >= 0) {
        clean(s, &ignored);
        close(s->folder);
    }
    if (s->pgdata >= 0)
        close(s->pgdata);
    free(s->pgdata_path);
    free(s);
}

int staging_pgdata(const struct staging *s)
{
    return s->pgdata;
}

/* ---- Paths ---- */

/* The folder that holds path's last part, which *name gets. */
static int open_parent(const struct staging *s, const char *path, bool make, const char **name,
                       struct store_err *err)
{
    int at = fcntl(s->pgdata, F_DUPFD_CLOEXEC, 0);
    for (const char *slash; at >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
        char part[PATH_MAX_BYTES + 1];
        text_copy(part, (size_t)(slash - path) + 1, path);
        if (make && mkdirat(at, part, 0700) == 0) {
            int made = openat(at, part, FOLDER_FLAGS);
            if (made >= 0)
                (void)!own(s, made);
            close(at);
            at = made;
            continue;
        }
        int next = openat(at, part, FOLDER_FLAGS);
        int saved_errno = errno;
        close(at);
        errno = saved_errno;
        at = next;
    }
    *name = path;
    if (at < 0)
        return store_err_errno(err, errno, "pgdata: cannot open the folder of '%.100s' in '%s'",
                               path, s->pgdata_path);
    return at;
}

int staging_open_file(const struct staging *s, const char *path, uint64_t *size,
                      struct store_err *err)
{
    const char *name;
    struct stat st;
    int parent = open_parent(s, path, false, &name, err);
    if (parent < 0)
        return -1;
    /* O_NONBLOCK: a pipe of that name must not hold us. */
    int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int saved_errno = errno;
    close(parent);
    if (fd < 0)
        return store_err_errno(err, saved_errno, "pgdata: cannot open '%s/%s'", s->pgdata_path,
                               path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return store_err_set(err, STORE_INVALID, "pgdata: '%s/%s' is no regular file",
                             s->pgdata_path, path);
    }
    *size = (uint64_t)st.st_size;
    return fd;
}

/* ---- New files ---- */

static void new_name(size_t number, char out[32])
{
    snprintf(out, 32, "%s%zu", NEW_PREFIX, number);
}

static int open_new(struct staging *s, const char *name, struct store_err *err)
{
    close_file(s);
    unlinkat(s->folder, name, 0);
    s->file = openat(s->folder, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (s->file < 0 || fchmod(s->file, 0600) != 0 || own(s, s->file) != 0)
        return store_err_errno(err, errno, "pgdata: cannot make a file in '%s/%s'", s->pgdata_path,
                               STAGING_FOLDER);
    return 0;
}

int staging_begin(struct staging *s, size_t number, struct store_err *err)
{
    char name[32];
    if (number >= STAGING_MAX)
        return store_err_set(err, STORE_INVALID, "pgdata: more than %d files", (int)STAGING_MAX);
    new_name(number, name);
    return open_new(s, name, err);
}

int staging_add(struct staging *s, const void *bytes, size_t n, struct store_err *err)
{
    const char *at = bytes;
    while (n > 0) {
        ssize_t done = write(s->file, at, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return store_err_errno(err, done < 0 ? errno : ENOSPC,
                                   "pgdata: cannot write into '%s/%s'", s->pgdata_path,
                                   STAGING_FOLDER);
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

void staging_finish(struct staging *s, int *fd)
{
    sync_file_range(s->file, 0, 0, SYNC_FILE_RANGE_WRITE); /* a start; fsync() tells what fails */
    *fd = s->file;
    s->file = -1;
}

int staging_settle(const struct staging *s, int fd, struct store_err *err)
{
    if (fsync(fd) == 0)
        return 0;
    return store_err_errno(err, errno, "pgdata: cannot sync a file in '%s/%s'", s->pgdata_path,
                           STAGING_FOLDER);
}

static void note_to_sync(struct staging *s, int folder)
{
    struct stat st, other;
    bool known = s->n_to_sync == MAX_FOLDERS || fstat(folder, &st) != 0;
    for (size_t i = 0; !known && i < s->n_to_sync; i++)
        known = fstat(s->to_sync[i], &other) == 0 && other.st_ino == st.st_ino &&
                other.st_dev == st.st_dev;
    if (known) {
        if (s->n_to_sync == MAX_FOLDERS)
            (void)!fsync(folder);
        close(folder);
    } else {
        s->to_sync[s->n_to_sync++] = folder;
    }
}

int staging_place(struct staging *s, size_t number, const char *path, struct store_err *err)
{
    char from[32];
    const char *name;
    new_name(number, from);
    int parent = open_parent(s, path, true, &name, err);
    if (parent < 0)
        return -1;
    if (renameat(s->folder, from, parent, name) != 0) {
        store_err_errno(err, errno, "pgdata: cannot put '%s' into '%s'", path, s->pgdata_path);
        close(parent);
        return -1;
    }
    note_to_sync(s, parent);
    return 0;
}

int staging_sync(struct staging *s, struct store_err *err)
{
    int failed = 0;
    for (size_t i = 0; i < s->n_to_sync; i++) {
        if (fsync(s->to_sync[i]) != 0)
            failed =
                store_err_errno(err, errno, "pgdata: cannot sync a folder in '%s'", s->pgdata_path);
        close(s->to_sync[i]);
    }
    s->n_to_sync = 0;
    return failed;
}

/* ---- Our own ---- */

int staging_read(const struct staging *s, const char *name, struct buf *out, struct store_err *err)
{
    ssize_t n = 0;
    int fd = openat(s->folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return store_err_errno(err, errno, "pgdata: cannot open '%s/%s/%s'", s->pgdata_path,
                               STAGING_FOLDER, name);
    while (buf_reserve(out, 4096) &&
           ((n = read(fd, out->data + out->len, 4096)) > 0 || (n < 0 && errno == EINTR)))
        out->len += n > 0 ? (size_t)n : 0;
    int saved_errno = errno;
    close(fd);
    if (n < 0 || buf_failed(out))
        return store_err_errno(err, buf_failed(out) ? EFBIG : saved_errno,
                               "pgdata: cannot read '%s/%s/%s'", s->pgdata_path, STAGING_FOLDER,
                               name);
    if (out->data)
        out->data[out->len] = '\0';
    return 0;
}

int staging_write(struct staging *s, const char *name, const void *bytes, size_t n,
                  struct store_err *err)
{
    static const char draft[] = NEW_PREFIX "state";
    if (open_new(s, draft, err) != 0 || staging_add(s, bytes, n, err) != 0)
        return -1;
    close_file(s);
    if (renameat(s->folder, draft, s->folder, name) != 0)
        return store_err_errno(err, errno, "pgdata: cannot write '%s/%s/%s'", s->pgdata_path,
                               STAGING_FOLDER, name);
    return 0;
}

int staging_remove(struct staging *s, const char *name, struct store_err *err)
{
    if (unlinkat(s->folder, name, 0) == 0 || errno == ENOENT)
        return 0;
    return store_err_errno(err, errno, "pgdata: cannot remove '%s/%s/%s'", s->pgdata_path,
                           STAGING_FOLDER, name);
}
