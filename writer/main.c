#include <stddef.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "writer/terms.h"

#define OPT(name, field, type, dflt, min, max, flags, help)                                \
    {                                                                                      \
        name, type, offsetof(struct writer_conf, field), dflt, min, max, flags, NULL, help \
    }
static const struct option writer_options[] = {
    OPT("upload_expiry", upload_expiry_ms, OPT_MS, "10s", 2000, 600000, 0,
        "How long after the tombstone check the store still takes an upload's beginning; whole "
        "seconds. Counts into the janitor's upload_window."),
    OPT("upload_timeout", upload_timeout_ms, OPT_MS, "60s", 1000, 3600000, 0,
        "How long an upload's body may take. Counts into the janitor's upload_window."),
    OPT("store_idle_timeout", store_idle_timeout_ms, OPT_MS, "20s", 0, 3600000, 0,
        "How long the store, or the network before it, still takes bytes of an upload that were on "
        "their way when the writer stopped sending: at least the store's own time-out for a "
        "request "
        "that stands still (Amazon S3 about 20s; Ceph RGW's request_timeout_ms, by default 65s), "
        "and 20s for what the network has not acknowledged. Counts into the janitor's "
        "upload_window."),
    OPT("upload_window", upload_window_ms, OPT_MS, NULL, 1000, 86400000, 0,
        "The janitors' upload_window, if it is to be checked at the start: at least the sum of the "
        "three above. Default: not looked at; the janitor learns the sum from the store."),
    OPT("file_max_bytes", file_max_bytes, OPT_BYTES, "100MiB", 0, 0, 0,
        "Largest file, unless its pattern in known_files has a limit of its own."),
    OPT("known_files", known_files, OPT_STRING, KNOWN_FILES_DEFAULT, 0, 0, 0,
        "Files that are stored: patterns relative to PGDATA, each with an optional =size."),
    OPT("delete_timeout", delete_timeout_ms, OPT_MS, "10s", 100, 3600000, 0,
        "How long a DELETE of an endpoint, timeline or tenant may take before it is answered with "
        "202 (accepted), and the janitor removes the rest."),
    OPT("max_deletions", max_deletions, OPT_UINT, "256", 1, 100000, 0,
        "Deletions of endpoints, timelines and tenants under way; another one gets 503."),
    OPT("max_sweeps", max_sweeps, OPT_UINT, "16", 1, 1000, 0,
        "Of these, those that sweep more than 1000 files at the same time. The others wait; small "
        "ones do not."),
    OPT("guard_tenants", guard_tenants, OPT_UINT, "0", 0, 1000000, 0,
        "A guard against mass deletion, as the janitors' option of this name: when so many "
        "tenants' deletions were accepted within guard_window, further ones are held until an "
        "operator releases them. 0: no guard."),
    OPT("guard_window", guard_window_ms, OPT_MS, "1h", 1000, 0, 0,
        "The time in which guard_tenants counts."),
    {.name = NULL},
};

static int check(const void *values, struct store_err *err)
{
    const struct writer_conf *c = values;
    struct known_files *k;
    struct window_terms terms;
    if (terms_of_options(c, &terms, err) != 0 ||
        known_files_parse(c->known_files ? c->known_files : "", c->file_max_bytes, &k, err) != 0)
        return -1;
    known_files_free(k);
    return 0;
}

static void begin(struct request *rq)
{
    bool file = rq->route.route == ROUTE_FILE;
    if (file && (rq->route.method == METHOD_PUT || rq->route.method == METHOD_POST))
        upload_begin(rq);
    else if (rq->route.method == METHOD_DELETE)
        (file ? remove_file_begin : remove_scope_begin)(rq);
    else
        request_method_not_allowed(rq, METHOD_DELETE | (file ? METHOD_PUT | METHOD_POST : 0));
}

static const char *not_ready(struct service *s)
{
    return terms_missing(writer_of(s)->terms);
}

static int start(struct service *s, struct store_err *err)
{
    const struct writer_conf *c = s->conf;
    struct window_terms terms;
    struct writer *w = xcalloc(1, sizeof(*w));
    s->state = w;
    remove_metrics_register();
    if (known_files_parse(c->known_files ? c->known_files : "", c->file_max_bytes, &w->known,
                          err) != 0 ||
        service_open_another_store(s, &w->large, err) != 0 || terms_of_options(c, &terms, err) != 0)
        return -1;
    return terms_start(s->store, &terms, &w->terms, err);
}

static void stop(struct service *s)
{
    struct writer *w = s->state;
    terms_stop(w->terms);
    store_close(w->large);
    known_files_free(w->known);
    free(w);
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
        .not_ready = not_ready,
        .start = start,
        .worker_end = remove_worker_end,
        .stop = stop,
    };
    return service_main(&app, argc, argv);
}
