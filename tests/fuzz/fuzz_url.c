/* Feeds s3_url_parse(): a byte for the style of addressing, then location, endpoint and region,
 * each ended by a NUL. Whatever is accepted must be safe to put into a request. */
#include "libstore/s3/url.h"
#include "tests/fuzz/fuzz.h"

static void check_host(const struct s3_place *p)
{
    const char *after = strstr(p->base_url, "://");
    MUST(strncmp(p->base_url, "http://", 7) == 0 || strncmp(p->base_url, "https://", 8) == 0);
    MUST(after && strcmp(after + 3, p->host) == 0 && *p->host);
    MUST(strspn(p->host, "abcdefghijklmnopqrstuvwxyz0123456789.-_:[]") == strlen(p->host));
}

static void check_bucket(const struct s3_place *p, enum store_addressing addressing)
{
    size_t n = strlen(p->bucket);
    MUST(n >= 3 && n <= 63 && !strpbrk(p->bucket, "/?#@%: "));
    if (*p->path_prefix) {
        MUST(addressing != STORE_ADDRESSING_HOST);
        MUST(p->path_prefix[0] == '/' && strcmp(p->path_prefix + 1, p->bucket) == 0);
    } else {
        MUST(addressing != STORE_ADDRESSING_PATH);
        MUST(strncmp(p->host, p->bucket, n) == 0 && p->host[n] == '.');
    }
}

static void check_prefix(const struct s3_place *p)
{
    size_t n = strlen(p->prefix);
    MUST(n <= 257 && p->prefix[0] != '/');
    MUST(n == 0 || (n > 1 && p->prefix[n - 1] == '/' && p->prefix[n - 2] != '/'));
    for (size_t i = 0; i < n; i++)
        MUST((unsigned char)p->prefix[i] >= 0x20 && p->prefix[i] != 0x7f);
}

/* What came out goes in again, in path style, and gives the same. */
static void check_again(const struct s3_place *p)
{
    char location[512];
    struct s3_place again;
    snprintf(location, sizeof(location), "%s/%s", p->bucket, p->prefix);
    MUST(s3_url_parse(location, p->base_url, "", STORE_ADDRESSING_PATH, &again, NULL) == 0);
    MUST(strcmp(again.bucket, p->bucket) == 0 && strcmp(again.prefix, p->prefix) == 0);
    MUST(strcmp(again.base_url, p->base_url) == 0 && strcmp(again.host, p->host) == 0);
    s3_place_cleanup(&again);
}

static void check_refusal(const struct s3_place *p, const struct store_err *err)
{
    MUST(err->code == STORE_INVALID && err->msg[0]);
    MUST(!p->bucket && !p->prefix && !p->base_url && !p->host && !p->path_prefix);
    for (const char *s = err->msg; *s; s++)
        MUST(*s >= ' ' && *s <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    enum store_addressing addressing = (enum store_addressing)(fuzz_byte(&in) % 3);
    char *location = fuzz_text(&in), *endpoint = fuzz_text(&in), *region = fuzz_text(&in);
    struct s3_place p;
    struct store_err err = {.code = STORE_OK};
    if (s3_url_parse(location, endpoint, region, addressing, &p, &err) == 0) {
        check_host(&p);
        check_bucket(&p, addressing);
        check_prefix(&p);
        check_again(&p);
    } else {
        check_refusal(&p, &err);
    }
    s3_place_cleanup(&p);
    free(location);
    free(endpoint);
    free(region);
    return 0;
}
