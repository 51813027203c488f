/* The folder driver through the public interface. */
#include "tests/unit/file_fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/xalloc.h"

/* ---- An old system ---- */

/* While set there is no openat2(), and the file system has no extended attributes. */
static bool is_old;

long syscall(long number, ...)
{
    long (*real)(long, ...);
    long a[6];
    va_list args;
    va_start(args, number);
    for (size_t i = 0; i < LEN(a); i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (is_old && number == SYS_openat2) {
        errno = ENOSYS;
        return -1;
    }
    *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int fsetxattr(int fd, const char *name, const void *value, size_t n, int flags)
{
    if (!is_old)
        return (int)syscall(SYS_fsetxattr, fd, name, value, n, flags);
    errno = ENOTSUP;
    return -1;
}

ssize_t fgetxattr(int fd, const char *name, void *value, size_t n)
{
    if (!is_old)
        return syscall(SYS_fgetxattr, fd, name, value, n);
    errno = ENOTSUP;
    return -1;
}

/* ---- Opening ---- */

static enum store_code code_of_open(const char *url, const struct store_conf *conf)
{
    struct store_err err = {0};
    store *s = NULL;
    if (store_open(url, conf, &s, &err) == 0)
        store_close(s);
    return err.code;
}

static void only_folders_are_opened(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"file://", "file:///", "file:////", "file://relative/x",
                                      "file://localhost/tmp"};
    char url[300];
    for (size_t i = 0; i < LEN(bad); i++)
        assert_int_equal(code_of_open(bad[i], NULL), STORE_INVALID);
    snprintf(url, sizeof(url), "file://%s/none/below", f->base);
    assert_int_equal(code_of_open(url, NULL), STORE_INVALID);
    make_file(disk_path(f, "plain"), "x");
    snprintf(url, sizeof(url), "file://%s", disk_path(f, "plain"));
    assert_int_equal(code_of_open(url, NULL), STORE_INVALID);
    snprintf(url, sizeof(url), "file://%s/fresh///", f->base);
    assert_int_equal(code_of_open(url, NULL), STORE_OK);
    assert_int_equal(code_of_open(url, NULL), STORE_OK);
    assert_int_equal(code_of_open(url, &(struct store_conf){.io_threads = 100000}), STORE_INVALID);
}

static void old_leftovers_are_swept(void **state)
{
    struct fixture *f = *state;
    char url[300];
    const time_t now = time(NULL);
    const struct timespec old[2] = {{.tv_sec = now - 90000}, {.tv_sec = now - 90000}};
    const struct timespec young[2] = {{.tv_sec = now - 80000}, {.tv_sec = now - 80000}};
    make_file(disk_path(f, FILE_TMP_NAME "/old"), "x");
    make_file(disk_path(f, FILE_TMP_NAME "/young"), "x");
    assert_int_equal(utimensat(AT_FDCWD, disk_path(f, FILE_TMP_NAME "/old"), old, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, disk_path(f, FILE_TMP_NAME "/young"), young, 0), 0);
    snprintf(url, sizeof(url), "file://%s", f->root);
    assert_int_equal(code_of_open(url, NULL), STORE_OK);
    assert_int_equal(count_on_disk(f, FILE_TMP_NAME), 1);
    assert_int_equal(access(disk_path(f, FILE_TMP_NAME "/young"), F_OK), 0);
    assert_int_equal(count_keys(f, ""), 0);
}

/* ---- Round trips ---- */

static void objects_of_all_sizes_come_back(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    static const size_t sizes[] = {0, 1, FILE_CHUNK - 1, FILE_CHUNK, FILE_CHUNK + 1, 300000};
    for (size_t i = 0; i < LEN(sizes); i++) {
        struct outcome p, o;
        char *bytes = pattern(sizes[i]);
        time_t before = time(NULL);
        assert_int_equal(put(f, "some/object", bytes, sizes[i], NULL, &p), STORE_OK);
        assert_int_equal(p.info.size, sizes[i]);
        assert_int_equal(strlen(p.etag), 32);
        assert_int_equal(get(f, "some/object", NULL, &o), STORE_OK);
        assert_int_equal(o.data.len, sizes[i]);
        assert_memory_equal(buf_str(&o.data), bytes, sizes[i]);
        assert_true(o.told_head);
        assert_int_equal(o.head.length, sizes[i]);
        assert_string_equal(o.etag, p.etag);
        assert_string_equal(o.content_type, "application/octet-stream");
        assert_true(o.info.modified_s >= before - 1 && o.info.modified_s <= time(NULL));
        assert_true(p.info.server_time_s >= before && p.info.server_time_s <= time(NULL));
        outcome_cleanup(&o);
        assert_int_equal(head(f, "some/object", &o), STORE_OK);
        assert_int_equal(o.info.size, sizes[i]);
        assert_string_equal(o.etag, p.etag);
        outcome_cleanup(&o);
        outcome_cleanup(&p);
        free(bytes);
    }
    assert_no_temporary_files(f);
}

static void descriptions_come_back(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    struct outcome o;
    char long_value[STORE_MAX_META_BYTES - 8];
    memset(long_value, 'v', sizeof(long_value) - 1);
    long_value[sizeof(long_value) - 1] = '\0';
    const struct store_meta meta[] = {{"a", "1"}, {"empty", ""}};
    const struct store_meta much[] = {{"big", long_value}};
    struct store_put_opts opts = {.content_type = "text/plain", .meta = meta, .n_meta = 2};
    assert_int_equal(put(f, "k", "x", 1, &opts, &o), STORE_OK);
    outcome_cleanup(&o);
    assert_int_equal(head(f, "k", &o), STORE_OK);
    assert_string_equal(o.content_type, "text/plain");
    assert_string_equal(buf_str(&o.meta), "a=1;empty=;");
    outcome_cleanup(&o);

    opts = (struct store_put_opts){.meta = much, .n_meta = 1};
    assert_int_equal(put(f, "k", "x", 1, &opts, &o), STORE_OK);
    outcome_cleanup(&o);
    assert_int_equal(head(f, "k", &o), STORE_OK);
    assert_int_equal(o.meta.len, sizeof(long_value) - 1 + 5);
    outcome_cleanup(&o);

    char type[300];
    memset(type, 't', sizeof(type) - 1);
    type[sizeof(type) - 1] = '\0';
    opts = (struct store_put_opts){.content_type = type};
    assert_int_equal(put(f, "k", "x", 1, &opts, &o), STORE_INVALID);
    outcome_cleanup(&o);
}

static void etags_follow_the_content(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    struct outcome a, b, c;
    assert_int_equal(put(f, "a", "same", 4, NULL, &a), STORE_OK);
    assert_int_equal(put(f, "b", "same", 4, NULL, &b), STORE_OK);
    assert_int_equal(put(f, "a", "else", 4, NULL, &c), STORE_OK);
    assert_string_equal(a.etag, b.etag);
    assert_string_not_equal(a.etag, c.etag);
    outcome_cleanup(&a);
    outcome_cleanup(&b);
    outcome_cleanup(&c);
}

static void odd_keys_are_kept_apart(void **state)
{
    struct fixture *f = *state;
    static char long_part[1025], at_cut[254], behind_cut[300];
    memset(long_part, 'x', 1024);
    memset(at_cut, 'y', 253);
    snprintf(behind_cut, sizeof(behind_cut), "%s/z", at_cut);
    const char *keys[] = {"a",       "a/b",    "a/b/c",    "a%o",      "a%o/b",   "a%d",
                          "a%d/x",   "lock%s", "lock%s/x", "tmp%s",    "tmp%s/x", ".x",
                          "..x",     "a b",    "\x01\x7f", "\xff\xfe", "\"'\\",   "*?[]",
                          long_part, at_cut,   behind_cut};
    for (size_t i = 0; i < LEN(keys); i++)
        assert_int_equal(put_text(f, keys[i], keys[i]), STORE_OK);
    for (size_t i = 0; i < LEN(keys); i++)
        assert_content(f, keys[i], keys[i]);
    assert_int_equal(count_keys(f, ""), LEN(keys));
    for (size_t i = 0; i < LEN(keys); i++) {
        assert_int_equal(remove_object(f, keys[i]), STORE_OK);
        assert_int_equal(code_of_get(f, keys[i], NULL), STORE_NOT_FOUND);
        assert_int_equal(count_keys(f, ""), LEN(keys) - 1 - i);
    }
    assert_int_equal(count_on_disk(f, ""), 2); /* the lock and the temporary folder */
}

/* ---- Conditions and ranges ---- */

static void conditions_of_get_hold(void **state)
{
    struct fixture *f = *state;
    struct outcome o;
    assert_int_equal(put(f, "k", "0123456789", 10, NULL, &o), STORE_OK);
    const char *etag = o.etag;
    const int64_t t = o.info.modified_s;
    const struct {
        struct store_get_opts opts;
        enum store_code code;
    } cases[] = {
        {{.if_match = etag}, STORE_OK},
        {{.if_match = "other"}, STORE_PRECONDITION},
        {{.if_none_match = etag}, STORE_NOT_MODIFIED},
        {{.if_none_match = "other"}, STORE_OK},
        {{.if_modified_since_s = t}, STORE_NOT_MODIFIED},
        {{.if_modified_since_s = t + 5}, STORE_NOT_MODIFIED},
        {{.if_modified_since_s = t - 1}, STORE_OK},
        {{.if_none_match = "other", .if_modified_since_s = t}, STORE_OK},
        {{.if_match = "other", .if_none_match = etag}, STORE_PRECONDITION},
        {{.offset = 10}, STORE_BAD_RANGE},
        {{.offset = UINT64_MAX, .length = UINT64_MAX}, STORE_BAD_RANGE},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct outcome g;
        print_message("condition %zu\n", i);
        assert_int_equal(get(f, "k", &cases[i].opts, &g), cases[i].code);
        assert_true(g.info.server_time_s > 0);
        assert_int_equal(g.told_head, cases[i].code == STORE_OK);
        outcome_cleanup(&g);
    }
    outcome_cleanup(&o);
    assert_int_equal(get(f, "none/k", NULL, &o), STORE_NOT_FOUND);
    assert_true(o.info.server_time_s > 0);
    outcome_cleanup(&o);
}

static void ranges_are_cut_out(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t offset, length;
        const char *data;
    } cases[] = {
        {0, 0, "0123456789"},
        {0, 3, "012"},
        {7, 0, "789"},
        {7, 2, "78"},
        {7, 100, "789"},
        {9, UINT64_MAX, "9"},
        {0, UINT64_MAX, "0123456789"},
    };
    assert_int_equal(put_text(f, "k", "0123456789"), STORE_OK);
    for (size_t i = 0; i < LEN(cases); i++) {
        struct outcome o;
        const struct store_get_opts opts = {.offset = cases[i].offset, .length = cases[i].length};
        assert_int_equal(get(f, "k", &opts, &o), STORE_OK);
        assert_string_equal(buf_str(&o.data), cases[i].data);
        assert_int_equal(o.head.size, 10);
        assert_int_equal(o.head.offset, cases[i].offset);
        assert_int_equal(o.head.length, strlen(cases[i].data));
        outcome_cleanup(&o);
    }
    assert_int_equal(put_text(f, "empty", ""), STORE_OK);
    assert_int_equal(code_of_get(f, "empty", &(struct store_get_opts){.length = 5}),
                     STORE_BAD_RANGE);
}

