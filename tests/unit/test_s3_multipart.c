/* The S3 driver's puts in parts. */
#include "tests/unit/s3_fixture.h"

enum { PART = 5 * 1024 * 1024 };

#define BEGUN \
    "<InitiateMultipartUploadResult><UploadId>up+1</UploadId></InitiateMultipartUploadResult>"
#define COMPLETE \
    "<CompleteMultipartUploadResult><ETag>\"all-3\"</ETag></CompleteMultipartUploadResult>"
#define PART_ETAG "ETag: \"part\"\r\n"
#define PUT_ID    "x-amz-meta-store-put-id"

static const struct step begun = {.status = 200, .body = BEGUN};
static const struct step part_done = {.status = 200, .headers = PART_ETAG};
static const struct step complete = {.status = 200, .body = COMPLETE};
static const struct step aborted = {.status = 204};

static const struct store_conf in_parts = {
    .multipart_bytes = PART, .part_bytes = PART, .parts_in_flight = 1};

#define OPEN_PARTS(...)                          \
    const struct step script_[] = {__VA_ARGS__}; \
    open_as("s3://bucket/pre", script_, LEN(script_), 20000, "AKIDTEST", &in_parts)

/* A body of unknown or known length that can pause and give up. */
struct body {
    uint64_t given, size, pause_at, abort_at; /* 0: never */
    bool paused;
};

static ssize_t more(void *user, void *buf, size_t cap)
{
    struct body *y = user;
    uint64_t left = y->size - y->given;
    size_t n = cap < left ? cap : (size_t)left;
    if (y->abort_at && y->given >= y->abort_at)
        return STORE_READ_ABORT;
    if (y->pause_at && y->given >= y->pause_at && !y->paused) {
        y->paused = true;
        return STORE_READ_PAUSE;
    }
    memset(buf, 'a' + (int)(y->given / PART), n);
    y->given += n;
    return (ssize_t)n;
}

static void put_done(void *user, const struct store_err *err, const struct store_info *info)
{
    (void)user;
    on_done(NULL, err, info);
}

static enum store_code put_body(struct body *y, uint64_t told, const struct store_put_opts *opts)
{
    const struct store_put_cb cb = {more, put_done};
    begin();
    store_op *op = store_put(b.s, b.loop, "k", told, opts, &cb, y, &o.err);
    assert_non_null(op);
    while (o.dones == 0) {
        assert_int_equal(store_loop_run(b.loop, 50, NULL), 0);
        if (y->paused && o.dones == 0)
            store_op_resume(op);
    }
    return o.err.code;
}

/* Parts go side by side, so any of requests 2 to 4 may have it. */
static void assert_part(const char *part_number, size_t size)
{
    char start[128];
    size_t at = 2;
    snprintf(start, sizeof(start), "PUT /bucket/pre/k?partNumber=%s&uploadId=up%%2B1 ",
             part_number);
    while (at < 4 && strncmp(request(at)->head, start, strlen(start)) != 0)
        at++;
    assert_starts(at, start);
    assert_int_equal(request(at)->body.len, size);
    assert_md5(at);
}

static void assert_completes(size_t number)
{
    const char *body = buf_str(&request(number)->body);
    assert_starts(number, "POST /bucket/pre/k?uploadId=up%2B1 ");
    const char *one = strstr(body, "<PartNumber>1</PartNumber>");
    const char *three = strstr(body, "<PartNumber>3</PartNumber>");
    assert_true(one && three && one < three);
    assert_null(strstr(body, "<PartNumber>4</PartNumber>"));
}

