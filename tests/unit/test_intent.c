#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "epufs/deletion.h"

#define T  "0123456789abcdef0123456789abcdef"
#define TL "fedcba9876543210fedcba9876543210"

static struct deletion endpoint_deletion(uint64_t upto_gen)
{
    struct deletion d = {
        .scope = {.kind = SCOPE_ENDPOINT, .tenant = T, .timeline = TL, .endpoint = "ep-1"},
        .has_upto_gen = true,
        .upto_gen = upto_gen,
    };
    deletion_set_job_id(&d);
    return d;
}

/* The expected values are of sha256sum over the documented text. */
static void job_ids_are_the_documented_hash(void **state)
{
    (void)state;
    struct deletion d = endpoint_deletion(7);
    assert_string_equal(d.job_id,
                        "38195527fcd9ef8cf5b3865c1693f12443066810a20cb93a88d0fce9dbd98d16");
    d.dry_run = true;
    deletion_set_job_id(&d);
    assert_string_equal(d.job_id,
                        "c07cc939bdb281d320825bac011d29fe5c4ef3bf393176b4416ceb3d0d61fa35");
    d = (struct deletion){.scope = {.kind = SCOPE_TENANT, .tenant = T}};
    deletion_set_job_id(&d);
    assert_string_equal(d.job_id,
                        "6168b48925aaf9704291ae83cc181bf0237cd962e4ad6ad0f47a3b913deb95ca");
}

static void job_ids_ignore_all_but_what_is_deleted(void **state)
{
    (void)state;
    struct deletion a = endpoint_deletion(7), b = endpoint_deletion(7), c = endpoint_deletion(8);
    strcpy(b.event_id, "another");
    strcpy(b.reason, "another");
    b.requested_at_s = 5;
    deletion_set_job_id(&b);
    assert_string_equal(a.job_id, b.job_id);
    assert_string_not_equal(a.job_id, c.job_id);
    c = endpoint_deletion(0);
    a = c;
    a.has_upto_gen = false;
    deletion_set_job_id(&a);
    assert_string_not_equal(a.job_id, c.job_id);
}

static void assert_same(const struct deletion *a, const struct deletion *b)
{
    assert_string_equal(a->job_id, b->job_id);
    assert_true(scope_equal(&a->scope, &b->scope));
    assert_int_equal(a->has_upto_gen, b->has_upto_gen);
    assert_true(a->upto_gen == b->upto_gen);
    assert_int_equal(a->dry_run, b->dry_run);
    assert_string_equal(a->reason, b->reason);
    assert_int_equal(a->requested_at_s, b->requested_at_s);
    assert_int_equal(a->not_before_s, b->not_before_s);
    assert_int_equal(a->tokens_expire_by_s, b->tokens_expire_by_s);
    assert_string_equal(a->event_id, b->event_id);
    assert_string_equal(a->event_source, b->event_source);
    assert_string_equal(a->traceparent, b->traceparent);
    assert_int_equal(a->accepted_at_s, b->accepted_at_s);
    assert_int_equal(a->state, b->state);
    assert_string_equal(a->note, b->note);
    assert_int_equal(a->swept.files, b->swept.files);
    assert_int_equal(a->swept.bytes, b->swept.bytes);
}

static void assert_round_trip(const struct deletion *d)
{
    struct buf b = BUF_INIT(65536);
    struct store_err err = {0};
    struct deletion back;
    memset(&back, 0x55, sizeof(back));
    assert_int_equal(deletion_to_json(d, &b), 0);
    if (deletion_from_json(b.data, b.len, &back, &err))
        fail_msg("%s", err.msg);
    assert_same(d, &back);
    buf_cleanup(&b);
}

