/* Where credentials come from, decided by what is given, the environment and the profile files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/stat.h>

#include "base/xalloc.h"
#include "libstore/s3/chain.h"
#include "libstore/s3/endpoint.h"
#include "tests/unit/credentials_fixture.h"
#include "tests/unit/oom.h"

struct setting {
    const char *name, *value;
};

#define ENV_KEYS                      \
    {"AWS_ACCESS_KEY_ID", "ENVKEY"},  \
    {                                 \
        "AWS_SECRET_ACCESS_KEY", "es" \
    }
#define WEB                                    \
    {"AWS_WEB_IDENTITY_TOKEN_FILE", "/token"}, \
    {                                          \
        "AWS_ROLE_ARN", "arn:web"              \
    }
#define CONTAINER                                           \
    {                                                       \
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x?y" \
    }
#define NO_INSTANCE                         \
    {                                       \
        "AWS_EC2_METADATA_DISABLED", "True" \
    }
#define FILE_KEYS "[default]\naws_access_key_id = FILEKEY\naws_secret_access_key = fs\n"

static const struct {
    const char *title;
    struct credentials_conf conf;
    struct setting env[5];
    const char *config, *credentials;
    enum chain_source source;
    const char *access_key; /* CHAIN_KEYS */
    size_t n_roles;
} order[] = {
    {.title = "given keys come first",
     .conf = {.access_key = "GIVEN", .secret_key = "s"},
     .env = {ENV_KEYS, WEB},
     .credentials = FILE_KEYS,
     .access_key = "GIVEN"},
    {.title = "then the environment",
     .env = {ENV_KEYS, WEB},
     .credentials = FILE_KEYS,
     .access_key = "ENVKEY"},
    {.title = "empty variables are none",
     .env = {{"AWS_ACCESS_KEY_ID", ""}, {"AWS_SECRET_ACCESS_KEY", ""}},
     .credentials = FILE_KEYS,
     .access_key = "FILEKEY"},
    {.title = "a profile that is asked for comes before the environment",
     .conf = {.profile = "default"},
     .env = {ENV_KEYS},
     .credentials = FILE_KEYS,
     .access_key = "FILEKEY"},
    {.title = "a profile that the environment names does not",
     .env = {ENV_KEYS, {"AWS_PROFILE", "default"}},
     .credentials = FILE_KEYS,
     .access_key = "ENVKEY"},
    {.title = "then the profile",
     .env = {WEB, CONTAINER},
     .credentials = FILE_KEYS,
     .access_key = "FILEKEY"},
    {.title = "keys in the config file count too",
     .env = {WEB},
     .config = FILE_KEYS,
     .access_key = "FILEKEY"},
    {.title = "AWS_PROFILE names it",
     .env = {{"AWS_PROFILE", "p"}},
     .credentials = FILE_KEYS "[p]\naws_access_key_id = PKEY\naws_secret_access_key = s\n",
     .access_key = "PKEY"},
    {.title = "then web identity",
     .env = {WEB, CONTAINER},
     .config = "[default]\nregion = x\n",
     .source = CHAIN_WEB_IDENTITY},
    {.title = "then the container", .env = {CONTAINER}, .source = CHAIN_CONTAINER},
    {.title = "then the instance", .source = CHAIN_INSTANCE},
    {.title = "a role of a profile",
     .config = "[default]\nrole_arn = arn:a\nsource_profile = base\n",
     .credentials = "[base]\naws_access_key_id = BASE\naws_secret_access_key = s\n",
     .access_key = "BASE",
     .n_roles = 1},
    {.title = "a role of a role",
     .config = "[default]\nrole_arn = arn:a\nsource_profile = b\n"
               "[profile b]\nrole_arn = arn:b\nsource_profile = base\n",
     .credentials = "[base]\naws_access_key_id = BASE\naws_secret_access_key = s\n",
     .access_key = "BASE",
     .n_roles = 2},
    {.title = "a role assumed with the profile's own keys",
     .config = FILE_KEYS "role_arn = arn:a\nsource_profile = default\n",
     .access_key = "FILEKEY",
     .n_roles = 1},
    {.title = "a role with keys of the environment, behind a named profile",
     .conf = {.profile = "r"},
     .env = {ENV_KEYS},
     .config = "[profile r]\nrole_arn = arn:a\ncredential_source = Environment\n",
     .access_key = "ENVKEY",
     .n_roles = 1},
    {.title = "a role with the container's credentials",
     .env = {CONTAINER},
     .config = "[default]\nrole_arn = arn:a\ncredential_source = EcsContainer\n",
     .source = CHAIN_CONTAINER,
     .n_roles = 1},
    {.title = "a role with the instance's credentials",
     .config = "[default]\nrole_arn = arn:a\ncredential_source = Ec2InstanceMetadata\n",
     .source = CHAIN_INSTANCE,
     .n_roles = 1},
    {.title = "web identity in a profile",
     .config = "[default]\nrole_arn = arn:a\nweb_identity_token_file = /t\n",
     .source = CHAIN_WEB_IDENTITY},
    {.title = "a role on top of web identity",
     .config = "[default]\nrole_arn = arn:a\nsource_profile = w\n"
               "[profile w]\nrole_arn = arn:w\nweb_identity_token_file = /t\n",
     .source = CHAIN_WEB_IDENTITY,
     .n_roles = 1},
    {.title = "SSO in a profile that has keys besides",
     .config = FILE_KEYS "sso_session = s\n",
     .access_key = "FILEKEY"},
};

