/* cat: objects to standard output, one after the other. */
#include "storectl/cp.h"
#include "storectl/storectl.h"

struct cat {
    struct ctl *c;
    struct transfer *transfer;
    bool done;
};

static void cat_done(void *user, const struct transfer_result *r)
{
    struct cat *cat = user;
    cat->transfer = NULL;
    cat->done = true;
    if (r->err.code != STORE_OK)
        cp_fail(cat->c, &r->err);
}

static void cat_stop(void *user)
{
    struct cat *cat = user;
    if (cat->transfer)
        transfer_cancel(cat->transfer);
}

static void cat_one(struct ctl *c, const char *word)
{
    static const struct end to = {NULL, "-", -1};
    struct cat cat = {.c = c};
    struct place p;
    if (ctl_store_place(c, word, &p) != 0)
        return;
    const struct end from = {p.store, p.name, -1};
    const struct transfer_opts opts = {
        .offset = c->args.offset, .length = c->args.length, .done = cat_done, .user = &cat};
    c->on_stop = cat_stop;
    c->on_stop_user = &cat;
    cat.transfer = transfer_start(c, &from, &to, &opts);
    ctl_run(c, &cat.done);
    c->on_stop = NULL;
    place_cleanup(&p);
}

void command_cat(struct ctl *c)
{
    for (size_t i = 0; i < c->args.n_words && ctl_goes_on(c); i++)
        cat_one(c, c->args.words[i]);
}
