/* writer.h - what the writer's files share. */
#ifndef WRITER_WRITER_H
#define WRITER_WRITER_H

#include "epufs/files.h"
#include "service/request.h"
#include "service/service.h"

struct writer_conf {
    struct service_conf service; /* first: see service.h */
    uint64_t upload_expiry_ms, upload_timeout_ms;
    uint64_t file_max_bytes;
    char *known_files;
    uint64_t delete_threads;
};

static inline const struct writer_conf *writer_conf(const struct request *rq)
{
    return request_service(rq)->conf;
}

/* upload.c: PUT and POST of a file. */
void upload_begin(struct request *rq, const struct known_files *known);

/* remove.c: DELETE of a file, and of an endpoint, timeline or tenant. The latter run on threads of
 * their own, bounded in number and in queue, and go on when the client goes away. */
void remove_file_begin(struct request *rq);
void remove_scope_begin(struct request *rq);
void remove_start(struct service *s, size_t n_threads);
void remove_stop(void); /* lets what is under way stop soon: its intent stays for the janitor */

#endif
