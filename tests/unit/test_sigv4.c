/* The signer against the published vectors: those of AWS's own C library (tests/vectors, both
 * forms of each) and the examples of the Amazon S3 API reference. */
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/clock.h"
#include "base/codec.h"
#include "tests/unit/oom.h"
#include "tests/unit/sigv4_fixture.h"

enum { MAX_PAIRS = 32 };

/* ---- The vectors of AWS's C library ---- */

struct http_text { /* the parts of a vector's request, as a signer's caller has them */
    char *copy;
    const char *method, *body;
    struct buf path;
    struct sigv4_pair query[MAX_PAIRS], headers[MAX_PAIRS];
    size_t n_query, n_headers;
};

/* The vectors are of a service that normalises paths, which S3 does not: "." and empty segments
 * go, ".." takes one away. */
static void normalise(const char *path, struct buf *out)
{
    const char *p = path;
    while (*p) {
        p++; /* the slash */
        size_t n = strcspn(p, "/");
        bool is_last = p[n] == '\0';
        if (n == 2 && strncmp(p, "..", 2) == 0) {
            const char *slash = out->len ? memrchr(out->data, '/', out->len) : NULL;
            out->len = slash ? (size_t)(slash - out->data) : 0;
        } else if (n > 0 && !(n == 1 && *p == '.')) {
            buf_addc(out, '/');
            buf_add(out, p, n);
        }
        if (is_last && (n == 0 || out->len == 0))
            buf_addc(out, '/');
        p += n;
    }
}

static void take_path(struct http_text *t, const char *path, bool do_normalise)
{
    struct buf plain = BUF_INIT(MAX_BYTES);
    if (do_normalise)
        normalise(path, &plain);
    else
        buf_adds(&plain, path);
    buf_init(&t->path, MAX_BYTES);
    percent_encode(&t->path, plain.data, plain.len, true);
    buf_cleanup(&plain);
}

static void take_query(struct http_text *t, char *query)
{
    for (char *p; (p = strsep(&query, "&"));) {
        size_t n;
        assert_true(t->n_query < MAX_PAIRS);
        struct sigv4_pair *q = &t->query[t->n_query++];
        char *value = strchr(p, '=');
        if (value)
            *value++ = '\0';
        assert_true(percent_decode(p, strlen(p), p, &n));
        assert_true(!value || percent_decode(value, strlen(value), value, &n));
        *q = (struct sigv4_pair){p, value ? value : ""};
    }
}

/* Joins folded lines: a line that begins with a space belongs to the one before. */
static void unfold(char *headers)
{
    for (char *p = headers; (p = strchr(p, '\n')); p++)
        if (p[1] == ' ')
            *p = ' ';
}

static void take_headers(struct http_text *t, char *headers)
{
    unfold(headers);
    for (char *line; (line = strsep(&headers, "\n")) && *line;) {
        assert_true(t->n_headers < MAX_PAIRS);
        char *name = strsep(&line, ":");
        t->headers[t->n_headers++] = (struct sigv4_pair){name, line};
    }
}

static void read_request(struct http_text *t, const char *text, bool do_normalise)
{
    memset(t, 0, sizeof(*t));
    t->copy = xstrdup(text);
    char *rest = t->copy, *body = strstr(t->copy, "\n\n");
    if (body)
        *body = '\0';
    t->body = body ? body + 2 : "";
    char *line = strsep(&rest, "\n");
    t->method = strsep(&line, " ");
    *strrchr(line, ' ') = '\0'; /* the version; the path itself may hold spaces */
    char *path = strsep(&line, "?");
    take_path(t, path, do_normalise);
    if (line)
        take_query(t, line);
    take_headers(t, rest);
}

static const char *get(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    if (!s)
        fail_msg("the vector has no %s", name);
    return s;
}

