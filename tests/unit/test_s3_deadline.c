/* Nothing of an upload leaves after its deadline, whatever its body is and wherever it waits: the
 * peer leaves it in its socket until long after, then takes all that comes. */
#include "tests/unit/s3_fixture.h"

#include <unistd.h>

enum {
    BODY = 440000, /* more than the sockets of both sides hold */
    DEADLINE_MS = 200,
    READ_MS = 350, /* when the peer begins to take the body */
    WAKE_MS = 600, /* when a stopped process goes on: then the peer has all that the kernel had */
};

static const struct step late_reader[] = {
    {.status = 200, .trouble = READS_LATE, .sent = READ_MS, .length = 40 << 10}};
static char memory[BODY];

enum kind { FROM_MEMORY, STREAMED, KINDS };

static ssize_t slow_second_read(void *user, void *buf, size_t cap)
{
    static const useconds_t beyond_us = 2000 * DEADLINE_MS;
    unsigned *reads = user;
    if (++*reads == 2)
        usleep(beyond_us);
    return stream_more(NULL, buf, cap);
}

static store_op *begin_put(enum kind kind, size_t size)
{
    static const struct store_put_cb cb = {stream_more, on_done};
    const struct store_put_opts opts = {
        .timeout_ms = DEADLINE_MS, .signed_at_s = time(NULL), .expires_in_s = 60};
    begin();
    if (kind == FROM_MEMORY)
        return store_put_bytes(b.s, b.loop, "k", memory, size, &opts, on_done, NULL, NULL);
    return store_put(b.s, b.loop, "k", size, &opts, &cb, NULL, NULL);
}

static void run_until_ms(uint64_t end_ms)
{
    for (uint64_t now = clock_mono_ms(); now < end_ms; now = clock_mono_ms())
        assert_int_equal(store_loop_run(b.loop, (int)(end_ms - now), NULL), 0);
}

static void sleep_until_ms(uint64_t end_ms)
{
    for (uint64_t now = clock_mono_ms(); now < end_ms; now = clock_mono_ms())
        usleep((useconds_t)(end_ms - now) * 1000);
}

/* Of an end within a second. */
static void wait_for(const atomic_uint *ends, unsigned n)
{
    for (int i = 0; i < 1000 && atomic_load(ends) < n; i++)
        usleep(1000);
    assert_int_equal(atomic_load(ends), n);
}

static void what_waits_in_the_kernel_is_dropped(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        OPEN(late_reader);
        assert_int_equal(finish(begin_put(kind, BODY)), STORE_TIMEOUT);
        wait_for(&b.peer.resets, 1);
        close_after(1);
        assert_true(request(1)->body.len < BODY);
        peer_cleanup(&b.peer);
    }
}

/* The body's rest may lie whole in libcurl's buffer, which asks nobody before it sends. */
static void a_stopped_process_sends_no_more_when_it_wakes(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t size = 128 << 10; size <= 192 << 10; size += 64 << 10) {
            OPEN(late_reader);
            uint64_t began_ms = clock_mono_ms();
            store_op *op = begin_put(kind, size);
            run_until_ms(began_ms + DEADLINE_MS / 2);
            sleep_until_ms(began_ms + WAKE_MS);
            size_t taken = atomic_load(&b.peer.taken);
            assert_int_equal(finish(op), STORE_TIMEOUT);
            close_after(1);
            assert_true(taken > 0);
            assert_int_equal(request(1)->body.len, taken);
            peer_cleanup(&b.peer);
        }
}

/* What comes of a call-back that takes too long stays here. */
static void bytes_that_come_late_are_not_sent(void **state)
{
    (void)state;
    static const struct store_put_cb cb = {slow_second_read, on_done};
    static const struct step fast_reader[] = {{.status = 200}};
    const struct store_put_opts opts = {.timeout_ms = DEADLINE_MS};
    unsigned reads = 0;
    OPEN(fast_reader);
    begin();
    assert_int_equal(finish(store_put(b.s, b.loop, "k", 100000, &opts, &cb, &reads, NULL)),
                     STORE_TIMEOUT);
    wait_for(&b.peer.resets, 1);
    close_after(1);
    assert_int_equal(reads, 2);
    assert_true(request(1)->body.len <= 65536);
}

