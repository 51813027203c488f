/* redis_link.h - the way to Redis that lasts: connects, logs in, finds the master, notices that it
 * is lost, and connects again when somebody asks for something, at most once a second. Every
 * command has an answer or a failure within a bounded time; after a failure the connection is
 * closed, since a late answer would be taken for that of the next command. An outage is logged when
 * it begins and when it ends.
 *
 * Thread-safe: one connection behind a lock. The program must ignore SIGPIPE. */
#ifndef JANITOR_REDIS_LINK_H
#define JANITOR_REDIS_LINK_H

#include <hiredis/hiredis.h>
#include <stdbool.h>

#include <store/error.h>

#include "janitor/redis_conf.h"

struct redis_link;

/* Does not need the server to be up; conf is copied. -1 with *err set, STORE_INVALID or what a file
 * could not be read for: a malformed URL, settings that contradict each other or say nothing, a
 * file that cannot be used. */
int redis_link_open(const struct redis_conf *conf, struct redis_link **out, struct store_err *err);
void redis_link_close(struct redis_link *l); /* NULL is fine */

/* One command. The answer, ended with freeReplyObject(), may be an error of kind NOSCRIPT but no
 * other. NULL: there is none; the cause is logged. */
redisReply *redis_link_command(struct redis_link *l, int n, const char **args);
/* The next text on a channel, ended with free(); waits for at most wait_ms. Subscribes first, and
 * again after a loss. NULL: none came, or Redis is lost: redis_link_why_down(). A link that
 * this was asked of takes no commands any more. */
char *redis_link_message(struct redis_link *l, const char *channel, uint32_t wait_ms);
/* Whether the last command was answered; a PING when that is more than a second ago. */
bool redis_link_up(struct redis_link *l);
/* Why the latest command had no answer; "" when it had one. Returns buf. */
const char *redis_link_why_down(struct redis_link *l, char *buf, size_t n);

#endif
