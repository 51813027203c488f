/* Signs a request in both forms: method, path, then names and values by turns, each ended by a NUL;
 * the first byte says how many of the pairs are headers. The query that is sent must say the same
 * as the parameters that were given, and nothing may end a header line early. */
#include <stdbool.h>

#include "base/codec.h"
#include "libstore/s3/sigv4.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_PAIRS = 80, MAX_BYTES = 8 << 20 };

#define UNRESERVED "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

static struct sigv4_signer *signer;

static void set_up(void)
{
    if (!signer)
        MUST(sigv4_signer_new("AKID", "secret", "to/ken", "us-east-1", "s3", &signer, NULL) == 0);
}

/* Finds "name=value" among the parameters that were given. */
static bool was_given(const struct sigv4_request *r, const char *name, const char *value)
{
    for (size_t i = 0; i < r->n_query; i++)
        if (strcmp(r->query[i].name, name) == 0 && strcmp(r->query[i].value, value) == 0)
            return true;
    return false;
}

static void check_parameter(const struct sigv4_request *r, char *parameter, bool presigned)
{
    size_t n;
    char *value = strchr(parameter, '=');
    MUST(value);
    *value++ = '\0';
    MUST(strspn(parameter, UNRESERVED "%") == strlen(parameter));
    MUST(strspn(value, UNRESERVED "%") == strlen(value));
    MUST(percent_decode(parameter, strlen(parameter), parameter, &n));
    MUST(percent_decode(value, strlen(value), value, &n));
    MUST(was_given(r, parameter, value) ||
         (presigned && strncmp(parameter, "X-Amz-", strlen("X-Amz-")) == 0));
}

static void check_query(const struct sigv4_request *r, struct buf *query, size_t n_added)
{
    size_t n = 0;
    char *rest = query->len ? query->data : NULL;
    for (char *p; (p = strsep(&rest, "&")); n++)
        check_parameter(r, p, n_added > 0);
    MUST(n == r->n_query + n_added);
}

static void check_headers(const struct buf *headers)
{
    size_t lines = 0;
    for (size_t i = 0; i < headers->len; i++) {
        MUST(headers->data[i] != '\r' && headers->data[i] != '\0');
        lines += headers->data[i] == '\n';
    }
    MUST(lines == 4 && headers->data[headers->len - 1] == '\n');
}

static void sign(const struct sigv4_request *r)
{
    struct buf headers = BUF_INIT(MAX_BYTES), query = BUF_INIT(MAX_BYTES);
    struct buf url = BUF_INIT(MAX_BYTES);
    struct store_err err = {.code = STORE_OK};
    if (sigv4_sign(signer, r, &headers, &query, NULL, NULL, &err) == 0) {
        check_headers(&headers);
        check_query(r, &query, 0);
    } else {
        MUST(err.code == STORE_INVALID || err.code == STORE_NO_MEMORY);
    }
    if (sigv4_presign(signer, r, 60, &url, NULL, NULL, &err) == 0)
        check_query(r, &url, 7);
    buf_cleanup(&headers);
    buf_cleanup(&query);
    buf_cleanup(&url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct sigv4_pair pairs[MAX_PAIRS];
    size_t n = 0, n_headers = fuzz_byte(&in);
    char *method = fuzz_text(&in), *path = fuzz_text(&in);
    set_up();
    for (; in.n && n < MAX_PAIRS; n++) {
        pairs[n].name = fuzz_text(&in);
        pairs[n].value = fuzz_text(&in);
    }
    if (n_headers > n)
        n_headers = n;
    const struct sigv4_request r = {
        .method = method,
        .path = path,
        .headers = pairs,
        .n_headers = n_headers,
        .query = pairs + n_headers,
        .n_query = n - n_headers,
        .payload_hash = SIGV4_UNSIGNED_PAYLOAD,
        .add_content_sha256 = true,
        .time_s = 1369353600,
    };
    sign(&r);
    for (size_t i = 0; i < n; i++) {
        free((char *)pairs[i].name);
        free((char *)pairs[i].value);
    }
    free(method);
    free(path);
    return 0;
}
