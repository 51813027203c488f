#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "tests/unit/oom.h"

static struct loop *new_loop(void)
{
    struct loop *l = NULL;
    assert_int_equal(loop_new(&l, NULL), 0);
    return l;
}

static void round_of(struct loop *l, int wait_ms)
{
    struct store_err err;
    if (loop_run_once(l, wait_ms, &err) != 0)
        fail_msg("%s", err.msg);
}

static void add_one(void *user)
{
    ++*(unsigned *)user;
}

/* ---- File descriptors ---- */

struct seen {
    struct loop *loop;
    struct loop_watch watch, *clear; /* clear: what to take off when called */
    int fds[2];
    unsigned calls;
    uint32_t events;
};

static void on_fd(void *user, uint32_t events)
{
    struct seen *s = user;
    s->calls++;
    s->events = events;
    if (s->clear)
        loop_watch_clear(s->loop, s->clear);
}

static void open_pipe(struct seen *s, struct loop *l)
{
    *s = (struct seen){.loop = l};
    assert_int_equal(pipe2(s->fds, O_CLOEXEC | O_NONBLOCK), 0);
    s->watch = (struct loop_watch){.fn = on_fd, .user = s, .fd = -1};
}

static void close_pipe(struct seen *s)
{
    loop_watch_clear(s->loop, &s->watch);
    close(s->fds[0]);
    close(s->fds[1]);
}

static void watch_reader(struct seen *s)
{
    assert_int_equal(loop_watch_set(s->loop, &s->watch, s->fds[0], EPOLLIN, NULL), 0);
}

static void write_byte(struct seen *s)
{
    assert_int_equal(write(s->fds[1], "x", 1), 1);
}

static void a_descriptor_is_told_while_it_is_ready(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct seen p;
    char byte;
    open_pipe(&p, l);
    watch_reader(&p);
    round_of(l, 0);
    assert_int_equal(p.calls, 0);
    write_byte(&p);
    round_of(l, 1000);
    round_of(l, 1000);
    assert_int_equal(p.calls, 2); /* level-triggered: the byte is still there */
    assert_int_equal(p.events, EPOLLIN);
    assert_int_equal(read(p.fds[0], &byte, 1), 1);
    round_of(l, 0);
    assert_int_equal(p.calls, 2);
    close_pipe(&p);
    loop_free(l);
}

static void an_edge_is_told_once(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct seen p;
    open_pipe(&p, l);
    assert_int_equal(loop_watch_set(l, &p.watch, p.fds[0], EPOLLIN | EPOLLET, NULL), 0);
    write_byte(&p);
    round_of(l, 1000);
    round_of(l, 0);
    assert_int_equal(p.calls, 1);
    close_pipe(&p);
    loop_free(l);
}

static void a_watch_can_be_moved_and_changed(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct seen p, q;
    open_pipe(&p, l);
    open_pipe(&q, l);
    watch_reader(&p);
    write_byte(&p);
    assert_int_equal(loop_watch_set(l, &p.watch, q.fds[0], EPOLLIN, NULL), 0);
    round_of(l, 0);
    assert_int_equal(p.calls, 0); /* the old descriptor is not watched any more */
    write_byte(&q);
    round_of(l, 1000);
    assert_int_equal(p.calls, 1);
    assert_int_equal(loop_watch_set(l, &p.watch, q.fds[0], 0, NULL), 0);
    round_of(l, 0);
    assert_int_equal(p.calls, 1);
    assert_int_equal(loop_watch_set(l, &p.watch, q.fds[1], EPOLLOUT, NULL), 0);
    round_of(l, 1000);
    assert_int_equal(p.calls, 2);
    assert_int_equal(p.events, EPOLLOUT);
    close_pipe(&p);
    close_pipe(&q);
    loop_free(l);
}

/* Two are ready in one round, and the first that runs takes the other off: its event is due
 * already, but its memory may be gone. */
