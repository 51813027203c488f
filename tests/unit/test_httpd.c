/* Requests, answers and bodies in all their orders. */
#include "tests/unit/httpd_fixture.h"

/* ---- Plain requests ---- */

static void get(void **state)
{
    (void)state;
    int fd = client_new();
    client_says(fd, "GET /a%00b?c=%20d&e HTTP/1.1\r\n" HOST "X-Test:  v \t\r\n\r\n");
    struct reply p = read_reply(fd, false);
    assert_int_equal(p.status, 200);
    assert_true(p.has_date);
    assert_false(p.close);
    assert_int_equal(p.length, 6);
    assert_string_equal(buf_str(&p.body), "hello\n");
    assert_string_equal(header_of(&p, "Content-Type"), "text/plain");
    assert_null(header_of(&p, "X-Split"));
    assert_null(header_of(&p, "Set-Cookie"));
    assert_string_equal(seen.last_header, "v");
    assert_memory_equal(seen.last_client, "127.0.0.1:", 10);
    TURN_UNTIL(seen.ended == 1);
    assert_int_equal(seen.body_ends, 1);
    assert_int_equal(seen.gone, 0);
    assert_int_equal(seen.last_status, 200);
    assert_int_equal(seen.last_sent, 6);
    reply_free(&p);
    close(fd);
}

static void keep_alive(void **state)
{
    (void)state;
    int fd = client_new();
    for (int i = 0; i < 1000; i++)
        expect_reply(fd, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "hello\n");
    assert_int_equal(httpd_connections(server), 1);
    assert_int_equal(seen.begun, 1000);
    close(fd);
    TURN_UNTIL(httpd_connections(server) == 0);
    assert_int_equal(seen.gone, 0);
}

static void pipelined(void **state)
{
    enum { N = 50 };
    (void)state;
    struct buf b = BUF_INIT(MIB);
    int fd = client_new();
    for (int i = 0; i < N; i++)
        buf_addf(&b, "POST /length/%d HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", 1000 + i);
    assert_int_equal(client_send(fd, b.data, b.len), b.len);
    for (int i = 0; i < N; i++) {
        struct reply p = read_reply(fd, false);
        assert_int_equal(p.status, 200);
        assert_int_equal(p.body.len, 1000 + i);
        reply_free(&p);
    }
    assert_int_equal(seen.body_bytes, 3 * N);
    buf_cleanup(&b);
    close(fd);
}

static void bodyless(void **state)
{
    static const struct {
        const char *request;
        int status;
        int64_t length;
    } cases[] = {
        {"HEAD / HTTP/1.1\r\n" HOST "\r\n", 200, 6},
        {"HEAD /length/5000 HTTP/1.1\r\n" HOST "\r\n", 200, 5000},
        {"HEAD /stream/5000 HTTP/1.1\r\n" HOST "\r\n", 200, 5000},
        {"HEAD /stream/500000000000 HTTP/1.1\r\n" HOST "\r\n", 200, 500000000000},
        {"GET /status/204 HTTP/1.1\r\n" HOST "\r\n", 204, -1},
        {"GET /unchanged HTTP/1.1\r\n" HOST "\r\n", 304, 1234},
        {"GET /stream/0 HTTP/1.1\r\n" HOST "\r\n", 200, 0},
        {"GET /status/404 HTTP/1.1\r\n" HOST "\r\n", 404, 0},
    };
    (void)state;
    int fd = client_new(); /* one connection for all: a body too many would show */
    for (size_t i = 0; i < LEN(cases); i++) {
        client_says(fd, cases[i].request);
        struct reply p = read_reply(fd, true);
        assert_int_equal(p.status, cases[i].status);
        assert_int_equal(p.length, cases[i].length);
        reply_free(&p);
    }
    close(fd);
}

static void http_1_0(void **state)
{
    (void)state;
    int fd = client_new();
    expect_reply(fd, "GET / HTTP/1.0\r\n\r\n", 200, "hello\n");
    assert_closed(fd);
    close(fd);
    fd = client_new();
    expect_reply(fd, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, "hello\n");
    expect_reply(fd, "BREW /early HTTP/1.1\r\n" HOST "\r\n", 403, "no"); /* any method */
    close(fd);
}

/* ---- Streamed answers ---- */

static void check_bytes(const char *bytes, size_t n, uint64_t at)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != nth_byte(at + i))
            fail_msg("byte %llu is wrong", (unsigned long long)(at + i));
}

static char *make_body(size_t n)
{
    char *body = xmalloc(n);
    for (size_t i = 0; i < n; i++)
        body[i] = nth_byte(i);
    return body;
}

