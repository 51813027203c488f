/* The scanner's own thread, tick by tick: what it takes up, skips and pokes. The thread and the
 * test take turns, so that only one of them runs at a time. */
#include "tests/unit/janitor_fixture.h"

#include "janitor/scan.h"

enum turn {
    OF_TEST,
    OF_SCANNER,
    OF_BOTH, /* the test only waits for the scanner's end */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum turn turn;
} stage = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, OF_TEST};

static void give_turn(enum turn turn)
{
    pthread_mutex_lock(&stage.lock);
    if (stage.turn != OF_BOTH)
        stage.turn = turn;
    pthread_cond_broadcast(&stage.changed);
    pthread_mutex_unlock(&stage.lock);
}

static void await_turn(enum turn turn)
{
    pthread_mutex_lock(&stage.lock);
    while (stage.turn != turn && stage.turn != OF_BOTH)
        pthread_cond_wait(&stage.changed, &stage.lock);
    pthread_mutex_unlock(&stage.lock);
}

/* On the scanner's thread. */
static void sleep_till_told(void)
{
    give_turn(OF_TEST);
    await_turn(OF_SCANNER);
}

/* Starts it; it has scanned once when this returns. */
static void start_scanner(void)
{
    struct store_err err;
    w.sleep = sleep_till_told;
    stage.turn = OF_SCANNER;
    assert_int_equal(scan_start(&w.j, &w.j.scan, &err), 0);
    await_turn(OF_TEST);
}

static void let_pass(uint64_t ms)
{
    for (uint64_t end_ms = mem.now_ms + ms; mem.now_ms < end_ms;) {
        give_turn(OF_SCANNER);
        await_turn(OF_TEST);
    }
}

/* The next whole scan. */
static void scan_again(void)
{
    let_pass(w.conf.intent_scan_interval_ms);
}

static int stop_scanner(void **state)
{
    schedule_stop(w.j.schedule);
    give_turn(OF_BOTH);
    scan_stop(w.j.scan);
    return teardown(state);
}

#define SCAN(test) cmocka_unit_test_setup_teardown(test, setup, stop_scanner)

/* ---- Intents ---- */

enum { FEW = 5 };

/* By their ids, in the order of their keys. */
static void put_some(struct deletion some[FEW])
{
    for (size_t i = 0; i < FEW; i++) {
        some[i] = of_endpoint(i);
        some[i].accepted_at_s = store_now_s();
        put_intent(&some[i]);
    }
    for (size_t i = 0; i + 1 < FEW; i++)
        for (size_t n = i + 1; n < FEW; n++)
            if (strcmp(some[n].job_id, some[i].job_id) < 0) {
                struct deletion d = some[i];
                some[i] = some[n];
                some[n] = d;
            }
}

static bool is_taken_up(const struct deletion *d)
{
    for (size_t i = 0; i < w.n_waiting; i++)
        if (strcmp(w.waiting[i]->d.job_id, d->job_id) == 0)
            return true;
    return false;
}

static void assert_taken_up(const struct deletion some[FEW], const char *which)
{
    char is[FEW + 1] = "";
    for (size_t i = 0; i < FEW; i++)
        is[i] = is_taken_up(&some[i]) ? 'x' : '.';
    assert_string_equal(is, which);
}

/* Their intents stay. */
static void drop_jobs(void)
{
    struct job *job;
    while ((job = schedule_take_any(w.j.schedule))) {
        no_longer_waits(job);
        schedule_leave(w.j.schedule, job);
        job_free(job);
    }
}

static void intents_are_found_and_run(void **state)
{
    (void)state;
    struct deletion some[FEW];
    struct scan_status status;
    mem.page = 2;
    put_some(some);
    mem.kept[3].modified_s -= 500;
    start_scanner();
    assert_taken_up(some, "xxxxx");
    scan_status(w.j.scan, &status);
    assert_int_equal(status.intents, FEW);
    assert_int_equal(status.oldest_modified_s, store_now_s() - 500);
    assert_int_equal(status.scanned_at_s, store_now_s());
    scan_again(); /* known ones are no new jobs */
    assert_int_equal(w.n_waiting, FEW);
}

