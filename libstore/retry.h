/* retry.h - what a failed request means, decided in one place; pure. Sources: "Error responses" of
 * the Amazon S3 API reference, and what other stores were seen to answer. */
#ifndef LIBSTORE_RETRY_H
#define LIBSTORE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include <store/error.h>

enum answer_kind {
    ANSWER_WHOLE,    /* there is an answer */
    ANSWER_NOT_SENT, /* no connection: the server saw nothing */
    ANSWER_BROKEN,   /* lost, cut or garbled on the way: the server may have acted */
    ANSWER_LOCAL,    /* our own side gave up */
};

struct verdict {
    enum store_code code; /* STORE_OK: a success */
    bool retry;           /* the same request may succeed later */
    bool skewed;          /* the clock differs: learn the server's, then retry once */
};

/* status and the error's <Code> ("" when there was none). */
struct verdict retry_judge(enum answer_kind kind, int status, const char *code);

/* The wait before try number `attempt` (1: the first retry): full jitter below an exponential
 * ceiling of 100 ms to 10 s, and at least the server's hint. random: any 32 random bits. */
uint32_t retry_delay_ms(unsigned attempt, uint32_t hint_ms, uint32_t random);

#endif
