/* guard.h - a guard against mass deletion, such as by a control plane that has gone wrong: when
 * more tenants than so many are to be deleted within a while, further ones are held until an
 * operator releases them. Counts what this process has accepted. Thread-safe. */
#ifndef JANITOR_GUARD_H
#define JANITOR_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guard;

/* At most max_tenants (0: no guard) in any window_ms. */
struct guard *guard_new(size_t max_tenants, uint64_t window_ms);
void guard_free(struct guard *g); /* NULL is fine */
/* Whether one more would be too many, at now_ms (clock_mono_ms()). */
bool guard_holds(struct guard *g, uint64_t now_ms);
/* One was let through. */
void guard_count(struct guard *g, uint64_t now_ms);

#endif
