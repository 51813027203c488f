/* Which files travel, and how each is told from something else. tests/fixtures has real ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "compute/digest.h"
#include "compute/pgfiles.h"
#include "tests/unit/pgdata_fixture.h"

static const struct cluster fifteen = {.major = 15, .system_identifier = 1};

static int set_up(void **state)
{
    struct pgdata *p = xcalloc(1, sizeof(*p));
    pgdata_begin(p);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    pgdata_end(*state);
    free(*state);
    return 0;
}

/* ---- The cluster ---- */

static int read_cluster(const struct pgdata *p, struct cluster *c, struct store_err *err)
{
    int fd = open(p->path, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    *err = (struct store_err){0};
    int rc = pgfiles_cluster(fd, c, err);
    close(fd);
    return rc;
}

static void a_cluster_has_version_and_identifier(void **state)
{
    struct cluster c;
    struct store_err err;
    assert_int_equal(read_cluster(*state, &c, &err), 0);
    assert_int_equal(c.major, 15);
    assert_true(c.system_identifier == 7000000000000000001);
    pgdata_write(*state, "PG_VERSION", "10", 2);
    pgdata_control(*state, UINT64_MAX, 1002);
    assert_int_equal(read_cluster(*state, &c, &err), 0);
    assert_int_equal(c.major, 10);
    assert_true(c.system_identifier == UINT64_MAX);
}

static void what_is_no_cluster_is_told(void **state)
{
    static const char *const versions[] = {"",      "\n",     "9.6\n", "9\n",
                                           "x15\n", "15.3\n", "-1\n",  "99999"};
    struct cluster c;
    struct store_err err;
    for (size_t i = 0; i < LEN(versions); i++) {
        pgdata_write(*state, "PG_VERSION", versions[i], strlen(versions[i]));
        assert_int_equal(read_cluster(*state, &c, &err), -1);
        assert_int_equal(err.code, STORE_INVALID);
        assert_non_null(strstr(err.msg, "PG_VERSION"));
    }
    pgdata_write(*state, "PG_VERSION", "15\n", 3);
    pgdata_control(*state, 0, 1300);
    assert_int_equal(read_cluster(*state, &c, &err), -1);
    pgdata_control(*state, 5, 1300u << 16); /* the other byte order */
    assert_int_equal(read_cluster(*state, &c, &err), -1);
    pgdata_write(*state, "global/pg_control", "short", 5);
    assert_int_equal(read_cluster(*state, &c, &err), -1);
    assert_non_null(strstr(err.msg, "pg_control has 5 bytes"));
    char path[PGDATA_MAX_PATH];
    pgdata_at(*state, "global/pg_control", path);
    unlink(path);
    assert_int_equal(read_cluster(*state, &c, &err), -1);
    assert_non_null(strstr(err.msg, "global/pg_control"));
}

/* ---- The table ---- */

static void only_known_paths_are_found(void **state)
{
    static const struct {
        const char *path, *pattern;
    } cases[] = {
        {"autoprewarm.blocks", "autoprewarm.blocks"},
        {"lfc_state", "lfc_state"},
        {"pg_stat/pg_stat_statements.stat", "pg_stat/pg_stat_statements.stat"},
        {"pg_stat/pgstat.stat", "pg_stat/pgstat.stat"},
        {"pg_stat/global.stat", "pg_stat/global.stat"},
        {"pg_stat/db_16384.stat", "pg_stat/db_*.stat"},
        {"pg_stat/other.stat", "pg_stat/*.stat"},
        {"pg_stat/.stat", NULL},
        {"pg_stat/a/b.stat", NULL},
        {"pg_stat/x.tmp", NULL},
        {"autoprewarm.blocks.tmp", NULL},
        {"postgresql.conf", NULL},
        {"postgresql.auto.conf", NULL},
        {"pg_hba.conf", NULL},
        {"standby.signal", NULL},
        {"base/1/1259", NULL},
        {"global/pg_control", NULL},
        {"epufs_manifest.json", NULL},
        {"", NULL},
    };
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        const struct pgfile *f = pgfiles_find(cases[i].path);
        if (!cases[i].pattern != !f)
            fail_msg("'%s'", cases[i].path);
        if (f)
            assert_string_equal(f->pattern, cases[i].pattern);
    }
}

/* Returns 0, or -1 and the message. */
static int check_bytes(const struct pgdata *p, const char *path, const void *bytes, size_t n,
                       const struct cluster *c, struct store_err *err)
{
    char file[PGDATA_MAX_PATH];
    pgdata_write(p, "file", bytes, n);
    pgdata_at(p, "file", file);
    int fd = open(file, O_RDONLY);
    assert_true(fd >= 0);
    *err = (struct store_err){0};
    int rc = pgfiles_check(pgfiles_find(path), fd, n, c, err);
    close(fd);
    return rc;
}

