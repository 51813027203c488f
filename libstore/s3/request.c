#include "libstore/s3/request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/s3/s3.h"

enum {
    TARGET_MAX = 64 * 1024,
    HEADERS_MAX = 32 * 1024,
    EXPECT_BYTES = 1024 * 1024,
    SKEW_S = 600, /* Amazon refuses at 900; a HEAD's 403 does not say why */
};

static void try_now(void *user);

/* ---- Drafts ---- */

static void draft_init(struct s3_draft *d)
{
    d->method = "GET";
    d->key = NULL;
    d->payload_hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    d->n_query = d->n_headers = d->used = 0;
    d->failed = false;
}

void s3_draft_query(struct s3_draft *d, const char *name, const char *value)
{
    if (d->n_query == S3_MAX_QUERY)
        d->failed = true;
    else
        d->query[d->n_query++] = (struct sigv4_pair){name, value};
}

void s3_draft_header(struct s3_draft *d, const char *name, const char *value)
{
    if (d->n_headers == S3_MAX_HEADERS)
        d->failed = true;
    else
        d->headers[d->n_headers++] = (struct sigv4_pair){name, value};
}

const char *s3_draft_text(struct s3_draft *d, const char *fmt, ...)
{
    va_list ap;
    size_t room = sizeof(d->text) - d->used;
    char *text = d->text + d->used;
    va_start(ap, fmt);
    int n = vsnprintf(text, room, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= room) {
        d->failed = true;
        return "";
    }
    d->used += (size_t)n + 1;
    return text;
}

static void write_headers(const struct s3_draft *d, struct buf *out)
{
    for (size_t i = 0; i < d->n_headers; i++) {
        if (strcmp(d->headers[i].name, "Host") == 0)
            continue; /* curl knows it */
        buf_adds(out, d->headers[i].name);
        buf_adds(out, ": ");
        buf_adds(out, d->headers[i].value);
        buf_addc(out, '\n');
    }
}

static void write_path(const struct s3_request *r, const struct s3_draft *d, struct buf *out)
{
    const char *prefix = r->s3->prefix;
    buf_adds(out, r->here->region->place.path_prefix);
    buf_addc(out, '/');
    if (!d->key)
        return;
    percent_encode(out, prefix, strlen(prefix), true);
    percent_encode(out, d->key, strlen(d->key), true);
}

static int sign(struct s3_request *r, struct s3_draft *d, struct buf *query, struct store_err *err)
{
    struct sigv4_request s = {
        .method = d->method,
        .path = r->target.data,
        .query = d->query,
        .n_query = d->n_query,
        .headers = d->headers,
        .n_headers = d->n_headers,
        .payload_hash = d->payload_hash,
        .add_content_sha256 = true,
        .time_s = clock_real_s() + atomic_load(&r->s3->clock_offset_s),
    };
    struct sigv4_signer *signer = r->here->signer;
    if (!r->conf.expires_in_s)
        return sigv4_sign(signer, &s, &r->headers, query, NULL, NULL, err);
    s.time_s = r->conf.signed_at_s;
    s.payload_hash = SIGV4_UNSIGNED_PAYLOAD;
    return sigv4_presign(signer, &s, r->conf.expires_in_s, query, NULL, NULL, err);
}

static int no_memory(const struct s3_request *r, struct store_err *err)
{
    return store_err_set(err, STORE_NO_MEMORY, "%s %.150s: out of memory", r->conf.what,
                         r->conf.name);
}

