/* Heads of HTTP/1.1 messages: whole, byte by byte, and as nobody may send them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/head.h"

enum { MAX = 1024 };

/* Byte by byte, at a new place each time: nothing may be kept but offsets. */
static enum http_progress feed_slowly(struct http_head *h, const char *text, size_t n)
{
    enum http_progress p = HTTP_MORE;
    for (size_t i = 1; i <= n && p == HTTP_MORE; i++) {
        char *copy = malloc(i);
        assert_non_null(copy);
        memcpy(copy, text, i);
        p = http_head_feed(h, copy, i);
        free(copy);
    }
    return p;
}

/* Both ways, which have to agree. */
static enum http_progress feed(struct http_head *h, enum http_kind kind, const char *text, size_t n)
{
    struct http_head slow;
    http_head_init(h, kind, MAX);
    enum http_progress p = http_head_feed(h, text, n);
    http_head_init(&slow, kind, MAX);
    assert_int_equal(feed_slowly(&slow, text, n), p);
    assert_int_equal(slow.fault, h->fault);
    if (p == HTTP_DONE) {
        assert_int_equal(slow.length, h->length);
        assert_int_equal(slow.n_fields, h->n_fields);
        assert_int_equal(slow.framing, h->framing);
        assert_int_equal(slow.content_length, h->content_length);
        assert_int_equal(slow.keep_alive, h->keep_alive);
        assert_memory_equal(slow.fields, h->fields, h->n_fields * sizeof(h->fields[0]));
    }
    return p;
}

#define ASSERT_SPAN(h, text, span, wanted)                           \
    do {                                                             \
        assert_int_equal((span).len, strlen(wanted));                \
        assert_memory_equal((text) + (span).at, wanted, (span).len); \
    } while (0)

static void a_request_is_read(void **state)
{
    static const char text[] = "PUT /a/b?c=d HTTP/1.1\r\n"
                               "Host: example.org:8080\r\n"
                               "Content-Length: 12\r\n"
                               "x-empty:\r\n"
                               "X-Spaces: \t two words\t \r\n"
                               "EXPECT: 100-Continue\r\n\r\nbody";
    struct http_head h;
    (void)state;
    assert_int_equal(feed(&h, HTTP_REQUEST, text, strlen(text)), HTTP_DONE);
    ASSERT_SPAN(&h, text, h.method, "PUT");
    ASSERT_SPAN(&h, text, h.target, "/a/b?c=d");
    assert_int_equal(h.minor, 1);
    assert_int_equal(h.length, strlen(text) - 4);
    assert_int_equal(h.n_fields, 5);
    assert_int_equal(h.framing, HTTP_LENGTH);
    assert_int_equal(h.content_length, 12);
    assert_true(h.keep_alive);
    assert_true(h.expect_continue);
    ASSERT_SPAN(&h, text, http_head_find(&h, text, "host"), "example.org:8080");
    ASSERT_SPAN(&h, text, http_head_find(&h, text, "X-Empty"), "");
    ASSERT_SPAN(&h, text, http_head_find(&h, text, "x-spaces"), "two words");
    assert_int_equal(http_head_find(&h, text, "X-Empt").at, 0);
    assert_true(http_span_is(h.method, text, "put"));
    assert_false(http_span_is(h.method, text, "pu"));
}

/* As long as those that are heeded. */
static void other_fields_are_left_alone(void **state)
{
    static const char text[] =
        "GET / HTTP/1.1\r\nHost: a\r\nFrom: x y\r\nAccept: 100-continue\r\n"
        "User-Agent: (;)\r\nAccept-Charset: -1\r\nIf-Modified-Since: gzip\r\n\r\n";
    struct http_head h;
    (void)state;
    assert_int_equal(feed(&h, HTTP_REQUEST, text, strlen(text)), HTTP_DONE);
    assert_int_equal(h.n_fields, 6);
    assert_int_equal(h.framing, HTTP_NO_BODY);
    assert_true(h.keep_alive);
    assert_false(h.expect_continue);
}

