/* open.h - opening a store, narrowing it, and how it fares. */
#ifndef STORE_OPEN_H
#define STORE_OPEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct store store;

enum {
    STORE_MAX_KEY = 1024,        /* bytes, the store's own prefix included */
    STORE_MAX_BATCH = 1000,      /* keys of one batch, entries of one list page */
    STORE_MAX_META = 16,         /* user metadata pairs of one object */
    STORE_MAX_META_BYTES = 1792, /* names and values together (S3 has 2048; the rest is ours) */
    STORE_ETAG_SIZE = 128,       /* bytes of an ETag at most, with the NUL */
};

/* How often a backend fails; see store_conf.on_alarm. */
struct store_alarm {
    bool raised;            /* false: it is over */
    uint32_t error_percent; /* requests that failed, of those of the last minute */
    uint64_t requests;      /* in the last minute */
    const char *url;        /* of the store */
};

enum store_addressing {
    STORE_ADDRESSING_AUTO, /* host style on Amazon's endpoints unless the bucket has a dot */
    STORE_ADDRESSING_PATH, /* https://endpoint/bucket/key */
    STORE_ADDRESSING_HOST, /* https://bucket.endpoint/key */
};

struct store_conf { /* all zero is a valid default */
    /* S3: where. NULL: as the AWS tools do: AWS_REGION, AWS_DEFAULT_REGION, the profile, the
     * instance's own, us-east-1; AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile, Amazon's.
     * A region that turns out wrong is corrected by the bucket's answer. */
    const char *region;
    const char *endpoint; /* http://host[:port] or https://host[:port] */
    enum store_addressing addressing;
    /* S3: who. With access_key and secret_key those are taken; otherwise the AWS chain:
     * environment (unless `profile` is given here), profile, web identity, container, instance.
     * What expires is renewed in the background. */
    const char *access_key;
    const char *secret_key;
    const char *session_token;
    const char *profile; /* NULL: AWS_PROFILE, else "default" */
    /* S3: TLS; PEM files. */
    const char *ca_file;          /* NULL: the system's bundle */
    const char *client_cert_file; /* NULL: none */
    const char *client_key_file;  /* NULL: in client_cert_file */
    /* Time. */
    uint32_t op_timeout_ms;      /* one operation with all its tries; 0: 30 s */
    uint32_t connect_timeout_ms; /* S3; 0: 3 s */
    /* S3: no byte moved for so long: the try failed. Of gets, heads and single deletes; 0: 5 s.
     * What servers take longer for has times of its own: puts and listings 30 s, bulk requests at
     * least that, batches 60 s, copying and joining parts 120 s. */
    uint32_t stall_timeout_ms;
    /* Connections of each loop. Interactive requests (get, head, put, single delete, list) and bulk
     * requests (batches, parts, copies, prefix deletion and its listings; others with `bulk`) never
     * wait for each other's. What finds none free waits, within its deadline. */
    uint32_t max_connections;      /* S3: interactive; 0: 128 */
    uint32_t max_bulk_connections; /* S3; 0: 32 */
    uint32_t io_threads;           /* folder: threads doing file I/O; 0: 4; up to 256. A quarter of
                                    * them has no bulk requests. */
    /* S3: large puts go up in parts, which are kept in memory until the store has them: part_bytes
     * times (parts_in_flight + 1) for each put. A put whose size is known and below multipart_bytes
     * is one request and needs no memory. */
    uint64_t multipart_bytes; /* 0: 64 MiB; up to 5 GiB */
    /* 0: 8 MiB; from 5 MiB. Grows where 10,000 parts are not enough for a size that is known; one
     * that is not known may turn out to be 10,000 parts (78 GiB by default), else STORE_INVALID. */
    uint64_t part_bytes;
    uint32_t parts_in_flight; /* 0: 4; up to 64 */
    /* S3: a head, or a get of up to 1 MiB or of all of an object, whose answer begins later than
     * almost all do is sent a second time, and the first answer counts; at most 2 % more requests.
     */
    bool no_hedging;
    /* Called when at least alarm_percent of the requests of the last minute failed (20 or more were
     * made), and again when less than half of that do; from inside store_loop_run() of the loop
     * whose request showed it, so from any of the threads. May be NULL. Must not block. */
    void (*on_alarm)(void *user, const struct store_alarm *alarm);
    void *alarm_user;
    uint32_t alarm_percent; /* 0: 25 */
};

/* Opens a store by URL:
 *     s3://bucket[/prefix]      file:///absolute/folder[/]
 * Nothing is contacted, but file:// creates its folder when it is missing (its parent must exist)
 * and removes temporary files that a crash left more than a day ago; s3:// may start a thread that
 * fetches credentials.
 * conf may be NULL; strings are copied. *out is the caller's: end it with store_close().
 * Returns 0, or -1 with STORE_INVALID (URL, conf, a malformed profile, no credentials anywhere),
 * STORE_DENIED, STORE_NO_MEMORY, STORE_FAILED. */
STORE_API int store_open(const char *url, const struct store_conf *conf, store **out,
                         struct store_err *err);

/* A store that is the part of s below prefix, which ends in '/' and follows the rules for keys: all
 * keys, prefixes and cursors given to it and told by it are relative to prefix, and nothing outside
 * can be named through it. It shares everything with s, costs two allocations, and may outlive it.
 * *out is the caller's: store_close(). Returns 0, or -1 with STORE_INVALID or STORE_NO_MEMORY. */
STORE_API int store_narrow(store *s, const char *prefix, store **out, struct store_err *err);

/* Frees the store. Every loop that was used with it must have been freed before, unless a store
 * that was narrowed from the same one is still open. NULL is fine. */
STORE_API void store_close(store *s);

/* The URL without secrets; lives as long as the store. */
STORE_API const char *store_url(const store *s);

/* NULL if the key is acceptable, or what is wrong with it (a constant). A store with a prefix has
 * less room: store_max_key(). */
STORE_API const char *store_key_problem(const char *key);
STORE_API size_t store_max_key(const store *s);

/* Counted since the store was opened, over all loops; a narrowed store tells of the whole. */
struct store_stats {
    uint64_t requests;          /* tries sent to the backend; folder: operations */
    uint64_t failures;          /* of these, those that failed for reasons of the backend */
    uint64_t retries;           /* of these, those that repeat an earlier one */
    uint64_t retries_forgone;   /* not repeated, because the budget of retries was used up */
    uint64_t throttled;         /* answers that asked to slow down */
    uint64_t hedges;            /* second requests for slow small reads */
    uint64_t hedges_won;        /* of these, those that were answered first */
    uint64_t credential_errors; /* failed attempts to renew credentials */
    uint32_t error_percent;     /* failures of the last minute's requests */
    bool alarm;
};
STORE_API void store_stats(const store *s, struct store_stats *out);

#ifdef __cplusplus
}
#endif
#endif