/* Fills target and headers from the draft. */
static int write_request(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct buf query = BUF_INIT(TARGET_MAX);
    s3_draft_header(d, "Host", r->here->region->place.host);
    if (d->failed)
        return store_err_set(err, STORE_INVALID, "%s %.150s: the request gets too long",
                             r->conf.what, r->conf.name);
    buf_reset(&r->headers);
    write_headers(d, &r->headers);
    buf_reset(&r->target);
    write_path(r, d, &r->target);
    int rc = buf_failed(&r->target) ? no_memory(r, err) : sign(r, d, &query, err);
    if (rc == 0 && query.len) {
        buf_addc(&r->target, '?');
        buf_add(&r->target, query.data, query.len);
    }
    if (rc == 0 && (buf_failed(&r->target) || buf_failed(&r->headers) || buf_failed(&query)))
        rc = no_memory(r, err);
    buf_cleanup(&query);
    return rc;
}

/* ---- The end of a request ---- */

static void stop_calls(struct s3_request *r)
{
    http_call_cancel(&r->calls[0]);
    http_call_cancel(&r->calls[1]);
}

static void leave_gate(struct s3_request *r, enum gate_outcome how)
{
    if (r->at_gate)
        gate_report(r->s3->gate, r->conf.gate_keys, clock_mono_ms(), how);
    r->at_gate = false;
}

static void fail(struct s3_request *r, const struct store_err *err)
{
    r->conf.done(r, err, NULL);
}

static void set_error(const struct s3_request *r, const struct verdict *v,
                      const struct xml_doc *doc, const char *detail, struct store_err *err)
{
    const struct http_answer *a = r->answer;
    const char *what = r->conf.what, *name = r->conf.name;
    if (doc && doc->kind == XML_ERROR)
        store_err_set(err, v->code, "%s %.120s: %d %.40s %.60s", what, name, a->status, doc->code,
                      doc->message);
    else if (a->status)
        store_err_set(err, v->code, "%s %.120s: status %d", what, name, a->status);
    else
        store_err_set(err, v->code, "%s %.120s: %.100s", what, name, detail);
    err->http_status = a->status;
    err->retry_after_ms = a->retry_after_ms;
}

/* ---- Trying again ---- */

uint32_t s3_request_delay_ms(struct s3_request *r, unsigned attempt)
{
    return retry_delay_ms(attempt, r->answer->retry_after_ms, s3_random(r->here));
}

static bool can_repeat(const struct s3_request *r)
{
    return !r->once;
}

/* A long get's own deadline has room for a slow reader; a silent store has no claim to that. */
static bool has_time(const struct s3_request *r, uint32_t delay_ms)
{
    uint64_t patience_ms = r->progress_ms + r->s3->op_timeout_ms;
    uint64_t until_ms = patience_ms < r->conf.deadline_ms ? patience_ms : r->conf.deadline_ms;
    if (r->conf.gate_keys) /* held back for the sake of others, not forsaken by the store */
        until_ms = r->conf.deadline_ms;
    return clock_mono_ms() + delay_ms < until_ms;
}

static bool set_timer(struct s3_request *r, uint32_t delay_ms)
{
    return loop_timer_set(r->here->loop, &r->timer, delay_ms) == 0;
}

static void retry_or_fail(struct s3_request *r, const struct verdict *v,
                          const struct store_err *err)
{
    uint32_t delay_ms = s3_request_delay_ms(r, r->tries);
    /* What the gate slows down needs no budget: it does not come sooner than the gate lets it. */
    bool paid = v->throttled && r->conf.gate_keys;
    if (!v->retry || !can_repeat(r) || !has_time(r, delay_ms) ||
        (!paid && (r->tries >= S3_MAX_TRIES || !health_may_retry(r->s3->health))) ||
        !set_timer(r, delay_ms)) {
        fail(r, err);
        return;
    }
    if (paid)
        health_count(r->s3->health, HEALTH_RETRY);
    if (r->conf.again)
        r->conf.again(r, v);
}

/* ---- Remedies: each once a request ---- */

static bool learn_clock(struct s3_request *r)
{
    if (!r->answer->date_s)
        return false;
    atomic_store(&r->s3->clock_offset_s, r->answer->date_s - clock_real_s());
    return true;
}

