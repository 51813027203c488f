#include "libstore/s3/chain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/codec.h"
#include "libstore/s3/endpoint.h"
#include "libstore/s3/profile.h"

#define ECS_URL           "http://169.254.170.2"
#define INSTANCE_URL      "http://169.254.169.254"
#define INSTANCE_URL_IPV6 "http://[fd00:ec2::254]"
#define SESSION_NAME      "libstore"

/* What is read once, while the chain is decided. */
struct reader {
    struct chain *chain;
    struct buf config, credentials; /* the files' texts; empty when there is none */
    char config_path[4096], credentials_path[4096];
    const char *profile;
    bool profile_is_named; /* by conf or AWS_PROFILE: it must exist */
    struct store_err *err;
};

static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static int no_memory(struct store_err *err)
{
    return store_err_set(err, STORE_NO_MEMORY, "credentials: out of memory");
}

/* NULL stays NULL. */
static int copy(char **out, const char *s, struct store_err *err)
{
    *out = s ? strdup(s) : NULL;
    return s && !*out ? no_memory(err) : 0;
}

/* ---- Files ---- */

int chain_read_file(const char *path, struct buf *b, struct store_err *err)
{
    /* Room for all at once: growing would leave copies of secrets behind. */
    if (!buf_reserve(b, b->max))
        return no_memory(err);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return store_err_errno(err, errno, "credentials: cannot open %.150s", path);
    ssize_t n = 1;
    while (b->len < b->max && n > 0) {
        do
            n = read(fd, b->data + b->len, b->max - b->len);
        while (n < 0 && errno == EINTR);
        if (n > 0)
            b->len += (size_t)n;
    }
    int error = errno;
    close(fd);
    b->data[b->len] = '\0';
    if (n < 0)
        return store_err_errno(err, error, "credentials: cannot read %.150s", path);
    if (b->len == b->max)
        return store_err_set(err, STORE_INVALID,
                             "credentials: %.150s: expected less than %zu bytes", path, b->max);
    return 0;
}

/* Where the file is: named by the variable, else in ~/.aws. False: nowhere. */
static bool find_file(const char *variable, const char *name, char *path, size_t cap, bool *named)
{
    const char *given = env(variable), *home = env("HOME");
    int n = -1;
    *named = given != NULL;
    if (given && strncmp(given, "~/", 2) == 0 && home)
        n = snprintf(path, cap, "%s%s", home, given + 1);
    else if (given)
        n = snprintf(path, cap, "%s", given);
    else if (home)
        n = snprintf(path, cap, "%s/.aws/%s", home, name);
    return n > 0 && (size_t)n < cap;
}

/* A file that is not there is an empty one, as in the AWS tools. One in the home folder that may
 * not be read neither counts: services often run with somebody else's HOME. */
static int load_file(const char *variable, const char *name, char *path, size_t cap, struct buf *b,
                     struct store_err *err)
{
    bool named;
    struct store_err trouble = {.code = STORE_OK};
    if (!find_file(variable, name, path, cap, &named) || chain_read_file(path, b, &trouble) == 0)
        return 0;
    int e = trouble.sys_errno;
    buf_reset(b);
    if (e == ENOENT || e == ENOTDIR || (e == EACCES && !named))
        return 0;
    *err = trouble;
    return -1;
}

static int load_files(struct reader *r)
{
    if (load_file("AWS_CONFIG_FILE", "config", r->config_path, sizeof(r->config_path), &r->config,
                  r->err) < 0)
        return -1;
    return load_file("AWS_SHARED_CREDENTIALS_FILE", "credentials", r->credentials_path,
                     sizeof(r->credentials_path), &r->credentials, r->err);
}

static int load_profile(const struct reader *r, const char *name, struct profile *p)
{
    if (profile_parse(buf_str(&r->config), r->config.len, PROFILE_CONFIG, r->config_path, name, p,
                      r->err) < 0)
        return -1;
    return profile_parse(buf_str(&r->credentials), r->credentials.len, PROFILE_CREDENTIALS,
                         r->credentials_path, name, p, r->err);
}

/* ---- Sources ---- */

/* Half a pair is refused: to go on to the next source would hide the mistake. */
static int use_keys(struct reader *r, const char *access_key, const char *secret_key,
                    const char *session_token, const char *whence)
{
    const char *problem = keys_problem(access_key, secret_key, session_token);
    if (problem)
        return store_err_set(r->err, STORE_INVALID, "credentials: %.120s: %s", whence, problem);
    r->chain->source = CHAIN_KEYS;
    return keys_set(&r->chain->keys, access_key, secret_key, session_token, r->err);
}

