/* rate.h - how fast objects are removed: token buckets, one for all and one for each tenant, so
 * that neither the store nor the other tenants suffer from a large deletion. Counts what is gone
 * already: who took too much waits until it is paid back. Thread-safe. */
#ifndef JANITOR_RATE_H
#define JANITOR_RATE_H

#include <stdint.h>

struct rate;

/* Objects a second; 0: no bound. */
struct rate *rate_new(uint64_t all_per_s, uint64_t tenant_per_s);
void rate_free(struct rate *r); /* NULL is fine */
/* n objects of the tenant are gone. Returns how many ms to wait before there may be more; 0: none.
 */
uint32_t rate_take(struct rate *r, const char *tenant, uint64_t n, uint64_t now_ms);
/* How many batches of 1,000 may be under way at once without going far beyond; 0: no bound. */
uint32_t rate_batches(const struct rate *r);

#endif
