/* sync.h - blocking calls.
 *
 * Each runs `loop` until its operation is done. A loop that is kept keeps its connections; with
 * NULL a private one is made for the call. Not to be called from a call-back of the same loop.
 * The info's strings (etag, content_type, metadata …) are not kept: etag is copied out where it is
 * asked for. All return 0, or -1 with *err set. info and err may be NULL. */
#ifndef STORE_SYNC_H
#define STORE_SYNC_H

#include <store/delete.h>
#include <store/list.h>
#include <store/object.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Reads a whole object of at most max_bytes into memory of its own, which the caller frees with
 * free(). A NUL that does not count is put behind it. Larger: STORE_INVALID. */
STORE_API int store_sync_get(store *s, store_loop *loop, const char *key, size_t max_bytes,
                             void **bytes, size_t *size, struct store_info *info,
                             struct store_err *err);
STORE_API int store_sync_head(store *s, store_loop *loop, const char *key, struct store_info *info,
                              struct store_err *err);
/* etag: STORE_ETAG_SIZE bytes or NULL. */
STORE_API int store_sync_put(store *s, store_loop *loop, const char *key, const void *bytes,
                             size_t size, const struct store_put_opts *opts, char *etag,
                             struct store_info *info, struct store_err *err);
STORE_API int store_sync_copy(store *s, store_loop *loop, const char *from, const char *to,
                              const struct store_copy_opts *opts, char *etag,
                              struct store_info *info, struct store_err *err);
STORE_API int store_sync_delete(store *s, store_loop *loop, const char *key, struct store_err *err);
STORE_API int store_sync_delete_many(store *s, store_loop *loop, const char *const *keys, size_t n,
                                     struct store_err *err);
/* One page; `page` is called with it. */
STORE_API int store_sync_list(store *s, store_loop *loop, const char *prefix,
                              const struct store_list_opts *opts,
                              void (*page)(void *user, const struct store_page *page), void *user,
                              struct store_err *err);
/* final may be NULL; its cursor is not kept (the progress call-back tells it). */
STORE_API int store_sync_delete_prefix(store *s, store_loop *loop, const char *prefix,
                                       const struct store_delete_prefix_opts *opts,
                                       bool (*progress)(void *user, const struct store_progress *p),
                                       void *user, struct store_progress *final,
                                       struct store_err *err);

#ifdef __cplusplus
}
#endif
#endif
