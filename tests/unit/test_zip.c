/* Compression: compressed objects on a backend in memory, which delivers them in pieces of any size
 * and lets itself be damaged. */
#include "tests/unit/memory_store.h"

#include <zstd.h>

#include "libstore/zip.h"
#include "tests/unit/oom.h"

/* ---- Content ---- */

static uint32_t next_random(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

/* n bytes: noise that does not compress, or lines of text that do. */
static char *make_content(size_t n, bool noise)
{
    uint32_t x = 2463534242U;
    char *s = malloc(n + 1);
    assert_non_null(s);
    for (size_t i = 0; i < n; i++)
        s[i] = noise ? (char)next_random(&x) : "0123456789abcdef\n"[(i * i / 977) % 17];
    s[n] = '\0';
    return s;
}

/* ---- Round trips ---- */

static const size_t sizes[] = {0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 5 * MIB};

static void what_is_put_compressed_comes_back(void **state)
{
    struct memory *m = *state;
    for (size_t i = 0; i < LEN(sizes); i++)
        for (int noise = 0; noise < 2; noise++) {
            char *bytes = make_content(sizes[i], noise);
            const struct store_put_opts opts = {.compress = true};
            struct outcome o = outcome_of(m);
            assert_int_equal(put_bytes(m, bytes, sizes[i], &opts, &o), STORE_OK);
            assert_int_equal(o.info.size, sizes[i]);
            assert_int_equal(o.info.stored_size, find(m, "k")->bytes.len);
            assert_string_equal(o.etag, find(m, "k")->etag);
            if (!noise && sizes[i] > KIB)
                assert_true(o.info.stored_size < sizes[i] / 2);
            assert_true(o.info.stored_size < sizes[i] + sizes[i] / 256 + 20);
            outcome_cleanup(&o);
            assert_kept(m, bytes, sizes[i], false);
            assert_kept(m, bytes, sizes[i], true);
            free(bytes);
        }
}

static void streams_come_back(void **state)
{
    struct memory *m = *state;
    static const size_t pieces[] = {0, 1000};
    for (size_t i = 0; i < LEN(sizes); i++)
        for (int round = 0; round < 8; round++) {
            char *bytes = make_content(sizes[i], round & 1);
            struct outcome o = outcome_of(m);
            o.at_once = pieces[round >> 1 & 1];
            o.pause_always = round & 4;
            assert_int_equal(
                put_stream(m, bytes, sizes[i], round & 2 ? STORE_SIZE_UNKNOWN : sizes[i], &o),
                STORE_OK);
            assert_int_equal(o.info.size, sizes[i]);
            assert_int_equal(o.info.stored_size, find(m, "k")->bytes.len);
            outcome_cleanup(&o);
            assert_kept(m, bytes, sizes[i], false);
            free(bytes);
        }
}

static void a_driver_may_move_single_bytes(void **state)
{
    struct memory *m = *state;
    char *bytes = make_content(200 * KIB, false);
    struct outcome o = outcome_of(m);
    m->piece = 1;
    assert_int_equal(put_stream(m, bytes, 200 * KIB, 200 * KIB, &o), STORE_OK);
    outcome_cleanup(&o);
    assert_kept(m, bytes, 200 * KIB, false);
    assert_kept(m, bytes, 200 * KIB, true);
    free(bytes);
}

static void the_frame_is_one_that_others_read(void **state)
{
    struct memory *m = *state;
    char *bytes = make_content(100 * KIB, false), *back = malloc(100 * KIB);
    put_packed(m, bytes, 100 * KIB);
    const struct buf *kept = &find(m, "k")->bytes;
    assert_int_equal(ZSTD_getFrameContentSize(kept->data, kept->len), 100 * KIB);
    assert_int_equal(ZSTD_decompress(back, 100 * KIB, kept->data, kept->len), 100 * KIB);
    assert_memory_equal(back, bytes, 100 * KIB);
    free(back);
    free(bytes);
}

static void nothing_shows_but_the_sizes(void **state)
{
    struct memory *m = *state;
    char *bytes = make_content(10 * KIB, false);
    const struct store_meta meta[] = {{"a", "1"}, {"z", "2"}};
    const struct store_put_opts opts = {
        .content_type = "text/x", .meta = meta, .n_meta = 2, .compress = true};
    struct outcome p = outcome_of(m), h = outcome_of(m);
    assert_int_equal(put_bytes(m, bytes, 10 * KIB, &opts, &p), STORE_OK);
    assert_int_equal(find(m, "k")->n_meta, 4);
    assert_int_equal(head(m, &h), STORE_OK);
    assert_string_equal(h.meta, "a=1;z=2;");
    assert_int_equal(h.info.size, 10 * KIB);
    assert_int_equal(h.info.stored_size, find(m, "k")->bytes.len);
    outcome_cleanup(&p);
    outcome_cleanup(&h);
    free(bytes);
}

static void there_is_room_for_all_metadata(void **state)
{
    struct memory *m = *state;
    struct store_meta meta[STORE_MAX_META];
    char names[STORE_MAX_META][4];
    for (size_t i = 0; i < LEN(meta); i++) {
        snprintf(names[i], sizeof(names[i]), "m%zu", i);
        meta[i] = (struct store_meta){names[i], "v"};
    }
    const struct store_put_opts opts = {.meta = meta, .n_meta = LEN(meta), .compress = true};
    struct outcome p = outcome_of(m), h = outcome_of(m);
    assert_int_equal(put_bytes(m, "text", 4, &opts, &p), STORE_OK);
    assert_int_equal(head(m, &h), STORE_OK);
    assert_int_equal(h.info.n_meta, STORE_MAX_META);
    assert_int_equal(h.info.size, 4);
    outcome_cleanup(&p);
    outcome_cleanup(&h);
}

static void plain_objects_are_plain(void **state)
{
    struct memory *m = *state;
    struct outcome p = outcome_of(m), g = outcome_of(m);
    assert_int_equal(put_bytes(m, "text", 4, NULL, &p), STORE_OK);
    assert_int_equal(p.info.stored_size, 4);
    assert_int_equal(get(m, NULL, &g), STORE_OK);
    assert_int_equal(g.info.stored_size, 4);
    assert_string_equal(buf_str(&g.data), "text");
    assert_int_equal(m->starts, 2);
    outcome_cleanup(&p);
    outcome_cleanup(&g);
}

static void an_unknown_encoding_is_not_guessed(void **state)
{
    struct memory *m = *state;
    struct outcome g = outcome_of(m), h = outcome_of(m);
    put_packed(m, "text", 4);
    strcpy(find(m, "k")->values[0], "brotli");
    assert_int_equal(get(m, NULL, &g), STORE_FAILED);
    assert_false(g.told_head);
    assert_int_equal(head(m, &h), STORE_OK);
    assert_int_equal(h.info.size, 4);
    outcome_cleanup(&g);
    outcome_cleanup(&h);
}

/* ---- Streams of unknown size ---- */

static void a_size_that_nobody_knew_is_told_at_the_end(void **state)
{
    struct memory *m = *state;
    char *bytes = make_content(MIB, false);
    struct outcome p = outcome_of(m), h = outcome_of(m), g = outcome_of(m);
    m->early_meta = true;
    assert_int_equal(put_stream(m, bytes, MIB, STORE_SIZE_UNKNOWN, &p), STORE_OK);
    assert_int_equal(p.info.size, MIB);
    assert_int_equal(head(m, &h), STORE_OK);
    assert_true(h.info.size == STORE_SIZE_UNKNOWN);
    assert_int_equal(h.info.stored_size, find(m, "k")->bytes.len);
    assert_int_equal(get(m, NULL, &g), STORE_OK);
    assert_true(g.head.size == STORE_SIZE_UNKNOWN && g.head.length == STORE_SIZE_UNKNOWN);
    assert_int_equal(g.info.size, MIB);
    assert_int_equal(g.info.length, MIB);
    assert_memory_equal(buf_str(&g.data), bytes, MIB);
    outcome_cleanup(&p);
    outcome_cleanup(&h);
    outcome_cleanup(&g);
    free(bytes);
}

static void a_stream_that_ends_early_is_not_stored(void **state)
{
    struct memory *m = *state;
    struct outcome o = outcome_of(m);
    assert_int_not_equal(put_stream(m, "text", 4, 5, &o), STORE_OK);
    assert_int_equal(m->n_objects, 0);
    outcome_cleanup(&o);
}

static void a_stream_asks_for_no_more_than_its_size(void **state)
{
    struct memory *m = *state;
    struct outcome o = outcome_of(m);
    assert_int_equal(put_stream(m, "textmore", 8, 4, &o), STORE_OK);
    assert_int_equal(o.left, 4);
    outcome_cleanup(&o);
    assert_kept(m, "text", 4, false);
}

/* ---- Ranges ---- */

struct range_case {
    uint64_t offset, length;
};

static void check_range(struct memory *m, const char *bytes, size_t size, struct range_case c,
                        bool pause)
{
    const struct store_get_opts opts = {.offset = c.offset, .length = c.length};
    struct outcome o = outcome_of(m);
    o.pause_always = pause;
    enum store_code code = get(m, &opts, &o);
    if (c.offset >= size && (c.offset || c.length)) {
        assert_int_equal(code, STORE_BAD_RANGE);
        assert_false(o.told_head);
    } else {
        uint64_t rest = size - c.offset;
        uint64_t want = c.length && c.length < rest ? c.length : rest;
        if (code != STORE_OK)
            fail_msg("%llu+%llu: %s", (unsigned long long)c.offset, (unsigned long long)c.length,
                     o.err.msg);
        assert_int_equal(o.data.len, want);
        assert_memory_equal(buf_str(&o.data), bytes + c.offset, want);
        assert_int_equal(o.head.offset, c.offset);
        assert_true(o.head.length == want || m->early_meta);
        assert_int_equal(o.info.length, want);
        assert_int_equal(o.info.stored_size, find(m, "k")->bytes.len);
        assert_string_equal(o.etag, find(m, "k")->etag);
    }
    outcome_cleanup(&o);
}

/* What is kept is far smaller than the object, so many of these are behind its end. */
static void ranges_are_of_the_object(void **state)
{
    struct memory *m = *state;
    static const size_t range_sizes[] = {0, 1, 200 * KIB};
    for (size_t s = 0; s < LEN(range_sizes); s++)
        for (int unknown = 0; unknown < 2; unknown++) {
            size_t n = range_sizes[s];
            char *bytes = make_content(n, false);
            struct outcome p = outcome_of(m);
            m->early_meta = unknown;
            assert_int_equal(put_stream(m, bytes, n, unknown ? STORE_SIZE_UNKNOWN : n, &p),
                             STORE_OK);
            outcome_cleanup(&p);
            size_t kept = find(m, "k")->bytes.len;
            const uint64_t edges[] = {0,        1, kept - 1, kept,  kept + 1,      64 * KIB - 1,
                                      64 * KIB, n, n + 1,    n / 2, n ? n - 1 : 0, UINT64_MAX - 1};
            for (size_t i = 0; i < LEN(edges); i++)
                for (size_t k = 0; k < LEN(edges); k++)
                    check_range(m, bytes, n, (struct range_case){edges[i], edges[k]}, k % 2);
            free(bytes);
        }
}

static void ranges_of_plain_objects_are_as_before(void **state)
{
    struct memory *m = *state;
    char *bytes = make_content(1000, false);
    struct outcome p = outcome_of(m);
    assert_int_equal(put_bytes(m, bytes, 1000, NULL, &p), STORE_OK);
    outcome_cleanup(&p);
    static const struct range_case cases[] = {{0, 1},    {999, 0},  {999, 5},
                                              {1000, 0}, {1000, 1}, {UINT64_MAX, 1}};
    for (size_t i = 0; i < LEN(cases); i++)
        check_range(m, bytes, 1000, cases[i], i % 2);
    struct outcome e = outcome_of(m);
    assert_int_equal(put_bytes(m, "", 0, NULL, &e), STORE_OK);
    outcome_cleanup(&e);
    check_range(m, "", 0, (struct range_case){5, 1}, false);
    free(bytes);
}

static void a_range_reads_no_further_than_it_must(void **state)
{
    struct memory *m = *state;
    char *bytes = make_content(5 * MIB, true);
    put_packed(m, bytes, 5 * MIB);
    m->sent = 0;
    check_range(m, bytes, 5 * MIB, (struct range_case){10, 100 * KIB}, false);
    assert_true(m->sent < MIB);
    m->sent = 0;
    check_range(m, bytes, 5 * MIB, (struct range_case){10, 100 * KIB}, true);
    assert_true(m->sent < MIB);
    free(bytes);
}

static void replace_it(struct memory *m)
{
    snprintf(find(m, "k")->etag, 8, "new");
}

static void a_range_of_an_object_that_is_replaced_is_busy(void **state)
{
    struct memory *m = *state;
    const struct store_get_opts opts = {.offset = 1}, matched = {.offset = 1, .if_match = "e1"};
    put_packed(m, "text", 4);
    for (int i = 0; i < 2; i++) {
        struct outcome o = outcome_of(m);
        snprintf(find(m, "k")->etag, 8, "e1");
        m->starts = 0;
        m->before_start = replace_it;
        assert_int_equal(get(m, i ? &matched : &opts, &o), i ? STORE_PRECONDITION : STORE_BUSY);
        assert_false(o.told_head);
        outcome_cleanup(&o);
    }
}

static void become_plain(struct memory *m)
{
    find(m, "k")->n_meta = 0;
}

static void an_object_without_etag_that_is_replaced_is_busy(void **state)
{
    struct memory *m = *state;
    const struct store_get_opts opts = {.offset = 1};
    struct outcome o = outcome_of(m);
    put_packed(m, "text", 4);
    find(m, "k")->etag[0] = '\0';
    m->starts = 0;
    m->before_start = become_plain;
    assert_int_equal(get(m, &opts, &o), STORE_BUSY);
    assert_false(o.told_head);
    outcome_cleanup(&o);
}

static void conditions_hold_for_compressed_objects(void **state)
{
    struct memory *m = *state;
    put_packed(m, "text", 4);
    const struct {
        struct store_get_opts opts;
        enum store_code code;
    } cases[] = {
        {{.if_match = "e1"}, STORE_OK},
        {{.if_match = "e2"}, STORE_PRECONDITION},
        {{.if_none_match = "e1"}, STORE_NOT_MODIFIED},
        {{.if_none_match = "e2", .offset = 1}, STORE_OK},
        {{.if_match = "e1", .offset = 1, .length = 2}, STORE_OK},
        {{.if_none_match = "e1", .offset = 1}, STORE_NOT_MODIFIED},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct outcome o = outcome_of(m);
        assert_int_equal(get(m, &cases[i].opts, &o), cases[i].code);
        outcome_cleanup(&o);
    }
}

/* ---- Damage ---- */

/* Never a success with other bytes than were put, and never all of them before a failure. */
static void assert_safe(struct memory *m, const char *bytes, size_t n, bool may_be_right)
{
    struct outcome o = outcome_of(m);
    enum store_code code = get(m, NULL, &o);
    if (code == STORE_OK && may_be_right) {
        assert_int_equal(o.data.len, n);
        assert_memory_equal(buf_str(&o.data), bytes, n);
    } else {
        assert_int_equal(code, STORE_CORRUPT);
        assert_true(o.data.len < n || n == 0);
        assert_non_null(strstr(o.err.msg, "get k"));
    }
    outcome_cleanup(&o);
}

static void a_cut_object_is_corrupt(void **state)
{
    struct memory *m = *state;
    static const size_t cut_sizes[] = {0, 1, 300 * KIB};
    for (size_t s = 0; s < LEN(cut_sizes); s++)
        for (int noise = 0; noise < 2; noise++) {
            char *bytes = make_content(cut_sizes[s], noise);
            put_packed(m, bytes, cut_sizes[s]);
            struct buf *kept = &find(m, "k")->bytes;
            size_t whole = kept->len, step = whole > 1000 ? whole / 97 : 1;
            for (size_t n = 0; n < whole; n += n + step < whole ? step : 1) {
                kept->len = n;
                assert_safe(m, bytes, cut_sizes[s], false);
            }
            kept->len = whole;
            buf_addc(kept, 'x');
            assert_safe(m, bytes, cut_sizes[s], false);
            free(bytes);
        }
}

static void a_flipped_bit_is_seen(void **state)
{
    struct memory *m = *state;
    for (int noise = 0; noise < 2; noise++) {
        size_t n = 100 * KIB;
        char *bytes = make_content(n, noise);
        put_packed(m, bytes, n);
        struct buf *kept = &find(m, "k")->bytes;
        size_t step = kept->len > 2000 ? kept->len / 251 : 1;
        for (size_t i = 0; i < kept->len; i += i < 40 ? 1 : step)
            for (unsigned bit = 0; bit < 8; bit += i < 40 ? 1 : 3) {
                kept->data[i] ^= (char)(1U << bit);
                assert_safe(m, bytes, n, true);
                kept->data[i] ^= (char)(1U << bit);
            }
        assert_kept(m, bytes, n, false);
        free(bytes);
    }
}

static void a_size_that_was_not_put_is_corrupt(void **state)
{
    struct memory *m = *state;
    static const char *const wrong[] = {"0", "3", "5", "99999999999"};
    for (size_t i = 0; i < LEN(wrong); i++) {
        put_packed(m, "text", 4);
        strcpy(find(m, "k")->values[1], wrong[i]);
        struct outcome o = outcome_of(m);
        assert_int_equal(get(m, NULL, &o), STORE_CORRUPT);
        assert_true(o.data.len < 4);
        outcome_cleanup(&o);
    }
}

static void a_backend_that_fails_at_the_end_is_believed(void **state)
{
    struct memory *m = *state;
    char *bytes = make_content(300 * KIB, true);
    struct outcome o = outcome_of(m);
    put_packed(m, bytes, 300 * KIB);
    m->fail_late = true;
    assert_int_equal(get(m, NULL, &o), STORE_CORRUPT);
    outcome_cleanup(&o);
    free(bytes);
}

static void keep_raw(struct memory *m, const void *bytes, size_t n, const char *size)
{
    put_packed(m, "", 0);
    struct object *o = find(m, "k");
    buf_reset(&o->bytes);
    buf_add(&o->bytes, bytes, n);
    snprintf(o->values[1], sizeof(o->values[1]), "%s", size);
}

/* One that wants a window of 128 MiB, as zstd --long makes them. */
static void a_window_that_is_too_large_is_refused(void **state)
{
    struct memory *m = *state;
    char *bytes = make_content(9 * MIB, false);
    size_t bound = ZSTD_compressBound(9 * MIB);
    char *frame = malloc(bound);
    for (int log = ZIP_WINDOW_LOG_MAX; log <= ZIP_WINDOW_LOG_MAX + 4; log += 4) {
        ZSTD_CCtx *c = ZSTD_createCCtx();
        ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, log);
        ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
        ZSTD_inBuffer in = {bytes, 9 * MIB, 0};
        ZSTD_outBuffer out = {frame, bound, 0};
        while (ZSTD_compressStream2(c, &out, &in, ZSTD_e_end))
            ;
        ZSTD_freeCCtx(c);
        keep_raw(m, frame, out.pos, "9437184");
        struct outcome o = outcome_of(m);
        assert_int_equal(get(m, NULL, &o), log > ZIP_WINDOW_LOG_MAX ? STORE_CORRUPT : STORE_OK);
        outcome_cleanup(&o);
    }
    free(frame);
    free(bytes);
}

