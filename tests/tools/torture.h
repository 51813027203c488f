/* torture.h - what programs share that let calls fail one after the other: messages, and a look at
 * what is in use. */
#ifndef TESTS_TOOLS_TORTURE_H
#define TESTS_TOOLS_TORTURE_H

#include <stddef.h>

#include <store/error.h>

/* Prints, behind what was being done, and ends the process with status 1. */
_Noreturn void torture_fail(const char *fmt, ...) STORE_PRINTF_LIKE(1, 2);
/* Says in messages what is being done. */
void torture_doing(const char *fmt, ...) STORE_PRINTF_LIKE(1, 2);

/* Entries of a folder, without those that begin with a dot. */
size_t torture_entries(const char *path);

/* Descriptors and memory that are in use; see faultline_blocks(). */
struct torture_use {
    size_t fds;
    long blocks;
};
struct torture_use torture_use_now(void);
/* Fails when it is not as it was. */
void torture_check_use(struct torture_use before);

#endif
