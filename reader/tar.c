#include "reader/tar.h"

#include <stdio.h>
#include <string.h>

struct ustar {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], typeflag,
        linkname[100], magic[6], version[2], uname[32], gname[32], devmajor[8], devminor[8],
        prefix[155], pad[12];
};
_Static_assert(sizeof(struct ustar) == TAR_BLOCK, "a header is one block");

static const uint64_t OCTAL_MAX = 077777777777; /* what a size or time field can say */

static bool is_ascii(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s > 0x7e)
            return false;
    return true;
}

/* Where the path may be cut into prefix and name; NULL: nowhere, pax has to say it. */
static const char *split(const char *path)
{
    size_t n = strlen(path);
    if (n <= sizeof(((struct ustar *)0)->name))
        return path;
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/'))
        if ((size_t)(slash - path) <= sizeof(((struct ustar *)0)->prefix) &&
            strlen(slash + 1) <= sizeof(((struct ustar *)0)->name))
            return slash + 1;
    return NULL;
}

static bool needs_pax(const char *path, uint64_t size)
{
    return size > OCTAL_MAX || !is_ascii(path) || !split(path);
}

size_t tar_padding(uint64_t size)
{
    return (size_t)((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

/* One record: "<length> <key>=<value>\n", where the length counts itself. */
static void pax_record(struct buf *out, const char *key, const char *value)
{
    size_t rest = strlen(key) + strlen(value) + 3;
    size_t length = rest + 1;
    char digits[24];
    while ((size_t)snprintf(digits, sizeof(digits), "%zu", length) + rest != length)
        length = (size_t)snprintf(digits, sizeof(digits), "%zu", length) + rest;
    buf_addf(out, "%zu %s=%s\n", length, key, value);
}

static void pax_records(struct buf *out, const char *path, uint64_t size)
{
    char digits[24];
    pax_record(out, "path", path);
    if (size > OCTAL_MAX) {
        snprintf(digits, sizeof(digits), "%llu", (unsigned long long)size);
        pax_record(out, "size", digits);
    }
}

static void octal(char *out, size_t width, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%0*llo", (int)width - 1, (unsigned long long)value);
    memcpy(out, text, width - 1);
}

static void checksum(struct ustar *h)
{
    unsigned sum = 0;
    char text[8];
    memset(h->chksum, ' ', sizeof(h->chksum));
    for (size_t i = 0; i < sizeof(*h); i++)
        sum += ((const unsigned char *)h)[i];
    snprintf(text, sizeof(text), "%06o", sum & 0777777);
    memcpy(h->chksum, text, 7);
}

static void block(struct buf *out, char type, const char *path, uint64_t size, int64_t modified_s)
{
    struct ustar h = {.typeflag = type, .magic = "ustar", .version = {'0', '0'}};
    const char *name = split(path);
    if (!name)
        name = path + strlen(path) - sizeof(h.name); /* pax has the whole one */
    memcpy(h.name, name, strlen(name));
    if (name > path && split(path))
        memcpy(h.prefix, path, (size_t)(name - path - 1));
    octal(h.mode, sizeof(h.mode), 0600);
    octal(h.uid, sizeof(h.uid), 0);
    octal(h.gid, sizeof(h.gid), 0);
    octal(h.size, sizeof(h.size), size > OCTAL_MAX ? 0 : size);
    uint64_t mtime = modified_s > 0 ? (uint64_t)modified_s : 0;
    octal(h.mtime, sizeof(h.mtime), mtime > OCTAL_MAX ? OCTAL_MAX : mtime);
    checksum(&h);
    buf_add(out, &h, sizeof(h));
}

static void pad(struct buf *out, size_t n)
{
    static const char zeros[TAR_BLOCK];
    buf_add(out, zeros, n);
}

void tar_header(struct buf *out, const char *path, uint64_t size, int64_t modified_s)
{
    if (needs_pax(path, size)) {
        struct buf records = BUF_INIT(4096);
        pax_records(&records, path, size);
        block(out, 'x', "PaxHeaders/file", records.len, modified_s);
        buf_add(out, buf_str(&records), records.len);
        pad(out, tar_padding(records.len));
        buf_cleanup(&records);
    }
    block(out, '0', path, size, modified_s);
}

uint64_t tar_member_bytes(const char *path, uint64_t size)
{
    struct buf header = BUF_INIT(16384);
    tar_header(&header, path, size, 0);
    uint64_t n = header.len + size + tar_padding(size);
    buf_cleanup(&header);
    return n;
}
