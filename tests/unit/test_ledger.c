/* The ledger against a real redis-server, which is started here on a free port of 127.0.0.1 and
 * ends with this program. Without redis-server the tests are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/ledger.h"
#include "tests/unit/redis_fixture.h"

enum { TIMEOUT_MS = 400, LEASE_MS = 30000 };

static struct redis_server server;
static char url[64];

/* ---- The server ---- */

/* Returns when all its threads stand still. */
static void pause_server(void)
{
    int status;
    kill(server.pid, SIGSTOP);
    assert_int_equal(waitpid(server.pid, &status, WUNTRACED), server.pid);
    assert_true(WIFSTOPPED(status));
}

/* A command of the test's own, over a plain socket; out gets the raw answer. */
static void redis(const char *line, char *out, size_t size)
{
    assert_true(redis_ask(&server, line, out, size));
}

static void assert_redis(const char *line, const char *answer)
{
    char out[512];
    redis(line, out, sizeof(out));
    if (strncmp(out, answer, strlen(answer)) != 0)
        fail_msg("%s: %s", line, out);
}

static int setup(void **state)
{
    (void)state;
    redis_launch(&server, NULL);
    snprintf(url, sizeof(url), "redis://127.0.0.1:%d", server.port);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    redis_end(&server);
    return 0;
}

static int flush(void **state)
{
    (void)state;
    if (server.pid > 0)
        assert_redis("FLUSHALL", "+OK");
    return 0;
}

static struct ledger *open_at(const char *at)
{
    struct ledger *l = NULL;
    struct store_err err = {0};
    if (ledger_open(at, TIMEOUT_MS, &l, &err))
        fail_msg("%s", err.msg);
    return l;
}

static struct ledger *open_ledger(void)
{
    if (server.pid <= 0) {
        print_message("redis-server is not installed: skipped\n");
        skip();
    }
    return open_at(url);
}

#define JOB "aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999"

static struct ledger_job job_named(const char *id)
{
    struct ledger_job job = {.scope = "tenants/t", .upto_gen = "7", .accepted_at_s = 1767323045};
    snprintf(job.job_id, sizeof(job.job_id), "%s", id);
    return job;
}

/* ---- URLs ---- */

static void urls(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool ok;
    } cases[] = {
        {NULL, true},
        {"", true},
        {"redis://localhost", true},
        {"REDIS://localhost/", true},
        {"redis://127.0.0.1:6380/3", true},
        {"redis://[::1]", true},
        {"redis://[::1]:6380/0", true},
        {"redis://:secret@host", true},
        {"redis://user:se%40cr%3Aet@host:1/2", true},
        {"redis://", false},
        {"redis:///0", false},
        {"redis://host:", false},
        {"redis://host:0", false},
        {"redis://host:65536", false},
        {"redis://host:6379x", false},
        {"redis://host/x", false},
        {"redis://host/1/2", false},
        {"redis://host?db=1", false},
        {"redis://[::1", false},
        {"redis://[::1]6379", false},
        {"redis://user@host", false},
        {"redis://:hunter2%zz@host", false},
        {"redis://:hunter2@", false},
        {"redis://host,host", false},
        {"http://host", false},
        {"host:6379", false},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct ledger *l = NULL;
        struct store_err err = {0};
        print_message("%s\n", cases[i].url ? cases[i].url : "NULL");
        assert_int_equal(ledger_open(cases[i].url, 100, &l, &err), cases[i].ok ? 0 : -1);
        assert_int_equal(err.code, cases[i].ok ? STORE_OK : STORE_INVALID);
        assert_null(strstr(err.msg, "hunter2"));
        ledger_close(l);
    }
}

static void no_ledger_at_all(void **state)
{
    (void)state;
    struct ledger *l = open_at(NULL);
    struct ledger_job job = job_named(JOB), jobs[2];
    size_t n = 2;
    assert_false(ledger_up(l));
    assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), LEDGER_DOWN);
    assert_string_equal(job.scope, "tenants/t"); /* untouched */
    assert_int_equal(ledger_save(l, LEASE_MS, &job), LEDGER_DOWN);
    assert_int_equal(ledger_finish(l, &job, 60), LEDGER_DOWN);
    assert_int_equal(ledger_recent(l, jobs, &n), LEDGER_DOWN);
    assert_int_equal(n, 0);
    ledger_close(l);
}

