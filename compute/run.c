#include "compute/run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "compute/bearer.h"
#include "compute/load.h"
#include "compute/store.h"

enum { GRACE_MS = 2000, MAX_WAIT_MS = 60000, NO_SUCH_PROGRAM = 127, CANNOT_BE_RUN = 126 };

static const int passed_on[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2};

struct run {
    const struct compute_conf *conf;
    sigset_t usual, ours;    /* the mask that we came with; what we wait for */
    void (*usual_pipe)(int); /* what SIGPIPE did */
    pid_t self, server;      /* server 0: not started, or ended */
    int status;              /* of the server, as waitpid() tells */
    pid_t helper;            /* a load or store under way; 0: none */
    int helper_status;
    uint64_t helper_ends_ms; /* then it is killed */
    uint64_t next_store_ms;  /* 0: none */
    int stop;                /* the signal that asks us to end, while there is no server; 0: none */
};

/* ---- Load and store ---- */

/* A reader of our log who has gone, or a limit of the size of files, is an error like others. */
static void expect_errors(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

int run_load(const struct compute_conf *conf)
{
    struct load_report r;
    struct store_err err = {.code = STORE_OK};
    expect_errors();
    if (load_run(conf, &r, &err) != 0) {
        log_warn("the endpoint starts cold", LOG_ERR(&err), LOG_U("ms", r.time_ms));
        return conf->strict ? 1 : 0;
    }
    if (r.placed + r.current == 0)
        log_info("the endpoint starts cold",
                 LOG_S("reason", r.refused ? "no file was fit" : "nothing has been stored yet"),
                 LOG_U("refused", r.refused), LOG_U("ms", r.time_ms));
    else
        log_info("files loaded", LOG_U("files", r.placed), LOG_U("current", r.current),
                 LOG_U("refused", r.refused), LOG_U("bytes", r.bytes), LOG_U("ms", r.time_ms));
    return 0;
}

int run_store(const struct compute_conf *conf)
{
    struct store_report r;
    struct store_err err = {.code = STORE_OK};
    expect_errors();
    int failed = store_files(conf, &r, &err);
    if (failed)
        log_warn("not everything was stored", LOG_U("files", r.stored), LOG_U("failed", r.failed),
                 LOG_ERR(&err), LOG_U("ms", r.time_ms));
    else
        log_info("files stored", LOG_U("files", r.stored), LOG_U("unchanged", r.unchanged),
                 LOG_U("bytes", r.bytes), LOG_U("ms", r.time_ms));
    return failed ? 1 : 0;
}

/* ---- Children ---- */

/* In a child: it goes when we go, by this signal. */
static void tie(const struct run *r, int number)
{
    prctl(PR_SET_PDEATHSIG, number);
    if (getppid() != r->self)
        _exit(1); /* we went before that was arranged */
}

static void start_helper(struct run *r, int (*fn)(const struct compute_conf *), uint64_t timeout_ms)
{
    r->helper_ends_ms = clock_mono_ms() + timeout_ms + GRACE_MS;
    r->helper = fork();
    if (r->helper == 0) {
        tie(r, SIGKILL);
        sigprocmask(SIG_SETMASK, &r->usual, NULL);
        signal(SIGINT, SIG_IGN); /* of a terminal: it is for the server */
        _exit(fn(r->conf));
    }
    if (r->helper < 0) {
        log_warn("no process for load or store", LOG_S("error", strerror(errno)));
        r->helper = 0;
    }
}

static void kill_helper(struct run *r)
{
    if (!r->helper)
        return;
    kill(r->helper, SIGKILL);
    waitpid(r->helper, NULL, 0);
    r->helper = 0;
}

static void exec_server(const struct run *r, char **command)
{
    tie(r, SIGINT);
    sigprocmask(SIG_SETMASK, &r->usual, NULL);
    signal(SIGPIPE, r->usual_pipe);
    unsetenv(BEARER_ENV); /* not for whoever may run programs through SQL */
    execvp(command[0], command);
    int status = errno == ENOENT ? NO_SUCH_PROGRAM : CANNOT_BE_RUN;
    log_error("the server cannot be started", LOG_S("program", command[0]),
              LOG_S("error", strerror(errno)));
    _exit(status);
}

static int start_server(struct run *r, char **command)
{
    r->server = fork();
    if (r->server == 0)
        exec_server(r, command);
    if (r->server < 0) {
        log_error("no process for the server", LOG_S("error", strerror(errno)));
        r->server = 0;
        return -1;
    }
    log_info("server started", LOG_S("program", command[0]), LOG_I("pid", r->server));
    return 0;
}

/* Everybody who has ended, also those that a dead process left to us. */
static void bury(struct run *r)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid == r->server) {
            r->server = 0;
            r->status = status;
        } else if (pid == r->helper) {
            r->helper = 0;
            r->helper_status = status;
        }
    }
}

