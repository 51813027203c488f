/* Messages: accepted and given back in that order, merged into what is open, or put among the dead
 * letters. */
#include "tests/unit/janitor_fixture.h"

/* ---- Accepted, then given back ---- */

static void a_message_is_given_back_once_its_intent_stands(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    run_next();
    assert_trace("put tombstone; put intent; done");
    assert_int_equal(w.done, 1);
    assert_true(has_intent(&d));
    assert_int_equal(metric_value(&w.j.metrics.accepted), 1);
}

static void a_message_that_cannot_be_accepted_is_kept(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    static const char *const at[] = {LAYOUT_TOMBSTONES, LAYOUT_INTENTS};
    for (size_t i = 0; i < LEN(at); i++) {
        set_trap((struct trap){
            .kind = OP_PUT, .under = at[i], .nth = 1, .times = 2, .error = STORE_DENIED});
        ask(&d);
        for (int n = 0; n < 2; n++) {
            run_next();
            assert_ptr_equal(next_job()->step, &step_accept);
            assert_int_equal(next_job()->lane, LANE_ACCEPT);
            assert_non_null(next_job()->msg);
            assert_int_equal(w.done, i);
        }
        assert_false(has_intent(&d));
        run_all();
        assert_int_equal(w.done, i + 1);
        assert_int_equal(w.n_published, i + 1);
        unkeep(mem.kept[0].key); /* the tombstone, for the next round */
    }
}

static void a_message_that_is_not_accepted_comes_again(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    crash("next");
    assert_int_equal(w.abandoned, 1);
    assert_int_equal(w.done, 0);
}

/* ---- The same again ---- */

static void the_same_again_costs_no_request(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    run_to(&step_drain);
    trace[0] = '\0';
    for (int i = 0; i < 5; i++)
        ask_as(&d, "again");
    while (next_job()->step == &step_accept)
        run_next();
    assert_trace("done; done; done; done; done");
    run_all();
    assert_int_equal(w.n_published, 1);
    assert_string_equal(said(completion(0), "causation_id"), "event");
}

static void a_later_end_of_tokens_is_merged_into_what_is_open(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7), longer;
    d.tokens_expire_by_s = clock_real_s() + 100;
    longer = d;
    longer.tokens_expire_by_s += 100;
    ask(&d);
    run_to(&step_drain);
    ask(&longer);
    while (w.done < 2)
        run_next();
    assert_int_equal(intent_of(&d).tokens_expire_by_s, longer.tokens_expire_by_s);
    trace[0] = '\0';
    run_all(); /* the open job reads it at once */
    assert_trace("get intent; list uploads; list files; list writers; list files; "
                 "publish completed; delete intent; finish");
    assert_int_equal(w.n_published, 1);
    assert_int_equal(w.done, 2);
    assert_int_equal(count_published(QUEUE_DEADLETTER), 0);
}

static void of_two_at_once_one_is_made(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    ask(&d);
    run_next();
    run_next();
    run_all();
    assert_int_equal(w.done, 2);
    assert_int_equal(w.n_published, 1);
}

/* One that another janitor has, or that nobody has yet, is merged all the same. */
static void what_is_open_elsewhere_is_entered_here(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    run_next();
    crash("next");
    trace[0] = '\0';
    ask_as(&d, "again");
    run_to(&step_sweep);
    assert_trace("put tombstone; get tombstone; put intent; get intent; done; claim; get intent");
    assert_string_equal(next_job()->d.event_id, "event");
}

static void write_both_meanwhile(void)
{
    struct deletion d = of_endpoint(7);
    char key[LAYOUT_KEY_SIZE];
    strcpy(d.event_id, "elsewhere");
    d.accepted_at_s = store_now_s();
    layout_tombstone(&d.scope, d.upto_gen, key);
    if (!kept_at(key))
        keep(key, "{}", 2);
    else if (!has_intent(&d))
        put_intent(&d);
}

