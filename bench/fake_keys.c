#include "bench/fake_keys.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

static const char plain_bytes[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_.-";

/* ---- Names ---- */

static size_t write_name(const struct fake_set *s, uint32_t number, char out[FAKE_MAX_KEY])
{
    char *at = out + s->prefix_len + FAKE_DIGITS + (s->split ? 1 : 0);
    size_t len = (size_t)(at - out);
    memcpy(out, s->prefix, s->prefix_len);
    *at = '\0';
    for (uint32_t digit = FAKE_DIGITS; digit > 0; digit--) {
        *--at = (char)('0' + number % 10);
        number /= 10;
        if (s->split && digit == s->split + 1)
            *--at = '/';
    }
    return len;
}

size_t fake_keys_name(const struct fake_keys *keys, struct fake_place place, char out[FAKE_MAX_KEY])
{
    return write_name(&keys->sets[place.set], place.number, out);
}

/* The number of a key of this set; false: it is none. */
static bool read_name(const struct fake_set *s, const char *key, uint32_t *number)
{
    if (strncmp(key, s->prefix, s->prefix_len) != 0)
        return false;
    const char *at = key + s->prefix_len;
    uint32_t value = 0;
    for (uint32_t digit = 0; digit < FAKE_DIGITS; digit++) {
        if (s->split && digit == s->split && *at++ != '/')
            return false;
        if (*at < '0' || *at > '9')
            return false;
        value = value * 10 + (uint32_t)(*at++ - '0');
    }
    *number = value;
    return *at == '\0' && value < s->count;
}

/* ---- Which are there ---- */

static bool is_removed(const struct fake_set *s, uint32_t number)
{
    return s->removed[number / 64] >> (number % 64) & 1;
}

/* The first number from this one on that is there; count: none. */
static uint32_t skip_removed(const struct fake_set *s, uint32_t number)
{
    while (number < s->count && is_removed(s, number))
        if (number % 64 == 0 && s->removed[number / 64] == UINT64_MAX)
            number += 64;
        else
            number++;
    return number < s->count ? number : s->count;
}

static struct fake_set *set_of(const struct fake_keys *keys, const char *key, uint32_t *number)
{
    for (size_t i = 0; i < keys->n; i++)
        if (read_name(&keys->sets[i], key, number))
            return (struct fake_set *)&keys->sets[i];
    return NULL;
}

bool fake_keys_has(const struct fake_keys *keys, const char *key)
{
    uint32_t number;
    const struct fake_set *s = set_of(keys, key, &number);
    return s && !is_removed(s, number);
}

bool fake_keys_remove(struct fake_keys *keys, const char *key)
{
    uint32_t number;
    struct fake_set *s = set_of(keys, key, &number);
    if (!s || is_removed(s, number))
        return false;
    s->removed[number / 64] |= UINT64_C(1) << (number % 64);
    s->left--;
    return true;
}

uint64_t fake_keys_left(const struct fake_keys *keys)
{
    uint64_t left = 0;
    for (size_t i = 0; i < keys->n; i++)
        left += keys->sets[i].left;
    return left;
}

/* ---- In order ---- */

/* The place, or the first behind it that is there. */
static struct fake_place settle(const struct fake_keys *keys, struct fake_place place)
{
    while (place.set < keys->n) {
        place.number = skip_removed(&keys->sets[place.set], place.number);
        if (place.number < keys->sets[place.set].count)
            break;
        place = (struct fake_place){place.set + 1, 0};
    }
    return place;
}

struct fake_place fake_keys_next(const struct fake_keys *keys, struct fake_place place)
{
    place.number++;
    return settle(keys, place);
}

static bool reached(const struct fake_set *s, uint32_t number, enum fake_seek how, const char *text)
{
    char key[FAKE_MAX_KEY];
    write_name(s, number, key);
    int order = how == FAKE_PAST ? strncmp(key, text, strlen(text)) : strcmp(key, text);
    return how == FAKE_FROM ? order >= 0 : order > 0;
}

struct fake_place fake_keys_seek(const struct fake_keys *keys, enum fake_seek how, const char *text)
{
    struct fake_place place = {0};
    while (place.set < keys->n &&
           !reached(&keys->sets[place.set], keys->sets[place.set].count - 1, how, text))
        place.set++;
    if (place.set == keys->n)
        return place;
    const struct fake_set *s = &keys->sets[place.set];
    uint32_t low = 0, high = s->count - 1; /* the first that is reached lies in [low, high] */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (reached(s, middle, how, text))
            high = middle;
        else
            low = middle + 1;
    }
    place.number = low;
    return settle(keys, place);
}

/* ---- Sets ---- */

bool fake_keys_plain(const char *text)
{
    return !text[strspn(text, plain_bytes)];
}

static int check(const struct fake_keys *keys, const char *prefix, uint64_t count, uint64_t split,
                 struct store_err *err)
{
    size_t len = strlen(prefix);
    if (len > FAKE_MAX_PREFIX || !fake_keys_plain(prefix))
        return store_err_set(err, STORE_INVALID,
                             "prefix: expected at most %d letters, digits and \"/_.-\"",
                             FAKE_MAX_PREFIX);
    if (count == 0 || count > FAKE_MAX_COUNT || split >= FAKE_DIGITS)
        return store_err_set(err, STORE_INVALID, "expected a count of 1 to %d, a split below %d",
                             FAKE_MAX_COUNT, FAKE_DIGITS);
    for (size_t i = 0; i < keys->n; i++) {
        const struct fake_set *s = &keys->sets[i];
        size_t common = len < s->prefix_len ? len : s->prefix_len;
        if (len != s->prefix_len && strncmp(prefix, s->prefix, common) == 0)
            return store_err_set(err, STORE_INVALID, "one prefix begins with another");
    }
    return 0;
}

/* The set with this prefix, or an empty one in its place. NULL: there are too many. */
static struct fake_set *make_room(struct fake_keys *keys, const char *prefix)
{
    size_t i = 0;
    while (i < keys->n && strcmp(keys->sets[i].prefix, prefix) < 0)
        i++;
    struct fake_set *s = &keys->sets[i];
    if (i < keys->n && strcmp(s->prefix, prefix) == 0) {
        free(s->removed);
    } else if (keys->n == FAKE_MAX_SETS) {
        return NULL;
    } else {
        memmove(s + 1, s, (keys->n - i) * sizeof(*s));
        keys->n++;
    }
    *s = (struct fake_set){.prefix_len = strlen(prefix)};
    return s;
}

int fake_keys_define(struct fake_keys *keys, const char *prefix, uint64_t count, uint64_t split,
                     struct store_err *err)
{
    if (check(keys, prefix, count, split, err) != 0)
        return -1;
    struct fake_set *s = make_room(keys, prefix);
    if (!s)
        return store_err_set(err, STORE_INVALID, "more than %d sets of keys", FAKE_MAX_SETS);
    memcpy(s->prefix, prefix, s->prefix_len + 1);
    s->count = s->left = (uint32_t)count;
    s->split = (uint32_t)split;
    s->removed = xcalloc(count / 64 + 1, sizeof(*s->removed));
    return 0;
}

void fake_keys_cleanup(struct fake_keys *keys)
{
    for (size_t i = 0; i < keys->n; i++)
        free(keys->sets[i].removed);
    keys->n = 0;
}
