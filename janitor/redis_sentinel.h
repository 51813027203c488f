/* redis_sentinel.h - asks the sentinels who is the master. */
#ifndef JANITOR_REDIS_SENTINEL_H
#define JANITOR_REDIS_SENTINEL_H

#include "janitor/redis_dial.h"

/* Asks the sentinels of url in turn, from url->nodes[*first] on, until one names the master; its
 * index becomes *first, or, when none did, the next one to begin with: so that one that is silent
 * uses up the time of one attempt at most. A silent one gets half of the time that is left. tls
 * NULL: plain. password NULL: they want none. -1 with *err set, naming the sentinel that failed
 * last. */
int redis_sentinel_find(const struct redis_url *url, size_t *first,
                        const struct redis_tls_conf *tls, const char *password,
                        uint64_t deadline_ms, struct redis_node *master, struct store_err *err);

#endif
