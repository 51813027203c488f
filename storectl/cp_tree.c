/* cp -r: a tree up, down or across, with several transfers under way. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "storectl/cp.h"
#include "storectl/progress.h"
#include "storectl/show.h"
#include "storectl/storectl.h"
#include "storectl/value.h"
#include "storectl/walk.h"

struct tree;

struct slot {
    struct tree *tree;
    struct transfer *transfer; /* NULL: the slot is free */
    char *from, *to;
};

struct tree {
    struct cp *cp;
    struct ctl *c;
    /* Where the names come from: a walk, or the pages of a listing. */
    struct walk walk;
    store_op *lister;
    char **keys; /* of the last page; those before next_key were taken */
    size_t n_keys, next_key;
    char *token;
    bool listed, walked; /* nothing follows */

    int root_fd; /* down: the folder; else -1 */
    struct slot *slots;
    size_t n_slots, active;
    bool pumping, done;
    struct progress bar;
    uint64_t copied, skipped;
};

static void pump(struct tree *t);

/* ---- Names from a listing ---- */

/* Other tools store "folder/" without bytes to make a folder visible. */
static bool is_folder_mark(const struct store_entry *e)
{
    size_t n = strlen(e->key);
    return e->size == 0 && n > 0 && e->key[n - 1] == '/';
}

static void tree_page(void *user, const struct store_page *page)
{
    struct tree *t = user;
    free(t->keys);
    free(t->token);
    t->keys = xcalloc(page->n + 1, sizeof(*t->keys));
    t->n_keys = t->next_key = 0;
    for (size_t i = 0; i < page->n; i++)
        if (!is_folder_mark(&page->entries[i]))
            t->keys[t->n_keys++] = xstrdup(page->entries[i].key);
    t->token = xstrdup(page->next_token);
    t->listed = !t->token;
}

static void tree_listed(void *user, const struct store_err *err, const struct store_info *info)
{
    struct tree *t = user;
    (void)info;
    t->lister = NULL;
    if (err->code != STORE_OK) {
        t->listed = true;
        ctl_fail(t->c, err);
    }
    pump(t);
}

static void list_more(struct tree *t)
{
    static const struct store_list_cb cb = {tree_page, tree_listed};
    const struct store_list_opts opts = {.token = t->token};
    struct store_err err = {0};
    t->lister = store_list(t->cp->from.store, t->c->loop, t->cp->from.name, &opts, &cb, t, &err);
    if (t->lister)
        return;
    t->listed = true;
    ctl_fail(t->c, &err);
}

/* ---- One file or object ---- */

static void slot_moved(void *user, uint64_t bytes)
{
    struct slot *s = user;
    s->tree->bar.bytes += bytes;
}

static void slot_done(void *user, const struct transfer_result *r)
{
    struct slot *s = user;
    struct tree *t = s->tree;
    s->transfer = NULL;
    t->active--;
    if (r->err.code == STORE_OK) {
        t->copied++;
        t->bar.count++;
        cp_tell(t->c, s->from, s->to, r);
    } else if (r->err.code == STORE_PRECONDITION && t->cp->put.if_absent) {
        t->skipped++;
    } else {
        cp_fail(t->c, &r->err);
    }
    free(s->from);
    free(s->to);
    pump(t);
}

/* rel: behind the prefix or folder on both sides. */
static void start(struct tree *t, const char *from, const char *rel, int fd)
{
    struct slot *s = t->slots;
    while (s->transfer)
        s++;
    const struct place *to = &t->cp->to;
    s->tree = t;
    s->from = xstrdup(from);
    s->to = to->store ? xasprintf("%s%s", to->name, rel) : xstrdup(rel);
    const struct end source = {t->cp->from.store, s->from, fd};
    const struct end target = {to->store, s->to, t->root_fd};
    const struct transfer_opts opts = {
        .put = &t->cp->put, .moved = slot_moved, .done = slot_done, .user = s};
    s->transfer = transfer_start(t->c, &source, &target, &opts);
    t->active++;
}

/* Returns false when there is nothing to start now. */
static bool start_key(struct tree *t)
{
    if (t->next_key == t->n_keys) {
        if (!t->listed && !t->lister)
            list_more(t);
        return false;
    }
    char *key = t->keys[t->next_key++];
    start(t, key, key + strlen(t->cp->from.name), -1);
    free(key);
    return true;
}

