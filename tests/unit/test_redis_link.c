/* The way to a real redis-server: over TLS, with passwords from files, and what is refused. The
 * sentinels are answered for by the test itself. Without redis-server most are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/redis_link.h"
#include "janitor/redis_tls.h"
#include "tests/unit/redis_fixture.h"
#include "tests/unit/tls_fixture.h"

/* Where nothing is to time out there is time enough for a busy machine. */
enum { PATIENT_MS = 5000, TIMEOUT_MS = 400, RETRY_MS = 1000 };

static char folder[] = "/tmp/epufs-redis-XXXXXX";
static struct identity ca, other_ca, server_id, named_id, client_id;
static struct redis_server tls_server; /* its TLS port is tls_port */
static int tls_port;
static char tls_url[64];
static char *ca_path, *other_ca_path, *server_path, *client_path, *client_key_path, *secret_path;

/* ---- Help for the tests ---- */

static char *path_of(const char *name)
{
    return xasprintf("%s/%s", folder, name);
}

static void write_secret(const char *text)
{
    FILE *f = fopen(secret_path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static struct redis_link *open_link(const struct redis_conf *conf)
{
    struct redis_link *l = NULL;
    struct store_err err = {0};
    struct redis_conf c = *conf;
    if (c.timeout_ms == 0)
        c.timeout_ms = PATIENT_MS;
    if (redis_link_open(&c, &l, &err))
        fail_msg("%s", err.msg);
    return l;
}

/* An answer of the kind of +PONG. */
static bool answers(struct redis_link *l)
{
    const char *ping[] = {"PING"};
    redisReply *r = redis_link_command(l, 1, ping);
    bool ok = r && r->type == REDIS_REPLY_STATUS && !strcmp(r->str, "PONG");
    if (r)
        freeReplyObject(r);
    return ok;
}

static void assert_why(struct redis_link *l, const char *expected)
{
    char why[200];
    if (!strstr(redis_link_why_down(l, why, sizeof(why)), expected))
        fail_msg("'%s' is not in: %s", expected, why);
}

/* One attempt to connect fails for this reason. */
static void expect_down(const struct redis_conf *conf, const char *why)
{
    struct redis_link *l = open_link(conf);
    assert_false(answers(l));
    assert_false(redis_link_up(l));
    assert_why(l, why);
    redis_link_close(l);
}

static void expect_up(const struct redis_conf *conf)
{
    struct redis_link *l = open_link(conf);
    if (!answers(l))
        assert_why(l, "(nothing)");
    assert_why(l, "");
    redis_link_close(l);
}

static bool comes_back(struct redis_link *l)
{
    for (int i = 0; i < 400; i++) {
        if (redis_link_up(l))
            return true;
        usleep(10000);
    }
    return false;
}

static void assert_redis(const struct redis_server *s, const char *line, const char *answer)
{
    char out[512];
    assert_true(redis_ask(s, line, out, sizeof(out)));
    if (strncmp(out, answer, strlen(answer)) != 0)
        fail_msg("%s: %s", line, out);
}

static void need(const struct redis_server *s)
{
    if (s->pid > 0)
        return;
    print_message("redis-server is not installed: skipped\n");
    skip();
}

/* ---- The server with TLS ---- */

static void make_certificates(void)
{
    ca = certify(&(struct wish){.name = "CA", .is_ca = true}, NULL);
    other_ca = certify(&(struct wish){.name = "another CA", .is_ca = true}, NULL);
    server_id = certify(&(struct wish){.name = "s", .san = "IP:127.0.0.1,DNS:localhost"}, &ca);
    client_id = certify(&(struct wish){.name = "janitor"}, &ca);
    ca_path = path_of("ca.pem");
    other_ca_path = path_of("other.pem");
    server_path = path_of("server.pem");
    client_path = path_of("client.pem");
    client_key_path = path_of("client.key");
    secret_path = path_of("secret");
    write_pem(ca_path, ca.cert, NULL);
    write_pem(other_ca_path, other_ca.cert, NULL);
    write_pem(server_path, server_id.cert, server_id.key);
    write_pem(client_path, client_id.cert, NULL);
    write_pem(client_key_path, NULL, client_id.key);
}

static int setup(void **state)
{
    (void)state;
    static char port[8];
    static const char *more[16];
    if (!mkdtemp(folder))
        return -1;
    make_certificates();
    tls_port = redis_free_port();
    snprintf(port, sizeof(port), "%d", tls_port);
    snprintf(tls_url, sizeof(tls_url), "rediss://127.0.0.1:%d", tls_port);
    const char *const args[] = {"--tls-port",
                                port,
                                "--tls-cert-file",
                                server_path,
                                "--tls-key-file",
                                server_path,
                                "--tls-ca-cert-file",
                                ca_path,
                                "--tls-auth-clients",
                                "optional",
                                NULL};
    memcpy(more, args, sizeof(args));
    redis_launch(&tls_server, more);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char *const paths[] = {ca_path,     other_ca_path,   server_path,
                           client_path, client_key_path, secret_path};
    struct identity *const all[] = {&ca, &other_ca, &server_id, &named_id, &client_id};
    redis_end(&tls_server);
    for (size_t i = 0; i < LEN(paths); i++) {
        unlink(paths[i]);
        free(paths[i]);
    }
    for (size_t i = 0; i < LEN(all); i++)
        identity_free(all[i]);
    return rmdir(folder);
}

/* ---- What is refused at the start ---- */

static void settings_that_contradict_each_other(void **state)
{
    (void)state;
    write_secret("hunter2\n");
    const struct {
        struct redis_conf conf;
        const char *message;
    } cases[] = {
        {{.url = "hunter2://host"}, "expected redis://"},
        {{.url = "redis://:hunter2@host", .password_file = secret_path}, "both"},
        {{.url = "redis://user@host"}, "without a password"},
        {{.url = "redis://host", .ca_file = ca_path}, "rediss://"},
        {{.url = "redis://host", .client_cert_file = client_path}, "rediss://"},
        {{.url = "redis+sentinel://host/m", .client_key_file = client_key_path}, "rediss://"},
        {{.url = "redis://host", .sentinel_password_file = secret_path}, "redis+sentinel://"},
        {{.url = "redis://host", .password_file = "/nonexistent"}, "'/nonexistent'"},
        {{.url = "redis+sentinel://host/m", .sentinel_password_file = "/nonexistent"},
         "'/nonexistent'"},
        {{.url = "rediss://host", .ca_file = "/nonexistent"}, "No such file"},
        {{.url = "rediss://host", .ca_file = secret_path}, secret_path},
        {{.url = "rediss://host", .client_key_file = client_key_path}, "no certificate beside it"},
        {{.url = "rediss://host", .client_cert_file = client_path}, "TLS client key"},
        {{.url = "rediss://host", .client_cert_file = client_path, .client_key_file = server_path},
         "TLS client key"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct redis_link *l = NULL;
        struct store_err err = {0};
        assert_int_equal(redis_link_open(&cases[i].conf, &l, &err), -1);
        print_message("%s\n", err.msg);
        assert_null(strstr(err.msg, "hunter2"));
        assert_non_null(strstr(err.msg, cases[i].message));
    }
}

static void secrets_in_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {{"", "is empty"}, {"\n", "is empty"}, {"\r\n", "is empty"}};
    struct redis_link *l = NULL;
    struct store_err err = {0};
    const struct redis_conf conf = {.url = "redis://host", .password_file = secret_path};
    for (size_t i = 0; i < LEN(cases); i++) {
        write_secret(cases[i].text);
        assert_int_equal(redis_link_open(&conf, &l, &err), -1);
        assert_non_null(strstr(err.msg, cases[i].message));
    }
    assert_int_equal(truncate(secret_path, 100), 0); /* with NULs */
    assert_int_equal(redis_link_open(&conf, &l, &err), -1);
    assert_non_null(strstr(err.msg, "holds a NUL"));
    assert_int_equal(truncate(secret_path, 64 * 1024 + 1), 0);
    assert_int_equal(redis_link_open(&conf, &l, &err), -1);
    assert_non_null(strstr(err.msg, "more than 65536 bytes"));
}

static void no_redis_at_all(void **state)
{
    (void)state;
    expect_down(&(struct redis_conf){.url = NULL}, "no redis_url is set");
    expect_down(&(struct redis_conf){.url = ""}, "no redis_url is set");
}

/* ---- TLS ---- */

static void tls_with_the_right_certificates(void **state)
{
    (void)state;
    char by_name[64];
    need(&tls_server);
    snprintf(by_name, sizeof(by_name), "rediss://localhost:%d/3", tls_port);
    expect_up(&(struct redis_conf){.url = tls_url, .ca_file = ca_path});
    expect_up(&(struct redis_conf){.url = by_name, .ca_file = ca_path});
}

static void tls_with_the_wrong_ones(void **state)
{
    (void)state;
    need(&tls_server);
    expect_down(&(struct redis_conf){.url = tls_url, .ca_file = other_ca_path},
                "its certificate is refused: ");
    expect_down(&(struct redis_conf){.url = tls_url}, "its certificate is refused: "); /* system */
    char plain[64];
    snprintf(plain, sizeof(plain), "rediss://127.0.0.1:%d", tls_server.port);
    expect_down(&(struct redis_conf){.url = plain, .ca_file = ca_path}, "TLS with '127.0.0.1': ");
    snprintf(plain, sizeof(plain), "redis://127.0.0.1:%d", tls_port);
    expect_down(&(struct redis_conf){.url = plain}, ""); /* closed or reset */
}

/* Another host's certificate, though of the right CA. */
static void the_certificate_must_be_the_hosts(void **state)
{
    (void)state;
    struct front front;
    need(&tls_server);
    named_id = certify(&(struct wish){.name = "s", .san = "IP:127.0.0.2,DNS:redis.test"}, &ca);
    front_start(&front,
                &(struct front_conf){.server = &named_id, .port = (unsigned)tls_server.port});
    const char *const hosts[] = {"127.0.0.1", "localhost"};
    for (size_t i = 0; i < LEN(hosts); i++) {
        char url[64];
        snprintf(url, sizeof(url), "rediss://%s:%u", hosts[i], front.port);
        expect_down(&(struct redis_conf){.url = url, .ca_file = ca_path}, "mismatch");
    }
    front_stop(&front);
}

static void a_client_certificate_is_shown(void **state)
{
    (void)state;
    need(&tls_server);
    struct redis_conf conf = {.url = tls_url, .ca_file = ca_path};
    assert_redis(&tls_server, "CONFIG SET tls-auth-clients yes", "+OK");
    /* The alert that tells so comes after the handshake, and a reset may overtake it. */
    expect_down(&conf, "the TLS connection is lost: ");
    conf.client_cert_file = client_path;
    conf.client_key_file = client_key_path;
    expect_up(&conf);
    conf.client_key_file = NULL;
    conf.client_cert_file = server_path; /* both in one file */
    expect_up(&conf);
    assert_redis(&tls_server, "CONFIG SET tls-auth-clients optional", "+OK");
}

/* What does not fit into the pump's buffers goes through in parts, both ways. */
static void large_values_go_through_tls(void **state)
{
    (void)state;
    enum { BIG = 3 * 1000 * 1000 };
    need(&tls_server);
    struct redis_link *l =
        open_link(&(struct redis_conf){.url = tls_url, .ca_file = ca_path, .timeout_ms = 10000});
    char *big = xmalloc(BIG + 1);
    for (int i = 0; i < BIG; i++)
        big[i] = (char)('a' + i % 23);
    big[BIG] = '\0';
    const char *echo[] = {"ECHO", big};
    for (int i = 0; i < 3; i++) {
        redisReply *r = redis_link_command(l, 2, echo);
        assert_non_null(r);
        assert_int_equal(r->type, REDIS_REPLY_STRING);
        assert_int_equal(r->len, BIG);
        assert_memory_equal(r->str, big, BIG);
        freeReplyObject(r);
    }
    free(big);
    redis_link_close(l);
}

static uint64_t cpu_ms(void)
{
    return (uint64_t)clock() * 1000 / CLOCKS_PER_SEC;
}

static void a_stopped_server_over_tls_costs_one_time_out(void **state)
{
    (void)state;
    need(&tls_server);
    struct redis_link *l = open_link(
        &(struct redis_conf){.url = tls_url, .ca_file = ca_path, .timeout_ms = TIMEOUT_MS});
    assert_true(answers(l));
    kill(tls_server.pid, SIGSTOP);
    /* A command, then an attempt to connect. */
    for (int i = 0; i < 2; i++) {
        uint64_t began_ms = clock_mono_ms();
        assert_false(answers(l));
        assert_in_range(clock_mono_ms() - began_ms, TIMEOUT_MS - 50, TIMEOUT_MS + 400);
        assert_why(l, "no answer in time");
        began_ms = clock_mono_ms();
        assert_false(answers(l));
        assert_true(clock_mono_ms() - began_ms < 50);
        usleep((RETRY_MS + 50) * 1000);
    }
    kill(tls_server.pid, SIGCONT);
    assert_true(comes_back(l));
    assert_true(answers(l));
    assert_why(l, "");
    redis_link_close(l);
}

/* A TLS server that reads nothing after its handshake, with small buffers. */
struct deaf {
    int listener, port;
    SSL_CTX *ctx;
    pthread_t thread;
};

static void *deaf_main(void *arg)
{
    const struct deaf *d = arg;
    int fd = accept(d->listener, NULL, NULL);
    SSL *ssl = SSL_new(d->ctx);
    SSL_set_fd(ssl, fd);
    SSL_accept(ssl);
    while (accept(d->listener, NULL, NULL) >= 0) /* until the listener is shut down */
        ;
    SSL_free(ssl);
    close(fd);
    return NULL;
}

static void deaf_start(struct deaf *d)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    const int small = 4096;
    d->ctx = front_context(&(struct front_conf){.server = &server_id});
    d->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(d->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    assert_int_equal(bind(d->listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(d->listener, 16), 0);
    assert_int_equal(getsockname(d->listener, (struct sockaddr *)&at, &n), 0);
    d->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&d->thread, NULL, deaf_main, d), 0);
}

static void deaf_stop(struct deaf *d)
{
    shutdown(d->listener, SHUT_RDWR);
    pthread_join(d->thread, NULL);
    close(d->listener);
    SSL_CTX_free(d->ctx);
}

/* The pump sleeps while all buffers are full, and ends with its end of the pair all the same. */
static void a_pump_whose_server_reads_nothing(void **state)
{
    (void)state;
    struct deaf deaf;
    struct store_err err;
    char bytes[65536] = "", why[200];
    int plain;
    deaf_start(&deaf);
    const struct redis_tls_conf conf = {.ca_file = ca_path};
    int fd = redis_socket(deaf.port);
    assert_true(fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    struct redis_tls *t =
        redis_tls_start(fd, "127.0.0.1", &conf, clock_mono_ms() + 10000, &plain, &err);
    assert_non_null(t);
    const struct timeval patience = {.tv_usec = 300000};
    setsockopt(plain, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    while (send(plain, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
        ;
    uint64_t before_ms = cpu_ms();
    usleep(300000);
    assert_true(cpu_ms() - before_ms < 100);
    close(plain);
    uint64_t began_ms = clock_mono_ms();
    redis_tls_end(t, why, sizeof(why));
    assert_true(clock_mono_ms() - began_ms < 2000);
    deaf_stop(&deaf);
}

static void an_idle_connection_costs_no_cpu(void **state)
{
    (void)state;
    need(&tls_server);
    struct redis_link *l = open_link(&(struct redis_conf){.url = tls_url, .ca_file = ca_path});
    assert_true(answers(l));
    uint64_t before_ms = cpu_ms();
    usleep(300000);
    assert_true(cpu_ms() - before_ms < 50);
    /* The server ends it: so does the pump, at once and not over and over. */
    assert_redis(&tls_server, "CLIENT KILL TYPE normal SKIPME yes", ":");
    before_ms = cpu_ms();
    usleep(300000);
    assert_true(cpu_ms() - before_ms < 50);
    assert_false(answers(l));
    assert_true(comes_back(l));
    redis_link_close(l);
}

static void a_lost_tls_connection_tells_why(void **state)
{
    (void)state;
    struct redis_server s;
    struct front front;
    char url[64];
    const char *sleep[] = {"BLPOP", "nothing", "0"};
    if (!redis_launch(&s, NULL))
        skip();
    front_start(&front, &(struct front_conf){.server = &server_id, .port = (unsigned)s.port});
    snprintf(url, sizeof(url), "rediss://127.0.0.1:%u", front.port);
    struct redis_link *l = open_link(&(struct redis_conf){.url = url, .ca_file = ca_path});
    assert_true(answers(l));
    redis_end(&s); /* the front then says good-bye by TLS */
    assert_null(redis_link_command(l, 3, sleep));
    char why[200];
    print_message("%s\n", redis_link_why_down(l, why, sizeof(why)));
    assert_why(l, "the server closed the TLS connection");
    redis_link_close(l);
    front_stop(&front);
}

/* ---- Passwords ---- */

static void a_password_file_is_read_for_each_connection(void **state)
{
    (void)state;
    need(&tls_server);
    char url[64];
    snprintf(url, sizeof(url), "rediss://jan@127.0.0.1:%d", tls_port);
    const struct redis_conf conf = {.url = url, .password_file = secret_path, .ca_file = ca_path};
    assert_redis(&tls_server, "ACL SETUSER jan on >one ~* +@all", "+OK");
    write_secret("one\n");
    struct redis_link *l = open_link(&conf);
    assert_true(answers(l));
    assert_redis(&tls_server, "ACL SETUSER jan resetpass >two", "+OK");
    assert_redis(&tls_server, "CLIENT KILL USER jan", ":1");
    assert_false(answers(l)); /* lost */
    usleep((RETRY_MS + 50) * 1000);
    assert_false(answers(l)); /* still the old one */
    assert_why(l, "WRONGPASS");
    write_secret("two");
    assert_true(comes_back(l));
    unlink(secret_path);
    assert_redis(&tls_server, "CLIENT KILL USER jan", ":1");
    assert_false(answers(l));
    usleep((RETRY_MS + 50) * 1000);
    assert_false(answers(l));
    assert_why(l, secret_path);
    redis_link_close(l);
}

/* ---- Sentinel ---- */

/* Gives the same answer to everything, on connections one after the other. */
struct sentinel {
    int listener, port;
    const char *answer; /* "": it takes connections and says nothing */
    pthread_t thread;
};

static void *sentinel_main(void *arg)
{
    const struct sentinel *s = arg;
    char bytes[512];
    int fd;
    while ((fd = accept(s->listener, NULL, NULL)) >= 0) {
        while (recv(fd, bytes, sizeof(bytes), 0) > 0)
            send(fd, s->answer, strlen(s->answer), MSG_NOSIGNAL);
        close(fd);
    }
    return NULL;
}

static void sentinel_start(struct sentinel *s, const char *answer)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    s->answer = answer;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(s->listener, 16), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&at, &n), 0);
    s->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, sentinel_main, s), 0);
}

