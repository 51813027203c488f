/* The folder driver over time: streams, pauses, cancels, uploads that expire, short memory. */
#include "tests/unit/file_fixture.h"

#include <time.h>

#include "base/xalloc.h"
#include "tests/unit/oom.h"

/* ---- A body that is read piece by piece ---- */

struct upload {
    struct outcome o;
    store_op *op;
    uint64_t given, size;
    uint64_t pause_at; /* pauses once when so much was given; UINT64_MAX: never */
    uint64_t abort_at; /* UINT64_MAX: never */
    uint64_t end_at;   /* says 0, "the end", there; UINT64_MAX: never */
    size_t piece;      /* bytes given at once */
    bool waiting;
    bool unsized; /* the driver is not told the size */
};

static char byte_at(uint64_t i)
{
    return (char)(i * 31 + i / 997);
}

static ssize_t upload_read(void *user, void *buf, size_t cap)
{
    struct upload *u = user;
    assert_true(u->unsized || cap <= u->size - u->given);
    if (u->given >= u->end_at)
        return 0;
    if (u->given >= u->abort_at)
        return STORE_READ_ABORT;
    if (u->given >= u->pause_at) {
        u->pause_at = UINT64_MAX;
        u->waiting = true;
        return STORE_READ_PAUSE;
    }
    size_t n = cap < u->piece ? cap : u->piece;
    uint64_t stop = u->pause_at < u->abort_at ? u->pause_at : u->abort_at;
    stop = stop < u->end_at ? stop : u->end_at;
    if (n > stop - u->given)
        n = (size_t)(stop - u->given);
    for (size_t i = 0; i < n; i++)
        ((char *)buf)[i] = byte_at(u->given + i);
    u->given += n;
    return (ssize_t)n;
}

static void upload_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct upload *u = user;
    outcome_done(&u->o, err, info);
}

static void upload_init(struct upload *u, uint64_t size)
{
    *u = (struct upload){.size = size,
                         .pause_at = UINT64_MAX,
                         .abort_at = UINT64_MAX,
                         .end_at = UINT64_MAX,
                         .piece = 10000};
    outcome_init(&u->o);
}

static void upload_start(struct fixture *f, struct upload *u, const char *key,
                         const struct store_put_opts *opts)
{
    static const struct store_put_cb cb = {upload_read, upload_done};
    u->op = store_put(f->s, f->loop, key, u->unsized ? STORE_SIZE_UNKNOWN : u->size, opts, &cb, u,
                      NULL);
    assert_non_null(u->op);
}

static void upload_until_paused(struct fixture *f, struct upload *u)
{
    while (!u->waiting && !u->o.done)
        run_round(f);
}

static bool is_whole(const struct buf *b, uint64_t size)
{
    if (b->len != size)
        return false;
    for (size_t i = 0; i < b->len; i++)
        if (b->data[i] != byte_at(i))
            return false;
    return true;
}

static void large_objects_stream_with_pauses(void **state)
{
    struct fixture *f = *state;
    enum { SIZE = 5 * 1024 * 1024 + 17 };
    struct upload u;
    upload_init(&u, SIZE);
    for (u.pause_at = 0; !u.o.done;) {
        if (!u.op)
            upload_start(f, &u, "big/one", NULL);
        upload_until_paused(f, &u);
        if (u.o.done)
            break;
        assert_int_equal(code_of_get(f, "big/one", NULL), STORE_NOT_FOUND);
        u.waiting = false;
        u.pause_at = u.given + 700001;
        store_op_resume(u.op);
    }
    assert_int_equal(u.o.err.code, STORE_OK);
    assert_int_equal(u.given, SIZE);

    struct outcome o;
    outcome_init(&o);
    o.pause_every = 3;
    store_op *op = store_get(f->s, f->loop, "big/one", NULL, &outcome_get, &o, NULL);
    while (!o.done) {
        run_round(f);
        if (!o.done && o.pieces && o.pieces % 3 == 0) {
            unsigned pieces = o.pieces;
            store_loop_run(f->loop, 2, NULL); /* nothing comes while paused */
            assert_int_equal(o.pieces, pieces);
            store_op_resume(op);
            run_round(f);
        }
    }
    assert_int_equal(o.err.code, STORE_OK);
    assert_true(is_whole(&o.data, SIZE));
    assert_string_equal(o.etag, u.o.etag);
    outcome_cleanup(&o);
    outcome_cleanup(&u.o);
}

