/* The HTTP client alone, and a server that the test plays itself, byte by byte: one thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "libstore/s3/http.h"

enum { WAIT_MS = 20000, LARGE = 64 << 20 };

static struct loop *loop;
static struct http_client *client;
static int listener;
static struct buf heard; /* by the server, since it last looked */

/* ---- A call ---- */

struct
try {
    struct http_call call;
    struct buf body;
    uint64_t given;
    unsigned rewinds, dones;
    bool pauses; /* at its first data */
    enum http_failure failure;
    int status;
};

static ssize_t on_read(struct http_call *c, void *buf, size_t cap)
{
    struct try *t = c->user;
    uint64_t left = c->body_size - t->given;
    size_t n = left < cap ? (size_t)left : cap;
    memset(buf, 'b', n);
    t->given += n;
    return (ssize_t)n;
}

static bool on_rewind(struct http_call *c)
{
    struct try *t = c->user;
    t->rewinds++;
    t->given = 0;
    return true;
}

static bool on_data(struct http_call *c, const void *bytes, size_t n)
{
    struct try *t = c->user;
    assert_true(c->head_told);
    bool go_on = !t->pauses;
    t->pauses = false;
    buf_add(&t->body, bytes, n);
    return go_on;
}

static void on_done(struct http_call *c, enum http_failure failure, const char *detail)
{
    struct try *t = c->user;
    t->dones++;
    t->failure = failure;
    t->status = c->answer.status;
    if (failure != HTTP_ANSWERED)
        assert_true(detail[0]);
}

/* body_size 0: a GET. */
static void prepare(struct try *t, uint64_t body_size)
{
    *t = (struct try){.body = BUF_INIT(1 << 20)};
    t->call = (struct http_call){.method = body_size ? "PUT" : "GET",
                                 .target = "/a?b",
                                 .headers = "X-One: 1\n",
                                 .body_size = body_size,
                                 .read = on_read,
                                 .rewind = on_rewind,
                                 .data = on_data,
                                 .done = on_done,
                                 .user = t};
}

static void start(struct try *t, uint64_t body_size)
{
    struct store_err err;
    prepare(t, body_size);
    assert_int_equal(http_call_start(client, &t->call, &err), 0);
}

static void end(struct try *t)
{
    http_call_cleanup(&t->call);
    buf_cleanup(&t->body);
}

/* ---- The server ---- */

static void turn(int wait_ms)
{
    struct store_err err;
    assert_int_equal(loop_run_once(loop, wait_ms, &err), 0);
}

#define TURN_UNTIL(condition)                                            \
    do {                                                                 \
        for (uint64_t end_ = clock_mono_ms() + WAIT_MS; !(condition);) { \
            assert_true(clock_mono_ms() < end_);                         \
            turn(2);                                                     \
        }                                                                \
    } while (0)

