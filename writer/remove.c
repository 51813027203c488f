/* Deletions over HTTP. A scope's: (guard) → accept (tombstone, intent) → look how large it is →
 * sweep → note the counts in the intent → answer; the janitor finds the intent, verifies and
 * completes.
 *
 * The work is detached from the request: what is half accepted is accepted, also when nobody waits
 * for it any more, while looking and sweeping stop then, since the janitor goes on with them. All
 * of it runs on the request's loop. What is more than a page of files is swept through another
 * handle of the store (writer->large), and only so many at a time: so no tombstone, upload or small
 * deletion waits behind it for a connection or an I/O thread. */
#include <jansson.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "epufs/intent.h"
#include "epufs/mass_guard.h"
#include "writer/writer.h"

/* ---- A file ---- */

struct file_removal {
    struct request *rq; /* NULL: the request is over */
    store_op *op;
};

static void file_release(struct file_removal *f)
{
    if (!f->rq && !f->op)
        free(f);
}

static void file_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct file_removal *f = user;
    (void)info;
    f->op = NULL;
    if (f->rq && err->code == STORE_OK)
        request_json(f->rq, 200, "{}\n", 3);
    else if (f->rq)
        request_fail_store(f->rq, err);
    file_release(f);
}

static void file_end(struct request *rq)
{
    struct file_removal *f = rq->state;
    f->rq = NULL; /* the removal itself goes on */
    file_release(f);
}

static const struct request_ops file_ops = {.end = file_end};

void remove_file_begin(struct request *rq)
{
    uint64_t gen;
    char key[LAYOUT_KEY_SIZE];
    struct store_err err;
    if (!request_may_use_files(rq, &gen))
        return;
    struct file_removal *f = xcalloc(1, sizeof(*f));
    f->rq = rq;
    rq->state = f;
    rq->ops = &file_ops;
    layout_file(&rq->route.scope, gen, rq->route.path, key);
    f->op = store_delete(rq->files, rq->worker->loop, key, 0, file_done, f, &err);
    if (!f->op)
        request_fail_store(rq, &err);
}

/* ---- A scope ---- */

enum {
    SMALL_FILES = STORE_MAX_BATCH, /* one listing and one batch */
    BUSY_PAUSE_MS = 100,
    TURN_PAUSE_MS = 50,
    NOTE_TIMEOUT_MS = 2000,
    END_TIMEOUT_MS = 5000, /* for what is half accepted when the program ends */
};

/* Belongs to its worker's thread. While it lives exactly one of guard, accepting, listing, sweep,
 * noting and pause is at work. */
struct removal {
    struct request *rq; /* NULL: nobody waits for the answer */
    struct worker *worker;
    struct removal *next, *prev; /* of this worker */
    char request_id[64];
    struct deletion d;
    struct mass_guard_conf guard_conf;
    bool accepted;
    bool large;    /* more than SMALL_FILES */
    bool has_turn; /* counted in n_large */
    bool swept;    /* all of it */
    bool unwanted; /* looking and sweeping are to stop */
    bool ending;   /* nor any other one */
    struct deletion_counts counts;
    struct store_err err; /* of the last step */

    struct mass_guard_check *guard;
    struct accepting *accepting;
    store_op *listing, *sweep;
    struct amend *noting;
    struct loop_timer pause;    /* before another try to be accepted, or to get a turn */
    struct loop_timer patience; /* delete_timeout */
};

/* All workers together. */
static atomic_uint n_removals, n_large;

static bool take_one_of(atomic_uint *n, uint64_t max)
{
    if (atomic_fetch_add(n, 1) < max)
        return true;
    atomic_fetch_sub(n, 1);
    return false;
}

static const struct writer_conf *conf_of(const struct removal *m)
{
    return m->worker->service->conf;
}

/* ---- Metrics ---- */

enum outcome { SWEPT, ACCEPTED, FAILED, REFUSED, OUTCOMES };
static const char *const outcome_names[OUTCOMES] = {"swept", "accepted", "failed", "refused"};
static struct metric outcomes[OUTCOMES];