static void replaced_objects_are_read_to_their_end(void **state)
{
    struct fixture *f = *state;
    struct upload u;
    struct outcome o;
    upload_init(&u, 3 * FILE_CHUNK);
    upload_start(f, &u, "k", NULL);
    assert_int_equal(finish(f, u.op, &u.o), STORE_OK);
    outcome_init(&o);
    o.pause_every = 1;
    store_op *op = store_get(f->s, f->loop, "k", NULL, &outcome_get, &o, NULL);
    while (o.pieces == 0)
        run_round(f);
    assert_int_equal(put_text(f, "k", "new"), STORE_OK);
    o.pause_every = 0;
    store_op_resume(op);
    assert_int_equal(finish(f, op, &o), STORE_OK);
    assert_true(is_whole(&o.data, 3 * FILE_CHUNK));
    assert_content(f, "k", "new");
    outcome_cleanup(&o);
    outcome_cleanup(&u.o);
}

static void bodies_of_unknown_size_are_taken(void **state)
{
    struct fixture *f = *state;
    static const uint64_t sizes[] = {
        0, 1, FILE_CHUNK - 1, FILE_CHUNK, FILE_CHUNK + 1, 5 * FILE_CHUNK + 3};
    for (size_t i = 0; i < 2 * LEN(sizes); i++) {
        struct upload u;
        struct outcome o;
        upload_init(&u, sizes[i / 2]);
        u.unsized = true;
        u.end_at = u.size;
        u.pause_at = i % 2 ? u.size / 2 : UINT64_MAX;
        upload_start(f, &u, "d/k", NULL);
        upload_until_paused(f, &u);
        if (!u.o.done)
            store_op_resume(u.op);
        assert_int_equal(finish(f, u.op, &u.o), STORE_OK);
        assert_int_equal(u.o.info.size, u.size);
        assert_int_equal(get(f, "d/k", NULL, &o), STORE_OK);
        assert_true(is_whole(&o.data, u.size));
        assert_string_equal(o.etag, u.o.etag);
        assert_string_equal(o.checksum, u.o.checksum);
        outcome_cleanup(&o);
        outcome_cleanup(&u.o);
    }
    assert_no_temporary_files(f);
}

/* ---- Ends before the end ---- */

static void bodies_that_end_early_leave_nothing(void **state)
{
    struct fixture *f = *state;
    static const uint64_t ends[] = {0, 1, FILE_CHUNK, 3 * FILE_CHUNK - 1};
    for (size_t i = 0; i < LEN(ends); i++) {
        struct upload u;
        upload_init(&u, 3 * FILE_CHUNK);
        u.end_at = ends[i];
        upload_start(f, &u, "d/k", NULL);
        assert_int_equal(finish(f, u.op, &u.o), STORE_CANCELED);
        assert_int_equal(count_on_disk(f, ""), 2);
        outcome_cleanup(&u.o);
    }
}

static void given_up_puts_leave_nothing(void **state)
{
    struct fixture *f = *state;
    static const uint64_t at[] = {0, 1, FILE_CHUNK, 3 * FILE_CHUNK - 1};
    for (size_t i = 0; i < LEN(at); i++) {
        struct upload u;
        upload_init(&u, 3 * FILE_CHUNK);
        u.abort_at = at[i];
        u.piece = 1000 + i;
        upload_start(f, &u, "d/k", NULL);
        assert_int_equal(finish(f, u.op, &u.o), STORE_CANCELED);
        assert_int_equal(count_on_disk(f, ""), 2);
        outcome_cleanup(&u.o);
    }
}

static void canceled_puts_leave_nothing(void **state)
{
    struct fixture *f = *state;
    static const uint64_t at[] = {0, 1, FILE_CHUNK, 3 * FILE_CHUNK - 1};
    for (size_t i = 0; i < 2 * LEN(at); i++) {
        struct upload u;
        upload_init(&u, 3 * FILE_CHUNK);
        u.unsized = i % 2;
        u.pause_at = at[i / 2];
        upload_start(f, &u, "d/k", NULL);
        upload_until_paused(f, &u);
        store_op_cancel(u.op);
        assert_int_equal(finish(f, u.op, &u.o), STORE_CANCELED);
        assert_int_equal(count_on_disk(f, ""), 2);
        outcome_cleanup(&u.o);
    }
}

