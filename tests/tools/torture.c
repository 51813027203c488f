#include "tests/tools/torture.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/tools/faultline.h"

static char doing[200] = "setup";

void torture_doing(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(doing, sizeof(doing), fmt, args);
    va_end(args);
}

void torture_fail(const char *fmt, ...)
{
    va_list args;
    fprintf(stderr, "%s: ", doing);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    _Exit(1);
}

size_t torture_entries(const char *path)
{
    size_t n = 0;
    DIR *d = opendir(path);
    if (!d)
        torture_fail("cannot read %s", path);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

struct torture_use torture_use_now(void)
{
    return (struct torture_use){.fds = torture_entries("/proc/self/fd"),
                                .blocks = faultline_blocks()};
}

void torture_check_use(struct torture_use before)
{
    struct torture_use now = torture_use_now();
    if (now.fds != before.fds)
        torture_fail("%zu descriptors, before %zu", now.fds, before.fds);
    if (now.blocks != before.blocks)
        torture_fail("%ld blocks of memory, before %ld", now.blocks, before.blocks);
}
