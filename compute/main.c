/* epufs-compute: options and commands. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/log.h"
#include "base/options.h"
#include "base/xalloc.h"
#include "compute/run.h"
#include "epufs/scope.h"

enum { EXIT_MISUSED = 2, MAX_TABLES = 4 };

#define OPT(name, field, type, dflt, min, max, flags, choices, help)                           \
    {                                                                                          \
        name, type, offsetof(struct compute_conf, field), dflt, min, max, flags, choices, help \
    }
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const formats[] = {"text", "json", NULL};

static const struct option common_options[] = {
    OPT("pgdata", pgdata, OPT_STRING, NULL, 0, 0, OPT_REQUIRED, NULL, "The server's data folder."),
    OPT("url", url, OPT_STRING, NULL, 0, 0, OPT_REQUIRED, NULL,
        "Where the files are: http[s]://host[:port] of the gateway, or of the reader."),
    OPT("writer_url", writer_url, OPT_STRING, NULL, 0, 0, 0, NULL,
        "Where they are stored, when that is another address: the writer's. Default: url."),
    OPT("token_file", token_file, OPT_STRING, NULL, 0, 0, 0, NULL,
        "File with the endpoint's token, read again when it changes. Default: the environment "
        "variable EPUFS_TOKEN has it."),
    OPT("ca_file", ca_file, OPT_STRING, NULL, 0, 0, 0, NULL,
        "PEM bundle to trust instead of the system's."),
    OPT("connect_timeout", connect_timeout_ms, OPT_MS, "2s", 10, 60000, 0, NULL,
        "How long a connection may take to open."),
    OPT("request_timeout", request_timeout_ms, OPT_MS, "30s", 100, 3600000, 0, NULL,
        "One try of one request, its body included."),
    OPT("retries", retries, OPT_UINT, "4", 0, 100, 0, NULL,
        "How many requests of a load or store are repeated, all together."),
    OPT("parallel", parallel, OPT_UINT, "4", 1, 32, 0, NULL, "Requests at the same time."),
    OPT("log_level", log_level, OPT_ENUM, "info", 0, 0, 0, levels,
        "What is logged: debug, info, warn or error."),
    OPT("log_format", log_format, OPT_ENUM, "text", 0, 0, 0, formats,
        "How it is logged: text or json."),
    {.name = NULL},
};
static const struct option load_options[] = {
    OPT("load_timeout", load_timeout_ms, OPT_MS, "10s", 100, 3600000, 0, NULL,
        "How long a load may take; then the endpoint starts cold."),
    OPT("max_total_bytes", max_total_bytes, OPT_BYTES, "512MiB", 1, 0, 0, NULL,
        "Largest size of all files that a load may bring."),
    OPT("from_endpoint", from_endpoint, OPT_STRING, NULL, 0, 0, 0, NULL,
        "Load the files of this other endpoint of the same timeline instead of the own ones. The "
        "reader's option sibling_reads allows it."),
    {.name = NULL},
};
static const struct option strict_options[] = {
    OPT("strict", strict, OPT_BOOL, NULL, 0, 0, OPT_ARGS, NULL,
        "Exit with 1 when the files could not be had, instead of starting cold."),
    {.name = NULL},
};
static const struct option store_options[] = {
    OPT("store_timeout", store_timeout_ms, OPT_MS, "20s", 100, 3600000, 0, NULL,
        "How long a store may take, so that it never holds up a shutdown."),
    {.name = NULL},
};
static const struct option run_options[] = {
    OPT("store_interval", store_interval_ms, OPT_MS, "5m", 0, 86400000, 0, NULL,
        "How often files are stored while the server runs, give or take a tenth; 0: only after it "
        "has stopped."),
    {.name = NULL},
};
static const struct option *const all_tables[] = {common_options, load_options,   store_options,
                                                  run_options,    strict_options, NULL};

/* ---- Commands ---- */

static int do_load(const struct compute_conf *conf, char **words)
{
    (void)words;
    return run_load(conf);
}

static int do_store(const struct compute_conf *conf, char **words)
{
    (void)words;
    return run_store(conf);
}

static const struct command {
    const char *name, *usage, *summary, *example;
    const struct option *const *tables;
    bool has_words; /* the server's command follows */
    int (*run)(const struct compute_conf *conf, char **words);
} commands[] = {
    {"load", "", "Put the endpoint's files into PGDATA, before the server starts.",
     "epufs-compute load --pgdata /var/lib/postgresql/15/main --url http://epufs:8080 \\\n"
     "      --token-file /run/secrets/epufs.jwt",
     (const struct option *const[]){common_options, load_options, strict_options, NULL}, false,
     do_load},
    {"store", "", "Store the files that have changed, after the server has stopped.",
     "epufs-compute store --pgdata /var/lib/postgresql/15/main --url http://epufs:8080",
     (const struct option *const[]){common_options, store_options, NULL}, false, do_store},
    {"run", " -- SERVER [ARGUMENT …]",
     "Load, run the server, store at intervals and after a clean stop.",
     "epufs-compute run --pgdata /data --url http://epufs:8080 -- postgres -D /data",
     (const struct option *const[]){common_options, load_options, store_options, run_options, NULL},
     true, run_server},
    {.name = NULL},
};

