/* `janitor delete`: publishes a deletion event, as the control plane does, and with --wait shows
 * the way to its completion. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/xalloc.h"
#include "epufs/intent.h"
#include "janitor/commands.h"
#include "janitor/view.h"

enum { PUBLISH_TIMEOUT_MS = 15000, LOOK_EVERY_MS = 200 };

/* ---- The event ---- */

static int take_scope(const struct command_conf *c, struct scope *s, struct store_err *err)
{
    *s = (struct scope){.kind = SCOPE_TENANT};
    if (!c->tenant || !scope_parse_id(c->tenant, strlen(c->tenant), s->tenant))
        return store_err_set(err, STORE_INVALID, "--tenant: expected 32 hex digits");
    if (c->timeline) {
        s->kind = SCOPE_TIMELINE;
        if (!scope_parse_id(c->timeline, strlen(c->timeline), s->timeline))
            return store_err_set(err, STORE_INVALID, "--timeline: expected 32 hex digits");
    }
    if (c->endpoint) {
        s->kind = SCOPE_ENDPOINT;
        if (!c->timeline || !scope_parse_endpoint(c->endpoint, strlen(c->endpoint), s->endpoint))
            return store_err_set(err, STORE_INVALID,
                                 "--endpoint: expected 1 to 63 letters, digits, '-' and '_', and "
                                 "--timeline with it");
    }
    return 0;
}

static int make_deletion(const struct command_conf *c, struct deletion *d, struct store_err *err)
{
    *d = (struct deletion){.dry_run = c->dry_run, .requested_at_s = clock_real_s()};
    if (take_scope(c, &d->scope, err) != 0)
        return -1;
    d->has_upto_gen = c->upto_gen != NULL;
    if (c->upto_gen && (d->scope.kind != SCOPE_ENDPOINT ||
                        !parse_u64(c->upto_gen, strlen(c->upto_gen), &d->upto_gen)))
        return store_err_set(err, STORE_INVALID,
                             "--upto_gen: expected an unsigned 64-bit number, and --endpoint");
    if (c->not_before && !clock_parse_rfc3339(c->not_before, &d->not_before_s))
        return store_err_set(err, STORE_INVALID,
                             "--not_before: expected RFC 3339, such as "
                             "2026-01-02T03:04:05Z");
    text_copy(d->reason, sizeof(d->reason), c->reason);
    deletion_set_job_id(d);
    return 0;
}

