/* storectl.h - what the commands share: one run of the program, on one thread and one loop.
 *
 * A command starts operations and calls ctl_run() until they have ended. SIGINT and SIGTERM, and
 * standard output that nobody reads any more, set c->stop and call c->on_stop, which cancels; the
 * second signal ends the process at once. */
#ifndef STORECTL_STORECTL_H
#define STORECTL_STORECTL_H

#include "base/buf.h"
#include "base/loop.h"
#include "storectl/args.h"
#include "storectl/place.h"

enum exit_status {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_FOUND = 3,
    EXIT_INTERRUPTED = 130, /* 128 + SIGINT, as shells have it */
};

struct ctl {
    struct args args;
    struct places places;
    store_loop *loop;
    struct loop_watch wake; /* readable: a signal came */
    struct buf out;         /* a line of standard output in the making */
    bool stop;
    bool broken_pipe; /* why: standard output has no reader */
    bool usage;       /* the words of the command line were wrong */
    void (*on_stop)(void *user);
    void *on_stop_user;
    void (*before_message)(void *user); /* clears a progress bar */
    void *before_message_user;
    uint64_t failures, not_found; /* reported; of these, those that were NOT_FOUND */
};

/* Runs the loop until *until. */
void ctl_run(struct ctl *c, const bool *until);

/* Runs the loop until *done; a stop cancels *op, which the operation's end sets to NULL. */
void ctl_run_op(struct ctl *c, store_op **op, const bool *done);

/* What a signal does. */
void ctl_stop(struct ctl *c);

/* Whether the command should go on: nobody asked to stop, standard output is read. */
bool ctl_goes_on(const struct ctl *c);

/* Writes c->out to standard output and empties it. */
void ctl_print(struct ctl *c);

/* The same for what is to be read after a stop, too: how far it went. */
void ctl_print_last(struct ctl *c);

/* The same after everything: also what stdio holds. A failure is reported. */
void ctl_flush(struct ctl *c);

/* Standard output could not be written: reports it, quietly when nobody reads, and stops. */
void ctl_output_failed(struct ctl *c, int sys_errno);

/* An error as it is printed on standard error. */
void err_print(const struct store_err *err, bool json);

/* Prints the error, and counts it. STORE_CANCELED after a stop is neither. */
void ctl_fail(struct ctl *c, const struct store_err *err);

/* Reports what is wrong with the command line. */
void ctl_usage(struct ctl *c, const char *fmt, ...) STORE_PRINTF_LIKE(2, 3);

/* The place of a word, or -1 with the error reported; see place_parse(). */
int ctl_place(struct ctl *c, const char *word, bool create, struct place *p);

/* The place of a word that must be in a store, for reading or removing. Returns 0, or -1 with the
 * error reported. */
int ctl_store_place(struct ctl *c, const char *word, struct place *p);

/* The commands: c->args is what they were asked. What goes wrong is reported with ctl_fail(). */
void command_ls(struct ctl *c);
void command_cp(struct ctl *c);
void command_cat(struct ctl *c);
void command_rm(struct ctl *c);
void command_stat(struct ctl *c);

#endif
