/* All files of an endpoint's generation: as TAR, or as a list in JSON.
 *
 * Tombstones and listing are asked at once. The TAR's length follows from the listing, and each
 * GET is tied to the listed ETag, so the archive is what was listed or it breaks off. A few files
 * are fetched ahead, each up to its first piece. The next member's header leaves together with the
 * end of the one before: a cut then falls into a member, where every tar program notices it. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "epufs/fence.h"
#include "reader/reader.h"
#include "reader/sibling.h"
#include "reader/tar.h"

enum { FETCH_AHEAD = 4, PIECE_MAX_BYTES = 262144 };

struct archive;

struct member {
    struct archive *archive;
    char *path; /* below pgdata/ */
    char *etag;
    uint64_t size;
    int64_t modified_s;
    store_op *op;
    bool fetched;     /* all of it has come */
    struct buf piece; /* what came before its turn */
};

struct archive {
    struct request *rq; /* NULL: the request is over */
    uint64_t gen;
    char prefix[LAYOUT_KEY_SIZE];
    bool as_json;
    struct sibling_search *search; /* which generation it is to be */
    struct fence_check *fence;
    store_op *lister;
    bool alive, listed; /* the fence, the listing are done */
    struct member *members;
    size_t n, cap;
    char *token; /* of the next page */
    size_t turn; /* the member whose bytes go out */
    size_t next; /* the next one to be fetched */
    bool answered, header_sent;
    bool over;   /* the whole answer was given, or it failed */
    size_t open; /* operations under way */
};

static void release(struct archive *a)
{
    if (a->rq || a->open)
        return;
    for (size_t i = 0; i < a->n; i++) {
        free(a->members[i].path);
        free(a->members[i].etag);
        buf_cleanup(&a->members[i].piece);
    }
    free(a->members);
    free(a->token);
    free(a);
}

/* No more work for this request; its answer is given. */
static void stop(struct archive *a)
{
    if (a->search)
        sibling_cancel(a->search);
    a->search = NULL;
    if (a->fence)
        fence_cancel(a->fence);
    a->fence = NULL;
    if (a->lister)
        store_op_cancel(a->lister);
    for (size_t i = 0; i < a->n; i++)
        if (a->members[i].op)
            store_op_cancel(a->members[i].op);
    a->turn = a->next = a->n;
    a->over = true;
}

static void fail(struct archive *a, const struct store_err *err)
{
    if (!a->rq || a->over)
        return;
    if (!http_committed(a->rq->http)) {
        request_fail_store(a->rq, err);
    } else {
        log_warn("archive broke off", LOG_S("request_id", a->rq->id), LOG_ERR(err));
        a->rq->note = "store failed in mid-body";
        http_abort(a->rq->http);
    }
    stop(a);
}

/* ---- TAR ---- */

static void move_on(struct archive *a);
static void begin_member(struct archive *a, const struct member *m);

static bool member_data(void *user, const void *bytes, size_t n)
{
    struct member *m = user;
    struct archive *a = m->archive;
    if (!a->rq || a->over)
        return true;
    if (m == &a->members[a->turn]) {
        begin_member(a, m);
        return http_write(a->rq->http, bytes, n);
    }
    buf_add(&m->piece, bytes, n); /* its turn comes */
    return false;
}

static void member_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct member *m = user;
    struct archive *a = m->archive;
    (void)info;
    m->op = NULL;
    a->open--;
    if (err->code != STORE_OK || buf_failed(&m->piece)) {
        struct store_err changed;
        store_err_set(&changed, STORE_BUSY, "file '%.100s' changed while it was read: %.80s",
                      m->path, err->msg);
        bool gone = err->code == STORE_NOT_FOUND || err->code == STORE_PRECONDITION;
        fail(a, gone || err->code == STORE_OK ? &changed : err);
    } else {
        m->fetched = true;
        move_on(a);
    }
    release(a);
}

static void fetch_ahead(struct archive *a)
{
    static const struct store_get_cb cb = {NULL, member_data, member_done};
    while (a->next < a->n && a->next < a->turn + FETCH_AHEAD) {
        struct member *m = &a->members[a->next++];
        char key[LAYOUT_KEY_SIZE];
        struct store_err err;
        const struct store_get_opts opts = {
            .if_match = *m->etag ? m->etag : NULL,
            .timeout_ms = (uint32_t)reader_conf(a->rq)->read_timeout_ms,
        };
        m->fetched = m->size == 0;
        if (m->fetched)
            continue;
        layout_file(&a->rq->route.scope, a->gen, m->path, key);
        m->op = store_get(a->rq->files, a->rq->worker->loop, key, &opts, &cb, m, &err);
        if (!m->op) {
            fail(a, &err);
            return;
        }
        a->open++;
    }
}

