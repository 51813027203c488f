/* Malformed and hostile requests: our own table, and other people's vectors. */
#include <jansson.h>

#include "tests/unit/httpd_fixture.h"

/* ---- Hostile heads ---- */

struct answers {
    int first, last, count;
    bool closed;
};

static void count_answers(struct answers *a, const char *text)
{
    a->count = 0;
    for (const char *at = text; (at = strstr(at, "HTTP/1.1 ")); at += 9) {
        int status = atoi(at + 9);
        if (status == 100)
            continue;
        a->last = status;
        if (a->count++ == 0)
            a->first = status;
    }
}

/* Sends text and gathers the statuses of all answers; after the first one it waits only a little
 * for more. */
static struct answers ask(const char *text, size_t n, bool fin)
{
    struct answers a = {.first = 0};
    struct buf b = BUF_INIT(MIB);
    char piece[4096];
    ssize_t got;
    int fd = client_new();
    client_send(fd, text, n);
    if (fin)
        shutdown(fd, SHUT_WR);
    while ((got = client_read(fd, piece, sizeof(piece), a.count ? 3 : 40)) > 0) {
        buf_add(&b, piece, (size_t)got);
        count_answers(&a, buf_str(&b));
    }
    a.closed = got == 0;
    buf_cleanup(&b);
    close(fd);
    return a;
}

