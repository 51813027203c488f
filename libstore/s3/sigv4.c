#include "libstore/s3/sigv4.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/clock.h"
#include "base/codec.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

enum {
    MAX_PAIRS = 64,                   /* headers, and query parameters, with those added here */
    MAX_TEXT_BYTES = 256 * 1024,      /* each scratch buffer; far above what a server reads */
    MAX_EXPIRES_S = 7 * 24 * 60 * 60, /* Amazon's own limit */
    SHA256_BYTES = 32,
    SHA256_BLOCK = 64,
    DAY_CHARS = 8, /* of 20130524T000000Z */
};

/* HMAC-SHA256 under one key: the states after the key's inner and outer pads. A message starts
 * from copies of them, which saves hashing the pads each time. */
struct hmac {
    EVP_MD_CTX *inner, *outer;
};

/* A name and a value as they stand in the canonical request: offsets into signer->text, which may
 * move while it grows. */
struct item {
    size_t name, value;
};

struct item_list {
    struct item items[MAX_PAIRS];
    size_t n;
};

struct sigv4_signer {
    char *access_key, *aws4_secret, *token, *region, *service; /* aws4_secret: with "AWS4" before */
    EVP_MD *md;
    EVP_MD_CTX *work;
    struct hmac derive; /* for the steps from secret to signing key */
    struct hmac key;    /* the signing key of `day` */
    char day[DAY_CHARS + 1];
    struct buf credential; /* access key/day/region/service/aws4_request */
    size_t scope;          /* where its day begins */

    /* Scratch of one request, kept to save allocations. */
    char date[CLOCK_TEXT];
    struct buf text;
    struct item_list headers, query;
    struct buf signed_names; /* "host;x-amz-date" */
    struct buf canonical;
    size_t query_at, query_len; /* where the query stands in it */
    struct buf to_sign;
};

static int no_memory(struct store_err *err)
{
    return store_err_set(err, STORE_NO_MEMORY, "signing: out of memory");
}

static int crypto_failed(struct store_err *err)
{
    return store_err_set(err, STORE_FAILED, "signing: OpenSSL failed");
}

/* ---- HMAC ---- */

static bool hmac_init(struct hmac *h)
{
    h->inner = EVP_MD_CTX_new();
    h->outer = EVP_MD_CTX_new();
    return h->inner && h->outer;
}

static void hmac_cleanup(struct hmac *h)
{
    EVP_MD_CTX_free(h->inner);
    EVP_MD_CTX_free(h->outer);
}

static bool absorb_pad(EVP_MD_CTX *ctx, const EVP_MD *md, unsigned char *block, unsigned char mask)
{
    for (size_t i = 0; i < SHA256_BLOCK; i++)
        block[i] ^= mask;
    return EVP_DigestInit_ex2(ctx, md, NULL) && EVP_DigestUpdate(ctx, block, SHA256_BLOCK);
}

static bool hmac_set_key(struct hmac *h, const EVP_MD *md, const void *key, size_t n)
{
    unsigned char block[SHA256_BLOCK] = {0};
    bool ok = true;
    if (n > sizeof(block))
        ok = EVP_Digest(key, n, block, NULL, md, NULL);
    else
        memcpy(block, key, n);
    ok =
        ok && absorb_pad(h->inner, md, block, 0x36) && absorb_pad(h->outer, md, block, 0x36 ^ 0x5c);
    OPENSSL_cleanse(block, sizeof(block));
    return ok;
}

static bool hmac_compute(const struct hmac *h, EVP_MD_CTX *work, const void *msg, size_t n,
                         unsigned char out[SHA256_BYTES])
{
    return EVP_MD_CTX_copy_ex(work, h->inner) && EVP_DigestUpdate(work, msg, n) &&
           EVP_DigestFinal_ex(work, out, NULL) && EVP_MD_CTX_copy_ex(work, h->outer) &&
           EVP_DigestUpdate(work, out, SHA256_BYTES) && EVP_DigestFinal_ex(work, out, NULL);
}

int sigv4_sha256_hex(const void *bytes, size_t n, char out[65])
{
    unsigned char sum[SHA256_BYTES];
    if (!EVP_Digest(bytes, n, sum, NULL, EVP_sha256(), NULL))
        return -1;
    hex_encode(sum, sizeof(sum), out);
    return 0;
}

/* ---- The signer ---- */

