/* sibling.h - which generation of another endpoint may be read: the highest that has files, if it
 * has no tombstone (a tombstone covers all below it, too). Asynchronous, on the request's loop. */
#ifndef READER_SIBLING_H
#define READER_SIBLING_H

#include "service/request.h"

struct sibling_search;

/* For the endpoint of the request's route. done is called once, from the loop, unless
 * sibling_cancel() came first: with an error; or with *deleted: there is a tombstone; or with the
 * generation, which is 0 when there are no files at all. Returns NULL with *err set when it could
 * not be started. */
struct sibling_search *sibling_start(struct request *rq,
                                     void (*done)(void *user, const struct store_err *err,
                                                  bool deleted, uint64_t gen),
                                     void *user, struct store_err *err);
void sibling_cancel(struct sibling_search *s); /* no call-back any more; frees in time */

#endif
