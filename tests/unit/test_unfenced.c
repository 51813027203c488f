/* Deletions without a generation: nothing keeps new files away, so what they may remove depends on
 * when it was stored, and on who sweeps. */
#include "tests/unit/janitor_fixture.h"

/* A file that was stored so many seconds after the store's present second (or before: negative). */
static void upload_at(const char *path, int64_t after_s)
{
    struct kept *k = upload(0, path);
    k->modified_s = store_now_s() + after_s;
}

static void upload_around(void)
{
    upload_at("base/older", -2);
    upload_at("base/before", -1);
    upload_at("base/same", 0);
    upload_at("base/after", 1);
}

static void the_acceptor_takes_what_was_there(void **state)
{
    (void)state;
    static const int64_t hours[] = {-1, 1};
    for (size_t i = 0; i < LEN(hours); i++) {
        struct deletion d = without_generation();
        mem.ahead_of_us_ms = hours[i] * 3600000;
        upload_around();
        keep(EP "0000000000000001/pgdata/base/newer", "n", 1);
        ask(&d);
        run_all();
        assert_false(is_there(0, "base/older") || is_there(0, "base/before"));
        assert_false(is_there(0, "base/same"));
        assert_true(is_there(0, "base/after") && is_there(1, "base/newer"));
        assert_int_equal(w.n_published, i + 1);
        assert_string_equal(said(completion(i), "files"), "3"); /* each one once */
        assert_string_equal(said(completion(i), "bytes"), "300");
        unkeep(EP "0000000000000000/pgdata/base/after");
    }
}

static void the_order_of_its_steps(void **state)
{
    (void)state;
    struct deletion d = without_generation();
    upload_at("base/older", -2);
    ask(&d);
    run_all();
    assert_trace("get intent; put intent; done; "
                 "list uploads; list files; delete files; get intent; put intent; " /* the count */
                 "claim; get intent; list uploads; list files; list files; "
                 "get intent; put intent; " /* closing */
                 "publish completed; get intent; delete intent; finish");
}

/* Whoever goes on with it cannot know what of that second came after it. */
static void who_goes_on_with_it_keeps_what_may_be_newer(void **state)
{
    (void)state;
    struct deletion d = without_generation();
    upload_around();
    ask(&d);
    run_next();
    crash("next");
    settle();
    assert_false(is_there(0, "base/older"));
    assert_true(is_there(0, "base/before") && is_there(0, "base/same") &&
                is_there(0, "base/after"));
    assert_int_equal(w.n_published, 1);
}

static void upload_a_new_one(void)
{
    upload_at("base/new", 0);
}

static void what_is_stored_later_stays_through_all_steps(void **state)
{
    (void)state;
    static const struct step *const steps[] = {&step_first, &step_sweep,   &step_verify,
                                               &step_close, &step_publish, &step_forget};
    for (size_t i = 0; i < LEN(steps); i++) {
        struct deletion d = without_generation();
        upload_at("base/old", -5);
        ask(&d);
        run_to(steps[i]);
        mem.now_ms += 1000;
        upload_a_new_one();
        mem.now_ms += 10000;
        run_to(&step_forget);
        crash("next"); /* all of it again */
        mem.now_ms += 10 * LEASE_MS;
        settle();
        assert_false(is_there(0, "base/old"));
        assert_true(is_there(0, "base/new"));
        unkeep(EP "0000000000000000/pgdata/base/new");
    }
}

static void a_crash_at_any_step_ends_well(void **state)
{
    (void)state;
    struct deletion d = without_generation();
    unsigned steps = 0, ran;
    do {
        teardown(NULL);
        setup(NULL);
        upload_at("base/old", -5);
        ask(&d);
        for (ran = 0; ran < steps && run_next(); ran++)
            ;
        crash("next");
        mem.now_ms += 1000;
        upload_a_new_one();
        if (w.done == 0)
            upload_at("base/new", -10); /* it is accepted only now */
        if (w.done == 0)
            ask(&d);
        settle();
        assert_false(is_there(0, "base/old"));
        assert_true(is_there(0, "base/new") == (w.abandoned == 0));
        assert_true(w.n_published >= 1);
        for (size_t i = 0; i < w.n_published; i++)
            assert_int_equal(strncmp(said(&w.published[i], "id"), "done:", 5), 0);
        assert_int_equal(count_under(LAYOUT_TOMBSTONES), 0);
    } while (ran == steps++);
    assert_int_equal(ran, 9); /* the seven, first and close */
}

/* ---- Asked for again ---- */

/* As the writer, or another janitor, does. */
static void accept_again(const char *event_id)
{
    struct deletion d = without_generation();
    enum acceptance how;
    struct store_err err;
    strcpy(d.event_id, event_id);
    assert_int_equal(deletion_accept(&mem.store, w.loop, &d, &how, NULL, &err), 0);
    assert_int_equal(how, ACCEPTED_MERGED);
}

static void what_is_merged_before_it_closes_is_not_lost(void **state)
{
    (void)state;
    static const struct step *const steps[] = {&step_sweep, &step_verify, &step_close};
    for (size_t i = 0; i < LEN(steps); i++) {
        struct deletion d = without_generation();
        ask_as(&d, "first");
        run_to(steps[i]);
        upload_at("base/between", 1);
        mem.now_ms += 20000;
        accept_again("second");
        int64_t second_s = intent_of(&d).accepted_at_s;
        run_all();
        assert_false(is_there(0, "base/between"));
        assert_int_equal(w.n_published, i + 1);
        assert_string_equal(said(completion(i), "causation_id"), "second");
        assert_int_equal(said_time(completion(i), "accepted_at"), second_s);
        assert_true(said_time(completion(i), "completed_at") >= second_s);
    }
}

