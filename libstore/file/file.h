/* file.h - the folder driver from inside.
 *
 * What is on disk, below the root:
 *     lock%s           its byte ranges are the keys' locks: see file_lock() below
 *     tmp%s/           bodies under way; leftovers older than a day go when a store opens it
 *     a/b/c%o          the object "a/b/c"; path.c has the rules of the names
 * An object's description (ETag, checksum, type, metadata) is in an extended attribute of its
 * file; see record.c.
 *
 * Who runs what: a job is one operation, and it is touched by one thread at a time. `turn` says
 * whose it is: the I/O threads' between file_submit() and the call of `then`, otherwise the
 * loop's. Only `canceled` is shared.
 *
 * No process waits for another one that was stopped (SIGSTOP, a debugger, a frozen container, a
 * paging storm), but for puts of the very key that the other was about to replace under if_match.
 * Three things see to that:
 *   - an upload that expires is ended from outside, by removing its temporary file: see tmp.c;
 *   - locks are those of single keys, and only puts wait for them: see file_lock();
 *   - a delete that finds its key locked for long ends the puts that it waits for: see remove.c.
 *
 * Limits worth knowing: processes that share a folder must share a kernel and so a clock, since an
 * upload's expiry rests on both. On a network file system it holds as far as each machine sees at
 * once what the others made and removed (NFS: "noac,lookupcache=none"), record locks work, and the
 * clocks agree. That clock (CLOCK_REALTIME) may jump forward as it likes: uploads end early then.
 * Set back by N seconds, it lets an upload end up to N seconds after a listing that ruled it out.
 */
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
    /* Metadata: the caller's, and what libstore adds of its own. */
    FILE_MAX_META = STORE_MAX_META + 4,
    FILE_MAX_META_BYTES = STORE_MAX_META_BYTES + 256,
    FILE_MAX_TYPE = 255,     /* bytes of a content type */
    FILE_RECORD_MAX = 3072,  /* the attribute's bytes; ext4 has room for one block less a little */
    FILE_CHECKSUM_SIZE = 16, /* "crc32c:" and 8 digits, with the NUL */
    FILE_TMP_NAME_SIZE = 4 * 17, /* four numbers of 16 digits; see tmp.c */
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
    char text[FILE_RECORD_MAX + 1]; /* what the pointers below point into, when it was read */
    char derived_etag[64];
    const char *etag;
    const char *checksum; /* "crc32c:" and 8 lower-case hex digits; "": none was kept */
    const char *content_type;
    struct store_meta meta[FILE_MAX_META];
    size_t n_meta;
    uint64_t size; /* as it was put */
    bool stored;   /* false: the file has no attribute */
};

/* Reads the attribute of an open file. A file without one gets an ETag of inode, time and size.
 * Returns -1 with *err set. */
int file_record_read(int fd, const struct stat *st, struct file_record *r, struct store_err *err);
/* Takes apart the attribute's bytes, which are in r->text. False: not ours, or damaged. */
bool file_record_parse(struct file_record *r, size_t len);
/* Writes all but derived_etag and stored as the attribute. ENOTSUP in err->sys_errno: the file
 * system has none. */
int file_record_write(int fd, const struct file_record *r, struct store_err *err);
/* Makes r that of a file without an attribute. */
void file_record_derive(struct file_record *r, const struct stat *st);
/* Describes the object; the strings stay r's. */
void file_record_tell(const struct file_record *r, const struct stat *st, struct store_info *info);
/* What file_record.checksum looks like. */
void file_checksum_text(uint32_t crc, char out[FILE_CHECKSUM_SIZE]);

/* ---- The store and its jobs ---- */

/* What can change while a store is open is not remembered from its opening, but found out by use:
 * whether the folder may be written, whether it has its own files, whether the file system has
 * extended attributes, and whether the kernel lets us call openat2(). */

struct file_job;

struct file_store {
    /* Constant after open. */
    struct health *health;
    char *root;
    int root_fd;
    uint64_t tmp_tag; /* random: in the names of our temporary files */
    pthread_t *threads;
    size_t n_threads;
    size_t max_bulk; /* threads that may have bulk jobs; the rest is for the others */

