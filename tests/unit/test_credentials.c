/* Each of those who hand out credentials, played by a scripted peer: what it is asked, word for
 * word, and what is made of its answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "libstore/s3/provider.h"
#include "libstore/s3/sigv4.h"
#include "tests/unit/credentials_asker.h"
#include "tests/unit/credentials_fixture.h"
#include "tests/unit/s3_peer.h"

/* Answers carry a date, by which they are valid for an hour. */
#define DATE    "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
#define EXPIRES "2024-01-01T01:00:00Z"
#define METADATA(id)                                                               \
    "{\"Code\":\"Success\",\"AccessKeyId\":\"" id "\",\"SecretAccessKey\":\"sk\"," \
    "\"Token\":\"tok\",\"Expiration\":\"" EXPIRES "\"}"
#define STS_XML(name, id)                                                          \
    "<" name "Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><" name \
    "Result><Credentials><AccessKeyId>" id "</AccessKeyId>"                        \
    "<SecretAccessKey>sk</SecretAccessKey><SessionToken>tok</SessionToken>"        \
    "<Expiration>" EXPIRES "</Expiration></Credentials></" name "Result></" name "Response>"
#define STS_ERROR(code)                                                          \
    "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>" \
    "<Type>Sender</Type><Code>" code "</Code><Message>the reason</Message>"      \
    "</Error><RequestId>r</RequestId></ErrorResponse>"

static struct peer peer;
static struct credentials *credentials;
static struct asker asker;

static const char *peer_url(const char *path)
{
    static char url[256];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", peer.port, path);
    return url;
}

static void start_timed(const struct credentials_conf *conf, const struct credentials_timing *t)
{
    struct store_err err = {0};
    if (credentials_open_timed(conf, t, &credentials, &err) != 0)
        fail_msg("%s", err.msg);
    asker_start(&asker);
}

static void start(const struct credentials_conf *conf)
{
    start_timed(conf, &fixture_timing);
}

static void stop(void)
{
    asker_stop(&asker);
    credentials_close(credentials);
    peer_stop(&peer);
}

static void expect_keys(const char *access_key)
{
    if (asker_settle(&asker, credentials) != CREDENTIALS_READY)
        fail_msg("%s", asker.err.msg);
    assert_string_equal(asker.access_key, access_key);
    assert_string_equal(asker.secret_key, "sk");
    assert_string_equal(asker.token, "tok");
    assert_int_equal(asker.serial, 1);
}

static void expect_failure(enum store_code code, const char *part)
{
    assert_int_equal(asker_settle(&asker, credentials), CREDENTIALS_FAILED);
    if (asker.err.code != code || !strstr(asker.err.msg, part))
        fail_msg("%d: %s; expected %d: %s", (int)asker.err.code, asker.err.msg, (int)code, part);
}

static void expect_request(size_t i, const char *line)
{
    assert_true(i < peer.n_requests);
    const char *head = peer.requests[i].head;
    if (strncmp(head, line, strlen(line)) != 0 || head[strlen(line)] != '\r')
        fail_msg("request %zu: %.*s; expected %s", i, (int)strcspn(head, "\r"), head, line);
}

static void expect_header(size_t i, const char *name, const char *value)
{
    const char *got = request_header(&peer.requests[i], name);
    if (value ? !got || strcmp(got, value) != 0 : got != NULL)
        fail_msg("request %zu: %s: %s", i, name, got ? got : "missing");
}

/* ---- Given keys ---- */

static void given_keys_are_there_at_once_and_cannot_be_renewed(void **state)
{
    (void)state;
    struct store_err err;
    struct credentials *c;
    const struct credentials_conf conf = {.access_key = "AK", .secret_key = "sk"};
    struct asker a;
    asker_start(&a);
    assert_int_equal(credentials_open(&conf, &c, &err), 0);
    assert_int_equal(asker_ask(&a, c), CREDENTIALS_READY);
    assert_string_equal(a.access_key, "AK");
    assert_string_equal(a.token, "");
    assert_string_equal(credentials_profile_region(c), "");
    assert_false(credentials_refused(c, a.serial));
    a.access_key[0] = '\0';
    assert_int_equal(asker_ask(&a, c), CREDENTIALS_READY); /* known already: not taken again */
    assert_string_equal(a.access_key, "");
    credentials_close(c);
    asker_stop(&a);
}

/* ---- Container ---- */