/* What goes into a header line must not be able to end it. */
static bool is_printable(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f)
            return false;
    return true;
}

static bool copy_credentials(struct sigv4_signer *s, const char *access_key, const char *secret_key,
                             const char *session_token, const char *region, const char *service)
{
    s->access_key = strdup(access_key);
    s->token = session_token && *session_token ? strdup(session_token) : NULL;
    s->region = strdup(region);
    s->service = strdup(service);
    size_t n = strlen("AWS4") + strlen(secret_key) + 1;
    s->aws4_secret = malloc(n);
    if (!s->aws4_secret)
        return false;
    snprintf(s->aws4_secret, n, "AWS4%s", secret_key);
    return s->access_key && s->region && s->service &&
           (s->token || !session_token || !*session_token);
}

static void init_scratch(struct sigv4_signer *s)
{
    buf_init(&s->credential, MAX_TEXT_BYTES);
    buf_init(&s->text, MAX_TEXT_BYTES);
    buf_init(&s->signed_names, MAX_TEXT_BYTES);
    buf_init(&s->canonical, MAX_TEXT_BYTES);
    buf_init(&s->to_sign, MAX_TEXT_BYTES);
}

int sigv4_signer_new(const char *access_key, const char *secret_key, const char *session_token,
                     const char *region, const char *service, struct sigv4_signer **out,
                     struct store_err *err)
{
    *out = NULL;
    if (!*access_key || !is_printable(access_key))
        return store_err_set(err, STORE_INVALID, "signing: the access key is malformed");
    if (!*secret_key)
        return store_err_set(err, STORE_INVALID, "signing: the secret key is empty");
    if (session_token && !is_printable(session_token))
        return store_err_set(err, STORE_INVALID, "signing: the session token is malformed");
    if (!*region || !is_printable(region) || !*service || !is_printable(service))
        return store_err_set(err, STORE_INVALID, "signing: the region or service is malformed");

    struct sigv4_signer *s = calloc(1, sizeof(*s));
    if (!s)
        return no_memory(err);
    init_scratch(s);
    s->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    s->work = EVP_MD_CTX_new();
    bool ok = hmac_init(&s->derive);
    ok = hmac_init(&s->key) && ok;
    ok = copy_credentials(s, access_key, secret_key, session_token, region, service) && ok;
    if (!ok || !s->md || !s->work) {
        sigv4_signer_free(s);
        return no_memory(err);
    }
    *out = s;
    return 0;
}

static void wipe_free(char *secret)
{
    if (secret)
        OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}

/* A session token passes through these. */
static void wipe_buf(struct buf *b)
{
    if (b->data)
        OPENSSL_cleanse(b->data, b->cap);
    buf_cleanup(b);
}

void sigv4_signer_free(struct sigv4_signer *s)
{
    if (!s)
        return;
    wipe_free(s->aws4_secret);
    wipe_free(s->token);
    free(s->access_key);
    free(s->region);
    free(s->service);
    hmac_cleanup(&s->derive);
    hmac_cleanup(&s->key);
    EVP_MD_CTX_free(s->work);
    EVP_MD_free(s->md);
    wipe_buf(&s->text);
    wipe_buf(&s->canonical);
    buf_cleanup(&s->credential);
    buf_cleanup(&s->signed_names);
    buf_cleanup(&s->to_sign);
    free(s);
}

/* secret -> day -> region -> service -> "aws4_request": each the key for the next text. */
static bool derive_key(struct sigv4_signer *s, const char *day)
{
    const char *const steps[] = {day, s->region, s->service, "aws4_request"};
    unsigned char k[SHA256_BYTES];
    bool ok = hmac_set_key(&s->derive, s->md, s->aws4_secret, strlen(s->aws4_secret));
    for (size_t i = 0; ok && i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct hmac *next = i == 3 ? &s->key : &s->derive;
        ok = hmac_compute(&s->derive, s->work, steps[i], strlen(steps[i]), k) &&
             hmac_set_key(next, s->md, k, sizeof(k));
    }
    OPENSSL_cleanse(k, sizeof(k));
    return ok;
}

