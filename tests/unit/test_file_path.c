/* The folder driver's pure parts: names on disk, and an object's description. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "libstore/file/file.h"

static char a1024[1025], b252[253], c253[254], d600[601];

static void fill_texts(void)
{
    memset(a1024, 'a', 1024);
    memset(b252, 'b', 252);
    memset(c253, 'c', 253);
    memset(d600, 'd', 600);
}

static const struct {
    const char *name, *key, *path; /* path NULL: refused */
} paths[] = {
    {"plain", "a/b.bin", "a/b.bin%o"},
    {"at the root", "x", "x%o"},
    {"object beside a folder of its name", "a", "a%o"},
    {"deep", "a/b/c/d", "a/b/c/d%o"},
    {"dots in names", "v1.2..3/...", "v1.2..3/...%o"},
    {"hidden", ".git/.x", ".git/.x%o"},
    {"looks like an object", "a%o/b", "a%o%d/b%o"},
    {"looks like an object, as one", "a%o", "a%o%o"},
    {"looks like the lock", "lock%s", "lock%s%o"},
    {"looks like the lock, as a folder", "lock%s/x", "lock%s%d/x%o"},
    {"looks like the temporary folder", "tmp%s/x", "tmp%s%d/x%o"},
    {"looks marked twice", "a%d%d/x", "a%d%d%d/x%o"},
    {"percent last", "100%/x", "100%/x%o"},
    {"percent only", "%/%", "%/%%o"},
    {"two percent", "%%/%%", "%%%d/%%%o"},
    {"space and controls", "a b/\x01\n\xff", "a b/\x01\n\xff%o"},
    {"252 bytes", b252, NULL /* filled in below */},
    {"empty", "", NULL},
    {"dot", ".", NULL},
    {"dot dot", "..", NULL},
    {"climbs out", "../etc/pw", NULL},
    {"climbs later", "a/../b", NULL},
    {"dot inside", "a/./b", NULL},
    {"ends with dots", "a/..", NULL},
    {"empty part", "a//b", NULL},
    {"leading slash", "/a", NULL},
    {"trailing slash", "a/", NULL},
};

static void keys_become_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(paths); i++) {
        char path[FILE_PATH_MAX], expected[FILE_PATH_MAX];
        size_t dir_len = 99;
        print_message("%s\n", paths[i].name);
        ssize_t n = file_path_of_key(paths[i].key, path, &dir_len);
        if (paths[i].path)
            snprintf(expected, sizeof(expected), "%s", paths[i].path);
        else if (paths[i].key == b252)
            snprintf(expected, sizeof(expected), "%s%%o", b252);
        else {
            assert_int_equal(n, -1);
            continue;
        }
        assert_string_equal(path, expected);
        assert_int_equal(n, strlen(path));
        const char *slash = strrchr(path, '/');
        assert_int_equal(dir_len, slash ? slash - path : 0);
    }
}

static void long_parts_are_cut(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX], expected[FILE_PATH_MAX], key[1100];
    size_t dir_len;
    assert_true(file_path_of_key(c253, path, &dir_len) > 0);
    snprintf(expected, sizeof(expected), "%s%%l/%%o", c253);
    assert_string_equal(path, expected);
    assert_int_equal(dir_len, 255);

    snprintf(key, sizeof(key), "%s/x", c253);
    assert_true(file_path_of_key(key, path, &dir_len) > 0);
    snprintf(expected, sizeof(expected), "%s%%l/%%d/x%%o", c253);
    assert_string_equal(path, expected);

    snprintf(key, sizeof(key), "%s./x", c253);
    assert_true(file_path_of_key(key, path, &dir_len) > 0);
    snprintf(expected, sizeof(expected), "%s%%l/.%%d/x%%o", c253);
    assert_string_equal(path, expected);

    assert_true(file_path_of_key(d600, path, &dir_len) > 0);
    snprintf(expected, sizeof(expected), "%.253s%%l/%.253s%%l/%.94s%%o", d600, d600, d600);
    assert_string_equal(path, expected);

    assert_true(file_path_of_key(a1024, path, &dir_len) > 0);
    snprintf(key, sizeof(key), "%sa", a1024);
    assert_int_equal(file_path_of_key(key, path, &dir_len), -1);
}

