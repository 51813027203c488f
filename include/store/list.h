/* list.h - the keys below a prefix, page by page; also the versions and the unfinished uploads that
 * S3 keeps besides the objects. */
#ifndef STORE_LIST_H
#define STORE_LIST_H

#include <store/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

enum store_list_kind {
    STORE_LIST_OBJECTS,
    STORE_LIST_VERSIONS, /* every version and delete marker, newest first within a key. Where no
                          * versions are kept: the objects */
    STORE_LIST_UPLOADS,  /* multipart uploads that were begun and not ended. Folder: none */
};

struct store_entry {
    const char *key; /* relative to the store, also when a prefix was asked for */
    bool is_prefix;  /* a group of keys that share this up to the delimiter; nothing else is set */
    bool is_marker;  /* VERSIONS: a delete marker */
    bool is_latest;  /* VERSIONS: what a get would see */
    uint64_t size;
    const char *etag;    /* "" when unknown */
    const char *version; /* VERSIONS: its id; UPLOADS: the upload's id; else "" */
    int64_t modified_s;  /* UPLOADS: when it was begun */
};

struct store_page { /* lives as long as the call-back */
    const struct store_entry *entries;
    size_t n;
    const char *next_token; /* NULL: this was the last page */
    int64_t server_time_s;
};

struct store_list_opts { /* all zero is a valid default */
    enum store_list_kind kind;
    char delimiter;          /* '/' or 0 */
    uint32_t max;            /* entries in the page; 0: STORE_MAX_BATCH */
    const char *start_after; /* only keys greater than this, bytewise */
    const char *token;       /* of the page before; start_after is ignored then */
    uint32_t timeout_ms;     /* 0: the store's */
    bool bulk;               /* on the bulk connections */
};

struct store_list_cb {
    /* Exactly once on success, before `done`; the page may be empty. */
    void (*page)(void *user, const struct store_page *page);
    store_done_fn *done;
};

/* One page of the keys that start with prefix ("" for all), in bytewise order. A page may hold
 * fewer entries than max although more follow: only next_token tells. */
STORE_API store_op *store_list(store *s, store_loop *loop, const char *prefix,
                               const struct store_list_opts *opts, const struct store_list_cb *cb,
                               void *user, struct store_err *err);

#ifdef __cplusplus
}
#endif
#endif
