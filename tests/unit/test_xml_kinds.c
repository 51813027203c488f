/* The documents besides plain lists, delete results and errors. */
#include "libstore/s3/xml_build.h"
#include "tests/unit/xml_fixture.h"

#define MORE       "<IsTruncated>true</IsTruncated>"
#define NEXT(k)    "<NextKeyMarker>" k "</NextKeyMarker>"
#define NEXT_ID(v) "<NextVersionIdMarker>" v "</NextVersionIdMarker>"
#define NEXT_UP(u) "<NextUploadIdMarker>" u "</NextUploadIdMarker>"
#define VERSION(k, v, latest)                                                                \
    "<Version><Key>" k "</Key><VersionId>" v "</VersionId><IsLatest>" latest "</IsLatest>"   \
    "<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>1" \
    "</Size></Version>"
#define MARKER(k, v, latest)                                                                    \
    "<DeleteMarker><Key>" k "</Key><VersionId>" v "</VersionId><IsLatest>" latest "</IsLatest>" \
    "<LastModified>2026-01-02T03:04:06Z</LastModified></DeleteMarker>"
#define UPLOAD(k, id)                                                          \
    "<Upload><Key>" k "</Key><UploadId>" id "</UploadId><Initiated>2026-01-02" \
    "T03:04:05.000Z</Initiated></Upload>"
#define CREDENTIALS(access, secret, token, until)                                \
    "<Credentials><AccessKeyId>" access "</AccessKeyId><SecretAccessKey>" secret \
    "</SecretAccessKey><SessionToken>" token "</SessionToken><Expiration>" until \
    "</Expiration></Credentials>"
#define STS "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\""
#define ROLE(x)                                                                           \
    "<AssumeRoleResponse " STS "><AssumeRoleResult>" x "</AssumeRoleResult><ResponseMeta" \
    "data><RequestId>r</RequestId></ResponseMetadata></AssumeRoleResponse>"

static const struct good versions[] = {
    {"versions and markers in their order",
     VERSIONS("<Name>b</Name><Prefix/><KeyMarker/><VersionIdMarker/><MaxKeys>1000</MaxKeys>" WHOLE
                  MARKER("a", "m3", "true") VERSION("a", "v2", "false") MARKER("a", "m1", "false")
                      VERSION("a", "v0", "false") VERSION("b", "null", "true")),
     "versions\n[a] @m3 marker 1767323046 latest\n[a] @v2 1 e 1767323045\n"
     "[a] @m1 marker 1767323046\n[a] @v0 1 e 1767323045\n[b] @null 1 e 1767323045 latest\n"},
    {"no versions", VERSIONS(WHOLE), "versions\n"},
    {"all versions, then all markers: the latest is first, the others keep their order",
     VERSIONS(WHOLE VERSION("a", "v9", "false") VERSION("a", "v1", "false")
                  VERSION("b", "v5", "true") MARKER("a", "m5", "true") MARKER("b", "m1", "false")),
     "versions\n[a] @m5 marker 1767323046 latest\n[a] @v9 1 e 1767323045\n"
     "[a] @v1 1 e 1767323045\n[b] @v5 1 e 1767323045 latest\n[b] @m1 marker 1767323046\n"},
    {"merged with groups, order of versions kept",
     VERSIONS(WHOLE VERSION("a", "9", "true") VERSION("a", "1", "false") VERSION("a", "5", "false")
                  VERSION("c", "2", "true") GROUP("a/") GROUP("b/")),
     "versions\n[a] @9 1 e 1767323045 latest\n[a] @1 1 e 1767323045\n[a] @5 1 e 1767323045\n"
     "[a/] prefix\n[b/] prefix\n[c] @2 1 e 1767323045 latest\n"},
    {"truncated, encoded",
     VERSIONS(URL MORE NEXT("t%2Fa+b%2B") NEXT_ID("v+%2B") VERSION("t%2Fa+b%2B", "v+%2B", "true")),
     "versions truncated next=t/a b+@v+%2B\n[t/a b+] @v+%2B 1 e 1767323045 latest\n"},
    {"truncated, not encoded", VERSIONS(MORE NEXT("a+%") NEXT_ID("null")),
     "versions truncated next=a+%@null\n"},
    {"Ceph: encoded keys, the next key as it is",
     VERSIONS(URL MORE NEXT("50%+x") NEXT_ID("v") VERSION("50%25%2Bx", "v", "true")),
     "versions truncated next=50%+x@v\n[50%+x] @v 1 e 1767323045 latest\n"},
    {"truncated behind a group", VERSIONS(MORE GROUP("g/") NEXT("g/")),
     "versions truncated next=g/@\n[g/] prefix\n"},
    {"markers on the last page", VERSIONS(WHOLE NEXT("k") NEXT_ID("v")), "versions\n"},
    {"encoding behind all", VERSIONS(MORE NEXT("a%2F") VERSION("%C3%A9", "v", "true") URL),
     "versions truncated next=a/@\n[\xc3\xa9] @v 1 e 1767323045 latest\n"},
    {"no time, no ETag, IsLatest left out",
     VERSIONS(WHOLE "<Version><Key>a</Key><VersionId>v</VersionId><Size>7</Size></Version>"
                    "<DeleteMarker><Key>b</Key><VersionId>w</VersionId></DeleteMarker>"),
     "versions\n[a] @v 7  0\n[b] @w marker 0\n"},
    {"the owner's elements are not the version's",
     VERSIONS(WHOLE "<Version><Owner><Key>x</Key></Owner><Key>a</Key><VersionId>v</VersionId>"
                    "<Size>7</Size></Version>"),
     "versions\n[a] @v 7  0\n"},
};

