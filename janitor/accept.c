/* The steps of a message: it becomes an accepted deletion, or a dead letter. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "janitor/steps.h"

enum { CLOSING_PAUSE_MS = 100 };

static void give_back(struct job *job)
{
    queue_done(job->msg);
    job->msg = NULL;
}

static enum next refuse(struct janitor *j, struct job *job, store_loop *loop,
                        enum event_class class, const struct store_err *why)
{
    struct store_err err;
    uint32_t wait_ms = dead_letter_wait_ms(j);
    if (wait_ms)
        return steps_wait(job, wait_ms);
    if (dead_letter(j, loop, job->msg, class, why->msg, job->failures + 1, &err) != 0)
        return steps_again(j, job, &err);
    log_warn("event refused", LOG_S("class", event_class_name(class)),
             LOG_S("topic", job->msg->topic), LOG_I("partition", job->msg->partition),
             LOG_I("offset", job->msg->offset), LOG_S("error", why->msg));
    give_back(job);
    return NEXT_ENDED;
}

/* More tenants at once than anybody would want to lose: their tombstones are written, and nothing
 * of them is removed until an operator says so. */
static int ask_guard(struct janitor *j, store_loop *loop, struct deletion *d, struct store_err *err)
{
    const struct mass_guard_conf conf = conf_guard(j->conf);
    bool hold;
    if (!mass_guard_minds(&conf, d))
        return 0;
    if (mass_guard_now(j->store, loop, &conf, d->scope.tenant, &hold, err) != 0)
        return -1;
    if (hold)
        mass_guard_hold(&conf, d);
    return 0;
}

enum next run_accept(struct janitor *j, struct job *job, store_loop *loop)
{
    struct queue_msg *m = job->msg;
    enum event_class class;
    enum acceptance how;
    struct store_err err;
    if (event_parse(m->headers, m->n_headers, m->key, m->key_len, m->value, m->value_len, &job->d,
                    &class, &err) != 0)
        return refuse(j, job, loop, class, &err);
    switch (schedule_covers(j->schedule, &job->d)) {
    case COVER_ALL: give_back(job); return NEXT_ENDED;
    case COVER_CLOSING: return steps_wait(job, CLOSING_PAUSE_MS);
    case COVER_NONE: break;
    }
    if (ask_guard(j, loop, &job->d, &err) != 0 ||
        deletion_accept(j->store, loop, &job->d, &how, job->etag, &err) != 0)
        return steps_again(j, job, &err);
    if (job->d.state == DELETION_HELD && steps_publish(j, job, "held", &err) != 0)
        return steps_again(j, job, &err);
    steps_audit(how == ACCEPTED_NEW      ? "audit: deletion accepted"
                : how == ACCEPTED_MERGED ? "audit: deletion accepted, merged into the open one"
                                         : "audit: deletion accepted, it is open already",
                job);
    metric_add(&j->metrics.accepted, 1);
    give_back(job);
    job->is_ours = how == ACCEPTED_NEW;
    if (deletion_is_fenced(&job->d) || job->d.dry_run)
        return steps_enter(j, job);
    job->lane = LANE_SMALL;
    return steps_go(job, &step_first);
}

/* ---- Without a fence ---- */

static bool add_swept(void *user, struct deletion *d)
{
    const struct deletion_counts *more = user;
    d->swept.files += more->files;
    d->swept.bytes += more->bytes;
    return true;
}

/* Whoever completes the job is to tell what was removed here. */
static int note_swept(struct janitor *j, struct job *job, store_loop *loop, struct store_err *err)
{
    struct deletion_counts more = {job->record.files, job->record.bytes};
    bool found;
    if (more.files == 0)
        return 0;
    if (deletion_change_intent(j->store, loop, job->d.job_id, add_swept, &more, &found, NULL,
                               err) != 0)
        return -1;
    job->record.files = job->record.bytes = 0;
    job->is_ours = false;
    return 0;
}

/* What is there is the acceptor's to remove: whoever else goes on with the job must not touch what
 * was stored since, and so keeps all of that second. No lease is needed for it. */
enum next run_first(struct janitor *j, struct job *job, store_loop *loop)
{
    const struct sweep_how how = {
        .sweep = SWEEP_FIRST,
        .versions = j->conf->delete_versions,
        .uploads = true,
        .cursor = job->record.cursor,
    };
    struct sweeping w;
    struct store_err err;
    if (steps_sweep(j, job, loop, &how, &w, &err) != 0)
        return steps_broken_off(j, job, &w, &err);
    if (note_swept(j, job, loop, &err) != 0)
        log_warn("what the first sweep removed is not counted", LOG_S("job", job->d.job_id),
                 LOG_ERR(&err));
    job->record.cursor[0] = '\0';
    return steps_enter(j, job);
}

enum next steps_enter(struct janitor *j, struct job *job)
{
    job->lane = LANE_SMALL;
    job->failures = job->denials = 0;
    switch (schedule_enter(j->schedule, job)) {
    case SCHEDULE_KNOWN: /* that job reads its intent again */
    case SCHEDULE_FULL: /* the intent waits in the store until there is room */ return NEXT_ENDED;
    case SCHEDULE_ENTERED: break;
    }
    backlog_drop(j->backlog, job->d.job_id);
    return steps_go(job, &step_open);
}