static double read_count(void *user)
{
    return atomic_load((atomic_uint *)user);
}

void remove_metrics_register(void)
{
    static const char *const labels[OUTCOMES] = {"result=\"swept\"", "result=\"accepted\"",
                                                 "result=\"failed\"", "result=\"refused\""};
    for (int i = 0; i < OUTCOMES; i++) {
        outcomes[i] = (struct metric){
            .name = "epufs_http_deletions_total",
            .labels = labels[i],
            .help = "Deletions of scopes over HTTP: swept at once; accepted, and the janitor does "
                    "the rest; failed; refused, since max_deletions were under way.",
            .type = METRIC_COUNTER,
        };
        metric_register(&outcomes[i]);
    }
    metric_register_fn("epufs_http_deletions_in_flight", "Deletions of scopes over HTTP under way.",
                       read_count, &n_removals);
    metric_register_fn("epufs_http_large_sweeps_in_flight",
                       "Of these, those that sweep more than 1000 files.", read_count, &n_large);
}

/* ---- The end ---- */

static enum outcome outcome_of(const struct removal *m)
{
    return m->swept ? SWEPT : m->accepted ? ACCEPTED : FAILED;
}

static void audit(const struct removal *m)
{
    char path[SCOPE_PATH_SIZE];
    scope_path(&m->d.scope, path);
    log_info("audit: deletion over HTTP", LOG_S("scope", path), LOG_S("job", m->d.job_id),
             LOG_B("has_upto_gen", m->d.has_upto_gen), LOG_U("upto_gen", m->d.upto_gen),
             LOG_B("accepted", m->accepted), LOG_S("result", outcome_names[outcome_of(m)]),
             LOG_U("files", m->counts.files), LOG_U("bytes", m->counts.bytes),
             LOG_S("request_id", m->request_id), LOG_S("error", m->err.code ? m->err.msg : NULL));
}

static void give_turn_back(struct removal *m)
{
    if (m->has_turn)
        atomic_fetch_sub(&n_large, 1);
    m->has_turn = false;
}

/* The request, to be answered now; NULL: it is over, or was answered. */
static struct request *take_request(struct removal *m)
{
    struct request *rq = m->rq;
    if (rq)
        rq->state = NULL;
    m->rq = NULL;
    return rq;
}

static void finish(struct removal *m)
{
    audit(m);
    metric_add(&outcomes[outcome_of(m)], 1);
    take_request(m);
    loop_timer_clear(m->worker->loop, &m->pause);
    loop_timer_clear(m->worker->loop, &m->patience);
    give_turn_back(m);
    atomic_fetch_sub(&n_removals, 1);
    if (m->prev)
        m->prev->next = m->next;
    else
        m->worker->state = m->next;
    if (m->next)
        m->next->prev = m->prev;
    free(m);
}

/* ---- Answers ---- */

static json_t *describe(const struct deletion *d)
{
    json_t *o = json_object();
    json_object_set_new(o, "tenant", json_string(d->scope.tenant));
    if (d->scope.kind != SCOPE_TENANT)
        json_object_set_new(o, "timeline", json_string(d->scope.timeline));
    if (d->scope.kind == SCOPE_ENDPOINT)
        json_object_set_new(o, "endpoint", json_string(d->scope.endpoint));
    return o;
}

static void reply(struct request *rq, int status, json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT);
    if (text)
        request_json(rq, status, text, strlen(text));
    else
        request_fail(rq, 503, "out of memory");
    free(text);
    json_decref(o);
}

static void reply_swept(struct request *rq, const struct removal *m)
{
    json_t *o = describe(&m->d);
    json_object_set_new(o, "deleted",
                        json_pack("{s:I,s:I}", "files", (json_int_t)m->counts.files, "bytes",
                                  (json_int_t)m->counts.bytes));
    json_object_set_new(o, "job_id", json_string(m->d.job_id));
    reply(rq, 200, o);
}

