/* The steps from open to forget: drain and verify, publish and forget, and what an intent may say
 * when it is read. */
#include "tests/unit/janitor_fixture.h"

/* ---- The whole way ---- */

static void each_step_comes_in_its_place(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    upload(6, "base/1");
    upload(7, "base/1");
    upload(8, "base/1");
    ask(&d);
    run_all();
    assert_trace("put tombstone; put intent; done; claim; list uploads; list files; delete files; "
                 "list writers; list files; publish completed; delete intent; finish");
    assert_false(is_there(6, "base/1") || is_there(7, "base/1"));
    assert_true(is_there(8, "base/1"));
    assert_int_equal(count_under(LAYOUT_TOMBSTONES), 1);
    assert_int_equal(w.n_published, 1);
    assert_string_equal(the_record(&d)->state, "done");
    assert_int_equal(metric_value(&w.j.metrics.completed), 1);
}

static void the_completion_tells_what_was_done(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    for (char name[] = "base/a"; name[5] < 'd'; name[5]++)
        upload(7, name);
    mem.ahead_of_us_ms = 7200000;
    ask_as(&d, "event-1");
    run_to(&step_sweep);
    int64_t accepted_s = intent_of(&d).accepted_at_s, swept_s = store_now_s();
    run_to(&step_verify);
    int64_t verified_s = store_now_s();
    mem.request_ms = 3000; /* what comes after is not counted */
    run_all();
    const struct published *p = completion(0);
    assert_string_equal(p->key, T);
    assert_string_equal(said(p, "outcome"), "completed");
    assert_string_equal(said(p, "causation_id"), "event-1");
    assert_string_equal(said(p, "files"), "3");
    assert_string_equal(said(p, "bytes"), "300");
    assert_string_equal(said(p, "attempts"), "1");
    assert_string_equal(said(p, "error"), "");
    assert_int_equal(said_time(p, "accepted_at"), accepted_s);
    assert_in_range(said_time(p, "started_at"), swept_s, swept_s + 1);
    assert_in_range(said_time(p, "completed_at"), verified_s, verified_s + 6);
}

/* ---- Drain and verify ---- */

/* A file may appear up to the last second of the window. */
static void nothing_is_complete_before_the_window_is_over(void **state)
{
    (void)state;
    static const int64_t hours[] = {-1, 0, 1};
    for (size_t i = 0; i < LEN(hours); i++) {
        struct deletion d = of_endpoint(10 + i);
        mem.ahead_of_us_ms = hours[i] * 3600000;
        crash("us");
        w.looked_ms = mem.now_ms;
        catch_up_looks();
        mem.now_ms += 3000;
        ask(&d);
        run_to(&step_sweep);
        int64_t over_s = intent_of(&d).accepted_at_s + WINDOW_S;
        run_to(&step_verify);
        assert_int_equal(store_now_s(), over_s); /* and not later either */
        run_all();
        assert_int_equal(said_time(completion(i), "completed_at"), over_s);
    }
}

/* What is guessed of the store's clock only decides when to look. */
static void a_verification_before_its_time_does_not_count(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    w.guess_off_s = 1;
    ask(&d);
    struct job *job = run_to(&step_verify);
    int64_t over_s = job->d.accepted_at_s + WINDOW_S;
    assert_int_equal(store_now_s(), over_s - 1);
    run_next();
    assert_ptr_equal(next_job()->step, &step_drain);
    assert_int_equal(times_in_trace("publish"), 0);
    upload(7, "base/late");
    trace[0] = '\0';
    run_all(); /* the guess stays wrong, and the store is not asked without a pause for that */
    assert_in_range(times_in_trace("list files"), 2, 4);
    assert_false(is_there(7, "base/late"));
    assert_int_equal(w.n_published, 1);
    assert_int_equal(said_time(completion(0), "completed_at"), over_s);
}

static void a_stall_after_the_drain_begins_the_window_anew(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    run_to(&step_verify);
    stall(true);
    mem.now_ms += 8000;
    stall(false);
    int64_t again_s = store_now_s();
    mem.now_ms += 2500;
    run_next();
    assert_ptr_equal(next_job()->step, &step_drain);
    upload(7, "base/stalled"); /* the store had it all the time */
    run_all();
    assert_false(is_there(7, "base/stalled"));
    assert_in_range(said_time(completion(0), "completed_at"), again_s + WINDOW_S,
                    again_s + WINDOW_S + 4);
}

