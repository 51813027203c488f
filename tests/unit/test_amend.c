/* Changes of a small object that lose nobody's change, on a folder store whose answers are bent. */
#include "tests/unit/file_fixture.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "epufs/amend.h"

#define KEY "intents/one"

enum { MAX_BYTES = 64 };

/* ---- A store that does what a test says ---- */

static struct {
    unsigned gets, puts;
    unsigned refuse;         /* so many of the next puts */
    enum store_code refusal; /* how */
    enum store_code get_failure;
    bool hang_gets, hang_puts, no_etags;
} bent;

static void finish_with(struct store_op *op, enum store_code code)
{
    struct store_err err;
    store_err_set(&err, code, "told to");
    op_finish(op, &err, NULL);
}

static void bent_start(void *state, struct store_op *op)
{
    bent.gets += op->kind == OP_GET;
    bent.puts += op->kind == OP_PUT;
    if (op->kind == OP_GET ? bent.hang_gets : bent.hang_puts)
        return;
    if (op->kind == OP_PUT && bent.refuse) {
        bent.refuse--;
        finish_with(op, bent.refusal);
    } else if (op->kind == OP_GET && bent.get_failure) {
        finish_with(op, bent.get_failure);
    } else if (op->kind == OP_GET && bent.no_etags) {
        const struct store_info info = {
            .etag = "", .content_type = "", .version = "", .checksum = "", .server_time_s = 1};
        op_head(op, &info);
        op_finish(op, NULL, &info);
    } else {
        file_driver.start(state, op);
    }
}

static void bent_cancel(void *state, struct store_op *op)
{
    if (op->kind == OP_GET ? bent.hang_gets : bent.hang_puts)
        finish_with(op, STORE_CANCELED);
    else
        file_driver.cancel(state, op);
}

static struct driver bent_driver;

static int setup_bent(void **state)
{
    setup(state);
    memset(&bent, 0, sizeof(bent));
    bent.refusal = STORE_PRECONDITION;
    bent_driver = file_driver;
    bent_driver.start = bent_start;
    bent_driver.cancel = bent_cancel;
    ((struct fixture *)*state)->s->driver = &bent_driver;
    return 0;
}

/* ---- An amend that adds a letter ---- */

struct adding {
    const char *letter;
    store *rival;
    enum amend_verdict verdict;
    unsigned calls;
    bool saw; /* an object, at the last call */
    int64_t server_time_s;
    bool over, canceled;
    struct store_err err;
    struct amend_result r;
};

static enum amend_verdict add(void *user, const struct amend_seen *seen, struct buf *fresh,
                              struct store_err *err)
{
    struct adding *a = user;
    assert_false(a->canceled || a->over);
    assert_int_equal(fresh->len, 0);
    a->calls++;
    a->saw = seen->text != NULL;
    a->server_time_s = seen->server_time_s;
    if (seen->text) {
        assert_int_equal(strlen(seen->text), seen->len);
        buf_add(fresh, seen->text, seen->len);
    }
    buf_adds(fresh, a->letter);
    if (a->verdict == AMEND_FAIL)
        store_err_set(err, STORE_CORRUPT, "cannot be understood");
    return a->verdict;
}

static void add_done(void *user, const struct store_err *err, const struct amend_result *r)
{
    struct adding *a = user;
    assert_false(a->canceled || a->over);
    a->over = true;
    a->err = *err;
    a->r = *r;
}

static struct amend_conf conf_of(struct adding *a)
{
    return (struct amend_conf){
        .key = KEY, .max_bytes = MAX_BYTES, .change = add, .done = add_done, .user = a};
}

static enum store_code run(struct fixture *f, const struct amend_conf *conf)
{
    struct adding *a = conf->user;
    assert_non_null(amend_start(f->s, f->loop, conf, &a->err));
    assert_false(a->over); /* only from the loop */
    while (!a->over)
        run_round(f);
    return a->err.code;
}

