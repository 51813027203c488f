/* Standard error goes into a file in memory while a line is logged. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/xalloc.h"

static char captured[4 * 1024 * 1024];
static int memory_fd, saved_stderr;

static void capture_begin(void)
{
    memory_fd = memfd_create("log", 0);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(memory_fd >= 0 && saved_stderr >= 0);
    assert_int_equal(fcntl(memory_fd, F_SETFL, O_APPEND), 0);
    dup2(memory_fd, STDERR_FILENO);
}

static size_t capture_end(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    ssize_t n = pread(memory_fd, captured, sizeof(captured) - 1, 0);
    assert_true(n >= 0);
    captured[n] = '\0';
    close(memory_fd);
    return (size_t)n;
}

static size_t captured_lines(void)
{
    size_t n = 0;
    for (const char *p = captured; (p = strchr(p, '\n')); p++)
        n++;
    return n;
}

#define CAPTURE(statement) \
    do {                   \
        capture_begin();   \
        statement;         \
        capture_end();     \
    } while (0)

/* The one line, behind its time, without its line feed. */
static const char *behind_time(void)
{
    int64_t t_s;
    char *space = strchr(captured, ' '), *end = strchr(captured, '\n');
    assert_non_null(space);
    assert_non_null(end);
    assert_string_equal(end, "\n");
    *space = *end = '\0';
    assert_int_equal(strlen(captured), strlen("1994-11-06T08:49:37.123Z"));
    assert_true(clock_parse_rfc3339(captured, &t_s));
    assert_true(t_s + 60 > clock_real_s());
    return space + 1;
}

/* The one line as JSON; to be freed with json_decref(). */
static json_t *as_json(void)
{
    json_error_t error;
    char *end = strchr(captured, '\n');
    assert_non_null(end);
    assert_string_equal(end, "\n");
    json_t *line = json_loads(captured, JSON_REJECT_DUPLICATES, &error);
    if (!line)
        fail_msg("%s: %s", error.text, captured);
    return line;
}

static const char *text_of(const json_t *line, const char *name)
{
    const char *s = json_string_value(json_object_get(line, name));
    return s ? s : "(none)";
}

/* ---- Text ---- */

static void test_text_line(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, "epufs-test");
    CAPTURE(log_info("upload stored", LOG_S("key", "tenants/a"), LOG_U("bytes", UINT64_MAX),
                     LOG_I("i", -5), LOG_B("yes", true), LOG_D("seconds", 0.125)));
    assert_string_equal(behind_time(), "INFO upload stored key=tenants/a "
                                       "bytes=18446744073709551615 i=-5 yes=true seconds=0.125");
    CAPTURE(log_error("no fields"));
    assert_string_equal(behind_time(), "ERROR no fields");
}

static void test_text_escapes(void **state)
{
    (void)state;
    static const struct {
        const char *value, *expected;
    } cases[] = {
        {"plain-_./:", "plain-_./:"},
        {"", "\"\""},
        {"two words", "\"two words\""},
        {"a=b", "\"a=b\""},
        {"say \"x\"", "\"say \\\"x\\\"\""},
        {"back\\slash", "\"back\\\\slash\""},
        {"x\nINFO forged", "\"x\\nINFO forged\""},
        {"\r\t\x01\x1b[31m\x7f", "\"\\r\\t\\u0001\\u001b[31m\\u007f\""},
        {"\xc3\xa4", "\"\xc3\xa4\""},
        {"\xc2\x9b"
         "31m",
         "\"\\u009b31m\""},
        {"\xe2\x80\xa8", "\"\\u2028\""},
        {"\xff\xc3", "\"\\xff\\xc3\""},
        {"\xc0\xaf", "\"\\xc0\\xaf\""},
        {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""},
        {"\xf0\x9f\x90\x98", "\"\xf0\x9f\x90\x98\""},
        {"\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\""},
    };
    log_setup(LOG_INFO, LOG_TEXT, NULL);
    for (size_t i = 0; i < LEN(cases); i++) {
        CAPTURE(log_info("m", LOG_S("k", cases[i].value)));
        const char *line = behind_time();
        assert_memory_equal(line, "INFO m k=", 9);
        assert_string_equal(line + 9, cases[i].expected);
    }
    CAPTURE(log_info("two\nlines"));
    assert_string_equal(behind_time(), "INFO two\\nlines");
}

