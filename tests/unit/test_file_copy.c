/* The folder driver's copies, by each way that it has. copy_file_range() and FICLONE are replaced
 * here: what this file system cannot do is pretended, and what it can is held up. */
#include "tests/unit/file_fixture.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "base/xalloc.h"

static struct {
    bool clone;                    /* FICLONE works */
    int kernel_errno;              /* copy_file_range() fails so; 0: it works */
    size_t kernel_most;            /* bytes that it copies at once; 0: no limit */
    atomic_bool held;              /* it does not go on */
    atomic_uint cloned, in_kernel; /* calls */
} disk;

static void pause_1_ms(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void copy_bytes(int from, int to)
{
    char bytes[4096];
    ssize_t n;
    for (off_t at = 0; (n = pread(from, bytes, sizeof(bytes), at)) > 0; at += n)
        if (pwrite(to, bytes, (size_t)n, at) != n)
            abort();
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    int from = va_arg(args, int);
    va_end(args);
    if (request == FICLONE && disk.clone) {
        atomic_fetch_add(&disk.cloned, 1);
        copy_bytes(from, fd);
        return 0;
    }
    errno = EOPNOTSUPP;
    return -1;
}

ssize_t copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t n,
                        unsigned int flags)
{
    atomic_fetch_add(&disk.in_kernel, 1);
    while (atomic_load(&disk.held))
        pause_1_ms();
    if (disk.kernel_errno) {
        errno = disk.kernel_errno;
        return -1;
    }
    if (disk.kernel_most && n > disk.kernel_most)
        n = disk.kernel_most;
    return syscall(SYS_copy_file_range, from, from_at, to, to_at, n, flags);
}

static int fresh(void **state)
{
    memset(&disk, 0, sizeof(disk));
    return setup(state);
}

static const struct {
    const char *name;
    bool clone;
    int kernel_errno;
    size_t kernel_most;
} ways[] = {
    {"shared blocks", true, 0, 0},       {"in the kernel", false, 0, 0},
    {"in small pieces", false, 0, 999},  {"by hand: ENOSYS", false, ENOSYS, 0},
    {"by hand: EXDEV", false, EXDEV, 0}, {"by hand: EINVAL", false, EINVAL, 0},
};

static void choose_way(size_t i)
{
    print_message("%s\n", ways[i].name);
    disk.clone = ways[i].clone;
    disk.kernel_errno = ways[i].kernel_errno;
    disk.kernel_most = ways[i].kernel_most;
}

/* ---- What a copy is ---- */

static void copies_are_like_their_source(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    const struct store_meta meta[] = {{"a", "1"}, {"b", "two"}};
    const struct store_put_opts opts = {.content_type = "text/x", .meta = meta, .n_meta = 2};
    static const size_t sizes[] = {0, 1, FILE_CHUNK, 3 * FILE_CHUNK + 17};
    char *bytes = pattern(3 * FILE_CHUNK + 17);
    for (size_t way = 0; way < LEN(ways); way++) {
        choose_way(way);
        for (size_t i = 0; i < LEN(sizes); i++) {
            struct outcome p, c, g;
            assert_int_equal(put(f, "from/k", bytes, sizes[i], &opts, &p), STORE_OK);
            assert_int_equal(copy(f, "from/k", "to/deep/k", NULL, &c), STORE_OK);
            assert_string_equal(c.etag, p.etag);
            assert_string_equal(c.checksum, p.checksum);
            assert_int_equal(c.info.size, sizes[i]);
            assert_int_equal(c.info.stored_size, sizes[i]);
            assert_true(c.info.server_time_s > 0);
            assert_int_equal(get(f, "to/deep/k", NULL, &g), STORE_OK);
            assert_int_equal(g.data.len, sizes[i]);
            assert_true(sizes[i] == 0 || memcmp(g.data.data, bytes, sizes[i]) == 0);
            assert_string_equal(g.content_type, "text/x");
            assert_string_equal(buf_str(&g.meta), "a=1;b=two;");
            assert_string_equal(g.etag, p.etag);
            assert_string_equal(g.checksum, p.checksum);
            outcome_cleanup(&p);
            outcome_cleanup(&c);
            outcome_cleanup(&g);
            assert_int_equal(remove_object(f, "from/k"), STORE_OK); /* they do not share a fate */
            assert_int_equal(code_of_get(f, "to/deep/k", NULL), STORE_OK);
        }
        assert_no_temporary_files(f);
    }
    assert_true(disk.cloned > 0 && disk.in_kernel > 0);
    free(bytes);
}

