#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "storectl/args.h"
#include "storectl/place.h"
#include "storectl/show.h"
#include "storectl/value.h"

/* ---- Values ---- */

static void test_durations_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        uint64_t ms;
    } cases[] = {
        {"250ms", true, 250},  {"30s", true, 30000},    {"5m", true, 300000},
        {"2h", true, 7200000}, {"7d", true, 604800000}, {"0s", true, 0},
        {"", false, 0},        {"7", false, 0},         {"d", false, 0},
        {"-1s", false, 0},     {"1.5h", false, 0},      {"1y", false, 0},
        {"1 s", false, 0},     {"1sx", false, 0},       {"18446744073709551615d", false, 0},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        uint64_t ms = 0;
        bool ok = value_parse_duration(cases[i].text, &ms);
        if (ok != cases[i].ok || (ok && ms != cases[i].ms))
            fail_msg("'%s': %d, %llu", cases[i].text, ok, (unsigned long long)ms);
    }
}

static void test_values_are_shown(void **state)
{
    (void)state;
    char t[VALUE_TEXT];
    assert_string_equal(value_show_bytes(0, t), "0 B");
    assert_string_equal(value_show_bytes(1023, t), "1023 B");
    assert_string_equal(value_show_bytes(1536, t), "1.5 KiB");
    assert_string_equal(value_show_bytes(10188, t), "9.9 KiB");
    assert_string_equal(value_show_bytes(10200, t), "10 KiB");
    assert_string_equal(value_show_bytes((1 << 20) - 1, t), "1.0 MiB");
    assert_string_equal(value_show_bytes(UINT64_MAX, t), "16 EiB");
    assert_string_equal(value_show_count(0, t), "0");
    assert_string_equal(value_show_count(999, t), "999");
    assert_string_equal(value_show_count(1000, t), "1,000");
    assert_string_equal(value_show_count(UINT64_MAX, t), "18,446,744,073,709,551,615");
    assert_string_equal(value_show_seconds(7, t), "0:07");
    assert_string_equal(value_show_seconds(3723, t), "1:02:03");
    assert_string_equal(value_show_ms(1240, t), "1.2 s");
    assert_string_equal(value_show_ms(61000, t), "1:01");
}

/* ---- The command line ---- */

static enum args_verdict parse(struct args *a, struct store_err *err, char *line)
{
    static char *words[32];
    int n = 0;
    memset(words, 0, sizeof(words));
    words[n++] = (char *)"storectl";
    for (char *w = strtok(line, " "); w; w = strtok(NULL, " "))
        words[n++] = w;
    return args_parse(a, n, words, err);
}

static void test_options_stand_anywhere(void **state)
{
    (void)state;
    struct args a;
    struct store_err err = {0};
    char line[] =
        "--store s3://b cp --meta a=1 -r x --parallel 3 --meta b==2 y --timeout 5s --json";
    assert_int_equal(parse(&a, &err, line), ARGS_RUN);
    assert_int_equal(a.command, COMMAND_CP);
    assert_int_equal(a.n_words, 2);
    assert_string_equal(a.words[0], "x");
    assert_string_equal(a.words[1], "y");
    assert_string_equal(a.store_url, "s3://b");
    assert_true(a.recursive && a.json && !a.verbose);
    assert_int_equal(a.parallel, 3);
    assert_int_equal(a.conf.op_timeout_ms, 5000);
    assert_int_equal(a.n_meta, 2);
    assert_string_equal(a.meta[0].name, "a");
    assert_string_equal(a.meta[1].value, "=2");
    args_cleanup(&a);
}

static void test_what_is_no_option_is_a_word(void **state)
{
    (void)state;
    struct args a;
    struct store_err err = {0};
    char line[] = "cp -- - -r";
    assert_int_equal(parse(&a, &err, line), ARGS_RUN);
    assert_string_equal(a.words[0], "-");
    assert_string_equal(a.words[1], "-r");
    assert_false(a.recursive);
    args_cleanup(&a);
}

