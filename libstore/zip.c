#include "libstore/zip.h"

#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <store/object.h>

/* zstd's own default: a ratio near that of gzip -6 at several times its speed. */
enum { LEVEL = 3 };

/* ---- In memory ---- */

static int fail_pack(size_t code, struct store_err *err)
{
    bool memory = ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation;
    return store_err_set(err, memory ? STORE_NO_MEMORY : STORE_FAILED, "zstd: %s",
                         ZSTD_getErrorName(code));
}

int zip_pack(const void *bytes, size_t n, void **out, size_t *out_len, struct store_err *err)
{
    size_t bound = ZSTD_compressBound(n);
    ZSTD_CCtx *c = ZSTD_isError(bound) ? NULL : ZSTD_createCCtx();
    void *packed = c ? malloc(bound) : NULL;
    if (!packed) {
        ZSTD_freeCCtx(c);
        return store_err_set(err, STORE_NO_MEMORY, "zstd: out of memory");
    }
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    size_t len = ZSTD_compress2(c, packed, bound, bytes, n);
    ZSTD_freeCCtx(c);
    if (ZSTD_isError(len)) {
        free(packed);
        return fail_pack(len, err);
    }
    /* The bound is above the input's size: what compresses well should not hold on to that. */
    void *fitting = realloc(packed, len);
    *out = fitting ? fitting : packed;
    *out_len = len;
    return 0;
}

/* ---- The encoder ---- */

struct zip_encoder {
    ZSTD_CCtx *c;
};

struct zip_encoder *zip_encoder_new(uint64_t size)
{
    struct zip_encoder *e = malloc(sizeof(*e));
    if (!e)
        return NULL;
    e->c = ZSTD_createCCtx();
    if (!e->c) {
        free(e);
        return NULL;
    }
    ZSTD_CCtx_setParameter(e->c, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(e->c, ZSTD_c_checksumFlag, 1);
    if (size != STORE_SIZE_UNKNOWN)
        ZSTD_CCtx_setPledgedSrcSize(e->c, size);
    return e;
}

void zip_encoder_free(struct zip_encoder *e)
{
    if (e)
        ZSTD_freeCCtx(e->c);
    free(e);
}

ssize_t zip_encode(struct zip_encoder *e, struct zip_input *in, bool last, void *out, size_t cap,
                   bool *ended, struct store_err *err)
{
    ZSTD_inBuffer from = {in->bytes, in->n, 0};
    ZSTD_outBuffer to = {out, cap, 0};
    size_t left;
    do {
        left = ZSTD_compressStream2(e->c, &to, &from, last ? ZSTD_e_end : ZSTD_e_continue);
    } while (!ZSTD_isError(left) && to.pos < cap && (last ? left > 0 : from.pos < from.size));
    if (ZSTD_isError(left))
        return fail_pack(left, err);
    *ended = last && left == 0;
    in->bytes = (const char *)in->bytes + from.pos;
    in->n -= from.pos;
    return (ssize_t)to.pos;
}

/* ---- The decoder ---- */

struct zip_decoder {
    ZSTD_DCtx *d;
};

struct zip_decoder *zip_decoder_new(void)
{
    struct zip_decoder *d = malloc(sizeof(*d));
    if (!d)
        return NULL;
    d->d = ZSTD_createDCtx();
    if (!d->d) {
        free(d);
        return NULL;
    }
    ZSTD_DCtx_setParameter(d->d, ZSTD_d_windowLogMax, ZIP_WINDOW_LOG_MAX);
    return d;
}

void zip_decoder_free(struct zip_decoder *d)
{
    if (d)
        ZSTD_freeDCtx(d->d);
    free(d);
}

ssize_t zip_decode(struct zip_decoder *d, struct zip_input *in, void *out, size_t cap, bool *ended,
                   struct store_err *err)
{
    ZSTD_inBuffer from = {in->bytes, in->n, 0};
    ZSTD_outBuffer to = {out, cap, 0};
    size_t want, had;
    /* An empty input is no reason to stop: the decoder may hold content that found no room. */
    do {
        had = to.pos;
        want = ZSTD_decompressStream(d->d, &to, &from);
    } while (!ZSTD_isError(want) && want > 0 && to.pos < cap &&
             (from.pos < from.size || to.pos > had));
    if (ZSTD_isError(want)) {
        bool memory = ZSTD_getErrorCode(want) == ZSTD_error_memory_allocation;
        return store_err_set(err, memory ? STORE_NO_MEMORY : STORE_CORRUPT, "zstd: %s",
                             ZSTD_getErrorName(want));
    }
    *ended = want == 0;
    in->bytes = (const char *)in->bytes + from.pos;
    in->n -= from.pos;
    return (ssize_t)to.pos;
}
