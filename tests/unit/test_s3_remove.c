/* The S3 driver lists and removes: batches, and listings that mislead. */
#include "tests/unit/s3_fixture.h"

static void a_listing_is_asked_for_and_read(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, "Content-Type: application/xml\r\n",
         LIST("true", ENTRY("pre/a/1%2B%C3%A9%0A") ENTRY("pre/a/2") TOKEN("t+/=")), .sent = 0},
        {200, NULL, LIST("false", ""), .sent = 0},
    };
    OPEN(script);
    assert_int_equal(list("a/", &(struct store_list_opts){.max = 7, .start_after = "a/0 &?"}),
                     STORE_OK);
    assert_int_equal(o.pages, 1);
    assert_true(o.more);
    assert_string_equal(buf_str(&o.keys), "a/1+\xc3\xa9\n|a/2|");
    assert_true(o.info.server_time_s > 0);
    assert_int_equal(list("", &(struct store_list_opts){.token = "t+/=", .delimiter = '/'}),
                     STORE_OK);
    close_after(2);
    assert_starts(1, "GET /bucket/?");
    assert_asks(1, "list-type=2");
    assert_asks(1, "encoding-type=url");
    assert_asks(1, "max-keys=7");
    assert_asks(1, "prefix=pre%2Fa%2F");
    assert_asks(1, "start-after=pre%2Fa%2F0%20%26%3F");
    assert_signed(1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_asks(2, "continuation-token=t%2B%2F%3D");
    assert_asks(2, "delimiter=%2F");
    assert_asks(2, "prefix=pre%2F");
    assert_int_equal(request(1)->connection, request(2)->connection); /* kept alive */
}

static void a_batch_carries_its_checksum(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 200, .body = RESULT("")}};
    static const char *const keys[] = {"a/1", "a/<&>\"", "a/\xc3\xa9"};
    OPEN(script);
    assert_int_equal(remove_many(keys, LEN(keys)), STORE_OK);
    close_after(1);
    assert_starts(1, "POST /bucket/?delete");
    assert_md5(1);
    assert_signed(1, NULL);
    const char *body = buf_str(&request(1)->body);
    assert_non_null(strstr(body, "<Quiet>true</Quiet>"));
    assert_non_null(strstr(body, "<Key>pre/a/1</Key>"));
    assert_non_null(strstr(body, "<Key>pre/a/&lt;&amp;&gt;"));
    assert_non_null(strstr(body, "<Key>pre/a/\xc3\xa9</Key>"));
}

/* ---- Batches ---- */

static void only_what_failed_is_asked_for_again(void **state)
{
    (void)state;
    enum { N = 1000 };
    static const struct step script[] = {
        {.status = 200,
         .body =
             RESULT(KEY_ERROR("pre/k/007", "InternalError") KEY_ERROR("pre/k/999", "SlowDown"))},
        {.status = 200, .body = RESULT(KEY_ERROR("pre/k/999", "SlowDown"))},
        {.status = 200, .body = RESULT("")},
    };
    const char *const *keys = thousand_keys();
    OPEN(script);
    assert_int_equal(remove_many(keys, N), STORE_OK);
    close_after(3);
    const char *second = buf_str(&request(2)->body), *third = buf_str(&request(3)->body);
    assert_non_null(strstr(second, "<Key>pre/k/007</Key>"));
    assert_non_null(strstr(second, "<Key>pre/k/999</Key>"));
    assert_null(strstr(second, "k/000"));
    assert_null(strstr(third, "k/007"));
    assert_non_null(strstr(third, "k/999"));
    for (size_t i = 1; i <= 3; i++)
        assert_md5(i);
}

static const char *const three[] = {"a", "b", "c"};

static void a_batch_that_is_refused_fails(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum store_code code;
        const char *says;
    } cases[] = {
        {RESULT(KEY_ERROR("pre/b", "AccessDenied")), STORE_DENIED, "pre/b"},
        {RESULT(KEY_ERROR("pre/a", "InternalError") KEY_ERROR("pre/c", "AccessDenied")),
         STORE_DENIED, "pre/c"},
        {RESULT(KEY_ERROR("pre/b", "MethodNotAllowed")), STORE_FAILED, "MethodNotAllowed"},
        {RESULT(KEY_ERROR("pre/other", "InternalError")), STORE_CORRUPT, "pre/other"},
        {RESULT(KEY_ERROR("a", "InternalError")), STORE_CORRUPT, "nobody named"},
        {ERROR("AccessDenied"), STORE_DENIED, "AccessDenied"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        OPEN(((const struct step[]){{.status = 200, .body = cases[i].body}}));
        if (remove_many(three, 3) != cases[i].code || !strstr(o.err.msg, cases[i].says))
            fail_msg("case %zu: %s %s", i, store_code_name(o.err.code), o.err.msg);
        close_after(1);
        peer_cleanup(&b.peer);
    }
}

