/* options_private.h - what the four files behind options.h share: options.c (the sources),
 * options_value.c (one value from and to text), options_map.c (the same for OPT_MAP),
 * options_show.c (help and printing). */
#ifndef BASE_OPTIONS_PRIVATE_H
#define BASE_OPTIONS_PRIVATE_H

#include "base/buf.h"
#include "base/options.h"

/* Where a value came from. */
enum option_source { OPTION_UNSET, OPTION_DEFAULT, OPTION_FILE, OPTION_ENV, OPTION_ARGS };

/* The option at a position in all tables, one behind the other; NULL behind the last. */
const struct option *options_at(const struct options_spec *spec, size_t position);

/* Sets the value from text[0..n), without the blanks around it. A string's former value is freed.
 * On failure the value is as it was; the message holds neither the option's name nor a secret. */
int option_set(const struct option *o, void *values, const char *text, size_t n,
               struct store_err *err);
/* Appends the value as option_set() reads it; nothing for a string without a value. A secret is
 * not masked here. */
void option_text(const struct option *o, const void *values, struct buf *out);
/* Appends a number as a value of o's type is written: 100MiB, 5s, 42. */
void option_number_text(const struct option *o, uint64_t v, struct buf *out);
/* option_set() for the entry of an OPT_MAP that is named in full, such as "kafka.client.id". */
int option_map_set(const struct option *o, void *values, const char *name, const char *text,
                   size_t n, enum option_source source, struct store_err *err);
/* Where the entry named in full got its value; OPTION_UNSET: there is none. */
enum option_source option_map_source(const struct option *o, const void *values, const char *name);
/* The entries; NULL or ended by one without a name. */
const struct option_entry *option_map_entries(const struct option *o, const void *values);
void option_map_cleanup(const struct option *o, void *values);

bool option_is_unset_string(const struct option *o, const void *values);

/* options_print() with a comment on each value's source; sources by position, or NULL. */
void options_print_sources(const struct options_spec *spec, const void *values,
                           const enum option_source *sources, FILE *out);

#endif
