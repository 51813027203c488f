/* How the removal of a prefix splits ranges: where cuts are put, that listings overlap and cost
 * little more than the keys' pages, and that whatever the keys and the order of the answers are,
 * each key goes once and nothing else does. */
#include "tests/unit/fake_store.h"

#include "base/xalloc.h"
#include "libstore/purge.h"
#include "tests/unit/oom.h"

static uint32_t random_state;

static uint32_t any(uint32_t n) /* less than n */
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(random_state >> 8) * n >> 24);
}

/* ---- Cuts ---- */

static void cuts_are_put_where_keys_may_be(void **state)
{
    (void)state;
    static const struct {
        const char *name, *from, *at, *upto;
        size_t n;
        const char *cuts[MAX_CUTS];
    } cases[] = {
        {"digits vary", "p/1000", "p/3500", "", 3, {"p/5", "p/7", "p/8"}},
        {"one in the middle", "p/1000", "p/3500", "", 1, {"p/7"}},
        {"hex varies", "p/0a", "p/3f", "", 3, {"p/7", "p/a", "p/d"}},
        {"zeros have not varied", "p/0000", "p/0009", "", 3, {"p/001", "p/01", "p/1"}},
        {"zeros and what varies", "p/0000", "p/0005", "", 4, {"p/0008", "p/001", "p/01", "p/1"}},
        {"a segment is behind or not", "p/a/b/1", "p/a/b/7", "", 3, {"p/a/b/9", "p/a/b0", "p/a0"}},
        {"fewer than are wanted", "p/a/b/1", "p/a/b/9", "", 3, {"p/a/b0", "p/a0"}},
        {"not at the end again", "p/a/b/1", "p/a/b/7", "p/a0", 3, {"p/a/b/8", "p/a/b/9", "p/a/b0"}},
        {"within the end", "p/1000", "p/3500", "p/55", 9, {"p/4", "p/5"}},
        {"where keys vary below a full place", "p/2", "p/99x", "p/9b", 9, {"p/9a"}},
        {"no room", "p/1", "p/9", "", 3, {NULL}},
        {"the end is next", "p/1", "p/1", "p/10", 3, {NULL}},
        {"not inside of UTF-8", "p/\xc3\xa4", "p/\xc3\xa9", "", 3, {NULL}},
        {"behind UTF-8",
         "p/\xc3\xa4/1",
         "p/\xc3\xa4/5",
         "",
         2,
         {"p/\xc3\xa4/8", "p/\xc3\xa4"
                          "0"}},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct key_range r;
        char cuts[MAX_CUTS][STORE_MAX_KEY + 1];
        strcpy(r.from, cases[i].from);
        strcpy(r.at, cases[i].at);
        strcpy(r.upto, cases[i].upto);
        size_t n = key_range_cut(&r, 2, cases[i].n, cuts), expected = 0;
        while (expected < MAX_CUTS && cases[i].cuts[expected])
            expected++;
        for (size_t k = 0; k < n; k++)
            if (k >= expected || strcmp(cuts[k], cases[i].cuts[k]) != 0)
                fail_msg("%s: cut %zu is '%s'", cases[i].name, k, cuts[k]);
        assert_int_equal(n, expected);
    }
}

static size_t any_text(char *out, size_t max)
{
    static const char letters[] = "//01239abcfz~.-\x01\xc3\xa4\xff";
    size_t n = any((uint32_t)max + 1);
    for (size_t i = 0; i < n; i++)
        out[i] = letters[any(sizeof(letters) - 1)];
    out[n] = '\0';
    return n;
}

static void cuts_are_in_order_and_inside_of_any_range(void **state)
{
    (void)state;
    random_state = 1;
    for (unsigned i = 0; i < 20000; i++) {
        struct key_range r = {.from = "p/", .at = "p/", .upto = ""};
        char cuts[MAX_CUTS][STORE_MAX_KEY + 1];
        any_text(r.at + 2, any(100) ? 12 : STORE_MAX_KEY - 2);
        any_text(r.from + 2, 12);
        if (any(2)) {
            strcpy(r.upto, "p/");
            any_text(r.upto + 2, 12);
        }
        if (r.upto[0] && strcmp(r.upto, r.at) <= 0)
            continue;
        size_t n = key_range_cut(&r, 2, any(20), cuts);
        assert_in_range(n, 0, MAX_CUTS);
        for (size_t k = 0; k < n; k++) {
            assert_true(strcmp(cuts[k], k ? cuts[k - 1] : r.at) > 0);
            assert_true(!r.upto[0] || strcmp(cuts[k], r.upto) < 0);
            assert_true(strncmp(cuts[k], "p/", 2) == 0 && strlen(cuts[k]) > 2);
            assert_in_range(cuts[k][strlen(cuts[k]) - 1], 0x21, 0x7e);
        }
    }
}

