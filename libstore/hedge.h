/* hedge.h - when an answer is late enough to ask a second time; pure. An estimate of the time that
 * all but the slowest 2 % of the answers take, which follows the store's habits. One thread. */
#ifndef LIBSTORE_HEDGE_H
#define LIBSTORE_HEDGE_H

#include <stdint.h>

struct hedge { /* zeroed at first */
    double slow_ms;
    unsigned seen;
};

/* An answer has begun after so many milliseconds. */
void hedge_saw(struct hedge *h, uint32_t ms);
/* How long to wait before the second request; 0: too little is known yet. */
uint32_t hedge_after_ms(const struct hedge *h);

#endif