static const struct good uploads[] = {
    {"a page of Amazon's",
     UPLOADS("<Bucket>b</Bucket><KeyMarker/><UploadIdMarker/>" NEXT("x") NEXT_UP(
         "u") "<MaxUploads>1000</MaxUploads>" WHOLE UPLOAD("my-movie.m2ts", "VXBsb2Fk")
                 UPLOAD("my-movie.m2ts", "QW50aW5n") UPLOAD("z", "u")),
     "uploads\n[my-movie.m2ts] @VXBsb2Fk 0  1767323045\n"
     "[my-movie.m2ts] @QW50aW5n 0  1767323045\n[z] @u 0  1767323045\n"},
    {"truncated, encoded",
     UPLOADS(URL MORE NEXT("a%2Fb+") NEXT_UP("u.1~x") UPLOAD("a%2Fb", "u.1~x") GROUP("a%2Bc%2F")),
     "uploads truncated next=a/b @u.1~x\n[a+c/] prefix\n[a/b] @u.1~x 0  1767323045\n"},
    {"none", UPLOADS(WHOLE), "uploads\n"},
    {"no time", UPLOADS(WHOLE "<Upload><UploadId>u</UploadId><Key>k</Key></Upload>"),
     "uploads\n[k] @u 0  0\n"},
};

