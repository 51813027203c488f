#include "tests/unit/file_fixture.h"

#include "base/xalloc.h"
#include "epufs/layout.h"

#define T  "0123456789abcdef0123456789abcdef"
#define TL "fedcba9876543210fedcba9876543210"
#define EP "ep-cool-1"

static const struct scope tenant = {.kind = SCOPE_TENANT, .tenant = T};
static const struct scope timeline = {.kind = SCOPE_TIMELINE, .tenant = T, .timeline = TL};
static const struct scope endpoint = {
    .kind = SCOPE_ENDPOINT, .tenant = T, .timeline = TL, .endpoint = EP};

static void keys_are_as_designed(void **state)
{
    (void)state;
    char key[LAYOUT_KEY_SIZE];
    layout_scope(&tenant, key);
    assert_string_equal(key, "tenants/" T "/");
    layout_scope(&timeline, key);
    assert_string_equal(key, "tenants/" T "/timelines/" TL "/");
    layout_scope(&endpoint, key);
    assert_string_equal(key, "tenants/" T "/timelines/" TL "/endpoints/" EP "/");
    layout_files(&endpoint, 7, key);
    assert_string_equal(key, "endpoints/" EP "/0000000000000007/pgdata/");
    layout_file(&endpoint, UINT64_MAX, "pg_stat/a.stat", key);
    assert_string_equal(key, "endpoints/" EP "/ffffffffffffffff/pgdata/pg_stat/a.stat");
    layout_tombstone(&tenant, 9, key);
    assert_string_equal(key, "tombstones/tenant/" T);
    layout_tombstone(&timeline, 9, key);
    assert_string_equal(key, "tombstones/timeline/" T "/" TL);
    layout_tombstone(&endpoint, 0, key);
    assert_string_equal(key, "tombstones/endpoint/" T "/" TL "/" EP "/ffffffffffffffff");
    layout_tombstones(&endpoint, key);
    assert_string_equal(key, "tombstones/endpoint/" T "/" TL "/" EP "/");
    layout_intent("abc", key);
    assert_string_equal(key, "intents/abc");
}

static void the_longest_names_fit(void **state)
{
    (void)state;
    struct scope s = endpoint;
    char key[LAYOUT_KEY_SIZE], part[LAYOUT_KEY_SIZE], path[PATH_MAX_BYTES + 1];
    memset(s.endpoint, 'e', ENDPOINT_SIZE - 1);
    memset(path, 'p', PATH_MAX_BYTES);
    path[PATH_MAX_BYTES] = '\0';
    layout_file(&s, UINT64_MAX, path, key);
    layout_scope(&timeline, part);
    assert_true(strlen(part) + strlen(key) <= STORE_MAX_KEY);
    assert_string_equal(key + strlen(key) - PATH_MAX_BYTES, path);
}

/* Whatever is deleted lies below the bound, whatever is not lies at or above it. */
static void the_bound_divides_generations(void **state)
{
    (void)state;
    static const uint64_t gens[] = {
        0,         1, 9, 10, 15, 16, 255, 256, UINT32_MAX, INT64_MAX, 1ULL << 63, UINT64_MAX - 1,
        UINT64_MAX};
    char bound[LAYOUT_KEY_SIZE], key[LAYOUT_KEY_SIZE];
    static const char part[] = "tenants/" T "/timelines/" TL "/";
    for (size_t i = 0; i < LEN(gens); i++) {
        bool bounded = layout_end_before(&endpoint, gens[i], bound);
        assert_int_equal(bounded, gens[i] != UINT64_MAX);
        if (!bounded)
            continue;
        assert_null(store_key_problem(bound));
        for (size_t k = 0; k < LEN(gens); k++) {
            layout_file(&endpoint, gens[k], "a", key);
            assert_memory_equal(bound, part, sizeof(part) - 1);
            assert_int_equal(strcmp(key, bound + sizeof(part) - 1) < 0, gens[k] <= gens[i]);
        }
    }
}

static void the_first_tombstone_is_the_highest(void **state)
{
    (void)state;
    char low[LAYOUT_KEY_SIZE], high[LAYOUT_KEY_SIZE];
    layout_tombstone(&endpoint, 7, low);
    layout_tombstone(&endpoint, 8, high);
    assert_true(strcmp(high, low) < 0);
}

static void a_tombstone_tells_its_generation(void **state)
{
    (void)state;
    static const uint64_t gens[] = {0, 1, 7, INT64_MAX, UINT64_MAX};
    char key[LAYOUT_KEY_SIZE];
    uint64_t gen;
    for (size_t i = 0; i < LEN(gens); i++) {
        layout_tombstone(&endpoint, gens[i], key);
        assert_true(layout_tombstone_gen(key, &gen));
        assert_true(gen == gens[i]);
    }
    static const char *const foreign[] = {
        "",
        "tombstones/endpoint/",
        "tombstones/tenant/" T,
        "tombstones/timeline/" T "/" TL,
        "tombstones/endpoint/" T "/" TL "/" EP,
        "tombstones/endpoint/" T "/" TL "/" EP "/",
        "tombstones/endpoint/" T "/" TL "/" EP "/fffffffffffffff",
        "tombstones/endpoint/" T "/" TL "/" EP "/fffffffffffffffff",
        "tombstones/endpoint/" T "/" TL "/" EP "/FFFFFFFFFFFFFFFF",
        "tombstones/endpoint/" T "/" TL "/" EP "/x/ffffffffffffffff",
        "tombstones/endpoint/" T "/" TL "/-bad/ffffffffffffffff",
        "tombstones/endpoint/short/" TL "/" EP "/ffffffffffffffff",
        "tenants/" T "/timelines/" TL "/endpoints/" EP "/ffffffffffffffff",
    };
    for (size_t i = 0; i < LEN(foreign); i++) {
        print_message("%s\n", foreign[i]);
        assert_false(layout_tombstone_gen(foreign[i], &gen));
    }
}

/* Whether the scope is the timeline's or an endpoint's, the part is the timeline's, and no more. */
static void a_part_is_one_timeline(void **state)
{
    struct fixture *f = *state, part = *f;
    const struct scope *const scopes[] = {&timeline, &endpoint};
    char key[LAYOUT_KEY_SIZE], whole[2 * LAYOUT_KEY_SIZE];
    for (size_t i = 0; i < LEN(scopes); i++) {
        assert_int_equal(layout_open_timeline(f->s, scopes[i], &part.s, NULL), 0);
        layout_file(&endpoint, i, "lfc_state", key);
        assert_int_equal(put_text(&part, key, "123"), STORE_OK);
        store_close(part.s);
        snprintf(whole, sizeof(whole), "tenants/" T "/timelines/" TL "/%s", key);
        assert_content(f, whole, "123");
        assert_int_equal(count_keys(f, ""), i + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_as_designed),
        cmocka_unit_test(the_longest_names_fit),
        cmocka_unit_test(the_bound_divides_generations),
        cmocka_unit_test(the_first_tombstone_is_the_highest),
        cmocka_unit_test(a_tombstone_tells_its_generation),
        cmocka_unit_test_setup_teardown(a_part_is_one_timeline, setup, teardown),
    };
    return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