static void what_is_found_comes_to_its_end(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    d.accepted_at_s = store_now_s();
    put_intent(&d);
    upload(7, "base/1");
    start_scanner();
    run_to(&step_verify);
    scan_again();
    assert_ptr_equal(next_job()->step, &step_verify);
    while (run_next())
        ;
    assert_false(has_intent(&d) || is_there(7, "base/1"));
    assert_int_equal(w.n_published, 1);
}

/* ---- Room ---- */

static void those_that_had_no_room_are_first_the_next_time(void **state)
{
    (void)state;
    struct deletion some[FEW];
    w.conf.max_open_jobs = 2;
    crash("us");
    put_some(some);
    start_scanner();
    assert_taken_up(some, "xx...");
    drop_jobs();
    scan_again();
    assert_taken_up(some, "..xx.");
    drop_jobs();
    scan_again();
    assert_taken_up(some, "x...x");
    scan_again();
    assert_taken_up(some, "x...x"); /* full */
    drop_jobs();
    scan_again();
    assert_taken_up(some, ".xx..");
    for (size_t i = 2; i < FEW; i++)
        remove_intent(&some[i]);
    drop_jobs();
    scan_again(); /* the rest, in two turns */
    assert_taken_up(some, "xx...");
    trace[0] = '\0';
    scan_again();
    assert_trace("list intent"); /* one is enough again */
}

/* ---- Other janitors' ---- */

static void what_another_janitor_has_is_left_to_it(void **state)
{
    (void)state;
    struct deletion some[FEW];
    size_t counts[BACKLOG_REASONS];
    put_some(some);
    steal(some[2].job_id);
    start_scanner();
    assert_taken_up(some, "xx.xx");
    backlog_counts(w.j.backlog, counts);
    assert_int_equal(counts[BACKLOG_BUSY], 1);
    let_pass(LEASE_MS - 1000);
    assert_taken_up(some, "xx.xx");
    let_pass(2500); /* its lease is over: at once, and not only at the next scan */
    assert_taken_up(some, "xxxxx");
}

static void our_own_lease_hinders_nobody(void **state)
{
    (void)state;
    struct deletion some[FEW];
    put_some(some);
    steal(some[1].job_id);
    strcpy(record_of(some[1].job_id)->owner, "us");
    steal(some[2].job_id);
    record_of(some[2].job_id)->lease_ms_left = 0; /* it let go */
    start_scanner();
    assert_taken_up(some, "xxxxx");
}

/* ---- Changes ---- */

static void a_changed_intent_is_read_again(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    d.accepted_at_s = store_now_s();
    put_intent(&d);
    upload(7, "base/1");
    start_scanner();
    struct job *job = run_to(&step_sweep);
    scan_again();
    assert_false(schedule_poked(w.j.schedule, job, false));
    set_state(&d, DELETION_CANCELLED);
    scan_again();
    assert_true(schedule_poked(w.j.schedule, job, false));
    while (run_next())
        ;
    assert_string_equal(said(completion(0), "outcome"), "cancelled");
    assert_true(is_there(7, "base/1"));
}

static void what_waits_is_not_read_until_it_changes(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    d.accepted_at_s = store_now_s();
    d.state = DELETION_HELD;
    put_intent(&d);
    start_scanner();
    while (run_next())
        ;
    trace[0] = '\0';
    scan_again();
    assert_trace("list intent");
    assert_null(next_job());
    set_state(&d, DELETION_OPEN);
    scan_again();
    assert_true(is_taken_up(&d));
}

static void what_is_due_is_taken_up_between_two_scans(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    d.accepted_at_s = store_now_s();
    d.not_before_s = clock_real_s() + 3;
    put_intent(&d);
    start_scanner();
    while (run_next())
        ;
    trace[0] = '\0';
    let_pass(1000);
    assert_false(is_taken_up(&d));
    let_pass(3000);
    assert_true(is_taken_up(&d));
    assert_trace("");
}

