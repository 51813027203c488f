/* Removal of a prefix: on a folder store, and on a backend of this test's own that lists in small
 * pages, fails when it is told to, and can hold batches back. */
#include "tests/unit/file_fixture.h"

#include "base/xalloc.h"
#include "libstore/op.h"

/* ---- A run and what it told ---- */

struct run {
    bool done, stop_at_first, went_back;
    struct store_err err;
    struct store_progress final;
    char cursor[STORE_MAX_KEY + 1];
    unsigned progressed;
    store_op *op;
};

static bool run_progress(void *user, const struct store_progress *p)
{
    struct run *r = user;
    r->went_back =
        r->went_back || strcmp(p->cursor, r->cursor) <= 0 || p->objects <= r->final.objects;
    r->progressed++;
    r->final = *p;
    snprintf(r->cursor, sizeof(r->cursor), "%s", p->cursor);
    return !r->stop_at_first;
}

static void run_done(void *user, const struct store_err *err, const struct store_progress *p)
{
    struct run *r = user;
    assert_false(r->done);
    r->done = true;
    r->err = *err;
    r->final = *p;
    snprintf(r->cursor, sizeof(r->cursor), "%s", p->cursor);
    r->op = NULL;
}

static const struct store_delete_prefix_cb run_cb = {run_progress, run_done};

static void begin(store *s, store_loop *loop, const char *prefix,
                  const struct store_delete_prefix_opts *opts, struct run *r)
{
    struct store_err err = {0};
    r->op = store_delete_prefix(s, loop, prefix, opts, &run_cb, r, &err);
    if (!r->op)
        fail_msg("%s", err.msg);
    assert_false(r->done);
}

static enum store_code run(store *s, store_loop *loop, const char *prefix,
                           const struct store_delete_prefix_opts *opts, struct run *r)
{
    *r = (struct run){.stop_at_first = r->stop_at_first};
    begin(s, loop, prefix, opts, r);
    while (!r->done)
        assert_int_equal(store_loop_run(loop, -1, NULL), 0);
    assert_false(r->went_back);
    return r->err.code;
}

/* ---- In a folder ---- */

static void only_the_prefix_goes(void **state)
{
    struct fixture *f = *state;
    static const char *const keys[] = {"ep/ep-1/a", "ep/ep-1/b/c", "ep/ep-1/b/d", "ep/ep-10/a",
                                       "ep/ep-1",   "ep/ep-1.x",   "ep/ep-0/z",   "other"};
    struct run r = {0};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(put_text(f, keys[i], "12345"), STORE_OK);
    assert_int_equal(put_text(f, "ep/ep-0/z", "1"), STORE_OK);
    assert_int_equal(put_text(f, "other", "1"), STORE_OK);
    assert_int_equal(run(f->s, f->loop, "ep/ep-1/", NULL, &r), STORE_OK);
    assert_int_equal(r.final.objects, 3);
    assert_int_equal(r.final.bytes, 15);
    assert_string_equal(r.cursor, "ep/ep-1/b/d");
    assert_true(r.final.server_time_s > 0);
    assert_int_equal(count_keys(f, "ep/ep-1/"), 0);
    assert_int_equal(count_keys(f, ""), 3);
    assert_int_equal(run(f->s, f->loop, "ep/ep-1/", NULL, &r), STORE_OK); /* again is free */
    assert_int_equal(r.final.objects, 0);
    assert_string_equal(r.cursor, "");
    assert_true(r.final.server_time_s > 0);
}

static void a_dry_run_removes_nothing(void **state)
{
    struct fixture *f = *state;
    const struct store_delete_prefix_opts dry = {.dry_run = true};
    struct run r = {0};
    assert_int_equal(put_text(f, "p/1", "123"), STORE_OK);
    assert_int_equal(put_text(f, "p/2", "1234"), STORE_OK);
    assert_int_equal(run(f->s, f->loop, "p/", &dry, &r), STORE_OK);
    assert_int_equal(r.final.objects, 2);
    assert_int_equal(r.final.bytes, 7);
    assert_int_equal(count_keys(f, "p/"), 2);
}

