/* options.h - one table of options for a program. The parser, the checks, --help, --print-config
 * and docs all read it; values live in one struct of the program's.
 *
 * Sources, later ones win: the table's default, the file given with --config (lines "name = value",
 * '#' begins a comment line), the environment (EPUFS_ and the name in upper case, two underscores
 * for a dot), the command line (--name=value or --name value; booleans also --name and --no-name;
 * '_' and '-' are the same there). Blanks around a value do not count, and an empty string is no
 * value. An unknown or repeated name in the file, an unknown one on the command line, a value out
 * of range, or a required option without a value is an error that names the option, what was given,
 * and what is expected. Unknown EPUFS_* variables are ignored: several programs share an
 * environment.
 *
 * Every program also has --help, --help-markdown, --version, --config FILE, --check-config and
 * --print-config. */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <store/error.h>

enum option_type {
    OPT_STRING, /* char *: a copy, or NULL */
    OPT_BOOL,   /* bool: true/false, yes/no, on/off, 1/0 */
    OPT_UINT,   /* uint64_t */
    OPT_BYTES,  /* uint64_t: 512, 64KiB, 100MiB, 5GiB (also KB/MB/GB, powers of ten) */
    OPT_MS,     /* uint64_t milliseconds: 250ms, 5s, 2m, 1h; a bare number is an error but 0 */
    OPT_ENUM,   /* int: index into `choices` */
    OPT_MAP,    /* struct option_entry *: settings that are handed on by their names; see there */
};
enum option_flags {
    OPT_REQUIRED = 1, /* an empty or missing value stops the start */
    OPT_SECRET = 2,   /* printed as <set> or <unset> */
    OPT_RELOAD = 4,   /* takes effect on SIGHUP; the others need a restart */
    OPT_ARGS = 8,     /* for this one call: on the command line only, and not printed */
};

/* An OPT_MAP's name ends in a dot, and each option whose name begins with it and goes on is an
 * entry of the map: with the name "kafka." the line "kafka.client.id = me" gives client.id the
 * value me. The value in the program's struct is NULL, or an array in the order in which the names
 * were first seen, whose end is an entry without a name; options_cleanup() frees it. What the names
 * mean, and whether they mean anything, is the program's to tell. */
struct option_entry {
    char *name;  /* without the option's own */
    char *value; /* "": no value, as if the entry were not there */
    int source;  /* for options_print() */
};

struct option {
    const char *name; /* snake_case; NULL ends the table */
    enum option_type type;
    size_t offset;     /* of the value in the program's struct */
    const char *dflt;  /* text; NULL: no value (NULL, false, 0) */
    uint64_t min, max; /* UINT, BYTES, MS; max 0: no bound */
    unsigned flags;
    const char *const *choices; /* ENUM: NULL-terminated. MAP: words, NULL-terminated; the value of
                                   an entry whose name holds one is a secret, unless the name ends
                                   in "_file", since then it is a path */
    const char *help;
};

/* What to do after options_parse(). */
enum options_verdict {
    OPTIONS_RUN,
    OPTIONS_EXIT_OK,  /* --help, --version or one of their kind was served */
    OPTIONS_EXIT_BAD, /* the error is in *err */
};

struct options_spec {
    const char *program; /* "epufs-reader" */
    const char *summary; /* one line for --help */
    const char *usage; /* what may follow the options, such as "run | status"; NULL: nothing may */
    const struct option *const *tables; /* NULL-terminated list of tables, all over one struct */
    /* Checks that span options; may be NULL. Returns 0, or -1 with *err set. */
    int (*check)(const void *values, struct store_err *err);
    /* What --help prints; NULL: options_help(). */
    void (*help)(const struct options_spec *spec, FILE *out);
};

/* Fills values (zeroed by the caller), which hold no memory unless the verdict is OPTIONS_RUN. The
 * words that are not options come back in *args (pointers into argv; a NULL-terminated array that
 * the caller frees; args may be NULL when spec->usage is). */
enum options_verdict options_parse(const struct options_spec *spec, int argc, char **argv,
                                   void *values, char ***args, struct store_err *err);
/* Parses the same sources again into fresh values, zeroed by the caller; for SIGHUP. On failure
 * they hold no memory. Prints nothing. */
int options_reload(const struct options_spec *spec, int argc, char **argv, void *values,
                   struct store_err *err);
/* name = value lines that a --config file may hold; secrets only as a comment, masked.
 * --print-config prints the same with a comment on each value's source. */
void options_print(const struct options_spec *spec, const void *values, FILE *out);
void options_help(const struct options_spec *spec, FILE *out);
/* Its parts, for a --help of the program's own: the options of one table; all options, and where
 * they may stand. */
void options_help_table(const struct option *table, FILE *out);
void options_help_all(const struct options_spec *spec, FILE *out);
/* A Markdown table of all options, as --help-markdown prints it for docs/config.md. */
void options_markdown(const struct options_spec *spec, FILE *out);
/* The words of a command line that are neither options nor their values, for a program that has
 * commands with options of their own and must know which one before it parses. tables: all of them;
 * a name may be there several times. An option of none is taken to have a value. Fills up to `room`
 * pointers into argv, and returns how many. */
size_t options_words(const struct option *const *tables, int argc, char **argv, const char **words,
                     size_t room);
/* Frees the strings and maps. */
void options_cleanup(const struct options_spec *spec, void *values);

/* Whether the value of an OPT_MAP's entry of this name is a secret. */
bool options_is_secret_entry(const struct option *map, const char *name);

/* A size as OPT_BYTES reads it, for values that are made of several. */
bool options_parse_bytes(const char *text, size_t n, uint64_t *out);

#endif
