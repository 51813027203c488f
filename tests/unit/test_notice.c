/* A notice as JSON and back, and what is no notice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "janitor/notice.h"

static struct notice *sample(void)
{
    struct notice *n = xcalloc(1, sizeof(*n));
    *n = (struct notice){
        .janitor = "host/12/00c0ffee",
        .at_s = 1764300000,
        .every_ms = 1000,
        .lanes = {{4, 1, 0}, {4, 4, 17}, {4, 2, 3}},
        .open = {1, 2, 3},
        .files_per_s = 812,
        .delete_rate = 1000,
        .tenant_delete_rate = 100,
        .n_jobs = 2,
    };
    notice_add_trouble(n, "no Kafka broker answers");
    n->jobs[0] = (struct notice_job){
        .job_id = "27c09a37bb",
        .scope = "tenants/a/timelines/b/endpoints/c",
        .upto_gen = "18446744073709551615",
        .state = "sweeping",
        .files = 5,
        .bytes = 20,
        .attempts = 2,
        .accepted_at_s = 1764299990,
    };
    n->jobs[1] = (struct notice_job){
        .job_id = "5d0f8a7e11",
        .scope = "tenants/d",
        .state = "done",
        .left = true,
        .dry_run = true,
        .error = "503 \xff\n",
    };
    return n;
}

static struct notice *there_and_back(const struct notice *n, bool jobs)
{
    struct notice *back = xcalloc(1, sizeof(*back));
    struct store_err err = {0};
    json_t *o = notice_json(n, jobs);
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    assert_int_equal(notice_parse(text, strlen(text), back, &err), 0);
    free(text);
    return back;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct notice *n = sample(), *back = there_and_back(n, true);
    strcpy(n->jobs[1].error, "503 ?\n"); /* what is not UTF-8 */
    assert_memory_equal(n, back, sizeof(*n));
    assert_int_equal(notice_n_open(back), 6);
    free(back);
    n->stopping = true;
    back = there_and_back(n, false);
    assert_true(back->stopping);
    assert_int_equal(back->n_jobs, 0);
    free(back);
    free(n);
}

static void there_is_room_for_so_many_troubles(void **state)
{
    (void)state;
    struct notice *n = xcalloc(1, sizeof(*n));
    for (int i = 0; i < NOTICE_MAX_TROUBLES + 2; i++)
        notice_add_trouble(n, "trouble");
    assert_int_equal(n->n_troubles, NOTICE_MAX_TROUBLES);
    free(n);
}

static void more_jobs_than_fit_are_cut(void **state)
{
    (void)state;
    struct notice *n = xcalloc(1, sizeof(*n));
    struct store_err err;
    json_t *o = json_pack("{s:i,s:s,s:o}", "schema", 1, "janitor", "j", "jobs", json_array());
    for (int i = 0; i < NOTICE_MAX_JOBS + 5; i++)
        json_array_append_new(json_object_get(o, "jobs"), json_pack("{s:s}", "job_id", "x"));
    char *text = json_dumps(o, 0);
    assert_int_equal(notice_parse(text, strlen(text), n, &err), 0);
    assert_int_equal(n->n_jobs, NOTICE_MAX_JOBS);
    json_decref(o);
    free(text);
    free(n);
}

/* Anybody may publish on the channel. */
static void what_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "null",
        "[]",
        "{",
        "{\"schema\":1}",
        "{\"janitor\":\"j\"}",
        "{\"schema\":2,\"janitor\":\"j\"}",
        "{\"schema\":1,\"janitor\":7}",
    };
    struct notice *n = xcalloc(1, sizeof(*n));
    struct store_err err;
    for (size_t i = 0; i < LEN(texts); i++)
        assert_int_equal(notice_parse(texts[i], strlen(texts[i]), n, &err), -1);
    /* Fields of odd kinds are as if they were missing. */
    const char *odd = "{\"schema\":1,\"janitor\":\"j\",\"at\":5,\"lanes\":[],\"open\":\"x\","
                      "\"troubles\":[1,{}],\"jobs\":[1,[],{\"files\":-1,\"scope\":{}}],"
                      "\"files_per_s\":-7}";
    assert_int_equal(notice_parse(odd, strlen(odd), n, &err), 0);
    assert_int_equal(n->at_s + (int64_t)n->files_per_s + (int64_t)n->n_troubles, 0);
    assert_int_equal(n->n_jobs, 3);
    assert_int_equal(n->jobs[2].files, 0);
    free(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(there_is_room_for_so_many_troubles),
        cmocka_unit_test(more_jobs_than_fit_are_cut),
        cmocka_unit_test(what_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