static void late_puts_time_out(void **state)
{
    struct fixture *f = *state;
    struct upload u;
    upload_init(&u, 100);
    u.pause_at = 50;
    upload_start(f, &u, "k", &(struct store_put_opts){.timeout_ms = 30});
    assert_int_equal(finish(f, u.op, &u.o), STORE_TIMEOUT);
    assert_int_equal(count_on_disk(f, ""), 2);
    outcome_cleanup(&u.o);
}

/* Cancels at every moment that the rounds of the loop give, also in the commit. */
static void puts_are_whole_or_absent(void **state)
{
    struct fixture *f = *state;
    int whole = 0, absent = 0;
    for (int rounds = 0; rounds < 40; rounds++) {
        struct upload u;
        upload_init(&u, 5 * FILE_CHUNK);
        upload_start(f, &u, "d/k", NULL);
        for (int i = 0; i < rounds / 2 && !u.o.done; i++)
            store_loop_run(f->loop, i % 2, NULL);
        if (!u.o.done && rounds < 39) /* the last one is whole, however busy the machine */
            store_op_cancel(u.op);
        while (!u.o.done)
            run_round(f);
        assert_no_temporary_files(f);
        struct outcome o;
        if (get(f, "d/k", NULL, &o) == STORE_OK) {
            whole++;
            assert_true(is_whole(&o.data, 5 * FILE_CHUNK));
            assert_int_equal(remove_object(f, "d/k"), STORE_OK);
        } else {
            absent++;
            assert_int_equal(o.err.code, STORE_NOT_FOUND);
            assert_int_equal(u.o.err.code, STORE_CANCELED);
        }
        outcome_cleanup(&o);
        outcome_cleanup(&u.o);
    }
    assert_true(whole > 0 && absent > 0);
}

static void gets_and_lists_can_be_canceled(void **state)
{
    struct fixture *f = *state;
    struct upload u;
    upload_init(&u, 5 * FILE_CHUNK);
    upload_start(f, &u, "k", NULL);
    assert_int_equal(finish(f, u.op, &u.o), STORE_OK);
    outcome_cleanup(&u.o);
    for (int rounds = 0; rounds < 10; rounds++) {
        struct outcome o;
        outcome_init(&o);
        o.pause_every = rounds % 2;
        store_op *op = store_get(f->s, f->loop, "k", NULL, &outcome_get, &o, NULL);
        for (int i = 0; i < rounds && !o.done; i++)
            store_loop_run(f->loop, 1, NULL);
        if (!o.done)
            store_op_cancel(op);
        finish(f, op, &o);
        assert_true(o.err.code == STORE_CANCELED || o.data.len == 5 * FILE_CHUNK);
        outcome_cleanup(&o);
    }
    struct listing l = {0};
    outcome_init(&l.o);
    store_op *op = store_list(f->s, f->loop, "", NULL, &listing_cb, &l, NULL);
    store_op_cancel(op);
    finish(f, op, &l.o);
    listing_cleanup(&l);
}

static void loops_end_in_mid_operation(void **state)
{
    struct fixture *f = *state;
    struct upload u;
    struct outcome o;
    upload_init(&u, 5 * FILE_CHUNK);
    u.pause_at = 2 * FILE_CHUNK;
    upload_start(f, &u, "k", NULL);
    upload_until_paused(f, &u);
    outcome_init(&o);
    store_put_bytes(f->s, f->loop, "j", "x", 1, NULL, outcome_done, &o, NULL);
    store_loop_free(f->loop);
    assert_true(u.o.done && o.done);
    assert_no_temporary_files(f);
    outcome_cleanup(&u.o);
    outcome_cleanup(&o);
    store_loop_new(&f->loop, NULL);
}

/* ---- Uploads that expire ---- */

static void expired_puts_are_refused(void **state)
{
    struct fixture *f = *state;
    const int64_t now = (int64_t)time(NULL);
    const struct {
        int64_t signed_at_s;
        uint32_t expires_in_s;
        enum store_code code;
    } cases[] = {
        {now, 10, STORE_OK},
        {now - 5, 10, STORE_OK},
        {now - 11, 10, STORE_EXPIRED},
        {now - 1000, 1, STORE_EXPIRED},
        {now - 1000, 0, STORE_OK}, /* not asked for */
        {0, 1, STORE_EXPIRED},
        {INT64_MIN, 1, STORE_EXPIRED},
        {INT64_MAX, UINT32_MAX, STORE_EXPIRED},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct outcome o;
        const struct store_put_opts opts = {.signed_at_s = cases[i].signed_at_s,
                                            .expires_in_s = cases[i].expires_in_s};
        assert_int_equal(put(f, "k", "x", 1, &opts, &o), cases[i].code);
        assert_true(o.info.server_time_s >= now);
        assert_int_equal(remove_object(f, "k"), STORE_OK);
        outcome_cleanup(&o);
    }
    assert_int_equal(count_on_disk(f, ""), 2);
}