static bool learn_region(struct s3_request *r, const struct xml_doc *doc)
{
    const char *name = r->answer->region;
    if (!*name && doc && doc->kind == XML_ERROR)
        name = doc->region;
    return *name && s3_learn_region(r->s3, r->region, name);
}

static bool apply(struct s3_request *r, enum remedy remedy, const struct xml_doc *doc)
{
    if (remedy == REMEDY_NONE || (r->remedies & 1u << remedy) || !can_repeat(r))
        return false;
    r->remedies |= 1u << remedy;
    switch (remedy) {
    case REMEDY_CLOCK: return learn_clock(r);
    case REMEDY_REGION: return learn_region(r, doc);
    case REMEDY_CREDENTIALS: return credentials_refused(r->s3->credentials, r->serial);
    case REMEDY_NONE: break;
    }
    return false;
}

/* ---- Reading the answer ---- */

static bool is_success(const struct http_answer *a)
{
    return a->status >= 200 && a->status < 300;
}

/* Whether this answer's body is XML for us, rather than an object's data. */
static bool wants_xml(const struct s3_request *r)
{
    return !is_success(r->answer) || r->conf.expects != XML_NONE;
}

static void take_xml(struct s3_request *r, const void *bytes, size_t n)
{
    if (!r->xml && !(r->xml = xml_parser_new()))
        no_memory(r, &r->xml_err);
    r->xml_bytes += n;
    if (!is_success(r->answer) && r->xml_bytes > S3_MAX_ERROR_BODY)
        return; /* an error page, not an error document */
    if (r->xml_err.code == STORE_OK)
        xml_parser_feed(r->xml, bytes, n, &r->xml_err);
}

/* The parsed body; NULL when there is none or it is not one of S3's. */
static const struct xml_doc *read_doc(struct s3_request *r)
{
    const struct xml_doc *doc = NULL;
    if (!r->xml || r->xml_err.code != STORE_OK || xml_parser_finish(r->xml, &doc, &r->xml_err) != 0)
        return NULL;
    return doc;
}

/* Whether a success's body is not what was asked for: cut short, or no S3 answer at all. */
static bool garbled(const struct s3_request *r, const struct xml_doc *doc)
{
    if (r->conf.expects == XML_NONE || !is_success(r->answer) || (doc && doc->kind == XML_ERROR))
        return false;
    return !doc || doc->kind != r->conf.expects;
}

static struct s3_request *request_of(struct http_call *c)
{
    return c->user;
}

/* The first call of the two that is answered is the one that counts. */
static void choose(struct s3_request *r, struct http_call *c)
{
    bool second = c == &r->calls[1];
    if (r->answer == &c->answer && !r->calls[!second].client)
        return;
    loop_timer_clear(r->here->loop, &r->hedge);
    http_call_cancel(&r->calls[!second]);
    r->answer = &c->answer;
    if (second)
        health_count(r->s3->health, HEALTH_HEDGE_WON);
}

static void on_head(struct http_call *c)
{
    struct s3_request *r = request_of(c);
    choose(r, c);
    loop_timer_clear(r->here->loop, &r->hedge);
    if (!is_success(&c->answer))
        return;
    if (r->conf.hedged)
        hedge_saw(&r->here->hedge, (uint32_t)(loop_now_ms(r->here->loop) - r->sent_ms));
    if (r->conf.head)
        r->conf.head(r);
}

static bool on_data(struct http_call *c, const void *bytes, size_t n)
{
    struct s3_request *r = request_of(c);
    r->progress_ms = loop_now_ms(r->here->loop);
    if (wants_xml(r)) {
        take_xml(r, bytes, n);
        return true;
    }
    return r->conf.data ? r->conf.data(r, bytes, n) : true;
}

