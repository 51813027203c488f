/* TAR members by the letter of POSIX.1: the reader below is the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "reader/tar.h"

static const uint64_t GIB = 1024 * 1024 * 1024;

static uint64_t octal_field(const char *field, size_t width)
{
    uint64_t v = 0;
    for (size_t i = 0; i < width - 1; i++) {
        assert_in_range(field[i], '0', '7');
        v = v * 8 + (uint64_t)(field[i] - '0');
    }
    assert_int_equal(field[width - 1], '\0');
    return v;
}

static void assert_checksum(const char *block)
{
    unsigned sum = 0, stored = 0;
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : (unsigned char)block[i];
    assert_int_equal(sscanf(block + 148, "%6o", &stored), 1);
    assert_int_equal(stored, sum);
    assert_memory_equal(block + 154, "\0 ", 2);
}

struct member {
    char path[1024];
    uint64_t size, mtime;
    bool has_pax;
    size_t header_bytes;
};

static void read_ustar(const char *block, char type, struct member *m)
{
    assert_checksum(block);
    assert_memory_equal(block + 257, "ustar\00000", 8);
    assert_int_equal(block[156], type);
    m->size = octal_field(block + 124, 12);
    m->mtime = octal_field(block + 136, 12);
    snprintf(m->path, sizeof(m->path), "%.155s%s%.100s", block + 345, block[345] ? "/" : "", block);
}

/* Walks "<length> <key>=<value>\n" records and puts what they say into *m. */
static void read_pax(char *records, size_t n, struct member *m)
{
    for (size_t at = 0; at < n;) {
        char *end;
        size_t length = strtoul(records + at, &end, 10);
        assert_int_equal(*end, ' ');
        assert_true(length > 0 && at + length <= n);
        assert_int_equal(records[at + length - 1], '\n');
        records[at + length - 1] = '\0';
        if (strncmp(end + 1, "path=", 5) == 0)
            snprintf(m->path, sizeof(m->path), "%s", end + 6);
        else if (strncmp(end + 1, "size=", 5) == 0)
            m->size = strtoull(end + 6, NULL, 10);
        else
            fail_msg("record %s", end + 1);
        at += length;
    }
}

static void read_member(const char *path, uint64_t size, int64_t modified_s, struct member *m)
{
    struct buf b = BUF_INIT(65536);
    tar_header(&b, path, size, modified_s);
    assert_false(buf_failed(&b));
    assert_int_equal(b.len % TAR_BLOCK, 0);
    *m = (struct member){.header_bytes = b.len};
    if (b.data[156] == 'x') {
        struct member pax = {.path = ""};
        read_ustar(b.data, 'x', &pax);
        size_t padded = (size_t)pax.size + tar_padding(pax.size);
        assert_int_equal(b.len, 2 * TAR_BLOCK + padded);
        for (size_t i = pax.size; i < padded; i++)
            assert_int_equal(b.data[TAR_BLOCK + i], 0);
        read_ustar(b.data + TAR_BLOCK + padded, '0', m);
        m->has_pax = true;
        read_pax(b.data + TAR_BLOCK, (size_t)pax.size, m);
    } else {
        assert_int_equal(b.len, TAR_BLOCK);
        read_ustar(b.data, '0', m);
    }
    m->header_bytes = b.len;
    buf_cleanup(&b);
}

static void check_member(const char *path, uint64_t size, bool has_pax)
{
    struct member m;
    read_member(path, size, 1700000000, &m);
    assert_string_equal(m.path, path);
    assert_int_equal(m.size, size);
    assert_int_equal(m.mtime, 1700000000);
    assert_int_equal(m.has_pax, has_pax);
    assert_int_equal(tar_member_bytes(path, size), m.header_bytes + size + tar_padding(size));
    assert_int_equal(tar_member_bytes(path, size) % TAR_BLOCK, 0);
}

static void sizes_come_back(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 511, 512, 513, 1024, 8ULL * 1024 * 1024 * 1024 - 1};
    for (size_t i = 0; i < LEN(sizes); i++)
        check_member("lfc_state", sizes[i], false);
}

