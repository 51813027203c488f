/* TARs as the reader makes them, and as nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "compute/untar.h"
#include "reader/tar.h"

/* ---- What comes out, as a text: "path:size=data;" ---- */

struct seen {
    struct buf text;
    size_t wanted, ended;
};

static int on_member(void *user, const char *path, uint64_t size, struct store_err *err)
{
    struct seen *s = user;
    if (strcmp(path, "refused") == 0)
        return store_err_set(err, STORE_INVALID, "not this one");
    buf_addf(&s->text, "%s:%llu=", path, (unsigned long long)size);
    s->wanted += strcmp(path, "skipped") != 0;
    return strcmp(path, "skipped") != 0;
}

static int on_data(void *user, const void *bytes, size_t n, struct store_err *err)
{
    struct seen *s = user;
    (void)err;
    assert_true(n > 0);
    buf_add(&s->text, bytes, n);
    return 0;
}

static int on_end(void *user, struct store_err *err)
{
    struct seen *s = user;
    (void)err;
    buf_addc(&s->text, ';');
    s->ended++;
    return 0;
}

static const struct untar_ops ops = {on_member, on_data, on_end};
static const struct untar_limits limits = {.max_bytes = 100000, .max_members = 4};

/* Feeds in pieces of `piece` bytes. 0: whole. */
static int read_tar(const struct buf *tar, size_t piece, struct seen *s, struct store_err *err)
{
    struct untar u;
    int failed = 0;
    *s = (struct seen){.text = BUF_INIT(1 << 20)};
    *err = (struct store_err){0};
    untar_init(&u, &ops, s, &limits);
    for (size_t at = 0; !failed && at < tar->len; at += piece)
        failed = untar_feed(&u, tar->data + at, tar->len - at < piece ? tar->len - at : piece, err);
    if (failed) { /* the first error is final */
        struct store_err again = {0};
        assert_int_equal(untar_feed(&u, "", 1, &again), -1);
        assert_string_equal(again.msg, err->msg);
        assert_int_equal(untar_end(&u, &again), -1);
        assert_string_equal(again.msg, err->msg);
    } else {
        failed = untar_end(&u, err);
    }
    untar_cleanup(&u);
    return failed;
}

static void add(struct buf *tar, const char *path, const char *data)
{
    size_t n = strlen(data);
    tar_header(tar, path, n, 1700000000);
    buf_add(tar, data, n);
    for (size_t i = tar_padding(n); i > 0; i--)
        buf_addc(tar, '\0');
}

static void add_end(struct buf *tar)
{
    for (size_t i = 0; i < TAR_END_BYTES; i++)
        buf_addc(tar, '\0');
}

/* Whole, byte by byte and in odd pieces it is the same. */
static void check_good(const struct buf *tar, const char *expected)
{
    static const size_t pieces[] = {1, 7, 511, 512, 513, 1 << 20};
    for (size_t i = 0; i < LEN(pieces); i++) {
        struct seen s;
        struct store_err err;
        if (read_tar(tar, pieces[i], &s, &err) != 0)
            fail_msg("in pieces of %zu: %s", pieces[i], err.msg);
        assert_string_equal(buf_str(&s.text), expected);
        assert_int_equal(s.wanted, s.ended);
        buf_cleanup(&s.text);
    }
}

static void check_bad(const struct buf *tar, const char *words)
{
    static const size_t pieces[] = {1, 512, 1 << 20};
    for (size_t i = 0; i < LEN(pieces); i++) {
        struct seen s;
        struct store_err err;
        if (read_tar(tar, pieces[i], &s, &err) == 0)
            fail_msg("taken; expected '%s'", words);
        if (!strstr(err.msg, words))
            fail_msg("'%s'; expected '%s'", err.msg, words);
        buf_cleanup(&s.text);
    }
}

static void an_empty_one_has_no_members(void **state)
{
    (void)state;
    struct buf tar = BUF_INIT(1 << 20);
    add_end(&tar);
    check_good(&tar, "");
    add_end(&tar); /* tar programs fill up their records */
    check_good(&tar, "");
    buf_cleanup(&tar);
}

