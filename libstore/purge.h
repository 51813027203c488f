/* purge.h - the removal of a prefix, as its files share it: purge.c takes it from pass to pass and
 * tells the caller, purge_batch.c removes what was listed, purge_window.c says how many batches at
 * once, purge_list.c lists and splits ranges, purge_range.c says where.
 *
 * There are up to two passes: unfinished uploads first, since one that completed later would put an
 * object, then objects or versions. A pass begins with one range, all of the prefix. While
 * listings could be sent and no range waits, the widest one of those that go on is cut. Each page
 * becomes a batch that waits for its turn; a page is asked for only when there is room for its
 * batch, so memory is so many pages, whatever the prefix holds.
 *
 * Cursor: each range knows up to which key all that it found is in batches, and each batch up to
 * which key its range was listed before it. The least of these, over what has not ended, is the
 * cursor. So a batch that is gone leaves nothing behind, however long another one takes.
 *
 * The first failure stops it: listings are canceled, batches under way end, the rest is dropped. */
#ifndef LIBSTORE_PURGE_H
#define LIBSTORE_PURGE_H

#include "libstore/op.h"
#include "libstore/purge_range.h"
#include "libstore/purge_window.h"

enum {
    PURGE_MAX_BATCHES = 64,
    PURGE_MAX_LISTERS = 16,
    PURGE_AHEAD = 2, /* pages for each listing that may wait for their turn */
    /* With modified_before_s: how long after its listing an object may be removed. One that is
     * stored under its name meanwhile goes with it, and a process may stop in between. */
    PURGE_FRESH_MS = 10000,
};

struct purge;

/* What one page told to remove. */
struct batch {
    struct purge *purge;
    store_op *op;       /* under way; NULL: it waits, or has failed */
    uint64_t listed_ms; /* when the page was asked for */
    uint64_t began_ms;  /* its removal */
    uint32_t trial;     /* the window's, then */
    uint32_t at_once;   /* the most that were under way with it */
    uint64_t bytes;
    size_t n;
    struct store_entry *entries; /* with their texts in one block; NULL: handed over */
    char before[];               /* how far its range was listed before it */
};

/* A range of keys and its listing. */
struct lister {
    struct purge *purge;
    store_op *op;      /* under way; NULL: it waits for room */
    uint64_t asked_ms; /* for the page that is under way */
    struct key_range range;
    char settled[STORE_MAX_KEY + 1]; /* all of the range up to this key was listed */
    bool is_part;                    /* cut off another one */
    bool has_page;                   /* range.at is a key that was listed */
    bool cut_tried;                  /* since its last page */
    bool ended;
    /* Whether the listing goes on. A token that comes again is found by Brent's method: one is
     * kept, and replaced after 1, 2, 4, 8 … pages. */
    char *token; /* of the next page; NULL: the first */
    char *kept_token;
    uint64_t tokens, keep_at;
    unsigned empty_pages;
    char *first; /* key and version of the last page's first entry: VERSIONS and UPLOADS only */
};

struct purge {
    struct store_op op; /* first: what the caller holds */
    struct store_delete_prefix_cb cb;
    void *user;
    struct store_delete_prefix_opts opts; /* defaults filled in; its strings are copies */
    char *prefix;
    size_t prefix_len;
    struct loop_task step; /* moves on, away from call-backs */

    enum store_list_kind pass;
    struct lister *listers[PURGE_MAX_LISTERS]; /* not ended; in the order of their keys */
    size_t n_listers;
    uint64_t wasted_pages; /* that a cut cost, and that told next to nothing */
    /* In the order they were made. */
    struct batch *batches[PURGE_MAX_BATCHES + PURGE_AHEAD * PURGE_MAX_LISTERS];
    size_t n_batches;
    struct purge_window window;

    struct store_progress progress;
    char cursor[STORE_MAX_KEY + 1];
    char last_key[STORE_MAX_KEY + 1]; /* the greatest key of this run that was dealt with */
    struct store_err err;             /* the first failure */
    bool stopping;
};

/* purge.c. Remembers the first failure. */
void purge_fail(struct purge *p, const struct store_err *err);
void purge_no_memory(struct purge *p);
/* Tells the caller, after something was removed or passed over. */
void purge_tell(struct purge *p);

/* purge_batch.c */
size_t batches_running(const struct purge *p);
/* How many pages may be asked for in addition. */
size_t batches_room(const struct purge *p, size_t listings);
/* Removes entries of a page, or counts them; listed_ms: when the page was asked for; before: how
 * far the range was listed before it. Returns -1 for want of memory: then it fails, and nothing
 * holds the cursor back for these entries. */
int batch_add(struct purge *p, const struct store_entry *entries, size_t n, uint64_t listed_ms,
              const char *before);
void batches_start(struct purge *p);
void batches_cancel(struct purge *p);
void batches_free(struct purge *p);

/* purge_list.c */
size_t listers_running(const struct purge *p);
/* The range of a whole pass. */
void lister_begin(struct purge *p);
/* Cuts ranges where that is of use, and asks for as many pages as there is room for. */
void listers_start(struct purge *p);
void listers_cancel(struct purge *p);
void listers_free(struct purge *p);

#endif
