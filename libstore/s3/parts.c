#include "libstore/s3/parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"

enum {
    FIRST_ROOM = 64,
    BODY_MAX_BYTES = 8 << 20,   /* 10000 parts */
    COMPLETE_STALL_MS = 120000, /* Amazon may take minutes to join thousands of parts */
    ABORT_MS = 5000,
};

int s3_parts_begun(struct s3_parts *p, const struct xml_doc *doc, const struct s3_op *o,
                   struct store_err *err)
{
    if (strlen(doc->upload_id) >= sizeof(p->id))
        return store_err_set(err, STORE_FAILED, "%.150s: the upload's id is too long", o->op->key);
    text_copy(p->id, sizeof(p->id), doc->upload_id);
    return 0;
}

bool s3_parts_grow(struct s3_parts *p)
{
    if (p->n < p->room)
        return true;
    unsigned room = p->room ? 2 * p->room : FIRST_ROOM;
    char **etags = realloc(p->etags, room * sizeof(*etags));
    if (!etags)
        return false;
    memset(etags + p->room, 0, (room - p->room) * sizeof(*etags));
    p->etags = etags;
    p->room = room;
    return true;
}

struct s3_request_conf s3_parts_abort(const struct s3_op *o)
{
    struct s3_request_conf conf = s3_request_defaults(o, "abort");
    conf.deadline_ms = clock_mono_ms() + ABORT_MS;
    return conf;
}

void s3_parts_fill_abort(const struct s3_parts *p, const struct s3_op *o, struct s3_draft *d)
{
    d->method = "DELETE";
    d->key = o->op->key;
    s3_draft_query(d, "uploadId", p->id);
}

bool s3_parts_complete(struct s3_parts *p, const struct s3_op *o, const char *what,
                       struct s3_request_conf *conf)
{
    buf_init(&p->body, BODY_MAX_BYTES);
    xml_complete_request(&p->body, (const char *const *)p->etags, p->n);
    if (buf_failed(&p->body) || sigv4_sha256_hex(p->body.data, p->body.len, p->sha256) != 0)
        return false;
    *conf = s3_request_defaults(o, what);
    conf->expects = XML_UPLOAD_DONE;
    conf->body = p->body.data;
    conf->body_size = p->body.len;
    conf->stall_timeout_ms = COMPLETE_STALL_MS;
    return true;
}

void s3_parts_fill_complete(const struct s3_parts *p, const struct s3_op *o, struct s3_draft *d)
{
    d->method = "POST";
    d->key = o->op->key;
    d->payload_hash = p->sha256;
    s3_draft_query(d, "uploadId", p->id);
    s3_draft_header(d, "Content-Type", "application/xml");
}

void s3_parts_cleanup(struct s3_parts *p)
{
    for (unsigned i = 0; i < p->room; i++)
        free(p->etags[i]);
    free(p->etags);
    buf_cleanup(&p->body);
}
