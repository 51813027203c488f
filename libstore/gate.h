/* gate.h - how fast the bulk requests of a store may go: slow start, and one brake for SlowDown.
 *
 * Every bulk request (a batch of deletes, a listing, a part) asks before each try, with the number
 * of keys that it touches, and reports how it ended. All loops of a store share one gate:
 * thread-safe, no I/O, no clock and no chance of its own. Amazon counts each key of a DeleteObjects
 * as a request, so a rate is in keys per second.
 *
 * Until the store first asks to slow down only the requests under way are bounded, and the bound
 * doubles with each round: a store that never does is not held back. From then on requests are
 * spaced by a rate, which a throttled answer lowers by a little (once for all that were under way),
 * and which grows again, slowly at first and ever faster the longer the store is content. So the
 * store is kept busy at the price of a few answers of SlowDown, and one that allows more is found
 * out within seconds. */
#ifndef LIBSTORE_GATE_H
#define LIBSTORE_GATE_H

#include <stdint.h>

struct gate;
struct gate *gate_new(void);    /* NULL: no memory */
void gate_free(struct gate *g); /* NULL is fine */

/* 0: go, and report the end with gate_report(), whatever becomes of it. Otherwise: ask again in so
 * many milliseconds, at most 10,000; nothing is kept of the question. now_ms is CLOCK_MONOTONIC. */
uint32_t gate_ask(struct gate *g, uint32_t keys, uint64_t now_ms);

enum gate_outcome {
    GATE_DONE,      /* the store did it, or refused it for another reason */
    GATE_THROTTLED, /* SlowDown, 429, 503 */
    GATE_LOST,      /* no answer */
};
void gate_report(struct gate *g, uint32_t keys, uint64_t now_ms, enum gate_outcome how);

/* How many keys one request should hold at most: 1000, and 250 while the store throttles. To be
 * asked right before gate_ask(), each time. A store that allows less than a second's worth of its
 * rate at once cannot take whole batches at that rate: one that comes a moment too early is
 * refused, and what has gathered for it meanwhile is lost. */
uint32_t gate_batch(struct gate *g);

#endif
