#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storectl/show.h"
#include "storectl/storectl.h"

bool ctl_goes_on(const struct ctl *c)
{
    return !c->stop;
}

void ctl_stop(struct ctl *c)
{
    if (c->stop)
        return;
    c->stop = true;
    if (c->on_stop)
        c->on_stop(c->on_stop_user);
}

void ctl_run(struct ctl *c, const bool *until)
{
    struct store_err err;
    while (!*until)
        if (store_loop_run(c->loop, -1, &err) != 0) {
            ctl_fail(c, &err); /* only a broken epoll descriptor does that: a bug of ours */
            exit(EXIT_FAILED);
        }
}

static void cancel_op(void *user)
{
    store_op **op = user;
    if (*op)
        store_op_cancel(*op);
}

void ctl_run_op(struct ctl *c, store_op **op, const bool *done)
{
    c->on_stop = cancel_op;
    c->on_stop_user = op;
    ctl_run(c, done);
    c->on_stop = NULL;
}

void ctl_output_failed(struct ctl *c, int sys_errno)
{
    struct store_err err = {0};
    if (c->stop)
        return;
    if (sys_errno == EPIPE) {
        c->broken_pipe = true;
    } else {
        store_err_errno(&err, sys_errno, "standard output");
        ctl_fail(c, &err);
    }
    ctl_stop(c);
}

void ctl_print(struct ctl *c)
{
    if (!c->stop && fwrite(buf_str(&c->out), 1, c->out.len, stdout) != c->out.len)
        ctl_output_failed(c, errno);
    buf_reset(&c->out);
}

void ctl_flush(struct ctl *c)
{
    if (!c->stop && fflush(stdout) != 0)
        ctl_output_failed(c, errno);
}

void ctl_print_last(struct ctl *c)
{
    bool stopped = c->stop;
    c->stop = c->broken_pipe;
    ctl_print(c);
    ctl_flush(c);
    c->stop = c->stop || stopped;
}

/* ---- Errors ---- */

static void err_json(struct buf *b, const struct store_err *err)
{
    json_begin(b);
    json_str(b, "error", store_code_name(err->code));
    json_str(b, "message", err->msg);
    if (err->http_status)
        json_num(b, "http_status", (uint64_t)err->http_status);
    if (err->sys_errno)
        json_num(b, "errno", (uint64_t)err->sys_errno);
    json_end(b);
}

void err_print(const struct store_err *err, bool json)
{
    struct buf line = BUF_INIT(16384);
    if (json) {
        err_json(&line, err);
    } else {
        buf_adds(&line, "storectl: ");
        text_safe(&line, err->msg);
        buf_addc(&line, '\n');
    }
    fwrite(buf_str(&line), 1, line.len, stderr);
    buf_cleanup(&line);
}

void ctl_fail(struct ctl *c, const struct store_err *err)
{
    if (c->stop && err->code == STORE_CANCELED)
        return;
    c->failures++;
    if (err->code == STORE_NOT_FOUND)
        c->not_found++;
    if (c->before_message)
        c->before_message(c->before_message_user);
    err_print(err, c->args.json);
}

void ctl_usage(struct ctl *c, const char *fmt, ...)
{
    struct store_err err = {.code = STORE_INVALID};
    va_list args;
    va_start(args, fmt);
    vsnprintf(err.msg, sizeof(err.msg), fmt, args);
    va_end(args);
    c->usage = true;
    ctl_fail(c, &err);
}

/* ---- Places ---- */

int ctl_place(struct ctl *c, const char *word, bool create, struct place *p)
{
    struct store_err err = {0};
    if (place_parse(&c->places, word, create, p, &err) == 0)
        return 0;
    c->usage = c->usage || err.code == STORE_INVALID;
    ctl_fail(c, &err);
    return -1;
}

int ctl_store_place(struct ctl *c, const char *word, struct place *p)
{
    if (place_is_store(word))
        return ctl_place(c, word, false, p);
    ctl_usage(c, "'%.150s': expected s3://BUCKET/KEY, file:///FOLDER//KEY or :KEY", word);
    return -1;
}
