/* Ranges of keys are listed side by side, and cut while there is room for more listings. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "libstore/purge.h"

enum {
    MAX_EMPTY_PAGES = 1000, /* in a row, of one range */
    /* Pages that cuts may waste, besides a quarter of all: so that the search for where the keys
     * are costs little also when it finds nothing. */
    FREE_WASTED_PAGES = 8,
};

size_t listers_running(const struct purge *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_listers; i++)
        n += p->listers[i]->op != NULL;
    return n;
}

static void lister_free(struct lister *l)
{
    free(l->token);
    free(l->kept_token);
    free(l->first);
    free(l);
}

void listers_free(struct purge *p)
{
    while (p->n_listers)
        lister_free(p->listers[--p->n_listers]);
}

void listers_cancel(struct purge *p)
{
    for (size_t i = 0; i < p->n_listers; i++)
        if (p->listers[i]->op)
            store_op_cancel(p->listers[i]->op);
}

/* The range from behind `after` to the end of the prefix, at place i. NULL for want of memory. */
static struct lister *lister_add(struct purge *p, size_t i, const char *after)
{
    struct lister *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    size_t size = strlen(after) + 1;
    l->purge = p;
    l->keep_at = 1;
    memcpy(l->range.from, after, size);
    memcpy(l->range.at, after, size);
    memcpy(l->settled, after, size);
    memmove(p->listers + i + 1, p->listers + i, (p->n_listers - i) * sizeof(struct lister *));
    p->listers[i] = l;
    p->n_listers++;
    return l;
}

static size_t lister_place(const struct lister *l)
{
    size_t i = 0;
    while (l->purge->listers[i] != l)
        i++;
    return i;
}

static void lister_remove(struct lister *l)
{
    struct purge *p = l->purge;
    size_t i = lister_place(l);
    p->n_listers--;
    memmove(p->listers + i, p->listers + i + 1, (p->n_listers - i) * sizeof(struct lister *));
    lister_free(l);
}

void lister_begin(struct purge *p)
{
    const char *end = p->opts.end_before;
    /* The cursor tells of objects only. */
    struct lister *l = lister_add(p, 0, p->pass == STORE_LIST_UPLOADS ? "" : p->cursor);
    if (!l)
        purge_no_memory(p);
    else if (end && strlen(end) <= STORE_MAX_KEY && strncmp(end, p->prefix, p->prefix_len) == 0)
        strcpy(l->range.upto, end);
}

/* ---- Is it the listing that was asked for? ---- */

static int corrupt(const struct lister *l, struct store_err *err, const char *what, const char *key)
{
    return store_err_set(err, STORE_CORRUPT, "listing of %.100s: the store %s %.100s",
                         l->purge->prefix, what, key);
}

/* A listing that strays must never become a deletion. Objects come once each; versions and uploads
 * may share a key, on the page before too. */
static int check_entries(const struct lister *l, const struct store_page *page,
                         struct store_err *err)
{
    const struct purge *p = l->purge;
    bool may_equal = l->has_page && p->pass != STORE_LIST_OBJECTS;
    const char *before = l->range.at;
    for (size_t i = 0; i < page->n; i++) {
        const struct store_entry *e = &page->entries[i];
        if (e->is_prefix || strncmp(e->key, p->prefix, p->prefix_len) != 0 ||
            strlen(e->key) > STORE_MAX_KEY)
            return corrupt(l, err, "named", e->key);
        int order = strcmp(before, e->key);
        if (order > 0 || (order == 0 && !may_equal))
            return corrupt(l, err, "is out of order at", e->key);
        before = e->key;
        may_equal = p->pass != STORE_LIST_OBJECTS;
    }
    return 0;
}

/* Pages of versions or uploads of one key do not show by their order that they go on: their first
 * entries must differ. */
