/* The S3 driver's connections when an operation is given up while it connects: libcurl closes such
 * a socket without telling, and the next one has its number. The server is a listening socket of
 * this test's own thread, which answers "no such object" when it is its turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <store/store.h>

enum { ROUNDS = 60, TIMEOUT_MS = 3000 };

static int open_listener(unsigned *port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
    *port = ntohs(sa.sin_port);
    return fd;
}

static store *open_store(unsigned port)
{
    char endpoint[64];
    store *s = NULL;
    struct store_err err = {0};
    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u", port);
    const struct store_conf conf = {
        .endpoint = endpoint, .access_key = "AKIDTEST", .secret_key = "secret"};
    if (store_open("s3://bucket", &conf, &s, &err) != 0)
        fail_msg("%s", err.msg);
    return s;
}

struct outcome {
    bool done;
    enum store_code code;
};

static void on_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct outcome *o = user;
    (void)info;
    *o = (struct outcome){true, err->code};
}

/* Lets `rounds` turns of the loop pass, then gives up. */
static void begin_and_cancel(store *s, store_loop *loop, int rounds)
{
    struct outcome o = {0};
    store_op *op = store_head(s, loop, "k", TIMEOUT_MS, on_done, &o, NULL);
    assert_non_null(op);
    for (int i = 0; i < rounds && !o.done; i++)
        assert_int_equal(store_loop_run(loop, 0, NULL), 0);
    if (!o.done)
        store_op_cancel(op);
    while (!o.done)
        assert_int_equal(store_loop_run(loop, 100, NULL), 0);
}

/* Answers whatever is asked on any connection that has come. */
static void serve(int listener, int fds[], size_t *n_fds)
{
    static const char answer[] = "HTTP/1.1 404 Not here\r\nContent-Length: 0\r\n"
                                 "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd >= 0)
        fds[(*n_fds)++] = fd;
    for (size_t i = 0; i < *n_fds; i++) {
        char request[4096];
        if (recv(fds[i], request, sizeof(request), 0) <= 0)
            continue;
        ssize_t n = send(fds[i], answer, sizeof(answer) - 1, MSG_NOSIGNAL);
        assert_true(n == sizeof(answer) - 1 || n < 0); /* what was given up has been reset */
    }
}

static void canceled_connects_leave_nothing_behind(void **state)
{
    (void)state;
    unsigned port;
    int listener = open_listener(&port);
    store *s = open_store(port);
    store_loop *loop = NULL;
    assert_int_equal(store_loop_new(&loop, NULL), 0);
    for (int round = 0; round < ROUNDS; round++) {
        int fds[256];
        size_t n_fds = 0;
        struct outcome o = {0};
        begin_and_cancel(s, loop, round % 4);
        begin_and_cancel(s, loop, (round + 1) % 3);
        assert_non_null(store_head(s, loop, "k", TIMEOUT_MS, on_done, &o, NULL));
        while (!o.done) {
            assert_int_equal(store_loop_run(loop, 1, NULL), 0);
            serve(listener, fds, &n_fds);
        }
        assert_int_equal(o.code, STORE_NOT_FOUND);
        for (size_t i = 0; i < n_fds; i++)
            close(fds[i]); /* so that the next round connects anew */
    }
    store_loop_free(loop);
    store_close(s);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canceled_connects_leave_nothing_behind),
    };
    return cmocka_run_group_tests_name("s3_connect", tests, NULL, NULL);
}
