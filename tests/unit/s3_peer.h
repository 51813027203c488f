/* s3_peer.h - a SCRIPTED PEER in place of an S3 server: it answers the nth request with the nth
 * step, right or wrong, and keeps what it was asked. It checks no signature and stores nothing; the
 * integration tests have a real store. One thread; look at its requests after peer_stop() only.
 *
 *     static const struct step script[] = {{.status = 503}, {.status = 200, .body = "hello"}};
 */
#ifndef TESTS_UNIT_S3_PEER_H
#define TESTS_UNIT_S3_PEER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"

enum peer_trouble {
    PLAYS_FAIR,
    CLOSES_BEFORE_HEAD, /* takes the whole request and goes */
    CLOSES_ON_HEAD,     /* goes when the request's head is in, with its body on the way */
    CUTS_BODY,          /* tells the body's length and sends only `sent` bytes of it */
    TELLS_NO_LENGTH,    /* sends `sent` bytes of the body; the end of the connection ends it */
    STALLS,             /* like CUTS_BODY, but stays and says nothing more */
    ANSWERS_LATE,       /* a tenth of a second after the request */
    STAYS_SILENT,       /* takes the request and never answers */
    READS_LATE,         /* takes `length` bytes of the body, leaves the rest in a small socket for
                         * `sent` milliseconds, then takes that too */
};

struct step {
    int status; /* 0: the body is sent without any head */
    /* "Name: value\r\n" lines; a Date of now is added unless there is one. "Name: =\r\n" alone
     * gives back what the first request had of that name. */
    const char *headers;
    const char *body;
    enum peer_trouble trouble;
    size_t sent;
    long length; /* > 0: the Content-Length that is told instead (HEAD); see READS_LATE */
};

enum { PEER_MAX_REQUESTS = 64, PEER_MAX_CONNECTIONS = 32 };

struct request {
    char head[8192];
    struct buf body;     /* what came of it */
    unsigned connection; /* counted from 1 */
};

struct peer {
    const struct step *script;
    size_t n_steps;
    int listener, stop[2];
    unsigned port;
    pthread_t thread;
    struct request requests[PEER_MAX_REQUESTS];
    size_t n_requests;
    int fds[PEER_MAX_CONNECTIONS];
    unsigned numbers[PEER_MAX_CONNECTIONS], n_fds, accepted;
    atomic_size_t taken;        /* bytes of the latest body, to be read at any time */
    atomic_uint closed, resets; /* connections that the other side has ended, in peace or not */
};

static inline void peer_send(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        bytes += sent;
        n -= (size_t)sent;
    }
}

static inline const char *status_text(int status)
{
    return status < 300 ? "Fine" : "Not fine";
}

static inline const char *request_header(const struct request *r, const char *name);

static inline void peer_add_headers(const struct peer *p, const char *headers, struct buf *out)
{
    const char *echo = strstr(headers, ": =\r\n");
    char name[64];
    if (!echo) {
        buf_adds(out, headers);
        return;
    }
    snprintf(name, sizeof(name), "%.*s", (int)(echo - headers), headers);
    buf_addf(out, "%s: %s\r\n", name, request_header(&p->requests[0], name));
}

static inline void peer_answer(const struct peer *p, int fd, const struct step *s, bool is_head)
{
    struct buf b = BUF_INIT(1 << 20);
    const char *body = s->body ? s->body : "";
    size_t n = strlen(body);
    bool whole = s->trouble == PLAYS_FAIR || s->trouble == ANSWERS_LATE || s->trouble == READS_LATE;
    if (s->status) {
        buf_addf(&b, "HTTP/1.1 %d %s\r\n", s->status, status_text(s->status));
        if (!s->headers || !strcasestr(s->headers, "date: ")) {
            char date[64];
            time_t now = time(NULL);
            struct tm tm;
            strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
            buf_addf(&b, "Date: %s\r\n", date);
        }
        peer_add_headers(p, s->headers ? s->headers : "", &b);
        if (s->trouble == TELLS_NO_LENGTH)
            buf_adds(&b, "Connection: close\r\n");
        else if (s->status != 204 && s->status != 304)
            buf_addf(&b, "Content-Length: %ld\r\n",
                     s->length > 0 && s->trouble != READS_LATE ? s->length : (long)n);
        buf_adds(&b, "\r\n");
    }
    if (!is_head)
        buf_add(&b, body, whole ? n : s->sent);
    peer_send(fd, buf_str(&b), b.len);
    buf_cleanup(&b);
}

static inline ssize_t peer_receive(struct peer *p, int fd, char *bytes, size_t cap)
{
    ssize_t got = recv(fd, bytes, cap, 0);
    if (got == 0)
        atomic_fetch_add(&p->closed, 1);
    if (got < 0 && errno == ECONNRESET)
        atomic_fetch_add(&p->resets, 1);
    return got;
}