static void sentinel_stop(struct sentinel *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
}

/* How a sentinel names the server at a port. */
static const char *names_port(int port)
{
    static char answer[64];
    char text[8];
    int n = snprintf(text, sizeof(text), "%d", port);
    snprintf(answer, sizeof(answer), "*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n", n, text);
    return answer;
}

static void what_a_sentinel_may_say(void **state)
{
    (void)state;
    const struct {
        const char *answer, *why; /* why NULL: the master is found */
    } cases[] = {
        {names_port(tls_server.port), NULL},
        {"*-1\r\n", "it knows no master 'm'"},
        {"*2\r\n$1\r\nh\r\n$1\r\n0\r\n", "its answer is no address"},
        {"*2\r\n$0\r\n\r\n$4\r\n6379\r\n", "its answer is no address"},
        {"*1\r\n$1\r\nh\r\n", "its answer is no address"},
        {"+OK\r\n", "its answer is no address"},
        {"-NOAUTH Authentication required.\r\n", "NOAUTH"},
        {"HTTP/1.1 400\r\n", "Protocol error"},
        {"", "no answer in time"},
    };
    need(&tls_server);
    for (size_t i = 0; i < LEN(cases); i++) {
        struct sentinel s;
        char url[64];
        sentinel_start(&s, cases[i].answer);
        snprintf(url, sizeof(url), "redis+sentinel://127.0.0.1:%d/m", s.port);
        const struct redis_conf conf = {.url = url,
                                        .timeout_ms = *cases[i].answer ? 0 : TIMEOUT_MS};
        if (cases[i].why)
            expect_down(&conf, cases[i].why);
        else
            expect_up(&conf);
        sentinel_stop(&s);
    }
}