static void damage_is_reported(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    assert_int_equal(put_text(f, "k", "0123456789"), STORE_OK);
    assert_int_equal(truncate(disk_path(f, "k%o"), 5), 0);
    assert_int_equal(code_of_get(f, "k", NULL), STORE_CORRUPT);
    assert_int_equal(count_keys(f, ""), 1); /* so that it can be removed */
    assert_int_equal(remove_object(f, "k"), STORE_OK);

    /* Cut while it is read. */
    char *bytes = pattern(4 * FILE_CHUNK);
    struct outcome o;
    assert_int_equal(put(f, "k", bytes, 4 * FILE_CHUNK, NULL, &o), STORE_OK);
    outcome_cleanup(&o);
    outcome_init(&o);
    o.pause_every = 1;
    store_op *op = store_get(f->s, f->loop, "k", NULL, &outcome_get, &o, NULL);
    while (o.pieces == 0)
        run_round(f);
    assert_int_equal(truncate(disk_path(f, "k%o"), FILE_CHUNK + 10), 0);
    o.pause_every = 0;
    store_op_resume(op);
    assert_int_equal(finish(f, op, &o), STORE_CORRUPT);
    outcome_cleanup(&o);
    free(bytes);
}

/* ---- Conditional puts ---- */

static size_t run_rivals(struct fixture *f, const struct store_put_opts *opts, size_t n)
{
    struct outcome o[16];
    size_t winners = 0, losers = 0;
    assert_true(n <= LEN(o));
    for (size_t i = 0; i < n; i++) {
        char body[40];
        outcome_init(&o[i]);
        snprintf(body, sizeof(body), "rival %zu", i);
        assert_non_null(store_put_bytes(f->s, f->loop, "deep/in/k", body, strlen(body), opts,
                                        outcome_done, &o[i], NULL));
    }
    for (size_t i = 0; i < n; i++) {
        while (!o[i].done)
            run_round(f);
        winners += o[i].err.code == STORE_OK;
        losers += o[i].err.code == STORE_PRECONDITION;
        outcome_cleanup(&o[i]);
    }
    assert_int_equal(winners + losers, n);
    assert_no_temporary_files(f);
    return winners;
}