static void who_is_faster_is_not_overwritten(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    d.tokens_expire_by_s = clock_real_s() + 1000;
    set_trap((struct trap){
        .kind = OP_PUT, .under = LAYOUT_TOMBSTONES, .nth = 1, .before = write_both_meanwhile});
    set_trap((struct trap){
        .kind = OP_PUT, .under = LAYOUT_INTENTS, .nth = 1, .before = write_both_meanwhile});
    ask(&d);
    run_next();
    assert_trace("put tombstone; get tombstone; put intent; get intent; done");
    assert_string_equal(intent_of(&d).event_id, "elsewhere");
    assert_int_equal(intent_of(&d).tokens_expire_by_s, 0); /* its is unknown, and so the latest */
    assert_string_equal(mem.kept[1].text, "{}");
}

/* ---- not_before ---- */

static void a_delayed_deletion_waits_as_an_intent(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    mem.ahead_of_us_ms = -3600000;
    d.not_before_s = clock_real_s() + 500;
    upload(7, "base/1");
    ask(&d);
    run_all();
    assert_trace("put tombstone; put intent; done; claim; release");
    assert_int_equal(schedule_n_open(w.j.schedule), 0);
    assert_string_equal(the_record(&d)->state, "delayed");
    assert_in_range(backlog_next_due_ms(w.j.backlog) - mem.now_ms, 499000, 500000);
    find_intents();
    assert_null(next_job());
    mem.now_ms += 500000;
    find_intents();
    run_all();
    assert_false(is_there(7, "base/1"));
    assert_int_equal(w.n_published, 1);
}

static void a_second_event_brings_it_forward(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7), now;
    now = d;
    d.not_before_s = clock_real_s() + 5000;
    upload(7, "base/1");
    ask(&d);
    run_all();
    uint64_t until_ms = mem.now_ms + 200000;
    ask(&now);
    run_all();
    assert_true(mem.now_ms < until_ms);
    assert_false(is_there(7, "base/1"));
    assert_int_equal(w.n_published, 1);
    assert_true(backlog_next_due_ms(w.j.backlog) == UINT64_MAX); /* its note is gone */
}

static void a_second_event_never_puts_it_off(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7), later = d;
    later.not_before_s = clock_real_s() + 5000;
    uint64_t until_ms = mem.now_ms + 200000;
    ask(&d);
    run_to(&step_sweep);
    ask(&later);
    run_all();
    assert_true(mem.now_ms < until_ms);
    assert_int_equal(w.n_published, 1);
}

static void what_is_held_stays_so(void **state)
{
    (void)state;
    struct deletion d = of_endpoint(7);
    ask(&d);
    run_to(&step_sweep);
    set_state(&d, DELETION_HELD);
    schedule_poke(w.j.schedule, d.job_id, NULL);
    run_all();
    ask(&d);
    run_all();
    assert_int_equal(intent_of(&d).state, DELETION_HELD);
    assert_int_equal(w.done, 2);
    assert_int_equal(w.n_published, 1); /* who asks for it is told so */
    assert_string_equal(said(completion(0), "outcome"), "held");
}

static void of_too_many_tenants_one_is_held(void **state)
{
    (void)state;
    struct deletion first = of_tenant(), second = first;
    second.scope.tenant[0] = 'f';
    deletion_set_job_id(&second);
    w.conf.guard_tenants = 1;
    w.conf.guard_window_ms = 3600000;
    ask(&first);
    run_all();
    ask(&second);
    run_all();
    assert_int_equal(w.done, 2);
    assert_int_equal(intent_of(&second).state, DELETION_HELD);
    assert_non_null(strstr(intent_of(&second).note, "held by the guard: 1 other tenants"));
    assert_string_equal(said(completion(0), "outcome"), "completed");
    assert_string_equal(said(completion(1), "outcome"), "held");
    assert_int_equal(w.n_published, 2);
}

static void while_the_guard_cannot_count_nothing_is_accepted(void **state)
{
    (void)state;
    struct deletion d = of_tenant();
    w.conf.guard_tenants = 1;
    w.conf.guard_window_ms = 3600000;
    set_trap((struct trap){
        .kind = OP_LIST, .under = LAYOUT_GUARD, .nth = 1, .times = 2, .error = STORE_DENIED});
    ask(&d);
    for (int n = 0; n < 2; n++) {
        run_next();
        assert_ptr_equal(next_job()->step, &step_accept);
        assert_false(has_intent(&d));
    }
    run_all();
    assert_int_equal(w.done, 1);
    assert_string_equal(said(completion(0), "outcome"), "completed");
}