/* Makes key and credential those of the date's day. */
static int use_day(struct sigv4_signer *s, struct store_err *err)
{
    char day[DAY_CHARS + 1] = "";
    memcpy(day, s->date, DAY_CHARS);
    if (strcmp(day, s->day) == 0)
        return 0;
    s->day[0] = '\0';
    buf_reset(&s->credential);
    buf_addf(&s->credential, "%s/%s/%s/%s/aws4_request", s->access_key, day, s->region, s->service);
    s->scope = strlen(s->access_key) + 1;
    if (buf_failed(&s->credential))
        return no_memory(err);
    if (!derive_key(s, day))
        return crypto_failed(err);
    memcpy(s->day, day, sizeof(day));
    return 0;
}

/* ---- Collecting headers and parameters, in canonical form and order ---- */

static const char *text_at(const struct sigv4_signer *s, size_t offset)
{
    return s->text.data + offset;
}

/* Insertion sort: the lists are short and mostly sorted, and it keeps the order of equals, which
 * headers of one name need. */
static void place_item(const struct sigv4_signer *s, struct item_list *list, struct item it,
                       bool order_by_value)
{
    size_t at = list->n++;
    for (; at > 0; at--) {
        const struct item *before = &list->items[at - 1];
        int order = strcmp(text_at(s, before->name), text_at(s, it.name));
        if (order == 0 && order_by_value)
            order = strcmp(text_at(s, before->value), text_at(s, it.value));
        if (order <= 0)
            break;
        list->items[at] = *before;
    }
    list->items[at] = it;
}

static int too_many(const char *what, struct store_err *err)
{
    return store_err_set(err, STORE_INVALID, "signing: more than %d %s", MAX_PAIRS, what);
}

static int add_parameter(struct sigv4_signer *s, const char *name, const char *value,
                         struct store_err *err)
{
    if (s->query.n == MAX_PAIRS)
        return too_many("query parameters", err);
    struct item it = {.name = s->text.len};
    percent_encode(&s->text, name, strlen(name), false);
    buf_addc(&s->text, '\0');
    it.value = s->text.len;
    percent_encode(&s->text, value, strlen(value), false);
    buf_addc(&s->text, '\0');
    if (buf_failed(&s->text))
        return no_memory(err);
    place_item(s, &s->query, it, true);
    return 0;
}

/* The character in lower case; NUL: no part of a header's name as we use them. */
static char lower_name_char(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    return ok ? c : '\0';
}

/* Appends the name in lower case. false: not the name of a header. */
static bool add_lower_name(struct buf *out, const char *name)
{
    size_t n = strlen(name);
    if (!buf_reserve(out, n))
        return true; /* the caller looks at buf_failed() */
    char *to = out->data + out->len;
    for (size_t i = 0; i < n; i++) {
        to[i] = lower_name_char(name[i]);
        if (!to[i])
            return false;
    }
    out->len += n;
    return n > 0;
}

/* Appends the value without spaces at its ends, and with one where there are several. false: a
 * control character, which would end the header line. */
static bool add_trimmed(struct buf *out, const char *value)
{
    if (!buf_reserve(out, strlen(value)))
        return true;
    char *start = out->data + out->len, *to = start;
    for (const char *p = value; *p; p++) {
        bool is_space = *p == ' ' || *p == '\t';
        if (!is_space && ((unsigned char)*p < 0x20 || *p == 0x7f))
            return false;
        if (!is_space)
            *to++ = *p;
        else if (to > start && to[-1] != ' ')
            *to++ = ' ';
    }
    if (to > start && to[-1] == ' ')
        to--;
    out->len += (size_t)(to - start);
    return true;
}

static int add_header(struct sigv4_signer *s, const char *name, const char *value,
                      struct store_err *err)
{
    if (s->headers.n == MAX_PAIRS)
        return too_many("headers", err);
    struct item it = {.name = s->text.len};
    if (!add_lower_name(&s->text, name))
        return store_err_set(err, STORE_INVALID, "signing: malformed header name");
    buf_addc(&s->text, '\0');
    it.value = s->text.len;
    if (!add_trimmed(&s->text, value))
        return store_err_set(err, STORE_INVALID, "signing: control character in header %s", name);
    buf_addc(&s->text, '\0');
    if (buf_failed(&s->text))
        return no_memory(err);
    place_item(s, &s->headers, it, false);
    return 0;
}

/* Whether header i only continues the values of the one before. */
static bool repeats_name(const struct sigv4_signer *s, size_t i)
{
    const struct item *items = s->headers.items;
    return i > 0 && strcmp(text_at(s, items[i - 1].name), text_at(s, items[i].name)) == 0;
}

