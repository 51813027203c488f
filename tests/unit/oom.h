/* oom.h - fails the nth allocation of a test's process, those of its libraries included.
 *
 *     for (long n = 1; ; n++) {
 *         oom_fail_nth(n);
 *         ... what must survive it; no asserts here ...
 *         if (!oom_stop())
 *             break;                      // fewer than n allocations were made: all were tried
 *     }
 *
 * Defines malloc(), calloc() and realloc(): to be included by one file of a test program. For
 * tests of one thread. Under a sanitizer that has an allocator of its own OOM_AVAILABLE is 0 and
 * nothing fails: call skip(). */
#ifndef TESTS_UNIT_OOM_H
#define TESTS_UNIT_OOM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OOM_AVAILABLE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || \
    __has_feature(thread_sanitizer)
#define OOM_AVAILABLE 0
#endif
#endif
#ifndef OOM_AVAILABLE
#define OOM_AVAILABLE 1
#endif

static long oom_countdown; /* 0: off */
static bool oom_happened;

static inline void oom_fail_nth(long n)
{
    oom_happened = false;
    oom_countdown = n;
}

/* Returns whether an allocation was failed. */
static inline bool oom_stop(void)
{
    oom_countdown = 0;
    return oom_happened;
}

#if OOM_AVAILABLE
/* glibc's own, below whatever replaces the public names */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t n);

static inline bool oom_is_due(void)
{
    if (oom_countdown == 0 || --oom_countdown > 0)
        return false;
    oom_happened = true;
    errno = ENOMEM;
    return true;
}

/* Visible whatever -fvisibility says, so that shared libraries use them too. */
__attribute__((visibility("default"))) void *malloc(size_t n)
{
    return oom_is_due() ? NULL : __libc_malloc(n);
}

__attribute__((visibility("default"))) void *calloc(size_t count, size_t size)
{
    return oom_is_due() ? NULL : __libc_calloc(count, size);
}

__attribute__((visibility("default"))) void *realloc(void *p, size_t n)
{
    return oom_is_due() ? NULL : __libc_realloc(p, n);
}
#endif

#endif
