/* The S3 driver against a scripted peer: what it asks for, and what it makes of each way in which
 * an answer can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <time.h>

#include <store/store.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/xalloc.h"
#include "tests/unit/s3_peer.h"

#define LIST(truncated, rest)                                                                    \
    "<?xml "                                                                                     \
    "version=\"1.0\"?><ListBucketResult><EncodingType>url</EncodingType><IsTruncated>" truncated \
    "</IsTruncated>" rest "</ListBucketResult>"
#define ENTRY(key)     "<Contents><Key>" key "</Key><Size>3</Size><ETag>\"e\"</ETag></Contents>"
#define TOKEN(t)       "<NextContinuationToken>" t "</NextContinuationToken>"
#define ERROR(code)    "<Error><Code>" code "</Code><Message>so it says</Message></Error>"
#define RESULT(errors) "<DeleteResult>" errors "</DeleteResult>"
#define KEY_ERROR(key, code) \
    "<Error><Key>" key "</Key><Code>" code "</Code><Message>no</Message></Error>"

/* ---- A store whose server is the script ---- */

struct bench {
    struct peer peer;
    store *s;
    store_loop *loop;
};

static struct bench b;

static void open_with(const char *url, const struct step *script, size_t n, uint32_t op_timeout_ms)
{
    char endpoint[64];
    struct store_err err = {0};
    peer_start(&b.peer, script, n);
    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u", b.peer.port);
    const struct store_conf conf = {
        .region = "eu-test-1",
        .endpoint = endpoint,
        .access_key = "AKIDTEST",
        .secret_key = "secret",
        .op_timeout_ms = op_timeout_ms,
        .stall_timeout_ms = 1000,
    };
    if (store_open(url, &conf, &b.s, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(store_loop_new(&b.loop, NULL), 0);
}

#define OPEN(script) open_with("s3://bucket/pre", script, LEN(script), 10000)

/* Ends loop and peer: from here on its requests may be looked at. */
static void close_after(size_t n_requests)
{
    store_loop_free(b.loop);
    store_close(b.s);
    peer_stop(&b.peer);
    if (b.peer.n_requests != n_requests)
        for (size_t i = 0; i < b.peer.n_requests; i++)
            print_message("%zu: %.*s\n", i + 1, (int)strcspn(b.peer.requests[i].head, "\r"),
                          b.peer.requests[i].head);
    assert_int_equal(b.peer.n_requests, n_requests);
}

static int clean_up(void **state)
{
    (void)state;
    peer_cleanup(&b.peer);
    return 0;
}

static const struct request *request(size_t number)
{
    return &b.peer.requests[number - 1];
}

static void assert_starts(size_t number, const char *start)
{
    if (strncmp(request(number)->head, start, strlen(start)) != 0)
        fail_msg("'%s', not '%.200s'", start, request(number)->head);
}

static void assert_asks(size_t number, const char *part)
{
    const char *head = request(number)->head;
    char line[4096];
    snprintf(line, sizeof(line), "%.*s", (int)strcspn(head, "\r"), head);
    if (!strstr(line, part))
        fail_msg("no '%s' in '%s'", part, line);
}

static void assert_header(size_t number, const char *name, const char *value)
{
    const char *sent = request_header(request(number), name);
    if (!sent != !value || (sent && strcmp(sent, value) != 0))
        fail_msg("%s: %s, not %s", name, sent ? sent : "none", value ? value : "none");
}

/* ---- One operation ---- */

struct outcome {
    unsigned dones, heads, pages;
    struct store_err err;
    struct store_info info, head;
    char etag[STORE_ETAG_SIZE], content_type[64], meta[128];
    struct buf data, keys; /* keys: "a|b|" */
    bool more;
};

static struct outcome o;

static void on_done(void *user, const struct store_err *err, const struct store_info *info)
{
    (void)user;
    o.dones++;
    o.err = *err;
    o.info = *info;
    snprintf(o.etag, sizeof(o.etag), "%s", info->etag);
    snprintf(o.content_type, sizeof(o.content_type), "%s", info->content_type);
    for (size_t i = 0; i < info->n_meta; i++)
        snprintf(o.meta + strlen(o.meta), sizeof(o.meta) - strlen(o.meta), "%s=%s;",
                 info->meta[i].name, info->meta[i].value);
}

static void on_head(void *user, const struct store_info *info)
{
    (void)user;
    o.heads++;
    o.head = *info;
}

static bool on_data(void *user, const void *bytes, size_t n)
{
    (void)user;
    assert_int_equal(o.heads, 1);
    buf_add(&o.data, bytes, n);
    return true;
}

static void on_page(void *user, const struct store_page *page)
{
    (void)user;
    o.pages++;
    o.more = page->next_token != NULL;
    for (size_t i = 0; i < page->n; i++)
        buf_addf(&o.keys, "%s|", page->entries[i].key);
}

static const struct store_get_cb get_cb = {on_head, on_data, on_done};
static const struct store_list_cb list_cb = {on_page, on_done};

static void begin(void)
{
    buf_cleanup(&o.data);
    buf_cleanup(&o.keys);
    memset(&o, 0, sizeof(o));
    buf_init(&o.data, 1 << 20);
    buf_init(&o.keys, 1 << 20);
}

static enum store_code finish(store_op *op)
{
    assert_non_null(op);
    while (!o.dones)
        assert_int_equal(store_loop_run(b.loop, -1, NULL), 0);
    assert_int_equal(store_loop_run(b.loop, 0, NULL), 0);
    assert_int_equal(o.dones, 1);
    return o.err.code;
}

static enum store_code get(const char *key, const struct store_get_opts *opts)
{
    begin();
    return finish(store_get(b.s, b.loop, key, opts, &get_cb, NULL, NULL));
}

static enum store_code head(const char *key)
{
    begin();
    return finish(store_head(b.s, b.loop, key, 0, on_done, NULL, NULL));
}

static enum store_code put(const char *key, const char *text, const struct store_put_opts *opts)
{
    begin();
    return finish(store_put_bytes(b.s, b.loop, key, text, strlen(text), opts, on_done, NULL, NULL));
}

static ssize_t stream_more(void *user, void *buf, size_t cap)
{
    (void)user;
    memset(buf, 's', cap);
    return (ssize_t)cap;
}

static enum store_code stream(const char *key, uint64_t size)
{
    static const struct store_put_cb cb = {stream_more, on_done};
    begin();
    return finish(store_put(b.s, b.loop, key, size, NULL, &cb, NULL, NULL));
}

static enum store_code list(const char *prefix, const struct store_list_opts *opts)
{
    begin();
    return finish(store_list(b.s, b.loop, prefix, opts, &list_cb, NULL, NULL));
}

static enum store_code remove_many(const char *const *keys, size_t n)
{
    begin();
    return finish(store_delete_many(b.s, b.loop, keys, n, 0, on_done, NULL, NULL));
}

static enum store_code remove_one(const char *key)
{
    begin();
    return finish(store_delete(b.s, b.loop, key, 0, on_done, NULL, NULL));
}

/* ---- What is asked ---- */

static void assert_signed(size_t number, const char *payload_hash)
{
    const char *authorization = request_header(request(number), "Authorization");
    assert_non_null(authorization);
    assert_memory_equal(authorization, "AWS4-HMAC-SHA256 Credential=AKIDTEST/", 37);
    assert_non_null(strstr(authorization, "/eu-test-1/s3/aws4_request"));
    assert_non_null(strstr(authorization, "host;"));
    assert_non_null(strstr(authorization, "Signature="));
    assert_non_null(request_header(request(number), "X-Amz-Date"));
    if (payload_hash)
        assert_header(number, "x-amz-content-sha256", payload_hash);
    assert_header(number, "Expect", NULL);
    assert_header(number, "Transfer-Encoding", NULL);
}

static void a_listing_is_asked_for_and_read(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, "Content-Type: application/xml\r\n",
         LIST("true", ENTRY("pre/a/1%2B%C3%A9%0A") ENTRY("pre/a/2") TOKEN("t+/=")), .sent = 0},
        {200, NULL, LIST("false", ""), .sent = 0},
    };
    OPEN(script);
    assert_int_equal(list("a/", &(struct store_list_opts){.max = 7, .start_after = "a/0 &?"}),
                     STORE_OK);
    assert_int_equal(o.pages, 1);
    assert_true(o.more);
    assert_string_equal(buf_str(&o.keys), "a/1+\xc3\xa9\n|a/2|");
    assert_true(o.info.server_time_s > 0);
    assert_int_equal(list("", &(struct store_list_opts){.token = "t+/=", .delimiter = '/'}),
                     STORE_OK);
    close_after(2);
    assert_starts(1, "GET /bucket/?");
    assert_asks(1, "list-type=2");
    assert_asks(1, "encoding-type=url");
    assert_asks(1, "max-keys=7");
    assert_asks(1, "prefix=pre%2Fa%2F");
    assert_asks(1, "start-after=pre%2Fa%2F0%20%26%3F");
    assert_signed(1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_asks(2, "continuation-token=t%2B%2F%3D");
    assert_asks(2, "delimiter=%2F");
    assert_asks(2, "prefix=pre%2F");
    assert_int_equal(request(1)->connection, request(2)->connection); /* kept alive */
}

static void paths_are_encoded_once_and_sent_as_they_are(void **state)
{
    (void)state;
    static const struct {
        const char *key, *path;
    } cases[] = {
        {"a/b", "/bucket/pre/a/b "},
        {".../a..", "/bucket/pre/.../a.. "},
        {"a b+c", "/bucket/pre/a%20b%2Bc "},
        {"%2e%2e/x", "/bucket/pre/%252e%252e/x "},
        {"q?x=1#f&g", "/bucket/pre/q%3Fx%3D1%23f%26g "},
        {"\xc3\xa9~-_.", "/bucket/pre/%C3%A9~-_. "},
        {"'()*!:@", "/bucket/pre/%27%28%29%2A%21%3A%40 "},
        {"nl\ncr\r", "/bucket/pre/nl%0Acr%0D "},
    };
    struct step script[LEN(cases)];
    for (size_t i = 0; i < LEN(cases); i++)
        script[i] = (struct step){.status = 200};
    OPEN(script);
    for (size_t i = 0; i < LEN(cases); i++)
        assert_int_equal(head(cases[i].key), STORE_OK);
    close_after(LEN(cases));
    for (size_t i = 0; i < LEN(cases); i++) {
        char start[200];
        snprintf(start, sizeof(start), "HEAD %sHTTP/1.1\r\n", cases[i].path);
        assert_starts(i + 1, start);
        assert_signed(i + 1, NULL);
    }
}

/* A key that was stored as "..": not ours, but it must be that one which is removed. */
static void dots_are_not_normalised_away(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 204}, {.status = 204}};
    OPEN(script);
    assert_int_equal(remove_one("a/../b"), STORE_OK);
    assert_int_equal(remove_one("a//./b"), STORE_OK);
    close_after(2);
    assert_starts(1, "DELETE /bucket/pre/a/../b HTTP/1.1\r\n");
    assert_starts(2, "DELETE /bucket/pre/a//./b HTTP/1.1\r\n");
}

