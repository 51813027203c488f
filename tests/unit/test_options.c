#include "base/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/codec.h"
#include "base/xalloc.h"

struct conf {
    char *listen, *store, *secret;
    bool verify, no_cache;
    uint64_t threads, max_bytes, timeout_ms, free_ms;
    int level;
    struct option_entry *queue;
};

static const char *const levels[] = {"debug", "info", "warn", NULL};
static const char *const secret_words[] = {"password", "pem", NULL};

#define AT(f) offsetof(struct conf, f)
static const struct option first_table[] = {
    {"listen", OPT_STRING, AT(listen), "127.0.0.1:80", 0, 0, 0, NULL, "Where to serve."},
    {"store", OPT_STRING, AT(store), NULL, 0, 0, OPT_REQUIRED, NULL, "Where the files are."},
    {"s3_secret_key", OPT_STRING, AT(secret), NULL, 0, 0, OPT_SECRET, NULL, "The signing key."},
    {.name = NULL},
};
static const struct option second_table[] = {
    {"verify", OPT_BOOL, AT(verify), "true", 0, 0, OPT_RELOAD, NULL, "Checks | compares."},
    {"no_cache", OPT_BOOL, AT(no_cache), NULL, 0, 0, 0, NULL, "Without the cache."},
    {"threads", OPT_UINT, AT(threads), "4", 1, 64, 0, NULL, "How many threads work."},
    {"max_bytes", OPT_BYTES, AT(max_bytes), "100MiB", 1024, 0, OPT_RELOAD, NULL, "Largest file."},
    {"timeout", OPT_MS, AT(timeout_ms), "5s", 0, 60000, OPT_RELOAD, NULL,
     "How long one request may take from its first byte to the last one of its answer, however "
     "slow the client."},
    {"free", OPT_MS, AT(free_ms), NULL, 10, 0, 0, NULL, "No default, but a least value."},
    {"log_level", OPT_ENUM, AT(level), "info", 0, 0, OPT_RELOAD, levels, "What is logged."},
    {"queue.", OPT_MAP, AT(queue), NULL, 0, 0, 0, secret_words, "Handed on to the queue."},
    {.name = NULL},
};
static const struct option *const tables[] = {first_table, second_table, NULL};
static const struct options_spec plain_spec = {
    .program = "epufs-test", .summary = "Tests.", .tables = tables};

/* ---- Help for the tests ---- */

enum { MAX_WORDS = 16 };

/* Splits a command line at blanks; the program's name comes first. */
static int split(char *text, char *argv[MAX_WORDS])
{
    static char program[] = "epufs-test";
    int argc = 0;
    argv[argc++] = program;
    for (char *w = strtok(text, " "); w && argc < MAX_WORDS - 1; w = strtok(NULL, " "))
        argv[argc++] = w;
    argv[argc] = NULL;
    return argc;
}

static enum options_verdict parse(const struct options_spec *spec, const char *line, struct conf *c,
                                  char ***args, struct store_err *err)
{
    char text[512], *argv[MAX_WORDS];
    snprintf(text, sizeof(text), "%s", line);
    memset(c, 0, sizeof(*c));
    memset(err, 0, sizeof(*err));
    int argc = split(text, argv);
    return options_parse(spec, argc, argv, c, args, err);
}

static char file_path[] = "/tmp/epufs-options-XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(file_path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(file_path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(file_path);
}

/* A command line with the file's name in the place of %s. */
static const char *with_file(const char *form)
{
    static char line[512];
    const char *mark = strstr(form, "FILE");
    if (!mark)
        return form;
    snprintf(line, sizeof(line), "%.*s%s%s", (int)(mark - form), form, file_path, mark + 4);
    return line;
}

/* What a function prints to a stream. */
static char *printed(void (*fn)(const struct options_spec *, FILE *))
{
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    fn(&plain_spec, f);
    fclose(f);
    return text;
}

/* ---- Values ---- */

