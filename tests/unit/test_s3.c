/* The S3 driver against a scripted peer: what it asks for, and what it makes of refusals and
 * outages. */
#include "tests/unit/s3_fixture.h"

/* The one way in which a key against the rules gets into a path. */
static enum store_code abort_upload(const char *key)
{
    const struct store_entry entry = {.key = key, .version = "u"};
    begin();
    return finish(
        store_delete_listed(b.s, b.loop, STORE_LIST_UPLOADS, &entry, 1, 0, on_done, NULL, NULL));
}

/* ---- What is asked ---- */

static void paths_are_encoded_once_and_sent_as_they_are(void **state)
{
    (void)state;
    static const struct {
        const char *key, *path;
    } cases[] = {
        {"a/b", "/bucket/pre/a/b "},
        {".../a..", "/bucket/pre/.../a.. "},
        {"a b+c", "/bucket/pre/a%20b%2Bc "},
        {"%2e%2e/x", "/bucket/pre/%252e%252e/x "},
        {"q?x=1#f&g", "/bucket/pre/q%3Fx%3D1%23f%26g "},
        {"\xc3\xa9~-_.", "/bucket/pre/%C3%A9~-_. "},
        {"'()*!:@", "/bucket/pre/%27%28%29%2A%21%3A%40 "},
        {"nl\ncr\r", "/bucket/pre/nl%0Acr%0D "},
    };
    struct step script[LEN(cases)];
    for (size_t i = 0; i < LEN(cases); i++)
        script[i] = (struct step){.status = 200};
    OPEN(script);
    for (size_t i = 0; i < LEN(cases); i++)
        assert_int_equal(head(cases[i].key), STORE_OK);
    close_after(LEN(cases));
    for (size_t i = 0; i < LEN(cases); i++) {
        char start[200];
        snprintf(start, sizeof(start), "HEAD %sHTTP/1.1\r\n", cases[i].path);
        assert_starts(i + 1, start);
        assert_signed(i + 1, NULL);
    }
}

/* A key that was stored as "..": not ours, but it must be that one which is removed. */
static void dots_are_not_normalised_away(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 204}, {.status = 204}};
    OPEN(script);
    assert_int_equal(abort_upload("a/../b"), STORE_OK);
    assert_int_equal(abort_upload("a//./b"), STORE_OK);
    close_after(2);
    assert_starts(1, "DELETE /bucket/pre/a/../b?uploadId=u HTTP/1.1\r\n");
    assert_starts(2, "DELETE /bucket/pre/a//./b?uploadId=u HTTP/1.1\r\n");
}

/* ---- Statuses ---- */

static void refusals_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        struct step step;
        enum store_code code;
    } cases[] = {
        {{.status = 404, .body = ERROR("NoSuchKey")}, STORE_NOT_FOUND},
        {{.status = 404, .body = ERROR("NoSuchBucket")}, STORE_FAILED},
        {{.status = 404}, STORE_NOT_FOUND},
        {{.status = 403, .body = ERROR("AccessDenied")}, STORE_DENIED},
        {{.status = 403, .body = ERROR("SignatureDoesNotMatch")}, STORE_DENIED},
        {{.status = 304}, STORE_NOT_MODIFIED},
        {{.status = 412, .body = ERROR("PreconditionFailed")}, STORE_PRECONDITION},
        {{.status = 416, .body = ERROR("InvalidRange")}, STORE_BAD_RANGE},
        {{.status = 400, .body = "<html>not S3"}, STORE_FAILED},
        {{.status = 301,
          .headers = "Location: http://127.0.0.1:1/\r\n",
          .body = ERROR("PermanentRedirect")},
         STORE_FAILED},
        {{.status = 307, .headers = "Location: http://127.0.0.1:1/\r\n"}, STORE_FAILED},
    };
    struct step script[LEN(cases)];
    for (size_t i = 0; i < LEN(cases); i++)
        script[i] = cases[i].step;
    OPEN(script);
    for (size_t i = 0; i < LEN(cases); i++) {
        if (get("k", NULL) != cases[i].code)
            fail_msg("case %zu: %s", i, o.err.msg);
        assert_int_equal(o.err.http_status, cases[i].step.status);
        assert_int_equal(o.data.len, 0);
        assert_int_equal(o.heads, 0);
    }
    close_after(LEN(cases));
}

static void what_is_gone_already_is_deleted(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 404, .body = ERROR("NoSuchKey")},
        {.status = 404, .body = ERROR("NoSuchBucket")},
        {.status = 200, .body = RESULT(KEY_ERROR("pre/a", "NoSuchKey"))},
    };
    static const char *const keys[] = {"a"};
    OPEN(script);
    assert_int_equal(remove_one("a"), STORE_OK);
    assert_int_equal(remove_one("a"), STORE_FAILED);
    assert_int_equal(remove_many(keys, 1), STORE_OK);
    close_after(3);
}

