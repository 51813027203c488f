/* `janitor delete`: publishes a deletion event, as the control plane does, and with --wait shows
 * the way to its completion. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "janitor/janitor.h"

enum { PUBLISH_TIMEOUT_MS = 15000, WAIT_MAX_S = 3600 };

/* ---- The event ---- */

static int take_scope(const struct janitor_conf *c, struct scope *s, struct store_err *err)
{
    *s = (struct scope){.kind = SCOPE_TENANT};
    if (!c->tenant || !scope_parse_id(c->tenant, strlen(c->tenant), s->tenant))
        return store_err_set(err, STORE_INVALID, "--tenant: expected 32 hex digits");
    if (c->timeline) {
        s->kind = SCOPE_TIMELINE;
        if (!scope_parse_id(c->timeline, strlen(c->timeline), s->timeline))
            return store_err_set(err, STORE_INVALID, "--timeline: expected 32 hex digits");
    }
    if (c->endpoint) {
        s->kind = SCOPE_ENDPOINT;
        if (!c->timeline || !scope_parse_endpoint(c->endpoint, strlen(c->endpoint), s->endpoint))
            return store_err_set(err, STORE_INVALID,
                                 "--endpoint: expected 1 to 63 letters, digits, '-' and '_', and "
                                 "--timeline with it");
    }
    return 0;
}

static int make_deletion(const struct janitor_conf *c, struct deletion *d, struct store_err *err)
{
    *d = (struct deletion){.dry_run = c->dry_run, .requested_at_s = clock_real_s()};
    if (take_scope(c, &d->scope, err) != 0)
        return -1;
    d->has_upto_gen = c->upto_gen != NULL;
    if (c->upto_gen && (d->scope.kind != SCOPE_ENDPOINT ||
                        !parse_u64(c->upto_gen, strlen(c->upto_gen), &d->upto_gen)))
        return store_err_set(err, STORE_INVALID,
                             "--upto_gen: expected an unsigned 64-bit number, and --endpoint");
    if (c->not_before && !clock_parse_rfc3339(c->not_before, &d->not_before_s))
        return store_err_set(err, STORE_INVALID,
                             "--not_before: expected RFC 3339, such as "
                             "2026-01-02T03:04:05Z");
    text_copy(d->reason, sizeof(d->reason), c->reason);
    deletion_set_job_id(d);
    return 0;
}

/* RFC 9562 version 4. */
static void make_uuid(char out[37])
{
    unsigned char b[16];
    char hex[33];
    if (getrandom(b, sizeof(b), 0) != sizeof(b))
        abort();
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    hex_encode(b, sizeof(b), hex);
    snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

static int publish(struct janitor *j, const struct deletion *d, const char *id,
                   struct store_err *err)
{
    struct buf text = BUF_INIT(65536);
    int rc = event_request(d, id, "/epufs/operator", &text);
    if (rc != 0)
        rc = store_err_set(err, STORE_NO_MEMORY, "event: out of memory");
    else
        rc = publish_event(j, QUEUE_DELETIONS, d->scope.tenant, &text, PUBLISH_TIMEOUT_MS, err);
    buf_cleanup(&text);
    return rc;
}

/* ---- Waiting ---- */

/* One line that is written over, on a terminal; else a line for each change of state. */
static void show(const struct ledger_job *r, char *last_state)
{
    static const char spinner[] = "|/-\\";
    static unsigned turn;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%c %-10s %llu files, %llu bytes removed   ", spinner[turn++ % 4],
                r->state, (unsigned long long)r->files, (unsigned long long)r->bytes);
    else if (strcmp(last_state, r->state) != 0)
        fprintf(stderr, "%s: %llu files, %llu bytes removed\n", r->state,
                (unsigned long long)r->files, (unsigned long long)r->bytes);
    strcpy(last_state, r->state);
}

/* The intent comes and goes; the ledger, where there is one, tells how far it is, and whether it is
 * done when we have missed both. */
static int wait_for(struct janitor *j, const struct deletion *d, store_loop *loop,
                    struct ledger_job *r, struct store_err *err)
{
    static const struct timespec pause = {0, 200 * 1000000};
    char last_state[LEDGER_STATE_SIZE] = "";
    uint64_t until_ms = clock_mono_ms() + WAIT_MAX_S * 1000ull;
    bool seen = false;
    while (clock_mono_ms() < until_ms) {
        bool open = deletion_is_open(j->store, loop, d->job_id);
        bool known = ledger_get(j->ledger, d->job_id, r) == LEDGER_OK;
        bool done = known && strcmp(r->state, "done") == 0 && r->done_at_s >= d->requested_at_s;
        if (known)
            show(r, last_state);
        if (!open && (seen || done)) {
            if (isatty(STDERR_FILENO))
                fputc('\n', stderr);
            return 0;
        }
        seen = seen || open;
        nanosleep(&pause, NULL);
    }
    return store_err_set(err, STORE_TIMEOUT, "job %s is not completed after %d s; it goes on",
                         d->job_id, WAIT_MAX_S);
}

static void print_result(const struct janitor_conf *c, const struct deletion *d, const char *id,
                         const struct ledger_job *r)
{
    char path[SCOPE_PATH_SIZE];
    const char *state = c->wait ? "completed" : "requested";
    scope_path(&d->scope, path);
    if (!c->json) {
        printf("%s: %s, job %s, event %s\n", state, path, d->job_id, id);
        return;
    }
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:b,s:I,s:I}", "state", state, "scope", path, "job_id",
                          d->job_id, "event_id", id, "dry_run", (int)d->dry_run, "files",
                          (json_int_t)r->files, "bytes", (json_int_t)r->bytes);
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
}

int command_delete(struct service *s)
{
    struct janitor j = {0};
    struct deletion d;
    struct ledger_job record = {0};
    struct store_err err = {0};
    store_loop *loop = NULL;
    char id[37];
    make_uuid(id);
    if (make_deletion(s->conf, &d, &err) != 0) {
        fprintf(stderr, "epufs-janitor delete: %s\n", err.msg);
        return 2;
    }
    int rc = engine_open(&j, s, false, &err);
    if (rc == 0)
        rc = publish(&j, &d, id, &err);
    if (rc == 0 && j.conf->wait)
        rc = store_loop_new(&loop, &err) == 0 ? wait_for(&j, &d, loop, &record, &err) : -1;
    if (rc == 0)
        print_result(s->conf, &d, id, &record);
    else
        fprintf(stderr, "epufs-janitor delete: %s\n", err.msg);
    store_loop_free(loop);
    engine_close(&j);
    store_close(s->store);
    return rc == 0 ? 0 : 1;
}
