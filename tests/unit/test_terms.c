/* The writer's upload times: which go together, and how they are told, on a folder store. */
#include "tests/unit/file_fixture.h"

#include "base/clock.h"
#include "base/xalloc.h"
#include "writer/terms.h"

static const struct window_terms defaults = {.expiry_s = 10, .timeout_s = 60, .idle_s = 20};

/* ---- Options ---- */

static void contradictions_are_named(void **state)
{
    static const struct {
        uint64_t expiry_ms, timeout_ms, idle_ms, window_ms;
        uint32_t needed_s; /* 0: refused, with: */
        const char *says;
    } cases[] = {
        {10000, 60000, 20000, 0, 90, NULL},
        {10000, 60000, 20000, 90000, 90, NULL},
        {10000, 60000, 20000, 89999, 0,
         "upload_window: 89999ms; expected at least upload_expiry 10s + upload_timeout 60s + "
         "store_idle_timeout 20s = 90s"},
        {2000, 1001, 1, 0, 5, NULL}, /* each is rounded up */
        {2000, 1001, 1, 4999, 0, "= 5s"},
        {2000, 1000, 0, 3000, 3, NULL},
        {2500, 1000, 0, 0, 0, "upload_expiry: 2500ms; expected whole seconds"},
        {600000, 3600000, 3600000, 0, 7800, NULL},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        const struct writer_conf c = {.upload_expiry_ms = cases[i].expiry_ms,
                                      .upload_timeout_ms = cases[i].timeout_ms,
                                      .store_idle_timeout_ms = cases[i].idle_ms,
                                      .upload_window_ms = cases[i].window_ms};
        struct window_terms t;
        struct store_err err = {0};
        print_message("%zu\n", i);
        assert_int_equal(terms_of_options(&c, &t, &err), cases[i].needed_s ? 0 : -1);
        if (cases[i].needed_s) {
            assert_int_equal(window_needed_s(&t), cases[i].needed_s);
        } else {
            assert_int_equal(err.code, STORE_INVALID);
            assert_non_null(strstr(err.msg, cases[i].says));
        }
    }
}

/* ---- A store that refuses, or has another clock ---- */

static struct {
    atomic_int refuse;    /* so many puts */
    atomic_int slow_ms;   /* before each put */
    atomic_bool no_clock; /* in answers to puts */
} bent;

static void bent_start(void *state, struct store_op *op)
{
    if (op->kind == OP_PUT && atomic_load(&bent.slow_ms))
        usleep((useconds_t)atomic_load(&bent.slow_ms) * 1000);
    if (op->kind == OP_PUT && atomic_load(&bent.no_clock)) {
        op_finish(op, NULL, NULL);
    } else if (op->kind == OP_PUT && atomic_fetch_sub(&bent.refuse, 1) > 0) {
        struct store_err err;
        store_err_set(&err, STORE_DENIED, "told to");
        op_finish(op, &err, NULL);
    } else {
        file_driver.start(state, op);
    }
}

static struct driver bent_driver;

static int setup_bent(void **state)
{
    setup(state);
    atomic_store(&bent.refuse, 0);
    atomic_store(&bent.slow_ms, 0);
    atomic_store(&bent.no_clock, false);
    bent_driver = file_driver;
    bent_driver.start = bent_start;
    ((struct fixture *)*state)->s->driver = &bent_driver;
    return 0;
}

static struct terms *start(struct fixture *f)
{
    struct terms *t = NULL;
    struct store_err err;
    if (terms_start(f->s, &defaults, &t, &err) != 0)
        fail_msg("%s", err.msg);
    return t;
}

static void wait_told(struct terms *t)
{
    for (int i = 0; i < 1000 && terms_missing(t); i++)
        usleep(10000);
    assert_null(terms_missing(t));
}

/* ---- Telling ---- */

static void they_are_told_and_taken_back(void **state)
{
    struct fixture *f = *state;
    struct window_largest w;
    struct store_err err;
    struct terms *t = start(f);
    wait_told(t);
    assert_int_equal(window_read(f->s, f->loop, &w, &err), 0);
    assert_int_equal(w.needed_s, 90);
    terms_stop(t);
    assert_int_equal(count_keys(f, LAYOUT_WRITERS), 0);
}

static void two_writers_do_not_share_a_key(void **state)
{
    struct fixture *f = *state;
    struct terms *a = start(f), *b = start(f);
    wait_told(a);
    wait_told(b);
    assert_int_equal(count_keys(f, LAYOUT_WRITERS), 2);
    terms_stop(a);
    assert_int_equal(count_keys(f, LAYOUT_WRITERS), 1);
    terms_stop(b);
}

static void uploads_are_taken_while_they_hold(void **state)
{
    struct fixture *f = *state;
    struct terms *t = start(f);
    wait_told(t);
    int64_t now_s = clock_real_s(); /* the folder's clock */
    assert_true(terms_take_upload(t, now_s));
    assert_true(terms_take_upload(t, now_s + WINDOW_VALID_S - 60));
    assert_false(terms_take_upload(t, now_s + WINDOW_VALID_S));
    terms_stop(t);
}

/* The store may have taken them at the moment that we began, and say what time it is at the end. */
static void they_hold_from_when_they_were_sent(void **state)
{
    struct fixture *f = *state;
    atomic_store(&bent.slow_ms, 3000);
    int64_t before_s = clock_real_s();
    struct terms *t = start(f);
    wait_told(t);
    assert_false(terms_take_upload(t, before_s + WINDOW_VALID_S + 1));
    terms_stop(t);
}

static void without_them_no_upload_is_taken(void **state)
{
    struct fixture *f = *state;
    atomic_store(&bent.refuse, 1000000);
    struct terms *t = start(f);
    usleep(50000);
    assert_non_null(terms_missing(t));
    assert_false(terms_take_upload(t, clock_real_s()));
    atomic_store(&bent.refuse, 0); /* soon tried again */
    wait_told(t);
    assert_true(terms_take_upload(t, clock_real_s()));
    terms_stop(t);
}

static void a_store_without_a_clock_does_not_do(void **state)
{
    struct fixture *f = *state;
    atomic_store(&bent.no_clock, true);
    struct terms *t = start(f);
    usleep(50000);
    assert_non_null(terms_missing(t));
    terms_stop(t);
}

/* Of an upload that has just ended bytes may still be on their way, and count. */
static void they_stay_while_an_upload_may_still_end(void **state)
{
    struct fixture *f = *state;
    struct terms *t = start(f);
    wait_told(t);
    assert_true(terms_take_upload(t, clock_real_s()));
    terms_stop(t);
    assert_int_equal(count_keys(f, LAYOUT_WRITERS), 1);
}

static void nothing_can_be_stopped(void **state)
{
    (void)state;
    terms_stop(NULL);
}

#define BENT(test) cmocka_unit_test_setup_teardown(test, setup_bent, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contradictions_are_named), BENT(they_are_told_and_taken_back),
        BENT(two_writers_do_not_share_a_key),       BENT(uploads_are_taken_while_they_hold),
        BENT(they_hold_from_when_they_were_sent),   BENT(without_them_no_upload_is_taken),
        BENT(a_store_without_a_clock_does_not_do),  BENT(they_stay_while_an_upload_may_still_end),
        cmocka_unit_test(nothing_can_be_stopped),
    };
    return cmocka_run_group_tests_name("terms", tests, NULL, NULL);
}
