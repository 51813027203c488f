#include "janitor/letter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/xalloc.h"

#define H(name, value)                 \
    {                                  \
        name, value, sizeof(value) - 1 \
    }

static void a_letter_is_the_message_and_why(void **state)
{
    (void)state;
    struct event_header headers[] = {
        H("dlq-topic", "deletions"),
        H("dlq-partition", "3"),
        H("dlq-offset", "17"),
        H("dlq-class", "schema"),
        H("dlq-error", "why"),
        H("dlq-attempts", "1"),
        H("ce_id", "e1"),
        H("dlq-class", "authz"),
        {"none", NULL, 0},
    };
    const struct queue_msg m = {.topic = "dead-letter.v1",
                                .partition = 2,
                                .offset = 40,
                                .key = "k",
                                .key_len = 1,
                                .value = "a\0b",
                                .value_len = 3,
                                .headers = headers,
                                .n_headers = LEN(headers)};
    struct letter l;
    letter_init(&l, &m);
    assert_string_equal(l.id, "dead-letter.v1-2-40");
    assert_string_equal(l.place, "2-40");
    assert_string_equal(l.topic, "deletions");
    assert_string_equal(l.partition, "3");
    assert_string_equal(l.offset, "17");
    assert_string_equal(l.class, "schema"); /* the janitor's own is the first */
    assert_string_equal(l.error, "why");
    assert_string_equal(l.attempts, "1");
    assert_string_equal(l.stored, "");
    assert_int_equal(l.n_headers, 2);
    assert_string_equal(l.headers[0].name, "ce_id");
    assert_string_equal(l.headers[1].name, "none");
    assert_memory_equal(l.value, "a\0b", 3);
    letter_cleanup(&l);
}

static void what_is_longer_than_its_place_is_cut(void **state)
{
    (void)state;
    char error[1000], topic[600];
    memset(error, 'e', sizeof(error));
    memset(topic, 't', sizeof(topic) - 1);
    topic[sizeof(topic) - 1] = '\0';
    struct event_header headers[] = {{"dlq-error", error, sizeof(error)}, {"dlq-class", NULL, 0}};
    const struct queue_msg m = {.topic = topic, .headers = headers, .n_headers = LEN(headers)};
    struct letter l;
    letter_init(&l, &m);
    assert_int_equal(strlen(l.error), LETTER_TEXT - 1);
    assert_string_equal(l.class, "");
    assert_string_equal(l.id + strlen(l.id) - 4, "-0-0");
    letter_cleanup(&l);
}

static void ids(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_id, is_mine;
    } cases[] = {
        {"a-b-2-40", true, true},   {"2-40", true, true},      {"b-2-40", true, false},
        {"-2-40", false, false},    {"2-4", true, false},      {"12-40", true, false},
        {"a-b-2-041", true, false}, {"40", false, false},      {"", false, false},
        {"-", false, false},        {"-40", false, false},     {"2-", false, false},
        {"x-40", false, false},     {"a-b-2-x", false, false}, {"2--40", false, false},
    };
    const struct queue_msg m = {.topic = "a-b", .partition = 2, .offset = 40};
    struct letter l;
    letter_init(&l, &m);
    for (size_t i = 0; i < LEN(cases); i++) {
        print_message("%s\n", cases[i].text);
        assert_int_equal(letter_is_id(cases[i].text), cases[i].is_id);
        if (cases[i].is_id)
            assert_int_equal(letter_has_id(&l, cases[i].text), cases[i].is_mine);
    }
    letter_cleanup(&l);
}

static void what_was_in_the_bucket_takes_the_pointer_s_place(void **state)
{
    (void)state;
    static const char json[] =
        "{\"schema\":1,\"key_base64\":null,\"value_base64\":\"+/8A\",\"headers\":["
        "{\"name\":\"ce_id\",\"value_base64\":\"ZTE=\"},"
        "{\"name\":\"dlq-class\",\"value_base64\":\"ZTE=\"},"
        "{\"name\":\"none\",\"value_base64\":null}]}";
    const struct queue_msg m = {.topic = "t", .key = "pointer", .key_len = 7, .value = "{}"};
    struct letter l;
    struct store_err err;
    letter_init(&l, &m);
    for (int i = 0; i < 2; i++) { /* again is the same */
        assert_int_equal(letter_from_json(&l, json, strlen(json), &err), 0);
        assert_null(l.key);
        assert_int_equal(l.value_len, 3);
        assert_memory_equal(l.value, "\xfb\xff\0", 3);
        assert_int_equal(l.n_headers, 2);
        assert_memory_equal(l.headers[0].value, "e1", 2);
        assert_string_equal(l.headers[1].name, "none");
        assert_null(l.headers[1].value);
    }
    letter_cleanup(&l);
}

static void what_no_janitor_wrote_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"key_base64\":null,\"value_base64\":null}",
        "{\"key_base64\":null,\"headers\":[]}",
        "{\"key_base64\":5,\"value_base64\":null,\"headers\":[]}",
        "{\"key_base64\":\"!\",\"value_base64\":null,\"headers\":[]}",
        "{\"key_base64\":\"Y\",\"value_base64\":null,\"headers\":[]}",
        "{\"key_base64\":\"Y===\",\"value_base64\":null,\"headers\":[]}",
        "{\"key_base64\":null,\"value_base64\":null,\"headers\":{}}",
        "{\"key_base64\":null,\"value_base64\":null,\"headers\":[5]}",
        "{\"key_base64\":null,\"value_base64\":null,\"headers\":[{\"name\":\"x\"}]}",
        "{\"key_base64\":null,\"value_base64\":null,\"headers\":[{\"value_base64\":null}]}",
    };
    const struct queue_msg m = {.topic = "t"};
    for (size_t i = 0; i < LEN(bad); i++) {
        struct letter l;
        struct store_err err = {0};
        letter_init(&l, &m);
        print_message("%s\n", bad[i]);
        assert_int_equal(letter_from_json(&l, bad[i], strlen(bad[i]), &err), -1);
        assert_int_equal(err.code, STORE_INVALID);
        letter_cleanup(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_letter_is_the_message_and_why),
        cmocka_unit_test(what_is_longer_than_its_place_is_cut),
        cmocka_unit_test(ids),
        cmocka_unit_test(what_was_in_the_bucket_takes_the_pointer_s_place),
        cmocka_unit_test(what_no_janitor_wrote_is_refused),
    };
    return cmocka_run_group_tests_name("letter", tests, NULL, NULL);
}
