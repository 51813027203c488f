/* Texts of times are made and read by hand, since strftime() and strptime() follow the locale of
 * whatever program libstore is part of. */
#include "base/clock.h"

#include <string.h>
#include <time.h>

static const char *const day_names[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char *const long_day_names[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                             "Thursday", "Friday", "Saturday"};
static const char *const month_names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/* ---- Now ---- */

static uint64_t read_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t); /* cannot fail for the clocks below */
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t clock_mono_ms(void)
{
    return read_ms(CLOCK_MONOTONIC);
}

uint64_t clock_boot_ms(void)
{
    return read_ms(CLOCK_BOOTTIME);
}

uint64_t clock_real_ms(void)
{
    return read_ms(CLOCK_REALTIME);
}

int64_t clock_real_s(void)
{
    return (int64_t)(clock_real_ms() / 1000);
}

/* ---- To text ---- */

/* A time beyond the years 0 to 9999 becomes the nearest one within, since no text can hold it. */
static struct tm split(int64_t t_s)
{
    static const int64_t first = -62167219200, last = 253402300799;
    time_t t = (time_t)(t_s < first ? first : t_s > last ? last : t_s);
    struct tm tm = {0};
    gmtime_r(&t, &tm);
    return tm;
}

static char *put_number(char *p, int v, int digits)
{
    for (int i = digits - 1; i >= 0; i--, v /= 10)
        p[i] = (char)('0' + v % 10);
    return p + digits;
}

static char *put_text(char *p, const char *s)
{
    while (*s)
        *p++ = *s++;
    return p;
}

/* hh:mm:ss with `divider` between */
static char *put_time(char *p, const struct tm *tm, const char *divider)
{
    p = put_text(put_number(p, tm->tm_hour, 2), divider);
    p = put_text(put_number(p, tm->tm_min, 2), divider);
    return put_number(p, tm->tm_sec, 2);
}

static char *put_date(char *p, const struct tm *tm, const char *divider)
{
    p = put_text(put_number(p, tm->tm_year + 1900, 4), divider);
    p = put_text(put_number(p, tm->tm_mon + 1, 2), divider);
    return put_number(p, tm->tm_mday, 2);
}

void clock_http_date(int64_t t_s, char out[CLOCK_TEXT])
{
    struct tm tm = split(t_s);
    char *p = put_text(put_text(out, day_names[tm.tm_wday]), ", ");
    p = put_text(put_number(p, tm.tm_mday, 2), " ");
    p = put_text(put_text(p, month_names[tm.tm_mon]), " ");
    p = put_text(put_number(p, tm.tm_year + 1900, 4), " ");
    p = put_text(put_time(p, &tm, ":"), " GMT");
    *p = '\0';
}

void clock_rfc3339(int64_t t_s, char out[CLOCK_TEXT])
{
    struct tm tm = split(t_s);
    char *p = put_text(put_date(out, &tm, "-"), "T");
    p = put_text(put_time(p, &tm, ":"), "Z");
    *p = '\0';
}

void clock_rfc3339_ms(uint64_t t_ms, char out[CLOCK_TEXT])
{
    struct tm tm = split((int64_t)(t_ms / 1000));
    char *p = put_text(put_date(out, &tm, "-"), "T");
    p = put_text(put_time(p, &tm, ":"), ".");
    p = put_text(put_number(p, (int)(t_ms % 1000), 3), "Z");
    *p = '\0';
}

void clock_amz_date(int64_t t_s, char out[CLOCK_TEXT])
{
    struct tm tm = split(t_s);
    char *p = put_text(put_date(out, &tm, ""), "T");
    p = put_text(put_time(p, &tm, ""), "Z");
    *p = '\0';
}

/* ---- From text ---- */

/* Each scan function moves the cursor behind what it read, or makes it NULL for good, so that a
 * whole form is read without a check in between. */
struct scan {
    const char *p;
};

static void scan_text(struct scan *s, const char *expected)
{
    size_t n = strlen(expected);
    if (s->p)
        s->p = strncmp(s->p, expected, n) == 0 ? s->p + n : NULL;
}

static int scan_digits(struct scan *s, int digits)
{
    int v = 0;
    for (int i = 0; i < digits && s->p; i++) {
        char c = *s->p;
        s->p = c >= '0' && c <= '9' ? s->p + 1 : NULL;
        v = v * 10 + (c - '0');
    }
    return s->p ? v : 0;
}

static int scan_name(struct scan *s, const char *const *names, int n)
{
    for (int i = 0; i < n && s->p; i++) {
        size_t len = strlen(names[i]);
        if (strncmp(s->p, names[i], len) == 0) {
            s->p += len;
            return i;
        }
    }
    s->p = NULL;
    return 0;
}

static void scan_time(struct scan *s, struct tm *tm)
{
    tm->tm_hour = scan_digits(s, 2);
    scan_text(s, ":");
    tm->tm_min = scan_digits(s, 2);
    scan_text(s, ":");
    tm->tm_sec = scan_digits(s, 2);
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month] + (month == 1 && leap ? 1 : 0);
}

