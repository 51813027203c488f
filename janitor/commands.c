#include "janitor/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/view.h"

enum { MAX_TABLES = 24, MAX_COMMAND_WORDS = 2, NAME_COLUMN = 12 };

/* ---- Their options ---- */

#define OPT(name, field, type, dflt, min, max, choices, help)                               \
    {                                                                                       \
        name, type, offsetof(struct janitor_conf, command.field), dflt, min, max, OPT_ARGS, \
            choices, help                                                                   \
    }
#define FLAG(name, field, help) OPT(name, field, OPT_BOOL, NULL, 0, 0, NULL, help)
#define TEXT(name, field, help) OPT(name, field, OPT_STRING, NULL, 0, 0, NULL, help)
#define JSON                    FLAG("json", json, "Print JSON.")
#define END          \
    {                \
        .name = NULL \
    }
#define READ_TIMEOUT                                               \
    OPT("timeout", timeout_ms, OPT_MS, "60s", 1000, 3600000, NULL, \
        "How long reading the whole dead-letter topic may take.")
#define CLASS                                               \
    OPT("class", class, OPT_ENUM, "all", 0, 0, dlq_classes, \
        "Only those that were refused for this: see docs/events.md.")

static const struct option no_options[] = {END};
static const struct option json_options[] = {JSON, END};
static const struct option list_options[] = {
    TEXT("tenant", tenant, "Only this tenant's, 32 hex digits."),
    OPT("state", state, OPT_ENUM, "all", 0, 0, view_states,
        "Only those in this state. open: all that are worked on, or will be at once."),
    OPT("older_than", older_than_ms, OPT_MS, NULL, 0, 0, NULL,
        "Only those that were accepted longer ago."),
    JSON,
    END,
};
static const struct option all_options[] = {
    FLAG("all", all, "Instead of a JOB: every one that is in the right state."),
    TEXT("tenant", tenant, "With --all: only this tenant's, 32 hex digits."),
    JSON,
    END,
};
static const struct option reason_options[] = {
    TEXT("reason", reason, "Why; kept with the deletion, and told in its event."),
    JSON,
    END,
};
static const struct option delete_options[] = {
    TEXT("tenant", tenant, "Tenant id, 32 hex digits; required."),
    TEXT("timeline", timeline, "Timeline id, 32 hex digits; without it the whole tenant goes."),
    TEXT("endpoint", endpoint, "Endpoint id; without it the whole timeline goes."),
    TEXT("upto_gen", upto_gen, "Highest generation of the endpoint that goes."),
    OPT("reason", reason, OPT_STRING, "operator", 0, 0, NULL, "For the records."),
    TEXT("not_before", not_before,
         "When the removal may begin, RFC 3339; the tombstone does not wait."),
    FLAG("dry_run", dry_run, "Only count what would go."),
    FLAG("wait", wait, "Wait until it is completed, has failed, is held or was cancelled."),
    OPT("timeout", timeout_ms, OPT_MS, "1h", 1000, 0, NULL,
        "How long --wait waits; the deletion goes on all the same."),
    JSON,
    END,
};
static const struct option watch_options[] = {
    TEXT("tenant", tenant, "Only this tenant's, 32 hex digits."),
    OPT("for", follow_ms, OPT_MS, "0", 0, 0, NULL, "How long to follow; 0: until interrupted."),
    FLAG("json", json, "Print each notice as a line of JSON."),
    END,
};
static const struct option dlq_list_options[] = {CLASS, READ_TIMEOUT, JSON, END};
static const struct option dlq_show_options[] = {READ_TIMEOUT, JSON, END};
static const struct option dlq_replay_options[] = {
    CLASS,
    FLAG("all", all, "Every one, whatever it was refused for."),
    FLAG("dry_run", dry_run, "Only tell which would be published."),
    READ_TIMEOUT,
    JSON,
    END,
};

/* ---- The table ---- */

