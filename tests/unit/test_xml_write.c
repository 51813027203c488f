#include "tests/unit/xml_fixture.h"

/* ---- The delete request ---- */

static void xml_carries_utf8_without_control_characters(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        bool yes;
    } cases[] = {
        {"", true},
        {"a/b <&>\"'%+", true},
        {"tab\tlf\ncr\r", true},
        {"\x7f", true},
        {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", true},
        {"\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbd\xf4\x8f\xbf\xbf", true}, /* last before each gap */
        {"a\x01", false},
        {"\x1f", false},
        {"\x80", false},                 /* continues nothing */
        {"\xc3", false},                 /* cut short */
        {"\xe2\x82", false},             /* cut short */
        {"\xe2\x82z", false},            /* not continued */
        {"\xc0\x80", false},             /* NUL in a longer form */
        {"\xe0\x80\xaf", false},         /* '/' in a longer form */
        {"\xf0\x82\x82\xac", false},     /* longer form */
        {"\xed\xa0\x80", false},         /* surrogate */
        {"\xef\xbf\xbe", false},         /* U+FFFE */
        {"\xef\xbf\xbf", false},         /* U+FFFF */
        {"\xf4\x90\x80\x80", false},     /* above U+10FFFF */
        {"\xf8\x88\x80\x80\x80", false}, /* five bytes */
        {"\xff", false},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        print_message("%zu\n", i);
        assert_int_equal(xml_can_carry(cases[i].key), cases[i].yes);
    }
}

static void a_delete_request_escapes_its_keys(void **state)
{
    (void)state;
    const char *const keys[] = {"a", "<&>\r\n\t\"' "};
    struct buf out = BUF_INIT(4096);
    xml_delete_request(&out, "p&/", keys, NULL, LEN(keys));
    assert_string_equal(buf_str(&out),
                        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Delete"
                        " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>"
                        "<Object><Key>p&amp;/a</Key></Object><Object><Key>p&amp;/&lt;&amp;&gt;"
                        "&#13;&#10;&#9;\"' </Key></Object></Delete>");
    buf_cleanup(&out);

    const char *const versions[] = {"v1", "null"};
    struct buf with = BUF_INIT(4096);
    xml_delete_request(&with, "", keys, versions, 1);
    assert_non_null(strstr(buf_str(&with), "<Object><Key>a</Key><VersionId>v1</VersionId></Object>"
                                           "</Delete>"));
    buf_cleanup(&with);

    struct buf small = BUF_INIT(200);
    xml_delete_request(&small, "", keys, NULL, LEN(keys));
    assert_true(buf_failed(&small));
    buf_cleanup(&small);
}

/* Every key that XML can carry comes out of a parser as it went in. */
static void keys_come_out_of_a_parser_as_they_went_in(void **state)
{
    (void)state;
    char key[6] = "", *at, *end;
    for (unsigned c = 1; c < 0x80; c++) {
        snprintf(key, sizeof(key), " %c%c ", c, c);
        if (!xml_can_carry(key))
            continue;
        const char *const keys[] = {key};
        struct buf request = BUF_INIT(4096), list = BUF_INIT(4096), out = BUF_INIT(4096);
        struct store_err err = {0};
        xml_delete_request(&request, "", keys, NULL, 1);
        at = strstr(request.data, "<Key>");
        end = strstr(request.data, "</Key>");
        buf_adds(&list, "<ListBucketResult>" WHOLE "<Contents><Size>1</Size>");
        buf_add(&list, at, (size_t)(end - at));
        buf_adds(&list, "</Key></Contents></ListBucketResult>");
        assert_int_equal(parse(list.data, list.len, list.len, &out, &err), 0);
        char expected[64];
        snprintf(expected, sizeof(expected), "list\n[%s] 1  0\n", key);
        assert_string_equal(buf_str(&out), expected);
        buf_cleanup(&request);
        buf_cleanup(&list);
        buf_cleanup(&out);
    }
}

static void a_complete_request_numbers_its_parts_from_one(void **state)
{
    (void)state;
    const char *const etags[] = {"a54357aff0632cce46d942af68356b38", "b<&"};
    struct buf out = BUF_INIT(4096);
    xml_complete_request(&out, etags, LEN(etags));
    assert_string_equal(buf_str(&out),
                        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><CompleteMultipartUpload"
                        " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                        "<Part><PartNumber>1</PartNumber>"
                        "<ETag>\"a54357aff0632cce46d942af68356b38\"</ETag></Part>"
                        "<Part><PartNumber>2</PartNumber><ETag>\"b&lt;&amp;\"</ETag></Part>"
                        "</CompleteMultipartUpload>");
    buf_cleanup(&out);
}

/* Ceph reads at most 1 MiB. */
static void a_complete_request_of_all_parts_is_below_a_mebibyte(void **state)
{
    (void)state;
    enum { MAX_PARTS = 10000 };
    const char *etags[MAX_PARTS];
    struct buf out = BUF_INIT(1 << 20);
    for (size_t i = 0; i < MAX_PARTS; i++)
        etags[i] = "a54357aff0632cce46d942af68356b38";
    xml_complete_request(&out, etags, MAX_PARTS);
    assert_false(buf_failed(&out));
    assert_non_null(strstr(out.data, "<PartNumber>10000</PartNumber>"));
    buf_cleanup(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xml_carries_utf8_without_control_characters),
        cmocka_unit_test(a_delete_request_escapes_its_keys),
        cmocka_unit_test(keys_come_out_of_a_parser_as_they_went_in),
        cmocka_unit_test(a_complete_request_numbers_its_parts_from_one),
        cmocka_unit_test(a_complete_request_of_all_parts_is_below_a_mebibyte),
    };
    return cmocka_run_group_tests_name("xml_write", tests, NULL, NULL);
}
