/* redis_fixture.h - a real redis-server on free ports of 127.0.0.1, which ends with the test.
 *
 *     struct redis_server s;
 *     if (!redis_launch(&s, (const char *const[]){"--requirepass", "x", NULL}))
 *         skip();    // redis-server is not installed
 *     redis_end(&s);
 *
 * It keeps nothing on disk. */
#ifndef TESTS_UNIT_REDIS_FIXTURE_H
#define TESTS_UNIT_REDIS_FIXTURE_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REDIS_MAX_ARGS = 48 };

struct redis_server {
    pid_t pid; /* 0: does not run */
    int port;  /* in the clear */
    const char *const *more;
};

static inline int redis_free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof(a);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) ||
        getsockname(fd, (struct sockaddr *)&a, &n))
        abort();
    close(fd);
    return ntohs(a.sin_port);
}

/* -1: nothing listens there. */
static inline int redis_socket(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return fd;
    close(fd);
    return -1;
}

static inline void redis_exec(const struct redis_server *s, pid_t parent)
{
    char port[8];
    const char *argv[REDIS_MAX_ARGS] = {
        "redis-server", "--port",    port,           "--bind", "127.0.0.1",
        "--save",       "",          "--appendonly", "no",     "--maxmemory-policy",
        "noeviction",   "--logfile", "/dev/null",    "--dir",  "/"};
    size_t n = 0;
    while (argv[n])
        n++;
    for (const char *const *a = s->more; a && *a && n + 1 < REDIS_MAX_ARGS; a++)
        argv[n++] = *a;
    snprintf(port, sizeof(port), "%d", s->port);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* Starts it at its port. Returns whether it came up. */
static inline bool redis_start(struct redis_server *s)
{
    pid_t parent = getpid();
    s->pid = fork();
    if (s->pid == 0)
        redis_exec(s, parent);
    for (int i = 0; i < 500; i++) {
        int fd;
        if (waitpid(s->pid, NULL, WNOHANG) != 0)
            break;
        if ((fd = redis_socket(s->port)) >= 0)
            return close(fd) == 0;
        usleep(10000);
    }
    s->pid = 0;
    return false;
}

/* At a free port; somebody may take it in between. more: further arguments, which must outlive the
 * server, ended by NULL; or NULL. */
static inline bool redis_launch(struct redis_server *s, const char *const *more)
{
    *s = (struct redis_server){.more = more};
    for (int i = 0; i < 10 && s->pid == 0; i++) {
        s->port = redis_free_port();
        redis_start(s);
    }
    return s->pid > 0;
}

static inline void redis_end(struct redis_server *s)
{
    if (s->pid <= 0)
        return;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

/* A command of the test's own; out gets the first part of the raw answer. false: no answer. */
static inline bool redis_ask(const struct redis_server *s, const char *line, char *out, size_t size)
{
    char text[512];
    int fd = redis_socket(s->port), n = snprintf(text, sizeof(text), "%s\r\n", line);
    if (fd < 0)
        return false;
    ssize_t got = write(fd, text, (size_t)n) == n ? read(fd, out, size - 1) : -1;
    out[got > 0 ? got : 0] = '\0';
    close(fd);
    return got > 0;
}

#endif
