/* staging.h - puts files into PGDATA so that each is old or new, whole, whatever happens.
 *
 * New files are written into a folder of ours inside PGDATA, PGDATA/pgsql_tmp.epufs: the same file
 * system, so that a rename moves them; and a name that pg_basebackup and pg_rewind leave out, so
 * that no backup has it. Each is synced before any is renamed into place, and the folders after.
 * What a killed run has left is removed when the next one opens the folder. A lock on the folder
 * keeps two runs apart; it ends with the process.
 *
 * Nothing is followed: every folder on the way is opened with O_NOFOLLOW, relative to the one
 * before, so that no link leads out of PGDATA (which may be a link itself). Files get mode 0600
 * and, when we are root, the owner of PGDATA.
 *
 * The folder also holds our state (state.h): staging_read(), staging_write().
 * One thread. Errors name the path. */
#ifndef COMPUTE_STAGING_H
#define COMPUTE_STAGING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

#include "base/buf.h"

#define STAGING_FOLDER "pgsql_tmp.epufs"

struct staging;

/* Opens PGDATA and the folder, which is made when it is not there, and waits until deadline_ms
 * (clock_mono_ms) for the lock: STORE_BUSY when another run has it still. Returns 0, or -1 with
 * *err set. */
int staging_open(const char *pgdata, uint64_t deadline_ms, struct staging **out,
                 struct store_err *err);
void staging_close(struct staging *s); /* removes what was not placed; NULL is fine */

int staging_pgdata(const struct staging *s); /* PGDATA's descriptor; stays s's */

/* A file below PGDATA for reading, or -1 with *err set: STORE_NOT_FOUND; STORE_INVALID when it is
 * no regular file. *size gets its size. The caller closes it. */
int staging_open_file(const struct staging *s, const char *path, uint64_t *size,
                      struct store_err *err);

/* ---- New files ---- */

/* Begins the file with this number, below STAGING_MAX. A second call for a number begins it anew.
 */
enum { STAGING_MAX = 4096 };
int staging_begin(struct staging *s, size_t number, struct store_err *err);
int staging_add(struct staging *s, const void *bytes, size_t n, struct store_err *err);
/* Ends what was begun last, and has the kernel begin to write it. *fd is the caller's to read and
 * to close. */
void staging_finish(struct staging *s, int *fd);
/* Waits until the file is on disk: each has to be before any is placed. */
int staging_settle(const struct staging *s, int fd, struct store_err *err);
/* Renames a finished one to its path below PGDATA; folders on the way are made when they are not
 * there. The path must be valid (scope_path_problem). Durable after staging_sync(). */
int staging_place(struct staging *s, size_t number, const char *path, struct store_err *err);
/* Has the folders of all that was placed on disk. */
int staging_sync(struct staging *s, struct store_err *err);

/* ---- Small files of our own, in the folder ---- */

/* Appends the file's content. STORE_NOT_FOUND: there is none. */
int staging_read(const struct staging *s, const char *name, struct buf *out, struct store_err *err);
/* Replaces it, whole. A crash of the machine may undo that; one of the process does not. */
int staging_write(struct staging *s, const char *name, const void *bytes, size_t n,
                  struct store_err *err);
int staging_remove(struct staging *s, const char *name, struct store_err *err);

#endif