static void test_defaults(void **state)
{
    (void)state;
    struct conf c;
    struct store_err err;
    assert_int_equal(parse(&plain_spec, "--store=s3://b", &c, NULL, &err), OPTIONS_RUN);
    assert_string_equal(c.listen, "127.0.0.1:80");
    assert_string_equal(c.store, "s3://b");
    assert_null(c.secret);
    assert_true(c.verify);
    assert_false(c.no_cache);
    assert_int_equal(c.threads, 4);
    assert_int_equal(c.max_bytes, 100 * 1024 * 1024);
    assert_int_equal(c.timeout_ms, 5000);
    assert_int_equal(c.free_ms, 0);
    assert_int_equal(c.level, 1);
    options_cleanup(&plain_spec, &c);
    assert_null(c.store);
}

static void test_forms_of_the_command_line(void **state)
{
    (void)state;
    struct conf c;
    struct store_err err;
    static const char line[] = "--store s3://b --s3-secret-key=x=y --no-verify --no_cache "
                               "--threads 7 --max_bytes=3KB --timeout=0 --log-level=debug "
                               "--threads=8 --free=1h";
    assert_int_equal(parse(&plain_spec, line, &c, NULL, &err), OPTIONS_RUN);
    assert_string_equal(c.store, "s3://b");
    assert_string_equal(c.secret, "x=y");
    assert_false(c.verify);
    assert_true(c.no_cache);
    assert_int_equal(c.threads, 8);
    assert_int_equal(c.max_bytes, 3000);
    assert_int_equal(c.timeout_ms, 0);
    assert_int_equal(c.free_ms, 3600000);
    assert_int_equal(c.level, 0);
    options_cleanup(&plain_spec, &c);
    assert_int_equal(parse(&plain_spec, "--store=a --verify=off --no-no-cache", &c, NULL, &err),
                     OPTIONS_RUN);
    assert_false(c.verify || c.no_cache);
    options_cleanup(&plain_spec, &c);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *option;
        bool ok;
        uint64_t v;
    } cases[] = {
        {"--max-bytes=1024", true, 1024},
        {"--max-bytes=64KiB", true, 65536},
        {"--max-bytes=5GiB", true, 5368709120},
        {"--max-bytes=5GB", true, 5000000000},
        {"--max-bytes=2MB", true, 2000000},
        {"--max-bytes=17179869183GiB", true, 18446744072635809792u},
        {"--max-bytes=17179869184GiB", false, 0},
        {"--max-bytes=18446744073709551615", true, UINT64_MAX},
        {"--max-bytes=18446744073709551616", false, 0},
        {"--max-bytes=1023", false, 0},
        {"--max-bytes=1kib", false, 0},
        {"--max-bytes=1.5GiB", false, 0},
        {"--max-bytes=-1", false, 0},
        {"--max-bytes=KiB", false, 0},
        {"--max-bytes=", false, 0},
        {"--timeout=250ms", true, 250},
        {"--timeout=1m", true, 60000},
        {"--timeout=61s", false, 0},
        {"--timeout=5", false, 0},
        {"--timeout=00", false, 0},
        {"--timeout=5sec", false, 0},
        {"--threads=64", true, 64},
        {"--threads=65", false, 0},
        {"--threads=0", false, 0},
        {"--threads=4KiB", false, 0},
        {"--threads=0x4", false, 0},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct conf c;
        struct store_err err;
        char line[128];
        snprintf(line, sizeof(line), "--store=s %s", cases[i].option);
        bool ok = parse(&plain_spec, line, &c, NULL, &err) == OPTIONS_RUN;
        if (ok != cases[i].ok)
            fail_msg("case '%s': %s", cases[i].option, err.msg);
        if (ok)
            assert_true(c.max_bytes == cases[i].v || c.timeout_ms == cases[i].v ||
                        c.threads == cases[i].v);
        options_cleanup(&plain_spec, &c);
    }
}

static void test_parse_bytes(void **state)
{
    (void)state;
    uint64_t v = 0;
    assert_true(options_parse_bytes("64KiB,rest", 5, &v));
    assert_int_equal(v, 65536);
    assert_true(options_parse_bytes(" 7 ", 3, &v));
    assert_int_equal(v, 7);
    assert_false(options_parse_bytes("", 0, &v));
    assert_false(options_parse_bytes("64 KiB", 6, &v));
    assert_int_equal(v, 7);
}

/* ---- Sources ---- */

