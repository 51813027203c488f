/* Answers: built here, then queued in MHD, or sent past it where it takes none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "service/httpd_internal.h"

enum { RAW_HEAD_MAX = 16 * 1024 };

static struct httpd *server_of(const struct http_req *r)
{
    return r->conn->h;
}

/* ---- Building ---- */

void answer_drop(struct http_req *r)
{
    if (r->answer.response)
        MHD_destroy_response(r->answer.response);
    buf_cleanup(&r->answer.out);
    r->answer = (struct answer){.response = NULL};
}

static bool is_bodyless(const struct http_req *r, int status)
{
    return status == MHD_HTTP_NO_CONTENT || status == MHD_HTTP_NOT_MODIFIED ||
           strcmp(r->method, MHD_HTTP_METHOD_HEAD) == 0;
}

static void add_fields(struct MHD_Response *response, const struct http_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *value = fields[i].value;
        if (value && !value[strcspn(value, "\r\n")])
            MHD_add_response_header(response, fields[i].name, value);
    }
}

static ssize_t read_stream(void *cls, uint64_t pos, char *to, size_t max);

static struct MHD_Response *make_response(struct http_req *r)
{
    struct answer *a = &r->answer;
    struct MHD_Response *response;
    if (a->bodyless) /* the length is told, and nothing read */
        response = MHD_create_response_from_callback(a->length, 1, read_stream, r, NULL);
    else if (a->streamed && !a->collected)
        response =
            MHD_create_response_from_callback(a->length, STREAM_BLOCK_BYTES, read_stream, r, NULL);
    else
        response = MHD_create_response_from_buffer_with_free_callback_cls((size_t)a->length,
                                                                          a->body, free, a->body);
    if (!response)
        free(a->body);
    return response;
}

/* Replaces an answer of which nothing has been sent. false: too late, or no memory. */
static bool answer_start(struct http_req *r, int status, const struct http_field *fields, size_t n,
                         uint64_t length, bool streamed)
{
    struct answer *a = &r->answer;
    if (!r->begun || r->doomed || r->told_gone || http_committed(r))
        return false;
    answer_drop(r);
    a->status = status;
    a->length = length;
    a->bodyless = is_bodyless(r, status);
    a->streamed = streamed && !a->bodyless;
    a->collected = a->streamed && length <= server_of(r)->conf.write_buffer_bytes;
    if (!a->bodyless && (!streamed || a->collected))
        a->body = xmalloc(length ? (size_t)length : 1);
    a->response = make_response(r);
    if (!a->response) {
        log_error("http server: no memory for an answer");
        http_abort(r);
        return false;
    }
    add_fields(a->response, fields, n);
    return true;
}

/* ---- Queueing ---- */

enum MHD_Result answer_queue(struct http_req *r)
{
    struct answer *a = &r->answer;
    struct MHD_Response *response = a->response;
    a->response = NULL;
    r->phase = REQ_SENDING;
    r->conn->progress_ms = 0;
    if (server_of(r)->draining)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result rc = MHD_queue_response(r->conn->mhd, (unsigned)a->status, response);
    MHD_destroy_response(response); /* MHD has a reference of its own */
    return rc;
}

