/* Narrowed stores: whatever is asked of one, the driver hears of nothing outside of its prefix. On
 * a driver that notes what it hears, and in a folder. */
#include "tests/unit/file_fixture.h"

#include <stdatomic.h>

#include "base/xalloc.h"
#include "tests/unit/oom.h"

/* ---- A driver that notes ---- */

static struct {
    unsigned starts, closes;
    struct buf heard;         /* "key=…;source=…;" of the latest operation */
    const char *const *lists; /* what a listing tells, up to NULL */
} ear = {.heard = BUF_INIT(65536)};

static void hear(const char *what, const char *key)
{
    if (key)
        buf_addf(&ear.heard, "%s=%s;", what, key);
}

static void ear_start(void *state, struct store_op *op)
{
    struct store_entry entries[8] = {0};
    size_t n = 0;
    (void)state;
    ear.starts++;
    buf_reset(&ear.heard);
    hear("key", op->key);
    hear("source", op->source);
    for (size_t i = 0; i < op->n_keys; i++)
        hear("keys", op->keys[i]);
    if (op->kind == OP_LIST) {
        hear("after", op->opts.list.start_after);
        for (; ear.lists && ear.lists[n]; n++)
            entries[n] = (struct store_entry){.key = ear.lists[n], .etag = "", .version = ""};
        op_page(op, entries, n, NULL, 1);
    }
    op_finish(op, NULL, NULL);
}

static void ear_close(void *state)
{
    (void)state;
    ear.closes++;
}

static const struct driver ear_driver = {.scheme = "ear", .start = ear_start, .close = ear_close};

struct listening {
    store *root, *part, *inner; /* "", "t/a/", "t/a/b/" */
    store_loop *loop;
};

static store *narrow(store *s, const char *prefix)
{
    store *part = NULL;
    struct store_err err = {0};
    if (store_narrow(s, prefix, &part, &err) != 0)
        fail_msg("%s", err.msg);
    return part;
}

static int listen_setup(void **state)
{
    struct listening *t = calloc(1, sizeof(*t));
    t->root = calloc(1, sizeof(*t->root));
    t->root->driver = &ear_driver;
    t->root->root = t->root;
    t->root->op_timeout_ms = 1000;
    t->root->within = strdup("");
    t->root->url = strdup("ear://");
    t->root->max_key = STORE_MAX_KEY;
    atomic_init(&t->root->refs, 1);
    t->part = narrow(t->root, "t/a/");
    t->inner = narrow(t->part, "b/");
    ear.starts = ear.closes = 0;
    ear.lists = NULL;
    assert_int_equal(store_loop_new(&t->loop, NULL), 0);
    *state = t;
    return 0;
}

static int listen_teardown(void **state)
{
    struct listening *t = *state;
    store_loop_free(t->loop);
    store_close(t->root); /* first: those below keep it */
    store_close(t->part);
    assert_int_equal(ear.closes, 0);
    store_close(t->inner);
    assert_int_equal(ear.closes, 1);
    buf_cleanup(&ear.heard);
    free(t);
    return 0;
}

static struct {
    bool done;
    struct store_err err;
    char keys[256]; /* "a;b;" */
} told;

static void on_done(void *user, const struct store_err *err, const struct store_info *info)
{
    (void)user;
    (void)info;
    told.done = true;
    told.err = *err;
}

static void on_page(void *user, const struct store_page *page)
{
    (void)user;
    for (size_t i = 0; i < page->n; i++) {
        size_t n = strlen(told.keys);
        snprintf(told.keys + n, sizeof(told.keys) - n, "%s;", page->entries[i].key);
    }
}

static ssize_t on_read(void *user, void *buf, size_t cap)
{
    (void)user;
    (void)buf;
    (void)cap;
    return STORE_READ_ABORT;
}

static bool on_data(void *user, const void *bytes, size_t n)
{
    (void)user;
    (void)bytes;
    (void)n;
    return true;
}

static const struct store_get_cb get_cb = {NULL, on_data, on_done};
static const struct store_put_cb put_cb = {on_read, on_done};
static const struct store_list_cb list_cb = {on_page, on_done};

/* Each call that takes a key, with the same key. Batches have a good one before it. */
enum { GET, HEAD, PUT, PUT_BYTES, COPY_FROM, COPY_TO, DELETE, DELETE_MANY, CALLS };