static void a_response_is_read(void **state)
{
    static const char text[] = "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nhello";
    struct http_head h;
    (void)state;
    assert_int_equal(feed(&h, HTTP_RESPONSE, text, strlen(text)), HTTP_DONE);
    assert_int_equal(h.status, 206);
    ASSERT_SPAN(&h, text, h.reason, "Partial Content");
    assert_int_equal(h.framing, HTTP_LENGTH);
    assert_int_equal(h.content_length, 5);
    assert_true(h.keep_alive);
}

/* ---- Framing, and what becomes of the connection ---- */

struct framed {
    enum http_kind kind;
    const char *text;
    enum http_framing framing;
    uint64_t length;
    bool keep_alive;
};

static const struct framed framed[] = {
    {HTTP_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_NO_BODY, 0, true},
    {HTTP_REQUEST, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_NO_BODY, 0, true},
    {HTTP_REQUEST, "GET / HTTP/1.9\r\nHost: a\r\n\r\n", HTTP_NO_BODY, 0, true},
    {HTTP_REQUEST, "GET / HTTP/1.0\r\n\r\n", HTTP_NO_BODY, 0, false},
    {HTTP_REQUEST, "GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n", HTTP_NO_BODY, 0, true},
    {HTTP_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive ,\tClose\r\n\r\n",
     HTTP_NO_BODY, 0, false},
    {HTTP_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", HTTP_NO_BODY, 0,
     true},
    {HTTP_REQUEST, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", HTTP_NO_BODY, 0, true},
    {HTTP_REQUEST, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0009\r\n\r\n", HTTP_LENGTH, 9,
     true},
    {HTTP_REQUEST, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775799\r\n\r\n",
     HTTP_LENGTH, 9223372036854775799u, true},
    {HTTP_REQUEST, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", HTTP_CHUNKED,
     0, true},
    {HTTP_RESPONSE, "HTTP/1.1 200\r\n\r\n", HTTP_TO_CLOSE, 0, false},
    {HTTP_RESPONSE, "HTTP/1.1 200 \r\nHost: one\r\nHost: two\r\n\r\n", HTTP_TO_CLOSE, 0, false},
    {HTTP_RESPONSE, "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
     HTTP_LENGTH, 3, true},
    {HTTP_RESPONSE, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_CHUNKED, 0, true},
    {HTTP_RESPONSE, "HTTP/1.1 100 Continue\r\n\r\n", HTTP_NO_BODY, 0, true},
    {HTTP_RESPONSE, "HTTP/1.1 204 No Content\r\n\r\n", HTTP_NO_BODY, 0, true},
    {HTTP_RESPONSE, "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", HTTP_NO_BODY, 7,
     true},
    {HTTP_RESPONSE_TO_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", HTTP_NO_BODY, 7, true},
};

static void the_framing_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(framed) / sizeof(framed[0]); i++) {
        const struct framed *f = &framed[i];
        struct http_head h;
        print_message("%s", f->text);
        assert_int_equal(feed(&h, f->kind, f->text, strlen(f->text)), HTTP_DONE);
        assert_int_equal(h.framing, f->framing);
        assert_int_equal(h.content_length, f->length);
        assert_int_equal(h.keep_alive, f->keep_alive);
        assert_int_equal(h.length, strlen(f->text));
    }
}

/* ---- What is refused ---- */

#define GET  "GET / HTTP/1.1\r\n"
#define HOST "Host: a\r\n"
#define OK   "HTTP/1.1 200 OK\r\n"

struct refused {
    enum http_fault fault;
    enum http_kind kind;
    const char *text;
    size_t n; /* 0: strlen(text) */
};

