/* Sweeps among other jobs: small ones and large ones, and a wider one that serves a narrower one
 * too. */
#include "tests/unit/janitor_fixture.h"

enum { MANY = 20 };

static void upload_many(uint64_t gen)
{
    for (char name[] = "base/a"; name[5] < 'a' + MANY; name[5]++)
        upload(gen, name);
}

/* ---- Lanes ---- */

static void what_fits_a_page_stays_small(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    upload_many(7);
    ask(&d);
    run_to(&step_drain);
    assert_int_equal(times_in_trace("list files"), 1);
    assert_int_equal(next_job()->lane, LANE_SMALL);
}

static void a_job_of_many_pages_makes_room_for_small_ones(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    mem.page = 2;
    upload_many(7);
    ask(&d);
    run_to(&step_sweep);
    run_next();
    assert_ptr_equal(next_job()->step, &step_sweep);
    assert_int_equal(next_job()->lane, LANE_BIG);
    assert_true(count_under(EP) > 0);
    run_to(&step_drain);
    assert_int_equal(count_under(EP), 0);
    assert_int_equal(next_job()->lane, LANE_SMALL);
    run_all();
    assert_string_equal(said(completion(0), "files"), "20"); /* each one once */
}

static struct job *big_job(const struct deletion *d)
{
    struct job *job = NULL;
    ask(d);
    while (!job) {
        assert_true(run_next());
        for (size_t i = 0; i < w.n_waiting; i++)
            if (w.waiting[i]->lane == LANE_BIG && strcmp(w.waiting[i]->d.job_id, d->job_id) == 0)
                job = w.waiting[i];
    }
    return job;
}

static void large_jobs_take_turns(void **state)
{
    (void)state;
    struct deletion a = of_endpoint(7), b = of_endpoint(6);
    strcpy(b.scope.endpoint, "ep-2");
    deletion_set_job_id(&b);
    mem.page = 1;
    upload_many(7);
    for (char key[] = "tenants/" T "/timelines/" TL "/endpoints/ep-2/0000000000000006/pgdata/a";
         key[strlen(key) - 1] < 'a' + MANY; key[strlen(key) - 1]++)
        keep(key, "b", 1);
    struct job *first = big_job(&a);
    no_longer_waits(first); /* out of the way, so that the other gets as far */
    uint64_t due_ms = first->due_ms - 1;
    first = schedule_take(w.j.schedule, LANE_BIG);
    struct job *second = big_job(&b);
    first->due_ms = due_ms;
    schedule_add(w.j.schedule, first);
    mem.request_ms = 700;
    size_t before = count_under(EP);
    assert_ptr_equal(next_job(), first);
    run_next();
    size_t left = count_under(EP);
    assert_true(left > 0 && left < before); /* it has had its two seconds */
    assert_ptr_equal(first->step, &step_sweep);
    assert_ptr_equal(next_job(), second);
    mem.request_ms = 0;
    run_all();
    assert_int_equal(count_under("tenants/"), 0);
    assert_int_equal(w.n_published, 2);
}

static void a_large_job_alone_is_not_broken_off(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    mem.page = 1;
    upload_many(7);
    struct job *job = big_job(&d);
    mem.request_ms = 700;
    run_next();
    assert_int_equal(count_under(EP), 0);
    assert_ptr_equal(job->step, &step_drain);
}

static uint64_t stopped_ms;

static void stop_the_janitor(void)
{
    stopped_ms = mem.now_ms;
    schedule_stop(w.j.schedule);
}

static void a_janitor_that_stops_lets_its_job_go(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    mem.page = 1;
    upload_many(7);
    big_job(&d);
    set_trap((struct trap){
        .kind = OP_DELETE_MANY, .under = "tenants/", .nth = 2, .before = stop_the_janitor});
    trace[0] = '\0';
    run_next();
    assert_null(next_job());
    assert_int_equal(times_in_trace("release"), 1);
    assert_true(the_record(&d)->lease_ms_left <= (int64_t)mem.now_ms);
    assert_true(has_intent(&d));
    assert_true(*the_record(&d)->cursor); /* whoever is next goes on from here */
    crash("next");
    settle();
    assert_int_equal(count_under(EP), 0);
    assert_string_equal(said(completion(0), "files"), "20");
}

/* What is under way may end, and has three seconds for it. */
static void a_janitor_that_stops_waits_for_no_silent_store(void **state)
{
    (void)state;
    static const enum op_kind kinds[] = {OP_LIST, OP_DELETE_MANY};
    struct deletion d = of_endpoint(7);
    mem.page = 1;
    upload_many(7);
    big_job(&d);
    for (size_t i = 0; i < LEN(kinds); i++) {
        set_trap((struct trap){.kind = kinds[i],
                               .under = "tenants/",
                               .nth = 2,
                               .before = stop_the_janitor,
                               .silent = true});
        trace[0] = '\0';
        while (next_job() && !schedule_stopping(w.j.schedule))
            run_next();
        assert_in_range(mem.now_ms - stopped_ms, 3000, 3500);
        assert_null(next_job());
        assert_int_equal(times_in_trace("release"), 1);
        assert_true(has_intent(&d));
        assert_true(count_under(EP) > 0);
        crash("next");
        take_up(d.job_id);
    }
    settle();
    assert_int_equal(count_under(EP), 0);
    assert_string_equal(said(completion(0), "outcome"), "completed");
}

