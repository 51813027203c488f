/* parts.h - what uploads in parts have in common, whether their parts are sent (multipart.c) or
 * copied on the store's side (copy.c): AbortMultipartUpload and CompleteMultipartUpload of the
 * Amazon S3 API reference. */
#ifndef LIBSTORE_S3_PARTS_H
#define LIBSTORE_S3_PARTS_H

#include "libstore/s3/s3.h"

/* An upload begun; zeroed memory is none. */
struct s3_parts {
    /* The store's name for it; "": none was begun. Not allocated: what is begun must be known, to
     * be removed again. */
    char id[STORE_VERSION_SIZE];
    char **etags;     /* of parts 1 to n; those that the store does not have yet are NULL */
    unsigned n, room; /* room: what etags has memory for */
    struct buf body;  /* of the completion */
    char sha256[65];  /* of that body */
};

/* Takes over what the store said when the upload began. Returns -1 with *err set when it cannot. */
int s3_parts_begun(struct s3_parts *p, const struct xml_doc *doc, const struct s3_op *o,
                   struct store_err *err);
/* Makes room for the ETag of one more part, which is not counted yet. False: out of memory. */
bool s3_parts_grow(struct s3_parts *p);
/* The request that removes the parts, with a few seconds of its own, for what calls for it may be
 * that the time is up. The caller sets `done`, and `fill` to what calls s3_parts_fill_abort(). */
struct s3_request_conf s3_parts_abort(const struct s3_op *o);
void s3_parts_fill_abort(const struct s3_parts *p, const struct s3_op *o, struct s3_draft *d);
/* The request that makes one object of parts 1 to n; `done` and `fill` as above. Borrows p->body.
 * False: out of memory. */
bool s3_parts_complete(struct s3_parts *p, const struct s3_op *o, const char *what,
                       struct s3_request_conf *conf);
void s3_parts_fill_complete(const struct s3_parts *p, const struct s3_op *o, struct s3_draft *d);
void s3_parts_cleanup(struct s3_parts *p);

#endif
