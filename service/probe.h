/* probe.h - asks the store now and then whether it answers, on a thread of its own, so that
 * readiness costs a request nothing. */
#ifndef SERVICE_PROBE_H
#define SERVICE_PROBE_H

#include <stdatomic.h>

#include <store/store.h>

struct probe;
/* Sets *ready: true after an answer, false after three failures in a row. Never NULL. */
struct probe *probe_start(store *s, atomic_bool *ready);
void probe_stop(struct probe *p);

#endif