static void copies_replace_what_was_there(void **state)
{
    struct fixture *f = *state;
    struct outcome o;
    assert_int_equal(put_text(f, "a", "new"), STORE_OK);
    assert_int_equal(put_text(f, "b", "the old one"), STORE_OK);
    assert_int_equal(copy(f, "a", "b", NULL, &o), STORE_OK);
    outcome_cleanup(&o);
    assert_content(f, "b", "new");
    assert_content(f, "a", "new");
}

static void absent_sources_are_told(void **state)
{
    struct fixture *f = *state;
    struct outcome o;
    assert_int_equal(put_text(f, "b", "old"), STORE_OK);
    assert_int_equal(copy(f, "none/a", "b", NULL, &o), STORE_NOT_FOUND);
    assert_true(o.info.server_time_s > 0);
    outcome_cleanup(&o);
    assert_content(f, "b", "old");
    assert_int_equal(copy(f, "none", "new/k", NULL, &o), STORE_NOT_FOUND);
    outcome_cleanup(&o);
    assert_int_equal(count_on_disk(f, ""), 3); /* b, and what is the store's own */
}

static void copies_wait_for_the_right_etag(void **state)
{
    struct fixture *f = *state;
    struct outcome p, o;
    assert_int_equal(put(f, "a", "text", 4, NULL, &p), STORE_OK);
    const struct store_copy_opts right = {.if_match = p.etag}, wrong = {.if_match = "other"};
    assert_int_equal(copy(f, "a", "b", &wrong, &o), STORE_PRECONDITION);
    outcome_cleanup(&o);
    assert_int_equal(code_of_get(f, "b", NULL), STORE_NOT_FOUND);
    assert_int_equal(copy(f, "a", "b", &right, &o), STORE_OK);
    outcome_cleanup(&o);
    assert_content(f, "b", "text");
    outcome_cleanup(&p);
}

/* Files that others put into the tree stay what they are: without checksum, type and metadata. */
static void foreign_files_are_copied(void **state)
{
    struct fixture *f = *state;
    for (size_t way = 0; way < LEN(ways); way++) {
        struct outcome c, g;
        choose_way(way);
        make_file(disk_path(f, "a%o"), "by hand");
        assert_int_equal(copy(f, "a", "d/b", NULL, &c), STORE_OK);
        assert_int_equal(get(f, "d/b", NULL, &g), STORE_OK);
        assert_string_equal(buf_str(&g.data), "by hand");
        assert_string_equal(g.checksum, "");
        assert_string_equal(g.content_type, "");
        assert_string_equal(c.etag, g.etag);
        outcome_cleanup(&c);
        outcome_cleanup(&g);
    }
}

static void links_are_not_copied(void **state)
{
    struct fixture *f = *state;
    struct outcome o;
    char secret[100];
    snprintf(secret, sizeof(secret), "%s/secret", f->base);
    make_file(secret, "secret");
    assert_int_equal(symlink(secret, disk_path(f, "link%o")), 0);
    assert_int_equal(mkfifo(disk_path(f, "fifo%o"), 0600), 0);
    assert_int_equal(copy(f, "link", "b", NULL, &o), STORE_FAILED);
    outcome_cleanup(&o);
    assert_int_equal(copy(f, "fifo", "b", NULL, &o), STORE_FAILED);
    outcome_cleanup(&o);
    assert_int_equal(code_of_get(f, "b", NULL), STORE_NOT_FOUND);
    /* A copy replaces a link, it does not write through it. */
    assert_int_equal(put_text(f, "a", "mine"), STORE_OK);
    assert_int_equal(copy(f, "a", "link", NULL, &o), STORE_OK);
    outcome_cleanup(&o);
    assert_content(f, "link", "mine");
    int fd = open(secret, O_RDONLY);
    char text[16] = "";
    assert_int_equal(read(fd, text, sizeof(text)), 6);
    close(fd);
    assert_string_equal(text, "secret");
}

/* ---- Damage ---- */

static void damaged_sources_do_not_pass(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    char *bytes = pattern(3 * FILE_CHUNK);
    for (size_t way = 0; way < LEN(ways); way++) {
        struct outcome o;
        choose_way(way);
        assert_int_equal(put(f, "a", bytes, 3 * FILE_CHUNK, NULL, &o), STORE_OK);
        outcome_cleanup(&o);
        assert_int_equal(put_text(f, "b", "old"), STORE_OK);
        flip_byte(disk_path(f, "a%o"), 100);
        enum store_code code = copy(f, "a", "b", NULL, &o);
        outcome_cleanup(&o);
        if (ways[way].kernel_errno) { /* we saw the bytes */
            assert_int_equal(code, STORE_CORRUPT);
            assert_content(f, "b", "old");
        } else { /* nobody did, but the next reader will */
            assert_int_equal(code, STORE_OK);
            assert_int_equal(code_of_get(f, "b", NULL), STORE_CORRUPT);
        }
        assert_int_equal(truncate(disk_path(f, "a%o"), 100), 0);
        assert_int_equal(copy(f, "a", "c", NULL, &o), STORE_CORRUPT);
        outcome_cleanup(&o);
        assert_no_temporary_files(f);
    }
    free(bytes);
}