static uint64_t archive_bytes(const struct archive *a)
{
    uint64_t n = TAR_END_BYTES;
    for (size_t i = 0; i < a->n; i++)
        n += tar_member_bytes(a->members[i].path, a->members[i].size);
    return n;
}

static void answer_tar(struct archive *a)
{
    struct http_field fields[3] = {{"Content-Type", "application/x-tar"},
                                   {"Cache-Control", "no-store"}};
    a->answered = true;
    request_stream(a->rq, 200, fields, 2, archive_bytes(a));
}

static void write_zeros(struct archive *a, size_t n)
{
    static const char zeros[TAR_END_BYTES];
    http_write(a->rq->http, zeros, n);
}

/* The head of the answer, once, and the head of the member, once. */
static void begin_member(struct archive *a, const struct member *m)
{
    if (!a->answered)
        answer_tar(a);
    if (a->header_sent)
        return;
    struct buf header = BUF_INIT(16384);
    tar_header(&header, m->path, m->size, m->modified_s);
    http_write(a->rq->http, header.data, header.len);
    buf_cleanup(&header);
    a->header_sent = true;
}

static void end_archive(struct archive *a)
{
    if (!a->answered)
        answer_tar(a);
    write_zeros(a, TAR_END_BYTES);
    a->over = true;
}

/* Writes what is there of the member in turn: header, first piece, and when it is whole the
 * padding, and so on with the next. Until the first byte of a file is there nothing is answered,
 * so that an error can still be told. */
static void move_on(struct archive *a)
{
    while (a->rq && !a->over && a->turn < a->n) {
        struct member *m = &a->members[a->turn];
        bool room = true;
        if (!a->answered && !m->fetched && m->piece.len == 0)
            return;
        begin_member(a, m);
        if (m->piece.len) {
            room = http_write(a->rq->http, m->piece.data, m->piece.len);
            buf_cleanup(&m->piece);
        }
        if (!m->fetched) {
            if (room && m->op)
                store_op_resume(m->op);
            return;
        }
        write_zeros(a, tar_padding(m->size));
        a->header_sent = false;
        a->turn++;
        fetch_ahead(a);
    }
    if (a->rq && !a->over)
        end_archive(a);
}

static void start_tar(struct archive *a)
{
    if (a->rq->route.method == METHOD_HEAD) {
        answer_tar(a);
        a->over = true;
        return;
    }
    fetch_ahead(a);
    move_on(a);
}

/* ---- JSON ---- */

static void answer_json(struct archive *a)
{
    json_t *files = json_array();
    for (size_t i = 0; i < a->n; i++) {
        const struct member *m = &a->members[i];
        char modified[CLOCK_TEXT];
        clock_rfc3339(m->modified_s, modified);
        json_array_append_new(files, json_pack("{s:s,s:I,s:s,s:s}", "path", m->path, "size",
                                               (json_int_t)m->size, "version", m->etag, "modified",
                                               modified));
    }
    const struct scope *s = &a->rq->route.scope;
    char gen[24];
    snprintf(gen, sizeof(gen), "%llu", (unsigned long long)a->gen);
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:o}", "tenant", s->tenant, "timeline", s->timeline,
                          "endpoint", s->endpoint, "gen", gen, "files", files);
    char *text = json_dumps(o, JSON_COMPACT);
    request_json(a->rq, 200, text, strlen(text));
    free(text);
    json_decref(o);
    a->over = true;
}

/* ---- Tombstones and listing ---- */

static void both_done(struct archive *a)
{
    if (!a->rq || !a->alive || !a->listed || a->over)
        return;
    if (a->as_json)
        answer_json(a);
    else
        start_tar(a);
}

static void fail_deleted(struct archive *a)
{
    request_fail(a->rq, 410, "this generation of the endpoint was deleted");
    stop(a);
}

