#include "epufs/intent.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/xalloc.h"

/* ---- The job's id ---- */

void deletion_set_job_id(struct deletion *d)
{
    char path[SCOPE_PATH_SIZE], gen[24] = "-", text[SCOPE_PATH_SIZE + 48];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_len = 0;
    scope_path(&d->scope, path);
    if (d->has_upto_gen)
        snprintf(gen, sizeof(gen), "%" PRIu64, d->upto_gen);
    int n = snprintf(text, sizeof(text), "%s\n%s%s", path, gen, d->dry_run ? "\ndry-run" : "");
    /* Fails only for want of memory or without any SHA-256: there is no going on without an id. */
    if (EVP_Digest(text, (size_t)n, digest, &digest_len, EVP_sha256(), NULL) != 1 ||
        digest_len * 2 + 1 != JOB_ID_SIZE)
        abort();
    hex_encode(digest, digest_len, d->job_id);
}

/* ---- Reading ---- */

static void make_printable(char *s)
{
    for (; *s; s++)
        *s = *s >= 0x20 && *s < 0x7f ? *s : '?';
}

json_t *intent_load(const char *json, size_t n, bool *is_json, struct store_err *err)
{
    json_error_t why;
    bool dummy;
    is_json = is_json ? is_json : &dummy;
    *is_json = false;
    json_t *obj = json_loadb(json, n, JSON_REJECT_DUPLICATES, &why);
    if (!obj && json_error_code(&why) == json_error_numeric_overflow) {
        *is_json = true;
        store_err_set(
            err, STORE_INVALID,
            "a number at byte %d is too large; integers above 2^63-1 are given as strings",
            why.position);
        return NULL;
    }
    if (!obj) {
        make_printable(why.text); /* it quotes the input */
        store_err_set(err, STORE_INVALID, "not JSON: %s, at byte %d of %zu", why.text, why.position,
                      n);
        return NULL;
    }
    *is_json = true;
    if (!json_is_object(obj)) {
        json_decref(obj);
        store_err_set(err, STORE_INVALID, "the JSON is an array; expected an object");
        return NULL;
    }
    return obj;
}

/* NULL when missing or null. */
static const json_t *field(const json_t *obj, const char *name)
{
    const json_t *v = json_object_get(obj, name);
    return json_is_null(v) ? NULL : v;
}

/* The value as a message may show it: short, ASCII, one line. */
static void describe(const json_t *v, char *out, size_t size)
{
    const char *word = json_is_object(v) ? "an object" : json_is_array(v) ? "an array" : NULL;
    if (word) {
        snprintf(out, size, "is %s", word);
        return;
    }
    if (!v) {
        snprintf(out, size, "is missing");
        return;
    }
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_COMPACT);
    bool cut = text && strlen(text) > 40;
    snprintf(out, size, "is %.*s%s", cut ? 40 : -1, text ? text : "unreadable", cut ? "..." : "");
    free(text);
}

static int bad_field(struct store_err *err, const char *name, const json_t *v, const char *expected)
{
    char was[64];
    describe(v, was, sizeof(was));
    return store_err_set(err, STORE_INVALID, "field '%s' %s; expected %s", name, was, expected);
}

int intent_get_text(const json_t *obj, const char *name, char *out, size_t out_size,
                    struct store_err *err)
{
    const json_t *v = field(obj, name);
    out[0] = '\0';
    if (!v)
        return 0;
    if (!json_is_string(v))
        return bad_field(err, name, v, "a string");
    if (json_string_length(v) >= out_size)
        return store_err_set(err, STORE_INVALID, "field '%s' has %zu bytes; expected at most %zu",
                             name, json_string_length(v), out_size - 1);
    memcpy(out, json_string_value(v), json_string_length(v) + 1);
    return 0;
}

static int get_schema(const json_t *obj, struct store_err *err)
{
    const json_t *v = field(obj, "schema");
    if (!json_is_integer(v) || json_integer_value(v) != 1)
        return bad_field(err, "schema", v, "1");
    return 0;
}

/* An id that the scope needs (kind is at least as deep as its level), or must not have. */
static int get_id(const json_t *obj, const char *name, enum scope_kind level, struct scope *s,
                  struct store_err *err)
{
    const json_t *v = field(obj, name);
    char expected[64];
    if (s->kind < level) {
        if (!v)
            return 0;
        snprintf(expected, sizeof(expected), "none, since the scope is a %s",
                 scope_kind_name(s->kind));
        return bad_field(err, name, v, expected);
    }
    const char *text = json_string_value(v);
    size_t n = json_string_length(v);
    bool ok = text && (level == SCOPE_TENANT     ? scope_parse_id(text, n, s->tenant)
                       : level == SCOPE_TIMELINE ? scope_parse_id(text, n, s->timeline)
                                                 : scope_parse_endpoint(text, n, s->endpoint));
    if (!ok)
        return bad_field(err, name, v,
                         level == SCOPE_ENDPOINT ? "1 to 63 letters, digits, '-' and '_'"
                                                 : "32 hex digits");
    return 0;
}

