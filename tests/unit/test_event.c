#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "janitor/event.h"

#define T              "0123456789abcdef0123456789abcdef"
#define T_UPPER        "0123456789ABCDEF0123456789ABCDEF"
#define TL             "fedcba9876543210fedcba9876543210"
#define IDS            "\"tenant_id\":\"" T "\",\"timeline_id\":\"" TL "\",\"endpoint_id\":\"ep-1\""
#define ENDPOINT(more) "{\"schema\":1,\"scope\":\"endpoint\"," IDS more "}"
#define TENANT(more)   "{\"schema\":1,\"scope\":\"tenant\",\"tenant_id\":\"" T "\"" more "}"
#define TRACE          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static struct event_header header(const char *name, const char *value)
{
    return (struct event_header){name, value, value ? strlen(value) : 0};
}

struct parsed {
    int rc;
    struct deletion d;
    enum event_class class;
    struct store_err err;
};

/* The input is copied to memory of exactly its size, so that a sanitizer sees any read past it. */
static struct parsed parse_all(const struct event_header *headers, size_t n, const char *key,
                               const char *value, size_t value_len)
{
    struct parsed p = {0};
    char *exact = value ? xmalloc(value_len ? value_len : 1) : NULL;
    if (value_len)
        memcpy(exact, value, value_len);
    p.rc = event_parse(headers, n, key, key ? strlen(key) : 0, exact, value_len, &p.d, &p.class,
                       &p.err);
    free(exact);
    return p;
}

static struct parsed parse(const char *value)
{
    return parse_all(NULL, 0, NULL, value, strlen(value));
}

static void assert_refused(const struct parsed *p, enum event_class class, const char *message)
{
    print_message("%s\n", p->err.msg);
    assert_int_equal(p->rc, -1);
    assert_string_equal(event_class_name(p->class), event_class_name(class));
    assert_true(p->err.code != STORE_OK);
    if (!strstr(p->err.msg, message))
        fail_msg("'%s' does not tell of '%s'", p->err.msg, message);
}

/* ---- What is taken ---- */

static void bare_data_is_enough(void **state)
{
    (void)state;
    struct parsed p = parse(ENDPOINT(",\"upto_gen\":7,\"reason\":\"reassigned\","
                                     "\"requested_at\":\"2026-01-02T03:04:05Z\","
                                     "\"not_before\":\"2026-01-02T04:04:05+01:00\","
                                     "\"tokens_expire_by\":\"2026-01-02T03:04:06.999Z\","
                                     "\"dry_run\":false,\"what_comes_later\":[1,{}]"));
    assert_int_equal(p.rc, 0);
    assert_int_equal(p.d.scope.kind, SCOPE_ENDPOINT);
    assert_string_equal(p.d.scope.tenant, T);
    assert_string_equal(p.d.scope.timeline, TL);
    assert_string_equal(p.d.scope.endpoint, "ep-1");
    assert_true(p.d.has_upto_gen);
    assert_int_equal(p.d.upto_gen, 7);
    assert_string_equal(p.d.reason, "reassigned");
    assert_int_equal(p.d.requested_at_s, 1767323045);
    assert_int_equal(p.d.not_before_s, 1767323045);
    assert_int_equal(p.d.tokens_expire_by_s, 1767323046);
    assert_false(p.d.dry_run);
    assert_string_equal(p.d.event_id, "");
    assert_int_equal(p.d.accepted_at_s, 0);
    struct deletion same = p.d;
    deletion_set_job_id(&same);
    assert_string_equal(p.d.job_id, same.job_id);
}

