/* reap.h - removes a tombstone whose tokens have all expired: never before its tokens_expire_by,
 * and never one without it.
 *
 * The same deletion may be accepted anew at that very moment, for tokens that live longer, and S3
 * has no removal on condition. So the intent of that job serves as a lock: it is created in the
 * state DELETION_REAPING, if there is none; then the tombstone is read, removed if it still is past
 * its end, and the intent removed. Whoever accepts the job in between finds that intent, and begins
 * anew later; whoever changed the tombstone before it was removed, and created the intent after,
 * looks for the tombstone once more (deletion_accept_start()). A lock that its owner left behind is
 * removed by the janitor whose scanner finds it, REAP_LOCK_S after it was made: a process that was
 * stopped for longer than that, just before the removal, is what remains. */
#ifndef EPUFS_REAP_H
#define EPUFS_REAP_H

#include <store/store.h>

enum { REAP_LOCK_S = 600 };

/* Removes the tombstone under key if it ended more than grace_s ago by the store's clock. *removed:
 * whether it is gone. Success, too, when it stays for a good reason: it has no end, the end is
 * still to come, it cannot be understood, or a deletion of its job is open. Blocking, on a loop of
 * the caller's own. */
int reap_tombstone(store *s, store_loop *loop, const char *key, uint32_t grace_s, bool *removed,
                   struct store_err *err);

#endif
