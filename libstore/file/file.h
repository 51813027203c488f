/* file.h - the folder driver from inside.
 *
 * What is on disk, below the root:
 *     lock%s           taken with flock(): see file_lock() below
 *     tmp%s/           bodies under way; leftovers older than a day go when a store is opened
 *     a/b/c%o          the object "a/b/c"; path.c has the rules of the names
 * An object's description (ETag, type, metadata) is in an extended attribute of its file; see
 * record.c.
 *
 * Who runs what: a job is one operation, and it is touched by one thread at a time. `turn` says
 * whose it is: the I/O threads' between file_submit() and the call of `then`, otherwise the
 * loop's. Only `canceled` is shared.
 *
 * Limits worth knowing: processes that share a folder must share a clock and a kernel (or a
 * network file system with working flock()), since an upload's expiry rests on both. */
#ifndef LIBSTORE_FILE_FILE_H
#define LIBSTORE_FILE_FILE_H

#include <openssl/types.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "libstore/driver.h"

enum {
    FILE_CHUNK = 64 * 1024, /* bytes of a body that an operation holds at most */
    FILE_PIECE = 253,       /* a longer part of a key is cut every so many bytes */
    FILE_PATH_MAX = 2048,   /* the longest path of a key (about 1750) with its NUL */
    FILE_RECORD_MAX = 3072, /* the attribute's bytes */
    FILE_DEFAULT_THREADS = 4,
    FILE_MAX_THREADS = 256,
    FILE_DIR_MODE = 0750,
    FILE_OBJECT_MODE = 0640,
};

#define FILE_TMP_NAME   "tmp%s"
#define FILE_LOCK_NAME  "lock%s"
#define FILE_XATTR_NAME "user.store"

/* ---- path.c: keys and names; pure ---- */

enum file_kind {
    FILE_OBJECT,
    FILE_FOLDER,
    FILE_LONG,    /* a folder for names that begin with these FILE_PIECE bytes */
    FILE_FOREIGN, /* nothing of ours */
};

/* The path of key's file, relative to the root. *dir_len: the bytes of its folder's path, 0 for
 * the root. Returns the length, or -1 when no object can have that key. */
ssize_t file_path_of_key(const char *key, char path[FILE_PATH_MAX], size_t *dir_len);
/* The deepest folder that holds every key with this prefix. *covered: how many bytes of the prefix
 * the folder stands for; *in_long: the folder is a FILE_LONG. Returns the path's length (0: the
 * root), or -1 when no key can have that prefix. */
ssize_t file_path_of_prefix(const char *prefix, char path[FILE_PATH_MAX], size_t *covered,
                            bool *in_long);
/* What a name in a folder stands for; the first *piece_len bytes of it are the part of the key. */
enum file_kind file_name_decode(const char *name, bool in_long, size_t *piece_len);
/* The way back, for one name: appends to path, which has `at` bytes. Returns the new length. */
size_t file_name_encode(char path[FILE_PATH_MAX], size_t at, const char *piece, size_t piece_len,
                        enum file_kind kind);

/* ---- record.c: what is known of an object besides its bytes ---- */

struct file_record {
    char text[FILE_RECORD_MAX + 1]; /* what the pointers below point into */
    char derived_etag[64];
    const char *etag;
    const char *content_type;
    struct store_meta meta[STORE_MAX_META];
    size_t n_meta;
    uint64_t size; /* as it was put */
    bool stored;   /* false: the file has no attribute */
};

/* Reads the attribute of an open file. A file without one gets an ETag of inode, time and size.
 * Returns -1 with *err set. */
int file_record_read(int fd, const struct stat *st, struct file_record *r, struct store_err *err);
/* Takes apart the attribute's bytes, which are in r->text. False: not ours, or damaged. */
bool file_record_parse(struct file_record *r, size_t len);
/* Writes the attribute. */
int file_record_write(int fd, const struct store_op *op, const char *etag, struct store_err *err);

/* ---- The store and its jobs ---- */

struct file_job;

struct file_store {
    /* Constant after open. */
    char *root;
    int root_fd;
    int tmp_fd;       /* -1: the folder is read-only for us */
    bool has_openat2; /* false: components are opened one by one */
    bool has_xattrs;  /* false: puts with metadata are refused */
    pthread_t *threads;
    size_t n_threads;

    atomic_uint_fast64_t tmp_serial;

