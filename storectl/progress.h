/* progress.h - one line on the terminal that tells how far a long command is. Nothing at all when
 * standard error is no terminal, with --json, and before the first 100 ms. */
#ifndef STORECTL_PROGRESS_H
#define STORECTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"

struct ctl;

/* The numbers are the command's to change; what is shown follows, at most ten times a second. */
struct progress {
    const char *noun; /* "objects"; NULL: only bytes are counted */
    uint64_t count;   /* done so far */
    uint64_t bytes;
    uint64_t total_bytes; /* 0: unknown, and so is the time that is left */

    struct ctl *c;
    struct loop_timer timer;
    uint64_t began_ms;
    bool shown; /* the line is on the screen */
};

void progress_begin(struct progress *p, struct ctl *c, const char *noun);
/* Wipes the line. */
void progress_end(struct progress *p);
uint64_t progress_elapsed_ms(const struct progress *p);

#endif
