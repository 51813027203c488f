#include "compute/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/xalloc.h"

enum { PIECE = 128 * 1024 };

struct digest {
    EVP_MD_CTX *ctx;
};

static void must(int done)
{
    if (done == 1)
        return;
    fputs("OpenSSL has no SHA-256 to give\n", stderr);
    abort();
}

struct digest *digest_new(void)
{
    struct digest *d = xcalloc(1, sizeof(*d));
    d->ctx = EVP_MD_CTX_new();
    must(d->ctx && EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL));
    return d;
}

void digest_add(struct digest *d, const void *bytes, size_t n)
{
    must(EVP_DigestUpdate(d->ctx, bytes, n));
}

void digest_end(struct digest *d, char out[DIGEST_SIZE])
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    must(EVP_DigestFinal_ex(d->ctx, raw, &n));
    if (out)
        hex_encode(raw, n, out);
    EVP_MD_CTX_free(d->ctx);
    free(d);
}

int digest_file(int fd, uint64_t size, char out[DIGEST_SIZE], struct store_err *err)
{
    struct digest *d = digest_new();
    char *piece = xmalloc(PIECE);
    uint64_t at = 0;
    int failed = 0;
    while (!failed && at < size) {
        size_t want = size - at < PIECE ? (size_t)(size - at) : PIECE;
        ssize_t n = pread(fd, piece, want, (off_t)at);
        if (n < 0 && errno != EINTR)
            failed = store_err_errno(err, errno, "cannot read");
        else if (n == 0)
            failed = store_err_set(err, STORE_CORRUPT, "it became shorter while it was read");
        else if (n > 0) {
            digest_add(d, piece, (size_t)n);
            at += (uint64_t)n;
        }
    }
    digest_end(d, failed ? NULL : out);
    free(piece);
    return failed;
}
