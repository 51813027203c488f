/* Heads of messages against a second parser, http_parser, which Node.js was made with: what ours
 * takes the other one takes too, and understands in the same way. It takes much that ours refuses,
 * so there is no contrary. One byte for the kind, then the head. */
/* Both have these names. */
#define HTTP_REQUEST  SECOND_REQUEST
#define HTTP_RESPONSE SECOND_RESPONSE
#include <http_parser.h>
#undef HTTP_REQUEST
#undef HTTP_RESPONSE

#include "http/head.h"

#include "tests/fuzz/fuzz.h"

enum { MAX = 8192 };

struct check {
    const struct http_head *head;
    const char *bytes;
    size_t fields;
    bool complete;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool same(struct http_span s, const char *bytes, const char *at, size_t n)
{
    while (n && is_space(at[n - 1])) /* it leaves white space behind a value */
        n--;
    return s.len == n && memcmp(bytes + s.at, at, n) == 0;
}

static int on_name(http_parser *p, const char *at, size_t n)
{
    struct check *c = p->data;
    MUST(c->fields < c->head->n_fields);
    MUST(same(c->head->fields[c->fields].name, c->bytes, at, n));
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t n)
{
    struct check *c = p->data;
    MUST(same(c->head->fields[c->fields].value, c->bytes, at, n));
    c->fields++;
    return 0;
}

static int on_target(http_parser *p, const char *at, size_t n)
{
    struct check *c = p->data;
    MUST(same(c->head->target, c->bytes, at, n));
    return 0;
}

static void check_framing(const http_parser *p, const struct http_head *h)
{
    bool chunked = p->flags & F_CHUNKED, has_length = p->flags & F_CONTENTLENGTH;
    if (h->kind == HTTP_RESPONSE_TO_HEAD)
        return; /* it cannot know */
    switch (h->framing) {
    case HTTP_LENGTH: MUST(has_length && !chunked && p->content_length == h->content_length); break;
    case HTTP_CHUNKED: MUST(chunked && !has_length); break;
    case HTTP_TO_CLOSE: MUST(!chunked && !has_length && !http_should_keep_alive(p)); break;
    case HTTP_NO_BODY: MUST(h->kind != HTTP_REQUEST || !chunked); break;
    }
}

static int on_end(http_parser *p)
{
    struct check *c = p->data;
    const struct http_head *h = c->head;
    c->complete = true;
    MUST(c->fields == h->n_fields);
    MUST(p->http_major == 1 && (p->http_minor > 0) == (h->minor > 0));
    if (h->kind == HTTP_REQUEST) {
        const char *method = http_method_str((enum http_method)p->method);
        MUST(same(h->method, c->bytes, method, strlen(method)));
    } else {
        MUST((int)p->status_code == h->status);
    }
    check_framing(p, h);
    return 1; /* no body. Connection it only skims: "Keep-, Keep-Alive" is nothing to it */
}

/* What it refuses for reasons of its own: it has a list of methods and a grammar of targets, and
 * takes a field whose name only begins with Transfer-Encoding for one that contradicts a length. */
static bool is_its_own(enum http_errno why)
{
    return why == HPE_INVALID_METHOD || why == HPE_INVALID_URL || why == HPE_INVALID_HOST ||
           why == HPE_INVALID_PORT || why == HPE_INVALID_PATH || why == HPE_INVALID_CONSTANT ||
           why == HPE_UNEXPECTED_CONTENT_LENGTH;
}

/* To it a coding behind which a tab stands is another one; RFC 9110 5.6.3 allows the tab. */
static bool has_tab(const char *bytes, const struct http_head *h)
{
    return memchr(bytes, '\t', h->length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const http_parser_settings settings = {.on_url = on_target,
                                                  .on_header_field = on_name,
                                                  .on_header_value = on_value,
                                                  .on_headers_complete = on_end};
    struct fuzz_input in = {data, size};
    enum http_kind kind = fuzz_byte(&in) % 3;
    struct http_head head;
    http_parser p;
    char *bytes = malloc(in.n + 1);
    MUST(bytes);
    if (in.n)
        memcpy(bytes, in.bytes, in.n);
    http_head_init(&head, kind, MAX);
    if (in.n && http_head_feed(&head, bytes, in.n) == HTTP_DONE && !has_tab(bytes, &head)) {
        struct check c = {.head = &head, .bytes = bytes};
        http_parser_init(&p, kind == HTTP_REQUEST ? SECOND_REQUEST : SECOND_RESPONSE);
        p.data = &c;
        http_parser_execute(&p, &settings, bytes, head.length);
        if (!is_its_own(HTTP_PARSER_ERRNO(&p)) && !c.complete) {
            fprintf(stderr, "it says %s\n", http_errno_description(HTTP_PARSER_ERRNO(&p)));
            abort();
        }
    }
    free(bytes);
    return 0;
}
