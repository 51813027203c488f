#include <inttypes.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/xalloc.h"
#include "janitor/ledger.h"
#include "janitor/redis_link.h"

enum {
    OPEN_KEEP_S = 30 * 24 * 3600, /* an open record that nobody touches goes in the end */
    MAX_OPEN = 100000,            /* ids in epufs:open, should their ends have been lost */
    MAX_DONE = 1000,              /* ids in epufs:done */
    BOUND_EVERY = 64,             /* of the sets: how often they are looked at */
    MAX_ARGS = 40,
    MAX_NUMBERS = 12,
    SHA1_HEX_SIZE = 41,
};

#define KEY_OPEN "epufs:open"
#define KEY_DONE "epufs:done"

/* Each script touches the record of one job only, so that its cluster slot is clear. All of them
 * answer {verdict, the server's milliseconds, the record as a flat list}. */
#define LUA_NOW                                          \
    "local t = redis.call('TIME') "                      \
    "local now = t[1] * 1000 + math.floor(t[2] / 1000) " \
    "local function answer(verdict) "                    \
    "  return {verdict, string.format('%.0f', now), redis.call('HGETALL', KEYS[1])} end "

/* ARGV: owner, lease_ms, keep_s, again, accepted_at_s (0: not known), then the fields of a fresh
 * record as name and value. */
static const char claim_lua[] = LUA_NOW
    "local r = redis.call('HMGET', KEYS[1], 'fence', 'owner', 'lease_until_ms', 'state', "
    "  'accepted_at_s') "
    "local left = (tonumber(r[3] or '0') or 0) - now "
    "if r[1] and r[2] ~= '' and r[2] ~= ARGV[1] and left > 0 then return answer('busy') end "
    "if r[1] and r[4] == 'done' then "
    "  if ARGV[4] == '0' and (ARGV[5] == '0' or ARGV[5] == r[5]) then return answer('done') end "
    "  redis.call('HSET', KEYS[1], 'cursor', '', 'accepted_at_s', ARGV[5]) end "
    "if not r[1] then "
    "  redis.call('HSET', KEYS[1], 'started_at_s', t[1], unpack(ARGV, 6)) end "
    "redis.call('HINCRBY', KEYS[1], 'fence', 1) "
    "redis.call('HINCRBY', KEYS[1], 'attempts', 1) "
    "redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'updated_at_s', t[1], "
    "  'lease_until_ms', string.format('%.0f', now + ARGV[2])) "
    "redis.call('EXPIRE', KEYS[1], ARGV[3]) "
    "return answer('ok')";

/* ARGV: owner, fence (0: whatever it is), lease_ms (0: gives it up), keep_s, then fields. A record
 * that is gone, since Redis lost its memory, is written anew. */
static const char save_lua[] =
    LUA_NOW "local r = redis.call('HMGET', KEYS[1], 'fence', 'owner') "
            "local fence, lease = ARGV[2], tonumber(ARGV[3]) "
            "if fence == '0' then fence = r[1] or '0' "
            "elseif r[1] and (r[1] ~= fence or (r[2] ~= ARGV[1] and r[2] ~= '')) then "
            "  return answer('fenced') end "
            "redis.call('HSET', KEYS[1], 'fence', fence, 'updated_at_s', t[1], "
            "  'owner', lease > 0 and ARGV[1] or '', "
            "  'lease_until_ms', lease > 0 and string.format('%.0f', now + lease) or '0', "
            "  unpack(ARGV, 5)) "
            "if redis.call('HGET', KEYS[1], 'state') == 'done' then "
            "  redis.call('HSET', KEYS[1], 'done_at_s', t[1]) end "
            "redis.call('EXPIRE', KEYS[1], ARGV[4]) "
            "return answer('ok')";

/* ARGV: owner, fence. */
static const char drop_lua[] =
    LUA_NOW "local r = redis.call('HMGET', KEYS[1], 'fence', 'owner') "
            "if r[1] ~= ARGV[2] or r[2] ~= ARGV[1] then return answer('fenced') end "
            "redis.call('DEL', KEYS[1]) "
            "return answer('ok')";

