#include "bench/fake_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/xalloc.h"

enum {
    MAX_HEAD = 16384,
    MAX_BODY = 4 << 20,   /* that is kept */
    MAX_ANSWER = 4 << 20, /* without filler */
    READ_BYTES = 65536,
    FILLER_BYTES = 1 << 20,
    BACKLOG = 1024,
};

struct conn {
    struct fake_server *server;
    struct conn *next, *prev;
    struct loop_watch watch;
    struct loop_timer delay;
    enum { READING_HEAD, READING_BODY, WAITING, WRITING } state;
    struct buf in; /* what came and was not used */
    struct fake_request request;
    uint64_t body_left; /* still to come of a body that is thrown away */
    size_t body_want;   /* bytes of a body that is kept, in `in` */
    bool close_after;
    struct fake_answer answer;
    struct buf out;
    size_t out_sent;
    uint64_t filler_left;
};

struct fake_server {
    struct loop *loop;
    struct loop_watch watch;
    struct fake_handler handler;
    struct conn conns; /* ring */
    char *filler;
    int64_t date_s; /* of date_text */
    char date_text[CLOCK_TEXT];
};

static void conn_free(struct conn *c)
{
    int fd = c->watch.fd;
    loop_watch_clear(c->server->loop, &c->watch);
    loop_timer_clear(c->server->loop, &c->delay);
    close(fd);
    c->prev->next = c->next;
    c->next->prev = c->prev;
    buf_cleanup(&c->in);
    buf_cleanup(&c->out);
    buf_cleanup(&c->answer.body);
    free(c);
}

/* ---- The request ---- */

static bool has_name(const char *line, size_t len, const char *name, const char **value)
{
    size_t n = strlen(name);
    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
        return false;
    *value = line + n + 1 + strspn(line + n + 1, " \t");
    return true;
}

static bool read_request_line(struct conn *c, const char *line, size_t len)
{
    const char *space = memchr(line, ' ', len);
    const char *last = space ? memchr(space + 1, ' ', (size_t)(line + len - space - 1)) : NULL;
    if (!last || space - line >= FAKE_MAX_METHOD || last - space > FAKE_MAX_TARGET)
        return false;
    text_copy(c->request.method, (size_t)(space - line) + 1, line);
    text_copy(c->request.target, (size_t)(last - space), space + 1);
    return strncmp(last + 1, "HTTP/1.1", 8) == 0;
}

static void read_etag(const char *text, size_t len, char out[FAKE_MAX_MATCH])
{
    bool quoted = len > 1 && *text == '"' && text[len - 1] == '"';
    if (quoted && len - 1 <= FAKE_MAX_MATCH)
        text_copy(out, len - 1, text + 1);
    else
        strcpy(out, "?"); /* that of no object */
}

static bool keeps_body(const struct conn *c, uint64_t len)
{
    const struct fake_handler *h = &c->server->handler;
    return strcmp(c->request.method, "POST") == 0 ||
           (strcmp(c->request.method, "PUT") == 0 && h->keeps(h->user, &c->request, len));
}

/* Reads the lines of a head, which ends in an empty one. false: it is not for us. */
static bool read_head(struct conn *c, const char *head, size_t len, bool *expects)
{
    uint64_t length = 0;
    const char *value, *end = head + len, *line = head;
    c->close_after = c->request.if_absent = *expects = false;
    c->request.if_match[0] = '\0';
    for (size_t n; line < end; line += n + 2) {
        n = (size_t)((const char *)memmem(line, (size_t)(end - line), "\r\n", 2) - line);
        if (line == head) {
            if (!read_request_line(c, line, n))
                return false;
        } else if (has_name(line, n, "content-length", &value)) {
            if (!parse_u64(value, (size_t)(line + n - value), &length))
                return false;
        } else if (has_name(line, n, "connection", &value)) {
            c->close_after = strncasecmp(value, "close", 5) == 0;
        } else if (has_name(line, n, "expect", &value)) {
            *expects = true;
        } else if (has_name(line, n, "if-none-match", &value)) {
            c->request.if_absent = true;
        } else if (has_name(line, n, "if-match", &value)) {
            read_etag(value, (size_t)(line + n - value), c->request.if_match);
        } else if (has_name(line, n, "transfer-encoding", &value)) {
            return false;
        }
    }
    bool keep = keeps_body(c, length);
    if (keep && length > MAX_BODY)
        return false;
    c->request.kept = keep;
    c->body_want = keep ? (size_t)length : 0;
    c->body_left = keep ? 0 : length;
    return true;
}

