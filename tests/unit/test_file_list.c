/* The folder driver's listings, against a model: a sorted array of keys. */
#include "tests/unit/file_fixture.h"

#include "base/xalloc.h"

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ---- The model ---- */

struct model {
    char *keys[512];
    size_t n;
};

static void model_sort(struct model *m)
{
    qsort(m->keys, m->n, sizeof(m->keys[0]), compare_strings);
    size_t kept = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (kept > 0 && strcmp(m->keys[i], m->keys[kept - 1]) == 0)
            free(m->keys[i]);
        else
            m->keys[kept++] = m->keys[i];
    }
    m->n = kept;
}

static void model_cleanup(struct model *m)
{
    while (m->n > 0)
        free(m->keys[--m->n]);
}

/* What a listing must give; groups end in '/'. */
static void expect(const struct model *m, const char *prefix, char delimiter, const char *after,
                   struct model *out)
{
    out->n = 0;
    for (size_t i = 0; i < m->n; i++) {
        const char *key = m->keys[i];
        if (strncmp(key, prefix, strlen(prefix)) != 0 || (after && strcmp(key, after) <= 0))
            continue;
        const char *slash = delimiter ? strchr(key + strlen(prefix), delimiter) : NULL;
        size_t len = slash ? (size_t)(slash - key) + 1 : strlen(key);
        if (slash && out->n > 0 && strlen(out->keys[out->n - 1]) == len &&
            strncmp(out->keys[out->n - 1], key, len) == 0)
            continue;
        out->keys[out->n++] = strndup(key, len);
    }
}

static void check_listing(struct fixture *f, const struct model *m, const char *prefix,
                          struct store_list_opts opts)
{
    struct model want;
    struct listing l;
    expect(m, prefix, opts.delimiter, opts.start_after, &want);
    list_all(f, prefix, opts, &l);
    if (l.n != want.n)
        fail_msg("prefix '%s' max %u after '%s': %zu entries instead of %zu", prefix, opts.max,
                 opts.start_after ? opts.start_after : "", l.n, want.n);
    for (size_t i = 0; i < l.n; i++) {
        assert_string_equal(l.keys[i], want.keys[i]);
        assert_int_equal(l.is_prefix[i], l.keys[i][strlen(l.keys[i]) - 1] == '/');
    }
    listing_cleanup(&l);
    model_cleanup(&want);
}

/* ---- Trees ---- */

