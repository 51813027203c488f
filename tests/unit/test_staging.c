/* Files on their way into PGDATA: whole or not at all, and never beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "compute/staging.h"
#include "tests/unit/pgdata_fixture.h"

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

static struct staging *open_staging(const struct pgdata *p)
{
    struct staging *s = NULL;
    struct store_err err = {0};
    if (staging_open(p->path, 0, &s, &err) != 0)
        fail_msg("%s", err.msg);
    return s;
}

/* Stages `text` under the number. */
static void stage(struct staging *s, size_t number, const char *text)
{
    struct store_err err = {0};
    int fd = -1;
    if (staging_begin(s, number, &err) != 0 || staging_add(s, text, strlen(text), &err) != 0)
        fail_msg("%s", err.msg);
    staging_finish(s, &fd);
    assert_true(fd >= 0);
    assert_int_equal(staging_settle(s, fd, &err), 0);
    close(fd);
}

static void place(struct staging *s, size_t number, const char *path)
{
    struct store_err err = {0};
    if (staging_place(s, number, path, &err) != 0)
        fail_msg("%s", err.msg);
}

static size_t count_leftovers(const struct pgdata *p)
{
    char path[PGDATA_MAX_PATH];
    struct stat st;
    size_t n = 0;
    for (int i = 0; i < 10; i++) {
        snprintf(path, sizeof(path), "%s/%s/new-%d", p->path, STAGING_FOLDER, i);
        n += lstat(path, &st) == 0;
    }
    return n;
}

static void a_file_appears_when_it_is_placed(void **state)
{
    const struct pgdata *p = *state;
    struct stat st, root;
    struct store_err err;
    char path[PGDATA_MAX_PATH];
    pgdata_write(p, "autoprewarm.blocks", "old", 3);
    struct staging *s = open_staging(p);
    stage(s, 0, "new");
    stage(s, 1, "stat");
    assert_string_equal(pgdata_read(p, "autoprewarm.blocks"), "old");
    place(s, 0, "autoprewarm.blocks");
    place(s, 1, "pg_stat/x.stat");
    assert_int_equal(staging_sync(s, &err), 0);
    assert_string_equal(pgdata_read(p, "autoprewarm.blocks"), "new");
    assert_string_equal(pgdata_read(p, "pg_stat/x.stat"), "stat");
    pgdata_at(p, "pg_stat/x.stat", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(p->path, &root), 0);
    assert_int_equal(st.st_uid, root.st_uid);
    staging_close(s);
    assert_int_equal(count_leftovers(p), 0);
}

static void what_is_not_placed_goes(void **state)
{
    const struct pgdata *p = *state;
    struct staging *s = open_staging(p);
    struct store_err err;
    stage(s, 0, "x");
    assert_int_equal(staging_begin(s, 1, &err), 0);
    assert_int_equal(count_leftovers(p), 2);
    staging_close(s);
    assert_int_equal(count_leftovers(p), 0);
}

static void a_number_can_be_begun_anew(void **state)
{
    const struct pgdata *p = *state;
    struct staging *s = open_staging(p);
    stage(s, 3, "a longer first one");
    stage(s, 3, "second");
    place(s, 3, "lfc_state");
    assert_string_equal(pgdata_read(p, "lfc_state"), "second");
    struct store_err err = {0};
    assert_int_equal(staging_begin(s, STAGING_MAX, &err), -1);
    staging_close(s);
}

static void folders_on_the_way_are_made(void **state)
{
    const struct pgdata *p = *state;
    struct staging *s = open_staging(p);
    stage(s, 0, "deep");
    place(s, 0, "a/b/c");
    assert_string_equal(pgdata_read(p, "a/b/c"), "deep");
    staging_close(s);
}