    atomic_uint_fast64_t tmp_serial;

    /* tmp%s. Set under tmp_lock, read without: once there is one, its number stays the same, and
     * what is behind it is exchanged when somebody took the folder away. */
    pthread_mutex_t tmp_lock;
    atomic_int tmp_fd; /* -1: it could not be opened yet */

    /* Under lock. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct file_job *head, **tail; /* waiting for an I/O thread */
    struct file_job *bulk;         /* the same for bulk jobs, by their rounds */
    uint64_t round;                /* of the bulk job that was taken last */
    size_t bulk_running;
    bool took_bulk; /* the job that was taken last was one */
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
    bool verify;  /* all of it is read, and there is a checksum */
    uint32_t crc; /* of what was read */
    struct file_record record;
};

struct file_put {
    char *chunk;
    size_t have;   /* bytes in it */
    uint64_t left; /* bytes of the body not written yet, those in the chunk included; stays
                    * STORE_SIZE_UNKNOWN until the end is seen */
    struct file_record record;
};

struct file_copy {
    int from;                  /* the source; -1: none */
    char *chunk;               /* by hand only */
    bool by_hand;              /* neither the file system nor the kernel could */
    struct file_record record; /* the source's, and so the copy's */
};

/* An object on its way, of a PUT or a COPY; see draft.c. */
struct file_draft {
    char tmp[FILE_TMP_NAME_SIZE]; /* name of the temporary file; "": none */
    uint64_t key_hash;            /* see file_key_hash() */
    uint64_t size;                /* bytes written */
    uint32_t crc;                 /* of these, but for those that the kernel copied */
    EVP_MD_CTX *hash;             /* the same; NULL: not wanted */
    char etag[STORE_ETAG_SIZE];
    char checksum[FILE_CHECKSUM_SIZE];
    /* Conditions of the name. */
    bool if_absent;
    const char *if_match;
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
    uint64_t round; /* bulk jobs: when it is taken; those of one loop have one after the other */
    enum file_turn turn;
    atomic_bool canceled; /* set by the loop's thread, seen by both */
    bool tried;           /* an I/O thread had it: counts for the store's health */

    struct store_err err; /* of the last step; OK: go on */
    struct store_info info;
    int fd; /* the object, or the temporary file; -1: none */
    struct file_draft draft;
    union {
        struct file_get get;
        struct file_put put;
        struct file_copy copy;
        struct file_listing list;
    } u;
};

/* Gives the job away: run() on an I/O thread, then then() on the loop. */
void file_submit(struct file_job *j, void (*run)(struct file_job *),
                 void (*then)(struct file_job *));
/* Ends the job with j->err and j->info; open files are let go of on an I/O thread first. */
void file_end(struct file_job *j);
/* On an I/O thread: closes what is open and removes the temporary file, if there are any. */
void file_release(struct file_job *j);
/* True when the operation was canceled or its deadline passed; then j->err says so. To be asked
 * between the pieces of whatever may take long. */
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

/* True for the errors of a folder that may not be written: EACCES, EPERM, EROFS. */
bool file_is_read_only(int e);

/* The keys' locks, across threads and processes: ranges of the lock file (fcntl() locks of open
 * files, F_OFD_SETLK), one byte at the hash of a key, so that practically each key has its own.
 *
 * A put with if_match holds its key's lock alone (F_WRLCK) between comparing and renaming, all
 * other puts and copies share it (F_RDLCK) over their rename() or link(): so nothing is put between
 * the two steps of the former. Deletes share it too, but go on without it after a while; remove.c
 * says how, and what that costs. Listings, gets and heads take no lock.
 *
 * A process that was stopped with a lock in its hand blocks puts of that key, which end with
 * STORE_BUSY at their deadlines: all of them if it replaces under if_match, else only those with
 * if_match. Nobody else waits; and a lock goes with its process when that is killed. */

