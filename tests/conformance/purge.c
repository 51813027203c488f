/* Deletion of everything below a prefix. */
#include "tests/conformance/conformance.h"

#include <inttypes.h>
#include <stdlib.h>

static const char *const neighbours[] = {"o/k", "p-x/k", "p0/k", "pp/k", "P/k", "q"};

static uint64_t bytes_of(const char *const *keys, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += strlen(keys[i]);
    return sum;
}

static void counted(struct result *r, uint64_t objects, uint64_t bytes, uint64_t kept)
{
    const struct store_progress *p = &r->progress;
    EXPECT(r->t, p->objects == objects && p->bytes == bytes && p->kept == kept,
           "%s: expected %" PRIu64 " objects of %" PRIu64 " bytes and %" PRIu64
           " kept, came %" PRIu64 ", %" PRIu64 " and %" PRIu64,
           r->what, objects, bytes, kept, p->objects, p->bytes, p->kept);
    EXPECT(r->t, p->server_time_s > 0 && p->pages > 0, "%s: expected a clock and pages", r->what);
}

static void a_prefix_is_removed_and_counted_exactly(struct test *t)
{
    enum { KEYS = 2500 };
    const char *const *keys = t_numbered(t, "p/", KEYS, 7);
    t_put_keys(t, keys, KEYS);
    t_put_keys(t, neighbours, LEN(neighbours));
    const struct store_delete_prefix_opts dry = {.dry_run = true};
    counted(t_ok(t_purge(t, "p/", &dry)), KEYS, bytes_of(keys, KEYS), 0);
    t_has_keys(t, "p/", keys, KEYS);
    struct result *r = t_ok(t_purge(t, "p/", NULL));
    counted(r, KEYS, bytes_of(keys, KEYS), 0);
    EXPECT(t, r->n_progress > 0, "%s: expected progress", r->what);
    t_has_keys(t, "", neighbours, LEN(neighbours));
}

static void a_flat_prefix_is_removed(struct test *t)
{
    enum { KEYS = 1200 };
    const char *const *keys = t_numbered(t, "p/", KEYS, 0);
    t_put_keys(t, keys, KEYS);
    t_put_keys(t, neighbours, LEN(neighbours));
    counted(t_ok(t_purge(t, "p/", NULL)), KEYS, bytes_of(keys, KEYS), 0);
    t_has_keys(t, "", neighbours, LEN(neighbours));
}

static void an_empty_prefix_is_no_error(struct test *t)
{
    t_put_keys(t, neighbours, LEN(neighbours));
    struct result *r = t_ok(t_purge(t, "p/", NULL));
    counted(r, 0, 0, 0);
    t_has_keys(t, "", neighbours, LEN(neighbours));
}

/* All that is listed, above the cursor. */
static size_t left_above(struct test *t, const char *cursor)
{
    struct result *left = t_list_all(t, "p/", NULL);
    EXPECT(t, left->n == 0 || strcmp(left->entries[0].key, cursor) > 0,
           "expected everything up to the cursor %s to be gone, but %s is there",
           t_shown(t, cursor), left->n ? t_shown(t, left->entries[0].key) : "");
    return left->n;
}

static void a_run_that_is_stopped_goes_on_at_its_cursor(struct test *t)
{
    enum { KEYS = 2100, MAX_RUNS = 50 };
    const char *const *keys = t_numbered(t, "p/", KEYS, 5);
    struct store_delete_prefix_opts opts = {.batches_in_flight = 1, .listings_in_flight = 1};
    uint64_t objects = 0;
    unsigned runs = 0;
    t_put_keys(t, keys, KEYS);
    for (struct result *r;; runs++) {
        EXPECT(t, runs < MAX_RUNS, "expected an end within %d runs", MAX_RUNS);
        r = t_wait(t_purge_start(t, "p/", &opts, 1));
        size_t left = left_above(t, r->progress.cursor);
        objects += r->progress.objects;
        EXPECT(t, objects + left == KEYS, "%s: expected to count what is gone, %zu, came %" PRIu64,
               r->what, KEYS - left, objects);
        if (left == 0)
            break;
        t_code(r, STORE_CANCELED);
        EXPECT(t, r->n_progress == 1, "%s: expected a stop at once, came %u more call-backs",
               r->what, r->n_progress - 1);
        opts.cursor = r->progress.cursor;
    }
    EXPECT(t, runs > 0, "expected the first run to be stopped before its end");
}

