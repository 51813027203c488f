#include "libstore/op.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"

/* ---- The ring of a loop's operations ---- */

static const char ring_owner; /* its address names the attachment */

static struct store_op *ring_of(struct loop *l)
{
    struct store_op *head = loop_attached(l, &ring_owner);
    if (head)
        return head;
    head = calloc(1, sizeof(*head));
    if (!head)
        return NULL;
    head->next = head->prev = head;
    if (loop_attach(l, &ring_owner, head, free) != 0) {
        free(head);
        return NULL;
    }
    return head;
}

int op_enlist(struct store_op *op, store *s, struct loop *l, enum op_kind kind,
              struct store_err *err)
{
    struct store_op *head = ring_of(l);
    if (!head)
        return store_err_set(err, STORE_NO_MEMORY, "out of memory");
    op->store = s;
    op->loop = l;
    op->kind = kind;
    op->next = head;
    op->prev = head->prev;
    head->prev->next = op;
    head->prev = op;
    return 0;
}

void op_delist(struct store_op *op)
{
    op->prev->next = op->next;
    op->next->prev = op->prev;
}

void store_loop_free(store_loop *l)
{
    if (!l)
        return;
    struct store_op *head = loop_attached(l, &ring_owner);
    if (head) {
        for (struct store_op *op = head->next; op != head; op = op->next)
            store_op_cancel(op);
        while (head->next != head && loop_run_once(l, -1, NULL) == 0)
            ;
    }
    loop_free(l);
}

int store_loop_new(store_loop **out, struct store_err *err)
{
    return loop_new(out, err);
}

int store_loop_fd(const store_loop *l)
{
    return loop_fd(l);
}

int store_loop_timeout_ms(const store_loop *l)
{
    return loop_timeout_ms(l);
}

int store_loop_run(store_loop *l, int wait_ms, struct store_err *err)
{
    return loop_run_once(l, wait_ms, err);
}

/* ---- Making an operation ---- */

/* Copies strings into one block: first pass with at NULL to measure, second to copy. */
struct copier {
    char *at;
    size_t size;
};

static const char *copy_bytes(struct copier *c, const char *s, size_t n)
{
    if (!s)
        return NULL;
    c->size += n + 1;
    if (!c->at)
        return s;
    char *copy = c->at;
    memcpy(copy, s, n);
    copy[n] = '\0';
    c->at += n + 1;
    return copy;
}

static const char *copy_str(struct copier *c, const char *s)
{
    return s ? copy_bytes(c, s, strlen(s)) : NULL;
}

/* The arrays come first in the block, for their alignment. */
static void *copy_array(struct copier *c, const void *array, size_t bytes)
{
    c->size += bytes;
    if (!c->at || !bytes)
        return NULL;
    void *copy = c->at;
    memcpy(copy, array, bytes);
    c->at += bytes;
    return copy;
}

/* What a caller gave, before it is copied. */
struct op_args {
    enum op_kind kind;
    const char *key;
    const char *const *keys;
    size_t n_keys;
    const struct store_get_opts *get;
    const struct store_put_opts *put;
    const struct store_list_opts *list;
    const char *bytes;
    uint64_t size;
    uint32_t timeout_ms;
};

static void copy_put_opts(struct copier *c, struct store_op *op, const struct store_put_opts *o)
{
    struct store_meta *meta = copy_array(c, o->meta, o->n_meta * sizeof(*o->meta));
    if (c->at) {
        op->opts.put = *o;
        op->opts.put.meta = meta;
    }
    const char *type = copy_str(c, o->content_type), *match = copy_str(c, o->if_match);
    if (c->at) {
        op->opts.put.content_type = type;
        op->opts.put.if_match = match;
    }
    for (size_t i = 0; i < o->n_meta; i++) {
        const char *name = copy_str(c, o->meta[i].name), *value = copy_str(c, o->meta[i].value);
        if (c->at)
            meta[i] = (struct store_meta){name, value};
    }
}

