/* event.h - a message of the deletions topic to a struct deletion. Pure; made for hostile input.
 *
 * CloudEvents 1.0 over Kafka, binary mode (ce_* headers, the data is the value) or structured mode
 * (content-type application/cloudevents+json). A value with neither is taken as bare data, so that
 * kcat is enough to try it. Data, schema 1: design of the event in docs/events.md. */
#ifndef JANITOR_EVENT_H
#define JANITOR_EVENT_H

#include "epufs/deletion.h"

enum { EVENT_MAX_BYTES = 65536 };

enum event_class { EVENT_PARSE, EVENT_SCHEMA, EVENT_AUTHZ, EVENT_EXHAUSTED };
const char *event_class_name(enum event_class c); /* "parse", "schema", "authz", "exhausted" */

struct event_header {
    const char *name;
    const char *value; /* not NUL-terminated; may be NULL */
    size_t len;
};

/* Returns 0 with *out complete (job_id set), or -1 with *class and *err, whose message names the
 * field, what it was, and what is expected. EVENT_PARSE: not JSON, not UTF-8, too large, or no
 * value. EVENT_SCHEMA: JSON, but not a deletion event. EVENT_AUTHZ: the key names another tenant
 * than the data. */
int event_parse(const struct event_header *headers, size_t n_headers, const char *key,
                size_t key_len, const char *value, size_t value_len, struct deletion *out,
                enum event_class *class, struct store_err *err);

/* What became of a deletion. */
struct completion {
    const struct deletion *deletion;
    const char *outcome;   /* "completed", "failed", "cancelled", "held" */
    const char *error;     /* NULL, or why */
    uint64_t files, bytes; /* removed, at least; a dry run: found */
    uint32_t attempts;
    int64_t started_at_s, completed_at_s;
    const char *subsumed_by; /* NULL, or the job that removed it all */
    const char *source;      /* CloudEvents source: this janitor group */
};

/* The structured-mode CloudEvent (JSON): id "done:<job_id>" (…"failed:" and so on otherwise), type
 * "io.epufs.deletion.<outcome>.v1", subject the scope's path. */
int event_completion(const struct completion *c, struct buf *out);

/* A deletion event, as `janitor delete` publishes it: structured mode. id: a fresh UUID. */
int event_request(const struct deletion *d, const char *id, const char *source, struct buf *out);

#endif