static void a_long_sweep_keeps_its_lease(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    mem.page = 1;
    upload_many(7);
    big_job(&d);
    mem.request_ms = LEASE_MS / 2;
    run_next();
    assert_true(the_record(&d)->lease_ms_left > (int64_t)mem.now_ms);
    assert_true(the_record(&d)->files > MANY / 2);
    assert_string_equal(the_record(&d)->state, "sweeping");
}

/* ---- Wider jobs ---- */

static void a_wider_sweep_serves_a_narrower_deletion_too(void **state)
{
    (void)state;
    struct deletion wide = of_tenant(), narrow = of_endpoint(7);
    upload(7, "base/1");
    ask(&wide);
    run_to(&step_drain);
    ask(&narrow);
    run_all();
    assert_int_equal(times_in_trace("list uploads"), 1); /* one sweep */
    assert_int_equal(times_in_trace("list files"), 3);   /* and a verification of each */
    assert_int_equal(w.n_published, 2);
    assert_string_equal(said(completion(0), "subsumed_by"), "");
    assert_string_equal(said(completion(0), "job_id"), wide.job_id);
    assert_string_equal(said(completion(1), "subsumed_by"), wide.job_id);
    assert_string_equal(said(completion(1), "job_id"), narrow.job_id);
    assert_string_equal(said(completion(1), "files"), "0");
}

static void who_waits_for_a_wider_sweep_waits_for_its_end(void **state)
{
    (void)state;
    struct deletion wide = of_tenant(), narrow = of_endpoint(7);
    upload(7, "base/1");
    ask(&wide);
    struct job *job = run_to(&step_sweep);
    assert_ptr_equal(schedule_take(w.j.schedule, job->lane), job);
    no_longer_waits(job);
    job->due_ms += 400000; /* long after the narrow one has drained */
    schedule_add(w.j.schedule, job);
    ask(&narrow);
    run_all();
    assert_string_equal(said(completion(0), "job_id"), wide.job_id);
    assert_string_equal(said(completion(0), "files"), "1");
    assert_string_equal(said(completion(1), "subsumed_by"), wide.job_id);
}

static void who_waits_for_a_wider_sweep_outlasts_its_failure(void **state)
{
    (void)state;
    struct deletion wide = of_tenant(), narrow = of_endpoint(7);
    upload(7, "base/1");
    set_trap((struct trap){.kind = OP_DELETE_MANY,
                           .under = "tenants/",
                           .nth = 1,
                           .times = DENIED_TRIES,
                           .error = STORE_DENIED});
    ask(&wide);
    run_to(&step_sweep);
    run_next();
    ask(&narrow);
    run_all();
    assert_int_equal(intent_of(&wide).state, DELETION_FAILED);
    assert_false(is_there(7, "base/1"));
    assert_string_equal(said(completion(1), "outcome"), "completed");
    assert_string_equal(said(completion(1), "job_id"), narrow.job_id);
    assert_string_equal(said(completion(1), "subsumed_by"), ""); /* it was done here */
    assert_string_equal(said(completion(1), "files"), "1");
}

static void a_dry_run_waits_for_nobody(void **state)
{
    (void)state;
    struct deletion wide = of_tenant(), dry = of_endpoint(7);
    upload(7, "base/1");
    dry.dry_run = true;
    deletion_set_job_id(&dry);
    stall(true);
    mem.now_ms += 20000;
    ask(&dry);
    run_to(&step_open);
    ask(&wide);
    run_for(2000);
    assert_int_equal(w.n_published, 1);
    assert_string_equal(said(completion(0), "job_id"), dry.job_id);
    assert_string_equal(said(completion(0), "subsumed_by"), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_fits_a_page_stays_small),
        TEST(a_job_of_many_pages_makes_room_for_small_ones),
        TEST(large_jobs_take_turns),
        TEST(a_large_job_alone_is_not_broken_off),
        TEST(a_janitor_that_stops_lets_its_job_go),
        TEST(a_janitor_that_stops_waits_for_no_silent_store),
        TEST(a_long_sweep_keeps_its_lease),
        TEST(a_wider_sweep_serves_a_narrower_deletion_too),
        TEST(who_waits_for_a_wider_sweep_waits_for_its_end),
        TEST(who_waits_for_a_wider_sweep_outlasts_its_failure),
        TEST(a_dry_run_waits_for_nobody),
    };
    return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}
