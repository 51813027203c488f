/* terms.h - the writer's side of the upload window (epufs/window.h): how long its uploads may take,
 * told in the store by a thread of its own, and until when that holds. A writer that cannot tell it
 * takes no uploads: a janitor that does not know of it would not wait for them. */
#ifndef WRITER_TERMS_H
#define WRITER_TERMS_H

#include <stdbool.h>

#include "epufs/window.h"
#include "writer/writer.h"

/* The times that the options say, and whether they go together. Returns 0, or -1 with
 * STORE_INVALID. Pure. */
int terms_of_options(const struct writer_conf *c, struct window_terms *t, struct store_err *err);

struct terms;
/* Tells the terms, and again and again. *s is borrowed until terms_stop(). */
int terms_start(store *s, const struct window_terms *t, struct terms **out, struct store_err *err);
/* NULL when they hold, or why no upload is taken (fit for a client). Any thread. */
const char *terms_missing(struct terms *t);
/* Whether an upload may begin whose fence the store answered at this moment of its clock; notes it
 * when it may. Any thread. */
bool terms_take_upload(struct terms *t, int64_t fenced_at_s);
/* After the last upload has ended. Removes what was told, unless the store may still take bytes of
 * an upload: then it lapses by itself. Frees; NULL is fine. */
void terms_stop(struct terms *t);

#endif