static void ids_are_lower_case_and_null_is_missing(void **state)
{
    (void)state;
    struct parsed p = parse("{\"schema\":1,\"scope\":\"tenant\",\"tenant_id\":\"" T_UPPER "\","
                            "\"timeline_id\":null,\"endpoint_id\":null,\"upto_gen\":null,"
                            "\"reason\":null,\"not_before\":null,\"dry_run\":null}");
    assert_int_equal(p.rc, 0);
    assert_int_equal(p.d.scope.kind, SCOPE_TENANT);
    assert_string_equal(p.d.scope.tenant, T);
    assert_false(p.d.has_upto_gen);
    p = parse("{\"schema\":1,\"scope\":\"timeline\",\"tenant_id\":\"" T "\",\"timeline_id\":\"" TL
              "\",\"dry_run\":true}");
    assert_int_equal(p.rc, 0);
    assert_int_equal(p.d.scope.kind, SCOPE_TIMELINE);
    assert_true(p.d.dry_run);
}

static void generations_have_64_bits(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint64_t gen;
    } cases[] = {
        {ENDPOINT(",\"upto_gen\":0"), 0},
        {ENDPOINT(",\"upto_gen\":9223372036854775807"), INT64_MAX},
        {ENDPOINT(",\"upto_gen\":\"0\""), 0},
        {ENDPOINT(",\"upto_gen\":\"9223372036854775808\""), 1ULL << 63},
        {ENDPOINT(",\"upto_gen\":\"18446744073709551615\""), UINT64_MAX},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct parsed p = parse(cases[i].value);
        assert_int_equal(p.rc, 0);
        assert_true(p.d.has_upto_gen && p.d.upto_gen == cases[i].gen);
    }
}

static void a_long_reason_is_cut_between_characters(void **state)
{
    (void)state;
    char value[1024], reason[512] = "";
    for (int i = 0; i < 100; i++)
        strcat(reason, i ? "\xe2\x82\xac" : "x"); /* one byte, then three each */
    snprintf(value, sizeof(value), TENANT(",\"reason\":\"%s\""), reason);
    struct parsed p = parse(value);
    assert_int_equal(p.rc, 0);
    assert_int_equal(strlen(p.d.reason), 127); /* 1 + 42 * 3 */
    memmove(reason, reason + 1, strlen(reason));
    snprintf(value, sizeof(value), TENANT(",\"reason\":\"%s\""), reason);
    p = parse(value);
    assert_int_equal(strlen(p.d.reason), 126);
    assert_memory_equal(p.d.reason, reason, 126);
}

static void binary_mode(void **state)
{
    (void)state;
    const char *value = TENANT("");
    struct event_header h[] = {
        header("content-type", "application/json"),
        header("ce_specversion", "1.0"),
        header("ce_id", "id-\xc3\xa9"),
        header("ce_source", "/control"),
        header("ce_type", "io.epufs.deletion.requested.v1"),
        header("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01"),
        header("ce_traceparent", TRACE),
        header("other", NULL),
    };
    struct parsed p = parse_all(h, LEN(h), T, value, strlen(value));
    assert_int_equal(p.rc, 0);
    assert_string_equal(p.d.event_id, "id-\xc3\xa9");
    assert_string_equal(p.d.event_source, "/control");
    assert_string_equal(p.d.traceparent, TRACE);
    h[6].name = "unrelated";
    p = parse_all(h, LEN(h), T_UPPER, value, strlen(value));
    assert_int_equal(p.rc, 0);
    assert_string_equal(p.d.traceparent, ""); /* all zeros: not a trace */
}

#define STRUCTURED(id, data)                                                                   \
    "{\"specversion\":\"1.0\",\"source\":\"/control\",\"type\":\"x\",\"traceparent\":\"" TRACE \
    "\",\"datacontenttype\":\"application/json\"," id data "}"

static void structured_mode(void **state)
{
    (void)state;
    static const char *const types[] = {"application/cloudevents+json",
                                        "application/cloudevents+json; charset=UTF-8",
                                        "Application/CloudEvents+JSON"};
    const char *value = STRUCTURED("\"id\":\"7\",", "\"data\":" TENANT(""));
    for (size_t i = 0; i < LEN(types); i++) {
        struct event_header h = header("content-type", types[i]);
        struct parsed p = parse_all(&h, 1, NULL, value, strlen(value));
        assert_int_equal(p.rc, 0);
        assert_string_equal(p.d.event_id, "7");
        assert_string_equal(p.d.event_source, "/control");
        assert_string_equal(p.d.traceparent, TRACE);
    }
}

