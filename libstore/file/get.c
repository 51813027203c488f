/* get.c - GET and HEAD. The file is opened once: when the object is replaced meanwhile, the old
 * one is read to its end. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "libstore/checksum.h"
#include "libstore/file/file.h"

static int fail_open(const char *key, int e, struct store_err *err)
{
    if (e == ENOENT)
        return store_err_set(err, STORE_NOT_FOUND, "no object '%.200s'", key);
    /* A symbolic link or a file where a folder should be is no proof of absence. */
    return store_err_errno(err, e, "cannot open object '%.150s'", key);
}

int file_object_open(const struct file_store *fs, const char *key, struct file_record *r,
                     struct stat *st, struct store_err *err)
{
    char path[FILE_PATH_MAX];
    size_t dir_len;
    if (file_path_of_key(key, path, &dir_len) < 0)
        return fail_open(key, ENOENT, err);
    /* O_NONBLOCK: a FIFO that was planted there must not hold the thread. */
    int fd = file_open(fs, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return fail_open(key, errno, err);
    int rc;
    if (fstat(fd, st) < 0)
        rc = fail_open(key, errno, err);
    else if (!S_ISREG(st->st_mode))
        rc = store_err_set(err, STORE_FAILED, "object '%.150s': not a plain file", key);
    else
        rc = file_record_read(fd, st, r, err);
    if (rc == 0)
        return fd;
    close(fd);
    return -1;
}

int file_object_check_size(const char *key, const struct file_record *r, const struct stat *st,
                           struct store_err *err)
{
    if (r->size == (uint64_t)st->st_size)
        return 0;
    return store_err_set(err, STORE_CORRUPT,
                         "object '%.150s': the file has another size than was put", key);
}

/* Opens the file and fills the record and j->info. */
static int open_object(struct file_job *j)
{
    struct stat st;
    struct file_record *r = &j->u.get.record;
    j->fd = file_object_open(j->fs, j->op->key, r, &st, &j->err);
    if (j->fd < 0 || file_object_check_size(j->op->key, r, &st, &j->err) < 0)
        return -1;
    file_record_tell(r, &st, &j->info);
    return 0;
}

/* In the order of RFC 9110 section 13.2.2. */
static int check_conditions(struct file_job *j)
{
    const struct store_get_opts *o = &j->op->opts.get;
    const struct store_info *info = &j->info;
    if (o->if_match && strcmp(o->if_match, info->etag) != 0)
        return store_err_set(&j->err, STORE_PRECONDITION, "object '%.150s' has another ETag",
                             j->op->key);
    bool current = o->if_none_match
                       ? strcmp(o->if_none_match, info->etag) == 0
                       : o->if_modified_since_s && info->modified_s <= o->if_modified_since_s;
    if (current)
        return store_err_set(&j->err, STORE_NOT_MODIFIED, "object '%.150s' was not modified",
                             j->op->key);
    return 0;
}

/* As in HTTP, every range of an empty object starts behind its end. */
static int choose_range(struct file_job *j)
{
    const struct store_get_opts *o = &j->op->opts.get;
    uint64_t size = j->info.size;
    if ((o->offset || o->length) && o->offset >= size)
        return store_err_set(&j->err, STORE_BAD_RANGE,
                             "object '%.150s': the range starts behind its end", j->op->key);
    uint64_t rest = size - o->offset;
    j->info.offset = j->u.get.at = o->offset;
    j->info.length = j->u.get.left = o->length && o->length < rest ? o->length : rest;
    j->u.get.verify = j->info.length == size && j->info.checksum[0];
    return 0;
}

static int read_chunk(struct file_job *j)
{
    struct file_get *g = &j->u.get;
    size_t want = g->left < FILE_CHUNK ? (size_t)g->left : FILE_CHUNK;
    while (g->chunk_len < want) {
        ssize_t n = pread(j->fd, g->chunk + g->chunk_len, want - g->chunk_len, (off_t)g->at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return store_err_errno(&j->err, errno, "cannot read object '%.150s'", j->op->key);
        if (n == 0)
            return store_err_set(&j->err, STORE_CORRUPT, "object '%.150s': its file ends too early",
                                 j->op->key);
        g->crc = checksum_crc32c(g->crc, g->chunk + g->chunk_len, (size_t)n);
        g->chunk_len += (size_t)n;
        g->at += (uint64_t)n;
        g->left -= (uint64_t)n;
    }
    return 0;
}

/* Looked at before the last chunk is delivered: who gets all of an object gets the right one. */
static int check_sum(struct file_job *j)
{
    struct file_get *g = &j->u.get;
    char found[FILE_CHECKSUM_SIZE];
    if (!g->verify || g->left > 0)
        return 0;
    file_checksum_text(g->crc, found);
    if (strcmp(found, g->record.checksum) == 0)
        return 0;
    return store_err_set(&j->err, STORE_CORRUPT, "object '%.150s': %s instead of %s", j->op->key,
                         found, g->record.checksum);
}

static void run_read(struct file_job *j)
{
    if (file_canceled(j) || read_chunk(j) < 0 || check_sum(j) < 0 || j->u.get.left == 0)
        file_release(j);
}

static void run_open(struct file_job *j)
{
    struct file_get *g = &j->u.get;
    /* Read BEFORE the object is looked for: who finds nothing may rely on "there was nothing at
     * server_time_s or later", and sign uploads with that time. */
    j->info.server_time_s = clock_real_s();
    int rc = open_object(j);
    if (rc == 0 && j->op->kind == OP_GET && (rc = check_conditions(j)) == 0)
        rc = choose_range(j);
    if (rc < 0 || j->op->kind == OP_HEAD || g->left == 0) {
        if (rc == 0)
            check_sum(j); /* of nothing */
        file_release(j);
        return;
    }
    g->chunk = malloc(g->left < FILE_CHUNK ? (size_t)g->left : FILE_CHUNK);
    if (!g->chunk) {
        store_err_set(&j->err, STORE_NO_MEMORY, "out of memory");
        file_release(j);
        return;
    }
    run_read(j); /* small objects take one hand-over only */
}

static void deliver(struct file_job *j);

static void go_on(struct file_job *j)
{
    if (j->u.get.left == 0)
        file_end(j);
    else
        file_submit(j, run_read, deliver);
}

/* Hands the chunk out. The next one is read only afterwards: that bounds the memory, and a pause
 * needs nothing else. */
static void deliver(struct file_job *j)
{
    struct file_get *g = &j->u.get;
    if (j->err.code != STORE_OK || file_canceled(j) || j->op->kind == OP_HEAD) {
        file_end(j);
        return;
    }
    if (!g->told_head) {
        g->told_head = true;
        op_head(j->op, &j->info);
    }
    size_t n = g->chunk_len;
    g->chunk_len = 0;
    if (n > 0 && !op_data(j->op, g->chunk, n))
        j->turn = FILE_TURN_CALLER;
    else
        go_on(j);
}

void file_get_start(struct file_job *j)
{
    file_submit(j, run_open, deliver);
}

void file_get_resume(struct file_job *j)
{
    go_on(j);
}

void file_get_cleanup(struct file_job *j)
{
    free(j->u.get.chunk);
}
