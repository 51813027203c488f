/* Replaces functions of the C library for the whole program; see faultline.h. Each is one line of
 * the lists below: what it returns, its name, parameters, arguments, class, what it returns on
 * failure, and the errors that a working system may give. Errors that would be lies are not in the
 * lists: that a file which exists does not, for example. */
#undef _FORTIFY_SOURCE /* its inline functions would be in the way of ours */
#include "tests/tools/faultline.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* Seen by the libraries whatever -fvisibility says. */
#define EXPORT __attribute__((visibility("default")))

enum { SHORT = -1, END = -2 }; /* in lists of errors: some of the bytes; none, and no error */
enum { MOVES = 1 << 8 };       /* beside the class: a call that has a middle */

/* ---- The plan ---- */

static struct faultline_plan plan;
static atomic_bool armed;
static atomic_ulong counted;
static struct {
    atomic_bool hit;
    const char *_Atomic function;
    atomic_int error;
    atomic_uint variants;
} seen;
static atomic_long blocks;
static bool skips_syncs;

void faultline_arm(const struct faultline_plan *p)
{
    plan = *p;
    atomic_store(&counted, 0);
    atomic_store(&seen.hit, false);
    atomic_store(&seen.function, "");
    atomic_store(&seen.error, 0);
    atomic_store(&seen.variants, 0);
    atomic_store(&armed, true);
}

void faultline_disarm(struct faultline_report *out)
{
    atomic_store(&armed, false);
    *out = (struct faultline_report){
        .hit = atomic_load(&seen.hit),
        .calls = atomic_load(&counted),
        .function = atomic_load(&seen.function),
        .error = atomic_load(&seen.error),
        .variants = atomic_load(&seen.variants),
    };
}

void faultline_skip_syncs(void)
{
    skips_syncs = true;
}

long faultline_blocks(void)
{
    return atomic_load(&blocks);
}

/* Of the linker: the program's own code lies between. */
extern char __executable_start, etext;

static bool is_own(const void *caller)
{
    return (const char *)caller >= &__executable_start && (const char *)caller < &etext;
}

static bool is_meant(const void *caller)
{
    Dl_info where;
    if (is_own(caller))
        return true;
    return plan.everyone && !(plan.spare && dladdr(caller, &where) != 0 && where.dli_fname &&
                              strstr(where.dli_fname, plan.spare));
}

static void die(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
}

/* What is to become of a call. */
struct fate {
    int error; /* fail with it; SHORT, END */
    bool dies; /* afterwards */
};

static struct fate fail_call(const int *errors)
{
    unsigned n = 0;
    while (errors[n] != 0)
        n++;
    int error = errors[plan.variant % n];
    atomic_store(&seen.variants, n);
    atomic_store(&seen.error, error > 0 ? error : 0);
    return (struct fate){.error = error};
}

/* Asked at the beginning of each call. errors ends in 0, and is not empty. */
static struct fate meet(const char *function, unsigned class, const int *errors, const void *caller)
{
    const struct fate none = {0};
    if (!atomic_load(&armed) || !(plan.classes & class) || !is_meant(caller) ||
        (plan.action == FAULTLINE_KILL_MIDWAY && !(class & MOVES)) ||
        atomic_fetch_add(&counted, 1) + 1 != plan.nth)
        return none;
    atomic_store(&seen.function, function);
    atomic_store(&seen.hit, true);
    switch (plan.action) {
    case FAULTLINE_FAIL: return fail_call(errors);
    case FAULTLINE_KILL_BEFORE: die(); break;
    case FAULTLINE_KILL_MIDWAY: return (struct fate){.error = SHORT, .dies = true};
    case FAULTLINE_KILL_AFTER: return (struct fate){.dies = true};
    }
    return none;
}

static bool is_refused(const struct fate *f)
{
    if (f->error <= 0)
        return false;
    errno = f->error;
    return true;
}

