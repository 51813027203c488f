/* file_fixture.h - a folder store in a fresh folder, and operations run to their end. For the
 * tests of the folder driver; all functions are static, so each program has its own. */
#ifndef TESTS_UNIT_FILE_FIXTURE_H
#define TESTS_UNIT_FILE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <store/store.h>

#include "base/buf.h"
#include "libstore/file/file.h"
#include "libstore/op.h"

struct fixture {
    char base[64]; /* of this test alone; also for what lies beside the root */
    char root[80];
    store *s;
    store_loop *loop;
};

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void open_store(struct fixture *f, uint32_t io_threads)
{
    char url[100];
    struct store_err err = {0};
    const struct store_conf conf = {.io_threads = io_threads};
    snprintf(url, sizeof(url), "file://%s/", f->root);
    if (store_open(url, &conf, &f->s, &err) != 0)
        fail_msg("%s", err.msg);
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->base, sizeof(f->base), "%.40s/epufs-file-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->base));
    snprintf(f->root, sizeof(f->root), "%s/root", f->base);
    open_store(f, 0);
    assert_int_equal(store_loop_new(&f->loop, NULL), 0);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    store_loop_free(f->loop);
    store_close(f->s);
    nftw(f->base, remove_entry, 32, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* The driver's own state, to take things away from it. */
static inline struct file_store *folder(struct fixture *f)
{
    return f->s->state;
}

/* ---- One operation ---- */

struct outcome {
    bool done, told_head;
    struct store_err err;
    struct store_info info, head; /* without their strings */
    char etag[STORE_ETAG_SIZE];
    char content_type[256];
    char checksum[STORE_CHECKSUM_SIZE];
    struct buf meta; /* "name=value;" of all */
    struct buf data;
    unsigned pause_every; /* get: every so many pieces; 0: never */
    unsigned pieces;
};

static inline void outcome_done(void *user, const struct store_err *err,
                                const struct store_info *info)
{
    struct outcome *o = user;
    assert_false(o->done);
    o->done = true;
    o->err = *err;
    o->info = *info;
    snprintf(o->etag, sizeof(o->etag), "%s", info->etag);
    snprintf(o->content_type, sizeof(o->content_type), "%s", info->content_type);
    snprintf(o->checksum, sizeof(o->checksum), "%s", info->checksum);
    buf_init(&o->meta, 4096);
    for (size_t i = 0; i < info->n_meta; i++)
        buf_addf(&o->meta, "%s=%s;", info->meta[i].name, info->meta[i].value);
}

static inline void outcome_head(void *user, const struct store_info *info)
{
    struct outcome *o = user;
    assert_false(o->told_head);
    o->told_head = true;
    o->head = *info;
}

static inline bool outcome_data(void *user, const void *bytes, size_t n)
{
    struct outcome *o = user;
    assert_true(o->told_head);
    assert_true(n <= FILE_CHUNK);
    buf_add(&o->data, bytes, n);
    o->pieces++;
    return !o->pause_every || o->pieces % o->pause_every != 0;
}

static const struct store_get_cb outcome_get = {outcome_head, outcome_data, outcome_done};

static inline void outcome_init(struct outcome *o)
{
    memset(o, 0, sizeof(*o));
    buf_init(&o->data, 64 << 20);
}

static inline void outcome_cleanup(struct outcome *o)
{
    buf_cleanup(&o->data);
    buf_cleanup(&o->meta);
}

static inline void run_round(struct fixture *f)
{
    struct store_err err;
    assert_int_equal(store_loop_run(f->loop, 20, &err), 0);
}

/* op NULL: it could not be started. Returns the code. */
static inline enum store_code finish(struct fixture *f, store_op *op, struct outcome *o)
{
    assert_non_null(op);
    while (!o->done)
        run_round(f);
    return o->err.code;
}

static inline enum store_code get(struct fixture *f, const char *key,
                                  const struct store_get_opts *opts, struct outcome *o)
{
    outcome_init(o);
    return finish(f, store_get(f->s, f->loop, key, opts, &outcome_get, o, NULL), o);
}

static inline enum store_code head(struct fixture *f, const char *key, struct outcome *o)
{
    outcome_init(o);
    return finish(f, store_head(f->s, f->loop, key, 0, outcome_done, o, NULL), o);
}

static inline enum store_code put(struct fixture *f, const char *key, const void *bytes,
                                  size_t size, const struct store_put_opts *opts, struct outcome *o)
{
    outcome_init(o);
    return finish(f, store_put_bytes(f->s, f->loop, key, bytes, size, opts, outcome_done, o, NULL),
                  o);
}

static inline enum store_code copy(struct fixture *f, const char *from, const char *to,
                                   const struct store_copy_opts *opts, struct outcome *o)
{
    outcome_init(o);
    return finish(f, store_copy(f->s, f->loop, from, to, opts, outcome_done, o, NULL), o);
}

static inline enum store_code put_text(struct fixture *f, const char *key, const char *text)
{
    struct outcome o;
    enum store_code code = put(f, key, text, strlen(text), NULL, &o);
    outcome_cleanup(&o);
    return code;
}

static inline enum store_code remove_object(struct fixture *f, const char *key)
{
    struct outcome o;
    outcome_init(&o);
    enum store_code code =
        finish(f, store_delete(f->s, f->loop, key, 0, outcome_done, &o, NULL), &o);
    outcome_cleanup(&o);
    return code;
}

static inline void assert_content(struct fixture *f, const char *key, const char *text)
{
    struct outcome o;
    assert_int_equal(get(f, key, NULL, &o), STORE_OK);
    assert_string_equal(buf_str(&o.data), text);
    outcome_cleanup(&o);
}

static inline enum store_code code_of_get(struct fixture *f, const char *key,
                                          const struct store_get_opts *opts)
{
    struct outcome o;
    enum store_code code = get(f, key, opts, &o);
    outcome_cleanup(&o);
    return code;
}

/* Where the temporary folder's file system has no extended attributes, some things are less than
 * they are elsewhere: record.c says what. */
static inline void needs_xattrs(struct fixture *f)
{
    int root = folder(f)->root_fd;
    if (fsetxattr(root, FILE_XATTR_NAME, "", 0, 0) < 0)
        skip();
    assert_int_equal(fremovexattr(root, FILE_XATTR_NAME), 0);
}

static inline void flip_byte(const char *path, off_t at)
{
    char c;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &c, 1, at), 1);
    c ^= 1;
    assert_int_equal(pwrite(fd, &c, 1, at), 1);
    close(fd);
}