static void a_container_is_asked_with_its_token_read_anew_each_time(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 200, .headers = DATE, .body = METADATA("ONE")},
                                         {.status = 200, .headers = DATE, .body = METADATA("TWO")}};
    peer_start(&peer, script, LEN(script));
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", peer_url("/creds?for=us"), 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", home_write("token", "first\n"), 1);
    start(&(struct credentials_conf){0});
    expect_keys("ONE");
    home_write("token", "second");
    assert_true(credentials_refused(credentials, 1));
    advance_ms(2000);
    assert_int_equal(asker_settle(&asker, credentials), CREDENTIALS_READY);
    assert_string_equal(asker.access_key, "TWO");
    stop();
    expect_request(0, "GET /creds?for=us HTTP/1.1");
    expect_header(0, "Authorization", "first");
    expect_header(1, "Authorization", "second");
    peer_cleanup(&peer);
}

static void a_container_may_have_its_token_in_the_environment_or_none(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 200, .headers = DATE, .body = METADATA("ONE")}};
    static const char *const tokens[] = {"Basic abc", NULL};
    for (size_t i = 0; i < LEN(tokens); i++) {
        peer_start(&peer, script, LEN(script));
        setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", peer_url(""), 1);
        if (tokens[i])
            setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", tokens[i], 1);
        else
            unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
        start(&(struct credentials_conf){0});
        expect_keys("ONE");
        stop();
        expect_request(0, "GET / HTTP/1.1");
        expect_header(0, "Authorization", tokens[i]);
        peer_cleanup(&peer);
    }
}

static const struct {
    struct step step;
    enum store_code code;
    const char *part;
} bad_answers[] = {
    {{.status = 403, .body = "{\"code\":\"AccessDenied\",\"message\":\"not you\"}"},
     STORE_DENIED,
     "answered 403 AccessDenied: not you"},
    {{.status = 404, .body = "<html>"}, STORE_DENIED, "answered 404"},
    {{.status = 302, .headers = "Location: http://x/\r\n"}, STORE_FAILED, "answered 302"},
    {{.status = 200, .body = ""}, STORE_FAILED, "no JSON object"},
    {{.status = 200, .body = "[]"}, STORE_FAILED, "no JSON object"},
    {{.status = 200, .body = "{\"AccessKeyId\":\"A\""}, STORE_FAILED, "no JSON object"},
    {{.status = 200, .body = "{\"AccessKeyId\":\"A\"}"},
     STORE_FAILED,
     "malformed answer: the secret key is missing"},
    {{.status = 200, .body = "{\"AccessKeyId\":7,\"SecretAccessKey\":\"s\"}"},
     STORE_FAILED,
     "malformed answer: the access key is missing"},
    {{.status = 200, .body = "{\"AccessKeyId\":\"A\\nB: c\",\"SecretAccessKey\":\"s\"}"},
     STORE_FAILED,
     "malformed answer: the access key is malformed"},
    {{.status = 200,
      .body = "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s\",\"Expiration\":\"soon\"}"},
     STORE_FAILED,
     "malformed answer: Expiration"},
    {{.status = 200, .headers = "Date: Mon, 01 Jan 2024 01:00:00 GMT\r\n", .body = METADATA("A")},
     STORE_FAILED,
     "credentials have expired"},
    {{.status = 200, .body = "{\"Code\":\"Failed\",\"Message\":\"no role\"}"},
     STORE_FAILED,
     "Failed: no role"},
};

static void an_answer_that_makes_no_sense_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(bad_answers); i++) {
        peer_start(&peer, &bad_answers[i].step, 1);
        setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", peer_url("/x"), 1);
        start(&(struct credentials_conf){0});
        expect_failure(bad_answers[i].code, bad_answers[i].part);
        stop();
        assert_int_equal(peer.n_requests, 1);
        peer_cleanup(&peer);
    }
}

static void an_answer_without_end_is_refused(void **state)
{
    (void)state;
    char *body = malloc(100001);
    memset(body, ' ', 100000);
    body[100000] = '\0';
    const struct step script[] = {{.status = 200, .body = body}};
    peer_start(&peer, script, 1);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", peer_url("/x"), 1);
    start(&(struct credentials_conf){0});
    expect_failure(STORE_FAILED, "the answer is too long");
    stop();
    peer_cleanup(&peer);
    free(body);
}

static void trouble_of_the_peers_is_tried_again_and_counted(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 503},
                                         {.status = 200, .trouble = CLOSES_BEFORE_HEAD},
                                         {.status = 200, .headers = DATE, .body = METADATA("ONE")}};
    peer_start(&peer, script, LEN(script));
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", peer_url("/x"), 1);
    start(&(struct credentials_conf){0});
    expect_keys("ONE");
    stop();
    assert_int_equal(peer.n_requests, 3);
    peer_cleanup(&peer);
}