/* The worst growth stays below FILE_PATH_MAX; the sanitizer watches. */
static void longest_paths_fit(void **state)
{
    (void)state;
    static const char *const units[] = {"%%/", "a/", "%a/", "%", "x%o/"};
    for (size_t u = 0; u < LEN(units); u++) {
        char key[1025] = "", path[FILE_PATH_MAX];
        size_t dir_len, unit = strlen(units[u]);
        for (size_t n = 0; n + unit < sizeof(key); n += unit)
            memcpy(key + n, units[u], unit);
        size_t len = strlen(key);
        if (key[len - 1] == '/')
            key[len - 1] = '\0';
        ssize_t n = file_path_of_key(key, path, &dir_len);
        assert_true(n > 0 && n < FILE_PATH_MAX - 256);
        assert_int_equal(n, strlen(path));
    }
}

/* Back from a path to its key, as a walk through the folders does. False: not one of ours. */
static bool key_of_path(char *path, char *key)
{
    bool in_long = false;
    size_t n = 0;
    for (char *name = strtok(path, "/"); name; name = strtok(NULL, "/")) {
        size_t piece_len;
        assert_true(strlen(name) <= 255);
        enum file_kind kind = file_name_decode(name, in_long, &piece_len);
        if (kind == FILE_FOREIGN)
            return false;
        memcpy(key + n, name, piece_len);
        n += piece_len;
        if (kind == FILE_FOLDER)
            key[n++] = '/';
        in_long = kind == FILE_LONG;
    }
    key[n] = '\0';
    return true;
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 16;
}

static void random_key(unsigned *seed, char key[STORE_MAX_KEY + 1])
{
    static const char alphabet[] = "%%%%odls..ab\xc3\xa9/";
    size_t len = 1 + next_random(seed) % 40, n = 0;
    size_t run = next_random(seed) % 4 == 0 ? 240 + next_random(seed) % 300 : 0;
    for (; n < len; n++)
        key[n] = alphabet[next_random(seed) % (sizeof(alphabet) - 1)];
    for (; run > 0; run--)
        key[n++] = 'L';
    for (len = next_random(seed) % 6; len > 0; len--)
        key[n++] = alphabet[next_random(seed) % (sizeof(alphabet) - 1)];
    key[n] = '\0';
}

static void every_path_leads_back(void **state)
{
    (void)state;
    unsigned seed = 7;
    int ours = 0;
    for (int i = 0; i < 20000; i++) {
        char key[STORE_MAX_KEY + 1], path[FILE_PATH_MAX], back[FILE_PATH_MAX];
        size_t dir_len;
        random_key(&seed, key);
        ssize_t n = file_path_of_key(key, path, &dir_len);
        assert_int_equal(n < 0, store_key_problem(key) != NULL);
        if (n < 0)
            continue;
        ours++;
        assert_true(key_of_path(path, back));
        assert_string_equal(back, key);
    }
    assert_true(ours > 1000);
}

static const struct {
    const char *name;
    bool in_long;
    enum file_kind kind;
    size_t piece_len;
} names[] = {
    {"a", false, FILE_FOLDER, 1},
    {"a%o", false, FILE_OBJECT, 1},
    {"%o", false, FILE_FOREIGN, 0},
    {"%o", true, FILE_OBJECT, 0},
    {"%d", false, FILE_FOREIGN, 0},
    {"%d", true, FILE_FOLDER, 0},
    {".", false, FILE_FOREIGN, 0},
    {"..", false, FILE_FOREIGN, 0},
    {"..", true, FILE_FOREIGN, 0},
    {"..%o", false, FILE_FOREIGN, 0},
    {"..%o", true, FILE_OBJECT, 2},
    {"..%d", false, FILE_FOREIGN, 0},
    {".%d", true, FILE_FOLDER, 1},
    {"a%d", false, FILE_FOREIGN, 0}, /* would be a second name of "a" */
    {"a%l", false, FILE_FOREIGN, 0}, /* too short to be cut */
    {"a%x", false, FILE_FOREIGN, 0},
    {"a%o%d", false, FILE_FOLDER, 3},
    {"a%o%o", false, FILE_OBJECT, 3},
    {"%", false, FILE_FOLDER, 1},
    {FILE_TMP_NAME, false, FILE_FOREIGN, 0},
    {FILE_LOCK_NAME, false, FILE_FOREIGN, 0},
};

static void names_are_told_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(names); i++) {
        size_t piece_len;
        print_message("%s\n", names[i].name);
        assert_int_equal(file_name_decode(names[i].name, names[i].in_long, &piece_len),
                         names[i].kind);
        if (names[i].kind != FILE_FOREIGN)
            assert_int_equal(piece_len, names[i].piece_len);
    }
    size_t piece_len;
    char name[300];
    snprintf(name, sizeof(name), "%s%%l", c253);
    assert_int_equal(file_name_decode(name, false, &piece_len), FILE_LONG);
    assert_int_equal(file_name_decode(c253, false, &piece_len), FILE_FOREIGN);
    snprintf(name, sizeof(name), "%s%%o", c253);
    assert_int_equal(file_name_decode(name, false, &piece_len), FILE_FOREIGN);
}

