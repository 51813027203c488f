/* Answers: head and body in one buffer, which goes to the kernel in one piece where it can. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/message.h"
#include "service/httpd_internal.h"

enum { HEAD_MAX = 16 * 1024 };

static struct httpd *server_of(const struct http_req *r)
{
    return r->conn->h;
}

/* ---- The head ---- */

static bool is_bodyless(const struct http_req *r, int status)
{
    return status == 204 || status == 304 || (!r->refused && strcmp(http_method(r), "HEAD") == 0);
}

/* The clock is read once a round of the loop. */
static const char *date_of(struct httpd *h)
{
    if (h->date_ms != loop_now_ms(h->loop) || !h->date[0]) {
        h->date_ms = loop_now_ms(h->loop);
        clock_http_date(clock_real_s(), h->date);
    }
    return h->date;
}

/* Whether the connection can live on behind an answer that is given now: what is left of the body
 * has to be small enough to be read and dropped. */
static bool can_keep(const struct http_req *r)
{
    if (server_of(r)->draining || r->refused || !r->head.keep_alive)
        return false;
    if (r->phase != REQ_BODY && r->phase != REQ_SWALLOW)
        return true;
    if (r->head.framing == HTTP_CHUNKED || r->body_left > SWALLOW_MAX_BYTES)
        return false;
    return !r->head.expect_continue || r->received > 0;
}

static void put_head(struct http_req *r, const struct http_field *fields, size_t n)
{
    struct answer *a = &r->answer;
    struct buf *b = &r->out;
    http_put_status(b, a->status);
    http_put_field(b, "Date", date_of(server_of(r)));
    for (size_t i = 0; i < n; i++)
        if (fields[i].value)
            http_put_field(b, fields[i].name, fields[i].value);
    if (a->status != 204)
        http_put_length(b, a->length);
    if (!a->keep)
        http_put_field(b, "Connection", "close");
    else if (r->head.minor == 0)
        http_put_field(b, "Connection", "keep-alive");
    http_put_end(b);
    a->head_bytes = b->len;
}

/* In place of what was given before, as long as nothing of that has been sent. */
static void answer_begin(struct http_req *r, int status, const struct http_field *fields, size_t n,
                         uint64_t length, bool streamed)
{
    struct answer *a = &r->answer;
    uint32_t limit = server_of(r)->conf.write_buffer_bytes;
    *a = (struct answer){.status = status, .length = length, .bodyless = is_bodyless(r, status)};
    a->streamed = streamed && !a->bodyless;
    a->collected = a->streamed && length <= limit;
    a->keep = can_keep(r);
    buf_reset(&r->out);
    r->out.max = HEAD_MAX + (a->streamed ? 4 * (size_t)limit + LINGER_MAX_BYTES : (size_t)length);
    put_head(r, fields, n);
}

/* Whatever it is: from now on no more of the body is wanted. */
static void answer_given(struct http_req *r)
{
    if (r->phase == REQ_BODY) {
        r->phase = REQ_SWALLOW;
        r->swallow_until_ms = loop_now_ms(server_of(r)->loop) + SWALLOW_MAX_MS;
    }
    r->conn->progress_ms = 0;
    conn_wake(r->conn);
}

static bool is_open(const struct http_req *r)
{
    return r->begun && !r->doomed && !r->told_gone;
}

static void give_up(struct http_req *r, const char *why)
{
    log_error(why);
    http_abort(r);
}

void answer_put(struct http_req *r, int status, const struct http_field *fields, size_t n,
                const char *body, size_t len)
{
    answer_begin(r, status, fields, n, len, false);
    if (!r->answer.bodyless)
        buf_add(&r->out, body, len);
    r->answer.written = len;
    r->answer.ready = true;
}

/* ---- Sending ---- */

static size_t pending(const struct http_req *r)
{
    return r->out.len - r->answer.pos;
}

bool answer_is_whole(const struct http_req *r)
{
    const struct answer *a = &r->answer;
    return a->ready && (a->bodyless || a->written == a->length);
}

bool answer_is_out(const struct http_req *r)
{
    return answer_is_whole(r) && pending(r) == 0;
}

static void was_sent(struct http_req *r, size_t of_out, size_t more)
{
    struct answer *a = &r->answer;
    a->sent += of_out + more;
    a->pos += of_out;
    if (a->pos == r->out.len) {
        buf_reset(&r->out);
        a->pos = 0;
    }
}