static void stream_sizes(void **state)
{
    /* around the write buffer, which decides between collecting and streaming */
    static const int sizes[] = {1, 19999, 65535, 65536, 65537, 100000, 1000000};
    (void)state;
    int fd = client_new();
    for (size_t i = 0; i < LEN(sizes); i++) {
        char request[128];
        snprintf(request, sizeof(request), "GET /stream/%d HTTP/1.1\r\n" HOST "\r\n", sizes[i]);
        client_says(fd, request);
        struct reply p = read_reply(fd, false);
        assert_int_equal(p.body.len, sizes[i]);
        check_bytes(p.body.data, p.body.len, 0);
        reply_free(&p);
        TURN_UNTIL(seen.ended == i + 1);
        assert_int_equal(seen.last_sent, sizes[i]);
    }
    close(fd);
}

static void stream_to_slow_reader(void **state)
{
    enum { SIZE = 100 * MIB };
    static char piece[50000];
    uint64_t at = 0, most_ahead = 0;
    int small = 65536;
    (void)state;
    int fd = client_new();
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    client_says(fd, "GET /stream/104857600 HTTP/1.1\r\n" HOST "\r\n");
    struct reply p = read_reply(fd, true);
    assert_int_equal(p.length, SIZE);
    turn_for(50); /* the server runs as far ahead as it may */
    while (at < SIZE) {
        struct job *j = seen.open ? http_state(seen.open) : NULL; /* else all is in the kernel */
        if (j && j->at - at > most_ahead)
            most_ahead = j->at - at;
        ssize_t n = client_read(fd, piece, sizeof(piece), WAIT_MS);
        assert_true(n > 0);
        check_bytes(piece, (size_t)n, at);
        at += (uint64_t)n;
    }
    assert_true(seen.writables > 10);
    print_message("ahead of the client by at most %llu bytes\n", (unsigned long long)most_ahead);
    assert_true(most_ahead < 12 * MIB); /* nearly all of it in the kernel's send buffer */
    reply_free(&p);
    close(fd);
}

static void collected_turns_into_error(void **state)
{
    (void)state;
    int fd = client_new();
    client_says(fd, "GET /lazy/1000 HTTP/1.1\r\n" HOST "\r\n");
    TURN_UNTIL(seen.open);
    turn_for(5);
    http_write(seen.open, "abc", 3);
    assert_false(http_committed(seen.open));
    turn_for(5);
    assert_false(http_committed(seen.open));
    reply_text(seen.open, 503, "sorry");
    assert_true(http_write(seen.open, "late", 4)); /* no longer wanted */
    struct reply p = read_reply(fd, false);
    assert_int_equal(p.status, 503);
    assert_string_equal(buf_str(&p.body), "sorry");
    reply_free(&p);
    /* Also a large one, as long as nothing was written. */
    client_says(fd, "GET /lazy/1000000 HTTP/1.1\r\n" HOST "\r\n");
    TURN_UNTIL(seen.begun == 2);
    turn_for(5);
    assert_false(http_committed(seen.open));
    reply_text(seen.open, 404, "none");
    p = read_reply(fd, false);
    assert_int_equal(p.status, 404);
    reply_free(&p);
    close(fd);
}

static void what_was_sent_stays(void **state)
{
    enum { SIZE = 100000 };
    char *body = make_body(SIZE);
    (void)state;
    int fd = client_new();
    client_says(fd, "GET /lazy/100000 HTTP/1.1\r\n" HOST "\r\n");
    TURN_UNTIL(seen.open);
    turn_for(5);
    http_write(seen.open, body, SIZE / 2);
    assert_true(http_committed(seen.open));
    reply_text(seen.open, 503, "sorry");
    http_reply_stream(seen.open, 503, NULL, 0, 5);
    http_write(seen.open, body + SIZE / 2, SIZE / 2);
    struct reply p = read_reply(fd, false);
    assert_int_equal(p.status, 200);
    assert_int_equal(p.body.len, SIZE);
    check_bytes(p.body.data, p.body.len, 0);
    reply_free(&p);
    free(body);
    close(fd);
}

