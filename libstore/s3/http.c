#include "libstore/s3/http.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/codec.h"
#include "http/chunked.h"
#include "http/head.h"
#include "http/message.h"
#include "libstore/s3/dial.h"
#include "libstore/s3/http_answer.h"

enum {
    IN_BYTES = 64 * 1024,        /* read at a time; bounds an answer's head too */
    OUT_BYTES = 64 * 1024,       /* of a body, on its way */
    HEAD_MAX_BYTES = 128 * 1024, /* of a request */
    CONTINUE_MS = 1000, /* a server that does not say 100 (Continue) gets the body all the same */
    TICK_MS = 250,
    STEPS_A_TURN = 64,
    SPARE_MAX = 32,
};

static const char LATE[] = "the deadline passed before the answer came";

/* What a connection needs while it is in use. */
struct exchange {
    struct exchange *next; /* among the spare ones */
    struct buf out;
    size_t out_pos;
    uint64_t body_left; /* of the request, not yet read from the caller */
    bool body_begun, body_held, body_paused;
    uint64_t held_until_ms;
    bool cut;      /* nothing more can be sent */
    bool answered; /* the answer's head is whole */
    bool got_any;  /* of an answer */
    uint64_t left; /* of its body */
    bool whole;    /* nothing more of the answer is to come */
    struct http_chunked chunked;
    struct http_head head;
    size_t pos, len;
    char in[IN_BYTES];
};

/* A connection. */
struct http_transfer {
    struct http_client *client;
    struct link *link;
    const char *base_url;
    struct loop_watch watch;
    struct loop_task task;
    struct http_call *call; /* NULL: at rest */
    struct exchange *x;     /* NULL: at rest */
    bool connected, readable, writable;
    bool hung_up; /* the server sends no more than what can be read */
    bool used;    /* an answer has come on it before */
    enum http_failure dial_failure;
    char detail[256];
    uint64_t progress_ms;
    struct http_transfer *next, *prev; /* active, or at rest */
};

struct http_client {
    struct loop *loop;
    struct dialer *dialer;
    struct http_transfer *active, *idle;
    struct exchange *spare;
    unsigned n_spare;
    struct http_call waiting; /* head of the ring of those that wait for a connection */
    struct loop_task admit;   /* lets them in */
    struct loop_timer tick;   /* stalls, while there are active ones */
    uint32_t n_active, max_active;
    char *base_url;
};

/* ---- Lists ---- */

static void list_add(struct http_transfer **list, struct http_transfer *t)
{
    t->prev = NULL;
    t->next = *list;
    if (t->next)
        t->next->prev = t;
    *list = t;
}

static void list_remove(struct http_transfer **list, struct http_transfer *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else
        *list = t->next;
    if (t->next)
        t->next->prev = t->prev;
}

/* ---- Exchanges ---- */

static struct exchange *exchange_take(struct http_client *h)
{
    struct exchange *x = h->spare;
    struct buf out = BUF_INIT(OUT_BYTES + HEAD_MAX_BYTES);
    if (x) {
        h->spare = x->next;
        h->n_spare--;
        out = x->out;
    } else {
        x = malloc(sizeof(*x));
        if (!x)
            return NULL;
    }
    memset(x, 0, offsetof(struct exchange, head));
    x->pos = x->len = 0;
    x->out = out;
    buf_reset(&x->out);
    return x;
}

static void exchange_free(struct exchange *x)
{
    buf_cleanup(&x->out);
    free(x);
}

static void exchange_give_back(struct http_client *h, struct exchange *x)
{
    if (h->n_spare >= SPARE_MAX) {
        exchange_free(x);
        return;
    }
    x->next = h->spare;
    h->spare = x;
    h->n_spare++;
}

/* ---- The end of a connection, and of a call ---- */

static void transfer_free(struct http_transfer *t, bool at_rest)
{
    struct http_client *h = t->client;
    loop_watch_clear(h->loop, &t->watch);
    loop_defer_clear(h->loop, &t->task);
    if (t->link)
        link_close(t->link, at_rest);
    if (t->x)
        exchange_give_back(h, t->x);
    free(t);
}

enum then {
    DROP,  /* and whatever is still on its way */
    CLOSE, /* in peace: all was answered */
    KEEP,
};

