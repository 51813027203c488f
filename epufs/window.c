#include "epufs/window.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"

enum {
    SUM_DIGITS = 8,
    SUM_MAX_S = 99999999,
    CLOCK_SLACK_S = 2, /* the store's times are whole seconds, of its several servers */
};

uint32_t window_needed_s(const struct window_terms *t)
{
    return t->expiry_s + t->timeout_s + t->idle_s;
}

/* ---- Keys ---- */

static bool is_id(const char *id)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
    return n > 0 && n < WINDOW_ID_SIZE && id[n] == '\0';
}

void window_key(const struct window_terms *t, const char *id, char key[LAYOUT_KEY_SIZE])
{
    uint32_t needed_s = window_needed_s(t);
    assert(needed_s > 0 && needed_s <= SUM_MAX_S && is_id(id));
    snprintf(key, LAYOUT_KEY_SIZE, LAYOUT_WRITERS "%0*" PRIu32 "-%s", SUM_DIGITS, needed_s, id);
}

bool window_parse(const char *key, uint32_t *needed_s, char id[WINDOW_ID_SIZE])
{
    const size_t begin = strlen(LAYOUT_WRITERS);
    uint64_t sum;
    if (strncmp(key, LAYOUT_WRITERS, begin) != 0)
        return false;
    const char *digits = key + begin;
    if (strnlen(digits, SUM_DIGITS + 1) <= SUM_DIGITS || digits[SUM_DIGITS] != '-' ||
        !parse_u64(digits, SUM_DIGITS, &sum) || sum == 0 || !is_id(digits + SUM_DIGITS + 1))
        return false;
    *needed_s = (uint32_t)sum;
    text_copy(id, WINDOW_ID_SIZE, digits + SUM_DIGITS + 1);
    return true;
}

/* ---- Telling ---- */

store_op *window_tell(store *s, store_loop *loop, const struct window_terms *t, const char *id,
                      store_done_fn *done, void *user, struct store_err *err)
{
    static const struct store_put_opts opts = {.content_type = "application/json",
                                               .timeout_ms = WINDOW_TELL_TIMEOUT_MS};
    char key[LAYOUT_KEY_SIZE], text[160];
    window_key(t, id, key);
    /* For people: only the key counts. */
    int n = snprintf(text, sizeof(text),
                     "{\"schema\":1,\"upload_expiry_s\":%" PRIu32 ",\"upload_timeout_s\":%" PRIu32
                     ",\"store_idle_timeout_s\":%" PRIu32 "}",
                     t->expiry_s, t->timeout_s, t->idle_s);
    return store_put_bytes(s, loop, key, text, (size_t)n, &opts, done, user, err);
}

/* ---- Reading ---- */

struct reading {
    struct window_largest *out;
    char *token;                /* of the next page; NULL: there is none */
    char *old[STORE_MAX_BATCH]; /* keys of this page that are to go */
    size_t n_old;
    bool no_clock;
};

static void look_at(struct reading *r, const struct store_entry *e, int64_t now_s)
{
    uint32_t needed_s;
    char id[WINDOW_ID_SIZE];
    if (!window_parse(e->key, &needed_s, id))
        return;
    int64_t until_s = e->modified_s + WINDOW_VALID_S + (int64_t)needed_s + CLOCK_SLACK_S;
    if (until_s >= now_s && needed_s > r->out->needed_s) {
        r->out->needed_s = needed_s;
        text_copy(r->out->id, sizeof(r->out->id), id);
    }
    if (until_s + WINDOW_KEPT_S < now_s && r->n_old < LEN(r->old))
        r->old[r->n_old++] = xstrdup(e->key);
}

static void on_page(void *user, const struct store_page *page)
{
    struct reading *r = user;
    free(r->token);
    r->token = xstrdup(page->next_token);
    r->no_clock |= page->server_time_s == 0;
    /* Of the first page: what was told before then has been seen. */
    if (!r->out->server_time_s)
        r->out->server_time_s = page->server_time_s;
    for (size_t i = 0; i < page->n && !r->no_clock; i++)
        look_at(r, &page->entries[i], page->server_time_s);
}

/* Only tidying: whatever stays does no harm, and the next reading tries again. */
static void remove_old(struct reading *r, store *s, store_loop *loop)
{
    struct store_err err;
    if (r->n_old &&
        store_sync_delete_many(s, loop, (const char *const *)r->old, r->n_old, &err) != 0)
        log_warn("terms of writers that are gone cannot be removed", LOG_U("keys", r->n_old),
                 LOG_ERR(&err));
    for (size_t i = 0; i < r->n_old; i++)
        free(r->old[i]);
    r->n_old = 0;
}

int window_read(store *s, store_loop *loop, struct window_largest *out, struct store_err *err)
{
    struct reading *r = xcalloc(1, sizeof(*r));
    int rc;
    *out = (struct window_largest){0};
    r->out = out;
    do {
        char *token = r->token;
        const struct store_list_opts opts = {.token = token};
        r->token = NULL;
        rc = store_sync_list(s, loop, LAYOUT_WRITERS, &opts, on_page, r, err);
        free(token);
        if (rc == 0 && r->no_clock)
            rc = store_err_set(err, STORE_FAILED,
                               "list " LAYOUT_WRITERS ": the store tells no "
                               "time");
        if (rc == 0)
            remove_old(r, s, loop);
    } while (rc == 0 && r->token);
    free(r->token);
    free(r);
    return rc;
}