static void what_is_full_waits_in_the_store(void **state)
{
    (void)state;
    for (uint64_t gen = 0; gen < MAX_OPEN + 2; gen++) {
        struct deletion d = of_endpoint(gen);
        ask(&d);
    }
    while (next_job()->step == &step_accept)
        run_next();
    assert_int_equal(w.done, MAX_OPEN + 2);
    assert_int_equal(w.n_waiting, MAX_OPEN);
    assert_int_equal(count_under(LAYOUT_INTENTS), MAX_OPEN + 2);
    settle();
    assert_int_equal(w.n_published, MAX_OPEN + 2);
}

/* ---- Dead letters ---- */

static void assert_buried(const char *class, const char *error)
{
    const struct published *p = published_as(QUEUE_DEADLETTER, 0);
    assert_string_equal(header_of(p, "dlq-topic"), "deletions");
    assert_string_equal(header_of(p, "dlq-partition"), "7");
    assert_string_equal(header_of(p, "dlq-offset"), "42");
    assert_string_equal(header_of(p, "dlq-class"), class);
    if (!strstr(header_of(p, "dlq-error"), error))
        fail_msg("%s", header_of(p, "dlq-error"));
    assert_int_equal(w.done, 1);
    assert_null(next_job());
    assert_int_equal(count_under(LAYOUT_INTENTS) + count_under(LAYOUT_TOMBSTONES), 0);
    assert_int_equal(metric_value(&w.j.metrics.dead_letters), 1);
}

static void hand_in_bad(const char *key, const char *value)
{
    w.offsets = 42;
    hand_in(raw_message(key, value, strlen(value)));
}

static void what_cannot_be_read_is_buried_as_it_came(void **state)
{
    (void)state;
    struct queue_msg *m = raw_message("any key", "{nonsense", 9);
    m->offset = 42;
    m->headers = xcalloc(1, sizeof(*m->headers));
    m->headers[0] = (struct event_header){"traceparent", "00-1-2-03", 9};
    m->n_headers = 1;
    hand_in(m);
    run_all();
    assert_trace("publish letter; done");
    assert_buried("parse", "not JSON");
    const struct published *p = published_as(QUEUE_DEADLETTER, 0);
    assert_string_equal(p->text, "{nonsense");
    assert_string_equal(p->key, "any key");
    assert_string_equal(header_of(p, "traceparent"), "00-1-2-03");
    assert_string_equal(header_of(p, "dlq-attempts"), "1");
}

static void what_is_for_another_tenant_is_buried(void **state)
{
    (void)state;
    hand_in_bad(TL, "{\"schema\":1,\"scope\":\"tenant\",\"tenant_id\":\"" T "\"}");
    run_all();
    assert_buried("authz", "expected its tenant_id");
}

static void a_letter_that_is_refused_goes_into_the_bucket(void **state)
{
    (void)state;
    w.letters_are_too_large = true;
    hand_in_bad("k\xff", "{");
    run_all();
    assert_trace("publish letter; put letter; publish pointer; done");
    assert_buried("parse", "not JSON");
    const struct published *p = published_as(QUEUE_DEADLETTER, 0);
    const char *key = LAYOUT_DEAD_LETTERS "deletions/7-00000000000000000042";
    assert_string_equal(p->key, key);
    assert_string_equal(header_of(p, "dlq-stored"), key);
    assert_non_null(strstr(p->text, key));
    const struct kept *k = kept_at(key);
    assert_non_null(k);
    assert_non_null(strstr(k->text, "\"key_base64\":\"a/8=\""));
    assert_non_null(strstr(k->text, "\"value_base64\":\"ew==\""));
    assert_non_null(strstr(k->text, "\"offset\":42"));
}

static void a_letter_without_a_key_gets_one(void **state)
{
    (void)state;
    w.keyless_are_refused = true;
    hand_in_bad(NULL, "{");
    run_all();
    assert_trace("publish letter; put letter; publish pointer; done");
    assert_true(*published_as(QUEUE_DEADLETTER, 0)->key);
    assert_non_null(strstr(mem.kept[0].text, "\"key_base64\":null"));
}