static void an_intent_comes_back_as_it_was(void **state)
{
    (void)state;
    static const uint64_t gens[] = {0, 1, INT64_MAX - 1, INT64_MAX, 1ULL << 63, UINT64_MAX};
    struct deletion d;
    for (size_t i = 0; i < LEN(gens); i++) {
        d = endpoint_deletion(gens[i]);
        assert_round_trip(&d);
    }
    d.dry_run = true;
    strcpy(d.reason, "r\xc3\xa9"
                     "assigned \"quoted\"\n");
    strcpy(d.event_id, "id-1");
    strcpy(d.event_source, "/control/plane");
    strcpy(d.traceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    d.requested_at_s = 1;
    d.not_before_s = 1767323045;
    d.tokens_expire_by_s = 253402300799; /* the end of the year 9999 */
    d.accepted_at_s = 1767323046;
    d.swept = (struct deletion_counts){3, UINT64_C(1) << 40};
    strcpy(d.note, "the store said \"no\"");
    deletion_set_job_id(&d);
    for (int state_of = DELETION_OPEN; state_of <= DELETION_REAPING; state_of++) {
        d.state = (enum deletion_state)state_of;
        assert_round_trip(&d);
    }
    d = (struct deletion){.scope = {.kind = SCOPE_TENANT, .tenant = T}};
    deletion_set_job_id(&d);
    assert_round_trip(&d);
    d.scope = (struct scope){.kind = SCOPE_TIMELINE, .tenant = T, .timeline = TL};
    deletion_set_job_id(&d);
    assert_round_trip(&d);
}

static void the_longest_texts_fit(void **state)
{
    (void)state;
    struct deletion d = endpoint_deletion(3);
    memset(d.reason, 'r', sizeof(d.reason) - 1);
    memset(d.event_id, 'i', sizeof(d.event_id) - 1);
    memset(d.event_source, 's', sizeof(d.event_source) - 1);
    memset(d.traceparent, 't', sizeof(d.traceparent) - 1);
    assert_round_trip(&d);
}

static void a_generation_above_the_signed_range_is_a_string(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(65536);
    struct deletion d = endpoint_deletion(UINT64_MAX);
    assert_int_equal(deletion_to_json(&d, &b), 0);
    assert_non_null(strstr(b.data, "\"upto_gen\":\"18446744073709551615\""));
    buf_reset(&b);
    d = endpoint_deletion(INT64_MAX);
    assert_int_equal(deletion_to_json(&d, &b), 0);
    assert_non_null(strstr(b.data, "\"upto_gen\":9223372036854775807,"));
    buf_cleanup(&b);
}

static void a_full_buffer_is_reported(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(20);
    struct deletion d = endpoint_deletion(1);
    assert_int_equal(deletion_to_json(&d, &b), -1);
    buf_cleanup(&b);
}

/* Replaces what stands once in an intent, and expects it to be refused. */
static void assert_refused(const char *from, const char *to, const char *message)
{
    struct buf b = BUF_INIT(65536), changed = BUF_INIT(1 << 20);
    struct deletion d = endpoint_deletion(7), out;
    struct store_err err = {0};
    assert_int_equal(deletion_to_json(&d, &b), 0);
    const char *at = strstr(b.data, from);
    assert_non_null(at);
    buf_add(&changed, b.data, (size_t)(at - b.data));
    buf_adds(&changed, to);
    buf_adds(&changed, at + strlen(from));
    int rc = deletion_from_json(changed.data, changed.len, &out, &err);
    print_message("%s -> %s\n", to, err.msg);
    assert_int_equal(rc, -1);
    assert_int_equal(err.code, STORE_INVALID);
    assert_non_null(strstr(err.msg, message));
    buf_cleanup(&b);
    buf_cleanup(&changed);
}

static void a_changed_intent_is_refused(void **state)
{
    (void)state;
    /* What would delete more than was asked for. */
    assert_refused("\"upto_gen\":7", "\"upto_gen\":8", "job_id");
    assert_refused("\"upto_gen\":7", "\"upto_gen\":null", "job_id");
    assert_refused("ep-1", "ep-2", "job_id");
    assert_refused("\"dry_run\":false", "\"dry_run\":true", "job_id");
    assert_refused("\"scope\":\"endpoint\"", "\"scope\":\"tenant\"", "timeline_id");
    assert_refused("\"job_id\":\"", "\"job\":\"", "job_id");
    assert_refused("\"job_id\":\"", "\"job_id\":\"00", "job_id");
    assert_refused("\"schema\":1", "\"schema\":2", "schema");
    assert_refused("\"event_id\":null", "\"event_id\":7", "event_id");
    assert_refused("\"accepted_at\":null", "\"accepted_at\":\"yesterday\"", "accepted_at");
    assert_refused("\"state\":\"open\"", "\"state\":\"done\"", "state");
    assert_refused("\"state\":\"open\"", "\"state\":7", "state");
    assert_refused("\"swept_files\":0", "\"swept_files\":-1", "swept_files");
    assert_refused("{", "[", "JSON");
    assert_refused("{", "{\"scope\":\"tenant\",", "JSON");
}

static void an_intent_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(65536);
    struct deletion d = endpoint_deletion(7), out;
    struct store_err err;
    assert_int_equal(deletion_to_json(&d, &b), 0);
    for (size_t n = 0; n < b.len; n++) {
        char *cut = xstrndup(b.data, n); /* so that a sanitizer sees a read past the end */
        assert_int_equal(deletion_from_json(cut, n, &out, &err), -1);
        free(cut);
    }
    buf_cleanup(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(job_ids_are_the_documented_hash),
        cmocka_unit_test(job_ids_ignore_all_but_what_is_deleted),
        cmocka_unit_test(an_intent_comes_back_as_it_was),
        cmocka_unit_test(the_longest_texts_fit),
        cmocka_unit_test(a_generation_above_the_signed_range_is_a_string),
        cmocka_unit_test(a_full_buffer_is_reported),
        cmocka_unit_test(a_changed_intent_is_refused),
        cmocka_unit_test(an_intent_cut_anywhere_is_refused),
    };
    return cmocka_run_group_tests_name("intent", tests, NULL, NULL);
}
