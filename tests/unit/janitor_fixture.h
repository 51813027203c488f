/* janitor_fixture.h - a janitor without threads, on a store, a queue, a ledger and clocks that the
 * test commands: no time passes but what jobs wait for. The linker puts the functions __wrap_* here
 * in the place of the real ones (see the Makefile). All other functions are static, so each program
 * has its own. */
#ifndef TESTS_UNIT_JANITOR_FIXTURE_H
#define TESTS_UNIT_JANITOR_FIXTURE_H

#include "tests/unit/janitor_store.h"

#include <jansson.h>
#include <sys/epoll.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "janitor/janitor.h"

#define T  "0123456789abcdef0123456789abcdef"
#define TL "fedcba9876543210fedcba9876543210"
#define EP "tenants/" T "/timelines/" TL "/endpoints/ep-1/"

enum {
    WINDOW_S = 90,
    LEASE_MS = 30000,
    DENIED_TRIES = 3,
    MAX_OPEN = 8,
    MAX_PUBLISHED = 64,
    MAX_RECORDS = 16,
    MAX_WAITING = 64,
    MAX_STEPS = 3000, /* of one test: more of them are jobs that go round in circles */
};

/* ---- The janitor and what is around it ---- */

struct published {
    enum queue_topic topic;
    char key[128]; /* "": none */
    char *text;
    size_t len;
    char headers[16][2][300]; /* of the first ones name and value */
    size_t n_headers;
};

static struct {
    struct janitor j;
    struct janitor_conf conf;
    store_loop *loop;
    unsigned steps;
    struct job *waiting[MAX_WAITING]; /* the schedule's, too */
    size_t n_waiting;
    /* The queue. */
    struct published published[MAX_PUBLISHED];
    size_t n_published;
    unsigned publish_fails;     /* so many of the next ones are not confirmed */
    bool reports_are_lost;      /* and arrive all the same */
    bool letters_are_too_large; /* unless they only point into the bucket */
    bool keyless_are_refused;
    bool brokers_down;
    int64_t offsets;
    unsigned done, abandoned;
    /* The ledger. */
    struct ledger_job records[MAX_RECORDS]; /* lease_ms_left: when it ends */
    size_t n_records;
    bool ledger_down;
    /* The pulse. */
    struct pulse_count pulse;
    uint64_t looked_ms;
    bool stalled;        /* the store does not answer the pulse */
    int64_t guess_off_s; /* what is guessed of the store's clock, is wrong by that */
    /* What nanosleep() does. */
    void (*sleep)(void);
} w;

/* ---- Clocks ---- */

uint64_t __wrap_clock_mono_ms(void);
uint64_t __wrap_clock_real_ms(void);
int64_t __wrap_clock_real_s(void);
int __real_epoll_wait(int fd, struct epoll_event *events, int room, int wait_ms);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int room, int wait_ms);
int __wrap_nanosleep(const struct timespec *t, struct timespec *left);
ssize_t __wrap_getrandom(void *out, size_t n, unsigned flags);
void __wrap_log_event(enum log_level level, const char *msg, const struct log_field *fields,
                      size_t n);

uint64_t __wrap_clock_mono_ms(void)
{
    return mem.now_ms;
}

uint64_t __wrap_clock_real_ms(void)
{
    return mem.now_ms + (uint64_t)mem.our_real_ms;
}

int64_t __wrap_clock_real_s(void)
{
    return (int64_t)__wrap_clock_real_ms() / 1000;
}

/* The time that a loop would wait passes at once. */
int __wrap_epoll_wait(int fd, struct epoll_event *events, int room, int wait_ms)
{
    if (wait_ms < 0) {
        fprintf(stderr, "a loop waits, and nothing is under way\n");
        abort();
    }
    mem.now_ms += (uint64_t)wait_ms;
    return __real_epoll_wait(fd, events, room, 0);
}

int __wrap_nanosleep(const struct timespec *t, struct timespec *left)
{
    (void)left;
    mem.now_ms += (uint64_t)t->tv_sec * 1000 + (uint64_t)t->tv_nsec / 1000000;
    if (w.sleep)
        w.sleep();
    return 0;
}

/* Pauses are as short as they may be. */
ssize_t __wrap_getrandom(void *out, size_t n, unsigned flags)
{
    (void)flags;
    memset(out, 0, n);
    return (ssize_t)n;
}

