#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/xalloc.h"
#include "janitor/commands.h"
#include "janitor/jobs.h"

static void words_name_a_command(void **state)
{
    (void)state;
    static const struct {
        const char *words[2];
        size_t n;
        const char *command; /* NULL: none */
        size_t used;
        const char *message;
    } cases[] = {
        {{NULL}, 0, "run", 0, NULL},
        {{"run"}, 1, "run", 1, NULL},
        {{"status"}, 1, "status", 1, NULL},
        {{"show", "status"}, 2, "show", 1, NULL},
        {{"dlq", "list"}, 2, "dlq list", 2, NULL},
        {{"dlq", "replay"}, 2, "dlq replay", 2, NULL},
        {{"list"}, 1, "list", 1, NULL},
        {{"dlq"}, 1, NULL, 0, "'dlq': expected dlq list, dlq show or dlq replay"},
        {{"dlq", "status"}, 2, NULL, 0, "'status': expected dlq list, dlq show or dlq replay"},
        {{"dlq list"}, 1, NULL, 0, "'dlq list': expected run, status, list, watch, show, "},
        {{"stat"}, 1, NULL, 0, "'stat': expected run, status, list, watch, show, "},
        {{"statuses"}, 1, NULL, 0, "'statuses': expected run, "},
        {{""}, 1, NULL, 0, "'': expected run, "},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct store_err err = {0};
        size_t used;
        const struct command *c = command_find(cases[i].words, cases[i].n, &used, &err);
        print_message("%s: %s\n", c ? c->words : "none", err.msg);
        assert_int_equal(used, cases[i].used);
        if (cases[i].command)
            assert_string_equal(c ? c->words : "", cases[i].command);
        else
            assert_true(!c && strncmp(err.msg, cases[i].message, strlen(cases[i].message)) == 0);
    }
}

/* Help prints each of them, and a name in two meanings would be parsed as the first. */
static void the_table_is_whole(void **state)
{
    (void)state;
    for (const struct command *c = commands; c->words; c++) {
        print_message("%s\n", c->words);
        assert_true(c->usage && c->summary && c->example && c->least <= c->most);
        assert_int_equal(c->summary[strlen(c->summary) - 1], '.');
        assert_non_null(strstr(c->example, c->words));
        assert_true(c->run || c == commands);
        for (const struct option *o = c->options; o->name; o++)
            assert_true(o->offset >= offsetof(struct janitor_conf, command) && o->help);
    }
}

static void a_job_is_named_by_eight_digits_or_more(void **state)
{
    (void)state;
    char all[JOB_ID_SIZE + 1], prefix[JOB_ID_SIZE];
    struct store_err err;
    memset(all, 'A', sizeof(all));
    all[JOB_ID_SIZE] = '\0';
    assert_int_equal(jobs_parse_id(all, prefix, &err), -1); /* 65 */
    all[JOB_ID_SIZE - 1] = '\0';
    assert_int_equal(jobs_parse_id(all, prefix, &err), 0);
    assert_int_equal(strspn(prefix, "a"), JOB_ID_SIZE - 1);
    assert_int_equal(jobs_parse_id("012345eF", prefix, &err), 0);
    assert_string_equal(prefix, "012345ef");
    static const char *const bad[] = {"", "0123456", "012345eg", "012345e/", "../0123456"};
    for (size_t i = 0; i < LEN(bad); i++) {
        assert_int_equal(jobs_parse_id(bad[i], prefix, &err), -1);
        assert_non_null(strstr(err.msg, "expected 8 to 64 hex digits"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_name_a_command),
        cmocka_unit_test(the_table_is_whole),
        cmocka_unit_test(a_job_is_named_by_eight_digits_or_more),
    };
    return cmocka_run_group_tests_name("commands", tests, NULL, NULL);
}
