/* xml_fixture.h - for the tests of xml.h: pieces of documents, and tables of them. */
#ifndef TESTS_UNIT_XML_FIXTURE_H
#define TESTS_UNIT_XML_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "libstore/s3/xml.h"
#include "tests/unit/oom.h"
#include "tests/unit/xml_dump.h"

enum { MAX_BYTES = 64 << 20 };

#define DECL        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define NS          " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define LIST(x)     DECL "<ListBucketResult" NS ">" x "</ListBucketResult>"
#define WHOLE       "<IsTruncated>false</IsTruncated>"
#define KEY(k)      "<Contents><Key>" k "</Key><Size>1</Size></Contents>"
#define GROUP(p)    "<CommonPrefixes><Prefix>" p "</Prefix></CommonPrefixes>"
#define VERSIONS(x) DECL "<ListVersionsResult" NS ">" x "</ListVersionsResult>"
#define UPLOADS(x)  DECL "<ListMultipartUploadsResult" NS ">" x "</ListMultipartUploadsResult>"
#define SPACES      "                                                                " /* 64 */
#define URL         "<EncodingType>url</EncodingType>"

/* Feeds n bytes in pieces of at most `piece`; dumps the document into out (may be NULL). */
static inline int parse(const char *bytes, size_t n, size_t piece, struct buf *out,
                        struct store_err *err)
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

static inline void assert_corrupt(const char *bytes, size_t n, size_t piece)
{
    struct store_err err = {0};
    assert_int_equal(parse(bytes, n, piece, NULL, &err), -1);
    assert_int_equal(err.code, STORE_CORRUPT);
    assert_true(err.msg[0]);
}

/* ---- Tables of documents ---- */

struct good {
    const char *name, *doc, *expected;
};

struct bad {
    const char *name, *doc;
};

static inline void check_good(const struct good *g, size_t piece)
{
    struct buf out = BUF_INIT(MAX_BYTES);
    struct store_err err = {0};
    if (parse(g->doc, strlen(g->doc), piece, &out, &err) < 0)
        fail_msg("%s: %s", g->name, err.msg);
    assert_string_equal(buf_str(&out), g->expected);
    buf_cleanup(&out);
}

/* However the network cuts the body, the result is the same. */
static inline void check_all_good(const struct good *all, size_t n)
{
    const size_t pieces[] = {MAX_BYTES, 1, 2, 3, 7, 64};
    for (size_t i = 0; i < n; i++) {
        print_message("%s\n", all[i].name);
        for (size_t k = 0; k < LEN(pieces); k++)
            check_good(&all[i], pieces[k]);
    }
}

/* A body cut short is never taken for a whole one. */
static inline void check_all_cut(const struct good *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t whole = strlen(all[i].doc);
        while (all[i].doc[whole - 1] == '\n') /* what follows the root is no loss */
            whole--;
        for (size_t len = 0; len < whole; len++) {
            assert_corrupt(all[i].doc, len, whole);
            assert_corrupt(all[i].doc, len, 1);
        }
    }
}

static inline void check_all_bad(const struct bad *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        print_message("%s\n", all[i].name);
        size_t len = strlen(all[i].doc);
        assert_corrupt(all[i].doc, len, MAX_BYTES);
        assert_corrupt(all[i].doc, len, 1);
    }
}

/* Whatever allocation fails: the right result, or the right error. */
static inline void check_oom(const char *doc, size_t n, size_t piece)
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

#endif