/* Opens the lock file, which is made when missing, to take locks of the kind `how` with. Each taker
 * has an open file of its own, since that is what these locks belong to. Returns an fd to be
 * closed, which gives back the lock too, or -1 with j->err set. */
int file_lock_open(struct file_job *j, short how);
/* Takes the lock of one key; a file holds one at a time. Waits until until_ms of the monotonic
 * clock at most, and no longer than the operation's deadline or its cancel. Returns 1; 0: somebody
 * else has it until until_ms; or -1 with j->err set. */
int file_lock(struct file_job *j, int lock_fd, uint64_t key_hash, short how, uint64_t until_ms);
void file_unlock(int lock_fd, uint64_t key_hash);
/* Which lock is the key's, and which temporary files. Nobody can make up keys with the same one: it
 * is taken from a SHA-256. Never 0. Returns -1 with *err set. */
int file_key_hash(const char *key, uint64_t *hash, struct store_err *err);

/* ---- tmp.c: the folder of temporary files ---- */

/* Opens the folder if that was not done yet, and makes it when missing. Returns -1 with *err set:
 * STORE_DENIED when it may not be written or read, … Later calls try again. */
int file_tmp_open(struct file_store *fs, struct store_err *err);
/* Creates the draft's temporary file as j->fd and sets draft.tmp, the name, in which there is
 * when the draft expires, and of which key when it has if_match. Returns -1 with j->err set. */
int file_tmp_create(struct file_job *j);
/* Whether somebody removed it: file_tmp_expire(), file_tmp_revoke(), or a hand. */
bool file_tmp_is_gone(const struct file_job *j);
/* For listings: removes the temporary files of all puts that have expired by now, whichever process
 * they are of, so that nothing can come of them any more. Returns a time in CLOCK_REALTIME's
 * milliseconds: no put whose latest_ms is before it will appear. That is the clock as it was before
 * the folder was read, but earlier where we have not the right to remove what expired, and 1 where
 * we may not read the folder. Returns -1 with j->err set. */
int64_t file_tmp_expire(struct file_job *j);
/* For deletes: removes the temporary files of all puts of this key that have if_match; they end
 * with STORE_PRECONDITION or STORE_BUSY. Returns -1 with j->err set. */
int file_tmp_revoke(struct file_job *j, uint64_t key_hash);

/* ---- Objects ---- */

/* get.c: opens an object and reads its description. Returns an fd, or -1 with *err set:
 * STORE_NOT_FOUND, STORE_CORRUPT (the description), … */
int file_object_open(const struct file_store *fs, const char *key, struct file_record *r,
                     struct stat *st, struct store_err *err);
/* Whether the file still has the size that was put. Returns -1 with STORE_CORRUPT. */
int file_object_check_size(const char *key, const struct file_record *r, const struct stat *st,
                           struct store_err *err);

/* draft.c: the steps of a new object, on an I/O thread. All return -1 with j->err set;
 * file_release() is the caller's then. */
int file_draft_begin(struct file_job *j);
/* Adds bytes behind those that are there. */
int file_draft_write(struct file_job *j, const char *bytes, size_t n);
/* Makes the temporary file the object: describes it by *r (unless there are no attributes, or
 * r->stored is false), syncs it and gives it its name, if the draft's conditions hold. Tells size,
 * ETag, checksum and times in j->info; *r must live as long. */
int file_draft_commit(struct file_job *j, struct file_record *r);

/* ---- The operations; each begins on the loop's thread ---- */

void file_get_start(struct file_job *j); /* HEAD too */
void file_get_resume(struct file_job *j);
void file_put_start(struct file_job *j);
void file_put_resume(struct file_job *j);
void file_copy_start(struct file_job *j);
void file_list_start(struct file_job *j);
void file_remove_start(struct file_job *j); /* DELETE and DELETE_MANY */
/* Free what u holds. */
void file_get_cleanup(struct file_job *j);
void file_put_cleanup(struct file_job *j);
void file_copy_cleanup(struct file_job *j);
void file_list_cleanup(struct file_job *j);

#endif