static void a_missing_token_file_is_for_a_person_to_look_at(void **state)
{
    (void)state;
    peer_start(&peer, NULL, 0);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", peer_url("/x"), 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", home_path("token"), 1);
    start(&(struct credentials_conf){0});
    expect_failure(STORE_DENIED, "cannot open");
    asker_stop(&asker);
    credentials_close(credentials);
    home_write("token", "a\nX-Evil: b");
    start(&(struct credentials_conf){0});
    expect_failure(STORE_DENIED, "the authorization token is malformed");
    stop();
    assert_int_equal(peer.n_requests, 0);
    peer_cleanup(&peer);
}

/* ---- Instance ---- */

#define CREDENTIALS_PATH "/latest/meta-data/iam/security-credentials/"
#define TOKEN_HEADER     "x-aws-ec2-metadata-token"

static void start_instance(const struct step *script, size_t n, const char *region)
{
    peer_start(&peer, script, n);
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", peer_url("/"), 1);
    start(&(struct credentials_conf){.region = region});
}

static void an_instance_is_asked_in_version_2_only(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200, .body = "TOKEN=="},
        {.status = 200, .body = "my%role/x\nnext"},
        {.status = 200, .headers = DATE, .body = METADATA("INST")}};
    start_instance(script, LEN(script), "eu-west-1");
    expect_keys("INST");
    assert_string_equal(asker.region, "");
    stop();
    assert_int_equal(peer.n_requests, 3);
    expect_request(0, "PUT /latest/api/token HTTP/1.1");
    expect_header(0, "x-aws-ec2-metadata-token-ttl-seconds", "21600");
    expect_header(0, "content-length", "0");
    expect_request(1, "GET " CREDENTIALS_PATH " HTTP/1.1");
    expect_header(1, TOKEN_HEADER, "TOKEN==");
    expect_request(2, "GET " CREDENTIALS_PATH "my%25role%2Fx HTTP/1.1");
    expect_header(2, TOKEN_HEADER, "TOKEN==");
    peer_cleanup(&peer);
}

static void an_instance_tells_its_region_when_nobody_else_does(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 200, .body = "TOKEN"},
                                         {.status = 200, .body = "role"},
                                         {.status = 200, .headers = DATE, .body = METADATA("INST")},
                                         {.status = 200, .body = "ap-south-1"}};
    start_instance(script, LEN(script), NULL);
    expect_keys("INST");
    assert_string_equal(asker.region, "ap-south-1");
    stop();
    expect_request(3, "GET /latest/meta-data/placement/region HTTP/1.1");
    expect_header(3, TOKEN_HEADER, "TOKEN");
    peer_cleanup(&peer);
}

static void credentials_without_a_region_are_better_than_none(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 200, .body = "TOKEN"},
                                         {.status = 200, .body = "role"},
                                         {.status = 200, .headers = DATE, .body = METADATA("INST")},
                                         {.status = 404}};
    start_instance(script, LEN(script), NULL);
    expect_keys("INST");
    assert_string_equal(asker.region, "");
    stop();
    peer_cleanup(&peer);
}

static const struct {
    struct step steps[3];
    enum store_code code;
    const char *part;
} bad_instances[] = {
    {{{.status = 403}}, STORE_DENIED, "instance metadata answered 403: /latest/api/token"},
    {{{.status = 200, .body = ""}}, STORE_FAILED, "/latest/api/token: malformed answer"},
    {{{.status = 200, .body = "a b"}}, STORE_FAILED, "/latest/api/token: malformed answer"},
    {{{.status = 200, .body = "T"}, {.status = 404}},
     STORE_DENIED,
     "answered 404: " CREDENTIALS_PATH},
    {{{.status = 200, .body = "T"}, {.status = 200, .body = "r"}, {.status = 200, .body = "nil"}},
     STORE_FAILED,
     "no JSON object"},
};

static void an_instance_without_a_role_or_sense_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(bad_instances); i++) {
        start_instance(bad_instances[i].steps, 3, "r");
        expect_failure(bad_instances[i].code, bad_instances[i].part);
        stop();
        peer_cleanup(&peer);
    }
}

