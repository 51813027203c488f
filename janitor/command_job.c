/* `janitor show`, and the commands by which a person decides what is to become of a deletion. Each
 * changes the intent, on condition that it still is what was read; the janitor that has the job
 * finds the change at its next scan. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "epufs/intent.h"
#include "janitor/intents.h"
#include "janitor/jobs.h"

enum { PUBLISH_TIMEOUT_MS = 10000 };

/* ---- Show ---- */

static json_t *record_json(const struct view *v)
{
    const struct ledger_job *r = &v->r;
    json_t *o = json_object();
    if (!v->has_record) {
        json_decref(o);
        return json_null();
    }
    intent_put_text(o, "state", r->state);
    intent_put_text(o, "owner", r->owner);
    intent_put(o, "lease_ms_left", json_integer(r->lease_ms_left));
    intent_put(o, "files", json_integer((json_int_t)r->files));
    intent_put(o, "bytes", json_integer((json_int_t)r->bytes));
    intent_put(o, "attempts", json_integer(r->attempts));
    intent_put_text(o, "cursor", r->cursor);
    intent_put_time(o, "started_at", r->started_at_s);
    intent_put_time(o, "updated_at", r->updated_at_s);
    intent_put_time(o, "done_at", r->done_at_s);
    intent_put_text(o, "error", r->error);
    return o;
}

static json_t *intent_json(const struct view *v)
{
    struct buf text = BUF_INIT(INTENT_MAX_BYTES);
    json_t *o = NULL;
    if (v->intent == INTENT_READ && deletion_to_json(&v->d, &text) == 0)
        o = json_loadb(buf_str(&text), text.len, 0, NULL);
    buf_cleanup(&text);
    return o ? o : json_null();
}

static json_t *show_json(const struct call *call, const struct view *v, const struct sources *src)
{
    json_t *o = view_json(v, clock_real_s());
    intent_put(o, "intent", intent_json(v));
    intent_put(o, "record", record_json(v));
    intent_put(o, "store", sources_json(call, src, "store"));
    intent_put(o, "redis", sources_json(call, src, "redis"));
    return o;
}

/* "name:  value" for each that has one. */
static void print_fields(const json_t *o)
{
    const char *name;
    const json_t *value;
    char text[512];
    json_object_foreach((json_t *)o, name, value)
    {
        if (json_is_string(value) && *json_string_value(value))
            printf("  %-17s%s\n", name, view_clean(json_string_value(value), text, sizeof(text)));
        else if (json_is_integer(value))
            printf("  %-17s%lld\n", name, (long long)json_integer_value(value));
        else if (json_is_boolean(value))
            printf("  %-17s%s\n", name, json_is_true(value) ? "yes" : "no");
    }
}

static void show_text(const struct view *v, const struct sources *src)
{
    char why[256];
    json_t *parts[] = {intent_json(v), record_json(v)};
    printf("%s  %s\n", v->job_id, view_state(v, clock_real_s()));
    if (v->intent == INTENT_READ)
        printf("Intent, in the store\n");
    else
        printf("Intent: %s\n", v->intent == INTENT_UNREADABLE ? view_clean(v->why, why, sizeof(why))
                               : v->intent == INTENT_NONE     ? "none, the deletion is over"
                                                              : "the store does not answer");
    print_fields(parts[0]);
    printf(v->has_record ? "Progress, in Redis\n" : "Progress: %s\n",
           src->redis_up ? "Redis has no record of it" : "not known without Redis");
    print_fields(parts[1]);
    for (size_t i = 0; i < LEN(parts); i++)
        json_decref(parts[i]);
}

int command_show(struct call *call)
{
    char prefix[JOB_ID_SIZE];
    struct sources src;
    struct store_err err;
    if (jobs_parse_id(call->args[0], prefix, &err) != 0)
        return command_misused(call, &err);
    struct view *v = xcalloc(1, sizeof(*v));
    int rc = jobs_find(call, prefix, v, &src, &err);
    if (rc == 0 && call->own->json)
        command_print(show_json(call, v, &src));
    else if (rc == 0)
        show_text(v, &src);
    free(v);
    if (rc != 0)
        return command_failed(call, &err);
    sources_warn(call, &src);
    return sources_complete(&src) ? COMMAND_DONE : COMMAND_DEGRADED;
}

/* ---- Changes ---- */

/* What a command makes of a deletion. */
struct change {
    const char *verb;         /* "retry" */
    enum deletion_state from; /* the one state that it is for, unless any */
    bool any;                 /* every state but closing */
    enum deletion_state to;
    const char *then; /* what happens next */
};

static const struct change change_retry = {"retry", DELETION_FAILED, false, DELETION_OPEN,
                                           "it is tried again"};
static const struct change change_hold = {
    "hold", DELETION_OPEN, false, DELETION_HELD,
    "it waits, unless it is completed before; uploads stay refused"};