static void a_put_carries_everything(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, "ETag: \"abc\"\r\n", NULL, .sent = 0},
        {200, "ETag: \"abc\"\r\n", NULL, .sent = 0},
        {.status = 200},
        {.status = 412, .body = ERROR("PreconditionFailed")},
    };
    static const struct store_meta meta[] = {{"one", "1"}, {"two", "x y"}};
    OPEN(script);
    const struct store_put_opts first = {
        .content_type = "text/plain", .meta = meta, .n_meta = 2, .if_absent = true};
    assert_int_equal(put("k", "hello", &first), STORE_OK);
    assert_string_equal(o.etag, "abc");
    assert_int_equal(o.info.size, 5);
    assert_true(o.info.server_time_s > 0);
    assert_int_equal(stream("k", 300000), STORE_OK);
    assert_int_equal(put("empty", "", NULL), STORE_OK);
    assert_int_equal(put("k", "x", &(struct store_put_opts){.if_match = "abc"}),
                     STORE_PRECONDITION);
    close_after(4);
    assert_starts(1, "PUT /bucket/pre/k HTTP/1.1\r\n");
    assert_signed(1, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_header(1, "Content-Length", "5");
    assert_header(1, "Content-Type", "text/plain");
    assert_header(1, "If-None-Match", "*");
    assert_header(1, "x-amz-meta-one", "1");
    assert_header(1, "x-amz-meta-two", "x y");
    assert_int_equal(request(1)->body.len, 5);
    assert_memory_equal(request(1)->body.data, "hello", 5);
    assert_signed(2, "UNSIGNED-PAYLOAD");
    assert_int_equal(request(2)->body.len, 300000);
    assert_header(2, "Content-Type", "application/octet-stream");
    assert_header(3, "Content-Length", "0");
    assert_header(4, "If-Match", "\"abc\"");
}

