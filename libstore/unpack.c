/* Gets of objects that are kept compressed.
 *
 * Whether an object is, only its head tells, and by then the driver has asked for a range of what
 * is kept, which is of no use. So a get of a part may take up to three runs of the driver, all
 * within the one deadline and before the caller is told anything:
 *   as asked   The head has the mark: read again, from the start. Or the range is beyond what is
 *              kept, and so maybe not beyond the object:
 *   a probe    of the first byte, for its head. No mark: the range is bad, as was said.
 *   the whole  only the object that was seen, decoded, cut to what was asked for.
 * The last byte that was decoded is always held back: the one behind which the checksum of the
 * whole comes is then told only after that. */
#include "libstore/pack.h"

#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "libstore/op.h"
#include "libstore/zip.h"

enum { PIECE = 64 * 1024 }; /* decoded at once */

struct unpack {
    uint64_t offset, length; /* as the caller asked */
    bool whole;              /* the whole is being read for a part of it */
    bool pinned;             /* if_match is ours, not the caller's */
    char etag[STORE_ETAG_SIZE];
    struct store_err bad_range; /* as the first run said */

    struct zip_decoder *decoder; /* NULL: not decoding yet */
    char *piece;
    size_t have;         /* decoded bytes in it */
    struct zip_input in; /* not decoded yet; in the driver's memory, or held */
    void *held;
    size_t held_cap;
    bool ended; /* the frame is whole */
    uint64_t decoded, skip, left, delivered;
    bool told;        /* the caller knows the head */
    bool driver_done; /* while the caller pauses */
};

void unpack_free(struct unpack *u)
{
    if (!u)
        return;
    zip_decoder_free(u->decoder);
    free(u->piece);
    free(u->held);
    free(u);
}

static bool size_known(const struct store_op *op)
{
    return op->kept_size != STORE_SIZE_UNKNOWN;
}

/* ---- Ending it ourselves; all return false, for "nothing more" ---- */

static bool fail_memory(struct store_op *op)
{
    store_err_set(&op->err, STORE_NO_MEMORY, "get %.150s: out of memory", op->key);
    return op_stop(op);
}

static bool fail_corrupt(struct store_op *op, const char *why)
{
    store_err_set(&op->err, STORE_CORRUPT, "get %.150s: the compressed object %s", op->key, why);
    return op_stop(op);
}

static bool fail_range(struct store_op *op)
{
    store_err_set(&op->err, STORE_BAD_RANGE, "get %.150s: the range starts behind its end",
                  op->key);
    return op_stop(op);
}

static bool fail_replaced(struct store_op *op)
{
    store_err_set(&op->err, STORE_BUSY, "get %.150s: it was replaced while it was looked at",
                  op->key);
    return op_stop(op);
}

/* ---- The runs ---- */

static struct unpack *unpack_of(struct store_op *op)
{
    const struct store_get_opts *o = &op->opts.get;
    if (!op->unpack) {
        op->unpack = calloc(1, sizeof(*op->unpack));
        if (op->unpack) {
            op->unpack->offset = o->offset;
            op->unpack->length = o->length;
        }
    }
    return op->unpack;
}

/* Reads again, from the start and nothing but what was seen. The other conditions have held. */
static bool read_whole(struct store_op *op)
{
    struct unpack *u = op->unpack;
    struct store_get_opts *o = &op->opts.get;
    u->whole = true;
    o->offset = o->length = 0;
    o->if_none_match = NULL;
    o->if_modified_since_s = 0;
    if (!o->if_match && op->etag[0]) {
        memcpy(u->etag, op->etag, sizeof(u->etag));
        u->pinned = true;
        o->if_match = u->etag;
    }
    op->again = true;
    return op_stop(op);
}

/* As in HTTP, every range of an empty object starts behind its end. */
static bool begin_decoding(struct store_op *op)
{
    struct unpack *u = op->unpack;
    bool ranged = u->offset || u->length;
    if (size_known(op) && ranged && u->offset >= op->kept_size)
        return fail_range(op);
    u->decoder = zip_decoder_new();
    u->piece = malloc(PIECE);
    if (!u->decoder || !u->piece)
        return fail_memory(op);
    uint64_t rest = size_known(op) ? op->kept_size - u->offset : STORE_SIZE_UNKNOWN;
    u->skip = u->offset;
    u->left = u->length && u->length < rest ? u->length : rest;
    /* Whether a range begins within an object of unknown size, its bytes must tell. */
    u->told = size_known(op) || !ranged;
    unpack_describe(op);
    return u->told;
}

bool unpack_head(struct store_op *op)
{
    struct unpack *u = op->unpack;
    if (op->kept == KEPT_PLAIN && !u)
        return true;
    if (op->kept == KEPT_PLAIN && u->whole)
        return fail_replaced(op);
    if (op->kept == KEPT_PLAIN) { /* a probe: the first run was right */
        op->err = u->bad_range;
        return op_stop(op);
    }
    if (op->kept == KEPT_STRANGELY) {
        store_err_set(&op->err, STORE_FAILED, "get %.150s: kept in an encoding that is not known",
                      op->key);
        return op_stop(op);
    }
    if (!unpack_of(op))
        return fail_memory(op);
    if (op->opts.get.offset || op->opts.get.length)
        return read_whole(op);
    return begin_decoding(op);
}