static void a_replica_is_not_taken_for_the_master(void **state)
{
    (void)state;
    struct sentinel s;
    char url[64];
    need(&tls_server);
    sentinel_start(&s, names_port(tls_server.port));
    snprintf(url, sizeof(url), "redis+sentinel://127.0.0.1:%d/m", s.port);
    struct redis_link *l = open_link(&(struct redis_conf){.url = url});
    assert_redis(&tls_server, "REPLICAOF 127.0.0.1 1", "+OK");
    assert_false(answers(l));
    assert_why(l, "its role is 'slave'");
    assert_redis(&tls_server, "REPLICAOF NO ONE", "+OK");
    assert_true(comes_back(l));
    redis_link_close(l);
    sentinel_stop(&s);
}

/* Of several the first that knows is enough, however silent those before it are. */
static void sentinels_are_asked_in_turn(void **state)
{
    (void)state;
    enum { SHARE_MS = 2000 };
    struct sentinel silent, ignorant, knowing;
    char url[128];
    need(&tls_server);
    sentinel_start(&silent, "");
    sentinel_start(&ignorant, "*-1\r\n");
    sentinel_start(&knowing, names_port(tls_server.port));
    snprintf(url, sizeof(url),
             "redis+sentinel://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:1,127.0.0.1:%d/m", silent.port,
             ignorant.port, knowing.port);
    struct redis_link *l = open_link(&(struct redis_conf){.url = url, .timeout_ms = SHARE_MS});
    uint64_t began_ms = clock_mono_ms();
    assert_true(answers(l));
    assert_in_range(clock_mono_ms() - began_ms, SHARE_MS / 2 - 50, SHARE_MS);
    /* The next time the silent one is not asked again. */
    assert_redis(&tls_server, "CLIENT KILL TYPE normal SKIPME yes", ":");
    assert_false(answers(l));
    usleep((RETRY_MS + 50) * 1000);
    began_ms = clock_mono_ms();
    assert_true(answers(l));
    assert_true(clock_mono_ms() - began_ms < SHARE_MS / 2 - 50);
    redis_link_close(l);
    sentinel_stop(&silent);
    sentinel_stop(&ignorant);
    sentinel_stop(&knowing);
}

