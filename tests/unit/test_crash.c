/* A janitor that dies at any moment, intents that change meanwhile, and deletions that cannot
 * succeed. */
#include "tests/unit/janitor_fixture.h"

/* ---- Crashes ---- */

static void assert_one_end(const struct deletion *d)
{
    char id[JOB_ID_SIZE + 8];
    snprintf(id, sizeof(id), "done:%s", d->job_id);
    assert_true(w.n_published > 0);
    for (size_t i = 0; i < w.n_published; i++) {
        assert_int_equal(w.published[i].topic, QUEUE_COMPLETIONS);
        assert_string_equal(said(&w.published[i], "id"), id);
    }
    assert_false(has_intent(d));
}

static void begin(const struct deletion *d)
{
    setup(NULL);
    upload(7, "base/1");
    upload(7, "base/2");
    upload(8, "base/1");
    ask(d);
}

/* What was not given back comes again. */
static void go_on(const struct deletion *d)
{
    crash("next");
    if (w.done == 0)
        ask(d);
    settle();
    assert_one_end(d);
    assert_false(is_there(7, "base/1") || is_there(7, "base/2"));
    assert_true(is_there(8, "base/1"));
    assert_int_equal(count_under(LAYOUT_TOMBSTONES), 1);
}

static void a_crash_between_any_two_steps_loses_nothing(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    unsigned steps = 0, ran;
    do {
        teardown(NULL);
        begin(&d);
        for (ran = 0; ran < steps && run_next(); ran++)
            ;
        go_on(&d);
    } while (ran == steps++);
    assert_int_equal(ran, 7); /* accept, open, sweep, drain, verify, publish, forget */
}

/* Also in the middle of a step: at each request to the store, and right after it. */
static void a_crash_at_any_request_loses_nothing(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    unsigned at = 0, requests[2];
    for (int after = 0; after < 2; after++, at = 0) {
        bool died = true;
        while (died) {
            teardown(NULL);
            begin(&d);
            mem.dies_at = ++at;
            mem.after_it = after;
            while (!mem.dead && run_next())
                ;
            died = mem.dead;
            go_on(&d);
        }
        requests[after] = at - 1;
    }
    /* Two puts, three to sweep, two to verify, and the last. */
    assert_int_equal(requests[0], 8);
    assert_int_equal(requests[1], 8);
}

/* The report was lost, or the crash came before the intent went: it is published again, and both
 * have one id. */
static void a_completion_may_come_twice_under_one_id(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    w.publish_fails = 1;
    w.reports_are_lost = true;
    run_to(&step_forget);
    crash("next");
    mem.now_ms += 10 * LEASE_MS;
    settle();
    assert_int_equal(w.n_published, 3);
    assert_one_end(&d);
}

static void who_starts_anew_has_not_seen_the_window_before(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    run_to(&step_verify);
    crash("next");
    int64_t since_s = store_now_s();
    settle();
    assert_true(said_time(completion(0), "completed_at") >= since_s + WINDOW_S);
    assert_string_equal(said(completion(0), "attempts"), "2");
}

/* ---- Changes ---- */

static void a_change_is_seen_before_the_next_step(void **state)
{
    (void)state;
    static const struct step *const steps[] = {&step_sweep, &step_drain, &step_verify};
    for (size_t i = 0; i < LEN(steps); i++) {
        struct deletion d = of_endpoint(7 + i);
        struct kept *k = upload(7 + i, "base/1");
        char key[256];
        strcpy(key, k->key);
        ask(&d);
        run_to(steps[i]);
        set_state(&d, DELETION_CANCELLED);
        trace[0] = '\0';
        uint64_t now_ms = mem.now_ms;
        assert_true(schedule_poke(w.j.schedule, d.job_id, NULL));
        run_all();
        assert_int_equal(mem.now_ms, now_ms); /* nothing was waited for */
        assert_trace("get intent; get intent; put intent; publish cancelled; get intent; "
                     "delete intent; finish");
        assert_true((kept_at(key) != NULL) == (steps[i] == &step_sweep));
    }
}

