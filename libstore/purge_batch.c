/* What was listed is removed, some batches at a time. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "libstore/purge.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t batches_running(const struct purge *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_batches; i++)
        n += p->batches[i]->op != NULL;
    return n;
}

size_t batches_room(const struct purge *p, size_t listings)
{
    /* Pages are listed ahead, so that batches that end together are followed by the next at once;
     * with a single batch there is strictly one thing after the other. Where pages get too old to
     * be used there are fewer of them. */
    size_t window = p->window.size, ahead = PURGE_AHEAD * (size_t)p->opts.listings_in_flight;
    if (p->opts.modified_before_s)
        ahead = least(ahead, PURGE_AHEAD * window);
    size_t most = window + least(ahead, p->window.most - 1);
    return p->n_batches + listings < most ? most - p->n_batches - listings : 0;
}

static void batch_free(struct batch *b)
{
    free(b->entries);
    free(b);
}

void batches_free(struct purge *p)
{
    while (p->n_batches)
        batch_free(p->batches[--p->n_batches]);
}

static void count(struct purge *p, uint64_t n, uint64_t bytes)
{
    if (p->pass == STORE_LIST_UPLOADS) {
        p->progress.uploads += n;
    } else {
        p->progress.objects += n;
        p->progress.bytes += bytes;
    }
    purge_tell(p);
}

static void batch_remove(struct purge *p, struct batch *b)
{
    size_t i = 0;
    while (p->batches[i] != b)
        i++;
    p->n_batches--;
    memmove(p->batches + i, p->batches + i + 1, (p->n_batches - i) * sizeof(struct batch *));
    batch_free(b);
}

static void batch_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct batch *b = user;
    struct purge *p = b->purge;
    (void)info;
    loop_defer(p->op.loop, &p->step);
    b->op = NULL;
    if (err->code != STORE_OK) {
        purge_fail(p, err); /* b stays, and holds the cursor */
        return;
    }
    uint64_t n = b->n, bytes = b->bytes, took_ms = clock_mono_ms() - b->began_ms;
    purge_window_ended(&p->window, b->trial, b->at_once, (uint32_t)n, took_ms);
    batch_remove(p, b);
    count(p, n, bytes);
}

/* Returns how long its removal may take, or 0 with *err: what was listed is too old. */
static uint32_t batch_time(const struct purge *p, const struct batch *b, struct store_err *err)
{
    uint64_t age_ms = clock_mono_ms() - b->listed_ms;
    if (!p->opts.modified_before_s)
        return p->opts.timeout_ms;
    if (age_ms < PURGE_FRESH_MS)
        return (uint32_t)least(p->opts.timeout_ms, PURGE_FRESH_MS - age_ms);
    store_err_set(err, STORE_TIMEOUT,
                  "removal of %.150s: its listing is %llu ms old; expected less than %d", p->prefix,
                  (unsigned long long)age_ms, PURGE_FRESH_MS);
    return 0;
}

static void batch_start(struct purge *p, struct batch *b)
{
    struct store_err err = {0};
    uint32_t time_ms = batch_time(p, b, &err);
    b->began_ms = clock_mono_ms();
    b->trial = p->window.trial;
    if (time_ms)
        b->op = store_delete_listed(p->op.store, p->op.loop, p->pass, b->entries, b->n, time_ms,
                                    batch_done, b, &err);
    if (!b->op)
        purge_fail(p, &err);
    free(b->entries);
    b->entries = NULL;
}

void batches_start(struct purge *p)
{
    size_t running = batches_running(p);
    for (size_t i = 0; i < p->n_batches && running < p->window.size && !p->stopping; i++)
        if (!p->batches[i]->op) {
            batch_start(p, p->batches[i]);
            running++;
        }
    for (size_t i = 0; i < p->n_batches; i++)
        if (p->batches[i]->op && p->batches[i]->at_once < running)
            p->batches[i]->at_once = (uint32_t)running;
}

void batches_cancel(struct purge *p)
{
    for (size_t i = 0; i < p->n_batches; i++)
        if (p->batches[i]->op)
            store_op_cancel(p->batches[i]->op);
}

/* ---- From a page ---- */

/* Not what is newer than the caller allows; and when it is not known how old it is, it may be. */
static bool is_wanted(const struct purge *p, const struct store_entry *e)
{
    int64_t before_s = p->opts.modified_before_s;
    return before_s == 0 || (e->modified_s != 0 && e->modified_s < before_s);
}

static char *copy_text(char **at, const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = memcpy(*at, s, size);
    *at += size;
    return copy;
}

/* Copies what a deletion needs of the wanted entries. */
static int copy_entries(struct batch *b, const struct store_entry *entries, size_t n)
{
    bool versions = b->purge->pass != STORE_LIST_OBJECTS;
    size_t text = 0, n_wanted = b->n;
    for (size_t i = 0; i < n; i++)
        text += strlen(entries[i].key) + 1 + (versions ? strlen(entries[i].version) + 1 : 0);
    b->entries = malloc(n_wanted * sizeof(*b->entries) + text);
    if (!b->entries)
        return -1;
    char *at = (char *)(b->entries + n_wanted);
    struct store_entry *copy = b->entries;
    for (size_t i = 0; i < n; i++)
        if (is_wanted(b->purge, &entries[i])) {
            *copy = (struct store_entry){.etag = "", .version = ""};
            copy->key = copy_text(&at, entries[i].key);
            if (versions)
                copy->version = copy_text(&at, entries[i].version);
            copy++;
        }
    return 0;
}

int batch_add(struct purge *p, const struct store_entry *entries, size_t n, uint64_t listed_ms,
              const char *before)
{
    uint64_t bytes = 0;
    size_t n_wanted = 0, before_size = strlen(before) + 1;
    for (size_t i = 0; i < n; i++)
        if (is_wanted(p, &entries[i])) {
            n_wanted++;
            bytes += entries[i].size;
        }
    if (p->pass != STORE_LIST_UPLOADS)
        p->progress.kept += n - n_wanted;
    if (p->opts.dry_run || n_wanted == 0) {
        count(p, n_wanted, bytes);
        return 0;
    }
    assert(p->n_batches < sizeof(p->batches) / sizeof(p->batches[0]));
    struct batch *b = malloc(sizeof(*b) + before_size);
    if (!b) {
        purge_no_memory(p);
        return -1;
    }
    *b = (struct batch){.purge = p, .listed_ms = listed_ms, .bytes = bytes, .n = n_wanted};
    memcpy(b->before, before, before_size);
    p->batches[p->n_batches++] = b;
    if (copy_entries(b, entries, n) != 0)
        purge_no_memory(p);
    return 0;
}