enum MHD_Result answer_refuse(struct http_req *r, const char *fault)
{
    char body[256];
    int len = snprintf(body, sizeof(body),
                       "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
                       "\"detail\":\"%s\"}",
                       fault);
    struct MHD_Response *response =
        MHD_create_response_from_buffer((size_t)len, body, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    log_debug("request refused", LOG_S("client", http_client(r)), LOG_S("detail", fault));
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/problem+json");
    r->phase = REQ_REFUSED;
    r->conn->linger = true;
    enum MHD_Result rc = MHD_queue_response(r->conn->mhd, MHD_HTTP_BAD_REQUEST, response);
    MHD_destroy_response(response);
    return rc;
}

/* ---- Past MHD ---- */

static enum MHD_Result add_raw_field(void *cls, enum MHD_ValueKind kind, const char *name,
                                     const char *value)
{
    (void)kind;
    if (strcasecmp(name, MHD_HTTP_HEADER_CONNECTION) != 0)
        buf_addf(cls, "%s: %s\r\n", name, value);
    return MHD_YES;
}

static void build_raw(const struct http_req *r, struct buf *b)
{
    const struct answer *a = &r->answer;
    char date[CLOCK_TEXT];
    clock_http_date(clock_real_s(), date);
    buf_addf(b, "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\n", a->status,
             MHD_get_reason_phrase_for((unsigned)a->status), date);
    if (a->status != MHD_HTTP_NO_CONTENT)
        buf_addf(b, "Content-Length: %llu\r\n", (unsigned long long)a->length);
    MHD_get_response_headers(a->response, add_raw_field, b);
    buf_adds(b, "\r\n");
    if (!a->bodyless)
        buf_add(b, a->body, (size_t)a->length);
}

/* The answer to a request whose body nobody reads on, in one piece. Nothing else of this request
 * has been sent, so the socket's buffer takes it; if it does not, the connection is cut. */
bool answer_send_raw(struct http_req *r)
{
    struct answer *a = &r->answer;
    if (r->answered_raw || !a->ready || (!a->bodyless && !a->body))
        return false;
    struct buf b = BUF_INIT((size_t)a->length + RAW_HEAD_MAX);
    build_raw(r, &b);
    ssize_t n = -1;
    if (!buf_failed(&b))
        n = send(r->conn->fd, b.data, b.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    r->answered_raw = n > 0 && (size_t)n == b.len;
    r->conn->linger = r->answered_raw;
    if (r->answered_raw && !a->bodyless)
        r->sent = a->length;
    buf_cleanup(&b);
    return r->answered_raw;
}

/* ---- Streaming ---- */

static size_t pending(const struct answer *a)
{
    return a->out.len - a->out_pos;
}

static void take_out(struct answer *a, char *to, size_t n)
{
    memcpy(to, a->out.data + a->out_pos, n);
    a->out_pos += n;
    if (a->out_pos == a->out.len) {
        buf_reset(&a->out);
        a->out_pos = 0;
    }
}

/* MHD wants more of a large answer's body. */
static ssize_t read_stream(void *cls, uint64_t pos, char *to, size_t max)
{
    struct http_req *r = cls;
    struct answer *a = &r->answer;
    struct httpd *h = server_of(r);
    h->events++;
    r->sent = pos;
    if (r->doomed)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t n = pending(a) < max ? pending(a) : max;
    if (n == 0) {
        req_suspend(r);
        return 0;
    }
    take_out(a, to, n);
    if (a->want_writable && pending(a) <= h->conf.write_buffer_bytes / 2) {
        a->want_writable = false;
        loop_defer(h->loop, &r->writable);
    }
    return (ssize_t)n;
}

static void make_ready(struct http_req *r)
{
    r->answer.ready = true;
    req_answer_given(r);
}

static bool write_collected(struct http_req *r, const void *bytes, size_t n)
{
    struct answer *a = &r->answer;
    memcpy(a->body + a->written, bytes, n);
    a->written += n;
    if (a->written == a->length)
        make_ready(r);
    return true;
}

/* Bytes that were sent are moved out of the way when they are at least half of the buffer. */
static bool write_large(struct http_req *r, const void *bytes, size_t n)
{
    struct answer *a = &r->answer;
    if (a->out_pos > a->out.len / 2) {
        buf_drop_front(&a->out, a->out_pos);
        a->out_pos = 0;
    }
    buf_add(&a->out, bytes, n);
    a->written += n;
    if (buf_failed(&a->out)) {
        log_error("http server: an answer's buffer overflows");
        http_abort(r);
        return true;
    }
    if (!a->ready)
        make_ready(r);
    else
        req_wake(r);
    a->want_writable = pending(a) >= server_of(r)->conf.write_buffer_bytes;
    return !a->want_writable;
}

/* ---- What the handler may do ---- */

void http_reply(struct http_req *r, int status, const struct http_field *fields, size_t n_fields,
                const void *body, size_t len)
{
    if (!answer_start(r, status, fields, n_fields, len, false))
        return;
    if (r->answer.body && len)
        memcpy(r->answer.body, body, len);
    make_ready(r);
}

void http_reply_stream(struct http_req *r, int status, const struct http_field *fields,
                       size_t n_fields, uint64_t length)
{
    if (!answer_start(r, status, fields, n_fields, length, true))
        return;
    struct answer *a = &r->answer;
    buf_init(&a->out, 4 * (size_t)server_of(r)->conf.write_buffer_bytes + LINGER_MAX_BYTES);
    if (a->bodyless || length == 0)
        make_ready(r);
    else
        req_answer_given(r);
}

bool http_write(struct http_req *r, const void *bytes, size_t n)
{
    struct answer *a = &r->answer;
    if (!a->streamed || r->doomed || r->told_gone || n == 0)
        return true;
    if (n > a->length - a->written) {
        log_error("http server: more was written than the answer's length");
        http_abort(r);
        return true;
    }
    return a->collected ? write_collected(r, bytes, n) : write_large(r, bytes, n);
}

bool http_committed(const struct http_req *r)
{
    return r->phase == REQ_SENDING || r->answered_raw;
}

void http_abort(struct http_req *r)
{
    if (!r->begun || r->doomed)
        return;
    r->aborted = true;
    req_doom(r);
}