void __wrap_log_event(enum log_level level, const char *msg, const struct log_field *fields,
                      size_t n)
{
    (void)level;
    (void)msg;
    (void)fields;
    (void)n;
}

static inline uint64_t metric_value(const struct metric *m)
{
    return atomic_load(&m->value);
}

/* ---- The pulse: the count is the real one ---- */

int64_t __wrap_pulse_since_s(struct pulse *p);
int64_t __wrap_pulse_store_now_s(struct pulse *p);

/* The looks that were due meanwhile. */
static inline void catch_up_looks(void)
{
    uint64_t now_ms = mem.now_ms;
    for (; w.looked_ms <= now_ms; w.looked_ms += PULSE_EVERY_MS) {
        mem.now_ms = w.looked_ms;
        if (!w.stalled)
            pulse_saw(&w.pulse, w.looked_ms, clock_real_ms(), store_now_s());
    }
    mem.now_ms = now_ms;
}

int64_t __wrap_pulse_since_s(struct pulse *p)
{
    (void)p;
    catch_up_looks();
    return pulse_count_since_s(&w.pulse, mem.now_ms);
}

int64_t __wrap_pulse_store_now_s(struct pulse *p)
{
    (void)p;
    return store_now_s() + w.guess_off_s;
}

static inline void stall(bool stalled)
{
    catch_up_looks();
    w.stalled = stalled;
}

/* ---- The queue ---- */

void __wrap_queue_done(struct queue_msg *m);
void __wrap_queue_abandon(struct queue_msg *m);
void __wrap_queue_status(struct queue *q, struct queue_status *out);
int __wrap_queue_publish(struct queue *q, enum queue_topic topic, const char *key, size_t key_len,
                         const char *value, size_t value_len, const struct event_header *headers,
                         size_t n_headers, uint32_t timeout_ms, struct store_err *err);

static inline void free_message(struct queue_msg *m)
{
    free((char *)m->key);
    free((char *)m->value);
    free(m->headers);
    free(m);
}

void __wrap_queue_done(struct queue_msg *m)
{
    note(mem.dead ? "abandon" : "done");
    w.done += !mem.dead;
    w.abandoned += mem.dead;
    free_message(m);
}

void __wrap_queue_abandon(struct queue_msg *m)
{
    note("abandon");
    w.abandoned++;
    free_message(m);
}

void __wrap_queue_status(struct queue *q, struct queue_status *out)
{
    (void)q;
    *out = (struct queue_status){.brokers_up = !w.brokers_down};
}

static inline void keep_published(enum queue_topic topic, const char *key, size_t key_len,
                                  const char *value, size_t value_len,
                                  const struct event_header *headers, size_t n_headers)
{
    assert_true(w.n_published < MAX_PUBLISHED);
    struct published *p = &w.published[w.n_published++];
    *p = (struct published){.topic = topic, .len = value_len, .n_headers = n_headers};
    snprintf(p->key, sizeof(p->key), "%.*s", (int)key_len, key ? key : "");
    p->text = xmalloc(value_len + 1);
    if (value_len)
        memcpy(p->text, value, value_len);
    p->text[value_len] = '\0';
    for (size_t i = 0; i < n_headers && i < LEN(p->headers); i++) {
        snprintf(p->headers[i][0], sizeof(p->headers[i][0]), "%s", headers[i].name);
        snprintf(p->headers[i][1], sizeof(p->headers[i][1]), "%.*s", (int)headers[i].len,
                 headers[i].value);
    }
}

static inline const char *header_of(const struct published *p, const char *name)
{
    for (size_t i = 0; i < p->n_headers && i < LEN(p->headers); i++)
        if (strcmp(p->headers[i][0], name) == 0)
            return p->headers[i][1];
    return "";
}

int __wrap_queue_publish(struct queue *q, enum queue_topic topic, const char *key, size_t key_len,
                         const char *value, size_t value_len, const struct event_header *headers,
                         size_t n_headers, uint32_t timeout_ms, struct store_err *err)
{
    (void)q;
    (void)timeout_ms;
    bool points = n_headers && strcmp(headers[n_headers - 1].name, "dlq-stored") == 0;
    const char *what = topic == QUEUE_DEADLETTER ? points ? "publish pointer" : "publish letter"
                       : memmem(value, value_len, ".failed.v1", 10)    ? "publish failed"
                       : memmem(value, value_len, ".cancelled.v1", 13) ? "publish cancelled"
                                                                       : "publish completed";
    note(what);
    if (mem.dead)
        return store_err_set(err, STORE_BUSY, "dead");
    if (topic == QUEUE_DEADLETTER &&
        ((w.letters_are_too_large && !points) || (w.keyless_are_refused && !key)))
        return store_err_set(err, STORE_INVALID, "told to refuse it");
    bool fails = w.publish_fails > 0;
    w.publish_fails -= fails;
    if (!fails || w.reports_are_lost)
        keep_published(topic, key, key_len, value, value_len, headers, n_headers);
    return fails ? store_err_set(err, STORE_BUSY, "told not to confirm it") : 0;
}

