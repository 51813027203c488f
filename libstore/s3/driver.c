/* Opening a bucket: where it is, and who signs; and which operation goes where. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "libstore/s3/s3.h"

enum {
    DEFAULT_OP_TIMEOUT_MS = 30000,
    DEFAULT_STALL_TIMEOUT_MS = 5000,
    BULK_STALL_TIMEOUT_MS = 30000,
    DEFAULT_MAX_CONNECTIONS = 128,
    DEFAULT_MAX_BULK_CONNECTIONS = 32,
    DEFAULT_PARTS_IN_FLIGHT = 4,
    MAX_PARTS_IN_FLIGHT = 64,
};
static const uint64_t default_multipart_bytes = 64ULL << 20, default_part_bytes = 8ULL << 20;
static const uint64_t max_single_bytes = 5ULL << 30, min_part_bytes = 5ULL << 20;

static const char *first_of(const char *a, const char *b, const char *c)
{
    return a && *a ? a : b && *b ? b : c && *c ? c : NULL;
}

static int no_memory(struct store_err *err)
{
    return store_err_set(err, STORE_NO_MEMORY, "store: out of memory");
}

/* ---- Regions ---- */

static void region_free(struct s3_region *r)
{
    free(r->name);
    s3_place_cleanup(&r->place);
    free(r);
}

/* The same bucket as it is reached in this region. */
static struct s3_region *region_new(const struct s3 *s3, const char *location, const char *name,
                                    struct store_err *err)
{
    struct s3_region *r = calloc(1, sizeof(*r));
    if (r)
        r->name = strdup(name);
    if (!r || !r->name) {
        free(r);
        no_memory(err);
        return NULL;
    }
    if (s3_url_parse(location, s3->endpoint, name, s3->addressing, &r->place, err) != 0) {
        region_free(r);
        return NULL;
    }
    return r;
}

bool s3_learn_region(struct s3 *s3, const struct s3_region *from, const char *name)
{
    bool learned = false;
    pthread_mutex_lock(&s3->lock);
    struct s3_region *now = atomic_load(&s3->region);
    if (from && now != from) {
        learned = true; /* another request was quicker */
    } else if (s3->n_regions < S3_MAX_REGIONS && strcmp(now->name, name) != 0) {
        struct s3_region *next = region_new(s3, s3->bucket, name, NULL);
        if (next) {
            next->older = now;
            s3->n_regions++;
            atomic_store(&s3->region, next);
            learned = true;
        }
    }
    pthread_mutex_unlock(&s3->lock);
    return learned;
}

/* ---- Opening ---- */

static int take_limits(struct s3 *s3, const struct store_conf *c, struct store_err *err)
{
    s3->op_timeout_ms = c->op_timeout_ms ? c->op_timeout_ms : DEFAULT_OP_TIMEOUT_MS;
    s3->stall_timeout_ms = c->stall_timeout_ms ? c->stall_timeout_ms : DEFAULT_STALL_TIMEOUT_MS;
    s3->connect_timeout_ms = c->connect_timeout_ms;
    s3->max_connections = c->max_connections ? c->max_connections : DEFAULT_MAX_CONNECTIONS;
    s3->max_bulk_connections =
        c->max_bulk_connections ? c->max_bulk_connections : DEFAULT_MAX_BULK_CONNECTIONS;
    s3->multipart_bytes = c->multipart_bytes ? c->multipart_bytes : default_multipart_bytes;
    s3->part_bytes = c->part_bytes ? c->part_bytes : default_part_bytes;
    s3->parts_in_flight = c->parts_in_flight ? c->parts_in_flight : DEFAULT_PARTS_IN_FLIGHT;
    s3->no_hedging = c->no_hedging;
    s3->addressing = c->addressing;
    if (s3->multipart_bytes > max_single_bytes)
        return store_err_set(err, STORE_INVALID, "multipart_bytes: expected up to 5 GiB");
    if (s3->part_bytes < min_part_bytes || s3->part_bytes > max_single_bytes)
        return store_err_set(err, STORE_INVALID, "part_bytes: expected 5 MiB to 5 GiB");
    if (s3->parts_in_flight > MAX_PARTS_IN_FLIGHT)
        return store_err_set(err, STORE_INVALID, "parts_in_flight: expected up to %d",
                             MAX_PARTS_IN_FLIGHT);
    return 0;
}

static bool copy(char **out, const char *s)
{
    *out = s ? strdup(s) : NULL;
    return *out || !s;
}

