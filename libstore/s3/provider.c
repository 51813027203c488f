#include "libstore/s3/provider.h"

#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/retry.h"

int provider_take_keys(struct keys *out, const char *peer, const char *access_key,
                       const char *secret_key, const char *session_token, int64_t expires_s,
                       int64_t date_s, struct store_err *err)
{
    const char *problem = keys_problem(access_key, secret_key, session_token);
    if (problem)
        return store_err_set(err, STORE_FAILED, "credentials: %s: malformed answer: %s", peer,
                             problem);
    int64_t left_s = 0;
    if (expires_s) {
        left_s = expires_s - (date_s ? date_s : clock_real_s());
        if (left_s <= 0)
            return store_err_set(err, STORE_FAILED,
                                 "credentials: %s: the answer's credentials have expired", peer);
    }
    if (keys_set(out, access_key, secret_key, session_token, err) < 0)
        return -1;
    out->valid_ms = (uint64_t)left_s * 1000;
    return 0;
}

int provider_refused(const char *peer, const struct fetch_answer *a, const char *code,
                     const char *message, struct store_err *err)
{
    struct verdict v = retry_judge(ANSWER_WHOLE, a->status, code);
    bool is_refusal = !v.retry && a->status >= 400 && a->status < 500;
    char excerpt[120];
    text_excerpt(message, strlen(message), excerpt, sizeof(excerpt));
    store_err_set(err,
                  v.retry      ? STORE_BUSY
                  : is_refusal ? STORE_DENIED
                               : STORE_FAILED,
                  "credentials: %s answered %d%s%.60s%s%s", peer, a->status, *code ? " " : "", code,
                  *excerpt ? ": " : "", excerpt);
    err->http_status = a->status;
    return -1;
}
