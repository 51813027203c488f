#include "compute/pgfiles.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/xalloc.h"

enum { MIB = 1024 * 1024, PIECE = 64 * 1024, MAX_LINE = 64, PG_CONTROL_BYTES = 8192 };

/* ---- Reading ---- */

/* Up to n bytes from an offset; -1 with *err set. */
static ssize_t read_at(int fd, void *out, size_t n, uint64_t offset, struct store_err *err)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = pread(fd, (char *)out + have, n - have, (off_t)(offset + have));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return store_err_errno(err, errno, "cannot read");
        if (got == 0)
            break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

/* Exactly n bytes, or STORE_CORRUPT. */
static int read_all_at(int fd, void *out, size_t n, uint64_t offset, struct store_err *err)
{
    ssize_t got = read_at(fd, out, n, offset, err);
    if (got < 0)
        return -1;
    return (size_t)got == n ? 0 : store_err_set(err, STORE_CORRUPT, "it is too short");
}

/* ---- The cluster ---- */

static int read_file_in(int pgdata, const char *folder, const char *name, void *out, size_t n,
                        struct store_err *err)
{
    ssize_t got = -1;
    int at = folder ? openat(pgdata, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    int fd = folder && at < 0
                 ? -1
                 : openat(folder ? at : pgdata, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        store_err_errno(err, errno, "cannot open %s%s%s", folder ? folder : "", folder ? "/" : "",
                        name);
    else
        got = read_at(fd, out, n, 0, err);
    if (fd >= 0)
        close(fd);
    if (at >= 0)
        close(at);
    return (int)got;
}

/* "15\n"; "9.6\n" is too old for all that is done here. */
static int read_version(int pgdata, unsigned *major, struct store_err *err)
{
    char text[16] = "", shown[20];
    uint64_t v = 0;
    int n = read_file_in(pgdata, NULL, "PG_VERSION", text, sizeof(text) - 1, err);
    if (n < 0)
        return -1;
    size_t len = strcspn(text, "\n");
    if (!parse_u64(text, len, &v) || v < 10 || v > 999)
        return store_err_set(err, STORE_INVALID,
                             "PG_VERSION says '%s'; expected a major version from 10 on",
                             text_excerpt(text, len, shown, sizeof(shown)));
    *major = (unsigned)v;
    return 0;
}

/* pg_control begins with the system identifier, 8 bytes, and its own version, 4 bytes: 1100, 1201,
 * 1300 … A version whose lower half is zero is one of the other byte order. */
static int read_control(int pgdata, uint64_t *system_identifier, struct store_err *err)
{
    struct {
        uint64_t system_identifier;
        uint32_t version;
    } head = {0};
    unsigned char whole[PG_CONTROL_BYTES];
    int n = read_file_in(pgdata, "global", "pg_control", whole, sizeof(whole), err);
    if (n < 0)
        return -1;
    memcpy(&head.system_identifier, whole, sizeof(head.system_identifier));
    memcpy(&head.version, whole + 8, sizeof(head.version));
    if (n != PG_CONTROL_BYTES || head.version < 900 || head.version > 9999 ||
        !head.system_identifier)
        return store_err_set(err, STORE_INVALID,
                             "global/pg_control has %d bytes and version %u; expected %d bytes and "
                             "a version such as 1300, in this machine's byte order",
                             n, (unsigned)head.version, (int)PG_CONTROL_BYTES);
    *system_identifier = head.system_identifier;
    return 0;
}

int pgfiles_cluster(int pgdata, struct cluster *out, struct store_err *err)
{
    struct store_err cause;
    if (read_version(pgdata, &out->major, &cause) == 0 &&
        read_control(pgdata, &out->system_identifier, &cause) == 0)
        return 0;
    return store_err_set(err, STORE_INVALID, "pgdata is no PostgreSQL cluster: %s", cause.msg);
}

int pgfiles_cluster_at(const char *pgdata, struct cluster *out, struct store_err *err)
{
    int fd = open(pgdata, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return store_err_errno(err, errno, "pgdata: cannot open the folder '%s'", pgdata);
    int failed = pgfiles_cluster(fd, out, err);
    close(fd);
    return failed;
}

/* ---- autoprewarm.blocks: "<<N>>", then N lines "database,tablespace,file,fork,block" ---- */

/* Five numbers of 32 bits. */
static bool is_block_line(const char *line, size_t n)
{
    for (int field = 0; field < 5; field++) {
        uint64_t v;
        const char *comma = field < 4 ? memchr(line, ',', n) : line + n;
        size_t len = comma ? (size_t)(comma - line) : 0;
        if (!comma || len > 10 || !parse_u64(line, len, &v) || v > UINT32_MAX)
            return false;
        size_t used = field < 4 ? len + 1 : len;
        line += used;
        n -= used;
    }
    return true;
}

struct lines {
    uint64_t promised, found;
    bool has_head;
};

static int take_line(struct lines *l, const char *line, size_t n, struct store_err *err)
{
    if (l->has_head) {
        l->found++;
        return is_block_line(line, n)
                   ? 0
                   : store_err_set(err, STORE_CORRUPT, "line %llu is not five numbers",
                                   (unsigned long long)l->found + 1);
    }
    l->has_head = true;
    if (n > 4 && n < 16 && memcmp(line, "<<", 2) == 0 && memcmp(line + n - 2, ">>", 2) == 0 &&
        parse_u64(line + 2, n - 4, &l->promised))
        return 0;
    return store_err_set(err, STORE_CORRUPT, "it does not begin with the number of its blocks");
}

/* All whole lines of a piece. Returns how many bytes they were, or -1. */
static ssize_t take_lines(struct lines *l, const char *piece, size_t n, struct store_err *err)
{
    const char *at = piece;
    for (const char *end; (end = memchr(at, '\n', n - (size_t)(at - piece))); at = end + 1)
        if (take_line(l, at, (size_t)(end - at), err) != 0)
            return -1;
    if (n - (size_t)(at - piece) > MAX_LINE)
        return store_err_set(err, STORE_CORRUPT, "it has a line that is too long");
    return at - piece;
}

static int check_autoprewarm(int fd, uint64_t size, const struct cluster *c, struct store_err *err)
{
    struct lines l = {0};
    char *piece = xmalloc(PIECE);
    uint64_t at = 0;
    ssize_t used = 0;
    (void)c;
    while (at < size) {
        size_t want = size - at < PIECE ? (size_t)(size - at) : PIECE;
        ssize_t n = read_at(fd, piece, want, at, err);
        used = n < 0 ? -1 : take_lines(&l, piece, (size_t)n, err);
        if (used <= 0)
            break;
        at += (uint64_t)used;
    }
    free(piece);
    if (used < 0)
        return -1;
    if (!l.has_head || at < size)
        return store_err_set(err, STORE_CORRUPT, "it ends within a line");
    if (l.found != l.promised)
        return store_err_set(err, STORE_CORRUPT, "it promises %llu blocks and has %llu",
                             (unsigned long long)l.promised, (unsigned long long)l.found);
    return 0;
}

/* ---- pg_stat/pg_stat_statements.stat: a magic number, the version, how many entries ---- */

/* The magic number is a date in hexadecimal digits, 0x20220408. */
static bool is_date(uint32_t magic)
{
    unsigned month = magic >> 8 & 0xff, day = magic & 0xff;
    return magic >> 24 == 0x20 && month >= 0x01 && month <= 0x12 && day >= 0x01 && day <= 0x31;
}

static int check_statements(int fd, uint64_t size, const struct cluster *c, struct store_err *err)
{
    struct {
        uint32_t magic, version;
        int32_t entries;
    } head;
    if (read_all_at(fd, &head, sizeof(head), 0, err) != 0)
        return -1;
    if (!is_date(head.magic) || head.entries < 0 || (uint64_t)head.entries > size / 16)
        return store_err_set(err, STORE_CORRUPT, "it does not begin as pg_stat_statements' files");
    if (head.version != c->major * 100)
        return store_err_set(err, STORE_CORRUPT, "it is of version %u; the cluster is of %u",
                             (unsigned)head.version / 100, c->major);
    return 0;
}

/* ---- pg_stat/pgstat.stat and its like: a format's number, and 'E' at the end ---- */

static int check_pgstat(int fd, uint64_t size, const struct cluster *c, struct store_err *err)
{
    uint32_t format;
    char last;
    if (read_all_at(fd, &format, sizeof(format), 0, err) != 0 ||
        read_all_at(fd, &last, 1, size - 1, err) != 0)
        return -1;
    /* The number of 15 is known; other versions count up in the last byte. */
    bool known = c->major == 15 ? format == 0x01A5BCA7 : (format & 0xffffff00) == 0x01A5BC00;
    if (!known || last != 'E')
        return store_err_set(err, STORE_CORRUPT,
                             "it is not as version %u's server writes its statistics", c->major);
    return 0;
}

/* ---- lfc_state: what Neon's local file cache held, bare or compressed with zstd ---- */

static int check_lfc(int fd, uint64_t size, const struct cluster *c, struct store_err *err)
{
    static const uint32_t STATE = 0xfcfcfcfc, ZSTD = 0xFD2FB528;
    static const uint64_t TAG_BYTES = 20; /* of each chunk that the second number counts */
    uint32_t head[2];
    (void)c;
    if (read_all_at(fd, head, sizeof(head), 0, err) != 0)
        return -1;
    if (head[0] == ZSTD || (head[0] == STATE && head[1] <= size / TAG_BYTES))
        return 0;
    return store_err_set(err, STORE_CORRUPT, "it does not begin as a file cache's state");
}

/* ---- The table ---- */

const struct pgfile pgfiles[] = {
    {"autoprewarm.blocks", 100 * MIB, 11, 0, "pg_prewarm's list of blocks", check_autoprewarm},
    {"lfc_state", 100 * MIB, 14, 0, "the state of Neon's local file cache", check_lfc},
    {"pg_stat/pg_stat_statements.stat", 100 * MIB, 10, 0, "pg_stat_statements' statements",
     check_statements},
    {"pg_stat/pgstat.stat", 100 * MIB, 15, 0, "the server's cumulative statistics", check_pgstat},
    {"pg_stat/global.stat", 100 * MIB, 10, 14, "the server's statistics", check_pgstat},
    {"pg_stat/db_*.stat", 100 * MIB, 10, 14, "a database's statistics", check_pgstat},
    {"pg_stat/*.stat", 100 * MIB, 0, 0, "an extension's statistics", NULL},
    {.pattern = NULL},
};

const struct pgfile *pgfiles_find(const char *path)
{
    for (const struct pgfile *f = pgfiles; f->pattern; f++)
        if (fnmatch(f->pattern, path, FNM_PATHNAME | FNM_PERIOD) == 0)
            return f;
    return NULL;
}

int pgfiles_check(const struct pgfile *f, int fd, uint64_t size, const struct cluster *c,
                  struct store_err *err)
{
    if (size > f->max_bytes)
        return store_err_set(err, STORE_INVALID, "it has %llu bytes; up to %llu are taken",
                             (unsigned long long)size, (unsigned long long)f->max_bytes);
    if ((f->since && c->major < f->since) || (f->until && c->major > f->until))
        return store_err_set(err, STORE_INVALID, "version %u does not write such a file", c->major);
    if (!f->check)
        return 0;
    if (size == 0)
        return store_err_set(err, STORE_CORRUPT, "it is empty; expected %s", f->what);
    return f->check(fd, size, c, err);
}
