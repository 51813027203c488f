/* endpoint.h - the addresses of those who hand out credentials: taken apart and judged; pure. */
#ifndef LIBSTORE_S3_ENDPOINT_H
#define LIBSTORE_S3_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

struct endpoint { /* points into the URL it was made from */
    bool is_tls;
    size_t base_len;  /* of "http://host:port" */
    const char *host; /* with port and, for IPv6, brackets */
    size_t host_len;  /* up to base_len */
    const char *name; /* the host without port and brackets */
    size_t name_len;
    const char *target; /* path and query; "" when there is none */
};

/* http(s)://host[:port][/path][?query], printable ASCII without '@' or '#'. False: anything
 * else. */
bool endpoint_parse(const char *url, struct endpoint *e);

/* Whether secrets may go there without TLS: a loopback or link-local address, localhost, or the
 * addresses of the agents of ECS and EKS (169.254.170.2, 169.254.170.23, fd00:ec2::23). */
bool endpoint_is_local(const struct endpoint *e);

#endif
