#include "storectl/args.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "storectl/value.h"

enum { ALL = COMMAND_LS | COMMAND_CP | COMMAND_CAT | COMMAND_RM | COMMAND_STAT, LONG_ONLY = 256 };
enum { MAX_OPTIONS = 48, MAX_PARALLEL = 256, MAX_BATCHES = 64, DEFAULT_PARALLEL = 8 };
#define MAX_TIMEOUT_MS (uint64_t) UINT32_MAX
#define MAX_AGE_MS     (uint64_t)(100ull * 366 * 86400 * 1000)

enum kind { FLAG, TEXT, COUNT, BYTES, DURATION, DURATION32, ADDRESSING, META };

struct spec {
    const char *name;
    char letter; /* 0: none */
    enum kind kind;
    size_t offset;
    uint64_t min, max;
    unsigned commands;
    const char *value; /* how --help names it; NULL: it has none */
    const char *help;
};

#define AT(field) offsetof(struct args, field)
static const struct spec specs[] = {
    {"store", 0, TEXT, AT(store_url), 0, 0, ALL, "URL",
     "What :KEY is relative to; else $STORECTL_STORE."},
    {"json", 0, FLAG, AT(json), 0, 0, ALL, NULL, "One JSON object a line, errors too."},
    {"recursive", 'r', FLAG, AT(recursive), 0, 0, COMMAND_LS | COMMAND_CP | COMMAND_RM, NULL,
     "Everything below a prefix or folder."},
    {"long", 'l', FLAG, AT(details), 0, 0, COMMAND_LS, NULL, "Also size and time."},
    {"versions", 0, FLAG, AT(versions), 0, 0, COMMAND_LS | COMMAND_RM, NULL,
     "Old versions and delete markers too."},
    {"uploads", 0, FLAG, AT(uploads), 0, 0, COMMAND_LS | COMMAND_RM, NULL,
     "Unfinished uploads; rm: these too."},
    {"dry-run", 0, FLAG, AT(dry_run), 0, 0, COMMAND_RM, NULL, "With -r, only count."},
    {"older-than", 0, DURATION, AT(older_than_ms), 1, MAX_AGE_MS, COMMAND_RM, "TIME",
     "With -r, by the store's clock, such as 7d."},
    {"resume", 0, TEXT, AT(resume), 0, 0, COMMAND_RM, "CURSOR",
     "With -r, go on where an earlier run stopped."},
    {"batches", 0, COUNT, AT(batches), 1, MAX_BATCHES, COMMAND_RM, "N",
     "With -r, batches under way; default 8."},
    {"offset", 0, BYTES, AT(offset), 0, UINT64_MAX, COMMAND_CAT, "BYTES", "First byte wanted."},
    {"length", 0, BYTES, AT(length), 1, UINT64_MAX, COMMAND_CAT, "BYTES", "How many bytes."},
    {"parallel", 0, COUNT, AT(parallel), 1, MAX_PARALLEL, COMMAND_CP, "N",
     "With -r, transfers under way; default 8."},
    {"follow", 0, FLAG, AT(follow), 0, 0, COMMAND_CP, NULL,
     "With -r, follow symbolic links of a local tree."},
    {"verbose", 'v', FLAG, AT(verbose), 0, 0, COMMAND_CP | COMMAND_RM, NULL, "Name what was done."},
    {"compress", 0, FLAG, AT(compress), 0, 0, COMMAND_CP, NULL, "Keep it as zstd."},
    {"if-absent", 0, FLAG, AT(if_absent), 0, 0, COMMAND_CP, NULL,
     "Only create; with -r, skip what is there."},
    {"if-match", 0, TEXT, AT(if_match), 0, 0, COMMAND_CP, "ETAG", "Only replace this."},
    {"content-type", 0, TEXT, AT(content_type), 0, 0, COMMAND_CP, "TYPE", "Of the new objects."},
    {"meta", 0, META, 0, 0, 0, COMMAND_CP, "NAME=VALUE", "Of the new objects; may be repeated."},
    {"endpoint", 0, TEXT, AT(conf.endpoint), 0, 0, ALL, "URL", "Else as the AWS tools find it."},
    {"region", 0, TEXT, AT(conf.region), 0, 0, ALL, "NAME", "Likewise."},
    {"profile", 0, TEXT, AT(conf.profile), 0, 0, ALL, "NAME", "Of ~/.aws/config and credentials."},
    {"addressing", 0, ADDRESSING, 0, 0, 0, ALL, "STYLE", "auto, path or host."},
    {"ca-file", 0, TEXT, AT(conf.ca_file), 0, 0, ALL, "FILE", "Whom to trust (PEM)."},
    {"client-cert", 0, TEXT, AT(conf.client_cert_file), 0, 0, ALL, "FILE",
     "TLS certificate (PEM)."},
    {"client-key", 0, TEXT, AT(conf.client_key_file), 0, 0, ALL, "FILE", "Its key (PEM)."},
    {"timeout", 0, DURATION, AT(timeout_ms), 1, MAX_TIMEOUT_MS, ALL, "TIME",
     "Of one operation; of cp and cat: without a byte read."},
    {"connect-timeout", 0, DURATION32, AT(conf.connect_timeout_ms), 1, MAX_TIMEOUT_MS, ALL, "TIME",
     "Default 3s."},
    {"stall-timeout", 0, DURATION32, AT(conf.stall_timeout_ms), 1, MAX_TIMEOUT_MS, ALL, "TIME",
     "No byte moved: the try failed."},
    {"help", 'h', FLAG, 0, 0, 0, 0, NULL, "Show this."},
    {"version", 0, FLAG, 0, 0, 0, 0, NULL, "Show the version."},
};