/* ---- JSON ---- */

static void test_json_line(void **state)
{
    (void)state;
    log_setup(LOG_DEBUG, LOG_JSON, "epufs-test");
    CAPTURE(log_warn("a \"quoted\" word", LOG_S("key", "x\n\"\\\x01\xc3\xa4"), LOG_U("bytes", 123),
                     LOG_I("i", -5), LOG_B("no", false), LOG_D("seconds", 0.125),
                     LOG_D("nan", NAN)));
    json_t *line = as_json();
    assert_string_equal(text_of(line, "level"), "warn");
    assert_string_equal(text_of(line, "program"), "epufs-test");
    assert_string_equal(text_of(line, "msg"), "a \"quoted\" word");
    assert_string_equal(text_of(line, "key"), "x\n\"\\\x01\xc3\xa4");
    assert_int_equal(json_integer_value(json_object_get(line, "bytes")), 123);
    assert_int_equal(json_integer_value(json_object_get(line, "i")), -5);
    assert_true(json_is_false(json_object_get(line, "no")));
    assert_true(json_real_value(json_object_get(line, "seconds")) == 0.125);
    assert_true(json_is_null(json_object_get(line, "nan")));
    assert_int_equal(json_object_size(line), 10);
    int64_t t_s;
    assert_true(clock_parse_rfc3339(text_of(line, "ts"), &t_s));
    json_decref(line);
}

