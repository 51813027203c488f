#include "compute/manifest.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "epufs/scope.h"

void manifest_cleanup(struct manifest *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->files[i].path);
    free(m->files);
    *m = (struct manifest){.n = 0};
}

/* ---- From JSON ---- */

static bool is_sha256(const char *s)
{
    return s && strlen(s) == DIGEST_SIZE - 1 && strspn(s, "0123456789abcdef") == DIGEST_SIZE - 1;
}

static int take_content(struct manifest *m, const char *path, const json_t *content,
                        struct store_err *err)
{
    const json_t *size = json_object_get(content, "size");
    const char *sha256 = json_string_value(json_object_get(content, "sha256"));
    if (!json_is_integer(size) || json_integer_value(size) < 0 || !is_sha256(sha256))
        return store_err_set(err, STORE_CORRUPT, "manifest: '%.60s': expected a size and a SHA-256",
                             path);
    return manifest_add(m, path, (uint64_t)json_integer_value(size), sha256, err);
}

static int take_file(struct manifest *m, const char *path, const json_t *contents,
                     struct store_err *err)
{
    size_t n = json_array_size(contents);
    const char *problem = scope_path_problem(path, strlen(path));
    if (problem)
        return store_err_set(err, STORE_CORRUPT, "manifest: the path '%.60s': %s", path, problem);
    if (n == 0 || n > MANIFEST_KEEP)
        return store_err_set(err, STORE_CORRUPT,
                             "manifest: '%.60s' has %zu contents; expected 1 to %d", path, n,
                             (int)MANIFEST_KEEP);
    while (n > 0) /* the newest, which comes first, is added last */
        if (take_content(m, path, json_array_get(contents, --n), err) != 0)
            return -1;
    return 0;
}

static int take_all(struct manifest *m, json_t *root, struct store_err *err)
{
    const char *id = json_string_value(json_object_get(root, "system_identifier"));
    const json_t *major = json_object_get(root, "major");
    json_t *files = json_object_get(root, "files");
    const char *path;
    json_t *contents;
    if (json_integer_value(json_object_get(root, "schema")) != 1)
        return store_err_set(err, STORE_CORRUPT, "manifest: expected schema 1");
    if (!id || !parse_u64(id, strlen(id), &m->cluster.system_identifier) ||
        !json_is_integer(major) || json_integer_value(major) < 1 ||
        json_integer_value(major) > 999 || !json_is_object(files))
        return store_err_set(err, STORE_CORRUPT,
                             "manifest: expected major, system_identifier and files");
    m->cluster.major = (unsigned)json_integer_value(major);
    json_object_foreach(files, path,
                        contents) if (take_file(m, path, contents, err) != 0) return -1;
    return 0;
}

int manifest_parse(const char *text, size_t n, struct manifest *m, struct store_err *err)
{
    json_error_t cause;
    *m = (struct manifest){.n = 0};
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &cause);
    int failed = root ? take_all(m, root, err)
                      : store_err_set(err, STORE_CORRUPT, "manifest: %.100s", cause.text);
    json_decref(root);
    if (failed)
        manifest_cleanup(m);
    return failed;
}

/* ---- To JSON ---- */

void manifest_text(const struct manifest *m, struct buf *out)
{
    char id[24];
    json_t *files = json_object();
    for (size_t i = 0; i < m->n; i++) {
        const struct manifest_file *f = &m->files[i];
        json_t *contents = json_array();
        for (size_t k = 0; k < f->n; k++)
            json_array_append_new(contents,
                                  json_pack("{s:I,s:s}", "size", (json_int_t)f->contents[k].size,
                                            "sha256", f->contents[k].sha256));
        json_object_set_new(files, f->path, contents);
    }
    snprintf(id, sizeof(id), "%llu", (unsigned long long)m->cluster.system_identifier);
    json_t *root = json_pack("{s:i,s:i,s:s,s:o}", "schema", 1, "major", (int)m->cluster.major,
                             "system_identifier", id, "files", files);
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    buf_adds(out, text ? text : "");
    free(text);
    json_decref(root);
}

/* ---- Contents ---- */

int manifest_fits(const struct manifest *m, const struct cluster *c, struct store_err *err)
{
    if (m->cluster.major != c->major)
        return store_err_set(err, STORE_INVALID,
                             "the files are of PostgreSQL %u, the cluster is of %u",
                             m->cluster.major, c->major);
    if (m->cluster.system_identifier != c->system_identifier)
        return store_err_set(err, STORE_INVALID, "the files are of the cluster %llu, this is %llu",
                             (unsigned long long)m->cluster.system_identifier,
                             (unsigned long long)c->system_identifier);
    return 0;
}

static struct manifest_file *find(const struct manifest *m, const char *path)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->files[i].path, path) == 0)
            return &m->files[i];
    return NULL;
}

static size_t index_of(const struct manifest_file *f, const char *sha256)
{
    size_t i = 0;
    while (i < f->n && strcmp(f->contents[i].sha256, sha256) != 0)
        i++;
    return i;
}

bool manifest_has(const struct manifest *m, const char *path, uint64_t size, const char *sha256)
{
    const struct manifest_file *f = find(m, path);
    size_t i = f ? index_of(f, sha256) : 0;
    return f && i < f->n && f->contents[i].size == size;
}

int manifest_add(struct manifest *m, const char *path, uint64_t size, const char *sha256,
                 struct store_err *err)
{
    struct manifest_file *f = find(m, path);
    if (!f) {
        if (m->n == MANIFEST_MAX_FILES)
            return store_err_set(err, STORE_INVALID, "manifest: more than %d files",
                                 (int)MANIFEST_MAX_FILES);
        m->files = xrealloc(m->files, (m->n + 1) * sizeof(*m->files));
        f = &m->files[m->n++];
        *f = (struct manifest_file){.path = xstrdup(path)};
    }
    size_t at = index_of(f, sha256);
    if (at == f->n && f->n < MANIFEST_KEEP)
        f->n++;
    if (at == f->n)
        at = f->n - 1; /* the oldest makes room */
    memmove(&f->contents[1], &f->contents[0], at * sizeof(f->contents[0]));
    f->contents[0] = (struct manifest_content){.size = size};
    text_copy(f->contents[0].sha256, sizeof(f->contents[0].sha256), sha256);
    return 0;
}

void manifest_settle(struct manifest *m, const char *path, const char *sha256)
{
    struct manifest_file *f = find(m, path);
    size_t at = f ? index_of(f, sha256) : 0;
    if (!f || at == f->n)
        return;
    f->contents[0] = f->contents[at];
    f->n = 1;
}
