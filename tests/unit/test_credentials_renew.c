/* Credentials over time: renewal ahead of expiry, failures, refusals, and those who wait. Time is
 * put ahead, never waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <time.h>

#include "base/xalloc.h"
#include "tests/unit/credentials_asker.h"
#include "tests/unit/credentials_fixture.h"
#include "tests/unit/s3_peer.h"

#define MINUTE 60000

/* Valid for an hour, by the answer's own date. */
#define GOOD(id) VALID_UNTIL("01:00:00", id)
#define VALID_UNTIL(time, id)                                                               \
    {                                                                                       \
        .status = 200, .headers = "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n",                \
        .body = "{\"AccessKeyId\":\"" id "\",\"SecretAccessKey\":\"sk\",\"Token\":\"tok\"," \
                "\"Expiration\":\"2024-01-01T" time "Z\"}"                                  \
    }
#define DENIED        \
    {                 \
        .status = 403 \
    }

/* Pauses that end only when the clock is put ahead. */
enum { BACKOFF_MS = 60000, PAUSE_MS = 60000 };
static const struct credentials_timing timing = {.now_ms = fixture_now_ms,
                                                 .early_ms = 5 * MINUTE,
                                                 .pause_ms = PAUSE_MS,
                                                 .first_backoff_ms = BACKOFF_MS,
                                                 .max_backoff_ms = BACKOFF_MS,
                                                 .attempt_ms = 20000};

static struct peer peer;
static struct health *health;
static struct credentials *credentials;
static struct asker asker;

static void open_at(unsigned port)
{
    char url[64];
    struct store_err err = {0};
    assert_int_equal(health_new(&(struct store_conf){0}, "s3://b", &health, NULL), 0);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", port);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
    const struct credentials_conf conf = {.health = health};
    if (credentials_open_timed(&conf, &timing, &credentials, &err) != 0)
        fail_msg("%s", err.msg);
}

static void start(const struct step *script, size_t n)
{
    peer_start(&peer, script, n);
    open_at(peer.port);
    asker_start(&asker);
}

/* The peer must have been asked just so often. */
static void stop(size_t n_requests)
{
    asker_stop(&asker);
    credentials_close(credentials);
    health_free(health);
    peer_stop(&peer);
    assert_int_equal(peer.n_requests, n_requests);
    peer_cleanup(&peer);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void expect_ready(const char *access_key, uint64_t serial)
{
    assert_int_equal(asker_ask(&asker, credentials), CREDENTIALS_READY);
    assert_string_equal(asker.access_key, access_key);
    assert_int_equal(asker.serial, serial);
}

static void settle_ready(const char *access_key, uint64_t serial)
{
    if (asker_settle(&asker, credentials) != CREDENTIALS_READY)
        fail_msg("%s", asker.err.msg);
    assert_string_equal(asker.access_key, access_key);
    assert_int_equal(asker.serial, serial);
}

/* Credentials are there all the while. */
static void wait_for_serial(uint64_t serial)
{
    while (asker.serial < serial) {
        assert_int_equal(asker_ask(&asker, credentials), CREDENTIALS_READY);
        nap();
    }
}

static void wait_for_failures(uint64_t n)
{
    struct store_stats stats = {0};
    while (stats.credential_errors < n) {
        health_stats(health, 0, &stats);
        nap();
    }
    assert_int_equal(stats.credential_errors, n);
}

/* ---- Renewal ---- */

static void credentials_are_renewed_five_minutes_early_while_the_old_ones_serve(void **state)
{
    (void)state;
    static const struct step script[] = {GOOD("ONE"), GOOD("TWO")};
    start(script, LEN(script));
    settle_ready("ONE", 1);
    advance_ms(54 * MINUTE);
    expect_ready("ONE", 1);
    advance_ms(MINUTE);
    expect_ready("ONE", 1); /* and the thread goes to work */
    wait_for_serial(2);
    assert_string_equal(asker.access_key, "TWO");
    advance_ms(54 * MINUTE);
    expect_ready("TWO", 2);
    stop(2);
}

static void after_a_long_sleep_expired_ones_are_not_given_out(void **state)
{
    (void)state;
    static const struct step script[] = {GOOD("ONE"), GOOD("TWO")};
    start(script, LEN(script));
    settle_ready("ONE", 1);
    advance_ms(300 * MINUTE);
    assert_int_equal(asker_ask(&asker, credentials), CREDENTIALS_WAIT);
    settle_ready("TWO", 2);
    stop(2);
}

static void what_is_valid_for_less_than_the_margin_is_not_fetched_in_a_loop(void **state)
{
    (void)state;
    static const struct step script[] = {VALID_UNTIL("00:04:00", "ONE"), GOOD("TWO")};
    start(script, LEN(script));
    settle_ready("ONE", 1);
    advance_ms(MINUTE);
    expect_ready("ONE", 1);
    advance_ms(MINUTE); /* half of the time */
    wait_for_serial(2);
    stop(2);
}

static void what_does_not_expire_is_not_renewed(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200, .body = "{\"AccessKeyId\":\"ONE\",\"SecretAccessKey\":\"sk\"}"}};
    start(script, LEN(script));
    settle_ready("ONE", 1);
    advance_ms(1000ull * 24 * 60 * MINUTE);
    expect_ready("ONE", 1);
    stop(1);
}