/* Reads up to the empty line; bytes behind it go into the body. */
static inline bool peer_read_head(struct peer *p, int fd, struct request *r)
{
    size_t n = 0;
    for (;;) {
        ssize_t got = peer_receive(p, fd, r->head + n, sizeof(r->head) - 1 - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
        r->head[n] = '\0';
        char *end = strstr(r->head, "\r\n\r\n");
        if (end) {
            buf_add(&r->body, end + 4, (size_t)(r->head + n - end - 4));
            end[2] = '\0';
            return true;
        }
        if (n == sizeof(r->head) - 1)
            return false;
    }
}

/* As much of it as the head tells, or up to max bytes. */
static inline bool peer_read_body(struct peer *p, int fd, struct request *r, size_t max)
{
    const char *length = strcasestr(r->head, "\r\ncontent-length: ");
    size_t want = length ? strtoul(length + 18, NULL, 10) : 0;
    char bytes[65536];
    for (;;) {
        atomic_store(&p->taken, r->body.len);
        if (r->body.len >= want || r->body.len >= max)
            return true;
        ssize_t got = peer_receive(p, fd, bytes, sizeof(bytes));
        if (got <= 0)
            return false;
        buf_add(&r->body, bytes, (size_t)got);
    }
}

/* Returns whether the connection stays. */
static inline bool peer_serve(struct peer *p, int fd, unsigned number)
{
    static const struct step over = {.status = 500, .body = "the script is over"};
    if (p->n_requests == PEER_MAX_REQUESTS)
        return false;
    struct request *r = &p->requests[p->n_requests];
    buf_init(&r->body, 64 << 20);
    r->connection = number;
    if (!peer_read_head(p, fd, r))
        return false;
    const struct step *s = p->n_requests < p->n_steps ? &p->script[p->n_requests] : &over;
    p->n_requests++;
    if (s->trouble == READS_LATE) {
        if (!peer_read_body(p, fd, r, (size_t)s->length))
            return false;
        usleep((useconds_t)s->sent * 1000);
    }
    if (s->trouble == CLOSES_ON_HEAD || !peer_read_body(p, fd, r, SIZE_MAX) ||
        s->trouble == CLOSES_BEFORE_HEAD)
        return false;
    if (s->trouble == STAYS_SILENT)
        return true;
    if (s->trouble == ANSWERS_LATE)
        usleep(100000);
    peer_answer(p, fd, s, strncmp(r->head, "HEAD ", 5) == 0);
    return s->status && (s->trouble == PLAYS_FAIR || s->trouble == STALLS ||
                         s->trouble == ANSWERS_LATE || s->trouble == READS_LATE);
}

static inline void *peer_run(void *user)
{
    struct peer *p = user;
    for (;;) {
        struct pollfd polls[PEER_MAX_CONNECTIONS + 2] = {{.fd = p->stop[0], .events = POLLIN},
                                                         {.fd = p->listener, .events = POLLIN}};
        for (unsigned i = 0; i < p->n_fds; i++)
            polls[i + 2] = (struct pollfd){.fd = p->fds[i], .events = POLLIN};
        poll(polls, p->n_fds + 2, -1);
        if (polls[0].revents)
            return NULL;
        for (unsigned i = p->n_fds; i-- > 0;)
            if (polls[i + 2].revents && !peer_serve(p, p->fds[i], p->numbers[i])) {
                close(p->fds[i]);
                p->n_fds--;
                p->fds[i] = p->fds[p->n_fds];
                p->numbers[i] = p->numbers[p->n_fds];
            }
        if (polls[1].revents && p->n_fds < PEER_MAX_CONNECTIONS) {
            p->numbers[p->n_fds] = ++p->accepted;
            p->fds[p->n_fds++] = accept(p->listener, NULL, NULL);
        }
    }
}

static inline void peer_start(struct peer *p, const struct step *script, size_t n_steps)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    memset(p, 0, sizeof(*p));
    p->script = script;
    p->n_steps = n_steps;
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (size_t i = 0; i < n_steps; i++)
        if (script[i].trouble == READS_LATE)
            setsockopt(p->listener, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int));
    if (pipe(p->stop) != 0 || bind(p->listener, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(p->listener, 16) != 0 || getsockname(p->listener, (struct sockaddr *)&at, &n) != 0 ||
        pthread_create(&p->thread, NULL, peer_run, p) != 0)
        abort();
    p->port = ntohs(at.sin_port);
}

static inline void peer_stop(struct peer *p)
{
    ssize_t n = write(p->stop[1], "x", 1);
    (void)n;
    pthread_join(p->thread, NULL);
    for (unsigned i = 0; i < p->n_fds; i++)
        close(p->fds[i]);
    close(p->listener);
    close(p->stop[0]);
    close(p->stop[1]);
}

static inline void peer_cleanup(struct peer *p)
{
    for (size_t i = 0; i < PEER_MAX_REQUESTS; i++)
        buf_cleanup(&p->requests[i].body);
}

/* A header's value, or NULL; lives until the next call. */
static inline const char *request_header(const struct request *r, const char *name)
{
    static char value[4096];
    char start[128];
    snprintf(start, sizeof(start), "\r\n%s: ", name);
    const char *at = strcasestr(r->head, start);
    if (!at)
        return NULL;
    at += strlen(start);
    snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

#endif
