/* remove.c - DELETE and DELETE_MANY. The keys are taken folder by folder, so that each folder is
 * opened and synced once.
 *
 * A key is removed under its lock, shared, so that it never goes between the comparison and the
 * rename of a put with if_match: else that would bring back what is gone. But no delete waits long
 * for that put, which may be one of a process that was stopped. Then it does without the lock:
 *
 *     unlink the object; remove the temporary files of that key's puts with if_match; unlink again;
 *     and so on until there was nothing to unlink.
 *
 * Any such put that compared before the last unlink has lost its file, and fails, or had renamed,
 * and its object was unlinked. So when a delete has ended nothing that was compared before comes
 * back, lock or no lock. What is weaker without is for readers, and only while the delete is under
 * way: they may see nothing, then that put's object, and then nothing again. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "libstore/file/file.h"

/* For locked keys, of a whole batch: who compares and renames needs them for less than that. */
enum { PATIENCE_MS = 500 };

struct batch {
    struct file_job *j;
    int lock_fd;               /* -1: not opened yet */
    uint64_t patient_until_ms; /* on the monotonic clock; 0: no key was locked yet */
    size_t n_failed;
    struct store_err first; /* the first failure */

    /* The folder at hand. */
    char dir[FILE_PATH_MAX];
    size_t dir_len;
    int dir_fd;            /* -1: it does not exist */
    size_t n_gone;         /* names removed from it, not synced yet */
    const char *first_key; /* the first of them */
};

static void failed(struct batch *b, size_t n)
{
    if (b->n_failed == 0)
        b->first = b->j->err;
    b->n_failed += n;
    b->j->err = (struct store_err){.code = STORE_OK};
}

static void leave_folder(struct batch *b)
{
    if (b->n_gone && file_sync_dir(b->dir_fd) < 0) {
        store_err_errno(&b->j->err, errno, "delete '%.150s': cannot sync its folder", b->first_key);
        failed(b, b->n_gone);
    }
    if (b->dir_fd >= 0)
        close(b->dir_fd);
    b->dir_fd = -1;
    b->n_gone = 0;
    /* Also when nothing was removed: a crash may have left empty folders behind. */
    file_prune_dirs(b->j->fs, b->dir, b->dir_len);
    b->dir_len = 0;
}

static int enter_folder(struct batch *b, const char *path, size_t dir_len)
{
    memcpy(b->dir, path, dir_len);
    b->dir[dir_len] = '\0';
    b->dir_len = dir_len;
    b->dir_fd = file_open(b->j->fs, b->dir, O_RDONLY | O_DIRECTORY);
    return b->dir_fd >= 0 || errno == ENOENT ? 0 : -1;
}

/* 1, 0 when it does without, or -1. */
static int lock_key(struct batch *b, uint64_t key_hash)
{
    struct file_job *j = b->j;
    if (b->lock_fd < 0)
        b->lock_fd = file_lock_open(j, F_RDLCK);
    if (b->lock_fd < 0)
        return -1;
    int locked = file_lock(j, b->lock_fd, key_hash, F_RDLCK, b->patient_until_ms);
    if (locked != 0 || b->patient_until_ms)
        return locked;
    b->patient_until_ms = clock_mono_ms() + PATIENCE_MS;
    return file_lock(j, b->lock_fd, key_hash, F_RDLCK, b->patient_until_ms);
}

/* Returns 1, 0 when there is none, or -1. */
static int unlink_object(struct batch *b, const char *key, const char *name)
{
    if (unlinkat(b->dir_fd, name, 0) < 0)
        return errno == ENOENT ? 0 : store_err_errno(&b->j->err, errno, "delete '%.150s'", key);
    if (b->n_gone++ == 0)
        b->first_key = key;
    return 1;
}

/* See above. */
static int remove_unlocked(struct batch *b, const char *key, const char *name, uint64_t key_hash)
{
    int gone = unlink_object(b, key, name);
    do {
        if (gone < 0 || file_canceled(b->j) || file_tmp_revoke(b->j, key_hash) < 0)
            return -1;
        gone = unlink_object(b, key, name);
    } while (gone != 0);
    return 0;
}