static int take_files(struct s3 *s3, const struct store_conf *c, struct store_err *err)
{
    if (c->client_key_file && !c->client_cert_file)
        return store_err_set(err, STORE_INVALID, "client_key_file without client_cert_file");
    return copy(&s3->ca_file, c->ca_file) && copy(&s3->client_cert_file, c->client_cert_file) &&
                   copy(&s3->client_key_file, c->client_key_file)
               ? 0
               : no_memory(err);
}

static int open_credentials(struct s3 *s3, const struct store_conf *c, const char *region,
                            struct store_err *err)
{
    const struct credentials_conf conf = {
        .access_key = c->access_key,
        .secret_key = c->secret_key,
        .session_token = c->session_token,
        .profile = c->profile,
        .region = region,
        .ca_file = c->ca_file,
        .health = s3->health,
    };
    return credentials_open(&conf, &s3->credentials, err);
}

static int take_place(struct s3 *s3, const char *location, const struct store_conf *c,
                      const char *region, struct store_err *err)
{
    const char *endpoint =
        first_of(first_of(c->endpoint, getenv("AWS_ENDPOINT_URL_S3"), getenv("AWS_ENDPOINT_URL")),
                 credentials_profile_endpoint(s3->credentials), NULL);
    region = first_of(region, credentials_profile_region(s3->credentials), NULL);
    s3->region_told = region;
    if (!copy(&s3->endpoint, endpoint))
        return no_memory(err);
    struct s3_region *r = region_new(s3, location, region ? region : "us-east-1", err);
    if (!r)
        return -1;
    atomic_store(&s3->region, r);
    s3->tls = strncmp(r->place.base_url, "https:", 6) == 0;
    s3->amazon = r->place.is_amazon;
    if (!copy(&s3->bucket, r->place.bucket) || !copy(&s3->prefix, r->place.prefix))
        return no_memory(err);
    return 0;
}

static void s3_close(void *state)
{
    struct s3 *s3 = state;
    for (struct s3_region *r = atomic_load(&s3->region), *older; r; r = older) {
        older = r->older;
        region_free(r);
    }
    credentials_close(s3->credentials);
    gate_free(s3->gate);
    pthread_mutex_destroy(&s3->lock);
    free(s3->bucket);
    free(s3->endpoint);
    free(s3->prefix);
    free(s3->ca_file);
    free(s3->client_cert_file);
    free(s3->client_key_file);
    free(s3);
}

static size_t s3_max_key(const void *state)
{
    const struct s3 *s3 = state;
    return STORE_MAX_KEY - strlen(s3->prefix);
}

