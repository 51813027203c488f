#include "janitor/janitor.h"

struct redis_conf conf_redis(const struct janitor_conf *c)
{
    return (struct redis_conf){
        .url = c->redis_url,
        .password_file = c->redis_password_file,
        .sentinel_password_file = c->redis_sentinel_password_file,
        .ca_file = c->redis_ca_file,
        .client_cert_file = c->redis_client_cert_file,
        .client_key_file = c->redis_client_key_file,
        .timeout_ms = (uint32_t)c->redis_timeout_ms,
    };
}

struct mass_guard_conf conf_guard(const struct janitor_conf *c)
{
    return (struct mass_guard_conf){c->guard_tenants, (uint32_t)(c->guard_window_ms / 1000)};
}

uint64_t conf_workers(const struct janitor_conf *c, enum lane lane)
{
    return lane == LANE_BIG ? c->big_workers : c->workers;
}

int conf_check(const void *conf, struct store_err *err)
{
    const struct janitor_conf *c = conf;
    const struct redis_conf redis = conf_redis(c);
    const struct queue_conf queue = {
        .brokers = c->kafka_brokers,
        .group = c->kafka_group,
        .session_timeout_ms = (uint32_t)c->kafka_session_timeout_ms,
        .settings = c->kafka_settings,
    };
    struct ledger *ledger;
    if (ledger_open_conf(&redis, &ledger, err) != 0)
        return -1;
    ledger_close(ledger);
    return queue_check_settings(&queue, err);
}
