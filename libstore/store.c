#include <stdlib.h>
#include <string.h>

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
    char *copy = strdup(url);
    if (!s || !copy) {
        store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
    } else if (driver->open(rest, conf, &s->state, err) == 0) {
        s->driver = driver;
        s->url = copy;
        s->op_timeout_ms = conf->op_timeout_ms ? conf->op_timeout_ms : DEFAULT_OP_TIMEOUT_MS;
        *out = s;
        return 0;
    }
    free(copy);
    free(s);
    return -1;
}

void store_close(store *s)
{
    if (!s)
        return;
    s->driver->close(s->state);
    free(s->url);
    free(s);
}

const char *store_url(const store *s)
{
    return s->url;
}