/* Takes the call off its connection. */
static void detach(struct http_transfer *t, enum then then)
{
    struct http_client *h = t->client;
    t->call->transfer = NULL;
    t->call->client = NULL;
    t->call = NULL;
    list_remove(&h->active, t);
    h->n_active--;
    if (h->waiting.next != &h->waiting)
        loop_defer(h->loop, &h->admit);
    if (then != KEEP) {
        transfer_free(t, then == CLOSE);
        return;
    }
    exchange_give_back(h, t->x);
    t->x = NULL;
    t->used = true;
    list_add(&h->idle, t);
}

static void tell_head(struct http_call *c)
{
    if (c->head_told)
        return;
    c->head_told = true;
    if (c->head)
        c->head(c);
}

/* `done` may start the call anew. */
static void end_call(struct http_transfer *t, enum then then, enum http_failure failure,
                     const char *detail)
{
    struct http_call *c = t->call;
    char text[sizeof(t->detail)];
    text_copy(text, sizeof(text), detail);
    detach(t, then);
    if (failure == HTTP_ANSWERED)
        tell_head(c);
    c->done(c, failure, text);
}

static bool fail(struct http_transfer *t, enum http_failure failure, const char *detail)
{
    end_call(t, DROP, failure, detail);
    return false;
}

static bool is_late(const struct http_call *c)
{
    return c->deadline_ms && clock_mono_ms() >= c->deadline_ms;
}

/* ---- The request ---- */

static bool has_body(const struct http_call *c)
{
    return strcmp(c->method, "PUT") == 0 || strcmp(c->method, "POST") == 0;
}

/* The caller's lines end in LF alone. */
static bool put_head(struct http_transfer *t)
{
    struct http_call *c = t->call;
    struct exchange *x = t->x;
    struct buf *b = &x->out;
    bool has_host = false;
    http_put_request(b, c->method, c->target);
    for (const char *line = c->headers ? c->headers : "", *end; (end = strchr(line, '\n'));
         line = end + 1) {
        has_host |= strncasecmp(line, "Host:", 5) == 0;
        buf_add(b, line, (size_t)(end - line));
        buf_adds(b, "\r\n");
    }
    if (!has_host)
        http_put_field(b, "Host", strstr(t->base_url, "://") + 3);
    if (has_body(c))
        http_put_length(b, c->body_size);
    if (has_body(c) && c->expect_continue)
        http_put_field(b, "Expect", "100-continue");
    http_put_end(b);
    return !buf_failed(b);
}

static bool begin_request(struct http_transfer *t)
{
    struct http_client *h = t->client;
    struct http_call *c = t->call;
    struct exchange *x = t->x;
    bool is_head = strcmp(c->method, "HEAD") == 0;
    http_head_init(&x->head, is_head ? HTTP_RESPONSE_TO_HEAD : HTTP_RESPONSE, IN_BYTES);
    x->body_left = has_body(c) ? c->body_size : 0;
    x->body_held = x->body_left && c->expect_continue;
    x->held_until_ms = loop_now_ms(h->loop) + CONTINUE_MS;
    t->progress_ms = loop_now_ms(h->loop);
    return put_head(t);
}

/* Forgets what was sent: little is left, or it would not be called for more. */
static void drop_sent(struct exchange *x)
{
    if (x->out_pos == 0)
        return;
    x->out.len -= x->out_pos;
    memmove(x->out.data, x->out.data + x->out_pos, x->out.len);
    x->out_pos = 0;
}

/* A piece of the body, behind what is in the buffer. Returns 1: there is more to send, 0: not now,
 * -1: the call is over. */
static int read_body(struct http_transfer *t)
{
    struct exchange *x = t->x;
    struct http_call *c = t->call;
    size_t want = x->body_left < OUT_BYTES ? (size_t)x->body_left : OUT_BYTES;
    if (x->body_left == 0 || x->body_held || x->body_paused || x->answered)
        return 0;
    drop_sent(x);
    if (!buf_reserve(&x->out, want)) {
        fail(t, HTTP_NO_MEMORY, "out of memory");
        return -1;
    }
    ssize_t n = c->read ? c->read(c, x->out.data + x->out.len, want) : STORE_READ_ABORT;
    if (is_late(c)) { /* now: the caller may have taken its time */
        fail(t, HTTP_LATE, LATE);
        return -1;
    }
    if (n == STORE_READ_PAUSE) {
        x->body_paused = c->paused = true;
        return 0;
    }
    if (n <= 0) {
        fail(t, HTTP_BAD_LOCAL, n == 0 ? "the body is shorter than it was to be" : "given up");
        return -1;
    }
    x->body_begun = true;
    x->body_left -= (uint64_t)n;
    x->out.len += (size_t)n;
    return 1;
}