static const struct good others[] = {
    {"upload begun",
     DECL "<InitiateMultipartUploadResult" NS "><Bucket>b</Bucket><Key>k</Key><UploadId>VXB-"
          "sb.2_x</UploadId></InitiateMultipartUploadResult>",
     "begun VXB-sb.2_x\n"},
    {"upload done",
     DECL "<CompleteMultipartUploadResult" NS "><Location>http://b.s3.amazonaws.com/k</Location>"
          "<Bucket>b</Bucket><Key>k</Key><ETag>\"3858f62230ac3c915f300c664312c11f-9\"</ETag>"
          "</CompleteMultipartUploadResult>",
     "done [3858f62230ac3c915f300c664312c11f-9]\n"},
    {"upload done, without an ETag", "<CompleteMultipartUploadResult/>", "done []\n"},
    {"upload done after spaces before the declaration",
     "  \r\n\t " SPACES DECL "<CompleteMultipartUploadResult><ETag>e</ETag>"
     "</CompleteMultipartUploadResult>",
     "done [e]\n"},
    {"upload done after spaces behind the declaration",
     DECL SPACES "\n" SPACES "<CompleteMultipartUploadResult><ETag>e</ETag>"
                 "</CompleteMultipartUploadResult>",
     "done [e]\n"},
    {"spaces on both sides", "\n" DECL " \n<CompleteMultipartUploadResult/>", "done []\n"},
    {"upload that failed late",
     DECL SPACES "<Error><Code>InternalError</Code><Message>m</Message></Error>",
     "error InternalError: m ()\n"},
    {"copied",
     DECL "<CopyObjectResult" NS "><LastModified>2009-10-28T22:32:00</LastModified><ETag>&quot;"
          "9b2cf5&quot;</ETag></CopyObjectResult>",
     "copied [9b2cf5]\n"},
    {"part copied", "<CopyPartResult><ETag>&quot;9b2cf5&quot;</ETag></CopyPartResult>",
     "copied [9b2cf5]\n"},

    {"role assumed",
     ROLE("<AssumedRoleUser><Arn>arn:x</Arn></AssumedRoleUser>" CREDENTIALS(
         "ASIA", "wJalr/XUtn+F", "AQoDYXdz//EXAMPLE==", "2019-11-09T13:34:41Z")),
     "credentials ASIA wJalr/XUtn+F AQoDYXdz//EXAMPLE== 1573306481\n"},
    {"role assumed by web identity",
     "<AssumeRoleWithWebIdentityResponse " STS "><AssumeRoleWithWebIdentityResult>" CREDENTIALS(
         "A", "S", "T", "2014-10-24T23:00:23Z") "<Audience>a</Audience>"
                                                "</AssumeRoleWithWebIdentityResult></"
                                                "AssumeRoleWithWebIdentityResponse>",
     "credentials A S T 1414191623\n"},
    {"error of STS",
     "<ErrorResponse " STS "><Error><Type>Sender</Type><Code>ExpiredTokenException</Code><Message>"
     "Token expired</Message></Error><RequestId>r</RequestId></ErrorResponse>",
     "error ExpiredTokenException: Token expired ()\n"},
    {"error of STS that says nothing", "<ErrorResponse/>", "error :  ()\n"},

    {"failed deletions of versions",
     "<DeleteResult><Error><Key>a</Key><VersionId>v1</VersionId><Code>AccessDenied</Code></Error>"
     "<Error><Key>a</Key><VersionId>null</VersionId><Code>InternalError</Code></Error>"
     "</DeleteResult>",
     "deleted 0\n[a] @v1 AccessDenied: \n[a] @null InternalError: \n"},
};

