#include "storectl/source.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <store/store.h>

int source_open_fd(struct source *s, struct loop *loop, int fd, bool own, const char *name,
                   void (*ready)(void *user, uint32_t events), void *user, struct store_err *err)
{
    struct stat st;
    *s = (struct source){.fd = fd, .size = STORE_SIZE_UNKNOWN, .own = own, .loop = loop};
    s->watch = (struct loop_watch){.fn = ready, .user = user, .fd = -1};
    if (fstat(fd, &st) != 0)
        store_err_errno(err, errno, "%.150s", name);
    else if (S_ISDIR(st.st_mode))
        store_err_set(err, STORE_INVALID, "%.150s: is a folder (cp -r copies it)", name);
    else {
        /* Standard input may stand in the middle of a file. */
        off_t from = S_ISREG(st.st_mode) ? lseek(fd, 0, SEEK_CUR) : 0;
        if (S_ISREG(st.st_mode) && from <= st.st_size)
            s->size = (uint64_t)(st.st_size - from);
        return 0;
    }
    source_close(s);
    return -1;
}

static bool is_ready(const struct source *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLIN};
    return s->size != STORE_SIZE_UNKNOWN || poll(&p, 1, 0) != 0;
}

ssize_t source_read(struct source *s, void *buf, size_t cap)
{
    ssize_t n;
    if (!is_ready(s)) {
        if (loop_watch_set(s->loop, &s->watch, s->fd, EPOLLIN, NULL) != 0)
            return STORE_READ_ABORT;
        return STORE_READ_PAUSE;
    }
    loop_watch_clear(s->loop, &s->watch);
    do
        n = read(s->fd, buf, cap);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        s->sys_errno = errno;
        return STORE_READ_ABORT;
    }
    s->at += (uint64_t)n;
    s->short_read = n == 0 && s->size != STORE_SIZE_UNKNOWN && s->at < s->size;
    return n;
}

void source_rewind(struct source *s)
{
    if (lseek(s->fd, -(off_t)s->at, SEEK_CUR) < 0)
        s->sys_errno = errno; /* the next read ends it */
    s->at = 0;
}

void source_close(struct source *s)
{
    loop_watch_clear(s->loop, &s->watch);
    if (s->own && s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}
