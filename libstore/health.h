/* health.h - how a backend fares: the counters of store_stats(), the error rate of the last minute
 * with its alarm, and the budget that retries are paid from. One for each store; thread-safe. */
#ifndef LIBSTORE_HEALTH_H
#define LIBSTORE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include <store/open.h>

struct health;

/* conf: its on_alarm, alarm_user and alarm_percent; url is copied. */
int health_new(const struct store_conf *conf, const char *url, struct health **out,
               struct store_err *err);
void health_free(struct health *h); /* NULL is fine */

/* A try has ended, at now_ms (CLOCK_MONOTONIC). failed: for a reason of the backend's (no
 * connection, 5xx, throttled, garbled), not of the caller's (not found, denied, canceled). May call
 * the alarm, with no lock held. A success also fills the budget. */
void health_tried(struct health *h, uint64_t now_ms, bool failed);

/* Asks for one more try. False: the budget is used up; the failure should be reported. Each retry
 * costs HEALTH_RETRY_COST, each success gives 1 back, up to HEALTH_BUDGET: an outage gets a burst
 * of tries and then one for every few successes, instead of many times the load. */
enum { HEALTH_BUDGET = 1000, HEALTH_RETRY_COST = 5 };
bool health_may_retry(struct health *h);

enum health_counter {
    HEALTH_RETRY,
    HEALTH_THROTTLED,
    HEALTH_HEDGE,
    HEALTH_HEDGE_WON,
    HEALTH_CREDENTIAL_ERROR,
    HEALTH_COUNTERS
};
void health_count(struct health *h, enum health_counter c);

/* Whether a second request for the same may be sent now: no more than 2 % of the requests. */
bool health_may_hedge(struct health *h);

void health_stats(struct health *h, uint64_t now_ms, struct store_stats *out);

#endif
