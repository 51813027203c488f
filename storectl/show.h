/* show.h - what storectl prints: JSON objects, one a line, and text that is safe for a terminal. */
#ifndef STORECTL_SHOW_H
#define STORECTL_SHOW_H

#include <stdio.h>

#include <store/store.h>

#include "base/buf.h"

/* An object is begun, gets its members, and is ended with a line feed. A text that is not UTF-8
 * has U+FFFD where it is not, and is given once more, percent-encoded, as "NAME_encoded". */
void json_begin(struct buf *b);
void json_str(struct buf *b, const char *name, const char *value);
/* Left out when the value is "". */
void json_str_if(struct buf *b, const char *name, const char *value);
void json_num(struct buf *b, const char *name, uint64_t value);
void json_bool(struct buf *b, const char *name, bool value);
/* As RFC 3339; left out when 0. */
void json_time(struct buf *b, const char *name, int64_t t_s);
void json_meta(struct buf *b, const struct store_info *info);
void json_end(struct buf *b);

/* s as text for people: what is a control character or not UTF-8 becomes '?'. --json is exact. */
void text_safe(struct buf *b, const char *s);

#endif