static void test_order_of_sources(void **state)
{
    (void)state;
    struct conf c;
    struct store_err err;
    write_file(
        "# a comment\n\n  listen = file:1  \r\nstore=file:2\nthreads =  11\nlog_level = warn\n"
        "max_bytes=\t2KiB\ns3_secret_key =");
    setenv("EPUFS_STORE", "env:2", 1);
    setenv("EPUFS_THREADS", " 12 ", 1);
    setenv("EPUFS_COUSIN", "x", 1);
    setenv("EPUFS_READER_SERVICE_HOST", "10.0.0.1", 1);
    setenv("EPUFS_READER_PORT", "tcp://10.0.0.1:80", 1);
    setenv("EPUFS_READER_PORT_80_TCP_ADDR", "10.0.0.1", 1);
    enum options_verdict verdict =
        parse(&plain_spec, with_file("--threads=13 --config FILE"), &c, NULL, &err);
    clearenv();
    if (verdict != OPTIONS_RUN)
        fail_msg("%s", err.msg);
    assert_string_equal(c.listen, "file:1");
    assert_string_equal(c.store, "env:2");
    assert_null(c.secret);
    assert_int_equal(c.threads, 13);
    assert_int_equal(c.max_bytes, 2048);
    assert_int_equal(c.level, 2);
    options_cleanup(&plain_spec, &c);
}

/* ---- Errors ---- */

static void expect_error(const char *line, const char *expected)
{
    struct conf c;
    struct store_err err;
    assert_int_equal(parse(&plain_spec, with_file(line), &c, NULL, &err), OPTIONS_EXIT_BAD);
    const char *message = err.msg;
    char shown[512], *at = strstr(err.msg, file_path);
    if (at) { /* the file's name changes with every run */
        snprintf(shown, sizeof(shown), "%.*sFILE%s", (int)(at - err.msg), err.msg,
                 at + strlen(file_path));
        message = shown;
    }
    assert_string_equal(message, expected);
    assert_null(c.listen); /* nothing is left to be freed */
}

static void test_errors_of_the_command_line(void **state)
{
    (void)state;
    static const struct {
        const char *line, *expected;
    } cases[] = {
        {"", "option store: a value is required, from the --config file, the environment or the "
             "command line"},
        {"--store=", "option store: a value is required, from the --config file, the environment "
                     "or the command line"},
        {"--stor=x", "command line: there is no option '--stor'; epufs-test --help lists them"},
        {"-s", "command line: there is no option '-s'; epufs-test --help lists them"},
        {"--=x", "command line: there is no option '--'; epufs-test --help lists them"},
        {"--no-store", "command line: there is no option '--no-store'; epufs-test --help lists "
                       "them"},
        {"--no-verify=true", "command line: there is no option '--no-verify'; epufs-test --help "
                             "lists them"},
        {"--store", "option store (command line): a value is missing"},
        {"--store --verify", "option store (command line): a value is missing"},
        {"--config", "option config (command line): a value is missing"},
        {"--check-config=1", "option check_config takes no value"},
        {"--store=a word", "command line: 'word' is unexpected; epufs-test --help tells the usage"},
        {"--threads=65", "option threads (command line): 65 is out of range, expected 1 to 64"},
        {"--max-bytes=1", "option max_bytes (command line): 1 is out of range, expected 1KiB or "
                          "more"},
        {"--timeout=2m", "option timeout (command line): 2m is out of range, expected 0 to 1m"},
        {"--timeout=5", "option timeout (command line): '5' is not a time with its unit such as "
                        "250ms, 5s, 2m or 1h"},
        {"--log-level=loud", "option log_level (command line): 'loud' is not one of debug, info, "
                             "warn"},
        {"--verify=maybe", "option verify (command line): 'maybe' is not true or false"},
        {"--s3-secret-key=hunter2\x01", "option s3_secret_key (command line): the value (not "
                                        "shown) is not text without control characters"},
        {"--config=/nonexistent/epufs", "cannot open the options file '/nonexistent/epufs': No "
                                        "such file or directory"},
    };
    for (size_t i = 0; i < LEN(cases); i++)
        expect_error(cases[i].line, cases[i].expected);
}

