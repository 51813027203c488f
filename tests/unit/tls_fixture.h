/* tls_fixture.h - certificates made on the spot, and a TLS server of the test's own in front of the
 * scripted peer (s3_peer.h): what it decrypts goes to the peer, what the peer answers goes back.
 *
 *     struct identity ca = certify(&(struct wish){.name = "CA", .is_ca = true}, NULL);
 *     struct identity server = certify(&(struct wish){.name = "s", .san = "IP:127.0.0.1"}, &ca);
 *     front_start(&front, &(struct front_conf){.server = &server, .port = peer.port});
 *
 * One thread; look at its counts after front_stop() only. It resumes no TLS sessions, so that each
 * connection is verified anew. */
#ifndef TESTS_UNIT_TLS_FIXTURE_H
#define TESTS_UNIT_TLS_FIXTURE_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
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

#define TLS_MUST(condition)                                                                 \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: OpenSSL failed: %s\n", __FILE__, __LINE__, #condition); \
            ERR_print_errors_fp(stderr);                                                    \
            abort();                                                                        \
        }                                                                                   \
    } while (0)

/* ---- Certificates ---- */

enum { DAY_S = 24 * 3600 };

struct identity {
    EVP_PKEY *key;
    X509 *cert;
};

struct wish {
    const char *name;
    const char *san; /* "IP:127.0.0.1", "DNS:example.org"; NULL: none */
    bool is_ca;
    bool expired;
};

static inline void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    TLS_MUST(e && X509_add_ext(cert, e, -1) == 1);
    X509_EXTENSION_free(e);
}

static inline X509 *make_cert(const struct wish *w, EVP_PKEY *key, const struct identity *issuer)
{
    static long serial;
    X509 *cert = X509_new();
    TLS_MUST(cert && X509_set_version(cert, X509_VERSION_3) &&
             ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial) &&
             X509_gmtime_adj(X509_getm_notBefore(cert), -30L * DAY_S) &&
             X509_gmtime_adj(X509_getm_notAfter(cert), (w->expired ? -1L : 30L) * DAY_S) &&
             X509_set_pubkey(cert, key));
    X509_NAME *name = X509_get_subject_name(cert);
    TLS_MUST(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)w->name,
                                        -1, -1, 0));
    X509 *by = issuer ? issuer->cert : cert;
    TLS_MUST(X509_set_issuer_name(cert, X509_get_subject_name(by)));
    add_extension(cert, by, NID_basic_constraints, w->is_ca ? "critical,CA:TRUE" : "CA:FALSE");
    if (w->san)
        add_extension(cert, by, NID_subject_alt_name, w->san);
    TLS_MUST(X509_sign(cert, issuer ? issuer->key : key, EVP_sha256()) > 0);
    return cert;
}

/* issuer NULL: self-signed. identity_free(). */
static inline struct identity certify(const struct wish *w, const struct identity *issuer)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    TLS_MUST(key);
    return (struct identity){key, make_cert(w, key, issuer)};
}

static inline void identity_free(struct identity *id)
{
    EVP_PKEY_free(id->key);
    X509_free(id->cert);
    *id = (struct identity){NULL, NULL};
}

/* Appends to a PEM file. NULL: not this one. */
static inline void write_pem(const char *path, X509 *cert, EVP_PKEY *key)
{
    FILE *f = fopen(path, "a");
    TLS_MUST(f && (!cert || PEM_write_X509(f, cert)) &&
             (!key || PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL)));
    TLS_MUST(fclose(f) == 0);
}

/* ---- The server ---- */

enum { FRONT_MAX = 8 };

struct front_conf {
    const struct identity *server;
    const struct identity *client_ca; /* whose certificates clients must have; NULL: need none */
    int max_version;                  /* TLS1_2_VERSION; 0: the highest */
    unsigned port;                    /* of the peer behind it, on 127.0.0.1 */
    bool is_proxy; /* expects CONNECT first, and is itself whatever that asks for */
};

struct front_link {
    SSL *ssl;
    int client, peer;
};

struct front {
    SSL_CTX *ctx;
    int listener, stop[2];
    unsigned port, peer_port;
    pthread_t thread;
    struct front_link links[FRONT_MAX];
    unsigned n_links;
    unsigned accepted, shaken; /* connections; those of them whose handshake succeeded */
    bool is_proxy;
    char asked[256]; /* the last CONNECT's head */
};