/* ---- Trouble that passes ---- */

static void outages_are_waited_out(void **state)
{
    (void)state;
    static const struct step troubles[] = {
        {.status = 503},
        {.status = 503, .body = ERROR("SlowDown")},
        {.status = 500, .body = "<html><body>proxy error"},
        {.status = 502},
        {.status = 504},
        {.status = 429},
        {.status = 400, .body = ERROR("RequestTimeout")},
        {.status = 200, .body = ERROR("SlowDown")}, /* S3 answers 200 before it knows */
        {.status = 200, .body = ERROR("InternalError")},
        {.trouble = CLOSES_BEFORE_HEAD},
        {.status = 0, .body = "this is not HTTP\r\n\r\n"},
        {.status = 200, .body = LIST("false", ""), .trouble = CUTS_BODY, .sent = 0},
        {.status = 200, .body = LIST("false", ""), .trouble = CUTS_BODY, .sent = 40},
        {.status = 200, .body = LIST("false", ""), .trouble = TELLS_NO_LENGTH, .sent = 40},
        {.status = 200, .body = "<ListBucketResult><IsTruncated>false</IsTruncated>"},
        {.status = 200, .body = LIST("true", "")}, /* truncated, but how to go on is missing */
        {.status = 200, .body = "<ListBucketResult></ListBucketResult>"},
        {.status = 200, .body = RESULT("")},
        {.status = 200, .body = "<html></html>"},
        {.status = 200, .body = ""},
    };
    for (size_t i = 0; i < LEN(troubles); i++) {
        const struct step script[] = {troubles[i],
                                      {.status = 200, .body = LIST("false", ENTRY("pre/a"))}};
        OPEN(script);
        if (list("", NULL) != STORE_OK)
            fail_msg("case %zu: %s", i, o.err.msg);
        assert_int_equal(o.pages, 1);
        assert_string_equal(buf_str(&o.keys), "a|");
        close_after(2);
        peer_cleanup(&b.peer);
    }
}

static void a_hint_is_waited_for(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 503, .headers = "Retry-After: 1\r\n"},
        {.status = 200},
        {.status = 503, .headers = "Retry-After: 60\r\n"},
    };
    OPEN(script);
    uint64_t begin_ms = clock_mono_ms();
    assert_int_equal(head("k"), STORE_OK);
    assert_true(clock_mono_ms() - begin_ms >= 1000);
    /* A wait beyond the deadline is not begun. */
    begin_ms = clock_mono_ms();
    assert_int_equal(head("k"), STORE_BUSY);
    assert_true(clock_mono_ms() - begin_ms < 9000);
    assert_int_equal(o.err.retry_after_ms, 60000);
    assert_int_equal(o.err.http_status, 503);
    close_after(3);
}

static void the_deadline_bounds_all_tries(void **state)
{
    (void)state;
    struct step script[PEER_MAX_REQUESTS];
    for (size_t i = 0; i < LEN(script); i++)
        script[i] = (struct step){.status = 503};
    open_with("s3://bucket", script, LEN(script), 400);
    uint64_t begin_ms = clock_mono_ms();
    assert_int_equal(head("k"), STORE_BUSY);
    assert_true(clock_mono_ms() - begin_ms <= 2000);
    store_loop_free(b.loop);
    store_close(b.s);
    peer_stop(&b.peer);
    assert_in_range(b.peer.n_requests, 2, 12);
}

static void nobody_there_is_busy(void **state)
{
    (void)state;
    open_with("s3://bucket", NULL, 0, 400);
    peer_stop(&b.peer);
    assert_int_equal(head("k"), STORE_BUSY);
    assert_int_equal(o.err.http_status, 0);
    store_loop_free(b.loop);
    store_close(b.s);
}

/* ---- The clock ---- */

static void assert_hours_ahead(size_t number, double hours)
{
    const char *text = request_header(request(number), "X-Amz-Date");
    struct tm tm = {0};
    assert_non_null(strptime(text, "%Y%m%dT%H%M%SZ", &tm));
    double ahead = difftime(timegm(&tm), time(NULL)) / 3600;
    if (ahead < hours - 0.1 || ahead > hours + 0.1)
        fail_msg("request %zu: %s", number, text);
}

static void the_server_s_clock_is_learnt(void **state)
{
    (void)state;
    char date[64], headers[100];
    clock_http_date(clock_real_s() + 3 * 3600, date);
    snprintf(headers, sizeof(headers), "Date: %s\r\n", date);
    const struct step script[] = {
        {403, headers, ERROR("RequestTimeTooSkewed"), .sent = 0},
        {200, headers, NULL, .sent = 0},
        {200, headers, NULL, .sent = 0},
        {403, headers, ERROR("RequestTimeTooSkewed"), .sent = 0},
        {403, headers, ERROR("RequestTimeTooSkewed"), .sent = 0},
    };
    OPEN(script);
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_int_equal(get("k", NULL), STORE_DENIED); /* once an operation, not for ever */
    close_after(5);
    assert_hours_ahead(1, 0);
    assert_hours_ahead(2, 3);
    assert_hours_ahead(3, 3);
}