static void an_event_that_is_due_can_be_taken_back(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct seen p, q;
    open_pipe(&p, l);
    open_pipe(&q, l);
    p.clear = &q.watch;
    q.clear = &p.watch;
    watch_reader(&p);
    watch_reader(&q);
    write_byte(&p);
    write_byte(&q);
    round_of(l, 1000);
    assert_int_equal(p.calls + q.calls, 1);
    close_pipe(&p);
    close_pipe(&q);
    loop_free(l);
}

static void a_watch_can_clear_itself(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct seen p;
    open_pipe(&p, l);
    p.clear = &p.watch;
    watch_reader(&p);
    write_byte(&p);
    round_of(l, 1000);
    round_of(l, 0);
    assert_int_equal(p.calls, 1);
    assert_int_equal(p.watch.fd, -1);
    close_pipe(&p);
    loop_free(l);
}

static void what_cannot_be_watched_is_an_error(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct loop_watch w = {.fn = on_fd, .fd = -1};
    struct store_err err = {0};
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(loop_watch_set(l, &w, fds[0], EPOLLIN, &err), -1);
    assert_int_equal(w.fd, -1);
    assert_int_not_equal(err.sys_errno, 0);
    loop_watch_clear(l, &w); /* harmless */
    loop_free(l);
}

/* A host's own event loop polls ours. */
static void the_loop_is_a_descriptor_itself(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct loop_task task = {.fn = add_one};
    unsigned ran = 0;
    struct pollfd p = {.fd = loop_fd(l), .events = POLLIN};
    task.user = &ran;
    assert_int_equal(poll(&p, 1, 0), 0);
    loop_post(l, &task);
    assert_int_equal(poll(&p, 1, 1000), 1);
    round_of(l, 0);
    assert_int_equal(ran, 1);
    assert_int_equal(poll(&p, 1, 0), 0);
    loop_free(l);
}

static void no_signal(int number)
{
    (void)number;
}

struct waker {
    pthread_t sleeper;
    atomic_bool awake;
};

static void *keep_signalling(void *user)
{
    struct waker *w = user;
    while (!atomic_load(&w->awake)) {
        pthread_kill(w->sleeper, SIGUSR1);
        usleep(1000);
    }
    return NULL;
}

static void a_signal_ends_the_wait_early(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct waker w = {.sleeper = pthread_self()};
    pthread_t thread;
    const struct sigaction quiet = {.sa_handler = no_signal};
    sigaction(SIGUSR1, &quiet, NULL);
    assert_int_equal(pthread_create(&thread, NULL, keep_signalling, &w), 0);
    round_of(l, -1); /* nothing else could end it */
    atomic_store(&w.awake, true);
    pthread_join(thread, NULL);
    loop_free(l);
}

/* ---- Timers ---- */

enum { MANY = 500 };

struct alarm {
    struct loop_timer timer;
    struct model *model;
    bool expected;
};

struct model {
    struct loop *loop;
    struct alarm alarms[MANY];
    uint64_t last_due_ms;
    unsigned rung;
};

static void on_alarm(void *user)
{
    struct alarm *a = user;
    assert_true(a->expected);
    assert_false(loop_timer_is_set(&a->timer));
    assert_true(a->timer.due_ms <= loop_now_ms(a->model->loop));
    assert_true(a->timer.due_ms >= a->model->last_due_ms);
    a->model->last_due_ms = a->timer.due_ms;
    a->model->rung++;
    a->expected = false;
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 8;
}

/* Timers are set, moved and cleared at random; those left ring in the order of their times. */
static void timers_ring_in_order_whatever_was_done_to_them(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 20; seed++) {
        static struct model m;
        unsigned r = seed, expected = 0;
        m = (struct model){.loop = new_loop()};
        for (unsigned i = 0; i < MANY; i++)
            m.alarms[i] =
                (struct alarm){.model = &m, .timer = {.fn = on_alarm, .user = &m.alarms[i]}};
        for (unsigned i = 0; i < 4 * MANY; i++) {
            struct alarm *a = &m.alarms[next_random(&r) % MANY];
            a->expected = next_random(&r) % 3 != 0;
            if (a->expected)
                assert_int_equal(loop_timer_set(m.loop, &a->timer, next_random(&r) % 8), 0);
            else
                loop_timer_clear(m.loop, &a->timer);
            assert_int_equal(loop_timer_is_set(&a->timer), a->expected);
        }
        for (unsigned i = 0; i < MANY; i++)
            expected += m.alarms[i].expected;
        while (loop_timeout_ms(m.loop) >= 0)
            round_of(m.loop, -1);
        assert_int_equal(m.rung, expected);
        loop_free(m.loop);
    }
}