/* 4 KiB that say they are 32 MiB: told piece by piece, stopped where the promised size ends. */
static void a_bomb_ends_at_the_promised_size(void **state)
{
    struct memory *m = *state;
    char *zeros = calloc(1, 32 * MIB);
    void *frame = NULL;
    size_t n = 0;
    assert_int_equal(zip_pack(zeros, 32 * MIB, &frame, &n, NULL), 0);
    assert_true(n < 8 * KIB);
    keep_raw(m, frame, n, "1000000");
    struct outcome o = outcome_of(m);
    assert_int_equal(get(m, NULL, &o), STORE_CORRUPT);
    assert_true(o.data.len < 1000000);
    outcome_cleanup(&o);
    free(frame);
    free(zeros);
}

/* ---- Pause, cancel, deadline ---- */

/* 1 MiB in some 60 bytes: all of it arrives in one piece, and none may pass a caller that pauses.
 */
static void a_pause_holds_back_what_is_decoded(void **state)
{
    struct memory *m = *state;
    char *zeros = calloc(1, MIB);
    put_packed(m, zeros, MIB);
    m->piece = MIB;
    for (int ended = 0; ended < 2; ended++) {
        struct outcome o = outcome_of(m);
        m->end_while_paused = ended;
        m->resumes = 0;
        o.op = store_get(&m->store, m->loop, "k", NULL, &get_cb, &o, NULL);
        o.pause_always = true;
        size_t most = 0;
        while (!o.done) {
            size_t before = o.data.len;
            for (int i = 0; i < 4; i++)
                store_loop_run(m->loop, 0, NULL);
            most = o.data.len - before > most ? o.data.len - before : most;
            if (o.op)
                store_op_resume(o.op);
        }
        assert_int_equal(o.err.code, STORE_OK);
        assert_int_equal(o.data.len, MIB);
        assert_true(most <= 64 * KIB);
        assert_int_equal(m->resumes, ended ? 0 : 1); /* the driver waits all the while */
        outcome_cleanup(&o);
    }
    free(zeros);
}

