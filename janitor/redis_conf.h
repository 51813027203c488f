/* redis_conf.h - how to reach Redis: what the redis_* options say. */
#ifndef JANITOR_REDIS_CONF_H
#define JANITOR_REDIS_CONF_H

#include <stdbool.h>
#include <stdint.h>

struct redis_conf {
    const char *url;                    /* see redis_url.h; NULL or "": no Redis at all */
    const char *password_file;          /* in place of a password in the URL; NULL: none */
    const char *sentinel_password_file; /* of the sentinels' user "default"; NULL: they want none */
    /* TLS, see redis_tls.h; each may be NULL. */
    const char *ca_file, *client_cert_file, *client_key_file;
    uint32_t timeout_ms; /* of connecting, and of each command; 0: a second */
    bool quiet;          /* outages are not logged: the owner has words of its own */
};

#endif
