#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/options_private.h"
#include "base/xalloc.h"

enum { SHOWN_VALUE = 64, MAX_LIST = 160 };

struct unit {
    const char *name;
    uint64_t factor;
};
/* Ordered so that the first that divides a number is the one to print it with. */
static const struct unit byte_units[] = {
    {"GiB", 1ull << 30},
    {"MiB", 1ull << 20},
    {"KiB", 1ull << 10},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"KB", 1000},
    {"", 1},
};
static const struct unit ms_units[] = {
    {"h", 3600000},
    {"m", 60000},
    {"s", 1000},
    {"ms", 1},
};

static void *field(const struct option *o, void *values)
{
    return (char *)values + o->offset;
}

static const void *const_field(const struct option *o, const void *values)
{
    return (const char *)values + o->offset;
}

static const struct unit *units_of(const struct option *o, size_t *n)
{
    *n = o->type == OPT_BYTES ? LEN(byte_units) : LEN(ms_units);
    return o->type == OPT_BYTES ? byte_units : ms_units;
}

/* ---- To text ---- */

void option_number_text(const struct option *o, uint64_t v, struct buf *out)
{
    if (v == 0 || o->type == OPT_UINT) {
        buf_addf(out, "%llu", (unsigned long long)v);
        return;
    }
    size_t n;
    const struct unit *u = units_of(o, &n);
    while (v % u->factor != 0) /* ends: the last factor is 1 */
        u++;
    buf_addf(out, "%llu%s", (unsigned long long)(v / u->factor), u->name);
}

void option_text(const struct option *o, const void *values, struct buf *out)
{
    const void *p = const_field(o, values);
    switch (o->type) {
    case OPT_STRING: buf_adds(out, *(char *const *)p ? *(char *const *)p : ""); break;
    case OPT_BOOL: buf_adds(out, *(const bool *)p ? "true" : "false"); break;
    case OPT_ENUM: buf_adds(out, o->choices[*(const int *)p]); break;
    case OPT_UINT:
    case OPT_BYTES:
    case OPT_MS: option_number_text(o, *(const uint64_t *)p, out); break;
    case OPT_MAP: break; /* its entries are printed one by one */
    }
}

bool option_is_unset_string(const struct option *o, const void *values)
{
    return o->type == OPT_STRING && !*(char *const *)const_field(o, values);
}

/* ---- From text ---- */

static void add_expected(const struct option *o, struct buf *out)
{
    switch (o->type) {
    case OPT_MAP:
    case OPT_STRING: buf_adds(out, "text without control characters"); break;
    case OPT_BOOL: buf_adds(out, "true or false"); break;
    case OPT_UINT: buf_adds(out, "a whole number"); break;
    case OPT_BYTES: buf_adds(out, "bytes such as 512, 64KiB or 100MiB"); break;
    case OPT_MS: buf_adds(out, "a time with its unit such as 250ms, 5s, 2m or 1h"); break;
    case OPT_ENUM:
        buf_adds(out, "one of ");
        for (size_t i = 0; o->choices[i]; i++)
            buf_addf(out, "%s%s", i ? ", " : "", o->choices[i]);
        break;
    }
}

static int refuse(const struct option *o, const char *text, size_t n, struct store_err *err)
{
    char shown[SHOWN_VALUE];
    struct buf expected = BUF_INIT(MAX_LIST);
    add_expected(o, &expected);
    if (o->flags & OPT_SECRET)
        store_err_set(err, STORE_INVALID, "the value (not shown) is not %s", buf_str(&expected));
    else
        store_err_set(err, STORE_INVALID, "'%s' is not %s",
                      text_excerpt(text, n, shown, sizeof(shown)), buf_str(&expected));
    buf_cleanup(&expected);
    return -1;
}

static int refuse_range(const struct option *o, uint64_t v, struct store_err *err)
{
    struct buf text = BUF_INIT(MAX_LIST);
    option_number_text(o, v, &text);
    buf_adds(&text, " is out of range, expected ");
    option_number_text(o, o->min, &text);
    if (o->max) {
        buf_adds(&text, " to ");
        option_number_text(o, o->max, &text);
    } else {
        buf_adds(&text, " or more");
    }
    store_err_set(err, STORE_INVALID, "%s", buf_str(&text));
    buf_cleanup(&text);
    return -1;
}

static bool same(const char *text, size_t n, const char *word)
{
    return strlen(word) == n && memcmp(text, word, n) == 0;
}

static bool read_bool(const char *text, size_t n, bool *out)
{
    static const char *const words[][2] = {
        {"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};
    for (size_t i = 0; i < LEN(words); i++)
        for (int v = 0; v < 2; v++)
            if (same(text, n, words[i][v])) {
                *out = v;
                return true;
            }
    return false;
}

static bool read_number(const struct option *o, const char *text, size_t n, uint64_t *out)
{
    size_t digits = 0, n_units;
    while (digits < n && text[digits] >= '0' && text[digits] <= '9')
        digits++;
    uint64_t v;
    if (!parse_u64(text, digits, &v))
        return false;
    if (o->type == OPT_UINT || same(text, n, "0")) {
        *out = v;
        return digits == n;
    }
    const struct unit *units = units_of(o, &n_units);
    for (size_t i = 0; i < n_units; i++) {
        if (!same(text + digits, n - digits, units[i].name))
            continue;
        *out = v * units[i].factor;
        return v <= UINT64_MAX / units[i].factor;
    }
    return false;
}

static int set_number(const struct option *o, void *p, const char *text, size_t n,
                      struct store_err *err)
{
    uint64_t v;
    if (!read_number(o, text, n, &v))
        return refuse(o, text, n, err);
    if (v < o->min || (o->max && v > o->max))
        return refuse_range(o, v, err);
    *(uint64_t *)p = v;
    return 0;
}

static int set_enum(const struct option *o, void *p, const char *text, size_t n,
                    struct store_err *err)
{
    for (int i = 0; o->choices[i]; i++)
        if (same(text, n, o->choices[i])) {
            *(int *)p = i;
            return 0;
        }
    return refuse(o, text, n, err);
}

/* Control characters are refused, since a line of a file could not hold them, and none of the
 * options has a use for them. */
static int set_string(const struct option *o, void *p, const char *text, size_t n,
                      struct store_err *err)
{
    char **value = p;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return refuse(o, text, n, err);
    free(*value);
    *value = n ? xstrndup(text, n) : NULL;
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int option_set(const struct option *o, void *values, const char *text, size_t n,
               struct store_err *err)
{
    void *p = field(o, values);
    while (n && is_blank(text[n - 1]))
        n--;
    while (n && is_blank(*text))
        text++, n--;
    switch (o->type) {
    case OPT_STRING: return set_string(o, p, text, n, err);
    case OPT_BOOL: return read_bool(text, n, p) ? 0 : refuse(o, text, n, err);
    case OPT_ENUM: return set_enum(o, p, text, n, err);
    case OPT_MAP: return refuse(o, text, n, err); /* option_map_set() sets its entries */
    case OPT_UINT:
    case OPT_BYTES:
    case OPT_MS: break;
    }
    return set_number(o, p, text, n, err);
}

bool options_parse_bytes(const char *text, size_t n, uint64_t *out)
{
    static const struct option bytes = {.name = "size", .type = OPT_BYTES};
    return option_set(&bytes, out, text, n, NULL) == 0;
}
