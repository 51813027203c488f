#include "libstore/s3/profile.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libstore/s3/keys.h"

static const char *const key_names[PROFILE_KEYS] = {
    [PROFILE_ACCESS_KEY] = "aws_access_key_id",
    [PROFILE_SECRET_KEY] = "aws_secret_access_key",
    [PROFILE_SESSION_TOKEN] = "aws_session_token",
    [PROFILE_REGION] = "region",
    [PROFILE_ENDPOINT_URL] = "endpoint_url",
    [PROFILE_ROLE_ARN] = "role_arn",
    [PROFILE_SOURCE_PROFILE] = "source_profile",
    [PROFILE_CREDENTIAL_SOURCE] = "credential_source",
    [PROFILE_ROLE_SESSION_NAME] = "role_session_name",
    [PROFILE_EXTERNAL_ID] = "external_id",
    [PROFILE_DURATION_SECONDS] = "duration_seconds",
    [PROFILE_WEB_IDENTITY_TOKEN_FILE] = "web_identity_token_file",
    [PROFILE_CREDENTIAL_PROCESS] = "credential_process",
    [PROFILE_SSO_SESSION] = "sso_session",
    [PROFILE_SSO_START_URL] = "sso_start_url",
};

/* A piece of the text. */
struct span {
    const char *at;
    size_t n;
};

struct parser {
    enum profile_file file;
    const char *source, *name;
    unsigned line;
    struct profile own;  /* what this file says */
    bool in_section;     /* there was one, of any kind */
    bool is_ours;        /* and it is the wanted profile's */
    bool prefixed;       /* "[profile default]" was seen */
    bool after_property; /* its indentation tells what continues it */
    size_t indent;
    struct store_err *err;
};

const char *profile_key_name(enum profile_key key)
{
    return key_names[key];
}

void profile_cleanup(struct profile *p)
{
    for (size_t i = 0; i < PROFILE_KEYS; i++)
        secret_free(&p->values[i]);
    p->found = false;
}

static int malformed(struct parser *ps, const char *what)
{
    return store_err_set(ps->err, STORE_INVALID, "credentials: %.120s: line %u: %s", ps->source,
                         ps->line, what);
}

/* ---- Spans ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_comment(char c)
{
    return c == '#' || c == ';';
}

static struct span trim(struct span s)
{
    while (s.n && is_blank(s.at[0])) {
        s.at++;
        s.n--;
    }
    while (s.n && is_blank(s.at[s.n - 1]))
        s.n--;
    return s;
}

static struct span without_comment(struct span s)
{
    for (size_t i = 1; i < s.n; i++)
        if (is_comment(s.at[i]) && is_blank(s.at[i - 1])) {
            s.n = i;
            break;
        }
    return s;
}

static bool equals(struct span s, const char *text)
{
    return s.n == strlen(text) && memcmp(s.at, text, s.n) == 0;
}

static struct span unquoted(struct span s)
{
    if (s.n >= 2 && (s.at[0] == '"' || s.at[0] == '\'') && s.at[s.n - 1] == s.at[0])
        return (struct span){s.at + 1, s.n - 2};
    return s;
}

/* ---- Lines ---- */

/* "profile x" becomes "x"; false: there is no such prefix. */
static bool drop_prefix(struct span *title)
{
    static const char prefix[] = "profile";
    const size_t n = sizeof(prefix) - 1;
    if (title->n <= n || memcmp(title->at, prefix, n) != 0 || !is_blank(title->at[n]))
        return false;
    *title = unquoted(trim((struct span){title->at + n, title->n - n}));
    return true;
}

static bool is_wanted(struct parser *ps, struct span title)
{
    if (ps->file == PROFILE_CREDENTIALS)
        return equals(title, ps->name);
    bool prefixed = drop_prefix(&title);
    bool is_default = equals(title, "default");
    if ((!prefixed && (!is_default || ps->prefixed)) || !equals(title, ps->name))
        return false;
    if (prefixed && is_default && !ps->prefixed) {
        profile_cleanup(&ps->own); /* what a plain [default] said */
        ps->prefixed = true;
    }
    return true;
}

static int take_section(struct parser *ps, struct span line)
{
    const char *end = memchr(line.at, ']', line.n);
    if (!end)
        return malformed(ps, "expected ']' at the end of a section's name");
    ps->in_section = true;
    ps->after_property = false;
    ps->is_ours = is_wanted(ps, trim((struct span){line.at + 1, (size_t)(end - line.at - 1)}));
    if (ps->is_ours)
        ps->own.found = true;
    return 0;
}

