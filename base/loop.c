#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

enum { EVENTS_PER_ROUND = 128 };

struct attachment {
    const void *owner;
    void *value;
    void (*on_free)(void *value);
    struct attachment *next;
};

struct loop {
    int epoll_fd;
    uint64_t now_ms;
    struct epoll_event events[EVENTS_PER_ROUND]; /* this round's; data.ptr NULL: dropped */
    int n_events;
    struct loop_timer **heap; /* heap[1 .. n_timers]; a timer's slot is its index */
    uint32_t n_timers, heap_cap;
    struct loop_task deferred; /* ring heads: never run themselves */
    struct loop_task running;
    struct attachment *attachments;
    struct loop_watch wakeup; /* an eventfd, written by loop_post() */

    pthread_mutex_t lock; /* guards what follows */
    struct loop_task posted;
};

/* ---- Task rings ---- */

static void ring_init(struct loop_task *head)
{
    head->next = head->prev = head;
}

static bool ring_empty(const struct loop_task *head)
{
    return head->next == head;
}

static void ring_append(struct loop_task *head, struct loop_task *t)
{
    assert(head->prev);
    t->queued = true;
    t->prev = head->prev;
    t->next = head;
    t->prev->next = t;
    head->prev = t;
}

static void ring_remove(struct loop_task *t)
{
    assert(t->queued && t->prev && t->next);
    t->prev->next = t->next;
    t->next->prev = t->prev;
    t->next = t->prev = NULL;
    t->queued = false;
}

/* Moves everything in `from` behind what is in `to`. */
static void ring_move(struct loop_task *to, struct loop_task *from)
{
    if (ring_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    ring_init(from);
}

/* Runs what is deferred now. What the tasks add waits for the next round, so that a task that
 * queues itself anew cannot starve the file descriptors. */
static void tasks_run(struct loop *l)
{
    ring_move(&l->running, &l->deferred);
    while (!ring_empty(&l->running)) {
        struct loop_task *t = l->running.next;
        ring_remove(t);
        t->fn(t->user);
    }
}

void loop_defer(struct loop *l, struct loop_task *t)
{
    if (!t->queued)
        ring_append(&l->deferred, t);
}

void loop_defer_clear(struct loop *l, struct loop_task *t)
{
    (void)l;
    if (t->queued)
        ring_remove(t);
}

void loop_post(struct loop *l, struct loop_task *t)
{
    pthread_mutex_lock(&l->lock);
    ring_append(&l->posted, t);
    /* Under the lock: once the loop has the task, its owner may free the loop. A full counter
     * (EAGAIN) means that the loop is awake already. */
    ssize_t n = write(l->wakeup.fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)n;
    pthread_mutex_unlock(&l->lock);
}

/* The eventfd fired: moves what was posted into this round's tasks. */
static void take_posted(void *user, uint32_t events)
{
    struct loop *l = user;
    uint64_t count;
    (void)events;
    pthread_mutex_lock(&l->lock);
    ssize_t n = read(l->wakeup.fd, &count, sizeof(count));
    (void)n;
    ring_move(&l->deferred, &l->posted);
    pthread_mutex_unlock(&l->lock);
}

/* ---- Life ---- */

int loop_new(struct loop **out, struct store_err *err)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (!l)
        return store_err_set(err, STORE_NO_MEMORY, "loop: out of memory");
    l->wakeup = (struct loop_watch){.fn = take_posted, .user = l, .fd = -1};
    ring_init(&l->deferred);
    ring_init(&l->running);
    ring_init(&l->posted);
    pthread_mutex_init(&l->lock, NULL);
    l->now_ms = clock_mono_ms();
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll_fd < 0 || event_fd < 0) {
        store_err_errno(err, errno, "loop: cannot create epoll or eventfd");
        if (event_fd >= 0)
            close(event_fd);
    } else if (loop_watch_set(l, &l->wakeup, event_fd, EPOLLIN, err) == 0) {
        *out = l;
        return 0;
    } else {
        close(event_fd);
    }
    loop_free(l);
    return -1;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    while (l->attachments) {
        struct attachment *a = l->attachments;
        l->attachments = a->next;
        a->on_free(a->value);
        free(a);
    }
    int event_fd = l->wakeup.fd;
    if (event_fd >= 0) {
        loop_watch_clear(l, &l->wakeup);
        close(event_fd);
    }
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    pthread_mutex_destroy(&l->lock);
    free(l->heap);
    free(l);
}

int loop_fd(const struct loop *l)
{
    return l->epoll_fd;
}

uint64_t loop_now_ms(const struct loop *l)
{
    return l->now_ms;
}

int loop_timeout_ms(const struct loop *l)
{
    if (!ring_empty(&l->deferred))
        return 0;
    if (l->n_timers == 0)
        return -1;
    uint64_t now = clock_mono_ms();
    uint64_t due = l->heap[1]->due_ms;
    if (due <= now)
        return 0;
    return due - now > 3600000 ? 3600000 : (int)(due - now);
}

/* ---- File descriptors ---- */

