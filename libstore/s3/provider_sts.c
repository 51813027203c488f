/* The Security Token Service: form in, XML out. Sources: the pages of AssumeRole and
 * AssumeRoleWithWebIdentity in the AWS STS API reference. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/s3/endpoint.h"
#include "libstore/s3/provider.h"
#include "libstore/s3/sigv4.h"
#include "libstore/s3/xml.h"

#define CONTENT_TYPE "application/x-www-form-urlencoded; charset=utf-8"

enum {
    STS_TIMEOUT_MS = 10000,
    STS_TRIES = 3,
    FORM_MAX_BYTES = 128 * 1024, /* a token with every byte escaped, and the rest */
    WEB_TOKEN_MAX_BYTES = 20001, /* STS takes 20000 */
    MAX_SKEW_S = 240,            /* STS lets a signature be 5 minutes off */
};

static const char peer[] = "STS";

static int no_memory(struct store_err *err)
{
    return store_err_set(err, STORE_NO_MEMORY, "credentials: out of memory");
}

char *provider_sts_url(const char *region, struct store_err *err)
{
    char *url = NULL;
    for (const char *c = region; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-')) {
            store_err_set(err, STORE_INVALID,
                          "credentials: STS: region '%.40s': expected letters, digits and '-'; or "
                          "set AWS_ENDPOINT_URL_STS",
                          region);
            return NULL;
        }
    const char *china = strncmp(region, "cn-", 3) == 0 ? ".cn" : "";
    if (asprintf(&url, "https://sts%s%s.amazonaws.com%s", *region ? "." : "", region, china) < 0) {
        no_memory(err);
        return NULL;
    }
    return url;
}

/* ---- The answer ---- */

/* Takes an answer's XML apart. NULL: it is none that we know. */
static struct xml_parser *parse(const struct fetch_answer *a, const struct xml_doc **doc)
{
    struct xml_parser *p = xml_parser_new();
    if (p && xml_parser_feed(p, buf_str(&a->body), a->body.len, NULL) == 0 &&
        xml_parser_finish(p, doc, NULL) == 0)
        return p;
    xml_parser_free(p);
    return NULL;
}

/* Errors with a status of the caller's that another try may still get over. */
static bool is_transient(const struct fetch_answer *a)
{
    static const char *const codes[] = {"IDPCommunicationError", "InvalidIdentityToken",
                                        "Throttling", "ThrottlingException",
                                        "RequestLimitExceeded"};
    const struct xml_doc *doc = NULL;
    bool transient = false;
    if (a->status < 400)
        return false;
    struct xml_parser *p = parse(a, &doc);
    for (size_t i = 0; p && doc->kind == XML_ERROR && i < sizeof(codes) / sizeof(codes[0]); i++)
        transient = transient || strcmp(doc->code, codes[i]) == 0;
    xml_parser_free(p);
    return transient;
}

static int take_answer(const struct fetch_answer *a, struct keys *out, struct store_err *err)
{
    const struct xml_doc *doc = NULL;
    struct xml_parser *p = parse(a, &doc);
    int rc;
    if (p && doc->kind == XML_CREDENTIALS && a->status == 200) {
        rc = provider_take_keys(out, peer, doc->access_key, doc->secret_key, doc->session_token,
                                doc->expires_s, a->date_s, err);
    } else if (a->status == 200) {
        rc = store_err_set(err, STORE_FAILED, "credentials: %s: malformed answer", peer);
    } else {
        bool known = p && doc->kind == XML_ERROR;
        rc = provider_refused(peer, a, known ? doc->code : "", known ? doc->message : "", err);
    }
    xml_parser_free(p);
    return rc;
}

/* ---- The request ---- */

static void add_field(struct buf *form, const char *name, const char *value)
{
    if (!value)
        return;
    buf_addf(form, "&%s=", name);
    percent_encode(form, value, strlen(value), false);
}

static void add_role(struct buf *form, const struct chain_role *role)
{
    add_field(form, "RoleArn", role->arn);
    add_field(form, "RoleSessionName", role->session_name);
    add_field(form, "ExternalId", role->external_id);
    add_field(form, "DurationSeconds", role->duration_seconds);
}

static int post(struct fetcher *f, const char *sts_url, const char *headers, const struct buf *form,
                struct fetch_answer *a, struct store_err *err)
{
    const struct fetch_request r = {.peer = peer,
                                    .base_url = sts_url,
                                    .method = "POST",
                                    .target = "/",
                                    .headers = headers,
                                    .body = buf_str(form),
                                    .timeout_ms = STS_TIMEOUT_MS,
                                    .tries = STS_TRIES,
                                    .is_transient = is_transient};
    return fetch(f, &r, a, err);
}

