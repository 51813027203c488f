/* value.h - numbers with units, read and shown; pure. */
#ifndef STORECTL_VALUE_H
#define STORECTL_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 250ms 30s 5m 2h 7d. false: not such a text, or too large. */
bool value_parse_duration(const char *text, uint64_t *ms);
/* 100 64KiB 5GiB 1MB. */
bool value_parse_bytes(const char *text, uint64_t *bytes);

enum { VALUE_TEXT = 32 }; /* bytes that a text below needs at most */
/* 999 B, 1.5 KiB, 12 MiB, …: at most four characters of a number. */
const char *value_show_bytes(uint64_t bytes, char out[VALUE_TEXT]);
/* 1,234,567 */
const char *value_show_count(uint64_t n, char out[VALUE_TEXT]);
/* 0:07, 12:34, 1:02:03 */
const char *value_show_seconds(uint64_t s, char out[VALUE_TEXT]);
/* How long something took: 1.2 s, and from a minute on as above. */
const char *value_show_ms(uint64_t ms, char out[VALUE_TEXT]);

#endif