static struct sigv4_signer *vector_signer(const json_t *context)
{
    const json_t *c = json_object_get(context, "credentials");
    bool no_token = json_is_true(json_object_get(context, "omit_session_token"));
    const char *token = json_string_value(json_object_get(c, "token"));
    struct sigv4_signer *s;
    struct store_err err = {0};
    assert_int_equal(sigv4_signer_new(get(c, "access_key_id"), get(c, "secret_access_key"),
                                      no_token ? NULL : token, get(context, "region"),
                                      get(context, "service"), &s, &err),
                     0);
    return s;
}

static void check_header_form(const json_t *v, struct sigv4_signer *s,
                              const struct sigv4_request *r)
{
    struct outcome o = sign(s, r);
    assert_int_equal(o.rc, 0);
    assert_string_equal(buf_str(&o.canonical), get(v, "header-canonical-request"));
    assert_string_equal(buf_str(&o.to_sign), get(v, "header-string-to-sign"));

    const char *ours = after(buf_str(&o.headers), "Authorization: ");
    const char *theirs = after(get(v, "header-signed-request"), "Authorization:");
    size_t n = strcspn(theirs, "\n");
    assert_int_equal(strcspn(ours, "\n"), n);
    assert_memory_equal(ours, theirs, n);
    assert_memory_equal(after(ours, "Signature="), get(v, "header-signature"), 64);
    assert_non_null(strstr(buf_str(&o.headers), "X-Amz-Date: 20150830T123600Z\n"));
    outcome_cleanup(&o);
}

static void check_query_form(const json_t *v, struct sigv4_signer *s, const struct sigv4_request *r,
                             uint32_t expires_s)
{
    struct outcome o = presign(s, r, expires_s);
    assert_int_equal(o.rc, 0);
    const char *canonical = get(v, "query-canonical-request");
    assert_string_equal(buf_str(&o.canonical), canonical);
    assert_string_equal(buf_str(&o.to_sign), get(v, "query-string-to-sign"));

    /* What is sent is what was signed (the third line), and the signature. */
    const char *query = strchr(strchr(canonical, '\n') + 1, '\n') + 1;
    size_t n = strcspn(query, "\n");
    assert_true(o.query.len > n);
    assert_memory_equal(o.query.data, query, n);
    char signature[128];
    snprintf(signature, sizeof(signature), "&X-Amz-Signature=%s", get(v, "query-signature"));
    assert_string_equal(o.query.data + n, signature);
    outcome_cleanup(&o);
}

static void check_vector(const json_t *v)
{
    const json_t *context = json_object_get(v, "context");
    const json_t *normalized = json_object_get(context, "normalize");
    bool sign_body = json_is_true(json_object_get(context, "sign_body"));
    json_int_t expires_s = json_integer_value(json_object_get(context, "expiration_in_seconds"));
    char hash[65];
    struct http_text t;
    read_request(&t, get(v, "request"), json_is_true(normalized));
    assert_int_equal(sigv4_sha256_hex(t.body, strlen(t.body), hash), 0);
    struct sigv4_request r = {
        .method = t.method,
        .path = buf_str(&t.path),
        .query = t.query,
        .n_query = t.n_query,
        .headers = t.headers,
        .n_headers = t.n_headers,
        .payload_hash = hash,
        .add_content_sha256 = sign_body,
    };
    assert_true(clock_parse_rfc3339(get(context, "timestamp"), &r.time_s));

    struct sigv4_signer *s = vector_signer(context);
    check_header_form(v, s, &r);
    check_query_form(v, s, &r, (uint32_t)expires_s);
    sigv4_signer_free(s);
    buf_cleanup(&t.path);
    free(t.copy);
}

static void test_vectors(void **state)
{
    (void)state;
    const char *folder = getenv("TEST_VECTORS");
    char path[4096];
    snprintf(path, sizeof(path), "%s/aws-sigv4.json", folder ? folder : "tests/vectors");
    json_error_t json_err;
    json_t *root = json_load_file(path, 0, &json_err);
    if (!root)
        fail_msg("%s: %s", path, json_err.text);
    const json_t *cases = json_object_get(root, "cases");
    size_t i;
    json_t *v;
    json_array_foreach(cases, i, v)
    {
        print_message("%s\n", get(v, "name"));
        check_vector(v);
    }
    assert_int_equal(i, 38);
    json_decref(root);
}

