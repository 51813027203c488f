/* The guard against mass deletion, on a folder store. */
#include "tests/unit/file_fixture.h"

#include <sys/time.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "epufs/mass_guard.h"

static const struct mass_guard_conf three = {.max_tenants = 3, .window_s = 600};

static const char *tenant_of(unsigned n)
{
    static char id[ID_SIZE];
    snprintf(id, sizeof(id), "%032x", n);
    return id;
}

static bool held(struct fixture *f, unsigned n)
{
    struct store_err err;
    bool hold = true;
    if (mass_guard_now(f->s, f->loop, &three, tenant_of(n), &hold, &err) != 0)
        fail_msg("%s", err.msg);
    return hold;
}

static const char *path_of(struct fixture *f, unsigned n)
{
    char key[LAYOUT_KEY_SIZE], name[160];
    layout_guard(tenant_of(n), key);
    snprintf(name, sizeof(name), "%.150s%%o", key); /* libstore/file/path.c */
    return disk_path(f, name);
}

/* As if it had been let through so many seconds ago. */
static void make_old(struct fixture *f, unsigned n, int64_t age_s)
{
    struct timeval times[2] = {{.tv_sec = clock_real_s() - age_s}};
    times[1] = times[0];
    assert_int_equal(utimes(path_of(f, n), times), 0);
}

static bool is_counted(struct fixture *f, unsigned n)
{
    return access(path_of(f, n), F_OK) == 0;
}

static void so_many_go_through_and_no_more(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 0; n < 3; n++)
        assert_false(held(f, n));
    for (unsigned n = 3; n < 6; n++) {
        assert_true(held(f, n));
        assert_false(is_counted(f, n)); /* what is held takes no place */
    }
}

/* Its event comes again, or two janitors have it. */
static void who_was_let_through_is_so_again(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 0; n < 3; n++)
        assert_false(held(f, n));
    for (unsigned n = 0; n < 3; n++)
        assert_false(held(f, n));
    /* Also while one is just being counted that will be held. */
    const struct mass_guard_conf wider = {.max_tenants = 100, .window_s = 600};
    struct store_err err;
    bool hold = true;
    assert_int_equal(mass_guard_now(f->s, f->loop, &wider, tenant_of(9), &hold, &err), 0);
    assert_false(hold);
    assert_false(held(f, 1));
    assert_true(is_counted(f, 1));
    assert_true(held(f, 3));
}

static void what_is_older_than_the_window_does_not_count(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 0; n < 3; n++)
        assert_false(held(f, n));
    make_old(f, 1, 590);
    assert_true(held(f, 3));
    make_old(f, 1, 620);
    assert_false(held(f, 3));
    assert_false(is_counted(f, 1)); /* tidied up */
    assert_true(held(f, 1));        /* a new one now */
    make_old(f, 0, 620);
    assert_false(held(f, 0)); /* counts anew, with a new time */
    assert_true(held(f, 1));
    make_old(f, 2, 620);
    make_old(f, 0, 620);
    make_old(f, 3, 620);
    assert_false(held(f, 1));
    assert_false(held(f, 2));
    assert_false(held(f, 4));
    assert_true(held(f, 0));
    assert_true(held(f, 3));
}

static void an_old_one_of_ours_is_held_when_there_are_too_many(void **state)
{
    struct fixture *f = *state;
    assert_false(held(f, 0));
    make_old(f, 0, 620);
    for (unsigned n = 1; n < 4; n++)
        assert_false(held(f, n));
    assert_true(held(f, 0));
}

/* ---- Several at once ---- */

struct asked {
    bool over, hold;
    enum store_code code;
};

static void on_asked(void *user, const struct store_err *err, bool hold)
{
    *(struct asked *)user = (struct asked){true, hold, err->code};
}

static void of_many_at_once_no_more_than_so_many_go_through(void **state)
{
    struct fixture *f = *state;
    struct asked asked[20] = {{0}};
    unsigned through = 0;
    for (unsigned n = 0; n < LEN(asked); n++)
        assert_non_null(
            mass_guard_start(f->s, f->loop, &three, tenant_of(n), on_asked, &asked[n], NULL));
    for (unsigned n = 0; n < LEN(asked); n++) {
        while (!asked[n].over)
            assert_int_equal(store_loop_run(f->loop, -1, NULL), 0);
        assert_int_equal(asked[n].code, STORE_OK);
        through += !asked[n].hold;
    }
    assert_true(through <= 3);
    /* Those that were held have left no trace. */
    for (unsigned n = 100; through < 3; n++, through++)
        assert_false(held(f, n));
    assert_true(held(f, 99));
}

static void one_that_nobody_waits_for_ends(void **state)
{
    struct fixture *f = *state;
    struct asked asked = {0};
    mass_guard_cancel(
        mass_guard_start(f->s, f->loop, &three, tenant_of(0), on_asked, &asked, NULL));
    for (unsigned n = 1; n < 5; n++)
        held(f, n);
    assert_false(asked.over);
}

static void what_the_store_refuses_is_told(void **state)
{
    struct fixture *f = *state;
    struct store_err err = {0};
    bool hold;
    FILE *file = fopen(disk_path(f, "guard"), "w"); /* where a folder should be */
    assert_non_null(file);
    fclose(file);
    assert_int_equal(mass_guard_now(f->s, f->loop, &three, tenant_of(0), &hold, &err), -1);
    assert_true(err.code != STORE_OK && *err.msg);
}

static void it_minds_tenants_only(void **state)
{
    (void)state;
    const struct mass_guard_conf off = {.window_s = 600};
    struct deletion d = {.scope.kind = SCOPE_TENANT};
    assert_true(mass_guard_minds(&three, &d));
    assert_false(mass_guard_minds(&off, &d));
    d.dry_run = true;
    assert_false(mass_guard_minds(&three, &d));
    d = (struct deletion){.scope.kind = SCOPE_TIMELINE};
    assert_false(mass_guard_minds(&three, &d));
    mass_guard_hold(&three, &d);
    assert_int_equal(d.state, DELETION_HELD);
    assert_string_equal(d.note,
                        "held by the guard: 3 other tenants were to be deleted within 600s");
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(so_many_go_through_and_no_more),
        IN_FOLDER(who_was_let_through_is_so_again),
        IN_FOLDER(what_is_older_than_the_window_does_not_count),
        IN_FOLDER(an_old_one_of_ours_is_held_when_there_are_too_many),
        IN_FOLDER(of_many_at_once_no_more_than_so_many_go_through),
        IN_FOLDER(one_that_nobody_waits_for_ends),
        IN_FOLDER(what_the_store_refuses_is_told),
        cmocka_unit_test(it_minds_tenants_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
