/* args.h - storectl's command line. One table of options is the parser, the checks and --help. */
#ifndef STORECTL_ARGS_H
#define STORECTL_ARGS_H

#include <store/store.h>

enum command {
    COMMAND_LS = 1,
    COMMAND_CP = 2,
    COMMAND_CAT = 4,
    COMMAND_RM = 8,
    COMMAND_STAT = 16,
};

struct args {
    enum command command;
    char **words; /* what follows the command; pointers into argv */
    size_t n_words;
    const char *store_url; /* what ":KEY" is relative to; NULL: none was named */
    struct store_conf conf;
    bool json, verbose, recursive;
    /* ls, rm */
    bool details, versions, uploads;
    /* rm -r */
    bool dry_run;
    const char *resume; /* a cursor, percent-encoded; NULL: none */
    uint64_t older_than_ms, batches;
    /* cat */
    uint64_t offset, length; /* length 0: to the end */
    /* cp */
    bool follow, compress, if_absent;
    const char *if_match, *content_type;
    struct store_meta meta[STORE_MAX_META];
    size_t n_meta;
    uint64_t parallel;
    uint64_t timeout_ms; /* one operation; of a transfer: without a byte. 0: the defaults */
};

enum args_verdict { ARGS_RUN, ARGS_SERVED, ARGS_BAD };

/* Fills *a. ARGS_SERVED: --help or --version was printed. ARGS_BAD: *err says what is wrong; then
 * only a->json can be relied on. args_cleanup() in every case. */
enum args_verdict args_parse(struct args *a, int argc, char **argv, struct store_err *err);
void args_cleanup(struct args *a);

#endif