static void copy_args(struct copier *c, struct store_op *op, const struct op_args *a)
{
    char **keys = copy_array(c, a->keys, a->n_keys * sizeof(*a->keys));
    if (a->put)
        copy_put_opts(c, op, a->put);
    for (size_t i = 0; i < a->n_keys; i++) {
        const char *key = copy_str(c, a->keys[i]);
        if (c->at)
            keys[i] = (char *)key;
    }
    const char *key = copy_str(c, a->key);
    const char *bytes = a->bytes ? copy_bytes(c, a->bytes, a->size) : NULL;
    if (c->at) {
        op->keys = keys;
        op->key = (char *)key;
        op->bytes = bytes;
    }
    if (a->get) {
        const char *match = copy_str(c, a->get->if_match);
        const char *none = copy_str(c, a->get->if_none_match);
        if (c->at) {
            op->opts.get = *a->get;
            op->opts.get.if_match = match;
            op->opts.get.if_none_match = none;
        }
    }
    if (a->list) {
        const char *after = copy_str(c, a->list->start_after), *token = copy_str(c, a->list->token);
        if (c->at) {
            op->opts.list = *a->list;
            op->opts.list.start_after = after;
            op->opts.list.token = token;
        }
    }
}

static void op_free(struct store_op *op)
{
    loop_timer_clear(op->loop, &op->deadline);
    loop_defer_clear(op->loop, &op->kick);
    loop_defer_clear(op->loop, &op->finish);
    op_delist(op);
    free(op->meta_copy);
    free(op->copies);
    free(op);
}

static void op_deadline(void *user)
{
    struct store_op *op = user;
    op->why_canceled = STORE_TIMEOUT;
    op->cancel_wanted = true;
    loop_defer(op->loop, &op->kick);
}

/* Resume and cancel reach the driver from here only: on a fresh stack, never from inside one of
 * the driver's own call-backs. */
static void op_kick(void *user)
{
    struct store_op *op = user;
    const struct driver *d = op->store->driver;
    if (op->finished)
        return;
    if (op->cancel_wanted) {
        if (!op->canceled) {
            op->canceled = true;
            d->cancel(op->store->state, op);
        }
    } else if (op->resume_wanted) {
        op->resume_wanted = false;
        op->paused = false;
        d->resume(op->store->state, op);
    }
}

static void op_report(void *user)
{
    struct store_op *op = user;
    op->done_cb(op->user, &op->err, &op->info);
    op_free(op);
}

static struct store_op *op_new(store *s, struct loop *l, const struct op_args *a,
                               store_done_fn *done, void *user, struct store_err *err)
{
    struct copier measure = {NULL, 0};
    struct store_op *op = calloc(1, sizeof(*op));
    if (op)
        copy_args(&measure, op, a);
    char *copies = op ? malloc(measure.size + 1) : NULL;
    if (!copies || op_enlist(op, s, l, a->kind, err) != 0) {
        free(copies);
        free(op);
        store_err_set(err, STORE_NO_MEMORY, "out of memory");
        return NULL;
    }
    op->copies = copies;
    copy_args(&(struct copier){copies, 0}, op, a);
    op->n_keys = a->n_keys;
    op->size = a->size;
    op->user = user;
    op->done_cb = done;
    op->why_canceled = STORE_CANCELED;
    op->info.etag = op->etag;
    op->info.content_type = op->content_type;
    op->deadline = (struct loop_timer){.fn = op_deadline, .user = op};
    op->kick = (struct loop_task){.fn = op_kick, .user = op};
    op->finish = (struct loop_task){.fn = op_report, .user = op};
    uint32_t timeout_ms = a->timeout_ms ? a->timeout_ms : s->op_timeout_ms;
    op->deadline_ms = clock_mono_ms() + timeout_ms;
    if (loop_timer_set(l, &op->deadline, timeout_ms) != 0) {
        op_free(op);
        store_err_set(err, STORE_NO_MEMORY, "out of memory");
        return NULL;
    }
    return op;
}