static void eight_gib_and_more_need_pax(void **state)
{
    (void)state;
    check_member("lfc_state", 8 * GIB, true);
    check_member("lfc_state", 8 * GIB + 1, true);
    check_member("lfc_state", 1024 * 1024 * GIB, true);
}

static void padding_fills_the_block(void **state)
{
    (void)state;
    static const struct {
        uint64_t size;
        size_t padding;
    } cases[] = {{0, 0}, {1, 511}, {511, 1}, {512, 0}, {513, 511}, {UINT64_MAX, 1}};
    for (size_t i = 0; i < LEN(cases); i++)
        assert_int_equal(tar_padding(cases[i].size), cases[i].padding);
}

/* "ppp/nnn" of given lengths */
static void check_split(size_t prefix_len, size_t name_len, bool has_pax)
{
    char path[1024];
    memset(path, 'p', prefix_len);
    path[prefix_len] = '/';
    memset(path + prefix_len + 1, 'n', name_len);
    path[prefix_len + 1 + name_len] = '\0';
    check_member(path, 5, has_pax);
}

static void long_paths_are_split_where_ustar_can(void **state)
{
    (void)state;
    check_split(1, 98, false); /* 100 bytes: all in the name */
    check_split(1, 99, false); /* 101: the first that is split */
    check_split(1, 100, false);
    check_split(1, 101, true); /* the name alone is too long */
    check_split(154, 100, false);
    check_split(155, 100, false);
    check_split(155, 101, true);
    check_split(156, 100, true); /* the prefix alone is too long */
    check_split(155, 1, false);
    check_split(156, 1, true);
}

static void a_path_without_a_slash_has_one_hundred_bytes(void **state)
{
    (void)state;
    char path[102];
    memset(path, 'x', sizeof(path));
    path[100] = '\0';
    check_member(path, 1, false);
    path[100] = 'x';
    path[101] = '\0';
    check_member(path, 1, true);
}

static void several_slashes_leave_a_choice(void **state)
{
    (void)state;
    char path[400] = "";
    for (int i = 0; i < 24; i++)
        strcat(path, "123456789/");
    check_member(strcat(path, "end"), 9, false);
    char many[600] = "";
    for (int i = 0; i < 50; i++)
        strcat(many, "123456789/");
    check_member(strcat(many, "end"), 9, true);
}

static void other_scripts_need_pax(void **state)
{
    (void)state;
    check_member("pg_stat/\xc3\xa9.stat", 3, true);
    check_member("pg_stat/\xf0\x9f\x90\x98.stat", 3, true);
}

/* "NN path=…\n" counts its own digits: at 9/10, 99/100 and 999/1000 the count itself grows. */
static void pax_lengths_count_themselves(void **state)
{
    (void)state;
    char path[1024];
    for (size_t n = 2; n < 1000; n++) {
        memset(path, 'a', n);
        memcpy(path, "\xc3\xa9", 2);
        path[n] = '\0';
        check_member(path, n, true);
    }
}

static void odd_times_stay_in_their_field(void **state)
{
    (void)state;
    static const struct {
        int64_t modified_s;
        uint64_t mtime;
    } cases[] = {
        {0, 0},
        {-1, 0},
        {INT64_MIN, 0},
        {1, 1},
        {077777777777, 077777777777},
        {253402300799, 077777777777}, /* the year 9999: the latest that the field can say */
        {INT64_MAX, 077777777777},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct member m;
        read_member("a", 1, cases[i].modified_s, &m);
        assert_int_equal(m.mtime, cases[i].mtime);
        assert_string_equal(m.path, "a");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_come_back),
        cmocka_unit_test(eight_gib_and_more_need_pax),
        cmocka_unit_test(padding_fills_the_block),
        cmocka_unit_test(long_paths_are_split_where_ustar_can),
        cmocka_unit_test(a_path_without_a_slash_has_one_hundred_bytes),
        cmocka_unit_test(several_slashes_leave_a_choice),
        cmocka_unit_test(other_scripts_need_pax),
        cmocka_unit_test(pax_lengths_count_themselves),
        cmocka_unit_test(odd_times_stay_in_their_field),
    };
    return cmocka_run_group_tests_name("tar", tests, NULL, NULL);
}