const struct command commands[] = {
    {"run", "", 0, 0, "Serve: take deletion events and see them through. The default.", no_options,
     "epufs-janitor run --config /etc/epufs/janitor.conf", false, NULL},
    {"status", "", 0, 0, "How many deletions are open, the oldest, what each janitor does.",
     json_options, "epufs-janitor status --json | jq .totals", false, command_status},
    {"list", "", 0, 0, "The open deletions.", list_options,
     "epufs-janitor list --state failed --older-than 1h", false, command_list},
    {"watch", "", 0, 0, "Follow janitors and deletions live, as Redis passes it on.", watch_options,
     "epufs-janitor watch --tenant 33333333333333333333333333333333", false, command_watch},
    {"show", "JOB", 1, 1, "All that is known of one deletion.", json_options,
     "epufs-janitor show 27c09a37bb", false, command_show},
    {"retry", "JOB | --all", 0, 1, "Open a deletion that has failed again.", all_options,
     "epufs-janitor retry --all --tenant 33333333333333333333333333333333", false, command_retry},
    {"hold", "JOB", 1, 1, "Have an open deletion wait. Its tombstone stands.", reason_options,
     "epufs-janitor hold 27c09a37bb --reason 'restore under way'", true, command_hold},
    {"release", "JOB | --all", 0, 1, "Let a deletion that is held go on.", all_options,
     "epufs-janitor release 27c09a37bb", false, command_release},
    {"cancel", "JOB", 1, 1, "Remove no more of it, and end it. Its tombstone stays.",
     reason_options, "epufs-janitor cancel 27c09a37bb --reason 'wrong tenant'", false,
     command_cancel},
    {"delete", "", 0, 0, "Ask for a deletion, as the control plane does.", delete_options,
     "epufs-janitor delete --tenant 33333333333333333333333333333333 --wait", true, command_delete},
    {"dlq list", "", 0, 0, "The events that were refused.", dlq_list_options,
     "epufs-janitor dlq list --class exhausted", true, command_dlq_list},
    {"dlq show", "ID", 1, 1, "One of them: why, and all that it said.", dlq_show_options,
     "epufs-janitor dlq show 3-1", true, command_dlq_show},
    {"dlq replay", "[ID …]", 0, SIZE_MAX, "Publish them to the deletions topic again.",
     dlq_replay_options, "epufs-janitor dlq replay --class exhausted --dry-run", true,
     command_dlq_replay},
    {.words = NULL},
};

/* ---- Finding one ---- */

/* How many of the words are the command's, or 0. */
static size_t match(const struct command *c, const char *const *words, size_t n)
{
    size_t first = strcspn(c->words, " ");
    if (n == 0 || strlen(words[0]) != first || strncmp(words[0], c->words, first) != 0)
        return 0;
    if (!c->words[first])
        return 1;
    return n > 1 && strcmp(words[1], c->words + first + 1) == 0 ? 2 : 0;
}

/* "run, status, … or dlq replay"; of a group only its own. */
static void expected(const char *group, char *out, size_t cap)
{
    struct buf text = BUF_INIT(1024);
    size_t n = strlen(group), left = 0, all = 0;
    for (const struct command *c = commands; c->words; c++)
        all += strncmp(c->words, group, n) == 0;
    left = all;
    for (const struct command *c = commands; c->words; c++) {
        if (strncmp(c->words, group, n) != 0)
            continue;
        buf_addf(&text, "%s%s", left == all ? "" : left == 1 ? " or " : ", ", c->words);
        left--;
    }
    text_copy(out, cap, buf_str(&text));
    buf_cleanup(&text);
}

const struct command *command_find(const char *const *words, size_t n, size_t *used,
                                   struct store_err *err)
{
    char names[200], shown[48], group[16] = "";
    *used = 0;
    if (n == 0)
        return &commands[0];
    for (const struct command *c = commands; c->words; c++)
        if ((*used = match(c, words, n)) > 0)
            return c;
    bool of_group = strcmp(words[0], "dlq") == 0;
    text_copy(group, sizeof(group), of_group ? "dlq " : "");
    expected(group, names, sizeof(names));
    const char *wrong = of_group && n > 1 ? words[1] : words[0];
    store_err_set(err, STORE_INVALID, "'%s': expected %s",
                  text_excerpt(wrong, strlen(wrong), shown, sizeof(shown)), names);
    return NULL;
}

/* ---- Help ---- */

/* The service's, or a command's, frame; what the call-backs get points into it. */
struct program {
    struct app app; /* first: service.app is this */
    struct options_spec spec;
    const struct option *tables[MAX_TABLES];
    const struct command *command;
    size_t used; /* words */
    char name[48], usage[80];
};

static void help_of_service(const struct options_spec *spec, FILE *out)
{
    fputs("Usage: epufs-janitor [options] [COMMAND]\n", out);
    fprintf(out, "%s\n\nCommands, each with a --help of its own:\n", spec->summary);
    for (const struct command *c = commands; c->words; c++)
        fprintf(out, "  %-*s%s\n", NAME_COLUMN, c->words, c->summary);
    fputs("\nOptions:\n", out);
    options_help_all(spec, out);
}

static void help_of_command(const struct options_spec *spec, FILE *out)
{
    const struct program *p = (const void *)((const char *)spec - offsetof(struct program, spec));
    const struct command *c = p->command;
    fprintf(out, "Usage: epufs-janitor %s [options]%s%s\n%s\n\nOptions:\n", c->words,
            *c->usage ? " " : "", c->usage, c->summary);
    options_help_table(c->options, out);
    fprintf(out,
            "\nExample:\n  %s\n\n"
            "The janitor's own options hold here too, such as --store, --redis-url and\n"
            "--kafka-brokers, from the same file (--config) and environment:\n"
            "epufs-janitor --help lists them. Exit status: 0 done, 1 failed or not found,\n"
            "2 wrong use; others are in docs/operations.md.\n",
            c->example);
}

/* ---- Running one ---- */

int command_failed(const struct call *call, const struct store_err *err)
{
    fprintf(stderr, "epufs-janitor %s: %s\n", call->command->words, err->msg);
    return COMMAND_FAILED;
}