static int get_scope(const json_t *obj, struct scope *s, struct store_err *err)
{
    const json_t *v = field(obj, "scope");
    const char *name = json_string_value(v);
    if (!name || !scope_kind_from_name(name, &s->kind))
        return bad_field(err, "scope", v, "tenant, timeline or endpoint");
    if (get_id(obj, "tenant_id", SCOPE_TENANT, s, err) ||
        get_id(obj, "timeline_id", SCOPE_TIMELINE, s, err) ||
        get_id(obj, "endpoint_id", SCOPE_ENDPOINT, s, err))
        return -1;
    return 0;
}

static int get_upto_gen(const json_t *obj, struct deletion *d, struct store_err *err)
{
    const json_t *v = field(obj, "upto_gen");
    if (!v)
        return 0;
    if (d->scope.kind != SCOPE_ENDPOINT)
        return bad_field(err, "upto_gen", v, "none: only an endpoint has generations");
    if (json_is_integer(v) && json_integer_value(v) >= 0)
        d->upto_gen = (uint64_t)json_integer_value(v);
    else if (!json_is_string(v) ||
             !parse_u64(json_string_value(v), json_string_length(v), &d->upto_gen))
        return bad_field(err, "upto_gen", v, "an integer from 0 to 2^64-1");
    d->has_upto_gen = true;
    return 0;
}

static int get_time(const json_t *obj, const char *name, int64_t *t_s, struct store_err *err)
{
    const json_t *v = field(obj, name);
    int64_t t;
    *t_s = 0;
    if (!v)
        return 0;
    if (!json_is_string(v) || !clock_parse_rfc3339(json_string_value(v), &t) || t <= 0)
        return bad_field(err, name, v, "a time after 1970 such as 2026-01-02T03:04:05Z");
    *t_s = t;
    return 0;
}

static int get_dry_run(const json_t *obj, bool *dry_run, struct store_err *err)
{
    const json_t *v = field(obj, "dry_run");
    if (v && !json_is_boolean(v))
        return bad_field(err, "dry_run", v, "true or false");
    *dry_run = json_is_true(v);
    return 0;
}

/* For people only, so one that is too long is no reason to refuse a deletion. */
static int get_reason(const json_t *obj, char *out, size_t out_size, struct store_err *err)
{
    const json_t *v = field(obj, "reason");
    out[0] = '\0';
    if (!v)
        return 0;
    if (!json_is_string(v))
        return bad_field(err, "reason", v, "a string");
    const char *text = json_string_value(v);
    size_t n = json_string_length(v);
    if (n >= out_size) {
        n = out_size - 1;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) /* within a character */
            n--;
    }
    memcpy(out, text, n);
    out[n] = '\0';
    return 0;
}

int intent_get_fields(const json_t *obj, struct deletion *d, struct store_err *err)
{
    *d = (struct deletion){0};
    if (get_schema(obj, err) || get_scope(obj, &d->scope, err) || get_upto_gen(obj, d, err) ||
        get_dry_run(obj, &d->dry_run, err) || get_reason(obj, d->reason, sizeof(d->reason), err) ||
        get_time(obj, "requested_at", &d->requested_at_s, err) ||
        get_time(obj, "not_before", &d->not_before_s, err) ||
        get_time(obj, "tokens_expire_by", &d->tokens_expire_by_s, err))
        return -1;
    deletion_set_job_id(d);
    return 0;
}

static const char *const state_names[] = {
    [DELETION_OPEN] = "open",       [DELETION_HELD] = "held",
    [DELETION_FAILED] = "failed",   [DELETION_CANCELLED] = "cancelled",
    [DELETION_CLOSING] = "closing", [DELETION_WITHDRAWN] = "withdrawn",
    [DELETION_REAPING] = "reaping",
};

const char *deletion_state_name(enum deletion_state s)
{
    return state_names[s];
}

/* Missing: open, as before there were others. */
static int get_state(const json_t *obj, enum deletion_state *state, struct store_err *err)
{
    const json_t *v = field(obj, "state");
    const char *name = v ? json_string_value(v) : state_names[DELETION_OPEN];
    for (size_t i = 0; name && i < LEN(state_names); i++)
        if (strcmp(name, state_names[i]) == 0) {
            *state = (enum deletion_state)i;
            return 0;
        }
    return bad_field(err, "state", v,
                     "open, held, failed, cancelled, closing, withdrawn or reaping");
}

static int get_count(const json_t *obj, const char *name, uint64_t *n, struct store_err *err)
{
    const json_t *v = field(obj, name);
    *n = 0;
    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return bad_field(err, name, v, "a count");
    *n = (uint64_t)json_integer_value(v);
    return 0;
}

