#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "janitor/schedule.h"

static struct job *make_job(const char *id, enum lane lane, uint64_t due_ms)
{
    struct job *job = xcalloc(1, sizeof(*job));
    snprintf(job->d.job_id, sizeof(job->d.job_id), "%s", id);
    job->lane = lane;
    job->due_ms = due_ms;
    return job;
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 8;
}

/* ---- The heap ---- */

static void the_earliest_job_comes_first(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 30; seed++) {
        struct schedule *s = schedule_new(10);
        unsigned r = seed, n = next_random(&r) % 300 + 1, taken = 0;
        uint64_t last = 0;
        for (unsigned i = 0; i < n; i++)
            schedule_add(s, make_job("a", LANE_BIG, 1 + next_random(&r) % 100));
        for (; taken < n; taken++) {
            struct job *job = schedule_take(s, LANE_BIG);
            assert_true(job->due_ms >= last);
            last = job->due_ms;
            /* Now and then one goes back, as a step that is to be repeated does. */
            if (next_random(&r) % 4 == 0) {
                job->due_ms = last + next_random(&r) % 10;
                schedule_add(s, job);
                taken--;
            } else {
                job_free(job);
            }
        }
        schedule_stop(s);
        assert_null(schedule_take(s, LANE_BIG));
        schedule_free(s);
    }
}

static void lanes_are_apart(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(10);
    schedule_add(s, make_job("big", LANE_BIG, 1));
    schedule_add(s, make_job("small", LANE_SMALL, 2));
    schedule_add(s, make_job("accept", LANE_ACCEPT, 3));
    static const char *const names[LANES] = {"accept", "small", "big"};
    for (int lane = 0; lane < LANES; lane++) {
        struct job *job = schedule_take(s, (enum lane)lane);
        assert_string_equal(job->d.job_id, names[lane]);
        job_free(job);
    }
    schedule_free(s);
}

static void a_job_waits_for_its_time(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(10);
    uint64_t due_ms = clock_mono_ms() + 30;
    schedule_add(s, make_job("later", LANE_SMALL, due_ms));
    struct job *job = schedule_take(s, LANE_SMALL);
    assert_true(clock_mono_ms() >= due_ms);
    job_free(job);
    schedule_free(s);
}

static void what_still_waits_is_freed(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(10);
    for (int i = 0; i < 100; i++)
        schedule_add(s, make_job("left", (enum lane)(i % LANES), UINT64_MAX));
    schedule_free(s);
}

/* ---- The table ---- */

static bool knows(struct schedule *s, const char *job_id)
{
    return schedule_poke(s, job_id, "");
}

static void a_job_is_known_from_enter_to_leave(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(10);
    struct job *a = make_job("one", LANE_SMALL, 0), *twin = make_job("one", LANE_SMALL, 0);
    assert_false(knows(s, "one"));
    assert_int_equal(schedule_enter(s, a), SCHEDULE_ENTERED);
    assert_true(knows(s, "one"));
    assert_false(knows(s, "on"));
    assert_int_equal(schedule_enter(s, twin), SCHEDULE_KNOWN);
    schedule_leave(s, twin); /* never entered: must not throw the other one out */
    assert_true(knows(s, "one"));
    schedule_leave(s, a);
    schedule_leave(s, a);
    assert_false(knows(s, "one"));
    assert_int_equal(schedule_enter(s, twin), SCHEDULE_ENTERED);
    schedule_leave(s, twin);
    job_free(a);
    job_free(twin);
    schedule_free(s);
}

