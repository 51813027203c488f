/* The profile parser, against the forms that the AWS tools write and take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "libstore/s3/profile.h"
#include "tests/unit/oom.h"

static int parse(const char *text, enum profile_file file, const char *name, struct profile *p,
                 struct store_err *err)
{
    return profile_parse(text, strlen(text), file, "the-file", name, p, err);
}

/* What one key of one profile is said to be; want NULL: nothing. */
static const struct {
    const char *title, *text;
    enum profile_file file;
    const char *name;
    enum profile_key key;
    const char *want;
} cases[] = {
    {"a plain setting", "[default]\nregion = eu-west-1\n", PROFILE_CONFIG, "default",
     PROFILE_REGION, "eu-west-1"},
    {"no newline at the end, no spaces", "[default]\nregion=eu-west-1", PROFILE_CONFIG, "default",
     PROFILE_REGION, "eu-west-1"},
    {"CRLF", "[default]\r\nregion = eu-west-1\r\n", PROFILE_CONFIG, "default", PROFILE_REGION,
     "eu-west-1"},
    {"a byte order mark", "\xef\xbb\xbf[default]\nregion = a\n", PROFILE_CONFIG, "default",
     PROFILE_REGION, "a"},
    {"another profile", "[profile x]\nregion = a\n[profile y]\nregion = b\n", PROFILE_CONFIG, "y",
     PROFILE_REGION, "b"},
    {"quotes and tabs around the name", "[ profile \t'x y' ]\nregion = a\n", PROFILE_CONFIG, "x y",
     PROFILE_REGION, "a"},
    {"without the word profile it is none, in config", "[x]\nregion = a\n", PROFILE_CONFIG, "x",
     PROFILE_REGION, NULL},
    {"with the word it is another, in credentials", "[profile x]\nregion = a\n",
     PROFILE_CREDENTIALS, "x", PROFILE_REGION, NULL},
    {"no word in credentials", "[x]\naws_access_key_id = AK\n", PROFILE_CREDENTIALS, "x",
     PROFILE_ACCESS_KEY, "AK"},
    {"the word must stand alone", "[profilex]\nregion = a\n", PROFILE_CONFIG, "x", PROFILE_REGION,
     NULL},
    {"profile default hides default before it",
     "[default]\nregion = a\nendpoint_url = http://e\n[profile default]\nregion = b\n",
     PROFILE_CONFIG, "default", PROFILE_ENDPOINT_URL, NULL},
    {"and behind it", "[profile default]\nregion = b\n[default]\nregion = a\n", PROFILE_CONFIG,
     "default", PROFILE_REGION, "b"},
    {"sections of one name add up",
     "[default]\nregion = a\n[profile x]\n[default]\nendpoint_url = http://e\n", PROFILE_CONFIG,
     "default", PROFILE_REGION, "a"},
    {"the later of two values", "[default]\nregion = a\nregion = b\n", PROFILE_CONFIG, "default",
     PROFILE_REGION, "b"},
    {"set to nothing is not set", "[default]\nregion = a\nregion =\n", PROFILE_CONFIG, "default",
     PROFILE_REGION, NULL},
    {"names in capitals", "[default]\nAWS_Access_Key_ID = AK\n", PROFILE_CREDENTIALS, "default",
     PROFILE_ACCESS_KEY, "AK"},
    {"a value with signs in it", "[default]\naws_secret_access_key = a=b/c+d#e;f\n",
     PROFILE_CREDENTIALS, "default", PROFILE_SECRET_KEY, "a=b/c+d#e;f"},
    {"comments", "# one\n; two\n[default] # three\nregion = a ; four\n# five\n", PROFILE_CONFIG,
     "default", PROFILE_REGION, "a"},
    {"a value that is only a comment", "[default]\nregion = # none\n", PROFILE_CONFIG, "default",
     PROFILE_REGION, NULL},
    {"nested settings are not ours",
     "[default]\ns3 =\n  region = nested\n  endpoint_url = http://nested\nregion = a\n",
     PROFILE_CONFIG, "default", PROFILE_REGION, "a"},
    {"nor may they look like sections", "[default]\ns3 =\n  [profile y]\nregion = a\n",
     PROFILE_CONFIG, "default", PROFILE_REGION, "a"},
    {"nested settings with comments and empty lines between",
     "[default]\ns3 =\n\n  # region = c\n  region = nested\n", PROFILE_CONFIG, "default",
     PROFILE_REGION, NULL},
    {"a continued value", "[default]\nregion = a\n  b\n", PROFILE_CONFIG, "default", PROFILE_REGION,
     "a"},
    {"all settings indented alike", "[default]\n  region = a\n  endpoint_url = http://e\n",
     PROFILE_CONFIG, "default", PROFILE_ENDPOINT_URL, "http://e"},
    {"sections of other kinds", "[services x]\nregion = b\nno sign\n[default]\nregion = a\n",
     PROFILE_CONFIG, "default", PROFILE_REGION, "a"},
    {"settings nobody knows", "[default]\ncolour = blue\nregion = a\n", PROFILE_CONFIG, "default",
     PROFILE_REGION, "a"},
    {"an empty file", "", PROFILE_CONFIG, "default", PROFILE_REGION, NULL},
};

