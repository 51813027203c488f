/* cp: one object. cp -r is in cp_tree.c. */
#include "storectl/cp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/xalloc.h"
#include "storectl/progress.h"
#include "storectl/show.h"
#include "storectl/storectl.h"

struct cp_one {
    struct ctl *c;
    struct transfer *transfer;
    const char *from, *to;
    struct progress bar;
    bool done;
};

void cp_tell(struct ctl *c, const char *from, const char *to, const struct transfer_result *r)
{
    if (c->args.json) {
        json_begin(&c->out);
        json_str(&c->out, "from", from);
        json_str(&c->out, "to", to);
        json_num(&c->out, "bytes", r->bytes);
        json_str_if(&c->out, "etag", r->etag);
        json_end(&c->out);
    } else if (c->args.verbose) {
        text_safe(&c->out, from);
        buf_adds(&c->out, " -> ");
        text_safe(&c->out, to);
        buf_addc(&c->out, '\n');
    }
    ctl_print(c);
}

void cp_fail(struct ctl *c, const struct store_err *err)
{
    if (err->sys_errno == EPIPE)
        ctl_output_failed(c, EPIPE);
    else
        ctl_fail(c, err);
}

static void one_sized(void *user, uint64_t bytes)
{
    struct cp_one *o = user;
    o->bar.total_bytes = bytes;
}

static void one_moved(void *user, uint64_t bytes)
{
    struct cp_one *o = user;
    o->bar.bytes += bytes;
}

static void one_done(void *user, const struct transfer_result *r)
{
    struct cp_one *o = user;
    o->transfer = NULL;
    o->done = true;
    progress_end(&o->bar);
    if (r->err.code != STORE_OK)
        cp_fail(o->c, &r->err);
    else if (strcmp(o->to, "-") != 0) /* there the object itself is printed */
        cp_tell(o->c, o->from, o->to, r);
}

static void one_stop(void *user)
{
    struct cp_one *o = user;
    if (o->transfer)
        transfer_cancel(o->transfer);
}

/* Puts the source's last part behind a target that is a folder. Returns -1 after a report. */
static int complete_target(struct cp *cp)
{
    struct place *to = &cp->to;
    struct stat st;
    size_t n = strlen(to->name);
    bool folder = to->store
                      ? n == 0 || to->name[n - 1] == '/'
                      : to->name[n - 1] == '/' || (stat(to->name, &st) == 0 && S_ISDIR(st.st_mode));
    if (!folder || (!to->store && place_is_stdio(to)))
        return 0;
    const char *base = name_base(cp->from.name);
    if (!*base || place_is_stdio(&cp->from)) {
        ctl_usage(cp->c, "'%.150s': expected a full name to copy to", to->name);
        return -1;
    }
    char *whole = xasprintf("%s%s%s", to->name, n && to->name[n - 1] != '/' ? "/" : "", base);
    free(to->name);
    to->name = whole;
    return 0;
}

static void cp_one(struct cp *cp)
{
    struct ctl *c = cp->c;
    if (complete_target(cp) != 0)
        return;
    struct cp_one o = {.c = c, .from = cp->from.name, .to = cp->to.name};
    const struct end from = {cp->from.store, cp->from.name, -1};
    const struct end to = {cp->to.store, cp->to.name, -1};
    const struct transfer_opts opts = {
        .put = &cp->put, .sized = one_sized, .moved = one_moved, .done = one_done, .user = &o};
    c->on_stop = one_stop;
    c->on_stop_user = &o;
    progress_begin(&o.bar, c, NULL);
    o.transfer = transfer_start(c, &from, &to, &opts);
    ctl_run(c, &o.done);
    c->on_stop = NULL;
}

static void put_opts(struct cp *cp)
{
    const struct args *a = &cp->c->args;
    cp->put = (struct store_put_opts){
        .content_type = a->content_type,
        .meta = a->meta,
        .n_meta = a->n_meta,
        .if_absent = a->if_absent,
        .if_match = a->if_match,
        .compress = a->compress,
    };
}

static bool fits(struct cp *cp)
{
    const struct args *a = &cp->c->args;
    const struct place *from = &cp->from, *to = &cp->to;
    if (!from->store && !to->store)
        ctl_usage(cp->c, "cp: expected a place in a store: s3://…, file:///… or :KEY");
    else if (!to->store &&
             (a->compress || a->if_absent || a->if_match || a->content_type || a->n_meta > 0))
        ctl_usage(cp->c, "--compress, --if-absent, --if-match, --content-type and --meta are for "
                         "objects, not for files");
    else if (a->recursive && (place_is_stdio(from) || place_is_stdio(to)))
        ctl_usage(cp->c, "-: not with -r");
    else if (!a->recursive && from->store && !*from->name)
        ctl_usage(cp->c, "cp: expected an object to copy from; a tree goes with -r");
    else
        return true;
    return false;
}

void command_cp(struct ctl *c)
{
    struct cp cp = {.c = c};
    put_opts(&cp);
    if (ctl_place(c, c->args.words[0], false, &cp.from) == 0 &&
        ctl_place(c, c->args.words[1], true, &cp.to) == 0 && fits(&cp)) {
        if (c->args.recursive)
            cp_tree(&cp);
        else
            cp_one(&cp);
    }
    place_cleanup(&cp.from);
    place_cleanup(&cp.to);
}