/* A poke reaches a job that waits for later at once, and one that runs before its next step. */
static void a_poked_job_comes_at_once(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(10);
    uint64_t far_ms = clock_mono_ms() + 3600000;
    struct job *a = make_job("a", LANE_SMALL, far_ms), *b = make_job("b", LANE_SMALL, far_ms + 1);
    strcpy(b->etag, "as-read");
    assert_int_equal(schedule_enter(s, a), SCHEDULE_ENTERED);
    assert_int_equal(schedule_enter(s, b), SCHEDULE_ENTERED);
    schedule_add(s, a);
    schedule_add(s, b);
    assert_false(schedule_crowded(s, LANE_SMALL));
    assert_true(schedule_poke(s, "b", "as-read")); /* its own reading is no change */
    assert_true(schedule_poke(s, "a", "another")); /* nor is any, before it has read one */
    assert_false(schedule_poked(s, a, true) || schedule_poked(s, b, true));
    assert_true(schedule_poke(s, "b", "another"));
    assert_true(schedule_crowded(s, LANE_SMALL));
    assert_ptr_equal(schedule_take(s, LANE_SMALL), b);
    assert_true(schedule_poked(s, b, false));
    assert_true(schedule_poked(s, b, true));
    assert_false(schedule_poked(s, b, true));
    assert_true(schedule_poke(s, "b", NULL)); /* while it runs */
    assert_true(schedule_poked(s, b, true));
    struct job *twin = make_job("a", LANE_SMALL, 0);
    assert_int_equal(schedule_enter(s, twin), SCHEDULE_KNOWN); /* pokes as well */
    assert_ptr_equal(schedule_take(s, LANE_SMALL), a);
    assert_true(schedule_poked(s, a, true));
    job_free(twin);
    schedule_leave(s, a);
    schedule_leave(s, b);
    job_free(a);
    job_free(b);
    schedule_free(s);
}

static struct deletion of_scope(enum scope_kind kind, bool has_gen)
{
    struct deletion d = {.scope = {.kind = kind}, .has_upto_gen = has_gen, .upto_gen = 3};
    strcpy(d.scope.tenant, "0123456789abcdef0123456789abcdef");
    if (kind != SCOPE_TENANT)
        strcpy(d.scope.timeline, "fedcba9876543210fedcba9876543210");
    if (kind == SCOPE_ENDPOINT)
        strcpy(d.scope.endpoint, "ep-1");
    deletion_set_job_id(&d);
    return d;
}

static struct job *enter_deletion(struct schedule *s, const struct deletion *d)
{
    struct job *job = make_job(d->job_id, LANE_SMALL, 0);
    assert_int_equal(schedule_enter(s, job), SCHEDULE_ENTERED);
    schedule_update(s, job, d, "etag");
    return job;
}

static void an_open_job_covers_what_asks_for_no_more(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(10);
    struct deletion d = of_scope(SCOPE_ENDPOINT, true), sooner, longer;
    d.not_before_s = 500;
    d.tokens_expire_by_s = 900;
    sooner = longer = d;
    sooner.not_before_s = 400;
    longer.tokens_expire_by_s = 901;
    assert_int_equal(schedule_covers(s, &d), COVER_NONE);
    struct job *job = enter_deletion(s, &d);
    assert_int_equal(schedule_covers(s, &d), COVER_NONE); /* it has read nothing yet */
    d.accepted_at_s = 1000;
    schedule_update(s, job, &d, "etag");
    assert_int_equal(schedule_covers(s, &d), COVER_ALL);
    assert_int_equal(schedule_covers(s, &sooner), COVER_NONE);
    assert_int_equal(schedule_covers(s, &longer), COVER_NONE);
    schedule_close(s, job, true);
    assert_int_equal(schedule_covers(s, &d), COVER_CLOSING);
    schedule_close(s, job, false);
    assert_int_equal(schedule_covers(s, &d), COVER_ALL);
    schedule_leave(s, job);
    job_free(job);
    /* Without a fence each event is a deletion of its own. */
    d = of_scope(SCOPE_ENDPOINT, false);
    d.accepted_at_s = 1000;
    job = enter_deletion(s, &d);
    assert_int_equal(schedule_covers(s, &d), COVER_NONE);
    schedule_leave(s, job);
    job_free(job);
    schedule_free(s);
}

