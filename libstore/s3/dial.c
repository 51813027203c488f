#include "libstore/s3/dial.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libstore/s3/sockets.h"

enum { DEFAULT_CONNECT_TIMEOUT_MS = 3000, MAX_LINKS = 65536 };

struct link {
    struct dialer *dialer;
    CURL *easy;
    CURLU *url;
    int fd; /* -1: not connected */
    bool plain;
    void (*connected)(void *user, enum http_failure failure, const char *detail);
    void *user;
    enum http_failure failure; /* of the last LINK_BROKEN */
    bool starved;              /* no memory for its watch */
    char trouble[CURL_ERROR_SIZE];
    struct link *next, *prev; /* those that are being made */
};

struct dialer {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer timer;
    struct loop_task kick;  /* curl wants to run at once */
    struct sockets sockets; /* of connections that are being made, and of the resolver */
    struct link *dialing;
    bool starved;    /* some link is */
    bool timer_lost; /* no memory for the time that curl wants to run at */
    bool closing_at_rest;
    uint32_t connect_timeout_ms;
    char *ca_file, *client_cert_file, *client_key_file;
};

/* ---- Running curl ---- */

static void reap(struct dialer *d);

static void act(struct dialer *d, curl_socket_t fd, int mask)
{
    int running;
    CURLMcode rc = curl_multi_socket_action(d->multi, fd, mask, &running);
    /* It does not say whose socket it has lost then, and may never ask for it again. */
    for (struct link *k = rc == CURLM_OK ? NULL : d->dialing; k; k = k->next)
        k->starved = d->starved = true;
    reap(d);
}

static void on_ready(void *user, int fd, uint32_t events)
{
    int mask = ((events & EPOLLIN) ? CURL_CSELECT_IN : 0) |
               ((events & EPOLLOUT) ? CURL_CSELECT_OUT : 0) |
               ((events & (EPOLLERR | EPOLLHUP)) ? CURL_CSELECT_ERR : 0);
    act(user, fd, mask);
}

static struct link *link_of(CURL *easy)
{
    struct link *k = NULL; /* curl has handles of its own too */
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &k);
    return k;
}

/* Never tells curl of a failure: it would give up every connection that is being made. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *unused)
{
    struct dialer *d = user;
    struct link *k;
    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        sockets_forget(&d->sockets, fd);
        return 0;
    }
    uint32_t wanted =
        ((what & CURL_POLL_IN) ? EPOLLIN : 0) | ((what & CURL_POLL_OUT) ? EPOLLOUT : 0);
    if (!sockets_watch(&d->sockets, fd, wanted) && (k = link_of(easy))) {
        k->starved = d->starved = true;
        loop_defer(d->loop, &d->kick);
    }
    return 0;
}

static int on_close(void *user, curl_socket_t fd)
{
    struct dialer *d = user;
    return sockets_close(&d->sockets, fd, d->closing_at_rest);
}

static int on_sockopt(void *user, curl_socket_t fd, curlsocktype purpose)
{
    struct dialer *d = user;
    (void)purpose;
    return sockets_open(&d->sockets, fd) ? CURL_SOCKOPT_OK : CURL_SOCKOPT_ERROR;
}

/* As on_socket(). Without memory for the timer curl runs in each round, until there is some. */
static int on_timer(CURLM *multi, long timeout_ms, void *user)
{
    struct dialer *d = user;
    (void)multi;
    d->timer_lost = false;
    if (timeout_ms == 0) {
        loop_timer_clear(d->loop, &d->timer);
        loop_defer(d->loop, &d->kick);
    } else if (timeout_ms < 0) {
        loop_timer_clear(d->loop, &d->timer);
    } else if (loop_timer_set(d->loop, &d->timer, (uint64_t)timeout_ms) != 0) {
        d->timer_lost = true;
        loop_defer(d->loop, &d->kick);
    }
    return 0;
}