static const struct bad bad[] = {
    {"versions without IsTruncated", VERSIONS(VERSION("a", "v", "true"))},
    {"truncated versions without a next key", VERSIONS(MORE VERSION("a", "v", "true"))},
    {"truncated versions with an empty next key", VERSIONS(MORE NEXT("") NEXT_ID("v"))},
    {"next key with a malformed escape", VERSIONS(URL MORE NEXT("%2"))},
    {"key of a version with a malformed escape", VERSIONS(URL WHOLE VERSION("%", "v", "true"))},
    {"version without a key", VERSIONS(WHOLE "<Version><VersionId>v</VersionId><Size>1</Size>"
                                             "</Version>")},
    {"version without an id", VERSIONS(WHOLE "<Version><Key>a</Key><Size>1</Size></Version>")},
    {"version with an empty id", VERSIONS(WHOLE VERSION("a", "", "true"))},
    {"version without a size", VERSIONS(WHOLE "<Version><Key>a</Key><VersionId>v</VersionId>"
                                              "</Version>")},
    {"version with two ids", VERSIONS(WHOLE "<Version><Key>a</Key><VersionId>v</VersionId>"
                                            "<VersionId>w</VersionId><Size>1</Size></Version>")},
    {"second version without an id",
     VERSIONS(WHOLE VERSION("a", "v", "true") "<Version><Key>b</Key><Size>1</Size></Version>")},
    {"marker without a key", VERSIONS(WHOLE "<DeleteMarker><VersionId>v</VersionId>"
                                            "</DeleteMarker>")},
    {"marker without an id", VERSIONS(WHOLE "<DeleteMarker><Key>a</Key></DeleteMarker>")},
    {"IsLatest unclear", VERSIONS(WHOLE VERSION("a", "v", "maybe"))},
    {"group without a prefix among versions", VERSIONS(WHOLE "<CommonPrefixes/>")},

    {"uploads without IsTruncated", UPLOADS(UPLOAD("a", "u"))},
    {"truncated uploads without a next key", UPLOADS(MORE NEXT_UP("u"))},
    {"upload without a key", UPLOADS(WHOLE "<Upload><UploadId>u</UploadId></Upload>")},
    {"upload without an id", UPLOADS(WHOLE "<Upload><Key>k</Key></Upload>")},
    {"upload begun at no time",
     UPLOADS(WHOLE "<Upload><Key>k</Key><UploadId>u</UploadId><Initiated>x</Initiated></Upload>")},

    {"begun upload without an id", "<InitiateMultipartUploadResult/>"},
    {"begun upload with an empty id",
     "<InitiateMultipartUploadResult><UploadId/></InitiateMultipartUploadResult>"},
    {"nothing but spaces", SPACES "\n"},
    {"text before the declaration", " x" DECL "<Error/>"},
    {"two declarations", DECL DECL "<Error/>"},
    {"vertical tab before the declaration", "\v" DECL "<Error/>"},

    {"role without a result", "<AssumeRoleResponse/>"},
    {"web role without a result", "<AssumeRoleWithWebIdentityResponse/>"},
    {"role without credentials", ROLE("<AssumedRoleUser/>")},
    {"no access key",
     ROLE("<Credentials><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
          "<Expiration>2019-11-09T13:34:41Z</Expiration></Credentials>")},
    {"no secret key", ROLE("<Credentials><AccessKeyId>a</AccessKeyId><SessionToken>t</SessionToken>"
                           "<Expiration>2019-11-09T13:34:41Z</Expiration></Credentials>")},
    {"no session token",
     ROLE("<Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
          "<Expiration>2019-11-09T13:34:41Z</Expiration></Credentials>")},
    {"no expiration",
     ROLE("<Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
          "<SessionToken>t</SessionToken></Credentials>")},
    {"empty access key", ROLE(CREDENTIALS("", "s", "t", "2019-11-09T13:34:41Z"))},
    {"empty secret key", ROLE(CREDENTIALS("a", "", "t", "2019-11-09T13:34:41Z"))},
    {"empty session token", ROLE(CREDENTIALS("a", "s", "", "2019-11-09T13:34:41Z"))},
    {"empty expiration", ROLE(CREDENTIALS("a", "s", "t", ""))},
    {"malformed expiration", ROLE(CREDENTIALS("a", "s", "t", "tomorrow"))},
    {"half a second pair of keys",
     ROLE(CREDENTIALS("a", "s", "t", "2019-11-09T13:34:41Z") "<Credentials><AccessKeyId>b"
                                                             "</AccessKeyId></Credentials>")},
};

static void versions_are_listed(void **state)
{
    (void)state;
    check_all_good(versions, LEN(versions));
    check_all_cut(versions, LEN(versions));
}

static void uploads_are_listed(void **state)
{
    (void)state;
    check_all_good(uploads, LEN(uploads));
    check_all_cut(uploads, LEN(uploads));
}