static void the_planned_wait_is_the_nearest_timer_s(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    unsigned n = 0;
    struct loop_timer near = {.fn = add_one, .user = &n}, far = near;
    assert_int_equal(loop_timeout_ms(l), -1);
    loop_timer_set(l, &far, UINT32_MAX);
    assert_in_range(loop_timeout_ms(l), 1, 3600000);
    loop_timer_set(l, &near, 60000);
    assert_in_range(loop_timeout_ms(l), 1, 60000);
    loop_timer_set(l, &near, 0);
    assert_int_equal(loop_timeout_ms(l), 0);
    round_of(l, -1);
    assert_int_equal(n, 1);
    loop_timer_clear(l, &far);
    loop_timer_clear(l, &far);
    assert_int_equal(loop_timeout_ms(l), -1);
    loop_free(l);
}

static void a_wait_never_ends_before_its_time(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    unsigned n = 0;
    struct loop_timer t = {.fn = add_one, .user = &n};
    uint64_t begin = clock_mono_ms();
    loop_timer_set(l, &t, 20);
    while (n == 0)
        round_of(l, -1);
    assert_true(clock_mono_ms() - begin >= 20);
    loop_free(l);
}

struct pair {
    struct loop *loop;
    struct loop_timer own, other;
    unsigned own_rings, other_rings;
};

static void ring_and_clear_the_other(void *user)
{
    struct pair *p = user;
    p->own_rings++;
    loop_timer_clear(p->loop, &p->other);
}

static void ring_the_other(void *user)
{
    struct pair *p = user;
    p->other_rings++;
    loop_timer_clear(p->loop, &p->own);
}

static void a_timer_that_is_due_can_be_taken_back(void **state)
{
    (void)state;
    struct pair p = {.loop = new_loop()};
    p.own = (struct loop_timer){.fn = ring_and_clear_the_other, .user = &p};
    p.other = (struct loop_timer){.fn = ring_the_other, .user = &p};
    loop_timer_set(p.loop, &p.own, 0);
    loop_timer_set(p.loop, &p.other, 0);
    round_of(p.loop, -1);
    round_of(p.loop, 0);
    assert_int_equal(p.own_rings + p.other_rings, 1);
    loop_free(p.loop);
}

static void ring_again(void *user)
{
    struct pair *p = user;
    if (++p->own_rings < 5)
        loop_timer_set(p->loop, &p->own, 1);
}

static void a_timer_may_set_itself_anew(void **state)
{
    (void)state;
    struct pair p = {.loop = new_loop()};
    p.own = (struct loop_timer){.fn = ring_again, .user = &p};
    loop_timer_set(p.loop, &p.own, 0);
    while (loop_timeout_ms(p.loop) >= 0)
        round_of(p.loop, -1);
    assert_int_equal(p.own_rings, 5);
    loop_free(p.loop);
}

struct guard {
    struct loop *loop;
    struct seen watched;
    unsigned rung, calls_before;
    bool clears;
};

static void on_guard(void *user)
{
    struct guard *g = user;
    g->rung++;
    g->calls_before = g->watched.calls;
    if (g->clears)
        loop_watch_clear(g->loop, &g->watched.watch);
}

/* Both are due when the process wakes: the deadline is heard of first, and what it takes off is not
 * served any more. */