static void a_cancel_ends_a_compressed_get(void **state)
{
    struct memory *m = *state;
    char *bytes = make_content(5 * MIB, false);
    put_packed(m, bytes, 5 * MIB);
    for (int round = 0; round < 4; round++) {
        const struct store_get_opts opts = {.offset = round & 1 ? 100 : 0};
        struct outcome o = outcome_of(m);
        m->end_while_paused = round & 2;
        o.cancel_after = 100 * KIB;
        assert_int_equal(get(m, &opts, &o), STORE_CANCELED);
        assert_true(o.data.len < 200 * KIB);
        outcome_cleanup(&o);
    }
    free(bytes);
}

/* Whatever round of the loop the cancel comes in: between two runs of the driver too. */
static void a_cancel_at_any_time_is_told_once(void **state)
{
    struct memory *m = *state;
    static const struct store_get_opts opts[] = {{0}, {.offset = 5000}, {.length = 70000}};
    char *zeros = calloc(1, 200 * KIB);
    put_packed(m, zeros, 200 * KIB);
    for (size_t i = 0; i < LEN(opts) * 2; i++) {
        bool canceled = true;
        m->end_while_paused = i % 2;
        for (int rounds = 0; canceled; rounds++) {
            struct outcome o = outcome_of(m);
            o.pause_always = true;
            o.op = store_get(&m->store, m->loop, "k", &opts[i / 2], &get_cb, &o, NULL);
            for (int r = 0; r < rounds && o.op; r++) {
                store_loop_run(m->loop, 0, NULL);
                if (o.op && r % 2)
                    store_op_resume(o.op);
            }
            canceled = o.op;
            if (o.op) {
                store_op_cancel(o.op);
                wait_for(&o);
                assert_true(o.err.code == STORE_CANCELED || o.err.code == STORE_OK);
            }
            outcome_cleanup(&o);
            assert_true(rounds < 200);
        }
    }
    free(zeros);
}