static bool has_env_keys(void)
{
    return env("AWS_ACCESS_KEY_ID") || env("AWS_SECRET_ACCESS_KEY");
}

static int use_env_keys(struct reader *r)
{
    return use_keys(r, env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"),
                    env("AWS_SESSION_TOKEN"), "environment");
}

static int copy_role(struct chain_role *role, const char *arn, const char *session_name,
                     const char *external_id, const char *duration_seconds, struct store_err *err)
{
    uint64_t seconds;
    if (duration_seconds && (!parse_u64(duration_seconds, strlen(duration_seconds), &seconds) ||
                             seconds < 900 || seconds > 43200))
        return store_err_set(err, STORE_INVALID,
                             "credentials: duration_seconds '%.20s': expected 900 to 43200",
                             duration_seconds);
    if (copy(&role->arn, arn, err) < 0 ||
        copy(&role->session_name, session_name ? session_name : SESSION_NAME, err) < 0 ||
        copy(&role->external_id, external_id, err) < 0)
        return -1;
    return copy(&role->duration_seconds, duration_seconds, err);
}

static int use_web_identity(struct reader *r, const char *token_file, const char *role_arn,
                            const char *session_name, const char *duration_seconds)
{
    struct chain *ch = r->chain;
    if (!role_arn)
        return store_err_set(r->err, STORE_INVALID,
                             "credentials: web identity: AWS_ROLE_ARN is missing");
    ch->source = CHAIN_WEB_IDENTITY;
    if (copy_role(&ch->web_role, role_arn, session_name, NULL, duration_seconds, r->err) < 0)
        return -1;
    return copy(&ch->web_token_file, token_file, r->err);
}

static bool has_container(void)
{
    return env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") ||
           env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
}

static int set_container_url(struct reader *r, const char *variable, const char *url)
{
    struct endpoint e;
    if (!endpoint_parse(url, &e))
        return store_err_set(r->err, STORE_INVALID,
                             "credentials: %s: expected http(s)://host[:port]/path", variable);
    if (!e.is_tls && !endpoint_is_local(&e))
        return store_err_set(r->err, STORE_INVALID,
                             "credentials: %s: %.100s: expected https, or the address of this "
                             "machine or of a container agent",
                             variable, url);
    r->chain->base_url = strndup(url, e.base_len);
    if (!r->chain->base_url)
        return no_memory(r->err);
    return copy(&r->chain->target, *e.target ? e.target : "/", r->err);
}