/* ---- The examples of the Amazon S3 API reference ---- */

#define HOST_EXAMPLE                             \
    {                                            \
        "Host", "examplebucket.s3.amazonaws.com" \
    }

static const struct s3_example {
    const char *name, *method, *path;
    struct sigv4_pair headers[4];
    size_t n_headers;
    struct sigv4_pair query[2];
    size_t n_query;
    const char *payload_hash, *sent_query, *signature;
} s3_examples[] = {
    {
        .name = "get object with range",
        .method = "GET",
        .path = "/test.txt",
        .headers = {HOST_EXAMPLE, {"Range", "bytes=0-9"}},
        .n_headers = 2,
        .payload_hash = EMPTY_SHA256,
        .sent_query = "",
        .signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    },
    {
        .name = "put object",
        .method = "PUT",
        .path = "/test%24file.text",
        .headers = {{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                    HOST_EXAMPLE,
                    {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
        .n_headers = 3,
        .payload_hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        .sent_query = "",
        .signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    },
    {
        .name = "parameter without a value",
        .method = "GET",
        .path = "/",
        .headers = {HOST_EXAMPLE},
        .n_headers = 1,
        .query = {{"lifecycle", ""}},
        .n_query = 1,
        .payload_hash = EMPTY_SHA256,
        .sent_query = "lifecycle=",
        .signature = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    },
    {
        .name = "list",
        .method = "GET",
        .path = "/",
        .headers = {HOST_EXAMPLE},
        .n_headers = 1,
        .query = {{"prefix", "J"}, {"max-keys", "2"}},
        .n_query = 2,
        .payload_hash = EMPTY_SHA256,
        .sent_query = "max-keys=2&prefix=J",
        .signature = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    },
};

static struct sigv4_request request_of(const struct s3_example *e)
{
    return (struct sigv4_request){
        .method = e->method,
        .path = e->path,
        .query = e->query,
        .n_query = e->n_query,
        .headers = e->headers,
        .n_headers = e->n_headers,
        .payload_hash = e->payload_hash,
        .add_content_sha256 = true,
        .time_s = EXAMPLE_TIME_S,
    };
}

static void test_s3_examples(void **state)
{
    (void)state;
    struct sigv4_signer *s = new_signer(SECRET, NULL);
    for (size_t i = 0; i < LEN(s3_examples); i++) {
        const struct s3_example *e = &s3_examples[i];
        print_message("%s\n", e->name);
        struct sigv4_request r = request_of(e);
        struct outcome o = sign(s, &r);
        assert_int_equal(o.rc, 0);
        assert_string_equal(buf_str(&o.query), e->sent_query);
        assert_memory_equal(after(buf_str(&o.headers), "Signature="), e->signature, 64);
        assert_memory_equal(after(buf_str(&o.headers), "x-amz-content-sha256: "), e->payload_hash,
                            64);
        outcome_cleanup(&o);
    }
    sigv4_signer_free(s);
}

static void test_s3_presigned_example(void **state)
{
    (void)state;
    struct sigv4_signer *s = new_signer(SECRET, NULL);
    const struct sigv4_pair headers[] = {HOST_EXAMPLE};
    const struct sigv4_request r = {
        .method = "GET",
        .path = "/test.txt",
        .headers = headers,
        .n_headers = 1,
        .payload_hash = SIGV4_UNSIGNED_PAYLOAD,
        .time_s = EXAMPLE_TIME_S,
    };
    struct outcome o = presign(s, &r, 86400);
    assert_int_equal(o.rc, 0);
    assert_string_equal(
        buf_str(&o.query),
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524"
        "%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"
        "&X-Amz-SignedHeaders=host&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    outcome_cleanup(&o);
    sigv4_signer_free(s);
}

/* ---- What the vectors do not reach ---- */

/* S3's rule: what is sent is what is signed, even where other services would normalise. */
static void test_path_as_sent(void **state)
{
    (void)state;
    struct sigv4_signer *s = new_signer(SECRET, NULL);
    struct sigv4_request r = plain_request();
    r.path = "/b//a/../%25x/%20./";
    struct outcome o = sign(s, &r);
    assert_int_equal(o.rc, 0);
    assert_non_null(strstr(buf_str(&o.canonical), "GET\n/b//a/../%25x/%20./\n\n"));
    outcome_cleanup(&o);
    sigv4_signer_free(s);
}

static void test_order_and_encoding(void **state)
{
    (void)state;
    struct sigv4_signer *s = new_signer(SECRET, NULL);
    const struct sigv4_pair query[] = {
        {"delete", ""}, {"a", "z /+*~é"}, {"a", "A"}, {"a-b", "1"}, {"A", "=&"},
    };
    const struct sigv4_pair headers[] = {
        {"X-Amz-Meta-A-B", "\t two \t words "},
        {"HOST", "h"},
        {"x-amz-meta-a", ""},
        {"content-md5", "+/=="},
    };
    struct sigv4_request r = plain_request();
    r.query = query;
    r.n_query = LEN(query);
    r.headers = headers;
    r.n_headers = LEN(headers);
    struct outcome o = sign(s, &r);
    assert_int_equal(o.rc, 0);
    assert_string_equal(buf_str(&o.query), "A=%3D%26&a=A&a=z%20%2F%2B%2A~%C3%A9&a-b=1&delete=");
    assert_string_equal(buf_str(&o.canonical),
                        "GET\n/\nA=%3D%26&a=A&a=z%20%2F%2B%2A~%C3%A9&a-b=1&delete=\n"
                        "content-md5:+/==\nhost:h\nx-amz-date:20130524T000000Z\nx-amz-meta-a:\n"
                        "x-amz-meta-a-b:two words\n\n"
                        "content-md5;host;x-amz-date;x-amz-meta-a;x-amz-meta-a-b\n" EMPTY_SHA256);
    outcome_cleanup(&o);
    sigv4_signer_free(s);
}

static void test_session_token(void **state)
{
    (void)state;
    struct sigv4_signer *s = new_signer(SECRET, "tok/en==");
    struct sigv4_request r = plain_request();
    struct outcome o = sign(s, &r);
    assert_int_equal(o.rc, 0);
    assert_non_null(strstr(buf_str(&o.headers), "X-Amz-Security-Token: tok/en==\n"));
    assert_non_null(strstr(buf_str(&o.canonical), "\nx-amz-security-token:tok/en==\n"));
    outcome_cleanup(&o);
    o = presign(s, &r, 1);
    assert_non_null(strstr(buf_str(&o.query), "&X-Amz-Security-Token=tok%2Fen%3D%3D&"));
    assert_null(strstr(buf_str(&o.canonical), "x-amz-security-token"));
    outcome_cleanup(&o);
    sigv4_signer_free(s);
}

/* The signature of to_sign for us-east-1/s3, by OpenSSL's one-shot HMAC. */
static void expected_signature(const char *secret, const char *day, const struct buf *to_sign,
                               char hex[65])
{
    const char *const steps[] = {day, "us-east-1", "s3", "aws4_request"};
    unsigned char k[256];
    unsigned n = (unsigned)snprintf((char *)k, sizeof(k), "AWS4%s", secret);
    for (size_t i = 0; i < LEN(steps); i++) {
        unsigned char out[32];
        assert_non_null(HMAC(EVP_sha256(), k, (int)n, (const unsigned char *)steps[i],
                             strlen(steps[i]), out, NULL));
        memcpy(k, out, sizeof(out));
        n = sizeof(out);
    }
    unsigned char mac[32];
    assert_non_null(HMAC(EVP_sha256(), k, (int)n, (const unsigned char *)to_sign->data,
                         to_sign->len, mac, NULL));
    hex_encode(mac, sizeof(mac), hex);
}

/* Around a block of SHA-256 (64 bytes with the "AWS4") HMAC treats its key differently. */
static void test_secret_lengths(void **state)
{
    (void)state;
    const size_t lengths[] = {1, 40, 59, 60, 61, 128, 200};
    for (size_t i = 0; i < LEN(lengths); i++) {
        char secret[201] = "", hex[65];
        memset(secret, 's', lengths[i]);
        struct sigv4_signer *s = new_signer(secret, NULL);
        struct sigv4_request r = plain_request();
        struct outcome o = sign(s, &r);
        assert_int_equal(o.rc, 0);
        expected_signature(secret, "20130524", &o.to_sign, hex);
        assert_memory_equal(after(buf_str(&o.headers), "Signature="), hex, 64);
        outcome_cleanup(&o);
        sigv4_signer_free(s);
    }
}

/* The derived key is kept for a day: going back and forth over midnight must not mix them up. */
static void test_days(void **state)
{
    (void)state;
    const struct {
        int64_t time_s;
        const char *day;
    } times[] = {
        {EXAMPLE_TIME_S - 1, "20130523"}, {EXAMPLE_TIME_S, "20130524"},
        {EXAMPLE_TIME_S + 1, "20130524"}, {EXAMPLE_TIME_S - 1, "20130523"},
        {EXAMPLE_TIME_S, "20130524"},
    };
    struct sigv4_signer *s = new_signer(SECRET, NULL);
    for (size_t i = 0; i < LEN(times); i++) {
        char hex[65];
        struct sigv4_request r = plain_request();
        r.time_s = times[i].time_s;
        struct outcome o = sign(s, &r);
        assert_int_equal(o.rc, 0);
        expected_signature(SECRET, times[i].day, &o.to_sign, hex);
        assert_memory_equal(after(buf_str(&o.headers), "Signature="), hex, 64);
        assert_non_null(strstr(buf_str(&o.headers), times[i].day));
        outcome_cleanup(&o);
    }
    sigv4_signer_free(s);
}

static void test_sha256(void **state)
{
    (void)state;
    char hex[65];
    assert_int_equal(sigv4_sha256_hex("", 0, hex), 0);
    assert_string_equal(hex, EMPTY_SHA256);
    assert_int_equal(sigv4_sha256_hex("abc", 3, hex), 0);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* Whatever allocation fails, there is an error or the right signature, and no crash; and the same
 * signer still signs rightly afterwards. */
static void test_out_of_memory(void **state)
{
    (void)state;
    if (!OOM_AVAILABLE)
        skip();
    const struct s3_example *e = &s3_examples[3];
    struct sigv4_request r = request_of(e);
    bool failing = true;
    for (long n = 1; failing; n++) {
        struct sigv4_signer *s = NULL;
        struct store_err err = {0};
        struct outcome o = {.rc = -1};
        oom_fail_nth(n);
        int made =
            sigv4_signer_new("AKIAIOSFODNN7EXAMPLE", SECRET, "", "us-east-1", "s3", &s, &err);
        if (made == 0)
            o = sign(s, &r);
        failing = oom_stop();
        assert_true(made == 0 || err.code == STORE_NO_MEMORY);
        assert_true(failing || o.rc == 0);
        assert_true(made < 0 || o.rc == 0 || o.err.code == STORE_NO_MEMORY ||
                    o.err.code == STORE_FAILED);
        outcome_cleanup(&o);
        if (made < 0)
            continue;
        o = sign(s, &r);
        assert_int_equal(o.rc, 0);
        assert_memory_equal(after(buf_str(&o.headers), "Signature="), e->signature, 64);
        assert_ends_with(buf_str(&o.canonical), EMPTY_SHA256);
        outcome_cleanup(&o);
        sigv4_signer_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_s3_examples),
        cmocka_unit_test(test_s3_presigned_example),
        cmocka_unit_test(test_path_as_sent),
        cmocka_unit_test(test_order_and_encoding),
        cmocka_unit_test(test_session_token),
        cmocka_unit_test(test_secret_lengths),
        cmocka_unit_test(test_days),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("sigv4", tests, NULL, NULL);
}