/* What is pending, and `bytes` behind it. Returns how many of the bytes were taken. */
static size_t send_now(struct http_req *r, const void *bytes, size_t n)
{
    struct conn *c = r->conn;
    size_t of_out = pending(r);
    struct iovec parts[2] = {{r->out.data ? r->out.data + r->answer.pos : NULL, of_out},
                             {(void *)(uintptr_t)bytes, n}};
    struct msghdr m = {.msg_iov = of_out ? parts : parts + 1, .msg_iovlen = (of_out > 0) + (n > 0)};
    ssize_t sent = sendmsg(c->watch.fd, &m, MSG_NOSIGNAL);
    if (sent < 0) {
        c->broken |= errno != EAGAIN && errno != EINTR;
        c->writable = errno == EINTR;
        return 0;
    }
    if ((size_t)sent < of_out + n)
        c->writable = false;
    size_t first = (size_t)sent < of_out ? (size_t)sent : of_out;
    was_sent(r, first, (size_t)sent - first);
    return (size_t)sent - first;
}

/* The handler is asked for more while half of the buffer is still to be sent. */
static bool ask_for_more(struct http_req *r)
{
    struct answer *a = &r->answer;
    if (!a->want_writable || !is_open(r) || pending(r) > server_of(r)->conf.write_buffer_bytes / 2)
        return false;
    a->want_writable = false;
    server_of(r)->conf.handler->writable(server_of(r)->conf.user, r);
    return true;
}

bool answer_push(struct http_req *r)
{
    struct conn *c = r->conn;
    if (!r->answer.ready || c->broken)
        return false;
    if (pending(r) > 0 && c->writable) {
        send_now(r, NULL, 0);
        return true;
    }
    return ask_for_more(r);
}

/* ---- What the handler may do ---- */

void http_reply(struct http_req *r, int status, const struct http_field *fields, size_t n_fields,
                const void *body, size_t len)
{
    if (!is_open(r) || http_committed(r))
        return;
    answer_put(r, status, fields, n_fields, body, len);
    if (buf_failed(&r->out))
        give_up(r, "http server: no memory for an answer");
    else
        answer_given(r);
}

void http_reply_stream(struct http_req *r, int status, const struct http_field *fields,
                       size_t n_fields, uint64_t length)
{
    if (!is_open(r) || http_committed(r))
        return;
    answer_begin(r, status, fields, n_fields, length, true);
    r->answer.ready = !r->answer.streamed || length == 0;
    answer_given(r);
}

/* Past the buffer where there is nothing in the way. */
static void write_large(struct http_req *r, const void *bytes, size_t n)
{
    struct answer *a = &r->answer;
    size_t taken = 0;
    a->ready = true;
    if (r->conn->writable && !r->conn->broken)
        taken = send_now(r, bytes, n);
    if (a->pos > r->out.len / 2) {
        buf_drop_front(&r->out, a->pos);
        a->pos = 0;
    }
    buf_add(&r->out, (const char *)bytes + taken, n - taken);
}

bool http_write(struct http_req *r, const void *bytes, size_t n)
{
    struct answer *a = &r->answer;
    if (!a->streamed || !is_open(r) || n == 0)
        return true;
    if (n > a->length - a->written) {
        give_up(r, "http server: more was written than the answer's length");
        return true;
    }
    if (a->collected)
        buf_add(&r->out, bytes, n);
    else
        write_large(r, bytes, n);
    a->written += n;
    if (buf_failed(&r->out)) {
        give_up(r, "http server: an answer's buffer overflows");
        return true;
    }
    a->ready |= a->written == a->length;
    if (a->ready)
        conn_wake(r->conn);
    a->want_writable = pending(r) >= server_of(r)->conf.write_buffer_bytes && !a->collected;
    return !a->want_writable;
}

bool http_committed(const struct http_req *r)
{
    return r->answer.sent > 0;
}

void http_abort(struct http_req *r)
{
    if (!r->begun || r->doomed)
        return;
    r->aborted = true;
    r->doomed = true;
    conn_wake(r->conn);
}

uint64_t http_bytes_sent(const struct http_req *r)
{
    const struct answer *a = &r->answer;
    return a->sent > a->head_bytes ? a->sent - a->head_bytes : 0;
}
