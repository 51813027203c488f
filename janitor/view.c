#include "janitor/view.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "epufs/intent.h"
#include "janitor/backlog.h"

const char *const view_states[] = {
    "all",       "open",       "delayed",  "held",       "failed",
    "cancelled", "closing",    "sweeping", "draining",   "verifying",
    "waiting",   "publishing", "failing",  "unreadable", NULL,
};

/* ---- What it is ---- */

/* The record may be older than the intent's latest change, so that only what a janitor does counts,
 * not what it waits for. */
static bool is_step(const char *state)
{
    static const char *const steps[] = {"sweeping", "draining",   "verifying",
                                        "waiting",  "publishing", "failing"};
    for (size_t i = 0; i < LEN(steps); i++)
        if (strcmp(state, steps[i]) == 0)
            return true;
    return false;
}

const char *view_state(const struct view *v, int64_t now_s)
{
    if (v->intent == INTENT_UNREADABLE)
        return "unreadable";
    if (v->intent != INTENT_READ)
        return v->has_record ? v->r.state : "unknown";
    if (v->d.state != DELETION_OPEN)
        return deletion_state_name(v->d.state);
    if (v->d.not_before_s > now_s)
        return "delayed";
    return v->has_record && is_step(v->r.state) ? v->r.state : "open";
}

bool view_matches(const struct view *v, const char *wanted, int64_t now_s)
{
    const char *state = view_state(v, now_s);
    if (strcmp(wanted, "all") == 0 || strcmp(wanted, state) == 0)
        return true;
    return strcmp(wanted, "open") == 0 && (is_step(state) || strcmp(state, "busy") == 0);
}

int64_t view_accepted_at_s(const struct view *v)
{
    return v->intent == INTENT_READ ? v->d.accepted_at_s : v->has_record ? v->r.accepted_at_s : 0;
}

static void path_of(const struct view *v, char out[SCOPE_PATH_SIZE])
{
    out[0] = '\0';
    if (v->intent == INTENT_READ)
        scope_path(&v->d.scope, out);
    else if (v->has_record)
        memcpy(out, v->r.scope, sizeof(v->r.scope));
}

static void gen_of(const struct view *v, char out[24])
{
    out[0] = '\0';
    if (v->intent == INTENT_READ && v->d.has_upto_gen)
        snprintf(out, 24, "%" PRIu64, v->d.upto_gen);
    else if (v->intent != INTENT_READ && v->has_record)
        memcpy(out, v->r.upto_gen, sizeof(v->r.upto_gen));
}

static bool is_dry_run(const struct view *v)
{
    return v->intent == INTENT_READ ? v->d.dry_run : v->has_record && v->r.dry_run;
}

static struct deletion_counts counts_of(const struct view *v)
{
    struct deletion_counts n = {0};
    if (v->intent == INTENT_READ)
        n = v->d.swept;
    if (v->has_record) {
        n.files += v->r.files;
        n.bytes += v->r.bytes;
    }
    return n;
}

/* Why it is where it is: what a person wrote, or what went wrong. */
static const char *note_of(const struct view *v)
{
    if (v->intent == INTENT_UNREADABLE)
        return v->why;
    if (v->intent == INTENT_READ && *v->d.note)
        return v->d.note;
    return v->has_record ? v->r.error : "";
}

/* ---- JSON ---- */

static bool put_u64(json_t *o, const char *name, uint64_t n, bool known)
{
    return intent_put(o, name, known ? json_integer((json_int_t)n) : json_null());
}

json_t *view_json(const struct view *v, int64_t now_s)
{
    char path[SCOPE_PATH_SIZE], gen[24];
    const struct deletion *d = v->intent == INTENT_READ ? &v->d : NULL;
    const struct ledger_job *r = v->has_record ? &v->r : NULL;
    struct deletion_counts n = counts_of(v);
    bool counted = r || n.files;
    json_t *o = json_object();
    path_of(v, path);
    gen_of(v, gen);
    bool ok = intent_put_text(o, "job_id", v->job_id) && intent_put_text(o, "scope", path) &&
              intent_put_text(o, "upto_gen", gen) &&
              intent_put(o, "dry_run", json_boolean(is_dry_run(v))) &&
              intent_put_text(o, "state", view_state(v, now_s)) &&
              put_u64(o, "files", n.files, counted) && put_u64(o, "bytes", n.bytes, counted) &&
              put_u64(o, "attempts", r ? r->attempts : 0, r != NULL) &&
              intent_put_time(o, "accepted_at", view_accepted_at_s(v)) &&
              intent_put_time(o, "not_before", d ? d->not_before_s : 0) &&
              intent_put_time(o, "done_at", r && !d ? r->done_at_s : 0) &&
              intent_put_text(o, "owner", r ? r->owner : NULL) &&
              intent_put_text(o, "note", note_of(v));
    if (ok)
        return o;
    json_decref(o);
    return NULL;
}

/* ---- Text ---- */

const char *view_age(int64_t s, char out[32])
{
    long long n = s > 0 ? s : 0;
    if (n < 60)
        snprintf(out, 32, "%llds", n);
    else if (n < 3600)
        snprintf(out, 32, "%lldm%02llds", n / 60, n % 60);
    else if (n < 86400)
        snprintf(out, 32, "%lldh%02lldm", n / 3600, n / 60 % 60);
    else
        snprintf(out, 32, "%lldd%02lldh", n / 86400, n / 3600 % 24);
    return out;
}

const char *view_clean(const char *s, char *out, size_t cap)
{
    size_t n = strlen(s), at = 0;
    while (n > 0) {
        uint32_t code;
        size_t taken = utf8_decode(s, n, &code);
        bool bad = taken == 0 || utf8_is_control(code);
        size_t put = bad ? 1 : taken;
        if (at + put >= cap)
            break;
        memcpy(out + at, bad ? "?" : s, put);
        at += put;
        s += taken ? taken : 1;
        n -= taken ? taken : 1;
    }
    out[at] = '\0';
    return out;
}

void view_print_head(FILE *out)
{
    fprintf(out, "%-10s  %-10s  %9s  %12s  %-20s  %s\n", "JOB", "STATE", "FILES", "BYTES", "SINCE",
            "SCOPE");
}

void view_print_row(const struct view *v, int64_t now_s, FILE *out)
{
    char when[CLOCK_TEXT] = "?", path[SCOPE_PATH_SIZE], gen[24], note[256], files[24] = "?",
         bytes[24] = "?";
    struct deletion_counts n = counts_of(v);
    int64_t done_at_s = v->has_record && v->intent != INTENT_READ ? v->r.done_at_s : 0;
    int64_t since_s = done_at_s ? done_at_s : view_accepted_at_s(v);
    if (since_s)
        clock_rfc3339(since_s, when);
    if (v->has_record || n.files) {
        snprintf(files, sizeof(files), "%" PRIu64, n.files);
        snprintf(bytes, sizeof(bytes), "%" PRIu64, n.bytes);
    }
    path_of(v, path);
    gen_of(v, gen);
    view_clean(note_of(v), note, sizeof(note));
    fprintf(out, "%-10.10s  %-10s  %9s  %12s  %-20s  %s%s%s%s%s%s\n", v->job_id,
            view_state(v, now_s), files, bytes, when, *path ? path : "?",
            *gen ? " up to generation " : "", gen, is_dry_run(v) ? " (dry run)" : "",
            *note ? "  " : "", note);
}