static void check_good(const struct pgdata *p, const char *path, const void *bytes, size_t n)
{
    struct store_err err;
    if (check_bytes(p, path, bytes, n, &fifteen, &err) != 0)
        fail_msg("%s: %s", path, err.msg);
}

static void check_bad(const struct pgdata *p, const char *path, const void *bytes, size_t n,
                      const char *words)
{
    struct store_err err;
    if (check_bytes(p, path, bytes, n, &fifteen, &err) == 0)
        fail_msg("%s with %zu bytes was taken; expected '%s'", path, n, words);
    if (!strstr(err.msg, words))
        fail_msg("%s: '%s'; expected '%s'", path, err.msg, words);
}

/* A fixture's bytes; the caller frees them. */
static char *load(const char *path, size_t *n)
{
    char file[PGDATA_MAX_PATH];
    snprintf(file, sizeof(file), "tests/fixtures/pgdata/%s", path);
    FILE *f = fopen(file, "rb");
    if (!f)
        fail_msg("%s: %s", file, strerror(errno));
    char *bytes = xmalloc(1 << 20);
    *n = fread(bytes, 1, 1 << 20, f);
    fclose(f);
    return bytes;
}

static const char *const real[] = {
    "autoprewarm.blocks",
    "pg_stat/pg_stat_statements.stat",
    "pg_stat/pgstat.stat",
};

static void what_postgres_wrote_is_good(void **state)
{
    for (size_t i = 0; i < LEN(real); i++) {
        size_t n;
        char *bytes = load(real[i], &n);
        check_good(*state, real[i], bytes, n);
        free(bytes);
    }
}

/* Whatever the cut, but for pg_stat_statements, of which only the head is looked at. */
static void what_was_cut_is_not(void **state)
{
    for (size_t i = 0; i < LEN(real); i++) {
        size_t n;
        char *bytes = load(real[i], &n);
        bool by_head = strstr(real[i], "statements");
        for (size_t cut = 0; cut < n; cut += cut < 64 || cut > n - 64 ? 1 : 997) {
            struct store_err err;
            if (by_head ? cut >= 160 : bytes[cut ? cut - 1 : 0] == 'E')
                continue;
            if (check_bytes(*state, real[i], bytes, cut, &fifteen, &err) == 0)
                fail_msg("%s cut at %zu was taken", real[i], cut);
        }
        free(bytes);
    }
}

static void files_of_another_version_are_refused(void **state)
{
    const struct cluster sixteen = {.major = 16}, fourteen = {.major = 14};
    struct store_err err;
    size_t n;
    char *bytes = load(real[1], &n);
    assert_int_equal(check_bytes(*state, real[1], bytes, n, &sixteen, &err), -1);
    assert_non_null(strstr(err.msg, "version 15; the cluster is of 16"));
    free(bytes);
    bytes = load(real[2], &n);
    assert_int_equal(check_bytes(*state, real[2], bytes, n, &sixteen, &err), 0);
    assert_int_equal(check_bytes(*state, real[2], bytes, n, &fourteen, &err), -1);
    assert_non_null(strstr(err.msg, "version 14 does not write such a file"));
    assert_int_equal(check_bytes(*state, "pg_stat/global.stat", bytes, n, &fourteen, &err), 0);
    assert_int_equal(check_bytes(*state, "pg_stat/global.stat", bytes, n, &fifteen, &err), -1);
    bytes[0] ^= 1; /* 15's number is known exactly */
    check_bad(*state, real[2], bytes, n, "not as version 15's server writes");
    free(bytes);
}

static void lists_of_blocks_are_read_to_the_end(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"<<0>>\n", NULL},
        {"<<1>>\n0,1664,1262,0,0\n", NULL},
        {"<<1>>\n4294967295,4294967295,4294967295,4294967295,4294967295\n", NULL},
        {"", "empty"},
        {"\n", "number of its blocks"},
        {"<<>>\n", "number of its blocks"},
        {"<<-1>>\n", "number of its blocks"},
        {"<<1>\n", "number of its blocks"},
        {"<<1>>", "ends within a line"},
        {"<<1>>\n", "promises 1 blocks and has 0"},
        {"<<0>>\n0,1,2,3,4\n", "promises 0 blocks and has 1"},
        {"<<2>>\n0,1,2,3,4\n", "promises 2 blocks and has 1"},
        {"<<1>>\n0,1,2,3,4", "ends within a line"},
        {"<<1>>\n0,1,2,3\n", "line 2 is not five numbers"},
        {"<<1>>\n0,1,2,3,4,5\n", "line 2 is not five numbers"},
        {"<<1>>\n0,1,2,3,x\n", "line 2 is not five numbers"},
        {"<<1>>\n0,1,2,3,4294967296\n", "line 2 is not five numbers"},
        {"<<1>>\n0,,2,3,4\n", "line 2 is not five numbers"},
        {"<<1>>\n\n", "line 2 is not five numbers"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        const char *text = cases[i].text;
        if (cases[i].words)
            check_bad(*state, "autoprewarm.blocks", text, strlen(text), cases[i].words);
        else
            check_good(*state, "autoprewarm.blocks", text, strlen(text));
    }
    char long_line[300];
    memset(long_line, '1', sizeof(long_line));
    check_bad(*state, "autoprewarm.blocks", long_line, sizeof(long_line), "too long");
    check_bad(*state, "autoprewarm.blocks", "<<1>>\n0,1,2,3,4\0", 16, "within a line");
}

