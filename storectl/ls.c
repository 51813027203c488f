/* ls: keys, versions or unfinished uploads, page by page. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "storectl/show.h"
#include "storectl/storectl.h"

struct ls {
    struct ctl *c;
    struct place place;
    enum store_list_kind kind;
    store_op *op;
    char *token; /* of the next page; NULL: there is none */
    bool page_done, failed;
};

static void entry_json(struct buf *b, const struct ls *l, const struct store_entry *e)
{
    json_begin(b);
    if (e->is_prefix) {
        json_str(b, "prefix", e->key);
        json_end(b);
        return;
    }
    json_str(b, "key", e->key);
    if (l->kind == STORE_LIST_UPLOADS) {
        json_str(b, "upload", e->version);
    } else {
        json_num(b, "size", e->size);
        json_str_if(b, "etag", e->etag);
    }
    if (l->kind == STORE_LIST_VERSIONS) {
        json_str_if(b, "version", e->version);
        json_bool(b, "latest", e->is_latest);
        json_bool(b, "marker", e->is_marker);
    }
    json_time(b, l->kind == STORE_LIST_UPLOADS ? "begun" : "modified", e->modified_s);
    json_end(b);
}

static void entry_text(struct buf *b, const struct ls *l, const struct store_entry *e)
{
    char time[CLOCK_TEXT] = "-";
    if (l->c->args.details && e->is_prefix) {
        buf_addf(b, "%14s  %-20s  ", "-", "-");
    } else if (l->c->args.details) {
        clock_rfc3339(e->modified_s, time);
        if (l->kind == STORE_LIST_UPLOADS)
            buf_addf(b, "%14s  %-20s  ", "-", time);
        else
            buf_addf(b, "%14llu  %-20s  ", (unsigned long long)e->size, time);
    }
    text_safe(b, e->key);
    if (l->kind != STORE_LIST_OBJECTS && !e->is_prefix) {
        buf_addc(b, '\t');
        text_safe(b, *e->version ? e->version : "-");
    }
    if (l->kind == STORE_LIST_VERSIONS && !e->is_prefix)
        buf_addf(b, "\t%s%s", e->is_latest ? "latest" : "old", e->is_marker ? ",marker" : "");
    buf_addc(b, '\n');
}

static void ls_page(void *user, const struct store_page *page)
{
    struct ls *l = user;
    for (size_t i = 0; i < page->n && ctl_goes_on(l->c); i++) {
        if (l->c->args.json)
            entry_json(&l->c->out, l, &page->entries[i]);
        else
            entry_text(&l->c->out, l, &page->entries[i]);
        ctl_print(l->c);
    }
    free(l->token);
    l->token = xstrdup(page->next_token);
}

static void ls_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct ls *l = user;
    (void)info;
    l->op = NULL;
    l->page_done = true;
    l->failed = err->code != STORE_OK;
    if (l->failed)
        ctl_fail(l->c, err);
}

static void list_page(struct ls *l)
{
    static const struct store_list_cb cb = {ls_page, ls_done};
    const struct store_list_opts opts = {
        .kind = l->kind,
        .delimiter = l->c->args.recursive ? 0 : '/',
        .token = l->token,
    };
    struct store_err err = {0};
    l->page_done = false;
    l->op = store_list(l->place.store, l->c->loop, l->place.name, &opts, &cb, l, &err);
    if (!l->op)
        ls_done(l, &err, NULL);
    ctl_run_op(l->c, &l->op, &l->page_done);
}

void command_ls(struct ctl *c)
{
    struct ls l = {.c = c,
                   .kind = c->args.versions  ? STORE_LIST_VERSIONS
                           : c->args.uploads ? STORE_LIST_UPLOADS
                                             : STORE_LIST_OBJECTS};
    if (ctl_store_place(c, c->args.n_words ? c->args.words[0] : ":", &l.place) != 0)
        return;
    do {
        list_page(&l);
        ctl_flush(c);
    } while (l.token && !l.failed && ctl_goes_on(c));
    free(l.token);
    place_cleanup(&l.place);
}
