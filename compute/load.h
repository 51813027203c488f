/* load.h - brings an endpoint's files into PGDATA before the server starts.
 *
 * One TAR, and beside it the list that tells each file's version. The TAR is staged whole (untar.h,
 * staging.h), then judged: the manifest has to fit the cluster (version, system identifier) and to
 * name each file's very content, and the file has to look like what it is (pgfiles.h). Only what
 * passes is renamed into place; what does not is named in the log, and the others are placed all
 * the same. A file that changed here since it was last stored is newer than what the service
 * has, and stays. Nothing is removed from PGDATA. */
#ifndef COMPUTE_LOAD_H
#define COMPUTE_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

#include "compute/conf.h"

struct load_report {
    size_t placed;  /* put into place */
    size_t current; /* were there already, or are newer here */
    size_t refused; /* came and were not fit */
    uint64_t bytes; /* of the TAR's files */
    uint64_t time_ms;
};

/* At most conf->load_timeout_ms. Returns 0, also when the service has nothing for us, or -1 with
 * *err set; then PGDATA has each file as it was, or, when placing itself failed, old or new. */
int load_run(const struct compute_conf *conf, struct load_report *r, struct store_err *err);

#endif