static ssize_t on_read(struct http_call *c, void *buf, size_t cap)
{
    struct s3_request *r = request_of(c);
    if (!r->conf.body) {
        ssize_t n = r->conf.read(r, buf, cap);
        r->once = r->once || n > 0;
        r->body_at += n > 0 ? (uint64_t)n : 0;
        return n;
    }
    uint64_t left = r->conf.body_size - r->body_at;
    size_t n = cap < left ? cap : (size_t)left;
    memcpy(buf, r->conf.body + r->body_at, n);
    r->body_at += n;
    return (ssize_t)n;
}

static bool on_rewind(struct http_call *c)
{
    struct s3_request *r = request_of(c);
    r->body_at = 0;
    return can_repeat(r);
}

/* ---- Judging it ---- */

static enum answer_kind kind_of(enum http_failure failure)
{
    switch (failure) {
    case HTTP_ANSWERED: return ANSWER_WHOLE;
    case HTTP_NOT_SENT: return ANSWER_NOT_SENT;
    case HTTP_UNTRUSTED: return ANSWER_UNTRUSTED;
    case HTTP_LATE: return ANSWER_LATE;
    case HTTP_BAD_LOCAL: return ANSWER_LOCAL;
    case HTTP_NO_MEMORY: return ANSWER_NO_MEMORY;
    case HTTP_BROKEN: break;
    }
    return ANSWER_BROKEN;
}

static int64_t skew_s(const struct s3_request *r)
{
    int64_t d = r->answer->date_s - clock_real_s() - atomic_load(&r->s3->clock_offset_s);
    return d < 0 ? -d : d;
}

static struct verdict judge(const struct s3_request *r, enum answer_kind kind,
                            const struct xml_doc *doc)
{
    const struct http_answer *a = r->answer;
    const char *code = doc && doc->kind == XML_ERROR ? doc->code : "";
    struct verdict v = retry_judge(kind, a->status, code);
    /* The answer to a HEAD has no body to say why. */
    if (kind == ANSWER_WHOLE && !*code && a->status == 403 && a->date_s && skew_s(r) > SKEW_S)
        v.remedy = REMEDY_CLOCK;
    if (kind == ANSWER_WHOLE && a->status == 400 && *a->region && v.remedy == REMEDY_NONE)
        v.remedy = REMEDY_REGION;
    return v;
}

static bool key_throttled(const struct xml_doc *doc)
{
    for (size_t i = 0; doc && doc->kind == XML_DELETE_RESULT && i < doc->n_key_errors; i++)
        if (retry_judge(ANSWER_WHOLE, 400, doc->key_errors[i].code).throttled)
            return true;
    return false;
}

static void count(struct s3_request *r, const struct verdict *v, enum answer_kind kind,
                  const struct xml_doc *doc)
{
    bool throttled = v->throttled || key_throttled(doc);
    if (kind != ANSWER_LATE && kind != ANSWER_LOCAL && kind != ANSWER_NO_MEMORY)
        health_tried(r->s3->health, loop_now_ms(r->here->loop), v->failure);
    if (throttled)
        health_count(r->s3->health, HEALTH_THROTTLED);
    leave_gate(r, throttled                                      ? GATE_THROTTLED
                  : kind == ANSWER_WHOLE || kind == ANSWER_LOCAL ? GATE_DONE
                                                                 : GATE_LOST);
}

static void on_done(struct http_call *c, enum http_failure failure, const char *detail)
{
    struct s3_request *r = request_of(c);
    bool second = c == &r->calls[1];
    if (failure != HTTP_ANSWERED && r->calls[!second].client)
        return; /* the other one may still be answered */
    choose(r, c);
    loop_timer_clear(r->here->loop, &r->hedge);
    const struct xml_doc *doc = failure == HTTP_ANSWERED ? read_doc(r) : NULL;
    enum answer_kind kind = kind_of(failure);
    if (kind == ANSWER_WHOLE && garbled(r, doc)) {
        kind = ANSWER_BROKEN;
        detail = r->xml_err.code ? r->xml_err.msg : "not an S3 answer";
    }
    struct verdict v = judge(r, kind, doc);
    struct store_err err = {0};
    count(r, &v, kind, doc);
    if (v.code == STORE_OK) {
        r->conf.done(r, &err, doc);
        return;
    }
    if (kind == ANSWER_BROKEN && is_success(r->answer))
        r->answer->status = 0; /* the failure is the transport's, whatever the head said */
    set_error(r, &v, doc, detail, &err);
    if (apply(r, v.remedy, doc) && set_timer(r, 0))
        return;
    retry_or_fail(r, &v, &err);
}

