/* `janitor status`: what is open, by the intents in the store, which are the truth; with progress
 * as far as Redis knows it; and what was completed lately. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "janitor/janitor.h"

enum { MAX_RECENT = 20 };

struct status {
    struct janitor janitor;
    store_loop *loop;
    char (*ids)[JOB_ID_SIZE];
    size_t n, cap;
    char *token;
};

static void take_page(void *user, const struct store_page *page)
{
    struct status *st = user;
    for (size_t i = 0; i < page->n; i++) {
        const char *id = page->entries[i].key + strlen(LAYOUT_INTENTS);
        if (strlen(id) != JOB_ID_SIZE - 1)
            continue;
        if (st->n == st->cap) {
            st->cap = st->cap ? st->cap * 2 : 64;
            st->ids = xrealloc(st->ids, st->cap * JOB_ID_SIZE);
        }
        memcpy(st->ids[st->n++], id, JOB_ID_SIZE);
    }
    free(st->token);
    st->token = page->next_token ? xstrdup(page->next_token) : NULL;
}

static int list_intents(struct status *st, struct store_err *err)
{
    do {
        const struct store_list_opts opts = {.token = st->token};
        if (store_sync_list(st->janitor.store, st->loop, LAYOUT_INTENTS, &opts, take_page, st,
                            err) != 0)
            return -1;
    } while (st->token);
    return 0;
}

/* The ledger's record; without one, what the intent says. false: it is gone meanwhile. */
static bool describe(struct status *st, const char *job_id, struct ledger_job *out)
{
    struct deletion d;
    struct store_err err;
    if (ledger_get(st->janitor.ledger, job_id, out) == LEDGER_OK)
        return true;
    enum intent_state found = deletion_read_intent(st->janitor.store, st->loop, job_id, &d, &err);
    if (found == INTENT_NONE || found == INTENT_FAILED)
        return false;
    *out = (struct ledger_job){.state = "accepted"};
    strcpy(out->job_id, job_id);
    if (found == INTENT_READ) {
        scope_path(&d.scope, out->scope);
        out->accepted_at_s = d.accepted_at_s;
        out->dry_run = d.dry_run;
        if (d.has_upto_gen)
            snprintf(out->upto_gen, sizeof(out->upto_gen), "%llu", (unsigned long long)d.upto_gen);
    }
    return true;
}

static json_t *job_json(const struct ledger_job *r)
{
    char accepted[CLOCK_TEXT], done[CLOCK_TEXT];
    clock_rfc3339(r->accepted_at_s, accepted);
    clock_rfc3339(r->done_at_s, done);
    return json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:i,s:b,s:s,s:s*,s:s,s:s}", "job_id", r->job_id,
                     "scope", r->scope, "upto_gen", r->upto_gen, "state", r->state, "files",
                     (json_int_t)r->files, "bytes", (json_int_t)r->bytes, "attempts",
                     (int)r->attempts, "dry_run", (int)r->dry_run, "accepted_at", accepted,
                     "done_at", r->done_at_s ? done : NULL, "owner", r->owner, "error", r->error);
}

static void print_row(const struct ledger_job *r)
{
    char when[CLOCK_TEXT];
    clock_rfc3339(r->done_at_s ? r->done_at_s : r->accepted_at_s, when);
    printf("%-10.10s  %-10s  %9llu  %12llu  %s  %s%s%s%s%s%s\n", r->job_id, r->state,
           (unsigned long long)r->files, (unsigned long long)r->bytes, when, r->scope,
           *r->upto_gen ? " up to generation " : "", r->upto_gen, r->dry_run ? " (dry run)" : "",
           *r->error ? "  error: " : "", r->error);
}

static void print_header(const char *title)
{
    printf("%s\n%-10s  %-10s  %9s  %12s  %-20s  %s\n", title, "JOB", "STATE", "FILES", "BYTES",
           "SINCE", "SCOPE");
}

static void print_completed_header(bool up, const char *why)
{
    char title[256];
    snprintf(title, sizeof(title), "\nCompleted lately%s%s",
             up ? "" : ": Redis does not answer: ", up ? "" : why);
    print_header(title);
}

static void print_all(struct status *st, bool json)
{
    struct ledger_job recent[MAX_RECENT], r;
    size_t n_recent = MAX_RECENT;
    bool up = ledger_recent(st->janitor.ledger, recent, &n_recent) == LEDGER_OK;
    char why[200];
    ledger_why_down(st->janitor.ledger, why, sizeof(why));
    json_t *open = json_array(), *done = json_array();
    if (!json)
        print_header("Open");
    for (size_t i = 0; i < st->n; i++) {
        if (!describe(st, st->ids[i], &r))
            continue;
        if (json)
            json_array_append_new(open, job_json(&r));
        else
            print_row(&r);
    }
    if (!json)
        print_completed_header(up, why);
    for (size_t i = 0; up && i < n_recent; i++) {
        if (json)
            json_array_append_new(done, job_json(&recent[i]));
        else
            print_row(&recent[i]);
    }
    json_t *all = json_pack("{s:o,s:o,s:b}", "open", open, "completed", done, "ledger_up", (int)up);
    if (!up)
        json_object_set_new(all, "ledger_error", json_string(why));
    if (json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(all);
}

int command_status(struct service *s)
{
    struct status st = {0};
    struct store_err err;
    const struct janitor_conf *c = s->conf;
    const struct redis_conf redis = conf_redis(c);
    st.janitor.conf = c;
    int rc = -1;
    if (service_open_store(s, &err) == 0 && store_loop_new(&st.loop, &err) == 0 &&
        ledger_open_conf(&redis, &st.janitor.ledger, &err) == 0) {
        st.janitor.store = s->store;
        rc = list_intents(&st, &err);
    }
    if (rc == 0)
        print_all(&st, c->json);
    else
        fprintf(stderr, "epufs-janitor status: %s\n", err.msg);
    store_loop_free(st.loop);
    ledger_close(st.janitor.ledger);
    store_close(s->store);
    free(st.ids);
    free(st.token);
    return rc == 0 ? 0 : 1;
}
