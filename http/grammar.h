/* grammar.h - the characters of HTTP/1.1, and the rules that a message can break. */
#ifndef HTTP_GRAMMAR_H
#define HTTP_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Classes of bytes; a byte may be in several. */
enum {
    HTTP_CHAR_TOKEN = 1,  /* RFC 9110 5.6.2 tchar */
    HTTP_CHAR_TARGET = 2, /* RFC 9112 3.2.1: visible ASCII without '#', which is never sent */
    HTTP_CHAR_HOST = 4,   /* RFC 3986 3.2.2 and 3.2.3: host and port, without user */
    HTTP_CHAR_DIGIT = 8,
    HTTP_CHAR_HEX = 16,
};
extern const uint8_t http_chars[256];

static inline bool http_char_is(char c, unsigned classes)
{
    return http_chars[(unsigned char)c] & classes;
}
/* Whether there are some, and all are in the class. */
bool http_all_are(const char *s, size_t n, unsigned class);
/* How many bytes from s on are neither control characters nor DEL; a tab is none (RFC 9110 5.5
 * field-vchar, obs-text, SP and HTAB). */
size_t http_text_span(const char *s, size_t n);
/* 1*DIGIT up to INT64_MAX (RFC 9110 8.6). */
bool http_parse_length(const char *s, size_t n, uint64_t *out);

/* What can be wrong with a message. */
enum http_fault {
    HTTP_FAULT_NONE,
    HTTP_FAULT_LINE_END,
    HTTP_FAULT_CONTROL,
    HTTP_FAULT_HEAD_SIZE,
    HTTP_FAULT_FIELDS,
    HTTP_FAULT_REQUEST_LINE,
    HTTP_FAULT_METHOD,
    HTTP_FAULT_TARGET,
    HTTP_FAULT_TARGET_SIZE,
    HTTP_FAULT_VERSION,
    HTTP_FAULT_STATUS_LINE,
    HTTP_FAULT_NAME,
    HTTP_FAULT_FOLD,
    HTTP_FAULT_HOST,
    HTTP_FAULT_HOSTS,
    HTTP_FAULT_NO_HOST,
    HTTP_FAULT_LENGTH,
    HTTP_FAULT_LENGTHS,
    HTTP_FAULT_CODING,
    HTTP_FAULT_CODINGS,
    HTTP_FAULT_CODING_1_0,
    HTTP_FAULT_LENGTH_AND_CODING,
    HTTP_FAULT_CONNECTION,
    HTTP_FAULT_CHUNK_SIZE,
    HTTP_FAULT_CHUNK_EXTENSION,
    HTTP_FAULT_CHUNK_END,
    HTTP_FAULT_TRAILERS,
    HTTP_FAULTS, /* how many */
};

struct http_rule {
    const char *section; /* "RFC 9112 2.2" */
    const char *text;    /* a sentence for whoever sent the message */
    int status;          /* what a server answers */
};
extern const struct http_rule http_rules[HTTP_FAULTS];

#endif
