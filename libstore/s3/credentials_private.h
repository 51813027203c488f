/* credentials_private.h - credentials_open() with a clock and times of one's own: for tests. */
#ifndef LIBSTORE_S3_CREDENTIALS_PRIVATE_H
#define LIBSTORE_S3_CREDENTIALS_PRIVATE_H

#include "libstore/s3/credentials.h"

struct credentials_timing {
    /* What expiry, renewal and back-off are told by; from any thread. It may only be ahead of real
     * time: the thread sleeps by the real clock, and credentials_ask() wakes it when this one
     * says that something is due. */
    uint64_t (*now_ms)(void);
    uint32_t early_ms;         /* so long before they expire, credentials are renewed */
    uint32_t pause_ms;         /* between two successful attempts, at least */
    uint32_t first_backoff_ms; /* after a failed attempt; doubles with each further one */
    uint32_t max_backoff_ms;
    uint32_t attempt_ms; /* all requests of one attempt, with their retries */
    uint32_t request_ms; /* one request, instead of what its provider takes; 0: that */
};

int credentials_open_timed(const struct credentials_conf *conf,
                           const struct credentials_timing *timing, struct credentials **out,
                           struct store_err *err);

#endif