static void a_large_stream_goes_up_in_parts(void **state)
{
    (void)state;
    static const struct store_meta meta[] = {{"one", "1"}};
    const struct store_put_opts opts = {
        .content_type = "text/plain", .meta = meta, .n_meta = 1, .if_absent = true};
    static const uint64_t told[] = {2 * PART + 7, STORE_SIZE_UNKNOWN};
    for (size_t i = 0; i < LEN(told); i++) {
        struct body y = {.size = 2 * PART + 7, .pause_at = PART + 100};
        OPEN_PARTS(begun, part_done, part_done, part_done, {.status = 404}, complete);
        assert_int_equal(put_body(&y, told[i], &opts), STORE_OK);
        assert_string_equal(o.etag, "all-3");
        close_after(6);
        assert_starts(1, "POST /bucket/pre/k?uploads= ");
        assert_header(1, "Content-Type", "text/plain");
        assert_header(1, "x-amz-meta-one", "1");
        assert_non_null(request_header(request(1), PUT_ID));
        assert_header(1, "If-None-Match", NULL); /* the completion decides */
        assert_part("1", PART);
        assert_part("3", 7);
        assert_starts(5, "HEAD ");
        assert_completes(6);
        assert_header(6, "If-None-Match", "*");
        peer_cleanup(&b.peer);
    }
}

static void large_memory_goes_up_in_parts(void **state)
{
    (void)state;
    size_t n = 2 * PART + 1;
    char *bytes = malloc(n);
    assert_non_null(bytes);
    memset(bytes, 'x', n);
    OPEN_PARTS(begun, part_done, part_done, part_done, complete);
    begin();
    assert_int_equal(
        finish(store_put_bytes(b.s, b.loop, "k", bytes, n, NULL, on_done, NULL, &o.err)), STORE_OK);
    free(bytes);
    close_after(5);
    assert_part("1", PART);
    assert_part("3", 1);
    assert_completes(5);
}

static void what_ends_within_a_part_is_one_request(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, PART};
    static const struct step one[] = {{200, PART_ETAG, NULL, .sent = 0}};
    const struct step parts[] = {begun, part_done, complete};
    for (size_t i = 0; i < LEN(sizes); i++) {
        struct body y = {.size = sizes[i]};
        bool full = sizes[i] == PART; /* nobody knows yet that it was the last */
        open_as("s3://bucket/pre", full ? parts : one, full ? 3 : 1, 20000, "AKIDTEST", &in_parts);
        assert_int_equal(put_body(&y, STORE_SIZE_UNKNOWN, NULL), STORE_OK);
        close_after(full ? 3 : 1);
        if (sizes[i] < PART) {
            assert_starts(1, "PUT /bucket/pre/k HTTP/1.1\r\n");
            assert_int_equal(request(1)->body.len, sizes[i]);
            assert_non_null(strstr(request(1)->head, "x-amz-meta-store-sum: crc32c:"));
        }
        peer_cleanup(&b.peer);
    }
}

static void a_part_is_sent_again_by_itself(void **state)
{
    (void)state;
    struct body y = {.size = 2 * PART + 7};
    OPEN_PARTS(begun, {.status = 503}, part_done, part_done, part_done, complete);
    assert_int_equal(put_body(&y, y.size, NULL), STORE_OK);
    close_after(6);
    assert_completes(6);
}

static const char abort_line[] = "DELETE /bucket/pre/k?uploadId=up%2B1 ";

static void assert_aborts(size_t number)
{
    assert_starts(number, abort_line);
}

/* The peer may read it before a part that was given up on its way. */
static void assert_aborted(void)
{
    size_t aborts = 0;
    for (size_t i = 1; i <= b.peer.n_requests; i++)
        aborts += strncmp(request(i)->head, abort_line, strlen(abort_line)) == 0;
    assert_true(aborts > 0);
}

static void a_part_that_fails_removes_the_others(void **state)
{
    (void)state;
    struct body y = {.size = PART};
    OPEN_PARTS(begun, {.status = 403, .body = ERROR("AccessDenied")}, aborted);
    assert_int_equal(put_body(&y, y.size, NULL), STORE_DENIED);
    close_after(3);
    assert_aborts(3);
}

static void a_caller_who_gives_up_leaves_no_parts(void **state)
{
    (void)state;
    struct body y = {.size = 2 * PART, .abort_at = PART + 1};
    OPEN_PARTS(begun, part_done, aborted, aborted);
    assert_int_equal(put_body(&y, STORE_SIZE_UNKNOWN, NULL), STORE_CANCELED);
    store_loop_free(b.loop);
    store_close(b.s);
    peer_stop(&b.peer);
    assert_in_range(b.peer.n_requests, 2, 4); /* whichever parts had gone by then */
    assert_aborted();
}