/* ---- What is refused ---- */

static void each_field_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *value, *message;
    } cases[] = {
        {"{}", "'schema' is missing"},
        {"{\"schema\":2}", "'schema' is 2; expected 1"},
        {"{\"schema\":\"1\"}", "'schema' is \"1\""},
        {"{\"schema\":1.0}", "'schema'"},
        {"{\"schema\":true}", "'schema'"},
        {"[]", "an array"},
        {"{\"schema\":1}", "'scope' is missing"},
        {"{\"schema\":1,\"scope\":\"Tenant\"}", "'scope'"},
        {"{\"schema\":1,\"scope\":\"\"}", "'scope'"},
        {"{\"schema\":1,\"scope\":[\"tenant\"]}", "'scope' is an array"},
        {"{\"schema\":1,\"scope\":\"tenant\"}", "'tenant_id' is missing"},
        {"{\"schema\":1,\"scope\":\"tenant\",\"tenant_id\":7}", "'tenant_id' is 7"},
        {"{\"schema\":1,\"scope\":\"tenant\",\"tenant_id\":\"\"}", "'tenant_id'"},
        {"{\"schema\":1,\"scope\":\"tenant\",\"tenant_id\":\"" T "0\"}", "'tenant_id'"},
        {"{\"schema\":1,\"scope\":\"tenant\",\"tenant_id\":\"../" TL "\"}", "'tenant_id'"},
        {"{\"schema\":1,\"scope\":\"timeline\",\"tenant_id\":\"" T "\"}",
         "'timeline_id' is missing"},
        {"{\"schema\":1,\"scope\":\"endpoint\",\"tenant_id\":\"" T "\",\"timeline_id\":\"" TL "\"}",
         "'endpoint_id' is missing"},
        {"{\"schema\":1,\"scope\":\"endpoint\",\"tenant_id\":\"" T "\",\"timeline_id\":\"" TL
         "\",\"endpoint_id\":\"a/b\"}",
         "'endpoint_id' is \"a/b\""},
        /* One id too many: it is unclear what is to be deleted. */
        {TENANT(",\"timeline_id\":\"" TL "\""), "'timeline_id'"},
        {TENANT(",\"endpoint_id\":\"\""), "'endpoint_id'"},
        {"{\"schema\":1,\"scope\":\"timeline\"," IDS "}", "'endpoint_id'"},
        {TENANT(",\"upto_gen\":7"), "'upto_gen' is 7; expected none"},
        {TENANT(",\"upto_gen\":0"), "'upto_gen'"},
        {ENDPOINT(",\"upto_gen\":-1"), "'upto_gen' is -1"},
        {ENDPOINT(",\"upto_gen\":7.0"), "'upto_gen'"},
        {ENDPOINT(",\"upto_gen\":true"), "'upto_gen'"},
        {ENDPOINT(",\"upto_gen\":{}"), "'upto_gen' is an object"},
        {ENDPOINT(",\"upto_gen\":\"\""), "'upto_gen'"},
        {ENDPOINT(",\"upto_gen\":\"-1\""), "'upto_gen'"},
        {ENDPOINT(",\"upto_gen\":\"0x7\""), "'upto_gen'"},
        {ENDPOINT(",\"upto_gen\":\" 7\""), "'upto_gen'"},
        {ENDPOINT(",\"upto_gen\":\"18446744073709551616\""), "'upto_gen'"},
        {ENDPOINT(",\"upto_gen\":9223372036854775808"), "given as strings"},
        {ENDPOINT(",\"upto_gen\":1e999"), "too large"},
        {TENANT(",\"dry_run\":\"true\""), "'dry_run' is \"true\""},
        {TENANT(",\"dry_run\":1"), "'dry_run'"},
        {TENANT(",\"reason\":7"), "'reason' is 7"},
        {TENANT(",\"requested_at\":1767323045"), "'requested_at'"},
        {TENANT(",\"requested_at\":\"\""), "'requested_at'"},
        {TENANT(",\"not_before\":\"tomorrow\""), "'not_before' is \"tomorrow\""},
        {TENANT(",\"not_before\":\"2026-02-30T00:00:00Z\""), "'not_before'"},
        {TENANT(",\"tokens_expire_by\":\"2026-01-02\""), "'tokens_expire_by'"},
        {TENANT(",\"tokens_expire_by\":\"1969-01-02T00:00:00Z\""), "after 1970"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct parsed p = parse(cases[i].value);
        assert_refused(&p, EVENT_SCHEMA, cases[i].message);
    }
}

