/* credentials.h - who signs. In this order, as the AWS libraries have it: given keys, environment,
 * profile files (also with role_arn), web identity, container endpoint, instance metadata. The
 * first that is configured is taken, and when it fails the others are not tried: a mistake must not
 * silently turn into another identity. A profile that the program names comes before the
 * environment. credential_process and SSO are refused as not supported.
 *
 * What expires is renewed by a thread of its own, five minutes early (after half of the time when
 * that is short); a failed renewal leaves the old ones in place as long as they are valid, and is
 * repeated after a pause that grows from 1 s to 30 s. One for each store, shared by its loops;
 * thread-safe. A loop that waited may be freed before or after, but not meanwhile.
 *
 * The environment, read once: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN;
 * AWS_PROFILE, AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE, HOME; AWS_REGION, AWS_DEFAULT_REGION;
 * AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME, AWS_ENDPOINT_URL_STS;
 * AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, …_FULL_URI, AWS_CONTAINER_AUTHORIZATION_TOKEN,
 * …_TOKEN_FILE; AWS_EC2_METADATA_DISABLED, …_SERVICE_ENDPOINT, …_SERVICE_ENDPOINT_MODE. Empty ones
 * are as if not set.
 *
 * Sources: "Standardized credential providers" of the AWS SDKs and Tools Reference Guide; the API
 * pages of AssumeRole and AssumeRoleWithWebIdentity; "Use IMDSv2" of the EC2 user guide. */
#ifndef LIBSTORE_S3_CREDENTIALS_H
#define LIBSTORE_S3_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>

#include <store/error.h>

#include "base/loop.h"
#include "libstore/health.h"

struct credentials;

struct credentials_conf { /* strings are copied; NULL: not given */
    const char *access_key, *secret_key, *session_token;
    const char *profile;   /* NULL: AWS_PROFILE, else "default" */
    const char *region;    /* of the store as far as it is known already; NULL: look for it */
    const char *ca_file;   /* NULL: the system's bundle */
    struct health *health; /* gets HEALTH_CREDENTIAL_ERROR for each failed attempt; may be NULL */
};

/* Reads environment and files. Static keys are there at once; otherwise the thread is started.
 * Returns 0, or -1 with STORE_INVALID (a malformed file, half a pair of keys, nothing to try at
 * all), STORE_DENIED (a file that the environment names may not be read), STORE_NO_MEMORY,
 * STORE_FAILED. */
int credentials_open(const struct credentials_conf *conf, struct credentials **out,
                     struct store_err *err);
/* Ends the thread, in any state within a second, and wipes the secrets. NULL is fine. */
void credentials_close(struct credentials *c);

/* What the profile says besides keys; "" when it says nothing. Live as long as c. */
const char *credentials_profile_region(const struct credentials *c);
const char *credentials_profile_endpoint(const struct credentials *c);

struct credentials_view { /* lives as long as the call of take() */
    const char *access_key, *secret_key;
    const char *session_token; /* NULL: none */
    const char *region;        /* told by the instance; "" when not asked for or unknown */
    uint64_t serial;           /* another one after each renewal; from 1 */
};

struct credentials_waiter { /* the caller's; zeroed at first */
    struct loop *loop;
    struct loop_task task; /* fn and user are set by the caller */
    struct credentials_waiter *next, *prev;
    bool waiting;
};

enum credentials_state {
    CREDENTIALS_READY,  /* take() was called */
    CREDENTIALS_WAIT,   /* none now: w->task is posted to w->loop, once, when that has changed */
    CREDENTIALS_FAILED, /* none to be had, says *err (STORE_DENIED, STORE_BUSY, STORE_FAILED,
                         * STORE_NO_MEMORY); a later call may find some */
};
/* Calls take() with the current ones, under a lock: it only copies. It is not called when their
 * serial is known already. Callers wait together for one renewal, at most as long as one attempt
 * may take (30 s). On the thread of w->loop; w NULL: nobody to be woken. A waiter that asks again
 * begins anew: it has no task from before. */
enum credentials_state credentials_ask(struct credentials *c, uint64_t known_serial,
                                       void (*take)(void *user, const struct credentials_view *v),
                                       void *user, struct credentials_waiter *w,
                                       struct store_err *err);
/* No task any more, whatever its state. On the waiter's loop's thread. Harmless when not waiting.
 */
void credentials_unwait(struct credentials *c, struct credentials_waiter *w);

/* The store refused these as expired: they are renewed at once (but no sooner than a second after
 * they came), and credentials_ask() waits for that. Static ones cannot be: returns false. No-op
 * when newer ones are there already. */
bool credentials_refused(struct credentials *c, uint64_t serial);

#endif
