/* The pump owns the TLS session and both sockets; what it leaves behind is `why`, for whoever joins
 * it. */
#include "janitor/redis_tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/xalloc.h"

enum { FLOW_BYTES = 16 * 1024, WHY_SIZE = 200 };

/* Bytes on their way in one direction. */
struct flow {
    char bytes[FLOW_BYTES];
    size_t begin, end; /* what waits is bytes[begin..end) */
};

struct redis_tls {
    SSL *ssl;
    int net, pair;
    pthread_t pump;
    struct flow out, in; /* to the server, from the server */
    short want_read;     /* what SSL_read() waits for at net: POLLIN or POLLOUT; 0: it may go on */
    short want_write;    /* the same of SSL_write() */
    char why[WHY_SIZE];
};

/* ---- Errors ---- */

/* What OpenSSL says was the first cause of a failure, and forgets. */
static const char *ssl_reason(char *out, size_t size)
{
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    if (!reason)
        reason = code && ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : "no reason told";
    snprintf(out, size, "%s", reason);
    ERR_clear_error();
    return out;
}

static int refuse_file(const char *what, const char *path, struct store_err *err)
{
    char reason[WHY_SIZE];
    return store_err_set(err, STORE_INVALID, "cannot use the %s '%s': %s", what, path,
                         ssl_reason(reason, sizeof(reason)));
}

/* ---- The context ---- */

static int load_client_cert(SSL_CTX *ctx, const struct redis_tls_conf *conf, struct store_err *err)
{
    const char *cert = conf->client_cert_file, *key = conf->client_key_file;
    if (!cert && key)
        return store_err_set(err, STORE_INVALID,
                             "the TLS client key '%s' has no certificate beside it", key);
    if (!cert)
        return 0;
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        return refuse_file("TLS client certificate", cert, err);
    if (!key)
        key = cert;
    /* It compares the key with the certificate as well. */
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return refuse_file("TLS client key", key, err);
    return 0;
}

static int load_cas(SSL_CTX *ctx, const struct redis_tls_conf *conf, struct store_err *err)
{
    if (conf->ca_file && SSL_CTX_load_verify_file(ctx, conf->ca_file) != 1)
        return refuse_file("CA file", conf->ca_file, err);
    if (!conf->ca_file && SSL_CTX_set_default_verify_paths(ctx) != 1)
        return refuse_file("CAs of", "the system", err);
    return 0;
}

/* A key with a pass phrase would otherwise have it asked for at the terminal. */
static int no_pass_phrase(char *out, int size, int writing, void *user)
{
    (void)out, (void)size, (void)writing, (void)user;
    return -1;
}

static SSL_CTX *new_context(const struct redis_tls_conf *conf, struct store_err *err)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx) {
        store_err_set(err, STORE_NO_MEMORY, "cannot make a TLS context");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_default_passwd_cb(ctx, no_pass_phrase);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (load_cas(ctx, conf, err) == 0 && load_client_cert(ctx, conf, err) == 0)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

int redis_tls_check(const struct redis_tls_conf *conf, struct store_err *err)
{
    SSL_CTX *ctx = new_context(conf, err);
    SSL_CTX_free(ctx);
    return ctx ? 0 : -1;
}

/* ---- The handshake ---- */

/* An address is looked for among the certificate's addresses, and is no SNI name. */
static bool name_peer(SSL *ssl, const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, host) == 1 && SSL_set1_host(ssl, host) == 1;
}

static SSL *new_session(int fd, const char *host, const struct redis_tls_conf *conf,
                        struct store_err *err)
{
    SSL_CTX *ctx = new_context(conf, err);
    if (!ctx)
        return NULL;
    SSL *ssl = SSL_new(ctx);
    SSL_CTX_free(ctx); /* the session holds it */
    if (ssl && SSL_set_fd(ssl, fd) == 1 && name_peer(ssl, host))
        return ssl;
    ERR_clear_error();
    SSL_free(ssl);
    store_err_set(err, STORE_INVALID, "cannot begin TLS with '%s'", host);
    return NULL;
}

static int refuse_handshake(SSL *ssl, const char *host, int saved_errno, struct store_err *err)
{
    char reason[WHY_SIZE];
    long verdict = SSL_get_verify_result(ssl);
    if (verdict != X509_V_OK)
        return store_err_set(err, STORE_DENIED, "TLS with '%s': its certificate is refused: %s",
                             host, X509_verify_cert_error_string(verdict));
    if (ERR_peek_error() == 0)
        return store_err_set(err, STORE_BUSY, "TLS with '%s': %s", host,
                             saved_errno ? strerror(saved_errno)
                                         : "it closed the connection in the handshake");
    return store_err_set(err, STORE_BUSY, "TLS with '%s': %s", host,
                         ssl_reason(reason, sizeof(reason)));
}

static int shake_hands(SSL *ssl, int fd, const char *host, uint64_t deadline_ms,
                       struct store_err *err)
{
    for (;;) {
        errno = 0;
        int rc = SSL_connect(ssl);
        int saved_errno = errno;
        if (rc == 1)
            return 0;
        int what = SSL_get_error(ssl, rc);
        if (what != SSL_ERROR_WANT_READ && what != SSL_ERROR_WANT_WRITE)
            return refuse_handshake(ssl, host, saved_errno, err);
        uint64_t now_ms = clock_mono_ms();
        struct pollfd p = {.fd = fd, .events = what == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT};
        if (now_ms >= deadline_ms || poll(&p, 1, (int)(deadline_ms - now_ms)) == 0)
            return store_err_set(err, STORE_TIMEOUT, "TLS with '%s': no answer in time", host);
    }
}

/* ---- The pump ---- */

static size_t waiting(const struct flow *f)
{
    return f->end - f->begin;
}