static void assert_md5(size_t number)
{
    unsigned char md5[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    char text[40];
    const struct buf *body = &request(number)->body;
    assert_true(EVP_Digest(body->data, body->len, md5, &n, EVP_md5(), NULL));
    base64_encode(md5, n, text);
    assert_header(number, "Content-MD5", text);
}

static void a_batch_carries_its_checksum(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 200, .body = RESULT("")}};
    static const char *const keys[] = {"a/1", "a/<&>\"", "a/\xc3\xa9"};
    OPEN(script);
    assert_int_equal(remove_many(keys, LEN(keys)), STORE_OK);
    close_after(1);
    assert_starts(1, "POST /bucket/?delete");
    assert_md5(1);
    assert_signed(1, NULL);
    const char *body = buf_str(&request(1)->body);
    assert_non_null(strstr(body, "<Quiet>true</Quiet>"));
    assert_non_null(strstr(body, "<Key>pre/a/1</Key>"));
    assert_non_null(strstr(body, "<Key>pre/a/&lt;&amp;&gt;"));
    assert_non_null(strstr(body, "<Key>pre/a/\xc3\xa9</Key>"));
}

static void a_description_is_read(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200,
         "ETag: \"e-1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
         "Content-Type: text/plain\r\nX-Amz-Meta-One: 1\r\nx-amz-meta-two:  x y \r\n"
         "Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n",
         NULL, .length = 123456789012},
    };
    OPEN(script);
    assert_int_equal(head("k"), STORE_OK);
    assert_int_equal(o.info.size, 123456789012);
    assert_int_equal(o.info.modified_s, 784111777);
    assert_int_equal(o.info.server_time_s, 784111778);
    assert_string_equal(o.etag, "e-1");
    assert_string_equal(o.content_type, "text/plain");
    assert_string_equal(o.meta, "one=1;two=x y;");
    close_after(1);
}

/* ---- Statuses ---- */

static void refusals_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        struct step step;
        enum store_code code;
    } cases[] = {
        {{.status = 404, .body = ERROR("NoSuchKey")}, STORE_NOT_FOUND},
        {{.status = 404, .body = ERROR("NoSuchBucket")}, STORE_FAILED},
        {{.status = 404}, STORE_NOT_FOUND},
        {{.status = 403, .body = ERROR("AccessDenied")}, STORE_DENIED},
        {{.status = 403, .body = ERROR("SignatureDoesNotMatch")}, STORE_DENIED},
        {{.status = 304}, STORE_NOT_MODIFIED},
        {{.status = 412, .body = ERROR("PreconditionFailed")}, STORE_PRECONDITION},
        {{.status = 416, .body = ERROR("InvalidRange")}, STORE_BAD_RANGE},
        {{.status = 400, .body = "<html>not S3"}, STORE_FAILED},
        {{.status = 301,
          .headers = "Location: http://127.0.0.1:1/\r\n",
          .body = ERROR("PermanentRedirect")},
         STORE_FAILED},
        {{.status = 307, .headers = "Location: http://127.0.0.1:1/\r\n"}, STORE_FAILED},
    };
    struct step script[LEN(cases)];
    for (size_t i = 0; i < LEN(cases); i++)
        script[i] = cases[i].step;
    OPEN(script);
    for (size_t i = 0; i < LEN(cases); i++) {
        if (get("k", NULL) != cases[i].code)
            fail_msg("case %zu: %s", i, o.err.msg);
        assert_int_equal(o.err.http_status, cases[i].step.status);
        assert_int_equal(o.data.len, 0);
        assert_int_equal(o.heads, 0);
    }
    close_after(LEN(cases));
}

static void what_is_gone_already_is_deleted(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 404, .body = ERROR("NoSuchKey")},
        {.status = 404, .body = ERROR("NoSuchBucket")},
        {.status = 200, .body = RESULT(KEY_ERROR("pre/a", "NoSuchKey"))},
    };
    static const char *const keys[] = {"a"};
    OPEN(script);
    assert_int_equal(remove_one("a"), STORE_OK);
    assert_int_equal(remove_one("a"), STORE_FAILED);
    assert_int_equal(remove_many(keys, 1), STORE_OK);
    close_after(3);
}

/* ---- Trouble that passes ---- */