static void set_up_case(const struct setting *env, size_t n, const char *config,
                        const char *credentials)
{
    fixture_setup(NULL);
    mkdir(home_path(".aws"), 0700);
    if (config)
        home_write(".aws/config", config);
    if (credentials)
        home_write(".aws/credentials", credentials);
    for (size_t i = 0; i < n && env[i].name; i++)
        setenv(env[i].name, env[i].value, 1);
}

static void the_first_source_that_is_configured_is_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(order); i++) {
        struct chain ch;
        struct store_err err = {0};
        set_up_case(order[i].env, LEN(order[i].env), order[i].config, order[i].credentials);
        if (chain_open(&order[i].conf, &ch, &err) != 0)
            fail_msg("%s: %s", order[i].title, err.msg);
        if (ch.source != order[i].source || ch.n_roles != order[i].n_roles)
            fail_msg("%s: source %d with %zu roles", order[i].title, (int)ch.source, ch.n_roles);
        if (order[i].access_key)
            assert_string_equal(ch.keys.access_key, order[i].access_key);
        chain_cleanup(&ch);
        fixture_teardown(NULL);
    }
}

static const struct {
    struct credentials_conf conf;
    struct setting env[3];
    const char *config;
    const char *message;
} refused[] = {
    {.env = {NO_INSTANCE},
     .message = "credentials: none found: not given, not in the environment or a profile, and "
                "AWS_EC2_METADATA_DISABLED is set"},
    {.conf = {.access_key = "A"}, .message = "credentials: given keys: the secret key is missing"},
    {.conf = {.secret_key = "s"}, .message = "credentials: given keys: the access key is missing"},
    {.conf = {.session_token = "t"},
     .message = "credentials: given keys: the access key is missing"},
    {.conf = {.access_key = "A\n", .secret_key = "s"},
     .message = "credentials: given keys: the access key is malformed"},
    {.env = {{"AWS_ACCESS_KEY_ID", "A"}},
     .message = "credentials: environment: the secret key is missing"},
    {.env = {{"AWS_SECRET_ACCESS_KEY", "s"}},
     .message = "credentials: environment: the access key is missing"},
    {.config = "[default]\naws_access_key_id = A\n",
     .message = "credentials: profile 'default': the secret key is missing"},
    {.conf = {.profile = "p"}, .message = "credentials: there is no profile 'p'"},
    {.env = {{"AWS_PROFILE", "p"}}, .message = "credentials: there is no profile 'p'"},
    {.config = "[default]\nrole_arn = arn:a\nsource_profile = p\n",
     .message = "credentials: there is no profile 'p'"},
    {.config = "[default]\nrole_arn = arn:a\n",
     .message = "credentials: profile 'default': role_arn: expected one of source_profile and "
                "credential_source"},
    {.config = "[default]\nrole_arn = arn:a\nsource_profile = a\ncredential_source = Environment\n",
     .message = "credentials: profile 'default': role_arn: expected one of source_profile and "
                "credential_source"},
    {.config = "[default]\nrole_arn = arn:a\ncredential_source = Moon\n",
     .message = "credentials: profile 'default': credential_source 'Moon': expected Environment, "
                "EcsContainer or Ec2InstanceMetadata"},
    {.config = "[default]\nrole_arn = arn:a\ncredential_source = Environment\n",
     .message = "credentials: environment: the access key is missing"},
    {.config = "[default]\nrole_arn = arn:a\ncredential_source = EcsContainer\n",
     .message = "credentials: credential_source EcsContainer: neither "
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is "
                "set"},
    {.config = "[default]\nrole_arn = arn:a\nsource_profile = b\n"
               "[profile b]\nrole_arn = arn:b\nsource_profile = default\n",
     .message = "credentials: profile 'default': more than 4 roles in a row, or a loop of "
                "source_profile"},
    {.config = "[default]\nrole_arn = arn:a\nsource_profile = b\n[profile b]\nregion = x\n",
     .message = "credentials: source_profile 'b' holds no credentials"},
    {.config = "[default]\nrole_arn = arn:a\nduration_seconds = 899\n"
               "credential_source = Ec2InstanceMetadata\n",
     .message = "credentials: duration_seconds '899': expected 900 to 43200"},
    {.config = "[default]\ncredential_process = /bin/x\n",
     .message = "credentials: profile 'default': credential_process is not supported"},
    {.config = "[default]\nsso_session = x\n",
     .message = "credentials: profile 'default': sso_session is not supported"},
    {.config = "[default]\nsso_start_url = x\n",
     .message = "credentials: profile 'default': sso_start_url is not supported"},
    {.env = {{"AWS_WEB_IDENTITY_TOKEN_FILE", "/t"}},
     .message = "credentials: web identity: AWS_ROLE_ARN is missing"},
    {.env = {{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/x"}},
     .message = "credentials: AWS_CONTAINER_CREDENTIALS_FULL_URI: http://192.0.2.1/x: expected "
                "https, or the address of this machine or of a container agent"},
    {.env = {{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "ftp://127.0.0.1/x"}},
     .message = "credentials: AWS_CONTAINER_CREDENTIALS_FULL_URI: expected "
                "http(s)://host[:port]/path"},
    {.env = {{"AWS_EC2_METADATA_SERVICE_ENDPOINT", "nowhere"}},
     .message = "credentials: AWS_EC2_METADATA_SERVICE_ENDPOINT 'nowhere': expected "
                "http://host[:port]"},
    {.env = {WEB, {"AWS_ENDPOINT_URL_STS", "http://h/path"}},
     .message = "credentials: AWS_ENDPOINT_URL_STS 'http://h/path': expected "
                "http(s)://host[:port]"},
};

static void what_is_half_or_makes_no_sense_is_refused_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(refused); i++) {
        struct chain ch;
        struct store_err err = {0};
        set_up_case(refused[i].env, LEN(refused[i].env), refused[i].config, NULL);
        if (chain_open(&refused[i].conf, &ch, &err) == 0)
            fail_msg("not refused: %s", refused[i].message);
        assert_string_equal(err.msg, refused[i].message);
        assert_int_equal(err.code, STORE_INVALID);
        fixture_teardown(NULL);
    }
}