/* ---- The ledger ---- */

enum ledger_verdict __wrap_ledger_claim(struct ledger *l, const char *owner, uint32_t lease_ms,
                                        bool again, struct ledger_job *job);
enum ledger_verdict __wrap_ledger_save(struct ledger *l, uint32_t lease_ms,
                                       const struct ledger_job *job);
enum ledger_verdict __wrap_ledger_release(struct ledger *l, const struct ledger_job *job);
enum ledger_verdict __wrap_ledger_finish(struct ledger *l, const struct ledger_job *job,
                                         uint32_t keep_s);
enum ledger_verdict __wrap_ledger_drop(struct ledger *l, const struct ledger_job *job);
enum ledger_verdict __wrap_ledger_get(struct ledger *l, const char *job_id, struct ledger_job *out);

static inline bool ledger_is_down(void)
{
    return w.ledger_down || mem.dead;
}

static inline struct ledger_job *record_of(const char *job_id)
{
    for (size_t i = 0; i < w.n_records; i++)
        if (strcmp(w.records[i].job_id, job_id) == 0)
            return &w.records[i];
    return NULL;
}

static inline const struct ledger_job *the_record(const struct deletion *d)
{
    const struct ledger_job *r = record_of(d->job_id);
    if (!r)
        fail_msg("the ledger has no such job");
    return r ? r : w.records; /* never NULL, for the compiler */
}

static inline struct ledger_job *make_record(const char *job_id)
{
    assert_true(w.n_records < MAX_RECORDS);
    struct ledger_job *r = &w.records[w.n_records++];
    *r = (struct ledger_job){.attempts = 0};
    snprintf(r->job_id, sizeof(r->job_id), "%s", job_id);
    return r;
}

static inline void tell_record(const struct ledger_job *r, struct ledger_job *out)
{
    *out = *r;
    out->lease_ms_left -= (int64_t)mem.now_ms;
    if (out->lease_ms_left < 0)
        out->lease_ms_left = 0;
}

enum ledger_verdict __wrap_ledger_claim(struct ledger *l, const char *owner, uint32_t lease_ms,
                                        bool again, struct ledger_job *job)
{
    (void)l;
    note("claim");
    if (ledger_is_down())
        return LEDGER_DOWN;
    struct ledger_job *r = record_of(job->job_id);
    if (r && r->lease_ms_left > (int64_t)mem.now_ms && strcmp(r->owner, owner) != 0) {
        tell_record(r, job);
        return LEDGER_BUSY;
    }
    if (r && strcmp(r->state, "done") == 0 && !again &&
        (!job->accepted_at_s || job->accepted_at_s == r->accepted_at_s))
        return LEDGER_DONE;
    if (!r) {
        r = make_record(job->job_id);
        *r = *job;
        r->attempts = 0;
    } else if (strcmp(r->state, "done") == 0) {
        r->cursor[0] = '\0';
        r->accepted_at_s = job->accepted_at_s;
    }
    r->attempts++;
    r->fence++;
    snprintf(r->owner, sizeof(r->owner), "%s", owner);
    r->lease_ms_left = (int64_t)(mem.now_ms + lease_ms);
    tell_record(r, job);
    return LEDGER_OK;
}

static inline enum ledger_verdict write_record(const struct ledger_job *job, uint64_t lease_end_ms)
{
    struct ledger_job *r = record_of(job->job_id);
    if (ledger_is_down() || !job->fence)
        return LEDGER_DOWN;
    if (r && r->fence != job->fence)
        return LEDGER_FENCED;
    r = r ? r : make_record(job->job_id);
    *r = *job;
    r->lease_ms_left = (int64_t)lease_end_ms;
    return LEDGER_OK;
}