static store_op *call(int which, store *s, store_loop *loop, const char *key)
{
    const char *const batch[] = {"good", key};
    struct store_err *err = &told.err;
    memset(&told, 0, sizeof(told));
    switch (which) {
    case GET: return store_get(s, loop, key, NULL, &get_cb, NULL, err);
    case HEAD: return store_head(s, loop, key, 0, on_done, NULL, err);
    case PUT: return store_put(s, loop, key, 1, NULL, &put_cb, NULL, err);
    case PUT_BYTES: return store_put_bytes(s, loop, key, "x", 1, NULL, on_done, NULL, err);
    case COPY_FROM: return store_copy(s, loop, key, "good", NULL, on_done, NULL, err);
    case COPY_TO: return store_copy(s, loop, "good", key, NULL, on_done, NULL, err);
    case DELETE: return store_delete(s, loop, key, 0, on_done, NULL, err);
    default: return store_delete_many(s, loop, batch, 2, 0, on_done, NULL, err);
    }
}

static void finish_call(struct listening *t, store_op *op)
{
    assert_non_null(op);
    while (!told.done)
        assert_int_equal(store_loop_run(t->loop, -1, NULL), 0);
}

static enum store_code list(struct listening *t, store *s, const char *prefix,
                            const struct store_list_opts *opts)
{
    memset(&told, 0, sizeof(told));
    finish_call(t, store_list(s, t->loop, prefix, opts, &list_cb, NULL, NULL));
    return told.err.code;
}

/* ---- What the driver hears ---- */

static void keys_are_below_the_prefix(void **state)
{
    struct listening *t = *state;
    static const char *const heard[CALLS] = {
        [GET] = "key=t/a/k/x;",
        [HEAD] = "key=t/a/k/x;",
        [PUT] = "key=t/a/k/x;",
        [PUT_BYTES] = "key=t/a/k/x;",
        [COPY_FROM] = "key=t/a/good;source=t/a/k/x;",
        [COPY_TO] = "key=t/a/k/x;source=t/a/good;",
        [DELETE] = "key=t/a/k/x;",
        [DELETE_MANY] = "keys=t/a/good;keys=t/a/k/x;",
    };
    for (int i = 0; i < CALLS; i++) {
        finish_call(t, call(i, t->part, t->loop, "k/x"));
        assert_string_equal(buf_str(&ear.heard), heard[i]);
    }
    finish_call(t, call(GET, t->inner, t->loop, "x"));
    assert_string_equal(buf_str(&ear.heard), "key=t/a/b/x;");
    finish_call(t, call(GET, t->root, t->loop, "x"));
    assert_string_equal(buf_str(&ear.heard), "key=x;");
}

static void keys_that_climb_are_refused(void **state)
{
    struct listening *t = *state;
    static const char *const bad[] = {
        "..", "../x", "../b/x", "a/../../b", "a/..", ".",     "./x",
        "/x", "/",    "",       "a//b",      "a/",   "../..", "../../../etc/passwd",
    };
    char long_key[STORE_MAX_KEY + 1];
    size_t room = store_max_key(t->part);
    memset(long_key, 'k', sizeof(long_key));
    long_key[room + 1] = '\0';
    for (int i = 0; i < CALLS; i++) {
        for (size_t k = 0; k < LEN(bad); k++) {
            assert_null(call(i, t->part, t->loop, bad[k]));
            assert_int_equal(told.err.code, STORE_INVALID);
        }
        assert_null(call(i, t->part, t->loop, long_key));
        assert_int_equal(told.err.code, STORE_INVALID);
    }
    assert_int_equal(ear.starts, 0);
    long_key[room] = '\0';
    finish_call(t, call(GET, t->part, t->loop, long_key));
    assert_int_equal(ear.heard.len, strlen("key=;") + STORE_MAX_KEY);
}

/* They are names that a listing told, so they may be odd, but they are still below the prefix. */
static void entries_are_below_the_prefix(void **state)
{
    struct listening *t = *state;
    const struct store_entry entries[] = {
        {.key = "x"}, {.key = "../y"}, {.key = ""}, {.key = "a//"}};
    memset(&told, 0, sizeof(told));
    finish_call(t, store_delete_listed(t->part, t->loop, STORE_LIST_OBJECTS, entries, LEN(entries),
                                       0, on_done, NULL, NULL));
    assert_string_equal(buf_str(&ear.heard), "keys=t/a/x;keys=t/a/../y;keys=t/a/;keys=t/a/a//;");
}

