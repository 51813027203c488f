#include "service/service.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "service/probe.h"
#include "service/request.h"

enum {
    TOKEN_CACHE_ENTRIES = 4096,
    TICK_MS = 100,
    DRAIN_GRACE_MS = 700, /* how long an idle connection may still send in a drain */
    MAX_KEY_PATHS = 32,
};

static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const addressings[] = {"auto", "path", "host", NULL}; /* store_addressing */
static const char *const log_formats[] = {"text", "json", NULL};

#define OPT(field, type, dflt, min, max, flags, help)                                         \
    {                                                                                         \
#field, type, offsetof(struct service_conf, field), dflt, min, max, flags, NULL, help \
    }
#define OPT_NAMED(name, field, type, dflt, min, max, flags, help)                           \
    {                                                                                       \
        name, type, offsetof(struct service_conf, field), dflt, min, max, flags, NULL, help \
    }
const struct option service_options[] = {
    OPT(listen, OPT_STRING, "127.0.0.1:8080", 0, 0, OPT_REQUIRED,
        "Address to serve HTTP at: host:port (port 0 takes a free one), or unix:/path."),
    OPT(threads, OPT_UINT, "2", 1, 64, 0, "Threads that serve requests."),
    OPT(max_connections, OPT_UINT, "1024", 1, 65536, 0,
        "Open client connections for each thread; who comes when all are open gets 503."),
    OPT_NAMED("header_timeout", header_timeout_ms, OPT_MS, "10s", 100, 600000, 0,
              "From a connection's first moment to a whole request head."),
    OPT_NAMED("idle_timeout", idle_timeout_ms, OPT_MS, "75s", 100, 3600000, 0,
              "From an answer's end to the next whole request head."),
    OPT_NAMED("send_timeout", send_timeout_ms, OPT_MS, "30s", 100, 600000, 0,
              "A client that takes no byte of its answer for so long is cut off."),
    OPT_NAMED("drain_delay", drain_delay_ms, OPT_MS, "1s", 0, 600000, 0,
              "After SIGTERM, how long new connections are still accepted."),
    OPT_NAMED("drain_timeout", drain_timeout_ms, OPT_MS, "30s", 0, 3600000, 0,
              "After SIGTERM, how long requests in flight may take to end."),
    {"log_level", OPT_ENUM, offsetof(struct service_conf, log_level), "info", 0, 0, OPT_RELOAD,
     log_levels, "What is logged: debug, info, warn or error."},
    {"log_format", OPT_ENUM, offsetof(struct service_conf, log_format), "text", 0, 0, 0,
     log_formats, "How it is logged: text or json."},
    OPT(store, OPT_STRING, NULL, 0, 0, OPT_REQUIRED,
        "The object store: s3://bucket[/prefix] or file:///absolute/folder."),
    OPT(s3_endpoint, OPT_STRING, NULL, 0, 0, 0,
        "S3 endpoint, http[s]://host[:port]; default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, "
        "Amazon's."),
    OPT(s3_region, OPT_STRING, NULL, 0, 0, 0,
        "S3 region; default: AWS_REGION, AWS_DEFAULT_REGION, us-east-1."),
    OPT(s3_profile, OPT_STRING, NULL, 0, 0, 0,
        "Profile of the AWS files to take credentials and region from; default: AWS_PROFILE, "
        "\"default\"."),
    {"s3_addressing", OPT_ENUM, offsetof(struct service_conf, s3_addressing), "auto", 0, 0, 0,
     addressings,
     "Where the bucket's name goes: path (endpoint/bucket), host (bucket.endpoint) or auto: host "
     "at Amazon's endpoints."},
    OPT(s3_ca_file, OPT_STRING, NULL, 0, 0, 0, "PEM bundle to trust instead of the system's."),
    OPT(s3_client_cert_file, OPT_STRING, NULL, 0, 0, 0,
        "PEM certificate to show to the store; default: none."),
    OPT(s3_client_key_file, OPT_STRING, NULL, 0, 0, 0,
        "Its PEM key; default: in s3_client_cert_file."),
    OPT(s3_max_connections, OPT_UINT, "128", 1, 4096, 0,
        "Connections of each thread to the store, for files, tombstones and listings."),
    OPT(s3_max_bulk_connections, OPT_UINT, "32", 1, 4096, 0,
        "Connections of each thread to the store, for deletions; the others do not wait for them."),
    OPT_NAMED("store_timeout", store_timeout_ms, OPT_MS, "30s", 100, 600000, 0,
              "One operation on the store, with all its tries."),
    OPT(store_alarm_percent, OPT_UINT, "25", 1, 100, 0,
        "Requests to the store that fail, of the last minute's, from which an alarm is raised. It "
        "ends below half of that."),
    {.name = NULL},
};