static void one_rival_creates(void **state)
{
    struct fixture *f = *state;
    store_loop_free(f->loop);
    store_close(f->s);
    open_store(f, 16);
    store_loop_new(&f->loop, NULL);
    for (int round = 0; round < 5; round++) {
        assert_int_equal(run_rivals(f, &(struct store_put_opts){.if_absent = true}, 16), 1);
        assert_int_equal(run_rivals(f, &(struct store_put_opts){.if_absent = true}, 3), 0);
        assert_int_equal(remove_object(f, "deep/in/k"), STORE_OK);
    }
}

static void one_rival_replaces(void **state)
{
    struct fixture *f = *state;
    struct store_put_opts opts = {.if_match = "0123"};
    assert_int_equal(run_rivals(f, &opts, 2), 0); /* there is nothing to replace */
    for (int round = 0; round < 5; round++) {
        struct outcome o;
        assert_int_equal(put(f, "deep/in/k", "first", 5, NULL, &o), STORE_OK);
        opts.if_match = o.etag;
        assert_int_equal(run_rivals(f, &opts, 16), 1);
        assert_int_equal(run_rivals(f, &opts, 2), 0);
        outcome_cleanup(&o);
    }
}

/* ---- Removal ---- */

static enum store_code remove_listed(struct fixture *f, const char *key)
{
    const struct store_entry entry = {.key = key};
    struct outcome o;
    outcome_init(&o);
    enum store_code code = finish(f,
                                  store_delete_listed(f->s, f->loop, STORE_LIST_OBJECTS, &entry, 1,
                                                      0, outcome_done, &o, NULL),
                                  &o);
    outcome_cleanup(&o);
    return code;
}

