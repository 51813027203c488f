/* loop.h - an event loop on epoll: file descriptors, timers, tasks. One thread runs it; only
 * loop_post() may be called from others. Watches, timers and tasks are memory of the caller, who
 * keeps them alive while they are set. This is what store_loop is inside. */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include <store/error.h>

struct loop;

int loop_new(struct loop **out, struct store_err *err);
void loop_free(struct loop *l); /* frees the attachments (latest first); NULL is fine */
int loop_fd(const struct loop *l);
int loop_timeout_ms(const struct loop *l); /* -1: nothing planned */
/* One round: waits up to wait_ms (-1: for ever), then runs timers, fds, tasks. A deadline that has
 * passed is heard of before the descriptors that it guards, also when the whole process was stopped
 * beyond it: a call-back of a timer may take off the watch whose event is due in this round. EINTR
 * ends the wait early with success. */
int loop_run_once(struct loop *l, int wait_ms, struct store_err *err);
/* CLOCK_MONOTONIC at the start of this round. */
uint64_t loop_now_ms(const struct loop *l);

/* ---- File descriptors ---- */
struct loop_watch {
    void (*fn)(void *user, uint32_t epoll_events);
    void *user;
    int fd;          /* -1: not set */
    uint32_t events; /* EPOLLIN, … */
};
#define LOOP_WATCH_INIT \
    {                   \
        .fd = -1        \
    }
/* Sets or changes what is watched. events may hold EPOLLET. */
int loop_watch_set(struct loop *l, struct loop_watch *w, int fd, uint32_t events,
                   struct store_err *err);
/* Must come before the fd is closed. Events of this round that are still due for w are dropped.
 * Harmless when not set. */
void loop_watch_clear(struct loop *l, struct loop_watch *w);

/* ---- Timers: a binary heap, O(log n) ---- */
struct loop_timer {
    void (*fn)(void *user);
    void *user;
    uint64_t due_ms;
    uint32_t slot; /* 0: not set */
};
/* Runs fn once, delay_ms from now; a set timer is moved. Fails only for want of memory:
 * then it returns -1 and the timer is not set. */
int loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t delay_ms);
void loop_timer_clear(struct loop *l, struct loop_timer *t);
static inline bool loop_timer_is_set(const struct loop_timer *t)
{
    return t->slot != 0;
}

/* ---- Tasks: run once, soon, from loop_run_once() ---- */
struct loop_task {
    void (*fn)(void *user);
    void *user;
    struct loop_task *next, *prev;
    bool queued;
};
void loop_defer(struct loop *l, struct loop_task *t);       /* loop's thread; no-op when queued */
void loop_defer_clear(struct loop *l, struct loop_task *t); /* loop's thread; only for deferred */
/* From any thread: wakes the loop, which then runs the task. The task must not be queued already,
 * and belongs to the loop until fn is called. Cannot fail. */
void loop_post(struct loop *l, struct loop_task *t);

/* ---- Attachments: one value for each (loop, owner), such as a store's connections ---- */
void *loop_attached(const struct loop *l, const void *owner);
/* on_free is called from loop_free(). Returns -1 for want of memory. */
int loop_attach(struct loop *l, const void *owner, void *value, void (*on_free)(void *value));

#endif
