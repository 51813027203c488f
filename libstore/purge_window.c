#include "libstore/purge_window.h"

enum {
    LEAST_ROUND = 2, /* batches */
    FIRST_REST = 2,  /* rounds */
    MAX_REST = 128,
};

static const double worthwhile = 1.2; /* times the speed, for twice the batches */
static const double queued = 2;       /* times as long as one by itself: some of it is waiting */

void purge_window_init(struct purge_window *w, uint32_t most, bool adapts)
{
    uint32_t first = adapts ? 1 : most;
    *w = (struct purge_window){.size = first,
                               .most = most,
                               .adapts = adapts,
                               .home = first,
                               .next_rest = FIRST_REST,
                               .last_way = 1};
}

static void round_begin(struct purge_window *w)
{
    w->ended = 0;
    w->at_once = w->keys = w->took_ms = 0;
}

static void resize(struct purge_window *w, uint32_t size)
{
    w->size = size;
    w->trial++;
}

static bool can_go(const struct purge_window *w, int way)
{
    if (way > 0)
        return w->home < w->most;
    bool waits = w->home * w->alone_speed > queued * w->home_speed;
    return w->home > 1 && (w->may_be_much || waits);
}

static void go(struct purge_window *w, int way)
{
    uint32_t most = w->most, twice = w->home < most / 2 ? 2 * w->home : most;
    w->last_way = way;
    resize(w, way > 0 ? twice : w->home / 2);
}

/* A round at home. */
static void rested(struct purge_window *w, double speed)
{
    w->home_speed = speed;
    if (w->rest > 0) {
        w->rest--;
        return;
    }
    /* The other way than last time, if it can. */
    int way = can_go(w, -w->last_way) ? -w->last_way : w->last_way;
    if (can_go(w, way))
        go(w, way);
}

/* A round of another size. */
static void tried(struct purge_window *w, double speed)
{
    int way = w->last_way;
    bool good = way > 0 ? speed > worthwhile * w->home_speed : speed * worthwhile > w->home_speed;
    w->may_be_much = good == (way < 0);
    if (good) {
        w->home = w->size;
        w->home_speed = speed;
        w->next_rest = FIRST_REST;
        if (can_go(w, way)) {
            go(w, way);
            return;
        }
    } else {
        resize(w, w->home);
    }
    w->rest = w->next_rest;
    w->next_rest = w->next_rest < MAX_REST ? 2 * w->next_rest : MAX_REST;
}

static uint32_t round_size(const struct purge_window *w)
{
    bool is_first = w->home_speed == 0; /* whoever is distant should not be kept waiting */
    return w->size < LEAST_ROUND && !is_first ? LEAST_ROUND : w->size;
}

/* The best there was, but for a lucky moment. */
static void saw_alone(struct purge_window *w, double speed)
{
    if (w->alone_speed == 0)
        w->alone_speed = speed;
    else if (speed > w->alone_speed)
        w->alone_speed += (speed - w->alone_speed) / 8;
}

void purge_window_ended(struct purge_window *w, uint32_t trial, uint32_t at_once, uint32_t keys,
                        uint64_t took_ms)
{
    if (!w->adapts || trial != w->trial)
        return;
    w->ended++;
    w->at_once += at_once;
    w->keys += keys;
    w->took_ms += took_ms ? (double)took_ms : 1;
    if (w->ended < round_size(w))
        return;
    double alone = w->keys / w->took_ms, speed = alone * w->at_once / w->ended;
    round_begin(w);
    saw_alone(w, alone);
    if (w->size == w->home)
        rested(w, speed);
    else
        tried(w, speed);
}