static int use_container(struct reader *r)
{
    struct chain *ch = r->chain;
    const char *relative = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    char url[4096];
    int rc;
    ch->source = CHAIN_CONTAINER;
    if (relative) {
        snprintf(url, sizeof(url), ECS_URL "%s%s", relative[0] == '/' ? "" : "/", relative);
        rc = set_container_url(r, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", url);
    } else if (env("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
        rc = set_container_url(r, "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                               env("AWS_CONTAINER_CREDENTIALS_FULL_URI"));
    } else {
        rc = store_err_set(
            r->err, STORE_INVALID,
            "credentials: credential_source EcsContainer: neither "
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set");
    }
    if (rc < 0)
        return -1;
    if (copy(&ch->auth_token_file, env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"), r->err) < 0)
        return -1;
    return copy(&ch->auth_token, env("AWS_CONTAINER_AUTHORIZATION_TOKEN"), r->err);
}

static int use_instance(struct reader *r)
{
    const char *url = env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    const char *mode = env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    const char *disabled = env("AWS_EC2_METADATA_DISABLED");
    struct endpoint e;
    if (disabled && strcasecmp(disabled, "true") == 0)
        return store_err_set(r->err, STORE_INVALID,
                             "credentials: none found: not given, not in the environment or a "
                             "profile, and AWS_EC2_METADATA_DISABLED is set");
    if (!url)
        url = mode && strcasecmp(mode, "IPv6") == 0 ? INSTANCE_URL_IPV6 : INSTANCE_URL;
    if (!endpoint_parse(url, &e) || (*e.target && strcmp(e.target, "/") != 0))
        return store_err_set(r->err, STORE_INVALID,
                             "credentials: AWS_EC2_METADATA_SERVICE_ENDPOINT '%.100s': expected "
                             "http://host[:port]",
                             url);
    r->chain->source = CHAIN_INSTANCE;
    r->chain->base_url = strndup(url, e.base_len);
    return r->chain->base_url ? 0 : no_memory(r->err);
}

/* ---- Profiles and their roles ---- */

static int use_credential_source(struct reader *r, const char *source, const char *profile)
{
    if (strcmp(source, "Environment") == 0)
        return use_env_keys(r);
    if (strcmp(source, "EcsContainer") == 0)
        return use_container(r);
    if (strcmp(source, "Ec2InstanceMetadata") == 0)
        return use_instance(r);
    return store_err_set(r->err, STORE_INVALID,
                         "credentials: profile '%.60s': credential_source '%.40s': expected "
                         "Environment, EcsContainer or Ec2InstanceMetadata",
                         profile, source);
}

static bool has_profile_keys(const struct profile *p)
{
    return p->values[PROFILE_ACCESS_KEY] || p->values[PROFILE_SECRET_KEY];
}

static int use_profile_keys(struct reader *r, const struct profile *p, const char *name)
{
    char whence[160];
    snprintf(whence, sizeof(whence), "profile '%.100s'", name);
    return use_keys(r, p->values[PROFILE_ACCESS_KEY], p->values[PROFILE_SECRET_KEY],
                    p->values[PROFILE_SESSION_TOKEN], whence);
}

/* A profile that names none of what we know how to get keys from. */
static int use_other(struct reader *r, const struct profile *p, const char *name, bool *found)
{
    static const enum profile_key unsupported[] = {PROFILE_CREDENTIAL_PROCESS, PROFILE_SSO_SESSION,
                                                   PROFILE_SSO_START_URL};
    for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++)
        if (p->values[unsupported[i]])
            return store_err_set(r->err, STORE_INVALID,
                                 "credentials: profile '%.100s': %s is not supported", name,
                                 profile_key_name(unsupported[i]));
    *found = false;
    if (r->chain->n_roles)
        return store_err_set(r->err, STORE_INVALID,
                             "credentials: source_profile '%.100s' holds no credentials", name);
    return 0;
}

static int push_role(struct reader *r, const struct profile *p, const char *name)
{
    struct chain *ch = r->chain;
    if (ch->n_roles == CHAIN_MAX_ROLES)
        return store_err_set(r->err, STORE_INVALID,
                             "credentials: profile '%.100s': more than %d roles in a row, or a "
                             "loop of source_profile",
                             name, CHAIN_MAX_ROLES);
    if (!p->values[PROFILE_SOURCE_PROFILE] == !p->values[PROFILE_CREDENTIAL_SOURCE])
        return store_err_set(r->err, STORE_INVALID,
                             "credentials: profile '%.100s': role_arn: expected one of "
                             "source_profile and credential_source",
                             name);
    return copy_role(&ch->roles[ch->n_roles++], p->values[PROFILE_ROLE_ARN],
                     p->values[PROFILE_ROLE_SESSION_NAME], p->values[PROFILE_EXTERNAL_ID],
                     p->values[PROFILE_DURATION_SECONDS], r->err);
}

/* One profile. *next gets the name of the one that it builds on, or NULL. */
static int follow_profile(struct reader *r, const struct profile *p, const char *name,
                          const char **next, bool *found)
{
    *next = NULL;
    if (!p->values[PROFILE_ROLE_ARN])
        return has_profile_keys(p) ? use_profile_keys(r, p, name) : use_other(r, p, name, found);
    if (p->values[PROFILE_WEB_IDENTITY_TOKEN_FILE])
        return use_web_identity(r, p->values[PROFILE_WEB_IDENTITY_TOKEN_FILE],
                                p->values[PROFILE_ROLE_ARN], p->values[PROFILE_ROLE_SESSION_NAME],
                                p->values[PROFILE_DURATION_SECONDS]);
    if (push_role(r, p, name) < 0)
        return -1;
    if (p->values[PROFILE_CREDENTIAL_SOURCE])
        return use_credential_source(r, p->values[PROFILE_CREDENTIAL_SOURCE], name);
    if (strcmp(p->values[PROFILE_SOURCE_PROFILE], name) == 0)
        return use_profile_keys(r, p, name); /* the role is assumed with the profile's own keys */
    *next = p->values[PROFILE_SOURCE_PROFILE];
    return 0;
}

static int no_such_profile(const char *name, struct store_err *err)
{
    return store_err_set(err, STORE_INVALID, "credentials: there is no profile '%.100s'", name);
}

/* Follows the profiles from `first` on. *found: whether that led to a source. */
static int use_profile(struct reader *r, const struct profile *first, bool *found)
{
    struct profile p = {0};
    const char *next;
    *found = true;
    int rc = follow_profile(r, first, r->profile, &next, found);
    while (rc == 0 && next) {
        char *name = strdup(next); /* it lies in p or first */
        profile_cleanup(&p);
        rc = name ? load_profile(r, name, &p) : no_memory(r->err);
        if (rc == 0 && !p.found)
            rc = no_such_profile(name, r->err);
        if (rc == 0)
            rc = follow_profile(r, &p, name, &next, found);
        free(name);
    }
    profile_cleanup(&p);
    return rc;
}

/* ---- The order ---- */

static int copy_settings(struct reader *r, const struct credentials_conf *conf,
                         const struct profile *p)
{
    struct chain *ch = r->chain;
    const char *region = conf->region && *conf->region ? conf->region : env("AWS_REGION");
    if (!region)
        region = env("AWS_DEFAULT_REGION");
    if (!region)
        region = p->values[PROFILE_REGION];
    if (copy(&ch->region, region, r->err) < 0 ||
        copy(&ch->profile_region, p->values[PROFILE_REGION], r->err) < 0)
        return -1;
    return copy(&ch->profile_endpoint, p->values[PROFILE_ENDPOINT_URL], r->err);
}

static int choose(struct reader *r, const struct credentials_conf *conf, const struct profile *p)
{
    if (conf->access_key || conf->secret_key || conf->session_token)
        return use_keys(r, conf->access_key, conf->secret_key, conf->session_token, "given keys");
    /* A profile that the program names comes before what happens to be in its environment. */
    if (!conf->profile && has_env_keys())
        return use_env_keys(r);
    if (!p->found && r->profile_is_named)
        return no_such_profile(r->profile, r->err);
    bool found;
    int rc = use_profile(r, p, &found);
    if (rc < 0 || found)
        return rc;
    if (env("AWS_WEB_IDENTITY_TOKEN_FILE"))
        return use_web_identity(r, env("AWS_WEB_IDENTITY_TOKEN_FILE"), env("AWS_ROLE_ARN"),
                                env("AWS_ROLE_SESSION_NAME"), NULL);
    return has_container() ? use_container(r) : use_instance(r);
}

static int set_sts_url(struct chain *ch, struct store_err *err)
{
    const char *url = env("AWS_ENDPOINT_URL_STS");
    struct endpoint e;
    if (!url || (ch->source != CHAIN_WEB_IDENTITY && ch->n_roles == 0))
        return 0;
    if (!endpoint_parse(url, &e) || (*e.target && strcmp(e.target, "/") != 0))
        return store_err_set(err, STORE_INVALID,
                             "credentials: AWS_ENDPOINT_URL_STS '%.100s': expected "
                             "http(s)://host[:port]",
                             url);
    ch->sts_url = strndup(url, e.base_len);
    return ch->sts_url ? 0 : no_memory(err);
}

static int decide(struct reader *r, const struct credentials_conf *conf, struct profile *p)
{
    if (load_files(r) < 0 || load_profile(r, r->profile, p) < 0 || copy_settings(r, conf, p) < 0 ||
        choose(r, conf, p) < 0)
        return -1;
    return set_sts_url(r->chain, r->err);
}

int chain_open(const struct credentials_conf *conf, struct chain *ch, struct store_err *err)
{
    struct reader *r = calloc(1, sizeof(*r));
    struct profile p = {0};
    *ch = (struct chain){0};
    if (!r)
        return no_memory(err);
    r->chain = ch;
    r->err = err;
    buf_init(&r->config, PROFILE_MAX_FILE_BYTES);
    buf_init(&r->credentials, PROFILE_MAX_FILE_BYTES);
    r->profile = conf->profile ? conf->profile : env("AWS_PROFILE");
    r->profile_is_named = r->profile != NULL;
    if (!r->profile)
        r->profile = "default";
    int rc = decide(r, conf, &p);
    profile_cleanup(&p);
    secret_buf_cleanup(&r->config);
    secret_buf_cleanup(&r->credentials);
    free(r);
    if (rc < 0)
        chain_cleanup(ch);
    return rc;
}

static void role_cleanup(struct chain_role *role)
{
    free(role->arn);
    free(role->session_name);
    secret_free(&role->external_id);
    free(role->duration_seconds);
}

void chain_cleanup(struct chain *ch)
{
    keys_wipe(&ch->keys);
    role_cleanup(&ch->web_role);
    for (size_t i = 0; i < ch->n_roles; i++)
        role_cleanup(&ch->roles[i]);
    free(ch->web_token_file);
    free(ch->base_url);
    free(ch->target);
    free(ch->auth_token_file);
    secret_free(&ch->auth_token);
    free(ch->region);
    free(ch->sts_url);
    free(ch->profile_region);
    free(ch->profile_endpoint);
    *ch = (struct chain){0};
}