static void outages_are_waited_out(void **state)
{
    (void)state;
    static const struct step troubles[] = {
        {.status = 503},
        {.status = 503, .body = ERROR("SlowDown")},
        {.status = 500, .body = "<html><body>proxy error"},
        {.status = 502},
        {.status = 504},
        {.status = 429},
        {.status = 400, .body = ERROR("RequestTimeout")},
        {.status = 200, .body = ERROR("SlowDown")}, /* S3 answers 200 before it knows */
        {.status = 200, .body = ERROR("InternalError")},
        {.trouble = CLOSES_BEFORE_HEAD},
        {.status = 0, .body = "this is not HTTP\r\n\r\n"},
        {.status = 200, .body = LIST("false", ""), .trouble = CUTS_BODY, .sent = 0},
        {.status = 200, .body = LIST("false", ""), .trouble = CUTS_BODY, .sent = 40},
        {.status = 200, .body = LIST("false", ""), .trouble = TELLS_NO_LENGTH, .sent = 40},
        {.status = 200, .body = "<ListBucketResult><IsTruncated>false</IsTruncated>"},
        {.status = 200, .body = LIST("true", "")}, /* truncated, but how to go on is missing */
        {.status = 200, .body = "<ListBucketResult></ListBucketResult>"},
        {.status = 200, .body = RESULT("")},
        {.status = 200, .body = "<html></html>"},
        {.status = 200, .body = ""},
    };
    for (size_t i = 0; i < LEN(troubles); i++) {
        const struct step script[] = {troubles[i],
                                      {.status = 200, .body = LIST("false", ENTRY("pre/a"))}};
        OPEN(script);
        if (list("", NULL) != STORE_OK)
            fail_msg("case %zu: %s", i, o.err.msg);
        assert_int_equal(o.pages, 1);
        assert_string_equal(buf_str(&o.keys), "a|");
        close_after(2);
        peer_cleanup(&b.peer);
    }
}

static void a_hint_is_waited_for(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 503, .headers = "Retry-After: 1\r\n"},
        {.status = 200},
        {.status = 503, .headers = "Retry-After: 60\r\n"},
    };
    OPEN(script);
    uint64_t begin_ms = clock_mono_ms();
    assert_int_equal(head("k"), STORE_OK);
    assert_true(clock_mono_ms() - begin_ms >= 1000);
    /* A wait beyond the deadline is not begun. */
    begin_ms = clock_mono_ms();
    assert_int_equal(head("k"), STORE_BUSY);
    assert_true(clock_mono_ms() - begin_ms < 9000);
    assert_int_equal(o.err.retry_after_ms, 60000);
    assert_int_equal(o.err.http_status, 503);
    close_after(3);
}

static void the_deadline_bounds_all_tries(void **state)
{
    (void)state;
    struct step script[PEER_MAX_REQUESTS];
    for (size_t i = 0; i < LEN(script); i++)
        script[i] = (struct step){.status = 503};
    open_with("s3://bucket", script, LEN(script), 400);
    uint64_t begin_ms = clock_mono_ms();
    assert_int_equal(head("k"), STORE_BUSY);
    assert_true(clock_mono_ms() - begin_ms <= 2000);
    store_loop_free(b.loop);
    store_close(b.s);
    peer_stop(&b.peer);
    assert_in_range(b.peer.n_requests, 2, 12);
}

static void nobody_there_is_busy(void **state)
{
    (void)state;
    open_with("s3://bucket", NULL, 0, 400);
    peer_stop(&b.peer);
    assert_int_equal(head("k"), STORE_BUSY);
    assert_int_equal(o.err.http_status, 0);
    store_loop_free(b.loop);
    store_close(b.s);
}

/* ---- Reading ---- */

#define TEN      "0123456789"
#define ETAG_ONE "ETag: \"one\"\r\n"

static void a_cut_body_is_resumed(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, ETAG_ONE, TEN, CUTS_BODY, 4, 0},
        {.trouble = CLOSES_BEFORE_HEAD},
        {206, ETAG_ONE "Content-Range: bytes 4-9/10\r\n", "456789", CUTS_BODY, 3, 0},
        {206, ETAG_ONE "Content-Range: bytes 7-9/10\r\n", "789", .sent = 0},
    };
    OPEN(script);
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_int_equal(o.heads, 1);
    assert_int_equal(o.head.length, 10);
    assert_string_equal(buf_str(&o.data), TEN);
    assert_string_equal(o.etag, "one");
    close_after(4);
    assert_header(1, "Range", NULL);
    assert_header(1, "If-Match", NULL);
    assert_header(2, "Range", "bytes=4-9");
    assert_header(3, "Range", "bytes=4-9");
    assert_header(4, "Range", "bytes=7-9");
    assert_header(4, "If-Match", "\"one\"");
}

static void a_range_is_resumed_within(void **state)
{
    (void)state;
    static const struct step script[] = {
        {206, ETAG_ONE "Content-Range: bytes 2-7/10\r\n", "234567", CUTS_BODY, 2, 0},
        {206, ETAG_ONE "Content-Range: bytes 4-7/10\r\n", "4567", .sent = 0},
        {206, ETAG_ONE "Content-Range: bytes 6-9/10\r\n", "6789", .sent = 0},
    };
    OPEN(script);
    assert_int_equal(get("k", &(struct store_get_opts){.offset = 2, .length = 6}), STORE_OK);
    assert_string_equal(buf_str(&o.data), "234567");
    assert_int_equal(o.head.size, 10);
    assert_int_equal(o.head.offset, 2);
    assert_int_equal(o.head.length, 6);
    /* Beyond the end: cut by the store. */
    assert_int_equal(get("k", &(struct store_get_opts){.offset = 6, .length = 100}), STORE_OK);
    assert_string_equal(buf_str(&o.data), "6789");
    close_after(3);
    assert_header(1, "Range", "bytes=2-7");
    assert_header(2, "Range", "bytes=4-7");
    assert_header(3, "Range", "bytes=6-105");
}

