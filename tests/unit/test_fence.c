/* The tombstone check, on a folder store, and on a backend of this test's own that fails. */
#include "tests/unit/file_fixture.h"

#include "base/xalloc.h"
#include "epufs/fence.h"
#include "libstore/op.h"

#define T     "0123456789abcdef0123456789abcdef"
#define OTHER "00000000000000000000000000000001"
#define TL    "fedcba9876543210fedcba9876543210"

static const struct scope tenant = {.kind = SCOPE_TENANT, .tenant = T};
static const struct scope timeline = {.kind = SCOPE_TIMELINE, .tenant = T, .timeline = TL};

static struct scope endpoint_named(const char *name)
{
    struct scope s = {.kind = SCOPE_ENDPOINT, .tenant = T, .timeline = TL};
    snprintf(s.endpoint, sizeof(s.endpoint), "%s", name);
    return s;
}

/* ---- One check ---- */

struct checked {
    unsigned times;
    struct store_err err;
    struct fence_verdict verdict;
};

static void on_checked(void *user, const struct store_err *err, const struct fence_verdict *v)
{
    struct checked *c = user;
    c->times++;
    c->err = *err;
    c->verdict = *v;
}

static struct checked check(store *s, store_loop *loop, const struct scope *ep, uint64_t gen)
{
    struct checked c = {0};
    struct store_err err = {0};
    if (!fence_start(s, loop, ep, gen, 0, on_checked, &c, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(c.times, 0);
    while (!c.times)
        assert_int_equal(store_loop_run(loop, -1, NULL), 0);
    assert_int_equal(store_loop_run(loop, 0, NULL), 0);
    assert_int_equal(c.times, 1);
    return c;
}

static void assert_free(struct fixture *f, const char *name, uint64_t gen)
{
    const struct scope ep = endpoint_named(name);
    struct checked c = check(f->s, f->loop, &ep, gen);
    if (c.err.code != STORE_OK || c.verdict.deleted)
        fail_msg("%s %llu: %s", name, (unsigned long long)gen, c.err.msg);
    assert_true(c.verdict.server_time_s > 0);
}

static void assert_fenced(struct fixture *f, const char *name, uint64_t gen, enum scope_kind by)
{
    const struct scope ep = endpoint_named(name);
    struct checked c = check(f->s, f->loop, &ep, gen);
    if (c.err.code != STORE_OK || !c.verdict.deleted)
        fail_msg("%s %llu is free: %s", name, (unsigned long long)gen, c.err.msg);
    assert_int_equal(c.verdict.by, by);
    assert_true(c.verdict.server_time_s > 0);
}

static void set_tombstone(struct fixture *f, const struct scope *s, uint64_t gen)
{
    char key[LAYOUT_KEY_SIZE];
    layout_tombstone(s, gen, key);
    assert_int_equal(put_text(f, key, "{}"), STORE_OK);
}

/* ---- On a folder ---- */

static void without_a_tombstone_all_is_free(void **state)
{
    struct fixture *f = *state;
    assert_free(f, "ep-1", 0);
    assert_free(f, "ep-1", UINT64_MAX);
}

static void a_generation_is_fenced_with_all_below_it(void **state)
{
    struct fixture *f = *state;
    const struct scope ep = endpoint_named("ep-1");
    set_tombstone(f, &ep, 7);
    assert_fenced(f, "ep-1", 0, SCOPE_ENDPOINT);
    assert_fenced(f, "ep-1", 6, SCOPE_ENDPOINT);
    assert_fenced(f, "ep-1", 7, SCOPE_ENDPOINT);
    assert_free(f, "ep-1", 8);
    assert_free(f, "ep-1", UINT64_MAX);
}

static void the_highest_tombstone_counts(void **state)
{
    struct fixture *f = *state;
    static const uint64_t gens[] = {3, 300, 20, 0};
    const struct scope ep = endpoint_named("ep-1");
    for (size_t i = 0; i < LEN(gens); i++)
        set_tombstone(f, &ep, gens[i]);
    assert_fenced(f, "ep-1", 300, SCOPE_ENDPOINT);
    assert_fenced(f, "ep-1", 299, SCOPE_ENDPOINT);
    assert_free(f, "ep-1", 301);
}

static void the_ends_of_the_range_are_fenced(void **state)
{
    struct fixture *f = *state;
    const struct scope low = endpoint_named("low"), high = endpoint_named("high");
    set_tombstone(f, &low, 0);
    assert_fenced(f, "low", 0, SCOPE_ENDPOINT);
    assert_free(f, "low", 1);
    set_tombstone(f, &high, UINT64_MAX);
    assert_fenced(f, "high", UINT64_MAX, SCOPE_ENDPOINT);
    assert_fenced(f, "high", 0, SCOPE_ENDPOINT);
}

static void a_name_that_begins_alike_is_free(void **state)
{
    struct fixture *f = *state;
    const struct scope ep = endpoint_named("ep-1");
    set_tombstone(f, &ep, UINT64_MAX);
    assert_free(f, "ep-10", 0);
    assert_free(f, "ep-", 0);
    assert_free(f, "Ep-1", 0);
    assert_free(f, "ep-1-", 0);
    assert_fenced(f, "ep-1", 0, SCOPE_ENDPOINT);
}

/* Whole timelines and tenants have no generations; the widest explains the others. */
static void the_widest_tombstone_is_told(void **state)
{
    struct fixture *f = *state;
    const struct scope ep = endpoint_named("ep-1");
    set_tombstone(f, &ep, 5);
    set_tombstone(f, &timeline, 0);
    assert_fenced(f, "ep-1", 5, SCOPE_TIMELINE);
    assert_fenced(f, "ep-1", UINT64_MAX, SCOPE_TIMELINE);
    assert_fenced(f, "ep-2", 0, SCOPE_TIMELINE);
    set_tombstone(f, &tenant, 0);
    assert_fenced(f, "ep-1", 5, SCOPE_TENANT);
    assert_fenced(f, "ep-2", UINT64_MAX, SCOPE_TENANT);
}

static void other_tenants_are_free(void **state)
{
    struct fixture *f = *state;
    const struct scope other = {.kind = SCOPE_TENANT, .tenant = OTHER};
    const struct scope sibling = {.kind = SCOPE_TIMELINE, .tenant = T, .timeline = OTHER};
    set_tombstone(f, &other, 0);
    set_tombstone(f, &sibling, 0);
    assert_free(f, "ep-1", 0);
}

static void a_tombstone_that_cannot_be_read_is_no_answer(void **state)
{
    struct fixture *f = *state;
    const struct scope ep = endpoint_named("ep-1");
    char key[LAYOUT_KEY_SIZE];
    layout_tombstones(&ep, key);
    strcat(key, "0-garbage");
    assert_int_equal(put_text(f, key, ""), STORE_OK);
    assert_int_equal(check(f->s, f->loop, &ep, 0).err.code, STORE_CORRUPT);
}

static void a_canceled_check_says_nothing(void **state)
{
    struct fixture *f = *state;
    const struct scope ep = endpoint_named("ep-1");
    struct checked c = {0};
    struct fence_check *check = fence_start(f->s, f->loop, &ep, 0, 0, on_checked, &c, NULL);
    assert_non_null(check);
    fence_cancel(check);
    for (int i = 0; i < 5; i++)
        run_round(f);
    check = fence_start(f->s, f->loop, &ep, 0, 0, on_checked, &c, NULL);
    fence_cancel(check);
    store_loop_free(f->loop);
    f->loop = NULL;
    assert_int_equal(c.times, 0);
}

/* ---- On a backend that fails ---- */

struct broken {
    struct store store; /* first */
    store_loop *loop;
    int fail_number; /* which of the three requests misbehaves: 0, 1, 2 */
    enum { REFUSES, HAS_NO_CLOCK, EMPTY_PAGE, TOMBSTONE } how;
    int n;
    struct answer {
        struct broken *b;
        struct store_op *op;
        struct loop_task task;
        int number;
    } answers[3];
};

static void give_answer(void *user)
{
    struct answer *a = user;
    bool odd = a->number == a->b->fail_number;
    struct store_info info = {.etag = "", .content_type = "", .server_time_s = 1000 - a->number};
    struct store_err err = {0};
    if (odd && a->b->how == HAS_NO_CLOCK)
        info.server_time_s = 0;
    if (a->op->kind == OP_LIST)
        op_page(a->op, NULL, 0, odd && a->b->how == EMPTY_PAGE ? "more" : NULL, 0);
    else if (!odd || a->b->how != TOMBSTONE)
        store_err_set(&err, STORE_NOT_FOUND, "none");
    if (odd && a->b->how == REFUSES)
        store_err_set(&err, STORE_BUSY, "told to fail");
    op_finish(a->op, &err, &info);
}

static void broken_start(void *state, struct store_op *op)
{
    struct broken *b = state;
    struct answer *a = &b->answers[b->n];
    *a = (struct answer){b, op, {.fn = give_answer, .user = a}, b->n++};
    loop_defer(op->loop, &a->task);
}

static const struct driver broken_driver = {.scheme = "broken", .start = broken_start};

static struct checked check_broken(int fail_number, int how)
{
    struct broken b = {.store = {.driver = &broken_driver,
                                 .within = "",
                                 .max_key = STORE_MAX_KEY,
                                 .op_timeout_ms = 10000},
                       .fail_number = fail_number,
                       .how = how};
    const struct scope ep = endpoint_named("ep-1");
    b.store.state = &b;
    assert_int_equal(store_loop_new(&b.loop, NULL), 0);
    struct checked c = check(&b.store, b.loop, &ep, 5);
    store_loop_free(b.loop);
    return c;
}

static void whatever_fails_is_no_answer(void **state)
{
    (void)state;
    for (int number = 0; number < 3; number++) {
        assert_int_equal(check_broken(number, REFUSES).err.code, STORE_BUSY);
        assert_int_equal(check_broken(number, HAS_NO_CLOCK).err.code, STORE_FAILED);
    }
    assert_int_equal(check_broken(0, EMPTY_PAGE).err.code, STORE_CORRUPT);
}

static void an_upload_s_time_counts_from_the_earliest_answer(void **state)
{
    (void)state;
    struct checked c = check_broken(-1, REFUSES);
    assert_int_equal(c.err.code, STORE_OK);
    assert_false(c.verdict.deleted);
    assert_int_equal(c.verdict.server_time_s, 998);
    c = check_broken(1, TOMBSTONE);
    assert_true(c.verdict.deleted);
    assert_int_equal(c.verdict.by, SCOPE_TIMELINE);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(without_a_tombstone_all_is_free),
        IN_FOLDER(a_generation_is_fenced_with_all_below_it),
        IN_FOLDER(the_highest_tombstone_counts),
        IN_FOLDER(the_ends_of_the_range_are_fenced),
        IN_FOLDER(a_name_that_begins_alike_is_free),
        IN_FOLDER(the_widest_tombstone_is_told),
        IN_FOLDER(other_tenants_are_free),
        IN_FOLDER(a_tombstone_that_cannot_be_read_is_no_answer),
        IN_FOLDER(a_canceled_check_says_nothing),
        cmocka_unit_test(whatever_fails_is_no_answer),
        cmocka_unit_test(an_upload_s_time_counts_from_the_earliest_answer),
    };
    return cmocka_run_group_tests_name("fence", tests, NULL, NULL);
}
