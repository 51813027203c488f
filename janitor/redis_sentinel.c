#include "janitor/redis_sentinel.h"

#include <string.h>

#include "base/clock.h"
#include "base/codec.h"

/* {"10.0.0.1", "6379"} */
static bool read_address(const redisReply *r, struct redis_node *out)
{
    uint64_t port;
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2)
        return false;
    const redisReply *host = r->element[0], *number = r->element[1];
    if (host->type != REDIS_REPLY_STRING || number->type != REDIS_REPLY_STRING)
        return false;
    if (host->len == 0 || host->len >= sizeof(out->host) ||
        !parse_u64(number->str, number->len, &port) || port == 0 || port > UINT16_MAX)
        return false;
    memcpy(out->host, host->str, host->len);
    out->host[host->len] = '\0';
    out->port = (uint16_t)port;
    return true;
}

static int ask_for_master(struct redis_conn *c, const char *name, struct redis_node *out,
                          struct store_err *err)
{
    const char *args[] = {"SENTINEL", "get-master-addr-by-name", name};
    redisReply *r = redis_conn_command(c, 3, args, NULL, err);
    if (!r)
        return -1;
    int rc = 0;
    if (r->type == REDIS_REPLY_ERROR)
        rc = store_err_set(err, STORE_BUSY, "%s", r->str);
    else if (r->type == REDIS_REPLY_NIL)
        rc = store_err_set(err, STORE_BUSY, "it knows no master '%s'", name);
    else if (!read_address(r, out))
        rc = store_err_set(err, STORE_BUSY, "its answer is no address");
    freeReplyObject(r);
    return rc;
}

static int ask(const struct redis_node *sentinel, const char *name,
               const struct redis_tls_conf *tls, const char *password, uint64_t deadline_ms,
               struct redis_node *out, struct store_err *err)
{
    struct redis_conn c;
    if (redis_dial(sentinel, tls, deadline_ms, &c, err) != 0)
        return -1;
    int rc = password ? redis_conn_login(&c, NULL, password, err) : 0;
    if (rc == 0)
        rc = ask_for_master(&c, name, out, err);
    redis_conn_close(&c);
    return rc;
}

int redis_sentinel_find(const struct redis_url *url, size_t *first,
                        const struct redis_tls_conf *tls, const char *password,
                        uint64_t deadline_ms, struct redis_node *master, struct store_err *err)
{
    struct store_err cause = {0};
    const struct redis_node *asked = &url->nodes[*first];
    for (size_t i = 0; i < url->n_nodes; i++) {
        uint64_t now_ms = clock_mono_ms();
        if (now_ms >= deadline_ms && i > 0)
            break;
        uint64_t until_ms = now_ms < deadline_ms ? now_ms + (deadline_ms - now_ms) / 2 : now_ms;
        asked = &url->nodes[*first];
        if (ask(asked, url->master, tls, password, until_ms, master, &cause) == 0)
            return 0;
        *first = (*first + 1) % url->n_nodes;
    }
    return store_err_set(err, cause.code, "no sentinel tells the master; the one at %s port %u: %s",
                         asked->host, asked->port, cause.msg);
}
