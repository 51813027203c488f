#include "tests/unit/xml_fixture.h"

/* ---- Documents as stores send them ---- */

#define AWS_ENTRY                                                                                \
    "<Contents><Key>t/a+b%2Bc%20d</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"    \
    "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><ChecksumAlgorithm>CRC32"          \
    "</ChecksumAlgorithm><Size>18446744073709551615</Size><StorageClass>STANDARD</StorageClass>" \
    "</Contents>"

#define REGION_63 "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklmnopqrstuvwxy"

static const struct good good[] = {
    {"a page of Amazon's",
     LIST("<Name>b</Name><Prefix>t%2F</Prefix><KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys>" URL
          "<IsTruncated>true</IsTruncated><NextContinuationToken>1ueGcxLPRx1Tr/XYExHn+%2B="
          "</NextContinuationToken>" AWS_ENTRY GROUP("t/x/")),
     "list truncated next=1ueGcxLPRx1Tr/XYExHn+%2B=\n"
     "[t/a b+c d] 18446744073709551615 d41d8cd98f00b204e9800998ecf8427e 1767323045\n"
     "[t/x/] prefix\n"},
    {"empty", LIST(WHOLE), "list\n"},
    {"empty page that is not the last",
     LIST("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"),
     "list truncated next=t\n"},
    {"token on the last page", LIST(WHOLE "<NextContinuationToken>t</NextContinuationToken>"),
     "list\n"},
    {"no encoding: escapes stay", LIST(WHOLE KEY("a+b%2B%zz")), "list\n[a+b%2B%zz] 1  0\n"},
    {"empty encoding", LIST("<EncodingType/>" WHOLE KEY("a%2B")), "list\n[a%2B] 1  0\n"},
    {"encoding behind the entries", LIST(WHOLE KEY("a%3C+%2b") URL), "list\n[a< +] 1  0\n"},
    {"bytes that are not UTF-8, encoded", LIST(URL WHOLE KEY("%FF%01")), "list\n[\xff\x01] 1  0\n"},
    {"groups merged bytewise",
     LIST(WHOLE KEY("a-") KEY("a0") KEY("\xc3\xa9") GROUP("a/") GROUP("b/")),
     "list\n[a-] 1  0\n[a/] prefix\n[a0] 1  0\n[b/] prefix\n[\xc3\xa9] 1  0\n"},
    {"groups merged after decoding", LIST(WHOLE URL KEY("a%2Fz") KEY("b") GROUP("a%2Fb%2F")),
     "list\n[a/b/] prefix\n[a/z] 1  0\n[b] 1  0\n"},
    {"out of order", LIST(WHOLE KEY("c") KEY("a") KEY("b")),
     "list\n[a] 1  0\n[b] 1  0\n[c] 1  0\n"},
    {"entities and CDATA", LIST(WHOLE KEY("&lt;&amp;&#x3e;&#10;<![CDATA[<&]]>")),
     "list\n[<&>\n<&] 1  0\n"},
    {"spaces and a comment between elements",
     LIST(" \n" WHOLE "\n <!-- c -->\n<Contents>\n <Key>a</Key>\n <Size>0</Size>\n</Contents>\n"),
     "list\n[a] 0  0\n"},
    {"owner, and elements of tomorrow",
     LIST(WHOLE
          "<Contents><Owner><ID>i</ID><Key>x</Key></Owner><Key>a</Key><Size>2</Size><New><Key>"
          "y</Key></New></Contents><New><Contents><Key/></Contents></New>"),
     "list\n[a] 2  0\n"},
    {"etags",
     LIST(WHOLE "<Contents><Key>a</Key><Size>1</Size><ETag>\"x-2\"</ETag></Contents>"
                "<Contents><Key>b</Key><Size>1</Size><ETag>y</ETag></Contents>"
                "<Contents><Key>c</Key><Size>1</Size><ETag>\"</ETag></Contents>"
                "<Contents><Key>d</Key><Size>1</Size><ETag>\"\"</ETag></Contents>"),
     "list\n[a] 1 x-2 0\n[b] 1 y 0\n[c] 1 \" 0\n[d] 1  0\n"},
    {"empty time", LIST(WHOLE "<Contents><Key>a</Key><Size>1</Size><LastModified/></Contents>"),
     "list\n[a] 1  0\n"},
    {"no declaration, no namespace", "<ListBucketResult>" WHOLE "</ListBucketResult>\n\n",
     "list\n"},

    {"all deleted, quietly", DECL "<DeleteResult" NS "/>", "deleted 0\n"},
    {"deleted and not deleted",
     DECL "<DeleteResult" NS "><Deleted><Key>a</Key></Deleted><Error><Key>b &amp; c</Key><Code>"
          "AccessDenied</Code><Message>Access Denied</Message></Error><Deleted><Key>d</Key>"
          "</Deleted><Error><Key>e</Key><VersionId/><Code>SlowDown</Code></Error></DeleteResult>",
     "deleted 2\n[b & c] AccessDenied: Access Denied\n[e] SlowDown: \n"},

    {"error, also where the status is 200",
     DECL "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message>"
          "<RequestId>r</RequestId><HostId>h</HostId></Error>",
     "error SlowDown: Please reduce your request rate. ()\n"},
    {"empty error", "<Error/>", "error :  ()\n"},
    {"wrong region",
     DECL "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>",
     "error AuthorizationHeaderMalformed:  (eu-west-1)\n"},
    {"region by endpoint",
     "<Error><Code>PermanentRedirect</Code><Endpoint>b.c.s3.eu-north-1.amazonaws.com</Endpoint>"
     "</Error>",
     "error PermanentRedirect:  (eu-north-1)\n"},
    {"region by old endpoint",
     "<Error><Code>R</Code><Endpoint>b.s3-us-west-2.amazonaws.com</Endpoint></Error>",
     "error R:  (us-west-2)\n"},
    {"endpoint without a region",
     "<Error><Code>R</Code><Endpoint>b.s3.amazonaws.com</Endpoint></Error>", "error R:  ()\n"},
    {"endpoint whose region is of two letters",
     "<Error><Code>R</Code><Endpoint>b.s4.amazonaws.com</Endpoint></Error>", "error R:  (s4)\n"},
    {"endpoint that is the domain", "<Error><Endpoint>.amazonaws.com</Endpoint></Error>",
     "error :  ()\n"},
    {"longest region", "<Error><Region>" REGION_63 "</Region></Error>",
     "error :  (" REGION_63 ")\n"},
    {"region too long", "<Error><Region>" REGION_63 "x</Region></Error>", "error :  ()\n"},
    {"other endpoint", "<Error><Code>R</Code><Endpoint>store.example</Endpoint></Error>",
     "error R:  ()\n"},
    {"region before endpoint",
     "<Error><Region>a-1</Region><Endpoint>b.s3.x-2.amazonaws.com</Endpoint></Error>",
     "error :  (a-1)\n"},
    {"region that is none", "<Error><Code>R</Code><Region>eu/../&#10;x</Region></Error>",
     "error R:  ()\n"},
};