static void many_batches_side_by_side_keep_the_cursor_true(struct test *t)
{
    enum { KEYS = 2000 };
    const char *const *keys = t_numbered(t, "p/", KEYS, 11);
    const struct store_delete_prefix_opts opts = {.batches_in_flight = 8, .listings_in_flight = 8};
    t_put_keys(t, keys, KEYS);
    struct result *r = t_wait(t_purge_start(t, "p/", &opts, 1));
    left_above(t, r->progress.cursor);
    struct store_delete_prefix_opts rest = {.cursor = r->progress.cursor};
    t_ok(t_purge(t, "p/", &rest));
    t_empty(t, "p/");
}

static void a_run_ends_before_a_key(struct test *t)
{
    enum { KEYS = 300 };
    const char *const *keys = t_numbered(t, "p/", KEYS, 3);
    const char **sorted = t_alloc(t, KEYS * sizeof(*sorted));
    t_put_keys(t, keys, KEYS);
    struct result *all = t_list_all(t, "p/", NULL);
    for (size_t i = 0; i < KEYS; i++)
        sorted[i] = all->entries[i].key;
    const struct store_delete_prefix_opts tail = {.cursor = sorted[199]};
    counted(t_ok(t_purge(t, "p/", &tail)), 100, bytes_of(sorted + 200, 100), 0);
    t_has_keys(t, "p/", sorted, 200);
    const struct store_delete_prefix_opts head = {.end_before = sorted[50]};
    counted(t_ok(t_purge(t, "p/", &head)), 50, bytes_of(sorted, 50), 0);
    t_has_keys(t, "p/", sorted + 50, 150);
    const struct store_delete_prefix_opts both = {.cursor = sorted[99], .end_before = sorted[150]};
    counted(t_ok(t_purge(t, "p/", &both)), 50, bytes_of(sorted + 100, 50), 0);
    const struct store_delete_prefix_opts none = {.cursor = sorted[160], .end_before = sorted[155]};
    counted(t_ok(t_purge(t, "p/", &none)), 0, 0, 0);
    EXPECT(t, t_list_all(t, "p/", NULL)->n == 100, "expected 100 keys to be left");
}

static void objects_from_a_moment_on_are_kept(struct test *t)
{
    static const char *const old[] = {"p/1", "p/x/1", "p/x/2"}, *const new[] = {"p/2", "p/x/3"};
    t_put_keys(t, old, LEN(old));
    t_run(t, t->loop, 2100); /* listings tell whole seconds */
    t_put_keys(t, new, LEN(new));
    int64_t moment_s = t_ok(t_head(t, new[0]))->info.modified_s;
    const struct store_delete_prefix_opts before = {.modified_before_s = moment_s};
    counted(t_ok(t_purge(t, "p/", &before)), LEN(old), bytes_of(old, LEN(old)), LEN(new));
    t_has_keys(t, "p/", new, LEN(new));
    const struct store_delete_prefix_opts long_ago = {.modified_before_s = 1};
    counted(t_ok(t_purge(t, "p/", &long_ago)), 0, 0, LEN(new));
    t_has_keys(t, "p/", new, LEN(new));
    const struct store_delete_prefix_opts later = {.modified_before_s = moment_s + 3600};
    counted(t_ok(t_purge(t, "p/", &later)), LEN(new), bytes_of(new, LEN(new)), 0);
    t_empty(t, "");
}