static void a_malformed_file_is_named_with_its_line(void **state)
{
    (void)state;
    struct chain ch;
    struct store_err err = {0};
    char want[256];
    home_write("config", "[default]\nnonsense\n");
    setenv("AWS_CONFIG_FILE", home_path("config"), 1);
    snprintf(want, sizeof(want), "credentials: %s: line 2: expected name = value",
             home_path("config"));
    assert_int_equal(chain_open(&(struct credentials_conf){0}, &ch, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    assert_string_equal(err.msg, want);
}

static void files_are_found_where_the_environment_says_and_may_be_missing(void **state)
{
    (void)state;
    const struct credentials_conf conf = {0};
    struct chain ch;
    home_write("config", "[default]\nregion = r\nendpoint_url = http://e:1\n");
    home_write("credentials", FILE_KEYS);
    setenv("AWS_CONFIG_FILE", "~/config", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", home_path("credentials"), 1);
    assert_int_equal(chain_open(&conf, &ch, NULL), 0);
    assert_string_equal(ch.keys.access_key, "FILEKEY");
    assert_string_equal(ch.profile_region, "r");
    assert_string_equal(ch.profile_endpoint, "http://e:1");
    chain_cleanup(&ch);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", home_path("missing"), 1);
    assert_int_equal(chain_open(&conf, &ch, NULL), 0);
    assert_int_equal(ch.source, CHAIN_INSTANCE);
    assert_null(ch.profile_region);
    chain_cleanup(&ch);
}

static void a_folder_in_place_of_a_file_is_an_error(void **state)
{
    (void)state;
    struct chain ch;
    struct store_err err = {0};
    setenv("AWS_CONFIG_FILE", fixture_home, 1);
    assert_int_equal(chain_open(&(struct credentials_conf){0}, &ch, &err), -1);
    assert_int_equal(err.sys_errno, EISDIR);
}

static void the_region_is_looked_for_in_the_order_of_the_aws_tools(void **state)
{
    (void)state;
    struct credentials_conf conf = {.region = "option"};
    struct chain ch;
    home_write("config", "[default]\nregion = profile\n");
    setenv("AWS_CONFIG_FILE", home_path("config"), 1);
    setenv("AWS_REGION", "first", 1);
    setenv("AWS_DEFAULT_REGION", "second", 1);
    static const char *const want[] = {"option", "first", "second", "profile"};
    for (size_t i = 0; i < LEN(want); i++) {
        assert_int_equal(chain_open(&conf, &ch, NULL), 0);
        assert_string_equal(ch.region, want[i]);
        chain_cleanup(&ch);
        if (i == 0)
            conf.region = NULL;
        else
            unsetenv(i == 1 ? "AWS_REGION" : "AWS_DEFAULT_REGION");
    }
    unsetenv("AWS_CONFIG_FILE");
    assert_int_equal(chain_open(&conf, &ch, NULL), 0);
    assert_null(ch.region);
    chain_cleanup(&ch);
}

static const struct {
    struct setting env[2];
    const char *base_url, *target;
} addresses[] = {
    {{CONTAINER}, "http://169.254.170.2", "/v2/x?y"},
    {{{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"}},
     "http://169.254.170.23",
     "/v1/credentials"},
    {{{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://[fd00:ec2::23]:80"}},
     "http://[fd00:ec2::23]:80",
     "/"},
    {{{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://example.org:8443/a?b=c"}},
     "https://example.org:8443",
     "/a?b=c"},
    {{{NULL, NULL}}, "http://169.254.169.254", NULL},
    {{{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6"}}, "http://[fd00:ec2::254]", NULL},
    {{{"AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:99/"}}, "http://127.0.0.1:99", NULL},
};

static void container_and_instance_are_asked_where_their_manuals_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(addresses); i++) {
        struct chain ch;
        set_up_case(addresses[i].env, LEN(addresses[i].env), NULL, NULL);
        assert_int_equal(chain_open(&(struct credentials_conf){0}, &ch, NULL), 0);
        assert_string_equal(ch.base_url, addresses[i].base_url);
        if (addresses[i].target)
            assert_string_equal(ch.target, addresses[i].target);
        chain_cleanup(&ch);
        fixture_teardown(NULL);
    }
}

static const struct {
    const char *url;
    bool good, local;
} urls[] = {
    {"http://localhost/x", true, true},
    {"http://127.9.9.9:1", true, true},
    {"http://[::1]:8080/x", true, true},
    {"http://[fe80::1]/x", true, true},
    {"http://169.254.1.1/x", true, true},
    {"http://[fd00:ec2::23]/x", true, true},
    {"http://[fd00:ec2::24]/x", true, false},
    {"http://10.0.0.1/x", true, false},
    {"http://127.1/x", true, false},
    {"http://localhost.example.org/x", true, false},
    {"HTTPS://example.org", true, false},
    {"http://127.0.0.1@example.org/", false, false},
    {"http://example.org#127.0.0.1", false, false},
    {"http://127.0.0.1:0/", false, false},
    {"http://127.0.0.1:65536/", false, false},
    {"http://127.0.0.1:/", false, false},
    {"http://127.0.0.1/a b", false, false},
    {"http://127.0.0.1?a", false, false},
    {"http://[::1/", false, false},
    {"http://[::1]x/", false, false},
    {"http:///x", false, false},
    {"127.0.0.1", false, false},
    {"", false, false},
};

static void only_addresses_close_by_may_get_secrets_in_the_clear(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(urls); i++) {
        struct endpoint e;
        if (endpoint_parse(urls[i].url, &e) != urls[i].good)
            fail_msg("%s: %s", urls[i].url, urls[i].good ? "refused" : "not refused");
        if (urls[i].good && endpoint_is_local(&e) != urls[i].local)
            fail_msg("%s: expected it %s", urls[i].url, urls[i].local ? "local" : "elsewhere");
    }
}

static void every_failed_allocation_is_told(void **state)
{
    (void)state;
    if (!OOM_AVAILABLE)
        skip();
    const struct credentials_conf conf = {.region = "r"};
    home_write("config",
               "[default]\nrole_arn = arn:a\nsource_profile = b\nendpoint_url = http://e\n"
               "external_id = x\nduration_seconds = 900\n");
    home_write("credentials", "[b]\naws_access_key_id = K\naws_secret_access_key = s\n"
                              "aws_session_token = t\n");
    setenv("AWS_CONFIG_FILE", home_path("config"), 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", home_path("credentials"), 1);
    setenv("AWS_ENDPOINT_URL_STS", "http://sts", 1);
    long failures = 0;
    for (long n = 1;; n++) {
        struct chain ch;
        struct store_err err = {0};
        oom_fail_nth(n);
        int rc = chain_open(&conf, &ch, &err);
        bool happened = oom_stop();
        chain_cleanup(&ch);
        assert_int_equal(rc, happened ? -1 : 0);
        if (!happened)
            break;
        assert_int_equal(err.code, STORE_NO_MEMORY);
        failures++;
    }
    assert_true(failures > 15);
}

#define WITH_HOME(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_source_that_is_configured_is_taken),
        cmocka_unit_test(what_is_half_or_makes_no_sense_is_refused_at_once),
        WITH_HOME(a_malformed_file_is_named_with_its_line),
        WITH_HOME(files_are_found_where_the_environment_says_and_may_be_missing),
        WITH_HOME(a_folder_in_place_of_a_file_is_an_error),
        WITH_HOME(the_region_is_looked_for_in_the_order_of_the_aws_tools),
        cmocka_unit_test(container_and_instance_are_asked_where_their_manuals_say),
        cmocka_unit_test(only_addresses_close_by_may_get_secrets_in_the_clear),
        WITH_HOME(every_failed_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