static void run_curl(void *user)
{
    struct dialer *d = user;
    long timeout_ms;
    act(d, CURL_SOCKET_TIMEOUT, 0);
    if (d->timer_lost && curl_multi_timeout(d->multi, &timeout_ms) == CURLM_OK)
        on_timer(d->multi, timeout_ms, d);
}

/* ---- How it ends ---- */

/* Whether the server's TLS alert refuses our certificate, or the lack of one. With TLS 1.3 it comes
 * after the handshake, and libcurl has only OpenSSL's words for it. */
static bool is_refusal(const char *text)
{
    return strstr(text, " alert ") &&
           (strstr(text, "certificate") || strstr(text, "unknown ca") ||
            strstr(text, "access denied") || strstr(text, "handshake failure"));
}

static enum http_failure failure_of(CURLcode code, const char *text)
{
    switch (code) {
    case CURLE_OK: return HTTP_ANSWERED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT: return HTTP_NOT_SENT;
    case CURLE_SSL_CONNECT_ERROR: return is_refusal(text) ? HTTP_UNTRUSTED : HTTP_NOT_SENT;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR: return is_refusal(text) ? HTTP_UNTRUSTED : HTTP_BROKEN;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CLIENTCERT: return HTTP_UNTRUSTED;
    case CURLE_OUT_OF_MEMORY: return HTTP_NO_MEMORY;
    case CURLE_ABORTED_BY_CALLBACK:
    case CURLE_READ_ERROR:
    case CURLE_URL_MALFORMAT:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE: return HTTP_BAD_LOCAL;
    default: return HTTP_BROKEN;
    }
}

static void not_dialing(struct link *k)
{
    struct dialer *d = k->dialer;
    if (!k->connected)
        return;
    if (k->prev)
        k->prev->next = k->next;
    else
        d->dialing = k->next;
    if (k->next)
        k->next->prev = k->prev;
    k->connected = NULL;
}

/* `connected` may dial, and close others. */
static void tell(struct link *k, enum http_failure failure, const char *detail)
{
    void (*connected)(void *, enum http_failure, const char *) = k->connected;
    assert(connected);
    not_dialing(k);
    connected(k->user, failure, detail);
}

/* The connection is the link's alone. libcurl holds one for idle that it has made and does not work
 * on, and closes such when it makes another one: for their age, or since the peer has closed. */
static CURLcode take_over(struct link *k, curl_socket_t fd)
{
    struct dialer *d = k->dialer;
    char byte;
    size_t n;
    if (!k->plain) { /* from the first reading on it is in use; the caller watches it */
        k->fd = fd;
        sockets_forget(&d->sockets, fd);
        CURLcode code = curl_easy_recv(k->easy, &byte, 1, &n);
        return code == CURLE_AGAIN ? CURLE_OK : code ? code : CURLE_RECV_ERROR;
    }
    k->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (k->fd < 0)
        return CURLE_COULDNT_CONNECT;
    curl_multi_remove_handle(d->multi, k->easy); /* which closes its descriptor */
    curl_easy_cleanup(k->easy);
    k->easy = NULL;
    return CURLE_OK;
}

static void link_done(struct link *k, CURLcode code)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (code == CURLE_OK)
        code = curl_easy_getinfo(k->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (code == CURLE_OK)
        code = fd == CURL_SOCKET_BAD ? CURLE_COULDNT_CONNECT : take_over(k, fd);
    if (code == CURLE_OK) {
        tell(k, HTTP_ANSWERED, "");
        return;
    }
    const char *text = k->trouble[0] ? k->trouble : curl_easy_strerror(code);
    enum http_failure failure = failure_of(code, text);
    tell(k, failure == HTTP_BROKEN ? HTTP_NOT_SENT : failure, text);
}

static void reap(struct dialer *d)
{
    CURLMsg *m;
    int left;
    while (d->starved) {
        struct link *k = d->dialing;
        while (k && !k->starved)
            k = k->next;
        d->starved = k != NULL;
        if (k)
            tell(k, HTTP_NO_MEMORY, "out of memory");
    }
    while ((m = curl_multi_info_read(d->multi, &left))) {
        struct link *k = link_of(m->easy_handle);
        if (m->msg == CURLMSG_DONE && k->connected)
            link_done(k, m->data.result);
    }
}

