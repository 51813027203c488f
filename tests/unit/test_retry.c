#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "libstore/retry.h"

struct expected {
    int status;
    const char *code;
    enum store_code verdict;
    bool retry;
};

static void check(const struct expected *e)
{
    struct verdict v = retry_judge(ANSWER_WHOLE, e->status, e->code);
    if (v.code != e->verdict || v.retry != e->retry)
        fail_msg("%d %s: %s, retry %d", e->status, e->code, store_code_name(v.code), v.retry);
}

static void statuses_are_judged(void **state)
{
    (void)state;
    static const struct expected cases[] = {
        {200, "", STORE_OK, false},           {204, "", STORE_OK, false},
        {206, "", STORE_OK, false},           {0, "", STORE_FAILED, false},
        {100, "", STORE_FAILED, false},       {301, "", STORE_FAILED, false},
        {304, "", STORE_NOT_MODIFIED, false}, {307, "", STORE_FAILED, false},
        {400, "", STORE_FAILED, false},       {401, "", STORE_DENIED, false},
        {403, "", STORE_DENIED, false},       {404, "", STORE_NOT_FOUND, false},
        {408, "", STORE_BUSY, true},          {409, "", STORE_FAILED, false},
        {412, "", STORE_PRECONDITION, false}, {416, "", STORE_BAD_RANGE, false},
        {429, "", STORE_BUSY, true},          {500, "", STORE_BUSY, true},
        {501, "", STORE_FAILED, false},       {502, "", STORE_BUSY, true},
        {503, "", STORE_BUSY, true},          {504, "", STORE_BUSY, true},
        {507, "", STORE_NO_SPACE, false},     {999, "", STORE_FAILED, false},
    };
    for (size_t i = 0; i < LEN(cases); i++)
        check(&cases[i]);
}

static void a_code_says_more_than_its_status(void **state)
{
    (void)state;
    static const struct expected cases[] = {
        {200, "SlowDown", STORE_BUSY, true},
        {200, "InternalError", STORE_BUSY, true},
        {200, "Whatever", STORE_FAILED, false}, /* an error inside a success is none */
        {400, "RequestTimeout", STORE_BUSY, true},
        {400, "Whatever", STORE_FAILED, false},
        {400, "BadDigest", STORE_CORRUPT, true},
        {400, "XAmzContentSHA256Mismatch", STORE_CORRUPT, true},
        {400, "KeyTooLongError", STORE_INVALID, false},
        {400, "EntityTooLarge", STORE_INVALID, false},
        {403, "AccessDenied", STORE_DENIED, false},
        {403, "SignatureDoesNotMatch", STORE_DENIED, false},
        {403, "InvalidAccessKeyId", STORE_DENIED, false},
        {403, "QuotaExceeded", STORE_NO_SPACE, false},
        {404, "NoSuchKey", STORE_NOT_FOUND, false},
        {404, "NoSuchVersion", STORE_NOT_FOUND, false},
        {404, "NoSuchUpload", STORE_NOT_FOUND, false},
        {200, "NoSuchKey", STORE_NOT_FOUND, false}, /* of one key of a batch */
        {200, "PreconditionFailed", STORE_PRECONDITION, false},
        {404, "NoSuchBucket", STORE_FAILED, false}, /* not: the object is gone */
        {409, "OperationAborted", STORE_BUSY, true},
        {409, "ConditionalRequestConflict", STORE_BUSY, true},
        {416, "InvalidRange", STORE_BAD_RANGE, false},
        {503, "Whatever", STORE_BUSY, true},
        {404, "slowdown", STORE_NOT_FOUND, false}, /* codes know no other case */
    };
    for (size_t i = 0; i < LEN(cases); i++)
        check(&cases[i]);
}

static void what_has_a_remedy_says_so(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *code;
        enum remedy remedy;
    } cases[] = {
        {403, "RequestTimeTooSkewed", REMEDY_CLOCK},
        {400, "AuthorizationHeaderMalformed", REMEDY_REGION},
        {301, "PermanentRedirect", REMEDY_REGION},
        {307, "TemporaryRedirect", REMEDY_REGION},
        {301, "", REMEDY_REGION},
        {307, "", REMEDY_REGION},
        {302, "", REMEDY_REGION},
        {308, "", REMEDY_REGION},
        {400, "ExpiredToken", REMEDY_CREDENTIALS},
        {400, "TokenRefreshRequired", REMEDY_CREDENTIALS},
        {403, "AccessDenied", REMEDY_NONE},
        {400, "", REMEDY_NONE},
        {200, "", REMEDY_NONE},
        {503, "SlowDown", REMEDY_NONE},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct verdict v = retry_judge(ANSWER_WHOLE, cases[i].status, cases[i].code);
        if (v.remedy != cases[i].remedy || (v.remedy && v.retry))
            fail_msg("%d %s: remedy %d", cases[i].status, cases[i].code, v.remedy);
    }
    assert_int_equal(retry_judge(ANSWER_BROKEN, 403, "RequestTimeTooSkewed").remedy, REMEDY_NONE);
}