static int check_first(struct lister *l, const struct store_page *page, struct store_err *err)
{
    if (page->n == 0 || l->purge->pass == STORE_LIST_OBJECTS)
        return 0;
    const struct store_entry *e = &page->entries[0];
    size_t key_size = strlen(e->key) + 1, size = key_size + strlen(e->version) + 1;
    if (l->first && strcmp(l->first, e->key) == 0 && strcmp(l->first + key_size, e->version) == 0)
        return corrupt(l, err, "repeats a page at", e->key);
    char *first = malloc(size);
    if (!first)
        return store_err_set(err, STORE_NO_MEMORY, "listing of %.150s: out of memory",
                             l->purge->prefix);
    memcpy(first, e->key, key_size);
    memcpy(first + key_size, e->version, size - key_size);
    free(l->first);
    l->first = first;
    return 0;
}

static int check_token(struct lister *l, const struct store_page *page, struct store_err *err)
{
    const char *next = page->next_token;
    if ((l->token && strcmp(l->token, next) == 0) ||
        (l->kept_token && strcmp(l->kept_token, next) == 0))
        return corrupt(l, err, "repeats a page behind", l->range.at);
    l->empty_pages = page->n ? 0 : l->empty_pages + 1;
    if (l->empty_pages > MAX_EMPTY_PAGES)
        return corrupt(l, err, "sends empty pages without end behind", l->range.at);
    return 0;
}

/* Remembers where the next page begins. */
static int take_token(struct lister *l, const struct store_page *page, struct store_err *err)
{
    if (check_token(l, page, err) != 0)
        return -1;
    char *token = strdup(page->next_token), *kept = NULL;
    bool keep = ++l->tokens == l->keep_at;
    if (keep)
        kept = strdup(page->next_token);
    if (!token || (keep && !kept)) {
        free(token);
        free(kept);
        return store_err_set(err, STORE_NO_MEMORY, "listing of %.150s: out of memory",
                             l->purge->prefix);
    }
    free(l->token);
    l->token = token;
    if (keep) {
        free(l->kept_token);
        l->kept_token = kept;
        l->keep_at *= 2;
    }
    return 0;
}

/* ---- Pages ---- */

/* How many entries belong to the range. */
static size_t count_inside(const struct lister *l, const struct store_page *page)
{
    const char *end = l->purge->opts.end_before, *upto = l->range.upto;
    size_t n = 0;
    while (n < page->n && (!*upto || strcmp(page->entries[n].key, upto) <= 0) &&
           (!end || strcmp(page->entries[n].key, end) < 0))
        n++;
    return n;
}

/* Whether a page with n entries inside was the last of the range. */
static bool is_last(const struct lister *l, const struct store_page *page, size_t n)
{
    if (!page->next_token || n < page->n)
        return true;
    /* Versions of the last key may go on. */
    return n > 0 && l->purge->pass == STORE_LIST_OBJECTS && l->range.upto[0] &&
           strcmp(page->entries[n - 1].key, l->range.upto) == 0;
}

/* Moves the range over n > 0 entries. */
static void pass_over(struct lister *l, const struct store_entry *entries, size_t n)
{
    struct purge *p = l->purge;
    const char *last = entries[n - 1].key;
    size_t whole = n; /* entries up to a key of which no more can come */
    while (p->pass == STORE_LIST_VERSIONS && whole > 0 && strcmp(entries[whole - 1].key, last) == 0)
        whole--;
    if (whole > 0)
        strcpy(l->settled, entries[whole - 1].key);
    strcpy(l->range.at, last);
    bool from_known = l->range.from[0] && strncmp(l->range.from, p->prefix, p->prefix_len) == 0;
    if (!l->has_page && !from_known)
        strcpy(l->range.from, entries[0].key);
    l->has_page = true;
    if (p->pass != STORE_LIST_UPLOADS && strcmp(last, p->last_key) > 0)
        strcpy(p->last_key, last);
}

static int check_page(struct lister *l, const struct store_page *page, struct store_err *err)
{
    if (check_entries(l, page, err) != 0 || check_first(l, page, err) != 0)
        return -1;
    size_t n = count_inside(l, page);
    l->ended = is_last(l, page, n);
    bool was_cut = l->is_part || l->range.upto[0];
    if (was_cut && l->ended && (page->n == 0 || n < page->n / 2))
        l->purge->wasted_pages++;
    return l->ended ? 0 : take_token(l, page, err);
}

