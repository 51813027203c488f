/* A process that is stopped at the worst moment, between the last look of a put and its rename. Its
 * place takes a second store of the same folder whose only I/O thread is held in renameat() or
 * linkat(): the two have only the disk in common. */
#include "tests/unit/file_fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "base/xalloc.h"

enum { PROMPTLY_MS = 400, SOON_MS = 2000 };

/* ---- What holds a thread, and moves the clock ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool armed, held, open;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* The first one to come when it is armed stays here. */
static void pass_gate(void)
{
    pthread_mutex_lock(&gate.lock);
    if (gate.armed) {
        gate.armed = false;
        gate.held = true;
        pthread_cond_broadcast(&gate.changed);
        while (!gate.open)
            pthread_cond_wait(&gate.changed, &gate.lock);
        gate.held = false;
    }
    pthread_mutex_unlock(&gate.lock);
}

static void open_gate(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.armed = false;
    gate.open = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

int renameat(int from, const char *old, int to, const char *new)
{
    pass_gate();
    return (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    pass_gate();
    return (int)syscall(SYS_linkat, from, old, to, new, flags);
}

static atomic_long shift_s;

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, t);
    if (clock == CLOCK_REALTIME)
        t->tv_sec += atomic_load(&shift_s);
    return rc;
}

/* ---- The stopped one ---- */

struct stopped {
    store *s;
    store_loop *loop;
    struct outcome o;
};

static store *open_beside(struct fixture *f, uint32_t io_threads)
{
    char url[100];
    store *s;
    const struct store_conf conf = {.io_threads = io_threads};
    snprintf(url, sizeof(url), "file://%s", f->root);
    assert_int_equal(store_open(url, &conf, &s, NULL), 0);
    return s;
}

/* Stops in the middle of a put of "theirs". */
static void stop_in_put(struct fixture *f, struct stopped *p, const char *key,
                        const struct store_put_opts *opts)
{
    p->s = open_beside(f, 1);
    assert_int_equal(store_loop_new(&p->loop, NULL), 0);
    outcome_init(&p->o);
    pthread_mutex_lock(&gate.lock);
    gate.armed = true;
    gate.open = false;
    pthread_mutex_unlock(&gate.lock);
    assert_non_null(
        store_put_bytes(p->s, p->loop, key, "theirs", 6, opts, outcome_done, &p->o, NULL));
    /* A put that fails before would never come there. */
    const struct timespec limit = {.tv_sec = time(NULL) + 10};
    pthread_mutex_lock(&gate.lock);
    int rc = 0;
    while (rc == 0 && !gate.held)
        rc = pthread_cond_timedwait(&gate.changed, &gate.lock, &limit);
    pthread_mutex_unlock(&gate.lock);
    assert_int_equal(rc, 0);
}

/* Lets it go on to its end. Returns the put's code. */
static enum store_code let_go(struct stopped *p)
{
    open_gate();
    while (!p->o.done)
        store_loop_run(p->loop, 20, NULL);
    store_loop_free(p->loop);
    store_close(p->s);
    outcome_cleanup(&p->o);
    return p->o.err.code;
}

static uint64_t began_ms;

static void begin_to_measure(void)
{
    began_ms = clock_mono_ms();
}

static void assert_took_less_than(uint64_t limit_ms)
{
    uint64_t took_ms = clock_mono_ms() - began_ms;
    if (took_ms >= limit_ms)
        fail_msg("it took %" PRIu64 " ms, expected less than %" PRIu64, took_ms, limit_ms);
}

static enum store_code put_within(struct fixture *f, const char *key, const char *if_match,
                                  uint32_t timeout_ms)
{
    struct outcome o;
    const struct store_put_opts opts = {.if_match = if_match, .timeout_ms = timeout_ms};
    enum store_code code = put(f, key, "ours", 4, &opts, &o);
    outcome_cleanup(&o);
    return code;
}

/* Blocked by somebody else until its deadline, which the loop or the I/O thread may see first. */
static void assert_blocks(enum store_code code)
{
    assert_true(code == STORE_BUSY || code == STORE_TIMEOUT);
}

static void etag_of(struct fixture *f, const char *key, char etag[STORE_ETAG_SIZE])
{
    struct outcome o;
    assert_int_equal(head(f, key, &o), STORE_OK);
    memcpy(etag, o.etag, STORE_ETAG_SIZE);
    outcome_cleanup(&o);
}

/* ---- Uploads that expire ---- */

