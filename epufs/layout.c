#include "epufs/layout.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"

/* Scopes and paths are checked before they come here, so a key that does not fit is our own bug. */
static void STORE_PRINTF_LIKE(2, 3) key_printf(char out[LAYOUT_KEY_SIZE], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out, LAYOUT_KEY_SIZE, fmt, args);
    va_end(args);
    assert(n > 0 && n < LAYOUT_KEY_SIZE);
    (void)n;
}

void layout_scope(const struct scope *s, char out[LAYOUT_KEY_SIZE])
{
    char path[SCOPE_PATH_SIZE];
    scope_path(s, path);
    key_printf(out, "%s/", path);
}

int layout_open_timeline(store *whole, const struct scope *s, store **out, struct store_err *err)
{
    assert(s->kind != SCOPE_TENANT);
    char prefix[LAYOUT_KEY_SIZE];
    struct scope timeline = *s;
    timeline.kind = SCOPE_TIMELINE;
    layout_scope(&timeline, prefix);
    return store_narrow(whole, prefix, out, err);
}

void layout_generations(const struct scope *endpoint, char out[LAYOUT_KEY_SIZE])
{
    assert(endpoint->kind == SCOPE_ENDPOINT);
    key_printf(out, "endpoints/%s/", endpoint->endpoint);
}

void layout_files(const struct scope *endpoint, uint64_t gen, char out[LAYOUT_KEY_SIZE])
{
    assert(endpoint->kind == SCOPE_ENDPOINT);
    char hex[17];
    u64_hex16(gen, hex);
    key_printf(out, "endpoints/%s/%s/pgdata/", endpoint->endpoint, hex);
}

void layout_file(const struct scope *endpoint, uint64_t gen, const char *path,
                 char out[LAYOUT_KEY_SIZE])
{
    layout_files(endpoint, gen, out);
    size_t have = strlen(out), n = strlen(path);
    assert(have + n < LAYOUT_KEY_SIZE);
    memcpy(out + have, path, n + 1);
}

bool layout_end_before(const struct scope *endpoint, uint64_t upto_gen, char out[LAYOUT_KEY_SIZE])
{
    assert(endpoint->kind == SCOPE_ENDPOINT);
    if (upto_gen == UINT64_MAX)
        return false;
    char path[SCOPE_PATH_SIZE], hex[17];
    scope_path(endpoint, path);
    u64_hex16(upto_gen + 1, hex);
    /* Without the slash behind it: still below every key of that generation, and itself a
     * well-formed key. */
    key_printf(out, "%s/%s", path, hex);
    return true;
}

void layout_tombstones(const struct scope *endpoint, char out[LAYOUT_KEY_SIZE])
{
    assert(endpoint->kind == SCOPE_ENDPOINT);
    key_printf(out, LAYOUT_TOMBSTONES "endpoint/%s/%s/%s/", endpoint->tenant, endpoint->timeline,
               endpoint->endpoint);
}

void layout_tombstone(const struct scope *s, uint64_t gen, char out[LAYOUT_KEY_SIZE])
{
    char hex[17];
    switch (s->kind) {
    case SCOPE_TENANT: key_printf(out, LAYOUT_TOMBSTONES "tenant/%s", s->tenant); return;
    case SCOPE_TIMELINE:
        key_printf(out, LAYOUT_TOMBSTONES "timeline/%s/%s", s->tenant, s->timeline);
        return;
    case SCOPE_ENDPOINT:
        u64_hex16(UINT64_MAX - gen, hex);
        key_printf(out, LAYOUT_TOMBSTONES "endpoint/%s/%s/%s/%s", s->tenant, s->timeline,
                   s->endpoint, hex);
        return;
    }
    assert(!"a scope has one of three kinds");
}

/* Cuts the part up to the next slash off *rest. */
static bool next_segment(const char **rest, const char **seg, size_t *n)
{
    const char *slash = strchr(*rest, '/');
    if (!slash)
        return false;
    *seg = *rest;
    *n = (size_t)(slash - *rest);
    *rest = slash + 1;
    return true;
}

/* The last segment, or the next: an id. */
static bool take_id(const char **rest, bool last, char id[ID_SIZE])
{
    const char *seg = *rest;
    size_t n = strlen(seg);
    return (last || next_segment(rest, &seg, &n)) && scope_parse_id(seg, n, id);
}

static bool parse_endpoint_tombstone(const char *rest, struct scope *s, uint64_t *gen)
{
    const char *seg;
    size_t n;
    uint64_t inverted;
    if (!take_id(&rest, false, s->tenant) || !take_id(&rest, false, s->timeline) ||
        !next_segment(&rest, &seg, &n) || !scope_parse_endpoint(seg, n, s->endpoint) ||
        strlen(rest) != 16 || !u64_from_hex16(rest, &inverted))
        return false;
    *gen = UINT64_MAX - inverted;
    return true;
}

bool layout_tombstone_parse(const char *key, struct scope *s, uint64_t *gen)
{
    const char *rest = key + strlen(LAYOUT_TOMBSTONES), *kind;
    size_t n;
    *s = (struct scope){0};
    *gen = 0;
    if (strncmp(key, LAYOUT_TOMBSTONES, strlen(LAYOUT_TOMBSTONES)) != 0 ||
        !next_segment(&rest, &kind, &n))
        return false;
    char name[16] = "";
    if (n >= sizeof(name))
        return false;
    memcpy(name, kind, n);
    if (!scope_kind_from_name(name, &s->kind))
        return false;
    switch (s->kind) {
    case SCOPE_TENANT: return take_id(&rest, true, s->tenant);
    case SCOPE_TIMELINE:
        return take_id(&rest, false, s->tenant) && take_id(&rest, true, s->timeline);
    case SCOPE_ENDPOINT: return parse_endpoint_tombstone(rest, s, gen);
    }
    return false;
}

bool layout_tombstone_gen(const char *key, uint64_t *gen)
{
    struct scope s;
    return layout_tombstone_parse(key, &s, gen) && s.kind == SCOPE_ENDPOINT;
}

void layout_guard(const char *tenant, char out[LAYOUT_KEY_SIZE])
{
    snprintf(out, LAYOUT_KEY_SIZE, LAYOUT_GUARD "%s", tenant);
}

void layout_intent(const char *job_id, char out[LAYOUT_KEY_SIZE])
{
    key_printf(out, LAYOUT_INTENTS "%s", job_id);
}