static const char get_lua[] =
    LUA_NOW "return answer(redis.call('EXISTS', KEYS[1]) == 1 and 'ok' or 'none')";

enum script_id { SCRIPT_CLAIM, SCRIPT_SAVE, SCRIPT_DROP, SCRIPT_GET, N_SCRIPTS };

static const char *const script_texts[N_SCRIPTS] = {
    [SCRIPT_CLAIM] = claim_lua,
    [SCRIPT_SAVE] = save_lua,
    [SCRIPT_DROP] = drop_lua,
    [SCRIPT_GET] = get_lua,
};

struct ledger {
    atomic_uint n_indexed;
    struct redis_link *redis;
    char shas[N_SCRIPTS][SHA1_HEX_SIZE];
};

/* ---- Opening ---- */

/* Redis names a script by the SHA-1 of its text. Without it (a library that has no SHA-1 any more)
 * every call falls back to sending the text. */
static void name_scripts(struct ledger *l)
{
    for (size_t i = 0; i < N_SCRIPTS; i++) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned int n = 0;
        const char *text = script_texts[i];
        if (EVP_Digest(text, strlen(text), digest, &n, EVP_sha1(), NULL) == 1 &&
            n * 2 + 1 == SHA1_HEX_SIZE)
            hex_encode(digest, n, l->shas[i]);
        else
            memset(l->shas[i], '0', SHA1_HEX_SIZE - 1);
    }
}

int ledger_open_conf(const struct redis_conf *conf, struct ledger **out, struct store_err *err)
{
    struct ledger *l = xcalloc(1, sizeof(*l));
    if (redis_link_open(conf, &l->redis, err) != 0) {
        free(l);
        return -1;
    }
    name_scripts(l);
    *out = l;
    return 0;
}

int ledger_open(const char *url, uint32_t timeout_ms, struct ledger **out, struct store_err *err)
{
    return ledger_open_conf(&(struct redis_conf){.url = url, .timeout_ms = timeout_ms}, out, err);
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    redis_link_close(l->redis);
    free(l);
}

bool ledger_up(struct ledger *l)
{
    return redis_link_up(l->redis);
}

const char *ledger_why_down(struct ledger *l, char *buf, size_t n)
{
    return redis_link_why_down(l->redis, buf, n);
}

/* For those whose answer does not matter: epufs:open and epufs:done only serve people. */
static void tell(struct ledger *l, int n, const char **args)
{
    redisReply *r = redis_link_command(l->redis, n, args);
    if (r)
        freeReplyObject(r);
}

/* ---- Arguments of scripts ---- */

struct args {
    const char *texts[MAX_ARGS];
    int n;
    char numbers[MAX_NUMBERS][24];
    size_t n_numbers;
};

static void arg(struct args *a, const char *text)
{
    a->texts[a->n++] = text;
}

static void arg_u64(struct args *a, uint64_t v)
{
    char *text = a->numbers[a->n_numbers++];
    snprintf(text, sizeof(a->numbers[0]), "%" PRIu64, v);
    arg(a, text);
}

static void field(struct args *a, const char *name, const char *value)
{
    arg(a, name);
    arg(a, value);
}

static void field_u64(struct args *a, const char *name, uint64_t value)
{
    arg(a, name);
    arg_u64(a, value);
}

/* The record's fields; a fresh one and a changed one are written alike. */
static void put_record(struct args *a, const struct ledger_job *job, const char *state,
                       const char *cursor)
{
    field(a, "scope", job->scope);
    field(a, "upto_gen", job->upto_gen);
    field_u64(a, "dry_run", job->dry_run);
    field(a, "state", state);
    field(a, "cursor", cursor);
    field_u64(a, "files", job->files);
    field_u64(a, "bytes", job->bytes);
    field_u64(a, "attempts", job->attempts);
    field_u64(a, "accepted_at_s", (uint64_t)job->accepted_at_s);
    field(a, "error", job->error);
}

/* ---- Answers of scripts ---- */

static void read_text(const redisReply *r, char *out, size_t size)
{
    size_t n = r->len < size ? r->len : size - 1;
    memcpy(out, r->str, n);
    out[n] = '\0';
}

static uint64_t read_u64(const redisReply *r)
{
    uint64_t v;
    return parse_u64(r->str, r->len, &v) ? v : 0;
}

