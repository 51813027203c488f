#include "epufs/reap.h"

#include <stdlib.h>

#include "epufs/amend.h"
#include "epufs/deletion.h"
#include "epufs/intent.h"

/* 1: past its end; 0: it stays, or is gone; -1 with *err. *now_s: the store's clock. */
static int is_past(store *s, store_loop *loop, const char *key, uint32_t grace_s, int64_t *now_s,
                   struct store_err *err)
{
    void *text = NULL;
    size_t n = 0;
    int64_t by_s;
    struct store_info info;
    if (store_sync_get(s, loop, key, TOMBSTONE_MAX_BYTES, &text, &n, &info, err) != 0)
        return err->code == STORE_NOT_FOUND || err->code == STORE_INVALID ? 0 : -1;
    bool ends = deletion_tombstone_expiry(text, n, &by_s) && by_s != 0;
    free(text);
    *now_s = info.server_time_s;
    return ends && *now_s > by_s + (int64_t)grace_s;
}

/* ---- The lock ---- */

static enum amend_verdict create_lock(void *user, const struct amend_seen *seen, struct buf *fresh,
                                      struct store_err *err)
{
    if (seen->text)
        return AMEND_KEEP; /* somebody has it */
    if (deletion_to_json(user, fresh) == 0)
        return AMEND_WRITE;
    store_err_set(err, STORE_NO_MEMORY, "intent: out of memory");
    return AMEND_FAIL;
}

/* 1: it is ours; 0: the job is open, or somebody else's; -1 with *err. */
static int lock(store *s, store_loop *loop, struct deletion *d, struct store_err *err)
{
    char key[LAYOUT_KEY_SIZE];
    struct amend_result r;
    const struct amend_conf conf = {
        .key = key,
        .max_bytes = INTENT_MAX_BYTES,
        .expect_none = true,
        .change = create_lock,
        .user = d,
    };
    layout_intent(d->job_id, key);
    if (amend_now(s, loop, &conf, &r, err) != 0)
        return -1;
    return r.written;
}

int reap_tombstone(store *s, store_loop *loop, const char *key, uint32_t grace_s, bool *removed,
                   struct store_err *err)
{
    struct deletion d = {.state = DELETION_REAPING};
    struct store_err later;
    *removed = false;
    if (!layout_tombstone_parse(key, &d.scope, &d.upto_gen))
        return 0;
    d.has_upto_gen = d.scope.kind == SCOPE_ENDPOINT;
    deletion_set_job_id(&d);
    int past = is_past(s, loop, key, grace_s, &d.accepted_at_s, err);
    if (past <= 0)
        return past;
    int locked = lock(s, loop, &d, err);
    if (locked <= 0)
        return locked;
    /* Only what it says now counts: nobody who accepts it anew gets past our lock from here on. */
    int64_t now_s;
    int rc = past = is_past(s, loop, key, grace_s, &now_s, err);
    if (past > 0)
        rc = store_sync_delete(s, loop, key, err);
    *removed = past > 0 && rc == 0;
    if (deletion_forget_intent(s, loop, &d, &later) != 0 && rc >= 0) {
        *err = later;
        rc = -1;
    }
    return rc < 0 ? -1 : 0;
}