static const struct {
    const char *name;
    enum command command;
    size_t min_words, max_words;
    const char *usage;
} commands[] = {
    {"ls", COMMAND_LS, 0, 1, "ls [-l] [-r] [--versions | --uploads] [PLACE]"},
    {"cp", COMMAND_CP, 2, 2, "cp [-r] FROM TO"},
    {"cat", COMMAND_CAT, 1, SIZE_MAX, "cat [--offset N] [--length N] PLACE..."},
    {"rm", COMMAND_RM, 1, SIZE_MAX, "rm PLACE... | rm -r [--dry-run] PLACE"},
    {"stat", COMMAND_STAT, 1, SIZE_MAX, "stat PLACE..."},
};

/* ---- Help ---- */

static const char help_head[] =
    "storectl - objects in S3 buckets and in folders\n\n"
    "A PLACE is\n"
    "    s3://BUCKET/KEY         an object, or a prefix\n"
    "    file:///FOLDER//KEY     the same in a folder that is a store: // ends the folder's name\n"
    "    :KEY                    the same in the store that --store or $STORECTL_STORE names\n"
    "and keys are taken as they are. FROM and TO of cp may also be local files: everything else "
    "is\n"
    "one, and - is standard input or output. What ends in / is a folder to copy into.\n\n";
static const char help_tail[] =
    "\nTimes: 250ms 30s 5m 2h 7d. Bytes: 100 64KiB 5GiB.\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 130 interrupted.\n"
    "Credentials are found as the AWS tools find them.\n";

static void print_help(void)
{
    fputs(help_head, stdout);
    for (size_t i = 0; i < LEN(commands); i++)
        printf("%s storectl %s\n", i == 0 ? "Usage:" : "      ", commands[i].usage);
    puts("");
    for (size_t i = 0; i < LEN(specs); i++) {
        const struct spec *s = &specs[i];
        char names[64], of[64] = "";
        snprintf(names, sizeof(names), "%c%c%s--%s%s%s", s->letter ? '-' : ' ',
                 s->letter ? s->letter : ' ', s->letter ? ", " : "  ", s->name, s->value ? " " : "",
                 s->value ? s->value : "");
        for (size_t c = 0; c < LEN(commands) && s->commands != ALL; c++)
            if (s->commands & commands[c].command)
                snprintf(of + strlen(of), sizeof(of) - strlen(of), "%s%s", *of ? ", " : "",
                         commands[c].name);
        printf("  %-28s %s%s%s\n", names, of, *of ? ": " : "", s->help);
    }
    fputs(help_tail, stdout);
}