enum ledger_verdict __wrap_ledger_save(struct ledger *l, uint32_t lease_ms,
                                       const struct ledger_job *job)
{
    (void)l;
    return write_record(job, mem.now_ms + lease_ms);
}

enum ledger_verdict __wrap_ledger_release(struct ledger *l, const struct ledger_job *job)
{
    (void)l;
    note("release");
    return write_record(job, 0);
}

enum ledger_verdict __wrap_ledger_finish(struct ledger *l, const struct ledger_job *job,
                                         uint32_t keep_s)
{
    (void)l;
    note("finish");
    assert_string_equal(job->state, "done");
    assert_int_equal(keep_s, 3600);
    return write_record(job, 0);
}

enum ledger_verdict __wrap_ledger_drop(struct ledger *l, const struct ledger_job *job)
{
    struct ledger_job *r = record_of(job->job_id);
    (void)l;
    note("drop");
    if (!ledger_is_down() && r && r->fence == job->fence)
        *r = w.records[--w.n_records];
    return LEDGER_OK;
}

enum ledger_verdict __wrap_ledger_get(struct ledger *l, const char *job_id, struct ledger_job *out)
{
    const struct ledger_job *r = record_of(job_id);
    (void)l;
    if (ledger_is_down())
        return LEDGER_DOWN;
    if (r)
        tell_record(r, out);
    return r ? LEDGER_OK : LEDGER_NONE;
}

/* Another janitor has the job now. */
static inline void steal(const char *job_id)
{
    struct ledger_job *r = record_of(job_id);
    r = r ? r : make_record(job_id);
    snprintf(r->owner, sizeof(r->owner), "thief");
    r->fence += 1000;
    r->lease_ms_left = (int64_t)mem.now_ms + LEASE_MS;
}

/* ---- The jobs ---- */

void __real_schedule_add(struct schedule *s, struct job *job);
void __wrap_schedule_add(struct schedule *s, struct job *job);

void __wrap_schedule_add(struct schedule *s, struct job *job)
{
    assert_true(w.n_waiting < MAX_WAITING);
    w.waiting[w.n_waiting++] = job;
    __real_schedule_add(s, job);
}

static inline void no_longer_waits(const struct job *job)
{
    for (size_t i = 0; i < w.n_waiting; i++)
        if (w.waiting[i] == job)
            w.waiting[i] = w.waiting[--w.n_waiting];
}

/* The job that is due first; NULL: none waits. */
static inline struct job *next_job(void)
{
    struct job *first = NULL;
    for (size_t i = 0; i < w.n_waiting; i++)
        if (!first || w.waiting[i]->due_ms < first->due_ms)
            first = w.waiting[i];
    return first;
}

/* Runs its step, at its time. False: no job is left. */
static inline bool run_next(void)
{
    struct job *job = next_job();
    if (!job)
        return false;
    if (++w.steps > MAX_STEPS)
        fail_msg("more than %d steps; the next is %s", MAX_STEPS, job->step->name);
    if (job->due_ms > mem.now_ms)
        mem.now_ms = job->due_ms;
    job = schedule_take(w.j.schedule, job->lane);
    no_longer_waits(job);
    if (job_run(&w.j, job, w.loop) == NEXT_STEP) {
        schedule_add(w.j.schedule, job);
    } else {
        schedule_leave(w.j.schedule, job);
        job_free(job);
    }
    return true;
}

static inline void run_all(void)
{
    while (run_next())
        ;
}

static inline void run_for(uint64_t ms)
{
    uint64_t end_ms = mem.now_ms + ms;
    while (next_job() && next_job()->due_ms <= end_ms)
        run_next();
    if (mem.now_ms < end_ms)
        mem.now_ms = end_ms;
}

/* Until this step is the next, and due; returns its job. */
static inline struct job *run_to(const struct step *step)
{
    while (next_job() && next_job()->step != step)
        run_next();
    if (!next_job())
        fail_msg("the jobs ended before %s", step->name);
    if (next_job()->due_ms > mem.now_ms)
        mem.now_ms = next_job()->due_ms;
    return next_job();
}

/* ---- Deletions ---- */

static inline struct deletion of_endpoint(uint64_t upto_gen)
{
    struct deletion d = {
        .scope = {.kind = SCOPE_ENDPOINT, .tenant = T, .timeline = TL, .endpoint = "ep-1"},
        .has_upto_gen = true,
        .upto_gen = upto_gen,
        .reason = "test",
    };
    deletion_set_job_id(&d);
    return d;
}

