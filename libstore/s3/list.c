/* LIST: ListObjectsV2, ListObjectVersions, ListMultipartUploads. The latter two go on with two
 * markers, which one token of ours carries: the bytes of the key, ':', the key, the version. */
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "libstore/s3/s3.h"

enum { LIST_STALL_MS = 30000 };

struct list {
    struct s3_op o;
    struct s3_request r;
    char token[8 + STORE_MAX_KEY + STORE_VERSION_SIZE];
};

size_t s3_list_size(void)
{
    return sizeof(struct list);
}

/* ---- The request ---- */

static void add_objects(struct list *l, struct s3_draft *d)
{
    const struct store_list_opts *o = &l->o.op->opts.list;
    s3_draft_query(d, "list-type", "2");
    s3_draft_query(d, "max-keys", s3_draft_text(d, "%u", (unsigned)o->max));
    if (o->token)
        s3_draft_query(d, "continuation-token", o->token);
    else if (o->start_after)
        s3_draft_query(d, "start-after",
                       s3_draft_text(d, "%s%.*s", l->o.s3->prefix, STORE_MAX_KEY, o->start_after));
}

/* Takes the token apart. */
static int add_markers(struct list *l, struct s3_draft *d, const char *version_marker,
                       struct store_err *err)
{
    const struct store_list_opts *o = &l->o.op->opts.list;
    uint64_t n = 0;
    if (!o->token) {
        if (o->start_after)
            s3_draft_query(
                d, "key-marker",
                s3_draft_text(d, "%s%.*s", l->o.s3->prefix, STORE_MAX_KEY, o->start_after));
        return 0;
    }
    size_t digits = strcspn(o->token, ":");
    const char *key = o->token + digits + 1;
    if (!o->token[digits] || !parse_u64(o->token, digits, &n) || n > strlen(key))
        return store_err_set(err, STORE_INVALID, "list %.100s: not a token of this store",
                             l->o.op->key);
    s3_draft_query(d, "key-marker", s3_draft_text(d, "%.*s", (int)n, key));
    if (key[n])
        s3_draft_query(d, version_marker, key + n);
    return 0;
}

static int fill_list(struct s3_request *r, struct s3_draft *d, struct store_err *err)
{
    struct list *l = r->conf.user;
    const struct store_list_opts *o = &l->o.op->opts.list;
    int rc = 0;
    switch (o->kind) {
    case STORE_LIST_OBJECTS: add_objects(l, d); break;
    case STORE_LIST_VERSIONS:
        s3_draft_query(d, "versions", "");
        s3_draft_query(d, "max-keys", s3_draft_text(d, "%u", (unsigned)o->max));
        rc = add_markers(l, d, "version-id-marker", err);
        break;
    case STORE_LIST_UPLOADS:
        s3_draft_query(d, "uploads", "");
        s3_draft_query(d, "max-uploads", s3_draft_text(d, "%u", (unsigned)o->max));
        rc = add_markers(l, d, "upload-id-marker", err);
        break;
    }
    s3_draft_query(d, "encoding-type", "url");
    s3_draft_query(d, "prefix", s3_draft_text(d, "%s%s", l->o.s3->prefix, l->o.op->key));
    if (o->delimiter)
        s3_draft_query(d, "delimiter", "/");
    return rc;
}

/* ---- The answer ---- */

/* The token of the next page; NULL: none. */
static const char *next_token(struct list *l, const struct xml_doc *doc)
{
    if (!doc->truncated || doc->kind == XML_LIST)
        return doc->next_token;
    int n = snprintf(l->token, sizeof(l->token), "%zu:%s%s", strlen(doc->next_key), doc->next_key,
                     doc->next_version);
    return n > 0 && (size_t)n < sizeof(l->token) && *doc->next_key ? l->token : NULL;
}

/* Cuts the store's own prefix off. */
static int check_page(struct list *l, const struct xml_doc *doc, const char *token,
                      struct store_err *err)
{
    const char *prefix = l->o.s3->prefix, *asked = l->o.op->key;
    size_t cut = strlen(prefix), n = strlen(asked);
    if (doc->n_entries > l->o.op->opts.list.max)
        return store_err_set(err, STORE_CORRUPT, "list %.100s: %zu entries came, more than %u",
                             asked, doc->n_entries, (unsigned)l->o.op->opts.list.max);
    if (doc->truncated && !token)
        return store_err_set(err, STORE_CORRUPT, "list %.100s: a cut page without a marker", asked);
    for (size_t i = 0; i < doc->n_entries; i++) {
        struct store_entry *e = &doc->entries[i];
        if (strncmp(e->key, prefix, cut) != 0 || strncmp(e->key + cut, asked, n) != 0)
            return store_err_set(err, STORE_CORRUPT, "list %.100s: the store named %.100s", asked,
                                 e->key);
        e->key += cut;
    }
    return 0;
}

/* RGW and versitygw begin AT a key-marker that has no version beside it. */
static size_t not_behind(const struct list *l, const struct xml_doc *doc)
{
    const struct store_list_opts *o = &l->o.op->opts.list;
    size_t n = 0;
    if (o->start_after && !o->token)
        while (n < doc->n_entries && !doc->entries[n].is_prefix &&
               strcmp(doc->entries[n].key, o->start_after) <= 0)
            n++;
    return n;
}

static void list_done(struct s3_request *r, const struct store_err *err, const struct xml_doc *doc)
{
    struct list *l = r->conf.user;
    struct store_err problem = *err;
    const char *token = problem.code == STORE_OK ? next_token(l, doc) : NULL;
    if (problem.code == STORE_OK && check_page(l, doc, token, &problem) == 0) {
        size_t skipped = not_behind(l, doc);
        op_page(l->o.op, doc->entries + skipped, doc->n_entries - skipped, token,
                r->answer->date_s);
    }
    s3_finish_at(&l->o, &problem, r->answer->date_s);
}

static void list_cleanup(struct s3_op *o)
{
    s3_request_cleanup(&((struct list *)o)->r);
}

void s3_list_start(struct s3_op *o)
{
    static const enum xml_kind expects[] = {
        [STORE_LIST_OBJECTS] = XML_LIST,
        [STORE_LIST_VERSIONS] = XML_VERSIONS,
        [STORE_LIST_UPLOADS] = XML_UPLOADS,
    };
    struct list *l = (struct list *)o;
    struct s3_request_conf conf = s3_request_defaults(o, "list");
    conf.expects = expects[o->op->opts.list.kind];
    conf.stall_timeout_ms = LIST_STALL_MS;
    conf.gate_keys = o->op->bulk ? 1 : 0;
    conf.fill = fill_list;
    conf.done = list_done;
    o->cleanup = list_cleanup;
    s3_op_request(o, &l->r, &conf);
}
