#include "janitor/redis_notice.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "janitor/redis_link.h"

enum {
    FORGET_S = 3600,
    KEY_SIZE = LEDGER_OWNER_SIZE + 16,
};

#define CHANNEL      "epufs:notices"
#define KEY_JANITORS "epufs:janitors"

struct redis_notice {
    struct redis_link *link;
};

int redis_notice_open(const struct redis_conf *conf, struct redis_notice **out,
                      struct store_err *err)
{
    struct redis_notice *r = xcalloc(1, sizeof(*r));
    struct redis_conf quiet = *conf;
    quiet.quiet = true;
    if (redis_link_open(&quiet, &r->link, err) != 0) {
        free(r);
        return -1;
    }
    *out = r;
    return 0;
}

void redis_notice_close(struct redis_notice *r)
{
    if (!r)
        return;
    redis_link_close(r->link);
    free(r);
}

static int lost(struct redis_notice *r, struct store_err *err)
{
    char why[200];
    return store_err_set(err, STORE_BUSY, "Redis: %s",
                         redis_link_why_down(r->link, why, sizeof(why)));
}

/* ---- Sending ---- */

static bool tell(struct redis_notice *r, int n, const char **args)
{
    redisReply *reply = redis_link_command(r->link, n, args);
    if (reply)
        freeReplyObject(reply);
    return reply != NULL;
}

static void key_of(const char *janitor, char key[KEY_SIZE])
{
    snprintf(key, KEY_SIZE, "epufs:janitor:%s", janitor);
}

static bool keep(struct redis_notice *r, const struct notice *n, const char *beat)
{
    char key[KEY_SIZE], ms[24], now[24], old[24];
    key_of(n->janitor, key);
    snprintf(ms, sizeof(ms), "%" PRIu64, n->every_ms * NOTICE_MISSED);
    snprintf(now, sizeof(now), "%" PRId64, n->at_s);
    snprintf(old, sizeof(old), "%" PRId64, n->at_s - FORGET_S);
    const char *set[] = {"SET", key, beat, "PX", ms};
    const char *add[] = {"ZADD", KEY_JANITORS, now, n->janitor};
    const char *bound[] = {"ZREMRANGEBYSCORE", KEY_JANITORS, "-inf", old};
    return tell(r, LEN(set), set) && tell(r, LEN(add), add) && tell(r, LEN(bound), bound);
}

static bool forget(struct redis_notice *r, const struct notice *n)
{
    char key[KEY_SIZE];
    key_of(n->janitor, key);
    const char *del[] = {"DEL", key};
    const char *gone[] = {"ZREM", KEY_JANITORS, n->janitor};
    return tell(r, LEN(del), del) && tell(r, LEN(gone), gone);
}

static char *dump(json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

int redis_notice_send(struct redis_notice *r, const struct notice *n, struct store_err *err)
{
    char *all = dump(notice_json(n, true)), *beat = dump(notice_json(n, false));
    int rc = 0;
    const char *publish[] = {"PUBLISH", CHANNEL, all};
    if (!all || !beat)
        rc = store_err_set(err, STORE_NO_MEMORY, "notice: out of memory");
    else if (!(n->stopping ? forget(r, n) : keep(r, n, beat)) || !tell(r, LEN(publish), publish))
        rc = lost(r, err);
    free(all);
    free(beat);
    return rc;
}

/* ---- Reading ---- */

static int read_beat(struct redis_notice *r, const char *janitor, struct notice *list, size_t *n,
                     struct store_err *err)
{
    char key[KEY_SIZE];
    struct store_err unreadable;
    const char *get[] = {"GET", key};
    key_of(janitor, key);
    redisReply *beat = redis_link_command(r->link, LEN(get), get);
    if (!beat)
        return lost(r, err);
    if (beat->type == REDIS_REPLY_STRING &&
        notice_parse(beat->str, beat->len, &list[*n], &unreadable) == 0)
        (*n)++;
    freeReplyObject(beat);
    return 0;
}

int redis_notice_janitors(struct redis_notice *r, struct notice *list, size_t *n,
                          struct store_err *err)
{
    char last[24];
    const char *range[] = {"ZREVRANGE", KEY_JANITORS, "0", last};
    snprintf(last, sizeof(last), "%zu", *n - 1);
    *n = 0;
    redisReply *names = redis_link_command(r->link, LEN(range), range);
    if (!names)
        return lost(r, err);
    int rc = 0;
    for (size_t i = 0; i < names->elements && rc == 0; i++)
        rc = read_beat(r, names->element[i]->str, list, n, err);
    freeReplyObject(names);
    return rc;
}

char *redis_notice_next(struct redis_notice *r, uint32_t wait_ms, struct store_err *err)
{
    char why[200];
    *err = (struct store_err){0};
    char *text = redis_link_message(r->link, CHANNEL, wait_ms);
    if (!text && *redis_link_why_down(r->link, why, sizeof(why)))
        lost(r, err);
    return text;
}