static void only_a_request_to_slow_down_is_throttling(void **state)
{
    (void)state;
    static const char *const codes[] = {
        "SlowDown",        "SlowDownRead",        "SlowDownWrite",
        "Throttling",      "ThrottlingException", "RequestLimitExceeded",
        "TooManyRequests", "ServiceUnavailable"};
    for (size_t i = 0; i < LEN(codes); i++) {
        /* by its name, whatever the status says */
        struct verdict v = retry_judge(ANSWER_WHOLE, 200, codes[i]);
        assert_true(v.throttled && v.retry && v.failure && v.code == STORE_BUSY);
        v = retry_judge(ANSWER_WHOLE, 400, codes[i]);
        assert_true(v.throttled && v.retry && v.failure && v.code == STORE_BUSY);
    }
    assert_true(retry_judge(ANSWER_WHOLE, 503, "").throttled);
    assert_true(retry_judge(ANSWER_WHOLE, 429, "").throttled);
    assert_false(retry_judge(ANSWER_WHOLE, 500, "InternalError").throttled);
    assert_false(retry_judge(ANSWER_WHOLE, 409, "ConditionalRequestConflict").throttled);
    assert_false(retry_judge(ANSWER_BROKEN, 0, "").throttled);
}

/* What the caller brought about says nothing of the backend's health. */
static void only_the_backend_s_faults_are_failures(void **state)
{
    (void)state;
    static const int fine[] = {200, 206, 304, 400, 401, 403, 404, 409, 412, 416};
    static const int bad[] = {408, 429, 500, 501, 502, 503, 504, 507};
    for (size_t i = 0; i < LEN(fine); i++)
        assert_false(retry_judge(ANSWER_WHOLE, fine[i], "").failure);
    for (size_t i = 0; i < LEN(bad); i++)
        assert_true(retry_judge(ANSWER_WHOLE, bad[i], "").failure);
    assert_true(retry_judge(ANSWER_BROKEN, 0, "").failure);
    assert_true(retry_judge(ANSWER_NOT_SENT, 0, "").failure);
    assert_true(retry_judge(ANSWER_WHOLE, 200, "SlowDown").failure);
    assert_false(retry_judge(ANSWER_LOCAL, 0, "").failure);
    assert_false(retry_judge(ANSWER_NO_MEMORY, 0, "").failure);
}

/* A certificate that is refused will be refused again, and the store is as good as gone. */
static void a_refused_certificate_is_not_tried_again(void **state)
{
    (void)state;
    struct verdict v = retry_judge(ANSWER_UNTRUSTED, 0, "");
    assert_int_equal(v.code, STORE_DENIED);
    assert_false(v.retry);
    assert_true(v.failure);
}

/* Without a whole answer its status proves nothing. */
static void a_broken_answer_is_never_a_success(void **state)
{
    (void)state;
    static const int statuses[] = {0, 200, 204, 403, 404, 500};
    for (size_t i = 0; i < LEN(statuses); i++) {
        struct verdict broken = retry_judge(ANSWER_BROKEN, statuses[i], "");
        struct verdict unsent = retry_judge(ANSWER_NOT_SENT, statuses[i], "NoSuchKey");
        struct verdict local = retry_judge(ANSWER_LOCAL, statuses[i], "");
        assert_true(broken.code == STORE_BUSY && broken.retry);
        assert_true(unsent.code == STORE_BUSY && unsent.retry);
        struct verdict late = retry_judge(ANSWER_LATE, statuses[i], "");
        assert_true(late.code == STORE_TIMEOUT && !late.retry && !late.failure);
        struct verdict starved = retry_judge(ANSWER_NO_MEMORY, statuses[i], "");
        assert_true(local.code == STORE_FAILED && !local.retry);
        assert_true(starved.code == STORE_NO_MEMORY && !starved.retry);
    }
}

static void waits_grow_up_to_a_bound(void **state)
{
    (void)state;
    static const uint32_t ceilings[] = {100, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000};
    for (unsigned attempt = 0; attempt < LEN(ceilings); attempt++) {
        assert_int_equal(retry_delay_ms(attempt, 0, 0), 1);
        assert_int_equal(retry_delay_ms(attempt, 0, UINT32_MAX), ceilings[attempt]);
        uint32_t middle = retry_delay_ms(attempt, 0, UINT32_MAX / 2);
        assert_in_range(middle, ceilings[attempt] / 2 - 1, ceilings[attempt] / 2 + 1);
    }
    assert_int_equal(retry_delay_ms(UINT32_MAX, 0, UINT32_MAX), 10000);
}

static void the_server_s_hint_is_kept(void **state)
{
    (void)state;
    assert_int_equal(retry_delay_ms(1, 5000, UINT32_MAX), 5000);
    assert_int_equal(retry_delay_ms(9, 5000, UINT32_MAX), 10000);
    assert_int_equal(retry_delay_ms(1, UINT32_MAX, 0), UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_are_judged),
        cmocka_unit_test(a_code_says_more_than_its_status),
        cmocka_unit_test(what_has_a_remedy_says_so),
        cmocka_unit_test(only_a_request_to_slow_down_is_throttling),
        cmocka_unit_test(only_the_backend_s_faults_are_failures),
        cmocka_unit_test(a_refused_certificate_is_not_tried_again),
        cmocka_unit_test(a_broken_answer_is_never_a_success),
        cmocka_unit_test(waits_grow_up_to_a_bound),
        cmocka_unit_test(the_server_s_hint_is_kept),
    };
    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