static void members_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct buf tar = BUF_INIT(1 << 20), expected = BUF_INIT(1 << 20);
    char full[513], more[514];
    memset(full, 'f', 512);
    full[512] = '\0';
    memset(more, 'm', 513);
    more[513] = '\0';
    add(&tar, "empty", "");
    add(&tar, "pg_stat/one", "1");
    add(&tar, "full", full);
    add(&tar, "more", more);
    add_end(&tar);
    buf_addf(&expected, "empty:0=;pg_stat/one:1=1;full:512=%s;more:513=%s;", full, more);
    check_good(&tar, buf_str(&expected));
    buf_cleanup(&tar);
    buf_cleanup(&expected);
}

static void long_and_foreign_paths_come_by_prefix_and_pax(void **state)
{
    (void)state;
    char in_name[101], in_prefix[201], by_pax[513];
    memset(in_name, 'n', 100);
    in_name[100] = '\0';
    memset(in_prefix, 'p', 200);
    in_prefix[120] = '/';
    in_prefix[200] = '\0';
    memset(by_pax, 'x', 512);
    by_pax[512] = '\0';
    struct buf tar = BUF_INIT(1 << 20), expected = BUF_INIT(1 << 20);
    add(&tar, in_name, "a");
    add(&tar, in_prefix, "b");
    add(&tar, by_pax, "c");
    add(&tar, "pg_stat/\xc3\xa9.stat", "d");
    add_end(&tar);
    buf_addf(&expected, "%s:1=a;%s:1=b;%s:1=c;pg_stat/\xc3\xa9.stat:1=d;", in_name, in_prefix,
             by_pax);
    check_good(&tar, buf_str(&expected));
    buf_cleanup(&tar);
    buf_cleanup(&expected);
}

static void a_member_may_be_skipped_or_refused(void **state)
{
    (void)state;
    struct buf tar = BUF_INIT(1 << 20);
    add(&tar, "skipped", "data");
    add(&tar, "taken", "x");
    add_end(&tar);
    check_good(&tar, "skipped:4=taken:1=x;");
    buf_cleanup(&tar);
    add(&tar, "refused", "x");
    add_end(&tar);
    check_bad(&tar, "not this one");
    buf_cleanup(&tar);
}

/* The heart of it: no cut passes, at whatever byte. */
static void a_cut_at_any_byte_is_seen(void **state)
{
    (void)state;
    struct buf tar = BUF_INIT(1 << 20);
    add(&tar, "a", "some data");
    add(&tar, "pg_stat/\xc3\xa9.stat", "more");
    add_end(&tar);
    size_t whole = tar.len;
    for (size_t n = 0; n < whole; n++) {
        struct seen s;
        struct store_err err;
        tar.len = n;
        if (read_tar(&tar, 512, &s, &err) == 0)
            fail_msg("cut at %zu of %zu and taken", n, whole);
        assert_int_equal(err.code, STORE_CORRUPT);
        assert_non_null(strstr(err.msg, "cut"));
        buf_cleanup(&s.text);
    }
    tar.len = whole;
    check_good(&tar, "a:9=some data;pg_stat/\xc3\xa9.stat:4=more;");
    buf_cleanup(&tar);
}

/* ---- Headers by hand ---- */

struct field {
    size_t at, n;
    const char *bytes;
};

static void resum(char *block)
{
    unsigned sum = 0;
    char text[8];
    memset(block + 148, ' ', 8);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += (unsigned char)block[i];
    snprintf(text, sizeof(text), "%06o", sum);
    memcpy(block + 148, text, 7);
}

/* A file of one byte, with a field overwritten and the checksum put right. */
static void check_field(size_t at, const char *bytes, size_t n, const char *words)
{
    struct buf tar = BUF_INIT(1 << 20);
    add(&tar, "file", "x");
    add_end(&tar);
    memcpy(tar.data + at, bytes, n);
    resum(tar.data);
    if (words)
        check_bad(&tar, words);
    else
        check_good(&tar, "file:1=x;");
    buf_cleanup(&tar);
}