/* The rest of a body must be the rest of THAT body. */
static void a_rest_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const struct {
        struct step step;
        enum store_code code;
    } cases[] = {
        {{.status = 412, .body = ERROR("PreconditionFailed")}, STORE_PRECONDITION},
        {{.status = 404, .body = ERROR("NoSuchKey")}, STORE_NOT_FOUND},
        /* It ignores the range: its first bytes are not the ones that are missing. */
        {{.status = 200, .headers = ETAG_ONE, .body = TEN}, STORE_CORRUPT},
        {{.status = 200, .headers = ETAG_ONE, .body = "456789"}, STORE_CORRUPT},
        {{.status = 206, .headers = ETAG_ONE "Content-Range: bytes 0-5/10\r\n", .body = "012345"},
         STORE_CORRUPT},
        {{.status = 206, .headers = ETAG_ONE "Content-Range: bytes 4-8/9\r\n", .body = "45678"},
         STORE_CORRUPT},
        {{.status = 206, .headers = ETAG_ONE, .body = "456789"}, STORE_CORRUPT},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        const struct step script[] = {{200, ETAG_ONE, TEN, CUTS_BODY, 4, 0}, cases[i].step};
        OPEN(script);
        if (get("k", NULL) != cases[i].code)
            fail_msg("case %zu: %s %s", i, store_code_name(o.err.code), o.err.msg);
        assert_true(o.data.len <= 10);
        assert_memory_equal(buf_str(&o.data), TEN, o.data.len);
        close_after(2);
        peer_cleanup(&b.peer);
    }
}

static void a_range_that_is_ignored_is_refused(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, ETAG_ONE, TEN, .sent = 0},
        {206, ETAG_ONE "Content-Range: bytes 0-3/10\r\n", "0123", .sent = 0},
        {206, ETAG_ONE "Content-Range: bytes 2-9/10\r\n", "23456789", .sent = 0},
    };
    OPEN(script);
    for (size_t i = 0; i < LEN(script); i++) {
        assert_int_equal(get("k", &(struct store_get_opts){.offset = 2, .length = 4}),
                         STORE_CORRUPT);
        assert_int_equal(o.data.len, 0);
        assert_int_equal(o.heads, 0);
    }
    close_after(3);
}

static void a_body_without_an_etag_is_not_resumed(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200, .body = TEN, .trouble = CUTS_BODY, .sent = 4}};
    OPEN(script);
    assert_int_equal(get("k", NULL), STORE_BUSY);
    assert_string_equal(buf_str(&o.data), "0123");
    close_after(1);
}

/* Without a length, a connection that breaks looks like the end. */
static void a_body_without_a_length_is_refused(void **state)
{
    (void)state;
    static const struct step script[] = {{200, ETAG_ONE, TEN, TELLS_NO_LENGTH, 4, 0}};
    OPEN(script);
    assert_int_equal(get("k", NULL), STORE_CORRUPT);
    assert_int_equal(o.data.len, 0);
    close_after(1);
}

static void a_stalled_body_is_asked_for_anew(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, ETAG_ONE, TEN, STALLS, 0, 0},
        {200, ETAG_ONE, TEN, .sent = 0},
    };
    OPEN(script);
    uint64_t begin_ms = clock_mono_ms();
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_true(clock_mono_ms() - begin_ms >= 900);
    assert_string_equal(buf_str(&o.data), TEN);
    close_after(2);
}

static void a_stalled_body_ends_at_the_deadline(void **state)
{
    (void)state;
    static const struct step script[] = {{200, ETAG_ONE, TEN, STALLS, 4, 0}};
    OPEN(script);
    assert_int_equal(get("k", &(struct store_get_opts){.timeout_ms = 200}), STORE_TIMEOUT);
    assert_string_equal(buf_str(&o.data), "0123");
    close_after(1);
}

static void an_empty_object_is_whole(void **state)
{
    (void)state;
    static const struct step script[] = {{200, ETAG_ONE, "", .sent = 0}};
    OPEN(script);
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_int_equal(o.heads, 1);
    assert_int_equal(o.head.size, 0);
    assert_int_equal(o.data.len, 0);
    close_after(1);
}

/* ---- Writing ---- */

static void memory_is_sent_again(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 503},
        {.trouble = CLOSES_BEFORE_HEAD},
        {.trouble = CLOSES_ON_HEAD},
        {.status = 400, .body = ERROR("BadDigest")},
        {.status = 200, .headers = ETAG_ONE},
    };
    OPEN(script);
    assert_int_equal(put("k", "hello", NULL), STORE_OK);
    close_after(5);
    assert_string_equal(buf_str(&request(5)->body), "hello");
}

static void a_stream_is_sent_once(void **state)
{
    (void)state;
    static const struct step troubles[] = {
        {.status = 503},
        {.trouble = CLOSES_BEFORE_HEAD},
        {.trouble = CLOSES_ON_HEAD},
    };
    for (size_t i = 0; i < LEN(troubles); i++) {
        OPEN(((const struct step[]){troubles[i]}));
        assert_int_equal(stream("k", 1 << 20), STORE_BUSY);
        close_after(1);
        peer_cleanup(&b.peer);
    }
}

/* The server drops a kept connection just when it is used again. What was in memory goes out anew;
 * a stream cannot, and must not look as if it had. */
static void a_kept_connection_may_be_gone(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200},
        {.trouble = CLOSES_ON_HEAD},
        {.status = 200},
        {.trouble = CLOSES_ON_HEAD},
    };
    OPEN(script);
    assert_int_equal(head("k"), STORE_OK);
    assert_int_equal(put("k", "hello", NULL), STORE_OK);
    assert_int_equal(stream("k", 1 << 20), STORE_BUSY);
    close_after(4);
    assert_int_equal(request(1)->connection, request(2)->connection);
    assert_int_not_equal(request(2)->connection, request(3)->connection);
    assert_int_equal(request(3)->connection, request(4)->connection);
    assert_string_equal(buf_str(&request(3)->body), "hello");
}