static const struct refused refused[] = {
    {HTTP_FAULT_LINE_END, HTTP_REQUEST, "GET / HTTP/1.1\nHost: a\r\n\r\n", 0},
    {HTTP_FAULT_LINE_END, HTTP_REQUEST, GET "Host: a\n\r\n", 0},
    {HTTP_FAULT_LINE_END, HTTP_REQUEST, GET HOST "\n", 0},
    {HTTP_FAULT_LINE_END, HTTP_REQUEST, GET "Host: a\rb\r\n\r\n", 0},
    {HTTP_FAULT_LINE_END, HTTP_REQUEST, GET HOST "\r\r\n", 0},
    {HTTP_FAULT_LINE_END, HTTP_RESPONSE, "HTTP/1.1 200 OK\n\n", 0},
    {HTTP_FAULT_CONTROL, HTTP_REQUEST, GET HOST "X: a\0b\r\n\r\n",
     sizeof(GET HOST "X: a\0b\r\n\r\n") - 1},
    {HTTP_FAULT_CONTROL, HTTP_REQUEST, GET HOST "X: \x7f\r\n\r\n", 0},
    {HTTP_FAULT_CONTROL, HTTP_REQUEST, GET HOST "X: eight bytes and \x1f\r\n\r\n", 0},
    {HTTP_FAULT_CONTROL, HTTP_REQUEST, "\x16\x03\x01\x02\x01\x01", 0}, /* TLS ClientHello */
    {HTTP_FAULT_CONTROL, HTTP_REQUEST, "\0", 1},
    {HTTP_FAULT_LINE_END, HTTP_REQUEST, "\r\n\nGET / HTTP/1.1\r\n", 0},
    {HTTP_FAULT_METHOD, HTTP_REQUEST, "\r\n\r\nGET / HTTP/1.1\r\n", 0},
    {HTTP_FAULT_METHOD, HTTP_REQUEST, "\x80\x01", 0},
    {HTTP_FAULT_METHOD, HTTP_REQUEST, "G@T / HTTP/1.1\r\n", 0},
    {HTTP_FAULT_METHOD, HTTP_REQUEST, " GET / HTTP/1.1\r\n", 0},
    {HTTP_FAULT_METHOD, HTTP_REQUEST, "AMETHODOFMORETHANTHIRTYTWOLETTERS / HTTP/1.1\r\n", 0},
    {HTTP_FAULT_REQUEST_LINE, HTTP_REQUEST, "GET\r\n", 0},
    {HTTP_FAULT_REQUEST_LINE, HTTP_REQUEST, "GET /\r\n", 0},
    {HTTP_FAULT_REQUEST_LINE, HTTP_REQUEST, "GET  / HTTP/1.1\r\n", 0},
    {HTTP_FAULT_METHOD, HTTP_REQUEST, "@\r\n", 0},
    {HTTP_FAULT_REQUEST_LINE, HTTP_REQUEST, "GET /  HTTP/1.1\r\n", 0},
    {HTTP_FAULT_REQUEST_LINE, HTTP_REQUEST, "GET / HTTP/1.1 \r\n", 0},
    {HTTP_FAULT_REQUEST_LINE, HTTP_REQUEST, "GET / http/1.1\r\n", 0},
    {HTTP_FAULT_REQUEST_LINE, HTTP_REQUEST, "GET / HTTP/1.x\r\n", 0},
    {HTTP_FAULT_REQUEST_LINE, HTTP_REQUEST, "GET / HTTP/x.1\r\n", 0},
    {HTTP_FAULT_REQUEST_LINE, HTTP_REQUEST, "GET / HTTP/1,1\r\n", 0},
    {HTTP_FAULT_VERSION, HTTP_REQUEST, "PRI /* HTTP/2.0\r\n", 0},
    {HTTP_FAULT_TARGET, HTTP_REQUEST, "PRI * HTTP/2.0\r\n", 0},
    {HTTP_FAULT_TARGET, HTTP_REQUEST, "GET http://a/ HTTP/1.1\r\n", 0},
    {HTTP_FAULT_TARGET, HTTP_REQUEST, "CONNECT a:443 HTTP/1.1\r\n", 0},
    {HTTP_FAULT_TARGET, HTTP_REQUEST, "GET /a#b HTTP/1.1\r\n", 0},
    {HTTP_FAULT_TARGET, HTTP_REQUEST, "GET /\xc3\xa4 HTTP/1.1\r\n", 0},
    {HTTP_FAULT_NAME, HTTP_REQUEST, GET "Host : a\r\n", 0},
    {HTTP_FAULT_NAME, HTTP_REQUEST, GET "no colon\r\n", 0},
    {HTTP_FAULT_NAME, HTTP_REQUEST, GET "nocolon\r\n", 0},
    {HTTP_FAULT_NAME, HTTP_REQUEST, GET ": a\r\n", 0},
    {HTTP_FAULT_NAME, HTTP_REQUEST, GET "K\xc3\xa4se: a\r\n", 0},
    {HTTP_FAULT_FOLD, HTTP_REQUEST, GET "X: a\r\n b\r\n", 0},
    {HTTP_FAULT_FOLD, HTTP_REQUEST, GET "\tHost: a\r\n", 0},
    {HTTP_FAULT_FOLD, HTTP_RESPONSE, OK "X: a\r\n b\r\n", 0},
    {HTTP_FAULT_HOST, HTTP_REQUEST, GET "Host: a/b\r\n", 0},
    {HTTP_FAULT_HOST, HTTP_REQUEST, GET "Host: u@a\r\n", 0},
    {HTTP_FAULT_HOST, HTTP_REQUEST, GET "Host:\r\n", 0},
    {HTTP_FAULT_HOST, HTTP_REQUEST, GET "Host: a b\r\n", 0},
    {HTTP_FAULT_HOSTS, HTTP_REQUEST, GET HOST "HOST: a\r\n", 0},
    {HTTP_FAULT_NO_HOST, HTTP_REQUEST, GET "\r\n", 0},
    {HTTP_FAULT_LENGTH, HTTP_REQUEST, GET "Content-Length: -1\r\n", 0},
    {HTTP_FAULT_LENGTH, HTTP_REQUEST, GET "Content-Length: +1\r\n", 0},
    {HTTP_FAULT_LENGTH, HTTP_REQUEST, GET "Content-Length: 0x1\r\n", 0},
    {HTTP_FAULT_LENGTH, HTTP_REQUEST, GET "Content-Length: 1, 1\r\n", 0},
    {HTTP_FAULT_LENGTH, HTTP_REQUEST, GET "Content-Length: 1 1\r\n", 0},
    {HTTP_FAULT_LENGTH, HTTP_REQUEST, GET "Content-Length:\r\n", 0},
    {HTTP_FAULT_LENGTH, HTTP_REQUEST, GET "Content-Length: 9223372036854775808\r\n", 0},
    {HTTP_FAULT_LENGTH, HTTP_RESPONSE, OK "Content-Length: 99999999999999999999\r\n", 0},
    {HTTP_FAULT_LENGTHS, HTTP_REQUEST, GET "Content-Length: 1\r\nContent-length: 1\r\n", 0},
    {HTTP_FAULT_LENGTHS, HTTP_RESPONSE, OK "Content-Length: 1\r\nContent-length: 1\r\n", 0},
    {HTTP_FAULT_CODING, HTTP_REQUEST, GET "Transfer-Encoding: gzip, chunked\r\n", 0},
    {HTTP_FAULT_CODING, HTTP_REQUEST, GET "Transfer-Encoding: chunked, chunked\r\n", 0},
    {HTTP_FAULT_CODING, HTTP_REQUEST, GET "Transfer-Encoding: identity\r\n", 0},
    {HTTP_FAULT_CODING, HTTP_REQUEST, GET "Transfer-Encoding: ,chunked\r\n", 0},
    {HTTP_FAULT_CODING, HTTP_REQUEST, GET "Transfer-Encoding:\r\n", 0},
    {HTTP_FAULT_CODINGS, HTTP_REQUEST,
     GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 0},
    {HTTP_FAULT_CODING_1_0, HTTP_REQUEST, "PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 0},
    {HTTP_FAULT_LENGTH_AND_CODING, HTTP_REQUEST,
     GET HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
    {HTTP_FAULT_LENGTH_AND_CODING, HTTP_RESPONSE,
     OK "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 0},
    {HTTP_FAULT_CONNECTION, HTTP_REQUEST, GET "Connection: close; x\r\n", 0},
    {HTTP_FAULT_CONNECTION, HTTP_REQUEST, GET "Connection: \"close\"\r\n", 0},
    {HTTP_FAULT_CONNECTION, HTTP_REQUEST, GET "Connection: x close\r\n", 0},
    {HTTP_FAULT_STATUS_LINE, HTTP_RESPONSE, "HTTP/1.1 20 OK\r\n", 0},
    {HTTP_FAULT_STATUS_LINE, HTTP_RESPONSE, "HTTP/1.1 2000 OK\r\n", 0},
    {HTTP_FAULT_STATUS_LINE, HTTP_RESPONSE, "HTTP/1.1 099 OK\r\n", 0},
    {HTTP_FAULT_STATUS_LINE, HTTP_RESPONSE, "HTTP/1.1  200 OK\r\n", 0},
    {HTTP_FAULT_STATUS_LINE, HTTP_RESPONSE, "HTTP/1.1\t200 OK\r\n", 0},
    {HTTP_FAULT_STATUS_LINE, HTTP_RESPONSE, "HTTP/1.1 \r\n", 0},
    {HTTP_FAULT_STATUS_LINE, HTTP_RESPONSE, "HTTP/2.0 200 OK\r\n", 0},
    {HTTP_FAULT_STATUS_LINE, HTTP_RESPONSE, "HTTP/1.x 200 OK\r\n", 0},
    {HTTP_FAULT_STATUS_LINE, HTTP_RESPONSE, "\r\nHTTP/1.1 200 OK\r\n", 0},
    {HTTP_FAULT_STATUS_LINE, HTTP_RESPONSE, "SSH-2.0", 0},
};

static void what_is_ambiguous_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const struct refused *r = &refused[i];
        struct http_head h;
        size_t n = r->n ? r->n : strlen(r->text);
        print_message("%zu: %s\n", i, r->text);
        assert_int_equal(feed(&h, r->kind, r->text, n), HTTP_REFUSED);
        assert_string_equal(http_rules[h.fault].text, http_rules[r->fault].text);
        /* The first fault is final. */
        assert_int_equal(http_head_feed(&h, r->text, n), HTTP_REFUSED);
        assert_int_equal(h.fault, r->fault);
    }
}

static void every_rule_says_where_it_stands(void **state)
{
    (void)state;
    for (int i = HTTP_FAULT_NONE + 1; i < HTTP_FAULTS; i++) {
        assert_non_null(http_rules[i].text);
        assert_int_equal(strncmp(http_rules[i].section, "RFC ", 4), 0);
        assert_in_range(http_rules[i].status, 400, 505);
    }
}

/* ---- Bounds ---- */

static enum http_fault fault_of(const char *text, size_t n, uint32_t max)
{
    struct http_head h;
    http_head_init(&h, HTTP_REQUEST, max);
    http_head_feed(&h, text, n);
    return h.fault;
}

static void sizes_are_bounded(void **state)
{
    static char text[HTTP_HEAD_MAX + 100];
    static const char head[] = GET HOST "\r\n";
    struct http_head h;
    size_t n = 0;
    (void)state;
    /* A head of exactly the bound is whole, also with a body behind it. */
    http_head_init(&h, HTTP_REQUEST, sizeof(head) - 1);
    snprintf(text, sizeof(text), "%sbody", head);
    assert_int_equal(http_head_feed(&h, text, strlen(text)), HTTP_DONE);
    assert_int_equal(fault_of(head, strlen(head), sizeof(head) - 2), HTTP_FAULT_HEAD_SIZE);
    assert_int_equal(fault_of(head, strlen(head), 10), HTTP_FAULT_TARGET_SIZE);
    /* And no head is larger than a span can tell. */
    n = (size_t)snprintf(text, sizeof(text), GET HOST "X: ");
    memset(text + n, 'x', sizeof(text) - n);
    assert_int_equal(fault_of(text, sizeof(text), UINT32_MAX), HTTP_FAULT_HEAD_SIZE);
}

static void fields_are_counted(void **state)
{
    char text[4096];
    struct http_head h;
    size_t n = (size_t)snprintf(text, sizeof(text), GET HOST);
    (void)state;
    for (int i = 1; i < HTTP_FIELDS_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "x%d:y\r\n", i);
    snprintf(text + n, sizeof(text) - n, "\r\n");
    http_head_init(&h, HTTP_REQUEST, sizeof(text));
    assert_int_equal(http_head_feed(&h, text, strlen(text)), HTTP_DONE);
    assert_int_equal(h.n_fields, HTTP_FIELDS_MAX);
    ASSERT_SPAN(&h, text, http_head_find(&h, text, "X99"), "y");
    snprintf(text + n, sizeof(text) - n, "one: more\r\n\r\n");
    assert_int_equal(fault_of(text, strlen(text), sizeof(text)), HTTP_FAULT_FIELDS);
}

/* ---- The grammar ---- */

static bool in(int c, const char *set)
{
    return c && strchr(set, c);
}

/* As the RFCs write them. */
static void characters_have_their_classes(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        bool digit = c >= '0' && c <= '9', alpha = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        bool hex = digit || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
        alpha = alpha && c < 0x80;
        hex = hex && c < 0x80;
        char b = (char)c;
        assert_int_equal(http_char_is(b, HTTP_CHAR_TOKEN),
                         alpha || digit || in(c, "!#$%&'*+-.^_`|~"));
        assert_int_equal(http_char_is(b, HTTP_CHAR_HOST),
                         alpha || digit || in(c, "-._~:[]%!$&'()*+,;="));
        assert_int_equal(http_char_is(b, HTTP_CHAR_TARGET), c > ' ' && c < 0x7f && c != '#');
        assert_int_equal(http_char_is(b, HTTP_CHAR_DIGIT), digit);
        assert_int_equal(http_char_is(b, HTTP_CHAR_HEX), hex);
    }
}

/* Each byte at each place of a text of any length. */
static void text_ends_at_a_control_character(void **state)
{
    char text[24];
    (void)state;
    for (size_t n = 0; n <= sizeof(text); n++)
        for (size_t at = 0; at < n; at++)
            for (int c = 0; c < 256; c++) {
                bool control = (c < 0x20 && c != '\t') || c == 0x7f;
                memset(text, '\xff', sizeof(text));
                text[at] = (char)c;
                assert_int_equal(http_text_span(text, n), control ? at : n);
            }
    memset(text, '\t', sizeof(text));
    assert_int_equal(http_text_span(text, sizeof(text)), sizeof(text));
    assert_int_equal(http_text_span(text, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read),
        cmocka_unit_test(other_fields_are_left_alone),
        cmocka_unit_test(a_response_is_read),
        cmocka_unit_test(the_framing_is_told),
        cmocka_unit_test(what_is_ambiguous_is_refused),
        cmocka_unit_test(every_rule_says_where_it_stands),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(fields_are_counted),
        cmocka_unit_test(characters_have_their_classes),
        cmocka_unit_test(text_ends_at_a_control_character),
    };
    return cmocka_run_group_tests_name("http_head", tests, NULL, NULL);
}