static void documents_are_read_however_they_are_cut(void **state)
{
    (void)state;
    check_all_good(good, LEN(good));
}

static void a_body_cut_short_is_not_taken_for_a_whole_one(void **state)
{
    (void)state;
    check_all_cut(good, LEN(good));
}

/* ---- Documents to be refused ---- */

static const struct bad bad[] = {
    {"empty", ""},
    {"no XML", "SlowDown"},
    {"web page", "<html><body>Bad gateway</body></html>"},
    {"web page with a DOCTYPE", "<!DOCTYPE html><html></html>"},
    {"unknown root", "<ListAllMyBucketsResult/>"},
    {"root in another case", "<error/>"},
    {"two roots", "<Error/><Error/>"},
    {"something behind the root", LIST(WHOLE) "x"},
    {"tags crossed", "<ListBucketResult><Contents></ListBucketResult></Contents>"},
    {"not UTF-8", LIST(WHOLE KEY("\xff"))},
    {"UTF-8 in a longer form", LIST(WHOLE KEY("\xc0\xaf"))},
    {"NUL reference", LIST(WHOLE KEY("a&#0;b"))},
    {"control character", LIST(WHOLE KEY("a\001"))},
    {"control character by reference", LIST(WHOLE KEY("a&#1;"))},

    {"DOCTYPE", "<!DOCTYPE ListBucketResult><ListBucketResult>" WHOLE "</ListBucketResult>"},
    {"entity declared", "<!DOCTYPE x [<!ENTITY e \"eee\">]><Error><Code>&e;</Code></Error>"},
    {"file by entity",
     "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><Error><Code>&e;</Code></Error>"},
    {"laughs",
     "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\"><!ENTITY c \"&b;&b;\">]><Error><Code>"
     "&c;</Code></Error>"},
    {"DOCTYPE elsewhere", "<!DOCTYPE x SYSTEM \"http://127.0.0.1/x.dtd\"><Error/>"},
    {"unknown entity", LIST(WHOLE KEY("&nbsp;"))},

    {"truncated without a token", LIST("<IsTruncated>true</IsTruncated>")},
    {"truncated with an empty token",
     LIST("<IsTruncated>true</IsTruncated><NextContinuationToken></NextContinuationToken>")},
    {"IsTruncated missing", LIST(KEY("a"))},
    {"IsTruncated empty", LIST("<IsTruncated/>")},
    {"IsTruncated unclear", LIST("<IsTruncated>yes</IsTruncated>")},
    {"IsTruncated twice", LIST("<IsTruncated>true</IsTruncated>" WHOLE)},
    {"unknown encoding", LIST(WHOLE "<EncodingType>base64</EncodingType>")},
    {"entry without a key", LIST(WHOLE "<Contents><Size>1</Size></Contents>")},
    {"second entry without a key", LIST(WHOLE KEY("a") "<Contents><Size>1</Size></Contents>")},
    {"entry with nothing", LIST(WHOLE "<Contents/>")},
    {"entry with an empty key", LIST(WHOLE KEY(""))},
    {"entry with two keys",
     LIST(WHOLE "<Contents><Key>a</Key><Key>b</Key><Size>1</Size></Contents>")},
    {"entry without a size", LIST(WHOLE "<Contents><Key>a</Key></Contents>")},
    {"negative size", LIST(WHOLE "<Contents><Key>a</Key><Size>-1</Size></Contents>")},
    {"empty size", LIST(WHOLE "<Contents><Key>a</Key><Size></Size></Contents>")},
    {"size too large",
     LIST(WHOLE "<Contents><Key>a</Key><Size>18446744073709551616</Size></Contents>")},
    {"malformed time",
     LIST(WHOLE
          "<Contents><Key>a</Key><Size>1</Size><LastModified>soon</LastModified></Contents>")},
    {"element in a key", LIST(WHOLE "<Contents><Key>a<b/>c</Key><Size>1</Size></Contents>")},
    {"group without a prefix", LIST(WHOLE "<CommonPrefixes/>")},
    {"group with an empty prefix", LIST(WHOLE GROUP(""))},
    {"malformed escape", LIST(URL WHOLE KEY("a%2"))},
    {"escape of no hex", LIST(URL WHOLE KEY("a%zz"))},
    {"NUL by escape", LIST(URL WHOLE KEY("a%00b"))},
    {"malformed escape, encoding behind", LIST(WHOLE KEY("%") URL)},

    {"failed deletion without a key",
     "<DeleteResult><Error><Code>AccessDenied</Code></Error></DeleteResult>"},
    {"second failed deletion without a key",
     "<DeleteResult><Error><Key>a</Key></Error><Error/></DeleteResult>"},
};

