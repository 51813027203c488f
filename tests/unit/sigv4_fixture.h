/* sigv4_fixture.h - for the tests of sigv4.h: a signer, a request, and all that one call gives. */
#ifndef TESTS_UNIT_SIGV4_FIXTURE_H
#define TESTS_UNIT_SIGV4_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "libstore/s3/sigv4.h"

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SECRET       "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

enum { MAX_BYTES = 1 << 20 };

/* ---- One call of the signer with all that it gives ---- */

struct outcome {
    struct buf headers, query, canonical, to_sign;
    struct store_err err;
    int rc;
};

static inline void outcome_init(struct outcome *o)
{
    memset(o, 0, sizeof(*o));
    buf_init(&o->headers, MAX_BYTES);
    buf_init(&o->query, MAX_BYTES);
    buf_init(&o->canonical, MAX_BYTES);
    buf_init(&o->to_sign, MAX_BYTES);
}

static inline struct outcome sign(struct sigv4_signer *s, const struct sigv4_request *r)
{
    struct outcome o;
    outcome_init(&o);
    o.rc = sigv4_sign(s, r, &o.headers, &o.query, &o.canonical, &o.to_sign, &o.err);
    return o;
}

static inline struct outcome presign(struct sigv4_signer *s, const struct sigv4_request *r,
                                     uint32_t expires_s)
{
    struct outcome o;
    outcome_init(&o);
    o.rc = sigv4_presign(s, r, expires_s, &o.query, &o.canonical, &o.to_sign, &o.err);
    return o;
}

static inline void outcome_cleanup(struct outcome *o)
{
    buf_cleanup(&o->headers);
    buf_cleanup(&o->query);
    buf_cleanup(&o->canonical);
    buf_cleanup(&o->to_sign);
}

/* What follows `mark` in text; fails the test when it is not there. */
static inline const char *after(const char *text, const char *mark)
{
    const char *at = strstr(text, mark);
    if (!at)
        fail_msg("no '%s' in '%s'", mark, text);
    return at + strlen(mark);
}

static inline void assert_ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), n_end = strlen(end);
    assert_true(n >= n_end);
    assert_string_equal(text + n - n_end, end);
}

static inline struct sigv4_signer *new_signer(const char *secret, const char *token)
{
    struct sigv4_signer *s;
    struct store_err err = {0};
    assert_int_equal(
        sigv4_signer_new("AKIAIOSFODNN7EXAMPLE", secret, token, "us-east-1", "s3", &s, &err), 0);
    return s;
}

/* ---- A request ---- */

enum { EXAMPLE_TIME_S = 1369353600 }; /* 2013-05-24T00:00:00Z */

static const struct sigv4_pair host_only[] = {{"host", "h"}};

static inline struct sigv4_request plain_request(void)
{
    return (struct sigv4_request){
        .method = "GET",
        .path = "/",
        .headers = host_only,
        .n_headers = 1,
        .payload_hash = EMPTY_SHA256,
        .time_s = EXAMPLE_TIME_S,
    };
}

#endif
