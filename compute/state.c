#include "compute/state.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/xalloc.h"

enum { STATE_MAX_BYTES = 1 << 20, OWNER_SIZE = SCOPE_PATH_SIZE + 32 };

static void owner_of(const struct bearer *b, char out[OWNER_SIZE])
{
    char path[SCOPE_PATH_SIZE];
    scope_path(bearer_scope(b), path);
    snprintf(out, OWNER_SIZE, "%s gen %llu", path, (unsigned long long)bearer_gen(b));
}

static void drop_files(struct state *st)
{
    for (size_t i = 0; i < st->n; i++)
        free(st->files[i].path);
    free(st->files);
    st->files = NULL;
    st->n = 0;
}

void state_cleanup(struct state *st)
{
    drop_files(st);
    manifest_cleanup(&st->manifest);
    *st = (struct state){.n = 0};
}

/* ---- Files ---- */

const struct state_file *state_find(const struct state *st, const char *path)
{
    for (size_t i = 0; i < st->n; i++)
        if (strcmp(st->files[i].path, path) == 0)
            return &st->files[i];
    return NULL;
}

void state_set(struct state *st, const char *path, const char *version, const char *sha256)
{
    size_t i = 0;
    while (i < st->n && strcmp(st->files[i].path, path) != 0)
        i++;
    if (i == st->n) {
        st->files = xrealloc(st->files, (st->n + 1) * sizeof(*st->files));
        st->files[st->n++] = (struct state_file){.path = xstrdup(path)};
    }
    if (version)
        text_copy(st->files[i].version, sizeof(st->files[i].version), version);
    if (sha256)
        text_copy(st->files[i].sha256, sizeof(st->files[i].sha256), sha256);
}

int state_take_listing(struct state *st, const char *text, size_t n, struct store_err *err)
{
    json_t *root = json_loadb(text, n, 0, NULL), *file;
    const json_t *files = json_object_get(root, "files");
    bool good = json_is_array(files);
    size_t i;
    drop_files(st);
    json_array_foreach(files, i, file)
    {
        const char *path = json_string_value(json_object_get(file, "path"));
        const char *version = json_string_value(json_object_get(file, "version"));
        if (path && version && *version)
            state_set(st, path, version, "");
        else
            good = false;
    }
    json_decref(root);
    st->is_known = good;
    st->is_pending = false;
    return good ? 0
                : store_err_set(err, STORE_CORRUPT,
                                "the list of files is not as the reader gives it");
}

/* ---- On disk ---- */

static bool take_files(struct state *st, json_t *files)
{
    const char *path;
    json_t *file;
    if (!json_is_object(files))
        return false;
    json_object_foreach(files, path, file)
    {
        const char *version = json_string_value(json_object_get(file, "version"));
        const char *sha256 = json_string_value(json_object_get(file, "sha256"));
        if (!version || !sha256)
            return false;
        state_set(st, path, version, sha256);
    }
    return true;
}

static bool take_state(struct state *st, json_t *root, const char *owner)
{
    const char *whose = json_string_value(json_object_get(root, "owner"));
    const char *manifest = json_string_value(json_object_get(root, "manifest"));
    return json_integer_value(json_object_get(root, "schema")) == 1 && whose && manifest &&
           strcmp(whose, owner) == 0 && take_files(st, json_object_get(root, "files")) &&
           (!*manifest || manifest_parse(manifest, strlen(manifest), &st->manifest, NULL) == 0);
}

void state_load(const struct staging *s, const struct bearer *b, struct state *st)
{
    char owner[OWNER_SIZE];
    struct buf text = BUF_INIT(STATE_MAX_BYTES);
    owner_of(b, owner);
    *st = (struct state){.n = 0};
    json_t *root = staging_read(s, STATE_NAME, &text, NULL) == 0
                       ? json_loadb(buf_str(&text), text.len, 0, NULL)
                       : NULL;
    if (take_state(st, root, owner)) {
        st->is_known = true;
        st->is_pending = json_is_true(json_object_get(root, "pending"));
    } else {
        state_cleanup(st);
    }
    json_decref(root);
    buf_cleanup(&text);
}

int state_save(struct staging *s, const struct bearer *b, const struct state *st,
               struct store_err *err)
{
    char owner[OWNER_SIZE];
    struct buf manifest = BUF_INIT(MANIFEST_MAX_BYTES);
    json_t *files = json_object();
    owner_of(b, owner);
    if (st->manifest.cluster.major)
        manifest_text(&st->manifest, &manifest);
    for (size_t i = 0; i < st->n; i++)
        json_object_set_new(
            files, st->files[i].path,
            json_pack("{s:s,s:s}", "version", st->files[i].version, "sha256", st->files[i].sha256));
    json_t *root = json_pack("{s:i,s:s,s:b,s:s,s:o}", "schema", 1, "owner", owner, "pending",
                             st->is_pending, "manifest", buf_str(&manifest), "files", files);
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS);
    int failed = text ? staging_write(s, STATE_NAME, text, strlen(text), err)
                      : store_err_set(err, STORE_NO_MEMORY, "the state cannot be written as JSON");
    free(text);
    json_decref(root);
    buf_cleanup(&manifest);
    return failed;
}