/* Returns 1: something was sent, 0: not now, -1: the call is over. */
static int push(struct http_transfer *t)
{
    struct exchange *x = t->x;
    if (!t->writable || x->cut)
        return 0;
    /* A request and the beginning of its body leave in one piece. */
    if (x->out.len - x->out_pos < OUT_BYTES / 2) {
        int more = read_body(t);
        if (more < 0)
            return -1;
    }
    if (x->out_pos == x->out.len)
        return 0;
    if (is_late(t->call)) {
        fail(t, HTTP_LATE, LATE);
        return -1;
    }
    ssize_t n = link_send(t->link, x->out.data + x->out_pos, x->out.len - x->out_pos);
    if (n == LINK_AGAIN) {
        t->writable = false;
        return 0;
    }
    if (n < 0) { /* the answer may be there, and say why */
        x->cut = t->readable = true;
        return 1;
    }
    x->out_pos += (size_t)n;
    t->progress_ms = loop_now_ms(t->client->loop);
    if (x->out_pos == x->out.len) {
        buf_reset(&x->out);
        x->out_pos = 0;
    }
    return 1;
}

/* ---- The answer ---- */

static bool is_sent(const struct exchange *x)
{
    return x->out_pos == x->out.len && x->body_left == 0;
}

static bool begin_again(struct http_transfer *t);

/* The connection is over, in mid-answer or before. One that was kept may have been closed by the
 * server at the same moment: then the request goes out anew, where it can. */
static bool lost(struct http_transfer *t, enum http_failure failure, const char *detail)
{
    struct exchange *x = t->x;
    struct http_call *c = t->call;
    if (x->answered && x->head.framing == HTTP_TO_CLOSE && failure == HTTP_ANSWERED) {
        end_call(t, is_sent(x) ? CLOSE : DROP, HTTP_ANSWERED, "");
        return false;
    }
    if (t->used && !x->got_any && !c->head_told && (!x->body_begun || (c->rewind && c->rewind(c))))
        return begin_again(t);
    return fail(t, failure == HTTP_ANSWERED ? HTTP_BROKEN : failure, detail);
}

static bool read_more(struct http_transfer *t)
{
    struct exchange *x = t->x;
    if (!t->readable)
        return false;
    ssize_t n = link_recv(t->link, x->in + x->len, IN_BYTES - x->len);
    if (n > 0) {
        t->progress_ms = loop_now_ms(t->client->loop);
        x->got_any = true;
        /* Less than there was room for: that was all, but for an end that was told of already. */
        if (link_is_plain(t->link) && (size_t)n < IN_BYTES - x->len && !t->hung_up)
            t->readable = false;
        x->len += (size_t)n;
        return true;
    }
    if (n == LINK_AGAIN && !x->cut) {
        t->readable = false;
        return false;
    }
    return n == 0 ? lost(t, HTTP_ANSWERED, "the server closed the connection before the end")
                  : lost(t, link_failure(t->link), link_trouble(t->link));
}

/* Forgets what is done with, and keeps what is behind it. */
static void drop_front(struct exchange *x)
{
    x->len -= x->pos;
    memmove(x->in, x->in + x->pos, x->len);
    x->pos = 0;
}

static bool take_interim(struct exchange *x)
{
    x->pos = x->head.length;
    drop_front(x);
    x->body_held = false;
    http_head_init(&x->head, x->head.kind, IN_BYTES);
    return true;
}

