/* s3_fixture.h - a store whose server is a script (s3_peer.h), and one operation at a time on it.
 *
 *     OPEN(script);
 *     assert_int_equal(get("k", NULL), STORE_OK);      what came is in o
 *     close_after(2);                                  from here on request(1) may be looked at
 */
#ifndef TESTS_UNIT_S3_FIXTURE_H
#define TESTS_UNIT_S3_FIXTURE_H

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

/* key NULL: the AWS chain. conf NULL: all zero; where and who are filled in. */
static inline void open_as(const char *url, const struct step *script, size_t n,
                           uint32_t op_timeout_ms, const char *key, const struct store_conf *conf)
{
    char endpoint[64];
    struct store_err err = {0};
    peer_start(&b.peer, script, n);
    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u", b.peer.port);
    struct store_conf c = conf ? *conf : (struct store_conf){0};
    c.region = "eu-test-1";
    c.endpoint = endpoint;
    c.access_key = key;
    c.secret_key = key ? "secret" : NULL;
    c.op_timeout_ms = op_timeout_ms;
    c.stall_timeout_ms = 1000;
    if (store_open(url, &c, &b.s, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(store_loop_new(&b.loop, NULL), 0);
}

static inline void open_with(const char *url, const struct step *script, size_t n,
                             uint32_t op_timeout_ms)
{
    open_as(url, script, n, op_timeout_ms, "AKIDTEST", NULL);
}

#define OPEN(script) open_with("s3://bucket/pre", script, LEN(script), 10000)

/* Ends loop and peer: from here on its requests may be looked at. */
static inline void close_after(size_t n_requests)
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

static inline int clean_up(void **state)
{
    (void)state;
    peer_cleanup(&b.peer);
    return 0;
}

static inline const struct request *request(size_t number)
{
    return &b.peer.requests[number - 1];
}

static inline void assert_starts(size_t number, const char *start)
{
    if (strncmp(request(number)->head, start, strlen(start)) != 0)
        fail_msg("'%s', not '%.200s'", start, request(number)->head);
}

static inline void assert_asks(size_t number, const char *part)
{
    const char *head = request(number)->head;
    char line[4096];
    snprintf(line, sizeof(line), "%.*s", (int)strcspn(head, "\r"), head);
    if (!strstr(line, part))
        fail_msg("no '%s' in '%s'", part, line);
}

static inline void assert_header(size_t number, const char *name, const char *value)
{
    const char *sent = request_header(request(number), name);
    if (strcmp(sent ? sent : "none", value ? value : "none") != 0)
        fail_msg("%s: %s, not %s", name, sent ? sent : "none", value ? value : "none");
}

/* ---- One operation ---- */

struct outcome {
    unsigned dones, heads, pages;
    struct store_err err;
    struct store_info info, head;
    char etag[STORE_ETAG_SIZE], content_type[64], meta[128], checksum[64];
    struct buf data, keys; /* keys: "a|b|" */
    bool more;
};

static struct outcome o;

static inline void on_done(void *user, const struct store_err *err, const struct store_info *info)
{
    (void)user;
    o.dones++;
    o.err = *err;
    o.info = *info;
    snprintf(o.etag, sizeof(o.etag), "%s", info->etag);
    snprintf(o.content_type, sizeof(o.content_type), "%s", info->content_type);
    snprintf(o.checksum, sizeof(o.checksum), "%s", info->checksum);
    for (size_t i = 0; i < info->n_meta; i++)
        snprintf(o.meta + strlen(o.meta), sizeof(o.meta) - strlen(o.meta), "%s=%s;",
                 info->meta[i].name, info->meta[i].value);
}

static inline void on_head(void *user, const struct store_info *info)
{
    (void)user;
    o.heads++;
    o.head = *info;
}

static inline bool on_data(void *user, const void *bytes, size_t n)
{
    (void)user;
    assert_int_equal(o.heads, 1);
    buf_add(&o.data, bytes, n);
    return true;
}

static inline void on_page(void *user, const struct store_page *page)
{
    (void)user;
    o.pages++;
    o.more = page->next_token != NULL;
    for (size_t i = 0; i < page->n; i++)
        buf_addf(&o.keys, "%s|", page->entries[i].key);
}

static const struct store_get_cb get_cb = {on_head, on_data, on_done};
static const struct store_list_cb list_cb = {on_page, on_done};

static inline void begin(void)
{
    buf_cleanup(&o.data);
    buf_cleanup(&o.keys);
    memset(&o, 0, sizeof(o));
    buf_init(&o.data, 1 << 20);
    buf_init(&o.keys, 1 << 20);
}

static inline enum store_code finish(store_op *op)
{
    assert_non_null(op);
    while (!o.dones)
        assert_int_equal(store_loop_run(b.loop, -1, NULL), 0);
    assert_int_equal(store_loop_run(b.loop, 0, NULL), 0);
    assert_int_equal(o.dones, 1);
    return o.err.code;
}

static inline enum store_code get(const char *key, const struct store_get_opts *opts)
{
    begin();
    return finish(store_get(b.s, b.loop, key, opts, &get_cb, NULL, NULL));
}

static inline enum store_code head(const char *key)
{
    begin();
    return finish(store_head(b.s, b.loop, key, 0, on_done, NULL, NULL));
}

static inline enum store_code put(const char *key, const char *text,
                                  const struct store_put_opts *opts)
{
    begin();
    return finish(store_put_bytes(b.s, b.loop, key, text, strlen(text), opts, on_done, NULL, NULL));
}

static inline ssize_t stream_more(void *user, void *buf, size_t cap)
{
    (void)user;
    memset(buf, 's', cap);
    return (ssize_t)cap;
}

static inline enum store_code stream(const char *key, uint64_t size)
{
    static const struct store_put_cb cb = {stream_more, on_done};
    begin();
    return finish(store_put(b.s, b.loop, key, size, NULL, &cb, NULL, NULL));
}

static inline enum store_code list(const char *prefix, const struct store_list_opts *opts)
{
    begin();
    return finish(store_list(b.s, b.loop, prefix, opts, &list_cb, NULL, NULL));
}

static inline enum store_code remove_many(const char *const *keys, size_t n)
{
    begin();
    return finish(store_delete_many(b.s, b.loop, keys, n, 0, on_done, NULL, NULL));
}

/* "k/000" to "k/999": a whole batch. */
static inline const char *const *thousand_keys(void)
{
    static char names[1000][16];
    static const char *keys[1000];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(names[i], sizeof(names[i]), "k/%03u", i);
        keys[i] = names[i];
    }
    return keys;
}

static inline enum store_code remove_one(const char *key)
{
    begin();
    return finish(store_delete(b.s, b.loop, key, 0, on_done, NULL, NULL));
}

#define TEN      "0123456789"
#define ETAG_ONE "ETag: \"one\"\r\n"

static inline void assert_signed(size_t number, const char *payload_hash)
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

static inline void assert_md5(size_t number)
{
    unsigned char md5[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    char text[40];
    const struct buf *body = &request(number)->body;
    assert_true(EVP_Digest(body->data, body->len, md5, &n, EVP_md5(), NULL));
    base64_encode(md5, n, text);
    assert_header(number, "Content-MD5", text);
}

#endif