const struct option token_options[] = {
    OPT(token_keys, OPT_STRING, NULL, 0, 0, OPT_REQUIRED | OPT_RELOAD,
        "Public keys that tokens are checked with: PEM or JWKS files, or folders of them, divided "
        "by commas."),
    OPT(token_audience, OPT_STRING, NULL, 0, 0, 0, "Required aud claim; default: not looked at."),
    OPT(token_issuer, OPT_STRING, NULL, 0, 0, 0, "Required iss claim; default: not looked at."),
    OPT_NAMED("token_leeway", token_leeway_ms, OPT_MS, "60s", 0, 3600000, 0,
              "How far clocks may differ when a token's times are checked."),
    {.name = NULL},
};

/* ---- Keys ---- */

/* A program without the token options has no list, and no keys. */
static int load_keys(const char *list, struct keyring **out, struct store_err *err)
{
    const char *paths[MAX_KEY_PATHS + 1];
    size_t n = 0;
    *out = NULL;
    if (!list)
        return 0;
    char *copy = xstrdup(list), *save = NULL;
    for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        if (n == MAX_KEY_PATHS) {
            free(copy);
            return store_err_set(err, STORE_INVALID, "option token_keys: expected up to %d paths",
                                 MAX_KEY_PATHS);
        }
        paths[n++] = p + strspn(p, " ");
    }
    paths[n] = NULL;
    int rc = keyring_load(paths, out, err);
    free(copy);
    return rc;
}

struct keyring *worker_keys(struct worker *w)
{
    struct service *s = w->service;
    unsigned version = atomic_load(&s->keys_version);
    if (w->keys && w->keys_version == version)
        return w->keys;
    pthread_mutex_lock(&s->keys_lock);
    struct keyring *keys = keyring_ref(s->keys);
    pthread_mutex_unlock(&s->keys_lock);
    keyring_unref(w->keys);
    w->keys = keys;
    w->keys_version = version;
    return keys;
}

/* ---- Workers ---- */

/* Only wakes the loop: worker_main() then looks at the phase. */
static void worker_tick(void *user)
{
    struct worker *w = user;
    loop_timer_set(w->loop, &w->tick, TICK_MS);
}

/* What waits to be accepted is still served. The last worker has the kernel refuse clients: the
 * socket itself stays open until the end, and they would wait in its queue for nobody. */
static void stop_accepting(struct worker *w)
{
    struct service *s = w->service;
    w->closing = true;
    httpd_stop_accepting(w->httpd);
    if (atomic_fetch_add(&s->n_closing, 1) + 1 == s->n_workers)
        shutdown(s->listen_fd, SHUT_RDWR);
}

static enum service_phase follow_phase(struct worker *w)
{
    enum service_phase phase = atomic_load(&w->service->phase);
    if (phase >= PHASE_DRAINING && !w->draining) {
        w->draining = true;
        httpd_drain(w->httpd, DRAIN_GRACE_MS);
    }
    if (phase == PHASE_CLOSING && !w->closing)
        stop_accepting(w);
    return phase;
}

static void *worker_main(void *user)
{
    struct worker *w = user;
    struct service *s = w->service;
    struct store_err err;
    uint64_t give_up_ms = 0;
    log_gather(true);
    for (;;) {
        if (loop_run_once(w->loop, -1, &err) != 0) {
            log_error("worker failed", LOG_ERR(&err));
            abort();
        }
        log_flush();
        if (follow_phase(w) != PHASE_CLOSING)
            continue;
        if (!give_up_ms)
            give_up_ms = loop_now_ms(w->loop) + service_conf(s)->drain_timeout_ms;
        if (httpd_requests(w->httpd) == 0 || loop_now_ms(w->loop) >= give_up_ms)
            break;
    }
    log_gather(false);
    size_t cut = httpd_requests(w->httpd);
    if (cut)
        log_warn("drain timed out", LOG_U("requests_cut", cut));
    httpd_free(w->httpd);
    if (s->app->worker_end)
        s->app->worker_end(w);
    loop_timer_clear(w->loop, &w->tick);
    store_loop_free(w->loop);
    token_cache_free(w->tokens);
    keyring_unref(w->keys);
    return NULL;
}

