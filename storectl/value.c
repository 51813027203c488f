#include "storectl/value.h"

#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/options.h"
#include "base/xalloc.h"

bool value_parse_duration(const char *text, uint64_t *ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    size_t digits = strspn(text, "0123456789");
    uint64_t n;
    if (!parse_u64(text, digits, &n))
        return false;
    for (size_t i = 0; i < LEN(units); i++)
        if (strcmp(text + digits, units[i].unit) == 0)
            return !__builtin_mul_overflow(n, units[i].ms, ms);
    return false;
}

bool value_parse_bytes(const char *text, uint64_t *bytes)
{
    return options_parse_bytes(text, strlen(text), bytes);
}

const char *value_show_bytes(uint64_t bytes, char out[VALUE_TEXT])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        snprintf(out, VALUE_TEXT, "%llu B", (unsigned long long)bytes);
        return out;
    }
    size_t u = 0;
    double v = (double)bytes / 1024;
    /* 1023.5 would be shown as 1024. */
    for (; v >= 1023.5 && u + 1 < LEN(units); u++)
        v /= 1024;
    snprintf(out, VALUE_TEXT, v < 9.95 ? "%.1f %s" : "%.0f %s", v, units[u]);
    return out;
}

const char *value_show_count(uint64_t n, char out[VALUE_TEXT])
{
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n), o = 0;
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[o++] = ',';
        out[o++] = digits[i];
    }
    out[o] = '\0';
    return out;
}

const char *value_show_seconds(uint64_t s, char out[VALUE_TEXT])
{
    unsigned long long h = s / 3600, m = s / 60 % 60, rest = s % 60;
    if (h)
        snprintf(out, VALUE_TEXT, "%llu:%02llu:%02llu", h, m, rest);
    else
        snprintf(out, VALUE_TEXT, "%llu:%02llu", m, rest);
    return out;
}

const char *value_show_ms(uint64_t ms, char out[VALUE_TEXT])
{
    if (ms >= 60000)
        return value_show_seconds(ms / 1000, out);
    snprintf(out, VALUE_TEXT, "%.1f s", (double)ms / 1000);
    return out;
}
