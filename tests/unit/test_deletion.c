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

static int accept_how(struct fixture *f, struct deletion *d, enum acceptance *how)
{
    struct store_err err = {0};
    int rc = deletion_accept(f->s, f->loop, d, how, NULL, &err);
    if (rc != 0)
        print_message("%s\n", err.msg);
    return rc;
}

static int accept_deletion(struct fixture *f, struct deletion *d)
{
    enum acceptance how;
    return accept_how(f, d, &how);
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
        assert_true(deletion_is_fenced(&all[i]));
    }
}

static void weak_deletions_leave_no_tombstone(void **state)
{
    struct fixture *f = *state;
    struct deletion no_gen = of_endpoint("ep-1", 0), dry = of_tenant();
    int64_t before = clock_real_s();
    no_gen.has_upto_gen = false;
    deletion_set_job_id(&no_gen);
    dry.dry_run = true;
    deletion_set_job_id(&dry);
    assert_int_equal(accept_deletion(f, &no_gen), 0);
    assert_int_equal(accept_deletion(f, &dry), 0);
    assert_int_equal(count_keys(f, LAYOUT_TOMBSTONES), 0);
    assert_true(has_intent(f, &no_gen) && has_intent(f, &dry));
    assert_false(deletion_is_fenced(&no_gen) || deletion_is_fenced(&dry));
    /* Cut off: what is stored after it is newer. */
    assert_true(no_gen.accepted_at_s >= before && no_gen.accepted_at_s <= clock_real_s());
    assert_true(dry.accepted_at_s >= before && dry.accepted_at_s <= clock_real_s());
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

static struct store_progress sweep_as(struct fixture *f, const struct deletion *d, enum sweep which)
{
    const struct sweep_how how = {.sweep = which};
    struct store_progress end;
    struct store_err err;
    if (deletion_sweep(f->s, f->loop, d, &how, NULL, NULL, &end, &err) != 0)
        fail_msg("%s", err.msg);
    assert_true(end.server_time_s > 0);
    return end;
}

static struct deletion_counts sweep(struct fixture *f, const struct deletion *d)
{
    struct store_progress end = sweep_as(f, d, SWEEP_LATER);
    return (struct deletion_counts){end.objects, end.bytes};
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
    d.accepted_at_s = clock_real_s() + 100;
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
    struct sweep_how how = {.sweep = SWEEP_LATER};
    struct store_progress end;
    struct store_err err;
    char cursor[STORE_MAX_KEY + 1] = "";
    fill(f);
    assert_int_equal(deletion_sweep(f->s, f->loop, &d, &how, stop_at_once, cursor, &end, &err), -1);
    assert_int_equal(err.code, STORE_CANCELED);
    assert_int_equal(end.objects, 4); /* one batch held them all */
    assert_true(cursor[0]);
    put_file(f, "ep-1", 0); /* lies before the cursor: not this run's */
    how.cursor = cursor;
    assert_int_equal(deletion_sweep(f->s, f->loop, &d, &how, NULL, NULL, &end, &err), 0);
    assert_int_equal(end.objects, 0);
    assert_int_equal(sweep(f, &d).files, 1);
}

/* ---- Without a fence ---- */

static struct deletion without_gen(void)
{
    struct deletion d = of_endpoint("ep-1", 0);
    d.has_upto_gen = false;
    deletion_set_job_id(&d);
    return d;
}

/* What was stored after the acceptance is never removed: the acceptor's own sweep takes what is of
 * its second or older, every other one leaves that second alone, and the one before. */
static void what_is_newer_than_the_acceptance_stays(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum sweep sweep;
        int accepted_after_s; /* the file */
        bool goes;
    } cases[] = {
        {SWEEP_FIRST, -1, false}, {SWEEP_FIRST, 0, true},  {SWEEP_FIRST, 1, true},
        {SWEEP_LATER, -1, false}, {SWEEP_LATER, 0, false}, {SWEEP_LATER, 1, false},
        {SWEEP_LATER, 2, true},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct deletion d = without_gen();
        char key[LAYOUT_KEY_SIZE];
        struct store_info info;
        put_file(f, "ep-1", 0);
        struct fixture part = file_of(f, "ep-1", 0, key);
        assert_int_equal(store_sync_head(part.s, f->loop, key, &info, NULL), 0);
        store_close(part.s);
        d.accepted_at_s = info.modified_s + cases[i].accepted_after_s;
        struct store_progress end = sweep_as(f, &d, cases[i].sweep);
        assert_int_equal(end.objects, cases[i].goes);
        assert_int_equal(end.kept, !cases[i].goes);
        assert_int_equal(has_file(f, "ep-1", 0), !cases[i].goes);
        d.has_upto_gen = true; /* with a fence it does not matter */
        sweep_as(f, &d, cases[i].sweep);
        assert_false(has_file(f, "ep-1", 0));
    }
}