/* ---- Shapes of key sets ---- */

enum shape { FLAT, FLAT_FROM_ZERO, HEX, EPUFS, MANY_SMALL, ONE_LONG, ODD, SHAPES };

static void hex(char *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = "0123456789abcdef"[any(16)];
    out[n] = '\0';
}

/* The keys of a tenant: timelines, endpoints, generations, files. */
static void put_tenant(struct fake_set *s, size_t n, size_t timelines)
{
    char timeline[33], key[200];
    for (size_t t = 0; t < timelines; t++) {
        hex(timeline, 32);
        for (size_t i = 0; i < n / timelines; i++) {
            snprintf(key, sizeof(key), "p/timelines/%s/endpoints/ep-%zu/%016zx/pgdata/base/%zu/%zu",
                     timeline, i % 3, i % 2, i % 5, 1000 + i * 7);
            fake_put(s, key, "");
        }
    }
}

static void put_shape(struct fake_set *s, enum shape shape, size_t n)
{
    char key[STORE_MAX_KEY + 1] = "p/", part[40];
    size_t start = any(1000000);
    switch (shape) {
    case EPUFS: put_tenant(s, n, n / 400 + 1); break;
    case MANY_SMALL: put_tenant(s, n, n / 6 + 1); break;
    default:
        for (size_t i = 0; i < n; i++) {
            if (shape == FLAT || shape == FLAT_FROM_ZERO)
                snprintf(key + 2, 20, "%08zu", i + (shape == FLAT ? start : 0));
            else if (shape == HEX)
                hex(key + 2, 20);
            else if (shape == ONE_LONG)
                memset(key + 2, 'a' + (char)(i % 3), 3 * (i / 3 % 340) + 1);
            else
                any_text(key + 2, 6);
            if (shape == ONE_LONG) {
                hex(part, 6);
                strcpy(key + 2 + 3 * (i / 3 % 330) + 1, part);
            }
            fake_put(s, key, "");
        }
    }
    fake_sort(s);
}

/* ---- What it costs ---- */

/* Answers in rounds: all that is under way is answered, then what follows is sent. Returns how many
 * rounds it took. */
static unsigned in_rounds(struct fake *f, struct removal *r)
{
    unsigned rounds = 0;
    while (!r->done) {
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(store_loop_run(f->loop, 0, NULL), 0);
        rounds += f->n_held > 0;
        while (f->n_held)
            fake_release(f, 0);
    }
    return rounds;
}

static void listings_overlap_and_cost_little_more_than_their_pages(void **state)
{
    struct fake *f = *state;
    static const enum shape shapes[] = {FLAT, FLAT_FROM_ZERO, HEX, EPUFS, MANY_SMALL};
    static const uint32_t at_once[] = {4, 16};
    enum { N = 20000, PAGE = 100 }; /* 200 pages, as of 200,000 keys */
    f->page = PAGE;
    f->hold_lists = true;
    for (size_t i = 0; i < LEN(shapes); i++)
        for (size_t k = 0; k < LEN(at_once); k++) {
            struct removal r = {0};
            const struct store_delete_prefix_opts opts = {.listings_in_flight = at_once[k],
                                                          .batches_in_flight = 64};
            random_state = (uint32_t)(i + 1);
            fake_empty(&f->objects);
            put_shape(&f->objects, shapes[i], N);
            size_t pages = f->objects.n / PAGE + 1;
            f->lists = f->most_listing = 0;
            removal_begin(&f->store, f->loop, "p/", &opts, &r);
            unsigned rounds = in_rounds(f, &r);
            assert_int_equal(r.err.code, STORE_OK);
            assert_int_equal(fake_left(&f->objects), 0);
            assert_int_equal(f->most_listing, at_once[k]);
            /* The more are listed at once, the smaller are the parts that are left at the end. */
            size_t most_lists = at_once[k] > 4 ? pages * 8 / 5 : pages * 6 / 5;
            if (f->lists > most_lists || rounds > pages * 6 / 5 / 4)
                fail_msg("shape %d, %u at once: %u listings in %u rounds for %zu pages",
                         (int)shapes[i], (unsigned)at_once[k], f->lists, rounds, pages);
        }
}