static void malformed_documents_are_refused(void **state)
{
    (void)state;
    check_all_bad(bad, LEN(bad));
}

/* The first failure stays, whatever is fed afterwards. */
static void the_first_failure_stays(void **state)
{
    (void)state;
    struct xml_parser *p = xml_parser_new();
    const struct xml_doc *d = NULL;
    struct store_err first = {0}, err = {0};
    assert_int_equal(xml_parser_feed(p, "<html>", 6, &first), -1);
    assert_int_equal(xml_parser_feed(p, "<Error/>", 8, &err), -1);
    assert_string_equal(err.msg, first.msg);
    assert_int_equal(xml_parser_feed(p, "", 0, NULL), -1);
    assert_int_equal(xml_parser_finish(p, &d, &err), -1);
    assert_int_equal(err.code, STORE_CORRUPT);
    assert_null(d);
    xml_parser_free(p);
    xml_parser_free(NULL);
}

/* ---- Bounds ---- */

/* head, n times unit, tail */
static struct buf repeated(const char *head, const char *unit, size_t n, const char *tail)
{
    struct buf b = BUF_INIT(MAX_BYTES);
    buf_adds(&b, head);
    for (size_t i = 0; i < n; i++)
        buf_adds(&b, unit);
    buf_adds(&b, tail);
    assert_false(buf_failed(&b));
    return b;
}