/* ---- The life of a job ---- */

static void a_job_from_claim_to_end(void **state)
{
    (void)state;
    struct ledger *l = open_ledger();
    struct ledger_job job = job_named(JOB), seen;
    assert_true(ledger_up(l));
    assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_NONE);
    assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), LEDGER_OK);
    assert_string_equal(job.state, "accepted");
    assert_string_equal(job.owner, "me");
    assert_string_equal(job.upto_gen, "7");
    assert_int_equal(job.fence, 1);
    assert_int_equal(job.attempts, 1);
    assert_true(job.started_at_s > 1700000000);
    assert_in_range(job.lease_ms_left, LEASE_MS - 5000, LEASE_MS);
    assert_redis("ZSCORE epufs:open " JOB, "$10\r\n1767323045");
    assert_redis("TTL epufs:job:{" JOB "}", ":25"); /* 30 days */

    strcpy(job.state, "sweeping");
    strcpy(job.cursor, "tenants/t/a b\n\xc3\xa9\"");
    strcpy(job.error, "slow down");
    job.files = UINT64_MAX;
    job.bytes = 1ULL << 60;
    assert_int_equal(ledger_save(l, LEASE_MS, &job), LEDGER_OK);
    assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_OK);
    assert_string_equal(seen.job_id, JOB);
    assert_string_equal(seen.scope, "tenants/t");
    assert_string_equal(seen.state, "sweeping");
    assert_string_equal(seen.cursor, job.cursor);
    assert_string_equal(seen.error, "slow down");
    assert_true(seen.files == UINT64_MAX && seen.bytes == 1ULL << 60);
    assert_int_equal(seen.accepted_at_s, 1767323045);
    assert_int_equal(seen.started_at_s, job.started_at_s);
    assert_true(seen.updated_at_s >= job.started_at_s);
    assert_false(seen.dry_run);

    assert_int_equal(ledger_finish(l, &job, 60), LEDGER_OK);
    assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_OK);
    assert_string_equal(seen.state, "done");
    assert_string_equal(seen.cursor, "");
    assert_string_equal(seen.owner, "");
    assert_int_equal(seen.lease_ms_left, 0);
    assert_true(seen.done_at_s >= seen.started_at_s);
    assert_redis("ZCARD epufs:open", ":0");
    assert_redis("ZCARD epufs:done", ":1");
    assert_redis("TTL epufs:job:{" JOB "}", ":60");
    ledger_close(l);
}

/* An acceptance that is done stays so; a later one of the same job goes on from its counts. */
static void what_is_done_is_claimed_for_another_acceptance_only(void **state)
{
    (void)state;
    static const struct {
        int64_t accepted_at_s; /* 1000 is done */
        bool again;
        enum ledger_verdict verdict;
    } cases[] = {
        {1000, false, LEDGER_DONE}, {0, false, LEDGER_DONE}, {1001, false, LEDGER_OK},
        {1000, true, LEDGER_OK},    {0, true, LEDGER_OK},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct ledger *l = open_ledger();
        struct ledger_job job = job_named(JOB), again = job_named(JOB), seen;
        assert_redis("FLUSHALL", "+OK");
        job.accepted_at_s = 1000;
        again.accepted_at_s = cases[i].accepted_at_s;
        assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), LEDGER_OK);
        job.files = 3;
        strcpy(job.cursor, "somewhere");
        assert_int_equal(ledger_finish(l, &job, 60), LEDGER_OK);
        assert_int_equal(ledger_claim(l, "you", LEASE_MS, cases[i].again, &again),
                         cases[i].verdict);
        assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_OK);
        if (cases[i].verdict == LEDGER_DONE) {
            assert_string_equal(seen.state, "done");
            assert_int_equal(seen.files, 3);
        } else {
            assert_int_equal(again.files, 3);
            assert_string_equal(again.cursor, "");
            assert_int_equal(again.accepted_at_s, cases[i].accepted_at_s);
            assert_int_equal(again.attempts, 2);
            assert_int_equal(again.fence, job.fence + 1);
            assert_string_equal(seen.owner, "you");
            assert_redis("ZCARD epufs:open", ":1");
            assert_redis("ZCARD epufs:done", ":0");
            /* Who had it before must not write into it. */
            assert_int_equal(ledger_save(l, LEASE_MS, &job), LEDGER_FENCED);
        }
        ledger_close(l);
    }
}

