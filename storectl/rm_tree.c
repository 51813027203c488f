/* rm -r: libstore's prefix deletion, watched. */
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "storectl/progress.h"
#include "storectl/rm.h"
#include "storectl/show.h"
#include "storectl/storectl.h"
#include "storectl/value.h"

struct rm {
    struct ctl *c;
    struct place place;
    store_op *op;
    bool done;
    int64_t server_time_s;
    struct progress bar;
    struct store_err err;
    struct store_progress final;
    char cursor[STORE_MAX_KEY + 1];
};

/* ---- --older-than: the store's clock decides, so it is asked first ---- */

static void clock_page(void *user, const struct store_page *page)
{
    struct rm *r = user;
    r->server_time_s = page->server_time_s;
}

static void clock_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct rm *r = user;
    (void)info;
    r->op = NULL;
    r->done = true;
    r->err = *err;
}

static int ask_clock(struct rm *r)
{
    static const struct store_list_cb cb = {clock_page, clock_done};
    const struct store_list_opts opts = {.max = 1};
    r->op = store_list(r->place.store, r->c->loop, r->place.name, &opts, &cb, r, &r->err);
    if (r->op)
        ctl_run_op(r->c, &r->op, &r->done);
    r->done = false;
    if (r->err.code == STORE_OK && r->server_time_s == 0)
        store_err_set(&r->err, STORE_FAILED, "--older-than: the store does not tell its time");
    return r->err.code == STORE_OK ? 0 : -1;
}

/* ---- The deletion ---- */

static bool rm_progress(void *user, const struct store_progress *p)
{
    struct rm *r = user;
    r->bar.count = p->objects + p->uploads;
    r->bar.bytes = p->bytes;
    return true;
}

static void rm_done(void *user, const struct store_err *err, const struct store_progress *p)
{
    struct rm *r = user;
    r->op = NULL;
    r->done = true;
    r->err = *err;
    r->final = *p;
    text_copy(r->cursor, sizeof(r->cursor), p->cursor);
}

static int start(struct rm *r, const char *cursor)
{
    static const struct store_delete_prefix_cb cb = {rm_progress, rm_done};
    const struct args *a = &r->c->args;
    struct store_delete_prefix_opts opts = {
        .cursor = cursor,
        .versions = a->versions,
        .uploads = a->uploads,
        .dry_run = a->dry_run,
        .batches_in_flight = (uint32_t)a->batches,
        .timeout_ms = (uint32_t)a->timeout_ms,
    };
    if (a->older_than_ms) {
        if (ask_clock(r) != 0)
            return -1;
        int64_t before = r->server_time_s - (int64_t)(a->older_than_ms / 1000);
        opts.modified_before_s = before > 0 ? before : 1; /* 0 would mean all */
    }
    r->op = store_delete_prefix(r->place.store, r->c->loop, r->place.name, &opts, &cb, r, &r->err);
    return r->op ? 0 : -1;
}

/* ---- The report ---- */

static void report_json(struct rm *r, const char *resume)
{
    struct buf *b = &r->c->out;
    struct store_stats stats;
    json_begin(b);
    json_str(b, "prefix", r->place.name);
    json_bool(b, "complete", r->err.code == STORE_OK);
    json_bool(b, "dry_run", r->c->args.dry_run);
    json_num(b, "objects", r->final.objects);
    json_num(b, "bytes", r->final.bytes);
    json_num(b, "uploads", r->final.uploads);
    json_num(b, "kept", r->final.kept);
    json_num(b, "elapsed_ms", progress_elapsed_ms(&r->bar));
    store_stats(r->place.store, &stats);
    json_num(b, "requests", stats.requests);
    json_num(b, "retries", stats.retries);
    json_num(b, "throttled", stats.throttled);
    if (r->err.code != STORE_OK)
        json_str_if(b, "resume", resume);
    json_end(b);
}

static void report_text(struct rm *r, const char *resume)
{
    struct buf *b = &r->c->out;
    char count[VALUE_TEXT], bytes[VALUE_TEXT], time[VALUE_TEXT];
    const struct store_progress *p = &r->final;
    uint64_t ms = progress_elapsed_ms(&r->bar);
    buf_addf(b, "%s %s objects, %s", r->c->args.dry_run ? "found" : "removed",
             value_show_count(p->objects, count), value_show_bytes(p->bytes, bytes));
    if (r->c->args.uploads)
        buf_addf(b, ", %s uploads", value_show_count(p->uploads, count));
    if (r->c->args.older_than_ms)
        buf_addf(b, ", kept %s", value_show_count(p->kept, count));
    buf_addf(b, " in %s", value_show_ms(ms, time));
    if (ms > 0)
        buf_addf(b, " (%s/s)", value_show_count((p->objects + p->uploads) * 1000 / ms, count));
    buf_addc(b, '\n');
    if (r->err.code != STORE_OK && *resume)
        buf_addf(b, "go on with --resume %s\n", resume);
}

static void report(struct rm *r)
{
    struct buf resume = BUF_INIT(3 * STORE_MAX_KEY + 1);
    percent_encode(&resume, r->cursor, strlen(r->cursor), true);
    (r->c->args.json ? report_json : report_text)(r, buf_str(&resume));
    ctl_print_last(r->c);
    buf_cleanup(&resume);
}

/* The decoded --resume, "" without one, or NULL when it is none. The caller frees. */
static char *cursor_of(struct ctl *c)
{
    const char *text = c->args.resume ? c->args.resume : "";
    size_t n = strlen(text);
    char *cursor = xmalloc(n + 1);
    if (percent_decode(text, n, cursor, &n))
        return cursor;
    free(cursor);
    ctl_usage(c, "--resume '%.150s': expected a cursor as it was printed", text);
    return NULL;
}

void rm_tree(struct ctl *c)
{
    struct rm r = {.c = c};
    char *cursor = cursor_of(c);
    if (!cursor || ctl_store_place(c, c->args.words[0], &r.place) != 0) {
        free(cursor);
        return;
    }
    place_make_prefix(&r.place);
    if (!*r.place.name) {
        ctl_usage(c, "'%.150s': expected a prefix, not a whole store", c->args.words[0]);
    } else {
        progress_begin(&r.bar, c, c->args.dry_run ? "objects found" : "objects removed");
        if (start(&r, *cursor ? cursor : NULL) == 0)
            ctl_run_op(c, &r.op, &r.done);
        progress_end(&r.bar);
        if (r.err.code != STORE_OK)
            ctl_fail(c, &r.err);
        report(&r);
    }
    free(cursor);
    place_cleanup(&r.place);
}