static void list_signed_names(struct sigv4_signer *s)
{
    for (size_t i = 0; i < s->headers.n; i++) {
        if (repeats_name(s, i))
            continue;
        if (s->signed_names.len)
            buf_addc(&s->signed_names, ';');
        buf_adds(&s->signed_names, text_at(s, s->headers.items[i].name));
    }
}

/* ---- The texts ---- */

static void write_query(struct sigv4_signer *s)
{
    s->query_at = s->canonical.len;
    for (size_t i = 0; i < s->query.n; i++) {
        if (i)
            buf_addc(&s->canonical, '&');
        buf_adds(&s->canonical, text_at(s, s->query.items[i].name));
        buf_addc(&s->canonical, '=');
        buf_adds(&s->canonical, text_at(s, s->query.items[i].value));
    }
    s->query_len = s->canonical.len - s->query_at;
}

static void write_headers(struct sigv4_signer *s)
{
    for (size_t i = 0; i < s->headers.n; i++) {
        if (repeats_name(s, i)) {
            buf_addc(&s->canonical, ',');
        } else {
            buf_addc(&s->canonical, '\n');
            buf_adds(&s->canonical, text_at(s, s->headers.items[i].name));
            buf_addc(&s->canonical, ':');
        }
        buf_adds(&s->canonical, text_at(s, s->headers.items[i].value));
    }
    buf_addc(&s->canonical, '\n');
}

static void write_canonical(struct sigv4_signer *s, const struct sigv4_request *r)
{
    buf_adds(&s->canonical, r->method);
    buf_addc(&s->canonical, '\n');
    buf_adds(&s->canonical, r->path);
    buf_addc(&s->canonical, '\n');
    write_query(s);
    write_headers(s);
    buf_addc(&s->canonical, '\n');
    buf_adds(&s->canonical, buf_str(&s->signed_names));
    buf_addc(&s->canonical, '\n');
    buf_adds(&s->canonical, r->payload_hash);
}