/* ---- Redis Cluster ---- */

static void a_cluster_is_refused(void **state)
{
    (void)state;
    struct redis_server s;
    static char config[64], bus[8];
    char url[64];
    snprintf(config, sizeof(config), "%s/nodes.conf", folder);
    /* By itself it takes the port plus 10,000, which may be taken, or none. */
    snprintf(bus, sizeof(bus), "%d", redis_free_port());
    const char *const more[] = {
        "--cluster-enabled", "yes", "--cluster-config-file", config, "--cluster-port", bus, NULL};
    if (!redis_launch(&s, more))
        skip();
    snprintf(url, sizeof(url), "redis://127.0.0.1:%d", s.port);
    expect_down(&(struct redis_conf){.url = url},
                "this is a Redis Cluster, which is not supported: use a single Redis or Sentinel");
    snprintf(url, sizeof(url), "redis://127.0.0.1:%d/2", s.port);
    expect_down(&(struct redis_conf){.url = url}, "this is a Redis Cluster");
    redis_end(&s);
    unlink(config);
}

/* A user who may not ask for INFO learns it from the first answer that sends him elsewhere. */
static void a_cluster_that_does_not_say_so(void **state)
{
    (void)state;
    need(&tls_server);
    char url[64];
    const char *run[] = {"EVAL", "return {err = ARGV[1]}", "0", NULL};
    snprintf(url, sizeof(url), "redis://127.0.0.1:%d", tls_server.port);
    const char *const errors[] = {"MOVED 3999 127.0.0.1:6381", "ASK 3999 127.0.0.1:6381"};
    for (size_t i = 0; i < LEN(errors); i++) {
        struct redis_link *l = open_link(&(struct redis_conf){.url = url});
        assert_true(answers(l));
        run[3] = errors[i];
        assert_null(redis_link_command(l, 4, run));
        assert_why(l, "this is a Redis Cluster");
        redis_link_close(l);
    }
    assert_redis(&tls_server, "ACL SETUSER shy on >pw ~* +@all -info", "+OK");
    snprintf(url, sizeof(url), "redis://shy:pw@127.0.0.1:%d", tls_server.port);
    expect_up(&(struct redis_conf){.url = url});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_that_contradict_each_other),
        cmocka_unit_test(secrets_in_files),
        cmocka_unit_test(no_redis_at_all),
        cmocka_unit_test(tls_with_the_right_certificates),
        cmocka_unit_test(tls_with_the_wrong_ones),
        cmocka_unit_test(the_certificate_must_be_the_hosts),
        cmocka_unit_test(a_client_certificate_is_shown),
        cmocka_unit_test(large_values_go_through_tls),
        cmocka_unit_test(a_stopped_server_over_tls_costs_one_time_out),
        cmocka_unit_test(a_pump_whose_server_reads_nothing),
        cmocka_unit_test(an_idle_connection_costs_no_cpu),
        cmocka_unit_test(a_lost_tls_connection_tells_why),
        cmocka_unit_test(a_password_file_is_read_for_each_connection),
        cmocka_unit_test(what_a_sentinel_may_say),
        cmocka_unit_test(a_replica_is_not_taken_for_the_master),
        cmocka_unit_test(sentinels_are_asked_in_turn),
        cmocka_unit_test(a_cluster_is_refused),
        cmocka_unit_test(a_cluster_that_does_not_say_so),
    };
    signal(SIGPIPE, SIG_IGN);
    log_setup(LOG_ERROR, LOG_TEXT, "test_redis_link");
    return cmocka_run_group_tests_name("redis_link", tests, setup, teardown);
}