static bool read_text_field(const char *name, const redisReply *v, struct ledger_job *job)
{
    const struct {
        const char *name;
        char *out;
        size_t size;
    } texts[] = {
        {"scope", job->scope, sizeof(job->scope)},
        {"upto_gen", job->upto_gen, sizeof(job->upto_gen)},
        {"state", job->state, sizeof(job->state)},
        {"owner", job->owner, sizeof(job->owner)},
        {"cursor", job->cursor, sizeof(job->cursor)},
        {"error", job->error, sizeof(job->error)},
    };
    for (size_t i = 0; i < LEN(texts); i++) {
        if (strcmp(name, texts[i].name) != 0)
            continue;
        /* A cursor that was cut would be another place to go on from. */
        if (texts[i].out != job->cursor || v->len < sizeof(job->cursor))
            read_text(v, texts[i].out, texts[i].size);
        return true;
    }
    return false;
}

static void read_number_field(const char *name, const redisReply *v, uint64_t now_ms,
                              struct ledger_job *job)
{
    uint64_t n = read_u64(v);
    if (!strcmp(name, "files"))
        job->files = n;
    else if (!strcmp(name, "bytes"))
        job->bytes = n;
    else if (!strcmp(name, "attempts"))
        job->attempts = (uint32_t)n;
    else if (!strcmp(name, "fence"))
        job->fence = n;
    else if (!strcmp(name, "accepted_at_s"))
        job->accepted_at_s = (int64_t)n;
    else if (!strcmp(name, "started_at_s"))
        job->started_at_s = (int64_t)n;
    else if (!strcmp(name, "updated_at_s"))
        job->updated_at_s = (int64_t)n;
    else if (!strcmp(name, "done_at_s"))
        job->done_at_s = (int64_t)n;
    else if (!strcmp(name, "lease_until_ms"))
        job->lease_ms_left = n > now_ms ? (int64_t)(n - now_ms) : 0;
    else if (!strcmp(name, "dry_run"))
        job->dry_run = n != 0;
}

/* flat: name, value, name, value, … Everything but the id is replaced. */
static void read_record(const redisReply *flat, uint64_t now_ms, struct ledger_job *job)
{
    struct ledger_job fresh = {0};
    memcpy(fresh.job_id, job->job_id, sizeof(fresh.job_id));
    for (size_t i = 0; i + 1 < flat->elements; i += 2) {
        const redisReply *name = flat->element[i], *v = flat->element[i + 1];
        if (name->type != REDIS_REPLY_STRING || v->type != REDIS_REPLY_STRING)
            continue;
        if (!read_text_field(name->str, v, &fresh))
            read_number_field(name->str, v, now_ms, &fresh);
    }
    *job = fresh;
}

static enum ledger_verdict verdict_of(const redisReply *r)
{
    static const struct {
        const char *name;
        enum ledger_verdict verdict;
    } names[] = {
        {"ok", LEDGER_OK},     {"busy", LEDGER_BUSY}, {"fenced", LEDGER_FENCED},
        {"none", LEDGER_NONE}, {"done", LEDGER_DONE},
    };
    for (size_t i = 0; i < LEN(names); i++) {
        if (r->type == REDIS_REPLY_STRING && !strcmp(r->str, names[i].name))
            return names[i].verdict;
    }
    return LEDGER_DOWN;
}

/* Reads {verdict, now, record}. job, now_ms: NULL when not wanted. Frees the answer. */
static enum ledger_verdict read_answer(redisReply *r, struct ledger_job *job, uint64_t *now_ms)
{
    if (!r)
        return LEDGER_DOWN;
    enum ledger_verdict verdict = LEDGER_DOWN;
    if (r->type == REDIS_REPLY_ARRAY && r->elements == 3 &&
        r->element[1]->type == REDIS_REPLY_STRING && r->element[2]->type == REDIS_REPLY_ARRAY) {
        uint64_t now = read_u64(r->element[1]);
        verdict = verdict_of(r->element[0]);
        if (job && (verdict == LEDGER_OK || verdict == LEDGER_BUSY))
            read_record(r->element[2], now, job);
        if (now_ms)
            *now_ms = now;
    }
    freeReplyObject(r);
    return verdict;
}

