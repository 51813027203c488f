#include <stddef.h>

#include "writer/writer.h"

#define OPT(name, field, type, dflt, min, max, flags, help)                                \
    {                                                                                      \
        name, type, offsetof(struct writer_conf, field), dflt, min, max, flags, NULL, help \
    }
static const struct option writer_options[] = {
    OPT("upload_expiry", upload_expiry_ms, OPT_MS, "10s", 2000, 600000, 0,
        "How long after the tombstone check the store still takes an upload's beginning. Counts "
        "into the janitor's upload_window."),
    OPT("upload_timeout", upload_timeout_ms, OPT_MS, "60s", 1000, 3600000, 0,
        "How long an upload's body may take. Counts into the janitor's upload_window."),
    OPT("file_max_bytes", file_max_bytes, OPT_BYTES, "100MiB", 0, 0, 0,
        "Largest file, unless its pattern in known_files has a limit of its own."),
    OPT("known_files", known_files, OPT_STRING, KNOWN_FILES_DEFAULT, 0, 0, 0,
        "Files that are stored: patterns relative to PGDATA, each with an optional =size."),
    OPT("delete_threads", delete_threads, OPT_UINT, "4", 1, 64, 0,
        "Threads that delete endpoints, timelines and tenants."),
    {.name = NULL},
};

static struct known_files *known;

static int check(const void *values, struct store_err *err)
{
    const struct writer_conf *c = values;
    struct known_files *k;
    if (known_files_parse(c->known_files ? c->known_files : "", c->file_max_bytes, &k, err) != 0)
        return -1;
    known_files_free(k);
    return 0;
}

static void begin(struct request *rq)
{
    bool file = rq->route.route == ROUTE_FILE;
    if (file && (rq->route.method == METHOD_PUT || rq->route.method == METHOD_POST))
        upload_begin(rq, known);
    else if (rq->route.method == METHOD_DELETE)
        (file ? remove_file_begin : remove_scope_begin)(rq);
    else
        request_method_not_allowed(rq, METHOD_DELETE | (file ? METHOD_PUT | METHOD_POST : 0));
}

static int start(struct service *s, struct store_err *err)
{
    const struct writer_conf *c = s->conf;
    if (known_files_parse(c->known_files, c->file_max_bytes, &known, err) != 0)
        return -1;
    remove_start(s, c->delete_threads);
    return 0;
}

static void stop(struct service *s)
{
    (void)s;
    remove_stop();
    known_files_free(known);
}

int main(int argc, char **argv)
{
    static const struct option *const tables[] = {service_options, token_options, writer_options,
                                                  NULL};
    static const struct options_spec options = {
        .program = "epufs-writer",
        .summary = "Takes the files of Postgres endpoints into object storage, and deletes them.",
        .tables = tables,
        .check = check,
    };
    static const struct app app = {
        .program = "epufs-writer",
        .options = &options,
        .conf_size = sizeof(struct writer_conf),
        .pool_bytes = 128 * 1024,
        .write_buffer_bytes = 64 * 1024,
        .begin = begin,
        .start = start,
        .stop = stop,
    };
    return service_main(&app, argc, argv);
}