static void assert_etag_now(struct fixture *f, const char *etag)
{
    struct outcome o;
    assert_int_equal(head(f, KEY, &o), STORE_OK);
    assert_string_equal(o.etag, etag);
    outcome_cleanup(&o);
}

/* ---- What it does ---- */

static void makes_what_is_not_there(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = "a"}, b = {.letter = "b"};
    struct amend_conf conf = conf_of(&a);
    assert_int_equal(run(f, &conf), STORE_OK);
    assert_true(a.calls == 1 && !a.saw && a.server_time_s > 0);
    assert_true(a.r.written && a.r.server_time_s > 0);
    assert_content(f, KEY, "a");
    assert_etag_now(f, a.r.etag);
    assert_int_equal(remove_object(f, KEY), STORE_OK);

    conf = conf_of(&b);
    conf.expect_none = true;
    bent.gets = bent.puts = 0;
    assert_int_equal(run(f, &conf), STORE_OK);
    assert_true(bent.gets == 0 && bent.puts == 1); /* what expect_none is for */
    assert_true(b.calls == 1 && !b.saw && b.server_time_s == 0);
    assert_true(b.r.written && b.r.server_time_s > 0);
    assert_content(f, KEY, "b");
    assert_etag_now(f, b.r.etag);
}

static void changes_what_is_there(void **state)
{
    struct fixture *f = *state;
    for (int expect_none = 0; expect_none <= 1; expect_none++) {
        struct adding a = {.letter = "b"};
        struct amend_conf conf = conf_of(&a);
        conf.expect_none = expect_none;
        assert_int_equal(put_text(f, KEY, "a"), STORE_OK);
        assert_int_equal(run(f, &conf), STORE_OK);
        assert_int_equal(a.calls, 1 + expect_none);
        assert_true(a.saw && a.server_time_s > 0 && a.r.written);
        assert_content(f, KEY, "ab");
        assert_etag_now(f, a.r.etag);
    }
}

static void an_empty_object_is_one(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = ""};
    struct amend_conf conf = conf_of(&a);
    assert_int_equal(run(f, &conf), STORE_OK);
    assert_true(a.r.written && !a.saw);
    a.over = false;
    assert_int_equal(run(f, &conf), STORE_OK);
    assert_true(a.saw);
    assert_content(f, KEY, "");
}

static void keeps_what_is_right(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = "b", .verdict = AMEND_KEEP};
    struct amend_conf conf = conf_of(&a);
    assert_int_equal(run(f, &conf), STORE_OK);
    assert_false(a.r.written);
    assert_string_equal(a.r.etag, "");
    assert_true(a.r.server_time_s > 0);
    assert_int_equal(put_text(f, KEY, "a"), STORE_OK);
    a.over = false;
    assert_int_equal(run(f, &conf), STORE_OK);
    assert_false(a.r.written);
    assert_content(f, KEY, "a");
    assert_etag_now(f, a.r.etag);
    a.over = false;
    conf.expect_none = true; /* decided without a look: from the loop all the same */
    assert_int_equal(run(f, &conf), STORE_OK);
    assert_false(a.r.written);
}

static void fails_as_it_is_told(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = "b", .verdict = AMEND_FAIL};
    struct amend_conf conf = conf_of(&a);
    assert_int_equal(put_text(f, KEY, "a"), STORE_OK);
    for (int expect_none = 0; expect_none <= 1; expect_none++) {
        a.over = false;
        conf.expect_none = expect_none;
        assert_int_equal(run(f, &conf), STORE_CORRUPT);
        assert_string_equal(a.err.msg, "cannot be understood");
        assert_content(f, KEY, "a");
    }
}

/* ---- Others change it, too ---- */