void unpack_describe(struct store_op *op)
{
    const struct unpack *u = op->unpack;
    if (!u->decoder)
        return;
    op->info.offset = u->offset;
    op->info.length = size_known(op) ? u->delivered + u->left : STORE_SIZE_UNKNOWN;
    if (u->ended)
        op->info.size = u->decoded;
    if (u->ended || u->left == 0)
        op->info.length = u->delivered;
}

/* ---- Decoding ---- */

/* Delivers what the caller wants of the first n bytes of the piece. False: pause, or the end. */
static bool deliver(struct store_op *op, size_t n)
{
    struct unpack *u = op->unpack;
    size_t skip = u->skip < n ? (size_t)u->skip : n;
    size_t give = u->left < n - skip ? (size_t)u->left : n - skip;
    u->skip -= skip;
    if (give && !u->told) {
        u->told = true;
        op_tell_head(op);
    }
    u->left -= give;
    u->delivered += give;
    bool go_on = op_deliver(op, u->piece + skip, give);
    u->have -= n;
    memmove(u->piece, u->piece + n, u->have);
    if (u->left == 0 && !u->ended && go_on) /* of a paused caller: after its resume */
        return op_stop(op);
    return go_on;
}

/* The frame's end has come, but its last bytes were not delivered yet. */
static bool check_end(struct store_op *op)
{
    struct unpack *u = op->unpack;
    if (u->in.n)
        return fail_corrupt(op, "has bytes behind its end");
    if (size_known(op) && u->decoded != op->kept_size)
        return fail_corrupt(op, "has another size than was put");
    if (!u->told && u->decoded <= u->offset)
        return fail_range(op);
    return true;
}

/* Decodes and delivers all that is there. False: the caller pauses, or it is over. */
static bool drain(struct store_op *op)
{
    struct unpack *u = op->unpack;
    bool full;
    do {
        if (u->ended)
            return u->in.n ? fail_corrupt(op, "has bytes behind its end") : true;
        struct store_err err;
        ssize_t n =
            zip_decode(u->decoder, &u->in, u->piece + u->have, PIECE - u->have, &u->ended, &err);
        if (n < 0) {
            store_err_set(&op->err, err.code, "get %.120s: the compressed object is damaged: %s",
                          op->key, err.msg);
            return op_stop(op);
        }
        u->have += (size_t)n;
        u->decoded += (uint64_t)n;
        full = u->have == PIECE;
        if (size_known(op) && u->decoded > op->kept_size)
            return fail_corrupt(op, "is larger than was put");
        if (u->ended && !check_end(op))
            return false;
        size_t ready = u->ended || !u->have ? u->have : u->have - 1;
        if (ready && !deliver(op, ready))
            return false;
    } while (full);
    return true;
}

/* Keeps what the driver's memory will not: at most one piece of its. */
static bool hold(struct store_op *op)
{
    struct unpack *u = op->unpack;
    if (op->stopped)
        return false;
    if (u->in.n > u->held_cap) {
        void *larger = realloc(u->held, u->in.n);
        if (!larger)
            return fail_memory(op);
        u->held = larger;
        u->held_cap = u->in.n;
    }
    if (u->in.n)
        memcpy(u->held, u->in.bytes, u->in.n);
    u->in.bytes = u->held;
    return false;
}

bool unpack_data(struct store_op *op, const void *bytes, size_t n)
{
    struct unpack *u = op->unpack;
    if (!u->decoder)
        return false;
    u->in = (struct zip_input){bytes, n};
    return drain(op) ? true : hold(op);
}

bool unpack_resume(struct store_op *op)
{
    struct unpack *u = op->unpack;
    if (!u->decoder)
        return true;
    if (u->left == 0 && !u->ended)
        return op_stop(op);
    if (!drain(op))
        return false;
    if (!u->driver_done)
        return true;
    op_finish(op, NULL, NULL);
    return false;
}

bool unpack_end(struct store_op *op, const struct store_err **err)
{
    struct unpack *u = op->unpack;
    struct store_get_opts *o = &op->opts.get;
    enum store_code code = *err ? (*err)->code : STORE_OK;
    if (code == STORE_BAD_RANGE && !u && !o->offset && !o->length)
        return false; /* nobody asked for a range: not ours to explain */
    if (code == STORE_BAD_RANGE && !u && (u = unpack_of(op))) {
        u->bad_range = **err;
        o->offset = 0;
        o->length = 1;
        return op->again = true;
    }
    if (!u) {
        if (code == STORE_BAD_RANGE)
            fail_memory(op);
        return false;
    }
    if (code == STORE_BAD_RANGE) /* a probe of an empty object, which is as it looks */
        *err = &u->bad_range;
    else if (code == STORE_PRECONDITION && u->pinned)
        fail_replaced(op);
    else if (code == STORE_OK && op->paused && !op->cancel_wanted)
        return u->driver_done = true;
    else if (code == STORE_OK && !u->ended)
        fail_corrupt(op, "is cut short");
    return false;
}