static const struct {
    const char *prefix, *path; /* path NULL: no key can begin so */
    size_t covered;
} prefixes[] = {
    {"", "", 0},        {"a", "", 0},          {"a/", "a", 2}, {"a/b", "a", 2},
    {"a/b/", "a/b", 4}, {"a%o/b", "a%o%d", 4}, {"..", "", 0}, /* "..." begins so */
    {"../", NULL, 0},   {"a//", NULL, 0},      {"/", NULL, 0}, {"a/./", NULL, 0},
};

static void prefixes_choose_a_folder(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX], expected[FILE_PATH_MAX];
    size_t covered;
    bool in_long;
    for (size_t i = 0; i < LEN(prefixes); i++) {
        print_message("'%s'\n", prefixes[i].prefix);
        ssize_t n = file_path_of_prefix(prefixes[i].prefix, path, &covered, &in_long);
        if (!prefixes[i].path) {
            assert_int_equal(n, -1);
            continue;
        }
        assert_string_equal(path, prefixes[i].path);
        assert_int_equal(n, strlen(path));
        assert_int_equal(covered, prefixes[i].covered);
        assert_false(in_long);
    }
    assert_true(file_path_of_prefix(d600, path, &covered, &in_long) > 0);
    snprintf(expected, sizeof(expected), "%.253s%%l/%.253s%%l", d600, d600);
    assert_string_equal(path, expected);
    assert_int_equal(covered, 506);
    assert_true(in_long);
}

static const struct {
    const char *bytes;
    size_t len;
    bool ok;
} records[] = {
    {"1\0"
     "5\0tag\0text/plain\0",
     19, true},
    {"1\0"
     "5\0tag\0\0name\0value\0",
     20, true},
    {"1\0"
     "5\0tag\0text/plain",
     18, false}, /* no NUL at the end */
    {"1\0"
     "5\0tag\0\0name\0",
     14, false}, /* a name without a value */
    {"1\0"
     "5\0tag\0",
     8, false},
    {"2\0"
     "5\0tag\0crc32c:0123abcd\0text/plain\0",
     35, true},
    {"2\0"
     "5\0tag\0\0text/plain\0name\0value\0",
     31, true}, /* nothing to verify with */
    {"2\0"
     "5\0tag\0text/plain\0",
     19, false}, /* as of format 1 */
    {"2\0"
     "5\0tag\0crc32c:0123ABCD\0\0",
     25, false},
    {"2\0"
     "5\0tag\0crc32c:0123abcde\0\0",
     26, false},
    {"2\0"
     "5\0tag\0md5:0123abcd\0\0",
     22, false},
    {"3\0"
     "5\0tag\0crc32c:0123abcd\0text/plain\0",
     35, false},
    {"1\0"
     "-5\0tag\0text/plain\0",
     20, false},
    {"1\0"
     "99999999999999999999\0tag\0\0",
     28, false},
    {"", 0, false},
    {"\0\0\0\0", 4, false},
    {"garbage", 7, false},
};

static void records_are_checked(void **state)
{
    (void)state;
    struct file_record r;
    for (size_t i = 0; i < LEN(records); i++) {
        print_message("record %zu\n", i);
        memcpy(r.text, records[i].bytes, records[i].len);
        assert_int_equal(file_record_parse(&r, records[i].len), records[i].ok);
        if (!records[i].ok)
            continue;
        assert_string_equal(r.etag, "tag");
        assert_int_equal(r.size, 5);
    }
    char many[100] = "1\0"
                     "5\0tag\0";
    memset(many + 8, 0, sizeof(many) - 8);
    for (size_t pairs = 0; pairs < 40; pairs++) {
        memcpy(r.text, many, 9 + 2 * pairs);
        assert_int_equal(file_record_parse(&r, 9 + 2 * pairs), pairs <= FILE_MAX_META);
    }
}

int main(void)
{
    fill_texts();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_become_paths),    cmocka_unit_test(long_parts_are_cut),
        cmocka_unit_test(longest_paths_fit),    cmocka_unit_test(every_path_leads_back),
        cmocka_unit_test(names_are_told_apart), cmocka_unit_test(prefixes_choose_a_folder),
        cmocka_unit_test(records_are_checked),
    };
    return cmocka_run_group_tests_name("file_path", tests, NULL, NULL);
}