static void put_until(int64_t signed_at_s, enum store_code code)
{
    const struct store_put_opts opts = {
        .signed_at_s = signed_at_s, .expires_in_s = 60, .content_type = "a/b"};
    assert_int_equal(put("k", "hello", &opts), code);
}

static void an_upload_that_expires_is_presigned(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, "Date: Sun, 06 Nov 1994 08:50:00 GMT\r\n", NULL, .sent = 0},
        {403, "Date: Sun, 06 Nov 1994 08:50:37 GMT\r\n", ERROR("AccessDenied"), .sent = 0},
        {403, "Date: Sun, 06 Nov 1994 08:50:36 GMT\r\n", ERROR("AccessDenied"), .sent = 0},
    };
    OPEN(script);
    put_until(784111777, STORE_OK); /* 08:49:37 */
    put_until(784111777, STORE_EXPIRED);
    assert_int_equal(o.info.server_time_s, 784111837);
    put_until(784111777, STORE_DENIED); /* in time: it is something else */
    close_after(3);
    assert_starts(1, "PUT /bucket/pre/k?");
    assert_asks(1, "X-Amz-Algorithm=AWS4-HMAC-SHA256");
    assert_asks(1, "X-Amz-Credential=AKIDTEST%2F19941106%2Feu-test-1%2Fs3%2Faws4_request");
    assert_asks(1, "X-Amz-Date=19941106T084937Z");
    assert_asks(1, "X-Amz-Expires=60");
    assert_asks(1, "X-Amz-Signature=");
    assert_asks(1, "X-Amz-SignedHeaders=content-type%3Bhost");
    assert_header(1, "Authorization", NULL);
    assert_header(1, "Content-Type", "a/b");
    assert_string_equal(buf_str(&request(1)->body), "hello");
}

/* ---- The clock ---- */

static void assert_hours_ahead(size_t number, double hours)
{
    const char *text = request_header(request(number), "X-Amz-Date");
    struct tm tm = {0};
    assert_non_null(strptime(text, "%Y%m%dT%H%M%SZ", &tm));
    double ahead = difftime(timegm(&tm), time(NULL)) / 3600;
    if (ahead < hours - 0.1 || ahead > hours + 0.1)
        fail_msg("request %zu: %s", number, text);
}

static void the_server_s_clock_is_learnt(void **state)
{
    (void)state;
    char date[64], headers[100];
    clock_http_date(clock_real_s() + 3 * 3600, date);
    snprintf(headers, sizeof(headers), "Date: %s\r\n", date);
    const struct step script[] = {
        {403, headers, ERROR("RequestTimeTooSkewed"), .sent = 0},
        {200, headers, NULL, .sent = 0},
        {200, headers, NULL, .sent = 0},
        {403, headers, ERROR("RequestTimeTooSkewed"), .sent = 0},
        {403, headers, ERROR("RequestTimeTooSkewed"), .sent = 0},
    };
    OPEN(script);
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_int_equal(get("k", NULL), STORE_DENIED); /* once an operation, not for ever */
    close_after(5);
    assert_hours_ahead(1, 0);
    assert_hours_ahead(2, 3);
    assert_hours_ahead(3, 3);
}

/* ---- Batches ---- */

static void only_what_failed_is_asked_for_again(void **state)
{
    (void)state;
    enum { N = 1000 };
    static const struct step script[] = {
        {.status = 200,
         .body =
             RESULT(KEY_ERROR("pre/k/007", "InternalError") KEY_ERROR("pre/k/999", "SlowDown"))},
        {.status = 200, .body = RESULT(KEY_ERROR("pre/k/999", "SlowDown"))},
        {.status = 200, .body = RESULT("")},
    };
    static char names[N][16];
    const char *keys[N];
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof(names[i]), "k/%03d", i);
        keys[i] = names[i];
    }
    OPEN(script);
    assert_int_equal(remove_many(keys, N), STORE_OK);
    close_after(3);
    const char *second = buf_str(&request(2)->body), *third = buf_str(&request(3)->body);
    assert_non_null(strstr(second, "<Key>pre/k/007</Key>"));
    assert_non_null(strstr(second, "<Key>pre/k/999</Key>"));
    assert_null(strstr(second, "k/000"));
    assert_null(strstr(third, "k/007"));
    assert_non_null(strstr(third, "k/999"));
    for (size_t i = 1; i <= 3; i++)
        assert_md5(i);
}

static const char *const three[] = {"a", "b", "c"};

static void a_batch_that_is_refused_fails(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum store_code code;
        const char *says;
    } cases[] = {
        {RESULT(KEY_ERROR("pre/b", "AccessDenied")), STORE_DENIED, "pre/b"},
        {RESULT(KEY_ERROR("pre/a", "InternalError") KEY_ERROR("pre/c", "AccessDenied")),
         STORE_DENIED, "pre/c"},
        {RESULT(KEY_ERROR("pre/b", "MethodNotAllowed")), STORE_FAILED, "MethodNotAllowed"},
        {RESULT(KEY_ERROR("pre/other", "InternalError")), STORE_CORRUPT, "pre/other"},
        {RESULT(KEY_ERROR("a", "InternalError")), STORE_CORRUPT, "nobody named"},
        {ERROR("AccessDenied"), STORE_FAILED, "AccessDenied"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        OPEN(((const struct step[]){{.status = 200, .body = cases[i].body}}));
        if (remove_many(three, 3) != cases[i].code || !strstr(o.err.msg, cases[i].says))
            fail_msg("case %zu: %s %s", i, store_code_name(o.err.code), o.err.msg);
        close_after(1);
        peer_cleanup(&b.peer);
    }
}

