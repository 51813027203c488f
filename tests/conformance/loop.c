/* Loops: driven from outside, full of operations, one for each thread; and the blocking calls. */
#include "tests/conformance/conformance.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void a_loop_is_driven_by_its_descriptor_and_timeout(struct test *t)
{
    enum { SIZE = 500000 };
    uint64_t end_ms = t_now_ms() + WAIT_MS;
    struct result *put = t_put_start(t, "k", t_pattern(t, SIZE), SIZE, NULL), *get = NULL;
    while (!put->n_done || !get || !get->n_done) {
        struct pollfd pfd = {.fd = store_loop_fd(t->loop), .events = POLLIN};
        int timeout_ms = store_loop_timeout_ms(t->loop);
        int rc = poll(&pfd, 1, timeout_ms < 0 || timeout_ms > 5000 ? 5000 : timeout_ms);
        EXPECT(t, rc >= 0 && t_now_ms() < end_ms, "expected an end within %d s", WAIT_MS / 1000);
        t_run(t, t->loop, 0);
        struct store_err err = {0};
        EXPECT(t, store_loop_run(t->loop, 0, &err) == 0, "running the loop: %s", err.msg);
        if (put->n_done && !get)
            get = t_get_start(t, "k", NULL);
    }
    t_ok(put);
    t_is_pattern(t_ok(get), 0, SIZE);
}

static void an_idle_loop_does_not_wait_for_ever(struct test *t)
{
    uint64_t begin_ms = t_now_ms();
    struct store_err err = {0};
    EXPECT(t, store_loop_run(t->loop, 50, &err) == 0, "running the loop: %s", err.msg);
    EXPECT(t, t_now_ms() - begin_ms < 5000, "expected to wait about 50 ms");
}

static void many_operations_share_a_loop(struct test *t)
{
    enum { EACH = 150 };
    struct result *puts[EACH], *gets[EACH], *heads[EACH], *lists[EACH];
    t_put_text(t, "there", "0123456789");
    for (size_t i = 0; i < EACH; i++) {
        const char *key = t_printf(t, "k/%zu", i);
        puts[i] = t_put_start(t, key, key, strlen(key), NULL);
        gets[i] = t_get_start(t, i % 3 ? "there" : "missing", NULL);
        heads[i] = t_head_start(t, i % 3 ? "there" : "missing", 0);
        lists[i] = t_list_start(t, "there", &(struct store_list_opts){.bulk = i % 2});
    }
    for (size_t i = 0; i < EACH; i++) {
        enum store_code code = i % 3 ? STORE_OK : STORE_NOT_FOUND;
        t_ok(t_wait(puts[i]));
        t_code(t_wait(gets[i]), code);
        t_code(t_wait(heads[i]), code);
        t_ok(t_wait(lists[i]));
        EXPECT(t, lists[i]->n == 1, "%s: expected one key, came %zu", lists[i]->what, lists[i]->n);
    }
    EXPECT(t, t_list_all(t, "k/", NULL)->n == EACH, "expected %d keys", EACH);
}

static void freeing_a_loop_ends_what_is_under_way(struct test *t)
{
    enum { SIZE = 2 * MIB };
    store_loop *kept = t->loop, *own = NULL;
    struct store_err err = {0};
    t_ok(t_put(t, "k", t_pattern(t, SIZE), SIZE, NULL));
    EXPECT(t, store_loop_new(&own, &err) == 0, "making a loop: %s", err.msg);
    t->loop = own;
    const struct source source = {.size = 100000, .hold_at = 50000};
    struct result *all[] = {
        t_get_start(t, "k", NULL),
        t_put_start(t, "new", "x", 1, NULL),
        t_stream_start(t, "held", 100000, &source, NULL),
        t_list_start(t, "", NULL),
        t_head_start(t, "k", 0),
        t_purge_start(t, "none/", NULL, 0),
    };
    t->loop = kept;
    t_run(t, own, 3);
    store_loop_free(own);
    for (size_t i = 0; i < LEN(all); i++)
        EXPECT(t,
               all[i]->n_done == 1 &&
                   (all[i]->err.code == STORE_OK || all[i]->err.code == STORE_CANCELED),
               "%s: expected to end once, as canceled or ok, came %u times, %s", all[i]->what,
               all[i]->n_done, store_code_name(all[i]->err.code));
    t_absent(t, "held");
}

