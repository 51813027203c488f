#include "libstore/s3/http_answer.h"

#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/driver.h"

enum { META_MAX_BYTES = 8192 };

static void copy_value(char *out, size_t cap, const char *value, size_t n)
{
    n = n < cap ? n : cap - 1;
    memcpy(out, value, n);
    out[n] = '\0';
}

static void take_etag(struct http_answer *a, const char *value, size_t n)
{
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
        value++;
        n -= 2;
    }
    copy_value(a->etag, sizeof(a->etag), value, n);
}

/* Content-Range: bytes 0-99/1234, or bytes asterisk/1234 */
static void take_content_range(struct http_answer *a, const char *value, size_t n)
{
    const char *end = value + n, *dash = memchr(value, '-', n), *slash = memchr(value, '/', n);
    if (dash && slash && n > 6 && strncasecmp(value, "bytes ", 6) == 0 && dash >= value + 6)
        a->has_range = parse_u64(value + 6, (size_t)(dash - value - 6), &a->range_first) &&
                       parse_u64(slash + 1, (size_t)(end - slash - 1), &a->range_total);
}

/* More than a store can tell is left out. False: no memory. */
static bool take_meta(struct http_answer *a, const char *name, size_t name_len, const char *value,
                      size_t n)
{
    if (a->n_meta == STORE_MAX_META + STORE_OWN_META ||
        name_len + n + 2 > a->meta.max - a->meta.len)
        return true;
    if (!buf_reserve(&a->meta, name_len + n + 2))
        return false;
    for (size_t i = 0; i < name_len; i++)
        buf_addc(&a->meta, name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] | 0x20) : name[i]);
    buf_addc(&a->meta, '\0');
    buf_add(&a->meta, value, n);
    buf_addc(&a->meta, '\0');
    a->n_meta++;
    return true;
}

/* False: no memory. */
static bool take_field(struct http_answer *a, const char *bytes, struct http_span name,
                       struct http_span told)
{
    const char *value = bytes + told.at;
    size_t n = told.len;
    char text[64];
    uint64_t number;
    copy_value(text, sizeof(text), value, n);
    if (http_span_is(name, bytes, "etag"))
        take_etag(a, value, n);
    else if (http_span_is(name, bytes, "date"))
        clock_parse_http_date(text, &a->date_s);
    else if (http_span_is(name, bytes, "last-modified"))
        clock_parse_http_date(text, &a->last_modified_s);
    else if (http_span_is(name, bytes, "content-type"))
        copy_value(a->content_type, sizeof(a->content_type), value, n);
    else if (http_span_is(name, bytes, "content-range"))
        take_content_range(a, value, n);
    else if (http_span_is(name, bytes, "x-amz-bucket-region"))
        copy_value(a->region, sizeof(a->region), value, n);
    else if (http_span_is(name, bytes, "x-amz-version-id"))
        copy_value(a->version, sizeof(a->version), value, n);
    else if (http_span_is(name, bytes, "x-amz-server-side-encryption"))
        a->encrypted_keys = strcmp(text, "AES256") != 0;
    else if (http_span_is(name, bytes, "content-length") && parse_u64(value, n, &number) &&
             number <= INT64_MAX)
        a->content_length = (int64_t)number;
    else if (http_span_is(name, bytes, "retry-after") && parse_u64(value, n, &number))
        a->retry_after_ms = number > 60 ? 60000 : (uint32_t)number * 1000;
    else if (name.len > 11 && strncasecmp(bytes + name.at, "x-amz-meta-", 11) == 0)
        return take_meta(a, bytes + name.at + 11, name.len - 11u, value, n);
    return true;
}

void http_answer_reset(struct http_answer *a)
{
    struct buf meta = a->meta;
    *a = (struct http_answer){.content_length = -1, .meta = meta};
    a->meta.max = META_MAX_BYTES;
    buf_reset(&a->meta);
}

bool http_answer_take(struct http_answer *a, const struct http_head *head, const char *bytes)
{
    http_answer_reset(a);
    a->status = head->status;
    for (size_t i = 0; i < head->n_fields; i++)
        if (!take_field(a, bytes, head->fields[i].name, head->fields[i].value))
            return false;
    return true;
}
