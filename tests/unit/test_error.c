#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include <store/error.h>

#include "base/xalloc.h"

static void an_error_holds_what_was_said(void **state)
{
    (void)state;
    struct store_err err = {.sys_errno = 5, .http_status = 500, .retry_after_ms = 7, .msg = "old"};
    assert_int_equal(store_err_set(&err, STORE_BUSY, "put %s: try %d", "a/b", 3), -1);
    assert_int_equal(err.code, STORE_BUSY);
    assert_string_equal(err.msg, "put a/b: try 3");
    assert_int_equal(err.sys_errno, 0);
    assert_int_equal(err.http_status, 0);
    assert_int_equal(err.retry_after_ms, 0);
}

static void nobody_has_to_listen(void **state)
{
    (void)state;
    assert_int_equal(store_err_set(NULL, STORE_FAILED, "x"), -1);
    assert_int_equal(store_err_errno(NULL, EIO, "x"), -1);
}

/* "fetch: " in front of the message that is there already. */
static void a_message_may_hold_its_former_self(void **state)
{
    (void)state;
    struct store_err err = {.msg = "inner"};
    store_err_set(&err, STORE_FAILED, "outer: %s", err.msg);
    assert_string_equal(err.msg, "outer: inner");
    store_err_errno(&err, EIO, "open: %s", err.msg);
    assert_string_equal(err.msg, "open: outer: inner: Input/output error");
}

static void a_long_message_is_cut(void **state)
{
    (void)state;
    struct store_err err;
    char text[1000];
    memset(text, 'm', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    store_err_set(&err, STORE_FAILED, "%s", text);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
    for (size_t n = sizeof(err.msg) - 40; n < sizeof(err.msg) + 40; n++) {
        store_err_errno(&err, ENOSPC, "%.*s", (int)n, text);
        assert_true(strlen(err.msg) < sizeof(err.msg));
        assert_int_equal(err.code, STORE_NO_SPACE);
    }
}

/* Keys and answers of a store go into messages; a log line or an answer to a client must not be
 * broken up by them. */
static void a_message_is_one_line(void **state)
{
    (void)state;
    struct store_err err;
    store_err_set(&err, STORE_FAILED, "key '%s'", "a\nb\rc\x7f");
    assert_string_equal(err.msg, "key 'a?b?c?'");
    store_err_errno(&err, ENOENT, "open '%s'", "x\ny");
    assert_string_equal(err.msg, "open 'x?y': No such file or directory");
    store_err_set(&err, STORE_FAILED, "key '%s'", "\xc3\xa9");
    assert_string_equal(err.msg, "key '\xc3\xa9'");
}

static void system_errors_become_codes(void **state)
{
    (void)state;
    static const struct {
        int sys_errno;
        enum store_code code;
    } cases[] = {
        {ENOSPC, STORE_NO_SPACE},  {EDQUOT, STORE_NO_SPACE},   {EACCES, STORE_DENIED},
        {EPERM, STORE_DENIED},     {EROFS, STORE_DENIED},      {ENOENT, STORE_NOT_FOUND},
        {ENOMEM, STORE_NO_MEMORY}, {EMFILE, STORE_BUSY},       {ENFILE, STORE_BUSY},
        {EAGAIN, STORE_BUSY},      {ETIMEDOUT, STORE_TIMEOUT}, {EIO, STORE_FAILED},
        {ENOTDIR, STORE_FAILED},   {0, STORE_FAILED},          {-1, STORE_FAILED},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct store_err err;
        assert_int_equal(store_err_errno(&err, cases[i].sys_errno, "op"), -1);
        assert_int_equal(err.code, cases[i].code);
        assert_int_equal(err.sys_errno, cases[i].sys_errno);
        assert_memory_equal(err.msg, "op: ", 4);
    }
}

static void each_code_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = STORE_OK; a <= STORE_FAILED; a++) {
        assert_string_not_equal(store_code_name((enum store_code)a), "unknown");
        for (int b = STORE_OK; b < a; b++)
            assert_string_not_equal(store_code_name((enum store_code)a),
                                    store_code_name((enum store_code)b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_holds_what_was_said),
        cmocka_unit_test(nobody_has_to_listen),
        cmocka_unit_test(a_message_may_hold_its_former_self),
        cmocka_unit_test(a_long_message_is_cut),
        cmocka_unit_test(a_message_is_one_line),
        cmocka_unit_test(system_errors_become_codes),
        cmocka_unit_test(each_code_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
