/* The S3 driver against what stores do wrong, and against the world between. Where a fault belongs
 * to one operation its test stands with that: cut, short and stalled bodies in test_s3_get.c; lost
 * connections in the middle of a put in test_s3_put.c; truncated and empty DeleteResults, missing
 * multi-delete, repeated tokens in test_s3_remove.c; outages, hints and skewed clocks in
 * test_s3.c. */
#include "tests/unit/s3_fixture.h"

#include "libstore/op.h"
#include "libstore/s3/s3.h"

/* ---- Another region ---- */

static void assert_region(size_t number, const char *region)
{
    const char *sent = request_header(request(number), "Authorization");
    char scope[64];
    snprintf(scope, sizeof(scope), "/%s/s3/aws4_request", region);
    if (!sent || !strstr(sent, scope))
        fail_msg("request %zu is not signed for %s: %s", number, region, sent ? sent : "");
}

static void a_bucket_s_region_is_learned_once(void **state)
{
    (void)state;
    static const struct step refusals[] = {
        {.status = 301,
         .headers = "x-amz-bucket-region: xx-other-2\r\n",
         .body = ERROR("PermanentRedirect")},
        {.status = 307, .headers = "x-amz-bucket-region: xx-other-2\r\n"},
        {.status = 400, .headers = "x-amz-bucket-region: xx-other-2\r\n"},
        {.status = 400,
         .body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>xx-other-2</Region>"
                 "</Error>"},
        {.status = 301,
         .body = "<Error><Code>PermanentRedirect</Code>"
                 "<Endpoint>bucket.s3.xx-other-2.amazonaws.com</Endpoint></Error>"},
    };
    for (size_t i = 0; i < LEN(refusals); i++) {
        OPEN(((const struct step[]){
            refusals[i], {200, ETAG_ONE, TEN, .sent = 0}, {200, ETAG_ONE, TEN, .sent = 0}}));
        assert_int_equal(get("k", NULL), STORE_OK);
        assert_int_equal(get("k", NULL), STORE_OK);
        close_after(3);
        assert_region(1, "eu-test-1");
        assert_region(2, "xx-other-2");
        assert_region(3, "xx-other-2");
        peer_cleanup(&b.peer);
    }
}

/* The second one hears of it when the first has learned it already. */
static void requests_that_were_sent_astray_together_all_find_the_region(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 301, .headers = "x-amz-bucket-region: xx-other-2\r\n"},
        {301, "x-amz-bucket-region: xx-other-2\r\n", NULL, ANSWERS_LATE, .sent = 0},
        {.status = 404},
        {.status = 404},
    };
    OPEN(script);
    begin();
    for (int i = 0; i < 2; i++)
        assert_non_null(store_head(b.s, b.loop, "k", 0, on_done, NULL, NULL));
    while (o.dones < 2) {
        assert_int_equal(store_loop_run(b.loop, -1, NULL), 0);
        assert_true(o.dones == 0 || o.err.code == STORE_NOT_FOUND);
    }
    close_after(4);
}

static void a_region_that_sends_us_on_for_ever_ends_it(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 301, .headers = "x-amz-bucket-region: xx-other-2\r\n"},
        {.status = 301, .headers = "x-amz-bucket-region: xx-other-3\r\n"},
        {.status = 400, .headers = "x-amz-bucket-region: xx-other-2\r\n"},
    };
    OPEN(script);
    assert_int_equal(get("k", NULL), STORE_FAILED);
    assert_int_equal(o.err.http_status, 301);
    close_after(2);
}

/* A stream has begun to flow: it cannot be sent anywhere else. */
static void a_stream_is_not_sent_to_another_region(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 301, .headers = "x-amz-bucket-region: xx-other-2\r\n"},
    };
    OPEN(script);
    assert_int_equal(stream("k", 1000), STORE_FAILED);
    close_after(1);
}

/* ---- Credentials that expire ---- */

static const char *keys_of(const char *name)
{
    static char body[2][512];
    static unsigned turn;
    char *text = body[turn++ % 2];
    snprintf(text, sizeof(body[0]),
             "{\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"s\",\"Token\":\"token-%s\","
             "\"Expiration\":\"2099-01-01T00:00:00Z\"}",
             name, name);
    return text;
}

static void an_expired_token_is_renewed_once(void **state)
{
    (void)state;
    static struct peer container;
    const struct step keys[] = {{.status = 200, .body = keys_of("first")},
                                {.status = 200, .body = keys_of("second")}};
    static const struct step script[] = {
        {.status = 400, .body = ERROR("ExpiredToken")},
        {200, ETAG_ONE, TEN, .sent = 0},
        {.status = 400, .body = ERROR("ExpiredToken")},
        {.status = 400, .body = ERROR("ExpiredToken")},
    };
    char uri[64];
    peer_start(&container, keys, LEN(keys));
    snprintf(uri, sizeof(uri), "http://127.0.0.1:%u/keys", container.port);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri, 1);
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    unsetenv("AWS_WEB_IDENTITY_TOKEN_FILE");
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    open_as("s3://bucket/pre", script, LEN(script), 10000, NULL, NULL);
    assert_int_equal(get("k", NULL), STORE_OK);
    close_after(2);
    unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    peer_stop(&container);
    assert_int_equal(container.n_requests, 2);
    assert_header(1, "X-Amz-Security-Token", "token-first");
    assert_header(2, "X-Amz-Security-Token", "token-second");
    peer_cleanup(&container);
}

