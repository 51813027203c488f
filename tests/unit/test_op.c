/* Operations and the blocking calls, on a folder store: what store.h promises whatever the backend
 * does. tests/unit/test_file*.c have the folder driver's own side. */
#include "tests/unit/file_fixture.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/xalloc.h"

enum { BIG = 1 << 20 };

/* ---- Arguments ---- */

static ssize_t read_nothing(void *user, void *buf, size_t cap)
{
    (void)user;
    (void)buf;
    (void)cap;
    fail_msg("asked for a body");
    return STORE_READ_ABORT;
}

static void never_done(void *user, const struct store_err *err, const struct store_info *info)
{
    (void)user;
    (void)info;
    fail_msg("called back: %s", err->msg);
}

static void never_paged(void *user, const struct store_page *page)
{
    (void)user;
    (void)page;
    fail_msg("called back");
}

static void purge_never_done(void *user, const struct store_err *err,
                             const struct store_progress *p)
{
    (void)user;
    (void)p;
    fail_msg("called back: %s", err->msg);
}

static const struct store_get_cb never_got = {.done = never_done};
static const struct store_put_cb never_put = {.read = read_nothing, .done = never_done};
static const struct store_list_cb never_listed = {never_paged, never_done};
static const struct store_delete_prefix_cb never_purged = {.done = purge_never_done};

static void assert_refused(store_op *op, struct store_err *err)
{
    assert_null(op);
    assert_int_equal(err->code, STORE_INVALID);
    assert_true(err->msg[0]);
    *err = (struct store_err){0};
}

static void bad_keys_start_nothing(void **state)
{
    struct fixture *f = *state;
    char long_key[STORE_MAX_KEY + 2];
    memset(long_key, 'k', sizeof(long_key) - 1);
    long_key[sizeof(long_key) - 1] = '\0';
    const char *const bad[] = {NULL, "", "/a", "a/", "a//b", "..", "a/./b", long_key};
    struct store_err err = {0};
    for (size_t i = 0; i < LEN(bad); i++) {
        assert_refused(store_get(f->s, f->loop, bad[i], NULL, &never_got, NULL, &err), &err);
        assert_refused(store_head(f->s, f->loop, bad[i], 0, never_done, NULL, &err), &err);
        assert_refused(store_put(f->s, f->loop, bad[i], 1, NULL, &never_put, NULL, &err), &err);
        assert_refused(store_put_bytes(f->s, f->loop, bad[i], "x", 1, NULL, never_done, NULL, &err),
                       &err);
        const char *const two[] = {"a", bad[i]};
        assert_refused(store_delete(f->s, f->loop, bad[i], 0, never_done, NULL, &err), &err);
        assert_refused(store_delete_many(f->s, f->loop, two, 2, 0, never_done, NULL, &err), &err);
    }
    const char *const some[] = {"a", "", "b"};
    assert_refused(store_delete_many(f->s, f->loop, some, 3, 0, never_done, NULL, &err), &err);
    assert_refused(store_delete_many(f->s, f->loop, some, 0, 0, never_done, NULL, &err), &err);
    run_round(f);
}

/* What others stored under an odd key is removed as it was listed. */
static void bad_entries_start_nothing(void **state)
{
    struct fixture *f = *state;
    char long_key[STORE_MAX_KEY + 2];
    memset(long_key, 'k', sizeof(long_key) - 1);
    long_key[sizeof(long_key) - 1] = '\0';
    const struct {
        enum store_list_kind kind;
        struct store_entry entry;
    } bad[] = {
        {STORE_LIST_OBJECTS, {.key = NULL}},
        {STORE_LIST_OBJECTS, {.key = ""}},
        {STORE_LIST_OBJECTS, {.key = long_key}},
        {STORE_LIST_OBJECTS, {.key = "a/", .is_prefix = true}},
        {STORE_LIST_UPLOADS, {.key = "", .version = "u"}},
    };
    struct store_err err = {0};
    for (size_t i = 0; i < LEN(bad); i++)
        assert_refused(store_delete_listed(f->s, f->loop, bad[i].kind, &bad[i].entry, 1, 0,
                                           never_done, NULL, &err),
                       &err);
    assert_refused(
        store_delete_listed(f->s, f->loop, STORE_LIST_OBJECTS, NULL, 0, 0, never_done, NULL, &err),
        &err);
    run_round(f);
}

