/* Tombstones go at their end, and not a moment before, whoever comes at that moment. */
#include "tests/unit/file_fixture.h"

#include "base/clock.h"
#include "base/xalloc.h"
#include "epufs/deletion.h"
#include "epufs/reap.h"
#include "libstore/op.h"

#define T  "0123456789abcdef0123456789abcdef"
#define TL "fedcba9876543210fedcba9876543210"

static struct deletion of(enum scope_kind kind, int64_t expire_by_s)
{
    struct deletion d = {.scope = {.kind = kind, .tenant = T}, .tokens_expire_by_s = expire_by_s};
    if (kind != SCOPE_TENANT)
        strcpy(d.scope.timeline, TL);
    if (kind == SCOPE_ENDPOINT) {
        strcpy(d.scope.endpoint, "ep-1");
        d.has_upto_gen = true;
        d.upto_gen = 7;
    }
    deletion_set_job_id(&d);
    return d;
}

static bool has(struct fixture *f, const char *key)
{
    return store_sync_head(f->s, f->loop, key, NULL, NULL) == 0;
}

/* As after a deletion that ended. */
static void leave_tombstone(struct fixture *f, struct deletion *d, char key[LAYOUT_KEY_SIZE])
{
    enum acceptance how;
    struct store_err err;
    layout_tombstone(&d->scope, d->upto_gen, key);
    assert_int_equal(deletion_accept(f->s, f->loop, d, &how, NULL, &err), 0);
    assert_int_equal(deletion_forget_intent(f->s, f->loop, d, &err), 0);
    assert_true(has(f, key));
}

