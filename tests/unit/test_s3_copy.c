/* The S3 driver's copies: in one request, and part by part when the source is large. */
#include "tests/unit/s3_fixture.h"

#define BEGUN \
    "<InitiateMultipartUploadResult><UploadId>up+1</UploadId></InitiateMultipartUploadResult>"
#define COPIED "<CopyObjectResult><ETag>\"whole\"</ETag></CopyObjectResult>"
#define PART   "<CopyPartResult><ETag>\"part\"</ETag></CopyPartResult>"
#define COMPLETE \
    "<CompleteMultipartUploadResult><ETag>\"all\"</ETag></CompleteMultipartUploadResult>"
#define SOURCE "ETag: \"src\"\r\nx-amz-meta-one: 1\r\nx-amz-meta-store-sum: crc32c:01234567\r\n"

static const long gib = 1L << 30;

static const struct step begun = {.status = 200, .body = BEGUN};
static const struct step part = {.status = 200, .body = PART};
static const struct step aborted = {.status = 204};

static enum store_code copy(void)
{
    begin();
    return finish(store_copy(b.s, b.loop, "from", "to", NULL, on_done, NULL, NULL));
}

static void a_copy_is_one_request_tied_to_what_was_seen(void **state)
{
    (void)state;
    const struct step script[] = {{.status = 200, .headers = SOURCE, .length = 5 * gib},
                                  {.status = 200, .body = COPIED}};
    OPEN(script);
    assert_int_equal(copy(), STORE_OK);
    assert_string_equal(o.etag, "whole");
    close_after(2);
    assert_starts(1, "HEAD /bucket/pre/from ");
    assert_starts(2, "PUT /bucket/pre/to ");
    assert_header(2, "x-amz-copy-source", "/bucket/pre/from");
    assert_header(2, "x-amz-copy-source-if-match", "\"src\"");
}

static void what_is_larger_than_5_gib_is_copied_in_parts(void **state)
{
    (void)state;
    static const char *const ranges[] = {
        "bytes=0-1073741823",          "bytes=1073741824-2147483647", "bytes=2147483648-3221225471",
        "bytes=3221225472-4294967295", "bytes=4294967296-5368709119", "bytes=5368709120-5368709120",
    };
    const struct step script[] = {{.status = 200, .headers = SOURCE, .length = 5 * gib + 1},
                                  begun,
                                  part,
                                  part,
                                  part,
                                  part,
                                  part,
                                  part,
                                  {.status = 200, .body = COMPLETE}};
    OPEN(script);
    assert_int_equal(copy(), STORE_OK);
    assert_string_equal(o.etag, "all");
    close_after(9);
    assert_starts(2, "POST /bucket/pre/to?uploads= ");
    assert_header(2, "x-amz-meta-one", "1");
    for (size_t i = 0; i < 6; i++) {
        char start[128];
        snprintf(start, sizeof(start), "PUT /bucket/pre/to?partNumber=%zu&uploadId=up%%2B1 ",
                 i + 1);
        assert_starts(3 + i, start);
        assert_header(3 + i, "x-amz-copy-source-range", ranges[i]);
        assert_header(3 + i, "x-amz-copy-source-if-match", "\"src\"");
    }
    assert_starts(9, "POST /bucket/pre/to?uploadId=up%2B1 ");
    assert_non_null(strstr(buf_str(&request(9)->body), "<PartNumber>6</PartNumber>"));
}

static void a_part_that_is_not_copied_removes_the_others(void **state)
{
    (void)state;
    const struct step script[] = {{.status = 200, .headers = SOURCE, .length = 6 * gib},
                                  begun,
                                  part,
                                  {.status = 403, .body = ERROR("AccessDenied")},
                                  aborted};
    OPEN(script);
    assert_int_equal(copy(), STORE_DENIED);
    close_after(5);
    assert_starts(5, "DELETE /bucket/pre/to?uploadId=up%2B1 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_copy_is_one_request_tied_to_what_was_seen, clean_up),
        cmocka_unit_test_teardown(what_is_larger_than_5_gib_is_copied_in_parts, clean_up),
        cmocka_unit_test_teardown(a_part_that_is_not_copied_removes_the_others, clean_up),
    };
    return cmocka_run_group_tests_name("s3_copy", tests, NULL, NULL);
}