static int worker_init(struct worker *w, struct service *s, struct store_err *err)
{
    const struct service_conf *c = service_conf(s);
    *w = (struct worker){.service = s};
    w->tick = (struct loop_timer){.fn = worker_tick, .user = w};
    if (getrandom(&w->request_seed, sizeof(w->request_seed), 0) < 0)
        return store_err_errno(err, errno, "random numbers");
    if (loop_new(&w->loop, err) != 0)
        return -1;
    const struct httpd_conf hc = {
        .listen_fd = s->listen_fd,
        .max_connections = c->threads * c->max_connections,
        .open_connections = &s->open_connections,
        .pool_bytes = s->app->pool_bytes,
        .write_buffer_bytes = s->app->write_buffer_bytes,
        .header_timeout_ms = (uint32_t)c->header_timeout_ms,
        .idle_timeout_ms = (uint32_t)c->idle_timeout_ms,
        .send_timeout_ms = (uint32_t)c->send_timeout_ms,
        .handler = &request_handler,
        .user = w,
    };
    if (httpd_new(w->loop, &hc, &w->httpd, err) != 0)
        return -1;
    w->tokens = token_cache_new(TOKEN_CACHE_ENTRIES);
    if (!w->tokens)
        return store_err_set(err, STORE_FAILED,
                             "cache of tokens: OpenSSL gives no SHA-256, or no memory");
    if (loop_timer_set(w->loop, &w->tick, TICK_MS) != 0)
        return store_err_set(err, STORE_NO_MEMORY, "worker: out of memory for a timer");
    return 0;
}

static int start_workers(struct service *s, struct store_err *err)
{
    s->n_workers = service_conf(s)->threads;
    s->workers = xcalloc(s->n_workers, sizeof(*s->workers));
    for (size_t i = 0; i < s->n_workers; i++)
        if (worker_init(&s->workers[i], s, err) != 0)
            return -1;
    for (size_t i = 0; i < s->n_workers; i++) {
        int rc = pthread_create(&s->workers[i].thread, NULL, worker_main, &s->workers[i]);
        if (rc != 0)
            return store_err_errno(err, rc, "cannot start a thread");
    }
    return 0;
}

/* ---- Start ---- */

/* OpenSSL's first use allocates in places that do not look at the result: have it over with. */
static void warm_up_openssl(void)
{
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned n;
    OPENSSL_init_crypto(0, NULL);
    EVP_Digest("", 0, out, &n, EVP_sha256(), NULL);
}

static int service_start(struct service *s, struct store_err *err)
{
    const struct service_conf *c = service_conf(s);
    warm_up_openssl();
    s->rules = (struct token_rules){
        .audience = c->token_audience,
        .issuer = c->token_issuer,
        .leeway_s = (uint32_t)(c->token_leeway_ms / 1000),
    };
    if (load_keys(c->token_keys, &s->keys, err) != 0 || service_open_store(s, err) != 0)
        return -1;
    s->listen_fd = listen_open(c->listen, s->address, err);
    if (s->listen_fd < 0)
        return -1;
    request_metrics_register();
    store_metrics_register(s);
    if (s->app->start && s->app->start(s, err) != 0)
        return -1;
    return start_workers(s, err);
}

static void service_stop(struct service *s)
{
    for (size_t i = 0; i < s->n_workers; i++)
        pthread_join(s->workers[i].thread, NULL);
    if (s->app->stop)
        s->app->stop(s);
    free(s->workers);
    store_close(s->store);
    keyring_unref(s->keys);
    listen_close(s->listen_fd);
}

/* ---- Signals ---- */

