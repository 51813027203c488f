/* layout.h - where everything lies in the store. Pure.
 *
 *     tenants/<tenant>/timelines/<timeline>/endpoints/<endpoint>/<gen, 16 hex>/pgdata/<path>
 *     tombstones/tenant/<tenant>
 *     tombstones/timeline/<tenant>/<timeline>
 *     tombstones/endpoint/<tenant>/<timeline>/<endpoint>/<2^64-1-gen, 16 hex>
 *     intents/<job_id>
 *
 * The generation in a tombstone's key is inverted so that a listing's first entry is the highest.
 */
#ifndef EPUFS_LAYOUT_H
#define EPUFS_LAYOUT_H

#include "epufs/scope.h"

enum { LAYOUT_KEY_SIZE = 1025, JOB_ID_SIZE = 65 };

/* A file's key. path must be valid (scope_path_problem). */
void layout_file(const struct scope *endpoint, uint64_t gen, const char *path,
                 char out[LAYOUT_KEY_SIZE]);
/* "…/<gen>/pgdata/": what all files of one generation begin with. */
void layout_files(const struct scope *endpoint, uint64_t gen, char out[LAYOUT_KEY_SIZE]);
/* "tenants/…/": what everything of the scope begins with, with the trailing slash. */
void layout_scope(const struct scope *s, char out[LAYOUT_KEY_SIZE]);
/* The bound for a deletion of an endpoint's generations up to upto_gen: the first key that is not
 * deleted. Returns false when there is no bound, since upto_gen is the highest. */
bool layout_end_before(const struct scope *endpoint, uint64_t upto_gen, char out[LAYOUT_KEY_SIZE]);
/* The tombstone that fences the scope; gen counts only for endpoints. */
void layout_tombstone(const struct scope *s, uint64_t gen, char out[LAYOUT_KEY_SIZE]);
/* What all tombstones of an endpoint begin with, with the trailing slash. */
void layout_tombstones(const struct scope *endpoint, char out[LAYOUT_KEY_SIZE]);
/* The generation in an endpoint tombstone's key. */
bool layout_tombstone_gen(const char *key, uint64_t *gen);
void layout_intent(const char *job_id, char out[LAYOUT_KEY_SIZE]);
#define LAYOUT_INTENTS    "intents/"
#define LAYOUT_TOMBSTONES "tombstones/"

#endif
