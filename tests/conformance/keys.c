/* Odd keys: every one is stored, read, listed in its place, and removed. */
#include "tests/conformance/conformance.h"

static void live(struct test *t, const char *const *keys, size_t n)
{
    t_put_keys(t, keys, n);
    t_has_keys(t, "", keys, n);
    for (size_t i = 0; i < n; i++) {
        t_holds_text(t, keys[i], keys[i]);
        EXPECT(t, t_ok(t_head(t, keys[i]))->info.size == strlen(keys[i]), "head %s: wrong size",
               t_shown(t, keys[i]));
    }
}

/* Half in a batch, half one by one. */
static void die(struct test *t, const char *const *keys, size_t n)
{
    size_t half = n - n / 2;
    t_ok(t_delete_many(t, keys, half));
    t_has_keys(t, "", keys + half, n - half);
    for (size_t i = half; i < n; i++)
        t_ok(t_delete(t, keys[i]));
    t_empty(t, "");
}

static void live_and_die(struct test *t, const char *const *keys, size_t n)
{
    live(t, keys, n);
    t_keys(t_list_all(t, "", &(struct store_list_opts){.max = 3}), keys, n);
    die(t, keys, n);
}

static void punctuation_is_taken_literally(struct test *t)
{
    static const char *const keys[] = {
        "a-b", "a b",  "a+b", "a%b",  "a%20b", "a%2Fb", "a=b", "a&b", "a<b",  "a>b", "a\"b",
        "a'b", "a\\b", "a~b", "a!b",  "a*b",   "a(b)",  "a,b", "a;b", "a:b",  "a@b", "a$b",
        "a?b", "a#b",  "a[b", "a]b",  "a{b}",  "a|b",   "a^b", "a`b", "a_b",  "a.b", "a&amp;b",
        "+",   "%",    "&",   "~",    "\\",    "*",     "?",   "#",   "\"",   "'",   "%%",
        "%41", "%zz",  "-",   "--rf", "$HOME", "`id`",  "<a>", "]]>", "a=b&", "x;y", "?versioning",
    };
    live_and_die(t, keys, LEN(keys));
}

static void spaces_and_dots_are_taken_literally(struct test *t)
{
    static const char *const keys[] = {
        " ",     "  ",  " a",   "a ",   "a  b",  "b/ ",     " d/b",  ".a",      "..a",  "...",
        "a.",    "a..", "a...", "a..b", ".a.",   "x/.a",    "x/..a", "x/...",   "x/a.", "x/a..",
        ".h/.h", ".%o", ". ",   " .",   ".. /x", "x/.. /y", "x/. ",  "-/.../y",
    };
    live_and_die(t, keys, LEN(keys));
}

static void letters_of_all_lengths_of_utf8_come_back(struct test *t)
{
    static const char *const keys[] = {
        "e",                            /* 1 byte */
        "\xc3\xa9",                     /* 2: e acute */
        "e\xcc\x81",                    /* the same, composed of two: another key */
        "\xc3\xbf",                     /* y diaeresis */
        "\xd0\xb6/\xd0\xb6",            /* Cyrillic */
        "\xe6\x97\xa5\xe6\x9c\xac",     /* 3: Japanese */
        "\xef\xbf\xbd",                 /* the replacement character */
        "\xef\xbd\x81",                 /* full-width a: above the surrogates of UTF-16 … */
        "\xf0\x90\x80\x80",             /* … but below this in bytes, not in UTF-16 */
        "\xf0\x9f\x98\x80",             /* 4: a smiley */
        "\xf0\x9f\x98\x81/\xc3\xa9 b+", /* and mixed */
        "\xe2\x80\xae\xe2\x80\xac",     /* right-to-left override, and its end */
        "\xe2\x80\xa8",                 /* line separator */
        "\xc2\xa0",                     /* no-break space */
        "\xc2\x85",                     /* next line: a control character of Unicode */
    };
    live_and_die(t, keys, LEN(keys));
}

static void keys_that_differ_in_case_are_different(struct test *t)
{
    static const char *const keys[] = {"key", "Key", "KEY", "kEY", "dir/k", "DIR/k", "Dir/K"};
    live_and_die(t, keys, LEN(keys));
}

/* Names that a driver or a server may use for itself. */
static void names_of_insiders_are_taken_literally(struct test *t)
{
    static const char *const keys[] = {
        "a%o",     "a%d",   "a%l",  "a%x",         "%o",      "%d/x",
        "tmp%s/x", "tmp/x", ".tmp", ".sgwtmp",     "a.part",  "CON",
        "nul",     "aux.c", "lpt1", "x/.DS_Store", ".git/x",  "lost+found",
        "a.meta",  "a~",    "#a#",  "a.lock",      "a.tmp",   "index.html",
        "_",       "__",    "null", "undefined",   "uploads", "a.json",
    };
    live_and_die(t, keys, LEN(keys));
}

static const char *repeat(struct test *t, const char *unit, size_t bytes)
{
    size_t n = strlen(unit);
    char *key = t_alloc(t, bytes + 1);
    for (size_t at = 0; at < bytes - bytes % n; at++)
        key[at] = unit[at % n];
    return key;
}