static inline struct deletion of_tenant(void)
{
    struct deletion d = {.scope = {.kind = SCOPE_TENANT, .tenant = T}};
    deletion_set_job_id(&d);
    return d;
}

static inline struct deletion without_generation(void)
{
    struct deletion d = of_endpoint(0);
    d.has_upto_gen = false;
    deletion_set_job_id(&d);
    return d;
}

static inline struct queue_msg *raw_message(const char *key, const char *value, size_t n)
{
    struct queue_msg *m = xcalloc(1, sizeof(*m));
    *m = (struct queue_msg){.topic = "deletions", .partition = 7, .offset = w.offsets++};
    m->key = key ? xstrdup(key) : NULL;
    m->key_len = key ? strlen(key) : 0;
    m->value = xmalloc(n + 1);
    memcpy((char *)m->value, value, n);
    m->value_len = n;
    return m;
}

static inline void hand_in(struct queue_msg *m)
{
    schedule_add(w.j.schedule, job_from_message(m));
}

/* The event that asks for the deletion comes in. */
static inline void ask_as(const struct deletion *d, const char *event_id)
{
    struct buf text = BUF_INIT(65536);
    assert_int_equal(event_request(d, event_id, "/test", &text), 0);
    struct queue_msg *m = raw_message(d->scope.tenant, text.data, text.len);
    m->headers = xcalloc(1, sizeof(*m->headers));
    m->headers[0] = (struct event_header){"content-type", "application/cloudevents+json", 28};
    m->n_headers = 1;
    buf_cleanup(&text);
    hand_in(m);
}

static inline void ask(const struct deletion *d)
{
    ask_as(d, "event");
}

/* A file of the endpoint, stored now. */
static inline struct kept *upload(uint64_t gen, const char *path)
{
    char key[LAYOUT_KEY_SIZE], text[FILE_SIZE] = "";
    snprintf(key, sizeof(key), EP "%016llx/pgdata/%s", (unsigned long long)gen, path);
    return keep(key, text, sizeof(text));
}

static inline bool is_there(uint64_t gen, const char *path)
{
    char key[LAYOUT_KEY_SIZE];
    snprintf(key, sizeof(key), EP "%016llx/pgdata/%s", (unsigned long long)gen, path);
    return kept_at(key);
}

/* ---- Intents ---- */

static inline bool has_intent(const struct deletion *d)
{
    char key[LAYOUT_KEY_SIZE];
    layout_intent(d->job_id, key);
    return kept_at(key);
}

static inline struct deletion intent_of(const struct deletion *d)
{
    char key[LAYOUT_KEY_SIZE];
    struct deletion says;
    struct store_err err;
    layout_intent(d->job_id, key);
    const struct kept *k = kept_at(key);
    assert_non_null(k);
    assert_int_equal(deletion_from_json(k->text, k->size, &says, &err), 0);
    return says;
}

/* As if somebody else had written it. */
static inline void put_intent(const struct deletion *d)
{
    char key[LAYOUT_KEY_SIZE];
    struct buf text = BUF_INIT(65536);
    layout_intent(d->job_id, key);
    assert_int_equal(deletion_to_json(d, &text), 0);
    keep(key, text.data, text.len);
    buf_cleanup(&text);
}

static inline void set_state(const struct deletion *d, enum deletion_state state)
{
    struct deletion says = intent_of(d);
    says.state = state;
    put_intent(&says);
}

static inline void remove_intent(const struct deletion *d)
{
    char key[LAYOUT_KEY_SIZE];
    layout_intent(d->job_id, key);
    unkeep(key);
}

/* As the scanner does. */
static inline bool take_up(const char *job_id)
{
    struct job *job = job_from_intent(job_id);
    if (schedule_enter(w.j.schedule, job) == SCHEDULE_ENTERED) {
        schedule_add(w.j.schedule, job);
        return true;
    }
    job_free(job);
    return false;
}

static inline void find_intents(void)
{
    char due[MAX_RECORDS][JOB_ID_SIZE];
    size_t n = backlog_due(w.j.backlog, mem.now_ms, due, LEN(due));
    for (size_t i = 0; i < n; i++)
        take_up(due[i]);
    for (size_t i = 0; i < mem.n_kept; i++) {
        const struct kept *k = &mem.kept[i];
        const char *id = k->key + strlen(LAYOUT_INTENTS);
        if (strncmp(k->key, LAYOUT_INTENTS, strlen(LAYOUT_INTENTS)) == 0 &&
            !schedule_poke(w.j.schedule, id, k->etag) &&
            !backlog_waits(w.j.backlog, id, k->etag, mem.now_ms))
            take_up(id);
    }
}

