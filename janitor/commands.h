/* commands.h - the operator's commands: what there is, how each is called, and what it works with.
 *
 * commands.c has the table and runs one; command_NAME.c have what they do. A command takes options
 * of its own, which only its --help shows, and besides them all options of the janitor, from the
 * same file and environment, so that it meets the same store, queue and ledger. */
#ifndef JANITOR_COMMANDS_H
#define JANITOR_COMMANDS_H

#include <jansson.h>

#include "janitor/janitor.h"
#include "janitor/notice.h"

enum command_exit {
    COMMAND_DONE = 0,
    COMMAND_FAILED = 1, /* it failed, or there is no such thing, or it is in another state */
    COMMAND_MISUSED = 2,
    COMMAND_DEGRADED = 3, /* an answer, but without what the store or Redis would have told */
    COMMAND_WAITS = 4,    /* delete --wait: neither completed nor failed */
};

struct call;

struct command {
    const char *words;  /* "status", "dlq list" */
    const char *usage;  /* of what follows, or "" */
    size_t least, most; /* how many words follow */
    const char *summary;
    const struct option *options; /* its own */
    const char *example;
    bool publishes;                /* needs the queue */
    int (*run)(struct call *call); /* an enum command_exit. NULL: the service itself */
};
extern const struct command commands[]; /* words NULL ends it */

/* What a command works with. */
struct call {
    const struct command *command;
    const struct janitor_conf *conf;
    const struct command_conf *own;
    char **args; /* the words that follow; NULL-terminated */
    size_t n_args;
    struct janitor janitor; /* store and ledger, and the queue if the command publishes */
    store_loop *loop;
};

/* The command that the words name, and in *used how many of them do; without words it is the first
 * one. NULL with a message that names what was expected. Pure. */
const struct command *command_find(const char *const *words, size_t n, size_t *used,
                                   struct store_err *err);
/* main() of the janitor: one of the commands, or the service. tables: the service's options. */
int commands_main(const struct app *app, const struct option *const *tables, int argc, char **argv);

/* Says on standard error why the command failed. Returns COMMAND_FAILED. */
int command_failed(const struct call *call, const struct store_err *err);
/* The same for a wrong use. Returns COMMAND_MISUSED. */
int command_misused(const struct call *call, const struct store_err *err);
/* What --tenant says, or "". -1 with a message. */
int command_tenant(const struct call *call, char tenant[ID_SIZE], struct store_err *err);
/* Prints o on standard output, and gives up the reference. */
void command_print(json_t *o);
/* The same for an array of any length, element by element: *n counts them, and begins with 0. The
 * end prints nothing when it failed before the first. */
void command_print_element(json_t *o, size_t *n);
void command_print_end(size_t n, bool failed);

/* command_status.c */
int command_status(struct call *call);
int command_list(struct call *call);
/* A janitor as a row of a table, and its troubles in lines of their own. */
void command_print_janitor_head(void);
void command_print_janitor(const struct notice *n, int64_t now_s);
/* command_job.c */
int command_show(struct call *call);
int command_retry(struct call *call);
int command_hold(struct call *call);
int command_release(struct call *call);
int command_cancel(struct call *call);
/* command_dlq.c */
int command_dlq_list(struct call *call);
int command_dlq_show(struct call *call);
int command_dlq_replay(struct call *call);
extern const char *const dlq_classes[]; /* of --class; "all" is the first */
/* command_delete.c */
int command_delete(struct call *call);
/* command_watch.c */
int command_watch(struct call *call);

#endif
