/* jobs.h - what the commands find deletions with: the intents in the store, or, while the store
 * does not answer, what Redis knows. Blocking. */
#ifndef JANITOR_JOBS_H
#define JANITOR_JOBS_H

#include "janitor/commands.h"
#include "janitor/view.h"

enum { JOBS_MIN_PREFIX = 8 }; /* hex digits that name a job when no other begins with them */

/* Whether the two answered. */
struct sources {
    bool store_up;
    struct store_err store_err; /* when it is not */
    bool has_redis;             /* a redis_url is given */
    bool redis_up;
    char redis_err[200]; /* when it is not */
};
/* Neither of the two is missing that should be there. */
bool sources_complete(const struct sources *s);
/* Says on standard error which one is down, and what that means. */
void sources_warn(const struct call *call, const struct sources *s);
json_t *sources_json(const struct call *call, const struct sources *s, const char *which);

/* Every open deletion whose job id begins with prefix, without its record: jobs_add_record(). Reads
 * the intents; when the store does not answer from the start, what Redis holds as open. each()
 * returns false to end it. *src is filled. Returns 0, or -1 with *err: neither answered, or the
 * store ceased to in between. */
int jobs_each(struct call *call, const char *prefix, bool (*each)(void *user, struct view *v),
              void *user, struct sources *src, struct store_err *err);
void jobs_add_record(struct call *call, struct view *v);

/* A JOB as given on the command line: hex digits, of either case. Returns 0 with *prefix in lower
 * case, or -1 with a message. */
int jobs_parse_id(const char *text, char prefix[JOB_ID_SIZE], struct store_err *err);
/* The one deletion that prefix names: open, or completed lately as Redis knows it. Returns 0, or -1
 * with STORE_NOT_FOUND, STORE_INVALID (several), or why neither told. */
int jobs_find(struct call *call, const char *prefix, struct view *v, struct sources *src,
              struct store_err *err);

#endif
