#include "http/chunked.h"

#include <stdio.h>

enum { DIGITS_MAX = 15 /* hexadecimal: a size of less than 2^60 */ };

static int refuse(struct http_chunked *c, enum http_fault fault)
{
    c->fault = fault;
    return -1;
}

static unsigned digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_text(char c)
{
    return http_text_span(&c, 1) == 1;
}

/* chunk-size = 1*HEXDIG */
static int take_size(struct http_chunked *c, char b)
{
    if (http_char_is(b, HTTP_CHAR_HEX)) {
        if (c->digits++ == DIGITS_MAX)
            return refuse(c, HTTP_FAULT_CHUNK_SIZE);
        c->left = c->left * 16 + digit(b);
        return 0;
    }
    if (c->digits == 0)
        return refuse(c, HTTP_FAULT_CHUNK_SIZE);
    if (b == '\r')
        c->state = HTTP_CHUNK_SIZE_LF;
    else if (b == ';')
        c->state = HTTP_CHUNK_EXT_BEFORE_NAME;
    else if (is_space(b))
        c->state = HTTP_CHUNK_EXT_SEMICOLON;
    else
        return refuse(c, HTTP_FAULT_CHUNK_SIZE);
    return 0;
}

/* What may come behind a name (EQUALS), a value (END) or white space in front of the first one
 * (SEMICOLON), white space aside. */
static int after_extension(struct http_chunked *c, char b, enum http_chunk_state here)
{
    if (b == ';')
        c->state = HTTP_CHUNK_EXT_BEFORE_NAME;
    else if (b == '\r' && here != HTTP_CHUNK_EXT_SEMICOLON)
        c->state = HTTP_CHUNK_SIZE_LF;
    else if (b == '=' && here == HTTP_CHUNK_EXT_EQUALS)
        c->state = HTTP_CHUNK_EXT_BEFORE_VALUE;
    else if (is_space(b))
        c->state = here;
    else
        return refuse(c, HTTP_FAULT_CHUNK_EXTENSION);
    return 0;
}

/* chunk-ext = *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] ) */
static int take_extension(struct http_chunked *c, char b)
{
    bool token = http_char_is(b, HTTP_CHAR_TOKEN);
    switch (c->state) {
    case HTTP_CHUNK_EXT_BEFORE_NAME:
        if (token)
            c->state = HTTP_CHUNK_EXT_NAME;
        return token || is_space(b) ? 0 : refuse(c, HTTP_FAULT_CHUNK_EXTENSION);
    case HTTP_CHUNK_EXT_NAME: return token ? 0 : after_extension(c, b, HTTP_CHUNK_EXT_EQUALS);
    case HTTP_CHUNK_EXT_BEFORE_VALUE:
        if (token)
            c->state = HTTP_CHUNK_EXT_TOKEN;
        else if (b == '"')
            c->state = HTTP_CHUNK_EXT_QUOTED;
        return token || b == '"' || is_space(b) ? 0 : refuse(c, HTTP_FAULT_CHUNK_EXTENSION);
    case HTTP_CHUNK_EXT_TOKEN: return token ? 0 : after_extension(c, b, HTTP_CHUNK_EXT_END);
    case HTTP_CHUNK_EXT_QUOTED:
        if (b == '"')
            c->state = HTTP_CHUNK_EXT_END;
        else if (b == '\\')
            c->state = HTTP_CHUNK_EXT_ESCAPED;
        return is_text(b) ? 0 : refuse(c, HTTP_FAULT_CHUNK_EXTENSION);
    case HTTP_CHUNK_EXT_ESCAPED:
        c->state = HTTP_CHUNK_EXT_QUOTED;
        return is_text(b) ? 0 : refuse(c, HTTP_FAULT_CHUNK_EXTENSION);
    default: return after_extension(c, b, c->state);
    }
}

static int take_size_lf(struct http_chunked *c, char b)
{
    if (b != '\n')
        return refuse(c, HTTP_FAULT_CHUNK_SIZE);
    c->state = c->left ? HTTP_CHUNK_BYTES : HTTP_CHUNK_TRAILER;
    c->digits = 0;
    return 0;
}

