/* credentials_fixture.h - an environment without the user's own AWS settings, files in a temporary
 * folder, and a clock that can be put ahead. */
#ifndef TESTS_UNIT_CREDENTIALS_FIXTURE_H
#define TESTS_UNIT_CREDENTIALS_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "libstore/s3/credentials_private.h"

/* Of those, every variable that the chain looks at. */
static const char *const fixture_variables[] = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_ENDPOINT_URL_STS",
};

static char fixture_home[64];
static atomic_uint_fast64_t fixture_ahead_ms;

static inline uint64_t fixture_now_ms(void)
{
    return clock_boot_ms() + atomic_load(&fixture_ahead_ms);
}

static inline void advance_ms(uint64_t ms)
{
    atomic_fetch_add(&fixture_ahead_ms, ms);
}

static const struct credentials_timing fixture_timing = {.now_ms = fixture_now_ms,
                                                         .early_ms = 300000,
                                                         .pause_ms = 1000,
                                                         .first_backoff_ms = 1000,
                                                         .max_backoff_ms = 30000,
                                                         .attempt_ms = 20000};

static inline const char *home_path(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", fixture_home, name);
    return path;
}

static inline const char *home_write(const char *name, const char *text)
{
    const char *path = home_path(name);
    FILE *f = fopen(path, "we");
    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        abort();
    return path;
}

static inline int fixture_setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(fixture_variables) / sizeof(fixture_variables[0]); i++)
        unsetenv(fixture_variables[i]);
    snprintf(fixture_home, sizeof(fixture_home), "/tmp/credentials.XXXXXX");
    if (!mkdtemp(fixture_home))
        return -1;
    atomic_store(&fixture_ahead_ms, 0);
    return setenv("HOME", fixture_home, 1);
}

static inline int fixture_teardown(void **state)
{
    static const char *const names[] = {".aws/config", ".aws/credentials", ".aws",
                                        "config",      "credentials",      "token"};
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        remove(home_path(names[i]));
    return rmdir(fixture_home);
}

#endif
