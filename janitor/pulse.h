/* pulse.h - since when the store has been seen to answer promptly, without a gap.
 *
 * A store that stalls may hold the last bytes of an upload in its sockets, long past every deadline
 * of the writer's, and store them when it goes on: so time in which nobody knows whether it works
 * does not count for a drain. While there are open deletions a thread of its own asks the store for
 * a key now and then. An answer that is late, none at all, or a gap between two looks (we were
 * stopped ourselves) begins the count anew, at the next prompt answer. What is shorter than
 * PULSE_EVERY_MS + PULSE_PROMPT_MS is not seen as a gap: the network's term of the upload window
 * covers it. */
#ifndef JANITOR_PULSE_H
#define JANITOR_PULSE_H

#include <stdbool.h>
#include <stdint.h>

#include <store/store.h>

enum { PULSE_EVERY_MS = 2000, PULSE_PROMPT_MS = 5000 };

/* ---- The count: pure ---- */

struct pulse_count {
    int64_t since_s;        /* the store's clock, rounded up; 0: nothing was seen yet */
    uint64_t last_ms;       /* our clock_mono_ms() at the latest prompt answer */
    int64_t last_s;         /* the store's clock then */
    int64_t ahead_of_us_ms; /* the store's clock less our clock_real_ms(), by that answer */
};
/* A prompt answer came in. real_ms: our clock_real_ms() then. */
void pulse_saw(struct pulse_count *c, uint64_t now_ms, uint64_t real_ms, int64_t server_time_s);
/* 0: not known now, since the latest prompt answer is too old. */
int64_t pulse_count_since_s(const struct pulse_count *c, uint64_t now_ms);

/* ---- The thread ---- */

struct pulse;

/* wanted: whether anybody needs to know; asked some ten times a second, from the thread. */
int pulse_start(store *s, bool (*wanted)(void *user), void *user, struct pulse **out,
                struct store_err *err);
void pulse_stop(struct pulse *p); /* NULL is fine */
/* Any thread. As pulse_count_since_s(). */
int64_t pulse_since_s(struct pulse *p);
/* Any thread: the store's clock, as far as it can be told from ours; for waiting, never for
 * deciding.
 */
int64_t pulse_store_now_s(struct pulse *p);

#endif
