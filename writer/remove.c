/* Deletions over HTTP. A scope's: tombstone, intent, first sweep, then the answer; the janitor
 * finds the intent, verifies and completes. The work is detached from the request. */
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "epufs/deletion.h"
#include "writer/writer.h"

/* ---- A file ---- */

struct file_removal {
    struct request *rq; /* NULL: the request is over */
    store_op *op;
};

static void file_release(struct file_removal *f)
{
    if (!f->rq && !f->op)
        free(f);
}

static void file_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct file_removal *f = user;
    (void)info;
    f->op = NULL;
    if (f->rq && err->code == STORE_OK)
        request_json(f->rq, 200, "{}\n", 3);
    else if (f->rq)
        request_fail_store(f->rq, err);
    file_release(f);
}

static void file_end(struct request *rq)
{
    struct file_removal *f = rq->state;
    f->rq = NULL; /* the removal itself goes on */
    file_release(f);
}

static const struct request_ops file_ops = {.end = file_end};

void remove_file_begin(struct request *rq)
{
    uint64_t gen;
    char key[LAYOUT_KEY_SIZE];
    struct store_err err;
    if (!request_may_use_files(rq, &gen))
        return;
    struct file_removal *f = xcalloc(1, sizeof(*f));
    f->rq = rq;
    rq->state = f;
    rq->ops = &file_ops;
    layout_file(&rq->route.scope, gen, rq->route.path, key);
    f->op = store_delete(rq->files, rq->worker->loop, key, 0, file_done, f, &err);
    if (!f->op)
        request_fail_store(rq, &err);
}

/* ---- A scope: the threads ---- */

enum { QUEUE_MAX = 256 };

/* Belongs to the queue or its thread until it is posted to the loop of the request, and then to
 * that loop. */
struct removal {
    struct deletion deletion;
    struct deletion_counts counts;
    struct store_err err;
    bool accepted;
    struct removal *next;

    pthread_mutex_t lock;
    struct request *rq; /* under the lock; NULL: nobody waits for the answer */
    struct loop_task answer;
};

