/* clock.h - times and their texts. Times of day are seconds since 1970 in UTC. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_ms(void); /* CLOCK_MONOTONIC */
uint64_t clock_boot_ms(void); /* CLOCK_BOOTTIME: goes on while the machine sleeps */
uint64_t clock_real_ms(void); /* CLOCK_REALTIME */
int64_t clock_real_s(void);

enum { CLOCK_TEXT = 40 }; /* bytes that each of the texts below needs at most */
void clock_http_date(int64_t t_s, char out[CLOCK_TEXT]);    /* Sun, 06 Nov 1994 08:49:37 GMT */
void clock_rfc3339(int64_t t_s, char out[CLOCK_TEXT]);      /* 1994-11-06T08:49:37Z */
void clock_rfc3339_ms(uint64_t t_ms, char out[CLOCK_TEXT]); /* 1994-11-06T08:49:37.123Z */
void clock_amz_date(int64_t t_s, char out[CLOCK_TEXT]);     /* 19941106T084937Z */
/* RFC 9110 section 5.6.7: IMF-fixdate, and the two obsolete forms. false: not a date. */
bool clock_parse_http_date(const char *s, int64_t *t_s);
/* RFC 3339 with Z or an offset, any number of decimals (cut off). false: not a date. */
bool clock_parse_rfc3339(const char *s, int64_t *t_s);

#endif