/* Whether it will have been one is not known yet. */
static void a_verification_during_a_stall_does_not_count(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    run_to(&step_verify);
    stall(true);
    mem.now_ms += 8000;
    run_next();
    assert_ptr_equal(next_job()->step, &step_drain);
    run_for(60000);
    assert_int_equal(w.n_published, 0);
    stall(false);
    run_all();
    assert_int_equal(w.n_published, 1);
}

static void a_store_that_does_not_answer_is_waited_for(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    mem.now_ms += 20000;
    stall(true);
    mem.now_ms += 20000;
    ask(&d);
    run_for(200000);
    assert_ptr_equal(next_job()->step, &step_drain);
    assert_true(next_job()->due_ms <= mem.now_ms + 1000); /* it looks again soon */
    assert_int_equal(times_in_trace("list files"), 1);
    stall(false);
    int64_t since_s = store_now_s();
    run_all();
    assert_in_range(said_time(completion(0), "completed_at"), since_s + WINDOW_S,
                    since_s + WINDOW_S + 4);
}

static void what_is_found_is_looked_for_again_file(void)
{
    upload(7, "base/late");
}

static void what_is_found_is_removed_and_looked_for_again(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    upload(7, "base/1");
    ask(&d);
    run_to(&step_verify);
    trace[0] = '\0';
    set_trap((struct trap){.kind = OP_LIST,
                           .under = "tenants/",
                           .nth = 1,
                           .before = what_is_found_is_looked_for_again_file});
    run_all();
    assert_trace("list writers; list files; delete files; list files; publish completed; "
                 "delete intent; finish");
    assert_string_equal(said(completion(0), "files"), "2");
    assert_string_equal(said(completion(0), "bytes"), "200");
}

static void a_listing_without_a_time_proves_nothing(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    run_to(&step_verify);
    mem.no_clock_of = "tenants/";
    uint64_t last_ms = 0;
    for (int i = 0; i < 12; i++) {
        run_next();
        uint64_t wait_ms = next_job()->due_ms - mem.now_ms;
        assert_ptr_equal(next_job()->step, &step_verify);
        assert_non_null(strstr(next_job()->record.error, "tells no time"));
        assert_true(wait_ms >= 100 && wait_ms <= 60000);
        assert_true(wait_ms == 30000 ? i >= 9 : wait_ms == 2 * last_ms || i == 0);
        last_ms = wait_ms;
    }
    assert_int_equal(w.n_published, 0);
    mem.no_clock_of = NULL;
    run_all();
    assert_int_equal(w.n_published, 1);
    assert_string_equal(said(completion(0), "error"), "");
}

static void a_clock_that_is_far_off_makes_nobody_wait_for_years(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    w.guess_off_s = -1000000000;
    ask(&d);
    run_to(&step_drain);
    run_next();
    assert_ptr_equal(next_job()->step, &step_verify);
    assert_true(next_job()->due_ms <= mem.now_ms + (WINDOW_S + 2) * 1000);
    run_all();
    assert_int_equal(w.n_published, 1);
}

/* ---- The writers' times ---- */

static void a_window_that_is_too_short_holds_completions(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    keep(LAYOUT_WRITERS "00000091-w1", "{}", 2);
    ask(&d);
    run_to(&step_verify);
    run_for(20000);
    const struct ledger_job *r = the_record(&d);
    assert_string_equal(r->state, "waiting");
    assert_non_null(strstr(r->error, "upload_window is 90s"));
    assert_non_null(strstr(r->error, "w1 may take 91s"));
    assert_true(r->lease_ms_left > (int64_t)mem.now_ms);
    assert_int_equal(times_in_trace("list files"), 1); /* the sweep's */
    assert_int_equal(w.n_published, 0);
    unkeep(LAYOUT_WRITERS "00000091-w1");
    keep(LAYOUT_WRITERS "00000090-w1", "{}", 2);
    run_for(11000);
    assert_int_equal(w.n_published, 1);
    assert_string_equal(said(completion(0), "error"), "");
}

