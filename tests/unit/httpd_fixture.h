/* httpd_fixture.h - the HTTP server over real sockets, with a handler that does what the target
 * says, and a client. Both share one thread: whenever the client has nothing to do, it lets the
 * loop run. Every wait is bounded. All functions are static, so each program has its own. */
#ifndef TESTS_UNIT_HTTPD_FIXTURE_H
#define TESTS_UNIT_HTTPD_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "service/httpd.h"
#include "service/listen.h"

enum { WAIT_MS = 20000, MIB = 1024 * 1024 };

static const struct httpd_conf usual = {
    .max_connections = 100,
    .pool_bytes = 16 * 1024,
    .write_buffer_bytes = 64 * 1024,
    .header_timeout_ms = 5000,
    .idle_timeout_ms = 5000,
    .send_timeout_ms = 5000,
};

static struct loop *loop;
static struct httpd *server;
static int listen_fd;
static struct sockaddr_in server_addr;

/* ---- The handler: what it does is in the target ---- */

struct seen {
    unsigned begun, body_ends, gone, ended, writables;
    uint64_t body_bytes, body_sum;
    int last_status;
    uint64_t last_sent, last_received;
    char last_client[64], last_header[64];
    struct http_req *open; /* the latest that has not ended */
};
static struct seen seen;

struct job {
    uint64_t length, at; /* of a streamed answer */
    struct http_req *r;
    struct loop_task resume;
    bool closing;
};

static inline char nth_byte(uint64_t i)
{
    return (char)((i * 31) ^ (i >> 9));
}

static inline bool target_is(const struct http_req *r, const char *prefix)
{
    return strncmp(http_target(r), prefix, strlen(prefix)) == 0;
}

static inline uint64_t target_number(const struct http_req *r)
{
    const char *slash = strrchr(http_target(r), '/');
    return strtoull(slash + 1, NULL, 10);
}

static inline void stream_on(struct http_req *r)
{
    struct job *j = http_state(r);
    static char piece[20000];
    bool more = true;
    while (more && j->at < j->length) {
        size_t n = j->length - j->at < sizeof(piece) ? (size_t)(j->length - j->at) : sizeof(piece);
        for (size_t i = 0; i < n; i++)
            piece[i] = nth_byte(j->at + i);
        j->at += n;
        more = http_write(r, piece, n);
    }
}

static inline void reply_text(struct http_req *r, int status, const char *text)
{
    struct http_field fields[] = {
        {"Content-Type", "text/plain"}, {"X-None", NULL}, {"X-Split", "a\r\nSet-Cookie: b"}};
    http_reply(r, status, fields, LEN(fields), text, strlen(text));
}

static inline void resume_body(void *user)
{
    struct job *j = user;
    http_resume_body(j->r);
}

static inline void begin_stream(struct http_req *r, struct job *j)
{
    struct http_field type = {"Content-Type", "application/octet-stream"};
    j->length = target_number(r);
    http_reply_stream(r, 200, &type, 1, j->length);
    if (target_is(r, "/stream/") && strcmp(http_method(r), "HEAD") != 0)
        stream_on(r);
}

static inline void on_begin(void *user, struct http_req *r)
{
    struct job *j = xcalloc(1, sizeof(*j));
    (void)user;
    seen.begun++;
    seen.open = r;
    snprintf(seen.last_client, sizeof(seen.last_client), "%s", http_client(r));
    const char *header = http_header(r, "x-test");
    snprintf(seen.last_header, sizeof(seen.last_header), "%s", header ? header : "(none)");
    j->r = r;
    j->resume = (struct loop_task){.fn = resume_body, .user = j};
    http_set_state(r, j);
    if (target_is(r, "/early"))
        reply_text(r, 403, "no");
    else if (target_is(r, "/stream/") || target_is(r, "/lazy/"))
        begin_stream(r, j);
    else if (target_is(r, "/abort-now"))
        http_abort(r);
}

