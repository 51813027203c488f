#include "libstore/retry.h"

#include <stddef.h>
#include <string.h>

enum { FIRST_DELAY_MS = 100, MAX_DELAY_MS = 10000 };

static const struct verdict success = {.code = STORE_OK};
static const struct verdict overload = {.code = STORE_BUSY, .retry = true, .failure = true};
static const struct verdict slow_down = {
    .code = STORE_BUSY, .retry = true, .throttled = true, .failure = true};

/* Codes that mean more than their status does, or that come in a 200. */
static const struct {
    const char *name;
    struct verdict verdict;
} codes[] = {
    {"SlowDown", {STORE_BUSY, true, true, true, REMEDY_NONE}},
    {"SlowDownRead", {STORE_BUSY, true, true, true, REMEDY_NONE}},
    {"SlowDownWrite", {STORE_BUSY, true, true, true, REMEDY_NONE}},
    {"Throttling", {STORE_BUSY, true, true, true, REMEDY_NONE}},
    {"ThrottlingException", {STORE_BUSY, true, true, true, REMEDY_NONE}},
    {"RequestLimitExceeded", {STORE_BUSY, true, true, true, REMEDY_NONE}},
    {"TooManyRequests", {STORE_BUSY, true, true, true, REMEDY_NONE}},
    {"ServiceUnavailable", {STORE_BUSY, true, true, true, REMEDY_NONE}},
    {"InternalError", {STORE_BUSY, true, false, true, REMEDY_NONE}},
    {"RequestTimeout", {STORE_BUSY, true, false, true, REMEDY_NONE}},
    {"OperationAborted", {STORE_BUSY, true, false, false, REMEDY_NONE}},
    {"ConditionalRequestConflict", {STORE_BUSY, true, false, false, REMEDY_NONE}},
    {"RequestTimeTooSkewed", {STORE_DENIED, false, false, false, REMEDY_CLOCK}},
    {"AuthorizationHeaderMalformed", {STORE_DENIED, false, false, false, REMEDY_REGION}},
    {"PermanentRedirect", {STORE_FAILED, false, false, false, REMEDY_REGION}},
    {"TemporaryRedirect", {STORE_FAILED, false, false, false, REMEDY_REGION}},
    {"ExpiredToken", {STORE_DENIED, false, false, false, REMEDY_CREDENTIALS}},
    {"TokenRefreshRequired", {STORE_DENIED, false, false, false, REMEDY_CREDENTIALS}},
    {"AccessDenied", {STORE_DENIED, false, false, false, REMEDY_NONE}},
    {"InvalidAccessKeyId", {STORE_DENIED, false, false, false, REMEDY_NONE}},
    {"SignatureDoesNotMatch", {STORE_DENIED, false, false, false, REMEDY_NONE}},
    {"NoSuchKey", {STORE_NOT_FOUND, false, false, false, REMEDY_NONE}},
    {"NoSuchVersion", {STORE_NOT_FOUND, false, false, false, REMEDY_NONE}},
    {"NoSuchUpload", {STORE_NOT_FOUND, false, false, false, REMEDY_NONE}},
    {"NoSuchBucket", {STORE_FAILED, false, false, false, REMEDY_NONE}},
    {"PreconditionFailed", {STORE_PRECONDITION, false, false, false, REMEDY_NONE}},
    {"InvalidRange", {STORE_BAD_RANGE, false, false, false, REMEDY_NONE}},
    {"EntityTooLarge", {STORE_INVALID, false, false, false, REMEDY_NONE}},
    {"KeyTooLongError", {STORE_INVALID, false, false, false, REMEDY_NONE}},
    {"QuotaExceeded", {STORE_NO_SPACE, false, false, false, REMEDY_NONE}},
    {"BadDigest", {STORE_CORRUPT, true, false, true, REMEDY_NONE}},
    {"XAmzContentSHA256Mismatch", {STORE_CORRUPT, true, false, true, REMEDY_NONE}},
};

static struct verdict judge_status(int status)
{
    if (status >= 200 && status < 300)
        return success;
    switch (status) {
    case 301:
    case 302:
    case 307:
    case 308: return (struct verdict){.code = STORE_FAILED, .remedy = REMEDY_REGION};
    case 304: return (struct verdict){.code = STORE_NOT_MODIFIED};
    case 401:
    case 403: return (struct verdict){.code = STORE_DENIED};
    case 404: return (struct verdict){.code = STORE_NOT_FOUND};
    case 408:
    case 500:
    case 502:
    case 504: return overload;
    case 412: return (struct verdict){.code = STORE_PRECONDITION};
    case 416: return (struct verdict){.code = STORE_BAD_RANGE};
    case 429:
    case 503: return slow_down;
    case 507: return (struct verdict){.code = STORE_NO_SPACE, .failure = true};
    default: return (struct verdict){.code = STORE_FAILED, .failure = status >= 500};
    }
}

struct verdict retry_judge(enum answer_kind kind, int status, const char *code)
{
    if (kind == ANSWER_LATE)
        return (struct verdict){.code = STORE_TIMEOUT};
    if (kind == ANSWER_LOCAL)
        return (struct verdict){.code = STORE_FAILED};
    if (kind == ANSWER_UNTRUSTED) /* it will be refused again; a person must look */
        return (struct verdict){.code = STORE_DENIED, .failure = true};
    if (kind == ANSWER_NO_MEMORY)
        return (struct verdict){.code = STORE_NO_MEMORY};
    if (kind != ANSWER_WHOLE)
        return overload;
    for (size_t i = 0; *code && i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcmp(code, codes[i].name) == 0)
            return codes[i].verdict;
    if (*code && status < 300) /* an error inside a success */
        return (struct verdict){.code = STORE_FAILED, .failure = true};
    return judge_status(status);
}

uint32_t retry_delay_ms(unsigned attempt, uint32_t hint_ms, uint32_t random)
{
    uint32_t ceiling = FIRST_DELAY_MS;
    while (attempt-- > 1 && ceiling < MAX_DELAY_MS)
        ceiling *= 2;
    if (ceiling > MAX_DELAY_MS)
        ceiling = MAX_DELAY_MS;
    uint32_t delay = (uint32_t)((uint64_t)random * ceiling >> 32) + 1;
    return delay > hint_ms ? delay : hint_ms;
}
