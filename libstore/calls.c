/* The public calls that begin an operation: what they check, and with what they begin. */
#include <string.h>

#include "libstore/op.h"
#include "libstore/pack.h"

static int check_length(const store *s, const char *key, struct store_err *err)
{
    size_t n = key ? strlen(key) : 0;
    if (n > 0 && n <= s->max_key)
        return 0;
    return store_err_set(err, STORE_INVALID, "key of %zu bytes: expected 1 to %zu", n, s->max_key);
}

static int check_key(const store *s, const char *key, struct store_err *err)
{
    const char *problem = store_key_problem(key);
    return problem ? store_err_set(err, STORE_INVALID, "key '%.200s' %s", key ? key : "", problem)
                   : check_length(s, key, err);
}

store_op *store_get(store *s, store_loop *l, const char *key, const struct store_get_opts *opts,
                    const struct store_get_cb *cb, void *user, struct store_err *err)
{
    static const struct store_get_opts none;
    opts = opts ? opts : &none;
    if (check_key(s, key, err) != 0)
        return NULL;
    struct store_op *op = op_new(s, l,
                                 &(struct op_args){.kind = OP_GET,
                                                   .bulk = opts->bulk,
                                                   .key = key,
                                                   .get = opts,
                                                   .timeout_ms = opts->timeout_ms},
                                 cb->done, user, err);
    if (!op)
        return NULL;
    op->get_cb = *cb;
    return op_start(op);
}

store_op *store_head(store *s, store_loop *l, const char *key, uint32_t timeout_ms,
                     store_done_fn *done, void *user, struct store_err *err)
{
    if (check_key(s, key, err) != 0)
        return NULL;
    struct store_op *op =
        op_new(s, l, &(struct op_args){.kind = OP_HEAD, .key = key, .timeout_ms = timeout_ms}, done,
               user, err);
    return op ? op_start(op) : NULL;
}

static bool meta_name_ok(const char *s)
{
    return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0' &&
           strncmp(s, STORE_OWN_PREFIX, strlen(STORE_OWN_PREFIX)) != 0;
}

static bool header_text_ok(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || (unsigned char)*s > 0x7e)
            return false;
    return true;
}

