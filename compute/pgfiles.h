/* pgfiles.h - the files that travel: which, why, how large, of which versions of PostgreSQL, and
 * how each is told from something else by its own first (and last) bytes. docs/compute.md has the
 * table in words.
 *
 * Also what a cluster is: its major version and its system identifier. Numbers in Postgres' files
 * are of the machine's byte order; ours is taken for theirs. Reads only what it is given. */
#ifndef COMPUTE_PGFILES_H
#define COMPUTE_PGFILES_H

#include <stdbool.h>
#include <stdint.h>

#include <store/error.h>

struct cluster {
    unsigned major; /* 15 */
    uint64_t system_identifier;
};

struct pgfile {
    const char *pattern; /* relative to PGDATA; '*' does not cross a '/' */
    uint64_t max_bytes;
    unsigned since, until; /* major versions that write it; 0: no bound */
    const char *what;      /* for messages: "a list of blocks to prewarm" */
    /* Whether fd holds such a file: 0, or -1 with STORE_CORRUPT. NULL: its form is not known. */
    int (*check)(int fd, uint64_t size, const struct cluster *c, struct store_err *err);
};
extern const struct pgfile pgfiles[]; /* pattern NULL ends it */

/* PG_VERSION and global/pg_control below PGDATA's descriptor. Returns 0, or -1 with *err set:
 * STORE_INVALID when that is no cluster of version 10 or later. */
int pgfiles_cluster(int pgdata, struct cluster *out, struct store_err *err);

/* The same of PGDATA's path, before anything is written there: a folder that is no cluster yet is
 * left as it is, since initdb wants it empty. */
int pgfiles_cluster_at(const char *pgdata, struct cluster *out, struct store_err *err);

/* The entry for a path; NULL: it is none of them. */
const struct pgfile *pgfiles_find(const char *path);
/* Size, version and form. Returns 0, or -1 with *err set: STORE_INVALID or STORE_CORRUPT. */
int pgfiles_check(const struct pgfile *f, int fd, uint64_t size, const struct cluster *c,
                  struct store_err *err);

#endif