static void the_blocking_face_does_the_same(void **state)
{
    struct fixture *f = *state;
    struct store_progress final;
    assert_int_equal(put_text(f, "p/1", "123"), STORE_OK);
    assert_int_equal(store_sync_delete_prefix(f->s, NULL, "p/", NULL, NULL, NULL, &final, NULL), 0);
    assert_int_equal(final.objects, 1);
    assert_string_equal(final.cursor, "");
    assert_int_equal(count_keys(f, ""), 0);
}

/* ---- A backend in memory ---- */

enum { KEYS = 100, PAGE = 10, MAX_HELD = 128 };

struct memory {
    struct store store; /* first */
    store_loop *loop;
    char keys[KEYS][24];
    bool gone[KEYS];
    unsigned lists, batches, running, most_running;
    struct pending *held[MAX_HELD]; /* batches that wait for release() */
    unsigned n_held;
    bool hold;
    unsigned fail_batch, fail_list; /* by number, from 1; 0: none */
    enum { HONEST, REPEATS, EMPTY_FOR_EVER, EMPTY_BEFORE, STRAYS } listing;
};

struct pending {
    struct memory *m;
    struct store_op *op;
    struct loop_task task;
    unsigned number;
};

static void end(struct pending *p, const struct store_err *err)
{
    struct store_op *op = p->op;
    if (op->kind == OP_DELETE_MANY)
        p->m->running--;
    loop_defer_clear(op->loop, &p->task);
    free(p);
    op_finish(op, err && err->code ? err : NULL, NULL);
}

static void memory_delete(struct pending *p)
{
    struct memory *m = p->m;
    for (size_t i = 0; i < p->op->n_keys; i++)
        for (size_t k = 0; k < KEYS; k++)
            if (strcmp(m->keys[k], p->op->keys[i]) == 0)
                m->gone[k] = true;
    end(p, NULL);
}

/* Token and start_after are the last key of the page before. */
static size_t memory_page(struct memory *m, const struct store_op *op, struct store_entry *entries)
{
    const char *after = op->opts.list.token         ? op->opts.list.token
                        : op->opts.list.start_after ? op->opts.list.start_after
                                                    : "";
    size_t n = 0;
    for (size_t k = 0; k < KEYS && n < PAGE; k++)
        if (!m->gone[k] && strcmp(m->keys[k], after) > 0 &&
            strncmp(m->keys[k], op->key, strlen(op->key)) == 0)
            entries[n++] = (struct store_entry){.key = m->keys[k], .size = 2, .etag = ""};
    return n;
}

static void memory_list(struct pending *p)
{
    struct memory *m = p->m;
    struct store_entry entries[PAGE];
    size_t n = memory_page(m, p->op, entries);
    char token[32];
    struct store_page page = {.entries = entries, .n = n, .server_time_s = 1000 + m->lists};
    if (n == PAGE)
        page.next_token = strcpy(token, entries[n - 1].key);
    if (m->listing == REPEATS)
        page.next_token = "same";
    if (m->listing == STRAYS)
        entries[n / 2].key = "q/foreign";
    if (m->listing == EMPTY_FOR_EVER || (m->listing == EMPTY_BEFORE && m->lists <= 3)) {
        snprintf(token, sizeof(token), " %u", m->lists);
        page.n = 0;
        page.next_token = token;
    }
    op_page(p->op, &page);
    end(p, NULL);
}

static void memory_step(void *user)
{
    struct pending *p = user;
    struct memory *m = p->m;
    bool list = p->op->kind == OP_LIST;
    if (p->number == (list ? m->fail_list : m->fail_batch)) {
        struct store_err err;
        store_err_set(&err, STORE_DENIED, "told to fail");
        end(p, &err);
    } else if (list) {
        memory_list(p);
    } else if (m->hold) {
        m->held[m->n_held++] = p;
    } else {
        memory_delete(p);
    }
}