static void test_errors_of_the_file(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"store = a\nthreads = many\n", "option threads (FILE line 2): 'many' is not a whole "
                                        "number"},
        {"store\n", "FILE line 1: expected \"name = value\""},
        {"\n\n= x\n", "FILE line 3: there is no option ''; epufs-test --help lists them"},
        {"log-level = info\n", "FILE line 1: there is no option 'log-level'; epufs-test --help "
                               "lists them"},
        {"config = x\n", "FILE line 1: there is no option 'config'; epufs-test --help lists them"},
        {"store = a\nstore = b", "FILE line 2: option store is set a second time"},
        {"a_name_of_more_than_sixty_four_characters_that_no_table_would_ever_have = 1",
         "FILE line 1: there is no option "
         "'a_name_of_more_than_sixty_four_characters_that_no_table_woul...'; epufs-test --help "
         "lists them"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        write_file(cases[i].text);
        expect_error("--config=FILE", cases[i].expected);
    }
}

static void test_huge_file(void **state)
{
    (void)state;
    char *text = xmalloc((2 << 20) + 1);
    memset(text, '#', 2 << 20);
    text[2 << 20] = '\0';
    write_file(text);
    free(text);
    expect_error("--config=FILE", "the options file 'FILE' has more than 1048576 bytes");
}

static void test_errors_of_the_environment(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *expected;
    } cases[] = {
        {"EPUFS_THREADS", "many",
         "option threads (environment variable EPUFS_THREADS): 'many' is "
         "not a whole number"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        setenv(cases[i].name, cases[i].value, 1);
        expect_error("--store=a", cases[i].expected);
        clearenv();
    }
}

/* Other programs of the family, and Kubernetes, set variables that are no options of this one. */
static void test_foreign_variables_are_ignored(void **state)
{
    (void)state;
    static const char *const names[] = {"EPUFS_THREAD", "EPUFS_threads", "EPUFS_",
                                        "EPUFS_READER_PORT"};
    for (size_t i = 0; i < LEN(names); i++) {
        struct conf c;
        struct store_err err;
        setenv(names[i], "80", 1);
        assert_int_equal(parse(&plain_spec, with_file("--store=a"), &c, NULL, &err), OPTIONS_RUN);
        assert_int_not_equal(c.threads, 80);
        options_cleanup(&plain_spec, &c);
        clearenv();
    }
}

static int refuse_two_threads(const void *values, struct store_err *err)
{
    const struct conf *c = values;
    return c->threads == 2 ? store_err_set(err, STORE_INVALID, "two is not enough") : 0;
}

static void test_check_across_options(void **state)
{
    (void)state;
    struct options_spec spec = plain_spec;
    spec.check = refuse_two_threads;
    struct conf c;
    struct store_err err;
    assert_int_equal(parse(&spec, "--store=a --threads=2", &c, NULL, &err), OPTIONS_EXIT_BAD);
    assert_string_equal(err.msg, "two is not enough");
    assert_int_equal(parse(&spec, "--store=a --threads=3", &c, NULL, &err), OPTIONS_RUN);
    options_cleanup(&spec, &c);
}

/* ---- Maps ---- */

static void expect_entries(const struct conf *c, const char *expected)
{
    struct buf text = BUF_INIT(1024);
    for (const struct option_entry *e = c->queue; e && e->name; e++)
        buf_addf(&text, "%s=%s;", e->name, e->value);
    assert_string_equal(buf_str(&text), expected);
    buf_cleanup(&text);
}

static void test_a_map_gathers_from_all_sources(void **state)
{
    (void)state;
    struct conf c;
    struct store_err err;
    write_file("store = s\nqueue.a.b = file = 1\nqueue.gone = x\n  queue.only_file =  f \n");
    setenv("EPUFS_QUEUE__A__B", "env", 1);
    setenv("EPUFS_QUEUE__KEY_FILE", "/run/key", 1);
    setenv("EPUFS_QUEUE_PORT", "tcp://10.0.0.1:80",
           1); /* Kubernetes, for a service "epufs-queue" */
    setenv("EPUFS_QUEUE__", "x", 1);
    enum options_verdict verdict =
        parse(&plain_spec, with_file("--queue.z 1 --queue.gone= --queue.z=2 --config FILE"), &c,
              NULL, &err);
    clearenv();
    if (verdict != OPTIONS_RUN)
        fail_msg("%s", err.msg);
    expect_entries(&c, "a.b=env;gone=;only_file=f;key_file=/run/key;z=2;");
    options_cleanup(&plain_spec, &c);
    assert_null(c.queue);
    assert_int_equal(parse(&plain_spec, "--store=s", &c, NULL, &err), OPTIONS_RUN);
    assert_null(c.queue);
    options_cleanup(&plain_spec, &c);
}

