#include "libstore/hedge.h"

enum { LEARN_FROM = 100, MIN_MS = 10, MAX_MS = 2000 };

/* Steps up when an answer was slower, down when it was faster, 98 to 2 in size: in the balance 2 %
 * are slower. Relative steps, so that the estimate finds microseconds and seconds alike. */
static const double step = 0.05, share_slower = 0.02;

void hedge_saw(struct hedge *h, uint32_t ms)
{
    double x = (double)ms + 1;
    if (h->seen == 0)
        h->slow_ms = x;
    else if (x > h->slow_ms)
        h->slow_ms *= 1 + step * (1 - share_slower);
    else
        h->slow_ms *= 1 - step * share_slower;
    if (h->seen < LEARN_FROM)
        h->seen++;
}

uint32_t hedge_after_ms(const struct hedge *h)
{
    if (h->seen < LEARN_FROM)
        return 0;
    if (h->slow_ms < MIN_MS)
        return MIN_MS;
    return h->slow_ms > MAX_MS ? MAX_MS : (uint32_t)h->slow_ms;
}
