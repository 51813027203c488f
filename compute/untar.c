#include "compute/untar.h"

#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/xalloc.h"

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], typeflag,
        linkname[100], magic[6], version[2], uname[32], gname[32], devmajor[8], devminor[8],
        prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == UNTAR_BLOCK, "a header is one block");

enum { SHOWN = 80 };

static size_t padding_of(uint64_t size)
{
    return (size_t)((UNTAR_BLOCK - size % UNTAR_BLOCK) % UNTAR_BLOCK);
}

static bool is_zero(const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i])
            return false;
    return true;
}

void untar_init(struct untar *u, const struct untar_ops *ops, void *user,
                const struct untar_limits *limits)
{
    memset(u, 0, sizeof(*u));
    u->ops = ops;
    u->user = user;
    u->bytes_left = limits->max_bytes;
    u->members_left = limits->max_members;
}

void untar_cleanup(struct untar *u)
{
    for (size_t i = 0; i < u->n_paths; i++)
        free(u->paths[i]);
    free(u->paths);
    u->paths = NULL;
    u->n_paths = 0;
}

/* ---- Fields ---- */

/* Octal digits, then only NULs or blanks. At least one digit. Base-256, which GNU tar writes for
 * large sizes, has a first byte that is no digit. */
static bool parse_octal(const char *field, size_t width, uint64_t *out)
{
    size_t i = 0;
    *out = 0;
    for (; i < width && field[i] >= '0' && field[i] <= '7'; i++)
        *out = *out * 8 + (uint64_t)(field[i] - '0'); /* 12 digits at most: no overflow */
    if (i == 0)
        return false;
    for (; i < width; i++)
        if (field[i] != '\0' && field[i] != ' ')
            return false;
    return true;
}

static int check_sum(const struct header *h, struct store_err *err)
{
    uint64_t stored;
    unsigned sum = 0;
    const unsigned char *bytes = (const unsigned char *)h;
    for (size_t i = 0; i < sizeof(*h); i++) {
        bool in_field = i >= offsetof(struct header, chksum) &&
                        i < offsetof(struct header, chksum) + sizeof(h->chksum);
        sum += in_field ? ' ' : bytes[i];
    }
    if (!parse_octal(h->chksum, sizeof(h->chksum), &stored) || stored != sum)
        return store_err_set(err, STORE_CORRUPT, "TAR: a header's checksum is wrong");
    if (memcmp(h->magic, "ustar", 6) != 0 || memcmp(h->version, "00", 2) != 0)
        return store_err_set(err, STORE_CORRUPT, "TAR: a header is not POSIX ustar");
    return 0;
}

static const char *kind_of(char typeflag)
{
    switch (typeflag) {
    case '1': return "a hard link";
    case '2': return "a symbolic link";
    case '3':
    case '4': return "a device";
    case '5': return "a folder";
    case '6': return "a pipe";
    case 'g': return "a global pax header";
    default: return "of an unknown kind";
    }
}

/* "prefix/name", or what pax says. */
static void member_path(const struct untar *u, const struct header *h, char *out, size_t cap)
{
    size_t prefix = strnlen(h->prefix, sizeof(h->prefix));
    size_t name = strnlen(h->name, sizeof(h->name)), at = 0;
    if (u->has_pax && u->pax_has_path) {
        text_copy(out, cap, u->pax_path);
        return;
    }
    if (prefix) {
        memcpy(out, h->prefix, prefix);
        out[prefix] = '/';
        at = prefix + 1;
    }
    memcpy(out + at, h->name, name); /* 256 bytes at most: cap is larger */
    out[at + name] = '\0';
}

/* ---- Members ---- */

static bool seen_before(const struct untar *u, const char *path)
{
    for (size_t i = 0; i < u->n_paths; i++)
        if (strcmp(u->paths[i], path) == 0)
            return true;
    return false;
}

static int check_member(struct untar *u, const char *path, uint64_t size, struct store_err *err)
{
    char shown[SHOWN];
    const char *problem = scope_path_problem(path, strlen(path));
    text_excerpt(path, strlen(path), shown, sizeof(shown));
    if (problem)
        return store_err_set(err, STORE_CORRUPT, "TAR: the path '%s' is refused: %s", shown,
                             problem);
    if (seen_before(u, path))
        return store_err_set(err, STORE_CORRUPT, "TAR: '%s' comes twice", shown);
    if (u->members_left == 0)
        return store_err_set(err, STORE_CORRUPT, "TAR: more members than the %zu that may be",
                             u->n_paths);
    if (size > u->bytes_left)
        return store_err_set(err, STORE_CORRUPT,
                             "TAR: '%s' has %llu bytes; %llu are left of what may come in all",
                             shown, (unsigned long long)size, (unsigned long long)u->bytes_left);
    return 0;
}

