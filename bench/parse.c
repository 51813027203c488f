/* parse - reads the same head of a message again and again: by http/head.h, or by http_parser, with
 * which Node.js was made, keeping where each field lies as ours does.
 *
 *     parse ours|http_parser request|browser|answer COUNT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Both have these names. */
#define HTTP_REQUEST  SECOND_REQUEST
#define HTTP_RESPONSE SECOND_RESPONSE
#include <http_parser.h>
#undef HTTP_REQUEST
#undef HTTP_RESPONSE

#include "bench/program.h"
#include "http/head.h"

enum { MAX_COUNT = 1000 * 1000 * 1000 };

static const struct sample {
    const char *name;
    enum http_kind kind;
    const char *head;
} samples[] = {
    {"request", HTTP_REQUEST,
     "GET /tenants/0123456789abcdef0123456789abcdef/file?path=pg_stat/x HTTP/1.1\r\n"
     "Host: 127.0.0.1:8080\r\n"
     "Authorization: Bearer "
     "eyJhbGciOiJFZERTQSJ9.eyJ0ZW5hbnQiOiIwMTIzNDU2Nzg5YWJjZGVmIn0.c2lnbmF0dXJl\r\n"
     "\r\n"},
    {"browser", HTTP_REQUEST,
     "GET /articles/2026/11/a-title-of-some-length?from=list&page=2 HTTP/1.1\r\n"
     "Host: www.example.org\r\n"
     "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
     "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n"
     "Accept-Language: en-US,en;q=0.5\r\n"
     "Accept-Encoding: gzip, deflate, br\r\n"
     "Referer: https://www.example.org/articles/2026/11/\r\n"
     "Connection: keep-alive\r\n"
     "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes.no.no.yes\r\n"
     "Upgrade-Insecure-Requests: 1\r\n"
     "Cache-Control: max-age=0\r\n"
     "\r\n"},
    {"answer", HTTP_RESPONSE,
     "HTTP/1.1 200 OK\r\n"
     "Content-Length: 4096\r\n"
     "Accept-Ranges: bytes\r\n"
     "Last-Modified: Sat, 28 Nov 2026 10:00:00 GMT\r\n"
     "ETag: \"0123456789abcdef0123456789abcdef\"\r\n"
     "x-amz-meta-epufs-crc32c: 01234567\r\n"
     "x-amz-request-id: tx00000c0ffee0123456789-006742a1b2-1234-default\r\n"
     "Content-Type: application/octet-stream\r\n"
     "Date: Sat, 28 Nov 2026 11:00:00 GMT\r\n"
     "Connection: Keep-Alive\r\n"
     "\r\n"},
};

/* ---- Either parser ---- */

static bool read_ours(const struct sample *s, size_t n)
{
    struct http_head h; /* its fields are not cleared */
    http_head_init(&h, s->kind, HTTP_HEAD_MAX);
    return http_head_feed(&h, s->head, n) == HTTP_DONE && h.length == n;
}

struct fields {
    size_t n;
    bool complete;
    struct {
        const char *name, *value;
        size_t name_len, value_len;
    } at[HTTP_FIELDS_MAX];
};

static int on_name(http_parser *p, const char *at, size_t n)
{
    struct fields *f = p->data;
    f->at[f->n].name = at;
    f->at[f->n].name_len = n;
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t n)
{
    struct fields *f = p->data;
    f->at[f->n].value = at;
    f->at[f->n].value_len = n;
    f->n++;
    return 0;
}

static int on_end(http_parser *p)
{
    struct fields *f = p->data;
    f->complete = true;
    return 1; /* no body */
}

static bool read_second(const struct sample *s, size_t n)
{
    static const http_parser_settings settings = {
        .on_header_field = on_name, .on_header_value = on_value, .on_headers_complete = on_end};
    struct fields f;
    http_parser p;
    f.n = 0;
    f.complete = false;
    http_parser_init(&p, s->kind == HTTP_REQUEST ? SECOND_REQUEST : SECOND_RESPONSE);
    p.data = &f;
    return http_parser_execute(&p, &settings, s->head, n) == n && f.complete;
}

int main(int argc, char **argv)
{
    const struct sample *s = NULL;
    bool ours = argc == 4 && strcmp(argv[1], "ours") == 0;
    for (size_t i = 0; argc == 4 && i < sizeof(samples) / sizeof(samples[0]); i++)
        if (strcmp(argv[2], samples[i].name) == 0)
            s = &samples[i];
    if (!s || (!ours && strcmp(argv[1], "http_parser") != 0)) {
        fprintf(stderr, "Usage: parse ours|http_parser request|browser|answer COUNT\n");
        return 2;
    }
    uint64_t count = program_number("parse", argv[3], MAX_COUNT);
    bool (*read_head)(const struct sample *, size_t) = ours ? read_ours : read_second;
    size_t n = strlen(s->head);
    struct usage begin = usage_now();
    for (uint64_t i = 0; i < count; i++)
        if (!read_head(s, n)) {
            fprintf(stderr, "parse: %s does not take '%s'\n", argv[1], argv[2]);
            return 1;
        }
    usage_print(begin, count);
    return 0;
}
