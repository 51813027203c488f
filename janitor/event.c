#include "janitor/event.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "base/xalloc.h"
#include "epufs/intent.h"

#define TYPE_PREFIX "io.epufs.deletion."

const char *event_class_name(enum event_class c)
{
    static const char *const names[] = {
        [EVENT_PARSE] = "parse",
        [EVENT_SCHEMA] = "schema",
        [EVENT_AUTHZ] = "authz",
        [EVENT_EXHAUSTED] = "exhausted",
    };
    return (size_t)c < LEN(names) ? names[c] : "unknown";
}

/* Why an event was refused: class and message together. */
struct refusal {
    enum event_class *class;
    struct store_err *err;
};

static int refuse(const struct refusal *r, enum event_class class)
{
    *r->class = class;
    return -1;
}

/* Bytes from outside as a message may show them: short and ASCII. */
static void excerpt(const char *bytes, size_t n, char out[48])
{
    size_t shown = n < 40 ? n : 40;
    for (size_t i = 0; i < shown; i++)
        out[i] = bytes[i] >= 0x20 && bytes[i] < 0x7f ? bytes[i] : '?';
    snprintf(out + shown, 48 - shown, "%s", shown < n ? "..." : "");
}

/* ---- The envelope ---- */

/* The CloudEvents attributes that matter here. "" when not given. */
struct envelope {
    bool present; /* there is one at all */
    char specversion[8], id[256], source[256], type[256], traceparent[64];
};

static bool has_control(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return true;
    }
    return false;
}

static int take_header(const struct event_header *h, char *out, size_t out_size,
                       const struct refusal *r)
{
    if (!h->value || !utf8_valid(h->value, h->len)) {
        store_err_set(r->err, STORE_INVALID, "header '%s' is not UTF-8 text", h->name);
        return refuse(r, EVENT_PARSE);
    }
    if (*out) {
        store_err_set(r->err, STORE_INVALID, "header '%s' is there twice", h->name);
        return refuse(r, EVENT_SCHEMA);
    }
    if (h->len >= out_size || has_control(h->value, h->len)) {
        char was[48];
        excerpt(h->value, h->len, was);
        store_err_set(r->err, STORE_INVALID,
                      "header '%s' is '%s'; expected at most %zu bytes without control characters",
                      h->name, was, out_size - 1);
        return refuse(r, EVENT_SCHEMA);
    }
    memcpy(out, h->value, h->len);
    out[h->len] = '\0';
    return 0;
}

/* W3C Trace Context: "00-<32 hex>-<16 hex>-<2 hex>". One that is malformed is dropped, as that
 * standard wants it: it only serves tracing. */
static bool is_traceparent(const char *s, size_t n)
{
    if (n != 55)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool dash = i == 2 || i == 35 || i == 52;
        bool hex = (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f');
        if (dash ? s[i] != '-' : !hex)
            return false;
    }
    return strncmp(s, "ff", 2) != 0 && strspn(s + 3, "0") < 32 && strspn(s + 36, "0") < 16;
}

static void take_traceparent(const char *s, size_t n, char out[64])
{
    if (!s || !is_traceparent(s, n))
        return;
    memcpy(out, s, n);
    out[n] = '\0';
}

static int read_headers(const struct event_header *headers, size_t n, struct envelope *e,
                        const struct refusal *r)
{
    const struct {
        const char *name;
        char *out;
        size_t size;
    } wanted[] = {
        {"ce_specversion", e->specversion, sizeof(e->specversion)},
        {"ce_id", e->id, sizeof(e->id)},
        {"ce_source", e->source, sizeof(e->source)},
        {"ce_type", e->type, sizeof(e->type)},
    };
    const struct event_header *trace = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct event_header *h = &headers[i];
        if (!strcmp(h->name, "ce_traceparent") || (!trace && !strcmp(h->name, "traceparent")))
            trace = h;
        if (strncmp(h->name, "ce_", 3) != 0)
            continue;
        e->present = true;
        for (size_t k = 0; k < LEN(wanted); k++) {
            if (!strcmp(h->name, wanted[k].name) &&
                take_header(h, wanted[k].out, wanted[k].size, r))
                return -1;
        }
    }
    if (trace)
        take_traceparent(trace->value, trace->len, e->traceparent);
    return 0;
}

/* The attributes of a structured event replace those of headers. */
static int read_attributes(const json_t *event, struct envelope *e, const struct refusal *r)
{
    const json_t *trace = json_object_get(event, "traceparent");
    e->present = true;
    if (intent_get_text(event, "specversion", e->specversion, sizeof(e->specversion), r->err) ||
        intent_get_text(event, "id", e->id, sizeof(e->id), r->err) ||
        intent_get_text(event, "source", e->source, sizeof(e->source), r->err) ||
        intent_get_text(event, "type", e->type, sizeof(e->type), r->err))
        return refuse(r, EVENT_SCHEMA);
    take_traceparent(json_string_value(trace), json_string_length(trace), e->traceparent);
    return 0;
}