static int end_member(struct untar *u, struct store_err *err)
{
    u->state = u->padding ? UNTAR_PADDING : UNTAR_HEADER;
    u->have = 0;
    return u->wanted ? u->ops->end(u->user, err) : 0;
}

static int begin_member(struct untar *u, const struct header *h, uint64_t size,
                        struct store_err *err)
{
    char path[PATH_MAX_BYTES + 1];
    member_path(u, h, path, sizeof(path));
    if (u->has_pax && u->pax_has_size)
        size = u->pax_size;
    u->has_pax = false;
    if (check_member(u, path, size, err) != 0)
        return -1;
    u->paths = xrealloc(u->paths, (u->n_paths + 1) * sizeof(*u->paths));
    u->paths[u->n_paths++] = xstrdup(path);
    u->members_left--;
    u->bytes_left -= size;
    u->left = size;
    u->padding = padding_of(size);
    int wanted = u->ops->member(u->user, path, size, err);
    if (wanted < 0)
        return -1;
    u->wanted = wanted > 0;
    u->state = UNTAR_DATA;
    u->have = 0;
    return size == 0 ? end_member(u, err) : 0;
}

static int begin_pax(struct untar *u, uint64_t size, struct store_err *err)
{
    if (u->has_pax)
        return store_err_set(err, STORE_CORRUPT, "TAR: two pax headers in a row");
    if (size == 0 || size > UNTAR_PAX_MAX)
        return store_err_set(err, STORE_CORRUPT,
                             "TAR: a pax header of %llu bytes; expected 1 to %d",
                             (unsigned long long)size, (int)UNTAR_PAX_MAX);
    u->has_pax = true;
    u->pax_has_path = u->pax_has_size = false;
    u->pax_bytes = (size_t)size;
    u->padding = padding_of(size);
    u->state = UNTAR_PAX;
    u->have = 0;
    return 0;
}

static int take_header(struct untar *u, struct store_err *err)
{
    struct header h;
    uint64_t size;
    memcpy(&h, u->block, sizeof(h));
    if (is_zero(u->block, UNTAR_BLOCK)) {
        if (u->has_pax)
            return store_err_set(err, STORE_CORRUPT, "TAR: a pax header without a member");
        u->state = UNTAR_LAST;
        u->have = 0;
        return 0;
    }
    if (check_sum(&h, err) != 0)
        return -1;
    if (!parse_octal(h.size, sizeof(h.size), &size))
        return store_err_set(err, STORE_CORRUPT, "TAR: a size is not octal");
    if (h.typeflag == 'x')
        return begin_pax(u, size, err);
    if (h.typeflag != '0' && h.typeflag != '\0')
        return store_err_set(err, STORE_CORRUPT, "TAR: a member is %s; expected files only",
                             kind_of(h.typeflag));
    if (h.linkname[0])
        return store_err_set(err, STORE_CORRUPT, "TAR: a file names a link's target");
    return begin_member(u, &h, size, err);
}

/* ---- Pax records ---- */

static int take_record(struct untar *u, const char *key, size_t key_len, const char *value,
                       size_t n, struct store_err *err)
{
    static const char *const idle[] = {"mtime", "atime", "ctime"};
    char shown[SHOWN];
    bool is_path = key_len == 4 && memcmp(key, "path", 4) == 0;
    bool is_size = key_len == 4 && memcmp(key, "size", 4) == 0;
    for (size_t i = 0; i < LEN(idle); i++)
        if (key_len == strlen(idle[i]) && memcmp(key, idle[i], key_len) == 0)
            return 0;
    if (!is_path && !is_size)
        return store_err_set(err, STORE_CORRUPT, "TAR: a pax header says '%s'",
                             text_excerpt(key, key_len, shown, sizeof(shown)));
    if ((is_path && u->pax_has_path) || (is_size && u->pax_has_size))
        return store_err_set(err, STORE_CORRUPT, "TAR: a pax header says %.*s twice", (int)key_len,
                             key);
    if (is_size) {
        u->pax_has_size = true;
        if (!parse_u64(value, n, &u->pax_size))
            return store_err_set(err, STORE_CORRUPT, "TAR: a pax size is not a number");
        return 0;
    }
    if (n == 0 || n > PATH_MAX_BYTES || memchr(value, '\0', n))
        return store_err_set(err, STORE_CORRUPT,
                             "TAR: a pax path of %zu bytes; expected 1 to %d without NUL", n,
                             (int)PATH_MAX_BYTES);
    u->pax_has_path = true;
    memcpy(u->pax_path, value, n);
    u->pax_path[n] = '\0';
    return 0;
}

