#include "compute/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "compute/client.h"
#include "compute/pgfiles.h"
#include "compute/state.h"

enum { MAX_UPLOADS = MANIFEST_MAX_FILES };

struct upload {
    char *path;
    int fd;
    struct stat before; /* what was looked at */
    char sha256[DIGEST_SIZE];
    struct client_request rq;
    enum { UPLOAD_TODO, UPLOAD_DONE, UPLOAD_FAILED } how;
};

struct storing {
    const struct compute_conf *conf;
    struct store_report *report;
    uint64_t deadline_ms;
    struct staging *staging;
    struct cluster cluster;
    struct bearer *bearer;
    struct client *client;
    struct state state;
    struct upload *uploads;
    size_t n;
};

/* ---- What has changed here ---- */

static void leave_out(const char *path, const struct store_err *why)
{
    log_warn("a file is not stored", LOG_S("path", path), LOG_ERR(why));
}

/* Adds the file when it is fit to be stored and not what the service has. */
static void look_at(struct storing *s, const char *path)
{
    const struct pgfile *kind = pgfiles_find(path);
    const struct state_file *stored = state_find(&s->state, path);
    struct store_err err;
    uint64_t size;
    if (!kind || scope_path_problem(path, strlen(path)) || s->n == MAX_UPLOADS)
        return;
    struct upload u = {.fd = staging_open_file(s->staging, path, &size, &err)};
    if (u.fd < 0) {
        if (err.code != STORE_NOT_FOUND)
            leave_out(path, &err);
        return;
    }
    store_err_set(&err, STORE_FAILED, "fstat fails");
    if (fstat(u.fd, &u.before) != 0 || pgfiles_check(kind, u.fd, size, &s->cluster, &err) != 0 ||
        digest_file(u.fd, size, u.sha256, &err) != 0) {
        leave_out(path, &err);
        close(u.fd);
        return;
    }
    if (s->state.is_known && stored && strcmp(stored->sha256, u.sha256) == 0) {
        s->report->unchanged++;
        close(u.fd);
        return;
    }
    u.path = xstrdup(path);
    s->uploads = xrealloc(s->uploads, (s->n + 1) * sizeof(*s->uploads));
    s->uploads[s->n++] = u;
}

/* Those whose names are patterns: all of them lie in pg_stat. */
static void look_into_pg_stat(struct storing *s)
{
    int fd = openat(staging_pgdata(s->staging), "pg_stat",
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        char path[sizeof("pg_stat/") + sizeof(e->d_name)];
        snprintf(path, sizeof(path), "pg_stat/%s", e->d_name);
        look_at(s, path);
    }
    closedir(d);
}

static void look_at_all(struct storing *s)
{
    for (const struct pgfile *f = pgfiles; f->pattern; f++)
        if (!strchr(f->pattern, '/'))
            look_at(s, f->pattern);
    look_into_pg_stat(s);
}

/* ---- What the service has ---- */

/* One request to its end. Whether it was answered with 200. */
static bool perform(struct storing *s, struct client_request *rq)
{
    struct client_request *const one[] = {rq};
    client_perform(s->client, one, 1, s->deadline_ms);
    return rq->err.code == STORE_OK;
}

/* The manifest there: its text and version; "" and "" when there is none. */
static int get_manifest(struct storing *s, struct client_request *rq, struct store_err *err)
{
    client_request_init(rq, "GET", bearer_scope(s->bearer), MANIFEST_PATH);
    if (perform(s, rq))
        return 0;
    *err = rq->err;
    buf_reset(&rq->text);
    rq->etag[0] = '\0';
    return rq->status == 404 ? 0 : -1;
}

/* Of a store that did not load: what is there is to be replaced. */
static int learn_all(struct storing *s, struct store_err *err)
{
    struct client_request list, manifest;
    client_request_init(&list, "GET", bearer_scope(s->bearer), NULL);
    list.accept = "application/json";
    int failed = perform(s, &list)
                     ? state_take_listing(&s->state, buf_str(&list.text), list.text.len, err)
                     : -1;
    if (list.err.code != STORE_OK)
        *err = list.err;
    client_request_cleanup(&list);
    if (failed || !state_find(&s->state, MANIFEST_PATH))
        return failed;
    failed = get_manifest(s, &manifest, err);
    if (!failed)
        state_set(&s->state, MANIFEST_PATH, manifest.etag, NULL);
    /* One that cannot be read is as good as none. */
    if (!failed && manifest.text.len)
        manifest_parse(buf_str(&manifest.text), manifest.text.len, &s->state.manifest, NULL);
    client_request_cleanup(&manifest);
    return failed;
}

static int conflict(const char *path, struct store_err *err)
{
    return store_err_set(err, STORE_PRECONDITION,
                         "%s: another compute has stored it since this one loaded; nothing is "
                         "overwritten",
                         path);
}

