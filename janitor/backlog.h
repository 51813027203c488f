/* backlog.h - the intents of the store that wait, and for what: so that the scanner need not read
 * them again each time. Only a note in a bounded memory: what does not fit, or is forgotten, is
 * read again at the next scan. Thread-safe. */
#ifndef JANITOR_BACKLOG_H
#define JANITOR_BACKLOG_H

#include "epufs/deletion.h"

enum backlog_why {
    BACKLOG_DELAYED,    /* its not_before is still to come */
    BACKLOG_BUSY,       /* another janitor has its lease */
    BACKLOG_HELD,       /* until its intent changes */
    BACKLOG_FAILED,     /* until its intent changes */
    BACKLOG_UNREADABLE, /* for a while: somebody may write its intent anew */
    BACKLOG_REASONS
};
/* "delayed", "busy", "held", "failed", "unreadable" */
const char *backlog_why_name(enum backlog_why why);

struct backlog;

struct backlog *backlog_new(size_t max);
void backlog_free(struct backlog *b);
/* The job waits until due_ms (clock_mono_ms(); UINT64_MAX: for ever), or until its intent has
 * another etag. job_id: 64 hex digits; others are not kept. */
void backlog_note(struct backlog *b, const char *job_id, const char *etag, enum backlog_why why,
                  uint64_t due_ms);
/* Whether the job still waits; if not, its note is gone. etag: the intent's as listed now. Marks
 * the note as seen. */
bool backlog_waits(struct backlog *b, const char *job_id, const char *etag, uint64_t now_ms);
void backlog_drop(struct backlog *b, const char *job_id);
/* Takes out up to `room` jobs whose time has come; returns how many. */
size_t backlog_due(struct backlog *b, uint64_t now_ms, char (*job_ids)[JOB_ID_SIZE], size_t room);
/* When the next one is due; UINT64_MAX: none. */
uint64_t backlog_next_due_ms(struct backlog *b);
/* Around a whole scan: what was not seen in between is forgotten, since its intent is gone. */
void backlog_scan_begin(struct backlog *b);
void backlog_scan_end(struct backlog *b);
void backlog_counts(struct backlog *b, size_t counts[BACKLOG_REASONS]);

#endif
