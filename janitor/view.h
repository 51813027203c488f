/* view.h - a deletion as people see it: what its intent says, which is the truth, together with the
 * ledger's record, which tells how far it is. Either may be missing. Pure, but for what prints. */
#ifndef JANITOR_VIEW_H
#define JANITOR_VIEW_H

#include <jansson.h>
#include <stdio.h>

#include "epufs/deletion.h"
#include "janitor/ledger.h"

struct view {
    char job_id[JOB_ID_SIZE];
    enum intent_state intent; /* INTENT_FAILED: the store did not tell */
    struct deletion d;        /* INTENT_READ */
    char why[200];            /* INTENT_UNREADABLE: what is wrong with it */
    bool has_record;
    struct ledger_job r;
};

/* The states that a filter may name: "all" is none. */
extern const char *const view_states[];

/* "held", "failed", "cancelled", "closing", "unreadable"; "delayed" while its not_before is still
 * to come; else the step that the record tells of ("sweeping", …, "done"), or "open". now_s: our
 * clock.
 */
const char *view_state(const struct view *v, int64_t now_s);
/* wanted: one of view_states. "open" is all that a janitor works on or will at once, whatever the
 * step. */
bool view_matches(const struct view *v, const char *wanted, int64_t now_s);
int64_t view_accepted_at_s(const struct view *v); /* 0: not known */

/* The object that docs/operations.md describes; a new reference. */
json_t *view_json(const struct view *v, int64_t now_s);
void view_print_head(FILE *out);
void view_print_row(const struct view *v, int64_t now_s, FILE *out);

/* "12s", "3m05s", "2h07m", "4d03h" */
const char *view_age(int64_t s, char out[32]);
/* s without what could end a line or steer a terminal, cut to cap - 1 bytes. Returns out. */
const char *view_clean(const char *s, char *out, size_t cap);

#endif