/* The clock is looked at again right before the rename. */
static void late_commits_are_refused(void **state)
{
    struct fixture *f = *state;
    struct upload u;
    upload_init(&u, 100);
    u.pause_at = 50;
    const struct store_put_opts opts = {.signed_at_s = (int64_t)time(NULL), .expires_in_s = 60};
    upload_start(f, &u, "k", &opts);
    upload_until_paused(f, &u);
    struct file_job *j = u.op->driver_op;
    int64_t end_ms = (opts.signed_at_s + 60) * 1000;
    assert_true(j->draft.latest_ms > end_ms && j->draft.latest_ms <= end_ms + 30000);
    j->draft.latest_ms = (int64_t)time(NULL) * 1000 - 1;
    store_op_resume(u.op);
    assert_int_equal(finish(f, u.op, &u.o), STORE_EXPIRED);
    assert_int_equal(count_on_disk(f, ""), 2);
    outcome_cleanup(&u.o);
}

/* ---- Memory ---- */

/* Allocates nothing, unlike the fixture's. */
static void ignore_page(void *user, const struct store_page *page)
{
    (void)user;
    (void)page;
}

static const struct store_list_cb quiet_list = {ignore_page, outcome_done};

static store_op *start_one(struct fixture *f, int which, struct outcome *o)
{
    static const char *const keys[] = {"a/1", "a/2"};
    static const struct store_meta meta[] = {{"a", "1"}};
    static const struct store_put_opts opts = {.meta = meta, .n_meta = 1};
    switch (which) {
    case 0: return store_put_bytes(f->s, f->loop, "a/1", "x", 1, &opts, outcome_done, o, NULL);
    case 1: return store_head(f->s, f->loop, "a/1", 0, outcome_done, o, NULL);
    case 2: return store_get(f->s, f->loop, "a/1", NULL, &outcome_get, o, NULL);
    case 3: return store_list(f->s, f->loop, "a", NULL, &quiet_list, o, NULL);
    case 4: return store_copy(f->s, f->loop, "a/1", "a/2", NULL, outcome_done, o, NULL);
    default: return store_delete_many(f->s, f->loop, keys, 2, 0, outcome_done, o, NULL);
    }
}

/* Each operation ends, and leaves nothing behind, whichever allocation fails. One thread works at
 * a time here: the loop's waits while the I/O thread runs. */
static void short_memory_is_survived(void **state)
{
    struct fixture *f = *state;
    if (!OOM_AVAILABLE)
        skip();
    for (int which = 0; which < 6; which++) {
        assert_int_equal(put_text(f, "a/1", "x"), STORE_OK);
        for (long n = 1;; n++) {
            struct outcome o;
            outcome_init(&o);
            oom_fail_nth(n);
            store_op *op = start_one(f, which, &o);
            while (op && !o.done)
                store_loop_run(f->loop, 20, NULL);
            bool failed = oom_stop();
            outcome_cleanup(&o);
            if (!failed)
                break;
        }
        assert_no_temporary_files(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(large_objects_stream_with_pauses, setup, teardown),
        cmocka_unit_test_setup_teardown(replaced_objects_are_read_to_their_end, setup, teardown),
        cmocka_unit_test_setup_teardown(bodies_of_unknown_size_are_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(bodies_that_end_early_leave_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(given_up_puts_leave_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(canceled_puts_leave_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(late_puts_time_out, setup, teardown),
        cmocka_unit_test_setup_teardown(puts_are_whole_or_absent, setup, teardown),
        cmocka_unit_test_setup_teardown(gets_and_lists_can_be_canceled, setup, teardown),
        cmocka_unit_test_setup_teardown(loops_end_in_mid_operation, setup, teardown),
        cmocka_unit_test_setup_teardown(expired_puts_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(late_commits_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(short_memory_is_survived, setup, teardown),
    };
    return cmocka_run_group_tests_name("file_stream", tests, NULL, NULL);
}