static void a_claim_that_came_too_late_is_taken_back(void **state)
{
    (void)state;
    struct ledger *l = open_ledger();
    struct ledger_job job = job_named(JOB), yours = job_named(JOB), seen;
    assert_int_equal(ledger_drop(l, &job), LEDGER_DOWN); /* it never had one */
    assert_int_equal(ledger_claim(l, "me", 1, false, &job), LEDGER_OK);
    usleep(20000);
    assert_int_equal(ledger_claim(l, "you", LEASE_MS, false, &yours), LEDGER_OK);
    assert_int_equal(ledger_drop(l, &job), LEDGER_FENCED);
    assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_OK);
    assert_int_equal(ledger_drop(l, &yours), LEDGER_OK);
    assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_NONE);
    assert_redis("ZCARD epufs:open", ":0");
    ledger_close(l);
}

static void one_owner_at_a_time(void **state)
{
    (void)state;
    struct ledger *l = open_ledger();
    struct ledger_job mine = job_named(JOB), yours = job_named(JOB);
    assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &mine), LEDGER_OK);
    strcpy(mine.cursor, "half way");
    mine.files = 5;
    assert_int_equal(ledger_save(l, LEASE_MS, &mine), LEDGER_OK);
    assert_int_equal(ledger_claim(l, "you", LEASE_MS, false, &yours), LEDGER_BUSY);
    assert_string_equal(yours.owner, "me");
    assert_in_range(yours.lease_ms_left, 1, LEASE_MS);
    assert_int_equal(ledger_claim(l, "me", 200, false, &mine), LEDGER_OK); /* renewed */
    assert_int_equal(mine.fence, 2);
    usleep(250000);
    assert_int_equal(ledger_save(l, 200, &mine), LEDGER_OK); /* late, but nobody came */
    usleep(250000);
    assert_int_equal(ledger_claim(l, "you", LEASE_MS, false, &yours), LEDGER_OK);
    assert_string_equal(yours.cursor, "half way");
    assert_int_equal(yours.files, 5);
    assert_int_equal(yours.attempts, 3);
    strcpy(mine.cursor, "stale");
    assert_int_equal(ledger_save(l, 200, &mine), LEDGER_FENCED);
    assert_int_equal(ledger_release(l, &mine), LEDGER_FENCED);
    assert_int_equal(ledger_finish(l, &mine, 60), LEDGER_FENCED);
    assert_int_equal(ledger_get(l, JOB, &mine), LEDGER_OK);
    assert_string_equal(mine.cursor, "half way");
    assert_string_equal(mine.owner, "you");
    ledger_close(l);
}

static void a_released_job_is_free(void **state)
{
    (void)state;
    struct ledger *l = open_ledger();
    struct ledger_job mine = job_named(JOB), yours = job_named(JOB);
    assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &mine), LEDGER_OK);
    strcpy(mine.state, "draining");
    assert_int_equal(ledger_release(l, &mine), LEDGER_OK);
    assert_int_equal(ledger_claim(l, "you", LEASE_MS, false, &yours), LEDGER_OK);
    assert_string_equal(yours.state, "draining");
    assert_int_equal(ledger_save(l, LEASE_MS, &mine), LEDGER_FENCED);
    ledger_close(l);
}