static void other_answers_are_read(void **state)
{
    (void)state;
    check_all_good(others, LEN(others));
    check_all_cut(others, LEN(others));
}

static void answers_that_lack_a_part_are_refused(void **state)
{
    (void)state;
    check_all_bad(bad, LEN(bad));
}

static void many_versions_of_a_key_stay_in_order_among_others(void **state)
{
    (void)state;
    struct buf doc = BUF_INIT(MAX_BYTES), expected = BUF_INIT(MAX_BYTES), out = BUF_INIT(MAX_BYTES);
    struct store_err err = {0};
    buf_adds(&doc, "<ListVersionsResult>" WHOLE GROUP("z/"));
    for (unsigned i = 0; i < 1500; i++)
        buf_addf(&doc, "<DeleteMarker><Key>%c</Key><VersionId>%u</VersionId></DeleteMarker>",
                 'c' - (char)(i % 3), i);
    buf_adds(&doc, "</ListVersionsResult>");
    buf_adds(&expected, "versions\n");
    for (unsigned k = 0; k < 3; k++)
        for (unsigned i = 2 - k; i < 1500; i += 3)
            buf_addf(&expected, "[%c] @%u marker 0\n", 'a' + (char)k, i);
    buf_adds(&expected, "[z/] prefix\n");
    assert_int_equal(parse(doc.data, doc.len, 4096, &out, &err), 0);
    assert_string_equal(buf_str(&out), buf_str(&expected));
    buf_cleanup(&doc);
    buf_cleanup(&expected);
    buf_cleanup(&out);
}

/* expat stops at the first failure; whoever drives the builder otherwise need not. */
static void after_a_failure_nothing_is_taken(void **state)
{
    (void)state;
    struct xml_builder b;
    xml_builder_init(&b);
    xml_builder_open(&b, "Error");
    xml_builder_open(&b, "Code");
    xml_builder_open(&b, "b"); /* where only text may be */
    assert_int_equal(b.err.code, STORE_CORRUPT);
    struct store_err first = b.err;
    xml_builder_text(&b, "x", 1);
    xml_builder_close(&b);
    xml_builder_open(&b, "Message");
    xml_builder_close(&b);
    xml_builder_finish(&b);
    assert_int_equal(b.text.len, 0);
    assert_string_equal(b.doc.code, "");
    assert_string_equal(b.err.msg, first.msg);
    xml_builder_cleanup(&b);
}

static void spaces_count_for_the_size(void **state)
{
    (void)state;
    struct buf doc = BUF_INIT(MAX_BYTES);
    struct store_err err = {0};
    for (size_t i = 0; i < (8 << 20) / 64; i++)
        buf_adds(&doc, SPACES);
    buf_adds(&doc, "<Error/>");
    assert_int_equal(parse(doc.data, doc.len, 1000, NULL, &err), -1);
    assert_int_equal(err.code, STORE_CORRUPT);
    buf_cleanup(&doc);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    if (!OOM_AVAILABLE)
        skip();
    for (size_t i = 0; i < LEN(versions); i++)
        check_oom(versions[i].doc, strlen(versions[i].doc), 100);
    for (size_t i = 0; i < LEN(uploads); i++)
        check_oom(uploads[i].doc, strlen(uploads[i].doc), 100);
    for (size_t i = 0; i < LEN(others); i++)
        check_oom(others[i].doc, strlen(others[i].doc), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_listed),
        cmocka_unit_test(uploads_are_listed),
        cmocka_unit_test(other_answers_are_read),
        cmocka_unit_test(answers_that_lack_a_part_are_refused),
        cmocka_unit_test(many_versions_of_a_key_stay_in_order_among_others),
        cmocka_unit_test(after_a_failure_nothing_is_taken),
        cmocka_unit_test(spaces_count_for_the_size),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("xml_kinds", tests, NULL, NULL);
}