static int try_accept(void)
{
    return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static int accept_one(void)
{
    int fd;
    TURN_UNTIL((fd = try_accept()) >= 0);
    return fd;
}

static bool has_heard(int fd, const char *text)
{
    char bytes[4096];
    ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
    if (n > 0)
        buf_add(&heard, bytes, (size_t)n);
    return strstr(buf_str(&heard), text) != NULL;
}

/* Everything up to that. */
static void hears(int fd, const char *text)
{
    buf_reset(&heard);
    TURN_UNTIL(has_heard(fd, text));
}

/* A GET, on a connection that is new to the server and has heard it. */
static int ask(struct try *t)
{
    start(t, 0);
    int fd = accept_one();
    hears(fd, "\r\n\r\n");
    return fd;
}

static bool hears_nothing(int fd, unsigned ms)
{
    char byte;
    for (uint64_t end = clock_mono_ms() + ms; clock_mono_ms() < end;)
        turn(2);
    return recv(fd, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

/* The errno with which the client ended it; 0: in peace. */
static int ended_with(int fd)
{
    char bytes[4096];
    ssize_t n;
    TURN_UNTIL((n = recv(fd, bytes, sizeof(bytes), 0)) == 0 || (n < 0 && errno != EAGAIN));
    return n == 0 ? 0 : errno;
}

static void says(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect_answer(struct try *t, int status, const char *body)
{
    TURN_UNTIL(t->dones);
    assert_int_equal(t->failure, HTTP_ANSWERED);
    assert_int_equal(t->status, status);
    assert_string_equal(buf_str(&t->body), body);
    assert_int_equal(t->dones, 1);
    end(t);
}

static void expect_failure(struct try *t, enum http_failure failure)
{
    TURN_UNTIL(t->dones);
    assert_int_equal(t->failure, failure);
    end(t);
}

static int set_up(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    struct store_err err;
    char url[64];
    (void)state;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(listener, 16), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &n), 0);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", ntohs(at.sin_port));
    const struct http_client_conf conf = {.base_url = url, .max_connections = 2};
    buf_init(&heard, 1 << 20);
    assert_int_equal(loop_new(&loop, &err), 0);
    client = http_client_get(loop, &listener, &conf, &err);
    assert_non_null(client);
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    loop_free(loop);
    close(listener);
    buf_cleanup(&heard);
    return 0;
}

/* ---- Requests ---- */

/* It takes pieces of odd sizes, so that a piece of the body is read while the last is half sent. */
static void a_slow_server_gets_the_whole_body(void **state)
{
    enum { BODY = 4 << 20, ODD = 10007 };
    static char bytes[ODD];
    struct try t;
    size_t got = 0;
    const int room = 2 * ODD;
    (void)state;
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    start(&t, BODY);
    int fd = accept_one();
    while (got < BODY) {
        turn(1);
        ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
        assert_true(n > 0 || (n < 0 && errno == EAGAIN));
        assert_int_equal(t.dones, 0);
        for (ssize_t i = 0; i < n; i++)
            got += bytes[i] == 'b';
    }
    says(fd, "HTTP/1.1 204 No Content\r\n\r\n");
    expect_answer(&t, 204, "");
    close(fd);
}

/* ---- Answers ---- */

static void a_request_is_what_was_asked(void **state)
{
    char host[64];
    struct sockaddr_in at = {0};
    socklen_t n = sizeof(at);
    struct try t;
    (void)state;
    start(&t, 3);
    int fd = accept_one();
    hears(fd, "bbb");
    getsockname(listener, (struct sockaddr *)&at, &n);
    snprintf(host, sizeof(host), "Host: 127.0.0.1:%u\r\n", ntohs(at.sin_port));
    assert_int_equal(strncmp(buf_str(&heard), "PUT /a?b HTTP/1.1\r\n", 19), 0);
    assert_non_null(strstr(buf_str(&heard), "\r\nX-One: 1\r\n"));
    assert_non_null(strstr(buf_str(&heard), host));
    assert_non_null(strstr(buf_str(&heard), "\r\nContent-Length: 3\r\n"));
    says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    expect_answer(&t, 200, "");
    close(fd);
}

/* The client's descriptor of the connection. */
static int clients_end(int fd)
{
    struct sockaddr_in wanted = {0}, at = {0};
    socklen_t n = sizeof(wanted);
    assert_int_equal(getpeername(fd, (struct sockaddr *)&wanted, &n), 0);
    for (int i = 3; i < 256; i++) {
        n = sizeof(at);
        if (getsockname(i, (struct sockaddr *)&at, &n) == 0 && n == sizeof(at) &&
            at.sin_port == wanted.sin_port)
            return i;
    }
    fail_msg("the client has no such connection");
    return -1;
}

/* libcurl looks over the connections that it knows, once a second when it makes another one, and
 * ends those that the server has closed: it must not know ours any more, whose number the next
 * socket would get. */
static void connections_are_not_libcurls(void **state)
{
    struct try held, other;
    struct stat before = {0}, after = {0};
    (void)state;
    start(&held, 0);
    held.pauses = true;
    int fd = accept_one();
    hears(fd, "\r\n\r\n");
    says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nheld");
    TURN_UNTIL(held.body.len == 4);
    int its = clients_end(fd);
    assert_int_equal(fstat(its, &before), 0);
    close(fd);
    for (uint64_t end = clock_mono_ms() + 1200; clock_mono_ms() < end;)
        turn(10);
    fd = ask(&other);
    assert_int_equal(fstat(its, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    http_call_resume(&held.call);
    expect_answer(&held, 200, "held");
    says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother");
    expect_answer(&other, 200, "other");
    close(fd);
}

static void answers_end_as_they_say(void **state)
{
    static const struct {
        const char *first, *second, *body; /* NULL: it is broken */
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", "llo", "hello"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r",
         "\n3\r\nllo\r\n0\r\n\r\n", "hello"},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhe", "llo", "hello"},
        {"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2",
         "00 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", "l", NULL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r", "\n", NULL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhel", "", NULL},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "hello", NULL},
        {"HTTP/1.1 200 OK\r\nContent-Le", "", NULL},
        {"", "", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct try t;
        print_message("%zu\n", i);
        int fd = ask(&t);
        says(fd, cases[i].first);
        turn(20);
        send(fd, cases[i].second, strlen(cases[i].second), MSG_NOSIGNAL);
        turn(20);
        close(fd);
        if (cases[i].body)
            expect_answer(&t, 200, cases[i].body);
        else
            expect_failure(&t, HTTP_BROKEN);
    }
}

/* ---- Connections that are used again ---- */

static void one_is_kept_when_nothing_is_left(void **state)
{
    static const struct {
        const char *answer, *body;
        bool kept;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "hi", true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!", "hi", false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", "hi", false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct try t;
        print_message("%zu\n", i);
        int fd = ask(&t);
        says(fd, cases[i].answer);
        expect_answer(&t, 200, cases[i].body);
        start(&t, 0);
        int second = cases[i].kept ? fd : accept_one();
        hears(second, "\r\n\r\n");
        says(second, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        expect_answer(&t, 204, "");
        assert_int_equal(ended_with(fd), 0); /* all that was asked is answered */
        close(fd);
        if (second != fd)
            close(second);
    }
}

/* The server is content with a part of the body: what is left of it must not come before the next
 * request. */
static void half_a_request_ends_its_connection(void **state)
{
    struct try t;
    (void)state;
    start(&t, LARGE);
    int fd = accept_one();
    hears(fd, "\r\n\r\n");
    says(fd, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    expect_answer(&t, 403, "no");
    assert_int_equal(ended_with(fd), ECONNRESET);
    close(fd);
    fd = ask(&t);
    says(fd, "HTTP/1.1 204 No Content\r\n\r\n");
    expect_answer(&t, 204, "");
    close(fd);
}

/* A connection at rest, and the first bytes of a second call on it. */
static int start_on_kept(struct try *t, uint64_t body_size)
{
    start(t, 0);
    int fd = accept_one();
    hears(fd, "\r\n\r\n");
    says(fd, "HTTP/1.1 204 No Content\r\n\r\n");
    expect_answer(t, 204, "");
    start(t, body_size);
    hears(fd, "\r\n\r\n");
    return fd;
}

static void a_kept_one_may_be_gone(void **state)
{
    struct try t;
    (void)state;
    close(start_on_kept(&t, 3));
    int fd = accept_one();
    hears(fd, "\r\n\r\nbbb");
    says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    expect_answer(&t, 200, "");
    assert_int_equal(t.rewinds, 1);
    close(fd);
    /* Once: a new one that ends as well is broken. */
    close(start_on_kept(&t, 0));
    close(accept_one());
    expect_failure(&t, HTTP_BROKEN);
    /* What cannot be begun anew. */
    fd = start_on_kept(&t, 3);
    t.call.rewind = NULL;
    close(fd);
    expect_failure(&t, HTTP_BROKEN);
    /* The server has begun to answer. */
    fd = start_on_kept(&t, 0);
    says(fd, "HTTP/1.1 2");
    turn(20);
    close(fd);
    expect_failure(&t, HTTP_BROKEN);
    assert_int_equal(try_accept(), -1);
}

static void one_that_ends_at_rest_is_not_used(void **state)
{
    struct try t;
    (void)state;
    int fd = ask(&t);
    says(fd, "HTTP/1.1 204 No Content\r\n\r\n");
    expect_answer(&t, 204, "");
    says(fd, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    ended_with(fd);
    close(fd);
    fd = ask(&t);
    says(fd, "HTTP/1.1 204 No Content\r\n\r\n");
    expect_answer(&t, 204, "");
    close(fd);
}

/* ---- 100 (Continue) ---- */

/* The request's head is there, and the body waits. */
static int start_asking(struct try *t)
{
    struct store_err err;
    prepare(t, 3);
    t->call.expect_continue = true;
    assert_int_equal(http_call_start(client, &t->call, &err), 0);
    int fd = accept_one();
    hears(fd, "\r\n\r\n");
    assert_non_null(strstr(buf_str(&heard), "\r\nExpect: 100-continue\r\n"));
    assert_true(hears_nothing(fd, 50));
    assert_int_equal(t->given, 0);
    return fd;
}

static void a_body_waits_to_be_asked_for(void **state)
{
    struct try t;
    (void)state;
    int fd = start_asking(&t);
    says(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    hears(fd, "bbb");
    says(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    expect_answer(&t, 200, "");
    close(fd);
    /* Not for ever. */
    fd = start_asking(&t);
    uint64_t began_ms = clock_mono_ms();
    hears(fd, "bbb");
    assert_true(clock_mono_ms() - began_ms >= 700);
    says(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    expect_answer(&t, 200, "");
    close(fd);
    /* What is not asked for is not sent, and nothing else on that connection. */
    fd = start_asking(&t);
    says(fd, "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n");
    expect_answer(&t, 412, "");
    assert_int_equal(ended_with(fd), ECONNRESET);
    close(fd);
}

/* ---- Ends ---- */

static void nothing_leaves_after_the_deadline(void **state)
{
    struct store_err err;
    struct try t;
    ssize_t n;
    char byte;
    (void)state;
    prepare(&t, 0);
    t.call.deadline_ms = clock_mono_ms() + 50;
    assert_int_equal(http_call_start(client, &t.call, &err), 0);
    usleep(60000); /* the loop is held up */
    int fd = accept_one();
    expect_failure(&t, HTTP_LATE);
    TURN_UNTIL((n = recv(fd, &byte, 1, 0)) >= 0 || errno != EAGAIN);
    assert_true(n <= 0);
    close(fd);
    assert_int_equal(http_call_start(client, &t.call, &err), -1);
    assert_int_equal(err.code, STORE_TIMEOUT);
}

static void a_silent_server_is_given_up(void **state)
{
    struct store_err err;
    struct try t;
    (void)state;
    prepare(&t, 0);
    t.call.stall_timeout_ms = 100;
    assert_int_equal(http_call_start(client, &t.call, &err), 0);
    int fd = accept_one();
    hears(fd, "\r\n\r\n");
    expect_failure(&t, HTTP_BROKEN);
    close(fd);
}

static void a_canceled_one_is_dropped(void **state)
{
    struct try t;
    (void)state;
    start(&t, LARGE);
    int fd = accept_one();
    hears(fd, "\r\n\r\n");
    http_call_cancel(&t.call);
    assert_int_equal(ended_with(fd), ECONNRESET);
    assert_int_equal(t.dones, 0);
    http_call_cancel(&t.call);
    end(&t);
    close(fd);
}

/* The client has room for two. */
static void others_wait_their_turn(void **state)
{
    struct try t[4];
    (void)state;
    for (size_t i = 0; i < 4; i++)
        start(&t[i], 0);
    int a = accept_one(), b = accept_one();
    hears(a, "\r\n\r\n");
    hears(b, "\r\n\r\n");
    turn(20);
    assert_int_equal(try_accept(), -1);
    http_call_cancel(&t[2].call);
    end(&t[2]);
    says(a, "HTTP/1.1 204 No Content\r\n\r\n");
    hears(a, "\r\n\r\n");
    says(a, "HTTP/1.1 204 No Content\r\n\r\n");
    says(b, "HTTP/1.1 204 No Content\r\n\r\n");
    for (size_t i = 0; i < 4; i++)
        if (i != 2) {
            TURN_UNTIL(t[i].dones);
            assert_int_equal(t[i].failure, HTTP_ANSWERED);
            end(&t[i]);
        }
    close(a);
    close(b);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, clean_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_what_was_asked),      TEST(a_slow_server_gets_the_whole_body),
        TEST(connections_are_not_libcurls),     TEST(answers_end_as_they_say),
        TEST(one_is_kept_when_nothing_is_left), TEST(half_a_request_ends_its_connection),
        TEST(a_kept_one_may_be_gone),           TEST(one_that_ends_at_rest_is_not_used),
        TEST(a_body_waits_to_be_asked_for),     TEST(nothing_leaves_after_the_deadline),
        TEST(a_silent_server_is_given_up),      TEST(a_canceled_one_is_dropped),
        TEST(others_wait_their_turn),
    };
    return cmocka_run_group_tests_name("s3_http", tests, NULL, NULL);
}