static void what_expired_never_appears(void **state)
{
    struct fixture *f = *state;
    for (int absent = 0; absent <= 1; absent++) {
        struct stopped p;
        struct listing l;
        const int64_t now_s = (int64_t)time(NULL);
        const struct store_put_opts opts = {
            .signed_at_s = now_s, .expires_in_s = 5, .timeout_ms = 30000, .if_absent = absent};
        stop_in_put(f, &p, "d/k", &opts);
        list_all(f, "", (struct store_list_opts){0}, &l); /* not yet: it may still come */
        assert_int_equal(count_on_disk(f, FILE_TMP_NAME), 1);
        listing_cleanup(&l);
        atomic_store(&shift_s, 36);
        list_all(f, "", (struct store_list_opts){0}, &l);
        assert_true(l.server_time_s >= now_s + 36 && l.server_time_s <= now_s + 60);
        assert_int_equal(l.n, 0);
        listing_cleanup(&l);
        assert_no_temporary_files(f);
        atomic_store(&shift_s, 0); /* even so */
        assert_int_equal(let_go(&p), STORE_EXPIRED);
        assert_int_equal(code_of_get(f, "d/k", NULL), STORE_NOT_FOUND);
        assert_int_equal(count_on_disk(f, ""), 2);
    }
}

static void make_temporary(struct fixture *f, int64_t latest_ms, const char *rest)
{
    char name[128];
    snprintf(name, sizeof(name), "%s/%016" PRIx64 "%s", FILE_TMP_NAME, (uint64_t)latest_ms, rest);
    make_file(disk_path(f, name), "x");
}

#define REST "-0000000000000000-0123456789abcdef-0000000000000001"

static void only_what_expired_is_removed(void **state)
{
    struct fixture *f = *state;
    const int64_t now_ms = (int64_t)clock_real_ms();
    make_temporary(f, now_ms - 1, REST);
    make_temporary(f, 1, REST);
    assert_int_equal(count_keys(f, "none/"), 0);
    assert_no_temporary_files(f);
    make_temporary(f, 0, REST); /* it does not expire */
    make_temporary(f, now_ms + 60000, REST);
    make_temporary(f, INT64_MAX, REST);
    make_temporary(f, 1, REST "0"); /* not one of ours */
    make_temporary(f, 1, "-");
    make_temporary(f, 1, "_0000000000000000-0123456789abcdef-0000000000000001");
    make_temporary(f, 1, "-00000000000000000012345678-abcdef-0000000000000001");
    make_file(disk_path(f, FILE_TMP_NAME "/123-18c-0"), "x"); /* of an earlier version */
    assert_int_equal(count_keys(f, ""), 0);
    assert_int_equal(count_on_disk(f, FILE_TMP_NAME), 8);
}

/* ---- Nobody waits ---- */

static void a_stopped_put_costs_others_nothing(void **state)
{
    struct fixture *f = *state;
    const char *keys[] = {"d/other", "d/k", "d/none"};
    struct stopped p;
    struct outcome o;
    stop_in_put(f, &p, "d/k", NULL);
    begin_to_measure();
    assert_int_equal(count_keys(f, ""), 0);
    assert_int_equal(put_text(f, "d/other", "x"), STORE_OK);
    assert_int_equal(put_text(f, "d/k", "x"), STORE_OK);
    assert_int_equal(copy(f, "d/other", "d/k", NULL, &o), STORE_OK);
    outcome_cleanup(&o);
    assert_content(f, "d/k", "x");
    assert_int_equal(remove_object(f, "d/k"), STORE_OK);
    assert_int_equal(store_sync_delete_many(f->s, f->loop, keys, LEN(keys), NULL), 0);
    assert_int_equal(count_keys(f, ""), 0);
    assert_took_less_than(PROMPTLY_MS);
    assert_int_equal(let_go(&p), STORE_OK);
    assert_content(f, "d/k", "theirs");
}

static void a_stopped_comparison_costs_others_nothing(void **state)
{
    struct fixture *f = *state;
    char etag[STORE_ETAG_SIZE];
    struct stopped p;
    assert_int_equal(put_text(f, "d/k", "x"), STORE_OK);
    etag_of(f, "d/k", etag);
    stop_in_put(f, &p, "d/k", &(struct store_put_opts){.if_match = etag});
    begin_to_measure();
    assert_int_equal(count_keys(f, ""), 1);
    assert_content(f, "d/k", "x");
    assert_int_equal(put_text(f, "d/other", "x"), STORE_OK);
    assert_int_equal(remove_object(f, "d/other"), STORE_OK);
    assert_took_less_than(PROMPTLY_MS);
    assert_int_equal(let_go(&p), STORE_OK);
    assert_content(f, "d/k", "theirs");
}