static void removal_leaves_no_folders(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put_text(f, "a/b/c/1", "x"), STORE_OK);
    assert_int_equal(put_text(f, "a/b/2", "x"), STORE_OK);
    assert_int_equal(mkdir(disk_path(f, "a/b/left"), 0700), 0); /* as a crash may leave it */
    assert_int_equal(remove_object(f, "a/b/c/1"), STORE_OK);
    assert_int_equal(access(disk_path(f, "a/b/c"), F_OK), -1);
    assert_content(f, "a/b/2", "x");
    assert_int_equal(remove_object(f, "a/b/2"), STORE_OK);
    assert_int_equal(remove_object(f, "a/b/left/none"), STORE_OK);
    assert_int_equal(remove_listed(f, "a/../b"), STORE_OK); /* there is no such thing */
    assert_int_equal(count_on_disk(f, ""), 2);
}

static void batches_span_folders(void **state)
{
    struct fixture *f = *state;
    enum { N = 60 };
    char text[N][32];
    const char *keys[N + 2];
    struct store_err err;
    for (int i = 0; i < N; i++) {
        snprintf(text[i], sizeof(text[i]), i % 2 ? "a/%d" : "a/%d/x", i % 30);
        keys[i] = text[i];
        assert_int_equal(put_text(f, text[i], "x"), STORE_OK);
    }
    keys[N] = "a/none";
    keys[N + 1] = "none/none";
    assert_int_equal(put_text(f, "a/stays", "x"), STORE_OK);
    assert_int_equal(store_sync_delete_many(f->s, f->loop, keys, N + 2, &err), 0);
    assert_int_equal(count_keys(f, ""), 1);
    assert_int_equal(count_on_disk(f, "a"), 1);
}

