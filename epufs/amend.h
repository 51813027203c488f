/* amend.h - makes or changes a small object of the store so that no change which others make at the
 * same time is lost: it is written only if it still is what was read (If-Match) or still is not
 * there (If-None-Match), and otherwise read and changed once more. Tombstones and intents are
 * written by nothing else. Asynchronous, on the loop's thread; knows nothing of what the bytes
 * mean.
 */
#ifndef EPUFS_AMEND_H
#define EPUFS_AMEND_H

#include <store/store.h>

#include "base/buf.h"

enum { AMEND_TIMEOUT_MS = 30000 };

struct amend;

/* What there is. */
struct amend_seen {
    const char *text; /* NULL: no object. Lives as long as the call */
    size_t len;
    int64_t server_time_s; /* the store's clock at the answer that told; 0: nothing was asked yet,
                              since expect_none */
};

enum amend_verdict {
    AMEND_WRITE, /* what is in the buffer is to be the object */
    AMEND_KEEP,  /* it is right as it is (or there is none, and none is wanted) */
    AMEND_FAIL,  /* *err is set: ends with it, nothing is written */
};

struct amend_result {
    bool written;
    int64_t server_time_s;      /* the store's clock at the last answer: when it was right */
    char etag[STORE_ETAG_SIZE]; /* of the object as it is now; "": there is none */
};

struct amend_conf {
    const char *key;  /* copied */
    size_t max_bytes; /* a larger object is an error (STORE_INVALID), a larger text too */
    bool expect_none; /* creates before it reads: one request where there is no object yet */
    /* Of all together. 0: AMEND_TIMEOUT_MS, and each request has the store's own time-out. */
    uint32_t timeout_ms;
    /* Decides, from what is there, what is to be there. May be called several times for one amend:
     * each call begins anew, with an empty buffer. */
    enum amend_verdict (*change)(void *user, const struct amend_seen *seen, struct buf *fresh,
                                 struct store_err *err);
    /* Once, from the loop, unless amend_cancel() came first. *r is valid when err->code is OK.
     * STORE_BUSY: others changed it each time, ten times or until the time was over; it may be
     * tried again. A failed amend may have written all the same (an answer that was lost). */
    void (*done)(void *user, const struct store_err *err, const struct amend_result *r);
    void *user;
};

/* Returns NULL with *err set when it could not be started; then no call-back comes. It must be
 * over, or canceled, before the loop is freed. */
struct amend *amend_start(store *s, store_loop *loop, const struct amend_conf *conf,
                          struct store_err *err);
/* Not from its own change(). No call-back any more; frees in time. A write that is under way may
 * still come true. */
void amend_cancel(struct amend *a);
/* The same, blocking: runs the loop, which must be the caller's own, until it is over. conf->done
 * is not used. */
int amend_now(store *s, store_loop *loop, const struct amend_conf *conf, struct amend_result *r,
              struct store_err *err);

#endif