/* tm_year is still the full year. A leap second is the first second of the next minute. */
static bool join(const struct scan *s, struct tm tm, int64_t *t_s)
{
    if (!s->p || tm.tm_mon < 0 || tm.tm_mon > 11)
        return false;
    if (tm.tm_mday < 1 || tm.tm_mday > days_in_month(tm.tm_year, tm.tm_mon))
        return false;
    if (tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    tm.tm_year -= 1900;
    *t_s = (int64_t)timegm(&tm);
    return true;
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static bool parse_imf_date(const char *text, int64_t *t_s)
{
    struct scan s = {text};
    struct tm tm = {0};
    scan_name(&s, day_names, 7);
    scan_text(&s, ", ");
    tm.tm_mday = scan_digits(&s, 2);
    scan_text(&s, " ");
    tm.tm_mon = scan_name(&s, month_names, 12);
    scan_text(&s, " ");
    tm.tm_year = scan_digits(&s, 4);
    scan_text(&s, " ");
    scan_time(&s, &tm);
    scan_text(&s, " GMT");
    return s.p && !*s.p && join(&s, tm, t_s);
}

/* Two digits mean the year that is at most 50 years ahead. */
static int full_year(int two_digits)
{
    int this_year = split(clock_real_s()).tm_year + 1900;
    int year = this_year - this_year % 100 + two_digits;
    if (year > this_year + 50)
        return year - 100;
    return year <= this_year - 50 ? year + 100 : year;
}

/* Sunday, 06-Nov-94 08:49:37 GMT */
static bool parse_rfc850_date(const char *text, int64_t *t_s)
{
    struct scan s = {text};
    struct tm tm = {0};
    scan_name(&s, long_day_names, 7);
    scan_text(&s, ", ");
    tm.tm_mday = scan_digits(&s, 2);
    scan_text(&s, "-");
    tm.tm_mon = scan_name(&s, month_names, 12);
    scan_text(&s, "-");
    tm.tm_year = full_year(scan_digits(&s, 2));
    scan_text(&s, " ");
    scan_time(&s, &tm);
    scan_text(&s, " GMT");
    return s.p && !*s.p && join(&s, tm, t_s);
}

/* Sun Nov  6 08:49:37 1994 */
static bool parse_asctime_date(const char *text, int64_t *t_s)
{
    struct scan s = {text};
    struct tm tm = {0};
    scan_name(&s, day_names, 7);
    scan_text(&s, " ");
    tm.tm_mon = scan_name(&s, month_names, 12);
    scan_text(&s, " ");
    bool one_digit = s.p && *s.p == ' ';
    scan_text(&s, one_digit ? " " : "");
    tm.tm_mday = scan_digits(&s, one_digit ? 1 : 2);
    scan_text(&s, " ");
    scan_time(&s, &tm);
    scan_text(&s, " ");
    tm.tm_year = scan_digits(&s, 4);
    return s.p && !*s.p && join(&s, tm, t_s);
}

bool clock_parse_http_date(const char *s, int64_t *t_s)
{
    return parse_imf_date(s, t_s) || parse_rfc850_date(s, t_s) || parse_asctime_date(s, t_s);
}

/* Decimals of a second, which are dropped; a dot needs at least one. */
static void scan_decimals(struct scan *s)
{
    if (!s->p || *s->p != '.')
        return;
    s->p++;
    scan_digits(s, 1);
    while (s->p && *s->p >= '0' && *s->p <= '9')
        s->p++;
}

/* Z or an offset, in seconds east of UTC. */
static int scan_zone(struct scan *s)
{
    char sign = s->p ? *s->p : '\0';
    if (sign == 'Z' || sign == 'z') {
        s->p++;
        return 0;
    }
    if (sign != '+' && sign != '-') {
        s->p = NULL;
        return 0;
    }
    s->p++;
    int hours = scan_digits(s, 2);
    scan_text(s, ":");
    int minutes = scan_digits(s, 2);
    if (hours > 23 || minutes > 59)
        s->p = NULL;
    int offset_s = hours * 3600 + minutes * 60;
    return sign == '-' ? -offset_s : offset_s;
}

bool clock_parse_rfc3339(const char *text, int64_t *t_s)
{
    struct scan s = {text};
    struct tm tm = {0};
    tm.tm_year = scan_digits(&s, 4);
    scan_text(&s, "-");
    tm.tm_mon = scan_digits(&s, 2) - 1;
    scan_text(&s, "-");
    tm.tm_mday = scan_digits(&s, 2);
    scan_text(&s, s.p && *s.p == 't' ? "t" : "T");
    scan_time(&s, &tm);
    scan_decimals(&s);
    int offset_s = scan_zone(&s);
    int64_t local_s;
    if (!s.p || *s.p || !join(&s, tm, &local_s))
        return false;
    *t_s = local_s - offset_s;
    return true;
}