static int s3_open(const char *rest, const struct store_conf *conf, struct health *health,
                   void **out, struct store_err *err)
{
    struct s3 *s3 = calloc(1, sizeof(*s3));
    if (!s3)
        return no_memory(err);
    const char *region = first_of(conf->region, getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION"));
    pthread_mutex_init(&s3->lock, NULL);
    s3->health = health;
    s3->gate = gate_new();
    if (!s3->gate)
        no_memory(err);
    else if (take_limits(s3, conf, err) == 0 && take_files(s3, conf, err) == 0 &&
             open_credentials(s3, conf, region, err) == 0 &&
             take_place(s3, rest, conf, region, err) == 0) {
        *out = s3;
        return 0;
    }
    s3_close(s3);
    return -1;
}

/* ---- Loops ---- */

static void s3_loop_free(void *value)
{
    struct s3_loop *here = value;
    sigv4_signer_free(here->signer);
    free(here);
}

uint32_t s3_random(struct s3_loop *here)
{
    here->random ^= here->random << 13;
    here->random ^= here->random >> 17;
    here->random ^= here->random << 5;
    return here->random;
}

static struct s3_loop *loop_make(struct s3 *s3, struct loop *l, struct store_err *err)
{
    struct http_client_conf conf = {
        .base_url = atomic_load(&s3->region)->place.base_url,
        .ca_file = s3->ca_file,
        .client_cert_file = s3->client_cert_file,
        .client_key_file = s3->client_key_file,
        .max_connections = s3->max_connections,
        .connect_timeout_ms = s3->connect_timeout_ms,
    };
    struct s3_loop *here = calloc(1, sizeof(*here));
    if (!here) {
        no_memory(err);
        return NULL;
    }
    here->loop = l;
    /* Attachments are told apart by their owner's address. */
    here->interactive = http_client_get(l, &s3->max_connections, &conf, err);
    conf.max_connections = s3->max_bulk_connections;
    here->bulk =
        here->interactive ? http_client_get(l, &s3->max_bulk_connections, &conf, err) : NULL;
    if (!here->bulk) {
        free(here);
        return NULL;
    }
    if (getrandom(&here->random, sizeof(here->random), GRND_NONBLOCK) < 0 || !here->random)
        here->random = (uint32_t)(uintptr_t)here | 1;
    return here;
}

struct s3_loop *s3_loop_get(struct s3 *s3, struct loop *l, struct store_err *err)
{
    struct s3_loop *here = loop_attached(l, s3);
    if (here)
        return here;
    here = loop_make(s3, l, err);
    if (here && loop_attach(l, s3, here, s3_loop_free) != 0) {
        no_memory(err);
        s3_loop_free(here);
        here = NULL;
    }
    return here;
}

/* ---- Operations ---- */

static const struct {
    size_t (*size)(void);
    void (*start)(struct s3_op *o);
} kinds[] = {
    [OP_GET] = {s3_get_size, s3_get_start},
    [OP_HEAD] = {s3_get_size, s3_get_start},
    [OP_PUT] = {s3_put_size, s3_put_start},
    [OP_COPY] = {s3_copy_size, s3_copy_start},
    [OP_LIST] = {s3_list_size, s3_list_start},
    [OP_DELETE] = {s3_remove_size, s3_remove_start},
    [OP_DELETE_MANY] = {s3_remove_size, s3_remove_start},
};

struct s3_request_conf s3_request_defaults(const struct s3_op *o, const char *what)
{
    return (struct s3_request_conf){
        .what = what,
        .name = o->op->key ? o->op->key : "",
        .bulk = o->op->bulk,
        .stall_timeout_ms = o->op->bulk && o->s3->stall_timeout_ms < BULK_STALL_TIMEOUT_MS
                                ? BULK_STALL_TIMEOUT_MS
                                : o->s3->stall_timeout_ms,
        .deadline_ms = o->op->deadline_ms,
        .user = (void *)o,
    };
}

void s3_op_request(struct s3_op *o, struct s3_request *r, const struct s3_request_conf *conf)
{
    s3_request_cleanup(r);
    s3_request_init(r, o->s3, o->here, conf);
    s3_request_start(r, 0);
}

void s3_finish(struct s3_op *o, const struct store_err *err, const struct store_info *info)
{
    struct store_op *op = o->op;
    op->driver_op = NULL;
    op_finish(op, err, info); /* copies; `done` comes later, from the loop */
    o->cleanup(o);
    free(o);
}

void s3_finish_at(struct s3_op *o, const struct store_err *err, int64_t server_time_s)
{
    const struct store_info info = {
        .etag = "",
        .version = "",
        .content_type = "",
        .checksum = "",
        .server_time_s = server_time_s,
    };
    s3_finish(o, err, &info);
}

void s3_finish_stored(struct s3_op *o, const struct http_answer *a, uint64_t size, const char *etag,
                      const char *sum)
{
    const struct store_info info = {
        .size = size,
        .stored_size = size,
        .length = size,
        .etag = etag,
        .version = a->version,
        .checksum = sum,
        .server_time_s = a->date_s,
    };
    s3_finish(o, NULL, &info);
}

static void s3_start(void *state, struct store_op *op)
{
    struct store_err err = {0};
    struct s3_loop *here = s3_loop_get(state, op->loop, &err);
    struct s3_op *o = here ? calloc(1, kinds[op->kind].size()) : NULL;
    if (!o) {
        no_memory(&err);
        op_finish(op, &err, NULL);
        return;
    }
    op->driver_op = o;
    o->op = op;
    o->s3 = state;
    o->here = here;
    kinds[op->kind].start(o);
}

static void s3_resume(void *state, struct store_op *op)
{
    struct s3_op *o = op->driver_op;
    (void)state;
    if (o && o->resume)
        o->resume(o);
}

static void s3_cancel(void *state, struct store_op *op)
{
    struct s3_op *o = op->driver_op;
    struct store_err err;
    (void)state;
    if (!o)
        return;
    if (o->cancel) {
        o->cancel(o);
        return;
    }
    store_err_set(&err, STORE_CANCELED, "%s", "stopped");
    s3_finish_at(o, &err, 0);
}

const struct driver s3_driver = {
    .scheme = "s3",
    .open = s3_open,
    .close = s3_close,
    .max_key = s3_max_key,
    .start = s3_start,
    .resume = s3_resume,
    .cancel = s3_cancel,
};
