/* mass_guard.h - a guard against mass deletion, such as by a control plane that has gone wrong:
 * when more tenants than so many are to be deleted within a while, further ones are held until an
 * operator releases them. Counts over all writers and janitors and over their restarts, since it
 * counts in the store: a tenant that was let through has a key guard/<tenant>, whose time of
 * storage is when.
 *
 * The key is made before the others are counted, and removed again when there are too many: of
 * several that meet at the limit each sees the others, so that never more than so many go through,
 * perhaps fewer. */
#ifndef EPUFS_MASS_GUARD_H
#define EPUFS_MASS_GUARD_H

#include <store/store.h>

#include "epufs/deletion.h"

struct mass_guard_conf {
    uint64_t max_tenants; /* 0: no guard */
    uint32_t window_s;
};

/* Whether the guard has a say in such a deletion at all: only a tenant's, and no dry run. */
bool mass_guard_minds(const struct mass_guard_conf *conf, const struct deletion *d);

struct mass_guard_check;
/* Asks whether the tenant's deletion is to be held: d becomes DELETION_HELD then, with a note, by
 * mass_guard_hold(). A tenant that was let through within the window is so again. done is called
 * once, from the loop, unless mass_guard_cancel() came first; with an error nothing is known, and
 * the tenant may be counted. Returns NULL with *err set when it could not be started. conf is
 * copied. */
struct mass_guard_check *mass_guard_start(store *s, store_loop *loop,
                                          const struct mass_guard_conf *conf, const char *tenant,
                                          void (*done)(void *user, const struct store_err *err,
                                                       bool hold),
                                          void *user, struct store_err *err);
/* No call-back any more; frees in time. */
void mass_guard_cancel(struct mass_guard_check *g);
/* The same, blocking, on a loop of the caller's own. */
int mass_guard_now(store *s, store_loop *loop, const struct mass_guard_conf *conf,
                   const char *tenant, bool *hold, struct store_err *err);
void mass_guard_hold(const struct mass_guard_conf *conf, struct deletion *d);

#endif