static inline char *pattern(size_t n)
{
    char *bytes = malloc(n + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 31 + i / 997);
    bytes[n] = '\0';
    return bytes;
}

/* ---- Listings ---- */

struct listing {
    struct outcome o;
    char **keys; /* "p:" before those of groups is not part of a key */
    bool *is_prefix;
    size_t n, cap;
    bool all_latest, no_versions;
    size_t page_n; /* of the latest page */
    char *token;   /* of the latest page, or NULL */
    int64_t server_time_s;
    uint64_t size; /* of the latest entry */
    char etag[STORE_ETAG_SIZE];
};

static inline void listing_page(void *user, const struct store_page *page)
{
    struct listing *l = user;
    free(l->token);
    l->token = page->next_token ? strdup(page->next_token) : NULL;
    l->page_n = page->n;
    l->server_time_s = page->server_time_s;
    for (size_t i = 0; i < page->n; i++) {
        if (l->n == l->cap) {
            l->cap = l->cap ? l->cap * 2 : 64;
            l->keys = realloc(l->keys, l->cap * sizeof(*l->keys));
            l->is_prefix = realloc(l->is_prefix, l->cap * sizeof(*l->is_prefix));
        }
        l->is_prefix[l->n] = page->entries[i].is_prefix;
        l->all_latest &= page->entries[i].is_latest && !page->entries[i].is_marker;
        l->no_versions &= page->entries[i].version[0] == '\0';
        l->size = page->entries[i].size;
        snprintf(l->etag, sizeof(l->etag), "%s", page->entries[i].etag);
        l->keys[l->n++] = strdup(page->entries[i].key);
    }
}

static inline void listing_done(void *user, const struct store_err *err,
                                const struct store_info *info)
{
    struct listing *l = user;
    outcome_done(&l->o, err, info);
}

static const struct store_list_cb listing_cb = {listing_page, listing_done};

/* One page more. */
static inline enum store_code list_page(struct fixture *f, const char *prefix,
                                        const struct store_list_opts *opts, struct listing *l)
{
    outcome_cleanup(&l->o);
    outcome_init(&l->o);
    return finish(f, store_list(f->s, f->loop, prefix, opts, &listing_cb, l, NULL), &l->o);
}

/* All pages, by tokens. */
static inline void list_all(struct fixture *f, const char *prefix, struct store_list_opts opts,
                            struct listing *l)
{
    memset(l, 0, sizeof(*l));
    l->all_latest = l->no_versions = true;
    do {
        opts.token = l->token;
        if (list_page(f, prefix, &opts, l) != STORE_OK)
            fail_msg("%s", l->o.err.msg);
        if (opts.max) {
            assert_true(l->page_n <= opts.max);
            assert_true(!l->token || l->page_n == opts.max);
        }
    } while (l->token);
}

static inline void listing_cleanup(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->keys[i]);
    free(l->keys);
    free(l->is_prefix);
    free(l->token);
    outcome_cleanup(&l->o);
}

static inline size_t count_keys(struct fixture *f, const char *prefix)
{
    struct listing l;
    list_all(f, prefix, (struct store_list_opts){0}, &l);
    size_t n = l.n;
    listing_cleanup(&l);
    return n;
}

/* ---- What lies on the disk ---- */

static inline const char *disk_path(struct fixture *f, const char *name)
{
    static char path[2][512];
    static unsigned turn;
    char *p = path[turn++ % 2];
    snprintf(p, sizeof(path[0]), "%s/%s", f->root, name);
    return p;
}

static size_t counted_entries;

static inline int count_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path;
    (void)st;
    (void)type;
    counted_entries += ftw->level > 0;
    return 0;
}

/* Files and folders below the root's folder `name`, without itself. */
static inline size_t count_on_disk(struct fixture *f, const char *name)
{
    counted_entries = 0;
    nftw(disk_path(f, name), count_entry, 32, FTW_PHYS);
    return counted_entries;
}

static inline void assert_no_temporary_files(struct fixture *f)
{
    assert_int_equal(count_on_disk(f, FILE_TMP_NAME), 0);
}

static inline void make_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

#endif