/* ---- A try ---- */

static struct http_client *pool(const struct s3_request *r)
{
    return r->conf.bulk ? r->here->bulk : r->here->interactive;
}

static void set_call(struct s3_request *r, struct http_call *c, const struct s3_draft *d)
{
    c->base_url = r->here->region->place.base_url;
    c->method = d->method;
    c->target = buf_str(&r->target);
    c->headers = buf_str(&r->headers);
    c->body_size = r->conf.body_size;
    /* A body that cannot be sent twice waits for Amazon's word: it may send us elsewhere. Other
     * stores answer late, or not at all, to the question. */
    c->expect_continue = r->s3->amazon && !r->conf.body && r->conf.body_size >= EXPECT_BYTES;
    c->stall_timeout_ms = r->conf.stall_timeout_ms;
    c->deadline_ms = r->conf.deadline_ms;
}

/* The first answer is late: asks once more. */
static void hedge_now(void *user)
{
    struct s3_request *r = user;
    const struct http_call *first = &r->calls[0];
    struct http_call *c = &r->calls[1];
    if (!first->transfer || first->head_told || !health_may_hedge(r->s3->health))
        return;
    c->base_url = first->base_url;
    c->method = first->method;
    c->target = first->target;
    c->headers = first->headers;
    c->body_size = 0;
    c->stall_timeout_ms = first->stall_timeout_ms;
    c->deadline_ms = first->deadline_ms;
    http_call_start(pool(r), c, NULL); /* or not: the first one goes on */
}

static int send_now(struct s3_request *r, struct store_err *err)
{
    struct s3_draft d;
    draft_init(&d);
    r->region = r->here->region;
    if (r->conf.fill(r, &d, err) != 0 || write_request(r, &d, err) != 0)
        return -1;
    set_call(r, &r->calls[0], &d);
    if (http_call_start(pool(r), &r->calls[0], err) != 0)
        return -1;
    r->sent_ms = loop_now_ms(r->here->loop);
    uint32_t after_ms = r->conf.hedged && !r->s3->no_hedging ? hedge_after_ms(&r->here->hedge) : 0;
    if (after_ms)
        loop_timer_set(r->here->loop, &r->hedge, after_ms); /* or no hedge */
    return 0;
}

static int make_signer(struct s3_request *r, const struct credentials_view *v,
                       struct store_err *err)
{
    struct s3_loop *here = r->here;
    struct s3 *s3 = r->s3;
    struct sigv4_signer *signer;
    if (*v->region && !s3->region_told)
        s3_learn_region(s3, NULL, v->region);
    const struct s3_region *region = atomic_load(&s3->region);
    if (sigv4_signer_new(v->access_key, v->secret_key, v->session_token, region->name, "s3",
                         &signer, err) != 0)
        return -1;
    sigv4_signer_free(here->signer);
    here->signer = signer;
    here->serial = v->serial;
    here->region = region;
    return 0;
}

struct taking {
    struct s3_request *r;
    struct store_err err;
};

static void take_credentials(void *user, const struct credentials_view *v)
{
    struct taking *t = user;
    make_signer(t->r, v, &t->err);
}