static void a_lost_race_is_run_again(void **state)
{
    struct fixture *f = *state;
    static const enum store_code refusals[] = {STORE_PRECONDITION, STORE_NOT_FOUND};
    for (size_t i = 0; i < LEN(refusals); i++) {
        struct adding a = {.letter = "b"};
        struct amend_conf conf = conf_of(&a);
        assert_int_equal(put_text(f, KEY, "a"), STORE_OK);
        bent.refuse = 3;
        bent.refusal = refusals[i];
        assert_int_equal(run(f, &conf), STORE_OK);
        assert_int_equal(a.calls, 4);
        assert_content(f, KEY, "ab");
    }
}

/* What another one wrote between our look and our write stays: it is changed in its turn. */
static enum amend_verdict add_while_another_does(void *user, const struct amend_seen *seen,
                                                 struct buf *fresh, struct store_err *err)
{
    struct adding *a = user;
    enum amend_verdict verdict = add(a, seen, fresh, err);
    if (a->calls == 1)
        assert_int_equal(store_sync_put(a->rival, NULL, KEY, "ab", 2, NULL, NULL, NULL, NULL), 0);
    return verdict;
}

static void what_others_wrote_stays(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = "c", .rival = f->s};
    struct amend_conf conf = conf_of(&a);
    conf.change = add_while_another_does;
    assert_int_equal(put_text(f, KEY, "a"), STORE_OK);
    assert_int_equal(run(f, &conf), STORE_OK);
    assert_int_equal(a.calls, 2);
    assert_content(f, KEY, "abc");
}

static enum amend_verdict add_while_another_deletes(void *user, const struct amend_seen *seen,
                                                    struct buf *fresh, struct store_err *err)
{
    struct adding *a = user;
    enum amend_verdict verdict = add(a, seen, fresh, err);
    if (a->calls == 1)
        assert_int_equal(store_sync_delete(a->rival, NULL, KEY, NULL), 0);
    return verdict;
}

static void what_others_deleted_is_not_brought_back(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = "c", .rival = f->s};
    struct amend_conf conf = conf_of(&a);
    conf.change = add_while_another_deletes;
    assert_int_equal(put_text(f, KEY, "a"), STORE_OK);
    assert_int_equal(run(f, &conf), STORE_OK);
    assert_true(a.calls == 2 && !a.saw);
    assert_content(f, KEY, "c");
}

static void an_object_that_vanished_is_made(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = "a"};
    struct amend_conf conf = conf_of(&a);
    conf.expect_none = true;
    bent.refuse = 1; /* as if there were one, but the read finds none */
    assert_int_equal(run(f, &conf), STORE_OK);
    assert_true(a.calls == 2 && !a.saw && a.server_time_s > 0 && a.r.written);
    assert_content(f, KEY, "a");
}

static void who_always_loses_is_told_that_it_is_busy(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put_text(f, KEY, "a"), STORE_OK);
    for (unsigned expect_none = 0; expect_none <= 1; expect_none++) {
        struct adding a = {.letter = "b"};
        struct amend_conf conf = conf_of(&a);
        conf.expect_none = expect_none;
        bent.puts = 0;
        bent.refuse = UINT32_MAX;
        assert_int_equal(run(f, &conf), STORE_BUSY);
        assert_int_equal(bent.puts, 10 + expect_none); /* that there is one is no lost race */
        assert_non_null(strstr(a.err.msg, KEY));
        bent.refuse = 0;
        assert_content(f, KEY, "a");
    }
}

/* The pauses of all tries are near a second. An operation may meet the end, too, by chance. */
static void races_end_with_the_time(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = "b"};
    struct amend_conf conf = conf_of(&a);
    conf.timeout_ms = 30;
    assert_int_equal(put_text(f, KEY, "a"), STORE_OK);
    bent.refuse = UINT32_MAX;
    for (int i = 0; i < 50 && a.err.code != STORE_BUSY; i++) {
        bent.puts = 0;
        a.over = false;
        assert_int_not_equal(run(f, &conf), STORE_OK);
        assert_true(a.err.code == STORE_BUSY || a.err.code == STORE_TIMEOUT);
        assert_true(bent.puts < 10);
    }
    assert_int_equal(a.err.code, STORE_BUSY);
}

