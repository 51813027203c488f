/* storectl - objects in S3 buckets and folders from the command line: docs/storectl.md. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "storectl/storectl.h"

enum { MAX_LINE = 64 * 1024 };

/* ---- Signals: the first stops, the second ends ---- */

static int wake_fd = -1;
static volatile sig_atomic_t signals_seen;

/* A handler and not a signalfd: what blocks in open() or read() outside the loop must end, too. */
static void on_signal(int number)
{
    static const uint64_t one = 1;
    int saved = errno;
    if (signals_seen++)
        _exit(128 + number);
    if (write(wake_fd, &one, sizeof(one)) < 0) /* cannot be: the counter is far from full */
        _exit(128 + number);
    errno = saved;
}

static void on_wake(void *user, uint32_t events)
{
    struct ctl *c = user;
    uint64_t count;
    (void)events;
    if (read(wake_fd, &count, sizeof(count)) > 0)
        ctl_stop(c);
}

static int watch_signals(struct ctl *c, struct store_err *err)
{
    const struct sigaction act = {.sa_handler = on_signal};
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0)
        return store_err_errno(err, errno, "eventfd");
    c->wake = (struct loop_watch){.fn = on_wake, .user = c, .fd = -1};
    if (loop_watch_set(c->loop, &c->wake, wake_fd, EPOLLIN, err) != 0)
        return -1;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    return 0;
}

/* ---- The run ---- */

static void run_command(struct ctl *c)
{
    switch (c->args.command) {
    case COMMAND_LS: command_ls(c); break;
    case COMMAND_CP: command_cp(c); break;
    case COMMAND_CAT: command_cat(c); break;
    case COMMAND_RM: command_rm(c); break;
    case COMMAND_STAT: command_stat(c); break;
    }
    ctl_flush(c);
}

static enum exit_status status_of(const struct ctl *c)
{
    if (c->stop && !c->broken_pipe && signals_seen)
        return EXIT_INTERRUPTED;
    if (c->usage)
        return EXIT_USAGE;
    if (c->failures == 0)
        return EXIT_DONE;
    return c->failures == c->not_found ? EXIT_NOT_FOUND : EXIT_FAILED;
}

/* As all tools end whose output nobody reads. */
static void die_of_broken_pipe(void)
{
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
}

static enum exit_status run(struct ctl *c)
{
    struct store_err err = {0};
    c->places.conf = &c->args.conf;
    c->places.default_url = c->args.store_url;
    if (store_loop_new(&c->loop, &err) == 0 && watch_signals(c, &err) == 0)
        run_command(c);
    else
        ctl_fail(c, &err);
    loop_watch_clear(c->loop, &c->wake);
    store_loop_free(c->loop);
    places_close(&c->places);
    if (wake_fd >= 0)
        close(wake_fd);
    return status_of(c);
}

int main(int argc, char **argv)
{
    struct ctl c = {.wake = LOOP_WATCH_INIT, .out = BUF_INIT(MAX_LINE)};
    struct store_err err = {0};
    enum exit_status status = EXIT_DONE;
    signal(SIGPIPE, SIG_IGN); /* sockets report it instead */
    switch (args_parse(&c.args, argc, argv, &err)) {
    case ARGS_RUN: status = run(&c); break;
    case ARGS_SERVED: status = fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED; break;
    case ARGS_BAD:
        err_print(&err, c.args.json);
        status = EXIT_USAGE;
        break;
    }
    args_cleanup(&c.args);
    buf_cleanup(&c.out);
    if (c.broken_pipe)
        die_of_broken_pipe();
    return status;
}