static int remove_name(struct batch *b, const char *key, const char *name)
{
    uint64_t key_hash;
    if (file_key_hash(key, &key_hash, &b->j->err) < 0)
        return -1;
    int locked = lock_key(b, key_hash);
    if (locked < 0)
        return -1;
    if (!locked)
        return remove_unlocked(b, key, name, key_hash);
    int gone = unlink_object(b, key, name);
    file_unlock(b->lock_fd, key_hash);
    return gone < 0 ? -1 : 0;
}

static int remove_key(struct batch *b, const char *key, bool *entered)
{
    char path[FILE_PATH_MAX];
    size_t dir_len;
    if (file_path_of_key(key, path, &dir_len) < 0)
        return 0; /* no object can have that key, so there is none */
    if (*entered && (dir_len != b->dir_len || memcmp(path, b->dir, dir_len) != 0)) {
        leave_folder(b);
        *entered = false;
    }
    if (!*entered && enter_folder(b, path, dir_len) < 0) {
        b->dir_len = 0;
        return store_err_errno(&b->j->err, errno, "delete '%.150s': cannot open its folder", key);
    }
    *entered = true;
    return b->dir_fd < 0 ? 0 : remove_name(b, key, dir_len ? path + dir_len + 1 : path);
}

static void remove_all(struct file_job *j, char **keys, size_t n)
{
    struct batch b = {.j = j, .lock_fd = -1, .dir_fd = -1};
    bool entered = false;
    for (size_t i = 0; i < n && !file_canceled(j); i++)
        if (remove_key(&b, keys[i], &entered) < 0)
            failed(&b, 1);
    struct store_err stopped = j->err;
    if (entered)
        leave_folder(&b);
    if (b.lock_fd >= 0)
        close(b.lock_fd);
    if (stopped.code != STORE_OK)
        j->err = stopped;
    else if (b.n_failed > 0 && n == 1)
        j->err = b.first;
    else if (b.n_failed > 0) {
        store_err_set(&j->err, b.first.code, "%zu of %zu: %.200s", b.n_failed, n, b.first.msg);
        j->err.sys_errno = b.first.sys_errno;
    }
}

/* By folder, then by name. */
static int compare_keys(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    const char *x_slash = strrchr(x, '/'), *y_slash = strrchr(y, '/');
    size_t x_len = x_slash ? (size_t)(x_slash - x) : 0;
    size_t y_len = y_slash ? (size_t)(y_slash - y) : 0;
    int c = memcmp(x, y, x_len < y_len ? x_len : y_len);
    if (c != 0)
        return c;
    if (x_len != y_len)
        return x_len < y_len ? -1 : 1;
    return strcmp(x + x_len, y + y_len);
}

/* Whether the batch's i-th entry is an object. There are no other versions and no uploads, so none
 * of them is left. */
static bool is_object(const struct store_op *op, size_t i)
{
    if (op->listed == STORE_LIST_UPLOADS)
        return false;
    return !op->versions || !op->versions[i] || !op->versions[i][0];
}

static void remove_batch(struct file_job *j)
{
    const struct store_op *op = j->op;
    size_t n = 0;
    char **keys = malloc(op->n_keys * sizeof(*keys));
    if (!keys) {
        store_err_set(&j->err, STORE_NO_MEMORY, "out of memory");
        return;
    }
    for (size_t i = 0; i < op->n_keys; i++)
        if (is_object(op, i))
            keys[n++] = op->keys[i];
    qsort(keys, n, sizeof(*keys), compare_keys);
    remove_all(j, keys, n);
    free(keys);
}

static void run_remove(struct file_job *j)
{
    if (j->op->kind == OP_DELETE)
        remove_all(j, &j->op->key, 1);
    else
        remove_batch(j);
    j->info.server_time_s = clock_real_s();
}

void file_remove_start(struct file_job *j)
{
    file_submit(j, run_remove, file_end);
}
