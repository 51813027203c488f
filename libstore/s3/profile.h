/* profile.h - one profile out of the AWS tools' files, ~/.aws/config and ~/.aws/credentials. Pure:
 * text in, values out. Sources: "Shared config and credentials files" and "Settings reference" of
 * the AWS SDKs and Tools Reference Guide.
 *
 * The form: sections in brackets, "name = value" lines, comments from '#' or ';' at the start of a
 * line or behind white space. A line that is indented deeper than the setting above continues it
 * (nested settings, such as those below "s3 ="); none of what we read has such lines, so they are
 * skipped, as are sections of other kinds ("[sso-session x]", "[services x]") and unknown names.
 * Sections of one name add up; the later value of two counts. */
#ifndef LIBSTORE_S3_PROFILE_H
#define LIBSTORE_S3_PROFILE_H

#include <stdbool.h>
#include <stddef.h>

#include <store/error.h>

enum profile_file {
    PROFILE_CONFIG,      /* [default] and [profile x]; [profile default] hides [default] */
    PROFILE_CREDENTIALS, /* [x] */
};

enum profile_key {
    PROFILE_ACCESS_KEY,
    PROFILE_SECRET_KEY,
    PROFILE_SESSION_TOKEN,
    PROFILE_REGION,
    PROFILE_ENDPOINT_URL,
    PROFILE_ROLE_ARN,
    PROFILE_SOURCE_PROFILE,
    PROFILE_CREDENTIAL_SOURCE,
    PROFILE_ROLE_SESSION_NAME,
    PROFILE_EXTERNAL_ID,
    PROFILE_DURATION_SECONDS,
    PROFILE_WEB_IDENTITY_TOKEN_FILE,
    PROFILE_CREDENTIAL_PROCESS, /* known only to be refused */
    PROFILE_SSO_SESSION,        /* likewise */
    PROFILE_SSO_START_URL,      /* likewise */
    PROFILE_KEYS
};

enum {
    PROFILE_MAX_FILE_BYTES = 1 << 20,
    PROFILE_MAX_VALUE_BYTES = 16384, /* session tokens are the longest */
};

struct profile {                /* zeroed at first; yours: profile_cleanup() */
    bool found;                 /* there is such a section, if an empty one */
    char *values[PROFILE_KEYS]; /* NULL: not set, or set to nothing */
};

/* Adds what a file says of the profile `name`; call for the config file first, since the values of
 * the credentials file come before its. Keys and session token count as one: a file that has any
 * of them replaces all three. source names the file in messages.
 * Returns 0, or -1 with STORE_INVALID (malformed, a NUL or control character, past a bound; the
 * message tells the line's number, never its text) or STORE_NO_MEMORY; then p is as before. */
int profile_parse(const char *text, size_t n, enum profile_file file, const char *source,
                  const char *name, struct profile *p, struct store_err *err);
/* Wipes and frees the values. */
void profile_cleanup(struct profile *p);

/* As it stands in the files: "aws_access_key_id". */
const char *profile_key_name(enum profile_key key);

#endif