static void where_there_is_no_instance_the_message_says_what_was_looked_for(void **state)
{
    (void)state;
    peer_start(&peer, NULL, 0);
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", peer_url(""), 1);
    peer_stop(&peer); /* now nobody listens there */
    start(&(struct credentials_conf){.region = "r"});
    expect_failure(STORE_DENIED, "none found: not given, not in the environment or a profile, and "
                                 "no instance metadata at http://127.0.0.1:");
    asker_stop(&asker);
    credentials_close(credentials);
    peer_cleanup(&peer);
}

/* ---- STS ---- */

static void web_identity_is_a_form_with_the_files_token(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200, .headers = DATE, .body = STS_XML("AssumeRoleWithWebIdentity", "WEB")}};
    peer_start(&peer, script, LEN(script));
    setenv("AWS_ENDPOINT_URL_STS", peer_url("/"), 1);
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", home_write("token", "ey.J+/=\n"), 1);
    setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r", 1);
    setenv("AWS_ROLE_SESSION_NAME", "me@here", 1);
    start(&(struct credentials_conf){.region = "eu-west-1"});
    expect_keys("WEB");
    stop();
    expect_request(0, "POST / HTTP/1.1");
    expect_header(0, "Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
    expect_header(0, "Authorization", NULL);
    assert_string_equal(buf_str(&peer.requests[0].body),
                        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
                        "&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=me%40here"
                        "&WebIdentityToken=ey.J%2B%2F%3D");
    peer_cleanup(&peer);
}

static const struct {
    struct step steps[3];
    size_t n_requests;
    enum store_code code; /* STORE_OK: credentials come in the end */
    const char *part;
} sts_answers[] = {
    {{{.status = 400, .body = STS_ERROR("IDPCommunicationError")},
      {.status = 400, .body = STS_ERROR("InvalidIdentityToken")},
      {.status = 200, .headers = DATE, .body = STS_XML("AssumeRoleWithWebIdentity", "WEB")}},
     3,
     STORE_OK,
     NULL},
    {{{.status = 400, .body = STS_ERROR("ExpiredTokenException")}},
     1,
     STORE_DENIED,
     "STS answered 400 ExpiredTokenException: the reason"},
    {{{.status = 403, .body = STS_ERROR("AccessDenied")}},
     1,
     STORE_DENIED,
     "STS answered 403 AccessDenied: the reason"},
    {{{.status = 500}, {.status = 500}, {.status = 500}}, 3, STORE_BUSY, "STS answered 500"},
    {{{.status = 403, .body = "<html>no"}}, 1, STORE_DENIED, "STS answered 403"},
    {{{.status = 200, .body = "<html></html>"}}, 1, STORE_FAILED, "STS: malformed answer"},
    {{{.status = 200, .body = "<AssumeRoleWithWebIdentityResponse>"}},
     1,
     STORE_FAILED,
     "STS: malformed answer"},
};

static void sts_errors_are_told_and_passing_ones_tried_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(sts_answers); i++) {
        peer_start(&peer, sts_answers[i].steps, 3);
        setenv("AWS_ENDPOINT_URL_STS", peer_url(""), 1);
        setenv("AWS_WEB_IDENTITY_TOKEN_FILE", home_write("token", "t"), 1);
        setenv("AWS_ROLE_ARN", "arn:a", 1);
        start(&(struct credentials_conf){0});
        if (sts_answers[i].code == STORE_OK)
            expect_keys("WEB");
        else
            expect_failure(sts_answers[i].code, sts_answers[i].part);
        stop();
        assert_int_equal(peer.n_requests, sts_answers[i].n_requests);
        peer_cleanup(&peer);
    }
}

/* Signs the request as it came, by its own date. */
static void expect_signed(size_t i, const char *access_key, const char *secret_key,
                          const char *token)
{
    const struct request *r = &peer.requests[i];
    char host[64], date[32], hash[65];
    struct sigv4_signer *s;
    struct buf headers = BUF_INIT(4096), query = BUF_INIT(64);
    int64_t time_s;
    snprintf(host, sizeof(host), "127.0.0.1:%u", peer.port);
    text_copy(date, sizeof(date), request_header(r, "X-Amz-Date"));
    char rfc3339[CLOCK_TEXT];
    snprintf(rfc3339, sizeof(rfc3339), "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", date, date + 4, date + 6,
             date + 9, date + 11, date + 13);
    assert_true(clock_parse_rfc3339(rfc3339, &time_s));
    assert_int_equal(sigv4_sha256_hex(r->body.data, r->body.len, hash), 0);
    assert_int_equal(sigv4_signer_new(access_key, secret_key, token, "eu-west-1", "sts", &s, NULL),
                     0);
    const struct sigv4_pair pairs[] = {
        {"host", host}, {"content-type", "application/x-www-form-urlencoded; charset=utf-8"}};
    const struct sigv4_request q = {.method = "POST",
                                    .path = "/",
                                    .headers = pairs,
                                    .n_headers = 2,
                                    .payload_hash = hash,
                                    .time_s = time_s};
    assert_int_equal(sigv4_sign(s, &q, &headers, &query, NULL, NULL, NULL), 0);
    const char *want = strstr(buf_str(&headers), "Authorization: ");
    const char *got = request_header(r, "Authorization");
    assert_non_null(got);
    assert_memory_equal(got, want + 15, strcspn(want + 15, "\n"));
    expect_header(i, "Host", host);
    expect_header(i, "X-Amz-Security-Token", token);
    sigv4_signer_free(s);
    buf_cleanup(&headers);
    buf_cleanup(&query);
}

