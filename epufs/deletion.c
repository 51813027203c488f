#include "epufs/deletion.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "epufs/intent.h"

enum { GIVE_UP_ROUND_MS = 200 };

bool deletion_is_fenced(const struct deletion *d)
{
    return !d->dry_run && (d->scope.kind != SCOPE_ENDPOINT || d->has_upto_gen);
}

bool deletion_is_closing(const struct deletion *d)
{
    return d->state == DELETION_CLOSING || d->state == DELETION_WITHDRAWN;
}

/* ---- Tombstone ---- */

/* 0 is for ever, and the longest. */
static int64_t later_expiry(int64_t a_s, int64_t b_s)
{
    if (!a_s || !b_s)
        return 0;
    return a_s > b_s ? a_s : b_s;
}

static bool put_tombstone(const struct deletion *d, struct buf *fresh)
{
    char path[SCOPE_PATH_SIZE];
    scope_path(&d->scope, path);
    json_t *o = json_object();
    bool ok = intent_put(o, "schema", json_integer(1)) && intent_put_text(o, "scope", path) &&
              intent_put_text(o, "job_id", d->job_id) && intent_put_text(o, "reason", d->reason) &&
              intent_put_time(o, "tokens_expire_by", d->tokens_expire_by_s);
    return intent_dump(o, ok, fresh) == 0;
}

/* When the tombstone that stands may go; 0: never. False: it does not say so in a way that can be
 * understood. */
static bool standing_expiry(const json_t *tombstone, int64_t *by_s)
{
    const json_t *by = json_object_get(tombstone, "tokens_expire_by");
    *by_s = 0;
    if (!json_is_object(tombstone) || !by || json_is_null(by))
        return json_is_object(tombstone);
    return json_is_string(by) && clock_parse_rfc3339(json_string_value(by), by_s);
}

bool deletion_tombstone_expiry(const char *text, size_t n, int64_t *by_s)
{
    json_t *tombstone = json_loadb(text, n, 0, NULL);
    bool sound = standing_expiry(tombstone, by_s);
    json_decref(tombstone);
    return sound;
}

static enum amend_verdict no_memory(const char *what, struct store_err *err)
{
    store_err_set(err, STORE_NO_MEMORY, "%s: out of memory", what);
    return AMEND_FAIL;
}

/* A tombstone that stands already may fence tokens which live longer than those that this deletion
 * knows of, or shorter: the later end wins. One that cannot be understood fences all the same, may
 * have meant any end, and is written anew without one. */
static enum amend_verdict change_tombstone(const struct deletion *d, const struct amend_seen *seen,
                                           struct buf *fresh, bool *had_end, struct store_err *err)
{
    struct deletion merged = *d;
    int64_t old_s = 0;
    if (seen->text) {
        bool sound = deletion_tombstone_expiry(seen->text, seen->len, &old_s);
        merged.tokens_expire_by_s = sound ? later_expiry(old_s, d->tokens_expire_by_s) : 0;
        if (sound && merged.tokens_expire_by_s == old_s)
            return AMEND_KEEP;
    }
    *had_end = old_s != 0;
    return put_tombstone(&merged, fresh) ? AMEND_WRITE : no_memory("tombstone", err);
}

/* ---- Intent ---- */

static bool is_of(const struct deletion *d, const char *job_id)
{
    return strcmp(d->job_id, job_id) == 0;
}

bool deletion_is_open(store *s, store_loop *loop, const char *job_id)
{
    char key[LAYOUT_KEY_SIZE];
    struct store_info info;
    struct store_err err;
    layout_intent(job_id, key);
    return store_sync_head(s, loop, key, &info, &err) == 0 || err.code != STORE_NOT_FOUND;
}

static enum amend_verdict put_intent(const struct deletion *d, struct buf *fresh,
                                     struct store_err *err)
{
    return deletion_to_json(d, fresh) == 0 ? AMEND_WRITE : no_memory("intent", err);
}

struct changing {
    const char *job_id;
    bool (*change)(void *user, struct deletion *d); /* NULL: only reads */
    void *user;
    bool found, unreadable;
    struct deletion d;
};

