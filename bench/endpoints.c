/* endpoints - fills endpoints with a few files each and removes them again by the bare S3 requests
 * that the janitor's protocol needs: no events, no lease, no waiting, no completion.
 *
 *     endpoints fill|delete STORE_URL MARK COUNT IN_FLIGHT
 *
 * Endpoint I is ep-bench, generation 1, of the tenant and timeline MARK (8 hex digits) and I (24).
 * fill    stores FILES objects of 16 bytes for each.
 * delete  for each, one after the other: tombstone (PUT If-None-Match), intent (the same), sweep
 *         (listing of unfinished uploads, listing, DeleteObjects), verification (listing), removal
 *         of the intent. IN_FLIGHT endpoints at a time.
 *
 * Prints one line of JSON (program.h). Credentials as libstore takes them from the environment. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <store/store.h>

#include "base/xalloc.h"
#include "bench/program.h"

enum { FILES = 3, MAX_COUNT = 1000 * 1000, MAX_IN_FLIGHT = 1024, MARK_DIGITS = 8 };
/* What the janitor's have, about. */
enum { TOMBSTONE_BYTES = 300, INTENT_BYTES = 700 };

struct endpoint;

struct run {
    store *store;
    store_loop *loop;
    const char *mark;
    const char *body; /* of INTENT_BYTES */
    size_t count, in_flight, begun, ended;
    void (*step)(struct endpoint *e); /* starts the next request of an endpoint, or ends it */
    struct store_err err;             /* the first failure */
};

struct endpoint {
    struct run *run;
    size_t number;
    unsigned steps; /* behind it */
};

/* ---- Keys ---- */

static void put_id(const struct endpoint *e, char id[33])
{
    snprintf(id, 33, "%s%024zu", e->run->mark, e->number);
}

/* All generations of the endpoint, as the janitor lists it. */
static void put_prefix(const struct endpoint *e, char key[STORE_MAX_KEY + 1])
{
    char id[33];
    put_id(e, id);
    snprintf(key, STORE_MAX_KEY + 1, "tenants/%s/timelines/%s/endpoints/ep-bench/", id, id);
}

static void put_file(const struct endpoint *e, unsigned i, char key[STORE_MAX_KEY + 1])
{
    put_prefix(e, key);
    size_t n = strlen(key);
    snprintf(key + n, STORE_MAX_KEY + 1 - n, "%016x/pgdata/base/1/%u", 1, i);
}

static void put_tombstone(const struct endpoint *e, char key[STORE_MAX_KEY + 1])
{
    char id[33];
    put_id(e, id);
    snprintf(key, STORE_MAX_KEY + 1, "tombstones/endpoint/%s/%s/ep-bench/fffffffffffffffe", id, id);
}

/* As long as the janitor's, which are hashes. */
static void put_intent(const struct endpoint *e, char key[STORE_MAX_KEY + 1])
{
    char id[33];
    put_id(e, id);
    snprintf(key, STORE_MAX_KEY + 1, "intents/%s%s", id, id);
}

/* ---- Moving on ---- */

static void over(struct endpoint *e, const struct store_err *err)
{
    struct run *r = e->run;
    if (err && err->code != STORE_OK && r->err.code == STORE_OK)
        r->err = *err;
    r->ended++;
    free(e);
}

/* What a step ends with: op NULL: it could not be started. */
static void started(struct endpoint *e, const store_op *op, const struct store_err *err)
{
    if (!op)
        over(e, err);
}

static void begin_more(struct run *r)
{
    while (r->err.code == STORE_OK && r->begun < r->count && r->begun - r->ended < r->in_flight) {
        struct endpoint *e = xcalloc(1, sizeof(*e));
        *e = (struct endpoint){.run = r, .number = r->begun++};
        r->step(e);
    }
}

static void moved(struct endpoint *e, const struct store_err *err)
{
    struct run *r = e->run;
    e->steps++;
    if (err->code != STORE_OK || r->err.code != STORE_OK)
        over(e, err);
    else
        r->step(e);
    begin_more(r);
}

static void request_done(void *user, const struct store_err *err, const struct store_info *info)
{
    (void)info;
    moved(user, err);
}