static bool take_head(struct http_transfer *t)
{
    struct exchange *x = t->x;
    switch (x->len ? http_head_feed(&x->head, x->in, x->len) : HTTP_MORE) {
    case HTTP_MORE: return read_more(t);
    case HTTP_REFUSED: return fail(t, HTTP_BROKEN, http_rules[x->head.fault].text);
    case HTTP_DONE: break;
    }
    if (x->head.status < 200)
        return take_interim(x);
    if (!http_answer_take(&t->call->answer, &x->head, x->in))
        return fail(t, HTTP_NO_MEMORY, "out of memory");
    x->answered = true;
    x->left = x->head.content_length;
    x->whole = x->head.framing == HTTP_NO_BODY;
    x->pos = x->head.length;
    return true;
}

/* What of the body lies at x->pos. Returns false: it is malformed. */
static bool find_data(struct exchange *x, size_t *n)
{
    size_t here = x->len - x->pos, framing;
    enum http_chunk_event event;
    switch (x->head.framing) {
    case HTTP_CHUNKED:
        event = http_chunked_read(&x->chunked, x->in + x->pos, here, &framing, n);
        x->pos += framing;
        x->whole = event == HTTP_CHUNK_END;
        return event != HTTP_CHUNK_REFUSED;
    case HTTP_LENGTH:
        *n = x->left < here ? (size_t)x->left : here;
        x->whole = x->left == 0;
        return true;
    default: *n = here; return true;
    }
}

static bool take_body(struct http_transfer *t)
{
    struct exchange *x = t->x;
    struct http_call *c = t->call;
    size_t n;
    if (c->paused && !x->body_paused)
        return false;
    if (!find_data(x, &n))
        return fail(t, HTTP_BROKEN, http_rules[x->chunked.fault].text);
    if (x->whole)
        return true;
    if (n == 0) {
        if (x->pos == x->len)
            x->pos = x->len = 0;
        return read_more(t);
    }
    const char *bytes = x->in + x->pos;
    x->pos += n;
    if (x->head.framing == HTTP_LENGTH)
        x->left -= n;
    else if (x->head.framing == HTTP_CHUNKED)
        http_chunked_take(&x->chunked, n);
    tell_head(c);
    if (c->data && !c->data(c, bytes, n))
        c->paused = true; /* this piece was taken */
    return true;
}

/* The connection is kept when nothing is left of either message. */
static bool finish(struct http_transfer *t)
{
    const struct exchange *x = t->x;
    bool keep = x->head.keep_alive && !t->hung_up && x->pos == x->len && is_sent(x);
    end_call(t, keep ? KEEP : is_sent(x) ? CLOSE : DROP, HTTP_ANSWERED, "");
    return false;
}

/* ---- One step after the other ---- */

/* Whether there may be another one. */
static bool step(struct http_transfer *t)
{
    struct exchange *x = t->x;
    if (!t->call) { /* at rest: the server says that it is over, or what nobody asked for */
        list_remove(&t->client->idle, t);
        transfer_free(t, true);
        return false;
    }
    if (!t->connected)
        return t->dial_failure == HTTP_ANSWERED ? false : fail(t, t->dial_failure, t->detail);
    if (x->whole)
        return finish(t);
    int sent = push(t);
    if (sent != 0)
        return sent > 0;
    return x->answered ? take_body(t) : take_head(t);
}

static void run(struct http_transfer *t)
{
    for (int i = 0; i < STEPS_A_TURN; i++)
        if (!step(t))
            return;
    loop_defer(t->client->loop, &t->task);
}

static void on_task(void *user)
{
    run(user);
}

/* Of one at rest: something came that nobody asked for, unless it is TLS' own. */
static bool has_ended(struct http_transfer *t, uint32_t events)
{
    char byte;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        return true;
    if (!(events & EPOLLIN))
        return false;
    return link_is_plain(t->link) || link_recv(t->link, &byte, 1) != LINK_AGAIN;
}