/* ---- Dialers ---- */

static const char *system_ca_file(void)
{
    static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt",
                                        "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (access(files[i], R_OK) == 0)
            return files[i];
    return NULL;
}

static bool copy_text(char **out, const char *s)
{
    *out = s ? strdup(s) : NULL;
    return *out || !s;
}

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

void dialer_free(struct dialer *d)
{
    if (d->multi)
        curl_multi_cleanup(d->multi);
    loop_timer_clear(d->loop, &d->timer);
    loop_defer_clear(d->loop, &d->kick);
    sockets_cleanup(&d->sockets);
    free(d->ca_file);
    free(d->client_cert_file);
    free(d->client_key_file);
    free(d);
}

struct dialer *dialer_new(struct loop *l, const struct http_client_conf *conf)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct dialer *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    const char *ca = conf->ca_file ? conf->ca_file : system_ca_file();
    d->loop = l;
    d->sockets = (struct sockets){.loop = l, .ready = on_ready, .user = d};
    d->timer = (struct loop_timer){.fn = run_curl, .user = d};
    d->kick = (struct loop_task){.fn = run_curl, .user = d};
    d->connect_timeout_ms =
        conf->connect_timeout_ms ? conf->connect_timeout_ms : DEFAULT_CONNECT_TIMEOUT_MS;
    d->multi = curl_multi_init();
    if (!copy_text(&d->ca_file, ca) || !copy_text(&d->client_cert_file, conf->client_cert_file) ||
        !copy_text(&d->client_key_file, conf->client_key_file) || !d->multi) {
        dialer_free(d);
        return NULL;
    }
    curl_multi_setopt(d->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(d->multi, CURLMOPT_SOCKETDATA, d);
    curl_multi_setopt(d->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(d->multi, CURLMOPT_TIMERDATA, d);
    curl_multi_setopt(d->multi, CURLMOPT_MAXCONNECTS, (long)MAX_LINKS); /* none is dropped */
    return d;
}

/* ---- Links ---- */

/* Texts are copied by curl, which may lack the memory; then a default would be taken. */
static bool set_text(CURL *e, CURLoption option, const char *text)
{
    return curl_easy_setopt(e, option, text) == CURLE_OK;
}

static bool set_tls(const struct dialer *d, CURL *e)
{
    const char *key = d->client_key_file ? d->client_key_file : d->client_cert_file;
    /* A CA folder, which Debian sets by default, switches off curl's cache of the parsed CA file,
     * and then each TLS connection costs tens of milliseconds. */
    curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
    return (!d->ca_file || set_text(e, CURLOPT_CAINFO, d->ca_file)) &&
           (!d->client_cert_file || (set_text(e, CURLOPT_SSLCERT, d->client_cert_file) &&
                                     set_text(e, CURLOPT_SSLKEY, key)));
}

static bool set_options(struct link *k)
{
    struct dialer *d = k->dialer;
    CURL *e = k->easy;
    curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 1L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)d->connect_timeout_ms);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* a resolver's thread that hangs is not joined */
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, k->trouble);
    curl_easy_setopt(e, CURLOPT_PRIVATE, k);
    curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_sockopt);
    curl_easy_setopt(e, CURLOPT_SOCKOPTDATA, d);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, d);
    /* A proxy of the environment is for TLS, which goes through it as through a tunnel. */
    return (!k->plain || set_text(e, CURLOPT_PROXY, "")) &&
           set_text(e, CURLOPT_PROTOCOLS_STR, "http,https") && set_tls(d, e);
}

static void link_free(struct link *k)
{
    curl_easy_cleanup(k->easy);
    curl_url_cleanup(k->url);
    free(k);
}

