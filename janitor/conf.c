#include "janitor/janitor.h"

int conf_check(const void *conf, struct store_err *err)
{
    const struct janitor_conf *c = conf;
    const struct queue_conf queue = {
        .brokers = c->kafka_brokers,
        .group = c->kafka_group,
        .session_timeout_ms = (uint32_t)c->kafka_session_timeout_ms,
        .settings = c->kafka_settings,
    };
    return queue_check_settings(&queue, err);
}
