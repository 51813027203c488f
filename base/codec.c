#include "base/codec.h"

#include <string.h>

static const char lower_hex[] = "0123456789abcdef";
static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64url_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* ---- Hex ---- */

void hex_encode(const void *bytes, size_t n, char *out)
{
    const unsigned char *b = bytes;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = lower_hex[b[i] >> 4];
        out[2 * i + 1] = lower_hex[b[i] & 15];
    }
    out[2 * n] = '\0';
}

/* The digit's value, or -1. Not isxdigit(): that follows the locale. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(const char *hex, size_t hex_len, void *out, size_t n)
{
    unsigned char *o = out;
    if (hex_len % 2 || hex_len / 2 != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        o[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

void u64_hex16(uint64_t v, char out[17])
{
    for (int i = 15; i >= 0; i--, v >>= 4)
        out[i] = lower_hex[v & 15];
    out[16] = '\0';
}

bool u64_from_hex16(const char *s, uint64_t *out)
{
    uint64_t v = 0;
    int i = 0;
    for (; s[i]; i++) {
        int digit = s[i] >= 'A' && s[i] <= 'F' ? -1 : hex_value(s[i]);
        if (digit < 0 || i == 16)
            return false;
        v = v << 4 | (unsigned)digit;
    }
    if (i != 16)
        return false;
    *out = v;
    return true;
}

/* ---- Base64 ---- */

/* Writes the digits without padding and without a NUL; returns how many. */
static size_t encode_64(const void *bytes, size_t n, const char *digits, char *out)
{
    const unsigned char *b = bytes;
    size_t o = 0;
    uint32_t pending = 0; /* bits that have no digit yet, in the low end */
    unsigned n_pending = 0;
    for (size_t i = 0; i < n; i++) {
        pending = pending << 8 | b[i];
        for (n_pending += 8; n_pending >= 6; n_pending -= 6)
            out[o++] = digits[pending >> (n_pending - 6) & 63];
    }
    if (n_pending)
        out[o++] = digits[pending << (6 - n_pending) & 63];
    return o;
}

void base64_encode(const void *bytes, size_t n, char *out)
{
    size_t o = encode_64(bytes, n, base64_digits, out);
    while (o % 4)
        out[o++] = '=';
    out[o] = '\0';
}

void base64url_encode(const void *bytes, size_t n, char *out)
{
    out[encode_64(bytes, n, base64url_digits, out)] = '\0';
}

static int base64url_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

ssize_t base64url_decode(const char *s, size_t len, void *out, size_t cap)
{
    unsigned char *o = out;
    size_t n = 0;
    uint32_t pending = 0;
    unsigned n_pending = 0;
    if (len % 4 == 1) /* a lone digit holds no whole byte */
        return -1;
    for (size_t i = 0; i < len; i++) {
        int digit = base64url_value(s[i]);
        if (digit < 0)
            return -1;
        pending = pending << 6 | (unsigned)digit;
        n_pending += 6;
        if (n_pending < 8)
            continue;
        if (n == cap)
            return -1;
        n_pending -= 8;
        o[n++] = (unsigned char)(pending >> n_pending);
    }
    /* Otherwise several texts would mean the same bytes, which signatures must not allow. */
    if (pending & ((1u << n_pending) - 1))
        return -1;
    return (ssize_t)n;
}

/* ---- Percent ---- */

static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void percent_encode(struct buf *out, const char *s, size_t n, bool keep_slash)
{
    static const char upper_hex[] = "0123456789ABCDEF";
    size_t plain = 0; /* where those begin that go out as they are */
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (is_unreserved(s[i]) || (keep_slash && c == '/'))
            continue;
        const char escape[3] = {'%', upper_hex[c >> 4], upper_hex[c & 15]};
        buf_add(out, s + plain, i - plain);
        buf_add(out, escape, sizeof(escape));
        plain = i + 1;
    }
    buf_add(out, s + plain, n - plain);
}

bool percent_decode(const char *s, size_t n, char *out, size_t *out_len)
{
    size_t o = 0;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c == '%') {
            int high = n - i > 2 ? hex_value(s[i + 1]) : -1;
            int low = n - i > 2 ? hex_value(s[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0') /* it would end the result early for whoever reads it as a string */
            return false;
        out[o++] = c;
    }
    out[o] = '\0';
    *out_len = o;
    return true;
}

/* ---- Decimal ---- */

bool parse_u64(const char *s, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    if (n == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        unsigned digit = (unsigned)(s[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

/* ---- Messages ---- */

const char *text_excerpt(const char *s, size_t n, char *out, size_t cap)
{
    size_t keep = n < cap ? n : cap - 4;
    for (size_t i = 0; i < keep; i++)
        out[i] = s[i] >= ' ' && s[i] <= '~' ? s[i] : '?';
    memcpy(out + keep, keep < n ? "..." : "", keep < n ? 4 : 1);
    return out;
}

void text_copy(char *out, size_t cap, const char *s)
{
    size_t n = s ? strnlen(s, cap - 1) : 0;
    if (n)
        memmove(out, s, n);
    out[n] = '\0';
}