static void took(struct flow *f, size_t n)
{
    f->begin += n;
    if (f->begin == f->end)
        f->begin = f->end = 0;
}

/* Sorts out a failed SSL_read() or SSL_write(): *want is what to wait for. false: it is over. */
static bool may_go_on(struct redis_tls *t, int rc, int saved_errno, short *want)
{
    char reason[WHY_SIZE];
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ: *want = POLLIN; return true;
    case SSL_ERROR_WANT_WRITE: *want = POLLOUT; return true;
    case SSL_ERROR_ZERO_RETURN:
        snprintf(t->why, sizeof(t->why), "the server closed the TLS connection");
        return false;
    case SSL_ERROR_SYSCALL:
        snprintf(t->why, sizeof(t->why), "the TLS connection is lost: %s", strerror(saved_errno));
        break;
    default:
        snprintf(t->why, sizeof(t->why), "the TLS connection is lost: %s",
                 ssl_reason(reason, sizeof(reason)));
        break;
    }
    ERR_clear_error();
    return false;
}

/* Reads only when all that came before is handed on, so that a loss takes nothing with it. */
static bool read_tls(struct redis_tls *t)
{
    t->want_read = 0;
    if (waiting(&t->in))
        return true;
    ERR_clear_error();
    errno = 0;
    int n = SSL_read(t->ssl, t->in.bytes, FLOW_BYTES);
    if (n <= 0)
        return may_go_on(t, n, errno, &t->want_read);
    t->in.end = (size_t)n;
    return true;
}

static bool write_tls(struct redis_tls *t)
{
    t->want_write = 0;
    if (!waiting(&t->out))
        return true;
    ERR_clear_error();
    errno = 0;
    int n = SSL_write(t->ssl, t->out.bytes + t->out.begin, (int)waiting(&t->out));
    if (n <= 0)
        return may_go_on(t, n, errno, &t->want_write);
    took(&t->out, (size_t)n);
    return true;
}

static bool is_for_later(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

/* Both tell whether the pair's other end is still there. */
static bool read_pair(struct redis_tls *t)
{
    if (waiting(&t->out))
        return true;
    ssize_t n = recv(t->pair, t->out.bytes, FLOW_BYTES, MSG_DONTWAIT);
    if (n > 0)
        t->out.end = (size_t)n;
    return n > 0 || is_for_later(n);
}

static bool write_pair(struct redis_tls *t)
{
    if (!waiting(&t->in))
        return true;
    ssize_t n =
        send(t->pair, t->in.bytes + t->in.begin, waiting(&t->in), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        took(&t->in, (size_t)n);
    return n > 0 || is_for_later(n);
}

/* Waits until a socket can do what keeps the bytes from moving on. false: the pair's other end is
 * gone, which poll() would tell again and again. */
static bool sleep_until_ready(const struct redis_tls *t)
{
    struct pollfd p[2] = {{.fd = t->net}, {.fd = t->pair}};
    p[0].events = (short)(t->want_read | t->want_write);
    p[1].events = (short)((waiting(&t->out) ? 0 : POLLIN) | (waiting(&t->in) ? POLLOUT : 0));
    if (!p[0].events)
        p[0].fd = -1; /* nothing is wanted of the server: neither is its hanging up */
    poll(p, 2, -1);
    return !(p[1].revents & (POLLHUP | POLLERR));
}

/* One round for each direction; then it sleeps, unless bytes have moved on and made room for what
 * may wait inside OpenSSL, where poll() sees nothing. */
static void *pump(void *arg)
{
    struct redis_tls *t = arg;
    for (;;) {
        if (!read_pair(t) || !write_tls(t) || !read_tls(t) || !write_pair(t))
            break;
        bool wrote_a_part = waiting(&t->out) && !t->want_write;
        bool may_read_more = !waiting(&t->in) && !t->want_read;
        if (!wrote_a_part && !may_read_more && !sleep_until_ready(t))
            break;
    }
    if (!*t->why)
        SSL_shutdown(t->ssl); /* says good-bye if that needs no waiting */
    ERR_clear_error();
    shutdown(t->pair, SHUT_RDWR);
    return NULL;
}

/* ---- Start and end ---- */

/* Signals are for the program's own threads. */
static int start_pump(struct redis_tls *t)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&t->pump, NULL, pump, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void tls_free(struct redis_tls *t)
{
    SSL_free(t->ssl);
    close(t->net);
    if (t->pair >= 0)
        close(t->pair);
    OPENSSL_cleanse(&t->out, sizeof(t->out)); /* a password went through */
    free(t);
}

struct redis_tls *redis_tls_start(int fd, const char *host, const struct redis_tls_conf *conf,
                                  uint64_t deadline_ms, int *plain_fd, struct store_err *err)
{
    int ends[2], rc;
    struct redis_tls *t = xcalloc(1, sizeof(*t));
    t->net = fd;
    t->pair = -1;
    if (!(t->ssl = new_session(fd, host, conf, err)) ||
        shake_hands(t->ssl, fd, host, deadline_ms, err) != 0) {
        ERR_clear_error();
        tls_free(t);
        return NULL;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        store_err_errno(err, errno, "cannot make a pair of sockets for TLS");
        tls_free(t);
        return NULL;
    }
    t->pair = ends[0];
    if ((rc = start_pump(t)) != 0) {
        store_err_errno(err, rc, "cannot start the thread for TLS");
        close(ends[1]);
        tls_free(t);
        return NULL;
    }
    *plain_fd = ends[1];
    return t;
}

void redis_tls_end(struct redis_tls *t, char *why, size_t why_size)
{
    pthread_join(t->pump, NULL);
    text_copy(why, why_size, t->why);
    tls_free(t);
}
