#include "service/metrics.h"

#include <assert.h>
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/xalloc.h"

/* Bounds in seconds, close together where a request normally ends. */
const double metric_latency_buckets[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                         0.25,  0.5,    1,     2.5,  5,     10};
const unsigned metric_n_latency_buckets = LEN(metric_latency_buckets);

static struct metric *first;
static struct metric **end = &first;

/* ---- Registration ---- */

void metric_register(struct metric *m)
{
    assert(m->n_buckets <= METRIC_MAX_BUCKETS);
    assert((m->type == METRIC_HISTOGRAM) == (m->buckets != NULL));
    for (const struct metric *other = first; other; other = other->next) {
        assert(other != m);
        assert(other->type == m->type || strcmp(other->name, m->name) != 0);
    }
    m->next = NULL;
    *end = m;
    end = &m->next;
}

static void register_fn(const char *name, const char *help, enum metric_type type,
                        double (*fn)(void *user), void *user)
{
    struct metric *m = xcalloc(1, sizeof(*m)); /* lives as long as the process */
    m->name = name;
    m->help = help;
    m->type = type;
    m->fn = fn;
    m->user = user;
    metric_register(m);
}

void metric_register_fn(const char *name, const char *help, double (*fn)(void *user), void *user)
{
    register_fn(name, help, METRIC_GAUGE, fn, user);
}

void metric_register_counter_fn(const char *name, const char *help, double (*fn)(void *user),
                                void *user)
{
    register_fn(name, help, METRIC_COUNTER, fn, user);
}

/* ---- Updates: no order is needed between metrics ---- */

void metric_add(struct metric *m, uint64_t n)
{
    atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}

void metric_set(struct metric *m, int64_t v)
{
    atomic_store_explicit(&m->value, (uint64_t)v, memory_order_relaxed);
}

void metric_inc(struct metric *m, int64_t d)
{
    atomic_fetch_add_explicit(&m->value, (uint64_t)d, memory_order_relaxed);
}

static double bits_to_double(uint_fast64_t bits)
{
    uint64_t exact = bits;
    double v;
    memcpy(&v, &exact, sizeof(v));
    return v;
}

static uint_fast64_t double_to_bits(double v)
{
    uint64_t exact;
    memcpy(&exact, &v, sizeof(exact));
    return exact;
}

