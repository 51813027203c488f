/* Opening a bucket: where it is, and with what it is signed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "libstore/key.h"
#include "libstore/s3/s3.h"

enum {
    DEFAULT_OP_TIMEOUT_MS = 30000,
    DEFAULT_STALL_TIMEOUT_MS = 5000,
    DEFAULT_MAX_CONNECTIONS = 128
};

static const char *first_of(const char *a, const char *b, const char *c)
{
    return a && *a ? a : b && *b ? b : c;
}

/* Never fails by halves: a NULL copy is found by conf_complete(). */
static char *copy(const char *s)
{
    return s ? strdup(s) : NULL;
}

static char *join(const char *a, const char *b, const char *c, const char *d)
{
    char *s = NULL;
    return asprintf(&s, "%s%s%s%s", a, b, c, d) < 0 ? NULL : s;
}

static bool bucket_ok(const char *s, size_t n)
{
    return n >= 3 && n <= 63 &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.-_ABCDEFGHIJKLMNOPQRSTUVWXYZ") >= n;
}

/* "bucket[/prefix]" */
static int take_location(struct s3 *s3, const char *rest, struct store_err *err)
{
    size_t n = strcspn(rest, "/");
    if (!bucket_ok(rest, n))
        return store_err_set(err, STORE_INVALID,
                             "store URL s3://%.150s: expected a bucket of 3 to 63 characters, then "
                             "an optional /prefix",
                             rest);
    const char *prefix = rest[n] ? rest + n + 1 : "";
    size_t len = strlen(prefix);
    while (len && prefix[len - 1] == '/')
        len--;
    s3->bucket = strndup(rest, n);
    s3->prefix = len ? malloc(len + 2) : strdup("");
    if (!s3->bucket || !s3->prefix)
        return store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
    if (!len)
        return 0;
    memcpy(s3->prefix, prefix, len);
    s3->prefix[len] = '\0';
    if (len > 256 || key_has_odd_segment(s3->prefix))
        return store_err_set(err, STORE_INVALID,
                             "store URL s3://%.150s: expected a prefix of up to 256 bytes without "
                             "empty segments, '.' or '..'",
                             rest);
    memcpy(s3->prefix + len, "/", 2);
    return 0;
}

/* Path style for endpoints of one's own and for buckets with dots, which TLS names cannot match. */
static int take_endpoint(struct s3 *s3, const char *endpoint, struct store_err *err)
{
    if (endpoint) {
        const char *host = strstr(endpoint, "://");
        size_t n = strlen(endpoint);
        while (n && endpoint[n - 1] == '/')
            n--;
        if (!host ||
            (strncmp(endpoint, "http://", 7) != 0 && strncmp(endpoint, "https://", 8) != 0) ||
            strcspn(host + 3, "/") < strlen(host + 3) - (strlen(endpoint) - n))
            return store_err_set(err, STORE_INVALID,
                                 "S3 endpoint '%.150s': expected http://host[:port] or "
                                 "https://host[:port]",
                                 endpoint);
        s3->base_url = strndup(endpoint, n);
        s3->host = strndup(host + 3, (size_t)(endpoint + n - host - 3));
        s3->path_prefix = join("/", s3->bucket, "", "");
    } else if (strchr(s3->bucket, '.')) {
        s3->host = join("s3.", s3->region, ".amazonaws.com", "");
        s3->base_url = s3->host ? join("https://", s3->host, "", "") : NULL;
        s3->path_prefix = join("/", s3->bucket, "", "");
    } else {
        s3->host = join(s3->bucket, ".s3.", s3->region, ".amazonaws.com");
        s3->base_url = s3->host ? join("https://", s3->host, "", "") : NULL;
        s3->path_prefix = strdup("");
    }
    if (!s3->base_url || !s3->host || !s3->path_prefix)
        return store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
    return 0;
}