static inline size_t on_body(void *user, struct http_req *r, const void *bytes, size_t n)
{
    struct job *j = http_state(r);
    (void)user;
    if (target_is(r, "/slow") && n > 3000)
        n = 3000;
    if (target_is(r, "/stuck"))
        return 0;
    for (size_t i = 0; i < n; i++)
        seen.body_sum += (unsigned char)((const char *)bytes)[i] * (seen.body_bytes + i + 1);
    seen.body_bytes += n;
    if (target_is(r, "/slow"))
        loop_defer(loop, &j->resume);
    if (target_is(r, "/sync-resume")) {
        http_resume_body(r);
        return n / 2 + 1;
    }
    if (target_is(r, "/midbody"))
        reply_text(r, 507, "full");
    return n;
}

static inline void on_body_end(void *user, struct http_req *r)
{
    (void)user;
    seen.body_ends++;
    if (target_is(r, "/wait"))
        return;
    if (target_is(r, "/status/")) {
        http_reply(r, (int)target_number(r), NULL, 0, NULL, 0);
    } else if (target_is(r, "/unchanged")) {
        http_reply(r, 304, NULL, 0, NULL, 1234);
    } else if (target_is(r, "/length/")) {
        size_t n = (size_t)target_number(r);
        char *text = xmalloc(n + 1);
        for (size_t i = 0; i < n; i++)
            text[i] = nth_byte(i);
        http_reply(r, 200, NULL, 0, text, n);
        free(text);
    } else if (strcmp(http_method(r), "FOOBAR") == 0) {
        reply_text(r, 501, "?");
    } else {
        reply_text(r, 200, "hello\n");
    }
}

static inline void on_writable(void *user, struct http_req *r)
{
    (void)user;
    seen.writables++;
    stream_on(r);
}

static inline void on_gone(void *user, struct http_req *r)
{
    (void)user;
    seen.gone++;
    reply_text(r, 500, "nobody hears this");
}

static inline void on_end(void *user, struct http_req *r)
{
    struct job *j = http_state(r);
    (void)user;
    seen.ended++;
    seen.last_status = http_status(r);
    seen.last_sent = http_bytes_sent(r);
    seen.last_received = http_bytes_received(r);
    if (seen.open == r)
        seen.open = NULL;
    loop_defer_clear(loop, &j->resume);
    free(j);
}

static const struct http_handler handler = {on_begin,    on_body, on_body_end,
                                            on_writable, on_gone, on_end};

/* ---- Server and client ---- */

static inline void server_start(struct httpd_conf conf)
{
    struct store_err err;
    char bound[LISTEN_ADDRESS_SIZE];
    memset(&seen, 0, sizeof(seen));
    listen_fd = listen_open("127.0.0.1:0", bound, &err);
    assert_true(listen_fd >= 0);
    server_addr = (struct sockaddr_in){.sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                       .sin_port = htons((uint16_t)atoi(strrchr(bound, ':') + 1))};
    assert_int_equal(loop_new(&loop, &err), 0);
    conf.listen_fd = listen_fd;
    conf.handler = &handler;
    assert_int_equal(httpd_new(loop, &conf, &server, &err), 0);
}

static inline int start_usual(void **state)
{
    (void)state;
    server_start(usual);
    return 0;
}

static inline int stop(void **state)
{
    (void)state;
    httpd_free(server);
    loop_free(loop);
    close(listen_fd);
    server = NULL;
    return seen.begun == seen.ended ? 0 : -1;
}

static inline void turn(int wait_ms)
{
    struct store_err err;
    assert_int_equal(loop_run_once(loop, wait_ms, &err), 0);
}

static inline void turn_for(unsigned ms)
{
    for (uint64_t end = clock_mono_ms() + ms; clock_mono_ms() < end;)
        turn(2);
}

#define TURN_UNTIL(condition)                                            \
    do {                                                                 \
        for (uint64_t end_ = clock_mono_ms() + WAIT_MS; !(condition);) { \
            assert_true(clock_mono_ms() < end_);                         \
            turn(2);                                                     \
        }                                                                \
    } while (0)

static inline int client_new(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    assert_true(fd >= 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, (struct sockaddr *)&server_addr, sizeof(server_addr)) != 0)
        assert_int_equal(errno, EINPROGRESS);
    return fd;
}

/* Returns how many bytes could be sent before the server closed. */
static inline size_t client_send(int fd, const void *bytes, size_t n)
{
    size_t at = 0;
    for (uint64_t end = clock_mono_ms() + WAIT_MS; at < n;) {
        ssize_t sent = send(fd, (const char *)bytes + at, n - at, MSG_NOSIGNAL);
        if (sent > 0)
            at += (size_t)sent;
        else if (sent < 0 && errno != EAGAIN)
            break;
        else
            turn(1);
        assert_true(clock_mono_ms() < end);
    }
    return at;
}

