/* watermark.h - how far the messages of one partition have been taken care of. Pure.
 *
 * Messages are handed out in the order of the log and given back in any order. The position is the
 * first offset that must be delivered again after a crash: that of the oldest message still out,
 * or, when none is, the one behind the last that was handed out. Offsets may have gaps (compacted
 * logs, transaction markers). When the log itself goes back (it was truncated, and reading began
 * anew), so does the position: too low only repeats work, too high loses it.
 *
 * Nothing is allocated: the items are part of the caller's messages, so that memory is bounded by
 * the number of messages that are out, however long one of them takes. Not thread-safe. */
#ifndef JANITOR_WATERMARK_H
#define JANITOR_WATERMARK_H

#include <stdint.h>

struct watermark;

struct watermark_item {
    struct watermark *owner; /* NULL: not out, or its partition was taken away */
    struct watermark_item *prev, *next;
    int64_t offset;
};

struct watermark {
    struct watermark_item *first, *last; /* those that are out, by offset */
    int64_t behind_last;                 /* -1: nothing has been handed out */
    int64_t given_up;                    /* the first offset that will not be done; -1: none */
};

void watermark_init(struct watermark *w);
/* The message at offset goes out. */
void watermark_out(struct watermark *w, struct watermark_item *item, int64_t offset);
/* It came back. Harmless when its partition was taken away. */
void watermark_back(struct watermark_item *item);
/* The message will not be taken care of here: the position never passes it any more. */
void watermark_give_up(struct watermark_item *item);
/* The partition was taken away: what is out belongs to nobody any more. */
void watermark_abandon(struct watermark *w);
/* What to commit; -1: nothing has been handed out. */
int64_t watermark_position(const struct watermark *w);

#endif