static void odd_keys_below_a_prefix_are_removed(struct test *t)
{
    static const char *const keys[] = {
        "p/a b",  "p/a+b", "p/a%b",   "p/a&<b>\"'", "p/\xc3\xa9/x", "p/\xf0\x9f\x98\x80",
        "p/a\\b", "p/.x",  "p/..x/y", "p/ /x",      "p/%41",        "p/~",
        "p/a%2Fb"};
    t_put_keys(t, keys, LEN(keys));
    counted(t_ok(t_purge(t, "p/", NULL)), LEN(keys), bytes_of(keys, LEN(keys)), 0);
    t_empty(t, "");
}

static void control_characters_below_a_prefix_are_removed(struct test *t)
{
    static const char *const keys[] = {"p/c\x01", "p/c\n", "p/c\x7f/\r", "p/plain"};
    const char *taken[LEN(keys)];
    size_t n = 0;
    for (size_t i = 0; i < LEN(keys); i++) /* as in keys.c: servers may refuse them */
        if (t_put(t, keys[i], keys[i], strlen(keys[i]), NULL)->err.code == STORE_OK)
            taken[n++] = keys[i];
    counted(t_ok(t_purge(t, "p/", NULL)), n, bytes_of(taken, n), 0);
    t_empty(t, "");
}

static void an_odd_prefix_is_removed(struct test *t)
{
    static const char *const odd[] = {
        "a b/", "a+b/", "a%b/", "a&b/", "\xc3\xa9/", "a%2Fb/", "x/\xf0\x9f\x98\x80/",
        "a\\/", "a</",  "a'\"/"};
    for (size_t i = 0; i < LEN(odd); i++) {
        const char *keys[] = {t_printf(t, "%sk", odd[i]), t_printf(t, "%sd/k", odd[i])};
        t_put_keys(t, keys, LEN(keys));
    }
    for (size_t i = 0; i < LEN(odd); i++) {
        struct result *r = t_ok(t_purge(t, odd[i], NULL));
        counted(r, 2, 2 * strlen(odd[i]) + 4, 0);
    }
    t_empty(t, "");
}

static void a_canceled_run_can_be_repeated(struct test *t)
{
    enum { KEYS = 1100 };
    const char *const *keys = t_numbered(t, "p/", KEYS, 3);
    t_put_keys(t, keys, KEYS);
    struct result *at_once = t_purge_start(t, "p/", NULL, 0);
    store_op_cancel(at_once->op);
    t_code(t_wait(at_once), STORE_CANCELED);
    for (int ms = 1; ms <= 27; ms *= 3) {
        struct result *r = t_purge_start(t, "p/", NULL, 0);
        t_run(t, t->loop, ms);
        if (!r->n_done)
            store_op_cancel(r->op);
        t_wait(r);
        if (r->err.code != STORE_OK)
            t_code(r, STORE_CANCELED);
        left_above(t, r->progress.cursor);
    }
    t_ok(t_purge(t, "p/", NULL));
    t_empty(t, "");
}

static void two_runs_side_by_side_succeed(struct test *t)
{
    const char *const *keys = t_numbered(t, "p/", 300, 3);
    t_put_keys(t, keys, 300);
    struct result *a = t_purge_start(t, "p/", NULL, 0), *b = t_purge_start(t, "p/", NULL, 0);
    t_ok(t_wait(a));
    t_ok(t_wait(b));
    t_empty(t, "");
}

static const struct test_case cases[] = {
    CASE(a_prefix_is_removed_and_counted_exactly),
    CASE(a_flat_prefix_is_removed),
    CASE(an_empty_prefix_is_no_error),
    CASE(a_run_that_is_stopped_goes_on_at_its_cursor),
    CASE(many_batches_side_by_side_keep_the_cursor_true),
    CASE(a_run_ends_before_a_key),
    CASE(objects_from_a_moment_on_are_kept),
    CASE(odd_keys_below_a_prefix_are_removed),
    CASE(control_characters_below_a_prefix_are_removed),
    CASE(an_odd_prefix_is_removed),
    CASE(a_canceled_run_can_be_repeated),
    CASE(two_runs_side_by_side_succeed),
};
const struct test_group purge_group = {"prefix", cases, LEN(cases)};