/* ---- Scripts ---- */

enum { JOB_KEY_SIZE = JOB_ID_SIZE + 16 };

static void begin_script(struct args *a, enum script_id id, const struct ledger *l,
                         const char *job_id, char key[JOB_KEY_SIZE])
{
    a->n = 0;
    a->n_numbers = 0;
    snprintf(key, JOB_KEY_SIZE, "epufs:job:{%s}", job_id);
    arg(a, "EVALSHA");
    arg(a, l->shas[id]);
    arg(a, "1");
    arg(a, key);
}

static redisReply *run_script(struct ledger *l, enum script_id id, struct args *a)
{
    redisReply *r = redis_link_command(l->redis, a->n, a->texts);
    if (!r || r->type != REDIS_REPLY_ERROR) /* the one error that is handed on is NOSCRIPT */
        return r;
    freeReplyObject(r);
    a->texts[0] = "EVAL";
    a->texts[1] = script_texts[id];
    return redis_link_command(l->redis, a->n, a->texts);
}

/* ---- The sets for people ---- */

static void index_open(struct ledger *l, const struct ledger_job *job)
{
    char score[24], last[16];
    snprintf(score, sizeof(score), "%" PRId64, job->accepted_at_s);
    snprintf(last, sizeof(last), "-%d", MAX_OPEN + 1);
    const char *add[] = {"ZADD", KEY_OPEN, score, job->job_id};
    const char *bound[] = {"ZREMRANGEBYRANK", KEY_OPEN, "0", last};
    const char *undone[] = {"ZREM", KEY_DONE, job->job_id};
    tell(l, LEN(add), add);
    if (atomic_fetch_add(&l->n_indexed, 1) % BOUND_EVERY == 0)
        tell(l, LEN(bound), bound);
    if (!strcmp(job->state, "done"))
        tell(l, LEN(undone), undone);
}

static void index_done(struct ledger *l, const char *job_id, uint64_t now_ms)
{
    char score[32], last[16];
    snprintf(score, sizeof(score), "%" PRIu64 ".%03u", now_ms / 1000, (unsigned)(now_ms % 1000));
    snprintf(last, sizeof(last), "-%d", MAX_DONE + 1);
    const char *closed[] = {"ZREM", KEY_OPEN, job_id};
    const char *add[] = {"ZADD", KEY_DONE, score, job_id};
    const char *bound[] = {"ZREMRANGEBYRANK", KEY_DONE, "0", last};
    tell(l, LEN(closed), closed);
    tell(l, LEN(add), add);
    if (atomic_fetch_add(&l->n_indexed, 1) % BOUND_EVERY == 0)
        tell(l, LEN(bound), bound);
}

/* ---- The interface ---- */

enum ledger_verdict ledger_claim(struct ledger *l, const char *owner, uint32_t lease_ms, bool again,
                                 struct ledger_job *job)
{
    struct args a;
    char key[JOB_KEY_SIZE];
    const char *state = *job->state ? job->state : "accepted";
    begin_script(&a, SCRIPT_CLAIM, l, job->job_id, key);
    arg(&a, owner);
    arg_u64(&a, lease_ms);
    arg_u64(&a, OPEN_KEEP_S);
    arg_u64(&a, again);
    arg_u64(&a, (uint64_t)job->accepted_at_s);
    put_record(&a, job, state, job->cursor);
    enum ledger_verdict verdict = read_answer(run_script(l, SCRIPT_CLAIM, &a), job, NULL);
    if (verdict == LEDGER_OK)
        index_open(l, job);
    return verdict;
}

static enum ledger_verdict save(struct ledger *l, const struct ledger_job *job, uint32_t lease_ms,
                                uint32_t keep_s, bool done, uint64_t *now_ms)
{
    struct args a;
    char key[JOB_KEY_SIZE];
    begin_script(&a, SCRIPT_SAVE, l, job->job_id, key);
    arg(&a, job->owner);
    arg_u64(&a, job->fence);
    arg_u64(&a, lease_ms);
    arg_u64(&a, keep_s);
    put_record(&a, job, done ? "done" : job->state, done ? "" : job->cursor);
    if (job->started_at_s)
        field_u64(&a, "started_at_s", (uint64_t)job->started_at_s);
    return read_answer(run_script(l, SCRIPT_SAVE, &a), NULL, now_ms);
}

