/* driver.c - opening and closing of a folder, its I/O threads, and the way of a job between them
 * and the loop. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "libstore/file/file.h"

/* ---- Jobs ---- */

static void job_back(void *user)
{
    struct file_job *j = user;
    j->turn = FILE_TURN_LOOP;
    j->then(j);
}

/* Each loop has one job a round, so that a small removal need not wait for all the batches that a
 * large one has under way. */
static void await_round(struct file_store *fs, struct file_job *j)
{
    struct file_job **at = &fs->bulk;
    j->round = fs->round;
    for (const struct file_job *k = fs->bulk; k; k = k->next)
        if (k->op->loop == j->op->loop && k->round >= j->round)
            j->round = k->round + 1;
    while (*at && (*at)->round <= j->round)
        at = &(*at)->next;
    j->next = *at;
    *at = j;
}

static void append(struct file_store *fs, struct file_job *j)
{
    j->next = NULL;
    *fs->tail = j;
    fs->tail = &j->next;
}

void file_submit(struct file_job *j, void (*run)(struct file_job *),
                 void (*then)(struct file_job *))
{
    struct file_store *fs = j->fs;
    j->run = run;
    j->then = then;
    j->tried = true;
    j->turn = FILE_TURN_IO;
    pthread_mutex_lock(&fs->lock);
    if (j->op->bulk)
        await_round(fs, j);
    else
        append(fs, j);
    pthread_cond_signal(&fs->wake);
    pthread_mutex_unlock(&fs->lock);
}