static void test_json_of_bad_utf8(void **state)
{
    (void)state;
    log_setup(LOG_DEBUG, LOG_JSON, NULL);
    CAPTURE(log_info("m", LOG_S("k", "a\xff"
                                     "b\xed\xa0\x80")));
    json_t *line = as_json();
    assert_null(json_object_get(line, "program"));
    assert_string_equal(text_of(line, "k"), "a\xef\xbf\xbd"
                                            "b\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    json_decref(line);
}

/* ---- Skipped fields, levels ---- */

static void test_skipped_fields(void **state)
{
    (void)state;
    const char *none = NULL;
    log_setup(LOG_INFO, LOG_TEXT, NULL);
    CAPTURE(log_info("m", LOG_S("gone", none), {.name = NULL}, LOG_S("here", "x")));
    assert_string_equal(behind_time(), "INFO m here=x");
}

static void test_levels(void **state)
{
    (void)state;
    static const enum log_level levels[] = {LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR};
    int evaluated = 0;
    for (size_t i = 0; i < LEN(levels); i++) {
        log_set_level(levels[i]);
        for (size_t j = 0; j < LEN(levels); j++)
            assert_int_equal(log_on(levels[j]), j >= i);
    }
    log_setup(LOG_WARN, LOG_TEXT, NULL);
    CAPTURE(log_info("off", LOG_I("n", ++evaluated)));
    assert_string_equal(captured, "");
    assert_int_equal(evaluated, 0);
    CAPTURE(log_warn("on", LOG_I("n", ++evaluated)));
    assert_int_equal(evaluated, 1);
}

static void test_error_fields_and_errno(void **state)
{
    (void)state;
    struct store_err err = {.code = STORE_NOT_FOUND, .msg = "get 'a': no such object"};
    log_setup(LOG_INFO, LOG_TEXT, NULL);
    errno = EDOM;
    CAPTURE(log_error("get failed", LOG_ERR(&err)));
    assert_int_equal(errno, EDOM);
    assert_string_equal(behind_time(),
                        "ERROR get failed code=not_found error=\"get 'a': no such object\"");
}

/* ---- A reader that stands still ---- */

enum { LIMIT_S = 10 }; /* to whoever would wait for it */

/* Fills what standard error is to be, but for `room` bytes of a pipe. */
static void fill_up(int fds[2], bool is_pipe, int room)
{
    static char page[4096];
    memset(page, 'x', sizeof(page));
    assert_int_equal(is_pipe ? pipe(fds) : socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    int size = is_pipe ? fcntl(fds[1], F_GETPIPE_SZ) : 0;
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    for (int i = 0; is_pipe ? i < (size - room) / 4096 : true; i++)
        if (write(fds[1], page, sizeof(page)) < 0)
            break;
    fcntl(fds[1], F_SETFL, 0);
}

static void redirect(int fd)
{
    saved_stderr = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    alarm(LIMIT_S);
}

static void restore(void)
{
    alarm(0);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
}

/* Takes what there is into `captured`, without the x. */
static void drain(int fd)
{
    size_t n = 0;
    ssize_t got;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while ((got = read(fd, captured + n, sizeof(captured) - 1 - n)) > 0)
        n += (size_t)got;
    captured[n] = '\0';
    memmove(captured, captured + strspn(captured, "x"), n + 1 - strspn(captured, "x"));
}

/* Ends with what is said of n lost lines, and the line "m". */
static void assert_told(const char *text, unsigned n)
{
    char expected[64];
    snprintf(expected, sizeof(expected), " WARN log lines were lost n=%u\n", n);
    const char *told = strstr(text, expected);
    if (!told) {
        fail_msg("no '%s' in '%s'", expected, text);
        return;
    }
    assert_int_equal(told - text, strlen("1994-11-06T08:49:37.123Z"));
    text = told + strlen(expected);
    assert_int_equal(strlen(text), strlen("1994-11-06T08:49:37.123Z INFO m\n"));
    const char *line = strchr(text, ' ');
    assert_string_equal(line ? line : "", " INFO m\n");
}

/* A standard error that nobody reads must not end or delay the program. */
static void test_closed_stderr(void **state)
{
    (void)state;
    int saved = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    errno = 0;
    log_error("lost");
    int after = errno;
    dup2(saved, STDERR_FILENO);
    close(saved);
    assert_int_equal(after, 0);
    CAPTURE(log_info("m"));
    assert_told(captured, 1);
}

static char *repeat(const char *s, size_t times)
{
    size_t n = strlen(s);
    char *text = xmalloc(n * times + 1);
    for (size_t i = 0; i < times; i++)
        memcpy(text + i * n, s, n);
    text[n * times] = '\0';
    return text;
}

static void lose_three(bool is_pipe)
{
    int fds[2];
    fill_up(fds, is_pipe, 0);
    redirect(fds[1]);
    for (int i = 0; i < 3; i++)
        log_info("lost");
    drain(fds[0]);
    int flags = fcntl(fds[1], F_GETFL);
    log_info("m");
    restore();
    assert_string_equal(captured, "");
    assert_false(flags & O_NONBLOCK); /* it is others' standard error too */
    drain(fds[0]);
    assert_told(captured, 3);
    close(fds[0]);
    close(fds[1]);
}

static void test_nobody_waits_for_a_reader(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, NULL);
    lose_three(true);
    lose_three(false);
}

/* Without another file description of the pipe there is still a look before each write. */
static void test_nobody_waits_without_descriptors(void **state)
{
    (void)state;
    struct rlimit files, few;
    log_setup(LOG_INFO, LOG_TEXT, NULL);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    few = files;
    few.rlim_cur = STDERR_FILENO + 1; /* which are open: no further one can be */
    int fds[2];
    fill_up(fds, true, 0);
    redirect(fds[1]);
    setrlimit(RLIMIT_NOFILE, &few);
    log_info("lost");
    drain(fds[0]);
    log_info("m");
    setrlimit(RLIMIT_NOFILE, &files);
    restore();
    drain(fds[0]);
    assert_told(captured, 1);
    close(fds[0]);
    close(fds[1]);
}

/* What is left of it ends where it was cut, and counts as lost. */
static void test_a_line_that_is_torn(void **state)
{
    (void)state;
    int fds[2];
    char *text = repeat("t", 6000);
    log_setup(LOG_INFO, LOG_TEXT, NULL);
    fill_up(fds, true, 4096);
    redirect(fds[1]);
    log_info(text);
    log_info("lost");
    drain(fds[0]);
    const char *end = captured + strlen(captured);
    assert_int_equal(end[-1], 't');
    log_info("m");
    restore();
    drain(fds[0]);
    assert_int_equal(captured[0], '\n');
    assert_told(captured + 1, 2);
    close(fds[0]);
    close(fds[1]);
    free(text);
}

/* ---- Lines that gather ---- */

static off_t captured_so_far(void)
{
    return lseek(memory_fd, 0, SEEK_END);
}

static void test_lines_gather_until_they_are_flushed(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, NULL);
    capture_begin();
    log_gather(true);
    log_info("one");
    log_info("two");
    off_t before = captured_so_far();
    errno = 5;
    log_flush();
    int after = errno;
    off_t flushed = captured_so_far();
    log_info("three");
    log_warn("four");
    off_t warned = captured_so_far();
    log_info("five");
    log_gather(false);
    off_t off = captured_so_far();
    log_info("six");
    capture_end();
    assert_int_equal(before, 0);
    assert_int_equal(after, 5);
    assert_int_equal(flushed, 2 * strlen("1994-11-06T08:49:37.123Z INFO one\n"));
    assert_true(warned > flushed && off > warned);
    const char *at = captured;
    static const char *const lines[] = {"INFO one",  "INFO two",  "INFO three",
                                        "WARN four", "INFO five", "INFO six"};
    for (size_t i = 0; i < LEN(lines); i++) {
        at = strstr(at, lines[i]);
        assert_non_null(at);
    }
}