static void listings_are_below_the_prefix(void **state)
{
    struct listening *t = *state;
    static const struct {
        const char *prefix, *after, *heard;
    } cases[] = {
        {"", NULL, "key=t/a/;"},          {"k", NULL, "key=t/a/k;"},
        {"k/", NULL, "key=t/a/k/;"},      {"../", NULL, "key=t/a/../;"},
        {"/", NULL, "key=t/a//;"},        {"", "m", "key=t/a/;after=t/a/m;"},
        {"", "", "key=t/a/;after=t/a/;"}, {"k/", "../z", "key=t/a/k/;after=t/a/../z;"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        const struct store_list_opts opts = {.start_after = cases[i].after};
        assert_int_equal(list(t, t->part, cases[i].prefix, &opts), STORE_OK);
        assert_string_equal(buf_str(&ear.heard), cases[i].heard);
    }
}

static void entries_are_relative(void **state)
{
    struct listening *t = *state;
    static const char *const lists[] = {"t/a/b/1", "t/a/b/c/2", NULL};
    ear.lists = lists;
    assert_int_equal(list(t, t->part, "", NULL), STORE_OK);
    assert_string_equal(told.keys, "b/1;b/c/2;");
    assert_int_equal(list(t, t->inner, "", NULL), STORE_OK);
    assert_string_equal(told.keys, "1;c/2;");
    assert_int_equal(list(t, t->root, "t/", NULL), STORE_OK);
    assert_string_equal(told.keys, "t/a/b/1;t/a/b/c/2;");
}

/* As a token of another store might make a backend do. Shorter than the prefix, too. */
static void a_backend_that_strays_is_not_believed(void **state)
{
    struct listening *t = *state;
    static const char *const strays[][3] = {{"t/a/1", "t/b/1"}, {"t/a"}, {""}, {"z"}, {"t/aa/1"}};
    for (size_t i = 0; i < LEN(strays); i++) {
        ear.lists = strays[i];
        assert_int_equal(list(t, t->part, "", NULL), STORE_CORRUPT);
        assert_string_equal(told.keys, "");
        assert_int_equal(list(t, t->root, "t/a/", NULL), STORE_CORRUPT);
    }
}

/* ---- Making one ---- */

static void only_a_folder_s_name_narrows(void **state)
{
    struct listening *t = *state;
    static const char *const bad[] = {NULL, "",      "/",    "a",     "a//", "/a/",  "../",
                                      "./", "a/../", "a/./", "../a/", "//",  "a//b/"};
    struct store_err err;
    char long_prefix[STORE_MAX_KEY + 2];
    memset(long_prefix, 'p', sizeof(long_prefix));
    for (size_t i = 0; i < LEN(bad); i++) {
        store *out = NULL;
        err = (struct store_err){0};
        assert_int_equal(store_narrow(t->part, bad[i], &out, &err), -1);
        assert_int_equal(err.code, STORE_INVALID);
        assert_non_null(strstr(err.msg, "narrowing"));
        assert_null(out);
    }
    for (size_t n = store_max_key(t->part) - 1; n <= STORE_MAX_KEY + 1; n++) {
        store *out = NULL;
        memset(long_prefix, 'p', n);
        strcpy(long_prefix + n - 1, "/");
        int rc = store_narrow(t->part, long_prefix, &out, NULL);
        assert_int_equal(rc, n < store_max_key(t->part) ? 0 : -1);
        assert_true(rc != 0 || store_max_key(out) == 1);
        store_close(out);
    }
}

static void each_has_room_for_the_rest_of_a_key(void **state)
{
    struct listening *t = *state;
    assert_int_equal(store_max_key(t->root), STORE_MAX_KEY);
    assert_int_equal(store_max_key(t->part), STORE_MAX_KEY - 4);
    assert_int_equal(store_max_key(t->inner), STORE_MAX_KEY - 6);
    assert_string_equal(store_url(t->inner), "ear://");
}

static void one_may_be_closed_before_its_operations_are_done(void **state)
{
    struct listening *t = *state;
    store *brief = narrow(t->part, "brief/");
    memset(&told, 0, sizeof(told));
    store_op *op = store_head(brief, t->loop, "k", 0, on_done, NULL, NULL);
    store_close(brief);
    finish_call(t, op);
    assert_int_equal(told.err.code, STORE_OK);
    assert_int_equal(ear.closes, 0);
}

static void no_memory_is_an_error_and_nothing_else(void **state)
{
    struct listening *t = *state;
    if (!OOM_AVAILABLE)
        skip();
    for (long n = 1;; n++) {
        store *out = NULL;
        struct store_err err = {0};
        oom_fail_nth(n);
        int rc = store_narrow(t->part, "c/", &out, &err);
        bool happened = oom_stop();
        assert_int_equal(rc, happened ? -1 : 0);
        assert_int_equal(err.code, happened ? STORE_NO_MEMORY : STORE_OK);
        store_close(out);
        if (!happened)
            break;
        assert_int_equal(t->root->refs, 3); /* itself, "t/a/", "t/a/b/" */
    }
}

/* ---- In a folder ---- */

static void fill(struct fixture *f)
{
    static const char *const keys[] = {"t/a/1", "t/a/b/2", "t/a/b/3", "t/aa/4", "t/b/5", "u/6"};
    for (size_t i = 0; i < LEN(keys); i++)
        assert_int_equal(put_text(f, keys[i], keys[i]), STORE_OK);
}

/* The same fixture, with a store that was narrowed. */
static struct fixture narrowed(struct fixture *f, const char *prefix)
{
    struct fixture n = *f;
    n.s = narrow(f->s, prefix);
    return n;
}

static void assert_keys(struct fixture *f, const char *prefix, const struct store_list_opts *opts,
                        const char *expected)
{
    struct listing l;
    struct buf all = BUF_INIT(1000);
    list_all(f, prefix, *opts, &l);
    for (size_t i = 0; i < l.n; i++)
        buf_addf(&all, "%s;", l.keys[i]);
    assert_string_equal(buf_str(&all), expected);
    buf_cleanup(&all);
    listing_cleanup(&l);
}

static void a_folder_s_part_is_all_there_is(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *prefix;
        struct store_list_opts opts;
        const char *keys;
    } cases[] = {
        {"", {0}, "1;b/2;b/3;"},
        {"", {.max = 1}, "1;b/2;b/3;"},
        {"", {.delimiter = '/'}, "1;b/;"},
        {"b/", {0}, "b/2;b/3;"},
        {"", {.start_after = "b/2"}, "b/3;"},
        {"", {.start_after = "../aa/"}, "1;b/2;b/3;"},
        {"../", {0}, ""},
        {"../aa/", {0}, ""},
        {"..", {0}, ""},
        {"/", {0}, ""},
        {"a", {0}, ""},
    };
    fill(f);
    struct fixture n = narrowed(f, "t/a/");
    for (size_t i = 0; i < LEN(cases); i++)
        assert_keys(&n, cases[i].prefix, &cases[i].opts, cases[i].keys);
    assert_content(&n, "b/2", "t/a/b/2");
    assert_int_equal(code_of_get(&n, "t/a/1", NULL), STORE_NOT_FOUND);
    assert_int_equal(put_text(&n, "new", "x"), STORE_OK);
    assert_content(f, "t/a/new", "x");
    assert_int_equal(remove_object(&n, "1"), STORE_OK);
    assert_int_equal(code_of_get(f, "t/a/1", NULL), STORE_NOT_FOUND);
    store_close(n.s);
}

