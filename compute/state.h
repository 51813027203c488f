/* state.h - what this compute knows of its files in the service: each one's version, which an
 * upload is conditional on, and its content, so that only what has changed is stored. It lies in
 * PGDATA/pgsql_tmp.epufs/state.json and belongs to one endpoint in one generation: for another one
 * nothing is known.
 *
 * A load begins by removing it, and ends by writing it anew: whoever starts is the newest user of
 * the endpoint. Nothing is lost with it but an upload more. One thread. */
#ifndef COMPUTE_STATE_H
#define COMPUTE_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include <store/error.h>

#include "compute/bearer.h"
#include "compute/client.h"
#include "compute/manifest.h"
#include "compute/staging.h"

#define STATE_NAME "state.json"

struct state_file {
    char *path;
    char version[CLIENT_ETAG_SIZE]; /* in the service; "": there is none */
    char sha256[DIGEST_SIZE];       /* of that version; "": not known */
};

struct state {
    bool is_known;   /* what is not among the files is not in the service */
    bool is_pending; /* the manifest below may, or may not, have been stored already */
    struct state_file *files;
    size_t n;
    struct manifest manifest; /* the last one that was stored, or read */
};

/* Never fails: what cannot be read is not known. */
void state_load(const struct staging *s, const struct bearer *b, struct state *st);
int state_save(struct staging *s, const struct bearer *b, const struct state *st,
               struct store_err *err);
void state_cleanup(struct state *st); /* all zero is an empty one */

const struct state_file *state_find(const struct state *st, const char *path); /* NULL: none */
/* NULL leaves version or sha256 as it is. */
void state_set(struct state *st, const char *path, const char *version, const char *sha256);
/* Takes the versions from a listing, as the reader gives it in JSON, and forgets all that was known
 * before. Returns 0, or -1 with STORE_CORRUPT. */
int state_take_listing(struct state *st, const char *text, size_t n, struct store_err *err);

#endif