/* CURLE_OK, or why there can be no connection to it. */
static int set_url(struct link *k, const char *base_url, struct store_err *err)
{
    CURLUcode rc = curl_url_set(k->url, CURLUPART_URL, base_url, 0);
    if (rc != CURLUE_OK && rc != CURLUE_OUT_OF_MEMORY)
        return store_err_set(err, STORE_INVALID, "http: %.150s: %s", base_url,
                             curl_url_strerror(rc));
    if (rc == CURLUE_OK && curl_easy_setopt(k->easy, CURLOPT_CURLU, k->url) == CURLE_OK)
        return 0;
    return store_err_set(err, STORE_NO_MEMORY, "http: out of memory");
}

struct link *link_dial(struct dialer *d, const char *base_url,
                       void (*connected)(void *user, enum http_failure failure, const char *detail),
                       void *user, struct store_err *err)
{
    struct link *k = calloc(1, sizeof(*k));
    store_err_set(err, STORE_NO_MEMORY, "http: out of memory");
    if (!k)
        return NULL;
    k->dialer = d;
    k->fd = -1;
    k->plain = strncmp(base_url, "https:", 6) != 0;
    k->user = user;
    k->easy = curl_easy_init();
    k->url = curl_url();
    if (!k->easy || !k->url || !set_options(k) || set_url(k, base_url, err) != 0 ||
        curl_multi_add_handle(d->multi, k->easy) != CURLM_OK) {
        link_free(k);
        return NULL;
    }
    k->connected = connected;
    k->next = d->dialing;
    if (k->next)
        k->next->prev = k;
    d->dialing = k;
    return k;
}

void link_close(struct link *k, bool at_rest)
{
    struct dialer *d = k->dialer;
    not_dialing(k);
    if (k->easy) {
        d->closing_at_rest = at_rest;
        curl_multi_remove_handle(d->multi, k->easy); /* which closes it */
        d->closing_at_rest = false;
    } else {
        sockets_close(&d->sockets, k->fd, at_rest);
    }
    link_free(k);
}

int link_fd(const struct link *k)
{
    return k->fd;
}

bool link_is_plain(const struct link *k)
{
    return k->plain;
}

const char *link_trouble(const struct link *k)
{
    return k->trouble;
}

enum http_failure link_failure(const struct link *k)
{
    return k->failure;
}

static ssize_t broken(struct link *k, enum http_failure failure, const char *why)
{
    k->failure = failure;
    if (why)
        snprintf(k->trouble, sizeof(k->trouble), "%s", why);
    return LINK_BROKEN;
}

static ssize_t broken_by_errno(struct link *k)
{
    if (errno == EAGAIN || errno == EINTR)
        return LINK_AGAIN;
    return broken(k, HTTP_BROKEN, strerror(errno));
}

static ssize_t broken_by_curl(struct link *k, CURLcode code)
{
    if (code == CURLE_AGAIN)
        return LINK_AGAIN;
    const char *text = k->trouble[0] ? k->trouble : curl_easy_strerror(code);
    return broken(k, failure_of(code, text), k->trouble[0] ? NULL : text);
}

ssize_t link_recv(struct link *k, void *buf, size_t cap)
{
    size_t got = 0;
    if (k->plain) {
        ssize_t n = recv(k->fd, buf, cap, 0);
        return n >= 0 ? n : broken_by_errno(k);
    }
    CURLcode code = curl_easy_recv(k->easy, buf, cap, &got);
    return code == CURLE_OK ? (ssize_t)got : broken_by_curl(k, code);
}

ssize_t link_send(struct link *k, const void *bytes, size_t n)
{
    size_t sent = 0;
    if (k->plain) {
        ssize_t done = send(k->fd, bytes, n, MSG_NOSIGNAL);
        return done > 0 ? done : broken_by_errno(k);
    }
    CURLcode code = curl_easy_send(k->easy, bytes, n, &sent);
    return code == CURLE_OK && sent > 0 ? (ssize_t)sent
                                        : broken_by_curl(k, code ? code : CURLE_AGAIN);
}