/* Asked at the end of one that was made. */
static void leave(const struct fate *f)
{
    if (f->dies)
        die();
}

static void *next(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    if (!f)
        abort();
    return f;
}

/* Types and lists of parameters cannot stand in parentheses. */
/* NOLINTBEGIN(bugprone-macro-parentheses) */
#define REAL(name)                                \
    static _Atomic(__typeof__(&name)) found;      \
    __typeof__(&name) real = atomic_load(&found); \
    if (!real) {                                  \
        real = (__typeof__(&name))next(#name);    \
        atomic_store(&found, real);               \
    }

#define CALLER    __builtin_return_address(0)
#define LIST(...) ((const int[]){__VA_ARGS__, 0})

/* A call that is made or not. */
#define CALL(type, name, params, args, class, failure, ...)                  \
    EXPORT type name params                                                  \
    {                                                                        \
        REAL(name)                                                           \
        const struct fate f = meet(#name, class, LIST(__VA_ARGS__), CALLER); \
        if (is_refused(&f))                                                  \
            return failure;                                                  \
        type result = real args;                                             \
        leave(&f);                                                           \
        return result;                                                       \
    }

/* A call that moves n bytes, maybe fewer than it was asked to. */
#define MOVE(name, params, args, class, ...)                                                 \
    EXPORT ssize_t name params                                                               \
    {                                                                                        \
        REAL(name)                                                                           \
        const struct fate f = is_wakeup(fd)                                                  \
                                  ? (struct fate){0}                                         \
                                  : meet(#name, (class) | MOVES, LIST(__VA_ARGS__), CALLER); \
        if (f.error == EAGAIN || f.error == SHORT)                                           \
            promise_edge(fd);                                                                \
        if (is_refused(&f))                                                                  \
            return -1;                                                                       \
        if (f.error == END)                                                                  \
            return 0;                                                                        \
        if (f.error == SHORT && n > 1)                                                       \
            n /= 2;                                                                          \
        ssize_t result = real args;                                                          \
        if (f.dies)                                                                          \
            die();                                                                           \
        return result;                                                                       \
    }

/* NOLINTEND(bugprone-macro-parentheses) */

/* ---- Descriptors that only wake a thread ---- */

/* Reading and writing an eventfd cannot fail the way files do. */
enum { MAX_FD = 4096 };
static atomic_bool wakeups[MAX_FD];

static bool is_wakeup(int fd)
{
    return fd >= 0 && fd < MAX_FD && atomic_load(&wakeups[fd]);
}

/* ---- Descriptors that are watched for edges ---- */

static struct {
    int epoll;
    struct epoll_event event; /* without EPOLLET: it is not */
} edges[MAX_FD];

static void note_edges(int epoll, int fd, const struct epoll_event *event)
{
    if (fd < 0 || fd >= MAX_FD)
        return;
    edges[fd].epoll = epoll;
    edges[fd].event = event ? *event : (struct epoll_event){0};
}

/* Whoever is told that there is no more for now is told by an edge when there is; the kernel, which
 * has more, knows of no reason for one. */
static void promise_edge(int fd)
{
    REAL(epoll_ctl)
    if (fd >= 0 && fd < MAX_FD && (edges[fd].event.events & EPOLLET))
        real(edges[fd].epoll, EPOLL_CTL_MOD, fd, &edges[fd].event);
}

EXPORT int eventfd(unsigned int initial, int flags)
{
    REAL(eventfd)
    const struct fate f = meet("eventfd", FAULTLINE_SYSTEM, LIST(EMFILE), CALLER);
    if (is_refused(&f))
        return -1;
    int fd = real(initial, flags);
    if (fd >= 0 && fd < MAX_FD)
        atomic_store(&wakeups[fd], true);
    leave(&f);
    return fd;
}

/* It is closed all the same, as on Linux. */
EXPORT int close(int fd)
{
    REAL(close)
    const struct fate f = meet("close", FAULTLINE_SYSTEM, LIST(EIO, EINTR), CALLER);
    if (fd >= 0 && fd < MAX_FD)
        atomic_store(&wakeups[fd], false);
    note_edges(-1, fd, NULL);
    int rc = real(fd);
    leave(&f);
    return is_refused(&f) ? -1 : rc;
}

/* ---- Files and folders ---- */

#define FILES FAULTLINE_SYSTEM

/* open() and openat() take a mode only where they may create. */
EXPORT int openat(int dir, const char *path, int flags, ...)
{
    REAL(openat)
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    const struct fate f = meet("openat", FILES, LIST(EMFILE, EIO, ENOSPC, EINTR), CALLER);
    if (is_refused(&f))
        return -1;
    int fd = real(dir, path, flags, mode);
    leave(&f);
    return fd;
}

EXPORT int open(const char *path, int flags, ...)
{
    REAL(open)
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    const struct fate f = meet("open", FILES, LIST(EMFILE, EIO, EINTR), CALLER);
    if (is_refused(&f))
        return -1;
    int fd = real(path, flags, mode);
    leave(&f);
    return fd;
}

/* What the compiler makes of openat() when it does not know the flags. */
int __openat_2(int dir, const char *path, int flags);
CALL(int, __openat_2, (int dir, const char *path, int flags), (dir, path, flags), FILES, -1, EMFILE,
     EIO, EINTR)

/* Only openat2(), which has no function of its own. */
EXPORT long syscall(long number, ...)
{
    REAL(syscall)
    long a[6];
    va_list args;
    va_start(args, number);
    for (size_t i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    struct fate f = {0};
    if (number == SYS_openat2)
        f = meet("openat2", FILES, LIST(EMFILE, EIO, EAGAIN, EINTR), CALLER);
    if (is_refused(&f))
        return -1;
    long result = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    leave(&f);
    return result;
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
    REAL(ioctl)
    va_list args;
    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    const struct fate f = meet("ioctl", FILES, LIST(EOPNOTSUPP, EIO, ENOSPC), CALLER);
    if (is_refused(&f))
        return -1;
    int result = real(fd, request, argument);
    leave(&f);
    return result;
}

MOVE(read, (int fd, void *to, size_t n), (fd, to, n), FILES, EIO, EINTR, SHORT)
MOVE(pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at), FILES, EIO, EINTR, SHORT)
MOVE(write, (int fd, const void *from, size_t n), (fd, from, n), FILES, ENOSPC, EIO, EINTR, SHORT)
MOVE(pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at), FILES, ENOSPC,
     EDQUOT, EIO, EINTR, SHORT)
MOVE(copy_file_range, (int fd, off_t *from_at, int to, off_t *to_at, size_t n, unsigned int flags),
     (fd, from_at, to, to_at, n, flags), FILES, ENOSPC, EIO, EXDEV, EINTR, SHORT)

EXPORT int fsync(int fd)
{
    REAL(fsync)
    const struct fate f = meet("fsync", FILES, LIST(EIO, ENOSPC, EINTR), CALLER);
    if (is_refused(&f))
        return -1;
    int result = skips_syncs ? 0 : real(fd);
    leave(&f);
    return result;
}

CALL(int, fstat, (int fd, struct stat *st), (fd, st), FILES, -1, EIO)
CALL(int, fstatat, (int dir, const char *path, struct stat *st, int flags), (dir, path, st, flags),
     FILES, -1, EIO)
CALL(int, access, (const char *path, int mode), (path, mode), FILES, -1, EIO)
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), FILES, -1, ENOSPC, EIO)
/* ENOENT: somebody else removed the folder that it is to be in */
CALL(int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode), FILES, -1, ENOSPC,
     EIO, EMLINK, ENOENT)