/* Asked for again while it is open, it is asked for what was stored since. */
static void without_a_fence_it_is_accepted_anew(void **state)
{
    struct fixture *f = *state;
    struct deletion first = without_gen(), second = first;
    enum acceptance how;
    strcpy(first.event_id, "first");
    strcpy(second.event_id, "second");
    assert_int_equal(accept_how(f, &first, &how), 0);
    assert_int_equal(how, ACCEPTED_NEW);
    int64_t first_s = first.accepted_at_s;
    while (clock_real_s() == first_s)
        usleep(20000);
    assert_int_equal(accept_how(f, &second, &how), 0);
    assert_int_equal(how, ACCEPTED_MERGED);
    assert_true(second.accepted_at_s > first_s);
    assert_string_equal(second.event_id, "second");
    struct deletion says;
    struct store_err err;
    assert_int_equal(deletion_read_intent(f->s, f->loop, first.job_id, &says, NULL, &err),
                     INTENT_READ);
    assert_int_equal(says.accepted_at_s, second.accepted_at_s);
}

static bool close_it(void *user, struct deletion *d)
{
    (void)user;
    d->state = DELETION_CLOSING;
    return true;
}

/* What is closing takes nothing in any more, so that nothing is lost with it. */
static void a_closing_deletion_takes_nothing_in(void **state)
{
    struct fixture *f = *state;
    struct deletion d = without_gen(), again = d;
    enum acceptance how;
    struct store_err err;
    bool found;
    assert_int_equal(accept_deletion(f, &d), 0);
    assert_int_equal(
        deletion_change_intent(f->s, f->loop, d.job_id, close_it, NULL, &found, NULL, &err), 0);
    assert_true(found);
    assert_int_equal(deletion_accept(f->s, f->loop, &again, &how, NULL, &err), -1);
    assert_int_equal(err.code, STORE_BUSY);
    assert_int_equal(deletion_forget_intent(f->s, f->loop, &d, &err), 0);
    assert_int_equal(accept_how(f, &again, &how), 0);
    assert_int_equal(how, ACCEPTED_NEW);
}

/* ---- Merging ---- */

static void what_is_asked_for_again_is_merged(void **state)
{
    (void)state;
    static const struct {
        int64_t open_before, before, merged_before;
        int64_t open_expire, expire, merged_expire;
        enum deletion_state open, merged;
        bool changes;
    } cases[] = {
        {0, 0, 0, 0, 0, 0, DELETION_OPEN, DELETION_OPEN, false},
        {500, 500, 500, 9, 9, 9, DELETION_OPEN, DELETION_OPEN, false},
        {500, 400, 400, 9, 9, 9, DELETION_OPEN, DELETION_OPEN, true}, /* sooner */
        {500, 0, 0, 9, 9, 9, DELETION_OPEN, DELETION_OPEN, true},     /* at once */
        {500, 600, 500, 9, 9, 9, DELETION_OPEN, DELETION_OPEN, false},
        {0, 600, 0, 9, 9, 9, DELETION_OPEN, DELETION_OPEN, false},
        {0, 0, 0, 9, 10, 10, DELETION_OPEN, DELETION_OPEN, true}, /* longer tokens */
        {0, 0, 0, 9, 8, 9, DELETION_OPEN, DELETION_OPEN, false},
        {0, 0, 0, 9, 0, 0, DELETION_OPEN, DELETION_OPEN, true}, /* tokens of unknown length */
        {0, 0, 0, 0, 9, 0, DELETION_OPEN, DELETION_OPEN, false},
        {0, 0, 0, 9, 9, 9, DELETION_FAILED, DELETION_OPEN, true},
        {0, 0, 0, 9, 9, 9, DELETION_CANCELLED, DELETION_OPEN, true},
        {0, 0, 0, 9, 9, 9, DELETION_HELD, DELETION_HELD, false},
        {500, 0, 0, 9, 9, 9, DELETION_HELD, DELETION_HELD, true},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct deletion open = of_endpoint("ep-1", 7), d = open;
        open.accepted_at_s = 1000;
        open.not_before_s = cases[i].open_before;
        open.tokens_expire_by_s = cases[i].open_expire;
        open.state = cases[i].open;
        strcpy(open.note, "why");
        d.not_before_s = cases[i].before;
        d.tokens_expire_by_s = cases[i].expire;
        print_message("case %zu\n", i);
        assert_int_equal(deletion_merge(&open, &d, 5000), cases[i].changes);
        assert_int_equal(open.not_before_s, cases[i].merged_before);
        assert_int_equal(open.tokens_expire_by_s, cases[i].merged_expire);
        assert_int_equal(open.state, cases[i].merged);
        assert_int_equal(open.accepted_at_s, 1000); /* its tombstone stood all the time */
        assert_string_equal(open.note, open.state == cases[i].open ? "why" : "");
    }
}