/* Puts an empty object straight onto the disk: without its fsync() the tests stay quick. */
static void plant(struct fixture *f, const char *key)
{
    char path[FILE_PATH_MAX];
    size_t dir_len;
    assert_true(file_path_of_key(key, path, &dir_len) > 0);
    for (size_t i = 0; i < dir_len; i++) {
        if (path[i] != '/')
            continue;
        path[i] = '\0';
        mkdirat(folder(f)->root_fd, path, 0700);
        path[i] = '/';
    }
    if (dir_len) {
        path[dir_len] = '\0';
        mkdirat(folder(f)->root_fd, path, 0700);
        path[dir_len] = '/';
    }
    int fd = openat(folder(f)->root_fd, path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 16;
}

/* Parts around '/' in the order of bytes, parts that begin with each other, escapes, long ones. */
static char *random_key(unsigned *seed)
{
    static const char *const parts[] = {"a",  "a-", "a.", "a0", "ab",  "b",    "!",   "a%o",
                                        "%d", "%",  "z",  "aa", "a b", "\xff", "...", "L"};
    struct buf b = BUF_INIT(STORE_MAX_KEY);
    for (unsigned depth = 1 + next_random(seed) % 4; depth > 0; depth--) {
        const char *part = parts[next_random(seed) % LEN(parts)];
        if (*part == 'L') {
            /* cut at 253: what follows lies in a folder of its own, also around '/' */
            static const char *const tails[] = {"", "!", "x", ".", "%o"};
            for (unsigned n = 252 + next_random(seed) % 3; n > 0; n--)
                buf_addc(&b, 'L');
            buf_adds(&b, tails[next_random(seed) % LEN(tails)]);
        } else {
            buf_adds(&b, part);
        }
        if (depth > 1)
            buf_addc(&b, '/');
    }
    return buf_detach(&b, NULL);
}

static void grow_tree(struct fixture *f, struct model *m, unsigned *seed, size_t n)
{
    m->n = 0;
    while (m->n < n) {
        char *key = random_key(seed);
        if (!key)
            continue; /* longer than a key may be */
        plant(f, key);
        m->keys[m->n++] = key;
    }
    model_sort(m);
}

static void random_trees_list_in_order(void **state)
{
    struct fixture *f = *state;
    unsigned seed = 1;
    for (int round = 0; round < 12; round++) {
        struct model m;
        grow_tree(f, &m, &seed, 40 + (size_t)round * 8);
        for (uint32_t max = 1; max <= m.n + 1; max += 1 + max / 4)
            for (int delimiter = 0; delimiter <= '/'; delimiter += '/')
                check_listing(f, &m, "",
                              (struct store_list_opts){.max = max, .delimiter = (char)delimiter});
        for (int i = 0; i < 40; i++) {
            /* a key, some key's beginning, or something that is not there */
            char prefix[STORE_MAX_KEY + 1], after[STORE_MAX_KEY + 1];
            snprintf(prefix, sizeof(prefix), "%s", m.keys[next_random(&seed) % m.n]);
            prefix[next_random(&seed) % (strlen(prefix) + 1)] = '\0';
            snprintf(after, sizeof(after), "%s", m.keys[next_random(&seed) % m.n]);
            if (i % 3)
                after[next_random(&seed) % (strlen(after) + 1)] = '\0';
            check_listing(f, &m, prefix,
                          (struct store_list_opts){.max = 1 + next_random(&seed) % 5,
                                                   .delimiter = i % 2 ? '/' : '\0',
                                                   .start_after = i % 5 ? after : NULL});
        }
        model_cleanup(&m);
        /* the next tree has a fresh root */
        store_close(f->s);
        snprintf(f->root, sizeof(f->root), "%s/r%d", f->base, round);
        open_store(f, 0);
    }
}

static void large_folders_are_read_in_parts(void **state)
{
    struct fixture *f = *state;
    enum { N = 2100 }; /* more than twice what is kept of a folder */
    char key[32];
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof(key), "big/%05d", (i * 7919) % N);
        plant(f, key);
    }
    /* Empty folders give nothing, so that one page may need several readings. */
    for (int i = 0; i < 1200; i++) {
        snprintf(key, sizeof(key), "big/%05d-", i);
        assert_int_equal(mkdir(disk_path(f, key), 0700), 0);
    }
    static const uint32_t sizes[] = {0, 1000, 999, 333};
    for (size_t s = 0; s < LEN(sizes); s++) {
        struct listing l;
        list_all(f, "big/", (struct store_list_opts){.max = sizes[s]}, &l);
        assert_int_equal(l.n, N);
        for (int i = 0; i < N; i++) {
            snprintf(key, sizeof(key), "big/%05d", i);
            assert_string_equal(l.keys[i], key);
        }
        listing_cleanup(&l);
    }
    struct listing l;
    list_all(f, "big/", (struct store_list_opts){.delimiter = '/'}, &l);
    assert_int_equal(l.n, N); /* the empty folders are no groups */
    listing_cleanup(&l);
}

static void entries_are_described(void **state)
{
    struct fixture *f = *state;
    struct outcome o;
    struct listing l;
    assert_int_equal(put(f, "a/b", "hello", 5, NULL, &o), STORE_OK);
    int64_t before = (int64_t)time(NULL);
    list_all(f, "a/", (struct store_list_opts){0}, &l);
    assert_int_equal(l.n, 1);
    assert_int_equal(l.size, 5);
    assert_string_equal(l.etag, o.etag);
    assert_true(l.server_time_s >= before && l.server_time_s <= (int64_t)time(NULL));
    listing_cleanup(&l);
    outcome_cleanup(&o);
}