static void purge_done(void *user, const struct store_err *err, const struct store_progress *p)
{
    struct endpoint *e = user;
    struct store_err why = *err;
    uint64_t expected = e->steps == 2 ? FILES : 0; /* sweep, verification */
    if (why.code == STORE_OK && p->objects != expected)
        store_err_set(&why, STORE_CORRUPT, "%llu files were there, expected %llu",
                      (unsigned long long)p->objects, (unsigned long long)expected);
    moved(e, &why);
}

/* ---- Requests ---- */

static void put_object(struct endpoint *e, const char *key, size_t size, bool if_absent)
{
    const struct store_put_opts opts = {.content_type = "application/json", .if_absent = if_absent};
    const struct run *r = e->run;
    struct store_err err;
    started(e, store_put_bytes(r->store, r->loop, key, r->body, size, &opts, request_done, e, &err),
            &err);
}

static void purge(struct endpoint *e, bool uploads)
{
    static const struct store_delete_prefix_cb cb = {.done = purge_done};
    char prefix[STORE_MAX_KEY + 1], bound[STORE_MAX_KEY + 1];
    const struct run *r = e->run;
    struct store_err err;
    put_prefix(e, prefix);
    snprintf(bound, sizeof(bound), "%.300s%016x/", prefix, 2);
    const struct store_delete_prefix_opts opts = {
        .end_before = bound, .versions = true, .uploads = uploads};
    started(e, store_delete_prefix(r->store, r->loop, prefix, &opts, &cb, e, &err), &err);
}

static void remove_intent(struct endpoint *e)
{
    char key[STORE_MAX_KEY + 1];
    struct store_err err;
    put_intent(e, key);
    started(e, store_delete(e->run->store, e->run->loop, key, 0, request_done, e, &err), &err);
}

/* ---- What is done with each ---- */

static void fill_step(struct endpoint *e)
{
    char key[STORE_MAX_KEY + 1];
    if (e->steps == FILES) {
        over(e, NULL);
        return;
    }
    put_file(e, e->steps, key);
    put_object(e, key, 16, false);
}

static void delete_step(struct endpoint *e)
{
    char key[STORE_MAX_KEY + 1];
    switch (e->steps) {
    case 0:
        put_tombstone(e, key);
        put_object(e, key, TOMBSTONE_BYTES, true);
        break;
    case 1:
        put_intent(e, key);
        put_object(e, key, INTENT_BYTES, true);
        break;
    case 2: purge(e, true); break;
    case 3: purge(e, false); break;
    case 4: remove_intent(e); break;
    default: over(e, NULL);
    }
}

/* ---- Running ---- */

static int run_to_end(struct run *r)
{
    struct usage began = usage_now();
    begin_more(r);
    while (r->begun > r->ended)
        if (store_loop_run(r->loop, -1, &r->err) != 0)
            return -1;
    if (r->err.code != STORE_OK)
        return -1;
    usage_print(began, r->count);
    return 0;
}

static int read_args(struct run *r, int argc, char **argv)
{
    if (argc != 6 || strlen(argv[3]) != MARK_DIGITS)
        return -1;
    if (strcmp(argv[1], "fill") != 0 && strcmp(argv[1], "delete") != 0)
        return -1;
    r->step = argv[1][0] == 'f' ? fill_step : delete_step;
    r->mark = argv[3];
    r->count = program_number("endpoints", argv[4], MAX_COUNT);
    r->in_flight = program_number("endpoints", argv[5], MAX_IN_FLIGHT);
    return 0;
}

int main(int argc, char **argv)
{
    static char body[INTENT_BYTES];
    struct run r = {.body = memset(body, ' ', sizeof(body))};
    if (read_args(&r, argc, argv) != 0) {
        fprintf(stderr, "Usage: endpoints fill|delete STORE_URL MARK COUNT IN_FLIGHT\n");
        return 2;
    }
    int rc = store_open(argv[2], NULL, &r.store, &r.err);
    if (rc == 0)
        rc = store_loop_new(&r.loop, &r.err);
    if (rc == 0)
        rc = run_to_end(&r);
    if (rc != 0)
        fprintf(stderr, "endpoints: %s\n", r.err.msg);
    store_loop_free(r.loop);
    store_close(r.store);
    return rc == 0 ? 0 : 1;
}
