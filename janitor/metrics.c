/* What the janitor tells of itself. */
#include "base/clock.h"
#include "janitor/janitor.h"
#include "janitor/scan.h"

static struct schedule_status schedule_of(void *user)
{
    struct schedule_status s;
    schedule_status(((struct janitor *)user)->schedule, &s);
    return s;
}

static double open_tenants(void *user)
{
    return (double)schedule_of(user).open[SCOPE_TENANT];
}

static double open_timelines(void *user)
{
    return (double)schedule_of(user).open[SCOPE_TIMELINE];
}

static double open_endpoints(void *user)
{
    return (double)schedule_of(user).open[SCOPE_ENDPOINT];
}

/* Of the store, and so of the fleet: also those that wait, and those of others. */
static double intents(void *user)
{
    struct scan_status s;
    scan_status(((struct janitor *)user)->scan, &s);
    return (double)s.intents;
}

static double oldest_open(void *user)
{
    struct scan_status s;
    int64_t here_s = schedule_of(user).oldest_accepted_at_s;
    scan_status(((struct janitor *)user)->scan, &s);
    int64_t oldest_s = s.oldest_modified_s;
    if (here_s && (!oldest_s || here_s < oldest_s))
        oldest_s = here_s;
    int64_t age_s = oldest_s ? clock_real_s() - oldest_s : 0;
    return age_s > 0 ? (double)age_s : 0;
}

static double waiting(void *user, enum backlog_why why)
{
    size_t counts[BACKLOG_REASONS];
    backlog_counts(((struct janitor *)user)->backlog, counts);
    return (double)counts[why];
}

static double delayed(void *user)
{
    return waiting(user, BACKLOG_DELAYED);
}

static double held(void *user)
{
    return waiting(user, BACKLOG_HELD);
}

static double failed(void *user)
{
    return waiting(user, BACKLOG_FAILED);
}

static double unreadable(void *user)
{
    return waiting(user, BACKLOG_UNREADABLE);
}

static double outstanding(void *user)
{
    struct queue_status s;
    queue_status(((struct janitor *)user)->queue, &s);
    return s.outstanding;
}

static double ledger_is_up(void *user)
{
    return ledger_up(((struct janitor *)user)->ledger);
}

static double window_needed(void *user)
{
    return terms_needed_s(((struct janitor *)user)->terms);
}

static double window_is_short(void *user)
{
    return terms_short(((struct janitor *)user)->terms);
}

static double store_is_prompt(void *user)
{
    struct janitor *j = user;
    return schedule_n_open(j->schedule) == 0 || pulse_since_s(j->pulse) != 0;
}

static void counter(struct metric *m, const char *name, const char *help)
{
    *m = (struct metric){.name = name, .help = help, .type = METRIC_COUNTER};
    metric_register(m);
}

static void register_counters(struct janitor *j)
{
    counter(&j->metrics.accepted, "epufs_deletions_accepted_total",
            "Deletion events whose tombstone and intent are durable.");
    counter(&j->metrics.completed, "epufs_deletions_completed_total",
            "Deletions verified and published as completed.");
    counter(&j->metrics.failed, "epufs_deletions_failed_total",
            "Deletions that the store refused, and that wait for a person.");
    counter(&j->metrics.cancelled, "epufs_deletions_cancelled_total",
            "Deletions that an operator cancelled.");
    counter(&j->metrics.dead_letters, "epufs_dead_letters_total",
            "Events refused, and deletions that failed.");
    counter(&j->metrics.files, "epufs_deleted_files_total", "Files removed.");
    counter(&j->metrics.bytes, "epufs_deleted_bytes_total", "Bytes of the files removed.");
    counter(&j->metrics.tombstones_removed, "epufs_tombstones_removed_total",
            "Tombstones removed, since all tokens that they fence have expired.");
    counter(&j->metrics.step_failures, "epufs_deletion_step_failures_total",
            "Steps that failed and are tried again.");
}

void metrics_start(struct janitor *j)
{
    static const struct {
        const char *name, *help;
        double (*fn)(void *user);
    } gauges[] = {
        {"epufs_open_tenant_deletions", "Tenant deletions under way here.", open_tenants},
        {"epufs_open_timeline_deletions", "Timeline deletions under way here.", open_timelines},
        {"epufs_open_endpoint_deletions", "Endpoint deletions under way here.", open_endpoints},
        {"epufs_intents", "Deletions that are open in the store, whoever has them.", intents},
        {"epufs_delayed_deletions", "Deletions whose time is still to come.", delayed},
        {"epufs_held_deletions", "Deletions that wait for an operator's release.", held},
        {"epufs_failed_deletions", "Deletions that failed and wait for a person.", failed},
        {"epufs_unreadable_intents", "Intents that say nothing that can be understood.",
         unreadable},
        {"epufs_oldest_open_deletion_seconds", "Age of the oldest open deletion; 0: none.",
         oldest_open},
        {"epufs_messages_outstanding", "Events handed out and not yet accepted.", outstanding},
        {"epufs_ledger_up", "Whether Redis answers and takes writes.", ledger_is_up},
        {"epufs_upload_window_needed_seconds",
         "The longest that a writer's uploads may take, as they tell it.", window_needed},
        {"epufs_upload_window_short",
         "1: upload_window is shorter than that, and completions are held back.", window_is_short},
        {"epufs_store_prompt",
         "0: the store does not answer promptly, and no time counts for the open deletions.",
         store_is_prompt},
    };
    register_counters(j);
    for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++)
        metric_register_fn(gauges[i].name, gauges[i].help, gauges[i].fn, j);
}