/* A pipe takes so much in one piece, and a line that is longer goes by itself, in its turn. */
static void test_no_more_gathers_than_a_pipe_takes(void **state)
{
    (void)state;
    char *text = repeat("g", 1000), *longest = repeat("l", 6000);
    log_setup(LOG_INFO, LOG_TEXT, NULL);
    capture_begin();
    log_gather(true);
    for (int i = 0; i < 3; i++)
        log_info(text);
    off_t three = captured_so_far();
    log_info(text);
    off_t four = captured_so_far();
    log_info(longest);
    off_t all = captured_so_far();
    log_gather(false);
    capture_end();
    free(text);
    free(longest);
    assert_int_equal(three, 0);
    assert_in_range(four, 3000, 4096);
    assert_in_range(all, 10000, 10500);
    assert_int_equal(captured_lines(), 5);
}

static void test_lost_lines_that_gathered_are_counted(void **state)
{
    (void)state;
    int fds[2];
    log_setup(LOG_INFO, LOG_TEXT, NULL);
    fill_up(fds, true, 0);
    redirect(fds[1]);
    log_gather(true);
    for (int i = 0; i < 3; i++)
        log_info("lost");
    log_flush();
    drain(fds[0]);
    log_info("m");
    log_gather(false);
    restore();
    drain(fds[0]);
    assert_told(captured, 3);
    close(fds[0]);
    close(fds[1]);
}

/* ---- Long lines ---- */

