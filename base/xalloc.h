/* xalloc.h - allocation for the programs: out of memory ends the process, since a service that
 * cannot log or answer is better restarted. libstore does not use these: a library must not end
 * its host. All results are freed with free(). */
#ifndef BASE_XALLOC_H
#define BASE_XALLOC_H

#include <stddef.h>

#include <store/error.h>

void *xmalloc(size_t n);
void *xcalloc(size_t count, size_t size); /* zeroed; checks the product */
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s); /* NULL gives NULL */
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) STORE_PRINTF_LIKE(1, 2);

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