static void a_letter_with_too_many_headers_goes_into_the_bucket(void **state)
{
    (void)state;
    for (size_t n = 64; n <= 65; n++) {
        struct queue_msg *m = raw_message("k", "{", 1);
        m->headers = xcalloc(n, sizeof(*m->headers));
        for (size_t i = 0; i < n; i++)
            m->headers[i] = (struct event_header){"h", "v", 1};
        m->n_headers = n;
        hand_in(m);
        run_all();
        if (n == 64)
            assert_trace("publish letter; done");
    }
    assert_trace("put letter; publish pointer; done");
}

static void a_letter_that_can_go_nowhere_is_kept(void **state)
{
    (void)state;
    w.letters_are_too_large = true;
    set_trap((struct trap){
        .kind = OP_PUT, .under = LAYOUT_DEAD_LETTERS, .nth = 1, .times = 2, .error = STORE_BUSY});
    hand_in_bad("k", "{");
    run_next();
    run_next();
    assert_int_equal(w.done, 0);
    run_all();
    assert_buried("parse", "not JSON");
    assert_string_equal(header_of(published_as(QUEUE_DEADLETTER, 0), "dlq-attempts"), "3");
}

static void a_letter_that_is_never_confirmed_goes_into_the_bucket(void **state)
{
    (void)state;
    w.publish_fails = 5; /* with brokers at hand */
    hand_in_bad("k", "{");
    run_all();
    assert_trace("publish letter; publish letter; publish letter; publish letter; publish letter; "
                 "put letter; publish pointer; done");
}

static void an_outage_of_the_brokers_is_waited_for(void **state)
{
    (void)state;
    w.brokers_down = true;
    w.publish_fails = 20;
    hand_in_bad("k", "{");
    run_all();
    assert_int_equal(times_in_trace("publish letter"), 21);
    assert_int_equal(times_in_trace("put letter"), 0);
    assert_int_equal(w.done, 1);
}

static void letters_come_at_a_bounded_rate(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(dead_letter_wait_ms(&w.j), 0);
    hand_in_bad("k", "{");
    run_next();
    assert_trace(""); /* not yet, and nothing has failed */
    assert_int_equal(next_job()->due_ms, mem.now_ms + 200);
    assert_int_equal(next_job()->failures, 0);
    run_all();
    assert_trace("publish letter; done");
    for (int i = 0; i < 19; i++) /* a hundred in a second */
        assert_int_equal(dead_letter_wait_ms(&w.j), 0);
    assert_true(dead_letter_wait_ms(&w.j) > 0);
    mem.now_ms += 3600000; /* and never more at once than in the beginning */
    for (int i = 0; i < 1000; i++)
        assert_int_equal(dead_letter_wait_ms(&w.j), 0);
    assert_true(dead_letter_wait_ms(&w.j) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_given_back_once_its_intent_stands),
        TEST(a_message_that_cannot_be_accepted_is_kept),
        TEST(a_message_that_is_not_accepted_comes_again),
        TEST(the_same_again_costs_no_request),
        TEST(a_later_end_of_tokens_is_merged_into_what_is_open),
        TEST(of_two_at_once_one_is_made),
        TEST(what_is_open_elsewhere_is_entered_here),
        TEST(who_is_faster_is_not_overwritten),
        TEST(a_delayed_deletion_waits_as_an_intent),
        TEST(a_second_event_brings_it_forward),
        TEST(a_second_event_never_puts_it_off),
        TEST(what_is_held_stays_so),
        TEST(of_too_many_tenants_one_is_held),
        TEST(while_the_guard_cannot_count_nothing_is_accepted),
        TEST(what_is_full_waits_in_the_store),
        TEST(what_cannot_be_read_is_buried_as_it_came),
        TEST(what_is_for_another_tenant_is_buried),
        TEST(a_letter_that_is_refused_goes_into_the_bucket),
        TEST(a_letter_without_a_key_gets_one),
        TEST(a_letter_with_too_many_headers_goes_into_the_bucket),
        TEST(a_letter_that_can_go_nowhere_is_kept),
        TEST(a_letter_that_is_never_confirmed_goes_into_the_bucket),
        TEST(an_outage_of_the_brokers_is_waited_for),
        TEST(letters_come_at_a_bounded_rate),
    };
    return cmocka_run_group_tests_name("accept", tests, NULL, NULL);
}
