#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/xalloc.h"

/* ---- Hex ---- */

static void test_hex_round_trip(void **state)
{
    (void)state;
    unsigned char bytes[256], back[256];
    char text[513];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)i;
    hex_encode(bytes, sizeof(bytes), text);
    assert_int_equal(strlen(text), 512);
    assert_memory_equal(text, "000102", 6);
    assert_string_equal(text + 506, "fdfeff");
    assert_true(hex_decode(text, 512, back, 256));
    assert_memory_equal(bytes, back, 256);
    hex_encode(bytes, 0, text);
    assert_string_equal(text, "");
}

static void test_hex_decode_is_strict(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        size_t len, n;
        bool ok;
    } cases[] = {
        {"", 0, 0, true},      {"aF09", 4, 2, true},   {"aF0", 3, 1, false}, {"aF09", 4, 1, false},
        {"aF09", 4, 3, false}, {"ag", 2, 1, false},    {" a", 2, 1, false},  {"0x", 2, 1, false},
        {"a\0", 2, 1, false},  {"\3770", 2, 1, false}, {"+1", 2, 1, false},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        unsigned char out[4];
        if (hex_decode(cases[i].hex, cases[i].len, out, cases[i].n) != cases[i].ok)
            fail_msg("case '%s'", cases[i].hex);
    }
}

static void test_hex16(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0, 1, 0x123456789abcdef0, UINT64_MAX};
    char text[17];
    for (size_t i = 0; i < LEN(numbers); i++) {
        uint64_t back = 7;
        u64_hex16(numbers[i], text);
        assert_int_equal(strlen(text), 16);
        assert_true(u64_from_hex16(text, &back));
        assert_true(back == numbers[i]);
    }
    u64_hex16(0xab, text);
    assert_string_equal(text, "00000000000000ab");
    static const char *const bad[] = {"",
                                      "ab",
                                      "00000000000000AB",
                                      "000000000000000ab",
                                      "00000000000000a",
                                      "000000000000000g",
                                      "-000000000000001"};
    for (size_t i = 0; i < LEN(bad); i++) {
        uint64_t v = 5;
        assert_false(u64_from_hex16(bad[i], &v));
        assert_int_equal(v, 5);
    }
}

/* ---- Base64 ---- */

static const struct {
    const char *plain, *padded, *url;
} texts_64[] = {
    /* RFC 4648 section 10, and the two digits that differ */
    {"", "", ""},
    {"f", "Zg==", "Zg"},
    {"fo", "Zm8=", "Zm8"},
    {"foo", "Zm9v", "Zm9v"},
    {"foob", "Zm9vYg==", "Zm9vYg"},
    {"fooba", "Zm9vYmE=", "Zm9vYmE"},
    {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
    {"\xfb\xff\xfe", "+//+", "-__-"},
};

static void test_base64(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(texts_64); i++) {
        char out[16];
        unsigned char back[16];
        size_t n = strlen(texts_64[i].plain);
        base64_encode(texts_64[i].plain, n, out);
        assert_string_equal(out, texts_64[i].padded);
        base64url_encode(texts_64[i].plain, n, out);
        assert_string_equal(out, texts_64[i].url);
        assert_int_equal(base64url_decode(out, strlen(out), back, n), n);
        assert_memory_equal(back, texts_64[i].plain, n);
        if (n)
            assert_int_equal(base64url_decode(out, strlen(out), back, n - 1), -1);
    }
}

static void test_base64_long(void **state)
{
    (void)state;
    unsigned char bytes[1000], back[1000];
    char text[1400];
    for (size_t n = 0; n <= sizeof(bytes); n += 7) {
        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)(i * 37 + n);
        base64url_encode(bytes, n, text);
        assert_int_equal(base64url_decode(text, strlen(text), back, sizeof(back)), n);
        assert_memory_equal(bytes, back, n);
    }
}

static void test_base64url_is_strict(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
        size_t n;
    } cases[] = {
        {"padding", "Zg==", 4},
        {"a lone digit", "Z", 1},
        {"five digits", "Zm9vZ", 5},
        {"unused bits", "Zh", 2},
        {"unused bits of three", "Zm9", 3},
        {"white space", "Zm 9v", 5},
        {"line feed", "Zm9v\n", 5},
        {"base64, not url", "+//+", 4},
        {"NUL", "Zm9\0", 4},
        {"not ASCII", "Zm9\xe9", 4},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        unsigned char out[16];
        if (base64url_decode(cases[i].text, cases[i].n, out, sizeof(out)) != -1)
            fail_msg("case '%s'", cases[i].name);
    }
}