/* "<length> <key>=<value>\n", where the length counts all of it. */
static int take_records(struct untar *u, struct store_err *err)
{
    const char *at = (const char *)u->block, *end = at + u->pax_bytes;
    while (at < end) {
        uint64_t length;
        const char *blank = memchr(at, ' ', (size_t)(end - at));
        if (!blank || blank - at > 5 || !parse_u64(at, (size_t)(blank - at), &length) ||
            length > (uint64_t)(end - at) || at + length < blank + 3 || at[length - 1] != '\n')
            return store_err_set(err, STORE_CORRUPT, "TAR: a pax record is malformed");
        const char *key = blank + 1, *last = at + length - 1;
        const char *equals = memchr(key, '=', (size_t)(last - key));
        if (!equals)
            return store_err_set(err, STORE_CORRUPT, "TAR: a pax record has no '='");
        if (take_record(u, key, (size_t)(equals - key), equals + 1, (size_t)(last - equals - 1),
                        err) != 0)
            return -1;
        at += length;
    }
    u->state = u->padding ? UNTAR_PADDING : UNTAR_HEADER;
    u->have = 0;
    return 0;
}

/* ---- The stream ---- */

/* Gathers up to `want` bytes of a block. Whether it is full. */
static bool gather(struct untar *u, const unsigned char **bytes, size_t *n, size_t want)
{
    size_t part = want - u->have < *n ? want - u->have : *n;
    memcpy(u->block + u->have, *bytes, part);
    u->have += part;
    *bytes += part;
    *n -= part;
    return u->have == want;
}

static int take_data(struct untar *u, const unsigned char **bytes, size_t *n, struct store_err *err)
{
    size_t part = u->left < *n ? (size_t)u->left : *n;
    if (u->wanted && u->ops->data(u->user, *bytes, part, err) != 0)
        return -1;
    *bytes += part;
    *n -= part;
    u->left -= part;
    return u->left == 0 ? end_member(u, err) : 0;
}

static int take_zeros(struct untar *u, const unsigned char **bytes, size_t *n, size_t *left,
                      struct store_err *err)
{
    size_t part = left && *left < *n ? *left : *n;
    if (!is_zero(*bytes, part))
        return store_err_set(err, STORE_CORRUPT, "TAR: %s is not zero",
                             left ? "padding" : "what comes behind the end");
    *bytes += part;
    *n -= part;
    if (left && (*left -= part) == 0)
        u->state = UNTAR_HEADER;
    return 0;
}

static int take_last(struct untar *u, struct store_err *err)
{
    if (!is_zero(u->block, UNTAR_BLOCK))
        return store_err_set(err, STORE_CORRUPT, "TAR: only one block of zeros at the end");
    u->state = UNTAR_ENDED;
    return 0;
}

static int step(struct untar *u, const unsigned char **bytes, size_t *n, struct store_err *err)
{
    switch (u->state) {
    case UNTAR_HEADER: return gather(u, bytes, n, UNTAR_BLOCK) ? take_header(u, err) : 0;
    case UNTAR_PAX: return gather(u, bytes, n, u->pax_bytes) ? take_records(u, err) : 0;
    case UNTAR_DATA: return take_data(u, bytes, n, err);
    case UNTAR_PADDING: return take_zeros(u, bytes, n, &u->padding, err);
    case UNTAR_LAST: return gather(u, bytes, n, UNTAR_BLOCK) ? take_last(u, err) : 0;
    case UNTAR_ENDED: return take_zeros(u, bytes, n, NULL, err);
    case UNTAR_FAILED: break;
    }
    *err = u->err;
    return -1;
}

int untar_feed(struct untar *u, const void *bytes, size_t n, struct store_err *err)
{
    const unsigned char *at = bytes;
    while (n > 0)
        if (step(u, &at, &n, err) != 0) {
            u->state = UNTAR_FAILED;
            u->err = *err;
            return -1;
        }
    return 0;
}

int untar_end(struct untar *u, struct store_err *err)
{
    if (u->state == UNTAR_ENDED)
        return 0;
    if (u->state != UNTAR_FAILED) {
        store_err_set(&u->err, STORE_CORRUPT, "TAR: it ends before its end: it was cut");
        u->state = UNTAR_FAILED;
    }
    *err = u->err;
    return -1;
}