/* What is asked for while the completion waits must not go with the intent. */
static void a_cancelled_deletion_that_is_asked_for_again_is_done(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7), again = d;
    enum acceptance how;
    struct store_err err;
    d.state = DELETION_CANCELLED;
    d.accepted_at_s = store_now_s();
    put_intent(&d);
    upload(7, "base/1");
    w.brokers_down = true;
    assert_true(take_up(d.job_id));
    run_to(&step_publish);
    /* As the writer does. */
    assert_int_equal(deletion_accept(&mem.store, w.loop, &again, &how, NULL, &err), -1);
    assert_int_equal(err.code, STORE_BUSY);
    ask(&d); /* and as a janitor does */
    run_for(10000);
    assert_int_equal(w.done, 0);
    w.brokers_down = false;
    run_all();
    assert_int_equal(w.done, 1);
    assert_false(is_there(7, "base/1"));
    assert_string_equal(said(completion(0), "outcome"), "cancelled");
    assert_string_equal(said(completion(1), "outcome"), "completed");
}

static void reopen_it(void)
{
    struct deletion d = of_endpoint(7);
    set_state(&d, DELETION_OPEN);
}

static void a_cancelled_deletion_may_be_opened_until_it_closes(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    d.state = DELETION_CANCELLED;
    d.accepted_at_s = store_now_s();
    put_intent(&d);
    upload(7, "base/1");
    set_trap((struct trap){.kind = OP_PUT, .under = LAYOUT_INTENTS, .nth = 1, .before = reopen_it});
    assert_true(take_up(d.job_id));
    run_all();
    assert_int_equal(w.n_published, 1);
    assert_string_equal(said(completion(0), "outcome"), "completed");
    assert_false(is_there(7, "base/1"));
}

static void after_the_verification_a_change_is_too_late(void **state)
{
    (void)state;
    static const struct step *const steps[] = {&step_publish, &step_forget};
    for (size_t i = 0; i < LEN(steps); i++) {
        struct deletion d = of_endpoint(7 + i);
        ask(&d);
        run_to(steps[i]);
        set_state(&d, DELETION_CANCELLED);
        assert_true(schedule_poke(w.j.schedule, d.job_id, NULL));
        run_all();
        assert_string_equal(said(completion(i), "outcome"), "completed");
    }
}

static void cancel_and_poke(void)
{
    struct deletion d = of_endpoint(7);
    set_state(&d, DELETION_CANCELLED);
    schedule_poke(w.j.schedule, d.job_id, NULL);
}

static void a_change_breaks_a_sweep_off(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    mem.page = 1;
    for (char name[] = "base/a"; name[5] <= 't'; name[5]++)
        upload(7, name);
    ask(&d);
    run_to(&step_sweep);
    run_next(); /* it is too large for the lane */
    assert_int_equal(next_job()->lane, LANE_BIG);
    set_trap((struct trap){
        .kind = OP_DELETE_MANY, .under = "tenants/", .nth = 1, .before = cancel_and_poke});
    run_all();
    assert_true(count_under(EP) > 0);
    assert_string_equal(said(completion(0), "outcome"), "cancelled");
    assert_int_equal(atoi(said(completion(0), "files")), 20 - (int)count_under(EP));
}

static void a_hold_parks_the_job_until_it_is_lifted(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    run_to(&step_sweep);
    struct deletion says = intent_of(&d);
    says.state = DELETION_HELD;
    put_intent(&says);
    schedule_poke(w.j.schedule, d.job_id, NULL);
    run_all();
    assert_true(has_intent(&d));
    says.state = DELETION_OPEN;
    put_intent(&says);
    find_intents(); /* another etag: it is read again */
    run_all();
    assert_int_equal(w.n_published, 1);
}

/* ---- What cannot succeed ---- */

static void deny_deletes(unsigned times)
{
    set_trap((struct trap){.kind = OP_DELETE_MANY,
                           .under = "tenants/",
                           .nth = 1,
                           .times = times,
                           .error = STORE_DENIED});
}