/* C11 has no atomic addition of doubles. */
static void add_double(atomic_uint_fast64_t *bits, double v)
{
    uint_fast64_t seen = atomic_load_explicit(bits, memory_order_relaxed), wanted;
    do {
        wanted = double_to_bits(bits_to_double(seen) + v);
    } while (!atomic_compare_exchange_weak_explicit(bits, &seen, wanted, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void metric_observe(struct metric *m, double v)
{
    unsigned i = 0;
    while (i < m->n_buckets && v > m->buckets[i])
        i++;
    atomic_fetch_add_explicit(&m->counts[i], 1, memory_order_relaxed);
    add_double(&m->sum_bits, v);
}

/* ---- Rendering ---- */

/* The shortest form that reads back as the same number. */
static void add_number(struct buf *out, double v)
{
    char text[40];
    if (isnan(v)) {
        buf_adds(out, "NaN");
        return;
    }
    if (isinf(v)) {
        buf_adds(out, v > 0 ? "+Inf" : "-Inf");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_adds(out, text);
}

/* The format takes "\\" and "\n" for a backslash and a line feed in help texts. */
static void add_head(struct buf *out, const char *name, const char *help, enum metric_type type)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    buf_addf(out, "# HELP %s ", name);
    for (const char *p = help ? help : ""; *p; p++) {
        if (*p == '\n')
            buf_adds(out, "\\n");
        else if (*p == '\\')
            buf_adds(out, "\\\\");
        else
            buf_addc(out, *p);
    }
    buf_addf(out, "\n# TYPE %s %s\n", name, types[type]);
}

/* "name_suffix{labels} " */
static void add_series(struct buf *out, const struct metric *m, const char *suffix)
{
    buf_addf(out, "%s%s", m->name, suffix);
    if (m->labels)
        buf_addf(out, "{%s}", m->labels);
    buf_addc(out, ' ');
}

static void add_bucket(struct buf *out, const struct metric *m, double bound, uint64_t count)
{
    buf_addf(out, "%s_bucket{%s%sle=\"", m->name, m->labels ? m->labels : "", m->labels ? "," : "");
    add_number(out, bound);
    buf_addf(out, "\"} %llu\n", (unsigned long long)count);
}

/* The count is the sum of the buckets as they were read, so that the two always agree. */
static void render_histogram(const struct metric *m, struct buf *out)
{
    uint64_t count = 0;
    for (unsigned i = 0; i <= m->n_buckets; i++) {
        count += atomic_load_explicit(&m->counts[i], memory_order_relaxed);
        add_bucket(out, m, i < m->n_buckets ? m->buckets[i] : INFINITY, count);
    }
    add_series(out, m, "_sum");
    add_number(out, bits_to_double(atomic_load_explicit(&m->sum_bits, memory_order_relaxed)));
    buf_addc(out, '\n');
    add_series(out, m, "_count");
    buf_addf(out, "%llu\n", (unsigned long long)count);
}

static void render_metric(const struct metric *m, struct buf *out)
{
    if (m->type == METRIC_HISTOGRAM) {
        render_histogram(m, out);
        return;
    }
    uint64_t v = atomic_load_explicit(&m->value, memory_order_relaxed);
    add_series(out, m, "");
    if (m->fn)
        add_number(out, m->fn(m->user));
    else if (m->type == METRIC_COUNTER)
        buf_addf(out, "%llu", (unsigned long long)v);
    else
        buf_addf(out, "%lld", (long long)v);
    buf_addc(out, '\n');
}

static bool is_first_of_name(const struct metric *m)
{
    const struct metric *other = first;
    while (strcmp(other->name, m->name) != 0)
        other = other->next;
    return other == m;
}

/* ---- The process itself ---- */

/* Reads a short file of /proc, or "" when that cannot be. */
static void read_proc(const char *path, char *text, size_t cap)
{
    size_t n = 0;
    FILE *f = fopen(path, "re");
    if (f) {
        n = fread(text, 1, cap - 1, f);
        fclose(f);
    }
    text[n] = '\0';
}

static bool resident_bytes(double *v)
{
    char text[256];
    read_proc("/proc/self/statm", text, sizeof(text));
    const char *pages = strchr(text, ' '); /* the second number */
    if (!pages)
        return false;
    *v = (double)strtoull(pages, NULL, 10) * (double)sysconf(_SC_PAGESIZE);
    return true;
}

static bool cpu_seconds(double *v)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    *v = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    return true;
}

static bool open_fds(double *v)
{
    int n = -1; /* the folder that is read counts itself */
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return false;
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    *v = n;
    return true;
}

static double start_time_s;

/* Field 22 of /proc/self/stat is the start in clock ticks since boot. The second field, the
 * program's name, may hold blanks and brackets, so counting begins behind its last bracket. */
static void find_start_time(void)
{
    char text[1024];
    read_proc("/proc/self/stat", text, sizeof(text));
    const char *p = strrchr(text, ')');
    for (int i = 2; p && i < 22; i++) {
        p = strchr(p, ' ');
        p = p ? p + 1 : NULL;
    }
    if (!p)
        return;
    uint64_t started_ms = strtoull(p, NULL, 10) * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK);
    uint64_t age_ms = clock_boot_ms() - started_ms;
    start_time_s = (double)(clock_real_ms() - age_ms) / 1000;
}

/* Found once, so that a clock that is set later does not look like a restart. */
static bool start_time(double *v)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_start_time);
    *v = start_time_s;
    return start_time_s > 0;
}

static void render_process(struct buf *out)
{
    static const struct {
        const char *name, *help;
        enum metric_type type;
        bool (*read)(double *v);
    } facts[] = {
        {"process_resident_memory_bytes", "Memory that is in RAM.", METRIC_GAUGE, resident_bytes},
        {"process_cpu_seconds_total", "CPU time, user and system.", METRIC_COUNTER, cpu_seconds},
        {"process_open_fds", "Open file descriptors.", METRIC_GAUGE, open_fds},
        {"process_start_time_seconds", "Start, seconds since 1970.", METRIC_GAUGE, start_time},
    };
    for (size_t i = 0; i < LEN(facts); i++) {
        double v;
        if (!facts[i].read(&v))
            continue;
        add_head(out, facts[i].name, facts[i].help, facts[i].type);
        buf_addf(out, "%s ", facts[i].name);
        add_number(out, v);
        buf_addc(out, '\n');
    }
}

void metrics_render(struct buf *out)
{
    for (const struct metric *m = first; m; m = m->next) {
        if (!is_first_of_name(m))
            continue;
        add_head(out, m->name, m->help, m->type);
        for (const struct metric *same = m; same; same = same->next)
            if (strcmp(same->name, m->name) == 0)
                render_metric(same, out);
    }
    render_process(out);
}
