#include "service/range.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

/* Where blanks may stand between the entries of a list: RFC 9110's OWS. */
static const char blanks[] = " \t";

/* ---- Range ---- */

/* Digits at *s, which is moved behind them; as much as fits. Returns false when there are none. */
static bool read_number(const char **s, uint64_t *out)
{
    const char *p = *s;
    uint64_t v = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        unsigned digit = (unsigned)(*p - '0');
        v = v > (UINT64_MAX - digit) / 10 ? UINT64_MAX : v * 10 + digit;
    }
    bool found = p > *s;
    *s = p;
    *out = v;
    return found;
}

/* "a-b", "a-" or "-n" at *s, which is moved behind it. */
static bool read_spec(const char **s, struct byte_range *out)
{
    uint64_t last;
    *out = (struct byte_range){.suffix = false};
    if (**s == '-') {
        (*s)++;
        out->suffix = true;
        return read_number(s, &out->length);
    }
    if (!read_number(s, &out->offset) || **s != '-')
        return false;
    (*s)++;
    if (!read_number(s, &last))
        return true;
    if (last < out->offset)
        return false;
    out->length = last == UINT64_MAX ? 0 : last - out->offset + 1;
    return true;
}

/* Empty entries of a list are to be skipped. */
static void skip_empty(const char **s)
{
    *s += strspn(*s, ", \t");
}

bool range_read(const char *value, struct byte_range *out)
{
    static const char unit[] = "bytes=";
    if (!value || strncasecmp(value, unit, strlen(unit)) != 0)
        return false;
    const char *p = value + strlen(unit);
    skip_empty(&p);
    if (!read_spec(&p, out))
        return false;
    skip_empty(&p);
    return !*p;
}

enum range_result range_apply(const struct byte_range *range, uint64_t size, uint64_t *offset,
                              uint64_t *length)
{
    if (range->suffix) {
        if (range->length == 0)
            return RANGE_UNSATISFIABLE;
        *length = range->length < size ? range->length : size;
        *offset = size - *length;
        return size ? RANGE_OK : RANGE_NONE;
    }
    if (range->offset >= size)
        return RANGE_UNSATISFIABLE;
    uint64_t rest = size - range->offset;
    *offset = range->offset;
    *length = range->length && range->length < rest ? range->length : rest;
    return RANGE_OK;
}

enum range_result range_parse(const char *value, uint64_t size, uint64_t *offset, uint64_t *length)
{
    struct byte_range range;
    *offset = 0;
    *length = size;
    return range_read(value, &range) ? range_apply(&range, size, offset, length) : RANGE_NONE;
}

void range_content_range(uint64_t offset, uint64_t length, uint64_t size,
                         char out[CONTENT_RANGE_SIZE])
{
    snprintf(out, CONTENT_RANGE_SIZE, "bytes %llu-%llu/%llu", (unsigned long long)offset,
             (unsigned long long)(offset + length - 1), (unsigned long long)size);
}

void range_content_range_unsatisfied(uint64_t size, char out[CONTENT_RANGE_SIZE])
{
    snprintf(out, CONTENT_RANGE_SIZE, "bytes */%llu", (unsigned long long)size);
}

/* ---- ETag lists ---- */

/* One entry of a list; text lies within the header's value, without quotes. */
struct entry {
    const char *text;
    size_t n;
    bool weak;
};

/* What may stand between the quotes: visible ASCII but the quote, and bytes above it. */
static bool is_etag_char(char c)
{
    unsigned char u = (unsigned char)c;
    return u == 0x21 || (u >= 0x23 && u != 0x7f);
}

/* Reads the entry at *s, which is moved behind it and its comma. Returns 1, 0 at the list's end, -1
 * when malformed. */
static int next_entry(const char **s, struct entry *e)
{
    skip_empty(s);
    const char *p = *s;
    if (!*p)
        return 0;
    e->weak = strncmp(p, "W/", 2) == 0;
    p += e->weak ? 2 : 0;
    if (*p != '"')
        return -1;
    e->text = ++p;
    while (is_etag_char(*p))
        p++;
    if (*p != '"')
        return -1;
    e->n = (size_t)(p - e->text);
    p++;
    p += strspn(p, blanks);
    *s = p;
    return !*p || *p == ',' ? 1 : -1;
}

static bool is_any(const char *value)
{
    value += strspn(value, blanks);
    return *value == '*' && !value[1 + strspn(value + 1, blanks)];
}

enum etag_form etag_form(const char *value, char *etag, size_t cap)
{
    struct entry one, more;
    if (!value)
        return ETAG_ABSENT;
    if (is_any(value))
        return ETAG_ANY;
    if (next_entry(&value, &one) <= 0)
        return ETAG_MALFORMED;
    bool several = false;
    int found;
    while ((found = next_entry(&value, &more)) > 0)
        several = true;
    if (found < 0 || one.n >= cap)
        return ETAG_MALFORMED;
    if (several || one.weak)
        return ETAG_LIST;
    memcpy(etag, one.text, one.n);
    etag[one.n] = '\0';
    return ETAG_ONE;
}

/* An object without an ETag equals none. */
static bool entry_is(const struct entry *e, const char *etag, enum etag_comparison comparison)
{
    if (e->weak && comparison == ETAG_STRONG)
        return false;
    return e->n > 0 && strlen(etag) == e->n && memcmp(etag, e->text, e->n) == 0;
}

bool etag_list_has(const char *value, const char *etag, enum etag_comparison comparison)
{
    struct entry e;
    if (!value)
        return false;
    if (is_any(value))
        return true;
    while (next_entry(&value, &e) > 0)
        if (entry_is(&e, etag, comparison))
            return true;
    return false;
}

/* ---- Conditions ---- */

/* If-Match, or else If-Unmodified-Since. */
static bool is_still_the_same(const struct conditions *c, const char *etag, int64_t modified_s)
{
    int64_t since_s;
    if (c->if_match)
        return etag_list_has(c->if_match, etag, ETAG_STRONG);
    if (c->if_unmodified_since && clock_parse_http_date(c->if_unmodified_since, &since_s))
        return modified_s <= since_s;
    return true;
}

/* If-None-Match, or else If-Modified-Since. */
static bool is_known_already(const struct conditions *c, const char *etag, int64_t modified_s)
{
    int64_t since_s;
    if (c->if_none_match)
        return etag_list_has(c->if_none_match, etag, ETAG_WEAK);
    if (c->if_modified_since && clock_parse_http_date(c->if_modified_since, &since_s))
        return modified_s <= since_s;
    return false;
}

enum condition_result conditions_check(const struct conditions *c, const char *etag,
                                       int64_t modified_s)
{
    if (!is_still_the_same(c, etag, modified_s))
        return CONDITIONS_FAILED;
    return is_known_already(c, etag, modified_s) ? CONDITIONS_NOT_MODIFIED : CONDITIONS_HOLD;
}

bool if_range_holds(const char *value, const char *etag, int64_t modified_s, int64_t now_s)
{
    struct entry e;
    int64_t then_s;
    if (!value)
        return true;
    if (clock_parse_http_date(value, &then_s))
        return then_s == modified_s && modified_s < now_s - 1;
    return next_entry(&value, &e) > 0 && !*value && entry_is(&e, etag, ETAG_STRONG);
}
