/* The endpoints that answer in JSON: container and instance metadata. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/s3/provider.h"

#define CREDENTIALS_PATH "/latest/meta-data/iam/security-credentials/"
#define REGION_PATH      "/latest/meta-data/placement/region"
#define TTL_HEADER       "x-aws-ec2-metadata-token-ttl-seconds: 21600\n"
#define TOKEN_HEADER     "x-aws-ec2-metadata-token: "

enum {
    CONTAINER_TIMEOUT_MS = 5000,
    CONTAINER_TRIES = 3,
    INSTANCE_TIMEOUT_MS = 3000, /* 2 s to connect, 1 s for the first byte */
    INSTANCE_TRIES = 2,
    AUTH_TOKEN_MAX_BYTES = 16384,
    METADATA_TOKEN_MAX_BYTES = 1024,
    ROLE_MAX_BYTES = 256,
};

static int no_memory(struct store_err *err)
{
    return store_err_set(err, STORE_NO_MEMORY, "credentials: out of memory");
}

/* ---- JSON ---- */

/* "" when it is missing or no string. */
static const char *member(const json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "";
}

/* Overwrites the strings before the object goes: they are jansson's memory and nobody else's. */
static void wipe_json(json_t *object)
{
    static const char *const secrets[] = {"SecretAccessKey", "Token"};
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        json_t *secret = json_object_get(object, secrets[i]);
        if (json_is_string(secret))
            explicit_bzero((char *)json_string_value(secret), json_string_length(secret));
    }
    json_decref(object);
}

static int take_object(const json_t *o, const char *peer, const struct fetch_answer *a,
                       struct keys *out, struct store_err *err)
{
    const char *code = member(o, "Code"), *expiration = member(o, "Expiration");
    const char *token = member(o, "Token");
    int64_t expires_s = 0;
    if (*code && strcmp(code, "Success") != 0)
        return provider_refused(peer, a, code, member(o, "Message"), err);
    if (*expiration && !clock_parse_rfc3339(expiration, &expires_s))
        return store_err_set(err, STORE_FAILED, "credentials: %s: malformed answer: Expiration",
                             peer);
    return provider_take_keys(out, peer, member(o, "AccessKeyId"), member(o, "SecretAccessKey"),
                              *token ? token : NULL, expires_s, a->date_s, err);
}

static int refused(const struct fetch_answer *a, const char *peer, struct store_err *err)
{
    json_t *o = json_loadb(buf_str(&a->body), a->body.len, 0, NULL);
    provider_refused(peer, a, member(o, "code"), member(o, "message"), err);
    json_decref(o);
    return -1;
}

static int take_credentials(const struct fetch_answer *a, const char *peer, struct keys *out,
                            struct store_err *err)
{
    if (a->status != 200)
        return refused(a, peer, err);
    json_t *o = json_loadb(buf_str(&a->body), a->body.len, 0, NULL);
    if (!json_is_object(o)) {
        json_decref(o);
        return store_err_set(err, STORE_FAILED, "credentials: %s: malformed answer: no JSON object",
                             peer);
    }
    int rc = take_object(o, peer, a, out, err);
    wipe_json(o);
    return rc;
}

/* ---- Container ---- */

/* Without the white space at its end; false: what no header can carry. */
static bool trim_token(struct buf *token)
{
    while (token->len && strchr("\r\n\t ", token->data[token->len - 1]))
        token->data[--token->len] = '\0';
    for (size_t i = 0; i < token->len; i++)
        if ((unsigned char)token->data[i] < 0x20 || (unsigned char)token->data[i] >= 0x7f)
            return false;
    return token->len > 0;
}

/* Appends the line with the token, which is read anew each time: it is renewed in its file. */
static int add_authorization(const struct chain *ch, struct buf *headers, struct store_err *err)
{
    struct buf token = BUF_INIT(AUTH_TOKEN_MAX_BYTES);
    int rc = 0;
    if (ch->auth_token_file)
        rc = chain_read_file(ch->auth_token_file, &token, err);
    else
        buf_adds(&token, ch->auth_token);
    if (rc == 0 && buf_failed(&token))
        rc = no_memory(err);
    else if (rc == 0 && !trim_token(&token))
        rc = store_err_set(err, STORE_DENIED,
                           "credentials: container: the authorization token is malformed");
    else if (rc == 0)
        buf_addf(headers, "Authorization: %s\n", buf_str(&token));
    secret_buf_cleanup(&token);
    if (rc < 0 && err->code != STORE_NO_MEMORY)
        err->code = STORE_DENIED;
    return rc;
}