static void what_is_denied_fails_and_waits_for_a_person(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7), again;
    enum event_class class;
    struct store_err err;
    size_t counts[BACKLOG_REASONS];
    upload(7, "base/1");
    deny_deletes(DENIED_TRIES);
    ask(&d);
    run_all();
    assert_string_equal(strstr(trace, "publish"),
                        "publish letter; publish failed; get intent; put intent; release");
    assert_int_equal(times_in_trace("delete files"), DENIED_TRIES);
    struct deletion says = intent_of(&d);
    assert_int_equal(says.state, DELETION_FAILED);
    assert_non_null(strstr(says.note, "told to fail"));
    assert_int_equal(count_under(LAYOUT_TOMBSTONES), 1);
    const struct published *letter = published_as(QUEUE_DEADLETTER, 0);
    assert_string_equal(header_of(letter, "dlq-class"), "exhausted");
    assert_non_null(strstr(header_of(letter, "dlq-error"), "told to fail"));
    assert_string_equal(said(completion(0), "outcome"), "failed");
    assert_non_null(strstr(said(completion(0), "error"), "told to fail"));
    backlog_counts(w.j.backlog, counts);
    assert_int_equal(counts[BACKLOG_FAILED], 1);
    trace[0] = '\0';
    find_intents(); /* it has seen its own change */
    assert_trace("");
    assert_null(next_job());
    assert_int_equal(metric_value(&w.j.metrics.failed), 1);

    /* The letter, played back, opens it again. */
    const struct event_header header = {"content-type", "application/cloudevents+json", 28};
    assert_int_equal(event_parse(&header, 1, letter->key, strlen(letter->key), letter->text,
                                 letter->len, &again, &class, &err),
                     0);
    assert_string_equal(again.job_id, d.job_id);
    ask(&again);
    run_all();
    assert_false(has_intent(&d) || is_there(7, "base/1"));
    assert_string_equal(said(completion(1), "outcome"), "completed");
    assert_string_equal(said(completion(1), "error"), "");
}

static void a_few_denials_are_survived(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    upload(7, "base/1");
    deny_deletes(DENIED_TRIES - 1);
    ask(&d);
    run_all();
    assert_int_equal(w.n_published, 1);
    assert_string_equal(said(completion(0), "outcome"), "completed");
}

static void an_outage_is_never_a_failure(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    upload(7, "base/1");
    set_trap((struct trap){
        .kind = OP_DELETE_MANY, .under = "tenants/", .nth = 1, .times = 50, .error = STORE_BUSY});
    ask(&d);
    run_all();
    assert_int_equal(times_in_trace("delete files"), 51);
    assert_int_equal(w.n_published, 1);
    assert_string_equal(said(completion(0), "outcome"), "completed");
    assert_int_equal(metric_value(&w.j.metrics.step_failures), 50);
}

static void a_failure_that_cannot_be_told_is_told_again(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    upload(7, "base/1");
    deny_deletes(DENIED_TRIES);
    ask(&d);
    w.publish_fails = 2;
    run_all();
    assert_int_equal(intent_of(&d).state, DELETION_FAILED);
    assert_non_null(strstr(intent_of(&d).note, "told to fail")); /* not what hindered the telling */
    assert_non_null(strstr(said(completion(0), "error"), "told to fail"));
}

static void who_is_fenced_does_not_tell_a_failure(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    upload(7, "base/1");
    deny_deletes(DENIED_TRIES);
    ask(&d);
    run_to(&step_fail);
    steal(d.job_id);
    run_all();
    assert_int_equal(w.n_published, 0);
    assert_int_equal(intent_of(&d).state, DELETION_OPEN);
}

static void what_an_operator_says_stands_against_a_failure(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    upload(7, "base/1");
    deny_deletes(DENIED_TRIES);
    ask(&d);
    run_to(&step_fail);
    set_state(&d, DELETION_CANCELLED);
    run_all();
    assert_int_equal(intent_of(&d).state, DELETION_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_crash_between_any_two_steps_loses_nothing),
        TEST(a_crash_at_any_request_loses_nothing),
        TEST(a_completion_may_come_twice_under_one_id),
        TEST(who_starts_anew_has_not_seen_the_window_before),
        TEST(a_change_is_seen_before_the_next_step),
        TEST(a_cancelled_deletion_that_is_asked_for_again_is_done),
        TEST(a_cancelled_deletion_may_be_opened_until_it_closes),
        TEST(after_the_verification_a_change_is_too_late),
        TEST(a_change_breaks_a_sweep_off),
        TEST(a_hold_parks_the_job_until_it_is_lifted),
        TEST(what_is_denied_fails_and_waits_for_a_person),
        TEST(a_few_denials_are_survived),
        TEST(an_outage_is_never_a_failure),
        TEST(a_failure_that_cannot_be_told_is_told_again),
        TEST(who_is_fenced_does_not_tell_a_failure),
        TEST(what_an_operator_says_stands_against_a_failure),
    };
    return cmocka_run_group_tests_name("crash", tests, NULL, NULL);
}
