/* Heads that are written can be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "http/head.h"
#include "http/message.h"

static void a_response_is_written(void **state)
{
    struct buf b = BUF_INIT(1000);
    struct http_head h;
    (void)state;
    http_put_status(&b, 206);
    http_put_field(&b, "Content-Type", "text/plain");
    http_put_field(&b, "X-Split", "a\r\nSet-Cookie: b");
    http_put_field(&b, "X-Cut", "a\n");
    http_put_field(&b, "X-Empty", "");
    http_put_length(&b, 18446744073709551615u);
    http_put_end(&b);
    assert_string_equal(buf_str(&b), "HTTP/1.1 206 Partial Content\r\nContent-Type: text/plain\r\n"
                                     "X-Empty: \r\nContent-Length: 18446744073709551615\r\n\r\n");
    buf_reset(&b);
    http_put_status(&b, 599);
    http_put_length(&b, 0);
    http_put_end(&b);
    assert_string_equal(buf_str(&b), "HTTP/1.1 599 Unknown\r\nContent-Length: 0\r\n\r\n");
    http_head_init(&h, HTTP_RESPONSE, 1000);
    assert_int_equal(http_head_feed(&h, b.data, b.len), HTTP_DONE);
    assert_int_equal(h.status, 599);
    buf_cleanup(&b);
}

static void a_request_is_written(void **state)
{
    struct buf b = BUF_INIT(1000);
    struct http_head h;
    (void)state;
    http_put_request(&b, "PUT", "/a?b");
    http_put_field(&b, "Host", "a:1");
    http_put_length(&b, 1234567890);
    http_put_end(&b);
    assert_string_equal(buf_str(&b),
                        "PUT /a?b HTTP/1.1\r\nHost: a:1\r\nContent-Length: 1234567890\r\n\r\n");
    http_head_init(&h, HTTP_REQUEST, 1000);
    assert_int_equal(http_head_feed(&h, b.data, b.len), HTTP_DONE);
    assert_int_equal(h.content_length, 1234567890);
    buf_cleanup(&b);
}

static void every_fault_s_answer_has_words(void **state)
{
    (void)state;
    for (int i = HTTP_FAULT_NONE + 1; i < HTTP_FAULTS; i++)
        assert_string_not_equal(http_reason(http_rules[i].status), "Unknown");
    assert_string_equal(http_reason(0), "Unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_is_written),
        cmocka_unit_test(a_request_is_written),
        cmocka_unit_test(every_fault_s_answer_has_words),
    };
    return cmocka_run_group_tests_name("http_message", tests, NULL, NULL);
}
