/* files.h - the known files: which paths below PGDATA may be stored, and how large. An allow-list
 * of shell patterns in which '*' does not cross a '/' (fnmatch(3), FNM_PATHNAME). Immutable. */
#ifndef EPUFS_FILES_H
#define EPUFS_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include <store/error.h>

struct known_files;

/* What Postgres and Neon write, and the manifest of compute/manifest.h: */
#define KNOWN_FILES_DEFAULT                                                               \
    "autoprewarm.blocks,lfc_state,pg_stat_statements.stat,pg_stat/*.stat,pg_stat/*.json," \
    "epufs_manifest.json=256KiB"

/* list: patterns divided by commas, each with an optional limit of its own: "lfc_state=64MiB".
 * max_bytes bounds the others. -1 with STORE_INVALID names what is wrong. */
int known_files_parse(const char *list, uint64_t max_bytes, struct known_files **out,
                      struct store_err *err);
void known_files_free(struct known_files *k);
/* Whether path is known; *max_bytes gets the limit of the first pattern that matches. */
bool known_files_match(const struct known_files *k, const char *path, uint64_t *max_bytes);

#endif
