/* The chunked coding: whole, byte by byte, and as nobody may send it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "http/chunked.h"

/* Reads text in pieces, takes at most `taken` bytes of data at a time. Returns the last event, the
 * data, and how much of the text was used. */
static enum http_chunk_event read_all(const char *text, size_t n, size_t piece, size_t taken,
                                      struct buf *data, size_t *used, struct http_chunked *c)
{
    enum http_chunk_event event = HTTP_CHUNK_MORE;
    size_t at = 0;
    *c = (struct http_chunked){.left = 0};
    while (at < n && event != HTTP_CHUNK_END && event != HTTP_CHUNK_REFUSED) {
        size_t part = n - at < piece ? n - at : piece, framing, len;
        char *copy = malloc(part);
        assert_non_null(copy);
        memcpy(copy, text + at, part);
        event = http_chunked_read(c, copy, part, &framing, &len);
        assert_true(framing + len <= part);
        assert_int_equal(event == HTTP_CHUNK_DATA, len > 0);
        len = len < taken ? len : taken;
        if (event == HTTP_CHUNK_DATA) {
            buf_add(data, copy + framing, len);
            http_chunked_take(c, len);
        }
        at += framing + len;
        free(copy);
    }
    *used = at;
    return event;
}

static const size_t sizes[][2] = {{1 << 20, 1 << 20}, {1, 1}, {2, 1}, {7, 3}, {1 << 20, 1}};

struct body {
    const char *text, *data;
};

static const struct body bodies[] = {
    {"0\r\n\r\n", ""},
    {"5\r\nhello\r\n0\r\n\r\n", "hello"},
    {"5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n", "hello world"},
    {"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"},
    {"0000000000000b\r\nhello\r\nyou!\r\n0\r\n\r\n", "hello\r\nyou!"},
    {"1;a=b;c=\"d e\"\r\nx\r\n0;last\r\n\r\n", "x"},
    {"1;a=\"\\\"\\\\\t;\" ; b\t=\tc ;d \r\nx\r\n0\r\n\r\n", "x"},
    {"1 \t;a\r\nx\r\n0\r\n\r\n", "x"},
    {"1\r\nx\r\n0\r\nTrailer: v\r\nX:\r\nY:\t\xff z\r\n\r\n", "x"},
};

static void bodies_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
            struct buf data = BUF_INIT(1000), text = BUF_INIT(1000);
            struct http_chunked c;
            size_t used;
            buf_addf(&text, "%sGET", bodies[i].text); /* the next message stays */
            print_message("%s\n", bodies[i].text);
            assert_int_equal(
                read_all(text.data, text.len, sizes[k][0], sizes[k][1], &data, &used, &c),
                HTTP_CHUNK_END);
            assert_string_equal(buf_str(&data), bodies[i].data);
            assert_int_equal(used, strlen(bodies[i].text));
            /* Nothing comes behind the end. */
            size_t len, framing;
            assert_int_equal(http_chunked_read(&c, "1\r\n", 3, &framing, &len), HTTP_CHUNK_END);
            assert_int_equal(framing + len, 0);
            /* And what is cut off has no end. */
            for (size_t n = 0; n < strlen(bodies[i].text); n++) {
                buf_reset(&data);
                enum http_chunk_event e =
                    read_all(text.data, n, sizes[k][0], sizes[k][1], &data, &used, &c);
                assert_true(e == HTTP_CHUNK_MORE || e == HTTP_CHUNK_DATA);
            }
            buf_cleanup(&data);
            buf_cleanup(&text);
        }
}

struct refused {
    enum http_fault fault;
    const char *text;
    size_t used; /* in front of the byte that is refused */
};

static const struct refused refused[] = {
    {HTTP_FAULT_CHUNK_SIZE, "\r\n", 0},
    {HTTP_FAULT_CHUNK_SIZE, ";a\r\n", 0},
    {HTTP_FAULT_CHUNK_SIZE, " 1\r\n", 0},
    {HTTP_FAULT_CHUNK_SIZE, "-1\r\n", 0},
    {HTTP_FAULT_CHUNK_SIZE, "0x1\r\n", 1},
    {HTTP_FAULT_CHUNK_SIZE, "1g\r\n", 1},
    {HTTP_FAULT_CHUNK_SIZE, "1\n", 1},
    {HTTP_FAULT_CHUNK_SIZE, "1\rx", 2},
    {HTTP_FAULT_CHUNK_SIZE, "1_0\r\n", 1},
    {HTTP_FAULT_CHUNK_SIZE, "1000000000000000\r\n", 15},
    {HTTP_FAULT_CHUNK_SIZE, "0000000000000001\r\n", 15},
    {HTTP_FAULT_CHUNK_EXTENSION, "1 \r\n", 2},
    {HTTP_FAULT_CHUNK_EXTENSION, "1 1\r\n", 2},
    {HTTP_FAULT_CHUNK_EXTENSION, "1;\r\n", 2},
    {HTTP_FAULT_CHUNK_EXTENSION, "1; ;\r\n", 3},
    {HTTP_FAULT_CHUNK_EXTENSION, "1;a b\r\n", 4},
    {HTTP_FAULT_CHUNK_EXTENSION, "1;a=\r\n", 4},
    {HTTP_FAULT_CHUNK_EXTENSION, "1;a=b=c\r\n", 5},
    {HTTP_FAULT_CHUNK_EXTENSION, "1;a=b\"c\"\r\n", 5},
    {HTTP_FAULT_CHUNK_EXTENSION, "1;a=\"b\r\n", 6},
    {HTTP_FAULT_CHUNK_EXTENSION, "1;a=\"\\\n\"\r\n", 6},
    {HTTP_FAULT_CHUNK_EXTENSION, "1;a=\"b\"c\r\n", 7},
    {HTTP_FAULT_CHUNK_EXTENSION, "1;[\r\n", 2},
    {HTTP_FAULT_CHUNK_EXTENSION, "1;a\n", 3},
    {HTTP_FAULT_CHUNK_EXTENSION, "1;a\x7f\r\n", 3},
    {HTTP_FAULT_CHUNK_END, "1\r\nxy\r\n", 4},
    {HTTP_FAULT_CHUNK_END, "1\r\nx\n", 4},
    {HTTP_FAULT_CHUNK_END, "1\r\nx\ry", 5},
    {HTTP_FAULT_CHUNK_SIZE, "1\r\nx\r\n\r\n", 6},
    {HTTP_FAULT_TRAILERS, "0\r\n\n", 3},
    {HTTP_FAULT_TRAILERS, "0\r\n\rx", 4},
    {HTTP_FAULT_TRAILERS, "0\r\n a: b\r\n", 3},
    {HTTP_FAULT_TRAILERS, "0\r\na b\r\n", 4},
    {HTTP_FAULT_TRAILERS, "0\r\na : b\r\n", 4},
    {HTTP_FAULT_TRAILERS, "0\r\na: b\n", 7},
    {HTTP_FAULT_TRAILERS, "0\r\na: b\rc", 8},
    {HTTP_FAULT_TRAILERS, "0\r\nGET / HTTP/1.1\r\n", 6},
};