/* Whatever is cut, and wherever: the line is valid, ends with the mark, and no escape is torn. */
static void test_cut_json(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a", "\n", "\x01", "\xf0\x9f\x90\x98", "\xff", "\""};
    log_setup(LOG_INFO, LOG_JSON, "p");
    for (size_t i = 0; i < LEN(pieces); i++)
        for (size_t shift = 0; shift < 8; shift++) {
            char *text = repeat(pieces[i], LOG_MAX_LINE), *before = repeat("x", shift);
            CAPTURE(log_info("m", LOG_S("b", before), LOG_S("long", text), LOG_S("after", "y")));
            assert_true(strlen(captured) <= LOG_MAX_LINE);
            assert_true(strlen(captured) > LOG_MAX_LINE - 64);
            json_t *line = as_json();
            assert_true(json_is_true(json_object_get(line, "cut")));
            assert_null(json_object_get(line, "after"));
            json_decref(line);
            free(text);
            free(before);
        }
}

static void test_cut_between_fields(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_JSON, NULL);
    for (size_t n = LOG_MAX_LINE - 200; n < LOG_MAX_LINE; n++) {
        char *text = repeat("x", n);
        CAPTURE(log_info("m", LOG_S("long", text), LOG_U("number", 123456789), LOG_S("z", "end")));
        assert_true(strlen(captured) <= LOG_MAX_LINE);
        json_t *line = as_json(), *number = json_object_get(line, "number");
        assert_true(!number || json_integer_value(number) == 123456789);
        bool cut = json_is_true(json_object_get(line, "cut"));
        assert_int_equal(cut, strcmp(text_of(line, "z"), "end") != 0);
        json_decref(line);
        free(text);
    }
}

static void test_cut_message(void **state)
{
    (void)state;
    char *text = repeat("m", 2 * LOG_MAX_LINE);
    log_setup(LOG_INFO, LOG_JSON, text);
    CAPTURE(log_info(text));
    json_decref(as_json());
    log_setup(LOG_INFO, LOG_TEXT, NULL);
    CAPTURE(log_info(text, LOG_S("k", "v")));
    const char *line = behind_time();
    assert_string_equal(line + strlen(line) - 9, " cut=true");
    free(text);
}

/* ---- Threads ---- */

enum { THREADS = 4, LINES = 500 };

static void *log_many(void *text)
{
    for (int i = 0; i < LINES; i++)
        log_info("many", LOG_S("k", text));
    return NULL;
}

static void test_threads_do_not_mix(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    char *texts[THREADS];
    log_setup(LOG_INFO, LOG_TEXT, NULL);
    capture_begin();
    for (int i = 0; i < THREADS; i++) {
        texts[i] = repeat((const char[]){(char)('a' + i), '\0'}, 300);
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, texts[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    capture_end();
    int seen[THREADS] = {0};
    for (char *line = strtok(captured, "\n"); line; line = strtok(NULL, "\n")) {
        char *value = strstr(line, " INFO many k=");
        assert_non_null(value);
        value += strlen(" INFO many k=");
        assert_string_equal(value, texts[value[0] - 'a']);
        seen[value[0] - 'a']++;
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(seen[i], LINES);
        free(texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_line),
        cmocka_unit_test(test_text_escapes),
        cmocka_unit_test(test_json_line),
        cmocka_unit_test(test_json_of_bad_utf8),
        cmocka_unit_test(test_skipped_fields),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_error_fields_and_errno),
        cmocka_unit_test(test_closed_stderr),
        cmocka_unit_test(test_nobody_waits_for_a_reader),
        cmocka_unit_test(test_nobody_waits_without_descriptors),
        cmocka_unit_test(test_a_line_that_is_torn),
        cmocka_unit_test(test_lines_gather_until_they_are_flushed),
        cmocka_unit_test(test_no_more_gathers_than_a_pipe_takes),
        cmocka_unit_test(test_lost_lines_that_gathered_are_counted),
        cmocka_unit_test(test_cut_json),
        cmocka_unit_test(test_cut_between_fields),
        cmocka_unit_test(test_cut_message),
        cmocka_unit_test(test_threads_do_not_mix),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