static void a_note_goes_with_its_intent(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    size_t counts[BACKLOG_REASONS];
    d.accepted_at_s = store_now_s();
    d.state = DELETION_HELD;
    put_intent(&d);
    start_scanner();
    while (run_next())
        ;
    scan_again();
    backlog_counts(w.j.backlog, counts);
    assert_int_equal(counts[BACKLOG_HELD], 1);
    remove_intent(&d);
    set_trap(
        (struct trap){.kind = OP_LIST, .under = LAYOUT_INTENTS, .nth = 1, .error = STORE_BUSY});
    scan_again(); /* what was not listed need not be gone */
    backlog_counts(w.j.backlog, counts);
    assert_int_equal(counts[BACKLOG_HELD], 1);
    scan_again();
    backlog_counts(w.j.backlog, counts);
    assert_int_equal(counts[BACKLOG_HELD], 0);
}

/* ---- Strange ones ---- */

static void what_is_no_intent_by_its_name_is_not_run(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    struct scan_status status;
    char key[LAYOUT_KEY_SIZE];
    d.accepted_at_s = store_now_s();
    put_intent(&d);
    layout_intent(d.job_id, key);
    const struct kept k = *kept_at(key);
    char *text = xstrdup(k.text);
    keep(LAYOUT_INTENTS "short", text, k.size);
    keep(LAYOUT_INTENTS "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", text,
         k.size);
    strcat(key, "0");
    keep(key, text, k.size);
    key[strlen(key) - 1] = 'x';
    keep(key, text, k.size);
    free(text);
    start_scanner();
    assert_int_equal(w.n_waiting, 1);
    assert_true(is_taken_up(&d));
    scan_status(w.j.scan, &status);
    assert_int_equal(status.intents, 1);
}

static void an_intent_under_anothers_name_is_not_run(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7), other = of_endpoint(6);
    char key[LAYOUT_KEY_SIZE];
    d.accepted_at_s = store_now_s();
    put_intent(&d);
    layout_intent(d.job_id, key);
    const struct kept *k = kept_at(key);
    char *text = xstrdup(k->text);
    size_t n = k->size;
    layout_intent(other.job_id, key);
    keep(key, text, n);
    free(text);
    remove_intent(&d);
    upload(7, "base/1");
    upload(6, "base/1");
    start_scanner();
    for (int i = 0; i < 3; i++) {
        while (run_next())
            ;
        scan_again();
    }
    assert_true(is_there(7, "base/1") && is_there(6, "base/1"));
    assert_int_equal(times_in_trace("get intent"), 1); /* once is enough */
    assert_int_equal(w.n_published, 0);
}

/* ---- Failures ---- */

static void a_scan_that_fails_is_tried_again(void **state)
{
    (void)state;
    struct deletion some[FEW];
    struct scan_status status;
    put_some(some);
    mem.page = 2;
    set_trap(
        (struct trap){.kind = OP_LIST, .under = LAYOUT_INTENTS, .nth = 2, .error = STORE_BUSY});
    start_scanner();
    assert_taken_up(some, "xx...");
    scan_status(w.j.scan, &status);
    assert_int_equal(status.intents, 0); /* nothing is told of a part */
    scan_again();
    assert_taken_up(some, "xxxxx");
    scan_status(w.j.scan, &status);
    assert_int_equal(status.intents, FEW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCAN(intents_are_found_and_run),
        SCAN(what_is_found_comes_to_its_end),
        SCAN(those_that_had_no_room_are_first_the_next_time),
        SCAN(what_another_janitor_has_is_left_to_it),
        SCAN(our_own_lease_hinders_nobody),
        SCAN(a_changed_intent_is_read_again),
        SCAN(what_waits_is_not_read_until_it_changes),
        SCAN(what_is_due_is_taken_up_between_two_scans),
        SCAN(a_note_goes_with_its_intent),
        SCAN(what_is_no_intent_by_its_name_is_not_run),
        SCAN(an_intent_under_anothers_name_is_not_run),
        SCAN(a_scan_that_fails_is_tried_again),
    };
    return cmocka_run_group_tests_name("scan", tests, NULL, NULL);
}