static int set_value(struct parser *ps, enum profile_key key, struct span value)
{
    if (value.n > PROFILE_MAX_VALUE_BYTES)
        return malformed(ps, "the value is too long");
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.at[i] < 0x20 || value.at[i] == 0x7f)
            return malformed(ps, "control character");
    secret_free(&ps->own.values[key]);
    if (value.n == 0)
        return 0;
    ps->own.values[key] = strndup(value.at, value.n);
    if (!ps->own.values[key])
        return store_err_set(ps->err, STORE_NO_MEMORY, "credentials: out of memory");
    return 0;
}

static int take_property(struct parser *ps, struct span line)
{
    if (!ps->in_section)
        return malformed(ps, "expected '[' and a section's name before the first setting");
    const char *sign = memchr(line.at, '=', line.n);
    ps->after_property = true;
    if (!ps->is_ours)
        return 0;
    if (!sign)
        return malformed(ps, "expected name = value");
    struct span name = trim((struct span){line.at, (size_t)(sign - line.at)});
    struct span value = {sign + 1, (size_t)(line.at + line.n - sign - 1)};
    if (name.n == 0)
        return malformed(ps, "expected a name before '='");
    for (enum profile_key key = 0; key < PROFILE_KEYS; key++)
        if (strlen(key_names[key]) == name.n && strncasecmp(key_names[key], name.at, name.n) == 0)
            return set_value(ps, key, trim(without_comment(value)));
    return 0;
}

static int take_line(struct parser *ps, struct span line)
{
    struct span text = trim(line);
    if (text.n == 0)
        return 0;
    size_t indent = (size_t)(text.at - line.at);
    if (ps->after_property && indent > ps->indent)
        return 0; /* continues the setting above, even when it looks like a comment */
    if (is_comment(text.at[0]))
        return 0;
    if (text.at[0] == '[')
        return take_section(ps, text);
    ps->indent = indent;
    return take_property(ps, text);
}

static int take_lines(struct parser *ps, struct span text)
{
    static const char mark[] = "\xef\xbb\xbf"; /* some editors put it before UTF-8 */
    if (text.n >= 3 && memcmp(text.at, mark, 3) == 0)
        text = (struct span){text.at + 3, text.n - 3};
    while (text.n) {
        const char *end = memchr(text.at, '\n', text.n);
        size_t n = end ? (size_t)(end - text.at) : text.n;
        ps->line++;
        if (take_line(ps, (struct span){text.at, n}) < 0)
            return -1;
        n += end != NULL;
        text = (struct span){text.at + n, text.n - n};
    }
    return 0;
}

/* ---- Putting files together ---- */

static bool has_keys(const struct profile *p)
{
    return p->values[PROFILE_ACCESS_KEY] || p->values[PROFILE_SECRET_KEY] ||
           p->values[PROFILE_SESSION_TOKEN];
}

/* A key of one file must not meet the secret or the token of the other. */
static bool is_of_keys(enum profile_key key)
{
    return key == PROFILE_ACCESS_KEY || key == PROFILE_SECRET_KEY || key == PROFILE_SESSION_TOKEN;
}

static void merge(struct profile *to, struct profile *from)
{
    bool new_keys = has_keys(from);
    to->found = to->found || from->found;
    for (enum profile_key key = 0; key < PROFILE_KEYS; key++) {
        if (!from->values[key] && !(new_keys && is_of_keys(key)))
            continue;
        secret_free(&to->values[key]);
        to->values[key] = from->values[key];
        from->values[key] = NULL;
    }
}

int profile_parse(const char *text, size_t n, enum profile_file file, const char *source,
                  const char *name, struct profile *p, struct store_err *err)
{
    struct parser ps = {.file = file, .source = source, .name = name, .err = err};
    if (n > PROFILE_MAX_FILE_BYTES)
        return store_err_set(err, STORE_INVALID, "credentials: %.120s: larger than %d bytes",
                             source, PROFILE_MAX_FILE_BYTES);
    if (n && memchr(text, '\0', n))
        return store_err_set(err, STORE_INVALID, "credentials: %.120s: holds a NUL", source);
    int rc = take_lines(&ps, (struct span){text, n});
    if (rc == 0)
        merge(p, &ps.own);
    profile_cleanup(&ps.own);
    return rc;
}