static const struct change change_release = {"release", DELETION_HELD, false, DELETION_OPEN,
                                             "it goes on"};
static const struct change change_cancel = {
    "cancel", DELETION_OPEN, true, DELETION_CANCELLED,
    "no more is removed, `cancelled` is published; uploads stay refused"};

struct changing {
    const struct change *change;
    const char *note;
    struct deletion d; /* as it was; after the change as it is */
    enum deletion_state was;
    bool may; /* it was in the right state, or is what is wanted already */
};

/* Called anew for each try. */
static bool change_state(void *user, struct deletion *d)
{
    struct changing *c = user;
    const struct change *how = c->change;
    bool is_so = d->state == how->to && (how->any || how->to == DELETION_HELD);
    c->was = d->state;
    bool ends = deletion_is_closing(d) || d->state == DELETION_REAPING;
    c->may = is_so || (how->any ? !ends : d->state == how->from);
    bool changes = c->may && !is_so;
    if (changes) {
        d->state = how->to;
        text_copy(d->note, sizeof(d->note), c->note);
    }
    c->d = *d;
    return changes;
}

/* Returns 0, or -1 with STORE_NOT_FOUND (it has ended), STORE_PRECONDITION (another state), or why
 * the store did not do it. */
static int change_job(struct call *call, const char *job_id, struct changing *c,
                      struct store_err *err)
{
    bool found;
    if (deletion_change_intent(call->janitor.store, call->loop, job_id, change_state, c, &found,
                               NULL, err) != 0)
        return -1;
    if (!found)
        return store_err_set(err, STORE_NOT_FOUND,
                             "deletion %.10s is over: there is no intent of it any more", job_id);
    if (c->may)
        return 0;
    return store_err_set(err, STORE_PRECONDITION, "deletion %.10s is %s; %s expects one that is %s",
                         job_id, deletion_state_name(c->was), c->change->verb,
                         c->change->any ? "open, held or failed"
                                        : deletion_state_name(c->change->from));
}

static json_t *changed_json(const struct call *call, const struct changing *c)
{
    char path[SCOPE_PATH_SIZE];
    json_t *o = json_object();
    scope_path(&c->d.scope, path);
    intent_put_text(o, "job_id", c->d.job_id);
    intent_put_text(o, "scope", path);
    intent_put_text(o, "was", deletion_state_name(c->was));
    intent_put_text(o, "state", deletion_state_name(c->d.state));
    intent_put_text(o, "note", c->d.note);
    intent_put(o, "noticed_within_ms",
               json_integer((json_int_t)call->conf->intent_scan_interval_ms));
    return o;
}

static void print_changed(const struct call *call, const struct changing *c)
{
    char path[SCOPE_PATH_SIZE];
    scope_path(&c->d.scope, path);
    if (c->was == c->d.state)
        printf("%.10s  %s  was %s already\n", c->d.job_id, path, deletion_state_name(c->was));
    else
        printf("%.10s  %s  %s -> %s: %s. A janitor notices within %llus "
               "(intent_scan_interval)\n",
               c->d.job_id, path, deletion_state_name(c->was), deletion_state_name(c->d.state),
               c->change->then,
               (unsigned long long)(call->conf->intent_scan_interval_ms + 999) / 1000);
}

/* ---- One ---- */

/* The id of the one intent that the argument names. Only the store counts here: nothing can be
 * changed without it. */
struct matching {
    char job_id[JOB_ID_SIZE], other[JOB_ID_SIZE];
    size_t n;
};

static bool on_match(void *user, const struct intent_found *f)
{
    struct matching *m = user;
    text_copy(m->n == 0 ? m->job_id : m->other, JOB_ID_SIZE, f->job_id);
    return ++m->n < 2;
}

static int find_intent(struct call *call, const char *prefix, char job_id[JOB_ID_SIZE],
                       struct store_err *err)
{
    struct matching m = {.n = 0};
    if (intents_each(call->janitor.store, call->loop, prefix, 0, on_match, &m, err) != 0)
        return -1;
    if (m.n == 0)
        return store_err_set(err, STORE_NOT_FOUND,
                             "there is no open deletion '%s': the store has no such intent",
                             prefix);
    if (m.n > 1)
        return store_err_set(err, STORE_INVALID,
                             "'%s' is the beginning of several jobs, such as %.16s… and %.16s…; "
                             "expected more digits",
                             prefix, m.job_id, m.other);
    memcpy(job_id, m.job_id, JOB_ID_SIZE);
    return 0;
}

static int change_named(struct call *call, struct changing *c, struct store_err *err)
{
    char prefix[JOB_ID_SIZE], job_id[JOB_ID_SIZE];
    if (jobs_parse_id(call->args[0], prefix, err) != 0)
        return command_misused(call, err);
    if (find_intent(call, prefix, job_id, err) != 0 || change_job(call, job_id, c, err) != 0)
        return command_failed(call, err);
    return COMMAND_DONE;
}

