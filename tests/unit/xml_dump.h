/* xml_dump.h - an XML document as text, to compare. */
#ifndef TESTS_UNIT_XML_DUMP_H
#define TESTS_UNIT_XML_DUMP_H

#include <inttypes.h>

#include "libstore/s3/xml.h"

static inline void dump_entry(const struct store_entry *e, struct buf *out)
{
    if (e->is_prefix) {
        buf_addf(out, "[%s] prefix\n", e->key);
        return;
    }
    buf_addf(out, "[%s]", e->key);
    if (*e->version)
        buf_addf(out, " @%s", e->version);
    if (e->is_marker)
        buf_adds(out, " marker");
    else
        buf_addf(out, " %" PRIu64 " %s", e->size, e->etag);
    buf_addf(out, " %" PRId64 "%s\n", e->modified_s, e->is_latest ? " latest" : "");
}

static inline void dump_list(const char *kind, const struct xml_doc *d, struct buf *out)
{
    buf_addf(out, "%s%s", kind, d->truncated ? " truncated" : "");
    if (d->next_token)
        buf_addf(out, " next=%s", d->next_token);
    if (*d->next_key)
        buf_addf(out, " next=%s@%s", d->next_key, d->next_version);
    buf_addc(out, '\n');
    for (size_t i = 0; i < d->n_entries; i++)
        dump_entry(&d->entries[i], out);
}

static inline void dump_delete_result(const struct xml_doc *d, struct buf *out)
{
    buf_addf(out, "deleted %zu\n", d->n_deleted);
    for (size_t i = 0; i < d->n_key_errors; i++) {
        const struct xml_key_error *e = &d->key_errors[i];
        buf_addf(out, "[%s]%s%s %s: %s\n", e->key, *e->version ? " @" : "", e->version, e->code,
                 e->message);
    }
}

static inline void dump(const struct xml_doc *d, struct buf *out)
{
    switch (d->kind) {
    case XML_NONE: buf_adds(out, "none\n"); break;
    case XML_LIST: dump_list("list", d, out); break;
    case XML_VERSIONS: dump_list("versions", d, out); break;
    case XML_UPLOADS: dump_list("uploads", d, out); break;
    case XML_DELETE_RESULT: dump_delete_result(d, out); break;
    case XML_UPLOAD_BEGUN: buf_addf(out, "begun %s\n", d->upload_id); break;
    case XML_UPLOAD_DONE: buf_addf(out, "done [%s]\n", d->etag); break;
    case XML_COPIED: buf_addf(out, "copied [%s]\n", d->etag); break;
    case XML_CREDENTIALS:
        buf_addf(out, "credentials %s %s %s %" PRId64 "\n", d->access_key, d->secret_key,
                 d->session_token, d->expires_s);
        break;
    case XML_ERROR: buf_addf(out, "error %s: %s (%s)\n", d->code, d->message, d->region); break;
    }
}

#endif
