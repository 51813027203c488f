/* purge_window.h - how many batches of a removal are of use at once; pure.
 *
 * A distant store does eight batches in hardly more time than one; a store whose disks or cores are
 * busy with one takes eight times as long for eight, and whoever else asks it for something waits
 * behind all of them. A window that adapts begins with one batch, and doubles while that brings
 * more keys a second by a good part; where it does not, it goes back, and tries again ever more
 * rarely, also whether half of it would do. So little is lost where more brings more, and others
 * need not wait where it does not.
 *
 * Keys a second are counted by Little's law: batches under way at once, by the time that each
 * took. So it does not matter that batches of two sizes of the window overlap. There are no clocks:
 * time is counted in rounds, which are as many batches as the window holds. */
#ifndef LIBSTORE_PURGE_WINDOW_H
#define LIBSTORE_PURGE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

struct purge_window {
    uint32_t size; /* so many batches may be under way; between 1 and most */
    uint32_t most;
    bool adapts;    /* otherwise size is most */
    uint32_t trial; /* counts the changes of size */
    /* The round: of batches that began at this size. */
    uint32_t ended;
    double at_once, keys, took_ms; /* sums */
    /* What is known: */
    uint32_t home;      /* the size that proved best; size is this, or the double, or half */
    double home_speed;  /* keys a millisecond */
    double alone_speed; /* of one batch by itself, the best that was seen */
    bool may_be_much;   /* half of home might be as good: no trial has shown the contrary */
    uint32_t rest;      /* rounds until something else is tried */
    uint32_t next_rest; /* how many after a trial that brought nothing */
    int last_way;       /* of the trials: +1 or -1 */
};

/* most: at least 1. */
void purge_window_init(struct purge_window *w, uint32_t most, bool adapts);

/* A batch of so many keys was removed. trial: the window's when it began; at_once: how many were
 * under way with it, itself included. */
void purge_window_ended(struct purge_window *w, uint32_t trial, uint32_t at_once, uint32_t keys,
                        uint64_t took_ms);

#endif
