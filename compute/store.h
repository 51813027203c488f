/* store.h - takes the files that have changed in PGDATA to the service, in bounded time.
 *
 * First the manifest, which names the old contents beside the new ones, then the files, several at
 * once. Each upload is conditional on the version that was last seen (If-Match): a compute that was
 * replaced and does not know it yet overwrites nothing. After a 412 the service's file is read:
 * when it is one of ours, of an upload whose answer was lost, the upload goes on from there; when
 * it is somebody else's, it stays. A file that is not there any more (the server removes some when
 * it starts) stays in the service. */
#ifndef COMPUTE_STORE_H
#define COMPUTE_STORE_H

#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

#include "compute/conf.h"

struct store_report {
    size_t stored, unchanged, failed;
    uint64_t bytes; /* of what was stored, without the manifest */
    uint64_t time_ms;
};

/* At most conf->store_timeout_ms. Returns 0, or -1 with *err set to the first that went wrong; what
 * is in the report was stored all the same. */
int store_files(const struct compute_conf *conf, struct store_report *r, struct store_err *err);

#endif