static void a_job_that_was_never_claimed(void **state)
{
    (void)state;
    struct ledger *l = open_ledger();
    struct ledger_job job = job_named(JOB), seen;
    assert_int_equal(ledger_save(l, LEASE_MS, &job), LEDGER_DOWN);
    assert_int_equal(ledger_release(l, &job), LEDGER_DOWN);
    assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_NONE);
    job.files = 2;
    job.started_at_s = 1767323046;
    assert_int_equal(ledger_finish(l, &job, 60), LEDGER_OK);
    assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_OK);
    assert_string_equal(seen.state, "done");
    assert_int_equal(seen.files, 2);
    assert_int_equal(seen.started_at_s, 1767323046);
    ledger_close(l);
}

static void the_latest_come_first(void **state)
{
    (void)state;
    struct ledger *l = open_ledger();
    struct ledger_job jobs[3];
    char id[JOB_ID_SIZE];
    for (int i = 0; i < 5; i++) {
        snprintf(id, sizeof(id), "job-%d", i);
        struct ledger_job job = job_named(id);
        assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), LEDGER_OK);
        assert_int_equal(ledger_finish(l, &job, 60), LEDGER_OK);
        usleep(3000);
    }
    size_t n = LEN(jobs);
    assert_int_equal(ledger_recent(l, jobs, &n), LEDGER_OK);
    assert_int_equal(n, 3);
    assert_string_equal(jobs[0].job_id, "job-4");
    assert_string_equal(jobs[2].job_id, "job-2");
    assert_string_equal(jobs[2].state, "done");
    assert_redis("DEL epufs:job:{job-3}", ":1"); /* as if it had expired */
    n = LEN(jobs);
    assert_int_equal(ledger_recent(l, jobs, &n), LEDGER_OK);
    assert_int_equal(n, 2);
    assert_string_equal(jobs[1].job_id, "job-2");
    ledger_close(l);
}

static void open_jobs_come_page_by_page_the_oldest_first(void **state)
{
    (void)state;
    struct ledger *l = open_ledger();
    struct ledger_job jobs[2];
    char id[JOB_ID_SIZE];
    for (int i = 0; i < 5; i++) {
        snprintf(id, sizeof(id), "job-%d", i);
        struct ledger_job job = job_named(id);
        job.accepted_at_s = 1767323045 - i;
        assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), LEDGER_OK);
    }
    assert_redis("DEL epufs:job:{job-3}", ":1"); /* as if it had expired */
    static const struct {
        size_t n;
        const char *first;
        size_t from; /* behind it */
    } pages[] = {{1, "job-4", 2}, {2, "job-2", 4}, {1, "job-0", SIZE_MAX}};
    size_t from = 0;
    for (size_t i = 0; i < LEN(pages); i++) {
        size_t n = LEN(jobs);
        assert_int_equal(ledger_open_page(l, &from, jobs, &n), LEDGER_OK);
        assert_int_equal(n, pages[i].n);
        assert_string_equal(jobs[0].job_id, pages[i].first);
        assert_true(from == pages[i].from);
    }
    ledger_close(l);
}

/* ---- Redis in trouble ---- */

static void a_redis_that_lost_its_memory(void **state)
{
    (void)state;
    struct ledger *l = open_ledger();
    struct ledger_job job = job_named(JOB), seen;
    assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), LEDGER_OK);
    assert_redis("SCRIPT FLUSH", "+OK");
    assert_redis("FLUSHALL", "+OK");
    job.files = 9;
    strcpy(job.state, "sweeping");
    assert_int_equal(ledger_save(l, LEASE_MS, &job), LEDGER_OK);
    assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_OK);
    assert_string_equal(seen.scope, "tenants/t");
    assert_string_equal(seen.owner, "me");
    assert_int_equal(seen.files, 9);
    assert_int_equal(seen.fence, job.fence);
    assert_int_equal(seen.attempts, 1);
    assert_int_equal(seen.started_at_s, job.started_at_s);
    ledger_close(l);
}

