/* manifest.h - the facts that travel with the files, as the known file epufs_manifest.json:
 *
 *     {"schema":1,"major":15,"system_identifier":"7312098374651",
 *      "files":{"autoprewarm.blocks":[{"size":11464,"sha256":"…"}]}}
 *
 * A file is loaded only by a server of that version and identifier, and only when it is one of
 * those that are listed for its path. There may be several: the manifest is stored before the
 * files, and names what is there as well as what is to come, so that it fits whatever an
 * interrupted run has left. It is never put into PGDATA. Pure. One thread. */
#ifndef COMPUTE_MANIFEST_H
#define COMPUTE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

#include "base/buf.h"
#include "compute/digest.h"
#include "compute/pgfiles.h"

/* The name; epufs/files.h has it among the known files. */
#define MANIFEST_PATH "epufs_manifest.json"
enum { MANIFEST_MAX_BYTES = 256 * 1024, MANIFEST_KEEP = 4, MANIFEST_MAX_FILES = 256 };

struct manifest_file {
    char *path;
    size_t n; /* of the newest first; at least 1 */
    struct manifest_content {
        uint64_t size;
        char sha256[DIGEST_SIZE];
    } contents[MANIFEST_KEEP];
};

struct manifest {
    struct cluster cluster;
    struct manifest_file *files;
    size_t n;
};

void manifest_cleanup(struct manifest *m); /* all zero is an empty one */
/* Returns 0, or -1 with STORE_CORRUPT that says what is wrong; *m is then empty. */
int manifest_parse(const char *text, size_t n, struct manifest *m, struct store_err *err);
/* Appends its text; the same manifest has the same text. */
void manifest_text(const struct manifest *m, struct buf *out);
/* Whether its files are for this cluster: 0, or -1 with STORE_INVALID. */
int manifest_fits(const struct manifest *m, const struct cluster *c, struct store_err *err);
/* Whether this content is listed for the path. */
bool manifest_has(const struct manifest *m, const char *path, uint64_t size, const char *sha256);
/* Lists a content first for the path. Beyond MANIFEST_KEEP the oldest is forgotten. -1 with
 * STORE_INVALID: more than MANIFEST_MAX_FILES paths. */
int manifest_add(struct manifest *m, const char *path, uint64_t size, const char *sha256,
                 struct store_err *err);
/* Forgets all contents of the path but this one, which has to be listed. */
void manifest_settle(struct manifest *m, const char *path, const char *sha256);

#endif