static void a_batch_without_a_whole_answer_is_sent_again(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200, .body = "<DeleteResult><Deleted><Key>pre/a</Key></Deleted>"},
        {.status = 200, .body = RESULT(""), .trouble = CUTS_BODY, .sent = 5},
        {.status = 200, .body = ""},
        {.trouble = CLOSES_ON_HEAD},
        {.status = 200, .body = ERROR("SlowDown")},
        {.status = 200, .body = RESULT("")},
    };
    OPEN(script);
    assert_int_equal(remove_many(three, 3), STORE_OK);
    close_after(6);
    assert_string_equal(buf_str(&request(6)->body), buf_str(&request(1)->body));
}

static void failures_without_end_name_the_first_and_how_many(void **state)
{
    (void)state;
    struct step script[PEER_MAX_REQUESTS];
    for (size_t i = 0; i < LEN(script); i++)
        script[i] = (struct step){
            .status = 200,
            .body = RESULT(KEY_ERROR("pre/a", "InternalError") KEY_ERROR("pre/c", "SlowDown"))};
    open_with("s3://bucket/pre/", script, LEN(script), 300);
    assert_int_equal(remove_many(three, 3), STORE_BUSY);
    if (!strstr(o.err.msg, "pre/a (and 1 more)"))
        fail_msg("%s", o.err.msg);
    store_loop_free(b.loop);
    store_close(b.s);
    peer_stop(&b.peer);
    assert_in_range(b.peer.n_requests, 2, 12);
}

/* XML has no way to write some bytes; such keys are removed one by one. */
static void keys_that_xml_cannot_carry_go_alone(void **state)
{
    (void)state;
    static const char *const keys[] = {"x\x01", "plain", "y\xff", "z\x02"};
    static const struct step script[] = {
        {.status = 503}, {.status = 200, .body = RESULT("")},         {.status = 204},
        {.status = 503}, {.status = 404, .body = ERROR("NoSuchKey")}, {.status = 204},
    };
    OPEN(script);
    assert_int_equal(remove_many(keys, LEN(keys)), STORE_OK);
    close_after(6);
    assert_non_null(strstr(buf_str(&request(2)->body), "<Key>pre/plain</Key>"));
    assert_null(strstr(buf_str(&request(2)->body), "pre/x"));
    assert_starts(3, "DELETE /bucket/pre/x%01 ");
    assert_starts(4, "DELETE /bucket/pre/y%FF ");
    assert_starts(5, "DELETE /bucket/pre/y%FF ");
    assert_starts(6, "DELETE /bucket/pre/z%02 ");
}

/* ---- Listings that mislead ---- */

static void a_listing_that_strays_is_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        LIST("false", ENTRY("other/a")),                             /* outside of the store */
        LIST("false", ENTRY("pre/a") ENTRY("prefix")),               /* so is this */
        LIST("false", ENTRY("pre/a") ENTRY("pre/b") ENTRY("pre/c")), /* more than asked for */
    };
    for (size_t i = 0; i < LEN(bodies); i++) {
        OPEN(((const struct step[]){{.status = 200, .body = bodies[i]}}));
        if (list("", &(struct store_list_opts){.max = 2}) != STORE_CORRUPT)
            fail_msg("case %zu: %s %s", i, store_code_name(o.err.code), o.err.msg);
        assert_int_equal(o.pages, 0);
        close_after(1);
        peer_cleanup(&b.peer);
    }
}

static enum store_code purge(struct store_progress *final)
{
    struct store_err err = {0};
    store_sync_delete_prefix(b.s, b.loop, "p/", NULL, NULL, NULL, final, &err);
    return err.code;
}

static void a_prefix_goes_page_by_page(void **state)
{
    (void)state;
    /* One batch at a time, so that the order of the requests is known. */
    static const struct step script[] = {
        {.status = 200, .body = LIST("true", TOKEN("t1"))}, /* empty, but there is more */
        {.status = 200, .body = LIST("true", ENTRY("pre/p/1") TOKEN("t2"))},
        {.status = 200, .body = RESULT("")},
        {.status = 503},
        {.status = 200, .body = LIST("false", ENTRY("pre/p/2"))},
        {.status = 200, .body = RESULT("")},
    };
    struct store_progress final;
    struct store_err err;
    const struct store_delete_prefix_opts one = {.batches_in_flight = 1};
    OPEN(script);
    assert_int_equal(store_sync_delete_prefix(b.s, b.loop, "p/", &one, NULL, NULL, &final, &err),
                     0);
    assert_int_equal(final.objects, 2);
    close_after(6);
    assert_asks(2, "continuation-token=t1");
    assert_non_null(strstr(buf_str(&request(3)->body), "pre/p/1"));
    assert_asks(5, "continuation-token=t2");
    assert_non_null(strstr(buf_str(&request(6)->body), "pre/p/2"));
}

static void a_token_that_comes_again_ends_it(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200, .body = LIST("true", TOKEN("t1"))},
        {.status = 200, .body = LIST("true", TOKEN("t1"))},
    };
    struct store_progress final;
    OPEN(script);
    assert_int_equal(purge(&final), STORE_CORRUPT);
    assert_int_equal(final.objects, 0);
    close_after(2);
}

/* ---- Giving up ---- */

static void a_loop_that_goes_cancels(void **state)
{
    (void)state;
    static const struct step script[] = {{200, ETAG_ONE, TEN, STALLS, 4, 0}};
    OPEN(script);
    begin();
    assert_non_null(store_get(b.s, b.loop, "k", NULL, &get_cb, NULL, NULL));
    while (o.data.len < 4)
        assert_int_equal(store_loop_run(b.loop, -1, NULL), 0);
    close_after(1);
    assert_int_equal(o.dones, 1);
    assert_int_equal(o.err.code, STORE_CANCELED);
}

static store_op *to_cancel;

static bool cancel_in_data(void *user, const void *bytes, size_t n)
{
    (void)user;
    (void)bytes;
    o.data.len += n;
    store_op_cancel(to_cancel);
    return true;
}

