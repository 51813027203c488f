/* store.h - object storage: Amazon S3 (and what speaks its protocol) and folders of a file system
 * behind one interface.
 *
 * The parts, each with a page of its own; this header includes them all:
 *   error.h   how functions report failure
 *   open.h    store: a bucket and prefix, or a folder. Opened by URL, shared by any number of
 *             threads. A store can be narrowed to a part of itself, and tells how it fares
 *   loop.h    store_loop: an event loop with the connections, timers and operations of ONE thread.
 *             store_op: an operation under way. Belongs to its loop, and so to that loop's thread
 *   object.h  get, head, put, copy: one object
 *   list.h    the keys below a prefix, page by page
 *   delete.h  one object, a batch, everything below a prefix
 *   sync.h    the same operations as blocking calls
 *
 * Asynchronous use: create a loop, start operations on it, and run it: either store_loop_run() in
 * a thread of your own, or poll store_loop_fd() in an event loop that you have already and call
 * store_loop_run(loop, 0) when it is readable or store_loop_timeout_ms() is over. Call-backs come
 * only from inside store_loop_run(), on its thread, and never from the call that starts an
 * operation. Each operation ends with exactly one `done`, also after store_op_cancel(); the
 * store_op is gone when `done` returns.
 *
 * Blocking use: the store_sync_*() functions run a loop until one operation is done.
 *
 * Keys are byte strings of 1 to 1024 bytes without NUL (the store's own prefix counts), relative
 * to that prefix. Empty segments, "." and ".." are refused by all drivers, so that a key means the
 * same object everywhere. Orders are those of the keys' bytes. All times are seconds since 1970 in
 * UTC, all durations milliseconds, where a name does not say otherwise.
 *
 * Every operation has a deadline over all its tries, so it never hangs; what can be repeated is
 * repeated, with pauses, while the store's budget of retries lasts. A listing is whole or an error.
 *
 * Thread-safety: a store may be used from any thread; a loop, its operations and their call-backs
 * only from the thread that runs the loop.
 *
 * docs/libstore.md has a complete program, and what each driver does underneath. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <store/delete.h>
#include <store/error.h>
#include <store/list.h>
#include <store/loop.h>
#include <store/object.h>
#include <store/open.h>
#include <store/sync.h>

#endif
