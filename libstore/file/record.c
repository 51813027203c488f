/* record.c - an object's description in an extended attribute of its file: texts that each end in
 * a NUL: "2" (the format), size, ETag, checksum, content type, then names and values of the
 * metadata. Format "1" is still read: it has no checksum.
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

static const char checksum_name[] = "crc32c:";

void file_checksum_text(uint32_t crc, char out[FILE_CHECKSUM_SIZE])
{
    snprintf(out, FILE_CHECKSUM_SIZE, "%s%08" PRIx32, checksum_name, crc);
}

static bool is_checksum(const char *s)
{
    const size_t n = sizeof(checksum_name) - 1;
    return *s == '\0' || (strncmp(s, checksum_name, n) == 0 &&
                          strspn(s + n, "0123456789abcdef") == 8 && s[n + 8] == '\0');
}

/* The next text of the attribute, or NULL at its end. The whole is followed by a NUL. */
static const char *next_text(const struct file_record *r, size_t len, size_t *at)
{
    if (*at >= len)
        return NULL;
    const char *s = r->text + *at;
    *at += strlen(s) + 1;
    return *at <= len ? s : NULL;
}

/* Format, size, ETag, checksum, type. */
static bool parse_fixed(struct file_record *r, size_t len, size_t *at)
{
    const char *format = next_text(r, len, at);
    const char *size = next_text(r, len, at);
    r->etag = next_text(r, len, at);
    if (!r->etag || (strcmp(format, "1") != 0 && strcmp(format, "2") != 0))
        return false;
    r->checksum = *format == '1' ? "" : next_text(r, len, at);
    r->content_type = next_text(r, len, at);
    return r->content_type && is_checksum(r->checksum) && strlen(r->etag) < STORE_ETAG_SIZE &&
           parse_u64(size, strlen(size), &r->size);
}

bool file_record_parse(struct file_record *r, size_t len)
{
    size_t at = 0;
    r->text[len] = '\0';
    if (!parse_fixed(r, len, &at))
        return false;
    for (r->n_meta = 0; at < len; r->n_meta++) {
        const char *name = next_text(r, len, &at);
        const char *value = next_text(r, len, &at);
        if (!value || r->n_meta == FILE_MAX_META)
            return false;
        r->meta[r->n_meta] = (struct store_meta){name, value};
    }
    return true;
}

void file_record_derive(struct file_record *r, const struct stat *st)
{
    uint64_t ns = (uint64_t)st->st_mtim.tv_sec * 1000000000U + (uint64_t)st->st_mtim.tv_nsec;
    snprintf(r->derived_etag, sizeof(r->derived_etag), "%" PRIx64 "-%" PRIx64 "-%" PRIx64,
             (uint64_t)st->st_ino, ns, (uint64_t)st->st_size);
    r->etag = r->derived_etag;
    r->checksum = r->content_type = "";
    r->n_meta = 0;
    r->size = (uint64_t)st->st_size;
    r->stored = false;
}

int file_record_read(int fd, const struct stat *st, struct file_record *r, struct store_err *err)
{
    ssize_t n = fgetxattr(fd, FILE_XATTR_NAME, r->text, FILE_RECORD_MAX);
    if (n < 0 && (errno == ENODATA || errno == ENOTSUP)) {
        file_record_derive(r, st);
        return 0;
    }
    if (n < 0 && errno != ERANGE)
        return store_err_errno(err, errno, "cannot read the object's description");
    if (n < 0 || !file_record_parse(r, (size_t)n))
        return store_err_set(err, STORE_CORRUPT, "the object's description is damaged");
    r->stored = true;
    return 0;
}

int file_record_write(int fd, const struct file_record *r, struct store_err *err)
{
    struct buf b = BUF_INIT(FILE_RECORD_MAX);
    buf_addf(&b, "2%c%" PRIu64 "%c%s%c%s%c%s%c", '\0', r->size, '\0', r->etag, '\0', r->checksum,
             '\0', r->content_type, '\0');
    for (size_t i = 0; i < r->n_meta; i++)
        buf_addf(&b, "%s%c%s%c", r->meta[i].name, '\0', r->meta[i].value, '\0');
    int rc = 0;
    if (buf_failed(&b))
        rc = store_err_set(err, STORE_NO_MEMORY, "no room for the object's description");
    else if (fsetxattr(fd, FILE_XATTR_NAME, b.data, b.len, 0) < 0)
        rc = store_err_errno(err, errno, "cannot write the object's description");
    buf_cleanup(&b);
    return rc;
}

void file_record_tell(const struct file_record *r, const struct stat *st, struct store_info *info)
{
    const size_t room = sizeof(info->meta) / sizeof(info->meta[0]);
    info->size = info->stored_size = r->size;
    info->etag = r->etag;
    info->checksum = r->checksum;
    info->content_type = r->content_type;
    info->modified_s = st->st_mtim.tv_sec;
    info->n_meta = r->n_meta < room ? r->n_meta : room;
    memcpy(info->meta, r->meta, info->n_meta * sizeof(r->meta[0]));
}