/* Tokens are not secrets: a caller may hand on any. */
static void a_token_of_another_store_leads_nowhere(void **state)
{
    struct fixture *f = *state;
    static const char *const from[] = {"", "t/", "t/b/", "u/"};
    fill(f);
    struct fixture n = narrowed(f, "t/a/");
    assert_int_equal(put_text(f, "t/b/7", "x"), STORE_OK);
    assert_int_equal(put_text(f, "u/8", "x"), STORE_OK);
    for (size_t i = 0; i < LEN(from); i++) {
        struct listing whole = {0}, part = {0};
        struct store_list_opts opts = {.max = 1};
        assert_int_equal(list_page(f, from[i], &opts, &whole), STORE_OK);
        assert_non_null(whole.token);
        opts.token = whole.token;
        enum store_code code = list_page(&n, "", &opts, &part);
        assert_true(code == STORE_OK || code == STORE_INVALID || code == STORE_CORRUPT);
        for (size_t k = 0; k < part.n; k++)
            assert_true(strcmp(part.keys[k], "1") == 0 || strncmp(part.keys[k], "b/", 2) == 0);
        listing_cleanup(&whole);
        listing_cleanup(&part);
    }
    store_close(n.s);
}

static void a_prefix_is_deleted_within_the_part(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *prefix;
        struct store_delete_prefix_opts opts;
        const char *left; /* of the whole folder */
    } cases[] = {
        {"b/", {.cursor = "b/2"}, "t/a/1;t/a/b/2;t/aa/4;t/b/5;u/6;"},
        {"b/", {.end_before = "b/3"}, "t/a/1;t/a/b/3;t/aa/4;t/b/5;u/6;"},
        {"b/", {.cursor = "../"}, "t/a/1;t/aa/4;t/b/5;u/6;"},
        {"b/", {0}, "t/a/1;t/aa/4;t/b/5;u/6;"},
    };
    struct fixture n = narrowed(f, "t/a/");
    for (size_t i = 0; i < LEN(cases); i++) {
        struct store_err err = {0};
        fill(f);
        if (store_sync_delete_prefix(n.s, f->loop, cases[i].prefix, &cases[i].opts, NULL, NULL,
                                     NULL, &err) != 0)
            fail_msg("case %zu: %s", i, err.msg);
        assert_keys(f, "", &(struct store_list_opts){0}, cases[i].left);
    }
    static const char *const bad[] = {"../", "../aa/", "/", "b", "b/../../"};
    for (size_t i = 0; i < LEN(bad); i++) {
        /* Refused, or found to hold nothing. */
        store_sync_delete_prefix(n.s, f->loop, bad[i], NULL, NULL, NULL, NULL, NULL);
        assert_keys(f, "", &(struct store_list_opts){0}, "t/a/1;t/aa/4;t/b/5;u/6;");
    }
    store_close(n.s);
}

