/* redis_notice.h - notices by Redis: published on the channel epufs:notices for who follows it at
 * that moment, and the heartbeat without its jobs kept under epufs:janitor:<owner> until the next
 * ones are missing, for who looks later; epufs:janitors has the owners by time. A connection of its
 * own, so that no lease ever waits for it. Thread-safe. */
#ifndef JANITOR_REDIS_NOTICE_H
#define JANITOR_REDIS_NOTICE_H

#include "janitor/notice.h"
#include "janitor/redis_conf.h"

struct redis_notice;

/* As redis_link_open(). */
int redis_notice_open(const struct redis_conf *conf, struct redis_notice **out,
                      struct store_err *err);
void redis_notice_close(struct redis_notice *r); /* NULL is fine */

/* -1 with *err: not sent. */
int redis_notice_send(struct redis_notice *r, const struct notice *n, struct store_err *err);
/* The heartbeats of those that live, the latest first; *n in: room, out: filled. */
int redis_notice_janitors(struct redis_notice *r, struct notice *list, size_t *n,
                          struct store_err *err);
/* The next notice, as JSON, ended with free(); waits for at most wait_ms. NULL: none came, or, with
 * err->code set, Redis is lost; the next call tries again. One that was asked for this serves
 * nothing else any more. */
char *redis_notice_next(struct redis_notice *r, uint32_t wait_ms, struct store_err *err);

#endif
