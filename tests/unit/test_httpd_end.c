/* Deadlines, drain, and the end. */
#include <malloc.h>

#include "tests/unit/httpd_fixture.h"

/* ---- Deadlines ---- */

static int start_impatient(void **state)
{
    struct httpd_conf conf = usual;
    (void)state;
    conf.header_timeout_ms = 300;
    conf.idle_timeout_ms = 200;
    conf.send_timeout_ms = 300;
    server_start(conf);
    return 0;
}

/* Says what is in text, a byte every few ms, and returns after how long the server hung up. */
static uint64_t trickle(const char *text)
{
    int fd = client_new();
    uint64_t start = clock_mono_ms();
    char c;
    for (size_t i = 0; clock_mono_ms() - start < WAIT_MS; i++) {
        send(fd, &text[i % strlen(text)], 1, MSG_NOSIGNAL);
        if (client_read(fd, &c, 1, 10) == 0)
            break;
    }
    close(fd);
    return clock_mono_ms() - start;
}

static void assert_between(uint64_t ms, uint64_t low, uint64_t high)
{
    if (ms < low || ms > high)
        fail_msg("%llu ms is not between %llu and %llu", (unsigned long long)ms,
                 (unsigned long long)low, (unsigned long long)high);
}

static void heads_have_a_deadline(void **state)
{
    (void)state;
    assert_between(
        trickle("GET / HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 250,
        2000);
    assert_between(trickle("\r\n"), 0, 250); /* one empty line may come first, no more */
    int fd = client_new();
    uint64_t start = clock_mono_ms();
    assert_closed(fd);
    assert_between(clock_mono_ms() - start, 250, 2000);
    close(fd);
    assert_int_equal(seen.begun, 0);
}

static void idle_has_a_deadline(void **state)
{
    (void)state;
    int fd = client_new();
    expect_reply(fd, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "hello\n");
    uint64_t start = clock_mono_ms();
    assert_closed(fd);
    assert_between(clock_mono_ms() - start, 150, 2000);
    close(fd);
    /* A request under way has none. */
    fd = client_new();
    client_says(fd, "GET /wait HTTP/1.1\r\n" HOST "\r\n");
    turn_for(600);
    reply_text(seen.open, 200, "at last");
    struct reply p = read_reply(fd, false);
    assert_int_equal(p.status, 200);
    reply_free(&p);
    close(fd);
}

static void stalls_are_cut(void **state)
{
    static const struct {
        const char *request;
        bool gone;
    } cases[] = {
        {"GET /stream/100000000 HTTP/1.1\r\n" HOST "\r\n", true},
        {"GET /length/30000000 HTTP/1.1\r\n" HOST "\r\n", true},
        {"PUT / HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\nabc", true},
        {"PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nab", true},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        print_message("%zu\n", i);
        int fd = client_new();
        uint64_t start = clock_mono_ms();
        client_says(fd, cases[i].request);
        TURN_UNTIL(seen.ended == i + 1);
        assert_between(clock_mono_ms() - start, 250, 3000);
        assert_int_equal(seen.gone, i + 1);
        TURN_UNTIL(httpd_connections(server) == 0);
        close(fd);
    }
    /* One that reads slowly but steadily is not. */
    static char piece[400000];
    int fd = client_new();
    client_says(fd, "GET /stream/10000000 HTTP/1.1\r\n" HOST "\r\n");
    uint64_t got = 0;
    for (ssize_t n = 1; n > 0 && got < 10000000; got += (uint64_t)n) {
        n = client_read(fd, piece, sizeof(piece), WAIT_MS);
        turn_for(20);
    }
    assert_true(got >= 10000000);
    close(fd);
    /* A handler that pauses is not the client's fault. */
    fd = client_new();
    client_says(fd, "GET /lazy/1000000 HTTP/1.1\r\n" HOST "\r\n");
    TURN_UNTIL(seen.begun == LEN(cases) + 2);
    http_write(seen.open, "abc", 3);
    turn_for(700);
    assert_non_null(seen.open);
    close(fd);
}

static void chunk_bomb_is_cut(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(MIB);
    buf_adds(&b,
             "POST /slow HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5;");
    for (int i = 0; i < 30000; i++)
        buf_addc(&b, 'x');
    int fd = client_new();
    client_send(fd, b.data, b.len);
    TURN_UNTIL(seen.ended == 1);
    assert_int_equal(seen.gone, 1);
    TURN_UNTIL(httpd_connections(server) == 0);
    buf_cleanup(&b);
    close(fd);
}

/* ---- The end ---- */

static void drain(void **state)
{
    (void)state;
    int idle = client_new(), busy = client_new(), late;
    expect_reply(idle, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "hello\n");
    client_says(busy, "GET /wait HTTP/1.1\r\n" HOST "\r\n");
    TURN_UNTIL(seen.begun == 2);
    struct http_req *under_way = seen.open;
    httpd_drain(server, 100);
    /* Within the grace an idle connection is still served, and told. */
    client_says(idle, "GET / HTTP/1.1\r\n" HOST "\r\n");
    struct reply p = read_reply(idle, false);
    assert_int_equal(p.status, 200);
    assert_true(p.close);
    reply_free(&p);
    assert_closed(idle);
    close(idle);
    /* A new one as well; and it is closed when it stays idle. */
    idle = client_new();
    uint64_t start = clock_mono_ms();
    assert_closed(idle);
    assert_between(clock_mono_ms() - start, 80, 1000);
    close(idle);
    late = client_new(); /* in the accept queue */
    client_says(late, "GET / HTTP/1.1\r\n" HOST "\r\n");
    httpd_stop_accepting(server);
    p = read_reply(late, false);
    assert_int_equal(p.status, 200);
    reply_free(&p);
    close(late);
    assert_int_equal(httpd_requests(server), 1);
    reply_text(under_way, 200, "done");
    p = read_reply(busy, false);
    assert_int_equal(p.status, 200);
    assert_true(p.close);
    assert_string_equal(buf_str(&p.body), "done");
    reply_free(&p);
    TURN_UNTIL(httpd_connections(server) == 0);
    assert_int_equal(seen.gone, 0);
    close(busy);
}

static void free_cuts(void **state)
{
    static const char *const requests[] = {
        "GET /wait HTTP/1.1\r\n" HOST "\r\n",
        "GET /stream/100000000 HTTP/1.1\r\n" HOST "\r\n",
        "GET /lazy/100 HTTP/1.1\r\n" HOST "\r\n",
        "PUT /stuck HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\nabc",
        "PUT /lazy/100 HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\nabc",
        "GET / HTTP",
    };
    int fds[LEN(requests)];
    struct store_err err;
    (void)state;
    for (size_t i = 0; i < LEN(requests); i++) {
        fds[i] = client_new();
        client_says(fds[i], requests[i]);
    }
    TURN_UNTIL(seen.begun == LEN(requests) - 1);
    turn_for(10);
    httpd_free(server);
    assert_int_equal(seen.gone, LEN(requests) - 1);
    assert_int_equal(seen.ended, LEN(requests) - 1);
    for (size_t i = 0; i < LEN(requests); i++)
        close(fds[i]);
    struct httpd_conf conf = usual;
    conf.listen_fd = listen_fd;
    conf.handler = &handler;
    assert_int_equal(httpd_new(loop, &conf, &server, &err), 0);
}

static void servers_share_a_socket(void **state)
{
    struct httpd *other;
    struct store_err err;
    struct httpd_conf conf = usual;
    (void)state;
    conf.listen_fd = listen_fd;
    conf.handler = &handler;
    assert_int_equal(httpd_new(loop, &conf, &other, &err), 0);
    for (int round = 0; round < 3; round++) {
        int fd = client_new();
        expect_reply(fd, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "hello\n");
        close(fd);
        if (round == 0)
            httpd_stop_accepting(other);
        if (round == 1)
            httpd_free(other);
    }
    assert_int_equal(fcntl(listen_fd, F_GETFD), FD_CLOEXEC);
}

static void connection_limit(void **state)
{
    struct httpd_conf conf = usual;
    (void)state;
    conf.max_connections = 2;
    server_start(conf);
    int a = client_new(), b = client_new(), c = client_new();
    expect_reply(a, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "hello\n");
    expect_reply(b, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "hello\n");
    client_says(c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    struct reply p = read_reply(c, false);
    assert_int_equal(p.status, 503);
    assert_true(p.close);
    assert_string_equal(header_of(&p, "Retry-After"), "1");
    reply_free(&p);
    assert_closed(c);
    assert_int_equal(httpd_connections(server), 2);
    assert_int_equal(seen.begun, 2);
    close(c);
    close(a);
    TURN_UNTIL(httpd_connections(server) == 1);
    c = client_new();
    expect_reply(c, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "hello\n");
    close(b);
    close(c);
}

/* Also after a request: what that needed serves the next one. */
static void idle_connections_are_small(void **state)
{
    enum { MANY = 400, MOST_BYTES = 1024 };
    struct httpd_conf conf = usual;
    int fds[MANY];
    (void)state;
    conf.max_connections = MANY;
    server_start(conf);
#ifdef __SANITIZE_ADDRESS__
    skip();
#endif
    fds[0] = client_new();
    expect_reply(fds[0], "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "hello\n");
    size_t before = mallinfo2().uordblks;
    for (size_t i = 1; i < MANY; i++) {
        fds[i] = client_new();
        expect_reply(fds[i], "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "hello\n");
    }
    size_t each = (mallinfo2().uordblks - before) / (MANY - 1);
    print_message("%zu bytes for an idle connection\n", each);
    assert_int_equal(httpd_connections(server), MANY);
    assert_true(each < MOST_BYTES);
    for (size_t i = 0; i < MANY; i++)
        close(fds[i]);
    TURN_UNTIL(httpd_connections(server) == 0);
}

#define IMPATIENT(f) cmocka_unit_test_setup_teardown(f, start_impatient, stop)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        IMPATIENT(heads_have_a_deadline),
        IMPATIENT(idle_has_a_deadline),
        IMPATIENT(stalls_are_cut),
        IMPATIENT(chunk_bomb_is_cut),
        TEST(drain),
        TEST(free_cuts),
        TEST(servers_share_a_socket),
        cmocka_unit_test_teardown(connection_limit, stop),
        cmocka_unit_test_teardown(idle_connections_are_small, stop),
    };
    RUN_TESTS("httpd_end");
}
