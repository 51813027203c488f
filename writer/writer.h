/* writer.h - what the writer's files share. */
#ifndef WRITER_WRITER_H
#define WRITER_WRITER_H

#include "epufs/files.h"
#include "service/request.h"
#include "service/service.h"

struct writer_conf {
    struct service_conf service; /* first: see service.h */
    uint64_t upload_expiry_ms, upload_timeout_ms, store_idle_timeout_ms;
    uint64_t upload_window_ms; /* 0: not given */
    uint64_t file_max_bytes;
    char *known_files;
    uint64_t delete_timeout_ms;
    uint64_t max_deletions, max_sweeps;
    uint64_t guard_tenants, guard_window_ms;
};

struct terms;

/* What the service's state points to. */
struct writer {
    struct known_files *known;
    struct terms *terms;
    store *large; /* the same store once more, with connections and I/O threads of its own */
};

static inline const struct writer_conf *writer_conf(const struct request *rq)
{
    return request_service(rq)->conf;
}

static inline struct writer *writer_of(const struct service *s)
{
    return s->state;
}

/* upload.c: PUT and POST of a file. */
void upload_begin(struct request *rq);

/* remove.c: DELETE of a file, and of an endpoint, timeline or tenant. */
void remove_file_begin(struct request *rq);
void remove_scope_begin(struct request *rq);
void remove_metrics_register(void);
/* Ends this worker's deletions, whose requests are over: what is half accepted is accepted, and
 * sweeps stop, since the janitor goes on with them. */
void remove_worker_end(struct worker *w);

#endif