static int write_to_sign(struct sigv4_signer *s, struct store_err *err)
{
    unsigned char sum[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    if (!EVP_DigestInit_ex2(s->work, s->md, NULL) ||
        !EVP_DigestUpdate(s->work, s->canonical.data, s->canonical.len) ||
        !EVP_DigestFinal_ex(s->work, sum, NULL))
        return crypto_failed(err);
    hex_encode(sum, sizeof(sum), hex);
    buf_adds(&s->to_sign, ALGORITHM "\n");
    buf_adds(&s->to_sign, s->date);
    buf_addc(&s->to_sign, '\n');
    buf_adds(&s->to_sign, buf_str(&s->credential) + s->scope);
    buf_addc(&s->to_sign, '\n');
    buf_adds(&s->to_sign, hex);
    return buf_failed(&s->to_sign) ? no_memory(err) : 0;
}

/* ---- The steps of both forms ---- */

static int check_request(const struct sigv4_request *r, struct store_err *err)
{
    assert(r->method && r->path && r->payload_hash);
    if (!*r->method || !is_printable(r->method))
        return store_err_set(err, STORE_INVALID, "signing: malformed method");
    if (r->path[0] != '/' || !is_printable(r->path) || strpbrk(r->path, "?#"))
        return store_err_set(err, STORE_INVALID, "signing: the path is not as it can be sent");
    return 0;
}

/* Forgets the request before, and takes date, headers and parameters of this one. */
static int begin(struct sigv4_signer *s, const struct sigv4_request *r, struct store_err *err)
{
    buf_reset(&s->text);
    buf_reset(&s->signed_names);
    buf_reset(&s->canonical);
    buf_reset(&s->to_sign);
    s->headers.n = s->query.n = 0;
    if (check_request(r, err) < 0)
        return -1;
    clock_amz_date(r->time_s, s->date);
    for (size_t i = 0; i < r->n_headers; i++)
        if (add_header(s, r->headers[i].name, r->headers[i].value, err) < 0)
            return -1;
    for (size_t i = 0; i < r->n_query; i++)
        if (add_parameter(s, r->query[i].name, r->query[i].value, err) < 0)
            return -1;
    return use_day(s, err);
}

/* With all headers and parameters in place: the texts, and the signature in hex. */
static int finish(struct sigv4_signer *s, const struct sigv4_request *r, struct buf *canonical,
                  struct buf *to_sign, char signature[2 * SHA256_BYTES + 1], struct store_err *err)
{
    write_canonical(s, r);
    if (buf_failed(&s->canonical) || buf_failed(&s->signed_names))
        return no_memory(err);
    if (write_to_sign(s, err) < 0)
        return -1;
    if (canonical)
        buf_add(canonical, s->canonical.data, s->canonical.len);
    if (to_sign)
        buf_add(to_sign, s->to_sign.data, s->to_sign.len);
    unsigned char mac[SHA256_BYTES];
    if (!hmac_compute(&s->key, s->work, s->to_sign.data, s->to_sign.len, mac))
        return crypto_failed(err);
    hex_encode(mac, sizeof(mac), signature);
    return 0;
}

static void add_line(struct buf *out, const char *name, const char *value)
{
    buf_adds(out, name);
    buf_adds(out, ": ");
    buf_adds(out, value);
    buf_addc(out, '\n');
}

static void add_authorization(const struct sigv4_signer *s, const char *signature, struct buf *out)
{
    buf_adds(out, "Authorization: " ALGORITHM " Credential=");
    buf_adds(out, buf_str(&s->credential));
    buf_adds(out, ", SignedHeaders=");
    buf_adds(out, buf_str(&s->signed_names));
    buf_adds(out, ", Signature=");
    buf_adds(out, signature);
    buf_addc(out, '\n');
}

int sigv4_sign(struct sigv4_signer *s, const struct sigv4_request *r, struct buf *out_headers,
               struct buf *out_query, struct buf *canonical, struct buf *to_sign,
               struct store_err *err)
{
    char signature[2 * SHA256_BYTES + 1];
    if (begin(s, r, err) < 0 || add_header(s, "x-amz-date", s->date, err) < 0)
        return -1;
    if (s->token && add_header(s, "x-amz-security-token", s->token, err) < 0)
        return -1;
    if (r->add_content_sha256 && add_header(s, "x-amz-content-sha256", r->payload_hash, err) < 0)
        return -1;
    list_signed_names(s);
    if (finish(s, r, canonical, to_sign, signature, err) < 0)
        return -1;
    add_line(out_headers, "X-Amz-Date", s->date);
    if (s->token)
        add_line(out_headers, "X-Amz-Security-Token", s->token);
    if (r->add_content_sha256)
        add_line(out_headers, "x-amz-content-sha256", r->payload_hash);
    add_authorization(s, signature, out_headers);
    buf_add(out_query, s->canonical.data + s->query_at, s->query_len);
    return buf_failed(out_headers) || buf_failed(out_query) ? no_memory(err) : 0;
}

/* The parameters that carry everything but the signature. */
static int add_presign_parameters(struct sigv4_signer *s, uint32_t expires_s, struct store_err *err)
{
    char expires[16];
    snprintf(expires, sizeof(expires), "%u", (unsigned)expires_s);
    list_signed_names(s);
    if (add_parameter(s, "X-Amz-Algorithm", ALGORITHM, err) < 0 ||
        add_parameter(s, "X-Amz-Credential", buf_str(&s->credential), err) < 0 ||
        add_parameter(s, "X-Amz-Date", s->date, err) < 0 ||
        add_parameter(s, "X-Amz-Expires", expires, err) < 0 ||
        add_parameter(s, "X-Amz-SignedHeaders", buf_str(&s->signed_names), err) < 0)
        return -1;
    return s->token ? add_parameter(s, "X-Amz-Security-Token", s->token, err) : 0;
}

int sigv4_presign(struct sigv4_signer *s, const struct sigv4_request *r, uint32_t expires_s,
                  struct buf *out_query, struct buf *canonical, struct buf *to_sign,
                  struct store_err *err)
{
    char signature[2 * SHA256_BYTES + 1];
    if (expires_s == 0 || expires_s > MAX_EXPIRES_S)
        return store_err_set(err, STORE_INVALID, "signing: expiry of %u s is not in 1..%d",
                             (unsigned)expires_s, MAX_EXPIRES_S);
    if (begin(s, r, err) < 0 || add_presign_parameters(s, expires_s, err) < 0 ||
        finish(s, r, canonical, to_sign, signature, err) < 0)
        return -1;
    buf_add(out_query, s->canonical.data + s->query_at, s->query_len);
    buf_adds(out_query, "&X-Amz-Signature=");
    buf_adds(out_query, signature);
    return buf_failed(out_query) ? no_memory(err) : 0;
}
