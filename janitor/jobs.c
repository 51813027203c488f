#include "janitor/jobs.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "epufs/intent.h"
#include "janitor/intents.h"

enum { PAGE = 64, MAX_RECENT = 1000, STORE_TIMEOUT_MS = 10000 };

/* ---- Who answers ---- */

bool sources_complete(const struct sources *s)
{
    return s->store_up && (s->redis_up || !s->has_redis);
}

void sources_warn(const struct call *call, const struct sources *s)
{
    if (!s->store_up)
        fprintf(stderr,
                "epufs-janitor %s: the store does not answer, this is what Redis knows: %s\n",
                call->command->words, s->store_err.msg);
    if (s->has_redis && !s->redis_up)
        fprintf(stderr,
                "epufs-janitor %s: Redis does not answer: progress, owners and what was completed "
                "are not known\n",
                call->command->words);
}

json_t *sources_json(const struct call *call, const struct sources *s, const char *which)
{
    json_t *o = json_object();
    if (strcmp(which, "store") == 0) {
        intent_put_text(o, "url", call->conf->service.store);
        intent_put(o, "up", json_boolean(s->store_up));
        intent_put_text(o, "error", s->store_up ? NULL : s->store_err.msg);
    } else {
        intent_put(o, "configured", json_boolean(s->has_redis));
        intent_put(o, "up", json_boolean(s->redis_up));
        intent_put_text(o, "error", s->redis_err);
    }
    return o;
}

/* ---- All of them ---- */

struct walk {
    bool (*each)(void *user, struct view *v);
    void *user;
    bool begun;
    struct view v;
};

static bool on_intent(void *user, const struct intent_found *f)
{
    struct walk *w = user;
    w->begun = true;
    w->v = (struct view){.intent = f->unreadable ? INTENT_UNREADABLE : INTENT_READ};
    text_copy(w->v.job_id, sizeof(w->v.job_id), f->job_id);
    text_copy(w->v.why, sizeof(w->v.why), f->why);
    if (f->d)
        w->v.d = *f->d;
    return w->each(w->user, &w->v);
}

static void view_of_record(const struct ledger_job *r, enum intent_state intent, struct view *v)
{
    *v = (struct view){.intent = intent, .has_record = true, .r = *r};
    text_copy(v->job_id, sizeof(v->job_id), r->job_id);
}

/* Returns whether Redis answered. */
static bool each_of_redis(struct call *call, const char *prefix, struct walk *w)
{
    struct ledger_job *jobs = xcalloc(PAGE, sizeof(*jobs));
    size_t from = 0;
    bool up = true, go_on = true;
    while (up && go_on && from != SIZE_MAX) {
        size_t n = PAGE;
        up = ledger_open_page(call->janitor.ledger, &from, jobs, &n) == LEDGER_OK;
        for (size_t i = 0; up && go_on && i < n; i++) {
            view_of_record(&jobs[i], INTENT_FAILED, &w->v);
            if (strncmp(w->v.job_id, prefix, strlen(prefix)) == 0)
                go_on = w->each(w->user, &w->v);
        }
    }
    free(jobs);
    return up;
}

static uint32_t store_timeout_ms(const struct call *call)
{
    uint64_t ms = call->conf->service.store_timeout_ms;
    return ms < STORE_TIMEOUT_MS ? (uint32_t)ms : STORE_TIMEOUT_MS;
}

static void ask_redis(struct call *call, struct sources *src)
{
    *src = (struct sources){.has_redis = call->conf->redis_url && *call->conf->redis_url};
    src->redis_up = src->has_redis && ledger_up(call->janitor.ledger);
    if (src->has_redis && !src->redis_up)
        ledger_why_down(call->janitor.ledger, src->redis_err, sizeof(src->redis_err));
}

int jobs_each(struct call *call, const char *prefix, bool (*each)(void *user, struct view *v),
              void *user, struct sources *src, struct store_err *err)
{
    struct walk w = {.each = each, .user = user};
    ask_redis(call, src);
    int rc = intents_each(call->janitor.store, call->loop, prefix, store_timeout_ms(call),
                          on_intent, &w, &src->store_err);
    src->store_up = rc == 0;
    if (rc != 0 && !w.begun && src->redis_up)
        rc = each_of_redis(call, prefix, &w) ? 0 : -1;
    if (rc != 0)
        *err = src->store_err;
    return rc;
}

void jobs_add_record(struct call *call, struct view *v)
{
    if (!v->has_record)
        v->has_record = ledger_get(call->janitor.ledger, v->job_id, &v->r) == LEDGER_OK;
}

/* ---- One of them ---- */

int jobs_parse_id(const char *text, char prefix[JOB_ID_SIZE], struct store_err *err)
{
    size_t n = strlen(text);
    bool good = n >= JOBS_MIN_PREFIX && n < JOB_ID_SIZE;
    for (size_t i = 0; good && i < n; i++) {
        good = isxdigit((unsigned char)text[i]) != 0;
        prefix[i] = (char)tolower((unsigned char)text[i]);
    }
    char shown[80];
    if (!good)
        return store_err_set(err, STORE_INVALID, "job '%s': expected %d to %d hex digits",
                             text_excerpt(text, n, shown, sizeof(shown)), JOBS_MIN_PREFIX,
                             JOB_ID_SIZE - 1);
    prefix[n] = '\0';
    return 0;
}

struct finding {
    struct view *v;
    size_t n;
    char other[JOB_ID_SIZE];
};

static bool on_found(void *user, struct view *v)
{
    struct finding *f = user;
    if (f->n++ == 0)
        *f->v = *v;
    else
        text_copy(f->other, sizeof(f->other), v->job_id);
    return f->n < 2;
}

/* Among those that are done. */
static void find_done(struct call *call, const char *prefix, struct finding *f)
{
    size_t n = MAX_RECENT;
    struct view v;
    struct ledger_job *jobs = xcalloc(n, sizeof(*jobs));
    if (ledger_recent(call->janitor.ledger, jobs, &n) != LEDGER_OK)
        n = 0;
    for (size_t i = 0; i < n && f->n < 2; i++) {
        if (strncmp(jobs[i].job_id, prefix, strlen(prefix)) != 0 ||
            (f->n == 1 && strcmp(jobs[i].job_id, f->v->job_id) == 0))
            continue;
        view_of_record(&jobs[i], INTENT_NONE, &v);
        on_found(f, &v);
    }
    free(jobs);
}

int jobs_find(struct call *call, const char *prefix, struct view *v, struct sources *src,
              struct store_err *err)
{
    struct finding f = {.v = v};
    if (jobs_each(call, prefix, on_found, &f, src, err) != 0)
        return -1;
    if (f.n == 0)
        find_done(call, prefix, &f);
    if (f.n == 0)
        return store_err_set(err, STORE_NOT_FOUND,
                             "there is no deletion '%s': neither an intent in the store%s nor a "
                             "record of one that was completed%s",
                             prefix, src->store_up ? "" : " (which does not answer)",
                             !src->has_redis  ? " (no redis_url is given)"
                             : !src->redis_up ? " (Redis does not answer)"
                                              : "");
    if (f.n > 1)
        return store_err_set(err, STORE_INVALID,
                             "'%s' is the beginning of several jobs, such as %.16s… and %.16s…; "
                             "expected more digits",
                             prefix, v->job_id, f.other);
    jobs_add_record(call, v);
    return 0;
}