/* ---- Any keys, any order ---- */

struct trial {
    struct fake *f;
    struct store_delete_prefix_opts opts;
    const char *cursor;
    uint32_t batches, listings;
};

static bool in_trial(const struct trial *t, const struct fake_object *o)
{
    return strncmp(o->key, "p/", 2) == 0 && (!t->cursor || strcmp(o->key, t->cursor) > 0) &&
           (!t->opts.end_before || strcmp(o->key, t->opts.end_before) < 0) &&
           (!t->opts.modified_before_s || o->modified_s < t->opts.modified_before_s);
}

static void check_progress(struct removal *r)
{
    const struct trial *t = r->user;
    const struct fake_set *s = &t->f->objects;
    const struct purge *p = (const struct purge *)r->op;
    uint32_t listed = PURGE_AHEAD * t->listings, others = t->batches - 1;
    for (size_t i = 0; i < s->n; i++) {
        const struct fake_object *o = &s->objects[i];
        if (in_trial(t, o) && strcmp(o->key, r->cursor) <= 0 && o->removed != 1)
            fail_msg("'%s' is behind the cursor '%s'", o->key, r->cursor);
    }
    assert_in_range(p->n_listers, 0, t->listings);
    assert_in_range(p->n_batches, 0, t->batches + (listed < others ? listed : others));
    assert_in_range(t->f->running, 0, t->batches);
    assert_in_range(t->f->listing, 0, t->listings);
}

static void in_any_order(struct fake *f, struct removal *r)
{
    while (!r->done) {
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(store_loop_run(f->loop, 0, NULL), 0);
        if (f->n_held)
            fake_release(f, any(f->n_held));
    }
}

static void put_neighbours(struct fake_set *s)
{
    static const char *const keys[] = {"p", "p.", "p0", "o/1", "p/", "q/2", "\x01", "~"};
    for (size_t i = 0; i < LEN(keys); i++)
        fake_put(s, keys[i], "");
}

/* Makes some of them several versions. */
static void put_versions(struct fake_set *s)
{
    char version[8];
    for (size_t i = 0, n = s->n; i < n; i++)
        for (uint32_t v = any(8) ? 0 : any(40); v > 0; v--) {
            snprintf(version, sizeof(version), "v%02u", (unsigned)v);
            fake_put(s, s->objects[i].key, version);
        }
    fake_sort(s);
}

static void prepare_trial(struct trial *t, struct fake *f, char *cursor, char *end)
{
    fake_empty(&f->objects);
    put_neighbours(&f->objects);
    put_shape(&f->objects, (enum shape)any(SHAPES), any(300));
    bool versions = any(3) == 0;
    if (versions)
        put_versions(&f->objects);
    for (size_t i = 0; i < f->objects.n; i++)
        f->objects.objects[i].modified_s = 100 + any(3);
    f->page = 1 + any(25);
    strcpy(cursor, f->objects.objects[any((uint32_t)f->objects.n)].key);
    strcpy(end, f->objects.objects[any((uint32_t)f->objects.n)].key);
    if (any(2))
        any_text(end + strlen(end), 1);
    *t = (struct trial){.f = f, .batches = 1 + any(8), .listings = 1 + any(16)};
    t->cursor = any(3) ? NULL : cursor;
    t->opts = (struct store_delete_prefix_opts){
        .cursor = t->cursor,
        .end_before = any(3) ? NULL : end,
        .modified_before_s = any(3) ? 0 : 102,
        .versions = versions,
        .batches_in_flight = t->batches,
        .listings_in_flight = t->listings,
    };
}