struct counter {
    pthread_t thread;
    store *s;
    unsigned rounds;
};

static enum amend_verdict count_up(void *user, const struct amend_seen *seen, struct buf *fresh,
                                   struct store_err *err)
{
    (void)user;
    (void)err;
    buf_addf(fresh, "%d", seen->text ? atoi(seen->text) + 1 : 1);
    return AMEND_WRITE;
}

static void *count_main(void *user)
{
    struct counter *c = user;
    store_loop *loop;
    struct store_err err;
    struct amend_result r;
    if (store_loop_new(&loop, &err) != 0)
        abort();
    for (unsigned i = 0; i < c->rounds; i++) {
        const struct amend_conf conf = {
            .key = KEY, .max_bytes = 16, .expect_none = i % 2, .change = count_up};
        while (amend_now(c->s, loop, &conf, &r, &err) != 0)
            if (err.code != STORE_BUSY)
                abort();
    }
    store_loop_free(loop);
    return NULL;
}

static void no_change_is_lost(void **state)
{
    struct fixture *f = *state;
    struct counter counters[4];
    f->s->driver = &file_driver; /* the bent one counts without a lock */
    for (size_t i = 0; i < LEN(counters); i++) {
        counters[i] = (struct counter){.s = f->s, .rounds = 10};
        assert_int_equal(pthread_create(&counters[i].thread, NULL, count_main, &counters[i]), 0);
    }
    for (size_t i = 0; i < LEN(counters); i++)
        pthread_join(counters[i].thread, NULL);
    assert_content(f, KEY, "40");
}

/* ---- Bounds and failures ---- */

static void what_is_too_large_is_refused(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = "b"};
    const struct amend_conf conf = conf_of(&a);
    char text[MAX_BYTES + 2];
    memset(text, 'a', sizeof(text));
    text[MAX_BYTES + 1] = '\0';
    assert_int_equal(put_text(f, KEY, text), STORE_OK);
    assert_int_equal(run(f, &conf), STORE_INVALID);
    assert_int_equal(a.calls, 0);
    assert_non_null(strstr(a.err.msg, "65 bytes; expected at most 64"));

    text[MAX_BYTES] = '\0'; /* just fits, and what is made of it does not */
    assert_int_equal(put_text(f, KEY, text), STORE_OK);
    a.over = false;
    assert_int_equal(run(f, &conf), STORE_INVALID);
    assert_int_equal(a.calls, 1);
    assert_content(f, KEY, text);
}

static void failures_travel_up_unchanged(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = "b"};
    const struct amend_conf conf = conf_of(&a);
    assert_int_equal(put_text(f, KEY, "a"), STORE_OK);
    bent.get_failure = STORE_DENIED;
    assert_int_equal(run(f, &conf), STORE_DENIED);
    bent.get_failure = STORE_OK;
    bent.refuse = 1;
    bent.refusal = STORE_NO_SPACE;
    a.over = false;
    assert_int_equal(run(f, &conf), STORE_NO_SPACE);
    bent.no_etags = true;
    a.over = false;
    assert_int_equal(run(f, &conf), STORE_FAILED);
    assert_non_null(strstr(a.err.msg, "ETag"));
    bent.no_etags = false;
    assert_int_equal(a.calls, 1);
    assert_content(f, KEY, "a");
}

static void it_ends_in_time(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = "b"};
    struct amend_conf conf = conf_of(&a);
    conf.timeout_ms = 50;
    bent.hang_gets = true;
    assert_int_equal(run(f, &conf), STORE_TIMEOUT);
    bent.hang_gets = false;
    bent.hang_puts = true;
    a.over = false;
    assert_int_equal(run(f, &conf), STORE_TIMEOUT);
}

static void a_bad_key_is_told(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = "b"};
    struct amend_conf conf = conf_of(&a);
    conf.key = "../out";
    assert_null(amend_start(f->s, f->loop, &conf, &a.err));
    assert_int_equal(a.err.code, STORE_INVALID);
    conf.expect_none = true;
    assert_int_equal(run(f, &conf), STORE_INVALID);
}