static void abort_cuts(void **state)
{
    static const char *const targets[] = {"/lazy/1000000", "/lazy/300"};
    (void)state;
    for (size_t i = 0; i < LEN(targets); i++) {
        struct buf b = BUF_INIT(4 * MIB);
        char request[128];
        int fd = client_new();
        snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" HOST "\r\n", targets[i]);
        client_says(fd, request);
        TURN_UNTIL(seen.begun == i + 1);
        http_write(seen.open, "abcdef", 6);
        turn_for(10);
        http_abort(seen.open);
        read_to_end(fd, &b, WAIT_MS);
        if (i == 0) {
            assert_non_null(strstr(buf_str(&b), "Content-Length: 1000000\r\n"));
            assert_string_equal(b.data + b.len - 6, "abcdef");
        } else {
            assert_int_equal(b.len, 0);
        }
        buf_cleanup(&b);
        TURN_UNTIL(seen.ended == i + 1);
        close(fd);
    }
    int fd = client_new();
    client_says(fd, "GET /abort-now HTTP/1.1\r\n" HOST "\r\n");
    assert_closed(fd);
    close(fd);
    assert_int_equal(seen.gone, 0);
}

/* ---- Bodies ---- */

static uint64_t sum_of(const char *bytes, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (unsigned char)bytes[i] * (uint64_t)(i + 1);
    return sum;
}

static void upload(const char *target, size_t size)
{
    char head[256];
    char *body = make_body(size);
    int fd = client_new();
    memset(&seen, 0, sizeof(seen));
    snprintf(head, sizeof(head), "PUT %s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", target,
             size);
    client_says(fd, head);
    assert_int_equal(client_send(fd, body, size), size);
    struct reply p = read_reply(fd, false);
    assert_int_equal(p.status, 200);
    assert_int_equal(seen.body_bytes, size);
    assert_true(seen.body_sum == sum_of(body, size));
    TURN_UNTIL(seen.ended == 1);
    assert_int_equal(seen.last_received, size);
    reply_free(&p);
    free(body);
    close(fd);
}

static void upload_with_back_pressure(void **state)
{
    (void)state;
    upload("/slow", 50 * MIB);
    upload("/fast", 50 * MIB);
}

