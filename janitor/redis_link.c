#include "janitor/redis_link.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/redis_dial.h"
#include "janitor/redis_sentinel.h"
#include "janitor/secret_file.h"

enum {
    RETRY_AFTER_MS = 1000, /* no attempt for so long after a failure */
    QUIET_MS = 10000,      /* a full Redis answers a PING, and comes and goes */
    SILENT_MS = 5000,      /* of a subscription, until it is asked whether it still lives */
    SURE_FOR_MS = 1000,    /* how long an answer tells that Redis is up */
    DEFAULT_TIMEOUT_MS = 1000,
};

static const char is_cluster[] =
    "this is a Redis Cluster, which is not supported: use a single Redis or Sentinel";

struct redis_link {
    /* Constant after redis_link_open(). */
    struct redis_url url;                         /* no nodes: there is no Redis at all */
    char *password_file, *sentinel_password_file; /* NULL: none */
    char *ca_file, *client_cert_file, *client_key_file;
    struct redis_tls_conf tls;
    uint64_t timeout_ms;
    bool quiet;

    pthread_mutex_t lock; /* for what follows */
    struct redis_conn conn;
    bool subscribed;          /* on conn */
    size_t first_sentinel;    /* the one to ask first */
    uint64_t closed_until_ms; /* no attempt before */
    uint64_t heard_ms;        /* the latest answer */
    bool up;
    bool refuses; /* the latest command was one that the server takes from nobody now */
    bool down_logged, cluster_logged;
    uint64_t quiet_until_ms; /* no further outage is logged before */
    struct store_err why;    /* what ended the latest attempt */
};

/* ---- Opening ---- */

static int invalid(struct store_err *err, const char *why)
{
    return store_err_set(err, STORE_INVALID, "%s", why);
}

/* A setting that would be ignored is a mistake: TLS files without TLS would be plain text. */
static int check_conf(const struct redis_conf *conf, const struct redis_url *u,
                      struct store_err *err)
{
    if (u->password && conf->password_file)
        return invalid(err, "the password is both in redis_url and in redis_password_file; "
                            "expected one of them");
    if (u->user && !u->password && !conf->password_file)
        return invalid(err, "redis_url names a user without a password; expected user:password@ "
                            "or redis_password_file");
    if (!u->tls && (conf->ca_file || conf->client_cert_file || conf->client_key_file))
        return invalid(err, "redis_ca_file, redis_client_cert_file and redis_client_key_file are "
                            "for TLS; expected rediss:// in redis_url");
    if (!u->master && conf->sentinel_password_file)
        return invalid(err, "redis_sentinel_password_file is for sentinels; expected "
                            "redis+sentinel:// in redis_url");
    return 0;
}

/* The files are read at each connection; here only to tell at the start what is wrong with them. */
static int check_files(const struct redis_link *l, struct store_err *err)
{
    const char *const paths[] = {l->password_file, l->sentinel_password_file};
    for (size_t i = 0; i < LEN(paths); i++) {
        char *secret = paths[i] ? secret_file_read(paths[i], err) : NULL;
        if (paths[i] && !secret)
            return -1;
        secret_file_forget(secret);
    }
    return l->url.tls ? redis_tls_check(&l->tls, err) : 0;
}

/* An empty text is no setting. */
static char *copy(const char *text)
{
    return text && *text ? xstrdup(text) : NULL;
}

static struct redis_link *link_new(const struct redis_conf *conf)
{
    struct redis_link *l = xcalloc(1, sizeof(*l));
    pthread_mutex_init(&l->lock, NULL);
    l->timeout_ms = conf->timeout_ms ? conf->timeout_ms : DEFAULT_TIMEOUT_MS;
    l->quiet = conf->quiet;
    l->password_file = copy(conf->password_file);
    l->sentinel_password_file = copy(conf->sentinel_password_file);
    l->ca_file = copy(conf->ca_file);
    l->client_cert_file = copy(conf->client_cert_file);
    l->client_key_file = copy(conf->client_key_file);
    l->tls = (struct redis_tls_conf){l->ca_file, l->client_cert_file, l->client_key_file};
    return l;
}

