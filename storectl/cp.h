/* cp.h - the two halves of cp, and what they share. */
#ifndef STORECTL_CP_H
#define STORECTL_CP_H

#include "storectl/place.h"
#include "storectl/transfer.h"

struct ctl;

struct cp {
    struct ctl *c;
    struct place from, to;
    struct store_put_opts put;
};

/* cp -r. */
void cp_tree(struct cp *cp);

/* Tells of an object that was copied: with --json, or with --verbose. */
void cp_tell(struct ctl *c, const char *from, const char *to, const struct transfer_result *r);
/* Reports the failure of a transfer: quietly when nobody reads standard output. */
void cp_fail(struct ctl *c, const struct store_err *err);

#endif