static int take_conf(struct s3 *s3, const struct store_conf *c, struct store_err *err)
{
    const char *access = first_of(c->access_key, getenv("AWS_ACCESS_KEY_ID"), NULL);
    const char *secret = first_of(c->secret_key, getenv("AWS_SECRET_ACCESS_KEY"), NULL);
    const char *token = first_of(c->session_token, getenv("AWS_SESSION_TOKEN"), NULL);
    const char *region = first_of(c->region, getenv("AWS_REGION"),
                                  first_of(getenv("AWS_DEFAULT_REGION"), "us-east-1", NULL));
    if (!access || !secret)
        return store_err_set(
            err, STORE_INVALID,
            "S3 credentials: expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    s3->region = copy(region);
    s3->access_key = copy(access);
    s3->secret_key = copy(secret);
    s3->session_token = copy(token);
    s3->ca_file = copy(c->ca_file);
    if (!s3->region || !s3->access_key || !s3->secret_key || (token && !s3->session_token) ||
        (c->ca_file && !s3->ca_file))
        return store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
    s3->op_timeout_ms = c->op_timeout_ms ? c->op_timeout_ms : DEFAULT_OP_TIMEOUT_MS;
    s3->stall_timeout_ms = c->stall_timeout_ms ? c->stall_timeout_ms : DEFAULT_STALL_TIMEOUT_MS;
    s3->max_connections = c->max_connections ? c->max_connections : DEFAULT_MAX_CONNECTIONS;
    return 0;
}

static void free_secret(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

static void s3_close(void *state)
{
    struct s3 *s3 = state;
    free(s3->base_url);
    free(s3->host);
    free(s3->path_prefix);
    free(s3->bucket);
    free(s3->prefix);
    free(s3->region);
    free(s3->access_key);
    free_secret(s3->secret_key);
    free_secret(s3->session_token);
    free(s3->ca_file);
    free(s3);
}

static int s3_open(const char *rest, const struct store_conf *conf, void **out,
                   struct store_err *err)
{
    struct s3 *s3 = calloc(1, sizeof(*s3));
    if (!s3)
        return store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
    const char *endpoint = first_of(conf->endpoint, getenv("AWS_ENDPOINT_URL_S3"),
                                    first_of(getenv("AWS_ENDPOINT_URL"), NULL, NULL));
    if (take_location(s3, rest, err) != 0 || take_conf(s3, conf, err) != 0 ||
        take_endpoint(s3, endpoint, err) != 0) {
        s3_close(s3);
        return -1;
    }
    *out = s3;
    return 0;
}

static void s3_loop_free(void *value)
{
    struct s3_loop *here = value;
    sigv4_signer_free(here->signer);
    free(here);
}

/* Two attachments of one loop need two owners: the client hangs on s3, this on a field of it. */
struct s3_loop *s3_loop_get(struct s3 *s3, struct loop *l, struct store_err *err)
{
    struct s3_loop *here = loop_attached(l, &s3->bucket);
    if (here)
        return here;
    const struct http_client_conf conf = {s3->base_url, s3->ca_file, s3->max_connections};
    here = calloc(1, sizeof(*here));
    if (!here) {
        store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
        return NULL;
    }
    here->http = http_client_get(l, s3, &conf, err);
    if (!here->http || sigv4_signer_new(s3->access_key, s3->secret_key, s3->session_token,
                                        s3->region, "s3", &here->signer, err) != 0) {
        s3_loop_free(here);
        return NULL;
    }
    if (getrandom(&here->random, sizeof(here->random), GRND_NONBLOCK) < 0 || !here->random)
        here->random = (uint32_t)(uintptr_t)here | 1;
    if (loop_attach(l, &s3->bucket, here, s3_loop_free) != 0) {
        store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
        s3_loop_free(here);
        return NULL;
    }
    return here;
}

const struct driver s3_driver = {
    .scheme = "s3",
    .open = s3_open,
    .close = s3_close,
    .start = s3_start,
    .resume = s3_resume,
    .cancel = s3_cancel,
};