/* The cancel is on its way when the last byte is there already. */
static void a_cancel_at_the_end_is_told_once(void **state)
{
    (void)state;
    static const struct step script[] = {{200, ETAG_ONE, TEN, .sent = 0}};
    static const struct store_get_cb cb = {NULL, cancel_in_data, on_done};
    OPEN(script);
    begin();
    to_cancel = store_get(b.s, b.loop, "k", NULL, &cb, NULL, NULL);
    enum store_code code = finish(to_cancel);
    assert_true(code == STORE_OK ? o.data.len == 10 : code == STORE_CANCELED);
    close_after(1);
}

static void a_cancel_ends_the_wait_between_tries(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 503, .headers = "Retry-After: 9\r\n"}};
    OPEN(script);
    begin();
    store_op *op = store_head(b.s, b.loop, "k", 60000, on_done, NULL, NULL);
    uint64_t begin_ms = clock_mono_ms();
    while (clock_mono_ms() - begin_ms < 100) /* until it waits, most likely; any moment is fine */
        assert_int_equal(store_loop_run(b.loop, 10, NULL), 0);
    store_op_cancel(op);
    assert_int_equal(finish(op), STORE_CANCELED);
    assert_true(clock_mono_ms() - begin_ms < 8000);
    close_after(1);
}

/* ---- Opening ---- */

static void what_cannot_be_a_bucket_is_not_opened(void **state)
{
    (void)state;
    static const char *const urls[] = {"s3://",      "s3:///x",           "s3://ab",
                                       "s3://b c",   "s3://bucket//x",    "s3://bucket/../x",
                                       "s3://buck?", "s3://bucket/a/./b", "S3://bucket"};
    const struct store_conf good = {
        .endpoint = "http://127.0.0.1:1", .access_key = "a", .secret_key = "s"};
    static const char *const endpoints[] = {"127.0.0.1:9000", "ftp://host", "http://host/path"};
    struct store_err err;
    store *s = NULL;
    for (size_t i = 0; i < LEN(urls); i++) {
        if (store_open(urls[i], &good, &s, &err) == 0)
            fail_msg("%s was opened", urls[i]);
        assert_int_equal(err.code, STORE_INVALID);
    }
    for (size_t i = 0; i < LEN(endpoints); i++) {
        struct store_conf conf = good;
        conf.endpoint = endpoints[i];
        assert_int_equal(store_open("s3://bucket", &conf, &s, &err), -1);
        assert_int_equal(err.code, STORE_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_listing_is_asked_for_and_read, clean_up),
        cmocka_unit_test_teardown(paths_are_encoded_once_and_sent_as_they_are, clean_up),
        cmocka_unit_test_teardown(dots_are_not_normalised_away, clean_up),
        cmocka_unit_test_teardown(a_put_carries_everything, clean_up),
        cmocka_unit_test_teardown(a_batch_carries_its_checksum, clean_up),
        cmocka_unit_test_teardown(a_description_is_read, clean_up),
        cmocka_unit_test_teardown(refusals_are_told_apart, clean_up),
        cmocka_unit_test_teardown(what_is_gone_already_is_deleted, clean_up),
        cmocka_unit_test_teardown(outages_are_waited_out, clean_up),
        cmocka_unit_test_teardown(a_hint_is_waited_for, clean_up),
        cmocka_unit_test_teardown(the_deadline_bounds_all_tries, clean_up),
        cmocka_unit_test_teardown(nobody_there_is_busy, clean_up),
        cmocka_unit_test_teardown(a_cut_body_is_resumed, clean_up),
        cmocka_unit_test_teardown(a_range_is_resumed_within, clean_up),
        cmocka_unit_test_teardown(a_rest_that_does_not_fit_is_refused, clean_up),
        cmocka_unit_test_teardown(a_range_that_is_ignored_is_refused, clean_up),
        cmocka_unit_test_teardown(a_body_without_an_etag_is_not_resumed, clean_up),
        cmocka_unit_test_teardown(a_body_without_a_length_is_refused, clean_up),
        cmocka_unit_test_teardown(a_stalled_body_is_asked_for_anew, clean_up),
        cmocka_unit_test_teardown(a_stalled_body_ends_at_the_deadline, clean_up),
        cmocka_unit_test_teardown(an_empty_object_is_whole, clean_up),
        cmocka_unit_test_teardown(memory_is_sent_again, clean_up),
        cmocka_unit_test_teardown(a_stream_is_sent_once, clean_up),
        cmocka_unit_test_teardown(a_kept_connection_may_be_gone, clean_up),
        cmocka_unit_test_teardown(an_upload_that_expires_is_presigned, clean_up),
        cmocka_unit_test_teardown(the_server_s_clock_is_learnt, clean_up),
        cmocka_unit_test_teardown(only_what_failed_is_asked_for_again, clean_up),
        cmocka_unit_test_teardown(a_batch_that_is_refused_fails, clean_up),
        cmocka_unit_test_teardown(a_batch_without_a_whole_answer_is_sent_again, clean_up),
        cmocka_unit_test_teardown(failures_without_end_name_the_first_and_how_many, clean_up),
        cmocka_unit_test_teardown(keys_that_xml_cannot_carry_go_alone, clean_up),
        cmocka_unit_test_teardown(a_listing_that_strays_is_refused, clean_up),
        cmocka_unit_test_teardown(a_prefix_goes_page_by_page, clean_up),
        cmocka_unit_test_teardown(a_token_that_comes_again_ends_it, clean_up),
        cmocka_unit_test_teardown(a_loop_that_goes_cancels, clean_up),
        cmocka_unit_test_teardown(a_cancel_at_the_end_is_told_once, clean_up),
        cmocka_unit_test_teardown(a_cancel_ends_the_wait_between_tries, clean_up),
        cmocka_unit_test(what_cannot_be_a_bucket_is_not_opened),
    };
    return cmocka_run_group_tests_name("s3", tests, NULL, NULL);
}
