#include "service/metrics.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/xalloc.h"

static const double byte_bounds[] = {1024, 1048576, 1099511627776};
static const double three_bounds[] = {0.005, 0.5, 2.5};

static struct metric hits_a = {.name = "t_hits_total", .labels = "kind=\"a\"", .help = "Hits."};
static struct metric depth = {
    .name = "t_depth", .help = "A \\ and a\nline feed.", .type = METRIC_GAUGE};
static struct metric hits_b = {.name = "t_hits_total", .labels = "kind=\"b\"", .help = "Other."};
static struct metric sizes = {.name = "t_size_bytes",
                              .help = "Sizes.",
                              .type = METRIC_HISTOGRAM,
                              .buckets = byte_bounds,
                              .n_buckets = LEN(byte_bounds)};
static struct metric times = {.name = "t_seconds",
                              .labels = "route=\"file\"",
                              .help = "Times.",
                              .type = METRIC_HISTOGRAM,
                              .buckets = three_bounds,
                              .n_buckets = LEN(three_bounds)};

static double computed;

static double read_computed(void *user)
{
    return *(double *)user;
}

static int register_all(void **state)
{
    (void)state;
    metric_register(&hits_a);
    metric_register(&depth);
    metric_register(&hits_b);
    metric_register(&sizes);
    metric_register(&times);
    metric_register_fn("t_computed", "Computed.", read_computed, &computed);
    metric_register_counter_fn("t_computed_total", "Counted.", read_computed, &computed);
    return 0;
}

/* To be freed. */
static char *render(void)
{
    struct buf out = BUF_INIT(1 << 20);
    metrics_render(&out);
    char *text = buf_detach(&out, NULL);
    assert_non_null(text);
    return text;
}

static void expect(const char *part)
{
    char *text = render();
    if (!strstr(text, part))
        fail_msg("'%s' is not in:\n%s", part, text);
    free(text);
}

/* Both lines of the counter stand together, below one head. */
static void test_counters(void **state)
{
    (void)state;
    metric_add(&hits_a, 3);
    metric_add(&hits_a, 4);
    expect("# HELP t_hits_total Hits.\n# TYPE t_hits_total counter\nt_hits_total{kind=\"a\"} 7\n"
           "t_hits_total{kind=\"b\"} 0\n# HELP t_depth ");
    metric_add(&hits_b, UINT64_MAX);
    expect("t_hits_total{kind=\"b\"} 18446744073709551615\n");
}

static void test_gauges(void **state)
{
    (void)state;
    metric_set(&depth, -5);
    expect("# HELP t_depth A \\\\ and a\\nline feed.\n# TYPE t_depth gauge\nt_depth -5\n");
    metric_inc(&depth, 8);
    metric_inc(&depth, -1);
    expect("\nt_depth 2\n");
}

static void test_computed_gauge(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *expected;
    } cases[] = {
        {0, "t_computed 0\n"},
        {0.1, "t_computed 0.1\n"},
        {-2.5, "t_computed -2.5\n"},
        {1e300, "t_computed 1e+300\n"},
        {1234567.25, "t_computed 1234567.25\n"},
        {NAN, "t_computed NaN\n"},
        {INFINITY, "t_computed +Inf\n"},
        {-INFINITY, "t_computed -Inf\n"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        computed = cases[i].v;
        expect(cases[i].expected);
    }
    expect("# TYPE t_computed gauge\n");
}

static void test_computed_counter(void **state)
{
    (void)state;
    computed = 12345678901;
    expect("# TYPE t_computed_total counter\nt_computed_total 12345678901\n");
}

static void test_histogram(void **state)
{
    (void)state;
    metric_observe(&times, 0.005); /* a bound belongs to its own bucket */
    metric_observe(&times, 0.25);
    metric_observe(&times, 2.5);
    metric_observe(&times, 100);
    expect("# HELP t_seconds Times.\n# TYPE t_seconds histogram\n"
           "t_seconds_bucket{route=\"file\",le=\"0.005\"} 1\n"
           "t_seconds_bucket{route=\"file\",le=\"0.5\"} 2\n"
           "t_seconds_bucket{route=\"file\",le=\"2.5\"} 3\n"
           "t_seconds_bucket{route=\"file\",le=\"+Inf\"} 4\n"
           "t_seconds_sum{route=\"file\"} 102.755\n"
           "t_seconds_count{route=\"file\"} 4\n");
}

