/* The life of an operation: made from what the caller gave, moved by its driver, paused, resumed,
 * canceled, and done. The calls that begin one are in calls.c. */
#include "libstore/op.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/pack.h"

_Static_assert(sizeof(((struct store_info *)0)->meta) ==
                   (STORE_MAX_META + STORE_OWN_META) * sizeof(struct store_meta),
               "store_info has room for what is ours");

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
    if (s->within_len)
        store_ref(s);
    return 0;
}

void op_delist(struct store_op *op)
{
    op->prev->next = op->next;
    op->next->prev = op->prev;
    if (op->store->within_len)
        store_unref(op->store);
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

/* A key, prefix or start of a listing, as the driver knows it. */
static char *copy_key(struct copier *c, const store *s, const char *key)
{
    size_t n = key ? strlen(key) : 0;
    if (!key)
        return NULL;
    c->size += s->within_len + n + 1;
    if (!c->at)
        return NULL;
    char *copy = c->at;
    memcpy(copy, s->within, s->within_len);
    memcpy(copy + s->within_len, key, n + 1);
    c->at += s->within_len + n + 1;
    return copy;
}

/* Room for an array. These come first in the block, for their alignment. */
static void *copy_array(struct copier *c, const void *array, size_t bytes)
{
    c->size += bytes;
    if (!c->at || !bytes)
        return NULL;
    void *copy = c->at;
    if (array)
        memcpy(copy, array, bytes);
    c->at += bytes;
    return copy;
}

static void copy_put_opts(struct copier *c, struct store_op *op, const struct store_put_opts *o)
{
    size_t n_marks = o->compress ? PACK_MARKS : 0;
    struct store_meta *meta = copy_array(c, NULL, (o->n_meta + n_marks) * sizeof(*o->meta));
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

static void copy_get_opts(struct copier *c, struct store_op *op, const struct store_get_opts *o)
{
    const char *match = copy_str(c, o->if_match), *none = copy_str(c, o->if_none_match);
    if (!c->at)
        return;
    op->opts.get = *o;
    op->opts.get.if_match = match;
    op->opts.get.if_none_match = none;
}

static void copy_list_opts(struct copier *c, struct store_op *op, const store *s,
                           const struct store_list_opts *o)
{
    const char *after = copy_key(c, s, o->start_after), *token = copy_str(c, o->token);
    if (!c->at)
        return;
    op->opts.list = *o;
    op->opts.list.start_after = after;
    op->opts.list.token = token;
}

/* Keys, and the versions that go with them. */
static void copy_batch(struct copier *c, struct store_op *op, const store *s,
                       const struct op_args *a)
{
    const size_t size = a->n_keys * sizeof(char *);
    bool versions = a->listed != STORE_LIST_OBJECTS;
    char **keys = copy_array(c, a->keys, size);
    char **ids = versions ? copy_array(c, a->keys, size) : NULL;
    for (size_t i = 0; i < a->n_keys; i++) {
        char *key = copy_key(c, s, a->keys ? a->keys[i] : a->entries[i].key);
        if (c->at)
            keys[i] = key;
        const char *version =
            versions ? copy_str(c, a->entries[i].version ? a->entries[i].version : "") : NULL;
        if (versions && c->at)
            ids[i] = (char *)version;
    }
    op->keys = keys;
    op->versions = ids;
}

static void copy_args(struct copier *c, struct store_op *op, const store *s,
                      const struct op_args *a)
{
    if (a->n_keys)
        copy_batch(c, op, s, a);
    if (a->put)
        copy_put_opts(c, op, a->put);
    op->key = copy_key(c, s, a->key);
    op->source = copy_key(c, s, a->source);
    const char *bytes = a->bytes ? copy_bytes(c, a->bytes, a->size) : NULL;
    if (c->at)
        op->bytes = bytes;
    if (a->get)
        copy_get_opts(c, op, a->get);
    if (a->list)
        copy_list_opts(c, op, s, a->list);
    if (a->copy) {
        const char *match = copy_str(c, a->copy->if_match);
        if (c->at) {
            op->opts.copy = *a->copy;
            op->opts.copy.if_match = match;
        }
    }
}

void op_free(struct store_op *op)
{
    loop_timer_clear(op->loop, &op->deadline);
    loop_defer_clear(op->loop, &op->kick);
    loop_defer_clear(op->loop, &op->finish);
    op_delist(op);
    pack_free(op->pack);
    unpack_free(op->unpack);
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

/* Between two runs of the driver, or behind the last one with bytes that the caller has not taken.
 */
static void op_step(struct store_op *op)
{
    struct store_err err;
    if (op->cancel_wanted) {
        op->again = op->stopped = false;
        store_err_set(&err, STORE_CANCELED, "between two requests");
        op_finish(op, &err, NULL);
    } else if (op->again) {
        op->idle = op->again = op->stopped = op->canceled = false;
        op->store->driver->start(op->store->state, op);
    } else if (op->stopped) {
        op_finish(op, NULL, NULL);
    } else if (op->resume_wanted) {
        op->resume_wanted = op->paused = false;
        unpack_resume(op);
    }
}

/* Resume and cancel reach the driver from here only: on a fresh stack, never from inside one of
 * the driver's own call-backs. */
static void op_kick(void *user)
{
    struct store_op *op = user;
    const struct driver *d = op->store->driver;
    if (op->finished)
        return;
    if (op->idle) {
        op_step(op);
    } else if (op->cancel_wanted || op->stopped) {
        if (!op->canceled) {
            op->canceled = true;
            d->cancel(op->store->state, op);
        }
    } else if (op->resume_wanted) {
        op->resume_wanted = op->paused = false;
        if (!op->unpack || unpack_resume(op))
            d->resume(op->store->state, op);
    }
}

static void op_report(void *user)
{
    struct store_op *op = user;
    op->done_cb(op->user, &op->err, &op->info);
    op_free(op);
}

struct store_op *op_new(store *s, struct loop *l, const struct op_args *a, store_done_fn *done,
                        void *user, struct store_err *err)
{
    struct copier measure = {NULL, 0};
    struct store_op *op = calloc(1, sizeof(*op));
    if (op)
        copy_args(&measure, op, s, a);
    char *copies = op ? malloc(measure.size + 1) : NULL;
    if (!copies || op_enlist(op, s, l, a->kind, err) != 0) {
        free(copies);
        free(op);
        store_err_set(err, STORE_NO_MEMORY, "out of memory");
        return NULL;
    }
    op->copies = copies;
    copy_args(&(struct copier){copies, 0}, op, s, a);
    op->n_keys = a->n_keys;
    op->listed = a->listed;
    op->bulk = a->bulk;
    op->size = a->size;
    op->user = user;
    op->done_cb = done;
    op->why_canceled = STORE_CANCELED;
    op->info.etag = op->etag;
    op->info.content_type = op->content_type;
    op->info.version = op->version;
    op->info.checksum = op->checksum;
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

store_op *op_start(struct store_op *op)
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

bool op_stop(struct store_op *op)
{
    op->stopped = true;
    loop_defer(op->loop, &op->kick);
    return false;
}

/* ---- What drivers call ---- */

/* Keeps the caller's pairs in op->info.meta, without their memory, and takes note of our marks. */
static void sort_meta(struct store_op *op, const struct store_info *info)
{
    size_t kept = 0;
    op->kept = KEPT_PLAIN;
    op->kept_size = STORE_SIZE_UNKNOWN;
    for (size_t i = 0; i < info->n_meta; i++) {
        const char *name = info->meta[i].name, *value = info->meta[i].value;
        if (strncmp(name, STORE_OWN_PREFIX, strlen(STORE_OWN_PREFIX)) != 0)
            op->info.meta[kept++] = info->meta[i];
        else if (strcmp(name, PACK_MARK) == 0)
            op->kept = strcmp(value, "zstd") == 0 ? KEPT_ZSTD : KEPT_STRANGELY;
        else if (strcmp(name, PACK_MARK_SIZE) == 0 &&
                 !parse_u64(value, strlen(value), &op->kept_size))
            op->kept_size = STORE_SIZE_UNKNOWN;
    }
    op->info.n_meta = kept;
    op->info.stored_size = op->info.size;
    if (op->kept != KEPT_PLAIN)
        op->info.size = op->kept_size;
}

/* Copies the pairs. False: no memory; then there are none. */
static bool keep_meta(struct store_op *op)
{
    struct copier measure = {NULL, 0};
    struct store_info *info = &op->info;
    for (size_t i = 0; i < info->n_meta; i++) {
        copy_str(&measure, info->meta[i].name);
        copy_str(&measure, info->meta[i].value);
    }
    bool wanted = info->n_meta > 0;
    char *copy = wanted ? malloc(measure.size + 1) : NULL;
    struct copier c = {copy, 0};
    if (!copy)
        info->n_meta = 0;
    for (size_t i = 0; i < info->n_meta; i++) {
        info->meta[i].name = copy_str(&c, info->meta[i].name);
        info->meta[i].value = copy_str(&c, info->meta[i].value);
    }
    free(op->meta_copy);
    op->meta_copy = copy;
    return copy || !wanted;
}

/* Keeps what a driver tells, as the caller is to see it. False: no memory for the metadata, which
 * is a failure of the operation: an object without them is another. */
static bool keep_info(struct store_op *op, const struct store_info *info)
{
    text_copy(op->etag, sizeof(op->etag), info->etag);
    text_copy(op->content_type, sizeof(op->content_type), info->content_type);
    text_copy(op->version, sizeof(op->version), info->version);
    text_copy(op->checksum, sizeof(op->checksum), info->checksum);
    op->info = *info;
    op->info.etag = op->etag;
    op->info.content_type = op->content_type;
    op->info.version = op->version;
    op->info.checksum = op->checksum;
    sort_meta(op, info);
    return keep_meta(op);
}

static void no_memory(const struct store_op *op, struct store_err *err)
{
    store_err_set(err, STORE_NO_MEMORY, "%.150s: out of memory for the object's metadata", op->key);
}

void op_tell_head(struct store_op *op)
{
    if (op->get_cb.head && !op->cancel_wanted)
        op->get_cb.head(op->user, &op->info);
}

void op_head(struct store_op *op, const struct store_info *info)
{
    if (!keep_info(op, info)) {
        no_memory(op, &op->err);
        op_stop(op);
    } else if (unpack_head(op)) {
        op_tell_head(op);
    }
}

bool op_deliver(struct store_op *op, const void *bytes, size_t n)
{
    if (op->cancel_wanted || n == 0)
        return !op->cancel_wanted;
    if (!op->get_cb.data(op->user, bytes, n)) {
        op->paused = true;
        op->resume_wanted = false;
    }
    return !op->paused && !op->cancel_wanted;
}

bool op_data(struct store_op *op, const void *bytes, size_t n)
{
    if (op->stopped)
        return false;
    return op->unpack ? unpack_data(op, bytes, n) : op_deliver(op, bytes, n);
}

ssize_t op_ask(struct store_op *op, void *buf, size_t cap)
{
    ssize_t n = op->put_cb.read(op->user, buf, cap);
    if (n == STORE_READ_PAUSE) {
        op->paused = true;
        op->resume_wanted = false;
    }
    return n;
}

ssize_t op_read(struct store_op *op, void *buf, size_t cap)
{
    /* Not the timer alone, which only asks for a cancel: after a stop of the whole process a byte
     * sent before that is heard could complete an upload long past its time. */
    if (op->cancel_wanted || op->stopped || clock_mono_ms() >= op->deadline_ms)
        return STORE_READ_ABORT;
    if (op->pack && !op->bytes)
        return pack_read(op, buf, cap);
    if (cap > op->size - op->asked)
        cap = (size_t)(op->size - op->asked);
    if (cap == 0 || op->at_end)
        return 0;
    if (op->bytes) {
        memcpy(buf, op->bytes + op->asked, cap);
        op->asked += cap;
        return (ssize_t)cap;
    }
    ssize_t n = op_ask(op, buf, cap);
    if (n > 0)
        op->asked += (size_t)n;
    if (n == 0 && op->size != STORE_SIZE_UNKNOWN)
        return STORE_READ_ABORT; /* fewer bytes than were promised */
    op->at_end = n == 0;
    return n;
}

/* Whether all keys begin with what was asked for, whatever a backend says, or a token that came
 * from elsewhere makes it say. */
static bool page_fits(struct store_op *op, const struct store_entry *entries, size_t n)
{
    size_t len = strlen(op->key);
    for (size_t i = 0; i < n; i++)
        if (strncmp(entries[i].key, op->key, len) != 0) {
            store_err_set(&op->err, STORE_CORRUPT, "list %.100s: the store named %.100s", op->key,
                          entries[i].key);
            return false;
        }
    return true;
}

void op_page(struct store_op *op, struct store_entry *entries, size_t n, const char *next_token,
             int64_t server_time_s)
{
    const struct store_page page = {
        .entries = entries,
        .n = n,
        .next_token = next_token,
        .server_time_s = server_time_s,
    };
    if (op->cancel_wanted)
        return;
    if (!page_fits(op, entries, n)) {
        op_stop(op);
        return;
    }
    for (size_t i = 0; i < n; i++)
        entries[i].key += op->store->within_len;
    op->list_cb.page(op->user, &page);
    for (size_t i = 0; i < n; i++)
        entries[i].key -= op->store->within_len;
}

/* What `done` tells of the object. When we have stopped the driver, what its head said. False: no
 * memory; a put, whose info has no metadata, needs none. */
static bool describe(struct store_op *op, const struct store_info *info)
{
    if (info && !op->stopped && !keep_info(op, info))
        return false;
    if (op->pack)
        pack_describe(op);
    if (op->unpack)
        unpack_describe(op);
    return true;
}

/* Of what failed, nothing but the backend's time. */
static void forget_info(struct store_op *op, const struct store_info *info)
{
    int64_t server_time_s = info ? info->server_time_s : op->info.server_time_s;
    keep_info(op, &(const struct store_info){.server_time_s = server_time_s});
}

void op_finish(struct store_op *op, const struct store_err *err, const struct store_info *info)
{
    assert(!op->finished);
    op->idle = op->kind == OP_GET && !op->stopped && unpack_end(op, &err);
    if (op->idle || op->again) {
        op->idle = true;
        loop_defer(op->loop, &op->kick);
        return;
    }
    op->finished = true;
    loop_timer_clear(op->loop, &op->deadline);
    if (op->stopped)
        err = &op->err;
    /* What came after the cancel was dropped: that must not pass for a success. */
    static const struct store_err dropped = {.code = STORE_CANCELED};
    if (op->cancel_wanted && (op->kind == OP_GET || op->kind == OP_LIST) &&
        (!err || err->code == STORE_OK))
        err = &dropped;
    if (err && err->code != STORE_OK) {
        const struct store_err why = *err;
        op->err = why;
        if (op->cancel_wanted)
            store_err_set(&op->err, op->why_canceled, "%s %s: %s",
                          op->why_canceled == STORE_TIMEOUT ? "deadline passed for" : "canceled:",
                          op->key ? op->key : "batch", why.msg);
    }
    if (op->err.code == STORE_OK && !describe(op, info))
        no_memory(op, &op->err);
    if (op->err.code != STORE_OK)
        forget_info(op, info);
    loop_defer(op->loop, &op->finish);
}