/* An operator may have wanted it to wait before we came, or the guard does. */
static void reply_accepted(struct request *rq, const struct removal *m)
{
    json_t *o = describe(&m->d);
    const char *state = m->d.state == DELETION_OPEN ? "accepted" : deletion_state_name(m->d.state);
    json_object_set_new(o, "job_id", json_string(m->d.job_id));
    json_object_set_new(o, "state", json_string(state));
    if (*m->d.note)
        intent_put_text(o, "note", m->d.note);
    reply(rq, 202, o);
}

static void answer(struct removal *m)
{
    struct request *rq = take_request(m);
    if (!rq)
        return;
    if (m->swept)
        reply_swept(rq, m);
    else if (m->accepted)
        reply_accepted(rq, m);
    else
        request_fail_store(rq, &m->err);
}

static void answer_and_finish(struct removal *m)
{
    answer(m);
    finish(m);
}

static void pause_before(struct removal *m, void (*next)(void *user), uint32_t pause_ms)
{
    m->pause = (struct loop_timer){.fn = next, .user = m};
    if (loop_timer_set(m->worker->loop, &m->pause, pause_ms) == 0)
        return;
    store_err_set(&m->err, STORE_NO_MEMORY, "deletion %.80s: out of memory", m->d.job_id);
    answer_and_finish(m);
}

/* ---- Note the counts ---- */

/* For the completion, which tells what all sweeps removed. */
static enum amend_verdict add_counts(void *user, const struct amend_seen *seen, struct buf *fresh,
                                     struct store_err *err)
{
    const struct removal *m = user;
    struct deletion d;
    struct store_err unreadable;
    if (!seen->text || deletion_from_json(seen->text, seen->len, &d, &unreadable) != 0 ||
        strcmp(d.job_id, m->d.job_id) != 0 || d.state == DELETION_CLOSING)
        return AMEND_KEEP; /* not ours to change */
    d.swept.files += m->counts.files;
    d.swept.bytes += m->counts.bytes;
    if (deletion_to_json(&d, fresh) == 0)
        return AMEND_WRITE;
    store_err_set(err, STORE_NO_MEMORY, "intent %.80s: out of memory", m->d.job_id);
    return AMEND_FAIL;
}

static void note_done(void *user, const struct store_err *err, const struct amend_result *r)
{
    struct removal *m = user;
    (void)r;
    m->noting = NULL;
    if (err->code != STORE_OK)
        log_warn("the completion will not tell of the first sweep", LOG_S("job", m->d.job_id),
                 LOG_U("files", m->counts.files), LOG_ERR(err));
    answer_and_finish(m);
}

static void start_note(struct removal *m)
{
    char key[LAYOUT_KEY_SIZE];
    struct store_err err;
    const struct amend_conf conf = {
        .key = key,
        .max_bytes = INTENT_MAX_BYTES,
        .timeout_ms = NOTE_TIMEOUT_MS,
        .change = add_counts,
        .done = note_done,
        .user = m,
    };
    layout_intent(m->d.job_id, key);
    m->noting = amend_start(m->worker->service->store, m->worker->loop, &conf, &err);
    if (!m->noting)
        note_done(m, &err, NULL);
}

/* ---- Sweep ---- */

static void broke_off(struct removal *m, const struct store_err *err)
{
    if (m->unwanted)
        return; /* as we wanted it */
    log_warn("sweep broke off, the janitor goes on", LOG_S("job", m->d.job_id), LOG_ERR(err));
    m->err = *err;
}

static void sweep_done(void *user, const struct store_err *err, const struct store_progress *p)
{
    struct removal *m = user;
    m->sweep = NULL;
    m->swept = err->code == STORE_OK;
    m->counts = (struct deletion_counts){p->objects, p->bytes};
    if (!m->swept)
        broke_off(m, err);
    give_turn_back(m);
    loop_timer_clear(m->worker->loop, &m->patience);
    if (m->counts.files && !m->ending)
        start_note(m);
    else
        answer_and_finish(m);
}

