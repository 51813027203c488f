#include <stddef.h>

#include "reader/reader.h"

#define OPT(name, field, type, dflt, min, max, flags, help)                                \
    {                                                                                      \
        name, type, offsetof(struct reader_conf, field), dflt, min, max, flags, NULL, help \
    }
static const struct option reader_options[] = {
    OPT("read_timeout", read_timeout_ms, OPT_MS, "10m", 1000, 86400000, 0,
        "How long one file's way from the store to the client may take."),
    OPT("endpoint_max_files", endpoint_max_files, OPT_UINT, "1000", 1, 100000, 0,
        "Largest number of files that a TAR or list of an endpoint may have."),
    OPT("sibling_reads", sibling_reads, OPT_BOOL, "false", 0, 0, 0,
        "Let an endpoint's token also read the files of the other endpoints of its timeline, each "
        "one's "
        "highest generation without a tombstone; never write them."),
    {.name = NULL},
};

static void begin(struct request *rq)
{
    bool reads = rq->route.method == METHOD_GET || rq->route.method == METHOD_HEAD;
    if (rq->route.route == ROUTE_SCOPE && rq->route.scope.kind != SCOPE_ENDPOINT)
        request_method_not_allowed(rq, 0);
    else if (!reads)
        request_method_not_allowed(rq, METHOD_GET | METHOD_HEAD);
    else if (rq->route.route == ROUTE_FILE)
        get_begin(rq);
    else
        endpoint_begin(rq);
}

int main(int argc, char **argv)
{
    static const struct option *const tables[] = {service_options, token_options, reader_options,
                                                  NULL};
    static const struct options_spec options = {
        .program = "epufs-reader",
        .summary = "Gives Postgres endpoints their files back from object storage.",
        .tables = tables,
    };
    static const struct app app = {
        .program = "epufs-reader",
        .options = &options,
        .conf_size = sizeof(struct reader_conf),
        .pool_bytes = 16 * 1024,
        .write_buffer_bytes = 64 * 1024,
        .begin = begin,
    };
    return service_main(&app, argc, argv);
}
