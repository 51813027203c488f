/* pgdata_fixture.h - a folder as PGDATA for a test: PG_VERSION, global/pg_control, and the files
 * that a test writes. Removed by pgdata_end(). */
#ifndef TESTS_UNIT_PGDATA_FIXTURE_H
#define TESTS_UNIT_PGDATA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PGDATA_MAX_PATH = 4096 };

struct pgdata {
    char path[64];
};

static inline void pgdata_at(const struct pgdata *p, const char *name, char out[PGDATA_MAX_PATH])
{
    snprintf(out, PGDATA_MAX_PATH, "%s/%s", p->path, name);
}

static inline void pgdata_write(const struct pgdata *p, const char *name, const void *bytes,
                                size_t n)
{
    char path[PGDATA_MAX_PATH];
    pgdata_at(p, name, path);
    FILE *f = fopen(path, "wb");
    if (!f)
        fail_msg("%s: %s", path, strerror(errno));
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* The content as a text, or NULL: there is no such file. Static memory. */
static inline const char *pgdata_read(const struct pgdata *p, const char *name)
{
    static char text[1 << 16];
    char path[PGDATA_MAX_PATH];
    pgdata_at(p, name, path);
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

static inline void pgdata_folder(const struct pgdata *p, const char *name)
{
    char path[PGDATA_MAX_PATH];
    pgdata_at(p, name, path);
    assert_int_equal(mkdir(path, 0700), 0);
}

static inline void pgdata_control(const struct pgdata *p, uint64_t id, uint32_t version)
{
    char control[8192] = "";
    memcpy(control, &id, sizeof(id));
    memcpy(control + 8, &version, sizeof(version));
    pgdata_write(p, "global/pg_control", control, sizeof(control));
}

static inline void pgdata_begin(struct pgdata *p)
{
    strcpy(p->path, "/tmp/epufs-pgdata-XXXXXX");
    assert_non_null(mkdtemp(p->path));
    pgdata_folder(p, "global");
    pgdata_folder(p, "pg_stat");
    pgdata_write(p, "PG_VERSION", "15\n", 3);
    pgdata_control(p, 7000000000000000001, 1300);
}

static inline int pgdata_remove_one(const char *path, const struct stat *st, int kind,
                                    struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static inline void pgdata_end(const struct pgdata *p)
{
    assert_int_equal(nftw(p->path, pgdata_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

#endif