static void a_batch_without_a_whole_answer_is_sent_again(void **state)
{
    (void)state;
    static const struct step bad[] = {
        {.status = 200, .body = "<DeleteResult><Deleted><Key>pre/a</Key></Deleted>"},
        {.status = 200, .body = RESULT(""), .trouble = CUTS_BODY, .sent = 5},
        {.status = 200, .body = ""},
        {.trouble = CLOSES_ON_HEAD},
        {.status = 200, .body = ERROR("SlowDown")},
    };
    for (size_t i = 0; i < LEN(bad); i++) {
        OPEN(((const struct step[]){bad[i], bad[i], {.status = 200, .body = RESULT("")}}));
        assert_int_equal(remove_many(three, 3), STORE_OK);
        close_after(3);
        assert_non_null(
            strstr(buf_str(&request(3)->body), "<Key>pre/a</Key></Object><Object><Key>pre/b"));
        assert_non_null(strstr(buf_str(&request(3)->body), "<Key>pre/c</Key>"));
        peer_cleanup(&b.peer);
    }
}

/* A batch that the store never answers may hold a key that it cannot stand. */
static void a_batch_that_is_never_answered_is_divided(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.trouble = CLOSES_ON_HEAD},
        {.trouble = CLOSES_ON_HEAD},
        {.trouble = CLOSES_ON_HEAD},
        {.status = 204},
        {.status = 204},
        {.status = 404},
    };
    OPEN(script);
    assert_int_equal(remove_many(three, 3), STORE_OK);
    close_after(6);
    assert_starts(3, "POST ");
    assert_starts(4, "DELETE /bucket/pre/a ");
    assert_starts(6, "DELETE /bucket/pre/c ");
}

static void a_store_without_batches_is_served_key_by_key(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 501, .body = ERROR("NotImplemented")},
        {.status = 204},
        {.status = 204},
        {.status = 204}, /* and from now on at once: */
        {.status = 204},
        {.status = 204},
        {.status = 204},
    };
    OPEN(script);
    assert_int_equal(remove_many(three, 3), STORE_OK);
    assert_int_equal(remove_many(three, 3), STORE_OK);
    close_after(7);
    assert_starts(1, "POST ");
    assert_starts(5, "DELETE /bucket/pre/a ");
}

static void failures_without_end_name_the_first_and_how_many(void **state)
{
    (void)state;
    struct step script[PEER_MAX_REQUESTS];
    for (size_t i = 0; i < LEN(script); i++)
        script[i] = (struct step){
            .status = 200,
            .body = RESULT(KEY_ERROR("pre/a", "InternalError") KEY_ERROR("pre/c", "SlowDown"))};
    open_with("s3://bucket/pre/", script, LEN(script), 300);
    assert_int_equal(remove_many(three, 3), STORE_BUSY);
    if (!strstr(o.err.msg, "pre/a (and 1 more)"))
        fail_msg("%s", o.err.msg);
    store_loop_free(b.loop);
    store_close(b.s);
    peer_stop(&b.peer);
    assert_in_range(b.peer.n_requests, 2, 12);
}

/* XML has no way to write some bytes; such keys are removed one by one. */
static void keys_that_xml_cannot_carry_go_alone(void **state)
{
    (void)state;
    static const char *const keys[] = {"x\x01", "plain", "y\xff", "z\x02"};
    static const struct step script[] = {
        {.status = 503}, {.status = 200, .body = RESULT("")},         {.status = 204},
        {.status = 503}, {.status = 404, .body = ERROR("NoSuchKey")}, {.status = 204},
    };
    OPEN(script);
    assert_int_equal(remove_many(keys, LEN(keys)), STORE_OK);
    close_after(6);
    assert_non_null(strstr(buf_str(&request(2)->body), "<Key>pre/plain</Key>"));
    assert_null(strstr(buf_str(&request(2)->body), "pre/x"));
    assert_starts(3, "DELETE /bucket/pre/x%01 ");
    assert_starts(4, "DELETE /bucket/pre/y%FF ");
    assert_starts(5, "DELETE /bucket/pre/y%FF ");
    assert_starts(6, "DELETE /bucket/pre/z%02 ");
}

