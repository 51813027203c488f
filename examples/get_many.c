/* get_many - reads many objects at once on one loop and writes them to standard output, one after
 * the other, without holding more than a few of their bytes in memory.
 *
 *     get_many STORE_URL KEY...
 *
 * Back-pressure: only the object whose turn it is flows. The others have begun, so their first
 * bytes are there when their turn comes, and are paused: a data call-back that returns false gets
 * nothing more before store_op_resume(). */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <store/store.h>

enum { AHEAD = 16, DAY_MS = 24 * 3600 * 1000 };

struct many;

struct object {
    struct many *many;
    const char *key;
    store_op *op; /* NULL: not begun, or ended */
    char *early;  /* what came before its turn */
    size_t early_size;
    bool ended;
};

struct many {
    store *store;
    store_loop *loop;
    struct object *objects;
    size_t n, begun, turn; /* those before turn were written */
    struct store_err err;  /* the first failure */
};

static void fail(struct many *m, const struct store_err *err)
{
    if (m->err.code == STORE_OK)
        m->err = *err;
}

static void write_out(struct many *m, const void *bytes, size_t n)
{
    if (fwrite(bytes, 1, n, stdout) != n && m->err.code == STORE_OK)
        store_err_set(&m->err, STORE_FAILED, "standard output: write failed");
}

static bool take_data(void *user, const void *bytes, size_t n)
{
    struct object *o = user;
    struct many *m = o->many;
    if (o == &m->objects[m->turn]) {
        write_out(m, bytes, n);
        return true;
    }
    /* Once only, since it pauses; so these are as many bytes as libstore hands over at a time. */
    o->early = malloc(n);
    if (!o->early) {
        store_err_set(&m->err, STORE_NO_MEMORY, "%s: out of memory", o->key);
        return true;
    }
    memcpy(o->early, bytes, n);
    o->early_size = n;
    return false;
}

static void move_on(struct many *m);

static void object_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct object *o = user;
    (void)info;
    o->op = NULL;
    o->ended = true;
    if (err->code != STORE_OK)
        fail(o->many, err);
    move_on(o->many);
}

static void begin(struct many *m)
{
    static const struct store_get_cb cb = {.data = take_data, .done = object_done};
    const struct store_get_opts opts = {.timeout_ms = DAY_MS}; /* pauses count */
    struct object *o = &m->objects[m->begun++];
    o->op = store_get(m->store, m->loop, o->key, &opts, &cb, o, &m->err);
    o->ended = !o->op;
}

/* Lets those that have ended go, and begins others. */
static void move_on(struct many *m)
{
    while (m->err.code == STORE_OK && m->turn < m->n) {
        while (m->begun < m->n && m->begun < m->turn + AHEAD && m->err.code == STORE_OK)
            begin(m);
        struct object *o = &m->objects[m->turn];
        if (o->early) {
            write_out(m, o->early, o->early_size);
            free(o->early);
            o->early = NULL;
        }
        if (!o->ended) {
            store_op_resume(o->op);
            return;
        }
        m->turn++;
    }
}

static int get_all(struct many *m)
{
    move_on(m);
    while (m->err.code == STORE_OK && m->turn < m->n)
        if (store_loop_run(m->loop, -1, &m->err) != 0)
            break;
    return m->err.code == STORE_OK ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct many m = {.n = argc > 2 ? (size_t)argc - 2 : 0};
    if (argc < 3) {
        fprintf(stderr, "usage: get_many STORE_URL KEY...\n");
        return 2;
    }
    m.objects = calloc(m.n, sizeof(*m.objects));
    if (!m.objects)
        return 1;
    for (size_t i = 0; i < m.n; i++)
        m.objects[i] = (struct object){.many = &m, .key = argv[i + 2]};
    int rc = store_open(argv[1], NULL, &m.store, &m.err);
    if (rc == 0)
        rc = store_loop_new(&m.loop, &m.err);
    if (rc == 0)
        rc = get_all(&m);
    struct store_err first = m.err;
    store_loop_free(m.loop); /* cancels what is still under way: `done` comes from here */
    store_close(m.store);
    for (size_t i = 0; i < m.n; i++)
        free(m.objects[i].early);
    free(m.objects);
    if (fflush(stdout) != 0)
        rc = -1;
    if (rc != 0)
        fprintf(stderr, "get_many: %s\n", first.msg);
    return rc == 0 ? 0 : 1;
}