static void test_bad_command_lines(void **state)
{
    (void)state;
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"", "expected ls, cp, cat, rm or stat"},
        {"ls a b", "storectl ls"},
        {"ls --older-than 5d", "not for ls"},
        {"ls --versions --uploads", "one of them"},
        {"ls --addressing dns", "auto, path or host"},
        {"cp a b --parallel 0", "1 to 256"},
        {"cp a b --parallel x", "a number"},
        {"cp a b --if-absent --if-match x", "one of them"},
        {"cp a b -r --if-match x", "not for -r"},
        {"cp a b --meta =x", "NAME=VALUE"},
        {"cat a b --offset 1", "one object"},
        {"rm -r a b", "one prefix"},
        {"rm a --uploads", "only with rm -r"},
        {"rm a --batches 65 -r", "1 to 64"},
        {"stat a --timeout 0s", "1 to"},
        {"stat a --store", "--store"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct args a;
        struct store_err err = {0};
        char line[128];
        strcpy(line, cases[i].line);
        if (parse(&a, &err, line) != ARGS_BAD || !strstr(err.msg, cases[i].says))
            fail_msg("'%s': %s", cases[i].line, err.msg);
        args_cleanup(&a);
    }
}

static void test_too_much_metadata_is_refused(void **state)
{
    (void)state;
    struct args a;
    struct store_err err = {0};
    char line[512] = "cp a b";
    for (int i = 0; i < STORE_MAX_META + 1; i++)
        strcat(line, " --meta=n=v");
    assert_int_equal(parse(&a, &err, line), ARGS_BAD);
    args_cleanup(&a);
}

/* ---- Places ---- */

static void test_places(void **state)
{
    (void)state;
    char folder[] = "/tmp/storectl-XXXXXX";
    assert_non_null(mkdtemp(folder));
    const struct store_conf conf = {.access_key = "x", .secret_key = "y", .region = "z"};
    char *url = xasprintf("file://%s", folder);
    const struct {
        const char *word;
        bool in_store;
        const char *name, *url;
    } cases[] = {
        {"s3://bucket", true, "", "s3://bucket"},
        {"s3://bucket/", true, "", "s3://bucket"},
        {"s3://bucket/a//b", true, "a//b", "s3://bucket"},
        {"s3://bucket//a", true, "/a", "s3://bucket"},
        {xasprintf("%s", url), true, "", url},
        {xasprintf("%s//", url), true, "", url},
        {xasprintf("%s//a/b//c", url), true, "a/b//c", url},
        {":", true, "", url},
        {":a/b", true, "a/b", url},
        {"./:a", false, "./:a", NULL},
        {"s3:/a", false, "s3:/a", NULL},
        {"-", false, "-", NULL},
    };
    struct places all = {.default_url = url, .conf = &conf};
    for (size_t i = 0; i < LEN(cases); i++) {
        struct place p;
        struct store_err err = {0};
        if (place_parse(&all, cases[i].word, false, &p, &err) != 0)
            fail_msg("'%s': %s", cases[i].word, err.msg);
        assert_int_equal(place_is_store(cases[i].word), cases[i].in_store);
        assert_string_equal(p.name, cases[i].name);
        assert_int_equal(p.store != NULL, cases[i].in_store);
        if (p.store)
            assert_string_equal(store_url(p.store), cases[i].url);
        place_cleanup(&p);
    }
    assert_int_equal(all.n, 2); /* each was opened once */
    places_close(&all);
    for (size_t i = 4; i < 7; i++)
        free((char *)cases[i].word);
    free(url);
    char *command = xasprintf("rm -r %s", folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    free(command);
}

/* ---- JSON ---- */

static void test_json_is_exact(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(1024);
    json_begin(&b);
    json_str(&b, "key", "a\"\\\n\x7f\xc3\xa4");
    json_str(&b, "raw", "b\xff");
    json_str_if(&b, "none", "");
    json_num(&b, "n", UINT64_MAX);
    json_bool(&b, "yes", true);
    json_time(&b, "never", 0);
    json_time(&b, "then", 784111777);
    json_end(&b);
    assert_string_equal(buf_str(&b),
                        "{\"key\":\"a\\\"\\\\\\u000a\\u007f\xc3\xa4\",\"raw\":\"b\\ufffd\","
                        "\"raw_encoded\":\"b%FF\",\"n\":18446744073709551615,\"yes\":true,"
                        "\"then\":\"1994-11-06T08:49:37Z\"}\n");
    buf_reset(&b);
    text_safe(&b, "a\x1b[m\xc3\xa4\xff");
    assert_string_equal(buf_str(&b), "a?[m\xc3\xa4?");
    buf_cleanup(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations_are_read),
        cmocka_unit_test(test_values_are_shown),
        cmocka_unit_test(test_options_stand_anywhere),
        cmocka_unit_test(test_what_is_no_option_is_a_word),
        cmocka_unit_test(test_bad_command_lines),
        cmocka_unit_test(test_too_much_metadata_is_refused),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_json_is_exact),
    };
    return cmocka_run_group_tests_name("storectl", tests, NULL, NULL);
}
