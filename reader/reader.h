/* reader.h - what the reader's files share. */
#ifndef READER_READER_H
#define READER_READER_H

#include "service/request.h"
#include "service/service.h"

struct reader_conf {
    struct service_conf service; /* first: see service.h */
    uint64_t read_timeout_ms;
    uint64_t endpoint_max_files;
    bool sibling_reads;
};

static inline const struct reader_conf *reader_conf(const struct request *rq)
{
    return request_service(rq)->conf;
}

void get_begin(struct request *rq);      /* get.c: GET and HEAD of a file */
void endpoint_begin(struct request *rq); /* endpoint.c: TAR or list of an endpoint's files */

#endif
