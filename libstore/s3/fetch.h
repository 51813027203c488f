/* fetch.h - one HTTP exchange at a time with a peer that hands out credentials: over http.h, but
 * waiting for the answer, since a thread of its own does it. */
#ifndef LIBSTORE_S3_FETCH_H
#define LIBSTORE_S3_FETCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <store/error.h>

#include "base/buf.h"
#include "base/loop.h"

enum { FETCH_MAX_ANSWER_BYTES = 64 * 1024 };

struct fetcher {
    struct loop *loop;    /* this thread's; a task posted to it ends a wait early */
    const char *ca_file;  /* NULL: the system's */
    atomic_bool *stop;    /* true: give up at once, with STORE_CANCELED */
    uint64_t deadline_ms; /* CLOCK_MONOTONIC, for all exchanges together */
    uint32_t request_ms;  /* instead of each request's own deadline; 0: those count */
};

struct fetch_answer { /* yours: fetch_answer_cleanup() */
    int status;
    int64_t date_s; /* the peer's clock; 0: not told */
    struct buf body;
};

struct fetch_request {
    const char *peer; /* for messages: "STS" */
    /* http(s)://host[:port]. Its address stands for the host: the same pointer must mean the same
     * host, and live, as long as the loop. */
    const char *base_url;
    const char *method, *target;
    const char *headers; /* "Name: value\n" lines; NULL: none */
    const char *body;    /* NULL: none */
    uint32_t timeout_ms; /* of one try, connecting included */
    unsigned tries;
    /* Whether an answer below 500 is worth another try as well; NULL: none is but 408 and 429. */
    bool (*is_transient)(const struct fetch_answer *a);
};

/* Sends the request until there is an answer that another try will hardly change, or the tries are
 * used up, with growing pauses. Returns 0 with *a (of any status), or -1 with STORE_BUSY (no
 * answer, or not in time), STORE_FAILED (too long an answer, a local failure), STORE_CANCELED,
 * STORE_NO_MEMORY; *a needs no cleanup then. */
int fetch(struct fetcher *f, const struct fetch_request *r, struct fetch_answer *a,
          struct store_err *err);
void fetch_answer_cleanup(struct fetch_answer *a); /* wipes */

#endif