static void merge_meanwhile(void)
{
    struct deletion d = without_generation();
    d = intent_of(&d);
    d.accepted_at_s = store_now_s();
    strcpy(d.event_id, "second");
    put_intent(&d);
}

/* Between the reading and the writing of what closes it. */
static void what_is_merged_while_it_closes_is_not_lost(void **state)
{
    (void)state;
    struct deletion d = without_generation();
    ask_as(&d, "first");
    run_to(&step_close);
    upload_at("base/between", 1);
    mem.now_ms += 20000;
    set_trap((struct trap){
        .kind = OP_PUT, .under = LAYOUT_INTENTS, .nth = 1, .before = merge_meanwhile});
    run_all();
    assert_false(is_there(0, "base/between"));
    assert_int_equal(w.n_published, 1);
    assert_string_equal(said(completion(0), "causation_id"), "second");
}

static void what_is_held_at_the_last_moment_waits(void **state)
{
    (void)state;
    struct deletion d = without_generation();
    ask(&d);
    run_to(&step_close);
    set_state(&d, DELETION_HELD);
    run_all();
    assert_int_equal(intent_of(&d).state, DELETION_HELD);
    assert_int_equal(w.n_published, 0);
}

static void an_intent_that_is_gone_before_it_closes_is_over(void **state)
{
    (void)state;
    struct deletion d = without_generation();
    ask(&d);
    run_to(&step_close);
    remove_intent(&d);
    run_all();
    assert_false(has_intent(&d));
    assert_int_equal(w.n_published, 0);
}

/* Without the store's clock nobody can tell old files from new ones. */
static void without_a_time_nothing_is_accepted(void **state)
{
    (void)state;
    struct deletion d = without_generation();
    upload_at("base/old", -5);
    mem.no_clock_of = LAYOUT_INTENTS;
    ask(&d);
    for (int i = 0; i < 3; i++)
        run_next();
    assert_false(has_intent(&d));
    assert_int_equal(w.done, 0);
    mem.no_clock_of = NULL;
    run_all();
    assert_false(is_there(0, "base/old"));
    assert_int_equal(w.n_published, 1);
}

static void asked_for_again_here_the_acceptor_sweeps_again(void **state)
{
    (void)state;
    struct deletion d = without_generation();
    ask_as(&d, "first");
    run_to(&step_verify);
    mem.now_ms += 20000;
    upload_at("base/same", 0);
    ask_as(&d, "second");
    run_all();
    assert_false(is_there(0, "base/same"));
    assert_int_equal(w.done, 2);
    assert_int_equal(w.n_published, 1);
    assert_string_equal(said(completion(0), "files"), "1");
}

static void what_is_closing_takes_no_more(void **state)
{
    (void)state;
    struct deletion d = without_generation();
    ask_as(&d, "first");
    run_to(&step_publish);
    assert_int_equal(intent_of(&d).state, DELETION_CLOSING);
    w.brokers_down = true;
    mem.now_ms += 20000;
    upload_at("base/same", 0);
    ask_as(&d, "second");
    run_for(5000);
    assert_int_equal(w.done, 1); /* the second one waits */
    w.brokers_down = false;
    run_all();
    assert_int_equal(w.done, 2);
    assert_int_equal(w.n_published, 2);
    assert_string_equal(said(completion(0), "causation_id"), "first");
    assert_string_equal(said(completion(1), "causation_id"), "second");
    assert_false(is_there(0, "base/same"));
}

/* ---- The first sweep ---- */

static void a_first_sweep_that_fails_is_left_to_the_open_job(void **state)
{
    (void)state;
    struct deletion d = without_generation();
    upload_at("base/old", -5);
    set_trap((struct trap){
        .kind = OP_DELETE_MANY, .under = "tenants/", .nth = 1, .times = 8, .error = STORE_DENIED});
    ask(&d);
    run_to(&step_open); /* bounded: it is none of the open jobs yet */
    assert_int_equal(times_in_trace("delete files"), 6);
    assert_int_equal(next_job()->denials, 0);
    run_all();
    assert_int_equal(times_in_trace("publish completed"), 1);
}

static void a_count_that_cannot_be_noted_is_kept(void **state)
{
    (void)state;
    struct deletion d = without_generation();
    upload_at("base/old", -5);
    ask(&d);
    run_to(&step_first);
    set_trap((struct trap){.kind = OP_PUT, .under = LAYOUT_INTENTS, .nth = 1, .error = STORE_BUSY});
    run_all();
    assert_string_equal(said(completion(0), "files"), "1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_acceptor_takes_what_was_there),
        TEST(the_order_of_its_steps),
        TEST(who_goes_on_with_it_keeps_what_may_be_newer),
        TEST(what_is_stored_later_stays_through_all_steps),
        TEST(a_crash_at_any_step_ends_well),
        TEST(what_is_merged_before_it_closes_is_not_lost),
        TEST(what_is_merged_while_it_closes_is_not_lost),
        TEST(what_is_held_at_the_last_moment_waits),
        TEST(an_intent_that_is_gone_before_it_closes_is_over),
        TEST(without_a_time_nothing_is_accepted),
        TEST(asked_for_again_here_the_acceptor_sweeps_again),
        TEST(what_is_closing_takes_no_more),
        TEST(a_first_sweep_that_fails_is_left_to_the_open_job),
        TEST(a_count_that_cannot_be_noted_is_kept),
    };
    return cmocka_run_group_tests_name("unfenced", tests, NULL, NULL);
}