/* Our own output, should somebody route it back to us. */
static bool is_outcome(const char *type)
{
    static const char *const ends[] = {".completed.v1", ".failed.v1", ".cancelled.v1", ".held.v1"};
    size_t n = strlen(type);
    for (size_t i = 0; i < LEN(ends); i++) {
        size_t k = strlen(ends[i]);
        if (n >= k && !strcmp(type + n - k, ends[i]))
            return true;
    }
    return false;
}

static int check_envelope(const struct envelope *e, const struct refusal *r)
{
    char was[48];
    if (!e->present)
        return 0;
    excerpt(e->specversion, strlen(e->specversion), was);
    if (strcmp(e->specversion, "1.0") != 0)
        store_err_set(r->err, STORE_INVALID, "CloudEvents 'specversion' is '%s'; expected 1.0",
                      was);
    else if (!*e->id || !*e->source || !*e->type)
        store_err_set(r->err, STORE_INVALID, "CloudEvents '%s' is missing; expected some text",
                      !*e->id       ? "id"
                      : !*e->source ? "source"
                                    : "type");
    else if (is_outcome(e->type))
        store_err_set(r->err, STORE_INVALID,
                      "CloudEvents 'type' is that of a completion; expected a request to delete");
    else
        return 0;
    return refuse(r, EVENT_SCHEMA);
}

enum mode { MODE_BINARY, MODE_STRUCTURED, MODE_UNKNOWN };

/* "application/cloudevents+json", perhaps with parameters; other formats of CloudEvents (Avro,
 * batches) are not for us. Anything else leaves the value as the data. */
static enum mode mode_of(const struct event_header *headers, size_t n)
{
    static const char media[] = "application/cloudevents", json[] = "+json";
    size_t media_len = sizeof(media) - 1, json_len = sizeof(json) - 1;
    for (size_t i = 0; i < n; i++) {
        const struct event_header *h = &headers[i];
        if (strcasecmp(h->name, "content-type") != 0 || !h->value || h->len < media_len ||
            strncasecmp(h->value, media, media_len) != 0)
            continue;
        const char *rest = h->value + media_len;
        size_t rest_len = h->len - media_len;
        if (rest_len < json_len || strncasecmp(rest, json, json_len) != 0)
            return MODE_UNKNOWN;
        bool end = rest_len == json_len || rest[json_len] == ';' || rest[json_len] == ' ';
        return end ? MODE_STRUCTURED : MODE_UNKNOWN;
    }
    return MODE_BINARY;
}

static const json_t *structured_data(const json_t *event, const struct refusal *r)
{
    const json_t *data = json_object_get(event, "data");
    const json_t *base64 = json_object_get(event, "data_base64");
    if (base64 && !json_is_null(base64))
        store_err_set(r->err, STORE_INVALID,
                      "CloudEvents 'data_base64' is not supported; "
                      "expected 'data' with an object");
    else if (!json_is_object(data))
        store_err_set(r->err, STORE_INVALID, "CloudEvents 'data' is %s; expected an object",
                      data ? "something else" : "missing");
    else
        return data;
    refuse(r, EVENT_SCHEMA);
    return NULL;
}

/* ---- The whole ---- */

static int check_key(const char *key, size_t key_len, const struct deletion *d,
                     const struct refusal *r)
{
    char tenant[ID_SIZE], was[48];
    if (!key || key_len == 0)
        return 0;
    if (scope_parse_id(key, key_len, tenant) && !strcmp(tenant, d->scope.tenant))
        return 0;
    excerpt(key, key_len, was);
    store_err_set(r->err, STORE_DENIED, "the message's key is '%s'; expected its tenant_id %s", was,
                  d->scope.tenant);
    return refuse(r, EVENT_AUTHZ);
}

static int read_event(const json_t *value, enum mode mode, struct envelope *e, struct deletion *d,
                      const struct refusal *r)
{
    const json_t *data = value;
    if (mode == MODE_STRUCTURED && read_attributes(value, e, r))
        return -1;
    if (check_envelope(e, r))
        return -1;
    if (mode == MODE_STRUCTURED && !(data = structured_data(value, r)))
        return -1;
    if (intent_get_fields(data, d, r->err))
        return refuse(r, EVENT_SCHEMA);
    snprintf(d->event_id, sizeof(d->event_id), "%s", e->id);
    snprintf(d->event_source, sizeof(d->event_source), "%s", e->source);
    snprintf(d->traceparent, sizeof(d->traceparent), "%s", e->traceparent);
    return 0;
}

