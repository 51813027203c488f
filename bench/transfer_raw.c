/* transfer_raw - the same GETs and PUTs as bench/transfer over bare sockets: the floor. A request
 * is one text that is made once; of an answer only the status and Content-Length are read.
 *
 *     transfer_raw get|put http://ADDRESS:PORT/BUCKET BYTES COUNT IN_FLIGHT */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "bench/program.h"

enum {
    HEAD_MAX = 16384,
    BODY_BYTES = 1 << 20,
    SCRATCH_BYTES = 65536,
    EVENTS = 64,
    SILENCE_MS = 60000,
    ADDRESS_MAX = 64,
};

struct conn {
    int fd;
    bool busy, want_out;
    size_t head_sent;
    uint64_t body_left; /* to send */
    char head[HEAD_MAX];
    size_t head_len;
    uint64_t answer_left;
    bool in_body;
};

struct run {
    struct transfer_args args;
    struct sockaddr_in address;
    char request[1024];
    size_t request_len;
    char *body, *scratch;
    struct conn *conns;
    int epoll_fd;
    uint64_t limit, started, ended;
};

static struct run run;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "transfer_raw: %s%s%s\n", what, errno ? ": " : "",
            errno ? strerror(errno) : "");
    exit(1);
}

/* http://ADDRESS:PORT/BUCKET */
static bool read_where(char address[ADDRESS_MAX], uint64_t *port, const char **bucket)
{
    static const char scheme[] = "http://";
    const char *at = run.args.where + sizeof(scheme) - 1;
    if (strncmp(run.args.where, scheme, sizeof(scheme) - 1) != 0)
        return false;
    size_t address_len = strcspn(at, ":/"), port_len;
    if (address_len >= ADDRESS_MAX || at[address_len] != ':')
        return false;
    text_copy(address, address_len + 1, at);
    at += address_len + 1;
    port_len = strcspn(at, "/");
    *bucket = at + port_len + 1;
    return at[port_len] == '/' && parse_u64(at, port_len, port) && *port <= UINT16_MAX &&
           inet_pton(AF_INET, address, &run.address.sin_addr) == 1;
}

static void prepare(void)
{
    char address[ADDRESS_MAX], key[128];
    const char *bucket;
    uint64_t port;
    if (!read_where(address, &port, &bucket))
        fail("expected http://ADDRESS:PORT/BUCKET");
    run.address.sin_family = AF_INET;
    run.address.sin_port = htons((uint16_t)port);
    transfer_key(&run.args, key, sizeof(key));
    int n =
        snprintf(run.request, sizeof(run.request), "%s /%s/%s HTTP/1.1\r\nHost: %s:%" PRIu64 "\r\n",
                 run.args.put ? "PUT" : "GET", bucket, key, address, port);
    if (run.args.put)
        n += snprintf(run.request + n, sizeof(run.request) - (size_t)n,
                      "Content-Length: %" PRIu64 "\r\n", run.args.bytes);
    n += snprintf(run.request + n, sizeof(run.request) - (size_t)n, "\r\n");
    run.request_len = (size_t)n;
}

static void conn_open(struct conn *c)
{
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 ||
        connect(c->fd, (const struct sockaddr *)&run.address, sizeof(run.address)) != 0)
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(run.epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0)
        fail("epoll_ctl");
}

static void want_out(struct conn *c, bool wanted)
{
    struct epoll_event event = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (c->want_out != wanted && epoll_ctl(run.epoll_fd, EPOLL_CTL_MOD, c->fd, &event) != 0)
        fail("epoll_ctl");
    c->want_out = wanted;
}

static void send_more(struct conn *c)
{
    while (c->head_sent < run.request_len || c->body_left) {
        size_t head = run.request_len - c->head_sent;
        size_t body = c->body_left < BODY_BYTES ? (size_t)c->body_left : BODY_BYTES;
        struct iovec parts[] = {{run.request + c->head_sent, head}, {run.body, body}};
        struct msghdr message = {.msg_iov = head ? parts : parts + 1,
                                 .msg_iovlen = (head ? 1 : 0) + (body ? 1 : 0)};
        ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            fail("send");
        if (n < 0) {
            want_out(c, true);
            return;
        }
        size_t of_head = (size_t)n < head ? (size_t)n : head;
        c->head_sent += of_head;
        c->body_left -= (size_t)n - of_head;
    }
    want_out(c, false);
}

static void start(struct conn *c)
{
    c->busy = run.started < run.limit;
    if (!c->busy)
        return;
    run.started++;
    c->head_sent = c->head_len = 0;
    c->in_body = false;
    c->body_left = run.args.put ? run.args.bytes : 0;
    send_more(c);
}

static void take_head(struct conn *c, char *end)
{
    *end = '\0';
    const char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (strncmp(c->head, "HTTP/1.1 200", 12) != 0 || !length)
        fail("the answer is not a 200 with a length");
    c->answer_left = strtoull(length + 17, NULL, 10);
    if (c->answer_left != (run.args.put ? 0 : run.args.bytes))
        fail("the answer has another length");
    c->answer_left -= c->head_len - (size_t)(end + 4 - c->head);
    c->in_body = true;
}

static bool receive(struct conn *c)
{
    char *into = c->in_body ? run.scratch : c->head + c->head_len;
    size_t cap = c->in_body ? SCRATCH_BYTES : HEAD_MAX - 1 - c->head_len;
    ssize_t n = recv(c->fd, into, cap, 0);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0)
        fail("the server closed the connection");
    if (c->in_body) {
        c->answer_left -= (uint64_t)n;
        return true;
    }
    c->head_len += (size_t)n;
    char *end = memmem(c->head, c->head_len, "\r\n\r\n", 4);
    if (end)
        take_head(c, end);
    return true;
}

static void on_event(struct conn *c, uint32_t events)
{
    if (events & EPOLLOUT)
        send_more(c);
    if (!(events & ~(uint32_t)EPOLLOUT) || !receive(c))
        return;
    if (c->in_body && c->answer_left == 0) {
        run.ended++;
        start(c);
    }
}

static void run_phase(uint64_t count)
{
    struct epoll_event events[EVENTS];
    run.limit += count;
    for (size_t i = 0; i < run.args.in_flight; i++)
        start(&run.conns[i]);
    while (run.ended < run.started) {
        int n = epoll_wait(run.epoll_fd, events, EVENTS, SILENCE_MS);
        if (n < 0 && errno != EINTR)
            fail("epoll_wait");
        if (n == 0)
            fail("the server is silent");
        for (int i = 0; i < n; i++)
            on_event(events[i].data.ptr, events[i].events);
    }
}

int main(int argc, char **argv)
{
    transfer_args_read(&run.args, "transfer_raw", argc, argv);
    errno = 0;
    prepare();
    run.body = xcalloc(1, BODY_BYTES);
    run.scratch = xmalloc(SCRATCH_BYTES);
    run.conns = xcalloc(run.args.in_flight, sizeof(*run.conns));
    run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (run.epoll_fd < 0)
        fail("epoll_create1");
    for (size_t i = 0; i < run.args.in_flight; i++)
        conn_open(&run.conns[i]);
    run_phase(run.args.in_flight);
    struct usage began = usage_now();
    run_phase(run.args.count);
    usage_print(began, run.args.count);
    for (size_t i = 0; i < run.args.in_flight; i++)
        close(run.conns[i].fd);
    close(run.epoll_fd);
    free(run.conns);
    free(run.scratch);
    free(run.body);
    return 0;
}
