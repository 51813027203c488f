#include "janitor/watermark.h"

#include <assert.h>
#include <stddef.h>

void watermark_init(struct watermark *w)
{
    *w = (struct watermark){.behind_last = -1, .given_up = -1};
}

void watermark_out(struct watermark *w, struct watermark_item *item, int64_t offset)
{
    assert(offset >= 0);
    /* Almost always the end: offsets grow. */
    struct watermark_item *before = w->last;
    while (before && before->offset > offset)
        before = before->prev;
    struct watermark_item *after = before ? before->next : w->first;
    *item = (struct watermark_item){w, before, after, offset};
    *(before ? &before->next : &w->first) = item;
    *(after ? &after->prev : &w->last) = item;
    w->behind_last = offset + 1;
}

void watermark_back(struct watermark_item *item)
{
    struct watermark *w = item->owner;
    if (!w)
        return;
    *(item->prev ? &item->prev->next : &w->first) = item->next;
    *(item->next ? &item->next->prev : &w->last) = item->prev;
    item->owner = NULL;
}

void watermark_give_up(struct watermark_item *item)
{
    struct watermark *w = item->owner;
    if (w && (w->given_up < 0 || item->offset < w->given_up))
        w->given_up = item->offset;
    watermark_back(item);
}

void watermark_abandon(struct watermark *w)
{
    for (struct watermark_item *item = w->first; item; item = item->next)
        item->owner = NULL;
    watermark_init(w);
}

int64_t watermark_position(const struct watermark *w)
{
    int64_t position = w->behind_last;
    if (w->first && w->first->offset < position)
        position = w->first->offset;
    if (w->given_up >= 0 && w->given_up < position)
        position = w->given_up;
    return position;
}