bool file_canceled(struct file_job *j)
{
    /* Not the flag alone: the loop that sets it may be stuck in a caller's code. */
    if (clock_mono_ms() >= j->op->deadline_ms)
        store_err_set(&j->err, STORE_TIMEOUT, "%.150s: too slow", j->fs->root);
    else if (atomic_load(&j->canceled))
        store_err_set(&j->err, STORE_CANCELED, "stopped");
    else
        return false;
    return true;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static bool holds_files(const struct file_job *j)
{
    return j->fd >= 0 || j->draft.tmp[0] || (j->kind == OP_COPY && j->u.copy.from >= 0);
}

void file_release(struct file_job *j)
{
    close_fd(&j->fd);
    if (j->kind == OP_COPY)
        close_fd(&j->u.copy.from);
    if (j->draft.tmp[0])
        /* What stays is swept when it is a day old. */
        unlinkat(atomic_load(&j->fs->tmp_fd), j->draft.tmp, 0);
    j->draft.tmp[0] = '\0';
}

static void job_free(struct file_job *j)
{
    switch (j->kind) {
    case OP_GET:
    case OP_HEAD: file_get_cleanup(j); break;
    case OP_PUT: file_put_cleanup(j); break;
    case OP_COPY: file_copy_cleanup(j); break;
    case OP_LIST: file_list_cleanup(j); break;
    default: break;
    }
    EVP_MD_CTX_free(j->draft.hash);
    free(j);
}

/* Whether the disk failed, rather than the caller or who planted something in the tree. */
static bool is_disks_fault(const struct store_err *err)
{
    switch (err->code) {
    case STORE_BUSY:
    case STORE_TIMEOUT:
    case STORE_NO_SPACE:
    case STORE_CORRUPT: return true;
    case STORE_FAILED:
        return err->sys_errno != 0 && err->sys_errno != ELOOP && err->sys_errno != ENOTDIR &&
               err->sys_errno != EISDIR && err->sys_errno != ENAMETOOLONG;
    default: return false;
    }
}

void file_end(struct file_job *j)
{
    struct store_op *op = j->op;
    if (holds_files(j)) {
        file_submit(j, file_release, file_end);
        return;
    }
    if (j->err.code != STORE_OK)
        j->info = (struct store_info){.server_time_s = j->info.server_time_s};
    if (j->tried)
        health_tried(j->fs->health, clock_mono_ms(), is_disks_fault(&j->err));
    op->driver_op = NULL;
    op_finish(op, &j->err, &j->info);
    job_free(j);
}

static void driver_start(void *state, struct store_op *op)
{
    struct file_job *j = calloc(1, sizeof(*j));
    if (!j) {
        struct store_err err;
        store_err_set(&err, STORE_NO_MEMORY, "out of memory");
        op_finish(op, &err, NULL);
        return;
    }
    j->fs = state;
    j->op = op;
    j->kind = op->kind;
    j->back = (struct loop_task){.fn = job_back, .user = j};
    j->turn = FILE_TURN_LOOP;
    j->fd = -1;
    op->driver_op = j;
    switch (j->kind) {
    case OP_GET:
    case OP_HEAD: file_get_start(j); break;
    case OP_PUT: file_put_start(j); break;
    case OP_LIST: file_list_start(j); break;
    case OP_DELETE:
    case OP_DELETE_MANY: file_remove_start(j); break;
    case OP_COPY: file_copy_start(j); break;
    case OP_DELETE_PREFIX: assert(false); break; /* purge.c makes it of the others */
    }
}

static void driver_resume(void *state, struct store_op *op)
{
    struct file_job *j = op->driver_op;
    (void)state;
    if (!j || j->turn != FILE_TURN_CALLER)
        return;
    j->turn = FILE_TURN_LOOP;
    if (op->kind == OP_PUT)
        file_put_resume(j);
    else
        file_get_resume(j);
}

static void driver_cancel(void *state, struct store_op *op)
{
    struct file_job *j = op->driver_op;
    (void)state;
    if (!j)
        return;
    atomic_store(&j->canceled, true);
    if (j->turn != FILE_TURN_CALLER)
        return; /* whoever has the job sees the flag */
    j->turn = FILE_TURN_LOOP;
    store_err_set(&j->err, STORE_CANCELED, "stopped");
    file_end(j);
}

/* ---- Threads ---- */

static struct file_job *take_bulk(struct file_store *fs)
{
    struct file_job *j = fs->bulk;
    fs->bulk = j->next;
    fs->round = j->round;
    fs->bulk_running++;
    return j;
}

static struct file_job *take_first(struct file_store *fs)
{
    struct file_job *j = fs->head;
    if (!j)
        return NULL;
    fs->head = j->next;
    if (!fs->head)
        fs->tail = &fs->head;
    return j;
}

/* Both kinds by turns, while both wait; NULL: there is none to take. */
static struct file_job *take(struct file_store *fs)
{
    bool may = fs->bulk && fs->bulk_running < fs->max_bulk;
    fs->took_bulk = may && (!fs->head || !fs->took_bulk);
    return fs->took_bulk ? take_bulk(fs) : take_first(fs);
}

static struct file_job *next_job(struct file_store *fs)
{
    struct file_job *j;
    pthread_mutex_lock(&fs->lock);
    while (!(j = take(fs)) && !fs->stopping)
        pthread_cond_wait(&fs->wake, &fs->lock);
    pthread_mutex_unlock(&fs->lock);
    return j;
}

static void bulk_done(struct file_store *fs)
{
    pthread_mutex_lock(&fs->lock);
    fs->bulk_running--;
    pthread_mutex_unlock(&fs->lock);
}

static void *io_thread(void *arg)
{
    struct file_store *fs = arg;
    for (struct file_job *j; (j = next_job(fs));) {
        bool bulk = j->op->bulk; /* the loop may end the job as soon as it has it */
        j->run(j);
        loop_post(j->op->loop, &j->back);
        if (bulk)
            bulk_done(fs);
    }
    return NULL;
}

static int start_threads(struct file_store *fs, size_t n, struct store_err *err)
{
    fs->threads = calloc(n, sizeof(*fs->threads));
    if (!fs->threads)
        return store_err_set(err, STORE_NO_MEMORY, "out of memory");
    sigset_t all, before;
    sigfillset(&all); /* signals are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = 0;
    while (rc == 0 && fs->n_threads < n) {
        rc = pthread_create(&fs->threads[fs->n_threads], NULL, io_thread, fs);
        if (rc == 0)
            fs->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? 0 : store_err_errno(err, rc, "%s: cannot start a thread", fs->root);
}

static void stop_threads(struct file_store *fs)
{
    pthread_mutex_lock(&fs->lock);
    fs->stopping = true;
    pthread_cond_broadcast(&fs->wake);
    pthread_mutex_unlock(&fs->lock);
    for (size_t i = 0; i < fs->n_threads; i++)
        pthread_join(fs->threads[i], NULL);
    assert(!fs->head && !fs->bulk);
    free(fs->threads);
}

/* ---- Opening ---- */

/* "/a/folder//" to "/a/folder". */
static int parse_root(const char *rest, char **root, struct store_err *err)
{
    size_t n = strlen(rest);
    while (n > 1 && rest[n - 1] == '/')
        n--;
    if (rest[0] != '/' || n == 1)
        return store_err_set(err, STORE_INVALID,
                             "store URL 'file://%.180s': expected file:///absolute/folder", rest);
    *root = strndup(rest, n);
    return *root ? 0 : store_err_set(err, STORE_NO_MEMORY, "out of memory");
}

static void sync_parent_of(const char *root)
{
    char *parent = strdup(root);
    if (!parent)
        return;
    char *slash = strrchr(parent, '/');
    slash[slash == parent ? 1 : 0] = '\0';
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        file_sync_dir(fd);
        close(fd);
    }
    free(parent);
}

/* mkdir() may refuse for other reasons what exists already, such as a read-only file system. */
static int make_root(const struct file_store *fs, struct store_err *err)
{
    if (mkdir(fs->root, FILE_DIR_MODE) == 0) {
        sync_parent_of(fs->root);
        return 0;
    }
    int e = errno;
    if (e == ENOENT || e == ENOTDIR)
        return store_err_set(err, STORE_INVALID, "%.200s: the folder above it does not exist",
                             fs->root);
    if (e != EEXIST && access(fs->root, F_OK) != 0)
        return store_err_errno(err, e, "cannot create %.200s", fs->root);
    return 0;
}

static int open_root(struct file_store *fs, struct store_err *err)
{
    if (make_root(fs, err) < 0)
        return -1;
    fs->root_fd = open(fs->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fs->root_fd < 0 && errno == ENOTDIR)
        return store_err_set(err, STORE_INVALID, "%.200s: not a folder", fs->root);
    if (fs->root_fd < 0)
        return store_err_errno(err, errno, "cannot open %.200s", fs->root);
    return 0;
}

/* The store's own file and folder. Who may not make them may read all the same, and puts and
 * deletes try again. */
static int open_own(struct file_store *fs, struct store_err *err)
{
    int fd =
        openat(fs->root_fd, FILE_LOCK_NAME,
               O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, FILE_OBJECT_MODE);
    if (fd < 0 && !file_is_read_only(errno))
        return store_err_errno(err, errno, "%.200s: cannot open %s", fs->root, FILE_LOCK_NAME);
    if (fd >= 0)
        close(fd);
    struct store_err why = {.code = STORE_OK};
    if (file_tmp_open(fs, &why) == 0 || why.code == STORE_DENIED)
        return 0;
    *err = why;
    return -1;
}

/* No two stores that are open have the same, on whichever machine. */
static uint64_t make_tag(void)
{
    uint64_t tag;
    if (getrandom(&tag, sizeof(tag), GRND_NONBLOCK) != (ssize_t)sizeof(tag))
        tag = clock_real_ms() << 24 ^ clock_mono_ms() << 48 ^ (uint64_t)getpid();
    return tag;
}

static void driver_close(void *state)
{
    struct file_store *fs = state;
    stop_threads(fs);
    if (atomic_load(&fs->tmp_fd) >= 0)
        close(atomic_load(&fs->tmp_fd));
    if (fs->root_fd >= 0)
        close(fs->root_fd);
    pthread_cond_destroy(&fs->wake);
    pthread_mutex_destroy(&fs->lock);
    pthread_mutex_destroy(&fs->tmp_lock);
    free(fs->root);
    free(fs);
}

static size_t driver_max_key(const void *state)
{
    (void)state;
    return STORE_MAX_KEY;
}

static int driver_open(const char *rest, const struct store_conf *conf, struct health *health,
                       void **out, struct store_err *err)
{
    size_t n_threads = conf->io_threads ? conf->io_threads : FILE_DEFAULT_THREADS;
    if (n_threads > FILE_MAX_THREADS)
        return store_err_set(err, STORE_INVALID, "%zu I/O threads: expected up to %d", n_threads,
                             FILE_MAX_THREADS);
    struct file_store *fs = calloc(1, sizeof(*fs));
    if (!fs)
        return store_err_set(err, STORE_NO_MEMORY, "out of memory");
    fs->health = health;
    fs->root_fd = -1;
    atomic_init(&fs->tmp_fd, -1);
    fs->tmp_tag = make_tag();
    fs->tail = &fs->head;
    fs->max_bulk = n_threads > 1 ? n_threads - (n_threads + 3) / 4 : 1;
    pthread_mutex_init(&fs->lock, NULL);
    pthread_mutex_init(&fs->tmp_lock, NULL);
    pthread_cond_init(&fs->wake, NULL);
    if (parse_root(rest, &fs->root, err) == 0 && open_root(fs, err) == 0 &&
        open_own(fs, err) == 0 && start_threads(fs, n_threads, err) == 0) {
        *out = fs;
        return 0;
    }
    driver_close(fs);
    return -1;
}

const struct driver file_driver = {
    .scheme = "file",
    .open = driver_open,
    .close = driver_close,
    .max_key = driver_max_key,
    .start = driver_start,
    .resume = driver_resume,
    .cancel = driver_cancel,
};
