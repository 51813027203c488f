/* list.c - LIST: one page, by a walk through the folders in the order of the keys.
 *
 * The order is that of the keys' bytes. It is reached by sorting each folder by the parts that its
 * names stand for, with the '/' that follows in the key behind those of folders: what is in a
 * folder then comes exactly at the place of the folder's name (path.c makes this true for long
 * parts too). The walk enters only folders that can hold a wanted key, beginning with the deepest
 * one that the prefix determines. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "libstore/file/file.h"

/* Names kept of one folder at a time; a larger one is read again for the next ones. More than a
 * page, so that this is rare. */
enum { KEPT_NAMES = STORE_MAX_BATCH + 8 };

struct name {
    enum file_kind kind;
    size_t piece_len;
    size_t len;
    char text[]; /* the piece, with '/' behind a folder's */
};

struct folder {
    struct name **names;
    size_t n, cap;
    bool cut;          /* there are more behind these */
    struct name *last; /* of the names before these; NULL: none */
};

struct walk {
    struct file_job *j;
    size_t max;
    bool grouped; /* by '/' */
    bool probing; /* only to see whether there is any key */
    const char *prefix, *after;
    size_t prefix_len, after_len;
    bool after_group; /* nothing that begins with `after` either */
    char key[STORE_MAX_KEY + FILE_PIECE + 3];
    size_t key_len;
    char path[FILE_PATH_MAX];
    size_t path_len;
};

enum { WALK_FAILED = -1, WALK_ON, WALK_ENOUGH };

/* ---- Which names are wanted ---- */

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Whether key (of a folder: what its keys begin with) may be or lead to something behind `after`.
 */
static bool is_behind(const struct walk *w, size_t len, bool object)
{
    int c = memcmp(w->key, w->after, min(len, w->after_len));
    if (c != 0)
        return c > 0;
    if (len < w->after_len)
        return !object; /* the folder is on the way to `after` */
    if (w->after_group)
        return false;
    return len > w->after_len || !object;
}

static bool is_wanted(struct walk *w, const struct name *name)
{
    size_t len = w->key_len + name->len;
    bool object = name->kind == FILE_OBJECT;
    if (len > STORE_MAX_KEY || (object && len < w->prefix_len))
        return false;
    memcpy(w->key + w->key_len, name->text, name->len);
    return memcmp(w->key, w->prefix, min(len, w->prefix_len)) == 0 && is_behind(w, len, object);
}

/* ---- Reading a folder ---- */

static int compare_names(const struct name *a, const struct name *b)
{
    int c = memcmp(a->text, b->text, min(a->len, b->len));
    if (c != 0)
        return c;
    return a->len < b->len ? -1 : a->len > b->len;
}

static int compare_slots(const void *a, const void *b)
{
    return compare_names(*(struct name *const *)a, *(struct name *const *)b);
}

/* Sorts, and forgets all but the first KEPT_NAMES. */
static void folder_trim(struct folder *f)
{
    if (f->n > 0)
        qsort(f->names, f->n, sizeof(struct name *), compare_slots);
    if (f->n <= KEPT_NAMES)
        return;
    f->cut = true;
    while (f->n > KEPT_NAMES)
        free(f->names[--f->n]);
}

static bool folder_keeps(const struct folder *f, const struct name *name)
{
    if (f->last && compare_names(name, f->last) <= 0)
        return false;
    return !f->cut || compare_names(name, f->names[KEPT_NAMES - 1]) < 0;
}

static int folder_add(struct folder *f, struct name *name)
{
    if (f->n == 2 * KEPT_NAMES)
        folder_trim(f);
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 16;
        struct name **names = realloc(f->names, cap * sizeof(struct name *));
        if (!names)
            return -1;
        f->names = names;
        f->cap = cap;
    }
    f->names[f->n++] = name;
    return 0;
}

static void folder_empty(struct folder *f)
{
    while (f->n > 0)
        free(f->names[--f->n]);
    f->cut = false;
}

static void folder_cleanup(struct folder *f)
{
    folder_empty(f);
    free(f->last);
    free(f->names);
}