static void test_errors_of_a_map(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line, *expected;
    } cases[] = {
        {"store = s\nqueue.a = 1\nqueue.b = 1\nqueue.a = 2\n", "--config=FILE",
         "FILE line 4: option queue.a is set a second time"},
        {"queue. = 1\n", "--config=FILE",
         "FILE line 1: there is no option 'queue.'; epufs-test --help lists them"},
        {"queue = 1\n", "--config=FILE",
         "FILE line 1: there is no option 'queue'; epufs-test --help lists them"},
        {"", "--store=s --queue.=x",
         "command line: there is no option '--queue.'; epufs-test --help lists them"},
        {"", "--store=s --no-queue.a",
         "command line: there is no option '--no-queue.a'; epufs-test --help lists them"},
        {"", "--store=s --queue.a", "option queue.a (command line): a value is missing"},
        {"", "--store=s --queue.a=\x01",
         "option queue.a (command line): '?' is not text without control characters"},
        {"", "--store=s --queue.a.password=hunter2\x01",
         "option queue.a.password (command line): the value (not shown) is not text without "
         "control characters"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        write_file(cases[i].text);
        expect_error(cases[i].line, cases[i].expected);
    }
}

static void test_secrets_of_a_map(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool secret;
    } cases[] = {
        {"a.password", true},
        {"a.password.b", true},
        {"pem", true},
        {"a.password_file", false},
        {"a.passwordfile", true},
        {"pass.word", false},
        {"_file", false},
        {"", false},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct option map = second_table[LEN(second_table) - 2];
        assert_int_equal(map.type, OPT_MAP);
        assert_int_equal(options_is_secret_entry(&map, cases[i].name), cases[i].secret);
        map.flags |= OPT_SECRET;
        assert_true(options_is_secret_entry(&map, cases[i].name));
    }
}

/* ---- Arguments ---- */

static void test_arguments(void **state)
{
    (void)state;
    struct options_spec spec = plain_spec;
    spec.usage = "run | delete SCOPE";
    struct conf c;
    struct store_err err;
    char **args;
    char text[] = "delete --store=a - --verify ab -- --store=b", *argv[MAX_WORDS];
    memset(&c, 0, sizeof(c));
    int argc = split(text, argv);
    assert_int_equal(options_parse(&spec, argc, argv, &c, &args, &err), OPTIONS_RUN);
    static const char *const expected[] = {"delete", "-", "ab", "--store=b"};
    for (size_t i = 0; i < LEN(expected); i++)
        assert_string_equal(args[i], expected[i]);
    assert_null(args[LEN(expected)]);
    assert_string_equal(c.store, "a");
    free(args);
    options_cleanup(&spec, &c);
    assert_int_equal(parse(&spec, "delete", &c, &args, &err), OPTIONS_EXIT_BAD);
    assert_null(args);
}

/* ---- Printing ---- */

/* Runs with standard output in a file; what was printed is to be freed. */
static char *printed_by(const char *line, enum options_verdict expected)
{
    struct conf c;
    struct store_err err;
    char name[] = "/tmp/epufs-options-out-XXXXXX";
    fflush(stdout);
    int saved = dup(STDOUT_FILENO), fd = mkstemp(name);
    dup2(fd, STDOUT_FILENO);
    enum options_verdict verdict = parse(&plain_spec, line, &c, NULL, &err);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    char *text = xcalloc(1, 16384);
    assert_true(pread(fd, text, 16383, 0) >= 0);
    close(fd);
    unlink(name);
    assert_int_equal(verdict, expected);
    assert_null(c.store);
    return text;
}

