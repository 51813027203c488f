/* transfer - GETs and PUTs through libstore, for the comparison with libcurl and a bare socket.
 *
 *     transfer get|put STORE_URL BYTES COUNT IN_FLIGHT [CA_FILE]
 *
 * One loop keeps IN_FLIGHT operations under way until COUNT are done; as many before them make the
 * connections and are not measured. Everything is libstore's default, so a put is signed with the
 * hash of its body, and a large one goes up in parts. Prints one line of JSON (program.h). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <store/store.h>

#include "base/xalloc.h"
#include "bench/program.h"

enum { PUT_FROM_MEMORY_MAX = 8 << 20, TIMEOUT_MS = 120000, KEY_SIZE = 128 };

struct run;

struct slot { /* one operation under way */
    struct run *run;
    uint64_t left; /* bytes to give, or to get */
};

struct run {
    struct transfer_args args;
    store *store;
    store_loop *loop;
    char key[KEY_SIZE];
    char *body;
    struct slot *slots, **idle;
    size_t n_idle;
    uint64_t limit, started;
    struct store_err err; /* the first failure */
};

static void start_more(struct run *r);

static void op_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct slot *s = user;
    struct run *r = s->run;
    (void)info;
    r->idle[r->n_idle++] = s;
    if (r->err.code != STORE_OK)
        return;
    if (err->code != STORE_OK)
        r->err = *err;
    else if (s->left)
        store_err_set(&r->err, STORE_CORRUPT, "%" PRIu64 " bytes are missing", s->left);
    else
        start_more(r);
}

static bool get_data(void *user, const void *bytes, size_t n)
{
    struct slot *s = user;
    (void)bytes;
    s->left -= n;
    return true;
}

static ssize_t put_read(void *user, void *buf, size_t cap)
{
    struct slot *s = user;
    size_t n = s->left < cap ? (size_t)s->left : cap;
    n = n < PUT_FROM_MEMORY_MAX ? n : PUT_FROM_MEMORY_MAX;
    memcpy(buf, s->run->body, n);
    s->left -= n;
    return (ssize_t)n;
}

static store_op *start_put(struct run *r, struct slot *s)
{
    static const struct store_put_cb cb = {.read = put_read, .done = op_done};
    const struct store_put_opts opts = {.timeout_ms = TIMEOUT_MS};
    uint64_t bytes = r->args.bytes;
    s->left = bytes <= PUT_FROM_MEMORY_MAX ? 0 : bytes;
    if (s->left)
        return store_put(r->store, r->loop, r->key, bytes, &opts, &cb, s, &r->err);
    return store_put_bytes(r->store, r->loop, r->key, r->body, (size_t)bytes, &opts, op_done, s,
                           &r->err);
}

static store_op *start_get(struct run *r, struct slot *s)
{
    static const struct store_get_cb cb = {.data = get_data, .done = op_done};
    const struct store_get_opts opts = {.timeout_ms = TIMEOUT_MS};
    s->left = r->args.bytes;
    return store_get(r->store, r->loop, r->key, &opts, &cb, s, &r->err);
}

static void start_more(struct run *r)
{
    while (r->err.code == STORE_OK && r->started < r->limit && r->n_idle) {
        struct slot *s = r->idle[r->n_idle - 1];
        if (!(r->args.put ? start_put(r, s) : start_get(r, s)))
            return;
        r->n_idle--;
        r->started++;
    }
}

static int run_phase(struct run *r, uint64_t count)
{
    r->limit += count;
    start_more(r);
    while (r->n_idle < r->args.in_flight)
        if (store_loop_run(r->loop, -1, &r->err) != 0)
            return -1;
    return r->err.code == STORE_OK ? 0 : -1;
}

static int open_all(struct run *r)
{
    const struct store_conf conf = {.ca_file = r->args.ca_file, .op_timeout_ms = TIMEOUT_MS};
    transfer_key(&r->args, r->key, sizeof(r->key));
    r->body = xcalloc(1, PUT_FROM_MEMORY_MAX);
    r->slots = xcalloc(r->args.in_flight, sizeof(*r->slots));
    r->idle = xcalloc(r->args.in_flight, sizeof(struct slot *));
    for (; r->n_idle < r->args.in_flight; r->n_idle++) {
        r->slots[r->n_idle].run = r;
        r->idle[r->n_idle] = &r->slots[r->n_idle];
    }
    if (store_open(r->args.where, &conf, &r->store, &r->err) != 0)
        return -1;
    return store_loop_new(&r->loop, &r->err);
}

int main(int argc, char **argv)
{
    struct run r = {0};
    transfer_args_read(&r.args, "transfer", argc, argv);
    int rc = open_all(&r);
    if (rc == 0)
        rc = run_phase(&r, r.args.in_flight);
    struct usage began = usage_now();
    if (rc == 0)
        rc = run_phase(&r, r.args.count);
    if (rc == 0)
        usage_print(began, r.args.count);
    else
        fprintf(stderr, "transfer: %s\n", r.err.msg);
    store_loop_free(r.loop);
    store_close(r.store);
    free(r.idle);
    free(r.slots);
    free(r.body);
    return rc == 0 ? 0 : 1;
}
