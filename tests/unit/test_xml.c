#include "libstore/s3/xml.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "tests/unit/oom.h"

enum { MAX_BYTES = 64 << 20 };

#define DECL     "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define NS       " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define LIST(x)  DECL "<ListBucketResult" NS ">" x "</ListBucketResult>"
#define WHOLE    "<IsTruncated>false</IsTruncated>"
#define KEY(k)   "<Contents><Key>" k "</Key><Size>1</Size></Contents>"
#define GROUP(p) "<CommonPrefixes><Prefix>" p "</Prefix></CommonPrefixes>"
#define SPACES   "                                                                " /* 64 */
#define URL      "<EncodingType>url</EncodingType>"

/* ---- A document as text, to compare ---- */

static void dump_list(const struct xml_doc *d, struct buf *out)
{
    buf_addf(out, "list%s", d->truncated ? " truncated" : "");
    if (d->next_token)
        buf_addf(out, " next=%s", d->next_token);
    buf_addc(out, '\n');
    for (size_t i = 0; i < d->n_entries; i++) {
        const struct store_entry *e = &d->entries[i];
        if (e->is_prefix)
            buf_addf(out, "[%s] prefix\n", e->key);
        else
            buf_addf(out, "[%s] %" PRIu64 " %s %" PRId64 "\n", e->key, e->size, e->etag,
                     e->modified_s);
    }
}

static void dump(const struct xml_doc *d, struct buf *out)
{
    switch (d->kind) {
    case XML_NONE: buf_adds(out, "none\n"); break;
    case XML_LIST: dump_list(d, out); break;
    case XML_DELETE_RESULT:
        buf_addf(out, "deleted %zu\n", d->n_deleted);
        for (size_t i = 0; i < d->n_key_errors; i++)
            buf_addf(out, "[%s] %s: %s\n", d->key_errors[i].key, d->key_errors[i].code,
                     d->key_errors[i].message);
        break;
    case XML_ERROR: buf_addf(out, "error %s: %s (%s)\n", d->code, d->message, d->region); break;
    }
}

/* Feeds n bytes in pieces of at most `piece`; dumps the document into out (may be NULL). */
static int parse(const char *bytes, size_t n, size_t piece, struct buf *out, struct store_err *err)
{
    struct xml_parser *p = xml_parser_new();
    if (!p)
        return store_err_set(err, STORE_NO_MEMORY, "no parser");
    int rc = 0;
    for (size_t at = 0; at < n && rc == 0; at += piece) {
        size_t len = n - at < piece ? n - at : piece;
        /* A copy that ends where the piece does, for the address sanitizer to watch. */
        char *copy = malloc(len);
        rc = copy ? xml_parser_feed(p, memcpy(copy, bytes + at, len), len, err)
                  : store_err_set(err, STORE_NO_MEMORY, "no copy");
        free(copy);
    }
    const struct xml_doc *d = NULL;
    if (rc == 0)
        rc = xml_parser_finish(p, &d, err);
    if (rc == 0 && out)
        dump(d, out);
    xml_parser_free(p);
    return rc;
}

static void assert_corrupt(const char *bytes, size_t n, size_t piece)
{
    struct store_err err = {0};
    assert_int_equal(parse(bytes, n, piece, NULL, &err), -1);
    assert_int_equal(err.code, STORE_CORRUPT);
    assert_true(err.msg[0]);
}

/* ---- Documents as stores send them ---- */

#define AWS_ENTRY                                                                                \
    "<Contents><Key>t/a+b%2Bc%20d</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"    \
    "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><ChecksumAlgorithm>CRC32"          \
    "</ChecksumAlgorithm><Size>18446744073709551615</Size><StorageClass>STANDARD</StorageClass>" \
    "</Contents>"

static const struct good {
    const char *name, *doc, *expected;
} good[] = {
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
    {"other endpoint", "<Error><Code>R</Code><Endpoint>store.example</Endpoint></Error>",
     "error R:  ()\n"},
    {"region before endpoint",
     "<Error><Region>a-1</Region><Endpoint>b.s3.x-2.amazonaws.com</Endpoint></Error>",
     "error :  (a-1)\n"},
    {"region that is none", "<Error><Code>R</Code><Region>eu/../&#10;x</Region></Error>",
     "error R:  ()\n"},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(good); i++) {
        print_message("%s\n", good[i].name);
        struct buf out = BUF_INIT(MAX_BYTES);
        struct store_err err = {0};
        size_t n = strlen(good[i].doc);
        if (parse(good[i].doc, n, n, &out, &err) < 0)
            fail_msg("%s", err.msg);
        assert_string_equal(buf_str(&out), good[i].expected);
        buf_cleanup(&out);
    }
}

