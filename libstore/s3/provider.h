/* provider.h - asks one of those who hand out credentials, and waits for the answer. In the thread
 * of credentials.c.
 *
 * All return 0 with *out filled (yours), or -1 with STORE_DENIED (refused, or a token file that
 * cannot be read: a person must look), STORE_BUSY (no answer, overload), STORE_FAILED (an answer
 * that makes no sense), STORE_CANCELED, STORE_NO_MEMORY; *out is as before then. */
#ifndef LIBSTORE_S3_PROVIDER_H
#define LIBSTORE_S3_PROVIDER_H

#include "libstore/s3/chain.h"
#include "libstore/s3/fetch.h"
#include "libstore/s3/keys.h"

enum { PROVIDER_REGION_SIZE = 64 };

/* The container's endpoint: "Container credential provider" of the AWS SDKs and Tools Reference
 * Guide; "Task IAM role" of the ECS developer guide. */
int provider_container(struct fetcher *f, const struct chain *ch, struct keys *out,
                       struct store_err *err);

/* Instance metadata, only in its version 2: "Use IMDSv2" and "Retrieve security credentials from
 * instance metadata" of the EC2 user guide. region, of PROVIDER_REGION_SIZE, gets the instance's
 * ("" when it does not say); NULL: not asked for. */
int provider_instance(struct fetcher *f, const struct chain *ch, struct keys *out, char *region,
                      struct store_err *err);

/* Where STS is, for both below. region: "" for the global one. The URL is the caller's to free;
 * NULL with *err: STORE_INVALID, STORE_NO_MEMORY. */
char *provider_sts_url(const char *region, struct store_err *err);

/* STS AssumeRoleWithWebIdentity, unsigned: the token in ch->web_token_file is proof enough. */
int provider_web_identity(struct fetcher *f, const struct chain *ch, const char *sts_url,
                          struct keys *out, struct store_err *err);

/* STS AssumeRole, signed with `with`. */
int provider_assume_role(struct fetcher *f, const struct chain_role *role, const char *sts_url,
                         const char *region, const struct keys *with, struct keys *out,
                         struct store_err *err);

/* For the providers: copies what an answer brought into *out. expires_s: by the peer's clock,
 * which date_s tells (0: take ours); 0: they do not expire. */
int provider_take_keys(struct keys *out, const char *peer, const char *access_key,
                       const char *secret_key, const char *session_token, int64_t expires_s,
                       int64_t date_s, struct store_err *err);
/* Likewise the error for an answer that is none: by its status and the peer's own code and message
 * ("" for none). Returns -1. */
int provider_refused(const char *peer, const struct fetch_answer *a, const char *code,
                     const char *message, struct store_err *err);

#endif
