/* stream_put - stores what comes through standard input, of a size that nobody knows beforehand.
 *
 *     tar -c /etc | stream_put STORE_URL KEY
 *
 * libstore asks for bytes when it can use them: the `read` call-back gives some, or says PAUSE and
 * resumes later. In S3 it becomes a multipart upload whose parts are sent side by side. The object
 * is there when `done` says so, whole or not at all. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include <store/store.h>

enum { DAY_MS = 24 * 3600 * 1000 };

struct stream {
    store_op *op; /* NULL: ended */
    bool waits;   /* for standard input */
    struct store_err err;
    uint64_t size;
};

static ssize_t read_stdin(void *user, void *buf, size_t cap)
{
    struct stream *s = user;
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&p, 1, 0) == 0) {
        s->waits = true; /* a call-back must not block the loop */
        return STORE_READ_PAUSE;
    }
    ssize_t n = read(STDIN_FILENO, buf, cap);
    return n >= 0 ? n : STORE_READ_ABORT; /* 0 is the end */
}

static void done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct stream *s = user;
    s->op = NULL;
    s->err = *err;
    s->size = info->size;
}

static int run(store_loop *loop, struct stream *s)
{
    while (s->op) {
        struct pollfd fds[] = {
            {.fd = s->waits ? STDIN_FILENO : -1, .events = POLLIN},
            {.fd = store_loop_fd(loop), .events = POLLIN},
        };
        if (poll(fds, 2, store_loop_timeout_ms(loop)) < 0 && errno != EINTR)
            return store_err_errno(&s->err, errno, "poll");
        if (fds[0].revents) {
            s->waits = false;
            store_op_resume(s->op);
        }
        if (store_loop_run(loop, 0, &s->err) != 0)
            return -1;
    }
    return s->err.code == STORE_OK ? 0 : -1;
}

int main(int argc, char **argv)
{
    static const struct store_put_cb cb = {read_stdin, done};
    const struct store_put_opts opts = {.timeout_ms = DAY_MS};
    struct stream s = {0};
    store *target = NULL;
    store_loop *loop = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: stream_put STORE_URL KEY\n");
        return 2;
    }
    int rc = store_open(argv[1], NULL, &target, &s.err);
    if (rc == 0)
        rc = store_loop_new(&loop, &s.err);
    if (rc == 0) {
        s.op = store_put(target, loop, argv[2], STORE_SIZE_UNKNOWN, &opts, &cb, &s, &s.err);
        rc = run(loop, &s);
    }
    if (rc == 0)
        printf("%llu bytes\n", (unsigned long long)s.size);
    else
        fprintf(stderr, "stream_put: %s\n", s.err.msg);
    store_loop_free(loop);
    store_close(target);
    return rc == 0 ? 0 : 1;
}
