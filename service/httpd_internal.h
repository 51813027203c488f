/* httpd_internal.h - private to httpd*.c: connections and requests on libmicrohttpd (MHD).
 *
 * MHD runs from one deferred task of the loop, after everything else of the round, so that any
 * number of events and resumes cost one MHD_run(). Rules that 0.9.75 imposes:
 * - an answer can be queued in the first handler call of a request (which forces Connection: close)
 *   or once the whole body is here, never in between;
 * - a connection may be suspended only from its own call-backs, and resumed from anywhere;
 * - a suspended connection notices nothing, hence our own EPOLLRDHUP watch;
 * - its time-outs cover inactivity only, hence our own deadlines, which shut the socket down. */
#ifndef SERVICE_HTTPD_INTERNAL_H
#define SERVICE_HTTPD_INTERNAL_H

#include <microhttpd.h>

#include "base/buf.h"
#include "service/httpd.h"

enum {
    SWALLOW_MAX_BYTES = 64 * 1024, /* of a body nobody wants, for the sake of the connection */
    SWALLOW_MAX_MS = 2000,
    LINGER_MAX_BYTES = 1024 * 1024, /* read after an early answer, so that no reset overtakes it */
    LINGER_MAX_MS = 2000,
    STREAM_BLOCK_BYTES = 32 * 1024, /* what MHD takes of a streamed answer at a time */
};

enum req_phase {
    REQ_NONE,    /* no request, or its head is still coming */
    REQ_REFUSED, /* the guard answered; the handler never hears of it */
    REQ_BEGIN,   /* in the handler's begin */
    REQ_HOLD,    /* answered before the body, but the answer is not whole: MHD stays before it */
    REQ_BODY,    /* the handler takes the body */
    REQ_SWALLOW, /* answered in mid-body: a bounded rest is dropped */
    REQ_WAIT,    /* the whole request is here, the answer is not */
    REQ_SENDING, /* the answer is MHD's */
};

struct answer {
    struct MHD_Response *response; /* ours until it is queued; NULL: none */
    int status;                    /* 0: none given */
    bool ready;                    /* may be queued */
    bool streamed;                 /* http_write() brings the body */
    bool collected;                /* … and it is sent when it is whole */
    bool bodyless;                 /* HEAD, 204, 304: the length is told, no byte sent */
    bool want_writable;
    char *body;       /* owned by response; NULL: bodyless, or larger than the write buffer */
    uint64_t length;  /* of the body */
    uint64_t written; /* by http_write() */
    struct buf out;   /* a large stream's bytes on their way to MHD, from out_pos on */
    size_t out_pos;
};

struct http_req {
    struct conn *conn;
    enum req_phase phase;
    bool begun;       /* between begin and end */
    bool suspended;   /* MHD's connection is */
    bool in_body;     /* inside the handler's body() */
    bool resume_body; /* http_resume_body() came inside body() */
    bool told_gone;
    bool doomed;        /* MHD is to close the connection in its next call-back */
    bool aborted;       /* by the handler: no gone */
    bool answered_raw;  /* the answer went out past MHD */
    const char *method; /* MHD's */
    struct buf target;
    int64_t content_length;
    uint64_t started_ms, received, sent;
    uint64_t swallowed, swallow_until_ms;
    void *state;
    struct answer answer;
    struct loop_task writable;
};

/* How hard we have tried to close an idle or overdue connection. */
enum closing { CLOSING_NOT, CLOSING_SHUT_RD, CLOSING_SHUT, CLOSING_FORCED };

struct conn {
    struct httpd *h;
    struct conn *next, *prev;
    struct MHD_Connection *mhd;
    int fd;
    struct loop_watch watch;  /* EPOLLRDHUP */
    struct loop_task hung_up; /* looks again a little later */
    int hang_up_rounds;
    uint64_t deadline_ms;           /* for a whole head; 0: a request is under way */
    uint64_t idle_since_ms;         /* when no request is */
    uint64_t progress, progress_ms; /* the last that was seen of a transfer, and when */
    enum closing closing;
    bool half_closed; /* the client sends no more */
    bool linger;      /* an answer overtakes a body: drop some of it before closing */
    char client[64];
    struct http_req req;
};

/* A connection that MHD has closed, whose client may still be sending. */
struct leftover {
    struct httpd *h;
    struct leftover *next, *prev;
    struct loop_watch watch;
    size_t bytes_left;
    uint64_t until_ms;
};

struct httpd {
    struct loop *loop;
    struct httpd_conf conf;
    struct MHD_Daemon *daemon;
    struct loop_watch watch; /* MHD's epoll */
    struct loop_task run;
    struct loop_timer run_later, tick;
    uint32_t tick_ms;
    uint64_t events, events_seen; /* call-backs out of MHD, to see whether it spins */
    unsigned spins;
    struct conn *conns;
    struct leftover *leftovers;
    size_t n_conns, n_requests, n_leftovers;
    bool accepting, draining, ending;
    uint32_t grace_ms;
};

/* httpd_conn.c */
void conn_notify(void *cls, struct MHD_Connection *mhd, void **socket_context,
                 enum MHD_ConnectionNotificationCode code);
void conn_hung_up(struct conn *c);               /* there may be more of it for MHD to read */
void conns_check(struct httpd *h, uint64_t now); /* deadlines, stalls, drain */
void leftovers_check(struct httpd *h, uint64_t now);
void leftovers_free(struct httpd *h);
bool accept_queue_empty(const struct httpd *h);

/* httpd_request.c */
void *req_line_seen(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result req_handle(void *cls, struct MHD_Connection *mhd, const char *url,
                           const char *method, const char *version, const char *data, size_t *size,
                           void **context);
void req_completed(void *cls, struct MHD_Connection *mhd, void **context,
                   enum MHD_RequestTerminationCode code);
void req_init(struct http_req *r, struct conn *c);
void req_finish(struct http_req *r, bool sent); /* gone, end */
void req_suspend(struct http_req *r);
void req_wake(struct http_req *r);
void req_doom(struct http_req *r);
void req_gone(struct http_req *r);         /* the client is */
void req_swallow_over(struct http_req *r); /* the rest of its body took too long */
void req_answer_given(struct http_req *r); /* or became ready */

/* httpd_reply.c */
enum MHD_Result answer_queue(struct http_req *r);
enum MHD_Result answer_refuse(struct http_req *r, const char *fault);
bool answer_send_raw(struct http_req *r);
void answer_drop(struct http_req *r);

#endif