static void a_deadline_ends_who_pauses(void **state)
{
    struct memory *m = *state;
    char *zeros = calloc(1, MIB);
    const struct store_get_opts opts = {.timeout_ms = 20, .offset = 1};
    put_packed(m, zeros, MIB);
    for (int ended = 0; ended < 2; ended++) {
        struct outcome o = outcome_of(m);
        m->end_while_paused = ended;
        m->piece = MIB;
        o.pause_always = true;
        o.op = store_get(&m->store, m->loop, "k", &opts, &get_cb, &o, NULL);
        while (!o.done)
            store_loop_run(m->loop, -1, NULL);
        assert_int_equal(o.err.code, STORE_TIMEOUT);
        outcome_cleanup(&o);
    }
    free(zeros);
}

static void a_loop_that_goes_takes_compressed_ones_along(void **state)
{
    struct memory *m = *state;
    char *zeros = calloc(1, MIB);
    put_packed(m, zeros, MIB);
    for (int rounds = 0; rounds < 12; rounds++) {
        struct outcome o = outcome_of(m);
        const struct store_get_opts opts = {.offset = rounds % 2};
        store_loop *own = NULL;
        assert_int_equal(store_loop_new(&own, NULL), 0);
        o.pause_always = true;
        o.op = store_get(&m->store, own, "k", &opts, &get_cb, &o, NULL);
        for (int i = 0; i < rounds; i++)
            store_loop_run(own, 0, NULL);
        store_loop_free(own);
        assert_true(o.done);
        outcome_cleanup(&o);
    }
    free(zeros);
}