static void start_sweep(void *user)
{
    static const struct store_delete_prefix_cb cb = {.done = sweep_done};
    static const struct sweep_how first = {.sweep = SWEEP_FIRST};
    struct removal *m = user;
    struct service *s = m->worker->service;
    struct store_err err;
    const struct store_progress none = {.cursor = ""};
    if (m->large && !m->has_turn) {
        m->has_turn = take_one_of(&n_large, conf_of(m)->max_sweeps);
        if (!m->has_turn) {
            pause_before(m, start_sweep, TURN_PAUSE_MS);
            return;
        }
    }
    m->sweep = deletion_sweep_start(m->large ? writer_of(s)->large : s->store, m->worker->loop,
                                    &m->d, &first, &cb, m, &err);
    if (!m->sweep)
        sweep_done(m, &err, &none);
}

/* ---- Look ---- */

static void listing_page(void *user, const struct store_page *page)
{
    struct removal *m = user;
    m->large = page->next_token != NULL;
}

static void listing_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct removal *m = user;
    (void)info;
    m->listing = NULL;
    if (err->code != STORE_OK)
        broke_off(m, err);
    if (err->code != STORE_OK || m->unwanted)
        answer_and_finish(m);
    else
        start_sweep(m);
}

/* Newer generations of an endpoint count, too: then it takes its turn with the large ones. */
static void start_look(struct removal *m)
{
    static const struct store_list_opts opts = {.max = SMALL_FILES};
    static const struct store_list_cb cb = {listing_page, listing_done};
    char prefix[LAYOUT_KEY_SIZE];
    struct store_err err;
    const struct store_info none = {0};
    layout_scope(&m->d.scope, prefix);
    m->listing =
        store_list(m->worker->service->store, m->worker->loop, prefix, &opts, &cb, m, &err);
    if (!m->listing)
        listing_done(m, &err, &none);
}

/* ---- Accept ---- */

static void start_guard(void *user);

static void not_accepted(struct removal *m, const struct store_err *err)
{
    m->err = *err;
    /* Just closing, or changed by others all the time. */
    if (err->code == STORE_BUSY && loop_timer_is_set(&m->patience) && !m->ending)
        pause_before(m, start_guard, BUSY_PAUSE_MS);
    else
        answer_and_finish(m);
}

static void accepted(void *user, const struct store_err *err, enum acceptance how,
                     const struct deletion *d, const char *etag)
{
    struct removal *m = user;
    (void)how;
    (void)etag;
    m->accepting = NULL;
    if (err->code != STORE_OK) {
        not_accepted(m, err);
        return;
    }
    m->accepted = true;
    m->err = *err;
    m->d = *d;
    /* One that is held is not swept either. */
    if (!m->rq || d->state != DELETION_OPEN)
        answer_and_finish(m);
    else
        start_look(m);
}

static void start_accept(struct removal *m)
{
    struct store_err err;
    m->accepting =
        deletion_accept_start(m->worker->service->store, m->worker->loop, &m->d, accepted, m, &err);
    if (!m->accepting)
        not_accepted(m, &err);
}

/* ---- The guard ---- */

static void guard_done(void *user, const struct store_err *err, bool hold)
{
    struct removal *m = user;
    m->guard = NULL;
    if (hold)
        mass_guard_hold(&m->guard_conf, &m->d);
    if (err->code != STORE_OK)
        not_accepted(m, err);
    else
        start_accept(m);
}

static void start_guard(void *user)
{
    struct removal *m = user;
    struct store_err err;
    if (!mass_guard_minds(&m->guard_conf, &m->d)) {
        start_accept(m);
        return;
    }
    m->d.state = DELETION_OPEN; /* it may let through what it wanted to hold a moment ago */
    m->d.note[0] = '\0';
    m->guard = mass_guard_start(m->worker->service->store, m->worker->loop, &m->guard_conf,
                                m->d.scope.tenant, guard_done, m, &err);
    if (!m->guard)
        not_accepted(m, &err);
}

/* ---- Nobody waits any longer ---- */

/* A promise half made goes on; looking and sweeping do not. */
static void stop_sweeping(struct removal *m)
{
    m->unwanted = true;
    if (m->listing)
        store_op_cancel(m->listing);
    else if (m->sweep)
        store_op_cancel(m->sweep);
    else if (m->accepted && loop_timer_is_set(&m->pause))
        answer_and_finish(m);
}