static void a_cancel_removes_the_parts_before_it_ends(void **state)
{
    (void)state;
    struct body y = {.size = 2 * PART};
    const struct store_put_cb cb = {more, put_done};
    OPEN_PARTS(begun, {.trouble = STAYS_SILENT}, aborted, aborted);
    begin();
    store_op *op = store_put(b.s, b.loop, "k", STORE_SIZE_UNKNOWN, NULL, &cb, &y, NULL);
    for (int i = 0; i < 10; i++)
        assert_int_equal(store_loop_run(b.loop, 10, NULL), 0);
    store_op_cancel(op);
    while (o.dones == 0)
        assert_int_equal(store_loop_run(b.loop, -1, NULL), 0);
    assert_int_equal(o.err.code, STORE_CANCELED);
    store_loop_free(b.loop);
    store_close(b.s);
    peer_stop(&b.peer);
    assert_aborted();
}

static void a_completion_may_fail_late(void **state)
{
    (void)state;
    struct body y = {.size = 2 * PART + 7};
    OPEN_PARTS(begun, part_done, part_done, part_done,
               {.status = 200, .body = "  \n" ERROR("InternalError")}, complete);
    assert_int_equal(put_body(&y, y.size, NULL), STORE_OK);
    close_after(6);
    assert_completes(6);
}

static void a_completion_whose_answer_was_lost_is_known_again(void **state)
{
    (void)state;
    struct body y = {.size = 2 * PART + 7};
    OPEN_PARTS(begun, part_done, part_done, part_done, {.trouble = CLOSES_BEFORE_HEAD},
               {.status = 404, .body = ERROR("NoSuchUpload")},
               {200, PUT_ID ": =\r\n", NULL, .length = 10});
    assert_int_equal(put_body(&y, y.size, NULL), STORE_OK);
    close_after(7);
    assert_starts(7, "HEAD ");
}

static void an_upload_that_another_removed_fails(void **state)
{
    (void)state;
    struct body y = {.size = 2 * PART + 7};
    OPEN_PARTS(begun, part_done, part_done, part_done,
               {.status = 404, .body = ERROR("NoSuchUpload")}, {.status = 404}, aborted);
    assert_int_equal(put_body(&y, y.size, NULL), STORE_FAILED);
    close_after(7);
    assert_aborts(7);
}

static void parts_that_come_too_late_do_not_appear(void **state)
{
    (void)state;
    struct body y = {.size = PART};
    const struct store_put_opts opts = {.signed_at_s = 784111777, .expires_in_s = 10};
    OPEN_PARTS(begun, part_done,
               {403, "Date: Sun, 06 Nov 1994 08:50:37 GMT\r\n", ERROR("AccessDenied"), .sent = 0},
               aborted);
    assert_int_equal(put_body(&y, y.size, &opts), STORE_EXPIRED);
    close_after(4);
    assert_asks(3, "X-Amz-Expires=10");
    assert_aborts(4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_large_stream_goes_up_in_parts, clean_up),
        cmocka_unit_test_teardown(large_memory_goes_up_in_parts, clean_up),
        cmocka_unit_test_teardown(what_ends_within_a_part_is_one_request, clean_up),
        cmocka_unit_test_teardown(a_part_is_sent_again_by_itself, clean_up),
        cmocka_unit_test_teardown(a_part_that_fails_removes_the_others, clean_up),
        cmocka_unit_test_teardown(a_caller_who_gives_up_leaves_no_parts, clean_up),
        cmocka_unit_test_teardown(a_cancel_removes_the_parts_before_it_ends, clean_up),
        cmocka_unit_test_teardown(a_completion_may_fail_late, clean_up),
        cmocka_unit_test_teardown(a_completion_whose_answer_was_lost_is_known_again, clean_up),
        cmocka_unit_test_teardown(an_upload_that_another_removed_fails, clean_up),
        cmocka_unit_test_teardown(parts_that_come_too_late_do_not_appear, clean_up),
    };
    return cmocka_run_group_tests_name("s3_multipart", tests, NULL, NULL);
}