/* ---- Failure ---- */

static void a_failed_renewal_leaves_the_old_ones_until_they_expire(void **state)
{
    (void)state;
    static const struct step script[] = {GOOD("ONE"), DENIED, DENIED, GOOD("TWO")};
    start(script, LEN(script));
    settle_ready("ONE", 1);
    advance_ms(56 * MINUTE);
    expect_ready("ONE", 1);
    wait_for_failures(1);
    expect_ready("ONE", 1);
    advance_ms(5 * MINUTE); /* expired */
    assert_int_equal(asker_settle(&asker, credentials), CREDENTIALS_FAILED);
    assert_int_equal(asker.err.code, STORE_DENIED);
    wait_for_failures(2);
    advance_ms(BACKOFF_MS);
    settle_ready("TWO", 2);
    stop(4);
}

static void between_attempts_a_failure_is_told_at_once_and_nobody_is_asked(void **state)
{
    (void)state;
    static const struct step script[] = {DENIED, GOOD("ONE")};
    start(script, LEN(script));
    assert_int_equal(asker_settle(&asker, credentials), CREDENTIALS_FAILED);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(asker_ask(&asker, credentials), CREDENTIALS_FAILED);
        assert_non_null(strstr(asker.err.msg, "answered 403"));
    }
    advance_ms(BACKOFF_MS);
    settle_ready("ONE", 1);
    stop(2);
}

/* ---- Refusal ---- */

static void refused_ones_are_renewed_and_waited_for(void **state)
{
    (void)state;
    static const struct step script[] = {GOOD("ONE"), GOOD("TWO")};
    start(script, LEN(script));
    settle_ready("ONE", 1);
    advance_ms(PAUSE_MS);
    assert_true(credentials_refused(credentials, 1));
    assert_true(credentials_refused(credentials, 1)); /* several requests tell the same */
    settle_ready("TWO", 2);
    assert_true(credentials_refused(credentials, 1)); /* a late one: newer are there */
    expect_ready("TWO", 2);
    stop(2);
}

static void fresh_ones_that_are_refused_as_well_are_not_fetched_in_a_loop(void **state)
{
    (void)state;
    static const struct step script[] = {GOOD("ONE"), GOOD("TWO")};
    start(script, LEN(script));
    settle_ready("ONE", 1);
    assert_true(credentials_refused(credentials, 1));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(asker_ask(&asker, credentials), CREDENTIALS_WAIT);
        nap();
    }
    advance_ms(PAUSE_MS);
    settle_ready("TWO", 2);
    stop(2);
}

static void refused_ones_are_not_given_out_when_renewal_fails(void **state)
{
    (void)state;
    static const struct step script[] = {GOOD("ONE"), DENIED, GOOD("TWO")};
    start(script, LEN(script));
    settle_ready("ONE", 1);
    advance_ms(PAUSE_MS);
    assert_true(credentials_refused(credentials, 1));
    assert_int_equal(asker_settle(&asker, credentials), CREDENTIALS_FAILED);
    advance_ms(BACKOFF_MS);
    settle_ready("TWO", 2);
    stop(3);
}

/* ---- Waiters ---- */

/* A peer that takes connections and says nothing until held_answer(). */
static int held_open(unsigned *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static void held_answer(int listener)
{
    static const struct step good = GOOD("ONE");
    static struct peer unused;
    struct request r = {.body = BUF_INIT(64)};
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    assert_true(peer_read_head(&unused, fd, &r));
    peer_answer(&unused, fd, &good, false);
    close(fd);
    buf_cleanup(&r.body);
}

enum { THREADS = 2, WAITERS = 8 };

struct crowd {
    pthread_t thread;
    atomic_int *n_waiting;
    struct asker askers[WAITERS]; /* all on the loop of the first */
    bool ok;
};

static bool wait_together(struct crowd *crowd)
{
    struct loop *l = crowd->askers[0].loop;
    for (size_t i = 0; i < WAITERS; i++) {
        if (asker_ask(&crowd->askers[i], credentials) != CREDENTIALS_WAIT)
            return false;
        atomic_fetch_add(crowd->n_waiting, 1);
    }
    for (size_t i = 0; i < WAITERS; i++)
        while (crowd->askers[i].woken == 0)
            loop_run_once(l, 10000, NULL);
    for (size_t i = 0; i < 3; i++)
        loop_run_once(l, 0, NULL);
    for (size_t i = 0; i < WAITERS; i++)
        if (crowd->askers[i].woken != 1 || crowd->askers[i].waiter.waiting ||
            asker_ask(&crowd->askers[i], credentials) != CREDENTIALS_READY ||
            strcmp(crowd->askers[i].access_key, "ONE") != 0)
            return false;
    return true;
}

static void *run_crowd(void *user)
{
    struct crowd *crowd = user;
    struct loop *l;
    if (loop_new(&l, NULL) != 0)
        return NULL;
    for (size_t i = 0; i < WAITERS; i++) {
        struct asker *a = &crowd->askers[i];
        a->loop = a->waiter.loop = l;
        a->waiter.task = (struct loop_task){.fn = asker_woken, .user = a};
    }
    crowd->ok = wait_together(crowd);
    loop_free(l);
    return NULL;
}

static void waiters_of_several_threads_share_one_request_and_are_woken_once(void **state)
{
    (void)state;
    unsigned port;
    int listener = held_open(&port);
    atomic_int n_waiting = 0;
    static struct crowd crowds[THREADS];
    open_at(port);
    for (size_t i = 0; i < THREADS; i++) {
        crowds[i] = (struct crowd){.n_waiting = &n_waiting};
        assert_int_equal(pthread_create(&crowds[i].thread, NULL, run_crowd, &crowds[i]), 0);
    }
    while (atomic_load(&n_waiting) < THREADS * WAITERS)
        nap();
    held_answer(listener);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(crowds[i].thread, NULL);
        assert_true(crowds[i].ok);
    }
    credentials_close(credentials);
    health_free(health);
    close(listener);
}