static void memory_start(void *state, struct store_op *op)
{
    struct memory *m = state;
    struct pending *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    *p = (struct pending){.m = m, .op = op, .task = {.fn = memory_step, .user = p}};
    p->number = op->kind == OP_LIST ? ++m->lists : ++m->batches;
    if (op->kind == OP_DELETE_MANY && ++m->running > m->most_running)
        m->most_running = m->running;
    op->driver_op = p;
    loop_defer(op->loop, &p->task);
}

static void memory_cancel(void *state, struct store_op *op)
{
    struct memory *m = state;
    struct pending *p = op->driver_op;
    for (unsigned i = 0; i < m->n_held; i++)
        if (m->held[i] == p)
            m->held[i] = NULL;
    struct store_err err;
    store_err_set(&err, STORE_CANCELED, "canceled");
    end(p, &err);
}

static void release(struct memory *m, unsigned i)
{
    struct pending *p = m->held[i];
    m->held[i] = NULL;
    assert_non_null(p);
    memory_delete(p);
}

static const struct driver memory_driver = {
    .scheme = "memory", .start = memory_start, .cancel = memory_cancel};

static int in_memory(void **state)
{
    struct memory *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    m->store = (struct store){.driver = &memory_driver, .state = m, .op_timeout_ms = 10000};
    for (size_t k = 0; k < KEYS; k++)
        snprintf(m->keys[k], sizeof(m->keys[k]), "p/%02zu", k);
    assert_int_equal(store_loop_new(&m->loop, NULL), 0);
    *state = m;
    return 0;
}

static int forget(void **state)
{
    struct memory *m = *state;
    store_loop_free(m->loop);
    assert_int_equal(m->running, 0);
    free(m);
    return 0;
}

static void give_up(struct memory *m, struct run *r)
{
    store_op_cancel(r->op);
    while (!r->done)
        assert_int_equal(store_loop_run(m->loop, 0, NULL), 0);
    assert_int_equal(r->err.code, STORE_CANCELED);
    assert_int_equal(m->running, 0);
}

static size_t left(const struct memory *m)
{
    size_t n = 0;
    for (size_t k = 0; k < KEYS; k++)
        n += !m->gone[k];
    return n;
}

static void pages_follow_each_other(void **state)
{
    struct memory *m = *state;
    struct run r = {0};
    assert_int_equal(run(&m->store, m->loop, "p/", NULL, &r), STORE_OK);
    assert_int_equal(left(m), 0);
    assert_int_equal(r.final.objects, KEYS);
    assert_int_equal(r.final.bytes, 2 * KEYS);
    assert_int_equal(r.final.pages, m->lists);
    assert_int_equal(r.final.server_time_s, 1001); /* of the first listing */
    assert_string_equal(r.cursor, "p/99");
    assert_int_equal(m->batches, KEYS / PAGE);
}

static void the_window_bounds_what_is_under_way(void **state)
{
    struct memory *m = *state;
    static const uint32_t windows[] = {1, 2, 3};
    for (size_t i = 0; i < LEN(windows); i++) {
        struct run r = {0};
        memset(m->gone, 0, sizeof(m->gone));
        m->most_running = 0;
        const struct store_delete_prefix_opts opts = {.batches_in_flight = windows[i]};
        assert_int_equal(run(&m->store, m->loop, "p/", &opts, &r), STORE_OK);
        assert_int_equal(left(m), 0);
        assert_in_range(m->most_running, 1, windows[i]);
    }
    struct run r = {0};
    memset(m->gone, 0, sizeof(m->gone));
    m->hold = true;
    begin(&m->store, m->loop, "p/", &(struct store_delete_prefix_opts){.batches_in_flight = 4}, &r);
    for (int i = 0; i < 50; i++)
        assert_int_equal(store_loop_run(m->loop, 0, NULL), 0);
    assert_int_equal(m->running, 4);
    assert_int_equal(m->n_held, 4);
    give_up(m, &r);
}

