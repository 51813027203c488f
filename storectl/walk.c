#include "storectl/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/xalloc.h"

static bool is_on_the_way(const struct walk *w, const struct stat *st)
{
    for (size_t i = 0; i < w->depth; i++)
        if (w->stack[i].dev == st->st_dev && w->stack[i].ino == st->st_ino)
            return true;
    return false;
}

/* fd becomes the walk's. */
static int push(struct walk *w, int fd, struct store_err *err)
{
    struct stat st;
    DIR *dir = NULL;
    bool known = fstat(fd, &st) == 0;
    if (w->depth == WALK_MAX_DEPTH)
        store_err_set(err, STORE_FAILED, "%.150s: folders in folders more than %d deep", w->name,
                      WALK_MAX_DEPTH);
    else if (known && is_on_the_way(w, &st))
        store_err_set(err, STORE_FAILED, "%.150s: a link to a folder that it is in", w->name);
    else if (!known || !(dir = fdopendir(fd)))
        store_err_errno(err, errno, "%.150s", w->name);
    if (!dir) {
        close(fd);
        return -1;
    }
    size_t n = strlen(w->name);
    w->stack[w->depth].dir = dir;
    w->stack[w->depth].dev = st.st_dev;
    w->stack[w->depth].ino = st.st_ino;
    w->stack[w->depth++].name_len = n;
    return 0;
}

int walk_open(struct walk *w, const char *folder, bool follow, struct store_err *err)
{
    *w = (struct walk){.follow = follow, .name = xstrdup("")};
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        store_err_errno(err, errno, "%.150s", folder);
    else if (push(w, fd, err) == 0)
        return 0;
    walk_close(w);
    return -1;
}

static void set_name(struct walk *w, const char *name, const char *after)
{
    size_t keep = w->stack[w->depth - 1].name_len, n = strlen(name), m = strlen(after);
    w->name = xrealloc(w->name, keep + n + m + 1);
    memcpy(w->name + keep, name, n);
    memcpy(w->name + keep + n, after, m + 1);
}

static int enter(struct walk *w, int parent, const char *name, struct store_err *err)
{
    int fd =
        openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (w->follow ? 0 : O_NOFOLLOW));
    set_name(w, name, "/");
    return fd < 0 ? store_err_errno(err, errno, "%.150s", w->name) : push(w, fd, err);
}

/* One entry of the innermost folder. WALK_END: nothing to tell of it. */
static enum walk_result look_at(struct walk *w, const char *name, int *fd, uint64_t *size,
                                struct store_err *err)
{
    struct stat st;
    int parent = dirfd(w->stack[w->depth - 1].dir);
    int flags = w->follow ? 0 : O_NOFOLLOW;
    set_name(w, name, "");
    if (fstatat(parent, name, &st, w->follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0) {
        store_err_errno(err, errno, "%.150s", w->name);
        return WALK_FAILED;
    }
    if (S_ISDIR(st.st_mode))
        return enter(w, parent, name, err) == 0 ? WALK_END : WALK_FAILED;
    if (!S_ISREG(st.st_mode)) {
        w->skipped++;
        return WALK_END;
    }
    /* O_NONBLOCK: should it have become a pipe meanwhile. */
    *fd = openat(parent, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags);
    *size = (uint64_t)st.st_size;
    if (*fd >= 0)
        return WALK_FILE;
    store_err_errno(err, errno, "%.150s", w->name);
    return WALK_FAILED;
}

static void pop(struct walk *w)
{
    closedir(w->stack[--w->depth].dir);
}

enum walk_result walk_next(struct walk *w, const char **name, int *fd, uint64_t *size,
                           struct store_err *err)
{
    while (w->depth > 0) {
        errno = 0;
        const struct dirent *e = readdir(w->stack[w->depth - 1].dir);
        if (!e && errno) {
            set_name(w, "", "");
            store_err_errno(err, errno, "folder %.150s", w->name);
            pop(w);
            return WALK_FAILED;
        }
        if (!e) {
            pop(w);
            continue;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        enum walk_result r = look_at(w, e->d_name, fd, size, err);
        if (r != WALK_END) {
            *name = w->name;
            return r;
        }
    }
    return WALK_END;
}

void walk_close(struct walk *w)
{
    while (w->depth > 0)
        pop(w);
    free(w->name);
    w->name = NULL;
}