static void what_is_malformed_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
            const struct refused *r = &refused[i];
            struct buf data = BUF_INIT(1000);
            struct http_chunked c;
            size_t used, len;
            print_message("%zu: %s\n", i, r->text);
            assert_int_equal(
                read_all(r->text, strlen(r->text), sizes[k][0], sizes[k][1], &data, &used, &c),
                HTTP_CHUNK_REFUSED);
            assert_int_equal(c.fault, r->fault);
            assert_int_equal(used, r->used);
            /* That is final. */
            assert_int_equal(http_chunked_read(&c, "0\r\n\r\n", 5, &used, &len),
                             HTTP_CHUNK_REFUSED);
            assert_int_equal(used + len, 0);
            buf_cleanup(&data);
        }
}

/* `unit` again and again behind `begin`: all that fits into the bound and one byte. */
static enum http_fault flood(const char *begin, const char *unit)
{
    struct http_chunked c = {.left = 0};
    size_t used, len, sent = 0;
    assert_int_equal(http_chunked_read(&c, begin, strlen(begin), &used, &len), HTTP_CHUNK_MORE);
    while (!c.fault && sent <= HTTP_CHUNK_EXTRA_MAX) {
        http_chunked_read(&c, unit, strlen(unit), &used, &len);
        sent += strlen(unit);
    }
    return c.fault;
}

static void extensions_and_trailers_are_bounded(void **state)
{
    (void)state;
    assert_int_equal(flood("1;", "xxxxxxx"), HTTP_FAULT_CHUNK_EXTENSION);
    assert_int_equal(flood("1 ", " "), HTTP_FAULT_CHUNK_EXTENSION);
    assert_int_equal(flood("0\r\n", "a: b\r\n"), HTTP_FAULT_TRAILERS);
    /* Over all chunks of a body; what is no extension does not count. */
    struct http_chunked c = {.left = 0};
    size_t used, len, chunks = 0;
    while (!c.fault && chunks < 2 * HTTP_CHUNK_EXTRA_MAX) {
        static const char head[] = "1;x\r\n", rest[] = "\r\n";
        http_chunked_read(&c, head, strlen(head), &used, &len);
        if (c.fault)
            break;
        assert_int_equal(http_chunked_read(&c, "y", 1, &used, &len), HTTP_CHUNK_DATA);
        http_chunked_take(&c, 1);
        http_chunked_read(&c, rest, strlen(rest), &used, &len);
        chunks++;
    }
    assert_int_equal(chunks, HTTP_CHUNK_EXTRA_MAX / 2); /* "x" and its CR */
    assert_int_equal(c.fault, HTTP_FAULT_CHUNK_EXTENSION);
}

static void what_is_written_can_be_read(void **state)
{
    char head[HTTP_CHUNK_HEAD_SIZE];
    struct buf text = BUF_INIT(1 << 20), data = BUF_INIT(1 << 20);
    struct http_chunked c;
    size_t used;
    (void)state;
    for (size_t n = 1; n < 300; n += 13) {
        buf_add(&text, head, http_chunk_head(n, head));
        for (size_t i = 0; i < n; i++)
            buf_addc(&text, (char)('a' + i % 26));
        buf_adds(&text, HTTP_CHUNK_TAIL);
    }
    buf_adds(&text, HTTP_CHUNK_LAST);
    assert_int_equal(read_all(text.data, text.len, 100, 100, &data, &used, &c), HTTP_CHUNK_END);
    assert_int_equal(used, text.len);
    assert_int_equal(data.len, 3312);
    assert_int_equal(http_chunk_head(SIZE_MAX, head), 18);
    buf_cleanup(&text);
    buf_cleanup(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_read),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(extensions_and_trailers_are_bounded),
        cmocka_unit_test(what_is_written_can_be_read),
    };
    return cmocka_run_group_tests_name("http_chunked", tests, NULL, NULL);
}