static void writers_that_cannot_be_read_are_asked_again(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    run_to(&step_verify);
    set_trap((struct trap){
        .kind = OP_LIST, .under = LAYOUT_WRITERS, .nth = 1, .times = 3, .error = STORE_BUSY});
    trace[0] = '\0';
    run_all();
    assert_trace("list writers; list writers; list writers; list writers; list files; "
                 "publish completed; delete intent; finish");
}

/* The terms must have been read after the tombstone. */
static void older_terms_do_not_serve(void **state)
{
    (void)state;
    struct deletion a = of_endpoint(7), b = of_endpoint(8);
    struct store_err err;
    mem.now_ms += 500;
    assert_int_equal(terms_check(w.j.terms, &mem.store, w.loop, store_now_s(), &err),
                     TERMS_COVERED);
    assert_int_equal(terms_check(w.j.terms, &mem.store, w.loop, store_now_s(), &err),
                     TERMS_COVERED);
    assert_trace("list writers");
    assert_int_equal(terms_check(w.j.terms, &mem.store, w.loop, store_now_s() + 1, &err),
                     TERMS_FAILED);
    assert_trace("list writers");
    mem.now_ms += 4000;
    assert_int_equal(terms_check(w.j.terms, &mem.store, w.loop, store_now_s() - 4, &err),
                     TERMS_COVERED);
    assert_trace("");
    mem.now_ms += 1000; /* and not for long */
    assert_int_equal(terms_check(w.j.terms, &mem.store, w.loop, store_now_s() - 9, &err),
                     TERMS_COVERED);
    assert_trace("list writers");
    ask(&a);
    ask(&b);
    run_all(); /* one reading serves both */
    assert_int_equal(times_in_trace("list writers"), 1);
    assert_int_equal(w.n_published, 2);
}

/* ---- The lease ---- */

static void steal_and_wait(void)
{
    struct deletion d = of_endpoint(7);
    steal(d.job_id);
    mem.now_ms += 1500;
}

/* Who was fenced leaves the job, its intent and its record alone. */
static void assert_left_alone(const struct deletion *d)
{
    assert_null(next_job());
    assert_true(has_intent(d));
    assert_int_equal(w.n_published, 0);
    assert_string_equal(the_record(d)->owner, "thief");
    assert_int_equal(times_in_trace("release"), 0);
    assert_int_equal(times_in_trace("drop"), 0);
}

static void who_is_fenced_in_a_sweep_leaves_the_job(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    mem.page = 4;
    for (char name[] = "base/a"; name[5] <= 't'; name[5]++)
        upload(7, name);
    ask(&d);
    run_to(&step_sweep);
    set_trap(
        (struct trap){.kind = OP_LIST, .under = "tenants/", .nth = 3, .before = steal_and_wait});
    run_all();
    assert_left_alone(&d);
    assert_true(count_under(EP) > 0);
}

static void who_is_fenced_at_a_later_step_leaves_the_job(void **state)
{
    (void)state;
    static const struct step *const steps[] = {&step_drain, &step_publish};
    for (size_t i = 0; i < LEN(steps); i++) {
        struct deletion d = of_endpoint(7 + i);
        ask(&d);
        run_to(steps[i]);
        steal(d.job_id);
        run_all();
        assert_left_alone(&d);
    }
}

static void who_cannot_publish_yet_keeps_its_lease(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    w.brokers_down = true;
    ask(&d);
    run_to(&step_publish);
    run_for(5 * LEASE_MS);
    assert_true(the_record(&d)->lease_ms_left > (int64_t)mem.now_ms);
    assert_int_equal(times_in_trace("publish"), 0);
    steal(d.job_id);
    w.brokers_down = false;
    run_all();
    assert_left_alone(&d);
}

static void a_long_drain_keeps_its_lease(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    struct job *job = run_to(&step_verify);
    assert_true(the_record(&d)->lease_ms_left >= (int64_t)job->due_ms + LEASE_MS - 1);
    assert_string_equal(the_record(&d)->state, "draining");
}

/* ---- Without the ledger ---- */

static void without_a_ledger_the_intent_is_read_again_before_the_end(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    w.ledger_down = true;
    ask(&d);
    run_to(&step_publish);
    trace[0] = '\0';
    run_all();
    assert_trace("get intent; publish completed; delete intent; finish");
}