static void what_is_no_json(void **state)
{
    (void)state;
    static const char *const cases[] = {
        " ",
        "null",
        "{",
        "tenant",
        "{\"a\":1}x",
        "{'schema':1}",
        "{\"schema\":1,\"schema\":1}",
        "{\"schema\":01}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\xc0\xaf\"}",     /* overlong */
        "{\"a\":\"\xed\xa0\x80\"}", /* a surrogate */
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\x01\"}",
        "\xef\xbb\xbf{}",
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct parsed p = parse(cases[i]);
        assert_refused(&p, EVENT_PARSE, "JSON");
    }
    struct parsed p = parse_all(NULL, 0, NULL, NULL, 0);
    assert_refused(&p, EVENT_PARSE, "no value");
    p = parse_all(NULL, 0, NULL, "", 0);
    assert_refused(&p, EVENT_PARSE, "no value");
    p = parse_all(NULL, 0, NULL, "{\0}", 3);
    assert_refused(&p, EVENT_PARSE, "JSON");
}

static void a_message_is_ascii_on_one_line(void **state)
{
    (void)state;
    static const char *const cases[] = {
        TENANT(",\"reason\":[],\"dry_run\":\"\xc3\xa9\\n\\u001b[31m\""),
        "{\"\xc3\xa9\x1b\n\":\x7f",
        "{\"schema\":1,\"scope\":\"\xe2\x80\xae\xe2\x80\xae\xe2\x80\xae\xe2\x80\xae\"}",
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct parsed p = parse(cases[i]);
        assert_int_equal(p.rc, -1);
        for (const char *c = p.err.msg; *c; c++)
            assert_true(*c >= 0x20 && *c < 0x7f);
    }
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    enum { MORE = EVENT_MAX_BYTES + 10 };
    char *big = xmalloc(MORE + 1);
    const char *value = TENANT("");
    size_t n = strlen(value);
    memset(big, ' ', MORE);
    memcpy(big, value, n);
    struct parsed p = parse_all(NULL, 0, NULL, big, EVENT_MAX_BYTES);
    assert_int_equal(p.rc, 0);
    p = parse_all(NULL, 0, NULL, big, EVENT_MAX_BYTES + 1);
    assert_refused(&p, EVENT_PARSE, "at most 65536");

    memset(big, '[', EVENT_MAX_BYTES);
    p = parse_all(NULL, 0, NULL, big, EVENT_MAX_BYTES);
    assert_refused(&p, EVENT_PARSE, "JSON");
    for (size_t i = 0; i + 5 <= EVENT_MAX_BYTES; i += 5)
        memcpy(big + i, "{\"a\":", 5);
    p = parse_all(NULL, 0, NULL, big, EVENT_MAX_BYTES);
    assert_refused(&p, EVENT_PARSE, "JSON");
    memset(big, '9', EVENT_MAX_BYTES);
    memcpy(big, "{\"schema\":", 10);
    big[EVENT_MAX_BYTES - 1] = '}';
    p = parse_all(NULL, 0, NULL, big, EVENT_MAX_BYTES);
    assert_refused(&p, EVENT_SCHEMA, "too large");
    free(big);
}

