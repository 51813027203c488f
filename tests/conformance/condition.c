/* Conditions: If-Match, If-None-Match, If-Modified-Since (RFC 9110, 13.1). */
#include "tests/conformance/conformance.h"

static const char wrong[] = "0123456789abcdef0123456789abcdef";

static void a_get_keeps_its_conditions(struct test *t)
{
    const char *etag = t_put_text(t, "k", "0123456789")->info.etag;
    int64_t modified_s = t_ok(t_head(t, "k"))->info.modified_s;
    const struct {
        const char *name;
        struct store_get_opts opts;
        enum store_code code;
    } rows[] = {
        {"this ETag", {.if_match = etag}, STORE_OK},
        {"another ETag", {.if_match = wrong}, STORE_PRECONDITION},
        {"not this ETag", {.if_none_match = etag}, STORE_NOT_MODIFIED},
        {"not another ETag", {.if_none_match = wrong}, STORE_OK},
        {"newer than itself", {.if_modified_since_s = modified_s}, STORE_NOT_MODIFIED},
        {"newer than before", {.if_modified_since_s = modified_s - 1}, STORE_OK},
        {"newer than long ago", {.if_modified_since_s = 1}, STORE_OK},
        {"this ETag, a range", {.if_match = etag, .offset = 2, .length = 3}, STORE_OK},
        {"another ETag, a range", {.if_match = wrong, .offset = 2}, STORE_PRECONDITION},
        {"not this ETag, a range", {.if_none_match = etag, .offset = 2}, STORE_NOT_MODIFIED},
    };
    for (size_t i = 0; i < LEN(rows); i++) {
        struct result *r = t_get(t, "k", &rows[i].opts);
        EXPECT(t, !r->refused && r->err.code == rows[i].code, "get, %s: expected %s, came %s: %s",
               rows[i].name, store_code_name(rows[i].code), store_code_name(r->err.code),
               r->err.msg);
        EXPECT(t, r->n_head == (rows[i].code == STORE_OK), "get, %s: `head` came %u times",
               rows[i].name, r->n_head);
    }
}

/* 13.1.3: If-None-Match is the more exact, and If-Modified-Since is ignored beside it. */
static void an_etag_counts_for_more_than_a_time(struct test *t)
{
    t_put_text(t, "k", "x");
    int64_t modified_s = t_ok(t_head(t, "k"))->info.modified_s;
    t_ok(
        t_get(t, "k",
              &(struct store_get_opts){.if_none_match = wrong, .if_modified_since_s = modified_s}));
}

static void create(struct test *t, const char *key, const char *text, enum store_code code)
{
    t_code(t_put(t, key, text, strlen(text), &(struct store_put_opts){.if_absent = true}), code);
}

static void a_put_creates_only_where_nothing_is(struct test *t)
{
    create(t, "k", "first", STORE_OK);
    create(t, "k", "second", STORE_PRECONDITION);
    create(t, "k", "first", STORE_PRECONDITION);
    t_holds_text(t, "k", "first");
    t_ok(t_delete(t, "k"));
    create(t, "k", "third", STORE_OK);
    t_holds_text(t, "k", "third");
}

static void an_empty_object_is_something(struct test *t)
{
    create(t, "k", "", STORE_OK);
    create(t, "k", "", STORE_PRECONDITION);
    t_holds_text(t, "k", "");
}

/* Returns the one that won; its text is "n" and its number in the list. */
static size_t one_winner(struct test *t, struct result **puts, size_t n)
{
    size_t winner = n, winners = 0;
    for (size_t i = 0; i < n; i++) {
        t_wait(puts[i]);
        if (puts[i]->err.code != STORE_OK)
            t_code(puts[i], STORE_PRECONDITION);
        else
            winners++, winner = i;
    }
    EXPECT(t, winners == 1, "expected one winner of %zu, came %zu", n, winners);
    return winner;
}