static void a_put_that_has_not_begun_in_time_never_does(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        OPEN(late_reader);
        uint64_t began_ms = clock_mono_ms();
        store_op *op = begin_put(kind, BODY);
        sleep_until_ms(began_ms + 2 * DEADLINE_MS);
        assert_int_equal(finish(op), STORE_TIMEOUT);
        close_after(0);
        assert_int_equal(b.peer.accepted, 0);
    }
}

/* Each part of a large upload is a request with the same deadline. It is put together in memory
 * before it goes, and takes its time for that. */
static void parts_are_dropped_too(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200,
         .body = "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
                 "</InitiateMultipartUploadResult>"},
        {.status = 200, .trouble = READS_LATE, .sent = 3 * READ_MS},
        {.status = 204}, /* to the removal of the parts */
    };
    static const struct store_conf conf = {.multipart_bytes = 8 << 20, .parts_in_flight = 1};
    static const struct store_put_cb cb = {stream_more, on_done};
    const struct store_put_opts opts = {.timeout_ms = 4 * DEADLINE_MS};
    open_as("s3://bucket/pre", script, LEN(script), 10000, "AKIDTEST", &conf);
    begin();
    uint64_t began_ms = clock_mono_ms();
    store_op *op = store_put(b.s, b.loop, "k", 8 << 20, &opts, &cb, NULL, NULL);
    run_until_ms(began_ms + 3 * DEADLINE_MS);
    sleep_until_ms(began_ms + 3 * WAKE_MS);
    size_t taken = atomic_load(&b.peer.taken);
    assert_int_equal(finish(op), STORE_TIMEOUT);
    wait_for(&b.peer.resets, 1);
    close_after(3);
    assert_starts(2, "PUT ");
    assert_true(taken > 0);
    assert_int_equal(request(2)->body.len, taken);
    assert_starts(3, "DELETE ");
}

static void a_cancel_drops_as_well(void **state)
{
    (void)state;
    OPEN(late_reader);
    uint64_t began_ms = clock_mono_ms();
    store_op *op = begin_put(FROM_MEMORY, BODY);
    run_until_ms(began_ms + DEADLINE_MS / 2);
    store_op_cancel(op);
    assert_int_equal(finish(op), STORE_CANCELED);
    wait_for(&b.peer.resets, 1);
    close_after(1);
    assert_true(request(1)->body.len < BODY);
}

/* An idle connection owes nothing: its end is not to look like trouble in the server's log. */
static void what_was_answered_ends_in_peace(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200}, {.status = 200}, {200, "Connection: close\r\n", NULL, .sent = 0}};
    OPEN(script);
    assert_int_equal(put("k", "hello", NULL), STORE_OK);
    assert_int_equal(stream("k", 100000), STORE_OK);
    assert_int_equal(put("k", "hello", NULL), STORE_OK); /* closed by us, as the server said */
    wait_for(&b.peer.closed, 1);
    close_after(3);
    assert_int_equal(atomic_load(&b.peer.resets), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_waits_in_the_kernel_is_dropped, clean_up),
        cmocka_unit_test_teardown(a_stopped_process_sends_no_more_when_it_wakes, clean_up),
        cmocka_unit_test_teardown(bytes_that_come_late_are_not_sent, clean_up),
        cmocka_unit_test_teardown(a_put_that_has_not_begun_in_time_never_does, clean_up),
        cmocka_unit_test_teardown(parts_are_dropped_too, clean_up),
        cmocka_unit_test_teardown(a_cancel_drops_as_well, clean_up),
        cmocka_unit_test_teardown(what_was_answered_ends_in_peace, clean_up),
    };
    return cmocka_run_group_tests_name("s3_deadline", tests, NULL, NULL);
}