int command_misused(const struct call *call, const struct store_err *err)
{
    fprintf(stderr, "epufs-janitor %s: %s; epufs-janitor %s --help tells the usage\n",
            call->command->words, err->msg, call->command->words);
    return COMMAND_MISUSED;
}

int command_tenant(const struct call *call, char tenant[ID_SIZE], struct store_err *err)
{
    const char *given = call->own->tenant;
    *tenant = '\0';
    if (!given || scope_parse_id(given, strlen(given), tenant))
        return 0;
    return store_err_set(err, STORE_INVALID, "--tenant: expected 32 hex digits");
}

void command_print(json_t *o)
{
    json_dumpf(o, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(o);
}

void command_print_element(json_t *o, size_t *n)
{
    fputs((*n)++ ? ",\n" : "[\n", stdout);
    json_dumpf(o, stdout, JSON_COMPACT);
    json_decref(o);
}

void command_print_end(size_t n, bool failed)
{
    if (n > 0 || !failed)
        fputs(n > 0 ? "\n]\n" : "[]\n", stdout);
}

/* None of these waits for a server. */
static int open_all(struct call *call, struct service *s, struct store_err *err)
{
    struct janitor *j = &call->janitor;
    const struct janitor_conf *c = call->conf;
    if (store_loop_new(&call->loop, err) != 0)
        return -1;
    if (call->command->publishes)
        return engine_open(j, s, false, err);
    j->conf = c;
    if (service_open_store(s, err) != 0)
        return -1;
    j->store = s->store;
    const struct redis_conf redis = conf_redis(c);
    return ledger_open_conf(&redis, &j->ledger, err);
}

static int check_args(const struct call *call, struct store_err *err)
{
    const struct command *c = call->command;
    char shown[64];
    if (call->n_args < c->least)
        return store_err_set(err, STORE_INVALID, "%s is missing", c->usage);
    if (call->n_args <= c->most)
        return 0;
    const char *extra = call->args[c->most];
    return store_err_set(err, STORE_INVALID, "'%s' is one word too many; expected %s",
                         text_excerpt(extra, strlen(extra), shown, sizeof(shown)),
                         *c->usage ? c->usage : "none");
}

/* What goes wrong is told by the command itself, in its own words. */
static void quieten(const struct janitor_conf *c)
{
    if (c->service.log_level > LOG_DEBUG)
        log_set_level(LOG_ERROR);
}

static int run_command(struct service *s, char **words)
{
    const struct program *p = (const void *)s->app;
    struct store_err err = {0};
    struct call call = {.command = p->command, .conf = s->conf, .args = words + p->used};
    call.own = &call.conf->command;
    while (call.args[call.n_args])
        call.n_args++;
    if (check_args(&call, &err) != 0)
        return command_misused(&call, &err);
    if (!p->command->run)
        return -1;
    quieten(call.conf);
    int rc = open_all(&call, s, &err) == 0 ? p->command->run(&call) : command_failed(&call, &err);
    store_loop_free(call.loop);
    engine_close(&call.janitor);
    store_close(s->store);
    if (fflush(stdout) != 0 && rc == COMMAND_DONE) {
        store_err_set(&err, STORE_FAILED, "standard output cannot be written");
        rc = command_failed(&call, &err);
    }
    return rc;
}

/* ---- Starting ---- */

/* The options of everything, for finding the words among them. */
static size_t find_words(const struct option *const *tables, int argc, char **argv,
                         const char *words[MAX_COMMAND_WORDS])
{
    const struct option *all[MAX_TABLES + 1];
    size_t n = 0;
    for (; tables[n]; n++)
        all[n] = tables[n];
    for (const struct command *c = commands; c->words && n < MAX_TABLES; c++)
        all[n++] = c->options;
    all[n] = NULL;
    return options_words(all, argc, argv, words, MAX_COMMAND_WORDS);
}

static void make_program(const struct app *app, const struct option *const *tables,
                         struct program *p)
{
    const struct command *c = p->command;
    size_t n = 0;
    for (; tables[n]; n++)
        p->tables[n] = tables[n];
    p->tables[n++] = c->options;
    snprintf(p->name, sizeof(p->name), "%s %s", app->program, c->words);
    p->app = *app;
    p->app.options = &p->spec;
    p->app.command = run_command;
    p->spec = (struct options_spec){
        .program = c->run ? p->name : app->program,
        .summary =
            c->run ? c->summary : "Makes deletions of tenants, timelines and endpoints true.",
        .usage = c->usage,
        .tables = p->tables,
        .check = conf_check,
        .help = c->run ? help_of_command : help_of_service,
    };
}

int commands_main(const struct app *app, const struct option *const *tables, int argc, char **argv)
{
    static struct program program; /* the service reads it until its end */
    const char *words[MAX_COMMAND_WORDS];
    struct store_err err;
    size_t n = find_words(tables, argc, argv, words);
    program.command = command_find(words, n, &program.used, &err);
    if (!program.command) {
        fprintf(stderr, "%s: %s\n", app->program, err.msg);
        return COMMAND_MISUSED;
    }
    make_program(app, tables, &program);
    return service_main(&program.app, argc, argv);
}