/* -1: the peer is gone, since the test is at its end. */
static inline int front_connect(unsigned port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((in_port_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TLS_MUST(fd >= 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Reads what the client still sends: closing would reset the connection otherwise, and the alert
 * that explains it could get lost. */
static inline void front_linger(int fd)
{
    char bytes[4096];
    shutdown(fd, SHUT_WR);
    while (recv(fd, bytes, sizeof(bytes), 0) > 0)
        ;
    close(fd);
}

static inline void front_unlink(struct front *f, unsigned i)
{
    SSL_shutdown(f->links[i].ssl);
    SSL_free(f->links[i].ssl);
    ERR_clear_error();
    close(f->links[i].client);
    if (f->links[i].peer >= 0)
        close(f->links[i].peer);
    f->links[i] = f->links[--f->n_links];
}

static inline void front_tunnel(struct front *f, int fd)
{
    static const char yes[] = "HTTP/1.1 200 OK\r\n\r\n";
    size_t n = 0;
    while (n < sizeof(f->asked) - 1 && recv(fd, f->asked + n, 1, 0) == 1) {
        f->asked[++n] = '\0';
        if (n >= 4 && strcmp(f->asked + n - 4, "\r\n\r\n") == 0)
            break;
    }
    TLS_MUST(send(fd, yes, sizeof(yes) - 1, MSG_NOSIGNAL) == sizeof(yes) - 1);
}

static inline void front_accept(struct front *f)
{
    int fd = accept(f->listener, NULL, NULL);
    SSL *ssl = SSL_new(f->ctx);
    TLS_MUST(fd >= 0 && ssl && SSL_set_fd(ssl, fd));
    f->accepted++;
    if (f->is_proxy)
        front_tunnel(f, fd);
    if (SSL_accept(ssl) != 1) {
        ERR_clear_error();
        SSL_free(ssl);
        front_linger(fd);
        return;
    }
    f->shaken++;
    f->links[f->n_links++] = (struct front_link){ssl, fd, front_connect(f->peer_port)};
    if (f->links[f->n_links - 1].peer < 0)
        front_unlink(f, f->n_links - 1);
}

/* Both return whether the connection stays. */
static inline bool front_ask(struct front_link *l)
{
    char bytes[65536];
    do {
        int n = SSL_read(l->ssl, bytes, sizeof(bytes));
        for (int sent = 0, more; sent < n; sent += more)
            if ((more = (int)send(l->peer, bytes + sent, (size_t)(n - sent), MSG_NOSIGNAL)) <= 0)
                return false;
        if (n <= 0)
            return false;
    } while (SSL_pending(l->ssl));
    return true;
}

static inline bool front_answer(struct front_link *l)
{
    char bytes[65536];
    ssize_t n = recv(l->peer, bytes, sizeof(bytes), 0);
    return n > 0 && SSL_write(l->ssl, bytes, (int)n) > 0;
}

static inline void *front_run(void *user)
{
    struct front *f = user;
    for (;;) {
        struct pollfd polls[2 * FRONT_MAX + 2] = {{.fd = f->stop[0], .events = POLLIN},
                                                  {.fd = f->listener, .events = POLLIN}};
        unsigned n = f->n_links;
        for (unsigned i = 0; i < n; i++) {
            polls[2 * i + 2] = (struct pollfd){.fd = f->links[i].client, .events = POLLIN};
            polls[2 * i + 3] = (struct pollfd){.fd = f->links[i].peer, .events = POLLIN};
        }
        if (poll(polls, 2 * n + 2, -1) < 0 || polls[0].revents)
            return NULL;
        for (unsigned i = n; i-- > 0;)
            if ((polls[2 * i + 2].revents && !front_ask(&f->links[i])) ||
                (polls[2 * i + 3].revents && !front_answer(&f->links[i])))
                front_unlink(f, i);
        if (polls[1].revents && f->n_links < FRONT_MAX)
            front_accept(f);
    }
}

static inline SSL_CTX *front_context(const struct front_conf *c)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    TLS_MUST(ctx && SSL_CTX_use_certificate(ctx, c->server->cert) &&
             SSL_CTX_use_PrivateKey(ctx, c->server->key) &&
             SSL_CTX_set_max_proto_version(ctx, c->max_version) && SSL_CTX_set_num_tickets(ctx, 0));
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (c->client_ca) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        TLS_MUST(X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), c->client_ca->cert));
    }
    return ctx;
}

static inline void front_start(struct front *f, const struct front_conf *c)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    sigset_t pipe_only, before;
    *f = (struct front){.ctx = front_context(c), .peer_port = c->port, .is_proxy = c->is_proxy};
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TLS_MUST(pipe(f->stop) == 0 && bind(f->listener, (struct sockaddr *)&at, sizeof(at)) == 0 &&
             listen(f->listener, 16) == 0 &&
             getsockname(f->listener, (struct sockaddr *)&at, &n) == 0);
    f->port = ntohs(at.sin_port);
    /* OpenSSL's own sockets raise it; in this thread only, so that nothing else is covered up. */
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    TLS_MUST(pthread_create(&f->thread, NULL, front_run, f) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static inline void front_stop(struct front *f)
{
    ssize_t n = write(f->stop[1], "x", 1);
    (void)n;
    pthread_join(f->thread, NULL);
    while (f->n_links)
        front_unlink(f, 0);
    SSL_CTX_free(f->ctx);
    close(f->listener);
    close(f->stop[0]);
    close(f->stop[1]);
}

#endif