static void expect_printed(const char *line, const char *expected)
{
    char *text = printed_by(line, OPTIONS_EXIT_OK);
    if (!strstr(text, expected))
        fail_msg("'%s' is not in: %s", expected, text);
    free(text);
}

static void test_built_ins(void **state)
{
    (void)state;
    expect_printed("--version", "epufs-test ");
    expect_printed("--help --threads=999", "Usage: epufs-test [options]\nTests.\n");
    expect_printed("--help-markdown", "| `store` | TEXT | required |");
    expect_printed("--store=a --check-config", "epufs-test: the options are good\n");
    expect_printed("--store=a --print-config", "# command line\nstore = a\n");
    expect_printed("--store=a --print-config", "# default\nthreads = 4\n");
    expect_printed("--store=a --print-config", "# not set\n# s3_secret_key = <unset>\n");
    expect_printed("--store=a --print-config", "# not set\n# queue.NAME is not set\n");
    free(printed_by("--check-config", OPTIONS_EXIT_BAD));
    free(printed_by("--print-config", OPTIONS_EXIT_BAD));
}

static void test_secrets_stay_secret(void **state)
{
    (void)state;
    char *text = printed_by("--store=a --s3-secret-key=hunter2 --print-config", OPTIONS_EXIT_OK);
    assert_null(strstr(text, "hunter2"));
    assert_non_null(strstr(text, "# s3_secret_key = <set>\n"));
    free(text);
    text = printed_by("--store=a --queue.password=hunter2 --queue.pem= --queue.id=me "
                      "--queue.password_file=/key --print-config",
                      OPTIONS_EXIT_OK);
    assert_null(strstr(text, "hunter2"));
    assert_non_null(strstr(text, "# command line\n# queue.password = <set>\n"
                                 "# command line\n# queue.pem = <unset>\n"
                                 "# command line\nqueue.id = me\n"
                                 "# command line\nqueue.password_file = /key\n"));
    free(text);
}

static void test_printed_values_can_be_read_again(void **state)
{
    (void)state;
    struct conf before, after;
    struct store_err err;
    static const char line[] = "--store=a=#b --listen= --no-verify --threads=9 --max-bytes=1536KiB "
                               "--timeout=1500ms --log-level=warn --s3-secret-key=k "
                               "--queue.b=#2 --queue.a= --queue.pem=k";
    assert_int_equal(parse(&plain_spec, line, &before, NULL, &err), OPTIONS_RUN);
    FILE *f = fopen(file_path, "w");
    assert_non_null(f);
    options_print(&plain_spec, &before, f);
    fclose(f);
    if (parse(&plain_spec, with_file("--config=FILE"), &after, NULL, &err) != OPTIONS_RUN)
        fail_msg("%s", err.msg);
    assert_string_equal(after.store, "a=#b");
    assert_null(after.listen);
    assert_null(after.secret);
    assert_int_equal(after.verify, before.verify);
    assert_int_equal(after.threads, before.threads);
    assert_int_equal(after.max_bytes, before.max_bytes);
    assert_int_equal(after.timeout_ms, before.timeout_ms);
    assert_int_equal(after.level, before.level);
    expect_entries(&after, "b=#2;a=;");
    options_cleanup(&plain_spec, &before);
    options_cleanup(&plain_spec, &after);
}

