/* store-conformance - judges a store, or a driver of libstore, by what include/store/ promises.
 *
 *     store-conformance STORE_URL [--filter PATTERN]      run the cases
 *     store-conformance --list [--filter PATTERN]         name them
 *
 * PATTERN is a shell pattern over names such as get/ranges_are_cut_out; credentials come from the
 * environment, as libstore takes them. Every case works below a prefix of its own, "conformance-",
 * a random number and the case's, and removes what it stored. Prints a line for each case:
 *     ok NAME                 not ok NAME: what was expected, what came      skip NAME: why
 * and at last `N passed, N failed, N skipped`. Exit status: 0, 1 when a case failed, 2 when none
 * could be run. */
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "tests/conformance/conformance.h"

static const struct test_group *const groups[] = {
    &args_group,      &put_group,   &stream_group,  &multipart_group, &get_group,
    &condition_group, &meta_group,  &copy_group,    &key_group,       &list_group,
    &delete_group,    &purge_group, &version_group, &narrow_group,    &compress_group,
    &cancel_group,    &loop_group,
};

struct run {
    const char *url, *filter;
    bool list;
    char prefix[64]; /* of the whole run */
    unsigned counts[3], number;
};

static char current[128]; /* the case that runs, for on_alarm() */

static int usage(void)
{
    fputs("Usage: store-conformance STORE_URL [--filter PATTERN]\n"
          "       store-conformance --list [--filter PATTERN]\n"
          "STORE_URL is s3://bucket[/prefix] or file:///absolute/folder.\n",
          stderr);
    return 2;
}

static bool parse(int argc, char **argv, struct run *run)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0)
            run->list = true;
        else if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc)
            run->filter = argv[++i];
        else if (argv[i][0] != '-' && !run->url)
            run->url = argv[i];
        else
            return false;
    }
    return run->list != (run->url != NULL);
}

/* A case that hangs inside of a call cannot be ended, so the run ends. */
static void on_alarm(int signal_number)
{
    static const char text[] = ": expected an end, it hangs\n";
    (void)signal_number;
    if (write(STDOUT_FILENO, "not ok ", 7) < 0 ||
        write(STDOUT_FILENO, current, strlen(current)) < 0 ||
        write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
        _exit(2);
    _exit(1);
}

/* A message may quote a key with control characters: it must stay one line of text. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e)
            *text = '?';
}

static void judge(struct run *run, struct test *t, const struct test_case *c, const char *prefix)
{
    t->prefix = prefix;
    alarm(CASE_TIMEOUT_S);
    enum verdict verdict = test_run(t, c);
    alarm(0);
    run->counts[verdict]++;
    make_printable(t->message);
    if (verdict == PASSED)
        printf("ok %s\n", current);
    else
        printf("%s %s: %s\n", verdict == FAILED ? "not ok" : "skip", current, t->message);
    fflush(stdout);
}

static void run_case(struct run *run, struct test *t, const struct test_case *c)
{
    char prefix[96];
    snprintf(prefix, sizeof(prefix), "%s%03u/", run->prefix, ++run->number);
    judge(run, t, c, prefix);
}

/* t NULL: only names them. */
static void run_groups(struct run *run, struct test *t)
{
    for (size_t i = 0; i < LEN(groups); i++)
        for (size_t k = 0; k < groups[i]->n; k++) {
            const struct test_case *c = &groups[i]->cases[k];
            snprintf(current, sizeof(current), "%s/%s", groups[i]->name, c->name);
            if (run->filter && fnmatch(run->filter, current, 0) != 0)
                continue;
            if (t)
                run_case(run, t, c);
            else
                puts(current);
        }
}

/* ---- What is no case: whether the store can be used, and whether it is left as it was ---- */

static void look_for_versions(struct test *t)
{
    const char *version = t_put_text(t, "probe", "x")->info.version;
    t->keeps_versions = version[0] && strcmp(version, "null") != 0; /* "null": suspended */
}

static bool can_be_used(struct run *run, struct test *t)
{
    static const struct test_case look = CASE(look_for_versions);
    t->prefix = run->prefix;
    t->is_s3 = strncmp(run->url, "s3://", 5) == 0;
    if (test_run(t, &look) == PASSED)
        return true;
    fprintf(stderr, "store-conformance: %s\n", t->message);
    return false;
}

static void nothing_is_left(struct test *t)
{
    const struct store_list_opts versions = {.kind = STORE_LIST_VERSIONS},
                                 uploads = {.kind = STORE_LIST_UPLOADS};
    t_empty(t, "");
    if (t->keeps_versions)
        t_keys(t_list_all(t, "", &versions), NULL, 0);
    if (t->is_s3)
        t_keys(t_list_all(t, "", &uploads), NULL, 0);
}

static void check_nothing_is_left(struct run *run, struct test *t)
{
    static const struct test_case check = CASE(nothing_is_left);
    snprintf(current, sizeof(current), "end/%s", check.name);
    judge(run, t, &check, run->prefix);
}

static bool make_prefix(struct run *run)
{
    uint64_t mark = 0;
    if (getrandom(&mark, sizeof(mark), 0) != sizeof(mark))
        return false;
    snprintf(run->prefix, sizeof(run->prefix), "conformance-%016llx/", (unsigned long long)mark);
    return true;
}

int main(int argc, char **argv)
{
    struct run run = {.number = 0};
    struct test t = {.root = NULL};
    struct store_err err = {0};
    if (!parse(argc, argv, &run))
        return usage();
    if (run.list) {
        run_groups(&run, NULL);
        return 0;
    }
    signal(SIGALRM, on_alarm);
    t.url = run.url;
    if (!make_prefix(&run) || store_open(run.url, NULL, &t.root, &err) != 0) {
        fprintf(stderr, "store-conformance: %s\n", err.msg);
        return 2;
    }
    bool usable = can_be_used(&run, &t);
    if (usable) {
        run_groups(&run, &t);
        check_nothing_is_left(&run, &t);
        printf("%u passed, %u failed, %u skipped\n", run.counts[PASSED], run.counts[FAILED],
               run.counts[SKIPPED]);
    }
    store_close(t.root);
    return !usable ? 2 : run.counts[FAILED] ? 1 : 0;
}