/* Sums far beyond 2^64 millionths, and bounds that six digits cannot hold. */
static void test_histogram_of_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < 64; i++)
        metric_observe(&sizes, 1099511627776.0);
    metric_observe(&sizes, 0);
    expect("t_size_bytes_bucket{le=\"1024\"} 1\n"
           "t_size_bytes_bucket{le=\"1048576\"} 1\n"
           "t_size_bytes_bucket{le=\"1099511627776\"} 65\n"
           "t_size_bytes_bucket{le=\"+Inf\"} 65\n"
           "t_size_bytes_sum 70368744177664\n"
           "t_size_bytes_count 65\n");
}

static void test_latency_buckets(void **state)
{
    (void)state;
    assert_true(metric_n_latency_buckets <= METRIC_MAX_BUCKETS);
    assert_true(metric_latency_buckets[0] == 0.001);
    assert_true(metric_latency_buckets[metric_n_latency_buckets - 1] == 10);
    for (unsigned i = 1; i < metric_n_latency_buckets; i++)
        assert_true(metric_latency_buckets[i - 1] < metric_latency_buckets[i]);
}

static double number_behind(const char *name)
{
    char *text = render(), *at = strstr(text, name);
    assert_non_null(at);
    double v = strtod(at + strlen(name), NULL);
    free(text);
    return v;
}

static void test_process(void **state)
{
    (void)state;
    double fds = number_behind("\nprocess_open_fds ");
    int fd = dup(STDOUT_FILENO);
    assert_true(number_behind("\nprocess_open_fds ") == fds + 1);
    close(fd);
    assert_true(number_behind("\nprocess_resident_memory_bytes ") > 100000);
    assert_true(number_behind("\nprocess_cpu_seconds_total ") >= 0);
    double age_s = (double)clock_real_s() - number_behind("\nprocess_start_time_seconds ");
    assert_true(age_s > -2 && age_s < 600);
    expect("# TYPE process_cpu_seconds_total counter\n");
}

/* Every line is a comment, or a name with or without labels, a blank and a number. */
static void test_form_of_lines(void **state)
{
    (void)state;
    char *text = render();
    assert_true(text[strlen(text) - 1] == '\n');
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (line[0] == '#')
            continue;
        char *end, *number = strrchr(line, ' ');
        assert_non_null(number);
        strtod(number + 1, &end);
        assert_string_equal(end, "");
        size_t name = strcspn(line, "{ ");
        assert_true(name > 0 && (line[name] == ' ' || number[-1] == '}'));
    }
    free(text);
}

static void test_full_buffer(void **state)
{
    (void)state;
    struct buf out = BUF_INIT(100);
    metrics_render(&out);
    assert_true(buf_failed(&out));
    assert_true(out.len <= 100);
    buf_cleanup(&out);
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *update(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        metric_add(&hits_a, 1);
        metric_inc(&depth, i % 2 ? 1 : -1);
        metric_observe(&times, 0.25);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    double hits = number_behind("t_hits_total{kind=\"a\"} ");
    double count = number_behind("t_seconds_count{route=\"file\"} ");
    double sum = number_behind("t_seconds_sum{route=\"file\"} ");
    metric_set(&depth, 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, update, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    const double n = THREADS * ROUNDS;
    assert_true(number_behind("t_hits_total{kind=\"a\"} ") == hits + n);
    assert_true(number_behind("t_seconds_count{route=\"file\"} ") == count + n);
    assert_true(fabs(number_behind("t_seconds_sum{route=\"file\"} ") - sum - n / 4) < 1e-6);
    expect("\nt_depth 0\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters),        cmocka_unit_test(test_gauges),
        cmocka_unit_test(test_computed_gauge),  cmocka_unit_test(test_computed_counter),
        cmocka_unit_test(test_histogram),       cmocka_unit_test(test_histogram_of_bytes),
        cmocka_unit_test(test_latency_buckets), cmocka_unit_test(test_process),
        cmocka_unit_test(test_form_of_lines),   cmocka_unit_test(test_full_buffer),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("metrics", tests, register_all, NULL);
}
