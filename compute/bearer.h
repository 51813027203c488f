/* bearer.h - the token: from a file, which is read again when it has changed, or from the
 * environment variable EPUFS_TOKEN. Never from the command line, which every process can see.
 *
 * The service checks the token; here it only tells whose files these are: its claims tenant_id,
 * timeline_id, endpoint_id and gen. The token stands in no message. One thread. */
#ifndef COMPUTE_BEARER_H
#define COMPUTE_BEARER_H

#include <stdbool.h>
#include <stdint.h>

#include <store/error.h>

#include "epufs/scope.h"

#define BEARER_ENV "EPUFS_TOKEN"
enum { BEARER_MAX_BYTES = 16 * 1024 };

struct bearer;

/* file: NULL or "" takes the environment's. Returns 0, or -1 with *err set. */
int bearer_open(const char *file, struct bearer **out, struct store_err *err);
void bearer_close(struct bearer *b); /* wipes the token; NULL is fine */

const char *bearer_token(const struct bearer *b);         /* until the next bearer_refresh() */
const struct scope *bearer_scope(const struct bearer *b); /* an endpoint's */
uint64_t bearer_gen(const struct bearer *b);
unsigned bearer_serial(const struct bearer *b); /* which of its tokens that is */
/* The one of that serial was refused. Whether there is another one now: it may have been replaced
 * since it was used; otherwise the file is read again. It has to be for the same endpoint and
 * generation: one for something else is not taken in the middle of a run. */
bool bearer_refresh(struct bearer *b, unsigned refused);

#endif