static bool type_fits(DIR *d, const struct dirent *e, enum file_kind kind)
{
    struct stat st;
    unsigned char type = e->d_type;
    if (type == DT_UNKNOWN && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        type = IFTODT(st.st_mode);
    return type == (kind == FILE_OBJECT ? DT_REG : DT_DIR);
}

/* Returns -1 for want of memory. */
static int consider(struct walk *w, struct folder *f, DIR *d, const struct dirent *e, bool in_long)
{
    size_t piece_len;
    enum file_kind kind = file_name_decode(e->d_name, in_long, &piece_len);
    if (kind == FILE_FOREIGN || !type_fits(d, e, kind))
        return 0;
    size_t len = piece_len + (kind == FILE_FOLDER);
    struct name *name = malloc(sizeof(*name) + len);
    if (!name)
        return -1;
    *name = (struct name){.kind = kind, .piece_len = piece_len, .len = len};
    memcpy(name->text, e->d_name, piece_len);
    if (kind == FILE_FOLDER)
        name->text[piece_len] = '/';
    if (is_wanted(w, name) && folder_keeps(f, name)) {
        if (folder_add(f, name) == 0)
            return 0;
        free(name);
        return -1;
    }
    free(name);
    return 0;
}

static int folder_scan(struct walk *w, struct folder *f, DIR *d, bool in_long)
{
    struct store_err *err = &w->j->err;
    struct dirent *e;
    while (errno = 0, (e = readdir(d))) {
        if (file_canceled(w->j))
            return -1;
        if (consider(w, f, d, e, in_long) < 0)
            return store_err_set(err, STORE_NO_MEMORY, "list: out of memory");
    }
    return errno == 0 ? 0
                      : store_err_errno(err, errno, "list: cannot read folder '%.150s'", w->path);
}

/* Fills f with the wanted names behind f->last. */
static int folder_read(struct walk *w, struct folder *f, bool in_long)
{
    folder_empty(f);
    int fd = file_open(w->j->fs, w->path, O_RDONLY | O_DIRECTORY);
    if (fd < 0 && errno == ENOENT)
        return 0; /* it vanished */
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        store_err_errno(&w->j->err, errno, "list: cannot open folder '%.150s'", w->path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    int rc = folder_scan(w, f, d, in_long);
    closedir(d);
    if (rc == 0)
        folder_trim(f);
    return rc;
}

/* ---- The page ---- */

/* The new entry, with key and ETag behind one pointer; NULL for want of memory. */
static struct store_entry *page_add(struct walk *w, const char *etag)
{
    struct file_listing *l = &w->j->u.list;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        struct store_entry *entries = realloc(l->entries, cap * sizeof(*entries));
        if (!entries)
            return NULL;
        l->entries = entries;
        l->cap = cap;
    }
    size_t etag_size = strlen(etag) + 1;
    char *text = malloc(w->key_len + 1 + etag_size);
    if (!text)
        return NULL;
    memcpy(text, w->key, w->key_len);
    text[w->key_len] = '\0';
    memcpy(text + w->key_len + 1, etag, etag_size);
    struct store_entry *entry = &l->entries[l->n++];
    *entry = (struct store_entry){
        .key = text, .etag = text + w->key_len + 1, .version = "", .is_latest = true};
    return entry;
}

static int no_memory(struct walk *w)
{
    store_err_set(&w->j->err, STORE_NO_MEMORY, "list: out of memory");
    return WALK_FAILED;
}

/* The page is full and there is more: says where to go on. */
static int page_full(struct walk *w)
{
    struct file_listing *l = &w->j->u.list;
    const struct store_entry *last = &l->entries[l->n - 1];
    size_t size = strlen(last->key) + 1;
    l->next_token = malloc(1 + size);
    if (!l->next_token)
        return no_memory(w);
    l->next_token[0] = last->is_prefix ? 'p' : 'k';
    memcpy(l->next_token + 1, last->key, size);
    return WALK_ENOUGH;
}

static int add_object(struct walk *w, int fd)
{
    struct file_record r;
    struct store_err err;
    struct stat st;
    if (fstat(fd, &st) < 0) {
        store_err_errno(&w->j->err, errno, "list: cannot stat '%.150s'", w->path);
        return WALK_FAILED;
    }
    /* A damaged description must not hide the object: it has to be found to be removed. */
    bool known = file_record_read(fd, &st, &r, &err) == 0;
    if (!known && err.code != STORE_CORRUPT) {
        w->j->err = err;
        return WALK_FAILED;
    }
    struct store_entry *entry = page_add(w, known ? r.etag : "");
    if (!entry)
        return no_memory(w);
    entry->size = (uint64_t)st.st_size;
    entry->modified_s = st.st_mtim.tv_sec;
    return WALK_ON;
}

static int visit_object(struct walk *w)
{
    if (w->probing)
        return WALK_ENOUGH;
    if (w->j->u.list.n == w->max)
        return page_full(w);
    int fd = file_open(w->j->fs, w->path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return WALK_ON; /* it vanished */
    if (fd < 0) {
        store_err_errno(&w->j->err, errno, "list: cannot open '%.150s'", w->path);
        return WALK_FAILED;
    }
    int rc = add_object(w, fd);
    close(fd);
    return rc;
}

/* ---- The walk ---- */

static int walk_folder(struct walk *w, bool in_long);

/* A folder counts as a common prefix only if there is a key in it. */
static int visit_group(struct walk *w)
{
    w->probing = true;
    int rc = walk_folder(w, false);
    w->probing = false;
    if (rc != WALK_ENOUGH)
        return rc;
    if (w->j->u.list.n == w->max)
        return page_full(w);
    struct store_entry *entry = page_add(w, "");
    if (!entry)
        return no_memory(w);
    entry->is_prefix = true;
    return WALK_ON;
}

static int visit(struct walk *w, const struct name *name)
{
    size_t key_len = w->key_len, path_len = w->path_len;
    int rc;
    memcpy(w->key + key_len, name->text, name->len);
    w->key_len += name->len;
    w->path_len = file_name_encode(w->path, path_len, name->text, name->piece_len, name->kind);
    if (file_canceled(w->j))
        rc = WALK_FAILED;
    else if (name->kind == FILE_OBJECT)
        rc = visit_object(w);
    else if (name->kind == FILE_FOLDER && w->grouped && !w->probing)
        rc = visit_group(w);
    else
        rc = walk_folder(w, name->kind == FILE_LONG);
    w->key_len = key_len;
    w->path_len = path_len;
    w->path[path_len] = '\0';
    return rc;
}

/* The folder of w->path, whose keys begin with w->key. No deeper than a key has slashes. */
static int walk_folder(struct walk *w, bool in_long)
{
    struct folder f = {0};
    int rc = WALK_ON;
    do {
        if (folder_read(w, &f, in_long) < 0)
            rc = WALK_FAILED;
        for (size_t i = 0; i < f.n && rc == WALK_ON; i++)
            rc = visit(w, f.names[i]);
        if (f.cut) {
            free(f.last);
            f.last = f.names[--f.n];
        }
    } while (rc == WALK_ON && f.cut);
    folder_cleanup(&f);
    return rc;
}

static int walk_begin(struct walk *w)
{
    const struct store_list_opts *o = &w->j->op->opts.list;
    w->max = o->max && o->max < STORE_MAX_BATCH ? o->max : STORE_MAX_BATCH;
    w->grouped = o->delimiter == '/';
    w->prefix = w->j->op->key;
    w->prefix_len = strlen(w->prefix);
    w->after = o->start_after ? o->start_after : "";
    if (o->token) {
        if (o->token[0] != 'k' && o->token[0] != 'p')
            return store_err_set(&w->j->err, STORE_INVALID, "list: not a token of this store");
        w->after_group = o->token[0] == 'p';
        w->after = o->token + 1;
    }
    w->after_len = strlen(w->after);
    return 0;
}

static void walk_pages(struct walk *w)
{
    bool in_long;
    ssize_t path_len = file_path_of_prefix(w->prefix, w->path, &w->key_len, &in_long);
    if (path_len < 0)
        return; /* no key can begin so: an empty page */
    w->path_len = (size_t)path_len;
    memcpy(w->key, w->prefix, w->key_len);
    walk_folder(w, in_long);
}

static void run_list(struct file_job *j)
{
    struct walk w = {.j = j};
    if (walk_begin(&w) < 0)
        return;
    j->info.server_time_s = clock_real_s();
    /* Ends the puts that have expired, before anything is read: see tmp.c. */
    int64_t settled_ms = file_tmp_expire(j);
    if (settled_ms < 0)
        return;
    /* Never 0, which says "unknown": a deletion would take the time of its next listing instead. */
    j->info.server_time_s = settled_ms < 1000 ? 1 : settled_ms / 1000;
    if (j->op->opts.list.kind != STORE_LIST_UPLOADS) /* of which there are none */
        walk_pages(&w);
}

static void tell(struct file_job *j)
{
    const struct file_listing *l = &j->u.list;
    if (j->err.code == STORE_OK && !file_canceled(j))
        op_page(j->op, l->entries, l->n, l->next_token, j->info.server_time_s);
    file_end(j);
}

void file_list_start(struct file_job *j)
{
    file_submit(j, run_list, tell);
}

void file_list_cleanup(struct file_job *j)
{
    struct file_listing *l = &j->u.list;
    for (size_t i = 0; i < l->n; i++)
        free((char *)l->entries[i].key);
    free(l->entries);
    free(l->next_token);
}
