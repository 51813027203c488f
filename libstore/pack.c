/* Puts that are kept compressed. From memory: compressed before the driver sees anything, so the
 * size is known and tries can be repeated. Streamed: between the caller's read() and the driver's
 * op_read(); the driver learns no size, since nobody knows it. What does not compress is kept as a
 * frame all the same (at most 0.4 % and 20 bytes larger): one kind of object fewer to get wrong. */
#include "libstore/pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "libstore/op.h"
#include "libstore/zip.h"

enum { PIECE = 64 * 1024 }; /* asked of the caller at once */

struct pack {
    void *packed; /* from memory: the frame */
    uint64_t size;
    char size_text[24];
    /* Streamed. */
    struct zip_encoder *encoder;
    char *piece;
    struct zip_input in; /* what is left of the piece */
    uint64_t taken;      /* of the caller */
    bool at_end;         /* there is no further piece */
    bool ended;          /* the frame is whole */
};

void pack_free(struct pack *p)
{
    if (!p)
        return;
    zip_encoder_free(p->encoder);
    free(p->piece);
    free(p->packed);
    free(p);
}

static void mark(struct store_op *op, const char *name, const char *value)
{
    struct store_put_opts *o = &op->opts.put;
    ((struct store_meta *)o->meta)[o->n_meta++] = (struct store_meta){name, value};
}

static void mark_size(struct store_op *op, uint64_t size)
{
    struct pack *p = op->pack;
    snprintf(p->size_text, sizeof(p->size_text), "%" PRIu64, size);
    mark(op, PACK_MARK_SIZE, p->size_text);
}

static int begin_bytes(struct store_op *op, const void *bytes, struct store_err *err)
{
    struct pack *p = op->pack;
    size_t packed_len = 0;
    if (zip_pack(bytes, p->size, &p->packed, &packed_len, err) != 0)
        return -1;
    op->bytes = p->packed;
    op->size = packed_len;
    p->taken = p->size;
    return 0;
}

static int begin_stream(struct store_op *op, struct store_err *err)
{
    struct pack *p = op->pack;
    p->encoder = zip_encoder_new(p->size);
    p->piece = malloc(PIECE);
    if (!p->encoder || !p->piece)
        return store_err_set(err, STORE_NO_MEMORY, "out of memory");
    p->at_end = p->size == 0;
    op->size = STORE_SIZE_UNKNOWN;
    return 0;
}

int pack_begin(struct store_op *op, const void *bytes, uint64_t size, struct store_err *err)
{
    struct pack *p = op->pack = calloc(1, sizeof(*p));
    if (!p)
        return store_err_set(err, STORE_NO_MEMORY, "out of memory");
    p->size = size;
    if ((bytes ? begin_bytes(op, bytes, err) : begin_stream(op, err)) != 0)
        return -1;
    mark(op, PACK_MARK, "zstd");
    if (size != STORE_SIZE_UNKNOWN)
        mark_size(op, size);
    return 0;
}

/* The next piece from the caller; <0: as read() says. */
static ssize_t take_piece(struct store_op *op)
{
    struct pack *p = op->pack;
    uint64_t left = p->size - p->taken;
    ssize_t n = op_ask(op, p->piece, left < PIECE ? (size_t)left : PIECE);
    if (n == 0 && p->size != STORE_SIZE_UNKNOWN)
        return STORE_READ_ABORT; /* fewer bytes than were promised */
    if (n < 0)
        return n;
    p->in = (struct zip_input){p->piece, (size_t)n};
    p->taken += (uint64_t)n;
    p->at_end = n == 0 || p->taken == p->size;
    return n;
}

ssize_t pack_read(struct store_op *op, void *buf, size_t cap)
{
    struct pack *p = op->pack;
    while (!p->ended) {
        ssize_t n = zip_encode(p->encoder, &p->in, p->at_end, buf, cap, &p->ended, &op->err);
        if (n < 0) {
            op_stop(op);
            return STORE_READ_ABORT;
        }
        /* A driver that describes the object after its last byte still gets the size. */
        if (p->ended && p->size == STORE_SIZE_UNKNOWN)
            mark_size(op, p->taken);
        if (n > 0)
            return n;
        if (!p->ended && (n = take_piece(op)) < 0)
            return n;
    }
    return 0;
}

void pack_describe(struct store_op *op)
{
    op->info.stored_size = op->info.size;
    op->info.size = op->info.length = op->pack->taken;
}
