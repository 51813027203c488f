/* credentials_asker.h - somebody who asks for credentials on a loop of his own and waits. */
#ifndef TESTS_UNIT_CREDENTIALS_ASKER_H
#define TESTS_UNIT_CREDENTIALS_ASKER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/codec.h"
#include "base/loop.h"
#include "libstore/s3/credentials.h"

struct asker {
    struct loop *loop;
    struct credentials_waiter waiter;
    unsigned woken;
    /* What was taken last. */
    char access_key[64], secret_key[64], token[64], region[64];
    uint64_t serial;
    struct store_err err;
};

static inline void asker_woken(void *user)
{
    ((struct asker *)user)->woken++;
}

static inline void asker_take(void *user, const struct credentials_view *v)
{
    struct asker *a = user;
    text_copy(a->access_key, sizeof(a->access_key), v->access_key);
    text_copy(a->secret_key, sizeof(a->secret_key), v->secret_key);
    text_copy(a->token, sizeof(a->token), v->session_token);
    text_copy(a->region, sizeof(a->region), v->region);
    a->serial = v->serial;
}

static inline void asker_start(struct asker *a)
{
    *a = (struct asker){0};
    if (loop_new(&a->loop, NULL) != 0)
        abort();
    a->waiter.loop = a->loop;
    a->waiter.task = (struct loop_task){.fn = asker_woken, .user = a};
}

static inline void asker_stop(struct asker *a)
{
    loop_free(a->loop);
}

static inline enum credentials_state asker_ask(struct asker *a, struct credentials *c)
{
    return credentials_ask(c, a->serial, asker_take, a, &a->waiter, &a->err);
}

/* Runs the loop until it has been woken `times` in all. */
static inline void asker_wait(struct asker *a, unsigned times)
{
    while (a->woken < times)
        loop_run_once(a->loop, 10000, NULL);
}

/* Asks until there is an answer other than to wait. */
static inline enum credentials_state asker_settle(struct asker *a, struct credentials *c)
{
    for (;;) {
        unsigned before = a->woken;
        enum credentials_state state = asker_ask(a, c);
        if (state != CREDENTIALS_WAIT)
            return state;
        asker_wait(a, before + 1);
    }
}

#endif