/* However the network cuts the body, the result is the same. */
static void test_pieces(void **state)
{
    (void)state;
    const size_t pieces[] = {1, 2, 3, 7, 64};
    for (size_t i = 0; i < LEN(good) * LEN(pieces); i++) {
        const struct good *g = &good[i / LEN(pieces)];
        struct buf out = BUF_INIT(MAX_BYTES);
        struct store_err err = {0};
        if (parse(g->doc, strlen(g->doc), pieces[i % LEN(pieces)], &out, &err) < 0)
            fail_msg("%s: %s", g->name, err.msg);
        assert_string_equal(buf_str(&out), g->expected);
        buf_cleanup(&out);
    }
}

/* A body cut short is never taken for a whole one. */
static void test_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(good); i++) {
        size_t whole = strlen(good[i].doc);
        while (good[i].doc[whole - 1] == '\n') /* what follows the root is no loss */
            whole--;
        for (size_t n = 0; n < whole; n++) {
            assert_corrupt(good[i].doc, n, whole);
            assert_corrupt(good[i].doc, n, 1);
        }
    }
}

/* ---- Documents to be refused ---- */

static const struct {
    const char *name, *doc;
} bad[] = {
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

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(bad); i++) {
        print_message("%s\n", bad[i].name);
        size_t n = strlen(bad[i].doc);
        assert_corrupt(bad[i].doc, n, n ? n : 1);
        assert_corrupt(bad[i].doc, n, 1);
    }
}

/* The first failure stays, whatever is fed afterwards. */
static void test_failure_stays(void **state)
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

static void test_bounds(void **state)
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

    check_bound("long tag", repeated("<Error a=\"", "x", 1 << 20, "\"/>"), piece, true);
    check_bound("long comment", repeated("<Error><!--", "x", 1 << 16, "--></Error>"), 1, true);
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
static void test_many_entries(void **state)
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
static void test_mutations(void **state)
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

/* ---- The delete request ---- */

static void test_can_carry(void **state)
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

static void test_delete_request(void **state)
{
    (void)state;
    const char *const keys[] = {"a", "<&>\r\n\t\"' "};
    struct buf out = BUF_INIT(4096);
    xml_delete_request(&out, "p&/", keys, LEN(keys));
    assert_string_equal(buf_str(&out),
                        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Delete"
                        " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>"
                        "<Object><Key>p&amp;/a</Key></Object><Object><Key>p&amp;/&lt;&amp;&gt;"
                        "&#13;&#10;&#9;\"' </Key></Object></Delete>");
    buf_cleanup(&out);

    struct buf small = BUF_INIT(200);
    xml_delete_request(&small, "", keys, LEN(keys));
    assert_true(buf_failed(&small));
    buf_cleanup(&small);
}

/* Every key that XML can carry comes out of a parser as it went in. */
static void test_delete_request_round_trip(void **state)
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
        xml_delete_request(&request, "", keys, 1);
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

/* Whatever allocation fails: the right result, or the right error. */
static void check_oom(const char *doc, size_t n, size_t piece)
{
    struct buf expected = BUF_INIT(MAX_BYTES);
    struct store_err err = {0};
    assert_int_equal(parse(doc, n, piece, &expected, &err), 0);
    bool failing = true;
    for (long nth = 1; failing; nth++) {
        struct buf out = BUF_INIT(MAX_BYTES);
        err = (struct store_err){0};
        oom_fail_nth(nth);
        int rc = parse(doc, n, piece, &out, &err);
        failing = oom_stop();
        assert_true(rc == 0 || err.code == STORE_NO_MEMORY);
        if (rc == 0 && !buf_failed(&out))
            assert_string_equal(buf_str(&out), buf_str(&expected));
        assert_true(failing || rc == 0);
        buf_cleanup(&out);
    }
    buf_cleanup(&expected);
}

static void test_out_of_memory(void **state)
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
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_failure_stays),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_many_entries),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_can_carry),
        cmocka_unit_test(test_delete_request),
        cmocka_unit_test(test_delete_request_round_trip),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("xml", tests, NULL, NULL);
}
