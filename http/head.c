#include "http/head.h"

#include <string.h>
#include <strings.h>

enum { METHOD_MAX = 32, VERSION_LEN = 8 };

void http_head_init(struct http_head *h, enum http_kind kind, uint32_t max_bytes)
{
    /* Not the fields: n_fields says which of them are. */
    memset(h, 0, offsetof(struct http_head, fields));
    h->kind = kind;
    h->max_bytes = max_bytes < HTTP_HEAD_MAX ? max_bytes : HTTP_HEAD_MAX;
}

static int refuse(struct http_head *h, enum http_fault fault)
{
    h->fault = fault;
    return -1;
}

static struct http_span span(size_t at, size_t end)
{
    return (struct http_span){(uint16_t)at, (uint16_t)(end - at)};
}

static bool is_word(const char *s, size_t n, const char *word)
{
    return n == strlen(word) && strncasecmp(s, word, n) == 0;
}

bool http_span_is(struct http_span s, const char *bytes, const char *word)
{
    return is_word(bytes + s.at, s.len, word);
}

struct http_span http_head_find(const struct http_head *h, const char *bytes, const char *name)
{
    for (size_t i = 0; i < h->n_fields; i++)
        if (http_span_is(h->fields[i].name, bytes, name))
            return h->fields[i].value;
    return (struct http_span){0, 0};
}

/* ---- The first line ---- */

/* RFC 9112 2.3. A later minor version is answered as the latest that we know (RFC 9110 2.5). */
static int take_version(struct http_head *h, const char *s, size_t n)
{
    if (n != VERSION_LEN || memcmp(s, "HTTP/", 5) != 0 || !http_char_is(s[5], HTTP_CHAR_DIGIT) ||
        s[6] != '.' || !http_char_is(s[7], HTTP_CHAR_DIGIT))
        return refuse(h,
                      h->kind == HTTP_REQUEST ? HTTP_FAULT_REQUEST_LINE : HTTP_FAULT_STATUS_LINE);
    if (s[5] != '1')
        return refuse(h, HTTP_FAULT_VERSION);
    h->minor = s[7] == '0' ? 0 : 1;
    return 0;
}

/* RFC 9112 3: method SP request-target SP HTTP-version. */
static int take_request_line(struct http_head *h, const char *bytes, size_t at, size_t end)
{
    const char *line = bytes + at;
    size_t n = end - at, method = 0;
    while (method < n && http_char_is(line[method], HTTP_CHAR_TOKEN))
        method++;
    if (method == 0 || method > METHOD_MAX || (method < n && line[method] != ' '))
        return refuse(h, HTTP_FAULT_METHOD);
    size_t target = method + 1, stop = target;
    while (stop < n && http_char_is(line[stop], HTTP_CHAR_TARGET))
        stop++;
    if (stop >= n || (line[stop] == ' ' && stop == target))
        return refuse(h, HTTP_FAULT_REQUEST_LINE);
    if (line[stop] != ' ' || line[target] != '/')
        return refuse(h, HTTP_FAULT_TARGET);
    h->method = span(at, at + method);
    h->target = span(at + target, at + stop);
    return take_version(h, line + stop + 1, n - stop - 1);
}

/* RFC 9112 4: HTTP-version SP status-code SP [reason-phrase]; the second SP may be missing. */
static int take_status_line(struct http_head *h, const char *bytes, size_t at, size_t end)
{
    enum { STATUS = VERSION_LEN + 1, REASON = STATUS + 3 };
    const char *line = bytes + at;
    size_t n = end - at;
    if (n < REASON || line[VERSION_LEN] != ' ' ||
        !http_all_are(line + STATUS, 3, HTTP_CHAR_DIGIT) || line[STATUS] == '0' ||
        (n > REASON && line[REASON] != ' '))
        return refuse(h, HTTP_FAULT_STATUS_LINE);
    h->status = (line[STATUS] - '0') * 100 + (line[STATUS + 1] - '0') * 10 + line[STATUS + 2] - '0';
    h->reason = n > REASON ? span(at + REASON + 1, end) : span(end, end);
    return take_version(h, line, VERSION_LEN);
}