static void test_units_in_print(void **state)
{
    (void)state;
    static const struct {
        const char *option, *expected;
    } cases[] = {
        {"--timeout=5000ms", "timeout = 5s\n"},
        {"--timeout=250ms", "timeout = 250ms\n"},
        {"--timeout=60s", "timeout = 1m\n"},
        {"--timeout=0", "timeout = 0\n"},
        {"--free=120m", "free = 2h\n"},
        {"--max-bytes=102400KiB", "max_bytes = 100MiB\n"},
        {"--max-bytes=1025", "max_bytes = 1025\n"},
        {"--max-bytes=5MB", "max_bytes = 5MB\n"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        char line[128];
        snprintf(line, sizeof(line), "--store=a --print-config %s", cases[i].option);
        expect_printed(line, cases[i].expected);
    }
}

static void test_help_and_markdown(void **state)
{
    (void)state;
    char *text = printed(options_help);
    assert_non_null(
        strstr(text, "  --listen=TEXT\n      Where to serve. (default 127.0.0.1:80)\n"));
    assert_non_null(strstr(text, "  --[no-]verify\n      Checks | compares. (default true, "
                                 "reloadable)\n"));
    assert_non_null(strstr(text, "  --log-level=debug|info|warn\n"));
    assert_non_null(strstr(text, "(default 4, 1 to 64)"));
    assert_non_null(strstr(text, "(required)"));
    assert_non_null(strstr(text, "  --queue.NAME=TEXT\n      Handed on to the queue.\n"));
    for (char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        assert_true(strcspn(line, "\n") <= 80);
    free(text);
    text = printed(options_markdown);
    assert_non_null(strstr(text, "| `verify` | BOOL | `true` |  | yes | Checks \\| compares. |\n"));
    assert_non_null(strstr(text, "| `max_bytes` | BYTES | `100MiB` | 1KiB or more | yes | "));
    assert_non_null(strstr(text, "| `log_level` | debug\\|info\\|warn | `info` |"));
    assert_non_null(strstr(text, "| `queue.NAME` | TEXT |  |  |  | Handed on to the queue. |"));
    free(text);
}

/* ---- Reload ---- */

static void test_reload(void **state)
{
    (void)state;
    struct conf c = {0};
    struct store_err err;
    char text[512], *argv[MAX_WORDS];
    snprintf(text, sizeof(text), "%s", with_file("--config=FILE --threads=5"));
    int argc = split(text, argv);
    write_file("store = one\n");
    assert_int_equal(options_reload(&plain_spec, argc, argv, &c, &err), 0);
    assert_string_equal(c.store, "one");
    assert_int_equal(c.threads, 5);
    options_cleanup(&plain_spec, &c);
    write_file("store = two\ntimeout = never\n");
    assert_int_equal(options_reload(&plain_spec, argc, argv, &c, &err), -1);
    assert_null(c.store);
    assert_int_equal(err.code, STORE_INVALID);
}

/* What somebody's environment holds must not decide what one call does. */
static void test_options_of_one_call(void **state)
{
    (void)state;
    static const struct option table[] = {
        {"all", OPT_BOOL, AT(verify), NULL, 0, 0, OPT_ARGS, NULL, "All of them."},
        {.name = NULL},
    };
    static const struct option *const list[] = {table, NULL};
    static const struct options_spec spec = {
        .program = "epufs-test", .summary = "Tests.", .tables = list};
    struct conf c = {0};
    struct store_err err;
    char line[] = "--all", *argv[MAX_WORDS], text[64] = "";
    setenv("EPUFS_ALL", "true", 1);
    assert_int_equal(options_parse(&spec, 0, argv, &c, NULL, &err), OPTIONS_RUN);
    assert_false(c.verify);
    unsetenv("EPUFS_ALL");
    int argc = split(line, argv);
    assert_int_equal(options_parse(&spec, argc, argv, &c, NULL, &err), OPTIONS_RUN);
    assert_true(c.verify);
    FILE *out = fmemopen(text, sizeof(text), "w");
    options_print(&spec, &c, out);
    fclose(out);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_of_one_call),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_forms_of_the_command_line),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_parse_bytes),
        cmocka_unit_test(test_order_of_sources),
        cmocka_unit_test(test_errors_of_the_command_line),
        cmocka_unit_test(test_errors_of_the_file),
        cmocka_unit_test(test_huge_file),
        cmocka_unit_test(test_errors_of_the_environment),
        cmocka_unit_test(test_foreign_variables_are_ignored),
        cmocka_unit_test(test_check_across_options),
        cmocka_unit_test(test_a_map_gathers_from_all_sources),
        cmocka_unit_test(test_errors_of_a_map),
        cmocka_unit_test(test_secrets_of_a_map),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_built_ins),
        cmocka_unit_test(test_secrets_stay_secret),
        cmocka_unit_test(test_printed_values_can_be_read_again),
        cmocka_unit_test(test_units_in_print),
        cmocka_unit_test(test_help_and_markdown),
        cmocka_unit_test(test_reload),
    };
    clearenv(); /* the tests set what they need */
    return cmocka_run_group_tests_name("options", tests, make_file, remove_file);
}
