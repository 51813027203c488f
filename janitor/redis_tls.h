/* redis_tls.h - TLS for hiredis, which has none itself.
 *
 * redis_tls_start() does the handshake on a connected socket, and gives back one end of a socket
 * pair: what is written to it goes through TLS to the server, what the server answers can be read
 * from it. A thread of its own, the pump, moves the bytes: 16 KiB at most in each direction, what
 * is more waits in the kernel's buffers, and so does its sender. The pump sleeps until there is
 * something to do. When the connection is lost, the pair's end reads as closed; when the other side
 * closes the pair's end, TLS is closed.
 *
 * The server is known by its certificate: signed by one of the CAs, for the very host that was
 * asked for. TLS 1.2 is the least. The files are read anew for each connection, so that they may be
 * renewed. The program must ignore SIGPIPE. */
#ifndef JANITOR_REDIS_TLS_H
#define JANITOR_REDIS_TLS_H

#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

struct redis_tls_conf {
    const char *ca_file;          /* PEM; NULL: the system's CAs */
    const char *client_cert_file; /* PEM with its chain; NULL: none */
    const char *client_key_file;  /* PEM; NULL: it stands in client_cert_file */
};

struct redis_tls; /* one connection */

/* Whether the files can be used: -1 with STORE_INVALID, naming the file. */
int redis_tls_check(const struct redis_tls_conf *conf, struct store_err *err);

/* fd: a non-blocking connected socket; it is redis_tls_start()'s from here on, also when it fails.
 * host: a name or an address, for SNI and the certificate. deadline_ms: by clock_mono_ms(). Returns
 * NULL with *err set: STORE_TIMEOUT, STORE_DENIED (a certificate), STORE_INVALID (a file),
 * STORE_BUSY. *plain_fd is a blocking socket and the caller's, who closes it before
 * redis_tls_end(). */
struct redis_tls *redis_tls_start(int fd, const char *host, const struct redis_tls_conf *conf,
                                  uint64_t deadline_ms, int *plain_fd, struct store_err *err);
/* Waits for the pump, which ends without delay once the other end of the pair is closed; frees.
 * why gets what had ended the connection before, or "" when nothing had. */
void redis_tls_end(struct redis_tls *t, char *why, size_t why_size);

#endif
