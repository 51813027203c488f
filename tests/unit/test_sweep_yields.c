/* How a deletion asks libstore to remove its prefix, on a fake store. */
#include "tests/unit/fake_store.h"

#include "base/xalloc.h"
#include "epufs/deletion.h"

enum { KEYS = 50 };

/* Whoever else asks a busy store for something must not wait behind all batches of a deletion. */
static void a_sweep_yields(void **state)
{
    static const struct store_delete_prefix_cb cb = {removal_progress, removal_done};
    struct fake *f = *state;
    struct deletion d = {.scope = {.kind = SCOPE_TENANT}};
    const struct sweep_how how = {.sweep = SWEEP_LATER};
    char prefix[LAYOUT_KEY_SIZE], key[LAYOUT_KEY_SIZE + 8];
    struct removal r = {0};
    struct store_err err;
    memset(d.scope.tenant, 'a', 32);
    layout_scope(&d.scope, prefix);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "%s%02d", prefix, i);
        fake_put(&f->objects, key, "");
    }
    f->hold_batches = true;
    r.op = deletion_sweep_start(&f->store, f->loop, &d, &how, &cb, &r, &err);
    assert_non_null(r.op);
    for (int i = 0; i < 50; i++)
        assert_int_equal(store_loop_run(f->loop, 0, NULL), 0);
    assert_int_equal(f->n_held, 1);
    f->hold_batches = false;
    fake_release(f, 0);
    while (!r.done)
        assert_int_equal(store_loop_run(f->loop, -1, NULL), 0);
    assert_int_equal(r.err.code, STORE_OK);
    assert_int_equal(fake_left(&f->objects), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sweep_yields, fake_setup, fake_teardown),
    };
    return cmocka_run_group_tests_name("sweep_yields", tests, NULL, NULL);
}