static void profiles_are_read_as_the_aws_tools_read_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        struct profile p = {0};
        struct store_err err = {0};
        if (parse(cases[i].text, cases[i].file, cases[i].name, &p, &err) != 0)
            fail_msg("%s: %s", cases[i].title, err.msg);
        const char *got = p.values[cases[i].key];
        if (cases[i].want ? !got || strcmp(got, cases[i].want) != 0 : got != NULL)
            fail_msg("%s: got %s", cases[i].title, got ? got : "nothing");
        profile_cleanup(&p);
    }
}

static const struct {
    const char *text, *message;
} bad[] = {
    {"[default\n", "credentials: the-file: line 1: expected ']' at the end of a section's name"},
    {"\n# c\nregion = a\n",
     "credentials: the-file: line 3: expected '[' and a section's name before the first setting"},
    {"[default]\nregion\n", "credentials: the-file: line 2: expected name = value"},
    {"[default]\n = a\n", "credentials: the-file: line 2: expected a name before '='"},
    {"[default]\naws_secret_access_key = a\x01\x02\n",
     "credentials: the-file: line 2: control character"},
};

static void malformed_files_are_refused_by_line_and_without_their_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(bad); i++) {
        struct profile p = {0};
        struct store_err err = {0};
        assert_int_equal(parse(bad[i].text, PROFILE_CONFIG, "default", &p, &err), -1);
        assert_int_equal(err.code, STORE_INVALID);
        assert_string_equal(err.msg, bad[i].message);
        assert_false(p.found);
    }
}

static void a_nul_and_sizes_past_the_bounds_are_refused(void **state)
{
    (void)state;
    struct profile p = {0};
    struct store_err err = {0};
    struct buf b = BUF_INIT(PROFILE_MAX_FILE_BYTES + 16);
    assert_int_equal(profile_parse("[a]\0", 4, PROFILE_CONFIG, "f", "a", &p, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    buf_adds(&b, "[a]\nregion = ");
    while (b.len < 13 + PROFILE_MAX_VALUE_BYTES)
        buf_addc(&b, 'x');
    assert_int_equal(profile_parse(b.data, b.len, PROFILE_CREDENTIALS, "f", "a", &p, &err), 0);
    assert_int_equal(strlen(p.values[PROFILE_REGION]), PROFILE_MAX_VALUE_BYTES);
    buf_addc(&b, 'x');
    assert_int_equal(profile_parse(b.data, b.len, PROFILE_CREDENTIALS, "f", "a", &p, &err), -1);
    assert_string_equal(err.msg, "credentials: f: line 2: the value is too long");
    while (b.len <= PROFILE_MAX_FILE_BYTES)
        buf_addc(&b, '\n');
    assert_int_equal(profile_parse(b.data, b.len, PROFILE_CREDENTIALS, "f", "a", &p, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    profile_cleanup(&p);
    buf_cleanup(&b);
}

static const char config_text[] = "[profile x]\nregion = a\naws_access_key_id = AK1\n"
                                  "aws_secret_access_key = SK1\naws_session_token = ST1\n";
static const char credentials_text[] = "[x]\naws_access_key_id = AK2\n"
                                       "aws_secret_access_key = SK2\n";

static void keys_of_the_credentials_file_replace_all_of_the_config_files(void **state)
{
    (void)state;
    struct profile p = {0};
    assert_int_equal(parse(config_text, PROFILE_CONFIG, "x", &p, NULL), 0);
    assert_string_equal(p.values[PROFILE_SESSION_TOKEN], "ST1");
    assert_int_equal(parse(credentials_text, PROFILE_CREDENTIALS, "x", &p, NULL), 0);
    assert_string_equal(p.values[PROFILE_ACCESS_KEY], "AK2");
    assert_string_equal(p.values[PROFILE_SECRET_KEY], "SK2");
    assert_null(p.values[PROFILE_SESSION_TOKEN]);
    assert_string_equal(p.values[PROFILE_REGION], "a");
    profile_cleanup(&p);
    assert_null(p.values[PROFILE_SECRET_KEY]);
}

static void a_malformed_second_file_leaves_what_the_first_said(void **state)
{
    (void)state;
    struct profile p = {0};
    assert_int_equal(parse(config_text, PROFILE_CONFIG, "x", &p, NULL), 0);
    assert_int_equal(
        parse("[x]\naws_access_key_id = AK2\nbad\n", PROFILE_CREDENTIALS, "x", &p, NULL), -1);
    assert_string_equal(p.values[PROFILE_ACCESS_KEY], "AK1");
    profile_cleanup(&p);
}

static void every_failed_allocation_is_told(void **state)
{
    (void)state;
    if (!OOM_AVAILABLE)
        skip();
    long failures = 0;
    for (long n = 1;; n++) {
        struct profile p = {0};
        struct store_err err = {0};
        oom_fail_nth(n);
        int rc = parse(config_text, PROFILE_CONFIG, "x", &p, &err);
        bool happened = oom_stop();
        profile_cleanup(&p);
        assert_int_equal(rc, happened ? -1 : 0);
        if (!happened)
            break;
        assert_int_equal(err.code, STORE_NO_MEMORY);
        failures++;
    }
    assert_int_equal(failures, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profiles_are_read_as_the_aws_tools_read_them),
        cmocka_unit_test(malformed_files_are_refused_by_line_and_without_their_text),
        cmocka_unit_test(a_nul_and_sizes_past_the_bounds_are_refused),
        cmocka_unit_test(keys_of_the_credentials_file_replace_all_of_the_config_files),
        cmocka_unit_test(a_malformed_second_file_leaves_what_the_first_said),
        cmocka_unit_test(every_failed_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
