/* chain.h - where credentials come from: decided once, from what the caller gave, the environment
 * and the profile files. Nobody is asked here; provider.h does that.
 *
 * The first source that is configured is the one; when it fails later, the others are not tried: a
 * mistake must not silently turn into another identity. Only instance metadata needs no
 * configuration, and so comes last. */
#ifndef LIBSTORE_S3_CHAIN_H
#define LIBSTORE_S3_CHAIN_H

#include <stdbool.h>

#include <store/error.h>

#include "libstore/s3/credentials.h"
#include "libstore/s3/keys.h"

enum chain_source {
    CHAIN_KEYS,         /* given, of the environment, or of a profile */
    CHAIN_WEB_IDENTITY, /* STS, for the token in a file */
    CHAIN_CONTAINER,    /* the endpoint of ECS, EKS, Greengrass */
    CHAIN_INSTANCE,     /* EC2 instance metadata, version 2 */
};

enum { CHAIN_MAX_ROLES = 4 };

struct chain_role {
    char *arn;
    char *session_name;
    char *external_id;      /* NULL: none */
    char *duration_seconds; /* digits; NULL: what STS takes by itself */
};

struct chain {
    enum chain_source source;
    struct keys keys; /* CHAIN_KEYS */
    /* CHAIN_WEB_IDENTITY */
    struct chain_role web_role;
    char *web_token_file;
    /* CHAIN_CONTAINER, CHAIN_INSTANCE */
    char *base_url;
    char *target;          /* CHAIN_CONTAINER: path and query */
    char *auth_token_file; /* CHAIN_CONTAINER: NULL: none */
    char *auth_token;      /* likewise, when there is no file */
    /* Assumed one after the other, from the last to the first, each with what came before. */
    struct chain_role roles[CHAIN_MAX_ROLES];
    size_t n_roles;

    char *region;  /* the store's; NULL: unknown, ask the instance */
    char *sts_url; /* AWS_ENDPOINT_URL_STS; NULL: Amazon's of the region */
    char *profile_region, *profile_endpoint; /* NULL: not said */
};

/* *ch needs no initialisation; on success end it with chain_cleanup(). Returns 0, or -1 as
 * credentials_open(). */
int chain_open(const struct credentials_conf *conf, struct chain *ch, struct store_err *err);
void chain_cleanup(struct chain *ch); /* wipes what is secret */

/* Whether the keys are there already. */
static inline bool chain_is_static(const struct chain *ch)
{
    return ch->source == CHAIN_KEYS && ch->n_roles == 0;
}

/* Reads a whole file into b (whose ceiling bounds it), never waiting for one that is a pipe.
 * Returns 0, or -1 as store_err_errno(), STORE_INVALID when it is too large, STORE_NO_MEMORY. */
int chain_read_file(const char *path, struct buf *b, struct store_err *err);

#endif