static void roles_are_assumed_one_with_the_other_and_signed(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200, .headers = DATE, .body = STS_XML("AssumeRole", "MID")},
        {.status = 200, .headers = DATE, .body = STS_XML("AssumeRole", "TOP")}};
    peer_start(&peer, script, LEN(script));
    setenv("AWS_ENDPOINT_URL_STS", peer_url(""), 1);
    setenv("AWS_CONFIG_FILE",
           home_write("config",
                      "[profile top]\nrole_arn = arn:top\nsource_profile = mid\n"
                      "external_id = a b\nduration_seconds = 900\nrole_session_name = n\n"
                      "[profile mid]\nrole_arn = arn:mid\nsource_profile = base\n"
                      "[profile base]\naws_access_key_id = BASE\naws_secret_access_key = bs\n"),
           1);
    start(&(struct credentials_conf){.profile = "top", .region = "eu-west-1"});
    expect_keys("TOP");
    stop();
    assert_int_equal(peer.n_requests, 2);
    expect_request(0, "POST / HTTP/1.1");
    assert_string_equal(
        buf_str(&peer.requests[0].body),
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Amid&RoleSessionName=libstore");
    assert_string_equal(buf_str(&peer.requests[1].body),
                        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Atop&RoleSessionName=n"
                        "&ExternalId=a%20b&DurationSeconds=900");
    expect_signed(0, "BASE", "bs", NULL);
    expect_signed(1, "MID", "sk", "tok");
    peer_cleanup(&peer);
}

static void a_role_of_the_instance_is_assumed_in_the_instances_region(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 200, .body = "TOKEN"},
        {.status = 200, .body = "role"},
        {.status = 200, .headers = DATE, .body = METADATA("INST")},
        {.status = 200, .body = "eu-west-1"},
        {.status = 200, .headers = DATE, .body = STS_XML("AssumeRole", "ROLE")}};
    peer_start(&peer, script, LEN(script));
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", peer_url(""), 1);
    setenv("AWS_ENDPOINT_URL_STS", peer_url(""), 1);
    setenv("AWS_CONFIG_FILE",
           home_write("config",
                      "[default]\nrole_arn = arn:r\ncredential_source = Ec2InstanceMetadata\n"),
           1);
    start(&(struct credentials_conf){0});
    expect_keys("ROLE");
    assert_string_equal(asker.region, "eu-west-1");
    stop();
    expect_signed(4, "INST", "sk", "tok");
    peer_cleanup(&peer);
}

static void a_refusal_by_another_clock_is_signed_anew_by_that_clock_once(void **state)
{
    (void)state;
    static const struct step script[] = {
        {.status = 403, .headers = DATE, .body = STS_ERROR("SignatureDoesNotMatch")},
        {.status = 200, .headers = DATE, .body = STS_XML("AssumeRole", "ROLE")}};
    peer_start(&peer, script, LEN(script));
    setenv("AWS_ENDPOINT_URL_STS", peer_url(""), 1);
    setenv("AWS_CONFIG_FILE",
           home_write("config", "[default]\nrole_arn = arn:r\nsource_profile = default\n"
                                "aws_access_key_id = BASE\naws_secret_access_key = bs\n"),
           1);
    start(&(struct credentials_conf){.region = "eu-west-1"});
    expect_keys("ROLE");
    stop();
    expect_header(1, "X-Amz-Date", "20240101T000000Z");
    expect_signed(1, "BASE", "bs", NULL);
    peer_cleanup(&peer);
}