/* RFC 9562 version 4. */
static void make_uuid(char out[37])
{
    unsigned char b[16];
    char hex[33];
    if (getrandom(b, sizeof(b), 0) != sizeof(b))
        abort();
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    hex_encode(b, sizeof(b), hex);
    snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

static int publish(struct janitor *j, const struct deletion *d, const char *id,
                   struct store_err *err)
{
    struct buf text = BUF_INIT(65536);
    int rc = event_request(d, id, "/epufs/operator", &text);
    if (rc != 0)
        rc = store_err_set(err, STORE_NO_MEMORY, "event: out of memory");
    else
        rc = publish_event(j, QUEUE_DELETIONS, d->scope.tenant, &text, PUBLISH_TIMEOUT_MS, err);
    buf_cleanup(&text);
    return rc;
}

/* ---- Waiting ---- */

/* How it ended, or where it was left. */
enum outcome {
    OUTCOME_REQUESTED, /* nobody waited */
    OUTCOME_COMPLETED,
    OUTCOME_FAILED,
    OUTCOME_CANCELLED,
    OUTCOME_HELD,
    OUTCOME_OPEN, /* the time was over */
};

static const struct {
    const char *name;
    int rc;
} outcomes[] = {
    [OUTCOME_REQUESTED] = {"requested", COMMAND_DONE},
    [OUTCOME_COMPLETED] = {"completed", COMMAND_DONE},
    [OUTCOME_FAILED] = {"failed", COMMAND_FAILED},
    [OUTCOME_CANCELLED] = {"cancelled", COMMAND_WAITS},
    [OUTCOME_HELD] = {"held", COMMAND_WAITS},
    [OUTCOME_OPEN] = {"open", COMMAND_WAITS},
};

struct waiting {
    struct call *call;
    struct deletion asked;
    /* What the intent was before the event: a deletion that had failed is opened by it again, which
     * is seen by its etag. "": there was none. */
    char old_etag[STORE_ETAG_SIZE];
    bool seen; /* the intent, as the event left it */
    bool cancelled;
    struct view v;
    char last_state[LEDGER_STATE_SIZE];
    uint64_t began_ms;
};

/* One line that is written over, on a terminal; else a line for each change of state. */
static void show(struct waiting *w)
{
    static const char spinner[] = "|/-\\";
    static unsigned turn;
    char age[32];
    const struct ledger_job *r = &w->v.r;
    const char *state = view_state(&w->v, clock_real_s());
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%c %-10s %s  %llu files, %llu bytes removed\033[K", spinner[turn++ % 4],
                state, view_age((int64_t)((clock_mono_ms() - w->began_ms) / 1000), age),
                (unsigned long long)r->files, (unsigned long long)r->bytes);
    else if (strcmp(w->last_state, state) != 0)
        fprintf(stderr, "%s: %llu files, %llu bytes removed\n", state, (unsigned long long)r->files,
                (unsigned long long)r->bytes);
    text_copy(w->last_state, sizeof(w->last_state), state);
}

static enum outcome of_intent(struct waiting *w)
{
    /* It is over when it is gone. */
    w->cancelled = w->v.d.state == DELETION_CANCELLED || w->v.d.state == DELETION_WITHDRAWN;
    switch (w->v.d.state) {
    case DELETION_FAILED: return OUTCOME_FAILED;
    case DELETION_HELD: return OUTCOME_HELD;
    case DELETION_CANCELLED:
    case DELETION_OPEN:
    case DELETION_CLOSING:
    case DELETION_WITHDRAWN:
    case DELETION_REAPING: break;
    }
    return OUTCOME_OPEN;
}

/* The intent comes and goes; the ledger, where there is one, tells how far it is, and whether it is
 * done when we have missed both. */
static enum outcome look(struct waiting *w)
{
    struct call *call = w->call;
    struct view *v = &w->v;
    char etag[STORE_ETAG_SIZE] = "";
    struct store_err err;
    v->intent = deletion_read_intent(call->janitor.store, call->loop, v->job_id, &v->d, etag, &err);
    v->has_record = ledger_get(call->janitor.ledger, v->job_id, &v->r) == LEDGER_OK;
    bool done = v->has_record && strcmp(v->r.state, "done") == 0 &&
                v->r.done_at_s >= w->asked.requested_at_s;
    if (v->intent == INTENT_READ && (strcmp(etag, w->old_etag) != 0 ||
                                     v->d.state == DELETION_HELD || v->d.state == DELETION_OPEN)) {
        w->seen = true;
        enum outcome outcome = of_intent(w);
        if (outcome != OUTCOME_OPEN)
            return outcome;
    }
    if (v->intent != INTENT_NONE || !(w->seen || done))
        return OUTCOME_OPEN;
    bool cancelled = w->cancelled || (done && strncmp(v->r.error, "cancelled", 9) == 0);
    return cancelled ? OUTCOME_CANCELLED : OUTCOME_COMPLETED;
}

static enum outcome wait_for(struct waiting *w)
{
    static const struct timespec pause = {0, LOOK_EVERY_MS * 1000000};
    enum outcome outcome;
    w->began_ms = clock_mono_ms();
    uint64_t until_ms = w->began_ms + w->call->own->timeout_ms;
    while ((outcome = look(w)) == OUTCOME_OPEN && clock_mono_ms() < until_ms) {
        if (w->v.intent == INTENT_READ || w->v.has_record)
            show(w);
        nanosleep(&pause, NULL);
    }
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    return outcome;
}

/* ---- The whole ---- */

static void print_result(const struct waiting *w, const char *id, enum outcome outcome)
{
    char path[SCOPE_PATH_SIZE], note[256];
    const struct view *v = &w->v;
    const char *why = v->intent == INTENT_READ ? v->d.note : "", *state = outcomes[outcome].name;
    scope_path(&w->asked.scope, path);
    if (!w->call->own->json) {
        printf("%s: %s, job %s, event %s%s%s\n", state, path, v->job_id, id, *why ? ": " : "",
               view_clean(why, note, sizeof(note)));
        return;
    }
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:b,s:I,s:I}", "state", state, "scope", path, "job_id",
                          v->job_id, "event_id", id, "dry_run", (int)w->asked.dry_run, "files",
                          (json_int_t)v->r.files, "bytes", (json_int_t)v->r.bytes);
    intent_put_text(o, "note", why);
    command_print(o);
}

/* What is there before the event. */
static int look_before(struct waiting *w, struct store_err *err)
{
    struct call *call = w->call;
    enum intent_state found = deletion_read_intent(call->janitor.store, call->loop, w->v.job_id,
                                                   &w->v.d, w->old_etag, err);
    if (found == INTENT_FAILED)
        return -1;
    if (found != INTENT_READ)
        w->old_etag[0] = '\0';
    return 0;
}

int command_delete(struct call *call)
{
    struct waiting *w = xcalloc(1, sizeof(*w));
    struct store_err err = {0};
    enum outcome outcome = OUTCOME_REQUESTED;
    char id[37];
    w->call = call;
    make_uuid(id);
    if (make_deletion(call->own, &w->asked, &err) != 0) {
        free(w);
        return command_misused(call, &err);
    }
    memcpy(w->v.job_id, w->asked.job_id, sizeof(w->v.job_id));
    int rc = call->own->wait ? look_before(w, &err) : 0;
    if (rc == 0)
        rc = publish(&call->janitor, &w->asked, id, &err);
    if (rc == 0 && call->own->wait)
        outcome = wait_for(w);
    if (rc == 0)
        print_result(w, id, outcome);
    free(w);
    return rc == 0 ? outcomes[outcome].rc : command_failed(call, &err);
}