static void check_bound(const char *name, struct buf doc, size_t piece, bool fits)
{
    struct store_err err = {0};
    print_message("%s\n", name);
    int rc = parse(doc.data, doc.len, piece, NULL, &err);
    if (fits && rc < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(rc, fits ? 0 : -1);
    if (!fits)
        assert_int_equal(err.code, STORE_CORRUPT);
    buf_cleanup(&doc);
}

static void everything_has_a_bound(void **state)
{
    (void)state;
    const size_t piece = 16384, all = MAX_BYTES;
    const char *list = "<ListBucketResult>" WHOLE, *end = "</ListBucketResult>";
    const char *key = "<ListBucketResult>" WHOLE "<Contents><Size>1</Size><Key>";
    const char *key_end = "</Key></Contents></ListBucketResult>";

    struct buf deep = repeated("<Error>", "<a>", 15, "");
    struct buf too_deep = repeated("<Error>", "<a>", 16, "");
    for (int i = 0; i < 15; i++)
        buf_adds(&deep, "</a>");
    for (int i = 0; i < 16; i++)
        buf_adds(&too_deep, "</a>");
    buf_adds(&deep, "</Error>");
    buf_adds(&too_deep, "</Error>");
    check_bound("deep", deep, all, true);
    check_bound("too deep", too_deep, all, false);
    check_bound("far too deep", repeated("<Error>", "<a>", 100000, ""), piece, false);

    check_bound("long key", repeated(key, "k", 8192, key_end), all, true);
    check_bound("too long key", repeated(key, "k", 8193, key_end), all, false);
    check_bound("too long key, piecemeal", repeated(key, "k", 8193, key_end), 1, false);
    check_bound("too long key of references", repeated(key, "&#65;", 8193, key_end), all, false);
    check_bound("too long token",
                repeated("<ListBucketResult><NextContinuationToken>", "t", 8193, ""), piece, false);
    check_bound("long text that nobody wants",
                repeated("<Error><HostId>", "h", 1 << 20, "</HostId></Error>"), all, true);

    check_bound("many entries", repeated(list, KEY("k"), 10000, end), piece, true);
    check_bound("many entries at once", repeated(list, KEY("k"), 10000, end), all, true);
    check_bound("too many entries", repeated(list, KEY("k"), 10001, end), piece, false);
    check_bound("too many groups", repeated(list, GROUP("p/"), 10001, end), piece, false);
    check_bound("too many failed keys",
                repeated("<DeleteResult>", "<Error><Key>k</Key></Error>", 10001, "</DeleteResult>"),
                piece, false);

    check_bound("long tag at once", repeated("<Error a=\"", "x", 1 << 20, "\"/>"), all, true);
    check_bound("long tag in pieces", repeated("<Error a=\"", "x", 1 << 20, "\"/>"), 1000, false);
    check_bound("comment", repeated("<Error><!--", "x", 8192, "--></Error>"), 1, true);
    check_bound("long comment", repeated("<Error><!--", "x", 1 << 16, "--></Error>"), 64, false);
    check_bound("many comments", repeated("<Error>", "<!--" SPACES "-->", 10000, "</Error>"), 100,
                true);
    check_bound("endless comment", repeated("<Error><!--", SPACES, (9 << 20) / 64, ""), piece,
                false);
    check_bound("large", repeated("<Error>", SPACES, (8 << 20) / 64 - 1, "</Error>"), piece, true);
    check_bound("too large", repeated("<Error>", SPACES, (8 << 20) / 64, "</Error>"), piece, false);
    check_bound("too large at once", repeated("<Error>", SPACES, (9 << 20) / 64, "</Error>"), all,
                false);
    check_bound("too large behind the root", repeated("<Error/>", SPACES, (9 << 20) / 64, ""),
                piece, false);
}

/* Entries and their strings stay put while thousands follow. */
static void entries_stay_put_while_thousands_follow(void **state)
{
    (void)state;
    struct buf doc = BUF_INIT(MAX_BYTES);
    buf_adds(&doc, "<ListBucketResult>" WHOLE);
    for (unsigned i = 0; i < 5000; i++)
        buf_addf(&doc, "<Contents><Key>key-%05u</Key><Size>%u</Size><ETag>e%u</ETag></Contents>",
                 (i * 7919) % 5000, i, i);
    buf_adds(&doc, "</ListBucketResult>");
    struct xml_parser *p = xml_parser_new();
    const struct xml_doc *d = NULL;
    struct store_err err = {0};
    assert_int_equal(xml_parser_feed(p, doc.data, doc.len, &err), 0);
    assert_int_equal(xml_parser_finish(p, &d, &err), 0);
    assert_int_equal(d->n_entries, 5000);
    for (unsigned i = 0; i < 5000; i++) {
        char key[32], etag[32];
        snprintf(key, sizeof(key), "key-%05u", i);
        snprintf(etag, sizeof(etag), "e%u", (unsigned)d->entries[i].size);
        assert_string_equal(d->entries[i].key, key);
        assert_string_equal(d->entries[i].etag, etag);
        assert_int_equal((d->entries[i].size * 7919) % 5000, i);
    }
    xml_parser_free(p);
    buf_cleanup(&doc);
}

/* Bytes changed at random: no crash (sanitizers watch), and whatever is accepted is complete. */
static void changed_bytes_give_a_whole_document_or_none(void **state)
{
    (void)state;
    static const char spice[] = "<>/&;!-[]\"=%+\0\xff"
                                "aK1";
    uint32_t seed = 1;
    for (unsigned round = 0; round < 4000; round++) {
        const struct good *g = &good[round % LEN(good)];
        size_t n = strlen(g->doc);
        char *doc = xstrdup(g->doc);
        for (unsigned i = 0; i <= round % 3; i++) {
            seed = seed * 1664525u + 1013904223u;
            doc[(seed >> 8) % n] = spice[(seed >> 4) % (sizeof(spice) - 1)];
        }
        struct buf out = BUF_INIT(MAX_BYTES);
        struct store_err err = {0};
        int rc = parse(doc, n, 1 + round % 50, &out, &err);
        assert_true(rc == 0 ? !strstr(buf_str(&out), "(null)") : err.code == STORE_CORRUPT);
        assert_true(rc < 0 || strncmp(buf_str(&out), "none", 4) != 0);
        buf_cleanup(&out);
        free(doc);
    }
}

/* ---- Failed allocations ---- */

/* Many entries, so that arrays and string memory grow more than once. */
static struct buf document_for_oom(void)
{
    struct buf doc = BUF_INIT(MAX_BYTES);
    buf_adds(&doc, "<ListBucketResult>" URL WHOLE);
    for (int i = 300; i > 0; i--)
        buf_addf(&doc, "<Contents><Key>%0200d</Key><Size>1</Size></Contents>", i);
    buf_adds(&doc, "</ListBucketResult>");
    return doc;
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    if (!OOM_AVAILABLE)
        skip();
    for (size_t i = 0; i < LEN(good); i++)
        check_oom(good[i].doc, strlen(good[i].doc), 100);
    struct buf doc = document_for_oom();
    check_oom(doc.data, doc.len, 4096);
    buf_cleanup(&doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_read_however_they_are_cut),
        cmocka_unit_test(a_body_cut_short_is_not_taken_for_a_whole_one),
        cmocka_unit_test(malformed_documents_are_refused),
        cmocka_unit_test(the_first_failure_stays),
        cmocka_unit_test(everything_has_a_bound),
        cmocka_unit_test(entries_stay_put_while_thousands_follow),
        cmocka_unit_test(changed_bytes_give_a_whole_document_or_none),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("xml", tests, NULL, NULL);
}
