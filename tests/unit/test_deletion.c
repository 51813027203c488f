/* The deletion protocol's steps on a folder store. */
#include "tests/unit/file_fixture.h"

#include <jansson.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "epufs/deletion.h"
#include "libstore/op.h"

#define T  "0123456789abcdef0123456789abcdef"
#define TL "fedcba9876543210fedcba9876543210"

static struct deletion of_endpoint(const char *name, uint64_t upto_gen)
{
    struct deletion d = {.scope = {.kind = SCOPE_ENDPOINT, .tenant = T, .timeline = TL},
                         .has_upto_gen = true,
                         .upto_gen = upto_gen,
                         .reason = "reassigned"};
    snprintf(d.scope.endpoint, sizeof(d.scope.endpoint), "%s", name);
    deletion_set_job_id(&d);
    return d;
}

static struct deletion of_tenant(void)
{
    struct deletion d = {.scope = {.kind = SCOPE_TENANT, .tenant = T}};
    deletion_set_job_id(&d);
    return d;
}

static int accept_deletion(struct fixture *f, struct deletion *d)
{
    struct store_err err = {0};
    int rc = deletion_accept(f->s, f->loop, d, &err);
    if (rc != 0)
        print_message("%s\n", err.msg);
    return rc;
}

static bool has(struct fixture *f, const char *key)
{
    struct store_err err = {0};
    return store_sync_head(f->s, f->loop, key, NULL, &err) == 0;
}

static bool has_tombstone(struct fixture *f, const struct deletion *d)
{
    char key[LAYOUT_KEY_SIZE];
    layout_tombstone(&d->scope, d->upto_gen, key);
    return has(f, key);
}

static bool has_intent(struct fixture *f, const struct deletion *d)
{
    char key[LAYOUT_KEY_SIZE];
    layout_intent(d->job_id, key);
    return has(f, key);
}

/* ---- Accept ---- */

static void accept_leaves_tombstone_and_intent(void **state)
{
    struct fixture *f = *state;
    struct deletion all[] = {of_endpoint("ep-1", 7), of_tenant(), of_tenant()};
    all[2].scope.kind = SCOPE_TIMELINE;
    strcpy(all[2].scope.timeline, TL);
    deletion_set_job_id(&all[2]);
    for (size_t i = 0; i < LEN(all); i++) {
        int64_t before = clock_real_s();
        assert_int_equal(accept_deletion(f, &all[i]), 0);
        assert_true(has_tombstone(f, &all[i]));
        assert_true(has_intent(f, &all[i]));
        /* Rounded up: no upload that passed the fence began after it. */
        assert_true(all[i].accepted_at_s > before && all[i].accepted_at_s <= clock_real_s() + 1);
        assert_int_equal(deletion_drained_at_s(&all[i], 90), all[i].accepted_at_s + 90);
    }
}

static void weak_deletions_leave_no_tombstone(void **state)
{
    struct fixture *f = *state;
    struct deletion no_gen = of_endpoint("ep-1", 0), dry = of_tenant();
    no_gen.has_upto_gen = false;
    deletion_set_job_id(&no_gen);
    dry.dry_run = true;
    deletion_set_job_id(&dry);
    assert_int_equal(accept_deletion(f, &no_gen), 0);
    assert_int_equal(accept_deletion(f, &dry), 0);
    assert_int_equal(count_keys(f, LAYOUT_TOMBSTONES), 0);
    assert_true(has_intent(f, &no_gen) && has_intent(f, &dry));
    assert_true(no_gen.accepted_at_s > 0 && dry.accepted_at_s > 0);
    assert_int_equal(deletion_drained_at_s(&no_gen, 90), no_gen.accepted_at_s);
    assert_int_equal(deletion_drained_at_s(&dry, 90), dry.accepted_at_s);
}

/* The folder store, but for intents, which it does not take. */
static void start_but_intents(void *state, struct store_op *op)
{
    struct store_err err;
    if (op->kind != OP_PUT || strncmp(op->key, LAYOUT_INTENTS, strlen(LAYOUT_INTENTS)) != 0) {
        file_driver.start(state, op);
        return;
    }
    store_err_set(&err, STORE_NO_SPACE, "told to fail");
    op_finish(op, &err, NULL);
}