static void failures_of_a_batch_are_counted(void **state)
{
    struct fixture *f = *state;
    const char *keys[] = {"a/1", "a/dir1", "a/dir2", "b/1"};
    struct store_err err;
    assert_int_equal(put_text(f, "a/1", "x"), STORE_OK);
    assert_int_equal(put_text(f, "b/1", "x"), STORE_OK);
    assert_int_equal(mkdir(disk_path(f, "a/dir1%o"), 0700), 0);
    assert_int_equal(mkdir(disk_path(f, "a/dir2%o"), 0700), 0);
    assert_int_equal(store_sync_delete_many(f->s, f->loop, keys, LEN(keys), &err), -1);
    assert_int_equal(err.code, STORE_FAILED);
    assert_int_equal(err.sys_errno, EISDIR);
    assert_non_null(strstr(err.msg, "2 of 4"));
    assert_non_null(strstr(err.msg, "a/dir1"));
    assert_int_equal(count_keys(f, ""), 0);
}

/* Deletes keep taking the folder away that the puts have just made. They come from another store of
 * the same folder, as from another process: the two have only the disk in common. */
static void puts_and_deletes_race(void **state)
{
    struct fixture *f = *state;
    enum { ROUNDS = 40, AT_ONCE = 8 };
    char url[100];
    store *other;
    snprintf(url, sizeof(url), "file://%s", f->root);
    assert_int_equal(store_open(url, NULL, &other, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        struct outcome o[AT_ONCE];
        for (int k = 0; k < AT_ONCE; k++) {
            char key[32];
            outcome_init(&o[k]);
            snprintf(key, sizeof(key), "r/a/b/%d", k / 2);
            if (k % 2)
                store_delete(other, f->loop, key, 0, outcome_done, &o[k], NULL);
            else
                store_put_bytes(f->s, f->loop, key, "x", 1, NULL, outcome_done, &o[k], NULL);
        }
        for (int k = 0; k < AT_ONCE; k++) {
            while (!o[k].done)
                run_round(f);
            if (o[k].err.code != STORE_OK)
                fail_msg("%s", o[k].err.msg);
            outcome_cleanup(&o[k]);
        }
        for (int k = 0; k < AT_ONCE / 2; k++) {
            char key[32];
            snprintf(key, sizeof(key), "r/a/b/%d", k);
            assert_int_equal(remove_object(f, key), STORE_OK);
        }
        assert_int_equal(count_on_disk(f, ""), 2);
    }
    store_loop_free(f->loop);
    store_close(other);
    store_loop_new(&f->loop, NULL);
}

/* ---- What somebody else put there ---- */

static void symbolic_links_are_not_followed(void **state)
{
    struct fixture *f = *state;
    char outside[100];
    snprintf(outside, sizeof(outside), "%s/outside", f->base);
    assert_int_equal(mkdir(outside, 0700), 0);
    char secret[120];
    snprintf(secret, sizeof(secret), "%s/secret%%o", outside);
    make_file(secret, "secret");
    assert_int_equal(put_text(f, "d/real", "x"), STORE_OK);
    assert_int_equal(symlink(outside, disk_path(f, "evil")), 0);
    assert_int_equal(symlink(outside, disk_path(f, "d/evil")), 0);
    assert_int_equal(symlink(secret, disk_path(f, "d/link%o")), 0);
    assert_int_equal(symlink("real%o", disk_path(f, "d/inner%o")), 0);
    static const char *const keys[] = {"evil/secret", "d/evil/secret", "d/link", "d/inner"};
    for (int old = 0; old <= 1; old++) {
        is_old = old;
        for (size_t i = 0; i < LEN(keys); i++)
            assert_int_equal(code_of_get(f, keys[i], NULL), STORE_FAILED);
        assert_int_equal(put_text(f, "evil/new", "x"), STORE_FAILED);
        assert_int_equal(put_text(f, "d/evil/deep/new", "x"), STORE_FAILED);
        assert_int_equal(remove_object(f, "evil/secret"), STORE_FAILED);
        assert_int_equal(count_keys(f, ""), 1);
        assert_content(f, "d/real", "x");
        assert_int_equal(access(secret, F_OK), 0);
    }
    is_old = false;
    /* A put replaces the link itself, a delete removes it. */
    assert_int_equal(put_text(f, "d/link", "mine"), STORE_OK);
    assert_content(f, "d/link", "mine");
    assert_int_equal(remove_object(f, "d/inner"), STORE_OK);
    assert_content(f, "d/real", "x");
    char text[16] = "";
    int fd = open(secret, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof(text)), 6);
    close(fd);
    assert_string_equal(text, "secret");
}

