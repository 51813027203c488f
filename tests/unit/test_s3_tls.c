/* The S3 driver over TLS: whom it trusts, how it shows who it is, what it signs, and what a new
 * connection costs. Certificates and server are the test's own (tls_fixture.h). */
#include <openssl/x509_vfy.h>

#include "tests/unit/s3_fixture.h"
#include "tests/unit/tls_fixture.h"

enum { PATH = 256, SYSTEM_CAS = 140 }; /* as many as Debian's bundle has */

static struct {
    char folder[PATH], files[16][PATH + 32];
    size_t n_files;
    struct identity ca, other_ca, server, client;
} world;

static struct front front;

static const struct store_conf plain;

/* ---- The world: made once ---- */

/* The path of a file in the test's folder; lives as long as the process. */
static const char *file(const char *name)
{
    size_t i = 0;
    while (i < world.n_files && strcmp(world.files[i] + strlen(world.folder) + 1, name) != 0)
        i++;
    if (i < world.n_files)
        return world.files[i];
    assert_true(i < LEN(world.files));
    snprintf(world.files[i], sizeof(world.files[i]), "%s/%.30s", world.folder, name);
    world.n_files++;
    return world.files[i];
}

static int make_world(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(world.folder, sizeof(world.folder), "%s/s3-tls-XXXXXX", tmp ? tmp : "/tmp");
    TLS_MUST(mkdtemp(world.folder));
    world.ca = certify(&(struct wish){.name = "the CA", .is_ca = true}, NULL);
    world.other_ca = certify(&(struct wish){.name = "another CA", .is_ca = true}, NULL);
    world.server = certify(&(struct wish){.name = "server", .san = "IP:127.0.0.1"}, &world.ca);
    world.client = certify(&(struct wish){.name = "client"}, &world.ca);
    write_pem(file("ca.pem"), world.ca.cert, NULL);
    write_pem(file("other-ca.pem"), world.other_ca.cert, NULL);
    write_pem(file("client.pem"), world.client.cert, NULL);
    write_pem(file("client-key.pem"), NULL, world.client.key);
    write_pem(file("client-both.pem"), world.client.cert, world.client.key);
    write_pem(file("other-key.pem"), NULL, world.other_ca.key);
    return 0;
}

static int end_world(void **state)
{
    (void)state;
    for (size_t i = 0; i < world.n_files; i++)
        unlink(world.files[i]);
    rmdir(world.folder);
    identity_free(&world.ca);
    identity_free(&world.other_ca);
    identity_free(&world.server);
    identity_free(&world.client);
    return 0;
}

/* ---- A store behind the front ---- */

