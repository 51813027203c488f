/* Each allocation of our own code on the way to credentials fails once: what comes out is an error,
 * or the right credentials when another try got over it. Those of the libraries below are left
 * alone: libcurl 7.88 divides by zero when one of its tables finds no memory.
 *
 * The peer is a SCRIPTED one in a process of its own, since allocations of a thread would count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/codec.h"
#include "libstore/s3/provider.h"
#include "tests/unit/credentials_fixture.h"
#include "tests/unit/s3_peer.h"

/* A sanitizer has an allocator of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OOM_AVAILABLE 0
#else
#define OOM_AVAILABLE 1
#endif

static long countdown; /* 0: off */
static bool happened;

#if OOM_AVAILABLE
extern const char __executable_start[], etext[]; /* the linker's: the program without libraries */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t n);

static bool is_due(const void *caller)
{
    const char *at = caller;
    if (countdown == 0 || at < __executable_start || at >= etext || --countdown > 0)
        return false;
    happened = true;
    errno = ENOMEM;
    return true;
}

__attribute__((visibility("default"))) void *malloc(size_t n)
{
    return is_due(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
}

__attribute__((visibility("default"))) void *calloc(size_t count, size_t size)
{
    return is_due(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

__attribute__((visibility("default"))) void *realloc(void *p, size_t n)
{
    return is_due(__builtin_return_address(0)) ? NULL : __libc_realloc(p, n);
}
#endif

#define DATE "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nConnection: close\r\n"
#define KEYS                                                              \
    "{\"AccessKeyId\":\"AK\",\"SecretAccessKey\":\"sk\",\"Token\":\"t\"," \
    "\"Expiration\":\"2024-01-01T01:00:00Z\"}"
#define STS_KEYS                                                                      \
    "<Credentials><AccessKeyId>AK</AccessKeyId><SecretAccessKey>sk</SecretAccessKey>" \
    "<SessionToken>t</SessionToken><Expiration>2024-01-01T01:00:00Z</Expiration></Credentials>"
#define STS_ANSWER(name)                                                           \
    "<" name "Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><" name \
    "Result>" STS_KEYS "</" name "Result></" name "Response>"

static const struct {
    const char *request, *body;
} answers[] = {
    {"PUT /latest/api/token ", "TOKEN"},
    {"GET /latest/meta-data/iam/security-credentials/ ", "role"},
    {"GET /latest/meta-data/iam/security-credentials/role ", KEYS},
    {"GET /latest/meta-data/placement/region ", "eu-west-1"},
    {"GET /container ", KEYS},
};

/* What is asked tells the answer, and the form tells which of STS's. */
static const char *answer_to(const struct request *r)
{
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
        if (strncmp(r->head, answers[i].request, strlen(answers[i].request)) == 0)
            return answers[i].body;
    return strstr(buf_str(&r->body), "WebIdentity") ? STS_ANSWER("AssumeRoleWithWebIdentity")
                                                    : STS_ANSWER("AssumeRole");
}

static void serve_for_ever(int listener)
{
    static struct peer unused;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        struct request r = {.body = BUF_INIT(65536)};
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            _exit(1);
        if (peer_read_head(&unused, fd, &r) && peer_read_body(&unused, fd, &r, SIZE_MAX))
            peer_answer(&unused, fd,
                        &(struct step){.status = 200, .headers = DATE, .body = answer_to(&r)},
                        false);
        buf_cleanup(&r.body);
        close(fd);
    }
}

static pid_t child;
static char peer_address[64];

static int start_peer(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 16) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) != 0)
        return -1;
    snprintf(peer_address, sizeof(peer_address), "http://127.0.0.1:%u", ntohs(at.sin_port));
    child = fork();
    if (child == 0)
        serve_for_ever(fd);
    close(fd);
    return child < 0 ? -1 : fixture_setup(state);
}

static int stop_peer(void **state)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return fixture_teardown(state);
}

typedef int provider(struct fetcher *f, const struct chain *ch, struct keys *out,
                     struct store_err *err);

static int ask_container(struct fetcher *f, const struct chain *ch, struct keys *out,
                         struct store_err *err)
{
    return provider_container(f, ch, out, err);
}

static int ask_instance(struct fetcher *f, const struct chain *ch, struct keys *out,
                        struct store_err *err)
{
    char region[PROVIDER_REGION_SIZE];
    return provider_instance(f, ch, out, region, err);
}

static int ask_web_identity(struct fetcher *f, const struct chain *ch, struct keys *out,
                            struct store_err *err)
{
    return provider_web_identity(f, ch, ch->base_url, out, err);
}

static int ask_assume_role(struct fetcher *f, const struct chain *ch, struct keys *out,
                           struct store_err *err)
{
    return provider_assume_role(f, &ch->web_role, ch->base_url, "eu-west-1", &ch->keys, out, err);
}

static int run_once(provider *ask, const struct chain *ch, struct keys *out, struct store_err *err)
{
    atomic_bool stop = false;
    /* What starves the loop of a timer or a socket ends with the try. */
    struct fetcher f = {.stop = &stop, .deadline_ms = clock_mono_ms() + 5000, .request_ms = 250};
    if (loop_new(&f.loop, err) < 0)
        return -1;
    int rc = ask(&f, ch, out, err);
    loop_free(f.loop);
    return rc;
}

static void fail_each_allocation(provider *ask)
{
    char arn[] = "arn:a", name[] = "n", token_file[128], target[] = "/container";
    char access_key[] = "BASE", secret_key[] = "bs";
    if (!OOM_AVAILABLE)
        skip();
    text_copy(token_file, sizeof(token_file), home_write("token", "t"));
    const struct chain ch = {.base_url = peer_address,
                             .target = target,
                             .auth_token_file = token_file,
                             .web_token_file = token_file,
                             .web_role = {.arn = arn, .session_name = name},
                             .keys = {.access_key = access_key, .secret_key = secret_key}};
    long failures = 0;
    for (long n = 1;; n++) {
        struct keys k = {0};
        struct store_err err = {.code = STORE_OK};
        happened = false;
        countdown = n;
        int rc = run_once(ask, &ch, &k, &err);
        countdown = 0;
        if (rc == 0) {
            assert_string_equal(k.access_key, "AK");
            assert_string_equal(k.secret_key, "sk");
            assert_string_equal(k.session_token, "t");
            assert_int_equal(k.valid_ms, 3600000);
        } else {
            assert_true(happened);
            assert_int_not_equal(err.code, STORE_OK);
            assert_null(k.access_key);
            failures++;
        }
        keys_wipe(&k);
        if (!happened)
            break;
    }
    assert_true(failures >= 5);
}

static void container(void **state)
{
    (void)state;
    fail_each_allocation(ask_container);
}

static void instance(void **state)
{
    (void)state;
    fail_each_allocation(ask_instance);
}

static void web_identity(void **state)
{
    (void)state;
    fail_each_allocation(ask_web_identity);
}

static void assume_role(void **state)
{
    (void)state;
    fail_each_allocation(ask_assume_role);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(container),
        cmocka_unit_test(instance),
        cmocka_unit_test(web_identity),
        cmocka_unit_test(assume_role),
    };
    return cmocka_run_group_tests_name("every failed allocation on the way to credentials", tests,
                                       start_peer, stop_peer);
}
