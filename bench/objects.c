/* objects - fills a prefix of a store and empties it again, for the deletion benchmark.
 *
 *     objects fill|delete|purge STORE_URL PREFIX COUNT IN_FLIGHT
 *
 * fill    stores COUNT objects of 16 bytes, 10,000 to a folder.
 * delete  the ceiling: removes them in batches whose keys are all prepared before the clock
 *         starts; no listing.
 * purge   libstore's prefix deletion, which has to find the keys first.
 *
 * Prints one line of JSON (program.h). Credentials as libstore takes them from the
 * environment. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <store/store.h>

#include "base/xalloc.h"
#include "bench/program.h"

enum { OBJECT_BYTES = 16, MAX_COUNT = 10 * 1000 * 1000, MAX_IN_FLIGHT = 1024 };

struct run {
    store *store;
    store_loop *loop;
    const char *prefix;
    size_t count, in_flight, started, ended;
    void (*more)(struct run *r); /* fill, delete: starts what there is room for */
    char **keys;                 /* delete: all of them */
    struct store_err err;        /* the first failure */
};

/* The same names as those of the fake store's sets with split 4. */
static void key_of(const struct run *r, size_t i, char key[STORE_MAX_KEY + 1])
{
    snprintf(key, STORE_MAX_KEY + 1, "%s%04zu/%04zu", r->prefix, i / 10000, i % 10000);
}

static void failed(struct run *r, const struct store_err *err)
{
    if (r->err.code == STORE_OK)
        r->err = *err;
}

static void one_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct run *r = user;
    (void)info;
    r->ended++;
    if (err->code != STORE_OK)
        failed(r, err);
    r->more(r);
}

/* ---- Fill ---- */

static void fill_more(struct run *r)
{
    static const char body[OBJECT_BYTES] = "benchmark object";
    char key[STORE_MAX_KEY + 1];
    while (r->err.code == STORE_OK && r->started < r->count &&
           r->started - r->ended < r->in_flight) {
        key_of(r, r->started, key);
        if (!store_put_bytes(r->store, r->loop, key, body, sizeof(body), NULL, one_done, r,
                             &r->err))
            return;
        r->started++;
    }
}

/* ---- Delete: batches that are known beforehand ---- */

static void prepare_keys(struct run *r)
{
    char key[STORE_MAX_KEY + 1];
    r->keys = xcalloc(r->count, sizeof(*r->keys));
    for (size_t i = 0; i < r->count; i++) {
        key_of(r, i, key);
        r->keys[i] = xstrdup(key);
    }
}

static size_t batch_size(const struct run *r, size_t batch)
{
    size_t left = r->count - batch * STORE_MAX_BATCH;
    return left < STORE_MAX_BATCH ? left : STORE_MAX_BATCH;
}

static void delete_more(struct run *r)
{
    enum { TIMEOUT_MS = 120000 };
    size_t batches = (r->count + STORE_MAX_BATCH - 1) / STORE_MAX_BATCH;
    while (r->err.code == STORE_OK && r->started < batches &&
           r->started - r->ended < r->in_flight) {
        const char *const *keys = (const char *const *)r->keys + r->started * STORE_MAX_BATCH;
        if (!store_delete_many(r->store, r->loop, keys, batch_size(r, r->started), TIMEOUT_MS,
                               one_done, r, &r->err))
            return;
        r->started++;
    }
}

/* ---- Purge ---- */

static void purge_done(void *user, const struct store_err *err, const struct store_progress *p)
{
    struct run *r = user;
    r->ended++;
    if (err->code != STORE_OK)
        failed(r, err);
    else if (p->objects != r->count)
        store_err_set(&r->err, STORE_CORRUPT, "%" PRIu64 " objects were there, expected %zu",
                      p->objects, r->count);
}

static void purge_start(struct run *r)
{
    static const struct store_delete_prefix_cb cb = {.done = purge_done};
    const struct store_delete_prefix_opts opts = {.batches_in_flight = (uint32_t)r->in_flight};
    if (store_delete_prefix(r->store, r->loop, r->prefix, &opts, &cb, r, &r->err))
        r->started++;
}

/* ---- Running ---- */

static int run_to_end(struct run *r)
{
    while (r->started > r->ended)
        if (store_loop_run(r->loop, -1, &r->err) != 0)
            return -1;
    return r->err.code == STORE_OK ? 0 : -1;
}

static int measure(struct run *r, void (*start)(struct run *r))
{
    struct usage began = usage_now();
    r->more = start;
    start(r);
    if (run_to_end(r) != 0)
        return -1;
    usage_print(began, r->count);
    return 0;
}

static void (*starter(struct run *r, const char *what))(struct run *r)
{
    if (strcmp(what, "fill") == 0)
        return fill_more;
    if (strcmp(what, "purge") == 0)
        return purge_start;
    if (strcmp(what, "delete") != 0)
        return NULL;
    prepare_keys(r);
    return delete_more;
}

int main(int argc, char **argv)
{
    struct run r = {.prefix = argc == 6 ? argv[3] : ""};
    if (argc != 6) {
        fprintf(stderr, "Usage: objects fill|delete|purge STORE_URL PREFIX COUNT IN_FLIGHT\n");
        return 2;
    }
    r.count = program_number("objects", argv[4], MAX_COUNT);
    r.in_flight = program_number("objects", argv[5], MAX_IN_FLIGHT);
    void (*start)(struct run *) = starter(&r, argv[1]);
    int rc = -1;
    if (!start)
        store_err_set(&r.err, STORE_INVALID, "'%s': expected fill, delete or purge", argv[1]);
    else if (store_open(argv[2], NULL, &r.store, &r.err) == 0 &&
             store_loop_new(&r.loop, &r.err) == 0)
        rc = measure(&r, start);
    if (rc != 0)
        fprintf(stderr, "objects: %s\n", r.err.msg);
    store_loop_free(r.loop);
    store_close(r.store);
    for (size_t i = 0; r.keys && i < r.count; i++)
        free(r.keys[i]);
    free(r.keys);
    return rc == 0 ? 0 : 1;
}
