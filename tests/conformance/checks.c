/* What the cases say again and again: a listing has these keys, an object holds these bytes. */
#include "tests/conformance/conformance.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- Objects ---- */

struct result *t_put_text(struct test *t, const char *key, const char *text)
{
    return t_ok(t_put(t, key, text, strlen(text), NULL));
}

void t_holds(struct test *t, const char *key, const void *bytes, size_t size)
{
    struct result *r = t_ok(t_get(t, key, NULL));
    EXPECT(t, r->size == size && r->head.size == size,
           "%s: expected an object of %zu bytes, came %zu of %llu", r->what, size, r->size,
           (unsigned long long)r->head.size);
    EXPECT(t, size == 0 || memcmp(r->data, bytes, size) == 0, "%s: the bytes differ", r->what);
}

void t_holds_text(struct test *t, const char *key, const char *text)
{
    t_holds(t, key, text, strlen(text));
}

void t_absent(struct test *t, const char *key)
{
    t_code(t_head(t, key), STORE_NOT_FOUND);
}

void t_put_keys(struct test *t, const char *const *keys, size_t n)
{
    enum { IN_FLIGHT = 32 };
    struct result *ring[IN_FLIGHT] = {NULL};
    for (size_t i = 0; i < n + IN_FLIGHT; i++) {
        struct result **slot = &ring[i % IN_FLIGHT];
        if (*slot)
            t_ok(t_wait(*slot));
        *slot = i < n ? t_put_start(t, keys[i], keys[i], strlen(keys[i]), NULL) : NULL;
    }
}

const char *const *t_numbered(struct test *t, const char *prefix, size_t n, size_t spread)
{
    const char **keys = t_alloc(t, n * sizeof(*keys) + 1);
    for (size_t i = 0; i < n; i++)
        keys[i] = spread ? t_printf(t, "%s%zu/%zu/%06zu", prefix, i % spread, i / spread % 3, i)
                         : t_printf(t, "%s%06zu", prefix, i);
    return keys;
}

/* ---- Listings ---- */

struct result *t_list_all(struct test *t, const char *prefix, const struct store_list_opts *opts)
{
    struct store_list_opts o = opts ? *opts : (struct store_list_opts){.max = 0};
    struct result *all = t_ok(t_list(t, prefix, &o));
    size_t cap = all->n;
    const char *token = all->next_token;
    for (unsigned pages = 1; token; pages++) {
        EXPECT(t, pages < MAX_PAGES, "%s: came more than %d pages", all->what, MAX_PAGES);
        o.token = token;
        struct result *r = t_ok(t_list(t, prefix, &o));
        EXPECT(t, !r->next_token || strcmp(r->next_token, token) != 0,
               "%s: expected a new token, came the one of the page before", r->what);
        if (r->n && all->n)
            EXPECT(t,
                   strcmp(all->entries[all->n - 1].key, r->entries[0].key) <
                       (o.kind == STORE_LIST_OBJECTS ? 0 : 1),
                   "%s: expected pages in order, came %s after %s", r->what,
                   t_shown(t, r->entries[0].key), t_shown(t, all->entries[all->n - 1].key));
        if (all->n + r->n > cap) {
            struct store_entry *grown = t_alloc(t, 2 * (all->n + r->n) * sizeof(*grown));
            memcpy(grown, all->entries, all->n * sizeof(*grown));
            all->entries = grown;
            cap = 2 * (all->n + r->n);
        }
        memcpy(all->entries + all->n, r->entries, r->n * sizeof(*r->entries));
        all->n += r->n;
        token = r->next_token;
    }
    return all;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void t_keys(struct result *listing, const char *const *keys, size_t n)
{
    struct test *t = listing->t;
    const char **sorted = t_alloc(t, n * sizeof(*sorted) + 1);
    if (n)
        memcpy(sorted, keys, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), by_bytes);
    for (size_t i = 0; i < n || i < listing->n; i++) {
        const char *wanted = i < n ? sorted[i] : NULL;
        const char *came = i < listing->n ? listing->entries[i].key : NULL;
        if (!wanted || !came || strcmp(wanted, came) != 0)
            t_fail(t, "%s: entry %zu: expected %s, came %s (%zu expected, %zu came)", listing->what,
                   i, wanted ? t_shown(t, wanted) : "no more", came ? t_shown(t, came) : "no more",
                   n, listing->n);
    }
}

void t_has_keys(struct test *t, const char *prefix, const char *const *keys, size_t n)
{
    t_keys(t_list_all(t, prefix, NULL), keys, n);
}

void t_empty(struct test *t, const char *prefix)
{
    t_has_keys(t, prefix, NULL, 0);
}

/* ---- The pattern ---- */

/* Each line of 8 bytes is its own number, mixed so that all byte values occur (SplitMix64's
 * finalizer by Vigna, public domain: a bijection, so no two lines are alike). */
static void pattern_line(uint64_t number, unsigned char line[PATTERN_LINE])
{
    uint64_t x = number + 1;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    memcpy(line, &x, PATTERN_LINE);
}

void pattern_fill(void *buf, uint64_t offset, size_t n)
{
    unsigned char line[PATTERN_LINE], *out = buf;
    for (size_t i = 0; i < n;) {
        size_t skip = (size_t)((offset + i) % PATTERN_LINE), take = PATTERN_LINE - skip;
        take = take < n - i ? take : n - i;
        pattern_line((offset + i) / PATTERN_LINE, line);
        memcpy(out + i, line + skip, take);
        i += take;
    }
}

void *t_pattern(struct test *t, size_t n)
{
    void *bytes = t_alloc(t, n + 1);
    pattern_fill(bytes, 0, n);
    return bytes;
}

void t_is_pattern(struct result *get, uint64_t offset, uint64_t size)
{
    struct test *t = get->t;
    char expected[4096];
    EXPECT(t, get->size == size, "%s: expected %llu bytes, came %zu", get->what,
           (unsigned long long)size, get->size);
    for (size_t at = 0; at < get->size; at += sizeof(expected)) {
        size_t n = get->size - at < sizeof(expected) ? get->size - at : sizeof(expected);
        pattern_fill(expected, offset + at, n);
        EXPECT(t, memcmp(get->data + at, expected, n) == 0, "%s: the bytes from %zu on differ",
               get->what, at);
    }
}

/* ---- Sources ---- */

ssize_t source_read(struct result *r, void *buf, size_t cap)
{
    struct source *s = r->source;
    s->calls++;
    if (s->ended)
        t_broken(r->t, "%s: `read` was called again after the end", r->what);
    if (s->abort_at_once || (s->abort_at && s->given >= s->abort_at))
        return STORE_READ_ABORT;
    if (s->hold_at && s->given >= s->hold_at) {
        s->held = true;
        s->hold_at = 0;
    }
    if (s->held || (s->pause_each && s->calls % s->pause_each == 0))
        return STORE_READ_PAUSE;
    uint64_t end = s->size;
    end = s->hold_at && s->hold_at < end ? s->hold_at : end;
    end = s->abort_at && s->abort_at < end ? s->abort_at : end;
    uint64_t n = end - s->given;
    n = s->chunk && s->chunk < n ? s->chunk : n;
    n = cap < n ? cap : n;
    if (s->bytes)
        memcpy(buf, s->bytes + s->given, (size_t)n);
    else
        pattern_fill(buf, s->given, (size_t)n);
    s->given += n;
    s->ended = n == 0;
    return (ssize_t)n;
}