/* Jobs and scans go on until no intent is left. */
static inline void settle(void)
{
    for (int i = 0; next_job() || count_under(LAYOUT_INTENTS) > 0; i++) {
        if (i == 1000)
            fail_msg("an intent is never taken up, or never ends");
        find_intents();
        run_all();
        mem.now_ms += 1000;
    }
}

/* ---- What was published ---- */

static inline const struct published *published_as(enum queue_topic topic, size_t nth)
{
    for (size_t i = 0; i < w.n_published; i++)
        if (w.published[i].topic == topic && nth-- == 0)
            return &w.published[i];
    fail_msg("nothing more was published");
    return NULL;
}

static inline size_t count_published(enum queue_topic topic)
{
    size_t n = 0;
    for (size_t i = 0; i < w.n_published; i++)
        n += w.published[i].topic == topic;
    return n;
}

/* A field of an event's data as text ("" for null); or of the event. */
static inline const char *said(const struct published *p, const char *name)
{
    static char text[512];
    json_t *event = json_loads(p->text, 0, NULL);
    assert_non_null(event);
    const json_t *data = json_object_get(event, "data");
    const json_t *v = json_object_get(data, name);
    v = v ? v : json_object_get(json_object_get(data, "deleted"), name);
    v = v ? v : json_object_get(event, name);
    if (json_is_integer(v))
        snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(v));
    else
        snprintf(text, sizeof(text), "%s", json_is_string(v) ? json_string_value(v) : "");
    json_decref(event);
    return text;
}

static inline int64_t said_time(const struct published *p, const char *name)
{
    int64_t t_s = 0;
    assert_true(clock_parse_rfc3339(said(p, name), &t_s));
    return t_s;
}

static inline const struct published *completion(size_t nth)
{
    return published_as(QUEUE_COMPLETIONS, nth);
}

/* ---- Life ---- */

static inline void open_janitor(const char *owner)
{
    struct janitor *j = &w.j;
    j->conf = &w.conf;
    j->store = &mem.store;
    j->schedule = schedule_new(w.conf.max_open_jobs);
    j->backlog = backlog_new(64);
    j->terms = terms_new((uint32_t)(w.conf.upload_window_ms / 1000));
    j->rate = rate_new(w.conf.delete_rate, w.conf.tenant_delete_rate);
    snprintf(j->owner, sizeof(j->owner), "%s", owner);
    snprintf(j->source, sizeof(j->source), "/epufs/janitor/test");
}

static inline void close_janitor(void)
{
    struct job *job;
    while ((job = schedule_take_any(w.j.schedule)))
        job_free(job);
    w.n_waiting = 0;
    schedule_free(w.j.schedule);
    backlog_free(w.j.backlog);
    terms_free(w.j.terms);
    rate_free(w.j.rate);
}

/* The process dies between two steps, and another one starts, which knows nothing. */
static inline void crash(const char *next_owner)
{
    close_janitor();
    clear_traps();
    mem.dead = mem.after_it = false;
    mem.dies_at = 0;
    open_janitor(next_owner);
    w.pulse = (struct pulse_count){.since_s = 0};
    w.looked_ms = mem.now_ms;
}

static inline int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof(w));
    mem_open();
    w.conf = (struct janitor_conf){
        .deletions_topic = (char *)"deletions",
        .ledger_keep_ms = 3600000,
        .lease_ms = LEASE_MS,
        .upload_window_ms = WINDOW_S * 1000,
        .intent_scan_interval_ms = 10000,
        .max_open_jobs = MAX_OPEN,
        .denied_tries = DENIED_TRIES,
    };
    pthread_mutex_init(&w.j.letters.lock, NULL);
    open_janitor("us");
    w.looked_ms = mem.now_ms - 1000000; /* the store has answered for long */
    assert_int_equal(store_loop_new(&w.loop, NULL), 0);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    close_janitor();
    store_loop_free(w.loop);
    for (size_t i = 0; i < w.n_published; i++)
        free(w.published[i].text);
    pthread_mutex_destroy(&w.j.letters.lock);
    mem_close();
    return 0;
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