/* ---- Giving up ---- */

static void a_loop_that_goes_cancels(void **state)
{
    (void)state;
    static const struct step script[] = {{200, ETAG_ONE, TEN, STALLS, 4, 0}};
    OPEN(script);
    begin();
    assert_non_null(store_get(b.s, b.loop, "k", NULL, &get_cb, NULL, NULL));
    while (o.data.len < 4)
        assert_int_equal(store_loop_run(b.loop, -1, NULL), 0);
    close_after(1);
    assert_int_equal(o.dones, 1);
    assert_int_equal(o.err.code, STORE_CANCELED);
}

static store_op *to_cancel;

static bool cancel_in_data(void *user, const void *bytes, size_t n)
{
    (void)user;
    (void)bytes;
    o.data.len += n;
    store_op_cancel(to_cancel);
    return true;
}

/* The cancel is on its way when the last byte is there already. */
static void a_cancel_at_the_end_is_told_once(void **state)
{
    (void)state;
    static const struct step script[] = {{200, ETAG_ONE, TEN, .sent = 0}};
    static const struct store_get_cb cb = {NULL, cancel_in_data, on_done};
    OPEN(script);
    begin();
    to_cancel = store_get(b.s, b.loop, "k", NULL, &cb, NULL, NULL);
    enum store_code code = finish(to_cancel);
    assert_true(code == STORE_OK ? o.data.len == 10 : code == STORE_CANCELED);
    close_after(1);
}

static void a_cancel_ends_the_wait_between_tries(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 503, .headers = "Retry-After: 9\r\n"}};
    OPEN(script);
    begin();
    store_op *op = store_head(b.s, b.loop, "k", 60000, on_done, NULL, NULL);
    uint64_t begin_ms = clock_mono_ms();
    while (clock_mono_ms() - begin_ms < 100) /* until it waits, most likely; any moment is fine */
        assert_int_equal(store_loop_run(b.loop, 10, NULL), 0);
    store_op_cancel(op);
    assert_int_equal(finish(op), STORE_CANCELED);
    assert_true(clock_mono_ms() - begin_ms < 8000);
    close_after(1);
}

/* ---- Opening ---- */

static void what_cannot_be_a_bucket_is_not_opened(void **state)
{
    (void)state;
    static const char *const urls[] = {"s3://",      "s3:///x",           "s3://ab",
                                       "s3://b c",   "s3://bucket//x",    "s3://bucket/../x",
                                       "s3://buck?", "s3://bucket/a/./b", "S3://bucket"};
    const struct store_conf good = {
        .endpoint = "http://127.0.0.1:1", .access_key = "a", .secret_key = "s"};
    static const char *const endpoints[] = {"127.0.0.1:9000", "ftp://host", "http://host/path"};
    struct store_err err;
    store *s = NULL;
    for (size_t i = 0; i < LEN(urls); i++) {
        if (store_open(urls[i], &good, &s, &err) == 0)
            fail_msg("%s was opened", urls[i]);
        assert_int_equal(err.code, STORE_INVALID);
    }
    for (size_t i = 0; i < LEN(endpoints); i++) {
        struct store_conf conf = good;
        conf.endpoint = endpoints[i];
        assert_int_equal(store_open("s3://bucket", &conf, &s, &err), -1);
        assert_int_equal(err.code, STORE_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(paths_are_encoded_once_and_sent_as_they_are, clean_up),
        cmocka_unit_test_teardown(dots_are_not_normalised_away, clean_up),
        cmocka_unit_test_teardown(refusals_are_told_apart, clean_up),
        cmocka_unit_test_teardown(what_is_gone_already_is_deleted, clean_up),
        cmocka_unit_test_teardown(outages_are_waited_out, clean_up),
        cmocka_unit_test_teardown(a_hint_is_waited_for, clean_up),
        cmocka_unit_test_teardown(the_deadline_bounds_all_tries, clean_up),
        cmocka_unit_test_teardown(nobody_there_is_busy, clean_up),
        cmocka_unit_test_teardown(the_server_s_clock_is_learnt, clean_up),
        cmocka_unit_test_teardown(a_loop_that_goes_cancels, clean_up),
        cmocka_unit_test_teardown(a_cancel_at_the_end_is_told_once, clean_up),
        cmocka_unit_test_teardown(a_cancel_ends_the_wait_between_tries, clean_up),
        cmocka_unit_test_teardown(what_cannot_be_a_bucket_is_not_opened, clean_up),
    };
    return cmocka_run_group_tests_name("s3", tests, NULL, NULL);
}
