#include "libstore/retry.h"

#include <stddef.h>
#include <string.h>

enum { FIRST_DELAY_MS = 100, MAX_DELAY_MS = 10000 };

/* Codes that mean more than their status does, or that come in a 200. */
static const struct {
    const char *name;
    struct verdict verdict;
} codes[] = {
    {"SlowDown", {STORE_BUSY, true, false}},
    {"ServiceUnavailable", {STORE_BUSY, true, false}},
    {"InternalError", {STORE_BUSY, true, false}},
    {"RequestTimeout", {STORE_BUSY, true, false}},
    {"OperationAborted", {STORE_BUSY, true, false}},
    {"ConditionalRequestConflict", {STORE_BUSY, true, false}},
    {"RequestTimeTooSkewed", {STORE_DENIED, true, true}},
    {"NoSuchKey", {STORE_NOT_FOUND, false, false}},
    {"NoSuchBucket", {STORE_FAILED, false, false}},
    {"PreconditionFailed", {STORE_PRECONDITION, false, false}},
    {"InvalidRange", {STORE_BAD_RANGE, false, false}},
    {"EntityTooLarge", {STORE_INVALID, false, false}},
    {"QuotaExceeded", {STORE_NO_SPACE, false, false}},
    {"BadDigest", {STORE_CORRUPT, true, false}},
    {"XAmzContentSHA256Mismatch", {STORE_CORRUPT, true, false}},
};

static struct verdict judge_status(int status)
{
    if (status >= 200 && status < 300)
        return (struct verdict){.code = STORE_OK};
    switch (status) {
    case 304: return (struct verdict){.code = STORE_NOT_MODIFIED};
    case 401:
    case 403: return (struct verdict){.code = STORE_DENIED};
    case 404: return (struct verdict){.code = STORE_NOT_FOUND};
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504: return (struct verdict){.code = STORE_BUSY, .retry = true};
    case 412: return (struct verdict){.code = STORE_PRECONDITION};
    case 416: return (struct verdict){.code = STORE_BAD_RANGE};
    case 507: return (struct verdict){.code = STORE_NO_SPACE};
    default: return (struct verdict){.code = STORE_FAILED};
    }
}

struct verdict retry_judge(enum answer_kind kind, int status, const char *code)
{
    if (kind == ANSWER_LOCAL)
        return (struct verdict){.code = STORE_FAILED};
    if (kind != ANSWER_WHOLE)
        return (struct verdict){.code = STORE_BUSY, .retry = true};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcmp(code, codes[i].name) == 0)
            return codes[i].verdict;
    if (*code && status < 300) /* an error inside a success */
        return (struct verdict){.code = STORE_FAILED};
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
