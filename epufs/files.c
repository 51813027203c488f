#include "epufs/files.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "base/xalloc.h"

struct known_files {
    size_t n;
    struct pattern {
        char *glob;
        uint64_t max_bytes;
    } * patterns;
};

static int add_pattern(struct known_files *k, const char *text, size_t n, uint64_t max_bytes,
                       struct store_err *err)
{
    const char *equals = memchr(text, '=', n);
    size_t glob_len = equals ? (size_t)(equals - text) : n;
    if (glob_len == 0 || text[0] == '/')
        return store_err_set(err, STORE_INVALID,
                             "known_files: '%.*s': expected a pattern relative to PGDATA, then an "
                             "optional =size",
                             (int)n, text);
    if (equals && !options_parse_bytes(equals + 1, n - glob_len - 1, &max_bytes))
        return store_err_set(err, STORE_INVALID,
                             "known_files: '%.*s': expected a size such as 64MiB behind '='",
                             (int)n, text);
    k->patterns = xrealloc(k->patterns, (k->n + 1) * sizeof(*k->patterns));
    k->patterns[k->n++] = (struct pattern){xstrndup(text, glob_len), max_bytes};
    return 0;
}

int known_files_parse(const char *list, uint64_t max_bytes, struct known_files **out,
                      struct store_err *err)
{
    struct known_files *k = xcalloc(1, sizeof(*k));
    for (const char *at = list; *at;) {
        at += strspn(at, ", ");
        size_t n = strcspn(at, ", ");
        if (n && add_pattern(k, at, n, max_bytes, err) != 0) {
            known_files_free(k);
            return -1;
        }
        at += n;
    }
    if (k->n == 0) {
        known_files_free(k);
        return store_err_set(err, STORE_INVALID, "known_files: expected at least one pattern");
    }
    *out = k;
    return 0;
}

void known_files_free(struct known_files *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->n; i++)
        free(k->patterns[i].glob);
    free(k->patterns);
    free(k);
}

bool known_files_match(const struct known_files *k, const char *path, uint64_t *max_bytes)
{
    for (size_t i = 0; i < k->n; i++)
        if (fnmatch(k->patterns[i].glob, path, FNM_PATHNAME | FNM_PERIOD) == 0) {
            *max_bytes = k->patterns[i].max_bytes;
            return true;
        }
    return false;
}
