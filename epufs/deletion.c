#include "epufs/deletion.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "epufs/intent.h"

enum { MAX_TOMBSTONE_BYTES = 4096 };

/* ---- Tombstone ---- */

static bool leaves_tombstone(const struct deletion *d)
{
    return !d->dry_run && (d->scope.kind != SCOPE_ENDPOINT || d->has_upto_gen);
}

/* A tombstone that stands already may fence tokens which live longer than those that this event
 * knows of; it must never be shortened. 0 is for ever. */
static int merge_expiry(store *s, store_loop *loop, const char *key, int64_t *tokens_expire_by_s,
                        struct store_err *err)
{
    void *text = NULL;
    size_t n = 0;
    if (store_sync_get(s, loop, key, MAX_TOMBSTONE_BYTES, &text, &n, NULL, err) != 0)
        return err->code == STORE_NOT_FOUND ? 0 : -1;
    json_t *old = json_loadb(text, n, 0, NULL);
    const char *by = json_string_value(json_object_get(old, "tokens_expire_by"));
    int64_t old_s = 0;
    if (!by || !clock_parse_rfc3339(by, &old_s))
        old_s = 0;
    *tokens_expire_by_s = old_s && *tokens_expire_by_s && old_s < *tokens_expire_by_s
                              ? *tokens_expire_by_s
                          : old_s && *tokens_expire_by_s ? old_s
                                                         : 0;
    json_decref(old);
    free(text);
    return 0;
}

static char *tombstone_text(const struct deletion *d, int64_t tokens_expire_by_s)
{
    char path[SCOPE_PATH_SIZE], by[CLOCK_TEXT];
    scope_path(&d->scope, path);
    json_t *o = json_pack("{s:i,s:s,s:s,s:s}", "schema", 1, "scope", path, "job_id", d->job_id,
                          "reason", d->reason);
    if (tokens_expire_by_s) {
        clock_rfc3339(tokens_expire_by_s, by);
        json_object_set_new(o, "tokens_expire_by", json_string(by));
    }
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}

/* Writes it and tells the store's clock when it stood. */
static int write_tombstone(store *s, store_loop *loop, const struct deletion *d,
                           int64_t *stood_at_s, struct store_err *err)
{
    static const struct store_put_opts opts = {.content_type = "application/json"};
    char key[LAYOUT_KEY_SIZE];
    struct store_info info;
    int64_t by_s = d->tokens_expire_by_s;
    layout_tombstone(&d->scope, d->upto_gen, key);
    if (merge_expiry(s, loop, key, &by_s, err) != 0)
        return -1;
    char *text = tombstone_text(d, by_s);
    if (!text)
        return store_err_set(err, STORE_NO_MEMORY, "tombstone: out of memory");
    int rc = store_sync_put(s, loop, key, text, strlen(text), &opts, NULL, &info, err);
    free(text);
    if (rc == 0 && info.server_time_s == 0)
        return store_err_set(err, STORE_FAILED, "tombstone %.150s: the store tells no time", key);
    /* The clock comes in whole seconds, cut off. */
    *stood_at_s = rc == 0 ? info.server_time_s + 1 : 0;
    return rc;
}

/* ---- Intent ---- */

enum intent_state deletion_read_intent(store *s, store_loop *loop, const char *job_id,
                                       struct deletion *d, struct store_err *err)
{
    char key[LAYOUT_KEY_SIZE];
    void *text = NULL;
    size_t n = 0;
    layout_intent(job_id, key);
    if (store_sync_get(s, loop, key, INTENT_MAX_BYTES, &text, &n, NULL, err) != 0)
        return err->code == STORE_NOT_FOUND ? INTENT_NONE : INTENT_FAILED;
    int rc = deletion_from_json(text, n, d, err);
    free(text);
    return rc == 0 ? INTENT_READ : INTENT_UNREADABLE;
}

bool deletion_is_open(store *s, store_loop *loop, const char *job_id)
{
    char key[LAYOUT_KEY_SIZE];
    struct store_info info;
    struct store_err err;
    layout_intent(job_id, key);
    return store_sync_head(s, loop, key, &info, &err) == 0 || err.code != STORE_NOT_FOUND;
}

static int write_intent(store *s, store_loop *loop, const struct deletion *d,
                        struct store_info *info, struct store_err *err)
{
    static const struct store_put_opts opts = {.content_type = "application/json"};
    char key[LAYOUT_KEY_SIZE];
    struct buf text = BUF_INIT(INTENT_MAX_BYTES);
    layout_intent(d->job_id, key);
    int rc = deletion_to_json(d, &text);
    if (rc != 0 || buf_failed(&text))
        rc = store_err_set(err, STORE_NO_MEMORY, "intent %.80s: out of memory", d->job_id);
    else
        rc = store_sync_put(s, loop, key, text.data, text.len, &opts, NULL, info, err);
    buf_cleanup(&text);
    return rc;
}

int deletion_accept(store *s, store_loop *loop, struct deletion *d, struct store_err *err)
{
    struct store_info info = {0};
    struct deletion open;
    enum intent_state found = deletion_read_intent(s, loop, d->job_id, &open, err);
    if (found == INTENT_FAILED)
        return -1;
    /* One that cannot be read, or is another job's, is written anew: the tombstone comes first. */
    if (found == INTENT_READ && strcmp(open.job_id, d->job_id) == 0) {
        *d = open;
        return 0;
    }
    if (leaves_tombstone(d)) {
        if (write_tombstone(s, loop, d, &d->accepted_at_s, err) != 0)
            return -1;
    } else {
        d->accepted_at_s = clock_real_s();
    }
    return write_intent(s, loop, d, &info, err);
}

int deletion_forget_intent(store *s, store_loop *loop, const struct deletion *d,
                           struct store_err *err)
{
    char key[LAYOUT_KEY_SIZE];
    layout_intent(d->job_id, key);
    return store_sync_delete(s, loop, key, err);
}

/* ---- Sweep ---- */

int deletion_sweep(store *s, store_loop *loop, const struct deletion *d, const char *cursor,
                   bool (*progress)(void *user, const struct store_progress *p), void *user,
                   struct deletion_counts *counts, int64_t *server_time_s, struct store_err *err)
{
    char prefix[LAYOUT_KEY_SIZE], end[LAYOUT_KEY_SIZE];
    struct store_progress final = {0};
    struct store_delete_prefix_opts opts = {
        .cursor = cursor && *cursor ? cursor : NULL,
        .dry_run = d->dry_run,
    };
    layout_scope(&d->scope, prefix);
    if (d->scope.kind == SCOPE_ENDPOINT &&
        layout_end_before(&d->scope, d->has_upto_gen ? d->upto_gen : 0, end))
        opts.end_before = end;
    int rc = store_sync_delete_prefix(s, loop, prefix, &opts, progress, user, &final, err);
    *counts = (struct deletion_counts){final.objects, final.bytes};
    if (server_time_s)
        *server_time_s = final.server_time_s;
    return rc;
}

int64_t deletion_drained_at_s(const struct deletion *d, uint32_t upload_window_s)
{
    return d->accepted_at_s + (leaves_tombstone(d) ? (int64_t)upload_window_s : 0);
}