static enum amend_verdict change_intent(void *user, const struct amend_seen *seen,
                                        struct buf *fresh, struct store_err *err)
{
    struct changing *c = user;
    c->found = seen->text != NULL;
    if (!c->found)
        return AMEND_KEEP;
    int rc = deletion_from_json(seen->text, seen->len, &c->d, err);
    if (rc == 0 && !is_of(&c->d, c->job_id))
        rc = store_err_set(err, STORE_INVALID, "intent %.80s is that of job %.80s", c->job_id,
                           c->d.job_id);
    c->unreadable = rc != 0;
    if (rc != 0)
        return AMEND_FAIL;
    return c->change && c->change(c->user, &c->d) ? put_intent(&c->d, fresh, err) : AMEND_KEEP;
}

static int amend_intent(store *s, store_loop *loop, struct changing *c, char *etag,
                        struct store_err *err)
{
    char key[LAYOUT_KEY_SIZE];
    struct amend_result r;
    const struct amend_conf conf = {
        .key = key,
        .max_bytes = INTENT_MAX_BYTES,
        .change = change_intent,
        .user = c,
    };
    layout_intent(c->job_id, key);
    int rc = amend_now(s, loop, &conf, &r, err);
    if (rc == 0 && etag)
        memcpy(etag, r.etag, sizeof(r.etag));
    return rc;
}

enum intent_state deletion_read_intent(store *s, store_loop *loop, const char *job_id,
                                       struct deletion *d, char *etag, struct store_err *err)
{
    struct changing c = {.job_id = job_id};
    if (amend_intent(s, loop, &c, etag, err) != 0)
        return c.unreadable || err->code == STORE_INVALID ? INTENT_UNREADABLE : INTENT_FAILED;
    if (c.found)
        *d = c.d;
    return c.found ? INTENT_READ : INTENT_NONE;
}

int deletion_change_intent(store *s, store_loop *loop, const char *job_id,
                           bool (*change)(void *user, struct deletion *d), void *user, bool *found,
                           char *etag, struct store_err *err)
{
    struct changing c = {.job_id = job_id, .change = change, .user = user};
    int rc = amend_intent(s, loop, &c, etag, err);
    *found = c.found;
    return rc;
}

int deletion_forget_intent(store *s, store_loop *loop, const struct deletion *d,
                           struct store_err *err)
{
    char key[LAYOUT_KEY_SIZE];
    layout_intent(d->job_id, key);
    return store_sync_delete(s, loop, key, err);
}

/* ---- Accepting ---- */

struct accepting {
    store *store;
    store_loop *loop;
    struct deletion d;    /* what is asked for; then what the intent says */
    struct deletion says; /* the intent */
    enum acceptance how;
    struct amend *amend; /* under way */
    /* A tombstone that had an end was changed: whoever removes it at its end may have looked
     * before. Once the intent stands nobody does any more, and it is looked for again. */
    bool look_again, looking_again;
    char etag[STORE_ETAG_SIZE]; /* the intent's */
    accepted_fn *done;
    void *user;
};

bool deletion_merge(struct deletion *open, const struct deletion *d, int64_t now_s)
{
    bool changed = false;
    if (!deletion_is_fenced(d) && !d->dry_run && now_s > open->accepted_at_s) {
        /* Nothing kept new files away since: it is asked for those, too. */
        open->accepted_at_s = now_s;
        memcpy(open->event_id, d->event_id, sizeof(open->event_id));
        memcpy(open->event_source, d->event_source, sizeof(open->event_source));
        memcpy(open->traceparent, d->traceparent, sizeof(open->traceparent));
        changed = true;
    }
    if (open->not_before_s && d->not_before_s < open->not_before_s) {
        open->not_before_s = d->not_before_s;
        changed = true;
    }
    int64_t by_s = later_expiry(open->tokens_expire_by_s, d->tokens_expire_by_s);
    if (by_s != open->tokens_expire_by_s) {
        open->tokens_expire_by_s = by_s;
        changed = true;
    }
    if (open->state == DELETION_FAILED || open->state == DELETION_CANCELLED) {
        open->state = DELETION_OPEN;
        open->note[0] = '\0';
        changed = true;
    }
    return changed;
}