static void a_ledger_that_dies_stops_nobody(void **state)
{
    (void)state;
    static const struct step *const steps[] = {&step_sweep, &step_drain, &step_publish};
    for (size_t i = 0; i < LEN(steps); i++) {
        struct deletion d = of_endpoint(7 + i);
        w.ledger_down = false;
        ask(&d);
        run_to(steps[i]);
        w.ledger_down = true;
        run_all();
        assert_int_equal(w.n_published, i + 1);
        assert_false(has_intent(&d));
    }
}

static void without_a_ledger_another_may_have_ended_it(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    w.ledger_down = true;
    ask(&d);
    run_to(&step_publish);
    remove_intent(&d);
    run_all();
    assert_int_equal(w.n_published, 0);
}

static void of_an_http_deletion_the_intent_tells_the_writers_count(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    d.accepted_at_s = store_now_s();
    put_intent(&d); /* no event_id */
    upload(7, "base/1");
    assert_true(take_up(d.job_id));
    run_to(&step_publish);
    d.swept = (struct deletion_counts){5, 5000};
    put_intent(&d);
    run_all();
    assert_string_equal(said(completion(0), "files"), "6");
    assert_string_equal(said(completion(0), "bytes"), "5100");
}

/* ---- Publish and forget ---- */

static void the_intent_goes_after_the_delivery_report(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    run_to(&step_publish);
    trace[0] = '\0';
    w.publish_fails = 3;
    for (int i = 0; i < 3; i++) {
        run_next();
        assert_true(has_intent(&d));
        assert_int_equal(w.n_published, 0);
        assert_ptr_equal(next_job()->step, &step_publish);
        assert_true(next_job()->due_ms > mem.now_ms);
        assert_int_equal(schedule_covers(w.j.schedule, &next_job()->d), COVER_ALL);
    }
    run_all();
    assert_trace("publish completed; publish completed; publish completed; publish completed; "
                 "delete intent; finish");
    assert_int_equal(w.n_published, 1);
}

static void who_asks_while_it_is_published_asks_for_another(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    run_to(&step_forget);
    ask(&d);
    trace[0] = '\0';
    run_next();
    assert_trace(""); /* the second one waits, and is not merged into what is over */
    run_all();
    assert_trace(
        "delete intent; finish; put tombstone; get tombstone; put intent; done; claim; "
        "get intent; list uploads; list files; list writers; list files; publish completed; "
        "delete intent; finish");
    assert_int_equal(w.n_published, 2);
}

static void what_cannot_be_forgotten_is_not_published_twice(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    set_trap((struct trap){
        .kind = OP_DELETE, .under = LAYOUT_INTENTS, .nth = 1, .times = 3, .error = STORE_BUSY});
    run_all();
    assert_int_equal(times_in_trace("publish"), 1);
    assert_int_equal(times_in_trace("delete intent"), 4);
    assert_int_equal(times_in_trace("finish"), 1);
    assert_false(has_intent(&d));
}

/* ---- What an intent says ---- */

static void accept_elsewhere(struct deletion *d)
{
    d->accepted_at_s = store_now_s();
    snprintf(d->event_id, sizeof(d->event_id), "e");
    put_intent(d);
}

static void a_cancelled_deletion_removes_nothing_more(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    d.state = DELETION_CANCELLED;
    accept_elsewhere(&d);
    upload(7, "base/1");
    assert_true(take_up(d.job_id));
    run_all();
    assert_trace("claim; get intent; get intent; put intent; publish cancelled; get intent; "
                 "delete intent; finish");
    assert_true(is_there(7, "base/1"));
    assert_string_equal(said(completion(0), "outcome"), "cancelled");
    /* Nothing was listed: it did not begin, and never ends before it was accepted. */
    assert_int_equal(said_time(completion(0), "completed_at"), d.accepted_at_s);
    assert_int_equal(said_time(completion(0), "started_at"), d.accepted_at_s);
    assert_int_equal(metric_value(&w.j.metrics.cancelled), 1);
    assert_int_equal(metric_value(&w.j.metrics.completed), 0);
}

