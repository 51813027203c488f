#include "libstore/purge_range.h"

#include <stdbool.h>
#include <string.h>

#define DIGITS "0123456789"

/* What may follow in a key's place, in ascending order; the first that fits is taken. */
static const char *const alphabets[] = {
    DIGITS,
    DIGITS "abcdef",
    DIGITS "ABCDEF",
    DIGITS "abcdefghijklmnopqrstuvwxyz",
    DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
};
enum { ALPHABETS = sizeof(alphabets) / sizeof(alphabets[0]), MAX_LEVELS = 64, MAX_NEXT = 62 };

/* The beginning of `at` that is pos bytes long, and then c. */
struct cut {
    size_t pos;
    char c;
};

static size_t common_length(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && a[n] == b[n])
        n++;
    return n;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

size_t key_range_common(const struct key_range *r, size_t prefix_len)
{
    return r->upto[0] ? larger(common_length(r->at, r->upto), prefix_len) : prefix_len;
}

static bool is_alnum(char c)
{
    return c && strchr(alphabets[ALPHABETS - 1], c);
}

/* Whether at[0, pos) c is a possible cut: c is greater than at[pos]; is the whole less than upto?
 * common: of at and upto. */
static bool is_below_end(const struct key_range *r, size_t common, size_t pos, char c)
{
    if (!r->upto[0] || pos > common)
        return true;
    unsigned char mine = (unsigned char)c, last = (unsigned char)r->upto[pos];
    return mine < last || (mine == last && r->upto[pos + 1] != '\0');
}

/* The characters that can follow at[pos] in its place; n at most MAX_NEXT. */
static size_t next_characters(const struct key_range *r, size_t common, size_t pos, char *next)
{
    size_t run = 0, a = 0, n = 0;
    while (is_alnum(r->at[pos + run]))
        run++;
    while (a < ALPHABETS - 1 && strspn(r->at + pos, alphabets[a]) < run)
        a++;
    for (const char *c = run ? alphabets[a] : ""; *c; c++)
        if (*c > r->at[pos] && is_below_end(r, common, pos, *c))
            next[n++] = *c;
    return n;
}

/* Behind all that has the same beginning: from the longest on, which is the ascending order. */
static size_t cuts_behind(const struct key_range *r, size_t common, size_t varies, struct cut *cuts)
{
    size_t n = 0;
    bool in_last_segment = true;
    for (size_t pos = varies; pos-- > common && n < MAX_LEVELS;) {
        char c = r->at[pos];
        if (c == '/')
            in_last_segment = false;
        else if (!in_last_segment || !is_alnum(c))
            continue;
        if (is_below_end(r, common, pos, (char)(c + 1)))
            cuts[n++] = (struct cut){pos, (char)(c + 1)};
    }
    return n;
}

/* The place of the i-th of n that are spread evenly over `of`. */
static size_t spread(size_t i, size_t n, size_t of)
{
    return (i + 1) * of / (n + 1);
}

static void write_cut(const struct key_range *r, struct cut cut, char *out)
{
    memcpy(out, r->at, cut.pos);
    out[cut.pos] = cut.c;
    out[cut.pos + 1] = '\0';
}

size_t key_range_cut(const struct key_range *r, size_t prefix_len, size_t n,
                     char cuts[][STORE_MAX_KEY + 1])
{
    struct cut behind[MAX_LEVELS];
    char next[MAX_NEXT];
    size_t common = key_range_common(r, prefix_len), n_next = 0, made = 0;
    size_t varies = larger(common_length(r->from, r->at), common);
    size_t n_behind = cuts_behind(r, common, varies, behind);
    size_t pos = varies;
    while (r->at[pos] && (n_next = next_characters(r, common, pos, next)) == 0)
        pos++;
    n = n > MAX_CUTS ? MAX_CUTS : n;
    /* Few cuts: one at each of a few levels, of which the next characters are the lowest. */
    size_t levels = n_behind + (n_next > 0);
    size_t from_behind = n < levels ? n : n_behind;
    size_t from_next = n < levels ? 0 : n - n_behind;
    from_next = from_next < n_next ? from_next : n_next;
    for (size_t i = 0; i < from_next; i++)
        write_cut(r, (struct cut){pos, next[spread(i, from_next, n_next)]}, cuts[made++]);
    for (size_t i = 0; i < from_behind; i++) {
        size_t level = n < levels ? spread(i, n, levels) : i + (n_next > 0);
        if (level == 0 && n_next > 0)
            write_cut(r, (struct cut){pos, next[n_next / 2]}, cuts[made++]);
        else
            write_cut(r, behind[level - (n_next > 0)], cuts[made++]);
    }
    return made;
}