/* ---- Fields ---- */

static int take_host(struct http_head *h, const char *value, size_t n)
{
    if (h->n_hosts++)
        return refuse(h, HTTP_FAULT_HOSTS);
    return http_all_are(value, n, HTTP_CHAR_HOST) ? 0 : refuse(h, HTTP_FAULT_HOST);
}

static int take_length(struct http_head *h, const char *value, size_t n)
{
    if (h->has_length)
        return refuse(h, HTTP_FAULT_LENGTHS);
    h->has_length = true;
    return http_parse_length(value, n, &h->content_length) ? 0 : refuse(h, HTTP_FAULT_LENGTH);
}

static int take_coding(struct http_head *h, const char *value, size_t n)
{
    if (h->has_coding)
        return refuse(h, HTTP_FAULT_CODINGS);
    h->has_coding = true;
    if (h->minor == 0)
        return refuse(h, HTTP_FAULT_CODING_1_0);
    return is_word(value, n, "chunked") ? 0 : refuse(h, HTTP_FAULT_CODING);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* A list of tokens (RFC 9110 5.6.1); empty elements are none. */
static int take_connection(struct http_head *h, const char *value, size_t n)
{
    for (size_t i = 0; i < n;) {
        if (value[i] == ',' || is_space(value[i])) {
            i++;
            continue;
        }
        size_t begin = i, end;
        while (i < n && http_char_is(value[i], HTTP_CHAR_TOKEN))
            i++;
        for (end = i; i < n && is_space(value[i]);)
            i++;
        if (i < n && value[i] != ',')
            return refuse(h, HTTP_FAULT_CONNECTION);
        h->close |= is_word(value + begin, end - begin, "close");
        h->keep |= is_word(value + begin, end - begin, "keep-alive");
    }
    return 0;
}

/* The fields that say where the message ends, and what becomes of the connection. */
static int heed_field(struct http_head *h, const char *name, size_t name_len, const char *value,
                      size_t n)
{
    switch (name_len) {
    case 4:
        if (h->kind == HTTP_REQUEST && is_word(name, name_len, "Host"))
            return take_host(h, value, n);
        break;
    case 6:
        if (is_word(name, name_len, "Expect"))
            h->expect_continue = is_word(value, n, "100-continue");
        break;
    case 10:
        if (is_word(name, name_len, "Connection"))
            return take_connection(h, value, n);
        break;
    case 14:
        if (is_word(name, name_len, "Content-Length"))
            return take_length(h, value, n);
        break;
    case 17:
        if (is_word(name, name_len, "Transfer-Encoding"))
            return take_coding(h, value, n);
        break;
    default: break;
    }
    return 0;
}

/* RFC 9112 5: field-name ":" OWS field-value OWS. */
static int take_field(struct http_head *h, const char *bytes, size_t at, size_t end)
{
    size_t colon = at;
    while (colon < end && http_char_is(bytes[colon], HTTP_CHAR_TOKEN))
        colon++;
    if (colon == at || colon == end || bytes[colon] != ':')
        return refuse(h, is_space(bytes[at]) ? HTTP_FAULT_FOLD : HTTP_FAULT_NAME);
    if (h->n_fields == HTTP_FIELDS_MAX)
        return refuse(h, HTTP_FAULT_FIELDS);
    size_t value = colon + 1, stop = end;
    while (value < stop && is_space(bytes[value]))
        value++;
    while (stop > value && is_space(bytes[stop - 1]))
        stop--;
    h->fields[h->n_fields++] = (struct http_field_span){span(at, colon), span(value, stop)};
    return heed_field(h, bytes + at, colon - at, bytes + value, stop - value);
}

/* ---- The end ---- */

static enum http_framing framing_of(const struct http_head *h)
{
    if (h->kind == HTTP_RESPONSE_TO_HEAD ||
        (h->kind == HTTP_RESPONSE && (h->status < 200 || h->status == 204 || h->status == 304)))
        return HTTP_NO_BODY;
    if (h->has_coding)
        return HTTP_CHUNKED;
    if (h->has_length)
        return h->content_length ? HTTP_LENGTH : HTTP_NO_BODY;
    return h->kind == HTTP_REQUEST ? HTTP_NO_BODY : HTTP_TO_CLOSE;
}

static int finish(struct http_head *h, size_t end)
{
    if (h->kind == HTTP_REQUEST && h->n_hosts == 0 && h->minor > 0)
        return refuse(h, HTTP_FAULT_NO_HOST);
    if (h->has_length && h->has_coding)
        return refuse(h, HTTP_FAULT_LENGTH_AND_CODING);
    h->length = (uint32_t)end;
    h->framing = framing_of(h);
    h->keep_alive = !h->close && (h->minor > 0 || h->keep) && h->framing != HTTP_TO_CLOSE;
    return 0;
}

/* ---- Lines ---- */

/* An empty line in front of a request is what some clients leave behind a body (RFC 9112 2.2). */
static bool may_be_skipped(const struct http_head *h, size_t at, size_t end)
{
    return h->kind == HTTP_REQUEST && !h->has_first && at == end && at == 0;
}

/* The line from at to end, without its CR LF. Returns 1 behind the last one. */
static int take_line(struct http_head *h, const char *bytes, size_t at, size_t end)
{
    enum { CRLF = 2 };
    if (h->has_first)
        return at < end ? take_field(h, bytes, at, end) : finish(h, end + CRLF) ? -1 : 1;
    if (may_be_skipped(h, at, end))
        return 0;
    h->has_first = true;
    return h->kind == HTTP_REQUEST ? take_request_line(h, bytes, at, end)
                                   : take_status_line(h, bytes, at, end);
}

/* Of the first line, as far as it has come: what is no beginning of a message is told at once. */
static int check_beginning(struct http_head *h, const char *line, size_t n)
{
    static const char version[] = "HTTP/1.";
    if (h->has_first)
        return 0;
    if (h->kind != HTTP_REQUEST)
        return memcmp(line, version, n < strlen(version) ? n : strlen(version)) == 0
                   ? 0
                   : refuse(h, HTTP_FAULT_STATUS_LINE);
    for (size_t i = 0; i < n && line[i] != ' '; i++)
        if (i == METHOD_MAX || !http_char_is(line[i], HTTP_CHAR_TOKEN))
            return refuse(h, HTTP_FAULT_METHOD);
    return 0;
}

/* n bytes are here, and the head has not ended. */
static int check_size(struct http_head *h, size_t n)
{
    if (n < h->max_bytes)
        return 0;
    return refuse(h, h->has_first || h->kind != HTTP_REQUEST ? HTTP_FAULT_HEAD_SIZE
                                                             : HTTP_FAULT_TARGET_SIZE);
}

/* Finds the end of the line at h->line. Returns 1 with *end set, 0: it has not come. */
static int find_end(struct http_head *h, const char *bytes, size_t n, size_t *end)
{
    h->seen += (uint32_t)http_text_span(bytes + h->seen, n - h->seen);
    if (check_beginning(h, bytes + h->line, h->seen - h->line) != 0)
        return -1;
    if (h->seen == n)
        return 0;
    if (bytes[h->seen] == '\n')
        return refuse(h, HTTP_FAULT_LINE_END);
    if (bytes[h->seen] != '\r')
        return refuse(h, HTTP_FAULT_CONTROL);
    if (h->seen + 1 == n)
        return 0;
    if (bytes[h->seen + 1] != '\n')
        return refuse(h, HTTP_FAULT_LINE_END);
    *end = h->seen;
    return 1;
}

enum http_progress http_head_feed(struct http_head *h, const char *bytes, size_t n)
{
    size_t limit = n < h->max_bytes ? n : h->max_bytes, end;
    while (!h->fault && find_end(h, bytes, limit, &end) > 0) {
        int taken = take_line(h, bytes, h->line, end);
        h->line = h->seen = (uint32_t)end + 2;
        if (taken > 0)
            return HTTP_DONE;
    }
    if (h->fault || check_size(h, n) != 0)
        return HTTP_REFUSED;
    return HTTP_MORE;
}
