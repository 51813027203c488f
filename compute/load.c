#include "compute/load.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "compute/client.h"
#include "compute/pgfiles.h"
#include "compute/state.h"
#include "compute/untar.h"

struct item {
    char *path;
    uint64_t size;
    int fd; /* the staged file; -1: not finished */
    char sha256[DIGEST_SIZE];
    const struct pgfile *kind;
    bool is_wanted; /* it is fit, and not here */
};

struct load {
    const struct compute_conf *conf;
    struct load_report *report;
    uint64_t deadline_ms;
    struct bearer *bearer;
    struct staging *staging;
    struct cluster cluster;
    struct client *client;
    struct state before; /* as the last run left it */
    struct state state;  /* as this one will */
    struct untar untar;
    bool in_manifest; /* the member that comes is the manifest */
    struct buf manifest_text;
    struct digest *digest; /* of the member that comes; NULL: none does */
    struct item *items;
    size_t n;
};

/* ---- What the TAR brings ---- */

static void drop_items(struct load *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->items[i].fd >= 0)
            close(l->items[i].fd);
        free(l->items[i].path);
    }
    free(l->items);
    l->items = NULL;
    l->n = 0;
    if (l->digest)
        digest_end(l->digest, NULL);
    l->digest = NULL;
    buf_reset(&l->manifest_text);
}

static int skip(struct load *l, const char *path, const char *why)
{
    log_warn("a file is not loaded", LOG_S("path", path), LOG_S("reason", why));
    l->report->refused++;
    return 0;
}

static int on_member(void *user, const char *path, uint64_t size, struct store_err *err)
{
    struct load *l = user;
    const struct pgfile *kind = pgfiles_find(path);
    l->in_manifest = strcmp(path, MANIFEST_PATH) == 0;
    if (l->in_manifest)
        return size <= MANIFEST_MAX_BYTES ? 1 : skip(l, path, "it is too large");
    if (!kind)
        return skip(l, path, "it is none of the files that travel");
    if (size > kind->max_bytes)
        return skip(l, path, "it is larger than its limit");
    if (staging_begin(l->staging, l->n, err) != 0)
        return -1;
    l->items = xrealloc(l->items, (l->n + 1) * sizeof(*l->items));
    l->items[l->n++] = (struct item){.path = xstrdup(path), .size = size, .fd = -1, .kind = kind};
    l->report->bytes += size;
    l->digest = digest_new();
    return 1;
}

static int on_data(void *user, const void *bytes, size_t n, struct store_err *err)
{
    struct load *l = user;
    if (l->in_manifest) {
        buf_add(&l->manifest_text, bytes, n);
        return 0;
    }
    digest_add(l->digest, bytes, n);
    return staging_add(l->staging, bytes, n, err);
}

static int on_end(void *user, struct store_err *err)
{
    struct load *l = user;
    (void)err;
    if (l->in_manifest)
        return 0;
    struct item *item = &l->items[l->n - 1];
    digest_end(l->digest, item->sha256);
    l->digest = NULL;
    staging_finish(l->staging, &item->fd);
    return 0;
}

/* A try begins: what another one brought is void. */
static int begin_tar(void *user, struct store_err *err)
{
    static const struct untar_ops ops = {on_member, on_data, on_end};
    struct load *l = user;
    const struct untar_limits limits = {l->conf->max_total_bytes, MANIFEST_MAX_FILES + 1};
    (void)err;
    drop_items(l);
    l->report->refused = 0;
    l->report->bytes = 0;
    untar_cleanup(&l->untar);
    untar_init(&l->untar, &ops, l, &limits);
    return 0;
}

static int take_tar(void *user, const void *bytes, size_t n, struct store_err *err)
{
    struct load *l = user;
    return untar_feed(&l->untar, bytes, n, err);
}

/* The TAR, and at the same time the list; a sibling's versions are of no use to us. */
static int fetch(struct load *l, struct store_err *err)
{
    static const struct client_sink sink = {begin_tar, take_tar};
    struct client_request tar, list, *const both[] = {&tar, &list};
    struct scope from = *bearer_scope(l->bearer);
    bool own = !l->conf->from_endpoint;
    if (!own)
        text_copy(from.endpoint, sizeof(from.endpoint), l->conf->from_endpoint);
    client_request_init(&tar, "GET", &from, NULL);
    client_request_init(&list, "GET", &from, NULL);
    tar.accept = "application/x-tar";
    tar.sink = &sink;
    tar.user = l;
    list.accept = "application/json";
    client_perform(l->client, both, own ? 2 : 1, l->deadline_ms);
    *err = tar.err;
    int failed = tar.err.code != STORE_OK || untar_end(&l->untar, err) != 0 ? -1 : 0;
    if (!failed && own && list.err.code == STORE_OK)
        state_take_listing(&l->state, buf_str(&list.text), list.text.len, NULL);
    client_request_cleanup(&tar);
    client_request_cleanup(&list);
    return failed;
}

/* ---- What of it is taken ---- */