static void fence_done(void *user, const struct store_err *err, const struct fence_verdict *v)
{
    struct archive *a = user;
    a->fence = NULL;
    if (err->code != STORE_OK) {
        fail(a, err);
    } else if (v->deleted) {
        fail_deleted(a);
    } else {
        a->alive = true;
        both_done(a);
    }
}

static void take_entry(struct archive *a, const struct store_entry *e)
{
    if (a->n == a->cap) {
        a->cap = a->cap ? a->cap * 2 : 16;
        a->members = xrealloc(a->members, a->cap * sizeof(*a->members));
    }
    a->members[a->n++] = (struct member){
        .archive = a,
        .path = xstrdup(e->key + strlen(a->prefix)),
        .etag = xstrdup(e->etag),
        .size = e->size,
        .modified_s = e->modified_s,
        .piece = BUF_INIT(PIECE_MAX_BYTES),
    };
}

static void list_page(void *user, const struct store_page *page)
{
    struct archive *a = user;
    size_t max = a->rq ? reader_conf(a->rq)->endpoint_max_files : 0;
    for (size_t i = 0; i < page->n && a->n <= max; i++)
        take_entry(a, &page->entries[i]);
    free(a->token);
    a->token = page->next_token ? xstrdup(page->next_token) : NULL;
}

static void list_next(struct archive *a);

static void list_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct archive *a = user;
    struct store_err many;
    (void)info;
    a->lister = NULL;
    a->open--;
    if (!a->rq) {
        release(a);
    } else if (err->code != STORE_OK) {
        fail(a, err);
    } else if (a->n > reader_conf(a->rq)->endpoint_max_files) {
        store_err_set(&many, STORE_NO_SPACE, "%s holds more files than endpoint_max_files",
                      a->prefix);
        fail(a, &many);
    } else if (a->token) {
        list_next(a);
    } else {
        a->listed = true;
        both_done(a);
    }
}

static void list_next(struct archive *a)
{
    static const struct store_list_cb cb = {list_page, list_done};
    const struct store_list_opts opts = {.token = a->token};
    struct store_err err;
    a->lister = store_list(a->rq->files, a->rq->worker->loop, a->prefix, &opts, &cb, a, &err);
    if (a->lister)
        a->open++;
    else
        fail(a, &err);
}

/* ---- The request's events ---- */

static void on_writable(struct request *rq)
{
    struct archive *a = rq->state;
    if (a->turn < a->n && a->members[a->turn].op)
        store_op_resume(a->members[a->turn].op);
}

static void on_gone(struct request *rq)
{
    stop(rq->state);
}

static void on_end(struct request *rq)
{
    struct archive *a = rq->state;
    stop(a);
    a->rq = NULL;
    release(a);
}

static const struct request_ops archive_ops = {
    .writable = on_writable,
    .gone = on_gone,
    .end = on_end,
};

/* TAR unless the client names JSON and not TAR. */
static bool wants_json(const struct request *rq)
{
    const char *accept = http_header(rq->http, "Accept");
    return accept && strcasestr(accept, "application/json") && !strcasestr(accept, "x-tar");
}

static void begin_generation(struct archive *a, uint64_t gen)
{
    struct request *rq = a->rq;
    struct store_err err;
    a->gen = gen;
    layout_files(&rq->route.scope, gen, a->prefix);
    a->fence = fence_start(request_service(rq)->store, rq->worker->loop, &rq->route.scope, gen,
                           FENCE_TIMEOUT_MS, fence_done, a, &err);
    if (!a->fence)
        fail(a, &err);
    else
        list_next(a);
}

static void sibling_found(void *user, const struct store_err *err, bool deleted, uint64_t gen)
{
    struct archive *a = user;
    a->search = NULL;
    if (err->code != STORE_OK)
        fail(a, err);
    else if (deleted)
        fail_deleted(a);
    else
        begin_generation(a, gen);
}

void endpoint_begin(struct request *rq)
{
    uint64_t gen;
    bool is_sibling;
    struct store_err err;
    if (!request_may_read_files(rq, reader_conf(rq)->sibling_reads, &gen, &is_sibling))
        return;
    struct archive *a = xcalloc(1, sizeof(*a));
    a->rq = rq;
    a->as_json = wants_json(rq);
    rq->state = a;
    rq->ops = &archive_ops;
    if (!is_sibling) {
        begin_generation(a, gen);
        return;
    }
    a->search = sibling_start(rq, sibling_found, a, &err);
    if (!a->search)
        fail(a, &err);
}