/* ---- The answer ---- */

static const char *reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 412: return "Precondition Failed";
    case 501: return "Not Implemented";
    case 503: return "Slow Down";
    default: return "Status";
    }
}

static const char *date_now(struct fake_server *s)
{
    int64_t now_s = clock_real_s();
    if (now_s != s->date_s) {
        s->date_s = now_s;
        clock_http_date(now_s, s->date_text);
    }
    return s->date_text;
}

static void write_answer(struct conn *c)
{
    struct fake_answer *a = &c->answer;
    bool head = strcmp(c->request.method, "HEAD") == 0;
    buf_reset(&c->out);
    c->out_sent = 0;
    buf_addf(&c->out, "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: fakestore\r\n", a->status,
             reason(a->status), date_now(c->server));
    if (a->etag) {
        char modified[CLOCK_TEXT];
        clock_http_date(a->modified_s, modified);
        buf_addf(&c->out, "ETag: \"%s\"\r\nLast-Modified: %s\r\nAccept-Ranges: none\r\n", a->etag,
                 modified);
    }
    if (a->status != 204)
        buf_addf(&c->out, "Content-Type: %s\r\nContent-Length: %" PRIu64 "\r\n",
                 a->type ? a->type : "application/octet-stream", a->body.len + a->filler);
    buf_adds(&c->out, c->close_after ? "Connection: close\r\n\r\n" : "\r\n");
    if (!head && a->body.len)
        buf_add(&c->out, a->body.data, a->body.len);
    c->filler_left = head ? 0 : a->filler;
}

static void serve(struct conn *c)
{
    struct fake_answer *a = &c->answer;
    buf_reset(&a->body);
    *a = (struct fake_answer){.status = 200, .body = a->body};
    c->request.body = buf_str(&c->in);
    c->request.body_len = c->body_want;
    c->server->handler.serve(c->server->handler.user, &c->request, a);
    buf_drop_front(&c->in, c->body_want);
    write_answer(c);
}

/* ---- Bytes. Each returns 1 to go on, 0 to wait for the socket, -1 to close. ---- */

static int io_result(ssize_t n)
{
    if (n > 0 || (n < 0 && errno == EINTR))
        return 1;
    return n < 0 && errno == EAGAIN ? 0 : -1;
}

static int receive(struct conn *c)
{
    if (!buf_reserve(&c->in, READ_BYTES))
        return -1;
    ssize_t n = recv(c->watch.fd, c->in.data + c->in.len, READ_BYTES, 0);
    if (n > 0) {
        c->in.len += (size_t)n;
        c->in.data[c->in.len] = '\0';
    }
    return io_result(n);
}

/* MSG_TRUNC: the kernel throws the bytes away without copying them. */
static int discard(struct conn *c)
{
    size_t want = c->body_left < 16 * FILLER_BYTES ? (size_t)c->body_left : 16 * FILLER_BYTES;
    ssize_t n = recv(c->watch.fd, NULL, want, MSG_TRUNC);
    if (n > 0)
        c->body_left -= (uint64_t)n;
    return io_result(n);
}

static int step_head(struct conn *c)
{
    const char *end = c->in.len ? memmem(c->in.data, c->in.len, "\r\n\r\n", 4) : NULL;
    bool expects;
    if (!end)
        return c->in.len > MAX_HEAD ? -1 : receive(c);
    size_t len = (size_t)(end - c->in.data) + 2;
    if (!read_head(c, c->in.data, len, &expects))
        return -1;
    buf_drop_front(&c->in, len + 2);
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (expects && send(c->watch.fd, go_on, sizeof(go_on) - 1, MSG_NOSIGNAL) < 0)
        return -1;
    c->state = READING_BODY;
    return 1;
}

static void delay_over(void *user);

static int step_body(struct conn *c)
{
    size_t here = c->in.len < c->body_left ? c->in.len : (size_t)c->body_left;
    buf_drop_front(&c->in, here);
    c->body_left -= here;
    if (c->body_left)
        return discard(c);
    if (c->in.len < c->body_want)
        return receive(c);
    serve(c);
    if (c->answer.delay_ms == 0) {
        c->state = WRITING;
        return 1;
    }
    c->state = WAITING;
    c->delay = (struct loop_timer){.fn = delay_over, .user = c};
    return loop_timer_set(c->server->loop, &c->delay, c->answer.delay_ms) == 0 ? 0 : -1;
}