enum ledger_verdict ledger_save(struct ledger *l, uint32_t lease_ms, const struct ledger_job *job)
{
    if (job->fence == 0)
        return LEDGER_DOWN;
    return save(l, job, lease_ms, OPEN_KEEP_S, false, NULL);
}

enum ledger_verdict ledger_release(struct ledger *l, const struct ledger_job *job)
{
    if (job->fence == 0)
        return LEDGER_DOWN;
    return save(l, job, 0, OPEN_KEEP_S, false, NULL);
}

enum ledger_verdict ledger_finish(struct ledger *l, const struct ledger_job *job, uint32_t keep_s)
{
    uint64_t now_ms = 0;
    enum ledger_verdict verdict = save(l, job, 0, keep_s, true, &now_ms);
    if (verdict == LEDGER_OK)
        index_done(l, job->job_id, now_ms);
    return verdict;
}

enum ledger_verdict ledger_drop(struct ledger *l, const struct ledger_job *job)
{
    struct args a;
    char key[JOB_KEY_SIZE];
    const char *closed[] = {"ZREM", KEY_OPEN, job->job_id};
    if (job->fence == 0)
        return LEDGER_DOWN;
    begin_script(&a, SCRIPT_DROP, l, job->job_id, key);
    arg(&a, job->owner);
    arg_u64(&a, job->fence);
    enum ledger_verdict verdict = read_answer(run_script(l, SCRIPT_DROP, &a), NULL, NULL);
    if (verdict == LEDGER_OK)
        tell(l, LEN(closed), closed);
    return verdict;
}

enum ledger_verdict ledger_get(struct ledger *l, const char *job_id, struct ledger_job *out)
{
    struct args a;
    char key[JOB_KEY_SIZE];
    memset(out, 0, sizeof(*out));
    snprintf(out->job_id, sizeof(out->job_id), "%s", job_id);
    begin_script(&a, SCRIPT_GET, l, out->job_id, key);
    return read_answer(run_script(l, SCRIPT_GET, &a), out, NULL);
}

/* The records of the ids at the ranks from first on; *n_ids: how many ids there were, some of which
 * may outlive their records, which expire. */
static enum ledger_verdict read_set(struct ledger *l, const char *range, const char *key,
                                    size_t first, struct ledger_job *jobs, size_t *n, size_t *n_ids)
{
    char from[24], to[24];
    const char *args[] = {range, key, from, to};
    snprintf(from, sizeof(from), "%zu", first);
    snprintf(to, sizeof(to), "%zu", first + *n - 1);
    *n = *n_ids = 0;
    redisReply *ids = redis_link_command(l->redis, LEN(args), args);
    enum ledger_verdict verdict = ids ? LEDGER_OK : LEDGER_DOWN;
    for (size_t i = 0; ids && i < ids->elements && verdict != LEDGER_DOWN; i++) {
        verdict = ledger_get(l, ids->element[i]->str, &jobs[*n]);
        if (verdict == LEDGER_OK)
            (*n)++;
        (*n_ids)++;
    }
    if (ids)
        freeReplyObject(ids);
    return verdict == LEDGER_DOWN ? LEDGER_DOWN : LEDGER_OK;
}

enum ledger_verdict ledger_recent(struct ledger *l, struct ledger_job *jobs, size_t *n)
{
    size_t n_ids;
    if (*n > MAX_DONE)
        *n = MAX_DONE;
    return *n ? read_set(l, "ZREVRANGE", KEY_DONE, 0, jobs, n, &n_ids) : LEDGER_OK;
}

enum ledger_verdict ledger_open_page(struct ledger *l, size_t *from, struct ledger_job *jobs,
                                     size_t *n)
{
    size_t room = *n, n_ids;
    enum ledger_verdict verdict = read_set(l, "ZRANGE", KEY_OPEN, *from, jobs, n, &n_ids);
    *from = n_ids < room ? SIZE_MAX : *from + n_ids;
    return verdict;
}