static void on_events(void *user, uint32_t events)
{
    struct http_transfer *t = user;
    if (!t->call && !has_ended(t, events))
        return;
    /* With TLS each direction may wait for the other. */
    bool any = !link_is_plain(t->link);
    t->hung_up |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    t->readable |= any || (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    t->writable |= any || (events & EPOLLOUT) != 0;
    run(t);
}

/* ---- Connections ---- */

static void on_connected(void *user, enum http_failure failure, const char *detail)
{
    struct http_transfer *t = user;
    struct http_client *h = t->client;
    struct store_err err;
    if (failure == HTTP_ANSWERED &&
        loop_watch_set(h->loop, &t->watch, link_fd(t->link),
                       EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &err) != 0) {
        failure = HTTP_NO_MEMORY;
        detail = err.msg;
    }
    t->connected = failure == HTTP_ANSWERED;
    t->writable = t->connected;
    t->readable = t->connected && !link_is_plain(t->link);
    t->dial_failure = failure;
    text_copy(t->detail, sizeof(t->detail), detail);
    loop_defer(h->loop, &t->task);
}

static struct http_transfer *transfer_new(struct http_client *h, const char *base_url,
                                          struct store_err *err)
{
    struct http_transfer *t = calloc(1, sizeof(*t));
    store_err_set(err, STORE_NO_MEMORY, "http: out of memory");
    if (!t)
        return NULL;
    t->client = h;
    t->base_url = base_url;
    t->watch = (struct loop_watch){.fn = on_events, .user = t, .fd = -1};
    t->task = (struct loop_task){.fn = on_task, .user = t};
    t->link = link_dial(h->dialer, base_url, on_connected, t, err);
    if (t->link)
        return t;
    free(t);
    return NULL;
}

/* The one that was used last: the others may grow old and be closed. */
static struct http_transfer *take_idle(struct http_client *h, const char *base_url)
{
    struct http_transfer *t = h->idle;
    while (t && t->base_url != base_url)
        t = t->next;
    if (t)
        list_remove(&h->idle, t);
    return t;
}

static void on_tick(void *user);

/* Gives the call a connection. */
static int begin_on(struct http_client *h, struct http_call *c, struct http_transfer *t,
                    struct store_err *err)
{
    t->call = c;
    t->x = exchange_take(h);
    if (!t->x || !begin_request(t)) {
        t->call = NULL;
        transfer_free(t, false);
        return store_err_set(err, STORE_NO_MEMORY, "http: out of memory");
    }
    c->transfer = t;
    list_add(&h->active, t);
    h->n_active++;
    if (!loop_timer_is_set(&h->tick) && loop_timer_set(h->loop, &h->tick, TICK_MS) != 0) {
        detach(t, DROP);
        return store_err_set(err, STORE_NO_MEMORY, "http: out of memory for a timer");
    }
    if (t->connected)
        loop_defer(h->loop, &t->task);
    return 0;
}

static int begin(struct http_client *h, struct http_call *c, struct store_err *err)
{
    const char *base_url = c->base_url ? c->base_url : h->base_url;
    if (is_late(c))
        return store_err_set(err, STORE_TIMEOUT, LATE);
    struct http_transfer *t = take_idle(h, base_url);
    if (!t)
        t = transfer_new(h, base_url, err);
    return t ? begin_on(h, c, t, err) : -1;
}

static enum http_failure why_not(const struct store_err *err)
{
    switch (err->code) {
    case STORE_TIMEOUT: return HTTP_LATE;
    case STORE_NO_MEMORY: return HTTP_NO_MEMORY;
    default: return HTTP_BAD_LOCAL;
    }
}

/* On a new connection. */
static bool begin_again(struct http_transfer *t)
{
    struct http_client *h = t->client;
    struct http_call *c = t->call;
    struct store_err err;
    const char *base_url = t->base_url;
    detach(t, DROP);
    c->paused = false;
    t = transfer_new(h, base_url, &err);
    if (t && begin_on(h, c, t, &err) == 0)
        c->client = h;
    else
        c->done(c, why_not(&err), err.msg);
    return false;
}

/* ---- Calls ---- */

static void wait_begin(struct http_client *h, struct http_call *c)
{
    c->next = &h->waiting;
    c->prev = h->waiting.prev;
    c->prev->next = c;
    h->waiting.prev = c;
}

static void wait_end(struct http_call *c)
{
    c->prev->next = c->next;
    c->next->prev = c->prev;
}

int http_call_start(struct http_client *h, struct http_call *c, struct store_err *err)
{
    assert(!c->client);
    c->head_told = c->paused = false;
    http_answer_reset(&c->answer);
    if (h->n_active >= h->max_active)
        wait_begin(h, c);
    else if (begin(h, c, err) != 0)
        return -1;
    c->client = h;
    return 0;
}

static void admit(void *user)
{
    struct http_client *h = user;
    while (h->n_active < h->max_active && h->waiting.next != &h->waiting) {
        struct http_call *c = h->waiting.next;
        struct store_err err;
        wait_end(c);
        if (begin(h, c, &err) != 0) {
            c->client = NULL;
            c->done(c, why_not(&err), err.msg);
        }
    }
}

void http_call_resume(struct http_call *c)
{
    struct http_transfer *t = c->transfer;
    if (!c->paused || !t)
        return;
    c->paused = false;
    t->x->body_paused = false;
    t->progress_ms = loop_now_ms(t->client->loop);
    loop_defer(t->client->loop, &t->task);
}

void http_call_cancel(struct http_call *c)
{
    if (!c->client)
        return;
    if (!c->transfer)
        wait_end(c);
    else
        detach(c->transfer, DROP);
    c->client = NULL;
}

void http_call_cleanup(struct http_call *c)
{
    buf_cleanup(&c->answer.meta);
}

/* ---- Stalls ---- */

static bool is_stalled(const struct http_transfer *t, uint64_t now)
{
    uint32_t most_ms = t->call->stall_timeout_ms;
    return most_ms && t->connected && !t->call->paused && now - t->progress_ms >= most_ms;
}

/* Whether it did something: then the list may be another one. */
static bool check(struct http_transfer *t, uint64_t now)
{
    if (is_late(t->call)) {
        fail(t, HTTP_LATE, LATE);
        return true;
    }
    if (is_stalled(t, now)) {
        fail(t, HTTP_BROKEN, "the server did not go on in time");
        return true;
    }
    if (t->connected && t->x->body_held && t->writable && now >= t->x->held_until_ms) {
        t->x->body_held = false;
        loop_defer(t->client->loop, &t->task);
    }
    /* An edge that was missed would never come again: it is looked at now and then all the same. */
    if (t->connected && now - t->progress_ms >= TICK_MS) {
        t->readable = t->writable = true;
        loop_defer(t->client->loop, &t->task);
    }
    return false;
}

static void on_tick(void *user)
{
    struct http_client *h = user;
    uint64_t now = loop_now_ms(h->loop);
    struct http_transfer *t = h->active;
    while (t)
        t = check(t, now) ? h->active : t->next;
    if (h->active)
        loop_timer_set(h->loop, &h->tick, TICK_MS); /* its slot was just given back */
}

/* ---- Clients ---- */

static void client_free(void *value)
{
    struct http_client *h = value;
    for (struct http_transfer *t; (t = h->active);) {
        list_remove(&h->active, t);
        transfer_free(t, false);
    }
    for (struct http_transfer *t; (t = h->idle);) {
        list_remove(&h->idle, t);
        transfer_free(t, true);
    }
    for (struct exchange *x; (x = h->spare);) {
        h->spare = x->next;
        exchange_free(x);
    }
    loop_timer_clear(h->loop, &h->tick);
    loop_defer_clear(h->loop, &h->admit);
    if (h->dialer)
        dialer_free(h->dialer);
    free(h->base_url);
    free(h);
}

static struct http_client *client_new(struct loop *l, const struct http_client_conf *conf)
{
    struct http_client *h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    h->loop = l;
    h->admit = (struct loop_task){.fn = admit, .user = h};
    h->tick = (struct loop_timer){.fn = on_tick, .user = h};
    h->waiting.next = h->waiting.prev = &h->waiting;
    h->max_active = conf->max_connections;
    h->base_url = conf->base_url ? strdup(conf->base_url) : NULL;
    h->dialer = dialer_new(l, conf);
    if ((conf->base_url && !h->base_url) || !h->dialer) {
        client_free(h);
        return NULL;
    }
    return h;
}

struct http_client *http_client_get(struct loop *l, const void *owner,
                                    const struct http_client_conf *conf, struct store_err *err)
{
    struct http_client *h = loop_attached(l, owner);
    if (h)
        return h;
    h = client_new(l, conf);
    if (h && loop_attach(l, owner, h, client_free) != 0) {
        client_free(h);
        h = NULL;
    }
    if (!h)
        store_err_set(err, STORE_NO_MEMORY, "http: out of memory");
    return h;
}