static void print_result(const struct call *call, const struct changing *c)
{
    if (call->own->json)
        command_print(changed_json(call, c));
    else
        print_changed(call, c);
}

static int change_one(struct call *call, const struct change *how)
{
    struct changing c = {.change = how, .note = call->own->reason};
    struct store_err err;
    int rc = change_named(call, &c, &err);
    if (rc == COMMAND_DONE)
        print_result(call, &c);
    return rc;
}

/* ---- All ---- */

struct changing_all {
    struct call *call;
    const struct change *change;
    char tenant[ID_SIZE];
    size_t n;
    int rc;
};

static bool change_if_right(void *user, const struct intent_found *f)
{
    struct changing_all *all = user;
    struct changing c = {.change = all->change};
    struct store_err err;
    if (!f->d || f->d->state != all->change->from ||
        (*all->tenant && strcmp(f->d->scope.tenant, all->tenant) != 0))
        return true;
    if (change_job(all->call, f->job_id, &c, &err) == 0) {
        if (all->call->own->json)
            command_print_element(changed_json(all->call, &c), &all->n);
        else
            print_changed(all->call, &c), all->n++;
    } else if (err.code != STORE_NOT_FOUND && err.code != STORE_PRECONDITION) {
        all->rc = command_failed(all->call, &err);
    }
    return true;
}

static int change_all(struct call *call, const struct change *how)
{
    struct changing_all all = {.call = call, .change = how};
    const char *tenant = call->own->tenant;
    struct store_err err;
    if (tenant && !scope_parse_id(tenant, strlen(tenant), all.tenant)) {
        store_err_set(&err, STORE_INVALID, "--tenant: expected 32 hex digits");
        return command_misused(call, &err);
    }
    if (intents_each(call->janitor.store, call->loop, "", 0, change_if_right, &all, &err) != 0)
        all.rc = command_failed(call, &err);
    if (call->own->json)
        command_print_end(all.n, all.rc != COMMAND_DONE);
    else if (all.n == 0 && all.rc == COMMAND_DONE)
        printf("no deletion is %s\n", deletion_state_name(how->from));
    return all.rc;
}

static int change_one_or_all(struct call *call, const struct change *how)
{
    struct store_err err;
    if (call->own->all == (call->n_args == 0) && (call->own->all || !call->own->tenant))
        return call->own->all ? change_all(call, how) : change_one(call, how);
    store_err_set(&err, STORE_INVALID,
                  "expected either a JOB or --all, and --tenant only with --all");
    return command_misused(call, &err);
}

/* ---- The commands ---- */

int command_retry(struct call *call)
{
    return change_one_or_all(call, &change_retry);
}

int command_release(struct call *call)
{
    return change_one_or_all(call, &change_release);
}

int command_cancel(struct call *call)
{
    return change_one(call, &change_cancel);
}

/* Nobody else tells the control plane of it: a janitor does not know who held it, nor when. */
static int publish_held(struct call *call, const struct deletion *d, struct store_err *err)
{
    struct buf text = BUF_INIT(65536);
    struct ledger_job r = {0};
    if (ledger_get(call->janitor.ledger, d->job_id, &r) != LEDGER_OK)
        r = (struct ledger_job){0};
    const struct completion c = {
        .deletion = d,
        .outcome = "held",
        .error = *d->note ? d->note : NULL,
        .files = r.files + d->swept.files,
        .bytes = r.bytes + d->swept.bytes,
        .attempts = r.attempts,
        .started_at_s = r.started_at_s ? r.started_at_s : d->accepted_at_s,
        .completed_at_s = clock_real_s(),
        .source = call->janitor.source,
    };
    int rc = event_completion(&c, &text);
    if (rc != 0)
        rc = store_err_set(err, STORE_NO_MEMORY, "event: out of memory");
    else
        rc = publish_event(&call->janitor, QUEUE_COMPLETIONS, d->scope.tenant, &text,
                           PUBLISH_TIMEOUT_MS, err);
    buf_cleanup(&text);
    return rc;
}

int command_hold(struct call *call)
{
    struct changing c = {.change = &change_hold, .note = call->own->reason};
    struct store_err err, why;
    int rc = change_named(call, &c, &err);
    if (rc != COMMAND_DONE)
        return rc;
    print_result(call, &c);
    if (publish_held(call, &c.d, &why) == 0)
        return COMMAND_DONE;
    store_err_set(&err, why.code,
                  "deletion %.10s is held, but the event that tells so was not delivered: %.140s; "
                  "hold it once more to publish it",
                  c.d.job_id, why.msg);
    return command_failed(call, &err);
}
