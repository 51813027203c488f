/* service.h - what makes a program a service: options, start, worker threads, health, signals,
 * reload, drain, exit. reader and writer are this with handlers of their own.
 *
 * Life: parse options, load keys, open the store, listen, start the workers; then the main thread
 * waits for signals. SIGHUP reloads keys and log level, all or nothing. SIGTERM or SIGINT drains:
 * /readyz fails, the listener stays for drain_delay, work in flight has until drain_timeout, exit
 * 0. A second one ends at once, exit 1. */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include <pthread.h>
#include <stdatomic.h>

#include <store/store.h>

#include "base/loop.h"
#include "base/options.h"
#include "epufs/token.h"
#include "service/httpd.h"
#include "service/listen.h"
#include "service/metrics.h"

/* The options that every HTTP service has; the first member of a program's own struct. */
struct service_conf {
    char *listen;
    uint64_t threads, max_connections;
    uint64_t header_timeout_ms, idle_timeout_ms, send_timeout_ms;
    uint64_t drain_delay_ms, drain_timeout_ms;
    int log_level, log_format;
    char *store, *s3_endpoint, *s3_region, *s3_profile;
    int s3_addressing;
    char *s3_ca_file, *s3_client_cert_file, *s3_client_key_file;
    uint64_t s3_max_connections, s3_max_bulk_connections;
    uint64_t store_timeout_ms, store_alarm_percent;
    char *token_keys, *token_audience, *token_issuer;
    uint64_t token_leeway_ms;
};
/* Tables over struct service_conf at offset 0; one without the token options serves no files. */
extern const struct option service_options[];
extern const struct option token_options[];

struct service;
struct request;

/* One thread: a loop, a server on it, and what must not be shared. */
struct worker {
    struct service *service;
    struct loop *loop;
    struct httpd *httpd;
    struct token_cache *tokens;
    struct keyring *keys; /* this worker's reference */
    unsigned keys_version;
    pthread_t thread;
    struct loop_timer tick;
    uint64_t request_seed;
    bool draining, closing;
    void *state; /* the program's own */
};

struct app {
    const char *program; /* "epufs-reader" */
    const struct options_spec *options;
    size_t conf_size;
    uint32_t pool_bytes, write_buffer_bytes; /* for httpd_conf */
    /* Starts a request whose token is valid and whose route is a file or a scope. Answers 405 for
     * methods that it does not serve. NULL: there are no such routes. */
    void (*begin)(struct request *rq);
    /* The words behind the options, when there are any: an operator's command. Returns the exit
     * code, or -1 to go on and serve. May be NULL. */
    int (*command)(struct service *s, char **words);
    /* NULL when ready, or why not; may be NULL itself. Any worker's thread. */
    const char *(*not_ready)(struct service *s);
    /* Once, before the workers start; may be NULL. Returns 0, or -1 with *err set. */
    int (*start)(struct service *s, struct store_err *err);
    /* On each worker's thread, after its requests ended and before its loop is freed: what goes on
     * without a request is brought to an end, soon. May run the loop. May be NULL. */
    void (*worker_end)(struct worker *w);
    void (*stop)(struct service *s); /* after the workers ended; may be NULL */
};

enum service_phase { PHASE_RUNNING, PHASE_DRAINING, PHASE_CLOSING };

struct service {
    const struct app *app;
    void *conf;  /* the program's struct; begins with a struct service_conf */
    void *state; /* the program's own, from start() on */
    store *store;
    struct token_rules rules;
    int listen_fd;
    char address[LISTEN_ADDRESS_SIZE];
    struct worker *workers;
    size_t n_workers;
    atomic_size_t open_connections;
    atomic_size_t n_closing; /* workers that accept no more connections */
    _Atomic enum service_phase phase;
    atomic_bool store_ready;   /* the last probe was answered */
    atomic_uint keys_version;  /* raised by each reload */
    pthread_mutex_t keys_lock; /* guards keys */
    struct keyring *keys;
};

static inline const struct service_conf *service_conf(const struct service *s)
{
    return s->conf;
}

/* main() of a service. Returns the exit code: 0, 1 (failed or forced), 2 (bad options). */
int service_main(const struct app *app, int argc, char **argv);

/* backing.c: opens the store that the options name; a change of its error rate over the alarm's
 * bound is logged. */
int service_open_store(struct service *s, struct store_err *err);
/* The same once more, with connections and I/O threads of its own, for work that nobody else is to
 * wait for. *out is the caller's: store_close(). Its requests are not among the metrics. */
int service_open_another_store(const struct service *s, store **out, struct store_err *err);
/* Registers what store_stats() tells of s->store. Once, before threads run. */
void store_metrics_register(struct service *s);

/* The worker's keyring, brought up to date. */
struct keyring *worker_keys(struct worker *w);

#endif