int provider_container(struct fetcher *f, const struct chain *ch, struct keys *out,
                       struct store_err *err)
{
    static const char peer[] = "the container's endpoint";
    struct buf headers = BUF_INIT(AUTH_TOKEN_MAX_BYTES + 256);
    struct fetch_answer a;
    buf_reserve(&headers, headers.max);
    buf_adds(&headers, "Accept: application/json\n");
    int rc = 0;
    if (ch->auth_token_file || ch->auth_token)
        rc = add_authorization(ch, &headers, err);
    if (rc == 0 && buf_failed(&headers))
        rc = no_memory(err);
    if (rc == 0) {
        const struct fetch_request r = {.peer = peer,
                                        .base_url = ch->base_url,
                                        .method = "GET",
                                        .target = ch->target,
                                        .headers = buf_str(&headers),
                                        .timeout_ms = CONTAINER_TIMEOUT_MS,
                                        .tries = CONTAINER_TRIES};
        rc = fetch(f, &r, &a, err);
    }
    secret_buf_cleanup(&headers);
    if (rc != 0)
        return -1;
    rc = take_credentials(&a, peer, out, err);
    fetch_answer_cleanup(&a);
    return rc;
}

/* ---- Instance metadata ---- */

static const char instance_peer[] = "instance metadata";

static int ask_instance(struct fetcher *f, const struct chain *ch, const char *method,
                        const char *target, const char *headers, struct fetch_answer *a,
                        struct store_err *err)
{
    const struct fetch_request r = {.peer = instance_peer,
                                    .base_url = ch->base_url,
                                    .method = method,
                                    .target = target,
                                    .headers = headers,
                                    .timeout_ms = INSTANCE_TIMEOUT_MS,
                                    .tries = INSTANCE_TRIES};
    return fetch(f, &r, a, err);
}

/* The answer's first line as a word that can stand in a header or path. False: it is none. */
static bool take_word(const struct fetch_answer *a, char *out, size_t cap)
{
    const char *s = buf_str(&a->body);
    size_t n = strcspn(s, "\r\n");
    if (n == 0 || n >= cap)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] <= 0x20 || (unsigned char)s[i] >= 0x7f)
            return false;
    text_copy(out, n + 1, s);
    return true;
}

/* Asks for one word. */
static int get_word(struct fetcher *f, const struct chain *ch, const char *method,
                    const char *target, const char *headers, char *out, size_t cap,
                    struct store_err *err)
{
    struct fetch_answer a;
    int rc = ask_instance(f, ch, method, target, headers, &a, err);
    if (rc != 0)
        return -1;
    if (a.status != 200)
        rc = provider_refused(instance_peer, &a, "", target, err);
    else if (!take_word(&a, out, cap))
        rc = store_err_set(err, STORE_FAILED, "credentials: %s: %s: malformed answer",
                           instance_peer, target);
    fetch_answer_cleanup(&a);
    return rc;
}

static int get_role_credentials(struct fetcher *f, const struct chain *ch, const char *headers,
                                struct keys *out, struct store_err *err)
{
    char role[ROLE_MAX_BYTES], target[sizeof(CREDENTIALS_PATH) + 3 * ROLE_MAX_BYTES];
    struct buf path = BUF_INIT(sizeof(target));
    struct fetch_answer a;
    if (get_word(f, ch, "GET", CREDENTIALS_PATH, headers, role, sizeof(role), err) < 0)
        return -1;
    buf_adds(&path, CREDENTIALS_PATH);
    percent_encode(&path, role, strlen(role), false);
    text_copy(target, sizeof(target), buf_str(&path));
    bool failed = buf_failed(&path);
    buf_cleanup(&path);
    if (failed)
        return no_memory(err);
    if (ask_instance(f, ch, "GET", target, headers, &a, err) < 0)
        return -1;
    int rc = take_credentials(&a, instance_peer, out, err);
    fetch_answer_cleanup(&a);
    return rc;
}

int provider_instance(struct fetcher *f, const struct chain *ch, struct keys *out, char *region,
                      struct store_err *err)
{
    char token[METADATA_TOKEN_MAX_BYTES], headers[sizeof(TOKEN_HEADER) + sizeof(token) + 1];
    struct store_err unused;
    if (get_word(f, ch, "PUT", "/latest/api/token", TTL_HEADER, token, sizeof(token), err) < 0)
        return -1;
    snprintf(headers, sizeof(headers), TOKEN_HEADER "%s\n", token);
    int rc = get_role_credentials(f, ch, headers, out, err);
    /* Credentials without a region are of use; whoever needs the region says so. */
    if (rc == 0 && region &&
        get_word(f, ch, "GET", REGION_PATH, headers, region, PROVIDER_REGION_SIZE, &unused) < 0)
        region[0] = '\0';
    explicit_bzero(token, sizeof(token));
    explicit_bzero(headers, sizeof(headers));
    return rc;
}