/* After an upload of the manifest that nobody knows the end of: was it done? */
static int settle_manifest(struct storing *s, struct store_err *err)
{
    struct client_request there;
    struct buf ours = BUF_INIT(MANIFEST_MAX_BYTES);
    const struct state_file *known = state_find(&s->state, MANIFEST_PATH);
    int failed = get_manifest(s, &there, err);
    manifest_text(&s->state.manifest, &ours);
    bool is_ours = there.text.len && strcmp(buf_str(&there.text), buf_str(&ours)) == 0;
    bool is_old = known && strcmp(known->version, there.etag) == 0;
    if (!failed && !is_ours && !is_old && *there.etag)
        failed = conflict(MANIFEST_PATH, err);
    if (!failed) {
        state_set(&s->state, MANIFEST_PATH, there.etag, NULL);
        s->state.is_pending = false;
    }
    client_request_cleanup(&there);
    buf_cleanup(&ours);
    return failed;
}

/* ---- Uploads ---- */

/* The version in {"version":"…","size":…}. */
static int take_version(struct storing *s, const char *path, const struct client_request *rq,
                        const char *sha256, struct store_err *err)
{
    json_t *o = json_loadb(buf_str(&rq->text), rq->text.len, 0, NULL);
    const char *version = json_string_value(json_object_get(o, "version"));
    bool good = version && *version && strlen(version) < CLIENT_ETAG_SIZE;
    if (good)
        state_set(&s->state, path, version, sha256);
    json_decref(o);
    return good
               ? 0
               : store_err_set(err, STORE_CORRUPT, "PUT of %.60s: the answer has no version", path);
}

static const char *known_version(const struct storing *s, const char *path)
{
    const struct state_file *f = state_find(&s->state, path);
    return f ? f->version : "";
}

static int put_manifest_once(struct storing *s, const struct buf *text, struct store_err *err)
{
    struct client_request rq;
    client_request_init(&rq, "PUT", bearer_scope(s->bearer), MANIFEST_PATH);
    rq.body_text = buf_str(text);
    rq.body_size = text->len;
    rq.if_match = known_version(s, MANIFEST_PATH);
    int failed = perform(s, &rq) ? take_version(s, MANIFEST_PATH, &rq, NULL, err) : -1;
    if (rq.err.code != STORE_OK)
        *err = rq.err;
    client_request_cleanup(&rq);
    return failed;
}

/* Before it goes out the state says so: whatever happens then, the next run can tell. */
static int put_manifest(struct storing *s, struct store_err *err)
{
    struct buf text = BUF_INIT(MANIFEST_MAX_BYTES);
    manifest_text(&s->state.manifest, &text);
    s->state.is_pending = true;
    int failed = state_save(s->staging, s->bearer, &s->state, err);
    if (!failed)
        failed = put_manifest_once(s, &text, err);
    if (failed && err->code == STORE_PRECONDITION) {
        failed = settle_manifest(s, err);
        if (!failed) /* its version is known now; once more, which also serves when it is ours */
            failed = put_manifest_once(s, &text, err);
    }
    if (!failed) {
        s->state.is_pending = false;
        failed = state_save(s->staging, s->bearer, &s->state, err);
    }
    buf_cleanup(&text);
    return failed;
}

static int make_manifest(struct storing *s, struct store_err *err)
{
    struct manifest *m = &s->state.manifest;
    if (manifest_fits(m, &s->cluster, NULL) != 0) {
        manifest_cleanup(m); /* of files that nobody here could load */
        m->cluster = s->cluster;
    }
    for (size_t i = 0; i < s->n; i++)
        if (manifest_add(m, s->uploads[i].path, (uint64_t)s->uploads[i].before.st_size,
                         s->uploads[i].sha256, err) != 0)
            return -1;
    return 0;
}

static void prepare(struct storing *s, struct upload *u)
{
    client_request_init(&u->rq, "PUT", bearer_scope(s->bearer), u->path);
    u->rq.body_fd = u->fd;
    u->rq.body_size = (uint64_t)u->before.st_size;
    u->rq.if_match = known_version(s, u->path);
}

struct content {
    struct digest *digest;
    uint64_t size;
};

static int begin_content(void *user, struct store_err *err)
{
    struct content *c = user;
    (void)err;
    if (c->digest)
        digest_end(c->digest, NULL);
    c->digest = digest_new();
    c->size = 0;
    return 0;
}

static int add_content(void *user, const void *bytes, size_t n, struct store_err *err)
{
    struct content *c = user;
    (void)err;
    digest_add(c->digest, bytes, n);
    c->size += n;
    return 0;
}

static void count_done(struct storing *s, struct upload *u)
{
    manifest_settle(&s->state.manifest, u->path, u->sha256);
    u->how = UPLOAD_DONE;
    s->report->stored++;
    s->report->bytes += (uint64_t)u->before.st_size;
}

