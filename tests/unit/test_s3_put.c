/* The S3 driver writes. */
#include "tests/unit/s3_fixture.h"

static void a_put_carries_everything(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, "ETag: \"abc\"\r\n", NULL, .sent = 0},
        {200, "ETag: \"abc\"\r\n", NULL, .sent = 0},
        {.status = 200},
        {.status = 412, .body = ERROR("PreconditionFailed")},
        {.status = 200}, /* to a look whether it was ourselves */
    };
    static const struct store_meta meta[] = {{"one", "1"}, {"two", "x y"}};
    OPEN(script);
    const struct store_put_opts first = {
        .content_type = "text/plain", .meta = meta, .n_meta = 2, .if_absent = true};
    assert_int_equal(put("k", "hello", &first), STORE_OK);
    assert_string_equal(o.etag, "abc");
    assert_int_equal(o.info.size, 5);
    assert_true(o.info.server_time_s > 0);
    assert_int_equal(stream("k", 300000), STORE_OK);
    assert_int_equal(put("empty", "", NULL), STORE_OK);
    assert_int_equal(put("k", "x", &(struct store_put_opts){.if_match = "abc"}),
                     STORE_PRECONDITION);
    close_after(5);
    assert_starts(5, "HEAD /bucket/pre/k HTTP/1.1\r\n");
    assert_starts(1, "PUT /bucket/pre/k HTTP/1.1\r\n");
    assert_signed(1, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_header(1, "Content-Length", "5");
    assert_header(1, "Content-Type", "text/plain");
    assert_header(1, "If-None-Match", "*");
    assert_header(1, "x-amz-meta-one", "1");
    assert_header(1, "x-amz-meta-two", "x y");
    assert_int_equal(request(1)->body.len, 5);
    assert_memory_equal(request(1)->body.data, "hello", 5);
    assert_signed(2, "UNSIGNED-PAYLOAD");
    assert_int_equal(request(2)->body.len, 300000);
    assert_header(2, "Content-Type", "application/octet-stream");
    assert_header(3, "Content-Length", "0");
    assert_header(4, "If-Match", "\"abc\"");
}
static void a_description_is_read(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200,
         "ETag: \"e-1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
         "Content-Type: text/plain\r\nX-Amz-Meta-One: 1\r\nx-amz-meta-two:  x y \r\n"
         "Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n",
         NULL, .length = 123456789012},
    };
    OPEN(script);
    assert_int_equal(head("k"), STORE_OK);
    assert_int_equal(o.info.size, 123456789012);
    assert_int_equal(o.info.modified_s, 784111777);
    assert_int_equal(o.info.server_time_s, 784111778);
    assert_string_equal(o.etag, "e-1");
    assert_string_equal(o.content_type, "text/plain");
    assert_string_equal(o.meta, "one=1;two=x y;");
    close_after(1);
}
/* ---- Writing ---- */

static void memory_is_sent_again(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 503},
        {.trouble = CLOSES_BEFORE_HEAD},
        {.trouble = CLOSES_ON_HEAD},
        {.status = 400, .body = ERROR("BadDigest")},
        {.status = 200, .headers = ETAG_ONE},
    };
    OPEN(script);
    assert_int_equal(put("k", "hello", NULL), STORE_OK);
    close_after(5);
    assert_string_equal(buf_str(&request(5)->body), "hello");
}

static void a_stream_is_sent_once(void **state)
{
    (void)state;
    static const struct step troubles[] = {
        {.status = 503},
        {.trouble = CLOSES_BEFORE_HEAD},
        {.trouble = CLOSES_ON_HEAD},
    };
    for (size_t i = 0; i < LEN(troubles); i++) {
        OPEN(((const struct step[]){troubles[i]}));
        assert_int_equal(stream("k", 1 << 20), STORE_BUSY);
        close_after(1);
        peer_cleanup(&b.peer);
    }
}

/* The server drops a kept connection just when it is used again. What was in memory goes out anew;
 * a stream cannot, and must not look as if it had. */
static void a_kept_connection_may_be_gone(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200},
        {.trouble = CLOSES_ON_HEAD},
        {.status = 200},
        {.trouble = CLOSES_ON_HEAD},
    };
    OPEN(script);
    assert_int_equal(head("k"), STORE_OK);
    assert_int_equal(put("k", "hello", NULL), STORE_OK);
    assert_int_equal(stream("k", 1 << 20), STORE_BUSY);
    close_after(4);
    assert_int_equal(request(1)->connection, request(2)->connection);
    assert_int_not_equal(request(2)->connection, request(3)->connection);
    assert_int_equal(request(3)->connection, request(4)->connection);
    assert_string_equal(buf_str(&request(3)->body), "hello");
}

static void put_until(int64_t signed_at_s, enum store_code code)
{
    const struct store_put_opts opts = {
        .signed_at_s = signed_at_s, .expires_in_s = 60, .content_type = "a/b"};
    assert_int_equal(put("k", "hello", &opts), code);
}

static void an_upload_that_expires_is_presigned(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, "Date: Sun, 06 Nov 1994 08:50:00 GMT\r\n", NULL, .sent = 0},
        {403, "Date: Sun, 06 Nov 1994 08:50:37 GMT\r\n", ERROR("AccessDenied"), .sent = 0},
        {403, "Date: Sun, 06 Nov 1994 08:50:36 GMT\r\n", ERROR("AccessDenied"), .sent = 0},
        {403, "Date: Sun, 06 Nov 1994 08:50:35 GMT\r\n", ERROR("AccessDenied"), .sent = 0},
    };
    OPEN(script);
    put_until(784111777, STORE_OK); /* 08:49:37 */
    put_until(784111777, STORE_EXPIRED);
    assert_int_equal(o.info.server_time_s, 784111837);
    put_until(784111777, STORE_EXPIRED); /* a clock that stays behind a little */
    put_until(784111777, STORE_DENIED);  /* in time: it is something else */
    close_after(4);
    assert_starts(1, "PUT /bucket/pre/k?");
    assert_asks(1, "X-Amz-Algorithm=AWS4-HMAC-SHA256");
    assert_asks(1, "X-Amz-Credential=AKIDTEST%2F19941106%2Feu-test-1%2Fs3%2Faws4_request");
    assert_asks(1, "X-Amz-Date=19941106T084937Z");
    assert_asks(1, "X-Amz-Expires=60");
    assert_asks(1, "X-Amz-Signature=");
    assert_asks(1, "X-Amz-SignedHeaders=content-type%3Bhost");
    assert_header(1, "Authorization", NULL);
    assert_header(1, "Content-Type", "a/b");
    assert_string_equal(buf_str(&request(1)->body), "hello");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_put_carries_everything, clean_up),
        cmocka_unit_test_teardown(a_description_is_read, clean_up),
        cmocka_unit_test_teardown(memory_is_sent_again, clean_up),
        cmocka_unit_test_teardown(a_stream_is_sent_once, clean_up),
        cmocka_unit_test_teardown(a_kept_connection_may_be_gone, clean_up),
        cmocka_unit_test_teardown(an_upload_that_expires_is_presigned, clean_up),
    };
    return cmocka_run_group_tests_name("s3_put", tests, NULL, NULL);
}