static void one_of_many_that_create_wins(struct test *t)
{
    enum { RACERS = 16, ROUNDS = 4 };
    struct result *puts[RACERS];
    for (int round = 0; round < ROUNDS; round++) {
        const char *key = t_printf(t, "race/%d", round);
        for (size_t i = 0; i < RACERS; i++) {
            const char *text = t_printf(t, "n%zu", i);
            puts[i] = t_put_start(t, key, text, strlen(text),
                                  &(struct store_put_opts){.if_absent = true});
        }
        t_holds_text(t, key, t_printf(t, "n%zu", one_winner(t, puts, RACERS)));
    }
}

static void one_of_many_streams_that_create_wins(struct test *t)
{
    enum { RACERS = 8 };
    struct result *puts[RACERS];
    for (size_t i = 0; i < RACERS; i++) {
        const struct source source = {.size = 1000 + i};
        puts[i] = t_stream_start(t, "k", source.size, &source,
                                 &(struct store_put_opts){.if_absent = true});
    }
    size_t winner = one_winner(t, puts, RACERS);
    t_is_pattern(t_ok(t_get(t, "k", NULL)), 0, 1000 + winner);
}

static void replace(struct test *t, const char *key, const char *text, const char *etag,
                    enum store_code code)
{
    t_code(t_put(t, key, text, strlen(text), &(struct store_put_opts){.if_match = etag}), code);
}

static void a_put_replaces_what_it_names(struct test *t)
{
    const char *etag = t_put_text(t, "k", "first")->info.etag;
    struct result *put =
        t_ok(t_put(t, "k", "second", 6, &(struct store_put_opts){.if_match = etag}));
    t_holds_text(t, "k", "second");
    replace(t, "k", "third", put->info.etag, STORE_OK);
    t_holds_text(t, "k", "third");
}

static void a_put_replaces_nothing_else(struct test *t)
{
    const char *etag = t_put_text(t, "k", "first")->info.etag;
    replace(t, "k", "x", wrong, STORE_PRECONDITION);
    t_put_text(t, "k", "second");
    replace(t, "k", "x", etag, STORE_PRECONDITION);
    t_holds_text(t, "k", "second");
}

static void a_put_replaces_no_absent_object(struct test *t)
{
    const char *etag = t_put_text(t, "gone", "first")->info.etag;
    t_ok(t_delete(t, "gone"));
    replace(t, "gone", "x", etag, STORE_PRECONDITION);
    t_absent(t, "gone");
    replace(t, "never", "x", wrong, STORE_PRECONDITION);
    t_absent(t, "never");
    t_empty(t, "");
}

static void one_of_many_that_replace_wins(struct test *t)
{
    enum { RACERS = 16, ROUNDS = 4 };
    struct result *puts[RACERS];
    const char *etag = t_put_text(t, "k", "first")->info.etag;
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < RACERS; i++) {
            const char *text = t_printf(t, "%d-n%zu", round, i);
            puts[i] =
                t_put_start(t, "k", text, strlen(text), &(struct store_put_opts){.if_match = etag});
        }
        size_t winner = one_winner(t, puts, RACERS);
        t_holds_text(t, "k", t_printf(t, "%d-n%zu", round, winner));
        etag = puts[winner]->info.etag;
    }
}

static const struct test_case cases[] = {
    CASE(a_get_keeps_its_conditions),          CASE(an_etag_counts_for_more_than_a_time),
    CASE(a_put_creates_only_where_nothing_is), CASE(an_empty_object_is_something),
    CASE(one_of_many_that_create_wins),        CASE(one_of_many_streams_that_create_wins),
    CASE(a_put_replaces_what_it_names),        CASE(a_put_replaces_nothing_else),
    CASE(a_put_replaces_no_absent_object),     CASE(one_of_many_that_replace_wins),
};
const struct test_group condition_group = {"condition", cases, LEN(cases)};