static void cut_anywhere_it_is_refused(void **state)
{
    (void)state;
    static const char value[] = ENDPOINT(",\"upto_gen\":12,\"reason\":\"r\xc3\xa9\","
                                         "\"requested_at\":\"2026-01-02T03:04:05Z\"");
    for (size_t n = 0; n + 1 < sizeof(value); n++) {
        struct parsed p = parse_all(NULL, 0, NULL, value, n);
        assert_int_equal(p.rc, -1);
        assert_int_equal(p.class, EVENT_PARSE);
    }
}

static void any_flipped_byte_is_survived(void **state)
{
    (void)state;
    static const char value[] =
        STRUCTURED("\"id\":\"7\",", "\"data\":" ENDPOINT(",\"upto_gen\":9"));
    struct event_header h = header("content-type", "application/cloudevents+json");
    char copy[sizeof(value)];
    struct deletion d;
    enum event_class class;
    struct store_err err;
    for (size_t i = 0; i + 1 < sizeof(value); i++) {
        for (int b = 0; b < 256; b += 7) {
            memcpy(copy, value, sizeof(value));
            copy[i] = (char)b;
            event_parse(&h, 1, NULL, 0, copy, sizeof(value) - 1, &d, &class, &err);
        }
    }
}

static void another_tenants_key(void **state)
{
    (void)state;
    static const char *const keys[] = {TL, "0123456789abcdef", T "0", "\x1b\x80", "tenant"};
    const char *value = TENANT("");
    for (size_t i = 0; i < LEN(keys); i++) {
        struct parsed p = parse_all(NULL, 0, keys[i], value, strlen(value));
        assert_refused(&p, EVENT_AUTHZ, "key");
    }
    struct parsed p = parse_all(NULL, 0, "", value, strlen(value));
    assert_int_equal(p.rc, 0);
}

static void a_broken_envelope(void **state)
{
    (void)state;
    static const struct {
        const char *specversion, *id, *source, *type, *message;
        enum event_class class;
    } cases[] = {
        {"0.3", "1", "s", "t", "expected 1.0", EVENT_SCHEMA},
        {"1.1", "1", "s", "t", "expected 1.0", EVENT_SCHEMA},
        {"1", "1", "s", "t", "expected 1.0", EVENT_SCHEMA},
        {"1.0.0.0.0", "1", "s", "t", "ce_specversion", EVENT_SCHEMA},
        {"", "1", "s", "t", "expected 1.0", EVENT_SCHEMA},
        {"1.0", "", "s", "t", "'id' is missing", EVENT_SCHEMA},
        {"1.0", "1", "", "t", "'source' is missing", EVENT_SCHEMA},
        {"1.0", "1", "s", "", "'type' is missing", EVENT_SCHEMA},
        {"1.0", NULL, "s", "t", "ce_id", EVENT_PARSE},
        {"1.0", "\xff", "s", "t", "ce_id", EVENT_PARSE},
        {"1.0", "a\nb", "s", "t", "ce_id", EVENT_SCHEMA},
        {"1.0", "1", "s", "io.epufs.deletion.completed.v1", "completion", EVENT_SCHEMA},
        {"1.0", "1", "s", "io.epufs.deletion.failed.v1", "completion", EVENT_SCHEMA},
        {"1.0", "1", "s", "io.epufs.deletion.cancelled.v1", "completion", EVENT_SCHEMA},
        {"1.0", "1", "s", "org.example.held.v1", "completion", EVENT_SCHEMA},
    };
    const char *value = TENANT("");
    for (size_t i = 0; i < LEN(cases); i++) {
        const struct event_header h[] = {
            header("ce_specversion", cases[i].specversion),
            header("ce_id", cases[i].id),
            header("ce_source", cases[i].source),
            header("ce_type", cases[i].type),
        };
        struct parsed p = parse_all(h, LEN(h), NULL, value, strlen(value));
        assert_refused(&p, cases[i].class, cases[i].message);
    }
}