static void lister_page(void *user, const struct store_page *page)
{
    struct lister *l = user;
    struct purge *p = l->purge;
    struct store_err err = {0};
    p->progress.pages++;
    if (!p->progress.server_time_s)
        p->progress.server_time_s = page->server_time_s;
    if (p->stopping)
        return;
    if (check_page(l, page, &err) != 0) {
        purge_fail(p, &err);
        return;
    }
    size_t n = count_inside(l, page);
    l->cut_tried = false;
    if (n == 0)
        return;
    char before[STORE_MAX_KEY + 1];
    strcpy(before, l->settled);
    pass_over(l, page->entries, n);
    if (batch_add(p, page->entries, n, l->asked_ms, before) == 0)
        return;
    strcpy(l->settled, before);
    l->ended = false;
}

static void lister_done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct lister *l = user;
    struct purge *p = l->purge;
    (void)info;
    loop_defer(p->op.loop, &p->step);
    l->op = NULL;
    if (err->code != STORE_OK)
        purge_fail(p, err);
    else if (l->ended && !p->stopping)
        lister_remove(l);
}

/* ---- Splitting and starting ---- */

/* A dry run takes page by page: what it counts behind the cursor would be counted again by the run
 * that goes on from there. */
static bool may_cut(const struct purge *p)
{
    return !p->opts.dry_run && p->pass != STORE_LIST_UPLOADS &&
           p->n_listers < p->opts.listings_in_flight &&
           p->wasted_pages <= FREE_WASTED_PAGES + p->progress.pages / 4;
}

/* The widest range that waits and goes on; NULL: none. */
static struct lister *widest(const struct purge *p)
{
    struct lister *found = NULL;
    size_t found_common = 0;
    for (size_t i = 0; i < p->n_listers; i++) {
        struct lister *l = p->listers[i];
        if (l->op || !l->has_page || l->cut_tried)
            continue;
        size_t common = key_range_common(&l->range, p->prefix_len);
        if (!found || common < found_common) {
            found = l;
            found_common = common;
        }
    }
    return found;
}

/* Cuts l into up to n parts more; returns how many. Without memory for them it stays whole. */
static size_t lister_cut(struct lister *l, size_t n)
{
    char cuts[MAX_CUTS][STORE_MAX_KEY + 1];
    struct purge *p = l->purge;
    size_t made = 0, place = lister_place(l);
    n = key_range_cut(&l->range, p->prefix_len, n, cuts);
    l->cut_tried = true;
    while (made < n) {
        struct lister *part = lister_add(p, ++place, cuts[made]);
        if (!part)
            break;
        part->is_part = true;
        strcpy(part->range.upto, l->range.upto);
        strcpy(l->range.upto, cuts[made]);
        l = part;
        made++;
    }
    return made;
}

static void lister_start(struct lister *l)
{
    static const struct store_list_cb cb = {lister_page, lister_done};
    struct purge *p = l->purge;
    const struct store_list_opts opts = {
        .kind = p->pass,
        .token = l->token,
        .start_after = !l->token && l->range.at[0] ? l->range.at : NULL,
        .timeout_ms = p->opts.timeout_ms,
        .bulk = true,
    };
    struct store_err err = {0};
    l->asked_ms = clock_mono_ms();
    l->op = store_list(p->op.store, p->op.loop, p->prefix, &opts, &cb, l, &err);
    if (!l->op)
        purge_fail(p, &err);
}

void listers_start(struct purge *p)
{
    size_t running = listers_running(p), waiting = p->n_listers - running;
    size_t room = batches_room(p, running);
    struct lister *l;
    while (waiting < room && may_cut(p) && (l = widest(p))) {
        size_t most = p->opts.listings_in_flight - p->n_listers;
        waiting += lister_cut(l, room - waiting < most ? room - waiting : most);
    }
    /* The lowest first: the cursor follows them. */
    for (size_t i = 0; i < p->n_listers && room > 0 && !p->stopping; i++)
        if (!p->listers[i]->op) {
            lister_start(p->listers[i]);
            room--;
        }
}