/* Whether there is a signer now; otherwise the request waits or has failed. */
static bool has_signer(struct s3_request *r)
{
    struct taking t = {.r = r};
    struct store_err err = {0};
    bool moved = r->here->region != atomic_load(&r->s3->region);
    uint64_t known = r->here->signer && !moved ? r->here->serial : 0;
    switch (credentials_ask(r->s3->credentials, known, take_credentials, &t, &r->waiter, &err)) {
    case CREDENTIALS_WAIT: return false;
    case CREDENTIALS_READY:
        r->serial = r->here->serial;
        if (t.err.code == STORE_OK)
            return true;
        err = t.err;
        break;
    case CREDENTIALS_FAILED: break;
    }
    fail(r, &err);
    return false;
}

static void forget_answer(struct s3_request *r)
{
    xml_parser_free(r->xml);
    r->xml = NULL;
    r->xml_bytes = 0;
    r->xml_err = (struct store_err){0};
    r->answer = &r->calls[0].answer;
    r->body_at = 0;
}

static void try_now(void *user)
{
    struct s3_request *r = user;
    struct store_err err = {0};
    if (!has_signer(r))
        return;
    uint32_t wait_ms =
        r->conf.gate_keys ? gate_ask(r->s3->gate, r->conf.gate_keys, clock_mono_ms()) : 0;
    if (wait_ms && set_timer(r, wait_ms))
        return;
    r->at_gate = r->conf.gate_keys && !wait_ms;
    r->tries++;
    forget_answer(r);
    if (wait_ms)
        no_memory(r, &err);
    if (wait_ms || send_now(r, &err) != 0) {
        leave_gate(r, GATE_DONE);
        fail(r, &err);
    }
}

/* ---- From outside ---- */

void s3_request_init(struct s3_request *r, struct s3 *s3, struct s3_loop *here,
                     const struct s3_request_conf *conf)
{
    r->conf = *conf;
    r->s3 = s3;
    r->here = here;
    r->answer = &r->calls[0].answer;
    buf_init(&r->target, TARGET_MAX);
    buf_init(&r->headers, HEADERS_MAX);
    r->kick = (struct loop_task){.fn = try_now, .user = r};
    r->timer = (struct loop_timer){.fn = try_now, .user = r};
    r->hedge = (struct loop_timer){.fn = hedge_now, .user = r};
    r->waiter.loop = here->loop;
    r->waiter.task = (struct loop_task){.fn = try_now, .user = r};
    for (size_t i = 0; i < 2; i++)
        r->calls[i] = (struct http_call){
            .read = on_read,
            .rewind = on_rewind,
            .head = on_head,
            .data = on_data,
            .done = on_done,
            .user = r,
        };
}

void s3_request_start(struct s3_request *r, uint32_t delay_ms)
{
    r->tries = 0;
    r->remedies = 0;
    r->once = false;
    r->progress_ms = clock_mono_ms();
    /* Never at once: a request that fails on the spot would call `done` from inside its start. */
    if (!delay_ms || !set_timer(r, delay_ms))
        loop_defer(r->here->loop, &r->kick);
}

void s3_request_resume(struct s3_request *r)
{
    http_call_resume(r->answer == &r->calls[1].answer ? &r->calls[1] : &r->calls[0]);
}

bool s3_request_body_gone(struct s3_request *r)
{
    if (!r->here || !r->calls[0].transfer || r->body_at < r->conf.body_size)
        return false;
    return r->once = true;
}

void s3_request_cleanup(struct s3_request *r)
{
    if (!r->here)
        return;
    loop_defer_clear(r->here->loop, &r->kick);
    loop_timer_clear(r->here->loop, &r->timer);
    loop_timer_clear(r->here->loop, &r->hedge);
    credentials_unwait(r->s3->credentials, &r->waiter);
    stop_calls(r);
    leave_gate(r, GATE_LOST);
    http_call_cleanup(&r->calls[0]);
    http_call_cleanup(&r->calls[1]);
    xml_parser_free(r->xml);
    buf_cleanup(&r->target);
    buf_cleanup(&r->headers);
    *r = (struct s3_request){0};
}
