/* retry.h - what a failed request means, decided in one place; pure. Sources: "Error responses" of
 * the Amazon S3 API reference, "Retry behavior" of the AWS SDKs and Tools Reference Guide, and what
 * other stores were seen to answer. */
#ifndef LIBSTORE_RETRY_H
#define LIBSTORE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include <store/error.h>

enum answer_kind {
    ANSWER_WHOLE,     /* there is an answer */
    ANSWER_NOT_SENT,  /* no connection: the server saw nothing */
    ANSWER_UNTRUSTED, /* no connection, because a certificate was refused */
    ANSWER_BROKEN,    /* lost, cut or garbled on the way: the server may have acted */
    ANSWER_LATE,      /* our deadline has passed before there was one */
    ANSWER_LOCAL,     /* our own side gave up */
    ANSWER_NO_MEMORY, /* the same, for want of memory */
};

/* What has to be done, once, before the same request may succeed. */
enum remedy {
    REMEDY_NONE,
    REMEDY_CLOCK,       /* learn the server's time from its answer */
    REMEDY_REGION,      /* sign for the region that the answer names, and go there */
    REMEDY_CREDENTIALS, /* get new ones */
};

struct verdict {
    enum store_code code; /* STORE_OK: a success */
    bool retry;           /* the same request may succeed later */
    bool throttled;       /* the store asks to slow down: all of us */
    bool failure;         /* the backend's fault, not the caller's: counts for the error rate */
    enum remedy remedy;
};

/* status and the error's <Code> ("" when there was none). */
struct verdict retry_judge(enum answer_kind kind, int status, const char *code);

/* The wait before try number `attempt` (1: the first retry): full jitter below an exponential
 * ceiling of 100 ms to 10 s, and at least the server's hint. random: any 32 random bits. */
uint32_t retry_delay_ms(unsigned attempt, uint32_t hint_ms, uint32_t random);

#endif