/* ---- Memory that runs out ---- */

static void no_memory_is_an_error_and_nothing_else(void **state)
{
    struct memory *m = *state;
    static const struct store_get_opts range = {.offset = 100000, .length = 50000};
    if (!OOM_AVAILABLE)
        skip();
    char *bytes = make_content(200 * KIB, false);
    put_packed(m, bytes, 200 * KIB);
    for (int kind = 0; kind < 4; kind++) {
        const struct store_put_opts opts = {.compress = true};
        unsigned failed = 0;
        for (long n = 1;; n++) {
            struct outcome o = outcome_of(m);
            buf_reserve(&o.data, 300 * KIB);
            m->end_while_paused = false;
            o.pause_always = n % 2;
            oom_fail_nth(n);
            enum store_code code = kind == 0   ? put_bytes(m, bytes, 200 * KIB, &opts, &o)
                                   : kind == 1 ? put_stream(m, bytes, 200 * KIB, 200 * KIB, &o)
                                   : kind == 2 ? get(m, NULL, &o)
                                               : get(m, &range, &o);
            bool happened = oom_stop();
            size_t got = o.data.len, want = kind == 2 ? 200 * KIB : 50000;
            outcome_cleanup(&o);
            if (kind > 1 && code == STORE_OK)
                assert_int_equal(got, want);
            failed += code != STORE_OK;
            if (!happened) {
                assert_int_equal(code, STORE_OK);
                break;
            }
        }
        assert_true(failed > 3);
        assert_kept(m, bytes, 200 * KIB, false);
    }
    free(bytes);
}

