/* intent.h - a deletion as JSON. Deletion events, intents and completions share these fields and
 * this code, so that they cannot drift apart:
 *
 *   schema            1
 *   scope             "tenant", "timeline" or "endpoint"
 *   tenant_id, timeline_id, endpoint_id: exactly those that the scope needs. One too many is an
 *                     error: it is unclear then what is meant, and this deletes data
 *   upto_gen          unsigned 64-bit; only with an endpoint. A number, or a string of decimal
 *                     digits, which is how values above 2^63-1 are written
 *   dry_run           boolean
 *   reason            string; cut to what struct deletion holds
 *   requested_at, not_before, tokens_expire_by: RFC 3339, after 1970
 *
 * null is the same as missing. Unknown fields are ignored. */
#ifndef EPUFS_INTENT_H
#define EPUFS_INTENT_H

#include <jansson.h>

#include "epufs/deletion.h"

enum { INTENT_MAX_BYTES = 65536, TOMBSTONE_MAX_BYTES = 4096 };

/* Parses n bytes that must be one JSON object without duplicate keys. Returns a new reference, or
 * NULL with *err set (STORE_INVALID) and *is_json, if is_json is not NULL: whether it was JSON
 * after all, only not an object, or with a number that no field can hold. */
json_t *intent_load(const char *json, size_t n, bool *is_json, struct store_err *err);
/* Reads the fields above and sets job_id; the rest of *d becomes zero. Returns -1 with
 * STORE_INVALID and a message that names the field, what it was, and what is expected. */
int intent_get_fields(const json_t *obj, struct deletion *d, struct store_err *err);
/* A string field. "" when missing. -1 when it is no string or does not fit. */
int intent_get_text(const json_t *obj, const char *name, char *out, size_t out_size,
                    struct store_err *err);

/* Writing: each returns false when it failed, which only want of memory can cause. */
bool intent_put(json_t *obj, const char *name, json_t *value); /* takes value over */
/* NULL and "" become null; bytes that are not UTF-8 become '?'. */
bool intent_put_text(json_t *obj, const char *name, const char *text);
bool intent_put_time(json_t *obj, const char *name, int64_t t_s); /* 0 becomes null */
bool intent_put_fields(json_t *obj, const struct deletion *d);
/* Appends obj's text to out, and gives up the reference. Returns 0, or -1 when ok is false, or
 * memory or the buffer's ceiling is too small. */
int intent_dump(json_t *obj, bool ok, struct buf *out);

#endif