static inline void client_says(int fd, const char *text)
{
    assert_int_equal(client_send(fd, text, strlen(text)), strlen(text));
}

/* Reads at most max bytes; 0: closed (or reset). -1: nothing within wait_ms. */
static inline ssize_t client_read(int fd, void *to, size_t max, unsigned wait_ms)
{
    for (uint64_t end = clock_mono_ms() + wait_ms;;) {
        ssize_t n = recv(fd, to, max, 0);
        if (n >= 0 || errno != EAGAIN)
            return n >= 0 ? n : 0;
        if (clock_mono_ms() >= end)
            return -1;
        turn(1);
    }
}

static inline void read_to_end(int fd, struct buf *b, unsigned wait_ms)
{
    char piece[65536];
    for (ssize_t n; (n = client_read(fd, piece, sizeof(piece), wait_ms)) > 0;)
        buf_add(b, piece, (size_t)n);
    assert_false(buf_failed(b));
}

struct reply {
    int status;
    bool close, has_date;
    int64_t length; /* -1: not told */
    struct buf head, body;
};

static inline void reply_free(struct reply *p)
{
    buf_cleanup(&p->head);
    buf_cleanup(&p->body);
}

static inline const char *header_of(const struct reply *p, const char *name)
{
    static char value[256];
    char line[64];
    snprintf(line, sizeof(line), "\r\n%s: ", name);
    const char *at = strcasestr(buf_str(&p->head), line);
    if (!at)
        return NULL;
    at += strlen(line);
    snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

/* One answer, byte by byte in its head so that the next one stays in the socket. */
static inline struct reply read_reply(int fd, bool bodyless)
{
    struct reply p = {.head = BUF_INIT(64 * 1024), .body = BUF_INIT(8 * MIB), .length = -1};
    char c;
    while (!strstr(buf_str(&p.head) + (p.head.len > 4 ? p.head.len - 4 : 0), "\r\n\r\n")) {
        assert_int_equal(client_read(fd, &c, 1, WAIT_MS), 1);
        buf_addc(&p.head, c);
    }
    assert_int_equal(sscanf(buf_str(&p.head), "HTTP/1.1 %d ", &p.status), 1);
    const char *length = header_of(&p, "Content-Length");
    if (length)
        p.length = atoll(length);
    const char *connection = header_of(&p, "Connection");
    p.close = connection && strcmp(connection, "close") == 0;
    p.has_date = header_of(&p, "Date") != NULL;
    while (!bodyless && p.length > 0 && p.body.len < (size_t)p.length) {
        char piece[16384];
        size_t want = (size_t)p.length - p.body.len;
        ssize_t n = client_read(fd, piece, want < sizeof(piece) ? want : sizeof(piece), WAIT_MS);
        assert_true(n > 0);
        buf_add(&p.body, piece, (size_t)n);
    }
    return p;
}

static inline void assert_closed(int fd)
{
    char c;
    assert_int_equal(client_read(fd, &c, 1, WAIT_MS), 0);
}

#define HOST "Host: a.example\r\n"

static inline void expect_reply(int fd, const char *request, int status, const char *body)
{
    client_says(fd, request);
    struct reply p = read_reply(fd, false);
    assert_int_equal(p.status, status);
    if (body)
        assert_string_equal(buf_str(&p.body), body);
    reply_free(&p);
}

/* How often the loop turns in a while: many thousand times when something spins. */
static inline unsigned turns_in(unsigned ms)
{
    unsigned turns = 0;
    for (uint64_t end = clock_mono_ms() + ms; clock_mono_ms() < end; turns++)
        turn(5);
    return turns;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start_usual, stop)

/* One argument: a pattern of the tests to run. */
#define RUN_TESTS(name)                                              \
    do {                                                             \
        if (argc > 1)                                                \
            cmocka_set_test_filter(argv[1]);                         \
        log_setup(LOG_INFO, LOG_TEXT, name);                         \
        return cmocka_run_group_tests_name(name, tests, NULL, NULL); \
    } while (0)

#endif
