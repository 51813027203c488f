/* Heads of messages: one byte for the kind and the size of the pieces, then a stream. Whole and in
 * pieces it says the same, and a second reader, as simple as the RFC's words, finds in it what the
 * first has found. */
#include "http/head.h"

#include "tests/fuzz/fuzz.h"

enum { MAX = 8192 };

static enum http_progress read_in_pieces(struct http_head *h, const char *bytes, size_t n,
                                         size_t piece)
{
    enum http_progress p = HTTP_MORE;
    for (size_t end = 0; p == HTTP_MORE && end < n;) {
        end = n - end < piece ? n : end + piece;
        char *copy = malloc(end);
        MUST(copy);
        memcpy(copy, bytes, end);
        p = http_head_feed(h, copy, end);
        free(copy);
    }
    return p;
}

/* ---- The second reader ---- */

/* The line that begins at `at`: its length without CR LF. Only for what was taken. */
static size_t line_length(const char *bytes, size_t n, size_t at)
{
    const char *lf = memchr(bytes + at, '\n', n - at);
    MUST(lf && lf > bytes + at && lf[-1] == '\r');
    return (size_t)(lf - 1 - bytes) - at;
}

static bool same_word(const char *a, size_t n, const char *word)
{
    if (n != strlen(word))
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = a[i] >= 'A' && a[i] <= 'Z' ? (char)(a[i] + 32) : a[i];
        if (c != word[i])
            return false;
    }
    return true;
}

struct seen {
    size_t fields, lengths, codings, hosts;
};

/* A span is the text between the colon and the line's end without white space around it. */
static void check_field(const struct http_field_span *f, const char *bytes, size_t at, size_t len)
{
    size_t colon = at, end = at + len;
    while (colon < end && bytes[colon] != ':')
        colon++;
    MUST(colon < end && f->name.at == at && f->name.len == colon - at && colon > at);
    MUST(f->value.at > colon && f->value.at + f->value.len <= end);
    for (size_t i = colon + 1; i < end; i++) {
        bool inside = i >= f->value.at && i < (size_t)f->value.at + f->value.len;
        bool edge = i == f->value.at || i + 1 == (size_t)f->value.at + f->value.len;
        bool space = bytes[i] == ' ' || bytes[i] == '\t';
        MUST(inside ? !(edge && space) : space);
        MUST((unsigned char)bytes[i] >= ' ' ? bytes[i] != 0x7f : bytes[i] == '\t');
    }
}

static void count(struct seen *s, const struct http_field_span *f, const char *bytes)
{
    const char *name = bytes + f->name.at;
    s->fields++;
    s->lengths += same_word(name, f->name.len, "content-length");
    s->codings += same_word(name, f->name.len, "transfer-encoding");
    s->hosts += same_word(name, f->name.len, "host");
}

static void read_again(const struct http_head *h, const char *bytes, size_t n)
{
    struct seen s = {0};
    size_t at = n > 2 && bytes[0] == '\r' ? 2 : 0;
    at += line_length(bytes, n, at) + 2;
    for (size_t len; (len = line_length(bytes, n, at)) > 0; at += len + 2) {
        MUST(s.fields < h->n_fields);
        check_field(&h->fields[s.fields], bytes, at, len);
        count(&s, &h->fields[s.fields], bytes);
    }
    MUST(at + 2 == h->length && s.fields == h->n_fields);
    MUST(s.lengths + s.codings <= 1);
    MUST(h->kind != HTTP_REQUEST || s.hosts == 1 || (s.hosts == 0 && h->minor == 0));
    switch (h->framing) {
    case HTTP_LENGTH: MUST(s.lengths == 1 && h->content_length > 0); break;
    case HTTP_CHUNKED: MUST(s.codings == 1 && h->minor == 1); break;
    case HTTP_TO_CLOSE: MUST(s.lengths + s.codings == 0 && !h->keep_alive); break;
    case HTTP_NO_BODY:
        MUST(h->kind != HTTP_REQUEST || (s.codings == 0 && h->content_length == 0));
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t first = fuzz_byte(&in);
    enum http_kind kind = first % 3;
    struct http_head whole, pieces;
    char *bytes = malloc(in.n + 1);
    MUST(bytes);
    if (in.n)
        memcpy(bytes, in.bytes, in.n);
    http_head_init(&whole, kind, MAX);
    http_head_init(&pieces, kind, MAX);
    enum http_progress p = in.n ? http_head_feed(&whole, bytes, in.n) : HTTP_MORE;
    MUST(read_in_pieces(&pieces, bytes, in.n, 1 + first / 3) == p);
    MUST(whole.fault == pieces.fault && (p == HTTP_REFUSED) == (whole.fault != HTTP_FAULT_NONE));
    if (p == HTTP_DONE) {
        MUST(memcmp(whole.fields, pieces.fields, whole.n_fields * sizeof(whole.fields[0])) == 0);
        MUST(whole.length == pieces.length && whole.framing == pieces.framing);
        MUST(whole.keep_alive == pieces.keep_alive && whole.length <= MAX);
        read_again(&whole, bytes, in.n);
    }
    free(bytes);
    return 0;
}