static void bad_puts_start_nothing(void **state)
{
    struct fixture *f = *state;
    char big[STORE_MAX_META_BYTES + 1];
    memset(big, 'v', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    static const struct store_meta many[STORE_MAX_META + 1] = {{"a", "b"}};
    const struct store_meta meta[] = {{"Upper", "x"},     {"", "x"},         {"sp ace", "x"},
                                      {"a", "new\nline"}, {"a", "\xc3\xa9"}, {"a", big}};
    struct store_err err = {0};
    for (size_t i = 0; i < LEN(meta); i++) {
        const struct store_put_opts o = {.meta = &meta[i], .n_meta = 1};
        assert_refused(store_put(f->s, f->loop, "k", 1, &o, &never_put, NULL, &err), &err);
    }
    const struct store_put_opts others[] = {
        {.meta = many, .n_meta = LEN(many)},
        {.content_type = "text/plain\r\nX: y"},
        {.if_absent = true, .if_match = "e"},
    };
    for (size_t i = 0; i < LEN(others); i++)
        assert_refused(store_put(f->s, f->loop, "k", 1, &others[i], &never_put, NULL, &err), &err);
    run_round(f);
}

static void bad_listings_and_prefixes_start_nothing(void **state)
{
    struct fixture *f = *state;
    struct store_err err = {0};
    char long_text[STORE_MAX_KEY + 3];
    memset(long_text, 'p', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 2] = '/';
    long_text[sizeof(long_text) - 1] = '\0';
    const struct store_list_opts odd = {.delimiter = ':'};
    assert_refused(store_list(f->s, f->loop, "", &odd, &never_listed, NULL, &err), &err);
    assert_refused(store_list(f->s, f->loop, long_text, NULL, &never_listed, NULL, &err), &err);
    const char *const bad[] = {NULL, "", "/", "a", "tenants/ep-1", long_text};
    for (size_t i = 0; i < LEN(bad); i++)
        assert_refused(store_delete_prefix(f->s, f->loop, bad[i], NULL, &never_purged, NULL, &err),
                       &err);
    const struct store_delete_prefix_opts far = {.cursor = long_text};
    assert_refused(store_delete_prefix(f->s, f->loop, "a/", &far, &never_purged, NULL, &err), &err);
    run_round(f);
}

/* ---- Every operation, in one place ---- */

struct any {
    struct fixture *f;
    store_op *op;
    unsigned dones, pieces, reads;
    enum store_code code;
    char msg[256];
    bool pause, cancel; /* what the first data or read call-back asks for */
};

static void any_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct any *a = user;
    assert_non_null(info);
    a->dones++;
    a->op = NULL;
    a->code = err->code;
    snprintf(a->msg, sizeof(a->msg), "%s", err->msg);
}

static bool any_data(void *user, const void *bytes, size_t n)
{
    struct any *a = user;
    (void)bytes;
    (void)n;
    a->pieces++;
    if (a->cancel)
        store_op_cancel(a->op);
    return !a->pause;
}

static ssize_t any_read(void *user, void *buf, size_t cap)
{
    struct any *a = user;
    a->reads++;
    if (a->cancel)
        store_op_cancel(a->op);
    if (a->pause)
        return STORE_READ_PAUSE;
    memset(buf, 'b', cap);
    return (ssize_t)cap;
}

static void any_page(void *user, const struct store_page *page)
{
    (void)user;
    (void)page;
}

static bool any_progress(void *user, const struct store_progress *p)
{
    (void)user;
    (void)p;
    return true;
}

static void any_purged(void *user, const struct store_err *err, const struct store_progress *p)
{
    static const struct store_info none;
    assert_non_null(p->cursor);
    any_done(user, err, &none);
}

enum { GET, HEAD, PUT, PUT_BYTES, LIST, DELETE, DELETE_MANY, DELETE_PREFIX, KINDS };

static void any_start(struct any *a, struct fixture *f, int kind, uint32_t timeout_ms)
{
    static const struct store_get_cb get_cb = {NULL, any_data, any_done};
    static const struct store_put_cb put_cb = {any_read, any_done};
    static const struct store_list_cb list_cb = {any_page, any_done};
    static const struct store_delete_prefix_cb purge_cb = {any_progress, any_purged};
    static const char *const keys[] = {"d/1", "d/2"};
    const struct store_get_opts get_opts = {.timeout_ms = timeout_ms};
    const struct store_put_opts put_opts = {.timeout_ms = timeout_ms};
    struct store_err err = {0};
    a->f = f;
    switch (kind) {
    case GET: a->op = store_get(f->s, f->loop, "big", &get_opts, &get_cb, a, &err); break;
    case HEAD: a->op = store_head(f->s, f->loop, "big", timeout_ms, any_done, a, &err); break;
    case PUT: a->op = store_put(f->s, f->loop, "new", BIG, &put_opts, &put_cb, a, &err); break;
    case PUT_BYTES:
        a->op = store_put_bytes(f->s, f->loop, "new2", "x", 1, &put_opts, any_done, a, &err);
        break;
    case LIST: a->op = store_list(f->s, f->loop, "", NULL, &list_cb, a, &err); break;
    case DELETE: a->op = store_delete(f->s, f->loop, "d/3", timeout_ms, any_done, a, &err); break;
    case DELETE_MANY:
        a->op = store_delete_many(f->s, f->loop, keys, 2, timeout_ms, any_done, a, &err);
        break;
    default: a->op = store_delete_prefix(f->s, f->loop, "e/", NULL, &purge_cb, a, &err);
    }
    if (!a->op)
        fail_msg("%s", err.msg);
    assert_int_equal(a->dones, 0);
}