static void guard(void **state)
{
#define G "GET / HTTP/1.1\r\n"
#define P "POST / HTTP/1.1\r\n" HOST
    static const struct {
        const char *name, *text;
        size_t len; /* 0: strlen */
        int status;
    } cases[] = {
        {"plain", G HOST "\r\n", 0, 200},
        {"empty line first", "\r\n" G HOST "\r\n", 0, 200},
        {"no host", G "\r\n", 0, 400},
        {"two hosts", G HOST HOST "\r\n", 0, 400},
        {"empty host", G "Host: \r\n\r\n", 0, 400},
        {"host with user", G "Host: u@a\r\n\r\n", 0, 400},
        {"host list", G "Host: a, b\r\n\r\n", 0, 400},
        {"ipv6 host", G "Host: [::1]:80\r\n\r\n", 0, 200},
        {"1.0 without host", "GET / HTTP/1.0\r\n\r\n", 0, 200},
        {"1.0 with two hosts", "GET / HTTP/1.0\r\n" HOST HOST "\r\n", 0, 400},
        {"same length twice", P "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 0, 400},
        {"two lengths", P "Content-Length: 1\r\nContent-Length: 2\r\n\r\na", 0, 400},
        {"signed length", P "Content-Length: +1\r\n\r\na", 0, 400},
        {"length of 2^63", P "Content-Length: 9223372036854775808\r\n\r\na", 0, 400},
        {"length of 2^64-1", P "Content-Length: 18446744073709551615\r\n\r\na", 0, 400},
        {"length list", P "Content-Length: 1, 1\r\n\r\na", 0, 400},
        {"length and coding", P "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         0, 400},
        {"unknown coding", P "Transfer-Encoding: gzip\r\n\r\n", 0, 501},
        {"coding list", P "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 0, 501},
        {"coding twice",
         P "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400},
        {"coding with space", P "Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n", 0, 200},
        {"coding before colon", P "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 0, 400},
        {"coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400},
        {"folded", G HOST "X: a\r\n b\r\n\r\n", 0, 400},
        {"folded last", G "X: a\r\n" HOST "Y: b\r\n\tc\r\n\r\n", 0, 400},
        {"folded first", G " X: a\r\n" HOST "\r\n", 0, 400},
        {"bare LF in the request line", "GET / HTTP/1.1\n" HOST "\r\n", 0, 400},
        {"bare LF after a field", G "Host: a\nX: b\r\n\r\n", 0, 400},
        {"bare LF after the last field", G "Host: a\n\r\n", 0, 400},
        {"bare LF at the end", G "Host: a\r\n\n", 0, 400},
        {"all bare", "GET / HTTP/1.1\nHost: a\n\n", 0, 400},
        {"bare CR in a value", G HOST "X: a\rY: b\r\n\r\n", 0, 400},
        {"NUL in a value", G HOST "X: a\0b\r\n\r\n", sizeof(G HOST "X: a\0b\r\n\r\n") - 1, 400},
        {"NUL at a value's end", G HOST "X: a\0\r\n\r\n", sizeof(G HOST "X: a\0\r\n\r\n") - 1, 400},
        {"NUL in a name", G HOST "X\0: a\r\n\r\n", sizeof(G HOST "X\0: a\r\n\r\n") - 1, 400},
        {"NUL in the target", "GET /\0a HTTP/1.1\r\n" HOST "\r\n",
         sizeof("GET /\0a HTTP/1.1\r\n" HOST "\r\n") - 1, 400},
        {"NUL in the query", "GET /?\0a HTTP/1.1\r\n" HOST "\r\n",
         sizeof("GET /?\0a HTTP/1.1\r\n" HOST "\r\n") - 1, 400},
        {"NUL in the method", "GE\0T / HTTP/1.1\r\n" HOST "\r\n",
         sizeof("GE\0T / HTTP/1.1\r\n" HOST "\r\n") - 1, 400},
        {"control in a value", G HOST "X: a\001b\r\n\r\n", 0, 400},
        {"tab in a value", G HOST "X: a\tb\r\n\r\n", 0, 200},
        {"high bytes in a value", G HOST "X: \303\274\r\n\r\n", 0, 200},
        {"empty value", G HOST "X:\r\n\r\n", 0, 200},
        {"empty name", G HOST ": a\r\n\r\n", 0, 400},
        {"bad name", G HOST "X[: a\r\n\r\n", 0, 400},
        {"no colon", G HOST "nothing\r\n\r\n", 0, 400},
        {"bad method", "GE(T / HTTP/1.1\r\n" HOST "\r\n", 0, 400},
        {"long method", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLM / HTTP/1.1\r\n" HOST "\r\n", 0,
         400},
        {"two spaces", "GET  / HTTP/1.1\r\n" HOST "\r\n", 0, 400},
        {"space at the end", "GET / HTTP/1.1 \r\n" HOST "\r\n", 0, 400},
        {"space in the target", "GET /a b HTTP/1.1\r\n" HOST "\r\n", 0, 400},
        {"high byte in the target", "GET /\303\274 HTTP/1.1\r\n" HOST "\r\n", 0, 400},
        {"fragment", "GET /a#b HTTP/1.1\r\n" HOST "\r\n", 0, 400},
        {"absolute form", "GET http://a/ HTTP/1.1\r\n" HOST "\r\n", 0, 400},
        {"asterisk", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 0, 400},
        {"lower-case version", "GET / http/1.1\r\n" HOST "\r\n", 0, 400},
        {"future version", "GET / HTTP/2.0\r\n" HOST "\r\n", 0, 505},
        {"chunk size with 0x", P "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", 0, 400},
        {"chunk size overflow", P "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\na\r\n", 0,
         400},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        size_t len = cases[i].len ? cases[i].len : strlen(cases[i].text);
        unsigned begun = seen.begun;
        print_message("%s\n", cases[i].name);
        struct answers a = ask(cases[i].text, len, false);
        assert_int_equal(a.first, cases[i].status);
        if (cases[i].status >= 400)
            assert_true(a.closed);
        if (cases[i].status >= 400 && !strstr(cases[i].name, "chunk"))
            assert_int_equal(seen.begun, begun);
    }
}

/* What can never become a request is refused at once, though its head has no end. */
static void no_request_is_waited_for(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } cases[] = {
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11}, /* TLS ClientHello */
        {"\x80\x2e\x01\x03\x01", 5},                          /* SSL 2 */
        {"SSH-2.0-x\r\n", 11},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: \0", 29},
        {"\0", 1},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24},
        {"\r\n\r\n", 4},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        print_message("%zu\n", i);
        int fd = client_new();
        uint64_t start = clock_mono_ms();
        client_send(fd, cases[i].text, cases[i].len);
        struct reply p = read_reply(fd, false);
        assert_int_equal(p.status, 400);
        assert_true(p.close);
        reply_free(&p);
        assert_closed(fd);
        assert_true(clock_mono_ms() - start < 1000);
        close(fd);
    }
    assert_int_equal(seen.begun, 0);
}

static void refusal_is_a_problem(void **state)
{
    (void)state;
    int fd = client_new();
    client_says(fd, "GET /a HTTP/1.1\r\n\r\n");
    struct reply p = read_reply(fd, false);
    assert_int_equal(p.status, 400);
    assert_true(p.close);
    assert_string_equal(header_of(&p, "Content-Type"), "application/problem+json");
    json_t *json = json_loadb(p.body.data, p.body.len, 0, NULL);
    assert_non_null(json);
    assert_int_equal(json_integer_value(json_object_get(json, "status")), 400);
    assert_string_equal(json_string_value(json_object_get(json, "detail")), "There is no Host.");
    json_decref(json);
    reply_free(&p);
    close(fd);
}

static void oversize_heads(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(MIB);
    buf_adds(&b, "GET /");
    for (int i = 0; i < 20000; i++)
        buf_addc(&b, 'a');
    struct answers a = ask(b.data, b.len, false);
    assert_int_equal(a.first, 414);
    assert_true(a.closed);
    buf_reset(&b);
    buf_adds(&b, "GET / HTTP/1.1\r\n" HOST "X: ");
    for (int i = 0; i < 20000; i++)
        buf_addc(&b, 'a');
    a = ask(b.data, b.len, false);
    assert_int_equal(a.first, 431);
    assert_true(a.closed);
    buf_reset(&b);
    buf_adds(&b, "GET / HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 100; i++)
        buf_adds(&b, "X: a\r\n");
    buf_adds(&b, "\r\n");
    a = ask(b.data, b.len, false);
    assert_int_equal(a.first, 431);
    assert_int_equal(seen.begun, 0);
    buf_cleanup(&b);
}

static void bombs_do_not_spin(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(MIB);
    /* Thousands of arguments. */
    buf_adds(&b, "GET /?");
    for (int i = 0; i < 2000; i++)
        buf_adds(&b, "a&");
    buf_adds(&b, " HTTP/1.1\r\n" HOST "\r\n");
    int fd = client_new();
    expect_reply(fd, buf_str(&b), 200, "hello\n");
    assert_true(turns_in(100) < 500);
    close(fd);
    /* A chunk's extension longer than the pool. */
    buf_reset(&b);
    buf_adds(&b, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5;");
    for (int i = 0; i < 30000; i++)
        buf_addc(&b, 'x');
    fd = client_new();
    client_send(fd, b.data, b.len);
    assert_true(turns_in(200) < 1000);
    buf_cleanup(&b);
    close(fd);
}

static json_t *load_vectors(const char *path)
{
    json_error_t error;
    json_t *all = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!all)
        fail_msg("%s: %s", path, error.text);
    return all;
}

/* The vectors hold bytes as code points below 256; {GET} and {HOST} stand for ours. */
static void add_part(struct buf *b, const json_t *part)
{
    const char *text = json_string_value(part);
    size_t len = json_string_length(part);
    for (size_t i = 0; i < len;) {
        if (strncmp(text + i, "{GET}", 5) == 0) {
            buf_adds(b, "/");
            i += 5;
        } else if (strncmp(text + i, "{HOST}", 6) == 0) {
            buf_adds(b, "localhost:80");
            i += 6;
        } else if ((unsigned char)text[i] >= 0xc2) {
            buf_addc(b, (char)((text[i] & 3) << 6 | (text[i + 1] & 0x3f)));
            i += 2;
        } else {
            buf_addc(b, text[i++]);
        }
    }
}

static bool status_allowed(const json_t *expect, const struct answers *a)
{
    if (a->count == 0)
        return json_is_true(json_object_get(expect, "silent"));
    size_t i;
    json_t *status;
    json_array_foreach(json_object_get(expect, "status"), i, status)
    {
        if (json_integer_value(status) == a->last)
            return true;
    }
    return json_array_size(json_object_get(expect, "status")) == 0;
}

static const char *const known_exceptions[] = {
    "ll-connection-2", /* what follows a request that closes is dropped unread */
};

static bool is_exception(const char *id)
{
    for (size_t i = 0; i < LEN(known_exceptions); i++)
        if (strcmp(known_exceptions[i], id) == 0)
            return true;
    return false;
}

static unsigned run_vectors(const char *path)
{
    json_t *all = load_vectors(path), *test;
    unsigned wrong = 0;
    size_t i;
    json_array_foreach(json_object_get(all, "cases"), i, test)
    {
        struct buf b = BUF_INIT(MIB);
        const char *id = json_string_value(json_object_get(test, "id"));
        bool fin = false;
        size_t k;
        json_t *part;
        json_array_foreach(json_object_get(test, "send"), k, part)
        {
            if (strcmp(json_string_value(part), "@fin") == 0)
                fin = true;
            else
                add_part(&b, part);
        }
        struct answers a = ask(b.data, b.len, fin);
        buf_cleanup(&b);
        if (status_allowed(json_object_get(test, "expect"), &a) != is_exception(id))
            continue; /* an exception that has become needless fails, too */
        wrong++;
        print_message("%s: %d answers, last %d\n", id, a.count, a.last);
    }
    json_decref(all);
    return wrong;
}

static void vectors(void **state)
{
    (void)state;
    assert_int_equal(run_vectors("tests/vectors/http11probe.json"), 0);
    assert_int_equal(run_vectors("tests/vectors/llhttp-requests.json"), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(guard),          TEST(no_request_is_waited_for), TEST(refusal_is_a_problem),
        TEST(oversize_heads), TEST(bombs_do_not_spin),        TEST(vectors),
    };
    RUN_TESTS("httpd_hostile");
}