static store_op *op_start(struct store_op *op)
{
    op->store->driver->start(op->store->state, op);
    return op;
}

void store_op_cancel(store_op *op)
{
    if (op->kind == OP_DELETE_PREFIX) {
        purge_cancel(op);
        return;
    }
    op->cancel_wanted = true;
    if (!op->finished)
        loop_defer(op->loop, &op->kick);
}

void store_op_resume(store_op *op)
{
    if (!op->paused || op->finished || op->kind == OP_DELETE_PREFIX)
        return;
    op->resume_wanted = true;
    loop_defer(op->loop, &op->kick);
}

/* ---- What drivers call ---- */

/* Keeps info's strings. Metadata is dropped, not cut, when there is no memory for it. */
static void keep_info(struct store_op *op, const struct store_info *info)
{
    struct copier measure = {NULL, 0};
    text_copy(op->etag, sizeof(op->etag), info->etag);
    text_copy(op->content_type, sizeof(op->content_type), info->content_type);
    for (size_t i = 0; i < info->n_meta; i++) {
        copy_str(&measure, info->meta[i].name);
        copy_str(&measure, info->meta[i].value);
    }
    free(op->meta_copy);
    op->meta_copy = info->n_meta ? malloc(measure.size + 1) : NULL;
    struct copier c = {op->meta_copy, 0};
    op->info = *info;
    op->info.etag = op->etag;
    op->info.content_type = op->content_type;
    if (!op->meta_copy)
        op->info.n_meta = 0;
    for (size_t i = 0; i < op->info.n_meta; i++) {
        op->info.meta[i].name = copy_str(&c, info->meta[i].name);
        op->info.meta[i].value = copy_str(&c, info->meta[i].value);
    }
}

void op_head(struct store_op *op, const struct store_info *info)
{
    keep_info(op, info);
    if (op->get_cb.head && !op->cancel_wanted)
        op->get_cb.head(op->user, &op->info);
}

bool op_data(struct store_op *op, const void *bytes, size_t n)
{
    if (op->cancel_wanted || n == 0)
        return !op->cancel_wanted;
    if (!op->get_cb.data(op->user, bytes, n)) {
        op->paused = true;
        op->resume_wanted = false;
    }
    return !op->paused;
}

ssize_t op_read(struct store_op *op, void *buf, size_t cap)
{
    /* Not the timer alone: after a stop of the whole process (SIGSTOP, a frozen machine) a socket
     * may be served before it, and a byte sent then could complete an upload long past its time. */
    if (op->cancel_wanted || clock_mono_ms() >= op->deadline_ms)
        return STORE_READ_ABORT;
    if (cap > op->size - op->asked)
        cap = (size_t)(op->size - op->asked);
    if (cap == 0)
        return 0;
    if (op->bytes) {
        memcpy(buf, op->bytes + op->asked, cap);
        op->asked += cap;
        return (ssize_t)cap;
    }
    ssize_t n = op->put_cb.read(op->user, buf, cap);
    if (n == STORE_READ_PAUSE) {
        op->paused = true;
        op->resume_wanted = false;
    }
    if (n > 0)
        op->asked += (size_t)n;
    return n;
}

void op_page(struct store_op *op, const struct store_page *page)
{
    if (!op->cancel_wanted)
        op->list_cb.page(op->user, page);
}

void op_finish(struct store_op *op, const struct store_err *err, const struct store_info *info)
{
    assert(!op->finished);
    op->finished = true;
    loop_timer_clear(op->loop, &op->deadline);
    if (info)
        keep_info(op, info);
    if (err && err->code != STORE_OK) {
        op->err = *err;
        if (op->cancel_wanted)
            store_err_set(&op->err, op->why_canceled, "%s %s: %s",
                          op->why_canceled == STORE_TIMEOUT ? "deadline passed for" : "canceled:",
                          op->key ? op->key : "batch", err->msg);
    }
    loop_defer(op->loop, &op->finish);
}