static void reload(struct service *s, int argc, char **argv)
{
    void *fresh = xcalloc(1, s->app->conf_size);
    struct store_err err;
    struct keyring *keys = NULL;
    if (options_reload(s->app->options, argc, argv, fresh, &err) != 0 ||
        load_keys(((struct service_conf *)fresh)->token_keys, &keys, &err) != 0) {
        log_error("reload refused, nothing was changed", LOG_ERR(&err));
    } else {
        pthread_mutex_lock(&s->keys_lock);
        struct keyring *old = s->keys;
        s->keys = keys;
        pthread_mutex_unlock(&s->keys_lock);
        atomic_fetch_add(&s->keys_version, 1);
        log_set_level(((struct service_conf *)fresh)->log_level);
        log_info("reloaded", LOG_U("keys", keys ? keys->n : 0));
        keyring_unref(old);
    }
    options_cleanup(s->app->options, fresh);
    free(fresh);
}

/* Returns the signal, or 0 when wait_ms is over. */
static int next_signal(int fd, int wait_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct signalfd_siginfo info;
    if (poll(&p, 1, wait_ms) <= 0 || read(fd, &info, sizeof(info)) != sizeof(info))
        return 0;
    return (int)info.ssi_signo;
}

static void force_exit(void)
{
    log_warn("second signal: ending at once");
    _exit(1);
}

static void serve_until_stopped(struct service *s, int signals, int argc, char **argv)
{
    int sig;
    do {
        sig = next_signal(signals, -1);
        if (sig == SIGHUP)
            reload(s, argc, argv);
    } while (sig != SIGTERM && sig != SIGINT);
    log_info("draining", LOG_S("signal", sig == SIGTERM ? "SIGTERM" : "SIGINT"));
    atomic_store(&s->phase, PHASE_DRAINING);
    sig = next_signal(signals, (int)service_conf(s)->drain_delay_ms);
    if (sig == SIGTERM || sig == SIGINT)
        force_exit();
    atomic_store(&s->phase, PHASE_CLOSING);
}

/* Lives beside service_stop(), which may take as long as the drain. */
static void *watch_second_signal(void *user)
{
    int *fd = user;
    for (;;) {
        int sig = next_signal(*fd, -1);
        if (sig == SIGTERM || sig == SIGINT)
            force_exit();
    }
    return NULL;
}

static int block_signals(struct store_err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    return fd >= 0 ? fd : store_err_errno(err, errno, "signals cannot be read");
}

static int run(struct service *s, int argc, char **argv)
{
    struct store_err err = {0};
    static int signals;
    pthread_t second;
    signals = block_signals(&err);
    if (signals < 0 || service_start(s, &err) != 0) {
        log_error("cannot start", LOG_ERR(&err));
        return 1;
    }
    struct probe *probe = probe_start(s->store, &s->store_ready);
    log_info("started", LOG_S("version", EPUFS_VERSION), LOG_S("listen", s->address),
             LOG_S("store", store_url(s->store)), LOG_U("keys", s->keys ? s->keys->n : 0));
    serve_until_stopped(s, signals, argc, argv);
    if (pthread_create(&second, NULL, watch_second_signal, &signals) == 0)
        pthread_detach(second);
    probe_stop(probe);
    service_stop(s);
    log_info("stopped");
    return 0;
}

static int run_words(struct service *s, char **words, int argc, char **argv)
{
    const struct service_conf *c = service_conf(s);
    log_setup(c->log_level, c->log_format, s->app->program);
    signal(SIGPIPE, SIG_IGN);
    int rc = s->app->command && words && words[0] ? s->app->command(s, words) : -1;
    return rc >= 0 ? rc : run(s, argc, argv);
}

int service_main(const struct app *app, int argc, char **argv)
{
    char **words = NULL;
    struct store_err err = {0};
    struct service s = {.app = app, .listen_fd = -1};
    pthread_mutex_init(&s.keys_lock, NULL);
    s.conf = xcalloc(1, app->conf_size);
    int rc = 0;
    switch (options_parse(app->options, argc, argv, s.conf, &words, &err)) {
    case OPTIONS_EXIT_OK: break;
    case OPTIONS_EXIT_BAD:
        fprintf(stderr, "%s: %s\n", app->program, err.msg);
        rc = 2;
        break;
    case OPTIONS_RUN: rc = run_words(&s, words, argc, argv); break;
    }
    free(words);
    options_cleanup(app->options, s.conf);
    free(s.conf);
    return rc;
}