    /* Under lock. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct file_job *head, **tail; /* waiting for an I/O thread */
    bool stopping;
};

enum file_turn {
    FILE_TURN_IO,     /* an I/O thread has the job, or its answer is on the way */
    FILE_TURN_LOOP,   /* a step of ours is running on the loop's thread */
    FILE_TURN_CALLER, /* nothing happens before resume() or cancel() */
};

struct file_get {
    char *chunk;
    size_t chunk_len; /* bytes in it */
    uint64_t at;      /* file position of the next read */
    uint64_t left;    /* bytes not read yet */
    bool told_head;
    struct file_record record;
};

struct file_put {
    char *chunk;
    size_t have;      /* bytes in it */
    uint64_t left;    /* bytes of the body not written yet, those in the chunk included */
    EVP_MD_CTX *hash; /* over what was written */
    char tmp[48];     /* name of the temporary file; "": none */
    char etag[STORE_ETAG_SIZE];
    int64_t latest_ms; /* CLOCK_REALTIME after which nothing may appear; 0: no limit */
};

struct file_listing {
    struct store_entry *entries;
    size_t n, cap;
    char *next_token;
};

struct file_job {
    struct file_store *fs;
    struct store_op *op;
    enum op_kind kind;                /* op's; says what u holds */
    void (*run)(struct file_job *j);  /* on an I/O thread */
    void (*then)(struct file_job *j); /* afterwards, on the loop's */
    struct loop_task back;
    struct file_job *next;
    enum file_turn turn;
    atomic_bool canceled; /* set by the loop's thread, seen by both */

    struct store_err err; /* of the last step; OK: go on */
    struct store_info info;
    int fd; /* the object, or the temporary file; -1: none */
    union {
        struct file_get get;
        struct file_put put;
        struct file_listing list;
    } u;
};

/* Gives the job away: run() on an I/O thread, then then() on the loop. */
void file_submit(struct file_job *j, void (*run)(struct file_job *),
                 void (*then)(struct file_job *));
/* Ends the job with j->err and j->info; open files are let go of on an I/O thread first. */
void file_end(struct file_job *j);
/* On an I/O thread: closes j->fd and removes the temporary file, if there are any. */
void file_release(struct file_job *j);
/* True when the operation was canceled; then j->err says so. */
bool file_canceled(struct file_job *j);

/* ---- tree.c: the file system below the root, never through a symbolic link ---- */

/* open() below the root; path "" is the root. Returns an fd, or -1 with errno set. */
int file_open(const struct file_store *fs, const char *path, int flags);
/* The first dir_len bytes of path as a folder, made when missing, with its parents, durably.
 * Returns an fd, or -1 with errno set; ENOENT: somebody removed a folder meanwhile, try again. */
int file_make_dir(const struct file_store *fs, const char *path, size_t dir_len);
/* Removes the folder and then its parents, as far as they are empty. */
void file_prune_dirs(const struct file_store *fs, const char *path, size_t dir_len);
/* fsync() of fd; file systems that cannot sync folders are forgiven. Returns -1 with errno set. */
int file_sync_dir(int fd);

/* A short sleep between two tries of the same, *wait_us (0 at first) and twice as long each time.
 * Returns -1 with j->err set when the operation was canceled or its deadline passed. */
int file_wait(struct file_job *j, long *wait_us);

/* The commit lock, across threads and processes. Whoever changes what an object's name stands for
 * holds it LOCK_SH over that one system call. LOCK_EX is for who needs those changes to stand
 * still: a put with if_match, between comparing and renaming, and each listing, for an instant.
 * Each taker has an open file of its own, since flock() belongs to open files and not to threads.
 * Waits until the operation's deadline or its cancel. Returns an fd to be closed with
 * file_unlock(), or -1 with j->err set. */
int file_lock(struct file_job *j, int how);
void file_unlock(int lock_fd);

/* ---- The operations; each begins on the loop's thread ---- */

void file_get_start(struct file_job *j); /* HEAD too */
void file_get_resume(struct file_job *j);
void file_put_start(struct file_job *j);
void file_put_resume(struct file_job *j);
void file_list_start(struct file_job *j);
void file_remove_start(struct file_job *j); /* DELETE and DELETE_MANY */
/* Free what u holds. */
void file_get_cleanup(struct file_job *j);
void file_put_cleanup(struct file_job *j);
void file_list_cleanup(struct file_job *j);

#endif