/* ---- Operations from inside call-backs ---- */

struct chain {
    struct test *t;
    size_t left;
    enum store_code code;
    bool done;
};

static void chain_on(void *user, const struct store_err *err, const struct store_info *info)
{
    struct chain *c = user;
    struct store_err refused = {0};
    (void)info;
    c->code = err->code;
    if (err->code != STORE_OK || c->left-- == 0) {
        c->done = true;
        return;
    }
    char key[32];
    snprintf(key, sizeof(key), "k/%zu", c->left);
    if (!store_put_bytes(c->t->s, c->t->loop, key, "x", 1, NULL, chain_on, c, &refused)) {
        c->code = refused.code;
        c->done = true;
    }
}

static void a_call_back_may_start_the_next_operation(struct test *t)
{
    enum { LINKS = 50 };
    struct chain *c = t_alloc(t, sizeof(*c));
    *c = (struct chain){.t = t, .left = LINKS};
    chain_on(c, &(struct store_err){.code = STORE_OK}, NULL);
    for (uint64_t end_ms = t_now_ms() + WAIT_MS; !c->done && t_now_ms() < end_ms;)
        t_run(t, t->loop, 5);
    EXPECT(t, c->done && c->code == STORE_OK, "expected %d puts in a row, came %s", LINKS,
           store_code_name(c->code));
    EXPECT(t, t_list_all(t, "k/", NULL)->n == LINKS, "expected %d keys", LINKS);
}

/* ---- Threads ---- */

struct worker {
    store *s;
    int number;
    char problem[300];
};

static void *work(void *user)
{
    enum { ROUNDS = 60 };
    struct worker *w = user;
    struct store_err err = {0};
    store_loop *loop = NULL;
    int rc = store_loop_new(&loop, &err);
    for (int i = 0; i < ROUNDS && rc == 0 && !w->problem[0]; i++) {
        char key[64];
        void *bytes = NULL;
        size_t size = 0;
        int n = snprintf(key, sizeof(key), "thread-%d/%d", w->number, i);
        rc = store_sync_put(w->s, loop, key, key, (size_t)n, NULL, NULL, NULL, &err);
        if (rc == 0)
            rc = store_sync_get(w->s, loop, key, sizeof(key), &bytes, &size, NULL, &err);
        if (rc == 0 && (size != (size_t)n || memcmp(bytes, key, size) != 0))
            snprintf(w->problem, sizeof(w->problem), "%s holds other bytes", key);
        free(bytes);
        if (rc == 0 && i % 3 == 0)
            rc = store_sync_delete(w->s, loop, key, &err);
    }
    if (rc != 0)
        snprintf(w->problem, sizeof(w->problem), "%s: %s", store_code_name(err.code), err.msg);
    store_loop_free(loop);
    return NULL;
}

static void threads_share_a_store_with_a_loop_each(struct test *t)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    int started = 0;
    for (; started < THREADS; started++) {
        workers[started] = (struct worker){.s = t->s, .number = started};
        if (pthread_create(&threads[started], NULL, work, &workers[started]) != 0)
            break;
    }
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    EXPECT(t, started == THREADS, "expected to start %d threads", THREADS);
    for (int i = 0; i < THREADS; i++)
        EXPECT(t, !workers[i].problem[0], "thread %d: %s", i, workers[i].problem);
    struct result *r = t_list_all(t, "thread-", NULL);
    EXPECT(t, r->n == THREADS * 40, "expected %d keys to be left, came %zu", THREADS * 40, r->n);
}

/* ---- Blocking calls ---- */

static void sync_ok(struct test *t, int rc, const struct store_err *err, const char *what)
{
    EXPECT(t, rc == 0, "%s: expected success, came %s: %s", what, store_code_name(err->code),
           err->msg);
}

static void count_page(void *user, const struct store_page *page)
{
    *(size_t *)user += page->n;
}