/* Lines that fall on the border of what is read at once. */
static void long_lists_are_read_in_pieces(void **state)
{
    enum { LINES = 30000 };
    struct buf text = BUF_INIT(1 << 20);
    buf_addf(&text, "<<%d>>\n", LINES);
    for (int i = 0; i < LINES; i++)
        buf_addf(&text, "5,1663,%d,0,%d\n", 16384 + i % 7, i);
    check_good(*state, "autoprewarm.blocks", text.data, text.len);
    text.data[text.len - 2] = 'x';
    check_bad(*state, "autoprewarm.blocks", text.data, text.len, "line 30001 is not");
    buf_cleanup(&text);
}

static void other_files_are_known_by_their_heads(void **state)
{
    static const uint32_t statements[] = {0x20220408, 1500, 0, 0};
    static const uint32_t negative[] = {0x20220408, 1500, 0xffffffff, 0};
    static const uint32_t too_many[] = {0x20220408, 1500, 2, 0};
    static const uint32_t no_date[] = {0x20221308, 1500, 0, 0};
    static const uint32_t lfc[] = {0xfcfcfcfc, 0, 0, 0};
    static const uint32_t lfc_too_many[] = {0xfcfcfcfc, 9, 0, 0};
    static const unsigned char zstd[] = {0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0, 0};
    const char *path = "pg_stat/pg_stat_statements.stat";
    check_good(*state, path, statements, sizeof(statements));
    check_bad(*state, path, negative, sizeof(negative), "does not begin as");
    check_bad(*state, path, too_many, sizeof(too_many), "does not begin as");
    check_bad(*state, path, no_date, sizeof(no_date), "does not begin as");
    check_bad(*state, path, statements, 11, "too short");
    check_bad(*state, path, "", 0, "empty");
    check_good(*state, "lfc_state", lfc, sizeof(lfc));
    check_good(*state, "lfc_state", zstd, sizeof(zstd));
    check_bad(*state, "lfc_state", lfc_too_many, sizeof(lfc_too_many), "does not begin as");
    check_bad(*state, "lfc_state", "lfc state", 9, "does not begin as");
    check_bad(*state, "lfc_state", "lfc", 3, "too short");
    check_good(*state, "pg_stat/other.stat", "", 0); /* whatever an extension writes */
    check_good(*state, "pg_stat/other.stat", "x", 1);
}

static void sizes_have_a_limit(void **state)
{
    struct store_err err = {0};
    const struct pgfile *f = pgfiles_find("pg_stat/other.stat");
    (void)state;
    assert_int_equal(pgfiles_check(f, -1, 100 * 1024 * 1024, &fifteen, &err), 0);
    assert_int_equal(pgfiles_check(f, -1, 100 * 1024 * 1024 + 1, &fifteen, &err), -1);
    assert_non_null(strstr(err.msg, "up to 104857600 are taken"));
}

static void a_digest_is_sha_256(void **state)
{
    char out[DIGEST_SIZE], file[PGDATA_MAX_PATH];
    struct store_err err = {0};
    pgdata_write(*state, "file", "abcd", 4);
    pgdata_at(*state, "file", file);
    int fd = open(file, O_RDONLY);
    /* FIPS 180-2, appendix B.1: of "abc" */
    assert_int_equal(digest_file(fd, 3, out, &err), 0);
    assert_string_equal(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(digest_file(fd, 0, out, &err), 0);
    assert_string_equal(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_int_equal(digest_file(fd, 5, out, &err), -1);
    assert_int_equal(err.code, STORE_CORRUPT);
    close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_cluster_has_version_and_identifier),
        TEST(what_is_no_cluster_is_told),
        TEST(only_known_paths_are_found),
        TEST(what_postgres_wrote_is_good),
        TEST(what_was_cut_is_not),
        TEST(files_of_another_version_are_refused),
        TEST(lists_of_blocks_are_read_to_the_end),
        TEST(long_lists_are_read_in_pieces),
        TEST(other_files_are_known_by_their_heads),
        TEST(sizes_have_a_limit),
        TEST(a_digest_is_sha_256),
    };
    return cmocka_run_group_tests_name("pgfiles", tests, NULL, NULL);
}
