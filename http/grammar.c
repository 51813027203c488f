#include "http/grammar.h"

#include <string.h>

/* A token's punctuation, a host's, and both. */
enum {
    K = HTTP_CHAR_TOKEN | HTTP_CHAR_TARGET,
    H = HTTP_CHAR_HOST | HTTP_CHAR_TARGET,
    B = K | H,
    T = HTTP_CHAR_TARGET,
    A = B,
    D = B | HTTP_CHAR_DIGIT | HTTP_CHAR_HEX,
    X = B | HTTP_CHAR_HEX,
};

/* From 0x20 on; all others are in no class. */
/* clang-format off */
const uint8_t http_chars[256] = {
    /*       SP !  "  #  $  %  &  '  (  )  *  +  ,  -  .  / */
    [0x20] = 0, B, T, HTTP_CHAR_TOKEN, B, B, B, B, H, H, B, B, H, B, B, T,
    /*       0  1  2  3  4  5  6  7  8  9  :  ;  <  =  >  ? */
    [0x30] = D, D, D, D, D, D, D, D, D, D, H, H, T, H, T, T,
    /*       @  A  B  C  D  E  F  G  H  I  J  K  L  M  N  O */
    [0x40] = T, X, X, X, X, X, X, A, A, A, A, A, A, A, A, A,
    /*       P  Q  R  S  T  U  V  W  X  Y  Z  [  \  ]  ^  _ */
    [0x50] = A, A, A, A, A, A, A, A, A, A, A, H, T, H, K, B,
    /*       `  a  b  c  d  e  f  g  h  i  j  k  l  m  n  o */
    [0x60] = K, X, X, X, X, X, X, A, A, A, A, A, A, A, A, A,
    /*       p  q  r  s  t  u  v  w  x  y  z  {  |  }  ~ */
    [0x70] = A, A, A, A, A, A, A, A, A, A, A, T, K, T, B,
};
/* clang-format on */

const struct http_rule http_rules[HTTP_FAULTS] = {
    [HTTP_FAULT_NONE] = {"", "", 0},
    [HTTP_FAULT_LINE_END] = {"RFC 9112 2.2", "A line does not end in CR LF.", 400},
    [HTTP_FAULT_CONTROL] = {"RFC 9110 5.5", "The head holds a control character.", 400},
    [HTTP_FAULT_HEAD_SIZE] = {"RFC 6585 5", "The head is too large.", 431},
    [HTTP_FAULT_FIELDS] = {"RFC 6585 5", "There are too many header fields.", 431},
    [HTTP_FAULT_REQUEST_LINE] = {"RFC 9112 3", "The request line is malformed.", 400},
    [HTTP_FAULT_METHOD] = {"RFC 9112 3.1", "The method is not a token.", 400},
    [HTTP_FAULT_TARGET] = {"RFC 9112 3.2.1", "The target must be an absolute path.", 400},
    [HTTP_FAULT_TARGET_SIZE] = {"RFC 9112 3", "The request line is too long.", 414},
    [HTTP_FAULT_VERSION] = {"RFC 9112 2.3", "The version is neither 1.1 nor 1.0.", 505},
    [HTTP_FAULT_STATUS_LINE] = {"RFC 9112 4", "The status line is malformed.", 502},
    [HTTP_FAULT_NAME] = {"RFC 9112 5.1", "A field name is not a token with a colon behind it.",
                         400},
    [HTTP_FAULT_FOLD] = {"RFC 9112 5.2", "A field is folded over two lines.", 400},
    [HTTP_FAULT_HOST] = {"RFC 9112 3.2", "The Host is malformed.", 400},
    [HTTP_FAULT_HOSTS] = {"RFC 9112 3.2", "There is more than one Host.", 400},
    [HTTP_FAULT_NO_HOST] = {"RFC 9112 3.2", "There is no Host.", 400},
    [HTTP_FAULT_LENGTH] = {"RFC 9112 6.2", "The Content-Length is malformed.", 400},
    [HTTP_FAULT_LENGTHS] = {"RFC 9112 6.3", "There is more than one Content-Length.", 400},
    [HTTP_FAULT_CODING] = {"RFC 9112 6.1", "The Transfer-Encoding is unknown.", 501},
    [HTTP_FAULT_CODINGS] = {"RFC 9112 6.1", "There is more than one Transfer-Encoding.", 400},
    [HTTP_FAULT_CODING_1_0] = {"RFC 9112 6.1", "HTTP/1.0 has no Transfer-Encoding.", 400},
    [HTTP_FAULT_LENGTH_AND_CODING] = {"RFC 9112 6.3",
                                      "There are both Content-Length and Transfer-Encoding.", 400},
    [HTTP_FAULT_CONNECTION] = {"RFC 9110 7.6.1", "The Connection field is malformed.", 400},
    [HTTP_FAULT_CHUNK_SIZE] = {"RFC 9112 7.1", "A chunk's size is malformed.", 400},
    [HTTP_FAULT_CHUNK_EXTENSION] = {"RFC 9112 7.1.1", "A chunk's extension is malformed.", 400},
    [HTTP_FAULT_CHUNK_END] = {"RFC 9112 7.1", "A chunk does not end in CR LF.", 400},
    [HTTP_FAULT_TRAILERS] = {"RFC 9112 7.1.2", "The trailer section is malformed.", 400},
};

bool http_all_are(const char *s, size_t n, unsigned class)
{
    for (size_t i = 0; i < n; i++)
        if (!http_char_is(s[i], class))
            return false;
    return n > 0;
}

static bool is_text(unsigned char c)
{
    return (c >= 0x20 && c != 0x7f) || c == '\t';
}

/* Not 0: one of the eight bytes is below 0x20 or DEL. Exact: a byte that it finds in vain would
 * only cost time, one that it misses does not exist (Hacker's Delight 6-1). */
static uint64_t find_control(const char *s)
{
    const uint64_t ones = 0x0101010101010101, high = 0x8080808080808080;
    uint64_t x, del;
    memcpy(&x, s, sizeof(x));
    del = x ^ (0x7f * ones);
    return (((x - 0x20 * ones) & ~x) | ((del - ones) & ~del)) & high;
}

size_t http_text_span(const char *s, size_t n)
{
    size_t i = 0;
    for (;;) {
        while (n - i >= 8 && !find_control(s + i))
            i += 8;
        size_t end = n - i >= 8 ? i + 8 : n;
        while (i < end && is_text((unsigned char)s[i]))
            i++;
        if (i < end || i == n)
            return i;
    }
}

bool http_parse_length(const char *s, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        if (!http_char_is(s[i], HTTP_CHAR_DIGIT) || v > (INT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (uint64_t)(s[i] - '0');
    }
    *out = v;
    return n > 0;
}