/* ---- Percent ---- */

static void test_percent_encode(void **state)
{
    (void)state;
    struct buf out = BUF_INIT(1000);
    percent_encode(&out, "aZ09-._~/ +%\xc3\xa4\0*", 16, true);
    assert_string_equal(buf_str(&out), "aZ09-._~/%20%2B%25%C3%A4%00%2A");
    buf_reset(&out);
    percent_encode(&out, "a/b", 3, false);
    assert_string_equal(buf_str(&out), "a%2Fb");
    buf_cleanup(&out);
    struct buf small = BUF_INIT(4);
    percent_encode(&small, "  ", 2, false);
    assert_true(buf_failed(&small));
    buf_cleanup(&small);
}

static void test_percent_decode(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        const char *expected; /* NULL: refused */
    } cases[] = {
        {"", 0, ""},         {"a%2Fb%2f", 8, "a/b/"},   {"+", 1, "+"},    {"%25", 3, "%"},
        {"%252e", 5, "%2e"}, {"%c3%a4", 6, "\xc3\xa4"}, {"%", 1, NULL},   {"%4", 2, NULL},
        {"%4g", 3, NULL},    {"%g4", 3, NULL},          {"%00", 3, NULL}, {"a\0b", 3, NULL},
        {"%%41", 4, NULL},   {"% 41", 4, NULL},         {"%+1", 3, NULL}, {"%41", 2, NULL},
        {"a%", 2, NULL},     {"%u0041", 6, NULL},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        char out[16];
        size_t n = 99;
        bool ok = percent_decode(cases[i].text, cases[i].n, out, &n);
        if (ok != (cases[i].expected != NULL))
            fail_msg("case '%s'", cases[i].text);
        if (!ok)
            continue;
        assert_int_equal(n, strlen(cases[i].expected));
        assert_string_equal(out, cases[i].expected);
    }
}

static void test_percent_decode_in_place(void **state)
{
    (void)state;
    char text[] = "%41b%43";
    size_t n;
    assert_true(percent_decode(text, strlen(text), text, &n));
    assert_string_equal(text, "AbC");
    assert_int_equal(n, 3);
}

/* ---- Numbers and excerpts ---- */

static void test_parse_u64(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        uint64_t v;
    } cases[] = {
        {"0", true, 0},
        {"007", true, 7},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"18446744073709551620", false, 0},
        {"99999999999999999999999", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"0x1", false, 0},
        {"1e3", false, 0},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        uint64_t v = 0;
        if (parse_u64(cases[i].text, strlen(cases[i].text), &v) != cases[i].ok)
            fail_msg("case '%s'", cases[i].text);
        assert_true(v == cases[i].v);
    }
}

static void test_excerpt(void **state)
{
    (void)state;
    char out[8];
    assert_string_equal(text_excerpt("abc", 3, out, sizeof(out)), "abc");
    assert_string_equal(text_excerpt("1234567", 7, out, sizeof(out)), "1234567");
    assert_string_equal(text_excerpt("12345678", 8, out, sizeof(out)), "1234...");
    assert_string_equal(text_excerpt("\x1b[31m\n", 6, out, sizeof(out)), "?[31m?");
    assert_string_equal(text_excerpt("a\0b\xc3\xa4\x7f", 6, out, sizeof(out)), "a?b???");
    assert_string_equal(text_excerpt("", 0, out, sizeof(out)), "");
    assert_string_equal(text_excerpt("abcdef", 6, out, 4), "...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hex_round_trip),
        cmocka_unit_test(test_hex_decode_is_strict),
        cmocka_unit_test(test_hex16),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_base64_long),
        cmocka_unit_test(test_base64url_is_strict),
        cmocka_unit_test(test_percent_encode),
        cmocka_unit_test(test_percent_decode),
        cmocka_unit_test(test_percent_decode_in_place),
        cmocka_unit_test(test_parse_u64),
        cmocka_unit_test(test_excerpt),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