static void full_disks_are_told(void **state)
{
    struct fixture *f = *state;
    struct outcome o;
    assert_int_equal(put_text(f, "a", "new"), STORE_OK);
    assert_int_equal(put_text(f, "b", "old"), STORE_OK);
    disk.kernel_errno = ENOSPC;
    assert_int_equal(copy(f, "a", "b", NULL, &o), STORE_NO_SPACE);
    outcome_cleanup(&o);
    assert_content(f, "b", "old");
    assert_no_temporary_files(f);
    struct store_stats stats;
    store_stats(f->s, &stats);
    assert_int_equal(stats.failures, 1);
}

/* ---- Ends before the end ---- */

/* Byte by byte, and not even the first one yet. */
static store_op *start_held_copy(struct fixture *f, uint32_t timeout_ms, struct outcome *o)
{
    const struct store_copy_opts opts = {.timeout_ms = timeout_ms};
    assert_int_equal(put_text(f, "a", "0123456789"), STORE_OK);
    atomic_store(&disk.held, true);
    disk.kernel_most = 1;
    outcome_init(o);
    return store_copy(f->s, f->loop, "a", "d/b", &opts, outcome_done, o, NULL);
}

static void canceled_copies_leave_nothing(void **state)
{
    struct fixture *f = *state;
    struct outcome o;
    store_op *op = start_held_copy(f, 0, &o);
    while (disk.in_kernel == 0)
        pause_1_ms();
    store_op_cancel(op);
    store_loop_run(f->loop, 0, NULL);
    atomic_store(&disk.held, false);
    assert_int_equal(finish(f, op, &o), STORE_CANCELED);
    assert_int_equal(disk.in_kernel, 1);
    outcome_cleanup(&o);
    assert_int_equal(count_on_disk(f, ""), 3);
}

static void late_copies_time_out(void **state)
{
    struct fixture *f = *state;
    struct outcome o;
    store_op *op = start_held_copy(f, 20, &o);
    while (clock_mono_ms() < op->deadline_ms) /* nobody runs the loop meanwhile */
        pause_1_ms();
    atomic_store(&disk.held, false);
    assert_int_equal(finish(f, op, &o), STORE_TIMEOUT);
    assert_true(disk.in_kernel <= 1);
    outcome_cleanup(&o);
    assert_int_equal(count_on_disk(f, ""), 3);
}

static void many_copies_run_at_once(void **state)
{
    struct fixture *f = *state;
    enum { N = 12 };
    struct outcome o[N];
    assert_int_equal(put_text(f, "a", "text"), STORE_OK);
    for (size_t i = 0; i < N; i++) {
        char key[32];
        snprintf(key, sizeof(key), "r/%zu/k", i % 3);
        outcome_init(&o[i]);
        if (i % 4 == 3)
            store_delete(f->s, f->loop, key, 0, outcome_done, &o[i], NULL);
        else
            store_copy(f->s, f->loop, "a", key, NULL, outcome_done, &o[i], NULL);
    }
    for (size_t i = 0; i < N; i++) {
        while (!o[i].done)
            run_round(f);
        assert_int_equal(o[i].err.code, STORE_OK);
        outcome_cleanup(&o[i]);
    }
    assert_no_temporary_files(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(copies_are_like_their_source, fresh, teardown),
        cmocka_unit_test_setup_teardown(copies_replace_what_was_there, fresh, teardown),
        cmocka_unit_test_setup_teardown(absent_sources_are_told, fresh, teardown),
        cmocka_unit_test_setup_teardown(copies_wait_for_the_right_etag, fresh, teardown),
        cmocka_unit_test_setup_teardown(foreign_files_are_copied, fresh, teardown),
        cmocka_unit_test_setup_teardown(links_are_not_copied, fresh, teardown),
        cmocka_unit_test_setup_teardown(damaged_sources_do_not_pass, fresh, teardown),
        cmocka_unit_test_setup_teardown(full_disks_are_told, fresh, teardown),
        cmocka_unit_test_setup_teardown(canceled_copies_leave_nothing, fresh, teardown),
        cmocka_unit_test_setup_teardown(late_copies_time_out, fresh, teardown),
        cmocka_unit_test_setup_teardown(many_copies_run_at_once, fresh, teardown),
    };
    return cmocka_run_group_tests_name("file_copy", tests, NULL, NULL);
}