/* One byte that has to be this one. */
static int take_exactly(struct http_chunked *c, char b, char wanted, enum http_chunk_state next,
                        enum http_fault fault)
{
    if (b != wanted)
        return refuse(c, fault);
    c->state = next;
    return 0;
}

/* trailer-section = *( field-line CRLF ), and CRLF behind it. */
static int take_trailer(struct http_chunked *c, char b)
{
    if (b == '\r')
        c->state = HTTP_CHUNK_LAST_LF;
    else if (http_char_is(b, HTTP_CHAR_TOKEN))
        c->state = HTTP_CHUNK_TRAILER_NAME;
    else
        return refuse(c, HTTP_FAULT_TRAILERS);
    return 0;
}

static int take_trailer_name(struct http_chunked *c, char b)
{
    if (b == ':')
        c->state = HTTP_CHUNK_TRAILER_VALUE;
    else if (!http_char_is(b, HTTP_CHAR_TOKEN))
        return refuse(c, HTTP_FAULT_TRAILERS);
    return 0;
}

static int take_trailer_value(struct http_chunked *c, char b)
{
    if (b == '\r')
        c->state = HTTP_CHUNK_TRAILER_LF;
    else if (!is_text(b))
        return refuse(c, HTTP_FAULT_TRAILERS);
    return 0;
}

static bool is_extension(enum http_chunk_state state)
{
    return state >= HTTP_CHUNK_EXT_SEMICOLON && state <= HTTP_CHUNK_EXT_END;
}

static int take(struct http_chunked *c, char b)
{
    bool in_extension = is_extension(c->state);
    if ((in_extension || c->state >= HTTP_CHUNK_TRAILER) && ++c->extra > HTTP_CHUNK_EXTRA_MAX)
        return refuse(c, in_extension ? HTTP_FAULT_CHUNK_EXTENSION : HTTP_FAULT_TRAILERS);
    if (in_extension)
        return take_extension(c, b);
    switch (c->state) {
    case HTTP_CHUNK_SIZE: return take_size(c, b);
    case HTTP_CHUNK_SIZE_LF: return take_size_lf(c, b);
    case HTTP_CHUNK_CR: return take_exactly(c, b, '\r', HTTP_CHUNK_LF, HTTP_FAULT_CHUNK_END);
    case HTTP_CHUNK_LF: return take_exactly(c, b, '\n', HTTP_CHUNK_SIZE, HTTP_FAULT_CHUNK_END);
    case HTTP_CHUNK_TRAILER: return take_trailer(c, b);
    case HTTP_CHUNK_TRAILER_NAME: return take_trailer_name(c, b);
    case HTTP_CHUNK_TRAILER_VALUE: return take_trailer_value(c, b);
    case HTTP_CHUNK_TRAILER_LF:
        return take_exactly(c, b, '\n', HTTP_CHUNK_TRAILER, HTTP_FAULT_TRAILERS);
    default: /* HTTP_CHUNK_LAST_LF; of data and behind the end there is no framing */
        return take_exactly(c, b, '\n', HTTP_CHUNK_ENDED, HTTP_FAULT_TRAILERS);
    }
}

enum http_chunk_event http_chunked_read(struct http_chunked *c, const char *bytes, size_t n,
                                        size_t *used, size_t *len)
{
    size_t i = 0;
    *len = 0;
    while (!c->fault && i < n && c->state != HTTP_CHUNK_BYTES && c->state != HTTP_CHUNK_ENDED)
        if (take(c, bytes[i]) == 0)
            i++;
    *used = i;
    if (c->fault)
        return HTTP_CHUNK_REFUSED;
    if (c->state == HTTP_CHUNK_ENDED)
        return HTTP_CHUNK_END;
    if (c->state != HTTP_CHUNK_BYTES || i == n)
        return HTTP_CHUNK_MORE;
    *len = c->left < n - i ? (size_t)c->left : n - i;
    return HTTP_CHUNK_DATA;
}

void http_chunked_take(struct http_chunked *c, size_t n)
{
    c->left -= n;
    if (c->left == 0)
        c->state = HTTP_CHUNK_CR;
}

size_t http_chunk_head(size_t n, char out[HTTP_CHUNK_HEAD_SIZE])
{
    return (size_t)snprintf(out, HTTP_CHUNK_HEAD_SIZE, "%zx\r\n", n);
}