static void upload_stalls_the_client(void **state)
{
    static char body[MIB];
    (void)state;
    int fd = client_new();
    client_says(fd, "PUT /stuck HTTP/1.1\r\n" HOST "Content-Length: 1000000000\r\n\r\n");
    size_t sent = 0;
    for (uint64_t end = clock_mono_ms() + 200; clock_mono_ms() < end; turn(1)) {
        ssize_t n = send(fd, body, sizeof(body), MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
    }
    assert_true(sent < 16 * MIB); /* the kernel's buffers */
    assert_int_equal(seen.body_bytes, 0);
    /* Its reset is seen; an orderly end would wait behind the bytes that nobody takes. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
    TURN_UNTIL(seen.ended == 1);
    assert_int_equal(seen.gone, 1);
}

static void resume_inside_body(void **state)
{
    (void)state;
    int fd = client_new();
    expect_reply(fd, "PUT /sync-resume HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n0123456789",
                 200, "hello\n");
    close(fd);
}

static void chunked(void **state)
{
    static const char text[] = "PUT /slow HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n"
                               "5;ext=1\r\nhello\r\n006\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n";
    (void)state;
    int fd = client_new();
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        client_send(fd, text + i, 1);
        turn(0);
    }
    struct reply p = read_reply(fd, false);
    assert_int_equal(p.status, 200);
    assert_int_equal(seen.body_bytes, 11);
    assert_true(seen.body_sum == sum_of("hello world", 11));
    reply_free(&p);
    expect_reply(fd, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "hello\n");
    close(fd);
}

/* A client that sends all it has before it looks for an answer. */
static void answer_before_large_body(const char *request_head, size_t size, int status)
{
    char *body = make_body(size);
    struct buf b = BUF_INIT(MIB);
    int fd = client_new();
    unsigned ended = seen.ended;
    client_says(fd, request_head);
    size_t at = 0;
    for (uint64_t end = clock_mono_ms() + 100; at < size && clock_mono_ms() < end; turn(1)) {
        ssize_t n = send(fd, body + at, size - at, MSG_NOSIGNAL);
        if (n > 0)
            at += (size_t)n;
    }
    read_to_end(fd, &b, WAIT_MS);
    int got = 0;
    assert_int_equal(sscanf(buf_str(&b), "HTTP/1.1 %d", &got), 1);
    assert_int_equal(got, status);
    assert_non_null(strstr(buf_str(&b), "Connection: close\r\n"));
    assert_null(strstr(buf_str(&b), " 100 "));
    TURN_UNTIL(seen.ended == ended + 1);
    assert_int_equal(seen.last_status, status);
    assert_int_equal(seen.gone, 0);
    buf_cleanup(&b);
    free(body);
    close(fd);
}

static void early_answer(void **state)
{
    (void)state;
    /* Small: the body is dropped, the connection lives on. */
    int fd = client_new();
    for (int i = 0; i < 3; i++) {
        expect_reply(fd, "PUT /early HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nabcde", 403,
                     "no");
        expect_reply(fd, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "hello\n");
    }
    close(fd);
    assert_int_equal(seen.body_bytes, 0);
    assert_int_equal(seen.body_ends, 3);
    answer_before_large_body("PUT /early HTTP/1.1\r\n" HOST "Content-Length: 20000000\r\n\r\n",
                             20000000, 403);
    answer_before_large_body("PUT /early HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                             "10000\r\n",
                             65536, 403);
    answer_before_large_body("PUT /stream/100 HTTP/1.1\r\n" HOST "Content-Length: 20000000\r\n\r\n",
                             20000000, 200);
    assert_int_equal(seen.body_bytes, 0);
}

static void early_answer_that_comes_later(void **state)
{
    (void)state;
    int fd = client_new();
    client_says(fd, "PUT /lazy/10 HTTP/1.1\r\n" HOST "Content-Length: 20000000\r\n\r\nabc");
    TURN_UNTIL(seen.open);
    turn_for(5);
    http_write(seen.open, "0123456789", 10);
    struct reply p = read_reply(fd, false);
    assert_int_equal(p.status, 200);
    assert_true(p.close);
    assert_string_equal(buf_str(&p.body), "0123456789");
    reply_free(&p);
    assert_closed(fd);
    close(fd);
}

/* What a client sends behind the last request is dropped for a while: to close in its face would be
 * a reset. */
static void no_reset_overtakes_the_last_answer(void **state)
{
    static const struct {
        const char *request;
        int status;
    } cases[] = {{"GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", 200},
                 {"GET / HTTP/1.1\r\n" HOST "No colon\r\n\r\n", 400}};
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        struct buf b = BUF_INIT(MIB);
        char c;
        ssize_t n;
        buf_adds(&b, cases[i].request);
        while (b.len < 200000)
            buf_adds(&b, "and that is not all, ");
        int fd = client_new();
        assert_int_equal(client_send(fd, b.data, b.len), b.len);
        struct reply p = read_reply(fd, false);
        assert_int_equal(p.status, cases[i].status);
        TURN_UNTIL((n = recv(fd, &c, 1, 0)) >= 0 || errno != EAGAIN);
        assert_int_equal(n, 0);
        reply_free(&p);
        buf_cleanup(&b);
        close(fd);
    }
}

static void mid_body_answer(void **state)
{
    (void)state;
    int fd = client_new();
    /* A short rest is dropped. */
    client_says(fd, "PUT /midbody HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\nabc");
    TURN_UNTIL(seen.body_bytes == 3);
    char rest[997] = "";
    client_send(fd, rest, sizeof(rest));
    struct reply p = read_reply(fd, false);
    assert_int_equal(p.status, 507);
    assert_false(p.close);
    reply_free(&p);
    expect_reply(fd, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "hello\n");
    close(fd);
    /* A long one is not. */
    answer_before_large_body("PUT /midbody HTTP/1.1\r\n" HOST "Content-Length: 20000000\r\n\r\n",
                             20000000, 507);
    answer_before_large_body("PUT /midbody HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                             "1312D00\r\n",
                             20000000, 507);
    /* An answer while the body is paused. */
    seen.begun = seen.ended = 0;
    fd = client_new();
    client_says(fd, "PUT /stuck HTTP/1.1\r\n" HOST "Content-Length: 10000000\r\n\r\nabc");
    TURN_UNTIL(seen.begun == 1);
    turn_for(5);
    reply_text(seen.open, 410, "deleted");
    p = read_reply(fd, false);
    assert_int_equal(p.status, 410);
    assert_true(p.close);
    assert_true(p.has_date);
    assert_string_equal(buf_str(&p.body), "deleted");
    assert_string_equal(header_of(&p, "Content-Type"), "text/plain");
    reply_free(&p);
    assert_closed(fd);
    close(fd);
}

/* The client sends a part and then nothing. */
static void mid_body_answer_to_a_silent_client(void **state)
{
    (void)state;
    int fd = client_new();
    client_says(fd, "PUT /midbody HTTP/1.1\r\n" HOST "Content-Length: 10000000\r\n\r\nabc");
    uint64_t start = clock_mono_ms();
    struct reply p = read_reply(fd, false);
    assert_int_equal(p.status, 507);
    assert_true(clock_mono_ms() - start < 5000);
    assert_closed(fd);
    reply_free(&p);
    TURN_UNTIL(seen.ended == 1);
    assert_int_equal(seen.gone, 0);
    close(fd);
}

static void expect_100(void **state)
{
    (void)state;
    int fd = client_new();
    client_says(fd, "PUT / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    struct reply p = read_reply(fd, true);
    assert_int_equal(p.status, 100);
    reply_free(&p);
    expect_reply(fd, "abcde", 200, "hello\n");
    close(fd);
    fd = client_new();
    client_says(fd,
                "PUT /early HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    p = read_reply(fd, false);
    assert_int_equal(p.status, 403);
    assert_true(p.close);
    reply_free(&p);
    assert_closed(fd);
    close(fd);
}

/* ---- Clients that leave ---- */

static void client_leaves(void **state)
{
    static const struct {
        const char *request;
        bool half; /* only stops sending */
    } cases[] = {
        {"GET /wait HTTP/1.1\r\n" HOST "\r\n", false},
        {"GET /wait HTTP/1.1\r\n" HOST "\r\n", true},
        {"PUT /stuck HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\nabc", false},
        {"PUT / HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\nabc", false},
        {"GET /lazy/100 HTTP/1.1\r\n" HOST "\r\n", false},
        {"GET /stream/100000000 HTTP/1.1\r\n" HOST "\r\n", false},
        {"GET /stream/100000000 HTTP/1.1\r\n" HOST "\r\n", true},
        {"PUT /lazy/10 HTTP/1.1\r\n" HOST "Content-Length: 20000000\r\n\r\nabc", false},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        print_message("%zu\n", i);
        int fd = client_new();
        client_says(fd, cases[i].request);
        TURN_UNTIL(seen.begun == i + 1);
        turn_for(10);
        assert_int_equal(seen.ended, i);
        if (cases[i].half)
            shutdown(fd, SHUT_WR);
        else
            close(fd);
        TURN_UNTIL(seen.ended == i + 1);
        assert_int_equal(seen.gone, i + 1);
        TURN_UNTIL(httpd_connections(server) == 0);
        if (cases[i].half)
            close(fd);
    }
    assert_int_equal(httpd_requests(server), 0);
}

/* The end of sending arrives together with the request. */
static void client_leaves_at_once(void **state)
{
    (void)state;
    int fd = client_new();
    turn_for(5);
    client_says(fd, "GET /wait HTTP/1.1\r\n" HOST "\r\n");
    shutdown(fd, SHUT_WR);
    TURN_UNTIL(seen.ended == 1);
    assert_int_equal(seen.gone, 1);
    close(fd);
    fd = client_new();
    client_says(fd, "PUT / HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc");
    shutdown(fd, SHUT_WR);
    TURN_UNTIL(seen.ended == 2);
    assert_int_equal(seen.gone, 2);
    close(fd);
    fd = client_new();
    client_says(fd, "GET / HTTP/1.1\r\nHo");
    shutdown(fd, SHUT_WR);
    uint64_t start = clock_mono_ms();
    assert_closed(fd);
    assert_true(clock_mono_ms() - start < 500);
    close(fd);
    /* What can be answered at once is. */
    fd = client_new();
    client_says(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
    shutdown(fd, SHUT_WR);
    struct reply p = read_reply(fd, false);
    assert_string_equal(buf_str(&p.body), "hello\n");
    reply_free(&p);
    assert_closed(fd);
    close(fd);
}

static void late_answers_are_harmless(void **state)
{
    (void)state;
    int fd = client_new();
    client_says(fd, "GET /wait HTTP/1.1\r\n" HOST "\r\n");
    TURN_UNTIL(seen.open);
    turn_for(5);
    reply_text(seen.open, 200, "one");
    reply_text(seen.open, 201, "two"); /* in its place */
    struct reply p = read_reply(fd, false);
    assert_int_equal(p.status, 201);
    assert_string_equal(buf_str(&p.body), "two");
    reply_free(&p);
    close(fd);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(get),
        TEST(keep_alive),
        TEST(pipelined),
        TEST(bodyless),
        TEST(http_1_0),
        TEST(stream_sizes),
        TEST(stream_to_slow_reader),
        TEST(collected_turns_into_error),
        TEST(what_was_sent_stays),
        TEST(abort_cuts),
        TEST(upload_with_back_pressure),
        TEST(upload_stalls_the_client),
        TEST(resume_inside_body),
        TEST(chunked),
        TEST(early_answer),
        TEST(early_answer_that_comes_later),
        TEST(no_reset_overtakes_the_last_answer),
        TEST(mid_body_answer),
        TEST(mid_body_answer_to_a_silent_client),
        TEST(expect_100),
        TEST(client_leaves),
        TEST(client_leaves_at_once),
        TEST(late_answers_are_harmless),
    };
    RUN_TESTS("httpd");
}