CALL(int, renameat, (int from, const char *old, int to, const char *new), (from, old, to, new),
     FILES, -1, ENOSPC, EIO, ENOENT)
CALL(int, linkat, (int from, const char *old, int to, const char *new, int flags),
     (from, old, to, new, flags), FILES, -1, ENOSPC, EIO, ENOENT, EMLINK)
CALL(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags), FILES, -1, EIO,
     EBUSY)
CALL(int, fsetxattr, (int fd, const char *name, const void *value, size_t n, int flags),
     (fd, name, value, n, flags), FILES, -1, ENOSPC, EDQUOT, EIO)
CALL(ssize_t, fgetxattr, (int fd, const char *name, void *value, size_t n), (fd, name, value, n),
     FILES, -1, EIO, ENOMEM)
/* Only locks of open files. */
EXPORT int fcntl(int fd, int command, ...)
{
    REAL(fcntl)
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    struct fate f = {0};
    if (command == F_OFD_SETLK)
        f = meet("fcntl", FILES, LIST(EINTR, EAGAIN, ENOLCK), CALLER);
    if (is_refused(&f))
        return -1;
    int result = real(fd, command, argument);
    leave(&f);
    return result;
}

CALL(DIR *, fdopendir, (int fd), (fd), FILES, NULL, ENOMEM)
CALL(struct dirent *, readdir, (DIR * d), (d), FILES, NULL, EIO)

