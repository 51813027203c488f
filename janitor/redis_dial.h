/* redis_dial.h - connections for hiredis, plain or over TLS, within a deadline. */
#ifndef JANITOR_REDIS_DIAL_H
#define JANITOR_REDIS_DIAL_H

#include <hiredis/hiredis.h>

#include "janitor/redis_tls.h"
#include "janitor/redis_url.h"

/* One connection; all zero: none. One thread at a time. */
struct redis_conn {
    redisContext *redis;
    struct redis_tls *tls; /* NULL: plain */
    uint64_t deadline_ms;  /* of the commands that follow; 0: each has its own time-out */
};

/* Connects to the node. tls NULL: plain. deadline_ms, by clock_mono_ms(), bounds this (but not the
 * resolver, which has bounds of its own) and the commands that follow. -1 with *err set:
 * STORE_BUSY, STORE_TIMEOUT, and what redis_tls_start() tells. */
int redis_dial(const struct redis_node *node, const struct redis_tls_conf *tls,
               uint64_t deadline_ms, struct redis_conn *out, struct store_err *err);
/* How long each read and write of the commands that follow may take, instead of what is left until
 * the deadline of redis_dial(). */
int redis_conn_set_timeout(struct redis_conn *c, uint64_t timeout_ms, struct store_err *err);
/* Sends one command and waits for its answer, which is ended with freeReplyObject(). NULL with *err
 * set: the connection is lost; it has been closed. */
redisReply *redis_conn_command(struct redis_conn *c, int n, const char **args, const size_t *lens,
                               struct store_err *err);
/* The next message that the server sends by itself, to one that subscribed; waits for at most
 * wait_ms. NULL: none came (err->code is STORE_OK), or the connection is lost and was closed. */
redisReply *redis_conn_next(struct redis_conn *c, uint64_t wait_ms, struct store_err *err);
/* A command whose good answer is a status. -1 with *err set: an error answer is its text. */
int redis_conn_expect_status(struct redis_conn *c, int n, const char **args, struct store_err *err);
/* user NULL: the user "default", in the form that old servers know too. */
int redis_conn_login(struct redis_conn *c, const char *user, const char *password,
                     struct store_err *err);
void redis_conn_close(struct redis_conn *c); /* all zero is fine */

#endif
