#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/xalloc.h"
#include "compute/manifest.h"
#include "epufs/files.h"

#define A    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEAD "{\"files\":{"
#define TAIL "},\"major\":15,\"schema\":1,\"system_identifier\":\"18446744073709551615\"}"

static void check_text(const struct manifest *m, const char *expected)
{
    struct buf text = BUF_INIT(MANIFEST_MAX_BYTES);
    manifest_text(m, &text);
    assert_string_equal(buf_str(&text), expected);
    buf_cleanup(&text);
}

static void it_comes_back_as_it_went(void **state)
{
    struct manifest m = {.cluster = {15, UINT64_MAX}}, again;
    struct store_err err = {0};
    const char *text =
        HEAD "\"lfc_state\":[{\"sha256\":\"" B "\",\"size\":2},{\"sha256\":\"" A
             "\",\"size\":1}],\"pg_stat/\xc3\xa9.stat\":[{\"sha256\":\"" A "\",\"size\":0}]" TAIL;
    (void)state;
    check_text(&m, HEAD TAIL);
    assert_int_equal(manifest_add(&m, "pg_stat/\xc3\xa9.stat", 0, A, &err), 0);
    assert_int_equal(manifest_add(&m, "lfc_state", 1, A, &err), 0);
    assert_int_equal(manifest_add(&m, "lfc_state", 2, B, &err), 0);
    check_text(&m, text);
    assert_int_equal(manifest_parse(text, strlen(text), &again, &err), 0);
    check_text(&again, text);
    assert_true(again.cluster.system_identifier == UINT64_MAX);
    manifest_cleanup(&m);
    manifest_cleanup(&again);
}

static void contents_are_kept_newest_first(void **state)
{
    struct manifest m = {.cluster = {15, 1}};
    struct store_err err;
    char sha[DIGEST_SIZE] = A;
    (void)state;
    for (int i = 0; i < 6; i++) {
        sha[0] = (char)('0' + i);
        assert_int_equal(manifest_add(&m, "f", 10, sha, &err), 0);
    }
    for (int i = 0; i < 6; i++) {
        sha[0] = (char)('0' + i);
        assert_int_equal(manifest_has(&m, "f", 10, sha), i >= 6 - MANIFEST_KEEP);
        assert_false(manifest_has(&m, "f", 11, sha));
        assert_false(manifest_has(&m, "g", 10, sha));
    }
    sha[0] = '3'; /* again: it moves to the front, and nothing is lost */
    assert_int_equal(manifest_add(&m, "f", 10, sha, &err), 0);
    assert_int_equal(m.files[0].n, MANIFEST_KEEP);
    assert_int_equal(m.files[0].contents[0].sha256[0], '3');
    sha[0] = '2';
    assert_true(manifest_has(&m, "f", 10, sha));
    manifest_settle(&m, "f", sha);
    assert_int_equal(m.files[0].n, 1);
    assert_true(manifest_has(&m, "f", 10, sha));
    manifest_settle(&m, "f", B); /* not listed: nothing happens */
    manifest_settle(&m, "g", B);
    assert_true(manifest_has(&m, "f", 10, sha));
    manifest_cleanup(&m);
}

static void its_files_are_for_one_cluster(void **state)
{
    const struct manifest m = {.cluster = {15, 7}};
    struct store_err err = {0};
    (void)state;
    assert_int_equal(manifest_fits(&m, &(struct cluster){15, 7}, &err), 0);
    assert_int_equal(manifest_fits(&m, &(struct cluster){16, 7}, &err), -1);
    assert_string_equal(err.msg, "the files are of PostgreSQL 15, the cluster is of 16");
    assert_int_equal(manifest_fits(&m, &(struct cluster){15, 8}, &err), -1);
    assert_string_equal(err.msg, "the files are of the cluster 7, this is 8");
}

static void paths_have_a_bound(void **state)
{
    struct manifest m = {.cluster = {15, 7}};
    struct store_err err = {0};
    char path[16];
    (void)state;
    for (int i = 0; i <= MANIFEST_MAX_FILES; i++) {
        snprintf(path, sizeof(path), "%d", i);
        assert_int_equal(manifest_add(&m, path, 1, A, &err), i < MANIFEST_MAX_FILES ? 0 : -1);
    }
    assert_non_null(strstr(err.msg, "more than 256 files"));
    manifest_cleanup(&m);
}

static void bad_ones_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"schema\":2,\"major\":15,\"system_identifier\":\"1\",\"files\":{}}",
        "{\"schema\":1,\"major\":\"15\",\"system_identifier\":\"1\",\"files\":{}}",
        "{\"schema\":1,\"major\":0,\"system_identifier\":\"1\",\"files\":{}}",
        "{\"schema\":1,\"major\":15,\"system_identifier\":1,\"files\":{}}",
        "{\"schema\":1,\"major\":15,\"system_identifier\":\"x\",\"files\":{}}",
        "{\"schema\":1,\"major\":15,\"system_identifier\":\"1\",\"files\":[]}",
        "{\"schema\":1,\"schema\":1,\"major\":15,\"system_identifier\":\"1\",\"files\":{}}",
        HEAD "\"f\":[]" TAIL,
        HEAD "\"f\":1" TAIL,
        HEAD "\"f\":[1]" TAIL,
        HEAD "\"f\":[{\"size\":1}]" TAIL,
        HEAD "\"f\":[{\"size\":-1,\"sha256\":\"" A "\"}]" TAIL,
        HEAD "\"f\":[{\"size\":\"1\",\"sha256\":\"" A "\"}]" TAIL,
        HEAD "\"f\":[{\"size\":1,\"sha256\":\"" A "a\"}]" TAIL,
        HEAD "\"f\":[{\"size\":1,\"sha256\":\"A\"}]" TAIL,
        HEAD "\"../f\":[{\"size\":1,\"sha256\":\"" A "\"}]" TAIL,
        HEAD "\"f\":[{\"size\":1,\"sha256\":\"" A "\"},1,1,1,1]" TAIL,
    };
    (void)state;
    for (size_t i = 0; i < LEN(bad); i++) {
        struct manifest m;
        struct store_err err = {0};
        if (manifest_parse(bad[i], strlen(bad[i]), &m, &err) == 0)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(err.code, STORE_CORRUPT);
        assert_int_equal(m.n, 0);
    }
}

static void the_writer_takes_it(void **state)
{
    struct known_files *k;
    struct store_err err;
    uint64_t max_bytes = 0;
    (void)state;
    assert_int_equal(known_files_parse(KNOWN_FILES_DEFAULT, 1 << 30, &k, &err), 0);
    assert_true(known_files_match(k, MANIFEST_PATH, &max_bytes));
    assert_int_equal(max_bytes, MANIFEST_MAX_BYTES);
    known_files_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_back_as_it_went),
        cmocka_unit_test(contents_are_kept_newest_first),
        cmocka_unit_test(its_files_are_for_one_cluster),
        cmocka_unit_test(paths_have_a_bound),
        cmocka_unit_test(bad_ones_are_refused),
        cmocka_unit_test(the_writer_takes_it),
    };
    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