/* ---- Puts of one key ---- */

static void puts_do_not_come_into_a_comparison(void **state)
{
    struct fixture *f = *state;
    char etag[STORE_ETAG_SIZE];
    struct stopped p;
    struct outcome o;
    assert_int_equal(put_text(f, "d/k", "x"), STORE_OK);
    etag_of(f, "d/k", etag);
    stop_in_put(f, &p, "d/k", &(struct store_put_opts){.if_match = etag});
    assert_blocks(put_within(f, "d/k", NULL, 60));
    assert_blocks(put_within(f, "d/k", etag, 60));
    assert_int_equal(put_within(f, "d/k2", NULL, 60), STORE_OK);
    assert_blocks(copy(f, "d/k2", "d/k", &(struct store_copy_opts){.timeout_ms = 60}, &o));
    outcome_cleanup(&o);
    assert_int_equal(count_on_disk(f, FILE_TMP_NAME), 1);
    /* One that waits sees its cancel. */
    outcome_init(&o);
    store_op *op = store_put_bytes(f->s, f->loop, "d/k", "x", 1, NULL, outcome_done, &o, NULL);
    store_loop_run(f->loop, 5, NULL);
    store_op_cancel(op);
    assert_int_equal(finish(f, op, &o), STORE_CANCELED);
    outcome_cleanup(&o);
    assert_int_equal(let_go(&p), STORE_OK);
    assert_content(f, "d/k", "theirs");
    assert_no_temporary_files(f);
}

static void a_comparison_does_not_come_into_a_put(void **state)
{
    struct fixture *f = *state;
    char etag[STORE_ETAG_SIZE];
    struct stopped p;
    assert_int_equal(put_text(f, "k", "x"), STORE_OK);
    etag_of(f, "k", etag);
    stop_in_put(f, &p, "k", NULL);
    assert_blocks(put_within(f, "k", etag, 60));
    assert_int_equal(let_go(&p), STORE_OK);
    assert_int_equal(put_within(f, "k", etag, 0), STORE_PRECONDITION);
    assert_int_equal(remove_object(f, "k"), STORE_OK);
    stop_in_put(f, &p, "k", &(struct store_put_opts){.if_absent = true});
    assert_int_equal(put_text(f, "k", "x"), STORE_OK);
    assert_blocks(put_within(f, "k", etag, 60));
    assert_int_equal(let_go(&p), STORE_PRECONDITION);
    assert_int_equal(put_within(f, "k", etag, 0), STORE_OK);
}

/* Of puts that two processes begin at once, each with many threads. */
static void one_of_many_replaces(void **state)
{
    struct fixture *f = *state;
    enum { ROUNDS = 10, RIVALS = 16 };
    store *s[2] = {open_beside(f, 8), open_beside(f, 8)};
    char etag[STORE_ETAG_SIZE];
    assert_int_equal(put_text(f, "k", "first"), STORE_OK);
    for (int round = 0; round < ROUNDS; round++) {
        struct outcome o[RIVALS];
        unsigned winners = 0;
        etag_of(f, "k", etag);
        const struct store_put_opts opts = {.if_match = etag};
        for (int i = 0; i < RIVALS; i++) {
            char body[40];
            outcome_init(&o[i]);
            int n = snprintf(body, sizeof(body), "round %d rival %d", round, i);
            store_put_bytes(s[i % 2], f->loop, "k", body, (size_t)n, &opts, outcome_done, &o[i],
                            NULL);
        }
        for (int i = 0; i < RIVALS; i++) {
            while (!o[i].done)
                run_round(f);
            winners += o[i].err.code == STORE_OK;
            assert_true(o[i].err.code == STORE_OK || o[i].err.code == STORE_PRECONDITION);
            outcome_cleanup(&o[i]);
        }
        assert_int_equal(winners, 1);
    }
    store_loop_free(f->loop);
    store_close(s[0]);
    store_close(s[1]);
    assert_int_equal(store_loop_new(&f->loop, NULL), 0);
}

/* ---- Deletes of a key that is being replaced ---- */