static void a_given_token_that_expired_fails(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 400, .body = ERROR("ExpiredToken")}};
    OPEN(script);
    assert_int_equal(get("k", NULL), STORE_DENIED);
    close_after(1);
}

/* ---- A condition whose answer was lost ---- */

#define PUT_ID "x-amz-meta-store-put-id"

static const struct store_put_opts create = {.if_absent = true};

static void a_create_that_was_done_is_known_again(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.trouble = CLOSES_BEFORE_HEAD}, /* done, and the answer is lost */
        {.status = 412, .body = ERROR("PreconditionFailed")},
        {200, PUT_ID ": =\r\n", NULL, .length = 5},
    };
    OPEN(script);
    assert_int_equal(put("k", "hello", &create), STORE_OK);
    close_after(3);
    assert_starts(3, "HEAD ");
    char *first = strdup(request_header(request(1), PUT_ID));
    assert_header(2, PUT_ID, first);
    free(first);
}

static void a_create_that_another_won_fails(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.trouble = CLOSES_BEFORE_HEAD},
        {.status = 412, .body = ERROR("PreconditionFailed")},
        {200, "ETag: \"theirs\"\r\n" PUT_ID ": 0123456789abcdef0123456789abcdef\r\n", NULL,
         .length = 5},
    };
    OPEN(script);
    assert_int_equal(put("k", "hello", &create), STORE_PRECONDITION);
    close_after(3);
}

static void a_look_that_fails_proves_nothing(void **state)
{
    (void)state;
    static const struct step looks[] = {{.status = 404}, {.status = 403}, {.status = 200}};
    for (size_t i = 0; i < LEN(looks); i++) {
        OPEN((
            (const struct step[]){{.status = 412, .body = ERROR("PreconditionFailed")}, looks[i]}));
        assert_int_equal(put("k", "hello", &create), STORE_PRECONDITION);
        close_after(2);
        peer_cleanup(&b.peer);
    }
}

/* ---- Overload ---- */

static void an_overload_inside_a_success_is_waited_out(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200, .body = ERROR("SlowDown")},
        {.status = 200, .body = ERROR("InternalError")},
        {.status = 200, .body = LIST("false", ENTRY("pre/a"))},
    };
    OPEN(script);
    assert_int_equal(list("", NULL), STORE_OK);
    assert_string_equal(buf_str(&o.keys), "a|");
    close_after(3);
}

static void one_bad_key_of_a_thousand_is_named(void **state)
{
    (void)state;
    enum { N = 1000 };
    static const struct step script[] = {
        {.status = 200, .body = RESULT(KEY_ERROR("pre/k/500", "AccessDenied"))}};
    const char *const *keys = thousand_keys();
    OPEN(script);
    assert_int_equal(remove_many(keys, N), STORE_DENIED);
    assert_non_null(strstr(o.err.msg, "pre/k/500 (and 0 more)"));
    close_after(1);
}

static void an_empty_page_may_have_more_behind_it(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200, .body = LIST("true", TOKEN("t1"))},
        {.status = 200, .body = LIST("false", ENTRY("pre/a"))},
    };
    OPEN(script);
    assert_int_equal(list("", NULL), STORE_OK);
    assert_string_equal(buf_str(&o.keys), "");
    assert_true(o.more);
    assert_int_equal(list("", &(struct store_list_opts){.token = "t1"}), STORE_OK);
    assert_string_equal(buf_str(&o.keys), "a|");
    assert_false(o.more);
    close_after(2);
}

static void a_used_up_budget_ends_the_retries(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 500}, {.status = 500}};
    struct store_stats stats;
    OPEN(script);
    while (health_may_retry(b.s->health))
        ;
    assert_int_equal(get("k", NULL), STORE_BUSY);
    store_stats(b.s, &stats);
    assert_int_equal(stats.requests, 1);
    assert_int_equal(stats.failures, 1);
    assert_true(stats.retries_forgone >= 2);
    close_after(1);
}

static unsigned raised, ended;

static void on_alarm(void *user, const struct store_alarm *alarm)
{
    (void)user;
    if (alarm->raised)
        raised++;
    else
        ended++;
}

