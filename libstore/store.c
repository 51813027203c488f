#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "libstore/key.h"
#include "libstore/op.h"

enum { DEFAULT_OP_TIMEOUT_MS = 30000 };

static const struct driver *const drivers[] = {&s3_driver, &file_driver};

static const struct driver *find_driver(const char *url, const char **rest)
{
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        size_t n = strlen(drivers[i]->scheme);
        if (strncmp(url, drivers[i]->scheme, n) == 0 && strncmp(url + n, "://", 3) == 0) {
            *rest = url + n + 3;
            return drivers[i];
        }
    }
    return NULL;
}

static int open_driver(store *s, const char *rest, const struct store_conf *conf,
                       struct store_err *err)
{
    if (health_new(conf, s->url, &s->health, err) != 0)
        return -1;
    if (s->driver->open(rest, conf, s->health, &s->state, err) != 0) {
        health_free(s->health);
        return -1;
    }
    s->max_key = s->driver->max_key(s->state);
    return 0;
}

int store_open(const char *url, const struct store_conf *conf, store **out, struct store_err *err)
{
    static const struct store_conf none;
    conf = conf ? conf : &none;
    const char *rest = NULL;
    const struct driver *driver = url ? find_driver(url, &rest) : NULL;
    if (!driver)
        return store_err_set(err, STORE_INVALID,
                             "store URL '%.200s': expected s3://bucket[/prefix] or "
                             "file:///absolute/folder",
                             url ? url : "");
    store *s = calloc(1, sizeof(*s));
    if (!s)
        return store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
    s->root = s;
    s->driver = driver;
    s->url = strdup(url);
    s->within = strdup("");
    s->op_timeout_ms = conf->op_timeout_ms ? conf->op_timeout_ms : DEFAULT_OP_TIMEOUT_MS;
    atomic_init(&s->refs, 1);
    if (!s->url || !s->within)
        store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
    else if (open_driver(s, rest, conf, err) == 0) {
        *out = s;
        return 0;
    }
    free(s->url);
    free((char *)s->within);
    free(s);
    return -1;
}

int store_narrow(store *s, const char *prefix, store **out, struct store_err *err)
{
    size_t n = prefix ? strlen(prefix) : 0;
    char inner[STORE_MAX_KEY + 1];
    if (n < 2 || n >= s->max_key || prefix[n - 1] != '/')
        return store_err_set(err, STORE_INVALID,
                             "narrowing to '%.150s': expected 2 to %zu bytes that end in '/'",
                             prefix ? prefix : "", s->max_key - 1);
    memcpy(inner, prefix, n - 1);
    inner[n - 1] = '\0';
    if (key_has_odd_segment(inner))
        return store_err_set(err, STORE_INVALID,
                             "narrowing to '%.150s': it has an empty segment, '.' or '..'", prefix);
    store *part = calloc(1, sizeof(*part));
    char *within = malloc(s->within_len + n + 1);
    if (!part || !within) {
        free(part);
        free(within);
        return store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
    }
    memcpy(within, s->within, s->within_len);
    memcpy(within + s->within_len, prefix, n + 1);
    part->driver = s->driver;
    part->state = s->state;
    part->url = s->url;
    part->op_timeout_ms = s->op_timeout_ms;
    part->health = s->health;
    part->root = s->root;
    atomic_init(&part->refs, 1);
    part->within = within;
    part->within_len = s->within_len + n;
    part->max_key = s->max_key - n;
    store_ref(s->root);
    *out = part;
    return 0;
}

void store_ref(store *s)
{
    atomic_fetch_add(&s->refs, 1);
}

void store_unref(store *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    store *root = s->root;
    if (s != root) {
        store_unref(root);
    } else {
        s->driver->close(s->state);
        health_free(s->health);
        free(s->url);
    }
    free((char *)s->within);
    free(s);
}

void store_close(store *s)
{
    if (s)
        store_unref(s);
}

const char *store_url(const store *s)
{
    return s->url;
}

size_t store_max_key(const store *s)
{
    return s->max_key;
}

void store_stats(const store *s, struct store_stats *out)
{
    health_stats(s->health, clock_mono_ms(), out);
}