/* As close(). */
EXPORT int closedir(DIR *d)
{
    REAL(closedir)
    const struct fate f = meet("closedir", FILES, LIST(EIO), CALLER);
    int rc = real(d);
    leave(&f);
    return is_refused(&f) ? -1 : rc;
}

CALL(int, epoll_create1, (int flags), (flags), FILES, -1, EMFILE)
/* Taking a descriptor out of an epoll needs nothing that could be short. */
EXPORT int epoll_ctl(int epoll, int how, int fd, struct epoll_event *event)
{
    REAL(epoll_ctl)
    struct fate f = {0};
    if (how != EPOLL_CTL_DEL)
        f = meet("epoll_ctl", FILES, LIST(ENOMEM, ENOSPC), CALLER);
    if (is_refused(&f))
        return -1;
    int result = real(epoll, how, fd, event);
    if (result == 0)
        note_edges(epoll, fd, how == EPOLL_CTL_DEL ? NULL : event);
    leave(&f);
    return result;
}

CALL(int, epoll_wait, (int epoll, struct epoll_event *events, int n, int wait_ms),
     (epoll, events, n, wait_ms), FILES, -1, EINTR)
/* ENOSYS: a sandbox forbids it */
CALL(ssize_t, getrandom, (void *to, size_t n, unsigned int flags), (to, n, flags), FILES, -1, EINTR,
     ENOSYS)
CALL(int, nanosleep, (const struct timespec *wait, struct timespec *rest), (wait, rest), FILES, -1,
     EINTR)

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *argument)
{
    REAL(pthread_create)
    const struct fate f = meet("pthread_create", FILES, LIST(EAGAIN), CALLER);
    if (f.error > 0)
        return f.error;
    int result = real(thread, attr, run, argument);
    leave(&f);
    return result;
}

/* ---- The network ---- */

#define NET FAULTLINE_NETWORK

CALL(int, socket, (int domain, int type, int protocol), (domain, type, protocol), NET, -1, EMFILE,
     EACCES)
CALL(int, socketpair, (int domain, int type, int protocol, int fds[2]),
     (domain, type, protocol, fds), NET, -1, EMFILE)
CALL(int, connect, (int fd, const struct sockaddr *to, socklen_t n), (fd, to, n), NET, -1,
     ECONNREFUSED, ENETUNREACH, EINTR)
CALL(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t n),
     (fd, level, name, value, n), NET, -1, ENOPROTOOPT)
CALL(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *n),
     (fd, level, name, value, n), NET, -1, ENOBUFS)
CALL(int, getsockname, (int fd, struct sockaddr *name, socklen_t *n), (fd, name, n), NET, -1,
     ENOBUFS)
