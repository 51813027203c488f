/* rm: objects by name, in batches. rm -r is in rm_tree.c. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "storectl/rm.h"
#include "storectl/show.h"
#include "storectl/storectl.h"

struct batch {
    struct ctl *c;
    store *store; /* of all keys in it */
    char *keys[STORE_MAX_BATCH];
    size_t n;
    store_op *op;
    bool done, failed;
};

static void batch_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct batch *b = user;
    (void)info;
    b->op = NULL;
    b->done = true;
    b->failed = err->code != STORE_OK;
    if (b->failed)
        ctl_fail(b->c, err);
}

static void tell_removed(struct ctl *c, const char *key)
{
    if (c->args.json) {
        json_begin(&c->out);
        json_str(&c->out, "removed", key);
        json_end(&c->out);
    } else if (c->args.verbose) {
        buf_adds(&c->out, "removed ");
        text_safe(&c->out, key);
        buf_addc(&c->out, '\n');
    }
    ctl_print(c);
}

/* Removes what the batch holds, and empties it. */
static void batch_send(struct batch *b)
{
    struct store_err err = {0};
    if (b->n == 0)
        return;
    b->done = false;
    /* A single key as DELETE: every store has that, and permissions may be for it only. */
    b->op = b->n == 1 ? store_delete(b->store, b->c->loop, b->keys[0], 0, batch_done, b, &err)
                      : store_delete_many(b->store, b->c->loop, (const char *const *)b->keys, b->n,
                                          0, batch_done, b, &err);
    if (!b->op)
        batch_done(b, &err, NULL);
    ctl_run_op(b->c, &b->op, &b->done);
    for (size_t i = 0; i < b->n; i++) {
        if (!b->failed)
            tell_removed(b->c, b->keys[i]);
        free(b->keys[i]);
    }
    b->n = 0;
}

static void rm_objects(struct ctl *c)
{
    struct batch *b = xcalloc(1, sizeof(*b));
    struct place p;
    b->c = c;
    for (size_t i = 0; i < c->args.n_words && ctl_goes_on(c); i++) {
        if (ctl_store_place(c, c->args.words[i], &p) != 0)
            continue;
        if (!*p.name) {
            ctl_usage(c, "'%.150s': expected an object; a prefix goes with rm -r",
                      c->args.words[i]);
            place_cleanup(&p);
            continue;
        }
        if (b->store != p.store || b->n == STORE_MAX_BATCH)
            batch_send(b);
        b->store = p.store;
        b->keys[b->n++] = p.name; /* the batch's now */
    }
    if (ctl_goes_on(c))
        batch_send(b);
    while (b->n > 0)
        free(b->keys[--b->n]);
    free(b);
}

void command_rm(struct ctl *c)
{
    if (c->args.recursive)
        rm_tree(c);
    else
        rm_objects(c);
}