static enum amend_verdict accept_intent(void *user, const struct amend_seen *seen,
                                        struct buf *fresh, struct store_err *err)
{
    struct accepting *a = user;
    struct store_err unreadable;
    a->says = a->d;
    a->how = ACCEPTED_NEW;
    if (!deletion_is_fenced(&a->d) && seen->server_time_s == 0) {
        store_err_set(err, STORE_FAILED, "intent %.80s: the store tells no time", a->d.job_id);
        return AMEND_FAIL;
    }
    if (!deletion_is_fenced(&a->d))
        a->says.accepted_at_s = seen->server_time_s;
    /* One that cannot be read, or is another job's, is written anew: the tombstone came first. */
    struct deletion open;
    if (!seen->text || deletion_from_json(seen->text, seen->len, &open, &unreadable) != 0 ||
        !is_of(&open, a->d.job_id))
        return put_intent(&a->says, fresh, err);
    if (deletion_is_closing(&open) || open.state == DELETION_REAPING) {
        store_err_set(err, STORE_BUSY, "deletion %.80s is %s", a->d.job_id,
                      deletion_state_name(open.state));
        return AMEND_FAIL;
    }
    bool changed = deletion_merge(&open, &a->d, seen->server_time_s);
    a->how = changed ? ACCEPTED_MERGED : ACCEPTED_KNOWN;
    a->says = open;
    return changed ? put_intent(&open, fresh, err) : AMEND_KEEP;
}

static void end(struct accepting *a, const struct store_err *err, const char *etag)
{
    a->done(a->user, err, a->how, &a->says, etag);
    free(a);
}

static int begin_tombstone(struct accepting *a, struct store_err *err);

static void intent_done(void *user, const struct store_err *err, const struct amend_result *r)
{
    struct accepting *a = user;
    struct store_err why = *err;
    memcpy(a->etag, r->etag, sizeof(a->etag));
    a->looking_again = why.code == STORE_OK && a->look_again;
    if (!a->looking_again || begin_tombstone(a, &why) != 0)
        end(a, &why, why.code == STORE_OK ? a->etag : "");
}

static int begin_intent(struct accepting *a, struct store_err *err)
{
    char key[LAYOUT_KEY_SIZE];
    const struct amend_conf conf = {
        .key = key,
        .max_bytes = INTENT_MAX_BYTES,
        /* Without a tombstone the answer to a read tells the store's time. */
        .expect_none = deletion_is_fenced(&a->d),
        .change = accept_intent,
        .done = intent_done,
        .user = a,
    };
    layout_intent(a->d.job_id, key);
    a->amend = amend_start(a->store, a->loop, &conf, err);
    return a->amend ? 0 : -1;
}

static enum amend_verdict accept_tombstone(void *user, const struct amend_seen *seen,
                                           struct buf *fresh, struct store_err *err)
{
    struct accepting *a = user;
    return change_tombstone(&a->d, seen, fresh, &a->look_again, err);
}

static void tombstone_done(void *user, const struct store_err *err, const struct amend_result *r)
{
    struct accepting *a = user;
    struct store_err why = *err;
    if (a->looking_again) {
        end(a, err, err->code == STORE_OK ? a->etag : "");
        return;
    }
    if (why.code == STORE_OK && r->server_time_s == 0)
        store_err_set(&why, STORE_FAILED, "tombstone of %.80s: the store tells no time",
                      a->d.job_id);
    /* The clock comes in whole seconds, cut off. */
    if (why.code == STORE_OK)
        a->d.accepted_at_s = r->server_time_s + 1;
    if (why.code != STORE_OK || begin_intent(a, &why) != 0)
        end(a, &why, "");
}

static int begin_tombstone(struct accepting *a, struct store_err *err)
{
    char key[LAYOUT_KEY_SIZE];
    const struct amend_conf conf = {
        .key = key,
        .max_bytes = TOMBSTONE_MAX_BYTES,
        .expect_none = true,
        .change = accept_tombstone,
        .done = tombstone_done,
        .user = a,
    };
    layout_tombstone(&a->d.scope, a->d.upto_gen, key);
    a->amend = amend_start(a->store, a->loop, &conf, err);
    return a->amend ? 0 : -1;
}

struct accepting *deletion_accept_start(store *s, store_loop *loop, const struct deletion *d,
                                        accepted_fn *done, void *user, struct store_err *err)
{
    struct accepting *a = xcalloc(1, sizeof(*a));
    a->store = s;
    a->loop = loop;
    a->d = *d;
    if (d->state != DELETION_HELD)
        a->d.state = DELETION_OPEN;
    a->done = done;
    a->user = user;
    if ((deletion_is_fenced(d) ? begin_tombstone : begin_intent)(a, err) == 0)
        return a;
    free(a);
    return NULL;
}

void deletion_accept_cancel(struct accepting *a)
{
    amend_cancel(a->amend);
    free(a);
}

struct accept_wait {
    bool over;
    struct store_err err;
    enum acceptance how;
    struct deletion d;
    char etag[STORE_ETAG_SIZE];
};