/* A link on the way, or in the file's own place, leads nowhere. */
static void links_are_not_followed(void **state)
{
    const struct pgdata *p = *state;
    char path[PGDATA_MAX_PATH], outside[64] = "/tmp/epufs-outside-XXXXXX";
    struct store_err err = {0};
    assert_non_null(mkdtemp(outside));
    pgdata_at(p, "away", path);
    assert_int_equal(symlink(outside, path), 0);
    pgdata_at(p, "lfc_state", path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    struct staging *s = open_staging(p);
    stage(s, 0, "x");
    assert_int_equal(staging_place(s, 0, "away/file", &err), -1);
    assert_non_null(strstr(err.msg, "cannot open the folder"));
    uint64_t size;
    assert_int_equal(staging_open_file(s, "lfc_state", &size, &err), -1);
    assert_int_equal(staging_open_file(s, "away/file", &size, &err), -1);
    place(s, 0, "lfc_state"); /* takes the link's place */
    assert_string_equal(pgdata_read(p, "lfc_state"), "x");
    staging_close(s);
    assert_int_equal(rmdir(outside), 0); /* empty */
}

static void our_folder_is_no_link_either(void **state)
{
    const struct pgdata *p = *state;
    char path[PGDATA_MAX_PATH];
    struct staging *s = NULL;
    struct store_err err = {0};
    pgdata_at(p, STAGING_FOLDER, path);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_int_equal(staging_open(p->path, 0, &s, &err), -1);
    assert_non_null(strstr(err.msg, STAGING_FOLDER));
}

static void only_regular_files_are_opened(void **state)
{
    const struct pgdata *p = *state;
    char path[PGDATA_MAX_PATH];
    uint64_t size = 0;
    struct store_err err = {0};
    pgdata_at(p, "pipe", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    pgdata_write(p, "lfc_state", "four", 4);
    struct staging *s = open_staging(p);
    assert_int_equal(staging_open_file(s, "pipe", &size, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    assert_int_equal(staging_open_file(s, "global", &size, &err), -1);
    assert_int_equal(staging_open_file(s, "missing", &size, &err), -1);
    assert_int_equal(err.code, STORE_NOT_FOUND);
    int fd = staging_open_file(s, "lfc_state", &size, &err);
    assert_true(fd >= 0);
    assert_int_equal(size, 4);
    close(fd);
    staging_close(s);
}

static void a_folder_in_the_way_is_an_error(void **state)
{
    const struct pgdata *p = *state;
    struct store_err err = {0};
    pgdata_folder(p, "lfc_state");
    struct staging *s = open_staging(p);
    stage(s, 0, "x");
    assert_int_equal(staging_place(s, 0, "lfc_state", &err), -1);
    assert_non_null(strstr(err.msg, "'lfc_state'"));
    staging_close(s);
    assert_int_equal(count_leftovers(p), 0);
}

static void one_run_at_a_time(void **state)
{
    const struct pgdata *p = *state;
    struct staging *other = NULL, *s = open_staging(p);
    struct store_err err = {0};
    uint64_t began = clock_mono_ms();
    assert_int_equal(staging_open(p->path, began + 60, &other, &err), -1);
    assert_int_equal(err.code, STORE_BUSY);
    assert_true(clock_mono_ms() - began >= 60);
    staging_close(s);
    staging_close(open_staging(p));
}

static void what_a_killed_run_left_goes_with_the_next(void **state)
{
    const struct pgdata *p = *state;
    pid_t child = fork();
    if (child == 0) {
        struct staging *s = open_staging(p);
        stage(s, 0, "x");
        stage(s, 1, "y");
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(count_leftovers(p), 2);
    struct staging *s = open_staging(p);
    assert_int_equal(count_leftovers(p), 0);
    staging_close(s);
}

static void a_full_disk_is_told_and_leaves_nothing(void **state)
{
    const struct pgdata *p = *state;
    pgdata_write(p, "lfc_state", "old", 3);
    pid_t child = fork();
    if (child == 0) { /* a limit of this process stands for the disk */
        static char block[65536];
        const struct rlimit small = {100000, 100000};
        struct store_err err = {0};
        struct staging *s = open_staging(p);
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &small);
        bool first =
            staging_begin(s, 0, &err) == 0 && staging_add(s, block, sizeof(block), &err) == 0;
        bool failed = staging_add(s, block, sizeof(block), &err) != 0;
        staging_close(s);
        _exit(first && failed && strstr(err.msg, "cannot write") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(count_leftovers(p), 0);
    assert_string_equal(pgdata_read(p, "lfc_state"), "old");
}

static void our_own_files_are_replaced_whole(void **state)
{
    const struct pgdata *p = *state;
    struct buf text = BUF_INIT(1 << 16);
    struct store_err err = {0};
    struct staging *s = open_staging(p);
    assert_int_equal(staging_read(s, "state.json", &text, &err), -1);
    assert_int_equal(err.code, STORE_NOT_FOUND);
    assert_int_equal(staging_write(s, "state.json", "first", 5, &err), 0);
    assert_int_equal(staging_write(s, "state.json", "two", 3, &err), 0);
    assert_int_equal(staging_read(s, "state.json", &text, &err), 0);
    assert_string_equal(buf_str(&text), "two");
    assert_int_equal(staging_remove(s, "state.json", &err), 0);
    assert_int_equal(staging_remove(s, "state.json", &err), 0);
    buf_cleanup(&text);
    text.max = 2; /* larger than what may be read */
    assert_int_equal(staging_write(s, "state.json", "three", 5, &err), 0);
    assert_int_equal(staging_read(s, "state.json", &text, &err), -1);
    buf_cleanup(&text);
    staging_close(s);
}

static void no_folder_is_a_clear_error(void **state)
{
    struct staging *s = NULL;
    struct store_err err = {0};
    (void)state;
    assert_int_equal(staging_open("/nowhere/pgdata", 0, &s, &err), -1);
    assert_non_null(strstr(err.msg, "'/nowhere/pgdata'"));
    assert_int_equal(staging_open("/dev/null", 0, &s, &err), -1);
    staging_close(NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_appears_when_it_is_placed),
        TEST(what_is_not_placed_goes),
        TEST(a_number_can_be_begun_anew),
        TEST(folders_on_the_way_are_made),
        TEST(links_are_not_followed),
        TEST(our_folder_is_no_link_either),
        TEST(only_regular_files_are_opened),
        TEST(a_folder_in_the_way_is_an_error),
        TEST(one_run_at_a_time),
        TEST(what_a_killed_run_left_goes_with_the_next),
        TEST(a_full_disk_is_told_and_leaves_nothing),
        TEST(our_own_files_are_replaced_whole),
        TEST(no_folder_is_a_clear_error),
    };
    return cmocka_run_group_tests_name("staging", tests, NULL, NULL);
}