void *store_driver_state(const store *s)
{
    return s->state;
}

/* ---- The operations ---- */

static int check_key(const char *key, struct store_err *err)
{
    const char *problem = store_key_problem(key);
    return problem ? store_err_set(err, STORE_INVALID, "key '%.200s' %s", key ? key : "", problem)
                   : 0;
}

static int check_length(const char *key, struct store_err *err)
{
    size_t n = key ? strlen(key) : 0;
    if (n > 0 && n <= STORE_MAX_KEY)
        return 0;
    return store_err_set(err, STORE_INVALID, "key of %zu bytes: expected 1 to %d", n,
                         STORE_MAX_KEY);
}

store_op *store_get(store *s, store_loop *l, const char *key, const struct store_get_opts *opts,
                    const struct store_get_cb *cb, void *user, struct store_err *err)
{
    static const struct store_get_opts none;
    opts = opts ? opts : &none;
    if (check_key(key, err) != 0)
        return NULL;
    struct store_op *op = op_new(
        s, l,
        &(struct op_args){.kind = OP_GET, .key = key, .get = opts, .timeout_ms = opts->timeout_ms},
        cb->done, user, err);
    if (!op)
        return NULL;
    op->get_cb = *cb;
    return op_start(op);
}

store_op *store_head(store *s, store_loop *l, const char *key, uint32_t timeout_ms,
                     store_done_fn *done, void *user, struct store_err *err)
{
    if (check_key(key, err) != 0)
        return NULL;
    struct store_op *op =
        op_new(s, l, &(struct op_args){.kind = OP_HEAD, .key = key, .timeout_ms = timeout_ms}, done,
               user, err);
    return op ? op_start(op) : NULL;
}

static bool meta_name_ok(const char *s)
{
    return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

static bool header_text_ok(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || (unsigned char)*s > 0x7e)
            return false;
    return true;
}

static int check_put(const char *key, const struct store_put_opts *o, struct store_err *err)
{
    if (check_key(key, err) != 0)
        return -1;
    if (o->n_meta > STORE_MAX_META)
        return store_err_set(err, STORE_INVALID,
                             "put %.100s: %zu metadata pairs: expected up to %d", key, o->n_meta,
                             STORE_MAX_META);
    size_t total = 0;
    for (size_t i = 0; i < o->n_meta; i++) {
        const struct store_meta *m = &o->meta[i];
        if (!meta_name_ok(m->name) || !header_text_ok(m->value))
            return store_err_set(err, STORE_INVALID,
                                 "put %.100s: metadata '%.60s': expected a name of a-z 0-9 - and a "
                                 "printable ASCII value",
                                 key, m->name);
        total += strlen(m->name) + strlen(m->value);
    }
    if (total > STORE_MAX_META_BYTES)
        return store_err_set(err, STORE_INVALID, "put %.100s: %zu bytes of metadata: expected %d",
                             key, total, STORE_MAX_META_BYTES);
    if (o->content_type && !header_text_ok(o->content_type))
        return store_err_set(err, STORE_INVALID, "put %.100s: content type is not printable ASCII",
                             key);
    if (o->if_absent && o->if_match)
        return store_err_set(err, STORE_INVALID,
                             "put %.100s: if_absent and if_match exclude "
                             "each other",
                             key);
    return 0;
}