int redis_link_open(const struct redis_conf *conf, struct redis_link **out, struct store_err *err)
{
    struct redis_link *l = link_new(conf);
    int rc = 0;
    if (!conf->url || !*conf->url)
        store_err_set(&l->why, STORE_BUSY, "no redis_url is set");
    else if (!redis_url_parse(conf->url, &l->url))
        rc = store_err_set(err, STORE_INVALID, "redis_url is malformed; expected %s",
                           redis_url_forms);
    else if (check_conf(conf, &l->url, err) != 0 || check_files(l, err) != 0)
        rc = -1;
    if (rc != 0)
        redis_link_close(l);
    else
        *out = l;
    return rc;
}

void redis_link_close(struct redis_link *l)
{
    if (!l)
        return;
    redis_conn_close(&l->conn);
    redis_url_cleanup(&l->url);
    free(l->password_file);
    free(l->sentinel_password_file);
    free(l->ca_file);
    free(l->client_cert_file);
    free(l->client_key_file);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- Up and down; all under the lock ---- */

static void heard(struct redis_link *l)
{
    if (l->down_logged)
        log_info("ledger is up again");
    l->down_logged = l->cluster_logged = false;
    l->up = true;
    l->heard_ms = clock_mono_ms();
    l->why = (struct store_err){0};
}

/* A person must act on a Redis Cluster: that is told even in the middle of another outage. */
static void went_down(struct redis_link *l, const struct store_err *why)
{
    uint64_t now_ms = clock_mono_ms();
    bool cluster = !strcmp(why->msg, is_cluster);
    bool news = !l->down_logged && now_ms >= l->quiet_until_ms;
    if (!l->quiet && (news || (cluster && !l->cluster_logged))) {
        log_warn("ledger is down; going on without", LOG_S("error", why->msg));
        l->down_logged = true;
        l->quiet_until_ms = now_ms + QUIET_MS;
    }
    l->cluster_logged |= cluster;
    l->why = *why;
    redis_conn_close(&l->conn);
    l->up = l->subscribed = false;
    l->closed_until_ms = now_ms + RETRY_AFTER_MS;
}

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

/* Error answers of a server that cannot serve anybody now. Older servers put the name into the
 * middle of a script's error. */
static bool means_down(const char *error)
{
    static const char *const names[] = {"OOM ",     "MISCONF ",    "READONLY ",   "LOADING ",
                                        "BUSY ",    "NOAUTH ",     "WRONGPASS ",  "NOPERM ",
                                        "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN ", "NOREPLICAS "};
    for (size_t i = 0; i < LEN(names); i++) {
        if (strstr(error, names[i]))
            return true;
    }
    return false;
}

/* ---- The greeting ---- */

/* *password NULL: none is to be given. It is read anew each time, so that it may be changed. */
static int read_password(const char *path, char **password, struct store_err *err)
{
    *password = path ? secret_file_read(path, err) : NULL;
    return path && !*password ? -1 : 0;
}

static int login(struct redis_link *l, struct store_err *err)
{
    char *secret;
    if (read_password(l->password_file, &secret, err) != 0)
        return -1;
    const char *password = secret ? secret : l->url.password;
    int rc = password ? redis_conn_login(&l->conn, l->url.user, password, err) : 0;
    secret_file_forget(secret);
    return rc;
}

/* A cluster would send us elsewhere with most keys. A user who may not ask (NOPERM) learns that
 * from the first such answer. */
static int refuse_cluster(struct redis_link *l, struct store_err *err)
{
    const char *args[] = {"INFO", "cluster"};
    redisReply *r = redis_conn_command(&l->conn, 2, args, NULL, err);
    if (!r)
        return -1;
    bool cluster = r->type == REDIS_REPLY_STRING && strstr(r->str, "cluster_enabled:1");
    freeReplyObject(r);
    return cluster ? store_err_set(err, STORE_INVALID, "%s", is_cluster) : 0;
}

/* A sentinel may not know yet that its master became a replica. */
static int expect_master(struct redis_link *l, struct store_err *err)
{
    const char *args[] = {"ROLE"};
    redisReply *r = redis_conn_command(&l->conn, 1, args, NULL, err);
    if (!r)
        return -1;
    int rc = 0;
    const redisReply *role = r->type == REDIS_REPLY_ARRAY && r->elements ? r->element[0] : r;
    if (role->type == REDIS_REPLY_ERROR)
        rc = store_err_set(err, STORE_BUSY, "asked for its role, the master says: %s", role->str);
    else if (role->type != REDIS_REPLY_STRING || strcmp(role->str, "master") != 0)
        rc = store_err_set(err, STORE_BUSY,
                           "what the sentinels call the master is none: its role "
                           "is '%s'",
                           role->type == REDIS_REPLY_STRING ? role->str : "");
    freeReplyObject(r);
    return rc;
}

static int select_db(struct redis_link *l, struct store_err *err)
{
    char db[16];
    const char *args[] = {"SELECT", db};
    snprintf(db, sizeof(db), "%" PRIu32, l->url.db);
    return l->url.db == 0 ? 0 : redis_conn_expect_status(&l->conn, 2, args, err);
}

/* A stopped server accepts connections all the same, hence the PING. One that is full or a replica
 * answers that, too: it is up again when it takes what it had refused, a write. */
static int expect_answer(struct redis_link *l, struct store_err *err)
{
    const char *ping[] = {"PING"};
    const char *write[] = {"HSET", "epufs:probe", "up", "1"};
    if (!l->refuses)
        return redis_conn_expect_status(&l->conn, 1, ping, err);
    redisReply *r = redis_conn_command(&l->conn, LEN(write), write, NULL, err);
    if (!r)
        return -1;
    l->refuses = r->type == REDIS_REPLY_ERROR && means_down(r->str);
    if (l->refuses)
        store_err_set(err, STORE_BUSY, "%s", r->str);
    freeReplyObject(r);
    return l->refuses ? -1 : 0;
}

static int greet(struct redis_link *l, struct store_err *err)
{
    if (login(l, err) != 0 || refuse_cluster(l, err) != 0 ||
        (l->url.master && expect_master(l, err) != 0) || select_db(l, err) != 0 ||
        expect_answer(l, err) != 0)
        return -1;
    return redis_conn_set_timeout(&l->conn, l->timeout_ms, err);
}

static int find_master(struct redis_link *l, uint64_t deadline_ms, struct redis_node *out,
                       struct store_err *err)
{
    char *password;
    if (read_password(l->sentinel_password_file, &password, err) != 0)
        return -1;
    int rc = redis_sentinel_find(&l->url, &l->first_sentinel, l->url.tls ? &l->tls : NULL, password,
                                 deadline_ms, out, err);
    secret_file_forget(password);
    return rc;
}

static int connect_anew(struct redis_link *l, struct store_err *err)
{
    uint64_t deadline_ms = clock_mono_ms() + l->timeout_ms;
    struct redis_node node = l->url.nodes[0];
    if (l->url.master && find_master(l, deadline_ms, &node, err) != 0)
        return -1;
    if (redis_dial(&node, l->url.tls ? &l->tls : NULL, deadline_ms, &l->conn, err) != 0)
        return -1;
    return greet(l, err);
}

static bool ready(struct redis_link *l)
{
    struct store_err err = {0};
    if (l->url.n_nodes == 0 || clock_mono_ms() < l->closed_until_ms)
        return false;
    if (l->conn.redis || connect_anew(l, &err) == 0)
        return true;
    went_down(l, &err);
    return false;
}

/* ---- Commands ---- */

/* An error answer: whether it says that nothing can be had now. */
static void refused(struct redis_link *l, const char *error)
{
    struct store_err err;
    bool cluster = begins(error, "MOVED ") || begins(error, "ASK ");
    store_err_set(&err, STORE_BUSY, "%s", cluster ? is_cluster : error);
    l->refuses = means_down(error);
    if (cluster || l->refuses)
        went_down(l, &err);
    else if (!l->quiet)
        log_warn("ledger refused a command", LOG_S("error", error));
}

static redisReply *command_locked(struct redis_link *l, int n, const char **args)
{
    struct store_err err = {0};
    if (!ready(l))
        return NULL;
    redisReply *r = redis_conn_command(&l->conn, n, args, NULL, &err);
    if (!r) {
        went_down(l, &err);
        return NULL;
    }
    if (r->type != REDIS_REPLY_ERROR || begins(r->str, "NOSCRIPT")) {
        heard(l);
        return r;
    }
    refused(l, r->str);
    freeReplyObject(r);
    return NULL;
}

redisReply *redis_link_command(struct redis_link *l, int n, const char **args)
{
    pthread_mutex_lock(&l->lock);
    redisReply *r = command_locked(l, n, args);
    pthread_mutex_unlock(&l->lock);
    return r;
}

/* ---- A subscription ---- */

static bool subscribed(struct redis_link *l, const char *channel)
{
    const char *args[] = {"SUBSCRIBE", channel};
    if (l->conn.redis && l->subscribed)
        return true;
    redisReply *r = command_locked(l, LEN(args), args);
    if (r)
        freeReplyObject(r);
    l->subscribed = r != NULL;
    return l->subscribed;
}

/* What stands in ["message", channel, text]; NULL: it is another kind of answer. */
static char *text_of(const redisReply *r)
{
    bool is_message = r->type == REDIS_REPLY_ARRAY && r->elements == 3 &&
                      r->element[0]->type == REDIS_REPLY_STRING &&
                      !strcmp(r->element[0]->str, "message") &&
                      r->element[2]->type == REDIS_REPLY_STRING;
    return is_message ? xstrdup(r->element[2]->str) : NULL;
}

/* A connection that is lost without a word is noticed by a PING that has no answer. */
static char *next_locked(struct redis_link *l, uint64_t until_ms)
{
    const char *ping[] = {"PING"};
    char *text = NULL;
    while (!text) {
        struct store_err err = {0};
        uint64_t now_ms = clock_mono_ms(), sure_until_ms = l->heard_ms + SILENT_MS;
        uint64_t stop_ms = until_ms < sure_until_ms ? until_ms : sure_until_ms;
        redisReply *r =
            now_ms >= sure_until_ms
                ? redis_conn_command(&l->conn, LEN(ping), ping, NULL, &err)
                : redis_conn_next(&l->conn, stop_ms > now_ms ? stop_ms - now_ms : 0, &err);
        if (!r && err.code != STORE_OK) {
            went_down(l, &err);
            return NULL;
        }
        if (r) {
            heard(l);
            text = text_of(r);
            freeReplyObject(r);
        } else if (stop_ms == until_ms) {
            return NULL;
        }
    }
    return text;
}

char *redis_link_message(struct redis_link *l, const char *channel, uint32_t wait_ms)
{
    uint64_t until_ms = clock_mono_ms() + wait_ms;
    pthread_mutex_lock(&l->lock);
    bool on = subscribed(l, channel);
    char *text = on ? next_locked(l, until_ms) : NULL;
    pthread_mutex_unlock(&l->lock);
    uint64_t now_ms = clock_mono_ms();
    if (!text && now_ms < until_ms) { /* no attempt before closed_until_ms is of any use */
        const struct timespec rest = {(time_t)((until_ms - now_ms) / 1000),
                                      (long)((until_ms - now_ms) % 1000) * 1000000};
        nanosleep(&rest, NULL);
    }
    return text;
}

/* ---- Up or down ---- */

bool redis_link_up(struct redis_link *l)
{
    const char *ping[] = {"PING"};
    pthread_mutex_lock(&l->lock);
    bool doubt = clock_mono_ms() - l->heard_ms > SURE_FOR_MS || !l->up;
    if (doubt) {
        redisReply *r = command_locked(l, 1, ping);
        if (r)
            freeReplyObject(r);
    }
    bool up = l->up;
    pthread_mutex_unlock(&l->lock);
    return up;
}

const char *redis_link_why_down(struct redis_link *l, char *buf, size_t n)
{
    pthread_mutex_lock(&l->lock);
    text_copy(buf, n, l->why.msg);
    pthread_mutex_unlock(&l->lock);
    return buf;
}
