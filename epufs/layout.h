/* layout.h - where everything lies in the store. Pure, but for layout_open_timeline().
 *
 *     tenants/<tenant>/timelines/<timeline>/endpoints/<endpoint>/<gen, 16 hex>/pgdata/<path>
 *     tombstones/tenant/<tenant>
 *     tombstones/timeline/<tenant>/<timeline>
 *     tombstones/endpoint/<tenant>/<timeline>/<endpoint>/<2^64-1-gen, 16 hex>
 *     intents/<job_id>
 *     writers/<seconds, 8 digits>-<id>    how long uploads of a writer may take: window.h
 *     guard/<tenant>                      tenants whose deletion was let through: mass_guard.h
 *     deadletters/<topic>/<partition>-<offset>, or job-<job_id>
 *
 * The generation in a tombstone's key is inverted so that a listing's first entry is the highest.
 *
 * Who serves the files of an endpoint gets them from a store that was narrowed to their timeline,
 * so that no mistake in a key can lead to those of another one. Tombstones, intents and deletions
 * need the whole store. */
#ifndef EPUFS_LAYOUT_H
#define EPUFS_LAYOUT_H

#include <store/store.h>

#include "epufs/scope.h"

enum { LAYOUT_KEY_SIZE = 1025, JOB_ID_SIZE = 65 };

/* The part of the store that holds the files of s's timeline, and nothing else. s is a timeline or
 * an endpoint. *out is the caller's: store_close(); operations may outlast it. Returns 0, or -1
 * with STORE_NO_MEMORY. */
int layout_open_timeline(store *whole, const struct scope *s, store **out, struct store_err *err);
/* In that part: a file's key. path must be valid (scope_path_problem). */
void layout_file(const struct scope *endpoint, uint64_t gen, const char *path,
                 char out[LAYOUT_KEY_SIZE]);
/* In that part: "endpoints/<endpoint>/", what the folders of all generations begin with. */
void layout_generations(const struct scope *endpoint, char out[LAYOUT_KEY_SIZE]);
/* In that part: "…/<gen>/pgdata/", what all files of one generation begin with. */
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
/* Whose tombstone a key is; *gen is 0 but for endpoints. False: it is none. */
bool layout_tombstone_parse(const char *key, struct scope *s, uint64_t *gen);
/* The generation in an endpoint tombstone's key. */
bool layout_tombstone_gen(const char *key, uint64_t *gen);
void layout_intent(const char *job_id, char out[LAYOUT_KEY_SIZE]);
void layout_guard(const char *tenant, char out[LAYOUT_KEY_SIZE]);
#define LAYOUT_GUARD        "guard/"
#define LAYOUT_INTENTS      "intents/"
#define LAYOUT_TOMBSTONES   "tombstones/"
#define LAYOUT_WRITERS      "writers/"
#define LAYOUT_DEAD_LETTERS "deadletters/"

#endif