static store_op *put(store *s, store_loop *l, const char *key, const char *bytes, uint64_t size,
                     const struct store_put_opts *opts, const struct store_put_cb *cb, void *user,
                     struct store_err *err)
{
    static const struct store_put_opts none;
    opts = opts ? opts : &none;
    if (check_put(key, opts, err) != 0)
        return NULL;
    struct store_op *op = op_new(s, l,
                                 &(struct op_args){.kind = OP_PUT,
                                                   .key = key,
                                                   .put = opts,
                                                   .bytes = bytes,
                                                   .size = size,
                                                   .timeout_ms = opts->timeout_ms},
                                 cb->done, user, err);
    if (!op)
        return NULL;
    op->put_cb = *cb;
    return op_start(op);
}

store_op *store_put(store *s, store_loop *l, const char *key, uint64_t size,
                    const struct store_put_opts *opts, const struct store_put_cb *cb, void *user,
                    struct store_err *err)
{
    return put(s, l, key, NULL, size, opts, cb, user, err);
}

store_op *store_put_bytes(store *s, store_loop *l, const char *key, const void *bytes, size_t size,
                          const struct store_put_opts *opts, store_done_fn *done, void *user,
                          struct store_err *err)
{
    const struct store_put_cb cb = {.done = done};
    return put(s, l, key, bytes ? bytes : "", size, opts, &cb, user, err);
}

store_op *store_list(store *s, store_loop *l, const char *prefix,
                     const struct store_list_opts *opts, const struct store_list_cb *cb, void *user,
                     struct store_err *err)
{
    static const struct store_list_opts none;
    struct store_list_opts o = opts ? *opts : none;
    if (strlen(prefix) > STORE_MAX_KEY || (o.delimiter && o.delimiter != '/')) {
        store_err_set(err, STORE_INVALID,
                      "list '%.100s': expected a prefix of up to %d bytes and "
                      "the delimiter '/' or none",
                      prefix, STORE_MAX_KEY);
        return NULL;
    }
    if (o.max == 0 || o.max > STORE_MAX_BATCH)
        o.max = STORE_MAX_BATCH;
    struct store_op *op = op_new(
        s, l,
        &(struct op_args){.kind = OP_LIST, .key = prefix, .list = &o, .timeout_ms = o.timeout_ms},
        cb->done, user, err);
    if (!op)
        return NULL;
    op->list_cb = *cb;
    return op_start(op);
}

store_op *store_delete(store *s, store_loop *l, const char *key, uint32_t timeout_ms,
                       store_done_fn *done, void *user, struct store_err *err)
{
    if (check_length(key, err) != 0)
        return NULL;
    struct store_op *op =
        op_new(s, l, &(struct op_args){.kind = OP_DELETE, .key = key, .timeout_ms = timeout_ms},
               done, user, err);
    return op ? op_start(op) : NULL;
}

static store_op *delete_many(store *s, struct loop *l, const char *const *keys, size_t n,
                             uint32_t timeout_ms, store_done_fn *done, void *user,
                             struct store_err *err)
{
    if (n == 0 || n > STORE_MAX_BATCH) {
        store_err_set(err, STORE_INVALID, "delete of %zu keys: expected 1 to %d", n,
                      STORE_MAX_BATCH);
        return NULL;
    }
    struct store_op *op =
        op_new(s, l,
               &(struct op_args){
                   .kind = OP_DELETE_MANY, .keys = keys, .n_keys = n, .timeout_ms = timeout_ms},
               done, user, err);
    return op ? op_start(op) : NULL;
}

store_op *store_delete_many(store *s, store_loop *l, const char *const *keys, size_t n,
                            uint32_t timeout_ms, store_done_fn *done, void *user,
                            struct store_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (check_length(keys[i], err) != 0)
            return NULL;
    return delete_many(s, l, keys, n, timeout_ms, done, user, err);
}

/* A loaded store may need most of a minute for a batch of a thousand keys. */
enum { BATCH_TIMEOUT_MS = 120000 };

store_op *op_delete_listed(store *s, struct loop *l, const char *const *keys, size_t n,
                           store_done_fn *done, void *user, struct store_err *err)
{
    return delete_many(s, l, keys, n, BATCH_TIMEOUT_MS, done, user, err);
}
