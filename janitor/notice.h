/* notice.h - what a janitor tells of itself, about once a second: a heartbeat, and the deletions
 * that it works on. Best effort: nothing rests on it, and one that is lost is made good by the
 * next. Pure.
 *
 * As JSON, schema 1; docs/operations.md has the fields. */
#ifndef JANITOR_NOTICE_H
#define JANITOR_NOTICE_H

#include <jansson.h>

#include "janitor/job.h"

enum {
    NOTICE_MAX_JOBS = 100,
    NOTICE_MAX_TROUBLES = 4,
    NOTICE_TROUBLE_SIZE = 200,
    NOTICE_MISSED = 5, /* of those to be expected, until the janitor counts as silent */
};

struct notice_lane {
    uint64_t workers, running;
    uint64_t due; /* jobs that could run now and have no worker */
};

struct notice_job {
    char job_id[JOB_ID_SIZE];
    char scope[SCOPE_PATH_SIZE];
    char upto_gen[24]; /* decimal or "" */
    char state[LEDGER_STATE_SIZE];
    char error[200]; /* the last failure, or "" */
    uint64_t files, bytes, attempts;
    int64_t accepted_at_s;
    bool dry_run;
    bool left; /* told of for the last time: it is over, or waits, or another janitor has it */
};

struct notice {
    char janitor[LEDGER_OWNER_SIZE]; /* as in leases */
    int64_t at_s;                    /* its clock */
    uint64_t every_ms;               /* when the next one is to be expected */
    bool stopping;                   /* the last one */
    struct notice_lane lanes[LANES];
    uint64_t open[3]; /* by enum scope_kind */
    uint64_t files_per_s;
    uint64_t delete_rate, tenant_delete_rate; /* the limits; 0: none */
    char troubles[NOTICE_MAX_TROUBLES][NOTICE_TROUBLE_SIZE];
    size_t n_troubles;
    struct notice_job jobs[NOTICE_MAX_JOBS];
    size_t n_jobs;
};

extern const char *const notice_lanes[LANES]; /* "accept", "small", "big" */

uint64_t notice_n_open(const struct notice *n); /* of all kinds */
void notice_add_trouble(struct notice *n, const char *text);
/* A new reference, without the jobs if those are not wanted; NULL: out of memory. */
json_t *notice_json(const struct notice *n, bool jobs);
/* Reads what notice_json() made, with fields that are not known, and without those that are
 * missing. -1 with STORE_INVALID: it is no notice. */
int notice_parse(const char *text, size_t len, struct notice *out, struct store_err *err);

#endif