static void a_deadline_comes_before_what_it_guards(void **state)
{
    (void)state;
    for (int clears = 0; clears < 2; clears++) {
        struct guard g = {.loop = new_loop(), .clears = clears};
        struct loop_timer t = {.fn = on_guard, .user = &g};
        open_pipe(&g.watched, g.loop);
        watch_reader(&g.watched);
        write_byte(&g.watched);
        assert_int_equal(loop_timer_set(g.loop, &t, 0), 0);
        round_of(g.loop, -1);
        assert_int_equal(g.rung, 1);
        assert_int_equal(g.calls_before, 0);
        assert_int_equal(g.watched.calls, !clears);
        close_pipe(&g.watched);
        loop_free(g.loop);
    }
}

/* ---- Tasks ---- */

struct step {
    struct loop *loop;
    struct loop_task task;
    struct step *clear, *defer; /* what it does when it runs */
    unsigned *clock, ran_at, runs;
};

static void run_step(void *user)
{
    struct step *s = user;
    s->runs++;
    s->ran_at = ++*s->clock;
    if (s->clear)
        loop_defer_clear(s->loop, &s->clear->task);
    if (s->defer)
        loop_defer(s->loop, &s->defer->task);
}

static void make_steps(struct step *steps, size_t n, struct loop *l, unsigned *clock)
{
    for (size_t i = 0; i < n; i++)
        steps[i] =
            (struct step){.loop = l, .clock = clock, .task = {.fn = run_step, .user = &steps[i]}};
}

static void tasks_run_once_in_order(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct step s[3];
    unsigned clock = 0;
    make_steps(s, 3, l, &clock);
    for (int i = 2; i >= 0; i--)
        loop_defer(l, &s[i].task);
    loop_defer(l, &s[2].task); /* is queued already */
    assert_int_equal(clock, 0);
    assert_int_equal(loop_timeout_ms(l), 0);
    round_of(l, -1);
    assert_int_equal(s[2].ran_at, 1);
    assert_int_equal(s[1].ran_at, 2);
    assert_int_equal(s[0].ran_at, 3);
    assert_int_equal(loop_timeout_ms(l), -1);
    round_of(l, 0);
    assert_int_equal(clock, 3);
    loop_free(l);
}

static void a_task_can_be_cleared_by_the_one_before_it(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct step s[3];
    unsigned clock = 0;
    make_steps(s, 3, l, &clock);
    s[0].clear = &s[1];
    for (int i = 0; i < 3; i++)
        loop_defer(l, &s[i].task);
    round_of(l, -1);
    assert_int_equal(s[1].runs, 0);
    assert_int_equal(s[2].ran_at, 2);
    loop_defer_clear(l, &s[1].task); /* harmless */
    loop_free(l);
}

/* A task that queues itself for ever must not keep a descriptor waiting. */
static void a_task_that_queues_itself_starves_nobody(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct step s;
    struct seen p;
    unsigned clock = 0;
    make_steps(&s, 1, l, &clock);
    s.defer = &s;
    open_pipe(&p, l);
    watch_reader(&p);
    write_byte(&p);
    loop_defer(l, &s.task);
    round_of(l, -1);
    round_of(l, -1);
    assert_int_equal(s.runs, 2);
    assert_int_equal(p.calls, 2);
    loop_defer_clear(l, &s.task);
    close_pipe(&p);
    loop_free(l);
}

enum { POSTERS = 4, POSTS = 2000 };

struct poster {
    struct loop *loop;
    pthread_t thread;
    struct posted {
        struct loop_task task;
        struct poster *poster;
        unsigned number;
    } posted[POSTS];
    unsigned arrived;
    bool in_order;
};

static pthread_t loop_thread;

static void on_posted(void *user)
{
    struct posted *p = user;
    assert_true(pthread_equal(pthread_self(), loop_thread));
    p->poster->in_order = p->poster->in_order && p->number == p->poster->arrived;
    p->poster->arrived++;
}

static void *post_all(void *user)
{
    struct poster *p = user;
    for (unsigned i = 0; i < POSTS; i++) {
        p->posted[i].poster = p;
        p->posted[i].number = i;
        p->posted[i].task = (struct loop_task){.fn = on_posted, .user = &p->posted[i]};
        loop_post(p->loop, &p->posted[i].task);
    }
    return NULL;
}