static void a_wider_job_is_found(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(10);
    struct deletion all[] = {of_scope(SCOPE_TENANT, false), of_scope(SCOPE_TIMELINE, false),
                             of_scope(SCOPE_ENDPOINT, true)};
    struct job *jobs[LEN(all)];
    char wider[JOB_ID_SIZE];
    for (size_t i = LEN(all); i-- > 0;) {
        all[i].accepted_at_s = 1000;
        jobs[i] = enter_deletion(s, &all[i]);
        assert_false(schedule_wider(s, jobs[i], wider));
        if (i + 1 < LEN(all)) {
            assert_true(schedule_wider(s, jobs[LEN(all) - 1], wider));
            assert_string_equal(wider, all[i].job_id);
        }
    }
    all[0].state = DELETION_HELD; /* it removes nothing: the next one counts */
    schedule_update(s, jobs[0], &all[0], "etag");
    assert_true(schedule_wider(s, jobs[2], wider));
    assert_string_equal(wider, all[1].job_id);
    for (size_t i = 0; i < LEN(all); i++) {
        schedule_leave(s, jobs[i]);
        job_free(jobs[i]);
    }
    schedule_free(s);
}

/* More jobs than the table has buckets, so that they share some. */
static void many_jobs_keep_apart(void **state)
{
    (void)state;
    enum { MANY = 10000 };
    struct schedule *s = schedule_new(MANY);
    struct job **jobs = xcalloc(MANY, sizeof(*jobs));
    char id[JOB_ID_SIZE];
    for (int i = 0; i < MANY; i++) {
        snprintf(id, sizeof(id), "job-%d", i);
        jobs[i] = make_job(id, LANE_SMALL, 0);
        assert_int_equal(schedule_enter(s, jobs[i]), SCHEDULE_ENTERED);
    }
    struct job *more = make_job("more", LANE_SMALL, 0);
    assert_int_equal(schedule_enter(s, more), SCHEDULE_FULL);
    for (int i = 0; i < MANY; i += 2)
        schedule_leave(s, jobs[i]);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(knows(s, jobs[i]->d.job_id), i % 2);
    assert_int_equal(schedule_enter(s, more), SCHEDULE_ENTERED);
    schedule_leave(s, more);
    job_free(more);
    for (int i = 0; i < MANY; i++) {
        schedule_leave(s, jobs[i]);
        job_free(jobs[i]);
    }
    free(jobs);
    schedule_free(s);
}

static void the_status_counts_by_scope(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(10);
    struct schedule_status status;
    struct job *jobs[4];
    static const enum scope_kind kinds[] = {SCOPE_TENANT, SCOPE_ENDPOINT, SCOPE_ENDPOINT,
                                            SCOPE_TIMELINE};
    static const int64_t accepted[] = {500, 300, 900, 400};
    schedule_status(s, &status);
    assert_int_equal(status.oldest_accepted_at_s, 0);
    for (size_t i = 0; i < LEN(jobs); i++) {
        char id[8];
        snprintf(id, sizeof(id), "%zu", i);
        jobs[i] = make_job(id, LANE_SMALL, 0);
        jobs[i]->d.scope.kind = kinds[i];
        jobs[i]->d.accepted_at_s = accepted[i];
        assert_int_equal(schedule_enter(s, jobs[i]), SCHEDULE_ENTERED);
    }
    schedule_add(s, make_job("message", LANE_ACCEPT, 0));
    schedule_status(s, &status);
    assert_int_equal(status.open[SCOPE_TENANT], 1);
    assert_int_equal(status.open[SCOPE_TIMELINE], 1);
    assert_int_equal(status.open[SCOPE_ENDPOINT], 2);
    assert_int_equal(schedule_n_open(s), 4);
    assert_int_equal(status.due[LANE_ACCEPT], 1);
    assert_int_equal(status.oldest_accepted_at_s, 300);
    for (size_t i = 0; i < LEN(jobs); i++) {
        schedule_leave(s, jobs[i]);
        job_free(jobs[i]);
    }
    schedule_free(s);
}

/* ---- Threads ---- */

enum { WORKERS = 4, JOBS = 400, TURNS = 5 };

struct crew {
    struct schedule *s;
    atomic_int ended, turns;
};