static void help_of_program(const struct options_spec *spec, FILE *out)
{
    fprintf(out,
            "Usage: epufs-compute COMMAND [options]\n%s\n\nCommands, each with a --help of "
            "its own:\n",
            spec->summary);
    for (const struct command *c = commands; c->name; c++)
        fprintf(out, "  %-8s%s\n", c->name, c->summary);
    fputs("\nOptions:\n", out);
    options_help_all(spec, out);
}

/* Which command help_of_command() is of. */
static const struct command *chosen;

static void help_of_command(const struct options_spec *spec, FILE *out)
{
    fprintf(out, "Usage: epufs-compute %s [options]%s\n%s\n\nOptions:\n", chosen->name,
            chosen->usage, chosen->summary);
    options_help_all(spec, out);
    fprintf(out,
            "\nThe token comes from --token-file or from the environment variable EPUFS_TOKEN.\n"
            "\nExample:\n  %s\n",
            chosen->example);
}

static int misused(const char *program, const struct store_err *err)
{
    fprintf(stderr, "%s: %s\n", program, err->msg);
    return EXIT_MISUSED;
}

static int check(const void *values, struct store_err *err)
{
    const struct compute_conf *c = values;
    char name[ENDPOINT_SIZE], shown[80];
    if (c->from_endpoint && !scope_parse_endpoint(c->from_endpoint, strlen(c->from_endpoint), name))
        return store_err_set(
            err, STORE_INVALID,
            "from_endpoint: '%s': expected an endpoint's id, up to 63 letters, "
            "digits, '-' and '_'",
            text_excerpt(c->from_endpoint, strlen(c->from_endpoint), shown, sizeof(shown)));
    return 0;
}

static const struct command *find_command(int argc, char **argv, struct store_err *err)
{
    const char *word;
    char shown[48];
    if (options_words(all_tables, argc, argv, &word, 1) == 0) {
        store_err_set(err, STORE_INVALID, "a command is missing: expected load, store or run");
        return NULL;
    }
    for (const struct command *c = commands; c->name; c++)
        if (strcmp(c->name, word) == 0)
            return c;
    store_err_set(err, STORE_INVALID, "'%s': expected load, store or run",
                  text_excerpt(word, strlen(word), shown, sizeof(shown)));
    return NULL;
}

/* words: the command itself, then what follows it. */
static int check_words(const struct command *c, char **words, struct store_err *err)
{
    char shown[64];
    if (c->has_words && !words[1])
        return store_err_set(err, STORE_INVALID, "the server's command is missing: expected%s",
                             c->usage);
    if (!c->has_words && words[1])
        return store_err_set(err, STORE_INVALID, "'%s' is one word too many",
                             text_excerpt(words[1], strlen(words[1]), shown, sizeof(shown)));
    return 0;
}

static int run_command(const struct options_spec *spec, const struct command *c, int argc,
                       char **argv)
{
    struct compute_conf conf = {.pgdata = NULL};
    struct store_err err;
    char **words = NULL;
    switch (options_parse(spec, argc, argv, &conf, &words, &err)) {
    case OPTIONS_EXIT_OK: return 0;
    case OPTIONS_EXIT_BAD: return misused(spec->program, &err);
    case OPTIONS_RUN: break;
    }
    int rc;
    if (check_words(c, words, &err) != 0) {
        rc = misused(spec->program, &err);
    } else {
        log_setup((enum log_level)conf.log_level, (enum log_format)conf.log_format,
                  "epufs-compute");
        rc = c->run(&conf, words + 1);
    }
    free(words);
    options_cleanup(spec, &conf);
    return rc;
}

int main(int argc, char **argv)
{
    struct store_err err;
    struct options_spec spec = {
        .program = "epufs-compute",
        .summary = "Keeps a Postgres endpoint warm: loads its files before it starts, stores them "
                   "after.",
        .tables = all_tables,
        .check = check,
        .help = help_of_program,
    };
    chosen = find_command(argc, argv, &err);
    if (!chosen) {
        struct compute_conf conf = {.pgdata = NULL};
        struct store_err ignored;
        /* --help, --help-markdown and --version need none. */
        if (options_parse(&spec, argc, argv, &conf, NULL, &ignored) == OPTIONS_EXIT_OK)
            return 0;
        options_cleanup(&spec, &conf);
        return misused(spec.program, &err);
    }
    char name[32];
    snprintf(name, sizeof(name), "epufs-compute %s", chosen->name);
    spec.program = name;
    spec.summary = chosen->summary;
    spec.usage = chosen->usage;
    spec.tables = chosen->tables;
    spec.help = help_of_command;
    return run_command(&spec, chosen, argc, argv);
}
