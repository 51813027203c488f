/* pack.h - objects that are kept compressed: what op.c does to a put (pack) and a get (unpack), so
 * that neither the caller nor the driver sees anything of it.
 *
 * A compressed object carries marks in its metadata, which no caller can set or see: see op.c's
 * keep_info(). Everything here runs on the operation's loop. */
#ifndef LIBSTORE_PACK_H
#define LIBSTORE_PACK_H

#include "libstore/driver.h"

#define PACK_MARK      "store-encoding" /* of the whole object: "zstd" */
#define PACK_MARK_SIZE "store-size"     /* decimal, before compression; absent: not known */
enum { PACK_MARKS = 2 };

/* ---- Puts ---- */

/* Makes op, which is a put that was not started, one of compressed bytes: bytes (NULL: what the
 * caller's read() delivers) of `size`. There must be room for PACK_MARKS more in its metadata.
 * Returns 0, or -1 with *err set. */
int pack_begin(struct store_op *op, const void *bytes, uint64_t size, struct store_err *err);
/* op_read() of a put that is compressed while it is read. */
ssize_t pack_read(struct store_op *op, void *buf, size_t cap);
/* Puts the sizes into op->info of a put that has succeeded. */
void pack_describe(struct store_op *op);
void pack_free(struct pack *p); /* NULL is fine */

/* ---- Gets ---- */

/* op->info holds a get's head. Returns whether the caller should be told now. */
bool unpack_head(struct store_op *op);
/* op_data() of a compressed object. */
bool unpack_data(struct store_op *op, const void *bytes, size_t n);
/* The caller goes on. Returns whether the driver should too. */
bool unpack_resume(struct store_op *op);
/* The driver's run has ended with *err. Returns true when the operation goes on: with op->again, or
 * after a resume. Otherwise *err may have been changed. */
bool unpack_end(struct store_op *op, const struct store_err **err);
/* Puts the range into op->info. */
void unpack_describe(struct store_op *op);
void unpack_free(struct unpack *u); /* NULL is fine */

#endif