static void every_task_posted_by_any_thread_arrives(void **state)
{
    (void)state;
    static struct poster posters[POSTERS];
    struct loop *l = new_loop();
    unsigned arrived = 0;
    loop_thread = pthread_self();
    for (int i = 0; i < POSTERS; i++) {
        posters[i].loop = l;
        posters[i].in_order = true;
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    while (arrived < POSTERS * POSTS) {
        round_of(l, -1); /* a lost wake-up hangs here */
        arrived = 0;
        for (int i = 0; i < POSTERS; i++)
            arrived += posters[i].arrived;
    }
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(posters[i].thread, NULL);
        assert_true(posters[i].in_order);
    }
    loop_free(l);
}

/* ---- Attachments ---- */

struct attached {
    unsigned *clock, freed_at;
};

static void on_free(void *value)
{
    struct attached *a = value;
    a->freed_at = ++*a->clock;
}

static void attachments_go_with_the_loop_latest_first(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    unsigned clock = 0;
    struct attached a[3] = {{.clock = &clock}, {.clock = &clock}, {.clock = &clock}};
    for (int i = 0; i < 3; i++) {
        assert_null(loop_attached(l, &a[i]));
        assert_int_equal(loop_attach(l, &a[i], &a[i], on_free), 0);
    }
    assert_ptr_equal(loop_attached(l, &a[1]), &a[1]);
    assert_null(loop_attached(l, &clock));
    loop_free(l);
    assert_int_equal(a[2].freed_at, 1);
    assert_int_equal(a[1].freed_at, 2);
    assert_int_equal(a[0].freed_at, 3);
    loop_free(NULL);
}

/* ---- Want of memory ---- */

static void a_loop_fails_whole_for_want_of_memory(void **state)
{
    (void)state;
    if (!OOM_AVAILABLE)
        skip();
    struct store_err err = {0};
    struct loop *l = NULL;
    oom_fail_nth(1);
    int rc = loop_new(&l, &err);
    assert_true(oom_stop());
    assert_int_equal(rc, -1);
    assert_int_equal(err.code, STORE_NO_MEMORY);

    l = new_loop();
    struct loop_timer t = {.fn = add_one};
    oom_fail_nth(1);
    rc = loop_timer_set(l, &t, 5);
    assert_true(oom_stop());
    assert_int_equal(rc, -1);
    assert_false(loop_timer_is_set(&t));
    oom_fail_nth(1);
    rc = loop_attach(l, &t, &t, on_free);
    assert_true(oom_stop());
    assert_int_equal(rc, -1);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_is_told_while_it_is_ready),
        cmocka_unit_test(an_edge_is_told_once),
        cmocka_unit_test(a_watch_can_be_moved_and_changed),
        cmocka_unit_test(an_event_that_is_due_can_be_taken_back),
        cmocka_unit_test(a_watch_can_clear_itself),
        cmocka_unit_test(what_cannot_be_watched_is_an_error),
        cmocka_unit_test(the_loop_is_a_descriptor_itself),
        cmocka_unit_test(a_signal_ends_the_wait_early),
        cmocka_unit_test(timers_ring_in_order_whatever_was_done_to_them),
        cmocka_unit_test(the_planned_wait_is_the_nearest_timer_s),
        cmocka_unit_test(a_wait_never_ends_before_its_time),
        cmocka_unit_test(a_timer_that_is_due_can_be_taken_back),
        cmocka_unit_test(a_timer_may_set_itself_anew),
        cmocka_unit_test(a_deadline_comes_before_what_it_guards),
        cmocka_unit_test(tasks_run_once_in_order),
        cmocka_unit_test(a_task_can_be_cleared_by_the_one_before_it),
        cmocka_unit_test(a_task_that_queues_itself_starves_nobody),
        cmocka_unit_test(every_task_posted_by_any_thread_arrives),
        cmocka_unit_test(attachments_go_with_the_loop_latest_first),
        cmocka_unit_test(a_loop_fails_whole_for_want_of_memory),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