static void run_until_done(struct any *a)
{
    while (!a->dones)
        run_round(a->f);
    run_round(a->f);
    assert_int_equal(a->dones, 1);
}

static void fill(struct fixture *f)
{
    static const char *const small[] = {"d/1", "d/2", "d/3", "e/1", "e/2"};
    struct outcome o;
    char *bytes = calloc(1, BIG);
    assert_int_equal(put(f, "big", bytes, BIG, NULL, &o), STORE_OK);
    outcome_cleanup(&o);
    free(bytes);
    for (size_t i = 0; i < LEN(small); i++)
        assert_int_equal(put_text(f, small[i], "x"), STORE_OK);
}

static void each_operation_is_done_exactly_once(void **state)
{
    struct fixture *f = *state;
    fill(f);
    for (int kind = 0; kind < KINDS; kind++) {
        struct any a = {0};
        any_start(&a, f, kind, 0);
        run_until_done(&a);
        if (a.code != STORE_OK)
            fail_msg("kind %d: %s", kind, a.msg);
    }
    assert_int_equal(count_keys(f, ""), 3);
}

static void a_cancel_before_the_start_is_told_once(void **state)
{
    struct fixture *f = *state;
    fill(f);
    for (int kind = 0; kind < KINDS; kind++) {
        struct any a = {0};
        any_start(&a, f, kind, 0);
        store_op_cancel(a.op);
        store_op_cancel(a.op);
        store_op_resume(a.op);
        assert_int_equal(a.dones, 0);
        run_until_done(&a);
        assert_int_equal(a.pieces, 0);
        /* What a thread of the folder store had done already stays done, and says so. */
        assert_true(a.code == STORE_CANCELED || a.code == STORE_OK);
        if (kind == GET || kind == PUT || kind == DELETE_PREFIX)
            assert_int_equal(a.code, STORE_CANCELED);
    }
    assert_int_equal(code_of_get(f, "new", NULL), STORE_NOT_FOUND);
    assert_int_equal(count_keys(f, "e/"), 2);
}

static void a_cancel_in_the_data_stops_it(void **state)
{
    struct fixture *f = *state;
    fill(f);
    struct any get = {.cancel = true}, put = {.cancel = true};
    any_start(&get, f, GET, 0);
    run_until_done(&get);
    assert_int_equal(get.code, STORE_CANCELED);
    assert_int_equal(get.pieces, 1);
    any_start(&put, f, PUT, 0);
    run_until_done(&put);
    assert_int_equal(put.code, STORE_CANCELED);
    assert_int_equal(put.reads, 1);
    assert_int_equal(code_of_get(f, "new", NULL), STORE_NOT_FOUND);
}

static void a_cancel_reaches_who_pauses(void **state)
{
    struct fixture *f = *state;
    fill(f);
    struct any get = {.pause = true}, put = {.pause = true};
    any_start(&get, f, GET, 0);
    any_start(&put, f, PUT, 0);
    while (!get.pieces || !put.reads)
        run_round(f);
    run_round(f);
    assert_int_equal(get.pieces, 1);
    assert_int_equal(put.reads, 1);
    assert_int_equal(get.dones + put.dones, 0);
    store_op_cancel(get.op);
    store_op_resume(get.op); /* comes too late */
    store_op_cancel(put.op);
    run_until_done(&get);
    if (!put.dones)
        run_until_done(&put);
    assert_int_equal(get.code, STORE_CANCELED);
    assert_int_equal(put.code, STORE_CANCELED);
    assert_int_equal(get.pieces, 1);
}