static void a_delete_waits_for_a_comparison(void **state)
{
    struct fixture *f = *state;
    char etag[STORE_ETAG_SIZE];
    struct stopped p;
    struct outcome o;
    assert_int_equal(put_text(f, "d/k", "x"), STORE_OK);
    etag_of(f, "d/k", etag);
    stop_in_put(f, &p, "d/k", &(struct store_put_opts){.if_match = etag});
    outcome_init(&o);
    store_op *op = store_delete(f->s, f->loop, "d/k", 0, outcome_done, &o, NULL);
    for (int i = 0; i < 5; i++)
        store_loop_run(f->loop, 10, NULL);
    assert_false(o.done);
    assert_int_equal(access(disk_path(f, "d/k%o"), F_OK), 0);
    assert_int_equal(let_go(&p), STORE_OK); /* it won; and then the delete came */
    assert_int_equal(finish(f, op, &o), STORE_OK);
    outcome_cleanup(&o);
    assert_int_equal(code_of_get(f, "d/k", NULL), STORE_NOT_FOUND);
}

static ssize_t pause_for_ever(void *user, void *buf, size_t cap)
{
    (void)user;
    (void)buf;
    (void)cap;
    return STORE_READ_PAUSE;
}

static void a_delete_ends_a_stopped_comparison(void **state)
{
    struct fixture *f = *state;
    enum { BATCH = 4 };
    const char *keys[BATCH] = {"d/a", "d/k", "e/a", "e/none"};
    char etag[STORE_ETAG_SIZE], other[STORE_ETAG_SIZE];
    struct stopped p;
    struct outcome o, plain;
    for (int i = 0; i < BATCH - 1; i++)
        assert_int_equal(put_text(f, keys[i], keys[i]), STORE_OK);
    assert_int_equal(put_text(f, "z", "x"), STORE_OK);
    etag_of(f, "d/k", etag);
    etag_of(f, "z", other);
    stop_in_put(f, &p, "d/k", &(struct store_put_opts){.if_match = etag});
    /* On their way, with their temporary files made: no business of this delete. */
    static const struct store_put_cb stuck = {pause_for_ever, outcome_done};
    const struct store_put_opts opts = {.if_match = other};
    outcome_init(&o);
    outcome_init(&plain);
    store_op *op = store_put(f->s, f->loop, "z", 1, &opts, &stuck, &o, NULL);
    store_op *plain_op = store_put(f->s, f->loop, "d/k", 1, NULL, &stuck, &plain, NULL);
    while (count_on_disk(f, FILE_TMP_NAME) < 3)
        run_round(f);
    begin_to_measure();
    assert_int_equal(store_sync_delete_many(f->s, f->loop, keys, BATCH, NULL), 0);
    assert_took_less_than(SOON_MS);
    assert_int_equal(count_keys(f, ""), 1);
    assert_int_equal(count_on_disk(f, FILE_TMP_NAME), 2);
    assert_int_equal(let_go(&p), STORE_BUSY);
    assert_int_equal(count_keys(f, ""), 1);
    store_op_cancel(op);
    store_op_cancel(plain_op);
    finish(f, op, &o);
    finish(f, plain_op, &plain);
    outcome_cleanup(&o);
    outcome_cleanup(&plain);
}

/* ---- Temporary files that a hand removes ---- */

static void a_lost_temporary_file_is_told(void **state)
{
    struct fixture *f = *state;
    struct stopped p;
    char tmp[96];
    stop_in_put(f, &p, "d/k", NULL);
    snprintf(tmp, sizeof(tmp), "%s", disk_path(f, FILE_TMP_NAME));
    nftw(tmp, remove_entry, 32, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(count_keys(f, ""), 0);
    assert_int_equal(put_text(f, "d/other", "x"), STORE_OK); /* which makes the folder anew */
    assert_int_equal(access(tmp, F_OK), 0);
    assert_int_equal(let_go(&p), STORE_BUSY);
    assert_int_equal(nftw(tmp, remove_entry, 32, FTW_DEPTH | FTW_PHYS), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(put_text(f, "d/k", "x"), STORE_OK);
    assert_int_equal(count_keys(f, ""), 2);
    assert_no_temporary_files(f);
}

/* Also when a test failed half-way. */
static int end(void **state)
{
    atomic_store(&shift_s, 0);
    open_gate();
    return teardown(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_expired_never_appears),
        TEST(only_what_expired_is_removed),
        TEST(a_stopped_put_costs_others_nothing),
        TEST(a_stopped_comparison_costs_others_nothing),
        TEST(puts_do_not_come_into_a_comparison),
        TEST(a_comparison_does_not_come_into_a_put),
        TEST(one_of_many_replaces),
        TEST(a_delete_waits_for_a_comparison),
        TEST(a_delete_ends_a_stopped_comparison),
        TEST(a_lost_temporary_file_is_told),
    };
    return cmocka_run_group_tests_name("file_freeze", tests, NULL, NULL);
}