static const struct {
    const char *region, *url; /* NULL: refused */
} sts_urls[] = {
    {"", "https://sts.amazonaws.com"},
    {"eu-west-1", "https://sts.eu-west-1.amazonaws.com"},
    {"cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn"},
    {"evil.example.org/", NULL},
    {"Garage", NULL},
};

static void sts_is_where_the_region_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(sts_urls); i++) {
        struct store_err err = {0};
        char *url = provider_sts_url(sts_urls[i].region, &err);
        assert_int_equal(url != NULL, sts_urls[i].url != NULL);
        if (url)
            assert_string_equal(url, sts_urls[i].url);
        else
            assert_int_equal(err.code, STORE_INVALID);
        free(url);
    }
}

static void a_region_that_is_none_of_amazons_needs_an_address_for_sts(void **state)
{
    (void)state;
    const struct credentials_conf conf = {.region = "my region"};
    struct store_err err = {0};
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", home_path("token"), 1);
    setenv("AWS_ROLE_ARN", "arn:a", 1);
    assert_int_equal(credentials_open(&conf, &credentials, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    assert_non_null(strstr(err.msg, "AWS_ENDPOINT_URL_STS"));
    setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1", 1);
    assert_int_equal(credentials_open(&conf, &credentials, &err), 0);
    credentials_close(credentials);
}

/* ---- Time ---- */

static const struct credentials_timing impatient = {.now_ms = fixture_now_ms,
                                                    .early_ms = 300000,
                                                    .pause_ms = 1000,
                                                    .first_backoff_ms = 60000,
                                                    .max_backoff_ms = 60000,
                                                    .attempt_ms = 20000,
                                                    .request_ms = 30};

static void a_peer_that_hangs_is_given_up(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 200, .body = "TOKEN", .trouble = STALLS},
                                         {.status = 200, .body = "TOKEN", .trouble = STALLS}};
    peer_start(&peer, script, LEN(script));
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", peer_url("/x"), 1);
    struct credentials_timing timing = impatient;
    timing.attempt_ms = 50; /* less than the tries need */
    start_timed(&(struct credentials_conf){0}, &timing);
    expect_failure(STORE_BUSY, "no answer in time");
    stop();
    peer_cleanup(&peer);
}

static void closing_does_not_wait_for_a_peer_that_hangs(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 200, .body = "TOKEN", .trouble = STALLS}};
    peer_start(&peer, script, LEN(script));
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", peer_url(""), 1);
    struct credentials_timing timing = impatient;
    timing.request_ms = timing.attempt_ms = 600000;
    start_timed(&(struct credentials_conf){0}, &timing);
    assert_int_equal(asker_ask(&asker, credentials), CREDENTIALS_WAIT);
    credentials_unwait(credentials, &asker.waiter);
    stop(); /* hangs for ten minutes when it does wait */
    assert_int_equal(asker.woken, 0);
    peer_cleanup(&peer);
}

#define WITH_HOME(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HOME(given_keys_are_there_at_once_and_cannot_be_renewed),
        WITH_HOME(a_container_is_asked_with_its_token_read_anew_each_time),
        WITH_HOME(a_container_may_have_its_token_in_the_environment_or_none),
        WITH_HOME(an_answer_that_makes_no_sense_is_told),
        WITH_HOME(an_answer_without_end_is_refused),
        WITH_HOME(trouble_of_the_peers_is_tried_again_and_counted),
        WITH_HOME(a_missing_token_file_is_for_a_person_to_look_at),
        WITH_HOME(an_instance_is_asked_in_version_2_only),
        WITH_HOME(an_instance_tells_its_region_when_nobody_else_does),
        WITH_HOME(credentials_without_a_region_are_better_than_none),
        WITH_HOME(an_instance_without_a_role_or_sense_is_told),
        WITH_HOME(where_there_is_no_instance_the_message_says_what_was_looked_for),
        WITH_HOME(web_identity_is_a_form_with_the_files_token),
        WITH_HOME(sts_errors_are_told_and_passing_ones_tried_again),
        WITH_HOME(roles_are_assumed_one_with_the_other_and_signed),
        WITH_HOME(a_role_of_the_instance_is_assumed_in_the_instances_region),
        WITH_HOME(a_refusal_by_another_clock_is_signed_anew_by_that_clock_once),
        cmocka_unit_test(sts_is_where_the_region_is),
        WITH_HOME(a_region_that_is_none_of_amazons_needs_an_address_for_sts),
        WITH_HOME(a_peer_that_hangs_is_given_up),
        WITH_HOME(closing_does_not_wait_for_a_peer_that_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