static void a_record_that_somebody_else_wrote(void **state)
{
    (void)state;
    struct ledger *l = open_ledger();
    struct ledger_job job = job_named(JOB);
    assert_redis("SET epufs:job:{" JOB "} x", "+OK");
    assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), LEDGER_DOWN);
    assert_true(ledger_up(l)); /* one bad key does not make Redis down */
    assert_redis("DEL epufs:job:{" JOB "}", ":1");
    assert_redis("HSET epufs:job:{" JOB "} fence x lease_until_ms y files -1 dry_run 1 odd z",
                 ":5");
    struct ledger_job seen;
    assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_OK);
    assert_int_equal(seen.files, 0);
    assert_true(seen.dry_run);
    char line[2300] = "HSET epufs:job:{" JOB "} cursor ", out[64];
    memset(line + strlen(line), 'c', 100);
    redis(line, out, sizeof(out));
    assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_OK);
    assert_int_equal(strlen(seen.cursor), 100);
    assert_redis("EVAL \"redis.call('HSET',KEYS[1],'cursor',string.rep('c',2000))\" 1 "
                 "epufs:job:{" JOB "}",
                 "$-1");
    assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_OK);
    assert_string_equal(seen.cursor, ""); /* better from the beginning than from elsewhere */
    ledger_close(l);
}

/* Waits for the ledger to come back after a failure; its circuit opens for a second. */
static bool comes_back(struct ledger *l)
{
    for (int i = 0; i < 300; i++) {
        if (ledger_up(l))
            return true;
        usleep(10000);
    }
    return false;
}

static uint64_t timed_get(struct ledger *l, enum ledger_verdict expected)
{
    struct ledger_job seen;
    uint64_t began_ms = clock_mono_ms();
    assert_int_equal(ledger_get(l, JOB, &seen), expected);
    return clock_mono_ms() - began_ms;
}

static void a_stopped_server_costs_one_time_out(void **state)
{
    (void)state;
    struct ledger *l = open_ledger();
    struct ledger_job job = job_named(JOB), seen;
    assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), LEDGER_OK);
    pause_server();
    assert_in_range(timed_get(l, LEDGER_DOWN), TIMEOUT_MS - 50, TIMEOUT_MS + 400);
    /* Without waiting for the server, however busy the machine is. */
    for (int i = 0; i < 100; i++)
        assert_true(timed_get(l, LEDGER_DOWN) < TIMEOUT_MS - 50);
    assert_false(ledger_up(l));
    usleep(1000000);
    assert_in_range(timed_get(l, LEDGER_DOWN), TIMEOUT_MS - 50, TIMEOUT_MS + 400);
    kill(server.pid, SIGCONT);
    assert_true(comes_back(l));
    /* The late answers must not be taken for those of later commands. */
    assert_int_equal(ledger_get(l, "another", &seen), LEDGER_NONE);
    assert_int_equal(ledger_get(l, JOB, &seen), LEDGER_OK);
    assert_string_equal(seen.owner, "me");
    ledger_close(l);
}

static void a_restarted_server_is_found_again(void **state)
{
    (void)state;
    struct ledger *l = open_ledger();
    struct ledger_job job = job_named(JOB);
    assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), LEDGER_OK);
    redis_end(&server);
    timed_get(l, LEDGER_DOWN);
    assert_false(ledger_up(l));
    assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), LEDGER_DOWN);
    assert_int_equal(job.fence, 1);
    assert_true(redis_start(&server));
    assert_true(comes_back(l));
    assert_int_equal(ledger_save(l, LEASE_MS, &job), LEDGER_OK);
    ledger_close(l);
}

static void errors_of_a_server_that_cannot_serve(void **state)
{
    (void)state;
    static const struct {
        const char *begin, *end;
    } cases[] = {
        {"CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"}, /* OOM */
        {"REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"},        /* READONLY */
        {"CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"},
        {"CONFIG SET requirepass x", NULL}, /* NOAUTH; for the next connection */
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct ledger *l = open_ledger();
        struct ledger_job job = job_named(JOB);
        print_message("%s\n", cases[i].begin);
        assert_redis(cases[i].begin, "+OK");
        assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), LEDGER_DOWN);
        assert_false(ledger_up(l));
        if (cases[i].end) {
            assert_redis(cases[i].end, "+OK");
            assert_true(comes_back(l));
            assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), LEDGER_OK);
        }
        ledger_close(l);
    }
    redis_end(&server); /* the password goes with it */
    assert_true(redis_start(&server));
}

