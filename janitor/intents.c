#include "janitor/intents.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "epufs/intent.h"

enum { AT_ONCE = 16 };

struct walk {
    store *store;
    store_loop *loop;
    uint32_t timeout_ms;
    char (*ids)[JOB_ID_SIZE]; /* of one page */
    size_t n;
    char *token; /* of the next one; NULL: there is none */
};

/* One intent that is being read. */
struct reading {
    bool over;
    struct store_err err;
    struct buf text;
};

/* ---- Listing ---- */

static void take_page(void *user, const struct store_page *page)
{
    struct walk *w = user;
    w->n = 0;
    for (size_t i = 0; i < page->n && w->n < STORE_MAX_BATCH; i++) {
        const char *id = page->entries[i].key + strlen(LAYOUT_INTENTS);
        if (strlen(id) == JOB_ID_SIZE - 1)
            memcpy(w->ids[w->n++], id, JOB_ID_SIZE);
    }
    free(w->token);
    w->token = page->next_token ? xstrdup(page->next_token) : NULL;
}

static int list_page(struct walk *w, const char *prefix, struct store_err *err)
{
    const struct store_list_opts opts = {.token = w->token, .timeout_ms = w->timeout_ms};
    char key[LAYOUT_KEY_SIZE];
    snprintf(key, sizeof(key), LAYOUT_INTENTS "%s", prefix);
    return store_sync_list(w->store, w->loop, key, &opts, take_page, w, err);
}

/* ---- Reading ---- */

static bool on_data(void *user, const void *bytes, size_t n)
{
    struct reading *r = user;
    buf_add(&r->text, bytes, n);
    return true;
}

static void on_done(void *user, const struct store_err *err, const struct store_info *info)
{
    (void)info;
    struct reading *r = user;
    r->err = *err;
    r->over = true;
}

static void begin(struct walk *w, const char *job_id, struct reading *r)
{
    static const struct store_get_cb cb = {.data = on_data, .done = on_done};
    const struct store_get_opts opts = {.timeout_ms = w->timeout_ms};
    char key[LAYOUT_KEY_SIZE];
    *r = (struct reading){.text = BUF_INIT(INTENT_MAX_BYTES)};
    layout_intent(job_id, key);
    if (!store_get(w->store, w->loop, key, &opts, &cb, r, &r->err))
        r->over = true;
}

static void await(struct walk *w, const struct reading *r, size_t n)
{
    for (size_t i = 0; i < n;) {
        /* Only an invalid epoll descriptor makes a round fail: a bug of ours. */
        int rc = r[i].over ? 0 : store_loop_run(w->loop, -1, NULL);
        assert(rc == 0);
        (void)rc;
        i += r[i].over;
    }
}

static int parse(const struct reading *r, const char *job_id, struct deletion *d,
                 struct store_err *err)
{
    if (buf_failed(&r->text))
        return store_err_set(err, STORE_INVALID, "an intent of more than %d bytes",
                             INTENT_MAX_BYTES);
    if (deletion_from_json(buf_str(&r->text), r->text.len, d, err) != 0)
        return -1;
    if (strcmp(d->job_id, job_id) != 0)
        return store_err_set(err, STORE_INVALID, "it is that of job %.64s", d->job_id);
    return 0;
}

/* Returns whether to go on; *rc becomes -1 when the store did not answer. */
static bool tell(const char *job_id, const struct reading *r,
                 bool (*each)(void *user, const struct intent_found *f), void *user, int *rc,
                 struct store_err *err)
{
    struct deletion d;
    struct store_err why;
    struct intent_found f = {.job_id = job_id};
    if (r->err.code == STORE_NOT_FOUND) /* it has ended meanwhile */
        return true;
    if (r->err.code != STORE_OK) {
        *err = r->err;
        *rc = -1;
        return false;
    }
    f.unreadable = parse(r, job_id, &d, &why) != 0;
    f.why = f.unreadable ? why.msg : "";
    f.d = f.unreadable ? NULL : &d;
    return each(user, &f);
}

/* Returns whether to go on. */
static bool read_batch(struct walk *w, size_t first,
                       bool (*each)(void *user, const struct intent_found *f), void *user, int *rc,
                       struct store_err *err)
{
    struct reading r[AT_ONCE];
    size_t n = w->n - first < AT_ONCE ? w->n - first : AT_ONCE;
    for (size_t i = 0; i < n; i++)
        begin(w, w->ids[first + i], &r[i]);
    await(w, r, n);
    bool go_on = true;
    for (size_t i = 0; go_on && i < n; i++)
        go_on = tell(w->ids[first + i], &r[i], each, user, rc, err);
    for (size_t i = 0; i < n; i++)
        buf_cleanup(&r[i].text);
    return go_on;
}

int intents_each(store *s, store_loop *loop, const char *prefix, uint32_t timeout_ms,
                 bool (*each)(void *user, const struct intent_found *f), void *user,
                 struct store_err *err)
{
    struct walk w = {.store = s, .loop = loop, .timeout_ms = timeout_ms};
    int rc;
    bool go_on = true;
    w.ids = xcalloc(STORE_MAX_BATCH, JOB_ID_SIZE);
    do {
        rc = list_page(&w, prefix, err);
        for (size_t i = 0; rc == 0 && go_on && i < w.n; i += AT_ONCE)
            go_on = read_batch(&w, i, each, user, &rc, err);
    } while (rc == 0 && go_on && w.token);
    free(w.ids);
    free(w.token);
    return rc;
}
