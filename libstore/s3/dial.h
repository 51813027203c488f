/* dial.h - connections for an HTTP client: names, TCP, TLS and certificates by libcurl
 * (CURLOPT_CONNECT_ONLY, driven by its multi interface), which also ends them. What is said on them
 * is the caller's. dial.c is the only file of libstore that includes libcurl.
 *
 * Proxies. https goes through the proxy that HTTPS_PROXY or ALL_PROXY names, but to what NO_PROXY
 * lists, as libcurl reads them (curl's manual, ENVIRONMENT); http always goes directly: that is for
 * a store on this machine or next to it, and for the metadata service.
 *
 * What leaves late. The kernel goes on sending what a socket has taken, to a slow peer for long,
 * whatever becomes of the process. So it is given little in advance (64 KiB that it has not sent,
 * and one write beyond), and a socket that ends drops what the peer has not acknowledged, by a
 * reset: a request that was given up does not become whole later. That goes for a process that dies
 * as well. Only a link at rest, whose requests have all been answered, is closed in peace.
 *
 * Belongs to a loop; one thread. Call-backs come from the loop only. */
#ifndef LIBSTORE_S3_DIAL_H
#define LIBSTORE_S3_DIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <store/error.h>

#include "base/loop.h"
#include "libstore/s3/http.h"

struct dialer;
struct link;

enum { LINK_AGAIN = -1, LINK_BROKEN = -2 };

/* conf is read now; base_url and max_connections of it are not looked at. NULL: no memory. */
struct dialer *dialer_new(struct loop *l, const struct http_client_conf *conf);
void dialer_free(struct dialer *d); /* after its links */

/* base_url: scheme://host[:port]. `connected` comes once, from the loop: HTTP_ANSWERED, or why not,
 * with words for it. NULL with *err set: nothing comes. */
struct link *link_dial(struct dialer *d, const char *base_url,
                       void (*connected)(void *user, enum http_failure failure, const char *detail),
                       void *user, struct store_err *err);
/* In any state, but not from `connected`. at_rest: nothing of what was sent has to be dropped. */
void link_close(struct link *k, bool at_rest);

/* Of one that is connected. The socket is for the caller to watch, for edges; with TLS either of
 * the two may have to wait for the other direction, so both are to be tried at each edge. */
int link_fd(const struct link *k);
/* >0: bytes; 0: the peer has closed; LINK_AGAIN; LINK_BROKEN, with link_trouble(). A plain link may
 * be taken to be empty behind a read of less than cap bytes. */
ssize_t link_recv(struct link *k, void *buf, size_t cap);
ssize_t link_send(struct link *k, const void *bytes, size_t n); /* >0, or one of the two */
bool link_is_plain(const struct link *k);
const char *link_trouble(const struct link *k); /* of the last LINK_BROKEN */
enum http_failure link_failure(const struct link *k);

#endif
