/* copy.c - COPY: the source's bytes into a new object, by the cheapest way that the file system
 * offers. The source is opened once, so that its replacement meanwhile does no harm: what is copied
 * is the object that was there, with its description.
 *
 * What is copied by hand is compared with the checksum; what the kernel copies keeps the checksum
 * of its source, so that the next get will tell. */
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "libstore/file/file.h"

enum {
    STEP = 16 << 20,       /* bytes after which other jobs of the I/O thread get their turn */
    KERNEL_PIECE = 4 << 20 /* bytes between two looks at cancel and deadline */
};

/* ---- On the I/O threads ---- */

static int open_source(struct file_job *j)
{
    struct file_copy *c = &j->u.copy;
    const char *source = j->op->source, *if_match = j->op->opts.copy.if_match;
    struct stat st;
    c->from = file_object_open(j->fs, source, &c->record, &st, &j->err);
    if (c->from < 0 || file_object_check_size(source, &c->record, &st, &j->err) < 0)
        return -1;
    if (if_match && strcmp(if_match, c->record.etag) != 0)
        return store_err_set(&j->err, STORE_PRECONDITION, "copy of '%.150s': the ETag is another",
                             source);
    return 0;
}

/* The two share their blocks from now on, where the file system can (btrfs, XFS, bcachefs). */
static bool share_blocks(struct file_job *j)
{
    if (j->u.copy.record.size == 0 || ioctl(j->fd, FICLONE, j->u.copy.from) < 0)
        return false;
    j->draft.size = j->u.copy.record.size;
    return true;
}

static bool is_unable(int e)
{
    return e == ENOSYS || e == EOPNOTSUPP || e == EXDEV || e == EINVAL || e == EPERM ||
           e == ETXTBSY;
}

static int fail(struct file_job *j, int e)
{
    return store_err_errno(&j->err, e, "copy of '%.100s' to '%.100s'", j->op->source, j->op->key);
}

/* Copies some bytes inside the kernel; begins anew by hand when that cannot be done. */
static int copy_in_kernel(struct file_job *j)
{
    struct file_draft *d = &j->draft;
    uint64_t left = j->u.copy.record.size - d->size;
    off_t from = (off_t)d->size, to = from;
    ssize_t n = copy_file_range(j->u.copy.from, &from, j->fd, &to,
                                left < KERNEL_PIECE ? (size_t)left : KERNEL_PIECE, 0);
    if (n > 0) {
        d->size += (uint64_t)n;
        return 0;
    }
    if (n < 0 && errno == EINTR)
        return 0;
    if (n < 0 && !is_unable(errno))
        return fail(j, errno);
    /* 0: the file ends here, or so some file systems say; reading will show. */
    j->u.copy.by_hand = true;
    d->size = 0;
    return 0;
}

static int copy_by_hand(struct file_job *j)
{
    struct file_copy *c = &j->u.copy;
    uint64_t left = c->record.size - j->draft.size;
    if (!c->chunk && !(c->chunk = malloc(FILE_CHUNK)))
        return store_err_set(&j->err, STORE_NO_MEMORY, "out of memory");
    ssize_t n = pread(c->from, c->chunk, left < FILE_CHUNK ? (size_t)left : FILE_CHUNK,
                      (off_t)j->draft.size);
    if (n < 0)
        return errno == EINTR ? 0 : fail(j, errno);
    if (n == 0)
        return store_err_set(&j->err, STORE_CORRUPT, "object '%.150s': its file ends too early",
                             j->op->source);
    return file_draft_write(j, c->chunk, (size_t)n);
}

static bool is_complete(const struct file_job *j)
{
    return j->draft.size == j->u.copy.record.size;
}

static int copy_some(struct file_job *j)
{
    const uint64_t begin = j->draft.size;
    while (!is_complete(j) && j->draft.size - begin < STEP) {
        if (file_canceled(j))
            return -1;
        bool by_hand = j->u.copy.by_hand;
        if ((by_hand ? copy_by_hand(j) : copy_in_kernel(j)) < 0)
            return -1;
        if (by_hand != j->u.copy.by_hand)
            break; /* it begins anew */
    }
    return 0;
}

static int check_sum(struct file_job *j)
{
    struct file_draft *d = &j->draft;
    const char *expected = j->u.copy.record.checksum;
    if (!j->u.copy.by_hand || !expected[0])
        return 0;
    file_checksum_text(d->crc, d->checksum);
    if (strcmp(d->checksum, expected) == 0)
        return 0;
    return store_err_set(&j->err, STORE_CORRUPT, "object '%.150s': %s instead of %s", j->op->source,
                         d->checksum, expected);
}

/* Ends a step: with all bytes there the object is committed. */
static void after_bytes(struct file_job *j, int rc)
{
    if (rc == 0 && !is_complete(j))
        return;
    if (rc == 0 && check_sum(j) == 0)
        file_draft_commit(j, &j->u.copy.record);
    file_release(j);
}

static void run_copy(struct file_job *j)
{
    after_bytes(j, copy_some(j));
}

static void run_begin(struct file_job *j)
{
    /* Before the source is looked for, as in get.c. */
    j->info.server_time_s = clock_real_s();
    int rc = file_canceled(j) ? -1 : open_source(j);
    if (rc == 0)
        rc = file_draft_begin(j);
    if (rc == 0 && !share_blocks(j))
        rc = copy_some(j);
    after_bytes(j, rc);
}

/* ---- On the loop ---- */

static void go_on(struct file_job *j)
{
    if (j->err.code != STORE_OK || j->fd < 0)
        file_end(j);
    else
        file_submit(j, run_copy, go_on);
}

void file_copy_start(struct file_job *j)
{
    j->u.copy.from = -1;
    file_submit(j, run_begin, go_on);
}

void file_copy_cleanup(struct file_job *j)
{
    free(j->u.copy.chunk);
}