static int check_size(const char *value, size_t value_len, const struct refusal *r)
{
    if (!value || value_len == 0)
        store_err_set(r->err, STORE_INVALID, "the message has no value; expected JSON");
    else if (value_len > EVENT_MAX_BYTES)
        store_err_set(r->err, STORE_INVALID, "the value has %zu bytes; expected at most %d",
                      value_len, EVENT_MAX_BYTES);
    else
        return 0;
    return refuse(r, EVENT_PARSE);
}

int event_parse(const struct event_header *headers, size_t n_headers, const char *key,
                size_t key_len, const char *value, size_t value_len, struct deletion *out,
                enum event_class *class, struct store_err *err)
{
    const struct refusal r = {class, err};
    struct envelope e = {0};
    struct deletion d;
    bool is_json;
    if (check_size(value, value_len, &r))
        return -1;
    json_t *json = intent_load(value, value_len, &is_json, err);
    if (!json)
        return refuse(&r, is_json ? EVENT_SCHEMA : EVENT_PARSE);
    int rc = -1;
    enum mode mode = mode_of(headers, n_headers);
    if (mode == MODE_UNKNOWN) {
        store_err_set(err, STORE_INVALID,
                      "header 'content-type' names another CloudEvents "
                      "format; expected application/cloudevents+json");
        refuse(&r, EVENT_SCHEMA);
    } else if (read_headers(headers, n_headers, &e, &r) == 0 &&
               read_event(json, mode, &e, &d, &r) == 0 && check_key(key, key_len, &d, &r) == 0) {
        *out = d;
        rc = 0;
    }
    json_decref(json);
    return rc;
}

/* ---- Our own events ---- */

/* The attributes that each event has. data is taken over. */
static bool put_envelope(json_t *event, const char *id, const char *source, const char *outcome,
                         const struct deletion *d, int64_t time_s)
{
    char type[64], subject[SCOPE_PATH_SIZE];
    snprintf(type, sizeof(type), TYPE_PREFIX "%s.v1", outcome);
    scope_path(&d->scope, subject);
    return intent_put_text(event, "specversion", "1.0") && intent_put_text(event, "id", id) &&
           intent_put_text(event, "source", source) && intent_put_text(event, "type", type) &&
           intent_put_text(event, "subject", subject) &&
           (!time_s || intent_put_time(event, "time", time_s)) &&
           intent_put_text(event, "datacontenttype", "application/json") &&
           (!*d->traceparent || intent_put_text(event, "traceparent", d->traceparent));
}

static bool put_counts(json_t *data, const struct completion *c)
{
    json_t *deleted = json_object();
    bool ok = intent_put(deleted, "files", json_integer((json_int_t)c->files)) &&
              intent_put(deleted, "bytes", json_integer((json_int_t)c->bytes));
    return intent_put(data, "deleted", deleted) && ok &&
           intent_put_text(data, "counts_are", "at_least");
}

static bool put_completion(json_t *data, const struct completion *c)
{
    const struct deletion *d = c->deletion;
    return intent_put_fields(data, d) && intent_put_text(data, "job_id", d->job_id) &&
           intent_put_text(data, "outcome", c->outcome) && put_counts(data, c) &&
           intent_put(data, "attempts", json_integer(c->attempts)) &&
           intent_put_time(data, "accepted_at", d->accepted_at_s) &&
           intent_put_time(data, "started_at", c->started_at_s) &&
           intent_put_time(data, "completed_at", c->completed_at_s) &&
           intent_put_text(data, "causation_id", d->event_id) &&
           intent_put_text(data, "error", c->error) &&
           intent_put_text(data, "subsumed_by", c->subsumed_by);
}

int event_completion(const struct completion *c, struct buf *out)
{
    const struct deletion *d = c->deletion;
    char id[JOB_ID_SIZE + 32];
    bool done = !strcmp(c->outcome, "completed");
    snprintf(id, sizeof(id), "%s:%s", done ? "done" : c->outcome, d->job_id);
    json_t *event = json_object(), *data = json_object();
    bool ok = put_envelope(event, id, c->source, c->outcome, d, c->completed_at_s) &&
              (!*d->event_id || intent_put_text(event, "causationid", d->event_id)) &&
              put_completion(data, c);
    ok = intent_put(event, "data", data) && ok;
    return intent_dump(event, ok, out);
}

int event_request(const struct deletion *d, const char *id, const char *source, struct buf *out)
{
    json_t *event = json_object(), *data = json_object();
    bool ok = put_envelope(event, id, source, "requested", d, d->requested_at_s) &&
              intent_put_fields(data, d);
    ok = intent_put(event, "data", data) && ok;
    return intent_dump(event, ok, out);
}
