/* metrics.h - counters, gauges and histograms in the Prometheus text format (version 0.0.4).
 * Metrics are static objects that register themselves with metric_register() at start, before
 * threads run; updating is lock-free from any thread. Names carry base units (seconds, bytes,
 * total). Never a tenant as a label. */
#ifndef SERVICE_METRICS_H
#define SERVICE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
enum { METRIC_MAX_BUCKETS = 16 };

struct metric {
    const char *name;   /* "epufs_http_requests_total" */
    const char *labels; /* "route=\"file\",class=\"2xx\"" or NULL */
    const char *help;
    enum metric_type type;
    const double *buckets; /* HISTOGRAM: upper bounds, ascending; seconds or bytes */
    unsigned n_buckets;
    /* The values. */
    atomic_uint_fast64_t value; /* counter; gauge (as int64_t) */
    atomic_uint_fast64_t counts[METRIC_MAX_BUCKETS + 1];
    atomic_uint_fast64_t sum_bits; /* HISTOGRAM: the sum; the bits of a double */
    /* Set by the functions below. */
    double (*fn)(void *user);
    void *user;
    struct metric *next;
};

/* Metrics of one name must have the same type; the first one's help counts. */
void metric_register(struct metric *m);
void metric_add(struct metric *m, uint64_t n);   /* counter */
void metric_set(struct metric *m, int64_t v);    /* gauge */
void metric_inc(struct metric *m, int64_t d);    /* gauge, up or down */
void metric_observe(struct metric *m, double v); /* histogram */
/* A gauge, or a counter, that is computed when it is asked for; fn must be quick and thread-safe.
 */
void metric_register_fn(const char *name, const char *help, double (*fn)(void *user), void *user);
void metric_register_counter_fn(const char *name, const char *help, double (*fn)(void *user),
                                void *user);
/* Everything registered, grouped by name in order of first registration, # HELP and # TYPE once a
 * name. Also process_resident_memory_bytes, process_cpu_seconds_total, process_open_fds,
 * process_start_time_seconds. */
void metrics_render(struct buf *out);

extern const double metric_latency_buckets[]; /* 1 ms … 10 s */
extern const unsigned metric_n_latency_buckets;

#endif