static void a_deadline_reaches_who_pauses(void **state)
{
    struct fixture *f = *state;
    fill(f);
    static const int kinds[] = {GET, PUT};
    for (size_t i = 0; i < LEN(kinds); i++) {
        struct any a = {.pause = true};
        uint64_t begin = clock_mono_ms();
        any_start(&a, f, kinds[i], 40);
        run_until_done(&a);
        assert_int_equal(a.code, STORE_TIMEOUT);
        assert_true(clock_mono_ms() - begin >= 40);
    }
    assert_no_temporary_files(f);
}

static void a_pause_ends_with_a_resume(void **state)
{
    struct fixture *f = *state;
    fill(f);
    static const int kinds[] = {GET, PUT};
    for (size_t i = 0; i < LEN(kinds); i++) {
        struct any a = {.pause = true};
        any_start(&a, f, kinds[i], 0);
        store_op_resume(a.op); /* nothing is paused yet */
        for (unsigned turn = 1; turn <= 3; turn++) {
            while (a.pieces + a.reads < turn)
                run_round(f);
            run_round(f);
            assert_int_equal(a.pieces + a.reads, turn);
            store_op_resume(a.op);
            store_op_resume(a.op);
        }
        a.pause = false;
        run_until_done(&a);
        assert_int_equal(a.code, STORE_OK);
    }
}

static void a_loop_that_goes_takes_its_operations_along(void **state)
{
    struct fixture *f = *state;
    fill(f);
    for (int paused = 0; paused < 2; paused++) {
        struct any a[2 * KINDS] = {0};
        struct fixture own = *f;
        assert_int_equal(store_loop_new(&own.loop, NULL), 0);
        for (size_t i = 0; i < LEN(a); i++) {
            a[i].pause = paused;
            any_start(&a[i], &own, (int)(i % KINDS), 0);
        }
        if (paused)
            run_round(&own);
        store_loop_free(own.loop);
        for (size_t i = 0; i < LEN(a); i++)
            assert_int_equal(a[i].dones, 1);
    }
}

/* ---- Call-backs that start the next ---- */

struct relay {
    struct fixture *f;
    unsigned left;
};

static void relay_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct relay *r = user;
    (void)info;
    assert_int_equal(err->code, STORE_OK);
    if (--r->left)
        assert_non_null(store_head(r->f->s, r->f->loop, "d/1", 0, relay_done, r, NULL));
}

static void done_may_start_the_next(void **state)
{
    struct fixture *f = *state;
    fill(f);
    struct relay r = {f, 20};
    assert_non_null(store_head(f->s, f->loop, "d/1", 0, relay_done, &r, NULL));
    while (r.left)
        run_round(f);
}

struct rivals {
    struct any *other;
};

static void cancel_the_other(void *user, const struct store_err *err, const struct store_info *info)
{
    struct rivals *r = user;
    (void)err;
    (void)info;
    if (r->other->op)
        store_op_cancel(r->other->op);
}

static void done_may_cancel_another(void **state)
{
    struct fixture *f = *state;
    fill(f);
    struct any get = {.pause = true};
    struct rivals r = {&get};
    any_start(&get, f, GET, 0);
    assert_non_null(store_head(f->s, f->loop, "d/1", 0, cancel_the_other, &r, NULL));
    run_until_done(&get);
    assert_int_equal(get.code, STORE_CANCELED);
}

/* ---- Threads ---- */

struct worker {
    struct fixture *f;
    pthread_t thread;
    unsigned number, failures;
};

static void *put_get_delete(void *user)
{
    struct worker *w = user;
    store_loop *loop = NULL;
    struct store_err err;
    char key[40];
    w->failures += store_loop_new(&loop, NULL) != 0;
    for (unsigned i = 0; i < 15; i++) {
        void *bytes = NULL;
        size_t n = 0;
        snprintf(key, sizeof(key), "t/%u/%u", w->number, i);
        w->failures +=
            store_sync_put(w->f->s, loop, key, key, strlen(key), NULL, NULL, NULL, &err) != 0;
        w->failures += store_sync_get(w->f->s, loop, key, 100, &bytes, &n, NULL, &err) != 0 ||
                       n != strlen(key) || memcmp(bytes, key, n) != 0;
        free(bytes);
        w->failures += store_sync_delete(w->f->s, i % 2 ? loop : NULL, key, &err) != 0;
    }
    store_loop_free(loop);
    return NULL;
}

static void threads_share_a_store(void **state)
{
    struct fixture *f = *state;
    struct worker workers[4];
    for (unsigned i = 0; i < LEN(workers); i++) {
        workers[i] = (struct worker){.f = f, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, put_get_delete, &workers[i]), 0);
    }
    for (unsigned i = 0; i < LEN(workers); i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].failures, 0);
    }
    assert_int_equal(count_keys(f, ""), 0);
}