/* ---- Listings that mislead ---- */

static void a_listing_that_strays_is_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        LIST("false", ENTRY("other/a")),                             /* outside of the store */
        LIST("false", ENTRY("pre/a") ENTRY("prefix")),               /* so is this */
        LIST("false", ENTRY("pre/a") ENTRY("pre/b") ENTRY("pre/c")), /* more than asked for */
    };
    for (size_t i = 0; i < LEN(bodies); i++) {
        OPEN(((const struct step[]){{.status = 200, .body = bodies[i]}}));
        if (list("", &(struct store_list_opts){.max = 2}) != STORE_CORRUPT)
            fail_msg("case %zu: %s %s", i, store_code_name(o.err.code), o.err.msg);
        assert_int_equal(o.pages, 0);
        close_after(1);
        peer_cleanup(&b.peer);
    }
}

static enum store_code purge(struct store_progress *final)
{
    struct store_err err = {0};
    store_sync_delete_prefix(b.s, b.loop, "p/", NULL, NULL, NULL, final, &err);
    return err.code;
}

static void a_prefix_goes_page_by_page(void **state)
{
    (void)state;
    /* One batch at a time, so that the order of the requests is known. */
    static const struct step script[] = {
        {.status = 200, .body = LIST("true", TOKEN("t1"))}, /* empty, but there is more */
        {.status = 200, .body = LIST("true", ENTRY("pre/p/1") TOKEN("t2"))},
        {.status = 200, .body = RESULT("")},
        {.status = 503},
        {.status = 200, .body = LIST("false", ENTRY("pre/p/2"))},
        {.status = 200, .body = RESULT("")},
    };
    struct store_progress final;
    struct store_err err;
    const struct store_delete_prefix_opts one = {.batches_in_flight = 1};
    OPEN(script);
    assert_int_equal(store_sync_delete_prefix(b.s, b.loop, "p/", &one, NULL, NULL, &final, &err),
                     0);
    assert_int_equal(final.objects, 2);
    close_after(6);
    assert_asks(2, "continuation-token=t1");
    assert_non_null(strstr(buf_str(&request(3)->body), "pre/p/1"));
    assert_asks(5, "continuation-token=t2");
    assert_non_null(strstr(buf_str(&request(6)->body), "pre/p/2"));
}

static void a_token_that_comes_again_ends_it(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200, .body = LIST("true", TOKEN("t1"))},
        {.status = 200, .body = LIST("true", TOKEN("t1"))},
    };
    struct store_progress final;
    OPEN(script);
    assert_int_equal(purge(&final), STORE_CORRUPT);
    assert_int_equal(final.objects, 0);
    close_after(2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_listing_is_asked_for_and_read, clean_up),
        cmocka_unit_test_teardown(a_batch_carries_its_checksum, clean_up),
        cmocka_unit_test_teardown(only_what_failed_is_asked_for_again, clean_up),
        cmocka_unit_test_teardown(a_batch_that_is_refused_fails, clean_up),
        cmocka_unit_test_teardown(a_batch_without_a_whole_answer_is_sent_again, clean_up),
        cmocka_unit_test_teardown(a_batch_that_is_never_answered_is_divided, clean_up),
        cmocka_unit_test_teardown(a_store_without_batches_is_served_key_by_key, clean_up),
        cmocka_unit_test_teardown(failures_without_end_name_the_first_and_how_many, clean_up),
        cmocka_unit_test_teardown(keys_that_xml_cannot_carry_go_alone, clean_up),
        cmocka_unit_test_teardown(a_listing_that_strays_is_refused, clean_up),
        cmocka_unit_test_teardown(a_prefix_goes_page_by_page, clean_up),
        cmocka_unit_test_teardown(a_token_that_comes_again_ends_it, clean_up),
    };
    return cmocka_run_group_tests_name("s3_remove", tests, NULL, NULL);
}