/* The second batch ends before the first: what is behind the cursor must be gone. */
static void the_cursor_waits_for_the_slowest(void **state)
{
    struct memory *m = *state;
    struct run r = {0};
    m->hold = true;
    begin(&m->store, m->loop, "p/", &(struct store_delete_prefix_opts){.batches_in_flight = 3}, &r);
    while (m->n_held < 3)
        assert_int_equal(store_loop_run(m->loop, 0, NULL), 0);
    release(m, 1);
    release(m, 2);
    for (int i = 0; i < 20; i++)
        assert_int_equal(store_loop_run(m->loop, 0, NULL), 0);
    assert_int_equal(r.progressed, 0);
    assert_int_equal(m->n_held, 3); /* and nothing more is listed meanwhile */
    release(m, 0);
    while (!r.progressed)
        assert_int_equal(store_loop_run(m->loop, 0, NULL), 0);
    assert_string_equal(r.cursor, "p/29");
    assert_int_equal(r.final.objects, 3 * PAGE);
    give_up(m, &r);
}

static void a_bound_cuts_within_a_page(void **state)
{
    struct memory *m = *state;
    static const struct {
        const char *end_before;
        size_t removed;
    } cases[] = {{"p/00", 0},  {"p/", 0},     {"", 0},      {"p/01", 1},    {"p/10", 10},
                 {"p/25", 25}, {"p/250", 26}, {"p/99", 99}, {"p/999", 100}, {"q", 100}};
    for (size_t i = 0; i < LEN(cases); i++) {
        struct run r = {0};
        memset(m->gone, 0, sizeof(m->gone));
        const struct store_delete_prefix_opts opts = {.end_before = cases[i].end_before};
        assert_int_equal(run(&m->store, m->loop, "p/", &opts, &r), STORE_OK);
        assert_int_equal(r.final.objects, cases[i].removed);
        assert_int_equal(left(m), KEYS - cases[i].removed);
    }
}

static void a_cursor_goes_on_behind_it(void **state)
{
    struct memory *m = *state;
    struct run r = {0};
    const struct store_delete_prefix_opts opts = {.cursor = "p/49", .end_before = "p/70"};
    assert_int_equal(run(&m->store, m->loop, "p/", &opts, &r), STORE_OK);
    assert_int_equal(r.final.objects, 20);
    assert_false(m->gone[49]);
    assert_true(m->gone[50]);
    assert_true(m->gone[69]);
    assert_false(m->gone[70]);
    assert_string_equal(r.cursor, "p/69");
    const struct store_delete_prefix_opts behind = {.cursor = "p/99"};
    assert_int_equal(run(&m->store, m->loop, "p/", &behind, &r), STORE_OK);
    assert_int_equal(r.final.objects, 0);
    assert_string_equal(r.cursor, "p/99"); /* it never goes back */
}

/* Stopped again and again, and resumed from its cursor, it removes everything once. */
static void stopped_and_resumed_it_ends(void **state)
{
    struct memory *m = *state;
    struct run r = {.stop_at_first = true};
    char cursor[STORE_MAX_KEY + 1] = "";
    uint64_t total = 0;
    unsigned runs = 0;
    do {
        const struct store_delete_prefix_opts opts = {.cursor = cursor, .batches_in_flight = 2};
        enum store_code code = run(&m->store, m->loop, "p/", &opts, &r);
        assert_true(code == STORE_CANCELED || left(m) == 0);
        assert_true(strcmp(r.cursor, cursor) > 0);
        for (size_t k = 0; k < KEYS; k++)
            assert_true(m->gone[k] || strcmp(m->keys[k], r.cursor) > 0);
        strcpy(cursor, r.cursor);
        total += r.final.objects;
        runs++;
    } while (left(m));
    assert_true(runs > 2);
    assert_int_equal(total, KEYS);
}