static void only_regular_files_are_taken(void **state)
{
    (void)state;
    check_field(156, "0", 1, NULL);
    check_field(156, "\0", 1, NULL); /* as before POSIX */
    check_field(156, "1", 1, "a hard link");
    check_field(156, "2", 1, "a symbolic link");
    check_field(156, "3", 1, "a device");
    check_field(156, "4", 1, "a device");
    check_field(156, "5", 1, "a folder");
    check_field(156, "6", 1, "a pipe");
    check_field(156, "7", 1, "of an unknown kind");
    check_field(156, "g", 1, "a global pax header");
    check_field(156, "L", 1, "of an unknown kind");
    check_field(156, "K", 1, "of an unknown kind");
    check_field(157, "x", 1, "a link's target");
}

static void hostile_paths_are_refused(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/etc/passwd", "/",    "..", "../x", "a/../../x", "a/..", ".",        "./a",
        "a/./b",       "a//b", "a/", "\x01", "a\nb",      "\x7f", "\xff\xfe", "\xc3",
    };
    for (size_t i = 0; i < LEN(paths); i++) {
        char name[100] = "";
        memcpy(name, paths[i], strlen(paths[i]));
        check_field(0, name, sizeof(name), "is refused");
    }
    check_field(0, "\0\0\0\0", 4, "is refused");
    check_field(345, "..", 2, "is refused");
    check_field(345, "/", 1, "is refused");
}

static void broken_headers_are_refused(void **state)
{
    (void)state;
    check_field(124, "00000000001 ", 12, NULL);
    check_field(124, "1\0\0\0\0\0\0\0\0\0\0\0", 12, NULL);
    check_field(124, "\x80\0\0\0\0\0\0\0\0\0\0\1", 12, "not octal");
    check_field(124, "            ", 12, "not octal");
    check_field(124, "00000000009\0", 12, "not octal");
    check_field(124, "-0000000001\0", 12, "not octal");
    check_field(257, "ustar  ", 7, "not POSIX ustar");
    check_field(257,
                "ustar\0"
                "01",
                8, "not POSIX ustar");
    check_field(257, "\0\0\0\0\0\0\0\0", 8, "not POSIX ustar");
    struct buf tar = BUF_INIT(1 << 20);
    add(&tar, "file", "x");
    add_end(&tar);
    tar.data[0] = 'F'; /* the sum stays */
    check_bad(&tar, "checksum");
    tar.data[0] = 'f';
    tar.data[TAR_BLOCK + 1] = 1;
    check_bad(&tar, "padding is not zero");
    tar.data[TAR_BLOCK + 1] = 0;
    tar.data[3 * TAR_BLOCK] = 1;
    check_bad(&tar, "only one block of zeros");
    tar.data[3 * TAR_BLOCK] = 0;
    buf_addc(&tar, 'x');
    check_bad(&tar, "behind the end");
    buf_cleanup(&tar);
}

static void nothing_comes_twice_and_too_much_does_not_come(void **state)
{
    (void)state;
    struct buf tar = BUF_INIT(1 << 20);
    add(&tar, "a", "x");
    add(&tar, "b", "x");
    add(&tar, "a", "y");
    add_end(&tar);
    check_bad(&tar, "'a' comes twice");
    buf_cleanup(&tar);
    for (const char *name = "1\0"
                            "2\0"
                            "3\0"
                            "4\0"
                            "5\0";
         *name; name += 2)
        add(&tar, name, "");
    add_end(&tar);
    check_bad(&tar, "more members than the 4");
    buf_cleanup(&tar);
    /* 10 GiB, by pax and in octal: nothing is allocated, nothing is waited for. */
    tar_header(&tar, "huge", 10ULL << 30, 0);
    check_bad(&tar, "'huge' has 10737418240 bytes; 100000 are left");
    buf_cleanup(&tar);
    tar_header(&tar, "huge", 8ULL * (1 << 30) - 1, 0);
    check_bad(&tar, "are left");
    buf_cleanup(&tar);
    tar_header(&tar, "first", 60000, 0); /* together they are too large */
    for (size_t i = 60000 + tar_padding(60000); i > 0; i--)
        buf_addc(&tar, '\0');
    tar_header(&tar, "second", 40001, 0);
    check_bad(&tar, "40000 are left");
    buf_cleanup(&tar);
}