/* Whether the file here has changed since it was stored: then it is newer than the service's. */
static bool is_newer_here(const struct load *l, const struct item *item, char sha256[DIGEST_SIZE])
{
    const struct state_file *stored = state_find(&l->before, item->path);
    uint64_t size;
    int fd = staging_open_file(l->staging, item->path, &size, NULL);
    *sha256 = '\0';
    if (fd < 0)
        return false;
    int failed = digest_file(fd, size, sha256, NULL);
    close(fd);
    return !failed && !l->conf->from_endpoint && l->before.is_known && stored && *stored->sha256 &&
           strcmp(stored->sha256, sha256) != 0;
}

static int check_item(const struct load *l, const struct item *item, struct store_err *err)
{
    if (!manifest_has(&l->state.manifest, item->path, item->size, item->sha256))
        return store_err_set(err, STORE_INVALID, "the manifest does not have this content");
    return pgfiles_check(item->kind, item->fd, item->size, &l->cluster, err);
}

/* Whether it is to be placed. */
static void judge(struct load *l, struct item *item)
{
    struct store_err why;
    char here[DIGEST_SIZE];
    if (check_item(l, item, &why) != 0) {
        skip(l, item->path, why.msg);
        return;
    }
    bool newer = is_newer_here(l, item, here);
    item->is_wanted = !newer && strcmp(here, item->sha256) != 0;
    if (!item->is_wanted)
        l->report->current++;
    if (newer)
        log_info("a file stays as it is here", LOG_S("path", item->path),
                 LOG_S("reason", "it has changed since it was stored"));
    if (l->state.is_known && state_find(&l->state, item->path))
        state_set(&l->state, item->path, NULL, item->sha256);
}

static int place(struct load *l, struct store_err *err)
{
    for (size_t i = 0; i < l->n; i++) {
        if (!l->items[i].is_wanted)
            continue;
        if (staging_place(l->staging, i, l->items[i].path, err) != 0)
            return -1;
        l->report->placed++;
    }
    return 0;
}

/* All are judged, and on disk, before the first one takes its place. */
static int place_all(struct load *l, struct store_err *err)
{
    struct store_err unsynced;
    for (size_t i = 0; i < l->n; i++)
        judge(l, &l->items[i]);
    for (size_t i = 0; i < l->n; i++)
        if (l->items[i].is_wanted && staging_settle(l->staging, l->items[i].fd, err) != 0)
            return -1;
    int failed = place(l, err);
    if (staging_sync(l->staging, &unsynced) != 0 && !failed) {
        *err = unsynced;
        failed = -1;
    }
    return failed;
}

/* Whether the files are for this cluster; when not, nobody's fault. */
static bool take_manifest(struct load *l)
{
    struct store_err why;
    const struct buf *text = &l->manifest_text;
    if (l->n == 0 && text->len == 0)
        return false; /* nothing has been stored yet */
    if (text->len == 0)
        store_err_set(&why, STORE_INVALID,
                      "there is no manifest that tells of which cluster they are");
    else if (manifest_parse(buf_str(text), text->len, &l->state.manifest, &why) == 0 &&
             manifest_fits(&l->state.manifest, &l->cluster, &why) == 0)
        return true;
    log_warn("the files are not loaded", LOG_S("reason", why.msg), LOG_U("files", l->n));
    l->report->refused += l->n;
    return false;
}

/* ---- All of it ---- */

static int open_all(struct load *l, struct store_err *err)
{
    if (pgfiles_cluster_at(l->conf->pgdata, &l->cluster, err) != 0 ||
        staging_open(l->conf->pgdata, l->deadline_ms, &l->staging, err) != 0 ||
        bearer_open(l->conf->token_file, &l->bearer, err) != 0)
        return -1;
    state_load(l->staging, l->bearer, &l->before);
    /* From here on nothing is known of the service until this load has told it. */
    return staging_remove(l->staging, STATE_NAME, err) == 0
               ? client_new(l->conf, l->bearer, &l->client, err)
               : -1;
}

static void close_all(struct load *l)
{
    drop_items(l);
    buf_cleanup(&l->manifest_text);
    untar_cleanup(&l->untar);
    client_free(l->client);
    bearer_close(l->bearer);
    state_cleanup(&l->before);
    state_cleanup(&l->state);
    staging_close(l->staging);
}

int load_run(const struct compute_conf *conf, struct load_report *r, struct store_err *err)
{
    uint64_t began_ms = clock_mono_ms();
    struct store_err unsaved;
    struct load l = {
        .conf = conf,
        .report = r,
        .deadline_ms = began_ms + conf->load_timeout_ms,
        .manifest_text = BUF_INIT(MANIFEST_MAX_BYTES),
    };
    *r = (struct load_report){.placed = 0};
    int failed = open_all(&l, err) != 0 || fetch(&l, err) != 0 ? -1 : 0;
    if (!failed && take_manifest(&l))
        failed = place_all(&l, err);
    if (!failed && l.state.is_known && state_save(l.staging, l.bearer, &l.state, &unsaved) != 0)
        log_warn("the state is not written; files will be stored once more", LOG_ERR(&unsaved));
    close_all(&l);
    r->time_ms = clock_mono_ms() - began_ms;
    return failed;
}
