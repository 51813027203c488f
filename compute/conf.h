/* conf.h - the options of epufs-compute, as main.c's table fills them in. */
#ifndef COMPUTE_CONF_H
#define COMPUTE_CONF_H

#include <stdbool.h>
#include <stdint.h>

struct compute_conf {
    char *pgdata;
    char *url;        /* http[s]://host[:port] of the gateway, or of the reader */
    char *writer_url; /* NULL: the same */
    char *token_file; /* NULL: the token is EPUFS_TOKEN's value */
    char *ca_file;    /* NULL: the system's */
    uint64_t connect_timeout_ms, request_timeout_ms;
    uint64_t retries;  /* of a whole load or store */
    uint64_t parallel; /* requests at once */
    int log_level, log_format;

    uint64_t load_timeout_ms;
    uint64_t max_total_bytes; /* of what a load brings */
    char *from_endpoint;      /* NULL: the token's own */
    bool strict;

    uint64_t store_timeout_ms;
    uint64_t store_interval_ms; /* 0: only at the end */
};

#endif