static void odd_headers(void **state)
{
    (void)state;
    const char *value = TENANT("");
    char long_id[400];
    memset(long_id, 'i', sizeof(long_id));
    long_id[sizeof(long_id) - 1] = '\0';
    const struct event_header one[] = {header("ce_subject", "x")};
    struct parsed p = parse_all(one, 1, NULL, value, strlen(value));
    assert_refused(&p, EVENT_SCHEMA, "specversion");
    const struct event_header twice[] = {header("ce_id", "1"), header("ce_id", "2")};
    p = parse_all(twice, 2, NULL, value, strlen(value));
    assert_refused(&p, EVENT_SCHEMA, "twice");
    const struct event_header large[] = {header("ce_id", long_id)};
    p = parse_all(large, 1, NULL, value, strlen(value));
    assert_refused(&p, EVENT_SCHEMA, "at most 255");
    const struct event_header avro[] = {header("content-type", "application/cloudevents+avro")};
    p = parse_all(avro, 1, NULL, value, strlen(value));
    assert_refused(&p, EVENT_SCHEMA, "content-type");
    const struct event_header batch[] = {
        header("content-type", "application/cloudevents-batch+json")};
    p = parse_all(batch, 1, NULL, "[]", 2);
    assert_int_equal(p.rc, -1);
    p = parse_all(batch, 1, NULL, value, strlen(value));
    assert_refused(&p, EVENT_SCHEMA, "content-type");
}

/* The longest id that is taken, and one that is a byte longer: the NUL behind it has no room. */
static void a_header_of_exactly_its_bound(void **state)
{
    (void)state;
    const char *value = TENANT("");
    char id[sizeof((struct deletion *)0)->event_id + 1];
    memset(id, 'i', sizeof(id));
    const struct event_header h[] = {
        header("ce_specversion", "1.0"),
        header("ce_source", "s"),
        header("ce_type", "t"),
        {"ce_id", id, sizeof(id) - 2},
    };
    struct parsed p = parse_all(h, LEN(h), NULL, value, strlen(value));
    assert_int_equal(p.rc, 0);
    assert_int_equal(strlen(p.d.event_id), sizeof(id) - 2);
    const struct event_header longer[] = {h[0], h[1], h[2], {"ce_id", id, sizeof(id) - 1}};
    p = parse_all(longer, LEN(longer), NULL, value, strlen(value));
    assert_refused(&p, EVENT_SCHEMA, "at most 255");
}

static void other_formats_of_cloudevents(void **state)
{
    (void)state;
    static const char *const types[] = {"application/cloudevents", "application/cloudevents+js",
                                        "application/cloudevents+jsonl",
                                        "application/cloudevents+json5; charset=UTF-8"};
    const char *value = STRUCTURED("\"id\":\"7\",", "\"data\":" TENANT(""));
    for (size_t i = 0; i < LEN(types); i++) {
        struct event_header h = header("content-type", types[i]);
        struct parsed p = parse_all(&h, 1, NULL, value, strlen(value));
        assert_refused(&p, EVENT_SCHEMA, "content-type");
    }
}

static void broken_structured_events(void **state)
{
    (void)state;
    static const struct {
        const char *value, *message;
    } cases[] = {
        {TENANT(""), "specversion"},
        {STRUCTURED("", "\"data\":" TENANT("")), "'id' is missing"},
        {STRUCTURED("\"id\":7,", "\"data\":" TENANT("")), "'id' is 7"},
        {STRUCTURED("\"id\":\"7\",", "\"x\":" TENANT("")), "'data' is missing"},
        {STRUCTURED("\"id\":\"7\",", "\"data\":[]"), "'data'"},
        {STRUCTURED("\"id\":\"7\",", "\"data\":\"{}\""), "'data'"},
        {STRUCTURED("\"id\":\"7\",", "\"data_base64\":\"e30=\""), "data_base64"},
        {STRUCTURED("\"id\":\"7\",", "\"data\":{}"), "'schema'"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\","
         "\"type\":\"io.epufs.deletion.completed.v1\",\"data\":" TENANT("") "}",
         "completion"},
    };
    const struct event_header h = header("content-type", "application/cloudevents+json");
    for (size_t i = 0; i < LEN(cases); i++) {
        struct parsed p = parse_all(&h, 1, NULL, cases[i].value, strlen(cases[i].value));
        assert_refused(&p, EVENT_SCHEMA, cases[i].message);
    }
}

