/* httpd.h - an HTTP/1.1 server on a loop, for one thread. Several threads serve one address by
 * sharing its listening socket.
 *
 * A request's life, all on the loop's thread:
 *   begin      the head is complete and well-formed. Start the work; answer now or later.
 *   body       (only with a body, and only while no answer was given) some bytes of it
 *   body_end   the whole body has come; also called, after begin, when there is none; but not
 *              when an answer was given before
 *   gone       the client went away before the answer was out, or a time-out cut it off
 *   end        last, always, once: free what belongs to the request
 *
 * Answers: http_reply() for a body in memory, or http_reply_stream() and http_write() for one that
 * comes piece by piece. After an answer that is given before the body has come, the server drops
 * the rest, if it is small; if it is not, it closes the connection behind the answer. An answer
 * given in begin comes in place of a 100 (Continue). None of these functions calls back at once,
 * and after gone none does anything.
 *
 * Strictness: what http/head.h and http/chunked.h refuse is answered here, and the connection ends.
 * The target is not decoded. A client that closes its sending side counts as gone, unless its
 * answer is under way as a whole. */
#ifndef SERVICE_HTTPD_H
#define SERVICE_HTTPD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <store/error.h>

#include "base/loop.h"

struct httpd;
struct http_req;

struct http_handler {
    void (*begin)(void *user, struct http_req *r);
    /* Returns how many bytes it took; fewer than n (also 0): no more before http_resume_body(). */
    size_t (*body)(void *user, struct http_req *r, const void *bytes, size_t n);
    void (*body_end)(void *user, struct http_req *r);
    /* http_write() may go on: the buffer has drained below its mark. */
    void (*writable)(void *user, struct http_req *r);
    void (*gone)(void *user, struct http_req *r);
    void (*end)(void *user, struct http_req *r);
};

struct httpd_conf {
    int listen_fd; /* from listen_open(); stays the caller's */
    /* Who comes when all are open gets 503. Servers of one process may share the count. */
    size_t max_connections;
    atomic_size_t *open_connections; /* NULL: this server's alone */
    uint32_t pool_bytes; /* the largest head, and what is read at a time; of a connection in use */
    uint32_t write_buffer_bytes; /* a streamed answer's buffer before http_write() says wait */
    uint32_t header_timeout_ms;  /* absolute, from the connection's first moment to a whole head */
    uint32_t idle_timeout_ms;    /* absolute, from an answer's end to the next whole head */
    uint32_t send_timeout_ms;    /* no byte of an answer could be sent, or of a wanted body has
                                    come, for so long */
    const struct http_handler *handler;
    void *user;
};

int httpd_new(struct loop *l, const struct httpd_conf *conf, struct httpd **out,
              struct store_err *err);
/* Drain: every answer from now on says Connection: close, and connections without a request under
 * way are closed once the accept queue is empty and they have been idle for grace_ms. New
 * connections are still accepted until httpd_stop_accepting(). */
void httpd_drain(struct httpd *h, uint32_t grace_ms);
void httpd_stop_accepting(struct httpd *h);      /* empties the accept queue first */
size_t httpd_requests(const struct httpd *h);    /* under way */
size_t httpd_connections(const struct httpd *h); /* open */
/* Cuts what is still under way (gone, end) and frees. */
void httpd_free(struct httpd *h);

/* ---- The request ---- */
const char *http_method(const struct http_req *r);
const char *http_target(const struct http_req *r);                   /* path and query, undecoded */
const char *http_header(const struct http_req *r, const char *name); /* first value or NULL */
/* The body's length; -1: chunked; 0: no body. */
int64_t http_content_length(const struct http_req *r);
const char *http_client(const struct http_req *r); /* "address:port" for logs */
void http_set_state(struct http_req *r, void *state);
void *http_state(const struct http_req *r);
struct loop *http_loop(const struct http_req *r);
/* For the access log. */
int http_status(const struct http_req *r);              /* 0: none yet */
uint64_t http_started_ms(const struct http_req *r);     /* clock_mono_ms() at begin */
uint64_t http_bytes_sent(const struct http_req *r);     /* of the answer's body, so far */
uint64_t http_bytes_received(const struct http_req *r); /* of the request's body, so far */

void http_resume_body(struct http_req *r);

/* ---- The answer ---- */
struct http_field {
    const char *name, *value; /* value NULL: skipped; CR, LF and NUL in a value: the field is
                                 dropped, since it can only be an attack */
};

/* The whole answer. body is copied. Content-Length and Date are set here. For HEAD and 304 the body
 * is counted, not sent, and may be NULL (a 304 tells the length that a 200 would have). */
void http_reply(struct http_req *r, int status, const struct http_field *fields, size_t n_fields,
                const void *body, size_t len);
/* An answer of exactly length bytes that http_write() brings. A HEAD request and a 304 take no
 * data: they are complete with this call. A body of at most write_buffer_bytes is collected and
 * sent in one piece with the head, so that a failure until then can still become an error answer
 * through http_reply() in its place. */
void http_reply_stream(struct http_req *r, int status, const struct http_field *fields,
                       size_t n_fields, uint64_t length);
/* Takes all n bytes; returns false when the caller should wait for `writable`. */
bool http_write(struct http_req *r, const void *bytes, size_t n);
/* Whether bytes of the answer may be on their way, so that only http_abort() is left. */
bool http_committed(const struct http_req *r);
/* Cuts the connection, so that the client sees a body shorter than its Content-Length. */
void http_abort(struct http_req *r);

#endif