int loop_watch_set(struct loop *l, struct loop_watch *w, int fd, uint32_t events,
                   struct store_err *err)
{
    if (w->fd >= 0 && w->fd != fd)
        loop_watch_clear(l, w);
    if (w->fd == fd && w->events == events)
        return 0;
    struct epoll_event ev = {.events = events, .data.ptr = w};
    int rc = epoll_ctl(l->epoll_fd, w->fd == fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev);
    if (rc != 0 && errno == ENOSPC) /* which speaks of no disk */
        return store_err_set(err, STORE_FAILED,
                             "loop: cannot watch file descriptor %d: fs.epoll.max_user_watches",
                             fd);
    if (rc != 0)
        return store_err_errno(err, errno, "loop: cannot watch file descriptor %d", fd);
    w->fd = fd;
    w->events = events;
    return 0;
}

void loop_watch_clear(struct loop *l, struct loop_watch *w)
{
    if (w->fd < 0)
        return;
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    for (int i = 0; i < l->n_events; i++)
        if (l->events[i].data.ptr == w)
            l->events[i].data.ptr = NULL;
    w->fd = -1;
    w->events = 0;
}

/* ---- Timers ---- */

static void heap_place(struct loop *l, struct loop_timer *t, uint32_t slot)
{
    l->heap[slot] = t;
    t->slot = slot;
}

static void heap_up(struct loop *l, struct loop_timer *t, uint32_t slot)
{
    for (; slot > 1 && l->heap[slot / 2]->due_ms > t->due_ms; slot /= 2)
        heap_place(l, l->heap[slot / 2], slot);
    heap_place(l, t, slot);
}

static void heap_down(struct loop *l, struct loop_timer *t, uint32_t slot)
{
    for (;;) {
        uint32_t child = slot * 2;
        if (child > l->n_timers)
            break;
        if (child < l->n_timers && l->heap[child + 1]->due_ms < l->heap[child]->due_ms)
            child++;
        if (l->heap[child]->due_ms >= t->due_ms)
            break;
        heap_place(l, l->heap[child], slot);
        slot = child;
    }
    heap_place(l, t, slot);
}

static bool heap_grow(struct loop *l)
{
    if (l->n_timers + 1 < l->heap_cap)
        return true;
    uint32_t cap = l->heap_cap ? l->heap_cap * 2 : 64;
    struct loop_timer **heap = realloc(l->heap, cap * sizeof(struct loop_timer *));
    if (!heap)
        return false;
    l->heap = heap;
    l->heap_cap = cap;
    return true;
}

int loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t delay_ms)
{
    loop_timer_clear(l, t);
    if (!heap_grow(l))
        return -1;
    /* Not now_ms: an operation may be started outside a round, on a loop that slept. */
    t->due_ms = clock_mono_ms() + delay_ms;
    heap_up(l, t, ++l->n_timers);
    return 0;
}

void loop_timer_clear(struct loop *l, struct loop_timer *t)
{
    if (!t->slot)
        return;
    uint32_t slot = t->slot;
    struct loop_timer *last = l->heap[l->n_timers--];
    t->slot = 0;
    if (last == t)
        return;
    if (slot > 1 && l->heap[slot / 2]->due_ms > last->due_ms)
        heap_up(l, last, slot);
    else
        heap_down(l, last, slot);
}

static void timers_run(struct loop *l)
{
    while (l->n_timers && l->heap[1]->due_ms <= l->now_ms) {
        struct loop_timer *t = l->heap[1];
        loop_timer_clear(l, t);
        t->fn(t->user);
    }
}

/* ---- One round ---- */

int loop_run_once(struct loop *l, int wait_ms, struct store_err *err)
{
    int planned_ms = loop_timeout_ms(l);
    if (planned_ms >= 0 && (wait_ms < 0 || planned_ms < wait_ms))
        wait_ms = planned_ms;
    int n = epoll_wait(l->epoll_fd, l->events, EVENTS_PER_ROUND, wait_ms);
    l->now_ms = clock_mono_ms();
    if (n < 0 && errno != EINTR)
        return store_err_errno(err, errno, "loop: epoll_wait");
    l->n_events = n > 0 ? n : 0;
    timers_run(l); /* they may take watches off: loop_watch_clear() drops these events then */
    for (int i = 0; i < l->n_events; i++) {
        struct loop_watch *w = l->events[i].data.ptr;
        if (w)
            w->fn(w->user, l->events[i].events);
    }
    l->n_events = 0;
    tasks_run(l);
    return 0;
}

/* ---- Attachments ---- */

void *loop_attached(const struct loop *l, const void *owner)
{
    for (struct attachment *a = l->attachments; a; a = a->next)
        if (a->owner == owner)
            return a->value;
    return NULL;
}

int loop_attach(struct loop *l, const void *owner, void *value, void (*on_free)(void *value))
{
    struct attachment *a = malloc(sizeof(*a));
    if (!a)
        return -1;
    *a = (struct attachment){owner, value, on_free, l->attachments};
    l->attachments = a;
    return 0;
}