/* A crash between the two must leave the tombstone, never the intent alone. */
static void the_tombstone_comes_before_the_intent(void **state)
{
    struct fixture *f = *state;
    struct deletion d = of_endpoint("ep-1", 7), again = d;
    struct driver no_intents = file_driver;
    no_intents.start = start_but_intents;
    f->s->driver = &no_intents;
    assert_int_equal(accept_deletion(f, &d), -1);
    f->s->driver = &file_driver;
    assert_true(has_tombstone(f, &d));
    assert_false(has_intent(f, &d));
    assert_int_equal(accept_deletion(f, &again), 0); /* to repeat it is enough */
    assert_true(has_intent(f, &again));
}

static void without_a_tombstone_there_is_no_intent(void **state)
{
    struct fixture *f = *state;
    struct deletion d = of_endpoint("ep-1", 7);
    make_file(disk_path(f, "tombstones"), "in the way");
    assert_int_equal(accept_deletion(f, &d), -1);
    assert_false(has_intent(f, &d));
}

static void the_first_of_the_same_is_kept(void **state)
{
    struct fixture *f = *state;
    struct deletion first = of_endpoint("ep-1", 7), second = first;
    strcpy(first.event_id, "first");
    strcpy(second.event_id, "second");
    strcpy(second.reason, "other");
    second.not_before_s = 5000000000;
    assert_int_equal(accept_deletion(f, &first), 0);
    assert_int_equal(accept_deletion(f, &second), 0);
    assert_string_equal(second.event_id, "first");
    assert_string_equal(second.reason, "reassigned");
    assert_int_equal(second.accepted_at_s, first.accepted_at_s);
    assert_int_equal(second.not_before_s, 0);
    assert_int_equal(count_keys(f, "intents/"), 1);
}

/* An intent that cannot be read is no proof that its tombstone stands. */
static void a_damaged_intent_is_written_anew(void **state)
{
    struct fixture *f = *state;
    static const char *const damaged[] = {"", "{", "[]", "{\"schema\":1}", "\xff\xfe"};
    char key[LAYOUT_KEY_SIZE], text[4096];
    struct deletion d = of_endpoint("ep-1", 7), other = of_endpoint("ep-2", 9);
    layout_intent(d.job_id, key);
    for (size_t i = 0; i <= LEN(damaged); i++) {
        struct buf b = BUF_INIT(sizeof(text));
        assert_int_equal(deletion_to_json(&other, &b), 0);
        /* The last: one of another job, under this one's name. */
        assert_int_equal(put_text(f, key, i < LEN(damaged) ? damaged[i] : buf_str(&b)), STORE_OK);
        buf_cleanup(&b);
        struct deletion again = d;
        assert_int_equal(accept_deletion(f, &again), 0);
        assert_string_equal(again.scope.endpoint, "ep-1");
        assert_true(has_tombstone(f, &again));
        assert_false(has_tombstone(f, &other));
        struct deletion kept = d;
        kept.reason[0] = '\0';
        assert_int_equal(accept_deletion(f, &kept), 0);
        assert_string_equal(kept.reason, "reassigned");
        assert_int_equal(deletion_forget_intent(f->s, f->loop, &d, NULL), 0);
    }
}

/* ---- The tombstone's end ---- */

static int64_t expiry_of(struct fixture *f, const struct deletion *d)
{
    char key[LAYOUT_KEY_SIZE];
    void *text = NULL;
    size_t n = 0;
    int64_t t_s = 0;
    layout_tombstone(&d->scope, d->upto_gen, key);
    assert_int_equal(store_sync_get(f->s, f->loop, key, 4096, &text, &n, NULL, NULL), 0);
    json_t *o = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "job_id")), d->job_id);
    const char *by = json_string_value(json_object_get(o, "tokens_expire_by"));
    if (by)
        assert_true(clock_parse_rfc3339(by, &t_s));
    json_decref(o);
    free(text);
    return t_s;
}

/* A deletion that ended is asked for again: its tombstone must never end before any of the tokens
 * that it was told of. Unknown (0) means never. */
