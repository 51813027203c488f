/* faultline.h - makes one call to the C library fail, or kills the process there.
 *
 * A program that links faultline.o has its own malloc(), openat(), write(), connect() … which count
 * and then call the real ones; faultline.c lists them with the errors that each may be given. The
 * libraries that the program uses go through them too. Only calls from the program's own code
 * count (libstore is linked into it from the archive), unless the plan says otherwise.
 *
 * Every call failing once, with every error that it may have:
 *
 *     for (unsigned long nth = 1, variant = 0;;) {
 *         struct faultline_report r;
 *         ... what the scenario begins with ...
 *         long blocks = faultline_blocks();
 *         faultline_arm(&(struct faultline_plan){.classes = FAULTLINE_SYSTEM, .nth = nth,
 *                                                .variant = variant});
 *         ... the scenario ...
 *         faultline_disarm(&r);
 *         if (!r.hit)
 *             break;                               // it makes fewer than nth calls
 *         ... no success that is none; faultline_blocks() == blocks; r.function for messages ...
 *         if (++variant >= r.variants)
 *             nth++, variant = 0;
 *     }
 *
 * Dying at every call: the same in a child of fork(), with an action FAULTLINE_KILL_…; the parent
 * sees SIGKILL, or that the child came to its end. The child is to have one thread when it begins.
 *
 * Network: FAULTLINE_NETWORK are the calls about sockets. libcurl makes some, so set `everyone`. A
 * socket that is watched for edges gets one after an EAGAIN or a short count, as from the kernel.
 *
 * Threads: calls of all threads are counted. Arm and disarm from one, while the others are idle.
 * Some sanitizers bring an allocator of their own: then FAULTLINE_MEMORY counts nothing, and
 * faultline_blocks() is always 0 (their own search for leaks takes its place). With gcc's
 * AddressSanitizer both work, since the Makefile compiles faultline.c without it. */
#ifndef TESTS_TOOLS_FAULTLINE_H
#define TESTS_TOOLS_FAULTLINE_H

#include <stdbool.h>

enum {
    FAULTLINE_MEMORY = 1, /* malloc() and its like fail */
    FAULTLINE_SYSTEM = 2, /* files, folders, descriptors, threads */
    FAULTLINE_NETWORK = 4,
};

enum faultline_action {
    FAULTLINE_FAIL,        /* with an error of the call's list; "short" does a part of it */
    FAULTLINE_KILL_BEFORE, /* SIGKILL instead of the call */
    FAULTLINE_KILL_MIDWAY, /* after half its bytes; only calls that move bytes count */
    FAULTLINE_KILL_AFTER,  /* before the call returns */
};

struct faultline_plan {
    unsigned classes; /* of calls that count */
    enum faultline_action action;
    unsigned long nth; /* the call that is meant, from 1 */
    unsigned variant;  /* FAIL: which error of its list, from 0 */
    bool everyone;     /* also calls that libraries make, */
    const char *spare; /* but for those whose file's name contains this; NULL: none */
};

struct faultline_report {
    bool hit;             /* the nth call came */
    unsigned long calls;  /* that counted */
    const char *function; /* which it was; "" when none */
    int error;            /* the errno it was given; 0: none (short, or the end) */
    unsigned variants;    /* length of its list */
};

void faultline_arm(const struct faultline_plan *plan);
void faultline_disarm(struct faultline_report *out);

/* fsync() says yes without asking the disk: for tests that end processes, not machines. It counts
 * and fails as before. */
void faultline_skip_syncs(void);

/* Blocks of memory that are allocated now, by the program and its libraries. */
long faultline_blocks(void);

#endif
