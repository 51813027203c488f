/* letter.h - a dead letter (dead_letter.c) taken apart again: why it was refused, and the message
 * as it came. */
#ifndef JANITOR_LETTER_H
#define JANITOR_LETTER_H

#include <jansson.h>

#include "epufs/layout.h"
#include "janitor/queue.h"

enum { LETTER_TEXT = 300, LETTER_ID = 300 };

struct letter {
    char id[LETTER_ID]; /* TOPIC-PARTITION-OFFSET of the dead letter itself */
    char place[40];     /* the same without the topic */
    /* What the janitor wrote in front of it; "" where it did not. */
    char class[16], error[LETTER_TEXT], topic[256], partition[16], offset[24], attempts[16];
    char stored[LAYOUT_KEY_SIZE]; /* the message is in the bucket, not here */
    /* The message, without what the janitor wrote. Points into the queue's message, or into text.
     */
    const char *key, *value;
    size_t key_len, value_len;
    struct event_header *headers;
    size_t n_headers;
    json_t *text; /* letter_fetch(): what was in the bucket */
    char **owned; /* and its values, decoded */
    size_t n_owned;
};

/* Lives as long as m, until letter_cleanup(). */
void letter_init(struct letter *l, const struct queue_msg *m);
void letter_cleanup(struct letter *l);
/* Takes the message from the object's text in the bucket. Returns -1 with STORE_INVALID. */
int letter_from_json(struct letter *l, const char *json, size_t n, struct store_err *err);
/* Brings the message here when it is in the bucket. Returns 0, or -1 with *err. */
int letter_fetch(struct letter *l, store *s, store_loop *loop, struct store_err *err);

/* Whether text can be an id: [TOPIC-]PARTITION-OFFSET. */
bool letter_is_id(const char *text);
/* Whether it is this one's. */
bool letter_has_id(const struct letter *l, const char *text);

#endif