struct pair {
    struct asker first, second;
};

static void unwait_the_other(void *user)
{
    struct pair *p = user;
    p->first.woken++;
    credentials_unwait(credentials, &p->second.waiter);
}

static void who_stops_waiting_is_not_woken_in_any_state(void **state)
{
    (void)state;
    unsigned port;
    int listener = held_open(&port);
    struct pair p;
    struct asker early, late, onlooker;
    open_at(port);
    asker_start(&p.first);
    asker_start(&early);
    asker_start(&late);
    asker_start(&onlooker);
    p.second = p.first;
    p.first.waiter.task = (struct loop_task){.fn = unwait_the_other, .user = &p};
    p.second.waiter.task.user = &p.second;
    credentials_unwait(credentials, &early.waiter); /* never waited */
    assert_int_equal(asker_ask(&p.first, credentials), CREDENTIALS_WAIT);
    assert_int_equal(asker_ask(&p.second, credentials), CREDENTIALS_WAIT);
    assert_int_equal(asker_ask(&early, credentials), CREDENTIALS_WAIT);
    assert_int_equal(asker_ask(&late, credentials), CREDENTIALS_WAIT);
    credentials_unwait(credentials, &early.waiter); /* while nothing has come */
    held_answer(listener);
    assert_int_equal(asker_settle(&onlooker, credentials), CREDENTIALS_READY);
    credentials_unwait(credentials, &late.waiter); /* its loop knows already, but did not run */
    while (p.first.woken == 0)
        loop_run_once(p.first.loop, 10000, NULL);
    for (int i = 0; i < 3; i++) {
        loop_run_once(p.first.loop, 0, NULL);
        loop_run_once(early.loop, 0, NULL);
        loop_run_once(late.loop, 0, NULL);
    }
    assert_int_equal(p.first.woken, 1);
    assert_int_equal(p.second.woken, 0); /* its task was queued by then */
    assert_int_equal(early.woken, 0);
    assert_int_equal(late.woken, 0);
    asker_stop(&p.first);
    asker_stop(&early);
    asker_stop(&late);
    asker_stop(&onlooker);
    credentials_close(credentials);
    health_free(health);
    close(listener);
}

static void a_loop_may_outlive_credentials_that_it_waited_for(void **state)
{
    (void)state;
    unsigned port;
    int listener = held_open(&port);
    asker_start(&asker);
    for (int i = 0; i < 3; i++) { /* some get the same address */
        open_at(port);
        assert_int_equal(asker_ask(&asker, credentials), CREDENTIALS_WAIT);
        credentials_unwait(credentials, &asker.waiter);
        credentials_close(credentials);
        health_free(health);
    }
    loop_run_once(asker.loop, 0, NULL);
    assert_int_equal(asker.woken, 0);
    asker_stop(&asker);
    close(listener);
}

#define WITH_HOME(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HOME(credentials_are_renewed_five_minutes_early_while_the_old_ones_serve),
        WITH_HOME(after_a_long_sleep_expired_ones_are_not_given_out),
        WITH_HOME(what_is_valid_for_less_than_the_margin_is_not_fetched_in_a_loop),
        WITH_HOME(what_does_not_expire_is_not_renewed),
        WITH_HOME(a_failed_renewal_leaves_the_old_ones_until_they_expire),
        WITH_HOME(between_attempts_a_failure_is_told_at_once_and_nobody_is_asked),
        WITH_HOME(refused_ones_are_renewed_and_waited_for),
        WITH_HOME(fresh_ones_that_are_refused_as_well_are_not_fetched_in_a_loop),
        WITH_HOME(refused_ones_are_not_given_out_when_renewal_fails),
        WITH_HOME(waiters_of_several_threads_share_one_request_and_are_woken_once),
        WITH_HOME(who_stops_waiting_is_not_woken_in_any_state),
        WITH_HOME(a_loop_may_outlive_credentials_that_it_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
