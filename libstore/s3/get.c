/* GET and HEAD. A get that breaks off goes on where it was, tied to the ETag it began with. The
 * last piece of a whole object is held back until its sum is right. */
#include <string.h>

#include "base/clock.h"
#include "libstore/s3/s3.h"

enum { SMALL_BYTES = 1024 * 1024 }; /* what may be asked for twice */

struct get {
    struct s3_op o;
    struct s3_request r;
    bool described;     /* op_head() was called */
    bool misfit;        /* this try's answer is not the part that was asked for */
    bool corrupt;       /* the sum is wrong */
    uint64_t delivered; /* bytes that op_data() got */
    uint64_t expected;  /* bytes that it must get in all */
    char etag[STORE_ETAG_SIZE];
    struct s3_check check;
};

size_t s3_get_size(void)
{
    return sizeof(struct get);
}

static struct get *get_of(struct s3_request *r)
{
    return r->conf.user;
}

/* ---- The request ---- */

static void add_range(const struct get *g, struct s3_draft *d)
{
    const struct store_get_opts *o = &g->o.op->opts.get;
    unsigned long long first = o->offset + g->delivered;
    const char *range = NULL;
    if (first > INT64_MAX)
        first = INT64_MAX;
    if (g->delivered) /* a second try goes on where the first broke off */
        range = s3_draft_text(d, "bytes=%llu-%llu", first,
                              (unsigned long long)(o->offset + g->expected - 1));
    else if (o->length && o->length <= INT64_MAX - first) /* stores count in signed numbers */
        range =
            s3_draft_text(d, "bytes=%llu-%llu", first, first + (unsigned long long)o->length - 1);
    else if (o->length || first)
        range = s3_draft_text(d, "bytes=%llu-", first);
    if (range)
        s3_draft_header(d, "Range", range);
}

static int fill_get(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct get *g = get_of(r);
    const struct store_get_opts *o = &g->o.op->opts.get;
    const char *match = g->delivered ? g->etag : o->if_match;
    (void)err;
    d->key = g->o.op->key;
    g->misfit = false;
    add_range(g, d);
    if (match)
        s3_draft_header(d, "If-Match", s3_draft_text(d, "\"%s\"", match));
    if (g->delivered)
        return 0;
    if (o->if_none_match)
        s3_draft_header(d, "If-None-Match", s3_draft_text(d, "\"%s\"", o->if_none_match));
    if (o->if_modified_since_s) {
        char since[CLOCK_TEXT];
        clock_http_date(o->if_modified_since_s, since);
        s3_draft_header(d, "If-Modified-Since", s3_draft_text(d, "%s", since));
    }
    return 0;
}

/* ---- The answer ---- */

/* Whether the answer to a get is the part that was asked for: a store, or a proxy before it, that
 * ignores the range or the condition sends bytes which must not pass for that part. */
static bool fits(const struct get *g)
{
    const struct http_answer *a = g->r.answer;
    const struct store_get_opts *o = &g->o.op->opts.get;
    uint64_t length = (uint64_t)a->content_length;
    if (!g->described && !o->offset && !o->length)
        return !a->has_range;
    if (!a->has_range) /* a second try from the very start has no range */
        return g->described && !g->delivered && !o->offset && !o->length && length == g->expected &&
               strcmp(a->etag, g->etag) == 0;
    if (a->range_first != o->offset + g->delivered)
        return false;
    if (g->described)
        return length == g->expected - g->delivered && strcmp(a->etag, g->etag) == 0;
    return !o->length || length <= o->length;
}

static void on_head(struct s3_request *r)
{
    struct get *g = get_of(r);
    struct store_info info;
    if (r->answer->content_length < 0)
        return;
    g->misfit = !fits(g);
    if (g->misfit || g->described)
        return;
    s3_describe(r->answer, &info);
    info.offset = g->o.op->opts.get.offset;
    g->described = true;
    g->expected = info.length;
    memcpy(g->etag, r->answer->etag, sizeof(g->etag));
    r->once = !g->etag[0]; /* nothing would tie a second answer to this one */
    s3_check_init(&g->check, r->answer);
    info.checksum = g->check.text;
    if (info.length != info.size)
        g->check.kind = S3_CHECK_NONE; /* a part has no sum */
    op_head(g->o.op, &info);
}

static bool on_data(struct s3_request *r, const void *bytes, size_t n)
{
    struct get *g = get_of(r);
    if (!g->described || g->misfit || g->corrupt || n > g->expected - g->delivered)
        return true; /* on_done() finds the length wrong */
    bool last = g->delivered + n == g->expected;
    if (!s3_check_add(&g->check, bytes, n) || (last && !s3_check_ok(&g->check, g->etag))) {
        g->corrupt = true;
        return true;
    }
    g->delivered += n;
    return op_data(g->o.op, bytes, n);
}

static void fail_get(struct get *g)
{
    struct store_err err;
    const char *key = g->o.op->key;
    if (g->corrupt)
        store_err_set(&err, STORE_CORRUPT, "get %.150s: the bytes do not fit the sum %.40s", key,
                      g->check.text);
    else if (g->misfit)
        store_err_set(&err, STORE_CORRUPT, "get %.150s: another part came than was asked for", key);
    else
        store_err_set(&err, STORE_CORRUPT, "get %.150s: %llu bytes came of %llu", key,
                      (unsigned long long)g->delivered, (unsigned long long)g->expected);
    s3_finish_at(&g->o, &err, g->r.answer->date_s);
}

static bool is_whole(struct get *g)
{
    if (!g->described || g->misfit || g->corrupt || g->delivered != g->expected)
        return false;
    g->corrupt = g->expected == 0 && !s3_check_ok(&g->check, g->etag); /* it had no last piece */
    return !g->corrupt;
}

static void get_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct get *g = get_of(r);
    (void)doc;
    if (err->code != STORE_OK)
        s3_finish_at(&g->o, err, r->answer->date_s);
    else if (is_whole(g))
        s3_finish(&g->o, NULL, NULL); /* described already */
    else
        fail_get(g);
}

static void head_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct get *g = get_of(r);
    struct store_info info;
    (void)doc;
    if (err->code != STORE_OK) {
        s3_finish_at(&g->o, err, r->answer->date_s);
        return;
    }
    s3_describe(r->answer, &info);
    s3_check_init(&g->check, r->answer);
    info.checksum = g->check.text;
    s3_finish(&g->o, NULL, &info);
}

/* ---- What the driver calls ---- */

static void get_resume(struct s3_op *o)
{
    s3_request_resume(&((struct get *)o)->r);
}

static void get_cleanup(struct s3_op *o)
{
    struct get *g = (struct get *)o;
    s3_request_cleanup(&g->r);
    s3_check_cleanup(&g->check);
}

void s3_get_start(struct s3_op *o)
{
    struct get *g = (struct get *)o;
    const struct store_op *op = o->op;
    bool is_head = op->kind == OP_HEAD;
    struct s3_request_conf conf = s3_request_defaults(o, is_head ? "head" : "get");
    conf.hedged = !op->bulk && (is_head || op->opts.get.length <= SMALL_BYTES);
    conf.fill = is_head ? s3_fill_head : fill_get;
    conf.head = is_head ? NULL : on_head;
    conf.data = is_head ? NULL : on_data;
    conf.done = is_head ? head_done : get_done;
    o->resume = get_resume;
    o->cleanup = get_cleanup;
    s3_op_request(o, &g->r, &conf);
}