/* ---- Values ---- */

static int bad_value(const struct spec *s, const char *text, const char *expected,
                     struct store_err *err)
{
    return store_err_set(err, STORE_INVALID, "--%s '%.100s': expected %s", s->name, text, expected);
}

static int take_number(const struct spec *s, void *field, const char *text, struct store_err *err)
{
    uint64_t n = 0;
    bool is_time = s->kind == DURATION || s->kind == DURATION32;
    bool ok = is_time            ? value_parse_duration(text, &n)
              : s->kind == BYTES ? value_parse_bytes(text, &n)
                                 : parse_u64(text, strlen(text), &n);
    if (!ok)
        return bad_value(s, text,
                         is_time            ? "a time such as 250ms, 30s, 5m, 2h or 7d"
                         : s->kind == BYTES ? "bytes such as 100 or 64KiB"
                                            : "a number",
                         err);
    if (n < s->min || n > s->max)
        return store_err_set(err, STORE_INVALID, "--%s %s: expected %llu to %llu%s", s->name, text,
                             (unsigned long long)s->min, (unsigned long long)s->max,
                             is_time ? " ms" : "");
    if (s->kind == DURATION32)
        *(uint32_t *)field = (uint32_t)n;
    else
        *(uint64_t *)field = n;
    return 0;
}

static int take_addressing(const struct spec *s, struct args *a, const char *text,
                           struct store_err *err)
{
    static const char *const styles[] = {"auto", "path", "host"};
    for (size_t i = 0; i < LEN(styles); i++)
        if (strcmp(text, styles[i]) == 0) {
            a->conf.addressing = (enum store_addressing)i;
            return 0;
        }
    return bad_value(s, text, "auto, path or host", err);
}

static int take_meta(const struct spec *s, struct args *a, const char *text, struct store_err *err)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return bad_value(s, text, "NAME=VALUE", err);
    if (a->n_meta == STORE_MAX_META)
        return store_err_set(err, STORE_INVALID, "--meta: expected up to %d", STORE_MAX_META);
    a->meta[a->n_meta++] = (struct store_meta){
        .name = xstrndup(text, (size_t)(equals - text)),
        .value = equals + 1,
    };
    return 0;
}

static int take(const struct spec *s, struct args *a, const char *text, struct store_err *err)
{
    void *field = (char *)a + s->offset;
    switch (s->kind) {
    case FLAG: *(bool *)field = true; return 0;
    case TEXT:
        if (!*text)
            return bad_value(s, text, "a value", err);
        *(const char **)field = text;
        return 0;
    case COUNT:
    case BYTES:
    case DURATION:
    case DURATION32: return take_number(s, field, text, err);
    case ADDRESSING: return take_addressing(s, a, text, err);
    case META: return take_meta(s, a, text, err);
    }
    return -1;
}

/* ---- The whole ---- */

static void describe(struct option table[LEN(specs) + 1], char letters[2 * LEN(specs) + 1])
{
    char *letter = letters;
    for (size_t i = 0; i < LEN(specs); i++) {
        table[i] = (struct option){specs[i].name, specs[i].value ? required_argument : no_argument,
                                   NULL, LONG_ONLY + (int)i};
        if (specs[i].letter) /* none of them has a value */
            *letter++ = specs[i].letter;
    }
    table[LEN(specs)] = (struct option){0};
    *letter = '\0';
}

/* The table's entry for what getopt_long() returned. */
static const struct spec *found(int got)
{
    if (got >= LONG_ONLY)
        return &specs[got - LONG_ONLY];
    for (size_t i = 0; i < LEN(specs); i++)
        if (specs[i].letter == got)
            return &specs[i];
    return NULL;
}

