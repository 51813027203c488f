/* Compressed objects in a folder. tests/unit/test_zip.c has all the rest. */
#include "base/xalloc.h"
#include "tests/unit/file_fixture.h"

static char *make_text(size_t n)
{
    char *s = malloc(n + 1);
    assert_non_null(s);
    for (size_t i = 0; i < n; i++)
        s[i] = "0123456789abcdef\n"[(i * i / 977) % 17];
    return s;
}

static const struct store_put_opts compressed = {.compress = true};

static void put_compressed(struct fixture *f, const char *key, const char *bytes, size_t n)
{
    struct outcome o;
    assert_int_equal(put(f, key, bytes, n, &compressed, &o), STORE_OK);
    assert_int_equal(o.info.size, n);
    outcome_cleanup(&o);
}

static void what_is_put_compressed_comes_back(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {0, 1, FILE_CHUNK - 1, FILE_CHUNK, FILE_CHUNK + 1, 5 << 20};
    for (size_t i = 0; i < LEN(sizes); i++) {
        char *bytes = make_text(sizes[i]);
        struct outcome o;
        put_compressed(f, "a/k", bytes, sizes[i]);
        assert_int_equal(get(f, "a/k", NULL, &o), STORE_OK);
        assert_int_equal(o.data.len, sizes[i]);
        assert_memory_equal(buf_str(&o.data), bytes, sizes[i]);
        assert_true(sizes[i] < 1000 || o.info.stored_size < sizes[i] / 2);
        outcome_cleanup(&o);
        assert_int_equal(head(f, "a/k", &o), STORE_OK);
        assert_int_equal(o.info.size, sizes[i]);
        assert_string_equal(buf_str(&o.meta), "");
        outcome_cleanup(&o);
        free(bytes);
    }
}

static void ranges_are_of_the_object(void **state)
{
    struct fixture *f = *state;
    enum { SIZE = 300000 };
    char *bytes = make_text(SIZE);
    static const struct store_get_opts cases[] = {
        {.length = 1},
        {.offset = 1},
        {.offset = 65535, .length = 2},
        {.offset = 200000},
        {.offset = 299999},
        {.offset = 299999, .length = 9},
        {.offset = 300000},
        {.offset = 1, .length = 299999},
    };
    put_compressed(f, "k", bytes, SIZE);
    for (size_t i = 0; i < LEN(cases); i++) {
        const struct store_get_opts *c = &cases[i];
        struct outcome o;
        enum store_code code = get(f, "k", c, &o);
        if (c->offset >= SIZE) {
            assert_int_equal(code, STORE_BAD_RANGE);
        } else {
            size_t rest = SIZE - c->offset, n = c->length && c->length < rest ? c->length : rest;
            assert_int_equal(code, STORE_OK);
            assert_int_equal(o.data.len, n);
            assert_memory_equal(buf_str(&o.data), bytes + c->offset, n);
        }
        outcome_cleanup(&o);
    }
    free(bytes);
}

struct stream {
    struct outcome o; /* first */
    const char *from;
    size_t left;
};

static ssize_t stream_read(void *user, void *buf, size_t cap)
{
    struct stream *s = user;
    size_t n = s->left < cap ? s->left : cap;
    memcpy(buf, s->from, n);
    s->from += n;
    s->left -= n;
    return (ssize_t)n;
}

static void streams_come_back_with_their_size(void **state)
{
    struct fixture *f = *state;
    enum { SIZE = 300000 };
    static const struct store_put_cb cb = {stream_read, outcome_done};
    static const uint64_t told[] = {SIZE, STORE_SIZE_UNKNOWN};
    char *bytes = make_text(SIZE);
    for (size_t i = 0; i < LEN(told); i++) {
        struct stream s = {.from = bytes, .left = SIZE};
        struct outcome o;
        outcome_init(&s.o);
        assert_int_equal(
            finish(f, store_put(f->s, f->loop, "k", told[i], &compressed, &cb, &s, NULL), &s.o),
            STORE_OK);
        outcome_cleanup(&s.o);
        assert_int_equal(head(f, "k", &o), STORE_OK);
        assert_int_equal(o.info.size, SIZE); /* known at the end, which is in time for a folder */
        outcome_cleanup(&o);
        assert_int_equal(get(f, "k", NULL, &o), STORE_OK);
        assert_int_equal(o.data.len, SIZE);
        assert_memory_equal(buf_str(&o.data), bytes, SIZE);
        outcome_cleanup(&o);
    }
    free(bytes);
}

static void a_copy_is_compressed_too(void **state)
{
    struct fixture *f = *state;
    struct outcome o;
    char *bytes = make_text(100000);
    put_compressed(f, "from", bytes, 100000);
    outcome_init(&o);
    assert_int_equal(
        finish(f, store_copy(f->s, f->loop, "from", "to", NULL, outcome_done, &o, NULL), &o),
        STORE_OK);
    outcome_cleanup(&o);
    assert_int_equal(get(f, "to", NULL, &o), STORE_OK);
    assert_int_equal(o.data.len, 100000);
    assert_memory_equal(buf_str(&o.data), bytes, 100000);
    outcome_cleanup(&o);
    free(bytes);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(what_is_put_compressed_comes_back),
        IN_FOLDER(ranges_are_of_the_object),
        IN_FOLDER(streams_come_back_with_their_size),
        IN_FOLDER(a_copy_is_compressed_too),
    };
    return cmocka_run_group_tests_name("zip in a folder", tests, NULL, NULL);
}
