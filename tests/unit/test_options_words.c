#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/options.h"
#include "base/xalloc.h"

enum { ROOM = 3, MAX_ARGS = 16 };

static const struct option first_table[] = {
    {.name = "store", .type = OPT_STRING},
    {.name = "no_cache", .type = OPT_BOOL},
    {.name = NULL},
};
static const struct option second_table[] = {
    {.name = "dry_run", .type = OPT_BOOL},
    {.name = "older_than", .type = OPT_MS},
    {.name = NULL},
};
static const struct option *const tables[] = {first_table, second_table, NULL};

static void words_are_told_from_options_and_their_values(void **state)
{
    (void)state;
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"", ""},
        {"status", "status"},
        {"dlq list", "dlq list"},
        {"--store x status", "status"},
        {"--store=x status", "status"},
        {"status --store x", "status"},
        {"--dry_run status", "status"},
        {"--dry-run status", "status"},
        {"--no-dry-run status", "status"},
        {"--no_dry_run=true status", "status"},
        {"--no-cache status", "status"},
        {"--no-no-cache status", "status"},
        {"--older-than 1h list", "list"},
        {"--store --dry-run list", "list"}, /* a value is missing: the parser will say so */
        {"--help status", "status"},
        {"--print-config status", "status"},
        {"--config file status", "status"},
        {"--unknown value status", "status"},
        {"--unknown=value status", "status"},
        {"--stor value status", "status"},
        {"--storex value status", "status"},
        {"-x status", "status"},
        {"- status", "- status"},
        {"-- --store x", "--store x"},
        {"a b c d", "a b c"},
        {"status --store", "status"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        char line[64], *argv[MAX_ARGS] = {line}, *save = NULL, got[64] = "";
        const char *words[ROOM];
        int argc = 1;
        strcpy(line, cases[i].line);
        for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save))
            argv[argc++] = w;
        size_t n = options_words(tables, argc, argv, words, ROOM);
        for (size_t k = 0; k < n; k++) {
            strcat(got, k ? " " : "");
            strcat(got, words[k]);
        }
        print_message("%s\n", cases[i].line);
        assert_string_equal(got, cases[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_told_from_options_and_their_values),
    };
    return cmocka_run_group_tests_name("options_words", tests, NULL, NULL);
}
