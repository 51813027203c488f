/* record.c - an object's description in an extended attribute of its file: texts that each end in
 * a NUL: "1" (the format), size, ETag, content type, then names and values of the metadata.
 *
 * Where a file system has no such attributes, and for files that somebody else put into the tree,
 * the ETag is made of inode, modification time and size: a put makes a new inode each time, so it
 * changes with the content, but equal content does not give equal ETags. */
#include "libstore/file/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/buf.h"
#include "base/codec.h"

static const char default_type[] = "application/octet-stream";

/* The next text of the attribute, or NULL at its end. The whole is followed by a NUL. */
static const char *next_text(const struct file_record *r, size_t len, size_t *at)
{
    if (*at >= len)
        return NULL;
    const char *s = r->text + *at;
    *at += strlen(s) + 1;
    return *at <= len ? s : NULL;
}

bool file_record_parse(struct file_record *r, size_t len)
{
    size_t at = 0;
    r->text[len] = '\0';
    const char *format = next_text(r, len, &at);
    const char *size = next_text(r, len, &at);
    r->etag = next_text(r, len, &at);
    r->content_type = next_text(r, len, &at);
    if (!r->content_type || strcmp(format, "1") != 0 || strlen(r->etag) >= STORE_ETAG_SIZE ||
        !parse_u64(size, strlen(size), &r->size))
        return false;
    for (r->n_meta = 0; at < len; r->n_meta++) {
        const char *name = next_text(r, len, &at);
        const char *value = next_text(r, len, &at);
        if (!value || r->n_meta == STORE_MAX_META)
            return false;
        r->meta[r->n_meta] = (struct store_meta){name, value};
    }
    return true;
}

static void derive(struct file_record *r, const struct stat *st)
{
    uint64_t ns = (uint64_t)st->st_mtim.tv_sec * 1000000000U + (uint64_t)st->st_mtim.tv_nsec;
    snprintf(r->derived_etag, sizeof(r->derived_etag), "%" PRIx64 "-%" PRIx64 "-%" PRIx64,
             (uint64_t)st->st_ino, ns, (uint64_t)st->st_size);
    r->etag = r->derived_etag;
    r->content_type = "";
    r->n_meta = 0;
    r->size = (uint64_t)st->st_size;
    r->stored = false;
}

int file_record_read(int fd, const struct stat *st, struct file_record *r, struct store_err *err)
{
    ssize_t n = fgetxattr(fd, FILE_XATTR_NAME, r->text, FILE_RECORD_MAX);
    if (n < 0 && (errno == ENODATA || errno == ENOTSUP)) {
        derive(r, st);
        return 0;
    }
    if (n < 0 && errno != ERANGE)
        return store_err_errno(err, errno, "cannot read the object's description");
    if (n < 0 || !file_record_parse(r, (size_t)n))
        return store_err_set(err, STORE_CORRUPT, "the object's description is damaged");
    r->stored = true;
    return 0;
}

int file_record_write(int fd, const struct store_op *op, const char *etag, struct store_err *err)
{
    const struct store_put_opts *opts = &op->opts.put;
    struct buf b = BUF_INIT(FILE_RECORD_MAX);
    buf_addf(&b, "1%c%" PRIu64 "%c%s%c%s%c", '\0', op->size, '\0', etag, '\0',
             opts->content_type ? opts->content_type : default_type, '\0');
    for (size_t i = 0; i < opts->n_meta; i++)
        buf_addf(&b, "%s%c%s%c", opts->meta[i].name, '\0', opts->meta[i].value, '\0');
    int rc = 0;
    if (buf_failed(&b))
        rc = store_err_set(err, STORE_NO_MEMORY, "no room for the object's description");
    else if (fsetxattr(fd, FILE_XATTR_NAME, b.data, b.len, 0) < 0)
        rc = store_err_errno(err, errno, "cannot write the object's description");
    buf_cleanup(&b);
    return rc;
}