/* Run, and when something fails, run again from where it came to. */
static uint64_t run_trial(struct trial *t, uint32_t seed)
{
    struct fake *f = t->f;
    char cursor[STORE_MAX_KEY + 1];
    uint64_t removed = 0;
    bool fails = any(2);
    for (unsigned runs = 0;; runs++) {
        struct removal r = {.watch = check_progress, .user = t};
        strcpy(r.cursor, t->opts.cursor ? t->opts.cursor : "");
        f->lists = f->batches = 0;
        f->fail_list = fails && runs < 5 ? any(30) : 0;
        f->fail_batch = fails && runs < 5 ? any(30) : 0;
        removal_begin(&f->store, f->loop, "p/", &t->opts, &r);
        in_any_order(f, &r);
        removed += r.final.objects;
        if (r.went_back || (r.err.code != STORE_OK && r.err.code != STORE_DENIED))
            fail_msg("seed %u: %s", (unsigned)seed, r.err.msg);
        if (r.err.code == STORE_OK)
            return removed;
        strcpy(cursor, r.cursor);
        t->opts.cursor = cursor;
    }
}

static void whatever_the_keys_each_goes_once_and_nothing_else(void **state)
{
    struct fake *f = *state;
    f->hold_lists = f->hold_batches = true;
    for (uint32_t seed = 1; seed <= 400; seed++) {
        char cursor[STORE_MAX_KEY + 8], end[STORE_MAX_KEY + 8];
        struct trial t;
        random_state = seed * 7919;
        prepare_trial(&t, f, cursor, end);
        uint64_t removed = run_trial(&t, seed), wanted = 0;
        for (size_t i = 0; i < f->objects.n; i++) {
            const struct fake_object *o = &f->objects.objects[i];
            if (o->removed != in_trial(&t, o))
                fail_msg("seed %u: '%s' was removed %u times", (unsigned)seed, o->key, o->removed);
            wanted += in_trial(&t, o);
        }
        assert_int_equal(removed, wanted);
    }
}

/* ---- Without memory ---- */

static void allocations_that_fail_end_it_at_a_right_cursor(void **state)
{
    struct fake *f = *state;
    static const struct store_delete_prefix_cb cb = {removal_progress, removal_done};
    static const struct store_delete_prefix_opts opts = {.uploads = true, .end_before = "q"};
    if (!OOM_AVAILABLE)
        skip();
    random_state = 5;
    put_shape(&f->objects, FLAT, 60);
    fake_put(&f->uploads, "p/x", "u1");
    for (long n = 1;; n++) {
        struct trial t = {.f = f, .opts = opts, .batches = 8, .listings = 4};
        struct removal r = {.watch = check_progress, .user = &t};
        struct store_err err = {0};
        for (size_t i = 0; i < f->objects.n; i++)
            f->objects.objects[i].removed = 0;
        f->uploads.objects[0].removed = 0;
        oom_fail_nth(n);
        r.op = store_delete_prefix(&f->store, f->loop, "p/", &opts, &cb, &r, &err);
        while (r.op)
            store_loop_run(f->loop, 0, NULL);
        bool happened = oom_stop();
        enum store_code code = r.done ? r.err.code : err.code;
        assert_true(code == STORE_NO_MEMORY || (code == STORE_OK && r.done));
        char cursor[STORE_MAX_KEY + 1];
        strcpy(cursor, r.cursor);
        const struct store_delete_prefix_opts rest = {.uploads = true, .cursor = cursor};
        r = (struct removal){0};
        removal_begin(&f->store, f->loop, "p/", &rest, &r);
        while (!r.done)
            store_loop_run(f->loop, 0, NULL);
        for (size_t i = 0; i < f->objects.n; i++)
            assert_int_equal(f->objects.objects[i].removed, 1);
        if (!happened)
            break;
    }
}

#define IN_MEMORY(test) cmocka_unit_test_setup_teardown(test, fake_setup, fake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_are_put_where_keys_may_be),
        cmocka_unit_test(cuts_are_in_order_and_inside_of_any_range),
        IN_MEMORY(listings_overlap_and_cost_little_more_than_their_pages),
        IN_MEMORY(whatever_the_keys_each_goes_once_and_nothing_else),
        IN_MEMORY(allocations_that_fail_end_it_at_a_right_cursor),
    };
    return cmocka_run_group_tests_name("purge shards", tests, NULL, NULL);
}