static void what_is_held_or_has_failed_waits(void **state)
{
    (void)state;
    static const struct {
        enum deletion_state state;
        enum backlog_why why;
    } cases[] = {{DELETION_HELD, BACKLOG_HELD}, {DELETION_FAILED, BACKLOG_FAILED}};
    for (size_t i = 0; i < LEN(cases); i++) {
        struct deletion d = of_endpoint(7 + i);
        size_t counts[BACKLOG_REASONS];
        d.state = cases[i].state;
        accept_elsewhere(&d);
        assert_true(take_up(d.job_id));
        run_all();
        assert_trace("claim; get intent; release");
        backlog_counts(w.j.backlog, counts);
        assert_int_equal(counts[cases[i].why], 1);
        assert_true(backlog_waits(w.j.backlog, d.job_id, "e1", UINT64_MAX - 1) == (i == 0));
        assert_string_equal(the_record(&d)->state, backlog_why_name(cases[i].why));
        assert_true(the_record(&d)->lease_ms_left <= (int64_t)mem.now_ms);
    }
}

static void what_is_closing_is_only_published(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    d.state = DELETION_CLOSING;
    accept_elsewhere(&d);
    assert_true(take_up(d.job_id));
    run_all();
    /* In the own name first: whoever closed it may only have been stopped. */
    assert_trace("claim; get intent; get intent; put intent; publish completed; get intent; "
                 "delete intent; finish");
}

/* After its stop it finds an intent that is not what it closed: a later deletion's. */
static void who_was_stopped_before_the_end_removes_nothing_of_others(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7), others;
    d.state = DELETION_CLOSING;
    accept_elsewhere(&d);
    assert_true(take_up(d.job_id));
    run_to(&step_forget);
    others = intent_of(&d);
    snprintf(others.closed_by, sizeof(others.closed_by), "another");
    put_intent(&others);
    run_all();
    assert_string_equal(intent_of(&d).closed_by, "another");
}

static void an_intent_that_is_gone_was_ended_by_another(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    assert_true(take_up(d.job_id));
    run_all();
    assert_trace("claim; get intent; drop");
    assert_null(record_of(d.job_id));
}

static void an_intent_that_says_nothing_waits_for_a_change(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7), other = of_endpoint(8);
    char key[LAYOUT_KEY_SIZE];
    size_t counts[BACKLOG_REASONS];
    accept_elsewhere(&other);
    struct kept *k = kept_at((layout_intent(other.job_id, key), key));
    layout_intent(d.job_id, key);
    keep(key, k->text, k->size); /* another's: it must not be run under this name */
    upload(8, "base/1");
    assert_true(take_up(d.job_id));
    run_all();
    assert_trace("claim; get intent; release");
    backlog_counts(w.j.backlog, counts);
    assert_int_equal(counts[BACKLOG_UNREADABLE], 1);
    assert_true(is_there(8, "base/1"));
}

static void an_intent_that_cannot_be_read_now_is_read_again(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    accept_elsewhere(&d);
    set_trap((struct trap){
        .kind = OP_GET, .under = LAYOUT_INTENTS, .nth = 1, .times = 2, .error = STORE_BUSY});
    assert_true(take_up(d.job_id));
    run_all();
    assert_int_equal(times_in_trace("claim"), 1);
    assert_int_equal(times_in_trace("get intent"), 3);
    assert_int_equal(w.n_published, 1);
}

/* ---- What the ledger says ---- */

static void what_the_ledger_calls_done_is_done_if_the_intent_is_gone(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    accept_elsewhere(&d);
    struct ledger_job *r = make_record(d.job_id);
    strcpy(r->state, "done");
    r->accepted_at_s = d.accepted_at_s;
    assert_true(take_up(d.job_id));
    run_all(); /* the intent counts */
    assert_int_equal(w.n_published, 1);
    trace[0] = '\0';
    assert_true(take_up(d.job_id));
    run_all();
    assert_trace("claim; get intent");
    assert_int_equal(w.n_published, 1);
    assert_string_equal(the_record(&d)->state, "done");
}