static void on_patience_end(void *user)
{
    struct removal *m = user;
    struct request *rq;
    if (m->accepted) {
        answer(m);
        stop_sweeping(m);
        return;
    }
    rq = take_request(m);
    if (rq)
        request_fail(rq, 503,
                     "the deletion could not be accepted within delete_timeout, and may be yet: "
                     "repeat it");
    if (loop_timer_is_set(&m->pause)) /* it was busy each time */
        finish(m);
}

static void scope_end(struct request *rq)
{
    struct removal *m = rq->state;
    if (!m)
        return;
    take_request(m);
    stop_sweeping(m);
}

static const struct request_ops scope_ops = {.end = scope_end};

/* What could not end in time. Listings and sweeps end when their loop is freed. */
static void cut_off(struct removal *m)
{
    m->ending = true;
    if (m->guard)
        mass_guard_cancel(m->guard);
    if (m->accepting)
        deletion_accept_cancel(m->accepting);
    if (m->noting)
        amend_cancel(m->noting);
    if (!m->listing && !m->sweep)
        finish(m);
}

void remove_worker_end(struct worker *w)
{
    struct removal *next;
    uint64_t give_up_ms = clock_mono_ms() + END_TIMEOUT_MS;
    for (struct removal *m = w->state; m; m = next) {
        next = m->next;
        stop_sweeping(m);
    }
    while (w->state && clock_mono_ms() < give_up_ms &&
           loop_run_once(w->loop, BUSY_PAUSE_MS, NULL) == 0)
        ;
    for (struct removal *m = w->state; m; m = next) {
        next = m->next;
        cut_off(m);
    }
}

/* ---- Begin ---- */

static void take_traceparent(struct deletion *d, const char *value)
{
    size_t n = value ? strlen(value) : 0;
    if (n > 0 && n < sizeof(d->traceparent) && strspn(value, "0123456789abcdef-") == n)
        memcpy(d->traceparent, value, n + 1);
}

static struct removal *removal_new(struct request *rq, bool has_gen, uint64_t gen)
{
    const struct writer_conf *c = writer_conf(rq);
    struct removal *m = xcalloc(1, sizeof(*m)), *first = rq->worker->state;
    struct deletion *d = &m->d;
    d->scope = rq->route.scope;
    d->has_upto_gen = has_gen;
    d->upto_gen = has_gen ? gen : 0;
    d->requested_at_s = clock_real_s();
    strcpy(d->reason, "http");
    take_traceparent(d, http_header(rq->http, "traceparent"));
    deletion_set_job_id(d);
    m->rq = rq;
    m->worker = rq->worker;
    memcpy(m->request_id, rq->id, sizeof(m->request_id));
    m->guard_conf =
        (struct mass_guard_conf){c->guard_tenants, (uint32_t)(c->guard_window_ms / 1000)};
    m->patience = (struct loop_timer){.fn = on_patience_end, .user = m};
    m->next = first;
    if (first)
        first->prev = m;
    m->worker->state = m;
    rq->state = m;
    rq->ops = &scope_ops;
    return m;
}

void remove_scope_begin(struct request *rq)
{
    const struct writer_conf *c = writer_conf(rq);
    bool has_gen;
    uint64_t gen;
    if (!request_may_delete(rq, &has_gen, &gen))
        return;
    if (!take_one_of(&n_removals, c->max_deletions)) {
        metric_add(&outcomes[REFUSED], 1);
        request_fail(rq, 503, "too many deletions are under way (max_deletions)");
        return;
    }
    struct removal *m = removal_new(rq, has_gen, gen);
    if (loop_timer_set(rq->worker->loop, &m->patience, c->delete_timeout_ms) == 0) {
        start_guard(m);
        return;
    }
    store_err_set(&m->err, STORE_NO_MEMORY, "deletion %.80s: out of memory", m->d.job_id);
    answer_and_finish(m);
}