/* ---- The blocking face ---- */

static void blocking_calls_answer(void **state)
{
    struct fixture *f = *state;
    static const char *const keys[] = {"b/1", "b/2"};
    char etag[STORE_ETAG_SIZE] = "";
    struct store_info info;
    struct store_err err = {0};
    void *bytes = NULL;
    size_t n = 0;
    assert_int_equal(store_sync_put(f->s, NULL, "b/1", "hello", 5, NULL, etag, &info, &err), 0);
    assert_true(etag[0]);
    assert_int_equal(info.size, 5);
    assert_int_equal(store_sync_put(f->s, NULL, "b/2", NULL, 0, NULL, NULL, NULL, NULL), 0);
    assert_int_equal(store_sync_head(f->s, NULL, "b/1", &info, &err), 0);
    assert_int_equal(info.size, 5);
    assert_string_equal(info.etag, ""); /* strings are not kept */
    assert_int_equal(store_sync_get(f->s, NULL, "b/1", 5, &bytes, &n, &info, &err), 0);
    assert_int_equal(n, 5);
    assert_string_equal(bytes, "hello");
    free(bytes);
    assert_int_equal(store_sync_get(f->s, NULL, "b/2", 0, &bytes, &n, NULL, &err), 0);
    assert_int_equal(n, 0);
    assert_string_equal(bytes, "");
    free(bytes);
    assert_int_equal(store_sync_delete_many(f->s, NULL, keys, 2, &err), 0);
    assert_int_equal(store_sync_delete(f->s, NULL, "b/1", &err), 0);
    assert_int_equal(count_keys(f, ""), 0);
}

static void blocking_calls_fail(void **state)
{
    struct fixture *f = *state;
    struct store_err err = {0};
    void *bytes = NULL;
    size_t n = 0;
    assert_int_equal(put_text(f, "six", "sixsix"), STORE_OK);
    assert_int_equal(store_sync_get(f->s, NULL, "six", 5, &bytes, &n, NULL, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    assert_int_equal(store_sync_get(f->s, NULL, "none", 5, &bytes, &n, NULL, &err), -1);
    assert_int_equal(err.code, STORE_NOT_FOUND);
    assert_int_equal(store_sync_get(f->s, NULL, "none", 5, &bytes, &n, NULL, NULL), -1);
    assert_int_equal(store_sync_get(f->s, NULL, "../x", 5, &bytes, &n, NULL, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    assert_int_equal(store_sync_head(f->s, NULL, "none", NULL, &err), -1);
    assert_int_equal(err.code, STORE_NOT_FOUND);
    assert_int_equal(store_sync_delete_many(f->s, NULL, NULL, 0, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    assert_int_equal(store_sync_delete_prefix(f->s, NULL, "a", NULL, NULL, NULL, NULL, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    assert_null(bytes);
}

/* A limit without end is for the caller to want. */
static void the_highest_limit_is_no_trap(void **state)
{
    struct fixture *f = *state;
    void *bytes = NULL;
    size_t n = 0;
    assert_int_equal(put_text(f, "k", "text"), STORE_OK);
    assert_int_equal(store_sync_get(f->s, NULL, "k", SIZE_MAX, &bytes, &n, NULL, NULL), 0);
    assert_string_equal(bytes, "text");
    free(bytes);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(bad_keys_start_nothing),
        IN_FOLDER(bad_entries_start_nothing),
        IN_FOLDER(bad_puts_start_nothing),
        IN_FOLDER(bad_listings_and_prefixes_start_nothing),
        IN_FOLDER(each_operation_is_done_exactly_once),
        IN_FOLDER(a_cancel_before_the_start_is_told_once),
        IN_FOLDER(a_cancel_in_the_data_stops_it),
        IN_FOLDER(a_cancel_reaches_who_pauses),
        IN_FOLDER(a_deadline_reaches_who_pauses),
        IN_FOLDER(a_pause_ends_with_a_resume),
        IN_FOLDER(a_loop_that_goes_takes_its_operations_along),
        IN_FOLDER(done_may_start_the_next),
        IN_FOLDER(done_may_cancel_another),
        IN_FOLDER(threads_share_a_store),
        IN_FOLDER(blocking_calls_answer),
        IN_FOLDER(blocking_calls_fail),
        IN_FOLDER(the_highest_limit_is_no_trap),
    };
    return cmocka_run_group_tests_name("op", tests, NULL, NULL);
}
