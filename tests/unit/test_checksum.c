/* CRC32C against the examples of RFC 3720 section B.4. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "libstore/checksum.h"

enum { N = 32 };

static void fill(unsigned char bytes[N], int first, int step)
{
    for (int i = 0; i < N; i++)
        bytes[i] = (unsigned char)(first + i * step);
}

static void the_examples_of_rfc_3720_agree(void **state)
{
    (void)state;
    static const struct {
        int first, step;
        uint32_t crc;
    } cases[] = {
        {0x00, 0, 0x8a9136aa},
        {0xff, 0, 0x62a8ab43},
        {0x00, 1, 0x46dd794e},
        {0x1f, -1, 0x113fdb5c},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        unsigned char bytes[N];
        fill(bytes, cases[i].first, cases[i].step);
        assert_int_equal(checksum_crc32c(0, bytes, sizeof(bytes)), cases[i].crc);
    }
}

static void the_check_value_of_the_polynomial_agrees(void **state)
{
    (void)state;
    assert_int_equal(checksum_crc32c(0, "123456789", 9), 0xe3069283);
}

static void nothing_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(checksum_crc32c(0, "", 0), 0);
    assert_int_equal(checksum_crc32c(0xe3069283, "", 0), 0xe3069283);
    assert_int_equal(checksum_crc32c(0xe3069283, NULL, 0), 0xe3069283);
}

/* isa-l takes other ways for short, long and unaligned data. */
static void pieces_give_the_same_as_the_whole(void **state)
{
    (void)state;
    enum { SIZE = 5000 };
    unsigned char *bytes = malloc(SIZE);
    assert_non_null(bytes);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 251);
    uint32_t whole = checksum_crc32c(0, bytes, SIZE);
    for (size_t piece = 1; piece < SIZE; piece += piece < 70 ? 1 : 613) {
        uint32_t crc = 0;
        for (size_t at = 0; at < SIZE; at += piece)
            crc = checksum_crc32c(crc, bytes + at, at + piece < SIZE ? piece : SIZE - at);
        if (crc != whole)
            fail_msg("in pieces of %zu: %08x, not %08x", piece, (unsigned)crc, (unsigned)whole);
    }
    free(bytes);
}

static void one_bit_makes_a_difference(void **state)
{
    (void)state;
    unsigned char bytes[N];
    fill(bytes, 0, 1);
    for (size_t bit = 0; bit < 8 * N; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_int_not_equal(checksum_crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_rfc_3720_agree),
        cmocka_unit_test(the_check_value_of_the_polynomial_agrees),
        cmocka_unit_test(nothing_changes_nothing),
        cmocka_unit_test(pieces_give_the_same_as_the_whole),
        cmocka_unit_test(one_bit_makes_a_difference),
    };
    return cmocka_run_group_tests_name("checksum", tests, NULL, NULL);
}