/* ---- Our own events ---- */

static struct deletion some_deletion(void)
{
    struct deletion d = {
        .scope = {.kind = SCOPE_ENDPOINT, .tenant = T, .timeline = TL, .endpoint = "ep-1"},
        .has_upto_gen = true,
        .upto_gen = UINT64_MAX,
        .reason = "reassigned",
        .requested_at_s = 1767323045,
        .accepted_at_s = 1767323046,
        .event_id = "id-7",
        .traceparent = TRACE,
    };
    deletion_set_job_id(&d);
    return d;
}

static const char *text(const json_t *obj, const char *name)
{
    const char *s = json_string_value(json_object_get(obj, name));
    return s ? s : "(none)";
}

static json_t *completion_of(const struct completion *c)
{
    struct buf b = BUF_INIT(65536);
    assert_int_equal(event_completion(c, &b), 0);
    json_t *event = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(event);
    buf_cleanup(&b);
    return event;
}

static void a_completion_tells_everything(void **state)
{
    (void)state;
    struct deletion d = some_deletion();
    struct completion c = {.deletion = &d,
                           .outcome = "completed",
                           .files = 3,
                           .bytes = 1ULL << 40,
                           .attempts = 2,
                           .started_at_s = 1767323047,
                           .completed_at_s = 1767323048,
                           .source = "/epufs/janitor/g"};
    char id[80];
    json_t *event = completion_of(&c);
    const json_t *data = json_object_get(event, "data");
    snprintf(id, sizeof(id), "done:%s", d.job_id);
    assert_string_equal(text(event, "specversion"), "1.0");
    assert_string_equal(text(event, "id"), id);
    assert_string_equal(text(event, "type"), "io.epufs.deletion.completed.v1");
    assert_string_equal(text(event, "source"), "/epufs/janitor/g");
    assert_string_equal(text(event, "subject"), "tenants/" T "/timelines/" TL "/endpoints/ep-1");
    assert_string_equal(text(event, "time"), "2026-01-02T03:04:08Z");
    assert_string_equal(text(event, "datacontenttype"), "application/json");
    assert_string_equal(text(event, "causationid"), "id-7");
    assert_string_equal(text(event, "traceparent"), TRACE);
    assert_int_equal(json_integer_value(json_object_get(data, "schema")), 1);
    assert_string_equal(text(data, "scope"), "endpoint");
    assert_string_equal(text(data, "endpoint_id"), "ep-1");
    assert_string_equal(text(data, "upto_gen"), "18446744073709551615");
    assert_string_equal(text(data, "job_id"), d.job_id);
    assert_string_equal(text(data, "outcome"), "completed");
    const json_t *deleted = json_object_get(data, "deleted");
    assert_int_equal(json_integer_value(json_object_get(deleted, "files")), 3);
    assert_int_equal(json_integer_value(json_object_get(deleted, "bytes")), 1ULL << 40);
    assert_string_equal(text(data, "counts_are"), "at_least");
    assert_int_equal(json_integer_value(json_object_get(data, "attempts")), 2);
    assert_true(json_is_false(json_object_get(data, "dry_run")));
    assert_string_equal(text(data, "requested_at"), "2026-01-02T03:04:05Z");
    assert_string_equal(text(data, "accepted_at"), "2026-01-02T03:04:06Z");
    assert_string_equal(text(data, "started_at"), "2026-01-02T03:04:07Z");
    assert_string_equal(text(data, "completed_at"), "2026-01-02T03:04:08Z");
    assert_string_equal(text(data, "causation_id"), "id-7");
    assert_true(json_is_null(json_object_get(data, "error")));
    assert_true(json_is_null(json_object_get(data, "subsumed_by")));
    json_decref(event);
}