static bool start_file(struct tree *t)
{
    struct store_err err = {0};
    const char *name;
    uint64_t size;
    int fd;
    switch (walk_next(&t->walk, &name, &fd, &size, &err)) {
    case WALK_FILE: start(t, name, name, fd); return true;
    case WALK_FAILED: ctl_fail(t->c, &err); return true;
    case WALK_END: t->walked = true; break;
    }
    return false;
}

static bool start_next(struct tree *t)
{
    return t->cp->from.store ? start_key(t) : !t->walked && start_file(t);
}

static bool at_end(const struct tree *t)
{
    if (!ctl_goes_on(t->c))
        return !t->lister;
    return t->cp->from.store ? t->listed && t->next_key == t->n_keys : t->walked;
}

static void pump(struct tree *t)
{
    if (t->pumping)
        return;
    t->pumping = true;
    while (ctl_goes_on(t->c) && t->active < t->n_slots && start_next(t))
        ;
    t->pumping = false;
    t->done = t->active == 0 && at_end(t);
}

static void tree_stop(void *user)
{
    struct tree *t = user;
    if (t->lister)
        store_op_cancel(t->lister);
    for (size_t i = 0; i < t->n_slots; i++)
        if (t->slots[i].transfer)
            transfer_cancel(t->slots[i].transfer);
    pump(t);
}

/* ---- The whole ---- */

static int open_root(struct tree *t, struct store_err *err)
{
    const char *folder = t->cp->to.name;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return store_err_errno(err, errno, "%.150s", folder);
    t->root_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return t->root_fd >= 0 ? 0 : store_err_errno(err, errno, "%.150s", folder);
}

static int prepare(struct tree *t, struct store_err *err)
{
    struct cp *cp = t->cp;
    if (cp->from.store)
        place_make_prefix(&cp->from);
    if (cp->to.store)
        place_make_prefix(&cp->to);
    if (cp->from.store && cp->from.store == cp->to.store &&
        strncmp(cp->to.name, cp->from.name, strlen(cp->from.name)) == 0) {
        t->c->usage = true;
        return store_err_set(err, STORE_INVALID, "'%.100s' is inside of '%.100s'", cp->to.name,
                             cp->from.name);
    }
    if (!cp->to.store && open_root(t, err) != 0)
        return -1;
    return cp->from.store ? 0 : walk_open(&t->walk, cp->from.name, t->c->args.follow, err);
}

static void report(struct tree *t)
{
    struct buf *b = &t->c->out;
    char count[VALUE_TEXT], bytes[VALUE_TEXT];
    uint64_t ms = progress_elapsed_ms(&t->bar), skipped = t->skipped + t->walk.skipped;
    if (t->c->args.json) {
        json_begin(b);
        json_num(b, "objects", t->copied);
        json_num(b, "bytes", t->bar.bytes);
        json_num(b, "skipped", skipped);
        json_num(b, "failed", t->c->failures);
        json_num(b, "elapsed_ms", ms);
        json_end(b);
    } else {
        buf_addf(b, "copied %s objects, %s", value_show_count(t->copied, count),
                 value_show_bytes(t->bar.bytes, bytes));
        if (skipped)
            buf_addf(b, ", skipped %s", value_show_count(skipped, count));
        buf_addf(b, " in %s\n", value_show_ms(ms, count));
    }
    ctl_print_last(t->c);
}

static void tree_cleanup(struct tree *t)
{
    while (t->next_key < t->n_keys)
        free(t->keys[t->next_key++]);
    free(t->keys);
    free(t->token);
    free(t->slots);
    walk_close(&t->walk);
    if (t->root_fd >= 0)
        close(t->root_fd);
}

void cp_tree(struct cp *cp)
{
    struct tree t = {.cp = cp, .c = cp->c, .root_fd = -1, .n_slots = cp->c->args.parallel};
    struct store_err err = {0};
    t.slots = xcalloc(t.n_slots, sizeof(*t.slots));
    if (prepare(&t, &err) == 0) {
        cp->c->on_stop = tree_stop;
        cp->c->on_stop_user = &t;
        progress_begin(&t.bar, cp->c, "objects");
        pump(&t);
        ctl_run(cp->c, &t.done);
        progress_end(&t.bar);
        cp->c->on_stop = NULL;
        report(&t);
    } else {
        ctl_fail(cp->c, &err);
    }
    tree_cleanup(&t);
}
