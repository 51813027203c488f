/* request.h - what happens to every request, whatever program serves it: request id, route, health
 * and version, token, errors as problem details (RFC 9457), access log, metrics. What is left goes
 * to the app's begin(), which sets ops and state. On the worker's thread. */
#ifndef SERVICE_REQUEST_H
#define SERVICE_REQUEST_H

#include "service/httpd.h"
#include "service/route.h"
#include "service/service.h"

struct request_ops { /* as in http_handler; NULL: nothing to do */
    size_t (*body)(struct request *rq, const void *bytes, size_t n);
    void (*body_end)(struct request *rq);
    void (*writable)(struct request *rq);
    void (*gone)(struct request *rq);
    void (*end)(struct request *rq); /* rq is gone after this */
};

struct request {
    struct http_req *http;
    struct worker *worker;
    struct route_req route;
    struct token_claims claims;
    store *files; /* of the route's tenant and timeline: request_may_use_files() opens it */
    char id[64];  /* the client's X-Request-Id when it is sane, else ours */
    const struct request_ops *ops;
    void *state;
    const char *note; /* for the access log: why it failed; a constant or "" */
};

extern const struct http_handler request_handler; /* its user is a struct worker */
void request_metrics_register(void);

static inline struct service *request_service(const struct request *rq)
{
    return rq->worker->service;
}

/* ---- Answers; each adds X-Request-Id ---- */

/* A problem: {"type":"about:blank","title":…,"status":…,"detail":…,"request_id":…}. detail is
 * meant for the client. 429 and 503 get Retry-After. */
void request_fail(struct request *rq, int status, const char *detail);
/* The same with one more header. */
void request_fail_with(struct request *rq, int status, const char *detail, const char *name,
                       const char *value);
/* A store's error as the client may see it; the whole error goes to the log. */
void request_fail_store(struct request *rq, const struct store_err *err);
/* allowed: a set of enum route_method. */
void request_method_not_allowed(struct request *rq, unsigned allowed);
void request_json(struct request *rq, int status, const char *json, size_t n);
/* Any other: fields is an array with room for one more behind n. */
void request_reply(struct request *rq, int status, struct http_field *fields, size_t n,
                   const void *body, size_t len);
void request_stream(struct request *rq, int status, struct http_field *fields, size_t n,
                    uint64_t length);

/* ---- Rights ---- */

/* Whether the token may touch files of the route's endpoint; else answers 403. Then rq->files holds
 * them, for as long as the request; its operations may outlast it. *gen gets the generation: the
 * token's, or for a service token the query's ?gen=, 0 without. Answers 400 for a malformed one. */
bool request_may_use_files(struct request *rq, uint64_t *gen);
/* The same for whoever only reads. With `siblings` the token of another endpoint of the same
 * timeline will do: then *is_sibling is set, and *gen, which says nothing of this endpoint, is 0.
 */
bool request_may_read_files(struct request *rq, bool siblings, uint64_t *gen, bool *is_sibling);
/* Whether the token may delete exactly the route's scope; else answers 403. *has_gen and *gen say
 * up to which generation: the token's claim, or for a service token ?upto_gen=. */
bool request_may_delete(struct request *rq, bool *has_gen, uint64_t *gen);

#endif