CALL(int, getpeername, (int fd, struct sockaddr *name, socklen_t *n), (fd, name, n), NET, -1,
     ENOTCONN)
CALL(int, poll, (struct pollfd * fds, nfds_t n, int wait_ms), (fds, n, wait_ms), NET, -1, EINTR,
     ENOMEM)
CALL(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags), NET,
     -1, ECONNRESET, EPIPE, EAGAIN)
CALL(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), NET, -1,
     ECONNRESET, EAGAIN)
MOVE(send, (int fd, const void *from, size_t n, int flags), (fd, from, n, flags), NET, ECONNRESET,
     EPIPE, EAGAIN, SHORT)
MOVE(recv, (int fd, void *to, size_t n, int flags), (fd, to, n, flags), NET, ECONNRESET, EAGAIN,
     END, SHORT)

EXPORT int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out)
{
    REAL(getaddrinfo)
    const struct fate f = meet("getaddrinfo", NET, LIST(EAGAIN), CALLER);
    if (f.error > 0)
        return EAI_AGAIN;
    int result = real(node, service, hints, out);
    leave(&f);
    return result;
}

/* ---- Memory ---- */

/* A sanitizer's allocator that is linked into the program, where ours would be a second one: all
 * but gcc's AddressSanitizer, which is a library. */
#if defined(SANITIZER_thread) || defined(SANITIZER_memory) || \
    (defined(SANITIZER_address) && defined(__clang__))
#define HAS_OWN_ALLOCATOR 1
#endif

#ifndef HAS_OWN_ALLOCATOR
/* What is below whatever replaces the public names. */
#ifdef SANITIZER_address
#define BELOW(name) __interceptor_##name
#else
#define BELOW(name) __libc_##name
#endif
void *BELOW(malloc)(size_t n);
void *BELOW(calloc)(size_t count, size_t size);
void *BELOW(realloc)(void *p, size_t n);
void *BELOW(memalign)(size_t alignment, size_t n);
void BELOW(free)(void *p);

static void *given(void *p)
{
    if (p)
        atomic_fetch_add(&blocks, 1);
    return p;
}

#define REFUSED(name) (meet(name, FAULTLINE_MEMORY, LIST(ENOMEM), CALLER).error > 0)

static void *refuse(void)
{
    errno = ENOMEM;
    return NULL;
}

EXPORT void *malloc(size_t n)
{
    return REFUSED("malloc") ? refuse() : given(BELOW(malloc)(n));
}

EXPORT void *calloc(size_t count, size_t size)
{
    return REFUSED("calloc") ? refuse() : given(BELOW(calloc)(count, size));
}

EXPORT void *realloc(void *p, size_t n)
{
    if (REFUSED("realloc"))
        return refuse();
    void *moved = BELOW(realloc)(p, n);
    if (!p)
        given(moved);
    else if (!moved && n == 0)
        atomic_fetch_sub(&blocks, 1);
    return moved;
}

EXPORT void *memalign(size_t alignment, size_t n)
{
    return REFUSED("memalign") ? refuse() : given(BELOW(memalign)(alignment, n));
}

EXPORT void *aligned_alloc(size_t alignment, size_t n)
{
    return REFUSED("aligned_alloc") ? refuse() : given(BELOW(memalign)(alignment, n));
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t n)
{
    void *p = REFUSED("posix_memalign") ? NULL : given(BELOW(memalign)(alignment, n));
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

EXPORT void free(void *p)
{
    if (p)
        atomic_fetch_sub(&blocks, 1);
    BELOW(free)(p);
}

/* The library's would allocate in the library's name. */
EXPORT char *strndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *copy = REFUSED("strndup") ? refuse() : given(BELOW(malloc)(len + 1));
    if (!copy)
        return NULL;
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

EXPORT char *strdup(const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = REFUSED("strdup") ? refuse() : given(BELOW(malloc)(size));
    return copy ? memcpy(copy, s, size) : NULL;
}
#endif