static void long_segments_come_back(struct test *t)
{
    const char *keys[] = {
        repeat(t, "a", 254),
        repeat(t, "b", 255),
        repeat(t, "c", 256),
        repeat(t, "d", 257),
        repeat(t, "e", 511),
        repeat(t, "\xc3\xa9", 600),
        t_printf(t, "%s/x", repeat(t, "f", 300)),
        t_printf(t, "%s-x", repeat(t, "f", 300)),
        t_printf(t, "g/%s/h", repeat(t, "%", 300)),
    };
    live_and_die(t, keys, LEN(keys));
}

/* Five segments, none longer than a file name may be. */
static void the_longest_keys_come_back(struct test *t)
{
    size_t max = store_max_key(t->s);
    char *x = t_strdup(t, repeat(t, "x", max)), *y;
    for (size_t at = 199; at < max - 1; at += 200)
        x[at] = '/';
    y = t_strdup(t, x);
    y[max - 1] = 'y';
    const char *keys[] = {x, y, "short"};
    live_and_die(t, keys, LEN(keys));
}

static void the_longest_segment_comes_back(struct test *t)
{
    const char *keys[] = {repeat(t, "x", store_max_key(t->s)), "short"};
    live_and_die(t, keys, LEN(keys));
}

static void deep_keys_come_back(struct test *t)
{
    const char *keys[] = {t_printf(t, "%sz", repeat(t, "a/", 400)),
                          t_printf(t, "%sz", repeat(t, "a/", 600)),
                          t_printf(t, "%sz", repeat(t, "b/", 2 * ((store_max_key(t->s) - 1) / 2)))};
    live_and_die(t, keys, LEN(keys));
}

/* ---- What XML cannot carry: S3 servers may refuse it, a folder takes all ---- */

static const char *const controls[] = {
    "c\x01", "c\x02", "c\x07", "c\b", "c\t",       "c\n",   "c\v",    "c\f",           "c\r",
    "c\x1b", "c\x1f", "c\x7f", "\n",  "\x01/\x02", "d\n/d", "c\r\nx", "c\xef\xbf\xbe",
};
static const char *const no_utf8[] = {"\x80",         "\xff",     "a\xc3", "\xc0\xaf",
                                      "\xed\xa0\x80", "\xf5\x80", "a\xfe"};

/* Which of them this store takes; what it takes must be right. Not for long: a server's answer may
 * be unreadable, and that is tried again until the deadline. */
static size_t put_those_taken(struct test *t, const char *const *keys, size_t n, const char **taken)
{
    size_t n_taken = 0;
    t->s = t_open(t, &(struct store_conf){.op_timeout_ms = 3000});
    for (size_t i = 0; i < n; i++) {
        struct result *put = t_put(t, keys[i], keys[i], strlen(keys[i]), NULL);
        if (put->err.code == STORE_OK)
            taken[n_taken++] = keys[i];
        else if (!t->is_s3)
            t_ok(put);
    }
    if (n_taken == 0)
        t_skip(t, "this server takes none of these keys");
    return n_taken;
}

static void control_characters_come_back_where_they_are_taken(struct test *t)
{
    const char *taken[LEN(controls)];
    size_t n = put_those_taken(t, controls, LEN(controls), taken);
    live(t, taken, n);
    die(t, taken, n);
}

static void a_page_may_end_at_a_control_character(struct test *t)
{
    const char *taken[LEN(controls)];
    size_t n = put_those_taken(t, controls, LEN(controls), taken);
    t_keys(t_list_all(t, "", &(struct store_list_opts){.max = 1}), taken, n);
}

static void bytes_that_are_no_utf8_come_back_where_they_are_taken(struct test *t)
{
    const char *taken[LEN(no_utf8)];
    size_t n = put_those_taken(t, no_utf8, LEN(no_utf8), taken);
    live(t, taken, n);
    die(t, taken, n);
}

static void a_page_may_end_at_a_byte_that_is_no_utf8(struct test *t)
{
    const char *taken[LEN(no_utf8)];
    size_t n = put_those_taken(t, no_utf8, LEN(no_utf8), taken);
    t_keys(t_list_all(t, "", &(struct store_list_opts){.max = 1}), taken, n);
}

static const struct test_case cases[] = {
    CASE(punctuation_is_taken_literally),
    CASE(spaces_and_dots_are_taken_literally),
    CASE(letters_of_all_lengths_of_utf8_come_back),
    CASE(keys_that_differ_in_case_are_different),
    CASE(names_of_insiders_are_taken_literally),
    CASE(long_segments_come_back),
    CASE(the_longest_keys_come_back),
    CASE(the_longest_segment_comes_back),
    CASE(deep_keys_come_back),
    CASE(control_characters_come_back_where_they_are_taken),
    CASE(a_page_may_end_at_a_control_character),
    CASE(bytes_that_are_no_utf8_come_back_where_they_are_taken),
    CASE(a_page_may_end_at_a_byte_that_is_no_utf8),
};
const struct test_group key_group = {"keys", cases, LEN(cases)};
