/* walk.h - the regular files below a local folder, one at a time, each opened.
 *
 * Works with descriptors from the folder down, so that nothing which is exchanged for a symbolic
 * link meanwhile leads out of it. */
#ifndef STORECTL_WALK_H
#define STORECTL_WALK_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

enum { WALK_MAX_DEPTH = 128 };

struct walk {
    bool follow; /* symbolic links */
    size_t depth;
    struct {
        DIR *dir;
        size_t name_len; /* of `name`, up to this folder, with the '/' */
        uint64_t dev, ino;
    } stack[WALK_MAX_DEPTH];
    char *name;       /* of what is looked at, relative to the root */
    uint64_t skipped; /* symbolic links, sockets, devices */
};

int walk_open(struct walk *w, const char *folder, bool follow, struct store_err *err);

enum walk_result { WALK_FILE, WALK_END, WALK_FAILED };
/* WALK_FILE: *name lives until the next call, *fd is the caller's. WALK_FAILED: *err names a file
 * or folder that could not be read; the walk goes on behind it. */
enum walk_result walk_next(struct walk *w, const char **name, int *fd, uint64_t *size,
                           struct store_err *err);
void walk_close(struct walk *w);

#endif