#define IN_MEMORY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_MEMORY(what_is_put_compressed_comes_back),
        IN_MEMORY(streams_come_back),
        IN_MEMORY(a_driver_may_move_single_bytes),
        IN_MEMORY(the_frame_is_one_that_others_read),
        IN_MEMORY(nothing_shows_but_the_sizes),
        IN_MEMORY(there_is_room_for_all_metadata),
        IN_MEMORY(plain_objects_are_plain),
        IN_MEMORY(an_unknown_encoding_is_not_guessed),
        IN_MEMORY(a_size_that_nobody_knew_is_told_at_the_end),
        IN_MEMORY(a_stream_that_ends_early_is_not_stored),
        IN_MEMORY(a_stream_asks_for_no_more_than_its_size),
        IN_MEMORY(ranges_are_of_the_object),
        IN_MEMORY(ranges_of_plain_objects_are_as_before),
        IN_MEMORY(a_range_reads_no_further_than_it_must),
        IN_MEMORY(a_range_of_an_object_that_is_replaced_is_busy),
        IN_MEMORY(an_object_without_etag_that_is_replaced_is_busy),
        IN_MEMORY(conditions_hold_for_compressed_objects),
        IN_MEMORY(a_cut_object_is_corrupt),
        IN_MEMORY(a_flipped_bit_is_seen),
        IN_MEMORY(a_size_that_was_not_put_is_corrupt),
        IN_MEMORY(a_backend_that_fails_at_the_end_is_believed),
        IN_MEMORY(a_window_that_is_too_large_is_refused),
        IN_MEMORY(a_bomb_ends_at_the_promised_size),
        IN_MEMORY(a_pause_holds_back_what_is_decoded),
        IN_MEMORY(a_cancel_ends_a_compressed_get),
        IN_MEMORY(a_cancel_at_any_time_is_told_once),
        IN_MEMORY(a_deadline_ends_who_pauses),
        IN_MEMORY(a_loop_that_goes_takes_compressed_ones_along),
        IN_MEMORY(no_memory_is_an_error_and_nothing_else),
    };
    return cmocka_run_group_tests_name("zip", tests, NULL, NULL);
}
