/* The S3 driver reads: what a body can be, and what is made of it. */
#include "tests/unit/s3_fixture.h"

static void a_cut_body_is_resumed(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, ETAG_ONE, TEN, CUTS_BODY, 4, 0},
        {.trouble = CLOSES_BEFORE_HEAD},
        {206, ETAG_ONE "Content-Range: bytes 4-9/10\r\n", "456789", CUTS_BODY, 3, 0},
        {206, ETAG_ONE "Content-Range: bytes 7-9/10\r\n", "789", .sent = 0},
    };
    OPEN(script);
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_int_equal(o.heads, 1);
    assert_int_equal(o.head.length, 10);
    assert_string_equal(buf_str(&o.data), TEN);
    assert_string_equal(o.etag, "one");
    close_after(4);
    assert_header(1, "Range", NULL);
    assert_header(1, "If-Match", NULL);
    assert_header(2, "Range", "bytes=4-9");
    assert_header(3, "Range", "bytes=4-9");
    assert_header(4, "Range", "bytes=7-9");
    assert_header(4, "If-Match", "\"one\"");
}

static void a_range_is_resumed_within(void **state)
{
    (void)state;
    static const struct step script[] = {
        {206, ETAG_ONE "Content-Range: bytes 2-7/10\r\n", "234567", CUTS_BODY, 2, 0},
        {206, ETAG_ONE "Content-Range: bytes 4-7/10\r\n", "4567", .sent = 0},
        {206, ETAG_ONE "Content-Range: bytes 6-9/10\r\n", "6789", .sent = 0},
    };
    OPEN(script);
    assert_int_equal(get("k", &(struct store_get_opts){.offset = 2, .length = 6}), STORE_OK);
    assert_string_equal(buf_str(&o.data), "234567");
    assert_int_equal(o.head.size, 10);
    assert_int_equal(o.head.offset, 2);
    assert_int_equal(o.head.length, 6);
    /* Beyond the end: cut by the store. */
    assert_int_equal(get("k", &(struct store_get_opts){.offset = 6, .length = 100}), STORE_OK);
    assert_string_equal(buf_str(&o.data), "6789");
    close_after(3);
    assert_header(1, "Range", "bytes=2-7");
    assert_header(2, "Range", "bytes=4-7");
    assert_header(3, "Range", "bytes=6-105");
}

/* The rest of a body must be the rest of THAT body. */
static void a_rest_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const struct {
        struct step step;
        enum store_code code;
    } cases[] = {
        {{.status = 412, .body = ERROR("PreconditionFailed")}, STORE_PRECONDITION},
        {{.status = 404, .body = ERROR("NoSuchKey")}, STORE_NOT_FOUND},
        /* It ignores the range: its first bytes are not the ones that are missing. */
        {{.status = 200, .headers = ETAG_ONE, .body = TEN}, STORE_CORRUPT},
        {{.status = 200, .headers = ETAG_ONE, .body = "456789"}, STORE_CORRUPT},
        {{.status = 206, .headers = ETAG_ONE "Content-Range: bytes 0-5/10\r\n", .body = "012345"},
         STORE_CORRUPT},
        {{.status = 206, .headers = ETAG_ONE "Content-Range: bytes 4-8/9\r\n", .body = "45678"},
         STORE_CORRUPT},
        {{.status = 206, .headers = ETAG_ONE, .body = "456789"}, STORE_CORRUPT},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        const struct step script[] = {{200, ETAG_ONE, TEN, CUTS_BODY, 4, 0}, cases[i].step};
        OPEN(script);
        if (get("k", NULL) != cases[i].code)
            fail_msg("case %zu: %s %s", i, store_code_name(o.err.code), o.err.msg);
        assert_true(o.data.len <= 10);
        assert_memory_equal(buf_str(&o.data), TEN, o.data.len);
        close_after(2);
        peer_cleanup(&b.peer);
    }
}

static void a_range_that_is_ignored_is_refused(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, ETAG_ONE, TEN, .sent = 0},
        {206, ETAG_ONE "Content-Range: bytes 0-3/10\r\n", "0123", .sent = 0},
        {206, ETAG_ONE "Content-Range: bytes 2-9/10\r\n", "23456789", .sent = 0},
    };
    OPEN(script);
    for (size_t i = 0; i < LEN(script); i++) {
        assert_int_equal(get("k", &(struct store_get_opts){.offset = 2, .length = 4}),
                         STORE_CORRUPT);
        assert_int_equal(o.data.len, 0);
        assert_int_equal(o.heads, 0);
    }
    close_after(3);
}

static void a_body_without_an_etag_is_not_resumed(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200, .body = TEN, .trouble = CUTS_BODY, .sent = 4}};
    OPEN(script);
    assert_int_equal(get("k", NULL), STORE_BUSY);
    assert_string_equal(buf_str(&o.data), "0123");
    close_after(1);
}

/* Without a length, a connection that breaks looks like the end. */
static void a_body_without_a_length_is_refused(void **state)
{
    (void)state;
    static const struct step script[] = {{200, ETAG_ONE, TEN, TELLS_NO_LENGTH, 4, 0}};
    OPEN(script);
    assert_int_equal(get("k", NULL), STORE_CORRUPT);
    assert_int_equal(o.data.len, 0);
    close_after(1);
}

static void a_stalled_body_is_asked_for_anew(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, ETAG_ONE, TEN, STALLS, 0, 0},
        {200, ETAG_ONE, TEN, .sent = 0},
    };
    OPEN(script);
    uint64_t begin_ms = clock_mono_ms();
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_true(clock_mono_ms() - begin_ms >= 900);
    assert_string_equal(buf_str(&o.data), TEN);
    close_after(2);
}

static void a_stalled_body_ends_at_the_deadline(void **state)
{
    (void)state;
    static const struct step script[] = {{200, ETAG_ONE, TEN, STALLS, 4, 0}};
    OPEN(script);
    assert_int_equal(get("k", &(struct store_get_opts){.timeout_ms = 200}), STORE_TIMEOUT);
    assert_string_equal(buf_str(&o.data), "0123");
    close_after(1);
}

static void an_empty_object_is_whole(void **state)
{
    (void)state;
    static const struct step script[] = {{200, ETAG_ONE, "", .sent = 0}};
    OPEN(script);
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_int_equal(o.heads, 1);
    assert_int_equal(o.head.size, 0);
    assert_int_equal(o.data.len, 0);
    close_after(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_cut_body_is_resumed, clean_up),
        cmocka_unit_test_teardown(a_range_is_resumed_within, clean_up),
        cmocka_unit_test_teardown(a_rest_that_does_not_fit_is_refused, clean_up),
        cmocka_unit_test_teardown(a_range_that_is_ignored_is_refused, clean_up),
        cmocka_unit_test_teardown(a_body_without_an_etag_is_not_resumed, clean_up),
        cmocka_unit_test_teardown(a_body_without_a_length_is_refused, clean_up),
        cmocka_unit_test_teardown(a_stalled_body_is_asked_for_anew, clean_up),
        cmocka_unit_test_teardown(a_stalled_body_ends_at_the_deadline, clean_up),
        cmocka_unit_test_teardown(an_empty_object_is_whole, clean_up),
    };
    return cmocka_run_group_tests_name("s3_get", tests, NULL, NULL);
}
