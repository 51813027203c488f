#include <stddef.h>

#include "janitor/commands.h"

#define OPT(name, field, type, dflt, min, max, flags, help)                                 \
    {                                                                                       \
        name, type, offsetof(struct janitor_conf, field), dflt, min, max, flags, NULL, help \
    }
/* What is in the name of a secret among librdkafka's settings. */
static const char *const kafka_secrets[] = {"password",           "pem", "secret", "token", "jaas",
                                            "oauthbearer.config", NULL};

const struct option janitor_options[] = {
    OPT("kafka_brokers", kafka_brokers, OPT_STRING, "127.0.0.1:9092", 0, 0, OPT_REQUIRED,
        "Bootstrap servers, host:port[,host:port…]."),
    OPT("kafka_group", kafka_group, OPT_STRING, "epufs-janitor", 0, 0, OPT_REQUIRED,
        "Consumer group: all janitors of one store share it."),
    OPT("kafka_options", kafka_options, OPT_STRING, NULL, 0, 0, OPT_SECRET,
        "Further librdkafka settings, name=value, divided by commas; kafka.NAME is the better "
        "way."),
    {"kafka.", OPT_MAP, offsetof(struct janitor_conf, kafka_settings), NULL, 0, 0, 0, kafka_secrets,
     "A setting of librdkafka by its name, such as kafka.security.protocol=SASL_SSL; "
     "kafka.consumer.NAME and kafka.producer.NAME are for one side. Those that the janitor relies "
     "on are refused. A secret may stand in a file: kafka.sasl.password_file. In the environment "
     "two underscores are a dot: EPUFS_KAFKA__SECURITY__PROTOCOL."},
    OPT("kafka_session_timeout", kafka_session_timeout_ms, OPT_MS, "45s", 6000, 3600000, 0,
        "How long the group waits for a silent member."),
    OPT("deletions_topic", deletions_topic, OPT_STRING, "epufs.deletions.v1", 0, 0, OPT_REQUIRED,
        "Where deletion events come from."),
    OPT("completions_topic", completions_topic, OPT_STRING, "epufs.completions.v1", 0, 0,
        OPT_REQUIRED, "Where completions go."),
    OPT("deadletter_topic", deadletter_topic, OPT_STRING, "epufs.deadletter.v1", 0, 0, OPT_REQUIRED,
        "Where refused events go."),
    OPT("max_outstanding", max_outstanding, OPT_UINT, "1000", 1, 100000, 0,
        "Events taken from Kafka and not yet accepted."),
    OPT("redis_url", redis_url, OPT_STRING, NULL, 0, 0, OPT_SECRET,
        "redis://[user:password@]host[:port][/db] for progress, leases and status; without it the "
        "janitor works, and repeats more after a crash. rediss:// is TLS, redis+sentinel:// and "
        "rediss+sentinel:// take [user:password@]host[:port][,host[:port]…]/master-name[/db]."),
    OPT("redis_password_file", redis_password_file, OPT_STRING, NULL, 0, 0, 0,
        "File with the password, in place of one in redis_url; read again for each connection."),
    OPT("redis_sentinel_password_file", redis_sentinel_password_file, OPT_STRING, NULL, 0, 0, 0,
        "The same for the sentinels, which are asked without a password otherwise."),
    OPT("redis_ca_file", redis_ca_file, OPT_STRING, NULL, 0, 0, 0,
        "PEM file of the CAs that may sign Redis' certificate, in place of the system's."),
    OPT("redis_client_cert_file", redis_client_cert_file, OPT_STRING, NULL, 0, 0, 0,
        "PEM file of a certificate, with its chain, to show to Redis."),
    OPT("redis_client_key_file", redis_client_key_file, OPT_STRING, NULL, 0, 0, 0,
        "PEM file of its key; without it the key stands beside the certificate."),
    OPT("redis_timeout", redis_timeout_ms, OPT_MS, "500ms", 10, 60000, 0,
        "One Redis command; what takes longer counts as Redis being down."),
    OPT("ledger_keep", ledger_keep_ms, OPT_MS, "168h", 1000, 0, 0,
        "How long Redis keeps the record of a completed deletion."),
    OPT("lease", lease_ms, OPT_MS, "30s", 2000, 3600000, 0,
        "How long Redis keeps a deletion for a janitor that gives no sign of life; then another "
        "one goes on with it."),
    OPT("upload_window", upload_window_ms, OPT_MS, "105s", 1000, 86400000, 0,
        "After a tombstone, how long an upload that passed the check before may still end: at "
        "least the writers' upload_expiry + upload_timeout + store_idle_timeout. They tell theirs "
        "in the store; while one of them needs longer no deletion completes, nor does one earlier "
        "than this."),
    OPT("intent_scan_interval", intent_scan_interval_ms, OPT_MS, "30s", 100, 86400000, 0,
        "How often open deletions are looked for in the store: of HTTP requests, of janitors that "
        "died, and those that an operator changed."),
    OPT("workers", workers, OPT_UINT, "16", 1, 64, 0,
        "Threads that accept events, and as many that carry out small deletions. Each has one "
        "request to the store at a time, and waits for it."),
    OPT("big_workers", big_workers, OPT_UINT, "4", 1, 64, 0,
        "Threads for big deletions, each of which has several requests under way."),
    OPT("max_open_jobs", max_open_jobs, OPT_UINT, "10000", 1, 1000000, 0,
        "Open deletions kept in memory; more wait in the store."),
    OPT("delete_versions", delete_versions, OPT_BOOL, "true", 0, 0, 0,
        "Remove old versions and delete markers too, where the bucket keeps them. Needs the right "
        "to list and delete versions."),
    OPT("delete_rate", delete_rate, OPT_UINT, "0", 0, 0, 0,
        "Objects that this janitor removes in a second at most, over some seconds; 0: as fast as "
        "the store lets it."),
    OPT("tenant_delete_rate", tenant_delete_rate, OPT_UINT, "0", 0, 0, 0,
        "The same for each tenant."),
    OPT("guard_tenants", guard_tenants, OPT_UINT, "0", 0, 1000000, 0,
        "A guard against mass deletion: when so many tenants' deletions were accepted within "
        "guard_window, by whichever janitor or writer, further ones are held until an operator "
        "releases them. 0: no guard. Give it to writers, too."),
    OPT("guard_window", guard_window_ms, OPT_MS, "1h", 1000, 0, 0,
        "The time in which guard_tenants counts."),
    OPT("tombstone_scan_interval", tombstone_scan_interval_ms, OPT_MS, "6h", 0, 0, 0,
        "How often tombstones are looked for that may go, since all tokens they fence have expired "
        "(tokens_expire_by); 0: never."),
    OPT("tombstone_grace", tombstone_grace_ms, OPT_MS, "1h", 0, 0, 0,
        "How long after tokens_expire_by a tombstone stays: more than the services' token_leeway "
        "and "
        "what clocks may be apart."),
    OPT("notice_interval", notice_interval_ms, OPT_MS, "1s", 0, 60000, 0,
        "How often a heartbeat and the progress of what is open go out on Redis' channel "
        "epufs:notices, for epufs-janitor watch and status; 0: never. Nothing relies on them."),
    OPT("denied_tries", denied_tries, OPT_UINT, "10", 1, 1000, 0,
        "How often a removal that the store refuses (access denied) is tried, with growing pauses, "
        "before the deletion counts as failed and waits for a person."),
    {.name = NULL},
};

int main(int argc, char **argv)
{
    static const struct option *const tables[] = {service_options, janitor_options, NULL};
    static const struct app app = {
        .program = "epufs-janitor",
        .conf_size = sizeof(struct janitor_conf),
        .pool_bytes = 16 * 1024,
        .write_buffer_bytes = 64 * 1024,
        .not_ready = engine_not_ready,
        .start = engine_start,
        .stop = engine_stop,
    };
    return commands_main(&app, tables, argc, argv);
}