static void accept_wait_done(void *user, const struct store_err *err, enum acceptance how,
                             const struct deletion *d, const char *etag)
{
    struct accept_wait *w = user;
    w->over = true;
    w->err = *err;
    w->how = how;
    w->d = *d;
    snprintf(w->etag, sizeof(w->etag), "%s", etag);
}

int deletion_accept(store *s, store_loop *loop, struct deletion *d, enum acceptance *how,
                    char *etag, struct store_err *err)
{
    struct accept_wait w = {.over = false};
    if (!deletion_accept_start(s, loop, d, accept_wait_done, &w, err))
        return -1;
    while (!w.over) {
        /* Only an invalid epoll descriptor makes a round fail: a bug of ours. */
        int rc = store_loop_run(loop, -1, NULL);
        assert(rc == 0);
        (void)rc;
    }
    *err = w.err;
    if (w.err.code != STORE_OK)
        return -1;
    *d = w.d;
    *how = w.how;
    if (etag)
        memcpy(etag, w.etag, sizeof(w.etag));
    return 0;
}

/* ---- Sweep ---- */

/* What is not older stays. 0: there is no bound. */
static int64_t modified_before_s(const struct deletion *d, enum sweep sweep)
{
    if (d->dry_run || deletion_is_fenced(d))
        return 0;
    return sweep == SWEEP_FIRST ? d->accepted_at_s + 1 : d->accepted_at_s - 1;
}

static void sweep_opts(const struct deletion *d, const struct sweep_how *how,
                       char prefix[LAYOUT_KEY_SIZE], char bound[LAYOUT_KEY_SIZE],
                       struct store_delete_prefix_opts *opts)
{
    *opts = (struct store_delete_prefix_opts){
        .cursor = how->cursor && *how->cursor ? how->cursor : NULL,
        .modified_before_s = modified_before_s(d, how->sweep),
        .versions = how->versions,
        .uploads = how->uploads,
        .dry_run = d->dry_run,
        .batches_in_flight = how->batches,
        .yielding = true,
    };
    layout_scope(&d->scope, prefix);
    if (d->scope.kind == SCOPE_ENDPOINT &&
        layout_end_before(&d->scope, d->has_upto_gen ? d->upto_gen : 0, bound))
        opts->end_before = bound;
}

store_op *deletion_sweep_start(store *s, store_loop *loop, const struct deletion *d,
                               const struct sweep_how *how, const struct store_delete_prefix_cb *cb,
                               void *user, struct store_err *err)
{
    char prefix[LAYOUT_KEY_SIZE], bound[LAYOUT_KEY_SIZE];
    struct store_delete_prefix_opts opts;
    sweep_opts(d, how, prefix, bound, &opts);
    return store_delete_prefix(s, loop, prefix, &opts, cb, user, err);
}

struct waiting_sweep {
    bool (*progress)(void *user, const struct store_progress *p);
    void *user;
    struct store_progress *end;
    struct store_err *err;
    bool done;
};

static bool waiting_progress(void *user, const struct store_progress *p)
{
    struct waiting_sweep *w = user;
    return w->progress ? w->progress(w->user, p) : true;
}

static void waiting_done(void *user, const struct store_err *err, const struct store_progress *p)
{
    struct waiting_sweep *w = user;
    *w->err = *err;
    *w->end = *p;
    w->end->cursor = "";
    w->done = true;
}

int deletion_sweep(store *s, store_loop *loop, const struct deletion *d,
                   const struct sweep_how *how,
                   bool (*progress)(void *user, const struct store_progress *p), void *user,
                   struct store_progress *end, struct store_err *err)
{
    static const struct store_delete_prefix_cb cb = {waiting_progress, waiting_done};
    struct waiting_sweep w = {.progress = progress, .user = user, .end = end, .err = err};
    *end = (struct store_progress){0};
    store_op *op = deletion_sweep_start(s, loop, d, how, &cb, &w, err);
    if (!op)
        return -1;
    bool given_up = false;
    while (!w.done) {
        /* Only an invalid epoll descriptor makes a round fail: a bug of ours. */
        int rc = store_loop_run(loop, how->give_up ? GIVE_UP_ROUND_MS : -1, NULL);
        assert(rc == 0);
        (void)rc;
        if (!w.done && !given_up && how->give_up && how->give_up(user)) {
            store_op_cancel(op);
            given_up = true;
        }
    }
    return err->code == STORE_OK ? 0 : -1;
}