static void a_part_may_be_deleted_whole(void **state)
{
    struct fixture *f = *state;
    struct store_err err = {0};
    fill(f);
    struct fixture n = narrowed(f, "t/a/");
    if (store_sync_delete_prefix(n.s, f->loop, "", NULL, NULL, NULL, NULL, &err) != 0)
        fail_msg("%s", err.msg);
    assert_keys(f, "", &(struct store_list_opts){0}, "t/aa/4;t/b/5;u/6;");
    assert_int_equal(store_sync_delete_prefix(f->s, f->loop, "", NULL, NULL, NULL, NULL, NULL), -1);
    store_close(n.s);
}

static void a_part_outlives_the_whole(void **state)
{
    struct fixture *f = *state;
    fill(f);
    store *part = narrow(f->s, "t/"), *inner = narrow(part, "a/");
    store_close(f->s);
    store_close(part);
    f->s = inner;
    assert_content(f, "1", "t/a/1");
}

#define LISTENING(test) cmocka_unit_test_setup_teardown(test, listen_setup, listen_teardown)
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LISTENING(keys_are_below_the_prefix),
        LISTENING(keys_that_climb_are_refused),
        LISTENING(entries_are_below_the_prefix),
        LISTENING(listings_are_below_the_prefix),
        LISTENING(entries_are_relative),
        LISTENING(a_backend_that_strays_is_not_believed),
        LISTENING(only_a_folder_s_name_narrows),
        LISTENING(each_has_room_for_the_rest_of_a_key),
        LISTENING(one_may_be_closed_before_its_operations_are_done),
        LISTENING(no_memory_is_an_error_and_nothing_else),
        IN_FOLDER(a_folder_s_part_is_all_there_is),
        IN_FOLDER(a_token_of_another_store_leads_nowhere),
        IN_FOLDER(a_prefix_is_deleted_within_the_part),
        IN_FOLDER(a_part_may_be_deleted_whole),
        IN_FOLDER(a_part_outlives_the_whole),
    };
    return cmocka_run_group_tests_name("narrow", tests, NULL, NULL);
}