static void another_janitors_job_is_left_to_it(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    steal(d.job_id);
    mem.now_ms += LEASE_MS - 1000;
    ask(&d); /* the event came to us */
    run_all();
    assert_trace("put tombstone; put intent; done; claim");
    uint64_t left_ms = backlog_next_due_ms(w.j.backlog) - mem.now_ms;
    assert_in_range(left_ms, 1000, 1002);
    record_of(d.job_id)->lease_ms_left += 100 * LEASE_MS; /* it may end early all the same */
    assert_true(take_up(d.job_id));
    run_all();
    left_ms = backlog_next_due_ms(w.j.backlog) - mem.now_ms;
    assert_int_equal(left_ms, w.conf.intent_scan_interval_ms);
}

static void counts_and_attempts_go_on_from_the_ledgers(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    accept_elsewhere(&d);
    struct ledger_job *r = make_record(d.job_id);
    *r = (struct ledger_job){.files = 40, .bytes = 4000, .attempts = 2};
    strcpy(r->job_id, d.job_id);
    strcpy(r->cursor, EP "0000000000000007/pgdata/base/b");
    upload(7, "base/a"); /* before the cursor: the verification finds it */
    upload(7, "base/c");
    assert_true(take_up(d.job_id));
    run_to(&step_drain);
    assert_true(is_there(7, "base/a"));
    assert_false(is_there(7, "base/c"));
    run_all();
    assert_false(is_there(7, "base/a"));
    assert_string_equal(said(completion(0), "files"), "42");
    assert_string_equal(said(completion(0), "bytes"), "4200");
    assert_string_equal(said(completion(0), "attempts"), "3");
}

/* ---- Dry runs ---- */

static void a_dry_run_only_counts(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    d.dry_run = true;
    deletion_set_job_id(&d);
    upload(7, "base/1");
    upload(8, "base/1");
    ask(&d);
    run_all();
    assert_trace("get intent; put intent; done; claim; list uploads; list files; "
                 "publish completed; delete intent; finish");
    assert_string_equal(said(completion(0), "files"), "1");
    assert_true(is_there(7, "base/1"));
    assert_int_equal(count_under(LAYOUT_TOMBSTONES), 0);
    assert_int_equal(metric_value(&w.j.metrics.files), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_step_comes_in_its_place),
        TEST(the_completion_tells_what_was_done),
        TEST(nothing_is_complete_before_the_window_is_over),
        TEST(a_verification_before_its_time_does_not_count),
        TEST(a_stall_after_the_drain_begins_the_window_anew),
        TEST(a_verification_during_a_stall_does_not_count),
        TEST(a_store_that_does_not_answer_is_waited_for),
        TEST(what_is_found_is_removed_and_looked_for_again),
        TEST(a_listing_without_a_time_proves_nothing),
        TEST(a_clock_that_is_far_off_makes_nobody_wait_for_years),
        TEST(a_window_that_is_too_short_holds_completions),
        TEST(writers_that_cannot_be_read_are_asked_again),
        TEST(older_terms_do_not_serve),
        TEST(who_is_fenced_in_a_sweep_leaves_the_job),
        TEST(who_is_fenced_at_a_later_step_leaves_the_job),
        TEST(who_cannot_publish_yet_keeps_its_lease),
        TEST(a_long_drain_keeps_its_lease),
        TEST(without_a_ledger_the_intent_is_read_again_before_the_end),
        TEST(a_ledger_that_dies_stops_nobody),
        TEST(without_a_ledger_another_may_have_ended_it),
        TEST(of_an_http_deletion_the_intent_tells_the_writers_count),
        TEST(the_intent_goes_after_the_delivery_report),
        TEST(who_asks_while_it_is_published_asks_for_another),
        TEST(what_cannot_be_forgotten_is_not_published_twice),
        TEST(a_cancelled_deletion_removes_nothing_more),
        TEST(what_is_held_or_has_failed_waits),
        TEST(what_is_closing_is_only_published),
        TEST(who_was_stopped_before_the_end_removes_nothing_of_others),
        TEST(an_intent_that_is_gone_was_ended_by_another),
        TEST(an_intent_that_says_nothing_waits_for_a_change),
        TEST(an_intent_that_cannot_be_read_now_is_read_again),
        TEST(what_the_ledger_calls_done_is_done_if_the_intent_is_gone),
        TEST(another_janitors_job_is_left_to_it),
        TEST(counts_and_attempts_go_on_from_the_ledgers),
        TEST(a_dry_run_only_counts),
    };
    return cmocka_run_group_tests_name("steps", tests, NULL, NULL);
}