static void blocking_calls_work_with_and_without_a_loop(struct test *t)
{
    store_loop *loops[] = {NULL, t->loop};
    struct store_err err = {0};
    for (size_t i = 0; i < LEN(loops); i++) {
        static const char *const both[] = {"k", "copy"};
        store_loop *l = loops[i];
        char etag[STORE_ETAG_SIZE] = "", copied[STORE_ETAG_SIZE] = "";
        struct store_info info = {0};
        struct store_progress progress;
        void *bytes = NULL;
        size_t size = 0, listed = 0;
        sync_ok(t, store_sync_put(t->s, l, "k", "01234", 5, NULL, etag, &info, &err), &err, "put");
        EXPECT(t, etag[0] && info.size == 5, "put: expected an ETag and 5 bytes");
        sync_ok(t, store_sync_get(t->s, l, "k", 5, &bytes, &size, &info, &err), &err, "get");
        bool same = size == 5 && strcmp(bytes, "01234") == 0;
        free(bytes);
        EXPECT(t, same && info.size == 5, "get: expected 5 bytes and a NUL behind them");
        sync_ok(t, store_sync_head(t->s, l, "k", &info, &err), &err, "head");
        sync_ok(t, store_sync_copy(t->s, l, "k", "copy", NULL, copied, NULL, &err), &err, "copy");
        sync_ok(t, store_sync_list(t->s, l, "", NULL, count_page, &listed, &err), &err, "list");
        EXPECT(t, copied[0] && listed == 2, "list: expected 2 keys, came %zu", listed);
        sync_ok(t, store_sync_delete(t->s, l, "copy", &err), &err, "delete");
        sync_ok(t, store_sync_delete_many(t->s, l, both, 2, &err), &err, "delete many");
        sync_ok(t, store_sync_put(t->s, l, "p/k", "x", 1, NULL, NULL, NULL, NULL), &err, "put");
        sync_ok(t, store_sync_delete_prefix(t->s, l, "p/", NULL, NULL, NULL, &progress, &err), &err,
                "delete prefix");
        EXPECT(t, progress.objects == 1, "delete prefix: expected 1 object");
    }
}

static void blocking_calls_tell_their_errors(struct test *t)
{
    struct store_err err = {0};
    void *bytes = NULL;
    size_t size = 0;
    t_put_text(t, "k", "0123456789");
    int rc = store_sync_get(t->s, t->loop, "k", 9, &bytes, &size, NULL, &err);
    EXPECT(t, rc == -1 && err.code == STORE_INVALID,
           "get of 10 bytes into 9: expected invalid, came %s", store_code_name(err.code));
    rc = store_sync_get(t->s, t->loop, "missing", 9, &bytes, &size, NULL, &err);
    EXPECT(t, rc == -1 && err.code == STORE_NOT_FOUND, "get: expected not_found, came %s",
           store_code_name(err.code));
    rc = store_sync_head(t->s, NULL, "a//b", NULL, &err);
    EXPECT(t, rc == -1 && err.code == STORE_INVALID, "head: expected invalid, came %s",
           store_code_name(err.code));
    EXPECT(t, store_sync_head(t->s, NULL, "missing", NULL, NULL) == -1, "head: expected a failure");
}

static void requests_are_counted(struct test *t)
{
    struct store_stats before, after;
    store_stats(t->root, &before);
    t_put_text(t, "k", "x");
    t_holds_text(t, "k", "x");
    t_empty(t, "none/");
    store_stats(t->root, &after);
    EXPECT(t, after.requests >= before.requests + 3, "expected 3 requests or more, came %llu",
           (unsigned long long)(after.requests - before.requests));
    EXPECT(t, after.error_percent <= 100 && after.hedges_won <= after.hedges,
           "expected numbers that can be");
}

static const struct test_case cases[] = {
    CASE(a_loop_is_driven_by_its_descriptor_and_timeout),
    CASE(an_idle_loop_does_not_wait_for_ever),
    CASE(many_operations_share_a_loop),
    CASE(freeing_a_loop_ends_what_is_under_way),
    CASE(a_call_back_may_start_the_next_operation),
    CASE(threads_share_a_store_with_a_loop_each),
    CASE(blocking_calls_work_with_and_without_a_loop),
    CASE(blocking_calls_tell_their_errors),
    CASE(requests_are_counted),
};
const struct test_group loop_group = {"loop", cases, LEN(cases)};