static void reopen(struct fixture *f)
{
    store_loop_free(f->loop);
    store_close(f->s);
    open_store(f, 0);
    store_loop_new(&f->loop, NULL);
}

/* In the place of what is the store's own. */
static void planted_locks_do_not_block(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(remove(disk_path(f, FILE_LOCK_NAME)), 0);
    assert_int_equal(mkfifo(disk_path(f, FILE_LOCK_NAME), 0600), 0);
    assert_int_equal(put_text(f, "k", "x"), STORE_OK);
    reopen(f);
    assert_content(f, "k", "x");
    assert_int_equal(remove_object(f, "k"), STORE_OK);
    assert_int_equal(count_keys(f, ""), 0);
}

static void planted_links_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {FILE_LOCK_NAME, FILE_TMP_NAME};
    const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    char outside[100], url[300], kept[120];
    snprintf(outside, sizeof(outside), "%s/outside", f->base);
    snprintf(kept, sizeof(kept), "%s/kept", outside);
    snprintf(url, sizeof(url), "file://%s", f->root);
    assert_int_equal(mkdir(outside, 0700), 0);
    make_file(kept, "x");
    assert_int_equal(utimensat(AT_FDCWD, kept, old, 0), 0);
    for (size_t i = 0; i < LEN(names); i++) {
        assert_int_equal(remove(disk_path(f, names[i])), 0);
        assert_int_equal(symlink(i ? outside : kept, disk_path(f, names[i])), 0);
        assert_int_equal(code_of_open(url, NULL), STORE_FAILED);
        assert_int_equal(access(kept, F_OK), 0); /* not taken for a leftover */
        assert_int_equal(remove(disk_path(f, names[i])), 0);
        assert_int_equal(code_of_open(url, NULL), STORE_OK);
    }
}

