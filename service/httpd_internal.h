/* httpd_internal.h - private to httpd*.c: connections, and the request that each has under way.
 *
 * A connection is driven by conn_run() alone, from the loop: it takes step after step while there
 * is one. What a handler calls only changes the request and asks for such a run, so that nothing
 * calls back at once. Its socket is watched once, for edges, for as long as it lives: `readable`
 * and `writable` remember them, and a read that does not fill the buffer is known to be the last.
 */
#ifndef SERVICE_HTTPD_INTERNAL_H
#define SERVICE_HTTPD_INTERNAL_H

#include <netinet/in.h>

#include "base/buf.h"
#include "base/clock.h"
#include "http/chunked.h"
#include "http/head.h"
#include "service/httpd.h"

enum {
    SWALLOW_MAX_BYTES = 64 * 1024, /* of a body nobody wants, for the sake of the connection */
    SWALLOW_MAX_MS = 2000,
    LINGER_MAX_BYTES = 1024 * 1024, /* read behind an answer, so that no reset overtakes it */
    LINGER_MAX_MS = 2000,
};

enum req_phase {
    REQ_HEAD,    /* its head is coming */
    REQ_BODY,    /* the handler takes the body */
    REQ_SWALLOW, /* answered before the body's end: the rest is dropped */
    REQ_WHOLE,   /* nothing of it is to come any more */
};

struct answer {
    int status;     /* 0: none given */
    bool ready;     /* may be sent: it is whole, or it is a stream too large to be collected */
    bool streamed;  /* http_write() brings the body */
    bool collected; /* … and it is sent when it is whole */
    bool bodyless;  /* HEAD, 204, 304: the length is told, no byte sent */
    bool keep;      /* the connection lives on behind it */
    bool want_writable;
    uint64_t length;  /* of the body */
    uint64_t written; /* of the body, by the handler */
    size_t head_bytes;
    uint64_t sent; /* to the kernel, head and body */
    size_t pos;    /* what has been sent of `out` */
};

struct http_req {
    struct conn *conn;
    struct http_req *next; /* in the list of those that may be used again */
    enum req_phase phase;
    bool begun;       /* between the handler's begin and end */
    bool refused;     /* answered here; the handler never hears of it, or no more */
    bool paused;      /* the handler took less than there was */
    bool in_body;     /* inside the handler's body() */
    bool resume_body; /* http_resume_body() came inside body() */
    bool told_gone;
    bool doomed;  /* the connection is to be cut */
    bool aborted; /* by the handler: no gone */
    int64_t content_length;
    uint64_t body_left; /* of a body with a length */
    struct http_chunked chunked;
    uint64_t started_ms, received, swallow_until_ms;
    void *state;
    char client[64];
    struct answer answer;
    struct buf out; /* the answer on its way; its memory is kept for the next one */
    struct http_head head;
    size_t pos, len, seen; /* of bytes: up to pos all is done with; len are here; seen by head */
    char bytes[];          /* head, and behind it as much of the body as fits */
};

struct conn {
    struct httpd *h;
    struct conn *next, *prev;
    struct loop_watch watch;
    struct loop_task task;
    struct http_req *req; /* NULL: idle */
    bool readable, writable;
    bool eof;               /* the client sends no more, and all of it was read */
    bool hung_up;           /* … or not all of it */
    bool broken;            /* nothing can be sent */
    bool running;           /* inside conn_run() */
    bool lingering;         /* all is said: what comes is dropped until the client has heard it */
    bool counted;           /* among the open ones */
    bool over;              /* to be freed */
    uint64_t deadline_ms;   /* for a whole head, or of lingering */
    uint64_t idle_since_ms; /* while there is no request */
    uint64_t progress, progress_ms; /* the last that was seen of a transfer, and when */
    size_t linger_left;
    struct sockaddr_in6 peer; /* or an IPv4 address in its place */
};

struct httpd {
    struct loop *loop;
    struct httpd_conf conf;
    struct loop_watch watch; /* the listening socket */
    struct loop_timer tick, accept_later;
    uint32_t tick_ms;
    struct conn *conns;
    atomic_size_t own_open; /* where nothing is shared */
    size_t n_conns, n_lingering, n_requests;
    struct http_req *spare;
    size_t n_spare;
    size_t req_bytes; /* of http_req.bytes */
    bool draining;
    uint32_t grace_ms;
    uint64_t date_ms; /* the round that `date` is of */
    char date[CLOCK_TEXT];
};

/* httpd_conn.c */
void conn_new(struct httpd *h, int fd, const struct sockaddr_in6 *peer);
void conn_refuse(struct httpd *h, int fd, const struct sockaddr_in6 *peer); /* for want of room */
void conn_wake(struct conn *c);                                             /* runs it soon */
void conns_check(struct httpd *h, uint64_t now); /* deadlines, stalls, drain */
void conns_free(struct httpd *h);

/* httpd_request.c */
struct http_req *req_take(struct conn *c);
void req_release(struct conn *c);         /* to the spare ones */
bool req_reads(const struct http_req *r); /* whether more of its body is wanted now */
bool req_input(struct conn *c);           /* one step with what has come, or has to come */
void req_end(struct http_req *r);         /* the handler's end */
void req_gone(struct http_req *r);        /* the client is: the handler's gone */
void req_refuse(struct http_req *r, enum http_fault fault);
bool conn_fill(struct conn *c); /* reads; whether there is something new, the end included */

/* httpd_reply.c */
bool answer_push(struct http_req *r); /* one step: sends, or asks the handler for more */
bool answer_is_out(const struct http_req *r);
bool answer_is_whole(const struct http_req *r); /* the handler has given all of it */
void answer_put(struct http_req *r, int status, const struct http_field *fields, size_t n,
                const char *body, size_t len); /* of our own: the whole of it, and then the end */

#endif