/* ---- Waiting ---- */

static void take_signal(struct run *r, int number)
{
    if (number == SIGCHLD)
        bury(r);
    else if (r->server)
        kill(r->server, number);
    else if (number == SIGTERM || number == SIGINT || number == SIGQUIT)
        r->stop = number;
}

/* One signal, or until the moment that comes first. */
static void wait_once(struct run *r)
{
    uint64_t now_ms = clock_mono_ms(), until_ms = now_ms + MAX_WAIT_MS;
    if (r->helper && r->helper_ends_ms < until_ms)
        until_ms = r->helper_ends_ms;
    if (r->next_store_ms && r->next_store_ms < until_ms)
        until_ms = r->next_store_ms;
    uint64_t wait_ms = until_ms > now_ms ? until_ms - now_ms : 0;
    const struct timespec time = {(time_t)(wait_ms / 1000), (long)(wait_ms % 1000) * 1000000};
    int number = sigtimedwait(&r->ours, NULL, &time);
    if (number > 0)
        take_signal(r, number);
    if (r->helper && clock_mono_ms() >= r->helper_ends_ms) {
        log_warn("load or store did not end in time and is killed");
        kill_helper(r);
    }
}

/* Until a load or store has ended; a signal that asks us to end cuts it short. */
static void finish_helper(struct run *r)
{
    while (r->helper && !r->stop)
        wait_once(r);
    kill_helper(r);
}

/* A tenth less or more, so that computes that started together do not store together. */
static void plan_store(struct run *r)
{
    uint64_t interval_ms = r->conf->store_interval_ms;
    uint16_t random = 0;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
        random = (uint16_t)getpid();
    r->next_store_ms = interval_ms == 0 ? 0
                                        : clock_mono_ms() + interval_ms - interval_ms / 10 +
                                              interval_ms / 5 * random / UINT16_MAX;
}

static void serve(struct run *r)
{
    plan_store(r);
    while (r->server) {
        wait_once(r);
        if (!r->server || !r->next_store_ms || clock_mono_ms() < r->next_store_ms)
            continue;
        if (!r->helper)
            start_helper(r, run_store, r->conf->store_timeout_ms);
        plan_store(r);
    }
    r->next_store_ms = 0;
}

/* ---- All of it ---- */

static void take_signals(struct run *r)
{
    sigemptyset(&r->ours);
    sigaddset(&r->ours, SIGCHLD);
    for (size_t i = 0; i < LEN(passed_on); i++)
        sigaddset(&r->ours, passed_on[i]);
    sigprocmask(SIG_BLOCK, &r->ours, &r->usual);
    r->usual_pipe = signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* not ignored, as some parents have it: then nobody could wait */
}

static int end(const struct run *r)
{
    return WIFSIGNALED(r->status) ? 128 + WTERMSIG(r->status) : WEXITSTATUS(r->status);
}

int run_server(const struct compute_conf *conf, char **command)
{
    struct run r = {.conf = conf, .self = getpid()};
    take_signals(&r);
    start_helper(&r, run_load, conf->load_timeout_ms);
    finish_helper(&r);
    if (r.stop)
        return 128 + r.stop;
    if (start_server(&r, command) != 0)
        return CANNOT_BE_RUN;
    serve(&r);
    kill_helper(&r); /* what it was about to store is older than what is there now */
    log_info("server ended", LOG_I("status", end(&r)));
    if (end(&r) == 0) {
        start_helper(&r, run_store, conf->store_timeout_ms);
        finish_helper(&r);
    }
    return end(&r);
}