static void the_later_expiry_wins(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int64_t first, second, merged;
    } cases[] = {{1000, 2000, 2000}, {2000, 1000, 2000}, {1000, 1000, 1000},
                 {0, 1000, 0},       {1000, 0, 0},       {0, 0, 0}};
    for (size_t i = 0; i < LEN(cases); i++) {
        struct deletion d = of_endpoint("ep-1", 100 + i), again = d;
        d.tokens_expire_by_s = cases[i].first;
        again.tokens_expire_by_s = cases[i].second;
        assert_int_equal(accept_deletion(f, &d), 0);
        assert_int_equal(expiry_of(f, &d), cases[i].first);
        assert_int_equal(deletion_forget_intent(f->s, f->loop, &d, NULL), 0);
        assert_int_equal(accept_deletion(f, &again), 0);
        assert_int_equal(expiry_of(f, &again), cases[i].merged);
    }
}

static void a_damaged_tombstone_never_ends(void **state)
{
    struct fixture *f = *state;
    static const char *const damaged[] = {"", "{", "[1]", "{\"tokens_expire_by\":5}",
                                          "{\"tokens_expire_by\":\"soon\"}"};
    char key[LAYOUT_KEY_SIZE];
    for (size_t i = 0; i < LEN(damaged); i++) {
        struct deletion d = of_endpoint("ep-1", i);
        layout_tombstone(&d.scope, d.upto_gen, key);
        assert_int_equal(put_text(f, key, damaged[i]), STORE_OK);
        d.tokens_expire_by_s = 1000;
        assert_int_equal(accept_deletion(f, &d), 0);
        assert_int_equal(expiry_of(f, &d), 0);
    }
}

static void the_intent_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct deletion d = of_endpoint("ep-1", 7);
    assert_int_equal(accept_deletion(f, &d), 0);
    assert_int_equal(deletion_forget_intent(f->s, f->loop, &d, NULL), 0);
    assert_false(has_intent(f, &d));
    assert_true(has_tombstone(f, &d));
    assert_int_equal(deletion_forget_intent(f->s, f->loop, &d, NULL), 0);
}

/* ---- Sweep ---- */

static const uint64_t gens[] = {0, 1, 6, 7, 8, 16, 255, UINT64_MAX - 1, UINT64_MAX};

/* As the writer and the reader see it: the timeline's part of the store, and a key in that. */
static struct fixture file_of(struct fixture *f, const char *endpoint, uint64_t gen,
                              char key[LAYOUT_KEY_SIZE])
{
    struct deletion d = of_endpoint(endpoint, gen);
    struct fixture part = *f;
    assert_int_equal(layout_open_timeline(f->s, &d.scope, &part.s, NULL), 0);
    layout_file(&d.scope, gen, "lfc_state", key);
    return part;
}

static void put_file(struct fixture *f, const char *endpoint, uint64_t gen)
{
    char key[LAYOUT_KEY_SIZE];
    struct fixture part = file_of(f, endpoint, gen, key);
    assert_int_equal(put_text(&part, key, "123"), STORE_OK);
    store_close(part.s);
}

static bool has_file(struct fixture *f, const char *endpoint, uint64_t gen)
{
    char key[LAYOUT_KEY_SIZE];
    struct fixture part = file_of(f, endpoint, gen, key);
    bool found = has(&part, key);
    store_close(part.s);
    return found;
}

static void fill(struct fixture *f)
{
    for (size_t i = 0; i < LEN(gens); i++) {
        put_file(f, "ep-1", gens[i]);
        put_file(f, "ep-10", gens[i]);
    }
}

static struct deletion_counts sweep(struct fixture *f, const struct deletion *d)
{
    struct deletion_counts counts;
    struct store_err err;
    int64_t server_time_s = 0;
    if (deletion_sweep(f->s, f->loop, d, NULL, NULL, NULL, &counts, &server_time_s, &err) != 0)
        fail_msg("%s", err.msg);
    assert_true(server_time_s > 0);
    return counts;
}