/* After a 412: when what is there is one of ours, takes over its version; the upload is then to be
 * done again, unless it was done before. */
static int adopt(struct storing *s, struct upload *u, struct store_err *err)
{
    static const struct client_sink sink = {begin_content, add_content};
    struct client_request rq;
    struct content c = {.size = 0};
    char sha256[DIGEST_SIZE] = "";
    client_request_init(&rq, "GET", bearer_scope(s->bearer), u->path);
    rq.sink = &sink;
    rq.user = &c;
    bool there = perform(s, &rq);
    if (c.digest)
        digest_end(c.digest, sha256);
    int failed = there || rq.status == 404 ? 0 : -1;
    if (failed)
        *err = rq.err;
    else if (there && !manifest_has(&s->state.manifest, u->path, c.size, sha256))
        failed = conflict(u->path, err);
    else
        state_set(&s->state, u->path, there ? rq.etag : "", there ? sha256 : "");
    if (!failed && there && strcmp(sha256, u->sha256) == 0)
        count_done(s, u);
    client_request_cleanup(&rq);
    return failed;
}

/* One that was written to while it went out is not what its digest says. */
static bool stayed_the_same(const struct upload *u)
{
    struct stat now;
    return fstat(u->fd, &now) == 0 && now.st_size == u->before.st_size &&
           now.st_mtim.tv_sec == u->before.st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == u->before.st_mtim.tv_nsec;
}

static int finish(struct storing *s, struct upload *u, struct store_err *err)
{
    if (u->rq.err.code == STORE_PRECONDITION)
        return adopt(s, u, err);
    *err = u->rq.err;
    if (err->code != STORE_OK)
        return -1;
    if (take_version(s, u->path, &u->rq, stayed_the_same(u) ? u->sha256 : "", err) != 0)
        return -1;
    count_done(s, u);
    return 0;
}

/* All that are to be done, at once. */
static void put_files(struct storing *s, struct store_err *first)
{
    struct client_request *rqs[MAX_UPLOADS];
    struct upload *of[MAX_UPLOADS];
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->uploads[i].how == UPLOAD_TODO) {
            prepare(s, &s->uploads[i]);
            of[n] = &s->uploads[i];
            rqs[n++] = &s->uploads[i].rq;
        }
    if (n == 0)
        return;
    client_perform(s->client, rqs, n, s->deadline_ms);
    for (size_t i = 0; i < n; i++) {
        struct store_err err;
        if (finish(s, of[i], &err) != 0) {
            of[i]->how = UPLOAD_FAILED;
            leave_out(of[i]->path, &err);
            if (first->code == STORE_OK)
                *first = err;
        }
        client_request_cleanup(rqs[i]);
    }
}

/* ---- All of it ---- */

static int store_changed(struct storing *s, struct store_err *err)
{
    struct store_err first = {.code = STORE_OK};
    if (client_new(s->conf, s->bearer, &s->client, err) != 0)
        return -1;
    if (!s->state.is_known && learn_all(s, err) != 0)
        return -1;
    if (s->state.is_pending && settle_manifest(s, err) != 0)
        return -1;
    if (make_manifest(s, err) != 0 || put_manifest(s, err) != 0)
        return -1;
    put_files(s, &first);
    put_files(s, &first); /* those whose version had to be learned; mostly none */
    s->report->failed = s->n - s->report->stored;
    if (s->report->failed && first.code == STORE_OK)
        conflict("a file", &first);
    int failed = state_save(s->staging, s->bearer, &s->state, err);
    if (first.code != STORE_OK)
        *err = first;
    return failed || first.code != STORE_OK ? -1 : 0;
}

static void close_all(struct storing *s)
{
    for (size_t i = 0; i < s->n; i++) {
        close(s->uploads[i].fd);
        free(s->uploads[i].path);
    }
    free(s->uploads);
    client_free(s->client);
    bearer_close(s->bearer);
    state_cleanup(&s->state);
    staging_close(s->staging);
}

int store_files(const struct compute_conf *conf, struct store_report *r, struct store_err *err)
{
    uint64_t began_ms = clock_mono_ms();
    struct storing s = {
        .conf = conf, .report = r, .deadline_ms = began_ms + conf->store_timeout_ms};
    *r = (struct store_report){.stored = 0};
    int failed = -1;
    if (pgfiles_cluster_at(conf->pgdata, &s.cluster, err) == 0 &&
        staging_open(conf->pgdata, s.deadline_ms, &s.staging, err) == 0 &&
        bearer_open(conf->token_file, &s.bearer, err) == 0) {
        state_load(s.staging, s.bearer, &s.state);
        look_at_all(&s);
        failed = s.n > 0 ? store_changed(&s, err) : 0;
    }
    if (failed && !r->failed)
        r->failed = s.n - r->stored;
    close_all(&s);
    r->time_ms = clock_mono_ms() - began_ms;
    return failed;
}