static int read_web_token(const char *path, struct buf *token, struct store_err *err)
{
    if (chain_read_file(path, token, err) < 0) {
        if (err->code != STORE_NO_MEMORY)
            err->code = STORE_DENIED;
        return -1;
    }
    while (token->len && strchr("\r\n\t ", token->data[token->len - 1]))
        token->data[--token->len] = '\0';
    if (token->len == 0 || strlen(token->data) != token->len)
        return store_err_set(err, STORE_DENIED, "credentials: web identity: no token in %.150s",
                             path);
    return 0;
}

int provider_web_identity(struct fetcher *f, const struct chain *ch, const char *sts_url,
                          struct keys *out, struct store_err *err)
{
    struct buf token = BUF_INIT(WEB_TOKEN_MAX_BYTES), form = BUF_INIT(FORM_MAX_BYTES);
    struct fetch_answer a;
    int rc = read_web_token(ch->web_token_file, &token, err);
    if (rc == 0) {
        buf_reserve(&form, form.max);
        buf_adds(&form, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15");
        add_role(&form, &ch->web_role);
        add_field(&form, "WebIdentityToken", buf_str(&token));
        rc = buf_failed(&form) ? no_memory(err) : 0;
    }
    if (rc == 0)
        rc = post(f, sts_url, "Content-Type: " CONTENT_TYPE "\n", &form, &a, err);
    secret_buf_cleanup(&token);
    secret_buf_cleanup(&form);
    if (rc != 0)
        return -1;
    rc = take_answer(&a, out, err);
    fetch_answer_cleanup(&a);
    return rc;
}

/* Headers of the form, signed as of time_s. Signing begins with the host as it will be sent. */
static int sign(const struct keys *with, const char *sts_url, const char *region,
                const struct buf *form, int64_t time_s, struct buf *headers, struct store_err *err)
{
    const char *host = strstr(sts_url, "://") + 3;
    struct sigv4_signer *s;
    struct buf query = BUF_INIT(16);
    char hash[65];
    if (sigv4_sha256_hex(form->data, form->len, hash) < 0)
        return store_err_set(err, STORE_FAILED, "credentials: OpenSSL failed");
    if (sigv4_signer_new(with->access_key, with->secret_key, with->session_token,
                         *region ? region : "us-east-1", "sts", &s, err) < 0)
        return -1;
    const struct sigv4_pair pairs[] = {{"Content-Type", CONTENT_TYPE}, {"Host", host}};
    const struct sigv4_request r = {.method = "POST",
                                    .path = "/",
                                    .headers = pairs,
                                    .n_headers = 2,
                                    .payload_hash = hash,
                                    .time_s = time_s};
    buf_reset(headers);
    buf_addf(headers, "Content-Type: " CONTENT_TYPE "\nHost: %s\n", host);
    int rc = sigv4_sign(s, &r, headers, &query, NULL, NULL, err);
    sigv4_signer_free(s);
    buf_cleanup(&query);
    return rc;
}

/* Signed, and when STS refuses it and its clock turns out to be another, once more by its clock. */
static int post_signed(struct fetcher *f, const char *sts_url, const char *region,
                       const struct buf *form, const struct keys *with, struct fetch_answer *a,
                       struct store_err *err)
{
    struct buf headers = BUF_INIT(FORM_MAX_BYTES);
    int64_t now_s = clock_real_s();
    buf_reserve(&headers, headers.max); /* the session token is among them */
    int rc = sign(with, sts_url, region, form, now_s, &headers, err);
    if (rc == 0)
        rc = post(f, sts_url, buf_str(&headers), form, a, err);
    if (rc == 0 && (a->status == 400 || a->status == 403) && a->date_s &&
        llabs(a->date_s - now_s) > MAX_SKEW_S) {
        int64_t date_s = a->date_s;
        fetch_answer_cleanup(a);
        rc = sign(with, sts_url, region, form, date_s, &headers, err);
        if (rc == 0)
            rc = post(f, sts_url, buf_str(&headers), form, a, err);
    }
    secret_buf_cleanup(&headers);
    return rc;
}

int provider_assume_role(struct fetcher *f, const struct chain_role *role, const char *sts_url,
                         const char *region, const struct keys *with, struct keys *out,
                         struct store_err *err)
{
    struct buf form = BUF_INIT(FORM_MAX_BYTES);
    struct fetch_answer a;
    buf_adds(&form, "Action=AssumeRole&Version=2011-06-15");
    add_role(&form, role);
    int rc =
        buf_failed(&form) ? no_memory(err) : post_signed(f, sts_url, region, &form, with, &a, err);
    secret_buf_cleanup(&form);
    if (rc != 0)
        return -1;
    rc = take_answer(&a, out, err);
    fetch_answer_cleanup(&a);
    return rc;
}
