/* A folder that may not be written for a while, or not by us: what works meanwhile, and that the
 * same store works again when it may. As root, to whom modes mean nothing, the tests take another
 * user's place. */
#include "tests/unit/file_fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"

enum { NOBODY = 65534 };

/* While set, what would make a file or folder fails as on a file system that is mounted read-only;
 * what is there can be opened to read. */
static bool is_mounted_read_only;

int openat(int dir, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (!is_mounted_read_only || (flags & O_ACCMODE) == O_RDONLY)
        return (int)syscall(SYS_openat, dir, path, flags, mode);
    errno = EROFS;
    return -1;
}

int unlinkat(int dir, const char *path, int flags)
{
    if (!is_mounted_read_only)
        return (int)syscall(SYS_unlinkat, dir, path, flags);
    errno = faccessat(dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ? EROFS : ENOENT;
    return -1;
}

/* ---- A folder whose modes count ---- */

static void reopen(struct fixture *f)
{
    store_loop_free(f->loop);
    store_close(f->s);
    open_store(f, 0);
    assert_int_equal(store_loop_new(&f->loop, NULL), 0);
}

static int setup_user(void **state)
{
    if (geteuid() == 0)
        assert_int_equal(seteuid(NOBODY), 0);
    return setup(state);
}

static int teardown_user(void **state)
{
    struct fixture *f = *state;
    is_mounted_read_only = false;
    chmod(f->root, 0700);
    chmod(disk_path(f, FILE_TMP_NAME), 0700);
    int rc = teardown(state);
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
    return rc;
}

static void set_mode(struct fixture *f, const char *name, mode_t mode)
{
    assert_int_equal(chmod(disk_path(f, name), mode), 0);
}

static void forget_own_files(struct fixture *f)
{
    assert_int_equal(remove(disk_path(f, FILE_LOCK_NAME)), 0);
    assert_int_equal(remove(disk_path(f, FILE_TMP_NAME)), 0);
}

static void assert_is_denied(struct fixture *f, const char *key)
{
    struct outcome o;
    assert_int_equal(put(f, key, "x", 1, NULL, &o), STORE_DENIED);
    assert_non_null(strstr(o.err.msg, f->root));
    outcome_cleanup(&o);
    assert_int_equal(copy(f, key, "copied", NULL, &o), STORE_DENIED);
    outcome_cleanup(&o);
    assert_int_equal(remove_object(f, key), STORE_DENIED);
}

static void assert_can_be_read(struct fixture *f)
{
    assert_content(f, "k", "x");
    assert_content(f, "d/k", "x");
    assert_int_equal(count_keys(f, ""), 2);
}

static void assert_works(struct fixture *f)
{
    assert_int_equal(put_text(f, "d/new", "x"), STORE_OK);
    assert_int_equal(remove_object(f, "d/new"), STORE_OK);
    assert_int_equal(remove_object(f, "k"), STORE_OK);
    assert_int_equal(count_keys(f, ""), 1);
    assert_no_temporary_files(f);
}

static void fill(struct fixture *f)
{
    assert_int_equal(put_text(f, "k", "x"), STORE_OK);
    assert_int_equal(put_text(f, "d/k", "x"), STORE_OK);
}

/* ---- Read-only for a while ---- */

static void a_store_that_began_read_only_comes_to_work(void **state)
{
    struct fixture *f = *state;
    for (int own = 0; own <= 1; own++) { /* its lock and temporary folder are there */
        fill(f);
        if (!own)
            forget_own_files(f);
        set_mode(f, "", 0500);
        set_mode(f, "d", 0500);
        if (own)
            set_mode(f, FILE_TMP_NAME, 0);
        reopen(f);
        assert_can_be_read(f);
        assert_is_denied(f, "k");
        assert_is_denied(f, "d/k");
        set_mode(f, "", 0700);
        set_mode(f, "d", 0700);
        if (own)
            set_mode(f, FILE_TMP_NAME, 0700);
        assert_works(f);
    }
}

static void a_store_may_become_read_only_for_a_while(void **state)
{
    struct fixture *f = *state;
    for (int mounted = 0; mounted <= 1; mounted++) {
        fill(f);
        is_mounted_read_only = mounted;
        if (!mounted) {
            set_mode(f, "", 0500);
            set_mode(f, FILE_TMP_NAME, 0500);
        }
        assert_can_be_read(f);
        assert_is_denied(f, "k");
        set_mode(f, "", 0700);
        set_mode(f, FILE_TMP_NAME, 0700);
        is_mounted_read_only = false;
        assert_works(f);
    }
}

/* All threads find it closed, and then open. */
static void many_at_once_find_it_open(void **state)
{
    struct fixture *f = *state;
    enum { PUTS = 32 };
    for (int round = 0; round < 5; round++) {
        struct outcome o[PUTS];
        forget_own_files(f);
        set_mode(f, "", 0500);
        reopen(f);
        assert_int_equal(put_text(f, "k", "x"), STORE_DENIED);
        set_mode(f, "", 0700);
        for (int i = 0; i < PUTS; i++) {
            char key[16];
            snprintf(key, sizeof(key), "k/%d", i);
            outcome_init(&o[i]);
            store_put_bytes(f->s, f->loop, key, "x", 1, NULL, outcome_done, &o[i], NULL);
        }
        for (int i = 0; i < PUTS; i++) {
            while (!o[i].done)
                run_round(f);
            assert_int_equal(o[i].err.code, STORE_OK);
            outcome_cleanup(&o[i]);
        }
        assert_int_equal(count_keys(f, ""), PUTS);
    }
}

/* The file is another user's, say. To have it alone takes the right to write it. */
static void a_lock_that_may_only_be_read_can_be_shared(void **state)
{
    struct fixture *f = *state;
    struct outcome o;
    fill(f);
    assert_int_equal(put(f, "k", "x", 1, NULL, &o), STORE_OK);
    char etag[STORE_ETAG_SIZE];
    memcpy(etag, o.etag, sizeof(etag));
    outcome_cleanup(&o);
    set_mode(f, FILE_LOCK_NAME, 0400);
    reopen(f);
    const struct store_put_opts opts = {.if_match = etag};
    assert_int_equal(put(f, "k", "y", 1, &opts, &o), STORE_DENIED);
    outcome_cleanup(&o);
    assert_can_be_read(f);
    assert_works(f);
}

/* ---- Listings of those who may only read ---- */

static int64_t time_of_listing(struct fixture *f)
{
    struct listing l;
    list_all(f, "", (struct store_list_opts){0}, &l);
    assert_int_equal(l.n, 2);
    int64_t t = l.server_time_s;
    listing_cleanup(&l);
    return t;
}

/* A time is told only as far as nothing that expired before can appear any more. */
static void listings_tell_no_time_that_they_cannot_vouch_for(void **state)
{
    struct fixture *f = *state;
    static const int64_t times_s[] = {2000000, 1000000, 3000000};
    const int64_t now_s = clock_real_s();
    fill(f);
    assert_true(time_of_listing(f) >= now_s);
    for (size_t i = 0; i < 3; i++) {
        char name[100];
        snprintf(name, sizeof(name), "%s/%016" PRIx64 "-%016d-%016d-%016d", FILE_TMP_NAME,
                 (uint64_t)times_s[i] * 1000 + 999, 0, 0, 0);
        make_file(disk_path(f, name), "x");
    }
    set_mode(f, FILE_TMP_NAME, 0500);
    assert_int_equal(time_of_listing(f), 1000000);
    set_mode(f, FILE_TMP_NAME, 0);
    assert_int_equal(time_of_listing(f), 1);
    set_mode(f, FILE_TMP_NAME, 0700);
    assert_true(time_of_listing(f) >= now_s);
    assert_no_temporary_files(f);
    assert_int_equal(remove(disk_path(f, FILE_TMP_NAME)), 0);
    assert_true(time_of_listing(f) >= now_s); /* whoever makes it looks at the clock later */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_user, teardown_user)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_store_that_began_read_only_comes_to_work),
        TEST(a_store_may_become_read_only_for_a_while),
        TEST(many_at_once_find_it_open),
        TEST(a_lock_that_may_only_be_read_can_be_shared),
        TEST(listings_tell_no_time_that_they_cannot_vouch_for),
    };
    return cmocka_run_group_tests_name("file_rights", tests, NULL, NULL);
}
