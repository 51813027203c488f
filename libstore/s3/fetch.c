#include "libstore/s3/fetch.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "libstore/retry.h"
#include "libstore/s3/http.h"
#include "libstore/s3/keys.h"

enum { MAX_CONNECTIONS = 2, CONNECT_TIMEOUT_MS = 2000 };

/* One try under way. */
struct exchange {
    struct http_call call;
    const char *body;
    size_t sent, size;
    struct fetch_answer *answer;
    enum http_failure failure;
    char detail[128];
    bool done;
};

void fetch_answer_cleanup(struct fetch_answer *a)
{
    secret_buf_cleanup(&a->body);
}

static ssize_t on_read(struct http_call *c, void *buf, size_t cap)
{
    struct exchange *x = c->user;
    size_t n = x->size - x->sent < cap ? x->size - x->sent : cap;
    memcpy(buf, x->body + x->sent, n);
    x->sent += n;
    return (ssize_t)n;
}

static bool on_rewind(struct http_call *c)
{
    struct exchange *x = c->user;
    x->sent = 0;
    return true;
}

static bool on_data(struct http_call *c, const void *bytes, size_t n)
{
    struct exchange *x = c->user;
    buf_add(&x->answer->body, bytes, n);
    return true;
}

static void on_done(struct http_call *c, enum http_failure failure, const char *detail)
{
    struct exchange *x = c->user;
    x->failure = failure;
    snprintf(x->detail, sizeof(x->detail), "%s", detail);
    x->done = true;
}

/* Runs the loop until *done (never, when done is NULL), or to the time. False: stopped. */
static bool run_loop(struct fetcher *f, const bool *done, uint64_t until_ms)
{
    while (!done || !*done) {
        uint64_t now = clock_mono_ms();
        if (atomic_load(f->stop))
            return false;
        if (now >= until_ms)
            return true;
        loop_run_once(f->loop, (int)(until_ms - now), NULL);
    }
    return true;
}

static int canceled(struct store_err *err)
{
    return store_err_set(err, STORE_CANCELED, "credentials: canceled");
}

/* What became of one try. BUSY: another one may do better. */
static int outcome(const struct fetch_request *r, const struct exchange *x, struct store_err *err)
{
    if (!x->done)
        return store_err_set(err, STORE_BUSY, "credentials: %s at %.100s: no answer in time",
                             r->peer, r->base_url);
    if (x->failure == HTTP_NO_MEMORY)
        return store_err_set(err, STORE_NO_MEMORY, "credentials: %s at %.100s: out of memory",
                             r->peer, r->base_url);
    if (x->failure == HTTP_BAD_LOCAL)
        return store_err_set(err, STORE_FAILED, "credentials: %s at %.100s: %s", r->peer,
                             r->base_url, x->detail);
    if (x->failure != HTTP_ANSWERED)
        return store_err_set(err, STORE_BUSY, "credentials: %s at %.100s: %s", r->peer, r->base_url,
                             x->detail);
    if (buf_failed(&x->answer->body))
        return store_err_set(err, STORE_FAILED, "credentials: %s at %.100s: the answer is too long",
                             r->peer, r->base_url);
    return 0;
}

static int try_once(struct fetcher *f, const struct fetch_request *r, struct fetch_answer *a,
                    struct store_err *err)
{
    uint32_t timeout_ms = f->request_ms ? f->request_ms : r->timeout_ms;
    uint64_t until_ms = clock_mono_ms() + timeout_ms;
    const struct http_client_conf conf = {.base_url = r->base_url,
                                          .ca_file = f->ca_file,
                                          .max_connections = MAX_CONNECTIONS,
                                          .connect_timeout_ms = CONNECT_TIMEOUT_MS};
    struct exchange x = {.body = r->body, .size = r->body ? strlen(r->body) : 0, .answer = a};
    x.call = (struct http_call){.method = r->method,
                                .target = r->target,
                                .headers = r->headers,
                                .body_size = x.size,
                                .stall_timeout_ms = timeout_ms,
                                .read = x.size ? on_read : NULL,
                                .rewind = on_rewind,
                                .data = on_data,
                                .done = on_done,
                                .user = &x};
    if (until_ms > f->deadline_ms)
        until_ms = f->deadline_ms;
    buf_reset(&a->body);
    struct http_client *h = http_client_get(f->loop, r->base_url, &conf, err);
    if (!h || http_call_start(h, &x.call, err) < 0)
        return -1;
    bool stopped = !run_loop(f, &x.done, until_ms);
    http_call_cancel(&x.call);
    a->status = x.call.answer.status;
    a->date_s = x.call.answer.date_s;
    http_call_cleanup(&x.call);
    return stopped ? canceled(err) : outcome(r, &x, err);
}

/* Only spreads callers that failed together: 0 is as good when the kernel has none yet. */
static uint32_t any_random(void)
{
    uint32_t r = 0;
    ssize_t n = getrandom(&r, sizeof(r), GRND_NONBLOCK);
    (void)n;
    return r;
}

static bool may_change(const struct fetch_request *r, const struct fetch_answer *a)
{
    return retry_judge(ANSWER_WHOLE, a->status, "").retry ||
           (r->is_transient && r->is_transient(a));
}

int fetch(struct fetcher *f, const struct fetch_request *r, struct fetch_answer *a,
          struct store_err *err)
{
    *a = (struct fetch_answer){.body = BUF_INIT(FETCH_MAX_ANSWER_BYTES)};
    /* All of it at once, so that growing leaves no copy of a secret behind. */
    if (!buf_reserve(&a->body, FETCH_MAX_ANSWER_BYTES))
        return store_err_set(err, STORE_NO_MEMORY, "credentials: out of memory");
    for (unsigned attempt = 1;; attempt++) {
        struct store_err trouble = {.code = STORE_OK};
        int rc = try_once(f, r, a, &trouble);
        bool again = rc == 0 ? may_change(r, a) : trouble.code == STORE_BUSY;
        if (!again || attempt == r->tries || clock_mono_ms() >= f->deadline_ms) {
            if (rc < 0) {
                fetch_answer_cleanup(a);
                *err = trouble;
            }
            return rc;
        }
        uint64_t until_ms = clock_mono_ms() + retry_delay_ms(attempt, 0, any_random());
        if (!run_loop(f, NULL, until_ms < f->deadline_ms ? until_ms : f->deadline_ms)) {
            fetch_answer_cleanup(a);
            return canceled(err);
        }
    }
}