static void the_first_failure_ends_it_at_its_cursor(void **state)
{
    struct memory *m = *state;
    struct run r = {0};
    m->fail_batch = 4;
    const struct store_delete_prefix_opts opts = {.batches_in_flight = 3};
    assert_int_equal(run(&m->store, m->loop, "p/", &opts, &r), STORE_DENIED);
    assert_non_null(strstr(r.err.msg, "told to fail"));
    assert_string_equal(r.cursor, "p/29");
    assert_int_equal(r.final.objects, 30);
    assert_false(m->gone[30]);
    assert_int_equal(m->running, 0);

    memset(m->gone, 0, sizeof(m->gone));
    m->fail_batch = 0;
    m->fail_list = m->lists + 3;
    assert_int_equal(run(&m->store, m->loop, "p/", NULL, &r), STORE_DENIED);
    assert_string_equal(r.cursor, "p/19");
    assert_int_equal(left(m), KEYS - 20);
}

static void a_cancel_lets_nothing_run_on(void **state)
{
    struct memory *m = *state;
    struct run r = {0};
    begin(&m->store, m->loop, "p/", NULL, &r);
    give_up(m, &r);
    assert_int_equal(left(m), KEYS);

    r = (struct run){0};
    m->hold = true;
    begin(&m->store, m->loop, "p/", NULL, &r);
    while (m->n_held < 3)
        assert_int_equal(store_loop_run(m->loop, 0, NULL), 0);
    store_op_cancel(r.op); /* twice is once */
    give_up(m, &r);
    assert_int_equal(left(m), KEYS);
}

static void a_loop_that_goes_ends_it(void **state)
{
    struct memory *m = *state;
    struct run r = {0};
    m->hold = true;
    begin(&m->store, m->loop, "p/", NULL, &r);
    while (m->n_held < 3)
        assert_int_equal(store_loop_run(m->loop, 0, NULL), 0);
    store_loop_free(m->loop);
    m->loop = NULL;
    assert_true(r.done);
    assert_int_equal(r.err.code, STORE_CANCELED);
}

static void empty_pages_are_passed_over(void **state)
{
    struct memory *m = *state;
    struct run r = {0};
    m->listing = EMPTY_BEFORE;
    assert_int_equal(run(&m->store, m->loop, "p/", NULL, &r), STORE_OK);
    assert_int_equal(left(m), 0);
}

static void a_store_that_misbehaves_is_stopped(void **state)
{
    struct memory *m = *state;
    static const struct {
        int listing;
        const char *says;
    } cases[] = {{REPEATS, "repeats"}, {EMPTY_FOR_EVER, "empty pages"}, {STRAYS, "q/foreign"}};
    for (size_t i = 0; i < LEN(cases); i++) {
        struct run r = {0};
        m->listing = cases[i].listing;
        m->lists = m->batches = 0;
        memset(m->gone, 0, sizeof(m->gone));
        assert_int_equal(run(&m->store, m->loop, "p/", NULL, &r), STORE_CORRUPT);
        if (!strstr(r.err.msg, cases[i].says))
            fail_msg("'%s' in '%s'", cases[i].says, r.err.msg);
        assert_true(m->batches <= 1); /* only what was listed before it was noticed */
        assert_true(m->lists <= 1002);
    }
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define IN_MEMORY(test) cmocka_unit_test_setup_teardown(test, in_memory, forget)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(only_the_prefix_goes),
        IN_FOLDER(a_dry_run_removes_nothing),
        IN_FOLDER(the_blocking_face_does_the_same),
        IN_MEMORY(pages_follow_each_other),
        IN_MEMORY(the_window_bounds_what_is_under_way),
        IN_MEMORY(the_cursor_waits_for_the_slowest),
        IN_MEMORY(a_bound_cuts_within_a_page),
        IN_MEMORY(a_cursor_goes_on_behind_it),
        IN_MEMORY(stopped_and_resumed_it_ends),
        IN_MEMORY(the_first_failure_ends_it_at_its_cursor),
        IN_MEMORY(a_cancel_lets_nothing_run_on),
        IN_MEMORY(a_loop_that_goes_ends_it),
        IN_MEMORY(empty_pages_are_passed_over),
        IN_MEMORY(a_store_that_misbehaves_is_stopped),
    };
    return cmocka_run_group_tests_name("purge", tests, NULL, NULL);
}