static int step_write(struct conn *c)
{
    size_t text = c->out.len - c->out_sent;
    size_t filler = c->filler_left < FILLER_BYTES ? (size_t)c->filler_left : FILLER_BYTES;
    struct iovec parts[] = {{c->out.data + c->out_sent, text}, {c->server->filler, filler}};
    struct msghdr message = {.msg_iov = text ? parts : parts + 1,
                             .msg_iovlen = (text ? 1 : 0) + (filler ? 1 : 0)};
    ssize_t n = sendmsg(c->watch.fd, &message, MSG_NOSIGNAL);
    if (n > 0) {
        size_t of_text = (size_t)n < text ? (size_t)n : text;
        c->out_sent += of_text;
        c->filler_left -= (size_t)n - of_text;
    }
    if (c->out_sent < c->out.len || c->filler_left)
        return io_result(n);
    c->state = READING_HEAD;
    return c->close_after ? -1 : 1;
}

static void conn_run(struct conn *c)
{
    int going = 1;
    while (going == 1)
        switch (c->state) {
        case READING_HEAD: going = step_head(c); break;
        case READING_BODY: going = step_body(c); break;
        case WRITING: going = step_write(c); break;
        case WAITING: going = 0; break;
        }
    uint32_t events = c->state == WRITING ? EPOLLOUT : c->state == WAITING ? 0 : EPOLLIN;
    if (going < 0 || loop_watch_set(c->server->loop, &c->watch, c->watch.fd, events, NULL) != 0)
        conn_free(c);
}

static void delay_over(void *user)
{
    struct conn *c = user;
    c->state = WRITING;
    conn_run(c);
}

static void conn_event(void *user, uint32_t events)
{
    struct conn *c = user;
    if (c->state == WAITING && (events & (EPOLLHUP | EPOLLERR)))
        conn_free(c);
    else
        conn_run(c);
}

/* ---- The server ---- */

static void accept_one(struct fake_server *s, int fd)
{
    struct conn *c = xcalloc(1, sizeof(*c));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->server = s;
    buf_init(&c->in, MAX_HEAD + MAX_BODY + READ_BYTES);
    buf_init(&c->out, MAX_ANSWER + MAX_HEAD);
    buf_init(&c->answer.body, MAX_ANSWER);
    c->next = &s->conns;
    c->prev = s->conns.prev;
    c->prev->next = c->next->prev = c;
    c->watch = (struct loop_watch){.fn = conn_event, .user = c, .fd = -1};
    if (loop_watch_set(s->loop, &c->watch, fd, EPOLLIN, NULL) != 0) {
        c->watch.fd = fd;
        conn_free(c);
    }
}

static void on_accept(void *user, uint32_t events)
{
    struct fake_server *s = user;
    int fd;
    (void)events;
    while ((fd = accept4(s->watch.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        accept_one(s, fd);
}

static int listen_on(uint16_t port, struct store_err *err)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return store_err_errno(err, errno, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, BACKLOG) != 0) {
        store_err_errno(err, errno, "cannot listen on port %u", port);
        close(fd);
        return -1;
    }
    return fd;
}

int fake_http_new(struct loop *loop, uint16_t port, const struct fake_handler *handler,
                  struct fake_server **out, struct store_err *err)
{
    int fd = listen_on(port, err);
    if (fd < 0)
        return -1;
    struct fake_server *s = xcalloc(1, sizeof(*s));
    s->loop = loop;
    s->handler = *handler;
    s->conns.next = s->conns.prev = &s->conns;
    s->filler = xmalloc(FILLER_BYTES);
    memset(s->filler, 'x', FILLER_BYTES);
    s->watch = (struct loop_watch){.fn = on_accept, .user = s, .fd = -1};
    if (loop_watch_set(loop, &s->watch, fd, EPOLLIN, err) != 0) {
        close(fd);
        fake_http_free(s);
        return -1;
    }
    *out = s;
    return 0;
}

void fake_http_free(struct fake_server *s)
{
    if (!s)
        return;
    while (s->conns.next != &s->conns)
        conn_free(s->conns.next);
    int fd = s->watch.fd;
    if (fd >= 0) {
        loop_watch_clear(s->loop, &s->watch);
        close(fd);
    }
    free(s->filler);
    free(s);
}