/* NULL in *fc: the usual server, which asks for no certificate. conf without ca_file: the CA's. */
static void open_tls(const struct front_conf *fc, const struct store_conf *conf,
                     const struct step *script, size_t n)
{
    char endpoint[64];
    struct store_err err = {0};
    struct front_conf f = *fc;
    struct store_conf c = *conf;
    peer_start(&b.peer, script, n);
    f.server = f.server ? f.server : &world.server;
    f.port = b.peer.port;
    front_start(&front, &f);
    snprintf(endpoint, sizeof(endpoint), "https://127.0.0.1:%u", f.is_proxy ? 1 : front.port);
    c.endpoint = endpoint;
    c.region = "eu-test-1";
    c.access_key = "AKIDTEST";
    c.secret_key = "secret";
    c.ca_file = c.ca_file ? c.ca_file : file("ca.pem");
    if (store_open("s3://bucket/pre", &c, &b.s, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(store_loop_new(&b.loop, NULL), 0);
}

static void close_tls(size_t n_requests)
{
    close_after(n_requests);
    front_stop(&front);
}

/* One try, no second one, and the store's errors are counted. */
static void assert_refused(enum store_code code, const char *says)
{
    struct store_stats stats;
    if (get("k", NULL) != code || !strstr(o.err.msg, "get k: ") || !strstr(o.err.msg, says))
        fail_msg("%s '%s', not %s '%s'", store_code_name(o.err.code), o.err.msg,
                 store_code_name(code), says);
    store_stats(b.s, &stats);
    assert_int_equal(stats.retries, 0);
    assert_int_equal(stats.failures, code == STORE_DENIED ? 1 : 0);
    close_tls(0);
    assert_in_range(front.accepted, 0, 1);
    peer_cleanup(&b.peer);
}

static const struct step fine[] = {{200, ETAG_ONE, TEN, .sent = 0}};

/* ---- Whom it trusts ---- */

static void a_server_of_the_given_ca_is_trusted(void **state)
{
    (void)state;
    static const int versions[] = {0, TLS1_2_VERSION};
    for (size_t i = 0; i < LEN(versions); i++) {
        open_tls(&(struct front_conf){.max_version = versions[i]}, &plain, fine, LEN(fine));
        assert_int_equal(get("k", NULL), STORE_OK);
        assert_string_equal(buf_str(&o.data), TEN);
        close_tls(1);
        assert_int_equal(front.shaken, 1);
        peer_cleanup(&b.peer);
    }
}

static void a_server_that_cannot_be_trusted_is_refused(void **state)
{
    (void)state;
    static const struct {
        struct wish wish;
        const char *ca_file, *says;
        bool self_signed;
    } cases[] = {
        {{.name = "s", .san = "IP:127.0.0.1"}, "other-ca.pem", "issuer certificate", false},
        {{.name = "s", .san = "IP:127.0.0.1"}, "ca.pem", "self-signed certificate", true},
        {{.name = "s", .san = "IP:127.0.0.1", .expired = true}, "ca.pem", "expired", false},
        {{.name = "s", .san = "IP:127.0.0.2"}, "ca.pem", "127.0.0.1", false},
        {{.name = "s", .san = "DNS:bucket.example"}, "ca.pem", "127.0.0.1", false},
        {{.name = "s"}, "ca.pem", "127.0.0.1", false},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct identity server = certify(&cases[i].wish, cases[i].self_signed ? NULL : &world.ca);
        const struct store_conf conf = {.ca_file = file(cases[i].ca_file)};
        open_tls(&(struct front_conf){.server = &server}, &conf, fine, LEN(fine));
        assert_refused(STORE_DENIED, cases[i].says);
        identity_free(&server);
    }
}

static void a_ca_file_that_cannot_be_read_is_told(void **state)
{
    (void)state;
    static const char *const names[] = {"missing.pem", "client-key.pem"}; /* no certificate in it */
    for (size_t i = 0; i < LEN(names); i++) {
        const struct store_conf conf = {.ca_file = file(names[i])};
        open_tls(&(struct front_conf){0}, &conf, fine, LEN(fine));
        assert_refused(STORE_FAILED, "certificate");
    }
}

/* ---- Who it is ---- */

static void a_client_certificate_is_shown(void **state)
{
    (void)state;
    static const struct {
        const char *cert, *key;
    } cases[] = {{"client.pem", "client-key.pem"}, {"client-both.pem", NULL}};
    static const int versions[] = {0, TLS1_2_VERSION};
    for (size_t i = 0; i < LEN(cases) * LEN(versions); i++) {
        const struct front_conf demands = {.client_ca = &world.ca, .max_version = versions[i / 2]};
        const char *key = cases[i % 2].key;
        const struct store_conf conf = {.client_cert_file = file(cases[i % 2].cert),
                                        .client_key_file = key ? file(key) : NULL};
        open_tls(&demands, &conf, fine, LEN(fine));
        assert_int_equal(get("k", NULL), STORE_OK);
        close_tls(1);
        peer_cleanup(&b.peer);
    }
}

/* With TLS 1.3 the server refuses when the handshake is over for the client. */
static void a_client_that_the_server_refuses_is_denied(void **state)
{
    (void)state;
    struct identity other = certify(&(struct wish){.name = "client"}, &world.other_ca);
    write_pem(file("other-client.pem"), other.cert, other.key);
    const struct store_conf stranger = {.client_cert_file = file("other-client.pem")};
    const struct store_conf *const confs[] = {&plain, &stranger};
    static const int versions[] = {0, TLS1_2_VERSION};
    for (size_t i = 0; i < LEN(confs) * LEN(versions); i++) {
        const struct front_conf demands = {.client_ca = &world.ca, .max_version = versions[i / 2]};
        open_tls(&demands, confs[i % 2], fine, LEN(fine));
        assert_refused(STORE_DENIED, " alert ");
    }
    identity_free(&other);
}

static void a_client_certificate_that_cannot_be_used_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *cert, *key, *says;
    } cases[] = {
        {"missing.pem", NULL, "certificate"},
        {"client.pem", NULL, "private key"},
        {"client.pem", "missing.pem", "private key"},
        {"client.pem", "other-key.pem", "private key"},
        {"client-key.pem", "client-key.pem", "certificate"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        const char *key = cases[i].key;
        const struct store_conf conf = {.client_cert_file = file(cases[i].cert),
                                        .client_key_file = key ? file(key) : NULL};
        open_tls(&(struct front_conf){.client_ca = &world.ca}, &conf, fine, LEN(fine));
        assert_refused(STORE_FAILED, cases[i].says);
    }
}

static void a_key_without_a_certificate_is_invalid(void **state)
{
    (void)state;
    struct store_err err = {0};
    store *s = NULL;
    const struct store_conf conf = {
        .access_key = "a", .secret_key = "b", .client_key_file = "key.pem"};
    assert_int_equal(store_open("s3://bucket", &conf, &s, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    assert_null(s);
}

/* ---- What goes over it ---- */

/* TLS protects what cannot be read twice; what is in memory is signed all the same. */
static void bodies_in_memory_are_signed_and_streams_are_not(void **state)
{
    (void)state;
    static const struct step script[] = {{.status = 200}, {.status = 200}};
    open_tls(&(struct front_conf){0}, &plain, script, LEN(script));
    assert_int_equal(put("k", "123456789", NULL), STORE_OK);
    assert_int_equal(stream("k", 300000), STORE_OK);
    close_tls(2);
    assert_signed(1, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
    assert_signed(2, "UNSIGNED-PAYLOAD");
    assert_int_equal(request(2)->body.len, 300000);
    assert_int_equal(request(1)->connection, request(2)->connection);
}

/* Content-MD5 has every part verified. */
static void parts_are_not_hashed_twice(void **state)
{
    (void)state;
    enum { PART = 5 * 1024 * 1024 };
    static const struct store_conf in_parts = {
        .multipart_bytes = PART, .part_bytes = PART, .parts_in_flight = 1};
    static const struct step script[] = {
        {.status = 200,
         .body = "<InitiateMultipartUploadResult><UploadId>up</UploadId>"
                 "</InitiateMultipartUploadResult>"},
        {.status = 200, .headers = ETAG_ONE},
        {.status = 200,
         .body = "<CompleteMultipartUploadResult><ETag>e-1</ETag></CompleteMultipartUploadResult>"},
    };
    open_tls(&(struct front_conf){0}, &in_parts, script, LEN(script));
    assert_int_equal(stream("k", PART), STORE_OK);
    close_tls(3);
    assert_signed(2, "UNSIGNED-PAYLOAD");
    assert_md5(2);
}

static void a_cut_body_is_resumed(void **state)
{
    (void)state;
    static const struct step script[] = {
        {200, ETAG_ONE, TEN, CUTS_BODY, 4, 0},
        {206, ETAG_ONE "Content-Range: bytes 4-9/10\r\n", "456789", .sent = 0},
    };
    open_tls(&(struct front_conf){0}, &plain, script, LEN(script));
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_string_equal(buf_str(&o.data), TEN);
    close_tls(2);
    assert_int_equal(front.shaken, 2);
}

/* Writing into a connection that is gone must not raise SIGPIPE in somebody's program. How much is
 * written before the loss is seen, and so whether the stream can begin anew, is up to the kernel.
 */
static void a_connection_that_breaks_ends_no_process(void **state)
{
    (void)state;
    struct step script[PEER_MAX_REQUESTS];
    for (size_t i = 0; i < LEN(script); i++)
        script[i] = (struct step){.trouble = CLOSES_ON_HEAD};
    signal(SIGPIPE, SIG_DFL);
    open_tls(&(struct front_conf){0}, &plain, script, LEN(script));
    assert_int_equal(stream("k", 8 << 20), STORE_BUSY);
    store_loop_free(b.loop);
    store_close(b.s);
    peer_stop(&b.peer);
    front_stop(&front);
    assert_true(b.peer.n_requests >= 1);
}

/* ---- What a new connection costs ---- */

static void write_bundle(const char *path)
{
    char name[32];
    for (unsigned i = 0; i < SYSTEM_CAS; i++) {
        snprintf(name, sizeof(name), "authority %u", i);
        X509 *cert =
            make_cert(&(struct wish){.name = name, .is_ca = true}, world.other_ca.key, NULL);
        write_pem(path, cert, NULL);
        X509_free(cert);
    }
    write_pem(path, world.ca.cert, NULL);
}

static double cpu_ms(void)
{
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double cpu_ms_of_reading(const char *path)
{
    X509_STORE *cas = X509_STORE_new();
    double began_ms = cpu_ms();
    TLS_MUST(cas && X509_STORE_load_file(cas, path) == 1);
    double spent_ms = cpu_ms() - began_ms;
    X509_STORE_free(cas);
    return spent_ms;
}

/* A CA folder, which Debian's libcurl has by default, switches off its cache of the parsed CA file:
 * every connection then reads all the system's CAs, for tens of milliseconds. That the file is not
 * read again is seen by its being gone; the CPU time, of this thread only, is a second witness with
 * much room: what is spent is a tenth of the limit. */
static void the_ca_file_is_read_once(void **state)
{
    (void)state;
    enum { CONNECTIONS = 40 };
    struct step script[CONNECTIONS + 1];
    for (size_t i = 0; i < LEN(script); i++)
        script[i] =
            (struct step){.status = 200, .headers = ETAG_ONE "Connection: close\r\n", .body = TEN};
    write_bundle(file("bundle.pem"));
    double reading_ms = cpu_ms_of_reading(file("bundle.pem"));
    const struct store_conf conf = {.ca_file = file("bundle.pem")};
    open_tls(&(struct front_conf){0}, &conf, script, LEN(script));
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_int_equal(unlink(file("bundle.pem")), 0);
    double began_ms = cpu_ms();
    for (unsigned i = 0; i < CONNECTIONS; i++)
        if (get("k", NULL) != STORE_OK)
            fail_msg("the CA file was read anew: %s", o.err.msg);
    double each_ms = (cpu_ms() - began_ms) / CONNECTIONS;
    close_tls(CONNECTIONS + 1);
    assert_int_equal(front.shaken, CONNECTIONS + 1);
    print_message("%.2f ms of CPU for a connection, %.2f for reading the file\n", each_ms,
                  reading_ms);
    if (each_ms > reading_ms / 2)
        fail_msg("a connection costs %.2f ms of CPU, reading the CA file %.2f", each_ms,
                 reading_ms);
}

/* ---- Proxies ---- */

static int forget_proxies(void **state)
{
    static const char *const names[] = {"HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy"};
    for (size_t i = 0; i < LEN(names); i++)
        unsetenv(names[i]);
    return state ? clean_up(state) : 0;
}

/* Nobody listens at this port: 127.0.0.1:1. */
static const char nowhere[] = "http://127.0.0.1:1";

static void tls_goes_through_the_proxy_of_the_environment(void **state)
{
    (void)state;
    static const char *const names[] = {"HTTPS_PROXY", "ALL_PROXY"};
    for (size_t i = 0; i < LEN(names); i++) {
        char proxy[64];
        open_tls(&(struct front_conf){.is_proxy = true}, &plain, fine, LEN(fine));
        snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", front.port);
        setenv(names[i], proxy, 1);
        assert_int_equal(get("k", NULL), STORE_OK);
        assert_string_equal(buf_str(&o.data), TEN);
        close_tls(1);
        assert_int_equal(strncmp(front.asked, "CONNECT 127.0.0.1:1 HTTP/1.1\r\n", 30), 0);
        peer_cleanup(&b.peer);
        forget_proxies(NULL);
    }
}

static void what_no_proxy_lists_is_reached_directly(void **state)
{
    (void)state;
    open_tls(&(struct front_conf){0}, &plain, fine, LEN(fine));
    setenv("HTTPS_PROXY", nowhere, 1);
    setenv("NO_PROXY", "localhost,127.0.0.1", 1);
    assert_int_equal(get("k", NULL), STORE_OK);
    close_tls(1);
}

static void without_tls_it_is_reached_directly(void **state)
{
    (void)state;
    setenv("http_proxy", nowhere, 1);
    setenv("ALL_PROXY", nowhere, 1);
    OPEN(fine);
    assert_int_equal(get("k", NULL), STORE_OK);
    close_after(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_server_of_the_given_ca_is_trusted, clean_up),
        cmocka_unit_test_teardown(a_server_that_cannot_be_trusted_is_refused, clean_up),
        cmocka_unit_test_teardown(a_ca_file_that_cannot_be_read_is_told, clean_up),
        cmocka_unit_test_teardown(a_client_certificate_is_shown, clean_up),
        cmocka_unit_test_teardown(a_client_that_the_server_refuses_is_denied, clean_up),
        cmocka_unit_test_teardown(a_client_certificate_that_cannot_be_used_is_told, clean_up),
        cmocka_unit_test(a_key_without_a_certificate_is_invalid),
        cmocka_unit_test_teardown(bodies_in_memory_are_signed_and_streams_are_not, clean_up),
        cmocka_unit_test_teardown(parts_are_not_hashed_twice, clean_up),
        cmocka_unit_test_teardown(a_cut_body_is_resumed, clean_up),
        cmocka_unit_test_teardown(a_connection_that_breaks_ends_no_process, clean_up),
        cmocka_unit_test_teardown(the_ca_file_is_read_once, clean_up),
        cmocka_unit_test_teardown(tls_goes_through_the_proxy_of_the_environment, forget_proxies),
        cmocka_unit_test_teardown(what_no_proxy_lists_is_reached_directly, forget_proxies),
        cmocka_unit_test_teardown(without_tls_it_is_reached_directly, forget_proxies),
    };
    return cmocka_run_group_tests_name("s3_tls", tests, make_world, end_world);
}