static int read_intent(const json_t *obj, struct deletion *d, struct store_err *err)
{
    char job_id[JOB_ID_SIZE];
    if (intent_get_fields(obj, d, err) ||
        intent_get_text(obj, "job_id", job_id, sizeof(job_id), err) ||
        intent_get_text(obj, "event_id", d->event_id, sizeof(d->event_id), err) ||
        intent_get_text(obj, "event_source", d->event_source, sizeof(d->event_source), err) ||
        intent_get_text(obj, "traceparent", d->traceparent, sizeof(d->traceparent), err) ||
        get_time(obj, "accepted_at", &d->accepted_at_s, err) || get_state(obj, &d->state, err) ||
        intent_get_text(obj, "note", d->note, sizeof(d->note), err) ||
        intent_get_text(obj, "closed_by", d->closed_by, sizeof(d->closed_by), err) ||
        get_count(obj, "swept_files", &d->swept.files, err) ||
        get_count(obj, "swept_bytes", &d->swept.bytes, err))
        return -1;
    /* What deletes data must be what was asked for. */
    if (strcmp(job_id, d->job_id) != 0)
        return store_err_set(err, STORE_INVALID,
                             "field 'job_id' does not belong to the other fields");
    return 0;
}

int deletion_from_json(const char *json, size_t n, struct deletion *out, struct store_err *err)
{
    struct deletion d;
    if (n > INTENT_MAX_BYTES)
        return store_err_set(err, STORE_INVALID, "an intent of %zu bytes; expected at most %d", n,
                             INTENT_MAX_BYTES);
    json_t *obj = intent_load(json, n, NULL, err);
    if (!obj)
        return -1;
    int rc = read_intent(obj, &d, err);
    json_decref(obj);
    if (rc == 0)
        *out = d;
    return rc;
}

/* ---- Writing ---- */

bool intent_put(json_t *obj, const char *name, json_t *value)
{
    return json_object_set_new(obj, name, value) == 0;
}

bool intent_put_text(json_t *obj, const char *name, const char *text)
{
    if (!text || !*text)
        return intent_put(obj, name, json_null());
    json_t *v = json_string(text);
    if (v)
        return intent_put(obj, name, v);
    /* Not UTF-8, such as a message that was cut within a character. */
    char *ascii = strdup(text);
    if (!ascii)
        return false;
    for (char *c = ascii; *c; c++)
        *c = (unsigned char)*c < 0x80 ? *c : '?';
    bool ok = intent_put(obj, name, json_string(ascii));
    free(ascii);
    return ok;
}

bool intent_put_time(json_t *obj, const char *name, int64_t t_s)
{
    char text[CLOCK_TEXT];
    if (!t_s)
        return intent_put(obj, name, json_null());
    clock_rfc3339(t_s, text);
    return intent_put(obj, name, json_string(text));
}

static bool put_upto_gen(json_t *obj, const struct deletion *d)
{
    char text[24];
    if (!d->has_upto_gen)
        return intent_put(obj, "upto_gen", json_null());
    if (d->upto_gen <= INT64_MAX)
        return intent_put(obj, "upto_gen", json_integer((json_int_t)d->upto_gen));
    snprintf(text, sizeof(text), "%" PRIu64, d->upto_gen);
    return intent_put(obj, "upto_gen", json_string(text));
}

bool intent_put_fields(json_t *obj, const struct deletion *d)
{
    const struct scope *s = &d->scope;
    bool ok = intent_put(obj, "schema", json_integer(1)) &&
              intent_put_text(obj, "scope", scope_kind_name(s->kind)) &&
              intent_put_text(obj, "tenant_id", s->tenant);
    if (s->kind >= SCOPE_TIMELINE)
        ok = ok && intent_put_text(obj, "timeline_id", s->timeline);
    if (s->kind >= SCOPE_ENDPOINT)
        ok = ok && intent_put_text(obj, "endpoint_id", s->endpoint);
    return ok && put_upto_gen(obj, d) && intent_put(obj, "dry_run", json_boolean(d->dry_run)) &&
           intent_put_text(obj, "reason", d->reason) &&
           intent_put_time(obj, "requested_at", d->requested_at_s) &&
           intent_put_time(obj, "not_before", d->not_before_s) &&
           intent_put_time(obj, "tokens_expire_by", d->tokens_expire_by_s);
}

int intent_dump(json_t *obj, bool ok, struct buf *out)
{
    char *text = ok ? json_dumps(obj, JSON_COMPACT) : NULL;
    json_decref(obj);
    if (!text)
        return -1;
    buf_adds(out, text);
    free(text);
    return buf_failed(out) ? -1 : 0;
}

int deletion_to_json(const struct deletion *d, struct buf *out)
{
    json_t *obj = json_object();
    bool ok = intent_put_fields(obj, d) && intent_put_text(obj, "job_id", d->job_id) &&
              intent_put_text(obj, "event_id", d->event_id) &&
              intent_put_text(obj, "event_source", d->event_source) &&
              intent_put_text(obj, "traceparent", d->traceparent) &&
              intent_put_time(obj, "accepted_at", d->accepted_at_s) &&
              intent_put_text(obj, "state", deletion_state_name(d->state)) &&
              intent_put_text(obj, "note", d->note) &&
              intent_put_text(obj, "closed_by", d->closed_by) &&
              intent_put(obj, "swept_files", json_integer((json_int_t)d->swept.files)) &&
              intent_put(obj, "swept_bytes", json_integer((json_int_t)d->swept.bytes));
    return intent_dump(obj, ok, out);
}
