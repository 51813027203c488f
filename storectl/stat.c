/* stat: what is known of an object. */
#include "base/clock.h"
#include "storectl/show.h"
#include "storectl/storectl.h"

struct stat_run {
    struct ctl *c;
    struct place place;
    store_op *op;
    bool done;
};

static void info_json(struct buf *b, const char *key, const struct store_info *info)
{
    json_begin(b);
    json_str(b, "key", key);
    json_num(b, "size", info->size);
    json_num(b, "stored_size", info->stored_size);
    json_str_if(b, "etag", info->etag);
    json_str_if(b, "version", info->version);
    json_str_if(b, "content_type", info->content_type);
    json_str_if(b, "checksum", info->checksum);
    json_time(b, "modified", info->modified_s);
    json_meta(b, info);
    json_end(b);
}

static void text_line(struct buf *b, const char *prefix, const char *name, const char *value)
{
    if (!*value)
        return;
    buf_addf(b, "%s%s: ", prefix, name);
    text_safe(b, value);
    buf_addc(b, '\n');
}

static void info_text(struct buf *b, const char *key, const struct store_info *info)
{
    char time[CLOCK_TEXT];
    clock_rfc3339(info->modified_s, time);
    text_line(b, "", "key", key);
    buf_addf(b, "size: %llu\n", (unsigned long long)info->size);
    if (info->stored_size != info->size)
        buf_addf(b, "stored size: %llu\n", (unsigned long long)info->stored_size);
    text_line(b, "", "etag", info->etag);
    text_line(b, "", "version", info->version);
    text_line(b, "", "content type", info->content_type);
    text_line(b, "", "checksum", info->checksum);
    text_line(b, "", "modified", time);
    for (size_t i = 0; i < info->n_meta; i++)
        text_line(b, "meta ", info->meta[i].name, info->meta[i].value);
}

static void stat_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct stat_run *s = user;
    s->op = NULL;
    s->done = true;
    if (err->code != STORE_OK) {
        ctl_fail(s->c, err);
        return;
    }
    (s->c->args.json ? info_json : info_text)(&s->c->out, s->place.name, info);
    ctl_print(s->c);
}

static void stat_one(struct ctl *c, const char *word)
{
    struct stat_run s = {.c = c};
    struct store_err err = {0};
    if (ctl_store_place(c, word, &s.place) != 0)
        return;
    s.op = store_head(s.place.store, c->loop, s.place.name, 0, stat_done, &s, &err);
    if (s.op)
        ctl_run_op(c, &s.op, &s.done);
    else
        ctl_fail(c, &err);
    place_cleanup(&s.place);
}

void command_stat(struct ctl *c)
{
    for (size_t i = 0; i < c->args.n_words && ctl_goes_on(c); i++) {
        if (i > 0 && !c->args.json) {
            buf_addc(&c->out, '\n');
            ctl_print(c);
        }
        stat_one(c, c->args.words[i]);
    }
}