static bool reap(struct fixture *f, const char *key, uint32_t grace_s)
{
    bool removed;
    struct store_err err = {0};
    if (reap_tombstone(f->s, f->loop, key, grace_s, &removed, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(has(f, key), !removed);
    assert_int_equal(count_keys(f, LAYOUT_INTENTS), 0); /* the lock is gone */
    return removed;
}

static void a_tombstone_goes_at_its_end(void **state)
{
    struct fixture *f = *state;
    char key[LAYOUT_KEY_SIZE];
    for (int kind = SCOPE_TENANT; kind <= SCOPE_ENDPOINT; kind++) {
        struct deletion d = of((enum scope_kind)kind, clock_real_s() - 100);
        leave_tombstone(f, &d, key);
        assert_false(reap(f, key, 200)); /* in its grace */
        assert_true(reap(f, key, 50));
        assert_false(has(f, key));
    }
}

static void what_has_no_end_or_one_to_come_stays(void **state)
{
    struct fixture *f = *state;
    char key[LAYOUT_KEY_SIZE];
    struct deletion ever = of(SCOPE_TENANT, 0), later = of(SCOPE_ENDPOINT, clock_real_s() + 100);
    leave_tombstone(f, &ever, key);
    assert_false(reap(f, key, 0));
    leave_tombstone(f, &later, key);
    assert_false(reap(f, key, 0));
    static const char *const damaged[] = {"", "{", "[1]", "{\"tokens_expire_by\":5}",
                                          "{\"tokens_expire_by\":\"soon\"}"};
    for (size_t i = 0; i < LEN(damaged); i++) {
        assert_int_equal(put_text(f, key, damaged[i]), STORE_OK);
        assert_false(reap(f, key, 0));
    }
    assert_int_equal(put_text(f, "tombstones/other/x", "{}"), STORE_OK);
    assert_false(reap(f, "tombstones/other/x", 0));
}

static void while_its_deletion_is_open_it_stays(void **state)
{
    struct fixture *f = *state;
    char key[LAYOUT_KEY_SIZE];
    struct deletion d = of(SCOPE_ENDPOINT, clock_real_s() - 100);
    enum acceptance how;
    struct store_err err;
    bool removed;
    leave_tombstone(f, &d, key);
    assert_int_equal(deletion_accept(f->s, f->loop, &d, &how, NULL, &err), 0);
    assert_int_equal(reap_tombstone(f->s, f->loop, key, 0, &removed, &err), 0);
    assert_false(removed);
    assert_true(has(f, key));
    assert_true(deletion_is_open(f->s, f->loop, d.job_id)); /* its intent was no lock of ours */
}

/* ---- Those who come at that moment ---- */

/* The folder store, but that something happens before one of its requests. */
static struct {
    enum op_kind kind;
    const char *begins; /* the key */
    unsigned after;     /* so many requests of the kind */
    void (*happens)(void);
} moment;
static struct fixture *world;
static struct deletion renewed;

static void start_with_moment(void *state, struct store_op *op)
{
    if (moment.happens && op->kind == moment.kind && op->key &&
        strncmp(op->key, moment.begins, strlen(moment.begins)) == 0 && moment.after-- == 0) {
        void (*happens)(void) = moment.happens;
        moment.happens = NULL;
        happens();
    }
    file_driver.start(state, op);
}

static void watch(struct fixture *f, struct driver *d)
{
    world = f;
    *d = file_driver;
    d->start = start_with_moment;
    f->s->driver = d;
}

/* On a loop of its own: the other process. */
static int accept_elsewhere(void)
{
    store_loop *loop;
    enum acceptance how;
    struct store_err err = {0};
    assert_int_equal(store_loop_new(&loop, &err), 0);
    struct deletion d = renewed;
    int rc = deletion_accept(world->s, loop, &d, &how, NULL, &err);
    store_loop_free(loop);
    return rc == 0 ? 0 : (int)err.code;
}

static void accept_is_kept_out(void)
{
    assert_int_equal(accept_elsewhere(), STORE_BUSY);
}

/* Behind the lock, before the removal: it must wait, and finds its tombstone afterwards. */
static void who_accepts_it_anew_meanwhile_waits(void **state)
{
    struct fixture *f = *state;
    struct driver d;
    char key[LAYOUT_KEY_SIZE];
    struct deletion old = of(SCOPE_ENDPOINT, clock_real_s() - 100);
    renewed = of(SCOPE_ENDPOINT, clock_real_s() + 1000);
    leave_tombstone(f, &old, key);
    watch(f, &d);
    moment.kind = OP_DELETE;
    moment.begins = LAYOUT_TOMBSTONES;
    moment.after = 0;
    moment.happens = accept_is_kept_out;
    assert_true(reap(f, key, 0));
    assert_null(moment.happens);
    assert_int_equal(accept_elsewhere(), 0);
    assert_true(has(f, key));
    f->s->driver = &file_driver;
}

static void remove_after_an_old_look(void)
{
    char key[LAYOUT_KEY_SIZE];
    store_loop *loop;
    struct store_err err;
    layout_tombstone(&renewed.scope, renewed.upto_gen, key);
    assert_int_equal(store_loop_new(&loop, &err), 0);
    assert_int_equal(store_sync_delete(world->s, loop, key, &err), 0);
    store_loop_free(loop);
}

/* The tombstone was made to last longer, and removed by who had looked before, and then the intent
 * stood: the acceptor looks again. */
static void who_made_it_last_longer_looks_again(void **state)
{
    struct fixture *f = *state;
    struct driver d;
    char key[LAYOUT_KEY_SIZE];
    struct deletion old = of(SCOPE_ENDPOINT, clock_real_s() - 100);
    renewed = of(SCOPE_ENDPOINT, clock_real_s() + 1000);
    leave_tombstone(f, &old, key);
    watch(f, &d);
    moment.kind = OP_PUT;
    moment.begins = LAYOUT_INTENTS;
    moment.after = 0;
    moment.happens = remove_after_an_old_look;
    assert_int_equal(accept_elsewhere(), 0);
    assert_null(moment.happens);
    assert_true(has(f, key));
    f->s->driver = &file_driver;
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_tombstone_goes_at_its_end),
        IN_FOLDER(what_has_no_end_or_one_to_come_stays),
        IN_FOLDER(while_its_deletion_is_open_it_stays),
        IN_FOLDER(who_accepts_it_anew_meanwhile_waits),
        IN_FOLDER(who_made_it_last_longer_looks_again),
    };
    return cmocka_run_group_tests_name("reap", tests, NULL, NULL);
}