static void passwords(void **state)
{
    (void)state;
    struct ledger *l = open_ledger();
    char with[96];
    struct ledger_job job = job_named(JOB);
    assert_redis("ACL SETUSER jan on >s@cret ~* +@all", "+OK");
    assert_redis("CONFIG SET requirepass pa/ss", "+OK");
    ledger_close(l);
    static const struct {
        const char *credentials;
        enum ledger_verdict verdict;
    } cases[] = {
        {"", LEDGER_DOWN},        {":wrong@", LEDGER_DOWN},     {"jan:wrong@", LEDGER_DOWN},
        {":pa%2Fss@", LEDGER_OK}, {"jan:s%40cret@", LEDGER_OK},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        snprintf(with, sizeof(with), "redis://%s127.0.0.1:%d/2", cases[i].credentials, server.port);
        l = open_at(with);
        print_message("%s\n", with);
        assert_int_equal(ledger_claim(l, "me", LEASE_MS, false, &job), cases[i].verdict);
        ledger_close(l);
    }
    redis_end(&server);
    assert_true(redis_start(&server));
}

/* ---- Threads ---- */

struct claimer {
    struct ledger *l;
    pthread_t thread;
    char owner[16];
    int won;
};

static void *claim_jobs(void *arg)
{
    struct claimer *c = arg;
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof(id), "job-%d", i);
        struct ledger_job job = job_named(id);
        c->won += ledger_claim(c->l, c->owner, LEASE_MS, false, &job) == LEDGER_OK;
    }
    return NULL;
}

static void each_job_has_one_winner(void **state)
{
    (void)state;
    struct ledger *ledgers[2] = {open_ledger(), open_ledger()};
    struct claimer claimers[8];
    int won = 0;
    for (size_t i = 0; i < LEN(claimers); i++) {
        claimers[i] = (struct claimer){.l = ledgers[i % 2]};
        snprintf(claimers[i].owner, sizeof(claimers[i].owner), "owner-%zu", i);
        assert_int_equal(pthread_create(&claimers[i].thread, NULL, claim_jobs, &claimers[i]), 0);
    }
    for (size_t i = 0; i < LEN(claimers); i++) {
        pthread_join(claimers[i].thread, NULL);
        won += claimers[i].won;
    }
    assert_int_equal(won, 50);
    assert_redis("ZCARD epufs:open", ":50");
    ledger_close(ledgers[0]);
    ledger_close(ledgers[1]);
}

#define TEST(f) cmocka_unit_test_setup(f, flush)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(urls),
        TEST(no_ledger_at_all),
        TEST(a_job_from_claim_to_end),
        TEST(what_is_done_is_claimed_for_another_acceptance_only),
        TEST(a_claim_that_came_too_late_is_taken_back),
        TEST(one_owner_at_a_time),
        TEST(a_released_job_is_free),
        TEST(a_job_that_was_never_claimed),
        TEST(the_latest_come_first),
        TEST(open_jobs_come_page_by_page_the_oldest_first),
        TEST(a_redis_that_lost_its_memory),
        TEST(a_record_that_somebody_else_wrote),
        TEST(a_stopped_server_costs_one_time_out),
        TEST(a_restarted_server_is_found_again),
        TEST(errors_of_a_server_that_cannot_serve),
        TEST(passwords),
        TEST(each_job_has_one_winner),
    };
    signal(SIGPIPE, SIG_IGN);
    log_setup(getenv("LEDGER_TEST_LOG") ? LOG_DEBUG : LOG_ERROR, LOG_TEXT, "test_ledger");
    return cmocka_run_group_tests_name("ledger", tests, setup, teardown);
}