/* A batch and a prefix that lead over links: the links may go, what they point to stays. */
static void removal_does_not_follow_links(void **state)
{
    struct fixture *f = *state;
    char outside[100], kept[120];
    struct store_err err;
    snprintf(outside, sizeof(outside), "%s/outside", f->base);
    snprintf(kept, sizeof(kept), "%s/kept%%o", outside);
    assert_int_equal(mkdir(outside, 0700), 0);
    make_file(kept, "x");
    assert_int_equal(put_text(f, "d/real", "x"), STORE_OK);
    assert_int_equal(symlink(outside, disk_path(f, "d/evil")), 0);
    assert_int_equal(symlink(kept, disk_path(f, "d/link%o")), 0);
    assert_int_equal(store_sync_delete_prefix(f->s, f->loop, "d/", NULL, NULL, NULL, NULL, &err),
                     0);
    assert_int_equal(access(disk_path(f, "d/real%o"), F_OK), -1);
    const char *keys[] = {"d/evil/kept", "d/link"};
    assert_int_equal(store_sync_delete_many(f->s, f->loop, keys, LEN(keys), &err), -1);
    assert_int_equal(err.code, STORE_FAILED);
    assert_int_equal(access(kept, F_OK), 0);
    struct stat st;
    assert_int_equal(lstat(disk_path(f, "d/link%o"), &st), -1);
    assert_int_equal(lstat(disk_path(f, "d/evil"), &st), 0);
}

static void special_files_do_not_block(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkfifo(disk_path(f, "fifo%o"), 0600), 0);
    assert_int_equal(mkdir(disk_path(f, "dir%o"), 0700), 0);
    assert_int_equal(code_of_get(f, "fifo", NULL), STORE_FAILED);
    assert_int_equal(code_of_get(f, "dir", NULL), STORE_FAILED);
    assert_int_equal(put_text(f, "dir", "x"), STORE_FAILED);
    assert_no_temporary_files(f);
    /* A file placed by hand has no description. */
    struct outcome o;
    make_file(disk_path(f, "byhand%o"), "text");
    assert_int_equal(get(f, "byhand", NULL, &o), STORE_OK);
    assert_string_equal(buf_str(&o.data), "text");
    assert_true(strlen(o.etag) > 0);
    assert_string_equal(o.content_type, "");
    outcome_cleanup(&o);
}

static void old_systems_are_enough(void **state)
{
    struct fixture *f = *state;
    struct outcome a, b;
    const struct store_meta meta[] = {{"a", "1"}};
    is_old = true;
    assert_int_equal(put(f, "d/k", "x", 1, &(struct store_put_opts){.meta = meta, .n_meta = 1}, &a),
                     STORE_INVALID);
    outcome_cleanup(&a);
    assert_int_equal(put(f, "d/k", "x", 1, NULL, &a), STORE_OK);
    assert_int_equal(head(f, "d/k", &b), STORE_OK);
    assert_string_equal(a.etag, b.etag);
    outcome_cleanup(&b);
    const struct store_put_opts opts = {.if_match = a.etag};
    assert_int_equal(put(f, "d/k", "yy", 2, &opts, &b), STORE_OK);
    assert_string_not_equal(a.etag, b.etag);
    assert_content(f, "d/k", "yy");
    assert_int_equal(remove_object(f, "d/k"), STORE_OK);
    assert_int_equal(count_on_disk(f, ""), 2);
    outcome_cleanup(&a);
    outcome_cleanup(&b);
    is_old = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_folders_are_opened, setup, teardown),
        cmocka_unit_test_setup_teardown(old_leftovers_are_swept, setup, teardown),
        cmocka_unit_test_setup_teardown(objects_of_all_sizes_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(descriptions_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(etags_follow_the_content, setup, teardown),
        cmocka_unit_test_setup_teardown(odd_keys_are_kept_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(conditions_of_get_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges_are_cut_out, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(one_rival_creates, setup, teardown),
        cmocka_unit_test_setup_teardown(one_rival_replaces, setup, teardown),
        cmocka_unit_test_setup_teardown(removal_leaves_no_folders, setup, teardown),
        cmocka_unit_test_setup_teardown(batches_span_folders, setup, teardown),
        cmocka_unit_test_setup_teardown(failures_of_a_batch_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(puts_and_deletes_race, setup, teardown),
        cmocka_unit_test_setup_teardown(symbolic_links_are_not_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(planted_locks_do_not_block, setup, teardown),
        cmocka_unit_test_setup_teardown(planted_links_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(removal_does_not_follow_links, setup, teardown),
        cmocka_unit_test_setup_teardown(special_files_do_not_block, setup, teardown),
        cmocka_unit_test_setup_teardown(old_systems_are_enough, setup, teardown),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
