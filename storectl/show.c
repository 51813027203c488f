#include "storectl/show.h"

#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/utf8.h"

static void json_quoted(struct buf *b, const char *s)
{
    size_t n = strlen(s);
    buf_addc(b, '"');
    for (size_t at = 0, len; at < n; at += len ? len : 1) {
        uint32_t code = 0;
        len = utf8_decode(s + at, n - at, &code);
        if (len == 0)
            buf_adds(b, "\\ufffd");
        else if (utf8_is_control(code))
            buf_addf(b, "\\u%04x", code);
        else if (code == '"' || code == '\\')
            buf_addf(b, "\\%c", (char)code);
        else
            buf_add(b, s + at, len);
    }
    buf_addc(b, '"');
}

static void json_name(struct buf *b, const char *name)
{
    if (b->len && b->data[b->len - 1] != '{')
        buf_addc(b, ',');
    json_quoted(b, name);
    buf_addc(b, ':');
}

void json_begin(struct buf *b)
{
    buf_addc(b, '{');
}

void json_str(struct buf *b, const char *name, const char *value)
{
    json_name(b, name);
    json_quoted(b, value);
    if (utf8_valid(value, strlen(value)))
        return;
    buf_addf(b, ",\"%s_encoded\":\"", name);
    percent_encode(b, value, strlen(value), true);
    buf_addc(b, '"');
}

void json_str_if(struct buf *b, const char *name, const char *value)
{
    if (*value)
        json_str(b, name, value);
}

void json_num(struct buf *b, const char *name, uint64_t value)
{
    json_name(b, name);
    buf_addf(b, "%llu", (unsigned long long)value);
}

void json_bool(struct buf *b, const char *name, bool value)
{
    json_name(b, name);
    buf_adds(b, value ? "true" : "false");
}

void json_time(struct buf *b, const char *name, int64_t t_s)
{
    char text[CLOCK_TEXT];
    if (t_s == 0)
        return;
    clock_rfc3339(t_s, text);
    json_str(b, name, text);
}

void json_meta(struct buf *b, const struct store_info *info)
{
    if (info->n_meta == 0)
        return;
    json_name(b, "meta");
    json_begin(b);
    for (size_t i = 0; i < info->n_meta; i++)
        json_str(b, info->meta[i].name, info->meta[i].value);
    buf_addc(b, '}');
}

void json_end(struct buf *b)
{
    buf_adds(b, "}\n");
}

void text_safe(struct buf *b, const char *s)
{
    size_t n = strlen(s);
    for (size_t at = 0, len; at < n; at += len ? len : 1) {
        uint32_t code = 0;
        len = utf8_decode(s + at, n - at, &code);
        if (len == 0 || utf8_is_control(code))
            buf_addc(b, '?');
        else
            buf_add(b, s + at, len);
    }
}