static void a_sweep_takes_the_generations_up_to_its_own(void **state)
{
    struct fixture *f = *state;
    for (size_t upto = 0; upto < LEN(gens); upto++) {
        struct deletion d = of_endpoint("ep-1", gens[upto]);
        fill(f);
        struct deletion_counts counts = sweep(f, &d);
        assert_int_equal(counts.files, upto + 1);
        assert_int_equal(counts.bytes, 3 * (upto + 1));
        for (size_t i = 0; i < LEN(gens); i++) {
            assert_int_equal(has_file(f, "ep-1", gens[i]), i > upto);
            assert_true(has_file(f, "ep-10", gens[i]));
        }
        assert_int_equal(sweep(f, &d).files, 0); /* again is free */
    }
}

static void without_a_generation_only_the_zeroth_goes(void **state)
{
    struct fixture *f = *state;
    struct deletion d = of_endpoint("ep-1", UINT64_MAX);
    d.has_upto_gen = false;
    fill(f);
    assert_int_equal(sweep(f, &d).files, 1);
    assert_false(has_file(f, "ep-1", 0));
    assert_true(has_file(f, "ep-1", 1));
}

static void a_dry_run_only_counts(void **state)
{
    struct fixture *f = *state;
    struct deletion d = of_endpoint("ep-1", 7);
    d.dry_run = true;
    fill(f);
    struct deletion_counts counts = sweep(f, &d);
    assert_int_equal(counts.files, 4);
    assert_int_equal(counts.bytes, 12);
    assert_int_equal(count_keys(f, "tenants/"), 2 * LEN(gens));
}

static void wider_scopes_take_all_generations(void **state)
{
    struct fixture *f = *state;
    struct deletion d = of_tenant(), other = of_tenant();
    fill(f);
    other.scope.kind = SCOPE_TIMELINE;
    memset(other.scope.timeline, '1', ID_SIZE - 1);
    assert_int_equal(sweep(f, &other).files, 0);
    assert_int_equal(accept_deletion(f, &d), 0);
    assert_int_equal(sweep(f, &d).files, 2 * LEN(gens));
    assert_int_equal(count_keys(f, "tenants/"), 0);
    assert_int_equal(count_keys(f, ""), 2); /* tombstone and intent are not swept away */
}

static bool stop_at_once(void *user, const struct store_progress *p)
{
    snprintf(user, STORE_MAX_KEY + 1, "%s", p->cursor);
    return false;
}

static void a_stopped_sweep_tells_where(void **state)
{
    struct fixture *f = *state;
    struct deletion d = of_endpoint("ep-1", 7);
    struct deletion_counts counts;
    struct store_err err;
    char cursor[STORE_MAX_KEY + 1] = "";
    fill(f);
    assert_int_equal(
        deletion_sweep(f->s, f->loop, &d, NULL, stop_at_once, cursor, &counts, NULL, &err), -1);
    assert_int_equal(err.code, STORE_CANCELED);
    assert_int_equal(counts.files, 4); /* one batch held them all */
    assert_true(cursor[0]);
    put_file(f, "ep-1", 0); /* lies before the cursor: not this run's */
    assert_int_equal(deletion_sweep(f->s, f->loop, &d, cursor, NULL, NULL, &counts, NULL, &err), 0);
    assert_int_equal(counts.files, 0);
    assert_int_equal(sweep(f, &d).files, 1);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(accept_leaves_tombstone_and_intent),
        IN_FOLDER(weak_deletions_leave_no_tombstone),
        IN_FOLDER(the_tombstone_comes_before_the_intent),
        IN_FOLDER(without_a_tombstone_there_is_no_intent),
        IN_FOLDER(the_first_of_the_same_is_kept),
        IN_FOLDER(a_damaged_intent_is_written_anew),
        IN_FOLDER(the_later_expiry_wins),
        IN_FOLDER(a_damaged_tombstone_never_ends),
        IN_FOLDER(the_intent_is_forgotten),
        IN_FOLDER(a_sweep_takes_the_generations_up_to_its_own),
        IN_FOLDER(without_a_generation_only_the_zeroth_goes),
        IN_FOLDER(a_dry_run_only_counts),
        IN_FOLDER(wider_scopes_take_all_generations),
        IN_FOLDER(a_stopped_sweep_tells_where),
    };
    return cmocka_run_group_tests_name("deletion", tests, NULL, NULL);
}
