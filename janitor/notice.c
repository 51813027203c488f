#include "janitor/notice.h"

#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/xalloc.h"
#include "epufs/intent.h"

const char *const notice_lanes[LANES] = {"accept", "small", "big"};
static const char *const kinds[] = {"tenant", "timeline", "endpoint"};

uint64_t notice_n_open(const struct notice *n)
{
    return n->open[SCOPE_TENANT] + n->open[SCOPE_TIMELINE] + n->open[SCOPE_ENDPOINT];
}

void notice_add_trouble(struct notice *n, const char *text)
{
    if (n->n_troubles < NOTICE_MAX_TROUBLES)
        text_copy(n->troubles[n->n_troubles++], NOTICE_TROUBLE_SIZE, text);
}

/* ---- Writing ---- */

static bool put_number(json_t *o, const char *name, uint64_t v)
{
    return intent_put(o, name, json_integer((json_int_t)v));
}

static json_t *lanes_json(const struct notice *n)
{
    json_t *o = json_object();
    for (int i = 0; i < LANES; i++) {
        json_t *lane = json_object();
        put_number(lane, "workers", n->lanes[i].workers);
        put_number(lane, "running", n->lanes[i].running);
        put_number(lane, "due", n->lanes[i].due);
        intent_put(o, notice_lanes[i], lane);
    }
    return o;
}

static json_t *open_json(const struct notice *n)
{
    json_t *o = json_object();
    for (size_t i = 0; i < LEN(kinds); i++)
        put_number(o, kinds[i], n->open[i]);
    return o;
}

static json_t *troubles_json(const struct notice *n)
{
    json_t *a = json_array(), *o = json_object();
    for (size_t i = 0; i < n->n_troubles; i++) {
        intent_put_text(o, "text", n->troubles[i]); /* what is not UTF-8 becomes so */
        json_array_append(a, json_object_get(o, "text"));
    }
    json_decref(o);
    return a;
}

static json_t *job_json(const struct notice_job *j)
{
    json_t *o = json_object();
    intent_put_text(o, "job_id", j->job_id);
    intent_put_text(o, "scope", j->scope);
    intent_put_text(o, "upto_gen", j->upto_gen);
    intent_put(o, "dry_run", json_boolean(j->dry_run));
    intent_put_text(o, "state", j->state);
    put_number(o, "files", j->files);
    put_number(o, "bytes", j->bytes);
    put_number(o, "attempts", j->attempts);
    intent_put_time(o, "accepted_at", j->accepted_at_s);
    intent_put_text(o, "error", j->error);
    intent_put(o, "left", json_boolean(j->left));
    return o;
}

static json_t *jobs_json(const struct notice *n)
{
    json_t *a = json_array();
    for (size_t i = 0; i < n->n_jobs; i++)
        json_array_append_new(a, job_json(&n->jobs[i]));
    return a;
}

json_t *notice_json(const struct notice *n, bool jobs)
{
    json_t *o = json_object();
    bool ok = intent_put(o, "schema", json_integer(1)) &&
              intent_put_text(o, "janitor", n->janitor) && intent_put_time(o, "at", n->at_s) &&
              put_number(o, "every_ms", n->every_ms) &&
              intent_put(o, "stopping", json_boolean(n->stopping)) &&
              intent_put(o, "lanes", lanes_json(n)) && intent_put(o, "open", open_json(n)) &&
              put_number(o, "files_per_s", n->files_per_s) &&
              put_number(o, "delete_rate", n->delete_rate) &&
              put_number(o, "tenant_delete_rate", n->tenant_delete_rate) &&
              intent_put(o, "troubles", troubles_json(n)) &&
              (!jobs || intent_put(o, "jobs", jobs_json(n)));
    if (ok)
        return o;
    json_decref(o);
    return NULL;
}

/* ---- Reading ---- */

static uint64_t number(const json_t *o, const char *name)
{
    json_int_t v = json_integer_value(json_object_get(o, name));
    return v > 0 ? (uint64_t)v : 0;
}

static void text(const json_t *o, const char *name, char *out, size_t size)
{
    const char *s = json_string_value(json_object_get(o, name));
    text_copy(out, size, s ? s : "");
}

static int64_t when(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    int64_t t_s;
    return s && clock_parse_rfc3339(s, &t_s) ? t_s : 0;
}

static void read_job(const json_t *o, struct notice_job *j)
{
    text(o, "job_id", j->job_id, sizeof(j->job_id));
    text(o, "scope", j->scope, sizeof(j->scope));
    text(o, "upto_gen", j->upto_gen, sizeof(j->upto_gen));
    text(o, "state", j->state, sizeof(j->state));
    text(o, "error", j->error, sizeof(j->error));
    j->files = number(o, "files");
    j->bytes = number(o, "bytes");
    j->attempts = number(o, "attempts");
    j->accepted_at_s = when(o, "accepted_at");
    j->dry_run = json_is_true(json_object_get(o, "dry_run"));
    j->left = json_is_true(json_object_get(o, "left"));
}

static void read_lists(const json_t *o, struct notice *n)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(o, "troubles"), i, v)
    {
        if (json_is_string(v))
            notice_add_trouble(n, json_string_value(v));
    }
    json_array_foreach(json_object_get(o, "jobs"), i, v)
    {
        if (n->n_jobs < NOTICE_MAX_JOBS)
            read_job(v, &n->jobs[n->n_jobs++]);
    }
}

static void read_notice(const json_t *o, struct notice *n)
{
    text(o, "janitor", n->janitor, sizeof(n->janitor));
    n->at_s = when(o, "at");
    n->every_ms = number(o, "every_ms");
    n->stopping = json_is_true(json_object_get(o, "stopping"));
    for (int i = 0; i < LANES; i++) {
        const json_t *lane = json_object_get(json_object_get(o, "lanes"), notice_lanes[i]);
        n->lanes[i] = (struct notice_lane){number(lane, "workers"), number(lane, "running"),
                                           number(lane, "due")};
    }
    for (size_t i = 0; i < LEN(kinds); i++)
        n->open[i] = number(json_object_get(o, "open"), kinds[i]);
    n->files_per_s = number(o, "files_per_s");
    n->delete_rate = number(o, "delete_rate");
    n->tenant_delete_rate = number(o, "tenant_delete_rate");
    read_lists(o, n);
}

int notice_parse(const char *json, size_t len, struct notice *out, struct store_err *err)
{
    json_t *o = intent_load(json, len, NULL, err);
    int rc = o ? 0 : -1;
    memset(out, 0, sizeof(*out));
    if (o)
        read_notice(o, out);
    if (o && (number(o, "schema") != 1 || !*out->janitor))
        rc = store_err_set(err, STORE_INVALID, "no notice: expected schema 1 and a janitor");
    json_decref(o);
    return rc;
}