static void sooner_and_longer_reach_the_store(void **state)
{
    struct fixture *f = *state;
    struct deletion first = of_endpoint("ep-1", 7), second = first, says;
    enum acceptance how;
    char etag[STORE_ETAG_SIZE], changed[STORE_ETAG_SIZE];
    struct store_err err;
    first.not_before_s = 5000000000;
    first.tokens_expire_by_s = 6000000000;
    second.not_before_s = 4000000000;
    second.tokens_expire_by_s = 7000000000;
    assert_int_equal(deletion_accept(f->s, f->loop, &first, &how, etag, &err), 0);
    assert_int_equal(deletion_accept(f->s, f->loop, &second, &how, changed, &err), 0);
    assert_int_equal(how, ACCEPTED_MERGED);
    assert_string_not_equal(etag, changed);
    assert_int_equal(deletion_read_intent(f->s, f->loop, first.job_id, &says, etag, &err),
                     INTENT_READ);
    assert_string_equal(etag, changed);
    assert_int_equal(says.not_before_s, 4000000000);
    assert_int_equal(says.tokens_expire_by_s, 7000000000);
    assert_int_equal(expiry_of(f, &first), 7000000000);
    assert_int_equal(accept_how(f, &second, &how), 0);
    assert_int_equal(how, ACCEPTED_KNOWN);
}

/* ---- Reading ---- */

static void an_intent_under_a_wrong_name_is_not_read(void **state)
{
    struct fixture *f = *state;
    struct deletion d = of_endpoint("ep-1", 7), other = of_endpoint("ep-2", 7), out;
    char key[LAYOUT_KEY_SIZE];
    struct store_err err;
    bool found;
    struct buf b = BUF_INIT(4096);
    assert_int_equal(deletion_read_intent(f->s, f->loop, d.job_id, &out, NULL, &err), INTENT_NONE);
    assert_int_equal(deletion_to_json(&other, &b), 0);
    layout_intent(d.job_id, key);
    assert_int_equal(put_text(f, key, buf_str(&b)), STORE_OK);
    buf_cleanup(&b);
    assert_int_equal(deletion_read_intent(f->s, f->loop, d.job_id, &out, NULL, &err),
                     INTENT_UNREADABLE);
    assert_non_null(strstr(err.msg, other.job_id));
    assert_int_equal(
        deletion_change_intent(f->s, f->loop, d.job_id, close_it, NULL, &found, NULL, &err), -1);
    assert_int_equal(put_text(f, key, "{"), STORE_OK);
    assert_int_equal(deletion_read_intent(f->s, f->loop, d.job_id, &out, NULL, &err),
                     INTENT_UNREADABLE);
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
        IN_FOLDER(what_is_newer_than_the_acceptance_stays),
        IN_FOLDER(without_a_fence_it_is_accepted_anew),
        IN_FOLDER(a_closing_deletion_takes_nothing_in),
        cmocka_unit_test(what_is_asked_for_again_is_merged),
        IN_FOLDER(sooner_and_longer_reach_the_store),
        IN_FOLDER(an_intent_under_a_wrong_name_is_not_read),
    };
    return cmocka_run_group_tests_name("deletion", tests, NULL, NULL);
}
