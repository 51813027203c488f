#include "janitor/backlog.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/xalloc.h"

enum { ID_BYTES = (JOB_ID_SIZE - 1) / 2, ETAG_KEPT = 16 };

/* In place, in a table with linear probing that is at most half full. */
struct note {
    unsigned char id[ID_BYTES];
    char etag[ETAG_KEPT]; /* its first bytes, which is enough to see a change: an ETag is a hash */
    uint64_t due_ms;
    unsigned char why, seen, used;
};

struct backlog {
    size_t size, max, n;  /* size: a power of two, at least twice max */
    pthread_mutex_t lock; /* guards everything below, and n */
    unsigned char scan;   /* notes that were seen in this scan carry it */
    struct note notes[];
};

const char *backlog_why_name(enum backlog_why why)
{
    static const char *const names[BACKLOG_REASONS] = {
        [BACKLOG_DELAYED] = "delayed",
        [BACKLOG_BUSY] = "busy",
        [BACKLOG_HELD] = "held",
        [BACKLOG_FAILED] = "failed",
        [BACKLOG_UNREADABLE] = "unreadable",
    };
    return names[why];
}

struct backlog *backlog_new(size_t max)
{
    size_t size = 16;
    while (size < 2 * max)
        size *= 2;
    struct backlog *b = xcalloc(1, sizeof(*b) + size * sizeof(b->notes[0]));
    b->size = size;
    b->max = max;
    pthread_mutex_init(&b->lock, NULL);
    return b;
}

void backlog_free(struct backlog *b)
{
    if (!b)
        return;
    pthread_mutex_destroy(&b->lock);
    free(b);
}

/* ---- The table; under the lock ---- */

static size_t home(const struct backlog *b, const unsigned char id[ID_BYTES])
{
    size_t h;
    memcpy(&h, id, sizeof(h)); /* an id is a hash already */
    return h & (b->size - 1);
}

/* The note of this id, or the free place where it would be. */
static struct note *find(struct backlog *b, const unsigned char id[ID_BYTES])
{
    size_t at = home(b, id);
    while (b->notes[at].used && memcmp(b->notes[at].id, id, ID_BYTES) != 0)
        at = (at + 1) & (b->size - 1);
    return &b->notes[at];
}

/* Moves those behind it up, so that no search ends before them. */
static void erase(struct backlog *b, struct note *note)
{
    size_t mask = b->size - 1, hole = (size_t)(note - b->notes);
    for (size_t at = (hole + 1) & mask; b->notes[at].used; at = (at + 1) & mask) {
        size_t from = home(b, b->notes[at].id);
        if (((at - from) & mask) >= ((at - hole) & mask)) {
            b->notes[hole] = b->notes[at];
            hole = at;
        }
    }
    b->notes[hole].used = 0;
    b->n--;
}

static bool parse_id(const char *job_id, unsigned char id[ID_BYTES])
{
    return hex_decode(job_id, strlen(job_id), id, ID_BYTES);
}

static void keep_etag(char out[ETAG_KEPT], const char *etag)
{
    memset(out, 0, ETAG_KEPT);
    memcpy(out, etag, strnlen(etag, ETAG_KEPT));
}

/* ---- The interface ---- */

void backlog_note(struct backlog *b, const char *job_id, const char *etag, enum backlog_why why,
                  uint64_t due_ms)
{
    unsigned char id[ID_BYTES];
    if (!parse_id(job_id, id))
        return;
    pthread_mutex_lock(&b->lock);
    struct note *note = find(b, id);
    if (note->used || b->n < b->max) {
        b->n += !note->used;
        *note = (struct note){.due_ms = due_ms, .why = why, .seen = b->scan, .used = 1};
        memcpy(note->id, id, ID_BYTES);
        keep_etag(note->etag, etag);
    }
    pthread_mutex_unlock(&b->lock);
}

bool backlog_waits(struct backlog *b, const char *job_id, const char *etag, uint64_t now_ms)
{
    unsigned char id[ID_BYTES];
    char kept[ETAG_KEPT];
    if (!parse_id(job_id, id))
        return false;
    keep_etag(kept, etag);
    pthread_mutex_lock(&b->lock);
    struct note *note = find(b, id);
    bool same = note->used && (!note->etag[0] || memcmp(note->etag, kept, ETAG_KEPT) == 0);
    bool waits = same && note->due_ms > now_ms;
    if (waits)
        note->seen = b->scan;
    else if (note->used)
        erase(b, note);
    pthread_mutex_unlock(&b->lock);
    return waits;
}

void backlog_drop(struct backlog *b, const char *job_id)
{
    unsigned char id[ID_BYTES];
    if (!parse_id(job_id, id))
        return;
    pthread_mutex_lock(&b->lock);
    struct note *note = find(b, id);
    if (note->used)
        erase(b, note);
    pthread_mutex_unlock(&b->lock);
}

/* A place that was erased may hold the next note: it is looked at again. */
size_t backlog_due(struct backlog *b, uint64_t now_ms, char (*job_ids)[JOB_ID_SIZE], size_t room)
{
    size_t n = 0;
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->size && b->n && n < room;) {
        struct note *note = &b->notes[i];
        if (note->used && note->due_ms <= now_ms) {
            hex_encode(note->id, ID_BYTES, job_ids[n++]);
            erase(b, note);
        } else {
            i++;
        }
    }
    pthread_mutex_unlock(&b->lock);
    return n;
}

uint64_t backlog_next_due_ms(struct backlog *b)
{
    uint64_t due_ms = UINT64_MAX;
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->size && b->n; i++)
        if (b->notes[i].used && b->notes[i].due_ms < due_ms)
            due_ms = b->notes[i].due_ms;
    pthread_mutex_unlock(&b->lock);
    return due_ms;
}

void backlog_scan_begin(struct backlog *b)
{
    pthread_mutex_lock(&b->lock);
    b->scan++;
    pthread_mutex_unlock(&b->lock);
}

void backlog_scan_end(struct backlog *b)
{
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->size && b->n;) {
        struct note *note = &b->notes[i];
        if (note->used && note->seen != b->scan)
            erase(b, note);
        else
            i++;
    }
    pthread_mutex_unlock(&b->lock);
}

void backlog_counts(struct backlog *b, size_t counts[BACKLOG_REASONS])
{
    memset(counts, 0, BACKLOG_REASONS * sizeof(*counts));
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->size; i++)
        if (b->notes[i].used)
            counts[b->notes[i].why]++;
    pthread_mutex_unlock(&b->lock);
}
