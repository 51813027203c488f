#include "service/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 1024, SOCKET_FILE_MODE = 0660 };

static const char unix_scheme[] = "unix:";

/* ---- TCP ---- */

/* Splits "host:port" or "[v6]:port". */
static int split_address(const char *address, char host[256], char port[16], struct store_err *err)
{
    const char *colon = strrchr(address, ':');
    const char *start = address, *end = colon;
    if (colon && address[0] == '[') {
        start++;
        end--;
        if (end < start || *end != ']')
            colon = NULL;
    }
    if (!colon || end - start > 255 || strlen(colon + 1) > 15 || !colon[1] ||
        (address[0] != '[' && memchr(start, ':', (size_t)(end - start))))
        return store_err_set(err, STORE_INVALID, "'%s' is not host:port, [v6]:port or unix:/path",
                             address);
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    strcpy(port, colon + 1);
    return 0;
}

static int tell_bound(int fd, char bound[LISTEN_ADDRESS_SIZE], struct store_err *err)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);
    char host[LISTEN_ADDRESS_SIZE - 9], port[8];
    if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
        return store_err_errno(err, errno, "getsockname");
    if (getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return store_err_set(err, STORE_FAILED, "cannot tell the address that is listened on");
    snprintf(bound, LISTEN_ADDRESS_SIZE, sa.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
             port);
    return 0;
}

static int listen_on(const struct addrinfo *ai, const char *address, struct store_err *err)
{
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0)
        return store_err_errno(err, errno, "cannot create a socket for '%s'", address);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
        return fd;
    store_err_errno(err, errno, "cannot listen on '%s'", address);
    close(fd);
    return -1;
}

static int open_tcp(const char *address, char bound[LISTEN_ADDRESS_SIZE], struct store_err *err)
{
    char host[256], port[16];
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (split_address(address, host, port, err) != 0)
        return -1;
    int rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (rc != 0)
        return store_err_set(err, STORE_INVALID, "cannot resolve '%s': %s", address,
                             gai_strerror(rc));
    int fd = listen_on(found, address, err);
    freeaddrinfo(found);
    if (fd >= 0 && bound && tell_bound(fd, bound, err) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* ---- Unix-domain sockets ---- */

static int new_socket(struct store_err *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        store_err_errno(err, errno, "cannot create a socket");
    return fd;
}

/* Whether it is a socket that nobody listens on. */
static bool is_left_over(const struct sockaddr_un *at)
{
    struct stat st;
    struct store_err err;
    if (lstat(at->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = new_socket(&err);
    bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof(*at)) != 0 &&
                   errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused;
}

static int bind_file(int fd, const struct sockaddr_un *at)
{
    if (bind(fd, (const struct sockaddr *)at, sizeof(*at)) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return -1;
    if (!is_left_over(at) || unlink(at->sun_path) != 0) {
        errno = EADDRINUSE;
        return -1;
    }
    return bind(fd, (const struct sockaddr *)at, sizeof(*at));
}

static int open_unix(const char *path, char bound[LISTEN_ADDRESS_SIZE], struct store_err *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (path[0] != '/' || strlen(path) >= sizeof(at.sun_path))
        return store_err_set(err, STORE_INVALID,
                             "'unix:%s': expected an absolute path of at most %zu bytes", path,
                             sizeof(at.sun_path) - 1);
    strcpy(at.sun_path, path);
    int fd = new_socket(err);
    if (fd < 0)
        return -1;
    if (bind_file(fd, &at) != 0) {
        store_err_errno(err, errno, "cannot listen on 'unix:%s'", path);
        close(fd);
        return -1;
    }
    if (chmod(path, SOCKET_FILE_MODE) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        store_err_errno(err, errno, "cannot listen on 'unix:%s'", path);
        listen_close(fd);
        return -1;
    }
    if (bound)
        snprintf(bound, LISTEN_ADDRESS_SIZE, "%s%s", unix_scheme, path);
    return fd;
}

/* ---- Either ---- */

int listen_open(const char *address, char bound[LISTEN_ADDRESS_SIZE], struct store_err *err)
{
    size_t n = sizeof(unix_scheme) - 1;
    return strncmp(address, unix_scheme, n) == 0 ? open_unix(address + n, bound, err)
                                                 : open_tcp(address, bound, err);
}

void listen_close(int fd)
{
    struct sockaddr_un at = {0};
    socklen_t len = sizeof(at);
    if (fd < 0)
        return;
    if (getsockname(fd, (struct sockaddr *)&at, &len) == 0 && at.sun_family == AF_UNIX)
        unlink(at.sun_path);
    close(fd);
}