static void other_outcomes_have_other_ids(void **state)
{
    (void)state;
    static const char *const outcomes[] = {"failed", "cancelled", "held"};
    struct deletion d = some_deletion();
    d.event_id[0] = d.traceparent[0] = '\0';
    for (size_t i = 0; i < LEN(outcomes); i++) {
        struct completion c = {
            .deletion = &d, .outcome = outcomes[i], .error = "cut within \xc3", .source = "s"};
        char id[96], type[64];
        snprintf(id, sizeof(id), "%s:%s", outcomes[i], d.job_id);
        snprintf(type, sizeof(type), "io.epufs.deletion.%s.v1", outcomes[i]);
        json_t *event = completion_of(&c);
        assert_string_equal(text(event, "id"), id);
        assert_string_equal(text(event, "type"), type);
        assert_null(json_object_get(event, "causationid"));
        assert_null(json_object_get(event, "traceparent"));
        assert_null(json_object_get(event, "time"));
        const json_t *data = json_object_get(event, "data");
        assert_string_equal(text(data, "error"), "cut within ?");
        assert_true(json_is_null(json_object_get(data, "causation_id")));
        json_decref(event);
    }
}

static void our_request_is_understood_and_our_completion_refused(void **state)
{
    (void)state;
    struct deletion d = some_deletion();
    struct buf b = BUF_INIT(65536);
    const struct event_header h = header("content-type", "application/cloudevents+json");
    assert_int_equal(event_request(&d, "uuid-1", "/cli", &b), 0);
    struct parsed p = parse_all(&h, 1, T, b.data, b.len);
    assert_int_equal(p.rc, 0);
    assert_string_equal(p.d.job_id, d.job_id);
    assert_string_equal(p.d.event_id, "uuid-1");
    assert_string_equal(p.d.event_source, "/cli");
    assert_string_equal(p.d.reason, d.reason);
    assert_string_equal(p.d.traceparent, TRACE);
    assert_int_equal(p.d.requested_at_s, d.requested_at_s);
    buf_reset(&b);
    struct completion c = {.deletion = &d, .outcome = "completed", .source = "s"};
    assert_int_equal(event_completion(&c, &b), 0);
    p = parse_all(&h, 1, T, b.data, b.len);
    assert_refused(&p, EVENT_SCHEMA, "completion");
    buf_cleanup(&b);
    struct buf small = BUF_INIT(10);
    assert_int_equal(event_completion(&c, &small), -1);
    assert_int_equal(event_request(&d, "uuid-1", "/cli", &small), -1);
    buf_cleanup(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bare_data_is_enough),
        cmocka_unit_test(ids_are_lower_case_and_null_is_missing),
        cmocka_unit_test(generations_have_64_bits),
        cmocka_unit_test(a_long_reason_is_cut_between_characters),
        cmocka_unit_test(binary_mode),
        cmocka_unit_test(structured_mode),
        cmocka_unit_test(each_field_is_checked),
        cmocka_unit_test(what_is_no_json),
        cmocka_unit_test(a_message_is_ascii_on_one_line),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(cut_anywhere_it_is_refused),
        cmocka_unit_test(any_flipped_byte_is_survived),
        cmocka_unit_test(another_tenants_key),
        cmocka_unit_test(a_broken_envelope),
        cmocka_unit_test(odd_headers),
        cmocka_unit_test(a_header_of_exactly_its_bound),
        cmocka_unit_test(other_formats_of_cloudevents),
        cmocka_unit_test(broken_structured_events),
        cmocka_unit_test(a_completion_tells_everything),
        cmocka_unit_test(other_outcomes_have_other_ids),
        cmocka_unit_test(our_request_is_understood_and_our_completion_refused),
    };
    return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
