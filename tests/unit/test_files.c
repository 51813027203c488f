#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/xalloc.h"
#include "epufs/files.h"

enum { DEFAULT_BYTES = 1000 };

static struct known_files *parse(const char *list)
{
    struct known_files *k = NULL;
    struct store_err err = {0};
    if (known_files_parse(list, DEFAULT_BYTES, &k, &err) != 0)
        fail_msg("'%s': %s", list, err.msg);
    return k;
}

struct match {
    const char *path;
    uint64_t max_bytes; /* 0: not known */
};

static void check(const char *list, const struct match *cases, size_t n)
{
    struct known_files *k = parse(list);
    for (size_t i = 0; i < n; i++) {
        uint64_t max_bytes = 0;
        bool known = known_files_match(k, cases[i].path, &max_bytes);
        if (known != (cases[i].max_bytes != 0) || max_bytes != cases[i].max_bytes)
            fail_msg("'%s': known %d, %llu bytes", cases[i].path, known,
                     (unsigned long long)max_bytes);
    }
    known_files_free(k);
}

static void the_default_names_what_postgres_and_neon_write(void **state)
{
    (void)state;
    static const struct match cases[] = {
        {"autoprewarm.blocks", 1000},
        {"lfc_state", 1000},
        {"pg_stat_statements.stat", 1000},
        {"pg_stat/pg_stat_statements.stat", 1000},
        {"pg_stat/pgstat.json", 1000},
        {"epufs_manifest.json", 262144},
        {"pg_stat/epufs_manifest.json2", 0},
        {"pg_stat/deep/er.stat", 0},
        {"pg_stat/.hidden.stat", 0},
        {"pg_stat/.stat", 0},
        {"pg_stat", 0},
        {"pg_stat/", 0},
        {"pg_stat/x.stat2", 0},
        {"Pg_stat/x.stat", 0},
        {"x/lfc_state", 0},
        {"lfc_state2", 0},
        {"LFC_STATE", 0},
        {"lfc_state/x", 0},
        {"postgresql.conf", 0},
        {"pg_hba.conf", 0},
        {"base/1/1259", 0},
        {"", 0},
    };
    check(KNOWN_FILES_DEFAULT, cases, LEN(cases));
}

static void each_pattern_may_have_a_limit(void **state)
{
    (void)state;
    static const struct match cases[] = {
        {"a", 64 * 1024 * 1024}, {"b", 1000}, {"c", 5}, {"cx", 7}, {"d/e", 1}, {"d/e/f", 0},
    };
    check("a=64MiB, b,,c=5,c*=7 ,d/?=1", cases, LEN(cases));
}

static void the_first_match_counts(void **state)
{
    (void)state;
    static const struct match cases[] = {{"ab", 1}, {"ac", 2}};
    check("ab=1,a*=2,ac=3", cases, LEN(cases));
}

static void brackets_and_escapes_are_shell_patterns(void **state)
{
    (void)state;
    static const struct match cases[] = {
        {"x1", 1}, {"x9", 1}, {"xa", 0}, {"x/", 0}, {"star*", 2}, {"starx", 0}, {"[x", 3},
    };
    check("x[0-9]=1,star\\*=2,\\[x=3", cases, LEN(cases));
}

static void bad_lists_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",      " , ",      "/etc/passwd",           "a,/b", "a=", "=5", "a=b", "a=-1",
        "a=5=6", "a=1.5MiB", "a=99999999999999999999"};
    for (size_t i = 0; i < LEN(bad); i++) {
        struct known_files *k = NULL;
        struct store_err err = {0};
        if (known_files_parse(bad[i], DEFAULT_BYTES, &k, &err) == 0)
            fail_msg("'%s' was taken", bad[i]);
        assert_int_equal(err.code, STORE_INVALID);
        assert_non_null(strstr(err.msg, "known_files"));
    }
    known_files_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_names_what_postgres_and_neon_write),
        cmocka_unit_test(each_pattern_may_have_a_limit),
        cmocka_unit_test(the_first_match_counts),
        cmocka_unit_test(brackets_and_escapes_are_shell_patterns),
        cmocka_unit_test(bad_lists_are_refused),
    };
    return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