/* Runs each job TURNS times, with a little time in between. */
static void *work(void *user)
{
    struct crew *c = user;
    struct job *job;
    while ((job = schedule_take(c->s, LANE_SMALL))) {
        atomic_fetch_add(&c->turns, 1);
        if (++job->failures < TURNS) {
            job->due_ms = clock_mono_ms() + job->failures % 3;
            schedule_add(c->s, job);
            continue;
        }
        schedule_leave(c->s, job);
        job_free(job);
        if (atomic_fetch_add(&c->ended, 1) + 1 == JOBS)
            schedule_stop(c->s);
    }
    return NULL;
}

static void workers_share_the_jobs_and_lose_none(void **state)
{
    (void)state;
    struct crew c = {.s = schedule_new(JOBS)};
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &c), 0);
    for (int i = 0; i < JOBS; i++) {
        char id[16];
        snprintf(id, sizeof(id), "%d", i);
        struct job *job = make_job(id, LANE_SMALL, i % 2 ? clock_mono_ms() + 2 : 0);
        assert_int_equal(schedule_enter(c.s, job), SCHEDULE_ENTERED);
        schedule_add(c.s, job);
    }
    for (int i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL); /* a lost wake-up hangs here */
    assert_int_equal(atomic_load(&c.ended), JOBS);
    assert_int_equal(atomic_load(&c.turns), JOBS * TURNS);
    assert_true(schedule_stopping(c.s));
    schedule_free(c.s);
}

/* A worker that sleeps for a far job must wake for one that is due before it. */
static void an_earlier_job_wakes_who_waits_for_a_later_one(void **state)
{
    (void)state;
    struct crew c = {.s = schedule_new(10)};
    pthread_t thread;
    schedule_add(c.s, make_job("far", LANE_SMALL, clock_mono_ms() + 3600000));
    assert_int_equal(pthread_create(&thread, NULL, work, &c), 0);
    atomic_store(&c.ended, JOBS - 1); /* the next end is the last */
    struct job *now = make_job("now", LANE_SMALL, 0);
    now->failures = TURNS;
    schedule_add(c.s, now);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&c.turns), 1);
    schedule_free(c.s);
}

/* Job after job for one worker, which mostly waits already when the next one comes. */
static void each_job_wakes_a_worker(void **state)
{
    (void)state;
    struct crew c = {.s = schedule_new(10)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, work, &c), 0);
    for (int i = 1; i <= JOBS; i++) {
        struct job *job = make_job("next", LANE_SMALL, 0);
        job->failures = TURNS;
        schedule_add(c.s, job);
        while (atomic_load(&c.ended) < i)
            sched_yield();
    }
    pthread_join(thread, NULL); /* the last one stopped it */
    schedule_free(c.s);
}

static void *wait_for_stop(void *user)
{
    struct crew *c = user;
    return schedule_take(c->s, LANE_BIG);
}

static void stop_wakes_all_who_wait(void **state)
{
    (void)state;
    struct crew c = {.s = schedule_new(10)};
    pthread_t threads[WORKERS];
    void *job;
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_stop, &c), 0);
    assert_false(schedule_stopping(c.s));
    schedule_stop(c.s);
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], &job);
        assert_null(job);
    }
    schedule_add(c.s, make_job("late", LANE_BIG, 0));
    assert_null(schedule_take(c.s, LANE_BIG)); /* also when something is due */
    schedule_free(c.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_earliest_job_comes_first),
        cmocka_unit_test(lanes_are_apart),
        cmocka_unit_test(a_job_waits_for_its_time),
        cmocka_unit_test(what_still_waits_is_freed),
        cmocka_unit_test(a_job_is_known_from_enter_to_leave),
        cmocka_unit_test(a_poked_job_comes_at_once),
        cmocka_unit_test(an_open_job_covers_what_asks_for_no_more),
        cmocka_unit_test(a_wider_job_is_found),
        cmocka_unit_test(many_jobs_keep_apart),
        cmocka_unit_test(the_status_counts_by_scope),
        cmocka_unit_test(workers_share_the_jobs_and_lose_none),
        cmocka_unit_test(an_earlier_job_wakes_who_waits_for_a_later_one),
        cmocka_unit_test(each_job_wakes_a_worker),
        cmocka_unit_test(stop_wakes_all_who_wait),
    };
    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