static int check_put(const store *s, const char *key, const struct store_put_opts *o,
                     struct store_err *err)
{
    if (check_key(s, key, err) != 0)
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
                                 "put %.100s: metadata '%.60s': expected a name of a-z 0-9 - (not "
                                 "store-…) and a printable ASCII value",
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
    if (check_put(s, key, opts, err) != 0)
        return NULL;
    struct store_op *op = op_new(s, l,
                                 &(struct op_args){.kind = OP_PUT,
                                                   .bulk = opts->bulk,
                                                   .key = key,
                                                   .put = opts,
                                                   .bytes = opts->compress ? NULL : bytes,
                                                   .size = size,
                                                   .timeout_ms = opts->timeout_ms},
                                 cb->done, user, err);
    if (!op)
        return NULL;
    op->put_cb = *cb;
    if (opts->compress && pack_begin(op, bytes, size, err) != 0) {
        op_free(op);
        return NULL;
    }
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

store_op *store_copy(store *s, store_loop *l, const char *from, const char *to,
                     const struct store_copy_opts *opts, store_done_fn *done, void *user,
                     struct store_err *err)
{
    static const struct store_copy_opts none;
    opts = opts ? opts : &none;
    if (check_key(s, from, err) != 0 || check_key(s, to, err) != 0)
        return NULL;
    if (strcmp(from, to) == 0) {
        store_err_set(err, STORE_INVALID, "copy of '%.150s' onto itself", from);
        return NULL;
    }
    struct store_op *op = op_new(s, l,
                                 &(struct op_args){.kind = OP_COPY,
                                                   .bulk = true,
                                                   .key = to,
                                                   .source = from,
                                                   .copy = opts,
                                                   .timeout_ms = opts->timeout_ms},
                                 done, user, err);
    return op ? op_start(op) : NULL;
}

store_op *store_list(store *s, store_loop *l, const char *prefix,
                     const struct store_list_opts *opts, const struct store_list_cb *cb, void *user,
                     struct store_err *err)
{
    static const struct store_list_opts none;
    struct store_list_opts o = opts ? *opts : none;
    if (!prefix || strlen(prefix) > s->max_key || (o.delimiter && o.delimiter != '/') ||
        (o.start_after && strlen(o.start_after) > STORE_MAX_KEY)) {
        store_err_set(
            err, STORE_INVALID,
            "list '%.100s': expected a prefix of up to %zu bytes, a start of up to %d and "
            "the delimiter '/' or none",
            prefix ? prefix : "", s->max_key, STORE_MAX_KEY);
        return NULL;
    }
    if (o.max == 0 || o.max > STORE_MAX_BATCH)
        o.max = STORE_MAX_BATCH;
    struct store_op *op = op_new(
        s, l,
        &(struct op_args){
            .kind = OP_LIST, .bulk = o.bulk, .key = prefix, .list = &o, .timeout_ms = o.timeout_ms},
        cb->done, user, err);
    if (!op)
        return NULL;
    op->list_cb = *cb;
    return op_start(op);
}

store_op *store_delete(store *s, store_loop *l, const char *key, uint32_t timeout_ms,
                       store_done_fn *done, void *user, struct store_err *err)
{
    if (check_key(s, key, err) != 0)
        return NULL;
    struct store_op *op =
        op_new(s, l, &(struct op_args){.kind = OP_DELETE, .key = key, .timeout_ms = timeout_ms},
               done, user, err);
    return op ? op_start(op) : NULL;
}

static store_op *delete_batch(store *s, struct loop *l, const struct op_args *a,
                              store_done_fn *done, void *user, struct store_err *err)
{
    if (a->n_keys == 0 || a->n_keys > STORE_MAX_BATCH) {
        store_err_set(err, STORE_INVALID, "delete of %zu keys: expected 1 to %d", a->n_keys,
                      STORE_MAX_BATCH);
        return NULL;
    }
    struct store_op *op = op_new(s, l, a, done, user, err);
    return op ? op_start(op) : NULL;
}

store_op *store_delete_many(store *s, store_loop *l, const char *const *keys, size_t n,
                            uint32_t timeout_ms, store_done_fn *done, void *user,
                            struct store_err *err)
{
    const struct op_args a = {
        .kind = OP_DELETE_MANY, .bulk = true, .keys = keys, .n_keys = n, .timeout_ms = timeout_ms};
    for (size_t i = 0; i < n && n <= STORE_MAX_BATCH; i++)
        if (check_key(s, keys[i], err) != 0)
            return NULL;
    return delete_batch(s, l, &a, done, user, err);
}

/* What was listed may have any key: of a narrowed store also that of the store itself, which is "",
 * since some programs make an object for each folder. */
static int check_entry(const store *s, const struct store_entry *e, struct store_err *err)
{
    if (e->is_prefix)
        return store_err_set(err, STORE_INVALID, "delete of '%.150s': a group, expected an entry",
                             e->key);
    if (e->key && !*e->key && s->within_len)
        return 0;
    return check_length(s, e->key, err);
}

store_op *store_delete_listed(store *s, store_loop *l, enum store_list_kind kind,
                              const struct store_entry *entries, size_t n, uint32_t timeout_ms,
                              store_done_fn *done, void *user, struct store_err *err)
{
    const struct op_args a = {.kind = OP_DELETE_MANY,
                              .bulk = true,
                              .entries = entries,
                              .listed = kind,
                              .n_keys = n,
                              .timeout_ms = timeout_ms};
    for (size_t i = 0; i < n && n <= STORE_MAX_BATCH; i++)
        if (check_entry(s, &entries[i], err) != 0)
            return NULL;
    return delete_batch(s, l, &a, done, user, err);
}