static struct {
    store *store;
    pthread_t *threads;
    size_t n_threads, n_queued;
    pthread_mutex_t lock; /* guards the queue and stop */
    pthread_cond_t changed;
    struct removal *first, **last;
    bool stop;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void removal_free(struct removal *m)
{
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static bool stopping(void)
{
    pthread_mutex_lock(&pool.lock);
    bool stop = pool.stop;
    pthread_mutex_unlock(&pool.lock);
    return stop;
}

static bool go_on(void *user, const struct store_progress *p)
{
    (void)user;
    (void)p;
    return !stopping();
}

static void audit(const struct removal *m)
{
    char path[SCOPE_PATH_SIZE];
    scope_path(&m->deletion.scope, path);
    log_info("audit: deletion over HTTP", LOG_S("scope", path), LOG_S("job", m->deletion.job_id),
             LOG_B("has_upto_gen", m->deletion.has_upto_gen),
             LOG_U("upto_gen", m->deletion.upto_gen), LOG_B("accepted", m->accepted),
             LOG_U("files", m->counts.files), LOG_U("bytes", m->counts.bytes),
             LOG_S("error", m->err.code ? m->err.msg : NULL));
}

static void perform(struct removal *m, store_loop *loop)
{
    m->accepted = deletion_accept(pool.store, loop, &m->deletion, &m->err) == 0;
    if (m->accepted)
        deletion_sweep(pool.store, loop, &m->deletion, NULL, go_on, NULL, &m->counts, NULL,
                       &m->err);
    audit(m);
}

static struct removal *take(void)
{
    pthread_mutex_lock(&pool.lock);
    while (!pool.first && !pool.stop)
        pthread_cond_wait(&pool.changed, &pool.lock);
    struct removal *m = pool.stop ? NULL : pool.first;
    if (m) {
        pool.first = m->next;
        pool.n_queued--;
        if (!pool.first)
            pool.last = &pool.first;
    }
    pthread_mutex_unlock(&pool.lock);
    return m;
}

static void hand_over(struct removal *m)
{
    pthread_mutex_lock(&m->lock);
    bool waited_for = m->rq != NULL;
    /* Under the lock, so that the request, and with it the loop, is still there. */
    if (waited_for)
        loop_post(m->rq->worker->loop, &m->answer);
    pthread_mutex_unlock(&m->lock);
    if (!waited_for)
        removal_free(m);
}

static void *thread_main(void *unused)
{
    store_loop *loop = NULL;
    struct store_err err;
    struct removal *m;
    (void)unused;
    if (store_loop_new(&loop, &err) != 0) {
        log_error("deletion thread", LOG_ERR(&err));
        abort();
    }
    while ((m = take())) {
        perform(m, loop);
        hand_over(m);
    }
    store_loop_free(loop);
    return NULL;
}

void remove_start(struct service *s, size_t n_threads)
{
    pool.store = s->store;
    pool.last = &pool.first;
    pool.threads = xcalloc(n_threads, sizeof(*pool.threads));
    for (size_t i = 0; i < n_threads; i++)
        if (pthread_create(&pool.threads[i], NULL, thread_main, NULL) == 0)
            pool.n_threads++;
}

void remove_stop(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.stop = true;
    pthread_cond_broadcast(&pool.changed);
    pthread_mutex_unlock(&pool.lock);
    for (size_t i = 0; i < pool.n_threads; i++)
        pthread_join(pool.threads[i], NULL);
    for (struct removal *m = pool.first; m;) {
        struct removal *next = m->next;
        removal_free(m);
        m = next;
    }
    free(pool.threads);
}

/* ---- A scope: the request ---- */

static void reply_removed(struct request *rq, const struct removal *m)
{
    const struct scope *s = &m->deletion.scope;
    json_t *o = json_object();
    json_object_set_new(o, "tenant", json_string(s->tenant));
    if (s->kind != SCOPE_TENANT)
        json_object_set_new(o, "timeline", json_string(s->timeline));
    if (s->kind == SCOPE_ENDPOINT)
        json_object_set_new(o, "endpoint", json_string(s->endpoint));
    json_object_set_new(o, "deleted",
                        json_pack("{s:I,s:I}", "files", (json_int_t)m->counts.files, "bytes",
                                  (json_int_t)m->counts.bytes));
    json_object_set_new(o, "job_id", json_string(m->deletion.job_id));
    char *text = json_dumps(o, JSON_COMPACT);
    request_json(rq, 200, text, strlen(text));
    free(text);
    json_decref(o);
}

static void answer(void *user)
{
    struct removal *m = user;
    /* The lock also waits until hand_over() has let go of it. */
    pthread_mutex_lock(&m->lock);
    struct request *rq = m->rq;
    pthread_mutex_unlock(&m->lock);
    if (rq) {
        rq->state = NULL;
        if (m->err.code == STORE_OK) {
            reply_removed(rq, m);
        } else if (m->accepted) {
            log_warn("sweep broke off, the janitor goes on", LOG_S("job", m->deletion.job_id),
                     LOG_ERR(&m->err));
            request_fail(rq, 503,
                         "the deletion is accepted and goes on; its first sweep broke off");
        } else {
            request_fail_store(rq, &m->err);
        }
    }
    removal_free(m);
}

static void scope_end(struct request *rq)
{
    struct removal *m = rq->state;
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    m->rq = NULL;
    pthread_mutex_unlock(&m->lock);
}

static const struct request_ops scope_ops = {.end = scope_end};

static bool enqueue(struct removal *m)
{
    pthread_mutex_lock(&pool.lock);
    bool room = pool.n_queued < QUEUE_MAX && !pool.stop;
    if (room) {
        *pool.last = m;
        pool.last = &m->next;
        pool.n_queued++;
        pthread_cond_signal(&pool.changed);
    }
    pthread_mutex_unlock(&pool.lock);
    return room;
}

void remove_scope_begin(struct request *rq)
{
    bool has_gen;
    uint64_t gen;
    if (!request_may_delete(rq, &has_gen, &gen))
        return;
    struct removal *m = xcalloc(1, sizeof(*m));
    struct deletion *d = &m->deletion;
    d->scope = rq->route.scope;
    d->has_upto_gen = has_gen;
    d->upto_gen = has_gen ? gen : 0;
    d->requested_at_s = clock_real_s();
    strcpy(d->reason, "http");
    deletion_set_job_id(d);
    m->rq = rq;
    m->answer = (struct loop_task){.fn = answer, .user = m};
    pthread_mutex_init(&m->lock, NULL);
    rq->state = m;
    rq->ops = &scope_ops;
    if (enqueue(m))
        return;
    rq->state = NULL;
    removal_free(m);
    request_fail(rq, 503, "too many deletions are waiting");
}