/* ---- Cancel ---- */

static void settle(struct fixture *f)
{
    for (int i = 0; i < 10; i++)
        assert_int_equal(store_loop_run(f->loop, 5, NULL), 0);
}

/* No call-back comes after it (add and add_done look), and nothing is left (sanitizers look). */
static void it_can_be_canceled_at_each_stage(void **state)
{
    struct fixture *f = *state;
    static const struct {
        bool expect_none, hang_gets, hang_puts;
        unsigned refuse, gets, puts; /* canceled when so many have begun */
    } stages[] = {
        {.expect_none = true},                               /* not begun yet */
        {.hang_gets = true, .gets = 1},                      /* reading */
        {.hang_puts = true, .gets = 1, .puts = 1},           /* changing */
        {.expect_none = true, .hang_puts = true, .puts = 1}, /* creating */
        {.refuse = UINT32_MAX, .gets = 1, .puts = 1},        /* in the pause, or at its beginning */
    };
    for (size_t i = 0; i < LEN(stages); i++) {
        struct adding a = {.letter = "b"};
        struct amend_conf conf = conf_of(&a);
        conf.expect_none = stages[i].expect_none;
        memset(&bent, 0, sizeof(bent));
        assert_int_equal(put_text(f, KEY, "a"), STORE_OK);
        bent.gets = bent.puts = 0;
        bent.refusal = STORE_PRECONDITION;
        bent.refuse = stages[i].refuse;
        bent.hang_gets = stages[i].hang_gets;
        bent.hang_puts = stages[i].hang_puts;
        struct amend *amend = amend_start(f->s, f->loop, &conf, &a.err);
        assert_non_null(amend);
        while (bent.gets < stages[i].gets || bent.puts < stages[i].puts)
            run_round(f);
        if (stages[i].refuse) /* the refusal comes in a round of its own */
            assert_int_equal(store_loop_run(f->loop, 0, NULL), 0);
        a.canceled = true;
        amend_cancel(amend);
        settle(f);
        memset(&bent, 0, sizeof(bent));
        assert_content(f, KEY, "a");
    }
}

/* ---- Blocking ---- */

static void the_blocking_form_tells_the_same(void **state)
{
    struct fixture *f = *state;
    struct adding a = {.letter = "a"};
    struct amend_conf conf = conf_of(&a);
    struct amend_result r;
    struct store_err err;
    conf.done = NULL;
    assert_int_equal(amend_now(f->s, f->loop, &conf, &r, &err), 0);
    assert_true(r.written);
    assert_etag_now(f, r.etag);
    a.verdict = AMEND_FAIL;
    assert_int_equal(amend_now(f->s, f->loop, &conf, &r, &err), -1);
    assert_int_equal(err.code, STORE_CORRUPT);
    conf.key = "../out";
    assert_int_equal(amend_now(f->s, f->loop, &conf, &r, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
}

#define BENT(test) cmocka_unit_test_setup_teardown(test, setup_bent, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENT(makes_what_is_not_there),
        BENT(changes_what_is_there),
        BENT(an_empty_object_is_one),
        BENT(keeps_what_is_right),
        BENT(fails_as_it_is_told),
        BENT(a_lost_race_is_run_again),
        BENT(what_others_wrote_stays),
        BENT(what_others_deleted_is_not_brought_back),
        BENT(an_object_that_vanished_is_made),
        BENT(who_always_loses_is_told_that_it_is_busy),
        BENT(races_end_with_the_time),
        BENT(no_change_is_lost),
        BENT(what_is_too_large_is_refused),
        BENT(failures_travel_up_unchanged),
        BENT(it_ends_in_time),
        BENT(a_bad_key_is_told),
        BENT(it_can_be_canceled_at_each_stage),
        BENT(the_blocking_form_tells_the_same),
    };
    return cmocka_run_group_tests_name("amend", tests, NULL, NULL);
}