static void failures_raise_an_alarm_and_successes_end_it(void **state)
{
    (void)state;
    enum { BAD = 20, GOOD = 44 };
    struct step script[BAD + GOOD];
    const struct store_conf conf = {.on_alarm = on_alarm, .alarm_percent = 80};
    for (size_t i = 0; i < BAD + GOOD; i++)
        script[i] = i < BAD ? (struct step){.status = 500} : (struct step){.status = 404};
    raised = ended = 0;
    open_as("s3://bucket/pre", script, LEN(script), 10000, "AKIDTEST", &conf);
    while (health_may_retry(b.s->health))
        ;
    for (int i = 0; i < BAD; i++) {
        assert_int_equal(raised, 0);
        assert_int_equal(get("k", NULL), STORE_BUSY);
    }
    assert_int_equal(raised, 1);
    for (int i = 0; i < GOOD; i++)
        assert_int_equal(get("k", NULL), STORE_NOT_FOUND);
    assert_int_equal(raised, 1);
    assert_int_equal(ended, 1);
    close_after(BAD + GOOD);
}

/* ---- Slowness ---- */

static struct s3_loop *here(void)
{
    struct s3_loop *l = s3_loop_get(b.s->state, b.loop, NULL);
    assert_non_null(l);
    return l;
}

static void a_late_answer_is_asked_for_a_second_time(void **state)
{
    (void)state;
    static const struct step script[] = {{.trouble = STAYS_SILENT},
                                         {200, ETAG_ONE, TEN, .sent = 0}};
    struct store_stats stats;
    OPEN(script);
    here()->hedge = (struct hedge){.slow_ms = 20, .seen = 1000};
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_string_equal(buf_str(&o.data), TEN);
    store_stats(b.s, &stats);
    assert_int_equal(stats.hedges, 1);
    assert_int_equal(stats.hedges_won, 1);
    assert_int_equal(stats.retries, 0);
    close_after(2);
}

static void what_others_wait_for_is_not_hedged(void **state)
{
    (void)state;
    static const struct step silent[] = {{.trouble = STAYS_SILENT}};
    struct store_stats stats;
    open_with("s3://bucket/pre", silent, LEN(silent), 300);
    here()->hedge = (struct hedge){.slow_ms = 20, .seen = 1000};
    assert_int_not_equal(get("k", &(struct store_get_opts){.bulk = true}), STORE_OK);
    store_stats(b.s, &stats);
    assert_int_equal(stats.hedges, 0);
    close_after(1);
}

/* Bulk requests that hang hold no interactive one up. */
static void bulk_and_interactive_requests_have_connections_of_their_own(void **state)
{
    (void)state;
    static const struct step script[] = {{.trouble = STAYS_SILENT},
                                         {200, ETAG_ONE, TEN, .sent = 0}};
    const struct store_conf conf = {.max_connections = 1, .max_bulk_connections = 1};
    const struct store_list_opts bulk = {.bulk = true};
    struct outcome held;
    open_as("s3://bucket/pre", script, LEN(script), 10000, "AKIDTEST", &conf);
    store_op *first = store_list(b.s, b.loop, "", &bulk, &list_cb, NULL, NULL);
    store_op *second = store_list(b.s, b.loop, "", &bulk, &list_cb, NULL, NULL);
    assert_true(first && second);
    for (int i = 0; i < 20; i++)
        assert_int_equal(store_loop_run(b.loop, 10, NULL), 0);
    assert_int_equal(get("k", NULL), STORE_OK);
    held = o;
    store_op_cancel(second); /* it never got a connection */
    store_op_cancel(first);
    o = (struct outcome){0};
    while (o.dones < 2)
        assert_int_equal(store_loop_run(b.loop, -1, NULL), 0);
    buf_cleanup(&held.data);
    buf_cleanup(&held.keys);
    close_after(2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_bucket_s_region_is_learned_once, clean_up),
        cmocka_unit_test_teardown(requests_that_were_sent_astray_together_all_find_the_region,
                                  clean_up),
        cmocka_unit_test_teardown(a_region_that_sends_us_on_for_ever_ends_it, clean_up),
        cmocka_unit_test_teardown(a_stream_is_not_sent_to_another_region, clean_up),
        cmocka_unit_test_teardown(an_expired_token_is_renewed_once, clean_up),
        cmocka_unit_test_teardown(a_given_token_that_expired_fails, clean_up),
        cmocka_unit_test_teardown(a_create_that_was_done_is_known_again, clean_up),
        cmocka_unit_test_teardown(a_create_that_another_won_fails, clean_up),
        cmocka_unit_test_teardown(a_look_that_fails_proves_nothing, clean_up),
        cmocka_unit_test_teardown(an_overload_inside_a_success_is_waited_out, clean_up),
        cmocka_unit_test_teardown(one_bad_key_of_a_thousand_is_named, clean_up),
        cmocka_unit_test_teardown(an_empty_page_may_have_more_behind_it, clean_up),
        cmocka_unit_test_teardown(a_used_up_budget_ends_the_retries, clean_up),
        cmocka_unit_test_teardown(failures_raise_an_alarm_and_successes_end_it, clean_up),
        cmocka_unit_test_teardown(a_late_answer_is_asked_for_a_second_time, clean_up),
        cmocka_unit_test_teardown(what_others_wait_for_is_not_hedged, clean_up),
        cmocka_unit_test_teardown(bulk_and_interactive_requests_have_connections_of_their_own,
                                  clean_up),
    };
    return cmocka_run_group_tests_name("s3_faults", tests, NULL, NULL);
}