static void foreign_things_stay_hidden(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put_text(f, "a/b", "x"), STORE_OK);
    make_file(disk_path(f, "a/plain"), "x");
    make_file(disk_path(f, "a/odd%x"), "x");
    make_file(disk_path(f, "a%d"), "x");
    assert_int_equal(mkdir(disk_path(f, "a/folder%o"), 0700), 0);
    assert_int_equal(mkdir(disk_path(f, "empty"), 0700), 0);
    assert_int_equal(mkfifo(disk_path(f, "a/fifo%o"), 0600), 0);
    assert_int_equal(symlink("b%o", disk_path(f, "a/link%o")), 0);
    assert_int_equal(symlink("a", disk_path(f, "linked")), 0);
    assert_int_equal(count_keys(f, ""), 1);
    struct listing l;
    list_all(f, "", (struct store_list_opts){.delimiter = '/'}, &l);
    assert_int_equal(l.n, 1);
    assert_string_equal(l.keys[0], "a/");
    listing_cleanup(&l);
}

static void odd_requests_are_answered(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put_text(f, "a/b", "x"), STORE_OK);
    assert_int_equal(count_keys(f, "../"), 0);
    assert_int_equal(count_keys(f, "/"), 0);
    assert_int_equal(count_keys(f, "a//"), 0);
    assert_int_equal(count_keys(f, "none/at/all"), 0);
    assert_int_equal(count_keys(f, "a/b"), 1);
    assert_int_equal(count_keys(f, "a/b/"), 0);
    static const char *const bad[] = {"", "x", "qa/b"};
    for (size_t i = 0; i < LEN(bad); i++) {
        struct listing l = {0};
        assert_int_equal(list_page(f, "", &(struct store_list_opts){.token = bad[i]}, &l),
                         STORE_INVALID);
        listing_cleanup(&l);
    }
}

/* ---- Others meanwhile ---- */

enum { NAMES = 3000, LISTINGS = 24 };

static void plant_names(struct fixture *f, const char *folder_name)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", f->root, folder_name);
    assert_int_equal(mkdir(path, 0700), 0);
    for (int i = 0; i < NAMES; i++) {
        snprintf(path, sizeof(path), "%s/%s/%d%%o", f->root, folder_name, i);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
}

static int n_done(const struct listing *l, size_t n)
{
    int done = 0;
    for (size_t i = 0; i < n; i++)
        done += l[i].o.done;
    return done;
}

/* Each of the others waits for a bulk request or two, not for all that a large removal has under
 * way: whether it is one of a small removal or of nobody's in particular. */
static void bulk_requests_let_others_pass(void **state)
{
    struct fixture *f = *state, other = *f;
    const struct store_list_opts bulk = {.bulk = true}, plain = {.bulk = false};
    static const uint32_t threads[] = {1, 2};
    plant_names(f, "large");
    assert_int_equal(put_text(f, "small/a", "x"), STORE_OK);
    for (size_t i = 0; i < LEN(threads); i++) {
        struct listing large[LISTINGS] = {0}, small = {0};
        store_close(f->s);
        open_store(f, threads[i]);
        other.s = f->s;
        assert_int_equal(store_loop_new(&other.loop, NULL), 0);
        for (size_t k = 0; k < LISTINGS; k++) {
            outcome_init(&large[k].o);
            assert_non_null(
                store_list(f->s, f->loop, "large/", &bulk, &listing_cb, &large[k], NULL));
        }
        assert_int_equal(list_page(&other, "small/", &bulk, &small), STORE_OK);
        assert_int_equal(list_page(&other, "small/", &plain, &small), STORE_OK);
        assert_int_equal(store_loop_run(f->loop, 0, NULL), 0);
        assert_int_equal(store_loop_run(f->loop, 0, NULL), 0);
        print_message("%d of %d were done\n", n_done(large, LISTINGS), LISTINGS);
        assert_true(n_done(large, LISTINGS) < LISTINGS / 2);
        while (n_done(large, LISTINGS) < LISTINGS)
            run_round(f);
        for (size_t k = 0; k < LISTINGS; k++) {
            assert_int_equal(large[k].o.err.code, STORE_OK);
            listing_cleanup(&large[k]);
        }
        listing_cleanup(&small);
        store_loop_free(other.loop);
    }
}

int main(void)
{
    /* Thousands of files that no disk needs to see. */
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_trees_list_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(large_folders_are_read_in_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(entries_are_described, setup, teardown),
        cmocka_unit_test_setup_teardown(foreign_things_stay_hidden, setup, teardown),
        cmocka_unit_test_setup_teardown(odd_requests_are_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(bulk_requests_let_others_pass, setup, teardown),
    };
    return cmocka_run_group_tests_name("file_list", tests, NULL, NULL);
}