/* *seen: a bit for each option that was given. */
static enum args_verdict take_options(struct args *a, int argc, char **argv, uint64_t *seen,
                                      struct store_err *err)
{
    struct option table[LEN(specs) + 1];
    char letters[2 * LEN(specs) + 1];
    _Static_assert(LEN(specs) <= MAX_OPTIONS, "seen has a bit for each");
    describe(table, letters);
    opterr = 0;
    optind = 0; /* GNU: from the start, also when it ran before */
    for (int got; (got = getopt_long(argc, argv, letters, table, NULL)) != -1;) {
        const struct spec *s = found(got);
        if (!s) {
            store_err_set(err, STORE_INVALID, "'%.100s': unknown, or without its value",
                          argv[optind - 1]);
            return ARGS_BAD;
        }
        if (strcmp(s->name, "help") == 0) {
            print_help();
            return ARGS_SERVED;
        }
        if (strcmp(s->name, "version") == 0) {
            puts("storectl " EPUFS_VERSION);
            return ARGS_SERVED;
        }
        *seen |= 1ull << (s - specs);
        if (take(s, a, optarg, err) != 0)
            return ARGS_BAD;
    }
    return ARGS_RUN;
}

static int take_command(struct args *a, char **words, size_t n, uint64_t seen,
                        struct store_err *err)
{
    size_t c = 0;
    while (n > 0 && c < LEN(commands) && strcmp(words[0], commands[c].name) != 0)
        c++;
    if (n == 0 || c == LEN(commands))
        return store_err_set(err, STORE_INVALID, "'%.100s': expected ls, cp, cat, rm or stat",
                             n ? words[0] : "");
    a->command = commands[c].command;
    a->words = words + 1;
    a->n_words = n - 1;
    for (size_t i = 0; i < LEN(specs); i++)
        if ((seen >> i & 1) && !(specs[i].commands & a->command))
            return store_err_set(err, STORE_INVALID, "--%s is not for %s", specs[i].name,
                                 commands[c].name);
    if (a->n_words < commands[c].min_words || a->n_words > commands[c].max_words)
        return store_err_set(err, STORE_INVALID, "expected: storectl %s", commands[c].usage);
    return 0;
}

/* What spans several options. */
static int check(const struct args *a, struct store_err *err)
{
    bool only_r = a->dry_run || a->resume || a->older_than_ms || a->batches ||
                  (a->command == COMMAND_RM && (a->versions || a->uploads));
    if (a->command == COMMAND_RM && only_r && !a->recursive)
        return store_err_set(err, STORE_INVALID,
                             "--dry-run, --versions, --uploads, --older-than, --resume and "
                             "--batches: only with rm -r");
    if (a->command == COMMAND_RM && a->recursive && a->n_words != 1)
        return store_err_set(err, STORE_INVALID, "rm -r: expected one prefix");
    if (a->command == COMMAND_LS && a->versions && a->uploads)
        return store_err_set(err, STORE_INVALID, "--versions, --uploads: expected one of them");
    if (a->if_absent && a->if_match)
        return store_err_set(err, STORE_INVALID, "--if-absent, --if-match: expected one of them");
    if (a->if_match && a->recursive)
        return store_err_set(err, STORE_INVALID, "--if-match is for one object, not for -r");
    if (a->command == COMMAND_CAT && a->n_words != 1 && (a->offset || a->length))
        return store_err_set(err, STORE_INVALID, "--offset, --length: expected one object");
    return 0;
}

static bool asks_for_json(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

enum args_verdict args_parse(struct args *a, int argc, char **argv, struct store_err *err)
{
    uint64_t seen = 0;
    *a = (struct args){.parallel = DEFAULT_PARALLEL};
    /* Before all else: an error in what stands before it is to be JSON as well. */
    a->json = asks_for_json(argc, argv);
    enum args_verdict verdict = take_options(a, argc, argv, &seen, err);
    if (verdict != ARGS_RUN)
        return verdict;
    if (take_command(a, argv + optind, (size_t)(argc - optind), seen, err) != 0 ||
        check(a, err) != 0)
        return ARGS_BAD;
    const char *named = getenv("STORECTL_STORE");
    if (!a->store_url && named && *named)
        a->store_url = named;
    a->conf.op_timeout_ms = (uint32_t)a->timeout_ms;
    a->conf.max_connections = MAX_PARALLEL;
    return ARGS_RUN;
}

void args_cleanup(struct args *a)
{
    for (size_t i = 0; i < a->n_meta; i++)
        free((char *)a->meta[i].name);
}
