/* The store of a service: from options to an open store, its alarm in the log, its counters among
 * the metrics. */
#include "base/log.h"
#include "service/service.h"

/* The largest body of one request. An upload of up to this is one request, which needs no memory
 * here and which the store refuses when it comes after its expiry; parts would need some. */
#define SINGLE_PUT_MAX_BYTES (5ULL << 30)

/* ---- Alarm ---- */

/* From any of the threads. */
static void on_alarm(void *user, const struct store_alarm *alarm)
{
    (void)user;
    if (alarm->raised)
        log_warn("store alarm: many requests fail", LOG_S("store", alarm->url),
                 LOG_U("error_percent", alarm->error_percent),
                 LOG_U("requests_of_last_minute", alarm->requests));
    else
        log_info("store alarm is over", LOG_S("store", alarm->url),
                 LOG_U("error_percent", alarm->error_percent),
                 LOG_U("requests_of_last_minute", alarm->requests));
}

int service_open_another_store(const struct service *s, store **out, struct store_err *err)
{
    const struct service_conf *c = service_conf(s);
    const struct store_conf sc = {
        .endpoint = c->s3_endpoint,
        .region = c->s3_region,
        .profile = c->s3_profile,
        .addressing = (enum store_addressing)c->s3_addressing,
        .ca_file = c->s3_ca_file,
        .client_cert_file = c->s3_client_cert_file,
        .client_key_file = c->s3_client_key_file,
        .max_connections = (uint32_t)c->s3_max_connections,
        .max_bulk_connections = (uint32_t)c->s3_max_bulk_connections,
        .op_timeout_ms = (uint32_t)c->store_timeout_ms,
        .multipart_bytes = SINGLE_PUT_MAX_BYTES,
        .on_alarm = on_alarm,
        .alarm_percent = (uint32_t)c->store_alarm_percent,
    };
    return store_open(c->store, &sc, out, err);
}

int service_open_store(struct service *s, struct store_err *err)
{
    return service_open_another_store(s, &s->store, err);
}

/* ---- Metrics ---- */

static const struct store *counted; /* lives as long as metrics are asked for */

static struct store_stats stats(void)
{
    struct store_stats now;
    store_stats(counted, &now);
    return now;
}

#define READ_STAT(field)                   \
    static double read_##field(void *user) \
    {                                      \
        (void)user;                        \
        return (double)stats().field;      \
    }
READ_STAT(requests)
READ_STAT(failures)
READ_STAT(retries)
READ_STAT(retries_forgone)
READ_STAT(throttled)
READ_STAT(hedges)
READ_STAT(hedges_won)
READ_STAT(credential_errors)
READ_STAT(alarm)

static double read_error_ratio(void *user)
{
    (void)user;
    return stats().error_percent / 100.0;
}

void store_metrics_register(struct service *s)
{
    static const struct {
        const char *name, *help;
        double (*read)(void *user);
    } counters[] = {
        {"epufs_store_requests_total", "Requests sent to the store, repeated ones too.",
         read_requests},
        {"epufs_store_failures_total", "Of these, those that failed for reasons of the store.",
         read_failures},
        {"epufs_store_retries_total", "Of these, those that repeat an earlier one.", read_retries},
        {"epufs_store_retries_forgone_total",
         "Failures that were not tried again, since too many had failed.", read_retries_forgone},
        {"epufs_store_throttled_total", "Answers of the store that asked to slow down.",
         read_throttled},
        {"epufs_store_hedges_total", "Second requests for small reads that were slow.",
         read_hedges},
        {"epufs_store_hedges_won_total", "Of these, those that were answered first.",
         read_hedges_won},
        {"epufs_store_credential_errors_total", "Failed attempts to renew credentials.",
         read_credential_errors},
    };
    counted = s->store;
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
        metric_register_counter_fn(counters[i].name, counters[i].help, counters[i].read, NULL);
    metric_register_fn("epufs_store_error_ratio",
                       "Requests to the store that failed, of the last minute's.", read_error_ratio,
                       NULL);
    metric_register_fn("epufs_store_alarm", "1 while an alarm of store_alarm_percent is raised.",
                       read_alarm, NULL);
}