/* A pax header with these records before a file of one byte. */
static void check_pax(const char *records, size_t n, const char *words)
{
    struct buf tar = BUF_INIT(1 << 20);
    char *header;
    char size[32];
    tar_header(&tar, "PaxHeaders/file", 0, 0);
    snprintf(size, sizeof(size), "%011zo", n);
    header = tar.data;
    header[156] = 'x';
    memcpy(header + 124, size, 12);
    resum(header);
    buf_add(&tar, records, n);
    for (size_t i = tar_padding(n); i > 0; i--)
        buf_addc(&tar, '\0');
    add(&tar, "file", "x");
    add_end(&tar);
    if (words)
        check_bad(&tar, words);
    else
        check_good(&tar, "a/b:1=x;");
    buf_cleanup(&tar);
}

static void pax_records_are_read_by_the_letter(void **state)
{
    (void)state;
    static const struct {
        const char *records, *words;
    } cases[] = {
        {"12 path=a/b\n", NULL},
        {"12 path=a/b\n10 size=1\n", NULL},
        {"12 path=a/b\n20 mtime=1700000000\n", NULL},
        {"12 path=../\n", "is refused"},
        {"12 path=/ab\n", "is refused"},
        {"12 path=a/b\n12 path=a/b\n", "path twice"},
        {"10 size=1\n10 size=1\n", "size twice"},
        {"11 size=0x\n", "not a number"},
        {"11 size=-1\n", "not a number"},
        {"16 linkpath=/ab\n", "says 'linkpath'"},
        {"18 SCHILY.fflags=\n", "says 'SCHILY.fflags'"},
        {"13 path=a/b\n", "malformed"},
        {"11 path=a/b\n", "malformed"},
        {"12path=a/b\n", "malformed"},
        {"-2 path=a/b\n", "malformed"},
        {"99999999999 path=a/b\n", "malformed"},
        {"0 path=a/b\n", "malformed"},
        {"3 \n", "malformed"},
        {"path", "malformed"},
        {"8 patha\n", "no '='"},
        {"8 path=\n", "a pax path of 0 bytes"},
        {"5 =x\n", "says ''"},
        {"", "a pax header of 0 bytes"},
    };
    for (size_t i = 0; i < LEN(cases); i++)
        check_pax(cases[i].records, strlen(cases[i].records), cases[i].words);
    check_pax("12 path=a\0b\n", 12, "without NUL");
    char large[UNTAR_PAX_MAX + 1];
    memset(large, ' ', sizeof(large));
    check_pax(large, sizeof(large), "expected 1 to 4096");
    int head = snprintf(large, sizeof(large), "524 path=");
    memset(large + head, 'x', 600);
    large[523] = '\n';
    check_pax(large, 524, "expected 1 to 512");
}

static void a_pax_header_belongs_to_one_member(void **state)
{
    (void)state;
    struct buf tar = BUF_INIT(1 << 20);
    add(&tar, "\xc3\xa9", "x");
    size_t pax = 2 * TAR_BLOCK; /* header and records */
    tar.len = pax;
    add_end(&tar);
    check_bad(&tar, "without a member");
    tar.len = pax;
    char copy[2 * TAR_BLOCK];
    memcpy(copy, tar.data, pax);
    buf_add(&tar, copy, pax);
    add(&tar, "file", "x");
    check_bad(&tar, "in a row");
    tar.len = pax;
    add(&tar, "this", "x"); /* goes by the pax header's name, the next one does not */
    add(&tar, "file", "y");
    add_end(&tar);
    check_good(&tar, "\xc3\xa9:1=x;file:1=y;");
    buf_cleanup(&tar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_has_no_members),
        cmocka_unit_test(members_come_out_as_they_went_in),
        cmocka_unit_test(long_and_foreign_paths_come_by_prefix_and_pax),
        cmocka_unit_test(a_member_may_be_skipped_or_refused),
        cmocka_unit_test(a_cut_at_any_byte_is_seen),
        cmocka_unit_test(only_regular_files_are_taken),
        cmocka_unit_test(hostile_paths_are_refused),
        cmocka_unit_test(broken_headers_are_refused),
        cmocka_unit_test(nothing_comes_twice_and_too_much_does_not_come),
        cmocka_unit_test(pax_records_are_read_by_the_letter),
        cmocka_unit_test(a_pax_header_belongs_to_one_member),
    };
    return cmocka_run_group_tests_name("untar", tests, NULL, NULL);
}
